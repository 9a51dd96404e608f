"""Stability, comparison and years: what cannot be asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.selection.settings import SelectionSettings
from resilience.clustering.stability.by_number import stability_by_number
from resilience.clustering.stability.compare import compare_partitions
from resilience.clustering.stability.stability import cluster_stability
from resilience.clustering.stability.years import clusters_over_years

CONDITIONS = rs.Conditions(continuous=["n_pupils", "remoteness_km"])


@pytest.fixture
def schools() -> pd.DataFrame:
    generator = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(40)] * 2,
            "year": np.repeat([2023, 2024], 40),
            "n_pupils": generator.integers(30, 900, size=80),
            "remoteness_km": generator.exponential(20, size=80),
            "is_rural": [True, False] * 40,
        }
    )


def test_few_resamples_warn(schools: pd.DataFrame) -> None:
    clusters = ClusterModel(CONDITIONS, n_clusters=2).fit(schools)
    with pytest.warns(rs.WeakDataWarning, match="take 50 or more"):
        cluster_stability(clusters, n_resamples=10)
    with pytest.raises(rs.SpecificationError, match="random_state"):
        cluster_stability(clusters, random_state="a")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(rs.SpecificationError, match="n_resamples"):
        cluster_stability(clusters, n_resamples=1)


def test_schemes(schools: pd.DataFrame) -> None:
    clusters = ClusterModel(CONDITIONS, n_clusters=2).fit(schools)
    with pytest.raises(rs.SpecificationError, match="'jackknife'"):
        cluster_stability(clusters, scheme="jackknife")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(rs.SpecificationError, match="no variable has any"):
        cluster_stability(clusters, scheme="noise")
    with pytest.raises(rs.SpecificationError, match="ClusterModel"):
        cluster_stability(schools)  # type: ignore[arg-type]  # the mistake under test


def test_what_has_no_clusters_has_no_stability(schools: pd.DataFrame) -> None:
    quick = SelectionSettings(n_references=10, n_splits=5, n_resamples=10, n_init=1)
    none = ClusterModel(CONDITIONS).fit(schools, settings=quick)
    assert none.n_clusters is None
    with pytest.raises(rs.SpecificationError, match=r"StatisticalNeighbours.*ContextBands"):
        cluster_stability(none)


def test_groupings_must_be_tables_of_the_same_schools(schools: pd.DataFrame) -> None:
    one = pd.DataFrame({"school_id": ["a", "b"], "cluster": [1, 2]})
    with pytest.raises(rs.DataError, match="no school in common"):
        compare_partitions(one, one.assign(school_id=["c", "d"]))
    with pytest.raises(rs.DataError, match="'cluster'"):
        compare_partitions(one, one.drop(columns="cluster"))
    with pytest.raises(rs.DataError, match="school_id"):
        compare_partitions(one, pd.concat([one, one]))


def test_years_need_one_number_and_two_years(schools: pd.DataFrame) -> None:
    with pytest.raises(rs.SpecificationError, match="one number of clusters"):
        clusters_over_years(ClusterModel(CONDITIONS), schools)
    model = ClusterModel(CONDITIONS, n_clusters=2)
    with pytest.raises(rs.DataError, match="asked for 2020, 2024, there are 2023, 2024"):
        clusters_over_years(model, schools, years=[2020, 2024])
    with pytest.raises(rs.DataError, match="two years or more"):
        clusters_over_years(model, schools, years=[2024])
    with pytest.raises(rs.SpecificationError, match="base_year=2020"):
        clusters_over_years(model, schools, base_year=2020)
    with pytest.raises(rs.SpecificationError, match="least_jaccard"):
        clusters_over_years(model, schools, least_jaccard=1.5)


def test_numbers_by_stability(schools: pd.DataFrame) -> None:
    scaled = rs.scale_conditions(schools, CONDITIONS)
    with pytest.raises(rs.SpecificationError, match="k is empty"):
        stability_by_number(scaled, k=())
    parted = rs.scale_conditions(schools, CONDITIONS, strata=["is_rural"])
    with pytest.raises(rs.SpecificationError, match="several strata"):
        stability_by_number(parted)
