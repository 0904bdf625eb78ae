"""THINGS: pictures in, descriptors with what shows the same thing out; by known answers or by pictures alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mmsearch.datasets.captions import csv_rows, read_text
from mmsearch.datasets.sets import InstanceSet, picture_in, refuse_missing
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import GroundTruthError, PictureError, TrainingError
from mmsearch.evaluation.cache import write_array
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.images import read_file
from mmsearch.images.warps import VERSION, warps
from mmsearch.library import Library
from mmsearch.records import Matrix
from mmsearch.traces import Traces
from mmsearch.training.pairs import PairFeatures
from mmsearch.training.pictures import copies_in, joined

N_WARPS = 12
_SAME = 0.98  # cosine of originals without labels from which they are taken for pictures of one thing
_HEADING = ["a", "b", "y"]
_SIMILAR = {"1": True, "0": False}
_BATCH = 8


@dataclass(frozen=True)
class Shown:
    """What a training by pairs learns from.

    Attributes
    ----------
    features : PairFeatures
        Of pictures, and of warped copies of them after these.
    traces : uint8 array, shape (n_pictures, TRACE_BYTES)
        Of the pictures.
    bad : dict of Path to str
        What is wrong with others.
    """

    features: PairFeatures
    traces: Traces
    bad: dict[Path, str]


def pictures_of_library(library: Library) -> list[Path]:
    """Return the paths of all pictures of a library but films, in the order in which they came into it.

    Raises
    ------
    TrainingError
        If there are none.
    """
    pictures = [Path(picture.path) for picture in library if picture.moment is None]
    if not pictures:
        raise TrainingError(f"{library.address} has no pictures to learn from; index some with `mmsearch index`")
    return pictures


def features_of_instances(known: InstanceSet, encoder: SetEncoder) -> Shown:
    """Return the features of a set whose queries have relevant pictures.

    Whatever is relevant to one another in any of its tasks shows the same thing.
    """
    pictures = known.pictures
    readable, descriptors, bad = encoder.readable_pictures(known.name, pictures)
    row_of = {pictures[position]: row for row, position in enumerate(readable)}
    links = [
        (row_of[query], row_of[known.gallery[relevant]])
        for task in known.tasks.values()
        for query, answers in zip(known.queries, task.relevant, strict=True)
        for relevant in answers
        if query in row_of and known.gallery[relevant] in row_of
    ]
    asked, gallery = (
        np.isin(np.arange(len(readable)), [row_of[path] for path in paths if path in row_of])
        for paths in (known.queries, known.gallery)
    )
    traces = encoder.traces([pictures[position] for position in readable])
    features = PairFeatures.of_set(descriptors, joined(len(readable), links), asked, gallery, traces=traces)
    return Shown(features, traces, _by_path(pictures, bad))


def _by_path(pictures: Sequence[Path], bad: Mapping[int, str]) -> dict[Path, str]:
    return {pictures[position]: message for position, message in bad.items()}


@dataclass(frozen=True)
class PairTable:
    """A table of pairs: its pictures, and the positions of those that are similar and of those that are not."""

    name: str
    pictures: list[Path]
    similar: list[tuple[int, int]]
    dissimilar: list[tuple[int, int]]


def read_pairs(file: Path, *, images: Path | None = None) -> PairTable:
    """Return a table of pairs.

    Parameters
    ----------
    file : Path
        Comma-separated, with the heading `a,b,y`: two pictures, and 1 if they show the same thing, 0 if not.
    images : Path or None
        Folder that the names are relative to; default that of the file.

    Raises
    ------
    GroundTruthError
        If it is no such table, a picture is not on disk, or pairs contradict one another.
    """
    rows = csv_rows(file, read_text(file))
    heading = [name.strip().lower() for name in next(rows, [])]
    if heading != _HEADING:
        raise GroundTruthError(
            f"{file}: is no table of pairs; expected the columns a,b,y, found {','.join(heading)}"
        )
    pictures: dict[Path, int] = {}
    pairs: list[tuple[int, int, bool]] = []
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(_HEADING) or row[2].strip() not in _SIMILAR:
            raise GroundTruthError(
                f"{file}, line {number}: is not two pictures and 1 or 0; found {','.join(row)[:80]!r}"
            )
        places = [
            pictures.setdefault(
                picture_in(f"{file}, line {number}", images or file.parent, name.strip()), len(pictures)
            )
            for name in row[:2]
        ]
        pairs.append((places[0], places[1], _SIMILAR[row[2].strip()]))
    refuse_missing(file.stem, pictures)
    links = [(first, second) for first, second, is_similar in pairs if is_similar]
    things = joined(len(pictures), links)
    paths = list(pictures)
    for first, second, is_similar in pairs:
        if not is_similar and things[first] == things[second]:
            raise GroundTruthError(
                f"{file}: {paths[first]} and {paths[second]} are not similar, but by other pairs they are; correct "
                "one of them"
            )
    return PairTable(file.stem, paths, links, [(a, b) for a, b, is_similar in pairs if not is_similar])


def features_of_pairs(table: PairTable, encoder: SetEncoder) -> Shown:
    """Return the features of the pictures of a table of pairs."""
    readable, descriptors, bad = encoder.readable_pictures(table.name, table.pictures)
    row_of = {position: row for row, position in enumerate(readable)}
    similar, dissimilar = (
        [(row_of[a], row_of[b]) for a, b in pairs if a in row_of and b in row_of]
        for pairs in (table.similar, table.dissimilar)
    )
    traces = encoder.traces([table.pictures[position] for position in readable])
    things = joined(len(readable), similar)
    features = PairFeatures.of_set(descriptors, things, traces=traces, dissimilar=dissimilar)
    return Shown(features, traces, _by_path(table.pictures, bad))


class WarpedPictures:
    """Pictures without labels, each beside warped copies of itself; descriptors of copies are kept as texts are.

    Parameters
    ----------
    encoder : SetEncoder
        The base.
    n_warps : int > 0
        Copies of every picture.
    """

    def __init__(self, encoder: SetEncoder, n_warps: int = N_WARPS) -> None:
        self.encoder, self.n_warps = encoder, n_warps

    def features(self, name: str, pictures: Sequence[Path], links: Sequence[tuple[int, int]] = ()) -> Shown:
        """Return the features of pictures and of their copies.

        Copies ask for the picture that they are of. Pictures that are nearly the same show the same thing, and so
        do those that `links` join, pairs of positions in `pictures`.
        """
        readable, originals, bad = self.encoder.readable_pictures(name, pictures)
        traces = self.encoder.traces([pictures[position] for position in readable])
        wrong = _by_path(pictures, bad)
        descriptors, rows = [originals], [np.arange(len(readable))]
        for row, position in enumerate(readable):
            behind = pictures[readable[(row * 7919 + 1) % len(readable)]]
            try:
                copies = self._copies(pictures[position], behind)
            except PictureError as error:  # it changed meanwhile
                wrong[pictures[position]] = str(error)
                continue
            descriptors.append(copies)
            rows.append(np.full(len(copies), row))
            self.encoder.on_progress("warps", row + 1, len(readable))
        owners = np.concatenate(rows)
        row_of = {position: row for row, position in enumerate(readable)}
        verified = [(row_of[a], row_of[b]) for a, b in links if a in row_of and b in row_of]
        same = [*_nearly_the_same(originals), *copies_in(originals, traces), *verified]
        things = joined(len(readable), same)[owners]
        is_original = np.arange(len(owners)) < len(readable)
        features = PairFeatures.of_set(
            np.concatenate(descriptors), things, ~is_original, is_original, traces=traces
        )
        return Shown(features, traces, wrong)

    def _copies(self, picture: Path, behind: Path) -> Matrix:
        data, ground = (read_file(os.fsencode(path))[0] for path in (picture, behind))
        digest = sha256(data)
        seed = int.from_bytes(digest.digest()[:4])
        digest.update(sha256(ground).digest())
        file = self.encoder.folder / f"warps-{VERSION}" / f"{digest.hexdigest()[:32]}-{self.n_warps}.npy"
        shape = (self.n_warps, self.encoder.encoder.dim)
        try:
            kept: Matrix = np.load(file, allow_pickle=False).astype(np.float32)
            if kept.shape == shape and np.isfinite(kept).all():
                return kept
        except (OSError, ValueError, EOFError):
            pass  # not there yet, or damaged: made anew
        vectors = _encoded(self.encoder.encoder, data, ground, self.n_warps, seed)
        write_array(file, vectors.astype(np.float16))
        return vectors.astype(np.float16).astype(np.float32)


def _encoded(encoder: OnnxEncoder, data: bytes, ground: bytes, n: int, seed: int) -> Matrix:
    pixels = warps(data, ground, encoder.preprocessing, n=n, seed=seed)
    return np.concatenate([encoder.encode_images(pixels[i : i + _BATCH]) for i in range(0, n, _BATCH)])


def _nearly_the_same(originals: Matrix) -> list[tuple[int, int]]:
    """Return pairs of rows whose cosine is that of pictures of one thing, one moment after another."""
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(originals), 1024):
        cosines = originals[start : start + 1024] @ originals.T
        rows, columns = np.nonzero(cosines > _SAME)
        pairs += [(start + row, column) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]
    return [(first, second) for first, second in pairs if first < second]
