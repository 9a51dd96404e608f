r"""The profiled (RE)ML criterion and its exact gradient, from cross-products.

With :math:`d(\theta) = \log|V| + [\log|X'V^{-1}X|] + m(1 + \log(2\pi r^2/m))`, where the bracket
and :math:`m = n - p` belong to REML and :math:`m = n` without the bracket to ML, :math:`r^2` is the
reduced residual sum of squares and :math:`\hat\sigma^2 = r^2/m`.  The gradient is exact:

.. math::

   \frac{\partial d}{\partial D_l} = T_l = \sum_g \Big[ Z_g'V^{-1}Z_g
   - [\,Z_g'V^{-1}X (X'V^{-1}X)^{-1} X'V^{-1}Z_g\,] - \frac{m}{r^2} (Z_g'V^{-1}\rho)(\cdot)' \Big],
   \qquad \frac{\partial d}{\partial \Lambda_l} = 2 T_l \Lambda_l .

A zero variance is a stationary point of :math:`\theta` wherever it is; what decides is :math:`T_l`
on the null space of :math:`D_l`: a negative eigenvalue there means that the optimum lies inside,
and the search starts again in that direction.  Source: BatesEtAl2015, equations 32 to 42.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.covariance import Covariance, CovarianceStructure, covariance_structure
from resilience.stats.engine.elimination import Elimination, eliminate, solve_groups, term_products

__all__ = [
    "Method",
    "Problem",
    "Profile",
    "criterion_in_own_units",
    "evaluate",
    "gradient_in_factors",
    "level_structures",
    "mean_squares",
    "own_covariance",
    "residual_contrast",
    "sensitivities",
    "to_own_units",
    "working_units",
]

Floats = NDArray[np.float64]
Method = Literal["reml", "ml"]

_GRADIENT = 1e-5  # of the criterion per unit of relative variance, times rows / 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """The criterion and everything that one evaluation knows."""

    criterion: float
    beta: Floats
    residual: float
    denominator: int
    inverse: Floats  # (X'V⁻¹X)⁻¹
    elimination: Elimination


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A specification on working cross-products (centred where the model allows it)."""

    cross: CrossProducts
    fixed: tuple[int, ...]
    method: Method
    structures: tuple[CovarianceStructure, ...]  # per level

    @property
    def n_free(self) -> int:
        """Number of free parameters of all levels."""
        return sum(structure.n_parameters for structure in self.structures)

    def parts(self, theta: Floats) -> list[Floats]:
        """Return the parameters of each level."""
        found, at = [], 0
        for structure in self.structures:
            found.append(theta[at : at + structure.n_parameters])
            at += structure.n_parameters
        return found

    def factors(self, theta: Floats) -> tuple[Floats, ...]:
        """Return the factors, shape (q, q) per level, that ``theta`` stands for."""
        pairs = zip(self.structures, self.parts(theta), strict=True)
        return tuple(structure.factor(part) for structure, part in pairs)

    def covariances(self, theta: Floats) -> tuple[Floats, ...]:
        """Return the relative covariances, shape (q, q) per level."""
        return tuple(factor @ factor.T for factor in self.factors(theta))

    def theta(self, factors: Sequence[Floats]) -> Floats:
        """Return the parameters of the covariances of the factors as one vector."""
        pairs = zip(self.structures, factors, strict=True)
        return _joined([structure.parameters(f @ f.T) for structure, f in pairs])

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Bounds of the parameters: standard deviations are at least 0."""
        return [bound for structure in self.structures for bound in structure.bounds]

    @property
    def n_rows(self) -> int:
        """Rows with a positive weight."""
        return self.cross.n_rows

    def start(self) -> Floats:
        """Return SDs of three tenths of the residual SD."""
        return _joined([structure.starts()[0] for structure in self.structures])

    def further_starts(self) -> list[Floats]:
        """Return the other starts of the structures whose criterion may have several valleys."""
        usual = [structure.starts()[0] for structure in self.structures]
        return [
            _joined([*usual[:at], other, *usual[at + 1 :]])
            for at, structure in enumerate(self.structures)
            for other in structure.starts()[1:]
        ]

    def criterion(self, theta: Floats) -> float:
        """Return the profiled criterion."""
        return evaluate(self, theta).criterion

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return the profiled criterion and its gradient in the parameters."""
        profile = evaluate(self, theta)
        T = sensitivities(self, theta, profile)
        return profile.criterion, gradient_in_factors(self, theta, T)

    def singular(self, theta: Floats) -> bool:
        """Tell whether a variance is zero or a correlation at its end."""
        pairs = zip(self.structures, self.parts(theta), strict=True)
        return any(structure.singular(part) for structure, part in pairs)

    def idle(self, theta: Floats) -> NDArray[np.bool_]:
        """Return which parameters mean nothing at ``theta``."""
        pairs = zip(self.structures, self.parts(theta), strict=True)
        return np.concatenate([structure.idle(part) for structure, part in pairs])

    def canonical(self, theta: Floats) -> Floats:
        """Return the same covariances with the parameters that mean nothing at rest."""
        pairs = zip(self.structures, self.parts(theta), strict=True)
        return _joined([structure.canonical(part) for structure, part in pairs])

    def escape(self, theta: Floats) -> Floats | None:
        """Return a start off the boundary if the criterion falls in that direction, else None."""
        profile = evaluate(self, theta)
        parts = self.parts(theta)
        tolerance = _GRADIENT * max(1.0, self.n_rows / 100.0)
        for at, T in enumerate(sensitivities(self, theta, profile)):
            for candidate in self.structures[at].escapes(parts[at], T, tolerance):
                start = _joined([*parts[:at], candidate, *parts[at + 1 :]])
                if self.criterion(start) < profile.criterion:
                    return start
        return None


