"""Classification of a class set: by label prompts in ensembles of templates, or by classifiers that were taught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.zeroshot import ZeroShotClassifier, class_embeddings, probabilities
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import (
    SetEncoder,
    bad_pictures,
    described_encoders,
    names_of,
    refuse_repeated,
    require_words,
)
from mmsearch.evaluation.leakage import leakages, traces_behind
from mmsearch.evaluation.measures import Measure, compared, per_query
from mmsearch.evaluation.metrics.calibration import calibration_error, calibration_error_of_counts
from mmsearch.evaluation.metrics.classification import confusions, recall_per_class, top_k_accuracy
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, RankedRelevant, Values, rank_relevant
from mmsearch.evaluation.metrics.uncertainty import (
    bootstrap_interval,
    effective_size,
    mean_interval,
    wilson_interval,
)
from mmsearch.evaluation.ranking import Ranking, examples_of
from mmsearch.evaluation.records import ClassResult, Comparison, Interval, Leakage, MeasuredReport, SetFacts
from mmsearch.evaluation.ties import BY_CLASS, ties_of
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

MEAN_RECALL, CALIBRATION = "mean per-class recall", "calibration error"
DEFINITIONS = {
    "top-1": "share of pictures whose most probable class is the true one",
    "top-5": "share of pictures whose true class is among the five most probable; absent below 5 classes",
    MEAN_RECALL: "mean over the classes of the share of their pictures that is classified right",
    CALIBRATION: "gap between the probability of the most probable class and the share of pictures for which it is "
    "right, mean over 15 bins of that probability; lower is better",
}
_TOP = 5
_UNKNOWN = 100.0  # below all logits: no probability is left for a class that a classifier does not know
_N_NAMED = 5  # classes in a sentence


@dataclass(frozen=True)
class Taught:
    """A classifier that was taught by pictures, beside the zero-shot prompts of its base.

    Attributes
    ----------
    name : str
        For the report, such as the path of its file.
    classifier : Classifier
    base : SetEncoder
        Whose vectors it is for.
    """

    name: str
    classifier: Classifier
    base: SetEncoder

    @classmethod
    def of(cls, name: str, classifier: Classifier, encoders: Sequence[SetEncoder]) -> Taught:
        """Return a classifier with that of several encoders which is its base.

        Raises
        ------
        FingerprintError
            If none is.
        """
        base = next((e for e in encoders if e.encoder.fingerprint == classifier.fingerprint), encoders[-1])
        classifier.check(base.encoder.name, base.encoder.fingerprint)
        return cls(name, classifier, base)


def run_classification(
    benchmark: ClassSet,
    encoders: Sequence[SetEncoder],
    ensembles: Mapping[str, Sequence[str]],
    *,
    classifiers: Sequence[Taught] = (),
    seed: int = 0,
) -> MeasuredReport:
    """Measure encoders as zero-shot classifiers, and classifiers that were taught.

    Parameters
    ----------
    benchmark : ClassSet
        Pictures and their classes.
    encoders : sequence of SetEncoder
        With different models, the bases of classifiers among them.
    ensembles : mapping of name to templates
        Each class is the mean of the embeddings of its prompts, renormalised.
    classifiers : sequence of Taught
        Of their labels the classes of the set compete; each has the same result in all ensembles.
    seed : int
        Of the intervals.

    Returns
    -------
    MeasuredReport
        The report as JSON: for every system and ensemble the measures with 95 % intervals, the recall of each
        class, the confusions, and examples. A picture that cannot be read is named in `bad` and not counted.

    Raises
    ------
    GroundTruthError
        If no picture can be read, a system is given twice, or a classifier knows no class of the set.
    QueryError
        If an encoder knows no words.
    """
    refuse_repeated([*names_of(encoders), *(taught.name for taught in classifiers)])
    require_words(encoders)
    results: dict[str, dict[str, ClassResult]] = {}
    values: dict[str, dict[str, dict[str, Values]]] = {name: {} for name in ensembles}
    for system, encoder, scored in _systems(benchmark, encoders, classifiers, ensembles):
        readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
        results[system] = {}
        for name, scores, shares in scored(pictures):
            result, accuracies = _measured(benchmark, readable, scores, shares, seed)
            results[system][name], values[name][system] = result, accuracies
    return {
        "benchmark": "classify",
        "set": _set_facts(benchmark, bad),
        "seed": seed,
        "ties": BY_CLASS,
        "definitions": DEFINITIONS,
        "scales": dict.fromkeys(DEFINITIONS, "share"),
        "ensembles": {name: list(templates) for name, templates in ensembles.items()},
        "encoders": described_encoders(encoders),
        "leakage": _leakages(benchmark, encoders, classifiers),
        "notes": [note for taught in classifiers for note in _label_notes(benchmark, taught)],
        "results": results,
        "comparisons": _comparisons(values, seed) if len(results) > 1 else {},
    }


Scored: TypeAlias = Callable[[Matrix], Iterator[tuple[str, Matrix, NDArray[np.float64]]]]
"""Given unit vectors of pictures, yields ensembles, scores and probabilities of classes, (n_pictures, n_classes).

