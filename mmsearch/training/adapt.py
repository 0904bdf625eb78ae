"""From a caption set to an encoder in a folder: embed, teach, judge, write, export, and see what was forgotten."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mmsearch.datasets.sets import CaptionSet
from mmsearch.encoders.prepare import AUTO, features_model
from mmsearch.encoders.templates import imagenet_class_names
from mmsearch.encoders.zeroshot import class_embeddings
from mmsearch.errors import TrainingError
from mmsearch.evaluation.encode import SetEncoder, bad_pictures
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.evaluation.records import Bad
from mmsearch.evaluation.retrieval import TEXT_TO_IMAGE
from mmsearch.records import Matrix
from mmsearch.samples import sample_folder
from mmsearch.traces import Traces
from mmsearch.training.canonical import canonical_vectors
from mmsearch.training.captions import (
    CaptionFeatures,
    CaptionOptions,
    TeachingOptions,
    held_out,
    retrieval_hits,
)
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.heads import Heads, teach_heads
from mmsearch.training.judge import Distances, Improvement, Value, distances_of, improvement, measured
from mmsearch.training.setting import Setting
from mmsearch.training.towers import TowerOptions, Towers, require_open_clip, teach_towers
from mmsearch.training.trainer import Epoch, RunState, arrays_digest
from mmsearch.vectors import inner_products, top_k

BASE, CANONICAL, LEARNED = "base", "canonical correlation", "learned"
_N_CHANGED = 6  # queries shown that became better, and as many that became worse
_N_SHOWN = 5  # pictures of each


@dataclass(frozen=True)
class ChangedQuery:
    """A validation caption whose picture changed its rank: the first pictures before and after, by path."""

    text: str
    picture: str
    rank_before: int
    rank_after: int
    before: list[str]
    after: list[str]


@dataclass(frozen=True)
class Forgetting:
    """What the encoder still knows of the sample photographs and of the class names of ImageNet.

    Attributes
    ----------
    n_pictures : int
        Sample photographs.
    names_before, names_after : float
        Share whose own name, such as `great wall`, finds them first.
    same_class : float
        Share to which the learned encoder gives the same of 1,000 class names as the base does.
    """

    n_pictures: int
    names_before: float
    names_after: float
    same_class: float


@dataclass(frozen=True)
class CaptionReport:
    """What a training by captions did; `measures[measure][system]` are of the validation part.

    `n_held_out` pictures were not trained on; the `n_validation` of them that did not choose the epoch judge.

    `encoder` is the fingerprint of what was learned, None where the base is kept since nothing certain was gained.
    """

    set_name: str
    n_pictures: int
    n_texts: int
    n_held_out: int
    n_validation: int
    settings: dict[str, Any]
    history: list[Epoch]
    measures: dict[str, dict[str, Value]]
    improvement: Improvement
    distances: dict[str, Distances]
    better: list[ChangedQuery]
    worse: list[ChangedQuery]
    bad: list[Bad]
    base: str = ""
    base_fingerprint: str = ""
    seconds: float = 0.0
    encoder: str | None = None
    forgetting: Forgetting | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"training": "captions", **asdict(self)}


def adapt_to_captions(
    known: CaptionSet,
    base: str,
    folder: TrainingFolder,
    options: CaptionOptions | TowerOptions,
    setting: Setting,
    *,
    is_resuming: bool = False,
) -> CaptionReport:
    """Teach an encoder by captioned pictures, and write it if held-out pictures are found better by it.

    Parameters
    ----------
    known : CaptionSet
        Pictures with their captions.
    base : str
        Model to begin with, as for `prepare_encoder`.
    folder, options, setting
        Where the encoder goes, how it is taught, and with what: `CaptionOptions` teach heads on towers that stay as
        they are, `TowerOptions` the towers themselves.
    is_resuming
        Go on with a run that was killed.

    Returns
    -------
    CaptionReport
        Its `encoder` is None if the validation part was not found better beyond the interval: nothing is written.

    Raises
    ------
    TrainingError
        If the base knows no words, its towers were to be taught and cannot be, the set says too little, a step does
        not fit into memory, or a state is of another run.
    """
    started = time.monotonic()
    folder.check(base)
    encoder = _base(base, options, setting)
    captioned = _Captioned.of(known, encoder, options, setting)
    options = options.suited(len(captioned.train))
    settings = {"base": encoder.encoder.fingerprint, "data": captioned.digest(), **vars(options)}
    state = RunState(folder.state, settings, is_resuming)
    taught = _taught(captioned, encoder, options, setting, state)
    report = _judged(captioned, taught, options)
    if report.improvement.is_certain:
        config = _config(encoder, options, taught.history, report)
        taught.write(folder, config, captioned.traces, keep=options.keep)
        learned = setting.encoder(str(folder.path))
        report = replace(report, encoder=learned.encoder.fingerprint, forgetting=_forgetting(encoder, learned))
    folder.end()
    return replace(
        report, base=encoder.encoder.name, base_fingerprint=encoder.encoder.fingerprint,
        seconds=round(time.monotonic() - started, 1),
    )  # fmt: skip


def _base(base: str, options: CaptionOptions | TowerOptions, setting: Setting) -> SetEncoder:
    """Return the encoder to begin with, if captions can teach it."""
    is_of_towers = isinstance(options, TowerOptions)
    if is_of_towers and base != AUTO:  # before it is exported
        require_open_clip(base)
    encoder = setting.encoder(base)
    if is_of_towers:
        require_open_clip(encoder.encoder.name)
    if not encoder.encoder.has_words:
        raise TrainingError(
            f"{encoder.encoder.name} knows no words; expected a text-image model such as offline as --base, or "
            "teach it by pairs of pictures (`mmsearch train pairs`)"
        )
    return encoder


def _taught(
    captioned: _Captioned,
    encoder: SetEncoder,
    options: CaptionOptions | TowerOptions,
    setting: Setting,
    state: RunState,
) -> Heads | Towers:
    if isinstance(options, TowerOptions):
        return teach_towers(
            captioned.train, captioned.choice, options, model=require_open_clip(encoder.encoder.name), state=state,
            on_step=setting.on_step, notify=setting.notify,
        )  # fmt: skip
    return teach_heads(
        captioned.train, captioned.choice, options, logit_scale=encoder.encoder.logit_scale,
        state=state, on_epoch=setting.on_epoch,
    )  # fmt: skip


def _config(
    encoder: SetEncoder, options: TeachingOptions, history: list[Epoch], report: CaptionReport
) -> dict[str, Any]:
    """Return what the folder says of the encoder: of its base, and of how it was taught."""
    base = encoder.encoder
    return {
        "base": {"model": base.name, "fingerprint": base.fingerprint},
        "logit_scale": base.logit_scale,
        "training": {
            "by": "captions",
            "n_pictures": report.n_pictures,
            "n_captions": report.n_texts,
            "n_held_out": report.n_held_out,
            "n_bad": len(report.bad),
            "settings": vars(options),
            "curve": [asdict(epoch) for epoch in history],
        },
    }


@dataclass(frozen=True)
class _Captioned:
    """A caption set as features: what trains, what chooses, what judges; `traces` of all pictures."""

    name: str
    train: CaptionFeatures
    choice: CaptionFeatures
    validation: CaptionFeatures
    bad: list[Bad]
    traces: Traces

    @classmethod
    def of(cls, known: CaptionSet, encoder: SetEncoder, options: TeachingOptions, setting: Setting) -> _Captioned:
        """Embed pictures and captions, unless they are kept, and hold some of the pictures out."""
        source = features_model(encoder.encoder.name)  # `auto` is another
        images = encoder if source == encoder.encoder.name else setting.encoder(source)
        readable, vectors, bad = images.readable_pictures(known.name, known.pictures)
        row_of = {position: row for row, position in enumerate(readable)}
        described = [
            (caption, row_of[picture])
            for caption, pictures in zip(known.texts, known.pictures_of_text, strict=True)
            for picture in pictures
            if picture in row_of
        ]
        captions = [caption for caption, _ in described]
        rows = np.array([row for _, row in described])
        dim = encoder.encoder.dim
        paths = [known.pictures[position] for position in readable]
        traces = encoder.traces(paths)
        features = CaptionFeatures.of_set(
            vectors, encoder.texts(captions), rows, captions, dim=dim, pictures=paths, traces=traces
        )
        train, choice, validation = map(features.of, held_out(features, options.validation, options.seed))
        return cls(known.name, train, choice, validation, bad_pictures(known.pictures, bad), traces)

    def digest(self) -> str:
        """Return the hex sha256 of all that is learned from and validated on."""
        parts = (self.train, self.choice, self.validation)
        return arrays_digest(
            *(array for part in parts for array in (part.images, part.texts, part.picture_of_text))
        )


# -- what changed ------------------------------------------------------------------------------------


def _judged(captioned: _Captioned, taught: Heads | Towers, options: TeachingOptions) -> CaptionReport:
    """Return what a training did to the validation part, but for what only the encoder itself can tell."""
    train, validation = captioned.train, captioned.validation
    systems = {
        BASE: validation.base_vectors(),
        CANONICAL: canonical_vectors(train, validation),
        LEARNED: taught.vectors(validation),
    }
    written = LEARNED
    if options.keep:
        written = f"{LEARNED}, {options.keep:g} of the base kept"
        systems[written] = taught.vectors(validation, keep=options.keep)
    hits = {name: retrieval_hits(*pair, validation.picture_of_text) for name, pair in systems.items()}
    groups = {measure: _pictures_asked(measure, validation) for measure in hits[BASE]}
    changed = _changed(captioned, systems[BASE], systems[written])
    return CaptionReport(
        set_name=captioned.name,
        n_pictures=len(train) + len(captioned.choice) + len(validation),
        n_texts=len(train.texts) + len(captioned.choice.texts) + len(validation.texts),
        n_held_out=len(captioned.choice) + len(validation),
        n_validation=len(validation),
        settings=vars(options),
        history=taught.history,
        measures={
            measure: {name: measured(values[measure], pictures) for name, values in hits.items()}
            for measure, pictures in groups.items()
        },
        improvement=improvement(list(hits[BASE].values()), list(hits[written].values()), list(groups.values())),
        distances={name: _distances(validation, *systems[name]) for name in (BASE, written)},
        better=[query for query in changed[:_N_CHANGED] if query.rank_after < query.rank_before],
        worse=[query for query in changed[: -_N_CHANGED - 1 : -1] if query.rank_after > query.rank_before],
        bad=captioned.bad,
    )


def _pictures_asked(measure: str, features: CaptionFeatures) -> Ids:
    """Return the picture that every query of a measure belongs to."""
    return features.picture_of_text if measure.startswith(TEXT_TO_IMAGE) else np.arange(len(features))


def _distances(features: CaptionFeatures, images: Matrix, texts: Matrix) -> Distances:
    pairs = np.stack([features.picture_of_text, np.arange(len(texts))], axis=1)
    described = features.picture_ids[features.picture_of_text]
    return distances_of(
        images, texts, pairs, is_same=lambda rows, columns: features.picture_ids[rows] == described[columns]
    )


def _changed(
    captioned: _Captioned, before: tuple[Matrix, Matrix], after: tuple[Matrix, Matrix]
) -> list[ChangedQuery]:
    """Return the captions whose picture gained most by rank, then those whose lost most."""
    features = captioned.validation
    paths = [str(path) for path in features.pictures]
    scores = [inner_products(texts, images) for images, texts in (before, after)]
    qrels = Qrels.from_lists([[picture] for picture in features.picture_of_text.tolist()])
    ranks = [rank_relevant(rows, qrels).ranks for rows in scores]
    order = np.argsort(ranks[1] / ranks[0], kind="stable").tolist()
    shown = order if len(order) <= 2 * _N_CHANGED else order[:_N_CHANGED] + order[-_N_CHANGED:]
    columns = np.arange(len(features))
    hits = [top_k(rows[shown], columns, _N_SHOWN)[1].tolist() for rows in scores]
    return [
        ChangedQuery(
            text=features.captions[text],
            picture=paths[features.picture_of_text[text]],
            rank_before=int(ranks[0][text]),
            rank_after=int(ranks[1][text]),
            before=[paths[row] for row in before_hits],
            after=[paths[row] for row in after_hits],
        )
        for text, before_hits, after_hits in zip(shown, *hits, strict=True)
    ]


def _forgetting(base: SetEncoder, learned: SetEncoder) -> Forgetting:
    """Return what was forgotten of the sample photographs and of the class names of ImageNet."""
    paths = sorted(sample_folder().glob("*.jpg"))
    names = [path.stem.replace("-", " ") for path in paths]
    labels = list(dict.fromkeys(imagenet_class_names()))  # two of them come twice
    shares, classes = [], []
    for encoder in (base, learned):
        _, images, _ = encoder.pictures(paths)
        ranks = rank_relevant(
            inner_products(encoder.texts(names), images), Qrels.from_lists([[row] for row in range(len(paths))])
        )
        shares.append(float(hit_at_k(ranks, 1).mean()))
        vectors = class_embeddings(encoder.texts, labels, ("a photo of a {}.",))
        classes.append(inner_products(images, vectors).argmax(axis=1))
    return Forgetting(len(paths), shares[0], shares[1], float((classes[0] == classes[1]).mean()))
