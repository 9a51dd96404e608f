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

__all__ = [
    "NormalPosterior",
    "TargetPosteriors",
    "YearTarget",
    "next_year_posterior",
    "persistent_posterior",
    "target_posteriors",
]

Floats = NDArray[np.float64]

_SCHOOLS_PER_BLOCK = 5000


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


@dataclass(frozen=True, kw_only=True, eq=False)
class YearTarget:
    r"""A linear function of a school's states: :math:`a u + \sum_y c_y v_y`.

    Attributes
    ----------
    persistent : float
        a, the weight of the persistent effect.
    years : ndarray of shape (n_target_years,)
        Years y, on the axis of the years of the data; they need not be among these.
    weights : ndarray of shape (n_target_years,)
        :math:`c_y`.
    """

    persistent: float
    years: Floats
    weights: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetPosteriors:
    """Posteriors of one target for many schools.

    Attributes
    ----------
    mean, variance : ndarray of shape (n_schools,)
        Moments, the coefficients taken as known.
    prior : float
        Variance of the target among schools.
    gain : ndarray of shape (n_schools, n_years)
        Weights of the residuals in the mean; 0 for a year without data.
    """

    mean: Floats
    variance: Floats
    prior: float
    gain: Floats


def target_posteriors(
    residual: Floats,
    sampling_variance: Floats,
    years: Floats,
    target: YearTarget,
    *,
    variances: tuple[float, float],
    lag_correlation: float = 0.0,
) -> TargetPosteriors:
    r"""Return the posterior of a target for all schools.

    Mean :math:`k'V^{-1}d` and variance :math:`q - k'V^{-1}k` with
    :math:`V = \sigma_u^2 11' + \sigma_v^2 R + \mathrm{diag}(s^2)`,
    :math:`R_{ts} = \rho^{|t-s|}`,
    :math:`k_t = a\sigma_u^2 + \sigma_v^2 \sum_y c_y \rho^{|y-t|}` and
    :math:`q = a^2\sigma_u^2 + \sigma_v^2 \sum_{yz} c_y c_z \rho^{|y-z|}`.

    Parameters
    ----------
    residual, sampling_variance : ndarray of shape (n_schools, n_years)
        Observed minus expected means and their sampling variances; NaN in both where a school has
        no data in a year.
    years : ndarray of shape (n_years,)
        The years as numbers.
    target : YearTarget
        What is predicted.
    variances : (persistent, transient)
        :math:`\sigma_u^2, \sigma_v^2`.
    lag_correlation : float
        ρ in [0, 1); 0 makes years independent.

    Raises
    ------
    DataError
        If a variance is negative or not finite, ρ lies outside [0, 1), or a year has neither
        transient nor sampling variance.

    References
    ----------
    Henderson1975.
    """
    persistent, transient = variances
    there = ~np.isnan(residual)
    _checked(0.0, sampling_variance[there], persistent, transient)
    if not 0 <= lag_correlation < 1:
        raise DataError(text("decisions.lag", value=lag_correlation))
    own = np.where(there, transient + np.where(there, sampling_variance, 0.0), np.inf)
    if not (own > 0).all():
        raise DataError(text("value_added.exact_year"))
    rho = float(lag_correlation)
    kernel = _kernel(years, target.years, rho) @ target.weights
    k = target.persistent * persistent + transient * kernel
    prior = target.persistent**2 * persistent + transient * float(
        target.weights @ _kernel(target.years, target.years, rho) @ target.weights
    )
    if rho == 0.0:
        w = 1.0 / own
        pull = persistent * (w @ k) / (1.0 + persistent * w.sum(axis=1))
        gain = w * (k - pull[:, None])
    else:
        shared = persistent + transient * _kernel(years, years, rho)
        gain = _batched_gain(shared, np.where(there, sampling_variance, np.nan), k)
    return TargetPosteriors(
        mean=np.einsum("jt,jt->j", gain, np.where(there, residual, 0.0)),
        variance=np.maximum(prior - gain @ k, 0.0),
        prior=float(prior),
        gain=gain,
    )


def _kernel(first: Floats, second: Floats, rho: float) -> Floats:
    return np.asarray(rho ** np.abs(np.subtract.outer(first, second)), dtype=float)


def _batched_gain(shared: Floats, sampling: Floats, k: Floats) -> Floats:
    """Return V⁻¹k per school; a year without data becomes a row and column of the unit matrix."""
    gain = np.zeros_like(sampling)
    diagonal = np.arange(sampling.shape[1])
    for start in range(0, len(sampling), _SCHOOLS_PER_BLOCK):
        part = slice(start, start + _SCHOOLS_PER_BLOCK)
        there = ~np.isnan(sampling[part])
        V = np.where(there[:, :, None] & there[:, None, :], shared, 0.0)
        V[:, diagonal, diagonal] += np.where(there, sampling[part], 1.0)
        gain[part] = np.linalg.solve(V, np.where(there, k, 0.0)[:, :, None])[:, :, 0]
    return gain
