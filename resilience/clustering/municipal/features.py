"""What municipalities are compared by: few features, made of their schools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.profiles.labels import labels_of
from resilience.clustering.profiles.profile import codes_of
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.clusters.areas import (
    AreaUnits,
    area_means,
    area_shares,
    area_spread,
    hellinger_rows,
)
from resilience.validation import check_columns, shorten

__all__ = ["FEATURES", "Features", "most_features", "municipal_units", "school_features"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

FEATURES = ("context_spread", "share_small", "share_rural", "log_pupils")
_COPIES = 0.9  # |r| from which a feature repeats one that is chosen
_PER_FEATURE = 8  # municipalities for each feature
_LEAST_FEATURES = 2
_VARIES = 1e-12


def most_features(n_municipalities: int) -> int:
    """Return how many features so many municipalities bear: one for eight, two at least."""
    return max(_LEAST_FEATURES, n_municipalities // _PER_FEATURE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Features of municipalities, as they are and with schools drawn again.

    Attributes
    ----------
    rows : ndarray of shape (M, F)
        Scaled features of which clusters are made.
    redrawn : ndarray of shape (B, M, F)
        The same with the schools inside municipalities drawn again, on the same scale.
    natural : DataFrame of shape (M, F)
        The features as they are.
    table : DataFrame
        ``feature feature_reliability feature_used``, one row per candidate.
    divisor : float
        Distances between rows are divided by it.
    """

    rows: Floats
    redrawn: Floats
    natural: pd.DataFrame
    table: pd.DataFrame
    divisor: float


def municipal_units(scaled: ScaledSchools) -> tuple[list[str], AreaUnits]:
    """Return the municipalities in order and the schools in them, weighted by enrolment.

    Raises
    ------
    DataError
        If schools have no municipality.
    """
    schools = scaled.schools
    check_columns(schools, ["municipality_id"], table="schools")
    lacking = schools["municipality_id"].isna()
    if lacking.any():
        ids = schools.loc[lacking, "school_id"].astype(str)
        raise DataError(
            text("cluster_profiles.no_municipality", n=int(lacking.sum()), schools=shorten(ids))
        )
    names, areas = np.unique(schools["municipality_id"].astype(str), return_inverse=True)
    weights = numbers_of(schools, "n_pupils")
    # a school of unknown enrolment counts as the mean school
    usual = weights[np.isfinite(weights) & (weights > 0)]
    fallback = float(usual.mean()) if len(usual) else 1.0
    weights = np.where(np.isfinite(weights) & (weights > 0), weights, fallback)
    return [str(n) for n in names], AreaUnits(
        areas=areas.astype(np.int64), weights=weights, n_areas=len(names)
    )


