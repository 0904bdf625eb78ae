"""Archives of originals: what is in them, under which names, what is left out, and how much there may be."""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import httpx
import pytest

from mmsearch.records import ImageRecord
from mmsearch.server import archive as archives
from mmsearch.server.archive import LEFT_OUT, Names
from mmsearch.server.originals import OpenOriginal, Original
from mmsearch.server.schemas import MAX_ARCHIVED
from tests.server import browser as browsers
from tests.server.test_pictures import listed, outside


def asked_for(client, *ids):
    answer = client.post("/archive", json={"ids": list(ids)})
    assert answer.status_code == 200, answer.text
    return ZipFile(io.BytesIO(answer.content))


def test_an_archive_has_the_originals_byte_for_byte(client, served):
    chosen = [listed(client)[name] for name in ("cat.jpg", "coffee.jpg")]
    files = asked_for(client, *(picture["id"] for picture in chosen), chosen[0]["id"])
    assert files.namelist() == ["cat.jpg", "coffee.jpg"]
    for entry in files.infolist():
        assert files.read(entry) == (served.photos / entry.filename).read_bytes()
        assert entry.compress_type == ZIP_STORED
        changed = (served.photos / entry.filename).stat().st_mtime
        assert time.mktime((*entry.date_time, 0, 0, -1)) == pytest.approx(changed, abs=2)


def test_what_left_or_changed_is_named_in_the_archive_and_never_in_it(changeable, photos, tmp_path):
    _, client = changeable
    known = listed(client)
    (photos / "cat.jpg").unlink()
    (photos / "cat.jpg").symlink_to(outside(tmp_path))
    (photos / "fig.jpg").unlink()
    (photos / "dam.jpg").unlink()
    os.mkfifo(photos / "dam.jpg")
    names = ("cat.jpg", "moose.jpg", "fig.jpg", "dam.jpg")
    files = asked_for(client, *(known[name]["id"] for name in names), 999)
    assert files.namelist() == ["moose.jpg", LEFT_OUT]
    said = files.read(LEFT_OUT).decode()
    assert f"{photos}/cat.jpg: the file is not what was indexed any more" in said
    assert f"{photos}/fig.jpg: the file is not there any more" in said
    assert f"{photos}/dam.jpg: " in said
    assert "picture 999: it is not in the library any more" in said


def test_what_is_too_large_is_refused_before_it_begins(client, monkeypatch):
    pictures = list(listed(client).values())
    monkeypatch.setattr(archives, "MAX_BYTES", pictures[0]["size_bytes"] + pictures[1]["size_bytes"])
    asked_for(client, pictures[0]["id"], pictures[1]["id"])
    answer = client.post("/archive", json={"ids": [picture["id"] for picture in pictures]})
    assert answer.status_code == 422
    assert "GB together, at most 0.0 GB; ask for fewer" in answer.json()["detail"]


@pytest.mark.parametrize("ids", [[], list(range(1, 1_002)), ["1"], [0]])
def test_an_archive_of_no_pictures_or_too_many_is_refused(client, ids):
    assert client.post("/archive", json={"ids": ids}).status_code == 422


def is_open(path):
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # another thread has closed it since
            if os.path.samestat(os.fstat(int(descriptor)), path.stat()):
                return True
    return False


def test_a_client_that_leaves_in_the_middle_leaves_no_file_open(changeable, photos, indexed, monkeypatch):
    _, client = changeable
    # However much a system keeps of what is sent, the file is in the middle until the client has left.
    has_left, blocks = threading.Event(), OpenOriginal.blocks

    def held_after_first(file, start, end):
        with closing(blocks(file, start, end)) as whole:
            yield next(whole)
            assert has_left.wait(60)
            yield from whole

    monkeypatch.setattr(OpenOriginal, "blocks", held_after_first)
    data = (photos / "cat.jpg").read_bytes()
    (photos / "long.jpg").write_bytes(data + bytes(8 << 20))
    indexed.index([photos], local=False)
    ids = [listed(client)["long.jpg"]["id"]]
    try:
        with (
            httpx.Client(base_url=client.base_url, headers=client.headers) as leaving,
            leaving.stream("POST", "/archive", json={"ids": ids}) as answer,
        ):
            next(answer.iter_raw())
            assert is_open(photos / "long.jpg")
    finally:
        has_left.set()
    deadline = time.monotonic() + 30
    while is_open(photos / "long.jpg"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert asked_for(client, 1).testzip() is None


def test_names_in_an_archive_are_unlike_each_other_where_case_does_not_count():
    names = Names()
    given = [
        "/a/x.jpg",
        "/b/X.JPG",
        "/c/x.jpg",
        "/d/x (2).jpg",
        "/e/caf\u00e9.png",
        "/f/cafe\u0301.png",
        f"/{LEFT_OUT}",
    ]
    assert [names.of(path) for path in given] == [
        "x.jpg", "X (2).JPG", "x (3).jpg", "x (2) (2).jpg", "caf\u00e9.png", "cafe\u0301 (2).png",
        "not in this archive (2).txt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/..", "_"), ("/a/c:\\x*.jpg", "c__x_.jpg"), ("/a/nul.jpg", "_nul.jpg"),
     ("/a/\x1b[31m\u202e.png", "_[31m_.png"),
     ("/a/\udcff.jpg", "\ufffd.jpg"), ("/a/x. .", "x"), ("/a/" + "\u00e9" * 127, "\u00e9" * 90)],
)  # fmt: skip
def test_names_in_an_archive_are_safe_on_every_system(path, name):
    assert Names().of(path) == name


def test_an_archive_holds_one_block_of_its_files_at_a_time(served):
    paths = sorted(served.photos.glob("*.jpg"))
    records = [ImageRecord(1, str(path), 0, path.stat().st_size, 0, 1, 1, "JPEG", None) for path in paths]
    wanted = [(1, Original(record, sha256(Path(record.path).read_bytes()).digest())) for record in records]
    assert max(map(len, archives.archive(wanted))) < (1 << 16) + 10_000  # with the list of all at the end


def test_the_page_has_the_bounds_of_the_server():
    code = (browsers.PAGE / "selection.js").read_text(encoding="utf-8")
    assert f"const MOST = {MAX_ARCHIVED};" in code
    assert f"const MOST_BYTES = 2 ** {archives.MAX_BYTES.bit_length() - 1};" in code
