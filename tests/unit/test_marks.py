"""Standardised mean marks, by hand: the outcome of a supervised context index."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError
from resilience.pipeline.marks import has_marks, mean_marks


def table(rows) -> pd.DataFrame:
    columns = ["school_id", "year", "procedure", "n_2", "n_3", "n_4", "n_5"]
    return pd.DataFrame(rows, columns=columns)


def test_one_procedure_by_hand():
    # marks: A 2,3,4  B 3,4,5  → region mean 3.5, variance 11/12
    counts = table([("A", 2025, "ОГЭ-РУ", 1, 1, 1, 0), ("B", 2025, "ОГЭ-РУ", 0, 1, 1, 1)])
    found = mean_marks(counts).set_index("school_id")["mean_score"]
    assert found.to_dict() == pytest.approx(
        {"A": -0.5 / np.sqrt(11 / 12), "B": 0.5 / np.sqrt(11 / 12)}
    )


def test_procedures_weigh_by_participants_and_classes_add_up():
    rows = [
        ("A", 2025, "ВПР-5-РУ", 1, 1, 0, 0),
        ("B", 2025, "ВПР-5-РУ", 0, 0, 1, 1),
        ("A", 2025, "ВПР-6-РУ", 0, 0, 3, 3),
        ("B", 2025, "ВПР-6-РУ", 3, 3, 0, 0),
    ]
    found = mean_marks(table(rows)).set_index("school_id")["mean_score"]
    # both procedures: mean 3.5, variance 1.25; A has 2.5 of two pupils and 4.5 of six
    expected = (2 * -1 + 6 * 1) / 8 / np.sqrt(1.25)
    assert found.to_dict() == pytest.approx({"A": expected, "B": -expected})
    split = [(*rows[2][:3], 0, 0, 1, 2), (*rows[2][:3], 0, 0, 2, 1)]
    again = mean_marks(table([rows[0], rows[1], *split, rows[3]])).set_index("school_id")
    pd.testing.assert_series_equal(again["mean_score"], found)


def test_what_tells_no_school_from_another_is_left_aside():
    rows = [("A", 2025, "ОГЭ-РУ", 1, 1, 1, 0), ("B", 2025, "ОГЭ-РУ", 0, 1, 1, 1)]
    alike = [("A", 2025, "ОГЭ-МА", 0, 4, 0, 0), ("B", 2025, "ОГЭ-МА", 0, 2, 0, 0)]
    scores = [("A", 2025, "ЕГЭ-РУ", *[float("nan")] * 4)]
    pd.testing.assert_frame_equal(
        mean_marks(table([*rows, *alike, *scores])), mean_marks(table(rows))
    )
    assert has_marks(table(rows))
    assert not has_marks(table(scores))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (table([]), "empty"),
        (table([("A", 2025, "ОГЭ-РУ", 0, 3, 0, 0)]), "empty"),
        (table([("A", 2025, "ОГЭ-РУ", 1, 3, 0, 0)]).drop(columns="n_5"), "'n_5'"),
        (table([("A", 2025, "ОГЭ-РУ", 0, 0, 0, 0)]), "empty"),
        (table([("A", 2025, "ОГЭ-РУ", 1, float("nan"), 0, 2)]), "'n_3' has 1 missing"),
    ],
)
def test_bad_counts(counts, words):
    with pytest.raises(DataError, match=words) as caught:
        mean_marks(counts)
    assert any("а" <= c <= "я" for c in caught.value.localized("ru"))
