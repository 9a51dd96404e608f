"""Checks of tables and arguments, each with a message that names culprit, rule, value, way out."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np

from resilience.errors import DataError, PolicyError, SpecificationError
from resilience.i18n import text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_choice",
    "check_columns",
    "check_count",
    "check_differencing",
    "check_external_marking",
    "check_finite",
    "check_fraction",
    "check_instance",
    "check_jobs",
    "check_mapping",
    "check_names",
    "check_not_empty",
    "check_number",
    "check_numeric",
    "check_positive",
    "check_small_cells",
    "check_table",
    "check_unique",
    "nearest_names",
    "shorten",
    "suppressed_cells",
]

_SMALLEST_CELL = 5  # teachers behind a published number
_MARKED_BY = ("school", "region", "federal")
_MARKED_INSIDE = "ВПР"


def shorten(values: Iterable[object], most: int = 5) -> str:
    """Return the first values as a comma-separated list, with the number of further ones."""
    items = [str(v) for v in values]
    rest = len(items) - most
    return ", ".join(items[:most]) + (f", … (+{rest})" if rest > 0 else "")


def nearest_names(name: str, options: Iterable[str], most: int = 3) -> str:
    """Return the options that look most like ``name``, or all of them if none does.

    Capital letters do not count: ``ses`` is the nearest name to ``SES``.
    """
    known = [str(o) for o in options]
    folded = [o.casefold() for o in known]
    near = difflib.get_close_matches(str(name).casefold(), folded, n=most, cutoff=0.5)
    close = [o for found in dict.fromkeys(near) for o in known if o.casefold() == found]
    return shorten(close[:most] or known, 12)


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


def check_fraction(value: float, *, argument: str, closed: bool = True) -> float:
    """Return ``value`` if it lies in [0, 1] (or (0, 1) where not ``closed``)."""
    check_number(value, argument=argument)
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
    check_number(value, argument=argument)
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


def check_count(value: object, *, argument: str, least: int = 1) -> int:
    """Return ``value`` if it is a whole number of at least ``least``; booleans are none.

    Raises
    ------
    SpecificationError
        Otherwise.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < least:
        raise SpecificationError(
            text("validation.count", argument=argument, value=repr(value), least=least)
        )
    return int(value)


def check_jobs(value: object) -> int:
    """Return ``n_jobs`` if it is a whole number of workers, or below zero as joblib counts them."""
    whole = isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if not whole or value == 0:
        raise SpecificationError(text("validation.jobs", value=repr(value)))
    return int(value)  # type: ignore[call-overload, no-any-return]  # an Integral


def check_instance(value: object, kind: type, *, argument: str, example: str) -> None:
    """Raise unless ``value`` is of the type; the message shows the ``example`` to write.

    Raises
    ------
    SpecificationError
        Naming argument, type and value.
    """
    if not isinstance(value, kind):
        raise SpecificationError(
            text(
                "validation.instance",
                argument=argument,
                kind=type(value).__name__,
                wanted=kind.__name__,
                example=example,
            )
        )


def check_names(
    value: object, *, argument: str, example: str, single: bool = False
) -> tuple[str, ...]:
    """Return one name or several as a tuple: text of at least one letter, none of them twice.

    Parameters
    ----------
    value : str or sequence of str
        A string is one name, never a sequence of letters.
    argument : str
        Name in the message.
    example : str
        What to write.
    single : bool
        Whether only a string will do.

    Raises
    ------
    SpecificationError
        For anything else.
    """
    listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    names: list[object] = list(value) if listed else [value]  # type: ignore[call-overload]  # iterable, as just asked
    found = tuple(name for name in names if isinstance(name, str) and name.strip())
    if len(found) < len(names) or (single and listed):
        raise SpecificationError(
            text("validation.names", argument=argument, value=repr(value)[:80], example=example)
        )
    again = next((name for name in found if found.count(name) > 1), None)
    if again is not None:
        raise SpecificationError(text("validation.name_twice", argument=argument, name=repr(again)))
    return found


def check_mapping(value: object, *, argument: str, example: str) -> None:
    """Raise unless ``value`` maps names to something.

    Raises
    ------
    SpecificationError
        Naming argument and value.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SpecificationError(
            text("validation.mapping", argument=argument, value=repr(value), example=example)
        )


def check_number(value: object, *, argument: str) -> None:
    """Raise a `SpecificationError` unless ``value`` is a real number; booleans are none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise SpecificationError(text("validation.number", argument=argument, value=repr(value)))


