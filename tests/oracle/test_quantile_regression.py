"""Quantile regression against a solver of linear programmes and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import linprog

from resilience.errors import DataError
from resilience.stats import quantile_regression as qr
from resilience.stats.quantile_regression import check_loss, fit_quantiles

TAUS = (0.005, 0.1, 0.5, 0.77, 0.995)


def sample(n: int, p: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.c_[np.ones(n), rng.normal(size=(n, p - 1)) * 10.0 ** np.arange(p - 1)]
    y = 3.0 + x[:, 1] + (1.0 + 0.4 * np.abs(x[:, 1])) * rng.standard_t(3, size=n)
    return x, y


def least_loss(x: np.ndarray, y: np.ndarray, tau: float, weights: np.ndarray) -> float:
    n, p = x.shape
    cost = np.r_[np.zeros(p), tau * weights, (1 - tau) * weights]
    bounds = [(None, None)] * p + [(0, None)] * (2 * n)
    found = linprog(cost, A_eq=np.c_[x, np.eye(n), -np.eye(n)], b_eq=y, bounds=bounds)
    return float(found.fun)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_the_linear_programme(weighted):
    x, y = sample(600)
    weights = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else np.ones(len(y))
    found = fit_quantiles(x, y, TAUS, weights=weights if weighted else None)
    for tau, beta, loss in zip(TAUS, found.coefficients, found.loss, strict=True):
        own = check_loss(y - x @ beta, tau, weights)
        assert own == pytest.approx(loss, rel=1e-9)
        # HiGHS itself stops at 1e-7 of feasibility; agreement seen is 1e-10
        assert own == pytest.approx(least_loss(x, y, tau, weights), rel=1e-8)


def test_against_statsmodels_on_five_thousand_rows():
    x, y = sample(5000, p=3)
    found = fit_quantiles(x, y, (0.1, 0.5, 0.9))
    for tau, loss in zip((0.1, 0.5, 0.9), found.loss, strict=True):
        peer = sm.QuantReg(y, x).fit(q=tau, max_iter=5000, p_tol=1e-9)
        # the peer iterates weighted least squares: never below ours, close above it
        theirs = check_loss(y - x @ peer.params, tau)
        assert loss <= theirs * (1 + 1e-10)
        assert loss == pytest.approx(theirs, rel=1e-5)


def test_the_quantile_of_one_sample_is_its_order_statistic():
    y = np.random.default_rng(2).normal(size=101)
    found = fit_quantiles(np.ones((101, 1)), y, (0.25, 0.5))
    # n τ is no whole number: the solution is unique, the ⌈n τ⌉-th value
    np.testing.assert_allclose(found.coefficients[:, 0], np.sort(y)[[25, 50]], atol=1e-8)


def test_rows_in_doubt_give_the_same_optimum_as_all_rows(monkeypatch):
    x, y = sample(30_000, p=4)
    quick = fit_quantiles(x, y, TAUS)
    monkeypatch.setattr(qr, "_MANY_ROWS", 10**9)
    whole = fit_quantiles(x, y, TAUS)
    np.testing.assert_allclose(quick.loss, whole.loss, rtol=1e-9)
    # a wider or narrower band, another sample: the same optimum
    monkeypatch.setattr(qr, "_MANY_ROWS", 100)
    monkeypatch.setattr(qr, "_BAND", 0.05)
    narrow = fit_quantiles(x, y, TAUS, random_state=7)
    np.testing.assert_allclose(narrow.loss, whole.loss, rtol=1e-9)


def test_scores_of_few_points_are_no_obstacle():
    rng = np.random.default_rng(3)
    prior = rng.integers(0, 21, 4000).astype(float)
    y = np.round(0.6 * prior + rng.normal(0, 3, 4000))
    x = np.c_[np.ones(4000), prior]
    found = fit_quantiles(x, y, (0.2, 0.5))
    for tau, loss in zip((0.2, 0.5), found.loss, strict=True):
        assert loss <= check_loss(y - x @ np.linalg.lstsq(x, y, rcond=None)[0], tau)
    small = slice(0, 500)
    again = fit_quantiles(x[small], y[small], (0.2, 0.5))
    for tau, loss in zip((0.2, 0.5), again.loss, strict=True):
        assert loss == pytest.approx(least_loss(x[small], y[small], tau, np.ones(500)), rel=1e-8)


def test_bad_input_is_named():
    x, y = sample(200)
    with pytest.raises(DataError, match="between 0 and 1"):
        fit_quantiles(x, y, (0.5, 1.0))
    with pytest.raises(DataError, match="depend on each other"):
        fit_quantiles(np.c_[x, x[:, 1] + x[:, 0]], y, (0.5,))
    with pytest.raises(DataError, match="above 0"):
        fit_quantiles(x, y, (0.5,), weights=np.r_[0.0, np.ones(199)])
