"""The unstructured covariance of a level, and what all structures share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NEARLY_ZERO",
    "STEPS_INSIDE",
    "USUAL_START",
    "Bounds",
    "Covariance",
    "Unstructured",
    "correlation_of",
    "is_singular",
    "lower_factor",
]

Floats = NDArray[np.float64]
Bounds = list[tuple[float | None, float | None]]
Covariance = Literal["unstructured", "diagonal", "identity", "compound_symmetry", "ar1"]

NEARLY_ZERO = 1e-4  # a relative SD, or eigenvalue ratio, below this counts as zero
USUAL_START = 0.3  # relative SD
STEPS_INSIDE = (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)  # relative variances tried off a boundary


@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Any covariance: the entries of its lower factor by columns, diagonal ones at least 0.

    Attributes
    ----------
    terms : tuple of str
        Terms of the level.
    """

    terms: tuple[str, ...]
    name: Covariance = "unstructured"

    @property
    def entries(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the free entries."""
        return _lower_entries(len(self.terms))

    @property
    def n_parameters(self) -> int:
        """Number of free entries, q(q+1)/2."""
        return len(self.terms) * (len(self.terms) + 1) // 2

    @property
    def bounds(self) -> Bounds:
        """Diagonal entries are at least 0."""
        return [(0.0 if i == j else None, None) for i, j in zip(*self.entries, strict=True)]

    def starts(self) -> list[Floats]:
        """Return three tenths of the residual SD for every term, without correlations."""
        return [USUAL_START * np.eye(len(self.terms))[self.entries]]

    def factor(self, parameters: Floats) -> Floats:
        """Return the lower factor."""
        found = np.zeros((len(self.terms), len(self.terms)))
        found[self.entries] = parameters
        return found

    def gradient(self, sensitivity: Floats, parameters: Floats) -> Floats:
        """Return the free entries of 2TΛ."""
        slopes: Floats = 2.0 * sensitivity @ self.factor(parameters)
        return slopes[self.entries]

    def parameters(self, D: Floats) -> Floats:
        """Return the entries of the lower factor of D."""
        return lower_factor(D)[self.entries]

    def idle(self, parameters: Floats) -> NDArray[np.bool_]:
        """Return the entries below a zero pivot: a rotation moves them into later columns."""
        rows, columns = self.entries
        pivots = np.diag(self.factor(parameters))
        return np.asarray((rows > columns) & (pivots[columns] == 0.0))

    def canonical(self, parameters: Floats) -> Floats:
        """Return the entries of the factor whose columns with a zero pivot are zero."""
        if self.n_parameters == 1 or (np.diag(self.factor(parameters)) != 0.0).all():
            return parameters
        factor = self.factor(parameters)
        return self.parameters(factor @ factor.T)

    def escapes(
        self, parameters: Floats, sensitivity: Floats, tolerance: float
    ) -> Iterator[Floats]:
        r"""Yield starts where T falls on the null space of D, or ties it to the rest.

        At an optimum on the cone of positive semi-definite matrices :math:`TD = 0` and T is at
        least 0 on the null space.  The lower factor alone does not see a breach of the first where
        a pivot is zero; a step against :math:`2TD^{1/2}` of the symmetric root does.
        """
        factor = self.factor(parameters)
        D = factor @ factor.T
        values, vectors = np.linalg.eigh(D)
        null = vectors[:, values <= max(1e-10, 1e-8 * values[-1])]
        if null.shape[1] == 0:
            return
        worst, direction = np.linalg.eigh(null.T @ sensitivity @ null)
        if worst[0] < -tolerance:
            v = null @ direction[:, 0]
            for step in STEPS_INSIDE:
                yield self.parameters(D + step * np.outer(v, v))
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        slope = 2.0 * sensitivity @ root
        steepest = float(np.abs(slope).max())
        if steepest > tolerance:
            for step in STEPS_INSIDE:
                moved = root - step / steepest * slope
                yield self.parameters(moved @ moved.T)

    def singular(self, parameters: Floats) -> bool:
        """Tell whether a variance is zero or a correlation ±1."""
        factor = self.factor(parameters)
        return is_singular(factor @ factor.T)

    def natural(self, D: Floats, parameters: Floats) -> dict[str, float]:
        """Return the SD of every term and the correlation of every pair."""
        spread = np.sqrt(np.diag(D))
        found = {f"std_dev[{t}]": float(s) for t, s in zip(self.terms, spread, strict=True)}
        for i, j in zip(*self.entries, strict=True):
            if i != j:
                name = f"correlation[{self.terms[j]}, {self.terms[i]}]"
                found[name] = correlation_of(D[i, j], spread[i] * spread[j])
        return found


@cache
def _lower_entries(q: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of a lower triangle, column by column: every evaluation asks."""
    columns, rows = np.triu_indices(q)
    return rows, columns


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
    return bool((pivots <= NEARLY_ZERO * np.maximum(spread, 1.0)).any())


def correlation_of(value: float, whole: float) -> float:
    """Return a covariance over the product of SDs, NaN without a variance."""
    return float(value / whole) if whole > 0 else float("nan")
