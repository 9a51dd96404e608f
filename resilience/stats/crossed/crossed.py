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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossed.crossed_system import CrossedSystem, Reduced
from resilience.stats.engine.elimination import Elimination
from resilience.stats.engine.profile import Problem, Profile, gradient_in_factors, residual_contrast

__all__ = ["CrossedProblem", "CrossedProfile", "to_columns"]

Floats = NDArray[np.float64]

_GRADIENT = 1e-5  # of the criterion per unit of relative variance, times rows / 100
_REGULAR = 1e-6  # ratio of singular values of a factor above which it is divided by


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedProfile(Profile):
    """The criterion and everything that one evaluation knows."""

    reduced: Reduced


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedProblem(Problem):
    """A specification on working cross-products (centred where the model allows it).

    Attributes
    ----------
    products : CrossedProducts
        The cross-products; ``cross`` are the same without factors, ``structures`` one per factor.
    system : CrossedSystem
        The cross-products in their places, with a dense or a sparse complement.
    """

    products: CrossedProducts
    system: CrossedSystem

    def criterion(self, theta: Floats) -> float:
        """Return the profiled criterion."""
        return self.profile(theta).criterion

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return the profiled criterion and its gradient in the parameters."""
        profile = self.profile(theta)
        return profile.criterion, gradient_in_factors(self, theta, self.sensitivities(profile))

    def escape(self, theta: Floats) -> Floats | None:
        """Return a start off the boundary if the criterion falls in that direction, else None."""
        if not self.singular(theta):
            return None
        profile = self.profile(theta)
        parts = self.parts(theta)
        tolerance = _GRADIENT * max(1.0, self.n_rows / 100.0)
        for at, T in enumerate(self.sensitivities(profile)):
            for candidate in self.structures[at].escapes(parts[at], T, tolerance):
                start = np.concatenate([*parts[:at], candidate, *parts[at + 1 :]])
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
            elimination=Elimination(
                total=reduced.total, log_determinant=reduced.log_determinant, reduced=(), own=()
            ),
            reduced=reduced,
        )

    def sensitivities(self, profile: CrossedProfile) -> tuple[Floats, ...]:
        """Return T per factor: the derivative of the criterion in the relative covariance."""
        columns = to_columns(self.system, profile.reduced)
        own = _to_self(self.system, profile.reduced)
        contrast = residual_contrast(self, profile)
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
    half = system.scaled(reduced.to_columns, reduced.factors)
    back = system.scaled(system.solve(reduced, half), [f.T for f in reduced.factors])
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


def _to_self(system: CrossedSystem, reduced: Reduced) -> tuple[Floats, ...]:
    """Return the sum over units of Z_g'V⁻¹Z_g per factor, shape (q, q)."""
    found: list[Floats] = []
    for k, factor in enumerate(reduced.factors):
        if k == system.eliminated:
            U = np.linalg.inv(np.eye(len(factor)) + system.own @ reduced.covariances[k])
            Y = system.unit_sums(system.posterior(reduced))
            T = (U @ system.own - U @ Y @ np.swapaxes(U, 1, 2)).sum(axis=0)
        else:
            singular_values = np.linalg.svd(factor, compute_uv=False)
            regular = singular_values[-1] > max(_REGULAR * singular_values[0], 1e-12)
            T = (
                system.traces(reduced, k) @ np.linalg.inv(factor)
                if regular
                else system.squares(reduced, k)
            )
        found.append(0.5 * (T + T.T))
    return tuple(found)