def _joined(parts: Sequence[Floats]) -> Floats:
    return np.concatenate([np.zeros(0), *parts])


def evaluate(problem: Problem, theta: Floats) -> Profile:
    """Return the profiled criterion at ``theta`` with the quantities behind it."""
    cross = problem.cross
    done = eliminate(cross, problem.covariances(theta))
    fixed = list(problem.fixed)
    p = len(fixed)
    n = cross.n_rows
    y = len(cross.columns) - 1
    gram = done.total[np.ix_(fixed, fixed)]
    root = linalg.cholesky(gram, lower=True) if p else np.zeros((0, 0))
    c = linalg.solve_triangular(root, done.total[fixed, y], lower=True) if p else np.zeros(0)
    residual = float(done.total[y, y] - c @ c)
    m = n - p if problem.method == "reml" else n
    criterion = done.log_determinant + m * (1.0 + np.log(2.0 * np.pi * residual / m))
    if problem.method == "reml":
        criterion += 2.0 * float(np.log(np.diag(root)).sum())
    inverse = linalg.cho_solve((root, True), np.eye(p)) if p else np.zeros((0, 0))
    return Profile(
        criterion=float(criterion),
        beta=inverse @ done.total[fixed, y],
        residual=residual,
        denominator=m,
        inverse=inverse,
        elimination=done,
    )


def sensitivities(problem: Problem, theta: Floats, profile: Profile) -> tuple[Floats, ...]:
    """Return T per level: the derivative of the criterion in the relative covariance."""
    solves = solve_groups(problem.cross, problem.covariances(theta), profile.elimination)
    contrast = residual_contrast(problem, profile)
    found: list[Floats] = []
    fixed = list(problem.fixed)
    for F, S in zip(solves.to_columns, solves.to_self, strict=True):
        q = F.shape[1]
        rho = np.stack([F[:, k] @ contrast for k in range(q)])
        T = S.sum(axis=0) - profile.denominator / profile.residual * (rho @ rho.T)
        if problem.method == "reml" and fixed:
            gram = term_products(F, F)[:, fixed][:, :, :, fixed]
            T = T - np.einsum("jpkr,pr->jk", gram, profile.inverse)
        found.append(0.5 * (T + T.T))
    return tuple(found)


