"""The README is true: its commands exist, its examples run, and CI runs what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from mmsearch.cli.app import app
from mmsearch.records import Query

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group, prefix=""):
    """All commands by their full names, such as `search` and `bench retrieval`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme_and_has_help(name):
    assert f"mmsearch {name}" in README
    assert len(COMMANDS[name].help) > 30
    assert all(getattr(option, "help", None) for option in COMMANDS[name].params)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_no_brackets_that_the_terminal_would_swallow(name):
    texts = [COMMANDS[name].help, *(getattr(option, "help", "") for option in COMMANDS[name].params)]
    assert not [text for text in texts if re.search(r"\[[a-z]", text)]  # rich takes [word] for markup


def readme_lines():
    for line in README.splitlines():
        if line.startswith("$ mmsearch "):
            yield line[2:].split("#")[0].split("|")[0].strip()


@pytest.mark.parametrize("line", list(readme_lines()))
def test_every_command_line_of_the_readme_parses(line):
    _, *words = shlex.split(line)
    n = next(n for n in (2, 1) if " ".join(words[:n]) in COMMANDS)
    COMMANDS[" ".join(words[:n])].make_context(line, words[n:])


def test_the_check_of_command_lines_can_fail():
    with pytest.raises(Exception, match="nonsense"):
        COMMANDS["search"].make_context("search", ["x", "--nonsense"])


def test_the_first_screen_has_the_two_commands():
    blocks = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)[:2]
    assert blocks[0].endswith("mmsearch demo")
    assert blocks[1].endswith("&& pytest -n 2 --dist loadfile")
    assert README.index(blocks[1]) < 1500


def test_ci_runs_the_test_command_of_the_readme():
    command = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)[1]
    install_and_test = command.partition(". .venv/bin/activate && ")[2]
    assert install_and_test in (ROOT / ".ci" / "run").read_text()


def test_python_example_of_the_readme_runs(indexed, photos, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)\n```", README, re.DOTALL)
    monkeypatch.chdir(photos.parent)
    for name in ("example.jpg", "cat.jpg"):
        (photos.parent / name).write_bytes((photos / "cat.jpg").read_bytes())
    code = code.replace('"my-library"', repr(str(indexed.folder))).replace('model="offline"', "")
    assert code.count(str(indexed.folder)) == 1
    exec(compile(code, "README.md", "exec"), {})
    assert Query(text="a beach").text == "a beach"


def test_changelog_knows_the_version_or_what_is_to_come():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
