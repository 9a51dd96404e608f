"""Who stayed to sit the exam: counts per school from pupils or from a table of schools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_columns, check_not_empty, check_table, shorten

__all__ = ["Stayed", "read_stayed"]

_COUNTS = ("n_before", "n_stayed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stayed:
    """Counts per school, and the pupils where they are known one by one.

    Attributes
    ----------
    counts : DataFrame
        ``n_before n_stayed``, indexed by school.
    pupils : DataFrame or None
        One row per pupil.
    flag : ndarray of bool or None
        Whether each of them stayed.
    """

    counts: pd.DataFrame
    pupils: pd.DataFrame | None = None
    flag: NDArray[np.bool_] | None = None


def read_stayed(table: pd.DataFrame, *, stayed: str, group: str) -> Stayed:
    """Return how many pupils there were before and how many stayed, per school.

    Parameters
    ----------
    table : DataFrame
        One row per pupil who was there before (grade 9), with a flag; or one row per school (and
        year) with the counts ``n_before`` and ``n_stayed``.
    stayed : str
        Column of the flag, true (or 1) for those who sat the exam.
    group : str
        School column; ``school_id`` serves too.

    Raises
    ------
    DataError
        For absent columns, a flag that is no flag or has gaps, and counts that are no counts.
    """
    check_table(table, table="stayed")
    check_not_empty(table, table="stayed")
    school = group if group in table.columns else "school_id"
    check_columns(table, [school], table="stayed")
    if table[school].isna().any():
        n = int(table[school].isna().sum())
        raise DataError(text("selection.no_school", column=repr(school), n=n))
    if stayed in table.columns:
        flag = _flag(table, stayed, school)
        by = pd.Series(flag.astype(np.int64)).groupby(
            table[school].reset_index(drop=True), observed=True, sort=True
        )
        counts = pd.DataFrame({"n_before": by.size(), "n_stayed": by.sum()})
        return Stayed(counts=counts, pupils=table, flag=flag)
    if not set(_COUNTS) <= set(table.columns):
        raise SpecificationError(
            text("selection.columns", stayed=repr(stayed), columns=shorten(table.columns, 12))
        )
    return Stayed(counts=_counts(table, school))


def _flag(table: pd.DataFrame, stayed: str, school: str) -> NDArray[np.bool_]:
    """Return who stayed as booleans."""
    values = table[stayed]
    gaps = values.isna()
    if gaps.any():
        places = shorten(table.loc[gaps, school].astype(str).drop_duplicates())
        raise DataError(
            text("selection.unknown", column=repr(stayed), n=int(gaps.sum()), places=places)
        )
    known = values.astype(object).isin([True, False, 1, 0])
    if not known.all():
        odd = shorten(values[~known].astype(str).drop_duplicates())
        raise DataError(text("selection.flag", column=repr(stayed), values=odd))
    return np.asarray(values.astype(float).to_numpy() == 1.0)


def _counts(table: pd.DataFrame, school: str) -> pd.DataFrame:
    """Return the counts added up over the years, checked."""
    for name in _COUNTS:
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
        bad = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.round(numbers)))
        if bad.any():
            first = table.loc[bad, school].iloc[0]
            value = str(table.loc[bad, name].iloc[0])
            raise DataError(text("selection.count", column=name, school=first, value=value))
    more = table["n_stayed"].to_numpy(dtype=float) > table["n_before"].to_numpy(dtype=float)
    if more.any():
        row = table[more].iloc[0]
        raise DataError(
            text(
                "selection.more_stayed",
                school=row[school],
                stayed=int(row["n_stayed"]),
                before=int(row["n_before"]),
            )
        )
    found = table.groupby(school, observed=True, sort=True)[list(_COUNTS)].sum()
    return found.astype(np.int64)
