"""SKETCHES: unit vectors in, short rows of small integers out, whose products stand for cosines.

A sketch keeps of a picture what queries tell pictures apart by. The projection is fitted to pictures and typical
queries together, in closed form, after M. Tepper et al., LeanVec: searching vectors faster by making them fit,
2023; each of its dimensions is rounded to int8. A product of sketches is a sum of integers below 2**24, which
float32 holds exactly: the same bits whatever the number of threads, alone or in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Matrix

Sketches = NDArray[np.int8]
Wide = NDArray[np.float64]
LARGEST = 127
"""The largest value in a sketch."""
_RIDGE = 1e-4  # of the mean variance of pictures: no direction of theirs is without any
_SHRINKAGE = 0.02  # of the second moments of queries towards those of queries in any direction
_ROOM = 1.25  # over the largest value of the sample: what is cut off is lost just where scores are best
_STEPS = 1 << 14  # of a map's largest value: what is left is the same however many threads added it up
_NEGLIGIBLE = 0.01  # of the ridge: where pictures vary by less, any turn of the axes would be as good


@dataclass(frozen=True)
class Projection:
    """What makes sketches of pictures and of queries.

    Parameters
    ----------
    mean : float32 array, shape (dim,)
        Of the pictures: sketches are of what a picture differs from it by.
    of_queries, of_pictures : float32 array, shape (dim, width)
        For a query q and a picture x, q (x - mean) is nearly (q of_queries) (x - mean) of_pictures. The first
        dimensions carry most.
    steps : float32 array, shape (width,)
        What 1 in a sketch of a picture stands for.
    """

    mean: Matrix
    of_queries: Matrix
    of_pictures: Matrix
    steps: Matrix

    @property
    def width(self) -> int:
        """Dimensions of a sketch."""
        return len(self.steps)

    def narrowed(self, width: int) -> Projection:
        """Return the projection to the first dimensions."""
        return Projection(self.mean, self.of_queries[:, :width], self.of_pictures[:, :width], self.steps[:width])

    def of(self, vectors: Matrix) -> Sketches:
        """Return the sketches int8 (n, width) of pictures float32 (n, dim), unit rows."""
        scaled = self.of_pictures.astype(np.float64) / self.steps
        # In double precision, so that no order of adding up can show after the rounding.
        values = np.rint((vectors.astype(np.float64) - self.mean) @ scaled)
        return np.clip(values, -LARGEST, LARGEST).astype(np.int8)

    def queries(self, queries: Matrix) -> Matrix:
        """Return integers float32 (n, width) for queries float32 (n, dim): exact products with sketches."""
        values = (queries.astype(np.float64) @ self.of_queries) * self.steps
        largest = np.abs(values).max(axis=1, initial=0, keepdims=True)
        scale = largest_of_query(self.width) / np.where(largest > 0, largest, 1)
        return np.rint(values * scale).astype(np.float32)


def largest_of_query(width: int) -> int:
    """Return the largest integer in a query: with it, no product with a sketch reaches 2**24."""
    return 2**24 // (LARGEST * max(1, width))


def fitted(pictures: Matrix, texts: Matrix, width: int) -> Projection:
    """Return the projection that keeps most of the products of queries and pictures.

    Parameters
    ----------
    pictures : float32 array, shape (n, dim)
        A sample of unit rows, which stand for queries by a picture too.
    texts : float32 array, shape (n_texts, dim)
        Typical queries by words, unit rows; none where there are no words.
    width : int
        Dimensions of a sketch, at most dim.
    """
    vectors = pictures.astype(np.float64)
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    covariance = centred.T @ centred / len(vectors)
    ridge = max(_RIDGE * float(np.trace(covariance)), 1e-12) / len(mean)
    of_pictures, inverse_of_pictures = _square_roots(covariance + ridge * np.eye(len(mean)))
    of_queries, inverse_of_queries = _square_roots(_second_moments(vectors, texts.astype(np.float64)))
    left, values, right = np.linalg.svd(of_queries @ of_pictures)
    # The sign of a pair of singular vectors is free: the largest value is positive.
    signs = np.sign(np.take_along_axis(left, np.abs(left).argmax(axis=0)[None], axis=0))
    root = np.sqrt(values[:width])
    query_map = _rounded_columns((inverse_of_queries @ (left * signs)[:, :width]) * root)
    picture_map = _rounded_columns((inverse_of_pictures @ (right.T * signs)[:, :width]) * root)
    variances, squares = np.square(centred @ picture_map).mean(axis=0), np.square(picture_map).sum(axis=0)
    is_negligible = variances < _NEGLIGIBLE * ridge * squares
    query_map[:, is_negligible] = picture_map[:, is_negligible] = 0
    rounded_mean = mean.astype(np.float32)
    largest = np.abs((vectors - rounded_mean) @ picture_map).max(axis=0)
    steps = _rounded(_ROOM * largest / LARGEST, largest)
    return Projection(rounded_mean, query_map, picture_map, np.where(steps > 0, steps, 1).astype(np.float32))


def _second_moments(pictures: Wide, texts: Wide) -> Wide:
    """Return the second moments (dim, dim) of queries, half of them texts where there are any."""
    dim = pictures.shape[1]
    moments = [vectors.T @ vectors for vectors in (pictures, texts) if vectors.any()]
    mixed = sum((moment / np.trace(moment) for moment in moments), np.zeros((dim, dim))) / max(1, len(moments))
    result: Wide = mixed + _SHRINKAGE * np.eye(dim) / dim
    return result


def _square_roots(matrix: Wide) -> tuple[Wide, Wide]:
    """Return the square root of a symmetric positive matrix, and its inverse."""
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, 1e-6 * values.max())
    return (vectors * values**0.5) @ vectors.T, (vectors * values**-0.5) @ vectors.T


def _rounded_columns(values: Wide) -> Matrix:
    """Return values (n, width), each a multiple of a 16,384th of about the largest of its column."""
    # Not of its own size: what is small beside the others was left over by sums, whose last bits differ.
    return _rounded(values, np.abs(values).max(axis=0))


def _rounded(values: Wide, largest: Wide) -> Matrix:
    units = np.ldexp(1.0, np.frexp(largest)[1]) / _STEPS
    rounded: Matrix = (np.rint(values / units) * units).astype(np.float32)
    return rounded
