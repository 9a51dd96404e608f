"""Simulated groups: the share misplaced is the one that no method can avoid."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.fits.algorithms import fit_clusters

N = 4000


def two_groups(apart: float, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two round groups whose centres lie ``apart`` standard deviations apart."""
    generator = np.random.default_rng(seed)
    truth = (generator.random(N) < share).astype(int)
    rows = generator.normal(size=(N, 3))
    rows[:, 0] += apart * truth
    return rows, truth


def misplaced(labels: np.ndarray, truth: np.ndarray) -> float:
    wrong = float((labels != truth).mean())
    return min(wrong, 1.0 - wrong)


@pytest.mark.parametrize("apart", [3.0, 4.0, 5.0])
@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_equal_groups_are_parted_halfway(method: str, apart: float) -> None:
    rows, truth = two_groups(apart, 0.5, seed=int(apart))
    found = fit_clusters(rows, 2, method=method, n_init=3, seed=1)
    # Half the distance lies apart/2 standard deviations from either centre.
    unavoidable = NormalDist().cdf(-apart / 2)
    error = np.sqrt(unavoidable * (1 - unavoidable) / N)
    # 4 Monte-Carlo errors; the boundary's own error adds less than one more
    assert abs(misplaced(found.labels, truth) - unavoidable) < 5 * error


def test_a_mixture_finds_unequal_shares_and_honest_probabilities() -> None:
    rows, truth = two_groups(3.5, 0.25, seed=8)
    found = fit_clusters(rows, 2, method="gmm", n_init=3, seed=1)
    assert found.mixture is not None
    sampling = np.sqrt(0.25 * 0.75 / N)
    # about 5 % overlap inflates the sampling error of a share by less than a half
    assert abs(found.mixture.weights.min() - 0.25) < 4 * 1.5 * sampling
    own = found.mixture.memberships(rows).max(axis=1)
    # The mean probability of the own cluster is the share rightly placed.
    right = 1.0 - misplaced(found.labels, truth)
    assert abs(own.mean() - right) < 4 * np.sqrt(right * (1 - right) / N)


def test_k_means_halves_unequal_groups_more_than_a_mixture() -> None:
    rows, truth = two_groups(2.5, 0.1, seed=3)
    means = fit_clusters(rows, 2, n_init=3, seed=1)
    mixture = fit_clusters(rows, 2, method="gmm", n_init=3, seed=1)
    assert misplaced(mixture.labels, truth) < misplaced(means.labels, truth) - 0.05


def test_kinds_of_schools_are_recovered_from_counted_pupils() -> None:
    """Three kinds of schools whose shares are counts of pupils, one in ten schools incomplete."""
    generator = np.random.default_rng(11)
    n = 300
    truth = np.arange(n) % 3
    pupils = generator.integers(60, 900, size=n)
    low = np.array([0.10, 0.30, 0.55])[truth]
    edu = np.array([0.55, 0.30, 0.12])[truth]
    schools = pd.DataFrame(
        {
            "school_id": np.arange(n),
            "n_pupils": pupils,
            "low_income": generator.binomial(pupils, low) / pupils,
            "both_parents_higher_edu": generator.binomial(pupils, edu) / pupils,
            "single_parent": generator.binomial(pupils, 0.25 + 0.1 * (truth == 1)) / pupils,
        }
    )
    holes = generator.choice(n, size=30, replace=False)
    schools.loc[holes, "single_parent"] = np.nan
    conditions = rs.Conditions(shares=["low_income", "both_parents_higher_edu", "single_parent"])
    with pytest.warns(rs.WeakDataWarning):
        found = ClusterModel(conditions, n_clusters=3).fit(schools)
    # The nearest kinds differ by .2 to .25 in two shares; the smallest schools' shares have an
    # error of .06, three quarters of them under .03: fewer than 2 % can lie nearer to another kind,
    # 6 schools expected at most, and four Monte-Carlo errors of 2.4 more
    right = (3 - found.clusters == truth).sum()
    assert right >= n - 16
    assert (3 - found.clusters[holes] == truth[holes]).sum() >= 26
