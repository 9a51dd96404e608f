"""Silhouettes and trees as they are drawn."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.clusters.model import ClusterModel
from resilience.clustering.clusters.results import ClusterResults
from resilience.plotting.dendrogram import plot_dendrogram
from resilience.plotting.silhouette import cluster_label, plot_silhouette

CYRILLIC = re.compile("[А-Яа-яЁё]{3}")
CONDITIONS = rs.Conditions(continuous={"remoteness_km": "linear"}, shares=["low_income"])


def fitted(**options: object) -> ClusterResults:
    generator = np.random.default_rng(0)
    kind = np.arange(72) % 3
    schools = pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(72)],
            "n_pupils": 300,
            "is_rural": np.arange(72) % 2 == 0,
            "remoteness_km": np.array([5.0, 40.0, 20.0])[kind] + 4 * generator.normal(size=72),
            "low_income": np.array([0.2, 0.25, 0.6])[kind] + 0.05 * generator.normal(size=72),
        }
    )
    return ClusterModel(CONDITIONS, n_clusters=3, **options).fit(schools)


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_silhouettes_stand_in_blocks(lang: str) -> None:
    found = fitted()
    ax = plot_silhouette(found, lang=lang, highlight=["S05"], names={"S05": "Fifth"})
    ax.figure.canvas.draw()
    assert len(ax.collections) == 3
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert [label[0] for label in labels] == ["1", "2", "3"]
    assert bool(CYRILLIC.search(labels[0])) == (lang == "ru")
    assert bool(CYRILLIC.search(ax.get_title(loc="left"))) == (lang == "ru")
    assert [t.get_text() for t in ax.texts] == ["Fifth"]
    value = found.schools.set_index("school_id").loc["S05", "silhouette"]
    assert ax.texts[0].xy[0] == pytest.approx(value)
    widths = [block.get_datalim(ax.transData).x1 for block in ax.collections]
    best = found.schools.groupby("cluster")["silhouette"].max()
    np.testing.assert_allclose(widths, best, rtol=1e-9)
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata()[0] == pytest.approx(found.schools["silhouette"].mean())


def test_silhouettes_say_what_they_leave_out() -> None:
    table = fitted().schools
    table.loc[:1, "silhouette"] = np.nan
    table.loc[2, "silhouette"] = -0.2
    title = plot_silhouette(table).get_title(loc="left")
    assert "Not drawn: 2 schools" in title
    assert "1 school nearer to another" in title


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_trees_carry_the_colours_of_their_clusters(lang: str) -> None:
    found = fitted(method="ward")
    ax = plot_dendrogram(found, lang=lang, most_leaves=80)
    ax.figure.canvas.draw()
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert sorted(labels) == sorted(found.schools["school_id"])
    owner = found.schools.set_index("school_id")["cluster"]
    blocks = [owner[label] for label in labels]
    assert sum(a != b for a, b in itertools.pairwise(blocks)) == 2  # three blocks
    joints = ax.collections[0]
    assert len(joints.get_segments()) == 71
    # 72 - 3 joints inside clusters, two of them grey above
    assert len(np.unique(joints.get_colors(), axis=0)) == 4
    cut = next(line for line in ax.lines if line.get_linestyle() == "--").get_ydata()[0]
    assert found.tree[-3, 2] < cut < found.tree[-2, 2]
    assert len(ax.get_legend().get_texts()) == 3
    assert bool(CYRILLIC.search(ax.get_ylabel())) == (lang == "ru")


def test_large_trees_show_their_uppermost_branches_and_strata_are_named() -> None:
    found = fitted(method="ward", strata="is_rural")
    ax = plot_dendrogram(found, stratum="is_rural=True", most_leaves=10)
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert len(labels) == 10
    inside = [int(label.strip("()")) if label.startswith("(") else 1 for label in labels]
    assert sum(inside) == 36
    assert "Stratum: is_rural=True" in ax.get_title(loc="left")


def test_long_names_are_cut_and_keep_their_size() -> None:
    shown = cluster_label(3, "word " * 60, 1, "en", width=30, most=3)
    assert shown.count("\n") == 2
    assert shown.endswith("… — 1 school")


def test_figures_that_cannot_be_drawn() -> None:
    found = fitted()
    with pytest.raises(rs.SpecificationError, match="schools"):
        plot_silhouette(3)
    with pytest.raises(rs.DataError, match="S99"):
        plot_silhouette(found, highlight=["S99"])
    with pytest.raises(rs.DataError, match="two clusters"):
        plot_silhouette(found.schools.assign(silhouette=np.nan))
    with pytest.raises(rs.SpecificationError, match="method='kmeans'"):
        plot_dendrogram(found)
    with pytest.raises(rs.SpecificationError, match="DataFrame"):
        plot_dendrogram(found.schools)
    trees = fitted(method="ward", strata="is_rural")
    with pytest.raises(rs.SpecificationError, match="tree of its own"):
        plot_dendrogram(trees)
    with pytest.raises(rs.SpecificationError, match="stratum"):
        plot_dendrogram(trees, stratum="rural")
    with pytest.raises(rs.SpecificationError, match="most_leaves"):
        plot_dendrogram(trees, stratum="is_rural=True", most_leaves=1)
