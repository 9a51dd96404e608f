"""Levels of grouping inside cross-products: sums of groups, and each group's own block.

`resilience.stats.crossproducts` holds the additive object; here stand the parts of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text

__all__ = [
    "ONES",
    "SMALL",
    "GroupBlocks",
    "LevelProducts",
    "group_blocks",
    "level_products",
    "merge_level",
    "packed_places",
    "reparent",
    "sum_by",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Labels = NDArray[np.object_]

ONES = "Intercept"
SMALL = 64 * 2**20  # bytes of blocks that are kept without a second thought
_ROWS_PER_BLOCK = 200_000
_GROUPS_PER_BLOCK = 4_000


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelProducts:
    """Cross-products of one level of grouping.

    Attributes
    ----------
    name : str
        Name of the level, for instance ``"school_id"``.
    columns : tuple of int
        Positions in ``CrossProducts.columns`` of the random terms :math:`Z`; 0 is the intercept.
    labels : ndarray of shape (n_groups,), object
        The groups' own labels.  Groups are sorted by parent, then by label.
    parent : ndarray of shape (n_groups,), int
        Position of each group's parent in the next outer level; zeros at the outermost level.
    n_rows : ndarray of shape (n_groups,), int
        Rows with a positive weight.
    products : ndarray of shape (n_groups, q, P)
        :math:`Z_g'W` in centred and scaled columns.
    """

    name: str
    columns: tuple[int, ...]
    labels: Labels
    parent: Codes
    n_rows: Codes
    products: Floats

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupBlocks:
    """Each group's own cross-products at one level: what subsets and the bootstrap add up.

    Attributes
    ----------
    level : str
        Level whose groups have blocks.
    packed : ndarray of shape (n_groups, P (P + 1) / 2)
        Upper triangle of :math:`W_g'W_g`, row by row: 8 · n_groups · P (P + 1) / 2 bytes, 21 MB for
        40,000 groups and 11 columns.
    log_weights : ndarray of shape (n_groups,)
        Sum of the logarithms of the group's positive weights.
    """

    level: str
    packed: Floats
    log_weights: Floats

    @property
    def n_columns(self) -> int:
        """Number of columns P."""
        return int((np.sqrt(8 * self.packed.shape[1] + 1) - 1) / 2)

    def full(self, groups: Codes | slice = slice(None)) -> Floats:
        """Return the symmetric matrices of some groups, shape (n, P, P)."""
        return self.rows(range(self.n_columns), groups)

    def rows(self, columns: Sequence[int], groups: Codes | slice = slice(None)) -> Floats:
        """Return some rows of each group's matrix, shape (n, len(columns), P)."""
        places = packed_places(self.n_columns)[list(columns)]
        return np.asarray(self.packed[groups][:, places])

    def recentred(self, change: Floats) -> GroupBlocks:
        """Return the blocks under the linear map ``change`` of the columns."""
        packed = np.empty_like(self.packed)
        upper = np.triu_indices(self.n_columns)
        for start in range(0, len(packed), _GROUPS_PER_BLOCK):
            part = slice(start, start + _GROUPS_PER_BLOCK)
            moved = change.T @ self.full(part) @ change
            packed[part] = moved[:, upper[0], upper[1]]
        return replace(self, packed=packed)

    def of_columns(self, columns: Sequence[int]) -> GroupBlocks:
        """Return the sub-blocks of some columns, in the order given."""
        places = packed_places(self.n_columns)[np.ix_(list(columns), list(columns))]
        return replace(self, packed=self.packed[:, places[np.triu_indices(len(columns))]])

    def summed(self, level: str, position: Codes, size: int) -> GroupBlocks:
        """Return the blocks of an outer level; ``position`` is sorted and leaves out none."""
        return GroupBlocks(
            level=level,
            packed=sum_by(self.packed, position, size),
            log_weights=sum_by(self.log_weights, position, size),
        )

    def merged(self, other: GroupBlocks, maps: tuple[Codes, Codes], size: int) -> GroupBlocks:
        """Add blocks of the same level; ``maps`` leads both sets of groups to the joint ones."""
        packed = np.zeros((size, self.packed.shape[1]))
        log_weights = np.zeros(size)
        # within one set no two groups lead to the same place
        for blocks, at in zip((self, other), maps, strict=True):
            packed[at] += blocks.packed
            log_weights[at] += blocks.log_weights
        return GroupBlocks(level=self.level, packed=packed, log_weights=log_weights)


