"""The record of one data set: tables that cannot be spoilt, codebook, source, licence, truth."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import cast

import pandas as pd
from pandas.api import types

from resilience.columns import column, column_names, label, labelled
from resilience.errors import DatasetError
from resilience.i18n import Bilingual, check_language, text

__all__ = ["ColumnNote", "Dataset", "Tables"]

# A codebook cell that lists more levels than this is no longer read by anyone.
MOST_LEVELS_SHOWN = 12


class Tables(Mapping[str, pd.DataFrame]):
    """A read-only collection of tables that hands out copies.

    Whatever a user does to a table taken from here, the next one taken is whole again.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Copied on the way in, too.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        # Tables of another data set are never changed, so that sharing them is safe.
        self._tables: dict[str, pd.DataFrame] = (
            tables._tables
            if isinstance(tables, Tables)
            else {str(name): frame.copy() for name, frame in tables.items()}
        )

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._tables[name].copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def shape(self, name: str) -> tuple[int, int]:
        """Return the number of rows and columns of a table without copying it."""
        return self._tables[name].shape

    def dtypes(self, name: str) -> dict[str, object]:
        """Return the type of each column of a table without copying it."""
        frame = self._tables[name]
        return {str(c): frame[c].dtype for c in frame.columns}

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}: {_size(self.shape(name))}" for name in self)
        return f"Tables({inside})"


