"""The workbook of tables: a sheet per table and a sheet that explains the columns."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from resilience.columns import Column, column, column_names, glossary, label
from resilience.errors import OutputError
from resilience.i18n import Bilingual, has_text, text
from resilience.reporting.archives import read_parts, write_parts

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

__all__ = ["workbook_bytes"]

MOST_ROWS = 1_048_575  # rows of a sheet, less the heading
_HEAD_COLOR = "E8EDF2"
_WIDEST = 48
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # not allowed in XML


def workbook_bytes(tables: Mapping[str, pd.DataFrame], lang: str) -> bytes:
    """Return an XLSX file with a sheet per table and a last sheet that explains the columns.

    Raises
    ------
    OutputError
        If a table has more rows than a sheet.
    """
    from openpyxl import Workbook

    for name, frame in tables.items():
        if len(frame) > MOST_ROWS:
            raise OutputError(
                text("reporting.too_long", name=repr(name), n=len(frame), most=MOST_ROWS)
            )
    book = Workbook()
    first = book.active
    if first is not None:
        book.remove(first)
    taken: set[str] = set()
    for name, frame in tables.items():
        _write_table(book.create_sheet(_sheet_title(name, taken, lang)), frame, lang)
    words = text("reporting.glossary_sheet").localized(lang)
    _write_glossary(book.create_sheet(_unique(words, taken)), tables, lang)
    book.properties.creator = "school-resilience"
    buffer = io.BytesIO()
    book.save(buffer)
    return write_parts(read_parts(buffer.getvalue()))


def _sheet_title(name: str, taken: set[str], lang: str) -> str:
    key = f"reporting.sheet_{name}"
    words = text(key).localized(lang) if has_text(key) else name
    return _unique(words, taken)


def _unique(words: str, taken: set[str]) -> str:
    """Return a sheet title of at most 31 characters that no earlier sheet carries."""
    title, n = words[:31], 2
    while title.lower() in taken:
        tail = f" {n}"
        title, n = words[: 31 - len(tail)] + tail, n + 1
    taken.add(title.lower())
    return title


def _write_table(sheet: Worksheet, frame: pd.DataFrame, lang: str) -> None:
    known = set(column_names())
    records = [column(str(c)) if str(c) in known else None for c in frame.columns]
    # The column of verdicts is known by its name even to a table from elsewhere.
    kinds = [r.kind if r else str(c) for r, c in zip(records, frame.columns, strict=True)]
    heads = [_head(str(c), lang) for c in frame.columns]
    columns = [
        [_shown(value, kind, lang) for value in frame.iloc[:, i].tolist()]
        for i, kind in enumerate(kinds)
    ]
    formats = [_number_format(record) for record in records]
    _fill(sheet, heads, columns, formats)
    sheet.freeze_panes = "B2" if len(heads) > 1 else "A2"
    if len(frame):
        sheet.auto_filter.ref = sheet.dimensions


def _head(name: str, lang: str) -> str:
    """Return label and unit, without a unit that the label says already ("Rank, rank")."""
    words, measured = label(name, lang), label(name, lang, unit=True)
    unit = measured.removeprefix(words).lstrip(", ")
    return words if unit.lower() in words.lower() else measured


def _write_glossary(sheet: Worksheet, tables: Mapping[str, pd.DataFrame], lang: str) -> None:
    used = {str(c) for frame in tables.values() for c in frame.columns}
    rows = glossary(lang)
    rows = rows[rows["name"].isin(used)]
    heads = [
        text(f"reporting.glossary_{c}").localized(lang)
        for c in ("label", "unit", "meaning", "name")
    ]
    columns = [rows[c].tolist() for c in ("label", "unit", "meaning", "name")]
    _fill(sheet, heads, columns, [None] * 4, widest=90)
    sheet.freeze_panes = "A2"


def _fill(
    sheet: Worksheet,
    heads: list[str],
    columns: list[list[Any]],
    formats: list[str | None],
    *,
    widest: int = _WIDEST,
) -> None:
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter

    bold, fill = Font(bold=True), PatternFill("solid", fgColor=_HEAD_COLOR)
    wrapped = Alignment(wrap_text=True, vertical="top")
    lines = 1
    for i, head in enumerate(heads):
        place = sheet.cell(1, i + 1, head)
        place.data_type = "s"
        place.font, place.fill, place.alignment = bold, fill, wrapped
        for j, value in enumerate(columns[i]):
            if value is None:
                continue
            if isinstance(value, str):
                cell = sheet.cell(j + 2, i + 1, _CONTROL.sub("", value))
                cell.data_type = "s"  # a text that begins with "=" is no formula
            else:
                cell = sheet.cell(j + 2, i + 1, value)
                cell.number_format = formats[i] or "General"
        width = _width(head, columns[i], formats[i], widest)
        sheet.column_dimensions[get_column_letter(i + 1)].width = width
        # Bold letters are wider than those the width counts in; programs do not fit heads alone.
        lines = max(lines, len(wrap(head, max(1, int(width / 1.15)))))
    sheet.row_dimensions[1].height = 15.0 * lines + 3


def _width(head: str, values: list[Any], number_format: str | None, widest: int) -> float:
    longest_word = max((len(w) for w in head.split()), default=1)
    texts = [len(v) for v in values if isinstance(v, str)]
    numbers = 11 if number_format else 0
    return float(min(widest, max(9, longest_word, len(head) / 3, numbers, *texts, 0) + 2))


def _number_format(record: Column | None) -> str | None:
    if record is None or record.kind in ("key", "text", "flag", "verdict"):
        return None
    digits = 0 if record.kind in ("count", "year") else record.digits
    return "0" if digits == 0 else "0." + "0" * digits


def _shown(value: object, kind: str, lang: str) -> object:
    """Return what the cell holds: numbers as numbers, words in the reader's language."""
    if isinstance(value, Bilingual):
        return value.localized(lang)
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    if isinstance(value, bool):
        return text("verdicts.yes" if value else "verdicts.no").localized(lang)
    if isinstance(value, str):
        key = f"verdicts.{value}"
        if kind == "verdict" and has_text(key):
            return text(key).localized(lang)
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        # Ten significant digits: the last bits may differ between processors, a table may not.
        return float(f"{value:.10g}") if abs(value) != float("inf") else str(value)
    return str(value)
