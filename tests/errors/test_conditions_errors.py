"""Bad conditions and bad tables of conditions: who is to blame, by which rule, and the way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import resilience as rs


@pytest.fixture
def schools() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    n = 30
    return pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(n)],
            "year": 2024,
            "n_pupils": generator.integers(40, 900, size=n),
            "low_income": generator.beta(2, 5, size=n),
            "single_parent": generator.beta(2, 5, size=n),
            "remoteness_km": generator.exponential(20, size=n),
            "school_type": ["СОШ", "ООШ", "лицей"] * 10,
            "mean_score": generator.normal(50, 5, size=n),
        }
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "at least one variable"),
        ({"shares": ["low_income"], "nominal": ["low_income"]}, "'low_income' stands twice"),
        ({"continuous": ["mean_score"]}, "'mean_score' may not group schools.*insist"),
        ({"continuous": ["class_size"]}, "'class_size' may not group schools"),
        ({"continuous": ["low_income"]}, r"'low_income' is a share.*shares=\['low_income'\]"),
        ({"compositions": {"education": ["edu_low"]}}, "'education' needs at least two"),
        ({"ordinal": {"stage": ["1-4"]}}, "'stage' needs at least two"),
        ({"ordinal": {"stage": "abc"}}, "'stage' needs at least two"),
        ({"compositions": {"education": "ab"}}, "'education' needs at least two"),
        ({"shares": ["low_income"], "base": 3}, r"Conditions\.base"),
        ({"continuous": {"n_pupils": "sqrt"}}, "'sqrt'"),
        ({"continuous": ["n_pupils"], "weights": {"low_income": 1}}, "'low_income'.*'n_pupils'"),
        ({"continuous": ["n_pupils"], "weights": {"n_pupils": 0}}, "> 0"),
        ({"continuous": ["n_pupils"], "weights": [2]}, "Conditions.weights"),
        ({"continuous": ["n_pupils"], "errors": {"n_pupils": -1}}, "≥ 0"),
        ({"shares": ["low_income"], "errors": {"low_income": 0.1}}, "Conditions.errors"),
        ({"shares": "low_income", "compositions": ["a", "b"]}, "Conditions.compositions"),
    ],
)
def test_conditions_name_what_is_wrong(given: dict[str, Any], message: str) -> None:
    with pytest.raises(rs.SpecificationError, match=message):
        rs.Conditions(**given)


def test_results_enter_only_if_the_user_insists(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(continuous=["mean_score"], insist=["mean_score"])
    assert rs.scale_conditions(schools, conditions).variables == ("mean_score",)


CONDITIONS: dict[str, Any] = {
    "continuous": ["n_pupils", "remoteness_km"],
    "shares": ["low_income"],
    "nominal": ["school_type"],
}


def broken(schools: pd.DataFrame, column: str, rows: Any, value: Any) -> pd.DataFrame:
    bad = schools.copy()
    if isinstance(value, float):
        bad[column] = bad[column].astype(float)
    bad.loc[rows, column] = value
    return bad


@pytest.mark.parametrize(
    ("column", "rows", "value", "message"),
    [
        ("remoteness_km", slice(None), 7.0, "'remoteness_km' is the same for all schools.*7"),
        ("school_type", slice(None), "СОШ", "'school_type' is the same for all schools"),
        ("low_income", slice(None), np.nan, "'low_income' is empty in every school"),
        ("low_income", slice(0, 9), np.nan, "'low_income' is missing in 33%.*S00"),
        ("low_income", 4, 37.0, r"'low_income'.*0\.\.1.*37 \(schools S04\).*divide"),
        ("low_income", 4, -0.1, "negative.*S04"),
        ("n_pupils", 4, 0, "'n_pupils'.*above 0.*S04"),
        ("remoteness_km", 4, -3.0, "'remoteness_km'.*negative.*S04.*linear"),
        ("remoteness_km", 4, np.inf, "'remoteness_km' is infinite.*S04"),
        ("school_type", 4, "гимназия", "level 'гимназия' has a single school.*S04"),
        ("school_id", 4, "S05", "school_id.*S05"),
    ],
)
def test_a_bad_table_is_refused_by_name(
    schools: pd.DataFrame, column: str, rows: Any, value: Any, message: str
) -> None:
    with pytest.raises(rs.DataError, match=message):
        rs.scale_conditions(broken(schools, column, rows, value), rs.Conditions(**CONDITIONS))


def test_shares_that_differ_by_chance_alone_are_refused(schools: pd.DataFrame) -> None:
    # the same 25 % everywhere, give or take a pupil
    n = schools["n_pupils"]
    schools["low_income"] = np.round(0.25 * n + np.where(np.arange(30) % 2, 1, -1)) / n
    with pytest.raises(rs.DataError, match=r"'low_income' differs .* no more than by chance"):
        rs.scale_conditions(schools, rs.Conditions(shares=["low_income"]))


def test_a_composition_must_be_a_whole(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(compositions={"family": ["low_income", "single_parent"]})
    with pytest.raises(rs.DataError, match="'family': shares must sum to 1"):
        rs.scale_conditions(schools, conditions)


def test_years_and_columns_that_are_not_there(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(**CONDITIONS)
    with pytest.raises(rs.DataError, match="no rows of 2020; it has 2024"):
        rs.scale_conditions(schools, conditions, year=2020)
    with pytest.raises(rs.DataError, match="no column year"):
        rs.scale_conditions(schools.drop(columns="year"), conditions, year=2024)
    with pytest.raises(rs.DataError, match="'remoteness_km'"):
        rs.scale_conditions(schools.drop(columns="remoteness_km"), conditions)
    with pytest.raises(rs.SpecificationError, match="year is '2024'"):
        rs.scale_conditions(schools, conditions, year="2024")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(rs.SpecificationError, match=r"scaling=scaled\.scaling"):
        rs.scale_conditions(schools, conditions, scaling="2024")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(rs.SpecificationError, match=r"rs.Conditions"):
        rs.scale_conditions(schools, ["n_pupils"])  # type: ignore[arg-type]  # the mistake under test


def test_a_later_year_may_not_bring_new_levels(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(**CONDITIONS)
    base = rs.scale_conditions(schools, conditions)
    later = broken(schools, "school_type", [3, 4], "кадетский корпус")
    with pytest.raises(rs.DataError, match=r"level 'кадетский корпус'.*S03.*СОШ"):
        rs.scale_conditions(later, conditions, scaling=base.scaling)
    with pytest.raises(rs.SpecificationError, match="other conditions"):
        rs.scale_conditions(schools, rs.Conditions(shares=["low_income"]), scaling=base.scaling)


def test_a_stratum_is_no_variable(schools: pd.DataFrame) -> None:
    with pytest.raises(rs.SpecificationError, match="'school_type' is a stratum and a variable"):
        rs.scale_conditions(schools, rs.Conditions(**CONDITIONS), strata=["school_type"])


def test_errors_in_a_column_must_be_known(schools: pd.DataFrame) -> None:
    schools["km_error"] = [1.0] * 29 + [-1.0]
    conditions = rs.Conditions(continuous=["remoteness_km"], errors={"remoteness_km": "km_error"})
    with pytest.raises(rs.DataError, match=r"'km_error'.*S29"):
        rs.scale_conditions(schools, conditions)


def test_published_whole_per_cents_make_a_whole() -> None:
    # five parts rounded to whole per cent sum to 0.98 to 1.02; that is no mistake
    table = pd.DataFrame(
        {
            "school_id": list("abcd"),
            "n_pupils": 100,
            **{
                f"part_{k}": values
                for k, values in enumerate(
                    [
                        [0.2, 0.1, 0.3, 0.25],
                        [0.2, 0.3, 0.1, 0.25],
                        [0.2, 0.2, 0.2, 0.1],
                        [0.2, 0.2, 0.2, 0.2],
                        [0.22, 0.18, 0.2, 0.2],
                    ]
                )
            },
        }
    )
    conditions = rs.Conditions(compositions={"education": [f"part_{k}" for k in range(5)]})
    assert rs.scale_conditions(table, conditions).complete.all()
    table.loc[1, "part_4"] = 0.30
    with pytest.raises(rs.DataError, match=r"within 0\.025.*1\.100.*b"):
        rs.scale_conditions(table, conditions)


def test_one_and_one_point_zero_are_one_stratum(schools: pd.DataFrame) -> None:
    schools["stage"] = [1, 2] * 15
    conditions = rs.Conditions(continuous=["n_pupils"])
    whole = rs.scale_conditions(schools, conditions, strata=["stage"])
    floats = rs.scale_conditions(schools.astype({"stage": float}), conditions, strata=["stage"])
    assert whole.stratum.tolist() == floats.stratum.tolist()
