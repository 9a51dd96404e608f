r"""Errors of predictions row by row: coefficients and effects of all levels jointly.

A prediction :math:`x'\hat\beta + \sum_k z_k'\hat u_k` errs by

.. math::

   \Big(x - \sum_k L_k'z_k\Big)'(\hat\beta - \beta) + \sum_k z_k'(\hat u_k(\beta) - u_k),

two parts without correlation (see ``prediction_errors.py``).  In a tree of nested levels the
effects of one row lie on one path, from the innermost unit outwards

.. math::

   u_k \mid u_{out}, \beta, y \sim N\big(K_k Z_k'V_{in}^{-1}(y - X\beta - \sum_o Z_o u_o),\;
   \sigma^2K_k\big), \qquad K_k = D_k(I + Z_k'V_{in}^{-1}Z_kD_k)^{-1},

so that :math:`\mathrm{Var}(z'u)` and the leverage add up along the path: with the weight
:math:`a_k` of level k, variance :math:`a_k'K_ka_k`, and what stands outside it loses
:math:`Z_o'V_{in}^{-1}Z_kK_ka_k`.  Time and memory are those of the rows; a unit that was not in the
fit has :math:`K_k = D_k` and no data.  Where factors cross, the same comes from a sparse
factorisation of :math:`\Lambda'Z'Z\Lambda + I`.  Source: Henderson1975.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossed.crossed_products import CrossedProducts, FactorProducts
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.engine.covariance_unstructured import lower_factor
from resilience.stats.engine.elimination import eliminate
from resilience.stats.engine.profile import to_own_units, working_units
from resilience.stats.mixed import MixedFit

__all__ = ["LevelRows", "crossed_row_variances", "nested_row_variances"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_LARGEST = 30_000  # random effects of crossed factors: a sparse factor of more may fill in
_BATCH = 256  # right-hand sides solved at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelRows:
    """What the rows have of one level.

    Attributes
    ----------
    weights : ndarray of shape (n_rows, q)
        z: the random terms' values in own units, zero where the level does not count.
    units : ndarray of shape (n_rows, n_members)
        Positions of the units, -1 for one that was not in the fit.
    shares : ndarray of shape (n_rows, n_members)
        Shares of membership; ones where a row belongs to one unit.  Where factors cross, any
        weights of the units.
    """

    weights: Floats
    units: Codes
    shares: Floats


def nested_row_variances(
    cross: CrossProducts, fitted: MixedFit, X: Floats, rows: Sequence[LevelRows]
) -> Floats:
    """Return the error variance of each row's prediction, shape (n_rows,).

    Parameters
    ----------
    cross : CrossProducts
        What the fit was made of.
    fitted : MixedFit
        The fit.
    X : ndarray of shape (n_rows, p)
        Fixed terms in own units.
    rows : sequence of LevelRows
        Per level from outer to inner; the known units of a row lie on one path.
    """
    working = working_units(cross, fitted.terms)
    relative = _relative(fitted, [to_own_units(working, v.columns) for v in working.levels])
    elimination = eliminate(working, tuple(relative))
    at = [working.columns.index(t) for t in fitted.terms]
    moved = X @ to_own_units(working, at)
    weights = [
        row.weights @ to_own_units(working, level.columns)
        for row, level in zip(rows, working.levels, strict=True)
    ]
    variance = np.zeros(len(X))
    for k in range(len(working.levels) - 1, -1, -1):
        level, D, C = working.levels[k], relative[k], elimination.reduced[k]
        columns = list(level.columns)
        K = np.linalg.solve(
            np.eye(len(D)) + D @ C[:, :, columns], np.broadcast_to(D, C[:, :, columns].shape)
        )
        unit = rows[k].units[:, 0]
        known = unit >= 0
        a = weights[k]
        variance[~known] += np.einsum("ia,ab,ib->i", a[~known], D, a[~known])
        half = np.einsum("ia,iab->ib", a[known], K[unit[known]])
        variance[known] += np.einsum("ia,ia->i", half, a[known])
        across = np.einsum("ia,iap->ip", half, C[unit[known]])
        moved[known] -= across[:, at]
        for outer in range(k):
            weights[outer][known] -= across[:, list(working.levels[outer].columns)]
    gram = elimination.total[np.ix_(at, at)]
    return np.asarray(fitted.residual_variance * (variance + _quadratic(gram, moved)))


def crossed_row_variances(
    products: CrossedProducts,
    fitted: MixedFit,
    X: Floats,
    rows: Sequence[LevelRows],
    *,
    coefficients: bool = True,
) -> Floats:
    """Return the same where factors cross; levels in the order of the factors.

    Parameters
    ----------
    products : CrossedProducts
        What the fit was made of.
    fitted, X, rows
        As in `nested_row_variances`.
    coefficients : bool
        Whether the error of the coefficients counts.

    Raises
    ------
    SpecificationError
        Above 30,000 random effects.
    """
    width = sum(factor.width for factor in products.factors)
    if width > _LARGEST:
        raise SpecificationError(text("prediction.too_wide", n=width, most=_LARGEST))
    centre = products.centre if ONES in fitted.terms else np.zeros_like(products.centre)
    working = products.recentred(centre, products.scale)
    back = [_to_own(working, list(factor.columns)) for factor in working.factors]
    relative = _relative(fitted, back)
    roots = [lower_factor(D) for D in relative]
    M, Z_to_columns = _normal_equations(working, roots)
    solver = splu(M)
    at = [working.columns.index(t) for t in fitted.terms]
    gram = (working.total - Z_to_columns.T @ solver.solve(Z_to_columns))[np.ix_(at, at)]
    moved, variance = X @ _to_own(working, at), np.zeros(len(X))
    pieces = []
    for row, factor, B, D, root in zip(rows, working.factors, back, relative, roots, strict=True):
        a = row.weights @ B
        unknown = np.where(row.units < 0, row.shares**2, 0.0).sum(axis=1)
        variance += unknown * np.einsum("ia,ab,ib->i", a, D, a)
        pieces.append(_placed(row, factor, a @ root))
    V = sparse.csr_array(sparse.hstack(pieces, format="csr"))
    for start in range(0, len(X), _BATCH):
        part = slice(start, start + _BATCH)
        right = V[part].toarray().T
        solved = solver.solve(right)
        variance[part] += np.einsum("ri,ri->i", right, solved)
        moved[part] -= solved.T @ Z_to_columns[:, at]
    if coefficients:
        variance = variance + _quadratic(gram, moved)
    return np.asarray(fitted.residual_variance * variance)


def _relative(fitted: MixedFit, back: Sequence[Floats]) -> list[Floats]:
    """Return relative covariances in working units."""
    found: list[Floats] = []
    for level, B in zip(fitted.levels, back, strict=True):
        there = np.linalg.inv(B)
        found.append(there @ (level.covariance / fitted.residual_variance) @ there.T)
    return found


def _quadratic(gram: Floats, rows: Floats) -> Floats:
    """Return x'G⁻¹x for every row."""
    if not len(gram):
        return np.zeros(len(rows))
    half = linalg.solve_triangular(linalg.cholesky(gram, lower=True), rows.T, lower=True)
    return np.asarray((half**2).sum(axis=0))


