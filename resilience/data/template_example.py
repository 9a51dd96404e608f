"""The invented region of the filled-in template, and the procedures typical of any region.

Nothing here is measured: shares follow a simple arithmetic of school and year, so that the example
is the same on every machine and holds small schools, a strong one in a hard place and a weak one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from resilience.data.schema import PASSPORT_SHARES
from resilience.data.workbook_layout import choices
from resilience.i18n import text

__all__ = ["CellValue", "example_rows", "example_settings", "typical_procedures"]

CellValue = str | int | float | dt.date | None

#: Month and day from which results are usually in hand; our choice, to be corrected by the region.
USUALLY_AVAILABLE = {"ВПР": (5, 15), "ОГЭ": (7, 1), "ЕГЭ": (7, 1)}

TYPICAL = (
    *(f"ВПР-{grade}-{subject}" for grade in range(4, 9) for subject in ("РУ", "МА")),
    "ОГЭ-РУ",
    "ОГЭ-МА",
    "ЕГЭ-РУ",
    "ЕГЭ-МА-база",
    "ЕГЭ-МА-профиль",
)
MARKED = ("ВПР-5-РУ", "ВПР-5-МА", "ВПР-8-РУ", "ВПР-8-МА", "ОГЭ-РУ", "ОГЭ-МА")


@dataclass(frozen=True, kw_only=True)
class ExampleSchool:
    """One invented school: place, size of a year group, results, hardship of the intake."""

    code: str
    municipality: int
    kind: int
    levels: str
    is_rural: bool
    is_selective: bool
    is_small: bool
    remoteness_km: int
    cohort: int
    result: float
    hardship: float


def _school(
    code: str, place: int, kind: int, cohort: int, result: float, hardship: float
) -> ExampleSchool:
    rural = place == 1
    return ExampleSchool(
        code=code,
        municipality=place,
        kind=kind,
        levels="1-4, 5-9" if kind == 1 else "1-4, 5-9, 10-11",
        is_rural=rural,
        is_selective=kind == 3,
        is_small=rural and cohort < 10,
        remoteness_km=0 if not rural else 60 - 2 * cohort,
        cohort=cohort,
        result=result,
        hardship=hardship,
    )


# kind: position in the list of school types (0 СОШ, 1 ООШ, 3 лицей); result in SD; hardship 0..1
_SCHOOLS = (
    _school("001", 0, 0, 52, 0.1, 0.35),
    _school("002", 0, 3, 48, 0.9, 0.10),
    _school("003", 0, 0, 27, -0.9, 0.40),
    _school("004", 1, 0, 21, 0.7, 0.95),
    _school("005", 1, 0, 14, -0.3, 0.50),
    _school("006", 1, 1, 8, -1.0, 0.55),
    _school("007", 1, 1, 6, 0.4, 0.50),
    _school("008", 1, 1, 5, -0.6, 0.80),
)

# Share of pupils at hardship 0 and what a unit of hardship adds.
_CIRCUMSTANCES = {
    "both_parents_higher_edu": (0.50, -0.42),
    "single_parent": (0.14, 0.18),
    "unemployed_parent": (0.02, 0.20),
    "low_income": (0.08, 0.40),
    "large_family": (0.10, 0.22),
    "non_native_russian": (0.05, 0.35),
    "on_register": (0.01, 0.05),
    "guardianship_orphans": (0.01, 0.03),
    "disability_ovz": (0.04, 0.06),
    "weak_motivation": (0.05, 0.20),
}
_WEIGHTS = {
    "both_parents_higher_edu": 1.0,
    "single_parent": -0.5,
    "unemployed_parent": -1.0,
    "low_income": -1.0,
    "on_register": -0.5,
}


def typical_procedures(years: Sequence[int]) -> list[dict[str, CellValue]]:
    """Return the typical procedures of each year with the date their results are usually known."""
    return [
        {
            "procedure": name,
            "year": int(year),
            "available_from": dt.date(int(year), *USUALLY_AVAILABLE[name[:3]]),
        }
        for year in years
        for name in TYPICAL
    ]


def example_rows(years: Sequence[int], lang: str) -> dict[str, list[dict[str, CellValue]]]:
    """Return the rows of each sheet of the filled-in template.

    The last year has no ОГЭ and ЕГЭ yet: the list is drawn up on 31 May.
    """
    return {
        "schools": _school_rows(lang),
        "procedures": typical_procedures(years),
        "counts": [row for year in years for row in _count_rows(int(year), max(years))],
        "passports": [row for year in years for row in _passport_rows(int(year), lang)],
    }


def example_settings(years: Sequence[int], lang: str) -> dict[str, CellValue]:
    """Return the settings of the filled-in template."""
    settings: dict[str, CellValue] = {
        "region": text("workbook.example_region").localized(lang),
        "as_of": dt.date(int(max(years)), 5, 31),
        "lang": lang,
        "connective": choices("connective", lang)[0],
        "procedures": text("workbook.choices_all").localized(lang),
        "index_method": choices("index_method", lang)[0],
        "adversity_quantile": 0.25,
    }
    settings.update({f"weight_{name}": weight for name, weight in _WEIGHTS.items()})
    return settings


def _school_rows(lang: str) -> list[dict[str, CellValue]]:
    names = text("workbook.example_schools").localized(lang).split(";")
    places = text("workbook.example_municipalities").localized(lang).split(";")
    kinds, (yes, no) = choices("school_types", lang), choices("yes_no", lang)
    return [
        {
            "school_id": school.code,
            "name": name,
            "municipality_id": places[school.municipality],
            "school_type": kinds[school.kind],
            "is_rural": yes if school.is_rural else no,
            "is_selective": yes if school.is_selective else no,
            "is_small": yes if school.is_small else no,
            "levels": school.levels,
            "remoteness_km": school.remoteness_km,
        }
        for school, name in zip(_SCHOOLS, names, strict=True)
    ]


def _count_rows(year: int, last: int) -> list[dict[str, CellValue]]:
    rows: list[dict[str, CellValue]] = []
    for s, school in enumerate(_SCHOOLS):
        for p, name in enumerate(MARKED):
            if name.startswith("ОГЭ") and year == last:
                continue
            split = name.startswith("ВПР") and school.cohort > 40
            sizes = (
                [school.cohort // 2, school.cohort - school.cohort // 2]
                if split
                else [school.cohort]
            )
            for k, size in enumerate(sizes):
                # A wobble of year, procedure and class, within ±0.3 SD.
                wobble = 0.1 * (((year + 3 * p + 2 * s + 5 * k) % 7) - 3)
                marks = _marks(size, school.result + wobble)
                label = f"{name[4]}{'АБ'[k]}" if split else None
                keys = {"school_id": school.code, "procedure": name, "class_label": label}
                rows.append({**keys, "year": year, "n_participants": size, **marks})
        if "10-11" in school.levels and year != last:
            size = school.cohort // 2
            below = round(size * max(0.0, 0.06 - 0.08 * school.result))
            keys = {"school_id": school.code, "procedure": "ЕГЭ-РУ"}
            rows.append({**keys, "year": year, "n_participants": size, "n_below_minimum": below})
    return rows


def _marks(size: int, level: float) -> dict[str, int]:
    """Split pupils into marks: 15 % «2» at the regional level, more below it."""
    weights = [0.15 * 2.4**-level, 0.42, 0.31 * 1.4**level, 0.12 * 2.0**level]
    exact = [size * w / sum(weights) for w in weights]
    counts = [int(x) for x in exact]
    # Largest remainders take the pupils that rounding down left over.
    order = sorted(range(4), key=lambda i: counts[i] - exact[i])
    for i in order[: size - sum(counts)]:
        counts[i] += 1
    return {f"n_{mark}": n for mark, n in zip((2, 3, 4, 5), counts, strict=True)}


def _passport_rows(year: int, lang: str) -> list[dict[str, CellValue]]:
    rows: list[dict[str, CellValue]] = []
    for s, school in enumerate(_SCHOOLS):
        grades = 9 if school.kind == 1 else 11
        roll = school.cohort * grades - (year + s) % 4
        counts = {
            name: round(roll * (base + slope * school.hardship))
            for name, (base, slope) in _CIRCUMSTANCES.items()
        }
        rows.append(
            {
                "school_id": school.code,
                "year": year,
                "n_pupils": roll,
                "family_unit": choices("units", lang)[0],
                **{name: counts[name] for name in PASSPORT_SHARES},
            }
        )
    return rows
