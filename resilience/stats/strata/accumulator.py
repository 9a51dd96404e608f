"""Cross-products of rows that arrive in chunks, with groups that grow as they are met.

Only the cells of the innermost level are summed, with the random terms of all levels; what an outer
level needs is the sum over its cells, formed once at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts, GroupBlocks, LevelProducts
from resilience.stats.products.accumulator_cells import Pairs, grown

__all__ = ["Accumulator", "common_units", "merge_products", "sorted_labels"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Labels = NDArray[np.object_]

_PIECE = 8192  # rows


class Accumulator:
    """Running cross-products; memory grows with the groups, not with the rows.

    Parameters
    ----------
    columns : sequence of str
        Names of the covariates and, last, of the outcome.
    levels : sequence of (name, random terms)
        Nested levels from outer to inner; terms among ``columns`` or ``"Intercept"``.
    centre, scale : ndarray of shape (n_columns,)
        Every chunk enters in these units; values near the data's own keep the digits.
    keep : str, optional
        Level whose groups keep their own cross-products; ``"groups"`` is the innermost one.

    Raises
    ------
    SpecificationError
        If a random term or the level to keep is unknown.
    """

    def __init__(
        self,
        columns: Sequence[str],
        levels: Sequence[tuple[str, Sequence[str]]],
        *,
        centre: Floats,
        scale: Floats,
        keep: str | None = None,
    ) -> None:
        self.columns = (ONES, *columns)
        self.centre = np.concatenate([[0.0], centre])
        self.scale = np.concatenate([[1.0], scale])
        unknown = [t for _, terms in levels for t in terms if t not in self.columns]
        if unknown:
            raise SpecificationError(
                text("engine.columns", unknown=", ".join(unknown), known=", ".join(self.columns))
            )
        self.levels = tuple(
            (name, tuple(self.columns.index(t) for t in terms)) for name, terms in levels
        )
        names = [name for name, _ in self.levels]
        if keep is not None and keep not in ("groups", *names):
            raise SpecificationError(
                text("products.keep", keep=repr(keep), levels=", ".join(names) or "—")
            )
        self.keep = names[-1] if keep == "groups" and names else keep
        wanted = {0, *(c for _, at in self.levels for c in at)}
        # a group's own cross-products are its sums with every column as a random term
        self._terms = tuple(sorted(wanted if keep is None else range(len(self.columns))))
        self._pairs = tuple(Pairs() for _ in self.levels)
        P = len(self.columns)
        self.total = np.zeros((P, P))
        self._sums = np.zeros((0, len(self._terms), P))
        self._sizes = np.zeros(0, dtype=np.int64)
        self._logs = np.zeros(0)
        self._first: list[list[int]] = [[] for _ in self.levels]
        self.n_rows = 0
        self.log_weights = 0.0
        self._room = np.zeros((0, P))

    def add(
        self, data: Sequence[Floats], codes: Sequence[Codes] = (), weights: Floats | None = None
    ) -> None:
        """Add a chunk.

        Parameters
        ----------
        data : sequence of ndarray of shape (n_rows,)
            Covariates and outcome in raw units, column by column.
        codes : sequence of ndarray of shape (n_rows,)
            Per level a whole number for each label, the same in every chunk; the numbers run from
            0 in the order in which labels are met, so that tables stay small.
        weights : ndarray of shape (n_rows,), optional
            Precision weights, at least 0.

        Raises
        ------
        SpecificationError
            If a shape disagrees or a weight is negative.
        """
        n, P = len(data[-1]), len(self.columns)
        if len(data) != P - 1 or len(codes) != len(self.levels):
            raise SpecificationError(
                text("engine.shape", what="columns", seen=len(data), expected=P - 1)
            )
        if n > len(self._room):
            self._room = np.empty((n, P))
        block = self._room[:n]
        self._fill(block, data)
        counted, logs = None, None
        if weights is not None:
            if (weights < 0).any() or len(weights) != n:
                raise SpecificationError(text("engine.weights", n=int((weights < 0).sum())))
            block *= np.sqrt(weights)[:, None]
            counted = weights > 0
            logs = np.log(weights, where=counted, out=np.zeros(n))
            self.log_weights += float(logs.sum())
        self.total += block.T @ block
        self.n_rows += n if counted is None else int(counted.sum())
        self._add_cells(block, codes, counted, logs)

    def _fill(self, block: Floats, data: Sequence[Floats]) -> None:
        """Write the columns in working units as rows, in pieces that stay in the cache."""
        rate = 1.0 / self.scale
        piece = np.ones((len(self.columns), min(len(block), _PIECE)))
        for start in range(0, len(block), _PIECE):
            rows = block[start : start + _PIECE]
            part = piece[:, : len(rows)]
            for k, values in enumerate(data, start=1):
                np.subtract(values[start : start + _PIECE], self.centre[k], out=part[k])
                part[k] *= rate[k]
            rows[...] = part.T

    def _add_cells(
        self,
        block: Floats,
        codes: Sequence[Codes],
        counted: NDArray[np.bool_] | None,
        logs: Floats | None,
    ) -> None:
        if not self.levels:
            return
        position: Codes = np.zeros(len(block), dtype=np.int64)
        for pairs, code, first in zip(self._pairs, codes, self._first, strict=True):
            position = pairs.positions(position, code)
            first.append(pairs.n)
        n_cells = self._pairs[-1].n
        if n_cells > len(self._sums):
            room = max(n_cells, min(2 * len(self._sums), n_cells + n_cells // 4))
            self._sums = grown(self._sums, room)
            self._sizes = grown(self._sizes, room)
            self._logs = grown(self._logs, room)
        here = slice(0, n_cells)
        rows = np.arange(len(block) + 1)
        for k, column in enumerate(self._terms):
            entry = block[:, column]
            indicator = sparse.csr_array(
                (np.ascontiguousarray(entry), position, rows), shape=(len(block), n_cells)
            )
            self._sums[here, k] += np.asarray(indicator.T @ block)
        seen = position if counted is None else position[counted]
        self._sizes[here] += np.bincount(seen, minlength=n_cells)
        if logs is not None and self.keep is not None:
            self._logs[here] += np.bincount(position, weights=logs, minlength=n_cells)

    def first_chunk(self, level: int, cell: int) -> int:
        """Return the number of the chunk, from 0, in which a cell of a level was first met."""
        return int(np.searchsorted(self._first[level], cell, side="right"))

    def cells(self, level: int) -> tuple[Codes, Codes]:
        """Return parent cell and label code of each cell of a level, in order of appearance."""
        return self._pairs[level].parents, self._pairs[level].codes

    def finish(self, labels: Sequence[Sequence[Any]] = ()) -> CrossProducts:
        """Return the cross-products in the order of `CrossProducts.from_arrays`.

        Parameters
        ----------
        labels : sequence of sequences
            Per level the label of each code.

        Returns
        -------
        CrossProducts
            In the accumulator's own units; see `common_units`.
        """
        levels: list[LevelProducts] = []
        blocks: GroupBlocks | None = None
        place: Codes = np.zeros(1, dtype=np.int64)
        for k, (name, at) in enumerate(self.levels):
            own, rank = sorted_labels(labels[k], name)
            pairs, (sums, sizes, logs) = self._pairs[k], self._up_to(k)
            parent = place[pairs.parents]
            code = rank[pairs.codes]
            order = np.lexsort((code, parent))
            rows = [self._terms.index(c) for c in at]
            levels.append(
                LevelProducts(
                    name=name,
                    columns=at,
                    labels=own[code[order]],
                    parent=parent[order],
                    n_rows=sizes[order],
                    products=np.ascontiguousarray(sums[order][:, rows]),
                )
            )
            if name == self.keep:
                upper = np.triu_indices(len(self.columns))
                packed = np.ascontiguousarray(sums[order][:, upper[0], upper[1]])
                blocks = GroupBlocks(level=name, packed=packed, log_weights=logs[order])
            place = np.empty_like(order)
            place[order] = np.arange(len(order))
        return CrossProducts(
            columns=self.columns,
            centre=self.centre,
            scale=self.scale,
            total=self.total,
            levels=tuple(levels),
            n_rows=self.n_rows,
            log_weights=self.log_weights,
            blocks=blocks,
        )

    def _up_to(self, level: int) -> tuple[Floats, Codes, Floats]:
        """Return sums, rows and logarithms of weights of a level's cells."""
        n = self._pairs[-1].n
        sums, sizes, logs = self._sums[:n], self._sizes[:n], self._logs[:n]
        for k in range(len(self.levels) - 1, level, -1):
            parent, n_outer = self._pairs[k].parents, self._pairs[k - 1].n
            sums = _summed(sums, parent, n_outer)
            sizes = np.bincount(parent, weights=sizes, minlength=n_outer).astype(np.int64)
            logs = np.bincount(parent, weights=logs, minlength=n_outer).astype(np.float64)
        return sums, sizes, logs


