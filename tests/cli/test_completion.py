"""What is offered behind Tab, asked as the shells ask: by the environment of a process that has no arguments."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from mmsearch.annotations import Annotation, Kind
from mmsearch.annotations.xmp_sidecar import xmp_sidecar
from mmsearch.cli import completion
from mmsearch.cli.app import app
from mmsearch.cli.configuration import configuration
from mmsearch.encoders.cnn import DESCRIPTORS
from mmsearch.encoders.prepare import AUTO, DEFAULT_CLIP
from mmsearch.images.kinds import FORMATS
from mmsearch.predicates import filters_of
from tests.test_architecture import HEAVY

COMMAND = typer.main.get_command(app)


@pytest.fixture
def offered(monkeypatch, capsys, tmp_path):
    """Ask what a shell is offered for a line with `|` between its words, of which the last is completed."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMSEARCH_LIBRARY", str(tmp_path / "library"))
    completion.prepare_completion()  # each command that typer makes, in any test, brings its own completion back

    def ask(line, shell="bash"):
        monkeypatch.setenv("_MMSEARCH_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        configuration.cache_clear()
        words = line.split("|")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(words))
        with pytest.raises(SystemExit) as end:
            COMMAND(prog_name="mmsearch")
        out, err = capsys.readouterr()
        assert (end.value.code, err) == (0, "")
        return out.rstrip().splitlines()

    yield ask
    configuration.cache_clear()


@pytest.fixture
def labelled(indexed):
    indexed.set_labels("animals", ["cat", "a red car", "it's", "$(date)"], closed=True)
    return indexed


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("mmsearch|ser", ["serve"]),
        ("mmsearch|labels|", ["set", "list", "rm"]),
        ("mmsearch|search|--min-r", ["--min-relevance"]),
        ('mmsearch|search|"a cat"|--format|json', ["json", "jsonl"]),
        ("mmsearch|search|--rerank|", ["auto", "none", "local"]),
        ("mmsearch|index|--precision|b", ["bf16"]),
        ("mmsearch|index|--views|", ["1", "5", "auto"]),
        ("mmsearch|serve|--device|", ["auto", "cpu", "cuda"]),
        ("mmsearch|index|--model|off", ["offline"]),
        ("mmsearch|train|captions|--base|off", ["offline"]),
        ("mmsearch|bench|classify|SET|--templates|", ["names", "default", "simple", "openai"]),
        ("mmsearch|index|/", []),  # the shell completes files itself
    ],
)
def test_commands_options_and_their_values_are_offered(offered, line, values):
    assert offered(line) == values


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("mmsearch|index|--model|cnn|:|g", ["gem", "gem+middle"]),
        ("mmsearch|search|--format|=|ta", ["table"]),
        ("mmsearch|search|--format|=", ["table", "json", "jsonl", "tsv", "paths", "paths0"]),
        ("mmsearch|search|--where|format|=|t", ["tiff"]),
        ("mmsearch|search|--where|=|format|=|t", ["tiff"]),
        ('mmsearch|search|--where|=|"format = t', ["format = tiff"]),
    ],
)
def test_words_that_bash_takes_apart_are_put_together_and_only_their_ends_are_inserted(offered, line, values):
    assert offered(line) == values


def test_filters_are_offered_field_by_field_with_the_operators_that_mean_something(offered):
    assert offered('mmsearch|search|--where|"fo') == ["folder", "format"]
    assert offered('mmsearch|search|--where|"width ') == [f"width {it}" for it in ("=", "!=", "<", "<=", ">", ">=")]
    assert offered('mmsearch|search|--where|"lab') == ["label=", "label!=", "label~"]
    assert offered("mmsearch|search|--where|tak")[-1] == r"taken\>="
    assert offered('mmsearch|search|--where|"width > 800 and (not forma') == [
        f"width > 800 and (not format{it}" for it in ("=", "!=", "<", "<=", ">", ">=", "~")
    ]
    assert offered('mmsearch|search|--where|"nonsense') == offered('mmsearch|search|--where|"nonsense = ') == []


def test_filters_that_are_offered_are_understood(offered):
    for lead in offered('mmsearch|search|--where|"'):
        for operator in offered(f'mmsearch|search|--where|"{lead}') if lead not in ("label", "format") else ():
            assert filters_of(f"{operator}2023", "where")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_labels_of_the_library_are_offered_unless_a_shell_could_take_them_for_something_else(
    offered, labelled, shell
):
    values = offered('mmsearch|search|--where|"label = ', shell)
    assert "".join(values).count("label =") == 2
    assert ["label = cat" in value for value in values].count(True) == 1
    assert "a red car" in "".join(values)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_that_tell_a_line_are_offered_whole_words(offered, shell):
    assert any(line.startswith(("jsonl", '"jsonl"')) for line in offered("mmsearch|search|--format|", shell))
    assert "--format=table" in "".join(offered("mmsearch|search|--format=ta", shell))


