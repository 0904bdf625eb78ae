"""TERMS: the words, example pictures and judgements of a query in, one unit vector out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmsearch.arguments import as_positive
from mmsearch.errors import LibraryDamagedError, PictureError, QueryError
from mmsearch.query.feedback import rocchio
from mmsearch.records import (
    Box,
    Example,
    FileLook,
    ImageRecord,
    Matrix,
    Modality,
    PictureBytes,
    PictureParts,
    Pixels,
    Query,
    Term,
)
from mmsearch.store.base import LibraryStore, in_folder
from mmsearch.system import is_gone
from mmsearch.vectors import as_stored, check_width, l2_normalize, unit_vectors

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder
    from mmsearch.processes.decoder import Limits, PictureDecoder, Source
    from mmsearch.processes.film_reader import FilmReader

TEXTS_TOGETHER = 64
"""Texts that are encoded between two looks at whether somebody still waits for them."""


@dataclass(frozen=True)
class EncodedTerm:
    """One term of a query: what it is, its unit vector (dim,), and its weight (negative to exclude)."""

    label: str
    modality: Modality
    vector: Matrix
    weight: float


@dataclass(frozen=True)
class EncodedQuery:
    """The terms of a query, and the unit vector (dim,) that they and the judged pictures make.

    Where the query is one example picture and nothing else, `itself` are the ids of the pictures of the library
    that it is; `left_out` are those of pictures that are judged not to be what is looked for. `text` is the query
    where it is one text and nothing else, else None.
    """

    terms: list[EncodedTerm]
    vector: Matrix
    itself: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    text: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is one text and nothing else."""
        return self.text is not None

    @property
    def modality(self) -> Modality:
        """`text` if any term is one: such a vector lies off the pictures."""
        return "image" if all(term.modality == "image" for term in self.terms) else "text"