def merge_products(parts: Sequence[CrossProducts]) -> CrossProducts:
    """Return the sum of many cross-products; labels are matched once for all of them.

    Raises
    ------
    SpecificationError
        If they differ in columns, levels or random terms.
    """
    first = parts[0]
    if len(parts) < 3 or first.blocks is not None:
        for other in parts[1:]:
            first = first.merge(other)
        return first
    form = (first.columns, [(v.name, v.columns) for v in first.levels], None)
    if any((p.columns, [(v.name, v.columns) for v in p.levels], p.blocks) != form for p in parts):
        raise SpecificationError(text("engine.merge"))
    moved = [part.recentred(first.centre, first.scale) for part in parts]
    maps: list[Codes] = [np.zeros(1, dtype=np.int64)] * len(moved)
    levels: list[LevelProducts] = []
    for k, level in enumerate(first.levels):
        joined, maps = _merged_level(level, [part.levels[k] for part in moved], maps)
        levels.append(joined)
    return replace(
        first,
        total=np.sum([part.total for part in moved], axis=0),
        levels=tuple(levels),
        n_rows=sum(part.n_rows for part in moved),
        log_weights=float(sum(part.log_weights for part in moved)),
    )


def _merged_level(
    form: LevelProducts, parts: Sequence[LevelProducts], maps: Sequence[Codes]
) -> tuple[LevelProducts, list[Codes]]:
    code: dict[Any, int] = {}
    for part in parts:
        for label in part.labels:
            code.setdefault(label, len(code))
    own, rank = sorted_labels(list(code), form.name)
    # one key per group: its joint parent, then its label in order
    keys = [
        m[part.parent] * np.int64(len(own))
        + rank[np.fromiter((code[v] for v in part.labels), dtype=np.int64, count=part.n_groups)]
        for part, m in zip(parts, maps, strict=True)
    ]
    cells, position = np.unique(np.concatenate(keys), return_inverse=True)
    position = position.reshape(-1).astype(np.int64)
    n_rows = np.concatenate([part.n_rows for part in parts])
    joined = replace(
        form,
        labels=own[cells % max(len(own), 1)],
        parent=(cells // max(len(own), 1)).astype(np.int64),
        n_rows=np.bincount(position, weights=n_rows, minlength=len(cells)).astype(np.int64),
        products=_summed(np.concatenate([part.products for part in parts]), position, len(cells)),
    )
    ends = np.cumsum([part.n_groups for part in parts])[:-1]
    return joined, list(np.split(position, ends))


def common_units(cross: CrossProducts) -> CrossProducts:
    """Return cross-products in the means and standard deviations of their own rows.

    Columns that are random terms of a level without an intercept keep their units.
    """
    weight = cross.total[0, 0]
    if not weight > 0:
        return cross
    shift = cross.total[0] / weight
    variance = np.maximum(np.diag(cross.total) / weight - shift**2, 0.0)
    centre = cross.centre + cross.scale * shift
    spread = cross.scale * np.sqrt(variance)
    flat = spread <= 1e-13 * np.maximum(1.0, np.abs(centre))
    scale = np.where(flat, 1.0, spread)
    fixed = [0, *(c for v in cross.levels if 0 not in v.columns for c in v.columns)]
    centre[fixed], scale[fixed] = cross.centre[fixed], cross.scale[fixed]
    return cross.recentred(centre, scale)


def sorted_labels(labels: Sequence[Any], level: str) -> tuple[Labels, Codes]:
    """Return labels in order and the rank of each code.

    Raises
    ------
    SpecificationError
        If labels of different kinds have no order.
    """
    own = np.empty(len(labels), dtype=object)
    own[:] = list(labels)
    try:
        order = np.asarray(sorted(range(len(own)), key=own.__getitem__), dtype=np.int64)
    except TypeError as error:
        kinds = sorted({type(v).__name__ for v in own})
        raise SpecificationError(
            text("sources.mixed_labels", level=repr(level), kinds=", ".join(kinds))
        ) from error
    rank = np.empty(len(own), dtype=np.int64)
    rank[order] = np.arange(len(own))
    return own[order], rank


def _summed(values: Floats, parent: Codes, n: int) -> Floats:
    """Return sums over the children of each of ``n`` parents."""
    m = len(values)
    flat = values.reshape(m, int(np.prod(values.shape[1:])))
    indicator = sparse.csr_array((np.ones(m), parent, np.arange(m + 1)), shape=(m, n))
    return np.asarray(indicator.T @ flat).reshape(n, *values.shape[1:])
