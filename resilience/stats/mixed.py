"""The mixed-model engine: a fitted model in own units from cross-products.

The criterion, its gradient and their sources stand in ``profile.py``, the elimination behind them
in ``elimination.py`` and the search in ``search.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.results import Convergence
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.covariance_unstructured import Covariance, lower_factor
from resilience.stats.engine.elimination import GroupSolves, SharedPart, shared_parts, solve_groups
from resilience.stats.engine.identification import LevelSize, refuse_flat, refuse_still_outcome
from resilience.stats.engine.profile import (
    Method,
    Problem,
    Profile,
    criterion_in_own_units,
    evaluate,
    level_structures,
    own_covariance,
    residual_contrast,
    to_own_units,
    working_units,
)
from resilience.stats.engine.search import searched

__all__ = [
    "LevelEffects",
    "MixedFit",
    "check_outcome_varies",
    "check_rank",
    "dependent_columns",
    "effects_at",
    "fit_mixed",
    "in_own_units",
    "mixed_criterion",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelEffects:
    """Predicted effects of one level in the outcome's units.

    Attributes
    ----------
    name : str
        Name of the level.
    labels : ndarray of shape (n_groups,)
        Groups' labels.
    parent : ndarray of shape (n_groups,)
        Position in the next outer level.
    terms : tuple of str
        Random terms.
    modes : ndarray of shape (n_groups, q)
        Conditional modes (empirical Bayes predictions).
    conditional : ndarray of shape (n_groups, q, q)
        Conditional covariance, coefficients taken as known.
    prediction : ndarray of shape (n_groups, q, q)
        Prediction-error covariance, error of the coefficients included.
    covariance : ndarray of shape (q, q)
        Covariance of the effects.
    singular : bool
        A variance of the level is zero or a correlation is ±1.
    leverage : ndarray of shape (n_groups, q, p)
        The modes move by minus its product with a move of the fixed effects.
    coefficient_part : ndarray of shape (n_groups, q, p)
        ``leverage`` times a root of the fixed effects' covariance.
    shared : tuple of (codes, ndarray of shape (n_groups, q, q_outer))
        Per outer level the unit's code and A: the conditional covariance of two groups of one unit
        is the product of their A, summed over the levels whose unit both belong to.
    structure : str
        Covariance structure of the level.
    parameters : mapping of {str: float}
        SDs and correlations in own units: ``std_dev[term]`` and ``correlation[term, term]``, or
        ``std_dev`` and ``correlation`` where the structure has one for all terms (for ``ar1`` that
        of neighbouring years, NaN without a variance).
    """

    name: str
    labels: NDArray[np.object_]
    parent: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    terms: tuple[str, ...]
    modes: Floats
    conditional: Floats
    prediction: Floats
    covariance: Floats
    singular: bool
    leverage: Floats
    coefficient_part: Floats
    shared: tuple[SharedPart, ...]
    structure: Covariance = "unstructured"
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class MixedFit:
    r"""A fitted mixed model in the outcome's and the covariates' own units.

    Attributes
    ----------
    terms : tuple of str
        Fixed terms.
    beta, beta_covariance : ndarray of shape (p,), (p, p)
        Fixed effects and their covariance.
    residual_variance : float
        :math:`\hat\sigma^2`.
    criterion : float
        REML criterion or deviance with all constants, as lme4 prints it.
    method : {"reml", "ml"}
        Criterion that was minimised.
    n_rows : int
        Rows with a positive weight.
    levels : tuple of LevelEffects
        Effects from the outermost to the innermost level.
    convergence : Convergence
        How the optimisation ended.
    theta : ndarray of shape (n_free,)
        Parameters of the structures in working units, level by level.
    """

    terms: tuple[str, ...]
    beta: Floats
    beta_covariance: Floats
    residual_variance: float
    criterion: float
    method: Method
    n_rows: int
    levels: tuple[LevelEffects, ...]
    convergence: Convergence
    theta: Floats


def fit_mixed(
    cross: CrossProducts,
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
    covariance: Mapping[str, Covariance] | None = None,
) -> MixedFit:
    """Fit a Gaussian mixed model with nested levels from cross-products.

    Parameters
    ----------
    cross : CrossProducts
        Cross-products; the outcome is the last column.
    fixed : sequence of str, optional
        Fixed terms; by default all columns but the outcome.  ``"Intercept"`` is the column of ones.
    method : {"reml", "ml"}
        Criterion.
    covariance : dict, optional
        Per level ``"unstructured"`` (default), ``"diagonal"``, ``"identity"``,
        ``"compound_symmetry"`` or ``"ar1"`` (see `resilience.stats.engine.covariance`).

    Returns
    -------
    MixedFit

    Raises
    ------
    SpecificationError
        If columns are collinear (named), nothing is left for the residual, the fixed part
        reproduces the outcome, or a structure is unknown or does not fit its level.

    References
    ----------
    BatesEtAl2015, section 3.
    """
    terms = tuple(cross.columns[:-1] if fixed is None else fixed)
    working = working_units(cross, terms)
    at = tuple(working.columns.index(t) for t in terms)
    check_rank(working, at, terms)
    problem = Problem(
        cross=working,
        fixed=at,
        method=method,
        structures=level_structures(working, covariance or {}),
    )
    refuse_still_outcome(working)
    theta, convergence = searched(problem)
    sizes = [
        LevelSize(name=v.name, n_units=v.n_groups, n_parameters=structure.n_parameters)
        for v, structure in zip(working.levels, problem.structures, strict=True)
    ]
    refuse_flat(convergence, sizes, working.n_rows)
    profile = evaluate(problem, theta)
    return in_own_units(problem, theta, profile, convergence, terms)


def mixed_criterion(
    cross: CrossProducts,
    covariances: Sequence[Floats],
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
) -> float:
    """Return the profiled criterion at given covariances, without any optimisation.

    Parameters
    ----------
    cross : CrossProducts
        Cross-products; the outcome is the last column.
    covariances : sequence of ndarray of shape (q, q)
        Per level, covariance of the effects divided by the residual variance, in the own units of
        the random terms.
    fixed : sequence of str, optional
        Fixed terms; by default all columns but the outcome.
    method : {"reml", "ml"}
        Criterion.

    Returns
    -------
    float
        Constants included, comparable with lme4's REML criterion or deviance.
    """
    problem, theta = _at_covariances(cross, covariances, fixed, method)
    return criterion_in_own_units(problem, evaluate(problem, theta))


def effects_at(
    cross: CrossProducts,
    covariances: Sequence[Floats],
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
) -> tuple[LevelEffects, ...]:
    """Return the effects of all levels at given covariances, without any optimisation.

    Parameters
    ----------
    cross, covariances, fixed, method
        As in `mixed_criterion`; the residual variance is estimated.
    """
    problem, theta = _at_covariances(cross, covariances, fixed, method)
    return _all_effects(problem, theta, evaluate(problem, theta))


def _at_covariances(
    cross: CrossProducts,
    covariances: Sequence[Floats],
    fixed: Sequence[str] | None,
    method: Method,
) -> tuple[Problem, Floats]:
    """Return the problem of unstructured covariances and the parameters of the given ones."""
    terms = tuple(cross.columns[:-1] if fixed is None else fixed)
    working = working_units(cross, terms)
    problem = Problem(
        cross=working,
        fixed=tuple(working.columns.index(t) for t in terms),
        method=method,
        structures=level_structures(working, {}),
    )
    factors = []
    for level, D in zip(working.levels, covariances, strict=True):
        there = np.linalg.inv(to_own_units(working, level.columns))
        factors.append(lower_factor(there @ np.asarray(D, dtype=float) @ there.T))
    return problem, problem.theta(factors)


def dependent_columns(gram: Floats, names: Sequence[str], tolerance: float = 1e-10) -> list[str]:
    """Return the columns that are linear combinations of those before them.

    Parameters
    ----------
    gram : ndarray of shape (p, p)
        :math:`X'X`.
    names : sequence of str
        Names of the columns.
    tolerance : float
        A column whose residual sum of squares falls below this share of its own is dependent.
    """
    reduced = np.array(gram, dtype=float)
    sizes = np.diag(reduced).copy()
    found: list[str] = []
    for k, name in enumerate(names):
        pivot = reduced[k, k]
        if pivot <= tolerance * sizes[k] or sizes[k] <= 0:
            found.append(name)
            continue
        rest = slice(k + 1, None)
        reduced[rest, rest] -= np.outer(reduced[rest, k], reduced[k, rest]) / pivot
    return found


def check_rank(cross: CrossProducts, at: tuple[int, ...], terms: Sequence[str]) -> None:
    """Raise where rows are too few, columns depend on others or nothing is left to explain."""
    p = len(at)
    if cross.n_rows <= p:
        raise SpecificationError(text("engine.no_residual", p=p, n=cross.n_rows))
    gram = cross.total[np.ix_(at, at)]
    dependent = dependent_columns(gram, terms)
    if dependent:
        raise SpecificationError(
            text("engine.collinear", columns=", ".join(repr(d) for d in dependent))
        )
    target = cross.total[list(at), -1]
    rss = float(cross.total[-1, -1] - target @ np.linalg.solve(gram, target)) if p else 1.0
    check_outcome_varies(cross)
    if rss <= 1e-11 * max(cross.total[-1, -1], 1e-300):
        raise SpecificationError(
            text("engine.perfect_fit", outcome=repr(cross.columns[-1]), rss=f"{rss:.3g}")
        )


def check_outcome_varies(cross: CrossProducts) -> None:
    """Raise a `DataError` where the outcome is the same in all rows."""
    weight = float(cross.total[0, 0])
    spread = float(cross.total[-1, -1] - cross.total[0, -1] ** 2 / weight)
    rounding = weight * (1e-13 * max(1.0, abs(float(cross.centre[-1] / cross.scale[-1])))) ** 2
    if spread <= max(1e-13 * float(cross.total[-1, -1]), rounding):
        outcome = repr(cross.columns[-1])
        raise DataError(text("engine.constant_outcome", outcome=outcome, n=cross.n_rows))


def in_own_units(
    problem: Problem,
    theta: Floats,
    profile: Profile,
    convergence: Convergence,
    terms: tuple[str, ...],
) -> MixedFit:
    """Return the fit at some entries, back in the units of the columns."""
    cross = problem.cross
    unit = cross.scale[-1]
    sigma2 = profile.residual / profile.denominator * unit**2
    fixed = list(problem.fixed)
    back = to_own_units(cross, fixed)
    shift = np.zeros(len(fixed))
    if 0 in fixed:
        shift[fixed.index(0)] = cross.centre[-1]
    beta = back @ profile.beta * unit + shift
    return MixedFit(
        terms=terms,
        beta=beta,
        beta_covariance=back @ profile.inverse @ back.T * sigma2,
        residual_variance=float(sigma2),
        criterion=criterion_in_own_units(problem, profile),
        method=problem.method,
        n_rows=cross.n_rows,
        levels=_all_effects(problem, theta, profile),
        convergence=convergence,
        theta=theta,
    )


def _all_effects(problem: Problem, theta: Floats, profile: Profile) -> tuple[LevelEffects, ...]:
    cross = problem.cross
    sigma2 = profile.residual / profile.denominator * cross.scale[-1] ** 2
    covariances = problem.covariances(theta)
    solves = solve_groups(cross, covariances, profile.elimination)
    return tuple(
        _level_effects(problem, k, theta, solves, profile, sigma2) for k in range(len(cross.levels))
    )


def _level_effects(
    problem: Problem,
    at: int,
    theta: Floats,
    solves: GroupSolves,
    profile: Profile,
    sigma2: float,
) -> LevelEffects:
    cross = problem.cross
    covariances = problem.covariances(theta)
    level, D = cross.levels[at], covariances[at]
    structure, parameters = problem.structures[at], problem.parts(theta)[at]
    F, S = solves.to_columns[at], solves.to_self[at]
    back = to_own_units(cross, level.columns)
    contrast = residual_contrast(problem, profile)
    modes = (F @ contrast) @ D @ back.T * cross.scale[-1]
    conditional = D - D @ S @ D
    fixed = list(problem.fixed)
    X = back @ (D @ F[:, :, fixed])
    part = X @ linalg.cholesky(profile.inverse, lower=True) * np.sqrt(sigma2) if fixed else X
    conditional = back @ conditional @ back.T * sigma2
    shared = shared_parts(cross, covariances, profile.elimination, at)
    covariance = own_covariance(back, D) * sigma2
    return LevelEffects(
        name=level.name,
        labels=level.labels,
        parent=level.parent,
        n_rows=level.n_rows,
        terms=tuple(cross.columns[c] for c in level.columns),
        modes=modes,
        conditional=conditional,
        prediction=conditional + part @ np.swapaxes(part, 1, 2),
        covariance=covariance,
        singular=structure.singular(parameters),
        leverage=X @ np.linalg.inv(to_own_units(cross, fixed)),
        coefficient_part=part,
        shared=tuple((codes, back @ D @ A * np.sqrt(sigma2)) for codes, A in shared),
        structure=structure.name,
        parameters=structure.natural(covariance, parameters),
    )
