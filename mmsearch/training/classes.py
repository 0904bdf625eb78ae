"""From labelled pictures to a classifier: embed, teach, name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES
from mmsearch.encoders.zeroshot import class_embeddings
from mmsearch.evaluation.encode import bad_pictures
from mmsearch.evaluation.records import Bad
from mmsearch.training.few_shot import teach_classes
from mmsearch.training.setting import Setting


@dataclass(frozen=True)
class TaughtClassifier:
    """A classifier, and how it came to be.

    Losses are mean -log probabilities of the right label, of pictures left out. `penalty` is None where the prompts
    alone were best.
    """

    classifier: Classifier
    n_pictures: int
    penalty: float | None
    loss_before: float
    loss_after: float
    bad: list[Bad]

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return len(self.classifier.labels)

    def to_json(self) -> dict[str, Any]:
        """Return all but the weights as JSON."""
        facts = {name: value for name, value in vars(self).items() if name != "classifier"}
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
        If there are fewer than two pictures.
    QueryError
        If the encoder knows no words, or labels or templates mean nothing.
    """
    encoder = setting.encoder(base)
    encoder.encoder.require_words()
    labels = list(dict.fromkeys([*known.class_names, *more_labels]))
    prompts = class_embeddings(encoder.texts, labels, templates or DEFAULT_TEMPLATES)
    readable, vectors, bad = encoder.readable_pictures(known.name, known.pictures)
    truth = np.array([labels.index(known.class_names[known.truth[position]]) for position in readable])
    learned = teach_classes(
        vectors, truth, prompts, logit_scale=encoder.encoder.logit_scale, seed=seed,
        on_fold=lambda done, total: setting.on_progress("folds", done, total),
    )  # fmt: skip
    classifier = Classifier(tuple(labels), learned.weights, encoder.encoder.name, encoder.encoder.fingerprint)
    return TaughtClassifier(
        classifier, len(readable), learned.penalty, learned.loss_before, learned.loss_after,
        bad_pictures(known.pictures, bad),
    )  # fmt: skip
