r"""Draws from the posterior of a regression with nested random intercepts.

.. math:: y = X\beta + \sum_k Z_k u_k + e, \qquad u_k \sim N(0, \sigma^2\theta_k I), \quad
          e \sim N(0, \sigma^2 I)

What multiple imputation needs is not the best coefficients but draws of all of them: an imputation
that takes estimates for the truth leaves their uncertainty out.  With flat priors on
:math:`\beta`, :math:`1/\sigma^2` on the residual variance and half-Cauchy ones on
:math:`\sqrt{\theta_k}`, coefficients and residual variance have closed forms given
:math:`\theta`, and :math:`\theta` moves by Metropolis steps on its marginal posterior

.. math:: \log p(\theta \mid y) = -\tfrac12\log|V| - \tfrac12\log|X'V^{-1}X|
          - \tfrac{n-p}2\log r^2 + \sum_k\big(\tfrac12\log\theta_k - \log(1+\theta_k)\big)

in :math:`\log\theta`, :math:`\sigma^2V` the covariance of y and :math:`r^2` its generalised
residual sum of squares.  The levels are eliminated from the innermost outwards: a unit of weight a
and sums t takes :math:`\theta tt'/(1+\theta a)` from the cross-products and hands
:math:`a/(1+\theta a)` and :math:`t/(1+\theta a)` to the unit around it.  Sources: Rubin1987,
chapter 5; SchaferYucel2002.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

__all__ = ["Draw", "NestedUnits", "State", "draw_regression", "truncated_normals"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_STEPS, _WIDTH = 4, 0.8  # Metropolis steps per draw and level, their SD in log θ
_LOWEST, _HIGHEST = -14.0, 6.0  # of log θ: SD ratios of .001 and 20
_RIDGE = 0.01  # prior precision of a coefficient of a standardised column, in pupils


@dataclass(frozen=True, kw_only=True, eq=False)
class NestedUnits:
    """Nested units of the rows, from the innermost level outwards; none at all is a level less.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,)
        Innermost unit of every row; ignored without levels.
    parents : tuple of ndarrays
        ``parents[k]`` holds, for every unit of level k, its unit of level k + 1.
    sizes : tuple of int
        Units of each level.
    """

    codes: Codes
    parents: tuple[Codes, ...]
    sizes: tuple[int, ...]

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.sizes)

    def rows(self, chosen: NDArray[np.bool_]) -> NestedUnits:
        """Return the same units with some of the rows."""
        return replace(self, codes=self.codes[chosen])


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Where the chain of a regression stands: log variance ratios, innermost level first."""

    log_ratio: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """One draw of all that a regression does not know.

    Attributes
    ----------
    coefficients : ndarray of shape (p,)
        Fixed coefficients.
    effects : ndarray of shape (n_innermost_units,)
        Sum of the effects of a unit and of all units around it; empty without levels.
    residual_sd : float
        Residual SD, 1 where it was given.
    state : State
        For the next draw.
    """

    coefficients: Floats
    effects: Floats
    residual_sd: float
    state: State

    def mean(self, X: Floats, codes: Codes) -> Floats:
        """Return the expected values of rows, shape (n,)."""
        found = X @ self.coefficients
        return np.asarray(found + self.effects[codes] if len(self.effects) else found)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """Cross-products of W = [X | y] and their sums by innermost unit."""

    total: Floats
    weight: Floats
    sums: Floats
    n_rows: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reduced:
    """The system after all levels went: Cholesky of the X block, coefficients, r² and log|V|."""

    root: Floats
    coefficients: Floats
    residual: float
    log_volume: float
    weights: tuple[Floats, ...]
    sums: tuple[Floats, ...]


def draw_regression(
    X: Floats,
    y: Floats,
    units: NestedUnits,
    rng: np.random.Generator,
    *,
    state: State | None = None,
    residual_known: bool = False,
) -> Draw:
    """Draw coefficients, effects and variances of a regression with nested intercepts.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Covariates, the first a column of ones, the others about standardised: a weak ridge on them
        (a prior worth a hundredth of a pupil) keeps collinear columns harmless.
    y : ndarray of shape (n,)
        Outcome, about standardised.
    units : NestedUnits
        Units of these rows.
    rng : numpy Generator
        Source of the draws.
    state : State, optional
        End of the chain's last draw.
    residual_known : bool
        Whether the residual variance is 1, as of the latent scores behind a category.
    """
    W = np.column_stack([X, y])
    n_units = units.sizes[0] if units.n_levels else 0
    sums = np.zeros((n_units, W.shape[1]))
    weight = np.zeros(n_units)
    if n_units:
        weight = np.bincount(units.codes, minlength=n_units).astype(float)
        for k in range(W.shape[1]):
            sums[:, k] = np.bincount(units.codes, W[:, k], minlength=n_units)
    total = W.T @ W
    ridge = np.full(X.shape[1], _RIDGE)
    ridge[0] = 1e-8
    total[np.arange(X.shape[1]), np.arange(X.shape[1])] += ridge
    found = _Sums(total=total, weight=weight, sums=sums, n_rows=len(y))
    place = np.full(units.n_levels, np.log(0.2)) if state is None else state.log_ratio
    place, reduced = _moved(found, units, place, rng, residual_known)
    free = max(len(y) - X.shape[1], 1)
    sd = 1.0 if residual_known else float(np.sqrt(reduced.residual / rng.chisquare(free)))
    noise = np.asarray(rng.standard_normal(X.shape[1]), dtype=float)
    beta = reduced.coefficients + sd * linalg.solve_triangular(reduced.root, noise)
    return Draw(
        coefficients=beta,
        effects=_effects(reduced, units, np.exp(place), beta, sd, rng),
        residual_sd=sd,
        state=State(log_ratio=place),
    )