def test_labels_of_the_library_that_is_named_are_offered_by_set_and_in_every_quoting(
    offered, labelled, monkeypatch
):
    library = os.environ["MMSEARCH_LIBRARY"]
    monkeypatch.delenv("MMSEARCH_LIBRARY")
    line = f"mmsearch|search|--library|{library}|--where|label|=|a"
    assert offered(line) == [r"a\ red\ car"]
    assert offered(f"{line}nimals/c") == ["animals/cat"]
    assert offered(f"mmsearch|labels|rm|--library|{library}|") == ["animals"]
    assert offered("mmsearch|labels|rm|--library|milvus|:|//host/name|") == []


def test_tags_are_offered_of_the_library_and_the_own_ones_where_they_are_taken_away(offered, indexed, photos):
    (photos / "cat.jpg.xmp").write_bytes(xmp_sidecar([Annotation(Kind.TAG, "file", "sleeping")]))
    indexed.index([photos], local=False)
    indexed.tag(photos / "cat.jpg", ["Mimi", "sister"])
    asked = f"mmsearch|VERB|--library|{indexed.folder}"
    where = f"{asked.replace('VERB', 'search')}|--where|"
    assert offered(f'{where}"tag ~ s') == ["tag ~ sister", "tag ~ sleeping"]
    assert offered(f'{where}"place ~ ') == []
    assert offered(f"{asked.replace('VERB', 'tag|add')}|--tag|s") == ["sister", "sleeping"]
    assert offered(f"{asked.replace('VERB', 'tag|rm')}|--tag|s") == ["sister"]


def test_a_label_is_offered_while_it_is_in_the_log_alone_and_nothing_is_written_or_made(offered, labelled):
    def files():
        return {path: path.stat().st_mtime_ns for path in [labelled.folder, *labelled.folder.iterdir()]}

    before = files()
    assert (labelled.folder / "catalog.sqlite-wal") in before
    assert offered("mmsearch|labels|rm|") == ["animals"]
    assert files() == before
    for suffix in ("-wal", "-shm"):
        (labelled.folder / f"catalog.sqlite{suffix}").unlink()
    before = files()
    offered("mmsearch|labels|rm|")
    assert files() == before


def test_what_cannot_be_read_is_not_offered_and_not_talked_about(offered, tmp_path, monkeypatch):
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path / "broken.toml"))
    (tmp_path / "broken.toml").write_text("= 1")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "catalog.sqlite").write_bytes(b"no database")
    for name, spec in (("a", "["), ("b", '{"name": "offline:features"}'), ("c", "[]")):
        (tmp_path / "cache" / "encoders" / name).mkdir(parents=True)
        (tmp_path / "cache" / "encoders" / name / "spec.json").write_text(spec)
    assert offered("mmsearch|labels|rm|") == []
    assert offered("mmsearch|index|--model|o") == ["offline"]


def test_a_model_that_was_exported_here_is_offered(offered, tiny_folder, checkpoint, monkeypatch):
    monkeypatch.setenv("MMSEARCH_CACHE", str(tiny_folder.parents[1]))
    assert str(checkpoint) in offered(f"mmsearch|index|--model|{checkpoint.parent}")


def test_the_names_that_are_offered_are_those_that_there_are():
    assert {f"cnn:{name}" for name in DESCRIPTORS} | {AUTO, DEFAULT_CLIP, "offline", "none"} == set(
        completion.MODELS
    )
    assert completion.FORMATS == FORMATS


def test_a_shell_is_answered_by_a_process_that_loads_nothing_heavy(indexed):
    indexed.set_labels("animals", ["cat"], closed=True)
    program = (
        "import sys\nfrom mmsearch.__main__ import main\n"
        "try: main()\nfinally: sys.stderr.write(' '.join(sys.modules))"
    )
    environment = os.environ | {
        "MMSEARCH_LIBRARY": str(indexed.folder), "_MMSEARCH_COMPLETE": "complete_bash", "COMP_CWORD": "3",
        "COMP_WORDS": 'mmsearch\nsearch\n--where\n"label = c',
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, text=True)
    assert (done.returncode, done.stdout) == (0, "label = cat\n")
    assert not set(done.stderr.split()) & (HEAVY | {"numpy", "PIL", "onnxruntime", "hnswlib", "rich"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell_is_installed_by_one_option(run, shell, tmp_path):
    run.environment |= {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code, out, _ = run("--show-completion", shell)
    assert (code, "_MMSEARCH_COMPLETE=complete_" + shell in out, "-m" in out) == (0, True, False)
