r"""A fitted mixed model with crossed or shared factors, in own units, from cross-products.

Effects and their covariances are read off the system of ``crossed_system.py``: with
:math:`K = \Lambda_rA^{-1}\Lambda_r'` the conditional covariance of the effects that stay is
:math:`\sigma^2K`, and that of the eliminated ones

.. math:: \mathrm{cov}(u_g, u_h \mid y, \beta) = \sigma^2\big(W_g[g=h] +
          W_g\,Z_g'Z_r\,K\,Z_r'Z_h\,W_h\big).

Units of a crossed factor that met the same units of another one share what is not known of those;
the joint covariance of one factor's units is kept up to 5,000 units.  Source: Henderson1975.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossed.crossed import CrossedProblem, CrossedProfile, to_columns
from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossed.crossed_sparse import MEMORY_LIMIT, chosen_system
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.covariance import Covariance, covariance_structure
from resilience.stats.engine.identification import LevelSize, refuse_flat
from resilience.stats.engine.profile import (
    Method,
    criterion_in_own_units,
    mean_squares,
    own_covariance,
    residual_contrast,
    to_own_units,
)
from resilience.stats.engine.search import searched
from resilience.stats.mixed import (
    LevelEffects,
    MixedFit,
    check_outcome_varies,
    dependent_columns,
)

__all__ = [
    "JOINT_UP_TO",
    "CrossedFit",
    "crossed_criterion",
    "crossed_problem",
    "fit_crossed",
]

Floats = NDArray[np.float64]

JOINT_UP_TO = 5000


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedFit(MixedFit):
    """A fitted model whose factors cross; its ``levels`` are the factors in the order given.

    Attributes
    ----------
    joint_conditional : ndarray of shape (n_units, n_units) or None
        Conditional covariance of the effects of all units of the factor named by ``joint``, read at
        the means of its slope columns; None above 5,000 units or where no factor was named.
    """

    joint_conditional: Floats | None = None


def fit_crossed(
    products: CrossedProducts,
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
    covariance: Mapping[str, Covariance] | None = None,
    joint: str | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> CrossedFit:
    """Fit a Gaussian mixed model with crossed factors and shared membership.

    Parameters
    ----------
    products : CrossedProducts
        Cross-products; the outcome is the last column.
    fixed : sequence of str, optional
        Fixed terms; by default all columns but the outcome.
    method : {"reml", "ml"}
        Criterion.
    covariance : mapping of {factor: structure}, optional
        Names of ``covariance.py``; ``"unstructured"`` by default.
    joint : str, optional
        Factor whose units' joint conditional covariance is kept.
    memory_limit : int
        Bytes that the dense complement may take.

    Returns
    -------
    CrossedFit

    Raises
    ------
    SpecificationError
        If columns are collinear (named), nothing is left for the residual, the fixed part
        reproduces the outcome, or the complement would exceed the memory.

    References
    ----------
    BatesEtAl2015, section 3.
    """
    terms = tuple(products.columns[:-1] if fixed is None else fixed)
    problem = crossed_problem(products, terms, method, covariance or {}, memory_limit)
    _check_rank(problem, terms)
    theta, convergence = searched(problem)
    sizes = [
        LevelSize(name=f.name, n_units=len(f.labels), n_parameters=structure.n_parameters)
        for f, structure in zip(problem.products.factors, problem.structures, strict=True)
    ]
    refuse_flat(convergence, sizes, problem.n_rows)
    profile = problem.profile(theta)
    working = problem.products
    plain = problem.cross
    unit = working.scale[-1]
    sigma2 = profile.residual / profile.denominator * unit**2
    at = list(problem.fixed)
    back = to_own_units(plain, at)
    shift = np.zeros(len(at))
    if 0 in at:
        shift[at.index(0)] = working.centre[-1]
    return CrossedFit(
        terms=terms,
        beta=back @ profile.beta * unit + shift,
        beta_covariance=back @ profile.inverse @ back.T * sigma2,
        residual_variance=float(sigma2),
        criterion=criterion_in_own_units(problem, profile),
        method=method,
        n_rows=products.n_rows,
        levels=_effects(problem, theta, profile, sigma2),
        convergence=convergence,
        theta=theta,
        joint_conditional=None if joint is None else _joint(problem, profile, sigma2, joint),
    )


def crossed_criterion(
    products: CrossedProducts,
    covariances: Sequence[Floats],
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
) -> float:
    """Return the profiled criterion at given relative covariances, without any optimisation.

    Parameters
    ----------
    products : CrossedProducts
        Cross-products; the outcome is the last column.
    covariances : sequence of ndarray of shape (q, q)
        Per factor, covariance of the effects divided by the residual variance, in own units.
    fixed : sequence of str, optional
        Fixed terms; by default all columns but the outcome.
    method : {"reml", "ml"}
        Criterion.

    Returns
    -------
    float
        Constants included, comparable with lme4's REML criterion or deviance.
    """
    terms = tuple(products.columns[:-1] if fixed is None else fixed)
    problem = crossed_problem(products, terms, method, {})
    factors = []
    for factor, D in zip(problem.products.factors, covariances, strict=True):
        there = np.linalg.inv(to_own_units(problem.cross, factor.columns))
        values, vectors = np.linalg.eigh(there @ np.asarray(D, dtype=float) @ there.T)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        factors.append(root)
    return criterion_in_own_units(problem, problem.profile(problem.theta(factors)))


def crossed_problem(
    products: CrossedProducts,
    terms: tuple[str, ...],
    method: Method,
    covariance: Mapping[str, Covariance],
    memory_limit: int = MEMORY_LIMIT,
) -> CrossedProblem:
    """Return the specification; a centre stays only where shifting it keeps the model."""
    centre = products.centre.copy()
    if "Intercept" not in terms:
        centre[:] = 0.0
    structures = [covariance.get(f.name, "unstructured") for f in products.factors]
    for factor in products.factors:
        if 0 not in factor.columns:
            centre[[c for c in factor.columns if c]] = 0.0
    same = np.array_equal(centre, products.centre)
    working = products if same else products.recentred(centre, products.scale)
    return CrossedProblem(
        cross=_plain(working),
        products=working,
        system=chosen_system(working, memory_limit),
        fixed=tuple(working.columns.index(t) for t in terms),
        method=method,
        structures=tuple(
            covariance_structure(
                structure,
                [working.columns[c] for c in f.columns],
                scale=working.scale[list(f.columns)],
                centre=working.centre[list(f.columns)],
                moments=mean_squares(working.total, f.columns),
                level=f.name,
            )
            for f, structure in zip(working.factors, structures, strict=True)
        ),
    )


def _plain(products: CrossedProducts) -> CrossProducts:
    """Return the cross-products without their factors."""
    return CrossProducts(
        columns=products.columns,
        centre=products.centre,
        scale=products.scale,
        total=products.total,
        levels=(),
        n_rows=products.n_rows,
        log_weights=products.log_weights,
    )


def _check_rank(problem: CrossedProblem, terms: Sequence[str]) -> None:
    total, at = problem.products.total, list(problem.fixed)
    if problem.n_rows <= len(at):
        raise SpecificationError(text("engine.no_residual", p=len(at), n=problem.n_rows))
    gram = total[np.ix_(at, at)]
    dependent = dependent_columns(gram, terms)
    if dependent:
        raise SpecificationError(
            text("engine.collinear", columns=", ".join(repr(d) for d in dependent))
        )
    check_outcome_varies(problem.cross)
    target = total[at, -1]
    rss = float(total[-1, -1] - target @ np.linalg.solve(gram, target)) if at else 1.0
    if rss <= 1e-11 * max(total[-1, -1], 1e-300):
        outcome = repr(problem.products.columns[-1])
        raise SpecificationError(text("engine.perfect_fit", outcome=outcome, rss=f"{rss:.3g}"))


def _effects(
    problem: CrossedProblem, theta: Floats, profile: CrossedProfile, sigma2: float
) -> tuple[LevelEffects, ...]:
    system, reduced, working = problem.system, profile.reduced, problem.products
    plain, fixed = problem.cross, list(problem.fixed)
    parts = problem.parts(theta)
    contrast = residual_contrast(problem, profile)
    posterior = system.posterior(reduced)
    root = linalg.cholesky(profile.inverse, lower=True) if fixed else profile.inverse
    to_raw = np.linalg.inv(to_own_units(plain, fixed)) if fixed else np.zeros((0, 0))
    found = []
    columns = to_columns(system, reduced)
    for k, (factor, F, D) in enumerate(
        zip(working.factors, columns, reduced.covariances, strict=True)
    ):
        n = factor.n_units
        back = to_own_units(plain, factor.columns)
        if k == system.eliminated:
            spread = reduced.gain @ system.unit_sums(posterior) @ reduced.gain
            conditional = reduced.gain + spread
        else:
            conditional = system.own_posterior(posterior, k)
        conditional = back @ conditional @ back.T * sigma2
        structure = problem.structures[k]
        covariance = own_covariance(back, D) * sigma2
        X = back @ (D @ F[:, :, fixed])
        part = X @ root * np.sqrt(sigma2)
        found.append(
            LevelEffects(
                name=factor.name,
                labels=factor.labels,
                parent=np.zeros(n, dtype=np.int64),
                n_rows=factor.n_rows,
                terms=tuple(working.columns[c] for c in factor.columns),
                modes=(F @ contrast) @ D @ back.T * working.scale[-1],
                conditional=conditional,
                prediction=conditional + part @ np.swapaxes(part, 1, 2),
                covariance=covariance,
                singular=structure.singular(parts[k]),
                leverage=X @ to_raw,
                coefficient_part=part,
                shared=(),
                structure=structure.name,
                parameters=structure.natural(covariance, parts[k]),
            )
        )
    return tuple(found)


def _joint(
    problem: CrossedProblem, profile: CrossedProfile, sigma2: float, name: str
) -> Floats | None:
    """Return the conditional covariance of one factor's effects at the mean of its slopes."""
    working, system = problem.products, problem.system
    k = next(i for i, factor in enumerate(working.factors) if factor.name == name)
    factor = working.factors[k]
    if factor.n_units > JOINT_UP_TO:
        return None
    columns = list(factor.columns)
    means = working.total[0, columns] / working.total[0, 0]
    means = means * working.scale[columns] + working.centre[columns]
    own = np.where(np.array(columns) == 0, 1.0, means)
    loading = own @ to_own_units(problem.cross, columns)
    n, q = factor.n_units, len(columns)
    if k == system.eliminated:
        gain = loading @ profile.reduced.gain  # shape (n_units, q)
        entries = system.across.tocoo()
        unit, term, at = entries.row // q, entries.row % q, entries.col
        weights = entries.data * gain[unit, term]
    else:
        at = np.arange(system.places[k].start, system.places[k].stop)
        unit, weights = np.repeat(np.arange(n), q), np.tile(loading, n)
    rows = sparse.csr_array((weights, (unit, at)), shape=(n, system.size))
    found = system.back_projected(profile.reduced, rows)
    if k == system.eliminated:
        found[np.diag_indices(n)] += gain @ loading
    return np.asarray(0.5 * (found + found.T) * sigma2)
