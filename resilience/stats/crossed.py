r"""The profiled (RE)ML criterion of crossed factors and its exact gradient.

Criterion, gradient and the way off the boundary are those of ``profile.py``; what differs is where
:math:`Z_f'V^{-1}Z_f` comes from.  With the quantities of ``crossed_system.py`` and
:math:`U_g = (I + Z_g'Z_gD_e)^{-1}`

.. math::

   [Z_r'V^{-1}Z_r]\Lambda_r = S\Lambda_rA^{-1}, \qquad
   Z_g'V^{-1}Z_g = U_gZ_g'Z_g - U_g Z_g'Z_r\,\Lambda_rA^{-1}\Lambda_r'\,Z_r'Z_g U_g',

of which the gradient needs the sums over units of the diagonal blocks alone: K²q operations once
the inverse of A is known.  Where :math:`\Lambda_f` is singular the sum comes from
:math:`S - S\Lambda_rA^{-1}\Lambda_r'S` itself.  Source: BatesEtAl2015, equations 32 to 42.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.stats.crossed_products import CrossedProducts
from resilience.stats.crossed_system import CrossedSystem, Reduced
from resilience.stats.profile import Method, is_singular, lower_factor

__all__ = ["CrossedProblem", "CrossedProfile", "to_columns"]

Floats = NDArray[np.float64]

_GRADIENT = 1e-5  # of the criterion per unit of relative variance, times rows / 100
_REGULAR = 1e-6  # ratio of singular values of a factor above which it is divided by


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedProfile:
    """The criterion and everything that one evaluation knows."""

    criterion: float
    beta: Floats
    residual: float
    denominator: int
    inverse: Floats  # (X'V⁻¹X)⁻¹
    reduced: Reduced


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedProblem:
    """A specification on working cross-products (centred where the model allows it)."""

    products: CrossedProducts
    fixed: tuple[int, ...]
    method: Method
    free: tuple[tuple[tuple[int, int], ...], ...]  # per factor, free entries

    @cached_property
    def system(self) -> CrossedSystem:
        """The cross-products in their places."""
        return CrossedSystem.of(self.products)

    @property
    def n_free(self) -> int:
        """Number of free entries of all factors."""
        return sum(len(entries) for entries in self.free)

    @property
    def n_rows(self) -> int:
        """Rows with a positive weight."""
        return self.products.n_rows

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Bounds of the entries: diagonal ones are at least 0."""
        return [(0.0 if i == j else None, None) for entries in self.free for i, j in entries]

    def factors(self, theta: Floats) -> tuple[Floats, ...]:
        """Return the lower factors that ``theta`` stands for."""
        found: list[Floats] = []
        at = 0
        for factor, entries in zip(self.products.factors, self.free, strict=True):
            lower = np.zeros((len(factor.columns), len(factor.columns)))
            for i, j in entries:
                lower[i, j] = theta[at]
                at += 1
            found.append(lower)
        return tuple(found)

    def theta(self, factors: Sequence[Floats]) -> Floats:
        """Return the free entries of the factors as one vector."""
        pairs = zip(factors, self.free, strict=True)
        return np.array([factor[i, j] for factor, entries in pairs for i, j in entries])

    def start(self) -> Floats:
        """Return factors of three tenths of the residual SD."""
        return self.theta([0.3 * np.eye(len(f.columns)) for f in self.products.factors])

    def criterion(self, theta: Floats) -> float:
        """Return the profiled criterion."""
        return self.profile(theta).criterion

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return the profiled criterion and its gradient in the free entries."""
        profile = self.profile(theta)
        T = self.sensitivities(profile)
        factors = profile.reduced.factors
        slopes = [2.0 * t @ factor for t, factor in zip(T, factors, strict=True)]
        return profile.criterion, self.theta(slopes)

    def singular(self, theta: Floats) -> bool:
        """Tell whether a variance is zero or a correlation ±1."""
        return any(is_singular(f @ f.T) for f in self.factors(theta))

    def escape(self, theta: Floats) -> Floats | None:
        """Return a start off the boundary if the criterion falls in that direction, else None."""
        nulls = [_null_space(f @ f.T) for f in self.factors(theta)]
        if not any(null.shape[1] for null in nulls):
            return None
        profile = self.profile(theta)
        T = self.sensitivities(profile)
        factors = list(profile.reduced.factors)
        tolerance = _GRADIENT * max(1.0, self.n_rows / 100.0)
        for at, (factor, null) in enumerate(zip(factors, nulls, strict=True)):
            if null.shape[1] == 0:
                continue
            D = factor @ factor.T
            diagonal_only = len(self.free[at]) == len(D)
            inside = np.diag(np.diag(T[at])) if diagonal_only else T[at]
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

    def profile(self, theta: Floats) -> CrossedProfile:
        """Return the profiled criterion at ``theta`` with the quantities behind it."""
        reduced = self.system.reduce(self.factors(theta))
        fixed = list(self.fixed)
        p, n = len(fixed), self.n_rows
        gram = reduced.total[np.ix_(fixed, fixed)]
        target = reduced.total[fixed, -1]
        root = linalg.cholesky(gram, lower=True) if p else np.zeros((0, 0))
        c = linalg.solve_triangular(root, target, lower=True) if p else np.zeros(0)
        residual = float(reduced.total[-1, -1] - c @ c)
        m = n - p if self.method == "reml" else n
        criterion = reduced.log_determinant + m * (1.0 + np.log(2.0 * np.pi * residual / m))
        if self.method == "reml":
            criterion += 2.0 * float(np.log(np.diag(root)).sum())
        inverse = linalg.cho_solve((root, True), np.eye(p)) if p else np.zeros((0, 0))
        return CrossedProfile(
            criterion=float(criterion),
            beta=inverse @ target,
            residual=residual,
            denominator=m,
            inverse=inverse,
            reduced=reduced,
        )

    def contrast(self, profile: CrossedProfile) -> Floats:
        """Return the vector c of shape (P,) with W c = y − X beta."""
        found = np.zeros(len(self.products.columns))
        found[-1] = 1.0
        found[list(self.fixed)] -= profile.beta
        return found

    def sensitivities(self, profile: CrossedProfile) -> tuple[Floats, ...]:
        """Return T per factor: the derivative of the criterion in the relative covariance."""
        columns = to_columns(self.system, profile.reduced)
        own = _to_self(self.system, profile.reduced)
        contrast = self.contrast(profile)
        half = linalg.cholesky(profile.inverse, lower=True) if self.fixed else None
        found: list[Floats] = []
        for F, S in zip(columns, own, strict=True):
            q = F.shape[1]
            rho = F @ contrast
            T = S - profile.denominator / profile.residual * (rho.T @ rho)
            if self.method == "reml" and half is not None:
                across = (F[:, :, list(self.fixed)] @ half).transpose(1, 0, 2).reshape(q, -1)
                T = T - across @ across.T
            found.append(0.5 * (T + T.T))
        return tuple(found)


def to_columns(system: CrossedSystem, reduced: Reduced) -> tuple[Floats, ...]:
    """Return Z_f'V⁻¹W per factor, shape (n_units, q, P)."""
    P = reduced.to_columns.shape[1]
    # Λ_r A⁻¹ Λ_r' S_W: what the effects that stay give back
    back = _posterior_rows(system, reduced)
    rest = reduced.to_columns - reduced.complement @ back
    found: list[Floats] = []
    for k, factor in enumerate(system.products.factors):
        if k != system.eliminated:
            found.append(rest[system.places[k]].reshape(factor.n_units, -1, P))
            continue
        left = np.eye(len(factor.columns)) + system.own @ reduced.covariances[k]
        right = system.own_columns - np.asarray(system.across @ back).reshape(
            system.own_columns.shape
        )
        found.append(np.linalg.solve(left, right))
    return tuple(found)


