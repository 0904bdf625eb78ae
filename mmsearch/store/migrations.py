"""The schema of the catalog as numbered steps, from an empty file to what this version knows.

A new catalog takes all of them. The writer of an older library takes those that it lacks, in one transaction: a
kill in the middle leaves the library as it was. A reader changes nothing: it sees an older catalog through
temporary views that give what its tables lack.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from mmsearch.store.publish import sidecar_checksums

SCHEMA = 7

_STEPS: dict[int, tuple[str, ...]] = {
    1: (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE vector (row INTEGER PRIMARY KEY, crc32 INTEGER NOT NULL, digest BLOB NOT NULL UNIQUE)",
        """CREATE TABLE image (
            id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, hash BLOB NOT NULL, row INTEGER NOT NULL REFERENCES vector(row),
            width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL, taken TEXT)""",
        "CREATE INDEX image_row ON image(row)",
        "CREATE INDEX image_hash ON image(hash)",
        """CREATE TABLE bad (
            path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
            code TEXT NOT NULL, message TEXT NOT NULL) WITHOUT ROWID""",
        "CREATE TABLE dead (row INTEGER PRIMARY KEY)",
        "CREATE TRIGGER image_added AFTER INSERT ON image BEGIN DELETE FROM dead WHERE row = NEW.row; END",
        """CREATE TRIGGER image_left AFTER DELETE ON image
            WHEN OLD.row >= 0 AND NOT EXISTS (SELECT 1 FROM image WHERE row = OLD.row)
            BEGIN INSERT OR IGNORE INTO dead VALUES (OLD.row); END""",
        """CREATE TRIGGER image_changed AFTER UPDATE OF row ON image WHEN OLD.row <> NEW.row BEGIN
            DELETE FROM dead WHERE row = NEW.row;
            INSERT OR IGNORE INTO dead SELECT OLD.row WHERE NOT EXISTS (SELECT 1 FROM image WHERE row = OLD.row);
            END""",
        "INSERT INTO meta VALUES ('epoch', '0'), ('n_rows', '0'), ('revision', '0')",
    ),
    # Who the library is and every commit it made, what tells a file that was changed in place, the folders that
    # were indexed, and how often a file was tried.
    2: (
        """INSERT OR REPLACE INTO meta VALUES ('library', '"' || lower(hex(randomblob(16))) || '"')""",
        "CREATE TABLE history (number INTEGER PRIMARY KEY, token BLOB NOT NULL)",
        "INSERT INTO history SELECT CAST(value AS INTEGER), randomblob(8) FROM meta WHERE key = 'revision'",
        "ALTER TABLE image ADD COLUMN ctime_ns INTEGER",
        "CREATE INDEX image_size ON image(size)",
        "ALTER TABLE bad ADD COLUMN ctime_ns INTEGER",
        "ALTER TABLE bad ADD COLUMN n_tries INTEGER NOT NULL DEFAULT 1",
        # What ended a worker was not told apart from what ended it by chance.
        "DELETE FROM bad WHERE code = 'quarantined'",
        "CREATE TABLE root (path BLOB PRIMARY KEY) WITHOUT ROWID",
    ),
    # In which way a picture was read, so that those read in another way than now can be told.
    3: ("ALTER TABLE image ADD COLUMN reading INTEGER NOT NULL DEFAULT 1",),
    # Sets of labels, and which picture was given which; see `mmsearch.store.labels`.
    4: (
        """CREATE TABLE label_set (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, facts TEXT NOT NULL, done INTEGER NOT NULL)""",
        """CREATE TABLE label (
            id INTEGER PRIMARY KEY, label_set INTEGER NOT NULL REFERENCES label_set(id), name TEXT NOT NULL,
            vector BLOB NOT NULL, UNIQUE (label_set, name))""",
        """CREATE TABLE given (
            label INTEGER NOT NULL, image INTEGER NOT NULL, probability REAL NOT NULL,
            PRIMARY KEY (label, image)) WITHOUT ROWID""",
        "CREATE INDEX given_image ON given(image)",
        """CREATE TRIGGER image_with_labels_left AFTER DELETE ON image
            BEGIN DELETE FROM given WHERE image = OLD.id; END""",
        # Not where rows are only numbered anew, which goes by way of negative numbers.
        """CREATE TRIGGER image_with_labels_changed AFTER UPDATE OF row ON image
            WHEN OLD.row <> NEW.row AND OLD.row >= 0 AND NEW.row >= 0
            BEGIN UPDATE label_set SET done = OLD.id - 1 WHERE done >= OLD.id; END""",
    ),
    # What stands beside pictures in words, what the user typed, what is searched of both, and further vectors; see
    # `mmsearch.store.annotations`. What was typed is kept whatever becomes of the picture, and found again by the
    # path or the contents.
    5: (
        "ALTER TABLE image ADD COLUMN camera TEXT",
        "ALTER TABLE image ADD COLUMN lens TEXT",
        "ALTER TABLE image ADD COLUMN latitude REAL",
        "ALTER TABLE image ADD COLUMN longitude REAL",
        "ALTER TABLE image ADD COLUMN annotated INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE image ADD COLUMN beside BLOB",
        "CREATE INDEX image_taken ON image(taken, id)",
        "CREATE INDEX image_latitude ON image(latitude) WHERE latitude IS NOT NULL",
        """CREATE TABLE annotation (
            id INTEGER PRIMARY KEY, image INTEGER NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL,
            text TEXT NOT NULL)""",
        "CREATE INDEX annotation_image ON annotation(image)",
        """CREATE INDEX annotation_named ON annotation(kind, text, image)
            WHERE kind IN ('tag', 'person', 'place')""",
        """CREATE TABLE typed (
            id INTEGER PRIMARY KEY, image INTEGER, path BLOB NOT NULL, hash BLOB NOT NULL, kind TEXT NOT NULL,
            text TEXT NOT NULL, UNIQUE (path, kind, text))""",
        "CREATE UNIQUE INDEX typed_caption ON typed(path) WHERE kind = 'caption'",
        "CREATE INDEX typed_image ON typed(image)",
        "CREATE INDEX typed_hash ON typed(hash)",
        "CREATE INDEX typed_text ON typed(kind, text, image)",
        "CREATE TABLE document (image INTEGER PRIMARY KEY, text TEXT NOT NULL, revision INTEGER NOT NULL)",
        "CREATE INDEX document_revision ON document(revision)",
        "CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, facts TEXT NOT NULL)",
        """CREATE TABLE item (
            id INTEGER PRIMARY KEY AUTOINCREMENT, channel INTEGER NOT NULL REFERENCES channel(id),
            image INTEGER NOT NULL, part INTEGER NOT NULL, start REAL, "end" REAL, box BLOB, made_of BLOB NOT NULL,
            crc32 INTEGER NOT NULL, vector BLOB NOT NULL, UNIQUE (channel, image, part))""",
        "CREATE INDEX item_image ON item(image)",
        """CREATE TRIGGER annotated_image_left AFTER DELETE ON image BEGIN
            DELETE FROM annotation WHERE image = OLD.id;
            DELETE FROM document WHERE image = OLD.id;
            DELETE FROM item WHERE image = OLD.id;
            UPDATE typed SET image = NULL WHERE image = OLD.id; END""",
        # By the contents only where nothing was typed for the path: of copies each has its own then.
        """CREATE TRIGGER typed_image_added AFTER INSERT ON image BEGIN
            UPDATE OR IGNORE typed SET image = NEW.id, path = NEW.path WHERE image IS NULL AND hash = NEW.hash
                AND NOT EXISTS (SELECT 1 FROM typed WHERE path = NEW.path);
            UPDATE typed SET image = NEW.id, hash = NEW.hash WHERE image IS NULL AND path = NEW.path; END""",
        """CREATE TRIGGER typed_image_moved AFTER UPDATE OF path ON image WHEN OLD.path <> NEW.path
            BEGIN UPDATE OR IGNORE typed SET path = NEW.path WHERE image = NEW.id; END""",
        """CREATE TRIGGER typed_image_changed AFTER UPDATE OF hash ON image WHEN OLD.hash <> NEW.hash
            BEGIN UPDATE typed SET hash = NEW.hash WHERE image = NEW.id; END""",
    ),
    # Recordings, each with the constellation that its fingerprints are made of, and files that were rejected; see
    # `mmsearch.store.sounds`.
    6: (
        """CREATE TABLE sound (
            id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, ctime_ns INTEGER, hash BLOB NOT NULL, seconds REAL NOT NULL,
            problem TEXT NOT NULL, n_frames INTEGER NOT NULL, crc32 INTEGER NOT NULL, peaks BLOB NOT NULL)""",
        "CREATE INDEX sound_hash ON sound(hash)",
        """CREATE TABLE bad_sound (
            path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER,
            code TEXT NOT NULL, message TEXT NOT NULL, n_tries INTEGER NOT NULL) WITHOUT ROWID""",
    ),
    # Films: a frame of one is an image with a time, named by `mmsearch.frames`, and `part` counts those of a film;
    # of a photograph that is 0. Frames go with their film.
    7: (
        """CREATE TABLE film (
            id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, ctime_ns INTEGER, hash BLOB NOT NULL, ends BLOB NOT NULL, seconds REAL,
            hdr TEXT NOT NULL, read_to REAL NOT NULL, is_whole INTEGER NOT NULL, problem TEXT NOT NULL)""",
        "CREATE INDEX film_hash ON film(hash)",
        """CREATE TABLE bad_film (
            path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER,
            code TEXT NOT NULL, message TEXT NOT NULL, n_tries INTEGER NOT NULL) WITHOUT ROWID""",
        "ALTER TABLE image ADD COLUMN film INTEGER",
        "ALTER TABLE image ADD COLUMN part INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE image ADD COLUMN at REAL",
        "ALTER TABLE image ADD COLUMN start REAL",
        'ALTER TABLE image ADD COLUMN "end" REAL',
        "CREATE INDEX image_film ON image(film, part) WHERE film IS NOT NULL",
        "CREATE TRIGGER film_left AFTER DELETE ON film BEGIN DELETE FROM image WHERE film = OLD.id; END",
    ),
}
_WITHOUT_LABELS = (
    "CREATE TEMP TABLE label_set (id INTEGER PRIMARY KEY, name TEXT, facts TEXT, done INTEGER)",
    "CREATE TEMP TABLE label (id INTEGER PRIMARY KEY, label_set INTEGER, name TEXT, vector BLOB)",
    "CREATE TEMP TABLE given (label INTEGER, image INTEGER, probability REAL)",
)
_WITHOUT_FRAMES = 'NULL AS film, 0 AS part, NULL AS at, NULL AS start, NULL AS "end" FROM main.image'
_UNANNOTATED = (
    "NULL AS camera, NULL AS lens, NULL AS latitude, NULL AS longitude, 0 AS annotated, NULL AS beside, "
    f"{_WITHOUT_FRAMES}"
)
_WITHOUT_ANNOTATIONS = (
    "CREATE TEMP TABLE annotation (id INTEGER PRIMARY KEY, image INTEGER, kind TEXT, source TEXT, text TEXT)",
    "CREATE TEMP TABLE typed (id INTEGER PRIMARY KEY, image INTEGER, path BLOB, hash BLOB, kind TEXT, text TEXT)",
    "CREATE TEMP TABLE document (image INTEGER PRIMARY KEY, text TEXT, revision INTEGER)",
    "CREATE TEMP TABLE channel (id INTEGER PRIMARY KEY, name TEXT, facts TEXT)",
    """CREATE TEMP TABLE item (id INTEGER PRIMARY KEY, channel INTEGER, image INTEGER, part INTEGER, start REAL,
        "end" REAL, box BLOB, made_of BLOB, crc32 INTEGER, vector BLOB)""",
)
_WITHOUT_SOUNDS = (
    """CREATE TEMP TABLE sound (id INTEGER PRIMARY KEY, path BLOB, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
        hash BLOB, seconds REAL, problem TEXT, n_frames INTEGER, crc32 INTEGER, peaks BLOB)""",
    """CREATE TEMP TABLE bad_sound (path BLOB, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, code TEXT,
        message TEXT, n_tries INTEGER)""",
)
_WITHOUT_FILMS = (
    """CREATE TEMP TABLE film (id INTEGER PRIMARY KEY, path BLOB, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
        hash BLOB, ends BLOB, seconds REAL, hdr TEXT, read_to REAL, is_whole INTEGER, problem TEXT)""",
    """CREATE TEMP TABLE bad_film (path BLOB, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, code TEXT,
        message TEXT, n_tries INTEGER)""",
)
_READ_AS_NOW: dict[int, tuple[str, ...]] = {
    1: (
        f"CREATE TEMP VIEW image AS SELECT *, NULL AS ctime_ns, 1 AS reading, {_UNANNOTATED}",
        "CREATE TEMP VIEW bad AS SELECT *, NULL AS ctime_ns, 1 AS n_tries FROM main.bad",
        "CREATE TEMP TABLE history (number INTEGER PRIMARY KEY, token BLOB NOT NULL)",
        "CREATE TEMP TABLE root (path BLOB PRIMARY KEY)",
        *_WITHOUT_LABELS,
        *_WITHOUT_ANNOTATIONS,
        *_WITHOUT_SOUNDS,
        *_WITHOUT_FILMS,
    ),
    2: (
        f"CREATE TEMP VIEW image AS SELECT *, 1 AS reading, {_UNANNOTATED}",
        *_WITHOUT_LABELS,
        *_WITHOUT_ANNOTATIONS,
        *_WITHOUT_SOUNDS,
        *_WITHOUT_FILMS,
    ),
    3: (
        f"CREATE TEMP VIEW image AS SELECT *, {_UNANNOTATED}",
        *_WITHOUT_LABELS,
        *_WITHOUT_ANNOTATIONS,
        *_WITHOUT_SOUNDS,
        *_WITHOUT_FILMS,
    ),
    4: (
        f"CREATE TEMP VIEW image AS SELECT *, {_UNANNOTATED}",
        *_WITHOUT_ANNOTATIONS,
        *_WITHOUT_SOUNDS,
        *_WITHOUT_FILMS,
    ),
    5: (f"CREATE TEMP VIEW image AS SELECT *, {_WITHOUT_FRAMES}", *_WITHOUT_SOUNDS, *_WITHOUT_FILMS),
    6: (f"CREATE TEMP VIEW image AS SELECT *, {_WITHOUT_FRAMES}", *_WITHOUT_FILMS),
}


def migrate(db: sqlite3.Connection, folder: Path, *, schema: int = 0) -> None:
    """Take the steps from `schema` on to the present one; inside a transaction of the writer.

    Parameters
    ----------
    db : sqlite3.Connection
        The catalog; empty where `schema` is 0.
    folder : Path
        The library.
    schema : int
        That of the catalog.
    """
    for number in range(schema + 1, SCHEMA + 1):
        for statement in _STEPS[number]:
            db.execute(statement)
    if schema == 1:
        # Caches of before say nothing of the history; those that are there now are known by their checksums.
        db.execute("INSERT INTO meta VALUES ('adopted', ?)", (json.dumps(sidecar_checksums(folder)),))
    db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (json.dumps(SCHEMA),))


def foreign_object(db: sqlite3.Connection, *, schema: int) -> str | None:
    """Return what a database has that no catalog of a schema has, or lacks that every one has; None if nothing.

    Tables, views and triggers are compared word for word: those of a stranger may do anything when they are used.
    """
    with closing(sqlite3.connect(":memory:")) as ours:
        for number in range(1, schema + 1):
            for statement in _STEPS[number]:
                ours.execute(statement)
        differing = sorted(_objects(db) ^ _objects(ours))
    return f"{differing[0][0]} {differing[0][1]}" if differing else None


def _objects(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """Return the kind, the name and the words of all that a database is made of."""
    listed = db.execute("SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_master")
    return {(kind, name, " ".join((table, *sql.split()))) for kind, name, table, sql in listed}


def read_as_now(db: sqlite3.Connection, *, schema: int) -> None:
    """Let a connection that reads a catalog of an older schema see it as one of the present schema."""
    for statement in _READ_AS_NOW[schema]:
        db.execute(statement)
