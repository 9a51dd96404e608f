"""The nearest schools of every school, by trees, with ties in the order of ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.clusters.partitions import Codes, Floats

__all__ = ["Nearest", "nearest_schools", "partial_rows"]

_SPARE = 4  # further schools looked at, so that ties at the last rank are seen
_DIGITS = 10  # decimals to which two distances count as one


@dataclass(frozen=True, kw_only=True, eq=False)
class Nearest:
    """Ranked candidates of every school.

    Attributes
    ----------
    index : ndarray of shape (S, m)
        Positions of the nearest schools, nearest first; -1 where there are no more.
    distance : ndarray of shape (S, m)
        Their distances, inf where there are no more.
    tied : ndarray of shape (S,), bool
        Whether the school behind the last rank is as near as the last one.
    """

    index: Codes
    distance: Floats
    tied: NDArray[np.bool_]


def nearest_schools(
    rows: Floats,
    order: Codes,
    entity: Codes,
    *,
    n_nearest: int,
    queries: NDArray[np.bool_],
    candidates: NDArray[np.bool_],
) -> Nearest:
    """Return the nearest candidates of every school that asks.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
        Complete rows of one stratum, in which Euclid's distance is meant.
    order : ndarray of shape (n,)
        Rank of the id, which decides ties.
    entity : ndarray of shape (n,)
        Schools of one entity (campuses) are no neighbours of each other.
    n_nearest : int
        m.
    queries, candidates : ndarray of shape (n,), bool
        Who asks, and who may be a neighbour.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(rows)
    index = np.full((n, n_nearest), -1, dtype=np.int64)
    distance = np.full((n, n_nearest), np.inf)
    tied = np.zeros(n, dtype=bool)
    pool = np.flatnonzero(candidates)
    asking = np.flatnonzero(queries)
    if not len(pool) or not len(asking):
        return Nearest(index=index, distance=distance, tied=tied)
    crowd = int(np.bincount(entity[pool]).max())
    wanted = min(n_nearest + crowd + _SPARE, len(pool))
    search = NearestNeighbors(n_neighbors=wanted).fit(rows[pool])
    found_distance, found = search.kneighbors(rows[asking])
    found = pool[found]
    found_distance = np.where(
        entity[found] == entity[asking][:, None], np.inf, np.round(found_distance, _DIGITS)
    )
    ranked = np.lexsort((order[found], found_distance), axis=1)
    found = np.take_along_axis(found, ranked, axis=1)
    found_distance = np.take_along_axis(found_distance, ranked, axis=1)
    most = min(n_nearest, wanted)
    index[asking, :most] = np.where(np.isinf(found_distance[:, :most]), -1, found[:, :most])
    distance[asking, :most] = found_distance[:, :most]
    if wanted > n_nearest:
        last, behind = found_distance[:, n_nearest - 1], found_distance[:, n_nearest]
        tied[asking] = np.isfinite(behind) & (last == behind)
    return Nearest(index=index, distance=distance, tied=tied)


def partial_rows(
    own: Floats,
    others: Floats,
    variable_of: Codes,
    weights: Floats,
) -> Floats:
    r"""Return distances of one incomplete school over what is known of it.

    .. math:: d^2 = \sum_{k \text{ known}} w_k \Delta_k^2 \,/\, \sum_{k \text{ known}} w_k

    Parameters
    ----------
    own : ndarray of shape (P,)
        Its scaled columns, NaN where missing.
    others : ndarray of shape (n, P)
        Complete schools.
    variable_of : ndarray of shape (P,)
        Number of the variable of every column.
    weights : ndarray of shape (K,)
        Weights of the variables, summing to 1.

    Returns
    -------
    ndarray of shape (n,)
        Infinite if nothing is known.
    """
    known = ~np.isnan(own)
    if not known.any():
        return np.full(len(others), np.inf)
    squared = (others[:, known] - own[known]) ** 2 @ weights[variable_of[known]]
    observed = weights[np.unique(variable_of[known])].sum()
    return np.asarray(np.sqrt(squared / observed))
