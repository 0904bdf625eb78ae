"""GALLERIES: what a user calls a gallery in, a library of it out, with whom or what its pictures show."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from mmsearch.datasets.identities import open_identities
from mmsearch.datasets.open_set import SetOptions
from mmsearch.errors import EncoderError, GroundTruthError, PictureError
from mmsearch.faces.known import Asked, compared_faces, shows_people
from mmsearch.faces.models import require_models
from mmsearch.faces.packing import WHAT, unpacked_faces
from mmsearch.images import read_file
from mmsearch.library import Library
from mmsearch.names import quoted
from mmsearch.places import place_of
from mmsearch.processes.decoder import Limits
from mmsearch.records import MAX_MEGAPIXELS
from mmsearch.store.base import OnProgress, in_folder

DEFAULT_MODEL = "cnn:gem"
"""Describes things and places; with local features it knows those that it was never taught."""
_LOOKED_AT = 16  # identities of a new gallery, to see whether it is one of people
_SAID = 10  # names of those without a face
_OTHER_THINGS = "shows_no_people"  # setting: the pictures that were looked at
_LIMITS = Limits.of_own(MAX_MEGAPIXELS)


def open_gallery(
    source: str,
    *,
    cache: Path,
    model: str | None = None,
    faces: bool | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    notify: Callable[[str], None] = lambda sentence: None,
) -> tuple[Library, dict[str, str] | None]:
    """Return the library of a gallery, up to date, and the identities of its pictures for `Library.identify`.

    Parameters
    ----------
    source : str
        A library, which is taken as it is and whose folders are the identities (None); or pictures of known
        individuals, as `open_identities` reads them. Of those a library is kept in the cache folder, with local
        features where OpenCV is installed.
    cache : Path
        Where that library and exported encoders are kept.
    model : str or None
        Encoder of the kept library, as for `Library.index`; None is `DEFAULT_MODEL`. A library has its own.
    faces : bool or None
        Whether the faces in the pictures are kept; False erases those of before. None looks for faces in one
        picture of each of 16 identities, once for these, where what finds them is installed, and keeps faces if
        two thirds of them show one. A library has its own.
    on_progress, notify : callable
        As for `Library.index`.

    Raises
    ------
    GroundTruthError
        If the source is no gallery, none of its pictures can be read, or a model is named for a library.
    LibraryLockedError
        If another process is indexing the same gallery.
    ModelNotFoundError
        If faces are asked for, and what finds them is not installed.
    """
    if place_of(source, cache).holds_library():
        if model is not None:
            raise GroundTruthError(f"{source}: is a library, which has its encoder; leave the model out")
        return Library.open(source, cache=cache), None
    known = open_identities(source, SetOptions(cache))
    for sentence in known.left_out:
        notify(f"not in the gallery: {sentence}")
    wanted = model or DEFAULT_MODEL
    key = sha256(os.fsencode(f"{Path(source).absolute()}\0{wanted}")).hexdigest()[:24]
    library = Library.open(cache / "galleries" / key, cache=cache)
    paths = [os.path.normpath(path.absolute()) for path in known.pictures]  # as `index` writes them
    identity_of = dict(zip(paths, known.identities, strict=True))
    sample = _sample(identity_of)
    are_of_people = _are_of_people(library, sample, on_progress, notify) if faces is None else faces
    # Those of before are erased where they are not wanted or cannot be compared: they are found again if need be.
    _bring_up_to_date(library, identity_of.keys(), wanted, bool(are_of_people), on_progress, notify)
    _name_bad(library, identity_of.keys(), notify)
    if are_of_people:
        _name_faceless(library, identity_of, bool(faces), notify)
    elif faces is None and are_of_people is not None:
        with library.place.writer() as store:
            store.keep({_OTHER_THINGS: _named(sample)})
    return library, identity_of


def _are_of_people(
    library: Library, sample: Sequence[str], on_progress: OnProgress, notify: Callable[[str], None]
) -> bool | None:
    """Return whether the pictures of a gallery show people; None if they were looked at before, or cannot be."""
    store = library.reader() if library.place.holds_library() else None
    had_faces = store is not None and store.as_folder is not None and store.as_folder.faces.are_wanted
    if not had_faces and store is not None and store.setting(_OTHER_THINGS) == _named(sample):
        return None
    try:
        require_models()
    except EncoderError as error:
        if had_faces:
            notify(f"no faces are compared: {error}")
        return None
    if had_faces:
        return True
    with_face = []
    for done, path in enumerate(sample):
        on_progress("faces", done, len(sample))
        with suppress(PictureError):
            records, _ = unpacked_faces(library.decoder().faces(read_file(os.fsencode(path))[0], limits=_LIMITS))
            with_face += [path] * (len(records) > 0)
    on_progress("faces", len(sample), len(sample))
    return shows_people(sample, with_face)


def _named(sample: Sequence[str]) -> str:
    return sha256(os.fsencode("\0".join(sample))).hexdigest()


def _sample(identity_of: Mapping[str, str]) -> list[str]:
    """Return the first picture of each of some identities, spread over all by their names."""
    first_of: dict[str, str] = {}
    for path, name in sorted(identity_of.items()):
        first_of.setdefault(name, path)
    names = sorted(first_of)
    n = min(len(names), _LOOKED_AT)
    return [first_of[names[round(place * (len(names) - 1) / max(1, n - 1))]] for place in range(n)]


def _bring_up_to_date(
    library: Library,
    pictures: Collection[str],
    model: str,
    faces: bool,
    on_progress: OnProgress,
    notify: Callable[[str], None],
) -> None:
    is_local = find_spec("cv2") is not None
    library.index(pictures, model=model, local=is_local, faces=faces, on_progress=on_progress)
    if gone := [image.path for image in library if image.path not in pictures]:
        library.remove(gone)
    if library.status().local is None:
        why = "the gallery has too few of them" if is_local else "they need OpenCV: `pip install 'mmsearch[local]'`"
        notify(f"nothing is verified by local features: {why}")


def _name_faceless(
    library: Library, identity_of: Mapping[str, str], is_asked: bool, notify: Callable[[str], None]
) -> None:
    """Say that faces answer, and who has none."""
    store = library.reader()
    if not is_asked and compared_faces(store, Asked.of(identity_of, 1, None, False, None, None))[0] is None:
        return
    ids = set(in_folder(store, WHAT).faces.load().image_ids.tolist())
    seen = {identity_of[image.path] for image in library if image.image_id in ids and image.path in identity_of}
    faceless = sorted(set(identity_of.values()) - seen)
    notify("faces answer where a picture has any; with --no-faces whole pictures are compared")
    if faceless:
        more = f" and {len(faceless) - _SAID} others" if len(faceless) > _SAID else ""
        notify(f"no face was found in the pictures of {', '.join(faceless[:_SAID])}{more}")


def _name_bad(library: Library, pictures: Collection[str], notify: Callable[[str], None]) -> None:
    """Name what is not in the gallery, or raise GroundTruthError if nothing is."""
    bad = [picture for picture in library.status().bad if picture.path in pictures]
    if len(bad) >= len(pictures):
        raise GroundTruthError(
            f"none of the {len(pictures)} pictures of the gallery can be read; the first: "
            f"{quoted(bad[0].path)}: {bad[0].message}"
        )
    for picture in bad:
        notify(f"not in the gallery: {quoted(picture.path)}: {picture.message}")
