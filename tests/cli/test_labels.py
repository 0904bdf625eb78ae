"""`mmsearch labels` from outside: what it says, what it writes, and how it ends."""

from __future__ import annotations

import json

import pytest

from mmsearch.cli.app import app
from tests.cli.test_cli import json_lines


@pytest.fixture
def ready(run, indexed):
    """`run` after the eight photographs were indexed."""
    return run


def test_labels_are_set_listed_filtered_by_and_removed(ready, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\nfig\n\n  a rocket \n")
    code, out, err = ready("labels", "set", "things", "--labels-file", names, "--min-probability", "0.3")
    made = json.loads(out)
    assert code == 0
    assert (made["name"], made["n_labels"], made["n_left"], made["min_probability"]) == ("things", 3, 0, 0.3)
    assert err == (f"things: 3 labels, given to {made['n_labelled']} pictures from a probability of 0.3 on\n")
    _, listed, _ = ready("labels", "list")
    assert json_lines(listed) == [made]
    n_given = sum(
        len(json_lines(ready("search", "a", "--where", f"label = things/{name}")[1]))
        for name in ("cat", "fig", "a rocket")
    )
    assert n_given == made["n_given"] > 0
    _, table, _ = ready("labels", "list", "--format", "table")
    heading, line = table.splitlines()
    assert heading.split() == ["set", "labels", "pictures", "given", "left", "from", "mode"]
    assert line.split() == ["things", "3", str(made["n_labelled"]), str(made["n_given"]), "0", "0.3", "closed"]
    _, status, _ = ready("status", "--format", "table")
    assert f"labels        {err.strip()}" in status.splitlines()
    code, _, err = ready("labels", "rm", "things")
    assert (code, err.startswith("forgotten: things: 3 labels")) == (0, True)
    code, out, err = ready("search", "a", "--where", "label = cat")
    assert (code, out) == (2, "")
    assert "the library has no labels; `mmsearch labels set NAME --labels-file F` gives some to its pictures" in err
    _, _, err = ready("labels", "list", "--format", "table")
    assert err == "no label sets; `mmsearch labels set NAME --labels-file F` makes one\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["set", "things"], "give either --labels or --labels-file"),
        (["set", "things", "--labels", "a", "--labels-file", "b"], "give either --labels or --labels-file"),
        (["set", "a/b", "--labels", "a"], "a label set cannot be called 'a/b'"),
        (["set", "things", "--labels", "a,a"], "label 'a' is given twice"),
        (["set", "things", "--labels", "a", "--min-probability", "1.1"], "above 0 and at most 1"),
        (["set", "things", "--labels", "a", "--template", "none"], "expected exactly one {}"),
        (["rm", "things"], "the library has no label set 'things'; expected one of those that it has: none"),
    ],
)
def test_what_means_nothing_is_a_sentence_of_usage(ready, arguments, sentence):
    code, out, err = ready("labels", *arguments)
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.replace("│", " ").split())


@pytest.mark.full
def test_a_library_at_an_address_says_that_it_has_no_labels_yet(run, milvus, checkpoint, photos):
    address = milvus.address("labels_of_cli")
    assert run("index", photos, "--model", checkpoint, "--library", address)[0] == 0
    for arguments in (["list"], ["set", "things", "--labels", "a"], ["rm", "things"]):
        code, out, err = run("labels", *arguments, "--library", address)
        assert (code, out) == (1, "")
        assert "stands at an address, where there is no support for labels yet" in err
    code, _, err = run("search", "a", "--where", "label = cat", "--library", address)
    assert code == 1
    assert "no support for labels yet" in err


def test_labels_are_a_group_of_commands():
    assert "labels" in [group.name for group in app.registered_groups]
