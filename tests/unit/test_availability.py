"""A list due on 31 May cannot use that summer's examinations."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.pipeline.availability import known_on, read_date

COUNTS = pd.DataFrame(
    {
        "school_id": ["A", "A", "A", "B"],
        "year": [2024, 2025, 2025, 2025],
        "procedure": ["ОГЭ-РУ", "ОГЭ-РУ", "ВПР-5-РУ", "ОГЭ-РУ"],
    }
)
PROCEDURES = pd.DataFrame(
    {
        "procedure": ["ОГЭ-РУ", "ОГЭ-РУ", "ВПР-5-РУ"],
        "year": [2024, 2025, 2025],
        "available_from": ["2024-07-01", "2025-07-01", "2025-05-31"],
    }
)


def test_the_summer_is_withheld_and_said():
    known = known_on(COUNTS, PROCEDURES, date(2025, 5, 31))
    assert known.table.index.tolist() == [0, 2]
    assert known.withheld.to_dict("records") == [
        {"procedure": "ОГЭ-РУ", "year": 2025, "available_from": "2025-07-01", "n_rows": 2}
    ]


def test_the_day_itself_counts_and_no_day_keeps_all():
    assert len(known_on(COUNTS, PROCEDURES, date(2025, 7, 1)).table) == 4
    assert known_on(COUNTS, None, None).table is COUNTS


def test_a_procedure_without_a_date_is_named():
    with pytest.raises(DataError, match="ВПР-5-РУ 2025"):
        known_on(COUNTS, PROCEDURES.iloc[:2], date(2025, 5, 31))
    with pytest.raises(DataError, match="2025-05-31"):
        known_on(COUNTS, None, date(2025, 5, 31))


def test_a_repeated_procedure_is_refused():
    twice = pd.concat([PROCEDURES, PROCEDURES.iloc[[0]]])
    with pytest.raises(DataError, match="procedure × year"):
        known_on(COUNTS, twice, date(2025, 5, 31))


def test_dates_are_read_or_refused():
    assert read_date("2025-05-31", argument="as_of") == date(2025, 5, 31)
    with pytest.raises(SpecificationError, match=r"31\.05\.25"):
        read_date("31.05.25", argument="as_of")
