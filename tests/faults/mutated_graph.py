"""Search a library whose graph, sidecar or manifest has changed bytes; a crash ends this process.

Arguments: an empty folder, the number of mutations.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from mmsearch import Query, SearchOptions
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.query.searcher import Searcher
from mmsearch.records import Unusable
from mmsearch.store import indexes as indexes_module
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors, finds_all_at_once
from tests.store.test_store import DIM, filled

SETTINGS = GraphSettings(graph_from=50, recall_target=0.5)


def mutate(data: bytearray, rng: np.random.Generator) -> None:
    """Change, cut, or grow a file in one of the ways that disks and people do."""
    manner = rng.integers(0, 5)
    at = int(rng.integers(0, max(1, len(data))))
    if manner == 0 and data:
        data[at] ^= 1 << int(rng.integers(0, 8))
    elif manner == 1:
        data[at : at + 16] = rng.bytes(16)
    elif manner == 2:
        del data[at:]
    elif manner == 3:
        data += rng.bytes(int(rng.integers(1, 100)))
    else:
        data[at : at + 64] = bytes(64)


def answers(folder: Path, use_graph: bool, routes: set[str] | None = None) -> list[list[tuple[str, float]]]:
    store = Store.open(folder)
    encoder = TextVectors(DIM)
    searcher = Searcher(store, lambda: encoder, no_decoder, use_graph=use_graph)
    results = [searcher.search(Query(text=str(i)), SearchOptions(k=5)) for i in range(5)]
    store.close()
    if routes is not None:
        routes.update(result.route for result in results)
    return [[(hit.path, round(hit.score, 4)) for hit in result.hits] for result in results]


def main() -> None:
    folder, n = Path(sys.argv[1]) / "library", int(sys.argv[2])
    indexes_module.measured_efforts = finds_all_at_once
    filled(folder, 300)
    with Store.writer(folder) as store:
        store.indexes.update(SETTINGS, random_units(20, DIM, seed=5))
    routes: set[str] = set()
    allowed = [answers(folder, False), answers(folder, True, routes)]  # exact, or what the undamaged graph says
    assert routes == {"graph"}, routes
    names = ["hnsw-1.bin", "hnsw-1.json", "manifest.json"]
    kept = {name: (folder / name).read_bytes() for name in names}
    wrong = 0
    for i in range(n):
        rng = np.random.default_rng(i)
        name = names[i % len(names)]
        data = bytearray(kept[name])
        mutate(data, rng)
        (folder / name).write_bytes(data)
        wrong += answers(folder, True) not in allowed
        if i % 10 == 0:  # the next writer makes it anew
            with Store.writer(folder) as store:
                store.indexes.update(SETTINGS, random_units(20, DIM, seed=5))
                assert not isinstance(store.indexes.load(GRAPH), Unusable)
            for path in folder.glob("hnsw-*"):
                path.unlink()
        for other, whole in kept.items():
            (folder / other).write_bytes(whole)
    shutil.rmtree(folder)
    sys.stdout.write(f"{n} mutations, {wrong} wrong\n")


if __name__ == "__main__":
    main()
