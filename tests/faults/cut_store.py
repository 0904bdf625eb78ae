"""Ask a library whose vectors somebody cuts and restores all the time; a crash ends this process.

Arguments: an empty folder, how often they are cut.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from mmsearch import Query, SearchOptions
from mmsearch.errors import LibraryDamagedError
from mmsearch.query.searcher import Searcher
from mmsearch.records import SearchResult
from mmsearch.store.folder import Store
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors
from tests.store.test_store import DIM, META, Changes, file

N, N_TEXTS, K = 20_000, 16, 5


def cut(path: Path, n_times: int, is_done: threading.Event, *, pause: float = 0.002) -> None:
    """Cut a file to a half and to nothing, in place, and write it again."""
    whole = path.read_bytes()
    for i in range(n_times):
        for change in (lambda: os.truncate(path, len(whole) // 2), lambda: os.truncate(path, 0)):
            change()
            time.sleep(pause * (i % 5))
        with path.open("r+b") as file:
            file.write(whole)
        time.sleep(pause * (i % 7))
    is_done.set()


def judged(result: SearchResult, ranking: np.ndarray, scores: np.ndarray) -> str:
    """Return whether an answer is that of all rows, of those that it says are there, or wrong."""
    found = re.search(rf"holds (\d+) of {N} vectors", " ".join(result.problems))
    n_left = int(found[1]) if found else N
    rows = ranking[ranking < n_left][:K]
    hits = [(int(hit.path.rpartition("/")[2].removesuffix(".jpg")), hit.score) for hit in result.hits]
    is_right = [row for row, _ in hits] == rows.tolist() and np.allclose([score for _, score in hits], scores[rows])
    return ("whole" if n_left == N else "rest") if is_right else "wrong"


def main() -> None:
    folder, n_times = Path(sys.argv[1]) / "library", int(sys.argv[2])
    vectors = random_units(N, DIM)
    with Store.writer(folder, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(vectors)]))
    stored = vectors.astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    texts = TextVectors(DIM)
    all_scores = [stored @ texts.encode_texts([str(i)])[0] for i in range(N_TEXTS)]
    rankings = [np.argsort(-scores) for scores in all_scores]
    searcher, is_done = Searcher(Store.open(folder), lambda: texts, no_decoder), threading.Event()
    thread = threading.Thread(target=cut, args=(folder / "vectors-0.f16", n_times, is_done))
    thread.start()
    counts, n_asked = Counter(), 0
    while not is_done.is_set():
        text, n_asked = n_asked % N_TEXTS, n_asked + 1
        try:
            result = searcher.search(Query(text=str(text)), SearchOptions(k=K))
        except LibraryDamagedError:
            counts["damaged"] += 1
        else:
            counts[judged(result, rankings[text], all_scores[text])] += 1
    thread.join()
    for text in range(N_TEXTS):
        result = searcher.search(Query(text=str(text)), SearchOptions(k=K))
        assert judged(result, rankings[text], all_scores[text]) == "whole", result
    sys.stdout.write(f"cut {n_times} times, {counts.pop('wrong', 0)} wrong of {n_asked}: {dict(counts)}\n")


if __name__ == "__main__":
    main()
