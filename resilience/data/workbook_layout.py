"""The form of the methodologist's workbook, shared by its writer and its reader.

Wordings stand in the catalogue (``texts/workbook.toml``); here stand the columns, their types, and
which list of choices a cell offers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resilience.data.cells import accepted_headers
from resilience.data.normalise import normalise_header
from resilience.data.schema import PASSPORT_SHARES, CellType, ColumnRule
from resilience.i18n import LANGUAGES, Bilingual, text

__all__ = [
    "EXPLANATION_MARK",
    "FAMILY_CIRCUMSTANCES",
    "LEVELS",
    "SETTINGS",
    "SHEETS",
    "Setting",
    "Sheet",
    "SheetColumn",
    "choices",
    "choose",
    "sheet_form",
]

#: A row whose first filled cell begins with this is an explanation and never data.
EXPLANATION_MARK = "↑"

#: Circumstances of families, which a passport may count in pupils or in families.
FAMILY_CIRCUMSTANCES = PASSPORT_SHARES[:5]

#: Stages taught, as in the table of schools.
LEVELS = ("1-4", "1-4, 5-9", "1-4, 5-9, 10-11", "5-9", "5-9, 10-11", "10-11")

ListName = Literal[
    "",
    "yes_no",
    "school_types",
    "levels",
    "units",
    "connective",
    "index_method",
    "lang",
    "procedures",
    "schools",
]

#: What each answer of a list means to the library, in the order of the catalogue.
MEANINGS: dict[str, tuple[str, ...]] = {
    "units": ("pupils", "families"),
    "connective": ("or", "and"),
    "index_method": ("policy", "equal", "supervised", "none"),
}


@dataclass(frozen=True, kw_only=True)
class SheetColumn:
    """One column of a sheet.

    Attributes
    ----------
    name : str
        Column of the glossary.
    type : str
        Type of its cells, as in `ColumnRule`.
    required : bool
        Whether every filled row needs it (and the sheet needs the column).
    width : int
        Width in characters.
    choices : str
        List offered in the cell, empty for none.
    minimum : float or None
        Smallest number allowed.
    """

    name: str
    type: CellType
    required: bool = False
    width: int = 13
    choices: ListName = ""
    minimum: float | None = None

    @property
    def rule(self) -> ColumnRule:
        """The rule by which its cells are read."""
        return ColumnRule(
            name=self.name, type=self.type, required=self.required, minimum=self.minimum
        )


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One sheet of rows.

    Attributes
    ----------
    name : str
        ``schools``, ``counts``, ``procedures``, ``passports`` or ``pupils``.
    columns : tuple of SheetColumn
        In the order of the template.
    signature : tuple of str
        Columns by which a renamed sheet is recognised.
    """

    name: str
    columns: tuple[SheetColumn, ...]
    signature: tuple[str, ...]

    @property
    def title(self) -> Bilingual:
        """Title of the sheet."""
        return text(f"workbook.sheet_{self.name}")

    def header(self, column: str) -> Bilingual:
        """Return the header of a column."""
        return text(f"workbook.{self.name}_{column}")

    def note(self, column: str) -> Bilingual:
        """Return the explanation of a column."""
        return text(f"workbook.{self.name}_{column}_note")

    def accepted(self) -> dict[str, str]:
        """Return the normalised headers under which each column is recognised."""
        own: dict[str, str] = {}
        for column in self.columns:
            header = self.header(column.name)
            own |= {normalise_header(header.localized(lang)): column.name for lang in LANGUAGES}
        return accepted_headers(c.name for c in self.columns) | own

    def column(self, name: str) -> SheetColumn:
        """Return a column of the sheet by name."""
        return next(c for c in self.columns if c.name == name)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the sheet of settings.

    Attributes
    ----------
    name : str
        Name of the setting; ``weight_<column>`` for the weights of the index.
    type : str
        Type of its cell.
    required : bool
        Whether it must be filled in.
    choices : str
        List offered in the cell, empty for none.
    """

    name: str
    type: CellType
    required: bool = False
    choices: ListName = ""

    @property
    def title(self) -> Bilingual:
        """Wording of the row."""
        if self.name.startswith("weight_"):
            column = self.name.removeprefix("weight_")
            return text("workbook.settings_weight", label=text(f"workbook.passports_{column}"))
        return text(f"workbook.settings_{self.name}")

    @property
    def note(self) -> Bilingual:
        """Explanation of the row."""
        if self.name.startswith("weight_"):
            return text("workbook.settings_weight_note")
        return text(f"workbook.settings_{self.name}_note")


def _count(name: str, *, required: bool = False, width: int = 13) -> SheetColumn:
    return SheetColumn(name=name, type="count", required=required, width=width)


def _flag(name: str, *, required: bool = False) -> SheetColumn:
    return SheetColumn(name=name, type="flag", required=required, choices="yes_no", width=15)


_SCHOOL = SheetColumn(name="school_id", type="code", required=True, width=12, choices="schools")
_YEAR = SheetColumn(name="year", type="year", required=True, width=12)

SHEETS: tuple[Sheet, ...] = (
    Sheet(
        name="schools",
        signature=("school_id", "municipality_id", "school_type"),
        columns=(
            SheetColumn(name="school_id", type="code", required=True, width=12),
            SheetColumn(name="name", type="text", required=True, width=34),
            SheetColumn(name="municipality_id", type="code", required=True, width=22),
            SheetColumn(
                name="school_type",
                type="text",
                required=True,
                width=18,
                choices="school_types",
            ),
            _flag("is_rural", required=True),
            _flag("is_selective", required=True),
            SheetColumn(name="is_small", type="flag", choices="yes_no", width=18),
            SheetColumn(name="levels", type="text", width=18, choices="levels"),
            SheetColumn(name="remoteness_km", type="number", width=15, minimum=0),
        ),
    ),
    Sheet(
        name="procedures",
        signature=("procedure", "year", "available_from"),
        columns=(
            SheetColumn(name="procedure", type="procedure", required=True, width=22),
            _YEAR,
            SheetColumn(name="available_from", type="date", required=True, width=42),
        ),
    ),
    Sheet(
        name="counts",
        signature=("school_id", "procedure", "year", "n_2"),
        columns=(
            _SCHOOL,
            SheetColumn(
                name="procedure",
                type="procedure",
                required=True,
                width=18,
                choices="procedures",
            ),
            SheetColumn(name="class_label", type="code", width=11),
            _YEAR,
            _count("n_participants", width=18),
            _count("n_2"),
            _count("n_3"),
            _count("n_4"),
            _count("n_5"),
            _count("n_below_minimum", width=24),
        ),
    ),
    Sheet(
        name="passports",
        signature=("school_id", "year", "n_pupils", "single_parent"),
        columns=(
            _SCHOOL,
            _YEAR,
            _count("n_pupils", required=True, width=15),
            SheetColumn(name="family_unit", type="text", width=23, choices="units"),
            _count("n_families", width=17),
            *(_count(name, width=21) for name in PASSPORT_SHARES),
        ),
    ),
    Sheet(
        name="pupils",
        signature=("pupil_key", "school_id", "score"),
        columns=(
            SheetColumn(name="pupil_key", type="code", required=True, width=18),
            _SCHOOL,
            _YEAR,
            SheetColumn(name="subject", type="text", required=True, width=12),
            SheetColumn(name="score", type="number", required=True, width=14),
            SheetColumn(name="prior_score", type="number", width=20),
            SheetColumn(name="ses", type="number", width=20),
        ),
    ),
)

SETTINGS: tuple[Setting, ...] = (
    Setting(name="region", type="text", required=True),
    Setting(name="as_of", type="date", required=True),
    Setting(name="lang", type="text", choices="lang"),
    Setting(name="connective", type="text", required=True, choices="connective"),
    Setting(name="procedures", type="text", required=True),
    Setting(name="index_method", type="text", required=True, choices="index_method"),
    Setting(name="adversity_quantile", type="number"),
    *(Setting(name=f"weight_{name}", type="number") for name in PASSPORT_SHARES),
)


def sheet_form(name: str) -> Sheet:
    """Return the form of a sheet by name."""
    return next(s for s in SHEETS if s.name == name)


def choices(name: str, lang: str) -> tuple[str, ...]:
    """Return the answers of a list in one language."""
    if name == "levels":
        return LEVELS
    if name == "lang":
        return tuple(sorted(LANGUAGES, reverse=True))
    return tuple(text(f"workbook.choices_{name}").localized(lang).split(";"))


def choose(name: str, value: object) -> str | None:
    """Return what an answer of a list means, in whichever language it is written.

    Parameters
    ----------
    name : {"units", "connective", "index_method"}
        List.
    value : object
        The answer.

    Returns
    -------
    str or None
        ``None`` if the answer is not in the list.
    """
    answer = normalise_header(value)
    meanings = MEANINGS[name]
    for wordings in (meanings, *(choices(name, lang) for lang in LANGUAGES)):
        for wording, meaning in zip(wordings, meanings, strict=True):
            if answer == normalise_header(wording):
                return meaning
    return None
