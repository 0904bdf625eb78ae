"""CLASSES: label prompts and a few labelled pictures in, a linear classifier with calibrated probabilities out.

The label prompts are the classifier to begin with; what the pictures change of it is kept small (a linear probe
that is drawn to the zero-shot weights). How small is chosen, and probabilities are calibrated, on pictures that are
left out in turn. Unless those are labelled better beyond one standard error, the prompts alone are the classifier:
with few pictures, some of them under wrong labels, the best strength would be a costly guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.zeroshot import probabilities
from mmsearch.errors import TrainingError
from mmsearch.evaluation.metrics.ranks import Ids
from mmsearch.records import Matrix
from mmsearch.traces import Traces
from mmsearch.training.judge import Improvement, improvement
from mmsearch.training.pictures import copies_in, joined, require_finite

Array = NDArray[np.float64]
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
"""On the squared length of what pictures change, a label and picture."""
_N_FOLDS = 5
_STEPS = 200
_SCALES = np.geomspace(0.1, 10, 81)
_SCALE_DEVIATION = 0.3  # of the logarithm


@dataclass(frozen=True)
class FewShot:
    """What was learned.

    Attributes
    ----------
    weights : float32 array, shape (n_labels, dim)
        Logits are inner products with them.
    penalty : float or None
        That was chosen; None where no likely gain was left, and the prompts alone are the classifier.
    loss_before, loss_after : float
        Mean negative log probability of the right label, of pictures left out: of the prompts as they are, and of
        what was learned, both at their best scale; the same where the prompts alone are the classifier.
    gain : Improvement
        By how much the best penalty made that smaller, with its interval over pictures.
    """

    weights: Matrix
    penalty: float | None
    loss_before: float
    loss_after: float
    gain: Improvement


def teach_classes(
    vectors: Matrix, truth: Ids, prompts: Matrix, *, logit_scale: float, seed: int = 0,
    traces: Traces | None = None, on_fold: Callable[[int, int], None] = lambda done, total: None,
) -> FewShot:  # fmt: skip
    """Teach a classifier.

    Parameters
    ----------
    vectors : float32 array, shape (n, dim)
        Unit vectors of labelled pictures; a label may have none.
    truth : int64 array, shape (n,)
        The label of each.
    prompts : float32 array, shape (n_labels, dim)
        Unit vectors of the labels.
    logit_scale : float > 0
        Of the prompts, where training begins.
    seed : int
        Of the folds.
    traces : uint8 array, shape (n, TRACE_BYTES), or None
        Of the pictures: copies are left out together; without traces those of equal vectors are.
    on_fold : callable
        Given how many parts of the work are done, and of how many.

    Raises
    ------
    TrainingError
        If a vector is not finite, or there are fewer than two labelled pictures.
    """
    require_finite(vectors, "pictures")
    picture_ids = joined(len(vectors), copies_in(vectors, traces))
    n_different = len(np.unique(picture_ids))
    if n_different < 2:
        raise TrainingError(f"there are {n_different} different labelled pictures; expected at least two")
    start = logit_scale * prompts.astype(np.float64)
    shown = vectors.astype(np.float64)
    folds = _folds(picture_ids, truth, seed)
    n_parts = len(PENALTIES) * (int(folds.max()) + 1)
    left_out, done = {}, 0
    for penalty in PENALTIES:
        logits = np.empty((len(shown), len(start)))
        for fold in range(int(folds.max()) + 1):
            is_out = folds == fold
            weights = _fitted(shown[~is_out], truth[~is_out], start, penalty)
            logits[is_out] = shown[is_out] @ weights.T
            done += 1
            on_fold(done, n_parts)
        left_out[penalty] = logits
    of_prompts, scale_before = _calibrated(shown @ start.T, truth)
    penalty = min(PENALTIES, key=lambda value: _calibrated(left_out[value], truth)[0])
    loss, scale = _calibrated(left_out[penalty], truth)
    gain = improvement(
        [-_losses(scale_before * (shown @ start.T), truth)],
        [-_losses(scale * left_out[penalty], truth)],
        [picture_ids],
    )
    if not gain.is_likely:
        return FewShot((scale_before * start).astype(np.float32), None, of_prompts, of_prompts, gain)
    weights = scale * _fitted(shown, truth, start, penalty)
    return FewShot(weights.astype(np.float32), penalty, of_prompts, loss, gain)


def _folds(picture_ids: Ids, truth: Ids, seed: int) -> Ids:
    """Return a fold of every picture: those of a label are spread over all, and copies are in the same."""
    _, first, copies = np.unique(picture_ids, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    by_label = order[np.argsort(truth[first][order], kind="stable")]
    folds = np.empty(len(first), dtype=np.int64)
    folds[by_label] = np.arange(len(first)) % min(_N_FOLDS, len(first))
    return folds[copies.reshape(-1)]


def _fitted(vectors: Array, truth: Ids, start: Array, penalty: float) -> Array:
    """Return weights (n_labels, dim) of the least cross entropy, with a penalty on how far they are from the start.

    A convex problem, by gradient descent with momentum (Nesterov, 1983) at the step that its curvature allows.
    """
    n = len(vectors)
    targets = np.eye(len(start))[truth]
    curvature = 0.5 * np.linalg.norm(vectors, 2) ** 2 / n + penalty
    step = 1 / curvature
    weights, ahead, momentum = start.copy(), start.copy(), 1.0
    for _ in range(_STEPS):
        slope = (probabilities(vectors @ ahead.T) - targets).T @ vectors / n + penalty * (ahead - start)
        moved = ahead - step * slope
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - weights)
        if np.abs(moved - weights).max() < 1e-7 * max(1.0, float(np.abs(start).max())):
            return moved
        weights, momentum = moved, following
    return weights


def _calibrated(logits: Array, truth: Ids) -> tuple[float, float]:
    """Return the least mean negative log probability over scales of the logits, and the scale.

    Guo et al., On calibration of modern neural networks, 2017: one number. A few pictures that are all right would
    make it as large as can be, so it is drawn to 1, as a normal law of its logarithm would.
    """
    losses = np.array([_losses(scale * logits, truth).mean() for scale in _SCALES])
    drawn = (np.log(_SCALES) / _SCALE_DEVIATION) ** 2 / (2 * len(truth))
    best = int(np.argmin(losses + drawn))
    return float(losses[best]), float(_SCALES[best])


def _losses(logits: Array, truth: Ids) -> Array:
    """Return the negative log probability of the right label of every picture, float64 (n,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses: Array = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]
    return losses
