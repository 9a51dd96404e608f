"""The search for the optimum of the profiled criterion, with an honest record of how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.results import Convergence

__all__ = ["ManyStarts", "Objective", "Resting", "Search", "optimise", "searched"]

Floats = NDArray[np.float64]
Bounds = Sequence[tuple[float | None, float | None]]

_AT_BOUND = 1e-8
_NEWTON_STEPS = 8
_STEEP = 1e-5  # gradient per thousand rows
_NOTHING_LEFT = 1e-10  # of the criterion
_FLAT, _LEAST_SIZE = 3e-5, 0.1  # curvature per relative change of a parameter, at least this large
_NEAR_REST = 0.05  # relative SD


class Objective(Protocol):
    """A criterion to be minimised: the engine of nested levels is one, others may be written.

    `Resting` and `ManyStarts` are what an objective may add.
    """

    @property
    def n_free(self) -> int:
        """Number of free parameters."""

    @property
    def n_rows(self) -> int:
        """Rows of data: gradients are judged against it."""

    @property
    def bounds(self) -> Bounds:
        """Bounds per parameter; a lower bound of 0 marks a standard deviation."""

    def start(self) -> Floats:
        """Return the start, inside the bounds."""

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return the criterion and its gradient."""

    def criterion(self, theta: Floats) -> float:
        """Return the criterion alone."""

    def escape(self, theta: Floats) -> Floats | None:
        """Return a start off the boundary if the criterion falls in that direction, else None."""

    def singular(self, theta: Floats) -> bool:
        """Tell whether a variance is zero or a correlation ±1."""


@runtime_checkable
class Resting(Protocol):
    """An objective some of whose parameters mean nothing where others sit on a bound."""

    def idle(self, theta: Floats) -> NDArray[np.bool_]:
        """Return which parameters mean nothing at ``theta``."""

    def canonical(self, theta: Floats) -> Floats:
        """Return parameters of the same criterion, those that mean nothing at rest."""


@runtime_checkable
class ManyStarts(Protocol):
    """An objective whose criterion may have several valleys."""

    def further_starts(self) -> list[Floats]:
        """Return starts beside the usual one."""


