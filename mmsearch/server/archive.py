"""Endpoint that gives the originals of several pictures as one ZIP archive, which is made while it is sent."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Generator, Sequence
from pathlib import PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from fastapi import APIRouter, Request
from starlette.responses import Response

from mmsearch.errors import PictureError
from mmsearch.library import Library
from mmsearch.names import plain, quoted
from mmsearch.records import ImageRecord
from mmsearch.server.bodies import read_json
from mmsearch.server.description import binary, json_body
from mmsearch.server.originals import OpenOriginal, Original, Stream, original_of
from mmsearch.server.pictures import OCTETS, accepted
from mmsearch.server.problems import Unfit, responses
from mmsearch.server.schemas import ArchiveRequest
from mmsearch.server.services import services

router = APIRouter()
MAX_BYTES = 2 << 30
LEFT_OUT = "not in this archive.txt"
_MAX_STEM, _MAX_SUFFIX = 180, 20  # bytes; with a number, 255 are not reached
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])(\..*)?", re.IGNORECASE)  # devices of Windows
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
Wanted = tuple[int, Original | None]
"""The id of a picture, and its file; None where it is not in the library."""


@router.post(
    "/archive",
    tags=["pictures"],
    response_class=Response,
    responses=responses(400, 401, 403, 408, 413, 415, 422, 503) | {200: binary("application/zip", OCTETS)},
    openapi_extra=json_body(ArchiveRequest),
)
async def get_archive(request: Request) -> Response:
    """Return the original files of pictures as one ZIP archive, each if it still is what was indexed.

    Together they may have 2 GiB. Files that are left out are named, with the reason, in `not in this archive.txt`.
    """
    asked = await read_json(request, ArchiveRequest)

    def work(library: Library) -> list[Wanted]:
        wanted = {image_id: original_of(library, image_id) for image_id in asked.ids}
        # Of a film of which several frames are wanted there is one file.
        files = {original.image.path if original else image_id: image_id for image_id, original in wanted.items()}
        return [(image_id, wanted[image_id]) for image_id in files.values()]

    wanted = await services(request).pictures.run(work)
    n_bytes = sum(original.image.size_bytes for _, original in wanted if original is not None)
    if n_bytes > MAX_BYTES:
        text = f"their files have {n_bytes / 1e9:.1f} GB together, at most {MAX_BYTES / 1e9:.1f} GB; ask for fewer"
        raise Unfit([{"loc": ("ids",), "msg": text}])
    headers = {
        "content-disposition": 'attachment; filename="pictures.zip"',
        "content-type": accepted(request, "application/zip"),
    }
    pieces = archive(wanted)
    return Stream(pieces, pieces.close, headers=headers)


def archive(wanted: Sequence[Wanted]) -> Generator[bytes, None, None]:
    """Yield a ZIP archive of pictures, without compression; one block of one file is in memory at a time."""
    pieces, names = _Pieces(), Names()
    left_out = []
    with ZipFile(pieces, "w", ZIP_STORED) as zip_file:
        for image_id, original in wanted:
            if original is None:
                left_out.append(f"picture {image_id}: it is not in the library any more")
                continue
            image = original.image
            try:
                file = OpenOriginal.open(original)
            except PictureError as error:
                left_out.append(f"{plain(quoted(image.path))}: {error}")
                continue
            with zip_file.open(_entry(image, names), "w") as entry:
                for block in file.blocks(0, image.size_bytes):
                    entry.write(block)
                    yield pieces.take()
        if left_out:
            zip_file.writestr(LEFT_OUT, "\n".join(["These files are left out:", *left_out, ""]))
    yield pieces.take()


class Names:
    """Names for the files of an archive: safe on every system, and unlike each other where case does not count."""

    def __init__(self) -> None:
        self._taken = {_key(LEFT_OUT)}

    def of(self, path: str) -> str:
        """Return the name for a file; one that is taken gets a number."""
        name = PurePosixPath(_safe(path.rpartition("/")[2]))
        stem, suffix = _cut(name.stem, _MAX_STEM), _cut(name.suffix, _MAX_SUFFIX)
        wanted, n = stem + suffix, 1
        while _key(wanted) in self._taken:
            n += 1
            wanted = f"{stem} ({n}){suffix}"
        self._taken.add(_key(wanted))
        return wanted


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _safe(name: str) -> str:
    seen = "".join("_" if unicodedata.category(letter) in _UNSEEN else letter for letter in plain(name))
    safe = _FORBIDDEN.sub("_", seen).rstrip(" .")
    return f"_{safe}" if not safe or safe.startswith(" ") or _RESERVED.fullmatch(safe) else safe


def _cut(text: str, n_bytes: int) -> str:
    return text.encode()[:n_bytes].decode(errors="ignore")


def _entry(image: ImageRecord, names: Names) -> ZipInfo:
    changed = time.localtime(image.mtime_ns // 1_000_000_000)[:6]
    entry = ZipInfo(names.of(image.path), changed if 1980 <= changed[0] <= 2107 else (1980, 1, 1, 0, 0, 0))
    entry.file_size = image.size_bytes
    return entry


class _Pieces:
    """What was written and not yet sent."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written waits to be taken."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def take(self) -> bytes:
        data = b"".join(self._written)
        self._written.clear()
        return data
