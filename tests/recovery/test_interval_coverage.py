"""Intervals of the standard deviation of schools hold the truth at their nominal rate."""

from __future__ import annotations

import numpy as np

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.likelihood_intervals import profile_intervals
from resilience.stats.mixed import fit_mixed
from resilience.stats.refits.natural_criteria import natural_criterion
from resilience.stats.refits.refits import parametric_refits

TRUE = 0.4


def region(seed: int, n_schools: int, *, sd: float = TRUE) -> CrossProducts:
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), 10)
    x = rng.normal(size=len(school))
    y = 0.5 * x + sd * rng.normal(size=n_schools)[school] + rng.normal(size=len(school))
    return CrossProducts.from_arrays(
        x[:, None], y, columns=["x", "y"], groups=[("school", school, ["Intercept"])]
    )


def test_profile_intervals_cover_with_few_schools():
    n = 60
    hits = []
    for seed in range(n):
        cross = region(seed, 12)
        criterion = natural_criterion(cross, fit_mixed(cross))
        (one,) = profile_intervals(criterion, level=0.90, only=[0])
        hits.append(one.low <= TRUE <= one.high)
    error = np.sqrt(0.9 * 0.1 / n)
    assert abs(np.mean(hits) - 0.9) < 3.0 * error


def test_a_variance_of_zero_is_inside_its_interval_at_the_nominal_rate():
    """Without differences between schools half of the estimates are 0, and the limit is 0 too."""
    n, held, zero = 40, 0, 0
    for seed in range(n):
        cross = region(1000 + seed, 12, sd=0.0)
        fitted = fit_mixed(cross)
        (one,) = profile_intervals(natural_criterion(cross, fitted), level=0.90, only=[0])
        held += one.low == 0.0
        zero += one.estimate == 0.0
        assert one.high > 0.0
    # the deviance of zero is a 50:50 mixture of 0 and chi-squared: 95 % of intervals hold it
    assert held / n >= 0.95 - 3.0 * np.sqrt(0.95 * 0.05 / n)
    assert abs(zero / n - 0.5) < 0.3  # some 60 % with 12 schools


def test_bootstrap_intervals_cover_with_thirty_schools():
    n = 30
    hits = []
    for seed in range(n):
        cross = region(2000 + seed, 30)
        refits = parametric_refits(cross, fit_mixed(cross), n_replicates=60, random_state=seed)
        low, high = np.quantile([r.natural[0] for r in refits], [0.05, 0.95])
        hits.append(low <= TRUE <= high)
    # 60 replicates and the skewness of a standard deviation cost some 2 points of coverage
    error = np.sqrt(0.9 * 0.1 / n)
    assert abs(np.mean(hits) - 0.88) < 3.0 * error
