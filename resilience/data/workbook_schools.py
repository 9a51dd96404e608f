"""The sheet of schools joined to the years in which something is known about each school."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resilience.data.cells import column_values
from resilience.data.normalise import parse_procedure, show_value
from resilience.data.problems import Problems
from resilience.data.workbook_layout import LEVELS, sheet_form
from resilience.data.workbook_sheets import FilledSheet
from resilience.i18n import text
from resilience.validation import shorten

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_levels", "school_years", "warn_of_levels", "warn_of_roll"]

# First and last grades of what a school teaches, and how the table of schools writes it.
_SPANS = {(int(re.findall(r"\d+", lv)[0]), int(re.findall(r"\d+", lv)[-1])): lv for lv in LEVELS}


def read_levels(sheet: FilledSheet, problems: Problems) -> None:
    """Put the levels of schools into one form, in place.

    ``1-11`` is read as ``1-4, 5-9, 10-11``; a date is what a spreadsheet makes of ``5-9``.
    """
    from_dates = []
    for i, value in enumerate(sheet.columns["levels"]):
        if value is None:
            continue
        date = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})(?: 00:00:00)?", value)
        grades = [int(g) for g in re.findall(r"\d+", value)]
        if date:
            grades = sorted((int(date[2]), int(date[3])))
            from_dates.append(i)
        level = _SPANS.get((grades[0], grades[-1])) if grades else None
        if level is None:
            message = text(
                "workbook.levels_unknown", value=show_value(value), choices="; ".join(LEVELS)
            )
            problems.add(sheet.place(i, "levels"), message)
        sheet.columns["levels"][i] = level
    if from_dates:
        problems.warn(
            text(
                "workbook.warn_levels_date",
                place=sheet.title,
                n=len(from_dates),
                rows=sheet.rows_named(from_dates),
            )
        )


def school_years(
    sheet: FilledSheet,
    counts: pd.DataFrame,
    shares: pd.DataFrame,
    pupils: pd.DataFrame | None,
    problems: Problems,
) -> pd.DataFrame:
    """Return the table of schools, one row per school and year in which something is known of it.

    Schools without marks, pupils and passports get the latest year of the workbook and a warning.
    """
    import pandas as pd

    tables = [counts, shares] + ([] if pupils is None else [pupils])
    known = pd.concat([t[["school_id", "year"]] for t in tables], ignore_index=True)
    known = known.drop_duplicates(ignore_index=True)
    codes = sheet.columns["school_id"]
    silent = [c for c in codes if c not in set(known["school_id"])]
    if silent:
        schools = shorten(silent)
        problems.warn(text("workbook.warn_no_data", n=len(silent), schools=schools))
        last = pd.DataFrame({"school_id": silent, "year": int(known["year"].max())})
        known = pd.concat([known, last.astype(known.dtypes.to_dict())], ignore_index=True)
    names = [c for c in sheet.form.columns if c.name != "remoteness_km"]
    attributes = pd.DataFrame({c.name: column_values(sheet.columns[c.name], c.type) for c in names})
    attributes["remoteness_km"] = column_values(sheet.columns["remoteness_km"], "number")
    for name, values in sheet.extra.items():
        attributes[name] = column_values(values, "text")
    frame = attributes.merge(known, on="school_id", how="left").merge(
        shares, on=["school_id", "year"], how="left"
    )
    frame["n_pupils"] = frame["n_pupils"].astype("Int64")
    if frame["n_pupils"].notna().all():
        frame["n_pupils"] = frame["n_pupils"].astype("int64")
    order = ["school_id", "municipality_id", "name", "school_type", "is_rural", "is_selective"]
    order += ["is_small", "levels", "n_pupils", "remoteness_km", "year"]
    rest = [c for c in frame.columns if c not in order]
    return frame[[*order, *rest]].sort_values(["school_id", "year"], ignore_index=True)


def warn_of_roll(counts: pd.DataFrame, shares: pd.DataFrame, problems: Problems) -> None:
    """Warn of procedures with more participants than the school has pupils."""
    both = counts.merge(shares[["school_id", "year", "n_pupils"]], on=["school_id", "year"])
    over = both[both["n_participants"] > both["n_pupils"]]
    if len(over):
        cells = (f"{r.school_id}/{r.year}/{r.procedure}" for r in over.itertuples())
        problems.warn(
            text(
                "workbook.warn_more_than_roll",
                place=sheet_form("counts").title,
                n=len(over),
                rows=shorten(cells),
            )
        )


def warn_of_levels(classes: pd.DataFrame, schools: FilledSheet, problems: Problems) -> None:
    """Warn of procedures of a grade that the school does not teach."""
    levels = dict(zip(schools.columns["school_id"], schools.columns["levels"], strict=True))
    rows = []
    for record in classes.itertuples():
        taught = levels.get(record.school_id)
        name = parse_procedure(record.procedure)
        if taught is None or name is None:
            continue
        grade = {"ОГЭ": 9, "ЕГЭ": 11}.get(name.kind, name.grade)
        spans = [tuple(map(int, part.split("-"))) for part in taught.split(", ")]
        if grade is not None and not any(low <= grade <= high for low, high in spans):
            rows.append(record.row)
    if rows:
        words = text("workbook.rows", rows=shorten(rows))
        place = sheet_form("counts").title
        problems.warn(text("workbook.warn_level", place=place, n=len(rows), rows=words))
