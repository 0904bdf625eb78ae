"""UPDATE: folders in, a library that is up to date with them out.

Looks at what is asked, opens the library as its writer, plans, carries the plan out, and brings the graph along.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.arguments import (
    AUTO,
    FP32,
    USUAL,
    AskedViews,
    Device,
    PartsMost,
    Precision,
    Variant,
    as_flag,
    as_path,
    as_positive,
    one_of,
    texts_of,
)
from mmsearch.errors import LibraryNotFoundError, QueryError
from mmsearch.faces.models import require_models
from mmsearch.faces.packing import WHAT as FACES
from mmsearch.images import find_files
from mmsearch.images.ignore import require_patterns
from mmsearch.ingest.annotate import embed_captions
from mmsearch.ingest.beside import Beside
from mmsearch.ingest.faces import FacesRun, keep_wanted, planned_faces, update_faces
from mmsearch.ingest.parts import make_missing_parts, planned_parts_text
from mmsearch.ingest.plan import (
    Plan,
    ScanOptions,
    absolute_roots,
    dry_run,
    make_plan,
    name_missing_roots,
    require_pictures,
)
from mmsearch.ingest.plan_films import reads_films
from mmsearch.ingest.reembed import encoder_for, forget_finished, give_up, re_embed, wanted_for
from mmsearch.ingest.run import execute
from mmsearch.ingest.words import WordsIntake, given_vocabulary, looks_at_local_features, require_local
from mmsearch.records import MAX_MEGAPIXELS, IngestDetails, IngestReport, PathLike
from mmsearch.store.adopt import pending_model, pending_text
from mmsearch.store.base import (
    LibraryEncoder,
    LibraryStore,
    LibraryWriter,
    OnProgress,
    Place,
    folder_of,
    in_folder,
    is_given,
    other_variant,
    variant_of,
)
from mmsearch.store.encoder import NONE, default_cache
from mmsearch.store.indexes import GraphSettings

if TYPE_CHECKING:
    from mmsearch.bow.vocabulary import Vocabulary

_ANEW = "vectors made anew in place (--re-embed)"


@dataclass(frozen=True)
class IngestOptions:
    """How a library is brought up to date.

    Parameters
    ----------
    model : str, path or None
        Encoder of a new library (`auto`, `offline`, an image encoder such as `cnn:gem`, an open_clip model, a
        checkpoint folder, or `none` for local features alone); for an existing one it must be the same.
    is_dry_run : bool
        Only report what would be done.
    follow_links : bool
        Go through symbolic links.
    is_recheck : bool
        Try files again that could not be used, compare the contents of all others with what was indexed, and read
        what is written beside them.
    exclude : str, or several, or None
        Patterns of pictures and folders to leave out, relative to every folder that is given, as .gitignore has
        them; the library keeps them, and forgets what they leave out. None keeps those that it has. Files named
        `.mmsearchignore` have patterns for their own folders.
    max_megapixels : float or None
        Pictures that take more memory than so many pixels are refused; None keeps what the library does, 64 for a
        new one.
    settings : GraphSettings or None
        When and how indexes are built; None keeps those of the library.
    local : bool or None
        Whether local features become visual words; None keeps what the library does, and for a new one means where
        OpenCV is installed. Pictures that have none get them now.
    vocabulary : path or None
        Visual words to use instead of learning them, for a library that has none yet.
    remember : bool or None
        Whether the vectors of texts that are looked for are remembered, so that the same text is answered without
        the encoder; False also forgets those of before. None keeps what the library does, and a new one remembers.
    re_embed : bool or None
        True gives a library that is there the vectors of `model`, whatever it had before, or goes on where a run
        that did so was ended; no path need be given then. False gives up what such a run had made.
    precision : str or None
        In what the image tower of a new library computes, `fp32`, `int8` or `bf16`, or after `re_embed` that of one
        that is there; None keeps what the library has, fp32 for a new one. Other precisions than fp32 must agree
        with it on 200 pictures, and bf16 is for CPUs that have it.
    device : str
        Where pictures are embedded: `cpu`, `cuda`, or `auto`, which is `cuda` where that can be had for fp32.
    views : int or str or None
        How often the image tower of a new library looks at a picture, or after `re_embed` that of one that is
        there: 1, or 5, at four windows too, which makes small things count for more, and indexing take four to five
        times as long; `auto` is 5 where the calibration of the encoder says that pictures are found better by it.
        None keeps what the library has, 1 for a new one.
    parts : int or None
        How many parts of a picture at most get vectors of their own, 0, 4 or 13, so that what is small in it is
        found by words and by examples. Pictures that have none, or had another number, are read again then; no path
        need be given. None keeps what the library has, 0 for a new one.
    faces : bool or None
        Whether faces are found, described and put into groups (`Library.people`), with the extra `faces`; pictures
        of before are looked at then, too, and no path need be given. False erases them, with groups and names. None
        keeps what the library does, and a new one does not.

    Raises
    ------
    ArgumentError
        If a value is of another type.
    QueryError
        If `max_megapixels` is not above 0.
    """

    model: PathLike | None = None
    is_dry_run: bool = False
    follow_links: bool = False
    is_recheck: bool = False
    exclude: str | Iterable[str] | None = None
    max_megapixels: float | None = None
    settings: GraphSettings | None = None
    local: bool | None = None
    vocabulary: PathLike | None = None
    remember: bool | None = None
    re_embed: bool | None = None
    precision: Precision | None = None
    device: Device = "auto"
    views: AskedViews | None = None
    parts: PartsMost | None = None
    faces: bool | None = None

    def __post_init__(self) -> None:
        for name in ("is_dry_run", "follow_links", "is_recheck"):
            as_flag(getattr(self, name), name)
        for name in ("local", "remember", "re_embed", "faces"):
            if getattr(self, name) is not None:
                as_flag(getattr(self, name), name)
        if self.max_megapixels is not None:
            as_positive(self.max_megapixels, "max_megapixels")
        if self.model is not None:
            as_path(self.model, "model")
        if self.precision is not None:
            one_of(self.precision, "precision", Precision)
        if self.views is not None:
            object.__setattr__(self, "views", one_of(self.views, "views", AskedViews))
        if self.parts is not None:
            object.__setattr__(self, "parts", one_of(self.parts, "parts", PartsMost))
        if self.exclude is not None:
            exclude = texts_of(self.exclude, "exclude")
            require_patterns(exclude)
            object.__setattr__(self, "exclude", exclude)
        one_of(self.device, "device", Device)

    @property
    def is_about_all(self) -> bool:
        """Whether something is asked of all pictures of a library, so that no path need be given."""
        return self.re_embed is not None or self.parts is not None or self.faces is not None

    @property
    def variant(self) -> Variant:
        """Which vectors of the model are asked for."""
        return Variant(self.precision, self.views)

    @property
    def model_name(self) -> str | None:
        """The model by a name that means the same in any working directory, or None."""
        if self.model is None:
            return None
        from mmsearch.encoders.prepare import AUTO, lasting_name

        name = os.fsdecode(self.model)
        return name if name in (AUTO, NONE) else lasting_name(name)

    def require_paths(self) -> None:
        """Raise QueryError if something is asked of folders, for a run that is given none."""
        about_folders = {
            "recheck": self.is_recheck, "follow links": self.follow_links, "exclude": self.exclude is not None,
            "local": self.local is not None, "vocabulary": self.vocabulary is not None,
        }  # fmt: skip
        named = [name for name, is_asked in about_folders.items() if is_asked]
        if named:
            raise QueryError(
                f"{named[0]} is about the pictures of folders, and none was given; name at least one folder or "
                "picture"
            )

    def require_device(self) -> None:
        """Raise EncoderError if pictures are to be embedded where that cannot be done, before anything is."""
        if self.device == "cuda":
            from mmsearch.encoders.runtime import device_for

            device_for(self.device, self.precision or FP32)

    def scan(self, store: LibraryStore | None = None, *, is_limit_raised: bool = False) -> ScanOptions:
        """Return how files are looked at, for a library that is there, or for a new one.

        `is_limit_raised` says that larger pictures are taken than before.
        """
        kept = store.setting("exclude") if store is not None and self.exclude is None else self.exclude
        return ScanOptions(self.follow_links, self.is_recheck, is_limit_raised, tuple(kept or ()))


def bring_up_to_date(
    place: Place,
    installed: LibraryEncoder,
    paths: PathLike | Iterable[PathLike],
    options: IngestOptions,
    *,
    on_progress: OnProgress,
    notify: Callable[[str], None],
) -> IngestReport:
    """Bring a library up to date with folders and pictures; see `Library.index`.

    Parameters
    ----------
    place : Place
        Of the library, which need not exist yet.
    installed : LibraryEncoder
        Its encoder.
    paths, options, on_progress, notify
        As for `Library.index`.
    """
    start = time.perf_counter()
    vocabulary, model = given_vocabulary(options.vocabulary, options.local), options.model_name
    if model == NONE:
        require_local(options.local)
    is_known = place.holds_pictures()
    is_anew = options.re_embed is True and is_known
    roots = absolute_roots(paths, is_none_enough=options.is_about_all)
    _require_possible(place, roots, options)
    if options.is_dry_run:
        return _only_planned(place, installed, roots, options, on_progress)
    wanted = _wanted(place, installed, options, notify) if is_anew else None
    create = None if is_known or not roots else _new_library(place, installed, roots, options, notify)
    with place.writer(create=create) as store, store.shown_progress(on_progress) as on_progress:
        given_up = _given_up(store, notify)
        asked = (None, USUAL) if is_anew else (model, options.variant)
        is_encoder_used = bool(roots) or options.parts is not None
        encoder = installed.for_writing(store, asked[0], notify, asked[1]) if is_encoder_used else None
        is_local = bool(roots) and looks_at_local_features(store, vocabulary is not None or options.local, notify)
        _keep_settings(store, options, notify)
        words = _words_intake(store, vocabulary, on_progress) if is_local else None
        plan = _planned(store, roots, options, on_progress)
        encoder_folder = None if encoder is None else installed.folder_for_workers(store)
        report = execute(store, plan, encoder_folder, device=options.device, on_progress=on_progress, words=words)
        if options.re_embed is False:
            give_up(in_folder(store, _ANEW))
        n_anew = 0
        how: dict[str, Any] = {"device": options.device, "on_progress": on_progress, "notify": notify}
        if wanted is not None:
            n_anew = re_embed(in_folder(store, _ANEW), installed, wanted, **how)
            encoder = installed.for_writing(store, None, notify)
        if encoder is not None:
            encoder_folder = installed.folder_for_workers(store)
        n_parts = _update_parts(store, encoder_folder, [] if is_anew or options.parts is not None else roots, **how)
        faces = update_faces(store, [] if options.faces else roots, on_progress=on_progress, notify=notify)
        embed_captions(store, encoder, on_progress)
        store.settle(None if encoder is None else encoder.text_probes(), on_progress=on_progress)
        notices = (*report.notices, *name_missing_roots(store, roots), *_pending(place), *_unusable(store, faces))
    details = _with_agreement(report.details, wanted or create or {}, n_parts, faces)
    seconds = time.perf_counter() - start
    return replace(report, given_up=given_up, re_embedded=n_anew, notices=notices, details=details, seconds=seconds)


def _keep_most_parts(store: LibraryWriter, asked: PartsMost | None, notify: Callable[[str], None]) -> None:
    """Keep how many parts a picture may have, if that is said, and drop those of another number or encoder."""
    folder = store.as_folder
    if folder is not None:
        n = folder.parts.keep_most(folder.parts.most if asked is None else asked)
        if n and asked == 0:
            notify(f"the parts of {n} picture{'s' * (n != 1)} are dropped")


def _update_parts(store: LibraryWriter, encoder_folder: Path | None, roots: list[bytes], **how: Any) -> int:
    """Make the parts that pictures lack, in a library that keeps any; return how many contents have them now."""
    folder = store.as_folder
    if encoder_folder is None or folder is None or not folder.parts.most:
        return 0
    folder.parts.keep_most(folder.parts.most)  # those of another encoder go
    return make_missing_parts(folder, encoder_folder, roots, **how)


def _given_up(store: LibraryWriter, notify: Callable[[str], None]) -> int:
    """Give up what the library has lost; return how many pictures that are."""
    if store.as_folder is not None:
        forget_finished(store.as_folder)
        if n := store.as_folder.parts.give_up_lost():
            notify(f"the parts of {n} picture{'s' * (n > 1)} were lost, and are made again")
    return store.give_up_lost(notify)


def _require_possible(place: Place, roots: list[bytes], options: IngestOptions) -> None:
    """Raise if a run cannot be had with such folders, options and devices."""
    place.refuse_mixing(roots)
    options.require_device()
    if options.faces:
        folder_of(place, FACES)
        require_models()
    if not roots:
        options.require_paths()
        place.open().close()  # there must be one
    if options.parts:
        _require_parts_possible(place, options)


def _require_parts_possible(place: Place, options: IngestOptions) -> None:
    """Raise if pictures of a library, or of one that is to be made, can have no parts."""
    folder_of(place, "parts of pictures")
    has_vectors = options.model_name != NONE
    if place.holds_pictures():
        with closing(place.open()) as store, store.reading():
            has_vectors = store.has_vectors or options.re_embed is True
    if not has_vectors:
        raise QueryError("parts of pictures are vectors of an encoder, and this library has none; leave parts out")


def _planned(store: LibraryWriter, roots: list[bytes], options: IngestOptions, on_progress: OnProgress) -> Plan:
    """Return what a run will do."""
    scan = options.scan(store, is_limit_raised=store.keep_max_megapixels(options.max_megapixels))
    keeps_annotations = store.as_folder is not None
    beside = Beside([*store.roots(), *roots], follow_links=scan.follow_links) if keeps_annotations else None
    return make_plan(store, roots, scan, beside=beside, on_progress=on_progress)


def _keep_settings(store: LibraryWriter, options: IngestOptions, notify: Callable[[str], None]) -> None:
    """Keep what is said of indexes, of queries that are remembered, of what is left out, of parts and of faces."""
    _keep_most_parts(store, options.parts, notify)
    keep_wanted(store, options.faces, notify)
    if options.settings is not None:
        in_folder(store, "settings of an index").indexes.keep(options.settings)
    store.remembered.keep(options.remember)
    if options.exclude is not None:
        store.keep({"exclude": list(options.exclude)})


def _with_agreement(
    details: IngestDetails, settings: dict[str, Any], n_parts: int, faces: FacesRun
) -> IngestDetails:
    """Return the details of a run, with what was measured of a precision, and how many were read again for what."""
    if n_parts:
        details = {**details, "parts": n_parts}
    if faces.n:
        details = {**details, "faces": faces.n}
    return {**details, "agreement": settings["agreement"]} if "agreement" in settings else details


def _wanted(
    place: Place, installed: LibraryEncoder, options: IngestOptions, notify: Callable[[str], None]
) -> dict[str, Any]:
    """Return the settings of the encoder that a library is embedded anew by."""
    folder_of(place, _ANEW)
    with closing(place.open()) as store:
        return wanted_for(in_folder(store, _ANEW), installed, options.model_name, options.variant, notify)


def _words_intake(store: LibraryWriter, vocabulary: Vocabulary | None, on_progress: OnProgress) -> WordsIntake:
    return WordsIntake(in_folder(store, "local features"), vocabulary=vocabulary, on_progress=on_progress)


def _new_library(
    place: Place,
    installed: LibraryEncoder,
    roots: list[bytes],
    options: IngestOptions,
    notify: Callable[[str], None],
) -> dict[str, Any]:
    """Return the settings of a library that is to be made, if there is a picture to make it of."""
    scan = options.scan()
    entries = find_files(roots, follow_links=scan.follow_links, exclude=scan.exclude)
    require_pictures(entries, roots, with_films=place.folder is not None and reads_films(None))
    precision, model = options.precision or FP32, options.model_name or "auto"
    measured = {}
    if precision != FP32 and model != NONE:
        from mmsearch.ingest.admission import Trial  # which imports encoders

        trial = Trial(installed.cache or default_cache(), max_megapixels=options.max_megapixels or MAX_MEGAPIXELS)
        pictures = find_files(roots, follow_links=scan.follow_links, exclude=scan.exclude)
        measured["agreement"] = trial.agreement(model, precision, pictures, notify)
    settings = installed.settings_for(model, notify, options.variant)
    return {**settings, **measured, "graph": vars(options.settings or GraphSettings())}


def _pending(place: Place) -> list[str]:
    """Return a sentence if a run that made vectors anew was ended, and none has gone on with it."""
    model = None if place.folder is None else pending_model(place.folder)
    return [] if model is None else [pending_text(model)]


def _unusable(store: LibraryWriter, faces: FacesRun) -> list[str]:
    """Return why sets of labels gave none to new pictures, and why faces were not looked for in some."""
    unusable = [] if store.as_folder is None else [*store.as_folder.labels.unusable().values()]
    return [*unusable, *faces.problems]


def _only_planned(
    place: Place, installed: LibraryEncoder, roots: list[bytes], options: IngestOptions, on_progress: OnProgress
) -> IngestReport:
    """Return what a run would do; nothing is written."""
    try:
        opened = place.open()
    except LibraryNotFoundError:
        return dry_run(make_plan(None, roots, options.scan(), on_progress=on_progress))
    with closing(opened) as store, store.reading():
        report = dry_run(make_plan(store, roots, options.scan(store), on_progress=on_progress))
        notices = [*report.notices, *name_missing_roots(store, roots), *store.problems()]
        model = options.model_name
        if options.re_embed:
            aim, (precision, views) = encoder_for(in_folder(store, _ANEW), model, options.variant)
            is_same = (aim, (precision, views)) == (store.setting("model"), variant_of(store))
            unless = ", if that is another encoder by now" if is_same else ""
            how = {1: "", 5: " in 5 views", AUTO: ", in 5 views if those find more"}[views or 1]
            how += "" if precision == FP32 else f" in {precision}, if that agrees with {FP32}"
            notices.append(
                f"the {store.n_pictures} pictures of the library would be embedded anew by {aim}{how}{unless}"
            )
        elif (roots or options.parts) and is_given(store):
            notices.append(
                f"{installed.held(store)}, which were added to it; `index` is refused without --re-embed"
            )
        elif (other := other_variant(store, options.variant)) is not None and place.holds_pictures():
            option, so_far = other
            notices.append(f"{installed.held(store)}, {so_far}; `index {option}` is refused without --re-embed")
        elif model not in (None, "auto", store.setting("model")) and place.holds_pictures():
            held = installed.held(store)
            notices.append(f"{held}; `index --model {model}` is refused unless that is the same encoder")
        if store.as_folder is not None and (of_parts := planned_parts_text(store.as_folder, options.parts, roots)):
            notices.append(of_parts)
        if options.faces is not None and store.as_folder is not None:
            notices += filter(None, [planned_faces(store.as_folder, options.faces)])
        return replace(report, notices=tuple(notices))
