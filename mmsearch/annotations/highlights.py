"""HIGHLIGHTS: where in a text stands what was looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from mmsearch.annotations.tokens import FUNCTION_WORDS, Term, folded, kind_of, tokens_of

_ASCII_WORDS = re.compile("[A-Za-z0-9]+")
Span = tuple[int, int]
"""Where a part of a text begins, and where it has ended, in characters."""


def spans_of(text: str, terms: Sequence[Term]) -> tuple[Span, ...]:
    """Return where terms stand in a text, in order and apart from one another.

    >>> from mmsearch.annotations.tokens import terms_of
    >>> spans_of("Cafés: a café", terms_of("a CAFE"))
    ((9, 13),)
    """
    sought, first_tokens = _sought(tuple(terms))
    tokens = tokens_of(text)
    if first_tokens.isdisjoint(tokens) and not any(term.is_prefix for term in sought):
        return ()  # as in most annotations
    document = f" {' '.join(tokens)} "
    standing = [term for term in sought if f" {' '.join(term.tokens)}{' ' * (not term.is_prefix)}" in document]
    whole = {token for term in standing for token in term.tokens[: len(term.tokens) - term.is_prefix]}
    begun = tuple(term.tokens[-1] for term in standing if term.is_prefix)
    spans: list[Span] = []
    for start, end in _pieces(text):
        tokens = tokens_of(text[start:end])
        if any(token in whole or token.startswith(begun) for token in tokens if begun or token in whole):
            if spans and start <= spans[-1][1]:
                start = spans.pop()[0]
            spans.append((start, end))
    return tuple(spans)


@lru_cache(maxsize=64)
def _sought(terms: tuple[Term, ...]) -> tuple[tuple[Term, ...], frozenset[str]]:
    """Return the terms that are marked, and the tokens that they begin with."""
    unmarked = FUNCTION_WORDS if len(terms) > 1 else frozenset()
    sought = tuple(
        term for term in terms if term.is_prefix or len(term.tokens) > 1 or term.tokens[0] not in unmarked
    )
    return sought, frozenset(term.tokens[0] for term in sought)


def _pieces(text: str) -> Iterator[Span]:
    """Yield where words and signs stand, and the pairs of what is written without spaces."""
    if text.isascii():
        yield from (word.span() for word in _ASCII_WORDS.finditer(text))
        return
    start = 0
    for kind, characters in groupby(text, kind_of):
        end = start + sum(1 for _ in characters)
        if kind == "spaceless" and len(folded(text[start:end])) == end - start > 1:
            yield from ((first, first + 2) for first in range(start, end - 1))
        elif kind:
            yield start, end
        start = end
