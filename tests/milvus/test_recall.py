"""How much of the exact answer a library in a real Milvus server gives, also under filters and after changes."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.places import place_of
from mmsearch.store.base import AskedVector
from mmsearch.store.changes import Changes
from tests.contracts.test_store import SETTINGS, picture, unit

N, K = 6_000, 10
WIDTHS = np.arange(N) % 100 + 1


def files_of(vectors, places, contents=b""):
    return [picture(b"/%d.jpg" % n, vector=vectors[n], width=int(WIDTHS[n]), contents=contents) for n in places]


def recall(store, vectors, alive, queries, modality, where, mask):
    """Return the mean share of the exact ten nearest that are found."""
    stored = vectors.astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    passing = np.flatnonzero(alive & mask)
    neighbours, condition, shares = store.neighbours(), store.condition(where), []
    for query in queries:
        best = passing[np.argsort(-(stored[passing] @ query))[:K]]
        (answer,) = neighbours.shortlists([AskedVector(query)], K, condition, modality)
        paths = {image.path for _, image in answer.pictures}
        shares.append(len(paths & {f"/{n}.jpg" for n in best}) / len(best))
    return float(np.mean(shares))


@pytest.mark.full
def test_95_percent_of_the_exact_answer_are_found_under_any_filter_and_after_changes(milvus):
    vectors, alive = unit(N, 31), np.ones(N, bool)
    queries = {"image": vectors[:40] + 0.1 * unit(40, 32), "text": unit(40, 33) + np.float32(0.5)}
    queries = {name: given / np.linalg.norm(given, axis=1, keepdims=True) for name, given in queries.items()}
    filters = [([], WIDTHS > 0, 0.95), (["width <= 50"], WIDTHS <= 50, 0.95), (["width <= 10"], WIDTHS <= 10, 0.95),
               (["width <= 1"], WIDTHS <= 1, 1.0), (["name ~ *7.jpg"], np.arange(N) % 10 == 7, 0.95)]  # fmt: skip

    def check(store):
        for modality, asked in queries.items():
            for where, mask, least in filters:
                found_share = recall(store, vectors, alive, asked, modality, where, mask)
                assert found_share >= least, (modality, where)

    with place_of(milvus.address("recall")).writer(create=SETTINGS) as store:
        for start in range(0, N, 2_000):
            store.commit(Changes(stored=files_of(vectors, range(start, start + 2_000))))
        stages = []
        store.settle(None, on_progress=lambda *stage: stages.append(stage))
        assert stages[-1] == ("graph", N, N)
        check(store)
        ids = {file.path: file.image_id for file in store.known_files(b"/")}
        store.remove_images([ids[b"/%d.jpg" % n] for n in range(1_000, 2_500)])
        alive[1_000:2_500] = False
        vectors[3_000:3_300] = unit(300, 34)
        store.commit(Changes(stored=files_of(vectors, range(3_000, 3_300), b"changed")))
        check(store)
