r"""Mixed models of several outcomes with their own residual variances and correlations.

The residual covariance of one pupil's subjects is :math:`\sigma^2R`, :math:`\sigma^2` the residual
variance of the first subject, :math:`R = SCS` with :math:`S = \mathrm{diag}(1, e^{\eta_2}, \dots)`.
The correlation matrix is :math:`C = LL'` with rows of unit length,

.. math:: L_{kj} = z_{kj} / \sqrt{1 + |z_k|^2} \; (j < k), \qquad L_{kk} = 1/\sqrt{1 + |z_k|^2},

so that any real :math:`\eta, z` give a positive definite :math:`R` and every positive definite one
is reached (PinheiroBates1996 compare such parameterisations).  The criterion is that of the
whitened cross-products plus :math:`\log|\oplus R|`; its gradient in :math:`R` comes from the
derivative in the cross-products (``elimination_adjoint.py``) times the strata, and is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.covariance import Covariance
from resilience.stats.engine.elimination_adjoint import elimination_adjoint, product_sensitivities
from resilience.stats.engine.identification import LevelSize, refuse_flat
from resilience.stats.engine.profile import (
    Method,
    Problem,
    Profile,
    evaluate,
    gradient_in_factors,
    level_structures,
    residual_contrast,
    sensitivities,
    working_units,
)
from resilience.stats.engine.search import searched
from resilience.stats.mixed import MixedFit, check_rank, in_own_units
from resilience.stats.strata.strata import StrataProducts

__all__ = ["ResidualCovariance", "StrataFit", "StrataProblem", "fit_strata", "strata_problem"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ResidualCovariance:
    """The free parameters of the relative residual covariance R.

    Attributes
    ----------
    n_subjects : int
        S.
    correlated : bool
        Whether R has correlations, S(S−1)/2 parameters after the S−1 logarithms of relative SDs.
    """

    n_subjects: int
    correlated: bool

    @property
    def n_free(self) -> int:
        """Number of parameters."""
        S = self.n_subjects
        return S - 1 + (S * (S - 1) // 2 if self.correlated else 0)

    def covariance(self, free: Floats) -> Floats:
        """Return R, shape (S, S), at the parameters."""
        spread, root, _ = self._parts(free)
        return np.outer(spread, spread) * (root @ root.T)

    def derivatives(self, free: Floats) -> Floats:
        """Return the derivative of R in every parameter, shape (n_free, S, S)."""
        spread, root, slopes = self._parts(free)
        scale = np.outer(spread, spread)
        R = scale * (root @ root.T)
        found = np.zeros((self.n_free, self.n_subjects, self.n_subjects))
        for s in range(1, self.n_subjects):
            found[s - 1, s, :] += R[s, :]
            found[s - 1, :, s] += R[:, s]
        for at, (row, change) in enumerate(slopes, start=self.n_subjects - 1):
            moved = np.zeros_like(root)
            moved[row] = change
            across = moved @ root.T
            found[at] = scale * (across + across.T)
        return found

    def parameters(self, R: Floats) -> Floats:
        """Return the parameters of a positive definite R whose first entry is 1."""
        spread = np.sqrt(np.diag(R))
        logs = np.log(spread[1:] / spread[0])
        if not self.correlated:
            return np.asarray(logs)
        root = np.linalg.cholesky(R / np.outer(spread, spread))
        rows = [root[k, :k] / root[k, k] for k in range(1, self.n_subjects)]
        return np.concatenate([logs, *rows])

    def _parts(self, free: Floats) -> tuple[Floats, Floats, list[tuple[int, Floats]]]:
        """Return the SDs, the root of the correlations, and its derivatives as (row, change)."""
        S = self.n_subjects
        spread = np.exp(np.concatenate([[0.0], free[: S - 1]]))
        root = np.eye(S)
        slopes: list[tuple[int, Floats]] = []
        at = S - 1
        for k in range(1, S if self.correlated else 0):
            direction = np.zeros(S)
            direction[:k] = free[at : at + k]
            direction[k] = 1.0
            length = np.sqrt(direction @ direction)
            root[k] = direction / length
            for j in range(k):
                change = -root[k] * root[k, j]
                change[j] += 1.0
                slopes.append((k, change / length))
            at += k
        return spread, root, slopes


@dataclass(frozen=True, kw_only=True, eq=False)
class StrataFit(MixedFit):
    """A fitted mixed model of several outcomes.

    ``residual_variance`` and ``theta`` are those of the first subject's units: what
    `StrataProducts.whitened` returns at ``residual_covariance / residual_variance`` is, for any
    reader of cross-products, an ordinary model with independent residuals.

    Attributes
    ----------
    subjects : tuple
        Labels of the subjects.
    residual_covariance : ndarray of shape (S, S)
        Residual covariance of one pupil's subjects, squared outcome units; diagonal without a
        pupil key.
    strata : StrataProducts
        What the fit was made of.
    """

    subjects: tuple[Any, ...]
    residual_covariance: Floats
    strata: StrataProducts


@dataclass(frozen=True, kw_only=True, eq=False)
class StrataProblem:
    """The criterion in the factors of the levels and the residual parameters, in that order."""

    strata: StrataProducts
    problem: Problem  # its cross-products are replaced at every evaluation
    residual: ResidualCovariance

    @property
    def n_free(self) -> int:
        """Number of parameters."""
        return self.problem.n_free + self.residual.n_free

    @property
    def n_rows(self) -> int:
        """Rows with a positive weight."""
        return self.strata.plain.n_rows

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Bounds of the factors' entries; SD ratios within e^±12, correlations within 1 − 1e-8."""
        S = self.residual.n_subjects
        logs: list[tuple[float | None, float | None]] = [(-12.0, 12.0)] * (S - 1)
        ties: list[tuple[float | None, float | None]] = [(-1e4, 1e4)]
        return [*self.problem.bounds, *logs, *ties * (self.residual.n_free - S + 1)]

    def start(self) -> Floats:
        """Return the start: residual covariances of least squares, effects as for one outcome."""
        return np.concatenate([self.problem.start(), self.residual.parameters(self._moments())])

    def criterion(self, theta: Floats) -> float:
        """Return the profiled criterion."""
        problem, entries, R = self.at(theta)
        return evaluate(problem, entries).criterion + self.strata.log_determinant(R)

    def value(self, theta: Floats) -> tuple[float, Floats]:
        """Return the profiled criterion and its exact gradient."""
        problem, entries, R = self.at(theta)
        profile = evaluate(problem, entries)
        whole = sensitivities(problem, entries, profile)
        gradient = self._gradient((problem, entries, R), theta, profile, whole)
        return profile.criterion + self.strata.log_determinant(R), gradient

    def value_and_scale(self, theta: Floats) -> tuple[float, Floats, float, Floats]:
        """Return `value`, the estimate of the residual SD, and the gradient of its logarithm.

        The SD is that of the first subject in the working units; profiles of the likelihood need
        both.
        """
        problem, entries, R = self.at(theta)
        profile = evaluate(problem, entries)
        m = float(profile.denominator)
        whole = sensitivities(problem, entries, profile)
        # an infinite residual leaves the part of the determinants; the rest is that of m log r²
        rest = sensitivities(problem, entries, replace(profile, residual=np.inf))
        contrast = residual_contrast(problem, profile)
        adjoint = elimination_adjoint(
            problem.cross,
            problem.covariances(entries),
            profile.elimination,
            m / profile.residual * np.outer(contrast, contrast),
            log_determinant=0.0,
        )
        slope = self.strata.sensitivity(adjoint, R, log_determinant=0.0)
        levels = gradient_in_factors(
            problem, entries, [a - b for a, b in zip(whole, rest, strict=True)]
        )
        return (
            profile.criterion + self.strata.log_determinant(R),
            self._gradient((problem, entries, R), theta, profile, whole),
            float(np.sqrt(profile.residual / m)),
            np.concatenate([levels, self._ties(theta, slope)]) / (2.0 * m),
        )

    def _gradient(
        self,
        at: tuple[Problem, Floats, Floats],
        theta: Floats,
        profile: Profile,
        whole: Sequence[Floats],
    ) -> Floats:
        problem, entries, R = at
        adjoint = product_sensitivities(
            problem.cross,
            problem.covariances(entries),
            profile,
            fixed=problem.fixed,
            method=problem.method,
        )
        own = gradient_in_factors(problem, entries, whole)
        return np.concatenate([own, self._ties(theta, self.strata.sensitivity(adjoint, R))])

    def _ties(self, theta: Floats, slope: Floats) -> Floats:
        """Return the derivative in the residual parameters from that in R."""
        derivatives = self.residual.derivatives(theta[self.problem.n_free :])
        return np.asarray(np.tensordot(derivatives, slope, axes=2))

    def escape(self, theta: Floats) -> Floats | None:
        """Return a start off the boundary if the criterion falls in that direction, else None."""
        problem, entries, _ = self.at(theta)
        inside = problem.escape(entries)
        if inside is None:
            return None
        return np.concatenate([inside, theta[self.problem.n_free :]])

    def singular(self, theta: Floats) -> bool:
        """Tell whether a variance of effects is zero or a correlation ±1."""
        return self.problem.singular(theta[: self.problem.n_free])

    def idle(self, theta: Floats) -> NDArray[np.bool_]:
        """Return which parameters mean nothing; those of the residuals never are."""
        own = self.problem.idle(theta[: self.problem.n_free])
        return np.concatenate([own, np.zeros(self.residual.n_free, dtype=bool)])

    def canonical(self, theta: Floats) -> Floats:
        """Return the same covariances with the parameters that mean nothing at rest."""
        cut = self.problem.n_free
        return np.concatenate([self.problem.canonical(theta[:cut]), theta[cut:]])

    def further_starts(self) -> list[Floats]:
        """Return the levels' other starts, the residuals' own one beside each."""
        residual = self.residual.parameters(self._moments())
        return [np.concatenate([start, residual]) for start in self.problem.further_starts()]

    def at(self, theta: Floats) -> tuple[Problem, Floats, Floats]:
        """Return the problem of the whitened rows, its own entries of ``theta``, and R."""
        cut = self.problem.n_free
        R = self.residual.covariance(theta[cut:])
        return replace(self.problem, cross=self.strata.whitened(R)), theta[:cut], R

    def _moments(self) -> Floats:
        """Return moments of least-squares residuals, relative to the first subject's."""
        strata, fixed = self.strata, list(self.problem.fixed)
        contrast = np.zeros(strata.totals.shape[1])
        contrast[-1] = 1.0
        gram = strata.plain.total
        if fixed:
            contrast[fixed] = -np.linalg.solve(gram[np.ix_(fixed, fixed)], gram[fixed, -1])
        sums = np.zeros((strata.n_subjects, strata.n_subjects))
        for (_, s, t), total in zip(strata.strata, strata.totals, strict=True):
            part = contrast @ total @ contrast
            sums[s, t] += part if s == t else 0.5 * part
        sums = sums + np.triu(sums, 1).T
        moments = sums / np.maximum(strata.pairs(), 1)
        spread = np.sqrt(np.maximum(np.diag(moments), 0.0))
        whole = np.sqrt(strata.plain.total[-1, -1] / max(strata.plain.n_rows, 1))
        flat = np.flatnonzero(~(spread > 1e-6 * whole))
        if len(flat):
            raise SpecificationError(
                text("subjects.perfect_fit", subject=repr(strata.subjects[flat[0]]))
            )
        # pairwise moments of pupils who sat different subjects need not be positive definite
        values, vectors = np.linalg.eigh(moments / np.outer(spread, spread))
        correlation = vectors * np.maximum(values, 0.1) @ vectors.T
        size = np.sqrt(np.diag(correlation))
        return np.asarray(correlation * np.outer(spread / size, spread / size) / spread[0] ** 2)


