"""READ PATH: a query in, ranked pictures out. Encode the terms, plan the route, look the pictures up, rerank.

Routes: `exact` scans the vectors; `graph` walks the HNSW graph and scans the rows that are not in it yet;
`filtered` scans only the pictures that pass the filter. `mmsearch.query.routes` chooses; all give min(k, matches)
hits. Local features may rerank them, or answer alone (`local`), which gives only pictures that share visual words
with the example.
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
from mmsearch.query.encode import EncodedQuery, TermEncoder, as_term, is_example, judged_pictures
from mmsearch.query.feedback import ALPHA, expanded
from mmsearch.query.routes import Nearest, Neighbours
from mmsearch.records import (
    Hit,
    ImageRecord,
    LocalEvidence,
    Query,
    SearchResult,
)
from mmsearch.store.folder import Store
from mmsearch.store.matrix import Half
from mmsearch.store.possible import possible_condition
from mmsearch.store.where import Condition
from mmsearch.system import is_gone
from mmsearch.vectors import l2_normalize, stored_cosines

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder
    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.query.rerank import LocalQuery, LocalReader, Ranked


@dataclass(frozen=True)
class _Shortlist:
    """The best (score, picture) for a query, the route to them, and how many rows they were chosen from."""

    pictures: list[tuple[float, ImageRecord]]
    route: str
    n_candidates: int


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
    decoder : callable
        Returns what decodes example pictures; only called when there is one to be decoded.
    use_graph : bool
        False answers everything by exact scans; else the route follows from the library and the query.
    """

    def __init__(
        self,
        store: Store,
        encoder: Callable[[], DualEncoder],
        decoder: Callable[[], PictureDecoder],
        *,
        use_graph: bool = True,
    ) -> None:
        self.store = store
        self._encoder = encoder
        self._decoder = decoder
        self.terms = TermEncoder(store, encoder, self._decoder)
        self._neighbours = Neighbours(store, use_graph=use_graph)
        self._local_reader: LocalReader | None = None
        self._problems: tuple[str, ...] = ()
        self._problems_of = -1, range(0)  # the revision, and the rows that are lost
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

        A picture of the library that is the whole query comes first. Pictures judged irrelevant are no answer.

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
            all alike, or each by a power of its cosine (`mmsearch.query.feedback.expanded`).

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
        with self.store.catalog.reading():
            condition = possible_condition(self.store.catalog, query.where)
        if mode == "global" and not self._has_vectors:
            if rerank != "auto" or not _compares_pictures(query):
                self._encoder()  # raises, as there is none
            mode = "local"
        local, said = self._local_query(query, mode, rerank)
        if expand != "none" and (mode == "local" or not (local or said)):
            raise QueryError(
                "a query is expanded by pictures that local features verify beside an embedding; ask by one "
                "example picture in a library with an encoder and visual words, or leave the expansion out"
            )
        if mode == "local":
            found = (
                [] if local is None else self.store.consistently(lambda: self._by_words(query, local, k, condition))
            )
            hits = tuple(_hit(rank, *one) for rank, one in enumerate(found, start=1))
            with self.store.catalog.reading():
                self._look_for_problems(self.store.lost_rows())
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

    def _shortlists(self, queries: Sequence[EncodedQuery], k: int, condition: Condition) -> list[_Shortlist]:
        """Return the k best pictures for each of queries of one modality."""
        self._refresh()
        n_left_out = [self._n_rows_left_out(query, condition) for query in queries]
        found: dict[int, _Shortlist] = {}
        for n in set(n_left_out):  # one scan for all that want as many rows
            places = [place for place, own in enumerate(n_left_out) if own == n]
            vectors = np.stack([queries[place].vector for place in places])
            answers = self._neighbours.of(vectors, k + n, condition, queries[0].modality)
            for place, nearest in zip(places, answers, strict=True):
                pictures = self._pictures(queries[place], nearest, k, condition)
                found[place] = _Shortlist(pictures, nearest.route, nearest.n_candidates - n)
        return [found[place] for place in range(len(queries))]

    def _n_rows_left_out(self, query: EncodedQuery, condition: Condition) -> int:
        """Return how many rows stand for nothing but pictures that pass a filter and are no answer to a query."""
        catalog, passing = self.store.catalog, (condition.sql, condition.parameters)
        rows = {image.row for image in catalog.images_of_ids(query.left_out, *passing)}
        others = condition.without(query.left_out)
        shared = catalog.images_of_rows(list(rows), others.sql, others.parameters) if rows else []
        return len(rows) - len({image.row for image in shared})

    def _pictures(
        self, query: EncodedQuery, nearest: Nearest, k: int, condition: Condition
    ) -> list[tuple[float, ImageRecord]]:
        """Return the k best (score, picture) of the nearest rows; a row may stand for several pictures."""
        condition = condition.without(query.left_out)
        score_of = dict(zip(nearest.rows.tolist(), nearest.scores.tolist(), strict=True))
        # A graph may miss the picture that is asked for, and of equal scores the row of another may go before it.
        itself = self.store.catalog.images_of_ids(query.itself, condition.sql, condition.parameters)
        rows = [row for row in {image.row for image in itself} if row not in score_of]
        scores = stored_cosines(query.vector, self.store.checked_rows(rows))
        score_of |= dict(zip(rows, scores.tolist(), strict=True))
        images = self.store.catalog.images_of_rows(list(score_of), condition.sql, condition.parameters)
        ranked = sorted(
            images, key=lambda image: (image.image_id not in query.itself, -score_of[image.row], image.image_id)
        )
        return [(score_of[image.row], image) for image in ranked[:k]]

    def _ranked(self, queries: Sequence[EncodedQuery], k: int, condition: Condition) -> list[_Ranking]:
        """Return the k best pictures for queries of one modality."""
        rankings = []
        for shortlist in self._shortlists(queries, k, condition):
            ranked: list[Ranked] = [(score, image, None) for score, image in shortlist.pictures]
            rankings.append(_Ranking(ranked, self._vectors(ranked), shortlist.route, shortlist.n_candidates))
        return rankings

    def _reranked(
        self, query: EncodedQuery, k: int, condition: Condition, local: LocalQuery, expand: Expand
    ) -> _Ranking:
        """Return the k best pictures after local features have looked at a shortlist; see `search`."""
        n_wanted = max(k, self._local().shortlist)
        (shortlist,) = self._shortlists([query], n_wanted, condition)
        answers = condition.without(query.left_out)
        found = self._local().reranked(shortlist.pictures, query.vector, answers, local)
        verified = [one for one in found if one[2] is not None and one[2].is_verified] if expand != "none" else []
        if verified:
            vectors = l2_normalize(self._vectors(verified).astype(np.float32))
            moved = expanded(query.vector, vectors, alpha=ALPHA if expand == "alpha" else 0)
            asked = replace(query, vector=l2_normalize(moved[None])[0])
            return self._reranked(asked, k, condition, local, "none")
        ranked = _itself_first(found, query.itself)[:k]
        return _Ranking(ranked, self._vectors(ranked), shortlist.route, shortlist.n_candidates)

    def _by_words(self, query: Query, local: LocalQuery | None, k: int, condition: Condition) -> list[Ranked]:
        """Return the k best pictures by visual words alone; none for an example that says nothing."""
        judged_pictures(self.store, query.irrelevant)
        if local is None:
            return []
        itself = [image.image_id for image in self.terms.stored_as(query.images[0], local.content_hash)]
        found = self._local().by_words(local, k, condition.without(query.irrelevant), itself)
        return _itself_first(found, itself)[:k]

    def _vectors(self, ranked: Sequence[Ranked]) -> Half:
        return self.store.checked_rows([image.row for _, image, _ in ranked])

    def _result(
        self, query: EncodedQuery, ranking: _Ranking, seconds: dict[str, float], *, start: float, explain: bool
    ) -> SearchResult:
        cosines: list[dict[str, float]] = [{} for _ in ranking.ranked]
        if explain:
            for term in query.terms:
                for own, cosine in zip(cosines, stored_cosines(term.vector, ranking.vectors).tolist(), strict=True):
                    own[term.label] = cosine
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
        if not is_demanded and (rerank == "none" or not is_example(query)):
            return None, ""
        if len(query.images) != 1 or (mode == "local" and not _compares_pictures(query)):
            raise QueryError("local features compare pictures; give one example picture with -i, and no text")
        return self._local().query(as_term(query.images[0]), is_demanded=is_demanded)

    def _local(self) -> LocalReader:
        """Return the local stage, which a search by words never loads."""
        if self._local_reader is None:
            from mmsearch.query.rerank import LocalReader

            self._local_reader = LocalReader(self.store, self._decoder)
        return self._local_reader

    def _refresh(self) -> None:
        """Bring everything up to the library's present state; inside `reading()`."""
        self._neighbours.refresh()
        self._look_for_problems(self._neighbours.lost_rows)

    def _look_for_problems(self, lost: range) -> None:
        """Ask what the library has lost, once for each state of its catalog and its vectors."""
        state = int(self.store.catalog.meta("revision")), lost
        if state != self._problems_of:
            self._problems, self._problems_of = tuple(self.store.problems(lost)), state


def _compares_pictures(query: Query) -> bool:
    """Return whether a query is one example picture, which visual words alone can answer."""
    return len(query.images) == 1 and query.text is None and not (query.exclude or query.relevant)


def _itself_first(ranked: list[Ranked], itself: Sequence[int]) -> list[Ranked]:
    """Return pictures with those that the query is before all others."""
    return sorted(ranked, key=lambda one: one[1].image_id not in itself)


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
