"""Search for the standard deviations of the ordinal model of marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from resilience.results import Convergence
from resilience.stats.marks.ordinal_criterion import Method, OrdinalState, ordinal_criterion
from resilience.stats.marks.ordinal_data import OrdinalData
from resilience.stats.marks.ordinal_system import Point, Scales

__all__ = ["OrdinalFit", "fit_ordinal", "start_point"]

Floats = NDArray[np.float64]

_LEAST = 1e-3  # SD below which a random part is taken to be absent
_LARGEST = {"spread": 0.7}  # of the log-spread; SD of pupils for the others
_LARGEST_LOCATION = 4.0
_STEP = 0.1  # unit of the search: SD of pupils within schools, log-spreads
_MANY = 4000  # schools: above, the search begins at the optimum of a part of them
_PART = 2000
_GAIN = 1e-3  # of the criterion (−2 log-likelihood) that may be left at convergence
_STARTS = {"school": 0.35, "year": 0.15, "procedure": 0.15, "cell": 0.1, "spread": 0.1}


@dataclass(frozen=True, kw_only=True, eq=False)
class OrdinalFit:
    """A fitted ordinal model; everything in SD of pupils within schools.

    Attributes
    ----------
    scales : Scales
        Standard deviations of the random parts.
    scale_covariance : ndarray
        Covariance of the estimates (of those above zero, in the order of ``free``, then of the free
        log-spreads of procedures), from the curvature of the criterion; NaN where it is not
        positive definite.
    free : tuple of str
        Random parts above zero.
    state : OrdinalState
        Criterion, mode and blocks at the optimum.
    covariance : ndarray of shape (f, f)
        Of thresholds and coefficients, the effects integrated out.
    convergence : Convergence
        How the search ended.
    """

    scales: Scales
    scale_covariance: Floats
    free: tuple[str, ...]
    state: OrdinalState
    covariance: Floats
    convergence: Convergence


def start_point(data: OrdinalData) -> Point:
    """Return thresholds from the regional shares of marks, everything else zero."""
    k = data.thresholds.shape[1]
    cuts = np.zeros(data.n_thresholds)
    total = np.zeros(data.n_thresholds)
    below = np.zeros(data.n_thresholds)
    for column in range(k):
        used = data.thresholds[:, column] >= 0
        at = data.thresholds[used, column]
        under = data.counts[used, : column + 1].sum(axis=1)
        np.add.at(below, at, under)
        np.add.at(total, at, data.counts[used].sum(axis=1))
    marked = total > 0
    share = below[marked] / total[marked]
    cuts[marked] = special.ndtri(np.clip(share, 1e-6, 1 - 1e-6)) * 1.05
    means = data.precision > 0
    weights = np.bincount(
        data.thresholds[means, 0], weights=data.precision[means], minlength=data.n_thresholds
    )
    sums = np.bincount(
        data.thresholds[means, 0],
        weights=(data.precision * data.mean)[means],
        minlength=data.n_thresholds,
    )
    cuts[~marked] = -sums[~marked] / weights[~marked]
    return Point.start(data, np.concatenate([cuts, np.zeros(data.X.shape[1])]))


@dataclass(kw_only=True, eq=False)
class _Search:
    """The criterion in the standard deviations (and, under ``ml``, the fixed part).

    Each mode is looked for from the last one.
    """

    data: OrdinalData
    method: Method
    point: Point
    unit: Floats
    log: list[tuple[int, float]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return self.data.parts.names

    @property
    def n_spreads(self) -> int:
        """Free log-spreads of procedures: the last is minus the sum of the others."""
        return max(len(self.data.spread_procedures) - 1, 0)

    @property
    def n_fixed(self) -> int:
        return 0 if self.method == "reml" else self.data.n_fixed

    def split(self, x: Floats) -> tuple[Scales, Point]:
        """Return the standard deviations and the place to begin at."""
        n, at = len(self.names), len(self.names) + self.n_spreads
        known = dict(zip(self.names, map(float, x[:n]), strict=True))
        own = x[n:at]
        scales = Scales(
            school=known["school"],
            year=known.get("year", 0.0),
            procedure=known.get("procedure", 0.0),
            cell=known.get("cell", 0.0),
            spread=known.get("spread", 0.0),
            procedure_spread=(*map(float, own), -float(own.sum())) if self.n_spreads else (),
        )
        return scales, replace(self.point, fixed=x[at:]) if self.n_fixed else self.point

    def state(self, x: Floats) -> OrdinalState:
        """Return the criterion with everything at its mode."""
        scales, start = self.split(x)
        state = ordinal_criterion(self.data, scales, start, method=self.method)
        self.point = state.point
        self.log.append((len(self.log) + 1, state.criterion))
        return state

    def gradient(self, state: OrdinalState) -> Floats:
        """Return the gradient in the search's own variables."""
        slope = np.array([state.gradient[name] for name in self.names])
        own = state.spread_gradient
        return np.concatenate([slope, own[:-1] - own[-1:], state.fixed_gradient[: self.n_fixed]])

    def outward(self, z: Floats) -> Floats:
        """Return standard deviations, log-spreads and fixed part from the search's variables."""
        at = len(self.unit)
        return np.concatenate([self.unit * z[:at], z[at:]])

    def inward(self, x: Floats) -> Floats:
        """Return the search's variables, the inverse of `outward`."""
        at = len(self.unit)
        return np.concatenate([x[:at] / self.unit, x[at:]])

    def value(self, z: Floats) -> tuple[float, Floats]:
        """Return criterion and gradient in the search's variables."""
        at = len(self.unit)
        x = self.outward(z)
        refused = 1e300, np.zeros_like(z)
        if self.n_fixed and not self.data.ordered(x[at:]):
            return refused
        before = self.point
        with np.errstate(all="ignore"):
            state = self.state(x)
        slope = self.gradient(state)
        if not (np.isfinite(state.criterion) and np.isfinite(slope).all()):
            # a trial far outside, where a spread over- or underflows: the line search comes back
            self.point = before
            return refused
        slope[:at] *= self.unit
        return state.criterion, slope


