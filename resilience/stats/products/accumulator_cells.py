"""Cells of nested levels, numbered as they are met."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "grown"]

Codes = NDArray[np.int64]

_TABLE_CELLS = 1 << 22  # pairs kept in a dense table (32 MB), beyond that by first parent


def grown(values: NDArray[Any], n: int) -> NDArray[Any]:
    """Return the values with zeros behind them, ``n`` rows in all."""
    wider = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
    wider[: len(values)] = values
    return wider


class Pairs:
    """Cells of (outer cell, label code), numbered in order of appearance.

    A small grid of pairs is a table; in a large one a label's first parent is remembered, which in
    nested data is its only one, and further parents stand in sorted keys.
    """

    def __init__(self) -> None:
        self._parents = np.zeros(0, dtype=np.int64)
        self._codes = np.zeros(0, dtype=np.int64)
        self.n = 0
        self._table = np.full((0, 0), -1, dtype=np.int64)
        self._cell = np.zeros(0, dtype=np.int64)
        self._keys = np.zeros(0, dtype=np.int64)
        self._key_cells = np.zeros(0, dtype=np.int64)
        self._dense = True

    @property
    def parents(self) -> Codes:
        """Outer cell of each cell."""
        return self._parents[: self.n]

    @property
    def codes(self) -> Codes:
        """Label code of each cell."""
        return self._codes[: self.n]

    def positions(self, outer: Codes, code: Codes) -> Codes:
        """Return the cell of each row, numbering new cells."""
        if len(outer) == 0:
            return outer
        n_outer, n_codes = int(outer.max()) + 1, int(code.max()) + 1
        if self._dense:
            rows = max(n_outer, self._table.shape[0])
            columns = max(n_codes, self._table.shape[1])
            if rows * columns <= _TABLE_CELLS:
                return self._from_table(outer, code, rows, columns)
            self._leave_table()
        return self._from_first(outer, code, n_codes)

    def _from_table(self, outer: Codes, code: Codes, rows: int, columns: int) -> Codes:
        old = self._table.shape
        if (rows, columns) != old:
            room = (rows, min(columns + columns // 4, max(columns, _TABLE_CELLS // max(rows, 1))))
            table = np.full(room, -1, dtype=np.int64)
            table[: old[0], : old[1]] = self._table
            self._table = table
        flat = self._table.reshape(-1)
        key = outer * self._table.shape[1] + code
        found = flat[key]
        new = found < 0
        if new.any():
            fresh = np.unique(key[new])
            flat[fresh] = self._number(*np.divmod(fresh, self._table.shape[1]))
            found = flat[key]
        return np.asarray(found)

    def _leave_table(self) -> None:
        """Move the cells of the table to first parents and keys."""
        self._dense = False
        parents, codes = self.parents, self.codes
        self._table = np.full((0, 0), -1, dtype=np.int64)
        width = int(codes.max()) + 1 if self.n else 0
        self._cell = np.full(width, -1, dtype=np.int64)
        own, first = np.unique(codes, return_index=True)
        self._cell[own] = first
        rest = np.setdiff1d(np.arange(self.n), first)
        self._insert(pair_key(parents[rest], codes[rest]), rest)

    def _from_first(self, outer: Codes, code: Codes, n_codes: int) -> Codes:
        if n_codes > len(self._cell):
            wider = np.full(n_codes + n_codes // 4, -1, dtype=np.int64)
            wider[: len(self._cell)] = self._cell
            self._cell = wider
        found = self._cell[code]
        new = found < 0
        if new.any():
            own, at = np.unique(code[new], return_index=True)
            self._cell[own] = self._number(outer[new][at], own)
            found = self._cell[code]
        other = self._parents[found] != outer
        if other.any():
            found[other] = self._from_keys(outer[other], code[other])
        return found

    def _from_keys(self, outer: Codes, code: Codes) -> Codes:
        key, position = np.unique(pair_key(outer, code), return_inverse=True)
        at = np.minimum(np.searchsorted(self._keys, key), max(len(self._keys) - 1, 0))
        new = np.ones(len(key), dtype=bool) if not len(self._keys) else self._keys[at] != key
        fresh = key[new]
        if len(fresh):
            self._insert(fresh, self._number(fresh >> 32, fresh & 0xFFFFFFFF))
        return self._key_cells[np.searchsorted(self._keys, key)][position.reshape(-1)]

    def _insert(self, keys: Codes, cells: Codes) -> None:
        keys, cells = np.concatenate([self._keys, keys]), np.concatenate([self._key_cells, cells])
        order = np.argsort(keys, kind="stable")
        self._keys, self._key_cells = keys[order], cells[order]

    def _number(self, parents: Codes, codes: Codes) -> Codes:
        """Give the next numbers to new cells."""
        cells = np.arange(self.n, self.n + len(parents))
        if self.n + len(parents) > len(self._parents):
            room = max(self.n + len(parents), 2 * self.n)
            self._parents = grown(self._parents, room)
            self._codes = grown(self._codes, room)
        self._parents[cells], self._codes[cells] = parents, codes
        self.n += len(parents)
        return cells


def pair_key(outer: Codes, code: Codes) -> Codes:
    return (outer << 32) | code
