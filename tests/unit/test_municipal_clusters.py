"""Municipal clusters, settlements and municipalities: what the tables promise."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.conditions.scaled import scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.clustering.municipal.features import most_features
from resilience.clustering.municipal.model import MunicipalClusters
from resilience.clustering.municipal.results import MunicipalClusterResults
from resilience.clustering.profiles.municipalities import clusters_by_municipality
from resilience.clustering.profiles.outcomes import cluster_outcomes
from resilience.clustering.profiles.settlements import kept_when_redrawn, settlement_mix
from resilience.errors import SpecificationError
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.cluster_map import plot_cluster_map
from resilience.plotting.profiles import bare_name, plot_profiles

CONDITIONS = Conditions(continuous=["remoteness_km"], shares=["low_income"])


def grouped_region(gap: float = 1.5, per: int = 8, seed: int = 4) -> pd.DataFrame:
    """Return 24 municipalities: near and poor, near and rich, far; the last has one school."""
    rng = np.random.default_rng(seed)
    rows = []
    for m in range(24):
        kind = m % 3
        for _ in range(1 if m == 23 else per):
            number = rng.normal()
            rows.append(
                {
                    "municipality_id": f"M{m:02d}",
                    "n_pupils": int(rng.integers(150, 600)),
                    "remoteness_km": float(np.exp(1.5 + gap * (kind == 2) + 0.25 * number)),
                    "low_income": float(
                        np.clip(0.25 + 0.2 * gap * (kind == 0) + 0.05 * rng.normal(), 0.01, 0.99)
                    ),
                    "is_rural": bool(kind == 2),
                    "is_small": False,
                }
            )
    table = pd.DataFrame(rows)
    table.insert(0, "school_id", [f"S{i:03d}" for i in range(len(table))])
    return table


@pytest.fixture(scope="module")
def region() -> pd.DataFrame:
    return grouped_region()


@pytest.fixture(scope="module")
def found(region: pd.DataFrame) -> MunicipalClusterResults:
    model = MunicipalClusters(CONDITIONS, features=["remoteness_km", "low_income"], n_resamples=100)
    return model.fit(region, random_state=3)


def test_as_many_features_as_municipalities_bear() -> None:
    assert [most_features(m) for m in (3, 20, 23, 24, 40, 57)] == [2, 2, 2, 3, 5, 7]


def test_three_kinds_of_municipalities_are_told_apart(found: MunicipalClusterResults) -> None:
    assert found.n_clusters == 3
    kinds = found.municipalities["municipality_id"].str[1:].astype(int) % 3
    assert pd.crosstab(kinds, found.municipalities["cluster"]).gt(0).sum().tolist() == [1, 1, 1]
    assert (found.clusters["jaccard"] > 0.95).all()
    assert set(found.clusters["stability_level"]) == {"highly_stable"}
    assert found.k_table.set_index("k")["accepted"].loc[3]


def test_the_hardest_municipalities_come_first(found: MunicipalClusterResults) -> None:
    # poverty of kind 0 lies further out than remoteness of kind 2; kind 1 has neither
    names = [name.en for name in found.names.values()]
    assert "near a centre" not in names[0]
    assert "few low-income families" in names[2] or "near a centre" in names[2]
    context = found.scaled.direction
    places = found.scaled.schools["municipality_id"].map(
        found.municipalities.set_index("municipality_id")["cluster"]
    )
    means = pd.Series(context).groupby(places.to_numpy()).mean()
    assert means.is_monotonic_increasing


def test_a_municipality_of_one_school_is_marked(found: MunicipalClusterResults) -> None:
    alone = found.municipalities.set_index("municipality_id")["one_school"]
    assert alone[alone].index.tolist() == ["M23"]
    assert int(found.glance()["n_one_school"].iloc[0]) == 1
    assert any("single school" in note for note in found.notes)


def test_one_seed_one_answer(region: pd.DataFrame, found: MunicipalClusterResults) -> None:
    model = MunicipalClusters(CONDITIONS, features=["remoteness_km", "low_income"], n_resamples=100)
    again = model.fit(region, random_state=3)
    pd.testing.assert_frame_equal(found.municipalities, again.municipalities)
    pd.testing.assert_frame_equal(found.k_table, again.k_table)
    other = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(found.neighbours, other.neighbours)


def test_scaled_schools_are_taken_as_they_are(
    region: pd.DataFrame, found: MunicipalClusterResults
) -> None:
    model = MunicipalClusters(CONDITIONS, features=["remoteness_km", "low_income"], n_resamples=100)
    same = model.fit(scale_conditions(region, CONDITIONS), random_state=3)
    pd.testing.assert_frame_equal(found.clusters, same.clusters)


def test_a_number_asked_for_keeps_its_faults(region: pd.DataFrame) -> None:
    forced = MunicipalClusters(CONDITIONS, n_clusters=4, n_resamples=50).fit(region)
    assert forced.n_clusters == 4
    assert forced.reason.startswith("4 clusters were asked for, although")
    assert "в наименьшем кластере 1 муниципалитет" in forced.reason.ru
    both = ["remoteness_km", "low_income"]
    kept = MunicipalClusters(CONDITIONS, n_clusters=3, features=both, n_resamples=50).fit(region)
    assert kept.reason.startswith("3 clusters were asked for: found again")


def test_the_default_takes_the_most_reliable_features(region: pd.DataFrame) -> None:
    default = MunicipalClusters(CONDITIONS, n_resamples=50).fit(region)
    table = default.features.set_index("feature")
    used = table[table["feature_used"]]
    assert len(used) == most_features(24) == 3
    assert list(default.feature_values.columns) == ["municipality_id", *used.index]
    # is_rural repeats remoteness (both tell kind 2 apart): never both
    assert not {"remoteness_km", "share_rural"} <= set(used.index)
    assert np.isnan(table.loc["share_small", "feature_reliability"])


def test_shares_of_school_clusters(region: pd.DataFrame) -> None:
    clusters = ClusterModel(CONDITIONS, n_clusters=3).fit(region)
    found = MunicipalClusters(CONDITIONS, distance="hellinger", n_resamples=100).fit(
        region, clusters=clusters
    )
    assert found.n_clusters == 3
    assert found.neighbours["distance"].between(0, 1).all()
    shares = found.feature_values.drop(columns="municipality_id")
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(24))


def test_nobody_is_dropped_from_the_tables(region: pd.DataFrame) -> None:
    clusters = ClusterModel(CONDITIONS, n_clusters=3).fit(region)
    table = clusters_by_municipality(clusters)
    assert table.table["n_schools"].sum() == len(region)
    assert len(table.table) == 24 * 3
    kinds = dict(
        zip(
            table.municipalities["municipality_id"],
            table.municipalities["settlement"],
            strict=True,
        )
    )
    assert kinds["M02"] == "rural"
    assert kinds["M01"].ru == "город"
    assert table.glance()["n_mixed"].iloc[0] == 0
    joined = table.augment(pd.DataFrame({"municipality_id": ["M02", "M99"]}))
    assert joined["n_schools"].isna().tolist() == [False, True]


def test_a_mixed_municipality() -> None:
    region = grouped_region().assign(is_rural=lambda t: t.index % 2 == 0)
    table = clusters_by_municipality(ClusterModel(CONDITIONS, n_clusters=2).fit(region))
    assert (table.municipalities["settlement"] == "mixed").sum() == 23
    assert table.municipalities["share_rural"].iloc[0] == pytest.approx(0.5)


def test_clusters_that_repeat_the_settlement(region: pd.DataFrame) -> None:
    clusters = ClusterModel(Conditions(continuous=["remoteness_km"]), n_clusters=2).fit(region)
    mix = settlement_mix(clusters)
    assert mix.adjusted_rand > 0.95
    assert mix.cramers_v > 0.95
    assert mix.notes[0].startswith("the clusters repeat the kind of school")
    assert set(mix.clusters["mix"]) == {"one kind"}
    parted = ClusterModel(CONDITIONS, n_clusters=2, strata=["is_rural"]).fit(region)
    assert settlement_mix(parted).notes[0].startswith("the clusters were fitted inside is_rural")


def test_a_school_out_of_place(region: pd.DataFrame) -> None:
    odd = region.assign(is_rural=region["is_rural"] ^ (region.index == 0))
    clusters = ClusterModel(Conditions(continuous=["remoteness_km"]), n_clusters=2).fit(odd)
    mix = settlement_mix(clusters, "is_rural")
    out = mix.schools.loc[mix.schools["out_of_place"], "school_id"].tolist()
    assert out == ["S000"]
    assert mix.augment(odd)["out_of_place"].sum() == 1
    assert mix.kinds["settlement"].tolist() == ["city schools", "rural schools"]


def test_small_schools_lose_their_label_by_chance() -> None:
    rng = np.random.default_rng(0)
    n = 120
    region = pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(n)],
            "n_pupils": np.where(np.arange(n) < 60, 12, 1000),
            "low_income": np.repeat([0.25, 0.5], 30).tolist() * 2,
            "remoteness_km": rng.uniform(1, 30, n),
            "is_small": np.arange(n) < 60,
            "is_rural": True,
        }
    )
    region["low_income"] = np.where(
        region["is_small"],
        rng.binomial(12, region["low_income"]) / 12,
        region["low_income"] + 0.02 * rng.normal(size=n),
    )
    clusters = ClusterModel(Conditions(shares=["low_income"]), n_clusters=2).fit(region)
    kinds = settlement_mix(clusters).kinds.set_index("settlement")["kept_when_redrawn"]
    assert kinds["rural schools"] > 0.999
    assert kinds["small rural schools"] < 0.95
    steady = kept_when_redrawn(
        scale_conditions(region, Conditions(continuous=["remoteness_km"])),
        1 + (region["remoteness_km"] > 15).to_numpy(dtype=np.int64),
        20,
        0,
    )
    assert (steady == 1.0).all()  # numbers without stated errors do not move


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_figures_in_both_languages(
    region: pd.DataFrame, found: MunicipalClusterResults, lang: str
) -> None:
    clusters = ClusterModel(CONDITIONS, n_clusters=3).fit(region)
    for source in (clusters, found, clusters.profiles):
        ax = plot_profiles(source, lang=lang)
        words = [t.get_text() for t in ax.get_xticklabels()]
        assert words[-1] == {"en": "region", "ru": "регион"}[lang]
        assert len(ax.texts) == len(words) * len(ax.get_yticklabels())
        again = plot_profiles(source, lang=lang)
        assert figure_bytes(ax, "png", dpi=50) == figure_bytes(again, "png", dpi=50)
    table = clusters_by_municipality(clusters)
    for value in ("share_schools", "share_pupils"):
        ax = plot_cluster_map(table, value=value, lang=lang)
        assert len(ax.get_yticklabels()) == 24
        assert sum(int(t.get_text()) for t in ax.texts) == len(region)
    name = bare_name(clusters.names[1], lang)
    assert "%" not in name
    assert "(" not in name


def test_summaries_speak_both_languages(
    region: pd.DataFrame, found: MunicipalClusterResults
) -> None:
    clusters = ClusterModel(CONDITIONS, n_clusters=2).fit(region)
    scores = region.assign(mean_score=np.arange(len(region), dtype=float))
    outcomes = cluster_outcomes(clusters, scores, column="mean_score")
    for result in (found, outcomes, settlement_mix(clusters), clusters_by_municipality(clusters)):
        assert result.summary() != result.summary("ru")
        assert "nan" not in result.summary("ru")


def test_results_of_the_year_of_the_clusters(region: pd.DataFrame) -> None:
    table = pd.concat([region.assign(year=y, mean_score=float(y)) for y in (2020, 2021)])
    clusters = ClusterModel(CONDITIONS, n_clusters=2).fit(table, year=2020)
    outcomes = cluster_outcomes(clusters, table, column="mean_score")
    assert outcomes.mean == 2020.0
    assert np.isnan(outcomes.eta_squared)


def test_too_few_municipalities_still_have_neighbours() -> None:
    region = rs.load_dataset("north_region").schools
    conditions = Conditions(shares=["low_income", "both_parents_higher_edu"])
    with pytest.warns(rs.WeakDataWarning):
        found = MunicipalClusters(conditions, n_resamples=50).fit(region)
    assert found.n_clusters is None
    pd.testing.assert_frame_equal(found.tidy(), found.neighbours)
    assert found.neighbours["retention"].between(0, 1).all()
    with pytest.raises(SpecificationError, match="11 municipalities are too few"):
        _ = found.profiles
