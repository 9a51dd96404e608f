"""The sheet of settings: the choices that nobody but the authority can make."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from resilience.data.cells import UNREADABLE
from resilience.data.normalise import (
    is_blank,
    normalise_header,
    parse_date,
    parse_number,
    parse_procedure,
    parse_share,
    show_value,
    tidy_text,
)
from resilience.data.problems import Problems
from resilience.data.schema import PASSPORT_SHARES
from resilience.data.workbook_layout import SETTINGS, Setting, choices, choose, sheet_form
from resilience.data.workbook_sheets import RawSheet
from resilience.errors import DataError
from resilience.i18n import LANGUAGES, Bilingual, text
from resilience.validation import shorten

__all__ = ["WorkbookSettings", "find_settings", "read_settings"]

_FEWEST_ROWS = 3  # settings by which a renamed sheet is recognised


@dataclass(frozen=True, kw_only=True)
class WorkbookSettings:
    """The choices made on the sheet of settings.

    Attributes
    ----------
    region : str
        Name of the region or district.
    as_of : date
        Day of the list.
    lang : {"ru", "en"}
        Language of the results.
    connective : {"or", "and"}
        How conditions A and B of the low-result rule are joined.
    procedures : tuple of str
        Procedures of the low-result rule; with «all» every one of the sheet of marks.
    index_method : {"policy", "equal", "supervised", "none"}
        How the context index is made.
    adversity_quantile : float or None
        Share of schools that count as adverse, in (0, 1); ``None`` leaves the rule's own.
    weights : mapping of str to float
        Signed weights of the index, plus = favourable; columns left empty do not stand here.
    """

    region: str
    as_of: dt.date
    lang: str
    connective: str
    procedures: tuple[str, ...]
    index_method: str
    adversity_quantile: float | None
    weights: Mapping[str, float] = field(default_factory=dict)


def find_settings(sheets: Sequence[RawSheet], taken: set[str]) -> RawSheet | None:
    """Return the sheet of settings: by its title in either language, else by its rows."""
    title = text("workbook.sheet_settings")
    names = {normalise_header(title.localized(lang)) for lang in LANGUAGES}
    for sheet in sheets:
        if normalise_header(sheet.title) in names:
            taken.add(sheet.title)
            return sheet
    for sheet in sheets:
        if sheet.title not in taken and len(_values(sheet)) >= _FEWEST_ROWS:
            taken.add(sheet.title)
            return sheet
    return None


def _values(sheet: RawSheet) -> dict[str, tuple[str, object]]:
    """Return place and value of each setting: the cell right of its wording."""
    wordings = {
        normalise_header(s.title.localized(lang)): s.name for s in SETTINGS for lang in LANGUAGES
    }
    wordings |= {s.name: s.name for s in SETTINGS}
    found: dict[str, tuple[str, object]] = {}
    for i, row in enumerate(sheet.rows):
        for j, cell in enumerate(row):
            name = wordings.get(normalise_header(cell)) if isinstance(cell, str) else None
            if name is None or name in found:
                continue
            value = row[j + 1] if j + 1 < len(row) else None
            if (i, j + 1) in sheet.formulas:
                value = UNREADABLE
            # Settings stand in the first columns, so one letter names the cell's column.
            found[name] = (f"{sheet.title}!{chr(ord('A') + min(j + 1, 25))}{i + 1}", value)
            break
    return found


def read_settings(
    sheet: RawSheet, problems: Problems, *, procedures: Iterable[str], known: set[str]
) -> WorkbookSettings | None:
    """Return the settings, ``None`` if a required one is missing or wrong.

    Parameters
    ----------
    sheet : RawSheet
        The sheet.
    problems : Problems
        Where problems are noted.
    procedures : iterable of str
        Procedures of the sheet of marks.
    known : set of str
        Columns of the social passport that state a number somewhere.
    """
    values = _values(sheet)
    before = len(problems)
    for setting in SETTINGS:
        place, value = values.get(setting.name, (sheet.title, None))
        if setting.name not in values and setting.required:
            problems.add(place, text("workbook.setting_no_row", setting=setting.title))
        elif value is UNREADABLE:
            problems.add(place, text("workbook.formula"))
        elif is_blank(value) and setting.required:
            problems.add(
                place,
                text("workbook.setting_missing", setting=setting.title, note=setting.note),
            )
    if len(problems) > before:
        return None
    reader = _Reader(values, problems, sheet.title)
    method = reader.choice("index_method")
    settings = WorkbookSettings(
        region=tidy_text(values["region"][1]),
        as_of=reader.date("as_of"),
        lang=reader.language(),
        connective=reader.choice("connective"),
        procedures=reader.procedures(list(procedures)),
        index_method=method,
        adversity_quantile=reader.quantile(),
        weights={} if method == "none" else reader.weights(known),
    )
    return settings if len(problems) == before else None


class _Reader:
    """Reads one setting after another; problems go to the list."""

    def __init__(
        self, values: Mapping[str, tuple[str, object]], problems: Problems, title: str
    ) -> None:
        self._values = values
        self._problems = problems
        self._title = title

    def _get(self, name: str) -> tuple[Setting, str, object]:
        setting = next(s for s in SETTINGS if s.name == name)
        place, value = self._values.get(name, (self._title, None))
        return setting, place, None if is_blank(value) else value

    def choice(self, name: str) -> str:
        setting, place, value = self._get(name)
        meaning = choose(name, value)
        if meaning is None:
            offered = Bilingual(*(", ".join(choices(name, lang)) for lang in ("en", "ru")))
            self._refuse(setting, place, value, offered)
        return meaning or ""

    def _refuse(self, setting: Setting, place: str, value: object, offered: str) -> None:
        self._problems.add(
            place,
            text(
                "workbook.setting_choice",
                setting=setting.title,
                value=show_value(value),
                choices=offered,
            ),
        )

    def date(self, name: str) -> dt.date:
        _, place, value = self._get(name)
        try:
            date = parse_date(value)
        except DataError as error:
            self._problems.add(place, error.message)
            date = None
        return date or dt.date.min

    def language(self) -> str:
        setting, place, value = self._get("lang")
        lang = "ru" if value is None else normalise_header(value)
        if lang not in LANGUAGES:
            self._refuse(setting, place, value, ", ".join(LANGUAGES))
        return lang

    def quantile(self) -> float | None:
        setting, place, value = self._get("adversity_quantile")
        try:
            share = parse_share(value)
        except DataError as error:
            self._problems.add(place, error.message)
            return None
        if share is not None and not 0 < share < 1:
            self._problems.add(
                place,
                text("workbook.setting_quantile", setting=setting.title, value=show_value(value)),
            )
        return share

    def procedures(self, there: list[str]) -> tuple[str, ...]:
        _, place, value = self._get("procedures")
        every = {normalise_header(text("workbook.choices_all").localized(g)) for g in LANGUAGES}
        if normalise_header(value) in every:
            return tuple(there)
        named: list[str] = []
        for part in re.split(r"[;,\n]", str(value)):
            if is_blank(part):
                continue
            try:
                name = str(parse_procedure(part))
            except DataError as error:
                self._problems.add(place, error.message)
                continue
            if name not in there:
                self._problems.add(
                    place,
                    text(
                        "workbook.setting_procedure",
                        value=show_value(name),
                        counts=sheet_form("counts").title,
                        procedures=shorten(there, 12),
                    ),
                )
            elif name not in named:
                named.append(name)
        return tuple(named)

    def weights(self, known: set[str]) -> dict[str, float]:
        weights: dict[str, float] = {}
        for column in PASSPORT_SHARES:
            _, place, value = self._get(f"weight_{column}")
            try:
                weight = parse_number(value)
            except DataError as error:
                self._problems.add(place, error.message)
                continue
            if not weight:
                continue
            if column not in known:
                words = text(
                    "workbook.weight_no_data",
                    label=text(f"workbook.passports_{column}"),
                    value=show_value(value),
                )
                self._problems.add(place, words)
            weights[column] = weight
        if not weights:
            _, place, _ = self._get("index_method")
            none = Bilingual(*(choices("index_method", lang)[-1] for lang in ("en", "ru")))
            label = text("workbook.settings_weight", label="…")
            self._problems.add(place, text("workbook.weights_missing", setting=label, none=none))
        return weights
