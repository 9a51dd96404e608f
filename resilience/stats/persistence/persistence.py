"""Maximum likelihood of teacher effects that persist, fully, partly or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from resilience.stats.persistence.persistence_criterion import (
    Layout,
    PersistenceParameters,
    Solution,
    criterion_and_gradient,
    parameter_layout,
)
from resilience.stats.persistence.persistence_products import PersistenceProducts

__all__ = ["PersistenceFit", "SearchRecord", "fit_persistence"]

Floats = NDArray[np.float64]

_STARTS = ((0.3, 0.5), (0.15, 1.0), (0.5, 0.1))  # teacher SD in residual SD, and α
_ZERO = 1e-3  # teacher SD in residual SD: below, the variance counts as zero
_STEP = 1e-4  # of the differences of the exact gradient, in standardised parameters
_SMALL = 1e-6  # of the gradient relative to the number of rows
_NEWTON = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchRecord:
    """How the search ended.

    Attributes
    ----------
    converged : bool
        Small gradient and a positive Hessian in the free parameters.
    n_evaluations, n_iterations : int
        Over all starts.
    gradient_norm : float
        Largest absolute derivative by a free parameter, relative to the number of rows.
    hessian_positive : bool
        Whether the Hessian in the free parameters is positive definite.
    singular : bool
        A teacher variance is zero.
    starts : tuple of float
        Criterion where each start ended.
    log : tuple of (int, float)
        Criterion at every evaluation.
    message : str
        What the optimiser said of the best start.
    """

    converged: bool
    n_evaluations: int
    n_iterations: int
    gradient_norm: float
    hessian_positive: bool
    singular: bool
    starts: tuple[float, ...]
    log: tuple[tuple[int, float], ...]
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PersistenceFit:
    """Estimates in the scale of the data.

    Attributes
    ----------
    criterion : float
        Minus twice the (restricted) log-likelihood, constants included.
    coefficients : ndarray of shape (n_terms,)
        Fixed effects.
    covariance : ndarray of shape (n_terms, n_terms)
        Their covariance.
    persistence, persistence_std_error : ndarray of shape (n_years, n_years)
        α; standard errors from the observed information, NaN where α is fixed or undefined.
    persistence_covariance : ndarray
        Covariance of the free α, row by row below the diagonal; empty where none is free.
    teacher_variance, teacher_variance_std_error : ndarray of shape (n_years,)
        Variance of the teachers of each year.
    residual, residual_std_error : ndarray of shape (n_years, n_years)
        Covariance of a pupil's residuals over the years.
    effects, conditional_sd, std_error : ndarray of shape (n_units,)
        Predicted teacher effects; SD given the data and the parameters; root of the prediction
        error variance, the error of the fixed effects included.
    effect_blocks : tuple of (ndarray, ndarray)
        Units of every component and the conditional covariance of their effects.
    effect_loadings : ndarray of shape (n_units, n_terms)
        L of the prediction error covariance ``U + L L'``.
    parameter_loadings : ndarray of shape (n_units, n_free)
        K of the further term ``K K'`` for estimating persistence and variances: derivatives of the
        effects times a root of the parameters' covariance, first order (KackarHarville1984).
    record : SearchRecord
        How the search ended.
    parameters : PersistenceParameters
        Estimates in residual standard deviations of least squares.
    """

    criterion: float
    coefficients: Floats
    covariance: Floats
    persistence: Floats
    persistence_std_error: Floats
    persistence_covariance: Floats
    teacher_variance: Floats
    teacher_variance_std_error: Floats
    residual: Floats
    residual_std_error: Floats
    effects: Floats
    conditional_sd: Floats
    std_error: Floats
    effect_blocks: tuple[tuple[NDArray[np.int64], Floats], ...]
    effect_loadings: Floats
    parameter_loadings: Floats
    record: SearchRecord
    parameters: PersistenceParameters


class _Search:
    """The criterion over a vector of parameters, with every evaluation on record."""

    def __init__(self, products: PersistenceProducts, layout: Layout, reml: bool) -> None:
        self.products, self.layout, self.reml = products, layout, reml
        self.log: list[tuple[int, float]] = []

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        value, gradient, _ = criterion_and_gradient(
            self.products, self.layout, vector, reml=self.reml
        )
        self.log.append((len(self.log) + 1, value))
        return value, gradient

    def hessian(self, vector: Floats, free: NDArray[np.int64]) -> Floats:
        """Return central differences of the exact gradient in the free parameters."""
        rows = []
        for position in free:
            step = np.zeros(len(vector))
            step[position] = _STEP
            rows.append((self(vector + step)[1] - self(vector - step)[1])[free] / (2.0 * _STEP))
        matrix = np.array(rows)
        return 0.5 * (matrix + matrix.T)


def fit_persistence(
    products: PersistenceProducts,
    *,
    persistence: str = "variable",
    method: str = "reml",
    max_iterations: int = 300,
) -> PersistenceFit:
    r"""Estimate persistence, teacher variances and residual covariance; predict the effects.

    L-BFGS-B with the exact gradient from three starts, then Newton steps on the free parameters
    with differences of the gradient as Hessian; the best end is kept.

    Parameters
    ----------
    products : PersistenceProducts
        Sums over pupils (`persistence_products`).
    persistence : {"variable", "complete", "zero"}
        α below the diagonal: estimated, one, or zero.
    method : {"reml", "ml"}
        Restricted or full likelihood.
    max_iterations : int
        Iterations of each start.

    Returns
    -------
    PersistenceFit

    References
    ----------
    McCaffreyEtAl2004; KarlYangLohr2013; KackarHarville1984.
    """
    layout = parameter_layout(products.n_years, persistence)
    search = _Search(products, layout, method == "reml")
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * layout.n_parameters
    for position in range(layout.teacher.start, layout.teacher.stop):
        bounds[position] = (0.0, None)
    guess = _residual_guess(products)
    starts = _STARTS if layout.variable else _STARTS[:2]
    ends = [
        minimize(
            search,
            layout.pack(guess * (1.0 - sd**2), np.full(products.n_years, sd), alpha),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": max_iterations, "ftol": 1e-12, "gtol": 1e-5},
        )
        for sd, alpha in starts
    ]
    best = min(ends, key=lambda end: float(end.fun))
    vector, free = _at_bounds(np.asarray(best.x, dtype=float), layout)
    vector, hessian, gradient = _newton(search, vector, free)
    positive = bool(len(free) == 0 or np.linalg.eigvalsh(hessian)[0] > 0)
    norm = float(np.abs(gradient[free]).max(initial=0.0)) / products.n_rows
    record = SearchRecord(
        converged=positive and norm < _SMALL,
        n_evaluations=len(search.log),
        n_iterations=int(sum(end.nit for end in ends)),
        gradient_norm=norm,
        hessian_positive=positive,
        singular=bool((vector[layout.teacher] == 0).any()),
        starts=tuple(float(end.fun) + _offset(products, method) for end in ends),
        log=tuple((n, value + _offset(products, method)) for n, value in search.log),
        message=str(best.message),
    )
    covariance = np.full((layout.n_parameters, layout.n_parameters), np.nan)
    if positive:
        covariance[np.ix_(free, free)] = 2.0 * np.linalg.inv(hessian)
    return _estimates(search, vector, covariance, record, method)


def _parameter_loadings(search: _Search, vector: Floats, covariance: Floats) -> Floats:
    """Return derivatives of the effects by the free parameters times a root of their covariance."""
    free = np.flatnonzero(np.isfinite(np.diag(covariance)))
    slopes = np.empty((search.products.n_units, len(free)))
    for column, position in enumerate(free):
        step = np.zeros(len(vector))
        step[position] = _STEP
        ends = [
            _effects(
                search.products,
                criterion_and_gradient(
                    search.products, search.layout, vector + sign * step, reml=search.reml
                )[2],
            )[0]
            for sign in (1.0, -1.0)
        ]
        slopes[:, column] = (ends[0] - ends[1]) / (2.0 * _STEP)
    root = np.linalg.cholesky(covariance[np.ix_(free, free)])
    loadings: Floats = slopes @ root
    return loadings


def _offset(products: PersistenceProducts, method: str) -> float:
    """Return what standardising took from the criterion."""
    n = products.n_rows - (products.n_terms if method == "reml" else 0)
    volume = 2.0 * float(np.log(np.abs(np.diag(products.basis))).sum())
    return 2.0 * n * float(np.log(products.scale)) + (volume if method == "reml" else 0.0)


def _residual_guess(products: PersistenceProducts) -> Floats:
    """Return the covariance of least-squares residuals over pairs of years, made positive."""
    total = products.gram[..., -1, -1].sum(axis=0)
    both = products.observed[:, :, None] & products.observed[:, None, :]
    count = np.einsum("p,ptu->tu", products.n_pupils, both)
    guess = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    values, vectors = np.linalg.eigh(guess)
    floor = 0.05 * float(np.trace(guess)) / len(guess)
    raised: Floats = (vectors * np.maximum(values, floor)) @ vectors.T
    return raised


def _at_bounds(vector: Floats, layout: Layout) -> tuple[Floats, NDArray[np.int64]]:
    """Set tiny teacher SDs to zero; return the vector and the parameters that stay free.

    Where the teachers of a year do not differ, the α of that year has nothing to act on.
    """
    vector = vector.copy()
    sd = vector[layout.teacher]
    sd[sd < _ZERO] = 0.0
    free = np.ones(layout.n_parameters, dtype=bool)
    free[layout.teacher] = sd > 0
    if layout.variable:
        free[layout.alpha] = sd[layout.below[1]] > 0
    return vector, np.flatnonzero(free)


def _newton(
    search: _Search, vector: Floats, free: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Polish by Newton steps; return vector, Hessian and gradient at the end."""
    value, gradient = search(vector)
    hessian = search.hessian(vector, free)
    for _ in range(_NEWTON):
        if np.abs(gradient[free]).max(initial=0.0) < 1e-7 * search.products.n_rows:
            break
        values, vectors = np.linalg.eigh(hessian)
        turned = vectors.T @ gradient[free] / np.maximum(np.abs(values), 1e-6 * values.max())
        step = np.zeros(len(vector))
        step[free] = -(vectors @ turned)
        length = 1.0
        while length > 1e-4:
            trial = vector + length * step
            inside = bool((trial[search.layout.teacher] >= 0).all())
            reached, slope = search(trial) if inside else (np.inf, gradient)
            if reached <= value + 1e-9 * abs(value):
                break
            length /= 2.0
        if length <= 1e-4:
            break
        vector, value, gradient = trial, reached, slope
        hessian = search.hessian(vector, free)
    return vector, hessian, gradient


