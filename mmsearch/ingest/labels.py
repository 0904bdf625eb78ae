"""LABELS: names in, a set of labels for the whole library out, of which `index` takes care from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mmsearch.encoders.prompts import fill_templates
from mmsearch.errors import EncoderError, FingerprintError, LibraryDamagedError, QueryError
from mmsearch.records import LabelSet
from mmsearch.store.base import OnProgress, Place, in_folder
from mmsearch.store.labels import Labelling, LabelOptions

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.store.folder import Store

WHAT = "labels"
_TEXTS_TOGETHER = 1024


def set_labels(
    place: Place,
    encoder: OnnxEncoder,
    name: str,
    labels: Sequence[str],
    options: LabelOptions,
    *,
    on_progress: OnProgress,
) -> LabelSet:
    """Give the pictures of a library, whose encoder this is, labels; see `Library.set_labels`."""
    labelling = labelling_of(encoder, labels, options)
    with place.writer() as writer, writer.shown_progress(on_progress) as on_progress:
        store = in_folder(writer, WHAT)
        if store.lost_rows():
            raise LibraryDamagedError("; ".join(store.problems()))
        if store.fingerprint() != encoder.fingerprint:
            raise FingerprintError(
                f"{place.address} was given vectors of another encoder meanwhile; run the same command again"
            )
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
        If it knows no words, or cannot judge labels as is wanted.
    """
    from mmsearch.encoders.zeroshot import ZeroShotClassifier, class_embeddings, mode_of

    encoder.require_words()
    mode = mode_of(encoder, labels, closed=options.closed, multi=options.multi)
    vectors = class_embeddings(encoder.encode_texts, labels, options.templates, at_once=_TEXTS_TOGETHER)
    return Labelling(ZeroShotClassifier.of(encoder, labels, vectors, mode), options, encoder.fingerprint)


def renewed(store: Store, encoder: OnnxEncoder) -> dict[str, Labelling]:
    """Return what gives the labels of all sets to vectors of another encoder than the library's.

    Raises
    ------
    EncoderError, QueryError
        If it knows no words, or cannot judge labels as was wanted.
    """
    kept = store.labels.kept()
    if kept and not encoder.has_words:
        names = ", ".join(kept)
        raise EncoderError(
            f"{encoder.name} knows no words, and the library gives labels by them: {names}; `mmsearch labels rm` "
            "removes those first, or take another encoder"
        )
    return {name: labelling_of(encoder, *wanted) for name, wanted in kept.items()}


def repair_labels(store: Store, encoder: Callable[[], OnnxEncoder]) -> None:
    """Make sets anew that cannot label new pictures, with all that they gave; the caller is the writer."""
    unusable, kept = store.labels.unusable(), store.labels.kept()
    with suppress(EncoderError, QueryError):  # which the report names, as it names the sets
        for name in unusable.keys() & kept.keys():
            store.labels.define(name, labelling_of(encoder(), *kept[name]))
    store.labels.update(lambda *_: None)
