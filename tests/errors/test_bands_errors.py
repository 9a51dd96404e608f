"""Condition bands: what cannot be asked."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.bands.model import ContextBands

CONDITIONS = rs.Conditions(continuous=["n_pupils"], shares=["low_income"])


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return rs.load_dataset("north_region").schools


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_bands": 2}, "n_bands"),
        ({"n_bands": 7}, "three to five"),
        ({"outcome": "low_income"}, "'low_income' is a condition and the outcome"),
        ({"level": 1.0}, "level"),
        ({"n_draws": -1}, "n_draws"),
    ],
)
def test_models_out_of_range(given: dict[str, Any], message: str) -> None:
    with pytest.raises(rs.SpecificationError, match=message):
        ContextBands(CONDITIONS, **given)


def test_bad_conditions() -> None:
    with pytest.raises(rs.SpecificationError, match=r"rs\.Conditions"):
        ContextBands(["low_income"])  # type: ignore[arg-type]  # the mistake under test


def test_there_must_be_results_to_learn_from(schools: pd.DataFrame) -> None:
    model = ContextBands(CONDITIONS)
    with pytest.raises(rs.DataError, match="'mean_score'"):
        model.fit(schools.drop(columns="mean_score"))
    with pytest.raises(rs.SpecificationError, match="random_state"):
        model.fit(schools, random_state="a")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(rs.DataError, match=r"learnt from 8 school-years.*needs 15"):
        model.fit(schools[schools["year"] == 2025].head(8))


def test_other_years_need_their_strata(schools: pd.DataFrame) -> None:
    model = ContextBands(CONDITIONS, strata=["is_rural"])
    rural = schools[schools["is_rural"]]
    found = model.fit(rural)
    with pytest.raises(rs.DataError, match="'is_rural=False' were not in the fit"):
        model.predict(found, schools, 2024)
    with pytest.raises(rs.DataError, match="two years or more"):
        model.over_years(schools, [2025])


def test_an_index_must_be_in_the_table(schools: pd.DataFrame) -> None:
    with pytest.raises(rs.DataError, match="'context_index'"):
        ContextBands("context_index").fit(schools)
    with pytest.raises(rs.DataError, match="is the same for all schools"):
        ContextBands("context_index").fit(schools.assign(context_index=50.0))
