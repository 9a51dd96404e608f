"""Bad input of the risk profile: each error names the culprit, the rule, the value, the way out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.detection.risk import risk_profile
from resilience.detection.risk_factors import RiskFactor, RiskItem, risk_factor
from resilience.detection.risk_resources import eliminated_risks, elimination_shares, resource_risks
from resilience.detection.risk_zone import risk_columns, risk_zone
from resilience.errors import DataError, SpecificationError


def frame(**columns) -> pd.DataFrame:
    base = {"school_id": ["A", "B"], "year": [2025, 2025], "vacant_share": [0.1, 0.2]}
    return pd.DataFrame({**base, **columns})


def staff(**options) -> RiskFactor:
    return risk_factor("teacher_shortage").measured_by(RiskItem(column="vacant_share", **options))


def cell(n=10, f=2, **columns) -> pd.DataFrame:
    base = {
        "school_id": ["A"],
        "year": [2025],
        "procedure": ["ОГЭ-РУ"],
        "n_participants": [n],
        "n_below_minimum": [f],
    }
    return pd.DataFrame({**base, **columns})


SPECIFICATIONS = [
    (lambda: RiskItem(column=""), "''"),
    (lambda: RiskItem(column="x", weight=0), "above 0"),
    (lambda: RiskItem(column="x", weight=float("inf")), "inf"),
    (lambda: RiskItem(column="x", ok=1.0), "critical=None"),
    (lambda: RiskItem(column="x", ok=5, critical=5), "two different"),
    (lambda: RiskItem(column="vacant_share", ok=0, critical=20), "0.05 for 5 %"),
    (lambda: RiskFactor(id="x", title_en="", title_ru="х"), "title_en"),
    (lambda: RiskFactor(id="x", title_en="x", title_ru="х", status="official"), "official"),
    (lambda: RiskFactor(id="x", title_en="x", title_ru="х", reference="Nobody"), "Nobody"),
    (lambda: risk_factor("low_motivation").measured_by("weak_motivation"), "RiskItem"),
    (
        lambda: risk_factor("low_motivation").measured_by(
            RiskItem(column="a"), RiskItem(column="a")
        ),
        "more than once",
    ),
    (lambda: risk_factor("teacher_shortag"), "teacher_shortage"),
    (lambda: risk_profile(frame(), [staff(), staff()]), "more than once"),
    (lambda: risk_profile(frame(), ["teacher_shortage"]), "measured_by"),
    (lambda: risk_profile(frame(), [risk_factor("low_discipline")]), "none of the 1"),
    (lambda: risk_profile(frame(), [staff()], high=30, medium=40), "medium=40"),
    (lambda: risk_profile(frame(), [staff()], high=167), "high=167"),
    (lambda: risk_profile(frame(), [staff()], min_coverage=60), "min_coverage"),
    (
        lambda: risk_columns(frame(), profile=risk_profile(frame(), [staff()]), high_factors=2),
        "1 to 1",
    ),
    (lambda: risk_columns(frame(), profile=risk_profile(frame(), [staff()])), "high_factors"),
    (lambda: risk_columns(frame()), "no table"),
    (
        lambda: risk_profile(frame(), [staff()]).augment(frame(n_high_factors=1)),
        "n_high_factors",
    ),
    (lambda: resource_risks(frame(), thresholds={"vacancies": 0.1}), "vacant_share"),
    (lambda: resource_risks(frame(), thresholds={"vacant_share": 10}), "5 % is 0.05"),
    (lambda: resource_risks(frame(), thresholds={"vacant_share": np.nan}), "nan"),
    (
        lambda: resource_risks(frame(teacher_shortage=True), thresholds={"vacant_share": 0.1}),
        "keep one",
    ),
    (lambda: risk_zone(), "no table"),
    (lambda: risk_zone(profile=risk_profile(frame(), [staff()])), "high_factors"),
    (lambda: risk_zone(cell(), share=(0.3, 0.2)), "lower one first"),
    (lambda: risk_zone(cell(), share=(20, 30)), "20 % is 0.20"),
    (lambda: risk_zone(cell(), share=0.2), "0.2"),
    (lambda: risk_zone(cell(), share_of="mean"), "'pooled'"),
]


@pytest.mark.parametrize("case", range(len(SPECIFICATIONS)))
def test_specifications_that_are_refused(case) -> None:
    make, words = SPECIFICATIONS[case]
    with pytest.raises(SpecificationError) as caught:
        make()
    assert words in str(caught.value)


TABLES = [
    (lambda: risk_profile([1], [staff()]), "list"),
    (lambda: risk_profile(frame().head(0), [staff()]), "items"),
    (lambda: risk_profile(frame().drop(columns="year"), [staff()]), "year"),
    (lambda: risk_profile(frame().drop(columns="vacant_share"), [staff()]), "vacant_share"),
    (lambda: risk_profile(frame(school_id=["A", "A"]), [staff()]), "A/2025"),
    (lambda: risk_profile(frame(school_id=["A", None]), [staff()]), "school_id"),
    (lambda: risk_profile(frame(vacant_share=[10.0, 0.0]), [staff()]), "divide per cent by 100"),
    (lambda: risk_profile(frame(vacant_share=[-0.1, 0.0]), [staff()]), "schools A"),
    (lambda: risk_profile(frame(vacant_share=[np.inf, 0.0]), [staff()]), "inf"),
    (lambda: risk_profile(frame(vacant_share=["1", "2"]), [staff()]), "vacant_share"),
    (lambda: risk_profile(frame(), [staff()]).eliminated(), "2025"),
    (lambda: risk_profile(frame(), [staff()]).explain("Z"), "nearest"),
    (lambda: risk_profile(frame(), [staff()]).explain("A", year=2020), "2020"),
    (lambda: resource_risks(frame()), "no_stable_internet"),
    (lambda: resource_risks(frame(teacher_shortage=["да", "нет"])), "'да'"),
    (lambda: resource_risks(frame(teacher_shortage=[2.0, 0.0])), "2.0"),
    (
        lambda: resource_risks(frame(vacant_share=[10.0, 0.0]), thresholds={"vacant_share": 0.1}),
        "divide per cent by 100",
    ),
    (
        lambda: resource_risks(
            frame(internet_speed=[-5.0, 10.0]), thresholds={"internet_speed": 25}
        ),
        "-5",
    ),
    (lambda: eliminated_risks(resource_risks(frame(teacher_shortage=True))), "2025"),
    (lambda: eliminated_risks(frame()), "hard_risk"),
    (lambda: risk_zone(cell(f=11)), "11 below the minimum of 10"),
    (lambda: risk_zone(cell(n=-1, f=0)), "-1"),
    (lambda: risk_zone(cell(f=2.5)), "2.5"),
    (lambda: risk_zone(pd.concat([cell(), cell()])), "counts"),
    (lambda: risk_zone(cell(), year=2020), "2020"),
    (
        lambda: risk_zone(
            cell(year=[2024]), resources=resource_risks(frame(teacher_shortage=True))
        ),
        "no year in common",
    ),
]


@pytest.mark.parametrize("case", range(len(TABLES)))
def test_tables_that_are_refused(case) -> None:
    make, words = TABLES[case]
    with pytest.raises(DataError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize(("medium", "high"), [(0.34, 0.67), (34, "67"), (34, True)])
def test_cut_offs_are_points_of_a_hundred(medium: object, high: object) -> None:
    staff = risk_factor("teacher_shortage").measured_by(RiskItem(column="vacant_share"))
    items = pd.DataFrame({"school_id": ["A", "B"], "year": 2025, "vacant_share": [0.0, 0.1]})
    with pytest.raises(SpecificationError, match="scores run from 0 to 100"):
        risk_profile(items, [staff], medium=medium, high=high)


@pytest.mark.parametrize("definition", [None, 5, risk_factor("teacher_shortage")])
def test_a_definition_is_a_list_of_factors(definition: object) -> None:
    items = pd.DataFrame({"school_id": ["A", "B"], "year": 2025, "vacant_share": [0.0, 0.1]})
    with pytest.raises(SpecificationError, match="list of risk factors"):
        risk_profile(items, definition)


@pytest.mark.parametrize("function", [risk_zone, risk_columns])
def test_factors_are_counted_in_a_profile(function) -> None:
    table = pd.DataFrame({"school_id": ["A"], "year": [2025], "hard_risk": [True]})
    given = (None,) if function is risk_zone else (table[["school_id", "year"]],)
    with pytest.raises(SpecificationError, match="no profile is given"):
        function(*given, resources=table, high_factors=2)
    with pytest.raises(SpecificationError, match="profile is of type str"):
        function(*given, profile="profile", high_factors=2)


def test_thresholds_are_names_with_numbers() -> None:
    schools = pd.DataFrame({"school_id": ["A"], "year": [2025], "internet_speed": [5.0]})
    with pytest.raises(SpecificationError, match="thresholds is of type list"):
        resource_risks(schools, thresholds=[25])


def test_shares_of_eliminated_risks_need_answers() -> None:
    answers = pd.DataFrame({"risk_factor": ["hard_risk"] * 2, "eliminated": ["yes", "да"]})
    with pytest.raises(DataError, match="'да', which is none of"):
        elimination_shares(answers)
    with pytest.raises(DataError, match="empty"):
        elimination_shares(answers.iloc[:0])
