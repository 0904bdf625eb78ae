from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mmsearch.datasets.trec import rank_run, read_qrels, read_run
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import UNRANKED

QRELS = "q1 0 a 1\nq1 0 b 0\nq1 0 c 2\nq2 0 a 1\n"
RUN = "q1 Q0 b 1 0.9 x\nq1 Q0 a 2 0.8 x\nq2 Q0 a 1 5 x\n"


@pytest.fixture
def write(tmp_path):
    def written(content, name="file"):
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return written


def test_a_run_is_ranked_by_its_scores_against_qrels(write):
    ranks = rank_run(read_run(write(RUN)), read_qrels(write(QRELS)))
    assert ranks.queries == ("q1", "q2")
    assert ranks.ranked.ranks.tolist() == [2, UNRANKED, 1]
    assert ranks.ranked.gains.tolist() == [1, 2, 1]
    np.testing.assert_allclose(average_precision(ranks.ranked), [0.25, 1])


def test_equal_scores_of_a_run_go_to_the_smaller_document():
    ranks = rank_run({"q": {"b": 1.0, "a": 1.0, "c": 1.0}}, {"q": {"b": 1.0}})
    assert ranks.ranked.ranks.tolist() == [2]


def test_a_query_that_the_run_does_not_answer_scores_zero():
    ranks = rank_run({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}})
    assert ranks.missing == ("q2",)
    assert average_precision(ranks.ranked).tolist() == [1, 0]


def test_queries_without_ground_truth_are_not_scored():
    ranks = rank_run({"q1": {"a": 1.0}, "q9": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 0}})
    assert (ranks.queries, ranks.extra, ranks.without_relevant) == (("q1",), ("q9",), ("q2",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty; expected lines of query Q0 document rank score tag"),
        ("q1 Q0 a 1 0.5\n", "line 1: has 5 columns, expected at least 6: query Q0 document rank score tag"),
        ("q1 Q0 a 1 0.5 x\nq1 Q0 a 2 0.4 x\n", "line 2: document 'a' comes a second time for query 'q1'"),
        ("# no line\n\n", "has comments and blank lines alone; expected lines of query Q0 document"),
        ("# a comment\n\nq1 Q0 a 1\n", "line 3: has 4 columns"),
        ("q1 Q0 a 1 0.5 x\rq1 Q0 b 2 0.4 x\r\n", "line 1: holds a carriage return inside"),
        ("q1 Q0 a 1 nan x\n", "line 1: score is 'nan', expected a number"),
        ("q1 Q0 a 1 high x\n", "line 1: score is 'high', expected a number"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(write, content, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        read_run(write(content))


COMMENTS = ["# topic doc 1\n", "#q1 0 a 1\n", "  \t# pooled to depth 100\n", "#\n", "\n", " \t \r\n"]


@pytest.mark.parametrize("comment", COMMENTS)
def test_lines_of_comments_and_blanks_are_no_judgements_and_no_answers(write, comment):
    qrels, run = ("".join(comment + line for line in text.splitlines(True)) + comment for text in (QRELS, RUN))
    assert read_qrels(write(qrels)) == read_qrels(write(QRELS))
    assert read_run(write(run)) == read_run(write(RUN))


def test_a_comment_may_be_in_any_encoding(tmp_path):
    (tmp_path / "qrels").write_bytes(b"\xef\xbb\xbf# jug\xe9 par 1\nq1 0 a 1\n")
    assert read_qrels(tmp_path / "qrels") == {"q1": {"a": 1}}


def test_words_after_the_tag_of_a_run_are_not_read(write):
    assert read_run(write("q1 Q0 a 1 0.5 tag of many words # 7\nq1\tQ0\tb\t2\t0.25\ttag\t9\r\n")) == {
        "q1": {"a": 0.5, "b": 0.25}
    }


def test_words_after_a_gain_are_refused_as_by_trec_eval(write):
    with pytest.raises(GroundTruthError, match="line 1: has 6 columns, expected 4: query iteration document gain"):
        read_qrels(write("q1 0 a 1 # sure\n"))


def test_run_and_qrels_of_other_sets_are_refused():
    with pytest.raises(GroundTruthError, match="share no query; the run answers 'x', the qrels judge 'y'"):
        rank_run({"x": {"a": 1.0}}, {"y": {"a": 1.0}})


ODD = ["a\u00a0b", "\u00a0a", "a\u2028", "\u3000", "a\x1cb", "a\x85"]


def test_names_are_parted_by_ascii_blanks_alone(write):
    lines = "".join(f"q\u00a0\t Q0  {name}\x0b{i} {-i}\x0cx \r\n" for i, name in enumerate(ODD))
    run, qrels = write("\ufeff" + lines), write(f"q\u00a0 0 {ODD[1]} 1\n", "qrels")
    assert read_run(run) == {"q\u00a0": {name: -i for i, name in enumerate(ODD)}}
    assert rank_run(read_run(run), read_qrels(qrels)).ranked.ranks.tolist() == [2]


def test_a_run_that_is_no_utf_8_is_named_with_its_line(tmp_path):
    (tmp_path / "run").write_bytes(b"q Q0 a 1 1 x\nq Q0 caf\xe9 2 0.5 x\n")
    with pytest.raises(GroundTruthError, match=r"run, line 2: is not UTF-8 text"):
        read_run(tmp_path / "run")
    with pytest.raises(GroundTruthError, match=r"nothing: cannot be read \(No such file"):
        read_run(tmp_path / "nothing")


def test_a_run_is_read_a_line_at_a_time(write):
    file = write("".join(f"q{i} Q0 a 1 1 {'x' * 1000}\n" for i in range(2000)))
    tracemalloc.start()
    run = read_run(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(run) == 2000
    assert peak < file.stat().st_size