The probabilities are those that people are told: of labels that are open, where the encoder is calibrated.
"""


def _systems(
    benchmark: ClassSet,
    encoders: Sequence[SetEncoder],
    classifiers: Sequence[Taught],
    ensembles: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, SetEncoder, Scored]]:
    """Yield every system by its name, with the encoder whose vectors it is given."""
    for encoder in encoders:

        def zero_shot(
            pictures: Matrix, encoder: SetEncoder = encoder
        ) -> Iterator[tuple[str, Matrix, NDArray[np.float64]]]:
            for name, templates in ensembles.items():
                classes = _classes(benchmark, encoder, templates)
                classifier = ZeroShotClassifier.of(encoder.encoder, benchmark.class_names, classes, "open")
                yield name, inner_products(pictures, classes), classifier.probabilities(pictures).labels

        yield encoder.encoder.name, encoder, zero_shot
    for taught in classifiers:
        columns = _columns(benchmark, taught)

        def learned(
            pictures: Matrix, taught: Taught = taught, columns: Ids = columns
        ) -> Iterator[tuple[str, Matrix, NDArray[np.float64]]]:
            logits = taught.classifier.logits(pictures)
            of_classes = np.where(columns >= 0, logits[:, columns], logits.min(axis=1, keepdims=True) - _UNKNOWN)
            shares = probabilities(of_classes)
            yield from ((name, of_classes, shares) for name in ensembles)

        yield taught.name, taught.base, learned


def _columns(benchmark: ClassSet, taught: Taught) -> Ids:
    """Return the label of a classifier that every class of the set is, -1 for those that it does not know."""
    label_of = {label: column for column, label in enumerate(taught.classifier.labels)}
    columns = np.array([label_of.get(name, -1) for name in benchmark.class_names], dtype=np.int64)
    if (columns < 0).all():
        raise GroundTruthError(
            f"{taught.name} knows none of the classes of {benchmark.name}: its labels are "
            f"{_some(taught.classifier.labels)}, the classes are {_some(benchmark.class_names)}"
        )
    return columns


def _label_notes(benchmark: ClassSet, taught: Taught) -> list[str]:
    """Return sentences on classes that a classifier does not know, and on its labels that are none of the set."""
    known, asked = taught.classifier.labels, list(dict.fromkeys(benchmark.class_names))
    missing, more = (
        [name for name in asked if name not in set(known)],
        [label for label in known if label not in set(asked)],
    )
    notes = []
    if missing:
        notes.append(
            f"{taught.name} does not know {len(missing)} of the {len(asked)} classes of {benchmark.name} "
            f"({_some(missing)}): their pictures count as wrong"
        )
    if more:
        notes.append(
            f"{taught.name} knows labels that {benchmark.name} does not have, {len(more)} ({_some(more)}): they do "
            "not compete"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_N_NAMED]) + (", ..." if len(names) > _N_NAMED else "")


def _leakages(
    benchmark: ClassSet, encoders: Sequence[SetEncoder], classifiers: Sequence[Taught]
) -> dict[str, Leakage]:
    """Return what systems were taught by: a classifier by its own pictures, and by those of its base."""
    trainings = {encoder.encoder.name: traces_behind(encoder.encoder.name) for encoder in encoders}
    for taught in classifiers:
        trainings[taught.name] = [taught.classifier.pictures, *traces_behind(taught.base.encoder.name)]
    return leakages(trainings, benchmark.pictures, encoders[0].traces)


def _set_facts(benchmark: ClassSet, bad: dict[int, str]) -> SetFacts:
    return {
        "name": benchmark.name,
        "n_pictures": len(benchmark.pictures),
        "n_classes": len(benchmark.class_names),
        "class_names": list(benchmark.class_names),
        "bad": bad_pictures(benchmark.pictures, bad),
        "left_out": list(benchmark.left_out),
    }


def _classes(benchmark: ClassSet, encoder: SetEncoder, templates: Sequence[str]) -> Matrix:
    """Return one row a class; classes of the same name have the same."""
    names = list(dict.fromkeys(benchmark.class_names))
    rows = class_embeddings(encoder.texts, names, templates)
    row_of = {name: row for row, name in enumerate(names)}
    return rows[[row_of[name] for name in benchmark.class_names]]


def _comparisons(
    values: Mapping[str, Mapping[str, Mapping[str, Values]]], seed: int
) -> dict[str, list[Comparison]]:
    """Return the paired tests between encoders of each ensemble; none where they read different pictures."""
    comparisons = {}
    for ensemble, of_encoders in values.items():
        first = next(iter(of_encoders.values()))
        if len({len(of_measures["top-1"]) for of_measures in of_encoders.values()}) == 1:
            comparisons[ensemble] = compared(of_encoders, names=tuple(first), seed=seed)
    return comparisons


def _measured(
    benchmark: ClassSet, readable: Sequence[int], scores: Matrix, shares: NDArray[np.float64], seed: int
) -> tuple[ClassResult, dict[str, Values]]:
    """Return the result of one system and ensemble, and by measure 1 or 0 for every picture."""
    truth, n_classes = np.array(benchmark.truth, dtype=np.int64)[readable], scores.shape[1]
    qrels, predicted = Qrels.from_lists(truth[:, None].tolist()), np.argmax(scores, axis=1)
    ranked = rank_relevant(scores, qrels)
    measures = _measures(truth, n_classes)
    values = per_query(ranked, measures)
    accuracies = {name: by_picture for name, by_picture in values.items() if name != MEAN_RECALL}
    intervals = {name: _mean(by_picture, seed) for name, by_picture in accuracies.items()}
    intervals[MEAN_RECALL] = _mean_recall(predicted, truth, n_classes)
    intervals[CALIBRATION] = _calibration(shares, truth, seed)
    ranking = Ranking(
        [{"path": str(benchmark.pictures[position])} for position in readable],
        [{"text": name} for name in benchmark.class_names],
        lambda ids: scores[ids],
        qrels,
        truth,
    )
    result: ClassResult = {
        "n_pictures": len(truth),
        "measures": intervals,
        **ties_of(ranked, measures).to_json(measures),
        "examples": examples_of(ranking, 1 / ranked.ranks.astype(np.float64), seed=seed),
        "confusion": confusions(predicted, truth, n_classes).tolist(),
        "recall_per_class": recall_per_class(predicted, truth, n_classes).tolist(),
    }
    return result, accuracies


def _measures(truth: Ids, n_classes: int) -> list[Measure]:
    """Return the measures as means over pictures; in the mean per-class recall those of rare classes weigh more."""
    sizes = np.bincount(truth)
    weights = len(truth) / (np.count_nonzero(sizes) * sizes[truth])
    ks = (1, _TOP) if n_classes >= _TOP else (1,)
    return [
        *(Measure(f"top-{k}", DEFINITIONS[f"top-{k}"], partial(_is_in_top, k)) for k in ks),
        Measure(MEAN_RECALL, DEFINITIONS[MEAN_RECALL], lambda ranked: weights * _is_in_top(1, ranked)),
    ]


def _is_in_top(k: int, ranked: RankedRelevant) -> Values:
    return top_k_accuracy(ranked.ranks, k)


def _mean(values: Values, seed: int) -> Interval:
    low, high = mean_interval(values, seed=seed)
    return {"value": float(values.mean()), "low": low, "high": high}


def _mean_recall(predicted: Ids, truth: Ids, n_classes: int) -> Interval:
    """Return the mean of the recalls of the classes, a share of pictures in which all classes weigh the same."""
    value = float(np.nanmean(recall_per_class(predicted, truth, n_classes)))
    is_right, weights = (predicted == truth).astype(np.float64), 1 / np.bincount(truth)[truth]
    low, high = wilson_interval(value, effective_size(is_right, np.arange(len(truth)), weights))
    return {"value": value, "low": low, "high": high}


def _calibration(shares: NDArray[np.float64], truth: Ids, seed: int) -> Interval:
    confidences, is_right = shares.max(axis=1), (shares.argmax(axis=1) == truth).astype(np.float64)
    value = calibration_error(confidences, is_right)
    of_counts = calibration_error_of_counts(confidences, is_right)
    low, high = bootstrap_interval(confidences, of_counts=of_counts, seed=seed)
    return {"value": value, "low": min(low, value), "high": max(high, value)}
