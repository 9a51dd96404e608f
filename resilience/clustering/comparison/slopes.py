"""Slopes of results on conditions, frozen before anybody is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.comparison.outcomes import table_of_results
from resilience.clustering.conditions.scaled import ScaledSchools
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_columns, check_instance, check_numeric, check_unique

__all__ = ["ConditionSlopes", "condition_slopes", "least_squares"]

Floats = NDArray[np.float64]

_PER_COLUMN = 5  # schools for every slope, below which slopes are noise


@dataclass(frozen=True, kw_only=True, eq=False)
class ConditionSlopes:
    """Slopes of results on scaled conditions.

    Attributes
    ----------
    columns : tuple of str
        Scaled columns, as in `ScaledSchools.columns`.
    estimate : ndarray of shape (P,)
        Outcome units per unit of the scaled column; read-only.
    intercept : float
        Expected result where every scaled column is 0.
    r2 : float
        Share of the variance of results that they explain in the schools they were fitted to.
    n_schools : int
        These schools.
    year : int or None
        Their year.
    """

    columns: tuple[str, ...]
    estimate: Floats
    intercept: float
    r2: float
    n_schools: int
    year: int | None

    def __post_init__(self) -> None:
        frozen = np.array(self.estimate)
        frozen.setflags(write=False)
        object.__setattr__(self, "estimate", frozen)

    def expected(self, values: Floats) -> Floats:
        """Return the expected results of scaled rows; a missing condition counts as average."""
        return np.asarray(self.intercept + np.nan_to_num(values) @ self.estimate)

    @property
    def table(self) -> pd.DataFrame:
        """``term estimate`` of every scaled column."""
        return pd.DataFrame({"term": list(self.columns), "estimate": self.estimate})


def least_squares(values: Floats, outcome: Floats) -> tuple[float, Floats]:
    """Return intercept and slopes; a missing condition counts as average."""
    design = np.column_stack([np.ones(len(outcome)), np.nan_to_num(values)])
    found, *_ = np.linalg.lstsq(design, outcome, rcond=None)
    return float(found[0]), np.asarray(found[1:])


def condition_slopes(
    scaled: ScaledSchools, results: Any, *, value: str = "mean_score"
) -> ConditionSlopes:
    r"""Regress results on scaled conditions, to correct comparisons for what still differs.

    Ordinary least squares over the schools with a result.  Fitted to a year before the one
    compared, the slopes owe nothing to the results that they correct.

    Parameters
    ----------
    scaled : ScaledSchools
        Conditions, on the scaling of the neighbours (``scaling=neighbours.scaled.scaling``).
    results : DataFrame or results of a model
        ``school_id`` and the column of values; where it has ``year``, the rows of the year of
        ``scaled`` count.
    value : str
        Column of the results.

    Raises
    ------
    DataError
        If a column is missing, or fewer than five schools stand behind every slope.
    """
    check_instance(scaled, ScaledSchools, argument="scaled", example="rs.scale_conditions(...)")
    table = table_of_results(results)
    check_columns(table, ["school_id", value], table="results")
    if "year" in table.columns and scaled.year is not None:
        table = table[table["year"] == scaled.year]
    check_unique(table, ["school_id"], table="results")
    check_numeric(table, [value], table="results")
    own = table.assign(school_id=table["school_id"].astype(str).to_numpy(dtype=object))
    ids = scaled.schools["school_id"].astype(str)
    outcome = own.set_index("school_id")[value].reindex(ids).to_numpy(dtype=float)
    known = np.isfinite(outcome)
    n, needed = int(known.sum()), _PER_COLUMN * (len(scaled.columns) + 1)
    if n < needed:
        raise DataError(
            text("neighbour_comparison.few_for_slopes", n=n, needed=needed, k=len(scaled.columns))
        )
    y = outcome[known]
    z = np.asarray(scaled.values)
    intercept, slopes = least_squares(z[known], y)
    left = y - intercept - np.nan_to_num(z[known]) @ slopes
    total = float(((y - y.mean()) ** 2).sum())
    return ConditionSlopes(
        columns=scaled.columns,
        estimate=slopes,
        intercept=intercept,
        r2=1.0 - float((left**2).sum()) / total if total > 0 else float("nan"),
        n_schools=n,
        year=scaled.year,
    )
