"""Reading one ``dataset.toml``: provenance, files with their checksums, types and codebook."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilience.columns import column as glossary_column
from resilience.data.dataset import ColumnNote
from resilience.errors import DatasetError
from resilience.i18n import Bilingual, text

__all__ = ["MANIFEST", "ROLES", "ColumnType", "DataFile", "Provenance", "read_provenance"]

MANIFEST = "dataset.toml"
COLUMN_TYPES = ("string", "category", "int", "float", "bool")
ROLES = ("frame", "truth")
SUFFIXES = (".csv", ".gz", ".xz")


@dataclass(frozen=True, kw_only=True)
class ColumnType:
    """The declared type of a column: one of `COLUMN_TYPES`, with the levels of a category."""

    type: str
    levels: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of a data set.

    Attributes
    ----------
    table : str
        Name under which the user finds the table.
    path : str
        File name inside the folder.
    sha256 : str
        Of the file as it lies on disk, 64 hexadecimal digits.
    n_rows : int
        Rows without the header.
    role : str
        ``frame``, or ``truth`` where a simulation knows what a ministry does not.
    columns : mapping of str to ColumnType
        In the order of the file.
    """

    table: str
    path: str
    sha256: str
    n_rows: int
    role: str
    columns: Mapping[str, ColumnType]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """All that a ``dataset.toml`` says; the fields of `Dataset` explain those named alike."""

    name: str
    title: Bilingual
    description: Bilingual
    citation: str
    licence: str
    source: Bilingual
    references: tuple[str, ...]
    files: tuple[DataFile, ...]
    notes: tuple[ColumnNote, ...]


class _Entries:
    """The entries of one dataset.toml; what is absent or of the wrong kind is named."""

    def __init__(self, name: str, values: Mapping[str, Any], path: str = "") -> None:
        self.name, self.values, self.path = name, values, path

    def fail(self, detail: str) -> DatasetError:
        return DatasetError(text("datasets.malformed", name=self.name, detail=detail))

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        full = f"{self.path}{key}"
        value = self.values.get(key, default)
        if value is None:
            raise self.fail(text("datasets.lacks", key=full))
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            expected = kind.__name__
            raise self.fail(
                text("datasets.bad_entry", key=full, value=repr(value), expected=expected)
            )
        return value

    def choice(self, key: str, options: tuple[str, ...]) -> str:
        value = str(self.get(key, str))
        if value not in options:
            raise self.fail(
                text(
                    "datasets.bad_entry",
                    key=f"{self.path}{key}",
                    value=repr(value),
                    expected=", ".join(options),
                )
            )
        return value

    def below(self, key: str) -> _Entries:
        return _Entries(self.name, self.get(key, dict), f"{self.path}{key}.")

    def bilingual(self, key: str, default: str | None = None) -> Bilingual:
        """Return a table with ``en`` and ``ru``, or one string that serves both languages."""
        value = self.values.get(key, default)
        if isinstance(value, str):
            return Bilingual(value, value)
        words = self.below(key)
        return Bilingual(words.get("en", str), words.get("ru", str))


def read_provenance(folder: Path) -> Provenance:
    """Read the ``dataset.toml`` of a folder.

    Parameters
    ----------
    folder : Path
        Folder of the data set, called as the data set.

    Returns
    -------
    Provenance
        No data file is opened.

    Raises
    ------
    DatasetError
        If the file is not TOML, lacks an entry, or an entry is of the wrong kind.
    """
    name = folder.name
    try:
        raw = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(text("datasets.malformed", name=name, detail=str(error))) from error
    entries = _Entries(name, raw)
    entries.choice("name", (name,))
    files = tuple(_file(entries, key) for key in entries.get("files", dict))
    return Provenance(
        name=name,
        title=entries.bilingual("title"),
        description=entries.bilingual("description"),
        citation=entries.get("citation", str),
        licence=entries.get("licence", str),
        source=_source(entries.below("source")),
        references=tuple(map(str, entries.get("references", list, []))),
        files=files,
        notes=tuple(
            note
            for key, file in zip(entries.get("files", dict), files, strict=True)
            for note in _notes(entries.below("columns").below(key), file)
        ),
    )


def _source(entries: _Entries) -> Bilingual:
    """Return agency, place of publication, and package with version, in both languages."""
    parts = [entries.bilingual("agency"), entries.bilingual("publication")]
    if "package" in entries.values:
        package = f"{entries.get('package', str)} {entries.get('version', str)}"
        thing = entries.get("object", str, "")
        words = f"{package} ({thing})" if thing else package
        parts.append(Bilingual(words, words))
    return Bilingual("; ".join(p.en for p in parts), "; ".join(p.ru for p in parts))


def _file(entries: _Entries, key: str) -> DataFile:
    file = entries.below("files").below(key)
    columns = entries.below("columns").below(key)
    types: dict[str, ColumnType] = {}
    for column in columns.values:
        record = columns.below(column)
        kind = record.choice("type", COLUMN_TYPES)
        types[column] = ColumnType(
            type=kind,
            levels=tuple(record.get("levels", list, None if kind == "category" else [])),
            ordered=record.get("ordered", bool, False),
        )
    path = file.get("path", str)
    if Path(path).suffix not in SUFFIXES:
        entry = {"key": f"{file.path}path", "value": repr(path), "expected": ", ".join(SUFFIXES)}
        raise file.fail(text("datasets.bad_entry", **entry))
    return DataFile(
        table=file.get("table", str, key),
        path=path,
        sha256=file.get("sha256", str),
        n_rows=file.get("n_rows", int),
        role=file.choice("role", ROLES),
        columns=types,
    )


def _notes(columns: _Entries, file: DataFile) -> list[ColumnNote]:
    """Return the notes of the columns explained here; the glossary explains the others."""
    prefix = "truth." if file.role == "truth" else ""
    notes = []
    for column in columns.values:
        record = columns.below(column)
        explained = "en" in record.values or "ru" in record.values
        if not explained and "unit" not in record.values:
            continue
        if explained:
            meaning = Bilingual(record.get("en", str), record.get("ru", str))
        else:
            known = glossary_column(column)
            meaning = Bilingual(known.meaning_en, known.meaning_ru)
        notes.append(
            ColumnNote(
                table=prefix + file.table,
                column=column,
                type=file.columns[column].type,
                unit=record.bilingual("unit", ""),
                meaning=meaning,
            )
        )
    return notes
