"""The visual vocabulary: descriptors in; their words, and 64-bit signatures inside the words, out.

Words: J. Sivic and A. Zisserman, Video Google, ICCV 2003; signatures: H. Jegou,
M. Douze and C. Schmid, Hamming embedding and weak geometric consistency, ECCV 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import log2
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.array_file import load_arrays, write_arrays
from mmsearch.errors import DimensionError, VocabularyError
from mmsearch.kmeans import kmeans, kmeans_in_cells, squared_distances
from mmsearch.records import Cosines, LocalFeatures, Matrix

N_BITS = 64
MIN_WORDS, MAX_WORDS = 256, 65_536
MAX_EXACT = 4096  # words up to which every centroid is compared
Words: TypeAlias = NDArray[np.int32]
Signatures: TypeAlias = NDArray[np.uint64]
NearestRows: TypeAlias = Callable[[Matrix, int], tuple[Cosines, NDArray[np.int64]]]
_KIND = "vocabulary"
_MEDIAN_PRIOR = 4.0  # descriptors that the centroid counts for beside those of a word


def suggested_n_words(n_descriptors: int) -> int:
    """Return the power of two nearest to n_descriptors / 16, within 256 and 65,536.

    Examples
    --------
    >>> suggested_n_words(100), suggested_n_words(100_000), suggested_n_words(10**9)
    (256, 8192, 65536)
    """
    power = round(log2(max(n_descriptors, 16) / 16))
    return int(np.clip(1 << power, MIN_WORDS, MAX_WORDS))


@dataclass(frozen=True)
class ImageWords:
    """The features of one picture as visual words.

    A query may give several words to a feature: `features` is the number of the feature behind each row.

    Parameters
    ----------
    words : int32 array, shape (n,)
    signatures : uint64 array, shape (n,)
        Hamming embedding inside the word.
    positions : float32 array, shape (n, 2)
        x and y in pixels of the frame.
    scales, angles : float32 arrays, shape (n,)
        Pixels of the frame, and degrees.
    features : int64 array, shape (n,)
        Position in the `LocalFeatures` they come from.
    """

    words: Words
    signatures: Signatures
    positions: Matrix
    scales: NDArray[np.float32]
    angles: NDArray[np.float32]
    features: NDArray[np.int64]

    @property
    def n_features(self) -> int:
        """Number of different features."""
        return len(np.unique(self.features))


@dataclass(frozen=True)
class Vocabulary:
    """Visual words of one local extractor. Immutable; may be shared between threads.

    Parameters
    ----------
    extractor : str
        Name and version of what made the descriptors.
    centroids : float32 array, shape (n_words, dim)
        The words.
    projection : float32 array, shape (64, dim)
        Orthonormal rows; one bit of the signature each.
    medians : float32 array, shape (n_words, 64)
        Median projection of the descriptors of every word: what a bit is compared with.
    nearest : callable, optional
        Search by inner product among `lifted_centroids`, as `VectorIndex.search` does. Without it all words are
        compared, which for more than `MAX_EXACT` words takes longer than a graph does.
    """

    extractor: str
    centroids: Matrix
    projection: Matrix
    medians: Matrix
    nearest: NearestRows | None = field(default=None, repr=False)

    @property
    def n_words(self) -> int:
        """Number of words."""
        return len(self.centroids)

    @property
    def dim(self) -> int:
        """Width of the descriptors."""
        return int(self.centroids.shape[1])

    @classmethod
    def train(
        cls,
        descriptors: Matrix,
        n_words: int | None = None,
        *,
        extractor: str,
        seed: int = 0,
        max_iterations: int = 20,
        on_iteration: Callable[[int, float], None] = lambda n, inertia: None,
    ) -> Vocabulary:
        """Learn a vocabulary.

        Parameters
        ----------
        descriptors : float32 array, shape (n, dim)
            Of many pictures; n >= n_words, dim >= 64. Not modified.
        n_words : int, optional
            `suggested_n_words(n)` if not given. Equal words are left out, so that there are fewer where there are
            fewer different descriptors.
        extractor : str
            Name and version of what made the descriptors.
        seed : int
            Same seed, same vocabulary.
        max_iterations : int
            Of k-means: later ones move little.
        on_iteration : callable
            Given the number of iterations of k-means done, and the inertia.

        Raises
        ------
        VocabularyError
            If the descriptors are too narrow for signatures.
        VectorError
            If there are too few, or they are not finite.

        Notes
        -----
        Takes 2 * n * n_words * dim operations an iteration; above 4096 words, whose k-means is done in cells, a
        hundredth of that.
        """
        dim = descriptors.shape[1]
        if dim < N_BITS:
            raise VocabularyError(f"descriptors have {dim} dimensions, signatures of {N_BITS} bits need {N_BITS}")
        n_words = n_words or suggested_n_words(len(descriptors))
        run = kmeans_in_cells if n_words > MAX_EXACT else partial(kmeans, seeding="sampled")
        fitted = run(
            descriptors,
            n_words,
            seed=seed,
            max_iterations=max_iterations,
            tolerance=1e-3,
            on_iteration=on_iteration,
        )
        _, rows, numbers = np.unique(fitted.centroids, axis=0, return_index=True, return_inverse=True)
        kept = np.sort(rows)
        centroids, words = fitted.centroids[kept], np.searchsorted(kept, rows[numbers.reshape(-1)])[fitted.labels]
        gaussian = np.random.default_rng(seed).standard_normal((dim, dim))
        projection = np.linalg.qr(gaussian)[0][:N_BITS].astype(np.float32)
        medians = _medians(words, descriptors @ projection.T, centroids @ projection.T)
        return cls(extractor, centroids, projection, medians)

    def assign(self, descriptors: Matrix) -> Words:
        """Return the nearest word of every descriptor, the first of equally near ones.

        Parameters
        ----------
        descriptors : float32 array, shape (n, dim)
            Not modified.

        Returns
        -------
        int32 array, shape (n,)

        Raises
        ------
        DimensionError
            If the descriptors have another width than the words.
        """
        return self.assign_several(descriptors, 1)[:, 0]

    def assign_several(self, descriptors: Matrix, k: int) -> Words:
        """Return the min(k, n_words) nearest words (n, k) of every descriptor, nearest first; see `assign`."""
        self._check_width(descriptors)
        k = min(k, self.n_words)
        if self.nearest is not None and len(descriptors):
            _, rows = self.nearest(lifted(descriptors), k)
            if rows.shape[1] == k:  # a graph may reach fewer
                return rows.astype(np.int32)
        words = np.empty((len(descriptors), k), dtype=np.int32)
        for part, distances in squared_distances(descriptors, self.centroids):
            words[part] = _smallest(distances, k)
        return words

    def quantise(self, features: LocalFeatures, k: int = 1) -> ImageWords:
        """Return the features of a picture as words: one each for the gallery, the k nearest for a query."""
        words = self.assign_several(features.descriptors, k)
        rows = np.repeat(np.arange(len(features)), words.shape[1])
        words = words.ravel()
        return ImageWords(
            words, self.signatures(features.descriptors[rows], words), features.positions[rows],
            features.scales[rows], features.angles[rows], rows,
        )  # fmt: skip

    def lifted_centroids(self) -> Matrix:
        """Return unit vectors (n_words, dim + 2), whose inner products with `lifted` descriptors rank by distance.

        x.c - ||c||^2 / 2 is largest for the centroid nearest to x; the last value makes all lengths equal.
        """
        half_squares = np.einsum("kd,kd->k", self.centroids, self.centroids) / 2
        lengths = 2 * half_squares + half_squares**2
        rest = np.sqrt(np.maximum(lengths.max() - lengths, 0))
        raised = np.column_stack([self.centroids, -half_squares, rest])
        result: Matrix = (raised / np.sqrt(lengths.max() or 1)).astype(np.float32)
        return result

    def signatures(self, descriptors: Matrix, words: Words) -> Signatures:
        """Return the Hamming embedding of descriptors inside their words.

        Bit b is set if the projection on row b is above the median of the word. Signatures are only comparable
        inside a word.

        Parameters
        ----------
        descriptors : float32 array, shape (n, dim)
            Not modified.
        words : int32 array, shape (n,)
            The word of every descriptor.

        Returns
        -------
        uint64 array, shape (n,)
        """
        self._check_width(descriptors)
        bits = descriptors @ self.projection.T > self.medians[words]
        packed: Signatures = np.packbits(bits, axis=1, bitorder="little").view("<u8")[:, 0].astype(np.uint64)
        return packed

    def save(self, path: Path) -> None:
        """Write everything into one file of plain arrays."""
        arrays = {"centroids": self.centroids, "projection": self.projection, "medians": self.medians}
        write_arrays(path, _KIND, {"extractor": self.extractor}, arrays)

    @classmethod
    def load(cls, source: Path | BinaryIO, *, extractor: str) -> Vocabulary:
        """Return a vocabulary from its file, given by its path or open at its start.

        Raises
        ------
        VocabularyError
            If the file is damaged or something else, or the vocabulary belongs to another extractor.
        OSError
            If the file cannot be read.
        """
        facts, arrays = load_arrays(source, _KIND)
        path = source if isinstance(source, Path) else source.name
        if facts.get("extractor") != extractor:
            raise VocabularyError(
                f"{path} holds words for {facts.get('extractor')}, expected {extractor}; train a vocabulary on "
                "pictures described by that"
            )
        shapes = {name: array.shape for name, array in arrays.items()}
        n_words, dim = shapes.get("centroids", (0,))[0], shapes.get("centroids", (0, 0))[-1]
        expected = {"centroids": (n_words, dim), "projection": (N_BITS, dim), "medians": (n_words, N_BITS)}
        is_float = all(array.dtype == np.float32 for array in arrays.values())
        if shapes != expected or n_words == 0 or not is_float or not _are_finite(arrays["centroids"]):
            raise VocabularyError(f"{path} holds no vocabulary ({shapes}); copy or make it again")
        return cls(extractor, arrays["centroids"], arrays["projection"], arrays["medians"])

    def _check_width(self, descriptors: Matrix) -> None:
        if descriptors.shape[-1] != self.dim:
            raise DimensionError(
                f"descriptors have {descriptors.shape[-1]} dimensions, the vocabulary has {self.dim}; "
                "was it trained with another extractor?"
            )


def lifted(descriptors: Matrix) -> Matrix:
    """Return descriptors (n, dim + 2) to compare with `Vocabulary.lifted_centroids` by inner product."""
    n = len(descriptors)
    return np.column_stack([descriptors, np.ones(n, np.float32), np.zeros(n, np.float32)])


def _are_finite(values: Matrix) -> bool:
    return bool(np.isfinite(values).all())


def _smallest(distances: Matrix, k: int) -> NDArray[np.int64]:
    """Return the columns of the k smallest values of each row, smallest first, ties by the first column."""
    if k == 1:
        nearest: NDArray[np.int64] = distances.argmin(axis=1)[:, None]
        return nearest
    columns = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
    order = np.take_along_axis(distances, columns, axis=1).argsort(axis=1, kind="stable")
    sorted_columns: NDArray[np.int64] = np.take_along_axis(columns, order, axis=1)
    return sorted_columns


def _medians(words: NDArray[np.int64], projected: Matrix, of_centroids: Matrix) -> Matrix:
    """Return the median projection (n_words, 64) of every word, drawn to its centroid's where few are known."""
    counts = np.bincount(words, minlength=len(of_centroids))
    order = np.argsort(words, kind="stable")
    medians = of_centroids.copy()
    groups = np.split(projected[order], np.cumsum(counts)[:-1])
    for word in np.flatnonzero(counts):
        share = counts[word] / (counts[word] + _MEDIAN_PRIOR)
        medians[word] += share * (np.median(groups[word], axis=0) - medians[word])
    return medians
