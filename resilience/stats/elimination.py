r"""Elimination of the random effects up the tree of nested groups.

For relative covariances :math:`D_l = \Lambda_l\Lambda_l'` of the levels and
:math:`V = I + \sum_l Z_l D_l Z_l'`, every quantity of the profiled likelihood is a function of
:math:`W'V^{-1}W` and of :math:`\log|V|`.  From the innermost level outwards

.. math::

   M_g = \Lambda'Z_g'Z_g\Lambda + I = L_gL_g', \quad B_g = L_g^{-1}\Lambda'C_g, \quad
   C_o \leftarrow C_o - (B_g)_{\cdot Z_o}'B_g, \quad G \leftarrow G - B_g'B_g,

where :math:`o` are the ancestors of :math:`g` and :math:`C` already holds the eliminations of the
levels inside :math:`g`.  The way back (outer to inner) gives :math:`Z_g'V^{-1}W` and
:math:`Z_g'V^{-1}Z_g`, from which come the exact gradient, the conditional modes and variances.
Source: BatesEtAl2015, sections 3 and 5; the tree of nested levels is the same elimination repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossproducts import CrossProducts

__all__ = ["Elimination", "GroupSolves", "SharedPart", "eliminate", "shared_parts", "solve_groups"]

Floats = NDArray[np.float64]
SharedPart = tuple[NDArray[np.int64], Floats]


@dataclass(frozen=True, kw_only=True, eq=False)
class Elimination:
    r"""What one evaluation leaves behind.

    Attributes
    ----------
    total : ndarray of shape (P, P)
        :math:`W'V^{-1}W`.
    log_determinant : float
        :math:`\log|V|`.
    reduced : tuple of ndarray of shape (n_groups, q, P)
        Per level, :math:`Z_g'V_{in}^{-1}W` with the levels inside eliminated, the own one not.
    """

    total: Floats
    log_determinant: float
    reduced: tuple[Floats, ...]


def eliminate(cross: CrossProducts, factors: tuple[Floats, ...]) -> Elimination:
    r"""Eliminate all levels.

    Parameters
    ----------
    cross : CrossProducts
        Cross-products; groups sorted by parent.
    factors : tuple of ndarray of shape (q, q)
        Relative covariance factors :math:`\Lambda`, one per level.

    Returns
    -------
    Elimination
        Cost O(sum over groups of q²P), whatever the number of pupils.
    """
    total = cross.total.copy()
    reduced = [level.products for level in cross.levels]
    log_determinant = 0.0
    for at in range(len(cross.levels) - 1, -1, -1):
        level = cross.levels[at]
        B, log_m = _eliminate_level(reduced[at], level.columns, factors[at])
        log_determinant += log_m
        flat = B.reshape(-1, B.shape[2])
        total -= flat.T @ flat
        ancestor = level.parent
        for outer in range(at - 1, -1, -1):
            columns = list(cross.levels[outer].columns)
            downdate = np.einsum("gko,gkp->gop", B[:, :, columns], B)
            reduced[outer] = reduced[outer] - _sum_by(
                downdate, ancestor, cross.levels[outer].n_groups
            )
            if outer:
                ancestor = cross.levels[outer].parent[ancestor]
    return Elimination(total=total, log_determinant=log_determinant, reduced=tuple(reduced))


def _eliminate_level(C: Floats, columns: tuple[int, ...], factor: Floats) -> tuple[Floats, float]:
    """Return B (groups, q, P) and the sum of log|M|."""
    if len(columns) == 1:
        scale = factor[0, 0]
        m = 1.0 + scale * scale * C[:, 0, columns[0]]
        return (scale / np.sqrt(m))[:, None, None] * C, float(np.log(m).sum())
    half = np.einsum("kq,gkp->gqp", factor, C)
    M = np.einsum("gqk,kr->gqr", half[:, :, list(columns)], factor)
    M = 0.5 * (M + M.transpose(0, 2, 1)) + np.eye(len(columns))
    if len(columns) == 2:
        a = np.sqrt(M[:, 0, 0])
        b = M[:, 1, 0] / a
        c = np.sqrt(M[:, 1, 1] - b * b)
        B = np.empty_like(half)
        B[:, 0] = half[:, 0] / a[:, None]
        B[:, 1] = (half[:, 1] - b[:, None] * B[:, 0]) / c[:, None]
        return B, 2.0 * float(np.log(a).sum() + np.log(c).sum())
    L = np.linalg.cholesky(M)
    diagonal = np.diagonal(L, axis1=1, axis2=2)
    return np.linalg.solve(L, half), 2.0 * float(np.log(diagonal).sum())


def _sum_by(values: Floats, position: NDArray[np.int64], size: int) -> Floats:
    """Sum rows by a sorted position; every position from 0 to size − 1 occurs."""
    starts = np.searchsorted(position, np.arange(size))
    return np.asarray(np.add.reduceat(values, starts, axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupSolves:
    """Per level, what the way back gives.

    Attributes
    ----------
    to_columns : tuple of ndarray of shape (n_groups, q, P)
        :math:`Z_g'V^{-1}W`.
    to_self : tuple of ndarray of shape (n_groups, q, q)
        :math:`Z_g'V^{-1}Z_g`.
    """

    to_columns: tuple[Floats, ...]
    to_self: tuple[Floats, ...]


def solve_groups(
    cross: CrossProducts, covariances: tuple[Floats, ...], elimination: Elimination
) -> GroupSolves:
    r"""Return :math:`Z_g'V^{-1}W` and :math:`Z_g'V^{-1}Z_g` for every group of every level.

    Parameters
    ----------
    cross : CrossProducts
        The cross-products.
    covariances : tuple of ndarray of shape (q, q)
        Relative covariances :math:`D = \Lambda\Lambda'`.
    elimination : Elimination
        The result of `eliminate` at the same covariances.
    """
    own, inner_self, gain = _own_solves(cross, covariances, elimination)
    to_columns: list[Floats] = []
    to_self: list[Floats] = []
    for at, level in enumerate(cross.levels):
        F, S = own[at], inner_self[at]
        ancestor = level.parent
        for outer in range(at - 1, -1, -1):
            columns = list(cross.levels[outer].columns)
            K = gain[outer][ancestor]
            across = F[:, :, columns]
            S = S - across @ K @ np.swapaxes(across, 1, 2)
            F = F - across @ (covariances[outer] @ own[outer])[ancestor]
            if outer:
                ancestor = cross.levels[outer].parent[ancestor]
        to_columns.append(F)
        to_self.append(S)
    return GroupSolves(to_columns=tuple(to_columns), to_self=tuple(to_self))


def shared_parts(
    cross: CrossProducts, covariances: tuple[Floats, ...], elimination: Elimination, at: int
) -> tuple[SharedPart, ...]:
    r"""Return what groups of one level share through the levels outside them.

    For two groups of one outer unit :math:`Z_j'V^{-1}Z_k = -\sum_o A_{jo} A_{ko}'`, the sum over
    the outer levels whose unit both belong to.

    Parameters
    ----------
    cross, covariances, elimination
        As in `solve_groups`.
    at : int
        Position of the level.

    Returns
    -------
    tuple of (codes, A)
        Per outer level the unit's code, shape (n_groups,), and A, shape (n_groups, q, q_outer).
    """
    own, _, gain = _own_solves(cross, covariances, elimination)
    F, ancestor = own[at], cross.levels[at].parent
    found: list[SharedPart] = []
    for outer in range(at - 1, -1, -1):
        values, vectors = np.linalg.eigh(gain[outer])
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        across = F[:, :, list(cross.levels[outer].columns)]
        found.append((ancestor, across @ root[ancestor]))
        F = F - across @ (covariances[outer] @ own[outer])[ancestor]
        if outer:
            ancestor = cross.levels[outer].parent[ancestor]
    return tuple(found)


def _own_solves(
    cross: CrossProducts, covariances: tuple[Floats, ...], elimination: Elimination
) -> tuple[list[Floats], list[Floats], list[Floats]]:
    """Return per level the solves that know of nothing outside the group.

    They are Z'V⁻¹W, Z'V⁻¹Z and D (I + S D)⁻¹, the last one for the levels inside the group.
    """
    own: list[Floats] = []
    inner_self: list[Floats] = []
    gain: list[Floats] = []
    for level, D, C in zip(cross.levels, covariances, elimination.reduced, strict=True):
        columns = list(level.columns)
        S = C[:, :, columns]
        left = np.eye(len(columns)) + S @ D
        own.append(_solve(left, C))
        inner_self.append(_solve(left, S))
        K = _solve(np.swapaxes(left, 1, 2), np.broadcast_to(D, S.shape))
        gain.append(0.5 * (K + np.swapaxes(K, 1, 2)))
    return own, inner_self, gain


def _solve(left: Floats, right: Floats) -> Floats:
    if left.shape[-1] == 1:
        return np.asarray(right / left)
    if left.shape[-1] == 2:
        a, b, c, d = left[:, 0, 0], left[:, 0, 1], left[:, 1, 0], left[:, 1, 1]
        determinant = (a * d - b * c)[:, None]
        solved = np.empty(np.broadcast_shapes(right.shape))
        solved[:, 0] = (d[:, None] * right[:, 0] - b[:, None] * right[:, 1]) / determinant
        solved[:, 1] = (a[:, None] * right[:, 1] - c[:, None] * right[:, 0]) / determinant
        return solved
    return np.asarray(np.linalg.solve(left, right))
