"""k-means, Ward's tree and normal mixtures behind one door: rows in, labels out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from resilience.clustering.fits.sizes import ClusterSizes, bounded_labels
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.mixtures import Mixture
from resilience.stats.clusters.partitions import (
    Codes,
    Floats,
    Partitioner,
    centres_of,
    within_sum_of_squares,
)
from resilience.stats.clusters.transfers import single_transfers
from resilience.validation import check_choice, check_count, check_instance

__all__ = [
    "Covariance",
    "Method",
    "Partition",
    "check_method",
    "fit_clusters",
    "fit_partition",
    "partitioner",
]

Method = Literal["kmeans", "ward", "gmm"]
Covariance = Literal["full", "tied", "diag", "spherical"]

_LARGEST_TREE = 20_000  # rows whose distances, n²/2 of them, still fit into memory
_BATCH = 5  # starts, of which the best is improved by single transfers
_MOST_TRANSFERRED = 5_000  # rows; of more a single one moves no mean worth speaking of
_STARTS = {"kmeans": 50, "ward": 1, "gmm": 20}


@dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """What a method made of the rows.

    Attributes
    ----------
    labels : ndarray of shape (n,)
        Codes from 0, larger clusters first; equal ones by the order of their first rows.
    centres : ndarray of shape (k, p)
        Means of the clusters; of a mixture the means of its components.
    within : float
        Sum of squared distances to the means of the own cluster.
    tree : ndarray of shape (n - 1, 4) or None
        Linkage of Ward's method.
    mixture : Mixture or None
        Components of a mixture.
    bic : float
        Bayesian information criterion of a mixture, smaller = better (the opposite sign of the
        convention in which larger is better); NaN of other methods.
    """

    labels: Codes
    centres: Floats
    within: float
    tree: Floats | None = None
    mixture: Mixture | None = None
    bic: float = float("nan")


def check_method(method: str, covariance: str) -> None:
    """Raise unless method and covariance are among those there are."""
    check_choice(method, get_args(Method), argument="method")
    check_choice(covariance, get_args(Covariance), argument="covariance")


def fit_clusters(
    rows: Floats,
    n_clusters: int,
    *,
    method: Method = "kmeans",
    n_init: int | None = None,
    seed: int = 0,
    covariance: Covariance = "full",
    sizes: ClusterSizes | None = None,
) -> Partition:
    """Part the rows into clusters.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Scaled variables, weighted, without missing values.
    n_clusters : int
        k; 1 puts all rows together.
    method : {"kmeans", "ward", "gmm"}
        Least squares around k centres (k-means++ starts, then single transfers), Ward's tree cut at
        k, or a mixture of k normal distributions.
    n_init : int, optional
        Starts, of which the best is kept: 50 of k-means, 20 of a mixture; a tree needs none.
    seed : int
        Of the starts.
    covariance : {"full", "tied", "diag", "spherical"}
        Covariances of a mixture.
    sizes : ClusterSizes, optional
        Bounds of the number of rows in every cluster, k-means only.

    Returns
    -------
    Partition

    Raises
    ------
    DataError
        If rows are missing values, fewer rows than clusters are distinct, a component of a mixture
        has collapsed onto fewer rows than a covariance needs, or the bounds cannot be kept.
    SpecificationError
        For an unknown method, or a tree of more than 20,000 rows.

    References
    ----------
    ArthurVassilvitskii2007; HartiganWong1979; MurtaghLegendre2014; FraleyRaftery2002.
    """
    check_method(method, covariance)
    check_count(n_clusters, argument="n_clusters")
    if sizes is not None:
        check_instance(sizes, ClusterSizes, argument="sizes", example="rs.ClusterSizes(smallest=5)")
        sizes.check(len(rows), n_clusters, method)
    _check_rows(rows, n_clusters, method)
    starts = _STARTS[method] if n_init is None else check_count(n_init, argument="n_init")
    with threadpool_limits(limits=1):  # one thread gives the same sums on every machine
        if method == "ward":
            return _tree(rows, n_clusters)
        if method == "gmm":
            found = _mixture(rows, n_clusters, starts, seed, covariance)
            _check_collapse(found, rows)
            return found
        return _least_squares(rows, n_clusters, starts, seed, sizes)


def fit_partition(
    rows: Floats,
    n_clusters: int,
    *,
    method: Method = "kmeans",
    n_init: int | None = None,
    seed: int = 0,
    covariance: Covariance = "full",
    sizes: ClusterSizes | None = None,
) -> Codes:
    """Return the labels of `fit_clusters`: codes from 0, larger clusters first."""
    return fit_clusters(
        rows,
        n_clusters,
        method=method,
        n_init=n_init,
        seed=seed,
        covariance=covariance,
        sizes=sizes,
    ).labels


@dataclass(frozen=True, kw_only=True)
class _Refit:
    """A method as a function of rows, number of clusters and seed; travels to other processes."""

    method: Method
    n_init: int
    covariance: Covariance
    sizes: ClusterSizes | None

    def __call__(self, rows: Floats, n_clusters: int, seed: int) -> Codes:
        distinct = len(np.unique(rows, axis=0))
        wanted = min(n_clusters, distinct)  # a resample may hold fewer
        with threadpool_limits(limits=1):
            if self.method == "ward":
                return _tree(rows, wanted).labels
            if self.method == "gmm":
                return _mixture(rows, wanted, self.n_init, seed, self.covariance).labels
            bounds = None if self.sizes is None else self.sizes.relaxed(len(rows), wanted)
            # Without transfers: the noise of a resample exceeds what they gain, and there are many.
            return _least_squares(rows, wanted, self.n_init, seed, bounds, improved=False).labels


def partitioner(
    method: Method = "kmeans",
    *,
    n_init: int = 10,
    covariance: Covariance = "full",
    sizes: ClusterSizes | None = None,
) -> Partitioner:
    """Return the method as resampling needs it: ``(rows, n_clusters, seed) -> labels``.

    A resample with fewer distinct rows than clusters is parted into as many as it has; a collapsed
    component is not refused, its cluster is simply not found again.  Bounds of sizes are taken in
    proportion where a resample holds too few rows for them.

    Parameters
    ----------
    method : {"kmeans", "ward", "gmm"}
        See `fit_clusters`.
    n_init : int
        Starts in every resample.
    covariance : {"full", "tied", "diag", "spherical"}
        Covariances of a mixture.
    sizes : ClusterSizes, optional
        Bounds of the sizes.

    Returns
    -------
    callable
        Picklable.
    """
    check_method(method, covariance)
    check_count(n_init, argument="n_init")
    return _Refit(method=method, n_init=n_init, covariance=covariance, sizes=sizes)


def _check_rows(rows: Floats, n_clusters: int, method: Method) -> None:
    if np.isnan(rows).any():
        raise DataError(text("clusters.missing", n=int(np.isnan(rows).any(axis=1).sum())))
    distinct = len(np.unique(rows, axis=0))
    if n_clusters > distinct:
        raise DataError(text("clusters.distinct", k=n_clusters, n=len(rows), distinct=distinct))
    if method == "ward" and len(rows) > _LARGEST_TREE:
        raise SpecificationError(
            text("clusters.large_tree", n=f"{len(rows):,}", most=f"{_LARGEST_TREE:,}")
        )


def _least_squares(
    rows: Floats,
    n_clusters: int,
    n_init: int,
    seed: int,
    sizes: ClusterSizes | None,
    *,
    improved: bool = True,
) -> Partition:
    if n_clusters == 1:
        labels = np.zeros(len(rows), dtype=np.int64)
    elif sizes is None:
        labels = _nearest(rows, n_clusters, n_init, seed, improved=improved)
    else:
        labels = bounded_labels(rows, n_clusters, n_init=n_init, seed=seed, sizes=sizes)
    return _partition(rows, labels, n_clusters)


def _nearest(rows: Floats, n_clusters: int, n_init: int, seed: int, *, improved: bool) -> Codes:
    """Return the best of the starts; the best of every five is improved by single transfers.

    The means alone stop at many solutions that differ by a school or two, so that two seeds would
    seldom agree.
    """
    from sklearn.cluster import KMeans

    if not improved or len(rows) > _MOST_TRANSFERRED:
        fitted = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(rows)
        return np.asarray(fitted.labels_, dtype=np.int64)
    pieces = [_BATCH] * (n_init // _BATCH) + [n_init % _BATCH] * (n_init % _BATCH > 0)
    seeds = np.random.SeedSequence(seed).generate_state(len(pieces))
    best, least = np.zeros(len(rows), dtype=np.int64), np.inf
    for starts, own in zip(pieces, seeds, strict=True):
        fitted = KMeans(n_clusters, n_init=starts, random_state=int(own)).fit(rows)
        labels = single_transfers(rows, fitted.labels_.astype(np.int64), n_clusters)
        within = within_sum_of_squares(rows, labels)
        if within < least * (1.0 - 1e-12):
            best, least = labels, within
    return best


def _tree(rows: Floats, n_clusters: int) -> Partition:
    from scipy.cluster.hierarchy import cut_tree, linkage

    if len(rows) == 1:
        return _partition(rows, np.zeros(1, dtype=np.int64), 1)
    tree = linkage(rows, method="ward")
    # cut_tree gives exactly k clusters also where heights tie
    labels = cut_tree(tree, n_clusters=[n_clusters])[:, 0].astype(np.int64)
    return _partition(rows, labels, n_clusters, tree=tree)


def _mixture(
    rows: Floats, n_clusters: int, n_init: int, seed: int, covariance: Covariance
) -> Partition:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        n_clusters, covariance_type=covariance, n_init=n_init, random_state=seed, max_iter=500
    )
    with warnings.catch_warnings():
        # The best start counts; that others stopped early says nothing of it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    order = np.argsort(-np.bincount(model.predict(rows), minlength=n_clusters), kind="stable")
    mixture = Mixture(
        weights=model.weights_[order],
        means=model.means_[order],
        covariances=_full(model, covariance, rows.shape[1])[order],
    )
    labels = np.asarray(np.argmin(-mixture.memberships(rows), axis=1), dtype=np.int64)
    return Partition(
        labels=labels,
        centres=mixture.means,
        within=within_sum_of_squares(rows, labels),
        mixture=mixture,
        bic=float(model.bic(rows)),
    )


def _full(model: Any, covariance: Covariance, n_columns: int) -> Floats:
    """Return the covariances of all components as full matrices."""
    own, k = model.covariances_, model.n_components
    if covariance == "full":
        return np.asarray(own)
    if covariance == "tied":
        return np.repeat(own[None], k, axis=0)
    diagonal = own if covariance == "diag" else np.repeat(own[:, None], n_columns, axis=1)
    return np.asarray(diagonal[:, :, None] * np.eye(n_columns))


def _check_collapse(found: Partition, rows: Floats) -> None:
    assert found.mixture is not None
    needed = rows.shape[1] + 1
    counts = np.bincount(found.labels, minlength=len(found.mixture.weights))
    # A component may also be the likeliest of no row at all.
    held = np.where(counts > 0, found.mixture.weights * len(rows), 0.0)
    if held.min() < needed:
        raise DataError(
            text(
                "clusters.collapsed",
                held=f"{held.min():.1f}",
                needed=needed,
                k=len(held),
            )
        )


def _partition(
    rows: Floats, labels: Codes, n_clusters: int, *, tree: Floats | None = None
) -> Partition:
    """Return the partition with its clusters numbered by size, equal ones by their first row."""
    counts = np.bincount(labels, minlength=n_clusters)
    first = np.array([np.argmax(labels == g) for g in range(n_clusters)])
    order = np.lexsort((first, -counts))
    place = np.empty(n_clusters, dtype=np.int64)
    place[order] = np.arange(n_clusters)
    settled = np.asarray(place[labels], dtype=np.int64)
    return Partition(
        labels=settled,
        centres=centres_of(rows, settled, n_clusters),
        within=within_sum_of_squares(rows, settled),
        tree=tree,
    )
