"""COPIES: a ranking of pictures in, a ranking of different files out, and what each hit stands for.

Of files of equal bytes the best ranked stands for all, and so does the best frame for a film. What it stands for is
passed over wherever it ranks, on later pages too, so more pictures are asked for until there are enough different
files. Which forms of a picture and which pictures of a moment are one hit is decided as `mmsearch.duplicates`
decides it, among the pictures of an answer and without a look at their files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import Collapse, Duplicates
from mmsearch.query.films import Moments
from mmsearch.records import Folded, FoldedPicture, ImageRecord
from mmsearch.store.base import Condition, Copies, LibraryStore, Passed, RankKey, Shortlist, in_folder

if TYPE_CHECKING:
    from mmsearch.duplicates.groups import Groups
    from mmsearch.query.rerank import Ranked

MOST_NAMED = 20
"""Pictures of each class that a hit names; the others are counted."""
MOST_LOOKED_AT = 1_000
"""Files that are looked at for a page on which pictures that look alike are one hit, or k if that is more."""
COARSE: tuple[Collapse, ...] = ("same-picture", "look-alike")
"""Classes that are decided among the pictures of a page."""

Keys: TypeAlias = Callable[[Sequence[ImageRecord]], Sequence[RankKey]]
"""Returns what pictures are ranked by."""
Alike: TypeAlias = dict[int, tuple[int, Duplicates]]
"""By the places of pictures in an answer: the place of what stands for each, and of which class they are."""


class EqualFiles:
    """Which pictures of an answer are of equal bytes, in one state of a library.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading.
    condition : Condition
        What copies must pass to be named.
    is_wanted : bool
        False leaves every ranking as it is.
    ended : collection of int
        Ids of pictures none of whose copies is an answer, such as those of a first page.
    """

    def __init__(
        self, store: LibraryStore, condition: Condition, *, is_wanted: bool, ended: Collection[int] = ()
    ) -> None:
        self._store, self._condition, self.is_wanted = store, condition, is_wanted
        self._hash_of: dict[int, bytes] = {}
        self._number_of: dict[bytes, int] = {}
        self._counted: set[bytes] = set()
        self._n_copies: dict[bytes, int] = {}  # of contents of which there are several
        self._ended: set[bytes] = set()
        self.moments = Moments(store, condition)
        """The frames of films that were ranked."""
        if is_wanted and ended:
            self._ended = set(store.hashes_of(list(ended)).values())
            self._count(self._ended)

    def shortlist(
        self,
        fetch: Callable[[int], Shortlist],
        k: int,
        *,
        most: int | None = None,
        passed: Passed | None = None,
        keys: Keys | None = None,
    ) -> Shortlist:
        """Return the k best different files of a ranking, all of them if there are fewer.

        Parameters
        ----------
        fetch : callable
            Returns the n best pictures.
        most : int or None
            The highest n; there may be fewer than k files, and more pictures, where it is not enough.
        passed, keys
            What pages before have given, and what pictures are ranked by; for pages from the third on.
        """
        if not self.is_wanted:
            return fetch(k)
        n = one_more(k, most)
        while True:
            shortlist = fetch(n)
            self._count(self._contents(_ids(image for _, image in shortlist.pictures)))
            self.moments.note(shortlist.pictures)
            pictures = self._first_of_each(shortlist, k + 1, passed, keys)
            if len(pictures) > k or shortlist.next_score is None or n == most:
                next_score = pictures[k][0] if len(pictures) > k else shortlist.next_score
                return replace(shortlist, pictures=pictures[:k], next_score=next_score)
            # All copies of what was seen may rank before the next file, but a store may leave out most of them.
            n_passed_over = len(shortlist.pictures) - len(pictures)
            n_enough = k + 1 + sum(self._n_copies.values())
            n += max(n_passed_over, min(n_enough - n, 16 * n_passed_over))
            n = n if most is None else min(n, most)

    def others(self, images: Sequence[ImageRecord], beside: Sequence[ImageRecord]) -> list[ImageRecord]:
        """Return those of some pictures that are other files than those beside them, each file once, by its id.

        Of films all frames are left: which of them is the best is not known yet.
        """
        if not self.is_wanted:
            return list(images)
        seen = self._ended.union(self._contents(_ids(beside)))
        later_first = sorted(images, key=lambda image: -image.image_id)
        contents_of = dict(zip(_ids(later_first), self._contents(_ids(later_first)), strict=True))
        frames = [image for image in later_first if image.moment is not None]
        first_of = {contents_of[image.image_id]: image for image in later_first if image.moment is None}
        return [
            *(image for contents, image in first_of.items() if contents not in seen),
            *(frame for frame in frames if contents_of[frame.image_id] not in self._ended),
        ]

    def each_once(self, ranked: Sequence[Ranked]) -> list[Ranked]:
        """Return a ranking with the first of the frames of each film alone."""
        if not self.is_wanted:
            return list(ranked)
        first_of: dict[bytes, Ranked] = {}
        contents_of = self._contents(_ids(answer[1] for answer in ranked))
        for answer, contents in zip(ranked, contents_of, strict=True):
            first_of.setdefault(contents, answer)
        return [*first_of.values()]

    def folded(self, images: Sequence[ImageRecord]) -> dict[int, Folded]:
        """Return the copies of pictures of an answer by the ids of these, of those that have any."""
        of_films = self.moments.copies(images) if self.is_wanted else {}
        if not self._n_copies:
            return of_films
        images = [image for image in images if image.moment is None]
        of_images = dict(zip(_ids(images), self._contents(_ids(images)), strict=True))
        asked = self._n_copies.keys() & of_images.values()
        copies_of = self._store.copies_of(asked, self._condition, limit=MOST_NAMED + 1)
        return of_films | {
            image_id: _of_copies(image_id, copies_of[contents])
            for image_id, contents in of_images.items()
            if contents in copies_of
        }

    def numbers(self, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number for each picture that copies share; its id where no copies are to be told."""
        if not self.is_wanted:
            return image_ids
        numbers = [
            self._number_of.setdefault(contents, len(self._number_of))
            for contents in self._contents(image_ids.tolist())
        ]
        return np.array(numbers, dtype=np.int64)

    def _contents(self, image_ids: Sequence[int]) -> list[bytes]:
        """Return what tells the contents of each picture from others."""
        self._hash_of |= self._store.hashes_of([each for each in image_ids if each not in self._hash_of])
        return [self._hash_of.get(each, b"%d" % each) for each in image_ids]  # one that left a moment ago

    def _count(self, contents: Collection[bytes]) -> None:
        """Look up of which contents there are several."""
        if asked := set(contents).difference(self._counted):
            self._counted |= asked
            copies_of = self._store.copies_of(asked, self._condition, limit=0)
            self._n_copies |= {content_hash: copies.n for content_hash, copies in copies_of.items()}

    def _first_of_each(
        self, shortlist: Shortlist, most: int, passed: Passed | None, keys: Keys | None
    ) -> list[tuple[float, ImageRecord]]:
        """Return the best ranked pictures of files that were not given yet, at most so many."""
        seen, pictures = set(self._ended), []
        contents_of = self._contents(_ids(image for _, image in shortlist.pictures))
        for (score, image), contents in zip(shortlist.pictures, contents_of, strict=True):
            if contents in seen:
                continue
            seen.add(contents)
            if not shortlist.is_by_file and self._was_given(image, contents, passed, keys):
                continue
            pictures.append((score, image))
            if len(pictures) == most:
                break
        return pictures

    def _was_given(self, image: ImageRecord, contents: bytes, passed: Passed | None, keys: Keys | None) -> bool:
        """Return whether a copy, or another frame of a film, ranks before where the last page ended."""
        if passed is None or passed.last is None or keys is None:
            return False
        if image.moment is not None:
            return any(key <= passed.last for key in keys(self.moments.passing(image)))
        if contents not in self._n_copies:
            return False
        n = self._n_copies[contents]
        copies = self._store.copies_of([contents], self._condition, limit=n).get(contents, Copies(0, []))
        return any(key <= passed.last for key in keys(copies.images))


