"""Requests of all kinds, good and bad, as `serving.py --mixed` sends them: the same for a seed, except texts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from hostile import PICTURES, noise, progressive_jpeg
from synthetic import new_text

from mmsearch import Library
from mmsearch.samples import sample_folder

BOUNDARY = "a-line-between-parts"
JSON, FORM = "application/json", f"multipart/form-data; boundary={BOUNDARY}"
_OK, _UNFIT = frozenset({"200"}), frozenset({"422"})
_BUSY = frozenset({"503"})


def library_of_samples(
    work: Path, *, model: str = "offline", cache: Path | None = None, address: str | None = None
) -> Path | str:
    """Return a library of the sample photographs and of pictures that cost much whenever they are looked at.

    It is one in a folder, and kept, unless an address is given.
    """
    photos, folder = work / "photos", work / "library"
    if folder.exists() and address is None:
        return folder
    photos.mkdir(parents=True, exist_ok=True)
    for path in sample_folder().glob("*.jpg"):
        (photos / path.name).write_bytes(path.read_bytes())
    (photos / "hostile-png.png").write_bytes(PICTURES["png, RGBA"]())
    (photos / "hostile-webp.webp").write_bytes(PICTURES["webp of 40 bytes"]())
    (photos / "hostile-slow.jpg").write_bytes(progressive_jpeg(200, 8_000, 7_999))
    (photos / "large.png").write_bytes(noise(2_500, 2_500))
    with Library.open(address or folder, cache=cache) as library:
        library.index([photos], model=model, local=address is None)
    return address or folder


@dataclass(frozen=True)
class Request:
    """One request: what kind it is, and the statuses that a server with nothing else to do may answer."""

    kind: str
    method: str
    path: str
    body: bytes = b""
    media_type: str = ""
    expected: frozenset[str] = _OK
    has_token: bool = True

    def message(self, port: int, token: str) -> bytes:
        """Return the bytes to be sent."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Authorization: Bearer {token}\r\n" if self.has_token else ""
        head += f"Content-Type: {self.media_type}\r\n" if self.media_type else ""
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass(frozen=True)
class Answered:
    """What was asked, and the status, or the name of what went wrong."""

    request: Request
    status: str

    @property
    def is_expected(self) -> bool:
        """Whether the description allows the answer; 503 is what a server says that has too much to do."""
        return self.status in self.request.expected | _BUSY


def form(query: dict[str, Any], picture: bytes) -> bytes:
    """Return a body of one picture and a query."""
    parts = (("query", json.dumps(query).encode()), ('picture"; filename="it', picture))
    line = f"--{BOUNDARY}".encode()
    lines = [
        b'%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (line, name.encode(), part)
        for name, part in parts
    ]
    return b"".join(lines) + line + b"--\r\n"


def as_new(picture: bytes) -> bytes:
    """Return a picture that was never sent before: its vector is not remembered. Any reader passes over the end."""
    return picture + b"\0\0\0\x10free" + os.urandom(8)


