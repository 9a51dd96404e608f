"""Checks of tables and their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation.wording import nearest_names, shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_columns",
    "check_finite",
    "check_not_empty",
    "check_numeric",
    "check_table",
    "check_unique",
]


def check_table(frame: object, *, table: str) -> None:
    """Raise if something else than a table was passed, such as None, a list or a file name.

    Raises
    ------
    SpecificationError
        Naming the table and the type of what was passed.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise SpecificationError(text("validation.table", table=table, kind=type(frame).__name__))


def check_columns(frame: pd.DataFrame, columns: Iterable[str], *, table: str) -> None:
    """Raise if a column is absent from the table.

    Raises
    ------
    SpecificationError
        If it is no table.
    DataError
        Naming the missing columns and the nearest names there are, or a column that stands twice.
    """
    check_table(frame, table=table)
    named = list(columns)
    missing = [c for c in named if c not in frame.columns]
    if missing:
        near = "; ".join(f"{m!r}: {nearest_names(m, map(str, frame.columns))}" for m in missing)
        raise DataError(
            text(
                "validation.columns",
                table=table,
                missing=", ".join(repr(m) for m in missing),
                nearest=near,
            )
        )
    if not frame.columns.is_unique:
        again = set(frame.columns[frame.columns.duplicated()])
        for name in named:
            if name in again:
                n = int((frame.columns == name).sum())
                raise DataError(
                    text("validation.column_twice", table=table, column=repr(name), n=n)
                )


def check_not_empty(frame: pd.DataFrame, *, table: str) -> None:
    """Raise a `DataError` if the table has no rows, a `SpecificationError` if it is no table."""
    check_table(frame, table=table)
    if len(frame) == 0:
        raise DataError(text("validation.empty", table=table))


def check_numeric(frame: pd.DataFrame, columns: Iterable[str], *, table: str) -> None:
    """Raise a `DataError` if a column is not numeric; booleans do not count as numbers."""
    from pandas.api import types

    for name in columns:
        kind = frame[name].dtype
        if types.is_bool_dtype(kind) or not types.is_numeric_dtype(kind):
            raise DataError(
                text("validation.numeric", table=table, column=repr(name), dtype=str(kind))
            )


def check_finite(
    frame: pd.DataFrame, columns: Iterable[str], *, table: str, unit: str | None = None
) -> None:
    """Raise if a column has missing or infinite values.

    Parameters
    ----------
    frame : DataFrame
        The table.
    columns : iterable of str
        Columns to look at.
    table : str
        Name of the table in the message.
    unit : str, optional
        Column whose first values (schools, say) are listed as the places.

    Raises
    ------
    DataError
        With the count per column and the first units concerned.
    """
    for name in columns:
        series = frame[name]
        bad = series.isna().to_numpy()
        if series.dtype.kind == "f":
            bad = bad | np.isinf(series.to_numpy(dtype=float, na_value=np.nan))
        if bad.any():
            units = frame.loc[bad, unit].drop_duplicates() if unit and unit in frame else None
            places = (
                "" if units is None else f" ({unit}: {len(units)}; {shorten(units.astype(str))})"
            )
            raise DataError(
                text(
                    "validation.finite",
                    table=table,
                    column=repr(name),
                    n=int(bad.sum()),
                    places=places,
                )
            )


def check_unique(frame: pd.DataFrame, key: Sequence[str], *, table: str) -> None:
    """Raise a `DataError` if the key repeats; the message counts and shows the first three."""
    repeated = frame.duplicated(list(key), keep="first")
    if repeated.any():
        first = frame.loc[repeated, list(key)].drop_duplicates().head(3)
        shown = "; ".join("/".join(str(v) for v in row) for row in first.itertuples(index=False))
        raise DataError(
            text(
                "validation.unique",
                table=table,
                key=" × ".join(key),
                n=int(repeated.sum()),
                first=shown,
            )
        )