class TermEncoder:
    """Encodes the terms of queries to one open library; one thread at a time.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading.
    encoder : callable
        Returns the library's encoder, or raises EncoderError if it has none; only called when a term is not known
        yet.
    decoder : callable
        Returns what decodes example pictures.
    film_reader : callable or None
        Returns what reads films; without it one is started for each moment of a film.
    """

    def __init__(
        self,
        store: LibraryStore,
        encoder: Callable[[], DualEncoder],
        decoder: Callable[[], PictureDecoder],
        film_reader: Callable[[], FilmReader] | None = None,
    ) -> None:
        self.store = store
        self._encoder, self._decoder, self._film_reader = encoder, decoder, film_reader
        self.remembered = store.remembered

    def encode(self, queries: Sequence[Query]) -> list[EncodedQuery]:
        """Return every query as one vector; the texts of all go through the encoder together.

        Raises
        ------
        QueryError
            If there is nothing to look for, a weight is not positive, a judged picture is not in the library, or
            the terms cancel.
        DimensionError
            If a vector is not as wide as those of the library.
        PictureError
            If an example picture cannot be read.
        """
        asked = [texts_in(query) for query in queries]
        texts = list(dict.fromkeys(str(term.value) for terms in asked for term, _ in terms))
        known = dict(zip(texts, self.text_vectors(texts), strict=True))
        return [self._encoded(query, words, known) for query, words in zip(queries, asked, strict=True)]

    def _encoded(self, query: Query, words: list[tuple[Term, int]], known: dict[str, Matrix]) -> EncodedQuery:
        terms = [
            EncodedTerm(
                term.label if sign > 0 else f"not {term.label}", "text", known[str(term.value)], sign * term.weight
            )
            for term, sign in words
        ]
        images = [as_term(image) for image in query.images]
        at = int(query.text is not None)  # text, examples, excluded texts: the order in which they are named
        pictures = [self._picture(image) for image in images]
        terms[at:at] = [
            EncodedTerm(image.label, "image", vector, image.weight)
            for image, (vector, _) in zip(images, pictures, strict=True)
        ]
        if query.vector is not None:  # whether it lies among pictures is not known: what finds texts finds all
            terms.append(EncodedTerm("the vector", "text", self._unit(query.vector), 1.0))
        itself = tuple(image.image_id for image in pictures[0][1]) if is_example(query) else ()
        return EncodedQuery(terms, self._sum(terms, query), itself, tuple(query.irrelevant), text_of(query))

    def _unit(self, given: Sequence[float]) -> Matrix:
        """Return a vector that was given at unit length."""
        values = np.array([given])
        check_width(values, self.store.dim)
        (unit,) = unit_vectors(values)
        assert unit is not None, "the query has looked at it"
        return unit

    def _sum(self, terms: Sequence[EncodedTerm], query: Query) -> Matrix:
        """Return the unit vector (dim,) of terms and judged pictures."""
        total: Matrix = np.zeros(self.store.dim, dtype=np.float32)
        if terms:
            # Their ratios alone count, and those have room in float32.
            weights = np.array([term.weight for term in terms], dtype=np.float64)
            total = (weights / np.abs(weights).max()).astype(np.float32) @ np.stack([term.vector for term in terms])
            _check_direction(total)
            total = l2_normalize(total[None])[0]
        if query.relevant or query.irrelevant:
            total = rocchio(total, self._judged(query.relevant), self._judged(query.irrelevant))
            _check_direction(total)
            total = l2_normalize(total[None])[0]
        return total

    def _judged(self, image_ids: Sequence[int]) -> Matrix:
        """Return the unit vectors (n, dim) of pictures of the library, each once."""

        def rows() -> Matrix:
            return self.store.vectors_of(judged_pictures(self.store, image_ids)).astype(np.float32)

        return l2_normalize(self.store.consistently(rows)) if image_ids else np.zeros((0, 1), np.float32)

    def text_vectors(self, texts: Sequence[str]) -> list[Matrix]:
        """Return a unit vector (dim,) for each text, remembered ones without the encoder."""
        is_kept = self.remembered.is_wanted
        known = {text: self.remembered.get(text) if is_kept else None for text in texts}
        missing = [text for text, vector in known.items() if vector is None]
        if missing:
            encoder = self._encoder()
            for text, vector in zip(missing, encoder.encode_texts(missing), strict=True):
                known[text] = vector
                if is_kept:
                    self.remembered.put(text, vector, encoder.fingerprint)
        return [vector for text in texts if (vector := known[text]) is not None]

    def picture_vector(self, picture: Example | Term) -> Matrix:
        """Return the unit vector (dim,) of a picture, as the library has it or would have it.

        One whose contents are in the library is not decoded. A picture named by its id is what was indexed,
        whatever its file has become.
        """
        return self._picture(as_term(picture))[0]

    def picture_with_parts(self, picture: Example | Term) -> tuple[Matrix, PictureParts]:
        """Return the unit vector (dim,) of a picture and its parts, as the library has them or would have them.

        A picture whose parts the library does not have is read for them: as many as it keeps, else all that say
        something new. Of a `Term` with a box they are parts of that.
        """
        from mmsearch.encoders.parts import packed_parts, unpacked_parts
        from mmsearch.images.windows import PART_WINDOWS

        term = as_term(picture)
        known, read = self._looked_up(term)
        if known is not None and (parts := self._parts_of(known[1])) is not None:
            return known[0], parts
        pixels = self._pixels(term, read or self.read(term), with_parts=True)
        vectors, views = self._encoder().encode_windows(pixels[None])
        folder = self.store.as_folder
        most = (folder.parts.most if folder is not None else 0) or len(PART_WINDOWS)
        packed = packed_parts(views[0, 0], views[0, 1:], PART_WINDOWS, most)
        return as_stored(vectors)[0] if known is None else known[0], unpacked_parts(packed, self.store.dim)

    def read(self, term: Term) -> ReadExample:
        """Return the file of an example picture; errors are those of `read_example`."""
        return read_example(self.store, term, self._film_reader)

    def stored_as(self, picture: Example | Term, content_hash: bytes) -> list[ImageRecord]:
        """Return the pictures of the library that an example is: the one it names, or those of the same contents.

        `content_hash` is the sha256 of what was read of it.

        Raises
        ------
        QueryError
            If the library has no picture with this id.
        """
        return self._named(as_term(picture)) or self.store.images_with_hash(content_hash)

    def _picture(self, term: Term) -> tuple[Matrix, list[ImageRecord]]:
        """Return the unit vector (dim,) of a picture, and the pictures of the library that it is."""
        known, read = self._looked_up(term)
        if known is not None:
            return known
        pixels = self._pixels(term, read or self.read(term))
        return as_stored(self._encoder().encode_images(pixels[None]))[0], []

    def _looked_up(self, term: Term) -> tuple[tuple[Matrix, list[ImageRecord]] | None, ReadExample | None]:
        """Return the vector that the library has of a picture, with the pictures that it is, and what was read.

        Either is None: the library does not have the picture, or it was not read to tell.
        """
        stored = self.store.consistently(lambda: self._stored(self._named(term), term))
        if stored is not None:
            return stored, None
        read = self.read(term)
        if not isinstance(read.source, bytes) or term.box is not None:
            return None, read
        digest = sha256(read.source).digest()
        return self.store.consistently(lambda: self._stored(self.store.images_with_hash(digest), term)), read

    def _pixels(self, term: Term, read: ReadExample, *, with_parts: bool = False) -> Pixels:
        """Return what was read of a picture as pixels for the image tower."""
        encoder, limits = self._encoder(), limits_of(self.store, term)
        self._decoder().start()
        encoder.load_images()  # meanwhile
        with named(read.name):
            return self._decoder().pixels(
                read.source, encoder.preprocessing, box=read.box, limits=limits, with_parts=with_parts
            )

    def _parts_of(self, images: list[ImageRecord]) -> PictureParts | None:
        """Return the parts that the library has of a picture; None if it was not looked at for them."""
        folder, (image, *_) = self.store.as_folder, images
        return None if folder is None else folder.parts.of([image.image_id]).get(image.image_id)

    def _named(self, term: Term) -> list[ImageRecord]:
        """Return the picture of the library that a term names: by its id, or by the path of a file as indexed."""
        if term.box is not None or term.at is not None or isinstance(term.value, PictureBytes):
            return []
        if isinstance(term.value, int):
            return [_original_of_id(self.store, term.value)[0]]
        path = os.path.abspath(os.fsencode(term.value))
        known = self.store.image_at(path)
        return [known] if known is not None and _is_unchanged(self.store, path) else []

    def _stored(self, images: list[ImageRecord], term: Term) -> tuple[Matrix, list[ImageRecord]] | None:
        """Return the vector that pictures share, with them; None without any, or if their file is to be read."""
        if not images or not self.store.has_vectors:
            return None
        try:
            return l2_normalize(self.store.vectors_of(images[:1]).astype(np.float32))[0], images
        except LibraryDamagedError:
            if isinstance(term.value, int) and term.box is None:
                raise
            return None  # the file is there, and can be looked at again


