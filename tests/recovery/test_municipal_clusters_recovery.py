"""Clusters of municipalities: kinds that are there are found, kinds that are not are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.municipal.model import MunicipalClusters
from resilience.clustering.profiles.outcomes import cluster_outcomes
from resilience.stats.clusters.effect_sizes import adjusted_eta_squared, eta_squared

CONDITIONS = Conditions(continuous={"a": "linear", "b": "linear"})
REGIONS = 10


def region(seed: int, gap: float) -> pd.DataFrame:
    """Return 32 municipalities of 12 schools: means of SD 0.6, three kinds ``gap`` apart."""
    generator = np.random.default_rng(seed)
    kinds = gap * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    means = generator.normal(size=(32, 2)) * 0.6 + kinds[np.arange(32) % 3]
    place = np.repeat(np.arange(32), 12)
    values = means[place] + generator.normal(size=(len(place), 2))
    return pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(len(place))],
            "municipality_id": [f"M{m:02d}" for m in place],
            "n_pupils": 300,
            "a": values[:, 0],
            "b": values[:, 1],
        }
    )


def numbers_found(gap: float) -> list[int]:
    model = MunicipalClusters(CONDITIONS, features=["a", "b"], n_resamples=50)
    return [model.fit(region(seed, gap)).n_clusters or 0 for seed in range(REGIONS)]


def test_one_cloud_has_no_clusters() -> None:
    false = sum(k > 0 for k in numbers_found(0.0))
    # at a true rate of 5 % more than so many of 10 regions have a chance below 1.2 %
    assert false <= int(stats.binom.ppf(0.988, REGIONS, 0.05))


def test_three_kinds_far_apart_are_found() -> None:
    found = numbers_found(4.0)
    # at a true rate of 95 % fewer than so many of 10 regions have a chance below 1.2 %
    assert sum(k == 3 for k in found) >= REGIONS - int(stats.binom.ppf(0.988, REGIONS, 0.05))


def test_results_that_have_nothing_to_do_with_clusters() -> None:
    from resilience.clustering.clusters.model import ClusterModel

    schools = region(0, 4.0)
    clusters = ClusterModel(CONDITIONS, n_clusters=3, n_init=5).fit(schools)
    shares, inside = [], []
    for seed in range(200):
        y = np.random.default_rng(seed).normal(size=len(schools))
        found = cluster_outcomes(clusters, schools.assign(y=y), column="y")
        shares.append(found.eta_squared_adjusted)
        table = found.clusters
        inside.extend(((table["conf_low"] < 0) & (table["conf_high"] > 0)).tolist())
    # by lot the adjusted share is 0 on average, and 95 % of the intervals hold the truth
    assert abs(np.mean(shares)) < 3 * np.std(shares) / np.sqrt(len(shares))
    error = np.sqrt(0.95 * 0.05 / len(inside))
    assert abs(np.mean(inside) - 0.95) < 3 * error


def test_the_share_between_groups_is_recovered() -> None:
    generator = np.random.default_rng(9)
    codes = np.arange(600) % 4
    drawn = []
    for _ in range(200):
        y = np.array([-0.3, -0.1, 0.1, 0.3])[codes] + generator.normal(size=600)
        drawn.append(adjusted_eta_squared(eta_squared(y, codes, 4), 600, 4))
    truth = 0.05 / 1.05  # variance of the four means .05, within 1
    assert abs(np.mean(drawn) - truth) < 3 * np.std(drawn) / np.sqrt(len(drawn)) + 0.001