def one_more(k: int, most: int | None) -> int:
    """Return how many pictures are asked for first, so that it is known whether another file follows k of them."""
    return k + 1 if most is None else max(k, min(k + 1, most))


def _ids(images: Iterable[ImageRecord]) -> list[int]:
    return [image.image_id for image in images]


def _of_copies(image_id: int, copies: Copies) -> Folded:
    others = [image for image in copies.images if image.image_id != image_id][:MOST_NAMED]
    return Folded(_named(others, "same-file"), n_same_file=copies.n - 1)


def _named(images: Sequence[ImageRecord], kind: Duplicates) -> tuple[FoldedPicture, ...]:
    return tuple(FoldedPicture(image.image_id, image.path, kind) for image in images)


def alike(store: LibraryStore, images: Sequence[ImageRecord], collapse: Collapse) -> Alike:
    """Return which pictures of an answer stand for which others, by their places in it.

    Of one picture in several forms, and then of those of one moment, the best ranked stands for all. Nothing is
    read from their files: forms are told by their signatures alone, so that some that `duplicates` finds, such as
    cropped ones, stay apart.

    Raises
    ------
    UnsupportedError
        If the library is no folder.
    """
    from mmsearch.duplicates.keepers import Candidate
    from mmsearch.duplicates.moments import moments
    from mmsearch.duplicates.same_picture import nearly_equal

    signatures = in_folder(store, "pictures that look alike").signatures.load(_ids(images))
    candidates = [Candidate(image, b"", signatures.get(image.image_id)) for image in images]
    signed = [place for place, candidate in enumerate(candidates) if candidate.signature is not None]
    members = _members(nearly_equal([candidates[place] for place in signed]), signed, "same-picture")
    if collapse == "look-alike" and store.has_vectors:
        left = [place for place in range(len(images)) if place not in members]
        of_moments = moments([candidates[place] for place in left], store.vectors_of([images[i] for i in left]))
        members |= _members(of_moments, left, "look-alike")
    return members


