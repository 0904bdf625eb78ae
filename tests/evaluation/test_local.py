from __future__ import annotations

import threading

from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.local import LocalOptions, words_library
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store


def test_a_library_of_words_waits_for_another_run_that_makes_it(checkpoint, bench_cache):
    told, made = [], []
    encoder = SetEncoder(str(checkpoint), cache=bench_cache, notify=told.append)
    gallery = sorted(sample_folder().glob("*.jpg"))[:3]

    def make():
        with words_library(encoder, gallery, LocalOptions()) as library:
            made.append(library.folder)

    make()
    told.clear()
    with Store.writer(made[0]):
        waiting = threading.Thread(target=make)
        waiting.start()
        while not told and waiting.is_alive():
            waiting.join(0.05)
        assert told == [f"another benchmark is encoding with {encoder.encoder.name}; waiting for it"]
    waiting.join()
    assert made == [made[0]] * 2
