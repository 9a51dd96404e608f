"""Flags of schools as a table that others join: true, false, or missing where nothing is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_columns, check_not_empty, check_unique, nearest_names

__all__ = ["augmented", "flag_of", "read_flags", "row_of"]


def flag_of(schools: pd.DataFrame) -> pd.DataFrame:
    """Return ``school_id integrity_flag`` from verdicts: yes is true, no false, others missing."""
    known = {"yes": True, "no": False}
    return pd.DataFrame(
        {
            "school_id": schools["school_id"].astype(str).to_numpy(),
            "integrity_flag": pd.array([known.get(str(v)) for v in schools["verdict"]], "boolean"),
        }
    )


def augmented(data: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return ``data`` with the columns of a table of one row per school added."""
    check_columns(data, ["school_id"], table="data")
    keyed = table.set_index("school_id")
    rows = keyed.index.get_indexer(pd.Index(data["school_id"].astype(str)))
    added = keyed.reset_index(drop=True).reindex(rows)
    added.index = data.index
    return data.assign(**{str(c): added[c] for c in added.columns})


def row_of(schools: pd.DataFrame, school_id: str) -> dict[str, Any]:
    """Return the row of one school as a record.

    Raises
    ------
    DataError
        If there is no such school; the nearest ids are named.
    """
    own = schools[schools["school_id"] == str(school_id)]
    if own.empty:
        nearest = nearest_names(str(school_id), schools["school_id"].astype(str))
        raise DataError(text("integrity.no_school", school=school_id, nearest=nearest))
    # a record, not a Series: pandas 3 would turn bilingual reasons into plain text
    record: dict[str, Any] = {str(k): v for k, v in own.to_dict(orient="records")[0].items()}
    return record


def read_flags(flags: pd.DataFrame) -> tuple[set[str], set[str]]:
    """Return the schools whose flag is true, and those whose flag is missing.

    Parameters
    ----------
    flags : DataFrame
        ``school_id integrity_flag``, one row per school.

    Raises
    ------
    DataError
        If a column is absent, a school repeats, or a flag is neither true, false nor missing.
    """
    check_columns(flags, ["school_id", "integrity_flag"], table="flags")
    check_not_empty(flags, table="flags")
    check_unique(flags, ["school_id"], table="flags")
    true: set[str] = set()
    unknown: set[str] = set()
    pairs: Iterable[tuple[object, object]] = zip(
        flags["school_id"], flags["integrity_flag"], strict=True
    )
    for school, value in pairs:
        if value is None or value is pd.NA or value != value:
            unknown.add(str(school))
        elif value in (True, 1):
            true.add(str(school))
        elif value not in (False, 0):
            raise DataError(text("integrity.flag_value", school=school, value=repr(value)))
    return true, unknown
