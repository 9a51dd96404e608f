"""Labels of groups as whole numbers that stay the same from chunk to chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.crossproducts import LevelProducts
from resilience.stats.products.accumulator_cells import Pairs

__all__ = ["CellTable", "LabelCoder", "fingerprints"]

Codes = NDArray[np.int64]


class LabelCoder:
    """Numbers labels in the order in which they are met.

    Only a chunk's distinct labels are looked up one by one; categories whose dictionary is that of
    the chunk before are not looked up at all.

    Attributes
    ----------
    labels : list
        Label of each code, as the plain Python value.
    """

    def __init__(self, labels: Sequence[Any] = ()) -> None:
        self.labels: list[Any] = list(labels)
        self._code: dict[Any, int] = {label: k for k, label in enumerate(self.labels)}
        self._seen: tuple[pd.Index, Codes] | None = None

    def __getstate__(self) -> list[Any]:
        """Return the labels alone."""
        return self.labels

    def __setstate__(self, labels: list[Any]) -> None:
        """Take labels back and number them."""
        self.__init__(labels)  # type: ignore[misc]  # a fresh coder with the same labels

    def codes(self, values: pd.Series, *, grow: bool = True) -> Codes:
        """Return the code of each row, -1 for a gap and, unless ``grow``, for a new label."""
        if isinstance(values.dtype, pd.CategoricalDtype):
            local = values.cat.codes.to_numpy()
            return self._lookup(values.cat.categories, grow)[local]
        local, unique = pd.factorize(values)
        return self._lookup(pd.Index(unique), grow)[local]

    def _lookup(self, unique: pd.Index, grow: bool) -> Codes:
        """Return the codes of distinct labels; a last -1 stands for a gap."""
        if self._seen is not None and (unique is self._seen[0] or unique.equals(self._seen[0])):
            return self._seen[1]
        code, labels = self._code, self.labels
        found = np.full(len(unique) + 1, -1, dtype=np.int64)
        known = 0
        if self._seen is not None and len(unique) > len(self._seen[0]):
            # readers of Parquet lengthen one dictionary: only its end is new
            before = self._seen[0]
            if unique[: len(before)].equals(before):
                known = len(before)
                found[:known] = self._seen[1][:known]
        for k, label in enumerate(unique[known:].tolist(), start=known):
            at = code.get(label, -1)
            if at < 0 and grow:
                at = code[label] = len(labels)
                labels.append(label)
            found[k] = at
        self._seen = (unique, found)
        return found


class CellTable:
    """Values of cells of one or more key columns, such as schools and years, looked up by row.

    Parameters
    ----------
    levels : sequence of LevelProducts
        The keys from outer to inner; cells are the groups of the last one.
    """

    def __init__(self, levels: Sequence[LevelProducts]) -> None:
        self.coders: list[LabelCoder] = []
        self._pairs: list[Pairs] = []
        position: Codes = np.zeros(1, dtype=np.int64)
        for level in levels:
            coder = LabelCoder(list(dict.fromkeys(level.labels)))
            code = coder.codes(pd.Series(level.labels, dtype=object), grow=False)
            pairs = Pairs()
            position = pairs.positions(position[level.parent], code)
            self.coders.append(coder)
            self._pairs.append(pairs)
        self._group = np.empty(len(position), dtype=np.int64)
        self._group[position] = np.arange(len(position))

    def cells(self, columns: Sequence[pd.Series]) -> Codes:
        """Return the cell of each row, in the order of the last level; -1 for an unknown one.

        With an unknown one among them the others are only marked as known.
        """
        codes = [c.codes(v, grow=False) for c, v in zip(self.coders, columns, strict=True)]
        known = np.all([code >= 0 for code in codes], axis=0)
        position: Codes = np.zeros(int(known.sum()), dtype=np.int64)
        for pairs, code in zip(self._pairs, codes, strict=True):
            n = pairs.n
            position = pairs.positions(position, code[known])
            new = position >= n
            if new.any():
                known[np.flatnonzero(known)[new]] = False
                return np.where(known, 0, -1)
        found = np.full(len(known), -1, dtype=np.int64)
        found[known] = self._group[position]
        return found


def fingerprints(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.uint64]:
    """Return 64 bits per row that are equal where the columns are, whatever type holds them."""
    found: dict[str, pd.Series] = {}
    for name in columns:
        values = frame[name]
        kind: Any = values.dtype
        if pd.api.types.is_numeric_dtype(kind) and not isinstance(kind, pd.CategoricalDtype):
            number = values.to_numpy(dtype=float, na_value=np.nan)
            whole = kind.kind in "iub" or bool((number == np.floor(number)).all())
            values = values.astype("int64") if whole else values.astype(float)
        found[name] = values
    table = pd.DataFrame(found, index=frame.index)
    hashed = pd.util.hash_pandas_object(table, index=False)
    return np.asarray(hashed.to_numpy(), dtype=np.uint64)
