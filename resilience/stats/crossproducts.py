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

import numpy as np
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.products.product_levels import (
    ONES,
    GroupBlocks,
    LevelProducts,
    level_products,
    merge_level,
    reparent,
)
from resilience.stats.products.product_subsets import chosen_groups, outer_blocks, subset_groups
from resilience.validation import check_instance

__all__ = ["ONES", "CrossProducts", "GroupBlocks", "LevelProducts"]

Floats = NDArray[np.float64]


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
    blocks : GroupBlocks or None
        Each group's own cross-products at one level, where they were kept.
    """

    columns: tuple[str, ...]
    centre: Floats
    scale: Floats
    total: Floats
    levels: tuple[LevelProducts, ...]
    n_rows: int
    log_weights: float = 0.0
    blocks: GroupBlocks | None = None

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of groups per level, from the outermost to the innermost."""
        return {level.name: level.n_groups for level in self.levels}

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
        keep: str | None = None,
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
        keep : str, optional
            ``"groups"``: keep every group's own cross-products at the innermost level; the name of
            a level; or ``"small"``: the innermost level whose blocks take at most 64 MB, if any.
            Blocks allow `subset_groups` and cost n_groups · P (P + 1) / 2 doubles, 21 MB for 40,000
            groups and 11 columns, and about as much time again as the pass.

        Returns
        -------
        CrossProducts

        Raises
        ------
        SpecificationError
            If the shapes disagree, a weight is negative, or a random term or the level of ``keep``
            is unknown.
        """
        n, width = len(y), X.shape[1] + 1
        names = (ONES, *columns)
        if len(names) != width + 1 or len(X) != n:
            raise SpecificationError(
                text("engine.shape", what="columns", seen=len(columns), expected=width)
            )
        w = None if weights is None else np.asarray(weights, dtype=float)
        if w is not None and (w.shape != (n,) or (w < 0).any()):
            raise SpecificationError(text("engine.weights", n=int((w < 0).sum())))
        used = np.ones(n, dtype=bool) if w is None else w > 0
        block = np.empty((n, width + 1))
        block[:, 1:-1], block[:, -1] = X, y
        data = block[:, 1:]
        if centre is None:
            centre = _mean(data if used.all() else data[used])
        middle = np.asarray(centre, dtype=float)
        data -= middle
        rows = data if used.all() else data[used]
        spread = _spread(rows, middle) if scale is None else np.asarray(scale, dtype=float)
        if w is None:
            block[:, 0] = 1.0
            data *= 1.0 / spread
        else:
            block[:, 0] = np.sqrt(w)
            data *= block[:, :1] / spread
        levels, blocks = level_products(block, names, groups, w, keep)
        return cls(
            columns=names,
            centre=np.concatenate([[0.0], middle]),
            scale=np.concatenate([[1.0], spread]),
            total=block.T @ block,
            levels=levels,
            n_rows=len(rows),
            log_weights=0.0 if w is None else float(np.log(w[used]).sum()),
            blocks=blocks,
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
            replace(level, products=_moved(level, change, self.total)) for level in self.levels
        )
        return replace(
            self,
            centre=np.asarray(centre, dtype=float),
            scale=np.asarray(scale, dtype=float),
            total=change.T @ self.total @ change,
            levels=levels,
            blocks=None if self.blocks is None else self.blocks.recentred(change),
        )

    def merge(self, other: CrossProducts) -> CrossProducts:
        """Return the cross-products of both sets of rows together.

        Raises
        ------
        SpecificationError
            If columns, levels, random terms or the level of the blocks differ.
        """
        check_instance(other, CrossProducts, argument="other", example="first.merge(second)")
        if self._form() != other._form():
            raise SpecificationError(text("engine.merge"))
        moved = other.recentred(self.centre, self.scale)
        levels: list[LevelProducts] = []
        maps = (np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        blocks = None
        for mine, theirs in zip(self.levels, moved.levels, strict=True):
            joined, maps = merge_level(mine, theirs, maps)
            levels.append(joined)
            if self.blocks is not None and moved.blocks and self.blocks.level == mine.name:
                blocks = self.blocks.merged(moved.blocks, maps, joined.n_groups)
        return replace(
            self,
            total=self.total + moved.total,
            levels=tuple(levels),
            n_rows=self.n_rows + moved.n_rows,
            log_weights=self.log_weights + moved.log_weights,
            blocks=blocks,
        )

    def _form(self) -> tuple[object, ...]:
        """Return what two sets must share to be added up."""
        kept = None if self.blocks is None else self.blocks.level
        return self.columns, [(v.name, v.columns) for v in self.levels], kept

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
        blocks = None if self.blocks is None else self.blocks.of_columns(at)
        if len(kept) != len(self.levels):
            blocks = outer_blocks(self.levels, blocks, [v.name for v in kept])
            kept = reparent(self.levels, kept)
        return replace(
            self,
            columns=wanted,
            centre=self.centre[at],
            scale=self.scale[at],
            total=self.total[np.ix_(at, at)],
            levels=tuple(kept),
            blocks=blocks,
        )

    def subset_groups(
        self,
        level: str,
        *,
        labels: Sequence[object] | None = None,
        mask: NDArray[np.bool_] | None = None,
        multiplicities: NDArray[np.int64] | None = None,
    ) -> CrossProducts:
        """Return the cross-products of some groups' rows, or of groups taken several times.

        Groups inside a group go with it; a group outside it stays while one of its groups does.
        Exactly one of the choices must be given.

        Parameters
        ----------
        level : str
            Level whose groups are chosen.
        labels : sequence, optional
            Labels of the groups that stay; a label that several outer groups hold keeps them all.
        mask : ndarray of shape (n_groups,), bool, optional
            Whether each group stays.
        multiplicities : ndarray of shape (n_groups,), int, optional
            How often each group is taken, as in the cluster bootstrap: a group taken twice counts
            as two groups, and the copies' labels are numbered.

        Returns
        -------
        CrossProducts
            In the same units and with the blocks of the groups that stay.

        Raises
        ------
        SpecificationError
            Without blocks of this level or of one inside it; for an unknown level or label, a
            choice of another shape, or one that leaves no group.
        """
        times = chosen_groups(self.levels, level, labels, mask, multiplicities)
        names = [v.name for v in self.levels]
        if self.blocks is None or self.blocks.level not in names[names.index(level) :]:
            kept = "—" if self.blocks is None else repr(self.blocks.level)
            raise SpecificationError(text("products.no_blocks", level=repr(level), kept=kept))
        chosen = subset_groups(self.levels, self.blocks, level, times)
        return replace(
            self,
            total=chosen.total,
            levels=chosen.levels,
            n_rows=int(chosen.levels[0].n_rows.sum()),
            log_weights=float(chosen.blocks.log_weights.sum()),
            blocks=chosen.blocks,
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


def _moved(level: LevelProducts, change: Floats, total: Floats) -> Floats:
    """Return a level's products in other units; effects by category hold the ones in parts."""
    columns = list(level.columns)
    products = np.einsum("ab,jac->jbc", change[np.ix_(columns, columns)], level.products)
    shift = change[0, columns]
    if 0 not in columns and shift.any():
        still = [c for c in columns if change[0, c] == 0.0 and change[c, c] == 1.0]
        gram = total[np.ix_(still, still)]
        parts = np.allclose(gram, np.diag(total[0, still])) and np.isclose(
            total[0, still].sum(), total[0, 0]
        )
        if not parts:
            raise SpecificationError(text("engine.shift", level=level.name))
        ones = level.products[:, [columns.index(c) for c in still]].sum(axis=1)
        products = products + shift[None, :, None] * ones[:, None, :]
    return np.asarray(products @ change)
