"""LABELS: names in, a set of labels for the whole library out, of which `index` takes care from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.arguments import as_flag, as_number, texts_of
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES, fill_templates
from mmsearch.errors import EncoderError, LibraryDamagedError, QueryError
from mmsearch.records import LabelSet
from mmsearch.store.base import LibraryEncoder, OnProgress, Place, folder_of, in_folder
from mmsearch.store.labels import Labelling, require_name

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.store.folder import Store

WHAT = "labels"
MIN_PROBABILITY = 0.5
"""From which probability on a label is given, if nothing else is said: more probable than all others together."""
_TEXTS_TOGETHER = 1024


@dataclass(frozen=True)
class LabelOptions:
    """How labels are given to pictures.

    Parameters
    ----------
    templates : str, or several
        Prompts with {} for the label.
    is_multi : bool
        Whether each label is judged by itself, so that a picture may have several; else they exclude each other.
    min_probability : float
        In (0, 1]; labels that are less probable are not given.

    Raises
    ------
    QueryError, ArgumentError
        If one of them means nothing.
    """

    templates: str | Sequence[str] = DEFAULT_TEMPLATES
    is_multi: bool = False
    min_probability: float = MIN_PROBABILITY

    def __post_init__(self) -> None:
        object.__setattr__(self, "templates", texts_of(self.templates, "templates"))
        if as_flag(self.is_multi, "is_multi"):
            raise QueryError("labels that are judged by themselves cannot be had yet; leave --multi out")
        if not 0 < as_number(self.min_probability, "min_probability") <= 1:
            raise QueryError(
                f"the least probability is {self.min_probability}; expected a number above 0 and at most 1"
            )


def set_labels(
    place: Place,
    installed: LibraryEncoder,
    name: str,
    labels: Sequence[str],
    options: LabelOptions,
    *,
    on_progress: OnProgress,
) -> LabelSet:
    """Give the pictures of a library labels; see `Library.set_labels`."""
    require_name(name)
    names = require_labels(labels, options)
    folder_of(place, WHAT)
    with place.writer() as writer, writer.shown_progress(on_progress) as on_progress:
        store = in_folder(writer, WHAT)
        if store.lost_rows():
            raise LibraryDamagedError("; ".join(store.problems()))
        labelling = labelling_of(installed.for_reading(store), names, options)
        store.labels.define(name, labelling)
        store.labels.update(on_progress)
        return store.labels.set_called(name)


def require_labels(labels: Sequence[str], options: LabelOptions) -> tuple[str, ...]:
    """Return the names of labels without space around them, or raise QueryError if they mean nothing."""
    fill_templates(labels, options.templates)
    names = tuple(label.strip() for label in labels)
    broken = next((name for name in names if not _is_text(name)), None)
    if broken is not None:
        raise QueryError(f"label {broken!r} holds half a character (a lone surrogate); correct it")
    return names


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def labelling_of(encoder: OnnxEncoder, labels: Sequence[str], options: LabelOptions) -> Labelling:
    """Return what gives labels to vectors of an encoder.

    Raises
    ------
    QueryError
        If it knows no words.
    """
    from mmsearch.encoders.zeroshot import ZeroShotClassifier, class_embeddings

    encoder.require_words()
    vectors = class_embeddings(encoder.encode_texts, labels, options.templates, at_once=_TEXTS_TOGETHER)
    classifier = ZeroShotClassifier(tuple(labels), vectors, encoder.logit_scale)
    return Labelling(classifier, tuple(options.templates), options.min_probability, encoder.fingerprint)


def renewed(store: Store, encoder: OnnxEncoder) -> dict[str, Labelling]:
    """Return what gives the labels of all sets to vectors of another encoder than the library's.

    Raises
    ------
    EncoderError
        If it knows no words.
    """
    kept = store.labels.kept()
    if kept and not encoder.has_words:
        names = ", ".join(kept)
        raise EncoderError(
            f"{encoder.name} knows no words, and the library gives labels by them: {names}; `mmsearch labels rm` "
            "removes those first, or take another encoder"
        )
    return {
        name: labelling_of(encoder, labels, LabelOptions(templates, min_probability=min_probability))
        for name, (labels, templates, min_probability) in kept.items()
    }


def repair_labels(store: Store, encoder: Callable[[], OnnxEncoder]) -> None:
    """Make sets anew that cannot label new pictures, with all that they gave; the caller is the writer."""
    unusable, kept = store.labels.unusable(), store.labels.kept()
    with suppress(EncoderError):  # which the report names, as it names the sets
        for name in unusable.keys() & kept.keys():
            labels, templates, min_probability = kept[name]
            options = LabelOptions(templates, min_probability=min_probability)
            store.labels.define(name, labelling_of(encoder(), labels, options))
    store.labels.update(lambda *_: None)
