"""Sources of rows that arrive in chunks: what a chunk is, where it stands, who can read it.

A source is a Parquet file or folder, a frame of any library that narwhals knows, an iterable of
chunks, a Dask frame, or any object with the methods of `Batches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pandas as pd

from resilience.errors import DataError, ResilienceError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns

__all__ = [
    "ROWS_PER_CHUNK",
    "TABLE",
    "Batches",
    "Chunk",
    "Place",
    "check_chunk",
    "checked_chunks",
    "is_dask",
    "kind_of",
    "located",
]

ROWS_PER_CHUNK = 262_144  # two blocks of ten columns then take 40 MB
TABLE = "data"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a chunk stands, for messages.

    Attributes
    ----------
    part : int
        Number of the row group, chunk or partition, from 1.
    kind : {"row_group", "chunk", "partition"}
        What is numbered.
    file : str or None
        Name of the file inside its folder.
    """

    part: int
    kind: Literal["row_group", "chunk", "partition"] = "chunk"
    file: str | None = None

    def describe(self) -> Bilingual:
        """Return the place in words, in both languages."""
        if self.file is None:
            return text(f"sources.{self.kind}", part=self.part)
        return text("sources.file", file=self.file, part=self.part)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Some rows and their place.

    Attributes
    ----------
    frame : DataFrame
        Rows; text may stand as categories.
    place : Place
        File and row group, or number of the chunk.
    declared : frozenset of str
        Columns whose categories stand in an order that somebody chose; the order of the others
        is that of their values.
    """

    frame: pd.DataFrame
    place: Place
    declared: frozenset[str] = frozenset()


class Batches(Protocol):
    """A source of chunks.

    Attributes
    ----------
    names : tuple of str
        Files, or a word for what was passed.
    once : bool
        True if the rows can be read a single time.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Files, or a word for what was passed."""
        ...

    @property
    def once(self) -> bool:
        """True if the rows can be read a single time."""
        ...

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the rows with at least these columns where the source has them."""
        ...

    def columns(self) -> list[str]:
        """Return the names of all columns."""
        ...


@contextmanager
def located(place: Place) -> Iterator[None]:
    """Add the place to an error that comes from a chunk."""
    try:
        yield
    except ResilienceError as error:
        raise type(error)(
            text("sources.located", place=place.describe(), message=error.message)
        ) from error


def kind_of(values: pd.Series) -> str | None:
    """Return ``number``, ``boolean``, ``text``, ``date`` or another name; None without values."""
    kind: Any = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        values = pd.Series(kind.categories)
        kind = values.dtype
    types = pd.api.types
    if types.is_bool_dtype(kind):
        return "boolean"
    if types.is_numeric_dtype(kind):
        return None if kind.kind == "f" and bool(values.isna().all()) else "number"
    if types.is_datetime64_any_dtype(kind):
        return "date"
    if not types.is_object_dtype(kind) and isinstance(kind, pd.StringDtype):
        return "text"
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    names = {"string": "text", "empty": None, "integer": "number", "floating": "number"}
    return names.get(inferred, inferred)


def checked_chunks(
    batches: Batches, columns: Sequence[str], kinds: dict[str, str]
) -> Iterator[Chunk]:
    """Yield chunks that have the columns, with values of the kind that the first chunk had.

    Parameters
    ----------
    batches : Batches
        The source.
    columns : sequence of str
        Columns to read.
    kinds : dict of {column: kind}
        What was met before; filled on the way.

    Raises
    ------
    DataError
        Naming file and row group: a column is absent, or changes its type.
    """
    for chunk in batches.chunks(columns):
        check_chunk(chunk, columns, kinds)
        yield chunk


def check_chunk(chunk: Chunk, columns: Sequence[str], kinds: dict[str, str]) -> None:
    """Raise unless the chunk has the columns in the kinds met before; new kinds are noted."""
    with located(chunk.place):
        check_columns(chunk.frame, columns, table=TABLE)
        for name in columns:
            kind = kind_of(chunk.frame[name])
            if kind is not None and kinds.setdefault(name, kind) != kind:
                raise DataError(
                    text(
                        "sources.kind_changed",
                        column=repr(name),
                        seen=text(f"sources.kind_{kind}") if kind in _KINDS else kind,
                        before=text(f"sources.kind_{kinds[name]}")
                        if kinds[name] in _KINDS
                        else kinds[name],
                    )
                )


_KINDS = ("number", "boolean", "text", "date")


def is_dask(source: object) -> bool:
    """Return whether the object is a Dask frame, without importing Dask."""
    return type(source).__module__.split(".")[0] in ("dask", "dask_expr")
