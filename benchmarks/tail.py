"""What recall is promised on real pictures, and what real queries get: the mean, and how many lose their best hit.

    python benchmarks/tail.py DATA WORK [--out FILE]

DATA holds folders of pictures, among them flickr8k-test with its captions; WORK keeps their vectors, by the
offline encoder. Each kind of index is forced upon all of them, calibrated by the library as ever (with its own
texts, and with pictures left out of it), and asked the 5,000 captions; upon all but flickr8k-test, and asked its
1,000 photographs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from platformdirs import user_cache_path

from mmsearch import Library
from mmsearch.indexes.base import SearchableIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import K, Ladder, Probes, Recall, measured_efforts, recall_of
from mmsearch.records import READING, FileLook, Unusable
from mmsearch.store import indexes
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.vectors import l2_normalize

ASKED = "flickr8k-test"
SETTINGS = GraphSettings(graph_from=1)


def embedded(data: Path, work: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the vectors of all pictures, which are of the set that is asked, captions, and probes."""
    with Library.open(work / "pictures", cache=user_cache_path("mmsearch")) as library:
        library.index(data, model="offline", local=False)
        store = library.reader()
        with store.reading():
            pictures = [image for page in [store.images_of_ids(range(1, 10**6))] for image in page]
            vectors = l2_normalize(store.vectors_of(pictures).astype(np.float32))
        lines = (data / ASKED / "captions.jsonl").read_text(encoding="utf-8").splitlines()
        captions = [caption for line in lines for caption in json.loads(line)["captions"]]
        is_asked = np.array([f"/{ASKED}/" in picture.path for picture in pictures])
        return vectors, is_asked, library.encoder.encode_texts(captions), library.text_probes()


def library_of(folder: Path, vectors: np.ndarray) -> Path:
    """Write a library of vectors alone."""
    if not folder.exists():
        files = [
            StoredFile(
                b"/%06d.jpg" % i, FileLook(i, i, i), b"%032d" % i, 1, 1, "JPEG", None, READING, vector=vector
            )
            for i, vector in enumerate(vectors)
        ]
        with Store.writer(
            folder, create={"dim": vectors.shape[1], "fingerprint": "tail", "model": "offline"}
        ) as store:
            store.commit(Changes(stored=files))
    return folder


def shown(recall: Recall) -> dict[str, float | None]:
    """Return the three parts of a recall for a report."""
    return {"recall@10": recall.mean, "best missed": recall.best_missed, "none found": recall.none_found}


def however_slow(index: SearchableIndex, probes: Probes, target: float) -> Ladder:
    """Measure an index as the library does, but force it where a scan of so few pictures takes less time."""
    return measured_efforts(index, replace(probes, exact_ms=float("inf")), target)


def promised_and_got(folder: Path, modality: str, queries: np.ndarray, probes: np.ndarray) -> dict[str, Any]:
    """Return for each kind of index what was measured at the effort it chose, and what these queries get."""
    figures: dict[str, Any] = {}
    indexes.measured_efforts = however_slow
    for kind in KINDS.values():
        with Store.writer(folder) as store:
            store.indexes.update(SETTINGS, probes, kinds=[kind])
            published = store.indexes.load(kind)
            assert not isinstance(published, Unusable), published
            exact = ExactIndex(store.matrix())
        plan = published.ladders[modality].plan(kind.name, SETTINGS.recall_target)
        rows = (exact if plan.effort is None else published.index).search(queries, K, plan.effort)[1]
        got = recall_of(rows, exact.search(queries, K)[1])
        figures[kind.name] = {"effort": plan.effort, "promised": shown(plan.measured.recall), "got": shown(got)}
    return {"queries": len(queries), **figures}


def main() -> None:
    """Embed what is not there yet, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    vectors, is_asked, captions, probes = embedded(arguments.data, arguments.work)
    everything = library_of(arguments.work / "all", vectors)
    others = library_of(arguments.work / "others", vectors[~is_asked])
    figures = {
        "pictures": len(vectors),
        "captions": promised_and_got(everything, "text", captions, probes),
        "photographs": promised_and_got(others, "image", vectors[is_asked], probes),
    }
    report("tail", figures, arguments.out)


if __name__ == "__main__":
    main()
