"""Zero-shot classification over a class set: label prompts, ensembles of templates, accuracy, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.zeroshot import class_embeddings
from mmsearch.evaluation.encode import (
    SetEncoder,
    bad_pictures,
    described_encoders,
    refuse_repeated,
    require_words,
)
from mmsearch.evaluation.leakage import leakages_of_encoders
from mmsearch.evaluation.measures import Measure, compared, per_query
from mmsearch.evaluation.metrics.classification import (
    confusions,
    recall_per_class,
    top_k_accuracy,
)
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, RankedRelevant, Values, rank_relevant
from mmsearch.evaluation.metrics.uncertainty import effective_size, mean_interval, wilson_interval
from mmsearch.evaluation.ranking import Ranking, examples_of
from mmsearch.evaluation.records import ClassResult, Comparison, Interval, MeasuredReport, SetFacts
from mmsearch.evaluation.ties import BY_CLASS, ties_of
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

MEAN_RECALL = "mean per-class recall"
DEFINITIONS = {
    "top-1": "share of pictures whose most probable class is the true one",
    "top-5": "share of pictures whose true class is among the five most probable; absent below 5 classes",
    MEAN_RECALL: "mean over the classes of the share of their pictures that is classified right",
}
_TOP = 5


def run_classification(
    benchmark: ClassSet,
    encoders: Sequence[SetEncoder],
    ensembles: Mapping[str, Sequence[str]],
    *,
    seed: int = 0,
) -> MeasuredReport:
    """Measure encoders as zero-shot classifiers.

    Parameters
    ----------
    benchmark : ClassSet
        Pictures and their classes.
    encoders : sequence of SetEncoder
        With different models.
    ensembles : mapping of name to templates
        Each class is the mean of the embeddings of its prompts, renormalised.
    seed : int
        Of the intervals.

    Returns
    -------
    MeasuredReport
        The report as JSON: for every encoder and ensemble the measures with 95 % intervals and the non-zero
        entries `[true class, predicted class, pictures]` of the confusion matrix, and examples. A picture that
        cannot be read is named in `bad` and not counted.

    Raises
    ------
    GroundTruthError
        If no picture can be read, or a model is given twice.
    QueryError
        If an encoder knows no words.
    """
    refuse_repeated(encoders)
    require_words(encoders)
    results: dict[str, dict[str, ClassResult]] = {}
    values: dict[str, dict[str, dict[str, Values]]] = {name: {} for name in ensembles}
    bad: dict[int, str] = {}
    for encoder in encoders:
        readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
        results[encoder.encoder.name] = {}
        for name, templates in ensembles.items():
            scores = inner_products(pictures, _classes(benchmark, encoder, templates))
            result, accuracies = _measured(benchmark, readable, scores, seed)
            results[encoder.encoder.name][name], values[name][encoder.encoder.name] = result, accuracies
    return {
        "benchmark": "classify",
        "set": _set_facts(benchmark, bad),
        "seed": seed,
        "ties": BY_CLASS,
        "definitions": DEFINITIONS,
        "scales": dict.fromkeys(DEFINITIONS, "share"),
        "ensembles": {name: list(templates) for name, templates in ensembles.items()},
        "encoders": described_encoders(encoders),
        "leakage": leakages_of_encoders(encoders, benchmark.pictures),
        "results": results,
        "comparisons": _comparisons(values, seed) if len(encoders) > 1 else {},
    }


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
    benchmark: ClassSet, readable: Sequence[int], scores: Matrix, seed: int
) -> tuple[ClassResult, dict[str, Values]]:
    """Return the result of one encoder and ensemble, and by measure 1 or 0 for every picture."""
    truth, n_classes = np.array(benchmark.truth, dtype=np.int64)[readable], scores.shape[1]
    qrels, predicted = Qrels.from_lists(truth[:, None].tolist()), np.argmax(scores, axis=1)
    ranked = rank_relevant(scores, qrels)
    measures = _measures(truth, n_classes)
    values = per_query(ranked, measures)
    accuracies = {name: by_picture for name, by_picture in values.items() if name != MEAN_RECALL}
    intervals = {name: _mean(by_picture, seed) for name, by_picture in accuracies.items()}
    intervals[MEAN_RECALL] = _mean_recall(predicted, truth, n_classes)
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
