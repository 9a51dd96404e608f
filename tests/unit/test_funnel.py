"""Control limits of funnels: by hand, against closed forms, and recovered from simulated units."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from resilience.errors import DataError, SpecificationError
from resilience.stats.lists.funnel import (
    between_variance_of,
    funnel,
    pooled_residuals,
    typical_std_error,
    unshrunken_residuals,
)


def test_limits_by_hand() -> None:
    # Weights 4 and 1: centre (4·1 + 1·6)/5 = 2; z = (1 - 2)/.5 = -2 and (6 - 2)/1 = 4.
    found = funnel([1.0, 6.0], [0.5, 1.0], between_variance=0.75)
    assert found.center == pytest.approx(2.0)
    np.testing.assert_allclose(found.z_score, [-2.0, 4.0])
    # Phi(1) = .8413447: the level of one standard error is .6826895.
    low, high = found.limits(0.682689492137, between=False)
    np.testing.assert_allclose(low, [1.5, 1.0])
    np.testing.assert_allclose(high, [2.5, 3.0])
    low, high = found.limits(0.682689492137, between=True)  # sqrt(.25 + .75) and sqrt(1.75)
    np.testing.assert_allclose(high - 2.0, [1.0, np.sqrt(1.75)])
    np.testing.assert_array_equal(found.outside(0.95, between=False), [True, True])
    np.testing.assert_array_equal(found.outside(0.95, between=True), [False, True])
    at = found.limits(0.682689492137, between=True, std_error=[0.0])
    np.testing.assert_allclose(at, [[2.0 - np.sqrt(0.75)], [2.0 + np.sqrt(0.75)]])


def test_variance_between_units_by_hand() -> None:
    # Eleven values -5 … 5 with s = 1: the 10 and 90 % quantiles are -4 and 4, so
    # sum z_w^2 = 4·16 + 2(9 + 4 + 1) = 92; without kappa (92 - 10)/(11 - 11/11) = 8.2.
    y, s = np.arange(-5.0, 6.0), np.ones(11)
    assert between_variance_of(y, s, consistent=False) == pytest.approx(8.2)
    c = stats.norm.ppf(0.9)
    kappa = 0.8 - 2 * c * stats.norm.pdf(c) + 0.2 * c**2
    assert kappa == pytest.approx(0.6787, abs=5e-5)  # printed with four decimals
    # Oracle: the second moment of a winsorised standard normal number.
    moment = integrate.quad(lambda z: min(z * z, c * c) * stats.norm.pdf(z), -12, 12)[0]
    assert kappa == pytest.approx(moment, rel=1e-7)  # the quadrature's own accuracy at the kinks
    assert between_variance_of(y, s) == pytest.approx((92 / kappa - 10) / 10)
    # Around a target no degree of freedom is spent: (92/kappa - 11)/11.
    assert between_variance_of(y, s, target=0.0) == pytest.approx((92 / kappa - 11) / 11)
    assert between_variance_of(0.1 * y, s) == 0.0


@pytest.mark.parametrize("target", [None, 0.0])
def test_variance_between_units_is_recovered(target: float | None) -> None:
    # s ~ U(.1, .4), 100 units, variance .04: the published recipe finds about .011, the corrected
    # one about .035.  Bands: 4 standard errors of the mean over 400 replications (SD of one about
    # .006 and .011) plus half a unit of the last digit printed.
    rng = np.random.default_rng(11)
    plain, corrected = [], []
    for _ in range(400):
        s = rng.uniform(0.1, 0.4, 100)
        y = rng.normal(0, np.sqrt(s**2 + 0.04))
        plain.append(between_variance_of(y, s, target=target, consistent=False))
        corrected.append(between_variance_of(y, s, target=target))
    for values, expected in ((plain, 0.011), (corrected, 0.035)):
        band = 4 * np.std(values) / np.sqrt(400) + 0.0005
        assert abs(np.mean(values) - expected) < band


def test_few_units_get_a_reason_and_no_second_pair() -> None:
    found = funnel(np.arange(9.0), np.ones(9))
    assert np.isnan(found.between_variance)
    assert "9 units are too few" in found.reason
    assert not found.outside(0.95, between=True).any()
    assert np.isnan(found.limits(0.95, between=True)).all()
    assert funnel(np.arange(10.0), np.ones(10)).reason is None


def test_residuals_from_shrunken_effects() -> None:
    # variance .5, sampling variance .25: reliability 2/3, effect 2/3 y, conditional variance 1/6.
    y, s = unshrunken_residuals([0.4, 0.0], [np.sqrt(1 / 6), 0.0], [2 / 3, 0.0])
    np.testing.assert_allclose(y, [0.6, np.nan])
    np.testing.assert_allclose(s, [0.5, np.nan])


def test_residuals_pooled_over_years() -> None:
    # School 0: weights 4 and 1, (4·1 + 6)/5 = 2 and 1/sqrt 5; school 1 has one year.
    y, s = pooled_residuals([0, 1, 0], [1.0, -1.0, 6.0], [0.25, 4.0, 1.0])
    np.testing.assert_allclose(y, [2.0, -1.0])
    np.testing.assert_allclose(s, [1 / np.sqrt(5), 2.0])


def test_typical_error_is_exact_where_the_form_holds() -> None:
    n = np.array([3.0, 10.0, 40.0, 200.0])
    s = np.sqrt(0.005 + 0.6 / n)
    np.testing.assert_allclose(typical_std_error(n, s, [25.0]), np.sqrt(0.005 + 0.6 / 25))
    np.testing.assert_allclose(typical_std_error(n, np.sqrt(0.6 / n), n), np.sqrt(0.6 / n))
    # one size only: the curve passes through it
    np.testing.assert_allclose(typical_std_error([8.0, 8.0], [0.2, 0.2], [8.0]), [0.2])


def test_bad_units_are_named() -> None:
    with pytest.raises(DataError, match=r"standard errors must be finite and above 0; 1 are not"):
        funnel([0.0, 1.0], [1.0, 0.0])
    with pytest.raises(DataError, match=r"estimates must be finite; 1 are not \(rows 1: nan\)"):
        funnel([0.0, np.nan], [1.0, 1.0])
    with pytest.raises(DataError, match="two vectors of one length"):
        funnel([0.0, 1.0], [1.0])
    with pytest.raises(DataError, match="at least one"):
        funnel([], [])
    with pytest.raises(SpecificationError, match="between_variance"):
        funnel([0.0], [1.0], between_variance=-1.0)
    with pytest.raises(SpecificationError, match="level"):
        funnel([0.0], [1.0]).limits(1.0, between=False)
