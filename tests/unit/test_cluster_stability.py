"""Stability of clusters and of memberships, groupings side by side, years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.clusters.results import ClusterResults
from resilience.clustering.stability.by_number import stability_by_number
from resilience.clustering.stability.compare import compare_partitions
from resilience.clustering.stability.stability import cluster_stability, stability_levels
from resilience.clustering.stability.years import clusters_over_years
from resilience.stats.clusters.partitions import Codes, Floats
from resilience.stats.clusters.resampling import replicate

CONDITIONS = rs.Conditions(
    continuous={"n_pupils": "linear", "remoteness_km": "linear"},
    errors={"remoteness_km": 0.5},
    weights={"remoteness_km": 9},
)


def region(years: tuple[int, ...] = (2024,), n: int = 60, seed: int = 3) -> pd.DataFrame:
    """Two groups far apart in remoteness, and a school halfway between them."""
    frames = []
    for year in years:
        generator = np.random.default_rng([seed, year])
        far = np.arange(n) % 2 == 1
        remoteness = np.where(far, 60.0, 10.0) + generator.normal(0, 3, size=n)
        remoteness[0] = 35.2
        frames.append(
            pd.DataFrame(
                {
                    "school_id": [f"S{i:03d}" for i in range(n)],
                    "year": year,
                    "n_pupils": 300 + generator.normal(0, 40, size=n),
                    "remoteness_km": np.abs(remoteness),
                    "is_rural": far,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def clusters() -> ClusterResults:
    return ClusterModel(CONDITIONS, n_clusters=2).fit(region(), random_state=1)


def by_remoteness(rows: Floats, n_clusters: int, seed: int) -> Codes:
    """Cut the first column at zero, whatever the rows: a method that can be followed by hand."""
    return (rows[:, 0] > 0).astype(np.int64)


def test_a_replicate_by_hand() -> None:
    rows = np.array([[-2.0], [-1.0], [-0.5], [1.0], [2.0], [3.0]])
    labels = np.array([0, 0, 1, 1, 1, 1])
    # whatever is drawn, the third row moves to the lower cluster, which is then {0, 1, 2}
    found = replicate(rows, labels, by_remoteness, seed=1, scheme="noise", redrawn=lambda g: rows)
    assert found.jaccard == pytest.approx([2 / 3, 3 / 4])
    assert found.assigned.tolist() == [0, 0, 0, 1, 1, 1]


def test_levels_of_stability() -> None:
    values = np.array([0.85, 0.84, 0.75, 0.74, 0.6, 0.59, 0.51, 0.5, 0.2])
    assert stability_levels(values) == [
        "highly_stable",
        "stable",
        "stable",
        "pattern",
        "pattern",
        "not_trusted",
        "not_trusted",
        "dissolved",
        "dissolved",
    ]


@pytest.mark.parametrize("scheme", ["bootstrap", "subset", "noise"])
def test_groups_far_apart_are_stable_and_the_school_between_is_not(
    clusters: ClusterResults, scheme: str
) -> None:
    found = cluster_stability(clusters, n_resamples=60, scheme=scheme, random_state=2)  # type: ignore[arg-type]  # one of the schemes
    assert found.all_stable
    assert found.clusters["n_schools"].sum() == 60
    assert found.clusters["n_recovered"].tolist() == [60, 60]
    schools = found.schools.set_index("school_id")
    assert (schools["membership_stability"].drop("S000") == 1.0).all()
    between = schools.loc["S000"]
    assert between["membership_stability"] + between["other_share"] == pytest.approx(1.0)
    if scheme != "noise":
        assert between["membership_stability"] < 1.0
        assert between["other_cluster"] == 3 - between["cluster"]


def test_workers_change_nothing(clusters: ClusterResults) -> None:
    one = cluster_stability(clusters, n_resamples=50, random_state=7)
    two = cluster_stability(clusters, n_resamples=50, random_state=7, n_jobs=2)
    assert one.clusters.equals(two.clusters)
    assert one.schools.equals(two.schools)


def test_strata_are_resampled_apart() -> None:
    model = ClusterModel(CONDITIONS, n_clusters=2, strata=["is_rural"])
    found = cluster_stability(model.fit(region(n=80), random_state=1), n_resamples=50)
    assert found.clusters["stratum"].nunique() == 2
    assert found.schools["school_id"].tolist() == [f"S{i:03d}" for i in range(80)]


def test_stability_prints_in_two_languages(clusters: ClusterResults) -> None:
    found = cluster_stability(clusters, n_resamples=50, random_state=2)
    assert "очень устойчив" in found.summary("ru")
    assert "highly_stable" in found.summary()
    added = found.augment(region())
    assert added["membership_verdict"].notna().all()


def test_groupings_side_by_side_by_hand() -> None:
    one = pd.DataFrame({"school_id": list("abcdef"), "cluster": [1, 1, 1, 2, 2, 2]})
    other = pd.DataFrame({"school_id": list("abcdeg"), "cluster": ["x", "x", "y", "y", "y", "y"]})
    found = compare_partitions(one, other)
    matching = found.matching.set_index("cluster")
    assert matching.loc[1, "other_cluster"] == "x"
    assert matching.loc[1, "jaccard"] == pytest.approx(2 / 3)
    assert matching.loc[2, "jaccard"] == pytest.approx(2 / 3)
    assert found.schools.set_index("school_id")["moved"].to_dict() == {
        "a": False,
        "b": False,
        "c": True,
        "d": False,
        "e": False,
    }
    assert (found.n_only_here, found.n_only_there) == (1, 1)


def test_the_rand_index_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import adjusted_rand_score

    generator = np.random.default_rng(1)
    for n_clusters in (2, 5):
        a, b = generator.integers(0, n_clusters, size=(2, 70))
        frames = [
            pd.DataFrame({"school_id": np.arange(70), "cluster": labels}) for labels in (a, b)
        ]
        assert compare_partitions(*frames).adjusted_rand == pytest.approx(adjusted_rand_score(a, b))


def test_clusters_without_partner_are_shown() -> None:
    one = pd.DataFrame({"school_id": list("abcd"), "cluster": [1, 1, 2, 2]})
    other = pd.DataFrame({"school_id": list("abcd"), "cluster": [1, 2, 3, 3]})
    found = compare_partitions(one, other)
    assert found.matching["cluster"].isna().sum() == 1
    assert found.adjusted_rand < 1


def test_labels_mean_the_same_in_every_year() -> None:
    schools = region((2022, 2023, 2024))
    # one school changes sides for good
    schools.loc[(schools["school_id"] == "S004") & (schools["year"] > 2022), "remoteness_km"] = 61.0
    model = ClusterModel(CONDITIONS, n_clusters=2)
    found = clusters_over_years(model, schools, random_state=1)
    assert found.base_year == 2022
    assert set(found.matching["cluster_status"]) == {"matched"}
    wide = found.schools.set_index(["school_id", "year"])["cluster"].unstack()  # noqa: PD010 - one value a cell
    assert wide.loc["S004", 2022] != wide.loc["S004", 2023]
    others = wide.drop(index=["S000", "S004"])
    assert (others[2022] == others[2024]).all()
    row = found.stayed.set_index("year").loc[2022]
    assert row["share_stayed"] >= 58 / 60
    sums = found.transitions.groupby(["year", "cluster"])["share_of_cluster"].sum()
    assert sums.to_numpy() == pytest.approx(np.ones(len(sums)))
    backwards = clusters_over_years(model, schools, base_year=2024, random_state=1)
    assert backwards.fits[2022].scaled.scaling is backwards.fits[2024].scaled.scaling


def test_new_and_gone_clusters_are_told() -> None:
    # blocks of four schools: near and remote at first, later parted crosswise by size
    remote = np.repeat([1.0, 1, 1, 1, 1, 1, 90, 90, 90, 90], 4)
    large = np.repeat([3.0, 1, 1, 1, 1, 1, 1, 1, 3, 3], 4)
    names = [f"{block}{i}" for block in "abcdefghij" for i in range(4)]
    slight = 0.01 * np.arange(40)
    schools = pd.concat(
        [
            pd.DataFrame(
                {
                    "school_id": names,
                    "year": year,
                    "n_pupils": 100.0 * (large if crosswise else 1 + slight),
                    "remoteness_km": 5.0 + slight if crosswise else remote,
                }
            )
            for year, crosswise in ((2022, False), (2023, True), (2024, True))
        ]
    )
    conditions = rs.Conditions(
        continuous={"n_pupils": "linear", "remoteness_km": "linear"}, weights={"remoteness_km": 9}
    )
    found = clusters_over_years(
        ClusterModel(conditions, n_clusters=2), schools, least_jaccard=0.6, random_state=1
    )
    # later the large a, i, j stand apart from b ... h: these have 5 blocks of 8 in common with the
    # near a ... f (.625: the same cluster), the large have 2 of 5 with the remote (.4: a new one)
    for year in (2023, 2024):
        own = found.matching[found.matching["year"] == year].set_index("cluster_status")
        labels = found.schools[found.schools["year"] == year].set_index("school_id")["cluster"]
        assert own.loc["matched", "jaccard"] == pytest.approx(5 / 8)
        assert own.loc["new", "cluster"] == 3  # the same number in both years
        assert labels[["a0", "i1", "j3"]].tolist() == [3, 3, 3]
        assert labels["b0"] == own.loc["matched", "cluster"]
        assert own.loc["gone", "cluster"] != own.loc["matched", "cluster"]
        assert pd.isna(own.loc["gone", "own_cluster"])
    stayed = found.stayed.set_index("year")["share_stayed"]
    assert stayed.to_dict() == {2022: 0.5, 2023: 1.0}
    assert found.glance()["n_new_clusters"].item() == 1


def test_stability_by_number() -> None:
    scaled = rs.scale_conditions(region(n=90), CONDITIONS)
    table = stability_by_number(scaled, k=(2, 6), n_resamples=20, random_state=1).set_index("k")
    assert table.loc[2, "jaccard_min"] > 0.9
    assert table.loc[2, "n_stable"] == 2
    assert table.loc[6, "jaccard_min"] < table.loc[2, "jaccard_min"]
    assert table.loc[6, "share_neighbours_outside"] > table.loc[2, "share_neighbours_outside"]
