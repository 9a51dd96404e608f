"""The sheet of social passports: numbers with unit and base, and the shares they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilience.data.cells import column_values
from resilience.data.normalise import show_value
from resilience.data.problems import Problems
from resilience.data.schema import PASSPORT_SHARES
from resilience.data.workbook_counts import note_repeats
from resilience.data.workbook_layout import FAMILY_CIRCUMSTANCES, MEANINGS, choices, choose
from resilience.data.workbook_sheets import FilledSheet
from resilience.i18n import Bilingual, text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["passport_shares", "read_passports"]


def read_passports(sheet: FilledSheet, problems: Problems) -> pd.DataFrame:
    """Return the numbers of the passports, one row per school × year × indicator.

    An empty cell gives a row without a number: missing is not zero.

    Returns
    -------
    DataFrame
        ``school_id year n_pupils indicator n_counted counted_in n_base passport_share``.
    """
    import pandas as pd

    note_repeats(sheet, ("school_id", "year"), text("workbook.key_passports"), problems)
    records: list[dict[str, Any]] = []
    units = []
    for i in range(len(sheet)):
        if i in sheet.failed:
            continue
        unit = _family_unit(sheet, i, problems)
        if unit is not None:
            units.append(unit)
        records += _records(sheet, i, unit, problems)
    if len(set(units)) > 1:
        problems.warn(
            text(
                "workbook.warn_units_mixed",
                place=sheet.title,
                families=units.count("families"),
                pupils=units.count("pupils"),
            )
        )
    kinds: dict[str, Any] = {
        "school_id": "code",
        "year": "year",
        "n_pupils": "count",
        "indicator": "text",
        "n_counted": "count",
        "counted_in": "text",
        "n_base": "count",
        "passport_share": "share",
    }
    return pd.DataFrame(
        {name: column_values([r[name] for r in records], kind) for name, kind in kinds.items()}
    )


def _family_unit(sheet: FilledSheet, i: int, problems: Problems) -> str | None:
    """Return in what the row counts families' circumstances, ``None`` if it counts none."""
    columns = sheet.columns
    given = any(columns[name][i] is not None for name in FAMILY_CIRCUMSTANCES)
    answer = columns["family_unit"][i]
    place = sheet.place(i, "family_unit")
    if answer is None:
        if given:
            problems.add(place, text("workbook.unit_missing", choices=_units()))
        return None
    unit = choose("units", answer)
    if unit is None:
        problems.add(
            place, text("workbook.unit_unknown", value=show_value(answer), choices=_units())
        )
    elif unit == "families" and given and not columns["n_families"][i]:
        header = sheet.form.header("n_families")
        problems.add(sheet.place(i, "n_families"), text("workbook.families_missing", header=header))
        return None
    return unit if given else None


def _records(
    sheet: FilledSheet, i: int, family_unit: str | None, problems: Problems
) -> list[dict[str, Any]]:
    columns = sheet.columns
    n_pupils = columns["n_pupils"][i]
    if n_pupils == 0:
        problems.add(sheet.place(i, "n_pupils"), text("workbook.no_pupils"))
        return []
    records = []
    for name in PASSPORT_SHARES:
        unit = family_unit if name in FAMILY_CIRCUMSTANCES else "pupils"
        base = columns["n_families"][i] if unit == "families" else n_pupils
        counted = columns[name][i]
        share = None
        if counted is not None and unit is not None:
            if counted > base:
                message = text(
                    "workbook.count_exceeds", count=counted, base=base, unit=_unit_words(unit)
                )
                problems.add(sheet.place(i, name), message)
            else:
                share = counted / base
        records.append(
            {
                "school_id": columns["school_id"][i],
                "year": columns["year"][i],
                "n_pupils": n_pupils,
                "indicator": name,
                "n_counted": counted,
                "counted_in": unit,
                "n_base": base,
                "passport_share": share,
            }
        )
    return records


def _units() -> Bilingual:
    return Bilingual(", ".join(choices("units", "en")), ", ".join(choices("units", "ru")))


def _unit_words(unit: str) -> Bilingual:
    position = MEANINGS["units"].index(unit)
    return Bilingual(choices("units", "en")[position], choices("units", "ru")[position])


def passport_shares(passports: pd.DataFrame) -> pd.DataFrame:
    """Return the shares as columns, one row per school × year.

    Returns
    -------
    DataFrame
        ``school_id year n_pupils`` and one column per share of `PASSPORT_SHARES`, NaN where the
        passport states no number.
    """
    wide = passports[["school_id", "year", "n_pupils"]].drop_duplicates(ignore_index=True)
    for name in PASSPORT_SHARES:
        own = passports.loc[passports["indicator"] == name]
        own = own[["school_id", "year", "passport_share"]]
        own = own.rename(columns={"passport_share": name})
        wide = wide.merge(own, on=["school_id", "year"], how="left")
    return wide
