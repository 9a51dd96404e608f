"""Candidates of every school inside its stratum, and the lists cut from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.clustering.neighbours.metrics import MetricWeights, mahalanobis_rows
from resilience.clustering.neighbours.search import Nearest, nearest_schools, partial_rows
from resilience.stats.clusters.partitions import Codes, Floats

__all__ = ["Frame", "find_nearest", "kernel_weights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """Who may be compared with whom; the same for every redrawing of the values.

    Attributes
    ----------
    variable_of : ndarray of shape (P,)
        Number of the variable of every scaled column.
    stratum : ndarray of shape (S,)
        Code of the stratum.
    order : ndarray of shape (S,)
        Rank of the id: decides ties.
    entity : ndarray of shape (S,)
        Code of the entity; a number of its own for every school without one.
    complete : ndarray of shape (S,), bool
        Schools of which everything is known: they alone are neighbours of others.
    """

    variable_of: Codes
    stratum: Codes
    order: Codes
    entity: Codes
    complete: NDArray[np.bool_]


def find_nearest(
    values: Floats,
    frame: Frame,
    metric: MetricWeights | None,
    n_nearest: int,
) -> Nearest:
    """Return the nearest schools of every school inside its stratum.

    Parameters
    ----------
    values : ndarray of shape (S, P)
        Scaled columns.
    frame : Frame
        Strata, entities, gaps.
    metric : MetricWeights or None
        Weights of the variables; None for Mahalanobis' distance.
    n_nearest : int
        How many.
    """
    n = len(values)
    index = np.full((n, n_nearest), -1, dtype=np.int64)
    distance = np.full((n, n_nearest), np.inf)
    tied = np.zeros(n, dtype=bool)
    folds = np.zeros(n, dtype=np.int64) if metric is None else metric.fold
    for fold in range(1 if metric is None else len(metric.weights)):
        asks = folds == fold
        if metric is None:
            rows = mahalanobis_rows(np.nan_to_num(values), frame.complete)
            weights = None
        else:
            weights = metric.weights[fold]
            rows = np.nan_to_num(values) * np.sqrt(weights[frame.variable_of])
        for code in np.unique(frame.stratum[asks]):
            inside = np.flatnonzero(frame.stratum == code)
            found = nearest_schools(
                rows[inside],
                frame.order[inside],
                _compact(frame.entity[inside]),
                n_nearest=n_nearest,
                queries=asks[inside] & frame.complete[inside],
                candidates=frame.complete[inside],
            )
            asking = asks[inside] & frame.complete[inside]
            index[inside[asking]] = np.where(
                found.index[asking] >= 0, inside[found.index[asking]], -1
            )
            distance[inside[asking]] = found.distance[asking]
            tied[inside[asking]] = found.tied[asking]
            if weights is not None:
                for j in inside[asks[inside] & ~frame.complete[inside]]:
                    _place(j, inside, values, frame, weights, index, distance)
    return Nearest(index=index, distance=distance, tied=tied)


def _compact(codes: Codes) -> Codes:
    return np.asarray(np.unique(codes, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def _place(
    j: int,
    inside: Codes,
    values: Floats,
    frame: Frame,
    weights: Floats,
    index: Codes,
    distance: Floats,
) -> None:
    """Write the list of a school with gaps, by partial distances."""
    others = inside[frame.complete[inside] & (frame.entity[inside] != frame.entity[j])]
    if not len(others):
        return
    found = partial_rows(values[j], values[others], frame.variable_of, weights)
    ranked = np.lexsort((frame.order[others], np.round(found, 10)))[: index.shape[1]]
    known = np.isfinite(found[ranked])
    index[j, : len(ranked)] = np.where(known, others[ranked], -1)
    distance[j, : len(ranked)] = found[ranked]


def kernel_weights(distance: Floats, kept: NDArray[np.bool_], caliper: float | None) -> Floats:
    """Return weights of neighbours that sum to 1 over every list: equal, or falling to the caliper.

    Parameters
    ----------
    distance : ndarray of shape (S, m)
        Distances.
    kept : ndarray of shape (S, m), bool
        Who is on the list.
    caliper : float or None
        None for equal weights; else weights fall linearly to 0 there.
    """
    raw = kept.astype(np.float64)
    if caliper is not None:
        raw *= np.maximum(0.0, 1.0 - np.where(kept, distance, caliper) / caliper)
    total = raw.sum(axis=1, keepdims=True)
    # a list whose members all stand exactly at the caliper has equal weights
    raw = np.where((total == 0.0) & kept, 1.0, raw)
    return np.asarray(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-300))
