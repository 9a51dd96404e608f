"""Draws of regressions with nested intercepts against dense algebra and exact posteriors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resilience.stats.refits.nested_draws import (
    NestedUnits,
    State,
    _reduce,
    _Sums,
    draw_regression,
    truncated_normals,
)

NONE = NestedUnits(codes=np.zeros(80, dtype=np.int64), parents=(), sizes=())


def nested(rng):
    """80 rows in 12 cells (one of them empty) of 4 schools."""
    parent = np.repeat(np.arange(4), 3)
    codes = rng.integers(0, 11, 80)
    units = NestedUnits(codes=codes, parents=(parent,), sizes=(12, 4))
    X = np.column_stack([np.ones(80), rng.normal(size=(80, 2))])
    y = X @ [0.3, 0.5, -0.2] + rng.normal(size=12)[codes] + rng.normal(size=80)
    return X, y, units


def test_elimination_equals_dense_algebra():
    rng = np.random.default_rng(0)
    X, y, units = nested(rng)
    ratio = np.array([0.7, 0.4])
    cell, school = np.eye(12)[units.codes], np.eye(4)[units.parents[0][units.codes]]
    V = np.eye(80) + ratio[0] * cell @ cell.T + ratio[1] * school @ school.T
    W = np.column_stack([X, y])
    sums = _Sums(total=W.T @ W, weight=cell.sum(axis=0), sums=cell.T @ W, n_rows=80)
    found = _reduce(sums, units, ratio)
    inverse = np.linalg.inv(V)
    A = X.T @ inverse @ X
    beta = np.linalg.solve(A, X.T @ inverse @ y)
    rest = y - X @ beta
    # the same sums in another order: rounding of 80 numbers
    assert found.coefficients == pytest.approx(beta, rel=1e-10)
    assert found.residual == pytest.approx(rest @ inverse @ rest, rel=1e-10)
    whole = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1]
    assert found.log_volume == pytest.approx(whole, rel=1e-10)


def test_draws_without_levels_have_the_exact_posterior():
    rng = np.random.default_rng(1)
    X, y, _ = nested(rng)
    draws = [draw_regression(X, y, NONE, rng) for _ in range(4000)]
    beta = np.array([d.coefficients for d in draws])
    variance = np.array([d.residual_sd**2 for d in draws])
    A = X.T @ X + np.diag([1e-8, 0.01, 0.01])  # the ridge of the module
    mean = np.linalg.solve(A, X.T @ y)
    r2 = y @ y - mean @ A @ mean
    # σ² is r²/χ²(77), the coefficients Student's t with the covariance r²/(77-2)·A⁻¹
    covariance = r2 / 75 * np.linalg.inv(A)
    error = np.sqrt(np.diag(covariance) / 4000)
    assert (np.abs(beta.mean(axis=0) - mean) < 4 * error).all()
    # the SD of an SD of 4,000 draws is 1.1 %: five of them
    assert beta.std(axis=0) == pytest.approx(np.sqrt(np.diag(covariance)), rel=0.056)
    assert stats.kstest(r2 / variance, stats.chi2(77).cdf).pvalue > 1e-3


def test_draws_of_the_variance_ratio_follow_the_marginal_posterior():
    rng = np.random.default_rng(2)
    code = np.repeat(np.arange(30), 8)
    units = NestedUnits(codes=code, parents=(), sizes=(30,))
    X = np.column_stack([np.ones(240), rng.normal(size=240)])
    y = X @ [0.0, 0.4] + 0.6 * rng.normal(size=30)[code] + rng.normal(size=240)
    W = np.column_stack([X, y])
    sums = np.array([W[code == k].sum(axis=0) for k in range(30)])
    total = W.T @ W + np.diag([1e-8, 0.01, 0.0])
    record = _Sums(total=total, weight=np.full(30, 8.0), sums=sums, n_rows=240)
    grid = np.linspace(-8, 4, 600)
    height = []
    for place in grid:
        found = _reduce(record, units, np.exp([place]))
        prior = 0.5 * place - np.log1p(np.exp(place))
        height.append(prior - 0.5 * found.log_volume - 0.5 * 238 * np.log(found.residual))
    weight = np.exp(np.array(height) - max(height))
    weight /= weight.sum()
    mean = weight @ grid
    spread = np.sqrt(weight @ (grid - mean) ** 2)
    state, places = None, []
    for k in range(3200):
        state = draw_regression(X, y, units, rng, state=state).state
        if k >= 200:
            places.append(state.log_ratio[0])
    # neighbouring states of the chain depend on each other: worth some 600 independent draws
    assert np.mean(places) == pytest.approx(mean, abs=5 * spread / np.sqrt(600))
    assert np.std(places) == pytest.approx(spread, rel=0.15)


def test_effects_of_known_variances_have_the_closed_form():
    """One level, coefficients nearly known: λ times the mean residual, conditional variance."""
    rng = np.random.default_rng(3)
    code = np.repeat(np.arange(400), 5)
    units = NestedUnits(codes=code, parents=(), sizes=(400,))
    X = np.ones((2000, 1))
    u = 0.5 * rng.normal(size=400)
    y = u[code] + rng.normal(size=2000)
    state = State(log_ratio=np.log([0.25]))
    draws = []
    for _ in range(300):
        draw = draw_regression(X, y, units, rng, state=state)
        draws.append(draw.effects)
    mean = np.array([y[code == k].mean() for k in range(400)]) - y.mean()
    # the ratio moves a little around .25; 300 draws of each effect, 400 effects
    trust = 0.25 / (0.25 + 1 / 5)
    slope = (np.mean(draws, axis=0) @ mean) / (mean @ mean)
    assert slope == pytest.approx(trust, abs=0.06)
    assert np.mean(np.var(draws, axis=0)) == pytest.approx(0.25 * (1 - trust), rel=0.25)


def test_truncated_normals_stay_within_bounds_far_in_the_tails():
    rng = np.random.default_rng(4)
    mean = np.array([0.0, -9.0, 9.0, 0.0])
    low, high = np.array([0.0, 0.0, -np.inf, -0.5]), np.array([np.inf, np.inf, 0.0, 0.5])
    drawn = np.array([truncated_normals(mean, low, high, rng) for _ in range(4000)])
    assert np.isfinite(drawn).all()
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    exact = [
        stats.truncnorm(a - m, b - m, m).mean() for m, a, b in zip(mean, low, high, strict=True)
    ]
    error = drawn.std(axis=0) / np.sqrt(4000)
    assert (np.abs(drawn.mean(axis=0) - exact) < 4.5 * error).all()
