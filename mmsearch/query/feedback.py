"""FEEDBACK: a query vector and what was judged or verified of its answers in, a better query vector out."""

from __future__ import annotations

import numpy as np

from mmsearch.records import Matrix

BETA, GAMMA = 0.75, 0.15
"""How far a query moves to what is relevant, and away from what is not; it keeps itself with weight 1."""
ALPHA = 3.0
"""Power of the cosine that a verified picture weighs in an expanded query; 0 weighs all alike."""


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


def expanded(query: Matrix, verified: Matrix, *, alpha: float = ALPHA) -> Matrix:
    """Return a query with the pictures that were verified to show the same added to it.

    Parameters
    ----------
    query : float32 array, shape (dim,)
        Unit vector.
    verified : float32 array, shape (n, dim)
        Unit rows; may be empty.
    alpha : float >= 0
        0 is average query expansion.

    Returns
    -------
    float32 array, shape (dim,)
        Not normalised.

    Notes
    -----
    ``q + sum_i max(q . v_i, 0)^alpha v_i``. Average query expansion, of verified pictures: O. Chum et al., Total
    recall, ICCV 2007; the weights: F. Radenovic, G. Tolias and O. Chum, Fine-tuning CNN image retrieval with no
    human annotation, TPAMI 2019.

    Examples
    --------
    >>> east, north = np.eye(2, dtype=np.float32)
    >>> expanded(east, np.stack([east, north]), alpha=0)
    array([2., 1.], dtype=float32)
    >>> expanded(east, np.stack([east, north]), alpha=3)
    array([2., 0.], dtype=float32)
    """
    weights = np.maximum(verified @ query, 0) ** np.float32(alpha)
    added: Matrix = query + weights @ verified
    return added
