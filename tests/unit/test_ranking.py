"""Ranks, comparative bars and bands: by hand, and against enumeration and draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm

import resilience as rs
from resilience.stats import ranking
from resilience.stats.ranking import (
    bands,
    comparative_multiplier,
    expected_rank,
    rank_intervals,
    separated_pairs,
)


def region(n_schools, seed):
    """Effects and conditional SDs of schools of 1 to some 200 pupils at the London variances."""
    rng = np.random.default_rng(seed)
    n = np.maximum(1.0, rng.gamma(1.2, 40.0, size=n_schools))
    sd = np.sqrt(1.0 / (n / 0.566 + 1.0 / 0.092))
    return rng.normal(size=n_schools) * np.sqrt(0.092 - sd**2), sd


def test_expected_rank_of_two_schools_by_hand():
    # the gap is one SD of the difference: √(.6² + .8²) = 1
    low, high = expected_rank([0.0, 1.0], [0.6, 0.8])
    assert high == pytest.approx(1.0 + norm.cdf(1.0))
    assert low == pytest.approx(1.0 + norm.cdf(-1.0))


def test_expected_rank_is_the_mean_over_all_orders():
    """Enumeration of the pairwise probabilities shares no code with the sum over a matrix."""
    m, s = region(6, 1)
    expected = [
        1.0 + sum(norm.cdf((m[j] - m[k]) / np.hypot(s[j], s[k])) for k in range(6) if k != j)
        for j in range(6)
    ]
    np.testing.assert_allclose(expected_rank(m, s), expected, rtol=1e-12)


def test_ranks_add_up_and_keep_the_limits():
    m, s = region(40, 2)
    assert expected_rank(m, s).sum() == pytest.approx(40 * 41 / 2)
    np.testing.assert_allclose(expected_rank(m, np.zeros(40)), 1 + np.argsort(np.argsort(m)))
    np.testing.assert_allclose(expected_rank(np.zeros(4), np.zeros(4)), 2.5)


def test_very_many_schools_take_a_convolution_and_get_the_same_ranks(monkeypatch):
    rng = np.random.default_rng(8)
    n = 10_500
    s = np.sqrt(0.09 / (1.0 + rng.gamma(1.2, 3.0, size=n)))
    m = rng.normal(size=n) * np.sqrt(np.maximum(0.09 - s**2, 0.0))
    rank, (low, high) = ranking.posterior_ranks(m, s)
    chosen = np.arange(0, n, 50)
    exact = norm.cdf((m[chosen, None] - m) / np.hypot(s[chosen, None], s)).sum(axis=1) + 0.5
    # classes of errors and a mesh: a half of one of 10,500 ranks
    np.testing.assert_allclose(rank[chosen], exact, atol=0.5)
    monkeypatch.setattr(ranking, "_SUMMED_UP_TO", n)
    _, (summed_low, summed_high) = ranking.posterior_ranks(m, s)
    assert max(np.abs(low - summed_low).max(), np.abs(high - summed_high).max()) <= 2


def test_many_schools_take_the_curve_and_get_the_same_ranks(monkeypatch):
    m, s = region(1200, 3)
    found = expected_rank(m, s)
    monkeypatch.setattr(ranking, "_PAIRS_UP_TO", 10**9)
    # .05 of 1200 ranks: the error of the tabulated curve where a school has 200 pupils
    np.testing.assert_allclose(found, expected_rank(m, s), atol=0.05)


def test_rank_interval_of_two_schools_by_hand():
    # P(order reversed) = Φ(-gap/√2): .04 at a gap of 2.4759, .01 at 3.29
    for gap, overlap in ((norm.ppf(0.96) * np.sqrt(2), True), (norm.ppf(0.99) * np.sqrt(2), False)):
        low, high = rank_intervals([0.0, gap], [1.0, 1.0])
        assert list(low) == [1, 1 if overlap else 2]
        assert list(high) == [2 if overlap else 1, 2]


def test_rank_intervals_hold_the_asked_probability():
    """Fresh draws (another generator) fall into the interval at least at its level."""
    m, s = region(60, 4)
    low, high = rank_intervals(m, s, level=0.9)
    draws = m + s * np.random.default_rng(99).standard_normal((20_000, 60))
    ranks = 1 + np.argsort(np.argsort(draws, axis=1), axis=1)
    inside = ((ranks >= low) & (ranks <= high)).mean(axis=0)
    # ranks are whole numbers: at least .90 less 4 standard errors of 10,000 and 20,000 draws
    assert inside.min() > 0.90 - 4 * np.sqrt(0.09 * (1 / 10_000 + 1 / 20_000))
    assert inside.mean() < 0.97


def test_rank_intervals_of_many_schools_are_those_of_draws(monkeypatch):
    m, s = region(900, 5)
    low, high = rank_intervals(m, s)
    monkeypatch.setattr(ranking, "_DRAWN_UP_TO", 10**9)
    drawn_low, drawn_high = rank_intervals(m, s, n_draws=8000)
    # a limit drawn 8000 times has a standard error of some .03 SD of the rank (up to 230): 7,
    # and 900 schools reach 3.5 of them
    for found, drawn in ((low, drawn_low), (high, drawn_high)):
        assert np.abs(found - drawn).max() <= 25
        assert np.abs(found - drawn).mean() <= 3
        assert abs((found - drawn).mean()) <= 0.5


def test_seed_is_reproducible_and_matters():
    m, s = region(30, 6)
    one, again = (rank_intervals(m, s, n_draws=200, random_state=1) for _ in range(2))
    other = rank_intervals(m, s, n_draws=200, random_state=2)
    np.testing.assert_array_equal(one, again)
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("n_schools", [20, 500])
def test_schools_tied_without_error_are_not_ranked_by_their_row(n_schools):
    """A zero variance gives every school the effect 0: no order can be told."""
    low, high = rank_intervals(np.zeros(n_schools), np.zeros(n_schools))
    assert low.max() <= 0.06 * n_schools + 1
    assert high.min() >= 0.94 * n_schools


def test_comparative_multiplier_by_hand():
    # equal errors: 1.96/√2
    assert comparative_multiplier([0.2, 0.2, 0.2]) == pytest.approx(1.959964 / np.sqrt(2), rel=1e-6)
    # errors 3 and 4: 1.96 · 5/7
    assert comparative_multiplier([3.0, 4.0]) == pytest.approx(1.959964 * 5 / 7, rel=1e-6)


def test_separated_pairs_by_hand():
    # bars of ±1.39·.1: pairs (0, 1) touch at .2, (0, 2) and (1, 2) do not overlap
    found = separated_pairs([0.0, 0.2, 1.0], [0.1, 0.1, 0.1])
    assert list(found) == [False, True, True]
    assert len(separated_pairs(np.arange(7.0), np.ones(7))) == len(
        list(itertools.combinations(range(7), 2))
    )


def test_bands_and_their_cuts():
    p = [0.0, 0.025, 0.0251, 0.2, 0.21, 0.5, 0.7999, 0.8, 0.974, 0.975, 1.0]
    assert list(bands(p)) == [
        "well_below",
        "well_below",
        "below",
        "below",
        "between",
        "between",
        "between",
        "above",
        "above",
        "well_above",
        "well_above",
    ]


@pytest.mark.parametrize(
    ("effect", "error"),
    [([0.0, np.nan], [1.0, 1.0]), ([0.0, 1.0], [1.0, -1.0]), ([0.0, 1.0], [1.0, np.inf])],
)
@pytest.mark.parametrize("function", [expected_rank, rank_intervals, separated_pairs])
def test_effects_without_a_standard_error_are_refused(function, effect, error):
    with pytest.raises(rs.DataError, match="unit 1") as caught:
        function(effect, error)
    assert "единица 1" in caught.value.localized("ru")
