"""Tied structures of a slope whose column lies far from zero: the search finds the optimum."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import MixedFit, fit_mixed, mixed_criterion

N_SCHOOLS, N_EACH = 20, 6


def products(mean: float, spread: float, seed: int) -> CrossProducts:
    """Twenty schools of six pupils, a slope on a column with this mean and SD."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(N_SCHOOLS), N_EACH)
    t = rng.normal(size=len(school))
    own = 0.3 * rng.normal(size=(2, N_SCHOOLS))
    y = 0.5 * t + own[0, school] + own[1, school] * t + 0.7 * rng.normal(size=len(school))
    return CrossProducts.from_arrays(
        (mean + spread * t)[:, None],
        y,
        columns=["x", "y"],
        groups=[("school_id", school, ["Intercept", "x"])],
    )


def fitted(cross: CrossProducts, structure: str) -> MixedFit:
    return fit_mixed(cross, covariance={"school_id": structure})


# 2020 is a calendar year, 500 a score of a large study: SDs of 1e-4 of the intercept's unit
CASES = [(500.0, 100.0), (50.0, 10.0), (3.8, 0.5), (2020.0, 1.0), (100.0, 15.0)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("mean", "spread"), CASES)
def test_no_point_of_a_grid_is_better(mean, spread, seed):
    cross = products(mean, spread, seed)
    tied = {name: fitted(cross, name) for name in ("identity", "compound_symmetry")}
    for name, fit in tied.items():
        assert fit.convergence.converged, name
        correlations = [0.0] if name == "identity" else [-0.99, -0.9, -0.5, 0.0, 0.5, 0.9, 0.99]
        grid = [
            mixed_criterion(cross, [s**2 * np.array([[1.0, r], [r, 1.0]])])
            for s in np.logspace(-5, 0.5, 60)
            for r in correlations
        ]
        assert fit.criterion <= min(grid) + 1e-9 * abs(fit.criterion)
    # one of them is a special case of the other
    assert tied["compound_symmetry"].criterion <= tied["identity"].criterion + 1e-7


def test_the_better_of_two_valleys_is_found():
    """Two valleys of a diagonal covariance: one at a zero intercept SD, a lower one inside."""
    worst = 0.0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        school = np.repeat(np.arange(7), rng.choice([1, 2, 5, 7], size=7))
        z = rng.normal(size=len(school)) - rng.choice([0.0, 1.0, 3.0])
        own = rng.normal(size=(2, 7)) * [[0.7], [0.5]]
        y = own[0, school] + own[1, school] * z + rng.normal(size=len(school))
        cross = CrossProducts.from_arrays(
            z[:, None], y, columns=["z", "y"], groups=[("s", school, ["Intercept", "z"])]
        )
        fit = fit_mixed(cross, covariance={"s": "diagonal"})
        grid = [
            mixed_criterion(cross, [np.diag([a, b])])
            for a in (0.0, 0.01, 0.1, 0.5, 1.0, 3.0)
            for b in (0.0, 0.01, 0.1, 0.5, 1.0, 3.0)
        ]
        worst = max(worst, fit.criterion - min(grid))
    assert worst <= 1e-6