def check_small_cells(n_min: int) -> int:
    """Return the least number of teachers behind a published number: five, or more on request.

    Raises
    ------
    PolicyError
        If somebody asks for less than five.
    """
    if check_count(n_min, argument="n_min") < _SMALLEST_CELL:
        raise PolicyError(text("policy.n_min", value=n_min, least=_SMALLEST_CELL))
    return n_min


def suppressed_cells(
    members: Sequence[Set[Hashable]], margins: Sequence[Sequence[Hashable]], n_min: int
) -> list[str]:
    """Return why each cell of a report stays hidden: ``""``, ``"n_below_5"``, ``"complementary"``.

    A cell with fewer than ``n_min`` distinct members is hidden.  Totals are taken as known: in
    every margin that would itself be published, the hidden cells are two or more and together hold
    at least ``n_min`` members, or the next smallest cell of the margin is hidden too.

    Parameters
    ----------
    members : sequence of set
        Keys of the teachers in every cell.
    margins : sequence of sequence
        For each way of adding up: the total that every cell belongs to.
    n_min : int
        Least number of members.
    """
    small = [len(own) < n_min for own in members]
    hidden = list(small)
    totals = [
        [k for k, label in enumerate(labels) if label == total]
        for labels in margins
        for total in dict.fromkeys(labels)
    ]
    changed = True
    while changed:
        changed = False
        for cells in totals:
            inside = [k for k in cells if hidden[k]]
            outside = [k for k in cells if not hidden[k]]
            known = len(set().union(*(members[k] for k in cells))) >= n_min
            safe = len(inside) > 1 and len(set().union(*(members[k] for k in inside))) >= n_min
            if inside and outside and known and not safe:
                hidden[min(outside, key=lambda k: len(members[k]))] = changed = True
    reasons = {True: f"n_below_{n_min}", False: "complementary"}
    return [reasons[small[k]] if hidden[k] else "" for k in range(len(members))]


def check_differencing(
    earlier: Sequence[Set[Hashable]], later: Sequence[Set[Hashable]], n_min: int
) -> None:
    """Raise if cells of two reports, one taken from the other, leave fewer than ``n_min`` members.

    Raises
    ------
    PolicyError
        With the number that would be left.
    """
    for wholes, parts in ((earlier, later), (later, earlier)):
        for whole in wholes:
            inside = [part for part in parts if part <= whole]
            for part in [*inside, set().union(*inside)]:
                left = len(whole - part)
                if inside and 0 < left < n_min:
                    raise PolicyError(text("policy.differencing", n=left, least=n_min))


def check_external_marking(procedures: pd.DataFrame, *, table: str) -> None:
    """Raise unless teachers may be judged by these outcomes.

    At least one procedure other than ВПР must be marked by the region or at federal level in two
    years or more: work marked inside the school says as much of the marking as of the teaching.

    Parameters
    ----------
    procedures : DataFrame
        ``year exam marked_by``, ``marked_by`` one of school, region, federal.
    table : str
        Name of the table in messages.

    Raises
    ------
    DataError
        If a column is absent or has gaps, or ``marked_by`` has another word.
    PolicyError
        Naming the procedures seen and what to add.
    """
    check_columns(procedures, ["year", "exam", "marked_by"], table=table)
    check_not_empty(procedures, table=table)
    seen = procedures[["year", "exam", "marked_by"]].drop_duplicates()
    check_finite(seen, ["year", "exam", "marked_by"], table=table)
    unknown = sorted({str(word) for word in seen["marked_by"]} - set(_MARKED_BY))
    if unknown:
        raise DataError(text("policy.marked_by", table=table, value=shorten(map(repr, unknown))))
    inside = seen["exam"].astype(str).str.startswith(_MARKED_INSIDE)
    external = seen[(seen["marked_by"] != "school") & ~inside]
    if len(external) == 0 or external.groupby("exam")["year"].nunique().max() < 2:
        shown = sorted(f"{e} {y} ({m})" for y, e, m in seen.itertuples(index=False))
        raise PolicyError(text("policy.marked_inside", procedures=shorten(shown, 8)))
