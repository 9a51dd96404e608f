r"""Draw new outcomes of a fitted model from its cross-products alone, exactly in distribution.

A model with nested levels uses the outcome only through :math:`A'y`, :math:`Z_g'y` of the groups
of every level, and :math:`y'y`; :math:`A` holds all columns but the outcome.  The Gram matrix of
all :math:`Z_g` and :math:`A` stands in the cross-products, so the joint distribution of these sums
for :math:`y^* = A\beta + \sum_l Z_l u_l + e` is known without the rows:

* the part of the coefficients and of drawn effects is a linear map of the stored matrices;
* going from the innermost level outwards, the random terms of a group minus their projection on
  the levels inside it give orthonormal directions; on these, and on what is left of :math:`A`,
  the errors are independent :math:`N(0, \sigma^2)`;
* what remains of :math:`e'e` is :math:`\sigma^2\chi^2_{n-r}`, with r the number of directions.

Precision weights stand in the cross-products already: weighted errors have the variance
:math:`\sigma^2`.  No blocks of groups are needed.  One draw costs O(sum over groups of qP),
whatever the number of pupils.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.profile import to_own_units
from resilience.stats.mixed import MixedFit
from resilience.stats.products.product_levels import sum_by

__all__ = ["OutcomeDraws", "outcome_draws"]

Floats = NDArray[np.float64]
Direction = tuple[Floats, NDArray[np.bool_]]

_RANK = 1e-9  # a direction of less than this share of its column's sum of squares is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class OutcomeDraws:
    """What every draw needs, prepared once.

    Attributes
    ----------
    cross : CrossProducts
        Cross-products of the fit; their outcome is replaced, all else stays.
    coefficients : ndarray of shape (P - 1,)
        Fixed effects in centred and scaled columns, 0 for columns that are not fixed terms.
    roots : tuple of ndarray of shape (q, q)
        Per level a root of the covariance of its effects, in the same units.
    sigma : float
        Residual standard deviation, in the same units.
    """

    cross: CrossProducts
    coefficients: Floats
    roots: tuple[Floats, ...]
    sigma: float

    @cached_property
    def directions(self) -> tuple[tuple[Direction, ...], Floats, int]:
        """Per level the directions' products with A, then the rest's root, and n minus r."""
        cross = self.cross
        left = [level.products[:, :, :-1] for level in cross.levels]
        rest = cross.total[:-1, :-1].copy()
        found: list[Direction] = []
        rank = 0
        for at in range(len(left) - 1, -1, -1):
            level = cross.levels[at]
            T, there = _orthonormal(left[at], list(level.columns), level.products)
            found.append((T, there))
            rank += int(there.sum())
            flat = T.reshape(-1, len(rest))
            rest -= flat.T @ flat
            ancestor = level.parent
            for outer in range(at - 1, -1, -1):
                shared = np.einsum("gko,gkp->gop", T[:, :, list(cross.levels[outer].columns)], T)
                left[outer] = left[outer] - sum_by(shared, ancestor, cross.levels[outer].n_groups)
                if outer:
                    ancestor = cross.levels[outer].parent[ancestor]
        spread = np.sqrt(np.maximum(np.diag(cross.total)[:-1], 1e-300))
        values, vectors = np.linalg.eigh(rest / np.outer(spread, spread))
        own = values > _RANK
        root = spread[:, None] * vectors[:, own] * np.sqrt(values[own])
        return tuple(reversed(found)), root, cross.n_rows - rank - int(own.sum())

    def draw(self, rng: np.random.Generator) -> CrossProducts:
        """Return the cross-products of the same rows with a newly drawn outcome.

        Parameters
        ----------
        rng : Generator
            Source of randomness.

        Returns
        -------
        CrossProducts
            In the units of ``cross``, without blocks of groups.
        """
        effects = [
            rng.standard_normal((level.n_groups, len(level.columns))) @ root.T
            for level, root in zip(self.cross.levels, self.roots, strict=True)
        ]
        columns, sums, squares = self._expected(effects)
        errors, group_errors, error_squares = self._errors(rng)
        across = float(self.coefficients @ errors) + sum(
            float(np.sum(effect * own)) for effect, own in zip(effects, group_errors, strict=True)
        )
        return _with_outcome(
            self.cross,
            columns + errors,
            [mean + own for mean, own in zip(sums, group_errors, strict=True)],
            squares + 2.0 * across + error_squares,
        )

    def _expected(self, effects: list[Floats]) -> tuple[Floats, list[Floats], float]:
        """Return A'm, every Z'm and m'm of the outcome m without errors at drawn effects."""
        cross = self.cross
        columns = cross.total[:-1, :-1] @ self.coefficients
        squares = float(self.coefficients @ columns)
        above = self.coefficients[None, :]
        sums: list[Floats] = []
        for at, (level, effect) in enumerate(zip(cross.levels, effects, strict=True)):
            products = level.products[:, :, :-1]
            outside = above[level.parent]
            moved = np.einsum("gqp,gq->gp", products, effect)
            squares += 2.0 * float(np.sum(moved * outside))
            squares += float(np.sum(moved[:, list(level.columns)] * effect))
            columns = columns + moved.sum(axis=0)
            above = outside.copy()
            above[:, list(level.columns)] += effect
            sums.append(np.einsum("gqp,gp->gq", products, above))
            _add_upwards(cross, sums, at, moved)
        return columns, sums, squares

    def _errors(self, rng: np.random.Generator) -> tuple[Floats, list[Floats], float]:
        """Draw A'e, every Z'e and e'e together."""
        cross = self.cross
        directions, root, n_left = self.directions
        last: Floats = rng.standard_normal((root.shape[1],))
        squares = float(last @ last) + (rng.chisquare(n_left) if n_left > 0 else 0.0)
        columns = root @ last
        sums: list[Floats] = []
        for at, (level, (T, there)) in enumerate(zip(cross.levels, directions, strict=True)):
            own = rng.standard_normal(there.shape) * there
            squares += float(np.sum(own * own))
            part = np.einsum("gqp,gq->gp", T, own)
            columns = columns + part.sum(axis=0)
            sums.append(part[:, list(level.columns)])
            _add_upwards(cross, sums, at, part)
        return (
            self.sigma * columns,
            [self.sigma * own for own in sums],
            self.sigma**2 * squares,
        )


