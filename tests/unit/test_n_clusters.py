"""The table of criteria, the recommendation and its reason."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.clustering.selection.select import select_for_rows
from resilience.clustering.selection.settings import SelectionSettings
from resilience.stats.clusters.gap import gap_choice, gap_curve

SETTINGS = SelectionSettings(n_references=20, n_splits=8, n_resamples=12, n_init=2)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    generator = np.random.default_rng(1)
    drawn = generator.standard_normal((90, 3))
    drawn[:45, 0] += 8.0
    return drawn


def test_gap_by_hand() -> None:
    gap, spread = gap_curve(np.array([2.0, 1.0]), np.array([[2.5, 2.0], [2.7, 2.4]]))
    assert gap == pytest.approx([0.6, 1.2])
    # SD of two draws about their mean, times √(1 + 1/2)
    assert spread == pytest.approx([0.1 * np.sqrt(1.5), 0.2 * np.sqrt(1.5)])
    assert gap_choice((1, 2), gap, spread) is None
    assert gap_choice((1, 2), np.array([1.2, 1.3]), np.array([0.1, 0.2])) == 1


def test_two_groups_are_recommended_with_a_reason(rows: np.ndarray) -> None:
    found = select_for_rows(rows, numbers=(2, 3, 4), settings=SETTINGS, random_state=2)
    assert found.n_clusters == 2
    assert "k = 2" in found.reason
    assert "k = 2" in found.reason.ru
    table = found.k_table.set_index("k")
    assert table.loc[2, "accepted"]
    assert table.loc[2, "n_smallest"] == 45
    assert table.loc[2, "jaccard_min"] > 0.95
    assert not table.loc[1, "accepted"]
    assert set(found.choices["criterion"]) >= {"gap", "silhouette", "prediction_strength"}


def test_only_what_passes_the_gap_is_resampled(rows: np.ndarray) -> None:
    cloud = np.random.default_rng(5).standard_normal((90, 3))
    found = select_for_rows(cloud, numbers=(2, 3), settings=SETTINGS, random_state=2)
    assert found.n_clusters is None
    assert "StatisticalNeighbours" in found.reason
    assert found.k_table["jaccard_min"].isna().all()
    everything = SelectionSettings(
        n_references=20, n_splits=8, n_resamples=12, n_init=2, resample_all=True
    )
    shown = select_for_rows(cloud, numbers=(2, 3), settings=everything, random_state=2)
    assert shown.k_table.loc[shown.k_table["k"] > 1, "jaccard_min"].notna().all()
    assert shown.n_clusters is None


def test_workers_change_nothing(rows: np.ndarray) -> None:
    one = select_for_rows(rows, numbers=(2, 3), settings=SETTINGS, random_state=9)
    two = select_for_rows(rows, numbers=(2, 3), settings=SETTINGS, random_state=9, n_jobs=2)
    numbers = ["gap", "gap_std_error", "jaccard_min", "prediction_strength"]
    assert one.k_table[numbers].equals(two.k_table[numbers])


def test_clusters_below_the_smallest_size_are_named() -> None:
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((80, 2))
    rows[:4] += 15.0
    found = select_for_rows(rows, numbers=(2,), settings=SETTINGS, random_state=1)
    assert found.n_clusters is None
    assert "smallest cluster of 4 schools, needed 10" in str(found.k_table["reason"].iloc[1])
    assert SETTINGS.least_schools(400) == 20


def test_ward_and_mixtures_are_judged_alike(rows: np.ndarray) -> None:
    for method in ("ward", "gmm"):
        found = select_for_rows(
            rows,
            numbers=(2, 3),
            method=method,  # type: ignore[arg-type]  # one of the methods
            settings=SelectionSettings(n_references=10, n_splits=5, n_resamples=10, n_init=1),
            random_state=4,
        )
        assert found.n_clusters == 2
        assert found.k_table["bic"].notna().any() == (method == "gmm")


def test_it_prints_in_two_languages(rows: np.ndarray) -> None:
    found = select_for_rows(rows, numbers=(2, 3), settings=SETTINGS, random_state=2)
    assert "Сила предсказания" in found.summary("ru")
    assert "выдерживает все критерии" in found.summary("ru")
    assert "Prediction strength" in found.summary()
