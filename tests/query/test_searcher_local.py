"""Searches by example in a library with visual words, through the public interface."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from sqlite3 import connect

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mmsearch import Library, Query, Term
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import PictureError, QueryError
from mmsearch.query.rerank import LocalReader
from tests.conftest import copied_samples, copy_library, no_decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All sample photographs."""
    return copied_samples(tmp_path_factory.mktemp("samples") / "photos")


@pytest.fixture(scope="module")
def library(described_once, folder, cache, tmp_path_factory):
    copy = tmp_path_factory.mktemp("local") / "library"
    copy_library(described_once / "library", copy, described_once / "photos", folder)
    with Library.open(copy, cache=cache) as opened:
        yield opened


@pytest.fixture
def crop(folder, tmp_path):
    """A part of a photograph, turned, which the tiny encoder does not recognise."""
    with Image.open(folder / "astronaut.jpg") as whole:
        left, top, side = whole.width // 4, whole.height // 10, whole.width // 2
        part = whole.convert("RGB").crop((left, top, left + side, top + side)).rotate(90, expand=True)
    part.save(tmp_path / "crop.png")
    return tmp_path / "crop.png"


def names(result):
    return [hit.path.rpartition("/")[2] for hit in result.hits]


def test_a_crop_is_found_by_visual_words_alone_without_the_encoder(library, crop, monkeypatch):
    monkeypatch.setattr(OnnxEncoder, "open", lambda *_, **__: pytest.fail("the encoder was loaded"))
    result = library.search(Query(images=[crop]), mode="local")
    assert names(result)[0] == "astronaut.jpg"
    assert result.route == "local"
    assert result.hits[0].local.is_verified
    assert result.local == f"1 of {len(result.hits)} hits verified by local features"
    assert all(hit.local.score == hit.score > 0 for hit in result.hits)


def test_a_verified_picture_goes_first_whatever_its_cosine(library, crop):
    alone = library.search(Query(images=[crop]), k=30, rerank="none")
    assert names(alone)[0] != "astronaut.jpg"
    assert all(hit.local is None for hit in alone.hits)
    for rerank in ("auto", "local"):
        reranked = library.search(Query(images=[crop]), k=30, rerank=rerank)
        assert names(reranked)[0] == "astronaut.jpg"
        assert sorted(names(reranked)) == sorted(names(alone))
    cosine = {hit.path: hit.score for hit in alone.hits}
    np.testing.assert_allclose(
        [hit.score for hit in reranked.hits], [cosine[hit.path] for hit in reranked.hits], atol=1e-5
    )
    assert [hit.rank for hit in reranked.hits] == list(range(1, 31))[: len(reranked.hits)]


@pytest.mark.parametrize("expand", ["average", "alpha"])
def test_the_verified_pictures_are_added_to_the_query(library, crop, folder, expand):
    result = library.search(Query(images=[crop]), k=30, expand=expand)
    paths = [crop, *(hit.path for hit in result.hits)]
    asked, *vectors = library.encoder.encode_images(paths)
    (verified,) = [vector for hit, vector in zip(result.hits, vectors, strict=True) if hit.local.is_verified]
    weight = 1 if expand == "average" else float(asked @ verified) ** 3
    moved = asked + weight * verified
    expected = np.stack(vectors) @ (moved / np.linalg.norm(moved))
    np.testing.assert_allclose([hit.score for hit in result.hits], expected, atol=5e-4)  # float16
    assert names(result)[0] == "astronaut.jpg"


def test_a_query_of_which_nothing_is_verified_stays_what_it_is(library, folder, tmp_path):
    with Image.open(folder / "cat.jpg") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    plain, moved = (
        library.search(Query(images=[tmp_path / "mirrored.png"]), expand=e) for e in ("none", "average")
    )
    assert not any(hit.local.is_verified for hit in plain.hits)
    assert [(hit.path, hit.score) for hit in moved.hits] == [(hit.path, hit.score) for hit in plain.hits]


