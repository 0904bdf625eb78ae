from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from mmsearch.datasets.captions import read_captions
from mmsearch.datasets.sets import ClassSet
from mmsearch.evaluation.ann import run_ann
from mmsearch.evaluation.classify import run_classification
from mmsearch.evaluation.page import _comparison, page_of
from mmsearch.evaluation.plots import precision_recall_plot
from mmsearch.evaluation.report import Report
from mmsearch.evaluation.retrieval import run_retrieval
from mmsearch.evaluation.runs import score_runs
from mmsearch.store.folder import Store
from tests.conftest import random_units
from tests.store.test_store import DIM, filled

VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Nesting(HTMLParser):
    """Fails on tags that do not close in order, and gathers what a page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        assert tag not in ("script", "iframe", "object", "link")
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(page):
    parser = _Nesting()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_of_a_retrieval_loads_nothing_and_shows_measures_and_examples(captioned, set_encoder):
    report = run_retrieval(read_captions(captioned), [set_encoder])
    page = parsed(page_of(report))
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    text = " ".join(page.texts)
    for words in ("text to image", "image to text", "R@1 (any)", "median rank", "a cat looks up", "wanted"):
        assert words in text
    for definition in report["definitions"].values():
        assert definition in text


def test_names_and_captions_are_text_and_never_markup(captioned, set_encoder):
    nasty = "<img src=x onerror=alert(1)>"
    (captioned / "cat.jpg").rename(captioned / f"{nasty.replace('/', '')}.jpg")
    lines = (captioned / "captions.jsonl").read_text()
    lines = lines.replace("cat.jpg", f"{nasty}.jpg").replace("breakfast", nasty)
    (captioned / "captions.jsonl").write_text(lines)
    page = parsed(page_of(run_retrieval(read_captions(captioned), [set_encoder])))
    assert nasty in " ".join(page.texts)


def test_a_picture_that_is_gone_is_said_to_be(captioned, set_encoder):
    report = run_retrieval(read_captions(captioned), [set_encoder])
    (captioned / "cat.jpg").unlink()
    assert "cat.jpg: cannot be shown" in page_of(report)


def test_a_name_that_is_not_utf_8_can_be_written(captioned, set_encoder, tmp_path):
    report = run_retrieval(read_captions(captioned), [set_encoder])
    report["set"]["bad"] = [{"path": "/photos/b\udcff.jpg", "message": "broken"}]
    data, page = Report(tmp_path / "out").write(report)
    assert r"$&#39;/photos/b\377.jpg&#39;" in page.read_text()
    bad = {"path": "/photos/b\ufffd.jpg", "path_base64": "L3Bob3Rvcy9i/y5qcGc=", "message": "broken"}
    assert json.loads(data.read_text())["set"]["bad"] == [bad]


def test_no_control_gets_into_a_page(captioned, set_encoder):
    odd = "\x1b]0;x\x07\x9b\x7f\u202e"
    (captioned / "cat.jpg").rename(captioned / f"cat{odd}.jpg")
    lines = (captioned / "captions.jsonl").read_text()
    odd_in_json = json.dumps(odd)[1:-1]
    lines = lines.replace("cat.jpg", f"cat{odd_in_json}.jpg").replace("breakfast", f"breakfast{odd_in_json}")
    (captioned / "captions.jsonl").write_text(lines)
    page = page_of(run_retrieval(read_captions(captioned), [set_encoder]))
    assert not set(page) & set("\x1b\x07\x9b\x7f\u202e")
    assert r"breakfast\x1b]0;x\x07\u009b\x7f\u202e" in page
    assert r"cat\033]0;x\007\302\233\177\342\200\256.jpg" in page


def test_the_page_of_a_classification_shows_confusions(photos, set_encoder):
    pictures = tuple(photos / f"{name}.jpg" for name in ("cat", "fig", "dam"))
    benchmark = ClassSet("photos", pictures, (0, 1, 2), ("a cat", "a fruit", "a wall"))
    report = run_classification(benchmark, [set_encoder], {"names": ("{}",)})
    text = " ".join(parsed(page_of(report)).texts)
    assert "mean per-class recall" in text
    assert "Confusions of" in text
    report["set"]["class_names"] *= 20  # too many for a matrix
    assert "Confusions of" not in page_of(report)


def test_the_page_of_runs_shows_the_differences_with_their_p_values(tmp_path):
    (tmp_path / "qrels").write_text("".join(f"q{i} 0 a 1\n" for i in range(20)))
    (tmp_path / "good").write_text("".join(f"q{i} Q0 a 1 1 x\n" for i in range(20)))
    (tmp_path / "poor").write_text("".join(f"q{i} Q0 b 1 1 x\n" for i in range(20)))
    text = " ".join(parsed(page_of(score_runs(tmp_path / "qrels", [tmp_path / "good", tmp_path / "poor"]))).texts)
    assert "good against poor" in text
    assert "+100.0 points" in text
    assert "< 0.001" in text


def test_the_page_of_an_index_has_a_row_an_effort_and_marks_what_is_used(tmp_path):
    filled(tmp_path, 60)
    texts = random_units(5, DIM)
    page = page_of(run_ann(Store.open(tmp_path), texts, efforts=(10, 16)))
    text = " ".join(parsed(page).texts)
    assert text.count("graph, effort 16") == 2
    assert len(re.findall(r"<tr class=chosen><td>exact</td>", page)) == 2


@pytest.mark.full
@pytest.mark.parametrize(("n_queries", "n_plotted"), [(1, 0), (20, 1)])
def test_an_index_that_was_asked_too_little_for_a_latency_is_shown_without_it(n_queries, n_plotted, tmp_path):
    filled(tmp_path, 60)
    report = run_ann(Store.open(tmp_path), random_units(1, DIM), n_queries=n_queries, efforts=(10, 16))
    page = parsed(page_of(report))
    assert len(page.sources) == n_plotted
    assert " ".join(page.texts).count("graph, effort 16") == len(report["results"])


@pytest.mark.parametrize("n_relevant", [1, 2])
def test_a_curve_is_drawn_where_it_says_something(n_relevant, captioned, set_encoder):
    report = run_retrieval(read_captions(captioned), [set_encoder])
    for result in report["results"].values():
        for part in result.values():
            part["precision_at_recall"] = np.linspace(0.5, 0.5 / n_relevant, 101).tolist()
    assert ("Precision against recall" in page_of(report)) == (n_relevant > 1)


def test_the_same_plot_is_the_same_file():
    curves = {"a": [1.0, 0.5], "b": [0.8, 0.1]}
    first, second = (precision_recall_plot(curves, [0.0, 1.0]) for _ in range(2))
    assert first == second
    assert b">precision<" in first  # texts stay texts


def test_names_that_a_plot_cannot_hold_do_not_stop_it():
    names = {"a$x^$": [1.0, 0.5], "_hidden": [0.9, 0.2], "caf\udce9\x07": [0.8, 0.1], "画像": [0.7, 0.3]}
    drawn = precision_recall_plot(names, [0.0, 1.0]).decode()
    parsed_svg = ElementTree.fromstring(drawn)
    text = "".join(parsed_svg.itertext())
    assert "a$x^$" in text.replace("\\", "")
    assert "_hidden" in text
    assert "caf??" in text
    assert "画像" in text


def test_differences_are_in_the_unit_of_their_measure():
    comparison = {"measure": "N-S score", "first": "a", "second": "b", "difference": 0.35, "p": 0.2}
    assert _comparison(comparison, {"N-S score": "of 4"})["difference"] == "+0.35"
    assert _comparison({**comparison, "difference": -1e-9}, {"N-S score": "share"})["difference"] == "+0.0 points"


def test_a_page_without_faults_shows_no_worst_queries(captioned, set_encoder):
    report = run_retrieval(read_captions(captioned), [set_encoder])
    assert "worst queries" in page_of(report)
    for result in report["results"].values():
        for part in result.values():
            part["examples"]["worst"] = []
    assert "worst queries" not in page_of(report)
