"""Arrow tables as chunks: numbers without a copy, text as categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from resilience.data.batches.chunk import Chunk, Place
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["Dictionaries", "arrow_chunk", "check_arrow", "is_text"]


def check_arrow() -> None:
    """Raise a `SpecificationError` that names the extra if pyarrow is absent."""
    try:
        import pyarrow  # noqa: F401  # only its presence is asked
    except ImportError as error:
        raise SpecificationError(text("sources.no_arrow")) from error


class Dictionaries:
    """One growing dictionary per column of text, so that chunks share their categories."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._dtypes: dict[str, pd.CategoricalDtype] = {}
        self._last: dict[str, tuple[Any, Any]] = {}

    def categories(self, name: str, column: Any) -> pd.Categorical:
        """Return a dictionary array as categories, -1 for a gap."""
        import pyarrow as pa
        import pyarrow.compute as pc

        dictionary = column.dictionary
        before = self._last.get(name)
        if before is not None and (before[0] is dictionary or before[0].equals(dictionary)):
            places = before[1]
        else:
            known = self._values.get(name, dictionary.slice(0, 0))
            places = pc.index_in(dictionary, value_set=known)
            if places.null_count:
                new = dictionary.filter(pc.is_null(places)).unique().drop_null()
                known = pa.concat_arrays([known, new])
                places = pc.index_in(dictionary, value_set=known)
            if name not in self._dtypes or known is not self._values.get(name):
                self._values[name] = known
                self._dtypes[name] = pd.CategoricalDtype(pd.Index(known.to_pandas()))
            self._last[name] = (dictionary, places)
        codes = places.take(column.indices).fill_null(-1)
        return pd.Categorical.from_codes(
            codes.to_numpy(zero_copy_only=False), dtype=self._dtypes[name], validate=False
        )


def arrow_chunk(
    values: Any,
    columns: Sequence[str],
    place: Place,
    *,
    declared: Sequence[str] = (),
    dictionaries: Dictionaries | None = None,
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
    dictionaries : Dictionaries, optional
        Of the chunks before.
    """
    import pyarrow as pa

    table = pa.Table.from_batches([values]) if isinstance(values, pa.RecordBatch) else values
    table = table.select([c for c in columns if c in table.column_names])
    shared = Dictionaries() if dictionaries is None else dictionaries
    chosen = set(declared)
    texts: dict[str, pd.Categorical] = {}
    for at, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_decimal(kind):
            table = table.set_column(at, column.name, table.column(at).cast(pa.float64()))
        elif is_text(kind) or (pa.types.is_dictionary(kind) and is_text(kind.value_type)):
            if column.name in chosen or getattr(kind, "ordered", False):
                chosen.add(column.name)
                if pa.types.is_dictionary(kind):  # pandas takes signed codes only
                    signed = pa.dictionary(pa.int32(), kind.value_type, ordered=kind.ordered)
                    table = table.set_column(at, column.name, table.column(at).cast(signed))
                continue
            texts[column.name] = shared.categories(column.name, _one(table.column(at)))
    numbers = table.drop_columns(list(texts)) if texts else table
    frame = numbers.to_pandas(split_blocks=True, ignore_metadata=True)
    if texts:
        index = pd.RangeIndex(table.num_rows)
        joined = {c: texts[c] if c in texts else frame[c] for c in table.column_names}
        frame = pd.DataFrame(joined, index=index, copy=False)
    return Chunk(frame=frame, place=place, declared=frozenset(chosen))


def _one(column: Any) -> Any:
    """Return a column of text as one dictionary array."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.unify_dictionaries().combine_chunks()
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined


def is_text(kind: Any) -> bool:
    """Return whether an Arrow type is text."""
    import pyarrow as pa

    view = getattr(pa.types, "is_string_view", None)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (view is not None and view(kind))
    )