def fit_ordinal(data: OrdinalData, *, method: Method = "reml") -> OrdinalFit:
    """Fit the model.

    Parameters
    ----------
    data : OrdinalData
        Cells sorted by school.
    method : {"reml", "ml"}
        Whether thresholds and coefficients are integrated out or maximised over.
    """
    names = data.parts.names
    n, n_spreads = len(names), max(len(data.spread_procedures) - 1, 0)
    x0 = np.concatenate([[_STARTS[name] for name in names], np.zeros(n_spreads)])
    search = _Search(
        data=data, method=method, point=start_point(data), unit=np.full(n + n_spreads, _STEP)
    )
    part = data.every(-(-data.n_schools // _PART))
    if method == "ml":
        first = fit_ordinal(data, method="reml")
        search.point = first.state.point
        x0 = np.concatenate([_variables(first, names, 0.05), first.state.point.fixed])
    elif data.n_schools > _MANY and part.holds_all_thresholds:
        first = fit_ordinal(part)
        x0 = _variables(first, names, 0.01)
        deviation = np.full(len(x0), _STEP)
        deviation[[names.index(name) for name in first.free]] = np.sqrt(
            np.diag(first.scale_covariance)[: len(first.free)]
        )
        # as far as the part can be from the whole; where the curvature was not definite, a step
        search.unit = np.where(np.isfinite(deviation), np.clip(deviation, 1e-3, _STEP), _STEP)
        search.point = replace(search.point, fixed=first.state.point.fixed)
    upper = np.array([_LARGEST.get(name, _LARGEST_LOCATION) for name in names])
    limits = [*zip(np.full(n, _LEAST) / search.unit[:n], upper / search.unit[:n], strict=True)]
    spread = _LARGEST["spread"] / search.unit[n:]
    run = optimize.minimize(
        search.value,
        search.inward(x0),
        jac=True,
        method="L-BFGS-B",
        bounds=[*limits, *zip(-spread, spread, strict=True), *[(None, None)] * search.n_fixed],
        # relative to a criterion of some 2.4 a pupil: stop where 1e-4 of its unit is to be gained
        options={
            "ftol": 1e-4 / (2.4 * float(data.counts.sum()) + data.n_cells),
            "gtol": 1e-5,
            "maxiter": 200,
            "maxls": 40,
        },
    )
    x = search.outward(np.asarray(run.x))
    absent = x[:n] <= _LEAST * (1 + 1e-6)
    faint = ~absent & (x[:n] <= 10 * _LEAST)
    if faint.any():
        # near zero the criterion is flat: what it gains from such a part is half this product
        slope = search.gradient(search.state(x))[:n]
        absent |= faint & (np.abs(slope * x[:n]) <= 2 * _GAIN)
    x[:n][absent] = 0.0
    return _finished(search, x, absent, str(run.message), int(run.nit))


def _variables(first: OrdinalFit, names: tuple[str, ...], least: float) -> Floats:
    """Return standard deviations, at least ``least``, and log-spreads of a fit to begin from."""
    begun = [max(float(getattr(first.scales, name)), least) for name in names]
    return np.array([*begun, *first.scales.procedure_spread[:-1]])


def _finished(
    search: _Search, x: Floats, absent: NDArray[np.bool_], message: str, n_iterations: int
) -> OrdinalFit:
    """Return the fit at the end of the search."""
    names = search.names
    state = search.state(x)
    slope = search.gradient(state)
    slope[: len(names)][absent] = 0.0
    n = len(names)
    inner = np.concatenate([np.flatnonzero(~absent), np.arange(n, n + search.n_spreads)])
    curvature = _curvature(lambda v: search.gradient(search.state(v)), x, inner, slope)
    positive = bool(np.linalg.eigvalsh(curvature)[0] > 0) if len(inner) else None
    scale_covariance = np.full((len(inner), len(inner)), np.nan)
    if positive:
        # the criterion is twice the negative log-likelihood
        scale_covariance[:] = 2.0 * np.linalg.inv(curvature)
    # what a Newton step would still gain, in units of the criterion
    gain = 0.5 * float(slope[inner] @ np.linalg.solve(curvature, slope[inner])) if positive else 0.0
    outside = float(np.abs(slope[n + search.n_spreads :]).max(initial=0.0))
    slope[:n] *= x[:n]
    norm = float(np.abs(slope).max())
    covariance = state.covariance
    if search.method == "ml":
        covariance = np.asarray(np.linalg.inv(state.system.schur), dtype=np.float64)
    return OrdinalFit(
        scales=search.split(x)[0],
        scale_covariance=scale_covariance,
        free=tuple(names[k] for k in inner if k < n),
        state=state,
        covariance=covariance,
        convergence=Convergence(
            converged=bool(positive is not False and abs(gain) <= _GAIN and outside <= 1.0),
            n_evaluations=len(search.log),
            n_iterations=n_iterations,
            gradient_norm=norm,
            hessian_positive=positive,
            singular=bool(absent.any()),
            log=tuple(search.log),
            message=message,
        ),
    )


def _curvature(
    gradient: Callable[[Floats], Floats], x: Floats, inner: NDArray[np.int64], here: Floats
) -> Floats:
    """Return second derivatives in the free standard deviations from those of the exact gradient.

    One-sided: the curvature serves standard errors and a check, to some parts in a thousand.
    """
    rows = []
    for k in inner:
        step = np.zeros_like(x)
        step[k] = 1e-3 * max(abs(x[k]), 0.02)
        rows.append((gradient(x + step) - here)[inner] / step[k])
    H = np.array(rows).reshape(len(inner), len(inner))
    return np.asarray(0.5 * (H + H.T))
