"""The rule of the number of clusters on regions whose truth is known.

Twenty regions of each kind; two hundred by hand in ``tests/benchmarks/clustering_power.py``.
"""

from __future__ import annotations

import numpy as np
import pytest

from resilience.clustering.selection.select import select_for_rows
from resilience.clustering.selection.settings import SelectionSettings

N_REGIONS = 20
N_SCHOOLS = 200
SETTINGS = SelectionSettings(n_references=20, n_splits=8, n_resamples=15, n_init=3)


def standardised(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


@pytest.mark.parametrize("correlation", [0.0, 0.5], ids=["round", "drawn_out"])
def test_one_cloud_is_not_cut(correlation: float) -> None:
    chosen = []
    for region in range(N_REGIONS // 2):
        generator = np.random.default_rng([region, int(10 * correlation)])
        shared = generator.standard_normal((N_SCHOOLS, 1))
        own = generator.standard_normal((N_SCHOOLS, 5))
        rows = standardised(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
        found = select_for_rows(rows, settings=SETTINGS, random_state=region)
        chosen.append(found.n_clusters)
    # at a rate of 5 % two or more of ten would come up in 9 % of such tests, none of two hundred
    # regions by hand did
    assert chosen.count(None) >= N_REGIONS // 2 - 1


def test_three_groups_far_apart_are_found() -> None:
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [2.0, 2.0 * np.sqrt(3.0)]])
    chosen = []
    for region in range(N_REGIONS // 2):
        generator = np.random.default_rng([7, region])
        rows = generator.standard_normal((N_SCHOOLS, 5))
        rows[:, :2] += corners[np.arange(N_SCHOOLS) % 3]
        found = select_for_rows(rows, numbers=range(2, 6), settings=SETTINGS, random_state=region)
        chosen.append(found.n_clusters)
    assert chosen.count(3) >= N_REGIONS // 2 - 1
