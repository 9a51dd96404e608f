"""What clusters refuse, and what they say then."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.fits.algorithms import fit_clusters, fit_partition, partitioner
from resilience.clustering.fits.sizes import ClusterSizes

CYRILLIC = re.compile("[А-Яа-яЁё]{3}")
CONDITIONS = rs.Conditions(
    continuous={"remoteness_km": "linear"}, shares=["low_income", "single_parent"]
)


def region(n: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "school_id": [f"S{i:03d}" for i in range(n)],
            "n_pupils": 300,
            "is_rural": np.arange(n) % 4 == 0,
            "school_type": np.where(np.arange(n) % 3 == 0, "gymnasium", "school"),
            "remoteness_km": generator.uniform(0, 40, size=n),
            "low_income": generator.beta(3, 6, size=n),
            "single_parent": generator.beta(3, 6, size=n),
        }
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clusters": 1}, "n_clusters.*at least 2"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 2.5}, "n_clusters"),
        ({"n_clusters": True}, "n_clusters"),
        ({"n_clusters": {"is_rural=True": 0}}, "is_rural=True"),
        ({"n_clusters": {3: 2}}, "n_clusters"),
        ({"method": "dbscan"}, "'kmeans', 'ward', 'gmm'"),
        ({"covariance": "round"}, "spherical"),
        ({"n_init": 0}, "n_init"),
        ({"strata": 7}, "strata"),
        ({"sizes": 10}, "ClusterSizes"),
        ({"sizes": ClusterSizes(smallest=5), "method": "ward"}, "kmeans"),
        ({"sizes": ClusterSizes(smallest=5), "method": "gmm"}, "kmeans"),
    ],
)
def test_models_that_are_not_well_formed(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(rs.SpecificationError, match=message) as caught:
        ClusterModel(CONDITIONS, **arguments)
    assert CYRILLIC.search(caught.value.localized("ru"))


def test_conditions_are_conditions() -> None:
    with pytest.raises(rs.SpecificationError, match="conditions"):
        ClusterModel(["low_income"], n_clusters=3)


def test_a_mixture_of_categories_is_refused_by_name() -> None:
    nominal = rs.Conditions(shares=["low_income"], nominal=["school_type"])
    with pytest.raises(rs.SpecificationError, match=r"school_type.*kmeans"):
        ClusterModel(nominal, n_clusters=2, method="gmm")
    ordinal = rs.Conditions(shares=["low_income"], ordinal={"is_rural": [False, True]})
    with pytest.raises(rs.SpecificationError, match="is_rural"):
        ClusterModel(ordinal, n_clusters=2, method="gmm")


def test_bounds_that_cross_or_are_no_counts() -> None:
    with pytest.raises(rs.SpecificationError, match="smallest=9 exceeds largest=4"):
        ClusterSizes(smallest=9, largest=4)
    with pytest.raises(rs.SpecificationError, match="smallest"):
        ClusterSizes(smallest=0)
    with pytest.raises(rs.SpecificationError, match="largest"):
        ClusterSizes(largest=1.5)


def test_bounds_that_cannot_be_kept_name_the_possible_ones() -> None:
    small = ClusterModel(CONDITIONS, n_clusters=4, sizes=ClusterSizes(smallest=16))
    with pytest.raises(rs.DataError, match="smallest=15 is possible"):
        small.fit(region())
    large = ClusterModel(CONDITIONS, n_clusters=4, sizes=ClusterSizes(largest=14))
    with pytest.raises(rs.DataError, match="largest=15 is needed"):
        large.fit(region())
    exact = ClusterModel(CONDITIONS, n_clusters=4, sizes=ClusterSizes(smallest=15, largest=15))
    assert exact.fit(region()).sizes["n_schools"].tolist() == [15] * 4


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # three points correlate
def test_more_clusters_than_distinct_schools() -> None:
    schools = region()
    columns = ["remoteness_km", "low_income", "single_parent"]
    schools[columns] = schools.loc[np.arange(60) % 3, columns].to_numpy()
    model = ClusterModel(CONDITIONS, n_clusters=4)
    with pytest.raises(rs.DataError, match=r"4 clusters.*60 schools.*only 3"):
        model.fit(schools)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # six points as well
def test_fewer_schools_than_clusters() -> None:
    model = ClusterModel(CONDITIONS, n_clusters=8)
    with pytest.raises(rs.DataError, match="8 clusters were asked for"):
        model.fit(region(6))


def test_a_stratum_with_too_few_schools_is_named() -> None:
    schools = region().assign(is_rural=[True] * 2 + [False] * 58)
    with pytest.raises(rs.DataError, match="stratum: is_rural=True"):
        ClusterModel(CONDITIONS, n_clusters=3, strata="is_rural").fit(schools)


def test_many_clusters_warn() -> None:
    with pytest.warns(rs.WeakDataWarning, match="fewer than ten schools"):
        ClusterModel(CONDITIONS, n_clusters=7).fit(region())
    with pytest.warns(rs.WeakDataWarning, match="is_rural=True"):
        ClusterModel(CONDITIONS, n_clusters=2, strata="is_rural").fit(region())
    ClusterModel(CONDITIONS, n_clusters=6).fit(region())  # exactly ten each: no warning


def test_strata_of_a_mapping_are_all_and_only_those() -> None:
    for wrong in ({"is_rural=True": 1}, {"is_rural=True": 1, "is_rural=False": 2, "rural": 2}):
        model = ClusterModel(CONDITIONS, n_clusters=wrong, strata="is_rural")
        with pytest.raises(rs.SpecificationError, match="'is_rural=False', 'is_rural=True'"):
            model.fit(region())


def test_large_trees_are_refused_before_they_fill_the_memory() -> None:
    rows = np.random.default_rng(0).normal(size=(20_001, 1))
    with pytest.raises(rs.SpecificationError, match=r"20,001.*kmeans"):
        fit_clusters(rows, 3, method="ward")


def test_collapsed_components_are_refused() -> None:
    generator = np.random.default_rng(0)
    rows = np.vstack([generator.normal(size=(60, 4)), np.full((3, 4), 30.0)])
    rows[-1] += 0.01
    with pytest.raises(rs.DataError, match=r"collapsed.*3.0 schools.*5"):
        fit_clusters(rows, 2, method="gmm")
    schools = region()
    schools.loc[:1, ["remoteness_km", "low_income", "single_parent"]] = [400.0, 0.95, 0.95]
    with pytest.raises(rs.DataError, match="collapsed"):
        ClusterModel(CONDITIONS, n_clusters=2, method="gmm").fit(schools)


def test_arrays_with_gaps_and_unknown_methods() -> None:
    rows = np.ones((4, 2))
    rows[0, 0] = np.nan
    with pytest.raises(rs.DataError, match="1 row lacks"):
        fit_clusters(rows, 2)
    with pytest.raises(rs.SpecificationError, match="kmeans"):
        fit_partition(np.ones((3, 1)), 1, method="median")
    with pytest.raises(rs.SpecificationError, match="kmeans"):
        partitioner("median")
    with pytest.raises(rs.DataError, match="only 1 differ"):
        fit_clusters(np.ones((3, 1)), 2)


def test_scaled_schools_of_something_else() -> None:
    schools = region()
    scaled = rs.scale_conditions(schools, CONDITIONS)
    with pytest.raises(rs.SpecificationError, match="strata"):
        ClusterModel(CONDITIONS, n_clusters=2, strata="is_rural").fit(scaled)
    with pytest.raises(rs.SpecificationError, match="other conditions"):
        ClusterModel(rs.Conditions(shares=["low_income"]), n_clusters=2).fit(scaled)
    with pytest.raises(rs.SpecificationError, match="year=2024"):
        ClusterModel(CONDITIONS, n_clusters=2).fit(scaled, 2024)
    found = ClusterModel(CONDITIONS, n_clusters=2).fit(schools)
    with pytest.raises(rs.SpecificationError, match="another scale"):
        found.predict(scaled)


def test_tables_and_seeds() -> None:
    model = ClusterModel(CONDITIONS, n_clusters=2)
    with pytest.raises(rs.SpecificationError, match="schools"):
        model.fit([1, 2, 3])
    with pytest.raises(rs.SpecificationError, match="random_state"):
        model.fit(region(), random_state=-1)
    found = model.fit(region())
    with pytest.raises(rs.DataError, match="school_id"):
        found.augment(pd.DataFrame({"x": [1]}))


@pytest.mark.parametrize(
    ("names", "author", "message"),
    [
        ({9: "x"}, "A", "no cluster 9"),
        ({1: " "}, "A", "cluster 1"),
        ({1: 5}, "A", "cluster 1"),
        ({1: ("far", "")}, "A", "cluster 1"),
        ({1: ("far", "далёкие", "x")}, "A", "cluster 1"),
        ({}, "A", "mapping"),
        (["x"], "A", "mapping"),
        ({1: "x"}, "", "author"),
        ({1: "x"}, None, "author"),
        ({1: "x", 2: "x"}, "A", "clusters 1, 2 would all be called 'x'"),
    ],
)
def test_names_that_are_refused(names: object, author: object, message: str) -> None:
    found = ClusterModel(CONDITIONS, n_clusters=2).fit(region())
    with pytest.raises(rs.SpecificationError, match=message) as caught:
        found.renamed(names, author=author)
    assert CYRILLIC.search(caught.value.localized("ru"))


def test_what_only_some_methods_have() -> None:
    schools = region(80)
    found = ClusterModel(CONDITIONS, n_clusters=2).fit(schools)
    with pytest.raises(rs.SpecificationError, match="gmm"):
        found.memberships()
    with pytest.raises(rs.SpecificationError, match="stratum"):
        found.partitioner("is_rural=True")
    trees = ClusterModel(CONDITIONS, n_clusters=2, method="ward", strata="is_rural").fit(schools)
    with pytest.raises(rs.SpecificationError, match=r"tree_of\('is_rural=False'\)"):
        _ = trees.tree


def test_the_bounded_assignment_says_what_cannot_be() -> None:
    from resilience.stats.clusters.bounded import bounded_assignment

    with pytest.raises(ValueError, match="5 units cannot fill 3 clusters"):
        bounded_assignment(np.ones((5, 3)), 2, 5)
