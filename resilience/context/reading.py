"""The table of schools, checked and turned into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from resilience.context.variables import IndexInput
from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["SchoolTable", "read_schools"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TABLE = "schools"
KEY = ("school_id", "year")
# Shares arrive rounded and summed; a value above 1 by less than this is a rounding of 1.
SHARE_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class SchoolTable:
    """School-years as arrays, in the order of the caller's rows.

    Attributes
    ----------
    school_id : Series of length n_rows
        As given.
    school : ndarray of shape (n_rows,)
        Number of the school in the sorted list of schools.
    year : ndarray of shape (n_rows,)
        Years.
    n_pupils : ndarray of shape (n_rows,)
        Pupils, above 0.
    values : ndarray of shape (n_rows, n_items)
        Items as given, NaN where missing.
    outcome : ndarray of shape (n_rows,) or None
        Results, NaN where missing.
    """

    school_id: pd.Series[Any]
    school: Integers
    year: Integers
    n_pupils: Floats
    values: Floats
    outcome: Floats | None

    @property
    def years(self) -> tuple[int, ...]:
        """Years of the table, ascending."""
        return tuple(int(y) for y in np.unique(self.year))

    @property
    def n_schools(self) -> int:
        """Number of different schools."""
        return int(self.school.max()) + 1


def read_schools(
    schools: pd.DataFrame, items: Sequence[IndexInput], outcome: str | None
) -> SchoolTable:
    """Return the checked arrays of a table of schools.

    Raises
    ------
    DataError
        If a column is missing, empty where it may not be, not numeric or infinite; if a share lies
        outside 0..1; if a school-year repeats; if `n_pupils` is not above 0.
    """
    if not isinstance(schools, pd.DataFrame):
        raise DataError(text("context.not_a_table", kind=type(schools).__name__))
    check_not_empty(schools, table=TABLE)
    if "year" not in schools.columns:
        raise DataError(text("context.no_year"))
    names = [item.name for item in items]
    needed = [*KEY, "n_pupils", *names, *([outcome] if outcome else [])]
    check_columns(schools, needed, table=TABLE)
    numbers = ["year", "n_pupils", *([outcome] if outcome else [])]
    check_numeric(schools, dict.fromkeys(numbers), table=TABLE)
    check_finite(schools, KEY, table=TABLE)
    check_finite(schools, ["n_pupils"], table=TABLE, unit="school_id")
    check_unique(schools, KEY, table=TABLE)
    year = _floats(schools["year"])
    if (year != np.round(year)).any():
        raise DataError(text("context.year_fraction", value=year[year != np.round(year)][0]))
    n_pupils = _floats(schools["n_pupils"])
    if (n_pupils <= 0).any():
        raise DataError(
            text(
                "context.n_pupils",
                n=int((n_pupils <= 0).sum()),
                value=f"{n_pupils.min():g}",
                schools=_places(schools, n_pupils <= 0),
            )
        )
    columns = [_item(schools, item) for item in items]
    result = None if outcome is None else _finite_or_missing(schools, outcome)
    school, _ = pd.factorize(schools["school_id"].astype(str), sort=True)
    return SchoolTable(
        school_id=schools["school_id"].reset_index(drop=True),
        school=school.astype(np.int64),
        year=year.astype(np.int64),
        n_pupils=n_pupils,
        values=np.column_stack(columns),
        outcome=result,
    )


def _floats(series: pd.Series[Any]) -> Floats:
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _places(schools: pd.DataFrame, rows: npt.NDArray[np.bool_]) -> str:
    return shorten(schools.loc[rows, "school_id"].astype(str).drop_duplicates())


def _finite_or_missing(schools: pd.DataFrame, name: str) -> Floats:
    values = _floats(schools[name])
    infinite = np.isinf(values)
    if infinite.any():
        raise DataError(
            text(
                "context.infinite",
                column=repr(name),
                n=int(infinite.sum()),
                schools=_places(schools, infinite),
            )
        )
    return values


def _item(schools: pd.DataFrame, item: IndexInput) -> Floats:
    series = schools[item.name]
    if types.is_bool_dtype(series.dtype):
        # A flag has two values; nullable booleans keep their gaps.
        return _floats(series.astype("Float64"))
    check_numeric(schools, [item.name], table=TABLE)
    values = _finite_or_missing(schools, item.name)
    if item.is_share:
        above = values > 1 + SHARE_SLACK
        below = values < 0
        if above.any() or below.any():
            bad = above | below
            raise DataError(
                text(
                    "context.percent" if above.any() else "context.negative_share",
                    column=repr(item.name),
                    name=item.name,
                    n=int(bad.sum()),
                    value=f"{(values[above].max() if above.any() else values[below].min()):g}",
                    schools=_places(schools, bad),
                )
            )
        values = np.minimum(values, 1.0)
    return values