def residual_contrast(problem: Problem, profile: Profile) -> Floats:
    """Return the vector c of shape (P,) with W c = y − X beta."""
    contrast = np.zeros(len(problem.cross.columns))
    contrast[-1] = 1.0
    contrast[list(problem.fixed)] -= profile.beta
    return contrast


def gradient_in_factors(problem: Problem, theta: Floats, sensitivities: Sequence[Floats]) -> Floats:
    """Return the gradient in the parameters of all levels, shape (n_free,)."""
    levels = zip(problem.structures, problem.parts(theta), sensitivities, strict=True)
    return _joined([structure.gradient(T, part) for structure, part, T in levels])


def level_structures(
    cross: CrossProducts, covariance: Mapping[str, Covariance]
) -> tuple[CovarianceStructure, ...]:
    """Return the structure of every level by name, unstructured by default.

    Raises
    ------
    SpecificationError
        If a structure is unknown or does not fit the terms of its level.
    """
    return tuple(
        covariance_structure(
            covariance.get(level.name, "unstructured"),
            [cross.columns[c] for c in level.columns],
            scale=cross.scale[list(level.columns)],
            centre=cross.centre[list(level.columns)],
            moments=mean_squares(cross.total, level.columns),
            level=level.name,
        )
        for level in cross.levels
    )


def mean_squares(total: Floats, columns: Sequence[int]) -> Floats:
    """Return the mean over the rows of the products of some columns, shape (q, q)."""
    at = list(columns)
    return np.asarray(total[np.ix_(at, at)] / max(float(total[0, 0]), 1e-300))


def working_units(cross: CrossProducts, terms: Sequence[str]) -> CrossProducts:
    """Keep a column's centre only where shifting it leaves the model what it is.

    A shift mixes a term into the intercept, which the model and every level with that term must
    have.  What it does to a covariance the structures know (`level_structures`).
    """
    centre = cross.centre.copy()
    if "Intercept" not in terms:
        centre[:] = 0.0
    for level in cross.levels:
        if 0 not in level.columns:
            centre[list(level.columns)] = 0.0
    if not np.array_equal(centre, cross.centre):
        cross = cross.recentred(centre, cross.scale)
    # an evaluation works on a term and a column of all groups at once: these lie side by side
    levels = [replace(v, products=np.asfortranarray(v.products)) for v in cross.levels]
    return replace(cross, levels=tuple(levels))


def criterion_in_own_units(problem: Problem, profile: Profile) -> float:
    """Return the criterion of the raw columns: scale and weights add known constants."""
    cross = problem.cross
    value = profile.criterion + 2.0 * profile.denominator * np.log(cross.scale[-1])
    if problem.method == "reml":
        value += 2.0 * float(np.log(cross.scale[list(problem.fixed)]).sum())
    return float(value - cross.log_weights)


def to_own_units(cross: CrossProducts, columns: Sequence[int]) -> Floats:
    """Return the map from coefficients of centred, scaled columns to those of the raw columns."""
    back = np.diag(1.0 / cross.scale[list(columns)])
    if 0 in columns:
        k = list(columns).index(0)
        ratio = cross.centre[list(columns)] / cross.scale[list(columns)]
        back[k, :] -= ratio
        back[k, k] = 1.0
    return back


def own_covariance(back: Floats, D: Floats) -> Floats:
    """Return the covariance B D B' in own units; of a variance of zero no rounding is left."""
    size = np.abs(back) @ np.abs(D) @ np.abs(back.T)
    found = back @ D @ back.T
    return np.where(np.abs(found) <= 1e-13 * size, 0.0, found)
