"""DOCUMENTS: what files and users say of pictures in a catalog, and the text of each picture that is searched.

A document is made of all that is said of a picture, in the same transaction as what changed of that. It carries the
number of the commit that wrote it, so that what is made of documents can go on from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.annotations.tokens import document_of, tokens_of
from mmsearch.errors import LibraryDamagedError
from mmsearch.records import ANNOTATING

USER = "user"
"""The source of what the user typed."""
FACE = "face"
"""The source of the names that the user gave to groups of faces (`mmsearch.store.people`)."""
CHANNEL = "captions"
"""The channel of the vectors of captions; see `mmsearch.store.captions`."""
_CHUNK = 500  # ids of one statement
_CAPTIONS = (Kind.CAPTION, Kind.TITLE)
_LEAST_WORDS = 3  # of a sentence
_MOST_CAPTIONS = 16  # of a picture


def annotate(db: sqlite3.Connection, image_id: int, annotations: Annotations, beside: bytes | None) -> None:
    """Keep what files say of a picture in place of what they said; inside a transaction, documents come later."""
    latitude, longitude = annotations.position or (None, None)
    n = db.execute(
        "UPDATE image SET camera = ?, lens = ?, latitude = ?, longitude = ?, annotated = ?, beside = ? "
        "WHERE id = ?",
        (annotations.camera, annotations.lens, latitude, longitude, ANNOTATING, beside, image_id),
    ).rowcount
    if n == 0:
        return  # it left meanwhile
    db.execute("DELETE FROM annotation WHERE image = ? AND source <> ?", (image_id, FACE))
    db.executemany(
        "INSERT INTO annotation (image, kind, source, text) VALUES (?, ?, ?, ?)",
        [(image_id, said.kind.value, said.source, said.text) for said in annotations.texts],
    )


def write_documents(db: sqlite3.Connection, image_ids: Iterable[int]) -> None:
    """Bring the documents of pictures up to date with what is said of them; inside a transaction of the writer."""
    image_ids = list(image_ids)
    for start in range(0, len(image_ids), _CHUNK):
        chunk = image_ids[start : start + _CHUNK]
        said = {image_id: list[tuple[str, str, str]]() for image_id in chunk} | said_of(db, chunk)
        drop_unsaid(db, said)
        documents = [(image_id, document_of(text for *_, text in said[image_id])) for image_id in chunk]
        db.executemany("DELETE FROM document WHERE image = ?", [(i,) for i, text in documents if not text])
        # One that stays as it was keeps its number.
        db.executemany(
            "INSERT INTO document SELECT ?, ?, value + 1 FROM meta WHERE key = 'revision' ON CONFLICT (image) "
            "DO UPDATE SET text = excluded.text, revision = excluded.revision WHERE text <> excluded.text",
            [(image_id, text) for image_id, text in documents if text],
        )


def stale_documents(db: sqlite3.Connection, most: int | None) -> list[int]:
    """Return the pictures whose documents are not what is said of them, or that lack one.

    Only `most` of the documents are compared, from the first to the last.
    """
    sql = "SELECT image FROM annotation UNION SELECT image FROM typed WHERE image IS NOT NULL "
    ids = [image_id for (image_id,) in db.execute(f"{sql} UNION SELECT image FROM document ORDER BY image")]
    step = 1 if most is None else max(1, len(ids) // most)
    stale = []
    for start in range(0, len(ids), _CHUNK * step):
        chunk = ids[start : start + _CHUNK * step : step]
        said = said_of(db, chunk)
        marks = ",".join("?" * len(chunk))
        kept = dict(db.execute(f"SELECT image, text FROM document WHERE image IN ({marks})", chunk))
        stale += [i for i in chunk if kept.get(i, "") != document_of(text for *_, text in said.get(i, ()))]
    return stale


def said_of(db: sqlite3.Connection, image_ids: Sequence[int]) -> dict[int, list[tuple[str, str, str]]]:
    """Return (kind, source, text) of all that is said of some pictures, what the user typed first."""
    said: dict[int, list[tuple[str, str, str]]] = {}
    for start in range(0, len(image_ids), _CHUNK):
        chunk = [int(image_id) for image_id in image_ids[start : start + _CHUNK]]
        marks = ",".join("?" * len(chunk))
        rows = db.execute(
            f"SELECT image, kind, '{USER}', text, id FROM typed WHERE image IN ({marks}) "
            f"UNION ALL SELECT image, kind, source, text, id FROM annotation WHERE image IN ({marks}) ",
            [*chunk, *chunk],
        ).fetchall()
        rows.sort(key=lambda row: (row[0], row[2] != USER, row[4]))
        for image_id, of_image in groupby(rows, key=itemgetter(0)):
            said[image_id] = [(kind, source, text) for _, kind, source, text, _ in of_image]
    return said


def captions_of(said: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return the captions among all that is said of a picture, given as (kind, source, text), each once."""
    texts = dict.fromkeys(text for kind, _, text in said if kind in _CAPTIONS)
    return [text for text in texts if len(tokens_of(text)) >= _LEAST_WORDS][:_MOST_CAPTIONS]


def digest_of(text: str) -> bytes:
    """Return 16 bytes that tell a text from others."""
    return blake2b(text.encode(), digest_size=16).digest()


def drop_unsaid(db: sqlite3.Connection, said: Mapping[int, Iterable[tuple[str, str, str]]]) -> None:
    """Forget vectors of captions that pictures do not have any more; inside a transaction.

    `said` is all that is said of each picture, as (kind, source, text).
    """
    ids = list(said)
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        kept = db.execute(
            "SELECT item.id, image, made_of FROM item JOIN channel ON channel.id = channel "
            f"WHERE name = '{CHANNEL}' AND image IN ({','.join('?' * len(chunk))})",
            chunk,
        ).fetchall()
        saying = {image_id: set(map(digest_of, captions_of(said[image_id]))) for _, image_id, _ in kept}
        gone = [(item_id,) for item_id, image_id, digest in kept if digest not in saying[image_id]]
        db.executemany("DELETE FROM item WHERE id = ?", gone)


def annotations_of(db: sqlite3.Connection, image_ids: Sequence[int]) -> dict[int, tuple[Annotation, ...]]:
    """Return all that is said of some pictures, what the user typed first; others are left out."""
    try:
        return {
            image_id: tuple(Annotation(Kind(kind), source, text) for kind, source, text in said)
            for image_id, said in said_of(db, image_ids).items()
        }
    except ValueError as error:
        raise LibraryDamagedError(f"the catalog is damaged ({error}); run `mmsearch verify`") from error
