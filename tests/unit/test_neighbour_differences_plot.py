"""The caterpillar of differences from neighbours: what it draws and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.neighbour_differences import plot_neighbour_differences

D = np.array([0.4, -0.6, 0.1, 0.5, np.nan])
TABLE = pd.DataFrame(
    {
        "school_id": list("ABCDE"),
        "neighbour_mean": 2.0,
        "difference": D,
        "conf_low": D - 0.2,
        "conf_high": D + 0.2,
        "typical_low": 1.0,
        "typical_high": 3.5,
        "verdict": ["above", "below", "as_expected", "insufficient_data", "insufficient_data"],
    }
)


def texts(ax) -> list[str]:
    return [t.get_text() for t in ax.texts]


def test_ranges_stand_around_the_mean_of_the_neighbours():
    ax = plot_neighbour_differences(TABLE)
    boxes = [p.get_bbox() for p in ax.patches]
    assert len(boxes) == 4
    assert all((b.y0, b.y1) == pytest.approx((-1.0, 1.5)) for b in boxes)


def test_schools_stand_in_order_with_the_verdicts_in_the_legend():
    ax = plot_neighbour_differences(TABLE, lang="ru")
    places = {
        own.get_label().partition(":")[0]: own.get_offsets().tolist() for own in ax.collections
    }
    assert places["ниже"] == [[1.0, -0.6]]
    assert places["как ожидалось"] == [[2.0, 0.1]]
    assert places["выше"] == [[3.0, 0.4]]
    hollow = next(c for c in ax.collections if c.get_label().startswith("недостаточно"))
    assert hollow.get_facecolor().tolist() == [[1.0, 1.0, 1.0, 1.0]]
    assert "Не показано школ" in ax.get_title(loc="left")
    assert ax.get_ylabel() == "Результат минус среднее соседей, единицы результата"


def test_names_of_the_extremes_or_of_the_chosen():
    assert sorted(texts(plot_neighbour_differences(TABLE))) == ["A", "B"]
    assert texts(plot_neighbour_differences(TABLE, highlight=[])) == []
    ax = plot_neighbour_differences(TABLE, highlight=["C"], names={"C": "Northern"})
    assert texts(ax) == ["Northern"]


def test_the_same_table_gives_the_same_file():
    one, other = (figure_bytes(plot_neighbour_differences(TABLE), "svg") for _ in range(2))
    assert one == other


def test_what_cannot_be_drawn():
    with pytest.raises(SpecificationError, match="table"):
        plot_neighbour_differences(3)
    with pytest.raises(DataError, match="verdict"):
        plot_neighbour_differences(TABLE.drop(columns="verdict"))
    with pytest.raises(DataError, match="none of the 1 school has a difference"):
        plot_neighbour_differences(TABLE.iloc[4:])
    with pytest.raises(DataError, match="highlight"):
        plot_neighbour_differences(TABLE, highlight=["E"])
