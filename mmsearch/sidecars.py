"""SIDECARS: what the user wrote about pictures out, as XMP files for other programs, in a folder of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.annotations.xmp_sidecar import BEGIN, xmp_sidecar
from mmsearch.errors import write_errors
from mmsearch.output import Kind, OutputFile

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_SIDECAR = Kind("an XMP sidecar of mmsearch", re.compile(re.escape(BEGIN.encode())))
_TOGETHER = 500


def write_sidecars(store: Store, out: Path, on_progress: Callable[[str, int, int], object]) -> int:
    """Write a sidecar for every picture that the user tagged or captioned, and return how many.

    It says what stands in the picture's file too, as programs take a sidecar for the whole. It is called like the
    picture with `.xmp` behind, in the same folders below `out` as that is in below the folder that was indexed, or
    below the one that holds all that were.

    Raises
    ------
    OutputError
        If a file is there that mmsearch did not write.
    StorageError
        If the system refuses.
    """
    ids = store.annotations.typed_images()
    paths = {image.image_id: Path(image.path) for image in store.images_of_ids(ids)}
    if not paths:
        return 0
    roots = sorted((Path(os.fsdecode(root)) for root in store.roots()), key=lambda root: len(root.parts))
    tops = {next((root for root in roots if root in path.parents), path.parent) for path in paths.values()}
    above = Path(os.path.commonpath(tops))
    for start in range(0, len(ids), _TOGETHER):
        for image_id, texts in store.annotations.of(ids[start : start + _TOGETHER]).items():
            sidecar = out / paths[image_id].relative_to(above)
            sidecar = sidecar.with_name(sidecar.name + ".xmp")
            with write_errors(sidecar):
                sidecar.parent.mkdir(parents=True, exist_ok=True)
            is_beside = sidecar.parent == paths[image_id].parent  # then it is what was read, and written over
            kept = (text for text in texts if not (is_beside and text.source.startswith("sidecar:xmp:")))
            OutputFile(sidecar, _SIDECAR).write_text(xmp_sidecar(kept).decode())
        on_progress("export", min(start + _TOGETHER, len(ids)), len(ids))
    return len(paths)
