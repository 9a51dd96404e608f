r"""Profile-likelihood intervals of standard deviations and correlations.

A search for the optimum profiles the residual variance out of the criterion :math:`f(\theta)`.  For
any other residual SD :math:`\sigma`

.. math:: d(\theta, \sigma) = f(\theta) + m\Big[\frac{\hat\sigma^2(\theta)}{\sigma^2} - 1
          - \log\frac{\hat\sigma^2(\theta)}{\sigma^2}\Big],

m the denominator of :math:`\hat\sigma^2`.  The profile of a parameter :math:`\psi(\theta, \sigma)`,
in its own units, is :math:`d(c) = \min d` subject to :math:`\psi = c`, and its interval holds the c
with :math:`d(c) - d_{\min} \le z^2`.  A standard deviation whose profile stays below
:math:`z^2` down to zero gets the lower limit 0 exactly, a correlation the limit ±1.  With REML the
restricted likelihood is profiled; lme4 profiles the full one, whatever the fit.

Only the criterion, :math:`\hat\sigma(\theta)` and the map from parameters to own units are used, so
that every structure that is fitted can be profiled.  Sources: VenzonMoolgavkar1988; BatesEtAl2015,
section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from resilience.stats.engine.search import Objective

__all__ = ["NaturalCriterion", "ProfileInterval", "profile_intervals"]

Floats = NDArray[np.float64]

_CLOSE = 1e-6  # of the root of the rise: a millionth of a standard error of the limit
_STEP = 1e-5  # of a difference, in standard errors
_FARTHEST = 60.0  # standard errors: no limit of an interval is as far away
_MOST_LOGARITHMS = 12.0  # of the residual SD over its estimate
_WALL = 1e4  # criterion where the model cannot be evaluated
_TINY = 1e-3  # share of an estimate that stands for zero: the profile moves by its square


@dataclass(frozen=True, kw_only=True, eq=False)
class NaturalCriterion:
    r"""A criterion with the meaning of its parameters.

    Attributes
    ----------
    objective : Objective
        Criterion with the residual variance profiled out.
    optimum : ndarray of shape (n_free,)
        Where it is least.
    denominator : float
        :math:`m`: rows, less the fixed effects under REML.
    names : tuple of (str, str)
        Level and name of every parameter; names begin with ``std_dev`` or ``correlation``.
    sigma : callable
        :math:`\hat\sigma(\theta)`, in any unit.
    natural : callable
        SDs and correlations, shape (len(names),), at :math:`\theta` and a residual SD in the unit
        of ``sigma``.
    value : callable, optional
        Criterion, its gradient, :math:`\hat\sigma` and the gradient of its logarithm at
        :math:`\theta` in one; otherwise the last one is found by differences.
    """

    objective: Objective
    optimum: Floats
    denominator: float
    names: tuple[tuple[str, str], ...]
    sigma: Callable[[Floats], float]
    natural: Callable[[Floats, float], Floats]
    value: Callable[[Floats], tuple[float, Floats, float, Floats]] | None = None


@dataclass(frozen=True, kw_only=True)
class ProfileInterval:
    """One interval.

    Attributes
    ----------
    group, name : str
        Level, and name of the standard deviation or correlation.
    estimate, low, high : float
        In own units; NaN where the parameter means nothing (a correlation without a variance), and
        for a limit on the way to which no search ended well.
    """

    group: str
    name: str
    estimate: float
    low: float
    high: float


def profile_intervals(
    criterion: NaturalCriterion, *, level: float = 0.95, only: Sequence[int] | None = None
) -> tuple[ProfileInterval, ...]:
    """Return the interval of every standard deviation and correlation.

    Parameters
    ----------
    criterion : NaturalCriterion
        The fitted criterion.
    level : float
        Coverage, in (0, 1).
    only : sequence of int, optional
        Positions of the parameters asked for; all by default.

    Returns
    -------
    tuple of ProfileInterval
        In the order of ``criterion.names``.

    References
    ----------
    VenzonMoolgavkar1988.
    """
    z = float(special.ndtri(0.5 + level / 2.0))
    surface = _Surface(criterion=criterion)
    asked = range(len(criterion.names)) if only is None else only
    return tuple(_interval(surface, k, *criterion.names[k], z) for k in asked)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Surface:
    """The unprofiled criterion over x: scaled distances of (theta, log sigma) from the optimum."""

    criterion: NaturalCriterion
    known: dict[bytes, tuple[float, Floats, float, Floats]] = field(default_factory=dict)

    @cached_property
    def centre(self) -> Floats:
        theta = self.criterion.optimum
        return np.append(theta, np.log(self.criterion.sigma(theta)))

    @cached_property
    def least(self) -> float:
        return self.criterion.objective.criterion(self.criterion.optimum)

    @cached_property
    def scale(self) -> Floats:
        """Standard errors of the parameters taken one by one; a tenth where they are not known."""
        theta = self.criterion.optimum
        found = np.full(len(theta), 0.1)
        for k in range(len(theta)):
            step = np.zeros(len(theta))
            step[k] = 1e-3
            value = self.criterion.objective.criterion
            bend = (value(theta + step) - 2.0 * self.least + value(theta - step)) / 1e-6
            if bend > 2e-2:
                found[k] = min(1.0, np.sqrt(2.0 / bend))
        return np.append(found, np.sqrt(0.5 / self.criterion.denominator))

    @cached_property
    def turn(self) -> Floats:
        """Map from x to distances: near an optimum inside the bounds the rise is then x'x."""
        free = [low in (0.0, None) and high is None for low, high in self._limits]
        n = len(self.centre)
        if not all(free) or np.any(self._at_bound):
            return np.diag(self.scale)
        # an SD below zero stands for the same covariance as above, so that no bound is needed
        rows = []
        for k in range(n):
            step = np.zeros(n)
            step[k] = 1e-3 * self.scale[k]
            up, down = (self._at(self.centre + s * step)[1] for s in (1.0, -1.0))
            rows.append((up - down) / (2.0 * step[k]))
        H = np.array(rows)
        half = 0.25 * (H + H.T)
        spread = 1.0 / self.scale
        if np.linalg.eigvalsh(half / np.outer(spread, spread))[0] <= 1e-3:
            return np.diag(self.scale)
        return np.asarray(np.linalg.inv(np.linalg.cholesky(half)).T)

    @property
    def _limits(self) -> Sequence[tuple[float | None, float | None]]:
        return self.criterion.objective.bounds

    @property
    def _at_bound(self) -> NDArray[np.bool_]:
        """Parameters within half a standard error of a bound."""
        found = [
            (low is not None and middle - low < 0.5 * unit)
            or (high is not None and high - middle < 0.5 * unit)
            for (low, high), middle, unit in zip(
                self._limits, self.centre, self.scale, strict=False
            )
        ]
        return np.array(found, dtype=bool)

    @cached_property
    def bounds(self) -> list[tuple[float, float]]:
        """Bounds of x; where x mixes the parameters only those of a search that went astray."""
        n = len(self.centre)
        if np.count_nonzero(self.turn - np.diag(np.diag(self.turn))):
            return [(-_FARTHEST, _FARTHEST)] * n
        own: list[tuple[float, float]] = []
        for (low, high), middle, unit in zip(self._limits, self.centre, self.scale, strict=False):
            own.append(
                (
                    -_FARTHEST if low is None else (low - middle) / unit,
                    _FARTHEST if high is None else (high - middle) / unit,
                )
            )
        return [*own, (-_FARTHEST, _FARTHEST)]

    def point(self, x: Floats) -> tuple[Floats, float]:
        """Return theta and sigma."""
        at = self.centre + self.turn @ x
        return at[:-1], float(np.exp(at[-1]))

    def value(self, x: Floats) -> tuple[float, Floats]:
        """Return the criterion above its least value, and its gradient in x."""
        value, gradient = self._at(self.centre + self.turn @ x)
        return value, gradient @ self.turn

    def _at(self, at: Floats) -> tuple[float, Floats]:
        """Return the same over (theta, log sigma); a wall where it cannot be computed."""
        away = at - self.centre
        wall = _WALL * (1.0 + float(away @ away)), 2.0 * _WALL * away
        if not abs(away[-1]) < _MOST_LOGARITHMS:
            return wall
        theta, sigma = at[:-1], float(np.exp(at[-1]))
        try:
            with np.errstate(all="ignore"):
                f, slope, own, own_slope = self._profiled(theta)
        except (ArithmeticError, ValueError, np.linalg.LinAlgError):
            return wall
        if not (np.isfinite(f) and np.isfinite(slope).all() and np.isfinite(own_slope).all()):
            return wall
        m = self.criterion.denominator
        ratio = (own / sigma) ** 2
        value = f - self.least + m * (ratio - 1.0 - np.log(ratio))
        gradient = np.append(slope + 2.0 * m * (ratio - 1.0) * own_slope, -2.0 * m * (ratio - 1.0))
        return float(value), gradient

    def _profiled(self, theta: Floats) -> tuple[float, Floats, float, Floats]:
        """Return f, its gradient, the best sigma, and the gradient of its logarithm."""
        key = theta.tobytes()
        if key not in self.known:
            if self.criterion.value is not None:
                self.known[key] = self.criterion.value(theta)
                return self.known[key]
            f, slope = self.criterion.objective.value(theta)
            sigma = self.criterion.sigma
            rates = np.zeros(len(theta))
            for k in range(len(theta)):
                step = np.zeros(len(theta))
                step[k] = 1e-5
                rates[k] = np.log(sigma(theta + step) / sigma(theta - step)) / 2e-5
            self.known[key] = (f, slope, sigma(theta), rates)
        return self.known[key]

    def parameter(self, x: Floats, k: int) -> float:
        """Return one standard deviation or correlation."""
        with np.errstate(all="ignore"):
            return float(self.criterion.natural(*self.point(x))[k])

    def rate(self, x: Floats, k: int) -> Floats:
        """Return its gradient in x; at a bound from inside, where a zero SD has a slope."""
        found = np.zeros(len(x))
        for j, (low, high) in enumerate(self.bounds):
            up, down = x.copy(), x.copy()
            up[j] += 0.0 if x[j] + _STEP > high else _STEP
            down[j] -= 0.0 if x[j] - _STEP < low else _STEP
            rise = self.parameter(up, k) - self.parameter(down, k)
            found[j] = rise / max(up[j] - down[j], 1e-300)
        return found

    @cached_property
    def inside(self) -> Floats:
        """A point near the optimum at which no parameter sits on a bound."""
        found = np.zeros(len(self.centre))
        for j, (low, high) in enumerate(self.bounds):
            if low > -0.5:
                found[j] = low + 1.0
            elif high < 0.5:
                found[j] = high - 1.0
        return found