def is_example(query: Query) -> bool:
    """Return whether a query is one example picture and nothing else."""
    is_alone = query.text is None and query.vector is None
    is_alone = is_alone and not (query.exclude or query.relevant or query.irrelevant)
    return len(query.images) == 1 and is_alone


def is_text(query: Query) -> bool:
    """Return whether a query is one text and nothing else but filters, whatever its weight."""
    is_alone = query.text is not None and query.vector is None
    return is_alone and not (query.images or query.exclude or query.relevant or query.irrelevant)


def text_of(query: Query) -> str | None:
    """Return the text of a query that is one and nothing else but filters; None for any other."""
    return str(as_term(query.text).value) if query.text is not None and is_text(query) else None


def n_texts_of(query: Query) -> int:
    """Return how many texts of a query are to be encoded."""
    return int(query.text is not None) + len(query.exclude)


def judged_pictures(store: LibraryStore, image_ids: Sequence[int]) -> list[ImageRecord]:
    """Return pictures of the library that were judged, each once.

    Raises
    ------
    QueryError
        If one is not in the library.
    """
    ids = list(dict.fromkeys(image_ids))
    images = store.images_of_ids(ids)
    missing = set(ids) - {image.image_id for image in images}
    if missing:
        raise QueryError(f"there is no picture {min(missing)} in the library; leave it out")
    return images


def as_term(value: Example | Term) -> Term:
    """Return a term of a query with its weight checked.

    Raises
    ------
    QueryError
        If the weight is not a finite number above 0.
    """
    term = value if isinstance(value, Term) else Term(value)
    as_positive(term.weight, f"the weight of {term.label!r}")
    return term


class ReadExample(NamedTuple):
    """The file of an example picture, its name, and the part of it that is meant, in its pixels; None for all.

    `zoom` is how many pixels of the original one of the file is, across and down: 1 but in frames of large films.
    """

    source: Source
    name: str
    box: Box | None
    zoom: tuple[float, float] = (1.0, 1.0)


