"""Point and interval criteria: values, percentiles with ties, distances, strata, k of n years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.detection import Criteria, Criterion, DetectionResults, detect_schools
from resilience.errors import DataError, SpecificationError
from resilience.stats.verdicts.percentiles import percentiles

N = 24
IDS = [f"S{k:02d}" for k in range(N)]


def rule(*criteria: Criterion, **fields: object) -> Criteria:
    return Criteria(id="r", version="1", title_en="R", title_ru="П", criteria=criteria, **fields)


def criterion(**fields: object) -> Criterion:
    return Criterion(**({"name": "one", "column": "context_index"} | fields))


def scores(values: np.ndarray, year: int = 2025) -> pd.DataFrame:
    return pd.DataFrame({"school_id": IDS, "year": year, "context_index": values})


def answers(found: DetectionResults) -> list[str]:
    return found.schools["verdict"].tolist()


def test_percentiles_by_hand() -> None:
    found = percentiles([1, 2, 2, 3, 4, 5, 6, 7])
    np.testing.assert_allclose(found, [0.0625, 0.25, 0.25, 0.4375, 0.5625, 0.6875, 0.8125, 0.9375])


def test_percentiles_leave_gaps_alone_and_take_weights() -> None:
    found = percentiles([3.0, np.nan, 1.0])
    np.testing.assert_allclose(found, [0.75, np.nan, 0.25])
    weighted = percentiles([1.0, 2.0, 3.0], [1.0, 2.0, 1.0])
    np.testing.assert_allclose(weighted, [0.125, 0.5, 0.875])
    with pytest.raises(DataError, match="weights"):
        percentiles([1.0, 2.0], [1.0, 0.0])


def test_ties_stand_or_fall_together() -> None:
    values = np.array([1, 2, 2, 3, 4, 5, 6, 7] * 3, dtype=float)  # every value three times
    found = detect_schools(None, scores(values), rule(criterion(at_most=0.25, scale="quantile")))
    listed = values[np.array(answers(found)) == "yes"]
    assert sorted(listed) == [1.0] * 3 + [2.0] * 6  # the six 2s share percentile .25 and are all in
    assert found.criteria["threshold"].unique() == [2.0]
    below = detect_schools(None, scores(values), rule(criterion(below=0.25, scale="quantile")))
    assert set(values[np.array(answers(below)) == "yes"]) == {1.0}


@pytest.mark.parametrize(
    ("bound", "listed"),
    [
        ({"at_most": 3.0}, [0, 1, 2, 3]),
        ({"below": 3.0}, [0, 1, 2]),
        ({"at_least": 21.0}, [21, 22, 23]),
        ({"above": 21.0}, [22, 23]),
        ({"between": (5.0, 7.0)}, [5, 6, 7]),
        ({"at_most": 0.125, "scale": "quantile"}, [0, 1, 2]),
        ({"at_least": 0.9, "scale": "quantile"}, [22, 23]),
        ({"at_least": 1.5, "scale": "z"}, [23]),
    ],
)
def test_every_bound(bound: dict[str, object], listed: list[int]) -> None:
    values = np.arange(N, dtype=float)  # SD 7.07, so z of the largest is 1.63 and of the next 1.48
    found = detect_schools(None, scores(values), rule(criterion(**bound)))
    assert [k for k, v in enumerate(answers(found)) if v == "yes"] == listed


def test_thresholds_are_shown_in_the_unit_of_the_value() -> None:
    values = np.arange(N, dtype=float)
    z = detect_schools(None, scores(values), rule(criterion(at_least=1.5, scale="z")))
    assert z.criteria["threshold"].unique() == pytest.approx([11.5 + 1.5 * values.std(ddof=1)])
    assert z.criteria["value"].tolist() == values.tolist()
    top = detect_schools(None, scores(values), rule(criterion(at_least=0.9, scale="quantile")))
    assert top.criteria["threshold"].unique() == [22.0]


def test_a_missing_value_is_unknown_and_stays() -> None:
    values = np.arange(N, dtype=float)
    values[3] = np.nan
    found = detect_schools(None, scores(values), rule(criterion(at_most=0.25, scale="quantile")))
    assert answers(found)[3] == "insufficient_data"
    assert "No value of context_index" in found.schools["reason"].iloc[3]
    assert len(found.schools) == N


def test_each_school_stands_by_its_latest_index() -> None:
    old = scores(np.arange(N, dtype=float), 2024)
    new = scores(np.arange(N, dtype=float)[::-1], 2025)
    found = detect_schools(None, pd.concat([old, new.iloc[1:]]), rule(criterion(at_most=2.0)))
    # the first school has no index of 2025, its 0 of 2024 stands
    assert [k for k, v in enumerate(answers(found)) if v == "yes"] == [0, 21, 22, 23]
    back = detect_schools(None, pd.concat([old, new]), rule(criterion(at_most=2.0), year=2024))
    assert [k for k, v in enumerate(answers(back)) if v == "yes"] == [0, 1, 2]


def means(by_year: dict[int, np.ndarray]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"school_id": IDS, "year": y, "mean_score": v}) for y, v in by_year.items()
    ]
    return pd.concat(frames, ignore_index=True)


def test_k_of_n_years() -> None:
    base = np.zeros(N)
    years = {2023: base.copy(), 2024: base.copy(), 2025: base.copy()}
    years[2023][[0, 1]] = 5
    years[2024][[0, 2]] = 5
    years[2025][[0, 1]] = 5
    years[2024][3] = np.nan
    years[2023][3] = years[2025][3] = 5
    years[2024][4] = np.nan
    years[2023][4] = 5
    one = criterion(column="mean_score", at_least=1.0, years_at_least=2, years_of=3)
    found = answers(detect_schools(None, None, rule(one), schools=means(years)))
    assert found[:6] == ["yes", "yes", "no", "yes", "insufficient_data", "no"]
    every = criterion(column="mean_score", at_least=1.0, years_at_least=3, years_of=3)
    found = answers(detect_schools(None, None, rule(every), schools=means(years)))
    assert found[:5] == ["yes", "no", "no", "insufficient_data", "no"]


def test_percentiles_are_taken_within_each_year() -> None:
    rising = {2024: np.arange(N, dtype=float), 2025: 100 + np.arange(N, dtype=float)}
    one = criterion(
        column="mean_score", at_least=0.9, scale="quantile", years_at_least=2, years_of=2
    )
    found = answers(detect_schools(None, None, rule(one), schools=means(rising)))
    assert [k for k, v in enumerate(found) if v == "yes"] == [22, 23]


def test_the_mean_over_years() -> None:
    years = {2024: np.arange(N, dtype=float), 2025: np.arange(N, dtype=float)[::-1]}
    years[2025][0] = np.nan
    one = criterion(column="mean_score", at_least=12.0, years="mean")
    found = answers(detect_schools(None, None, rule(one), schools=means(years)))
    assert found[0] == "no"  # its only year is 0
    assert set(found[1:]) == {"no"}  # all other means are 11.5


def test_years_the_table_does_not_hold() -> None:
    one = criterion(column="mean_score", at_least=1.0, years_at_least=3, years_of=3)
    table = means({2025: np.arange(N, dtype=float)})
    with pytest.warns(match="no answer for want of data"):
        found = answers(detect_schools(None, None, rule(one), schools=table))
    assert found[0] == "no"  # 0 this year: three of three cannot be reached
    assert set(found[1:]) == {"insufficient_data"}
    with pytest.raises(DataError, match="no results of the year 2020; years there: 2025"):
        detect_schools(None, None, rule(one, year=2020), schools=table)


def test_strata() -> None:
    schools = means({2025: np.arange(N, dtype=float)}).assign(is_rural=[True] * 12 + [False] * 12)
    one = criterion(column="mean_score", at_least=0.9, scale="quantile", within=("is_rural",))
    found = detect_schools(None, None, rule(one), schools=schools)
    assert [k for k, v in enumerate(answers(found)) if v == "yes"] == [11, 23]
    assert found.criteria["threshold"].unique().tolist() == [11.0, 23.0]


def effects(effect: np.ndarray, sd: float = 0.1) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": IDS,
            "effect": effect,
            "std_error": 1.2 * sd,
            "conditional_sd": sd,
            "reliability": 0.8,
            "n_pupils": 50,
            "n_years": 3,
        }
    )


def test_the_interval_of_the_effect() -> None:
    table = effects(np.linspace(-0.5, 0.5, N))
    one = Criterion(name="one", column="effect", above=0.0, evidence="interval")
    found = detect_schools(table, None, rule(one))
    low = table["effect"] - 1.959964 * 0.12  # the prediction error, where there is one
    assert [v == "yes" for v in answers(found)] == (low > 0).tolist()
    np.testing.assert_allclose(found.criteria["value"], low, atol=1e-6)
    narrow = detect_schools(table.drop(columns="std_error"), None, rule(one))
    low = table["effect"] - 1.959964 * 0.1
    np.testing.assert_allclose(narrow.criteria["value"], low, atol=1e-6)
    below = Criterion(name="one", column="effect", below=0.0, evidence="interval", level=0.5)
    mirrored = detect_schools(table, None, rule(below))
    high = table["effect"] + 0.674490 * 0.12
    assert [v == "yes" for v in answers(mirrored)] == (high < 0).tolist()


def test_the_preset_on_intervals_needs_an_adverse_context() -> None:
    table, index = effects(np.linspace(-0.5, 0.5, N)), scores(np.arange(N, dtype=float)[::-1])
    found = detect_schools(table, index, Criteria.preset("resilient_residual"))
    both = (table["effect"] - 1.959964 * 0.12 > 0) & (np.arange(N) >= N - 6)
    assert [v == "yes" for v in answers(found)] == both.tolist()


def test_schools_with_selection_are_outside_lists_of_resilient_schools() -> None:
    schools = pd.DataFrame({"school_id": IDS, "is_selective": [False] * 23 + [True]})
    table, index = effects(np.linspace(-0.5, 0.5, N)), scores(np.arange(N, dtype=float)[::-1])
    preset = Criteria.preset("resilient_residual")
    found = detect_schools(table, index, preset, schools=schools)
    last = found.schools.iloc[-1]
    assert (last["verdict"], "selection" in last["reason"]) == ("not_applicable", True)
    unaware = detect_schools(table, index, preset)
    assert unaware.schools.iloc[-1]["verdict"] == "yes"
    assert any("which schools select" in note for note in unaware.notes)


@pytest.mark.parametrize(
    ("combination", "expected"), [("all", [3]), ("any", [1, 2, 3]), (2, [2, 3]), (1, [1, 2, 3])]
)
def test_combinations(combination: object, expected: list[int]) -> None:
    values = np.arange(N, dtype=float)
    three = [
        criterion(name="a", between=(1.0, 3.0)),
        criterion(name="b", between=(2.0, 3.0)),
        criterion(name="c", between=(2.5, 3.0)),
    ]
    found = detect_schools(None, scores(values), rule(*three, combination=combination))
    assert [k for k, v in enumerate(answers(found)) if v == "yes"] == expected


def test_posterior_and_point_criteria_in_one_rule() -> None:
    table = effects(np.linspace(-1.0, 1.0, N))
    better = Criterion(
        name="better",
        column="effect",
        above=0.0,
        evidence="posterior",
        loss_false_positive=4,
    )
    alone = detect_schools(table, None, rule(better))
    many = criterion(name="pupils", column="n_pupils", at_least=40)
    few = criterion(name="pupils", column="n_pupils", at_least=60)
    together = detect_schools(table, None, rule(better, many))
    assert answers(together) == answers(alone)
    assert set(answers(detect_schools(table, None, rule(better, few)))) == {"no"}
    assert together.schools["probability"].tolist() == alone.schools["probability"].tolist()


def test_a_column_that_no_table_holds() -> None:
    with pytest.raises(SpecificationError, match=r"no table given .* has the column mean_score"):
        detect_schools(
            None, scores(np.arange(N, dtype=float)), rule(criterion(column="mean_score", above=1.0))
        )
