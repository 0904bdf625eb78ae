"""A library in Milvus against exact answers, and against the bare client: recall, latency and load.

    python benchmarks/milvus_library.py WORK [--n 20000] [--shards 1] [--address milvus://host:19530/NAME]
        [--out FILE]

Without an address the server of the package `milvus` is started in WORK, and stopped at the end. Pictures are
shards of synthetic vectors under the encoder `offline`; the answers of 200 texts and 200 pictures, without and with
filters that pass 50 %, 10 % and 1 %, are compared with a scan by numpy, as loaded, and once more after deletes and
upserts. The bare client gets the same rows in batches of the same size, and the same searches with the same
parameters.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from embeddings import Worst, unit
from machine import report

from mmsearch import Library
from mmsearch.milvus.address import Address
from mmsearch.milvus.collection import FACTS, create, engine_vectors, row_of
from mmsearch.milvus.engine import Engine
from mmsearch.milvus.neighbours import EFFORT
from mmsearch.records import READING, FileLook
from mmsearch.shards.folder import ShardFolder
from mmsearch.shards.format import ShardFacts
from mmsearch.store.base import ALL, AskedVector
from mmsearch.store.changes import StoredFile
from mmsearch.vectors import as_stored

K = 10
N_QUERIES = 200
N_DELETED, N_CHANGED = 5_000, 1_000
SIZE = 10_000  # bytes of the first file; each is a byte larger than the one before
SETTLED_S = 7  # after which a process that has written does not wait for the engine any more, to see what it wrote
EQUAL = 1e-6  # what cosines may differ by, as the engine adds them up in float32
SHARES = (0.5, 0.1, 0.01)


@contextmanager
def server(work: Path) -> Iterator[str]:
    """Run the server of the package `milvus`; yields the address of a library in it."""
    import milvus

    engine = milvus.MilvusServer()
    engine.set_base_dir(str(work / "milvus"))
    engine.start()
    try:
        yield f"milvus://127.0.0.1:{engine.listen_port}/benchmark"
    finally:
        engine.stop()


def files_of(vectors: np.ndarray, first: int = 0, version: int = 0) -> list[StoredFile]:
    """Return pictures with vectors (n, dim), numbered from `first`; another version has other contents."""
    return [
        StoredFile(
            b"/photos/%04d/%08d.jpg" % (i % 100, i), FileLook(SIZE + i, i, i),
            sha256(b"%d %d" % (i, version)).digest(), 640, 480, "JPEG", None, READING, vector=vector,
        )
        for i, vector in enumerate(vectors, start=first)
    ]  # fmt: skip


def vectors_of(blocks: Iterator[np.ndarray], dim: int) -> np.ndarray:
    """Return unit vectors (n, dim) as a library stores them."""
    return as_stored(unit(np.concatenate(list(blocks))[:, :dim]))


def kept(vectors: np.ndarray) -> np.ndarray:
    """Return unit vectors float64 (n, dim) as a library that was given these holds them."""
    half = vectors.astype(np.float16).astype(np.float64)
    return half / np.linalg.norm(half, axis=1, keepdims=True)


def loaded(library: Library, work: Path, name: str, files: Sequence[StoredFile]) -> float:
    """Write shards of pictures, load them, and return the seconds until all were stored, not yet indexed."""
    stored_at: list[float] = []

    def on_progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("load", total):
            stored_at.append(time.perf_counter())

    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    with ShardFolder.writer(folder, ShardFacts.of(library_encoder(library)), print) as shards:
        shards.add(files)
    with library.place.writer(create=library.place.encoder(library_cache()).settings_for("offline", print)):
        pass  # the collection that the bare client gets is made beforehand too
    time.sleep(SETTLED_S)
    start = time.perf_counter()
    library.load(folder, model="offline", on_progress=on_progress)
    return stored_at[-1] - start


def library_encoder(library: Library) -> Any:
    """Return the encoder `offline`, of a library that need not be there yet."""
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.prepare import prepare_encoder

    return OnnxEncoder.open(prepare_encoder("offline", cache=library_cache(), notify=print))


def library_cache() -> Path:
    """Return where exported encoders are kept."""
    return Path(os.environ["MMSEARCH_CACHE"])


def recalls(library: Library, vectors: dict[int, np.ndarray], queries: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return recall@10, mean and lowest, for every modality and filter; `vectors` are those of sizes.

    Any of the pictures that are equally near at the tenth place will do.
    """
    sizes = np.array(sorted(vectors))
    matrix = np.stack([vectors[size] for size in sizes])
    neighbours, store = library.reader().neighbours(), library.reader()
    figures: dict[str, Any] = {}
    for share in (1.0, *SHARES):
        limit = int(sizes[int(share * (len(sizes) - 1))])
        condition = ALL if share == 1 else store.condition([f"size <= {limit}"])
        passing = sizes <= limit
        for modality, asked in queries.items():
            scores = asked.astype(np.float64) @ matrix[passing].T
            shares = []
            for query, exact in zip(asked, scores, strict=True):
                (shortlist,) = neighbours.shortlists([AskedVector(query)], K, condition, modality)  # type: ignore[arg-type]
                near = np.searchsorted(sizes[passing], [image.size_bytes for _, image in shortlist.pictures])
                shares.append(float(np.mean(exact[near] > np.sort(exact)[-K] - EQUAL)))
            figures[f"{modality}, {share:.0%} pass"] = {
                "recall@10": round(float(np.mean(shares)), 4), "lowest": min(shares), "route": shortlist.route,
            }  # fmt: skip
    return figures


