"""LOSS: distances or scores of a batch in, a number to make small out. Each takes NumPy arrays or torch tensors.

Vectors are at unit length, so that the Euclidean distance d and the cosine s of two are d^2 = 2 - 2 s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mmsearch.arguments import Loss
from mmsearch.errors import DimensionError, TrainingError

if TYPE_CHECKING:
    import torch

MARGINS: dict[Loss, float] = {"infonce": 0.0, "contrastive": 1.0, "triplet": 0.2}
"""Of distances in the contrastive loss, of cosines in the triplet loss; InfoNCE has none."""

Numbers = TypeVar("Numbers", np.ndarray, "torch.Tensor")
_LARGEST_SCALE = 100.0  # of the logits, as in CLIP
_SMALLEST = 1e-8  # squared distance: the square root has no slope at 0


def contrastive_loss(distances: Numbers, is_similar: Numbers, margin: float = 1.0) -> Numbers:
    """Return the contrastive loss of every pair: similar ones should be near, others at least `margin` apart.

    Parameters
    ----------
    distances : float array or tensor, any shape
        Euclidean, 0 or above.
    is_similar : bool array or tensor, the same shape
        True for pairs that are the same thing.
    margin : float > 0
        Distance from which pairs that are not similar cost nothing.

    Returns
    -------
    array or tensor, the same shape
        y d^2 / 2 + (1 - y) max(0, margin - d)^2 / 2.

    Notes
    -----
    Hadsell, Chopra and LeCun, Dimensionality reduction by learning an invariant mapping, 2006.

    Examples
    --------
    >>> contrastive_loss(np.array([0.6, 0.6, 1.2]), np.array([True, False, False]), margin=1.0)
    array([0.18, 0.08, 0.  ])
    """
    _require_margin(margin)
    near = distances**2 / 2
    far = (margin - distances).clip(0) ** 2 / 2
    costs: Numbers = near * is_similar + far * ~is_similar
    return costs


def triplet_loss(to_positive: Numbers, to_negative: Numbers, margin: float = 0.2) -> Numbers:
    """Return the loss of every triplet: an anchor should be nearer to its positive than to its negative.

    Parameters
    ----------
    to_positive, to_negative : float array or tensor, the same shape
        Distances of the anchor.
    margin : float > 0
        By how much nearer.

    Returns
    -------
    array or tensor, the same shape
        max(0, margin + to_positive - to_negative).

    Notes
    -----
    Schroff, Kalenichenko and Philbin, FaceNet, 2015.

    Examples
    --------
    >>> triplet_loss(np.array([0.5, 0.5]), np.array([0.6, 0.9]), margin=0.2)
    array([0.1, 0. ])
    """
    _require_margin(margin)
    costs: Numbers = (margin + to_positive - to_negative).clip(0)
    return costs


def info_nce(logits: Numbers, is_same: Numbers | None = None) -> Numbers:
    """Return CLIP's symmetric objective: each row must find its column among all, and each column its row.

    Parameters
    ----------
    logits : float array or tensor, shape (n, n)
        Cosines times the logit scale (1 / temperature); what belongs together is on the diagonal.
    is_same : bool array or tensor, shape (n, n), or None
        Pairs besides the diagonal that belong together too, such as another caption of the same picture: they
        are not taken as negatives.

    Returns
    -------
    array or tensor, shape ()
        Mean of the two cross entropies.

    Notes
    -----
    van den Oord, Li and Vinyals, Representation learning with contrastive predictive coding, 2018; in both
    directions: Radford et al., Learning transferable visual models from natural language supervision, 2021.

    Examples
    --------
    >>> round(float(info_nce(np.array([[2.0, 0.0], [0.0, 2.0]]))), 4)  # log(1 + e^-2)
    0.1269
    """
    import torch

    if isinstance(logits, np.ndarray):
        others = None if is_same is None else torch.from_numpy(np.asarray(is_same))
        return info_nce(torch.from_numpy(logits), others).numpy()[()]
    _require_square(logits)
    if is_same is not None:
        is_other = torch.as_tensor(is_same, device=logits.device) & ~_diagonal(logits)
        logits = logits.masked_fill(is_other, -torch.inf)
    targets = torch.arange(len(logits), device=logits.device)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets)) / 2


def batch_loss(
    loss: Loss, cosines: torch.Tensor, is_same: torch.Tensor, *, logit_scale: torch.Tensor, margin: float
) -> torch.Tensor:
    """Return the loss of a batch in which row i and column i belong together.

    Parameters
    ----------
    loss : str
        `infonce`; `contrastive`, over all pairs, the dissimilar ones summed for each row; `triplet`, with the
        hardest negative of each row and each column (Faghri et al., VSE++, 2018).
    cosines : float tensor, shape (n, n)
    is_same : bool tensor, shape (n, n)
        Pairs that are no negatives, the diagonal among them.
    logit_scale : float tensor, shape ()
        For `infonce`.
    margin : float > 0
        For the others.
    """
    import torch

    if loss == "infonce":
        return info_nce(cosines * logit_scale, is_same)
    _require_square(cosines)
    if loss == "contrastive":
        costs = contrastive_loss(distances_of_cosines(cosines), _diagonal(cosines), margin)
        return costs.masked_fill(is_same & ~_diagonal(cosines), 0).sum() / len(cosines)
    hardest = cosines.masked_fill(is_same, -torch.inf)
    to_positive = -cosines.diagonal()  # cosines fall where distances grow
    return (
        triplet_loss(to_positive, -hardest.amax(dim=1), margin)
        + triplet_loss(to_positive, -hardest.amax(dim=0), margin)
    ).mean()


def logit_scale_of(log_scale: torch.Tensor) -> torch.Tensor:
    """Return what cosines are multiplied by before the softmax, shape (), from its learned logarithm.

    A logarithm above that of 100 is set back to it, as CLIP does, in place: it can fall again.
    """
    import torch

    with torch.no_grad():
        log_scale.clamp_(max=math.log(_LARGEST_SCALE))
    return log_scale.exp().reshape(())


def equal_pairs(ids: torch.Tensor) -> torch.Tensor:
    """Return which pairs of a batch have the same number, bool (n, n): those that are no negatives."""
    return ids[:, None] == ids[None]


def distances_of_cosines(cosines: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean distances of unit vectors with these cosines, the same shape."""
    return (2 - 2 * cosines).clip(_SMALLEST).sqrt()


def _diagonal(matrix: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


def _require_square(matrix: torch.Tensor) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DimensionError(f"scores have shape {tuple(matrix.shape)}, expected as many columns as rows")


def _require_margin(margin: float) -> None:
    if not margin > 0:
        raise TrainingError(f"the margin is {margin}; expected a number above 0")
