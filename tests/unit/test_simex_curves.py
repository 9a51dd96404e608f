"""Curves of SIMEX and their variances, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.errors import DataError
from resilience.stats.simex import (
    MULTIPLIERS,
    extrapolate,
    quadratic_curve,
    rational_curve,
    simex_covariance,
    simulation_errors,
)

Z = np.array(MULTIPLIERS)


def test_a_quadratic_curve_is_continued_exactly():
    curve = quadratic_curve(Z, 3.0 - 0.5 * Z + 0.25 * Z**2)
    assert curve.value == pytest.approx(3.75)
    np.testing.assert_allclose(curve.parameters, [3.0, -0.5, 0.25], atol=1e-12)
    np.testing.assert_allclose(curve.at(np.array([-1.0, 2.0])), [3.75, 3.0])


def test_the_weights_of_three_points_are_those_of_lagrange():
    """Through 0, 1 and 2 a parabola has at −1 the value 3 f(0) − 3 f(1) + f(2)."""
    curve = quadratic_curve([0.0, 1.0, 2.0], np.array([5.0, 1.0, 4.0]))
    np.testing.assert_allclose(curve.weights, [3.0, -3.0, 1.0], atol=1e-12)
    assert curve.value == pytest.approx(15.0 - 3.0 + 4.0)


@pytest.mark.parametrize("kappa", [0.5, 0.762, 0.8, 0.95])
def test_attenuation_of_a_slope_is_undone_exactly(kappa):
    """A slope of 0.7 at the multiplier ζ is 0.7 ω²/(ω² + (1 + ζ) σ²): the pole is 1/(κ − 1)."""
    error = (1.0 - kappa) / kappa
    means = 0.7 / (1.0 + (1.0 + Z) * error)
    curve = rational_curve(Z, means)
    assert curve.reason == ""
    assert curve.value == pytest.approx(0.7, rel=1e-6)
    assert curve.parameters[2] == pytest.approx(1.0 + 1.0 / error, rel=1e-4)
    phantom = rational_curve(Z, 0.7 - means)
    assert phantom.value == pytest.approx(0.0, abs=1e-6)
    quadratic = quadratic_curve(Z, means).value
    assert means[0] < quadratic < 0.7  # nearer the truth, and short of it


def test_the_weights_are_the_derivatives_of_the_value():
    means = 0.2 + 1.5 / (4.0 + Z)
    curve = rational_curve(Z, means)
    for k in range(len(Z)):
        step = 1e-5 * np.eye(len(Z))[k]
        up, down = (rational_curve(Z, means + s).value for s in (step, -step))
        # a search to 1e-10 of the logarithm of the pole
        assert (up - down) / 2e-5 == pytest.approx(curve.weights[k], abs=2e-3)
    assert curve.weights.sum() == pytest.approx(1.0)  # a shift of all means is the value's


def test_where_a_rational_curve_misbehaves_the_quadratic_one_is_taken():
    steep = 1.0 / (1.1 + Z)
    assert rational_curve(Z, steep).reason == "pole"
    still = 0.3 + 1e-4 * Z
    assert rational_curve(Z, still, error=1e-4).reason == "flat"
    wave = np.array([0.0, 1.0, 0.2, 1.1, 0.1])
    assert rational_curve(Z, wave).reason in ("misfit", "pole")
    for means, error in ((steep, 0.0), (still, 1e-4), (wave, 0.0)):
        found = extrapolate(Z, means, kind="rational", error=error)
        assert found.kind == "quadratic"
        assert found.value == quadratic_curve(Z, means).value
    assert extrapolate(Z, 1.0 / (5.0 + Z), kind="quadratic").kind == "quadratic"
    assert extrapolate(Z, 1.0 / (5.0 + Z), kind="rational").kind == "rational"


def test_a_constant_has_a_curve_too():
    curve = extrapolate(Z, np.full(5, 0.25), kind="rational")
    assert curve.kind == "quadratic"
    assert curve.value == pytest.approx(0.25)


def test_simulation_errors_are_those_of_a_mean_over_pairs():
    draws = np.zeros((4, 5, 1))
    draws[:, 1, 0] = [1.0, 2.0, 3.0, 4.0]
    weights = np.array([[0.0, -2.0, 0.0, 0.0, 0.0]])
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
