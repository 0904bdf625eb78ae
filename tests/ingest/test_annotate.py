"""What is written beside pictures: read with them, and anew where it changed and they did not."""

from __future__ import annotations

import os
import time
from contextlib import closing

import pytest

from mmsearch import Library, Query, SidecarsReport
from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.annotations.xmp_sidecar import xmp_sidecar
from mmsearch.errors import NoEncoderError, OutputError, QueryError
from mmsearch.ingest import annotate, pool
from mmsearch.ingest.beside import Beside
from mmsearch.ingest.plan import make_plan
from mmsearch.records import ANNOTATING
from mmsearch.store.changes import KnownFile
from mmsearch.store.folder import Store

NAME = Annotation(Kind.NAME, "file name", "cat")


def said(library, path):
    """Return the id of the picture at a path, and all that is written about it but for the names of folders."""
    with closing(Store.open(library.folder)) as store:
        image = store.image_at(os.fsencode(path))
        texts = store.annotations.of([image.image_id]).get(image.image_id, ())
        return image.image_id, [text for text in texts if text.kind is not Kind.FOLDER]


def tag(text, source="sidecar:xmp:dc:subject"):
    return Annotation(Kind.TAG, source, text)


def write_tag(path, text):
    path.write_bytes(xmp_sidecar([tag(text)]))


def test_a_sidecar_that_comes_changes_and_leaves_is_noticed_without_embedding_its_picture(indexed, photos):
    image_id, before = said(indexed, photos / "cat.jpg")
    assert before == [NAME]
    sidecar = photos / "cat.jpg.xmp"
    for text, expected in (("Mimi", [NAME, tag("Mimi")]), ("Felix", [NAME, tag("Felix")]), (None, [NAME])):
        sidecar.unlink() if text is None else write_tag(sidecar, text)
        report = indexed.index([photos])
        assert (report.new, report.changed, report.details["annotated"]) == (0, 0, 1)
        assert said(indexed, photos / "cat.jpg") == (image_id, expected)
    assert "annotated" not in indexed.index([photos]).details


def test_new_pictures_and_copies_have_their_own_names_and_sidecars(indexed, photos):
    below = photos / "Rome 2019"
    below.mkdir()
    (below / "Anna laughs.jpg").write_bytes((photos / "cat.jpg").read_bytes())  # a copy
    write_tag(below / "Anna laughs.xmp", "wedding")
    report = indexed.index([photos])
    assert (report.new, report.details["annotated"]) == (1, 1)
    _, texts = said(indexed, below / "Anna laughs.jpg")
    assert texts == [Annotation(Kind.NAME, "file name", "Anna laughs"), tag("wedding")]
    assert said(indexed, photos / "cat.jpg")[1] == [NAME]


def test_what_was_typed_stays_with_a_picture_that_is_renamed_or_rewritten(indexed, photos):
    assert indexed.tag(photos / "cat.jpg", "Mimi") == [str(photos / "cat.jpg")]
    indexed.caption(photos / "cat.jpg", "sleeps on the stove")
    typed = [tag("Mimi", "user"), Annotation(Kind.CAPTION, "user", "sleeps on the stove")]
    renamed = (photos / "cat.jpg").rename(photos / "mimi at home.jpg")
    indexed.index([photos])
    image_id, texts = said(indexed, renamed)
    assert texts == [*typed, Annotation(Kind.NAME, "file name", "mimi at home")]
    with renamed.open("ab") as file:
        file.write(b"rewritten by another program")
    assert indexed.index([photos]).changed == 1
    new_id, texts = said(indexed, renamed)
    assert new_id != image_id
    assert texts[:2] == typed
    indexed.remove(renamed)
    indexed.index([photos])
    assert said(indexed, renamed)[1][:2] == typed