def _members(groups: Groups, places: Sequence[int], kind: Duplicates) -> Alike:
    return {places[other]: (places[keeper], kind) for keeper, others in groups.verdicts.items() for other in others}


def with_alike(folded: Mapping[int, Folded], images: Sequence[ImageRecord], members: Alike) -> dict[int, Folded]:
    """Return what the hits of an answer stand for by their ids, once those that are alike are one.

    Copies of a picture of a class are of that class.
    """
    together: dict[int, list[Folded]] = {}
    for place, image in enumerate(images):
        keeper, kind = place, None
        while keeper in members:  # a form of one that is of the moment of another
            keeper, kind = members[keeper]
        copies = folded.get(image.image_id, Folded(()))
        if kind is not None:
            names = (
                FoldedPicture(image.image_id, image.path, kind),
                *(FoldedPicture(copy.image_id, copy.path, kind) for copy in copies.pictures),
            )
            n = 1 + copies.n_same_file
            copies = Folded(names, 0, n, 0) if kind == "same-picture" else Folded(names, 0, 0, n)
        if copies.pictures:
            together.setdefault(images[keeper].image_id, []).append(copies)
    return {image_id: _sum(parts) for image_id, parts in together.items()}


def _sum(parts: Sequence[Folded]) -> Folded:
    named = [picture for part in parts for picture in part.pictures]
    of_kinds = [[picture for picture in named if picture.kind == kind] for kind in get_args(Duplicates)]
    return Folded(
        tuple(picture for of_kind in of_kinds for picture in of_kind[:MOST_NAMED]),
        sum(part.n_same_file for part in parts),
        sum(part.n_same_picture for part in parts),
        sum(part.n_look_alike for part in parts),
    )
