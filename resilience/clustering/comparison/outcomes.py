"""Unshrunken results of schools with their sampling variances, read from any table of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.columns import column, column_names
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, numeral, text
from resilience.validation import (
    check_columns,
    check_not_empty,
    check_numeric,
    check_positive,
    check_unique,
    nearest_names,
    shorten,
)

__all__ = ["Outcomes", "decimal", "read_outcomes", "table_of_results"]

Floats = NDArray[np.float64]

RESIDUAL = "residual"
VARIANCE = "sampling_variance"
_CELLS = ("year", "subject")
_EFFECTS = ("effect", "reliability", "conditional_sd")


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Results in the order of the schools asked for, NaN for a school without any.

    Attributes
    ----------
    results, variances : ndarray of shape (S,)
        Results and their sampling variances.
    n_pupils, n_years : ndarray of shape (S,)
        Data behind them; NaN pupils where the table does not say.
    strangers : tuple of str
        Schools of the table that were not asked for.
    """

    results: Floats
    variances: Floats
    n_pupils: Floats
    n_years: Floats
    strangers: tuple[str, ...]


def decimal(value: float, digits: int = 2) -> Bilingual:
    """Return a number for both languages: a decimal comma in Russian, no zeros at the end."""
    shown = f"{value:.{digits}f}".rstrip("0").rstrip(".").replace("-", "−")
    return numeral(shown)


def table_of_results(results: Any) -> pd.DataFrame:
    """Return the table of results: as given, or ``.school_effects`` of a fitted model.

    Raises
    ------
    SpecificationError
        If it is neither.
    """
    if isinstance(results, pd.DataFrame):
        return results
    effects = getattr(results, "school_effects", None)
    if isinstance(effects, pd.DataFrame):
        return effects
    raise SpecificationError(text("neighbour_comparison.results", kind=type(results).__name__))


def read_outcomes(
    results: Any,
    school_ids: Sequence[str],
    *,
    value: str,
    std_error: str | None = None,
    pupil_sd: float | None = None,
) -> Outcomes:
    """Read the results of schools.

    Several years or subjects of a school are averaged, each over its own mean of all schools, so
    that a school is not flattered by the years in which it was seen.

    Parameters
    ----------
    results : DataFrame or results of a model
        ``school_id``, the column of values, and ``year`` or ``subject`` where there are several
        rows of a school.  A table of school effects gives ``residual`` from its ``effect`` and
        ``reliability``.
    school_ids : sequence of str
        Which schools, in which order.
    value : str
        Column of the results; shrunken ones are refused.
    std_error : str, optional
        Column of standard errors; ``sampling_variance`` of the table by default.
    pupil_sd : float, optional
        SD of pupils within schools, in the unit of the results: the sampling variance is its
        square over ``n_pupils``.

    Raises
    ------
    DataError
        If columns are missing, or a school has a result and no sampling variance.
    SpecificationError
        If the column is shrunken, or nothing says where the sampling variance comes from.
    """
    table = table_of_results(results)
    check_not_empty(table, table="results")
    check_columns(table, ["school_id"], table="results")
    table = _derived(table, value)
    _check_value(table, value)
    key = ["school_id", *(c for c in _CELLS if c in table.columns)]
    check_unique(table, key, table="results")
    check_numeric(table, [value], table="results")
    values = table[value].to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(values).any():
        first = table.loc[np.isinf(values), "school_id"].iloc[0]
        raise DataError(text("neighbour_comparison.infinite", column=repr(value), school=first))
    variances = _variances(table, value, std_error, pupil_sd)
    known = np.isfinite(values)
    _check_variances(table, value, variances, known)
    pupils = (
        table["n_pupils"].to_numpy(dtype=float, na_value=np.nan)
        if "n_pupils" in table.columns
        else np.full(len(table), np.nan)
    )
    rows = table[key].assign(
        school_id=table["school_id"].astype(str).to_numpy(dtype=object),
        value=values,
        variance=variances,
        pupils=pupils,
    )[known]
    return _averaged(rows, key[1:], [str(s) for s in school_ids])


