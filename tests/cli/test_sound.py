"""`mmsearch sound` from outside: what it keeps, what it finds, and how it ends."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from tests.cli.test_cli import json_lines
from tests.forms import check_run
from tests.sound.recordings import encoded, music


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Run a command on a library of two recordings; give what it says."""
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "music").mkdir()
    for number in range(2):
        (folder / "music" / f"{number}.flac").write_bytes(encoded(music(number)))
    (folder / "cut").mkdir()
    (folder / "cut" / "short.flac").write_bytes(encoded(music(2))[:200_000])
    (folder / "music" / "text.mp3").write_text("no sound")

    def told(*arguments, code=0):
        given = [str(argument).replace("FOLDER", str(folder)) for argument in arguments]
        asked = [*given, "--library", str(folder / "library")]
        done = CliRunner().invoke(app, asked, catch_exceptions=False)
        check_run(asked, done.stdout)
        assert code is None or done.exit_code == code, done.stderr
        return done.stdout.replace(str(folder), "FOLDER"), done.stderr.replace(str(folder), "FOLDER")

    return told


def test_recordings_are_kept_found_and_forgotten(told):
    out, err = told("sound", "index", "FOLDER/music", "--format", "json", code=3)
    assert (json.loads(out)["new"], json.loads(out)["bad"][0]["code"]) == (2, "not_a_sound")
    assert "2 new, 0 changed" in err
    assert "not_a_sound: FOLDER/music/text.mp3: this is no recording" in err
    (hit,) = json_lines(told("sound", "search", "FOLDER/music/1.flac", "--at", 4, "--duration", 6)[0])
    assert (hit["path"], hit["verdict"], hit["speed"]) == ("FOLDER/music/1.flac", "match", 1.0)
    assert hit["at"] == pytest.approx(4.0, abs=0.1)
    out, err = told("sound", "rm", "FOLDER/music/1.flac", "--format", "json")
    assert (json.loads(out)["recordings"], err) == ([{"path": "FOLDER/music/1.flac"}], "1 recording forgotten\n")
    assert "no recording of the library is at or below" in told("sound", "rm", "FOLDER/music/1.flac", code=1)[1]


@pytest.mark.full
def test_recordings_are_shown_to_people(told):
    told("sound", "index", "FOLDER/music", code=None)
    assert "of 1 only a part could be heard" in told("sound", "index", "FOLDER/cut")[1]
    (hit,) = json_lines(told("sound", "search", "FOLDER/cut/short.flac")[0])
    assert "cut short" in hit["problem"]
    assert "FOLDER/cut/short.flac: parts of it are damaged" in told("sound", "status", "--format", "table")[1]
    told("sound", "rm", "FOLDER/cut")
    table, _ = told("sound", "search", "FOLDER/music/1.flac", "--at", 4, "--format", "table")
    assert table.splitlines()[1].split()[0] == "match"
    assert "0:04.0" in table
    assert told("sound", "search", "FOLDER/music/0.flac", "--format", "paths")[0] == "FOLDER/music/0.flac\n"
    assert json.loads(told("sound", "status", "--format", "json")[0])["n_recordings"] == 2
    assert "recordings" in told("sound", "status", "--format", "table")[0]
    assert "2, 0.0 h, and 1 bad files; `mmsearch sound status` says more" in told("status", "--format", "table")[0]
