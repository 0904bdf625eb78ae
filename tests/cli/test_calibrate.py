"""`mmsearch calibrate`, and what a search shows of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.encoders.calibration import CALIBRATION, Calibration, RelevanceModel
from mmsearch.encoders.onnx import OnnxEncoder
from tests.training.test_calibrate import write_set

MODEL = RelevanceModel(-4.0, 5.0, 8.0, 0.25, 6.0, 8.0, 60.0, 0.0)


@pytest.fixture
def own_cache(run, tmp_path, tiny_folder):
    cache = tmp_path / "cache"
    (cache / "encoders").mkdir(parents=True, mode=0o700)
    shutil.copytree(tiny_folder, cache / "encoders" / tiny_folder.name)
    run.environment["MMSEARCH_CACHE"] = str(cache)
    return cache


def test_calibrate_shows_what_it_fitted_and_keeps_it(run, own_cache, checkpoint, tiny_folder, tmp_path):
    captioned = write_set(tmp_path / "set")
    code, out, err = run("calibrate", captioned, "--force", "--model", checkpoint, "--format", "table")
    assert code == 0, err
    assert "on pictures that it was not fitted to" in out.splitlines()[0]
    assert out.splitlines()[1].split()[:3] == ["measure", "cosine", "after"]
    assert "hits of captions: as predicted, and as true" in out
    folder = own_cache / "encoders" / tiny_folder.name
    assert "fitted to 20 pictures, checked by 5 others" in err
    assert f"kept in {folder / CALIBRATION}; without this file it is as before any `mmsearch calibrate`" in err
    assert OnnxEncoder.open(folder).calibration.search is not None
    assert "replaced" not in err
    code, out, err = run("calibrate", captioned, "--force", "--model", checkpoint, "--format", "jsonl")
    assert re.search(
        r"what was there before is replaced: hits of these others were off by (0\.\d{3}), now by \1\n", err
    )
    assert {json.loads(line)["score"] for line in out.splitlines()} >= {"cosine", "before", "after"}
    (captioned / "images" / "cat.jpg").write_bytes(b"no picture")
    code, out, err = run("calibrate", captioned, "--force", "--model", checkpoint, "--format", "json")
    assert code == 3
    assert "cat.jpg" in err
    fit = json.loads(out)
    assert fit["search"]["hit_behind"] >= 0
    assert len(fit["hits"]["edges"]) == 11


@pytest.mark.full
def test_calibrate_of_five_views_says_what_they_are_worth(run, own_cache, checkpoint, tiny_folder, tmp_path):
    captioned = write_set(tmp_path / "set")
    code, _, err = run("calibrate", captioned, "--force", "--model", checkpoint, "--views", "5")
    assert code == 0, err
    said = re.search(r"among the first ten: ([+-]\d+\.\d)% by 5 views instead of 1, [+-]\d+\.\d% at least", err)
    worth = OnnxEncoder.open(own_cache / "encoders" / tiny_folder.name).calibration.views
    assert float(said[1]) == pytest.approx(100 * worth.gain, abs=0.06)
    kept = re.search(r"kept in (.*calibration.json); without", err)[1]  # beside the encoder of five views
    assert json.loads(Path(kept).read_text())["search"] is not None
    assert Path(kept).parent.name != tiny_folder.name


def test_views_of_a_library_are_its_own(run, tmp_path):
    captioned = write_set(tmp_path / "set", 3)
    code, _, err = run("calibrate", captioned, "--views", "5")
    assert code == 2
    assert "a library has its own number of views" in re.sub(r"[\s│]+", " ", err)


def test_calibrate_refuses_what_cannot_be_fitted_to(run, own_cache, checkpoint, tiny_folder, tmp_path):
    code, _, err = run("calibrate", tmp_path / "none", "--model", checkpoint)
    assert (code, "error: " in err) == (1, True)
    code, _, err = run("calibrate", write_set(tmp_path / "few", 3), "--model", checkpoint)
    assert code == 1
    assert "3 of its pictures can be read; expected 100 or more" in err
    code, _, err = run("calibrate", tmp_path / "few", "--format", "paths")
    assert code == 2
    assert not (own_cache / "encoders" / tiny_folder.name / CALIBRATION).exists()


@pytest.fixture
def told(indexed, run):
    """A library whose encoder is calibrated, so that only the best hit of a text is no weak one."""
    with Library.open(run.environment["MMSEARCH_LIBRARY"]) as library:
        library.calibrate(Calibration(search=MODEL))
        yield library


def test_a_search_says_in_words_how_likely_hits_are_and_divides_the_weak(run, told):
    _, out, _ = run("search", "a cat", "--format", "table", "-k", "5")
    header, first, *others = out.splitlines()
    assert header.split()[:3] == ["rank", "score", "relevance"]
    assert "strong, " in first or "fair, " in first
    divider = others.index(24 * "-")
    assert all("weak, " not in line for line in others[:divider])
    assert all("weak, " in line for line in others[divider + 1 :])
    assert len(others) == 5


def test_a_search_that_holds_no_match_says_so_first_and_is_no_error(run, told):
    told.calibrate(Calibration(search=RelevanceModel(-9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)))
    code, out, err = run("search", "a cat", "--format", "table", "-k", "2")
    assert (code, err.splitlines()[0]) == (0, "nothing here matches well")
    assert 24 * "-" not in out
    assert out.count("weak, 0%") == 2


def test_programs_are_told_relevance_where_it_is_known(run, told):
    _, out, _ = run("search", "a cat", "-k", "2")
    first, second = map(json.loads, out.splitlines())
    answer = json.loads(run("search", "a cat", "-k", "2", "--format", "json")[1])
    assert [{"format_version": 1, **hit} for hit in answer["hits"]] == [first, second]
    assert 0 < second["relevance"] <= first["relevance"] <= answer["answer"]["relevance"]
    _, out, _ = run("search", "a cat", "-k", "2", "--format", "tsv")
    header, *rows = (line.split("\t") for line in out.splitlines())
    told_as = header.index("relevance")
    assert [float(row[told_as]) for row in rows] == [first["relevance"], second["relevance"]]
    _, out, _ = run("search", "-i", told.pictures().pictures[0].path, "-k", "1")
    assert not {"relevance", "answer"} & json.loads(out).keys()


def test_hits_of_less_relevance_than_asked_for_are_left_out(run, told):
    _, out, _ = run("search", "a cat", "-k", "5")
    relevances = [json.loads(line)["relevance"] for line in out.splitlines()]
    _, out, _ = run("search", "a cat", "-k", "5", "--min-relevance", str(relevances[1]))
    assert [json.loads(line)["relevance"] for line in out.splitlines()] == relevances[:2]
    code, out, err = run("search", "a cat", "--min-relevance", "1")
    assert (code, out) == (0, "")
    assert "no picture matches with a relevance of 1 or more" in err
    code, _, err = run("search", "a cat", "--min-relevance", "1.5")
    assert code == 2
    assert "expected a probability from 0 to 1" in err


def test_least_relevance_without_a_calibration_is_a_sentence(run, indexed):
    code, _, err = run("search", "a cat", "--min-relevance", "0.5")
    assert code == 2
    assert "run `mmsearch calibrate` with a captioned set" in err
    _, out, _ = run("search", "a cat", "-k", "1")
    assert not {"relevance", "answer"} & json.loads(out).keys()
