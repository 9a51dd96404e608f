"""Borders of marks by procedure and year, from the scale of the year and from nowhere else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.data.normalise import parse_procedure
from resilience.data.scales import ScaleTable, scale_table
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = ["Window", "mark_borders", "read_borders", "score_windows"]

MARKS_ABOVE = (3, 4, 5)
LAST_GRADE = 9


@dataclass(frozen=True, kw_only=True)
class Window:
    """Scores on either side of one border.

    Attributes
    ----------
    mark : int
        Mark given from the border on.
    border : int
        Lowest score of that mark.
    first, last : int
        First and last score of the window, both included.
    """

    mark: int
    border: int
    first: int
    last: int

    @property
    def width(self) -> int:
        """Scores on each side."""
        return self.border - self.first


def mark_borders(procedures: pd.DataFrame, *, status: str = "documented") -> pd.DataFrame:
    """Return the borders of marks of each procedure and year, read from the scale it names.

    Parameters
    ----------
    procedures : DataFrame
        ``procedure year scale_year`` [``grade`` ``variant`` ``region``]: which scale holds in which
        year.  The year of the scale is stated, never taken from the neighbouring year.
    status : {"documented", "unverified", "proposal"}
        The weakest standing of a scale the caller accepts.

    Returns
    -------
    DataFrame
        ``procedure year mark border_score max_score scale_year scale_status``, three rows (marks 3,
        4, 5) per procedure and year.

    Raises
    ------
    DataError
        If a column is absent, has gaps, or a procedure and year repeat with different scales.
    SpecificationError
        If there is no scale of that year; the years there are stand in the message.
    """
    check_columns(procedures, ["procedure", "year", "scale_year"], table="procedures")
    check_not_empty(procedures, table="procedures")
    check_finite(procedures, ["procedure", "year", "scale_year"], table="procedures")
    check_unique(procedures, ["procedure", "year"], table="procedures")
    rows = []
    for record in procedures.to_dict(orient="records"):
        scale = _scale_of(record, status)
        for mark, border in zip(MARKS_ABOVE, scale.borders, strict=True):
            rows.append(
                {
                    "procedure": str(record["procedure"]),
                    "year": int(record["year"]),
                    "mark": mark,
                    "border_score": border,
                    "max_score": scale.maximum,
                    "scale_year": scale.year,
                    "scale_status": scale.status,
                }
            )
    return pd.DataFrame(rows)


def _scale_of(record: Mapping[Any, Any], status: str) -> ScaleTable:
    name = parse_procedure(record["procedure"])
    if name is None or not name.has_marks:
        raise SpecificationError(text("integrity.no_marks", procedure=str(record["procedure"])))
    grade = name.grade if name.grade is not None else LAST_GRADE
    return scale_table(
        name.kind,
        name.subject,
        year=int(str(record["scale_year"])),
        grade=grade,
        variant=_word(record.get("variant")) or name.variant,
        region=_word(record.get("region")),
        status=status,  # type: ignore[arg-type]  # checked by scale_table
    )


def _word(value: object) -> str:
    return "" if value is None or value != value or value is pd.NA else str(value)


def read_borders(borders: pd.DataFrame) -> pd.DataFrame:
    """Check a table of borders and return it with plain types, sorted.

    Raises
    ------
    DataError
        If a column is absent or has gaps, a border repeats (two forms of one test), borders do not
        rise with the marks, or a border lies outside the scale.
    """
    needed = ["procedure", "year", "mark", "border_score", "max_score"]
    check_columns(borders, needed, table="borders")
    check_not_empty(borders, table="borders")
    check_finite(borders, needed, table="borders")
    check_numeric(borders, needed[1:], table="borders")
    key = ["procedure", "year", "mark"]
    repeated = borders.duplicated(key, keep=False)
    if repeated.any():
        places = borders.loc[repeated, key].drop_duplicates()
        shown = shorten("/".join(map(str, r)) for r in places.itertuples(index=False))
        raise DataError(text("integrity.two_forms", places=shown))
    table = borders.assign(
        procedure=borders["procedure"].astype(str),
        **{c: borders[c].astype("int64") for c in needed[1:]},
    ).sort_values(key, ignore_index=True)
    for (procedure, year), own in table.groupby(["procedure", "year"], sort=True):
        scores, maximum = own["border_score"].tolist(), int(own["max_score"].max())
        rising = all(a < b for a, b in itertools.pairwise(scores))
        one_form = own["max_score"].nunique() == 1
        if not (rising and one_form and scores[0] >= 1 and scores[-1] <= maximum):
            raise DataError(
                text(
                    "integrity.border_order",
                    procedure=procedure,
                    year=year,
                    borders=", ".join(map(str, scores)),
                    maximum=maximum,
                )
            )
    return table


def score_windows(borders: pd.DataFrame, *, window: int) -> list[Window]:
    """Return the windows of one procedure and year, narrowed where two borders stand close.

    The window of a border keeps clear of its neighbours' and of the ends of the scale, so that no
    pupil is counted twice: its width is the smallest of ``window``, half the distance to the next
    border, and the scores there are on either side.  A border without room has no window.

    Parameters
    ----------
    borders : DataFrame
        Rows of one procedure and year from `read_borders`.
    window : int
        Scores on each side, at least 1.
    """
    marks = borders["mark"].tolist()
    scores = borders["border_score"].tolist()
    maximum = int(borders["max_score"].iloc[0])
    found = []
    for at, (mark, border) in enumerate(zip(marks, scores, strict=True)):
        room = [window, border, maximum - border + 1]
        room += [(scores[at] - scores[at - 1]) // 2] if at > 0 else []
        room += [(scores[at + 1] - scores[at]) // 2] if at + 1 < len(scores) else []
        width = min(room)
        if width >= 1:
            found.append(
                Window(mark=mark, border=border, first=border - width, last=border + width - 1)
            )
    return found