def read_example(
    store: LibraryStore, term: Term, film_reader: Callable[[], FilmReader] | None = None
) -> ReadExample:
    """Return the file of an example picture; `film_reader` returns what reads the film of a moment.

    Raises
    ------
    QueryError
        If the library has no picture with this id.
    PictureError
        If the file cannot be read.
    """
    if isinstance(term.value, PictureBytes):
        if term.value.problem is not None:
            raise PictureError(term.value.problem.code, f"{term.value.name}: {term.value.problem}")
        return ReadExample(term.value.data, term.value.name, term.box)
    from mmsearch.images import read_file, unread_kind_of_name
    from mmsearch.images.kinds import FILM
    from mmsearch.processes.decoder import IndexedFile
    from mmsearch.query.frames import frame_at, indexed_frame, part_of_frame, zoom_of_frame

    if isinstance(term.value, int):
        if term.at is not None:
            raise QueryError(
                "a picture of the library is one moment of a film at most; leave `at` out, or name the film by its "
                "path"
            )
        image, content_hash = _original_of_id(store, term.value)
        if image.moment is not None:
            with named(image.path):
                frame = indexed_frame(in_folder(store, "films"), image, film_reader and film_reader())
                box, zoom = part_of_frame(term.box, image, frame), zoom_of_frame(image, frame)
                return ReadExample(frame, image.path, box, zoom)
        return ReadExample(IndexedFile(os.fsencode(image.path), content_hash), image.path, term.box)
    path = os.path.abspath(os.fsencode(term.value))
    with named(os.fsdecode(path)):
        if term.at is not None:
            return ReadExample(frame_at(path, term.at, film_reader and film_reader()), os.fsdecode(path), term.box)
        if unread_kind_of_name(path) == FILM and not is_gone(path):
            raise PictureError(
                "not_an_image",
                "this is a film; expected a picture, or for a search one moment of the film, in seconds, such as "
                "--at 12.5",
            )
        return ReadExample(read_file(path)[0], os.fsdecode(path), term.box)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Let what is wrong with a picture begin with its name."""
    try:
        yield
    except PictureError as error:
        raise type(error)(error.code, f"{name}: {error}") from error


def limits_of(store: LibraryStore, term: Term) -> Limits:
    """Return what decoding an example may take: what the library has accepted can be asked again."""
    from mmsearch.images import enough_for
    from mmsearch.processes.decoder import Limits

    if isinstance(term.value, PictureBytes):
        return Limits(store.max_megapixels)
    if isinstance(term.value, int):
        known: ImageRecord | None = _original_of_id(store, term.value)[0]
    else:
        known = store.image_at(os.path.abspath(os.fsencode(term.value)))
    return Limits.of_own(max(store.max_megapixels, 0 if known is None else enough_for(known.width, known.height)))


def texts_in(query: Query) -> list[tuple[Term, int]]:
    """Return the texts of a query with the sign of each; the checks that need no encoder are made here.

    Raises
    ------
    QueryError
        If there is nothing to look for, or a weight is not positive.
    """
    texts = [] if query.text is None else [(as_term(query.text), 1)]
    texts += [(as_term(text), -1) for text in query.exclude]
    if query.text is None and query.vector is None and not query.images and not query.relevant:
        raise QueryError("the query is empty; give a text, an example picture, a vector, or several of them")
    for term, _ in texts:
        if not isinstance(term.value, str) or not term.value.strip():
            raise QueryError("a text of the query is empty; write what the picture should show")
    return texts


def _check_direction(total: Matrix) -> None:
    if np.linalg.norm(total) < 1e-6:
        raise QueryError("the terms of the query cancel each other out; change a weight or leave one out")


def _original_of_id(store: LibraryStore, image_id: int) -> tuple[ImageRecord, bytes]:
    original = store.original(image_id)
    if original is None:
        raise QueryError(f"there is no picture {image_id} in the library; it may have left since it was found")
    return original


def _is_unchanged(store: LibraryStore, path: bytes) -> bool:
    """Return whether a file looks as it did when it was indexed."""
    known = next(iter(store.files_at([path])), None)
    try:
        return known is not None and FileLook.of(os.stat(path)).is_as(known.look)
    except OSError:
        return False
