"""Rankings and ground truth for the tests of metrics, small or random."""

from __future__ import annotations

import numpy as np

from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant, rank_relevant_of_lists


def ranked(*lists: str, relevant: str = "abc"):
    """Return ranked lists of one-letter images, all with the same relevant ones."""
    ids_of_lists = [np.array([ord(image) for image in listed], dtype=np.int64) for listed in lists]
    return rank_relevant_of_lists(ids_of_lists, Qrels.from_lists([[ord(image) for image in relevant]] * len(lists)))


def random_case(seed, *, n_queries=4, n_images=40, with_ties=False, most_relevant=9):
    """Return scores, ground truth and graded gains (n_queries, n_images), 0 for what is not relevant."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n_images, dtype=np.float32), (n_queries, 1)), axis=1)
    if with_ties:
        scores = np.floor(scores / 4)
    grades = np.zeros((n_queries, n_images))
    for row in grades:
        chosen = rng.choice(n_images, size=rng.integers(1, most_relevant + 1), replace=False)
        row[chosen] = rng.integers(1, 4, len(chosen))
    ids = [np.flatnonzero(row) for row in grades]
    qrels = Qrels.from_lists(ids, gains=[row[relevant] for row, relevant in zip(grades, ids, strict=True)])
    return scores, qrels, grades


def random_ranked(seed, **options):
    """Return the ranks of a random case."""
    scores, qrels, _ = random_case(seed, **options)
    return rank_relevant(scores, qrels)
