"""Closed forms of shrinkage for one level with known variances."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["conditional_sd", "reliability", "shrunken_effect"]

Floats = NDArray[np.float64]


def reliability(n: ArrayLike, var_between: float, var_within: float) -> Floats:
    r"""Return the reliability of each school mean.

    .. math:: \lambda_j = \sigma_u^2 / (\sigma_u^2 + \sigma_e^2 / n_j)

    Parameters
    ----------
    n : array_like of shape (n_schools,)
        Pupils per school, at least 1.
    var_between, var_within : float
        Variances in squared score units, at least 0.

    Returns
    -------
    ndarray of shape (n_schools,)
        In [0, 1], unitless; 0 where ``var_between`` is 0.

    Raises
    ------
    DataError
        If a variance is negative or an ``n`` is below 1.

    References
    ----------
    RaudenbushBryk2002, chapter 3.
    """
    sizes = np.asarray(n, dtype=float)
    if not (sizes >= 1).all():
        raise DataError(text("shrinkage.n", value=float(np.min(sizes))))
    if var_between < 0 or var_within < 0:
        raise DataError(text("shrinkage.variance", value=min(var_between, var_within)))
    if var_between == 0:
        return np.zeros_like(sizes)
    return np.asarray(var_between / (var_between + var_within / sizes))


def shrunken_effect(
    mean_residual: ArrayLike, n: ArrayLike, var_between: float, var_within: float
) -> Floats:
    r"""Return the empirical Bayes effect :math:`\hat u_j = \lambda_j \bar r_j`.

    Parameters
    ----------
    mean_residual : array_like of shape (n_schools,)
        Mean of observed minus expected results, in score units.
    n, var_between, var_within
        As in `reliability`.
    """
    weight = reliability(n, var_between, var_within)
    return np.asarray(weight * np.asarray(mean_residual, dtype=float))


def conditional_sd(n: ArrayLike, var_between: float, var_within: float) -> Floats:
    r"""Return the posterior SD of the effect with the fixed effects taken as known.

    .. math:: s_j = (n_j/\sigma_e^2 + 1/\sigma_u^2)^{-1/2} = \sigma_u \sqrt{1-\lambda_j}
    """
    return np.asarray(np.sqrt(var_between * (1.0 - reliability(n, var_between, var_within))))
