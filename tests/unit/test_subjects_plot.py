"""The figure of two subjects: what it draws, names and refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.subjects import plot_subjects


def table() -> pd.DataFrame:
    maths, reading = np.linspace(-0.6, 0.6, 30), 0.5 * np.linspace(-0.6, 0.6, 30)
    reading[4] = 0.7
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(30)] * 2,
            "subject": ["МА"] * 30 + ["РУ"] * 30,
            "effect": np.r_[maths, reading],
            "std_error": 0.1,
            "n_pupils": np.r_[[0], np.full(59, 12)],
        }
    )


@pytest.mark.parametrize(("lang", "word"), [("en", "School effect"), ("ru", "Эффект")])
def test_both_axes_name_their_subject(lang, word):
    ax = plot_subjects(table(), lang=lang)
    assert ax.get_xlabel().startswith(f"МА: {word}")
    assert ax.get_ylabel().startswith(f"РУ: {word}")
    title = ax.get_title(loc="left")
    # one school without results in one subject
    assert ("1 school)" in title) if lang == "en" else ("школ: 1)" in title)
    drawn = sum(len(c.get_offsets()) for c in ax.collections if len(c.get_offsets()) > 1)
    assert drawn >= 28
    assert figure_bytes(ax, "png", dpi=50)[:4] == b"\x89PNG"


def test_the_school_farthest_from_the_diagonal_is_named():
    named = [t.get_text() for t in plot_subjects(table()).texts]
    assert len(named) == 3
    assert named[0] == "S04"
    assert [t.get_text() for t in plot_subjects(table(), highlight=["S07"]).texts] == ["S07"]
    swapped = plot_subjects(table(), subjects=("РУ", "МА"), highlight=[])
    assert swapped.get_xlabel().startswith("РУ")
    assert not swapped.texts


def test_what_the_figure_refuses():
    with pytest.raises(SpecificationError, match="list"):
        plot_subjects([1.0])
    with pytest.raises(DataError, match="std_error"):
        plot_subjects(table().drop(columns="std_error"))
    with pytest.raises(SpecificationError, match="two against each other"):
        plot_subjects(table().iloc[:30])
    with pytest.raises(DataError, match="two different subjects"):
        plot_subjects(table(), subjects=("МА", "ФИ"))
    with pytest.raises(DataError, match="S99"):
        plot_subjects(table(), highlight=["S99"])