class Mixture:
    """A stream of requests to a library whose pictures have these ids by name, and visual words or none."""

    def __init__(self, ids: dict[str, int], seed: int, *, has_words: bool = True) -> None:
        self._rng = np.random.default_rng(seed)
        self._local = ("local",) if has_words else ()
        self._ids = [image_id for name, image_id in sorted(ids.items()) if not name.startswith("hostile")]
        self._samples = [path.read_bytes() for path in sorted(sample_folder().glob("*.jpg"))]
        kinds: dict[Callable[[], Request], int] = {
            self._text: 30, self._example: 10, self._upload: 8, self._bad_upload: 4, self._filter: 8,
            self._classify: 3, self._look: 24, self._count: 11, self._malformed: 8,
        }  # fmt: skip
        self._kinds = list(kinds)
        self._shares = np.array(list(kinds.values())) / sum(kinds.values())

    def next_request(self) -> Request:
        """Return one more."""
        return self._kinds[int(self._rng.choice(len(self._kinds), p=self._shares))]()

    def _any_of(self, values: Any) -> Any:
        return values[int(self._rng.integers(len(values)))]

    def _text(self) -> Request:
        return _json("text", "/search", {"text": new_text(), "k": 10})

    def _example(self) -> Request:
        example: dict[str, Any] = {"id": int(self._any_of(self._ids))}
        asked = {"pictures": [example], "rerank": self._any_of(("auto", "none", *self._local)), "k": 10}
        if self._rng.random() < 0.3:
            example["box"] = [10, 10, 200, 200]
        return _json("example", "/search", asked)

    def _upload(self) -> Request:
        asked = {"k": 10, "mode": self._any_of(("global", *self._local))}
        return Request("upload", "POST", "/search/upload", form(asked, as_new(self._any_of(self._samples))), FORM)

    def _bad_upload(self) -> Request:
        cheap = self._any_of(("webp of 40 bytes", "gif, large screen", "jpeg, 60000 x 900"))
        sample = self._any_of(self._samples)
        picture = self._any_of((sample[: len(sample) // 2], b"<html>", b"", sample[:40], PICTURES[cheap]()))
        return Request("bad upload", "POST", "/search/upload", form({"k": 5}, as_new(picture)), FORM, _OK | _UNFIT)

    def _filter(self) -> Request:
        where = self._any_of(("width > 400", "name = *.jpg", "name ~ *a*", "size < 100kB", "format = PNG"))
        if self._rng.random() < 0.5:
            path = f"/pictures?limit=20&where={quote(where)}"
            return Request("filtered list", "GET", path, expected=_OK | _UNFIT)
        asked = {"text": new_text(), "where": [where]}
        return _json("filtered text", "/search", asked, _OK | _UNFIT)

    def _classify(self) -> Request:
        labels = [new_text() for _ in range(int(self._rng.integers(1, 6)))]
        if self._rng.random() < 0.5:
            picture = self._any_of(self._samples)
            return Request(
                "classify upload", "POST", "/classify/upload", form({"labels": labels}, as_new(picture)), FORM
            )
        asked = {"labels": labels, "pictures": [{"id": int(self._any_of(self._ids))}]}
        return _json("classify", "/classify", asked)

    def _look(self) -> Request:
        side = self._any_of((160, 320, 640, 1280))
        what = self._any_of(("", f"/thumbnail?side={side}", f"/thumbnail?side={side}", "/file"))
        return Request(f"picture {what.partition('?')[0]}", "GET", f"/pictures/{self._any_of(self._ids)}{what}")

    def _count(self) -> Request:
        path = self._any_of(("/facets", "/status", "/metrics", "/pictures?order=path", "/openapi.json", "/"))
        return Request(path, "GET", path)

    def _malformed(self) -> Request:
        return self._any_of((
            Request("cut JSON", "POST", "/search", b'{"text": ', JSON, _UNFIT),
            Request("unknown member", "POST", "/search", b'{"txt": "a"}', JSON, _UNFIT),
            Request("nested JSON", "POST", "/search", b"[" * 5_000, JSON, _UNFIT),
            Request("no form", "POST", "/search/upload", b"x", FORM, frozenset({"400"})),
            Request("other kind", "POST", "/search", b"x", "text/plain", frozenset({"415"})),
            Request("no such picture", "GET", "/pictures/999999999", expected=frozenset({"404"})),
            Request("no such path", "GET", "/..%2f..%2fetc%2fpasswd", expected=frozenset({"404"})),
            Request("no such method", "BREW", "/status", expected=frozenset({"405"})),
            Request("no such side", "GET", f"/pictures/{self._ids[0]}/thumbnail?side=7", expected=_UNFIT),
            Request("no token", "GET", "/status", expected=frozenset({"401"}), has_token=False),
        ))  # fmt: skip


def _json(kind: str, path: str, asked: dict[str, Any], expected: frozenset[str] = _OK) -> Request:
    return Request(kind, "POST", path, json.dumps(asked).encode(), JSON, expected)
