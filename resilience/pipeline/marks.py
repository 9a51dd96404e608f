"""Mean marks of schools: what the weights of a supervised context index are estimated against.

Effects of schools do not rest on them; a model of counts reads the marks themselves.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.data.schema import MARKS
from resilience.validation import check_columns, check_finite, check_not_empty, check_numeric

__all__ = ["has_marks", "mean_marks"]

_VALUES = np.array([2.0, 3.0, 4.0, 5.0])
_CELL = ["school_id", "year", "procedure"]


def has_marks(counts: pd.DataFrame | None) -> bool:
    """Return whether a table of counts holds any marks."""
    if counts is None or not set(MARKS) <= set(counts.columns):
        return False
    return bool(counts[list(MARKS)].notna().any(axis=None))


def mean_marks(counts: pd.DataFrame) -> pd.DataFrame:
    """Return one row per school and year with a standardised mean mark.

    Marks 2 to 5 are standardised over the pupils of the region within procedure and year; the mean
    of a school-year over its procedures has weights proportional to participants.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_2 n_3 n_4 n_5``.  Rows with none of the four counts (test
        scores without marks) are left aside, and so are a procedure and year in which all marks of
        the region are equal: they tell no school from another.

    Returns
    -------
    DataFrame
        ``school_id year mean_score``, in SD of marks.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, or has a gap in one mark.
    """
    check_not_empty(counts, table="counts")
    check_columns(counts, [*_CELL, *MARKS], table="counts")
    check_numeric(counts, MARKS, table="counts")
    # one mark alone missing is a gap, which a sum would read as zero
    counts = counts[counts[list(MARKS)].notna().any(axis=1)]
    check_finite(counts, [*_CELL, *MARKS], table="counts", unit="school_id")
    table = counts.groupby(_CELL, observed=True, sort=True)[list(MARKS)].sum().reset_index()
    marks = table[list(MARKS)].to_numpy(dtype=float)
    table = table.assign(n=marks.sum(axis=1), points=marks @ _VALUES, squares=marks @ _VALUES**2)
    totals = table.groupby(["procedure", "year"], observed=True)[["n", "points", "squares"]]
    n, points, squares = totals.transform("sum").to_numpy(dtype=float).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = points / n
        spread = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
        table["standard"] = (table["points"] - table["n"] * mean) / spread
    told = table[(table["n"] > 0) & (spread > 1e-9)]
    check_not_empty(told, table="counts")
    sums = told.groupby(["school_id", "year"], observed=True, sort=True)[["standard", "n"]].sum()
    sums["mean_score"] = sums["standard"] / sums["n"]
    years: pd.DataFrame = sums[["mean_score"]].reset_index()
    return years
