r"""What partitions of the same units have in common, and how well a partition is found again.

Nothing here clusters: the functions take the labels that a method gave, or the method itself as a
function of rows and a generator, so that k-means, trees and mixtures are judged alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = [
    "Partitioner",
    "adjusted_rand",
    "contingency",
    "jaccard_table",
    "matched_labels",
    "nearest_centre",
    "prediction_strength",
    "uniform_reference",
    "within_sum_of_squares",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """A partition of rows and the centres that place further rows.

    Attributes
    ----------
    labels : ndarray of shape (n,)
        Codes from 0.
    centres : ndarray of shape (k, p)
        Means of the clusters.
    """

    labels: Codes
    centres: Floats


Partitioner = Callable[[Floats, int, int], Codes]
"""``(rows, n_clusters, seed) -> labels``: codes from 0 to n_clusters - 1."""


def contingency(one: Codes, other: Codes, shape: tuple[int, int]) -> Codes:
    """Return how many units carry each pair of labels, as an array of ``shape``."""
    cells = np.bincount(one * shape[1] + other, minlength=shape[0] * shape[1])
    return cells.reshape(shape).astype(np.int64)


def jaccard_table(table: Codes) -> Floats:
    """Return the Jaccard coefficient of every cluster with every other's, from their counts.

    Parameters
    ----------
    table : ndarray of shape (k, h)
        Units in cluster i of one partition and j of the other, over the same units.

    Returns
    -------
    ndarray of shape (k, h)
        |A ∩ B| / |A ∪ B|; 0 where both are empty.
    """
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return np.asarray(np.divide(table, union, out=np.zeros(table.shape), where=union > 0))


def matched_labels(similarity: Floats) -> dict[int, int]:
    """Return which column is matched to each row by the assignment of greatest similarity.

    Rows and columns without any similarity stay unmatched (Hungarian method).
    """
    rows, columns = linear_sum_assignment(-similarity)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if similarity[r, c] > 0.0}


def adjusted_rand(table: Codes) -> float:
    r"""Return the adjusted Rand index of two partitions from their contingency table.

    1 for equal partitions, 0 on average for partitions by lot with these sizes.

    References
    ----------
    HubertArabie1985.
    """
    pairs = float((table * (table - 1)).sum()) / 2.0
    a, b, n = table.sum(axis=1), table.sum(axis=0), int(table.sum())
    rows, columns = (float((v * (v - 1)).sum()) / 2.0 for v in (a, b))
    expected = rows * columns / max(n * (n - 1) / 2.0, 1.0)
    largest = (rows + columns) / 2.0
    return 1.0 if largest == expected else (pairs - expected) / (largest - expected)


def centres_of(rows: Floats, labels: Codes, n_clusters: int) -> Floats:
    """Return the means of clusters; those without rows are infinitely far away."""
    counts = np.bincount(labels, minlength=n_clusters).astype(float)
    sums = np.zeros((n_clusters, rows.shape[1]))
    np.add.at(sums, labels, rows)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1.0)[:, None], np.inf)


def nearest_centre(rows: Floats, centres: Floats) -> Codes:
    """Return the label of the nearest centre of every row."""
    finite = np.isfinite(centres).all(axis=1)
    kept = np.flatnonzero(finite)
    own = centres[kept]
    distance = (own**2).sum(axis=1) - 2.0 * rows @ own.T
    return np.asarray(kept[np.argmin(distance, axis=1)], dtype=np.int64)


def within_sum_of_squares(rows: Floats, labels: Codes) -> float:
    """Return the sum of squared distances of rows to the means of their clusters."""
    n_clusters = int(labels.max()) + 1
    centres = centres_of(rows, labels, n_clusters)
    return float(((rows - centres[labels]) ** 2).sum())


def uniform_reference(rows: Floats, generator: np.random.Generator) -> Floats:
    """Return as many rows without any clusters: uniform in the box of the principal axes.

    References
    ----------
    TibshiraniWaltherHastie2001, section 4, reference (b).
    """
    mean = rows.mean(axis=0)
    _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
    turned = (rows - mean) @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    drawn = generator.uniform(low, high, size=turned.shape)
    return np.asarray(drawn @ axes + mean)


def prediction_strength(rows: Floats, n_clusters: int, method: Partitioner, *, seed: int) -> float:
    """Return the prediction strength of one split of the rows into halves.

    Both halves are clustered; for every cluster of one half the share of its pairs that the centres
    of the other half put together as well (1 for a cluster of one row); the least over clusters, in
    the mean of the two directions.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables.
    n_clusters : int
        k.
    method : callable
        See `Partitioner`.
    seed : int
        Of the split and the starts.

    References
    ----------
    TibshiraniWalther2005.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(rows))
    half = len(rows) // 2
    pieces = rows[order[:half]], rows[order[half:]]
    starts = generator.integers(0, 2**31 - 1, size=2)
    labels = [method(piece, n_clusters, int(s)) for piece, s in zip(pieces, starts, strict=True)]
    centres = [centres_of(p, own, n_clusters) for p, own in zip(pieces, labels, strict=True)]
    found = []
    for at in (0, 1):
        predicted = nearest_centre(pieces[at], centres[1 - at])
        table = contingency(labels[at], predicted, (n_clusters, n_clusters))
        sizes = table.sum(axis=1)
        together = (table * (table - 1)).sum(axis=1)
        ordered = np.maximum(sizes * (sizes - 1), 1)
        found.append(float(np.where(sizes > 1, together / ordered, 1.0).min()))
    return float(np.mean(found))
