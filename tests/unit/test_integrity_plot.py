"""The histogram of raw scores: what stands on the axes."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.data.catalogue import load_dataset
from resilience.detection.integrity.borders import mark_borders
from resilience.errors import DataError, SpecificationError
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.histograms import plot_score_histogram

REGION = load_dataset("north_region")
BORDERS = mark_borders(REGION.procedures)
TABLES = REGION.score_histograms


def test_bars_are_the_shares_of_the_school_and_the_line_those_of_all():
    ax = plot_score_histogram(TABLES, BORDERS, school_id="S135", procedure="ВПР-5-РУ", years=3)
    rows = TABLES[(TABLES["procedure"] == "ВПР-5-РУ") & TABLES["year"].isin([2023, 2024, 2025])]
    for school, drawn in (
        ("S135", np.array([bar.get_height() for bar in ax.containers[0]])),
        (None, ax.patches[-1].get_data().values),
    ):
        own = rows if school is None else rows[rows["school_id"] == school]
        counts = own.groupby("score")["n_pupils"].sum().reindex(range(46), fill_value=0)
        np.testing.assert_allclose(drawn, counts.to_numpy() / counts.sum())
    borders = [line.get_xdata()[0] for line in ax.lines]
    assert borders == [17.5, 28.5, 38.5]
    assert ax.get_title(loc="left") == "ВПР-5-РУ, 2023, 2024, 2025"


@pytest.mark.parametrize(
    ("school", "words"), [("S135", None), ("S003", "информативна от 50"), ("S037", "меньше 20")]
)
def test_small_numbers_are_pale_and_said(school, words):
    ax = plot_score_histogram(TABLES, BORDERS, school_id=school, procedure="ВПР-6-МА", lang="ru")
    told = " ".join(t.get_text() for t in ax.texts)
    assert ("Участников" in told) == (words is not None)
    assert words is None or words in told
    assert ax.get_xlabel() == "Первичный балл"


def test_same_drawing_same_bytes():
    ax, again = (
        plot_score_histogram(TABLES, BORDERS, school_id="S003", procedure="ОГЭ-МА")
        for _ in range(2)
    )
    assert figure_bytes(ax, "svg") == figure_bytes(again, "svg")


def test_bad_input():
    with pytest.raises(DataError, match="S135"):
        plot_score_histogram(TABLES, BORDERS, school_id="S1350", procedure="ВПР-5-РУ")
    with pytest.raises(DataError, match="it sat"):
        plot_score_histogram(TABLES, BORDERS, school_id="S135", procedure="ВПР-4-РУ")
    with pytest.raises(SpecificationError, match="years"):
        plot_score_histogram(TABLES, BORDERS, school_id="S135", procedure="ВПР-5-РУ", years=0)
    moved = BORDERS.copy()
    here = (moved["procedure"] == "ВПР-5-РУ") & (moved["year"] == 2025)
    moved.loc[here, "border_score"] += 1
    with pytest.raises(DataError, match="differ between the years"):
        plot_score_histogram(TABLES, moved, school_id="S135", procedure="ВПР-5-РУ", years=2)
