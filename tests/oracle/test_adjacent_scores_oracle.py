"""The adjacent-score test against brute force and against statsmodels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from resilience.stats.integrity.adjacent_power import moved_share, power_of_windows, windows_needed
from resilience.stats.integrity.adjacent_reference import (
    cross_fitted_shares,
    generalised_fit,
    school_folds,
    smooth_shares,
)
from resilience.stats.integrity.adjacent_scores import (
    PooledWindows,
    pool_windows,
    pooled_null,
    unusual_pooled,
    window_correlation,
)


def test_convolution_is_the_sum_over_all_outcomes():
    n, q = [2, 3, 1], [0.3, 0.6, 0.9]
    expected = np.zeros(7)
    for counts in itertools.product(*(range(k + 1) for k in n)):
        expected[sum(counts)] += np.prod(
            [stats.binom.pmf(c, k, p) for c, k, p in zip(counts, n, q, strict=True)]
        )
    np.testing.assert_allclose(pooled_null(n, q), expected, atol=1e-14)
    pooled = pool_windows([0, 0, 0], n, [2, 2, 1], q, n_units=1)
    assert pooled.p_value[0] == pytest.approx(expected[5:].sum(), abs=1e-14)
    assert pooled.mid_p[0] == pytest.approx(expected[6:].sum() + expected[5] / 2, abs=1e-14)
    assert pooled.share[0] == pytest.approx((0.6 + 1.8 + 0.9) / 6, abs=1e-14)


def test_logistic_fit_equals_statsmodels():
    rng = np.random.default_rng(0)
    x, n = rng.normal(size=60), rng.integers(0, 40, 60)
    y = rng.binomial(n, 1 / (1 + np.exp(-(0.3 + 0.8 * x))))
    design = np.column_stack([np.ones(60), x])
    used = n > 0
    theirs = sm.GLM(
        np.column_stack([y, n - y])[used], design[used], family=sm.families.Binomial()
    ).fit(tol=1e-12)
    ours = generalised_fit(design[used], y[used], family="binomial", total=n[used])
    np.testing.assert_allclose(ours, theirs.params, atol=1e-7)


def test_cross_fitted_shares_come_from_the_other_folds():
    rng = np.random.default_rng(1)
    x, n = rng.normal(10, 2, size=40), rng.integers(5, 40, 40)
    y = rng.binomial(n, 1 / (1 + np.exp(-(0.3 * (x - 10)))))
    fold = school_folds(40, n_folds=10, random_state=3)
    assert np.bincount(fold).tolist() == [4] * 10
    ours = cross_fitted_shares(y, n, x, fold)
    design = sm.add_constant(x)
    for own in range(10):
        here = fold == own
        theirs = sm.GLM(
            np.column_stack([y, n - y])[~here], design[~here], family=sm.families.Binomial()
        ).fit(tol=1e-12)
        np.testing.assert_allclose(ours[here], theirs.predict(design[here]), atol=1e-8)


def test_smooth_curve_equals_statsmodels():
    rng = np.random.default_rng(2)
    scores = np.arange(46)
    counts = rng.poisson(400 * np.exp(-(((scores - 25) / 10) ** 2) / 2))
    windows = [(16, 18, 19), (27, 29, 30), (37, 39, 40)]
    free = np.ones(46, dtype=bool)
    for first, _, last in windows:
        free[first : last + 1] = False
    base = np.polynomial.chebyshev.chebvander(2 * scores / 45 - 1, 5)
    design = np.column_stack([base, scores % 5 == 0, scores % 10 == 0]).astype(float)
    theirs = sm.GLM(counts[free], design[free], family=sm.families.Poisson()).fit(tol=1e-12)
    fitted = np.exp(design @ theirs.params)
    expected = [fitted[c : b + 1].sum() / fitted[a : b + 1].sum() for a, c, b in windows]
    np.testing.assert_allclose(smooth_shares(counts, windows), expected, atol=1e-8)


def test_pooled_p_values_are_the_beta_binomial_tail_and_q_values_step_up():
    n, t = np.array([80, 60, 100, 12]), np.array([55, 33, 62, 12])
    q = np.array([0.5, 0.5, 0.55, 0.5])
    tail = stats.binom.sf(t - 1, n, q)
    pooled = PooledWindows(total=n, above=t, share=q, p_value=tail, mid_p=tail)
    rho = 0.02
    p, mid, adjusted = unusual_pooled(pooled, rho, fewest=30)
    size = 1 / rho - 1
    k = np.arange(81)
    from scipy.special import betaln, gammaln

    log_pmf = (
        gammaln(81)
        - gammaln(k + 1)
        - gammaln(81 - k)
        + betaln(k + 0.5 * size, 80 - k + 0.5 * size)
        - betaln(0.5 * size, 0.5 * size)
    )
    assert p[0] == pytest.approx(np.exp(log_pmf[55:]).sum(), rel=1e-9)
    assert mid[0] == pytest.approx(np.exp(log_pmf[56:]).sum() + np.exp(log_pmf[55]) / 2, rel=1e-9)
    # Benjamini and Hochberg by hand over the three schools of the family
    order = np.argsort(p[:3])
    by_hand = np.minimum.accumulate((p[:3][order] * 3 / np.arange(1, 4))[::-1])[::-1]
    np.testing.assert_allclose(adjusted[:3][order], np.minimum(by_hand, 1), atol=1e-14)
    assert np.isnan(adjusted[3])
    np.testing.assert_allclose(unusual_pooled(pooled, 0.0, fewest=30)[0], tail, atol=1e-14)


def test_correlation_solves_its_equation():
    rng = np.random.default_rng(5)
    n = rng.integers(40, 200, 150)
    t = stats.betabinom(n, 24.5, 24.5).rvs(random_state=rng)
    q = np.full(150, 0.5)
    rho = window_correlation(n, t, q)
    z = (t - n * q) / np.sqrt(n * q * (1 - q) * (1 + (n - 1) * rho))
    cut = np.clip(z, *np.quantile(z, [0.1, 0.9]))
    # kappa(.10), methods/detection.md section 8
    assert np.mean(cut**2) == pytest.approx(0.6787, abs=1e-4)
    assert window_correlation(n, np.round(n * q), q) == 0.0


def test_power_is_the_share_of_simulated_schools_found():
    rng = np.random.default_rng(6)
    n, q, moved, rho, draws = 120, 0.45, 0.5, 0.02, 200_000
    size = 1 / rho - 1
    null = stats.betabinom(n, q * size, (1 - q) * size)
    critical = next(c for c in range(n + 2) if null.sf(c - 1) <= 0.01)
    own = rng.beta(q * size, (1 - q) * size, draws)
    found = rng.binomial(n, own + (1 - own) * moved) >= critical
    ours = float(power_of_windows(n, q, moved, correlation=rho))
    # three Monte-Carlo standard errors, and .002 for the 24 nodes
    assert ours == pytest.approx(found.mean(), abs=3 * np.sqrt(0.25 / draws) + 0.002)


def test_windows_needed_is_the_first_number_with_the_power():
    needed = int(windows_needed([0.5], 0.6)[0])
    powers = power_of_windows(np.arange(1, needed + 1), 0.5, 0.6)
    assert powers[-1] >= 0.8
    assert (powers[:-1] < 0.8).all()


def test_share_moved_maps_the_interval_of_clopper_and_pearson():
    exact = stats.binomtest(30, 40).proportion_ci(0.95, method="exact")
    moved, low, high = moved_share([40], [30], [0.5])
    assert moved[0] == pytest.approx(0.5)
    assert low[0] == pytest.approx((exact.low - 0.5) / 0.5, abs=1e-12)
    assert high[0] == pytest.approx((exact.high - 0.5) / 0.5, abs=1e-12)
    wide = moved_share([40], [30], [0.5], correlation=0.05)
    assert wide[1][0] < low[0]
    assert wide[2][0] > high[0]
    assert moved_share([40], [10], [0.5])[0][0] == 0.0  # clipped
