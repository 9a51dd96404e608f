"""Choosing a number of clusters: what cannot be asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.selection.select import select_for_rows, select_n_clusters
from resilience.clustering.selection.settings import SelectionSettings

CONDITIONS = rs.Conditions(continuous=["n_pupils", "remoteness_km"])
QUICK = SelectionSettings(n_references=10, n_splits=5, n_resamples=10, n_init=1)


@pytest.fixture
def schools() -> pd.DataFrame:
    generator = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(40)],
            "n_pupils": generator.integers(30, 900, size=40),
            "remoteness_km": generator.exponential(20, size=40),
            "is_rural": [True, False] * 20,
        }
    )


def test_a_table_needs_conditions(schools: pd.DataFrame) -> None:
    with pytest.raises(rs.SpecificationError, match="needs conditions"):
        select_n_clusters(schools)
    scaled = rs.scale_conditions(schools, CONDITIONS)
    with pytest.raises(rs.SpecificationError, match="scaled already"):
        select_n_clusters(scaled, CONDITIONS)


def test_strata_are_looked_at_apart(schools: pd.DataFrame) -> None:
    scaled = rs.scale_conditions(schools, CONDITIONS, strata=["is_rural"])
    with pytest.raises(rs.SpecificationError, match="is_rural=False; is_rural=True"):
        select_n_clusters(scaled)


def test_numbers_of_clusters(schools: pd.DataFrame) -> None:
    with pytest.raises(rs.SpecificationError, match="k is empty"):
        select_n_clusters(schools, CONDITIONS, k=())
    with pytest.raises(rs.SpecificationError, match=r"k .*at least 2"):
        select_n_clusters(schools, CONDITIONS, k=(1, 2))
    with pytest.raises(rs.SpecificationError, match=r"k is 3, .*k=\[3\]"):
        select_n_clusters(schools, CONDITIONS, k=3)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(rs.SpecificationError, match="random_state"):
        select_n_clusters(schools, CONDITIONS, random_state=-1)
    with pytest.raises(rs.SpecificationError, match="not from DataFrame"):
        rs.plot_selection_panel(schools)
    with pytest.raises(rs.SpecificationError, match="'means'"):
        select_n_clusters(schools, CONDITIONS, method="means")  # type: ignore[arg-type]  # the mistake under test


def test_a_mixture_takes_no_categories(schools: pd.DataFrame) -> None:
    mixed = rs.Conditions(continuous=["n_pupils"], nominal=["is_rural"])
    with pytest.raises(rs.SpecificationError, match="degenerate components"):
        select_n_clusters(schools, mixed, method="gmm")


def test_fewer_schools_than_clusters() -> None:
    rows = np.zeros((30, 2))
    with pytest.raises(rs.DataError, match="only 1 schools differ"):
        select_for_rows(rows, settings=QUICK)


def test_too_few_schools_are_told_so(schools: pd.DataFrame) -> None:
    found = select_n_clusters(
        schools.head(12), CONDITIONS, k=range(2, 20), settings=QUICK, random_state=1
    )
    assert found.n_clusters is None
    assert "12 schools are too few" in found.reason
    assert found.k_table["k"].max() == 12  # numbers beyond the schools are not looked at


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_splits": 1}, "n_splits"),
        ({"n_references": 3}, "n_references"),
        ({"least_jaccard": 1.5}, "least_jaccard"),
        ({"smallest": 0}, "smallest"),
    ],
)
def test_settings_out_of_range(given: dict[str, float], message: str) -> None:
    with pytest.raises(rs.SpecificationError, match=message):
        SelectionSettings(**given)  # type: ignore[arg-type]  # the mistakes under test
