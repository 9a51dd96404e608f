"""What result the conditions of a school let expect, and with which error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.conditions.scaled import Scaling, scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.clusters.bands import clustered_regression
from resilience.stats.clusters.partitions import Floats
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["BandRows", "Regression", "learn_regression", "rows_of_conditions", "rows_of_index"]

_PER_COLUMN = 5  # schools for every slope
_FOLDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class BandRows:
    """Schools of one year as the bands read them.

    Attributes
    ----------
    schools : DataFrame
        ``school_id`` and, where the table has it, ``year``.
    z : ndarray of shape (S, P)
        Scaled conditions, or the shrunken index as one column; NaN where missing.
    draws : ndarray of shape (D, S, P)
        The same with sampling and stated errors drawn anew.
    pupils : ndarray of shape (S,)
        Pupils; ones where the table has none.
    stratum : ndarray of shape (S,)
        Labels.
    outcome : ndarray of shape (S,)
        Results, NaN where missing.
    year : int or None
        Their year.
    scaling : Scaling or None
        Of the conditions.
    """

    schools: pd.DataFrame
    z: Floats
    draws: Floats
    pupils: Floats
    stratum: np.ndarray
    outcome: Floats
    year: int | None
    scaling: Scaling | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Expected results by conditions, frozen.

    Attributes
    ----------
    coefficients : ndarray of shape (folds, 1 + P)
        Constant and slopes.
    covariance : ndarray of shape (folds, 1 + P, 1 + P)
        Of the coefficients, clustered by school.
    years : tuple of int
        Years they were learnt from; empty for the year itself, in ten folds.
    n_schools : int
        School-years behind them.
    r2 : float
        Share of the variance of results that they explain there.
    """

    coefficients: Floats
    covariance: Floats
    years: tuple[int, ...]
    n_schools: int
    r2: float

    def expected(self, rows: BandRows) -> tuple[Floats, Floats]:
        """Return expected results and their standard errors.

        The error has two parts: of the coefficients, and of the conditions themselves.
        """
        fold = np.arange(len(rows.z)) % len(self.coefficients)
        design = np.column_stack([np.ones(len(rows.z)), rows.z])
        expected = np.einsum("sp,sp->s", design, self.coefficients[fold])
        of_slopes = np.einsum("sp,spq,sq->s", design, self.covariance[fold], design)
        drawn = np.einsum("dsp,sp->ds", rows.draws, self.coefficients[fold][:, 1:])
        of_conditions = drawn.var(axis=0, ddof=1) if len(drawn) > 1 else np.zeros(len(expected))
        return expected, np.sqrt(np.maximum(of_slopes, 0.0) + of_conditions)


def rows_of_conditions(
    schools: pd.DataFrame,
    conditions: Conditions,
    outcome: str | None,
    *,
    year: int | None,
    scaling: Scaling | None,
    strata: Sequence[str],
    n_draws: int,
    random_state: int | None,
) -> BandRows:
    """Return the schools of a year by their conditions."""
    scaled = scale_conditions(schools, conditions, year=year, scaling=scaling, strata=strata)
    generator = np.random.default_rng(random_state)
    drawn = (
        np.stack([scaled.redrawn(generator) for _ in range(n_draws)])
        if n_draws and scaled.has_errors
        else np.zeros((0, *scaled.z.shape))
    )
    rows = _of_year(schools, scaled.year)
    return BandRows(
        schools=_identity(scaled.schools),
        z=scaled.z,
        draws=drawn,
        pupils=_pupils(rows),
        stratum=np.asarray(scaled.stratum),
        outcome=_results(rows, outcome),
        year=scaled.year,
        scaling=scaled.scaling,
    )


