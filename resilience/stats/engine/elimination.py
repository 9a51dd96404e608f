r"""Elimination of the random effects up the tree of nested groups.

For relative covariances :math:`D_l = \Lambda_l\Lambda_l'` of the levels and
:math:`V = I + \sum_l Z_l D_l Z_l'`, every quantity of the profiled likelihood is a function of
:math:`W'V^{-1}W` and of :math:`\log|V|`.  From the innermost level outwards

.. math::

   (I + S_gD) A_g = C_g, \quad S_g = (C_g)_{\cdot Z}, \qquad
   \log|V| \mathrel{+}= \log|I + S_gD|, \quad G \mathrel{-}= C_g'DA_g, \quad
   C_o \mathrel{-}= (C_g)_{\cdot Z_o}'DA_g,

where :math:`o` are the ancestors of :math:`g` and :math:`C` already holds the eliminations of the
levels inside :math:`g`.  The way back (outer to inner) gives :math:`Z_g'V^{-1}W` and
:math:`Z_g'V^{-1}Z_g`, from which come the exact gradient, the conditional modes and variances.
Source: BatesEtAl2015, sections 3 and 5; the tree of nested levels is the same elimination repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossproducts import CrossProducts

__all__ = [
    "Elimination",
    "GroupSolves",
    "SharedPart",
    "eliminate",
    "shared_parts",
    "solve_groups",
    "term_products",
]

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
        Per level :math:`C_g = Z_g'V_{in}^{-1}W`, the levels inside eliminated, the own one not.
    own : tuple of ndarray of shape (n_groups, q, P)
        Per level :math:`A_g`, the own one eliminated too.
    """

    total: Floats
    log_determinant: float
    reduced: tuple[Floats, ...]
    own: tuple[Floats, ...]


def eliminate(cross: CrossProducts, covariances: tuple[Floats, ...]) -> Elimination:
    """Eliminate all levels.

    Parameters
    ----------
    cross : CrossProducts
        Cross-products; groups sorted by parent.
    covariances : tuple of ndarray of shape (q, q)
        Relative covariances D, one per level.

    Returns
    -------
    Elimination
        Cost O(sum over groups of q²P), whatever the number of pupils.
    """
    total = cross.total.copy()
    reduced = [level.products for level in cross.levels]
    own: list[Floats] = []
    log_determinant = 0.0
    for at in range(len(cross.levels) - 1, -1, -1):
        level, D, C = cross.levels[at], covariances[at], reduced[at]
        A, log_left = _solved(C, level.columns, D)
        own.insert(0, A)
        log_determinant += log_left
        total -= np.einsum("jk,jpkr->pr", D, term_products(C, A))
        if at == 0:
            break
        half, ancestor = _times(D, A), level.parent
        for outer in range(at - 1, -1, -1):
            theirs = cross.levels[outer]
            reduced[outer] = reduced[outer] - _sum_by(
                C[:, :, list(theirs.columns)], half, ancestor, reduced[outer]
            )
            ancestor = theirs.parent[ancestor]
    return Elimination(
        total=0.5 * (total + total.T),
        log_determinant=log_determinant,
        reduced=tuple(reduced),
        own=tuple(own),
    )


def term_products(left: Floats, right: Floats) -> Floats:
    """Return the sums over groups of the products of all terms and columns, shape (q, P, q, P).

    Parameters
    ----------
    left, right : ndarray of shape (n_groups, q, P)
        Arrays of one order of memory: one product of two matrices, whatever the order.
    """
    n, q, P = left.shape
    order: Literal["C", "F"] = "C" if left.flags.c_contiguous else "F"
    flat = [array.reshape(n, q * P, order=order) for array in (left, right)]
    return (flat[0].T @ flat[1]).reshape(q, P, q, P, order=order)


