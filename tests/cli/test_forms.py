"""What programs are told: one object for `json`, the version of every form, schemas of all that is printed."""

from __future__ import annotations

import json
import shutil
import webbrowser
from pathlib import Path

import pytest
from jsonschema import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.cli.forms import FORMS, schema_of
from mmsearch.contract import FORMAT_VERSION
from mmsearch.encoders.calibration import Calibration, LabelModel, RelevanceModel
from tests.forms import check_form, check_run


@pytest.fixture
def told(indexed, cache, tmp_path, monkeypatch):
    """Run a command on the eight photographs in this process; returns its exit code, what it printed and said."""
    monkeypatch.chdir(tmp_path)
    environment = {"MMSEARCH_LIBRARY": str(indexed.folder), "MMSEARCH_CACHE": str(cache), "COLUMNS": "100"}

    def told(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)), env=environment)
        check_run(arguments, done.stdout)
        return done.exit_code, done.stdout, done.stderr

    return told


def commands(group, *words):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, name)
        else:
            yield " ".join((*words, name)), command


def test_every_command_with_a_format_has_a_schema():
    with_format = {
        name for name, command in commands(get_command(app)) if any(p.name == "output" for p in command.params)
    }
    assert with_format == set(FORMS)


def test_every_object_has_the_version_of_its_form(told):
    for format_, n in (("json", 1), ("jsonl", 2)):
        printed = told("search", "a cat", "-k", "2", "--format", format_)[1]
        documents = [json.loads(text) for text in (printed.splitlines() if format_ == "jsonl" else [printed])]
        assert [document["format_version"] for document in documents] == [FORMAT_VERSION] * n


@pytest.mark.parametrize("format_", ["json", "jsonl"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "PHOTOS", "--no-local"),
        ("search", "a cat", "--explain"),
        ("search", "-i", "PHOTOS/cat.jpg", "--where", "width > 1"),
        ("classify", "PHOTOS/cat.jpg", "--labels", "a,b"),
        ("status",),
        ("verify",),
        ("rm", "--queries"),
        ("labels", "set", "things", "--labels", "cat,fig", "--min-probability", "0.1"),
        ("export", "--out", "shards"),
        ("export", "--sidecars", "sidecars"),
        ("backup", "a.backup"),
        ("restore", "a.backup", "--library", "back"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]) if isinstance(arguments, tuple) else arguments,
)
def test_what_is_printed_is_what_the_schema_says_and_nothing_besides(told, indexed, photos, arguments, format_):
    indexed.calibrate(Calibration(RelevanceModel(-4.0, 5.0, 8.0, 0.25, 6.0, 8.0, 60.0, 0.0), LabelModel(8.0, -3.0)))
    asked = [word.replace("PHOTOS", str(photos)) for word in arguments]
    if "restore" in asked:
        indexed.backup("a.backup")
    code, printed, err = told(*asked, "--format", format_)
    assert code == 0, err
    if format_ == "json":
        assert isinstance(json.loads(printed), dict)


def test_a_member_that_is_not_declared_is_noticed():
    forgotten = {"format_version": 1, "n_pictures": 0, "n_queries": 1, "pictures": [], "problems": []}
    check_form("rm", json.dumps(forgotten))
    for other in ({**forgotten, "more": 1}, {**forgotten, "format_version": 2}, {**forgotten, "pictures": None}):
        with pytest.raises(ValidationError):
            check_form("rm", json.dumps(other))


def test_a_search_is_one_object_with_what_is_known_of_the_whole(told):
    answer = json.loads(told("search", "a cat", "-k", "2", "--format", "json")[1])
    assert (answer["route"], answer["n_candidates"], [hit["rank"] for hit in answer["hits"]]) == (
        "exact",
        8,
        [1, 2],
    )
    empty = json.loads(told("search", "a cat", "--where", "width = 1", "--format", "json")[1])
    assert empty["hits"] == []


def test_faults_are_records_with_the_picture_that_each_is_about(told, indexed, photos):
    assert told("verify", "--format", "jsonl")[:2] == (0, "")
    vectors = indexed.folder / "vectors-0.f16"
    data = bytearray(vectors.read_bytes())
    data[10] ^= 1
    vectors.write_bytes(data)
    code, printed, err = told("verify", "--format", "json")
    answer = json.loads(printed)
    assert (code, answer["is_whole"], answer["is_repaired"], answer["n_vectors"]) == (1, False, False, 8)
    (fault,) = answer["faults"]
    assert (fault["code"], fault["path"].startswith(str(photos))) == ("damaged_vector", True)
    assert f"problem: {fault['what']}\n" in err
    assert told("verify", "--format", "paths")[:2] == (1, fault["path"] + "\n")
    code, printed, _ = told("verify", "--repair", "--format", "json")
    repaired = json.loads(printed)
    assert (code, repaired["is_repaired"], repaired["n_dropped"]) == (0, True, 1)


