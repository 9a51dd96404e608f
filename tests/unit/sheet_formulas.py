"""A small spreadsheet: evaluates the formulas of a workbook by the rules of the file format.

Written for the tests of calculation sheets and knowing only what they use.  As in spreadsheets, a
minus sign binds closer than a power, an empty cell is 0 among numbers, texts compare without case.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from openpyxl.utils.cell import range_boundaries
from openpyxl.workbook import Workbook
from scipy import special, stats

TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
    |(?P<text>"(?:[^"]|"")*")
    |(?P<place>(?:'(?:[^']|'')+'!)?\$?[A-Z]{1,3}\$?\d+(?::\$?[A-Z]{1,3}\$?\d+)?)(?![A-Z(.])
    |(?P<name>[A-Za-z_][A-Za-z_.0-9]*)
    |(?P<sign><=|>=|<>|[-+*/^(),=<>]))""",
    re.VERBOSE,
)

FUNCTIONS: dict[str, Callable[..., object]] = {
    "_XLFN.NORM.S.DIST": lambda z, cumulative: special.ndtr(z),
    "_XLFN.NORM.S.INV": lambda p: special.ndtri(p),
    "_XLFN.BETA.DIST": lambda x, a, b, cumulative: stats.beta.cdf(x, a, b),
    "SQRT": np.sqrt,
    "EXP": np.exp,
    "SIN": np.sin,
    "COS": np.cos,
    "ASIN": np.arcsin,
    "PI": lambda: np.pi,
    "MAX": lambda *v: max(np.max(x) for x in v),
    "MIN": lambda *v: min(np.min(x) for x in v),
    "SUM": lambda *v: sum(np.sum(x) for x in v),
    "SUMPRODUCT": lambda *v: np.sum(np.prod(np.broadcast_arrays(*v), axis=0)),
    "AND": lambda *v: all(bool(x) for x in v),
    "OR": lambda *v: any(bool(x) for x in v),
    "N": lambda v: v if isinstance(v, (int, float, np.floating)) else 0.0,
    "COUNTIF": lambda cells, what: float(
        sum(same(x, what) for x in np.asarray(cells, object).ravel())
    ),
    "TRUE": lambda: True,
    "FALSE": lambda: False,
}


def same(a: object, b: object) -> bool:
    """Compare as a spreadsheet does."""
    if isinstance(a, str) and isinstance(b, str):
        return a.lower() == b.lower()
    if isinstance(a, str) or isinstance(b, str):
        return False
    return bool(a == b)


class Sheets:
    """Values of all cells of a workbook, computed on demand; ``changes`` replace cells."""

    def __init__(self, book: Workbook) -> None:
        self.book = book
        self.known: dict[tuple[str, str], object] = {}

    def change(self, sheet: str, place: str, value: object) -> None:
        """Type a value into a cell; everything is computed anew."""
        self.book[sheet][place].value = value
        self.known.clear()

    def value(self, sheet: str, place: str) -> object:
        """Return the value of one cell."""
        key = (sheet, place.replace("$", ""))
        if key not in self.known:
            cell = self.book[sheet][key[1]]
            formula = cell.data_type == "f"
            self.known[key] = (
                Formula(self, sheet, str(cell.value)[1:]).result() if formula else cell.value
            )
        return self.known[key]

    def cells(self, sheet: str, place: str) -> object:
        """Return a cell, or the cells of a range as a column."""
        if "!" in place:
            title, place = place.rsplit("!", 1)
            sheet = title.strip("'").replace("''", "'")
        if ":" not in place:
            return self.value(sheet, place)
        left, top, right, bottom = range_boundaries(place.replace("$", ""))
        rows = [
            self.value(sheet, self.book[sheet].cell(r, c).coordinate)
            for r in range(top, bottom + 1)
            for c in range(left, right + 1)
        ]
        words = any(isinstance(v, str) for v in rows)
        return np.array(rows, dtype=object if words else float)


class Formula:
    """Recursive descent over one formula; both branches of IF are not needed to be sound."""

    def __init__(self, sheets: Sheets, sheet: str, source: str) -> None:
        self.sheets, self.sheet, self.tokens = sheets, sheet, []
        end = 0
        while end < len(source):
            found = TOKEN.match(source, end)
            if found is None:
                raise ValueError(f"{source!r} at {end}")
            self.tokens.append((found.lastgroup, found[found.lastgroup or 0]))
            end = found.end()
        self.at = 0

    def result(self) -> object:
        """Return the value of the whole formula."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = self.comparison()
        assert self.at == len(self.tokens), self.tokens[self.at :]
        return value

    def next_is(self, *signs: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at] in [("sign", s) for s in signs]:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def comparison(self) -> object:
        left = self.total()
        while sign := self.next_is("=", "<>", "<=", ">=", "<", ">"):
            right = self.total()
            if sign in ("=", "<>"):
                left = same(left, right) == (sign == "=")
            else:
                a, b = number(left), number(right)
                left = bool({"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[sign])
        return left

    def total(self) -> object:
        left = self.product()
        while sign := self.next_is("+", "-"):
            right = self.product()
            left = number(left) + number(right) if sign == "+" else number(left) - number(right)
        return left

    def product(self) -> object:
        left = self.power()
        while sign := self.next_is("*", "/"):
            right = self.power()
            left = number(left) * number(right) if sign == "*" else divided(left, right)
        return left

    def power(self) -> object:
        left = self.signed()
        while self.next_is("^"):
            left = number(left) ** number(self.signed())
        return left

    def signed(self) -> object:
        if self.next_is("-"):
            return -number(self.signed())
        return self.atom()

    def atom(self) -> object:
        kind, word = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return float(word)
        if kind == "text":
            return word[1:-1].replace('""', '"')
        if kind == "place":
            return self.sheets.cells(self.sheet, word)
        if (kind, word) == ("sign", "("):
            value = self.comparison()
            assert self.next_is(")")
            return value
        assert kind == "name", word
        return self.call(word.upper())

    def call(self, name: str) -> object:
        if name in ("TRUE", "FALSE"):
            return name == "TRUE"
        assert self.next_is("("), name
        values: list[object] = []
        while not self.next_is(")"):
            values.append(self.comparison())
            self.next_is(",")
        if name == "IF":
            return values[1] if values[0] else values[2]
        return FUNCTIONS[name](*values)


def number(value: object) -> object:
    """Return a number: an empty cell is 0, a truth 1."""
    if value is None:
        return 0.0
    assert not isinstance(value, str), value
    return float(value) if isinstance(value, bool) else value


def divided(left: object, right: object) -> object:
    a, b = number(left), number(right)
    return np.nan if np.ndim(b) == 0 and b == 0 else a / b
