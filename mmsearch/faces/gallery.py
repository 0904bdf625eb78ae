"""GALLERY: whom example pictures show, by the faces in them where there are any, and otherwise by the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.arguments import FALSE_RATE as FALSE_RATE_OF_PICTURES
from mmsearch.errors import EncoderError, NoEncoderError, PictureError, QueryError
from mmsearch.faces.known import Asked, Compared, compared_faces
from mmsearch.faces.packing import relative_box, unpacked_faces
from mmsearch.faces.thresholds import FALSE_RATE, FaceGuess
from mmsearch.processes.decoder import PictureDecoder, UndescribedFacesError
from mmsearch.query.encode import as_term, limits_of, named
from mmsearch.query.gallery import LibraryGallery, identities_of
from mmsearch.query.searcher import Searcher
from mmsearch.records import Example, GalleryPicture, Identification, IdentifiedFace, Matrix, RelativeBox, Term
from mmsearch.store.base import LibraryStore
from mmsearch.vectors import top_k

if TYPE_CHECKING:
    from numpy.typing import NDArray


def identify(
    store: LibraryStore,
    searcher: Searcher,
    decoder: Callable[[], PictureDecoder],
    images: Sequence[Example | Term],
    asked: Asked,
    check: Callable[[], None],
) -> list[Identification]:
    """Return whom or what each picture shows; see `Library.identify`. `check` is called between them.

    Raises
    ------
    QueryError
        If the gallery has too few identities, or faces are asked for and it has none.
    NoEncoderError
        If the library has no vectors, and faces do not answer.
    UnsupportedError, ModelNotFoundError
        If faces are asked for, and the library stands at an address, or what finds faces is not installed.
    """
    faces, warnings = compared_faces(store, asked)
    others = _Others(store, searcher, asked, check, is_needed=faces is None)
    gallery = None if faces is None else PeopleGallery(faces, searcher, decoder, asked)
    answers = []
    for image in images:
        check()
        said: tuple[str, ...] = ()
        try:
            by_faces = None if gallery is None else gallery.identify(image)
        except UndescribedFacesError as error:
            by_faces, said = None, (f"{error}; the whole is compared",)
        except PictureError as error:
            answers.append(Identification(as_term(image).label, error=str(error)))
            continue
        if by_faces is None or not by_faces.faces:
            n_too_small = 0 if by_faces is None else by_faces.n_too_small
            answer = others.identify(image) or Identification(as_term(image).label, answered_by="faces")
            by_faces = replace(answer, n_too_small=n_too_small, warnings=(*said, *others.warnings))
        answers.append(replace(by_faces, warnings=(*by_faces.warnings, *warnings)))
    return answers


class _Others:
    """Answers by whole pictures where faces do not; where these may answer, a gallery without is no error.

    `warnings` says why none is compared, if that is not how the library is.
    """

    def __init__(
        self,
        store: LibraryStore,
        searcher: Searcher,
        asked: Asked,
        check: Callable[[], None],
        *,
        is_needed: bool,
    ) -> None:
        self._store, self._searcher, self._asked, self._check = store, searcher, asked, check
        self._is_needed, self._has_failed = is_needed, False
        self.warnings: tuple[str, ...] = ()
        self._gallery = self._opened() if is_needed else None

    def _opened(self) -> LibraryGallery:
        if not self._store.has_vectors:
            self._searcher.require_encoder()  # raises, as there is none
        known = self._asked.identities
        return LibraryGallery(self._store, self._searcher, identities_of(self._store) if known is None else known)

    def identify(self, image: Example | Term) -> Identification | None:
        """Return what a picture shows, None where the library cannot tell and faces may answer."""
        if self._has_failed:  # it would for each picture
            return None
        rate = self._asked.false_rate
        try:
            self._gallery = self._gallery or self._opened()
            (answer,) = self._gallery.identify(
                [image],
                k=self._asked.k,
                false_rate=FALSE_RATE_OF_PICTURES if rate is None else rate,
                is_itself_left_out=self._asked.is_itself_left_out,
                check=self._check,
            )
        except (QueryError, EncoderError) as error:
            if self._is_needed:
                raise
            self._has_failed = self._gallery is None or isinstance(error, EncoderError)
            if isinstance(error, EncoderError) and not isinstance(error, NoEncoderError):
                self.warnings = (f"pictures without a face are not compared: {error}",)
            return None
        return answer


class PeopleGallery:
    """Holds the faces of example pictures beside those of known people that an open library keeps.

    Parameters
    ----------
    faces : Compared
    searcher : Searcher
        Of the same library.
    decoder : callable
        Returns what decodes example pictures and finds the faces in them.
    asked : Asked
    """

    def __init__(
        self, faces: Compared, searcher: Searcher, decoder: Callable[[], PictureDecoder], asked: Asked
    ) -> None:
        self._store, self._known, self.gallery = faces.store, faces.known, faces.gallery
        self._terms, self._decoder, self._asked = searcher.terms, decoder, asked
        self._image_ids = faces.stored.image_ids[self._known.rows]
        self._path_of = faces.path_of
        self._doubts = self._found_doubts()

    def _found_doubts(self) -> dict[str, list[str]]:
        """Return for each name the sentences on what makes it doubtful."""
        doubts: dict[str, list[str]] = defaultdict(list)
        for pair in self.gallery.same_people:
            for name in pair:
                doubts[name].append(f"{pair[0]} and {pair[1]} may be one person: some of their faces are alike")
        # What a person named or merged may look like several people.
        for name in () if self._known.are_named else self.gallery.mixed_people:
            doubts[name].append(f"{name} may be two people: the faces under this name are of two kinds")
        return doubts

    def identify(self, image: Example | Term) -> Identification | None:
        """Return whose the faces of a picture are; None where they cannot be compared with any.

        Raises
        ------
        PictureError
            If it cannot be read.
        UndescribedFacesError
            If faces in it cannot be described.
        """
        term = as_term(image)
        records, n_too_small, itself = self._faces_in(term)
        without = np.flatnonzero(np.isin(self._image_ids, itself)) if self._asked.is_itself_left_out else ()
        if len(without) == len(self._image_ids):
            return None
        records = records[np.argsort(-records["size"].astype(np.int64), kind="stable")]
        vectors, rate = np.asarray(records["vector"], dtype=np.float32), self._asked.false_rate
        guesses = self.gallery.identify(
            vectors, without=list(without), false_rate=FALSE_RATE if rate is None else rate
        )
        cosines = self.gallery.cosines(vectors)
        cosines[:, list(without)] = -np.inf
        faces = tuple(
            self._as_face(relative_box(record), guess, line)
            for record, guess, line in zip(records, guesses, cosines, strict=True)
        )
        return self._answer(term.label, faces, n_too_small)

    def _faces_in(self, term: Term) -> tuple[NDArray[Any], int, list[int]]:
        """Return the faces in a picture, how many more are too small, and which pictures of the library it is."""
        source, name, box, _ = self._terms.read(term)
        itself = []
        if box is None:
            digest = sha256(source).digest() if isinstance(source, bytes) else source.content_hash
            itself = [picture.image_id for picture in self._terms.stored_as(term, digest)]
            if itself and (kept := self._store.faces.of_picture(itself[0])) is not None:
                return *kept, itself
        with named(name):
            packed = self._decoder().faces(source, box=box, limits=limits_of(self._store, term))
        return *unpacked_faces(packed), itself

    def _as_face(self, box: RelativeBox, guess: FaceGuess, cosines: Matrix) -> IdentifiedFace:
        _, order = top_k(cosines[None], np.arange(len(cosines)), self._asked.k)
        nearest = tuple(
            GalleryPicture(
                self._path_of[int(self._image_ids[row])],
                self.gallery.names[self.gallery.labels[row]],
                float(cosines[row]),
                False,
                0,
            )
            for row in order[0].tolist()
            if isfinite(cosines[row])
        )
        return IdentifiedFace(
            box, guess.name, guess.nearest, guess.distance, guess.chance, guess.probability, nearest
        )

    def _answer(self, label: str, faces: tuple[IdentifiedFace, ...], n_too_small: int) -> Identification:
        """Return what the faces of a picture, the largest first, say of it."""
        if not faces:
            return Identification(label, answered_by="faces", n_too_small=n_too_small)
        known = dict.fromkeys(face.identity for face in faces if face.identity is not None)
        face = next((face for face in faces if face.identity is not None), faces[0])
        doubts = dict.fromkeys(doubt for face in faces for doubt in self._doubts.get(face.best, ()))
        return Identification(
            label,
            identity=face.identity,
            best=face.best,
            score=1 - face.distance**2 / 2,
            chance=face.chance,
            beside=tuple(name for name in known if name != face.identity),
            nearest=face.nearest,
            answered_by="faces",
            faces=faces,
            n_too_small=n_too_small,
            warnings=(*doubts, *self._too_little()),
        )

    def _too_little(self) -> tuple[str, ...]:
        if self.gallery.strangers is not None:
            return ()
        return (
            "nobody is named, as too few faces are known to learn how near strangers come (faces: "
            f"{len(self.gallery.labels)}, people: {len(self.gallery.names)}); give more pictures, or more people",
        )