def _estimates(
    search: _Search, vector: Floats, covariance: Floats, record: SearchRecord, method: str
) -> PersistenceFit:
    """Return the estimates in the scale of the data."""
    products, layout = search.products, search.layout
    value, _, solution = criterion_and_gradient(products, layout, vector, reml=search.reml)
    parameters = layout.unpack(vector)
    back = solve_triangular(products.basis, np.eye(products.n_terms))
    fixed = back @ np.linalg.inv(solution.information) @ back.T * products.scale**2
    effects, conditional, loadings = _effects(products, solution)
    spread = conditional**2 + (loadings**2).sum(axis=1)
    own = np.sqrt(np.diag(covariance))
    alpha_error = np.full((products.n_years, products.n_years), np.nan)
    if layout.variable:
        alpha_error[layout.below] = own[layout.alpha]
    square = products.scale**2
    sd = parameters.teacher_sd
    return PersistenceFit(
        criterion=value + _offset(products, method),
        coefficients=products.origin + products.scale * (back @ solution.coefficients),
        covariance=fixed,
        persistence=parameters.persistence,
        persistence_std_error=alpha_error,
        persistence_covariance=covariance[layout.alpha, layout.alpha],
        teacher_variance=sd**2 * square,
        teacher_variance_std_error=2.0 * sd * own[layout.teacher] * square,
        residual=parameters.root @ parameters.root.T * square,
        residual_std_error=_residual_errors(layout, vector, covariance) * square,
        effects=effects * products.scale,
        conditional_sd=conditional * products.scale,
        std_error=np.sqrt(spread) * products.scale,
        effect_blocks=tuple(
            (units, block * square)
            for units, block in zip(products.components, solution.posterior, strict=True)
        ),
        effect_loadings=loadings * products.scale,
        parameter_loadings=_parameter_loadings(search, vector, covariance) * products.scale,
        record=record,
        parameters=parameters,
    )


