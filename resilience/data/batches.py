"""Sources of rows that arrive in chunks: what a chunk is, where it stands, who can read it.

A source is a Parquet file or folder, a frame of any library that narwhals knows, an iterable of
chunks, a Dask frame, or any object with the methods of `Batches`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard

import pandas as pd

from resilience.errors import DataError, ResilienceError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns

__all__ = [
    "ROWS_PER_CHUNK",
    "Batches",
    "Chunk",
    "ChunkBatches",
    "FrameBatches",
    "Place",
    "checked_chunks",
    "is_dask",
    "kind_of",
    "located",
    "open_source",
    "to_chunk",
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


def to_chunk(values: Any, columns: Sequence[str], place: Place) -> Chunk:
    """Return a chunk from a table of pandas, Arrow or another library that narwhals knows.

    Raises
    ------
    SpecificationError
        If it is no table.
    """
    if isinstance(values, Chunk):
        return values
    if isinstance(values, pd.DataFrame):
        frame = values[[c for c in columns if c in values.columns]]
        declared = [c for c in frame if isinstance(frame[c].dtype, pd.CategoricalDtype)]
        return Chunk(frame=frame, place=place, declared=frozenset(map(str, declared)))
    if type(values).__module__.startswith("pyarrow"):
        from resilience.data.batches_arrow import arrow_chunk

        return arrow_chunk(values, columns, place)
    frame = _narwhals(values)
    if frame is None:
        with located(place):
            raise SpecificationError(text("sources.no_table", kind=type(values).__name__))
    return _narwhals_chunk(frame, columns, place)


def _narwhals(source: object) -> Any:
    """Return a narwhals frame, or None if narwhals does not know the object."""
    import narwhals as nw

    try:
        return nw.from_native(source)
    except TypeError:
        return None


def _narwhals_chunk(frame: Any, columns: Sequence[str], place: Place) -> Chunk:
    """Return a chunk of an eager or lazy narwhals frame: only the columns asked for are made."""
    import narwhals as nw

    selected = frame.select([c for c in columns if c in frame.collect_schema().names()])
    eager = selected.collect() if isinstance(selected, nw.LazyFrame) else selected
    if eager.implementation.is_pandas_like():
        return to_chunk(eager.to_pandas(), columns, place)
    from resilience.data.batches_arrow import arrow_chunk, check_arrow

    check_arrow()
    enums = [c for c, kind in eager.schema.items() if kind == nw.Enum]
    return arrow_chunk(eager.to_arrow(), columns, place, declared=enums)


@dataclass
class FrameBatches:
    """A frame in memory, or a lazy one of which each pass collects the used columns."""

    source: Any
    rows: int = ROWS_PER_CHUNK
    once: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Name the library of the frame."""
        self.names = (f"{type(self.source).__module__.split('.')[0]} {type(self.source).__name__}",)

    def columns(self) -> list[str]:
        """Return the names of all columns."""
        return [str(c) for c in _narwhals(self.source).collect_schema().names()]

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield slices of the rows."""
        import narwhals as nw

        frame = _narwhals(self.source)
        frame = frame.select([c for c in columns if c in self.columns()])
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        for part, start in enumerate(range(0, max(len(frame), 1), self.rows), start=1):
            piece = frame[start : start + self.rows]
            yield _narwhals_chunk(piece, columns, Place(part=part))


@dataclass
class ChunkBatches:
    """An iterable of chunks, or a function that returns a fresh iterator at every call."""

    source: Iterable[Any] | Callable[[], Iterable[Any]]
    once: bool = False
    names: tuple[str, ...] = ("chunks",)
    _first: list[Any] = field(default_factory=list)
    _iterator: Iterator[Any] | None = None
    _spent: bool = False

    def __post_init__(self) -> None:
        """Find out whether the source starts anew."""
        if not callable(self.source):
            self.once = iter(self.source) is self.source

    def columns(self) -> list[str]:
        """Return the names of the first chunk's columns."""
        first = self._firsts(1)
        return _names_of(first[0]) if first else []

    def _fresh(self) -> Iterator[Any]:
        return iter(self.source() if callable(self.source) else self.source)

    def _firsts(self, n: int) -> list[Any]:
        """Return the first chunks; what an iterator gives is kept for the reading."""
        if not self.once:
            return list(itertools.islice(self._fresh(), n))
        if self._iterator is None:
            self._iterator = self._fresh()
        elif self._spent:
            raise SpecificationError(text("sources.spent"))
        self._first += itertools.islice(self._iterator, max(n - len(self._first), 0))
        return self._first[:n]

    def peek(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the chunks from the first on without using up an iterator."""
        for part in itertools.count(1):
            found = self._firsts(part)
            if len(found) < part:
                return
            yield to_chunk(found[-1], columns, Place(part=part))

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the chunks in their order; a second reading of what reads once is refused."""
        if self.once:
            values: Iterable[Any] = itertools.chain(self._firsts(1), self._rest())
        else:
            values = self._fresh()
        for part, value in enumerate(values, start=1):
            yield to_chunk(value, columns, Place(part=part))

    def _rest(self) -> Iterator[Any]:
        self._spent = True
        yield from self._first[1:]
        self._first = []
        yield from self._iterator or ()


def _names_of(values: Any) -> list[str]:
    if isinstance(values, Chunk):
        return [str(c) for c in values.frame.columns]
    if isinstance(values, pd.DataFrame):
        return [str(c) for c in values.columns]
    if hasattr(values, "schema") and type(values).__module__.startswith("pyarrow"):
        return [str(name) for name in values.schema.names]
    frame = _narwhals(values)
    if frame is None:
        raise SpecificationError(text("sources.no_table", kind=type(values).__name__))
    return [str(c) for c in frame.collect_schema().names()]


def is_dask(source: object) -> bool:
    """Return whether the object is a Dask frame, without importing Dask."""
    return type(source).__module__.split(".")[0] in ("dask", "dask_expr")


def _is_batches(source: object) -> TypeGuard[Batches]:
    """Return whether an object has the methods of `Batches`, without touching its properties.

    Looking at ``columns`` of a lazy frame would resolve its schema.
    """
    own = type(source)
    return callable(getattr(own, "chunks", None)) and callable(getattr(own, "columns", None))


def open_source(source: object, *, rows: int = ROWS_PER_CHUNK) -> Batches:
    """Return the reader of a source.

    Parameters
    ----------
    source : path, sequence of paths, frame, iterable of chunks, callable, Dask frame or Batches
        A callable takes no argument and returns a fresh iterator of chunks.
    rows : int
        Rows of a chunk at most, where the reader chooses.

    Raises
    ------
    SpecificationError
        If nothing here can read it.
    DataError
        If a path leads to no Parquet file.
    """
    if _is_batches(source):
        return source
    paths = _paths(source)
    if paths is not None:
        from resilience.data.batches_parquet import ParquetBatches

        return ParquetBatches.open(paths, rows=rows)
    if is_dask(source):
        from resilience.data.distributed import DaskBatches

        dask: Batches = DaskBatches(source)
        return dask
    if _narwhals(source) is not None:
        return FrameBatches(source, rows=rows)
    if callable(source):
        return ChunkBatches(source)
    if isinstance(source, Iterable) and not isinstance(source, dict | bytes):
        return ChunkBatches(source)
    raise SpecificationError(text("sources.unknown", kind=type(source).__name__))


def _paths(source: object) -> list[Path] | None:
    if isinstance(source, str | Path):
        return [Path(source)]
    listed = isinstance(source, list | tuple) and source
    if listed and all(isinstance(item, str | Path) for item in source):  # type: ignore[attr-defined]  # listed
        return [Path(item) for item in source]  # type: ignore[attr-defined]  # a list or tuple
    return None
