from __future__ import annotations

import shutil

import pytest

from mmsearch import Library, PictureBytes, Term
from mmsearch.errors import QueryError
from mmsearch.query.gallery import identities_of
from mmsearch.samples import sample_folder
from tests.conftest import sample_crop, small_samples


@pytest.fixture(scope="module")
def folders(tmp_path_factory, checkpoint, cache, tiny_folder):
    """A library with local features of a folder for each of nine sample photographs: it, and its mirror image."""
    from PIL import Image, ImageOps

    base = tmp_path_factory.mktemp("gallery")
    for path in sorted(small_samples(base / "flat").iterdir())[:9]:
        (base / "things" / path.stem).mkdir(parents=True)
        shutil.copyfile(path, base / "things" / path.stem / "front.jpg")
        with Image.open(path) as picture:
            ImageOps.mirror(picture).save(base / "things" / path.stem / "back.jpg")
    with Library.open(base / "library", cache=cache) as library:
        library.index(base / "things", model=str(checkpoint), local=True)
    return base


@pytest.fixture
def gallery(folders, cache):
    with Library.open(folders / "library", cache=cache) as library:
        yield library


def test_a_crop_is_verified_as_the_thing_of_its_folder(gallery, tmp_path):
    (answer,) = gallery.identify(sample_crop(tmp_path, "astronaut"))
    assert (answer.identity, answer.best, answer.is_verified) == ("astronaut", "astronaut", True)
    assert answer.nearest[0].path.endswith("things/astronaut/front.jpg")
    assert answer.nearest[0].n_inliers == answer.n_inliers > 20


def test_what_is_in_no_folder_of_the_gallery_is_unknown(gallery, tmp_path):
    (answer,) = gallery.identify(sample_crop(tmp_path, "panda"), false_rate=0.001)
    assert (answer.identity, answer.is_verified) == (None, False)
    assert answer.best is not None
    assert 0.001 < answer.chance <= 1


def test_every_picture_is_the_thing_of_its_own_folder(gallery, folders):
    pictures = sorted((folders / "things").glob("*/front.jpg"))
    answers = gallery.identify(pictures)
    assert [answer.identity for answer in answers] == [path.parent.name for path in pictures]


def test_a_picture_that_is_left_out_does_not_count_for_itself(gallery, folders):
    asked = folders / "things" / "astronaut" / "front.jpg"
    with_itself, without = (
        gallery.identify(asked, k=50, is_itself_left_out=is_left_out)[0] for is_left_out in (False, True)
    )
    assert with_itself.nearest[0].path == str(asked)
    assert str(asked) not in {picture.path for picture in without.nearest}
    assert len(without.nearest) == len(with_itself.nearest) - 1


def test_identities_may_be_given_and_pictures_without_one_count_for_nobody(gallery, folders):
    front = sorted((folders / "things").glob("*/front.jpg"))[:2]
    (answer,) = gallery.identify(folders / "things" / "dam" / "front.jpg", {front[0]: "one", front[1]: "two"}, k=9)
    assert {picture.identity for picture in answer.nearest} == {"one", "two"}
    assert (answer.identity, answer.chance) == (None, None)  # two pictures are too few to know


def test_a_picture_that_cannot_be_read_is_named_and_the_others_go_on(gallery, folders, tmp_path):
    bad, good = gallery.identify([tmp_path / "none.jpg", folders / "things" / "cat" / "front.jpg"])
    assert bad.error == f"{tmp_path / 'none.jpg'}: there is no such file or folder"
    assert (bad.identity, bad.best, bad.nearest) == (None, None, ())
    assert good.identity == "cat"


def test_a_picture_in_memory_is_identified_as_its_file_is(gallery, folders):
    path = folders / "things" / "cat" / "back.jpg"
    by_path, in_memory = gallery.identify([path, PictureBytes(path.read_bytes(), "a cat")])
    assert (in_memory.path, in_memory.identity, in_memory.score) == ("a cat", by_path.identity, by_path.score)


@pytest.mark.parametrize("rate", [0, 1, -0.5, float("nan")])
def test_a_false_rate_that_is_no_share_is_refused(gallery, rate):
    with pytest.raises(QueryError, match=r"the false rate is .*; expected a share above 0 and below 1"):
        gallery.identify([], false_rate=rate)


def test_identities_of_pictures_that_are_not_in_the_library_are_no_gallery(gallery):
    with pytest.raises(QueryError, match="the gallery has no identity; expected two or more"):
        gallery.identify([], {"/elsewhere/a.jpg": "a", "/elsewhere/b.jpg": "b"})


def test_the_identities_of_a_library_are_the_folders_below_what_was_indexed(gallery, folders):
    identities = identities_of(gallery.reader())
    assert identities[str(folders / "things" / "dam" / "back.jpg")] == "dam"
    assert len(identities) == 18


def test_the_identities_of_several_folders_are_these(folders, library, checkpoint):
    library.index([folders / "things" / "cat", folders / "things" / "dam"], model=str(checkpoint), local=False)
    assert set(identities_of(library.reader()).values()) == {"cat", "dam"}


def test_the_identities_of_pictures_without_folders_are_their_names(folders, library, checkpoint):
    library.index(folders / "flat", model=str(checkpoint), local=False)
    assert identities_of(library.reader())[str(folders / "flat" / "moose.jpg")] == "moose"


def test_pictures_beside_the_folders_of_identities_are_refused(indexed, photos):
    with pytest.raises(QueryError, match=r"6 of 8 pictures lie beside the folders of the identities in .*photos"):
        indexed.identify(photos / "cat.jpg")


def beside_each_other(folder, left, right, *, share):
    """Write a picture in which one sample photograph has that share of the width, and another the rest."""
    from PIL import Image

    picture = Image.new("RGB", (900, 400))
    at = 0
    for name, width in ((left, round(900 * share)), (right, round(900 * (1 - share)))):
        with Image.open(sample_folder() / f"{name}.jpg") as photograph:
            picture.paste(photograph.resize((600, 400)).crop((0, 0, width, 400)), (at, 0))
        at += width
    picture.save(folder / "beside.png")
    return folder / "beside.png"


def test_what_lies_beside_the_middle_of_a_picture_is_named_but_is_not_what_it_shows(gallery, tmp_path):
    (answer,) = gallery.identify(beside_each_other(tmp_path, "coffee", "astronaut", share=0.66))
    assert (answer.identity, answer.beside) == ("coffee", ("astronaut",))
    assert [picture.identity for picture in answer.nearest[:2]] == ["coffee", "astronaut"]


def test_what_lies_beside_something_unknown_is_not_what_the_picture_shows(gallery, tmp_path):
    (answer,) = gallery.identify(beside_each_other(tmp_path, "louvre", "astronaut", share=0.66), false_rate=0.001)
    assert (answer.identity, answer.best, answer.is_verified) == (None, "astronaut", False)
    assert answer.beside == ("astronaut",)


def test_a_part_of_a_picture_is_asked_for_by_its_box(gallery, tmp_path):
    picture = beside_each_other(tmp_path, "louvre", "astronaut", share=0.5)
    (answer,) = gallery.identify(Term(picture, box=(450, 0, 900, 400)))
    assert (answer.identity, answer.is_verified) == ("astronaut", True)


def test_the_same_place_beside_a_verified_subject_is_not_named_twice(gallery, folders):
    (answer,) = gallery.identify(folders / "things" / "astronaut" / "front.jpg")
    assert "astronaut" not in answer.beside
