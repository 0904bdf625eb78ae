"""READ PATH: a query in, ranked pictures out. Encode the terms, plan the route, look the pictures up, rerank.

Routes: `exact` scans the vectors; `graph` walks the HNSW graph and scans the rows that are not in it yet;
`filtered` scans only the pictures that pass the filter. All give min(k, matches) hits. Local features may rerank
them, or answer alone (`local`), which gives only pictures that share visual words with the example.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import PictureError, QueryError
from mmsearch.indexes.base import Rows
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.records import (
    Hit,
    ImageRecord,
    LocalEvidence,
    Matrix,
    Modality,
    Mode,
    PathLike,
    Query,
    Rerank,
    SearchResult,
    Term,
)
from mmsearch.store.folder import Store
from mmsearch.store.graph import PublishedGraph, calibrations_of, graph_facts, load_graph
from mmsearch.store.matrix import Half
from mmsearch.store.remembered import RememberedQueries
from mmsearch.store.where import Condition, parse_where
from mmsearch.vectors import inner_products, l2_normalize

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder
    from mmsearch.rerank import LocalQuery, LocalReader, Ranked
_FEW = 1000  # pictures that pass a filter are scanned exactly, whatever their share
_NARROW = 0.05  # a filter that passes less than this share is scanned exactly
_LOAD_SECONDS_PER_BYTE = 1e-9  # of a graph, with its checksum


@dataclass(frozen=True)
class EncodedTerm:
    """One term of a query: what it is, its unit vector (dim,), and its weight (negative to exclude)."""

    label: str
    modality: Modality
    vector: Matrix
    weight: float


class Searcher:
    """Answers queries over one open library; one thread at a time.

    Parameters
    ----------
    store : Store
        Opened for reading; newly committed pictures are seen by the next query.
    encoder : callable
        Returns the library's encoder, or raises EncoderError if it has none; only called when a term is not
        known yet.
    use_graph : bool or None
        True loads the graph at once, False never; None when the exact scans so far have taken as long as
        loading it would: the sum is then never more than twice the best.
    """

    def __init__(self, store: Store, encoder: Callable[[], DualEncoder], *, use_graph: bool | None = None) -> None:
        self.store = store
        self._encoder = encoder
        self._use_graph = use_graph
        self._graph: PublishedGraph | None = None
        self._graph_problem: str | None = None
        self._local_reader: LocalReader | None = None
        self._scan_seconds = 0.0
        self._revision = -1
        self._exact = ExactIndex(np.zeros((0, 1), dtype=np.float16))
        self._has_vectors = store.has_vectors
        self.remembered = RememberedQueries(
            store.folder / "queries.sqlite", str(store.catalog.meta("fingerprint")), store.dim
        )

    # -- terms ---------------------------------------------------------------------------------------

    def encode(self, query: Query) -> tuple[list[EncodedTerm], Matrix]:
        """Return the terms of a query, and their weighted, normalised sum float32 (dim,).

        Raises
        ------
        QueryError
            If there is nothing to look for, a weight is not positive, or the terms cancel.
        PictureError
            If an example picture cannot be read.
        """
        texts = [] if query.text is None else [_as_term(query.text)]
        images = [_as_term(image) for image in query.images]
        excluded = [_as_term(text) for text in query.exclude]
        if not texts and not images:
            raise QueryError("the query is empty; give a text, an example picture, or both")
        for term in [*texts, *excluded]:
            if not term.value.strip():
                raise QueryError("a text of the query is empty; write what the picture should show")
        vectors = iter(self.text_vectors([term.value for term in [*texts, *excluded]]))
        terms = [EncodedTerm(t.value, "text", next(vectors), t.weight) for t in texts]
        terms += [EncodedTerm(t.value, "image", self.picture_vector(t.value), t.weight) for t in images]
        terms += [EncodedTerm(f"not {t.value}", "text", next(vectors), -t.weight) for t in excluded]
        weights = np.array([term.weight for term in terms], dtype=np.float32)
        total: Matrix = weights @ np.stack([term.vector for term in terms])
        if np.linalg.norm(total) < 1e-6:
            raise QueryError("the terms of the query cancel each other out; change a weight or leave one out")
        return terms, l2_normalize(total[None])[0]

    def text_vectors(self, texts: Sequence[str]) -> list[Matrix]:
        """Return a unit vector (dim,) for each text, remembered ones without the encoder."""
        known = {text: self.remembered.get(text) for text in texts}
        missing = [text for text, vector in known.items() if vector is None]
        if missing:
            for text, vector in zip(missing, self._encoder().encode_texts(missing), strict=True):
                known[text] = vector
                self.remembered.put(text, vector)
        return [vector for text in texts if (vector := known[text]) is not None]

    def picture_vector(self, path: PathLike) -> Matrix:
        """Return the unit vector (dim,) of a picture; one that is in the library unchanged is not decoded."""
        encoded = os.path.abspath(os.fsencode(path))
        stored = self.store.consistently(lambda: self._stored_vector(encoded))
        if stored is not None:
            return stored
        from mmsearch.images import decode, read_file  # a search by words does without

        encoder = self._encoder()
        try:
            data, _ = read_file(encoded)
            picture = decode(data, encoder.preprocessing)
        except PictureError as error:
            raise PictureError(error.code, f"{os.fsdecode(encoded)}: {error}") from error
        vectors = encoder.encode_images(picture.pixels[None])
        return np.asarray(vectors[0], dtype=np.float32)

    def _stored_vector(self, path: bytes) -> Matrix | None:
        known = self.store.catalog.image_at(path)
        if known is None or not self._has_vectors or not _is_unchanged(path, known):
            return None
        vector: Matrix = l2_normalize(self.store.checked_rows([known.row]).astype(np.float32))[0]
        return vector

    # -- ranking -------------------------------------------------------------------------------------

    def search(
        self, query: Query, *, k: int = 10, explain: bool = False, mode: Mode = "global", rerank: Rerank = "auto"
    ) -> SearchResult:
        """Return the k pictures most similar to the query, best first; ties by image id.

        Parameters
        ----------
        query : Query
            What is looked for.
        k : int > 0
            At most; all matches if there are fewer.
        explain : bool
            Fill in the cosine of every hit to every term.
        mode : "global" or "local"
            `local` looks at visual words alone, and needs no encoder; the query is one example picture then. In a
            library without an encoder both are this.
        rerank : "auto", "none" or "local"
            Whether local features look again at what the embedding finds; `auto` where the query is one example
            picture and nothing else, and the library has visual words.

        Raises
        ------
        QueryError
            If the query means nothing, or local features are asked for and cannot be had.
        EncoderError
            If the library has no encoder, and the query is another than one example picture.
        """
        if k < 1:
            raise QueryError(f"k is {k}; ask for at least one picture")
        start = time.perf_counter()
        condition = parse_where(query.where)
        if mode == "global" and not self._has_vectors:
            if rerank != "auto" or not _is_example(query):
                self._encoder()  # raises, as there is none
            mode = "local"
        local, said = self._local_query(query, mode, rerank)
        if mode == "local":
            found = self.store.consistently(lambda: self._local().by_words(local, k, condition)) if local else []
            hits = tuple(_hit(rank, *one) for rank, one in enumerate(found, start=1))
            seconds = {"total": time.perf_counter() - start}
            return SearchResult(hits, "local", len(found), seconds, said or _verified(hits))
        looked = time.perf_counter()
        terms, vector = self.encode(query)
        encoded = time.perf_counter()
        modality: Modality = "image" if all(term.modality == "image" for term in terms) else "text"
        ranked, vectors, route, n_candidates = self.store.consistently(
            lambda: self._ranked(vector, k, condition, modality, local)
        )
        cosines = inner_products(vectors.astype(np.float32), np.stack([term.vector for term in terms]))
        labels = [term.label for term in terms]
        hits = tuple(
            _hit(rank, *one, terms=dict(zip(labels, map(float, own), strict=False)) if explain else {})
            for rank, (one, own) in enumerate(zip(ranked, cosines, strict=True), start=1)
        )
        done = time.perf_counter()
        seconds = {
            "local": looked - start,
            "encode": encoded - looked,
            "search": done - encoded,
            "total": done - start,
        }
        return SearchResult(hits, route, n_candidates, seconds, said or (_verified(hits) if local else ""))

    def _ranked(
        self, vector: Matrix, k: int, condition: Condition, modality: Modality, local: LocalQuery | None
    ) -> tuple[list[Ranked], Half, str, int]:
        """Return the k best (score, picture, evidence), their stored vectors, the route, and the candidates."""
        self._refresh()
        n_wanted = k if local is None else max(k, self._local().shortlist)
        scores, rows, route, n_candidates = self._nearest(vector[None], n_wanted, condition, modality)
        pictures = self._pictures(scores, rows, condition, n_wanted)
        if local is None:
            found: list[Ranked] = [(score, image, None) for score, image in pictures]
        else:
            found = self._local().reranked(pictures, vector, condition, local)[:k]
        return found, self.store.checked_rows([image.row for _, image, _ in found]), route, n_candidates

    def _local_query(self, query: Query, mode: Mode, rerank: Rerank) -> tuple[LocalQuery | None, str]:
        """Return the example as words if local features are to be looked at, and why they are not if asked for."""
        is_demanded = mode == "local" or rerank == "local"
        is_example = _is_example(query)
        if not is_demanded and (rerank == "none" or not is_example):
            return None, ""
        if len(query.images) != 1 or (mode == "local" and not is_example):
            raise QueryError("local features compare pictures; give one example picture with -i, and no text")
        return self._local().query(_as_term(query.images[0]).value, is_demanded=is_demanded)

    def _local(self) -> LocalReader:
        """Return the local stage, which a search by words never loads."""
        if self._local_reader is None:
            from mmsearch.rerank import LocalReader

            self._local_reader = LocalReader(self.store)
        return self._local_reader

    def _refresh(self) -> None:
        """Bring the mapped vectors up to the catalog's present state; inside `reading()`."""
        revision = self.store.catalog.meta("revision")
        if revision == self._revision:
            return
        dead = self.store.catalog.dead_rows()
        self._exact = ExactIndex(self.store.matrix(), dead)
        if self._graph is not None:
            facts = graph_facts(self.store)
            if facts is None or facts["covered"] != self._graph.covered or self._graph.epoch != self.store.epoch:
                self._graph = None
            else:
                self._graph.index.restore(self._graph.index.dead.difference(dead))
                self._graph.index.delete([row for row in dead if row < self._graph.covered])
        self._graph_problem = None
        self._revision = revision

    def _nearest(
        self, queries: Matrix, k: int, condition: Condition, modality: Modality
    ) -> tuple[Matrix, Rows, str, int]:
        """Return scores and rows (1, >= k rows where there are so many), the route, and the candidates."""
        n_live = len(self._exact)
        if n_live == 0:
            return np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64), "empty", 0
        if not condition.sql:
            return *self._unfiltered(queries, k, modality), n_live
        limit = max(_FEW, int(_NARROW * n_live))
        passing = self.store.catalog.rows_where(condition.sql, condition.parameters, limit)
        if len(passing) == limit:
            broad = self._filter_afterwards(queries, k, condition, modality)
            if broad is not None:
                return *broad, n_live
            passing = self.store.catalog.rows_where(condition.sql, condition.parameters, -1)
        rows = np.unique(np.asarray(passing, dtype=np.int64))
        return *self._exact.search_among(queries, k, rows), "filtered", len(rows)

    def _filter_afterwards(
        self, queries: Matrix, k: int, condition: Condition, modality: Modality
    ) -> tuple[Matrix, Rows, str] | None:
        """Look among the neighbours for k that pass a broad filter; None if the graph has too few."""
        n_wanted = int(2 * k / _NARROW)
        scores, rows, route = self._unfiltered(queries, n_wanted, modality)
        if route != "graph":
            return None
        images = self.store.catalog.images_of_rows(rows[0].tolist(), condition.sql, condition.parameters)
        keep = np.isin(rows[0], [image.row for image in images])
        if keep.sum() < k:
            return None
        return scores[:, keep], rows[:, keep], "graph"

    def _unfiltered(self, queries: Matrix, k: int, modality: Modality) -> tuple[Matrix, Rows, str]:
        graph = self._usable_graph(modality)
        if graph is not None:
            with graph.index.beam(max(graph.calibrations[modality].ef, k)):
                found = graph.index.search(queries, k)
            if found[0].shape[1] == min(k, len(graph.index)):
                tail = self._exact.search_tail(queries, k, first_row=graph.covered)
                return *merge(found, tail, k), "graph"
        start = time.perf_counter()
        scores, rows = self._exact.search(queries, k)
        self._scan_seconds += time.perf_counter() - start
        return scores, rows, "exact"

    def _usable_graph(self, modality: Modality) -> PublishedGraph | None:
        """Return the graph if it is whole, fits, and was found better than a scan for this modality."""
        if self._use_graph is False or self._graph_problem is not None:
            return None
        if self._graph is None:
            facts = graph_facts(self.store)
            calibration = calibrations_of(facts).get(modality) if facts else None
            if facts is None or calibration is None or calibration.route != "graph":
                return None
            worth = self._scan_seconds >= _LOAD_SECONDS_PER_BYTE * facts["length"]
            if not (worth or self._use_graph):
                return None
            loaded = load_graph(self.store)
            if isinstance(loaded, str):
                self._graph_problem = loaded
                return None
            self._graph = loaded
        calibration = self._graph.calibrations.get(modality)
        return self._graph if calibration is not None and calibration.route == "graph" else None

    def _pictures(
        self, scores: Matrix, rows: Rows, condition: Condition, k: int
    ) -> list[tuple[float, ImageRecord]]:
        """Return the k best (score, picture) of scored rows; a row may stand for several pictures."""
        score_of = dict(zip(rows[0].tolist(), scores[0].tolist(), strict=True))
        images = self.store.catalog.images_of_rows(list(score_of), condition.sql, condition.parameters)
        ranked = sorted(images, key=lambda image: (-score_of[image.row], image.image_id))
        return [(score_of[image.row], image) for image in ranked[:k]]


def _is_example(query: Query) -> bool:
    """Return whether a query is one example picture and nothing else."""
    return len(query.images) == 1 and query.text is None and not query.exclude


def _as_term(value: PathLike | Term) -> Term:
    term = value if isinstance(value, Term) else Term(os.fsdecode(value))
    if not (np.isfinite(term.weight) and term.weight > 0):
        raise QueryError(f"the weight of {term.value!r} is {term.weight}; expected a number above 0")
    return term


def _is_unchanged(path: bytes, known: ImageRecord) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (known.size_bytes, known.mtime_ns)


def _verified(hits: Sequence[Hit]) -> str:
    n = sum(hit.local is not None and hit.local.is_verified for hit in hits)
    return f"{n} of {len(hits)} hits verified by local features"


def _hit(
    rank: int,
    score: float,
    image: ImageRecord,
    local: LocalEvidence | None,
    *,
    terms: dict[str, float] | None = None,
) -> Hit:
    return Hit(
        rank, score, image.image_id, image.path, image.width, image.height, image.format,
        image.taken_at, image.size_bytes, terms or {}, local,
    )  # fmt: skip