def test_captions_of_files_and_users_have_vectors_beside_their_pictures(indexed, photos):
    (photos / "cat.txt").write_text("a cat sleeps on a stove")
    (photos / "dam.txt").write_text("two words")
    indexed.index([photos])
    indexed.caption(photos / "dam.jpg", "a high wall before a lake")
    with closing(Store.open(indexed.folder)) as store:
        image_ids, vectors = store.annotations.caption_vectors()
        paths = [store.image_at(os.fsencode(photos / name)).image_id for name in ("cat.jpg", "dam.jpg")]
    assert sorted(image_ids.tolist()) == sorted(paths)
    assert len(vectors) == 2


def test_tags_are_taken_from_pictures_and_counted(indexed, photos):
    n = len(indexed)
    indexed.tag(photos, ["holiday", "Places > France"])
    assert indexed.untag(photos / "cat.jpg", "HOLIDAY") == [str(photos / "cat.jpg")]
    assert indexed.untag(photos / "cat.jpg", "holiday") == []
    assert indexed.tags_of(photos / "cat.jpg") == {str(photos / "cat.jpg"): ("Places > France",)}
    counts = {facet.label: facet.n for facet in indexed.tags()}
    assert counts["holiday"] == n - 1


def test_tags_are_published_when_they_are_typed_so_that_no_search_reads_them_all_again(
    indexed, photos, monkeypatch
):
    monkeypatch.setattr("mmsearch.store.text_index._LEAST", 0)
    for change in (indexed.tag, indexed.untag):
        before = set(indexed.folder.glob("texts-*.bin"))
        change(photos, "holiday")
        assert set(indexed.folder.glob("texts-*.bin")) - before


def test_only_pictures_of_the_library_are_tagged(indexed, photos):
    with pytest.raises(QueryError, match=r"the library has no picture at or below .*none; index it first"):
        indexed.tag(photos / "none", "x")
    with pytest.raises(QueryError, match="has no letter and no digit"):
        indexed.tag(photos, "...")
    with pytest.raises(QueryError, match=r"photos is no picture of the library, and a caption is of one"):
        indexed.caption(photos, "a folder")


def test_sidecars_are_written_for_what_was_typed_and_read_again(indexed, photos, tmp_path):
    write_tag(photos / "cat.jpg.xmp", "from another program")
    indexed.index([photos])
    below = photos / "trip" / "goldfish.jpg"
    indexed.tag([photos / "cat.jpg", below], "mine")
    out = tmp_path / "sidecars"
    assert indexed.export_sidecars(out).n_written == 2
    sidecars = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.xmp"))]
    assert sidecars == ["cat.jpg.xmp", "trip/goldfish.jpg.xmp"]
    beside = Beside([os.fsencode(out)])
    texts = beside.annotations(os.fsencode(out / "cat.jpg"), Annotations()).texts
    assert [text.text for text in texts if text.kind is Kind.TAG] == ["mine", "from another program"]


def test_a_sidecar_goes_when_nothing_is_left_of_what_was_typed_and_no_other_file_does(indexed, photos, tmp_path):
    out = tmp_path / "sidecars"
    indexed.tag([photos / "cat.jpg", photos / "dam.jpg", photos / "trip" / "goldfish.jpg"], "mine")
    indexed.export_sidecars(out)
    (out / "elsewhere.jpg.xmp").write_bytes((out / "cat.jpg.xmp").read_bytes())  # of no picture of the library
    (out / "dam.jpg.xmp").write_text("of another program by now")
    (out / "cat.jpg.xmp").with_suffix(".txt").write_text("notes")
    indexed.untag([photos / "dam.jpg", photos / "trip" / "goldfish.jpg"], "mine")
    assert indexed.export_sidecars(out) == SidecarsReport(str(out), 1, 1)
    indexed.untag(photos / "cat.jpg", "mine")
    assert indexed.export_sidecars(out) == SidecarsReport(str(out), 0, 1)
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert left == ["cat.jpg.txt", "dam.jpg.xmp", "elsewhere.jpg.xmp"]