def rows_of_index(
    schools: pd.DataFrame,
    index: str,
    outcome: str | None,
    *,
    year: int | None,
    strata: Sequence[str],
    n_draws: int,
    random_state: int | None,
) -> BandRows:
    r"""Return the schools of a year by a ready index, drawn to its mean by its reliability.

    .. math:: \hat x = m + r\,(x - m), \qquad r = 1 - \overline{s^2} / \mathrm{Var}(x)

    The column ``<index>_std_error`` is read where the table has it; without it r = 1.
    """
    error = f"{index}_std_error"
    check_not_empty(schools, table="schools")
    check_columns(schools, ["school_id", index, *strata], table="schools")
    chosen = year
    if "year" in schools.columns:
        check_numeric(schools, ["year"], table="schools")
        check_finite(schools, ["year"], table="schools", unit="school_id")
        years = sorted({int(y) for y in schools["year"]})
        chosen = years[-1] if year is None else year
        if chosen not in years:
            raise DataError(text("conditions.year", year=chosen, years=shorten(years, 12)))
    rows = _of_year(schools, chosen if "year" in schools.columns else None)
    check_unique(rows, ["school_id"], table="schools")
    check_numeric(rows, [index], table="schools")
    x = rows[index].to_numpy(dtype=np.float64, na_value=np.nan)
    spread = float(np.nanvar(x))
    if not spread > 0.0:
        raise DataError(text("conditions.constant", column=repr(index), value=f"{np.nanmean(x):g}"))
    own = np.zeros(len(x))
    if error in rows.columns:
        check_numeric(rows, [error], table="schools")
        own = np.nan_to_num(rows[error].to_numpy(dtype=np.float64, na_value=np.nan))
    reliability = max(1.0 - float((own**2).mean()) / spread, 0.0)
    shrunken = np.nanmean(x) + reliability * (x - np.nanmean(x))
    # what shrinkage leaves open of the true index
    left = np.sqrt(reliability) * own
    generator = np.random.default_rng(random_state)
    draws = shrunken + left * generator.standard_normal((n_draws if own.any() else 0, len(x)))
    labels = [
        ", ".join(f"{name}={value}" for name, value in zip(strata, values, strict=True))
        for values in zip(*(rows[name] for name in strata), strict=True)
    ] or [""] * len(rows)
    return BandRows(
        schools=_identity(rows),
        z=shrunken[:, None],
        draws=draws[:, :, None],
        pupils=_pupils(rows),
        stratum=np.array(labels, dtype=np.str_),
        outcome=_results(rows, outcome),
        year=chosen,
        scaling=None,
    )


def learn_regression(years: Sequence[BandRows], *, crossed: bool) -> Regression:
    """Return the regression of results on conditions.

    Parameters
    ----------
    years : sequence of BandRows
        Earlier years; results count as differences from the pupils' mean of their year, to which
        the mean of the last year is added.
    crossed : bool
        Whether the one year given is the year to be cut: ten folds, each predicted by the others.

    Raises
    ------
    DataError
        If there are fewer than five schools for every slope.
    """
    values, outcome, weights, ids, level = [], [], [], [], 0.0
    for rows in years:
        known = np.isfinite(rows.outcome) & ~np.isnan(rows.z).any(axis=1)
        if not known.any():
            continue
        level = float(np.average(rows.outcome[known], weights=rows.pupils[known]))
        values.append(rows.z[known])
        outcome.append(rows.outcome[known] - level)
        weights.append(rows.pupils[known])
        ids.append(rows.schools["school_id"].astype(str).to_numpy(dtype=object)[known])
    n_columns = 1 + (years[0].z.shape[1] if years else 0)
    n = sum(map(len, outcome))
    if n < _PER_COLUMN * n_columns:
        raise DataError(text("bands.few_results", n=n, needed=_PER_COLUMN * n_columns))
    x, y, w = (np.concatenate(parts) for parts in (values, outcome, weights))
    design = np.column_stack([np.ones(n), x])
    cluster = np.unique(np.concatenate(ids), return_inverse=True)[1].reshape(-1)
    found = []
    if crossed:
        known = np.isfinite(years[0].outcome) & ~np.isnan(years[0].z).any(axis=1)
        fold = (np.arange(len(known)) % _FOLDS)[known]
        for part in range(_FOLDS):
            others = fold != part
            codes = np.unique(cluster[others], return_inverse=True)[1].reshape(-1)
            found.append(clustered_regression(design[others], y[others], w[others], codes))
    else:
        found.append(clustered_regression(design, y, w, cluster))
    errors = y - design @ np.mean([b for b, _ in found], axis=0)
    coefficients = np.array([b for b, _ in found])
    coefficients[:, 0] += level
    return Regression(
        coefficients=coefficients,
        covariance=np.array([v for _, v in found]),
        years=() if crossed else tuple(int(r.year) for r in years if r.year is not None),
        n_schools=n,
        r2=1.0 - float(np.average(errors**2, weights=w)) / float(np.average(y**2, weights=w)),
    )


def _identity(table: pd.DataFrame) -> pd.DataFrame:
    return table[[c for c in ("school_id", "year") if c in table.columns]].reset_index(drop=True)


def _of_year(schools: pd.DataFrame, year: int | None) -> pd.DataFrame:
    rows = schools if year is None else schools[schools["year"] == year]
    return rows.reset_index(drop=True)


def _pupils(rows: pd.DataFrame) -> Floats:
    if "n_pupils" not in rows.columns:
        return np.ones(len(rows))
    check_numeric(rows, ["n_pupils"], table="schools")
    pupils = rows["n_pupils"].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~(pupils > 0)
    if bad.any():
        raise DataError(
            text(
                "conditions.base",
                column="'n_pupils'",
                n=int(bad.sum()),
                schools=shorten(rows.loc[bad, "school_id"].astype(str)),
            )
        )
    return pupils


def _results(rows: pd.DataFrame, outcome: str | None) -> Floats:
    if outcome is None or outcome not in rows.columns:
        return np.full(len(rows), np.nan)
    check_numeric(rows, [outcome], table="schools")
    return rows[outcome].to_numpy(dtype=np.float64, na_value=np.nan)
