"""Things that are no table, and tables of counts and verdicts that cannot be true."""

import numpy as np
import pandas as pd
import pytest

from resilience.detection.concentration import concentration_set, fails_core_years
from resilience.detection.history.compare_lists import compare_lists
from resilience.detection.history.status import list_status
from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.borders import mark_borders
from resilience.detection.integrity.markers import integrity_markers
from resilience.detection.integrity.objectivity import objectivity_markers
from resilience.detection.integrity.regional import regional_markers
from resilience.detection.integrity.round_shares import round_shares
from resilience.detection.rule_columns import rank_percentiles, share_good_marks, yearly_flags
from resilience.detection.typology import list_persistence, typology
from resilience.errors import DataError, ResilienceError, SpecificationError

FUNCTIONS = {
    "adjacent_scores": lambda table: adjacent_scores(table, table),
    "concentration_set": concentration_set,
    "fails_core_years": lambda table: fails_core_years(table, subjects={"РУ": ["ОГЭ-РУ"]}),
    "integrity_markers": integrity_markers,
    "list_persistence": list_persistence,
    "list_status": list_status,
    "mark_borders": mark_borders,
    "objectivity_markers": objectivity_markers,
    "rank_percentiles": rank_percentiles,
    "regional_markers": regional_markers,
    "round_shares": round_shares,
    "share_good_marks": share_good_marks,
    "typology": lambda table: typology(table, table),
    "yearly_flags": yearly_flags,
}


def counts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": ["S1", "S1", "S2", "S2"],
            "year": 2025,
            "procedure": ["ОГЭ-РУ", "ОГЭ-МА"] * 2,
            "n_participants": [20, 20, 30, 30],
            "n_2": [2, 4, 3, 6],
            "n_3": [8, 8, 10, 12],
            "n_4": [6, 4, 10, 8],
            "n_5": [4, 4, 7, 4],
            "n_below_minimum": [2, 4, 3, 6],
        }
    )


def verdicts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": ["S1", "S2"] * 3,
            "year": [2023, 2023, 2024, 2024, 2025, 2025],
            "verdict": ["yes", "no", "yes", "no", "yes", "yes"],
        }
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("passed", [None, [1, 2], {"school_id": ["S1"]}, "counts.csv", 5])
def test_what_is_no_table_is_named_with_its_type(name: str, passed: object) -> None:
    with pytest.raises(ResilienceError) as caught:
        FUNCTIONS[name](passed)
    # results by year are a mapping, so that list_status looks at what the mapping holds
    kind = "list" if name == "list_status" and isinstance(passed, dict) else type(passed).__name__
    assert kind in str(caught.value) or "no table" in str(caught.value)
    assert kind in caught.value.message.ru or "таблиц" in caught.value.message.ru


@pytest.mark.parametrize("agreed", [None, 5, "S1"])
def test_an_agreed_list_is_a_table_or_ids(agreed: object) -> None:
    with pytest.raises(SpecificationError, match="agreed list"):
        compare_lists(verdicts()[lambda t: t["year"] == 2025], agreed)


@pytest.mark.parametrize("value", ["нет", "no", None, 2])
def test_agreed_is_true_or_false(value: object) -> None:
    agreed = pd.DataFrame({"school_id": ["S1", "S2"], "agreed": [True, value]})
    with pytest.raises(DataError, match="of school S2"):
        compare_lists(verdicts()[lambda t: t["year"] == 2025], agreed)


def test_a_computed_list_speaks_in_verdicts() -> None:
    table = verdicts()[lambda t: t["year"] == 2025]
    with pytest.raises(DataError, match="'да' of school S1"):
        compare_lists(table.assign(verdict="да"), ["S1"])


@pytest.mark.parametrize("successors", ["S1", ["S1", "S2"], 5])
def test_successors_are_a_table_or_pairs(successors: object) -> None:
    with pytest.raises(SpecificationError, match="successors is of type"):
        list_status(verdicts(), successors=successors)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("school_id", None, "'school_id' has 1 missing"),
        ("year", np.nan, "'year' has 1 missing"),
        ("procedure", None, "'procedure' has 1 missing"),
        ("n_2", -1.0, "n_2 = -1"),
        ("n_2", 1.5, "n_2 = 1.5"),
        ("n_2", np.inf, "n_2 = inf"),
        ("n_2", np.nan, "n_2 = nan"),
        ("n_5", 50.0, "n_5 = 50, n_participants = 20"),
        ("n_5", "4,5", "must be numeric"),
        ("n_participants", "20 чел.", "must be numeric"),
    ],
)
def test_marks_that_cannot_be_are_refused(column: str, value: object, said: str) -> None:
    table = counts().astype({column: float if isinstance(value, float) else object})
    table.loc[0, column] = value
    with pytest.raises(DataError) as caught:
        share_good_marks(table)
    assert said in str(caught.value)


def test_marks_given_twice_are_not_counted_twice() -> None:
    with pytest.raises(DataError, match="repeats in 1 rows"):
        share_good_marks(pd.concat([counts(), counts().iloc[:1]]))


def test_a_procedure_without_marks_is_left_out_and_classes_are_added() -> None:
    table = counts().astype(dict.fromkeys(("n_2", "n_3", "n_4", "n_5"), float))
    table.loc[0, ["n_2", "n_3", "n_4", "n_5"]] = np.nan
    shares = share_good_marks(table).set_index("school_id")["share_good_marks"]
    assert shares["S1"] == 8 / 20
    assert shares["S2"] == 29 / 60
    classes = pd.concat([counts().assign(class_label=c) for c in ("5а", "5б")])
    assert share_good_marks(classes)["share_good_marks"].tolist() == [18 / 40, 29 / 60]


@pytest.mark.parametrize(
    ("column", "value"), [("n_participants", -5), ("n_below_minimum", -1), ("n_below_minimum", 99)]
)
def test_round_shares_names_the_row_that_cannot_be(column: str, value: int) -> None:
    table = counts()
    table.loc[1, column] = value
    with pytest.raises(DataError, match="school S1, procedure ОГЭ-МА, year 2025"):
        round_shares(table)


@pytest.mark.parametrize("function", [yearly_flags, list_persistence])
@pytest.mark.parametrize(("column", "value"), [("school_id", None), ("year", np.nan)])
def test_verdicts_of_nobody_or_no_year_are_refused(function, column: str, value: object) -> None:
    table = verdicts().astype({column: object if value is None else float})
    table.loc[0, column] = value
    with pytest.raises(DataError, match=f"'{column}' has 1 missing"):
        function(table)


@pytest.mark.parametrize("function", [yearly_flags, list_persistence])
def test_verdicts_need_rows_and_years_as_numbers(function) -> None:
    with pytest.raises(DataError, match="empty"):
        function(verdicts().iloc[:0])
    with pytest.raises(DataError, match="'year' must be numeric"):
        function(verdicts().astype({"year": str}))


def test_a_year_without_answers_stays_in_the_count_of_years() -> None:
    table = verdicts()
    table.loc[table["year"] == 2024, "verdict"] = "insufficient_data"
    found = list_persistence(table)
    assert found["year"].tolist() == [2024, 2025]
    assert found["n_kept_unknown"].tolist() == [1, 1]
    table["verdict"] = "insufficient_data"
    with pytest.raises(DataError, match="3 year"):
        list_persistence(table)
