r"""Effects of a school's single years as one vector with what lasts of the school.

A fit with schools and, inside them, their years has the conditional covariance of either level but
not *between* what lasts of a school and its years.  The same model can be written with the years'
effects among the terms of the school's own groups, :math:`(u_j, v_{j1}, \dots, v_{jT})` with the
covariance :math:`D_u \oplus (I_T \otimes D_v)`; a year without data costs nothing and has a
prediction too.  What that needs are cross-products with a column per year (and term of the years),
and they are sums of those of the cells: nothing is read again.  Source: Henderson1975.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.stats.crossproducts import CrossProducts, LevelProducts
from resilience.stats.engine.profile import working_units
from resilience.stats.mixed import LevelEffects, MixedFit, effects_at

__all__ = ["vector_effects", "with_year_vectors"]

Floats = NDArray[np.float64]


def vector_effects(
    cross: CrossProducts, fitted: MixedFit, at: int, years: Sequence[object]
) -> LevelEffects:
    """Return the joint effects of what lasts and of all years of the schools.

    Parameters
    ----------
    cross : CrossProducts
        What the fit was made of.
    fitted : MixedFit
        The fit; level ``at + 1`` is its innermost, and its groups are years of those of ``at``.
    at : int
        Position of the schools' level.
    years : sequence
        Labels of the years, in the order wanted.

    Returns
    -------
    LevelEffects
        The terms of the schools' level, then those of the years, year by year.
    """
    extended = with_year_vectors(working_units(cross, fitted.terms), at, years)
    covariances = [level.covariance / fitted.residual_variance for level in fitted.levels]
    together = linalg.block_diag(covariances[at], *[covariances[at + 1]] * len(years))
    levels = effects_at(
        extended, [*covariances[:at], together], fixed=fitted.terms, method=fitted.method
    )
    return levels[at]


def with_year_vectors(cross: CrossProducts, at: int, years: Sequence[object]) -> CrossProducts:
    """Return cross-products in which the years are terms of the schools' groups.

    Parameters
    ----------
    cross : CrossProducts
        Level ``at + 1`` holds the years of the groups of ``at``; the columns of its terms stand
        uncentred.
    at : int
        Position of the schools' level.
    years : sequence
        Labels of the years.

    Returns
    -------
    CrossProducts
        Without the level of the years; a column ``term@year`` for each of its terms and years
        stands before the outcome.
    """
    cells, P = cross.levels[at + 1], len(cross.columns)
    own = list(cells.columns)
    place = {label: k for k, label in enumerate(years)}
    year = np.array([place[label] for label in cells.labels], dtype=np.int64)
    n_new = len(years) * len(own)
    # sums of a column of the cells' terms times any column, by year
    by_year = np.zeros((len(years), len(own), P))
    np.add.at(by_year, year, cells.products)
    total = np.zeros((P + n_new, P + n_new))
    first = [*range(P - 1), P + n_new - 1]  # the old columns: the outcome stays the last
    new = np.arange(P - 1, P - 1 + n_new)
    total[np.ix_(first, first)] = cross.total
    total[np.ix_(new, first)] = by_year.reshape(n_new, P)
    total[np.ix_(first, new)] = by_year.reshape(n_new, P).T
    total[np.ix_(new, new)] = linalg.block_diag(*by_year[:, :, own])
    levels = [_widened(cross, k, at, year, len(years)) for k in range(at + 1)]
    school = levels[at]
    rows = _own_rows(cross, at, year, len(years))
    levels[at] = replace(
        school,
        columns=(*school.columns, *map(int, new)),
        products=np.concatenate([school.products, rows], axis=1),
    )
    names = [f"{cross.columns[c]}@{label}" for label in years for c in own]
    return replace(
        cross,
        columns=(*cross.columns[:-1], *names, cross.columns[-1]),
        centre=np.concatenate([cross.centre[:-1], np.zeros(n_new), cross.centre[-1:]]),
        scale=np.concatenate(
            [cross.scale[:-1], np.tile(cross.scale[own], len(years)), cross.scale[-1:]]
        ),
        total=total,
        levels=tuple(levels),
        blocks=None,
    )


def _groups_of_cells(cross: CrossProducts, level: int, at: int) -> NDArray[np.int64]:
    """Return the position of each cell's group in an outer level."""
    found = cross.levels[at + 1].parent
    for outer in range(at, level, -1):
        found = cross.levels[outer].parent[found]
    return found


def _widened(
    cross: CrossProducts, level: int, at: int, year: NDArray[np.int64], n_years: int
) -> LevelProducts:
    """Return a level whose products have the columns of the years, the outcome last."""
    cells, own = cross.levels[at + 1], cross.levels[level]
    q, a = len(own.columns), len(cells.columns)
    across = np.zeros((own.n_groups, n_years, a, q))
    group = _groups_of_cells(cross, level, at)
    np.add.at(across, (group, year), cells.products[:, :, list(own.columns)])
    columns = np.moveaxis(across, 3, 1).reshape(own.n_groups, q, n_years * a)
    products = np.concatenate([own.products[..., :-1], columns, own.products[..., -1:]], axis=2)
    return replace(own, products=products)


def _own_rows(cross: CrossProducts, at: int, year: NDArray[np.int64], n_years: int) -> Floats:
    """Return the rows of the years' terms in the schools' products."""
    cells, n = cross.levels[at + 1], cross.levels[at].n_groups
    a, P = len(cells.columns), len(cross.columns)
    own = list(cells.columns)
    rows = np.zeros((n, n_years, a, P))
    rows[cells.parent, year] = cells.products
    square = np.zeros((n, n_years, a, n_years, a))
    square[cells.parent, year, :, year, :] = cells.products[:, :, own]
    width = n_years * a
    flat = rows.reshape(n, width, P)
    return np.concatenate([flat[..., :-1], square.reshape(n, width, width), flat[..., -1:]], axis=2)
