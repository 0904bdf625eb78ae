"""SIDECARS: what the user wrote about pictures out, as XMP files for other programs, in a folder of their own."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.annotations.names import outermost_root
from mmsearch.annotations.xmp_sidecar import BEGIN, xmp_sidecar
from mmsearch.errors import OutputError, write_errors
from mmsearch.frames import is_frame
from mmsearch.output import Kind, OutputFile
from mmsearch.records import SidecarsReport
from mmsearch.store.documents import FACE

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_BEGIN = BEGIN.encode()
_SEAL = re.compile(rb"<!-- library (\w+), sha256 (\w+) -->\n")
_SIDECAR = Kind("an XMP sidecar of mmsearch", re.compile(re.escape(_BEGIN)))
_SUFFIX = ".xmp"
_TOGETHER = 500


def write_sidecars(store: Store, out: Path, on_progress: Callable[[str, int, int], object]) -> SidecarsReport:
    """Write a sidecar for every picture that the user tagged or captioned.

    It says what stands in the picture's file too, as programs take a sidecar for the whole. It is called like the
    picture with `.xmp` behind, in the same folders below `out` as that is in below the folder that was indexed, or
    below the one that holds all that were. Sidecars of before are removed where nothing is left of what the user
    wrote, if the library wrote them and nobody changed them since.

    Raises
    ------
    OutputError
        If a file is there that mmsearch did not write, or that was changed since.
    StorageError
        If the system refuses.
    """
    ids = store.annotations.typed_images()
    paths = {image.image_id: Path(image.path) for image in store.images_of_ids(ids)}
    ids = [*{path: image_id for image_id, path in reversed(paths.items())}.values()]  # of a film one frame
    paths = {image_id: paths[image_id] for image_id in sorted(ids)}
    ids = list(paths)
    places, library = _places(store, out, paths), str(store.setting("library"))
    for start in range(0, len(ids), _TOGETHER):
        for image_id, texts in store.annotations.of(ids[start : start + _TOGETHER]).items():
            sidecar = places[image_id]
            with write_errors(sidecar):
                sidecar.parent.mkdir(parents=True, exist_ok=True)
            is_beside = sidecar.parent == paths[image_id].parent  # then it is what was read, and written over
            # Whom faces are is nobody's business elsewhere.
            said = [text for text in texts if text.source != FACE]
            kept = (text for text in said if not (is_beside and text.source.startswith("sidecar:xmp:")))
            if _writer_of(sidecar) == "":
                raise OutputError(
                    f"{sidecar} was changed since mmsearch wrote it; move it away, or choose another folder"
                )
            OutputFile(sidecar, _SIDECAR).write_text(_sealed(xmp_sidecar(kept), library).decode())
        on_progress("export", min(start + _TOGETHER, len(ids)), len(ids))
    written = set(map(os.path.realpath, places.values()))  # a folder may be a link to another one here
    left = [file for file in _of_pictures(store, out, library) if os.path.realpath(file) not in written]
    for file in left:
        with write_errors(file):
            file.unlink(missing_ok=True)
    return SidecarsReport(os.fspath(out), len(paths), len(left))


def _places(store: Store, out: Path, paths: Mapping[int, Path]) -> dict[int, Path]:
    """Return where the sidecar of each picture goes."""
    if not paths:
        return {}
    roots = frozenset(store.roots())
    tops = {
        path.parent if root is None else Path(os.fsdecode(root))
        for path in paths.values()
        for root in [outermost_root(os.fsencode(path.parent), roots)]
    }
    above = Path(os.path.commonpath(tops))
    return {image_id: out / f"{path.relative_to(above)}{_SUFFIX}" for image_id, path in paths.items()}


def _of_pictures(store: Store, out: Path, library: str) -> Iterator[Path]:
    """Yield the files at or below a folder that a library wrote as sidecars of pictures that it has.

    Whether one is of a picture is told by the end of its path, as the same picture may have been elsewhere below
    `out` when fewer folders were indexed. A copy that somebody put elsewhere is of none.
    """
    named: dict[bytes, list[tuple[bytes, Path]]] = defaultdict(list)
    for folder, _, names in os.walk(out):
        for file in (Path(folder, name) for name in names if name.endswith(_SUFFIX)):
            if not file.is_symlink() and _writer_of(file) == library:
                picture = os.fsencode(file.relative_to(out))[: -len(_SUFFIX)]
                named[picture.rpartition(b"/")[2]].append((b"/" + picture, file))
    for known in store.known_files(b"/") if named else ():
        if is_frame(known.path):
            continue
        candidates = named.get(known.path.rpartition(b"/")[2], [])
        for candidate in [each for each in candidates if known.path.endswith(each[0])]:
            candidates.remove(candidate)
            yield candidate[1]


def _sealed(document: bytes, library: str) -> bytes:
    """Return a sidecar that says which library wrote it, and what tells whether it was changed since."""
    said = document.removeprefix(_BEGIN)
    return _BEGIN + f"<!-- library {library}, sha256 {sha256(said).hexdigest()} -->\n".encode() + said


def _writer_of(file: Path) -> str | None:
    """Return the library that wrote a sidecar, nothing if it was changed since, None for any other file."""
    with suppress(OSError):  # what cannot be read is somebody else's
        if file.is_file():
            with file.open("rb") as opened:
                if opened.read(len(_BEGIN)) == _BEGIN:
                    seal, said = _SEAL.fullmatch(opened.readline()), opened.read()
                    return seal[1].decode() if seal and seal[2].decode() == sha256(said).hexdigest() else ""
    return None
