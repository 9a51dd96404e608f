"""Clusters of schools: strata, order, placed schools, names, other years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.clusters.strata import hardest_first
from resilience.clustering.fits.sizes import ClusterSizes
from resilience.clustering.selection.settings import SelectionSettings
from resilience.i18n import Bilingual

CONDITIONS = rs.Conditions(
    continuous={"remoteness_km": "linear"}, shares=["low_income", "both_parents_higher_edu"]
)


def region(n: int = 90, seed: int = 3) -> pd.DataFrame:
    """Return three kinds of schools: easy, remote, poor; a third of each is rural."""
    generator = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    return pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(n)],
            "year": 2024,
            "municipality_id": [f"M{i % 7}" for i in range(n)],
            "n_pupils": 200 + 10 * (np.arange(n) % 13),
            "is_rural": (np.arange(n) // 3) % 3 == 0,
            "remoteness_km": np.array([4.0, 40.0, 12.0])[kind] + generator.normal(size=n),
            "low_income": np.array([0.15, 0.2, 0.6])[kind] + 0.02 * generator.normal(size=n),
            "both_parents_higher_edu": np.array([0.55, 0.2, 0.15])[kind]
            + 0.02 * generator.normal(size=n),
        }
    )


def test_the_three_kinds_are_found_and_ordered_hardest_first() -> None:
    schools = region()
    found = ClusterModel(CONDITIONS, n_clusters=3).fit(schools)
    own = found.schools
    assert own["cluster"].tolist() == [3 - i % 3 for i in range(90)]
    assert own["school_id"].tolist() == schools["school_id"].tolist()
    assert (own["silhouette"] > 0.5).all()
    assert not own["placed"].any()
    assert found.n_clusters == 3
    assert found.sizes["n_schools"].tolist() == [30, 30, 30]
    assert found.sizes["n_pupils"].sum() == schools["n_pupils"].sum()


def test_a_context_index_orders_before_signs_and_ties_go_to_the_larger() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2, -1])
    schools = pd.DataFrame({"context_index": [60.0, 60.0, 40.0, 40.0, np.nan, 40.0, 1.0]})
    direction = np.array([-1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    assert hardest_first(schools, direction, labels, 3).tolist() == [2, 0, 1]
    without = schools.drop(columns="context_index")
    assert hardest_first(without, direction, labels, 3).tolist() == [0, 1, 2]
    # a cluster without a single index: the signs decide for all
    schools.loc[5, "context_index"] = np.nan
    assert hardest_first(schools, direction, labels, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", ["kmeans", "ward", "gmm"])
def test_strata_have_clusters_of_their_own_on_one_scale(method: str) -> None:
    schools = region()
    model = ClusterModel(
        CONDITIONS,
        n_clusters={"is_rural=True": 2, "is_rural=False": 3},
        method=method,
        strata="is_rural",
    )
    found = model.fit(schools)
    assert found.n_clusters == 5
    assert found.n_clusters_by_stratum == {"is_rural=False": 3, "is_rural=True": 2}
    crossed = found.schools.groupby("cluster")["stratum"].nunique()
    assert (crossed == 1).all()
    assert sorted(found.schools["cluster"].unique()) == [1, 2, 3, 4, 5]
    means = schools.assign(cluster=found.schools["cluster"]).groupby("cluster")["low_income"].mean()
    assert means.loc[1] > means.loc[5]
    whole = rs.scale_conditions(schools, CONDITIONS)
    np.testing.assert_array_equal(found.scaled.z, whole.z)  # one scale for all strata
    for part in found.parts:
        assert (found.clusters[part.fitted] == np.array(part.numbers)[part.labels]).all()
    # two clusters of three kinds leave at most about half of the variation inside
    assert found.within["share_between"].between(0.4, 1.0).all()
    assert found.sizes["within_sum_of_squares"].sum() == pytest.approx(
        found.within["within_sum_of_squares"].sum()
    )


def test_a_small_stratum_may_stay_whole() -> None:
    schools = region()
    model = ClusterModel(
        CONDITIONS, n_clusters={"is_rural=True": 1, "is_rural=False": 3}, strata="is_rural"
    )
    found = model.fit(schools)
    rural = found.schools[schools["is_rural"]]
    assert rural["cluster"].nunique() == 1
    assert rural["silhouette"].isna().all()


@pytest.mark.parametrize("method", ["kmeans", "ward", "gmm"])
def test_incomplete_schools_are_placed_by_what_is_known(method: str) -> None:
    schools = region()
    whole = ClusterModel(CONDITIONS, n_clusters=3, method=method).fit(schools)
    holed = schools.copy()
    holed.loc[[0, 1, 2], "low_income"] = np.nan
    holed.loc[[5, 8], ["remoteness_km", "both_parents_higher_edu"]] = np.nan
    with pytest.warns(rs.WeakDataWarning, match="5 schools lack"):
        found = ClusterModel(CONDITIONS, n_clusters=3, method=method).fit(holed)
    assert found.schools["cluster"].tolist() == whole.schools["cluster"].tolist()
    assert np.flatnonzero(found.placed).tolist() == [0, 1, 2, 5, 8]
    assert found.schools.loc[found.placed, "silhouette"].isna().all()
    assert found.sizes["n_placed_schools"].sum() == 5
    assert found.glance()["n_placed_schools"].item() == 5
    assert set(found.parts[0].fitted) == set(range(90)) - {0, 1, 2, 5, 8}


def test_a_school_of_which_nothing_is_known_stays_outside() -> None:
    schools = region()
    schools.loc[7, ["low_income", "remoteness_km", "both_parents_higher_edu"]] = np.nan
    with pytest.warns(rs.WeakDataWarning, match="S007"):
        found = ClusterModel(CONDITIONS, n_clusters=3).fit(schools)
    row = found.schools.iloc[7]
    assert row["cluster"] is pd.NA
    assert row["cluster_name"] is None
    assert found.glance()["n_without_cluster"].item() == 1
    assert found.sizes["n_schools"].sum() == 89


def test_placing_by_partial_distance_by_hand() -> None:
    schools = region()
    schools.loc[4, "low_income"] = np.nan
    with pytest.warns(rs.WeakDataWarning):
        found = ClusterModel(CONDITIONS, n_clusters=3).fit(schools)
    part = found.parts[0]
    known = ~np.isnan(found.scaled.weighted[4])
    gaps = found.scaled.weighted[4][known] - part.centres[:, known]
    nearest = part.numbers[int(np.argmin((gaps**2).sum(axis=1)))]
    assert found.clusters[4] == nearest


def test_sizes_are_kept() -> None:
    model = ClusterModel(CONDITIONS, n_clusters=2, sizes=ClusterSizes(smallest=40, largest=50))
    sizes = model.fit(region()).sizes["n_schools"]
    assert sizes.min() >= 40
    assert sizes.max() <= 50


def test_another_year_on_the_scale_of_the_fit() -> None:
    schools = region()
    found = ClusterModel(CONDITIONS, n_clusters=3).fit(schools)
    same = found.predict(schools)
    assert same["cluster"].tolist() == found.schools["cluster"].tolist()
    # Everybody grows poorer: on the scale of the fit schools move to harder clusters.
    later = schools.assign(year=2025, low_income=schools["low_income"] + 0.25)
    later["both_parents_higher_edu"] = (schools["both_parents_higher_edu"] - 0.25).clip(lower=0.02)
    later["remoteness_km"] = schools["remoteness_km"] + 15.0
    moved = found.predict(pd.concat([schools, later]), 2025)
    assert set(moved["year"]) == {2025}
    assert moved["cluster"].mean() < same["cluster"].mean() - 0.3
    scaled = rs.scale_conditions(later, CONDITIONS, scaling=found.scaled.scaling)
    pd.testing.assert_frame_equal(found.predict(scaled), moved)
    nearest = found.scaled.distances_to(found.parts[0].centres)
    np.testing.assert_allclose(same["distance_to_centre"], np.sqrt(nearest.min(axis=1)), rtol=1e-12)


def test_names_are_given_by_hand_and_keep_their_author() -> None:
    found = ClusterModel(CONDITIONS, n_clusters=3).fit(region())
    automatic = found.names
    assert set(automatic) == {1, 2, 3}
    assert "low-income" in automatic[1]
    named = found.renamed({1: ("far", "далёкие")}, author="Department")
    twice = named.renamed({2: "between"}, author="Methodologist")
    same = found.renamed({1: Bilingual("far", "далёкие")}, author="Department")
    assert same.names[1].ru == named.names[1].ru
    assert found.names == automatic
    assert [str(n) for n in twice.names.values()] == ["far", "between", automatic[3]]
    assert twice.names[1].ru == "далёкие"
    assert twice.sizes["name_author"].tolist() == ["Department", "Methodologist", None]
    assert "далёкие" in twice.summary("ru")
    assert set(twice.schools["cluster_name"]) == {"far", "between", automatic[3]}
    assert set(twice.predict(region())["cluster_name"]) == {"far", "between", automatic[3]}


def test_centres_in_natural_units_and_on_the_scale() -> None:
    schools = region()
    found = ClusterModel(CONDITIONS, n_clusters=3).fit(schools)
    centres = found.centres
    natural = centres[(centres["centre_scale"] == "natural") & (centres["term"] == "low_income")]
    means = schools.groupby(found.schools["cluster"])["low_income"].mean()
    np.testing.assert_allclose(natural["centre"], means, rtol=1e-12)
    scaled = centres[centres["centre_scale"] == "scaled"]
    assert len(scaled) == 9
    np.testing.assert_allclose(
        scaled["centre"].to_numpy().reshape(3, 3), found.parts[0].centres, rtol=1e-9
    )  # weights are 1


def test_weights_of_variables_decide() -> None:
    schools = region()
    generator = np.random.default_rng(0)
    schools["remoteness_km"] = generator.permutation(np.r_[np.zeros(45), np.full(45, 50.0)])
    schools["remoteness_km"] += generator.normal(size=90)
    weighted = rs.Conditions(
        continuous={"remoteness_km": "linear"},
        shares=["low_income", "both_parents_higher_edu"],
        weights={"remoteness_km": 10.0},
    )
    plain = ClusterModel(CONDITIONS, n_clusters=2).fit(schools)
    heavy = ClusterModel(weighted, n_clusters=2).fit(schools)
    remote = schools["remoteness_km"].to_numpy() > 25
    assert len(np.unique(heavy.clusters[remote])) == 1
    assert len(np.unique(plain.clusters[remote])) == 2


def test_mixtures_give_probabilities_that_add_to_one() -> None:
    schools = region()
    schools.loc[3, "low_income"] = np.nan
    with pytest.warns(rs.WeakDataWarning):
        found = ClusterModel(CONDITIONS, n_clusters=3, method="gmm", covariance="diag").fit(schools)
    sums = found.memberships().groupby("school_id")["membership_probability"].sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)
    likeliest = (
        found.memberships().sort_values("membership_probability").groupby("school_id").last()
    )
    assert likeliest["cluster"].tolist() == found.schools["cluster"].tolist()
    np.testing.assert_allclose(
        found.schools["membership_probability"], likeliest["membership_probability"]
    )
    assert np.isfinite(found.within["bic"]).all()


def test_trees_by_stratum() -> None:
    schools = region()
    one = ClusterModel(CONDITIONS, n_clusters=3, method="ward").fit(schools)
    assert one.tree.shape == (89, 4)
    parted = ClusterModel(CONDITIONS, n_clusters=2, method="ward", strata="is_rural").fit(schools)
    assert parted.tree_of("is_rural=True").shape == (schools["is_rural"].sum() - 1, 4)
    assert ClusterModel(CONDITIONS, n_clusters=3).fit(schools).tree is None


def test_scaled_schools_serve_as_the_table() -> None:
    schools = region()
    scaled = rs.scale_conditions(schools, CONDITIONS, strata=["is_rural"])
    model = ClusterModel(CONDITIONS, n_clusters=2, strata="is_rural")
    one, other = model.fit(schools), model.fit(scaled)
    pd.testing.assert_frame_equal(one.schools, other.schools)
    assert other.scaled is scaled


def test_row_order_and_column_order_change_nothing() -> None:
    schools = region()
    order = np.random.default_rng(1).permutation(90)
    turned = rs.Conditions(
        continuous={"remoteness_km": "linear"}, shares=["both_parents_higher_edu", "low_income"]
    )
    for method in ("kmeans", "ward", "gmm"):
        one = ClusterModel(CONDITIONS, n_clusters=3, method=method).fit(schools)
        shuffled = schools.iloc[order]
        other = ClusterModel(turned, n_clusters=3, method=method).fit(shuffled, random_state=5)
        assert other.clusters.tolist() == one.clusters[order].tolist()
        again = ClusterModel(CONDITIONS, n_clusters=3, method=method).fit(schools)
        pd.testing.assert_frame_equal(one.schools, again.schools)


def test_the_partitioner_repeats_the_fit() -> None:
    found = ClusterModel(CONDITIONS, n_clusters=3).fit(region())
    labels = found.partitioner()(found.scaled.weighted, 3, 7)
    table = pd.crosstab(labels, found.clusters)
    assert (table > 0).sum().sum() == 3


def test_augment_keeps_rows_and_years() -> None:
    schools = region()
    found = ClusterModel(CONDITIONS, n_clusters=3).fit(schools)
    later = schools.iloc[:5].assign(year=2025).set_index(pd.Index([9, 8, 7, 6, 5]))
    joined = found.augment(later)
    assert joined.index.tolist() == [9, 8, 7, 6, 5]
    assert joined["cluster"].tolist() == found.schools["cluster"].tolist()[:5]
    assert joined["year"].tolist() == [2025] * 5


CHEAP = SelectionSettings(n_references=20, n_splits=10, n_resamples=20, n_init=3)


def test_a_region_without_clusters_says_so_and_offers_others() -> None:
    generator = np.random.default_rng(2)
    schools = region(60).assign(
        remoteness_km=generator.normal(30, 5, size=60),
        low_income=generator.beta(8, 16, size=60),
        both_parents_higher_edu=generator.beta(8, 16, size=60),
    )
    found = ClusterModel(CONDITIONS).fit(schools, random_state=0, settings=CHEAP)
    assert found.n_clusters is None
    assert found.n_clusters_by_stratum == {"": None}
    assert found.schools["cluster"].isna().all()
    assert len(found.tidy()) == 0
    assert found.names == {}
    assert found.glance()["n_without_cluster"].item() == 60
    assert str(found.reason) in found.summary()
    assert found.selections[""].n_clusters is None
    for needs in ("sizes", "profiles", "centres"):
        with pytest.raises(rs.SpecificationError, match=r"StatisticalNeighbours.*ContextBands"):
            getattr(found, needs)
    with pytest.raises(rs.SpecificationError, match="ContextBands"):
        found.predict(schools)
    with pytest.raises(rs.SpecificationError, match="ContextBands"):
        found.renamed({1: "x"}, author="y")


def test_a_stratum_too_small_for_a_choice_has_no_clusters() -> None:
    schools = region(48).assign(is_rural=np.arange(48) < 12)
    found = ClusterModel(CONDITIONS, strata="is_rural").fit(schools, settings=CHEAP)
    assert found.n_clusters_by_stratum["is_rural=True"] is None
    assert "12 schools" in found.reasons["is_rural=True"]
    assert found.n_clusters_by_stratum["is_rural=False"] == 3
    assert found.schools.loc[:11, "cluster"].isna().all()
    assert found.schools.loc[12:, "cluster"].notna().all()
    assert found.n_clusters == 3
    assert found.glance()["number_chosen_by"].item() == "rule"
    with pytest.raises(rs.SpecificationError, match="ContextBands"):
        found.part("is_rural=True")
    assert found.predict(schools)["cluster"].isna().sum() == 12
