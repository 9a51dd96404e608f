r"""Posterior of a school's persistent and next-year effects from its yearly residuals.

.. math:: d_t = u + v_t + e_t, \quad u \sim N(0, \sigma_u^2), \quad
          \mathrm{cov}(v_t, v_s) = \sigma_v^2 \rho^{|t-s|}, \quad \mathrm{Var}(e_t) = s_t^2 .
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["NormalPosterior", "next_year_posterior", "persistent_posterior"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NormalPosterior:
    """A normal posterior.

    Attributes
    ----------
    mean, variance : float
        Moments, in outcome units and their square.
    reliability : float
        1 minus posterior over prior variance; 0 where the prior has no variance.
    """

    mean: float
    variance: float
    reliability: float


def _checked(
    residual: ArrayLike, sampling_variance: ArrayLike, *own: float
) -> tuple[Floats, Floats]:
    d, s2 = np.broadcast_arrays(
        np.asarray(residual, dtype=float), np.asarray(sampling_variance, dtype=float)
    )
    for value in (*s2.ravel(), *own):
        if not (np.isfinite(value) and value >= 0):
            raise DataError(text("decisions.variance", value=value))
    return d.ravel(), s2.ravel()


def persistent_posterior(
    residual: ArrayLike, sampling_variance: ArrayLike, *, persistent: float, transient: float
) -> NormalPosterior:
    r"""Return the posterior of u with independent years.

    With :math:`w_t = 1/(\sigma_v^2+s_t^2)`: :math:`s^2 = 1/(1/\sigma_u^2 + \sum_t w_t)`,
    :math:`m = s^2 \sum_t w_t d_t`.

    Parameters
    ----------
    residual, sampling_variance : array_like of shape (n_years,)
        Observed minus expected mean of each year, and its sampling variance.
    persistent, transient : float
        σ_u² and σ_v².

    Raises
    ------
    DataError
        If a variance is negative or not finite.

    References
    ----------
    RaudenbushBryk2002, chapter 3.
    """
    d, s2 = _checked(residual, sampling_variance, persistent, transient)
    w = 1.0 / (transient + s2)
    variance = persistent / (1.0 + persistent * float(w.sum()))
    reliability = 1.0 - variance / persistent if persistent > 0 else 0.0
    return NormalPosterior(mean=variance * float(w @ d), variance=variance, reliability=reliability)


def next_year_posterior(
    residual: ArrayLike,
    sampling_variance: ArrayLike,
    *,
    persistent: float,
    transient: float,
    lag_correlation: float = 0.0,
) -> NormalPosterior:
    r"""Return the posterior of the effect of the year after the last, :math:`u + v_{T+1}`.

    Mean :math:`k'V^{-1}d` and variance :math:`\sigma_u^2 + \sigma_v^2 - k'V^{-1}k` with
    :math:`k_t = \sigma_u^2 + \sigma_v^2\rho^{T+1-t}`.

    Parameters
    ----------
    residual, sampling_variance : array_like of shape (n_years,)
        In the order of consecutive years.
    persistent, transient : float
        σ_u² and σ_v².
    lag_correlation : float
        ρ in [0, 1); 0 makes years independent.

    Raises
    ------
    DataError
        If a variance is negative or not finite, or ρ lies outside [0, 1).
    """
    d, s2 = _checked(residual, sampling_variance, persistent, transient)
    if not 0 <= lag_correlation < 1:
        raise DataError(text("decisions.lag", value=lag_correlation))
    years = np.arange(len(d))
    lags = np.abs(np.subtract.outer(years, years))
    V = persistent + transient * float(lag_correlation) ** lags + np.diag(s2)
    k = persistent + transient * float(lag_correlation) ** (len(d) - years)
    gain = np.linalg.solve(V, k)
    prior = persistent + transient
    variance = max(prior - float(gain @ k), 0.0)
    return NormalPosterior(
        mean=float(gain @ d),
        variance=variance,
        reliability=1.0 - variance / prior if prior > 0 else 0.0,
    )
