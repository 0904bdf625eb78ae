"""Zero-shot classification: label prompts are the classifier (Radford et al., 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class LabelProbabilities:
    """What a classifier says of n pictures.

    Attributes
    ----------
    labels : float64 array, shape (n, n_labels)
        In [0, 1], in the order of the labels.
    none : float64 array, shape (n,), or None
        Probability that a picture shows none of the labels, which with those of the labels sums to 1; None where
        that is not asked or not known.
    """

    labels: NDArray[np.float64]
    none: NDArray[np.float64] | None


@dataclass(frozen=True)
class ZeroShotClassifier:
    """Labels as a classifier of the unit vectors of one encoder; threads may share it.

    Attributes
    ----------
    labels : tuple of str
        Their names.
    vectors : float32 array, shape (n_labels, dim)
        Unit rows of `class_embeddings`, which are all that the text tower is needed for.
    logit_scale : float > 0
        Multiplier of the cosines before the softmax.
    """

    labels: tuple[str, ...]
    vectors: Matrix
    logit_scale: float

    def probabilities(self, pictures: Matrix) -> LabelProbabilities:
        """Return what unit vectors float32 (n, dim) of pictures show; each is judged by itself."""
        return self._of_cosines(inner_products(pictures, self.vectors))

    def predict(self, pictures: Matrix, *, k: int = 5) -> list[tuple[Prediction, ...]]:
        """Return the k most probable labels of every unit vector, most probable first; ties by label order."""
        cosines = inner_products(pictures, self.vectors)
        return most_probable(self._of_cosines(cosines).labels, cosines, self.labels, k=as_count(k, "k"))

    def _of_cosines(self, cosines: Matrix) -> LabelProbabilities:
        return LabelProbabilities(probabilities(self.logit_scale * cosines.astype(np.float64)), None)


def most_probable(
    shares: NDArray[np.float64], cosines: Matrix, labels: Sequence[str], *, k: int
) -> list[tuple[Prediction, ...]]:
    """Return the k most probable labels of every row of probabilities; arrays (n, n_labels), ties in order."""
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
