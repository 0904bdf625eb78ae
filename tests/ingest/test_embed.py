"""Embedding into shards: the vectors of `index`, bit for bit, and a rerun that goes on where the first stopped."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmsearch.errors import ArgumentError, FingerprintError, LibraryNotFoundError, QueryError, ShardError
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.records import FileLook
from mmsearch.shards.read import ERRORS, Shard, shard_paths
from tests.shards.bundles import structs, write_table, write_tar
from tests.shards.shards import bits


@pytest.fixture
def embed(checkpoint, cache, tiny_folder, tmp_path):
    """Embed paths into `shards` by one worker with the tiny encoder."""

    def embed(*paths, said=None, told=None, **options):
        chosen = EmbedOptions(**{"model": checkpoint, "cache": cache, "n_workers": 1, **options})
        return embed_pictures(
            paths, tmp_path / "shards", chosen, notify=pytest.fail if said is None else said.append,
            on_progress=lambda *step: None if told is None else told.append(step),
        )  # fmt: skip

    embed.out = tmp_path / "shards"
    return embed


def rows_in(out):
    return [row for path in shard_paths(out) for rows in Shard.open(path).rows() for row in rows]


def known_of(rows):
    return {row.path: (bits(row.vector), {**vars(row), "vector": None}) for row in rows}


def counts(report):
    return report.new, report.changed, report.unchanged, len(report.bad), report.known_bad


def errors_in(out):
    return {Path(os.fsdecode(row["path"])).name: row for row in pq.read_table(out / ERRORS).to_pylist()}


def test_vectors_and_facts_are_those_of_index_bit_for_bit(embed, photos, library, checkpoint, tmp_path):
    assert counts(embed(photos, n_workers=2)) == (8, 0, 0, 0, 0)
    library.index([photos], model=str(checkpoint), local=False)
    library.export(tmp_path / "exported")
    embedded, exported = (known_of(rows_in(out)) for out in (embed.out, tmp_path / "exported"))
    assert embedded == exported
    assert len(embedded) == 8
    assert (
        Shard.open(embed.out / "shard-00000.parquet").facts
        == Shard.open(tmp_path / "exported" / "shard-00000.parquet").facts
    )


def test_what_is_found_and_what_is_done_of_it_is_told(embed, photos):
    told = []
    embed(photos, told=told)
    assert (told[0], told[-1]) == (("scan", 8, 8), ("shards", 8, 8))
    (photos / "page.jpg").write_bytes(b"<html></html>")
    embed(photos, told=told)
    assert told[-2:] == [("scan", 9, 9), ("shards", 1, 1)]


def test_a_library_filled_from_shards_is_that_of_an_index(embed, photos, library):
    embed(photos)
    assert library.load(embed.out).new == 8
    report = library.index([photos], local=False)
    assert (report.new, report.changed, report.unchanged) == (0, 0, 8)
    assert library.search("a cat", k=20).n_candidates == 8


def test_a_rerun_embeds_only_what_is_new_or_changed(embed, photos):
    embed(photos)
    assert counts(embed(photos)) == (0, 0, 8, 0, 0)
    shutil.copy(photos / "cat.jpg", photos / "new.jpg")
    shutil.copyfile(photos / "dam.jpg", photos / "fig.jpg")
    assert counts(embed(photos)) == (1, 1, 7, 0, 0)
    paths = [row.path for row in rows_in(embed.out)]
    assert (len(paths), len(set(paths))) == (10, 9)
    assert {Path(os.fsdecode(path)).name for path in paths[8:]} == {"new.jpg", "fig.jpg"}


def test_a_file_that_only_looks_different_is_not_embedded_again(embed, photos):
    embed(photos)
    os.utime(photos / "cat.jpg", (1, 1))
    (photos / "dam.jpg").chmod(0o600)
    assert counts(embed(photos)) == (0, 0, 8, 0, 0)


def test_a_changed_file_that_kept_its_size_and_time_is_embedded_again(embed, photos):
    embed(photos)
    status = (photos / "cat.jpg").stat()
    data = bytearray((photos / "cat.jpg").read_bytes())
    data[-3] ^= 1
    (photos / "cat.jpg").write_bytes(data)
    os.utime(photos / "cat.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert counts(embed(photos)) == (0, 1, 7, 0, 0)


def test_bad_pictures_are_rows_of_a_file_and_no_end_of_the_job(embed, photos):
    (photos / "page.jpg").write_bytes(b"<html></html>")
    os.mkfifo(photos / "pipe.jpg")
    report = embed(photos)
    assert counts(report) == (8, 0, 0, 2, 0)
    assert f"2 pictures that could not be used are in {embed.out / ERRORS}" in report.notices
    errors = errors_in(embed.out)
    assert {name: row["code"] for name, row in errors.items()} == {
        "page.jpg": "not_an_image",
        "pipe.jpg": "not_a_file",
    }
    assert errors["page.jpg"]["message"].startswith("this is an HTML page")
    assert (errors["page.jpg"]["size"], errors["page.jpg"]["n_tries"]) == (13, 1)


def test_films_are_counted_and_not_read(embed, photos):
    for name in ("one.mp4", "two.mov"):
        (photos / name).write_bytes(b"a film")
    report = embed(photos)
    assert (counts(report), report.notices) == ((8, 0, 0, 0, 0), ("2 films not read",))


def test_a_bad_picture_is_tried_again_when_it_was_mended_and_leaves_the_list(embed, photos):
    (photos / "page.jpg").write_bytes(b"<html></html>")
    embed(photos)
    assert counts(embed(photos)) == (0, 0, 8, 0, 1)
    assert set(errors_in(embed.out)) == {"page.jpg"}
    shutil.copyfile(photos / "cat.jpg", photos / "page.jpg")
    assert counts(embed(photos)) == (1, 0, 8, 0, 0)
    assert errors_in(embed.out) == {}


def test_a_picture_that_was_damaged_for_a_while_leaves_the_list_when_it_is_as_before(embed, photos):
    embed(photos)
    assert not (embed.out / ERRORS).exists()
    whole = (photos / "cat.jpg").read_bytes()
    for page in (b"<html></html>", b"<html>again</html>"):
        (photos / "cat.jpg").write_bytes(page)
        assert counts(embed(photos)) == (0, 0, 7, 1, 0)
        assert errors_in(embed.out)["cat.jpg"]["n_tries"] == 1  # another file each time
    (photos / "cat.jpg").write_bytes(whole)
    assert counts(embed(photos)) == (0, 0, 8, 0, 0)
    assert errors_in(embed.out) == {}


def test_a_picture_that_was_too_large_is_tried_under_a_higher_limit(embed, photos):
    assert counts(embed(photos / "cat.jpg", max_megapixels=0.001)) == (0, 0, 0, 1, 0)
    assert errors_in(embed.out)["cat.jpg"]["code"] == "too_large"
    assert counts(embed(photos / "cat.jpg")) == (1, 0, 0, 0, 0)


def test_a_list_of_bad_pictures_that_cannot_be_read_is_replaced(embed, photos):
    (photos / "page.jpg").write_bytes(b"<html></html>")
    embed(photos)
    (embed.out / ERRORS).write_bytes(b"damaged")
    said = []
    assert counts(embed(photos, said=said)) == (0, 0, 8, 1, 0)
    assert "the pictures in it are tried again, and it is replaced" in said[0]
    assert set(errors_in(embed.out)) == {"page.jpg"}


def test_names_that_are_not_utf8_and_a_file_named_twice_come_once(embed, photos):
    strange = os.fsencode(photos) + b"/\xff\n.jpg"
    shutil.copyfile(photos / "cat.jpg", strange)
    assert counts(embed(strange, photos, strange, photos / "cat.jpg")) == (9, 0, 0, 0, 0)
    assert strange in {row.path for row in rows_in(embed.out)}


def test_the_model_of_the_shards_goes_on_where_none_is_named(embed, photos, other_checkpoint, other_folder):
    embed(photos / "cat.jpg")
    assert counts(embed(photos / "dam.jpg", model=None)) == (1, 0, 0, 0, 0)
    with pytest.raises(FingerprintError, match="vectors of two encoders cannot be compared"):
        embed(photos, model=other_checkpoint)


# -- bundles -------------------------------------------------------------------------------------------


@pytest.fixture
def sets(photos, tmp_path):
    """A folder with a tar and a Parquet file, each of the bytes of the eight photographs."""
    (tmp_path / "sets").mkdir()
    files = sorted(photos.rglob("*.jpg"))
    write_tar(
        tmp_path / "sets" / "0.tar",
        [entry for file in files for entry in ((file.name, file.read_bytes()), (f"{file.stem}.json", b"{}"))],
    )
    write_table(tmp_path / "sets" / "1.parquet", image=structs(*((file.read_bytes(), file.name) for file in files)))
    write_table(tmp_path / "sets" / "0.parquet", key=["000"], url=["https://example.org/a.jpg"])
    return tmp_path / "sets"


def test_vectors_of_pictures_in_bundles_are_those_of_index_of_the_same_bytes_in_files(embed, sets, indexed):
    report = embed(sets, n_workers=2)
    assert counts(report) == (16, 0, 0, 0, 0)
    assert report.notices == ("passed over: 1 tar or Parquet file without pictures",)
    indexed.export(embed.out.parent / "exported")
    in_files = {os.path.basename(row.path): row for row in rows_in(embed.out.parent / "exported")}
    rows = {row.path: row for row in rows_in(embed.out)}
    start = os.fsencode(sets)
    names = sorted(in_files)
    assert sorted(rows) == sorted(
        [start + b"/0.tar/" + name for name in names]
        + [start + b"/1.parquet/%d/" % number + name for number, name in enumerate(names)]
    )
    for path, row in rows.items():
        expected = in_files[os.path.basename(path)]
        assert bits(row.vector) == bits(expected.vector)
        bundle = sets / ("0.tar" if b".tar/" in path else "1.parquet")
        look = FileLook.of(bundle.stat())._replace(size=expected.look.size)
        assert {**vars(row), "vector": None} == {**vars(expected), "vector": None, "path": path, "look": look}


def test_a_rerun_reads_nothing_of_bundles_that_are_as_they_were(embed, sets):
    embed(sets)
    assert counts(embed(sets)) == (0, 0, 16, 0, 0)
    for bundle in sets.iterdir():
        os.utime(bundle, (1, 1))
    assert counts(embed(sets)) == (0, 0, 16, 0, 0)
    assert len(rows_in(embed.out)) == 16


def test_a_rerun_embeds_what_is_new_or_changed_in_a_bundle(embed, photos, tmp_path):
    cat, dam, fig = ((photos / f"{name}.jpg").read_bytes() for name in ("cat", "dam", "fig"))
    tar = write_tar(tmp_path / "a.tar", [("a.jpg", cat), ("b.jpg", dam)])
    table = write_table(tmp_path / "a.parquet", jpg=[cat, dam])
    assert counts(embed(tar, table)) == (4, 0, 0, 0, 0)
    write_tar(tar, [("0.jpg", fig), ("a.jpg", dam), ("b.jpg", dam)])
    write_table(table, jpg=[cat, fig, dam])
    assert counts(embed(tar, table)) == (2, 2, 2, 0, 0)
    assert counts(embed(tar, table)) == (0, 0, 6, 0, 0)


def test_bad_pictures_in_bundles_are_rows_of_the_list_and_the_others_are_embedded(embed, photos, tmp_path):
    cat = (photos / "cat.jpg").read_bytes()
    tar = write_tar(tmp_path / "a.tar", [
        ("cat.jpg", cat), ("page.jpg", b"<html></html>"), ("cut.jpg", cat[:5000]), ("empty.jpg", b""),
        ("../out.jpg", cat), ("link.jpg", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), ("last.jpg", cat),
    ])  # fmt: skip
    os.truncate(tar, tar.stat().st_size - 10240)  # its end mark, and the end of the last picture
    table = write_table(tmp_path / "a.parquet", jpg=[cat, None, b"text", b""])
    report = embed(tar, table)
    assert counts(report)[:4] == (2, 0, 0, 9)
    assert "passed over: 1 row of Parquet files without a picture" in report.notices
    assert {os.fsdecode(row["path"])[len(str(tmp_path)) + 1 :]: row["code"] for row in pq.read_table(
        embed.out / ERRORS
    ).to_pylist()} == {
        "a.tar": "truncated", "a.tar/page.jpg": "not_an_image", "a.tar/cut.jpg": "truncated",
        "a.tar/empty.jpg": "not_an_image", "a.tar/../out.jpg": "unsupported", "a.tar/link.jpg": "not_a_file",
        "a.tar/last.jpg": "truncated", "a.parquet/2": "not_an_image", "a.parquet/3": "not_an_image",
    }  # fmt: skip
    again = embed(tar, table)
    assert (again.new, again.unchanged, again.known_bad, len(again.bad)) == (0, 2, 5, 4)


def test_bundles_are_not_unpacked_and_nothing_in_them_is_followed(embed, photos, tmp_path):
    cat = (photos / "cat.jpg").read_bytes()
    (tmp_path / "sets").mkdir()
    write_tar(tmp_path / "sets" / "a.tar", [("../../out.jpg", cat), ("in.jpg", cat)])
    embed(tmp_path / "sets")
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == ["a.tar"]
    assert not list(tmp_path.rglob("out.jpg"))


def test_a_library_filled_from_bundles_shows_their_paths_and_misses_them_once_a_bundle_is_gone(
    embed, sets, library, photos
):
    embed(sets)
    assert library.load(embed.out).new == 16
    paths = {hit.path for hit in library.search("a cat", k=20, collapse="none").hits}
    assert {str(sets / "0.tar" / "cat.jpg"), str(sets / "1.parquet" / "1" / "cat.jpg")} <= paths
    (sets / "0.tar").unlink()
    is_missing = {hit.path: hit.is_missing for hit in library.search("a cat", k=20, collapse="none").hits}
    assert is_missing[str(sets / "0.tar" / "cat.jpg")]
    assert not is_missing[str(sets / "1.parquet" / "1" / "cat.jpg")]


def test_index_of_the_folder_keeps_pictures_in_bundles_as_long_as_those_are_there(embed, sets, library, photos):
    embed(sets)
    library.load(embed.out)
    shutil.move(photos, sets / "photos")
    report = library.index([sets], local=False)
    assert (report.new, report.gone) == (8, 0)
    (sets / "0.tar").unlink()
    assert library.index([sets], local=False).gone == 8
    assert library.status().n_images == 16


@pytest.mark.parametrize("name", ["empty", "missing", "a.tar", "a.parquet"])
def test_where_no_picture_is_nothing_is_made(embed, tmp_path, name):
    (tmp_path / "empty").mkdir()
    write_tar(tmp_path / "a.tar", [("a.txt", b"text")])
    write_table(tmp_path / "a.parquet", url=["https://example.org/a.jpg"])
    with pytest.raises(LibraryNotFoundError, match=r"no picture was found at or below .*, so nothing was embedded"):
        embed(tmp_path / name)
    assert not embed.out.exists()


def test_a_library_is_no_place_for_shards(embed, indexed, photos):
    embed.out.symlink_to(indexed.folder)
    with pytest.raises(ShardError, match="is a library"):
        embed(photos)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "none"}, QueryError), ({"n_workers": 0}, QueryError), ({"max_megapixels": 0}, QueryError),
        ({"n_workers": "2"}, ArgumentError), ({"follow_links": 1}, ArgumentError), ({"model": 3}, ArgumentError),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options, error):
    with pytest.raises(error):
        EmbedOptions(**options)
