"""Curves of SIMEX and their variances, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.errors import DataError
from resilience.stats.refits.simex import (
    MULTIPLIERS,
    quadratic_curves,
    rational_curves,
    simex_covariance,
    simulation_errors,
)

Z = np.array(MULTIPLIERS)


def column(values):
    return np.asarray(values, dtype=float)[:, None]


def test_a_quadratic_curve_is_continued_exactly():
    curve = quadratic_curves(Z, column(3.0 - 0.5 * Z + 0.25 * Z**2))
    assert curve.limits[0] == pytest.approx(3.75)
    np.testing.assert_allclose(curve.numerators, [[3.0, -0.5, 0.25]], atol=1e-12)
    np.testing.assert_allclose(curve.at(np.array([-1.0, 2.0]))[:, 0], [3.75, 3.0])
    assert np.isnan(curve.pole)


def test_the_weights_of_three_points_are_those_of_lagrange():
    """Through 0, 1 and 2 a parabola has at −1 the value 3 f(0) − 3 f(1) + f(2)."""
    curve = quadratic_curves([0.0, 1.0, 2.0], np.array([[5.0, 0.0], [1.0, 0.0], [4.0, 1.0]]))
    np.testing.assert_allclose(curve.weights[0, :, 0], [3.0, -3.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(curve.weights[0, :, 1], 0.0, atol=1e-12)
    np.testing.assert_allclose(curve.limits, [15.0 - 3.0 + 4.0, 1.0])


@pytest.mark.parametrize("kappa", [0.5, 0.762, 0.8, 0.95])
def test_attenuation_of_a_slope_is_undone_exactly(kappa):
    """A slope of 0.7 is 0.7 ω²/(ω² + (1 + ζ) σ²) at ζ, a phantom what it loses: the pole is one."""
    error = (1.0 - kappa) / kappa
    slope = 0.7 / (1.0 + (1.0 + Z) * error)
    means = np.column_stack([slope, 0.7 - slope])
    curve = rational_curves(Z, means)
    assert curve.reasons == ("", "")
    np.testing.assert_allclose(curve.limits, [0.7, 0.0], atol=1e-9)
    assert curve.pole == pytest.approx(-1.0 - 1.0 / error)
    quadratic = quadratic_curves(Z, means).limits
    assert means[0, 0] < quadratic[0] < 0.7  # nearer the truth, and short of it
    assert means[0, 1] > quadratic[1] > 0.0


def test_two_columns_with_errors_are_undone_exactly():
    """(M + (1 + ζ) Δ)⁻¹ m of 2 × 2 matrices: one of the slopes rises before it falls."""
    M, m = np.array([[1.0, 0.6], [0.6, 0.9]]), np.array([0.9, 0.55])
    errors = np.diag([0.5, 0.1])
    means = np.array([np.linalg.solve(M + (1.0 + z) * errors, m) for z in Z])
    found = rational_curves(Z, means, degree=2)
    assert found.reasons == ("", "")
    # five means determine eight coefficients of two terms with room to spare
    np.testing.assert_allclose(found.limits, np.linalg.solve(M, m), rtol=1e-6)
    one = rational_curves(Z, means, degree=1)
    assert np.abs(one.limits - np.linalg.solve(M, m)).max() > 0.01


def test_the_weights_are_the_derivatives_of_the_limits():
    means = np.column_stack([0.2 + 1.5 / (4.0 + Z), 0.5 - 0.3 / (4.0 + Z)])
    curve = rational_curves(Z, means, np.array([1e-3, 2e-3]))
    for k in range(len(Z)):
        for r in range(2):
            step = np.zeros_like(means)
            step[k, r] = 1e-6
            up, down = (
                rational_curves(Z, means + s, np.array([1e-3, 2e-3])).limits for s in (step, -step)
            )
            # two difference quotients with other steps
            np.testing.assert_allclose((up - down) / 2e-6, curve.weights[:, k, r], atol=1e-3)
    # a shift of all means of a term is its limit's
    np.testing.assert_allclose(curve.weights.sum(axis=1), np.eye(2), atol=1e-4)


@pytest.mark.parametrize(
    ("means", "error", "degree", "reason"),
    [
        (1.0 / (1.1 + Z), 0.0, 1, "pole"),
        (0.3 + 1e-4 * Z, 1e-4, 1, "flat"),
        (np.array([0.0, 1.0, 0.2, 1.1, 0.1]), 0.0, 1, "misfit"),
        (1.0 / (5.0 + Z), 0.0, 4, "degree"),
        (np.full(5, 0.25), 0.0, 1, "flat"),
    ],
)
def test_where_a_rational_curve_misbehaves_it_says_why(means, error, degree, reason):
    found = rational_curves(Z, column(means), np.array([error]), degree=degree)
    if reason == "misfit":
        assert found.reasons[0] in ("misfit", "pole")
    else:
        assert found.reasons == (reason,)
    assert np.isfinite(found.limits).all()


def test_simulation_errors_are_those_of_a_mean_over_pairs():
    draws = np.zeros((4, 5, 1))
    draws[:, 1, 0] = [1.0, 2.0, 3.0, 4.0]
    weights = np.array([0.0, -2.0, 0.0, 0.0, 0.0])[None, :, None]
    expected = 2.0 * np.std([1, 2, 3, 4], ddof=1) / 2.0
    assert simulation_errors(draws, weights) == pytest.approx(expected)
    assert np.isnan(simulation_errors(draws[:1], weights)).all()


def test_the_covariance_continues_own_minus_between():
    """T and S linear in the multiplier: 4 + ζ and ζ/2 give 4 − 1 + 1/2 at −1."""
    own = (4.0 + Z)[:, None, None] * np.eye(2)
    between = (0.5 * Z)[:, None, None] * np.eye(2)
    np.testing.assert_allclose(simex_covariance(Z, own, between), 3.5 * np.eye(2), atol=1e-10)


def test_a_variance_below_zero_is_refused_with_a_way_out():
    own = np.ones((5, 1, 1))
    between = (6.0 * Z**2 + 4.0 * Z)[:, None, None]  # 2 at −1, more than the 1 of the fits
    with pytest.raises(DataError) as error:
        simex_covariance(Z, own, between)
    assert 'variance="jackknife"' in str(error.value)
    assert "jackknife" in error.value.localized("ru")
