"""POSTINGS of documents: which tokens stand in which of them and how often, as arrays that may stay in their file.

Documents are those of `mmsearch.store.documents`: tokens between single spaces.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsearch.annotations.tokens import SEPARATOR
from mmsearch.array_file import open_arrays, write_arrays
from mmsearch.errors import LibraryDamagedError
from mmsearch.file_array import FileArray

KIND = "texts"
Ids = NDArray[np.int64]
Places = NDArray[np.int32]
_MOST_COUNTED = 255  # of one token in one document: more weighs the same


@dataclass(frozen=True)
class Postings:
    """Tokens of n documents, each document by its place from 0 on.

    Parameters
    ----------
    image_ids : int64 array, shape (n,)
        Whose document is at each place.
    lengths : int32 array, shape (n,)
        How many tokens each has.
    tokens : tuple of bytes
        All tokens in UTF-8, in order.
    starts : int64 array, shape (n_tokens + 1,)
        Where the postings of each token begin, and those of the last end.
    places : int32 array or array in a file, shape (n_postings,)
        In which documents each token stands, by place.
    counts : uint8 array or array in a file, shape (n_postings,)
        How often it stands there, 255 at most.
    """

    image_ids: Ids
    lengths: NDArray[np.int32]
    tokens: Sequence[bytes]
    starts: Ids
    places: Places | FileArray[np.int32]
    counts: NDArray[np.uint8] | FileArray[np.uint8]

    @classmethod
    def of(cls, documents: Iterable[tuple[int, str]]) -> Postings:
        """Return the postings of documents, each given with the id of its picture."""
        number_of: dict[str, int] = {}
        image_ids, lengths, numbers = [], [], []
        for image_id, text in documents:
            tokens = [token for token in text.split(" ") if token != SEPARATOR]
            numbers += [number_of.setdefault(token, len(number_of)) for token in tokens]
            image_ids.append(image_id)
            lengths.append(len(tokens))
        places = np.repeat(np.arange(len(lengths)), lengths)
        return cls._sorted(
            np.array(image_ids, dtype=np.int64),
            np.array(lengths, dtype=np.int32),
            [token.encode() for token in number_of],
            (np.array(numbers, dtype=np.int64), places, np.ones(len(numbers), dtype=np.int64)),
        )

    @classmethod
    def merged(cls, parts: Sequence[tuple[Postings, NDArray[np.bool_]]]) -> Postings:
        """Return the documents of several postings as one, of each those that are marked."""
        number_of: dict[bytes, int] = {}
        columns: list[list[NDArray[Any]]] = [[], [], []]
        n = 0
        for part, is_kept in parts:
            numbers = np.array([number_of.setdefault(t, len(number_of)) for t in part.tokens], dtype=np.int64)
            places, moved = part.places[:], np.cumsum(is_kept) - 1 + n
            kept = is_kept[places]
            columns[0].append(np.repeat(numbers, np.diff(part.starts))[kept])
            columns[1].append(moved[places[kept]])
            columns[2].append(part.counts[:][kept].astype(np.int64))
            n += int(is_kept.sum())
        return cls._sorted(
            np.concatenate([part.image_ids[is_kept] for part, is_kept in parts]),
            np.concatenate([part.lengths[is_kept] for part, is_kept in parts]),
            list(number_of),
            (np.concatenate(columns[0]), np.concatenate(columns[1]), np.concatenate(columns[2])),
        )

    @classmethod
    def _sorted(
        cls, image_ids: Ids, lengths: NDArray[np.int32], tokens: list[bytes], postings: tuple[Ids, Ids, Ids]
    ) -> Postings:
        """Return postings, given as numbers of tokens, places and counts in any order, the same pair repeatedly."""
        order = sorted(range(len(tokens)), key=tokens.__getitem__)
        rank = np.empty(len(tokens), dtype=np.int64)
        rank[order] = np.arange(len(tokens))
        n = max(1, len(image_ids))
        pairs, place_of = np.unique(rank[postings[0]] * n + postings[1], return_inverse=True)
        counts = np.bincount(place_of, weights=postings[2], minlength=len(pairs))
        is_there = np.bincount(pairs // n, minlength=len(tokens))
        kept = np.flatnonzero(is_there)  # a token whose documents all left is none any more
        return cls(
            image_ids,
            lengths,
            [tokens[order[number]] for number in kept.tolist()],
            np.concatenate([[0], np.cumsum(is_there[kept])]).astype(np.int64),
            (pairs % n).astype(np.int32),
            np.minimum(counts, _MOST_COUNTED).astype(np.uint8),
        )

    def save(self, path: Path) -> None:
        """Write the postings to a file."""
        arrays: dict[str, NDArray[Any]] = {
            "image_ids": self.image_ids, "lengths": self.lengths, "starts": self.starts, "places": self.places[:],
            "counts": self.counts[:], "tokens": np.frombuffer(b"\n".join(self.tokens), dtype=np.uint8),
        }  # fmt: skip
        write_arrays(path, KIND, {}, arrays)

    @classmethod
    def open(cls, file: BinaryIO) -> Postings:
        """Open what `save` wrote and is known to be whole; what stands where is read when it is asked for."""
        arrays = open_arrays(file, KIND)
        tokens = arrays["tokens"][:].tobytes()
        opened = cls(
            arrays["image_ids"][:], arrays["lengths"][:], tokens.split(b"\n") if tokens else [],
            arrays["starts"][:], arrays["places"], arrays["counts"],
        )  # fmt: skip
        if len(opened.starts) != len(opened.tokens) + 1 or opened.starts[-1] != len(opened.places):
            raise LibraryDamagedError("the index of annotations is damaged; run `mmsearch verify --repair`")
        return opened

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.image_ids)

    def of_token(self, token: str, *, is_prefix: bool = False) -> tuple[Places, NDArray[np.uint8]]:
        """Return in which documents a token stands and how often; with `is_prefix` all tokens that begin so.

        Of several tokens a document that has more than one comes once for each.
        """
        wanted = token.encode()
        first = bisect_left(self.tokens, wanted)
        if is_prefix:
            last = bisect_left(self.tokens, wanted + b"\xff", lo=first)
        else:
            last = first + (first < len(self.tokens) and self.tokens[first] == wanted)
        start, end = int(self.starts[first]), int(self.starts[last])
        return self.places[start:end], self.counts[start:end]
