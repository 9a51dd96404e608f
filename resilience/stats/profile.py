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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.elimination import Elimination, eliminate, solve_groups

__all__ = [
    "Covariance",
    "Method",
    "Problem",
    "Profile",
    "criterion_in_own_units",
    "evaluate",
    "free_entries",
    "gradient_in_factors",
    "is_singular",
    "lower_factor",
    "residual_contrast",
    "sensitivities",
    "to_own_units",
    "working_units",
]

Floats = NDArray[np.float64]
Method = Literal["reml", "ml"]
Covariance = Literal["unstructured", "diagonal"]

_SINGULAR = 1e-4  # a relative SD, or eigenvalue ratio, below this counts as zero
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
    free: tuple[tuple[tuple[int, int], ...], ...]  # per level, free entries of the factor

    @property
    def n_free(self) -> int:
        """Number of free entries of all factors."""
        return sum(len(level) for level in self.free)

    def factors(self, theta: Floats) -> tuple[Floats, ...]:
        """Return the lower factors, shape (q, q) per level, that ``theta`` stands for."""
        found: list[Floats] = []
        at = 0
        for level, entries in zip(self.cross.levels, self.free, strict=True):
            factor = np.zeros((len(level.columns), len(level.columns)))
            for i, j in entries:
                factor[i, j] = theta[at]
                at += 1
            found.append(factor)
        return tuple(found)

    def theta(self, factors: Sequence[Floats]) -> Floats:
        """Return the free entries of the factors as one vector."""
        pairs = zip(factors, self.free, strict=True)
        return np.array([factor[i, j] for factor, entries in pairs for i, j in entries])

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Bounds of the entries: diagonal ones are at least 0."""
        return [(0.0 if i == j else None, None) for level in self.free for i, j in level]

    @property
    def n_rows(self) -> int:
        """Rows with a positive weight."""
        return self.cross.n_rows

    def start(self) -> Floats:
        """Return factors of three tenths of the residual SD."""
        return self.theta([0.3 * np.eye(len(level.columns)) for level in self.cross.levels])

    def criterion(self, theta: Floats) -> float:
        """Return the profiled criterion."""
        return evaluate(self, theta).criterion

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return the profiled criterion and its gradient in the free entries."""
        profile = evaluate(self, theta)
        T = sensitivities(self, theta, profile)
        return profile.criterion, gradient_in_factors(self, theta, T)

    def singular(self, theta: Floats) -> bool:
        """Tell whether a variance is zero or a correlation ±1."""
        return any(is_singular(f @ f.T) for f in self.factors(theta))

    def escape(self, theta: Floats) -> Floats | None:
        """Return a start off the boundary if the criterion falls in that direction, else None."""
        profile = evaluate(self, theta)
        T = sensitivities(self, theta, profile)
        factors = list(self.factors(theta))
        tolerance = _GRADIENT * max(1.0, self.n_rows / 100.0)
        for at, (factor, sensitivity) in enumerate(zip(factors, T, strict=True)):
            D = factor @ factor.T
            diagonal_only = len(self.free[at]) == len(D)
            values, vectors = np.linalg.eigh(D)
            null = vectors[:, values <= max(1e-10, 1e-8 * values[-1])]
            if null.shape[1] == 0:
                continue
            inside = np.diag(np.diag(sensitivity)) if diagonal_only else sensitivity
            worst, direction = np.linalg.eigh(null.T @ inside @ null)
            if worst[0] >= -tolerance:
                continue
            v = null @ direction[:, 0]
            for step in (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4):
                candidate = D + step * np.outer(v, v)
                if diagonal_only:
                    candidate = np.diag(np.diag(candidate))
                trial = [*factors[:at], lower_factor(candidate), *factors[at + 1 :]]
                start = self.theta(trial)
                if self.criterion(start) < profile.criterion:
                    return start
        return None


def evaluate(problem: Problem, theta: Floats) -> Profile:
    """Return the profiled criterion at ``theta`` with the quantities behind it."""
    cross = problem.cross
    done = eliminate(cross, problem.factors(theta))
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
    covariances = tuple(f @ f.T for f in problem.factors(theta))
    solves = solve_groups(problem.cross, covariances, profile.elimination)
    contrast = residual_contrast(problem, profile)
    found: list[Floats] = []
    for F, S in zip(solves.to_columns, solves.to_self, strict=True):
        flat = F.reshape(-1, F.shape[2])  # one product of two matrices, not one per group
        rho = (flat @ contrast).reshape(F.shape[:2])
        T = S.sum(axis=0) - profile.denominator / profile.residual * (rho.T @ rho)
        if problem.method == "reml" and len(profile.beta):
            half = flat[:, list(problem.fixed)] @ linalg.cholesky(profile.inverse, lower=True)
            across = half.reshape(*F.shape[:2], -1).transpose(1, 0, 2).reshape(F.shape[1], -1)
            T = T - across @ across.T
        found.append(0.5 * (T + T.T))
    return tuple(found)


def residual_contrast(problem: Problem, profile: Profile) -> Floats:
    """Return the vector c of shape (P,) with W c = y − X beta."""
    contrast = np.zeros(len(problem.cross.columns))
    contrast[-1] = 1.0
    contrast[list(problem.fixed)] -= profile.beta
    return contrast


def gradient_in_factors(problem: Problem, theta: Floats, sensitivities: Sequence[Floats]) -> Floats:
    """Return the gradient in the free entries of the factors, shape (n_free,)."""
    factors = problem.factors(theta)
    slopes = [2.0 * T @ factor for T, factor in zip(sensitivities, factors, strict=True)]
    return problem.theta(slopes)


def lower_factor(D: Floats) -> Floats:
    """Return the lower factor of a positive semi-definite matrix (zero columns allowed)."""
    q = len(D)
    L = np.zeros((q, q))
    for j in range(q):
        pivot = D[j, j] - L[j, :j] @ L[j, :j]
        if pivot <= 1e-14 * max(1.0, D[j, j]):
            continue
        L[j, j] = np.sqrt(pivot)
        L[j + 1 :, j] = (D[j + 1 :, j] - L[j + 1 :, :j] @ L[j, :j]) / L[j, j]
    return L


def is_singular(D: Floats) -> bool:
    """Tell a zero variance or a correlation of ±1: the factor has a zero pivot."""
    pivots = np.diag(lower_factor(D))
    spread = np.sqrt(np.diag(D))
    return bool((pivots <= _SINGULAR * np.maximum(spread, 1.0)).any())


def free_entries(q: int, structure: Covariance) -> tuple[tuple[int, int], ...]:
    """Return the free entries of a q × q factor under a covariance structure."""
    if structure == "diagonal":
        return tuple((i, i) for i in range(q))
    return tuple((i, j) for j in range(q) for i in range(j, q))


def working_units(
    cross: CrossProducts, terms: Sequence[str], covariance: dict[str, Covariance]
) -> CrossProducts:
    """Keep a column's centre only where shifting it leaves the model what it is."""
    centre = cross.centre.copy()
    if "Intercept" not in terms:
        centre[:] = 0.0
    for level in cross.levels:
        movable = 0 in level.columns and covariance.get(level.name, "unstructured") != "diagonal"
        if not movable:
            centre[[c for c in level.columns if c]] = 0.0
    if np.array_equal(centre, cross.centre):
        return cross
    return cross.recentred(centre, cross.scale)


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