def _reduce(found: _Sums, units: NestedUnits, ratio: Floats) -> _Reduced:
    """Eliminate all levels at these variance ratios."""
    A, weight, sums = found.total.copy(), found.weight, found.sums
    volume, weights, kept = 0.0, list[Floats](), list[Floats]()
    for k in range(units.n_levels):
        weights.append(weight)
        kept.append(sums)
        grown = 1.0 + ratio[k] * weight
        A -= (sums * (ratio[k] / grown)[:, None]).T @ sums
        volume += float(np.log(grown).sum())
        if k + 1 < units.n_levels:
            parent, n = units.parents[k], units.sizes[k + 1]
            shrunken = sums / grown[:, None]
            weight = np.asarray(np.bincount(parent, weight / grown, minlength=n), dtype=float)
            sums = np.column_stack(
                [np.bincount(parent, column, minlength=n) for column in shrunken.T]
            )
    root = linalg.cholesky(A[:-1, :-1], lower=True)
    half = linalg.solve_triangular(root, A[:-1, -1], lower=True)
    return _Reduced(
        root=root.T,
        coefficients=linalg.solve_triangular(root.T, half),
        residual=max(float(A[-1, -1] - half @ half), 1e-12 * max(float(A[-1, -1]), 1e-12)),
        log_volume=volume + 2.0 * float(np.log(np.diag(root)).sum()),
        weights=tuple(weights),
        sums=tuple(kept),
    )


def _moved(
    found: _Sums, units: NestedUnits, place: Floats, rng: np.random.Generator, known: bool
) -> tuple[Floats, _Reduced]:
    """Move the variance ratios by Metropolis steps, one level at a time."""
    reduced = _reduce(found, units, np.exp(place))
    height = _log_posterior(found, reduced, place, known)
    for level in np.tile(np.arange(units.n_levels), _STEPS):
        there = place.copy()
        there[level] += _WIDTH * rng.standard_normal()
        chance = np.log(rng.random())
        if not _LOWEST <= there[level] <= _HIGHEST:
            continue
        other = _reduce(found, units, np.exp(there))
        reached = _log_posterior(found, other, there, known)
        if chance < reached - height:
            place, reduced, height = there, other, reached
    return place, reduced


def _log_posterior(found: _Sums, reduced: _Reduced, place: Floats, known: bool) -> float:
    """Return the log posterior of log θ but for a constant."""
    prior = float((0.5 * place - np.logaddexp(0.0, place)).sum())
    free = max(found.n_rows - len(reduced.coefficients), 1)
    fit = reduced.residual if known else free * float(np.log(reduced.residual))
    return prior - 0.5 * (reduced.log_volume + fit)


def _effects(
    reduced: _Reduced,
    units: NestedUnits,
    ratio: Floats,
    beta: Floats,
    sd: float,
    rng: np.random.Generator,
) -> Floats:
    """Draw the effects from the outermost level inwards; a unit's includes those around it."""
    if not units.n_levels:
        return np.zeros(0)
    around = np.zeros(units.sizes[-1])
    for k in reversed(range(units.n_levels)):
        weight, sums = reduced.weights[k], reduced.sums[k]
        shrink = ratio[k] / (1.0 + ratio[k] * weight)
        residual = sums[:, -1] - sums[:, :-1] @ beta - weight * around
        noise = rng.standard_normal(units.sizes[k])
        around = around + shrink * residual + sd * np.sqrt(shrink) * noise
        if k:
            around = around[units.parents[k - 1]]
    return around


def truncated_normals(
    mean: Floats, low: Floats | float, high: Floats | float, rng: np.random.Generator
) -> Floats:
    """Return draws of unit variance around means, between bounds.

    Parameters
    ----------
    mean : ndarray of shape (n,)
        Means before truncation.
    low, high : ndarray of shape (n,) or float
        Bounds, low < high; may be infinite.
    rng : numpy Generator
        Source of the draws.
    """
    first, last = np.asarray(low - mean, dtype=float), np.asarray(high - mean, dtype=float)
    # in the upper tail the distribution function is 1 in floating point: mirror it
    mirror = first > 0
    first, last = np.where(mirror, -last, first), np.where(mirror, -first, last)
    p, q = special.ndtr(first), special.ndtr(last)
    share = p + (q - p) * rng.random(len(mean))
    z = special.ndtri(np.clip(share, 1e-300, 1.0 - 1e-16))
    z = np.clip(z, first, last)
    return np.asarray(mean + np.where(mirror, -z, z))
