"""Typed values out of a TOML table, each error naming file, key, value seen and what is needed."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn, TypeVar, get_args

from resilience.data.normalise import parse_date
from resilience.data.workbook_sheets import check_file
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import nearest_names

__all__ = ["TomlTable", "join_path"]

Choice = TypeVar("Choice", bound=str)


def join_path(words: str, folder: Path) -> Path:
    r"""Return a path of a configuration, relative ones under ``folder``.

    Both ``data/schools.csv`` and ``data\schools.csv`` are understood on every system.
    """
    parts = PureWindowsPath(words)
    if parts.drive or parts.root:
        return Path(words)
    return folder.joinpath(*parts.parts)


class TomlTable:
    """One table of a configuration; its methods return a key's value or raise.

    Parameters
    ----------
    record : mapping
        The table as read.
    name : str
        Name of the table in messages, ``model`` or ``rules[1]``.
    file : str
        Name of the file in messages.
    folder : Path
        Folder of the file, under which relative paths lie.
    """

    def __init__(self, record: Mapping[str, Any], *, name: str, file: str, folder: Path) -> None:
        self.record = record
        self.name = name
        self.file = file
        self.folder = folder

    def check_keys(self, allowed: Sequence[str], homes: Mapping[str, str]) -> None:
        """Raise for a key outside the table, with the nearest key or the table it belongs in."""
        for key in self.record:
            if key in allowed:
                continue
            if key in homes:
                place = text("config.table_named", table=self.name)
                raise SpecificationError(
                    text(
                        "config.misplaced",
                        file=self.file,
                        key=repr(key),
                        table=place,
                        home=homes[key],
                    )
                )
            raise SpecificationError(
                text(
                    "config.unknown_key",
                    file=self.file,
                    table=self.name,
                    key=repr(key),
                    nearest=nearest_names(key, allowed),
                )
            )

    def has(self, key: str) -> bool:
        """Return whether the key is given."""
        return key in self.record

    def fail(self, key: str, kind: str) -> NoReturn:
        """Raise the error of a value of the wrong kind."""
        raise SpecificationError(
            text(
                "config.type",
                file=self.file,
                key=f"{self.name}.{key}",
                value=repr(self.record.get(key)),
                kind=kind,
            )
        )

    def words(self, key: str) -> str | None:
        """Return a text that is not empty."""
        value = self.record.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self.fail(key, text("config.kind_text"))
        return value

    def choice(self, key: str, options: Any, default: Choice) -> Choice:
        """Return one of the options of a ``Literal``."""
        value = self.record.get(key, default)
        known = get_args(options)
        if value not in known:
            raise SpecificationError(
                text(
                    "config.choice",
                    file=self.file,
                    key=f"{self.name}.{key}",
                    value=repr(value),
                    options=", ".join(repr(o) for o in known),
                )
            )
        return value  # type: ignore[no-any-return]  # one of the literals, checked above

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of texts without repetition; one text stands for a list of one."""
        value = self.record.get(key, [])
        items = [value] if isinstance(value, str) else value
        is_list = isinstance(items, list) and all(isinstance(v, str) and v for v in items)
        if not is_list or (key in self.record and not items):
            self.fail(key, text("config.kind_list"))
        for item in items:
            if items.count(item) > 1:
                raise SpecificationError(
                    text(
                        "config.repeated",
                        file=self.file,
                        key=f"{self.name}.{key}",
                        value=repr(item),
                    )
                )
        return tuple(items)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.record.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, text("config.kind_flag"))
        return value

    def whole(self, key: str, default: int, *, least: int = 0) -> int:
        """Return a whole number of at least ``least``."""
        value = self.record.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fail(key, text("config.kind_whole", least=least))
        return value

    def number(self, key: str, default: float) -> float:
        """Return a finite number."""
        value = self.record.get(key, default)
        if not is_number(value):
            self.fail(key, text("config.kind_number"))
        return float(value)

    def date(self, key: str) -> dt.date | None:
        """Return a date, written as TOML's date or as a text."""
        value = self.record.get(key)
        if value is None:
            return None
        try:
            # A bare number would be read as a spreadsheet's day; here it is a slip.
            date = None if isinstance(value, int | float | bool) else parse_date(value)
        except DataError:
            date = None
        if date is None:
            self.fail(key, text("config.kind_date"))
        return date

    def table(self, key: str, kind: str) -> dict[str, Any]:
        """Return an inline table, empty if the key is not given."""
        value = self.record.get(key, {})
        if not isinstance(value, dict) or (key in self.record and not value):
            self.fail(key, text(f"config.kind_{kind}"))
        return dict(value)

    def path(self, key: str) -> Path | None:
        """Return the path of a file that exists."""
        words = self.words(key)
        if words is None:
            return None
        name = f"{self.name}.{key}"
        if any(ord(character) < 32 for character in words):
            raise SpecificationError(text("config.control", file=self.file, key=name))
        path = join_path(words, self.folder)
        try:
            check_file(path, words)
        except DataError as error:
            message = error.message
            raise DataError(
                text("config.file", file=self.file, key=name, message=message)
            ) from None
        return path


def is_number(value: object) -> bool:
    """Return whether a value is a finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def listed(given: Sequence[str], nothing: Bilingual) -> Bilingual:
    """Return names as a list, or the word for an empty one."""
    words = ", ".join(given)
    return Bilingual(words, words) if given else nothing
