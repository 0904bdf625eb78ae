from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Hit, PictureBytes, Query, SearchOptions, SearchResult, Term
from mmsearch.errors import ArgumentError, OutputError, QueryError, VectorError
from mmsearch.records import LocalEvidence, Preprocessing

PICTURE = PictureBytes(b"...", "a.jpg")


@pytest.mark.parametrize(
    "example", ["cat.jpg", b"cat.jpg", Path("cat.jpg"), 7, np.int64(7), PICTURE, Term("cat.jpg", 2)]
)
def test_one_example_is_a_list_of_that_example(example):
    assert Query(images=example) == Query(images=[example])
    assert len(Query(images=example).images) == 1


def test_one_word_filter_and_judgement_are_lists_of_one():
    alone = Query("a", exclude="snow", where="width > 100", relevant=np.int64(3), irrelevant=4)
    assert alone == Query("a", exclude=["snow"], where=["width > 100"], relevant=[3], irrelevant=(4,))
    assert alone.exclude == ("snow",)


def test_a_query_keeps_what_a_generator_gave():
    query = Query(images=(name for name in ("a.jpg", "b.jpg")), relevant=np.array([5, 6]))
    assert query.images == ("a.jpg", "b.jpg")
    assert query.relevant == (5, 6)
    assert replace(query, text="x").images == query.images


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"text": 5}, r"text is 5 \(int\); expected a text"),
        ({"text": ["a"]}, r"text is \['a'\] \(list\)"),
        ({"text": b"a"}, "text is b'a'"),
        ({"text": Term(7)}, r"text is 7 \(int\)"),
        ({"exclude": [PICTURE]}, r"exclude\[0\] is PictureBytes"),
        ({"exclude": Term(7)}, r"exclude is 7 \(int\)"),
        ({"exclude": None}, "exclude is None"),
        ({"images": True}, r"images is True \(bool\)"),
        ({"images": [1.5]}, r"images\[0\] is 1.5 \(float\)"),
        ({"images": {"a.jpg", "b.jpg"}}, "images is a set, which has no order"),
        ({"images": [(2, 2)]}, r"images\[0\] is \(2, 2\) \(tuple\); expected a picture: a path"),
        ({"vector": 5}, r"vector is an array of int64 \(\); expected one vector: an array \(dim,\)"),
        ({"vector": "12"}, r"vector is an array of <U2 \(\)"),
        ({"vector": [True, False]}, r"vector is an array of bool \(2,\)"),
        ({"vector": np.zeros((1, 3))}, r"vector is an array of float64 \(1, 3\)"),
        ({"vector": [[1], [1, 2]]}, r"vector is \[\[1\], \[1, 2\]\]"),
        ({"vector": ()}, "vector is an array of float64"),
        ({"where": 5}, "where is 5"),
        ({"relevant": [True]}, r"relevant\[0\] is True"),
        ({"irrelevant": "12"}, "irrelevant is '12'"),
    ],
)
def test_a_value_of_another_type_is_refused_and_named(fields, sentence):
    with pytest.raises(TypeError, match=sentence):
        Query(**fields)


def test_a_text_of_python_is_taken_as_it_is():
    assert Query("2:a beach").text == "2:a beach"


