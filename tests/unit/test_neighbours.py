"""Statistical neighbours: cut lists, learnt weights, maps, tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.neighbours.geography import remoteness
from resilience.clustering.neighbours.metrics import supervised_weights
from resilience.clustering.neighbours.model import StatisticalNeighbours
from resilience.clustering.neighbours.overlap import neighbour_overlap, neighbour_overlap_between
from resilience.clustering.neighbours.search import nearest_schools
from resilience.stats.clusters.geography import great_circle_km

CONDITIONS = rs.Conditions(
    continuous=["n_pupils", "remoteness_km"],
    shares=["both_parents_higher_edu", "single_parent", "low_income", "non_native_russian"],
)


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return rs.load_dataset("north_region").schools


def test_no_school_is_compared_with_strangers(schools: pd.DataFrame) -> None:
    with pytest.warns(rs.WeakDataWarning, match="177 schools"):
        none = StatisticalNeighbours(CONDITIONS, caliper=0.0).fit(schools)
    assert (none.quality["verdict"] == "insufficient_data").all()
    assert len(none.neighbours) == 0
    assert "no school in the region is like this one" in none.quality["reason"].iloc[0]
    some = StatisticalNeighbours(CONDITIONS).fit(schools)
    assert some.neighbours["distance"].max() <= 0.75
    assert some.neighbours.groupby("school_id").size().between(5, 15).all()
    alone = some.quality["verdict"] == "insufficient_data"
    assert len(some.quality) == 177
    assert some.quality.loc[alone, "reason"].str.len().gt(0).all()
    assert some.quality.loc[alone, "distance_mean"].isna().all()


def test_weights_follow_what_predicts() -> None:
    generator = np.random.default_rng(2)
    values = generator.standard_normal((4000, 3))
    outcome = 2.0 * values[:, 0] + 1.0 * values[:, 1] + generator.standard_normal(4000)
    weights = supervised_weights(values, ("a", "b", "c"), ("a", "b", "c"), outcome)
    # .75·(4, 1, 0)/5 + .25/3
    assert weights == pytest.approx([0.6833, 0.2333, 0.0833], abs=0.02)
    joined = supervised_weights(values, ("a", "ab", "ab"), ("a", "ab"), outcome)
    assert joined == pytest.approx([0.75 * 0.8 + 0.125, 0.75 * 0.2 + 0.125], abs=0.02)


def test_supervised_weights_come_from_earlier_years(schools: pd.DataFrame) -> None:
    model = StatisticalNeighbours(CONDITIONS, metric="supervised", outcome="mean_score")
    found = model.fit(schools)
    spoilt = schools.copy()
    spoilt.loc[spoilt["year"] == 2025, "mean_score"] = 0.0
    assert model.fit(spoilt).neighbours.equals(found.neighbours)
    weights = found.weights_of_variables.set_index("term")["metric_weight"]
    assert weights.sum() == pytest.approx(1.0)
    assert weights.idxmax() == "both_parents_higher_edu"
    one_year = model.fit(schools[schools["year"] == 2025])
    assert one_year.metric_weights is not None
    assert len(one_year.metric_weights.weights) == 10
    given = model.fit(schools[schools["year"] == 2025], history=schools[schools["year"] < 2025])
    assert given.neighbours.equals(found.neighbours)


def test_the_order_of_rows_changes_no_weight(schools: pd.DataFrame) -> None:
    model = StatisticalNeighbours(CONDITIONS, metric="supervised", outcome="mean_score")
    now = schools[schools["year"] == 2025]
    one, two = model.fit(now), model.fit(now.sample(frac=1.0, random_state=3))
    key = ["school_id", "neighbour_rank"]
    names = [*key, "neighbour_id"]
    assert (
        one.neighbours.sort_values(key)[names].to_numpy().tolist()
        == two.neighbours.sort_values(key)[names].to_numpy().tolist()
    )


def test_mahalanobis_needs_every_condition(schools: pd.DataFrame) -> None:
    now = schools[schools["year"] == 2025].reset_index(drop=True)
    now.loc[4, "low_income"] = np.nan
    with pytest.warns(rs.WeakDataWarning):
        found = StatisticalNeighbours(CONDITIONS, metric="mahalanobis", caliper=None).fit(now)
    row = found.quality.iloc[4]
    assert row["verdict"] == "insufficient_data"
    assert "needs all of them" in row["reason"]
    assert (found.quality["verdict"].drop(index=4) == "enough").all()


def test_ties_are_decided_by_id_and_told() -> None:
    rows = np.array([[0.0], [1.0], [-1.0], [1.0], [5.0]])
    everyone = np.ones(5, dtype=bool)
    found = nearest_schools(
        rows,
        np.array([0, 3, 2, 1, 4]),
        np.arange(5),
        n_nearest=2,
        queries=everyone,
        candidates=everyone,
    )
    assert found.index[0].tolist() == [3, 2]  # three schools at 1; the ids say 3, 2, then 1
    assert found.tied[0]
    assert not found.tied[4] or found.distance[4, 1] == found.distance[4, 0]


def test_a_triangular_kernel_falls_to_the_caliper(schools: pd.DataFrame) -> None:
    found = StatisticalNeighbours(CONDITIONS, kernel="triangular").fit(schools)
    one = found.neighbours[found.neighbours["school_id"] == found.neighbours["school_id"].iloc[0]]
    raw = 1.0 - one["distance"] / 0.75
    assert one["weight"].to_numpy() == pytest.approx((raw / raw.sum()).to_numpy())


def test_great_circles() -> None:
    # a degree of latitude is 111.195 km on the mean sphere; a quarter of the equator 10,007.6 km
    assert great_circle_km(np.array([43.0, 42.0]), np.array([44.0, 42.0])) == pytest.approx(
        111.195, abs=0.001
    )
    assert great_circle_km(np.array([0.0, 0.0]), np.array([0.0, 90.0])) == pytest.approx(
        10007.557, abs=0.001
    )


def test_remoteness_by_brute_force(schools: pd.DataFrame) -> None:
    now = schools[schools["year"] == 2025].reset_index(drop=True)
    centres = dict.fromkeys(now["municipality_id"].unique(), (43.0, 42.0))
    found = remoteness(now, n_nearest=3, centres=centres)
    places = now[["latitude", "longitude"]].to_numpy()
    whole = great_circle_km(places[:, None, :], places[None, :, :])
    np.fill_diagonal(whole, np.inf)
    nearest = np.sort(whole, axis=1)[:, :3].mean(axis=1)
    assert found["nearest_schools_km"].to_numpy() == pytest.approx(nearest, rel=1e-9)
    assert found["centre_km"].to_numpy() == pytest.approx(
        great_circle_km(places, np.array([43.0, 42.0]))
    )


def test_lists_show_the_map(schools: pd.DataFrame) -> None:
    found = StatisticalNeighbours(CONDITIONS, coordinates=("latitude", "longitude")).fit(schools)
    row = found.neighbours.iloc[0]
    now = schools[schools["year"] == 2025].set_index("school_id")[["latitude", "longitude"]]
    one, other = (now.loc[row[c]].to_numpy(dtype=float) for c in ("school_id", "neighbour_id"))
    assert row["distance_km"] == pytest.approx(great_circle_km(one, other))


def test_the_table_for_the_appendix(schools: pd.DataFrame) -> None:
    found = StatisticalNeighbours(CONDITIONS).fit(schools)
    school = found.neighbours["school_id"].iloc[0]
    table = found.table(school)
    assert table["school_id"].iloc[0] == school
    assert table["neighbour_rank"].iloc[0] == 0
    inside = table.iloc[1:-1]
    assert table["low_income"].iloc[-1] == pytest.approx(inside["low_income"].mean())
    assert "Сосед" not in found.table(school, lang="en").columns
    assert "Расстояние" in found.table(school, lang="ru").columns
    assert found.table(school, lang="ru").iloc[-1, 0] == "соседи, среднее"


def test_lists_of_two_years_share_most(schools: pd.DataFrame) -> None:
    model = StatisticalNeighbours(CONDITIONS)
    this = model.fit(schools)
    before = model.fit(schools, 2024, scaling=this.scaled.scaling)
    shared = neighbour_overlap_between(this, before)
    assert shared["overlap"].between(0, 1).all()
    chance = 15 / 176
    assert shared["overlap"].mean() > 4 * chance
    assert (neighbour_overlap_between(this, this)["overlap"] == 1.0).all()


def test_overlap_does_not_depend_on_workers(schools: pd.DataFrame) -> None:
    found = StatisticalNeighbours(CONDITIONS).fit(schools)
    one = neighbour_overlap(found, n_resamples=8, random_state=3)
    two = neighbour_overlap(found, n_resamples=8, random_state=3, n_jobs=2)
    assert one.schools.equals(two.schools)
    assert "один из многих" in one.summary("ru") or (one.glance()["n_one_of_many"] == 0).all()


def test_hubs_are_counted(schools: pd.DataFrame) -> None:
    found = StatisticalNeighbours(CONDITIONS).fit(schools)
    hubs = found.hubness.iloc[0]
    times = found.neighbours["neighbour_id"].value_counts()
    assert hubs["most_named"] == times.max()
    assert hubs["share_never_named"] == pytest.approx(1 - len(times) / 177)
