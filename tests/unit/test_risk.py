"""Resource risks, the risk profile and the risk zone: by hand, against brute force, in rules."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.detection.risk import RiskProfileResults, risk_profile
from resilience.detection.risk_factors import RiskFactor, RiskItem, risk_factor, risk_factors
from resilience.detection.risk_resources import (
    RESOURCE_RISKS,
    eliminated_risks,
    elimination_shares,
    resource_risks,
)
from resilience.detection.risk_zone import risk_columns, risk_zone
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.verdicts.detect import detect_schools
from resilience.errors import WeakDataWarning

QUOTED = (
    "Низкий уровень оснащения школы",
    "Дефицит педагогических кадров",
    "Недостаточная предметная и методическая компетентность педагогических работников",
    "Риски низкой адаптивности учебного процесса",
    "Несформированность внутришкольной системы повышения квалификации",
    "Высокая доля обучающихся с ОВЗ",
    "Низкое качество преодоления языковых и культурных барьеров",
    "Низкая учебная мотивация обучающихся",
    "Пониженный уровень школьного благополучия",
    "Низкий уровень дисциплины в классе",
    "Высокая доля обучающихся с рисками учебной неуспешности",
    "Низкий уровень вовлечённости родителей",
)


def definition() -> list[RiskFactor]:
    return [
        risk_factor("teacher_shortage").measured_by(
            RiskItem(column="vacant_share", ok=0.0, critical=0.2, weight=3),
            RiskItem(column="age", ok=20, critical=60, weight=1),
        ),
        risk_factor("low_equipment").measured_by(
            RiskItem(column="internet_speed", ok=100, critical=20),
        ),
        risk_factor("low_motivation").measured_by(RiskItem(column="weak_motivation")),
    ]


def items() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": ["A", "B", "C", "D"] * 2,
            "year": [2024] * 4 + [2025] * 4,
            "vacant_share": [0.2, 0.1, 0.0, np.nan, 0.1, 0.3, 0.0, 0.2],
            "age": [60, 40, np.nan, 60, 60, np.nan, 70, np.nan],
            "internet_speed": [20, 60, 100, 8, 46.4, 47.2, 200, np.nan],
            "weak_motivation": [0.1, 0.2, 0.2, 0.3, 0.05, 0.05, 0.05, np.nan],
        }
    )


@pytest.fixture
def profile() -> RiskProfileResults:
    return risk_profile(items(), definition())


# ---------------------------------------------------------------- the catalogue


def test_the_twelve_factors_as_quoted() -> None:
    factors = risk_factors()
    assert tuple(f.title_ru for f in factors) == QUOTED
    assert [f.number for f in factors] == list(range(1, 13))
    # Three are named on pages of schools; the list as a whole is second-hand.
    assert [f.number for f in factors if f.status == "documented"] == [1, 2, 11]
    assert {f.status for f in factors} == {"documented", "unverified"}
    assert all(f.reference and not f.items for f in factors)
    assert len({f.id for f in factors}) == 12


# ---------------------------------------------------------------- the profile, by hand


def test_scores_by_hand(profile) -> None:
    table = profile.factors.pivot_table(
        index=["year", "school_id"], columns="risk_factor", values="risk_score"
    )
    # 2024, staff: A (3·100 + 1·100)/4; B (3·50 + 50)/4; C knows .75 of the weights: 0; D knows
    # .25 of them, too little.  2025: A (3·50 + 100)/4 = 62.5; B is cut at 100; C (0 + 100)/4; D
    # 100.
    staff = table["teacher_shortage"].to_numpy()
    np.testing.assert_allclose(staff, [100, 50, 0, np.nan, 62.5, 100, 25, 100])
    # Internet: (100 − x)/80, cut; 46.4 → 67 exactly, 47.2 → 66.
    net = table["low_equipment"].to_numpy()
    np.testing.assert_allclose(net, [100, 50, 0, 100, 67, 66, 0, np.nan])
    # Motivation: percentiles of .1 .2 .2 .3: 1/8, 1/2, 1/2, 7/8; of three equal ones 1/2.
    mood = table["low_motivation"].to_numpy()
    np.testing.assert_allclose(mood, [12.5, 50, 50, 87.5, 50, 50, 50, np.nan])
    coverage = profile.factors.set_index(["year", "school_id", "risk_factor"])["risk_coverage"]
    assert coverage[2024, "D", "teacher_shortage"] == 0.25
    assert coverage[2024, "C", "teacher_shortage"] == 0.75


def test_bands_and_counts_by_hand(profile) -> None:
    bands = profile.factors.pivot_table(
        index=["year", "school_id"], columns="risk_factor", values="risk_band", aggfunc="first"
    )
    assert bands["low_equipment"].tolist() == [
        *("high", "medium", "low", "high", "high", "medium", "low"),
        "insufficient data",
    ]
    assert profile.factors.loc[0, "risk_band"].ru == "высокая"
    assert profile.schools["n_high_factors"].tolist() == [2, 0, 0, 2, 1, 1, 0, 1]
    assert profile.schools["n_unknown_factors"].tolist() == [0, 0, 0, 1, 0, 0, 0, 2]
    assert profile.schools["n_risk_factors"].tolist() == [3] * 8
    row = profile.glance().iloc[0]
    assert (row["year"], row["n_with_high_factor"], row["n_with_unknown_factor"]) == (2025, 3, 1)


def test_cut_offs_are_parameters() -> None:
    strict = risk_profile(items(), definition(), high=50, medium=20)
    assert strict.schools["n_high_factors"].tolist() == [2, 3, 1, 2, 3, 3, 1, 1]
    demanding = risk_profile(items(), definition(), min_coverage=1.0)
    assert demanding.schools["n_unknown_factors"].tolist() == [0, 0, 1, 1, 0, 1, 0, 3]


def test_percentiles_know_their_direction() -> None:
    factor = RiskFactor(
        id="own",
        title_en="Own",
        title_ru="Свой",
        items=(RiskItem(column="computers_per_pupil", higher_is_worse=False),),
    )
    frame = pd.DataFrame(
        {"school_id": list("ABC"), "year": 2025, "computers_per_pupil": [0.1, 0.2, 0.3]}
    )
    found = risk_profile(frame, [factor])
    np.testing.assert_allclose(found.factors["risk_score"], [500 / 6, 50, 100 / 6])
    assert any("Percentiles are relative" in note for note in found.notes)


def test_row_order_and_ids_are_the_callers() -> None:
    shuffled = items().sample(frac=1, random_state=3)
    found = risk_profile(shuffled, definition())
    assert found.schools["school_id"].tolist() == shuffled["school_id"].tolist()
    key = ["school_id", "year", "risk_factor"]
    first = risk_profile(items(), definition()).factors.sort_values(key)["risk_score"]
    np.testing.assert_allclose(found.factors.sort_values(key)["risk_score"], first)


# ---------------------------------------------------------------- eliminated


def test_eliminated_on_the_same_items(profile) -> None:
    found = profile.eliminated().set_index(["risk_factor", "school_id"])
    # Staff: A 100 → 62.5 on both items: gone.  B was 50.  C knows the vacancies of both years
    # (0 → 0; the age of 2025 alone does not count).  D has no item in common: unknown, although
    # each year's own score is known in 2025.
    assert found["eliminated"].loc["teacher_shortage"].to_dict() == {
        "A": "yes",
        "B": "not_applicable",
        "C": "not_applicable",
        "D": "insufficient_data",
    }
    assert found.loc[("teacher_shortage", "C"), "risk_after"] == 0
    assert found.loc[("teacher_shortage", "C"), "n_items_common"] == 1
    # Internet: A 100 → 67, still high; D's later year is not reported: no elimination.
    assert found["eliminated"].loc["low_equipment"].to_dict() == {
        "A": "no",
        "B": "not_applicable",
        "C": "not_applicable",
        "D": "insufficient_data",
    }
    shares = elimination_shares(profile.eliminated()).set_index("risk_factor")
    assert shares.loc["teacher_shortage", "eliminated_share"] == 1.0
    assert shares.loc["low_equipment", "eliminated_share"] == 0.0
    assert shares.loc["low_equipment", "n_insufficient"] == 1


def test_a_risk_does_not_vanish_by_not_being_reported() -> None:
    frame = items()
    frame.loc[4, "vacant_share"] = np.nan  # A drops its worst item in 2025, its age falls to 20
    frame.loc[4, "age"] = 20
    found = risk_profile(frame, definition(), min_coverage=0.2).eliminated()
    own = found[(found["school_id"] == "A") & (found["risk_factor"] == "teacher_shortage")].iloc[0]
    assert (own["risk_before"], own["risk_after"], own["n_items_common"]) == (100, 0, 1)
    usual = risk_profile(frame, definition()).eliminated()
    own = usual[(usual["school_id"] == "A") & (usual["risk_factor"] == "teacher_shortage")].iloc[0]
    assert own["eliminated"] == "insufficient_data"  # a quarter of the weights is no answer


def test_schools_that_come_and_go_are_kept() -> None:
    frame = items()[lambda t: ~((t["school_id"] == "B") & (t["year"] == 2025))]
    found = risk_profile(frame, definition()).eliminated()
    assert set(found["school_id"]) == {"A", "B", "C", "D"}
    assert (found.loc[found["school_id"] == "B", "eliminated"] == "insufficient_data").all()


# ---------------------------------------------------------------- resource risks


def test_resource_risks_follow_three_valued_logic() -> None:
    answers = [True, False, None]
    rows = list(itertools.product(answers, repeat=3))
    frame = pd.DataFrame(rows, columns=list(RESOURCE_RISKS), dtype="boolean")
    frame = frame.assign(school_id=[f"S{k:02d}" for k in range(27)], year=2025)
    found = resource_risks(frame)
    for given, answer in zip(rows, found["hard_risk"], strict=True):
        if True in given:
            assert answer is np.True_ or answer is True
        elif None in given:
            assert answer is pd.NA
        else:
            assert not answer
    assert (found["hard_risk"].sum(), found["hard_risk"].isna().sum()) == (19, 7)


def test_resource_risks_from_measurements() -> None:
    frame = pd.DataFrame(
        {
            "school_id": list("ABCD"),
            "year": 2025,
            "internet_speed": [24.9, 25.0, np.nan, 100.0],
            "vacant_share": [0.0, 0.10, 0.05, 0.099],
            "too_few_computers": [0.0, 0.0, 1.0, np.nan],
        }
    )
    found = resource_risks(frame, thresholds={"internet_speed": 25, "vacant_share": 0.10})
    assert found["no_stable_internet"].tolist() == [True, False, pd.NA, False]  # below, not at
    assert found["teacher_shortage"].tolist() == [False, True, False, False]  # at, inclusive
    assert found["hard_risk"].tolist() == [True, True, True, pd.NA]
    alone = resource_risks(frame[["school_id", "year", "too_few_computers"]])
    # One risk out of three known to be absent proves nothing.
    assert alone["hard_risk"].tolist() == [pd.NA, pd.NA, True, pd.NA]


def test_eliminated_resource_risks_and_shares() -> None:
    frame = pd.DataFrame(
        {
            "school_id": ["A", "B", "C", "D"] * 2,
            "year": [2024] * 4 + [2025] * 4,
            "no_stable_internet": pd.array(
                [True, True, False, None, False, True, True, False], dtype="boolean"
            ),
            "too_few_computers": [False] * 8,
            "teacher_shortage": [False, False, False, False, True, False, False, False],
        }
    )
    found = eliminated_risks(resource_risks(frame))
    net = found[found["risk_factor"] == "no_stable_internet"].set_index("school_id")["eliminated"]
    assert net.to_dict() == {
        "A": "yes",
        "B": "no",
        "C": "not_applicable",
        "D": "insufficient_data",
    }
    # A lost one risk and gained another: its risks as a whole are not gone.
    any_risk = found[found["risk_factor"] == "hard_risk"].set_index("school_id")["eliminated"]
    assert any_risk["A"] == "no"
    shares = elimination_shares(found).set_index("risk_factor")
    assert shares.loc["no_stable_internet", "eliminated_share"] == 0.5
    # T4-20 with nobody at risk the year before: no data, not 0 %.
    none = shares.loc["too_few_computers"]
    assert np.isnan(none["eliminated_share"])
    assert none["n_at_risk_before"] == 0
    assert none["reason"].ru.startswith("нет данных")


# ---------------------------------------------------------------- the risk zone


def counts(**schools: list[tuple[int, int]]) -> pd.DataFrame:
    rows = [
        (school, 2025, f"ВПР-{5 + k}-МА", n, f)
        for school, cells in schools.items()
        for k, (n, f) in enumerate(cells)
    ]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


def test_the_bounds_of_the_zone_are_exact() -> None:
    table = counts(A=[(10, 2)], B=[(10, 3)], C=[(5, 1)], D=[(100, 19)], E=[(1000, 299)], F=[(0, 0)])
    found = risk_zone(table).set_index("school_id")
    # [.20, .30): 2 of 10 and 1 of 5 in, 3 of 10 is the low-result rule's, 19 of 100 is below.
    assert found["share_in_zone"].to_dict() == {
        "A": "yes",
        "B": "no",
        "C": "yes",
        "D": "no",
        "E": "yes",
        "F": "insufficient_data",
    }
    assert (found["verdict"] == found["share_in_zone"]).all()
    assert (found["any_resource_risk"] == "not_applicable").all()


def test_pooled_share_and_any_procedure_differ() -> None:
    table = counts(A=[(10, 5), (90, 9)], B=[(20, 5), (20, 0)])
    pooled = risk_zone(table).set_index("school_id")
    # 14 of 100 and 5 of 40 lie below .20; one of B's procedures lies within.
    assert pooled["share_below_minimum"].tolist() == [0.14, 0.125]
    assert pooled["share_in_zone"].tolist() == ["no", "no"]
    some = risk_zone(table, share_of="any_procedure").set_index("school_id")
    assert some["share_in_zone"].tolist() == ["no", "yes"]


def test_the_zone_is_the_kleene_or_of_its_conditions(profile) -> None:
    resources = pd.DataFrame(
        {
            "school_id": list("ABCD"),
            "year": 2025,
            "hard_risk": pd.array([False, False, None, True], dtype="boolean"),
        }
    )
    table = counts(A=[(10, 1)], B=[(10, 2)], C=[(10, 0)], D=[(10, 0)])
    found = risk_zone(table, profile=profile, resources=resources, high_factors=2)
    found = found.set_index("school_id")
    # High factors of 2025: A 1 of 3 known; B 1; C 0; D 1 and two unknown, so 2 could be reached.
    assert found["many_high_factors"].tolist() == ["no", "no", "no", "insufficient_data"]
    assert found["verdict"].to_dict() == {
        "A": "no",
        "B": "yes",
        "C": "insufficient_data",
        "D": "yes",
    }
    assert found.loc["B", "reason"] == "In the risk zone by: share below the minimum."
    assert "ресурсные риски" in found.loc["C", "reason"].ru
    assert set(found.reset_index().columns) <= set(column_names())


def test_a_rule_on_the_table_of_schools_gives_the_same_answer(profile) -> None:
    """`n_high_factors` and `hard_risk` as columns of the schools, read by a rule as data."""
    schools = items()[["school_id", "year"]].assign(
        no_stable_internet=pd.array([None, False, False, False] * 2, dtype="boolean"),
        too_few_computers=False,
        teacher_shortage=[False, False, True, False] * 2,
    )
    resources = resource_risks(schools)
    table = risk_columns(
        items()[["school_id", "year"]], profile=profile, high_factors=2, resources=resources
    )
    # D has one high factor and two unknown ones: the number is left open.
    assert np.isnan(table.loc[7, "n_high_factors"])
    rule = Criteria(
        id="risk_zone_resources",
        version="1",
        title_en="Risk zone by factors or resources",
        title_ru="Зона риска по факторам или ресурсам",
        combination="any",
        criteria=(
            Criterion(name="factors", column="n_high_factors", at_least=2),
            Criterion(name="resources", column="hard_risk", at_least=1),
        ),
    )
    with pytest.warns(WeakDataWarning):
        verdicts = detect_schools(None, None, rule, schools=table).schools
    zone = risk_zone(profile=profile, resources=resources, high_factors=2)
    expected = {"A": "insufficient_data", "B": "no", "C": "yes", "D": "insufficient_data"}
    assert dict(zip(verdicts["school_id"], verdicts["verdict"], strict=True)) == expected
    assert dict(zip(zone["school_id"], zone["verdict"], strict=True)) == expected


# ---------------------------------------------------------------- words


def test_explain_in_both_languages(profile) -> None:
    english, russian = profile.explain("A"), profile.explain("A", lang="ru")
    assert "«Shortage of teachers»: 62 of 100, significance medium" in str(english)
    assert "«Дефицит педагогических кадров»: 62 из 100, значимость средняя" in str(russian)
    assert "Доля вакансий 0,1: риск 50" in str(russian)
    assert "не подтверждено официальным документом" in str(russian)
    missing = str(profile.explain("D", lang="ru"))
    assert "недостаточно данных, известно 0 % весов, нужно 60 %" in missing
    assert "нет сведений" in missing
    assert len(profile.explain("D", year=2024).table) == 4
    assert set(english.table.columns) <= set(column_names())


def test_tables_summary_and_augment(profile) -> None:
    for table in (profile.tidy(), profile.glance(), profile.schools, profile.items):
        assert set(table.columns) <= set(column_names())
    assert set(profile.eliminated().columns) <= set(column_names())
    assert set(elimination_shares(profile.eliminated()).columns) <= set(column_names())
    assert set(resource_risks(items().assign(hard=1, teacher_shortage=True)).columns) <= set(
        column_names()
    )
    summary = profile.summary("ru")
    assert "Рисковый профиль школ" in summary
    assert "высокая значимость — 2, средняя — 1, низкая — 1" in summary
    assert "nan" not in summary
    added = profile.augment(items()[["school_id", "year"]].iloc[::-1])
    assert added["n_high_factors"].tolist() == profile.schools["n_high_factors"].tolist()[::-1]
    assert json.dumps(profile.to_dict(), ensure_ascii=False)
    unmeasured = risk_profile(items(), [*definition(), risk_factor("low_discipline")])
    assert any("low_discipline" in note for note in unmeasured.notes)
    assert len(unmeasured.factors) == 24
