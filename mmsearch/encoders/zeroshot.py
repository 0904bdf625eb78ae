"""Zero-shot classification: label prompts are the classifier (Radford et al., 2021, section 3.1).

Closed, one of the labels must be right, and their probabilities are the softmax of scaled cosines. A calibrated
encoder (`LabelModel`) also says how much more likely a cosine is in a picture that shows the label than in one that
does not: by a factor of exp(logit_scale * cosine + constant). With it Bayes' rule answers two questions:

- open: does the picture show one of n labels, and which? Before it is looked at it shows none with the probability
  `NONE`, and each label with (1 - NONE) / n. The answer is a softmax in which none of the labels competes.
- multi: does it show this label? Each is asked by itself, and is as probable as `SHOWN` beforehand.

So a further label takes probability from the others, and never gives them any.

Small things are seen in parts of a picture (`in_parts`): the whole and every part are judged as pictures of their
own, and a label is as probable as where it is most. The highest of several probabilities is no distribution, and
more views are more occasions to be wrong.

Chosen on 1,500 Flickr8k training pictures with a caption each as labels, on 500 photographs of the even classes of
ImageNet, and on these as seen by an `offline` that knows the odd classes alone. One factor fits all three, and its
scale is that of the best closed softmax. What brought no more, or was worse with labels that are no class of the
image tower: cosines to background captions and class names as competitors, also weighted by how near they are to
the label; mean cosines of a label to sample pictures and to captions; the margin to the next label. Where the share
of each label was (1 - NONE) / n ** power, the best power was 1.0.

With `offline`, on sets that nothing was chosen on; a picture is called none of these if that is more probable than
the best label, and lost are those whose label is there:

=============================================  =====  ============  ===========  =======  ====
set, labels                                    right  error closed  error, open  removed  lost
=============================================  =====  ============  ===========  =======  ====
odd classes of ImageNet, 500                    .90   .047          .043         .79      .05
odd classes of ImageNet among all, 998          .86   .051          .059         .68      .05
Tux Paint stamps, their captions, 557           .17   .143          .046         .76      .68
=============================================  =====  ============  ===========  =======  ====

Where few answers are right, none of these cannot be told: a picture that is called something else anyway looks the
same without its label, so that at most 10 % + 17 % of the stamps could be rejected at 10 % lost. It is 14 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import log
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import as_count, texts_of
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES, fill_templates
from mmsearch.errors import QueryError
from mmsearch.records import NONE_OF_THESE, LabelledPart, Matrix, PictureParts, Prediction, RelativeBox
from mmsearch.vectors import inner_products, l2_normalize

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder
    from mmsearch.encoders.calibration import LabelModel

LabelMode: TypeAlias = Literal["closed", "open", "multi"]
Answer: TypeAlias = tuple[tuple[Prediction, ...], float | None]
"""Labels of a picture, most probable first, and how probable it is that it shows none of all; None if not known."""
NONE = 0.1
"""How probable it is, before a picture is looked at, that it shows none of the labels."""
SHOWN = 0.1
"""How probable it is, before a picture is looked at, that it shows a label that is asked by itself."""


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


class Judged(NamedTuple):
    """What a classifier says of n pictures, and their cosines float32 (n, n_labels) to its labels."""

    said: LabelProbabilities
    cosines: Matrix


@dataclass(frozen=True)
class ZeroShotClassifier:
    """Labels as a classifier of the unit vectors of one encoder; threads may share it.

    Attributes
    ----------
    labels : tuple of str
        Their names.
    vectors : float32 array, shape (n_labels, dim)
        Unit rows of `class_embeddings`, which are all that the text tower is needed for.
    logit_scale : float >= 0
        Multiplier of the cosines.
    constant : float
        Added to them, where labels are not closed.
    mode : str
        `closed`, `open` or `multi`, see above.
    """

    labels: tuple[str, ...]
    vectors: Matrix
    logit_scale: float
    constant: float = 0.0
    mode: LabelMode = "closed"

    @classmethod
    def of(
        cls, encoder: DualEncoder, labels: Sequence[str], vectors: Matrix, mode: LabelMode
    ) -> ZeroShotClassifier:
        """Return labels as a classifier; open is closed where the encoder is not calibrated, see `mode_of`."""
        model = None if mode == "closed" else _model_of(encoder)
        if model is None:
            return cls(tuple(labels), vectors, encoder.logit_scale)
        return cls(tuple(labels), vectors, model.logit_scale, model.constant, mode)

    def probabilities(self, pictures: Matrix) -> LabelProbabilities:
        """Return what unit vectors float32 (n, dim) of pictures show; each is judged by itself."""
        return self.judge(pictures).said

    def judge(self, pictures: Matrix) -> Judged:
        """Return what unit vectors float32 (n, dim) of pictures show, with their cosines to the labels."""
        cosines = inner_products(pictures, self.vectors)
        return Judged(self._of_cosines(cosines), cosines)

    def predict(self, pictures: Matrix, *, k: int = 5) -> list[Answer]:
        """Return for every unit vector its k most probable labels, and the probability of none if it is known.

        The most probable label comes first, and ties are in the order of the labels.
        """
        said, cosines = self.judge(pictures)
        best = most_probable(said.labels, cosines, self.labels, k=as_count(k, "k"))
        if said.none is None:
            return [(predictions, None) for predictions in best]
        return [(predictions, float(none)) for predictions, none in zip(best, said.none, strict=True)]

    def _of_cosines(self, cosines: Matrix) -> LabelProbabilities:
        logits = self.logit_scale * cosines.astype(np.float64)
        if self.mode == "closed":
            return LabelProbabilities(probabilities(logits), None)
        logits += self.constant
        if self.mode == "multi":
            odds = np.exp(-np.clip(logits + log(SHOWN / (1 - SHOWN)), -700, 700))
            return LabelProbabilities(1 / (1 + odds), None)
        logits += log((1 - NONE) / NONE / max(1, len(self.labels)))
        shares = probabilities(np.column_stack([logits, np.zeros(len(logits))]))
        return LabelProbabilities(shares[:, :-1], shares[:, -1])


def mode_of(encoder: DualEncoder, labels: Sequence[str], *, closed: bool, multi: bool) -> LabelMode:
    """Return how labels are asked of an encoder: open, unless something else is wanted or it is not calibrated.

    Raises
    ------
    QueryError
        If both are wanted, the encoder cannot judge labels by themselves, or one is called as none of them is.
    """
    if closed and multi:
        raise QueryError("labels are closed, or each is judged by itself (multi), not both; choose one")
    is_calibrated = _model_of(encoder) is not None
    if multi and not is_calibrated:
        raise QueryError(
            f"{encoder.name} is not calibrated, so its cosines do not say how probable a label is by itself; fit "
            "it with `mmsearch calibrate`, or leave multi out"
        )
    if closed or not is_calibrated:
        return "closed"
    if not multi and NONE_OF_THESE in (label.strip() for label in labels):
        raise QueryError(
            f"label {NONE_OF_THESE!r} is what pictures are called that show none of the labels; leave it out, or "
            "close the labels (closed)"
        )
    return "multi" if multi else "open"


def _model_of(encoder: DualEncoder) -> LabelModel | None:
    return None if encoder.calibration is None else encoder.calibration.labels


def most_probable(
    shares: NDArray[np.float64], cosines: Matrix, labels: Sequence[str], *, k: int
) -> list[tuple[Prediction, ...]]:
    """Return the k most probable labels of every row of probabilities; arrays (n, n_labels), ties in order."""
    order = np.argsort(-shares, axis=1, kind="stable")[:, :k]
    return [
        tuple(Prediction(labels[i], float(shares[n, i]), float(cosines[n, i])) for i in best)
        for n, best in enumerate(order)
    ]


def in_parts(
    judge: Callable[[Matrix], Judged],
    labels: Sequence[str],
    wholes: Matrix,
    parts: Sequence[PictureParts],
    *,
    k: int,
) -> list[Answer]:
    """Return the k labels that are most probable in each picture or any of its parts, ties in order.

    Parameters
    ----------
    judge : callable
        Says what unit vectors float32 (n, dim) show.
    labels : sequence of str
        Those that it knows.
    wholes : float32 array, shape (n, dim)
        Unit vectors of whole pictures.
    parts : sequence of PictureParts
        Those of each.
    k : int > 0

    Returns
    -------
    list of (tuple of Prediction, float or None)
        The labels of each picture by the higher of their probabilities in the whole and in the best part; the
        lowest probability of none of them, of whole and parts, or None where that is not known.
    """
    return [
        _answer_in_parts(judge(np.concatenate([whole[None], of_picture.vectors])), labels, of_picture.boxes, k)
        for whole, of_picture in zip(wholes, parts, strict=True)
    ]


def _answer_in_parts(judged: Judged, labels: Sequence[str], boxes: Sequence[RelativeBox], k: int) -> Answer:
    """Return the labels of one picture; the first row is that of the whole, a box and a row are of each part."""
    (shares, none), cosines = (judged.said.labels, judged.said.none), judged.cosines
    predictions = []
    for label in np.argsort(-shares.max(axis=0), kind="stable")[:k].tolist():
        part = None
        if boxes:
            row = 1 + int(shares[1:, label].argmax())
            part = LabelledPart(boxes[row - 1], float(shares[row, label]), float(cosines[row, label]))
        predictions.append(Prediction(labels[label], float(shares[0, label]), float(cosines[0, label]), part))
    return tuple(predictions), None if none is None else float(none.min())


def probabilities(logits: Matrix | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of every row of logits (n, n_labels), float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
