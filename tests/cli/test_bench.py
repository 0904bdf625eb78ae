from __future__ import annotations

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.cli.measured import show_measured
from mmsearch.cli.options import Format
from mmsearch.errors import OutputError
from mmsearch.evaluation.report import Report
from mmsearch.evaluation.runs import score_runs
from tests.conftest import small_samples
from tests.forms import check_form


@pytest.fixture
def captioned(photos):
    """The folder of photographs with captions for two of them."""
    rows = [
        {"image": "cat.jpg", "captions": ["a cat", "a cat looks up"], "split": "test"},
        {"image": "fig.jpg", "captions": ["a fruit"], "split": "train"},
    ]
    (photos / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return photos


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_bench_prints_a_line_a_measure_and_direction(run, captioned, checkpoint):
    code, out, err = run("bench", "retrieval", captioned, "--model", checkpoint)
    assert code == 0, err
    rows = json_lines(out)
    assert len(rows) == 28
    assert rows[0].keys() == {"format_version", "model", "direction", "n", "measure", "value", "low", "high"}
    assert [row["n"] for row in rows] == [3] * 14 + [2] * 14
    assert {row["direction"] for row in rows} == {"text to image", "image to text"}


def test_bench_writes_a_report_and_a_table(run, captioned, checkpoint, tmp_path):
    options = ("--model", checkpoint, "--split", "test", "--out", tmp_path / "out", "--format", "table")
    code, out, _ = run("bench", "retrieval", captioned, *options)
    assert code == 0
    assert "photos (test), text to image: 2 queries, 1 gallery" in out.splitlines()[0]
    assert re.search(r"^R@1 \(any\) +100\.0 % \(20\.7 to 100\.0\)$", out, re.MULTILINE)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["set"] == {
        "name": "photos (test)",
        "n_pictures": 1,
        "n_texts": 2,
        "n_repeated_texts": 0,
        "bad": [],
    }


def test_bench_calibration_asks_captions_and_labels(run, captioned, checkpoint, tmp_path):
    (tmp_path / "absent").write_text("lighthouse\ncat\ngrand piano\n")
    options = ("--model", checkpoint, "--absent", tmp_path / "absent", "--out", tmp_path / "out")
    code, out, err = run("bench", "calibration", captioned, *options, "--format", "tsv")
    assert code == 0, err
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["model", "part", "n", "measure", "value", "low", "high"]
    assert {(row[1], row[2]) for row in rows[1:]} == {
        ("matches", "6"), ("hits", "6"), ("gibberish", "5"), ("absent names", "5"),
    }  # fmt: skip
    assert "absent names: against the captions with their pictures" in err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["results"]
    (captioned / "captions.jsonl").unlink()
    for name in ("cat", "fig"):
        (captioned / "set" / name).mkdir(parents=True)
        (captioned / f"{name}.jpg").rename(captioned / "set" / name / "1.jpg")
    code, out, err = run("bench", "calibration", captioned / "set", "--model", checkpoint, "--format", "table")
    assert code == 0, err
    for title in ("set, labels: ", "set, label removed: 2 true, 2 not true", "set, labels and none of them: "):
        assert title in out


def test_bench_names_a_bad_picture_and_goes_on_and_the_exit_code_says_so(run, captioned, checkpoint):
    (captioned / "fig.jpg").write_bytes(b"<html></html>")
    code, out, err = run("bench", "retrieval", captioned, "--model", checkpoint, "--format", "paths")
    assert code == 3
    assert out == f"{captioned / 'fig.jpg'}\n"
    assert "fig.jpg" in err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"image": "lost.jpg", "captions": ["a"]}', "1 of 1 pictures are not on disk"),
        ('{"image": "cat.jpg"}', "line 1: has no field 'captions'"),
    ],
)
def test_bench_says_what_is_wrong_with_a_set(run, captioned, content, sentence):
    (captioned / "captions.jsonl").write_text(content)
    code, out, err = run("bench", "retrieval", captioned)
    assert (code, out) == (1, "")
    assert sentence in err


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("retrieval", ["."]),
        ("calibration", [".", "--absent", "names"]),
        ("classify", ["set"]),
        ("identify", ["set"]),
        ("instance", ["set"]),
        ("run", ["qrels", "ranking"]),
    ],
)
def test_a_report_on_standard_output_follows_the_schema_of_its_benchmark(
    captioned, checkpoint, cache, name, arguments, monkeypatch
):
    for label in ("cat", "fig", "dam"):
        (captioned / "set" / label).mkdir(parents=True)
        for number in (1, 2):
            shutil.copyfile(captioned / f"{label}.jpg", captioned / "set" / label / f"{number}.jpg")
    (captioned / "names").write_text("lighthouse\ngrand piano\n")
    (captioned / "qrels").write_text("q1 0 a 1\n")
    (captioned / "ranking").write_text("q1 Q0 b 1 9 x\n")
    monkeypatch.chdir(captioned)
    model = [] if name == "run" else ["--model", str(checkpoint)]
    command = ["bench", name, *arguments, *model, "--format", "json"]
    done = CliRunner().invoke(app, command, env={"MMSEARCH_CACHE": str(cache)})
    assert done.exit_code == 0, (done.stderr, done.exception)
    check_form(f"bench {name}", done.stdout)


