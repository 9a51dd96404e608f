r"""The derivative of the profiled criterion in the cross-products themselves.

The criterion of ``profile.py`` is a function of the cross-products :math:`G = W'W` and, per level,
:math:`C_g = Z_g'W`.  Whatever makes the cross-products depend on something else (residual variances
and correlations, weights, one pupil more or less) needs its derivative in their entries.  By the
envelope theorem the coefficients may be taken as fixed, and of the eliminated
:math:`T = W'V^{-1}W`

.. math::

   \bar T = \frac{\partial d}{\partial T} = \frac{m}{r^2}\,cc'
   + \big[(X'V^{-1}X)^{-1}\big]_{XX}, \qquad c = (-\hat\beta, 1)',

the bracket for REML only.  The elimination :math:`T \leftarrow T - C_g'K_gC_g`,
:math:`C_o \leftarrow C_o - (C_g)_{\cdot Z_o}'K_gC_g`, :math:`K_g = (D^{-1} + S_g)^{-1}` with
:math:`S_g = (C_g)_{\cdot Z}`, is then gone through backwards, from the outermost level inwards:

.. math::

   H_g = 2 C_g\bar T + \sum_o \big[(C_g)_{\cdot Z_o}\bar C_o
   + C_g\bar C_o' \text{ in the columns } Z_o\big], \qquad
   \bar C_g = -K_gH_g + \big[K_g + \tfrac12 K_g\,\mathrm{sym}(H_gC_g')K_g\big]
   \text{ in the columns } Z .

The first :math:`K_g` of the last bracket belongs to :math:`\log|V|`; the sum over the outer levels
carries what a group shares with its ancestors.  The cost is that of one elimination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.elimination import Elimination
from resilience.stats.engine.profile import Method, Profile

__all__ = ["ProductSensitivities", "elimination_adjoint", "product_sensitivities"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductSensitivities:
    """Derivative of a scalar in all cross-products.

    The entries of a symmetric block count twice, once on each side of its diagonal: for changes
    ``dG`` (symmetric) and ``dC`` the scalar moves by ``(total * dG).sum()`` plus, over the levels,
    ``(products * dC).sum()``.

    Attributes
    ----------
    total : ndarray of shape (P, P)
        In ``CrossProducts.total``.
    products : tuple of ndarray of shape (n_groups, q, P)
        In every level's ``products``.
    """

    total: Floats
    products: tuple[Floats, ...]


def product_sensitivities(
    cross: CrossProducts,
    covariances: Sequence[Floats],
    profile: Profile,
    *,
    fixed: Sequence[int],
    method: Method,
) -> ProductSensitivities:
    """Return the derivative of the profiled criterion in the cross-products.

    Parameters
    ----------
    cross : CrossProducts
        The cross-products, the outcome last.
    covariances : sequence of ndarray of shape (q, q)
        Relative covariances of the levels.
    profile : Profile
        What ``evaluate`` returned there.
    fixed : sequence of int
        Positions of the fixed terms.
    method : {"reml", "ml"}
        Criterion.

    Returns
    -------
    ProductSensitivities
        Of the criterion as ``evaluate`` gives it: ``n_rows`` and ``log_weights`` do not enter.
    """
    at = list(fixed)
    contrast = np.zeros(len(cross.columns))
    contrast[-1] = 1.0
    contrast[at] -= profile.beta
    total = profile.denominator / profile.residual * np.outer(contrast, contrast)
    if method == "reml" and at:
        total[np.ix_(at, at)] += profile.inverse
    return elimination_adjoint(cross, covariances, profile.elimination, total)


def elimination_adjoint(
    cross: CrossProducts,
    covariances: Sequence[Floats],
    elimination: Elimination,
    total: Floats,
    *,
    log_determinant: float = 1.0,
) -> ProductSensitivities:
    r"""Lead a derivative in the eliminated quantities back to the cross-products.

    Parameters
    ----------
    cross : CrossProducts
        The cross-products.
    covariances : sequence of ndarray of shape (q, q)
        Relative covariances of the levels.
    elimination : Elimination
        The result of ``eliminate`` at the same covariances.
    total : ndarray of shape (P, P)
        Symmetric derivative of the scalar in :math:`W'V^{-1}W`.
    log_determinant : float
        Derivative of the scalar in :math:`\log|V|`.

    Returns
    -------
    ProductSensitivities
    """
    found: list[Floats] = []
    for at, (level, D, C) in enumerate(
        zip(cross.levels, covariances, elimination.reduced, strict=True)
    ):
        columns = list(level.columns)
        H = 2.0 * (C.reshape(-1, C.shape[2]) @ total).reshape(C.shape)
        ancestor = level.parent
        for outer in range(at - 1, -1, -1):
            theirs = list(cross.levels[outer].columns)
            above = found[outer][ancestor]
            H += C[:, :, theirs] @ above
            H[:, :, theirs] += C @ np.swapaxes(above, 1, 2)
            if outer:
                ancestor = cross.levels[outer].parent[ancestor]
        K = _gain(C[:, :, columns], D)
        inner = H @ np.swapaxes(C, 1, 2)
        inner = 0.25 * (inner + np.swapaxes(inner, 1, 2))
        own = -K @ H
        own[:, :, columns] += log_determinant * K + K @ inner @ K
        found.append(own)
    return ProductSensitivities(total=total, products=tuple(found))


def _gain(S: Floats, D: Floats) -> Floats:
    """Return (D⁻¹ + S)⁻¹ per group, also where D is singular."""
    if len(D) == 1:
        return np.asarray(D / (1.0 + S * D))
    S = 0.5 * (S + np.swapaxes(S, 1, 2))
    K = np.linalg.solve(np.eye(len(D)) + D @ S, np.broadcast_to(D, S.shape))
    return np.asarray(0.5 * (K + np.swapaxes(K, 1, 2)))
