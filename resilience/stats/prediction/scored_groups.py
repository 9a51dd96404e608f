r"""Effects of groups that took no part in the estimation, at its coefficients and variances.

With the terms Z of a group, its covariates X, weights W, the covariance D of its effects and the
estimated :math:`\hat\beta`,

.. math::

   \hat u = K Z'W(y - X\hat\beta), \quad K = D(\sigma^2I + Z'WZD)^{-1}, \qquad
   \mathrm{Var}(u \mid y, \beta) = \sigma^2K, \qquad \ell = K Z'WX :

:math:`\hat u` moves with the coefficients by :math:`-\ell` as that of a group of the fit, but the
errors of both are independent, since the group's results are not in :math:`\hat\beta`.
Source: Henderson1975.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ScoredGroups", "scored_groups"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredGroups:
    """Effects of groups outside the estimation.

    Attributes
    ----------
    modes : ndarray of shape (n_groups, q)
        Predictions.
    conditional : ndarray of shape (n_groups, q, q)
        Their covariances with the coefficients known.
    leverage : ndarray of shape (n_groups, q, p)
        They move by minus its product with a move of the coefficients.
    """

    modes: Floats
    conditional: Floats
    leverage: Floats


def scored_groups(
    Z: Floats,
    X: Floats,
    residual: Floats,
    *,
    groups: NDArray[np.int64],
    weights: Floats,
    covariance: Floats,
    residual_variance: float,
) -> ScoredGroups:
    """Return the effects of groups at given coefficients and variances.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, q)
        Random terms.
    X : ndarray of shape (n_rows, p)
        Fixed terms.
    residual : ndarray of shape (n_rows,)
        Observed minus fixed part.
    groups : ndarray of shape (n_rows,), int
        Codes 0, 1, … of the groups, each with a row.
    weights : ndarray of shape (n_rows,)
        Precision weights, at least 0.
    covariance : ndarray of shape (q, q)
        D.
    residual_variance : float
        σ² of a row of weight 1.

    References
    ----------
    Henderson1975.
    """
    n, q = int(groups.max()) + 1, Z.shape[1]
    weighted = Z * weights[:, None]
    across = np.zeros((n, q, q + X.shape[1] + 1))
    columns = np.column_stack([Z, X, residual])
    np.add.at(across, groups, weighted[:, :, None] * columns[:, None, :])
    own, fixed, left = across[..., :q], across[..., q:-1], across[..., -1]
    D = np.broadcast_to(covariance, own.shape)
    # K = D(σ²I + Z'WZD)⁻¹ = (σ²I + DZ'WZ)⁻¹D, symmetric
    K: Floats = np.linalg.solve(residual_variance * np.eye(q) + covariance @ own, D).astype(float)
    return ScoredGroups(
        modes=np.einsum("jab,jb->ja", K, left),
        conditional=residual_variance * K,
        leverage=K @ fixed,
    )
