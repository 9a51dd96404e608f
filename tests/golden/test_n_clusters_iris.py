"""Criteria of the number of clusters on iris (150 × 4, unscaled, ten starts).

Values of R (fpc 2.2-10, cluster) with many starts and many resamples; the tolerances are those of
resampling at the sizes used here.
"""

from __future__ import annotations

import numpy as np
import pytest

from resilience.clustering.fits.algorithms import fit_partition, partitioner
from resilience.clustering.selection.select import select_for_rows
from resilience.clustering.selection.settings import SelectionSettings
from resilience.stats.clusters.gap import gap_choice, gap_curve, log_within, reference_within
from resilience.stats.clusters.partitions import prediction_strength
from resilience.stats.clusters.silhouettes import silhouettes


@pytest.fixture(scope="module")
def iris() -> np.ndarray:
    from sklearn.datasets import load_iris

    return np.asarray(load_iris().data)


def test_prediction_strength(iris: np.ndarray) -> None:
    method = partitioner("kmeans", n_init=10)
    for k, wanted in {2: 0.975, 3: 0.79, 4: 0.58, 5: 0.59}.items():
        found = [prediction_strength(iris, k, method, seed=s) for s in range(60)]
        # the SD over splits is about .1 from k = 3 on: .03 is two standard errors of sixty splits
        assert np.mean(found) == pytest.approx(wanted, abs=0.03)


def test_gap_curve(iris: np.ndarray) -> None:
    method, numbers = partitioner("kmeans", n_init=5), (1, 2, 3, 4, 5, 6)
    drawn = np.array([reference_within(iris, numbers, method, seed=s) for s in range(60)])
    gap, spread = gap_curve(log_within(iris, numbers, method, seed=1), drawn)
    assert gap[:5] == pytest.approx([0.08, 0.59, 0.87, 1.00, 1.04], abs=0.03)
    # an SD of sixty sets has a relative error of 9 %; one cluster varies more than its parts
    assert spread[1:] == pytest.approx(np.full(5, 0.04), abs=0.012)
    assert gap_choice(numbers, gap, spread) in (4, 5)


def test_silhouette(iris: np.ndarray) -> None:
    for k, wanted in {2: 0.681, 3: 0.553, 4: 0.498, 5: 0.489}.items():
        labels = fit_partition(iris, k, seed=0)
        assert silhouettes(iris, labels).mean() == pytest.approx(wanted, abs=5e-4)


def test_criteria_disagree_and_all_are_shown(iris: np.ndarray) -> None:
    settings = SelectionSettings(
        n_references=20, n_splits=20, n_resamples=20, n_init=3, resample_all=True
    )
    found = select_for_rows(iris, numbers=range(2, 8), settings=settings, random_state=3)
    alone = found.choices.set_index("criterion")["k"]
    assert alone["silhouette"] == 2
    assert alone["gap"] in (4, 5)
    assert alone["prediction_strength"] in (2, 3)  # .79 at three with the bar at .80
    mixture = select_for_rows(
        iris,
        numbers=(2, 3),
        method="gmm",
        settings=SelectionSettings(n_references=10, n_splits=5, n_resamples=10, n_init=1),
        random_state=3,
    )
    bic = mixture.k_table.set_index("k")["bic"]
    # mclust VVV,2: -574.02, its sign being the opposite; VVV,3: -580.85 +- .02
    assert bic[2] == pytest.approx(574.02, abs=0.02)
    assert bic[3] == pytest.approx(580.85, abs=0.03)
    assert mixture.choices.set_index("criterion")["k"]["bic"] == 2
