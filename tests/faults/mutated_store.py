"""Open, search and verify a library whose vectors or catalog have changed bytes; a crash ends this process.

Arguments: an empty folder, the number of mutations.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from mmsearch import Query, SearchOptions
from mmsearch.errors import MmsearchError
from mmsearch.query.searcher import Searcher
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.verify import verify
from tests.conftest import no_decoder, random_units
from tests.faults.mutated_index import mutate
from tests.faults.stand_in import TextVectors
from tests.store.test_labels import label
from tests.store.test_store import DIM, file, filled

N = 60


def use(folder: Path) -> list[str]:
    """Open, search and verify; return the problems found. Only our own errors may come."""
    try:
        store = Store.open(folder)
    except MmsearchError as error:
        return [str(error)]
    try:
        searcher = Searcher(store, lambda: TextVectors(DIM), no_decoder)
        searcher.search(Query(text="x", where=["width > 10"]), SearchOptions(k=5))
        searcher.search(Query(text="x"), SearchOptions(k=N))
        searcher.search(Query(text="x", where=["label = x"]), SearchOptions(k=N))
        store.status()
        store.facets(["label ~ axes/*"])
        store.labels_of(range(1, N))
    except MmsearchError:
        pass
    try:
        return list(verify(store).problems)
    except MmsearchError as error:
        return [str(error)]
    finally:
        store.close()


def main() -> None:
    folder, n = Path(sys.argv[1]) / "library", int(sys.argv[2])
    filled(folder, N)
    with Store.writer(folder) as store:
        store.commit(Changes(stored=[file(900 + i, v) for i, v in enumerate(random_units(5, DIM, seed=7))]))
        label(store, "axes", ["x", "y", "z"], least=0.3)
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db:  # a write-ahead log worth damaging
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("UPDATE image SET mtime_ns = mtime_ns + 1")
        db.commit()
        kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    names = [name for name in ("vectors-0.f16", "catalog.sqlite", "catalog.sqlite-wal") if kept.get(name)]
    assert len(names) == 3, names
    missed = 0
    for i in range(n):
        for path in folder.iterdir():
            path.unlink()
        for name, data in kept.items():
            if not name.endswith("-shm"):
                (folder / name).write_bytes(data)
        name = names[i % len(names)]
        data = bytearray(kept[name])
        mutate(data, np.random.default_rng(i))
        (folder / name).write_bytes(data)
        is_vector = name.startswith("vectors") and data[: len(kept[name])] != kept[name]
        problems = use(folder)
        missed += is_vector and not problems
    shutil.rmtree(folder)
    sys.stdout.write(f"{n} mutations, {missed} missed\n")


if __name__ == "__main__":
    main()
