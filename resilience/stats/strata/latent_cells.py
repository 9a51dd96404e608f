r"""Shrunken means of cells (schools, or schools by year) when errors are added to the values.

With :math:`s_j \sim (0, \tau^2)` between schools, :math:`c_{jt} \sim (0, \gamma^2)` between the
years of a school and a residual variance :math:`r`, the expected mean of a cell of :math:`n_{jt}`
values with the mean :math:`\bar x_{jt}` is :math:`m + \hat s_j + \hat c_{jt}`,

.. math::

   a_{jt} = \frac{1}{\gamma^2 + r/n_{jt}}, \quad
   \hat s_j = \frac{\tau^2\sum_t a_{jt}(\bar x_{jt} - m)}{1 + \tau^2\sum_t a_{jt}}, \quad
   \hat c_{jt} = \gamma^2 a_{jt}(\bar x_{jt} - m - \hat s_j) .

Errors of the variance :math:`\zeta\bar\sigma^2` that are added to the values turn :math:`r` into
:math:`r + \zeta\bar\sigma^2` and leave :math:`\tau^2` and :math:`\gamma^2` what they are.  They are
therefore estimated once and not from every pseudo data set: an estimate near zero would send the
coefficient of the shrunken mean to infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossproducts import ONES, CrossProducts, LevelProducts
from resilience.stats.mixed import fit_mixed
from resilience.stats.products.product_levels import sum_by

__all__ = ["CellVariances", "cell_variances"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class CellVariances:
    """The null model of a column.

    Attributes
    ----------
    mean : float
        Overall mean.
    outer, inner : float
        Variances between schools, and between the years of a school (0 without years).
    residual : float
        Variance within cells.
    """

    mean: float
    outer: float
    inner: float
    residual: float

    def means(self, values: Floats, cells: Codes, parent: Codes, *, added: float = 0.0) -> Floats:
        """Return the shrunken mean of each cell, shape (K,).

        Parameters
        ----------
        values : ndarray of shape (n,)
            Values with the added errors.
        cells : ndarray of shape (n,)
            Codes 0 … K−1.
        parent : ndarray of shape (K,)
            School of each cell, codes 0 … J−1.
        added : float
            Mean variance of the errors added.
        """
        size = np.bincount(cells).astype(float)
        gap = np.bincount(cells, values) / size - self.mean
        weight = 1.0 / np.maximum(self.inner + (self.residual + added) / size, 1e-300)
        total = np.bincount(parent, weight)
        pull = np.bincount(parent, weight * gap)
        lasting = (self.outer * pull / (1.0 + self.outer * total))[parent]
        return np.asarray(self.mean + lasting + self.inner * weight * (gap - lasting))


def cell_variances(values: Floats, cells: Codes, parent: Codes) -> CellVariances:
    """Return the null model of a column by REML, fitted from the sums of its cells.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Values.
    cells : ndarray of shape (n,)
        Codes 0 … K−1, sorted by school.
    parent : ndarray of shape (K,)
        School of each cell; the cells themselves without years.
    """
    centre = float(values.mean())
    scale = float(values.std()) or 1.0
    moved = (values - centre) / scale
    size = np.bincount(cells).astype(float)
    sums = np.stack([size, np.bincount(cells, moved)], axis=1)
    n_schools = int(parent.max()) + 1
    by_year = len(parent) > n_schools
    levels = [_level("school", sum_by(sums, parent, n_schools), np.zeros(n_schools, np.int64))]
    if by_year:
        levels.append(_level("cell", sums, parent))
    total = sums.sum(axis=0)
    null = fit_mixed(
        CrossProducts(
            columns=(ONES, "value"),
            centre=np.array([0.0, centre]),
            scale=np.array([1.0, scale]),
            total=np.array([[total[0], total[1]], [total[1], float(moved @ moved)]]),
            levels=tuple(levels),
            n_rows=len(values),
        )
    )
    return CellVariances(
        mean=float(null.beta[0]),
        outer=float(null.levels[0].covariance[0, 0]),
        inner=float(null.levels[1].covariance[0, 0]) if by_year else 0.0,
        residual=null.residual_variance,
    )


def _level(name: str, sums: Floats, parent: Codes) -> LevelProducts:
    return LevelProducts(
        name=name,
        columns=(0,),
        labels=np.arange(len(sums)).astype(object),
        parent=parent,
        n_rows=sums[:, 0].astype(np.int64),
        products=sums[:, None, :],
    )
