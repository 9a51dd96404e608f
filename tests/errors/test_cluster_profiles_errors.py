"""Bad input to profiles, results by cluster, municipalities, settlements and their figures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.clusters.results import ClusterResults
from resilience.clustering.conditions.scaled import scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.municipal.model import MunicipalClusters
from resilience.clustering.profiles.municipalities import clusters_by_municipality
from resilience.clustering.profiles.naming import cluster_names
from resilience.clustering.profiles.outcomes import cluster_outcomes
from resilience.clustering.profiles.profile import cluster_profiles, profile_table
from resilience.clustering.profiles.settlements import settlement_mix
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.plotting.cluster_map import plot_cluster_map
from resilience.plotting.profiles import plot_profiles

CONDITIONS = Conditions(continuous=["remoteness_km"], shares=["low_income"])


def region(n_municipalities: int = 22, per: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    n = n_municipalities * per
    return pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(n)],
            "municipality_id": [f"M{i // per:02d}" for i in range(n)],
            "n_pupils": rng.integers(60, 900, n),
            "remoteness_km": rng.uniform(1, 60, n),
            "low_income": rng.uniform(0.05, 0.7, n),
            "is_rural": rng.random(n) < 0.5,
            "is_small": rng.random(n) < 0.3,
            "mean_score": rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return region()


@pytest.fixture(scope="module")
def clusters(schools: pd.DataFrame) -> ClusterResults:
    return ClusterModel(CONDITIONS, n_clusters=2).fit(schools)


def wordings(error: DataError | SpecificationError) -> tuple[str, str]:
    return error.localized("en"), error.localized("ru")


TAKERS: list[Callable[[Any], object]] = [
    cluster_profiles,
    clusters_by_municipality,
    settlement_mix,
    lambda c: cluster_outcomes(c, pd.DataFrame(), column="mean_score"),
]


@pytest.mark.parametrize("function", TAKERS)
@pytest.mark.parametrize("given", [None, pd.DataFrame({"school_id": ["S1"], "cluster": [1]}), 3])
def test_anything_but_clusters(function: Callable[[Any], object], given: Any) -> None:
    with pytest.raises(
        SpecificationError, match=r"rs.ClusterModel\(...\).fit\(schools\)"
    ) as caught:
        function(given)
    assert "нет школ с кластерами" in wordings(caught.value)[1]


@pytest.mark.parametrize("function", TAKERS)
def test_no_stable_clusters(function: Callable[[Any], object], clusters: ClusterResults) -> None:
    empty = clusters.schools.assign(cluster=pd.array([pd.NA] * len(clusters.schools), "Int64"))
    with pytest.raises(SpecificationError, match="StatisticalNeighbours") as caught:
        function(SimpleNamespace(schools=empty, scaled=clusters.scaled))
    assert "rs.ContextBands" in wordings(caught.value)[1]


def test_one_label_for_each_school(schools: pd.DataFrame) -> None:
    scaled = scale_conditions(schools, CONDITIONS)
    with pytest.raises(DataError, match=r"each of the 66 schools.*\(3,\)"):
        profile_table(scaled, np.array([1, 2, 1]))
    with pytest.raises(DataError, match="number clusters from 1"):
        profile_table(scaled, np.zeros(66, dtype=int))


def test_names_of_an_empty_or_other_table() -> None:
    with pytest.raises(DataError, match="standardized_difference"):
        cluster_names(pd.DataFrame({"cluster": [1], "term": ["x"]}), pd.DataFrame())
    columns = ["cluster", "term", "condition", "kind", "mean", "mean_region"]
    with pytest.raises(DataError):
        cluster_names(
            pd.DataFrame(columns=[*columns, "standardized_difference", "n_schools"]),
            pd.DataFrame(),
        )


def test_results_that_are_none(clusters: ClusterResults, schools: pd.DataFrame) -> None:
    with pytest.raises(SpecificationError, match="neither"):
        cluster_outcomes(clusters, [1, 2], column="mean_score")
    with pytest.raises(SpecificationError, match="say which to compare"):
        cluster_outcomes(clusters, schools)
    with pytest.raises(DataError, match="mean_scores"):
        cluster_outcomes(clusters, schools, column="mean_scores")
    with pytest.raises(DataError):
        cluster_outcomes(clusters, schools.iloc[:0], column="mean_score")


def test_a_condition_is_no_result(clusters: ClusterResults, schools: pd.DataFrame) -> None:
    with pytest.raises(SpecificationError, match="formed the clusters") as caught:
        cluster_outcomes(clusters, schools, column="low_income")
    assert "cluster_profiles" in wordings(caught.value)[1]


def test_a_shrunken_column_without_its_reliability(
    clusters: ClusterResults, schools: pd.DataFrame
) -> None:
    table = schools.assign(effect=0.1)
    with pytest.raises(SpecificationError, match="shrunken to the mean"):
        cluster_outcomes(clusters, table, column="effect")


def test_results_of_wrong_kinds(clusters: ClusterResults, schools: pd.DataFrame) -> None:
    words = schools.assign(mean_score="good")
    with pytest.raises(DataError, match="mean_score"):
        cluster_outcomes(clusters, words, column="mean_score")
    infinite = schools.assign(mean_score=np.inf)
    with pytest.raises(DataError, match="infinite"):
        cluster_outcomes(clusters, infinite, column="mean_score")
    negative = schools.assign(error=-1.0)
    with pytest.raises(DataError, match="must not be negative; 66 rows"):
        cluster_outcomes(clusters, negative, column="mean_score", std_error="error")
    twice = pd.concat([schools, schools.head(1)])
    with pytest.raises(DataError, match="S000"):
        cluster_outcomes(clusters, twice, column="mean_score")
    strangers = schools.assign(school_id=schools["school_id"] + "x")
    with pytest.raises(DataError, match="school_id is written alike"):
        cluster_outcomes(clusters, strangers, column="mean_score")
    years = pd.concat([schools.assign(year=2020), schools.assign(year=2021)])
    with pytest.raises(DataError, match="rows of one year"):
        cluster_outcomes(clusters, years, column="mean_score")


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, "high"])
def test_levels_of_intervals(clusters: ClusterResults, schools: pd.DataFrame, level: Any) -> None:
    with pytest.raises(SpecificationError, match="level"):
        cluster_outcomes(clusters, schools, column="mean_score", level=level)


def test_schools_without_a_result_are_named(
    clusters: ClusterResults, schools: pd.DataFrame
) -> None:
    with pytest.warns(WeakDataWarning, match="2 schools of the clusters.*S000, S001"):
        found = cluster_outcomes(clusters, schools.iloc[2:], column="mean_score")
    assert int(found.glance()["n_missing"].iloc[0]) == 2
    assert len(found.schools) == 66


def test_schools_without_a_municipality(schools: pd.DataFrame) -> None:
    gaps = schools.assign(municipality_id=schools["municipality_id"].where(schools.index > 1))
    found = ClusterModel(CONDITIONS, n_clusters=2).fit(gaps)
    with pytest.raises(DataError, match="2 schools have no municipality_id") as caught:
        clusters_by_municipality(found)
    assert "S000, S001" in wordings(caught.value)[1]
    with pytest.raises(DataError, match="2 schools have no municipality_id"):
        MunicipalClusters(CONDITIONS).fit(gaps)
    without = ClusterModel(CONDITIONS, n_clusters=2).fit(schools.drop(columns="municipality_id"))
    with pytest.raises(DataError, match="municipality_id"):
        clusters_by_municipality(without)


def test_the_wide_table_knows_its_values(clusters: ClusterResults) -> None:
    table = clusters_by_municipality(clusters)
    with pytest.raises(SpecificationError, match="share_pupils"):
        table.wide("pupils")
    with pytest.raises(SpecificationError):
        table.wide(lang="de")


def test_settlements_that_nobody_knows(clusters: ClusterResults, schools: pd.DataFrame) -> None:
    with pytest.raises(SpecificationError, match="came without town_size"):
        settlement_mix(clusters, ["town_size"])
    bare = ClusterModel(CONDITIONS, n_clusters=2).fit(
        schools.drop(columns=["is_rural", "is_small"])
    )
    with pytest.raises(SpecificationError, match="is_rural, is_small") as caught:
        settlement_mix(bare)
    assert "добавьте их в таблицу школ" in wordings(caught.value)[1]
    empty = ClusterModel(CONDITIONS, n_clusters=2).fit(
        schools.assign(is_rural=pd.array([pd.NA] * len(schools), "boolean"))
    )
    with pytest.raises(DataError, match="no school of a cluster has a value"):
        settlement_mix(empty)


@pytest.mark.parametrize(
    "wrong",
    [{"purity": 1.2}, {"n_redraws": -1}, {"random_state": "x"}, {"columns": 3}, {"columns": []}],
)
def test_arguments_of_settlements(clusters: ClusterResults, wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecificationError, match=next(iter(wrong))):
        settlement_mix(clusters, **wrong)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"n_clusters": 1}, "n_clusters"),
        ({"n_clusters": 5}, "2, 3 or 4"),
        ({"n_clusters": 2.5}, "n_clusters"),
        ({"distance": "euclid"}, "distance"),
        ({"features": []}, "features"),
        ({"features": [3]}, "features"),
        ({"features": "low_income", "distance": "hellinger"}, "takes no features"),
        ({"n_neighbours": 0}, "n_neighbours"),
        ({"n_resamples": 10}, "n_resamples"),
    ],
)
def test_what_municipal_clusters_are_asked_for(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(SpecificationError, match=match):
        MunicipalClusters(CONDITIONS, **wrong)


def test_conditions_of_another_kind() -> None:
    with pytest.raises(SpecificationError, match=r"rs\.Conditions"):
        MunicipalClusters(["low_income"])  # type: ignore[arg-type]  # on purpose


def test_fewer_than_twenty_municipalities() -> None:
    few = region(12)
    with pytest.raises(
        SpecificationError, match=r"12 municipalities are too few.*\.neighbours"
    ) as e:
        MunicipalClusters(CONDITIONS, n_clusters=2, n_resamples=50).fit(few)
    assert "мало для кластеров" in wordings(e.value)[1]
    with pytest.warns(WeakDataWarning, match="neighbours of municipalities are listed"):
        found = MunicipalClusters(CONDITIONS, n_resamples=50).fit(few)
    assert found.n_clusters is None
    assert len(found.neighbours) == 12 * 5
    with pytest.raises(SpecificationError, match=r"read \.neighbours"):
        _ = found.profiles
    with pytest.raises(SpecificationError, match=r"read \.neighbours"):
        plot_profiles(found)
    with pytest.raises(DataError, match="at least 3"):
        MunicipalClusters(CONDITIONS).fit(region(2, per=8))


def test_features_that_cannot_be(schools: pd.DataFrame) -> None:
    many = ["low_income", "remoteness_km", "log_pupils"]
    with pytest.raises(SpecificationError, match="22 municipalities bear 2 at most"):
        MunicipalClusters(CONDITIONS, features=many).fit(schools)
    with pytest.raises(SpecificationError, match="there is no feature 'income'") as caught:
        MunicipalClusters(CONDITIONS, features="income").fit(schools)
    assert "context_spread" in wordings(caught.value)[1]
    with pytest.raises(DataError, match="'share_rural' is the same"):
        MunicipalClusters(CONDITIONS, features="share_rural").fit(schools.assign(is_rural=True))


def test_hellinger_needs_clusters_of_the_same_schools(
    clusters: ClusterResults, schools: pd.DataFrame
) -> None:
    shares = MunicipalClusters(CONDITIONS, distance="hellinger", n_resamples=50)
    with pytest.raises(SpecificationError, match="pass them"):
        shares.fit(schools)
    with pytest.raises(SpecificationError, match="distance='hellinger' alone"):
        MunicipalClusters(CONDITIONS).fit(schools, clusters=clusters)
    with pytest.raises(SpecificationError, match="of other schools"):
        shares.fit(schools.iloc[::-1], clusters=clusters)
    many = ClusterModel(CONDITIONS, n_clusters=4).fit(schools)
    with pytest.raises(SpecificationError, match="bear 3 at most"):
        shares.fit(schools, clusters=many)


@pytest.mark.parametrize("draw", [plot_profiles, plot_cluster_map])
def test_figures_of_other_things(draw: Callable[..., object]) -> None:
    with pytest.raises(SpecificationError):
        draw(3)
    with pytest.raises(DataError):
        draw(pd.DataFrame({"cluster": [1]}))
    with pytest.raises(SpecificationError):
        draw(pd.DataFrame(), lang="de")


def test_figures_of_other_values(clusters: ClusterResults) -> None:
    with pytest.raises(SpecificationError, match="value"):
        plot_cluster_map(clusters_by_municipality(clusters), value="n_schools")
