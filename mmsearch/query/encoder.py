"""ENCODER: what people embed with as a library does: texts and pictures in, unit vectors of its space out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from mmsearch.arguments import texts_of
from mmsearch.errors import PictureError
from mmsearch.query.encode import TEXTS_TOGETHER, TermEncoder
from mmsearch.records import Example, Matrix, PictureBytes, PictureParts, Term, examples_of
from mmsearch.store.base import LibraryStore

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder

    Picture: TypeAlias = str | int | PictureBytes | Term
T = TypeVar("T")


class Encoder:
    """The encoder of a library; `Library.encoder` gives it, and its towers are loaded when they are first used.

    Its vectors are those that the library compares: float32 (n, dim), of unit length, in the order of what was
    given. Like its library it belongs to one thread.

    Parameters
    ----------
    store : callable
        Returns the library, opened for reading.
    installed : callable
        Returns the towers, or raises EncoderError if the library has none.
    terms : callable
        Returns what encodes pictures.
    check : callable
        Called between texts and pictures; what it raises ends the work.
    """

    def __init__(
        self,
        store: Callable[[], LibraryStore],
        installed: Callable[[], OnnxEncoder],
        terms: Callable[[], TermEncoder],
        check: Callable[[], None],
    ) -> None:
        self._store, self._installed, self._terms, self._check = store, installed, terms, check

    @property
    def name(self) -> str:
        """The model, as `index --model` knows it."""
        return self._installed().name

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over all that decides the vectors: those of two fingerprints cannot be compared."""
        return self._installed().fingerprint

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._installed().dim

    @property
    def has_words(self) -> bool:
        """Whether it encodes texts too."""
        return self._installed().has_words

    @property
    def logit_scale(self) -> float:
        """Multiplier of cosines before the softmax of a zero-shot classifier (1 / temperature)."""
        return self._installed().logit_scale

    def encode_texts(self, texts: str | Iterable[str]) -> Matrix:
        """Return the unit vectors of texts.

        Parameters
        ----------
        texts : str, or several
            Longer ones are cut to the context of the text tower.

        Returns
        -------
        float32 array, shape (n, dim)
            In the order of the texts.

        Raises
        ------
        QueryError
            If the encoder knows no words.
        NoEncoderError
            If the library has no encoder.
        """
        given = texts_of(texts, "texts")

        def encoded() -> Matrix:
            parts = [np.zeros((0, self.dim), dtype=np.float32)]
            for start in range(0, len(given), TEXTS_TOGETHER):
                self._check()
                parts.append(self._installed().encode_texts(given[start : start + TEXTS_TOGETHER]))
            return np.concatenate(parts)

        self._installed().require_words()
        return self._store().of_one_encoder(encoded)

    def encode_images(self, images: Example | Term | Iterable[Example | Term]) -> Matrix:
        """Return the unit vectors of pictures; those in the library are not decoded again.

        Parameters
        ----------
        images : path, id, picture that is held or Term, or several
            As for `Query`; a Term with a box is a part of a picture.

        Returns
        -------
        float32 array, shape (n, dim)
            In the order of the pictures.

        Raises
        ------
        PictureError
            If any cannot be used; all that cannot are named. `encode_readable` gives the others.
        NoEncoderError
            If the library has no encoder.
        """
        given = examples_of(images, "images")
        _, vectors, errors = self._encoded(given)
        if errors:
            first, named = next(iter(errors.values())), [f"images[{place}]: {e}" for place, e in errors.items()]
            raise PictureError(
                first.code, f"{len(errors)} of {len(given)} pictures cannot be used; {'; '.join(named)}"
            ) from first
        return vectors

    def encode_readable(
        self, images: Example | Term | Iterable[Example | Term]
    ) -> tuple[list[int], Matrix, dict[int, str]]:
        """Return the unit vectors of the pictures that can be used, and what is wrong with the others.

        Returns
        -------
        readable : list of int
            Positions in `images` of the pictures that could be used.
        vectors : float32 array, shape (n_readable, dim)
            Theirs, in this order.
        errors : dict of int to str
            For every other position what is wrong with the picture.
        """
        readable, vectors, errors = self._encoded(examples_of(images, "images"))
        return readable, vectors, {position: str(error) for position, error in errors.items()}

    def encode_readable_parts(
        self, images: Example | Term | Iterable[Example | Term]
    ) -> tuple[list[int], Matrix, list[PictureParts], dict[int, str]]:
        """Return what `encode_readable` does, and after the vectors the parts of each of these pictures.

        Parts that the library has are taken from it; other pictures are decoded, and looked at 14 times.
        """
        encoded, errors = self._each(examples_of(images, "images"), TermEncoder.picture_with_parts)
        vectors = self._stacked([vector for vector, _ in encoded.values()])
        parts = [parts for _, parts in encoded.values()]
        return list(encoded), vectors, parts, {position: str(error) for position, error in errors.items()}

    def _encoded(self, images: Sequence[Picture]) -> tuple[list[int], Matrix, dict[int, PictureError]]:
        vectors, errors = self._each(images, TermEncoder.picture_vector)
        return list(vectors), self._stacked(list(vectors.values())), errors

    def _stacked(self, vectors: Sequence[Matrix]) -> Matrix:
        return np.stack(vectors) if vectors else np.zeros((0, self._store().dim), np.float32)

    def _each(
        self, images: Sequence[Picture], encode: Callable[[TermEncoder, Picture], T]
    ) -> tuple[dict[int, T], dict[int, PictureError]]:
        """Return what one encoder makes of pictures, and the errors of those that cannot be used, by position."""

        def encoded() -> tuple[dict[int, T], dict[int, PictureError]]:
            terms, vectors, errors = self._terms(), dict[int, T](), dict[int, PictureError]()
            for position, image in enumerate(images):
                self._check()
                try:
                    vectors[position] = encode(terms, image)
                except PictureError as error:
                    errors[position] = error
            return vectors, errors

        return self._store().of_one_encoder(encoded)
