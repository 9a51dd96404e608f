"""What happened to every school in the years of a table: none is passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from resilience.validation import check_columns, check_finite, check_not_empty
from resilience.value_added.years.handed_over import moved_rows
from resilience.value_added.years.successors import Successors

__all__ = ["school_events"]

_COLUMNS = ["school_id", "event", "year", "new_id", "share", "n_rows"]


def school_events(
    table: pd.DataFrame,
    successors: Successors | None = None,
    *,
    group: str = "school_id",
    time: str = "year",
    allow_new: bool = False,
) -> pd.DataFrame:
    """Return what happened to every school, before and after its results are handed over.

    Parameters
    ----------
    table : DataFrame
        The table as it was read, before `with_successors`; any number of rows per school and year.
    successors : Successors, optional
        Who carries on whom.
    group, time : str
        School and year column.
    allow_new : bool
        As in `with_successors`.

    Returns
    -------
    DataFrame
        ``school_id event year new_id share n_rows``, at least one row for every school of the
        table and every successor, by school; ``n_rows`` are those handed over, those that stay, or
        those of the year (of all years for ``present``):

        * ``renamed`` (one school, one successor), ``merged`` (one of several with the same
          successor) and ``split`` with the successor, its share and the rows handed over; ``year``
          is that of the event, missing where none was given;
        * ``goes_on``: rows of the event's year and later, which stay with the old school;
        * of the schools that remain: ``present`` (results in every year of the table),
          ``appears`` (first year with results), ``vanishes`` (last year with results) and
          ``missing``, a row for every year without results in between.

    Raises
    ------
    DataError
        For missing columns, gaps in school or year, unknown schools of the map.
    """
    check_columns(table, [group, time], table="table")
    check_not_empty(table, table="table")
    check_finite(table, [group, time], table="table", unit=group)
    events: list[dict[str, Any]] = []
    remaining = table[[group, time]]
    if successors is not None:
        remaining = moved_rows(remaining, successors, group=group, time=time, allow_new=allow_new)
        events += _handed(table[[group, time]], remaining, successors, group, time)
    events += _presence(remaining, group, time)
    found = pd.DataFrame(events, columns=_COLUMNS)
    if pd.api.types.is_integer_dtype(table[time].dtype):
        found["year"] = found["year"].astype("Int64")
    order = found["school_id"].astype(str).sort_values(kind="stable").index
    return found.loc[order].reset_index(drop=True).infer_objects()


def _handed(
    table: pd.DataFrame, moved: pd.DataFrame, successors: Successors, group: str, time: str
) -> Iterator[dict[str, Any]]:
    links = successors.table
    sources = links.groupby("new_id", sort=False)["old_id"].nunique()
    heirs: dict[object, int] = dict(zip(sources.index, sources, strict=True))
    years = table.groupby(group, observed=True)[time]
    for old, rows in links.groupby("old_id", sort=False):
        own = years.get_group(old) if old in years.groups else pd.Series(dtype=float)
        event_year = rows["year"].iloc[0]
        later = own >= event_year if pd.notna(event_year) else own.isna()
        for link in rows.itertuples(index=False):
            together = heirs[link.new_id] > 1
            yield {
                "school_id": old,
                "event": "split" if len(rows) > 1 else "merged" if together else "renamed",
                "year": event_year,
                "new_id": link.new_id,
                "share": link.share,
                "n_rows": int((~later).sum()),
            }
        if later.any():
            yield {
                "school_id": old,
                "event": "goes_on",
                "year": event_year,
                "new_id": None,
                "share": np.nan,
                "n_rows": int(later.sum()),
            }


def _presence(table: pd.DataFrame, group: str, time: str) -> Iterator[dict[str, Any]]:
    years = sorted(table[time].unique())
    cells = table.groupby([group, time], observed=True).size()
    for school, own in cells.groupby(level=0, sort=True, observed=True):
        counts = own.droplevel(0)
        have = set(counts.index)
        first, last = min(have), max(have)
        gaps = [y for y in years if first < y < last and y not in have]
        found = [("appears", first)] if first > years[0] else []
        found += [("missing", y) for y in gaps]
        found += [("vanishes", last)] if last < years[-1] else []
        for event, year in found or [("present", years[0])]:
            yield {
                "school_id": school,
                "event": event,
                "year": year,
                "new_id": None,
                "share": np.nan,
                "n_rows": int(counts.sum()) if event == "present" else int(counts.get(year, 0)),
            }
