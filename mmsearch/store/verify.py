"""Prove a library whole: every committed byte against its checksum."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mmsearch.indexes.hnsw import GRAPH
from mmsearch.records import Fault, VerifyReport
from mmsearch.store.folder import Store
from mmsearch.store.history import history_problem
from mmsearch.store.lock import is_being_written
from mmsearch.store.matrix import row_checksum, stored_rows
from mmsearch.store.private import open_to_others
from mmsearch.store.publish import MANIFEST, manifest_problem, withdraw
from mmsearch.store.sqlite_errors import sqlite_errors

_NAMED = 5  # pictures of one vector named in full
_BLOCK = 65_536  # rows checked at a time


def verify(store: Store, *, is_repair: bool = False) -> VerifyReport:
    """Check the catalog's structure and history, every vector, labels, annotations, graph and visual words.

    With `is_repair` what is damaged or lost is dropped, and the catalog that is there counts from now on. Dropped
    pictures are embedded again by the next `index` of their folder, a dropped graph is rebuilt; until then search
    is exact. Dropped visual words are made again by the same `index`, and labels and annotations of what is not
    there are dropped. Damaged recordings are dropped until the next `sounds.index`, and the index of all others is
    made anew.
    """
    faults = _catalog_faults(store)
    is_at_work = not is_repair and is_being_written(store.folder)
    with store.catalog.reading():
        history = history_problem(store.files, store.catalog)
        faults += [
            Fault("wrong_catalog" if problem == history else "lost_vectors", problem)
            for problem in store.problems()
        ]
        labels = store.labels.problems(is_at_work=is_at_work)
        annotations, n_waiting = store.annotations.faults(), store.annotations.n_waiting
        texts, damaged, damaged_parts = store.annotations.problems(), damaged_rows(store), store.parts.damaged()
        faults += _vector_faults(store, damaged) + _further_faults(store, damaged_parts)
        silent, unheard = (store.sounds.damaged(), store.sounds.problems()) if store.has_sounds else ([], {})
        n_rows, words, compared = store.n_rows, store.words.problems(), store.comparisons.problems()
        indexes, manifest = store.indexes.problems() | store.parts.problems(), manifest_problem(store.files)
    if history_problem(store.files, store.catalog) is None:  # else they may have been acknowledged
        faults += _surplus_faults(store)
    if manifest:
        what = f"no index and no visual words can be used: {manifest}"
        faults.append(Fault("damaged_manifest", what, str(store.files / MANIFEST)))
    exactly = "cannot be used, and what went by it is searched exactly"
    faults += [Fault("damaged_index", f"the index `{kind}` {exactly}: {why}") for kind, why in indexes.items()]
    faults += [Fault("damaged_labels", problem) for problem in labels]
    faults += [Fault("damaged_annotations", f"the annotations are not whole: {problem}") for problem in annotations]
    faults += [
        Fault("damaged_annotations", f"{kind} are searched without their cache, which cannot be used: {problem}")
        for kind, problem in texts.items()
    ]
    faults += _cache_faults(words, compared) + _sound_faults(silent, unheard)
    n_dropped = 0
    if is_repair:
        n_dropped = store.drop_rows(damaged) if damaged else 0
        n_dropped += store.give_up_lost_rows()
        if manifest:
            withdraw(store.files, GRAPH.name)  # one that is damaged goes altogether
        for kind in (*indexes, *words, *texts, *compared, *unheard):
            withdraw(store.files, kind)
        store.note_history()
        if labels:
            store.labels.drop_orphans()
        if annotations:
            store.annotations.repair()
        store.parts.forget(damaged_parts)
        if silent:
            store.sounds.commit(gone=[sound_id for sound_id, _ in silent])
        if silent or unheard or (manifest and store.has_sounds):
            store.sounds.settle()
    notices = tuple(filter(None, [open_to_others(store.folder), _waiting(n_waiting)]))
    return VerifyReport(n_rows, tuple(faults), n_dropped, notices, n_recordings_dropped=len(silent) * is_repair)


def _cache_faults(words: Mapping[str, str], compared: Mapping[str, str]) -> list[Fault]:
    """Return a fault for what is wrong with visual words, and with what was compared."""
    faults = [
        Fault("damaged_words", f"the visual words are not whole: {problem}")
        for problem in dict.fromkeys(words.values())
    ]
    anew = "`mmsearch duplicates` compares all pictures anew, as what was kept cannot be used"
    return faults + [Fault("damaged_comparisons", f"{anew}: {problem}") for problem in compared.values()]


def _sound_faults(damaged: list[tuple[int, bytes]], problems: Mapping[str, str]) -> list[Fault]:
    """Return a fault for every recording that is damaged, and for what is wrong with the index of all."""
    what = (
        "the constellation of this recording differs from its checksum; `mmsearch verify --repair` forgets it, and "
        "`mmsearch sound index` on its folder hears it again"
    )
    faults = [Fault("damaged_sounds", what, os.fsdecode(path)) for _, path in damaged]
    slowly = "recordings are searched slowly until `mmsearch verify --repair`, as their index cannot be used"
    return faults + [Fault("damaged_sounds", f"{slowly}: {problem}") for problem in problems.values()]


def _waiting(n: int) -> str | None:
    """Return what is worth knowing of typed texts whose pictures left; None without any."""
    if n == 0:
        return None
    texts, they = ("typed text is", "it comes") if n == 1 else ("typed texts are", "they come")
    return f"{n} {texts} kept of pictures that left, with which {they} back"


def damaged_rows(store: Store) -> list[int]:
    """Return the rows, used or not, that are there and whose bytes differ from their checksum."""
    n_present = store.lost_rows().start
    matrix = store.first_rows(n_present)
    damaged: list[int] = []
    for start in range(0, n_present, _BLOCK):
        rows = range(start, min(start + _BLOCK, n_present))
        expected = store.catalog.checksums(rows)
        checksums = zip(rows, map(row_checksum, matrix[rows.start : rows.stop]), strict=True)
        damaged += [row for row, checksum in checksums if expected.get(row, checksum) != checksum]
    return damaged


def _vector_faults(store: Store, damaged: list[int]) -> list[Fault]:
    """Return what is wrong with the vector file: a fault for each picture of a damaged row, and what is counted."""
    faults = []
    unused = set(store.catalog.dead_rows()).intersection(damaged)
    used = [row for row in damaged if row not in unused]
    paths_of: dict[int, list[str]] = {row: [] for row in used}
    for image in store.catalog.images_of_rows(used):
        paths_of[image.row].append(image.path)
    for row, paths in paths_of.items():
        what = f"vector {row} differs from its checksum; it belongs to {_listed(paths)}"
        faults += [Fault("damaged_vector", what, path) for path in paths or (None,)]
    file = str(store.vectors_path(store.epoch))
    if unused:
        what = f"{len(unused)} vectors that no picture uses any more differ from their checksums"
        faults.append(Fault("unused_vectors", what, file))
    n_lost = len(store.lost_rows())
    if n_lost:
        what = f"the vector file holds {store.n_rows - n_lost} of {store.n_rows} vectors"
        faults.append(Fault("lost_vectors", what, file))
    return faults


def _further_faults(store: Store, damaged: list[int]) -> list[Fault]:
    """Return a fault if parts of pictures are damaged, with how many these are, and for faces that are left."""
    faults = [Fault("kept_faces", problem, str(store.catalog.path)) for problem in store.faces.left_behind()]
    if damaged:
        what = f"the parts of {len(damaged)} pictures differ from their checksums, or are lost"
        faults.append(Fault("damaged_parts", what, str(store.parts.path)))
    return faults


def _listed(paths: list[str]) -> str:
    """Return names for a sentence, which each of as many faults has."""
    n_more = len(paths) - _NAMED
    named = ", ".join(map(repr, paths[:_NAMED]))
    return f"{named} and {n_more} more" if n_more > 0 else named


def _surplus_faults(store: Store) -> list[Fault]:
    """Return a fault if there are more vectors than the catalog lists by now; outside of `reading()`."""
    is_at_work = is_being_written(store.folder)
    file = store.vectors_path(store.epoch)
    n_listed, n_stored = store.n_rows, stored_rows(file, store.dim)
    if n_stored <= n_listed or is_at_work:
        return []
    what = (
        f"the vector file holds {n_stored - n_listed} vectors more than the catalog lists: left by a run that was "
        "ended before it acknowledged them; the next `mmsearch index` cuts them off"
    )
    return [Fault("surplus_vectors", what, str(file))]


def _catalog_faults(store: Store) -> list[Fault]:
    with sqlite_errors(store.catalog.path):
        said = [text for (text,) in store.catalog.db.execute("PRAGMA integrity_check(5)")]
        problems = [] if said == ["ok"] else [f"the catalog is damaged: {text}" for text in said]
        orphans = store.catalog.db.execute(
            "SELECT count(*) FROM image WHERE row NOT IN (SELECT row FROM vector UNION SELECT -1 WHERE ?)",
            (not store.has_vectors,),
        ).fetchone()[0]
    problems += [f"{orphans} pictures name vectors that are not listed"] if orphans else []
    problems += store.films.problems()
    return [Fault("damaged_catalog", problem, str(store.catalog.path)) for problem in problems]
