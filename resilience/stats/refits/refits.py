r"""Fit a model again and again to cross-products that differ a little.

Bootstrap replicates and fits without one school have their optimum near that of the fit at hand.
The search starts there with the curvature :math:`H` of the criterion there and takes quasi-Newton
steps (BFGS; the curvature is updated after every step) until the decrease that a further step
promises, :math:`g'H^{-1}g/2`, is below :math:`10^{-9}` of deviance, an error of the parameters of
some :math:`10^{-5}` standard errors.  Where a standard deviation comes near zero or the steps do
not settle, the full search of `resilience.stats.engine.search` takes over from the same start, so
that a refit ends where a fit from scratch would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.errors import ResilienceError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.profile import (
    Problem,
    evaluate,
    level_structures,
    to_own_units,
    working_units,
)
from resilience.stats.engine.search import Search, optimise
from resilience.stats.mixed import MixedFit, dependent_columns
from resilience.stats.refits.simulated_products import OutcomeDraws, outcome_draws

__all__ = [
    "Component",
    "Refit",
    "RefitPlan",
    "cluster_refits",
    "components",
    "natural_values",
    "parametric_refits",
    "problem_of",
    "refit_plan",
]

Floats = NDArray[np.float64]
Component = tuple[str, str]  # level (or "residual"), and the name of an SD or a correlation

_DECREASE = 1e-9  # of deviance, promised by a further step
_LAST_STEP = 1e-5  # of deviance: 0.003 standard errors before the step, some 0.0003 after it
_STEPS = 12
_NEAR_ZERO = 0.03  # a relative SD below this is left to the full search


@dataclass(frozen=True, kw_only=True, eq=False)
class Refit:
    """What a refit is asked for.

    Attributes
    ----------
    beta : ndarray of shape (p,)
        Fixed effects in own units.
    natural : ndarray of shape (n_components,)
        SDs and correlations in own units, in the order of `components`; the residual SD is last.
    theta : ndarray of shape (n_free,)
        Parameters of the structures in working units.
    criterion : float
        In working units: comparable among refits of one plan.
    singular : bool
        A variance is zero or a correlation at its end.
    converged : bool
        Whether the search ended well.
    """

    beta: Floats
    natural: Floats
    theta: Floats
    criterion: float
    singular: bool
    converged: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class RefitPlan:
    """A fit with what its refits share.

    Attributes
    ----------
    problem : Problem
        Criterion of the fit in working units; refits replace its cross-products.
    theta : ndarray of shape (n_free,)
        Its optimum.
    curvature : ndarray of shape (n_free, n_free) or None
        Hessian there; None where the fit sits on a boundary.
    last_step : float
        A step that promises less than this decrease is taken and not looked at again: its own
        error is of a smaller order.  0 by default: every step is checked.
    """

    problem: Problem
    theta: Floats
    curvature: Floats | None
    last_step: float = 0.0

    def refit(self, cross: CrossProducts) -> Refit:
        """Fit the same specification to other cross-products in the same units.

        Parameters
        ----------
        cross : CrossProducts
            With the columns, levels, centre and scale of ``problem.cross``.

        Raises
        ------
        SpecificationError
            If columns are collinear in these rows (named).
        """
        problem = replace(self.problem, cross=cross)
        fixed = list(problem.fixed)
        names = [cross.columns[c] for c in fixed]
        dependent = dependent_columns(cross.total[np.ix_(fixed, fixed)], names)
        if dependent:
            raise SpecificationError(
                text("engine.collinear", columns=", ".join(repr(d) for d in dependent))
            )
        found = self._quick(problem)
        if found is None:
            theta, convergence = optimise(_started(problem, self.theta))
            converged, singular = convergence.converged, convergence.singular
        else:
            theta, converged, singular = found, True, problem.singular(found)
        profile = evaluate(problem, theta)
        unit = cross.scale[-1]
        shift = np.zeros(len(fixed))
        if 0 in fixed:
            shift[fixed.index(0)] = cross.centre[-1]
        return Refit(
            beta=to_own_units(cross, fixed) @ profile.beta * unit + shift,
            natural=natural_values(
                problem, theta, float(np.sqrt(profile.residual / profile.denominator))
            ),
            theta=theta,
            criterion=profile.criterion,
            singular=singular,
            converged=converged,
        )

    def _quick(self, problem: Problem) -> Floats | None:
        """Return the optimum by a few quasi-Newton steps, or None where they do not settle."""
        if self.curvature is None:
            return None
        if not len(self.theta):
            return self.theta
        inverse = np.linalg.inv(self.curvature)
        lower = np.array([-np.inf if b[0] is None else b[0] + _NEAR_ZERO for b in problem.bounds])
        upper = np.array([np.inf if b[1] is None else b[1] - _NEAR_ZERO for b in problem.bounds])
        theta, (value, gradient) = self.theta, problem.value(self.theta)
        for _ in range(_STEPS):
            promised = 0.5 * float(gradient @ inverse @ gradient)
            if promised <= _DECREASE:
                return theta
            step = -inverse @ gradient
            trial = theta + step
            if ((trial < lower) | (trial > upper)).any():
                return None
            if promised <= self.last_step:
                return trial
            new, slope = problem.value(trial)
            change = slope - gradient
            # a step that does not descend, or along which the criterion is not convex, is not ours
            if new > value + 1e-9 * max(1.0, abs(value)) or change @ step <= 0:
                return None
            inverse = _updated(inverse, step, change)
            theta, value, gradient = trial, new, slope
        return None


def _updated(inverse: NDArray[Any], step: Floats, change: NDArray[Any]) -> Floats:
    """Return the BFGS update of an inverse curvature."""
    rate = 1.0 / float(change @ step)
    left = np.eye(len(step)) - rate * np.outer(step, change)
    return np.asarray(left @ inverse @ left.T + rate * np.outer(step, step))


@dataclass(frozen=True, kw_only=True)
class _StartedProblem(Problem):
    """A problem whose search starts elsewhere."""

    origin: Floats

    def start(self) -> Floats:
        """Return the start that was handed over."""
        return self.origin


def _started(problem: Problem, theta: Floats) -> _StartedProblem:
    """Return the problem with a start off its bounds: a zero variance is a stationary point."""
    lower = np.array([-np.inf if b[0] is None else b[0] for b in problem.bounds])
    origin = np.where(theta <= lower + _NEAR_ZERO, problem.start(), theta)
    return _StartedProblem(
        cross=problem.cross,
        fixed=problem.fixed,
        method=problem.method,
        structures=problem.structures,
        origin=origin,
    )


def problem_of(cross: CrossProducts, fitted: MixedFit) -> Problem:
    """Return the criterion of a fit; ``fitted.theta`` is its optimum.

    Parameters
    ----------
    cross : CrossProducts
        What the model was fitted to.
    fitted : MixedFit
        The fit.
    """
    covariance = {level.name: level.structure for level in fitted.levels}
    working = working_units(cross, fitted.terms)
    return Problem(
        cross=working,
        fixed=tuple(working.columns.index(t) for t in fitted.terms),
        method=fitted.method,
        structures=level_structures(working, covariance),
    )


def refit_plan(cross: CrossProducts, fitted: MixedFit) -> RefitPlan:
    """Return what refits of a fit share.

    Parameters
    ----------
    cross : CrossProducts
        What the model was fitted to.
    fitted : MixedFit
        The fit.
    """
    problem = problem_of(cross, fitted)
    search = Search(problem=problem, log=[])
    curvature = None
    if not len(fitted.theta):
        curvature = np.zeros((0, 0))
    elif not fitted.convergence.singular and search.free_entries(fitted.theta).all():
        found, _ = search.hessian(fitted.theta, np.ones(len(fitted.theta), dtype=bool))
        if np.linalg.eigvalsh(found)[0] > 0:
            curvature = found
    return RefitPlan(problem=problem, theta=fitted.theta, curvature=curvature)


def components(fitted: MixedFit) -> tuple[Component, ...]:
    """Return level and name of every SD and correlation; the residual SD is last."""
    own = [(level.name, name) for level in fitted.levels for name in level.parameters]
    return (*own, ("residual", "std_dev"))


def natural_values(
    problem: Problem,
    theta: Floats,
    sigma: float,
    columns: Sequence[tuple[int, ...]] | None = None,
) -> Floats:
    """Return the SDs and correlations in own units, shape (n_components,).

    Parameters
    ----------
    problem : Problem
        The criterion.
    theta : ndarray of shape (n_free,)
        Its parameters.
    sigma : float
        Residual SD in working units of the outcome.
    columns : sequence of tuple of int, optional
        Random terms per level, by default those of the problem's nested levels.
    """
    cross = problem.cross
    sigma = sigma * float(cross.scale[-1])
    found: list[float] = []
    own = [level.columns for level in cross.levels] if columns is None else columns
    for at, structure, part in zip(own, problem.structures, problem.parts(theta), strict=True):
        back = to_own_units(cross, at)
        half = back @ structure.factor(part) * sigma
        found += list(structure.natural(half @ half.T, part).values())
    return np.array([*found, sigma])


def parametric_refits(
    cross: CrossProducts,
    fitted: MixedFit,
    *,
    n_replicates: int,
    n_jobs: int = 1,
    random_state: int = 0,
    progress: bool = False,
) -> list[Refit | str]:
    """Refit the model to outcomes drawn from it.

    Parameters
    ----------
    cross : CrossProducts
        What the model was fitted to.
    fitted : MixedFit
        The truth of the draws.
    n_replicates : int
        Number of draws.
    n_jobs : int
        Processes (or whatever the caller's joblib backend has); the result does not depend on it.
    random_state : int
        Seed.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    list of Refit or str
        A reason in words stands for a replicate that could not be fitted.

    References
    ----------
    DavisonHinkley1997, chapter 2.
    """
    plan = replace(refit_plan(cross, fitted), last_step=_LAST_STEP)
    draws = outcome_draws(plan.problem.cross, fitted)
    _ = draws.directions  # made once, before the copies
    task = _ParametricTask(plan=plan, draws=draws)
    return _run(task, n_replicates, n_jobs, random_state, progress)


def cluster_refits(
    cross: CrossProducts,
    fitted: MixedFit,
    *,
    level: str,
    n_replicates: int,
    n_jobs: int = 1,
    random_state: int = 0,
    progress: bool = False,
) -> list[Refit | str]:
    """Refit the model to groups drawn with replacement.

    Parameters
    ----------
    cross : CrossProducts
        With blocks at ``level`` or inside it.
    fitted : MixedFit
        The fit.
    level : str
        Level whose groups are drawn; a group drawn twice counts as two groups.
    n_replicates, n_jobs, random_state, progress
        As in `parametric_refits`.

    Returns
    -------
    list of Refit or str

    Raises
    ------
    SpecificationError
        Without blocks at ``level`` or inside it.

    References
    ----------
    DavisonHinkley1997, section 3.8.
    """
    cross.subset_groups(level, mask=np.ones(cross.n_groups[level], dtype=bool))  # or refuses
    plan = replace(refit_plan(cross, fitted), last_step=_LAST_STEP)
    task = _ClusterTask(plan=plan, level=level, size=cross.n_groups[level])
    return _run(task, n_replicates, n_jobs, random_state, progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ParametricTask:
    plan: RefitPlan
    draws: OutcomeDraws

    def __call__(self, rng: np.random.Generator) -> Refit:
        return self.plan.refit(self.draws.draw(rng))


@dataclass(frozen=True, kw_only=True, eq=False)
class _ClusterTask:
    plan: RefitPlan
    level: str
    size: int

    def __call__(self, rng: np.random.Generator) -> Refit:
        times = np.bincount(rng.integers(0, self.size, self.size), minlength=self.size)
        cross = self.plan.problem.cross
        return self.plan.refit(cross.subset_groups(self.level, multiplicities=times))


def _run(
    task: Callable[[np.random.Generator], Refit],
    n_replicates: int,
    n_jobs: int,
    random_state: int,
    progress: bool,
) -> list[Refit | str]:
    """Run a task over seeds of its own, in pieces that are handed to joblib."""
    from joblib import Parallel, delayed, effective_n_jobs  # type: ignore[import-untyped]  # ships no types

    seeds = np.random.SeedSequence(random_state).spawn(n_replicates)
    workers = max(1, int(effective_n_jobs(n_jobs)))
    pieces = np.array_split(np.arange(n_replicates), min(n_replicates, 4 * workers))
    chunks = [[seeds[k] for k in piece] for piece in pieces]
    found: list[Refit | str] = []
    made: Any
    if workers == 1:
        made = (_piece(task, chunk) for chunk in chunks)
    else:
        made = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_piece)(task, chunk) for chunk in chunks
        )
    if progress:
        from tqdm import tqdm

        made = tqdm(made, total=len(chunks))
    for part in made:
        found += part
    return found


def _piece(
    task: Callable[[np.random.Generator], Refit], seeds: Sequence[np.random.SeedSequence]
) -> list[Refit | str]:
    """Run a task over some seeds; what one replicate cannot do is said, not raised."""
    found: list[Refit | str] = []
    with threadpool_limits(limits=1):  # many threads on small matrices cost more than they give
        for seed in seeds:
            try:
                found.append(task(np.random.default_rng(seed)))
            except (ResilienceError, np.linalg.LinAlgError) as error:
                found.append(str(error))
    return found
