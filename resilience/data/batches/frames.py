"""Chunks from frames of any library and from iterables of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from resilience.data.batches.chunk import (
    ROWS_PER_CHUNK,
    Chunk,
    Place,
    located,
)
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["ChunkBatches", "FrameBatches", "narwhals_frame", "to_chunk"]


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
        from resilience.data.batches.arrow import arrow_chunk

        return arrow_chunk(values, columns, place)
    frame = narwhals_frame(values)
    if frame is None:
        with located(place):
            raise SpecificationError(text("sources.no_table", kind=type(values).__name__))
    return _narwhals_chunk(frame, columns, place)


def narwhals_frame(source: object) -> Any:
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
    from resilience.data.batches.arrow import arrow_chunk, check_arrow

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

    @property
    def n_rows(self) -> int | None:
        """Rows; None of a lazy frame, which would have to be collected."""
        import narwhals as nw

        frame = narwhals_frame(self.source)
        return None if isinstance(frame, nw.LazyFrame) else len(frame)

    def columns(self) -> list[str]:
        """Return the names of all columns."""
        return [str(c) for c in narwhals_frame(self.source).collect_schema().names()]

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield slices of the rows."""
        import narwhals as nw

        frame = narwhals_frame(self.source)
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
        if not self._first:
            raise SpecificationError(text("sources.exhausted"))
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
    frame = narwhals_frame(values)
    if frame is None:
        raise SpecificationError(text("sources.no_table", kind=type(values).__name__))
    return [str(c) for c in frame.collect_schema().names()]
