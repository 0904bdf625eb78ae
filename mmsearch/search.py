"""READ PATH: a query in, ranked pictures out. Encode the terms, plan the route, look the pictures up, rerank.

Routes: `exact` scans the vectors; `graph` walks the HNSW graph and scans the rows that are not in it yet;
`filtered` scans only the pictures that pass the filter. All give min(k, matches) hits. Local features may rerank
them, or answer alone (`local`), which gives only pictures that share visual words with the example.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.arguments import Expand, Mode, Rerank, as_count, one_of
from mmsearch.errors import QueryError
from mmsearch.feedback import ALPHA, expanded
from mmsearch.indexes.base import Rows
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.records import (
    Hit,
    ImageRecord,
    LocalEvidence,
    Matrix,
    Modality,
    Query,
    SearchResult,
)
from mmsearch.store.folder import Store
from mmsearch.store.graph import PublishedGraph, calibrations_of, graph_facts, load_graph
from mmsearch.store.matrix import Half
from mmsearch.store.possible import require_possible
from mmsearch.store.spelling import spelled
from mmsearch.store.where import Condition, parse_where
from mmsearch.system import is_gone
from mmsearch.terms import EncodedQuery, TermEncoder, as_term
from mmsearch.vectors import inner_products, l2_normalize

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder
    from mmsearch.rerank import LocalQuery, LocalReader, Ranked
_FEW = 1000  # pictures that pass a filter are scanned exactly, whatever their share
_NARROW = 0.05  # a filter that passes less than this share is scanned exactly
_LOAD_SECONDS_PER_BYTE = 1e-9  # of a graph, with its checksum


@dataclass(frozen=True)
class _Ranking:
    """The pictures that answer a query, best first, with their stored vectors, and how they were found."""

    ranked: list[Ranked]
    vectors: Half
    route: str
    n_candidates: int


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
        self.terms = TermEncoder(store, encoder)
        self._use_graph = use_graph
        self._graph: PublishedGraph | None = None
        self._graph_problem: str | None = None
        self._local_reader: LocalReader | None = None
        self._scan_seconds = 0.0
        self._revision = -1
        self._problems: tuple[str, ...] = ()
        self._problems_of = -1  # the revision
        self._exact = ExactIndex(np.zeros((0, 1), dtype=np.float16))
        self._has_vectors = store.has_vectors

    # -- ranking -------------------------------------------------------------------------------------

    def search(
        self,
        query: Query,
        *,
        k: int = 10,
        explain: bool = False,
        mode: Mode = "global",
        rerank: Rerank = "auto",
        expand: Expand = "none",
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
        expand : "none", "average" or "alpha"
            Whether the pictures that local features verify are added to the query, which is then asked once more:
            all alike, or each by a power of its cosine (`mmsearch.feedback.expanded`).

        Raises
        ------
        QueryError
            If the query means nothing, no picture could pass its filters, local features are asked for and cannot
            be had, it cannot be expanded, k is not above 0, or an option is another word.
        NoEncoderError
            If the library has no encoder, and the query is another than one example picture.
        """
        start = time.perf_counter()
        k = as_count(k, "k")
        one_of(mode, "mode", Mode), one_of(rerank, "rerank", Rerank), one_of(expand, "expand", Expand)
        condition = parse_where(query.where)
        with self.store.catalog.reading():
            condition = spelled(self.store.catalog, condition)
            require_possible(self.store.catalog, condition)
        if mode == "global" and not self._has_vectors:
            if rerank != "auto" or not _is_example(query):
                self._encoder()  # raises, as there is none
            mode = "local"
        local, said = self._local_query(query, mode, rerank)
        if expand != "none" and (mode == "local" or not (local or said)):
            raise QueryError(
                "a query is expanded by pictures that local features verify beside an embedding; ask by one "
                "example picture in a library with an encoder and visual words, or leave the expansion out"
            )
        if mode == "local":
            found = self.store.consistently(lambda: self._local().by_words(local, k, condition)) if local else []
            hits = tuple(_hit(rank, *one) for rank, one in enumerate(found, start=1))
            with self.store.catalog.reading():
                self._look_for_problems()
            seconds = {"total": time.perf_counter() - start}
            return SearchResult(hits, "local", len(found), seconds, said or _verified(hits), self._problems)
        looked = time.perf_counter()
        (encoded,) = self.terms.encode([query])
        seconds = {"local": looked - start, "encode": time.perf_counter() - looked}

        def rank() -> _Ranking:
            if local is None:
                return self._ranked([encoded], k, condition)[0]
            return self._reranked(encoded, k, condition, local, expand)

        result = self._result(encoded, self.store.consistently(rank), seconds, start=start, explain=explain)
        return replace(result, local=said or (_verified(result.hits) if local else ""))

    def search_texts(self, queries: Sequence[Query], *, k: int = 10, explain: bool = False) -> list[SearchResult]:
        """Return the answers to several queries by words without filters, from one scan for all.

        Each is what `search` gives, whose time is that of all.

        Raises
        ------
        QueryError
            If a query means nothing, has no text, or has example pictures or filters.
        """
        start = time.perf_counter()
        k = as_count(k, "k")
        if any(query.text is None or query.images or query.where for query in queries):
            raise QueryError("only queries by words without filters are answered together; use search for others")
        if not queries:
            return []
        encoded = self.terms.encode(queries)
        seconds = {"encode": time.perf_counter() - start}
        ranked = self.store.consistently(lambda: self._ranked(encoded, k, Condition()))
        return [
            self._result(query, ranking, seconds, start=start, explain=explain)
            for query, ranking in zip(encoded, ranked, strict=True)
        ]

    def _shortlists(
        self, queries: Sequence[EncodedQuery], k: int, condition: Condition
    ) -> tuple[list[list[tuple[float, ImageRecord]]], str, int]:
        """Return the k best (score, picture) for queries of one modality, the route, and the candidates."""
        self._refresh()
        vectors = np.stack([query.vector for query in queries])
        scores, rows, route, n_candidates = self._nearest(vectors, k, condition, queries[0].modality)
        found = [self._pictures(*own, condition, k) for own in zip(scores, rows, strict=True)]
        return found, route, n_candidates

    def _ranked(self, queries: Sequence[EncodedQuery], k: int, condition: Condition) -> list[_Ranking]:
        """Return the k best pictures for queries of one modality."""
        shortlists, route, n_candidates = self._shortlists(queries, k, condition)
        rankings = []
        for found in shortlists:
            ranked: list[Ranked] = [(score, image, None) for score, image in found]
            rankings.append(_Ranking(ranked, self._vectors(ranked), route, n_candidates))
        return rankings

    def _reranked(
        self, query: EncodedQuery, k: int, condition: Condition, local: LocalQuery, expand: Expand
    ) -> _Ranking:
        """Return the k best pictures after local features have looked at a shortlist; see `search`."""
        n_wanted = max(k, self._local().shortlist)
        (pictures,), route, n_candidates = self._shortlists([query], n_wanted, condition)
        found = self._local().reranked(pictures, query.vector, condition, local)
        verified = [one for one in found if one[2] is not None and one[2].is_verified] if expand != "none" else []
        if verified:
            vectors = l2_normalize(self._vectors(verified).astype(np.float32))
            moved = expanded(query.vector, vectors, alpha=ALPHA if expand == "alpha" else 0)
            asked = replace(query, vector=l2_normalize(moved[None])[0])
            return self._reranked(asked, k, condition, local, "none")
        return _Ranking(found[:k], self._vectors(found[:k]), route, n_candidates)

    def _vectors(self, ranked: Sequence[Ranked]) -> Half:
        return self.store.checked_rows([image.row for _, image, _ in ranked])

    def _result(
        self, query: EncodedQuery, ranking: _Ranking, seconds: dict[str, float], *, start: float, explain: bool
    ) -> SearchResult:
        cosines: list[dict[str, float]] = [{} for _ in ranking.ranked]
        if explain and query.terms:
            labels = [term.label for term in query.terms]
            found = inner_products(
                ranking.vectors.astype(np.float32), np.stack([term.vector for term in query.terms])
            )
            cosines = [dict(zip(labels, own, strict=True)) for own in found.tolist()]
        hits = tuple(
            _hit(rank, *one, terms=own)
            for rank, (one, own) in enumerate(zip(ranking.ranked, cosines, strict=True), 1)
        )
        total = time.perf_counter() - start
        seconds = seconds | {"search": total - sum(seconds.values()), "total": total}
        return SearchResult(hits, ranking.route, ranking.n_candidates, seconds, problems=self._problems)

    def _local_query(self, query: Query, mode: Mode, rerank: Rerank) -> tuple[LocalQuery | None, str]:
        """Return the example as words if local features are to be looked at, and why they are not if asked for."""
        is_demanded = mode == "local" or rerank == "local"
        is_example = _is_example(query)
        if not is_demanded and (rerank == "none" or not is_example):
            return None, ""
        if len(query.images) != 1 or (mode == "local" and not is_example):
            raise QueryError("local features compare pictures; give one example picture with -i, and no text")
        return self._local().query(as_term(query.images[0]), is_demanded=is_demanded)

    def _local(self) -> LocalReader:
        """Return the local stage, which a search by words never loads."""
        if self._local_reader is None:
            from mmsearch.rerank import LocalReader

            self._local_reader = LocalReader(self.store)
        return self._local_reader

    def _refresh(self) -> None:
        """Bring the mapped vectors up to the catalog's present state; inside `reading()`."""
        self._look_for_problems()
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

    def _look_for_problems(self) -> None:
        """Ask what the library has lost, once for each state of it."""
        revision = self.store.catalog.meta("revision")
        if revision != self._problems_of:
            self._problems, self._problems_of = tuple(self.store.problems()), revision

    def _nearest(
        self, queries: Matrix, k: int, condition: Condition, modality: Modality
    ) -> tuple[Matrix, Rows, str, int]:
        """Return scores and rows (n_queries, >= k where there are so many), the route, and the candidates."""
        n_live = len(self._exact)
        if n_live == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64), "empty", 0
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
        """Return the k best (score, picture) of scored rows (n,); a row may stand for several pictures."""
        score_of = dict(zip(rows.tolist(), scores.tolist(), strict=True))
        images = self.store.catalog.images_of_rows(list(score_of), condition.sql, condition.parameters)
        ranked = sorted(images, key=lambda image: (-score_of[image.row], image.image_id))
        return [(score_of[image.row], image) for image in ranked[:k]]


def _is_example(query: Query) -> bool:
    """Return whether a query is one example picture and nothing else."""
    is_alone = query.text is None and not (query.exclude or query.relevant or query.irrelevant)
    return len(query.images) == 1 and is_alone


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
        image.taken_at, image.size_bytes, terms or {}, local, is_gone(os.fsencode(image.path)),
    )  # fmt: skip
