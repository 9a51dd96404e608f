"""The empty workbook for a methodologist, with explanations, lists and checks in its cells."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilience.data.outputs import write_files
from resilience.data.schema import PASSPORT_SHARES
from resilience.data.template_example import (
    CellValue,
    example_rows,
    example_settings,
    typical_procedures,
)
from resilience.data.workbook_layout import (
    EXPLANATION_MARK,
    SETTINGS,
    SHEETS,
    Sheet,
    choices,
)
from resilience.errors import OutputError, SpecificationError
from resilience.i18n import check_language, text

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

__all__ = ["write_template"]

Rows = Sequence[Mapping[str, CellValue]]

FIRST_ROW = 3  # below the header and its explanation
LAST_ROW = {"schools": 2000, "counts": 30000, "procedures": 600, "passports": 8000}
LIST_NAMES = (
    "yes_no",
    "school_types",
    "levels",
    "units",
    "connective",
    "index_method",
    "lang",
    "procedures",
)
_REQUIRED, _OPTIONAL, _NOTE, _HEADING = "F8CBAD", "DDEBF7", "F2F2F2", "1F3864"
_FORMATS = {"code": "@", "text": "@", "procedure": "@", "date": "dd.mm.yyyy", "count": "0"}
_NO_CLOCK = dt.datetime(2026, 1, 1)  # creation date of every template: no clock goes into a file


def write_template(
    path: str | Path,
    *,
    lang: str = "ru",
    example: bool = False,
    years: Sequence[int] = (2024, 2025, 2026),
    overwrite: bool = False,
) -> Path:
    """Write the workbook that a methodologist fills in.

    Sheets: instructions, schools, marks, procedures (typical ones filled in), social passports,
    pupils (may stay empty), settings, lists of choices.

    Parameters
    ----------
    path : str or Path
        File to write, ending in ``.xlsx``.
    lang : {"ru", "en"}
        Language of titles, headers and explanations; the reader accepts both.
    example : bool
        Fill it in with an invented region of eight schools, three of them tiny.
    years : sequence of int
        School years (by their end) for which typical procedures are filled in.
    overwrite : bool
        Replace a file that is there.  Off by default: the file may hold a year's work.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    OutputError
        If the file exists, the name does not end in ``.xlsx``, a parent is a file, or the disk
        refuses.
    SpecificationError
        If the language is unknown or a year is impossible.
    """
    check_language(lang)
    target = Path(path)
    if not years or not all(1990 <= int(year) <= 2100 for year in years):
        raise SpecificationError(text("workbook.years", value=repr(tuple(years))))
    if target.suffix.lower() != ".xlsx":
        raise OutputError(text("workbook.suffix", path=repr(target.name)))
    if target.is_file() and not overwrite:
        raise OutputError(text("workbook.exists", path=repr(str(path))))
    rows = {"procedures": typical_procedures(years)}
    if example:
        rows = example_rows(years, lang)
    settings = example_settings(years, lang) if example else _usual_settings(lang)
    write_files({target: _content(_build(rows, settings, lang=lang, example=example))})
    return target


def _usual_settings(lang: str) -> dict[str, CellValue]:
    return {"lang": lang, "adversity_quantile": 0.25}


def _build(
    rows: Mapping[str, Rows], settings: Mapping[str, CellValue], *, lang: str, example: bool
) -> Workbook:
    from openpyxl import Workbook

    book = Workbook()
    if book.active is not None:
        book.remove(book.active)
    _write_instructions(
        book.create_sheet(text("workbook.sheet_instructions").localized(lang)), lang, example
    )
    names = list(dict.fromkeys(str(r["procedure"]) for r in rows["procedures"]))
    ranges = _list_ranges(lang, names)
    for form in SHEETS:
        sheet = book.create_sheet(form.title.localized(lang))
        _write_sheet(sheet, form, rows.get(form.name, ()), lang)
        _add_validation(sheet, form, lang, ranges)
    _write_settings(
        book.create_sheet(text("workbook.sheet_settings").localized(lang)), settings, lang, ranges
    )
    _write_lists(book.create_sheet(text("workbook.sheet_lists").localized(lang)), lang, names)
    book.properties.creator = "school-resilience"
    book.properties.title = text("workbook.title").localized(lang)
    book.properties.created = _NO_CLOCK
    return book


def _content(book: Workbook) -> bytes:
    """Return the file's bytes, the same for the same content on any day."""
    raw, same = io.BytesIO(), io.BytesIO()
    book.save(raw)
    stamp = _NO_CLOCK.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(same, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            if name == "docProps/core.xml":
                part = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>" + stamp, part)
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 0
            target.writestr(entry, part)
    return same.getvalue()


# --- sheets -------------------------------------------------------------------------------------


def _fill(colour: str) -> Any:
    from openpyxl.styles import PatternFill

    return PatternFill("solid", fgColor=colour)


def _font(**style: Any) -> Any:
    from openpyxl.styles import Font

    # Without a name a spreadsheet falls back to a serif face.
    return Font(name="Calibri", **style)


def _thin_border() -> Any:
    from openpyxl.styles import Border, Side

    side = Side(style="thin", color="BFBFBF")
    return Border(left=side, right=side, top=side, bottom=side)


def _write_instructions(sheet: Worksheet, lang: str, example: bool) -> None:
    from openpyxl.styles import Alignment

    sheet.column_dimensions["A"].width = 24
    sheet.column_dimensions["B"].width = 96
    sheet.sheet_view.showGridLines = False
    sheet["A1"] = text("workbook.title").localized(lang)
    sheet["A1"].font = _font(bold=True, size=15, color=_HEADING)
    topics = ["purpose", "order", "colours", "zero", "small", "codes", "personal", "free"]
    row = 3
    for topic in (["example"] if example else []) + topics:
        head = sheet.cell(row, 1, text(f"workbook.{topic}_head").localized(lang))
        head.font = _font(bold=True, color=_HEADING)
        head.alignment = Alignment(vertical="top", wrap_text=True)
        if topic == "colours":
            legend = (("required", _REQUIRED), ("optional", _OPTIONAL), ("note", _NOTE))
            for name, colour in legend:
                cell = sheet.cell(row, 2, text(f"workbook.colour_{name}").localized(lang))
                cell.fill, cell.border = _fill(colour), _thin_border()
                row += 1
        else:
            words = text(f"workbook.{topic}").localized(lang)
            cell = sheet.cell(row, 2, words)
            cell.alignment = Alignment(vertical="top", wrap_text=True)
            # Spreadsheets do not fit the height of rows written by a program.
            sheet.row_dimensions[row].height = 15.5 * (1 + len(words) // 92)
            row += 1
        row += 1
    _fit_to_width(sheet, landscape=False)


def _write_sheet(sheet: Worksheet, form: Sheet, rows: Rows, lang: str) -> None:
    from openpyxl.styles import Alignment
    from openpyxl.utils import get_column_letter

    wrapped = Alignment(wrap_text=True, vertical="center", horizontal="center")
    lines = 1
    for j, column in enumerate(form.columns, start=1):
        head = sheet.cell(1, j, form.header(column.name).localized(lang))
        head.font, head.alignment, head.border = _font(bold=True), wrapped, _thin_border()
        head.fill = _fill(_REQUIRED if column.required else _OPTIONAL)
        words = form.note(column.name).localized(lang)
        note = sheet.cell(2, j, f"{EXPLANATION_MARK} {words}" if j == 1 else words)
        note.font = _font(italic=True, size=9, color="595959")
        note.fill, note.alignment, note.border = _fill(_NOTE), wrapped, _thin_border()
        lines = max(lines, 1 + len(words) // max(1, column.width - 2))
        dimension = sheet.column_dimensions[get_column_letter(j)]
        dimension.width = column.width
        # The format of the whole column: codes typed into empty cells keep their zeros.
        dimension.number_format = _FORMATS.get(column.type, "General")
    sheet.row_dimensions[1].height = 46
    sheet.row_dimensions[2].height = 12.5 * (lines + 1)
    for i, record in enumerate(rows, start=FIRST_ROW):
        for j, column in enumerate(form.columns, start=1):
            value = record.get(column.name)
            if value is not None:
                cell = sheet.cell(i, j, value)
                cell.number_format = _FORMATS.get(column.type, "General")
    sheet.freeze_panes = f"B{FIRST_ROW}"
    _fit_to_width(sheet, landscape=True)


def _fit_to_width(sheet: Worksheet, *, landscape: bool) -> None:
    """Set printing: the width of one page, headers repeated."""
    from openpyxl.worksheet.properties import PageSetupProperties

    sheet.page_setup.orientation = "landscape" if landscape else "portrait"
    sheet.page_setup.paperSize = 9  # A4
    sheet.page_setup.fitToHeight = 0
    sheet.page_margins.left = sheet.page_margins.right = 0.4
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    if landscape:
        sheet.print_title_rows = "1:2"


def _write_settings(
    sheet: Worksheet, settings: Mapping[str, CellValue], lang: str, ranges: Mapping[str, str]
) -> None:
    from openpyxl.styles import Alignment
    from openpyxl.worksheet.datavalidation import DataValidation

    for j, (name, width) in enumerate((("parameter", 44), ("value", 34), ("note", 92)), start=1):
        head = sheet.cell(1, j, text(f"workbook.settings_{name}").localized(lang))
        head.font, head.fill, head.border = _font(bold=True), _fill("D9D9D9"), _thin_border()
        sheet.column_dimensions["ABC"[j - 1]].width = width
    for i, setting in enumerate(SETTINGS, start=2):
        title = sheet.cell(i, 1, setting.title.localized(lang))
        value = sheet.cell(i, 2, settings.get(setting.name))
        note = setting.note.localized(lang)
        words = sheet.cell(i, 3, note)
        title.alignment = words.alignment = Alignment(wrap_text=True, vertical="center")
        value.alignment = Alignment(horizontal="center", vertical="center", wrap_text=True)
        value.fill = _fill(_REQUIRED if setting.required else _OPTIONAL)
        title.border = value.border = words.border = _thin_border()
        words.font = _font(italic=True, size=9, color="595959")
        value.number_format = _FORMATS.get(setting.type, "General")
        sheet.row_dimensions[i].height = max(20.0, 13.0 * (1 + len(note) // 95))
        if setting.choices:
            _add_list(sheet, f"B{i}", ranges[setting.choices], lang, strict=True)
        elif setting.type == "date":
            check = DataValidation(type="date", operator="greaterThan", formula1="36526")
            _attach(sheet, check, f"B{i}", text("workbook.date_needed").localized(lang), "stop")
    sheet.freeze_panes = "A2"
    _fit_to_width(sheet, landscape=True)
    sheet.print_title_rows = "1:1"


def _write_lists(sheet: Worksheet, lang: str, procedures: Sequence[str]) -> None:
    from openpyxl.utils import get_column_letter

    for j, name in enumerate(LIST_NAMES, start=1):
        head = sheet.cell(1, j, text(f"workbook.list_{name}").localized(lang))
        head.font, head.fill = _font(bold=True), _fill("D9D9D9")
        sheet.column_dimensions[get_column_letter(j)].width = 32
        for i, value in enumerate(_list_values(name, lang, procedures), start=2):
            sheet.cell(i, j, value).number_format = "@"
    _fit_to_width(sheet, landscape=True)


# --- choices and checks in the cells --------------------------------------------------------------


def _list_values(name: str, lang: str, procedures: Sequence[str]) -> Sequence[str]:
    return procedures if name == "procedures" else choices(name, lang)


def _list_ranges(lang: str, procedures: Sequence[str]) -> dict[str, str]:
    """Return the cells of each list, as formulas."""
    from openpyxl.utils import get_column_letter, quote_sheetname

    sheet = quote_sheetname(text("workbook.sheet_lists").localized(lang))
    ranges = {}
    for j, name in enumerate(LIST_NAMES, start=1):
        # Room below the procedures, so that a methodologist can add names to the list.
        n = 100 if name == "procedures" else len(_list_values(name, lang, procedures))
        letter = get_column_letter(j)
        ranges[name] = f"={sheet}!${letter}$2:${letter}${n + 1}"
    schools = quote_sheetname(text("workbook.sheet_schools").localized(lang))
    ranges["schools"] = f"={schools}!$A${FIRST_ROW}:$A${LAST_ROW['schools']}"
    return ranges


def _attach(sheet: Worksheet, check: Any, cells: str, words: str, style: str) -> None:
    check.allow_blank = True
    check.showErrorMessage = True
    check.errorStyle = style
    check.error = words
    check.errorTitle = sheet.title
    sheet.add_data_validation(check)
    check.add(cells)


def _add_list(sheet: Worksheet, cells: str, formula: str, lang: str, *, strict: bool) -> None:
    from openpyxl.worksheet.datavalidation import DataValidation

    check = DataValidation(type="list", formula1=formula)
    words = text("workbook.choose" if strict else "workbook.choose_or_type").localized(lang)
    _attach(sheet, check, cells, words, "stop" if strict else "warning")


def _add_validation(sheet: Worksheet, form: Sheet, lang: str, ranges: Mapping[str, str]) -> None:
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    last = LAST_ROW.get(form.name, 30000)
    for j, column in enumerate(form.columns, start=1):
        letter = get_column_letter(j)
        cells = f"{letter}{FIRST_ROW}:{letter}{last}"
        if column.choices:
            strict = column.choices in ("yes_no", "units", "levels")
            _add_list(sheet, cells, ranges[column.choices], lang, strict=strict)
        elif column.type == "count":
            check = DataValidation(type="whole", operator="greaterThanOrEqual", formula1="0")
            words = text("workbook.whole_number").localized(lang)
            _attach(sheet, check, cells, words, "stop")
        elif column.type == "date":
            check = DataValidation(type="date", operator="greaterThan", formula1="36526")
            _attach(sheet, check, cells, text("workbook.date_needed").localized(lang), "stop")
    if form.name == "counts":
        _mark_wrong_sums(sheet, form, last)
    elif form.name == "passports":
        _mark_above_base(sheet, form, last)


def _letter(form: Sheet, name: str) -> str:
    from openpyxl.utils import get_column_letter

    names = [column.name for column in form.columns]
    return get_column_letter(1 + names.index(name))


def _mark(sheet: Worksheet, cells: str, formula: str) -> None:
    from openpyxl.formatting.rule import Rule
    from openpyxl.styles import Font, PatternFill
    from openpyxl.styles.differential import DifferentialStyle

    style = DifferentialStyle(
        fill=PatternFill(bgColor="FF9999"), font=Font(bold=True, color="9C0006")
    )
    rule = Rule(type="expression", formula=[formula], dxf=style)
    sheet.conditional_formatting.add(cells, rule)


def _mark_wrong_sums(sheet: Worksheet, form: Sheet, last: int) -> None:
    """Redden rows whose marks do not add up to the participants."""
    first, end, total = (_letter(form, name) for name in ("n_2", "n_5", "n_participants"))
    marks = f"${first}{FIRST_ROW}:${end}{FIRST_ROW}"
    n = f"${total}{FIRST_ROW}"
    formula = f'AND(COUNT({marks})=4,{n}<>"",SUM({marks})<>{n})'
    _mark(sheet, f"{total}{FIRST_ROW}:{end}{last}", formula)


def _mark_above_base(sheet: Worksheet, form: Sheet, last: int) -> None:
    """Redden numbers of pupils above the number of all pupils."""
    first = _letter(form, PASSPORT_SHARES[5])
    end = _letter(form, PASSPORT_SHARES[-1])
    base = f"${_letter(form, 'n_pupils')}{FIRST_ROW}"
    cell = f"{first}{FIRST_ROW}"
    formula = f'AND({cell}<>"",{base}<>"",{cell}>{base})'
    _mark(sheet, f"{first}{FIRST_ROW}:{end}{last}", formula)
