r"""Variance of effects around a line on a context that is measured with error.

Unshrunken means d with error variances 1/A, taken off their line on the shrunken context a (the
true one is :math:`c \sim N(a, q^2)`), still hold the error of the context:

.. math:: d_j \sim N\big(\alpha,\; \sigma_u^2 + b^2 q_j^2 + 1/A_j\big) .
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

__all__ = ["common_variance", "variance_off_the_line"]

Floats = NDArray[np.float64]

_GRID = 25  # places at which the search begins
_DEEPEST = 0.9  # of the smallest known variance that the common one may take back


def common_variance(values: Floats, known: Floats) -> float:
    r"""Return the maximum-likelihood :math:`\tau^2` of :math:`x_j \sim N(\alpha, \tau^2 + k_j)`.

    It may be negative, down to −.9 of the smallest :math:`k_j`: only its change is of interest.

    Parameters
    ----------
    values : ndarray of shape (S,)
        x.
    known : ndarray of shape (S,)
        k, above 0.
    """

    def criterion(variance: float) -> float:
        """Return −2 log-likelihood, the level profiled."""
        w = 1.0 / (variance + known)
        left = values - (w @ values) / w.sum()
        return float(-np.log(w).sum() + w @ left**2)

    lowest = -_DEEPEST * float(known.min())
    # denser where the variance is small
    span = 4.0 * float(np.var(values)) + float(known.max()) - lowest
    grid = lowest + span * np.linspace(0.0, 1.0, _GRID) ** 2
    best = int(np.argmin([criterion(float(v)) for v in grid]))
    ends = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID - 1)])
    run = optimize.minimize_scalar(
        criterion, bounds=ends, method="bounded", options={"xatol": 1e-10 * span}
    )
    return float(run.x)


def variance_off_the_line(
    variance: float,
    residual: Floats,
    off: Floats,
    precision: Floats,
    context_variance: Floats,
    *,
    slope: float,
) -> float:
    r"""Return :math:`\sigma_u^2` net of the context from that of effects which still hold it.

    The variance is lowered by what the likelihood finds less of it once the line is taken out and
    :math:`b^2q_j^2` is known.  Where precision and q² are the same for all schools this is the
    subtraction of :math:`\beta^2\mathrm{Var}(a) + b^2q^2`; where they differ, schools whose context
    is known well tell more.

    Parameters
    ----------
    variance : float
        σ_u² of the effects as published.
    residual, off : ndarray of shape (S,)
        d before and after its line.
    precision : ndarray of shape (S,)
        A, above 0.
    context_variance : ndarray of shape (S,)
        q².
    slope : float
        b.

    Returns
    -------
    float
        0 or more.
    """
    error = 1.0 / precision
    before = common_variance(residual, error)
    after = common_variance(off, error + slope**2 * context_variance)
    return max(variance - (before - after), 0.0)
