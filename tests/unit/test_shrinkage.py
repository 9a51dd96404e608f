"""Closed forms of shrinkage by hand, and the engine against them."""

from __future__ import annotations

import numpy as np
import pytest

import resilience as rs
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import fit_mixed
from resilience.stats.shrinkage import conditional_sd, reliability, shrunken_effect

# Maximum likelihood on the London data with one prior score (tests/golden/test_exam.py).
LONDON = {"var_between": 0.092129, "var_within": 0.565731}


def test_reliability_by_hand():
    # 4 / (4 + 12/n): n = 1, 3, 9
    np.testing.assert_allclose(reliability([1, 3, 9], 4.0, 12.0), [0.25, 0.5, 0.75])


def test_the_three_forms_agree_by_hand():
    # λ = .5: an effect of half the mean residual, SD = 2·√.5
    assert shrunken_effect([1.0], [3], 4.0, 12.0)[0] == pytest.approx(0.5)
    assert conditional_sd([3], 4.0, 12.0)[0] == pytest.approx(np.sqrt(2.0))
    # and the other way to write it: (n/σe² + 1/σu²)^(-1/2)
    assert conditional_sd([7], 4.0, 12.0)[0] == pytest.approx((7 / 12 + 1 / 4) ** -0.5)


def test_limits_of_reliability():
    assert (reliability([1, 50], 0.0, 1.0) == 0.0).all()
    assert (conditional_sd([1, 50], 0.0, 1.0) == 0.0).all()
    np.testing.assert_allclose(reliability([1, 50], 1.0, 0.0), 1.0)


def test_reliability_at_the_london_variances():
    # method specification, section 6: n = 5, 8, 10, 15, 30, 45
    expected = [0.45, 0.57, 0.62, 0.71, 0.83, 0.88]
    found = reliability([5, 8, 10, 15, 30, 45], **LONDON)
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_a_five_pupil_school_needs_a_residual_of_a_standard_deviation():
    """Method specification, section 6: about -1 SD of pupils to be flagged in one year."""
    needed = -1.96 * conditional_sd([5], **LONDON) / reliability([5], **LONDON)
    pupil_sd = np.sqrt(sum(LONDON.values()))
    # "about": between .95 and 1.25 SD of pupils, whichever SD is meant
    assert -1.25 < needed[0] / pupil_sd < -0.95


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (([3, 0], 1.0, 1.0), "0"),
        (([3], -0.5, 1.0), "-0.5"),
        (([3], 1.0, -0.25), "-0.25"),
        (([float("nan")], 1.0, 1.0), "nan"),
    ],
)
def test_impossible_sizes_and_variances_are_refused(arguments, culprit):
    with pytest.raises(rs.DataError, match=culprit):
        reliability(*arguments)


def test_the_engine_gives_the_closed_form():
    """Random intercept, no covariate: û = λ · mean residual, SD = σu √(1 − λ)."""
    rng = np.random.default_rng(5)
    school = np.repeat(np.arange(25), rng.integers(1, 30, size=25))
    y = rng.normal(size=25)[school] + rng.normal(size=len(school))
    cross = CrossProducts.from_arrays(
        np.empty((len(y), 0)), y, columns=["y"], groups=[("school", school, ["Intercept"])]
    )
    fit = fit_mixed(cross)
    n = np.bincount(school)
    residual = np.bincount(school, y) / n - fit.beta[0]
    between, within = float(fit.levels[0].covariance[0, 0]), fit.residual_variance
    # 1e-10: the same arithmetic in another order
    np.testing.assert_allclose(
        fit.levels[0].modes[:, 0], shrunken_effect(residual, n, between, within), atol=1e-10
    )
    np.testing.assert_allclose(
        np.sqrt(fit.levels[0].conditional[:, 0, 0]),
        conditional_sd(n, between, within),
        rtol=1e-10,
    )
