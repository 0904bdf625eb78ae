from __future__ import annotations

import pytest

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.runs import score_runs


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return written


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("x Q0 a 1 1 x\n", r"poor against .*qrels: run and qrels share no query; the run answers 'x'"),
        ("q Q0 a 1\n", r"poor, line 1: has 4 columns"),
        ("", r"poor: is empty"),
    ],
)
def test_of_several_runs_the_one_at_fault_is_named(write, content, sentence):
    qrels, good = write("qrels", "q 0 a 1\n"), write("good", "q Q0 a 1 1 x\n")
    with pytest.raises(GroundTruthError, match=sentence):
        score_runs(qrels, [good, write("poor", content)])


def test_two_runs_of_one_name_are_refused_before_any_is_read(write):
    qrels, first, second = write("qrels", "q 0 a 1\n"), write("a/run", "no run"), write("b/run", "no run")
    with pytest.raises(GroundTruthError, match=r"a/run and .*b/run have the same name; rename one"):
        score_runs(qrels, [first, second])


def test_one_run_is_one_run_by_any_kind_of_path(write):
    qrels, run = write("qrels", "q 0 a 1\n"), write("run", "q Q0 a 1 1 x\n")
    expected = score_runs(qrels, [run])
    assert score_runs(str(qrels), str(run)) == score_runs(qrels, bytes(run)) == expected
    assert score_runs(qrels, (path for path in [run])) == expected
    with pytest.raises(TypeError, match="runs is None"):
        score_runs(qrels, None)
