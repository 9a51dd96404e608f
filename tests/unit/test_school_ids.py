"""One school is one school, however its id is written; flags are numbers; years are whole."""

import warnings

import numpy as np
import pandas as pd
import pytest

from resilience.detection.history.early_warning import early_warning
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.simulator.simulate import simulate_rule
from resilience.detection.verdicts.detect import detect_schools
from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import DataError, SpecificationError, WeakDataWarning

LATIN = ["A1", "A2", "A3", "A4", "A5", "A6"]


def effects(ids: list[object]) -> pd.DataFrame:
    return pd.DataFrame(
        {"school_id": ids, "effect": [0.5, 0.4, 0.3, 0.0, -0.1, -0.2], "std_error": 0.1}
    )


def scores(ids: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"school_id": ids, "context_index": [30.0, 45.0, 50.0, 52.0, 55.0, 60.0]})


def found(first: list[object], second: list[object]) -> DetectionResults:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)  # six schools are few, as intended
        return detect_schools(effects(first), scores(second), Criteria.preset("resilient_residual"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1, 2, 3, 4, 5, 6], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),  # a spreadsheet's empty cell did it
        ([1, 2, 3, 4, 5, 6], ["1", "2", "3", "4", "5", "6"]),
    ],
)
def test_numbers_of_schools_are_the_same_in_every_type(
    first: list[object], second: list[object]
) -> None:
    schools = found(first, second).schools
    assert schools["school_id"].tolist() == ["1", "2", "3", "4", "5", "6"]
    assert schools["verdict"].tolist() == ["yes", "yes", "no", "no", "no", "no"]


@pytest.mark.parametrize(
    "second",
    [
        [f" {i}" for i in LATIN],
        [f"{i} " for i in LATIN],
        [f"А{i[1:]}" for i in LATIN],  # a Cyrillic А
        [*LATIN[:5], "A6.0"],
    ],
)
def test_one_school_in_two_spellings_is_refused(second: list[object]) -> None:
    with pytest.raises(DataError, match="written in two ways") as caught:
        found(list(LATIN), second)
    assert "effects" in str(caught.value)
    assert "scores" in caught.value.message.ru


def test_tables_of_different_schools_are_refused() -> None:
    with pytest.raises(DataError, match="no school in common"):
        found(list(LATIN), ["1", "2", "3", "4", "5", "6"])


def test_a_year_is_a_whole_number() -> None:
    counts = pd.DataFrame(
        {
            "school_id": ["A", "B"],
            "year": [2024.5, 2025.0],
            "procedure": "ОГЭ-РУ",
            "n_participants": 20,
            "n_below_minimum": 5,
        }
    )
    with pytest.raises(DataError, match=r"'year' holds 2024\.5"):
        detect_schools(None, None, Criteria.preset("low_results_2025_or"), counts=counts)


def judged(column: pd.Series, criterion: Criterion) -> pd.DataFrame:
    rule = Criteria(id="own", version="1", title_en="own", title_ru="own", criteria=(criterion,))
    table = pd.DataFrame({"school_id": LATIN}).assign(**{criterion.column: column})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        return detect_schools(None, None, rule, schools=table).schools


def two_years() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    sizes = rng.integers(8, 30, size=(6, 3, 2))
    rows = [
        (school, year, procedure, sizes[s, y, p], rng.binomial(sizes[s, y, p], 0.1 + 0.06 * s))
        for s, school in enumerate(range(1, 7))
        for y, year in enumerate((2023, 2024, 2025))
        for p, procedure in enumerate(("ОГЭ-МА", "ОГЭ-РУ"))
    ]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


RULE = Criteria.preset("low_results_2025_or")


@pytest.mark.parametrize("value", ["нет", "False", 2])
def test_rurality_in_words_is_refused_not_forgotten(value: object) -> None:
    schools = pd.DataFrame({"school_id": range(1, 7), "is_rural": [value] * 6})
    with pytest.raises(DataError, match="is_rural of school 1 is"):
        simulate_rule(RULE, two_years(), schools=schools, n_replicates=2)
    with pytest.raises(DataError, match="is_rural of school 1 is"):
        early_warning(two_years(), rule=RULE, schools=schools, n_draws=50)


def test_rurality_is_found_under_ids_of_another_type() -> None:
    flags = pd.Series([True, True, False, None, False, True], dtype=object)
    schools = pd.DataFrame({"school_id": np.arange(1.0, 7.0), "is_rural": flags})
    simulated = simulate_rule(RULE, two_years(), schools=schools, n_replicates=2).by_rurality
    assert simulated["n_schools"].tolist() == [3, 2, 1]
    warned = early_warning(two_years(), rule=RULE, schools=schools, n_draws=50)
    assert set(warned.backtest["is_rural"].dropna()) == {True, False}


@pytest.mark.parametrize("rules", [None, 5, "low_results_2025_or", {"rule": 1}])
def test_rules_to_simulate_are_rules(rules: object) -> None:
    with pytest.raises(SpecificationError, match="a rule is"):
        simulate_rule(rules, two_years(), n_replicates=2)


AT_LEAST_ONE = Criterion(name="flag", column="hard_risk", at_least=1)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([True, False, True, False, False, False]),
        pd.Series([True, False, True, False, False, None], dtype="boolean"),
        pd.Series([True, False, True, False, False, None], dtype=object),
        pd.Series([1, 0, 1, 0, 0, None], dtype=object),
        pd.Series([1, 0, 1, 0, 0, None], dtype="Int64"),
    ],
)
@pytest.mark.parametrize("by_year", [False, True])
def test_a_flag_is_read_as_a_number(values: pd.Series, by_year: bool) -> None:
    rule = Criteria(id="own", version="1", title_en="own", title_ru="own", criteria=(AT_LEAST_ONE,))
    table = pd.DataFrame({"school_id": LATIN}).assign(hard_risk=values)
    table = table.assign(year=2025) if by_year else table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        verdict = detect_schools(None, None, rule, schools=table).schools["verdict"].tolist()
    last = "insufficient_data" if values.isna().any() else "no"
    assert verdict == ["yes", "no", "yes", "no", "no", last]


@pytest.mark.parametrize("values", [["да", "нет"] * 3, ["12,5"] * 6, ["12"] * 6])
def test_words_are_no_numbers_and_the_table_is_named(values: list[str]) -> None:
    with pytest.raises(DataError, match="table schools: column 'hard_risk' must be numeric"):
        judged(pd.Series(values, dtype=object), AT_LEAST_ONE)


def test_schools_that_are_all_alike_are_told_so() -> None:
    criterion = Criterion(name="far", column="mean_score", at_most=-1, scale="z")
    schools = judged(pd.Series(np.full(6, 3.5)), criterion)
    assert schools["verdict"].unique().tolist() == ["insufficient_data"]
    assert "do not differ" in schools["reason"].iloc[0]
    assert "одинаковы" in schools["reason"].iloc[0].ru
