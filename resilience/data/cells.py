"""From raw cells to typed columns: recognising headers and reading values by the table's rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.columns import label
from resilience.data.normalise import (
    is_blank,
    normalise_code,
    normalise_header,
    parse_count,
    parse_date,
    parse_flag,
    parse_number,
    parse_procedure,
    parse_share,
    parse_year,
    tidy_text,
)
from resilience.data.problems import Problems
from resilience.data.schema import CellType, ColumnRule, named, out_of_range
from resilience.errors import DataError
from resilience.i18n import has_text, text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "HEADER_ROWS",
    "UNREADABLE",
    "HeaderRow",
    "accepted_headers",
    "column_values",
    "convert_cells",
    "find_header",
]

#: Stands for a cell whose problem has been noted already.
UNREADABLE = object()

HEADER_ROWS = 30  # a header stands in the first rows; titles and empty rows may come before it


@dataclass(frozen=True, kw_only=True)
class HeaderRow:
    """Where the header stands and what it names.

    Attributes
    ----------
    row : int
        Position of the header's row, from 0.
    columns : dict of str to int
        Recognised columns and their positions, from 0.
    unknown : dict of int to str
        Headers outside the table, as written.
    repeated : tuple of int
        Positions whose header names a column that an earlier position has.
    """

    row: int
    columns: Mapping[str, int]
    unknown: Mapping[int, str]
    repeated: tuple[int, ...] = ()


def accepted_headers(names: Iterable[str]) -> dict[str, str]:
    """Return the headers under which columns are recognised, normalised.

    A column answers to its name, its labels in both languages and the further wordings of the
    catalogue (``schema.also_<name>``, separated by semicolons).
    """
    found: dict[str, str] = {}
    for name in names:
        wordings = [name, label(name, "en"), label(name, "ru")]
        if has_text(f"schema.also_{name}"):
            also = text(f"schema.also_{name}")
            wordings += [*also.en.split(";"), *also.ru.split(";")]
        for wording in wordings:
            found.setdefault(normalise_header(wording), name)
    return found


def find_header(rows: Sequence[Sequence[object]], accepted: Mapping[str, str]) -> HeaderRow | None:
    """Return the first of the top rows that names the most columns, ``None`` below two.

    Parameters
    ----------
    rows : sequence of rows
        Raw cells from the top of the sheet or file.
    accepted : mapping
        Normalised header to column name.
    """
    best: HeaderRow | None = None
    for i, row in enumerate(rows[:HEADER_ROWS]):
        columns: dict[str, int] = {}
        unknown: dict[int, str] = {}
        repeated: list[int] = []
        for j, cell in enumerate(row):
            if is_blank(cell):
                continue
            name = accepted.get(normalise_header(cell))
            if name is None:
                unknown[j] = tidy_text(cell)
            elif name in columns:
                repeated.append(j)
            else:
                columns[name] = j
        if len(columns) >= 2 and (best is None or len(columns) > len(best.columns)):
            best = HeaderRow(row=i, columns=columns, unknown=unknown, repeated=tuple(repeated))
    return best


def _parse_procedure_name(value: object) -> str | None:
    name = parse_procedure(value)
    return None if name is None else str(name)


def _parse_iso_date(value: object) -> str | None:
    date = parse_date(value)
    return None if date is None else date.isoformat()


_PARSERS: dict[str, Callable[[object], Any]] = {
    "code": normalise_code,
    "text": normalise_code,
    "flag": parse_flag,
    "count": parse_count,
    "number": parse_number,
    "share": parse_share,
    "year": parse_year,
    "date": _parse_iso_date,
    "procedure": _parse_procedure_name,
}


def _check_range(value: object, rule: ColumnRule) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low = -np.inf if rule.minimum is None else rule.minimum
    high = np.inf if rule.maximum is None else rule.maximum
    if not low <= value <= high:
        raise DataError(out_of_range(value, low, high))


def convert_cells(
    cells: Sequence[object],
    rule: ColumnRule,
    *,
    place: Callable[[int], str],
    problems: Problems,
    failed: set[int] | None = None,
    hide_words: bool = False,
) -> list[Any]:
    """Return the values of a column's cells; what cannot be read becomes a problem and ``None``.

    Parameters
    ----------
    cells : sequence
        Raw cells.
    rule : ColumnRule
        Rule of the column.
    place : callable
        Place of the i-th cell as messages cite it, ``Отметки!D17`` for instance.
    problems : Problems
        Where problems are noted, a missing value of a required column included.
    failed : set of int, optional
        Receives the positions of cells that could not be read.
    hide_words : bool
        Whether messages keep silent about cells with letters, which in a table of pupils may be a
        name that slipped into the wrong column.
    """
    parse = _PARSERS[rule.type]
    bad = set() if failed is None else failed
    values: list[Any] = []
    read: dict[str, Any] = {}  # codes, years and subjects repeat in thousands of rows
    for i, cell in enumerate(cells):
        value = None
        if isinstance(cell, str) and cell in read:
            value = read[cell]
        elif cell is UNREADABLE:
            bad.add(i)
        else:
            try:
                value = parse(cell)
                _check_range(value, rule)
                if value is None and rule.required:
                    raise DataError(text("schema.missing_value", column=named(rule.name)))
                if isinstance(cell, str):
                    read[cell] = value
            except DataError as error:
                hidden = hide_words and isinstance(cell, str) and any(map(str.isalpha, cell))
                problems.add(place(i), text("schema.hidden") if hidden else error.message)
                bad.add(i)
                value = None
        values.append(value)
    return values


def column_values(values: Sequence[Any], kind: CellType) -> pd.Series[Any]:
    """Return values as a column of the type that data sets have.

    Texts are pandas' ``string``, numbers ``float64``; counts, years and flags are ``int64`` and
    ``bool``, or ``Int64`` and ``boolean`` where a value is missing.
    """
    import pandas as pd

    full = not any(v is None for v in values)
    if kind in ("number", "share"):
        return pd.Series([np.nan if v is None else v for v in values], dtype="float64")
    if kind in ("count", "year"):
        return pd.Series(list(values), dtype="int64" if full else "Int64")
    if kind == "flag":
        return pd.Series(list(values), dtype="bool" if full else "boolean")
    return pd.Series(list(values), dtype="string")
