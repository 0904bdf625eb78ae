"""GALLERY: the pictures of a library as those of known individuals, beside which example pictures are held."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmsearch.errors import PictureError, QueryError
from mmsearch.names import quoted
from mmsearch.query.encode import as_term
from mmsearch.query.identify import Gallery
from mmsearch.query.listing import pictures_of
from mmsearch.query.searcher import Searcher
from mmsearch.records import Example, GalleryPicture, Identification, LocalEvidence, Matrix, Term
from mmsearch.store.base import LibraryStore
from mmsearch.vectors import top_k

EDGE = 0.1
"""Of the sides of a gallery picture: where the middle of an example lies there, the example shows another thing."""
# Chosen on covers 001-050 of SMVS: the middles of all 100 photographs lie farther inside of their own cover, and 7
# of 8 other covers, which lie beside it in the photographs, do not hold the middle.


def identities_of(store: LibraryStore) -> dict[str, str]:
    """Return the identity of every picture of a library, by its path: the folder in which it lies.

    That is the first folder below what was indexed, or below what all that was indexed has in common; where no
    picture lies deeper, each is an identity of its own, called as its file without the ending.

    Raises
    ------
    QueryError
        If some pictures lie in such a folder and others beside.
    """
    paths = [image.path for image in pictures_of(store)]
    if not paths:
        return {}
    roots = [os.fsdecode(root) for root in store.roots()]
    folders = roots if len(roots) == 1 and roots[0] not in paths else [*roots, *map(os.path.dirname, paths)]
    common = os.path.commonpath(folders)
    below = {path: os.path.relpath(path, common).split(os.sep) for path in paths}
    beside = [path for path, parts in below.items() if len(parts) == 1]
    if beside and len(beside) < len(paths):
        raise QueryError(
            f"{len(beside)} of {len(paths)} pictures lie beside the folders of the identities in {quoted(common)}, "
            f"the first is {quoted(beside[0])}; expected every picture in a folder, or none"
        )
    return {path: os.path.splitext(parts[0])[0] if beside else parts[0] for path, parts in below.items()}


class LibraryGallery:
    """Holds example pictures beside the pictures of an open library whose identities are known.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading, with vectors.
    searcher : Searcher
        Of the same library.
    identities : mapping of path to str
        Absolute paths of pictures as the library has them; others of its pictures count for nobody.

    Raises
    ------
    QueryError
        If fewer than two identities have a picture in the library.
    """

    def __init__(self, store: LibraryStore, searcher: Searcher, identities: Mapping[str, str]) -> None:
        self._searcher = searcher
        self.pictures = [image for image in pictures_of(store) if image.path in identities]
        names = sorted({identities[image.path] for image in self.pictures})
        position = {name: i for i, name in enumerate(names)}
        self._names = [identities[image.path] for image in self.pictures]
        vectors = store.consistently(lambda: store.vectors_of(self.pictures))
        self.gallery = Gallery(vectors, [position[name] for name in self._names], names)
        self._rows = {image.image_id: row for row, image in enumerate(self.pictures)}

    def identify(
        self,
        images: Sequence[Example | Term],
        *,
        k: int,
        false_rate: float,
        is_itself_left_out: bool,
        check: Callable[[], None],
    ) -> list[Identification]:
        """Return the identity of each picture; see `Library.identify`. `check` is called between them."""
        answers = []
        for image in images:
            check()
            try:
                answers.append(self._identified(image, k, false_rate, is_itself_left_out=is_itself_left_out))
            except PictureError as error:
                answers.append(Identification(as_term(image).label, error=str(error)))
        return answers

    def _identified(
        self, image: Example | Term, k: int, false_rate: float, *, is_itself_left_out: bool
    ) -> Identification:
        encoded, local, ranked = self._searcher.example(image)
        itself = set(encoded.itself if is_itself_left_out else ())
        without = [self._rows[i] for i in itself & self._rows.keys()]
        verified: dict[int, int] = {}
        subject: dict[int, int] = {}
        first: int | None = None
        for _, picture, seen in ranked:
            if seen is None or picture.image_id not in self._rows.keys() - itself:
                continue
            row = self._rows[picture.image_id]
            if seen.is_verified:
                verified[row] = seen.n_inliers
            if local is not None and shows_middle(seen, local.middle, (picture.width, picture.height)):
                subject[row] = seen.n_inliers
            elif first is None:  # also what is seen beside the middle: nothing is likelier, but it is not certain
                first = row
        cosines = self.gallery.cosines(encoded.vector[None])  # of one region: a picture, or the part of a Term
        cosines[:, without] = -np.inf
        (guess,) = self.gallery.guesses(cosines, [subject], [first], false_rate=false_rate)
        best = self.gallery.names[guess.identity]
        seen_names = dict.fromkeys(self._names[row] for row in verified)
        return Identification(
            path=as_term(image).label,
            identity=best if guess.is_known else None,
            best=best,
            is_verified=guess.n_inliers > 0,
            n_inliers=guess.n_inliers,
            score=guess.score,
            chance=guess.chance,
            beside=tuple(name for name in seen_names if name != best or not guess.n_inliers),
            nearest=self._nearest(cosines[0], subject | verified, k),
        )

    def _nearest(self, cosines: Matrix, inliers: Mapping[int, int], k: int) -> tuple[GalleryPicture, ...]:
        """Return the k nearest pictures that count, verified ones first, in their order."""
        _, best = top_k(cosines[None], np.arange(len(cosines)), k)
        rows = dict.fromkeys([*inliers, *best[0].tolist()])
        return tuple(
            GalleryPicture(
                self.pictures[row].path, self._names[row], float(cosines[row]), row in inliers, inliers.get(row, 0)
            )
            for row in list(rows)[:k]
            if np.isfinite(cosines[row])
        )


def shows_middle(seen: LocalEvidence, middle: tuple[float, float], size: tuple[int, int]) -> bool:
    """Return whether a picture of a size (width, height) is verified and shows the middle of the example.

    What is near the edge of the picture is most likely beside it, as its outline is larger than what is seen of it.

    Examples
    --------
    >>> half = LocalEvidence(1.0, (), True, ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 1.0)))
    >>> shows_middle(half, (100.0, 100.0), (100, 100)), shows_middle(half, (190.0, 100.0), (100, 100))
    (True, False)
    """
    if not seen.is_verified or seen.homography is None:
        return False
    x, y, depth = np.asarray(seen.homography) @ (*middle, 1.0)
    if depth == 0:
        return False
    return all(EDGE < place / depth / side < 1 - EDGE for place, side in zip((x, y), size, strict=True))
