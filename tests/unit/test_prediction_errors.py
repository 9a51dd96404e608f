"""The joint errors of effects by hand, ranks that count them, and what they refuse."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.stats import norm

import resilience as rs
from resilience.stats import ranking
from resilience.stats.prediction.prediction_errors import EffectErrors, coefficient_half
from resilience.stats.ranking import (
    comparative_multiplier,
    expected_rank,
    joint_ranks,
    rank_intervals,
)


def three_schools(**changes):
    """Three schools, two of one municipality, one coefficient of variance .04."""
    values = {
        "conditional": np.array([0.09, 0.16, 0.25]),
        "leverage": np.array([[1.0], [0.5], [-1.0]]),
        "beta_covariance": np.array([[0.04]]),
        "shared": ((np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3])),),
    }
    return EffectErrors(**values | changes)


def test_by_hand():
    errors = three_schools()
    assert errors.n_schools == 3
    np.testing.assert_allclose(errors.prediction, [0.09 + 0.04, 0.16 + 0.01, 0.25 + 0.04])
    # one municipality: .1 · .2; all schools: ℓ_j · .04 · ℓ_k
    assert errors.covariance(0, 1) == pytest.approx(0.02 + 0.5 * 0.04)
    assert errors.covariance(0, 2) == pytest.approx(-0.04)
    assert errors.covariance(0, 1, coefficients=False) == pytest.approx(0.02)
    assert errors.covariance(2, 2) == pytest.approx(0.29)
    assert errors.difference_variance(0, 1) == pytest.approx(0.25 - 0.04 + 0.04 * 0.25)
    assert errors.difference_variance(0, 2, coefficients=False) == pytest.approx(0.34)
    assert errors.difference_variance(1, 1) == 0.0
    np.testing.assert_allclose(errors.joint(2), [[0.04, 0.04], [0.04, 0.29]])


def test_positions_may_have_any_shape():
    errors = three_schools()
    i, j = np.meshgrid(range(3), range(3))
    matrix = errors.covariance(i, j)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), errors.prediction)
    assert np.linalg.eigvalsh(matrix).min() > 0
    across = np.diag(matrix)[:, None] + np.diag(matrix)[None, :] - 2 * matrix
    np.testing.assert_allclose(errors.difference_variance(i, j), across, atol=1e-15)


def test_a_singular_covariance_of_coefficients_has_a_root():
    C = np.array([[1.0, 2.0], [2.0, 4.0]])
    half = coefficient_half(np.array([[1.0, 1.0], [2.0, -1.0]]), C)
    np.testing.assert_allclose((half**2).sum(axis=1), [9.0, 0.0], atol=1e-12)
    assert coefficient_half(np.zeros((4, 0)), np.zeros((0, 0))).shape == (4, 0)


def test_draws_repeat_and_travel():
    errors = three_schools()
    np.testing.assert_array_equal(errors.draws(5), errors.draws(5, random_state=0))
    assert (errors.draws(5) != errors.draws(5, random_state=1)).all()
    copy = pickle.loads(pickle.dumps(errors))
    np.testing.assert_array_equal(copy.draws(5), errors.draws(5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leverage": np.ones((2, 1))}, ["conditional", "(3,)", "(2,)"]),
        ({"beta_covariance": np.eye(2)}, ["beta_covariance", "(2, 2)", "(1, 1)"]),
        ({"shared": ((np.zeros(3, dtype=int), np.ones(2)),)}, ["shared", "(2,)"]),
        ({"conditional": np.array([0.1, np.nan, 0.1])}, ["conditional", "row 1"]),
        ({"leverage": np.array([[1.0], [0.0], [np.inf]])}, ["leverage", "row 2"]),
        ({"conditional": np.array([0.1, -0.2, 0.1])}, ["-0.2", "at least 0"]),
    ],
)
def test_bad_arrays_are_named(changes, words):
    with pytest.raises(rs.DataError) as caught:
        three_schools(**changes)
    for word in words:
        assert word in str(caught.value)
    assert "{" not in caught.value.localized("ru")


# -- ranks of the joint posterior --------------------------------------------------------------


def schools(n=40, seed=1, **changes):
    rng = np.random.default_rng(seed)
    values = {
        "conditional": rng.uniform(0.01, 0.06, size=n),
        "leverage": rng.normal(size=(n, 2)),
        "beta_covariance": np.array([[0.02, 0.005], [0.005, 0.01]]),
        "shared": ((np.arange(n) // 4, rng.uniform(0.0, 0.09, size=n)),),
    }
    return 0.3 * rng.normal(size=n), EffectErrors(**values | changes)


@pytest.mark.parametrize("counted", [True, False])
def test_joint_ranks_are_those_of_the_dense_posterior(counted):
    effect, errors = schools()
    i, j = np.meshgrid(range(40), range(40))
    dense = errors.covariance(i, j, coefficients=counted)
    rng = np.random.default_rng(5)
    draws = rng.multivariate_normal(effect, dense, size=20_000)
    ranks = draws.argsort(axis=1).argsort(axis=1) + 1
    expected, (low, high) = joint_ranks(effect, errors, coefficients=counted)
    # the mean of 20,000 ranks with an SD below 8 has a standard error of .06
    np.testing.assert_allclose(expected, ranks.mean(axis=0), atol=5 * 8 / np.sqrt(20_000))
    limits = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    assert np.abs(low - limits[0]).max() <= 1
    assert np.abs(high - limits[1]).max() <= 1
    assert expected.sum() == pytest.approx(40 * 41 / 2)


def test_an_error_that_all_schools_share_moves_no_rank():
    """Equal leverages: the prediction errors are huge, the comparison is what it was."""
    effect, errors = schools(leverage=np.ones((40, 1)), beta_covariance=np.array([[25.0]]))
    with_error, limits = joint_ranks(effect, errors)
    without, others = joint_ranks(effect, errors, coefficients=False)
    np.testing.assert_allclose(with_error, without, atol=1e-8)
    assert np.abs(np.array(limits) - np.array(others)).max() <= 1
    low, high = rank_intervals(effect, np.sqrt(errors.prediction))
    assert (high - low).mean() > 1.5 * (limits[1] - limits[0]).mean()


def test_without_shared_parts_they_are_the_ordinary_ranks():
    effect, errors = schools(shared=())
    spread = np.sqrt(errors.conditional)
    expected, limits = joint_ranks(effect, errors, coefficients=False)
    np.testing.assert_allclose(expected, expected_rank(effect, spread), rtol=1e-12)
    # both are quantiles of 10,000 draws of discrete ranks
    assert np.abs(np.array(limits) - np.array(rank_intervals(effect, spread))).max() <= 1


def test_many_schools_take_the_mean_of_the_draws(monkeypatch):
    effect, errors = schools(n=300)
    exact, limits = joint_ranks(effect, errors)
    monkeypatch.setattr(ranking, "_PAIRS_UP_TO", 100)
    drawn, again = joint_ranks(effect, errors)
    # 10,000 draws of ranks with an SD below 75
    np.testing.assert_allclose(drawn, exact, atol=5 * 75 / np.sqrt(10_000))
    np.testing.assert_array_equal(limits, again)


def test_wider_levels_hold_narrower_ones():
    effect, errors = schools()
    _, (low, high) = joint_ranks(effect, errors, level=0.99)
    _, (inner_low, inner_high) = joint_ranks(effect, errors, level=0.5)
    assert (low <= inner_low).all()
    assert (inner_high <= high).all()
    assert (low < inner_low).any()


def test_schools_tied_without_error_share_their_ranks():
    errors = EffectErrors(
        conditional=np.zeros(3), leverage=np.zeros((3, 1)), beta_covariance=np.eye(1)
    )
    expected, (low, high) = joint_ranks(np.zeros(3), errors)
    np.testing.assert_allclose(expected, 2.0)
    assert (low == 1).all()
    assert (high == 3).all()


# -- the multiplier of comparative bars ----------------------------------------------------------


def test_multiplier_of_joint_errors_by_hand():
    errors = three_schools()
    spread = np.sqrt(errors.conditional)
    differences = [errors.difference_variance(i, j) for i, j in ((0, 1), (0, 2), (1, 2))]
    sums = [0.3 + 0.4, 0.3 + 0.5, 0.4 + 0.5]
    expected = norm.ppf(0.95) * np.mean(np.sqrt(differences) / sums)
    found = comparative_multiplier(spread, level=0.90, errors=errors)
    assert found == pytest.approx(expected, rel=1e-12)


def test_multiplier_of_equal_and_of_no_errors():
    half = norm.ppf(0.975) / np.sqrt(2)
    assert comparative_multiplier(np.full(5, 0.2)) == pytest.approx(half)
    assert comparative_multiplier(np.zeros(5)) == pytest.approx(half)


def test_multiplier_of_many_schools_is_that_of_all_pairs(monkeypatch):
    spread = np.random.default_rng(3).gamma(4.0, 0.05, size=2500)
    found = comparative_multiplier(spread)
    monkeypatch.setattr(ranking, "_MULTIPLIER_UP_TO", 10**9)
    # 1,500 places of the order of 2,500: the mean of a smooth function of two quantiles
    assert found == pytest.approx(comparative_multiplier(spread), abs=1e-3)