@dataclass(frozen=True, kw_only=True)
class ColumnNote:
    """What the codebook says about one column.

    Attributes
    ----------
    table, column : str
        Where it stands; a table of the truth is called ``truth.<name>``.
    type : str
        ``string``, ``category``, ``int``, ``float`` or ``bool``.
    unit, meaning : Bilingual
        In both languages; the unit is empty for keys, texts and flags.
    """

    table: str
    column: str
    type: str
    unit: Bilingual
    meaning: Bilingual


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A data set with its provenance.

    Tables are attributes: ``region.schools`` is ``region.frames["schools"]``, a copy each time.

    Attributes
    ----------
    name : str
        Name under which it is loaded.
    title, description : Bilingual
        What it is, in both languages.
    frames : Tables
        The tables by name.
    citation : str
        How to cite the data; a `Bilingual` prints in the reader's language.
    licence : str
        Terms the data come under.
    source : Bilingual
        Agency that gathered the data, and the package and version they were taken from.
    checksums : mapping of str to str
        File name to sha256 of the file; empty where the tables never were files.
    truth : Tables
        What a simulation knows and a ministry does not; empty for real data.
    references : tuple of str
        Keys of the bibliography (`resilience.references`).
    notes : tuple of ColumnNote
        Codebook entries; a column without one is explained by the library's glossary.
    lang : {"en", "ru"}
        Language of the codebook and of the printed card.

    Raises
    ------
    DatasetError
        If a table cannot be an attribute because its name is not an identifier or is taken.
    """

    name: str
    title: Bilingual
    description: Bilingual
    frames: Mapping[str, pd.DataFrame]
    citation: str
    licence: str
    source: Bilingual
    checksums: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    notes: tuple[ColumnNote, ...] = ()
    lang: str = "en"

    def __post_init__(self) -> None:
        check_language(self.lang)
        taken = {f.name for f in fields(self)} | set(dir(type(self)))
        for table in map(str, self.frames):
            if not table.isidentifier() or table.startswith("_") or table in taken:
                raise DatasetError(text("datasets.frame_name", name=self.name, table=repr(table)))
        object.__setattr__(self, "frames", Tables(self.frames))
        object.__setattr__(self, "truth", Tables(self.truth))
        object.__setattr__(self, "checksums", _Frozen(self.checksums))

    def __getattr__(self, name: str) -> pd.DataFrame:
        # Called only where ordinary look-up fails; `__dict__` because an unpickled object is empty.
        frames: Mapping[str, pd.DataFrame] = self.__dict__.get("frames", {})
        if name in frames:
            return frames[name]
        if name.startswith("_") or not frames:
            raise AttributeError(name)
        raise AttributeError(
            text(
                "datasets.no_frame",
                name=self.name,
                frame=repr(name),
                frames=", ".join(frames),
            )
        )

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.frames})

    @property
    def codebook(self) -> pd.DataFrame:
        """Every column of every table, explained.

        Returns
        -------
        DataFrame
            ``table``, ``column``, ``type``, ``unit``, ``meaning``, in the language of the data
            set; one row per column in the order of the tables.
        """
        known = {(note.table, note.column): note for note in self.notes}
        rows = []
        for prefix, tables in self._stored():
            for table in tables:
                for name, dtype in tables.dtypes(table).items():
                    key = (prefix + table, name)
                    note = known.get(key) or _note_from_glossary(*key, dtype)
                    unit, meaning = (w.localized(self.lang) for w in (note.unit, note.meaning))
                    rows.append((*key, note.type, unit, _with_levels(meaning, dtype, self.lang)))
        return pd.DataFrame(rows, columns=["table", "column", "type", "unit", "meaning"])

    def contents(self) -> pd.DataFrame:
        """Return the tables there are: ``table``, ``n_rows``, ``n_columns``."""
        rows = []
        for prefix, tables in self._stored():
            rows += [(prefix + table, *tables.shape(table)) for table in tables]
        return pd.DataFrame(rows, columns=["table", "n_rows", "n_columns"])

    def _stored(self) -> tuple[tuple[str, Tables], tuple[str, Tables]]:
        return ("", cast(Tables, self.frames)), ("truth.", cast(Tables, self.truth))

    def __repr__(self) -> str:
        rows = self.contents().itertuples(index=False)
        inside = ", ".join(f"{r.table} {r.n_rows} × {r.n_columns}" for r in rows)
        return f"Dataset({self.name!r}: {inside})"

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<dt>{html.escape(label(name, self.lang))}</dt><dd>{html.escape(value)}</dd>"
            for name, value in (
                ("source", self.source.localized(self.lang)),
                ("citation", str(getattr(self.citation, self.lang, self.citation))),
                ("licence", self.licence),
            )
        )
        title = html.escape(self.title.localized(self.lang))
        words = html.escape(self.description.localized(self.lang))
        contents = labelled(self.contents(), self.lang).to_html(index=False, border=0)
        codebook = labelled(self.codebook, self.lang).to_html(index=False, border=0)
        heading = html.escape(text("datasets.codebook").localized(self.lang))
        return (
            f"<h4>{title}</h4><p>{words}</p><dl>{facts}</dl>{contents}"
            f"<details><summary>{heading}</summary>{codebook}</details>"
        )


class _Frozen(Mapping[str, str]):
    """A read-only dictionary of strings; unlike `MappingProxyType` it can be pickled."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} × {shape[1]}"


def _with_levels(meaning: str, dtype: object, lang: str) -> str:
    if not isinstance(dtype, pd.CategoricalDtype) or len(dtype.categories) > MOST_LEVELS_SHOWN:
        return meaning
    levels = ", ".join(str(level) for level in dtype.categories)
    return text("datasets.levels", meaning=meaning, levels=levels).localized(lang)


def _note_from_glossary(table: str, name: str, dtype: object) -> ColumnNote:
    if name in column_names():
        record = column(name)
        unit = Bilingual(record.unit_en, record.unit_ru)
        meaning = Bilingual(record.meaning_en, record.meaning_ru)
    else:
        unit, meaning = Bilingual("", ""), text("datasets.unexplained")
    return ColumnNote(table=table, column=name, type=_type(dtype), unit=unit, meaning=meaning)


def _type(dtype: object) -> str:
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if types.is_bool_dtype(dtype):  # type: ignore[arg-type]  # every dtype is accepted
        return "bool"
    if types.is_integer_dtype(dtype):  # type: ignore[arg-type]  # every dtype is accepted
        return "int"
    if types.is_float_dtype(dtype):  # type: ignore[arg-type]  # every dtype is accepted
        return "float"
    return "string"
