"""Binding tables from delimited text files, whatever encoding and separator they were saved in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilience.data.cells import (
    HEADER_ROWS,
    HeaderRow,
    accepted_headers,
    column_values,
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
from resilience.data.personal import (
    is_personal_header,
    is_special_category_header,
    looks_like_person,
)
from resilience.data.problems import Problems, join_lines
from resilience.data.schema import TableRule, check_table, named, table_rule
from resilience.data.workbook_sheets import check_file
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.validation import nearest_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DelimitedTable", "read_delimited"]

SEPARATORS = (";", ",", "\t")
ENCODINGS = ("utf-8-sig", "cp1251")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True, kw_only=True, eq=False)
class DelimitedTable:
    """A table read from a text file.

    Attributes
    ----------
    name : str
        Binding table.
    source : str
        Name of the file, without its folder.
    frame : DataFrame
        The table, checked and typed.
    encoding : {"utf-8-sig", "cp1251"}
        Encoding the file was read in.
    separator : {";", ",", tab}
        Separator of its fields.
    warnings : tuple of Bilingual
        How it was read, and what was not read.
    """

    name: str
    source: str
    frame: pd.DataFrame
    encoding: str
    separator: str
    warnings: tuple[Bilingual, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """Lines of the file split into fields, with the header found."""

    rows: list[list[str]]
    lines: list[int]
    separator: str
    header: HeaderRow


def read_delimited(
    name: str,
    path: str | Path,
    *,
    keep: Sequence[str] = (),
    keep_personal: bool = False,
    unique: bool = True,
) -> DelimitedTable:
    """Read a binding table from a CSV file.

    Encodings are tried in the order UTF-8 (with or without its mark), windows-1251; separators in
    the order semicolon, comma, tab.  Headers may be the names of the columns or their labels in
    either language.  Numbers may have a decimal comma.

    Parameters
    ----------
    name : {"schools", "pupils", "counts", "means", "score_histograms", "procedures"}
        Binding table.
    path : str or Path
        The file.
    keep : sequence of str
        Columns outside the table to keep as they are named here, even if they hold text (the
        variables of a formula, for instance).  Of the others those with numbers are kept.
    keep_personal : bool
        Keep columns with names, documents and contacts, and pupils' special categories; by default
        they are dropped, with a warning that cites the column alone.
    unique : bool
        Whether the key of the table must not repeat.

    Returns
    -------
    DelimitedTable

    Raises
    ------
    DataError
        If the file is missing, in another encoding, without a header, or breaks the rules of the
        table; problems are told together, each with its line.
    """
    rule = table_rule(name)
    source = Path(path)
    check_file(source, str(path))
    content, encoding = _decoded(source, str(path))
    layout = _split(content, rule, keep, str(path))
    problems = Problems(source.name)
    _check_header(layout, rule, source.name, problems)
    _check_widths(layout, source.name, problems)
    problems.raise_if_any()
    frame = _typed(layout, rule, source.name, problems, keep, keep_personal)
    problems.raise_if_any()
    try:
        check_table(name, frame, unique=unique)
    except DataError as error:
        message = error.message
        ru = getattr(message, "ru", message)
        raise DataError(Bilingual(f"{source.name}: {message}", f"{source.name}: {ru}")) from None
    separator = text("schema.tab") if layout.separator == "\t" else f"«{layout.separator}»"
    read_as = text(
        "schema.read_as", file=source.name, encoding=encoding.upper(), separator=separator
    )
    return DelimitedTable(
        name=name,
        source=source.name,
        frame=frame,
        encoding=encoding,
        separator=layout.separator,
        warnings=(read_as, *problems.warnings),
    )


def _decoded(path: Path, shown: str) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise DataError(text("schema.file_locked", path=repr(shown), problem=problem)) from error
    if raw.startswith(_SPREADSHEETS):
        raise DataError(text("schema.is_workbook", path=repr(shown)))
    if raw.startswith(_UTF_16):
        raise DataError(text("schema.encoding", path=repr(shown), encoding="UTF-16"))
    for encoding in ENCODINGS:
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise DataError(text("schema.encoding", path=repr(shown), encoding="?"))


def _accepted(rule: TableRule, keep: Sequence[str]) -> dict[str, str]:
    return accepted_headers([c.name for c in rule.columns]) | {
        normalise_header(name): name for name in keep
    }


def _split(content: str, rule: TableRule, keep: Sequence[str], shown: str) -> _Layout:
    """Split the lines by the first separator that gives a header with the required columns."""
    accepted = _accepted(rule, keep)
    best: _Layout | None = None
    for separator in SEPARATORS:
        rows, lines = _fields(content, separator, shown)
        header = find_header(rows, accepted)
        if header is None:
            continue
        layout = _Layout(rows=rows, lines=lines, separator=separator, header=header)
        if set(rule.required) <= set(header.columns):
            return layout
        if best is None or len(header.columns) > len(best.header.columns):
            best = layout
    if best is None:
        if not content.strip():
            raise DataError(text("validation.empty", table=rule.name))
        required = join_lines((named(c) for c in rule.required), separator=", ")
        message = text(
            "schema.no_header", rows=HEADER_ROWS, table=repr(rule.name), required=required
        )
        raise DataError(text("schema.problem", place=repr(shown), message=message))
    return best


def _fields(content: str, separator: str, shown: str) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    rows, lines = [], []
    try:
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(text("schema.quotes", path=repr(shown), problem=str(error))) from error
    return rows, lines


def _check_header(layout: _Layout, rule: TableRule, file: str, problems: Problems) -> None:
    header = layout.header
    place = text("schema.line", file=file, line=layout.lines[header.row])
    cells = layout.rows[header.row]
    seen = [tidy_text(c) for c in cells if not is_blank(c) and not is_personal_header(c)]
    for name in rule.required:
        if name not in header.columns:
            nearest = nearest_names(name, seen)
            problems.add(place, text("schema.no_column", column=named(name), nearest=nearest))
    for position in header.repeated:
        problems.add(place, text("schema.header_repeated", column=show_value(cells[position])))


def _is_data(row: Sequence[str]) -> bool:
    return any(not is_blank(cell) for cell in row)


def _check_widths(layout: _Layout, file: str, problems: Problems) -> None:
    expected = len(layout.rows[layout.header.row])
    separator = text("schema.tab") if layout.separator == "\t" else f"«{layout.separator}»"
    for row, line in list(zip(layout.rows, layout.lines, strict=True))[layout.header.row + 1 :]:
        extra = [cell for cell in row[expected:] if not is_blank(cell)]
        if _is_data(row) and (len(row) < expected or extra):
            problems.add_repeated(
                ("ragged",),
                text("schema.line", file=file, line=line),
                text("schema.ragged", seen=len(row), expected=expected, separator=separator),
            )


def _typed(
    layout: _Layout,
    rule: TableRule,
    file: str,
    problems: Problems,
    keep: Sequence[str],
    keep_personal: bool,
) -> pd.DataFrame:
    import pandas as pd

    body = [
        (line, row)
        for line, row in zip(layout.lines, layout.rows, strict=True)
        if line > layout.lines[layout.header.row] and _is_data(row)
    ]
    columns: dict[str, Any] = {}
    for column_rule in rule.columns:
        position = layout.header.columns.get(column_rule.name)
        if position is None:
            continue
        header = show_value(layout.rows[layout.header.row][position])

        def place(i: int, header: str = header) -> Bilingual:
            return text("schema.line_column", file=file, line=body[i][0], column=header)

        cells = [row[position] for _, row in body]
        values = convert_cells(
            cells,
            column_rule,
            place=place,
            problems=problems,
            hide_words=rule.name == "pupils",
        )
        columns[column_rule.name] = column_values(values, column_rule.type)
        dashes = sum(is_dash(cell) for cell in cells)
        if dashes:
            problems.warn(text("schema.dashes", place=f"{file}: {header}", n=dashes))
        if column_rule.name == "pupil_key":
            _check_keys(values, place, problems)
    extra = _extra(layout, body, rule, keep)
    for header, cells in extra.items():
        kept = _kept(header, cells, rule, file, problems, keep, keep_personal)
        if kept is not None:
            columns[kept[0]] = kept[1]
    return pd.DataFrame(columns)


def _check_keys(values: Sequence[Any], place: Any, problems: Problems) -> None:
    for i, value in enumerate(values):
        if value is not None and looks_like_person(value):
            problems.add_repeated(("person",), place(i), text("schema.key_is_person"))


def _extra(
    layout: _Layout, body: Sequence[tuple[int, list[str]]], rule: TableRule, keep: Sequence[str]
) -> dict[str, list[str]]:
    """Return the columns outside the table by header."""
    header = layout.header
    positions = {words: position for position, words in header.unknown.items()}
    own = {c.name for c in rule.columns}
    positions |= {n: header.columns[n] for n in keep if n in header.columns and n not in own}
    in_order = sorted(positions.items(), key=lambda item: item[1])
    return {words: [row[position] for _, row in body] for words, position in in_order}


def _kept(
    header: str,
    cells: Sequence[str],
    rule: TableRule,
    file: str,
    problems: Problems,
    keep: Sequence[str],
    keep_personal: bool,
) -> tuple[str, pd.Series[Any]] | None:
    """Return name and values of a column outside the table, ``None`` if it is dropped."""
    wanted = header in keep
    shown = show_value(header)
    if not keep_personal and is_personal_header(header):
        problems.warn(text("schema.dropped_personal", place=file, column=shown))
        return None
    special = rule.name == "pupils" and is_special_category_header(header)
    if not keep_personal and special:
        problems.warn(text("schema.dropped_special", place=file, column=shown))
        return None
    try:
        numbers = [parse_number(cell) for cell in cells]
    except DataError:
        if wanted or (keep_personal and (special or is_personal_header(header))):
            words = [None if is_blank(cell) else tidy_text(cell) for cell in cells]
            return header, column_values(words, "text")
        problems.warn(text("schema.dropped_text", place=file, column=shown))
        return None
    if not wanted:
        problems.warn(text("schema.kept_extra", place=file, column=shown))
    return header, column_values(numbers, "number")
