"""Profiles: how far each cluster lies from the region in every condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.clustering.profiles.labels import labels_of, scaled_of
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.clusters.effect_sizes import eta_squared, group_means

__all__ = ["cluster_profiles", "profile_table", "term_correlation"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def cluster_profiles(clusters: Any) -> pd.DataFrame:
    """Return how far each cluster lies from the region in every condition.

    Parameters
    ----------
    clusters : ClusterResults
        Or any result with ``.schools`` (``school_id cluster``) and ``.scaled``.

    Returns
    -------
    DataFrame
        See `profile_table`.

    Raises
    ------
    SpecificationError
        If the argument holds no clusters.
    """
    return profile_table(scaled_of(clusters), labels_of(clusters))


def profile_table(scaled: ScaledSchools, clusters: NDArray[Any]) -> pd.DataFrame:
    r"""Return one row per cluster and term.

    .. math:: d_{cx} = (\bar x_c - \bar x) / s_x, \qquad
        \eta^2_x = \sum_c n_c (\bar x_c - \bar x)^2 \big/ \sum_i (x_i - \bar x)^2

    Parameters
    ----------
    scaled : ScaledSchools
        The schools; means are taken of their natural values, every school alike.
    clusters : ndarray of shape (S,)
        Number of each school's cluster from 1; 0 or less for schools of no cluster, which count in
        the region's mean and standard deviation alone.

    Returns
    -------
    DataFrame
        ``cluster`` ``term`` ``condition`` ``kind`` ``mean`` ``mean_region``
        ``standardized_difference`` ``sd_within`` ``eta_squared`` (``stratum`` where there are
        strata) ``n_schools`` ``n_pupils`` ``share_rural`` ``share_small``: terms are columns in
        natural units, parts of a composition and levels of a category one by one; the last four
        describe the whole cluster and are NaN where the table of schools does not say.

    Raises
    ------
    DataError
        If there is not one label per school, or no school has one above 0.
    """
    given = np.asarray(clusters)
    if given.shape != (len(scaled.schools),):
        raise DataError(
            text("cluster_profiles.one_label", n=len(scaled.schools), shape=given.shape)
        )
    found, codes = codes_of(given)
    whole = _described(scaled.schools, codes, len(found))
    if scaled.strata:
        whole = {"stratum": _strata(scaled, codes, len(found)), **whole}
    blocks = {
        str(term): (variable, scaled.kinds[variable])
        for term, variable in zip(scaled.natural.columns, scaled.natural_blocks, strict=True)
    }
    return unit_profile(scaled.natural, blocks, codes, found, whole)


def unit_profile(
    natural: pd.DataFrame,
    blocks: dict[str, tuple[str, str]],
    codes: Codes,
    numbers: list[int],
    whole: dict[str, list[Any]],
) -> pd.DataFrame:
    """Return one row per cluster and term for units of any kind.

    Parameters
    ----------
    natural : DataFrame of shape (n, terms)
        Values in natural units.
    blocks : dict of {term: (condition, kind)}
        What the terms belong to.
    codes : ndarray of shape (n,)
        Place of each unit's cluster in ``numbers``, -1 without one.
    numbers : list of int
        Numbers of the clusters.
    whole : dict of {column: list}
        What describes each cluster as a whole.
    """
    rows = []
    for term, (condition, kind) in blocks.items():
        values = natural[term].to_numpy(dtype=np.float64, na_value=np.nan)
        own = group_means(values, codes, len(numbers))
        share = eta_squared(values, codes, len(numbers))
        for g, cluster in enumerate(numbers):
            rows.append(
                {
                    "cluster": cluster,
                    "term": term,
                    "condition": condition,
                    "kind": kind,
                    "mean": own.means[g],
                    "mean_region": own.mean,
                    "standardized_difference": own.differences[g],
                    "sd_within": own.spreads[g],
                    "eta_squared": share,
                    **{name: column[g] for name, column in whole.items()},
                }
            )
    order = {term: i for i, term in enumerate(blocks)}
    table = pd.DataFrame(rows)
    place = table["term"].map(order)
    return (
        table.assign(_place=place)
        .sort_values(["cluster", "_place"], kind="stable", ignore_index=True)
        .drop(columns="_place")
    )


def term_correlation(scaled: ScaledSchools) -> pd.DataFrame:
    """Return the correlations of the natural columns over the schools of which both are known.

    Returns
    -------
    DataFrame
        Square, by term; NaN where a column does not vary.
    """
    return scaled.natural.astype(np.float64).corr()


def codes_of(clusters: NDArray[Any]) -> tuple[list[int], Codes]:
    """Return the cluster numbers in order and every unit's place among them, -1 without one."""
    numbers = np.asarray(clusters, dtype=np.float64)
    inside = np.isfinite(numbers) & (numbers > 0)
    if not inside.any():
        raise DataError(text("cluster_profiles.no_labels"))
    found = np.unique(numbers[inside])
    codes = np.where(inside, np.searchsorted(found, np.where(inside, numbers, found[0])), -1)
    return [int(c) for c in found], codes.astype(np.int64)


def _described(schools: pd.DataFrame, codes: Codes, n_groups: int) -> dict[str, list[Any]]:
    """Return size, enrolment and settlement of the clusters."""
    own = codes >= 0
    counts = np.bincount(codes[own], minlength=n_groups)
    found: dict[str, list[Any]] = {"n_schools": counts.tolist()}
    pupils = _numbers(schools, "n_pupils")
    known = own & np.isfinite(pupils)
    totals = np.bincount(codes[known], weights=pupils[known], minlength=n_groups)
    any_known = np.bincount(codes[known], minlength=n_groups) > 0
    found["n_pupils"] = np.where(any_known, totals, np.nan).tolist()
    for name, column in (("share_rural", "is_rural"), ("share_small", "is_small")):
        found[name] = group_means(_numbers(schools, column), codes, n_groups).means.tolist()
    return found


def _numbers(schools: pd.DataFrame, column: str) -> Floats:
    if column not in schools.columns:
        return np.full(len(schools), np.nan)
    return np.asarray(
        pd.to_numeric(schools[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    )


def _strata(scaled: ScaledSchools, codes: Codes, n_groups: int) -> list[str]:
    """Return the stratum of every cluster; several, where labels were not made within strata."""
    return [" / ".join(np.unique(scaled.stratum[codes == g]).tolist()) for g in range(n_groups)]
