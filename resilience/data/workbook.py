"""The reader of the methodologist's workbook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilience.data.cells import column_values
from resilience.data.normalise import normalise_header, show_value
from resilience.data.personal import looks_like_person
from resilience.data.problems import Problems
from resilience.data.schema import PASSPORT_SHARES, check_municipalities
from resilience.data.workbook_counts import (
    check_available,
    note_repeats,
    read_counts,
    read_procedures,
    sum_over_classes,
)
from resilience.data.workbook_layout import SHEETS, sheet_form
from resilience.data.workbook_passports import passport_shares, read_passports
from resilience.data.workbook_schools import (
    read_levels,
    school_years,
    warn_of_levels,
    warn_of_roll,
)
from resilience.data.workbook_settings import WorkbookSettings, find_settings, read_settings
from resilience.data.workbook_sheets import (
    FilledSheet,
    RawSheet,
    find_sheet,
    open_sheets,
    read_sheet,
)
from resilience.i18n import LANGUAGES, Bilingual, text
from resilience.validation import shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WorkbookContents", "WorkbookSettings", "read_workbook"]


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkbookContents:
    """What a filled-in workbook holds, checked and typed.

    Attributes
    ----------
    source : str
        Name of the file, without its folder.
    schools : DataFrame
        One row per school × year: attributes, ``n_pupils`` and the shares of the social passport.
        A school has the years in which it has marks, pupils or a passport; a school with none of
        these has the latest year of the workbook.
    counts : DataFrame
        One row per school × year × procedure, summed over classes.
    class_counts : DataFrame
        The same per class, with ``class_label``; missing where the row is a whole year group.
    passports : DataFrame
        The numbers behind the shares with unit and base, one row per school × year × indicator.
    pupils : DataFrame or None
        One row per pupil × year × subject; ``None`` if the sheet is empty.
    procedures : DataFrame
        ``procedure year available_from``.
    settings : WorkbookSettings
        The choices made.
    warnings : tuple of Bilingual
        What is suspicious but legal, and what was not read.
    """

    source: str
    schools: pd.DataFrame
    counts: pd.DataFrame
    class_counts: pd.DataFrame
    passports: pd.DataFrame
    pupils: pd.DataFrame | None
    procedures: pd.DataFrame
    settings: WorkbookSettings
    warnings: tuple[Bilingual, ...]


def read_workbook(path: str | Path, *, keep_personal: bool = False) -> WorkbookContents:
    """Read a filled-in workbook.

    Sheets are recognised by title in either language, or by their headers.  All problems are
    gathered and told in one error, each with sheet, cell, value, rule and way out.

    Parameters
    ----------
    path : str or Path
        XLSX workbook made by `write_template`.
    keep_personal : bool
        Keep columns with names, documents or contacts on the sheets of schools and pupils.  By
        default they are dropped before anything is returned, with a warning that cites the column
        alone.

    Returns
    -------
    WorkbookContents

    Raises
    ------
    DataError
        If the file is missing or not an XLSX workbook, a sheet or column is missing, or rows break
        the rules.
    """
    source = Path(path)
    sheets = open_sheets(source, str(path))
    problems = Problems(source.name)
    filled, settings_sheet = _find_all(sheets, problems, keep_personal)
    if "schools" not in filled or settings_sheet is None or not _has_results(filled):
        problems.raise_if_any()  # without these sheets the rest cannot be checked
    _check_filled(filled, problems)
    return _contents(source.name, filled, settings_sheet, problems)


def _has_results(filled: dict[str, FilledSheet]) -> bool:
    return "pupils" in filled or {"counts", "procedures"} <= set(filled)


def _find_all(
    sheets: list[RawSheet], problems: Problems, keep_personal: bool
) -> tuple[dict[str, FilledSheet], RawSheet | None]:
    taken: set[str] = set()
    found = {form.name: find_sheet(sheets, form, taken, problems) for form in SHEETS}
    settings = find_settings(sheets, taken)
    known = ("instructions", "lists", *(form.name for form in SHEETS), "settings")
    titles = {
        normalise_header(text(f"workbook.sheet_{name}").localized(lang))
        for name in known
        for lang in LANGUAGES
    }
    names = shorten((s.title for s in sheets), 12)
    for name in ("schools", "procedures", "counts"):
        # A workbook of pupils alone needs neither marks nor procedures.
        needless = name != "schools" and found["pupils"] is not None and found["counts"] is None
        if found[name] is None and not needless:
            title = text(f"workbook.sheet_{name}")
            problems.add(problems.source, text("workbook.no_sheet", title=title, sheets=names))
    if settings is None:
        title = text("workbook.sheet_settings")
        problems.add(problems.source, text("workbook.no_sheet", title=title, sheets=names))
    for sheet in sheets:
        is_empty = all(cell is None for row in sheet.rows for cell in row)
        is_ours = sheet.title in taken or normalise_header(sheet.title) in titles
        if not is_empty and not is_ours:
            problems.warn(text("workbook.warn_sheet_ignored", sheet=sheet.title))
    filled: dict[str, FilledSheet] = {}
    for form in SHEETS:
        raw = found[form.name]
        if raw is not None:
            rows = read_sheet(raw, form, problems, keep_personal=keep_personal)
            if rows is not None:
                filled[form.name] = rows
    return filled, settings


def _check_filled(filled: dict[str, FilledSheet], problems: Problems) -> None:
    if not len(filled["schools"]):
        problems.add(filled["schools"].title, text("workbook.empty_sheet"))
    if not any(name in filled and len(filled[name]) for name in ("counts", "pupils")):
        titles = {n: sheet_form(n).title for n in ("counts", "pupils")}
        problems.add(problems.source, text("workbook.no_results", **titles))


def _contents(
    source: str,
    filled: dict[str, FilledSheet],
    settings_sheet: RawSheet | None,
    problems: Problems,
) -> WorkbookContents:
    schools = filled["schools"]
    _check_schools(schools, problems)
    read_levels(schools, problems)
    for name in ("counts", "passports", "pupils"):
        if name in filled and len(schools):
            _check_school_codes(filled[name], schools, problems)
    dates, marks = _sheet(filled, "procedures"), _sheet(filled, "counts")
    procedures = read_procedures(dates, problems)
    classes = read_counts(marks, problems)
    check_available(classes, marks, dates, problems)
    passports = read_passports(_sheet(filled, "passports"), problems)
    pupils = _read_pupils(_sheet(filled, "pupils"), problems)
    stated = _sheet(filled, "passports").columns
    known = {c for c in PASSPORT_SHARES if any(v is not None for v in stated[c])}
    assert settings_sheet is not None  # its absence has been raised
    settings = read_settings(
        settings_sheet,
        problems,
        procedures=list(dict.fromkeys(p for p in marks.columns["procedure"] if p)),
        known=known,
    )
    problems.raise_if_any()
    assert settings is not None  # whatever makes it None is a problem
    counts = sum_over_classes(classes, problems, sheet_form("counts").title)
    shares = passport_shares(passports)
    if len(passports) == 0:
        problems.warn(text("workbook.warn_no_passports"))
    table = school_years(schools, counts, shares, pupils, problems)
    warn_of_roll(counts, shares, problems)
    warn_of_levels(classes, schools, problems)
    if pupils is not None:
        homes = dict(
            zip(schools.columns["school_id"], schools.columns["municipality_id"], strict=True)
        )
        pupils.insert(2, "municipality_id", pupils["school_id"].map(homes).astype("string"))
    return WorkbookContents(
        source=source,
        schools=table,
        counts=counts,
        class_counts=classes.drop(columns="row"),
        passports=passports,
        pupils=pupils,
        procedures=procedures,
        settings=settings,
        warnings=tuple(problems.warnings),
    )


def _sheet(filled: dict[str, FilledSheet], name: str) -> FilledSheet:
    """Return a sheet; one that is not there is one without rows."""
    form = sheet_form(name)
    columns: dict[str, list[Any]] = {c.name: [] for c in form.columns}
    letters = {c.name: "A" for c in form.columns}
    empty = FilledSheet(
        form=form, title=form.title, numbers=(), columns=columns, failed=set(), letters=letters
    )
    return filled.get(name, empty)


def _check_schools(sheet: FilledSheet, problems: Problems) -> None:
    import pandas as pd

    columns = sheet.columns
    first: dict[str, int] = {}
    for i, code in enumerate(columns["school_id"]):
        if code is None:
            continue
        earlier = first.setdefault(code, i)
        homes = [columns["municipality_id"][k] for k in (earlier, i)]
        if earlier != i and (None in homes or homes[0] == homes[1]):
            row = sheet.numbers[earlier]
            message = text("workbook.duplicate_school", value=show_value(code), row=row)
            problems.add(sheet.place(i), message)
    frame = pd.DataFrame({k: columns[k] for k in ("school_id", "municipality_id")})
    check_municipalities(frame, problems, place=lambda i: sheet.place(i, "municipality_id"))


def _check_school_codes(sheet: FilledSheet, schools: FilledSheet, problems: Problems) -> None:
    """Note codes that are not on the sheet of schools; a lost leading zero is recognised."""
    known = {code for code in schools.columns["school_id"] if code is not None}
    bare = {_bare(code): code for code in known}
    for i, code in enumerate(sheet.columns["school_id"]):
        if code is None or code in known:
            continue
        near = bare.get(_bare(code))
        hint = text("workbook.nearest_code", code=near) if near else Bilingual("", "")
        shown = "…" if looks_like_person(code) else show_value(code)
        message = text("workbook.unknown_school", value=shown, schools=schools.title, nearest=hint)
        problems.add_repeated(("school", sheet.title, code), sheet.place(i), message)


def _bare(code: str) -> str:
    return code.lower().replace(" ", "").lstrip("0")


def _read_pupils(sheet: FilledSheet, problems: Problems) -> pd.DataFrame | None:
    import pandas as pd

    if not len(sheet):
        return None
    for i, key in enumerate(sheet.columns["pupil_key"]):
        if key is not None and looks_like_person(key):
            place = sheet.place(i, "pupil_key")
            problems.add_repeated(("person",), place, text("schema.key_is_person"))
    note_repeats(sheet, ("pupil_key", "year", "subject"), text("workbook.key_pupils"), problems)
    columns: dict[str, Any] = {
        c.name: column_values(sheet.columns[c.name], c.type) for c in sheet.form.columns
    }
    for name, values in sheet.extra.items():
        kind = "text" if any(isinstance(v, str) for v in values) else "number"
        columns[name] = column_values(values, kind)  # type: ignore[arg-type]  # a literal of two
    frame = pd.DataFrame(columns)
    unused = [n for n in ("prior_score", "ses") if frame[n].isna().all()]
    return frame.drop(columns=unused)