def test_no_sidecar_is_replaced_that_was_changed_nor_removed_that_another_library_wrote(indexed, photos, tmp_path):
    out = tmp_path / "sidecars"
    indexed.tag([photos / "cat.jpg", photos / "trip" / "goldfish.jpg"], "mine")
    indexed.export_sidecars(out)
    changed = (out / "cat.jpg.xmp").read_bytes().replace(b"mine", b"mine, and more")
    (out / "cat.jpg.xmp").write_bytes(changed)
    with pytest.raises(OutputError, match=r"cat.jpg.xmp was changed since mmsearch wrote it; move it away"):
        indexed.export_sidecars(out)
    with Library.open(tmp_path / "other") as other:
        other.add_vectors([photos / "dam.jpg"], [[1, 0]], model="theirs")
        other.tag(photos / "dam.jpg", "theirs")
        other.export_sidecars(out)
    indexed.untag(photos, "mine")
    assert indexed.export_sidecars(out).n_removed == 1
    assert sorted(path.name for path in out.rglob("*.xmp")) == ["cat.jpg.xmp", "dam.jpg.xmp"]
    assert (out / "cat.jpg.xmp").read_bytes() == changed


def test_a_sidecar_that_was_written_through_a_link_stays(indexed, photos, tmp_path):
    out = tmp_path / "sidecars"
    indexed.tag([photos / "cat.jpg", photos / "dam.jpg"], "mine")
    indexed.export_sidecars(out)
    (out / "cat.jpg.xmp").unlink()
    (out / "cat.jpg.xmp").symlink_to("dam.jpg.xmp")
    indexed.untag(photos / "dam.jpg", "mine")
    assert indexed.export_sidecars(out) == SidecarsReport(str(out), 1, 0)
    assert (out / "cat.jpg.xmp").exists()


def test_a_library_of_vectors_without_an_encoder_is_searched_by_its_tags(tmp_path):
    with Library.open(tmp_path / "library") as library:
        library.add_vectors(["/photos/a.jpg", "/photos/b.jpg"], [[1, 0], [0, 1]], model="mine")
        with pytest.raises(NoEncoderError):
            library.search("wedding")
        library.tag("/photos/b.jpg", "wedding")
        for words in ("auto", "only"):
            result = library.search("wedding", words=words, explain=True)
            assert (result.route, [hit.path for hit in result]) == ("words", ["/photos/b.jpg"])
        assert library.search(Query(vector=[1, 0.1]), k=1, explain=True)[0].path == "/photos/a.jpg"


def test_a_tag_that_was_written_beside_its_picture_can_be_taken_away(indexed, photos):
    indexed.tag(photos / "cat.jpg", ["right", "wrong"])
    indexed.export_sidecars(photos)
    indexed.index([photos])
    indexed.untag(photos / "cat.jpg", "wrong")
    indexed.export_sidecars(photos)
    indexed.index([photos])
    assert indexed.tags_of(photos / "cat.jpg") == {str(photos / "cat.jpg"): ("right",)}


def test_a_picture_of_an_older_library_is_annotated_by_the_next_run(indexed, photos):
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        store.catalog.db.execute("UPDATE image SET annotated = 0")
        store.catalog.db.execute("DELETE FROM annotation")
    assert said(indexed, photos / "cat.jpg")[1] == []
    assert indexed.index([photos]).details["annotated"] == len(indexed)
    assert said(indexed, photos / "cat.jpg")[1] == [NAME]


