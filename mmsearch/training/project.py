"""From pictures of the same things to an image encoder in a folder: teach, judge, write, export."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mmsearch.encoders.learned import PROJECTION
from mmsearch.encoders.whitening import Whitening, whiten
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.metrics.ranks import Ids
from mmsearch.evaluation.records import Bad
from mmsearch.records import Matrix
from mmsearch.samples import sample_folder
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.judge import Distances, Improvement, Value, distances_of, improvement, measured
from mmsearch.training.pairs import (
    PairFeatures,
    PairOptions,
    Projection,
    Questions,
    held_out_things,
    teach_projection,
)
from mmsearch.training.setting import Setting
from mmsearch.training.things import Shown, WarpedPictures
from mmsearch.training.trainer import Epoch, RunState, arrays_digest

BASE, CLOSED_FORM, LEARNED = "base", "learned whitening", "learned"
_N_SAMPLE_WARPS = 4

Source = Callable[[SetEncoder], Shown]
"""Returns what is learned from, by an encoder."""


@dataclass(frozen=True)
class PairReport:
    """What a training by pairs did; `measures[measure][system]` are of the things that were held out.

    `encoder` is the fingerprint of what was learned, None where the base is kept since nothing certain was gained.
    `samples` are the shares of warped sample photographs that are found first, before and after: pictures that had
    no part in the training. `n_held_out` things were not trained on; the `n_validation` of them that did not choose
    the epoch judge. `n_pairs_dissimilar` pairs were said to be so, others were mined.
    """

    set_name: str
    base: str
    base_fingerprint: str
    n_pictures: int
    n_things: int
    n_pairs_similar: int
    n_pairs_dissimilar: int
    n_held_out: int
    n_validation: int
    settings: dict[str, Any]
    history: list[Epoch]
    measures: dict[str, dict[str, Value]]
    improvement: Improvement
    distances: dict[str, Distances]
    bad: list[Bad]
    seconds: float = 0.0
    encoder: str | None = None
    samples: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"training": "pairs", **asdict(self)}


def adapt_to_pairs(
    name: str,
    source: Source,
    base: str,
    folder: TrainingFolder,
    options: PairOptions,
    setting: Setting,
    *,
    is_resuming: bool = False,
) -> PairReport:
    """Teach a projection by pictures of the same things, and write it if those held out are found better by it.

    Parameters
    ----------
    name : str
        Of the set, for the report.
    source : callable
        Where pictures and things come from.
    base : str
        Encoder whose image vectors are projected; what is written knows no words.
    folder, options, setting
        Where the encoder goes, how it is taught, and with what.
    is_resuming : bool
        Go on with a run that was killed.

    Returns
    -------
    PairReport
        Its `encoder` is None if the things held out were not found better beyond the interval.

    Raises
    ------
    TrainingError
        If there are too few things, or a state is of another run.
    """
    started = time.monotonic()
    folder.check(base)
    encoder = setting.encoder(base)
    shown = source(encoder)
    features = shown.features
    training, choosing, judging = held_out_things(features, options.validation, options.seed)
    data = arrays_digest(*vars(features).values())
    settings = {"base": encoder.encoder.fingerprint, "data": data, **vars(options)}
    learned = teach_projection(
        features.of_things(training), features, choosing, options,
        state=RunState(folder.state, settings, is_resuming), on_epoch=setting.on_epoch,
    )  # fmt: skip
    report = replace(
        _judged(name, features, judging, learned, options, n_held_out=len(choosing) + len(judging)),
        base=encoder.encoder.name,
        base_fingerprint=encoder.encoder.fingerprint,
        bad=[{"path": str(path), "message": message} for path, message in shown.bad.items()],
    )
    if report.improvement.is_certain:
        folder.write(_config(encoder, learned, options, report), vars(learned.whitening), shown.traces)
        written = setting.encoder(str(folder.path))
        samples = _samples(encoder, lambda descriptors: _projected(descriptors, learned.whitening, options.keep))
        report = replace(report, encoder=written.encoder.fingerprint, samples=samples)
    folder.end()
    return replace(report, seconds=round(time.monotonic() - started, 1))


def _config(encoder: SetEncoder, learned: Projection, options: PairOptions, report: PairReport) -> dict[str, Any]:
    base, curve = encoder.encoder, [asdict(epoch) for epoch in learned.history]
    return {
        "kind": PROJECTION,
        "base": {"model": base.name, "fingerprint": base.fingerprint},
        "keep": options.keep,
        "logit_scale": 1.0,
        "training": {
            "by": "pairs",
            "n_pictures": report.n_pictures,
            "n_things": report.n_things,
            "n_pairs_similar": report.n_pairs_similar,
            "n_pairs_dissimilar": report.n_pairs_dissimilar,
            "n_held_out": report.n_held_out,
            "n_bad": len(report.bad),
            "settings": vars(options),
            "curve": curve,
        },
    }


def _projected(descriptors: Matrix, whitening: Whitening, keep: float) -> Matrix:
    """Return descriptors as the encoder that is written gives them."""
    projected = whiten(descriptors, whitening)
    if keep == 0:
        return projected
    return np.concatenate([keep**0.5 * descriptors, (1 - keep) ** 0.5 * projected], axis=1)


def _judged(
    name: str, features: PairFeatures, held_out: Ids, learned: Projection, options: PairOptions, *, n_held_out: int
) -> PairReport:
    systems = {
        BASE: features.descriptors,
        CLOSED_FORM: whiten(features.descriptors, learned.start),
        LEARNED: _projected(features.descriptors, learned.judged, options.keep),
    }
    questions = Questions.of(features, held_out)
    groups = np.unique(features.things[questions.asked], return_inverse=True)[1].reshape(-1)
    precision = {system: questions.precision(vectors) for system, vectors in systems.items()}
    first = {system: questions.hits(vectors) for system, vectors in systems.items()}
    return PairReport(
        set_name=name,
        base="",
        base_fingerprint="",
        n_pictures=len(features.things),
        n_things=len(np.unique(features.things)),
        n_pairs_similar=len(features.pairs()),
        n_pairs_dissimilar=len(features.dissimilar),
        n_held_out=n_held_out,
        n_validation=len(held_out),
        settings=vars(options),
        history=learned.history,
        measures={
            measure: {system: measured(values, groups) for system, values in of_systems.items()}
            for measure, of_systems in (("R@1", first), ("mAP", precision))
        },
        improvement=improvement([precision[BASE]], [precision[LEARNED]], [groups]),
        distances={system: _distances(systems[system], features, held_out) for system in (BASE, LEARNED)},
        bad=[],
    )


def _distances(vectors: Matrix, features: PairFeatures, held_out: Ids) -> Distances:
    """Return distances of similar and of dissimilar pictures, of the things held out."""
    of_held_out = features.of_things(held_out)
    rows = np.flatnonzero(np.isin(features.things, held_out))
    shown = vectors[rows]
    return distances_of(
        shown, shown, of_held_out.pairs(), is_same=lambda a, b: of_held_out.things[a] == of_held_out.things[b]
    )


def _samples(encoder: SetEncoder, projected: Callable[[Matrix], Matrix]) -> tuple[float, float]:
    """Return the shares of warped sample photographs that are found first, before and after."""
    paths = sorted(sample_folder().glob("*.jpg"))
    features = WarpedPictures(encoder, _N_SAMPLE_WARPS).features("samples", paths).features
    questions = Questions.of(features, np.unique(features.things))
    before, after = (
        float(questions.hits(vectors).mean()) for vectors in (features.descriptors, projected(features.descriptors))
    )
    return before, after
