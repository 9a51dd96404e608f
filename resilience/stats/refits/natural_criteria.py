"""What the parameters of every kind of fit mean in own units, for profiles of the likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resilience.stats.crossed.crossed_fit import crossed_problem
from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.likelihood_intervals import NaturalCriterion
from resilience.stats.engine.profile import evaluate, gradient_in_factors, sensitivities
from resilience.stats.mixed import MixedFit
from resilience.stats.refits.refits import components, natural_values, problem_of
from resilience.stats.strata.strata_fit import StrataFit, strata_problem

__all__ = ["natural_criterion"]

Floats = NDArray[np.float64]


def natural_criterion(cross: CrossProducts | CrossedProducts, fitted: MixedFit) -> NaturalCriterion:
    """Return the criterion of a fit with the meaning of its parameters.

    Parameters
    ----------
    cross : CrossProducts or CrossedProducts
        What the model was fitted to (of several subjects jointly: what ``fitted`` holds).
    fitted : MixedFit
        A fit with nested levels, with crossed factors, or of several subjects.

    Returns
    -------
    NaturalCriterion
    """
    if isinstance(fitted, StrataFit):
        return _of_subjects(fitted)
    if isinstance(cross, CrossedProducts):
        return _of_crossed(cross, fitted)
    problem = problem_of(cross, fitted)
    m = float(evaluate(problem, fitted.theta).denominator)

    def sigma(theta: Floats) -> float:
        profile = evaluate(problem, theta)
        return float(np.sqrt(profile.residual / profile.denominator))

    def value(theta: Floats) -> tuple[float, Floats, float, Floats]:
        profile = evaluate(problem, theta)
        whole = sensitivities(problem, theta, profile)
        # an infinite residual leaves the part of the determinants
        rest = sensitivities(problem, theta, replace(profile, residual=np.inf))
        own = [a - b for a, b in zip(whole, rest, strict=True)]
        return (
            profile.criterion,
            gradient_in_factors(problem, theta, whole),
            float(np.sqrt(profile.residual / profile.denominator)),
            gradient_in_factors(problem, theta, own) / (2.0 * m),
        )

    return NaturalCriterion(
        objective=problem,
        optimum=fitted.theta,
        denominator=m,
        names=components(fitted),
        sigma=sigma,
        natural=lambda theta, own: natural_values(problem, theta, own),
        value=value,
    )


def _of_crossed(products: CrossedProducts, fitted: MixedFit) -> NaturalCriterion:
    covariance = {level.name: level.structure for level in fitted.levels}
    problem = crossed_problem(products, fitted.terms, fitted.method, covariance)
    columns = [factor.columns for factor in problem.products.factors]

    def sigma(theta: Floats) -> float:
        profile = problem.profile(theta)
        return float(np.sqrt(profile.residual / profile.denominator))

    return NaturalCriterion(
        objective=problem,
        optimum=fitted.theta,
        denominator=float(problem.profile(fitted.theta).denominator),
        names=components(fitted),
        sigma=sigma,
        natural=lambda theta, own: natural_values(problem, theta, own, columns),
    )


def _of_subjects(fitted: StrataFit) -> NaturalCriterion:
    """Every subject has a residual SD, and every pair a correlation where pupils are linked."""
    covariance = {level.name: level.structure for level in fitted.levels}
    search = strata_problem(
        fitted.strata, fixed=fitted.terms, method=fitted.method, covariance=covariance
    )
    R = fitted.residual_covariance / fitted.residual_variance
    cut = search.problem.n_free
    subjects: Sequence[object] = fitted.subjects
    pairs = [
        (i, k) for i in range(len(R)) for k in range(i + 1, len(R)) if search.residual.correlated
    ]
    names = [c for c in components(fitted) if c[0] != "residual"]
    names += [("residual", f"std_dev[{s}]") for s in subjects]
    names += [("residual", f"correlation[{subjects[i]}, {subjects[k]}]") for i, k in pairs]

    def sigma(theta: Floats) -> float:
        problem, entries, _ = search.at(theta)
        profile = evaluate(problem, entries)
        return float(np.sqrt(profile.residual / profile.denominator))

    def natural(theta: Floats, own: float) -> Floats:
        effects = natural_values(search.problem, theta[:cut], own)
        relative = search.residual.covariance(theta[cut:])
        spread = np.sqrt(np.diag(relative))
        ties = [relative[i, k] / (spread[i] * spread[k]) for i, k in pairs]
        return np.array([*effects[:-1], *(effects[-1] * spread), *ties])

    theta = np.concatenate([fitted.theta[:cut], search.residual.parameters(R)])
    problem, entries, _ = search.at(theta)
    return NaturalCriterion(
        objective=search,
        optimum=theta,
        denominator=float(evaluate(problem, entries).denominator),
        names=tuple(names),
        sigma=sigma,
        natural=natural,
        value=search.value_and_scale,
    )
