"""Covariance structures that tie the terms of a level together: see ``covariance.py``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.engine.covariance_unstructured import (
    NEARLY_ZERO,
    STEPS_INSIDE,
    USUAL_START,
    Bounds,
    Covariance,
    correlation_of,
)

__all__ = ["Autoregressive", "Projections"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Projections:
    r"""Covariances :math:`\sum_k \gamma_k^2 P_k` of orthogonal projections P that add up to I.

    The factor is :math:`F\sum_k \gamma_k P_k`, F leading to the working columns, and the parameters
    are :math:`\phi_k = s_k\gamma_k`, the SD that a part gives the outcome of a row.  ``diagonal``:
    a projection per term; ``identity``: I alone; ``compound_symmetry``: :math:`11'/q` and
    :math:`I - 11'/q`, whose SDs :math:`\alpha, \beta` give the variance
    :math:`(\alpha^2 + (q-1)\beta^2)/q` and the covariance :math:`(\alpha^2-\beta^2)/q`, so that
    every correlation from :math:`-1/(q-1)` to 1 is reached.

    Attributes
    ----------
    name : {"diagonal", "identity", "compound_symmetry"}
        Name of the structure.
    terms : tuple of str
        Terms of the level.
    projections : ndarray of shape (n_parameters, q, q)
        P.
    frame : ndarray of shape (q, q)
        F.
    sizes : ndarray of shape (n_parameters,)
        s, the root of the mean over the rows of :math:`z'FP_kF'z`, z in working columns.
    """

    name: Covariance
    terms: tuple[str, ...]
    projections: Floats
    frame: Floats
    sizes: Floats

    @property
    def n_parameters(self) -> int:
        """Number of SDs."""
        return len(self.projections)

    @property
    def bounds(self) -> Bounds:
        """All SDs are at least 0."""
        return [(0.0, None)] * self.n_parameters

    def starts(self) -> list[Floats]:
        """Return three tenths of the residual SD and, of several parts, mostly one of them."""
        n = self.n_parameters
        usual = np.full(n, USUAL_START)
        return [usual, *(np.where(np.eye(n)[k] > 0, 1.0, 0.1) for k in range(n) if n > 1)]

    def factor(self, parameters: Floats) -> Floats:
        """Return the factor, symmetric but for the frame."""
        return np.asarray(
            self.frame @ np.einsum("k,kab->ab", parameters / self.sizes, self.projections)
        )

    def gradient(self, sensitivity: Floats, parameters: Floats) -> Floats:
        """Return 2φ⟨F'TF, P⟩ / s²."""
        return 2.0 * parameters * self._in_squares(sensitivity)

    def parameters(self, D: Floats) -> Floats:
        """Return the SDs, the averages of D on each projection."""
        own = np.linalg.solve(self.frame, np.linalg.solve(self.frame, D).T)
        ranks = np.einsum("kaa->k", self.projections)
        means = np.einsum("ab,kab->k", own, self.projections) / ranks
        return np.asarray(np.sqrt(np.maximum(means, 0.0)) * self.sizes)

    def idle(self, parameters: Floats) -> NDArray[np.bool_]:
        """Return that every SD always means something."""
        return np.zeros(self.n_parameters, dtype=bool)

    def canonical(self, parameters: Floats) -> Floats:
        """Return the parameters."""
        return parameters

    def escapes(
        self, parameters: Floats, sensitivity: Floats, tolerance: float
    ) -> Iterator[Floats]:
        """Yield starts where the criterion falls in the square of an SD that is zero."""
        slopes = np.where(parameters <= 1e-5, self._in_squares(sensitivity), np.inf)
        if not len(slopes) or slopes.min() >= -tolerance:
            return
        for step in STEPS_INSIDE:
            start = parameters.copy()
            start[int(slopes.argmin())] = np.sqrt(step)
            yield start

    def singular(self, parameters: Floats) -> bool:
        """Tell whether an SD is zero: a variance, or a correlation at its end."""
        beside = parameters if self.name == "diagonal" else parameters.max(initial=0.0)
        return bool((parameters <= NEARLY_ZERO * np.maximum(beside, 1.0)).any())

    def natural(self, D: Floats, parameters: Floats) -> dict[str, float]:
        """Return the SD (of every term where they differ) and the common correlation."""
        spread = np.sqrt(np.diag(D))
        if self.name == "diagonal":
            return {f"std_dev[{t}]": float(s) for t, s in zip(self.terms, spread, strict=True)}
        found = {"std_dev": float(spread[0])}
        if self.name == "compound_symmetry":
            found["correlation"] = correlation_of(D[0, 1], spread[0] * spread[1])
        return found

    def _in_squares(self, sensitivity: Floats) -> Floats:
        own = self.frame.T @ sensitivity @ self.frame
        return np.asarray(np.einsum("ab,kab->k", own, self.projections) / self.sizes**2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Autoregressive:
    r"""The stationary AR(1) process :math:`\sigma^2\rho^{|t-s|}` at the years of the terms.

    With the years ascending and gaps :math:`g_s = t_s - t_{s-1}` the lower factor is
    :math:`L_{ts} = \rho^{|t-s|}\sqrt{1-\rho^{2g_s}}`, the root left out in the first column.
    Without a variance, or where no two years are an odd number of years apart, the sign of
    :math:`\rho` means nothing: it is then 0, or not negative.

    Attributes
    ----------
    terms : tuple of str
        Terms of the level, one per year.
    years : ndarray of shape (q,)
        Whole numbers, all different.
    units : ndarray of shape (q,)
        Diagonal of U.
    """

    terms: tuple[str, ...]
    years: Floats
    units: Floats
    name: Covariance = "ar1"
    n_parameters: int = 2

    @property
    def bounds(self) -> Bounds:
        """The SD is at least 0; ρ lies between −1 and 1."""
        odd = bool((self._gaps % 2 == 1).any())
        return [(0.0, None), (-1.0 if odd else 0.0, 1.0)]

    def starts(self) -> list[Floats]:
        """Return starts at a moderate, a high and, where it has a meaning, a negative ρ."""
        values = (0.4, 0.9, -0.4) if self.bounds[1][0] == -1.0 else (0.4, 0.9)
        return [np.array([USUAL_START, rho]) for rho in values]

    def factor(self, parameters: Floats) -> Floats:
        """Return the lower factor, years in ascending order as far as they are."""
        spread, rho = parameters
        order = np.argsort(self.years)
        gaps = np.diff(self.years[order])
        root = np.tril(self._powers(rho)[np.ix_(order, order)])
        root[:, 1:] *= np.sqrt(np.maximum(1.0 - rho ** (2.0 * gaps), 0.0))
        found = np.empty_like(root)
        found[order] = root
        return np.asarray(spread * self.units[:, None] * found)

    def gradient(self, sensitivity: Floats, parameters: Floats) -> Floats:
        """Return 2σ⟨UTU, R⟩ and σ²⟨UTU, ∂R/∂ρ⟩."""
        spread, rho = parameters
        own = sensitivity * np.outer(self.units, self.units)
        gaps = self._gaps
        slope = gaps * self._signed(rho, np.maximum(gaps - 1.0, 0.0))
        return np.array(
            [2.0 * spread * (own * self._powers(rho)).sum(), spread**2 * (own * slope).sum()]
        )

    def parameters(self, D: Floats) -> Floats:
        """Return σ and ρ of an AR(1) covariance, ρ from the two nearest years an odd gap apart."""
        own = D / np.outer(self.units, self.units)
        variance = float(np.diag(own).mean())
        if variance <= 0:
            return np.zeros(2)
        gaps = self._gaps
        odd = gaps % 2 == 1  # only an odd gap keeps the sign
        nearest = np.where(odd if odd.any() else gaps > 0, gaps, np.inf)
        a, b = np.unravel_index(int(nearest.argmin()), gaps.shape)
        correlation = float(np.clip(own[a, b] / variance, -1.0, 1.0))
        rho = np.sign(correlation) * abs(correlation) ** (1.0 / gaps[a, b])
        return np.array([np.sqrt(variance), rho])

    def idle(self, parameters: Floats) -> NDArray[np.bool_]:
        """Return that ρ means nothing where the SD is zero."""
        return np.array([False, parameters[0] == 0.0])

    def canonical(self, parameters: Floats) -> Floats:
        """Return ρ = 0 where the SD is zero."""
        return np.zeros(2) if parameters[0] == 0.0 else parameters

    def escapes(
        self, parameters: Floats, sensitivity: Floats, tolerance: float
    ) -> Iterator[Floats]:
        """Yield starts at the ρ at which the criterion falls most, where the SD is zero."""
        if parameters[0] > 1e-5:
            return
        own = sensitivity * np.outer(self.units, self.units)
        lowest = self.bounds[1][0]
        grid = np.linspace(-0.98 if lowest == -1.0 else 0.0, 0.98, 50)
        slopes = [float((own * self._powers(float(rho))).sum()) for rho in grid]
        if min(slopes) >= -tolerance:
            return
        for step in STEPS_INSIDE:
            yield np.array([np.sqrt(step), grid[int(np.argmin(slopes))]])

    def singular(self, parameters: Floats) -> bool:
        """Tell whether the variance is zero or ρ at its end."""
        return bool(parameters[0] <= NEARLY_ZERO or abs(parameters[1]) >= 1.0 - 1e-6)

    def natural(self, D: Floats, parameters: Floats) -> dict[str, float]:
        """Return the SD and ρ, which is NaN where there is no variance."""
        rho = float(parameters[1]) if parameters[0] > 0 else float("nan")
        return {"std_dev": float(np.sqrt(D[0, 0])), "correlation": rho}

    @property
    def _gaps(self) -> Floats:
        return np.abs(np.subtract.outer(self.years, self.years))

    def _powers(self, rho: float) -> Floats:
        return self._signed(rho, self._gaps)

    @staticmethod
    def _signed(rho: float, exponents: Floats) -> Floats:
        # whole exponents, so that a negative ρ has a power
        return np.asarray(np.where(exponents == 0.0, 1.0, float(rho) ** exponents))
