"""Cross-products in which some columns are replaced: only what they touch is summed anew.

A pseudo data set of SIMEX shares the outcome, the groups and most covariates with the data; of
:math:`W'W` it changes the rows and columns of the error-prone covariates, of the groups' sums
those too.  The sums are taken at the innermost level and added up along the nesting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.stats.crossproducts import CrossProducts, LevelProducts
from resilience.stats.products.product_levels import sum_by

__all__ = ["ChangedProducts", "nested_positions"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChangedProducts:
    """Rows and cross-products of which some columns will be replaced.

    Attributes
    ----------
    cross : CrossProducts
        Of the rows as they are.
    rows : ndarray of shape (n, P)
        Centred and scaled columns times the root of the weight, as in ``cross``.
    position : ndarray of shape (n,)
        Group of each row at the innermost level.
    changed : tuple of int
        Positions of the columns that will be replaced.
    """

    cross: CrossProducts
    rows: Floats
    position: Codes
    changed: tuple[int, ...]

    @classmethod
    def of(
        cls,
        cross: CrossProducts,
        columns: Floats,
        *,
        position: Codes,
        changed: Sequence[int],
        weights: Floats | None = None,
    ) -> ChangedProducts:
        """Return the rows in the units of their cross-products.

        Parameters
        ----------
        cross : CrossProducts
            Of the rows.
        columns : ndarray of shape (n, P)
            All columns in own units, the ones first and the outcome last.
        position : ndarray of shape (n,)
            Group of each row at the innermost level of ``cross``.
        changed : sequence of int
            Positions of the columns that will be replaced.
        weights : ndarray of shape (n,), optional
            Precision weights.
        """
        rows = (columns - cross.centre) / cross.scale
        if weights is not None:
            rows *= np.sqrt(weights)[:, None]
        return cls(cross=cross, rows=rows, position=position, changed=tuple(changed))

    def with_columns(self, values: Floats) -> CrossProducts:
        """Return the cross-products with other values of the changed columns, without blocks.

        Parameters
        ----------
        values : ndarray of shape (n, n_changed)
            In own units.
        """
        cross, at = self.cross, list(self.changed)
        new = (values - cross.centre[at]) / cross.scale[at] * self.rows[:, :1]
        touched = new.T @ self.rows
        touched[:, at] = new.T @ new
        total = cross.total.copy()
        total[at, :] = touched
        total[:, at] = touched.T
        return replace(cross, total=total, levels=self._levels(new), blocks=None)

    def _levels(self, new: Floats) -> tuple[LevelProducts, ...]:
        """Return the groups' sums with the new columns."""
        levels, at = self.cross.levels, list(self.changed)
        if not levels:
            return ()
        n, n_groups = len(new), levels[-1].n_groups
        indicator = sparse.csr_array(
            (np.ones(n), self.position, np.arange(n + 1)), shape=(n, n_groups)
        ).T.tocsr()
        current = None
        sums: dict[int, Floats] = {}
        for z in {column for level in levels for column in level.columns}:
            if z not in at:
                sums[z] = np.asarray(indicator @ (self.rows[:, [z]] * new))
                continue
            if current is None:
                current = self.rows.copy()
                current[:, at] = new
            sums[z] = np.asarray(indicator @ (current[:, [z]] * current))
        found: list[LevelProducts] = []
        for k in range(len(levels) - 1, -1, -1):
            level = levels[k]
            products = level.products.copy()
            for place, z in enumerate(level.columns):
                products[:, place, at if z not in at else slice(None)] = sums[z]
            found.insert(0, replace(level, products=products))
            if k:
                outer = levels[k - 1].n_groups
                sums = {z: sum_by(own, level.parent, outer) for z, own in sums.items()}
        return tuple(found)

    def of_groups(self, rows: NDArray[np.bool_], cross: CrossProducts) -> ChangedProducts:
        """Return the rows of some groups, with the cross-products of these (in the same units).

        Parameters
        ----------
        rows : ndarray of shape (n,), bool
            Which rows stay.
        cross : CrossProducts
            What ``self.cross.subset_groups`` returned for their groups.
        """
        position = np.unique(self.position[rows], return_inverse=True)[1].reshape(-1)
        return replace(self, cross=cross, rows=self.rows[rows], position=position.astype(np.int64))


def nested_positions(codes: Sequence[Codes]) -> list[Codes]:
    """Return each row's group at every level: groups are sorted by parent, then by code.

    Parameters
    ----------
    codes : sequence of ndarray of shape (n,)
        Codes 0 … of the labels, from the outermost level to the innermost.
    """
    found: list[Codes] = []
    outer = np.zeros(len(codes[0]) if codes else 0, dtype=np.int64)
    for own in codes:
        pair = outer * np.int64(own.max() + 1) + own
        outer = np.unique(pair, return_inverse=True)[1].reshape(-1).astype(np.int64)
        found.append(outer)
    return found
