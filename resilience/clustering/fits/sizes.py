"""Clusters whose sizes are bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.bounded import bounded_assignment
from resilience.stats.clusters.partitions import Codes, Floats, centres_of
from resilience.validation import check_count

__all__ = ["ClusterSizes", "bounded_labels"]

_MOST_STEPS = 100
_STARTS = 5  # of the bounded search among more than _MANY rows, where a step takes a second
_MANY = 5_000


@dataclass(frozen=True, kw_only=True)
class ClusterSizes:
    """Bounds of the number of schools in every cluster of a stratum.

    Attributes
    ----------
    smallest : int
        A cluster holds at least so many; 1 by default.
    largest : int or None
        At most so many; None sets no bound.

    Raises
    ------
    SpecificationError
        If a bound is no whole number above 0, or the smallest exceeds the largest.
    """

    smallest: int = 1
    largest: int | None = None

    def __post_init__(self) -> None:
        check_count(self.smallest, argument="ClusterSizes.smallest")
        if self.largest is not None:
            check_count(self.largest, argument="ClusterSizes.largest")
            if self.largest < self.smallest:
                raise SpecificationError(
                    text("clusters.bounds_crossed", smallest=self.smallest, largest=self.largest)
                )

    def check(self, n_rows: int, n_clusters: int, method: str) -> None:
        """Raise unless so many rows in so many clusters can keep the bounds.

        Raises
        ------
        SpecificationError
            For a method that cannot be bounded.
        DataError
            If the bounds cannot be kept.
        """
        if method != "kmeans":
            raise SpecificationError(text("clusters.bounds_method", method=repr(method)))
        if n_clusters * self.smallest > n_rows:
            raise DataError(
                text(
                    "clusters.bounds_small",
                    k=n_clusters,
                    smallest=self.smallest,
                    n=n_rows,
                    most=n_rows // n_clusters,
                )
            )
        if self.largest is not None and n_clusters * self.largest < n_rows:
            raise DataError(
                text(
                    "clusters.bounds_large",
                    k=n_clusters,
                    largest=self.largest,
                    n=n_rows,
                    least=-(-n_rows // n_clusters),
                )
            )

    def relaxed(self, n_rows: int, n_clusters: int) -> ClusterSizes:
        """Return the bounds, opened as far as so many rows need."""
        smallest = max(1, min(self.smallest, n_rows // n_clusters))
        if self.largest is None:
            return ClusterSizes(smallest=smallest)
        return ClusterSizes(
            smallest=smallest, largest=max(self.largest, smallest, -(-n_rows // n_clusters))
        )


def bounded_labels(
    rows: Floats, n_clusters: int, *, n_init: int, seed: int, sizes: ClusterSizes
) -> Codes:
    """Return labels of k-means with bounded sizes.

    The steps of k-means, each with the best assignment that keeps the bounds in place of the
    nearest centre: the within sum of squares falls with every step, and the best of several starts
    is kept.  The first start is the solution without bounds.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables.
    n_clusters : int
        k.
    n_init, seed : int
        Starts, of the solution without bounds and of the bounded search; of the latter at most 5
        among more than 5,000 rows.
    sizes : ClusterSizes
        The bounds, which must be possible.

    Returns
    -------
    ndarray of shape (n,)

    References
    ----------
    BradleyBennettDemiriz2000.
    """
    from sklearn.cluster import KMeans, kmeans_plusplus

    free = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(rows)
    starts = n_init if len(rows) <= _MANY else min(n_init, _STARTS)
    seeds = np.random.default_rng(seed).integers(0, 2**31 - 1, size=starts - 1)
    best, least = np.zeros(len(rows), dtype=np.int64), np.inf
    for number in range(len(seeds) + 1):
        centres = (
            free.cluster_centers_
            if number == 0
            else kmeans_plusplus(rows, n_clusters, random_state=int(seeds[number - 1]))[0]
        )
        labels, within = _steps(rows, centres, sizes)
        if within < least * (1.0 - 1e-12):
            best, least = labels, within
    return best


def _steps(rows: Floats, centres: Floats, sizes: ClusterSizes) -> tuple[Codes, float]:
    """Alternate bounded assignments and means from these centres until nothing moves."""
    largest = len(rows) if sizes.largest is None else sizes.largest
    labels, within = np.zeros(len(rows), dtype=np.int64), np.inf
    for _ in range(_MOST_STEPS):
        costs = (rows**2).sum(axis=1)[:, None] - 2.0 * rows @ centres.T + (centres**2).sum(axis=1)
        proposed = bounded_assignment(costs, sizes.smallest, largest)
        centres = centres_of(rows, proposed, len(centres))
        value = float(((rows - centres[proposed]) ** 2).sum())
        if value >= within * (1.0 - 1e-12):
            break
        labels, within = proposed, value
    return labels, within
