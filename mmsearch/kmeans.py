"""k-means by Lloyd's four steps: choose centres, assign points, move centres to their means, repeat.

S. Lloyd, Least squares quantization in PCM, 1982; seeding by D. Arthur and S. Vassilvitskii, k-means++, 2007.
Points enter, centroids leave. Distances are matrix products over chunks of points, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import one_of
from mmsearch.errors import VectorError
from mmsearch.records import Matrix

Seeding: TypeAlias = Literal["k-means++", "sampled"]
_BLOCK_VALUES = 1 << 22  # distances held at a time: 16 MB


@dataclass(frozen=True)
class KMeansResult:
    """Centroids float32 (n_clusters, dim), and how they were reached.

    `labels` int64 (n,) is the centroid of every point; `inertia` the sum of squared distances to it, lower is
    better.
    """

    centroids: Matrix
    labels: NDArray[np.int64]
    inertia: float
    n_iterations: int
    has_converged: bool


def kmeans(
    points: Matrix,
    n_clusters: int,
    *,
    seeding: Seeding = "k-means++",
    seed: int = 0,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
    on_iteration: Callable[[int, float], None] = lambda n, inertia: None,
) -> KMeansResult:
    """Return centroids that locally minimise the squared distances of points to their nearest centroid.

    Parameters
    ----------
    points : float32 array, shape (n, dim)
        Finite, n >= n_clusters. Not modified.
    n_clusters : int > 0
        Number of centroids.
    seeding : "k-means++" or "sampled"
        First centroids: spread out by the greedy k-means++, whose time grows with n_clusters * n and takes as
        long as tens of iterations; or points drawn at random, nearly as good for thousands of clusters.
    seed : int
        Same seed, same result.
    max_iterations : int > 0
        Stop here at the latest.
    tolerance : float >= 0
        Stop when the inertia falls by no more than this share of itself; 0 is until it stays.
    on_iteration : callable
        Given the number of iterations and the inertia before the centroids were moved.

    Returns
    -------
    KMeansResult
        Clusters that lost their points were moved to the points farthest from their centroids, so centroids
        are only equal where there are fewer distinct points than clusters. Never NaN.

    Raises
    ------
    VectorError
        If there are fewer points than clusters, or points that are not finite.
    QueryError
        If there is no such seeding.

    Examples
    --------
    >>> points = np.array([[0, 0], [0, 2], [9, 0], [9, 2]], dtype=np.float32)
    >>> result = kmeans(points, 2)
    >>> np.sort(result.centroids, axis=0).tolist(), result.inertia, result.has_converged
    ([[0.0, 1.0], [9.0, 1.0]], 4.0, True)
    """
    _check_points(points, n_clusters)
    rng = np.random.default_rng(seed)
    # Relative to the mean: expanded squares lose their digits far from the origin.
    middle = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    points = points - middle
    choose = {"k-means++": _spread_points, "sampled": _sampled_points}[one_of(seeding, "seeding", Seeding)]
    result = _lloyd(points, points[choose(points, n_clusters, rng)], max_iterations, tolerance, on_iteration)
    return replace(result, centroids=result.centroids + middle)


def _lloyd(
    points: Matrix,
    centroids: Matrix,
    max_iterations: int,
    tolerance: float,
    on_iteration: Callable[[int, float], None],
) -> KMeansResult:
    """Return what centroids become when each moves to the mean of its points, again and again; see `kmeans`."""
    before, has_converged, n_iterations = np.inf, False, 0
    while n_iterations < max_iterations and not has_converged:
        labels, distances = nearest_centroids(points, centroids)
        inertia = float(distances.sum(dtype=np.float64))
        has_converged = before - inertia <= tolerance * inertia and n_iterations > 0
        centroids = _moved(points, labels, distances, centroids)
        before, n_iterations = inertia, n_iterations + 1
        on_iteration(n_iterations, inertia)
    labels, distances = nearest_centroids(points, centroids)
    inertia = float(distances.sum(dtype=np.float64))
    return KMeansResult(centroids, labels, inertia, n_iterations, has_converged)


def kmeans_in_cells(
    points: Matrix,
    n_clusters: int,
    *,
    seed: int = 0,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
    on_iteration: Callable[[int, float], None] = lambda n, inertia: None,
) -> KMeansResult:
    """Return centroids for thousands of clusters: k-means into about sqrt(n_clusters) cells, then inside each.

    Takes 1 / sqrt(n_clusters) of the time of `kmeans` at an inertia some percent higher. Every cell gets clusters
    in proportion to its points. `labels` are the nearest centroid inside the point's cell; `n_iterations` are
    those of the cells and the most inside one. Parameters and errors as for `kmeans`, with sampled seeding;
    `on_iteration` is called for the cells and then once for each cell that is done.
    """
    _check_points(points, n_clusters)
    run = partial(kmeans, seeding="sampled", seed=seed, max_iterations=max_iterations, tolerance=tolerance)
    n_cells = min(n_clusters, round(n_clusters**0.5))
    cells = run(points, n_cells, on_iteration=on_iteration)
    sizes = np.bincount(cells.labels, minlength=n_cells)
    shares = _shares(sizes, n_clusters)
    members = np.split(np.argsort(cells.labels, kind="stable"), np.cumsum(sizes)[:-1])
    labels, results, n_done = np.empty(len(points), dtype=np.int64), [], 0
    for cell in np.flatnonzero(sizes):
        in_cell = run(points[members[cell]], int(shares[cell]))
        labels[members[cell]] = in_cell.labels + n_done
        results.append(in_cell)
        n_done += len(in_cell.centroids)
        on_iteration(cells.n_iterations + len(results), sum(result.inertia for result in results))
    return KMeansResult(
        np.concatenate([result.centroids for result in results]),
        labels,
        sum(result.inertia for result in results),
        cells.n_iterations + max(result.n_iterations for result in results),
        cells.has_converged and all(result.has_converged for result in results),
    )


def nearest_centroids(points: Matrix, centroids: Matrix) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest centroid of every point (n,), the first of equal ones, and the squared distance (n,)."""
    labels = np.empty(len(points), dtype=np.int64)
    distances = np.empty(len(points), dtype=np.float32)
    for part, block in squared_distances(points, centroids):
        labels[part] = block.argmin(axis=1)
        # Again from the difference: the expanded square has no digits left where a point is its own centroid.
        difference = points[part] - centroids[labels[part]]
        distances[part] = np.einsum("nd,nd->n", difference, difference)
    # Products with equal centroids may be rounded differently, so that both would share the points of one.
    _, first, numbers = np.unique(centroids, axis=0, return_index=True, return_inverse=True)
    return first[numbers.reshape(-1)[labels]], distances


