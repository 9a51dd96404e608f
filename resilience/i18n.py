"""The catalogue of wordings in Russian and English.

Wordings are data: ``catalogue/texts/<namespace>.toml`` holds tables ``[key]`` with ``en`` and
``ru``.  A wording may contain ``{placeholders}`` in the syntax of :meth:`str.format`, and counted
nouns by their forms: ``{n:pupil|pupils}`` in English, ``{n:ученик|ученика|учеников}`` in Russian.
"""

from __future__ import annotations

import string
import tomllib
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from resilience.errors import SpecificationError

__all__ = [
    "LANGUAGES",
    "Bilingual",
    "Language",
    "catalogue_tables",
    "check_language",
    "decimal",
    "has_text",
    "numeral",
    "text",
    "text_keys",
]

Language = Literal["en", "ru"]
LANGUAGES: tuple[str, ...] = get_args(Language)


class Bilingual(str):
    """A string whose value is the English wording and which also knows the Russian one.

    Attributes
    ----------
    en, ru : str
        The two wordings.
    """

    en: str
    ru: str

    def __new__(cls, en: str, ru: str) -> Bilingual:
        """Make a string from the two wordings."""
        self = super().__new__(cls, en)
        self.en = en
        self.ru = ru
        return self

    def __reduce__(self) -> tuple[type[Bilingual], tuple[str, str]]:
        return Bilingual, (self.en, self.ru)

    def localized(self, lang: str) -> str:
        """Return the wording in ``lang`` (``"en"`` or ``"ru"``)."""
        return str(getattr(self, check_language(lang)))


def check_language(lang: str) -> str:
    """Return ``lang`` if it is one of the catalogue's languages.

    Raises
    ------
    SpecificationError
        If the language is not in the catalogue.
    """
    if lang not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise SpecificationError(text("validation.language", language=repr(lang), known=known))
    return lang


def catalogue_tables(folder: str) -> dict[str, dict[str, Any]]:
    """Read all TOML files of one catalogue folder.

    Parameters
    ----------
    folder : {"texts", "columns", "references"}
        Folder below ``resilience/catalogue``.

    Returns
    -------
    dict
        ``{file stem: {table name: table}}`` in alphabetical order of the stems.
    """
    root = resources.files("resilience") / "catalogue" / folder
    files = sorted((f for f in root.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name[: -len(".toml")]: tomllib.loads(f.read_text(encoding="utf-8")) for f in files}


@cache
def _texts(namespace: str) -> dict[str, tuple[str, str]]:
    """Return the wordings of one file; a run reads the few files that it speaks from."""
    file = resources.files("resilience") / "catalogue" / "texts" / f"{namespace}.toml"
    if not file.is_file():
        return {}
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {key: (wording["en"], wording["ru"]) for key, wording in tables.items()}


class _Counting(string.Formatter):
    """Formats as :meth:`str.format` does, and a number before the forms of a noun with its form."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" not in format_spec:
            return str(super().format_field(value, format_spec))
        forms = format_spec.split("|")
        number = float(str(value).replace(",", "."))
        if len(forms) == 2:
            return f"{value} {forms[number != 1]}"
        shown = str(value).replace(".", ",")
        return f"{shown} {forms[_russian_form(number)]}"


def _russian_form(number: float) -> int:
    """Return 0 for 1, 21, …; 1 for 2 to 4, 22, … and fractions; 2 for the rest."""
    if number != number // 1:
        return 1 if number != float("inf") else 2
    last, teens = number % 10, 11 <= number % 100 <= 14
    if teens or last == 0 or last > 4:
        return 2
    return 0 if last == 1 else 1


def _filled(wording: str, values: dict[str, object]) -> str:
    if "|" in wording:
        return _Counting().vformat(wording, (), values)
    return wording.format(**values)


def text(key: str, /, **values: object) -> Bilingual:
    """Return a wording of the catalogue with its placeholders filled in.

    Parameters
    ----------
    key : str
        ``namespace.key``: the file's stem and the table's name.
    **values : object
        Values of the placeholders.  A `Bilingual` value appears in each language in its own
        wording.

    Returns
    -------
    Bilingual
        English as a string, Russian in ``.ru``.

    Raises
    ------
    SpecificationError
        If the catalogue has no such key.
    """
    try:
        namespace, _, name = key.partition(".")
        en, ru = _texts(namespace)[name]
    except KeyError:
        raise SpecificationError(f"no wording {key!r} in the catalogue of texts") from None
    if not values:
        return Bilingual(en, ru)
    russian = {k: v.ru if isinstance(v, Bilingual) else v for k, v in values.items()}
    return Bilingual(_filled(en, values), _filled(ru, russian))


def decimal(value: float, digits: int = 2) -> Bilingual:
    """Return a number with a decimal point in English and a decimal comma in Russian."""
    return numeral(f"{value:.{digits}f}")


def numeral(shown: str) -> Bilingual:
    """Return a printed number with its decimal point in English and a comma in Russian."""
    return Bilingual(shown, shown.replace(".", ","))


def has_text(key: str) -> bool:
    """Tell whether the catalogue has a wording under this key."""
    namespace, _, name = key.partition(".")
    return name in _texts(namespace)


@cache
def text_keys() -> tuple[str, ...]:
    """Return every key of the catalogue of texts, sorted; reads all its files."""
    tables = catalogue_tables("texts")
    return tuple(sorted(f"{space}.{key}" for space, own in tables.items() for key in own))