def _derived(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Add the residual before shrinkage where a table of school effects is given."""
    if value != RESIDUAL or RESIDUAL in table.columns or not set(_EFFECTS) <= set(table.columns):
        return table
    check_numeric(table, list(_EFFECTS), table="results")
    effect, trust, spread = (table[c].to_numpy(dtype=float) for c in _EFFECTS)
    inside = (trust > 0) & (trust < 1) & (spread > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(inside, effect / trust, np.nan)
        # 1/A with A = reliability / (sigma^2 (1 - reliability)), sigma^2 = sd^2 / (1 - reliability)
        variance = np.where(inside, spread**2 / trust, np.nan)
    if not inside.any():
        raise DataError(text("neighbour_comparison.no_variation"))
    return table.assign(**{RESIDUAL: residual, VARIANCE: variance})


def _check_value(table: pd.DataFrame, value: str) -> None:
    if not isinstance(value, str):
        raise SpecificationError(text("neighbour_comparison.value", value=repr(value)))
    if value in column_names() and column(value).shrunken:
        raise SpecificationError(text("neighbour_comparison.shrunken", column=repr(value)))
    check_columns(table, [value], table="results")


def _variances(
    table: pd.DataFrame, value: str, std_error: str | None, pupil_sd: float | None
) -> Floats:
    """Return the sampling variance of every row, NaN where it is missing."""
    if std_error is not None and pupil_sd is not None:
        raise SpecificationError(text("neighbour_comparison.two_errors"))
    if pupil_sd is not None:
        check_positive(pupil_sd, argument="pupil_sd")
        check_columns(table, ["n_pupils"], table="results")
        check_numeric(table, ["n_pupils"], table="results")
        with np.errstate(divide="ignore"):
            return np.asarray(pupil_sd**2 / table["n_pupils"].to_numpy(dtype=float))
    if std_error is not None:
        check_columns(table, [std_error], table="results")
        check_numeric(table, [std_error], table="results")
        errors = table[std_error].to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(np.where(errors < 0, np.nan, errors) ** 2)
    if VARIANCE not in table.columns:
        near = nearest_names(f"{value}_std_error", [str(c) for c in table.columns])
        raise SpecificationError(
            text("neighbour_comparison.no_error", column=repr(value), nearest=near)
        )
    check_numeric(table, [VARIANCE], table="results")
    return np.asarray(table[VARIANCE].to_numpy(dtype=float, na_value=np.nan))


def _check_variances(
    table: pd.DataFrame, value: str, variances: Floats, known: NDArray[np.bool_]
) -> None:
    """Raise for schools with a result of which nobody knows how precise it is."""
    bad = known & ~(np.isfinite(variances) & (variances > 0))
    if bad.any():
        schools = table.loc[bad, "school_id"].astype(str)
        raise DataError(
            text(
                "neighbour_comparison.no_variance",
                n=int(schools.nunique()),
                schools=shorten(schools.unique()),
                column=repr(value),
                seen=variances[bad][0],
            )
        )


def _averaged(rows: pd.DataFrame, cells: list[str], school_ids: list[str]) -> Outcomes:
    """Return means over the years and subjects of every school."""
    if cells:
        mean = rows.groupby(cells, observed=True)["value"].transform("mean")
        rows = rows.assign(value=rows["value"] - mean + rows["value"].mean())
    years = "year" if "year" in cells else "school_id"
    own = rows.groupby("school_id", observed=True, sort=True)
    table = pd.DataFrame(
        {
            "value": own["value"].mean(),
            "variance": own["variance"].sum() / own.size() ** 2,
            "pupils": own["pupils"].sum(min_count=1),
            "years": own[years].nunique(),
        }
    )
    found = table.reindex(school_ids)
    strangers = tuple(str(s) for s in table.index.difference(pd.Index(school_ids), sort=True))
    return Outcomes(
        results=found["value"].to_numpy(dtype=float),
        variances=found["variance"].to_numpy(dtype=float),
        n_pupils=found["pupils"].to_numpy(dtype=float),
        n_years=found["years"].to_numpy(dtype=float),
        strangers=strangers,
    )