@pytest.mark.parametrize(
    "options", [{"mode": "local"}, {"rerank": "none"}, {"text": "a dog"}], ids=["local", "no rerank", "text"]
)
def test_only_what_is_verified_beside_an_embedding_can_expand_a_query(library, crop, options):
    text = options.pop("text", None)
    with pytest.raises(QueryError, match="a query is expanded by pictures that local features verify"):
        library.search(Query(text=text, images=[crop]), expand="alpha", **options)


def test_a_picture_that_the_embedding_has_far_down_joins_a_short_answer(library, crop):
    assert names(library.search(Query(images=[crop]), k=1)) == ["astronaut.jpg"]


@pytest.mark.parametrize("options", [{}, {"expand": "alpha"}, {"rerank": "local"}])
def test_pages_after_a_reranked_one_give_all_others_once_by_their_cosines(library, crop, options):
    query = Query(images=[crop])
    whole = library.search(query, k=100, **options)
    page = library.search(query, k=9, **options)
    assert page.hits == whole.hits[:9]
    cosine = {hit.path: hit.score for hit in whole}
    crop.unlink()  # it is not asked again
    hits = []
    while page.next is not None:
        page = library.search(query, k=9, after=page.next, **options)
        hits += page.hits
        assert page.local == ("local features look at the first page alone" if options else "")
    others = sorted(whole.hits[9:], key=lambda hit: (-hit.score, hit.image_id))
    assert [hit.path for hit in hits] == [hit.path for hit in others]
    assert [hit.score for hit in hits] == [cosine[hit.path] for hit in hits]
    assert {hit.local for hit in hits} == {None}


def test_filters_hold_for_both_stages(library, crop):
    for options in ({"mode": "local"}, {"rerank": "local"}):
        result = library.search(Query(images=[crop], where=["name != astronaut.jpg"]), **options)
        assert result.hits
        assert "astronaut.jpg" not in names(result)


def test_texts_never_touch_the_local_stage(library, crop):
    result = library.search(Query(text="a dog", images=[crop]))
    assert all(hit.local is None for hit in result.hits)
    assert library.search("a dog").local == ""
    for query, options in (
        (Query(text="a dog"), {"rerank": "local"}),
        (Query(text="a dog"), {"mode": "local"}),
        (Query(text="a dog", images=[crop]), {"mode": "local"}),
    ):
        with pytest.raises(QueryError, match="local features compare pictures; give one example picture"):
            library.search(query, **options)


def test_local_features_may_rerank_a_query_of_text_and_example_if_asked(library, crop):
    result = library.search(Query(text="a dog", images=[crop]), rerank="local")
    assert names(result)[0] == "astronaut.jpg"


def test_an_example_without_features_abstains_and_the_embedding_answers(library, tmp_path):
    Image.new("RGB", (200, 150), "white").save(tmp_path / "blank.png")
    result = library.search(Query(images=[tmp_path / "blank.png"]), k=3)
    assert len(result.hits) == 3
    assert result.local == "the example has 0 local features, at least 15 are needed: the local stage abstains"
    assert library.search(Query(images=[tmp_path / "blank.png"]), mode="local").hits == ()


def test_an_example_that_cannot_be_read_is_named(library, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"<html></html>")
    with pytest.raises(PictureError, match=r"broken\.jpg: this is an HTML page"):
        library.search(Query(images=[tmp_path / "broken.jpg"]), mode="local")


def test_a_library_without_visual_words_says_so_if_they_are_asked_for(indexed_without_words, crop):
    assert indexed_without_words.search(Query(images=[crop])).hits
    with pytest.raises(QueryError, match="--local"):
        indexed_without_words.search(Query(images=[crop]), mode="local")


@pytest.mark.parametrize(
    "options", [{"mode": "local"}, {"rerank": "local"}, {"expand": "average", "rerank": "local"}], ids=str
)
def test_an_irrelevant_picture_is_no_answer_of_local_features(library, crop, options):
    (astronaut,) = (hit.image_id for hit in library.search(Query(images=[crop]), k=1).hits)
    for k in (1, 50):
        result = library.search(Query(images=[crop], irrelevant=[astronaut]), k=k, **options)
        assert result.hits
        assert "astronaut.jpg" not in names(result)
    with pytest.raises(QueryError, match="there is no picture 999 in the library"):
        library.search(Query(images=[crop], irrelevant=[999]), **options)


