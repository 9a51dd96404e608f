"""Arrow tables as chunks: numbers without a copy, text as categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resilience.data.batches import Chunk, Place
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["arrow_chunk", "check_arrow"]


def check_arrow() -> None:
    """Raise a `SpecificationError` that names the extra if pyarrow is absent."""
    try:
        import pyarrow  # noqa: F401  # only its presence is asked
    except ImportError as error:
        raise SpecificationError(text("sources.no_arrow")) from error


def arrow_chunk(
    values: Any, columns: Sequence[str], place: Place, *, declared: Sequence[str] = ()
) -> Chunk:
    """Return a chunk from a pyarrow Table or RecordBatch.

    Parameters
    ----------
    values : pyarrow.Table or pyarrow.RecordBatch
        The rows.
    columns : sequence of str
        Columns to keep, where the table has them.
    place : Place
        Where the rows stand.
    declared : sequence of str
        Columns whose order of categories somebody chose; an ordered dictionary counts too.
    """
    import pyarrow as pa

    table = pa.Table.from_batches([values]) if isinstance(values, pa.RecordBatch) else values
    table = table.select([c for c in columns if c in table.column_names])
    chosen = set(declared)
    for at, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_decimal(kind):
            table = table.set_column(at, column.name, table.column(at).cast(pa.float64()))
        elif _is_text(kind):
            table = table.set_column(at, column.name, table.column(at).dictionary_encode())
        elif pa.types.is_dictionary(kind):
            if kind.ordered:
                chosen.add(column.name)
            if table.column(at).num_chunks > 1:
                joined = table.column(at).unify_dictionaries()
                table = table.set_column(at, column.name, joined)
    frame = table.to_pandas(split_blocks=True, ignore_metadata=True)
    return Chunk(frame=frame, place=place, declared=frozenset(chosen))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    view = getattr(pa.types, "is_string_view", None)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (view is not None and view(kind))
    )
