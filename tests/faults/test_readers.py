"""F9: readers beside a writer only ever see what was published, and see it exactly."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from mmsearch import Query, SearchOptions
from mmsearch.query.searcher import Searcher
from mmsearch.store import channel_index
from mmsearch.store import indexes as indexes_module
from mmsearch.store import parts as parts_module
from mmsearch.store.base import ALL, AskedVector
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors, finds_all_at_once
from tests.query.test_parts import WEIGHTS, assert_is, ranked_by, searcher, stored_in
from tests.store.test_parts import packed
from tests.store.test_store import DIM, META, file

K = 5
LEAST = 60  # states, and answers by the route that a reader is to take, however slow the machine is
FIRST = 10**6
ROUTES = ["exact", "graph", "cells"]
SPAWN = multiprocessing.get_context("spawn")


def vector_of(i):
    return random_units(1, DIM, seed=i)[0]


def write(folder, seconds):
    """Add, replace and remove pictures, compact and publish indexes; list the pictures of every state."""
    indexes_module.measured_efforts = finds_all_at_once
    rng = np.random.default_rng(0)
    present = {0: FIRST}  # picture -> seed of its vector
    next_seed = 0
    with Store.writer(folder) as store, (folder / "states.jsonl").open("w") as states:
        end, n_states = time.monotonic() + seconds, 0
        while time.monotonic() < end or n_states < LEAST:
            n_states += 1
            chosen = rng.integers(0, 300, 8)
            fresh = {int(i): next_seed + n for n, i in enumerate(dict.fromkeys(chosen.tolist()))}
            next_seed += len(fresh)
            leaving = [i for i in present if rng.random() < 0.04 and i not in fresh]
            ids = {image.path: image.image_id for image in store.catalog.images()}
            after = {i: s for i, s in (present | fresh).items() if i not in leaving}
            # Written before the commit: a reader may answer from a state that is not listed yet otherwise.
            states.write(json.dumps(after) + "\n")
            states.flush()
            store.commit(
                Changes(
                    stored=[file(i, vector_of(s)) for i, s in fresh.items()],
                    gone=[ids[f"/photos/{i}.jpg"] for i in leaving],
                )
            )
            present = after
            if rng.random() < 0.05:
                if store.catalog.count("dead") > 0.2 * store.n_rows:
                    store.compact()
                store.indexes.update(GraphSettings(graph_from=50, recall_target=0.5), random_units(5, DIM, seed=1))


def read(folder, seconds, seed, out):
    """Search until the time is over; list every question with its answer. Of three readers each has its own route.

    Indexes are searched with an effort that leaves nothing of so few vectors out; one that is asked once goes by
    those that open in no time.
    """
    store = Store.open(folder)
    wanted = ROUTES[seed % len(ROUTES)]
    options = {"use_graph": wanted != "exact", "is_asked_once": wanted == "cells"}
    searcher = Searcher(store, lambda: TextVectors(DIM), no_decoder, **options)
    rng = np.random.default_rng(seed)
    end, n_wanted = time.monotonic() + seconds, 0
    with open(out, "w") as file_:
        while time.monotonic() < end or n_wanted < LEAST:
            text = str(int(rng.integers(0, 50)))
            result = searcher.search(Query(text=text), SearchOptions(k=K))
            hits = [(hit.path, round(hit.score, 3)) for hit in result.hits]
            file_.write(json.dumps([text, hits, result.route]) + "\n")
            n_wanted += result.route == wanted


class States:
    """The pictures of every published state, with their vectors."""

    def __init__(self, states):
        self.names = [sorted(state) for state in states]
        self.states = states

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as the test
    def vectors(self, position):
        state = self.states[position]
        return np.stack([vector_of(state[i]) for i in self.names[position]]).astype(np.float16).astype(np.float32)

    def scores(self, position, query):
        values = self.vectors(position) @ query
        return {f"/photos/{name}.jpg": float(v) for name, v in zip(self.names[position], values, strict=True)}


def is_answer_of(hits, scores):
    """Whether hits are the best K of a state, ties and the last digit aside."""
    best = sorted(scores.values(), reverse=True)[:K]
    return (
        len(hits) == len(best)
        and all(path in scores and abs(scores[path] - score) < 2e-3 for path, score in hits)
        and all(abs(one - score) < 2e-3 for one, (_, score) in zip(best, hits, strict=True))
    )


@pytest.mark.parametrize(
    ("seconds", "n_readers"), [(2, 2), pytest.param(600, 6, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]
)
def test_every_answer_is_the_exact_answer_of_a_published_state(tmp_path, seconds, n_readers):
    folder = tmp_path / "library"
    with Store.writer(folder, create=META) as store:
        store.commit(Changes(stored=[file(0, vector_of(FIRST))]))
    writer = SPAWN.Process(target=write, args=(folder, seconds))
    outs = [tmp_path / f"{i}.jsonl" for i in range(n_readers)]
    readers = [SPAWN.Process(target=read, args=(folder, seconds, i, out)) for i, out in enumerate(outs)]
    for process in (writer, *readers):
        process.start()
    for process in (writer, *readers):
        process.join()
        assert process.exitcode == 0
    states = [{"0": FIRST}, *map(json.loads, (folder / "states.jsonl").read_text().splitlines())]
    questions_of = [[json.loads(line) for line in out.read_text().splitlines()] for out in outs]
    assert sum(map(len, questions_of)) > 100
    assert len(states) > 20
    for number, questions in enumerate(questions_of):
        routes, wanted = Counter(route for _, _, route in questions), ROUTES[number % len(ROUTES)]
        assert set(routes) <= {wanted, "exact"}
        assert routes[wanted] > 20
        assert unplaced(questions, States(states)) == []


def unplaced(questions, states):
    """Return the first questions whose answer belongs to no state; a reader moves forward through them."""
    queries = {text: TextVectors(DIM).encode_texts([text])[0] for text in {text for text, _, _ in questions}}
    wrong, at = [], 0
    for text, hits, route in questions:
        n = len(states.names)
        for step in range(n):
            position = (at + step) % n
            if is_answer_of(hits, states.scores(position, queries[text])):
                at = position
                break
        else:
            wrong.append((text, hits, route))
            if len(wrong) == 3:  # each was compared with every state
                break
    return wrong


def write_parts(folder, ready):
    """Add, change and remove pictures with parts, and publish rows and cells of them: many states."""
    indexes_module.measured_efforts = finds_all_at_once
    channel_index.measured_efforts = lambda *arguments, worth: finds_all_at_once(*arguments)
    parts_module._LEAST = 8
    rng = np.random.default_rng(0)
    with Store.writer(folder) as store:
        store.indexes.keep(GraphSettings(graph_from=40, recall_target=0.5))
        ready.set()
        for n in range(2 * LEAST):
            seeds = {int(i): 1000 * n + int(i) for i in rng.choice(150, 8, replace=False)}
            pictures = [
                file(seed, vector_of(seed), path=b"/photos/%d.jpg" % i, parts=packed(i % 5, seed))
                for i, seed in seeds.items()
            ]
            store.commit(Changes(stored=pictures))
            store.remove_images([image.image_id for image in store.catalog.images() if rng.random() < 0.04])
            if n % 7 == 0:
                store.settle(random_units(8, DIM, seed=1), on_progress=lambda *_: None)
            if n == LEAST:
                store.parts.keep_most(13)


@pytest.mark.full
@pytest.mark.parametrize("route", ROUTES)
def test_answers_by_parts_are_exact_answers_of_the_state_that_is_read_beside_a_writer(tmp_path, route):
    folder = tmp_path / "library"
    with Store.writer(folder, create=META) as store:
        store.parts.keep_most(4)
        store.commit(Changes(stored=[file(i, vector_of(i), parts=packed(i % 5, i)) for i in range(60)]))
    ready, n_states = SPAWN.Event(), Counter()
    writer = SPAWN.Process(target=write_parts, args=(folder, ready))
    writer.start()
    ready.wait()
    asked = searcher(folder, route)
    query = AskedVector(vector_of(7))

    def answers():
        near = asked.store.parts.near()
        has_cells = near is not None and near._published._cells is not None
        (shortlist,) = asked._neighbours.shortlists([query], K, ALL, "text")
        try:
            expected = ranked_by(stored_in(asked.store), query, WEIGHTS.texts)
        except (IndexError, ValueError):  # vectors were moved meanwhile: it is asked again
            expected = []
        return shortlist, expected, has_cells

    while writer.is_alive():
        shortlist, expected, has_cells = asked.store.consistently(answers)
        assert_is(shortlist, expected, K)
        n_states[has_cells] += 1
    writer.join()
    assert writer.exitcode == 0
    assert min(n_states[True], n_states[False]) > 5