def strata_problem(
    strata: StrataProducts,
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
    covariance: Mapping[str, Covariance] | None = None,
) -> StrataProblem:
    """Return the criterion that `fit_strata` minimises, in centred and scaled columns.

    Parameters
    ----------
    strata, fixed, method, covariance
        As in `fit_strata`.
    """
    terms = tuple(strata.plain.columns[:-1] if fixed is None else fixed)
    problem = _problem(strata.plain, terms, method, covariance or {})
    return StrataProblem(
        strata=strata.recentred(problem.cross.centre, problem.cross.scale),
        problem=problem,
        residual=ResidualCovariance(n_subjects=strata.n_subjects, correlated=strata.linked),
    )


def fit_strata(
    strata: StrataProducts,
    *,
    fixed: Sequence[str] | None = None,
    method: Method = "reml",
    covariance: Mapping[str, Covariance] | None = None,
) -> StrataFit:
    """Fit a mixed model of several outcomes with their own residual (co)variances.

    Parameters
    ----------
    strata : StrataProducts
        Cross-products by pattern and pair of subjects.
    fixed, method, covariance
        As in `fit_mixed`.

    Returns
    -------
    StrataFit

    Raises
    ------
    SpecificationError
        What `fit_mixed` raises.

    References
    ----------
    PinheiroBates1996; BatesEtAl2015, section 3.
    """
    search = strata_problem(strata, fixed=fixed, method=method, covariance=covariance)
    theta, convergence = searched(search)
    levels = search.at(theta)[0].cross.levels
    sizes = [LevelSize(name=v.name, n_units=v.n_groups, n_parameters=0) for v in levels]
    refuse_flat(convergence, sizes, search.n_rows)
    whitened, entries, R = search.at(theta)
    terms = tuple(whitened.cross.columns[k] for k in whitened.fixed)
    fitted = in_own_units(whitened, entries, evaluate(whitened, entries), convergence, terms)
    known = {field.name: getattr(fitted, field.name) for field in fields(fitted)}
    return StrataFit(
        **known,
        subjects=strata.subjects,
        residual_covariance=R * fitted.residual_variance,
        strata=strata,
    )


def _problem(
    cross: CrossProducts,
    terms: tuple[str, ...],
    method: Method,
    covariance: Mapping[str, Covariance],
) -> Problem:
    """Return the problem of nested levels in its working units."""
    working = working_units(cross, terms)
    at = tuple(working.columns.index(t) for t in terms)
    check_rank(working, at, terms)
    structures = level_structures(working, covariance)
    return Problem(cross=working, fixed=at, method=method, structures=structures)
