"""The help of every command teaches by examples, which its parser takes."""

from __future__ import annotations

import shlex

import pytest
import typer

from mmsearch.cli.app import app
from tests.test_readme import COMMANDS

EPILOGS = {"": typer.main.get_command(app).epilog, **{name: command.epilog for name, command in COMMANDS.items()}}


def words_of(epilog):
    """The words behind `mmsearch` of each example."""
    heading, *lines = (epilog or "").splitlines()
    assert heading == "Examples"
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program == "mmsearch"
        yield words


def parsed(words):
    """The full name of the command of an example, which its parser takes."""
    name = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS)
    COMMANDS[name].make_context(name, words[len(name.split()) :])
    return name


@pytest.mark.parametrize("name", sorted(EPILOGS))
def test_every_help_ends_with_two_to_four_examples_of_the_command_that_are_understood(name):
    examples = list(words_of(EPILOGS[name]))
    assert 2 <= len(examples) <= 4
    assert name in ("", *map(parsed, examples))


@pytest.mark.parametrize("name", sorted(EPILOGS))
def test_examples_fit_into_a_terminal(name):
    assert max(map(len, EPILOGS[name].splitlines())) <= 79
    assert "[" not in EPILOGS[name]  # which rich takes for markup


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_nothing_that_help_says_is_cut_off_in_a_terminal_of_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    COMMANDS[name].main(["--help"], prog_name=name, standalone_mode=False)
    cut = [word for word in capsys.readouterr().out.split() if word.endswith("…")]
    assert not [word for word in cut if not word.startswith("--")]  # names of options have a narrow column


def test_the_check_of_examples_can_fail():
    with pytest.raises(Exception, match="nonsense"):
        parsed(["search", "x", "--nonsense"])


def test_help_shows_the_examples_line_by_line(run):
    lines = [line.strip() for line in run("labels", "rm", "--help")[1].splitlines()]
    start = lines.index("Examples")
    library = "mmsearch labels rm animals --library ~/library"
    assert lines[start + 1 : start + 3] == ["mmsearch labels rm animals", library]
