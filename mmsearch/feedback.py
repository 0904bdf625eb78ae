"""FEEDBACK: a query vector and what was judged of its answers in, a better query vector out."""

from __future__ import annotations

import numpy as np

from mmsearch.records import Matrix

BETA, GAMMA = 0.75, 0.15
"""How far a query moves to what is relevant, and away from what is not; it keeps itself with weight 1."""


def rocchio(query: Matrix, relevant: Matrix, irrelevant: Matrix) -> Matrix:
    """Return a query moved towards the mean of the relevant pictures and away from that of the others.

    Parameters
    ----------
    query : float32 array, shape (dim,)
        Unit vector, or zero where only judgements say what is looked for.
    relevant, irrelevant : float32 array, shape (n, dim)
        Unit rows; either may be empty.

    Returns
    -------
    float32 array, shape (dim,)
        Not normalised.

    Notes
    -----
    ``q + BETA * mean(relevant) - GAMMA * mean(irrelevant)``: J. J. Rocchio, Relevance feedback in information
    retrieval, in Salton (ed.), The SMART Retrieval System, 1971; with the weights of Manning, Raghavan and
    Schütze, Introduction to Information Retrieval, 2008, section 9.1.1.

    Examples
    --------
    >>> east, north = np.eye(2, dtype=np.float32)
    >>> rocchio(east, north[None], np.zeros((0, 2), np.float32))
    array([1.  , 0.75], dtype=float32)
    """
    moved = query.astype(np.float32)
    if len(relevant):
        moved = moved + np.float32(BETA) * relevant.mean(axis=0)
    if len(irrelevant):
        moved = moved - np.float32(GAMMA) * irrelevant.mean(axis=0)
    return moved