def test_what_is_forgotten_is_listed(told, photos):
    told("search", "a cat")
    answer = json.loads(told("rm", photos / "trip", "--queries", "--format", "json")[1])
    paths = [str(photos / "trip" / name) for name in ("goldfish.jpg", "moose.jpg")]
    assert (answer["n_pictures"], answer["n_queries"], [one["path"] for one in answer["pictures"]]) == (2, 1, paths)
    code, printed, _err = told("rm", photos / "trip", "--format", "json")
    assert (code, json.loads(printed)["n_pictures"]) == (1, 0)
    assert told("rm", photos / "cat.jpg", "--format", "paths")[:2] == (0, f"{photos / 'cat.jpg'}\n")


def test_a_schema_is_printed_and_an_unknown_command_is_a_sentence(told):
    code, printed, _ = told("schema", "search", "--line")
    assert (code, json.loads(printed)["title"]) == (0, "mmsearch search --format jsonl, a line")
    code, printed, err = told("schema", "serve")
    assert (code, printed) == (2, "")
    assert "no command 'serve' prints JSON; expected one of index, " in " ".join(err.replace("│", " ").split())


def test_schemas_say_what_objects_and_fields_mean_in_words_of_json():
    search = schema_of("search")
    assert search["properties"]["n_candidates"]["description"] == "From how many pictures the hits were chosen."
    assert search["properties"]["hits"]["items"]["description"].startswith("One hit. `score` is the cosine")
    assert "`path` is null where" in schema_of("verify", is_line=True)["description"]
    for command in FORMS:
        schema = json.dumps(schema_of(command))
        assert "None" not in schema
        assert "Parameters" not in schema


def test_copies_count_among_the_pictures_that_an_answer_is_chosen_from(told, indexed, photos):
    shutil.copyfile(photos / "cat.jpg", photos / "copy.jpg")
    indexed.index([photos], local=False)
    for options in ((), ("--where", "width > 1")):
        asked = ("search", "a cat", "-k", "20", "--format", "json", *options)
        answer, of_all = (json.loads(told(*asked, *collapse)[1]) for collapse in ((), ("--collapse", "none")))
        assert answer["n_candidates"] == of_all["n_candidates"] == len(of_all["hits"]) == 9
        assert len(answer["hits"]) == 8
    assert told("search", "a cat", "-k", "8", "--html", "page.html")[0] == 0
    with open("page.html") as page:
        assert "The best 8 of 9 pictures." in page.read()


def test_every_form_says_what_a_hit_stands_for_and_paths_have_one_of_it(told, indexed, photos):
    shutil.copyfile(photos / "cat.jpg", photos / "copy.jpg")
    indexed.index([photos], local=False)
    asked = ("search", "-i", str(photos / "cat.jpg"), "-k", "2", "--format")
    first, other = json.loads(told(*asked, "json")[1])["hits"]
    assert "folded" not in other
    assert {name: first["folded"][name] for name in ("n_same_file", "n_same_picture", "n_look_alike")} == {
        "n_same_file": 1, "n_same_picture": 0, "n_look_alike": 0
    }  # fmt: skip
    (copy,) = first["folded"]["pictures"]
    assert (copy["path"], copy["name"], copy["kind"]) == (str(photos / "copy.jpg"), "copy.jpg", "same-file")
    table, tsv = (told(*asked, form)[1].splitlines() for form in ("table", "tsv"))
    assert ("copies" in table[0], "2 copies" in table[1], "2 copies" in table[2]) == (True, True, False)
    assert (tsv[0].split("\t")[-7:-4], tsv[1].split("\t")[-7:-4]) == (
        ["n_same_file", "n_same_picture", "n_look_alike"], ["1", "0", "0"]
    )  # fmt: skip
    assert told(*asked, "paths")[1].splitlines() == [first["path"], other["path"]]
    assert told(*asked, "paths", "--collapse", "none", "--html", "page.html")[1].splitlines() == [
        first["path"], copy["path"]
    ]  # fmt: skip
    assert told(*asked, "paths", "--rerank", "none", "--html", "sheet.html")[0] == 0
    assert ", 2 copies" in Path("sheet.html").read_text()


def test_a_browser_that_is_not_there_is_said(told, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    code, _, err = told("search", "a cat", "--html", "page.html", "--open")
    assert (code, "no browser could be started here; open page.html in one yourself\n" in err) == (0, True)


def test_a_list_of_files_may_have_the_line_ends_of_windows(told, photos):
    with open("list.txt", "wb") as file:
        file.write(f"{photos / 'cat.jpg'}\r\n{photos / 'fig.jpg'}\r\n".encode())
    code, printed, err = told("index", "--files-from", "list.txt", "--no-local")
    assert (code, json.loads(printed)["unchanged"]) == (0, 2), err
