"""Vectors of benchmark sets: encoded once under the encoder's fingerprint, and kept as they are made.

Pictures go through the write path of an ordinary library in the cache folder, so a benchmark that is killed goes on
where it was, a picture that cannot be read is named, and what is measured is what a search would use.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from mmsearch.arguments import AskedViews, Variant
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import GroundTruthError, LibraryLockedError, PictureError
from mmsearch.evaluation.cache import vectors_folder, write_array, write_kept
from mmsearch.evaluation.records import Bad, EncoderFacts
from mmsearch.images import read_file
from mmsearch.images.copies import part_of_picture, small_square
from mmsearch.images.read import file_digest
from mmsearch.library import Library
from mmsearch.records import Box, Matrix
from mmsearch.store.base import OnProgress
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.place import is_library
from mmsearch.system import n_cores
from mmsearch.traces import SIDE, Traces, traces_of

_PATIENCE_S = 0.5
_TEXTS = 1024  # texts kept in one file
_SQUARES = 1  # version of the small pictures of traces; another whenever they are made in another way
NO_GRAPH = GraphSettings(graph_from=1 << 62)  # all scores are wanted, so they are all computed


class SetEncoder:
    """One encoder for benchmark sets.

    Parameters
    ----------
    model : str
        As for `Library.index`.
    cache : Path
        Where exported encoders and vectors are kept.
    is_resuming : bool
        Use the vectors that earlier runs left; False encodes what this run asks for anew, and keeps that.
    on_progress : callable
        Given (stage, done, total) with stage `scan`, `embed`, `texts` or `copies`.
    notify : callable
        Given sentences worth showing.
    views : int
        How often pictures are looked at, as for `Library.index`.
    """

    def __init__(
        self,
        model: str,
        *,
        cache: Path,
        is_resuming: bool = True,
        on_progress: OnProgress = lambda stage, done, total: None,
        notify: Callable[[str], None] = lambda sentence: None,
        views: AskedViews = 1,
    ) -> None:
        folder = prepare_encoder(model, cache=cache, notify=notify, variant=Variant(views=views))
        self.encoder = OnnxEncoder.open(folder, threads=n_cores())
        self.cache, self.on_progress = cache, on_progress
        self._library = vectors_folder(cache, self.encoder.fingerprint)
        self.folder = self._library.parent
        self._is_resuming, self._notify = is_resuming, notify

    def pictures(self, paths: Sequence[Path]) -> tuple[list[int], Matrix, dict[int, str]]:
        """Return positions of the readable pictures, their unit vectors, and what is wrong with the others."""
        with Library.open(self._library, cache=self.cache, use_graph=False) as library:
            self.when_free(lambda: self._bring_up_to_date(library, paths))
            return library.encoder.encode_readable(paths)

    def _bring_up_to_date(self, library: Library, paths: Sequence[Path]) -> None:
        if not self._is_resuming and is_library(library.folder):
            library.remove(paths)
        library.index(
            paths, model=self.encoder.name, views=self.encoder.preprocessing.views, settings=NO_GRAPH, local=False,
            on_progress=self.on_progress,
        )  # fmt: skip

    def when_free(self, write: Callable[[], object]) -> None:
        """Write to a library of benchmarks, after another one that is doing so."""
        is_told = False
        while True:
            try:
                write()
                return
            except LibraryLockedError:
                if not is_told:
                    self._notify(f"another benchmark is encoding with {self.encoder.name}; waiting for it")
                is_told = True
                time.sleep(_PATIENCE_S)

    def readable_pictures(self, set_name: str, paths: Sequence[Path]) -> tuple[list[int], Matrix, dict[int, str]]:
        """Return the same, or raise GroundTruthError if no picture of the set can be read."""
        readable, vectors, bad = self.pictures(paths)
        if not readable:
            raise GroundTruthError(
                f"{set_name}: none of its {len(paths)} pictures can be read; the first: {bad[0]}"
            )
        return readable, vectors, bad

    def cut_parts(
        self, pictures: Sequence[Path], boxes: Sequence[Box | None]
    ) -> tuple[dict[int, Path], dict[int, str]]:
        """Return by position the picture, or a file of the part of it that a box wants, and what cannot be cut."""
        files: dict[int, Path] = {}
        bad: dict[int, str] = {}
        for position, (path, box) in enumerate(zip(pictures, boxes, strict=True)):
            try:
                files[position] = path if box is None else self._part(path, box)
            except PictureError as error:
                bad[position] = f"{path}: {error}"
        return files, bad

    def _part(self, path: Path, box: Box) -> Path:
        data, _ = read_file(os.fsencode(path))
        key = sha256(sha256(data).digest() + repr(box).encode()).hexdigest()[:32]
        file = self.cache / "benchmarks" / "parts" / f"{key}.png"
        if not file.is_file():
            write_kept(file, part_of_picture(data, box))
        return file

    def traces(self, paths: Sequence[Path]) -> Traces:
        """Return traces uint8 (n, TRACE_BYTES) of pictures, zeros for those that cannot be read.

        Files are read and hashed, 0.3 ms each; they are decoded at a small scale once, and what is seen is kept.
        """
        digests = np.zeros((len(paths), 32), dtype=np.uint8)
        for row, path in enumerate(paths):
            with suppress(PictureError):
                digests[row] = np.frombuffer(file_digest(os.fsencode(path)), dtype=np.uint8)
        key = sha256(digests.tobytes()).hexdigest()[:32]
        return traces_of(
            digests, self._kept_squares(self.cache / "benchmarks" / f"copies-{_SQUARES}" / f"{key}.npy", paths)
        )

    def _kept_squares(self, file: Path, paths: Sequence[Path]) -> Traces:
        with suppress(OSError, ValueError, EOFError):  # not there yet, or damaged: made anew
            kept: Traces = np.load(file, allow_pickle=False)
            if kept.shape == (len(paths), SIDE, SIDE, 3) and kept.dtype == np.uint8 and self._is_resuming:
                return kept
        squares = np.zeros((len(paths), SIDE, SIDE, 3), dtype=np.uint8)
        for row, path in enumerate(paths):
            with suppress(PictureError):
                squares[row] = small_square(read_file(os.fsencode(path))[0], SIDE)
            self.on_progress("copies", row + 1, len(paths))
        write_array(file, squares)
        return squares

    def texts(self, texts: Sequence[str]) -> Matrix:
        """Return the unit vectors float32 (n_texts, dim) of texts."""
        parts = [np.zeros((0, self.encoder.dim), dtype=np.float32)]
        for start in range(0, len(texts), _TEXTS):
            part = texts[start : start + _TEXTS]
            key = sha256("\0".join(part).encode("utf-8", "surrogatepass")).hexdigest()[:32]
            parts.append(self._kept_texts(self.folder / "texts" / f"{key}.npy", part))
            self.on_progress("texts", start + len(part), len(texts))
        return np.concatenate(parts)

    def _kept_texts(self, file: Path, texts: Sequence[str]) -> Matrix:
        try:
            if not self._is_resuming:
                raise FileNotFoundError
            kept: Matrix = np.load(file, allow_pickle=False)
            is_whole = kept.shape == (len(texts), self.encoder.dim) and kept.dtype == np.float32
            if is_whole and np.abs(np.einsum("ij,ij->i", kept, kept) - 1).max(initial=0) < 1e-3:
                return kept
        except (OSError, ValueError, EOFError):
            pass  # not there yet, or damaged: made anew
        vectors = self.encoder.encode_texts(texts)
        write_array(file, vectors)
        return vectors


def names_of(encoders: Sequence[SetEncoder]) -> list[str]:
    """Return the models of encoders."""
    return [encoder.encoder.name for encoder in encoders]


def refuse_repeated(names: Sequence[str]) -> None:
    """Raise GroundTruthError if two systems are the same model or file: there is nothing to compare."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise GroundTruthError(f"model {repeated[0]} was given twice; expected different models to compare")


def require_words(encoders: Sequence[SetEncoder]) -> None:
    """Raise QueryError if an encoder knows no words, before anything is encoded for its benchmark."""
    for encoder in encoders:
        encoder.encoder.require_words()


def described_encoders(encoders: Sequence[SetEncoder]) -> dict[str, EncoderFacts]:
    """Return what a report says of its encoders, by name."""
    loaded = [encoder.encoder for encoder in encoders]
    return {encoder.name: {"fingerprint": encoder.fingerprint, "dim": encoder.dim} for encoder in loaded}


def bad_pictures(pictures: Sequence[Path], bad: Mapping[int, str]) -> list[Bad]:
    """Return what a report says of the pictures that could not be read, by their positions."""
    return [{"path": str(pictures[position]), "message": message} for position, message in bad.items()]