@dataclass(kw_only=True, eq=False)
class _Profile:
    """The profile of one parameter; remembers its last point, where the next search starts."""

    surface: _Surface
    k: int
    unit: float  # a standard error or so of the parameter
    estimate: float
    at: float  # last value of the parameter
    last: Floats  # where the criterion is least there

    def root(self, c: float) -> float:
        """Return the square root of the criterion's rise where the parameter is ``c``."""
        surface, k, unit = self.surface, self.k, self.unit
        constraint: Any = {
            "type": "eq",
            "fun": lambda x: (surface.parameter(x, k) - c) / unit,
            "jac": lambda x: surface.rate(x, k) / unit,
        }
        best = np.inf
        ahead = self.last * ((c - self.estimate) / (self.at - self.estimate))
        for start in (ahead, surface.inside, 0.5 * (self.last + surface.inside)):
            low, high = np.array(surface.bounds, dtype=float).T
            try:
                found = optimize.minimize(
                    surface.value,
                    np.clip(start, low, high),
                    jac=True,
                    method="SLSQP",
                    bounds=surface.bounds,
                    constraints=constraint,
                    options={"ftol": max(1e-8, 1e-13 * abs(surface.least)), "maxiter": 200},
                )
            except (ArithmeticError, ValueError, np.linalg.LinAlgError):
                continue  # a parameter that means nothing where the search has come to
            held = abs(surface.parameter(found.x, k) - c) <= 1e-6 * unit
            if held and found.fun < best:
                best, self.at = float(found.fun), c
                self.last = np.asarray(found.x, dtype=float)
            if held and found.success:
                break
        return float(np.sqrt(max(best, 0.0)))


