"""A library whose pictures are looked at five times: one vector a picture, made in one way everywhere."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mmsearch import Library, Query, Term
from mmsearch.errors import FingerprintError, QueryError
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.shards.read import Shard, shard_paths


@pytest.fixture(scope="module")
def made_once(indexed_once, cache, tmp_path_factory):
    """A library of the eight photographs of `indexed_once`, of five views."""
    folder = tmp_path_factory.mktemp("views") / "library"
    with (
        Library.open(indexed_once / "library", cache=cache) as indexed,
        Library.open(folder, cache=cache) as library,
    ):
        library.index([indexed_once / "photos"], model=indexed.status().model, views=5, local=False)
    return folder


@pytest.fixture
def five(made_once, cache):
    with Library.open(made_once, cache=cache) as library:
        yield library


def test_a_library_says_how_many_views_it_has(five, indexed):
    assert (five.status().views, indexed.status().views) == (5, 1)
    assert five.status().fingerprint != indexed.status().fingerprint


def test_an_example_is_looked_at_as_the_pictures_of_the_library_are(five, indexed_once, tmp_path):
    copy = shutil.copyfile(indexed_once / "photos" / "cat.jpg", tmp_path / "copy.jpg")
    with copy.open("ab") as file:
        file.write(b"\0")  # other bytes, so that it is decoded
    best = five.search(Query(images=[copy]), k=1).hits[0]
    assert (best.path, best.score) == (str(indexed_once / "photos" / "cat.jpg"), pytest.approx(1, abs=1e-3))


def test_a_part_of_a_picture_is_looked_at_in_five_views_of_its_own(five, indexed, indexed_once):
    part = Term(str(indexed_once / "photos" / "cat.jpg"), box=(100, 40, 300, 240))
    vectors = [library.encoder.encode_images(part)[0] for library in (five, indexed)]
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-3)
    assert 0.3 < vectors[0] @ vectors[1] < 0.9999


def test_other_views_than_those_of_the_library_are_refused(five, indexed_once):
    with pytest.raises(
        FingerprintError, match="of 5 views a picture, and --views 1 was asked for: leave --views out"
    ):
        five.index(indexed_once / "photos", views=1)
    for same in (None, 5, "auto"):
        assert five.index(indexed_once / "photos", views=same, local=False).unchanged == 8
    (notice,) = five.index(indexed_once / "photos", views=1, is_dry_run=True).notices
    assert notice.endswith("of 5 views a picture; `index --views 1` is refused without --re-embed")


@pytest.mark.parametrize("views", [2, "5", "all"])
def test_a_number_of_views_that_there_is_not_is_refused(five, indexed_once, views):
    with pytest.raises(QueryError, match=rf"views is {views!r}; expected 1, 5 or 'auto'"):
        five.index(indexed_once / "photos", views=views)


def test_views_are_nothing_for_a_library_without_vectors(tmp_path, cache, photos):
    with (
        Library.open(tmp_path / "none", cache=cache) as library,
        pytest.raises(QueryError, match="--views 5 is about"),
    ):
        library.index([photos], model="none", views=5, local=True)


def test_shards_keep_their_views(five, made_once, cache, tmp_path, indexed_once):
    five.export(tmp_path / "shards")
    assert Shard.open(next(iter(shard_paths(tmp_path / "shards")))).facts.variant.views == 5
    with Library.open(tmp_path / "loaded", cache=cache) as loaded:
        loaded.load(tmp_path / "shards")
        assert (loaded.status().views, loaded.status().fingerprint) == (5, five.status().fingerprint)
        photos = sorted((indexed_once / "photos").rglob("*.jpg"))
        np.testing.assert_array_equal(loaded.encoder.encode_images(photos), five.encoder.encode_images(photos))
    report = embed_pictures(indexed_once / "photos", tmp_path / "shards", EmbedOptions(cache=cache))
    assert report.unchanged == 8
    with pytest.raises(FingerprintError):
        embed_pictures(indexed_once / "photos", tmp_path / "shards", EmbedOptions(cache=cache, views=1))
