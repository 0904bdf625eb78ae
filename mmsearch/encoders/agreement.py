"""Agreement: whether an image tower in another precision makes of pictures what the tower in fp32 makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.records import Agreement, Matrix
from mmsearch.vectors import l2_normalize

N_PICTURES = 200
"""Different real pictures that a tower is judged by, at least."""
MIN_COSINE, MIN_CENTRED, MIN_NEIGHBOURS, MIN_TEXTS = 0.999, 0.995, 0.98, 0.97
_TOP = 10


def agreement_of(expected: Matrix, given: Matrix, texts: Matrix) -> Agreement:
    """Measure how well vectors agree with those of fp32.

    Parameters
    ----------
    expected, given : float32 array, shape (n_pictures, dim)
        Unit vectors of the same pictures, by fp32 and by the tower that is judged.
    texts : float32 array, shape (n_texts, dim)
        Unit vectors of texts; none for an encoder without words.

    Returns
    -------
    Agreement
        `cosine` and `centred` are those of the picture that agrees least, centred by the mean of `expected`, which
        most encoders give all their vectors. `neighbours` is the share of pictures with the same nearest other
        picture, `texts` the mean share of the first ten pictures for a text that are the same, None without words.
    """
    mean = expected.mean(axis=0)
    centred = (l2_normalize(expected - mean) * l2_normalize(given - mean)).sum(axis=1)
    tops = zip(_first(texts @ expected.T), _first(texts @ given.T), strict=True)
    shared = [len(set(theirs) & set(ours)) / len(theirs) for theirs, ours in tops]
    return Agreement(
        n_pictures=len(expected),
        cosine=_figure((expected * given).sum(axis=1).min()),
        centred=_figure(centred.min()),
        neighbours=_figure((_nearest(expected) == _nearest(given)).mean()),
        texts=_figure(np.mean(shared)) if shared else None,
    )


def require_agreement(measured: Agreement, model: str, precision: str) -> None:
    """Raise EncoderError if vectors agree too little: it names each criterion that is not met, and its figure."""
    failures = list(_failures(measured))
    if failures:
        raise EncoderError(
            f"{precision} is refused for {model}: on {measured['n_pictures']} pictures {', and '.join(failures)}; "
            "use --precision fp32"
        )


def _failures(measured: Agreement) -> Iterator[str]:
    for value, least, what in (
        (measured["cosine"], MIN_COSINE, "a vector has a cosine of {} to that of fp32"),
        (measured["centred"], MIN_CENTRED, "a vector has, the mean taken off, a cosine of {} to that of fp32"),
        (measured["neighbours"], MIN_NEIGHBOURS, "the share with the same nearest picture is {}"),
        (measured["texts"], MIN_TEXTS, "the share of a text's first ten pictures that stay is {}"),
    ):
        if value is not None and not value >= least:
            yield f"{what.format(f'{value:g}')} (expected {least} at least)"


def _figure(value: np.floating) -> float:
    """Return a figure with the digits that mean something, never rounded up to a bound; NaN as it is."""
    return math.floor(float(value) * 1e6) / 1e6 if math.isfinite(value) else math.nan


def _nearest(vectors: Matrix) -> np.ndarray:
    """Return the row of the nearest other vector of each."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest: np.ndarray = scores.argmax(axis=1)
    return nearest


def _first(scores: Matrix) -> np.ndarray:
    """Return the columns of the ten best scores of each row."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
