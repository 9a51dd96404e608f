"""A page of a calculation sheet: rows of cells, each with its formula and the value it gives.

Builders write a line by its name and refer to earlier lines by ``{name}``; the page turns names
into addresses.  The value beside a formula is computed here, not by the spreadsheet: it is what a
viewer shows before it recalculates, and what the tests compare the formula with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from resilience.i18n import Bilingual

__all__ = ["COLUMNS", "Cell", "Page", "Row", "column_name", "quoted", "sheet_reference"]

Look = Literal[
    "title", "heading", "label", "input", "number", "result", "note", "head", "text", "warning"
]
Value = float | int | str | bool | None

COLUMNS = 10  # of a page; notes run over the last seven
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What stands in one cell.

    Attributes
    ----------
    value : number, str, bool or None
        The value; of a formula the one it gives.
    formula : str
        Without the sign of equality; empty for a constant.
    look : str
        What the cell is: an input may be changed, a number follows from others.
    digits : int or None
        Decimal places; None for text.
    span : int
        Columns it runs over.
    """

    value: Value
    formula: str = ""
    look: Look = "text"
    digits: int | None = None
    span: int = 1


@dataclass(kw_only=True)
class Row:
    """Cells of one row by their column, 1 for the first."""

    cells: dict[int, Cell] = field(default_factory=dict)


@dataclass(kw_only=True)
class Page:
    """A page in the making.

    Attributes
    ----------
    lang : {"en", "ru"}
        Language of the page.
    rows : list of Row
        From the top.
    places : dict of str to str
        Address of every named cell, absolute.
    outside : mapping of str to str
        Names of other sheets' ranges.
    widths : tuple of float
        Widths of the first columns, in characters; the others are alike.
    """

    lang: str
    rows: list[Row] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    widths: tuple[float, ...] = (42.0, 14.0, 14.0)

    def words(self, wording: Bilingual | str) -> str:
        """Return a wording in the language of the page."""
        return wording.localized(self.lang) if isinstance(wording, Bilingual) else str(wording)

    def blank(self) -> None:
        """Leave a row empty."""
        self.rows.append(Row())

    def heading(self, wording: Bilingual | str, look: Look = "heading") -> None:
        """Write a line across the page."""
        self.rows.append(Row(cells={1: Cell(value=self.words(wording), look=look, span=COLUMNS)}))

    def note(self, wording: Bilingual | str) -> None:
        """Write an explanation across the page."""
        self.heading(wording, look="note")

    def line(
        self,
        name: str,
        label: Bilingual | str,
        value: Value,
        explanation: Bilingual | str = "",
        *,
        formula: str = "",
        digits: int | None = 4,
        library: Value = None,
        result: bool = False,
    ) -> str:
        """Write a number with its label and explanation and return its address.

        Parameters
        ----------
        name : str
            Name by which formulas below refer to it.
        label, explanation : Bilingual or str
            What it is, and where it comes from.
        value : number or str
            The number, or what the formula gives.
        formula : str, optional
            In names of lines above, ``{name}``; without it the line is an input.
        digits : int, optional
            Decimal places shown.
        library : number or str, optional
            What the library found, printed beside it.
        result : bool
            Whether it is one of the numbers that count.
        """
        look: Look = ("result" if result else "number") if formula else "input"
        shown = None if isinstance(value, str) else digits
        cell = Cell(value=value, formula=self.resolved(formula), look=look, digits=shown)
        cells = {1: Cell(value=self.words(label), look="label"), 2: cell}
        if library is not None:
            own = None if isinstance(library, str) else digits
            cells[3] = Cell(value=library, look="text", digits=own)
        if explanation:
            cells[4] = Cell(value=self.words(explanation), look="note", span=COLUMNS - 3)
        self.rows.append(Row(cells=cells))
        return self._place(name, 2)

    def table_row(self, cells: Mapping[int, Cell], names: Mapping[int, str] | None = None) -> None:
        """Write a row of a table; ``names`` names cells by their column."""
        done = {
            k: Cell(
                value=c.value,
                formula=self.resolved(c.formula),
                look=c.look,
                digits=c.digits,
                span=c.span,
            )
            for k, c in cells.items()
        }
        self.rows.append(Row(cells=done))
        for place, name in (names or {}).items():
            self._place(name, place)

    def head(self, labels: Sequence[Bilingual | str], *, last_span: int = 1) -> None:
        """Write the head of a table; the last label may run over several columns."""
        cells = {
            k: Cell(
                value=self.words(label),
                look="head",
                span=last_span if k == len(labels) else 1,
            )
            for k, label in enumerate(labels, start=1)
        }
        self.rows.append(Row(cells=cells))

    def resolved(self, formula: str) -> str:
        """Return the formula with addresses for names.

        Raises
        ------
        KeyError
            If a name stands nowhere above: a mistake of the builder.
        """
        return _NAME.sub(lambda m: self.outside.get(m[1]) or self.places[m[1]], formula)

    def _place(self, name: str, column: int) -> str:
        self.places[name] = f"${column_name(column)}${len(self.rows)}"
        return self.places[name]


def column_name(number: int) -> str:
    """Return the letters of a column, A for 1."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def quoted(words: str) -> str:
    """Return a text as a constant of a formula."""
    return '"' + words.replace('"', '""') + '"'


def sheet_reference(title: str, place: str) -> str:
    """Return the address of a cell on another sheet."""
    return "'" + title.replace("'", "''") + "'!" + place
