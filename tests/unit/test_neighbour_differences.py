"""A unit against its neighbours, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resilience.stats.clusters.differences import (
    NeighbourLists,
    neighbour_differences,
    neighbour_means,
)

VALUES = np.array([3.0, 1.0, 2.0, 4.0, 9.0])
VARIANCES = np.array([0.4, 0.1, 0.2, 0.1, 0.3])


def lists() -> NeighbourLists:
    """Unit 0 has three neighbours (weights 2:1:1), unit 1 two, unit 2 one, the others none."""
    return NeighbourLists(
        unit=np.array([0, 0, 0, 1, 1, 2]),
        neighbour=np.array([1, 2, 3, 0, 4, 0]),
        weight=np.array([2.0, 1.0, 1.0, 1.0, 1.0, 5.0]),
        n_units=5,
    )


def test_means_and_difference_by_hand():
    found = neighbour_differences(VALUES, VARIANCES, lists())
    # unit 0: (2*1 + 2 + 4)/4 = 2; unit 1: (3 + 9)/2 = 6; unit 2: 3
    assert found.neighbour_mean[:3] == pytest.approx([2.0, 6.0, 3.0])
    assert found.difference[:3] == pytest.approx([1.0, -5.0, -1.0])
    error = np.sqrt(0.4 + 0.25 * 0.1 + 0.0625 * 0.2 + 0.0625 * 0.1)
    assert found.std_error[0] == pytest.approx(error)
    assert found.conf_low[0] == pytest.approx(1.0 - 1.959964 * error)
    assert found.p_above[0] == pytest.approx(stats.norm.cdf(1.0 / error))
    assert np.isnan(found.difference[3:]).all()
    assert neighbour_means(VALUES, lists())[:3] == pytest.approx([2.0, 6.0, 3.0])


def test_spread_of_true_results_by_hand():
    found = neighbour_differences(VALUES, VARIANCES, lists())
    # unit 0: w = 10, 5, 10; mean (10 + 10 + 40)/25 = 2.4; Q = 10*1.96 + 5*.16 + 10*2.56 = 46
    tau_squared = (46.0 - 2.0) / (25.0 - 225.0 / 25.0)
    assert found.tau_squared[0] == pytest.approx(tau_squared)
    share = 0.25 + 0.0625 * 2
    own = 0.4 + 0.04375 + tau_squared * (1.0 + share)
    width = stats.t.ppf(0.975, 2) * np.sqrt(own)
    assert found.typical_low[0] == pytest.approx(2.0 - width)
    assert found.typical_high[0] == pytest.approx(2.0 + width)
    assert found.spread_variance[0] == pytest.approx(own - 0.4)
    # one neighbour says nothing of the spread
    assert np.isnan(found.tau_squared[2])
    assert np.isnan(found.typical_low[2])


def test_neighbours_that_agree_better_than_their_errors_have_no_spread():
    found = neighbour_differences(np.array([1.0, 2.0, 2.0, 2.0]), np.ones(4), triple())
    assert found.tau_squared[0] == 0.0


def triple() -> NeighbourLists:
    return NeighbourLists(
        unit=np.array([0, 0, 0]), neighbour=np.array([1, 2, 3]), weight=np.ones(3), n_units=4
    )


def test_percentile_among_neighbours_splits_ties():
    found = neighbour_differences(np.array([2.0, 1.0, 2.0, 5.0]), np.ones(4), triple())
    assert found.percentile[0] == pytest.approx(0.5)


def test_correction_removes_what_remains_of_the_conditions():
    z = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, np.nan], [2.0, 2.0]])
    slopes = np.array([0.5, -1.0])
    plain = neighbour_differences(VALUES, VARIANCES, lists())
    found = neighbour_differences(VALUES, VARIANCES, lists(), conditions=z, slopes=slopes)
    # unit 0: z_j - sum a z_i = (1, 0) - (0, 1/4), the missing cell left out: .5 + .25
    assert found.correction[0] == pytest.approx(0.75)
    assert found.difference[0] == pytest.approx(plain.difference[0] - 0.75)
    assert found.std_error[0] == plain.std_error[0]


def test_results_exactly_on_the_line_leave_no_difference():
    generator = np.random.default_rng(7)
    z = generator.normal(size=(40, 3))
    slopes = np.array([1.0, -2.0, 0.5])
    unit = np.repeat(np.arange(40), 6)
    near = (unit + np.tile(np.arange(1, 7), 40)) % 40
    pairs = NeighbourLists(unit=unit, neighbour=near, weight=np.ones(240), n_units=40)
    found = neighbour_differences(z @ slopes, np.full(40, 0.1), pairs, conditions=z, slopes=slopes)
    # rounding only
    assert np.abs(found.difference).max() < 1e-12
    assert found.tau_squared.max() == 0.0


def test_neighbours_without_a_result_leave_the_list():
    kept = lists().among(np.array([True, False, True, True, True]))
    assert kept.counts.tolist() == [2, 2, 1, 0, 0]
    assert kept.weight[:2] == pytest.approx([0.5, 0.5])
