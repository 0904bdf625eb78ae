"""What every store of a library answers, wherever the library stands."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.errors import DimensionError, QueryError, UnsupportedError, VectorError
from mmsearch.milvus import engine as milvus_engine
from mmsearch.places import place_of
from mmsearch.predicates import And, Comparison, Not, Or
from mmsearch.query.searcher import Searcher
from mmsearch.records import ANNOTATING, READING, FileLook, Query, SearchOptions
from mmsearch.store.base import ALL, AskedVector, Passed, in_folder, variant_of
from mmsearch.store.changes import AnnotatedFile, Changes, RejectedFile, StoredFile, TouchedFile
from mmsearch.store.checked import passing
from mmsearch.store.labels import Labelling, LabelOptions
from tests.conftest import no_decoder
from tests.tiers import tiered

DIM = 16
SETTINGS = {"dim": DIM, "model": "none at all", "fingerprint": "f" * 64}
SUMMER = "\u00e9t\u00e9", "e\u0301te\u0301"  # the same word in two spellings
FOLDERS = [b"/p", b"/p/sub", b"/p/sub two", *(f"/p/{word}".encode() for word in SUMMER), b"/p2", b"/q/\xff"]
NAMES = [
    b"a.jpg", b"it's.JPG", b'q"uote.png', b"back\\slash.gif", b"100%_.webp", b"new\nline.jpg", b"\xff\xfe.jpg",
    "\u00e9.jpg".encode(), "e\u0301.jpg".encode(), b'" or id > 0 or ".jpg', b"B.png", b"[x].tif", b"IMG_1.jpg",
]  # fmt: skip


def unit(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def picture(path: bytes, *, contents: bytes = b"", vector: np.ndarray | None = None, **facts) -> StoredFile:
    chance = random.Random(path)
    look = FileLook(chance.choice([10, 100_000, 2_000_000, 30_000_000]), 5, chance.choice([None, 7]))
    known = {
        "width": chance.choice([10, 600, 800, 3000]), "height": 600,
        "format": chance.choice(["JPEG", "PNG", "GIF", "WEBP"]), "reading": READING,
        "taken_at": chance.choice([None, "2023-05-01T12:00:00", "2023-05", "1985", "2024-01-01"]),
    }  # fmt: skip
    vector = unit(1, int.from_bytes(sha256(path).digest()[:4], "big"))[0] if vector is None else vector
    return StoredFile(path, look, sha256(path + contents).digest(), vector=vector, **known | facts)


PICTURES = [picture(folder + b"/" + name) for folder in FOLDERS for name in NAMES]
FACTS = [
    (place, file.path, file.look.size, file.width, file.height, file.format, file.taken_at)
    for place, file in enumerate(PICTURES)
]


def pytest_generate_tests(metafunc):
    """Ask every store by default if a test is of the core, and a folder alone if it is not."""
    if "place" in metafunc.fixturenames:
        is_core = metafunc.definition.get_closest_marker("core") is not None
        stores = tiered(["folder", "milvus", "milvus-lite"], ["folder", "milvus"] if is_core else ["folder"])
        metafunc.parametrize("place", stores, indirect=True, scope="module")


@pytest.fixture(scope="module")
def place(request, tmp_path_factory):
    if request.param == "folder":
        return place_of(tmp_path_factory.mktemp("libraries") / "library")
    if request.param == "milvus":
        return place_of(request.getfixturevalue("milvus").address("contract"))
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    return place_of(f"milvus-lite://{tmp_path_factory.mktemp('libraries')}/libraries.db/contract")


@pytest.fixture
def writer(place):
    """The writer of a library without pictures."""
    with place.writer(create=SETTINGS) as store:
        store.remove_images([file.image_id for file in store.known_files(b"/")])
        yield store


@pytest.fixture(scope="module")
def library(request, tmp_path_factory, place):
    """A library of all `PICTURES`, open for reading."""
    is_folder = place.folder is not None
    name = tmp_path_factory.mktemp("read") / "library" if is_folder else place.address + "_read"
    wide = place_of(name)
    with wide.writer(create=SETTINGS) as store:
        store.commit(Changes(stored=PICTURES, roots=[b"/p", b"/p2"]))
        assert store.count_below(b"/") == len(PICTURES)
    milvus_engine._LAST_WRITTEN.clear()  # all has been seen: later reads need not wait for it
    opened = wide.open()
    yield opened
    opened.close()


def paths_on_page(store, where=()):
    page = store.page(where, order="path", after=None, offset=0, limit=1000)
    assert page.n == len(page.pictures)
    return [os.fsencode(image.path) for image in page.pictures]


def image_at(store, path):
    image = store.image_at(path)
    assert image is not None
    return image


# -- commits -------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_committed_picture_is_there_with_all_that_is_known_of_it(writer):
    file = picture(b"/a/\xff 'x\".jpg", taken_at=None)
    before = writer.revision
    writer.commit(Changes(stored=[file]))
    image = image_at(writer, file.path)
    assert writer.revision != before
    assert (os.fsencode(image.path), image.size_bytes, image.mtime_ns) == (file.path, *file.look[:2])
    assert (image.width, image.height, image.format, image.taken_at) == (file.width, 600, file.format, None)
    assert writer.original(image.image_id) == (image, file.content_hash)
    assert writer.reading_of(image.image_id) == READING
    (known,) = writer.known_files(b"/a")
    assert (known.path, known.look, known.image_id) == (file.path, file.look, image.image_id)
    assert writer.files_at([file.path, b"/other"]) == [known]
    assert writer.images_with_hash(file.content_hash) == writer.images_of_ids([image.image_id, 12345]) == [image]
    assert writer.paths_of_size(file.look.size) == [file.path]
    np.testing.assert_array_equal(writer.vectors_of([image])[0], file.vector.astype(np.float16))


@pytest.mark.core
def test_picture_with_other_contents_takes_the_place_of_the_one_before_under_a_new_id(writer):
    writer.commit(Changes(stored=[picture(b"/a.jpg")]))
    before = image_at(writer, b"/a.jpg")
    writer.commit(Changes(stored=[picture(b"/a.jpg", contents=b"changed", vector=unit(1, 7)[0])]))
    after = image_at(writer, b"/a.jpg")
    assert after.image_id != before.image_id
    assert writer.n_pictures == 1
    assert writer.images_of_ids([before.image_id]) == []
    np.testing.assert_array_equal(writer.vectors_of([after])[0], unit(1, 7)[0].astype(np.float16))


def test_picture_that_was_read_in_another_way_has_a_new_id_and_one_that_was_not_keeps_its_own(writer):
    writer.commit(Changes(stored=[picture(b"/a.jpg", reading=1)]))
    first = image_at(writer, b"/a.jpg")
    writer.commit(Changes(stored=[picture(b"/a.jpg", reading=1, width=11)]))
    second = image_at(writer, b"/a.jpg")
    assert (second.image_id, second.width) == (first.image_id, 11)
    writer.commit(Changes(stored=[picture(b"/a.jpg", reading=2)]))
    assert image_at(writer, b"/a.jpg").image_id != first.image_id
    assert writer.n_pictures == 1


@pytest.mark.core
def test_moved_and_touched_pictures_keep_their_ids_and_vectors(writer):
    writer.commit(Changes(stored=[picture(b"/a.jpg"), picture(b"/b.jpg")]))
    a, b = image_at(writer, b"/a.jpg"), image_at(writer, b"/b.jpg")
    vectors = writer.vectors_of([a, b])
    writer.commit(
        Changes(
            touched=[
                TouchedFile(a.image_id, b"/new/\xe9.jpg", FileLook(1, 2, None)),
                TouchedFile(b.image_id, b"/b.jpg", FileLook(3, 4, 5)),
            ]
        )
    )
    assert image_at(writer, b"/new/\xe9.jpg").image_id == a.image_id
    assert writer.image_at(b"/a.jpg") is None
    looks = {known.path: known.look for known in writer.known_files(b"/")}
    assert looks == {b"/new/\xe9.jpg": FileLook(1, 2, None), b"/b.jpg": FileLook(3, 4, 5)}
    np.testing.assert_array_equal(writer.vectors_of([a, b]), vectors)


def test_copy_has_the_vector_of_the_picture_that_it_is_a_copy_of(writer):
    writer.commit(Changes(stored=[picture(b"/a.jpg")]))
    a = image_at(writer, b"/a.jpg")
    ((_, stored),) = writer.stored_files(-1, 10)
    assert stored.row == a.row
    copy = picture(b"/copy.jpg")
    writer.commit(Changes(stored=[StoredFile(**{**vars(copy), "vector": None, "row": a.row})]))
    b = image_at(writer, b"/copy.jpg")
    one, other = writer.vectors_of([a, b])
    np.testing.assert_array_equal(one, other)


@pytest.mark.core
def test_copies_are_counted_and_named_as_they_came_and_are_one_hit(writer):
    near, far = unit(2, 31)
    files = [picture(b"/c/%d.jpg" % i, vector=near, width=600 + i) for i in range(12)]
    files = [replace(file, content_hash=files[0].content_hash) for file in files]
    others = [picture(b"/o/%d.jpg" % i, vector=far + i * near) for i in range(5)]
    for file in (*files, *others):
        writer.commit(Changes(stored=[file]))
    ids = [image_at(writer, file.path).image_id for file in (*files, *others)]
    hash_of = writer.hashes_of(ids)
    assert [hash_of[image_id] for image_id in ids] == [file.content_hash for file in (*files, *others)]
    assert writer.hashes_of([*ids[:1], 1 << 62]) == {ids[0]: files[0].content_hash}
    for where, kept in (((), files), (("width >= 604", "width < 610"), files[4:10]), (("width = 604",), [])):
        copies = writer.copies_of(set(hash_of.values()), writer.condition(where), limit=3)
        named = [(n, [os.fsencode(image.path) for image in images]) for n, images in copies.values()]
        assert named == ([(len(kept), [file.path for file in kept[:3]])] if kept else [])
    searcher = Searcher(writer, lambda: pytest.fail("no text is asked"), no_decoder)
    result = searcher.search(Query(vector=near), SearchOptions(k=3))
    assert [hit.path[:3] for hit in result] == ["/c/", "/o/", "/o/"]
    assert (result[0].folded.n_same_file, len(result[0].paths), result.n_candidates) == (11, 12, 17)
    following = searcher.search(Query(vector=near), SearchOptions(k=10, after=result.next))
    assert ([hit.path[:3] for hit in following], following.next) == (["/o/"] * 3, None)


def test_removed_pictures_are_gone_at_once_and_ten_thousand_at_a_time(writer):
    vectors = unit(10_500, 3)
    files = [picture(b"/many/%05d.jpg" % n, vector=vectors[n]) for n in range(10_500)]
    for start in range(0, len(files), 3_500):
        writer.commit(Changes(stored=files[start : start + 3_500]))
    known = list(writer.known_files(b"/many"))
    assert len(known) == writer.n_pictures == 10_500
    kept = [file.image_id for file in known if file.path >= b"/many/10000"]
    writer.remove_images([file.image_id for file in known if file.path < b"/many/10000"])
    assert writer.n_pictures == writer.count_below(b"/many") == 500
    answer = writer.neighbours().shortlists([AskedVector(vectors[0])], 1_000, ALL, "image")[0]
    assert sorted(image.image_id for _, image in answer.pictures) == sorted(kept)
    writer.remove_images(kept)
    assert writer.neighbours().shortlists([AskedVector(vectors[0])], 5, ALL, "image")[0].pictures == []


def test_commits_that_follow_one_another_are_kept_in_their_order_also_where_the_next_cannot_be_had(writer):
    files, kept = [picture(b"/row/%d.jpg" % n) for n in range(5)], []

    def several():
        yield from (Changes(stored=[file]) for file in files)
        raise OSError("there is no more")

    def keep_all():
        for changes in writer.committing(several()):
            kept.extend(file.path for file in changes.stored)
            assert {known.path for known in writer.files_at(kept)} == set(kept)

    with pytest.raises(OSError, match="there is no more"):
        keep_all()
    assert kept == [file.path for file in files][: len(kept)]
    assert len(kept) >= 4
    assert writer.count_below(b"/row") == 5
    assert paths_on_page(writer) == [file.path for file in files]


def test_commits_that_nobody_asks_for_any_more_are_kept_if_they_were_begun(writer):
    begun = []

    def several():
        for n in range(9):
            begun.append(b"/row/%d.jpg" % n)
            yield Changes(stored=[picture(begun[-1])])

    commits = writer.committing(several())
    next(commits)
    commits.close()
    assert len(begun) < 9
    assert paths_on_page(writer) == begun


@pytest.mark.core
@pytest.mark.parametrize(("vector", "error"), [(np.zeros(DIM), VectorError), (np.full(DIM, np.nan), VectorError),
                                               (np.ones(DIM + 1), DimensionError)])  # fmt: skip
def test_vector_that_cannot_be_used_is_refused_and_nothing_of_its_commit_is_stored(writer, vector, error):
    bad = picture(b"/bad.jpg", vector=vector.astype(np.float32))
    good = picture(b"/good.jpg", vector=unit(1, 1)[0] if len(vector) == DIM else np.ones(DIM + 1, np.float32))
    with pytest.raises(error):
        writer.commit(Changes(stored=[good, bad], gone=[1]))
    assert writer.n_pictures == 0


@pytest.mark.core
def test_rejected_files_are_known_until_they_are_accepted_or_forgotten(writer):
    look = FileLook(1, 2, 3)
    bad = [RejectedFile(b"/bad/%d 'x\".jpg" % n, look, "corrupt", 'it is "bad"', 2) for n in range(3)]
    writer.commit(Changes(rejected=bad))
    assert [file.path for file in writer.bad_pictures()] == [os.fsdecode(file.path) for file in bad]
    (first, *_) = sorted(writer.bad_files(b"/bad"))
    assert first == (bad[0].path, look, "corrupt", 2)
    assert list(writer.bad_files(b"/ba")) == []
    writer.commit(Changes(stored=[picture(bad[0].path)], forgotten=[bad[1].path]))
    assert [os.fsencode(file.path) for file in writer.bad_pictures()] == [bad[2].path]
    writer.commit(Changes(forgotten=[bad[2].path]))


@pytest.mark.parametrize(("code", "n_tries", "stays"), [("corrupt", 1, False), ("permission", 9, True),
                                                        ("killed", 1, True), ("killed", 3, False)])  # fmt: skip
def test_file_that_went_bad_keeps_its_picture_only_where_that_may_pass(writer, code, n_tries, stays):
    writer.commit(Changes(stored=[picture(b"/went/bad.jpg")]))
    writer.commit(Changes(rejected=[RejectedFile(b"/went/bad.jpg", FileLook(1, 2, 3), code, "", n_tries)]))
    assert (writer.image_at(b"/went/bad.jpg") is not None) == stays
    writer.commit(Changes(forgotten=[b"/went/bad.jpg"]))


@pytest.mark.core
def test_settings_and_roots_stay(place, writer):
    writer.keep({"answer": {"of": [1, "\u00e9"]}})
    writer.commit(Changes(roots=[b"/z\xff", b"/b"]))
    assert writer.keep_max_megapixels(100.0)
    assert not writer.keep_max_megapixels(64.0)
    reader = place.open()
    assert reader.setting("answer") == {"of": [1, "\u00e9"]}
    assert reader.setting("nothing") is None
    assert (reader.setting("model"), reader.dim, reader.fingerprint()) == ("none at all", DIM, "f" * 64)
    assert reader.max_megapixels == 64.0
    assert reader.roots()[-2:] == [b"/b", b"/z\xff"]
    reader.close()


# -- what is found -------------------------------------------------------------------------------------------


def test_all_is_known_below_a_folder_and_under_it(library):
    assert sorted(file.path for file in library.known_files(b"/p/sub")) == sorted(
        file.path for file in PICTURES if file.path.startswith(b"/p/sub/")
    )
    assert library.count_below(b"/p") == 5 * len(NAMES)
    assert library.count_below(b"/p/a.jpg") == 1
    assert library.count_below(b"/q/\xff") == len(NAMES)
    assert {file.path for file in library.files_at([file.path for file in PICTURES])} == {
        file.path for file in PICTURES
    }


def test_stored_files_come_by_id_some_at_a_time(library):
    after, paths, ids, vectors = -1, [], [], {}
    while files := library.stored_files(after, 10):
        assert len(files) <= 10
        ids += [image_id for image_id, _ in files]
        paths += [file.path for _, file in files]
        vectors |= {file.path: file.vector for _, file in files}
        after = ids[-1]
    assert ids == sorted(ids)
    assert sorted(paths) == sorted(file.path for file in PICTURES)
    for file in PICTURES:
        np.testing.assert_array_equal(vectors[file.path], file.vector.astype(np.float16))


TEXTS = st.sampled_from(
    [
        "a.jpg",
        "B",
        "\u00e9.jpg",
        "e\u0301.jpg",
        'q"uote.png',
        "it's.JPG",
        "100%_.webp",
        "\udcff\udcfe.jpg",
        "new\nline.jpg",
    ]
)
PLACES = st.sampled_from(
    ["/p", "/p/sub", *(f"/p/{word}" for word in SUMMER), "/q/\udcff", "/p/sub/a.jpg", "/p/it's.JPG"]
)
GLOBS = st.sampled_from(
    [
        "*",
        "*.jpg",
        "IMG*",
        "[ab]*",
        "?.jpg",
        "100%_*",
        "*'*",
        '*"*',
        "*\\*",
        "\u00e9*",
        "*\n*",
        "[[]x]*",
        "a.jpg",
        "1*",
    ]
)
DATES = st.sampled_from(["2023", "2023-05", "2023-05-01", "2023-05-01T12:00", "1985", "2024-01-01T00:00:00"])
NUMBERS = st.sampled_from([10, 600, 800, 100_000, 2_000_000])
LEADS = st.sampled_from(["/p/", "/p/s", "*/", f"/p/{SUMMER[0]}/"])
EQUAL, ORDER = st.sampled_from(["=", "!="]), st.sampled_from(["<", "<=", ">", ">="])
ANY, GLOB = EQUAL | ORDER, st.just("~")
COMPARISONS = st.one_of(
    st.builds(Comparison, st.sampled_from(["width", "height", "size"]), ANY, NUMBERS),
    st.builds(Comparison, st.just("taken"), ANY, DATES),
    st.builds(Comparison, st.just("orientation"), EQUAL, st.sampled_from(["landscape", "Portrait", "square"])),
    st.builds(Comparison, st.just("format"), EQUAL, st.sampled_from(["jpg", "PNG", "gif", "webp"])),
    st.builds(Comparison, st.just("format"), ORDER, st.sampled_from(["JPEG", "Q"])),
    st.builds(Comparison, st.just("format"), GLOB, st.sampled_from(["J*", "*", "?NG"])),
    st.builds(Comparison, st.just("name"), ANY, TEXTS),
    st.builds(Comparison, st.sampled_from(["path", "folder"]), ANY, PLACES),
    st.builds(Comparison, st.just("name"), GLOB, GLOBS),
    st.builds(Comparison, st.sampled_from(["path", "folder"]), GLOB, st.builds("{}{}".format, LEADS, GLOBS)),
)
TREES = st.recursive(
    COMPARISONS,
    lambda terms: st.one_of(
        st.builds(Not, terms),
        st.lists(terms, min_size=1, max_size=3).map(lambda several: And(tuple(several))),
        st.lists(terms, min_size=1, max_size=3).map(lambda several: Or(tuple(several))),
    ),
    max_leaves=5,
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_filter_passes_what_the_conditions_of_the_local_catalog_pass(library, tree):
    expected = sorted(PICTURES[place].path for place in passing(tree, FACTS))
    try:
        assert paths_on_page(library, [tree]) == expected
    except QueryError:  # no picture could pass it, whatever the library holds
        assert expected == []


@pytest.mark.core
def test_orientation_is_that_of_width_and_height(library):
    wanted = {
        "orientation = landscape": [file.path for file in PICTURES if file.width > file.height],
        "orientation = portrait": [file.path for file in PICTURES if file.width < file.height],
        "not orientation != square": [file.path for file in PICTURES if file.width == file.height],
    }
    assert all(wanted.values())
    for where, paths in wanted.items():
        assert paths_on_page(library, [where]) == sorted(paths)


@pytest.mark.parametrize(
    "comparison", ["path = /p", "folder = /nowhere", "width < 1", "name = a/b", "folder ~ sub"]
)
def test_filter_that_no_picture_could_pass_is_refused(library, comparison):
    with pytest.raises(QueryError, match=comparison):
        library.condition([comparison])
    with pytest.raises(QueryError, match=comparison):
        library.page([comparison], order="added", after=None, offset=0, limit=1)


@pytest.mark.core
@pytest.mark.parametrize("where", [[], ["width >= 800"], ["name ~ *.jpg", "not taken = 1985"], ["folder = /p/sub"]])
def test_facets_count_what_passes(library, where, tmp_path_factory):
    condition = library.condition(where)
    expected = passing(condition.predicate, FACTS) if condition.predicate else range(len(PICTURES))
    facets = library.facets(where)
    assert library.count_passing(where) == len(expected)
    assert facets.n == sum(facet.n for facet in facets.formats) == len(expected)
    for classes in (facets.sizes, facets.widths, facets.orientations):
        assert sum(facet.n for facet in classes) == facets.n
    years = {facet.label: facet.n for facet in facets.years}
    assert sum(years.values()) == sum(PICTURES[place].taken_at is not None for place in expected)
    folders = [facet for facet in facets.folders if facet.label.isascii()]  # others may have two spellings
    shapes = (*facets.widths, *facets.orientations)
    for facet in (*folders, *facets.years, *facets.sizes, *facets.formats, *shapes):
        assert library.count_passing([*where, *facet.where]) == facet.n
    if not where:
        assert [facet.label for facet in facets.folders][:3] == ["/", "/p", "/p/e\u0301te\u0301"]


@pytest.mark.parametrize("order", ["added", "path", "taken"])
@pytest.mark.parametrize("where", [[], ["width >= 800"], ["name ~ *.jpg"]])
def test_pages_follow_one_another_and_none_is_repeated_or_left_out(library, order, where):
    condition = library.condition(where)
    files = [PICTURES[place] for place in passing(condition.predicate, FACTS)] if where else PICTURES
    expected = [file.path for file in files]
    if order == "path":
        expected.sort()
    elif order == "taken":  # what came last first, where dates are the same
        expected = [
            file.path for file in sorted(reversed(files), key=lambda file: file.taken_at or "", reverse=True)
        ]
    paths, after = [], None
    while True:
        page = library.page(where, order=order, after=after, offset=0, limit=13)
        assert page.n == len(expected)
        paths += [os.fsencode(image.path) for image in page.pictures]
        after = page.next
        if after is None:
            break
    assert paths == expected
    skipped = library.page(where, order=order, after=None, offset=20, limit=5)
    assert [os.fsencode(image.path) for image in skipped.pictures] == expected[20:25]
    assert library.page(where, order=order, after=None, offset=10_000, limit=5).pictures == ()


def test_pages_neither_repeat_nor_leave_out_what_stays_while_pictures_come_and_leave(writer):
    def name(number):
        return b"/%03d.jpg" % number

    def change(come, leave):
        id_at = {known.path: known.image_id for known in writer.known_files(b"/")}
        writer.remove_images([id_at[name(number)] for number in leave])
        writer.commit(Changes(stored=[picture(name(number)) for number in come]))
        gone.update(map(name, leave))

    gone, first = set(), range(0, 60, 2)
    change(first, [])
    changes = [
        (range(1, 20, 2), [6, 8, 10]),  # the last of the first page, and what comes then
        ([21, 59, 99], range(40, 60, 2)),
        ([], range(16, 38, 2)),
    ]
    listed: dict = {order: [] for order in ("added", "path", "taken")}
    after = dict.fromkeys(listed)
    while after:
        for order in list(after):
            page = writer.page([], order=order, after=after.pop(order), offset=0, limit=5)
            listed[order] += [os.fsencode(image.path) for image in page.pictures]
            if page.next is not None:
                after[order] = page.next
        if changes:
            change(*changes.pop(0))
    assert not changes
    for order, paths in listed.items():
        assert len(set(paths)) == len(paths)
        assert set(map(name, first)) - gone <= set(paths)
        assert name(99) in paths or order == "taken"  # where it is newer than the page on which it came


@pytest.mark.parametrize("order", ["added", "taken"])
@pytest.mark.parametrize("cursor", ["x", "!!!!", "Pz8/Pw==", "/w=="])
def test_cursor_that_no_page_gave_is_refused(library, order, cursor):
    with pytest.raises(QueryError, match="expected the `next` of a page"):
        library.page([], order=order, after=cursor, offset=0, limit=1)


@pytest.mark.parametrize("where", [[], ["width >= 800"], ["name ~ *.jpg", "not taken = 1985"]])
def test_months_hold_the_pictures_of_the_newest_first_in_their_order(library, where):
    months = library.timeline(where)
    labels = [month.label for month in months]
    dated = sorted((label for label in labels if label[0].isdigit()), reverse=True)
    assert labels == [*dated, "without a date"]
    assert set(dated) == {"2024-01", "2023-05", "1985"} - {"1985" if len(where) == 2 else ""}
    whole = library.page(where, order="taken", after=None, offset=0, limit=1000)
    listed = []
    for month in months:
        page = library.page([*where, *month.where], order="taken", after=None, offset=0, limit=1000)
        assert page.n == len(page.pictures) == month.n
        listed += page.pictures
        if month.n > 3:
            part = library.page([*where, *month.where], order="taken", after=None, offset=month.n - 3, limit=9)
            assert part.pictures == page.pictures[-3:]
    assert tuple(listed) == whole.pictures


def test_month_is_not_the_year_of_which_no_month_is_known(writer):
    dates = ["2023", "2023-01", "2023-12-31T23:59:59", "2024", None, "0999-01-01"]
    writer.commit(Changes(stored=[picture(b"/%d.jpg" % n, taken_at=date) for n, date in enumerate(dates)]))
    months = [(month.label, month.n) for month in writer.timeline()]
    assert months == [
        ("2024", 1), ("2023-12", 1), ("2023-01", 1), ("2023", 1), ("0999-01", 1), ("without a date", 1),
    ]  # fmt: skip
    for month in writer.timeline():
        assert writer.page(month.where, order="taken", after=None, offset=0, limit=9).n == 1
    with pytest.raises(QueryError, match="nowhere"):
        writer.timeline(["folder = /nowhere"])


# -- labels --------------------------------------------------------------------------------------------------


def given_labels(store):
    """Give pictures the labels `left` and `right` of a set, by which side of the first axis they are on."""
    sides = np.eye(DIM, dtype=np.float32)[[0, 0]] * np.float32([[-1], [1]])
    labelling = Labelling(
        ZeroShotClassifier(("left", "right"), sides, 3.0), LabelOptions(("{}",)), SETTINGS["fingerprint"]
    )
    labels = in_folder(store, "labels").labels
    labels.define("sides", labelling)
    labels.update(lambda *_: None)


@pytest.mark.core
def test_labels_are_kept_and_filtered_by_or_a_sentence_says_that_they_are_not(place, writer):
    files = [picture(b"/side/%d.jpg" % n, vector=vector) for n, vector in enumerate(unit(9, 5))]
    writer.commit(Changes(stored=files))
    ids = [file.image_id for file in writer.known_files(b"/")]
    if place.folder is None:
        assert (writer.label_sets(), writer.labels_of(ids), writer.facets().labels) == ((), {}, ())
        assert writer.status().labels == ()
        for where in ("label = left", "not label ~ l*", "width > 1 or label != left"):
            for ask in (writer.condition, writer.facets, paths_on_page):
                with pytest.raises(
                    UnsupportedError, match="stands at an address, where there is no support for labels"
                ):
                    ask([where]) if ask is not paths_on_page else ask(writer, [where])
        with pytest.raises(UnsupportedError, match="no support for labels yet"):
            given_labels(writer)
        return
    given_labels(writer)
    is_left = {file.path: file.vector[0] < 0 for file in files}
    assert paths_on_page(writer, ["label = left"]) == [path for path in sorted(is_left) if is_left[path]]
    assert paths_on_page(writer, ["label != sides/left"]) == [path for path in sorted(is_left) if not is_left[path]]
    assert {image_id: labels[0].label for image_id, labels in writer.labels_of(ids).items()} == {
        known.image_id: "left" if is_left[known.path] else "right" for known in writer.known_files(b"/")
    }
    (facets,) = writer.facets().labels
    assert {facet.label: facet.n for facet in facets.facets} == {
        "left": sum(is_left.values()), "right": 9 - sum(is_left.values()),
    }  # fmt: skip
    (known,) = writer.label_sets()
    assert (known.name, known.n_labels, known.n_labelled, known.n_left) == ("sides", 2, 9, 0)


# -- annotations ---------------------------------------------------------------------------------------------


def test_annotations_are_kept_or_a_sentence_says_that_they_are_not(place, writer):
    said = Annotations((Annotation(Kind.TAG, "xmp:dc:subject", "dog"),))
    writer.commit(Changes(stored=[picture(b"/plain.jpg")]))
    plain = image_at(writer, b"/plain.jpg").image_id
    annotated = replace(picture(b"/annotated.jpg"), annotations=said, beside=b"look")
    if place.folder is None:
        for changes in (Changes(stored=[annotated]), Changes(annotated=[AnnotatedFile(plain, said)])):
            with pytest.raises(UnsupportedError, match="address, where there is no support for annotations yet"):
                writer.commit(changes)
        with pytest.raises(UnsupportedError, match="no support for annotations yet"):
            in_folder(writer, "annotations").annotations.type([plain], Kind.TAG, ["mine"])
        for where in ("tag = dog", "not has = position", "width > 1 or near = 1,2,3"):
            with pytest.raises(UnsupportedError, match=r"no support for filters by (tag|has|near) yet"):
                writer.condition([where])
        with pytest.raises(UnsupportedError, match="no support for texts beside pictures yet"):
            Searcher(writer, None, no_decoder).search(Query(text="dog"), SearchOptions(words="only"))
        assert writer.annotations_of([plain]) == {}
        assert [(known.annotated, known.beside) for known in writer.known_files(b"/")] == [(0, None)]
        return
    writer.commit(Changes(stored=[annotated]))
    known = {file.path: (file.image_id, file.annotated, file.beside) for file in writer.known_files(b"/")}
    assert known[b"/plain.jpg"] == (plain, 0, None)
    assert known[b"/annotated.jpg"][1:] == (ANNOTATING, b"look")
    writer.commit(Changes(annotated=[AnnotatedFile(plain, said)]))
    ids = [plain, known[b"/annotated.jpg"][0]]
    assert writer.annotations_of([*ids, 99]) == dict.fromkeys(ids, said.texts)
    assert paths_on_page(writer, ["tag = DOG"]) == [b"/annotated.jpg", b"/plain.jpg"]
    assert paths_on_page(writer, ["tag != dog"]) == []


# -- neighbours ----------------------------------------------------------------------------------------------


def exact(query, places, k):
    stored = np.stack([file.vector for file in PICTURES]).astype(np.float16).astype(np.float64)
    scores = stored @ query.astype(np.float64) / np.linalg.norm(stored, axis=1)
    best = sorted(places, key=lambda place: -scores[place])[:k]
    return [PICTURES[place].path for place in best], scores[best]


@pytest.mark.core
@pytest.mark.parametrize("use_index", [True, False])
@pytest.mark.parametrize("where", [[], ["width >= 800"], ["name ~ *.jpg"], ["taken = 1985 or not format = PNG"]])
def test_shortlists_are_the_nearest_that_pass_with_their_cosines(library, use_index, where):
    condition = library.condition(where)
    places = passing(condition.predicate, FACTS) if where else range(len(PICTURES))
    queries = unit(4, 11)
    neighbours = library.neighbours(use_index=use_index)
    with library.reading():
        answers = neighbours.shortlists([AskedVector(query) for query in queries], 7, condition, "image")
    assert neighbours.problems() == ()
    for query, answer in zip(queries, answers, strict=True):
        paths, scores = exact(query, places, 7)
        assert [os.fsencode(image.path) for _, image in answer.pictures] == paths
        np.testing.assert_allclose([score for score, _ in answer.pictures], scores, atol=1e-6)
        assert answer.n_candidates == len(places)
        assert answer.route in ("exact", "graph", "filtered")


@pytest.mark.core
def test_more_than_there_are_gives_all_that_there_are(library):
    (answer,) = library.neighbours().shortlists([AskedVector(unit(1, 1)[0])], 1_000, ALL, "text")
    assert len({image.image_id for _, image in answer.pictures}) == len(PICTURES)
    scores = [score for score, _ in answer.pictures]
    assert scores == sorted(scores, reverse=True)


def test_what_the_vector_is_comes_first_and_what_is_left_out_not_at_all(library):
    far = image_at(library, PICTURES[0].path)
    other = image_at(library, PICTURES[1].path)
    asked = [
        AskedVector(-PICTURES[0].vector, itself=(far.image_id,), left_out=(other.image_id,)),
        AskedVector(unit(1, 2)[0]),
    ]
    with library.reading():
        first, second = library.neighbours().shortlists(asked, 5, ALL, "image")
        (all_others,) = library.neighbours().shortlists(asked[:1], 1_000, ALL, "image")
        filtered = library.condition(["path = /p/it's.JPG"])
        (none,) = library.neighbours().shortlists(
            [AskedVector(unit(1, 2)[0], itself=(far.image_id,))], 5, filtered, "image"
        )
    assert first.pictures[0][1] == far
    assert first.pictures[0][0] == pytest.approx(-1, abs=1e-3)
    assert len(first.pictures) == len(second.pictures) == 5
    assert other.image_id not in [image.image_id for _, image in all_others.pictures]
    assert len(all_others.pictures) == all_others.n_candidates == len(PICTURES) - 1
    assert [image.path for _, image in none.pictures] == ["/p/it's.JPG"]


def test_equal_scores_go_by_id_whatever_is_asked_for(writer):
    same, others = unit(1, 21)[0], unit(20, 22)
    files = [picture(b"/same/%d.jpg" % n, vector=same) for n in range(20)]
    writer.commit(Changes(stored=files + [picture(b"/other/%d.jpg" % n, vector=others[n]) for n in range(20)]))
    ids = sorted(file.image_id for file in writer.known_files(b"/same"))
    for k in (1, 3, 6, 10, 19):
        (answer,) = writer.neighbours().shortlists([AskedVector(same)], k, ALL, "image")
        assert [image.image_id for _, image in answer.pictures] == ids[:k]
        assert len({score for score, _ in answer.pictures}) == 1


DIRECTIONS = [(1, 0), (0, 1), (1, 1), (-1, 0), (0, -1), (2, 1), (1, -1)]  # many at one angle to each of them


@pytest.fixture
def ties(writer):
    """A library of 61 pictures, of which many have one vector, and many others are as near to what is asked."""
    chance, files = random.Random(5), []
    for n in range(60):
        vector = np.zeros(DIM, np.float32)
        axis = chance.choice([0, 2, 4])
        vector[axis : axis + 2] = chance.choice(DIRECTIONS)
        files.append(picture(b"/tie/%02d.%s" % (n, chance.choice([b"jpg", b"png"])), vector=vector))
    writer.commit(Changes(stored=files))
    writer.commit(Changes(stored=[picture(b"/tie/again.jpg", vector=files[0].vector)]))
    return writer


def all_pages(store, query, k, condition, *, neighbours):
    """Everything that passes, the first page as it is asked for and the others after it."""
    with store.reading():
        (page,) = neighbours.shortlists([query], k, condition, "image")
        pages, passed = [page], Passed(frozenset(image.image_id for _, image in page.pictures))
        while page.next_score is not None:
            page = neighbours.following(query, k, condition, passed)
            assert 0 < len(page.pictures) <= k
            score, image = page.pictures[-1]
            pages.append(page)
            passed = Passed(passed.image_ids, query.key(score, image.image_id))
    return pages


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    k=st.integers(4, 30), axis=st.sampled_from([0, 2, 4]), towards=st.sampled_from(DIRECTIONS),
    where=st.sampled_from([[], ["name ~ *.jpg"], ["width >= 800"]]),
    itself=st.lists(st.integers(0, 60), max_size=5), left_out=st.lists(st.integers(0, 60), max_size=5),
)  # fmt: skip
def test_pages_together_are_the_shortlist_of_all_of_them(ties, k, axis, towards, where, itself, left_out):
    vector = np.zeros(DIM, np.float32)
    vector[axis : axis + 2] = towards
    ids = sorted(known.image_id for known in ties.known_files(b"/"))
    itself, left_out = (tuple(ids[place] for place in places) for places in (itself, left_out))
    query = AskedVector(vector / np.linalg.norm(vector), itself, left_out)
    condition, neighbours = ties.condition(where), ties.neighbours(use_index=False)
    with ties.reading():
        (whole,) = neighbours.shortlists([query], 61, condition, "image")
    pages = all_pages(ties, query, k, condition, neighbours=neighbours)
    together = [pair for page in pages for pair in page.pictures]
    assert [image for _, image in together] == [image for _, image in whole.pictures]
    assert [score for score, _ in together] == pytest.approx([score for score, _ in whole.pictures], abs=1e-6)
    assert {page.n_candidates for page in pages} == {whole.n_candidates}
    assert {page.route for page in pages} <= {"exact", "filtered"}
    assert whole.next_score is None
    for page, following in pairwise(pages):
        assert page.next_score == pytest.approx(following.pictures[0][0], abs=1e-6)


def test_what_the_first_page_missed_comes_on_the_second(library):
    query, neighbours = AskedVector(unit(1, 31)[0]), library.neighbours()
    with library.reading():
        (whole,) = neighbours.shortlists([query], 20, ALL, "image")
        given = frozenset(image.image_id for _, image in whole.pictures[5:10])
        page = neighbours.following(query, 5, ALL, Passed(given))
        last = query.key(page.pictures[-1][0], page.pictures[-1][1].image_id)
        third = neighbours.following(query, 10, ALL, Passed(given, last))
    assert [image for _, image in page.pictures] == [image for _, image in whole.pictures[:5]]
    assert [image for _, image in third.pictures] == [image for _, image in whole.pictures[10:]]


def test_later_pages_neither_repeat_nor_leave_out_what_stays_while_pictures_come_and_leave(writer):
    vectors, query = unit(90, 41), AskedVector(unit(1, 42)[0])
    nearest = np.argsort(-(vectors @ query.vector)).tolist()
    names = {number: b"/%02d.jpg" % number for number in range(90)}

    def store(places):
        numbers = [nearest[place] for place in places]
        writer.commit(Changes(stored=[picture(names[number], vector=vectors[number]) for number in numbers]))

    def remove(places):
        writer.remove_images([image_at(writer, names[nearest[place]]).image_id for place in places])

    def page_after(passed):
        with writer.reading():
            neighbours = writer.neighbours()
            if passed is None:
                return neighbours.shortlists([query], 10, ALL, "image")[0].pictures
            return neighbours.following(query, 10, ALL, passed).pictures

    store(range(0, 90, 2))
    first = page_after(None)
    passed = Passed(frozenset(image.image_id for _, image in first))
    store([1, 3, 25, 27])  # two before what was given, and two after it
    remove([18, 20, 22, 88])  # what was given last, and what would come
    second = page_after(passed)
    passed = Passed(passed.image_ids, query.key(second[-1][0], second[-1][1].image_id))
    remove([0, 34])
    store([29, 45])
    third = page_after(passed)
    given = [os.fsencode(image.path) for page in (first, second, third) for _, image in page]
    assert given == [names[nearest[place]] for place in (
        *range(0, 20, 2), 1, 3, 24, 25, 26, 27, 28, 30, 32, 34, 36, 38, 40, 42, 44, 45, 46, 48, 50, 52,
    )]  # fmt: skip


@pytest.mark.core
def test_whole_library_verifies_and_says_what_it_holds(library):
    report = library.verify()
    assert (report.problems, report.n_dropped) == ((), 0)
    assert report.n_vectors == len(PICTURES)
    status = library.status()
    assert (status.n_images, status.dim, status.model) == (len(PICTURES), DIM, "none at all")
    assert status.folder == library.address


@pytest.mark.core
def test_place_knows_its_library(place, writer):
    assert place.holds_library()
    writer.commit(Changes(stored=[picture(b"/a.jpg")]))
    assert place.holds_pictures()
    assert place.identity() == place.identity() != 0


# -- precision and views -------------------------------------------------------------------------------------


def test_a_library_knows_its_precision_and_views_and_how_they_agreed(tmp_path, place):
    agreement = {"n_pictures": 200, "cosine": 0.9995, "centred": 0.998, "neighbours": 0.99, "texts": 0.98}
    of_its_own = place_of(tmp_path / "library" if place.folder is not None else place.address + "_int8")
    with of_its_own.writer(create={**SETTINGS, "precision": "int8", "views": 5, "agreement": agreement}) as store:
        assert variant_of(store) == ("int8", 5)
    opened = of_its_own.open()
    status = opened.status()
    opened.close()
    assert (status.precision, status.views, status.agreement) == ("int8", 5, agreement)


@pytest.mark.core
def test_a_library_that_says_nothing_of_a_precision_and_views_has_fp32_and_one(library):
    assert (library.status().precision, library.status().views, library.status().agreement) == ("fp32", 1, None)
