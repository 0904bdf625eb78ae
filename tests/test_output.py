from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmsearch.errors import OutputError, StorageError
from mmsearch.images.kinds import kind_of_bytes
from mmsearch.output import BACKUP, PAGE, QRELS, REPORT, RUN, VOCABULARY, OutputFile
from mmsearch.samples import sample_folder
from tests import pictures

OURS = {
    VOCABULARY: b"mmsearch vocabulary 1\n{}\n",
    PAGE: b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
          b'<meta name="generator" content="mmsearch">\n<title>x</title>',
    REPORT: b'{\n "generator": "mmsearch",\n "benchmark": "run"}',
    RUN: b"text-0 Q0 a.jpg 1 0.5 mmsearch.offline\n",
    QRELS: b"text-0 mmsearch a.jpg 1\n",
}  # fmt: skip
OTHERS = [
    b"notes on mmsearch vocabulary 1\n", b"", b"\0" * 100, b"<!doctype html>\n<html><title>mmsearch</title>",
    b'{"name": "mmsearch"}', b"text-0 Q0 a.jpg 1 0.5 bm25\n", b"text-0 0 a.jpg 1\n", b"%PDF-1.7 mmsearch",
]  # fmt: skip
KINDS = pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.words)


def written(file, text="new"):
    file.check()
    file.write_text(text)
    return file.path.read_text()


def test_what_cannot_be_made_again_is_replaced_only_by_force_and_is_for_the_user_alone(tmp_path):
    for content in (b"PK\x03\x04" + bytes(26) + b"catalog.sqlite", b"notes"):
        (tmp_path / "file").write_bytes(content)
        (tmp_path / "file").chmod(0o644)
        with pytest.raises(OutputError, match=r"is there(;| and is not a backup of mmsearch;) choose another name"):
            written(OutputFile(tmp_path / "file", BACKUP))
        assert written(OutputFile(tmp_path / "file", BACKUP, is_forced=True)) == "new"
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@KINDS
def test_a_file_of_the_same_kind_that_is_ours_is_replaced_and_no_other(tmp_path, kind):
    file = OutputFile(tmp_path / "file", kind)
    for content in [*OTHERS, *(own for other, own in OURS.items() if other is not kind)]:
        file.path.write_bytes(content)
        for refused in (file.check, lambda: file.write_text("new")):
            with pytest.raises(OutputError, match=f"is there and is not {kind.words}; choose another name"):
                refused()
        assert file.path.read_bytes() == content
    file.path.write_bytes(OURS[kind])
    assert written(file) == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_force_replaces_whatever_is_no_picture(tmp_path):
    for content in OTHERS:
        (tmp_path / "file").write_bytes(content)
        assert written(OutputFile(tmp_path / "file", PAGE, is_forced=True)) == "new"


def test_no_picture_is_ever_replaced_whatever_it_is_called(tmp_path):
    pictures.write_all(tmp_path / "table")
    kept = [path for path in (tmp_path / "table").iterdir() if path.is_file()]
    heads = {path: path.read_bytes()[:64] for path in kept}
    pictured = [path for path in kept if (kind_of_bytes(heads[path]) or "a").isupper()]
    assert len(pictured) > 20
    for path in pictured:
        victim = path.rename(path.with_suffix(".txt"))
        before = victim.read_bytes()
        with pytest.raises(OutputError, match="is a picture or film, which is never replaced; choose another name"):
            OutputFile(victim, PAGE, is_forced=True).write_text("new")
        assert victim.read_bytes() == before


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypmp42" + b"\0" * 64, b"\0\0\0\x18ftypcrx " + b"\0" * 64, b"8BPS" + b"\0" * 64]
)
def test_films_raw_pictures_and_drawings_are_never_replaced(tmp_path, head):
    (tmp_path / "file").write_bytes(head)
    with pytest.raises(OutputError, match="never replaced"):
        OutputFile(tmp_path / "file", PAGE, is_forced=True).check()


@pytest.mark.parametrize("name", ["a.svg", "a.TGA", "a.eps", "film.mts", "film.ogv", "a.jpg"])
def test_what_is_named_like_a_picture_or_film_is_never_replaced_unless_it_is_ours(tmp_path, name):
    file = OutputFile(tmp_path / name, PAGE, is_forced=True)
    file.path.write_bytes(b"no first bytes tell what this is")
    with pytest.raises(OutputError, match="is a picture or film, which is never replaced; choose another name"):
        file.check()
    file.path.write_bytes(OURS[PAGE])
    assert written(file) == "new"


def test_what_came_while_we_worked_is_not_replaced(tmp_path):
    file = OutputFile(tmp_path / "file", PAGE)
    file.check()

    def save(path: Path) -> None:
        path.write_text("new")
        file.path.write_text("mine")

    with pytest.raises(OutputError, match="is there and is not a page of mmsearch"):
        file.write(save)
    assert file.path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path):
    (tmp_path / "file").write_bytes(OURS[PAGE])

    def save(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        StorageError, match=r"file: could not be written \(No space left on device\); free some space"
    ):
        OutputFile(tmp_path / "file", PAGE).write(save)
    assert (tmp_path / "file").read_bytes() == OURS[PAGE]
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_and_what_it_leads_to_is_written_or_kept(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/page.html")
    assert written(OutputFile(tmp_path / "link", PAGE)) == "new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "page.html").read_text() == "new"
    (tmp_path / "picture").symlink_to(sample_folder() / "cat.jpg")
    with pytest.raises(OutputError, match="picture is a picture or film"):
        OutputFile(tmp_path / "picture", PAGE, is_forced=True).check()


def test_places_where_no_file_can_be_are_refused_before_the_work(tmp_path):
    (tmp_path / "round").symlink_to("round")
    for name, sentence in (
        ("", "is a folder; expected the name of a file"),
        ("missing/file", "could not be written"),
        ("round", "could not be written"),
        ("x" * 300, "could not be written"),
    ):
        with pytest.raises((OutputError, StorageError), match=sentence):
            OutputFile(tmp_path / name, PAGE, is_forced=True).check()


def test_a_new_file_has_the_permissions_of_any_and_a_replaced_one_keeps_its_own(tmp_path):
    file = OutputFile(tmp_path / "file", PAGE)
    (tmp_path / "any").write_text("")
    file.write_text(OURS[PAGE].decode())
    assert file.path.stat().st_mode == (tmp_path / "any").stat().st_mode
    file.path.chmod(0o640)
    file.write_text("new")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640


def test_a_pipe_gets_what_is_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    file = OutputFile(tmp_path / "pipe", PAGE)
    file.check()
    file.write_text("new")
    reader.join(10)
    assert found == ["new"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    written_to_nothing = OutputFile(Path(os.devnull), PAGE)
    written_to_nothing.check()
    written_to_nothing.write_text("new")


def test_our_own_output_goes_on_where_it_is(tmp_path):
    program = (
        "import sys; from pathlib import Path; from mmsearch.output import PAGE, OutputFile\n"
        "print('before', flush=True)\n"
        "file = OutputFile(Path('/dev/stdout'), PAGE); file.check(); file.write_text('page\\n'); print('after')"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\npage\nafter\n"
