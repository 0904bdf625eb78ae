"""Ask the visual words of a library whose posting lists somebody cuts and restores; a crash ends this process.

Arguments: an empty folder, how often they are cut.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path

from mmsearch import Query, SearchOptions
from mmsearch.errors import LibraryDamagedError, QueryError
from mmsearch.processes.decoder import PictureDecoder
from mmsearch.query.searcher import Searcher
from mmsearch.store.folder import Store
from tests.faults.cut_store import cut
from tests.faults.mutated_words import N_BASE, N_FRESH, give_words, pictures_and_words
from tests.faults.stand_in import TextVectors
from tests.store.test_store import DIM, filled


def main() -> None:
    root, n_times = Path(sys.argv[1]), int(sys.argv[2])
    paths, vocabulary, words = pictures_and_words(root / "photos")
    folder = root / "library"
    filled(folder, N_BASE + N_FRESH)
    give_words(folder, vocabulary, words)
    decoder, query = PictureDecoder(), Query(images=[paths[0]])
    searcher = Searcher(Store.open(folder), lambda: TextVectors(DIM), lambda: decoder)
    expected, is_done = searcher.search(query, SearchOptions(mode="local")).hits, threading.Event()
    options = {"pause": 0.005}  # a query takes longer than one by a text
    thread = threading.Thread(target=cut, args=(folder / "words-1.bin", n_times, is_done), kwargs=options)
    thread.start()
    counts = Counter[str]()
    while not is_done.is_set():
        try:
            found = searcher.search(query, SearchOptions(mode="local")).hits
        except (LibraryDamagedError, QueryError) as error:
            assert "words-1" in str(error), error
            counts["named"] += 1
        else:
            counts["right" if found == expected else "wrong"] += 1
    thread.join()
    assert searcher.search(query, SearchOptions(mode="local")).hits == expected
    decoder.close()
    sys.stdout.write(f"cut {n_times} times, {counts.pop('wrong', 0)} wrong: {dict(counts)}\n")


if __name__ == "__main__":
    main()