def test_bench_without_a_job_shows_its_help(run):
    code, out, err = run("bench")
    assert code == 2
    assert "retrieval" in out + err


def test_bench_classify_measures_each_ensemble(run, photos, checkpoint, tmp_path):
    for name in ("cat", "fig", "dam"):
        (photos / "sets" / name).mkdir(parents=True)
        (photos / f"{name}.jpg").rename(photos / "sets" / name / "one.jpg")
    options = ("--model", checkpoint, "--templates", "names", "--templates", "simple", "--template", "my {}")
    code, out, err = run("bench", "classify", photos / "sets", *options, "--out", tmp_path)
    assert code == 0, err
    rows = json_lines(out)
    assert [row["templates"] for row in rows] == ["names"] * 3 + ["simple"] * 3 + ["own"] * 3
    assert {row["measure"] for row in rows} == {"top-1", "mean per-class recall", "calibration error"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["ensembles"]["simple"]) == 7


def test_bench_classify_counts_pictures_below_the_folder_of_a_class_and_says_what_it_leaves_out(
    run, photos, checkpoint, tmp_path
):
    for name, kind in (("cat", "cat/2019"), ("fig", "fig/a/b"), ("dam", "fig"), ("creek", ".")):
        (photos / "set" / kind).mkdir(parents=True, exist_ok=True)
        (photos / f"{name}.jpg").rename(photos / "set" / kind / f"{name}.jpg")
    code, out, err = run("bench", "classify", photos / "set", "--model", checkpoint, "--out", tmp_path / "out")
    assert code == 0, err
    assert {row["n"] for row in json_lines(out)} == {3}
    sentence = f"1 picture or film beside the folders, of no class: {photos}/set/creek.jpg"
    assert f"not measured: {sentence}" in err
    known = json.loads((tmp_path / "out" / "report.json").read_text())["set"]
    assert (known["class_names"], known["left_out"]) == (["cat", "fig"], [sentence])
    assert sentence in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.full
