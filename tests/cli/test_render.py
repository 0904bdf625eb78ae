"""Results as text: tables that fold nothing, cells that are no formulas, paths that a shell can use."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import termios
from functools import cache

import pytest

from mmsearch.cli.render import print_table, tsv_cell
from mmsearch.names import quoted
from mmsearch.samples import sample_folder
from tests import warm

N = 6  # pictures asked for: one by five names, and one more
ODD = [b"\xff\xfe.jpg", b"\\udcff.jpg", b"new\nline.jpg", b"esc\x1b]0;x\x07.jpg", b"a b'c.jpg"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A library of visual words over one photograph by five names, and its folder."""
    from mmsearch import Library

    base = tmp_path_factory.mktemp("odd")
    folder = os.fsencode(base / ("a long name of a folder " * 4).strip())
    os.mkdir(folder)
    for name in ODD:
        shutil.copyfile(sample_folder() / "cat.jpg", os.path.join(folder, name))
    for other in ("fig", "dam", "moose", "goldfish", "rocket"):
        shutil.copy(sample_folder() / f"{other}.jpg", os.fsdecode(folder))
    with Library.open(base / "library") as library:
        library.index([folder], model="none")
    return library.folder, folder


def command(library, format_):
    example = str(sample_folder() / "cat.jpg")
    arguments = ["search", "-i", example, "-k", str(N), "--collapse", "none", "--format", format_]
    return [sys.executable, "-m", "mmsearch", *arguments, "--library", str(library)]


@cache
def searched(library, format_):
    done = warm.run(command(library, format_))
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def on_terminal(arguments, n_columns):
    """What a command writes on a terminal of a width."""
    master, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (40, n_columns))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    with subprocess.Popen(
        arguments, stdout=terminal, stderr=subprocess.DEVNULL, env=environment | {"TERM": "xterm"}
    ) as process:
        os.close(terminal)
        found = b""
        while True:
            try:
                part = os.read(master, 1 << 16)
            except OSError:  # the other end is closed
                break
            found += part
    os.close(master)
    assert process.returncode == 0
    return found.replace(b"\r\n", b"\n")


# -- what is found, and what put it there ------------------------------------------------------------


def test_a_table_says_what_put_a_hit_above_one_of_a_better_score(odd):
    header, *rows = searched(odd[0], "table")[0].decode().splitlines()
    assert header.split() == ["rank", "score", "words", "local", "path"]
    for row in rows[:5]:
        assert "  verified, " in row
        assert " inliers  " in row
    assert "  not verified  " in rows[5]


def test_json_says_without_being_asked_to_explain_which_hits_are_verified_in_the_words_of_the_api(odd):
    first, *_, last = map(json.loads, searched(odd[0], "jsonl")[0].splitlines())
    said = {"score", "is_verified", "is_mark", "n_inliers", "reason"}
    assert {name for name, value in first["local"].items() if value not in ([], None)} == said
    assert first["local"]["is_verified"]
    assert first["local"]["n_inliers"] > 10
    assert not last["local"]["is_verified"]


def test_a_tsv_says_it_in_columns_behind_the_others(odd):
    lines = [line.split("\t") for line in searched(odd[0], "tsv")[0].decode().splitlines()]
    assert lines[0][:7] == ["rank", "score", "path", "id", "width", "height", "taken_at"]
    assert lines[0][7:11] == ["is_verified", "n_inliers", "local_score", "relevance"]
    assert lines[0][11:15] == ["pixels", "words", "captions", "text"]
    assert lines[0][15:18] == ["n_same_file", "n_same_picture", "n_look_alike"]
    assert lines[0][18:] == ["at", "start", "end", "seconds"]
    assert [line[7] for line in lines[1:]] == ["true"] * 5 + ["false"]
    assert int(lines[1][8]) > 10


# -- names -------------------------------------------------------------------------------------------


