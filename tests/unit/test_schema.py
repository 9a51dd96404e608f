"""The binding tables, and whole frames against their rules."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.catalogue import load_dataset
from resilience.data.cells import accepted_headers, column_values, find_header
from resilience.data.schema import PASSPORT_SHARES, TABLES, check_table, table_rule
from resilience.errors import DataError, SpecificationError

COUNTS = {
    "school_id": ["007", "007"],
    "year": [2026, 2026],
    "procedure": ["ВПР-5-РУ", "ВПР-5-МА"],
    "n_participants": [10, 5],
    "n_2": [3, 0],
    "n_3": [4, 3],
    "n_4": [2, 2],
    "n_5": [1, 0],
    "n_below_minimum": [3, 0],
}


def test_every_column_of_a_table_stands_in_the_glossary() -> None:
    assert {c.name for t in TABLES for c in t.columns} <= set(column_names())
    assert set(PASSPORT_SHARES) <= {c.name for c in table_rule("schools").columns}
    for table in TABLES:
        assert set(table.key) <= {c.name for c in table.columns}


def test_a_table_in_order_passes() -> None:
    check_table("counts", pd.DataFrame(COUNTS))


def test_the_simulated_region_keeps_the_rules() -> None:
    region = load_dataset("north_region").frames
    for name in ("schools", "counts", "procedures", "pupils", "score_histograms"):
        check_table(name, region[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_2": [-3, 0]}, "«-3»"),
        ({"n_2": [2.5, 0]}, "«2.5»"),
        ({"n_2": [4, 0]}, "add up to 11"),
        ({"n_below_minimum": [11, 0]}, "only 10 participants"),
        ({"year": [1066, 2026]}, "«1066»"),
        ({"year": ["2026", "2026"]}, "must be numeric"),
        ({"procedure": ["ВПР-5-РУ", "ВПР-5-РУ"]}, "school_id × year × procedure"),
        ({"n_participants": [None, 5]}, "1 values of the required column"),
    ],
)
def test_a_wrong_value_is_named_with_its_row(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        check_table("counts", pd.DataFrame(COUNTS | change))
    assert words in str(caught.value)
    assert caught.value.localized("ru") != caught.value.localized("en")


def test_all_problems_of_a_frame_are_told_together() -> None:
    frame = pd.DataFrame(COUNTS | {"n_2": [-3, 0], "n_3": [0.5, 3], "year": [26, 2026]})
    with pytest.raises(DataError) as caught:
        check_table("counts", frame)
    assert "problems found: 3" in str(caught.value)
    assert "counts, row 1 (school_id 007, year 26, procedure ВПР-5-РУ), n_2" in str(caught.value)


def test_a_share_above_one_and_a_school_in_two_places() -> None:
    frame = pd.DataFrame({"school_id": ["1", "1"], "year": [2025, 2026], "low_income": [0.3, 35.0]})
    with pytest.raises(DataError, match="«35» is not a share"):
        check_table("schools", frame)
    frame = frame.assign(low_income=0.3, municipality_id=["North", "South"])
    with pytest.raises(DataError, match="«North» and «South»"):
        check_table("schools", frame)


def test_structure_is_checked_first() -> None:
    misspelt = pd.DataFrame(COUNTS).rename(columns={"n_participants": "n_particpants"})
    with pytest.raises(DataError, match="columns there are: n_particpants"):
        check_table("counts", misspelt)
    with pytest.raises(DataError, match="0 rows"):
        check_table("counts", pd.DataFrame(COUNTS).iloc[:0])
    with pytest.raises(SpecificationError, match="counts"):
        check_table("count", pd.DataFrame(COUNTS))


def test_keys_are_checked_where_they_are() -> None:
    pupils = pd.DataFrame({"pupil_key": ["a", "a"], "school_id": ["1", "2"], "score": [1.0, 2.0]})
    with pytest.raises(DataError, match="repeats"):
        check_table("pupils", pupils)
    check_table("pupils", pupils, unique=False)
    check_table("pupils", pupils.drop(columns="pupil_key"))


def test_values_become_the_types_of_data_sets() -> None:
    assert str(column_values([1, 2], "count").dtype) == "int64"
    assert str(column_values([1, None], "year").dtype) == "Int64"
    assert str(column_values([True, None], "flag").dtype) == "boolean"
    assert str(column_values([True, False], "flag").dtype) == "bool"
    assert str(column_values([0.5, None], "share").dtype) == "float64"
    assert str(column_values(["007", None], "code").dtype) == "string"


def test_headers_are_found_below_titles_and_in_both_languages() -> None:
    accepted = accepted_headers(["school_id", "year", "n_2"])
    rows = [["Отметки по району"], [], ["", "Код ОО\u00a0", "Учебный год", "«2»", "Телефон"]]
    found = find_header(rows, accepted)
    assert found is not None
    assert (found.row, found.columns) == (2, {"school_id": 1, "year": 2, "n_2": 3})
    assert found.unknown == {4: "Телефон"}
    assert find_header([["School", "something"]], accepted) is None
