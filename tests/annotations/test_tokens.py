from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations.tokens import SEPARATOR, Term, document_of, folded, terms_of, tokens_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  -- !", []),
        ("IMG_beach-2.JPG", ["img", "beach", "2", "jpg"]),
        ("Cafe\u0301 CAF\u00c9", ["cafe", "cafe"]),
        ("Αθήνα ЙОД", ["αθηνα", "иод"]),
        ("हिन्दी", ["हिन्दी"]),
        ("שָׁלוֹם مُحَمَّد", ["שלום", "محمد"]),
        ("한국", ["한국", "국"]),
        ("東", ["東"]),
        ("東京tower", ["東京", "京", "tower"]),
        ("がぎ", ["がぎ", "ぎ"]),
        ("❤\ufe0f dogs", ["❤", "dogs"]),
        ("x" * 500, ["x" * 40]),
        (f"a{SEPARATOR}b", ["a", "b"]),
        ("½ ﬁn", ["1", "2", "fin"]),
    ],
)
def test_text_is_split_into_words_whatever_its_script(text, expected):
    assert tokens_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two dogs", [("two",), ("dogs",)]),
        ("dogs dogs", [("dogs",)]),
        ('"two dogs" run', [("two", "dogs"), ("run",)]),
        ('two "dogs run', [("two",), ("dogs",), ("run",)]),
        ('"" ","', []),
        ("dog* OR NOT -cat (bird) 2", [("dog",), ("or",), ("not",), ("cat",), ("bird",), ("2",)]),
        ("東京都", [("東京",), ("京都",)]),
        ('"東京都 tower"', [("東京", "京都", "tower")]),
    ],
)  # fmt: skip
def test_query_looks_for_words_and_for_what_stands_in_quotes_and_knows_no_other_operator(text, expected):
    assert [term.tokens for term in terms_of(text)] == expected


def test_only_a_single_character_without_spaces_may_go_on():
    assert terms_of("two do") == (Term(("two",)), Term(("do",)))
    assert terms_of("東") == (Term(("東",), is_prefix=True),)


@given(st.text(max_size=60))
def test_what_is_looked_for_is_found_in_the_text_that_it_was_copied_from(text):
    kept = tokens_of(text)
    for term in terms_of(text.replace('"', " ")):
        (token,) = term.tokens
        assert any(other.startswith(token) if term.is_prefix else other == token for other in kept)


@given(st.lists(st.text(max_size=30), max_size=5))
def test_document_is_tokens_and_separators_between_single_spaces(texts):
    document = document_of(texts)
    tokens = document.split(" ") if document else []
    expected = [token for text in dict.fromkeys(texts) for token in tokens_of(text)]
    assert [token for token in tokens if token != SEPARATOR] == expected
    assert all(tokens)


@given(st.text(max_size=30))
def test_folding_twice_is_folding_once(text):
    assert folded(folded(text)) == folded(text)