def test_names_in_json_are_text_for_strict_readers_with_the_bytes_of_those_that_are_none(odd):
    hits = [json.loads(line) for line in searched(odd[0], "jsonl")[0].splitlines()][:5]
    for hit in hits:
        hit["path"].encode("utf-8")
    paths = {base64.b64decode(hit["path_base64"]) if "path_base64" in hit else hit["path"].encode() for hit in hits}
    assert paths == {os.path.join(odd[1], name) for name in ODD}


@pytest.mark.parametrize("format_", ["tsv", "table"])
def test_names_in_tables_are_told_apart_and_have_one_line(odd, format_):
    out = searched(odd[0], format_)[0].decode()
    assert len(out.splitlines()) == N + 1
    assert not set(out) & set("\x1b\x07\udcff")
    folder = os.fsdecode(odd[1])
    for name in (r"$'FOLDER/\377\376.jpg'", r"FOLDER/\udcff.jpg", r"$'FOLDER/new\nline.jpg'", "FOLDER/a b'c.jpg"):
        assert name.replace("FOLDER", folder) in out


def test_paths_are_as_they_are_and_those_of_two_lines_are_said(odd):
    out, err = searched(odd[0], "paths")
    assert all(os.path.join(odd[1], name) + b"\n" in out for name in ODD)
    assert b"1 of these paths have line ends in their names; --format paths0 keeps them apart" in err


def test_paths_on_a_terminal_are_words_for_the_shell(odd):
    out = on_terminal(command(odd[0], "paths"), 40)
    assert not set(out) & set(b"\x1b\x07")
    done = subprocess.run(["bash"], input=b"printf '%s\\0' " + out.replace(b"\n", b" "), capture_output=True)
    assert set(done.stdout.split(b"\0")[:-2]) == {os.path.join(odd[1], name) for name in ODD}


def test_no_path_is_folded_or_cut_on_a_narrow_terminal(odd):
    out = on_terminal(command(odd[0], "table"), 40).decode()
    assert os.fsdecode(odd[1]) + "/a b'c.jpg\n" in out
    assert len(out.splitlines()) == N + 1


def test_a_page_of_matches_has_no_control_in_it(odd, tmp_path):
    example = os.path.join(odd[1], b"esc\x1b]0;x\x07.jpg")
    arguments = ["-i", example, "-k", "5", "--html", tmp_path / "page.html", "--collapse", "none"]
    arguments += ["--library", odd[0]]
    done = warm.run([sys.executable, "-m", "mmsearch", "search", *arguments])
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not set(page) & set("\x1b\x07\udcff")
    for shown in (r"esc\033]0;x\007.jpg", r"\377\376.jpg", r"new\nline.jpg"):
        assert f"$&#39;{shown}&#39;" in page


# -- tables and cells --------------------------------------------------------------------------------


def test_columns_are_in_line_whatever_the_width_of_their_characters(capsys):
    print_table(None, [("", False), ("n", True), ("path", False)], [["写真", "1", "/a"], ["b", "10", "/b/[c]"]])
    assert capsys.readouterr().out == "       n  path\n写真   1  /a\nb     10  /b/[c]\n"


def test_a_table_without_headings_has_no_empty_line(capsys):
    print_table("a title", [("", False), ("", False)], [["library", "/x"], ["on disk", ""]])
    assert capsys.readouterr().out == "a title\nlibrary  /x\non disk\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''-1", "\uff1d1"])
def test_no_text_is_a_formula_to_a_spreadsheet_and_one_apostrophe_takes_it_back(text):
    assert tsv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=b", "'tis", "", "/photos/-.jpg", "写真"])
def test_other_text_is_a_cell_as_it_is(text):
    assert tsv_cell(text) == text


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "=a\tb", "\n-1"])
def test_a_cell_with_controls_is_quoted_and_no_formula_either(text):
    assert tsv_cell(text) == quoted(text)
    assert tsv_cell(text).startswith("$'")
    assert "\t" not in tsv_cell(text)


def test_numbers_stay_numbers():
    assert [tsv_cell(value) for value in (-0.5, 7, True, None)] == ["-0.5", "7", "true", ""]
