"""Both ranges of a school against its neighbours hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from resilience.stats.clusters.differences import NeighbourLists, neighbour_differences

N_NEIGHBOURS = 15
REGIONS = 6000


def simulated(tau: float, seed: int) -> tuple[float, float, float]:
    """Return the coverage of the interval, of the range, and of a range with a normal quantile."""
    generator = np.random.default_rng(seed)
    n = REGIONS * (N_NEIGHBOURS + 1)
    variances = 1.0 / generator.integers(10, 120, size=n)  # pupils in units of their SD
    true = generator.normal(scale=tau, size=n)
    values = true + generator.normal(size=n) * np.sqrt(variances)
    own = np.arange(REGIONS) * (N_NEIGHBOURS + 1)
    unit = np.repeat(own, N_NEIGHBOURS)
    near = unit + np.tile(np.arange(1, N_NEIGHBOURS + 1), REGIONS)
    lists = NeighbourLists(unit=unit, neighbour=near, weight=np.ones(len(unit)), n_units=n)
    found = neighbour_differences(values, variances, lists)
    truth = (true - np.where(lists.counts > 0, lists.summed(lists.weight * true[near]), 0.0))[own]
    inside = (found.conf_low[own] <= truth) & (truth <= found.conf_high[own])
    low, high = found.typical_low[own], found.typical_high[own]
    typical = (low <= values[own]) & (values[own] <= high)
    narrower = stats.norm.ppf(0.975) / stats.t.ppf(0.975, N_NEIGHBOURS - 1)
    half = narrower * (high - low) / 2.0
    normal = np.abs(values[own] - found.neighbour_mean[own]) <= half
    return float(inside.mean()), float(typical.mean()), float(normal.mean())


@pytest.mark.parametrize("tau", [0.2, 0.4])
def test_coverage_of_interval_and_typical_range(tau):
    interval, typical, normal = simulated(tau, seed=int(100 * tau))
    # three Monte-Carlo standard errors of a share of .95 over 6,000 independent lists
    tolerance = 3.0 * np.sqrt(0.95 * 0.05 / REGIONS)
    assert interval == pytest.approx(0.95, abs=tolerance)
    assert typical == pytest.approx(0.95, abs=tolerance)
    # with a normal quantile it would fall short: the t quantile is needed
    assert normal < 0.95 - tolerance
