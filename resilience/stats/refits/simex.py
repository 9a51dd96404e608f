r"""SIMEX: what errors did to an estimate, found by adding more of them.

At each multiplier :math:`\zeta \ge 0` further errors of :math:`\zeta` times the known variance are
drawn and added, so that the estimate :math:`\hat\beta(\zeta)` has errors of :math:`1 + \zeta` times
that variance.  A curve through the means over the draws, continued to :math:`\zeta = -1`, says what
the estimate would be without errors:

.. math::

   \text{quadratic:}\; a_k + b_k\zeta + d_k\zeta^2, \qquad
   \text{rational:}\; \frac{a_{k0} + \dots + a_{kq}\zeta^q}{1 + c_1\zeta + \dots + c_q\zeta^q} .

Errors of q columns add :math:`\zeta\Delta` of rank q to :math:`X'V^{-1}X`, and the elements of
:math:`(M + \zeta\Delta)^{-1}m` are quotients of polynomials of degree q whose denominator, the
determinant, is one for all terms.  The rational curves are therefore fitted to all terms jointly;
for one prior they are :math:`a_k + b_k/(c + \zeta)` with
:math:`c = 1 + \omega^2/\sigma_\delta^2`, :math:`\omega^2` being what is true of the variance that
the prior has of its own (the formula of Sherman and Morrison).  The quadratic curve falls short of
the truth where errors are large.

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

from resilience.errors import DataError
from resilience.i18n import text

__all__ = [
    "MULTIPLIERS",
    "Curves",
    "Extrapolation",
    "quadratic_curves",
    "rational_curves",
    "simex_covariance",
    "simulation_errors",
]

Floats = NDArray[np.float64]
Extrapolation = Literal["rational", "quadratic"]

MULTIPLIERS = (0.0, 0.5, 1.0, 1.5, 2.0)

_NEAREST_POLE = -1.25  # of one prior: a fifth of its own variance is true
_MISFIT = 0.02  # of the curve's range; besides three simulation errors
_STEADY = 3.0  # simulation errors that some mean must move by for a bend to be seen
_HIGHEST = 3  # degree: more is not told by five multipliers


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Curves of one family through the means of all terms.

    Attributes
    ----------
    kind : {"rational", "quadratic"}
        The family.
    limits : ndarray of shape (p,)
        The curves at −1: without errors.
    weights : ndarray of shape (p, n_multipliers, p)
        Derivatives of the limits in the means.
    numerators : ndarray of shape (p, degree + 1)
        Coefficients from the constant on.
    denominator : ndarray of shape (degree + 1,)
        Common to all terms; 1 and zeros for the quadratic family.
    reasons : tuple of {"", "pole", "flat", "misfit", "degree"}
        Why the rational curve of a term is not to be trusted: a pole lies too near −1, no mean
        moves enough beside its simulation error, the means do not lie on the curve, or there are
        too many columns with errors for the multipliers.
    """

    kind: Extrapolation
    limits: Floats
    weights: Floats
    numerators: Floats
    denominator: Floats
    reasons: tuple[str, ...]

    @property
    def pole(self) -> float:
        """The real pole that lies nearest to −1 from below; missing where there is none."""
        real = _real_roots(self.denominator)
        below = real[real < -1.0]
        return float(below.max()) if len(below) else float("nan")

    def at(self, multipliers: Floats) -> Floats:
        """Return the curves at multipliers, shape (n, p)."""
        powers = np.vander(multipliers, self.numerators.shape[1], increasing=True)
        below = np.vander(multipliers, len(self.denominator), increasing=True) @ self.denominator
        return np.asarray(powers @ self.numerators.T / below[:, None])


def quadratic_curves(multipliers: Sequence[float], means: Floats) -> Curves:
    """Return the quadratic curves by least squares.

    Parameters
    ----------
    multipliers : sequence of float
        At least three.
    means : ndarray of shape (n_multipliers, p)
        Mean estimates at each.
    """
    solve = np.linalg.pinv(np.vander(np.asarray(multipliers, dtype=float), 3, increasing=True))
    weights = np.array([1.0, -1.0, 1.0]) @ solve
    p = means.shape[1]
    return Curves(
        kind="quadratic",
        limits=weights @ means,
        weights=np.einsum("k,pr->pkr", weights, np.eye(p)),
        numerators=(solve @ means).T,
        denominator=np.array([1.0]),
        reasons=("",) * p,
    )