def test_what_is_not_read_when_a_run_is_ended_is_read_by_the_next(indexed, photos, monkeypatch):
    indexed.tag(photos / "cat.jpg", "Mimi")
    monkeypatch.setattr(pool, "BATCH", 2)
    monkeypatch.setattr(annotate, "_TOGETHER", 2)
    roots = [os.fsencode(photos)]

    def end(stage, done, total):
        raise KeyboardInterrupt

    with Store.writer(indexed.folder) as store:
        with store.catalog.writing():
            store.catalog.db.execute("UPDATE image SET annotated = 0")
        paths = make_plan(store, roots, beside=Beside(roots)).to_annotate
        with pytest.raises(KeyboardInterrupt):
            annotate.annotate(store, paths, Beside(roots), on_progress=end)
        left = make_plan(store, roots, beside=Beside(roots)).to_annotate
        assert 0 < len(left) < len(paths) == len(indexed)
        assert not store.verify().faults
    assert indexed.status().n_unread_words == len(left)
    assert tag("Mimi", "user") in said(indexed, photos / "cat.jpg")[1]


def test_a_recheck_reads_what_is_written_beside_all_pictures_again(indexed, photos):
    assert indexed.index([photos], is_recheck=True).details["annotated"] == len(indexed)


# -- what stands beside ----------------------------------------------------------------------------------------


def test_names_and_lists_count_from_the_outermost_folder_that_was_indexed(tmp_path):
    root, path = tmp_path / "holidays", tmp_path / "holidays" / "Rome" / "day 1" / "cat.jpg"
    path.parent.mkdir(parents=True)
    (root / "captions.jsonl").write_text('{"image": "Rome/day 1/cat.jpg", "captions": ["Mimi sleeps"]}')
    beside = Beside([os.fsencode(path.parent), os.fsencode(root)])
    texts = beside.annotations(os.fsencode(path), Annotations()).texts
    assert [text.text for text in texts if text.kind is Kind.FOLDER] == ["day 1", "Rome", "holidays"]
    assert [text.text for text in texts if text.kind is Kind.CAPTION] == ["Mimi sleeps"]


@pytest.mark.parametrize("is_read_first", [False, True])
def test_a_sidecar_that_changes_while_it_is_read_is_read_again_by_the_next_run(tmp_path, is_read_first):
    picture, sidecar = os.fsencode(tmp_path / "cat.jpg"), tmp_path / "cat.txt"
    sidecar.write_text("asleep")
    beside = Beside([os.fsencode(tmp_path)])
    look = beside.look(picture)
    if not is_read_first:
        sidecar.write_text("asleep on the stove")
    assert "asleep" in beside.annotations(picture, Annotations()).texts[-1].text
    sidecar.write_text("asleep on the stove")
    file = KnownFile(picture, None, 1, b"", 0, ANNOTATING, look)
    assert not Beside([os.fsencode(tmp_path)]).is_as_noted(file)


def test_the_folder_of_a_picture_is_found_as_quickly_where_all_pictures_were_named_one_by_one():
    pictures = [b"/photos/%d.jpg" % n for n in range(3_000)]
    beside = Beside(pictures)
    start = time.process_time()
    assert all(beside.annotations(path, Annotations()).texts == () for path in pictures)
    assert time.process_time() - start < 1.5  # by each of all that were named it takes seconds


def test_the_position_of_a_picture_has_names(tmp_path):
    picture = Annotations(position=(48.85837, 2.294481))  # the Eiffel Tower
    texts = Beside([]).annotations(os.fsencode(tmp_path / "1.jpg"), picture).texts
    assert [(text.kind, text.source) for text in texts] == [(Kind.PLACE, "position")] * len(texts)
    assert {"Paris", "France"} <= {text.text for text in texts}


def test_only_what_stands_beside_a_picture_makes_it_look_different(tmp_path):
    picture = os.fsencode(tmp_path / "cat.jpg")
    write_tag(tmp_path / "dog.jpg.xmp", "dog")
    assert Beside([]).look(picture) is None
    write_tag(tmp_path / "cat.jpg.xmp", "cat")
    look = Beside([]).look(picture)
    known = KnownFile(picture, None, 1, b"", 1, annotated=1, beside=look)
    assert Beside([]).is_as_noted(known)
    os.utime(tmp_path / "cat.jpg.xmp", (1, 1))
    assert not Beside([]).is_as_noted(known)
    assert not Beside([]).is_as_noted(known._replace(annotated=0))
