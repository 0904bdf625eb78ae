"""The vocabulary of a library as published caches: its arrays, and a graph that finds words sooner.

Above `MAX_EXACT` words, comparing a feature with all of them takes longer than the rest of a search. Where there
is no graph that is whole they are compared all the same, so it may be missing at any time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mmsearch.bow.vocabulary import MAX_EXACT, Vocabulary
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.local.sift import EXTRACTOR
from mmsearch.store.publish import current, load_matching, manifest_problem, next_name, sidecar_of

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

VOCABULARY, CENTRES = "vocabulary", "centres"
_EFFORT = 64  # finds the nearest of 65,536 words for 99.6 % of features, in a fifth of the time
_MIN_SHARE = 0.99  # of the centroids when asked for themselves: equal ones may damage a graph


def load_vocabulary(
    folder: Path, expected: dict[str, Any] | None = None, *, n_threads: int = -1
) -> Vocabulary | str:
    """Return the vocabulary of a library after hashing it, with its graph if that is whole; or why there is none.

    Parameters
    ----------
    folder : Path
        The library.
    expected : dict, optional
        What its sidecar must say.
    n_threads : int
        The graph is searched with; -1 for all cores.
    """
    if current(folder, VOCABULARY) is None:
        none_yet = "the library has no visual words; `mmsearch index --local` makes them from about 10 pictures on"
        return manifest_problem(folder) or none_yet

    def load(file: BinaryIO, _: dict[str, Any]) -> Vocabulary:
        return Vocabulary.load(file, extractor=EXTRACTOR)

    vocabulary = load_matching(folder, VOCABULARY, {**(expected or {}), "extractor": EXTRACTOR}, load)
    if isinstance(vocabulary, str):
        return vocabulary
    graph = _graph(folder, vocabulary)
    return vocabulary if isinstance(graph, str) else on_graph(vocabulary, graph, n_threads=n_threads)


def publish_vocabulary(store: Store, vocabulary: Vocabulary, facts: dict[str, Any]) -> Vocabulary:
    """Publish a vocabulary, and its graph where one is worth it; return it as `load_vocabulary` does.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    facts = {**facts, "extractor": vocabulary.extractor, "n_words": vocabulary.n_words, "dim": vocabulary.dim}
    store.publish(VOCABULARY, next_name(store.files, VOCABULARY), vocabulary.save, facts)
    return publish_centres(store, vocabulary)


def publish_centres(store: Store, vocabulary: Vocabulary) -> Vocabulary:
    """Return the published vocabulary with a graph, published too; as it is where a graph is not worth it.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    if vocabulary.n_words <= MAX_EXACT or vocabulary.nearest is not None:
        return vocabulary
    graph = graph_of(vocabulary)
    faster = on_graph(vocabulary, graph)
    sample = np.linspace(0, vocabulary.n_words - 1, 1000, dtype=np.int64)
    if np.mean(faster.assign(vocabulary.centroids[sample]) == sample) < _MIN_SHARE:
        return vocabulary
    facts = {
        **_graph_facts(store.files, vocabulary), **graph.facts.settings, "n": graph.facts.n_held,
        "hnswlib": version("hnswlib"),
    }  # fmt: skip
    store.publish(CENTRES, next_name(store.files, CENTRES), graph.save, facts)
    return faster


def vocabulary_problems(folder: Path, expected: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with vocabulary and graph, by reading all of them, if there are any."""
    vocabulary = load_vocabulary(folder, expected) if current(folder, VOCABULARY) is not None else ""
    if isinstance(vocabulary, str):
        return {VOCABULARY: vocabulary} if vocabulary else {}
    graph = _graph(folder, vocabulary) if current(folder, CENTRES) is not None else None
    return {CENTRES: graph} if isinstance(graph, str) else {}


def graph_of(vocabulary: Vocabulary) -> HnswIndex:
    """Return a graph over the centroids of a vocabulary.

    Built by one thread, so that the same vocabulary has the same graph, and a picture the same words in every
    library.
    """
    graph = HnswIndex(vocabulary.dim + 2)
    rows = np.arange(vocabulary.n_words)
    graph.add([(rows, vocabulary.lifted_centroids())], vocabulary.n_words, n_threads=1)
    return graph


def on_graph(vocabulary: Vocabulary, graph: HnswIndex, *, n_threads: int = -1) -> Vocabulary:
    """Return a vocabulary that finds words on its graph."""
    return replace(vocabulary, nearest=partial(graph.search, effort=_EFFORT, n_threads=n_threads))


def _graph(folder: Path, vocabulary: Vocabulary) -> HnswIndex | str:
    """Load the graph after comparing it with its checksum, or say why not."""

    def load(file: BinaryIO, facts: dict[str, Any]) -> HnswIndex:
        return HnswIndex.of_file(file, vocabulary.dim + 2, facts)

    return load_matching(folder, CENTRES, _graph_facts(folder, vocabulary), load)


def _graph_facts(folder: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    facts = sidecar_of(folder, VOCABULARY)
    checksum = None if isinstance(facts, str) else facts["sha256"]
    return {"vocabulary": checksum, "n_words": vocabulary.n_words, "dim": vocabulary.dim}
