"""The simulation of SIMEX: refits to pseudo data sets, in pairs of opposite errors.

Each pair adds the same draws with both signs: what is odd in the draws cancels in its mean, so that
fewer pairs do.  Every pair has a seed of its own, and the result does not depend on the number of
processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.errors import DataError, ResilienceError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.profile import Method, evaluate, to_own_units, working_units
from resilience.stats.mixed import MixedFit, fit_mixed
from resilience.stats.refits.refits import RefitPlan, refit_plan
from resilience.stats.refits.simex import MULTIPLIERS
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.drift import drift_covariance, fitted_products
from resilience.value_added.definitions.specification import Structure
from resilience.value_added.prior_error.contaminated import Contaminated

__all__ = ["Simulated", "jackknife_covariance", "simulate_errors"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_Pair = tuple[Floats, Floats]  # estimates and covariances

_SETS = 100  # of schools that are left out
_SETS_OF_MANY = 40  # above fifty thousand rows
_MANY = 50_000
_UNITS = 30  # that make an outer level the one whose units are left out
_PAIRS_OF_SETS = 1  # the draws are the same with and without a set: one pair does
_LAST_STEP = 1e-5  # of deviance: the error of a refit is nothing beside that of its draw
_LEAST_SHARE = 0.5  # of the pairs must have estimates


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """Estimates at every multiplier.

    Attributes
    ----------
    naive : MixedFit
        The fit to the data as they are.
    pairs : ndarray of shape (n_pairs, n_multipliers, p)
        Means of each pair; the first multiplier is 0, the fit itself.
    own : ndarray of shape (n_multipliers, p, p)
        Mean covariance that the fits report.
    between : ndarray of shape (n_multipliers, p, p)
        Covariance of the estimates over the draws, 0 at the first multiplier.
    reasons : dict of {str: int}
        Why pairs have no estimates, and how many.
    fitter : _Fitter
        What the leaving out of schools goes on with.
    """

    naive: MixedFit
    pairs: Floats
    own: Floats
    between: Floats
    reasons: dict[str, int]
    fitter: _Fitter

    @property
    def means(self) -> Floats:
        """Mean estimates, shape (n_multipliers, p)."""
        return np.asarray(self.pairs.mean(axis=0))

    @property
    def errors(self) -> Floats:
        """Simulation errors of the means, shape (n_multipliers, p)."""
        n = len(self.pairs)
        spread = self.pairs.std(axis=0, ddof=1) if n > 1 else np.zeros(self.pairs.shape[1:])
        return np.asarray(spread / np.sqrt(n))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitter:
    """Fits of one specification to cross-products in one set of units."""

    model: ModelDefinition
    plan: RefitPlan
    terms: tuple[str, ...]

    def fit(self, cross: CrossProducts) -> tuple[Floats, Floats]:
        """Return the coefficients and their covariance."""
        structure = self.model.structure or Structure()
        products = fitted_products(cross, self.model.levels, structure)
        working = working_units(products, self.terms)
        found = self.plan.refit(working)
        problem = replace(self.plan.problem, cross=working)
        profile = evaluate(problem, found.theta)
        back = to_own_units(working, list(problem.fixed))
        variance = profile.residual / profile.denominator * float(working.scale[-1]) ** 2
        return found.beta, back @ profile.inverse @ back.T * variance

    def pair(self, source: Contaminated, noise: Floats) -> tuple[Floats, Floats]:
        """Return estimates (2, k, p) of both signs and their mean covariances (k, p, p)."""
        estimates, covariances = [], []
        for multiplier in MULTIPLIERS[1:]:
            both = [self.fit(source.cross(sign * noise, multiplier)) for sign in (1.0, -1.0)]
            estimates.append([beta for beta, _ in both])
            covariances.append(0.5 * (both[0][1] + both[1][1]))
        return np.swapaxes(np.array(estimates), 0, 1), np.array(covariances)


@dataclass(frozen=True, kw_only=True, eq=False)
class _PairTask:
    """Estimates and covariances from one pair of draws."""

    fitter: _Fitter
    source: Contaminated
    seeds: tuple[np.random.SeedSequence, ...]

    def __call__(self, k: int) -> tuple[Floats, Floats]:
        noise = np.random.default_rng(self.seeds[k]).normal(size=self.source.observed.shape)
        return self.fitter.pair(self.source, noise)


@dataclass(frozen=True, kw_only=True, eq=False)
class _SetTask:
    """Mean estimates at every multiplier without one set of units, from the same draws."""

    fitter: _Fitter
    source: Contaminated
    seeds: tuple[np.random.SeedSequence, ...]
    level: str
    sets: Codes

    def __call__(self, k: int) -> tuple[Floats, Floats]:
        rest, rows = self.source.without(self.level, self.sets == k)
        zero = np.zeros(rest.observed.shape)
        first, covariance = self.fitter.fit(rest.cross(zero, 0.0))
        means = []
        for seed in self.seeds:
            noise = np.random.default_rng(seed).normal(size=self.source.observed.shape)[rows]
            means.append(self.fitter.pair(rest, noise)[0].mean(axis=0))
        return np.concatenate([first[None], np.mean(means, axis=0)]), covariance


def simulate_errors(
    source: Contaminated,
    model: ModelDefinition,
    *,
    method: Method,
    n_pairs: int,
    n_jobs: int,
    seed: np.random.SeedSequence,
) -> Simulated:
    """Fit the model to pseudo data sets at every multiplier.

    Parameters
    ----------
    source : Contaminated
        The naive design.
    model : ModelDefinition
        With nested levels.
    method : {"reml", "ml"}
        Criterion.
    n_pairs : int
        Pairs of pseudo data sets per multiplier.
    n_jobs : int
        Processes.
    seed : SeedSequence
        Every pair has one of its own.

    Raises
    ------
    DataError
        If fewer than half of the pairs have estimates.
    """
    terms = source.design.terms
    structure = model.structure or Structure()
    products = fitted_products(source.design.cross, model.levels, structure)
    with threadpool_limits(limits=1):
        naive = fit_mixed(
            products,
            fixed=terms,
            method=method,
            covariance=drift_covariance(model.levels, structure),
        )
        plan = replace(refit_plan(products, naive), last_step=_LAST_STEP)
    fitter = _Fitter(model=model, plan=plan, terms=terms)
    task = _PairTask(fitter=fitter, source=source, seeds=tuple(seed.spawn(n_pairs)))
    done, reasons = _done(_run(task, n_pairs, n_jobs), "simex.failed")
    draws = np.array([estimates for estimates, _ in done])  # (pairs, 2, k, p)
    own = np.mean([covariance for _, covariance in done], axis=0)
    around = draws - draws.mean(axis=(0, 1))
    # opposite draws make the mean all but exact: no degree of freedom is lost to it
    between = np.einsum("bskp,bskr->kpr", around, around) / (2 * len(draws))
    first = np.broadcast_to(naive.beta, (len(draws), 1, len(naive.beta)))
    return Simulated(
        naive=naive,
        pairs=np.concatenate([first, draws.mean(axis=1)], axis=1),
        own=np.concatenate([naive.beta_covariance[None], own]),
        between=np.concatenate([np.zeros((1, *between.shape[1:])), between]),
        reasons=reasons,
        fitter=fitter,
    )


def jackknife_covariance(
    source: Contaminated,
    found: Simulated,
    weights: Floats,
    *,
    n_jobs: int,
    seed: np.random.SeedSequence,
) -> tuple[Floats, int]:
    """Return the covariance of SIMEX estimates by leaving out sets of schools.

    Null models of latent compositions, error variances given by a reliability and all fits are done
    anew without a set, with the same draws; the curves move as their derivatives say.

    Parameters
    ----------
    source : Contaminated
        The naive design.
    found : Simulated
        The estimates from all rows.
    weights : ndarray of shape (p, n_multipliers, p)
        Derivatives of the extrapolated values in the means.
    n_jobs : int
        Processes.
    seed : SeedSequence
        Of the draws.

    Returns
    -------
    (ndarray of shape (p, p), int)
        The covariance, and the number of sets.

    References
    ----------
    Wolter2007, chapter 4.
    """
    cross = source.products.cross
    # whole units of the outermost level that has enough of them
    groups = cross.levels[: len(found.fitter.model.groups)]
    level = next((v for v in groups if v.n_groups >= _UNITS), groups[-1])
    n_sets = min(level.n_groups, _SETS if cross.n_rows <= _MANY else _SETS_OF_MANY)
    # at random: neighbours in a list of schools are alike, and sets by turns would be too even
    shuffled, *seeds = seed.spawn(1 + _PAIRS_OF_SETS)
    order = np.random.default_rng(shuffled).permutation(level.n_groups)
    task = _SetTask(
        fitter=found.fitter,
        source=source,
        seeds=tuple(seeds),
        level=level.name,
        sets=np.asarray(order % n_sets, dtype=np.int64),
    )
    done, _ = _done(_run(task, n_sets, n_jobs), "simex.failed_sets", least=1.0)
    values = np.array([np.einsum("kr,pkr->p", means, weights) for means, _ in done])
    around = values - values.mean(axis=0)
    return np.asarray((n_sets - 1) / n_sets * around.T @ around), n_sets


def _done(
    results: Sequence[_Pair | str], wording: str, least: float = _LEAST_SHARE
) -> tuple[list[_Pair], dict[str, int]]:
    """Return what has estimates, and the reasons of what has none; raise if it is too much."""
    done = [one for one in results if not isinstance(one, str)]
    reasons = Counter(one for one in results if isinstance(one, str))
    if len(done) < max(1.0, least * len(results)):
        reason, _ = reasons.most_common(1)[0]
        n = len(results) - len(done)
        raise DataError(text(wording, n=n, of=len(results), reason=reason))
    return done, dict(reasons)


def _run(task: Callable[[int], _Pair], n: int, n_jobs: int) -> list[_Pair | str]:
    """Run a task n times, in pieces that are handed to joblib where there are several processes."""
    from joblib import Parallel, delayed, effective_n_jobs  # type: ignore[import-untyped]  # ships no types

    workers = max(1, int(effective_n_jobs(n_jobs)))
    if workers == 1:
        return _piece(task, range(n))
    pieces = np.array_split(np.arange(n), min(n, 4 * workers))
    made = Parallel(n_jobs=n_jobs)(delayed(_piece)(task, piece.tolist()) for piece in pieces)
    return [one for part in made for one in part]


def _piece(task: Callable[[int], _Pair], numbers: Sequence[int]) -> list[_Pair | str]:
    """Run some of the tasks; what one of them cannot do is said, not raised."""
    found: list[_Pair | str] = []
    with threadpool_limits(limits=1):  # many threads on small matrices cost more than they give
        for k in numbers:
            try:
                found.append(task(k))
            except (ResilienceError, np.linalg.LinAlgError) as error:
                found.append(str(error))
    return found
