"""`mmsearch classify`: what it says of labels, in every format."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from mmsearch import Library
from mmsearch.cli.app import app
from mmsearch.encoders.calibration import Calibration, LabelModel
from mmsearch.records import place_text
from tests.forms import check_run

ASKED = ("--labels", "a cat,a dog,a red car")


@pytest.fixture
def classify(indexed, photos, cache):
    """Run `classify` on two pictures in this process; returns what it wrote to standard output."""
    environment = {"MMSEARCH_LIBRARY": str(indexed.folder), "MMSEARCH_CACHE": str(cache), "COLUMNS": "100"}

    def classify(*options):
        arguments = ["classify", str(photos / "cat.jpg"), str(photos / "fig.jpg"), *ASKED, *options]
        result = CliRunner().invoke(app, arguments, env=environment)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    return classify


@pytest.fixture
def calibrated(classify, indexed):
    """The same, by a library whose encoder is calibrated for labels."""
    indexed.calibrate(Calibration(labels=LabelModel(logit_scale=8.0, constant=-3.0)))
    return classify


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_classify_says_how_probable_none_of_the_labels_is(calibrated, classify, indexed):
    for record in records(calibrated("-k", "3")):
        assert list(record) == ["format_version", "path", "predictions", "error", "none_of_these"]
        shares = [label["probability"] for label in record["predictions"]]
        assert sum(shares) + record["none_of_these"] == pytest.approx(1)
    first, second = json.loads(calibrated("--format", "json"))["pictures"]
    assert [first["none_of_these"], second["none_of_these"]] == [
        record["none_of_these"] for record in records(calibrated())
    ]


def test_closed_labels_are_those_of_an_encoder_that_is_not_calibrated(classify, indexed):
    before = [classify("--format", name) for name in ("jsonl", "tsv", "table")]
    assert list(records(before[0])[0]) == ["format_version", "path", "predictions", "error"]
    assert "none of these" not in "".join(before)
    indexed.calibrate(Calibration(labels=LabelModel(logit_scale=8.0, constant=-3.0)))
    assert [classify("--closed", "--format", name) for name in ("jsonl", "tsv", "table")] == before


def test_none_of_these_is_a_line_among_the_labels(calibrated):
    lines = [line.split("\t") for line in calibrated("--format", "tsv", "-k", "3").splitlines()]
    assert lines[0] == ["path", "label", "probability", "score"]
    assert len(lines) == 9
    none = [line for line in lines if line[1] == "none of these"]
    assert [line[3] for line in none] == ["", ""]
    for part in (lines[1:5], lines[5:]):
        shares = [float(line[2]) for line in part]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
    table = calibrated("--format", "table", "-k", "1").splitlines()
    assert len(table) == 5
    assert sum("(none of these)" in line for line in table) == 2


def test_each_label_is_judged_by_itself(calibrated):
    for record in records(calibrated("--multi")):
        assert list(record) == ["format_version", "path", "predictions", "error"]
        assert len(record["predictions"]) == 3
    assert "none of these" not in calibrated("--multi", "--format", "table")


def test_labels_that_the_encoder_has_hardly_seen_are_named(run, indexed, photos, checkpoint, cache, monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.known_words.OFFLINE", str(checkpoint))  # as if it had a list of words
    monkeypatch.setattr("mmsearch.encoders.known_words._LEAST", 1.1)
    environment = {"MMSEARCH_LIBRARY": str(indexed.folder), "MMSEARCH_CACHE": str(cache)}
    result = CliRunner().invoke(app, ["classify", str(photos / "cat.jpg"), *ASKED], env=environment)
    (record,) = records(result.stdout)
    assert record["warnings"] == [result.stderr.strip()]
    assert "has hardly seen 'a cat', 'a dog' and 'a red car': what it says of such labels" in result.stderr


def test_a_mode_that_cannot_be_had_is_one_sentence(run, indexed, photos):
    code, out, err = run("classify", photos / "cat.jpg", *ASKED, "--multi")
    assert (code, out) == (2, "")
    assert "is not calibrated, so its cosines do not say how probable a label is by itself" in err


def test_a_classifier_has_no_modes():
    result = CliRunner().invoke(app, ["classify", "cat.jpg", "--classifier", "x", "--closed"])
    assert result.exit_code == 2
    assert "leave labels, templates and modes out" in " ".join(result.output.replace("│", " ").split())


def test_classification_in_python_has_what_the_command_prints(calibrated, photos, indexed):
    results = indexed.classify([photos / "cat.jpg", photos / "fig.jpg"], ["a cat", "a dog", "a red car"])
    assert [record["none_of_these"] for record in records(calibrated())] == [
        result.none_of_these for result in results
    ]


@pytest.fixture
def in_parts(parted, cache):
    """Run `classify --parts` on a picture of a library with parts; returns what it wrote to standard output."""
    environment = {"MMSEARCH_LIBRARY": str(parted / "library"), "MMSEARCH_CACHE": str(cache), "COLUMNS": "200"}

    def classify(*options):
        arguments = ["classify", str(parted / "photos" / "cat.jpg"), *ASKED, "--parts", *options]
        result = CliRunner().invoke(app, arguments, env=environment)
        assert (result.exit_code, result.stderr) == (0, "")
        check_run(arguments, result.stdout)
        return result.stdout

    return classify


def test_labels_say_in_which_part_they_are_most_probable(in_parts, parted, cache):
    (record,) = records(in_parts())
    with Library.open(parted / "library", cache=cache) as library:
        (whole,) = library.classify(parted / "photos" / "cat.jpg", ["a cat", "a dog", "a red car"])
    of_whole = {label.label: label.probability for label in whole.predictions}
    best = []
    for label in record["predictions"]:
        assert label["probability"] == pytest.approx(of_whole[label["label"]])
        left, top, right, bottom = label["part"]["box"]
        assert (right - left, bottom - top) in ((0.7, 0.7), (0.5, 0.5))
        best.append(max(label["probability"], label["part"]["probability"]))
    assert best == sorted(best, reverse=True)
    assert any(label["part"]["probability"] > label["probability"] for label in record["predictions"])
    lines = [line.split("\t") for line in in_parts("--format", "tsv").splitlines()]
    assert lines[0][4:] == ["part_probability", "part_score", "part_box"]
    assert [(line[1], json.loads(line[6])) for line in lines[1:]] == [
        (label["label"], label["part"]["box"]) for label in record["predictions"]
    ]
    first = record["predictions"][0]["part"]
    head, line, *_ = in_parts("--format", "table").splitlines()
    assert head.split() == ["label", "probability", "best", "part", "picture"]
    assert f"{100 * first['probability']:.1f} % {place_text(first['box'])}" in line


def test_a_contact_sheet_has_a_frame_round_the_part_that_answered(parted, cache, tmp_path):
    arguments = ["search", "a cat", "--words", "none", "--html", str(tmp_path / "page.html"), "--format", "json"]
    environment = {"MMSEARCH_LIBRARY": str(parted / "library"), "MMSEARCH_CACHE": str(cache)}
    result = CliRunner().invoke(app, arguments, env=environment)
    hits = [hit for hit in json.loads(result.stdout)["hits"] if "part" in hit]
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == len(hits) > 0
    drawn = re.findall(r'<svg .*?<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"/>', page, re.DOTALL)
    frames = [tuple(map(float, numbers)) for numbers in drawn]
    for hit in hits:
        assert f"by its part: {place_text(hit['part']['box'])}" in page
        zoom = min(1, 320 / max(hit["width"], hit["height"]))
        width, height = round(hit["width"] * zoom), round(hit["height"] * zoom)
        left, top, right, bottom = hit["part"]["box"]
        across, down = (right - left) * width - 5, (bottom - top) * height - 5  # the line lies within
        assert pytest.approx((left * width + 2.5, top * height + 2.5, across, down), abs=0.2) in frames
