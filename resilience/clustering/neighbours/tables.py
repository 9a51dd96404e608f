"""Tables of neighbours: the lists, and the quality of every list."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.neighbours.lists import Frame, kernel_weights
from resilience.clustering.neighbours.search import Nearest
from resilience.i18n import Bilingual, decimal, text
from resilience.stats.clusters.partitions import Floats

__all__ = ["neighbour_table", "quality_table"]


def neighbour_table(
    scaled: ScaledSchools,
    nearest: Nearest,
    kept: NDArray[np.bool_],
    *,
    kernel_caliper: float | None,
    distance_km: Floats | None,
) -> pd.DataFrame:
    """Return a row per school and neighbour.

    Parameters
    ----------
    scaled : ScaledSchools
        The schools.
    nearest : Nearest
        Candidates.
    kept : ndarray of shape (S, m), bool
        Who is on the lists.
    kernel_caliper : float or None
        Where weights fall to 0; None for equal ones.
    distance_km : ndarray of shape (S, m), optional
        Great-circle distances.
    """
    ids = scaled.schools["school_id"].to_numpy()
    weights = kernel_weights(nearest.distance, kept, kernel_caliper)
    row, column = np.nonzero(kept)
    rank = np.cumsum(kept, axis=1)
    distance = nearest.distance[row, column]
    largest = float(distance.max()) if len(distance) else 0.0
    table = pd.DataFrame(
        {
            "school_id": ids[row],
            "neighbour_id": ids[nearest.index[row, column]],
            "neighbour_rank": rank[row, column],
            "distance": distance,
            "weight": weights[row, column],
            "distance_relative": distance / largest if largest > 0 else distance,
        }
    )
    if distance_km is not None:
        table["distance_km"] = distance_km[row, column]
    return table


def quality_table(
    scaled: ScaledSchools,
    frame: Frame,
    nearest: Nearest,
    near: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    table: pd.DataFrame,
    minimum: int,
    caliper: float | None,
    small_stratum: int,
) -> pd.DataFrame:
    """Return a row per school: how like its neighbours are, or why it has none."""
    n = len(kept)
    ids = scaled.schools["school_id"].to_numpy()
    counts = kept.sum(axis=1)
    has = counts > 0
    total = np.where(kept, nearest.distance, 0.0)
    mean = np.where(has, total.sum(axis=1) / np.maximum(counts, 1), np.nan)
    percentile = np.full(n, np.nan)
    percentile[has] = (pd.Series(mean[has]).rank(method="average").to_numpy() - 0.5) / has.sum()
    imbalance, variable = _imbalance(scaled, nearest, kept, table)
    times = np.bincount(nearest.index[kept], minlength=n)
    reasons: list[str] = [
        "" if has[j] else _reason(scaled, frame, nearest, near, j, minimum, caliper, small_stratum)
        for j in range(n)
    ]
    return pd.DataFrame(
        {
            "school_id": ids,
            "stratum": pd.Series([str(s) for s in scaled.stratum]),
            "n_neighbours": counts,
            "distance_mean": mean,
            "distance_max": np.where(has, total.max(axis=1, initial=0.0), np.nan),
            "distance_percentile": percentile,
            "imbalance_max": imbalance,
            "imbalance_variable": pd.Series(variable, dtype=object),
            "n_times_neighbour": times,
            "share_reciprocal": _reciprocal(nearest, kept),
            "tied": nearest.tied & has & (counts == kept.shape[1]),
            "placed": ~frame.complete,
            "verdict": np.where(has, "enough", "insufficient_data"),
            "reason": pd.Series(reasons, dtype=object),
        }
    )


def _imbalance(
    scaled: ScaledSchools, nearest: Nearest, kept: NDArray[np.bool_], table: pd.DataFrame
) -> tuple[Floats, list[str | None]]:
    """Return the largest standardised difference of a school from its list, and its variable."""
    weights = np.zeros(kept.shape)
    weights[kept] = table["weight"].to_numpy()  # rows of the table follow the order of `kept`
    z = scaled.z
    means = np.einsum("sm,smp->sp", weights, np.nan_to_num(z)[np.maximum(nearest.index, 0)])
    gaps = np.abs(z - means)
    has = kept.any(axis=1)
    found = np.full(len(kept), np.nan)
    names: list[str | None] = [None] * len(kept)
    for j in np.flatnonzero(has):
        known = ~np.isnan(gaps[j])
        if known.any():
            at = int(np.nanargmax(gaps[j]))
            found[j], names[j] = gaps[j, at], scaled.columns[at]
    return found, names


def _reciprocal(nearest: Nearest, kept: NDArray[np.bool_]) -> Floats:
    """Return the share of a school's neighbours that name it too."""
    n = len(kept)
    row, column = np.nonzero(kept)
    other = nearest.index[row, column]
    pairs = row.astype(np.int64) * n + other
    back = np.isin(other.astype(np.int64) * n + row, pairs)
    named = np.bincount(row, weights=back, minlength=n)
    counts = kept.sum(axis=1)
    return np.where(counts > 0, named / np.maximum(counts, 1), np.nan)


def _reason(
    scaled: ScaledSchools,
    frame: Frame,
    nearest: Nearest,
    near: NDArray[np.bool_],
    j: int,
    minimum: int,
    caliper: float | None,
    small_stratum: int,
) -> Bilingual:
    """Return why a school has no list."""
    size = int((frame.stratum == frame.stratum[j]).sum())
    if np.isnan(scaled.z[j]).all():
        return text("neighbours.reason_unknown")
    if size < small_stratum:
        return text("neighbours.reason_stratum", stratum=str(scaled.stratum[j]) or "—", n=size)
    found = int(near[j].sum())
    if not frame.complete[j] and np.isinf(nearest.distance[j]).all():
        return text("neighbours.reason_incomplete")
    if caliper is None:
        return text("neighbours.reason_few", n=found, minimum=minimum)
    return text("neighbours.reason_caliper", n=found, minimum=minimum, caliper=decimal(caliper, 2))
