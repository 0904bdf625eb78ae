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

from mmsearch.arguments import Expand
from mmsearch.errors import MmsearchError, QueryError
from mmsearch.query.encode import (
    TEXTS_TOGETHER,
    EncodedQuery,
    TermEncoder,
    as_term,
    is_example,
    judged_pictures,
    n_texts_of,
)
from mmsearch.query.feedback import ALPHA, expanded
from mmsearch.query.routes import Nearest, Neighbours
from mmsearch.records import (
    Hit,
    ImageRecord,
    LocalEvidence,
    Query,
    SearchOptions,
    SearchResult,
)
from mmsearch.store.folder import Store
from mmsearch.store.matrix import Half
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
    check : callable
        Called between the answers to several queries; what it raises ends them.
    """

    def __init__(
        self,
        store: Store,
        encoder: Callable[[], DualEncoder],
        decoder: Callable[[], PictureDecoder],
        *,
        use_graph: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self._check = check
        self._encoder = encoder
        self._decoder = decoder
        self.terms = TermEncoder(store, encoder, self._decoder)
        self._neighbours = Neighbours(store, use_graph=use_graph)
        self._local_reader: LocalReader | None = None
        self._problems: tuple[str, ...] = ()
        self._problems_of = -1, range(0)  # the revision, and the rows that are lost

    # -- ranking -------------------------------------------------------------------------------------

    def search(self, query: Query, options: SearchOptions = SearchOptions()) -> SearchResult:
        """Return the pictures most similar to the query, best first; ties by image id.

        A picture of the library that is the whole query comes first. Pictures judged irrelevant are no answer.

        Raises
        ------
        QueryError
            If the query means nothing, no picture could pass its filters, local features are asked for and cannot
            be had, or it cannot be expanded.
        NoEncoderError
            If the library has no encoder, and the query is another than one example picture.
        """
        return self.store.of_one_encoder(lambda: self._answer(query, options))

    def _answer(self, query: Query, options: SearchOptions) -> SearchResult:
        start = time.perf_counter()
        condition = self.store.condition(query.where)
        options = self._within_reach(query, options)
        local, said = self._local_query(query, options)
        if options.expand != "none" and (options.mode == "local" or not (local or said)):
            raise QueryError(
                "a query is expanded by pictures that local features verify beside an embedding; ask by one "
                "example picture in a library with an encoder and visual words, or leave the expansion out"
            )
        if options.mode == "local":
            hits = self._hits_by_words(query, local, options.k, condition)
            seconds = {"total": time.perf_counter() - start}
            return SearchResult(hits, "local", len(hits), seconds, said or _verified(hits), self._problems)
        looked = time.perf_counter()
        (encoded,) = self.terms.encode([query])
        seconds = {"local": looked - start, "encode": time.perf_counter() - looked}

        def rank() -> _Ranking:
            if local is None:
                return self._ranked([encoded], options.k, condition)[0]
            return self._reranked(encoded, options.k, condition, local, options.expand)

        ranking = self.store.consistently(rank)
        result = self._result(encoded, ranking, seconds, start=start, explain=options.explain)
        return replace(result, local=said or (_verified(result.hits) if local else ""))

    def search_each(
        self, queries: Sequence[Query], options: SearchOptions = SearchOptions()
    ) -> list[SearchResult | MmsearchError]:
        """Return what `search` gives for each of several queries, or the error that it raises.

        Queries by words without filters are encoded together, some texts at a time, and share a scan; their time is
        that of all that do. The others are answered one by one.
        """
        answers: dict[int, SearchResult | MmsearchError] = {}
        for places in self._sharing(queries, options):
            answered = self._answers([queries[place] for place in places], options)
            answers |= dict(zip(places, answered, strict=True))
        return [answers[place] for place in range(len(queries))]

    def _sharing(self, queries: Sequence[Query], options: SearchOptions) -> list[list[int]]:
        """Return the places of queries in groups, each of which one scan answers."""
        is_plain = options.mode == "global" and options.rerank != "local" and options.expand == "none"
        groups: list[list[int]] = []
        n_texts = TEXTS_TOGETHER  # of the last group that takes more
        together: list[int] = []
        for place, query in enumerate(queries):
            if not is_plain or query.text is None or query.images or query.where:
                groups.append([place])
                continue
            n_texts += n_texts_of(query)
            if n_texts > TEXTS_TOGETHER:
                n_texts, together = n_texts_of(query), []
                groups.append(together)
            together.append(place)
        return groups

    def _answers(self, queries: Sequence[Query], options: SearchOptions) -> list[SearchResult | MmsearchError]:
        """Return the answers to queries that share a scan, each of which may have an error that hurts no other."""
        self._check()
        try:
            if len(queries) == 1:
                return [self.search(queries[0], options)]
            return [*self.store.of_one_encoder(lambda: self._together(queries, options))]
        except MmsearchError as error:
            if len(queries) == 1:
                return [error]
        half = len(queries) // 2  # what is wrong with one of them is found in few scans
        return [*self._answers(queries[:half], options), *self._answers(queries[half:], options)]

    def _together(self, queries: Sequence[Query], options: SearchOptions) -> list[SearchResult]:
        """Return the answers to queries by words without filters, from one scan for all."""
        start = time.perf_counter()
        encoded = self.terms.encode(queries)
        seconds = {"encode": time.perf_counter() - start}
        ranked = self.store.consistently(lambda: self._ranked(encoded, options.k, Condition()))
        return [
            self._result(query, ranking, seconds, start=start, explain=options.explain)
            for query, ranking in zip(encoded, ranked, strict=True)
        ]

    def _within_reach(self, query: Query, options: SearchOptions) -> SearchOptions:
        """Return the options with the mode that the library has."""
        if options.mode == "local" or self.store.has_vectors:
            return options
        if options.rerank != "auto" or not _compares_pictures(query):
            self._encoder()  # raises, as there is none
        return replace(options, mode="local")

    def _shortlists(self, queries: Sequence[EncodedQuery], k: int, condition: Condition) -> list[_Shortlist]:
        """Return the k best pictures for each of queries of one modality."""
        self._refresh()
        n_left_out = [self._n_rows_left_out(query, condition) for query in queries]
        shortlists: dict[int, _Shortlist] = {}
        for n in set(n_left_out):  # one scan for all that want as many rows
            places = [place for place, n_rows in enumerate(n_left_out) if n_rows == n]
            vectors = np.stack([queries[place].vector for place in places])
            answers = self._neighbours.of(vectors, k + n, condition, queries[0].modality)
            for place, nearest in zip(places, answers, strict=True):
                pictures = self._pictures(queries[place], nearest, k, condition)
                shortlists[place] = _Shortlist(pictures, nearest.route, nearest.n_candidates - n)
        return [shortlists[place] for place in range(len(queries))]

    def _n_rows_left_out(self, query: EncodedQuery, condition: Condition) -> int:
        """Return how many rows stand for nothing but pictures that pass a filter and are no answer to a query."""
        rows = {image.row for image in self.store.images_of_ids(query.left_out, condition)}
        shared = self.store.images_of_rows(list(rows), condition.without(query.left_out)) if rows else []
        return len(rows) - len({image.row for image in shared})

    def _pictures(
        self, query: EncodedQuery, nearest: Nearest, k: int, condition: Condition
    ) -> list[tuple[float, ImageRecord]]:
        """Return the k best (score, picture) of the nearest rows; a row may stand for several pictures."""
        condition = condition.without(query.left_out)
        score_of = dict(zip(nearest.rows.tolist(), nearest.scores.tolist(), strict=True))
        # A graph may miss the picture that is asked for, and of equal scores the row of another may go before it.
        itself = self.store.images_of_ids(query.itself, condition)
        rows = [row for row in {image.row for image in itself} if row not in score_of]
        scores = stored_cosines(query.vector, self.store.checked_rows(rows))
        score_of |= dict(zip(rows, scores.tolist(), strict=True))
        images = self.store.images_of_rows(list(score_of), condition)
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
        reranked = self._local().reranked(shortlist.pictures, query.vector, answers, local)
        verified = [answer for answer in reranked if answer[2] is not None and answer[2].is_verified]
        if verified and expand != "none":
            vectors = l2_normalize(self._vectors(verified).astype(np.float32))
            moved = expanded(query.vector, vectors, alpha=ALPHA if expand == "alpha" else 0)
            asked = replace(query, vector=l2_normalize(moved[None])[0])
            return self._reranked(asked, k, condition, local, "none")
        ranked = _itself_first(reranked, query.itself)[:k]
        return _Ranking(ranked, self._vectors(ranked), shortlist.route, shortlist.n_candidates)

    def _hits_by_words(
        self, query: Query, local: LocalQuery | None, k: int, condition: Condition
    ) -> tuple[Hit, ...]:
        """Return the k best pictures by visual words alone; none for an example that says nothing."""
        ranked: list[Ranked] = []
        if local is not None:
            ranked = self.store.consistently(lambda: self._ranked_by_words(query, local, k, condition))
        with self.store.reading():
            self._look_for_problems(self.store.lost_rows())
        return tuple(_hit(rank, *answer) for rank, answer in enumerate(ranked, start=1))

    def _ranked_by_words(self, query: Query, local: LocalQuery, k: int, condition: Condition) -> list[Ranked]:
        judged_pictures(self.store, query.irrelevant)
        itself = [image.image_id for image in self.terms.stored_as(query.images[0], local.content_hash)]
        ranked = self._local().by_words(local, k, condition.without(query.irrelevant), itself)
        return _itself_first(ranked, itself)[:k]

    def _vectors(self, ranked: Sequence[Ranked]) -> Half:
        return self.store.checked_rows([image.row for _, image, _ in ranked])

    def _result(
        self, query: EncodedQuery, ranking: _Ranking, seconds: dict[str, float], *, start: float, explain: bool
    ) -> SearchResult:
        cosines: list[dict[str, float]] = [{} for _ in ranking.ranked]
        if explain:
            for term in query.terms:
                of_pictures = stored_cosines(term.vector, ranking.vectors).tolist()
                for cosine_of, cosine in zip(cosines, of_pictures, strict=True):
                    cosine_of[term.label] = cosine
        hits = tuple(
            _hit(rank, *answer, terms=cosine_of)
            for rank, (answer, cosine_of) in enumerate(zip(ranking.ranked, cosines, strict=True), 1)
        )
        total = time.perf_counter() - start
        seconds = seconds | {"search": total - sum(seconds.values()), "total": total}
        return SearchResult(hits, ranking.route, ranking.n_candidates, seconds, problems=self._problems)

    def _local_query(self, query: Query, options: SearchOptions) -> tuple[LocalQuery | None, str]:
        """Return the example as words if local features are to be looked at, and why they are not if asked for."""
        is_demanded = options.mode == "local" or options.rerank == "local"
        if not is_demanded and (options.rerank == "none" or not is_example(query)):
            return None, ""
        if len(query.images) != 1 or (options.mode == "local" and not _compares_pictures(query)):
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
        state = self.store.revision, lost
        if state != self._problems_of:
            self._problems, self._problems_of = tuple(self.store.problems(lost)), state


def _compares_pictures(query: Query) -> bool:
    """Return whether a query is one example picture, which visual words alone can answer."""
    return len(query.images) == 1 and query.text is None and not (query.exclude or query.relevant)


def _itself_first(ranked: list[Ranked], itself: Sequence[int]) -> list[Ranked]:
    """Return pictures with those that the query is before all others."""
    return sorted(ranked, key=lambda answer: answer[1].image_id not in itself)


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
