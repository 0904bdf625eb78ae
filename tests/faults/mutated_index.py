"""Search a library whose index, sidecar or manifest has changed bytes; a crash ends this process.

Arguments: an empty folder, the number of mutations, which the kinds of index share.
"""

from __future__ import annotations

import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

from mmsearch import Query, SearchOptions
from mmsearch.indexes.base import IndexKind
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import Ladder, Recall
from mmsearch.query.searcher import Searcher
from mmsearch.records import Unusable
from mmsearch.store import indexes as indexes_module
from mmsearch.store import publish
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.verify import verify
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors
from tests.store.test_store import DIM, filled

HEADER = 1_200  # bytes: what tells the arrays of a file, and the first of them
SETTINGS = GraphSettings(graph_from=50, recall_target=0.5)
PROBES = random_units(20, DIM, seed=5)
Answers = list[list[tuple[str, float]]]


def finds_enough_with_least(index, probes, target) -> Ladder:
    """Say that the least effort is enough: with more, exact scores would hide what is wrong before them."""
    rung = index.efforts[0], Recall(1.0, 1.0, 1.0, 0.0, 0.0), 0.0001
    return Ladder((rung,), exact_ms=1.0, n_queries=len(probes.queries))


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


def hide(folder: Path, kind: IndexKind) -> None:
    """Let the file of an index seem untouched since it was published, as one that decayed on the disk does."""
    sidecar = folder / f"{kind.stem}-1.json"
    stamp = publish._stamp(sidecar.with_suffix(".bin").stat())
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_bytes()), "stamp": stamp}, indent=1))
    entries = {kind.name: {"name": sidecar.stem, "sidecar_sha256": sha256(sidecar.read_bytes()).hexdigest()}}
    (folder / publish.MANIFEST).write_bytes(publish._manifest_bytes(entries))


def answers(folder: Path, use_graph: bool, routes: set[str] | None = None) -> Answers:
    store = Store.open(folder)
    encoder = TextVectors(DIM)
    searcher = Searcher(store, lambda: encoder, no_decoder, use_graph=use_graph)
    results = [searcher.search(Query(text=str(i)), SearchOptions(k=5)) for i in range(5)]
    store.close()
    if routes is not None:
        routes.update(result.route for result in results)
    return [[(hit.path, round(hit.score, 4)) for hit in result.hits] for result in results]


def problems(folder: Path) -> tuple[str, ...]:
    store = Store.open(folder)
    named = verify(store).problems
    store.close()
    return named


def make_anew(folder: Path, kind: IndexKind) -> None:
    with Store.writer(folder) as store:
        store.indexes.update(SETTINGS, PROBES, kinds=[kind])
        assert not isinstance(store.indexes.load(kind), Unusable)


def mutated(folder: Path, kind: IndexKind, n: int) -> tuple[int, int]:
    """Return how many of n mutations brought a wrong answer, and of how many `verify` said nothing."""
    filled(folder, 300)
    make_anew(folder, kind)
    routes: set[str] = set()
    exact, undamaged = answers(folder, False), answers(folder, True, routes)
    assert routes == {kind.name}, routes
    names = [f"{kind.stem}-1.bin", f"{kind.stem}-1.json", publish.MANIFEST]
    kept = {name: (folder / name).read_bytes() for name in names}
    n_wrong = n_unnamed = 0
    for i in range(n):
        name = names[i % len(names)]
        is_header = name.endswith(".bin") and i % 4 == 0
        data = bytearray(kept[name][:HEADER] if is_header else kept[name])
        mutate(data, np.random.default_rng(i))
        data += kept[name][HEADER:] if is_header else b""
        (folder / name).write_bytes(data)
        if name.endswith(".bin") and len(data) == len(kept[name]):
            hide(folder, kind)
        either = zip(answers(folder, True), exact, undamaged, strict=True)
        n_wrong += not all(answer in right for answer, *right in either)
        n_unnamed += data != kept[name] and not problems(folder)
        if i % 10 == 0:  # the next writer makes it anew
            make_anew(folder, kind)
            for path in folder.glob(f"{kind.stem}-*"):
                path.unlink()
        for other, whole in kept.items():
            (folder / other).write_bytes(whole)
    shutil.rmtree(folder)
    return n_wrong, n_unnamed


def main() -> None:
    root, n = Path(sys.argv[1]), int(sys.argv[2])
    indexes_module.measured_efforts = finds_enough_with_least
    counts = [mutated(root / kind.name, kind, n // len(KINDS)) for kind in KINDS.values()]
    n_wrong, n_unnamed = (sum(each) for each in zip(*counts, strict=True))
    sys.stdout.write(f"{n} mutations, {n_wrong} wrong, {n_unnamed} unnamed\n")


if __name__ == "__main__":
    main()
