"""Prove a library whole: every committed byte against its checksum."""

from __future__ import annotations

from mmsearch.records import VerifyReport
from mmsearch.store.catalog import sqlite_errors
from mmsearch.store.folder import Store
from mmsearch.store.graph import KIND
from mmsearch.store.matrix import stored_rows
from mmsearch.store.publish import current, manifest_problem, matching_file, withdraw
from mmsearch.store.words import words_problems

_NAMED = 5  # damaged pictures named in full


def verify(store: Store, *, is_repair: bool = False) -> VerifyReport:
    """Check the catalog's structure, every vector, graph and visual words; with `is_repair`, drop what is damaged.

    Dropped pictures are embedded again by the next `index` of their folder, a dropped graph is rebuilt;
    until then search is exact. Dropped visual words are made again by the same `index`.
    """
    problems = _catalog_problems(store)
    with store.catalog.reading():
        rows = store.damaged_rows()
        for row in rows[:_NAMED]:
            paths = [image.path for image in store.catalog.images_of_rows([row])]
            problems.append(f"vector {row} differs from its checksum; it belongs to {', '.join(map(repr, paths))}")
        if len(rows) > _NAMED:
            problems.append(f"{len(rows) - _NAMED} more vectors differ from their checksums")
        n_present = stored_rows(store.vectors_path(store.epoch), store.dim)
        if n_present < store.n_rows:
            problems.append(f"the vector file holds {n_present} of {store.n_rows} vectors")
        n_rows, graph, words = store.n_rows, _graph_problem(store), words_problems(store)
        manifest = manifest_problem(store.folder)
    if manifest:
        problems.append(f"no graph and no visual words can be used: {manifest}")
    if graph:
        problems.append(f"the graph cannot be used and search is exact: {graph}")
    problems += [f"the visual words are not whole: {problem}" for problem in words.values()]
    n_dropped = 0
    if is_repair:
        n_dropped = store.drop_rows(rows) if rows else 0
        if graph or manifest:
            withdraw(store.folder, KIND)
        for kind in words:
            withdraw(store.folder, kind)
    return VerifyReport(n_rows, tuple(problems), n_dropped)


def _catalog_problems(store: Store) -> list[str]:
    with sqlite_errors(store.catalog.path):
        found = [text for (text,) in store.catalog.db.execute("PRAGMA integrity_check(5)")]
        problems = [] if found == ["ok"] else [f"the catalog is damaged: {text}" for text in found]
        orphans = store.catalog.db.execute(
            "SELECT count(*) FROM image WHERE row NOT IN (SELECT row FROM vector UNION SELECT -1 WHERE ?)",
            (not store.has_vectors,),
        ).fetchone()[0]
    return [*problems, *([f"{orphans} pictures name vectors that are not listed"] if orphans else [])]


def _graph_problem(store: Store) -> str | None:
    if current(store.folder, KIND) is None:
        return None
    # One of an older epoch is stale, not damaged: search leaves it alone and `index` replaces it.
    found = matching_file(store.folder, KIND, {"dim": store.dim})
    return found if isinstance(found, str) else None