def _interval(surface: _Surface, k: int, group: str, name: str, z: float) -> ProfileInterval:
    estimate = surface.parameter(np.zeros(len(surface.centre)), k)
    if not np.isfinite(estimate):
        nan = float("nan")
        return ProfileInterval(group=group, name=name, estimate=nan, low=nan, high=nan)
    rates = [surface.rate(x, k) for x in (np.zeros(len(surface.centre)), surface.inside)]
    unit = max(float(np.linalg.norm(rates, axis=1).max()), 1e-3 * abs(estimate))
    spread = not name.startswith("correlation")
    low_end, high_end = (0.0, np.inf) if spread else (-1.0, 1.0)
    low = _limit(surface, k, estimate, unit, z, low_end)
    high = _limit(surface, k, estimate, unit, z, high_end)
    return ProfileInterval(group=group, name=name, estimate=estimate, low=low, high=high)


def _limit(surface: _Surface, k: int, estimate: float, unit: float, z: float, end: float) -> float:
    """Return where the profile crosses z on the way from the estimate to an end of the range."""
    side = np.sign(end - estimate)
    if side == 0 or abs(end - estimate) < 1e-6 * max(1.0, abs(end) if np.isfinite(end) else 1.0):
        return end
    rate = surface.rate(surface.inside, k)
    ahead = rate / max(float(rate @ rate), 1e-300) * side * unit
    profile = _Profile(
        surface=surface,
        k=k,
        unit=unit,
        estimate=estimate,
        at=estimate + side * unit,
        last=surface.inside + ahead if surface.inside.any() else ahead,
    )
    last = end - _TINY * (end - estimate)  # an end stands for itself at a small distance
    inside, low = estimate, 0.0
    outside = estimate + side * z * unit
    for _ in range(60):
        beyond = np.isfinite(end) and abs(outside - estimate) >= abs(last - estimate)
        outside = last if beyond else outside
        rise = profile.root(outside)
        if not np.isfinite(rise):
            return float("nan")
        if abs(rise - z) <= _CLOSE:
            return float(outside)
        if rise > z:
            break
        if beyond:
            return end
        inside, low = outside, rise
        # the root of the rise is nearly linear in the parameter
        outside = estimate + (outside - estimate) * min(1.05 * z / max(rise, 1e-3 * z), 2.0)
    return _crossing(profile, z, (inside, low), (outside, rise))


def _crossing(
    profile: _Profile, z: float, below: tuple[float, float], above: tuple[float, float]
) -> float:
    """Return where the root of the rise is z: secants inside a bracket (regula falsi, Illinois)."""
    (a, fa), (b, fb) = (below[0], below[1] - z), (above[0], above[1] - z)
    middle, kept = b, 0
    for _ in range(60):
        middle = (a * fb - b * fa) / (fb - fa)
        value = profile.root(middle) - z
        if not np.isfinite(value):
            return float("nan")
        if abs(value) <= _CLOSE or abs(b - a) <= 1e-9 * profile.unit:
            break
        if value < 0:
            a, fa, fb = middle, value, fb * (0.5 if kept < 0 else 1.0)
        else:
            b, fb, fa = middle, value, fa * (0.5 if kept > 0 else 1.0)
        kept = -1 if value < 0 else 1
    return float(middle)
