"""Routes over a library with a graph: what is not in it yet, what is deleted, what a filter lets through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import Query, Term
from mmsearch import search as search_module
from mmsearch.search import Searcher
from mmsearch.store import graph as graph_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.graph import GraphSettings, update_graph
from mmsearch.store.where import parse_where
from tests.conftest import random_units
from tests.faults.stand_in import TextVectors, calibrate_for_the_graph
from tests.store.test_store import DIM, file, filled

SETTINGS = GraphSettings(graph_from=50, recall_target=0.5, tail_share=0.5)
N = 300


class Exactly(TextVectors):
    """Gives the text "v:N" the N-th of some vectors."""

    def __init__(self, vectors):
        super().__init__(DIM)
        self.vectors = vectors

    def encode_texts(self, texts):
        return np.stack([self.vectors[int(text.partition(":")[2])] for text in texts])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A library of 300 vectors in the graph, and a tail of 20; 30 pictures were removed since."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_module, "calibrate", calibrate_for_the_graph)
        vectors = filled(folder, N)
        with Store.writer(folder) as store:
            update_graph(store, SETTINGS, random_units(5, DIM, seed=1))
            tail = random_units(20, DIM, seed=77)
            store.commit(Changes(stored=[file(N + i, v) for i, v in enumerate(tail)]))
            ids = {image.path: image.image_id for image in store.catalog.images()}
            store.remove_images([ids[f"/photos/{i}.jpg"] for i in range(0, N, 10)])
            assert not update_graph(store, SETTINGS, random_units(5, DIM, seed=1))
    return folder, np.concatenate([vectors, tail])


def searcher(made, use_graph=True):
    return Searcher(Store.open(made[0]), lambda: Exactly(made[1]), use_graph=use_graph)


def numbers(result):
    return [int(hit.path.rpartition("/")[2].removesuffix(".jpg")) for hit in result.hits]


def expected(made, query, k, keep=lambda i: True):
    """The k best live pictures by plain arithmetic on the stored vectors."""
    stored = made[1].astype(np.float16).astype(np.float32)
    live = [i for i in range(N + 20) if (i % 10 or i >= N) and keep(i)]
    return sorted(live, key=lambda i: -float(stored[i] @ made[1][query]))[:k]


@pytest.mark.parametrize("use_graph", [True, False])
@given(query=st.integers(0, N + 19), k=st.integers(1, 40))
def test_every_route_gives_the_best_live_pictures(made, use_graph, query, k):
    result = searcher(made, use_graph).search(Query(text=f"v:{query}"), k=k)
    assert result.route == ("graph" if use_graph else "exact")
    assert numbers(result) == expected(made, query, k)


def test_picture_that_is_not_in_the_graph_yet_is_found(made):
    assert numbers(searcher(made).search(Query(text=f"v:{N + 7}"), k=1)) == [N + 7]


def test_deleted_picture_is_never_returned(made):
    assert 20 not in numbers(searcher(made).search(Query(text="v:20"), k=N + 20))


@pytest.mark.parametrize("k", [1, 10, N + 20, 10_000])
def test_answer_has_as_many_hits_as_there_are_matches(made, k):
    n_live = N + 20 - 30
    assert len(searcher(made).search(Query(text="v:5"), k=k).hits) == min(k, n_live)


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("name = 41.jpg", lambda i: i == 41),
        ("name ~ 1*.jpg", lambda i: str(i).startswith("1")),
        ("size < 400", lambda i: i < 300),
        ("size >= 100", lambda i: True),
        ("name ~ none*", lambda i: False),
    ],
)
def test_filter_never_costs_a_match(made, where, keep):
    for k in (1, 5, 400):
        result = searcher(made).search(Query(text="v:5", where=[where]), k=k)
        assert numbers(result) == expected(made, 5, k, keep)


@pytest.mark.parametrize("where", ["size >= 100", "size < 400", "name ~ *7*", "name ~ 1[24]*"])
def test_broad_filter_over_the_graph_never_costs_a_match(made, where, monkeypatch):
    monkeypatch.setattr(search_module, "_FEW", 10)
    keep = {
        "size >= 100": lambda i: True,
        "size < 400": lambda i: i < 300,
        "name ~ *7*": lambda i: "7" in str(i),
        "name ~ 1[24]*": lambda i: str(i)[:2] in ("12", "14"),
    }[where]
    routes = set()
    for k in (1, 5, 15):
        result = searcher(made).search(Query(text="v:5", where=[where]), k=k)
        assert numbers(result) == expected(made, 5, k, keep)
        routes.add(result.route)
    if where.startswith("size"):
        assert "graph" in routes


def test_too_few_matches_among_the_neighbours_are_not_taken_for_all(made):
    asked = searcher(made)
    asked.search(Query(text="v:5"))  # loads the graph
    assert asked._filter_afterwards(made[1][5:6], 2, parse_where(["name = 41.jpg"]), "text") is None


def test_graph_is_loaded_only_when_scans_have_cost_as_much(made, monkeypatch):
    lazy = searcher(made, use_graph=None)
    assert lazy.search(Query(text="v:5")).route == "exact"
    lazy._scan_seconds = 10.0
    assert lazy.search(Query(text="v:5")).route == "graph"


def test_damaged_graph_means_exact_search_at_once(made, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    path = next(folder.glob("hnsw-*.bin"))
    path.write_bytes(path.read_bytes()[:-1])
    result = searcher((folder, made[1])).search(Query(text="v:5"), k=10)
    assert result.route == "exact"
    assert numbers(result) == expected(made, 5, 10)


def test_excluded_text_is_subtracted(made):
    result = searcher(made).search(Query(text="v:5", exclude=[Term("v:6", 0.5)]), k=10)
    total = made[1][5] - 0.5 * made[1][6]
    stored = made[1].astype(np.float16).astype(np.float32)
    live = [i for i in range(N + 20) if i % 10 or i >= N]
    assert numbers(result) == sorted(live, key=lambda i: -float(stored[i] @ total))[:10]


def test_explained_scores_are_the_cosines_to_every_term(made):
    result = searcher(made).search(Query(text="v:5", exclude=["v:6"]), k=3, explain=True)
    stored = made[1].astype(np.float16).astype(np.float32)
    for hit, i in zip(result.hits, numbers(result), strict=True):
        assert hit.terms["v:5"] == pytest.approx(float(stored[i] @ made[1][5]), abs=1e-4)
        assert hit.terms["not v:6"] == pytest.approx(float(stored[i] @ made[1][6]), abs=1e-4)
