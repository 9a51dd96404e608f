"""The sheets of marks and procedures: checks of each row, and sums over classes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resilience.data.cells import column_values
from resilience.data.normalise import parse_procedure
from resilience.data.problems import Problems
from resilience.data.schema import MARKS, table_rule
from resilience.data.workbook_layout import sheet_form
from resilience.data.workbook_sheets import FilledSheet
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.validation import shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_available", "note_repeats", "read_counts", "read_procedures", "sum_over_classes"]

_LATE_DAYS = 365


def note_repeats(
    sheet: FilledSheet, key: Sequence[str], words: Bilingual, problems: Problems
) -> None:
    """Note rows whose key stands in an earlier row, and call them failed."""
    first: dict[tuple[object, ...], int] = {}
    for i, values in enumerate(zip(*(sheet.columns[k] for k in key), strict=True)):
        if i in sheet.failed:
            continue
        earlier = first.setdefault(values, i)
        if earlier != i:
            message = text("workbook.duplicate_row", row=sheet.numbers[earlier], key=words)
            problems.add(sheet.place(i, key[0]), message)
            sheet.failed.add(i)


def read_procedures(sheet: FilledSheet, problems: Problems) -> pd.DataFrame:
    """Return the table of procedures after checks of its dates.

    Returns
    -------
    DataFrame
        ``procedure year available_from``.
    """
    import pandas as pd

    note_repeats(sheet, ("procedure", "year"), text("workbook.key_procedures"), problems)
    late = []
    columns = sheet.columns
    for i, year in enumerate(columns["year"]):
        if i in sheet.failed:
            continue
        date = dt.date.fromisoformat(columns["available_from"][i])
        begin = dt.date(year - 1, 9, 1)
        if date < begin:
            message = text(
                "workbook.available_early",
                procedure=columns["procedure"][i],
                year=year,
                date=date.isoformat(),
                begin=begin.isoformat(),
            )
            problems.add(sheet.place(i, "available_from"), message)
        elif (date - dt.date(year, 8, 31)).days > _LATE_DAYS:
            late.append(i)
    if late:
        _warn_rows("warn_late", sheet, late, problems)
    good = [i for i in range(len(sheet)) if i not in sheet.failed]
    rule = table_rule("procedures")
    return pd.DataFrame(
        {c.name: column_values([columns[c.name][i] for i in good], c.type) for c in rule.columns}
    )


def read_counts(sheet: FilledSheet, problems: Problems) -> pd.DataFrame:
    """Return the rows of the sheet of marks, one per school × procedure × class × year.

    Marks that add up to the participants, or stand in for them; the number below the minimum is
    taken from mark 2 where the procedure is marked and the cell is empty.

    Returns
    -------
    DataFrame
        ``school_id year procedure class_label n_participants n_2 n_3 n_4 n_5 n_below_minimum``.
    """
    import pandas as pd

    key = ("school_id", "procedure", "class_label", "year")
    note_repeats(sheet, key, text("workbook.key_counts"), problems)
    _note_class_and_whole(sheet, problems)
    remarks: dict[str, list[int]] = {"empty_counts": [], "zero_filled": [], "below_differs": []}
    kept = [i for i in range(len(sheet)) if _complete_row(sheet, i, problems, remarks)]
    for name, rows in remarks.items():
        if rows:
            _warn_rows(f"warn_{name}", sheet, rows, problems)
    kinds: dict[str, Any] = {c.name: c.type for c in sheet_form("counts").columns}
    names = ["school_id", "year", "procedure", "class_label", "n_participants", *MARKS]
    names.append("n_below_minimum")
    columns = {n: column_values([sheet.columns[n][i] for i in kept], kinds[n]) for n in names}
    return pd.DataFrame(columns).assign(row=[sheet.numbers[i] for i in kept])


def _warn_rows(key: str, sheet: FilledSheet, rows: Sequence[int], problems: Problems) -> None:
    problems.warn(
        text(f"workbook.{key}", place=sheet.title, n=len(rows), rows=sheet.rows_named(rows))
    )


def _note_class_and_whole(sheet: FilledSheet, problems: Problems) -> None:
    columns = sheet.columns
    classes: dict[tuple[object, ...], int] = {}
    cells = list(zip(columns["school_id"], columns["procedure"], columns["year"], strict=True))
    for i, cell in enumerate(cells):
        if columns["class_label"][i] is not None and i not in sheet.failed:
            classes.setdefault(cell, i)
    for i, cell in enumerate(cells):
        if columns["class_label"][i] is None and i not in sheet.failed and cell in classes:
            message = text("workbook.class_and_whole", row=sheet.numbers[classes[cell]])
            problems.add(sheet.place(i), message)


def _complete_row(
    sheet: FilledSheet, i: int, problems: Problems, remarks: dict[str, list[int]]
) -> bool:
    """Complete one row of counts in place; return whether it can be used."""
    if i in sheet.failed:
        return False
    columns = sheet.columns
    marks = [columns[m][i] for m in MARKS]
    known = [m for m in marks if m is not None]
    n, below = columns["n_participants"][i], columns["n_below_minimum"][i]
    if (n or 0) == 0 and sum(known) == 0 and not below:
        remarks["empty_counts"].append(i)
        return False
    try:
        n = _participants(n, known)
    except DataError as error:
        problems.add(sheet.place(i, "n_participants"), error.message)
        return False
    if known and len(known) < len(MARKS):
        remarks["zero_filled"].append(i)
        for name in MARKS:
            columns[name][i] = columns[name][i] or 0
    columns["n_participants"][i] = n
    procedure = parse_procedure(columns["procedure"][i])
    assert procedure is not None  # a required column
    n_2 = columns["n_2"][i]
    if below is None and not (procedure.has_marks and n_2 is not None):
        header = sheet.form.header("n_below_minimum")
        message = text("workbook.below_missing", procedure=str(procedure), header=header)
        problems.add(sheet.place(i, "n_below_minimum"), message)
        return False
    if below is None:
        columns["n_below_minimum"][i] = below = n_2
    elif procedure.has_marks and n_2 is not None and below != n_2:
        remarks["below_differs"].append(i)
    if below > n:
        message = text("schema.below_exceeds", below=below, n=n)
        problems.add(sheet.place(i, "n_below_minimum"), message)
        return False
    return True


def _participants(n: int | None, known: list[int]) -> int:
    """Return the number of participants, from the marks where it is not given.

    Raises
    ------
    DataError
        If the marks contradict it, or neither it nor all marks are given.
    """
    total = sum(known)
    if len(known) == len(MARKS):
        if n is not None and n != total:
            raise DataError(text("schema.marks_sum", total=total, n=n))
        return total
    if n is None and not known:
        raise DataError(text("workbook.participants_missing"))
    if n is None or (known and total < n):
        shown = "—" if n is None else n
        raise DataError(text("workbook.marks_partly", total=total, n=shown))
    if total > n:
        raise DataError(text("schema.marks_sum", total=total, n=n))
    return n


def sum_over_classes(classes: pd.DataFrame, problems: Problems, place: str) -> pd.DataFrame:
    """Return one row per school × year × procedure.

    Marks are summed only where all classes have them; elsewhere they are missing, with a warning.
    """
    import pandas as pd

    key = ["school_id", "year", "procedure"]
    counts = ["n_participants", *MARKS, "n_below_minimum"]
    if len(classes) == 0:
        return classes[[*key, *counts]]
    groups = classes.groupby(key, sort=True, observed=True)
    summed = groups[counts].sum(min_count=1)
    present = groups[list(MARKS)].count()
    size = groups.size()
    partly = (present["n_2"] > 0) & (present["n_2"] < size)
    if partly.any():
        cells = ["/".join(map(str, index)) for index in summed.index[partly.to_numpy()]]
        summed.loc[partly.to_numpy(), list(MARKS)] = pd.NA
        problems.warn(
            text("workbook.warn_marks_lost", place=place, n=len(cells), rows=shorten(cells))
        )
    summed[list(MARKS)] = summed[list(MARKS)].astype("Int64")
    return summed.reset_index()[[*key, *counts]]


def check_available(
    classes: pd.DataFrame, marks: FilledSheet, procedures: FilledSheet, problems: Problems
) -> None:
    """Note procedures of a year without a date from which their results may be used."""
    columns = procedures.columns
    dated = set(zip(columns["procedure"], columns["year"], strict=True))
    letter = marks.letters["procedure"]
    rows = zip(classes["procedure"], classes["year"], classes["row"], strict=True)
    for procedure, year, row in rows:
        if (procedure, year) not in dated:
            message = text(
                "workbook.no_available_from",
                procedure=procedure,
                year=year,
                procedures=procedures.title,
            )
            place = f"{marks.title}!{letter}{row}"
            problems.add_repeated(("available", str(procedure), str(year)), place, message)