def _to_own(products: CrossedProducts, columns: list[int]) -> Floats:
    scale, centre = products.scale[columns], products.centre[columns]
    back = np.diag(1.0 / scale)
    if 0 in columns:
        k = columns.index(0)
        back[k, :] -= centre / scale
        back[k, k] = 1.0
    return back


def _normal_equations(
    products: CrossedProducts, roots: Sequence[Floats]
) -> tuple[sparse.csc_array, Floats]:
    """Return Λ'Z'ZΛ + I and Λ'Z'W over all factors."""
    spread = [
        sparse.csr_array(sparse.kron(sparse.eye_array(f.n_units), root, format="csr"))
        for f, root in zip(products.factors, roots, strict=True)
    ]
    n = len(products.factors)
    blocks: list[list[sparse.csr_array]] = [[None] * n for _ in range(n)]  # type: ignore[list-item]  # filled below
    for f, factor in enumerate(products.factors):
        blocks[f][f] = spread[f].T @ _own(factor) @ spread[f]
        for g in range(f + 1, n):
            block = spread[f].T @ products.pairs[f, g] @ spread[g]
            blocks[f][g], blocks[g][f] = block, block.T
    M = sparse.csc_array(sparse.block_array(blocks, format="csc"))
    P = len(products.columns)
    columns = [
        np.asarray(root.T @ factor.products.reshape(-1, P))
        for root, factor in zip(spread, products.factors, strict=True)
    ]
    return sparse.csc_array(M + sparse.eye_array(M.shape[0])), np.vstack(columns)


def _own(factor: FactorProducts) -> sparse.csr_array:
    """Return Z_f'Z_f."""
    if factor.own is not None:
        return factor.own
    n, q = factor.n_units, len(factor.columns)
    values = factor.products[:, :, list(factor.columns)]
    return sparse.csr_array(
        sparse.bsr_array((values, np.arange(n), np.arange(n + 1)), shape=(n * q, n * q))
    )


def _placed(row: LevelRows, factor: FactorProducts, values: Floats) -> sparse.csr_array:
    """Return the rows' weights in the places of the units they belong to."""
    i, m = np.nonzero((row.units >= 0) & (row.shares != 0))
    q = len(factor.columns)
    entries = row.shares[i, m][:, None] * values[i]
    where = row.units[i, m][:, None] * q + np.arange(q)
    shape = (len(values), factor.width)
    return sparse.csr_array((entries.ravel(), (np.repeat(i, q), where.ravel())), shape=shape)