def outcome_draws(cross: CrossProducts, fitted: MixedFit) -> OutcomeDraws:
    """Prepare draws of a fitted model's outcome.

    Parameters
    ----------
    cross : CrossProducts
        Cross-products that the model was fitted to.
    fitted : MixedFit
        Its coefficients, covariances and residual variance are taken as the truth.

    Returns
    -------
    OutcomeDraws
    """
    unit = float(cross.scale[-1])
    at = [cross.columns.index(term) for term in fitted.terms]
    coefficients = np.zeros(len(cross.columns) - 1)
    coefficients[at] = fitted.beta * cross.scale[at] / unit
    coefficients[0] += (float(np.dot(cross.centre[at], fitted.beta)) - cross.centre[-1]) / unit
    roots = []
    for level, effects in zip(cross.levels, fitted.levels, strict=True):
        there = np.linalg.inv(to_own_units(cross, level.columns)) / unit
        values, vectors = np.linalg.eigh(there @ effects.covariance @ there.T)
        roots.append(vectors * np.sqrt(np.maximum(values, 0.0)))
    return OutcomeDraws(
        cross=cross,
        coefficients=coefficients,
        roots=tuple(roots),
        sigma=float(np.sqrt(fitted.residual_variance)) / unit,
    )


def _orthonormal(
    left: Floats, columns: list[int], products: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the products with A of an orthonormal basis of each group's own random terms.

    Rows of zeros stand for terms that the levels inside the group span already.
    """
    S = left[:, :, columns]
    values, vectors = np.linalg.eigh(0.5 * (S + S.transpose(0, 2, 1)))
    size = np.einsum("gkk->g", products[:, :, columns])
    there = values > _RANK * np.maximum(size, 1e-300)[:, None]
    inverse = np.where(there, 1.0 / np.sqrt(np.where(there, values, 1.0)), 0.0)
    return np.einsum("gkq,gkp->gqp", vectors * inverse[:, None, :], left), there


def _add_upwards(cross: CrossProducts, sums: list[Floats], at: int, part: Floats) -> None:
    """Add a level's part of the columns' sums to those of its ancestors, in place."""
    ancestor = cross.levels[at].parent
    for outer in range(at - 1, -1, -1):
        level = cross.levels[outer]
        sums[outer] += sum_by(part[:, list(level.columns)], ancestor, level.n_groups)
        if outer:
            ancestor = level.parent[ancestor]


def _with_outcome(
    cross: CrossProducts, columns: Floats, sums: list[Floats], squares: float
) -> CrossProducts:
    """Return cross-products with the outcome's entries replaced."""
    total = cross.total.copy()
    total[:-1, -1] = columns
    total[-1, :-1] = columns
    total[-1, -1] = squares
    levels = []
    for level, own in zip(cross.levels, sums, strict=True):
        products = level.products.copy()
        products[:, :, -1] = own
        levels.append(replace(level, products=products))
    return replace(cross, total=total, levels=tuple(levels), blocks=None)