def packed_places(n_columns: int) -> Codes:
    """Return where each entry of a symmetric matrix stands in its packed upper triangle."""
    places = np.zeros((n_columns, n_columns), dtype=np.int64)
    upper = np.triu_indices(n_columns)
    places[upper] = np.arange(len(upper[0]))
    return np.maximum(places, places.T)


def sum_by(values: Floats, position: Codes, size: int) -> Floats:
    """Sum rows by a sorted position; every position from 0 to size − 1 occurs."""
    starts = np.searchsorted(position, np.arange(size))
    return np.asarray(np.add.reduceat(values, starts, axis=0))


def level_products(
    block: Floats,
    names: tuple[str, ...],
    groups: Sequence[tuple[str, NDArray[np.generic], Sequence[str]]],
    weights: Floats | None,
    keep: str | None,
) -> tuple[tuple[LevelProducts, ...], GroupBlocks | None]:
    """Return every level's sums and, where asked for, the blocks of one level.

    Parameters
    ----------
    block : ndarray of shape (n_rows, P)
        Centred and scaled columns, rows times the root of their weight.
    names : tuple of str
        Names of the columns.
    groups : sequence of (name, labels, random terms)
        From outer to inner.
    weights : ndarray of shape (n_rows,), optional
        Precision weights.
    keep : str, optional
        As in ``CrossProducts.from_arrays``.

    Raises
    ------
    SpecificationError
        If a random term or the level to keep is unknown, or labels are not one per row.
    """
    levels: list[LevelProducts] = []
    positions: list[Codes] = []
    used = np.ones(len(block), dtype=bool) if weights is None else weights > 0
    outer = np.zeros(len(block), dtype=np.int64)
    for name, labels, terms in groups:
        unknown = [t for t in terms if t not in names]
        if unknown:
            raise SpecificationError(
                text("engine.columns", unknown=", ".join(unknown), known=", ".join(names))
            )
        if len(labels) != len(block):
            raise SpecificationError(
                text("engine.shape", what=name, seen=len(labels), expected=len(block))
            )
        own, code = _coded(np.asarray(labels))
        cells, position = _coded(outer * np.int64(len(own)) + code)
        at = tuple(names.index(t) for t in terms)
        levels.append(
            LevelProducts(
                name=name,
                columns=at,
                labels=own[cells % len(own)].astype(object),
                parent=(cells // len(own)).astype(np.int64),
                n_rows=np.bincount(position[used], minlength=len(cells)).astype(np.int64),
                products=_group_sums(block, position, len(cells), at),
            )
        )
        positions.append(position)
        outer = position
    kept = _kept_level(keep, levels, block.shape[1])
    if kept is None:
        return tuple(levels), None
    own_level = levels[kept]
    blocks = group_blocks(own_level.name, block, positions[kept], own_level.n_groups, weights)
    return tuple(levels), blocks


def _kept_level(keep: str | None, levels: Sequence[LevelProducts], n_columns: int) -> int | None:
    """Return which level's groups keep their own cross-products."""
    names = [level.name for level in levels]
    if keep is None:
        return None
    if keep in names:
        return names.index(keep)
    if keep == "groups" and names:
        return len(names) - 1
    if keep == "small":
        bytes_each = 4 * n_columns * (n_columns + 1)
        fits = [k for k, v in enumerate(levels) if v.n_groups * bytes_each <= SMALL]
        return fits[-1] if fits else None
    raise SpecificationError(text("products.keep", keep=repr(keep), levels=", ".join(names) or "—"))


def group_blocks(
    name: str, block: Floats, position: Codes, n_groups: int, weights: Floats | None
) -> GroupBlocks:
    """Return each group's own cross-products: its rows are gathered, then multiplied."""
    n, P = block.shape
    # the columns of a sparse indicator list their rows: a sort by counting
    indicator = sparse.csr_array(
        (np.ones(n, dtype=np.int8), position, np.arange(n + 1)), shape=(n, n_groups)
    ).tocsc()
    order, starts = indicator.indices, indicator.indptr
    upper = np.triu_indices(P)
    packed = np.empty((n_groups, len(upper[0])))
    for first in range(0, n_groups, _GROUPS_PER_BLOCK):
        last = min(first + _GROUPS_PER_BLOCK, n_groups)
        rows = block[order[starts[first] : starts[last]]]
        bounds = (starts[first : last + 1] - starts[first]).tolist()
        full = np.empty((last - first, P, P))
        for k in range(last - first):
            own = rows[bounds[k] : bounds[k + 1]]
            np.dot(own.T, own, out=full[k])
        packed[first:last] = full[:, upper[0], upper[1]]
    logs = np.zeros(n_groups)
    if weights is not None:
        used = weights > 0
        logs[:] = np.bincount(position[used], np.log(weights[used]), minlength=n_groups)
    return GroupBlocks(level=name, packed=packed, log_weights=logs)


def _coded(values: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """Return sorted distinct values and codes; a small range of whole numbers is not sorted."""
    small = values.dtype.kind in "iu" and len(values) > 0
    if small and values.min() >= 0 and values.max() <= 4 * len(values):
        present = np.bincount(values) > 0
        return np.flatnonzero(present), (np.cumsum(present) - 1)[values]
    own, code = np.unique(values, return_inverse=True)
    return own, code.reshape(-1).astype(np.int64)


def _group_sums(block: Floats, position: Codes, n_groups: int, at: tuple[int, ...]) -> Floats:
    """Return Z'W per group: a sparse indicator times a dense block, in blocks of rows."""
    P = block.shape[1]
    products = np.zeros((n_groups, len(at), P))
    for start in range(0, len(block), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        part = block[rows]
        m = len(part)
        for k, column in enumerate(at):
            # the column of ones bears the root of the weight, like all others
            indicator = sparse.csr_array(
                (part[:, column], position[rows], np.arange(m + 1)), shape=(m, n_groups)
            )
            products[:, k] += np.asarray(indicator.T @ part)
    return products


def _ordered(labels: Labels, level: str) -> tuple[Labels, Codes]:
    """Return the distinct labels in order and each one's place among them.

    Raises
    ------
    DataError
        If they are of several kinds: the same unit may stand under a number and under text.
    """
    try:
        own, code = np.unique(labels, return_inverse=True)
    except TypeError as error:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise DataError(text("sources.mixed_labels", level=repr(level), kinds=kinds)) from error
    return own, np.asarray(code.reshape(-1), dtype=np.int64)


def merge_level(
    mine: LevelProducts, theirs: LevelProducts, maps: tuple[Codes, Codes]
) -> tuple[LevelProducts, tuple[Codes, Codes]]:
    """Add two sets of groups of one level; ``maps`` leads old parents to the joint parents."""
    labels = np.concatenate([mine.labels, theirs.labels])
    own, code = _ordered(labels, mine.name)
    parent = np.concatenate([maps[0][mine.parent], maps[1][theirs.parent]])
    pair = parent * np.int64(len(own)) + code
    cells, position = np.unique(pair, return_inverse=True)
    position = position.reshape(-1).astype(np.int64)
    products = np.zeros((len(cells), *mine.products.shape[1:]))
    np.add.at(products, position[: mine.n_groups], mine.products)
    np.add.at(products, position[mine.n_groups :], theirs.products)
    n_rows = np.bincount(
        position, weights=np.concatenate([mine.n_rows, theirs.n_rows]), minlength=len(cells)
    ).astype(np.int64)
    joined = LevelProducts(
        name=mine.name,
        columns=mine.columns,
        labels=own[cells % len(own)],
        parent=(cells // len(own)).astype(np.int64),
        n_rows=n_rows,
        products=products,
    )
    return joined, (position[: mine.n_groups], position[mine.n_groups :])


def reparent(old: Sequence[LevelProducts], kept: list[LevelProducts]) -> list[LevelProducts]:
    """Let the levels that stay point to the nearest outer level that stays."""
    names = [level.name for level in kept]
    fixed: list[LevelProducts] = []
    for level in kept:
        at = next(i for i, candidate in enumerate(old) if candidate.name == level.name)
        parent = level.parent
        above = at - 1
        while above >= 0 and old[above].name not in names:
            parent = old[above].parent[parent]
            above -= 1
        if above < 0:
            parent = np.zeros(level.n_groups, dtype=np.int64)
        fixed.append(replace(level, parent=parent))
    return fixed
