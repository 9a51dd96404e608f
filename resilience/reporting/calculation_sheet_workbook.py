"""Calculation sheets as an XLSX file: formulas with the values they give, looks, print layout."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from copy import copy
from textwrap import wrap
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from resilience.reporting.archives import read_parts, write_parts
from resilience.reporting.calculation_sheet_page import COLUMNS, Cell, Page, column_name

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

__all__ = ["sheets_bytes"]

_OTHER = 12.5  # width of the columns for which a page names none
_FONT = "Calibri"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # not allowed in XML
_CELL = re.compile(r'<c r="([A-Z]+\d+)"([^>]*)><f>(.*?)</f><v ?/?>(?:</v>)?</c>', re.DOTALL)
_COLORS = {
    "input": "FFF6D6",
    "number": "FFFFFF",
    "result": "DCEBF7",
    "head": "E8EDF2",
    "heading": "D5DEE8",
}


def sheets_bytes(sheets: Mapping[str, Page], lang: str) -> bytes:
    """Return the workbook; the same sheets give the same bytes.

    Every formula carries the value it gives, for viewers that do not calculate; programs that do
    recalculate when they open the file.
    """
    from openpyxl import Workbook

    book = Workbook()
    first = book.active
    if first is not None:
        book.remove(first)
    values: dict[str, dict[str, Cell]] = {}
    looks: dict[str, dict[str, Any]] = _looks()
    styles: dict[tuple[str, int | None], Any] = {}
    for number, (title, page) in enumerate(sheets.items(), start=1):
        sheet = book.create_sheet(title)
        values[f"xl/worksheets/sheet{number}.xml"] = _write(
            sheet, page, looks, styles, first=number == 1
        )
    book.properties.creator = "school-resilience"
    if book.calculation is not None:
        book.calculation.fullCalcOnLoad = True
    buffer = io.BytesIO()
    book.save(buffer)
    parts = read_parts(buffer.getvalue())
    for name, cells in values.items():
        parts[name] = _with_values(parts[name].decode("utf-8"), cells).encode("utf-8")
    return write_parts(parts)


def _write(
    sheet: Worksheet,
    page: Page,
    looks: Mapping[str, Mapping[str, Any]],
    styles: dict[tuple[str, int | None], Any],
    *,
    first: bool,
) -> dict[str, Cell]:
    """Write the rows of a page and return its formulas by their address."""
    formulas: dict[str, Cell] = {}
    widest = max((max(row.cells) for row in page.rows if row.cells), default=1)
    for k in range(1, max(widest, COLUMNS) + 1):
        width = page.widths[k - 1] if k <= len(page.widths) else _OTHER
        sheet.column_dimensions[column_name(k)].width = width
    for number, row in enumerate(page.rows, start=1):
        height = 15.0
        for place, cell in row.cells.items():
            target = sheet.cell(number, place)
            _fill(target, cell, looks, styles)
            if cell.formula:
                formulas[f"{column_name(place)}{number}"] = cell
            if cell.span > 1:
                sheet.merge_cells(
                    start_row=number,
                    end_row=number,
                    start_column=place,
                    end_column=place + cell.span - 1,
                )
            height = max(height, _height(cell, place, page.widths))
        sheet.row_dimensions[number].height = height
    sheet.sheet_view.showGridLines = False
    if not first and len(page.rows) > 3:
        sheet.freeze_panes = "A4"
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.paperSize = 9  # A4
    sheet.page_setup.fitToWidth = 1
    sheet.page_setup.fitToHeight = 0
    if sheet.sheet_properties.pageSetUpPr is not None:
        sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.print_options.horizontalCentered = False
    return formulas


def _looks() -> dict[str, dict[str, Any]]:
    from openpyxl.styles import Alignment, Border, Font, PatternFill, Side

    thin = Side(style="thin", color="B8C4D0")
    frame = Border(left=thin, right=thin, top=thin, bottom=thin)
    top: dict[str, Any] = {"wrap_text": True, "vertical": "top"}

    def fill(look: str) -> PatternFill:
        return PatternFill("solid", fgColor=_COLORS[look])

    number = Alignment(horizontal="right", **top)
    return {
        "title": {"font": Font(name=_FONT, bold=True, size=14), "alignment": Alignment(**top)},
        "heading": {
            "font": Font(name=_FONT, bold=True, size=11),
            "fill": fill("heading"),
            "alignment": Alignment(**top),
        },
        "label": {"font": Font(name=_FONT), "alignment": Alignment(**top)},
        "input": {
            "font": Font(name=_FONT),
            "fill": fill("input"),
            "border": frame,
            "alignment": number,
        },
        "number": {
            "font": Font(name=_FONT),
            "fill": fill("number"),
            "border": frame,
            "alignment": number,
        },
        "result": {
            "font": Font(name=_FONT, bold=True),
            "fill": fill("result"),
            "border": frame,
            "alignment": number,
        },
        "note": {
            "font": Font(name=_FONT, color="44505C", size=10),
            "alignment": Alignment(indent=1, **top),
        },
        "head": {
            "font": Font(name=_FONT, bold=True),
            "fill": fill("head"),
            "alignment": Alignment(**top),
        },
        "text": {"font": Font(name=_FONT, color="44505C"), "alignment": number},
        "warning": {"font": Font(name=_FONT, bold=True), "alignment": Alignment(**top)},
    }


def _fill(
    target: Any,
    cell: Cell,
    looks: Mapping[str, Mapping[str, Any]],
    styles: dict[tuple[str, int | None], Any],
) -> None:
    if cell.formula:
        target.value = "=" + cell.formula
    elif isinstance(cell.value, str):
        target.value = _CONTROL.sub("", cell.value)
        target.data_type = "s"  # a text that begins with "=" is no formula
    elif cell.value is not None:
        target.value = _rounded(cell.value)
    known = styles.get((cell.look, cell.digits))
    if known is not None:
        target._style = copy(known)  # a record of its own for each cell would be ten times as slow
        return
    for name, value in looks[cell.look].items():
        setattr(target, name, value)
    if cell.digits is not None:
        target.number_format = "0" if cell.digits == 0 else "0." + "0" * cell.digits
    styles[cell.look, cell.digits] = target._style


def _rounded(value: float | bool) -> float | bool:
    """Return twelve significant digits: the last bits may differ between processors."""
    return value if isinstance(value, bool | int) else float(f"{value:.12g}")


def _height(cell: Cell, place: int, widths: tuple[float, ...]) -> float:
    """Return the height that the text of a cell needs: programs do not fit merged cells."""
    if not isinstance(cell.value, str) or cell.formula:
        return 15.0
    columns = range(place, place + cell.span)
    width = sum(widths[k - 1] if k <= len(widths) else _OTHER for k in columns)
    size = 1.35 if cell.look == "title" else 1.12 if cell.look in ("head", "heading") else 1.0
    lines = sum(
        max(1, len(wrap(part, max(4, int(width / size))))) for part in cell.value.split("\n")
    )
    return 14.0 * lines * (1.3 if cell.look == "title" else 1.0) + 2.0


def _with_values(sheet: str, formulas: Mapping[str, Cell]) -> str:
    """Put beside each formula the value it gives."""

    def filled(found: re.Match[str]) -> str:
        place, attributes, formula = found[1], found[2], found[3]
        value = formulas[place].value
        attributes = re.sub(r' t="[a-z]+"', "", attributes)
        if isinstance(value, str):
            return f'<c r="{place}"{attributes} t="str"><f>{formula}</f><v>{escape(value)}</v></c>'
        if value is None or not math.isfinite(float(value)):
            return f'<c r="{place}"{attributes}><f>{formula}</f></c>'
        shown = repr(_rounded(float(value)))
        return f'<c r="{place}"{attributes}><f>{formula}</f><v>{shown}</v></c>'

    return _CELL.sub(filled, sheet)
