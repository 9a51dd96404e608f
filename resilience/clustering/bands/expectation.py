"""What result the conditions of a school let expect, and with which error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.clustering.bands.posterior import true_conditions
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
_PER_STRATUM = 10  # schools for an expectation of the stratum's own
_FOLDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class BandRows:
    """Schools of one year as the bands read them.

    Attributes
    ----------
    schools : DataFrame
        ``school_id`` and, where the table has it, ``year``.
    z : ndarray of shape (S, P)
        Scaled conditions, or the shrunken index as one column; what is missing follows from the
        rest, NaN where nothing is known.
    draws : ndarray of shape (D, S, P)
        True conditions, drawn from what the reported ones leave open.
    complete : ndarray of shape (S,)
        Whether every condition is known.
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
    complete: np.ndarray
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
    coefficients : ndarray of shape (folds, H + P)
        Constant and, with H > 1 strata, how H - 1 of them differ from their mean; slopes.
    covariance : ndarray of shape (folds, H + P, H + P)
        Of the coefficients, clustered by school.
    strata : tuple of str
        The H strata with a level of their own (ten schools or more); the others have their mean.
    years : tuple of int
        Years they were learnt from; empty for the year itself, in ten folds.
    n_schools : int
        School-years behind them.
    r2 : float
        Share of the variance of results that they explain there.
    """

    coefficients: Floats
    covariance: Floats
    strata: tuple[str, ...]
    years: tuple[int, ...]
    n_schools: int
    r2: float

    def expected(self, rows: BandRows) -> tuple[Floats, Floats]:
        """Return expected results and their standard errors.

        The error has two parts: of the coefficients, and of the conditions themselves.
        """
        fold = _folds(rows, len(self.coefficients))
        design = _design(rows, self.strata)
        expected = np.einsum("sp,sp->s", design, self.coefficients[fold])
        of_slopes = np.einsum("sp,spq,sq->s", design, self.covariance[fold], design)
        slopes = self.coefficients[fold][:, -rows.z.shape[1] :]
        drawn = np.einsum("dsp,sp->ds", rows.draws, slopes)
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
    open_ = scaled.has_errors or not scaled.complete.all()
    z, draws = true_conditions(scaled, n_draws if open_ else 0, generator)
    rows = _of_year(schools, scaled.year)
    return BandRows(
        schools=_identity(scaled.schools),
        z=z,
        draws=draws,
        complete=scaled.complete,
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

    .. math:: \hat x_j = m + r_j (x_j - m), \qquad r_j = \sigma^2 / (\sigma^2 + s_j^2), \qquad
              \sigma^2 = \mathrm{Var}(x) - \overline{s^2}

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
    true = max(spread - float((own**2).mean()), 0.0)
    reliability = np.divide(true, true + own**2, out=np.ones_like(x), where=own > 0.0)
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
        complete=np.isfinite(x),
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
    known = [rows.complete & np.isfinite(rows.outcome) for rows in years]
    strata = _own_strata(years, known)
    n = int(sum(k.sum() for k in known))
    n_columns = max(len(strata), 1) + (years[0].z.shape[1] if years else 0)
    if n < _PER_COLUMN * n_columns:
        raise DataError(text("bands.few_results", n=n, needed=_PER_COLUMN * n_columns))
    level = 0.0
    outcome = []
    for rows, own in zip(years, known, strict=True):
        if own.any():
            level = float(np.average(rows.outcome[own], weights=rows.pupils[own]))
            outcome.append(rows.outcome[own] - level)
    pairs = list(zip(years, known, strict=True))
    y, w = np.concatenate(outcome), np.concatenate([r.pupils[k] for r, k in pairs])
    design = np.concatenate([_design(r, strata)[k] for r, k in pairs])
    ids = np.concatenate([r.schools["school_id"].astype(str).to_numpy(object)[k] for r, k in pairs])
    fold = np.zeros(n, dtype=np.int64)
    if crossed:
        fold = _folds(years[0], _FOLDS)[known[0]]
    found = []
    for part in range(_FOLDS if crossed else 1):
        taken = fold != part if crossed else np.ones(n, dtype=bool)
        cluster = np.unique(ids[taken], return_inverse=True)[1].reshape(-1)
        found.append(clustered_regression(design[taken], y[taken], w[taken], cluster))
    coefficients = np.array([b for b, _ in found])
    errors = y - np.einsum("sp,sp->s", design, coefficients[fold])
    coefficients[:, 0] += level
    return Regression(
        coefficients=coefficients,
        covariance=np.array([v for _, v in found]),
        strata=strata,
        years=() if crossed else tuple(int(r.year) for r in years if r.year is not None),
        n_schools=n,
        r2=1.0 - float(np.average(errors**2, weights=w)) / float(np.average(y**2, weights=w)),
    )


def _own_strata(years: Sequence[BandRows], known: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Return the strata with schools enough for a level of their own."""
    schools: dict[str, set[str]] = {}
    for rows, own in zip(years, known, strict=True):
        ids = rows.schools["school_id"].astype(str).to_numpy(object)[own]
        for stratum, school in zip(rows.stratum[own], ids, strict=True):
            schools.setdefault(str(stratum), set()).add(school)
    return tuple(sorted(s for s, own in schools.items() if len(own) >= _PER_STRATUM))


def _design(rows: BandRows, strata: tuple[str, ...]) -> Floats:
    """Return constant, differences of strata from their mean, conditions."""
    levels = [(rows.stratum == s).astype(float) for s in strata]
    differences = [own - levels[-1] for own in levels[:-1]]
    return np.column_stack([np.ones(len(rows.z)), *differences, rows.z])


def _folds(rows: BandRows, n_folds: int) -> np.ndarray:
    """Return the fold of every school by the order of the ids, whatever the order of the rows."""
    ids = rows.schools["school_id"].astype(str).to_numpy(object)
    return np.argsort(np.argsort(ids, kind="stable"), kind="stable") % n_folds


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