def test_a_term_keeps_paths_as_text_and_numbers_of_numpy_as_those_of_python():
    assert Term(b"/a/\xff.jpg").value == "/a/\udcff.jpg"
    assert Term(Path("/a/b.jpg")) == Term("/a/b.jpg")
    term = Term(np.uint8(7), np.float32(0.5), np.array([0, 1, 20, 30]))
    assert (term.value, term.weight, term.box) == (7, 0.5, (0, 1, 20, 30))
    assert term.label == "picture 7 (0, 1, 20, 30)"


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((True,), TypeError, r"the value of a term is True \(bool\)"),
        ((1.5,), TypeError, "the value of a term is 1.5"),
        ((["a"],), TypeError, "the value of a term is"),
        (("a", True), TypeError, r"the weight of a term is True \(bool\); expected a number"),
        (("a", "2"), TypeError, "the weight of a term is '2'"),
        ((7, 1, "1234"), TypeError, r"box is '1234' \(str\)"),
        ((7, 1, (1, 2, 3)), TypeError, "expected four numbers: left, top, right and bottom"),
        ((7, 1, (0, 0, True, 3)), TypeError, r"box\[2\] is True"),
        ((7, 1, (0, 0, float("nan"), 3)), ValueError, "expected four finite numbers"),
    ],
)
def test_a_term_of_other_types_is_refused(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        Term(*arguments)


def test_a_picture_in_memory_is_bytes():
    assert PictureBytes(bytearray(b"abc")).data == b"abc"
    with pytest.raises(TypeError, match=r"data is 'cat.jpg' \(str\); expected the bytes of a picture file"):
        PictureBytes("cat.jpg")


def test_options_of_a_search_are_checked_where_they_are_made_and_kept_as_those_of_python():
    options = SearchOptions(np.int64(3), mode=np.str_("local"))
    assert (type(options.k), type(options.mode)) == (int, str)
    assert options == SearchOptions(k=3, mode="local")
    for wrong, sentence in (
        ({"k": 0}, "k is 0; expected at least 1"),
        ({"mode": "lokal"}, "mode is 'lokal'; expected 'global' or 'local'"),
        ({"rerank": None}, "rerank is None; expected 'auto', 'none' or 'local'"),
        ({"explain": "no"}, "explain is 'no'"),
    ):
        with pytest.raises((QueryError, ArgumentError), match=sentence):
            SearchOptions(**wrong)


@pytest.mark.parametrize("views", [1, 5])
def test_preprocessing_is_the_same_after_json(views):
    preprocessing = Preprocessing((384, 256), 400, "longest", "bilinear", 127, views)
    assert ("views" in preprocessing.to_json()) == (views == 5)  # fingerprints of one view stay as they were
    assert Preprocessing.of_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, np.nan], [np.inf, 1.0]])
def test_a_vector_without_a_direction_is_refused(values):
    with pytest.raises(VectorError, match="vector is zero or not finite, so that it has no direction"):
        Query(vector=values)


def test_queries_of_equal_vectors_are_equal():
    query = Query(vector=np.float32([0.5, 2]))
    assert query == Query(vector=[0.5, 2.0]) == replace(Query(vector=query.vector), text=None)
    assert hash(query) == hash(Query(vector=(0.5, 2)))
    assert query != Query(vector=[0.5, 1.0])


def hits_at(*paths, **fields):
    return tuple(
        Hit(rank, 1 / rank, rank, path, 4, 3, "PNG", None, 99, **fields) for rank, path in enumerate(paths, 1)
    )


def test_an_answer_is_the_sequence_of_its_hits():
    result = SearchResult(hits_at("/a.png", "/b.png", "/c.png"), "exact", 3)
    assert len(result) == 3
    assert list(result) == [result[0], result[1], result[-1]] == list(result.hits)
    assert result[1:] == result.hits[1:]
    with pytest.raises(IndexError):
        result[3]


def test_an_answer_without_thumbnails_is_shown_by_names_problems_and_scores():
    result = SearchResult(hits_at("/<b>.png", is_missing=True), "exact", 1_000, problems=("a <file> is lost",))
    html = result._repr_html_()
    for text in ("1 hit of 1,000 pictures", "a &lt;file&gt; is lost", "&lt;b&gt;.png", "score 1.000", "no picture"):
        assert text in html
    assert "0 hits of 5 pictures" in SearchResult((), "empty", 5)._repr_html_()


def test_an_answer_as_a_table_has_a_row_for_each_hit():
    pytest.importorskip("pandas")
    local = LocalEvidence(0.9, ((1.0, 2.0, 3.0, 4.0),), True)
    table = SearchResult(hits_at("/a.png", "/b.png", terms={"cat": 0.25}, local=local), "exact", 2).to_pandas()
    assert table["path"].tolist() == ["/a.png", "/b.png"]
    assert table["score"].tolist() == [1.0, 0.5]
    assert table["cosine: cat"].tolist() == [0.25, 0.25]
    assert table[["is_verified", "n_inliers"]].values.tolist() == [[True, 1], [True, 1]]
    empty = SearchResult((), "empty", 0).to_pandas()
    assert (len(empty), "path" in empty.columns) == (0, True)


def test_a_table_without_pandas_is_refused_by_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OutputError, match="a table needs pandas, which is not installed; run `pip install pandas`"):
        SearchResult((), "empty", 0).to_pandas()
