"""Rubin's rules by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import resilience as rs
from resilience.stats.rubin import imputations_needed, pool_covariances, pool_estimates

EXACT = 1e-12  # rounding of sums of a few numbers


def test_three_data_sets_by_hand():
    # estimates 1, 2, 3 of variances .5, .4, .6: mean 2, W = .5, B = 1, T = .5 + 4/3
    found = pool_estimates([1.0, 2.0, 3.0], [0.5, 0.4, 0.6])
    assert found.estimate[0] == pytest.approx(2.0, abs=EXACT)
    assert found.within[0] == pytest.approx(0.5, abs=EXACT)
    assert found.between[0] == pytest.approx(1.0, abs=EXACT)
    assert found.total[0] == pytest.approx(11 / 6, abs=EXACT)
    # λ = (4/3)/(11/6) = 8/11, ν = 2·(11/8)² = 3.78125, r = 8/3
    assert found.share_of_gaps[0] == pytest.approx(8 / 11, abs=EXACT)
    assert found.df[0] == pytest.approx(2 * (11 / 8) ** 2, abs=EXACT)
    gamma = (8 / 3 + 2 / (3.78125 + 3)) / (1 + 8 / 3)
    assert found.fraction_missing[0] == pytest.approx(gamma, abs=EXACT)
    low, high = found.interval(0.9)
    reach = stats.t.ppf(0.95, 3.78125) * np.sqrt(11 / 6)
    assert (low[0], high[0]) == pytest.approx((2 - reach, 2 + reach), abs=1e-10)
    p = 2 * stats.t.sf(2 / np.sqrt(11 / 6), 3.78125)
    assert found.p_value[0] == pytest.approx(p, abs=1e-10)


def test_degrees_of_freedom_of_small_complete_data_by_hand():
    # with 20 degrees in complete data ν_o = 21/23·20·3/11 and ν is the harmonic sum
    found = pool_estimates([1.0, 2.0, 3.0], [0.5, 0.4, 0.6], df_complete=20)
    old, observed = 2 * (11 / 8) ** 2, 21 / 23 * 20 * 3 / 11
    assert found.df[0] == pytest.approx(1 / (1 / old + 1 / observed), abs=EXACT)
    assert found.df[0] < min(old, observed)


def test_without_gaps_nothing_is_lost():
    found = pool_estimates(np.full((5, 2), 1.5), np.full((5, 2), 0.04))
    assert np.array_equal(found.std_error, [0.2, 0.2])
    assert np.isinf(found.df).all()
    assert not found.fraction_missing.any()
    low, high = found.interval(0.95)
    normal = 1.959963984540054 * 0.2
    assert (high - low) / 2 == pytest.approx([normal, normal], abs=1e-10)


def test_without_variance_within_all_information_is_missing():
    found = pool_estimates([1.0, 2.0], [0.0, 0.0])
    assert found.fraction_missing[0] == 1.0
    assert found.total[0] == pytest.approx(0.75, abs=EXACT)


def test_vectors_pool_as_their_elements_and_keep_their_covariance():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(6, 3))
    u = np.array([np.diag([0.1, 0.2, 0.3]) + 0.02] * 6)
    mean, total = pool_covariances(q, u)
    alone = pool_estimates(q, np.array([np.diag(v) for v in u]))
    assert mean == pytest.approx(alone.estimate, abs=EXACT)
    assert np.diag(total) == pytest.approx(alone.total, abs=EXACT)
    expected = 0.02 + (1 + 1 / 6) * np.cov(q[:, 0], q[:, 1])[0, 1]
    assert total[0, 1] == pytest.approx(expected, abs=EXACT)


def test_imputations_needed():
    # γ = .5: 1 + ½(.5/.05)² = 51; nothing missing: 1
    assert np.array_equal(imputations_needed([0.0, 0.5]), [1.0, 51.0])


@pytest.mark.parametrize(
    ("estimates", "variances", "words"),
    [
        ([1.0], [0.1], "at least 2"),
        ([1.0, 2.0], [0.1, -0.1], "negative"),
        ([1.0, np.nan], [0.1, 0.1], "not finite"),
        ([[1.0], [2.0]], [[0.1, 0.2], [0.1, 0.2]], "shape"),
    ],
)
def test_bad_input_is_named(estimates, variances, words):
    with pytest.raises(rs.DataError, match=words):
        pool_estimates(estimates, variances)
