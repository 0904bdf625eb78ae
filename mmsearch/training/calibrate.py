"""CALIBRATE: a captioned set and an encoder in, what its scores mean out, and how well that holds elsewhere.

Four of five pictures are fitted to, with their captions; the others check it. Asked are

- captions, and words that name a few of the pictures: with their pictures in the library, and without;
- names of things that no caption mentions, every other one to fit to and to check by;
- words of random letters.

A caption of each picture is a label of it, and none of the others, for what is fitted to labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from mmsearch.datasets.sets import CaptionSet, ClassSet
from mmsearch.encoders.calibration import Calibration, LabelModel, RelevanceModel
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.templates import imagenet_class_names
from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.errors import EncoderError, FingerprintError, GroundTruthError
from mmsearch.evaluation.encode import SetEncoder, bad_pictures
from mmsearch.evaluation.metrics.calibration import Reliability, calibration_error, reliability
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.evaluation.metrics.separation import auroc, rejected_at_loss
from mmsearch.evaluation.negatives import absent, gibberish
from mmsearch.evaluation.records import Bad
from mmsearch.library import Library
from mmsearch.query.relevance import relevance_of
from mmsearch.records import Matrix
from mmsearch.store.encoder import keep_calibration
from mmsearch.training.labels import LabelledPictures, fit_labels, label_error
from mmsearch.training.relevance import Answers, Kind, answers_of, fit_relevance

LEAST_PICTURES = 100
"""With 100 of Flickr8k's training part, probabilities of hits were off by .013 to .038 in its test part, with 20 by
.025 to .076, with 200 by .016 to .025; those of `offline` as it comes are off by .012."""
FEWEST_PICTURES = 20
"""With which something can be fitted at all."""
CAPTIONS, WORDS, ABSENT, GIBBERISH = "captions", "words", "absent names", "gibberish"
LABELS, ERROR_OF_HITS = "calibration error of labels", "calibration error of hits"
_WEIGHTS = {CAPTIONS: (1.0, 1.0), WORDS: (0.5, 0.5), ABSENT: (1.0, 0.5), GIBBERISH: (0.5, 0.1)}
_CHECKED = 5  # one picture in so many
_FEWEST, _MOST = 3, 4  # pictures that a word names: so many, and one in so many
_WORD = re.compile(r"[^\W\d_]{3,}")
_N_BINS = 10

Measures = dict[str, float]


@dataclass(frozen=True)
class CalibrationFit:
    """What was fitted, and how well it holds on pictures that it was not fitted to.

    Attributes
    ----------
    model : str
        The encoder.
    calibration : Calibration
        With what was fitted.
    n_fitted, n_checked : int
        Pictures.
    measures : dict of str to dict of str to float
        By what is judged (`cosine`; `before`, where there was a calibration; `after`) the values of the measures.
    hits, answers : Reliability
        Of the probabilities after, on the pictures that check them.
    bad : list of Bad
        Pictures that could not be read.
    """

    model: str
    calibration: Calibration
    n_fitted: int
    n_checked: int
    measures: dict[str, Measures]
    hits: Reliability
    answers: Reliability
    bad: list[Bad]

    def to_json(self) -> dict[str, object]:
        """Return the fit as JSON has it."""
        diagrams = {"hits": self.hits, "answers": self.answers}
        return {
            **{name: value for name, value in asdict(self).items() if name not in (*diagrams, "calibration")},
            **{
                name: {field: [None if value != value else value for value in values.tolist()]
                       for field, values in vars(diagram).items()}
                for name, diagram in diagrams.items()
            },
            "search": None if self.calibration.search is None else asdict(self.calibration.search),
            "labels": None if self.calibration.labels is None else asdict(self.calibration.labels),
        }  # fmt: skip


def calibrate(
    benchmark: CaptionSet,
    encoder: SetEncoder,
    before: Calibration | None,
    *,
    classes: ClassSet | None = None,
    seed: int = 0,
    is_forced: bool = False,
) -> CalibrationFit:
    """Fit what the scores of an encoder mean to a captioned set.

    Parameters
    ----------
    benchmark : CaptionSet
        Each text of which comes once, with all its pictures.
    encoder : SetEncoder
        For words and pictures.
    before : Calibration or None
        What was known of the encoder.
    classes : ClassSet or None
        Labels are fitted to it, too, besides the captions; it may be small.
    seed : int
        Of the libraries that are drawn, and of gibberish.
    is_forced : bool
        Take fewer than 100 pictures too, 20 at least.

    Raises
    ------
    GroundTruthError
        If too few pictures can be read.
    QueryError
        If the encoder knows no words.
    """
    encoder.encoder.require_words()
    probes = encoder.encoder.background()
    readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
    least = FEWEST_PICTURES if is_forced else LEAST_PICTURES
    if len(readable) < least:
        way_out = "" if is_forced else f" (--force takes {FEWEST_PICTURES}, whose numbers say little)"
        raise GroundTruthError(
            f"{benchmark.name}: {len(readable)} of its pictures can be read; expected {least} or more to calibrate "
            f"by{way_out}"
        )
    is_checked = np.arange(len(readable)) % _CHECKED == _CHECKED - 1
    fitted = _Part(benchmark, np.array(readable)[~is_checked], pictures[~is_checked], 0)
    checked = _Part(benchmark, np.array(readable)[is_checked], pictures[is_checked], 1)
    search = fit_relevance(list(fitted.kinds(encoder, probes, seed).values()), fitted.vectors, seed=seed)
    labels, bad_of_classes = _fitted_labels(fitted, classes, encoder)
    asked = checked.asked(encoder, probes, seed)
    known = {"before": None if before is None else before.search, "after": search}
    measures = {"cosine": _measures(asked, None)}
    measures |= {name: _measures(asked, model) for name, model in known.items() if model is not None}
    for name, error in _label_errors(checked.labelled(encoder), encoder, before, labels):
        measures.setdefault(name, {})[LABELS] = error
    calibration = replace(before or Calibration(), search=search, labels=labels)
    return CalibrationFit(
        encoder.encoder.name, calibration, len(fitted.vectors), len(checked.vectors), measures,
        reliability(*_hits(asked, search), n_bins=_N_BINS), reliability(*_answers(asked, search), n_bins=_N_BINS),
        [*bad_pictures(benchmark.pictures, bad), *bad_of_classes],
    )  # fmt: skip


def _fitted_labels(fitted: _Part, classes: ClassSet | None, encoder: SetEncoder) -> tuple[LabelModel, list[Bad]]:
    """Return what is fitted to captions, and to classes where there are any, and pictures of these that are bad."""
    labelled, bad = [fitted.labelled(encoder)], list[Bad]()
    if classes is not None:
        readable, pictures, unread = encoder.readable_pictures(classes.name, classes.pictures)
        labelled.append(LabelledPictures.by_classes(classes, readable, pictures, encoder))
        bad = bad_pictures(classes.pictures, unread)
    return fit_labels(labelled), bad


def _label_errors(
    asked: LabelledPictures, encoder: SetEncoder, before: Calibration | None, after: LabelModel
) -> Iterator[tuple[str, float]]:
    """Yield the calibration error of labels: by the softmax as it came, before, and after."""
    names = tuple(str(label) for label in range(len(asked.labels)))
    softmax = ZeroShotClassifier(names, asked.labels, encoder.encoder.logit_scale)
    yield "softmax", label_error(softmax.probabilities(asked.pictures), asked.is_shown)
    for name, model in (("before", None if before is None else before.labels), ("after", after)):
        if model is not None:
            fitted = ZeroShotClassifier(names, asked.labels, model.logit_scale, model.constant, "open")
            yield name, label_error(fitted.probabilities(asked.pictures), asked.is_shown)


def calibrate_model(
    benchmark: CaptionSet,
    encoder: SetEncoder,
    *,
    classes: ClassSet | None = None,
    seed: int = 0,
    is_forced: bool = False,
) -> CalibrationFit:
    """Calibrate an encoder in the cache, which libraries are given from now on; raises as `calibrate` does.

    Raises
    ------
    StorageError
        If the disk refuses; what was kept before stays.
    """
    fit = calibrate(benchmark, encoder, _usable(encoder.encoder), classes=classes, seed=seed, is_forced=is_forced)
    keep_calibration(encoder.encoder.folder, fit.calibration)
    return fit


def calibrate_library(
    benchmark: CaptionSet,
    library: Library,
    encoder: SetEncoder,
    *,
    classes: ClassSet | None = None,
    seed: int = 0,
    is_forced: bool = False,
) -> CalibrationFit:
    """Calibrate the encoder of a library; raises as `calibrate_model` does.

    Parameters
    ----------
    benchmark : CaptionSet
    library : Library
        Whose encoder knows words.
    encoder : SetEncoder
        Of the model of the library; in fp32, with which other precisions agree.
    classes : ClassSet or None
    seed : int
    is_forced : bool

    Raises
    ------
    FingerprintError
        If the model gives another encoder now than the library has.
    """
    held, made = library.installed_encoder(), encoder.encoder
    if held.precision == made.precision and held.fingerprint != made.fingerprint:
        raise FingerprintError(
            f"{made.name} gives an encoder with fingerprint {made.fingerprint[:12]} now, {library.address} has "
            f"{held.fingerprint[:12]}: its weights or settings have changed; make all vectors anew with `mmsearch "
            "index --re-embed` first"
        )
    fit = calibrate(benchmark, encoder, _usable(held), classes=classes, seed=seed, is_forced=is_forced)
    library.calibrate(fit.calibration)
    return fit


def _usable(encoder: OnnxEncoder) -> Calibration | None:
    """Return what is known of an encoder; None where that is damaged, and about to be replaced."""
    try:
        return encoder.calibration
    except EncoderError:
        return None


@dataclass(frozen=True)
class _Part:
    """Some pictures of a set: their positions in it and unit vectors (n, dim).

    `first_name` is 0 or 1: every other name of things belongs to the part.
    """

    benchmark: CaptionSet
    positions: Ids
    vectors: Matrix
    first_name: int

    def kinds(self, encoder: SetEncoder, probes: Matrix, seed: int) -> dict[str, Kind]:
        """Return all that is asked, by kind; of the kinds of which there are any texts."""
        answers = self._captions()
        named = {word: rows for word, rows in self._words(answers).items() if self._is_telling(rows)}
        names = absent(self.benchmark, imagenet_class_names()[self.first_name :: 2]).texts
        typed = gibberish(self.benchmark, seed=seed).texts[self.first_name :: 2]
        texts: dict[str, tuple[Sequence[str], Sequence[Ids] | None]] = {
            CAPTIONS: (list(answers), list(answers.values())), WORDS: (list(named), list(named.values())),
            ABSENT: (names, None), GIBBERISH: (typed, None),
        }  # fmt: skip
        return {
            kind: Kind.of(encoder.texts(of_kind), probes, rows, _WEIGHTS[kind])
            for kind, (of_kind, rows) in texts.items()
            if of_kind
        }

    def labelled(self, encoder: SetEncoder) -> LabelledPictures:
        """Return the pictures with a caption of each as labels."""
        return LabelledPictures.by_captions(self.benchmark, self.positions, self.vectors, encoder)

    def _captions(self) -> dict[str, Ids]:
        """Return the rows of the pictures of every caption that has any here."""
        row_of = {int(position): row for row, position in enumerate(self.positions)}
        answers: dict[str, Ids] = {}
        for text, pictures in zip(self.benchmark.texts, self.benchmark.pictures_of_text, strict=True):
            rows = [row_of[picture] for picture in pictures if picture in row_of]
            if rows:
                answers[text] = np.array(rows, dtype=np.int64)
        return answers

    def _words(self, answers: Mapping[str, Ids]) -> dict[str, Ids]:
        """Return the rows of the pictures that every word of the captions names."""
        rows_of: dict[str, set[int]] = {}
        for text, rows in answers.items():
            for word in _WORD.findall(text.casefold()):
                rows_of.setdefault(word, set()).update(rows.tolist())
        return {word: np.array(sorted(rows), dtype=np.int64) for word, rows in rows_of.items()}

    def _is_telling(self, rows: Ids) -> bool:
        return _FEWEST <= len(rows) <= len(self.vectors) // _MOST

    def asked(self, encoder: SetEncoder, probes: Matrix, seed: int) -> dict[tuple[str, bool], Answers]:
        """Return what a library of all pictures answers, by kind and by whether it holds a match."""
        everything = np.arange(len(self.vectors))
        return {
            (name, answers.holds_match): answers
            for name, kind in self.kinds(encoder, probes, seed).items()
            for answers in answers_of(kind, np.arange(len(kind.vectors)), self.vectors, everything)
        }


_Asked = Mapping[tuple[str, bool], Answers]


def _measures(asked: _Asked, model: RelevanceModel | None) -> Measures:
    """Return what a model, or the cosine, is worth on captions with their pictures against other answers."""

    def scores(answers: Answers) -> Values:
        return answers.cosines[:, 0] if model is None else _relevance(answers, model)

    there = scores(asked[CAPTIONS, True])
    measures: Measures = {}
    for kind, name in ((CAPTIONS, "their pictures left out"), (ABSENT, ABSENT), (GIBBERISH, GIBBERISH)):
        if (kind, False) in asked:
            others = scores(asked[kind, False])
            measures[f"AUROC, {name}"] = auroc(there, others)
            measures[f"rejected at 5 % lost, {name}"] = rejected_at_loss(there, others)
    if model is not None:
        measures[ERROR_OF_HITS] = calibration_error(*_hits(asked, model))
        measures["calibration error of answers"] = calibration_error(*_answers(asked, model))
    return measures


def _relevance(answers: Answers, model: RelevanceModel) -> Values:
    return relevance_of(model, answers.cosines, answers.familiar, answers.n_pictures)[0]


def _hits(asked: _Asked, model: RelevanceModel) -> tuple[Values, Values]:
    """Return the relevance of the hits of captions, and 1 where they are their pictures, else 0."""
    answers = asked[CAPTIONS, True]
    is_hit = np.isfinite(answers.cosines)
    relevance = relevance_of(model, answers.cosines, answers.familiar, answers.n_pictures)[1]
    return relevance[is_hit], answers.is_match[is_hit].astype(np.float64)


def _answers(asked: _Asked, model: RelevanceModel) -> tuple[Values, Values]:
    """Return the relevance of answers to captions, and as many to other texts, and 1 where they hold a match."""
    there = _relevance(asked[CAPTIONS, True], model)
    others = np.concatenate([_relevance(answers, model) for (_, holds), answers in asked.items() if not holds])
    drawn = others[np.linspace(0, len(others) - 1, min(len(there), len(others))).astype(np.int64)]
    return np.concatenate([there, drawn]), np.repeat([1.0, 0.0], [len(there), len(drawn)])
