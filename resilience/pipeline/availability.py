"""What was known on a day: a list due on 31 May cannot use that summer's examinations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_columns, check_unique, nearest_names, shorten

__all__ = ["Known", "known_on", "read_date"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A table as it was known on a day.

    Attributes
    ----------
    table : DataFrame
        Rows whose procedure was available.
    withheld : DataFrame
        ``procedure year available_from n_rows`` of what was not: one row per procedure and year.
    """

    table: pd.DataFrame
    withheld: pd.DataFrame


def read_date(value: object, *, argument: str) -> date:
    """Return a date from an ISO string or a date.

    Raises
    ------
    SpecificationError
        If it is neither.
    """
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        raise SpecificationError(
            text("pipeline.date", argument=argument, value=repr(value))
        ) from None


def known_on(table: pd.DataFrame, procedures: pd.DataFrame | None, as_of: date | None) -> Known:
    """Return the rows of a table whose procedure was available on ``as_of``.

    Parameters
    ----------
    table : DataFrame
        With ``procedure`` and ``year``.
    procedures : DataFrame or None
        ``procedure year available_from``; one row per procedure and year.
    as_of : date or None
        The day; None keeps everything.

    Raises
    ------
    DataError
        If ``as_of`` is set and a procedure of the table has no ``available_from``.
    """
    empty = pd.DataFrame(columns=["procedure", "year", "available_from", "n_rows"])
    if as_of is None:
        return Known(table=table, withheld=empty)
    if procedures is None or procedures.empty:
        raise DataError(text("pipeline.no_procedures", as_of=as_of.isoformat()))
    key = ["procedure", "year"]
    check_columns(procedures, [*key, "available_from"], table="procedures")
    check_unique(procedures, key, table="procedures")
    dates = procedures[[*key, "available_from"]]
    joined = table[key].merge(dates, on=key, how="left")
    missing = joined["available_from"].isna()
    if missing.any():
        first = joined.loc[missing, key].drop_duplicates()
        shown = [f"{p} {y}" for p, y in first.itertuples(index=False)]
        raise DataError(
            text(
                "pipeline.no_available_from",
                n=len(first),
                first=shorten(shown),
                near=nearest_names(str(first.iloc[0, 0]), dates["procedure"].astype(str).unique()),
            )
        )
    days = [read_date(v, argument="available_from") for v in joined["available_from"]]
    late = pd.Series([day > as_of for day in days], index=table.index, dtype=bool)
    joined.index = table.index
    withheld = (
        joined[late]
        .groupby([*key, "available_from"], observed=True)
        .size()
        .rename("n_rows")
        .reset_index()
    )
    return Known(table=table[~late], withheld=withheld if len(withheld) else empty)