def _posterior_rows(system: CrossedSystem, reduced: Reduced) -> Floats:
    half = system.scaled(reduced.to_columns, reduced.factors)
    if not len(half):
        return half
    solved = linalg.cho_solve((reduced.lower, True), half, check_finite=False)
    return system.scaled(solved, [f.T for f in reduced.factors])


def _to_self(system: CrossedSystem, reduced: Reduced) -> tuple[Floats, ...]:
    """Return the sum over units of Z_g'V⁻¹Z_g per factor, shape (q, q)."""
    factors = reduced.factors
    # S Λ_r, row by row of S
    half = system.scaled(reduced.complement, factors).T
    posterior = system.scaled(
        system.scaled(reduced.inverse, [f.T for f in factors]).T, [f.T for f in factors]
    )
    found: list[Floats] = []
    for k, factor in enumerate(factors):
        if k == system.eliminated:
            U = np.linalg.inv(np.eye(len(factor)) + system.own @ reduced.covariances[k])
            Y = system.unit_sums(posterior)
            found.append((U @ system.own - U @ Y @ np.swapaxes(U, 1, 2)).sum(axis=0))
            continue
        rows, q = system.places[k], len(factor)
        singular_values = np.linalg.svd(factor, compute_uv=False)
        if singular_values[-1] > max(_REGULAR * singular_values[0], 1e-12):
            one, other = half[rows], reduced.inverse[rows]
            T = np.array(
                [[np.vdot(one[a::q], other[b::q]) for b in range(q)] for a in range(q)]
            ) @ np.linalg.inv(factor)
        else:
            T = _exactly(system, reduced, rows, q)
        found.append(0.5 * (T + T.T))
    return tuple(found)


def _exactly(system: CrossedSystem, reduced: Reduced, rows: slice, q: int) -> Floats:
    """Return the sum of the diagonal blocks of S − SΛA⁻¹Λ'S without dividing by Λ."""
    right = system.scaled(reduced.complement[:, rows], reduced.factors)
    X = linalg.solve_triangular(reduced.lower, right, lower=True, check_finite=False)
    own = reduced.complement[rows, rows]
    found = np.empty((q, q))
    for a in range(q):
        for b in range(q):
            found[a, b] = np.trace(own[a::q, b::q]) - np.vdot(X[:, a::q], X[:, b::q])
    return found


def _null_space(D: Floats) -> Floats:
    values, vectors = np.linalg.eigh(D)
    return np.asarray(vectors[:, values <= max(1e-10, 1e-8 * values[-1])])