def _effects(products: PersistenceProducts, solution: Solution) -> tuple[Floats, Floats, Floats]:
    """Return predicted effects, conditional SDs, and loadings of the fixed effects' error."""
    contrast = np.append(-solution.coefficients, 1.0)
    root = np.linalg.cholesky(np.linalg.inv(solution.information))
    effects = np.empty(products.n_units)
    conditional = np.empty(products.n_units)
    loadings = np.empty((products.n_units, products.n_terms))
    for units, block in zip(products.components, solution.posterior, strict=True):
        solved = block @ solution.moments[units]
        effects[units] = solved @ contrast
        conditional[units] = np.sqrt(np.diag(block))
        loadings[units] = solved[:, :-1] @ root
    return effects, conditional, loadings


def _residual_errors(layout: Layout, vector: Floats, covariance: Floats) -> Floats:
    """Return delta-method standard errors of ``R = C C'``."""
    root = layout.unpack(vector).root
    own = covariance[: layout.n_root, : layout.n_root]
    errors = np.empty_like(root)
    for row in range(layout.n_years):
        for column in range(layout.n_years):
            slope = np.zeros_like(root)
            slope[row] += root[column]
            slope[column] += root[row]
            slope[np.diag_indices(layout.n_years)] *= np.diag(root)
            line = slope[layout.lower]
            errors[row, column] = np.sqrt(line @ own @ line)
    return errors
