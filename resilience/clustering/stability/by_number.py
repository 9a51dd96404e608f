"""Stability of clusterings over many numbers of clusters: where hard groups stop being findable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.fits.algorithms import Method, fit_partition, partitioner
from resilience.clustering.stability.replicates import resample_partition
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.partitions import Codes, Floats
from resilience.validation import check_count, check_instance, check_jobs, check_seed

__all__ = ["stability_by_number"]

_STABLE = 0.75


def stability_by_number(
    scaled: ScaledSchools,
    *,
    k: Sequence[int] = range(3, 31),
    n_resamples: int = 50,
    method: Method = "kmeans",
    n_neighbours: int = 10,
    random_state: int | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Return how stable clusters are and how badly they keep neighbours together, for every k.

    The more clusters, the more schools stand at a border: their nearest neighbours are then in
    another cluster, and the clusters themselves do not come back.

    Parameters
    ----------
    scaled : ScaledSchools
        Schools without strata.
    k : sequence of int
        Numbers of clusters.
    n_resamples : int
        Bootstrap samples for each.
    method : {"kmeans", "ward", "gmm"}
        See `ClusterModel`.
    n_neighbours : int
        Nearest schools whose cluster is compared with the school's own.
    random_state : int, optional
        Seed.
    n_jobs : int
        Workers; the result does not depend on it.
    progress : bool
        Whether bars are drawn.

    Returns
    -------
    DataFrame
        ``k jaccard_min jaccard_mean n_stable n_smallest share_neighbours_outside``: the least and
        the school-weighted mean coefficient, clusters of at least 0.75, the smallest cluster, the
        share of a school's nearest schools outside its cluster.

    Raises
    ------
    SpecificationError
        If ``k`` is empty or below 2, or the schools stand in several strata.

    References
    ----------
    Hennig2007.
    """
    check_instance(
        scaled, ScaledSchools, argument="scaled", example="rs.scale_conditions(schools, conditions)"
    )
    check_jobs(n_jobs)
    check_seed(random_state)
    check_count(n_neighbours, argument="n_neighbours")
    numbers = sorted({check_count(number, argument="k", least=2) for number in k})
    if not numbers:
        raise SpecificationError(text("n_clusters.no_numbers"))
    if len(set(scaled.stratum)) > 1:
        found = sorted({str(s) for s in scaled.stratum})
        raise SpecificationError(text("n_clusters.strata", strata="; ".join(found)))
    rows = scaled.weighted[scaled.complete]
    nearest = _nearest(rows, n_neighbours)
    root = np.random.default_rng(random_state)
    lines = []
    for number in numbers:
        first, second = (int(s) for s in root.integers(0, 2**31 - 1, size=2))
        labels = fit_partition(rows, number, method=method, seed=first)
        found_again = resample_partition(
            rows,
            labels,
            partitioner(method),
            n_resamples=n_resamples,
            scheme="bootstrap",
            random_state=second,
            n_jobs=n_jobs,
            progress=progress,
        ).jaccard.mean(axis=0)
        sizes = np.bincount(labels)
        lines.append(
            (
                number,
                float(found_again.min()),
                float(np.average(found_again, weights=sizes)),
                int((found_again >= _STABLE).sum()),
                int(sizes.min()),
                float((labels[nearest] != labels[:, None]).mean()),
            )
        )
    return pd.DataFrame(
        lines,
        columns=[
            "k",
            "jaccard_min",
            "jaccard_mean",
            "n_stable",
            "n_smallest",
            "share_neighbours_outside",
        ],
    )


def _nearest(rows: Floats, n_neighbours: int) -> Codes:
    from sklearn.neighbors import NearestNeighbors

    searched = NearestNeighbors(n_neighbors=min(n_neighbours, len(rows) - 1)).fit(rows)
    return np.asarray(searched.kneighbors(return_distance=False), dtype=np.int64)
