"""Checks of tables and arguments, each with a message that names culprit, rule, value, way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_choice",
    "check_columns",
    "check_finite",
    "check_fraction",
    "check_not_empty",
    "check_numeric",
    "check_positive",
    "check_table",
    "check_unique",
    "nearest_names",
    "shorten",
]


def shorten(values: Iterable[object], most: int = 5) -> str:
    """Return the first values as a comma-separated list, with the number of further ones."""
    items = [str(v) for v in values]
    rest = len(items) - most
    return ", ".join(items[:most]) + (f", … (+{rest})" if rest > 0 else "")


def nearest_names(name: str, options: Iterable[str], most: int = 3) -> str:
    """Return the options that look most like ``name``, or all of them if none does."""
    known = [str(o) for o in options]
    close = difflib.get_close_matches(str(name), known, n=most, cutoff=0.5)
    return shorten(close or known, 12)


def check_choice(value: str, options: Sequence[str], *, argument: str) -> str:
    """Return ``value`` if it is one of ``options``.

    Raises
    ------
    SpecificationError
        Otherwise, with the nearest options.
    """
    if value not in options:
        raise SpecificationError(
            text(
                "validation.choice",
                argument=argument,
                value=repr(value),
                options=", ".join(repr(o) for o in options),
            )
        )
    return value


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
        Naming the missing columns and the nearest names there are.
    """
    check_table(frame, table=table)
    missing = [c for c in columns if c not in frame.columns]
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
    """Raise a `DataError` if the key repeats; the message counts and shows the first five."""
    repeated = frame.duplicated(list(key), keep="first")
    if repeated.any():
        first = frame.loc[repeated, list(key)].drop_duplicates().head(5)
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


def check_fraction(value: float, *, argument: str, closed: bool = True) -> float:
    """Return ``value`` if it lies in [0, 1] (or (0, 1) where not ``closed``)."""
    inside = 0 <= value <= 1 if closed else 0 < value < 1
    if not inside:
        raise SpecificationError(
            text(
                "validation.fraction",
                argument=argument,
                value=value,
                interval="[0, 1]" if closed else "(0, 1)",
            )
        )
    return value


def check_positive(value: float, *, argument: str, zero: bool = False) -> float:
    """Return ``value`` if it is finite and above zero (or at least zero)."""
    if not (np.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise SpecificationError(
            text(
                "validation.positive",
                argument=argument,
                value=value,
                bound="≥ 0" if zero else "> 0",
            )
        )
    return value
