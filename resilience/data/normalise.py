"""Readings of single cells as they come out of spreadsheets and text exports.

Every ``parse_*`` function returns the value, or ``None`` for an empty cell, and raises a
`DataError` with the rule, the value seen and the way out; the caller adds the place.  Missing never
becomes zero.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from resilience.errors import DataError
from resilience.i18n import text

__all__ = [
    "PROCEDURE_KINDS",
    "ProcedureName",
    "is_blank",
    "is_dash",
    "normalise_code",
    "normalise_header",
    "parse_count",
    "parse_date",
    "parse_flag",
    "parse_number",
    "parse_procedure",
    "parse_share",
    "parse_year",
    "show_value",
    "tidy_text",
]

PROCEDURE_KINDS = ("ВПР", "ОГЭ", "ЕГЭ", "ГВЭ", "КДР")

_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060\u00ad"))
_DASHES = "-‐‑‒–—−"
_DASH_CELLS = frozenset(_DASHES) | {"н/д", "нет данных", "n/a", "na", "nan", "none", "null"}
_YES = frozenset({"да", "yes", "true", "истина", "1", "+", "y", "д"})
_NO = frozenset({"нет", "no", "false", "ложь", "0", "n", "н"})
# Latin letters that look like Cyrillic ones in a procedure's name typed with the wrong layout.
_LATIN_TO_CYRILLIC = str.maketrans("ABCEHKMOPTXY", "АВСЕНКМОРТХУ")
_LATIN_KINDS = {"VPR": "ВПР", "OGE": "ОГЭ", "EGE": "ЕГЭ", "GVE": "ГВЭ", "KDR": "КДР"}
_SUBJECT_WORDS = {"РУССКИЙ": "РУ", "РУССКИЙ-ЯЗЫК": "РУ", "МАТЕМАТИКА": "МА"}
_VARIANT_WORDS = {
    "ПРОФИЛЬ": "профиль",
    "ПРОФИЛЬНАЯ": "профиль",
    "БАЗА": "база",
    "БАЗОВАЯ": "база",
}
_EXCEL_EPOCH = dt.date(1899, 12, 30)  # day 0 of spreadsheet dates after February 1900
_FIRST_YEAR, _LAST_YEAR = 1990, 2100


@dataclass(frozen=True, kw_only=True)
class ProcedureName:
    """The parts of a procedure's name: kind × grade × subject × variant.

    Attributes
    ----------
    kind : str
        One of `PROCEDURE_KINDS`.
    grade : int or None
        Grade of the test, 1 to 11; ``None`` for ОГЭ and ЕГЭ.
    subject : str
        Short name of the subject, upper case.
    variant : str
        Lower case, empty for most; ``"профиль"`` or ``"база"`` for ЕГЭ mathematics.
    """

    kind: str
    grade: int | None
    subject: str
    variant: str = ""

    def __str__(self) -> str:
        parts = [self.kind, "" if self.grade is None else str(self.grade), self.subject]
        return "-".join(p for p in [*parts, self.variant] if p)

    @property
    def has_marks(self) -> bool:
        """Whether results are marks 2 to 5, so that below the minimum means mark 2."""
        return self.kind in ("ВПР", "ОГЭ", "ГВЭ") or (self.kind == "ЕГЭ" and self.variant == "база")


def tidy_text(value: object) -> str:
    """Return the text with every kind of space collapsed and invisible characters removed."""
    plain = unicodedata.normalize("NFC", str(value)).translate(_INVISIBLE)
    return " ".join(plain.split())


def normalise_header(value: object) -> str:
    """Return a column header as it is compared.

    Spaces, non-breaking ones included, are collapsed, letters lowered, ``ё`` becomes ``е``, and a
    trailing asterisk or colon goes.
    """
    return tidy_text(value).lower().replace("ё", "е").rstrip(" *:")


def show_value(value: object, most: int = 40) -> str:
    """Return a value as messages quote it, shortened."""
    if isinstance(value, dt.datetime):
        value = value.date()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    words = tidy_text(value)
    return f"«{words if len(words) <= most else words[: most - 1] + '…'}»"


def is_blank(value: object) -> bool:
    """Return whether a cell holds nothing, or nothing but spaces."""
    if value is None:
        return True
    if isinstance(value, str):
        return not tidy_text(value)
    return bool(isinstance(value, float | np.floating) and np.isnan(value))


def is_dash(value: object) -> bool:
    """Return whether a cell says in words that there is no value: a dash, «н/д», «n/a»."""
    return isinstance(value, str) and tidy_text(value).lower() in _DASH_CELLS


def _absent(value: object) -> bool:
    return is_blank(value) or is_dash(value)


def normalise_code(value: object) -> str | None:
    """Return an identifier as text.

    A code that a spreadsheet turned into a number loses its ``.0``; leading zeros of a text stay.

    Returns
    -------
    str or None
        ``None`` for an empty cell.

    Raises
    ------
    DataError
        If the cell is a date, a truth value or a number in scientific notation.
    """
    if _absent(value):
        return None
    if isinstance(value, bool | np.bool_ | dt.date):
        raise DataError(text("schema.not_code", value=show_value(value)))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    words = tidy_text(value).lstrip("'’")
    if re.fullmatch(r"\d+([.,]\d+)?[eE]\+?\d+", words):
        raise DataError(text("schema.code_shortened", value=show_value(value)))
    whole = re.fullmatch(r"(\d+)[.,]0+", words)
    return whole.group(1) if whole else words


def parse_number(value: object) -> float | None:
    """Return a number written with a decimal point or comma, with or without digit spaces.

    Raises
    ------
    DataError
        If the cell is not one finite number.
    """
    if _absent(value):
        return None
    if isinstance(value, bool | np.bool_ | dt.date | dt.time):
        raise DataError(text("schema.not_number", value=show_value(value)))
    if isinstance(value, int | float | np.number):
        number = float(value)
    else:
        words = tidy_text(value).replace(" ", "").replace("−", "-").replace("'", "")
        if not re.fullmatch(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?", words):
            raise DataError(text("schema.not_number", value=show_value(value)))
        number = float(words.replace(",", "."))
    if not np.isfinite(number):
        raise DataError(text("schema.not_number", value=show_value(value)))
    return number


def parse_count(value: object) -> int | None:
    """Return a whole number of at least 0, or raise a `DataError`."""
    number = parse_number(value)
    if number is None:
        return None
    if number < 0 or not number.is_integer():
        raise DataError(text("schema.not_count", value=show_value(value)))
    return int(number)


def parse_share(value: object) -> float | None:
    """Return a share in 0..1; a per cent sign divides by 100.

    Raises
    ------
    DataError
        If the value lies outside 0..1, as per cents without their sign do.
    """
    if isinstance(value, str) and tidy_text(value).endswith("%"):
        number = parse_number(tidy_text(value)[:-1])
        share = None if number is None else number / 100
    else:
        share = parse_number(value)
    if share is not None and not 0 <= share <= 1:
        raise DataError(text("schema.not_share", value=show_value(value)))
    return share


def parse_year(value: object) -> int | None:
    """Return the ending calendar year of a school year.

    Accepts ``2021``, ``"2021"``, ``"2018-2019"``, ``"2020/2021"``, ``"2020/21"`` with or without
    «г.», «уч. г.».

    Raises
    ------
    DataError
        If the two years are not consecutive, or the year lies outside 1990..2100.
    """
    if _absent(value):
        return None
    if isinstance(value, bool | np.bool_ | dt.date):
        raise DataError(text("schema.not_year", value=show_value(value)))
    words = normalise_code(value) or ""
    words = re.sub(r"\s*(учебный год|уч\.?\s*год|уч\.?\s*г\.?|год|гг?\.?)$", "", words.lower())
    for dash in _DASHES:
        words = words.replace(dash, "/")
    match = re.fullmatch(r"(\d{4})(?:\s*/\s*(\d{4}|\d{2}))?", words)
    if match is None:
        raise DataError(text("schema.not_year", value=show_value(value)))
    first, second = int(match.group(1)), match.group(2)
    year = first
    if second is not None:
        year = int(second) if len(second) == 4 else first - first % 100 + int(second)
        if year < first:  # 1999/00
            year += 100
        if year != first + 1:
            raise DataError(text("schema.years_apart", value=show_value(value)))
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise DataError(text("schema.not_year", value=show_value(value)))
    return year


def parse_flag(value: object) -> bool | None:
    """Return the truth value of да / нет, yes / no, 1 / 0, or raise a `DataError`."""
    if _absent(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    words = (normalise_code(value) or "").lower()
    if words in _YES:
        return True
    if words in _NO:
        return False
    raise DataError(text("schema.not_flag", value=show_value(value)))


def parse_date(value: object) -> dt.date | None:
    """Return a date from a date cell, ``2026-05-31``, ``31.05.2026`` or a spreadsheet's day number.

    Raises
    ------
    DataError
        If the cell is none of these.
    """
    if _absent(value):
        return None
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    words = normalise_code(value) or ""
    iso = re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ].*)?", words)
    dotted = re.fullmatch(r"(\d{1,2})[./](\d{1,2})[./](\d{4})(?:\s*г\.?)?", words)
    try:
        if iso:
            return dt.date(int(iso[1]), int(iso[2]), int(iso[3]))
        if dotted:
            return dt.date(int(dotted[3]), int(dotted[2]), int(dotted[1]))
    except ValueError:
        raise DataError(text("schema.not_date", value=show_value(value))) from None
    if re.fullmatch(r"\d{5}", words):
        return _EXCEL_EPOCH + dt.timedelta(days=int(words))
    raise DataError(text("schema.not_date", value=show_value(value)))


def parse_procedure(value: object) -> ProcedureName | None:
    """Return the parts of a procedure's name such as ``ВПР-5-МА`` or ``ЕГЭ-МА-профиль``.

    Spaces for hyphens, other dashes, small letters and Latin letters that look like Cyrillic ones
    are put right.

    Raises
    ------
    DataError
        If the kind is unknown, a ВПР or КДР has no grade, or the subject is missing.
    """
    if _absent(value):
        return None
    words = tidy_text(value).upper()
    for dash in _DASHES:
        words = words.replace(dash, "-")
    parts = [p for p in re.split(r"[\s_-]+", words) if p]
    parts[0] = _LATIN_KINDS.get(parts[0], parts[0].translate(_LATIN_TO_CYRILLIC))
    if parts[0] not in PROCEDURE_KINDS:
        raise DataError(
            text("schema.procedure_kind", value=show_value(value), kinds=", ".join(PROCEDURE_KINDS))
        )
    kind, rest = parts[0], [p.translate(_LATIN_TO_CYRILLIC) for p in parts[1:]]
    grade = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
    wants_grade = kind in ("ВПР", "КДР")
    bad_grade = grade is None if wants_grade else (grade is not None and kind != "ГВЭ")
    if bad_grade or (grade is not None and not 1 <= grade <= 11) or not rest:
        raise DataError(text("schema.procedure_form", value=show_value(value)))
    variant = _VARIANT_WORDS.get(rest[-1], "")
    subject = "-".join(rest[:-1] if variant else rest)
    if not subject:
        raise DataError(text("schema.procedure_form", value=show_value(value)))
    subject = _SUBJECT_WORDS.get(subject, subject)
    if kind == "ЕГЭ" and subject == "МА" and not variant:
        raise DataError(text("schema.procedure_mathematics", value=show_value(value)))
    return ProcedureName(kind=kind, grade=grade, subject=subject, variant=variant)
