"""READ PATH: a query in, ranked pictures out. Encode the terms, plan the route, look the pictures up, rerank.

Routes: `exact` scans the vectors; `cells` and `graph` ask that index, and scan the rows that are not in it yet;
`filtered` scans only the pictures that pass the filter. The store of the library chooses; all give min(k, matches)
hits. Local features may rerank them, or answer alone (`local`), which gives only pictures that share visual words
with the example. Texts that stand beside pictures join the score of a query of one text (`mmsearch.query.join`), or
answer alone (`words`). Pages after the first are exact scans for what the first left (`mmsearch.query.cursor`). Of
files of equal bytes one is ranked (`mmsearch.query.copies`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.arguments import WordsUse
from mmsearch.errors import EncoderError, MmsearchError, QueryError
from mmsearch.query.beside import JoinedPage, TextsBeside
from mmsearch.query.copies import COARSE, MOST_LOOKED_AT, EqualFiles, alike, one_more, with_alike
from mmsearch.query.cursor import Cursor, read, written
from mmsearch.query.encode import (
    TEXTS_TOGETHER,
    EncodedQuery,
    TermEncoder,
    as_term,
    is_example,
    is_text,
    judged_pictures,
    n_texts_of,
    text_of,
    texts_in,
)
from mmsearch.query.feedback import ALPHA, expanded
from mmsearch.query.join import WORDS_ALONE, Bonuses, weights_of
from mmsearch.query.parts import NeighboursByParts
from mmsearch.query.relevance import Relevance
from mmsearch.query.thumbnails import thumbnails_of
from mmsearch.records import (
    Example,
    FilmHit,
    Folded,
    Hit,
    ImageRecord,
    LocalEvidence,
    MatchedPart,
    MatchedText,
    Matrix,
    Modality,
    Query,
    ScoreParts,
    SearchOptions,
    SearchResult,
    Term,
)
from mmsearch.store.base import (
    ALL,
    AskedVector,
    Condition,
    LibraryStore,
    RankKey,
    Shortlist,
    in_folder,
    is_given,
)
from mmsearch.system import is_gone
from mmsearch.vectors import l2_normalize, stored_cosines

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder
    from mmsearch.encoders.calibration import JoinModel, PartsModel
    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.processes.film_reader import FilmReader
    from mmsearch.query.rerank import LocalQuery, LocalReader, Ranked
    from mmsearch.store.matrix import Half


@dataclass(frozen=True)
class _Ranking:
    """The pictures that answer a query, best first, and how they were found; their vectors if they are wanted.

    `end` is where the page ends, `next_score` the score of the picture that comes after it, if any does. By picture
    `parts` are those of joined scores, `texts` what stands beside it and holds words of the query, and `folded` the
    others that it stands for.
    """

    ranked: list[Ranked]
    vectors: Half | None
    route: str
    n_candidates: int
    end: Cursor
    next_score: float | None
    parts: Mapping[int, ScoreParts] = field(default_factory=dict)
    texts: Mapping[int, tuple[MatchedText, ...]] = field(default_factory=dict)
    regions: Mapping[int, MatchedPart] = field(default_factory=dict)
    folded: Mapping[int, Folded] = field(default_factory=dict)
    films: Mapping[int, FilmHit] = field(default_factory=dict)


class Searcher:
    """Answers queries over one open library; one thread at a time.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading; newly committed pictures are seen by the next query.
    encoder : callable
        Returns the library's encoder, or raises EncoderError if it has none; only called when a term is not
        known yet.
    decoder : callable
        Returns what decodes example pictures; only called when there is one to be decoded.
    film_reader : callable or None
        As for `TermEncoder`.
    use_graph : bool
        False answers everything by exact scans; else the route follows from the library and the query.
    is_asked_once : bool
        Nothing should be loaded that takes longer than a scan.
    check : callable
        Called between the answers to several queries; what it raises ends them.
    """

    def __init__(
        self,
        store: LibraryStore,
        encoder: Callable[[], DualEncoder],
        decoder: Callable[[], PictureDecoder],
        film_reader: Callable[[], FilmReader] | None = None,
        *,
        use_graph: bool = True,
        is_asked_once: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self._check = check
        self._encoder = encoder
        self._decoder = decoder
        self.terms = TermEncoder(store, encoder, self._decoder, film_reader)
        self._neighbours = store.neighbours(use_index=use_graph, is_asked_once=is_asked_once)
        folder = store.as_folder
        self._by_parts: NeighboursByParts | None = None
        self._beside: TextsBeside | None = None
        if folder is not None:
            self._neighbours = self._by_parts = NeighboursByParts(folder, self._neighbours, self._weights_of_parts)
            self._beside = TextsBeside(folder, self._by_parts)
        self._local_reader: LocalReader | None = None
        self._judging: tuple[DualEncoder, Relevance | None] | None = None
        self._weighing: tuple[DualEncoder, JoinModel] | None = None

    # -- ranking -------------------------------------------------------------------------------------

    def search(self, query: Query, options: SearchOptions = SearchOptions()) -> SearchResult:
        """Return the pictures most similar to the query, best first; ties by image id.

        A picture of the library that is the whole query comes first. Pictures judged irrelevant are no answer.

        Raises
        ------
        QueryError
            If the query means nothing, no picture could pass its filters, local features, texts beside pictures or
            relevance are asked for and cannot be had, or it cannot be expanded.
        NoEncoderError
            If the library has no encoder, and the query is another than one example picture.
        """
        return self.store.of_one_encoder(lambda: self._answer(query, options))

    def _answer(self, query: Query, options: SearchOptions) -> SearchResult:
        start = time.perf_counter()
        condition = self.store.condition(query.where)
        options = self._within_reach(query, options)
        if options.after is not None:
            return self._answer_after(options.after, query, options, condition, start)
        local, said = self._local_query(query, options)
        if options.expand != "none" and (options.mode == "local" or not (local or said)):
            raise QueryError(
                "a query is expanded by pictures that local features verify beside an embedding; ask by one "
                "example picture in a library with an encoder and visual words, or leave the expansion out"
            )
        self._require_relevance([query], options)
        if options.mode == "local":
            hits, problems = self._hits_by_words(query, local, options, condition)
            seconds = {"total": time.perf_counter() - start}
            said = said or _verified(hits)
            n = 0 if local is None else self._n_passing(query, condition)
            return SearchResult(hits, "local", n, seconds, said, problems, thumbnails=thumbnails_of)
        looked = time.perf_counter()
        encoded = self._encoded(query, options)
        seconds = {"local": looked - start, "encode": time.perf_counter() - looked}

        def rank(k: int) -> _Ranking:
            if local is None:
                return self._ranked([encoded], condition, replace(options, k=k))[0]
            return self._reranked(encoded, condition, local, replace(options, k=k))

        ranking = self.store.consistently(lambda: self._collapsed(rank, options))
        result = self._result(query, encoded, ranking, options, seconds, start=start)
        return replace(result, local=said or (_verified(result.hits) if local else ""))

    def _answer_after(
        self, after: str, query: Query, options: SearchOptions, condition: Condition, start: float
    ) -> SearchResult:
        """Return a later page; its vector came with the cursor, and only what hits say is encoded again."""
        if options.mode == "local":
            raise QueryError("visual words alone answer in one page; leave `after` out, and ask for more hits (k)")
        before = read(after, query, self.store.fingerprint(), self.store.dim)
        if options.words not in ("auto", before.words):
            raise QueryError(
                f"after is the `next` of an answer by words={before.words}, and words is {options.words}; ask the "
                "same as before, or leave it out"
            )
        options = replace(options, words=before.words)
        self._require_relevance([query], options)
        terms, text = [], text_of(query)
        if options.explain or text is not None:
            terms = self._encoded(query, options).terms
        encoded = EncodedQuery(terms, before.vector, (), tuple(query.irrelevant), text)
        seconds = {"local": 0.0, "encode": time.perf_counter() - start}

        def rank(k: int) -> _Ranking:
            if before.words != "none":
                (bonuses,) = self._bonuses([encoded], before.words, condition)
                return self._joined(encoded, bonuses or Bonuses.none(), condition, replace(options, k=k), before)
            copies = self.store.images_with_hash(before.example) if before.example else []
            asked = replace(encoded, itself=tuple(image.image_id for image in copies))
            is_off_pictures = query.text is not None or query.vector is not None or bool(query.exclude)
            modality: Modality = "text" if is_off_pictures else "image"  # as that of the first page
            files = self._files(asked, condition, options, before)
            wanted = replace(_asked(asked), is_one_enough=files.is_wanted)
            shortlist = files.shortlist(
                lambda n: self._neighbours.following(wanted, n, condition, before.passed, modality),
                k, passed=before.passed, keys=lambda images: self._keys(asked, images, modality),
            )  # fmt: skip
            return self._ranking(asked, shortlist, options, before=before, files=files)

        ranking = self.store.consistently(lambda: self._collapsed(rank, options))
        result = self._result(query, encoded, ranking, options, seconds, start=start)
        is_local = options.rerank == "local" or options.expand != "none"
        return replace(result, local="local features look at the first page alone" if is_local else "")

    def require_encoder(self) -> None:
        """Raise EncoderError if the library has no encoder, or it is missing."""
        self._encoder()

    def example(self, picture: Example | Term) -> tuple[EncodedQuery, LocalQuery | None, list[Ranked]]:
        """Return an example picture as a vector and as words, and the pictures that local features looked at.

        It has no words, and none were looked at, where the library has none, or the example too few features.

        Raises
        ------
        PictureError
            If it cannot be read.
        """
        query, options = Query(images=[picture]), SearchOptions(collapse="none")
        local, _ = self._local_query(query, options)
        (encoded,) = self.terms.encode([query])
        if local is None:
            return encoded, None, []
        asked = replace(options, k=self._local().shortlist)
        ranking = self.store.consistently(lambda: self._reranked(encoded, ALL, local, asked))
        return encoded, local, ranking.ranked

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
        is_first = options.after is None
        is_by_pixels = options.mode == "global" and options.words != "only" and self.store.has_vectors
        is_plain = is_first and is_by_pixels and options.rerank != "local" and options.expand == "none"
        is_plain = is_plain and options.collapse not in COARSE
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
        self._require_relevance(queries, options)
        encoded = self.terms.encode(queries)
        seconds = {"encode": time.perf_counter() - start}
        ranked = self.store.consistently(lambda: self._ranked(encoded, ALL, options))
        return [
            self._result(*answer, options, seconds, start=start)
            for answer in zip(queries, encoded, ranked, strict=True)
        ]

    def _within_reach(self, query: Query, options: SearchOptions) -> SearchOptions:
        """Return the options with the mode that the library has, and the say of texts that the query can have."""
        if options.words == "only":
            in_folder(self.store, "texts beside pictures")
            if options.mode == "local" or not is_text(query):
                raise QueryError(
                    "texts beside pictures alone answer one text, without examples, exclusions or judged pictures; "
                    "leave those out, or words=only"
                )
            return options
        if options.mode == "local" or self._embeds_texts or (self.store.has_vectors and not is_text(query)):
            return options
        if is_text(query) and options.words == "auto" and self._beside is not None and not self._beside.is_empty:
            return replace(options, words="only")
        if options.rerank != "auto" or not _compares_pictures(query):
            self._encoder()  # raises, as there is none
        return replace(options, mode="local")

    @property
    def _embeds_texts(self) -> bool:
        """Whether the vectors of the library come from an encoder, which texts are asked by."""
        return self.store.has_vectors and not is_given(self.store)

    def _shortlists(
        self, queries: Sequence[EncodedQuery], k: int, condition: Condition, *, is_one_enough: bool
    ) -> list[Shortlist]:
        """Return the k best pictures for each of queries of one modality; of copies one may be enough."""
        asked = [replace(_asked(query), is_one_enough=is_one_enough) for query in queries]
        return self._neighbours.shortlists(asked, k, condition, queries[0].modality)

    def _ranked(
        self, queries: Sequence[EncodedQuery], condition: Condition, options: SearchOptions
    ) -> list[_Ranking]:
        """Return the best pictures for queries of one modality."""
        bonuses = self._bonuses(queries, options.words, condition)
        by_pixels = [query for query, added in zip(queries, bonuses, strict=True) if added is None]
        firsts: Iterator[Shortlist] = iter(())
        if by_pixels:
            is_one_enough = options.collapse != "none"
            n = one_more(options.k, self._neighbours.most) if is_one_enough else options.k
            firsts = iter(self._shortlists(by_pixels, n, condition, is_one_enough=is_one_enough))
        rankings = []
        for query, added in zip(queries, bonuses, strict=True):
            if added is not None:
                rankings.append(self._joined(query, added, condition, options))
                continue
            files = self._files(query, condition, options)
            shortlist = self._different(files, query, options.k, condition, next(firsts))
            rankings.append(self._ranking(query, shortlist, options, files=files))
        return rankings

    def _files(
        self, query: EncodedQuery, condition: Condition, options: SearchOptions, before: Cursor | None = None
    ) -> EqualFiles:
        """Return what tells the pictures of a page that are of equal bytes, or copies of what is no answer."""
        given = () if before is None else before.first_page
        return EqualFiles(
            self.store,
            condition.without(query.left_out),
            is_wanted=options.collapse != "none",
            ended=(*given, *query.left_out),
        )

    def _different(
        self, files: EqualFiles, query: EncodedQuery, k: int, condition: Condition, first: Shortlist | None = None
    ) -> Shortlist:
        """Return the k best different files by their vectors; `first` is what is asked for first if known."""
        known = [] if first is None else [first]

        def fetch(n: int) -> Shortlist:
            if known:
                return known.pop()
            return self._shortlists([query], n, condition, is_one_enough=files.is_wanted)[0]

        return files.shortlist(fetch, k, most=self._neighbours.most)

    def _keys(
        self,
        query: EncodedQuery,
        images: Sequence[ImageRecord],
        modality: Modality,
        bonuses: Bonuses | None = None,
    ) -> list[RankKey]:
        """Return what pictures are ranked by: scores by pixels, if the query has a vector, and what is added."""
        score_of = dict.fromkeys((image.row for image in images), 0.0)
        if len(query.vector):
            image_of = {image.row: image for image in images}
            scores = self._by_pixels(query.vector, modality, list(image_of.values()))
            score_of = dict(zip(image_of, scores, strict=True))
        words, captions = (bonuses or Bonuses.none()).added(
            np.array([image.image_id for image in images], dtype=np.int64)
        )
        asked = _asked(query)
        return [
            asked.key(score_of[image.row] + more, image.image_id)
            for image, more in zip(images, (words + captions).tolist(), strict=True)
        ]

    def _by_pixels(self, vector: Matrix, modality: Modality, images: Sequence[ImageRecord]) -> list[float]:
        """Return the scores of some pictures by pixels, after comparing their vectors with what was stored."""
        if self._by_parts is None:
            return [*map(float, stored_cosines(vector, self.store.vectors_of(images)))]
        self.store.require_whole(images)
        scores = self._by_parts.scores(vector, [image.image_id for image in images], ALL, modality)
        return [scores[image.image_id] for image in images]

    def _collapsed(self, rank: Callable[[int], _Ranking], options: SearchOptions) -> _Ranking:
        """Return a page of a ranking of different files; those that are alike are one hit if that is asked for.

        The page ends before the first picture that would be one hit too many.
        """
        if options.collapse not in COARSE:
            return rank(options.k)
        most = max(options.k, MOST_LOOKED_AT)
        n, is_cut = min(2 * options.k, most), False
        while True:
            ranking = rank(n)
            images = [image for _, image, _ in ranking.ranked]
            members = alike(self.store, images, options.collapse)
            heads = [place for place in range(len(images)) if place not in members]
            is_too_many = len(heads) > options.k
            if not is_too_many and (is_cut or ranking.next_score is None or n == most):
                break
            is_cut |= is_too_many  # and again where fewer are in another order, as local features look at them
            n = heads[options.k] if is_too_many else min(2 * n, most)
        folded = with_alike(ranking.folded, images, members)
        return replace(
            ranking,
            ranked=[ranking.ranked[place] for place in heads],
            vectors=None if ranking.vectors is None else ranking.vectors[heads],
            end=replace(ranking.end, n_hits=ranking.end.n_hits - len(members)),
            folded=folded,
        )

    def _encoded(self, query: Query, options: SearchOptions) -> EncodedQuery:
        """Return a query as one vector; a text that no vector is compared with is looked for as it is."""
        if not is_text(query) or (self._embeds_texts and self._compares_vectors(options)):
            return self.terms.encode([query])[0]
        texts_in(query)
        return EncodedQuery([], np.zeros(0, np.float32), text=text_of(query))

    def _compares_vectors(self, options: SearchOptions) -> bool:
        """Return whether anything is compared with the vector of a text, in a library of vectors."""
        if options.words != "only" or options.explain:
            return True
        return self._beside is not None and self._beside.has_vectors

    def _bonuses(
        self, queries: Sequence[EncodedQuery], words: WordsUse, condition: Condition
    ) -> list[Bonuses | None]:
        """Return what texts beside pictures add to their scores, None for a query in which they have no say."""
        texts = [query.text for query in queries if query.text is not None]
        if words == "none" or self._beside is None or not texts or (words == "auto" and self._beside.is_empty):
            return [None] * len(queries)
        vectors = np.stack([query.vector for query in queries if query.text is not None])
        try:
            bonuses = iter(self._beside.bonuses(texts, vectors, self._weights, condition))
        except EncoderError:
            if words == "only":
                raise
            return [None] * len(queries)  # a remembered text is found without the encoder; `_judged` says why
        added = [None if query.text is None else next(bonuses) for query in queries]
        return [given if words == "only" or (given is not None and len(given)) else None for given in added]

    def _weights(self) -> JoinModel:
        """Return the weights of texts beside pictures; what nobody measured is made once for each encoder."""
        if not self._embeds_texts:
            return WORDS_ALONE
        encoder = self._encoder()
        if self._weighing is None or self._weighing[0] is not encoder:
            self._weighing = encoder, weights_of(encoder)
        return self._weighing[1]

    def _weights_of_parts(self) -> PartsModel:
        """Return the weights of parts beside wholes; a remembered text is found without the encoder."""
        from mmsearch.encoders.calibration import OTHER_PARTS

        try:
            calibration = self._encoder().calibration
        except EncoderError:  # `_judged` says why
            return OTHER_PARTS
        return OTHER_PARTS if calibration is None or calibration.parts is None else calibration.parts

    def _joined(
        self,
        query: EncodedQuery,
        bonuses: Bonuses,
        condition: Condition,
        options: SearchOptions,
        before: Cursor | None = None,
    ) -> _Ranking:
        """Return the best pictures by pixels and texts together, or by texts alone."""
        beside, text = self._beside, query.text
        assert beside is not None
        assert text is not None
        passed = None if before is None else before.passed
        pages: list[JoinedPage] = []
        ranked_by = query if options.words != "only" else replace(query, vector=np.zeros(0, np.float32))

        def fetch(n: int) -> Shortlist:
            if options.words == "only":
                pages.append(beside.alone(bonuses, n, condition, passed))
            else:
                pages.append(beside.joined(asked, bonuses, n, condition, passed, files.numbers))
            return pages[-1].shortlist

        files = self._files(query, condition, options, before)
        asked = replace(_asked(query), is_one_enough=files.is_wanted)
        shortlist = files.shortlist(
            fetch, options.k, passed=passed, keys=lambda images: self._keys(ranked_by, images, "text", bonuses)
        )
        ranking = self._ranking(query, shortlist, options, before=before, files=files)
        page, ranked = pages[-1], ranking.ranked
        of_pixels = page.best_cosine if before is None else before.best
        best_score = max([score for score, _, _ in ranked], default=0.0)
        if before is not None and before.best_score is not None:
            best_score = max(best_score, before.best_score)
        end = replace(ranking.end, best=of_pixels, words=options.words, best_score=best_score)
        has_words = [image.image_id for _, image, _ in ranked if page.parts[image.image_id].words]
        texts = beside.matched(has_words, text)
        return replace(ranking, end=end, parts=page.parts, texts=texts)

    def _reranked(
        self, query: EncodedQuery, condition: Condition, local: LocalQuery, options: SearchOptions
    ) -> _Ranking:
        """Return the best pictures after local features have looked at a shortlist; see `search`."""
        files = self._files(query, condition, options)
        shortlist = self._different(files, query, max(options.k, self._local().shortlist), condition)
        answers = condition.without(query.left_out)
        scores_of = partial(self._by_pixels, query.vector, query.modality)
        reranked = self._local().reranked(shortlist.pictures, scores_of, answers, local, others=files.others)
        verified = [image for _, image, seen in reranked if seen is not None and seen.is_verified]
        if verified and options.expand != "none":
            vectors = l2_normalize(self.store.vectors_of(verified).astype(np.float32))
            moved = expanded(query.vector, vectors, alpha=ALPHA if options.expand == "alpha" else 0)
            asked = replace(query, vector=l2_normalize(moved[None])[0])
            return self._reranked(asked, condition, local, replace(options, expand="none"))
        ranked = files.each_once(_itself_first(reranked, query.itself))
        if len(ranked) > options.k:
            shortlist = replace(shortlist, next_score=ranked[options.k][0])
        return self._ranking(query, shortlist, options, ranked=ranked[: options.k], files=files)

    def _ranking(
        self,
        query: EncodedQuery,
        shortlist: Shortlist,
        options: SearchOptions,
        *,
        files: EqualFiles,
        ranked: list[Ranked] | None = None,
        before: Cursor | None = None,
    ) -> _Ranking:
        """Return what is answered, a shortlist or what became of it, once its vectors are known to be whole."""
        if ranked is None:
            ranked = [(score, image, None) for score, image in shortlist.pictures]
        images, vectors = [image for _, image, _ in ranked], None
        if options.explain and len(query.vector):
            vectors = self.store.vectors_of(images)
        elif options.words != "only":
            self.store.require_whole(images)
        end, regions = self._end(query, ranked, before), {}
        if self._by_parts is not None and len(query.vector) and options.words != "only":
            regions = self._by_parts.evidence(query.vector, [image.image_id for image in images])
        is_scored = files.is_wanted and len(query.vector) > 0
        scores_of = partial(self._by_pixels, query.vector, query.modality) if is_scored else None
        return _Ranking(
            ranked, vectors, shortlist.route, shortlist.n_candidates, end, shortlist.next_score,
            regions=regions, folded=files.folded(images), films=files.moments.films(images, scores_of),
        )  # fmt: skip

    def _end(self, query: EncodedQuery, ranked: Sequence[Ranked], before: Cursor | None) -> Cursor:
        """Return where a page ends, of which `before` is where the page before ended; None for the first."""
        best = max((score for score, _, _ in ranked), default=-1.0)
        if before is not None:
            best, n_hits, last = max(best, before.best), before.n_hits + len(ranked), before.last
            if ranked:
                score, image, _ = ranked[-1]
                last = _asked(query).key(score, image.image_id)
            return replace(before, n_hits=n_hits, best=best, last=last)
        ids = frozenset(image.image_id for _, image, _ in ranked)
        has_copies_left = len(query.itself) > 1 and not ids.issuperset(query.itself)
        original = self.store.original(query.itself[0]) if has_copies_left else None
        return Cursor(query.vector, ids, len(ranked), best, example=b"" if original is None else original[1])

    def _hits_by_words(
        self, query: Query, local: LocalQuery | None, options: SearchOptions, condition: Condition
    ) -> tuple[tuple[Hit, ...], tuple[str, ...]]:
        """Return the k best pictures by visual words alone, none for an example that says nothing, and problems."""
        ranked: list[Ranked] = []
        folded: Mapping[int, Folded] = {}
        films: Mapping[int, FilmHit] = {}
        if local is not None:

            def rank(k: int) -> _Ranking:
                return self._ranked_by_words(query, local, replace(options, k=k), condition)

            ranking = self.store.consistently(lambda: self._collapsed(rank, options))
            ranked, folded, films = ranking.ranked, ranking.folded, ranking.films
        with self.store.reading():
            problems = tuple(self.store.problems())
        hits = [_hit(rank, *answer) for rank, answer in enumerate(ranked, start=1)]
        with_others = (replace(hit, folded=folded.get(hit.image_id), film=films.get(hit.image_id)) for hit in hits)
        return tuple(with_others), problems

    def _n_passing(self, query: Query, condition: Condition) -> int:
        """Return how many pictures pass the filters of a query and were not judged irrelevant."""
        n = self.store.count_passing(query.where)
        return n - len(self.store.images_of_ids(query.irrelevant, condition))

    def _ranked_by_words(
        self, query: Query, local: LocalQuery, options: SearchOptions, condition: Condition
    ) -> _Ranking:
        judged_pictures(self.store, query.irrelevant)
        itself = [image.image_id for image in self.terms.stored_as(query.images[0], local.content_hash)]
        asked = EncodedQuery([], np.zeros(0, np.float32), tuple(itself), tuple(query.irrelevant))
        seen_of: dict[int, LocalEvidence | None] = {}

        def fetch(n: int) -> Shortlist:
            answers = condition.without(query.irrelevant)
            ranked = self._local().by_words(local, n + 1, answers, itself, others=files.others)
            seen_of.update((image.image_id, seen) for _, image, seen in ranked)
            pictures = [(score, image) for score, image, _ in _itself_first(ranked, itself)]
            return Shortlist.of(pictures, n, "local", 0)

        files = self._files(asked, condition, options)
        shortlist = files.shortlist(fetch, options.k)
        ranked: list[Ranked] = [(score, image, seen_of[image.image_id]) for score, image in shortlist.pictures]
        end = Cursor(asked.vector, frozenset(), len(ranked), 0.0)
        images = [image for _, image in shortlist.pictures]
        return _Ranking(
            ranked, None, "local", 0, end, shortlist.next_score, folded=files.folded(images),
            films=files.moments.films(images, None),
        )  # fmt: skip

    def _require_relevance(self, queries: Sequence[Query], options: SearchOptions) -> None:
        """Raise QueryError if a least relevance is asked for where none is known."""
        if options.min_relevance is None:
            return
        if options.mode == "local" or options.words == "only" or not all(map(is_text, queries)):
            raise QueryError(
                "only hits of one text have a relevance, not those of pictures, of excluded texts or of pictures "
                "that were judged, nor what texts beside pictures find alone; leave out min_relevance"
            )
        relevance, problems = self._relevance()
        if relevance is None:
            why = problems[0] if problems else (
                f"nobody has measured what scores of {self.store.setting('model')} mean; run `mmsearch calibrate` "
                "with a captioned set"
            )  # fmt: skip
            raise QueryError(f"{why}, or leave out min_relevance")

    def _relevance(self) -> tuple[Relevance | None, tuple[str, ...]]:
        """Return what tells relevance where the encoder is calibrated, and problems: why it cannot be used."""
        try:
            encoder = self._encoder()
            if self._judging is None or self._judging[0] is not encoder:
                self._judging = encoder, Relevance.of(encoder)
            return self._judging[1], ()
        except EncoderError as error:
            return None, (str(error),)

    def _judged(
        self, query: EncodedQuery, ranking: _Ranking
    ) -> tuple[float | None, Sequence[float | None], tuple[str, ...]]:
        """Return the relevance of an answer, those of its hits and the next, None if not known, and problems."""
        end = ranking.end
        relevance, problems = self._relevance() if query.is_text and end.words != "only" else (None, ())
        scores = [score for score, _, _ in ranking.ranked]
        scores.append(-1.0 if ranking.next_score is None else ranking.next_score)
        if relevance is None or not end.n_hits:
            return None if relevance is None else 0.0, [None] * len(scores), problems
        # The best of all pages is among them: a hit is as likely as it would be if they were one.
        is_joined = end.best_score is not None
        cosines = [*scores, end.best if end.best_score is None else end.best_score]
        answer, hits = relevance.judge(
            query.terms[0].vector, cosines, max(1, ranking.n_candidates), best=end.best if is_joined else None
        )
        return answer, hits[:-1].tolist(), problems

    def _result(
        self,
        asked: Query,
        query: EncodedQuery,
        ranking: _Ranking,
        options: SearchOptions,
        seconds: dict[str, float],
        *,
        start: float,
    ) -> SearchResult:
        cosines: list[dict[str, float]] = [{} for _ in ranking.ranked]
        if ranking.vectors is not None:
            for term in query.terms:
                of_pictures = stored_cosines(term.vector, ranking.vectors).tolist()
                for cosine_of, cosine in zip(cosines, of_pictures, strict=True):
                    cosine_of[term.label] = cosine
        relevance, (*hits_relevance, of_next), problems = self._judged(query, ranking)
        least, end = options.min_relevance, ranking.end
        hits = tuple(
            replace(
                _hit(rank, *answer, terms=cosine_of, relevance=of_hit),
                parts=ranking.parts.get(answer[1].image_id),
                texts=ranking.texts.get(answer[1].image_id, ()),
                part=ranking.regions.get(answer[1].image_id),
                folded=ranking.folded.get(answer[1].image_id),
                film=ranking.films.get(answer[1].image_id),
            )
            for rank, (answer, cosine_of, of_hit) in enumerate(
                zip(ranking.ranked, cosines, hits_relevance, strict=True), end.n_hits - len(ranking.ranked) + 1
            )
            if least is None or (of_hit or 0) >= least
        )
        is_last = ranking.next_score is None or (least is not None and (of_next or 0) < least)
        total = time.perf_counter() - start
        seconds = seconds | {"search": total - sum(seconds.values()), "total": total}
        return SearchResult(
            hits,
            ranking.route,
            ranking.n_candidates,
            seconds,
            problems=(*self._neighbours.problems(), *problems),
            relevance=relevance,
            next=None if is_last else written(end, asked, str(self.store.setting("fingerprint"))),
            thumbnails=thumbnails_of,
        )

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

            self._local_reader = LocalReader(self.store, self._decoder, self.terms.read)
        return self._local_reader


def _compares_pictures(query: Query) -> bool:
    """Return whether a query is one example picture, which visual words alone can answer."""
    is_picture = len(query.images) == 1 and query.text is None and query.vector is None
    return is_picture and not (query.exclude or query.relevant)


def _asked(query: EncodedQuery) -> AskedVector:
    return AskedVector(query.vector, query.itself, query.left_out)


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
    relevance: float | None = None,
) -> Hit:
    return Hit(
        rank, score, image.image_id, image.path, image.width, image.height, image.format,
        image.taken_at, image.size_bytes, terms or {}, local, _is_missing(os.fsencode(image.path)), relevance,
    )  # fmt: skip


def _is_missing(path: bytes) -> bool:
    """Return whether there is no such file, nor a tar or Parquet file that holds the picture."""
    if not is_gone(path):
        return False
    from mmsearch.images import is_in_bundle  # with what decodes pictures, which most searches do without

    return not is_in_bundle(path)
