"""GALLERIES: what a user calls a gallery in, a library of it out, with whom or what its pictures show."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from mmsearch.datasets.identities import open_identities
from mmsearch.datasets.open_set import SetOptions
from mmsearch.errors import GroundTruthError
from mmsearch.library import Library
from mmsearch.names import quoted
from mmsearch.places import place_of
from mmsearch.store.base import OnProgress

DEFAULT_MODEL = "cnn:gem"
"""Describes things and places; with local features it knows those that it was never taught."""


def open_gallery(
    source: str,
    *,
    cache: Path,
    model: str | None = None,
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
    on_progress, notify : callable
        As for `Library.index`.

    Raises
    ------
    GroundTruthError
        If the source is no gallery, none of its pictures can be read, or a model is named for a library.
    LibraryLockedError
        If another process is indexing the same gallery.
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
    _bring_up_to_date(library, identity_of.keys(), wanted, on_progress, notify)
    _name_bad(library, identity_of.keys(), notify)
    return library, identity_of


def _bring_up_to_date(
    library: Library,
    pictures: Collection[str],
    model: str,
    on_progress: OnProgress,
    notify: Callable[[str], None],
) -> None:
    is_local = find_spec("cv2") is not None
    library.index(pictures, model=model, local=is_local, on_progress=on_progress)
    if gone := [image.path for image in library if image.path not in pictures]:
        library.remove(gone)
    if library.status().local is None:
        why = "the gallery has too few of them" if is_local else "they need OpenCV: `pip install 'mmsearch[local]'`"
        notify(f"nothing is verified by local features: {why}")


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