def _solved(C: Floats, columns: tuple[int, ...], D: Floats) -> tuple[Floats, float]:
    """Return (I + S D)⁻¹ C of every group and the sum of the log-determinants."""
    q = len(columns)
    S = C[:, :, list(columns)]
    if q == 1:
        m = 1.0 + S[:, 0, 0] * D[0, 0]
        return C / m[:, None, None], float(np.log(m).sum())
    left = np.eye(q) + S @ D
    if q > 2:
        return np.asarray(np.linalg.solve(left, C)), float(np.linalg.slogdet(left)[1].sum())
    a, b, c, d = left[:, 0, 0], left[:, 0, 1], left[:, 1, 0], left[:, 1, 1]
    determinant = a * d - b * c
    solved = np.empty_like(C)
    for k, own, across in ((0, d, b), (1, a, c)):
        solved[:, k] = (own / determinant)[:, None] * C[:, k]
        solved[:, k] -= (across / determinant)[:, None] * C[:, 1 - k]
    return solved, float(np.log(determinant).sum())


def _times(D: Floats, A: Floats) -> Floats:
    """Return D A of every group, in the order of memory of A."""
    if len(D) == 1:
        return np.asarray(D[0, 0] * A)
    found = np.zeros_like(A)
    for j, k in zip(*np.nonzero(D), strict=True):
        found[:, j] += D[j, k] * A[:, k]
    return found


def _sum_by(across: Floats, half: Floats, position: NDArray[np.int64], outer: Floats) -> Floats:
    """Return the sums of across' half over the groups of every outer unit, shaped like ``outer``.

    The positions are sorted, and every one of them occurs.
    """
    starts = np.searchsorted(position, np.arange(len(outer)))
    found = np.empty_like(outer)
    for k in range(across.shape[2]):
        product = across[:, 0, k, None] * half[:, 0]
        for j in range(1, across.shape[1]):
            product += across[:, j, k, None] * half[:, j]
        found[:, k] = np.add.reduceat(product, starts, axis=0)
    return found


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
    own = elimination.own
    gain = _gains(cross, covariances, elimination, len(cross.levels) - 1)
    to_columns: list[Floats] = []
    to_self: list[Floats] = []
    for at, level in enumerate(cross.levels):
        F = own[at]
        # inside the outer units a group's own rows alone are correlated with it
        S = F[:, :, list(level.columns)]
        ancestor = level.parent
        for outer in range(at - 1, -1, -1):
            across = F[:, :, list(cross.levels[outer].columns)]
            S = S - across @ gain[outer][ancestor] @ np.swapaxes(across, 1, 2)
            F = F - _passed_on(across, _times(covariances[outer], own[outer]), ancestor, F)
            ancestor = cross.levels[outer].parent[ancestor]
        to_columns.append(F)
        to_self.append(S)
    return GroupSolves(to_columns=tuple(to_columns), to_self=tuple(to_self))


def _passed_on(across: Floats, above: Floats, position: NDArray[np.int64], like: Floats) -> Floats:
    """Return across times what stands above each group, in the order of memory of ``like``."""
    found = np.zeros_like(like)
    for k in range(across.shape[2]):
        part = above[:, k][position]
        for j in range(across.shape[1]):
            found[:, j] += across[:, j, k, None] * part
    return found


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
    gain = _gains(cross, covariances, elimination, at)
    F, ancestor = elimination.own[at], cross.levels[at].parent
    found: list[SharedPart] = []
    for outer in range(at - 1, -1, -1):
        values, vectors = np.linalg.eigh(gain[outer])
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        across = F[:, :, list(cross.levels[outer].columns)]
        found.append((ancestor, across @ root[ancestor]))
        above = _times(covariances[outer], elimination.own[outer])
        F = F - _passed_on(across, above, ancestor, F)
        ancestor = cross.levels[outer].parent[ancestor]
    return tuple(found)


def _gains(
    cross: CrossProducts, covariances: tuple[Floats, ...], elimination: Elimination, n: int
) -> list[Floats]:
    """Return D (I + S D)⁻¹ for every group of the first n levels."""
    found: list[Floats] = []
    for at in range(n):
        D = covariances[at]
        S = elimination.reduced[at][:, :, list(cross.levels[at].columns)]
        K = np.linalg.solve(np.eye(len(D)) + D @ S, np.broadcast_to(D, S.shape))
        found.append(np.asarray(0.5 * (K + np.swapaxes(K, 1, 2))))
    return found
