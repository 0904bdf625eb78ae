"""Zero-shot classification: label prompts are the classifier (Radford et al., 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import as_count, texts_of
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES, fill_templates
from mmsearch.records import Matrix, Prediction
from mmsearch.vectors import inner_products, l2_normalize


def class_embeddings(
    encode_texts: Callable[[Sequence[str]], Matrix],
    labels: str | Iterable[str],
    templates: str | Iterable[str] = DEFAULT_TEMPLATES,
    *,
    at_once: int = 1024,
) -> Matrix:
    """Return one unit vector per label, float32 (n_labels, dim): the mean of its prompts', renormalised.

    About `at_once` prompts are made and encoded at a time.
    """
    templates = texts_of(templates, "templates")
    prompts, means = fill_templates(labels, templates), []
    n_labels = max(1, at_once // max(1, len(templates)))
    while part := [text for texts in islice(prompts, n_labels) for text in texts]:
        vectors = encode_texts(part)
        means.append(vectors.reshape(-1, len(templates), vectors.shape[1]).mean(axis=1))
    return l2_normalize(np.concatenate(means))


def predict(
    images: Matrix, classes: Matrix, labels: str | Iterable[str], logit_scale: float, *, k: int = 5
) -> list[tuple[Prediction, ...]]:
    """Return the k most probable labels of every picture, most probable first; ties by label order.

    Parameters
    ----------
    images : float32 array, shape (n_images, dim)
        Unit rows.
    classes : float32 array, shape (n_labels, dim)
        Unit rows of `class_embeddings`.
    labels : str, or several
        Names of the classes, in the order of `classes`.
    logit_scale : float > 0
        Multiplier of the cosines before the softmax.
    k : int > 0
        Clamped to n_labels.
    """
    labels, k = texts_of(labels, "labels"), as_count(k, "k")
    cosines = inner_products(images, classes)
    return most_probable(logit_scale * cosines.astype(np.float64), cosines, labels, k=k)


def most_probable(
    logits: Matrix | NDArray[np.float64], cosines: Matrix, labels: Sequence[str], *, k: int
) -> list[tuple[Prediction, ...]]:
    """Return the k most probable labels of every row, by the softmax of its logits; arrays (n, n_labels)."""
    shares = probabilities(logits)
    order = np.argsort(-shares, axis=1, kind="stable")[:, :k]
    return [
        tuple(Prediction(labels[i], float(shares[n, i]), float(cosines[n, i])) for i in best)
        for n, best in enumerate(order)
    ]


def probabilities(logits: Matrix | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of every row of logits (n, n_labels), float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
