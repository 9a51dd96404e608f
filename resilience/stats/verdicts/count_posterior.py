r"""Posterior of a school's lasting effect on the log-odds of failing, from counts of years.

.. math:: f_{jt} \sim \mathrm{Bin}\big(n_{jt}, \mathrm{logit}^{-1}(\mu_{jt} + u_j + v_{jt})\big),
          \quad u \sim N(0, \sigma_u^2), \; v \sim N(0, \sigma_v^2) .
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, special

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["CountPosterior", "count_posterior"]

Floats = NDArray[np.float64]

_NODES = 15  # Gauss-Hermite, over the transient part
_POINTS = 61  # over ±6 SD of the lasting part
_REACH = 6.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CountPosterior:
    """Posterior of u, one entry per school.

    Attributes
    ----------
    mean, sd : ndarray of shape (S,)
        On the scale of log-odds.
    log_likelihood : ndarray of shape (S,)
        Of each school's counts, u and v integrated out.
    points : ndarray of shape (61,)
        Where the density is known.
    density : ndarray of shape (S, 61)
        p(u | f), integrating to 1.
    """

    mean: Floats
    sd: Floats
    log_likelihood: Floats
    points: Floats
    density: Floats

    def probability_above(self, bound: float) -> Floats:
        """Return P(u > bound), from a cubic spline of the density."""
        low, high = float(self.points[0]), float(self.points[-1])
        at = min(max(bound, low), high)
        spline = interpolate.CubicSpline(self.points, self.density, axis=1)
        return np.clip(spline.integrate(at, high) / spline.integrate(low, high), 0.0, 1.0)


def count_posterior(
    failed: ArrayLike,
    sat: ArrayLike,
    location: ArrayLike,
    *,
    persistent_sd: float,
    transient_sd: float,
) -> CountPosterior:
    r"""Return the posterior of u by 15 Gauss-Hermite nodes in v on 61 points of u.

    Parameters
    ----------
    failed, sat : array_like of shape (S, T)
        f and n; n = 0 where a school has no data.
    location : array_like of shape (S, T) or (T,)
        μ on the scale of log-odds.
    persistent_sd, transient_sd : float
        σ_u above 0, σ_v.

    Raises
    ------
    DataError
        If counts are not 0 ≤ f ≤ n, or an SD is out of range.
    """
    f, n, mu = np.broadcast_arrays(
        *(np.atleast_2d(np.asarray(v, dtype=float)) for v in (failed, sat, location))
    )
    bad = (f < 0) | (f > n) | ~np.isfinite(f) | ~np.isfinite(n)
    if bad.any():
        raise DataError(text("proportions.counts", successes=f[bad][0], n=n[bad][0]))
    for value, least in ((persistent_sd, np.finfo(float).tiny), (transient_sd, 0.0)):
        if not (np.isfinite(value) and value >= least):
            raise DataError(text("decisions.variance", value=value))
    x, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    log_weight = np.log(weight / weight.sum())
    points = np.linspace(-_REACH, _REACH, _POINTS) * persistent_sd
    step = points[1] - points[0]
    constant = special.gammaln(n + 1) - special.gammaln(f + 1) - special.gammaln(n - f + 1)
    log_density = np.empty((len(f), _POINTS))
    prior = -0.5 * (points / persistent_sd) ** 2 - np.log(persistent_sd * np.sqrt(2 * np.pi))
    for k, u in enumerate(points):
        eta = mu[..., None] + u + transient_sd * x
        terms = f[..., None] * eta - n[..., None] * np.logaddexp(0.0, eta) + log_weight
        log_density[:, k] = (special.logsumexp(terms, axis=2) + constant).sum(axis=1) + prior[k]
    # the trapezoid rule on an analytic function that vanishes at both ends
    total = special.logsumexp(log_density, axis=1) + np.log(step)
    density = np.exp(log_density - total[:, None])
    mean = step * density @ points
    variance = step * density @ points**2 - mean**2
    return CountPosterior(
        mean=mean,
        sd=np.sqrt(np.maximum(variance, 0.0)),
        log_likelihood=total,
        points=points,
        density=density,
    )
