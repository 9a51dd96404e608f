"""Clusters of one stratum: fitting them, placing incomplete schools, schools of other years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.fits.algorithms import Covariance, Method, fit_clusters
from resilience.clustering.fits.sizes import ClusterSizes
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.mixtures import Mixture
from resilience.stats.clusters.partitions import Codes, Floats
from resilience.validation import shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FitOptions",
    "StratumClusters",
    "by_number",
    "fit_stratum",
    "hardest_first",
    "numbers_by_stratum",
    "part_of",
    "stratum_name",
]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How every stratum is parted.

    Attributes
    ----------
    method, covariance, n_init, sizes
        See `fit_clusters`.
    """

    method: Method
    covariance: Covariance
    n_init: int | None
    sizes: ClusterSizes | None


@dataclass(frozen=True, kw_only=True, eq=False)
class StratumClusters:
    """Clusters of one stratum.

    Attributes
    ----------
    stratum : str
        Its label, ``""`` without strata.
    numbers : tuple of int
        Number of every cluster among those of all strata.
    fitted : ndarray of int
        Rows of the schools that the clusters were made of.
    labels : ndarray of int
        Their clusters, codes from 0 in the order of ``numbers``.
    centres : ndarray of shape (k, P)
        Weighted scaled values.
    within, total : float
        Sums of squared distances to the own centre and to the mean of the stratum.
    tree : ndarray or None
        Linkage of Ward's method over the rows of ``fitted``.
    mixture : Mixture or None
        Components in the order of ``numbers``.
    bic : float
        Of a mixture, smaller = better.
    """

    stratum: str
    numbers: tuple[int, ...]
    fitted: Codes
    labels: Codes
    centres: Floats
    within: float
    total: float
    tree: Floats | None = None
    mixture: Mixture | None = None
    bic: float = float("nan")

    def assigned(self, scaled: ScaledSchools, rows: Codes) -> tuple[Codes, Floats]:
        """Return the cluster of schools by what is known of them, and its probability.

        The component likeliest of a school in a mixture, else the nearest centre by partial
        distance.

        Returns
        -------
        (ndarray of int, ndarray)
            Codes from 0, -1 for a school of which nothing is known; probabilities are NaN outside
            mixtures.
        """
        if self.mixture is not None:
            chances = self.mixture.memberships(scaled.weighted[rows])
        else:
            chances = -scaled.distances_to(self.centres, rows)
        unknown = np.isnan(chances).any(axis=1)
        codes = np.argmax(np.where(np.isnan(chances), 0.0, chances), axis=1)
        codes = np.where(unknown, -1, codes).astype(np.int64)
        if self.mixture is None:
            return codes, np.full(len(rows), np.nan)
        return codes, np.where(unknown, np.nan, chances.max(axis=1))


def stratum_name(stratum: str) -> str:
    """Return the label of a stratum as messages quote it."""
    return stratum or "—"


def part_of(scaled: ScaledSchools, rows: Codes) -> ScaledSchools:
    """Return the scaled schools of some rows, on the scale of all."""
    return replace(
        scaled,
        schools=scaled.schools.iloc[rows].reset_index(drop=True),
        values=scaled.z[rows],
        natural=scaled.natural.iloc[rows].reset_index(drop=True),
        bases=scaled.bases[rows],
        errors=scaled.errors[rows],
        stratum=scaled.stratum[rows],
        warnings=(),
    )


def numbers_by_stratum(
    n_clusters: int | Mapping[str, int], strata: list[str]
) -> dict[str, int | None]:
    """Return the number of clusters asked for in every stratum.

    Raises
    ------
    SpecificationError
        If a mapping names a stratum that is not there, or leaves one out.
    """
    if not isinstance(n_clusters, Mapping):
        return dict.fromkeys(strata, n_clusters)
    wrong = sorted(set(n_clusters) ^ set(strata))
    if wrong:
        raise SpecificationError(
            text(
                "clusters.strata_named",
                wrong=shorten(repr(w) for w in wrong),
                strata=shorten((repr(s) for s in strata), 12),
            )
        )
    return {stratum: n_clusters[stratum] for stratum in strata}


def fit_stratum(
    scaled: ScaledSchools, stratum: str, n_clusters: int, options: FitOptions, *, seed: int
) -> StratumClusters:
    """Return the clusters of the complete schools of a stratum, numbered from 1.

    Raises
    ------
    DataError
        If there are too few complete schools or too few of them differ; see `fit_clusters`.
    """
    rows = np.flatnonzero((scaled.stratum == stratum) & scaled.complete)
    values = scaled.weighted[rows]
    distinct = len(np.unique(values, axis=0))
    if distinct < n_clusters:
        raise DataError(
            text(
                "clusters.too_few",
                k=n_clusters,
                n=len(rows),
                distinct=distinct,
                stratum=stratum_name(stratum),
            )
        )
    found = fit_clusters(
        values,
        n_clusters,
        method=options.method,
        n_init=options.n_init,
        seed=seed,
        covariance=options.covariance,
        sizes=options.sizes,
    )
    return StratumClusters(
        stratum=stratum,
        numbers=tuple(range(1, n_clusters + 1)),
        fitted=rows,
        labels=found.labels,
        centres=found.centres,
        within=found.within,
        total=float(((values - values.mean(axis=0)) ** 2).sum()),
        tree=found.tree,
        mixture=found.mixture,
        bic=found.bic,
    )


def hardest_first(
    schools: pd.DataFrame, direction: Floats, labels: Codes, n_clusters: int
) -> Codes:
    """Return the place, from 0, of every cluster among all, the hardest conditions first.

    By the mean context index where every cluster has one, else by the mean of what is known to be
    favourable or not; of equal ones the larger comes first.

    Parameters
    ----------
    schools : DataFrame
        With ``context_index`` if there is one.
    direction : ndarray of shape (S,)
        Plus = favourable.
    labels : ndarray of shape (S,)
        Codes from 0 over all strata, -1 outside clusters.
    n_clusters : int
        Clusters of all strata.
    """
    inside = labels >= 0
    sizes = np.bincount(labels[inside], minlength=n_clusters)
    measures = [direction]
    if "context_index" in schools.columns:
        measures.insert(0, schools["context_index"].to_numpy(dtype=np.float64, na_value=np.nan))
    for measure in measures:
        known = inside & ~np.isnan(measure)
        counted = np.bincount(labels[known], minlength=n_clusters)
        if (counted > 0).all():
            break
    sums = np.bincount(labels[known], weights=measure[known], minlength=n_clusters)
    means = np.round(sums / np.maximum(counted, 1), 10)  # sums of one set in another order are ties
    order = np.lexsort((-sizes, means))
    place = np.empty(n_clusters, dtype=np.int64)
    place[order] = np.arange(n_clusters)
    return place


def by_number(parts: tuple[StratumClusters, ...], place: Codes) -> tuple[StratumClusters, ...]:
    """Return the strata with their clusters numbered by place, in ascending order in each."""
    found, start = [], 0
    for part in parts:
        own = place[start : start + len(part.centres)]
        start += len(part.centres)
        order = np.argsort(own)
        rank = np.argsort(order)
        mixture = part.mixture
        if mixture is not None:
            mixture = Mixture(
                weights=mixture.weights[order],
                means=mixture.means[order],
                covariances=mixture.covariances[order],
            )
        found.append(
            replace(
                part,
                numbers=tuple(int(n) + 1 for n in own[order]),
                centres=part.centres[order],
                labels=np.asarray(rank[part.labels], dtype=np.int64),
                mixture=mixture,
            )
        )
    return tuple(found)
