"""Weights of visual words: how often they occur in a picture, and how rare they are in the gallery.

tf, idf: K. Sparck Jones, 1972; G. Salton and C. Buckley, 1988; stop words of vision: J. Sivic and A. Zisserman,
Video Google, ICCV 2003.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.integer[Any]]


def term_frequency(counts: Counts) -> Weights:
    """Return the counts themselves: the bag of words of the lecture."""
    return counts.astype(np.float64)


def sqrt_term_frequency(counts: Counts) -> Weights:
    """Return the square root of counts: a word that comes in bursts counts for less."""
    return np.sqrt(term_frequency(counts))


TERM_WEIGHTS: dict[str, Callable[[Counts], Weights]] = {
    "tf": term_frequency,
    "sqrt": sqrt_term_frequency,
    "tfidf": term_frequency,  # times the inverse document frequency
}


def inverse_document_frequency(document_counts: Counts, n_images: int) -> Weights:
    """Return log(n_images / document count) of every word; 0 for words in no picture, and for those in all.

    Examples
    --------
    >>> inverse_document_frequency(np.array([0, 1, 2]), 2).round(3).tolist()
    [0.0, 0.693, 0.0]
    """
    weights: Weights = np.log(max(n_images, 1) / np.where(document_counts > 0, document_counts, max(n_images, 1)))
    return weights


def stop_words(document_counts: Counts, share: float) -> NDArray[np.bool_]:
    """Return which words are to be dropped: the given share of all words, those in the most pictures.

    Of words in equally many pictures the first are dropped; words in no picture never are.

    Examples
    --------
    >>> stop_words(np.array([1, 9, 4, 0]), 0.25).tolist()
    [False, True, False, False]
    """
    dropped = np.zeros(len(document_counts), dtype=bool)
    n_dropped = round(share * len(dropped))
    if n_dropped:  # sorting 65,536 words takes longer than opening an index
        dropped[np.argsort(-document_counts, kind="stable")[:n_dropped]] = True
    return dropped & (document_counts > 0)
