"""Find the reader of a source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeGuard

from resilience.data.batches.chunk import ROWS_PER_CHUNK, Batches, is_dask
from resilience.data.batches.frames import ChunkBatches, FrameBatches, narwhals_frame
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["open_source"]


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
        from resilience.data.batches.parquet import ParquetBatches

        return ParquetBatches.open(paths, rows=rows)
    if is_dask(source):
        from resilience.data.batches.distributed import DaskBatches

        dask: Batches = DaskBatches(source)
        return dask
    if narwhals_frame(source) is not None:
        return FrameBatches(source, rows=rows)
    if callable(source):
        _check_no_arguments(source)
        return ChunkBatches(source)
    if isinstance(source, Iterable) and not isinstance(source, dict | bytes):
        return ChunkBatches(source)
    raise SpecificationError(text("sources.unknown", kind=type(source).__name__))


def _check_no_arguments(source: Callable[..., Any]) -> None:
    """Raise if a function cannot be called without arguments."""
    try:
        parameters = inspect.signature(source).parameters.values()
    except (TypeError, ValueError):
        return  # written in C: only the call itself can tell
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if any(p.default is p.empty and p.kind not in several for p in parameters):
        raise SpecificationError(text("sources.no_chunks"))


def _paths(source: object) -> list[Path] | None:
    if isinstance(source, str | Path):
        return [Path(source)]
    listed = isinstance(source, list | tuple) and source
    if listed and all(isinstance(item, str | Path) for item in source):  # type: ignore[attr-defined]  # listed
        return [Path(item) for item in source]  # type: ignore[attr-defined]  # a list or tuple
    return None
