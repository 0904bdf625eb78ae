"""Texts that no picture of a set answers: typed at random, in other languages, or of things that it does not show.

All are made from the set by rule, the same every time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_lowercase

from mmsearch.datasets.sets import CaptionSet

_WORD = re.compile(r"[^\W\d_]+")
_BRACKETS = re.compile(r"\s*\([^)]*\)")
_SHORTEST = 3  # letters without a plural ending


@dataclass(frozen=True)
class Unanswered:
    """Texts without an answer.

    Attributes
    ----------
    texts : tuple of str
    left_out : tuple of tuple of int
        For every text the pictures that would be an answer to whoever understands it: it is asked without them.
    """

    texts: tuple[str, ...]
    left_out: tuple[tuple[int, ...], ...]


def gibberish(benchmark: CaptionSet, *, seed: int = 0) -> Unanswered:
    """Return for the first caption of every picture as many words of as many random letters.

    >>> _scrambled("A dog, running", Random(0))
    'v tkg nkuhmpx'
    """
    random = Random(seed)
    captions = dict.fromkeys(benchmark.texts[texts[0]] for texts in benchmark.texts_of_picture)
    texts = tuple(dict.fromkeys(_scrambled(caption, random) for caption in captions))
    return Unanswered(texts, ((),) * len(texts))


def _scrambled(text: str, random: Random) -> str:
    words = _WORD.findall(text) or ["abc"]
    return " ".join("".join(random.choices(ascii_lowercase, k=len(word))) for word in words)


def translations(benchmark: CaptionSet) -> Unanswered:
    """Return the texts of a set in other languages than that of its captions, each once.

    They are asked without the pictures that they describe, so that they have no answer in any language.
    """
    pictures_of: dict[str, list[int]] = {}
    captions = {text.casefold() for text in benchmark.texts}
    for picture, by_language in enumerate(benchmark.translations):
        for text in by_language.values():
            if text.casefold() not in captions:
                pictures_of.setdefault(text, []).append(picture)
    return Unanswered(tuple(pictures_of), tuple(map(tuple, pictures_of.values())))


def absent(benchmark: CaptionSet, names: Sequence[str]) -> Unanswered:
    """Return those of some names of things that no caption of a set mentions.

    A name is mentioned where its last word, which says what kind of thing it is, is a word of a caption, in the
    singular or the plural: "fire truck" is by "two trucks". What stands in brackets in a name is left out.
    """
    mentioned = {_singular(word) for text in benchmark.texts for word in _WORD.findall(text.casefold())}
    asked = dict.fromkeys(_BRACKETS.sub("", name).strip() for name in names)
    texts = tuple(name for name in asked if (word := _kind(name)) and word not in mentioned)
    return Unanswered(texts, ((),) * len(texts))


def _kind(name: str) -> str:
    words = _WORD.findall(name.casefold())
    return _singular(words[-1]) if words else ""


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > _SHORTEST else word
