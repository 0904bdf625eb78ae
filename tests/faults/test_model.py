"""F12: whatever is done to the folders and the library, search agrees with a dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from mmsearch import Query, SearchOptions
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.images import decode
from mmsearch.ingest.plan import make_plan
from mmsearch.ingest.pool import Embedded
from mmsearch.ingest.run import execute
from mmsearch.ingest.worker import Job, embed_files
from mmsearch.query.searcher import Searcher
from mmsearch.store import indexes as indexes_module
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.verify import verify
from tests import pictures
from tests.conftest import no_decoder
from tests.faults.stand_in import finds_all_at_once

CONTENTS = [pictures.saved(pictures.photo(24, 18, seed), "PNG") for seed in range(40)]
BROKEN = b"<html>not a picture</html>"


class InProcess:
    """What `WorkerPool` does, without processes; stops half-way through when told to."""

    def __init__(self, encoder, fail_after=None):
        self.encoder, self.fail_after = encoder, fail_after

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, paths, *, job=Job):
        for n, path in enumerate(paths):
            if n == self.fail_after:
                raise KeyboardInterrupt
            (facts,), vectors, local = embed_files([path], self.encoder, job=job())
            yield [Embedded(path, facts, vectors[0] if len(vectors) else None, local[0] if local else None)]


class LibraryMachine(RuleBasedStateMachine):
    """Files come, change, move and go; the library is indexed, killed and opened again."""

    files = Bundle("files")
    encoder: OnnxEncoder

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.photos, self.folder = self.root / "photos", self.root / "library"
        self.photos.mkdir()
        self.on_disk: dict[str, bytes] = {}
        self.indexed: dict[str, bytes] = {}
        self.n_named = 0
        self.clock = 10**9
        self.has_tail = False  # vectors that were not acknowledged, until the next writer cuts them off
        meta = {"dim": self.encoder.dim, "fingerprint": "f", "model": "tiny"}
        with Store.writer(self.folder, create=meta):
            pass
        self.open()

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.root)

    def open(self):
        self.store = Store.open(self.folder)
        self.searchers = [  # one goes by graphs, the other, which is asked once, by cells
            Searcher(self.store, lambda: self.encoder, no_decoder, is_asked_once=is_asked_once)
            for is_asked_once in (False, True)
        ]

    def write(self, name, data):
        (self.photos / name).write_bytes(data)
        self.clock += 1  # every write has its own time, as on a real disk with fine clocks
        os.utime(self.photos / name, (self.clock, self.clock))
        self.on_disk[name] = data

    @rule(target=files, data=st.sampled_from([*CONTENTS, BROKEN]), is_deep=st.booleans())
    def add(self, data, is_deep):
        self.n_named += 1
        name = f"{'sub/' if is_deep else ''}{self.n_named}.png"
        (self.photos / "sub").mkdir(exist_ok=True)
        self.write(name, data)
        return name

    @rule(name=files, data=st.sampled_from([*CONTENTS, BROKEN]))
    def modify(self, name, data):
        self.write(name, data)

    @rule(name=consumes(files))
    def delete(self, name):
        (self.photos / name).unlink()
        del self.on_disk[name]

    @rule(target=files, name=consumes(files))
    def rename(self, name):
        self.n_named += 1
        other = f"{self.n_named}.png"
        (self.photos / name).rename(self.photos / other)
        self.on_disk[other] = self.on_disk.pop(name)
        return other

    @rule()
    def index(self):
        with Store.writer(self.folder) as store:
            execute(store, make_plan(store, [os.fsencode(self.photos)]), self.folder, pool=InProcess(self.encoder))
            store.indexes.update(GraphSettings(graph_from=5, recall_target=0.5), self.encoder.text_probes()[:5])
        if self.on_disk:  # a folder that has nothing left keeps its pictures: it may be a drive that is not mounted
            self.indexed = {name: data for name, data in self.on_disk.items() if data != BROKEN}
        self.has_tail = False

    @rule(fail_after=st.integers(0, 3))
    def index_interrupted_and_resumed(self, fail_after):
        with Store.writer(self.folder) as store:
            plan = make_plan(store, [os.fsencode(self.photos)])
            with suppress(KeyboardInterrupt):
                execute(store, plan, self.folder, pool=InProcess(self.encoder, fail_after))
            stored = {os.path.relpath(image.path, self.photos) for image in store.catalog.images()}
        # Of what was to be embedded, the first `fail_after` are there; all that needed no embedding is done.
        good = {name for name, data in self.on_disk.items() if data != BROKEN}
        assert stored <= good | set(self.indexed)
        assert len(good - stored) <= max(0, len(plan.to_embed) - fail_after)
        self.index()

    @rule(name=files)
    def remove_from_library(self, name):
        with Store.writer(self.folder) as store:
            image = store.catalog.image_at(os.fsencode(self.photos / name))
            if image is not None:
                store.remove_images([image.image_id])
        self.has_tail = False
        self.indexed.pop(name, None)

    @rule(tail=st.binary(min_size=1, max_size=200))
    def die_before_the_commit(self, tail):
        """A killed writer leaves vectors that the catalog does not list."""
        with self.store.vectors_path(self.store.epoch).open("ab") as file:
            file.write(tail)
        self.has_tail = True

    @rule()
    def reopen(self):
        self.store.close()
        self.open()

    @invariant()
    def search_agrees_with_the_dictionary(self):
        expected = {str(self.photos / name) for name in self.indexed}
        for searcher in self.searchers:
            result = searcher.search(
                Query(text="anything"), SearchOptions(k=max(1, len(expected) + 5), collapse="none")
            )
            assert {hit.path for hit in result.hits} == expected
        if self.indexed:
            name = sorted(self.indexed)[0]
            pixels = decode(self.indexed[name], self.encoder.preprocessing).pixels
            vector = self.encoder.encode_images(pixels[None])[0]
            text = self.encoder.encode_texts(["anything"])[0]
            (score,) = (hit.score for hit in result.hits if hit.path == str(self.photos / name))
            assert abs(score - float(np.dot(vector, text))) < 5e-3
        problems = verify(self.store).problems
        assert [problem for problem in problems if "more than the catalog lists" not in problem] == []
        assert self.has_tail or problems == ()


@pytest.mark.parametrize(
    ("n", "steps"), [(4, 50), pytest.param(50, 2000, marks=[pytest.mark.full, pytest.mark.timeout(7200)])]
)
def test_library_agrees_with_a_dictionary_whatever_is_done(tiny, n, steps, monkeypatch):
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
    LibraryMachine.encoder = tiny
    run_state_machine_as_test(
        LibraryMachine,
        settings=settings(
            max_examples=n,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
