"""The error of the Laplace criterion against quadrature, where the integrals can be done.

Measured with thresholds known, 2,000 schools of one cell each, school SD .3 (in brackets .6):

===================  ======  =========================  ============================
marks                pupils  criterion, per school      bias of the school variance
===================  ======  =========================  ============================
four                      3  +.00005                    −.3 %   (−.5 %)
four                     10  +.00008                    −.05 %  (−.07 %)
four                     30  +.00007                    −.01 %  (−.01 %)
two, 12 % below           3  −.00006                    −.2 %   (−4.2 %)
two, 12 % below          10  +.0003                     −1.4 %  (−3.3 %)
two, 12 % below          30  +.0014                     −1.0 %  (−1.5 %)
===================  ======  =========================  ============================

The criterion errs by 1e-5 of its value and less with four marks, by up to 3e-4 with one threshold;
with a year's or a procedure's part of SD .2 and two cells a school, by up to .0002 and .004 per
school.  Four cells instead of one bring the bias of the variance to −.04, −.01 and −.00 %
(four marks) and −1.5, −.8 and −.2 % (one threshold).

It matters in one place: the share of a rare mark, one small cell a school, schools that differ
much.  A school SD of .6 is there found as .587, 2 % too small; intervals are too short by less,
since the data of such cells, not the variance of schools, set their width only in part.
"""

from __future__ import annotations

import numpy as np
import pytest
from ordinal_quadrature import by_quadrature, draw, line_integrals, log_cell, true_start
from scipy import integrate, optimize, special, stats

from resilience.stats.marks.ordinal_criterion import ordinal_criterion
from resilience.stats.marks.ordinal_system import Scales

SCHOOL, PART = 0.3, 0.2


def laplace(data, **sd: float) -> float:
    return ordinal_criterion(data, Scales(**sd), true_start(data), method="ml").criterion


def best_variance(criterion) -> float:
    found = optimize.minimize_scalar(criterion, bounds=(0.02, 1.5), method="bounded")
    return float(found.x) ** 2


@pytest.mark.parametrize(("n_marks", "n"), [(4, 3), (4, 30), (2, 3), (2, 30)])
def test_two_ways_of_integration_agree(n_marks, n):
    data = draw(1, n_schools=12, n=n, n_marks=n_marks)
    lines = line_integrals(data, SCHOOL)
    # fifteen nodes are exact to degree 29 around the mode
    np.testing.assert_allclose(by_quadrature(data, {"school": SCHOOL}), lines, atol=1e-8)


@pytest.mark.parametrize(
    ("n_marks", "n", "largest"),
    [(4, 3, 1e-4), (4, 10, 2e-4), (4, 30, 2e-4), (2, 3, 4e-4), (2, 10, 1e-3), (2, 30, 3e-3)],
)
def test_error_with_a_school_effect_alone(n_marks, n, largest):
    data = draw(1, n_schools=500, n=n, n_marks=n_marks)
    exact = -2.0 * line_integrals(data, SCHOOL, 161).sum()
    # twice the error measured per school, which a region of 500 averages well
    assert abs(laplace(data, school=SCHOOL) - exact) / 500 < largest


@pytest.mark.parametrize("part", ["year", "procedure"])
@pytest.mark.parametrize(
    ("n_marks", "n", "largest"), [(4, 3, 5e-4), (4, 30, 4e-4), (2, 3, 1e-3), (2, 30, 1e-2)]
)
def test_error_with_two_kinds_of_effects(part, n_marks, n, largest):
    own = {f"n_{part}s": 2, f"{part}_sd": PART}
    data = draw(2, n_schools=40, n=n, n_marks=n_marks, **own)
    # three effects a school: nine nodes each, equal to 25 nodes within 1e-10 (first school)
    exact = -2.0 * by_quadrature(data, {"school": SCHOOL, part: PART}, nodes=9).sum()
    assert abs(laplace(data, school=SCHOOL, **{part: PART}) - exact) / 40 < largest


def test_nine_nodes_are_enough_in_three_dimensions():
    data = draw(2, n_schools=3, n=10, n_years=2, year_sd=PART)
    sd = {"school": SCHOOL, "year": PART}
    few, many = by_quadrature(data, sd, nodes=9), by_quadrature(data, sd, nodes=15)
    np.testing.assert_allclose(few, many, atol=1e-7)


@pytest.mark.parametrize(
    ("n_marks", "n", "low", "high"),
    [(4, 3, -0.01, 0.002), (4, 30, -0.001, 0.001), (2, 3, -0.03, 0.02), (2, 30, -0.025, 0.0)],
)
def test_what_the_error_does_to_the_variance_of_schools(n_marks, n, low, high):
    # one region of 1,000 schools; the bounds are the bias stated above with room for its sample
    data = draw(3, n_schools=1000, n=n, n_marks=n_marks)
    exact = best_variance(lambda sd: -2.0 * line_integrals(data, sd, 81).sum())
    found = best_variance(lambda sd: laplace(data, school=float(sd)))
    assert low < found / exact - 1.0 < high


def test_a_share_is_a_binomial_probit():
    data = draw(4, n_schools=6, n=12, n_marks=2)
    threshold = true_start(data).fixed[0]
    total = 0.0
    for below, above in data.counts:

        def density(u: float, k: float = below, n: float = below + above) -> float:
            p = special.ndtr(threshold - SCHOOL * u)
            return float(stats.binom.pmf(k, n, p) * stats.norm.pdf(u))

        total -= 2.0 * np.log(integrate.quad(density, -9, 9, epsabs=1e-13, limit=200)[0])
    assert -2.0 * line_integrals(data, SCHOOL).sum() == pytest.approx(total, rel=1e-8)
    # the Laplace error stated above for ten pupils and one threshold, .0003 a school
    assert laplace(data, school=SCHOOL) == pytest.approx(total, abs=6 * 2e-3)
    # without an effect nothing is approximated
    alone = -2.0 * stats.binom.logpmf(data.counts[:, 0], 12, special.ndtr(threshold)).sum()
    assert laplace(data, school=0.0) == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(("n_marks", "n", "largest"), [(4, 10, 0.01), (2, 10, 0.05), (2, 30, 0.1)])
def test_posterior_mean_and_sd_of_a_school(n_marks, n, largest):
    # mode and curvature stand for mean and SD; measured: .005 SD with four marks, .03 and .05 with
    # one threshold, where the mode lies nearer to the rare mark; the SD to .2 %
    data = draw(5, n_schools=200, n=n, n_marks=n_marks)
    state = ordinal_criterion(data, Scales(school=SCHOOL), true_start(data), method="ml")
    z = np.linspace(-9.0, 9.0, 401)
    heights = np.array([log_cell(marks, SCHOOL * z) - 0.5 * z**2 for marks in data.counts])
    weight = np.exp(heights - heights.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ z
    sd = np.sqrt(weight @ z**2 - mean**2)
    mode, curved = state.point.effects[:, 0], np.sqrt(state.system.inverse[:, 0, 0])
    assert np.abs((mode - mean) / sd).max() < largest
    np.testing.assert_allclose(curved, sd, rtol=4e-3)
