"""Bars of stability: lengths, colours by level, words in both languages."""

from __future__ import annotations

import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.stability.results import StabilityResults
from resilience.i18n import Bilingual
from resilience.plotting.canvas import PALETTE
from resilience.plotting.cluster_stability import plot_cluster_stability


@pytest.fixture
def stability() -> StabilityResults:
    clusters = pd.DataFrame(
        {
            "cluster": [2, 1],
            "cluster_name": pd.Series(
                [Bilingual("remote", "удалённые"), Bilingual("large", "крупные")], dtype=object
            ),
            "stratum": "",
            "n_schools": [2, 1],
            "jaccard": [0.7, 0.995],
            "jaccard_std_error": [0.02, 0.01],
            "n_dissolved": [3, 0],
            "n_recovered": [40, 100],
            "stability_level": ["pattern", "highly_stable"],
        }
    )
    schools = pd.DataFrame(
        {
            "school_id": list("abc"),
            "stratum": "",
            "cluster": [1, 2, 2],
            "membership_stability": [1.0, 0.9, 0.5],
            "membership_verdict": ["inside", "inside", "between_clusters"],
            "other_cluster": pd.array([None, 1, 1], dtype="Int64"),
            "other_share": [0.0, 0.1, 0.5],
        }
    )
    return StabilityResults(clusters=clusters, schools=schools, scheme="bootstrap", n_resamples=100)


def test_bars_are_the_coefficients_in_order_of_clusters(stability: StabilityResults) -> None:
    from matplotlib.colors import to_hex

    ax = plot_cluster_stability(stability)
    assert [bar.get_width() for bar in ax.patches] == [0.995, 0.7]
    colors = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colors == [PALETTE["blue"], PALETTE["orange"]]
    low, high = (path.vertices[:, 0] for path in ax.collections[0].get_paths())
    assert low.tolist() == pytest.approx([0.995 - 1.96 * 0.01, 1.0])  # no coefficient passes one
    assert high.tolist() == pytest.approx([0.7 - 1.96 * 0.02, 0.7 + 1.96 * 0.02])


def test_words_in_both_languages(stability: StabilityResults) -> None:
    english, russian = (plot_cluster_stability(stability, lang=lang) for lang in ("en", "ru"))
    assert "1 of 3 schools" in " ".join(english.get_title(loc="left").split())
    assert "1 из 3 школ" in " ".join(russian.get_title(loc="left").split())
    assert any("0,70" in words.get_text() for words in russian.texts)
    assert "удалённые" in russian.get_yticklabels()[1].get_text()


def test_a_bare_table_draws_too(stability: StabilityResults) -> None:
    assert "resamples" not in plot_cluster_stability(stability.clusters).get_title(loc="left")
    with pytest.raises(rs.DataError, match="jaccard_std_error"):
        plot_cluster_stability(stability.clusters.drop(columns="jaccard_std_error"))
    with pytest.raises(rs.DataError):
        plot_cluster_stability(stability.clusters.iloc[:0])
    with pytest.raises(rs.SpecificationError):
        plot_cluster_stability("stability")
