"""Likelihoods of marks by integration, and data for it; shares no formula with the engine."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import optimize, special

from resilience.stats.marks.ordinal_data import OrdinalData, RandomParts
from resilience.stats.marks.ordinal_system import Point

CUTS = {4: np.array([-1.2, 0.1, 1.1]), 2: np.array([-1.2])}


def draw(
    seed: int,
    *,
    n_schools: int,
    n: int,
    n_marks: int = 4,
    n_years: int = 1,
    n_procedures: int = 1,
    school_sd: float = 0.3,
    year_sd: float = 0.0,
    procedure_sd: float = 0.0,
) -> OrdinalData:
    """Return cells of n pupils each, thresholds as in ``CUTS``."""
    rng = np.random.default_rng(seed)
    J, T, P = n_schools, n_years, n_procedures
    school, year, procedure = np.indices((J, T, P)).reshape(3, -1)
    eta = school_sd * rng.normal(size=J)[school]
    eta = eta + year_sd * rng.normal(size=(J, T))[school, year]
    eta = eta + procedure_sd * rng.normal(size=(J, P))[school, procedure]
    cuts = CUTS[n_marks]
    marks = (eta[:, None] + rng.normal(size=(len(eta), n)))[:, :, None] > cuts
    counts = (marks.sum(axis=2)[:, :, None] == np.arange(n_marks)).sum(axis=1).astype(float)
    m, k = len(eta), n_marks - 1
    return OrdinalData(
        counts=counts,
        X=np.zeros((m, 0)),
        school=school,
        year=year,
        procedure=procedure,
        thresholds=np.tile(np.arange(k), (m, 1)),
        n_thresholds=k,
        cohort=np.full(m, -1),
        shared=np.zeros(m),
        weight=np.ones(m),
        mean=np.zeros(m),
        precision=np.zeros(m),
        parts=RandomParts(year=year_sd > 0, procedure=procedure_sd > 0),
    )


def true_start(data: OrdinalData) -> Point:
    """Return the thresholds that the data were drawn with."""
    return Point.start(data, CUTS[data.counts.shape[1]])


def log_cell(counts: np.ndarray, location: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of one cell at locations, multinomial coefficient included."""
    cuts = CUTS[len(counts)]
    below = special.ndtr(cuts - location[..., None])
    edge = np.ones((*location.shape, 1))
    shares = np.diff(np.concatenate([0.0 * edge, below, edge], axis=-1), axis=-1)
    ways = special.gammaln(counts.sum() + 1) - special.gammaln(counts + 1).sum()
    return special.xlogy(counts, np.maximum(shares, 1e-300)).sum(axis=-1) + ways


def line_integrals(data: OrdinalData, school_sd: float, nodes: int = 401) -> np.ndarray:
    """Return log-likelihoods of schools without further parts, by the trapezoid rule over ±9 SD.

    For a smooth integrand that vanishes at both ends the rule errs by less than rounding.
    """
    z = np.linspace(-9.0, 9.0, nodes)
    base = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    total = np.tile(base, (data.n_schools, 1))
    for i in range(data.n_cells):
        total[data.school[i]] += log_cell(data.counts[i], school_sd * z)
    return special.logsumexp(total, axis=1) + np.log(z[1] - z[0])


def adaptive_gauss_hermite(log_density, dimension: int, nodes: int = 15) -> float:
    """Return log ∫ exp(log_density) over R^d by the product rule around the mode.

    ``log_density`` takes points of shape (..., d).
    """
    found = optimize.minimize(
        lambda x: -float(log_density(x)), np.zeros(dimension), method="BFGS", options={"gtol": 1e-6}
    )
    mode, step = found.x, 1e-3
    unit = step * np.eye(dimension)
    H = np.empty((dimension, dimension))
    for a, b in itertools.product(range(dimension), repeat=2):
        corners = [
            s * t * log_density(mode + s * unit[a] + t * unit[b])
            for s, t in itertools.product([1, -1], repeat=2)
        ]
        H[a, b] = -sum(corners) / (4 * step**2)
    root = np.linalg.inv(np.linalg.cholesky(H)).T
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(itertools.product(x, repeat=dimension)))
    weight = np.array(list(itertools.product(np.log(w), repeat=dimension))).sum(axis=1)
    height = log_density(mode + grid @ root.T) + 0.5 * (grid**2).sum(axis=1)
    return float(special.logsumexp(height + weight) + np.log(np.abs(np.linalg.det(root))))


def joint_density(data: OrdinalData, school: int, sd: dict[str, float]):
    """Return log density of a school's marks and effects, and the number of effects."""
    cells = np.flatnonzero(data.school == school)
    places = {"school": np.zeros(len(cells), int)}
    at = 1
    for name, codes in (("year", data.year), ("procedure", data.procedure)):
        if name in sd:
            places[name] = at + np.unique(codes[cells], return_inverse=True)[1]
            at = int(places[name].max()) + 1

    def log_density(x: np.ndarray) -> np.ndarray:
        total = -0.5 * (x**2).sum(axis=-1) - 0.5 * at * np.log(2 * np.pi)
        for k, cell in enumerate(cells):
            location = sum(sd[name] * x[..., places[name][k]] for name in places)
            total = total + log_cell(data.counts[cell], np.asarray(location))
        return total

    return log_density, at


def by_quadrature(data: OrdinalData, sd: dict[str, float], nodes: int = 15) -> np.ndarray:
    """Return log-likelihoods of all schools by adaptive quadrature."""
    found = []
    for school in range(data.n_schools):
        density, dimension = joint_density(data, school, sd)
        found.append(adaptive_gauss_hermite(density, dimension, nodes))
    return np.array(found)