def school_features(
    scaled: ScaledSchools,
    units: AreaUnits,
    *,
    asked: Sequence[str] | None,
    n_resamples: int,
    generator: np.random.Generator,
) -> Features:
    """Return enrolment-weighted means of the scaled conditions and what else tells places apart.

    Parameters
    ----------
    scaled : ScaledSchools
        The schools.
    units : AreaUnits
        Their municipalities.
    asked : sequence of str or None
        Which features; by default, of those that vary, the ones whose differences between
        municipalities owe least to which schools they happen to have, without copies, as many as
        the number of municipalities bears.
    n_resamples : int
        Draws of schools inside municipalities.
    generator : Generator
        Of the draws.

    Raises
    ------
    SpecificationError
        If more features are asked for than the municipalities bear.
    DataError
        If a feature asked for does not vary.
    """
    names = [*scaled.columns, *FEATURES]
    most = most_features(units.n_areas)
    if asked is not None and len(asked) > most:
        raise SpecificationError(
            text("cluster_profiles.many_features", n=len(asked), most=most, m=units.n_areas)
        )
    everyone = np.arange(len(scaled.schools))
    plain = _made(scaled, units, everyone)
    drawn = np.array(
        [_made(scaled, units, units.redrawn(generator)) for _ in range(n_resamples)]
    ).reshape(n_resamples, units.n_areas, len(names))
    spread = plain.std(axis=0)
    varies = np.isfinite(spread) & (spread > _VARIES * np.maximum(np.abs(plain).max(axis=0), 1.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.nan_to_num(drawn.var(axis=0).mean(axis=0))
        reliability = np.where(varies, np.clip(1.0 - noise / spread**2, 0.0, 1.0), np.nan)
    chosen = (
        _chosen(plain, reliability, varies, most)
        if asked is None
        else [_index(name, names, varies) for name in asked]
    )
    mean, scale = plain[:, chosen].mean(axis=0), spread[chosen]
    return Features(
        rows=(plain[:, chosen] - mean) / scale,
        redrawn=(drawn[:, :, chosen] - mean) / scale,
        natural=pd.DataFrame(plain[:, chosen], columns=[names[i] for i in chosen]),
        table=pd.DataFrame(
            {
                "feature": names,
                "feature_reliability": reliability,
                "feature_used": [i in chosen for i in range(len(names))],
            }
        ),
        divisor=float(np.sqrt(len(chosen))),
    )


def cluster_features(
    clusters: Any, units: AreaUnits, *, n_resamples: int, generator: np.random.Generator
) -> Features:
    """Return the shares of school clusters, so that distances are Hellinger's.

    Parameters
    ----------
    clusters : ClusterResults
        Clusters of the schools behind ``units``.
    units : AreaUnits
        The municipalities.
    n_resamples : int
        Draws of schools inside municipalities.
    generator : Generator
        Of the draws.

    Raises
    ------
    SpecificationError
        If there are more clusters than the municipalities bear.
    DataError
        If a municipality has no school of any cluster.
    """
    found, codes = codes_of(labels_of(clusters))
    most = most_features(units.n_areas)
    if len(found) - 1 > most:
        raise SpecificationError(
            text("cluster_profiles.many_shares", n=len(found), most=most + 1, m=units.n_areas)
        )
    shares = area_shares(units, codes, len(found), np.arange(len(codes)))
    if np.isnan(shares).any():
        n = int(np.isnan(shares).any(axis=1).sum())
        raise DataError(text("cluster_profiles.no_school_of_cluster", n=n))
    drawn = np.array(
        [
            area_shares(units, codes, len(found), units.redrawn(generator))
            for _ in range(n_resamples)
        ]
    ).reshape(n_resamples, units.n_areas, len(found))
    # a draw of nothing but schools outside clusters says as much as no draw
    drawn = np.where(np.isnan(drawn), shares[None], drawn)
    names = [f"cluster_{c}" for c in found]
    spread = shares.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = drawn.var(axis=0).mean(axis=0) if n_resamples else np.full(len(found), np.nan)
        reliability = np.where(spread > 0, np.clip(1.0 - noise / spread**2, 0.0, 1.0), np.nan)
    return Features(
        rows=hellinger_rows(shares),
        redrawn=hellinger_rows(drawn),
        natural=pd.DataFrame(shares, columns=names),
        table=pd.DataFrame(
            {"feature": names, "feature_reliability": reliability, "feature_used": True}
        ),
        divisor=1.0,
    )


def index_of(scaled: ScaledSchools) -> Floats:
    """Return the context index of schools, or what stands for it: the mean of signed conditions."""
    if "context_index" in scaled.schools.columns:
        found = numbers_of(scaled.schools, "context_index")
        if np.isfinite(found).any():
            return found
    return scaled.direction


def numbers_of(schools: pd.DataFrame, column: str) -> Floats:
    """Return a column as numbers, NaN where the table does not have it."""
    if column not in schools.columns:
        return np.full(len(schools), np.nan)
    numbers = pd.to_numeric(schools[column], errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))


def _made(scaled: ScaledSchools, units: AreaUnits, rows: Codes) -> Floats:
    """Return all candidate features of every municipality, from the schools of ``rows``."""
    flags = np.column_stack([numbers_of(scaled.schools, c) for c in ("is_small", "is_rural")])
    means = area_means(units, np.column_stack([scaled.z, flags]), rows)
    # nothing known of a condition in a municipality: the region's mean, which is 0
    means[:, : len(scaled.columns)] = np.nan_to_num(means[:, : len(scaled.columns)])
    spread = area_spread(units, index_of(scaled), rows)
    pupils = np.bincount(units.areas[rows], weights=units.weights[rows], minlength=units.n_areas)
    n_conditions = len(scaled.columns)
    return np.column_stack(
        [means[:, :n_conditions], spread, means[:, n_conditions:], np.log(pupils)]
    )


def _chosen(plain: Floats, reliability: Floats, varies: NDArray[np.bool_], most: int) -> list[int]:
    order = [int(i) for i in np.argsort(-np.nan_to_num(np.round(reliability, 10)), kind="stable")]
    found: list[int] = []
    for i in order:
        if not varies[i] or len(found) == most:
            continue
        alike = [abs(float(np.corrcoef(plain[:, i], plain[:, j])[0, 1])) for j in found]
        if all(r <= _COPIES for r in alike):
            found.append(i)
    if not found:
        raise DataError(text("cluster_profiles.no_feature"))
    return sorted(found)


def _index(name: str, names: list[str], varies: NDArray[np.bool_]) -> int:
    if name not in names:
        raise SpecificationError(
            text("cluster_profiles.unknown_feature", name=repr(name), known=shorten(names, 20))
        )
    if not varies[names.index(name)]:
        raise DataError(text("cluster_profiles.constant_feature", name=repr(name)))
    return names.index(name)
