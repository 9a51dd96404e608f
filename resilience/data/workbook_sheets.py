"""Opening a filled-in workbook: its sheets, their headers and the typed columns below them."""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilience.data.cells import (
    HEADER_ROWS,
    UNREADABLE,
    HeaderRow,
    convert_cells,
    find_header,
)
from resilience.data.normalise import (
    is_blank,
    is_dash,
    normalise_header,
    parse_number,
    show_value,
    tidy_text,
)
from resilience.data.personal import is_personal_header, is_special_category_header
from resilience.data.problems import Problems, join_lines
from resilience.data.workbook_layout import EXPLANATION_MARK, Sheet
from resilience.errors import DataError
from resilience.i18n import LANGUAGES, Bilingual, text
from resilience.validation import shorten

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

__all__ = ["FilledSheet", "RawSheet", "check_file", "find_sheet", "open_sheets", "read_sheet"]

_ERRORS = ("#N/A", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!")
_OLE_MARK = b"\xd0\xcf\x11\xe0"  # the old .xls, and an .xlsx under a password


@dataclass(frozen=True, kw_only=True, eq=False)
class RawSheet:
    """One sheet as stored.

    Attributes
    ----------
    title : str
        Title in the file.
    rows : list of tuple
        Cells from the first row and column on.
    formulas : frozenset of (int, int)
        Row and column, from 0, of formulas whose value is not stored.
    merged : tuple of (str, int, int, int, int)
        Merged ranges: name, first row, first column, last row, last column, from 0.
    """

    title: str
    rows: list[tuple[object, ...]]
    formulas: frozenset[tuple[int, int]]
    merged: tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FilledSheet:
    """The rows of one sheet, typed.

    Attributes
    ----------
    form : Sheet
        Its form.
    title : str
        Title in the file.
    numbers : tuple of int
        Number of each row in the spreadsheet.
    columns : dict of str to list
        Values by column; ``None`` where a cell is empty or unreadable.
    failed : set of int
        Positions of rows with an unreadable cell, whose problem has been noted.
    letters : dict of str to str
        Letter of each column in the spreadsheet.
    extra : dict of str to list
        Columns outside the form that were kept.
    """

    form: Sheet
    title: str
    numbers: tuple[int, ...]
    columns: dict[str, list[Any]]
    failed: set[int]
    letters: dict[str, str]
    extra: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, i: int, column: str = "school_id") -> str:
        """Return the place of a row's cell, ``Отметки!D17`` for instance."""
        return f"{self.title}!{self.letters.get(column, '')}{self.numbers[i]}"

    def rows_named(self, rows: Iterable[int]) -> Bilingual:
        """Return the spreadsheet's numbers of rows as messages list them."""
        return text("workbook.rows", rows=shorten(self.numbers[i] for i in rows))


# --- the file -----------------------------------------------------------------------------------


def check_file(path: Path, shown: str) -> None:
    """Raise if there is no such file, with the names of those there are.

    Raises
    ------
    DataError
        If the path does not exist or is a folder.
    """
    if path.is_dir():
        raise DataError(text("schema.file_is_folder", path=repr(shown)))
    if path.exists():
        return
    folder = path.parent
    alike = []
    if folder.is_dir():
        suffix = path.suffix.lower()
        alike = sorted(p.name for p in folder.iterdir() if p.suffix.lower() == suffix)
    near = text("schema.file_nearest", files=shorten(alike)) if alike else Bilingual("", "")
    raise DataError(text("schema.file_missing", path=repr(shown), nearest=near))


def open_sheets(path: Path, shown: str) -> list[RawSheet]:
    """Return the sheets of a workbook.

    Parameters
    ----------
    path : Path
        File.
    shown : str
        Name of the file in messages.

    Raises
    ------
    DataError
        If the file is missing, locked, or not an XLSX workbook.
    """
    check_file(path, shown)
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(_OLE_MARK):
            raise _not_xlsx(shown, text("workbook.old_xls"))
        if not zipfile.is_zipfile(path):
            raise _not_xlsx(shown, text("workbook.not_zip"))
        values = _load(path, shown, stored_values=True)
        formulas = _load(path, shown, stored_values=False) if _has_formulas(path) else {}
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise DataError(text("schema.file_locked", path=repr(shown), problem=problem)) from error
    return [_raw(sheet, formulas.get(title)) for title, sheet in values.items()]


def _not_xlsx(shown: str, problem: Bilingual) -> DataError:
    return DataError(text("workbook.not_xlsx", path=repr(shown), problem=problem))


def _load(path: Path, shown: str, *, stored_values: bool) -> dict[str, Worksheet]:
    from xml.etree.ElementTree import ParseError

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    broken = (KeyError, ValueError, TypeError, IndexError, AttributeError)
    try:
        with warnings.catch_warnings():
            # What openpyxl cannot keep (styles, newer validations) holds no data.
            warnings.simplefilter("ignore", UserWarning)
            book = load_workbook(path, data_only=stored_values)
    except (zipfile.BadZipFile, InvalidFileException, ParseError, *broken) as error:
        raise _not_xlsx(shown, text("workbook.damaged")) from error
    return {sheet.title: sheet for sheet in book.worksheets}


