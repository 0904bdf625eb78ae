"""NEIGHBOURS: vectors in, the nearest pictures of a library folder out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.predicates import Predicate
from mmsearch.predicates.tree import comparisons
from mmsearch.records import ImageRecord, Matrix, Modality
from mmsearch.store.base import AskedVector, Condition, Passed, Shortlist
from mmsearch.store.folder import Store
from mmsearch.store.label_sets import unfinished
from mmsearch.store.routes import Nearest, NearestRows
from mmsearch.store.where import SqlCondition
from mmsearch.vectors import stored_cosines

_NOTHING_PASSED = Passed(frozenset())


class LibraryNeighbours:
    """Finds the nearest pictures of one open library folder; one thread at a time.

    Parameters
    ----------
    store : Store
        Opened for reading; newly committed pictures are seen by the next question.
    use_index : bool
        False answers everything by exact scans; else the route follows from the library and the question.
    is_asked_once : bool
        Only indexes that open in no time are worth it.
    """

    most: int | None = None

    def __init__(self, store: Store, *, use_index: bool = True, is_asked_once: bool = False) -> None:
        self.store = store
        self._rows = NearestRows(store, use_index=use_index, is_asked_once=is_asked_once)
        self._problems: tuple[str, ...] = ()
        self._problems_of = -1, range(0), False  # the revision, the rows that are lost, whether labels matter

    def shortlists(
        self, queries: Sequence[AskedVector], k: int, condition: Condition, modality: Modality
    ) -> list[Shortlist]:
        """Return the k nearest pictures that pass a condition for every vector, all of them if there are fewer."""
        self._rows.refresh()
        self._look_for_problems(condition.predicate)
        compiled = self.store.compiled(condition)
        if self.store.catalog.has_films() and all(query.is_one_enough for query in queries):
            together = self._rows.rough_scores(np.stack([query.vector for query in queries]), compiled, modality)
            return [
                self._of_files(query, k, compiled, modality, rough=rough)
                for query, rough in zip(queries, together, strict=True)
            ]
        left_out = [self._left_out(query, compiled) for query in queries]
        shortlists: dict[int, Shortlist] = {}
        for n in {n_rows for n_rows, _ in left_out}:  # one scan for all that want as many rows
            places = [place for place, (n_rows, _) in enumerate(left_out) if n_rows == n]
            vectors = np.stack([queries[place].vector for place in places])
            answers = self._rows.of(vectors, k + n + 1, compiled, modality)
            for place, nearest in zip(places, answers, strict=True):
                query, n_rows = queries[place], k + n + 1
                ranked = self._pictures(query, nearest, compiled)
                while len(nearest.rows) >= n_rows and _is_cut_among_equals(query, ranked, k, nearest):
                    n_rows *= 4
                    (nearest,) = self._rows.of(query.vector[None], n_rows, compiled, modality)
                    ranked = self._pictures(query, nearest, compiled)
                n_candidates = nearest.n_candidates - left_out[place][1]
                shortlists[place] = Shortlist.of(ranked, k, nearest.route, n_candidates)
        return [shortlists[place] for place in range(len(queries))]

    def following(
        self, query: AskedVector, k: int, condition: Condition, passed: Passed, modality: Modality = "text"
    ) -> Shortlist:
        """Return the k nearest pictures that pass a condition and were not given yet, by a scan of all vectors."""
        self._rows.refresh()
        self._look_for_problems(condition.predicate)
        compiled = self.store.compiled(condition)
        if self.store.catalog.has_films() and query.is_one_enough:
            return self._of_files(query, k, compiled, modality, passed)
        n_rows = k + 1 + len(passed.image_ids) + len(query.left_out)
        while True:
            nearest = self._rows.below(query.vector, n_rows, compiled, passed.ceiling)
            ranked = [
                (score, image)
                for score, image in self._pictures(query, nearest, compiled)
                if passed.leaves(query.key(score, image.image_id))
            ]
            is_enough = len(ranked) > k and not _is_cut_among_equals(query, ranked, k, nearest)
            if is_enough or len(nearest.rows) < n_rows:
                break
            n_rows *= 4
        n_candidates = nearest.n_candidates - self._left_out(query, compiled)[1]
        return Shortlist.of(ranked, k, nearest.route, n_candidates)

    def _of_files(
        self,
        query: AskedVector,
        k: int,
        condition: SqlCondition,
        modality: Modality,
        passed: Passed = _NOTHING_PASSED,
        rough: Matrix | None = None,
    ) -> Shortlist:
        """Return pictures in the k files that have the nearest ones: each best one, and further ones of films.

        Files whose best picture has been given are left out.
        """
        n_files = k + 1 + len(passed.image_ids) + len(query.left_out)
        while True:
            nearest = self._rows.of_files(
                query.vector, n_files, condition, modality, ceiling=passed.ceiling, rough=rough
            )
            pictures, next_score = self._in_files(query, k, nearest, condition, passed)
            if next_score is not None or n_files >= nearest.n_files:
                break
            n_files *= 4  # many that are as near as the last one have been given
        n_candidates = nearest.n_candidates - self._left_out(query, condition)[1]
        return Shortlist(pictures, nearest.route, n_candidates, next_score, is_by_file=True)

    def _in_files(
        self, query: AskedVector, k: int, nearest: Nearest, condition: SqlCondition, passed: Passed
    ) -> tuple[list[tuple[float, ImageRecord]], float | None]:
        """Return the pictures of nearest rows that are in the k best files still to come, and what comes next."""
        ranked = self._pictures(query, nearest, condition)
        file_of = self.store.catalog.file_hashes_of([image.image_id for _, image in ranked])
        # By their hashes: whether files are among the k. Those above share a row with one that is.
        chosen = dict.fromkeys(self.store.films.hashes(nearest.above), False)
        next_score, n_chosen = None, 0
        for score, image in ranked:
            if file_of[image.image_id] in chosen:
                continue
            is_left = passed.leaves(query.key(score, image.image_id))
            if is_left and n_chosen == k and next_score is None:
                next_score = score
            chosen[file_of[image.image_id]] = is_left and n_chosen < k
            n_chosen += is_left and n_chosen < k
        return [(score, image) for score, image in ranked if chosen[file_of[image.image_id]]], next_score

    def problems(self) -> tuple[str, ...]:
        """Return what had been lost when this was last asked: sentences."""
        return self._problems

    def _look_for_problems(self, predicate: Predicate | None) -> None:
        """Ask what the library has lost, or not yet done, once for each state of its catalog and its vectors."""
        is_by_label = predicate is not None and any(part.field == "label" for part in comparisons(predicate))
        state = self.store.revision, self._rows.lost_rows, is_by_label
        if state != self._problems_of:
            of_labels = unfinished(self.store.catalog) if is_by_label else []
            self._problems, self._problems_of = (*self.store.problems(state[1]), *of_labels), state

    def _left_out(self, query: AskedVector, condition: SqlCondition) -> tuple[int, int]:
        """Return how many pictures pass a filter and are no answer, behind how many rows stand for these alone."""
        if not query.left_out:
            return 0, 0
        passing = self.store.catalog.images_of_ids(query.left_out, condition.sql, condition.parameters)
        rows = {image.row for image in passing}
        shared = self.store.images_of_rows(list(rows), condition.without(query.left_out)) if rows else []
        return len(rows) - len({image.row for image in shared}), len(passing)

    def _pictures(
        self, query: AskedVector, nearest: Nearest, condition: SqlCondition
    ) -> list[tuple[float, ImageRecord]]:
        """Return the (score, picture) of the nearest rows, best first; a row may stand for several pictures."""
        condition = condition.without(query.left_out)
        score_of = dict(zip(nearest.rows.tolist(), nearest.scores.tolist(), strict=True))
        # A graph may miss the picture that is asked for, and of equal scores the row of another may go before it.
        itself = self.store.catalog.images_of_ids(query.itself, condition.sql, condition.parameters)
        rows = [row for row in {image.row for image in itself} if row not in score_of]
        scores = stored_cosines(query.vector, self.store.checked_rows(rows))
        score_of |= dict(zip(rows, scores.tolist(), strict=True))
        images = self.store.images_of_rows(list(score_of), condition, is_one_enough=query.is_one_enough)
        if query.is_one_enough:  # of what is asked for, that is another than the first of its copies
            first = min(itself, key=lambda image: image.image_id, default=None)
            images += [first] if first is not None and first not in images else []
        ranked = sorted(images, key=lambda image: query.key(score_of[image.row], image.image_id))
        return [(score_of[image.row], image) for image in ranked]


def _is_cut_among_equals(
    query: AskedVector, ranked: Sequence[tuple[float, ImageRecord]], k: int, nearest: Nearest
) -> bool:
    """Return whether rows that are left out may be as near as the k-th picture, and stand for one of a lower id."""
    if len(ranked) <= k:
        return False
    score, image = ranked[k - 1]
    return image.image_id not in query.itself and score <= nearest.scores[-1]
