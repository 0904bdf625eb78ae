"""The user's configuration file: what it may say, where it counts, and how it fails."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import typer

from mmsearch.cli.app import app
from mmsearch.cli.configuration import SETTINGS, configuration, defaults_of
from mmsearch.errors import QueryError
from tests.test_readme import README

COMMAND = typer.main.get_command(app)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a configuration, and forget what was read before."""
    file = tmp_path / "settings.toml"
    monkeypatch.setenv("MMSEARCH_CONFIG", str(file))

    def write(text):
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        configuration.cache_clear()
        return file

    yield write
    configuration.cache_clear()


def test_settings_become_defaults_of_all_commands_but_the_demo_has_a_library_of_its_own(written, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    written('library = "~/pictures"\nformat = "tsv"\nport = 9000\n')
    defaults = defaults_of(COMMAND)
    assert defaults["search"] == {"library": "/home/ann/pictures", "output": "tsv", "port": 9000}
    assert defaults["labels"]["list"]["output"] == "tsv"
    assert "demo" not in defaults
    with COMMAND.make_context("mmsearch", ["serve"], default_map=defaults) as group:
        serve = COMMAND.commands["serve"].make_context("serve", [], parent=group)
        assert (serve.params["port"], serve.params["library"]) == (9000, "/home/ann/pictures")


def test_without_a_file_nothing_is_set(monkeypatch, tmp_path):
    monkeypatch.delenv("MMSEARCH_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    configuration.cache_clear()
    assert (configuration().file, defaults_of(COMMAND)) == (None, {})
    (tmp_path / "mmsearch").mkdir()
    (tmp_path / "there.toml").write_text('device = "cpu"')
    (tmp_path / "mmsearch" / "mmsearch.toml").symlink_to(tmp_path / "there.toml")
    configuration.cache_clear()
    assert defaults_of(COMMAND)["index"] == {"device": "cpu"}
    configuration.cache_clear()


def test_the_readme_has_every_setting_and_its_lines_are_understood(written):
    (block,) = re.findall(r"```toml\n(.*?)\n```", README, re.DOTALL)
    written(block)
    assert configuration().values.keys() == SETTINGS.keys()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("libary = '/a'", "there is no setting 'libary'; did you mean library? expected library, cache, model,"),
        ("[search]\nk = 3", "there is no setting 'search'; expected library, cache, model, exclude, format,"),
        ("library = 'pictures'", "library is 'pictures'; expected a path in quotes that begins with / or ~"),
        ('library = "/a\\u0000"', "library is '/a\\x00'; expected a path in quotes"),
        ("library = '~no-such-user/a'", "library is '~no-such-user/a'; expected a path in quotes"),
        ("cache = 'milvus://host/name'", "cache is 'milvus://host/name'; expected a path in quotes"),
        ("model = 3", "model is 3; expected a text in quotes"),
        ("exclude = 'raw'", "exclude is 'raw'; expected a list of patterns such as"),
        ("exclude = [1]", "exclude is [1]; expected a list of patterns"),
        ("format = 'paths'", "format is 'paths'; expected 'table', 'json', 'jsonl' or 'tsv'"),
        ("device = true", "device is True; expected 'auto', 'cpu' or 'cuda'"),
        ("port = true", "port is True; expected a number from 0 to 65535"),
        ("port = 65536", "port is 65536; expected a number from 0 to 65535"),
        ("port 9", "is no TOML: "),
        ("port = " + 5000 * "9", "is no TOML: "),
        ("port = 0x" + 5000 * "9", "port is a number of thousands of digits; expected a number from 0 to 65535"),
        (b"model = '\xff'", "is no text in UTF-8 (invalid start byte at byte 9); save it as UTF-8"),
        ("#" * (1 << 16) + "#", "has more than 65536 bytes"),
        ("a = " + 30_000 * "[", "is nested too deeply"),
    ],
)
def test_what_a_file_must_not_say_is_a_sentence_that_names_it(written, text, sentence):
    file = written(text)
    with pytest.raises(QueryError) as error:
        configuration()
    assert str(error.value).startswith(f"{file}")
    assert sentence in str(error.value)


def test_a_broken_file_stops_commands_and_no_help(written, run, tmp_path):
    file = written("libary = '/a'")
    run.environment["MMSEARCH_CONFIG"] = str(file)
    code, out, err = run("status")
    assert (code, out, f"error: {file}: there is no setting 'libary'" in err) == (2, "", True)
    for command in (["--help"], ["search", "--help"]):
        assert run(*command)[::2] == (0, "")
    run.environment["MMSEARCH_CONFIG"] = str(tmp_path / "nowhere.toml")
    code, _, err = run("status")
    assert (code, f"error: {tmp_path / 'nowhere.toml'}: No such file or directory" in err) == (1, True)


def test_option_wins_over_environment_over_file_and_status_says_what_counts(written, run, indexed, tmp_path):
    run.environment["MMSEARCH_CONFIG"] = str(written(f'library = "{indexed.folder}"\nformat = "json"\nport = 9\n'))
    library = run.environment.pop("MMSEARCH_LIBRARY")
    status = json.loads(run("status")[1])
    assert status["configuration"] == {
        "file": run.environment["MMSEARCH_CONFIG"],
        "values": {"library": str(indexed.folder), "format": "json", "port": 9},
        "overridden": [],
    }
    run.environment["MMSEARCH_LIBRARY"] = str(tmp_path / "none")
    assert f"{tmp_path / 'none'}: no library found" in run("status")[2]
    run.environment["MMSEARCH_LIBRARY"] = library
    _, out, _ = run("status", "--format", "table")
    said = f"library {library} (given otherwise); format json (given otherwise); port 9"
    assert f"settings     {run.environment['MMSEARCH_CONFIG']}; {said}" in re.sub("  +", 5 * " ", out)


def test_a_new_library_has_the_model_and_patterns_of_the_file_and_an_old_one_its_own(
    written, run, photos, checkpoint, tmp_path
):
    file = written(f'model = "{checkpoint}"\nexclude = ["trip/"]\n')
    run.environment["MMSEARCH_CONFIG"] = str(file)
    assert json.loads(run("index", photos, "--no-local")[1])["new"] == 6
    status = json.loads(run("status")[1])
    assert (status["model"], status["exclude"]) == (str(checkpoint), ["trip/"])
    written('model = "offline"\nexclude = ["*.jpg"]\n')
    assert json.loads(run("index", photos)[1])["unchanged"] == 6
    shutil.rmtree(tmp_path / "library")
    code, out, _ = run("index", photos, "--no-local", "--model", checkpoint, "--no-exclude")
    assert (code, json.loads(out)["new"]) == (0, 8)


def test_the_cache_of_the_file_is_used_where_the_environment_names_none(written, run, photos, checkpoint, tmp_path):
    run.environment["MMSEARCH_CONFIG"] = str(written(f'cache = "{run.environment.pop("MMSEARCH_CACHE")}"\n'))
    run.environment["XDG_CACHE_HOME"] = str(tmp_path / "unused")
    assert run("index", photos / "trip", "--model", checkpoint, "--no-local")[0] == 0
    assert not (tmp_path / "unused").exists()