def _has_formulas(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        parts = [n for n in archive.namelist() if re.match(r"xl/worksheets/.*\.xml$", n)]
        return any(re.search(rb"<f[ >/]", archive.read(name)) for name in parts)


def _raw(sheet: Worksheet, with_formulas: Worksheet | None) -> RawSheet:
    rows: list[tuple[object, ...]] = [tuple(r) for r in sheet.iter_rows(values_only=True)]
    unstored: set[tuple[int, int]] = set()
    if with_formulas is not None:
        for i, row in enumerate(with_formulas.iter_rows(values_only=True)):
            for j, cell in enumerate(row):
                is_formula = cell is not None and not isinstance(cell, int | float | bool)
                is_formula = is_formula and (str(cell).startswith("=") or hasattr(cell, "ref"))
                if is_formula and i < len(rows) and rows[i][j] is None:
                    unstored.add((i, j))
    merged = tuple(
        (str(r.coord), r.min_row - 1, r.min_col - 1, r.max_row - 1, r.max_col - 1)
        for r in sheet.merged_cells.ranges
    )
    return RawSheet(title=sheet.title, rows=rows, formulas=frozenset(unstored), merged=merged)


# --- the right sheet ----------------------------------------------------------------------------


def find_sheet(
    sheets: Sequence[RawSheet], form: Sheet, taken: set[str], problems: Problems
) -> RawSheet | None:
    """Return the sheet of a form: by its title in either language, else by its headers.

    Parameters
    ----------
    sheets : sequence of RawSheet
        Sheets of the workbook.
    form : Sheet
        Form sought.
    taken : set of str
        Titles of sheets that serve another form; the title found is added.
    problems : Problems
        Receives a warning if a renamed sheet is used.
    """
    titles = {normalise_header(form.title.localized(lang)) for lang in LANGUAGES}
    for sheet in sheets:
        if sheet.title not in taken and normalise_header(sheet.title) in titles:
            taken.add(sheet.title)
            return sheet
    accepted = form.accepted()
    for sheet in sheets:
        header = None if sheet.title in taken else find_header(sheet.rows, accepted)
        if header is not None and set(form.signature) <= set(header.columns):
            taken.add(sheet.title)
            problems.warn(text("workbook.warn_renamed", sheet=sheet.title, title=form.title))
            return sheet
    return None


# --- rows ---------------------------------------------------------------------------------------


def read_sheet(
    sheet: RawSheet, form: Sheet, problems: Problems, *, keep_personal: bool = False
) -> FilledSheet | None:
    """Return the typed rows of a sheet, ``None`` if its header cannot be used.

    Rows that begin with the mark of an explanation and rows without anything in the form's columns
    are skipped.  Columns outside the form are dropped with a warning that names the column; of the
    pupils' sheet those with numbers stay.
    """
    header = find_header(sheet.rows, form.accepted())
    if header is None:
        wanted = [form.header(c.name) for c in form.columns if c.required]
        problems.add(
            sheet.title,
            text("workbook.no_header", rows=HEADER_ROWS, columns=_quoted(wanted)),
        )
        return None
    if not _header_is_whole(sheet, form, header, problems):
        return None
    rows = _data_rows(sheet, header, problems)
    letters = {name: _letter(position) for name, position in header.columns.items()}
    numbers = tuple(i + 1 for i, _ in rows)
    failed: set[int] = set()
    columns: dict[str, list[Any]] = {}
    for column in form.columns:
        position = header.columns.get(column.name)
        if position is None:
            columns[column.name] = [None] * len(rows)
            continue
        cells = [row[position] for _, row in rows]
        if column.choices == "levels":
            # A spreadsheet takes 5-9 for a date; `read_levels` takes it back.
            cells = [str(c) if isinstance(c, dt.date) else c for c in cells]
        letter = letters[column.name]

        def place(i: int, letter: str = letter) -> str:
            return f"{sheet.title}!{letter}{numbers[i]}"

        columns[column.name] = convert_cells(
            cells,
            column.rule,
            place=place,
            problems=problems,
            failed=failed,
            hide_words=form.name == "pupils",
        )
        _warn_of_dashes(cells, f"{sheet.title}!{letter}", problems)
    extra = _extra_columns(sheet, form, header, rows, problems, keep_personal)
    return FilledSheet(
        form=form,
        title=sheet.title,
        numbers=numbers,
        columns=columns,
        failed=failed,
        letters=letters,
        extra=extra,
    )


def _letter(position: int) -> str:
    from openpyxl.utils import get_column_letter

    return get_column_letter(position + 1)


def _quoted(words: Iterable[str]) -> Bilingual:
    lines = list(words)
    return join_lines(
        (Bilingual(f"«{w}»", f"«{getattr(w, 'ru', w)}»") for w in lines), separator=", "
    )


def _header_is_whole(sheet: RawSheet, form: Sheet, header: HeaderRow, problems: Problems) -> bool:
    seen = [tidy_text(c) for c in sheet.rows[header.row] if not is_blank(c)]
    whole = True
    for column in form.columns:
        if column.required and column.name not in header.columns:
            words = _quoted(c if not is_personal_header(c) else "…" for c in seen)
            message = text("workbook.no_column", header=form.header(column.name), columns=words)
            problems.add(f"{sheet.title}!{header.row + 1}", message)
            whole = False
    for position in header.repeated:
        place = f"{sheet.title}!{_letter(position)}{header.row + 1}"
        column_words = show_value(sheet.rows[header.row][position])
        problems.add(place, text("schema.header_repeated", column=column_words))
        whole = False
    return whole


def _data_rows(
    sheet: RawSheet, header: HeaderRow, problems: Problems
) -> list[tuple[int, list[object]]]:
    """Return the filled rows below the header, with their positions in the sheet."""
    used = set(header.columns.values())
    grid = {i: list(row) for i, row in enumerate(sheet.rows) if i > header.row}
    _note_merged(sheet, header, grid, problems)
    for i, j in sorted(sheet.formulas):
        if j in used and i in grid:
            problems.add(f"{sheet.title}!{_letter(j)}{i + 1}", text("workbook.formula"))
            grid[i][j] = UNREADABLE
    rows = []
    for i, row in grid.items():
        first = next((c for c in row if not is_blank(c)), None)
        if isinstance(first, str) and tidy_text(first).startswith(EXPLANATION_MARK):
            continue
        if all(is_blank(row[j]) for j in used):
            continue
        for j in used:
            if row[j] in _ERRORS:
                message = text("workbook.error_cell", value=show_value(row[j]))
                problems.add(f"{sheet.title}!{_letter(j)}{i + 1}", message)
                row[j] = UNREADABLE
        rows.append((i, row))
    return rows


def _note_merged(
    sheet: RawSheet, header: HeaderRow, grid: dict[int, list[object]], problems: Problems
) -> None:
    """Note merged cells among the data and spread their value, so that each is told once."""
    used = set(header.columns.values())
    for name, top, left, bottom, right in sheet.merged:
        inside = [
            (i, j)
            for i in range(max(top, header.row + 1), bottom + 1)
            for j in range(left, right + 1)
            if j in used and i in grid
        ]
        value = grid[top][left] if top in grid else None
        is_note = isinstance(value, str) and tidy_text(value).startswith(EXPLANATION_MARK)
        if not inside or is_note or is_blank(value):
            continue
        problems.add(f"{sheet.title}!{name}", text("workbook.merged", range=name))
        for i, j in inside:
            grid[i][j] = value


def _warn_of_dashes(cells: Sequence[object], place: str, problems: Problems) -> None:
    n = sum(is_dash(cell) for cell in cells)
    if n:
        problems.warn(text("schema.dashes", place=place, n=n))


def _extra_columns(
    sheet: RawSheet,
    form: Sheet,
    header: HeaderRow,
    rows: Sequence[tuple[int, Sequence[object]]],
    problems: Problems,
    keep_personal: bool,
) -> dict[str, list[Any]]:
    """Drop or keep the columns outside the form; what is personal goes unless asked for."""
    kept: dict[str, list[Any]] = {}
    for position, words in header.unknown.items():
        place = f"{sheet.title}!{_letter(position)}{header.row + 1}"
        cells = [row[position] for _, row in rows]
        if is_personal_header(words):
            if keep_personal and form.name in ("schools", "pupils"):
                kept[normalise_header(words)] = [
                    None if is_blank(c) or c is UNREADABLE else tidy_text(c) for c in cells
                ]
            else:
                key = "schema.dropped_personal"
                problems.warn(text(key, place=place, column=show_value(words)))
        elif form.name == "pupils" and is_special_category_header(words):
            problems.warn(text("schema.dropped_special", place=place, column=show_value(words)))
        elif form.name == "pupils" and (numbers := _as_numbers(cells)) is not None:
            kept[normalise_header(words).replace(" ", "_")] = numbers
            problems.warn(text("schema.kept_extra", place=place, column=show_value(words)))
        else:
            key = "workbook.warn_column_ignored"
            problems.warn(text(key, place=place, column=show_value(words)))
    return kept


def _as_numbers(cells: Sequence[object]) -> list[float | None] | None:
    """Return the cells as numbers, ``None`` if one is not a number or none is."""
    try:
        numbers = [parse_number(c) for c in cells]
    except DataError:
        return None
    return numbers if any(n is not None for n in numbers) else None
