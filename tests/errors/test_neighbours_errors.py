"""Neighbours and coordinates: what cannot be asked, and what no table may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.neighbours.geography import remoteness
from resilience.clustering.neighbours.model import StatisticalNeighbours
from resilience.clustering.neighbours.overlap import neighbour_overlap, neighbour_overlap_between

CONDITIONS = rs.Conditions(continuous=["n_pupils", "remoteness_km"])


@pytest.fixture
def schools() -> pd.DataFrame:
    generator = np.random.default_rng(8)
    return pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(40)],
            "municipality_id": ["M1", "M2"] * 20,
            "n_pupils": generator.integers(30, 900, size=40),
            "remoteness_km": generator.exponential(20, size=40),
            "school_type": ["СОШ"] * 36 + ["лицей"] * 4,
            "latitude": 43.0 + generator.normal(0, 0.3, size=40),
            "longitude": 60.0 + generator.normal(0, 0.3, size=40),
            "mean_score": generator.normal(size=40),
        }
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric": "manhattan"}, "'manhattan'"),
        ({"metric": "supervised"}, "needs outcome='mean_score'"),
        ({"outcome": "mean_score"}, "the others take none"),
        ({"n_neighbours": 3}, "n_neighbours"),
        ({"minimum": 0}, "minimum"),
        ({"caliper": -1.0}, "caliper"),
        ({"caliper": None, "kernel": "triangular"}, "triangular"),
        ({"coordinates": ("latitude",)}, "two columns"),
        ({"exact_on": 3}, "exact_on"),
    ],
)
def test_models_out_of_range(given: dict[str, Any], message: str) -> None:
    with pytest.raises(rs.SpecificationError, match=message):
        StatisticalNeighbours(CONDITIONS, **given)


def test_conditions_are_needed() -> None:
    with pytest.raises(rs.SpecificationError, match=r"rs\.Conditions"):
        StatisticalNeighbours(["n_pupils"])  # type: ignore[arg-type]  # the mistake under test


def test_small_strata_are_named(schools: pd.DataFrame) -> None:
    model = StatisticalNeighbours(CONDITIONS, caliper=None, exact_on=["school_type"])
    found = model.fit(schools)
    small = found.quality[found.quality["stratum"] == "school_type=лицей"]
    assert (small["verdict"] == "insufficient_data").all()
    assert "4 schools in the stratum school_type=лицей" in small["reason"].iloc[0]
    with pytest.raises(rs.DataError, match="no list of neighbours: 4 schools"):
        found.table("S39")
    with pytest.raises(rs.DataError, match="no school 'X'"):
        found.table("X")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("latitude", 143.0, "±90.*143.*S03"),
        ("longitude", 420.0, "±180.*420.*S03"),
        ("latitude", np.nan, "latitude.*S03"),
    ],
)
def test_impossible_coordinates(
    schools: pd.DataFrame, column: str, value: float, message: str
) -> None:
    schools.loc[3, column] = value
    with pytest.raises(rs.DataError, match=message):
        remoteness(schools)
    model = StatisticalNeighbours(CONDITIONS, coordinates=("latitude", "longitude"))
    with pytest.raises(rs.DataError, match=message):
        model.fit(schools)


def test_unknown_and_swapped_coordinates(schools: pd.DataFrame) -> None:
    nowhere = schools.copy()
    nowhere.loc[5, ["latitude", "longitude"]] = 0.0
    with pytest.raises(rs.DataError, match=r"S05 have the coordinates 0, 0"):
        remoteness(nowhere)
    swapped = schools.copy()
    swapped.loc[7, ["latitude", "longitude"]] = schools.loc[7, ["longitude", "latitude"]].to_list()
    with pytest.raises(rs.DataError, match=r"S07 lie up to .* km.*swapped"):
        remoteness(swapped)


def test_remoteness_needs_places(schools: pd.DataFrame) -> None:
    with pytest.raises(rs.SpecificationError, match="two schools"):
        remoteness(schools.head(1))
    with pytest.raises(rs.DataError, match="M2"):
        remoteness(schools, centres={"M1": (43.0, 60.0)})
    for centre in ((43.0,), "M1", (43.0, 600.0)):
        with pytest.raises(rs.SpecificationError, match="a centre is a pair of degrees"):
            remoteness(schools, centres=centre)  # type: ignore[arg-type]  # the mistakes under test
    with pytest.raises(rs.DataError, match="school_id"):
        remoteness(pd.concat([schools, schools.head(1)]))


def test_a_metric_needs_results_to_learn_from(schools: pd.DataFrame) -> None:
    model = StatisticalNeighbours(CONDITIONS, metric="supervised", outcome="mean_score")
    schools.loc[8:, "mean_score"] = np.nan
    with pytest.raises(rs.DataError, match="five for every column"):
        model.fit(schools)
    with pytest.raises(rs.DataError, match="'mean_score'"):
        model.fit(schools.drop(columns="mean_score"))


def test_overlap_needs_lists(schools: pd.DataFrame) -> None:
    found = StatisticalNeighbours(CONDITIONS).fit(schools)
    with pytest.raises(rs.SpecificationError, match="n_resamples"):
        neighbour_overlap(found, n_resamples=1)
    with pytest.raises(rs.SpecificationError, match="random_state"):
        neighbour_overlap(found, random_state="a")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(rs.SpecificationError, match="not from DataFrame"):
        rs.plot_neighbours(schools)
    with pytest.raises(rs.DataError, match="no school 'zzz'"):
        rs.plot_neighbours(found, school_id="zzz")
    with pytest.raises(rs.SpecificationError, match="weight_noise"):
        neighbour_overlap(found, weight_noise=2.0)
    with pytest.raises(rs.SpecificationError, match="StatisticalNeighbours"):
        neighbour_overlap(schools)  # type: ignore[arg-type]  # the mistake under test
    other = StatisticalNeighbours(CONDITIONS).fit(
        schools.assign(school_id=lambda t: "X" + t["school_id"])
    )
    with pytest.raises(rs.DataError, match="no school has a list in both"):
        neighbour_overlap_between(found, other)
