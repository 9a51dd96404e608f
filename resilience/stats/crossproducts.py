r"""Cross-products: everything a Gaussian mixed model needs from the data.

With :math:`W = [1 | X | y]` (rows = pupils) and, for group :math:`g` of a level, :math:`Z_g` a
subset of the columns of :math:`W` restricted to the group's rows, one pass over the rows gives

.. math:: G = W'W \quad (P \times P), \qquad C_g = Z_g' W \quad (q \times P).

Both are sums over rows: they add up over chunks, files and machines.  Columns are centred and
scaled before they are multiplied, so that a prior score around one million does not cancel away;
the column of ones is always present, which makes a change of centre a linear map of the small
matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["CrossProducts", "LevelProducts"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Labels = NDArray[np.object_]

ONES = "Intercept"
_ROWS_PER_BLOCK = 200_000


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
class CrossProducts:
    """Additive cross-products of a design, picklable and independent of any table.

    Attributes
    ----------
    columns : tuple of str
        Names of the P columns; the first is the column of ones, the last the outcome.
    centre, scale : ndarray of shape (P,)
        Column k was entered as ``(w - centre[k]) / scale[k]``.
    total : ndarray of shape (P, P)
        :math:`W'W`.
    levels : tuple of LevelProducts
        From the outermost to the innermost grouping; may be empty.
    n_rows : int
        Rows with a positive weight.
    log_weights : float
        Sum of the logarithms of the positive weights.
    """

    columns: tuple[str, ...]
    centre: Floats
    scale: Floats
    total: Floats
    levels: tuple[LevelProducts, ...]
    n_rows: int
    log_weights: float = 0.0

    @classmethod
    def from_arrays(
        cls,
        X: Floats,
        y: Floats,
        *,
        columns: Sequence[str],
        groups: Sequence[tuple[str, NDArray[np.generic], Sequence[str]]] = (),
        weights: Floats | None = None,
        centre: Floats | None = None,
        scale: Floats | None = None,
    ) -> CrossProducts:
        """Make one pass over the rows.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Covariates without the column of ones.
        y : ndarray of shape (n_rows,)
            Outcome.
        columns : sequence of str
            Names of the covariates and, last, of the outcome.
        groups : sequence of (name, labels, random terms)
            From outer to inner; the labels have shape (n_rows,), the random terms are names among
            ``columns`` or ``"Intercept"``.  An inner label may repeat in several outer groups.
        weights : ndarray of shape (n_rows,), optional
            Precision weights, at least 0.
        centre, scale : ndarray of shape (n_columns + 1,), optional
            Of the covariates and the outcome; by default their means and standard deviations.
            Chunks may use different ones: `merge` moves them to a common centre.

        Returns
        -------
        CrossProducts

        Raises
        ------
        SpecificationError
            If the shapes disagree, a weight is negative, or a random term is unknown.
        """
        data = np.column_stack([X, y]).astype(float, copy=False)
        n, width = data.shape
        names = (ONES, *columns)
        if len(names) != width + 1:
            raise SpecificationError(
                text("engine.shape", what="columns", seen=len(columns), expected=width)
            )
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
        if w.shape != (n,) or (w < 0).any():
            raise SpecificationError(text("engine.weights", n=int((w < 0).sum())))
        keep = w > 0
        rows = data if keep.all() else data[keep]
        middle = _mean(rows) if centre is None else np.asarray(centre, dtype=float)
        spread = _spread(rows - middle, middle) if scale is None else np.asarray(scale, dtype=float)
        root = np.ones(n) if weights is None else np.sqrt(w)
        block = np.empty((n, width + 1))
        block[:, 0] = root
        np.subtract(data, middle, out=block[:, 1:])
        block[:, 1:] *= 1.0 / spread if weights is None else root[:, None] / spread
        levels = _level_products(block, names, groups, keep, root)
        return cls(
            columns=names,
            centre=np.concatenate([[0.0], middle]),
            scale=np.concatenate([[1.0], spread]),
            total=block.T @ block,
            levels=levels,
            n_rows=len(rows),
            log_weights=0.0 if weights is None else float(np.log(w[keep]).sum()),
        )

    def recentred(self, centre: Floats, scale: Floats) -> CrossProducts:
        """Return the same cross-products in other units: an exact linear map, no second pass.

        Parameters
        ----------
        centre, scale : ndarray of shape (P,)
            New centre and scale; those of the column of ones must be 0 and 1.
        """
        change = np.diag(self.scale / scale)
        change[0, 1:] = ((self.centre - centre) / scale)[1:]
        levels = tuple(
            replace(
                level,
                products=np.einsum(
                    "ab,jac->jbc", change[np.ix_(level.columns, level.columns)], level.products
                )
                @ change
                if 0 in level.columns or not np.any(change[0, list(level.columns)])
                else _refuse_shift(level.name),
            )
            for level in self.levels
        )
        return replace(
            self,
            centre=np.asarray(centre, dtype=float),
            scale=np.asarray(scale, dtype=float),
            total=change.T @ self.total @ change,
            levels=levels,
        )

    def merge(self, other: CrossProducts) -> CrossProducts:
        """Return the cross-products of both sets of rows together.

        Raises
        ------
        SpecificationError
            If columns, levels or random terms differ.
        """
        if self.columns != other.columns or [(v.name, v.columns) for v in self.levels] != [
            (v.name, v.columns) for v in other.levels
        ]:
            raise SpecificationError(text("engine.merge"))
        moved = other.recentred(self.centre, self.scale)
        levels: list[LevelProducts] = []
        maps = (np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        for mine, theirs in zip(self.levels, moved.levels, strict=True):
            joined, maps = _merge_level(mine, theirs, maps)
            levels.append(joined)
        return replace(
            self,
            total=self.total + moved.total,
            levels=tuple(levels),
            n_rows=self.n_rows + moved.n_rows,
            log_weights=self.log_weights + moved.log_weights,
        )

    def subset_columns(
        self, columns: Sequence[str], *, random: dict[str, Sequence[str]] | None = None
    ) -> CrossProducts:
        """Return the sub-block of another specification that uses some of the same columns.

        Parameters
        ----------
        columns : sequence of str
            Columns to keep, the outcome last; the column of ones always stays.
        random : dict of {level: sequence of str}, optional
            Random terms to keep per level; a level that is not named is dropped.  By default every
            level keeps the terms that are still among the columns.

        Raises
        ------
        SpecificationError
            If a column is unknown or a random term was not accumulated.
        """
        wanted = (ONES, *(c for c in columns if c != ONES))
        unknown = [c for c in wanted if c not in self.columns]
        if unknown:
            raise SpecificationError(
                text("engine.columns", unknown=", ".join(unknown), known=", ".join(self.columns))
            )
        at = [self.columns.index(c) for c in wanted]
        keep_all = random is None
        kept: list[LevelProducts] = []
        for level in self.levels:
            if random is not None and level.name not in random:
                continue
            have = [self.columns[c] for c in level.columns]
            terms = have if random is None else list(random[level.name])
            lost = [t for t in terms if t not in have]
            if lost and not keep_all:
                raise SpecificationError(
                    text("engine.columns", unknown=", ".join(lost), known=", ".join(have))
                )
            terms = [t for t in terms if t in wanted]
            rows = [have.index(t) for t in terms]
            kept.append(
                replace(
                    level,
                    columns=tuple(wanted.index(t) for t in terms),
                    products=level.products[:, rows][:, :, at],
                )
            )
        if len(kept) != len(self.levels):
            kept = _reparent(self.levels, kept)
        return replace(
            self,
            columns=wanted,
            centre=self.centre[at],
            scale=self.scale[at],
            total=self.total[np.ix_(at, at)],
            levels=tuple(kept),
        )


def _mean(rows: Floats) -> Floats:
    """Return column means: a matrix product, many times quicker than a sum along long columns."""
    return np.ones(len(rows)) @ rows / max(len(rows), 1)


def _spread(centred: Floats, middle: Floats) -> Floats:
    """Return standard deviations, with 1 for a constant column (found out later by name)."""
    spread = np.sqrt(np.einsum("ij,ij->j", centred, centred) / max(len(centred), 1))
    # what rounding leaves of a constant column grows with the constant
    tiny = spread <= 1e-13 * np.maximum(1.0, np.abs(middle))
    return np.where(tiny | ~np.isfinite(spread), 1.0, spread)


def _refuse_shift(level: str) -> Floats:
    raise SpecificationError(text("engine.shift", level=level))


def _level_products(
    block: Floats,
    names: tuple[str, ...],
    groups: Sequence[tuple[str, NDArray[np.generic], Sequence[str]]],
    keep: NDArray[np.bool_],
    root: Floats,
) -> tuple[LevelProducts, ...]:
    levels: list[LevelProducts] = []
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
                n_rows=np.bincount(position[keep], minlength=len(cells)).astype(np.int64),
                products=_group_sums(block, position, len(cells), at, root),
            )
        )
        outer = position
    return tuple(levels)


def _coded(values: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """Return sorted distinct values and codes; a small range of whole numbers is not sorted."""
    small = values.dtype.kind in "iu" and len(values) > 0
    if small and values.min() >= 0 and values.max() <= 4 * len(values):
        present = np.bincount(values) > 0
        return np.flatnonzero(present), (np.cumsum(present) - 1)[values]
    own, code = np.unique(values, return_inverse=True)
    return own, code.reshape(-1).astype(np.int64)


def _group_sums(
    block: Floats, position: Codes, n_groups: int, at: tuple[int, ...], root: Floats
) -> Floats:
    """Return Z'W per group: a sparse indicator times a dense block, in blocks of rows."""
    P = block.shape[1]
    products = np.zeros((n_groups, len(at), P))
    for start in range(0, len(block), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        part = block[rows]
        m = len(part)
        for k, column in enumerate(at):
            # block[:, 0] is the root of the weight, so the intercept's entry is that root itself
            entry = root[rows] if column == 0 else part[:, column]
            indicator = sparse.csr_array(
                (entry, position[rows], np.arange(m + 1)), shape=(m, n_groups)
            )
            products[:, k] += np.asarray(indicator.T @ part)
    return products


def _merge_level(
    mine: LevelProducts, theirs: LevelProducts, maps: tuple[Codes, Codes]
) -> tuple[LevelProducts, tuple[Codes, Codes]]:
    """Add two sets of groups of one level; ``maps`` leads old parents to the joint parents."""
    labels = np.concatenate([mine.labels, theirs.labels])
    own, code = np.unique(labels, return_inverse=True)
    parent = np.concatenate([maps[0][mine.parent], maps[1][theirs.parent]])
    pair = parent * np.int64(len(own)) + code.reshape(-1)
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


def _reparent(old: Sequence[LevelProducts], kept: list[LevelProducts]) -> list[LevelProducts]:
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
