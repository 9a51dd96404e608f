"""The search for the variances of the model of means, with an honest record of how it ended.

A covariance of one trait is searched as a variance with bound 0: there the slope at zero tells
whether zero is the optimum.  Covariances of several traits are searched by their lower triangular
factor, whose slope always vanishes at a zero pivot; so the search leaves such a point when the
criterion falls into the cone of positive semi-definite matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from resilience.results import Convergence
from resilience.stats.means.summary_blocks import (
    Batch,
    Method,
    State,
    evaluate,
    gradient,
    make_batches,
)
from resilience.stats.means.summary_data import Component, Floats, Outer, SummaryData, Variances
from resilience.stats.means.summary_slopes import SlopeTerm, slope_term

__all__ = ["Layout", "Search", "layout_of"]

_ZERO = 1e-9  # an entry (relative variance or pivot) at most this far above its bound sits on it
_PIVOT = 1e-4  # a pivot below this is a correlation of ±1 or a zero variance
_LARGEST_START = 200_000  # rows above which the better of two starts is searched, not both


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """How the vector of free parameters maps to variances.

    Attributes
    ----------
    scales : tuple of ndarray of shape (q,)
        SDs of the traits of each covariance (components, then the outer level).
    sigma2_scale : float
        Scale of the pupil variance; 0 where it is not free.
    floors : ndarray of shape (n_free,)
        Lower bounds; −inf below the diagonal of a factor.
    """

    scales: tuple[Floats, ...]
    sigma2_scale: float
    floors: Floats

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return len(self.floors)

    def factors(self, x: Floats) -> list[Floats]:
        """Return the relative factors (for one trait the root of the relative variance)."""
        found, at = [], 0
        for scale in self.scales:
            q = len(scale)
            n = q * (q + 1) // 2
            L = np.zeros((q, q))
            L[np.tril_indices(q)] = (
                np.sqrt(np.maximum(x[at : at + n], 0.0)) if q == 1 else (x[at : at + n])
            )
            found.append(L)
            at += n
        return found

    def variances(self, x: Floats) -> Variances:
        """Return the covariances at ``x``."""
        full = [
            scale[:, None] * (L @ L.T) * scale
            for scale, L in zip(self.scales, self.factors(x), strict=True)
        ]
        sigma2 = float(x[-1]) * self.sigma2_scale if self.sigma2_scale else 0.0
        return Variances(components=tuple(full[:-1]), outer=full[-1], sigma2=sigma2)

    def slope(self, x: Floats, D: Variances) -> Floats:
        """Return the gradient in ``x`` from the derivatives in the covariances."""
        pieces = []
        matrices = [*D.components, D.outer]
        for scale, L, M in zip(self.scales, self.factors(x), matrices, strict=True):
            relative = scale[:, None] * M * scale
            inside = relative if len(scale) == 1 else 2.0 * relative @ L
            pieces.append(inside[np.tril_indices(len(scale))])
        if self.sigma2_scale:
            pieces.append(np.array([D.sigma2 * self.sigma2_scale]))
        return np.concatenate(pieces)

    def start(self, share: float) -> Floats:
        """Return a start: a share of the spread in the first component, the rest in the others."""
        pieces = []
        rest = (0.9 - share) / max(1, len(self.scales) - 1 + bool(self.sigma2_scale))
        for k, scale in enumerate(self.scales):
            q = len(scale)
            part = share if k == 0 else rest
            if q == 1:
                pieces.append(np.array([part]))
                continue
            # correlations of one half: neither none nor all
            L = np.linalg.cholesky(part * (0.5 * np.eye(q) + 0.5)) if q else np.zeros((0, 0))
            pieces.append(L[np.tril_indices(q)])
        if self.sigma2_scale:
            pieces.append(np.array([rest]))
        return np.concatenate(pieces)

    def position(self, at: int) -> int:
        """Return where the entries of a covariance begin."""
        return sum(len(s) * (len(s) + 1) // 2 for s in self.scales[:at])

    def replaced(self, x: Floats, at: int, L: Floats) -> Floats:
        """Return ``x`` with the factor of one covariance of several traits replaced."""
        before = self.position(at)
        entries = L[np.tril_indices(len(L))]
        return np.concatenate([x[:before], entries, x[before + len(entries) :]])


def layout_of(data: SummaryData, *, estimate_sd: bool) -> Layout:
    """Return the layout with scales from the spread of the rows around least squares."""
    coefficients = np.linalg.lstsq(data.X, data.y, rcond=None)[0]
    residual = data.y - data.X @ coefficients
    overall = float(residual.std()) or 1.0

    def spread(part: Component | Outer) -> Floats:
        if part.traits is None:
            return np.full(part.size, overall)
        own = [residual[part.traits == k] for k in range(part.size)]
        return np.array([float(np.sqrt((r**2).mean())) or overall for r in own])

    scales = [spread(c) for c in data.components]
    scales.append(np.zeros(0) if data.outer is None else spread(data.outer))
    floors: list[float] = []
    for scale in scales:
        entries = zip(*np.tril_indices(len(scale)), strict=True)
        floors += [0.0 if row == column else -np.inf for row, column in entries]
    sigma2_scale = 0.0
    if estimate_sd:
        sigma2_scale = overall**2 / float(data.inverse_n.mean())
        floors.append(1e-8)  # something must be left in a row without another variance
    return Layout(scales=tuple(scales), sigma2_scale=sigma2_scale, floors=np.array(floors))


@dataclass
class Search:
    """Minimise the criterion; keeps the log of every evaluation.

    ``slopes`` are the components whose slope costs degrees of freedom.
    """

    data: SummaryData
    layout: Layout
    method: Method
    slopes: tuple[int, ...] = ()
    batches: tuple[Batch, ...] = ()
    log: list[tuple[int, float]] = field(default_factory=list)
    iterations: int = 0

    def __post_init__(self) -> None:
        self.batches = make_batches(self.data)

    def state(self, x: Floats) -> State:
        """Evaluate the likelihood."""
        return evaluate(self.data, self.batches, self.layout.variances(x), self.method)

    def adjustment(self, x: Floats, state: State) -> SlopeTerm:
        """Return the term of the slopes."""
        own = self.layout.factors(x)
        factors = [self.layout.scales[k][:, None] * own[k] for k in self.slopes]
        return slope_term(self.batches, state, self.slopes, factors)

    def value(self, x: Floats) -> tuple[float, Floats]:
        """Return the criterion and its gradient, and note the evaluation."""
        state = self.state(x)
        criterion = state.criterion
        slope = self.layout.slope(x, gradient(self.data, self.batches, state, self.method))
        if self.slopes:
            term = self.adjustment(x, state)
            criterion += term.value
            slope = slope + self.layout.slope(x, term.variances)
            for level, beside in zip(self.slopes, term.factors, strict=True):
                at = self.layout.position(level)
                slope[at : at + 2] += beside * self.layout.scales[level]
        self.log.append((len(self.log) + 1, criterion))
        return criterion, slope

    def run(self, start: Floats | None = None) -> tuple[Floats, Floats | None, Convergence]:
        """Return the optimum, its Hessian in the inner entries, and the record.

        Without a start, several are tried.
        """
        x, best, message = self._best_descent() if start is None else self._descend(start)
        for _ in range(6):
            inside = self._leave_boundary(x, best)
            if inside is None:
                break
            again, value, message = self._descend(inside)
            if value >= best - 1e-10 * abs(best):
                break
            x, best = again, value
        hessian, slope = self._hessian(x)
        x, slope = self._newton(x, best, hessian, slope)
        return x, hessian, self._record(x, slope, hessian, message)

    def _best_descent(self) -> tuple[Floats, float, str]:
        starts = [self.layout.start(share) for share in (0.5, 0.2)]
        if len(self.data.y) > _LARGEST_START:
            starts = [min(starts, key=lambda s: self.value(s)[0])]
        return min((self._descend(s) for s in starts), key=lambda found: found[1])

    def _descend(self, start: Floats) -> tuple[Floats, float, str]:
        found = optimize.minimize(
            self.value,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(None if np.isinf(f) else float(f), None) for f in self.layout.floors],
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
        )
        self.iterations += int(found.nit)
        return np.asarray(found.x, dtype=float), float(found.fun), str(found.message)

    def inner(self, x: Floats) -> NDArray[np.bool_]:
        """Return which entries do not sit on their bound."""
        return np.asarray(
            x > np.where(np.isinf(self.layout.floors), -np.inf, self.layout.floors + 1e-6)
        )

    def _hessian(self, x: Floats) -> tuple[Floats | None, Floats]:
        """Return the Hessian by central differences of the exact gradient, and the gradient."""
        _, slope = self.value(x)
        inner = self.inner(x)
        if not inner.any():
            return None, slope
        rows = []
        for k in np.flatnonzero(inner):
            step = np.zeros_like(x)
            # variances may be small; entries below the diagonal may be zero
            step[k] = 1e-4 * (max(abs(x[k]), 1e-2) if np.isinf(self.layout.floors[k]) else x[k])
            up, down = self.value(x + step)[1], self.value(x - step)[1]
            rows.append((up - down)[inner] / (2.0 * step[k]))
        H = np.array(rows)
        return 0.5 * (H + H.T), slope

    def _newton(
        self, x: Floats, best: float, hessian: Floats | None, slope: Floats
    ) -> tuple[Floats, Floats]:
        """Take one Newton step if it does not lead up: L-BFGS-B stops a little early."""
        inner = self.inner(x)
        if hessian is None or np.linalg.eigvalsh(hessian)[0] <= 0:
            return x, slope
        trial = x.copy()
        trial[inner] -= np.linalg.solve(hessian, slope[inner])
        if (trial < self.layout.floors).any():
            return x, slope
        value, again = self.value(trial)
        flatter = np.abs(again[inner]).max() < np.abs(slope[inner]).max()
        if flatter and value <= best + 1e-13 * abs(best):
            self.iterations += 1
            return trial, again
        return x, slope

    def _descents(self, x: Floats) -> list[tuple[int, Floats]]:
        """Return, per covariance of several traits, a null direction along which to go down."""
        D = gradient(self.data, self.batches, self.state(x), self.method)
        found = []
        matrices = [*D.components, D.outer]
        for at, (scale, L) in enumerate(
            zip(self.layout.scales, self.layout.factors(x), strict=True)
        ):
            if len(scale) < 2:
                continue
            values, vectors = np.linalg.eigh(L @ L.T)
            null = vectors[:, values <= max(1e-9, 1e-8 * values[-1])]
            if not null.shape[1]:
                continue
            slope = scale[:, None] * matrices[at] * scale
            worst, direction = np.linalg.eigh(null.T @ slope @ null)
            if worst[0] < -self._tolerance:
                found.append((at, null @ direction[:, 0]))
        return found

    def _leave_boundary(self, x: Floats, best: float) -> Floats | None:
        """Return a start off the boundary of the cone if the criterion falls there, else None."""
        for at, v in self._descents(x):
            Q = self.layout.factors(x)[at]
            Q = Q @ Q.T
            for step in (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4):
                root = np.linalg.cholesky(Q + step * np.outer(v, v) + 1e-12 * np.eye(len(v)))
                trial = self.layout.replaced(x, at, np.asarray(root, dtype=float))
                if self.value(trial)[0] < best:
                    return trial
        return None

    @property
    def _tolerance(self) -> float:
        return 1e-3 * max(1.0, len(self.data.y) / 1000)

    def _record(
        self, x: Floats, slope: Floats, hessian: Floats | None, message: str
    ) -> Convergence:
        at_bound = x <= self.layout.floors + _ZERO
        norm = float(np.abs(np.where(at_bound, np.minimum(slope, 0.0), slope)).max())
        singular = False
        for L in self.layout.factors(x):
            pivots = np.diag(L)
            singular |= bool((pivots <= _PIVOT).any())
        return Convergence(
            converged=norm <= self._tolerance and not self._descents(x),
            n_evaluations=len(self.log),
            n_iterations=self.iterations,
            gradient_norm=norm,
            hessian_positive=None if hessian is None else bool(np.linalg.eigvalsh(hessian)[0] > 0),
            singular=singular,
            log=tuple(self.log),
            message=message,
        )
