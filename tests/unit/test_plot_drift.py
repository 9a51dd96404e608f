"""Drift lines: what is drawn is what the table holds, in both languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.drift import plot_drift


def table(n: int = 9) -> pd.DataFrame:
    """Effects of nine schools in three years and a forecast; S02 has no results in 2021."""
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(
        [(f"S{k:02d}", year) for k in range(n) for year in (2020, 2021, 2023, 2024)],
        columns=["school_id", "year"],
    )
    coming = rows["year"] == 2024
    effect = np.repeat(np.linspace(-1, 1, n), 4) + 0.05 * rng.normal(size=len(rows))
    gap = (rows["school_id"] == "S02") & (rows["year"] == 2021)
    return rows.assign(
        is_forecast=coming,
        effect=effect,
        conf_low=effect - 0.2,
        conf_high=effect + 0.2,
        n_pupils=np.where(gap, 0, 12),
        residual=np.where(gap | coming, np.nan, effect + 0.1),
        predictive_low=np.where(coming, effect - 0.5, np.nan),
        predictive_high=np.where(coming, effect + 0.5, np.nan),
    )


class Fit:
    """A result with a table of years."""

    def year_effects(self, *, level, forecast):
        rows = table()
        return rows if forecast else rows[~rows["is_forecast"]]


@pytest.mark.parametrize(("lang", "words"), [("en", "School effect"), ("ru", "Эффект школы")])
def test_the_ends_and_the_middle_are_named(lang, words):
    ax = plot_drift(table(), lang=lang)
    assert [t.get_text() for t in ax.texts] == ["S00", "S04", "S08"]
    assert words in ax.get_ylabel()
    assert {len(t.get_text()) for t in ax.get_legend().get_texts()} - {0}
    figure_bytes(ax, "png")  # lays the figure out
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2020", "2021", "2023", "2024"]


def test_lines_bands_and_intervals_are_those_of_the_table():
    rows = table()
    ax = plot_drift(rows, schools=["S02"])
    own = rows[rows["school_id"] == "S02"]
    thick = [line for line in ax.lines if line.get_linewidth() == 1.6]
    assert len(thick) == 1
    np.testing.assert_allclose(thick[0].get_xdata(), [2020, 2021, 2023])
    np.testing.assert_allclose(thick[0].get_ydata(), own["effect"].iloc[:3])
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed[0].get_ydata(), own["effect"].iloc[2:])
    np.testing.assert_allclose(dashed[0].get_xdata(), [2023, 2024])
    thin = [line for line in ax.lines if line.get_linewidth() == 0.4]
    assert len(thin) == 8
    tops = [c.get_datalim(ax.transData).y1 for c in ax.collections]
    assert max(tops) <= max(own["conf_high"].max(), own["predictive_high"].max()) + 1e-9


def test_a_year_without_results_is_hollow():
    ax = plot_drift(table(), schools=["S02"])
    hollow = [
        c
        for c in ax.collections
        if len(c.get_offsets())
        and len(c.get_facecolors())
        and tuple(c.get_facecolors()[0][:3]) == (1.0, 1.0, 1.0)
    ]
    places = np.concatenate([c.get_offsets() for c in hollow])[:, 0]
    np.testing.assert_allclose(sorted(places), [2021, 2024])
    assert "year without results" in [t.get_text() for t in ax.get_legend().get_texts()]
    other = plot_drift(table()[lambda f: f["school_id"] != "S02"])
    assert "year without results" not in [t.get_text() for t in other.get_legend().get_texts()]


def test_without_a_forecast_the_lines_end_with_the_data():
    for source in (table(), Fit()):
        ax = plot_drift(source, forecast=False)
        assert not [line for line in ax.lines if line.get_linestyle() == "--"]
        assert max(line.get_xdata()[-1] for line in ax.lines if len(line.get_xdata()) > 2) == 2023


def test_names_do_not_overlap_and_levels_are_said():
    rows = table()
    rows["effect"] = rows["effect"] * 0.02
    ax = plot_drift(
        rows, schools=["S00", "S01", "S02", "S03"], names={"S00": "School of the river"}
    )
    heights = sorted(t.xy[1] for t in ax.texts)
    bottom, top = ax.get_ylim()
    assert (np.diff(heights) > 0.03 * (top - bottom)).all()
    assert "School of the river" in {t.get_text() for t in ax.texts}
    assert "90 %" in plot_drift(Fit(), level=0.9).get_title(loc="left")


def test_years_that_are_words_stand_in_their_order():
    rows = table()[lambda f: ~f["is_forecast"]]
    rows = rows.assign(year=rows["year"].map(lambda y: f"{y}/{y + 1}"))
    ax = plot_drift(rows)
    figure_bytes(ax, "png")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2020/2021", "2021/2022", "2023/2024"]


def test_the_file_is_the_same_on_every_run():
    assert figure_bytes(plot_drift(table()), "png") == figure_bytes(plot_drift(table()), "png")


@pytest.mark.parametrize(
    ("source", "schools", "kind", "words"),
    [
        (object(), None, SpecificationError, ["year_effects()", "object"]),
        (table().drop(columns="conf_low"), None, DataError, ["'conf_low'"]),
        (table().iloc[:0], None, DataError, ["0 rows"]),
        (table(), ["S77"], DataError, ["S77", "schools"]),
        (table(), [f"S{k:02d}" for k in range(7)], SpecificationError, ["7 schools", "at most 6"]),
    ],
)
def test_what_cannot_be_drawn_is_said(source, schools, kind, words):
    with pytest.raises(kind) as caught:
        plot_drift(source, schools=schools)
    for word in words:
        assert word in str(caught.value)