def rational_curves(
    multipliers: Sequence[float], means: Floats, errors: Floats | None = None, *, degree: int = 1
) -> Curves:
    """Return the rational curves of all terms, with the reasons where they misbehave.

    Parameters
    ----------
    multipliers : sequence of float
        Multipliers.
    means : ndarray of shape (n_multipliers, p)
        Mean estimates at each.
    errors : ndarray of shape (p,), optional
        Simulation errors of the means; they weigh the terms.
    degree : int
        Number of columns with errors.

    References
    ----------
    CookStefanski1994; CarrollEtAl2006, section 5.3.
    """
    z = np.asarray(multipliers, dtype=float)
    p = means.shape[1]
    if degree > _HIGHEST or (degree + 1) * p + degree > means.size:
        nothing = quadratic_curves(multipliers, means)
        return Curves(
            kind="rational",
            limits=nothing.limits,
            weights=nothing.weights,
            numerators=nothing.numerators,
            denominator=nothing.denominator,
            reasons=("degree",) * p,
        )
    error = np.zeros(p) if errors is None else np.asarray(errors, dtype=float)
    span = np.ptp(means, axis=0)
    size = np.maximum(error, 1e-6 * max(float(span.max()), 1e-300))
    denominator = _denominator(z, means, size, degree)
    numerators = _numerators(z, means, denominator)
    weights = np.empty((p, len(z), p))
    for k in range(len(z)):
        for r in range(p):
            step = np.zeros_like(means)
            step[k, r] = 1e-4 * max(float(span[r]), float(size[r]))
            up, down = (
                _ahead(z, means + s, _denominator(z, means + s, size, degree))
                for s in (step, -step)
            )
            weights[:, k, r] = (up - down) / (2.0 * step[k, r])
    found = Curves(
        kind="rational",
        limits=_ahead(z, means, denominator),
        weights=weights,
        numerators=numerators,
        denominator=denominator,
        reasons=("",) * p,
    )
    left = np.abs(found.at(z) - means).max(axis=0)
    real = _real_roots(denominator)
    near = bool(((real > _NEAREST_POLE) & (real < z.max())).any())
    why = "flat" if (span <= _STEADY * error).all() else "pole" if near else ""
    wide = left > _STEADY * error + _MISFIT * span
    reasons = tuple(why or ("misfit" if missed else "") for missed in wide)
    return Curves(
        kind="rational",
        limits=found.limits,
        weights=weights,
        numerators=numerators,
        denominator=denominator,
        reasons=reasons,
    )


def simulation_errors(draws: Floats, weights: Floats) -> Floats:
    """Return what the finite number of draws leaves unknown of extrapolated values, shape (p,).

    Parameters
    ----------
    draws : ndarray of shape (n_pairs, n_multipliers, p)
        Estimates, means over independent pairs of draws.
    weights : ndarray of shape (p, n_multipliers, p)
        Derivatives of the limits in the means.
    """
    values = np.einsum("bkr,pkr->bp", draws, weights)
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def simex_covariance(
    multipliers: Sequence[float], own: Floats, between: Floats, denominator: Floats | None = None
) -> Floats:
    """Return the covariance of SIMEX estimates by the jackknife of Stefanski and Cook.

    Parameters
    ----------
    multipliers : sequence of float
        Multipliers.
    own : ndarray of shape (n_multipliers, p, p)
        Means of the fits' own covariances.
    between : ndarray of shape (n_multipliers, p, p)
        Covariances of the estimates over the draws.
    denominator : ndarray of shape (degree + 1,), optional
        Of the rational curves: variances are quotients with its square.

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
    below = np.array([1.0]) if denominator is None else denominator
    squares = np.polynomial.polynomial.polyval(np.asarray(multipliers), below) ** 2
    last = float(np.polynomial.polynomial.polyval(-1.0, below)) ** 2
    found = quadratic_curves(multipliers, rest * squares[:, None]).limits.reshape(p, p) / last
    found = 0.5 * (found + found.T)
    scale = np.sqrt(np.diag(own[0]))
    if (np.diag(found) <= 0).any():
        raise DataError(text("simex.no_variance", n=int((np.diag(found) <= 0).sum())))
    values, vectors = np.linalg.eigh(found / np.outer(scale, scale))
    # what draws leave below zero of a direction is rounding beside the fit's own variance there
    kept = (vectors * np.maximum(values, 1e-6 * values[-1])) @ vectors.T
    return np.asarray(kept * np.outer(scale, scale))


def _denominator(z: Floats, means: Floats, size: Floats, degree: int) -> Floats:
    """Return the common denominator by least squares, each term free in its numerator.

    With the numerators eliminated, what a mean times the powers of the multiplier leaves of the
    mean itself is linear in the denominator's coefficients.
    """
    powers = np.vander(z, degree + 1, increasing=True)
    rest = np.eye(len(z)) - powers @ np.linalg.pinv(powers)
    left = np.concatenate(
        [rest @ (m[:, None] * powers[:, 1:]) / s for m, s in zip(means.T, size, strict=True)]
    )
    right = np.concatenate([rest @ m / s for m, s in zip(means.T, size, strict=True)])
    return np.concatenate([[1.0], -np.linalg.lstsq(left, right, rcond=None)[0]])


def _numerators(z: Floats, means: Floats, denominator: Floats) -> Floats:
    """Return the numerators over a denominator by least squares, shape (p, degree + 1)."""
    powers = np.vander(z, len(denominator), increasing=True)
    below = (powers @ denominator)[:, None]
    return np.asarray(np.linalg.lstsq(powers / below, means, rcond=None)[0].T)


def _ahead(z: Floats, means: Floats, denominator: Floats) -> Floats:
    """Return the curves over a denominator at −1."""
    signs = (-1.0) ** np.arange(len(denominator))
    below = float(signs @ denominator)
    return np.asarray(_numerators(z, means, denominator) @ signs / below)


def _real_roots(denominator: Floats) -> Floats:
    roots = np.roots(denominator[::-1])
    return np.asarray(roots.real[np.abs(roots.imag) <= 1e-9 * np.maximum(1.0, np.abs(roots))])
