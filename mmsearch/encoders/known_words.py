"""KNOWN WORDS: labels in, those out that an encoder has hardly seen, where it is known what it was trained to name.

Whatever a label is, some picture is nearest to it. `offline` was taught to tell apart the classes of ImageNet, and
knows other things as far as their names mean the same as those; an encoder that learned from captions has no list.

Measured with an `offline` that knows the odd classes alone, on photographs of the even ones: 15 % of the labels are
below the threshold, and of those 44 % have their own picture among the nearest tenth; of the others 80 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.kept import kept_units
from mmsearch.encoders.offline import NAME as OFFLINE
from mmsearch.encoders.templates import imagenet_class_names
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder

_LEAST = 0.4
"""Cosine of a text to the nearest known word, below which it is hardly known."""
_TOGETHER = 256  # texts that are encoded at a time
_N_NAMED = 10


def known_words(encoder: DualEncoder) -> tuple[str, ...]:
    """Return the words that the pictures an encoder was trained on are named by; none where that is not known."""
    return tuple(dict.fromkeys(imagenet_class_names())) if encoder.name == OFFLINE else ()


def are_hardly_known(texts: Matrix, words: Matrix) -> NDArray[np.bool_]:
    """Return which texts are far from all known words; unit vectors float32 (n, dim) and (n_words, dim)."""
    nearest: NDArray[np.bool_] = inner_products(texts, words).max(axis=1) < _LEAST
    return nearest


def kept_vectors(
    file: Path, words: Sequence[str], dim: int, encode_texts: Callable[[Sequence[str]], Matrix]
) -> Matrix:
    """Return the unit vectors float32 (n_words, dim) of words, from a file if they are there (`kept_units`)."""

    def made() -> Matrix:
        parts = [encode_texts(words[start : start + _TOGETHER]) for start in range(0, len(words), _TOGETHER)]
        return np.concatenate(parts)

    return kept_units(file, (len(words), dim), made, is_right=lambda _: True)


def warning_of(encoder: DualEncoder, unknown: Sequence[str]) -> str:
    """Return a sentence that names labels which are hardly known.

    >>> from types import SimpleNamespace
    >>> warning_of(SimpleNamespace(name="offline"), ["euphonium", "okapi"])
    "offline has hardly seen 'euphonium' and 'okapi': what it says of such labels is little more than a guess"
    """
    named = [*map(repr, unknown[:_N_NAMED])]
    if len(unknown) > _N_NAMED:
        named.append(f"{len(unknown) - _N_NAMED} others")
    words = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    labels = "such labels" if len(unknown) > 1 else "such a label"
    return f"{encoder.name} has hardly seen {words}: what it says of {labels} is little more than a guess"
