from __future__ import annotations

import json
import re

import pytest


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
    assert rows[0].keys() == {"model", "direction", "measure", "value", "low", "high"}
    assert {row["direction"] for row in rows} == {"text to image", "image to text"}


def test_bench_writes_a_report_and_a_table(run, captioned, checkpoint, tmp_path):
    options = ("--model", checkpoint, "--split", "test", "--out", tmp_path / "out", "--format", "table")
    code, out, err = run("bench", "retrieval", captioned, *options)
    assert code == 0
    assert "photos (test), text to image: 2 queries, 1 gallery" in err
    assert re.search(r"^R@1 \(any\) +100\.0 % \(100\.0 to 100\.0\)$", out, re.MULTILINE)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["set"] == {
        "name": "photos (test)",
        "n_pictures": 1,
        "n_texts": 2,
        "n_repeated_texts": 0,
        "bad": [],
    }


def test_bench_names_a_bad_picture_and_goes_on(run, captioned, checkpoint):
    (captioned / "fig.jpg").write_bytes(b"<html></html>")
    code, out, err = run("bench", "retrieval", captioned, "--model", checkpoint, "--format", "paths")
    assert code == 0
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
    assert [row["templates"] for row in rows] == ["names", "names", "simple", "simple", "own", "own"]
    assert {row["measure"] for row in rows} == {"top-1", "mean per-class recall"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["ensembles"]["simple"]) == 7


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
    found = {row["model"]: row["value"] for row in json_lines(out) if row["measure"] == "mAP"}
    assert found == {"good": 0.75, "poor": 0}
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


def test_bench_run_says_what_is_wrong_with_a_run(run, tmp_path):
    (tmp_path / "qrels").write_text("q1 0 a 1\n")
    (tmp_path / "run").write_text("q1 a 0.5\n")
    code, out, err = run("bench", "run", tmp_path / "qrels", tmp_path / "run")
    assert (code, out) == (1, "")
    assert "line 1: has 3 columns, expected 6" in err
