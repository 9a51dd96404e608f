"""Means of marks and their sampling variance, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError
from resilience.pipeline.marks import marks_to_means


def table(rows) -> pd.DataFrame:
    columns = ["school_id", "year", "procedure", "n_2", "n_3", "n_4", "n_5"]
    return pd.DataFrame(rows, columns=columns)


def test_one_procedure_by_hand():
    # marks: A 2,3,4  B 3,4,5  → region mean 3.5, variance 11/12
    counts = table([("A", 2025, "ОГЭ-РУ", 1, 1, 1, 0), ("B", 2025, "ОГЭ-РУ", 0, 1, 1, 1)])
    found = marks_to_means(counts).set_index("school_id")
    sd = np.sqrt(11 / 12)
    assert found.loc["A", "mean_score"] == pytest.approx(-0.5 / sd)
    assert found.loc["B", "mean_score"] == pytest.approx(0.5 / sd)
    # within each school the squared deviations sum to 2, four degrees of freedom in all
    sigma2 = (4 / 4) / (11 / 12)
    assert found["sampling_variance"].tolist() == pytest.approx([sigma2 / 3] * 2)
    assert found["n_pupils"].tolist() == [3, 3]


def test_two_subjects_of_one_grade_share_their_pupils():
    rows = []
    for school, low in (("A", 4), ("B", 0)):
        for subject in ("РУ", "МА"):
            rows.append((school, 2025, f"ВПР-5-{subject}", low, 4, 4 - low, 2))
    one = marks_to_means(table(rows[::2]))["sampling_variance"]
    for r, share in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        both = marks_to_means(table(rows), correlation=r)
        np.testing.assert_allclose(both["sampling_variance"], share * one, rtol=1e-9)
        assert both["n_pupils"].tolist() == [10, 10]


def test_grades_are_different_pupils_and_classes_add_up():
    rows = [
        ("A", 2025, "ВПР-5-РУ", 1, 2, 1, 0),
        ("A", 2025, "ВПР-5-РУ", 0, 1, 1, 0),
        ("A", 2025, "ВПР-6-РУ", 1, 1, 1, 1),
        ("B", 2025, "ВПР-5-РУ", 0, 1, 3, 2),
        ("B", 2025, "ВПР-6-РУ", 0, 2, 1, 1),
    ]
    found = marks_to_means(table(rows)).set_index("school_id")
    assert found["n_pupils"].to_dict() == {"A": 10, "B": 10}
    a = marks_to_means(table([(*rows[0][:3], 1, 3, 2, 0), *rows[2:]])).set_index("school_id")
    pd.testing.assert_frame_equal(found, a)


def test_sampling_variance_is_that_of_drawn_classes():
    """Recovery: over many regions of alike schools the means vary as the variance says."""
    rng = np.random.default_rng(7)
    p = np.array([0.15, 0.4, 0.3, 0.15])
    squares, said = [], []
    for _ in range(200):
        marks = rng.multinomial(8, p, size=40)
        rows = [(f"S{k}", 2025, "ОГЭ-РУ", *map(int, m)) for k, m in enumerate(marks)]
        found = marks_to_means(table(rows))
        squares.append(found["mean_score"].var(ddof=1))
        said.append(found["sampling_variance"].mean())
    ratio = np.mean(squares) / np.mean(said)
    # a variance of 40 means has relative error √(2/39); over 200 regions 1.6 %; four of them
    assert ratio == pytest.approx(1.0, abs=4 * np.sqrt(2 / 39 / 200))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (table([]), "empty"),
        (table([("A", 2025, "ОГЭ-РУ", 0, 3, 0, 0)]), "ОГЭ-РУ of 2025"),
        (table([("A", 2025, "ОГЭ-РУ", 1, 3, 0, 0)]).drop(columns="n_5"), "'n_5'"),
        (table([("A", 2025, "ОГЭ-РУ", 0, 0, 0, 0)]), "empty"),
        (table([("A", 2025, "ОГЭ-РУ", 1, float("nan"), 0, 2)]), "'n_3' has 1 missing"),
    ],
)
def test_bad_counts(counts, words):
    with pytest.raises(DataError, match=words) as caught:
        marks_to_means(counts)
    assert any("а" <= c <= "я" for c in caught.value.localized("ru"))
