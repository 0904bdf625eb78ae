"""From labelled pictures to a classifier: embed, teach, name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.prepare import lasting_name
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES
from mmsearch.encoders.zeroshot import class_embeddings
from mmsearch.errors import TrainingError
from mmsearch.evaluation.encode import SetEncoder, bad_pictures
from mmsearch.evaluation.metrics.ranks import Ids
from mmsearch.evaluation.records import Bad
from mmsearch.records import Matrix
from mmsearch.traces import Traces
from mmsearch.training.few_shot import teach_classes
from mmsearch.training.judge import Improvement
from mmsearch.training.pictures import copies_in, joined
from mmsearch.training.setting import Setting


@dataclass(frozen=True)
class TaughtClassifier:
    """A classifier, and how it came to be.

    Losses are mean -log probabilities of the right label, of pictures left out. `penalty` is None where the `gain`,
    by which these fell, was not certain: the classifier is that of the prompts alone.
    """

    classifier: Classifier
    n_pictures: int
    penalty: float | None
    loss_before: float
    loss_after: float
    bad: list[Bad]
    gain: Improvement

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return len(self.classifier.labels)

    def to_json(self) -> dict[str, Any]:
        """Return all but the weights as JSON."""
        facts = {name: value for name, value in vars(self).items() if name != "classifier"} | {
            "gain": vars(self.gain)
        }
        return {"model": self.classifier.model, "n_labels": self.n_labels, **facts}


def classifier_of_set(
    known: ClassSet,
    base: str,
    setting: Setting,
    *,
    more_labels: Sequence[str] = (),
    templates: Sequence[str] | None = None,
    seed: int = 0,
) -> TaughtClassifier:
    """Teach a classifier by the pictures of a class set.

    A picture under two labels, or whose copy is, is left out and named: nothing here says which label is wrong.

    Parameters
    ----------
    known : ClassSet
        Labelled pictures; classes of the same name are one label.
    base : str
        Encoder with words, as for `prepare_encoder`.
    setting : Setting
        With what, and whom to tell.
    more_labels : sequence of str
        Labels of which there are no pictures.
    templates : sequence of str or None
        Prompts with {} for the label; None are the default ones.
    seed : int
        Of the parts that are left out in turn.

    Raises
    ------
    TrainingError
        If the encoder knows no words, or there are fewer than two pictures.
    QueryError
        If labels or templates mean nothing.
    """
    encoder = setting.encoder(base)
    if not encoder.encoder.has_words:
        raise TrainingError(
            f"{encoder.encoder.name} knows no words, and so has no label prompts to begin with; expected a "
            "text-image model such as offline as --base"
        )
    labels = list(dict.fromkeys([*known.class_names, *more_labels]))
    prompts = class_embeddings(encoder.texts, labels, templates or DEFAULT_TEMPLATES)
    labelled = _Labelled.of(known, encoder, labels)
    learned = teach_classes(
        labelled.vectors, labelled.truth, prompts, logit_scale=encoder.encoder.logit_scale, seed=seed,
        traces=labelled.traces, on_fold=lambda done, total: setting.on_progress("folds", done, total),
    )  # fmt: skip
    model = lasting_name(encoder.encoder.name)
    return TaughtClassifier(
        Classifier(tuple(labels), learned.weights, model, encoder.encoder.fingerprint, labelled.traces),
        len(labelled.truth), learned.penalty, learned.loss_before, learned.loss_after, labelled.bad, learned.gain,
    )  # fmt: skip


@dataclass(frozen=True)
class _Labelled:
    """Pictures of a class set that have one label: unit vectors, labels, traces; what is wrong with others."""

    vectors: Matrix
    truth: Ids
    traces: Traces
    bad: list[Bad]

    @classmethod
    def of(cls, known: ClassSet, encoder: SetEncoder, labels: Sequence[str]) -> _Labelled:
        """Embed the pictures, unless their vectors are kept."""
        readable, vectors, bad = encoder.readable_pictures(known.name, known.pictures)
        paths = [known.pictures[position] for position in readable]
        traces = encoder.traces(paths)
        truth = np.array([labels.index(known.class_names[known.truth[position]]) for position in readable])
        doubtful = _under_two_labels(joined(len(vectors), copies_in(vectors, traces)), truth)
        rows = np.setdiff1d(np.arange(len(readable)), list(doubtful))
        named = [
            *bad_pictures(known.pictures, bad),
            *_doubtful_pictures(doubtful, paths, [labels[i] for i in truth]),
        ]
        return cls(vectors[rows], truth[rows], traces[rows], named)


def _under_two_labels(picture_ids: Ids, truth: Ids) -> dict[int, int]:
    """Return the rows of pictures that have several labels, each with a row of the same picture under another."""
    rows_of: dict[int, list[int]] = {}
    for row, picture in enumerate(picture_ids.tolist()):
        rows_of.setdefault(picture, []).append(row)
    others = {
        row: next((other for other in rows if truth[other] != truth[row]), None)
        for rows in rows_of.values()
        for row in rows
    }
    return {row: other for row, other in others.items() if other is not None}


def _doubtful_pictures(doubtful: dict[int, int], paths: Sequence[Path], labels: Sequence[str]) -> list[Bad]:
    """Return what is said of pictures under two labels."""
    return [
        {
            "path": str(paths[row]),
            "message": f"{paths[row]}: is under {labels[row]!r}, and as {paths[other]} under {labels[other]!r}; "
            "leave it under the right one",
        }
        for row, other in doubtful.items()
    ]