def test_of_pictures_that_look_alike_the_one_that_is_asked_is_first_whatever_looks_at_it(
    library, folder, tmp_path, cache
):
    shutil.copytree(library.folder, tmp_path / "library")
    (tmp_path / "alike").mkdir()
    paths = [tmp_path / "alike" / f"{level}.png" for level in (1, 9)]
    for path in paths:
        with Image.open(folder / "coffee.jpg") as image:
            image.convert("RGB").resize((200, 150)).save(path, compress_level=int(path.stem))
    with Library.open(tmp_path / "library", cache=cache) as changed:
        changed.index([tmp_path / "alike"])
        for path in paths:
            for options in ({"mode": "local"}, {"rerank": "auto"}, {"rerank": "none"}, {"expand": "average"}):
                result = changed.search(Query(images=[path]), k=3, **options)
                assert names(result)[0] == path.name, options


@pytest.fixture
def indexed_without_words(tmp_path, photos, checkpoint, cache, tiny_folder):
    with Library.open(tmp_path / "plain", cache=cache) as opened:
        opened.index([photos], model=str(checkpoint), local=False)
        yield opened


def test_removed_pictures_are_not_found_by_their_words(library, folder, crop, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(library.folder, copied)
    with Library.open(copied) as other:
        other.remove([folder / "astronaut.jpg"])
        assert "astronaut.jpg" not in names(other.search(Query(images=[crop]), mode="local"))


def test_words_published_after_the_catalog_has_changed_are_seen(library, crop, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(library.folder, copied)
    (copied / "manifest.json").rename(tmp_path / "manifest.json")
    with Library.open(copied) as other:
        with pytest.raises(QueryError, match="no visual words"):
            other.search(Query(images=[crop]), mode="local")
        (tmp_path / "manifest.json").rename(copied / "manifest.json")
        assert names(other.search(Query(images=[crop]), mode="local"))[0] == "astronaut.jpg"


def test_inliers_of_a_part_are_places_in_the_whole_example(library, folder):
    path = folder / "coffee.jpg"
    box = (60, 50, 420, 330)
    hit = library.search(Query(images=[Term(str(path), box=box)]), k=1).hits[0]
    assert hit.path == str(path)
    assert hit.local.is_verified
    pairs = np.array(hit.local.inliers)
    np.testing.assert_allclose(pairs[:, :2], pairs[:, 2:], atol=6)  # the picture itself, place for place
    assert pairs[:, 0].min() > 60
    moved = np.array(hit.local.homography) @ [300, 200, 1]
    np.testing.assert_allclose(moved[:2] / moved[2], [300, 200], atol=3)


def test_an_example_by_its_id_is_reranked_like_its_file_and_abstains_without_it(library, folder):
    path = folder / "coffee.jpg"
    image_id = library.search(Query(images=[path]), k=1).hits[0].image_id
    assert "hits verified" in library.search(Query(images=[image_id]), k=3).local
    path.rename(folder / "coffee.away")
    try:
        assert (
            "there is no such file or folder: the local stage abstains"
            in library.search(Query(images=[image_id]), k=3).local
        )
        with pytest.raises(PictureError, match="there is no such file or folder"):
            library.search(Query(images=[image_id]), rerank="local")
    finally:
        (folder / "coffee.away").rename(path)


def test_a_moment_by_its_id_whose_film_is_another_one_by_now_abstains(library):
    def read(example):
        raise PictureError("changed", "it is another film")

    reader = LocalReader(library.reader(), no_decoder, read)
    assert reader.query(Term(1), is_demanded=False) == (None, "it is another film: the local stage abstains")
    with pytest.raises(PictureError, match="it is another film"):
        reader.query(Term(1), is_demanded=True)


@pytest.mark.full
def test_a_picture_is_before_all_of_its_copies_when_asked_by_itself(folder, tmp_path):
    copies = copied_samples(tmp_path / "copies", 12)
    for number in range(5):
        shutil.copyfile(folder / "coffee.jpg", copies / f"copy-{number}.jpg")
    (copies / "coffee.jpg").rename(tmp_path / "coffee.jpg")
    with Library.open(tmp_path / "library") as changed:
        changed.index([copies], model="none")
        (tmp_path / "coffee.jpg").rename(copies / "coffee.jpg")
        changed.index([copies])  # last, so that of equal ones it is behind
        for k in (1, 3):
            result = changed.search(Query(images=[copies / "coffee.jpg"]), k=k, collapse="none")
            assert (names(result)[0], len(result.hits)) == ("coffee.jpg", k)


@pytest.mark.parametrize("options", [{"mode": "local"}, {"rerank": "local"}], ids=["alone", "reranked"])
def test_copies_are_one_hit_however_local_features_rank_them(library, folder, crop, cache, tmp_path, options):
    shutil.copytree(library.folder, tmp_path / "library")
    with closing(connect(tmp_path / "library" / "catalog.sqlite")) as db, db:  # what is verified, and another
        of_path = dict(db.execute("SELECT path, hash FROM image"))
        paths = [os.fsencode(folder / name) for name in ("astronaut.jpg", "coffee.jpg")]
        db.execute("UPDATE image SET hash = ? WHERE path = ?", (of_path[paths[0]], paths[1]))
    with Library.open(tmp_path / "library", cache=cache) as copied:
        result = copied.search(Query(images=[crop]), k=30, **options)
    assert names(result)[0] == "astronaut.jpg"
    assert [path.rpartition("/")[2] for path in result[0].paths] == ["astronaut.jpg", "coffee.jpg"]
    assert "coffee.jpg" not in names(result)
    assert [hit.rank for hit in result] == list(range(1, len(result) + 1))


def captioned(image):
    """A photograph with a bar of words at its lower edge."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height - 44, *image.size), fill=(20, 20, 20))
    font = ImageFont.load_default(size=26)
    draw.text((12, image.height - 38), "Lakeside Photo & Film - 2019", font=font, fill="white")
    return image


@pytest.fixture(scope="module")
def captioned_library(folder, checkpoint, cache, tiny_folder, tmp_path_factory):
    """Fourteen sample photographs with the same caption."""
    marked = tmp_path_factory.mktemp("captioned")
    for file in sorted(folder.glob("*.jpg"))[1::2]:
        with Image.open(file) as image:
            captioned(ImageOps.fit(image.convert("RGB"), (480, 360))).save(marked / file.name, quality=90)
    with Library.open(tmp_path_factory.mktemp("words") / "library", cache=cache) as opened:
        opened.index([marked], model=str(checkpoint), local=True)
        yield opened


@pytest.mark.full
def test_photographs_that_share_only_a_caption_are_not_verified_and_keep_their_order(
    captioned_library, folder, tmp_path
):
    example = tmp_path / "mirrored.jpg"  # so that its own content matches nothing
    with Image.open(folder / "coffee.jpg") as image:
        mirrored = ImageOps.mirror(ImageOps.fit(image.convert("RGB"), (480, 360)))
    captioned(mirrored).save(example, quality=80)
    plain, reranked = (captioned_library.search(Query(images=[example]), k=20, rerank=r) for r in ("none", "local"))
    assert sum(hit.local.is_mark for hit in reranked.hits) >= 8
    assert not any(hit.local.is_verified for hit in reranked.hits)
    assert all("places that agree lie" in hit.local.reason for hit in reranked.hits if hit.local.is_mark)
    assert names(reranked) == names(plain)
    assert not any(
        hit.local.is_verified for hit in captioned_library.search(Query(images=[example]), mode="local").hits
    )


@pytest.mark.full
def test_a_part_of_a_captioned_photograph_with_a_caption_of_its_own_is_verified(
    captioned_library, folder, tmp_path
):
    with Image.open(folder / "coffee.jpg") as image:
        whole = ImageOps.fit(image.convert("RGB"), (480, 360))
    captioned(whole.crop((60, 0, 480, 300))).save(tmp_path / "part.jpg", quality=90)
    result = captioned_library.search(Query(images=[tmp_path / "part.jpg"]), k=20)
    assert names(result)[0] == "coffee.jpg"
    assert [hit.rank for hit in result.hits if hit.local.is_verified] == [1]
    moved = np.array(result.hits[0].local.homography) @ [200, 150, 1]
    np.testing.assert_allclose(moved[:2] / moved[2], [260, 150], atol=3)
