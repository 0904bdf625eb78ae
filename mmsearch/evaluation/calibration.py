"""What scores are worth: whether they tell answers that hold a match from others, and how often they err.

A search always finds something, and a classifier always has a most probable label. So everything is asked twice:
every caption with its pictures in the library and without them, every picture with its label among the labels and
without it; and texts that no picture answers are asked too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmsearch.datasets.sets import CaptionSet, ClassSet
from mmsearch.evaluation.answers import NOTES as OF_ANSWERS
from mmsearch.evaluation.answers import judged_answers
from mmsearch.evaluation.encode import (
    SetEncoder,
    bad_pictures,
    described_encoders,
    names_of,
    refuse_repeated,
    require_words,
)
from mmsearch.evaluation.judged import AREA, COVERAGES, DEFINITIONS, Judged, measured
from mmsearch.evaluation.labels import NOTES as OF_LABELS
from mmsearch.evaluation.labels import judged_labels
from mmsearch.evaluation.leakage import leakages_of_encoders
from mmsearch.evaluation.records import CalibrationResult, MeasuredReport, SetFacts

_TIES = "Equal scores count half where two kinds are told apart, and are one threshold."


def run_calibration(
    benchmark: CaptionSet | ClassSet,
    encoders: Sequence[SetEncoder],
    *,
    absent_names: Sequence[str] = (),
    seed: int = 0,
) -> MeasuredReport:
    """Measure what scores of encoders tell of matches, on a caption set, or of labels, on a class set.

    Parameters
    ----------
    benchmark : CaptionSet or ClassSet
        Of a caption set each text should come once, with all its pictures.
    encoders : sequence of SetEncoder
        With different models.
    absent_names : sequence of str
        Names of things, for a caption set; those that its captions mention are not asked.
    seed : int
        Of gibberish and of the intervals.

    Returns
    -------
    MeasuredReport
        The report as JSON: for every encoder and each of its scores the measures with 95 % intervals over pictures,
        the reliability diagram of those that are probabilities, and the risk-coverage curve. A picture that cannot
        be read is named in `bad` and not counted.

    Raises
    ------
    GroundTruthError
        If no picture can be read, or a model is given twice.
    QueryError
        If an encoder knows no words.
    """
    refuse_repeated(names_of(encoders))
    require_words(encoders)
    results: dict[str, dict[str, CalibrationResult]] = {}
    bad: dict[int, str] = {}
    for encoder in encoders:
        judged, bad = _judged(benchmark, encoder, absent_names, seed)
        for system, of_parts in judged.items():
            results[system] = {part: measured(of_part, seed=seed) for part, of_part in of_parts.items()}
    parts = dict.fromkeys(part for of_system in results.values() for part in of_system)
    used = {name for of_system in results.values() for result in of_system.values() for name in result["measures"]}
    definitions = {name: text for name, text in DEFINITIONS.items() if name in used}
    return {
        "benchmark": "calibration",
        "set": _set_facts(benchmark, bad),
        "seed": seed,
        "ties": _TIES,
        "definitions": definitions,
        "scales": {name: "number" if name == AREA else "share" for name in definitions},
        "coverage_levels": [round(float(level), 2) for level in COVERAGES],
        "encoders": described_encoders(encoders),
        "leakage": leakages_of_encoders(encoders, benchmark.pictures),
        "notes": [f"{part}: {(OF_ANSWERS | OF_LABELS)[part]}" for part in parts],
        "results": results,
        "comparisons": {},
    }


def _judged(
    benchmark: CaptionSet | ClassSet, encoder: SetEncoder, absent_names: Sequence[str], seed: int
) -> tuple[dict[str, dict[str, Judged]], dict[int, str]]:
    """Return by score and part what an encoder says, and what is bad."""
    if isinstance(benchmark, CaptionSet):
        return judged_answers(benchmark, encoder, absent_names, seed=seed)
    return judged_labels(benchmark, encoder)


def _set_facts(benchmark: CaptionSet | ClassSet, bad: Mapping[int, str]) -> SetFacts:
    facts: SetFacts = {
        "name": benchmark.name,
        "n_pictures": len(benchmark.pictures),
        "bad": bad_pictures(benchmark.pictures, bad),
    }
    if isinstance(benchmark, CaptionSet):
        facts["n_texts"] = len(benchmark.texts)
    else:
        facts["n_classes"], facts["left_out"] = len(benchmark.class_names), list(benchmark.left_out)
    return facts
