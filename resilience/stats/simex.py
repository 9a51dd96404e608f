r"""SIMEX: what errors did to an estimate, found by adding more of them.

At each multiplier :math:`\zeta \ge 0` further errors of :math:`\zeta` times the known variance are
drawn and added, so that the estimate :math:`\hat\beta(\zeta)` has errors of :math:`1 + \zeta` times
that variance.  A curve through the means over the draws, continued to :math:`\zeta = -1`, says what
the estimate would be without errors:

.. math::

   \text{quadratic:}\; a + b\zeta + d\zeta^2, \qquad \text{rational:}\; a + \frac{b}{c + \zeta} .

Errors of one column add :math:`\zeta\sigma_\delta^2` to one entry of :math:`X'V^{-1}X`, of which by
the formula of Sherman and Morrison every coefficient is a rational function of the second kind with
the pole :math:`-c = -1 - \omega^2/\sigma_\delta^2`, :math:`\omega^2` being what is true of the
variance that the column has of its own.  It is the exact curve of one prior; the quadratic one
falls short of the truth where errors are large.

With :math:`T(\zeta)` the mean of the fits' own covariances and :math:`S(\zeta)` the covariance of
the estimates over the draws, the covariance of the result is :math:`T(\zeta) - S(\zeta)` continued
to :math:`-1` (the jackknife of Stefanski and Cook).

Sources: CookStefanski1994; StefanskiCook1995; CarrollEtAl2006, chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from resilience.errors import DataError
from resilience.i18n import text

__all__ = [
    "MULTIPLIERS",
    "Curve",
    "Extrapolation",
    "extrapolate",
    "quadratic_curve",
    "rational_curve",
    "simex_covariance",
    "simulation_errors",
]

Floats = NDArray[np.float64]
Extrapolation = Literal["rational", "quadratic"]

MULTIPLIERS = (0.0, 0.5, 1.0, 1.5, 2.0)

_NEAREST_POLE = 1.25  # c: a fifth of the column's own variance is true
_FARTHEST_POLE = 1000.0  # beyond, the curve is a straight line
_MISFIT = 0.02  # of the curve's range; besides three simulation errors
_STEADY = 3.0  # simulation errors that the curve must move by for its bend to be seen


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A curve through the means at the multipliers.

    Attributes
    ----------
    kind : {"rational", "quadratic"}
        Its family.
    value : float
        The curve at −1: without errors.
    weights : ndarray of shape (n_multipliers,)
        Derivatives of that value in the means.
    parameters : ndarray of shape (3,)
        a, b and c (rational) or a, b and d (quadratic).
    reason : {"", "pole", "flat", "misfit"}
        Why a rational curve is not to be trusted: its pole lies too near −1, the means do not move
        enough beside the simulation error, or they do not lie on it.
    """

    kind: Extrapolation
    value: float
    weights: Floats
    parameters: Floats
    reason: str = ""

    def at(self, multipliers: Floats) -> Floats:
        """Return the curve at multipliers."""
        a, b, last = self.parameters
        if self.kind == "quadratic":
            return np.asarray(a + b * multipliers + last * multipliers**2)
        return np.asarray(a + b / (last + multipliers))


def quadratic_curve(multipliers: Sequence[float], means: Floats) -> Curve:
    """Return the quadratic curve by least squares.

    Parameters
    ----------
    multipliers : sequence of float
        At least three.
    means : ndarray of shape (n_multipliers,)
        Mean estimate at each.
    """
    z = np.asarray(multipliers, dtype=float)
    solve = np.linalg.pinv(np.column_stack([np.ones_like(z), z, z**2]))
    parameters, weights = solve @ means, np.array([1.0, -1.0, 1.0]) @ solve
    return Curve(
        kind="quadratic", value=float(weights @ means), weights=weights, parameters=parameters
    )