def latency(library: Library, queries: np.ndarray) -> dict[str, Any]:
    """Return the median milliseconds of a search by words that are remembered, and of a bare search alike."""
    store = library.reader()
    for i, query in enumerate(queries):
        store.remembered.put(f"text {i}", query, store.fingerprint())
    address = Address.parse(library.address)
    client = Engine(address).client
    bare: list[float] = []
    whole: list[float] = []
    for i, query in enumerate(queries):  # in turns, so that both see the same machine
        start = time.perf_counter()
        client.search(
            address.name, data=[query], anns_field="vector", limit=K + 8, output_fields=list(FACTS),
            search_params={"metric_type": "COSINE", "params": {"ef": EFFORT["text"]}}, consistency_level="Bounded",
        )  # fmt: skip
        middle = time.perf_counter()
        library.search(f"text {i}", k=K)
        bare.append(middle - start)
        whole.append(time.perf_counter() - middle)
    figures = {"bare ms": 1e3 * float(np.median(bare)), "library ms": 1e3 * float(np.median(whole))}
    return {**figures, "library over bare": figures["library ms"] / figures["bare ms"]}


def bare_load(address: str, dim: int, files: Sequence[StoredFile]) -> float:
    """Insert the same rows, made beforehand, by the bare client into a like collection; return the seconds."""
    parsed = Address.parse(address)
    parsed = replace(parsed, name=f"{parsed.name}_bare")
    engine = Engine(parsed)
    engine.client.drop_collection(parsed.name)
    create(engine, parsed.name, {"dim": dim, "model": "offline", "fingerprint": "bare"})
    vectors = engine_vectors(np.stack([file.vector for file in files]).astype(np.float16), is_half=False)
    rows = [
        row_of(file, number, 0, vector)
        for number, (file, vector) in enumerate(zip(files, vectors, strict=True), start=1)
    ]
    start = time.perf_counter()
    for first in range(0, len(rows), 1024):
        engine.client.insert(parsed.name, rows[first : first + 1024])
    return time.perf_counter() - start


def measured(address: str, work: Path, n: int) -> dict[str, Any]:
    """Return all figures of a library of n pictures."""
    with Library.open(address, cache=os.environ["MMSEARCH_CACHE"]) as library:
        dim = library_encoder(library).dim
        embeddings = Worst()
        matrix = vectors_of(embeddings.gallery(n), dim)
        files = files_of(matrix)
        queries = {
            "text": unit(embeddings.texts("worst", N_QUERIES)[:, :dim]),
            "image": unit(embeddings.pictures(N_QUERIES)[:, :dim]),
        }
        by_size = {SIZE + i: vector for i, vector in enumerate(kept(matrix))}
        load_s = loaded(library, work, "shards", files)
        bare_s = bare_load(address, dim, files)
        figures: dict[str, Any] = {
            "load": {
                "pictures": n,
                "library s": load_s,
                "bare s": bare_s,
                "library rate over bare": bare_s / load_s,
            },
            "as loaded": recalls(library, by_size, queries),
        }
        changed = vectors_of(iter([embeddings.pictures(N_CHANGED, seed=7)]), dim)
        loaded(library, work, "changed", files_of(changed, version=1))
        by_size |= {SIZE + i: vector for i, vector in enumerate(kept(changed))}
        deleted = range(n - N_DELETED, n)
        library.remove([files[i].path for i in deleted])
        for i in deleted:
            del by_size[SIZE + i]
        figures["after deletes and upserts"] = recalls(library, by_size, queries)
        time.sleep(SETTLED_S)
        figures["latency"] = latency(library, queries["text"])
        return figures


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("work", type=Path)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=1, help="of the collections that are made")
    parser.add_argument("--address")
    parser.add_argument("--out")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MMSEARCH_CACHE", str(given.work / "cache"))
    with nullcontext(given.address) if given.address else server(given.work) as address:
        figures = measured(f"{address}{'&' if '?' in address else '?'}shards={given.shards}", given.work, given.n)
        report("milvus_library", {"shards": given.shards, **figures}, given.out)


if __name__ == "__main__":
    main()