@dataclass
class Search:
    """Minimise the criterion; keeps the log of every evaluation and repeats none."""

    problem: Objective
    log: list[tuple[int, float]]
    iterations: int = 0
    known: dict[bytes, tuple[float, Floats]] = field(default_factory=dict)
    curved: tuple[Floats, Floats] | None = None  # where, and the Hessian of the free entries

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return criterion and gradient and note the evaluation."""
        key = np.asarray(theta, dtype=float).tobytes()
        if key not in self.known:
            self.known[key] = self.problem.value(theta)
            self.log.append((len(self.log) + 1, self.known[key][0]))
        criterion, gradient = self.known[key]
        return criterion, gradient.copy()

    def tried(self, theta: Floats) -> tuple[float, Floats]:
        """Return criterion and gradient, or a wall where the line search went out of bounds.

        A long trial step may end where rounding leaves no likelihood; the line search then turns
        back.  At the start there is nothing to turn back to, and the error stands.
        """
        try:
            return self.value(theta)
        except (ArithmeticError, np.linalg.LinAlgError):
            if not self.log:
                raise
            worst = max(value for _, value in self.log)
            return worst + 1e3 * (1.0 + abs(worst)), np.zeros_like(theta)

    def climb(self, start: Floats) -> tuple[Floats, float, str]:
        """Return the optimum reached from ``start`` with every way off a boundary tried."""
        theta, best, message = self.descend(start)
        for _ in range(10):
            inside = self.problem.escape(theta)
            if inside is None:
                break
            again, value, message = self.descend(inside)
            if value >= best - 1e-12 * abs(best):
                break
            theta, best = again, value
        return theta, best, message

    def descend(self, start: Floats) -> tuple[Floats, float, str]:
        """Return the optimum reached from ``start``, its criterion, the optimiser's words."""
        found = optimize.minimize(
            self.tried,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=self.problem.bounds,
            options={"ftol": 1e-11, "gtol": 1e-9, "maxiter": 500, "maxls": 50},
        )
        self.iterations += int(found.nit)
        theta, best = np.asarray(found.x, dtype=float), float(found.fun)
        theta, best = self.rested(theta, best)
        for _ in range(_NEWTON_STEPS):
            theta, best, moved = self.newton(theta, best)
            if not moved:
                break
        return theta, best, str(found.message)

    def rested(self, theta: Floats, best: float) -> tuple[Floats, float]:
        """Set SDs that are zero up to rounding to exactly zero, and what hangs on them to rest.

        Nothing is lost but rounding: a point that is worse than that is not taken.
        """
        spread = np.array([b[0] == 0 for b in self.problem.bounds])
        for k in np.flatnonzero(spread & (np.abs(theta) < 1e-3) & (theta != 0.0)):
            trial = theta.copy()
            trial[k] = 0.0
            theta, best = self._not_worse(trial, theta, best)
        if isinstance(self.problem, Resting):
            theta, best = self._not_worse(self.problem.canonical(theta), theta, best)
        return theta, best

    def _not_worse(self, trial: Floats, theta: Floats, best: float) -> tuple[Floats, float]:
        if np.array_equal(trial, theta):
            return theta, best
        value = self.problem.criterion(trial)
        kept = value <= best + 1e-10 * max(1.0, abs(best))
        return (trial, value) if kept else (theta, best)

    def newton(self, theta: Floats, best: float) -> tuple[Floats, float, bool]:
        """Take one Newton step in the entries off their bound; L-BFGS-B stops a little early."""
        free = self.free_entries(theta)
        if not free.any():
            return theta, best, False
        hessian, gradient = self.hessian(theta, free)
        self.curved = (theta, hessian)
        if np.linalg.eigvalsh(hessian)[0] <= 0:
            return theta, best, False
        trial = theta.copy()
        trial[free] -= np.linalg.solve(hessian, gradient[free])
        trial = np.clip(trial, *self.limits())
        value, slope = self.value(trial)
        # below the rounding of the criterion the gradient still tells the better point
        left, before = np.abs(slope[free]).max(), np.abs(gradient[free]).max()
        flatter = left < before
        if value < best or (flatter and value <= best + 1e-11 * abs(best)):
            self.iterations += 1
            # in a bent valley steps stay short of the bottom and only halve the gradient
            steep = left > _STEEP * max(1.0, self.problem.n_rows / 1000.0) and left < 0.7 * before
            return trial, value, bool(best - value > 1e-11 * abs(best) or steep)
        return theta, best, False

    def curvature(self, theta: Floats) -> Floats | None:
        """Return the Hessian in the entries off their bound; None where there are none."""
        free = self.free_entries(theta)
        if not free.any():
            return None
        if self.curved is not None:
            # the last Newton step is so short that the curvature is that of its start
            start, hessian = self.curved
            same = np.array_equal(self.free_entries(start), free)
            if same and np.abs(theta - start).max() <= 1e-4 * max(1.0, np.abs(theta).max()):
                return hessian
        return self.hessian(theta, free)[0]

    def free_entries(self, theta: Floats) -> NDArray[np.bool_]:
        """Return which parameters neither sit on a bound nor mean nothing there."""
        lower, upper = self.limits()
        free = (theta > lower + _AT_BOUND) & (theta < upper - _AT_BOUND)
        if isinstance(self.problem, Resting):
            free &= ~self.problem.idle(theta)
        return np.asarray(free)

    def limits(self) -> tuple[Floats, Floats]:
        """Return lower and upper bounds, infinite where there are none."""
        lower = [-np.inf if b[0] is None else b[0] for b in self.problem.bounds]
        upper = [np.inf if b[1] is None else b[1] for b in self.problem.bounds]
        return np.array(lower), np.array(upper)

    def hessian(self, theta: Floats, free: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the Hessian in the free entries by central differences of the exact gradient."""
        _, gradient = self.value(theta)
        at = np.flatnonzero(free)
        rows = []
        for k in at:
            step = 1e-5 * max(1.0, abs(theta[k]))
            up, down = theta.copy(), theta.copy()
            up[k] += step
            down[k] -= step
            rows.append((self.value(up)[1] - self.value(down)[1])[at] / (2 * step))
        H = np.array(rows)
        return 0.5 * (H + H.T), gradient


def optimise(problem: Objective) -> tuple[Floats, Convergence]:
    """Return the optimal parameters and the record of the search."""
    search = Search(problem=problem, log=[])
    if problem.n_free == 0:
        return np.zeros(0), _record(search, np.zeros(0), 0.0, "no variance parameters")
    theta, best, message = search.climb(problem.start())
    for start in problem.further_starts() if isinstance(problem, ManyStarts) else []:
        other, value, words = search.climb(start)
        if value < best - 1e-12 * abs(best):
            theta, best, message = other, value, words
    theta, best = search.rested(theta, best)
    return theta, _record(search, theta, best, message)


def searched(problem: Objective) -> tuple[Floats, Convergence]:
    """Return what `optimise` returns; where no likelihood exists, an error that says so.

    Raises
    ------
    SpecificationError
        If the criterion cannot be evaluated where the search came to.
    """
    try:
        with np.errstate(all="ignore"):
            theta, convergence = optimise(problem)
            last = problem.criterion(theta)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        raise SpecificationError(text("engine.no_likelihood", reason=str(error))) from error
    if not np.isfinite(last):
        raise SpecificationError(text("engine.no_likelihood", reason=f"{last}"))
    return theta, convergence


def _record(search: Search, theta: Floats, best: float, message: str) -> Convergence:
    problem = search.problem
    gradient_norm, positive, singular, inside, left = 0.0, None, False, True, 0.0
    flat: tuple[int, ...] = ()
    if len(theta):
        _, gradient = search.value(theta)
        lower, upper = search.limits()
        active = np.where(theta <= lower, np.minimum(gradient, 0.0), gradient)
        active = np.where(theta >= upper, np.maximum(gradient, 0.0), active)
        gradient_norm = float(np.abs(active).max())
        hessian = search.curvature(theta)
        if hessian is not None:
            # differences of the gradient leave some rounding in a flat direction
            lowest = float(np.linalg.eigvalsh(hessian)[0])
            positive = lowest > -1e-9 * problem.n_rows
            free = search.free_entries(theta)
            flat = _flat(hessian, theta, free, search.limits()[0])
            slope = gradient[free]
            # what a step to the bottom would still bring
            left = 0.5 * float(slope @ np.linalg.solve(hessian, slope)) if lowest > 0 else np.inf
        singular = problem.singular(theta)
        inside = problem.escape(theta) is None
    small = gradient_norm <= 1e-4 * max(1.0, problem.n_rows / 1000.0)
    small = small or (gradient_norm <= 1e-2 and left <= _NOTHING_LEFT * max(1.0, abs(best)))
    return Convergence(
        converged=bool(small and inside and positive is not False),
        n_evaluations=len(search.log),
        n_iterations=search.iterations,
        gradient_norm=gradient_norm,
        hessian_positive=positive,
        singular=singular,
        log=tuple(search.log),
        message=message,
        flat=flat,
    )


def _flat(
    hessian: Floats, theta: Floats, free: NDArray[np.bool_], lower: Floats
) -> tuple[int, ...]:
    """Return the parameters of directions in which the criterion is flat but for rounding.

    An SD near zero is left out: there the criterion is flat in it whatever the data.
    """
    entries = theta[free]
    seen = ~((lower[free] == 0.0) & (entries < _NEAR_REST))
    size = np.maximum(np.abs(entries), _LEAST_SIZE)[seen]
    if not seen.any():
        return ()
    values, vectors = np.linalg.eigh(hessian[np.ix_(seen, seen)] * np.outer(size, size))
    level = np.abs(values) <= _FLAT
    if not level.any():
        return ()
    share = np.abs(vectors[:, level]).max(axis=1)
    return tuple(int(k) for k in np.flatnonzero(free)[seen][share > 0.3])