def rational_curve(multipliers: Sequence[float], means: Floats, error: float = 0.0) -> Curve:
    """Return the rational-linear curve by least squares, with the reason where it misbehaves.

    Parameters
    ----------
    multipliers : sequence of float
        At least four.
    means : ndarray of shape (n_multipliers,)
        Mean estimate at each.
    error : float
        Simulation error of the means.
    """
    z = np.asarray(multipliers, dtype=float)
    span = float(np.ptp(means))
    if span <= max(_STEADY * error, 1e-12 * max(1.0, float(np.abs(means).max()))):
        return _with_reason(z, means, _FARTHEST_POLE, "flat")
    grid = 1.0 + np.geomspace(0.02, _FARTHEST_POLE, 60)
    sizes = [_squares(z, means, c) for c in grid]
    best = int(np.argmin(sizes))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda log_c: _squares(z, means, 1.0 + np.exp(log_c)),
        bounds=(np.log(low - 1.0), np.log(high - 1.0)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    c = 1.0 + float(np.exp(found.x))
    if c < _NEAREST_POLE:
        return _with_reason(z, means, c, "pole")
    left = float(np.sqrt(_squares(z, means, c) / max(len(z) - 3, 1)))
    return _with_reason(z, means, c, "misfit" if left > 3.0 * error + _MISFIT * span else "")


def extrapolate(
    multipliers: Sequence[float], means: Floats, *, kind: Extrapolation, error: float = 0.0
) -> Curve:
    """Return the curve of the kind asked for, the quadratic one where the rational misbehaves.

    Parameters
    ----------
    multipliers : sequence of float
        Multipliers.
    means : ndarray of shape (n_multipliers,)
        Mean estimate at each.
    kind : {"rational", "quadratic"}
        Family of the curve.
    error : float
        Simulation error of the means.

    References
    ----------
    CookStefanski1994; CarrollEtAl2006, section 5.3.
    """
    if kind == "rational":
        found = rational_curve(multipliers, means, error)
        if not found.reason:
            return found
    return quadratic_curve(multipliers, means)


def simulation_errors(draws: Floats, weights: Floats) -> Floats:
    """Return what the finite number of draws leaves unknown of extrapolated values, shape (p,).

    Parameters
    ----------
    draws : ndarray of shape (n_pairs, n_multipliers, p)
        Estimates, means over independent pairs of draws.
    weights : ndarray of shape (p, n_multipliers)
        Derivatives of the values in the means.
    """
    values = np.einsum("bkp,pk->bp", draws, weights)
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def simex_covariance(multipliers: Sequence[float], own: Floats, between: Floats) -> Floats:
    """Return the covariance of SIMEX estimates by the jackknife of Stefanski and Cook.

    Parameters
    ----------
    multipliers : sequence of float
        Multipliers.
    own : ndarray of shape (n_multipliers, p, p)
        Means of the fits' own covariances.
    between : ndarray of shape (n_multipliers, p, p)
        Covariances of the estimates over the draws.

    Raises
    ------
    DataError
        If the extrapolated variance of a coefficient is not positive.

    References
    ----------
    StefanskiCook1995; CarrollEtAl2006, section B.4.1.
    """
    p = own.shape[1]
    rest = (own - between).reshape(len(own), -1)
    weights = quadratic_curve(multipliers, rest[:, 0]).weights
    found = (weights @ rest).reshape(p, p)
    found = 0.5 * (found + found.T)
    scale = np.sqrt(np.diag(own[0]))
    if (np.diag(found) <= 0).any():
        raise DataError(text("simex.no_variance", n=int((np.diag(found) <= 0).sum())))
    values, vectors = np.linalg.eigh(found / np.outer(scale, scale))
    # what draws leave below zero of a direction is rounding beside the fit's own variance there
    kept = (vectors * np.maximum(values, 1e-6 * values[-1])) @ vectors.T
    return np.asarray(kept * np.outer(scale, scale))


def _line(z: Floats, means: Floats, c: float) -> tuple[float, float]:
    """Return a and b for a given c."""
    x = 1.0 / (c + z)
    gap = x - x.mean()
    b = float(gap @ means / (gap @ gap))
    return float(means.mean() - b * x.mean()), b


def _squares(z: Floats, means: Floats, c: float) -> float:
    a, b = _line(z, means, c)
    left = means - a - b / (c + z)
    return float(left @ left)


def _with_reason(z: Floats, means: Floats, c: float, reason: str) -> Curve:
    """Return the curve for a given c; the weights are those of its tangent plane."""
    a, b = _line(z, means, c)
    slopes = np.column_stack([np.ones_like(z), 1.0 / (c + z), -b / (c + z) ** 2])
    ahead = np.array([1.0, 1.0 / (c - 1.0), -b / (c - 1.0) ** 2])
    return Curve(
        kind="rational",
        value=a + b / (c - 1.0),
        weights=np.asarray(ahead @ np.linalg.pinv(slopes)),
        parameters=np.array([a, b, c]),
        reason=reason,
    )
