"""The glossary of columns: name, meaning, unit and the labels in both languages.

Every column of every public table stands here once (``catalogue/columns/*.toml``), so that tables,
figures and reports switch language without touching a number, and the documentation prints one
glossary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, catalogue_tables, check_language, has_text, text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column", "column", "column_names", "glossary", "label", "labelled"]

Kind = Literal["key", "text", "flag", "count", "share", "number", "probability", "year", "verdict"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the glossary.

    Attributes
    ----------
    name : str
        Name in every table.
    kind : str
        ``key``, ``text``, ``flag``, ``count``, ``share`` (0..1), ``number``, ``probability``,
        ``year`` or ``verdict``.
    label_en, label_ru : str
        Short labels for table heads and axes.
    meaning_en, meaning_ru : str
        One sentence.
    unit_en, unit_ru : str
        Unit, empty for keys, texts and flags.
    digits : int
        Decimal places in printed tables.
    shrunken : bool
        Whether values are drawn to a mean by their reliability, so that those of small and large
        schools are not comparable as they stand.
    """

    name: str
    kind: Kind
    label_en: str
    label_ru: str
    meaning_en: str
    meaning_ru: str
    unit_en: str = ""
    unit_ru: str = ""
    digits: int = 3
    shrunken: bool = False

    def label(self, lang: str = "en", *, unit: bool = False) -> str:
        """Return the label, with the unit behind a comma where ``unit`` is true."""
        check_language(lang)
        words, measure = (
            (self.label_ru, self.unit_ru) if lang == "ru" else (self.label_en, self.unit_en)
        )
        return f"{words}, {measure}" if unit and measure else words

    def meaning(self, lang: str = "en") -> str:
        """Return the sentence that explains the column."""
        return self.meaning_ru if check_language(lang) == "ru" else self.meaning_en


@cache
def _columns() -> dict[str, Column]:
    found: dict[str, Column] = {}
    for stem, tables in catalogue_tables("columns").items():
        for name, record in tables.items():
            if name in found:
                raise SpecificationError(
                    f"column {name!r} of {stem}.toml is defined twice in the glossary"
                )
            found[name] = Column(name=name, **record)
    return found


def column(name: str) -> Column:
    """Return the glossary's record of a column.

    Raises
    ------
    SpecificationError
        If the glossary has no such column.
    """
    try:
        return _columns()[name]
    except KeyError:
        raise SpecificationError(
            f"column {name!r} is not in the glossary; add it to resilience/catalogue/columns"
        ) from None


def column_names() -> tuple[str, ...]:
    """Return all names of the glossary, sorted."""
    return tuple(sorted(_columns()))


def label(name: str, lang: str = "en", *, unit: bool = False) -> str:
    """Return a column's label; a name outside the glossary stands for itself."""
    record = _columns().get(name)
    return name if record is None else record.label(lang, unit=unit)


def labelled(frame: pd.DataFrame, lang: str = "en", *, unit: bool = False) -> pd.DataFrame:
    """Return a copy of a table for reading: the glossary's labels as heads, words in the language.

    Verdicts and every wording that is there in both languages stand in ``lang``; numbers stay
    numbers.  In English cells are left as they are.
    """
    heads = {str(name): label(str(name), lang, unit=unit) for name in frame}
    if check_language(lang) != "en" and frame.columns.is_unique:
        frame = frame.assign(**{str(c): _worded(frame[c], lang) for c in frame})
    return frame.rename(columns=heads)


def _worded(values: pd.Series, lang: str) -> pd.Series:
    """Return a column with its wordings in the language, everything else as it is."""
    record = _columns().get(str(values.name))
    verdict = record is not None and record.kind == "verdict"
    if not verdict and not any(isinstance(v, Bilingual) for v in values):
        return values

    def worded(value: object) -> object:
        if isinstance(value, Bilingual):
            return value.localized(lang)
        if verdict and isinstance(value, str) and has_text(f"verdicts.{value}"):
            return text(f"verdicts.{value}").localized(lang)
        return value

    return values.astype(object).map(worded)


def glossary(lang: str = "en") -> pd.DataFrame:
    """Return the whole glossary as a table.

    Returns
    -------
    DataFrame
        Columns ``name``, ``label``, ``unit``, ``meaning``; one row per column, by name.
    """
    import pandas as pd

    ru = check_language(lang) == "ru"
    rows = [
        (c.name, c.label(lang), c.unit_ru if ru else c.unit_en, c.meaning(lang))
        for c in (_columns()[name] for name in column_names())
    ]
    return pd.DataFrame(rows, columns=["name", "label", "unit", "meaning"])