def test_bench_classify_compares_a_classifier_with_the_prompts_of_its_base(run, photos, checkpoint, tmp_path):
    for name, kind in (("cat", "animal"), ("goldfish", "animal"), ("dam", "building"), ("creek", "water")):
        (photos / "set" / kind).mkdir(parents=True, exist_ok=True)
        next(photos.rglob(f"{name}.jpg")).rename(photos / "set" / kind / f"{name}.jpg")
    file = tmp_path / "classifier"
    options = ("--base", checkpoint, "--out", file, "--format", "json")
    code, _, err = run("train", "classes", photos / "set", *options)
    assert code == 0, err
    (photos / "set" / "water").rename(photos / "set" / "moon")
    code, out, err = run("bench", "classify", photos / "set", "--classifier", file, "--out", tmp_path / "out")
    assert code == 0, err
    rows = json_lines(out)
    assert {row["model"] for row in rows if "model" in row} == {str(checkpoint), str(file)}
    assert {(row["first"], row["second"]) for row in rows if "first" in row} == {(str(checkpoint), str(file))}
    said = " ".join(err.split())
    assert f"{file} does not know 1 of the 3 classes of set (moon): their pictures count as wrong" in said
    assert f"{file} knows labels that set does not have, 1 (water): they do not compete" in said
    assert (
        f"4 of the 4 pictures of set are among those that {file} was taught by (same bytes: 4, copies: 0)" in said
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    moon = report["set"]["class_names"].index("moon")
    assert report["results"][str(file)]["default"]["recall_per_class"][moon] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    for shown in ("Recall of each class", "calibration error", "their pictures count as wrong", "too good"):
        assert shown in page


def test_bench_classify_names_templates_that_do_not_exist(run, photos):
    code, _, err = run("bench", "classify", photos, "--templates", "fancy")
    assert code == 2
    assert "no templates 'fancy'" in " ".join(err.split())


def test_bench_run_scores_runs_against_qrels(run, tmp_path):
    (tmp_path / "qrels").write_text("q1 0 a 1\nq2 0 a 1\nq3 0 a 0\n")
    (tmp_path / "good").write_text("q1 Q0 a 1 9 x\nq2 Q0 b 1 9 x\nq2 Q0 a 2 8 x\nq9 Q0 a 1 9 x\n")
    (tmp_path / "poor").write_text("q1 Q0 b 1 9 x\n")
    code, out, err = run(
        "bench", "run", tmp_path / "qrels", tmp_path / "good", tmp_path / "poor", "--out", tmp_path
    )
    assert code == 0, err
    rows = [row for row in json_lines(out) if row["measure"] == "mAP"]
    assert {row["model"]: row["value"] for row in rows if "model" in row} == {"good": 0.75, "poor": 0}
    assert [(row["first"], row["second"]) for row in rows if "p" in row] == [("good", "poor")]
    assert all(
        row["value"] is None
        for row in json_lines(out)
        if row.get("model") == "poor" and row["measure"] == "median rank"
    )
    report = json.loads((tmp_path / "report.json").read_text())
    counts = report["results"]["good"]["qrels"]
    assert [counts[f"n_{name}"] for name in ("queries", "unanswered", "unjudged", "without_relevant")] == [
        2,
        0,
        1,
        1,
    ]
    assert report["results"]["poor"]["qrels"]["n_unanswered"] == 1
    assert report["comparisons"]["qrels"]


def test_bench_run_says_what_equal_scores_decide(run, tmp_path):
    (tmp_path / "qrels").write_text("1 0 b 1\n")
    (tmp_path / "run").write_text("1 Q0 a 1 0.5 r\n1 Q0 b 2 0.5 r\n")
    code, _, err = run("bench", "run", tmp_path / "qrels", tmp_path / "run", "--format", "table")
    assert code == 0, err
    assert "Equal scores go to the smaller document name" in err
    assert "1 query has a right answer at the score of a wrong one" in " ".join(err.split())


def test_bench_run_reads_over_comments(run, tmp_path):
    (tmp_path / "qrels").write_text("# topic doc 1\n1 0 a 1\n")
    (tmp_path / "run").write_text("# made by hand\n1 Q0 a 1 1.0 r and more\n")
    code, out, err = run("bench", "run", tmp_path / "qrels", tmp_path / "run")
    assert code == 0, err
    (row,) = (row for row in json_lines(out) if row["measure"] == "R@1 (any)")
    assert (row["n"], row["value"]) == (1, 1)


def test_bench_run_says_what_is_wrong_with_a_run(run, tmp_path):
    (tmp_path / "qrels").write_text("q1 0 a 1\n")
    (tmp_path / "run").write_text("q1 a 0.5\n")
    code, out, err = run("bench", "run", tmp_path / "qrels", tmp_path / "run")
    assert (code, out) == (1, "")
    assert "line 1: has 3 columns, expected at least 6" in err


def test_bench_instance_measures_a_set_and_writes_runs(run, photos, checkpoint, tmp_path):
    whole = {
        "gallery": ["cat.jpg", "fig.jpg", "dam.jpg"],
        "queries": [
            {"image": "cat.jpg", "relevant": ["cat.jpg"], "kind": "easy"},
            {"image": "fig.jpg", "relevant": ["dam.jpg"], "kind": "hard"},
            {"image": "dam.jpg", "relevant": [], "kind": "void"},
        ],
    }
    (photos / "set.json").write_text(json.dumps(whole))
    options = ("--model", checkpoint, "--by", "kind", "--out", tmp_path / "out", "--trec", "2")
    code, out, err = run("bench", "instance", photos / "set.json", *options)
    assert code == 0, err
    found = {(row["task"], row["measure"]): row["value"] for row in json_lines(out)}
    assert found["kind=easy", "mAP"] == 1
    assert "kind=void: left out, as none of its queries has a relevant picture" in err
    assert {task for task, _ in found} == {"all", "kind=easy", "kind=hard"}
    assert len((tmp_path / "out" / "all.qrels").read_text().splitlines()) == 2
    assert run("bench", "instance", photos / "set.json", *options)[0] == 0  # over its own files
    (tmp_path / "out" / "all.qrels").write_text("cat.jpg 0 cat.jpg 1\n")
    code, out, err = run("bench", "instance", photos / "set.json", *options)
    assert (code, out) == (1, "")
    assert "all.qrels is there and is not qrels of mmsearch; choose another name, or replace it with --force" in err
    assert (tmp_path / "out" / "all.qrels").read_text() == "cat.jpg 0 cat.jpg 1\n"
    assert run("bench", "instance", photos / "set.json", *options, "--force", "--format", "json")[0] == 0
    assert "<title>Query by example: set</title>" in (tmp_path / "out" / "report.html").read_text()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["command"].startswith("mmsearch bench instance")


def test_bench_instance_refuses_queries_without_relevant_pictures_if_asked_to(run, photos, checkpoint):
    whole = {"gallery": ["cat.jpg"], "queries": [{"image": "fig.jpg", "relevant": []}]}
    (photos / "set.json").write_text(json.dumps(whole))
    options = ("--model", checkpoint, "--without-relevant", "error")
    code, out, err = run("bench", "instance", photos / "set.json", *options)
    assert (code, out) == (1, "")
    assert "1 of 1 queries have no relevant picture" in err


def test_bench_asks_for_a_folder_to_write_runs_to(run, captioned, checkpoint):
    code, _, err = run("bench", "retrieval", captioned, "--model", checkpoint, "--trec", "10")
    assert code == 2
    assert "name a folder for the runs with --out" in " ".join(err.split())


# As `-m mmsearch`, but no batch of queries is repeated to tell its time better: there are thirty settings.
HASTY = "from mmsearch.evaluation import ann; ann._BATCH_SECONDS = 0; from mmsearch.cli.app import main; main()"


@pytest.fixture
def twelve(photos, run, checkpoint):
    """A library of twelve pictures."""
    from mmsearch.samples import sample_folder

    pictures = sorted(sample_folder().glob("*.jpg"))[:12]
    code, _, err = run("index", *pictures, "--model", checkpoint, "--no-local")
    assert code == 0, err
    run.program = ["-c", HASTY]


def test_bench_ann_measures_and_tunes_the_library(run, twelve, tmp_path):
    code, out, err = run("bench", "ann", "--tune", "0.98", "--queries", "20", "--out", tmp_path / "out")
    assert code == 0, err
    rows = json_lines(out)
    assert {(row["queries"], row["route"]) for row in rows} == {
        (queries, route) for queries in ("text", "image", "photograph") for route in ("exact", "graph", "cells")
    }
    for row in rows:
        if row["route"] != "exact":
            assert all(0 <= row[part] <= 1 for part in ("recall", "low", "high", "best_missed", "none_found"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [index["recall_target"] for index in report["indexes"]] == [0.98, 0.98]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "best missed" in page
    assert "none" in page
    code, out, _ = run("status", "--format", "json")
    assert json.loads(out)["recall_target"] == 0.98


@pytest.mark.full
def test_bench_ann_takes_text_queries_from_a_file(run, twelve, tmp_path):
    (tmp_path / "texts").write_text("a cat\n\ntwo dogs\n")
    code, out, err = run("bench", "ann", "--texts", tmp_path / "texts", "--format", "table")
    assert code == 0, err
    assert re.search(r"^text queries: recall@10.*\nroute +recall +95 % +best missed +none.*\nexact +1\.000", out)
    assert re.search(r"^cells 450 +1\.000 +\S+ +0\.00% +0\.00%", out, re.MULTILINE)
    assert "text queries of the library: exact (target 0.95)" in err
    code, out, _ = run("bench", "ann", "--texts", tmp_path / "texts", "--format", "json")
    assert json.loads(out)["results"]["text"]["n_queries"] == 2
    (tmp_path / "texts").write_text("\n")
    assert run("bench", "ann", "--texts", tmp_path / "texts")[0] == 2


def test_bench_ann_of_no_library_says_so(run):
    code, out, err = run("bench", "ann")
    assert (code, out) == (1, "")
    assert "no library found" in err


@pytest.mark.full
def test_bench_reads_a_set_of_the_datasets_library_and_names_its_columns(run, photos, checkpoint, tmp_path):
    from datasets import Dataset, Image

    columns = {"picture": [str(photos / "cat.jpg"), str(photos / "fig.jpg")], "says": ["a cat", "a fig"]}
    Dataset.from_dict(columns).cast_column("picture", Image()).save_to_disk(tmp_path / "set")
    options = ("--model", checkpoint, "--text-column", "says", "--format", "table")
    code, out, err = run("bench", "retrieval", tmp_path / "set", *options)
    assert code == 0, err
    assert "set (picture, says), text to image: 2 queries, 2 gallery" in out.splitlines()[0]
    code, _, err = run("bench", "retrieval", tmp_path / "set", "--model", checkpoint)
    assert code == 1
    assert "found picture (Image), says (string); choose one with --text-column" in err


def test_bench_says_that_a_set_of_the_hub_cannot_be_had(run, checkpoint):
    code, out, err = run("bench", "classify", "hf:owner/name", "--model", checkpoint)
    assert (code, out) == (1, "")
    assert "hf:owner/name: is not in the cache of the datasets library, and HF_HUB_OFFLINE forbids" in err


def test_bench_refuses_options_that_do_not_fit_a_set(run, captioned):
    code, _, err = run("bench", "retrieval", captioned, "--text-column", "x")
    assert code == 1
    assert "columns cannot be named for captions.jsonl" in err


def test_bench_says_that_the_report_cannot_be_made_before_it_measures(run, captioned, checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run("bench", "retrieval", captioned, "--model", checkpoint, "--out", tmp_path / "file")
    assert (code, out) == (1, "")  # said before anything is encoded
    assert "could not be written" in err
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    code, out, err = run("bench", "retrieval", captioned, "--model", checkpoint, "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "report.html is a folder; expected the name of a file to write" in err
    assert not (tmp_path / "out" / "report.json").exists()


def test_what_was_measured_is_shown_even_if_the_report_cannot_be_written_by_then(tmp_path, capfdbinary):
    for name, line in (("qrels", "q 0 a 1\n"), ("run", "q Q0 a 1 1 x\n")):
        (tmp_path / name).write_text(line)
    found = score_runs(tmp_path / "qrels", tmp_path / "run")
    report = Report(tmp_path / "out")
    report.check()
    (tmp_path / "out" / "report.json").write_text("mine")  # while it was measured
    with pytest.raises(OutputError, match=r"report.json is there and is not a report of mmsearch"):
        show_measured(found, report, Format.jsonl, "qrels")
    assert capfdbinary.readouterr().out.count(b"\n") == 14
    assert (tmp_path / "out" / "report.json").read_text() == "mine"


def test_a_report_replaces_a_report_and_nothing_else(run, tmp_path):
    for name, line in (("qrels", "q 0 a 1\n"), ("run", "q Q0 a 1 1 x\n")):
        (tmp_path / name).write_text(line)
    command = ("bench", "run", tmp_path / "qrels", tmp_path / "run", "--out", tmp_path)
    assert run(*command)[0] == run(*command)[0] == 0
    (tmp_path / "report.json").write_text('{"mine": true}')
    code, out, err = run(*command)
    assert (code, out) == (1, "")
    assert "report.json is there and is not a report of mmsearch" in err
    assert (tmp_path / "report.json").read_text() == '{"mine": true}'
    assert run(*command, "--force")[0] == 0


@pytest.mark.full
def test_bench_ann_has_no_paths_to_list(run, twelve):
    code, out, err = run("bench", "ann", "--format", "paths")
    assert (code, out) == (2, "")
    assert "an index has no paths" in " ".join(err.split())


@pytest.mark.full
def test_bench_ann_fits_80_columns(run, twelve, tmp_path):
    run.environment["COLUMNS"] = "80"
    _, out, _ = run("bench", "ann", "--format", "table")
    assert all(len(line.rstrip()) <= 80 for line in out.splitlines())
    assert re.search(r"^graph 1024 +\d\.\d{3} +\d", out, re.MULTILINE)


def test_bench_run_tries_the_folder_of_the_report_first(run, tmp_path):
    for name, line in (("qrels", "q 0 a 1\n"), ("run", "q Q0 a 1 1 x\n"), ("file", "")):
        (tmp_path / name).write_text(line)
    code, out, err = run("bench", "run", tmp_path / "qrels", tmp_path / "run", "--out", tmp_path / "file")
    assert (code, out) == (1, "")
    assert "could not be written" in err


def test_bench_identify_prints_who_was_known_and_who_was_taken_for_another(run, tmp_path, checkpoint, cache):
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "encoders").symlink_to(cache / "encoders")
    run.environment["MMSEARCH_CACHE"] = str(tmp_path / "cache")
    pictures = small_samples(tmp_path / "set", 6, longer_side=100)
    names = sorted(path.name for path in pictures.iterdir())
    groups = tmp_path / "set" / "set.json"
    groups.write_text(json.dumps({"groups": [names[:2], names[2:4], names[4:]]}))
    code, out, err = run("bench", "identify", groups, "--model", checkpoint, "--out", tmp_path / "report")
    assert code == 0, err
    assert [row["measure"] for row in json_lines(out)] == [
        "rank-1", "identified", "strangers accepted", "identified at 1 % false", "identified at 5 % false",
    ]  # fmt: skip
    assert "removed from the gallery, drawn with seed 0: 1 of the identities" in err
    (result,) = json.loads((tmp_path / "report" / "report.json").read_text())["results"].values()
    assert [count["n_queries"] for count in result["all"]["identities"]] == [2, 2, 2]
    assert "in the gallery" in (tmp_path / "report" / "report.html").read_text()
