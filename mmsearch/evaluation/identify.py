"""Identification over an instance set: who is known, and who is taken for another once half of all are removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.arguments import FALSE_RATE
from mmsearch.datasets.identities import groups_of, names_of_groups
from mmsearch.datasets.sets import InstanceSet
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder, described_encoders, names_of, refuse_repeated
from mmsearch.evaluation.leakage import leakages_of_encoders
from mmsearch.evaluation.local import LocalOptions, words_library
from mmsearch.evaluation.metrics.ranks import Ids
from mmsearch.evaluation.metrics.uncertainty import effective_size, wilson_interval
from mmsearch.evaluation.records import Bad, IdentityCounts, IdentityResult, Interval, MeasuredReport
from mmsearch.records import Identification, Term

RANK_1, IDENTIFIED, ACCEPTED = "rank-1", "identified", "strangers accepted"
AT_FALSE = {"identified at 1 % false": 0.01, "identified at 5 % false": 0.05}
DEFINITIONS = {
    RANK_1: "share of queries whose likeliest identity, believed or not, is the right one, of those in the gallery",
    IDENTIFIED: "share of the same queries that are given the right identity",
    ACCEPTED: "share of queries of identities that were removed from the gallery, or never were in it, that are "
    "given one; lower is better",
    **{
        name: "share of the queries of those in the gallery that are given the right identity, where the threshold "
        f"lets at most {rate:.0%} of strangers pass (open-set identification rate)"
        for name, rate in AT_FALSE.items()
    },
}
_TOGETHER = 64  # queries between two looks at how far it is
_BY_NAME = "Of identities of equal scores the first by its name is taken."


@dataclass(frozen=True)
class _OpenSet:
    """The identities of a set, of which some are removed from its gallery.

    `group_of_query` has -1 for a query that shows none, `removed` the groups that are.
    """

    groups: list[int]
    names: list[str]
    group_of_query: Ids
    removed: frozenset[int]

    @classmethod
    def of(cls, benchmark: InstanceSet, seed: int) -> _OpenSet:
        groups = groups_of(benchmark)
        group_of_query = np.full(len(benchmark.queries), -1, dtype=np.int64)
        for task in benchmark.tasks.values():
            for query, relevant in enumerate(task.relevant):
                if relevant:
                    group_of_query[query] = groups[relevant[0]]
        asked = np.unique(group_of_query[group_of_query >= 0])
        if len(asked) < 2 or len(set(groups)) - len(asked) // 2 < 2:
            raise GroundTruthError(
                f"{benchmark.name}: number of identities that its queries show: {len(asked)}; expected two or "
                "more, half of which are removed from the gallery, and two that stay"
            )
        removed = np.random.default_rng(seed).permutation(asked)[: len(asked) // 2]
        return cls(groups, names_of_groups(benchmark.gallery, groups), group_of_query, frozenset(removed.tolist()))

    def identities(self, gallery: Sequence[Path]) -> dict[Path, str]:
        """Return the names of those that stay, by their pictures."""
        return {
            path: self.names[group]
            for path, group in zip(gallery, self.groups, strict=True)
            if group not in self.removed
        }


def run_identification(benchmark: InstanceSet, encoders: Sequence[SetEncoder], *, seed: int = 0) -> MeasuredReport:
    """Measure how well the individuals of a gallery are known, and others not taken for them.

    Parameters
    ----------
    benchmark : InstanceSet
        Gallery pictures that are relevant to one query are of one identity, all others each of its own. A query
        that is in the gallery does not count for itself there.
    encoders : sequence of SetEncoder
        Each beside local features.
    seed : int
        Of the half of the identities with queries that is removed from the gallery.

    Returns
    -------
    MeasuredReport
        The report as JSON: for every encoder the measures with 95 % intervals over identities, and the counts of
        each identity. A picture that cannot be read is named in `bad`; as a query it is not counted.

    Raises
    ------
    GroundTruthError
        If there are too few identities, or a model is given twice.
    VocabularyError
        If OpenCV is not installed.
    """
    refuse_repeated(names_of(encoders))
    open_set = _OpenSet.of(benchmark, seed)
    results, bad = dict[str, dict[str, IdentityResult]](), list[Bad]()
    notes = [
        f"removed from the gallery, drawn with seed {seed}: {len(open_set.removed)} of the identities; where "
        f"nothing is verified, {FALSE_RATE:.0%} of strangers may be taken for known ones"
    ]
    for encoder in encoders:
        answers, bad, has_words = _answers(benchmark, open_set, encoder)
        if not has_words:
            notes.append(f"{encoder.encoder.name}: nothing is verified, as the gallery has too few local features")
        results[encoder.encoder.name] = {"all": measured(answers, open_set.group_of_query, open_set)}
    return {
        "benchmark": "identify",
        "set": {
            "name": benchmark.name,
            "n_pictures": len(benchmark.gallery),
            "n_queries": len(benchmark.queries),
            "bad": bad,
            "left_out": list(benchmark.left_out),
        },
        "seed": seed,
        "ties": _BY_NAME,
        "definitions": DEFINITIONS,
        "scales": dict.fromkeys(DEFINITIONS, "share"),
        "encoders": described_encoders(encoders),
        "leakage": leakages_of_encoders(encoders, benchmark.pictures),
        "notes": notes,
        "results": results,
        "comparisons": {},
    }


def _answers(
    benchmark: InstanceSet, open_set: _OpenSet, encoder: SetEncoder
) -> tuple[list[Identification], list[Bad], bool]:
    """Return whom each query shows by a gallery without the removed ones, what is bad, and whether it has words."""
    identities = open_set.identities(benchmark.gallery)
    answers: list[Identification] = []
    with words_library(encoder, list(identities), LocalOptions()) as library:
        status = library.status()
        bad: list[Bad] = [
            {"path": picture.path, "message": f"{picture.path}: {picture.message}"} for picture in status.bad
        ]
        terms = [Term(path, box=box) for path, box in zip(benchmark.queries, benchmark.boxes, strict=True)]
        for start in range(0, len(terms), _TOGETHER):
            answers += library.identify(terms[start : start + _TOGETHER], identities, is_itself_left_out=True)
            encoder.on_progress("search", len(answers), len(terms))
    known_bad = {picture["path"] for picture in bad}
    for path, answer in zip(benchmark.queries, answers, strict=True):
        if answer.error is not None and str(path.absolute()) not in known_bad:
            bad.append({"path": str(path), "message": answer.error})
    return answers, bad, status.local is not None


def measured(answers: Sequence[Identification], group_of_query: Ids, open_set: _OpenSet) -> IdentityResult:
    """Return the measures of answers to queries, whose true groups are given, and the counts of each identity."""
    readable = np.array([answer.error is None for answer in answers])
    truth = group_of_query[readable]
    given = [answer for answer in answers if answer.error is None]
    is_known = (truth >= 0) & ~np.isin(truth, list(open_set.removed))
    true_names = [open_set.names[group] if group >= 0 else "" for group in truth]
    is_best_right = np.array([answer.best == name for answer, name in zip(given, true_names, strict=True)])
    is_accepted = np.array([answer.identity is not None for answer in given])
    values = {
        RANK_1: (is_best_right, is_known),
        IDENTIFIED: (is_best_right & is_accepted, is_known),
        ACCEPTED: (is_accepted, ~is_known),
    }
    for name, rate in AT_FALSE.items():
        passing = passes([strength_of(answer) for answer in given], ~is_known, rate)
        values[name] = (is_best_right & passing, is_known)
    return {
        "n_queries": len(given),
        "n_known": int(is_known.sum()),
        "n_strangers": int((~is_known).sum()),
        "measures": {name: _share(is_true[of], truth[of]) for name, (is_true, of) in values.items()},
        "identities": _counts(truth, is_best_right, is_accepted, open_set),
    }


def strength_of(answer: Identification) -> tuple[float, float, float]:
    """Return by what answers are compared, more is surer: verified places, then how few strangers are as near."""
    chance = 1.0 if answer.chance is None else answer.chance
    return float(answer.n_inliers), -chance, answer.score if answer.score is not None else -1.0


def passes(strengths: Sequence[tuple[float, ...]], is_stranger: np.ndarray, rate: float) -> np.ndarray:
    """Return which answers are above the lowest threshold that lets at most that share of strangers pass.

    >>> passes([(3.0,), (1.0,), (2.0,), (0.0,)], np.array([False, False, True, True]), 0.49).tolist()
    [True, False, False, False]
    """
    strangers = sorted((s for s, is_one in zip(strengths, is_stranger, strict=True) if is_one), reverse=True)
    n_passing = int(rate * len(strangers))
    if n_passing >= len(strangers):
        return np.ones(len(strengths), dtype=bool)
    return np.array([strength > strangers[n_passing] for strength in strengths])


def _share(is_true: np.ndarray, groups: Ids) -> Interval:
    """Return a share of queries with Wilson's interval over their identities; NaN without queries."""
    if not len(is_true):
        return {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    values, share = is_true.astype(np.float64), float(is_true.mean())
    low, high = wilson_interval(share, effective_size(values, np.unique(groups, return_inverse=True)[1]))
    return {"value": share, "low": low, "high": high}


def _counts(
    truth: Ids, is_best_right: np.ndarray, is_accepted: np.ndarray, open_set: _OpenSet
) -> list[IdentityCounts]:
    """Return what became of the queries of each identity, those that are not in the gallery last."""
    counts: list[IdentityCounts] = []
    for group in np.unique(truth[truth >= 0]).tolist():
        of = truth == group
        counts.append(
            {
                "identity": open_set.names[group],
                "is_removed": group in open_set.removed,
                "n_queries": int(of.sum()),
                "n_likeliest": int((is_best_right & of).sum()),
                "n_identified": int((is_best_right & is_accepted & of).sum()),
                "n_accepted": int((is_accepted & of).sum()),
            }
        )
    return sorted(counts, key=lambda count: count["is_removed"])