def squared_distances(points: Matrix, centroids: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Yield rows of points and their squared distances (rows, n_centroids), up to a constant of each row.

    ||x - c||^2 = ||x||^2 - 2 x.c + ||c||^2 without its first term, which does not change the order. The block is
    overwritten by the next.
    """
    half_squares = np.einsum("kd,kd->k", centroids, centroids)
    size = max(1, min(len(points), _BLOCK_VALUES // len(centroids)))
    block = np.empty((size, len(centroids)), dtype=np.float32)
    doubled = -2 * centroids.T
    for start in range(0, len(points), size):
        part = slice(start, min(start + size, len(points)))
        products = np.matmul(points[part], doubled, out=block[: part.stop - start])
        products += half_squares
        yield part, products


def _check_points(points: Matrix, n_clusters: int) -> None:
    if len(points) < n_clusters or n_clusters < 1:
        raise VectorError(
            f"found {len(points)} points for {n_clusters} clusters, expected at least one point a cluster and one "
            "cluster; use fewer clusters or more pictures"
        )
    if not np.isfinite(points).all():
        raise VectorError("some points are NaN or infinite; every point needs finite coordinates")


def _shares(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return how many of `total` clusters each cell gets: one if it has points, the others in proportion.

    Never more than it has points, if there are points enough.
    """
    has_points = sizes > 0
    n_others = total - int(has_points.sum())
    wanted = np.maximum(sizes - 1, 0) * (n_others / max(int(sizes.sum()) - int(has_points.sum()), 1))
    shares = np.floor(wanted).astype(np.int64)
    largest_rest = np.argsort(shares - wanted, kind="stable")
    shares[largest_rest[: n_others - int(shares.sum())]] += 1
    return shares + has_points


def _sampled_points(points: Matrix, n_clusters: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows of n_clusters different points."""
    return rng.choice(len(points), n_clusters, replace=False)


def _spread_points(points: Matrix, n_clusters: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return rows drawn by greedy k-means++.

    Every next row is the best of 2 + log(n_clusters) that are drawn with a chance proportional to their squared
    distance from the rows so far.
    """
    n_trials = 2 + int(np.log(n_clusters))
    rows = np.empty(n_clusters, dtype=np.int64)
    rows[0] = rng.integers(len(points))
    squares = np.einsum("nd,nd->n", points, points)
    closest = _to_rows(points, squares, rows[:1])[0]
    for i in range(1, n_clusters):
        reach = np.cumsum(closest, dtype=np.float64)
        drawn = np.searchsorted(reach, rng.random(n_trials) * reach[-1], side="right")
        drawn = np.minimum(drawn, len(points) - 1)  # every distance may be 0
        candidates = np.minimum(closest, _to_rows(points, squares, drawn))
        best = int(candidates.sum(axis=1, dtype=np.float64).argmin())
        rows[i], closest = drawn[best], candidates[best]
    return rows


def _to_rows(points: Matrix, squares: NDArray[np.float32], rows: NDArray[np.int64]) -> Matrix:
    """Return the squared distances (n_rows, n) of all points from some of them."""
    distances: Matrix = squares - 2 * (points[rows] @ points.T) + squares[rows, None]
    distances[np.arange(len(rows)), rows] = 0
    return np.maximum(distances, 0, out=distances)


def _moved(points: Matrix, labels: NDArray[np.int64], distances: NDArray[np.float32], centroids: Matrix) -> Matrix:
    """Return the mean of every cluster; one without points moves to the farthest point not yet taken."""
    counts = np.bincount(labels, minlength=len(centroids))
    has_points = counts > 0
    order = np.argsort(labels, kind="stable")
    starts = (np.cumsum(counts) - counts)[has_points]
    sums = np.add.reduceat(points[order], starts, axis=0, dtype=np.float64)
    moved = np.empty_like(centroids)
    moved[has_points] = sums / counts[has_points, None]
    n_empty = int((~has_points).sum())
    if n_empty:
        moved[~has_points] = points[_farthest(labels, distances)[:n_empty]]
    return moved


def _farthest(labels: NDArray[np.int64], distances: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return all rows, the farthest from their centroids first, but copies of a point after one of each."""
    # Copies are as far from the same centroid. At the same place all but one of the centroids would be lost again.
    rows = np.lexsort((labels, -distances))
    is_copy = np.zeros(len(rows), dtype=bool)
    is_copy[1:] = (np.diff(distances[rows]) == 0) & (np.diff(labels[rows]) == 0)
    return np.concatenate([rows[~is_copy], rows[is_copy]])
