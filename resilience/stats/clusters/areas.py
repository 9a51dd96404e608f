r"""Features of areas made of the units inside them, and clusters of areas under redrawn units.

Areas (municipalities) are few and all there are; what is uncertain is their features, which would
differ with other units (schools) inside.  Units are therefore drawn again inside every area, the
features made anew and the areas clustered again: no area drops out of a resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage

from resilience.stats.clusters.partitions import contingency, jaccard_table, matched_labels

__all__ = [
    "AreaUnits",
    "area_means",
    "area_shares",
    "area_spread",
    "cluster_agreement",
    "hellinger_rows",
    "ward_cuts",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaUnits:
    """Units with their areas.

    Attributes
    ----------
    areas : ndarray of shape (n,)
        Area of every unit, codes from 0.
    weights : ndarray of shape (n,)
        Weight of every unit (pupils), above 0.
    n_areas : int
        M.
    """

    areas: Codes
    weights: Floats
    n_areas: int

    def redrawn(self, generator: np.random.Generator) -> Codes:
        """Return rows of units drawn with replacement inside every area, as many as it has."""
        order = np.argsort(self.areas, kind="stable")
        sizes = np.bincount(self.areas, minlength=self.n_areas)
        starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        drawn = generator.random(len(order)) * np.repeat(sizes, sizes)
        return np.asarray(order[starts + drawn.astype(np.int64)], dtype=np.int64)


def area_means(units: AreaUnits, values: Floats, rows: Codes) -> Floats:
    """Return the weighted mean of each column over the known units of every area.

    Parameters
    ----------
    units : AreaUnits
        Where the units are.
    values : ndarray of shape (n, p)
        NaN where unknown.
    rows : ndarray of int
        Units that count, with repetition.

    Returns
    -------
    ndarray of shape (M, p)
        NaN for an area of which nothing is known.
    """
    own, areas, weights = values[rows], units.areas[rows], units.weights[rows]
    found = np.empty((units.n_areas, values.shape[1]))
    for j in range(values.shape[1]):
        known = np.isfinite(own[:, j])
        total = np.bincount(areas[known], weights=weights[known], minlength=units.n_areas)
        sums = np.bincount(
            areas[known], weights=(weights * own[:, j])[known], minlength=units.n_areas
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, j] = np.where(total > 0, sums / total, np.nan)
    return found


def area_spread(units: AreaUnits, values: Floats, rows: Codes) -> Floats:
    """Return the standard deviation (n - 1) between the units of every area.

    An area with a single unit says nothing of its spread and takes the mean of the others, so that
    it stands out neither way.

    Returns
    -------
    ndarray of shape (M,)
        NaN everywhere if every area has a single unit.
    """
    own, areas = values[rows], units.areas[rows]
    known = np.isfinite(own)
    counts = np.bincount(areas[known], minlength=units.n_areas)
    sums = np.bincount(areas[known], weights=own[known], minlength=units.n_areas)
    means = sums / np.maximum(counts, 1)
    squares = np.bincount(
        areas[known], weights=(own[known] - means[areas[known]]) ** 2, minlength=units.n_areas
    )
    found = np.where(counts > 1, np.sqrt(squares / np.maximum(counts - 1, 1)), np.nan)
    return np.where(np.isfinite(found), found, _mean_of_known(found))


def area_shares(units: AreaUnits, codes: Codes, n_groups: int, rows: Codes) -> Floats:
    """Return the weighted shares of groups of units in every area.

    Parameters
    ----------
    units : AreaUnits
        Where the units are.
    codes : ndarray of shape (n,)
        Group of every unit from 0, negative for units of no group, which do not count.
    n_groups : int
        k.
    rows : ndarray of int
        Units that count, with repetition.

    Returns
    -------
    ndarray of shape (M, k)
        NaN for an area without units of any group.
    """
    own = rows[codes[rows] >= 0]
    cells = np.bincount(
        units.areas[own] * n_groups + codes[own],
        weights=units.weights[own],
        minlength=units.n_areas * n_groups,
    ).reshape(units.n_areas, n_groups)
    total = cells.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, cells / total, np.nan))


def hellinger_rows(shares: Floats) -> Floats:
    r"""Return rows whose Euclidean distance is the Hellinger distance of the shares.

    .. math:: H(p, q) = \sqrt{\tfrac12 \sum_c (\sqrt{p_c} - \sqrt{q_c})^2}, \qquad 0 \le H \le 1.
    """
    return np.sqrt(shares / 2.0)


def ward_cuts(rows: Floats, numbers: Sequence[int]) -> tuple[Floats, Codes]:
    """Return Ward's tree and its cuts.

    Returns
    -------
    (ndarray of shape (M - 1, 4), ndarray of shape (M, len(numbers)))
        Linkage; labels from 0 for every number of clusters.
    """
    tree = linkage(rows, method="ward")
    return tree, cut_tree(tree, n_clusters=list(numbers)).astype(np.int64)


def cluster_agreement(labels: Codes, again: Codes) -> tuple[Floats, NDArray[np.bool_]]:
    """Return how far clusters are found again over the same areas.

    Returns
    -------
    (ndarray of shape (k,), ndarray of shape (M,))
        Jaccard coefficient of every cluster with the most like one; whether each area is in the
        cluster that is matched to its own.
    """
    k, h = int(labels.max()) + 1, int(again.max()) + 1
    likeness = jaccard_table(contingency(labels, again, (k, h)))
    back = np.full(h, -1)
    for cluster, other in matched_labels(likeness).items():
        back[other] = cluster
    return likeness.max(axis=1), back[again] == labels


def _mean_of_known(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
