"""TOKENS: texts in, the words by which they are found out; what is kept and what is looked for go the same way.

Case, accents and compatible forms of a character do not count. What is written without spaces between words is
taken as pairs of characters that follow one another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

from mmsearch.annotations.base import LEVELS

SEPARATOR = "\ue000"
"""Stands between two annotations, so that no phrase is found across them; in no token."""
_LONGEST = 40  # characters of a token: what is longer is no word
_ASCII = re.compile(r"[a-z0-9]+")
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)  # Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean
# Accents of Latin, Greek and Cyrillic, points of Hebrew, short vowels of Arabic and its stretching, and what
# chooses between forms of a sign.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670\ufe00-\ufe0f]+")
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_FUNCTION_WORDS = (
    "a about above after all also am an and any are as at be been before being below between both but by can could "
    "d did do does for from had has have he her here him his how i if in into is it its just ll m me more most my "
    "no nor not of off on or other our out over own re s same she should so some such t than that the their them "
    "then there these they this those through to too under up ve very was we were what when where which while who "
    "whom why will with would you your"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Of English: alone they say nothing of a picture."""
_QUOTED = re.compile(r'"([^"]*)"')


def levels_of(tag: str) -> list[str]:
    """Return the levels of a tag, person or place, which stand between ` > `, or as many people write it, `/`.

    >>> levels_of("places > france/paris/"), levels_of("wedding")
    (['places', 'france', 'paris'], ['wedding'])
    """
    return tag.replace(LEVELS, "/").strip("/").split("/")


def folded(text: str) -> str:
    """Return a text of which case, accents and compatible forms are gone.

    >>> folded("Łódź, ÉTÉ"), folded("Straße"), folded("が")
    ('lodz, ete', 'strasse', 'が')
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed).translate(_LETTERS))


def tokens_of(text: str) -> list[str]:
    """Return the tokens of a text that is kept, in order.

    Of what is written without spaces the last character is a token too, so that each is the beginning of one.

    >>> tokens_of("Two dogs' café, 2023"), tokens_of("東京都 ☃")
    (['two', 'dogs', 'cafe', '2023'], ['東京', '京都', '都', '☃'])
    """
    if text.isascii():
        return [word[:_LONGEST] for word in _ASCII.findall(text.lower())]
    return [token for run in _runs(text) for token in (*_pairs(run), run[-1:] if _is_spaceless(run) else run)]


def document_of(texts: Iterable[str]) -> str:
    """Return the tokens of all texts of one picture as one text; what is said twice counts once.

    >>> document_of(["A dog", "dog", "A dog"]) == f"a dog {SEPARATOR} dog"
    True
    """
    return f" {SEPARATOR} ".join(filter(None, (" ".join(tokens_of(text)) for text in dict.fromkeys(texts))))


@dataclass(frozen=True, slots=True)
class Term:
    """Something that is looked for: tokens that follow one another; of the last only the beginning, if so said."""

    tokens: tuple[str, ...]
    is_prefix: bool = False


def terms_of(text: str) -> tuple[Term, ...]:
    """Return what a text looks for, each term once.

    Tokens in double quotes follow one another; quotes without a partner, and all else, are no operators. What is
    written without spaces is looked for as a whole, pair by pair.

    >>> [term.tokens for term in terms_of('"New York" or nothing')]
    [('new', 'york'), ('or',), ('nothing',)]
    """
    terms: list[Term] = []
    start = 0
    for quoted in _QUOTED.finditer(text):
        terms += _single(text[start : quoted.start()])
        parts = _single(quoted[1])
        if parts:
            terms.append(Term(tuple(t for term in parts for t in term.tokens), parts[-1].is_prefix))
        start = quoted.end()
    return tuple(dict.fromkeys([*terms, *_single(text[start:])]))


def _single(text: str) -> list[Term]:
    """Return a term for every token of a text that is looked for."""
    terms: list[Term] = []
    for run in _runs(text):
        if not _is_spaceless(run):
            terms.append(Term((run,)))
        elif len(run) == 1:
            terms.append(Term((run,), is_prefix=True))
        else:
            terms += [Term((pair,)) for pair in _pairs(run)]
    return terms


def _runs(text: str) -> Iterator[str]:
    """Yield words, what is written without spaces, and signs such as emoji, each folded."""
    for kind, characters in groupby(folded(text), kind_of):
        if kind == "sign":
            yield from characters
        elif kind:
            run = "".join(characters)
            yield run if kind == "spaceless" else run[:_LONGEST]


def _pairs(run: str) -> list[str]:
    return ["".join(pair) for pair in pairwise(run)] if _is_spaceless(run) else []


def _is_spaceless(run: str) -> bool:
    return _SPACELESS.match(run) is not None


@lru_cache(maxsize=1 << 14)
def kind_of(character: str) -> str:
    """Return what a character belongs to: `word`, `spaceless` where words have no spaces, `sign`, or nothing."""
    category = unicodedata.category(character)
    if category == "So":
        return "sign"
    if category[0] not in "LMN":
        return ""
    return "spaceless" if _SPACELESS.match(character) else "word"
