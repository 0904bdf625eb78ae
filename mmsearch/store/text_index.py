"""TEXT INDEX: a text in, how much of it stands beside which picture out.

The truth is the documents of the catalog. Postings of most of them are a published cache; those of documents that
were written since are made in memory, some at each new state of the library, and what left is passed over. So an
answer follows from the documents alone, whatever is published.

BM25 (Robertson and Zaragoza, 2009) with what it could reach at most as the unit: a share of 1 would be a document
that says nothing but what is looked for, over and over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.annotations.tokens import FUNCTION_WORDS, Term, terms_of
from mmsearch.records import Unusable
from mmsearch.store.postings import KIND, Ids, Places, Postings
from mmsearch.store.publish import Kind, Sidecar, current, next_name

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


class TextsSidecar(Sidecar):
    """What is noted of published postings: the commit up to which they have all documents, and how many."""

    revision: int
    n_documents: int


TEXTS: Final[Kind[TextsSidecar]] = Kind(KIND)
_K1, _B = 1.2, 0.75
_COMMON = 0.5  # share of the documents: a token in more of them tells none from another
_FEW = 10  # documents, among which nothing is common
_LEAST = 2_000  # documents written or gone since that are made or passed over each time the library is opened
_SHARE = 0.02  # the same, of those that are published
_MOST_PARTS = 8


@dataclass(frozen=True)
class TextMatches:
    """Pictures beside which something of a text stands, by id, and how much of it.

    `image_ids` int64 (n,) ascend; `shares` float32 (n,) are above 0 and at most 1: of the BM25 that a document
    could have at most for all of the text, with what stands nowhere.
    """

    image_ids: Ids
    shares: NDArray[np.float32]


class _Part:
    """Some postings, and which of their documents are still as they were: `n` of them."""

    def __init__(self, postings: Postings) -> None:
        self.postings, self.n = postings, len(postings)
        self.is_alive = np.ones(len(postings), dtype=np.bool_)

    def forget(self, image_ids: Ids, *, but: bool = False) -> None:
        """Pass over the documents of these pictures, or of all others."""
        self.is_alive &= np.isin(self.postings.image_ids, image_ids, invert=not but)
        self.n = int(self.is_alive.sum())


class TextIndex:
    """What the texts of one open library are searched with; it keeps what it has loaded.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for `publish`.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog
        self._parts: list[_Part] = []
        self._revision = -1  # of the library when it was last looked at
        self._seen = -1  # up to which commit the parts have all documents
        self._library: object = None  # what tells another catalog from one that went on
        self._n_published = 0  # documents of the first part, where that is the published one
        self._n, self._norms = 0, [np.zeros(0, np.float32)]

    # -- searching -----------------------------------------------------------------------------------

    def matches(self, text: str) -> TextMatches:
        """Return which pictures something of a text stands beside; see `LibraryAnnotations.matches`."""
        terms = terms_of(text)
        with self._catalog.reading():
            self._refresh()
            scores = [np.zeros(len(part.postings), dtype=np.float32) for part in self._parts]
            possible = sum(self._add(term, scores) for term in terms)
        ids, shares = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for part, of_part in zip(self._parts, scores, strict=True):
            places = np.flatnonzero(of_part)
            ids.append(part.postings.image_ids[places])
            shares.append(of_part[places] / np.float32(possible))
        image_ids = np.concatenate(ids)
        order = np.argsort(image_ids, kind="stable")
        return TextMatches(image_ids[order], np.concatenate(shares)[order])

    def _add(self, term: Term, scores: Sequence[NDArray[np.float32]]) -> float:
        """Add what a term is worth to the scores of documents, and return what it could be worth at most."""
        if len(term.tokens) == 1 and not term.is_prefix and term.tokens[0] in FUNCTION_WORDS:
            return 0.0
        postings = [self._postings_of(term, part) for part in self._parts]
        n_documents = sum(len(places) for places, _ in postings)
        if self._n > _FEW and n_documents > _COMMON * self._n:
            return 0.0
        idf = float(np.log1p((self._n - n_documents + 0.5) / (n_documents + 0.5)))
        for (places, counts), of_part, norms in zip(postings, scores, self._norms, strict=True):
            # tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)); a place comes once
            of_part[places] += np.float32(idf * (_K1 + 1)) * (counts / (counts + norms[places]))
        return idf * (_K1 + 1)

    def _postings_of(self, term: Term, part: _Part) -> tuple[Places, NDArray[np.float32]]:
        """Return in which living documents of a part a term stands, each once, and how often."""
        if len(term.tokens) > 1:
            return self._holding_phrase(term, part)
        places, counts = part.postings.of_token(term.tokens[0], is_prefix=term.is_prefix)
        if part.n < len(part.postings):
            alive = part.is_alive[places]
            places, counts = places[alive], counts[alive]
        if not term.is_prefix:
            return places, counts.astype(np.float32)
        n_times = np.bincount(places, weights=counts, minlength=1)
        places = np.flatnonzero(n_times).astype(np.int32)
        return places, n_times[places].astype(np.float32)

    def _holding_phrase(self, term: Term, part: _Part) -> tuple[Places, NDArray[np.float32]]:
        """Return in which documents tokens follow one another: of those that have them all, by what they say."""
        *whole, last = term.tokens
        postings = [part.postings.of_token(token)[0] for token in whole]
        postings.append(part.postings.of_token(last, is_prefix=term.is_prefix)[0])
        postings.sort(key=len)
        places = np.unique(postings[0])
        for others in postings[1:]:
            stands = np.zeros(len(part.postings), dtype=np.bool_)
            stands[others] = True
            places = places[stands[places]]
        places = places[part.is_alive[places]]
        ids = part.postings.image_ids[places]
        phrase = f" {' '.join(term.tokens)}" + " " * (not term.is_prefix)
        rows = self._catalog.db.execute(
            "SELECT image FROM document WHERE image IN (SELECT value FROM json_each(?)) "
            "AND instr(' ' || text || ' ', ?)",
            (json.dumps(ids.tolist()), phrase),
        )
        holding = np.array([image_id for (image_id,) in rows], dtype=np.int64)
        places = places[np.isin(ids, holding)].astype(np.int32)
        return places, np.ones(len(places), dtype=np.float32)

    # -- what it goes by -----------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Go by the present documents; inside `reading()`."""
        revision, library = self._store.revision, self._catalog.meta("library")
        if (revision, library) == (self._revision, self._library):
            return
        if revision < self._revision or library != self._library:
            self._load()
        documents = self._catalog.db.execute(
            "SELECT image, text FROM document WHERE revision > ? ORDER BY image", (self._seen,)
        ).fetchall()
        if documents:
            added = Postings.of(documents)
            for part in self._parts:
                part.forget(added.image_ids)
            self._parts.append(_Part(added))
        self._forget_gone()
        self._seen, self._revision, self._library = revision, revision, library
        self._join_small_parts()
        self._weigh()

    def _load(self) -> None:
        """Begin with the postings that are published, or with none."""
        self._parts, self._seen, self._n_published = [], -1, 0
        opened = self._store.load_matching(TEXTS, {}, lambda file, facts: (Postings.open(file), facts["revision"]),
                                           is_stamp_enough=True)  # fmt: skip
        # What was published since this state began has later documents: then all are read from the catalog.
        if not isinstance(opened, Unusable) and opened[1] <= self._store.revision:
            postings, self._seen = opened
            self._parts, self._n_published = [_Part(postings)], len(postings)

    def _forget_gone(self) -> None:
        """Pass over documents that left, if there are any: all others are there."""
        if sum(part.n for part in self._parts) == self._catalog.count("document"):
            return
        there = self._catalog.db.execute("SELECT image FROM document INDEXED BY document_revision")
        ids = np.array([image_id for (image_id,) in there], dtype=np.int64)
        for part in self._parts:
            part.forget(ids, but=True)

    def _join_small_parts(self) -> None:
        """Join the last parts where there are many, so that each has some share of the one before."""
        if len(self._parts) <= _MOST_PARTS:
            return
        n_joined, n = 1, self._parts[-1].n
        while n_joined < len(self._parts) and self._parts[-n_joined - 1].n < 2 * n:
            n += self._parts[-n_joined - 1].n
            n_joined += 1
        n_joined = max(2, n_joined)
        joined = Postings.merged([(part.postings, part.is_alive) for part in self._parts[-n_joined:]])
        self._parts[-n_joined:] = [_Part(joined)]

    def _weigh(self) -> None:
        """Compute what of the weight of a token follows from the length of each document."""
        self._n = sum(part.n for part in self._parts)
        n_tokens = sum(int(part.postings.lengths[part.is_alive].sum()) for part in self._parts)
        mean = max(1.0, n_tokens / max(1, self._n))
        self._norms = [
            (_K1 * (1 - _B + _B * part.postings.lengths / mean)).astype(np.float32) for part in self._parts
        ]

    # -- publishing ----------------------------------------------------------------------------------

    def publish(self) -> None:
        """Publish the postings of all documents, if many changed since they last were; the caller is the writer."""
        with self._catalog.reading():
            self._library = None  # to begin with what is published
            self._refresh()
        n_published = self._n_published
        n_unchanged = self._parts[0].n if n_published else 0
        n_changed = n_published - n_unchanged + self._n - n_unchanged  # gone or written again, and written
        if n_changed <= max(_LEAST, _SHARE * n_published):
            return
        joined = Postings.merged([(part.postings, part.is_alive) for part in self._parts])
        facts = {"revision": self._seen, "n_documents": len(joined)}
        self._store.publish(TEXTS, next_name(self._store.files, TEXTS), joined.save, facts)
        self._parts = [_Part(joined)]
        self._weigh()

    def problem(self) -> str | None:
        """Return what is wrong with the published postings, by reading all of them; None where there are none."""
        if current(self._store.files, TEXTS) is None:
            return None
        opened = self._store.load_matching(TEXTS, {}, lambda file, _: Postings.open(file))
        return opened.reason if isinstance(opened, Unusable) else None
