"""The figure of Type A against Type B draws what the table holds, in both languages."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.plotting.types import plot_types

TABLE = pd.DataFrame(
    {
        "school_id": ["S1", "S2", "S3"],
        "effect_a": [-1.0, 0.0, 1.0],
        "std_error_a": [0.1, 0.2, 0.3],
        "effect_b": [-0.5, 0.1, 0.4],
        "std_error_b": [0.2, 0.2, 0.2],
        "difference": [-0.5, -0.1, 0.6],
        "std_error_difference": [0.05, 0.1, 0.2],
        "changed": [True, False, True],
    }
)


def bars(ax: plt.Axes) -> list[np.ndarray]:
    """Return the ends of the bars of each collection of lines."""
    lines = [c for c in ax.collections if hasattr(c, "get_segments")]
    return [np.array(c.get_segments()) for c in lines]


def test_bars_are_the_intervals_of_the_difference():
    ax = plot_types(TABLE, n_named=1)
    (vertical,) = bars(ax)
    half = 1.96 * TABLE["std_error_difference"]
    np.testing.assert_allclose(vertical[:, 0, 1], TABLE["effect_b"] - half, rtol=1e-12)
    np.testing.assert_allclose(vertical[:, 1, 1], TABLE["effect_b"] + half, rtol=1e-12)
    # the largest difference among the verdicts that change
    assert [note.get_text() for note in ax.texts] == ["S3"]
    plt.close(ax.figure)


def test_crosses_are_the_intervals_of_both_effects():
    ax = plot_types(TABLE.drop(columns="std_error_difference"), errors="both", lang="ru")
    vertical, horizontal = bars(ax)
    half = 1.96 * TABLE["std_error_b"]
    np.testing.assert_allclose(vertical[:, 1, 1], TABLE["effect_b"] + half, rtol=1e-12)
    half = 1.96 * TABLE["std_error_a"]
    np.testing.assert_allclose(horizontal[:, 1, 0], TABLE["effect_a"] + half, rtol=1e-12)
    assert "тип А" in ax.get_xlabel()
    assert "Кресты" in ax.get_title(loc="left")
    assert [note.get_text() for note in ax.texts] == ["S3", "S1"]
    plt.close(ax.figure)


def test_other_errors_and_tables_are_refused():
    with pytest.raises(SpecificationError, match="errors"):
        plot_types(TABLE, errors="neither")
    with pytest.raises(DataError, match="std_error_difference"):
        plot_types(TABLE.drop(columns="std_error_difference"))
