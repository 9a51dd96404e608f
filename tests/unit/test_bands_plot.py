"""The figure of condition bands: what it draws and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.bands.model import ContextBands
from resilience.clustering.bands.results import BandResults
from resilience.plotting.bands import plot_bands
from resilience.plotting.canvas import figure_bytes

CONDITIONS = rs.Conditions(continuous=["remoteness_km"], shares=["low_income"])


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    """Return the region's schools."""
    return rs.load_dataset("north_region").schools


@pytest.fixture(scope="module")
def bands(schools: pd.DataFrame) -> BandResults:
    """Return bands of town and country."""
    return ContextBands(CONDITIONS, strata=["is_rural"]).fit(schools, random_state=1)


def test_every_stratum_has_its_schools_and_borders(bands: BandResults) -> None:
    ax = plot_bands(bands)
    assert len(ax.child_axes) == 2
    for panel, (stratum, cuts) in zip(ax.child_axes, bands.cuts.items(), strict=True):
        own = bands.schools[bands.schools["stratum"] == stratum].sort_values("expected_result")
        lines = [np.asarray(line.get_ydata(), dtype=float) for line in panel.lines]
        borders = sorted(float(y[0]) for y in lines if len(y) == 2 and y[0] == y[1])
        assert borders == pytest.approx(sorted(cuts))
        sure, between = lines[-2], lines[-1]
        assert between == pytest.approx(own.loc[own["between_bands"], "expected_result"])
        assert sure == pytest.approx(own.loc[~own["between_bands"], "expected_result"])
        segments = panel.collections[0].get_segments()  # type: ignore[attr-defined]  # vlines
        ends = np.array([[s[0, 1], s[1, 1]] for s in segments])
        assert ends == pytest.approx(own[["conf_low", "conf_high"]].to_numpy())
        assert [t.get_text() for t in panel.texts] == ["1", "2", "3", "4"]


def test_both_languages(bands: BandResults) -> None:
    ax = plot_bands(bands, lang="ru")
    assert ax.get_title(loc="left") == "Группы условий"
    assert "единицы результата" in ax.child_axes[0].get_ylabel()
    assert ax.child_axes[-1].get_xlabel() == "школы, сначала самые трудные условия"
    english = plot_bands(bands)
    assert "outcome units" in english.child_axes[0].get_ylabel()
    assert figure_bytes(ax, "svg") != figure_bytes(english, "svg")


def test_one_stratum_needs_no_panels_and_the_dispatch_knows_bands(schools: pd.DataFrame) -> None:
    bands = ContextBands(CONDITIONS).fit(schools, random_state=1)
    ax = plot_bands(bands)
    assert not ax.child_axes
    assert len(ax.lines) == 5
    assert figure_bytes(rs.plot(bands), "svg") == figure_bytes(ax, "svg")


def test_strata_too_small_to_be_cut_are_drawn_without_borders(schools: pd.DataFrame) -> None:
    small = schools[schools["school_id"].isin(schools["school_id"].unique()[:10])]
    with pytest.warns(rs.WeakDataWarning, match="too few"):
        bands = ContextBands(CONDITIONS).fit(small, random_state=1)
    ax = plot_bands(bands)
    assert len(ax.lines) == 2
    assert not ax.texts


def test_other_things_are_refused(bands: BandResults) -> None:
    with pytest.raises(rs.SpecificationError, match="not from DataFrame"):
        plot_bands(bands.schools)
    with pytest.raises(rs.SpecificationError):
        plot_bands(3)
    with pytest.raises(rs.SpecificationError, match="lang"):
        plot_bands(bands, lang="de")
