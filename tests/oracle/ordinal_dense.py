"""The ordinal model written out densely, sharing no formula with the engine.

Effects stand in one long vector, designs are dense, derivatives come from complex steps and central
differences, the mode from a general-purpose optimiser.  Only for a few dozen cells.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from resilience.stats.marks.ordinal_data import ABOVE, BELOW, OrdinalData, RandomParts
from resilience.stats.marks.ordinal_system import Point, Scales

SCALES = {"school": 0.5, "year": 0.3, "procedure": 0.35, "cell": 0.25, "spread": 0.2}


def scales_of(parts: RandomParts, **changes: float) -> Scales:
    """Return standard deviations well away from zero for the parts of a model."""
    return Scales(**{name: changes.get(name, SCALES[name]) for name in parts.names})


def small_data(
    seed: int,
    parts: RandomParts,
    *,
    n_schools: int = 5,
    n_years: int = 2,
    n_procedures: int = 2,
    n_marks: int = 4,
    size: int = 6,
    correlation: float = 0.0,
    means: str = "none",
    unseen: bool = False,
    covariates: int = 1,
) -> OrdinalData:
    """Return a few cells, some of them absent.

    ``means`` is "none", "some" (the last procedure) or "all".  With ``unseen`` nobody got the
    lowest mark in the first procedure, nobody the second highest in the last.
    """
    rng = np.random.default_rng(seed)
    J, T, P, K = n_schools, n_years, n_procedures, n_marks
    school, year, procedure = (
        a.ravel() for a in np.meshgrid(*map(np.arange, (J, T, P)), indexing="ij")
    )
    kept = rng.random(len(school)) < 0.85
    kept[:: T * P] = True  # every school stays
    school, year, procedure = school[kept], year[kept], procedure[kept]
    m = len(school)
    X = rng.normal(size=(m, covariates))
    eta = 0.4 * rng.normal(size=J)[school] + 0.3 * X.sum(axis=1)
    cuts = np.linspace(-1.0, 1.0, K - 1) if K > 2 else np.array([-0.4])
    n = rng.integers(2, size, size=m)
    counts = np.zeros((m, K))
    for i in range(m):
        marks = (eta[i] + rng.normal(size=n[i]))[:, None] > cuts
        counts[i] = np.bincount(marks.sum(axis=1), minlength=K)
    # every mark is seen in every procedure and year: otherwise its thresholds have no mode
    for b in np.unique(year * P + procedure):
        own = np.flatnonzero(year * P + procedure == b)
        counts[rng.choice(own, size=K), np.arange(K)] += 1.0
    n = counts.sum(axis=1)
    is_mean = {"none": procedure < 0, "some": procedure == P - 1, "all": procedure >= 0}[means]
    if unseen:
        first, last = procedure == 0, procedure == P - 1
        counts[first, 1] += counts[first, 0]
        counts[first, 0] = 0.0
        counts[last, -1] += counts[last, -2]
        counts[last, -2] = 0.0
    counts[is_mean] = 0.0
    block = year * P + procedure
    thresholds, number = np.zeros((m, K - 1), dtype=np.int64), 0
    for b in np.unique(block):
        own = block == b
        line = list(range(number, number + K - 1))
        if is_mean[own][0]:
            line = [number] + [ABOVE] * (K - 2)
        elif unseen and b % P == 0:
            line = [BELOW, *line[: K - 2]]
        elif unseen and b % P == P - 1:
            line = [*line[: K - 2], line[K - 3]]
        thresholds[own] = line
        number = max(number, *line) + 1
    together = correlation > 0
    share = rng.uniform(0.5, 1.0, size=m)
    return OrdinalData(
        counts=counts,
        X=X,
        school=school,
        year=year,
        procedure=procedure,
        thresholds=thresholds,
        n_thresholds=number,
        cohort=np.where(procedure < 9, year, -1) if together else np.full(m, -1),
        shared=np.sqrt(correlation * share / n) if together else np.zeros(m),
        weight=1.0 / (1.0 - correlation * share) if together else np.ones(m),
        mean=np.where(is_mean, eta + rng.normal(size=m) / np.sqrt(n), 0.0),
        precision=np.where(is_mean, n, 0.0).astype(float),
        parts=parts,
    )


def start_of(data: OrdinalData) -> Point:
    """Return ascending thresholds and no effects."""
    cuts = np.zeros(data.n_thresholds)
    k = data.thresholds.shape[1]
    spaced = np.linspace(-1.0, 1.0, k) if k > 1 else np.array([-0.4])
    for column in range(k):
        used = data.thresholds[:, column] >= 0
        cuts[data.thresholds[used, column]] = spaced[column]
    means = data.precision > 0
    cuts[data.thresholds[means, 0]] = 0.0
    return Point.start(data, np.concatenate([cuts, np.zeros(data.X.shape[1])]))


class DenseModel:
    """The penalised objective as a function of one vector (fixed part, spherical effects)."""

    def __init__(self, data: OrdinalData, scales: Scales) -> None:
        self.data, self.f = data, data.n_fixed
        location, spread = [], []
        keys = {
            "school": ([data.school], np.full(data.n_cells, scales.school)),
            "year": ([data.school, data.year], np.full(data.n_cells, scales.year)),
            "procedure": ([data.school, data.procedure], np.full(data.n_cells, scales.procedure)),
            "cell": ([np.arange(data.n_cells)], np.full(data.n_cells, scales.cell)),
            "cohort": ([data.school, data.cohort], data.shared),
        }
        for name, (codes, load) in keys.items():
            if name in data.parts.names or (name == "cohort" and (data.cohort >= 0).any()):
                label = pd.factorize(pd.Series(list(zip(*codes, strict=True))))[0]
                location.append(np.eye(label.max() + 1)[label] * load[:, None])
        Z = np.concatenate(location, axis=1)
        if data.parts.spread:
            spread = [np.eye(data.n_schools)[data.school] * scales.spread]
        S = np.concatenate(spread, axis=1) if spread else np.zeros((data.n_cells, 0))
        self.Z = np.concatenate([Z, np.zeros_like(S)], axis=1)
        self.S = np.concatenate([np.zeros_like(Z), S], axis=1)
        # the common part of the cohort is a part of the spread of its pupils
        self.log_spread = 0.5 * np.log(1.0 - data.shared**2)
        for procedure, own in zip(data.spread_procedures, scales.procedure_spread, strict=True):
            self.log_spread[data.procedure == procedure] += own
        self.size = self.f + self.Z.shape[1]

    def cuts(self, fixed: np.ndarray) -> np.ndarray:
        """Return thresholds of each cell, batch first; 30 SD away stands for infinity."""
        batch = fixed.shape[0]
        line = np.concatenate(
            [
                fixed[:, : self.data.n_thresholds],
                np.full((batch, 1), 30.0),
                np.full((batch, 1), -30.0),
            ],
            axis=1,
        )
        return line[:, self.data.thresholds]

    def value(self, theta: np.ndarray) -> np.ndarray:
        """Return F of a batch of vectors (batch, size), complex or real."""
        data = self.data
        fixed, effects = theta[:, : self.f], theta[:, self.f :]
        eta = fixed[:, data.n_thresholds :] @ data.X.T + effects @ self.Z.T
        cuts = self.cuts(fixed)
        spread = np.exp(effects @ self.S.T + self.log_spread)
        below = special.ndtr((cuts - eta[:, :, None]) / spread[:, :, None])
        below[:, data.thresholds == ABOVE] = 1.0
        below[:, data.thresholds == BELOW] = 0.0
        one = np.ones((*below.shape[:2], 1))
        shares = np.diff(np.concatenate([0.0 * one, below, one], axis=2), axis=2)
        log_shares = np.log(np.where(data.counts > 0, shares, 1.0))
        fit = (data.counts * log_shares).sum(axis=2)
        fit = fit - 0.5 * data.precision * (data.mean - eta + cuts[:, :, 0]) ** 2
        return -(data.weight * fit).sum(axis=1) + 0.5 * (effects**2).sum(axis=1)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return dF by complex steps."""
        return self.value(theta + 1e-20j * np.eye(len(theta))).imag / 1e-20

    def hessian(self, theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
        """Return d²F by central differences of the gradient."""
        rows = [
            (self.gradient(theta + step * e) - self.gradient(theta - step * e)) / (2.0 * step)
            for e in np.eye(len(theta))
        ]
        return 0.5 * (np.array(rows) + np.array(rows).T)

    def mode(self, start: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return the minimum of F over the coordinates ``free``, the others held."""

        def whole(x: np.ndarray) -> np.ndarray:
            theta = start.copy()
            theta[free] = x
            return theta

        def slope(x: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.nan_to_num(self.gradient(whole(x))[free])

        def height(x: np.ndarray) -> float:
            with np.errstate(invalid="ignore", divide="ignore"):
                value = float(self.value(whole(x)[None])[0])
            return value if np.isfinite(value) else 1e10  # thresholds out of order

        found = optimize.minimize(
            height,
            start[free],
            jac=slope,
            method="BFGS",
            options={"gtol": 1e-9, "maxiter": 5000},
        )
        return whole(found.x)

    def criterion(self, fixed: np.ndarray, method: str) -> float:
        """Return −2 log-likelihood by Laplace; under ``ml`` at the given fixed part."""
        data = self.data
        first = 0 if method == "reml" else self.f
        free = np.arange(first, self.size)
        start = np.concatenate([fixed, np.zeros(self.size - self.f)])
        theta = self.mode(start, free)
        H = self.hessian(theta)[np.ix_(free, free)]
        value = 2.0 * self.value(theta[None])[0].real + np.linalg.slogdet(H)[1]
        if method == "reml":
            value -= self.f * np.log(2.0 * np.pi)
        n = data.counts.sum(axis=1)
        ways = special.gammaln(n + 1).sum() - special.gammaln(data.counts + 1).sum()
        known = data.precision > 0
        density = np.log(data.precision[known] * data.weight[known] / (2.0 * np.pi)).sum()
        return float(value - 2.0 * ways - density)


def gaussian_criterion(data: OrdinalData, scales: Scales, method: str, fixed: np.ndarray) -> float:
    """Return the exact −2 log-likelihood of means from their multivariate normal distribution."""
    m = data.n_cells
    V = np.diag(1.0 / (data.precision * data.weight)) + np.outer(data.shared, data.shared) * (
        (data.school[:, None] == data.school) & (data.cohort[:, None] == data.cohort)
    )
    same = data.school[:, None] == data.school
    V = V + scales.school**2 * same
    V = V + scales.year**2 * (same & (data.year[:, None] == data.year))
    V = V + scales.procedure**2 * (same & (data.procedure[:, None] == data.procedure))
    V = V + scales.cell**2 * np.eye(m)
    A = np.concatenate([-np.eye(data.n_thresholds)[data.thresholds[:, 0]], data.X], axis=1)
    if method == "ml":
        return float(-2.0 * stats.multivariate_normal(A @ fixed, V).logpdf(data.mean))
    # flat prior on the fixed part: integrate it out of the normal density
    inverse = np.linalg.inv(V)
    S = A.T @ inverse @ A
    residual = data.mean - A @ np.linalg.solve(S, A.T @ inverse @ data.mean)
    log_det = np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1]
    return float((m - len(S)) * np.log(2 * np.pi) + log_det + residual @ inverse @ residual)
