"""The specification curve: its panels show the numbers of the result, in both languages."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from resilience.detection.robustness import list_robustness
from resilience.detection.robustness_lists import read_lists
from resilience.errors import DataError, SpecificationError
from resilience.pipeline.multiverse_results import MultiverseResults
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.multiverse import plot_multiverse


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(31)
    gate, model = np.repeat([0, 1, 2], 2), np.tile([0, 1], 3)
    lean = rng.normal(size=40)
    listed = lean[None, :] + 0.4 * gate[:, None] + 0.2 * rng.normal(size=(6, 40)) > 1.0
    ids = [f"spec {k}" for k in range(6)]
    words = np.where(listed, "yes", "no").astype(object)
    words[0, :3] = "insufficient_data"
    verdicts = pd.DataFrame(
        {
            "school_id": np.tile([f"S{s:02d}" for s in range(40)], 6),
            "specification": np.repeat(ids, 40),
            "verdict": words.ravel(),
        }
    )
    factors = pd.DataFrame(
        {
            "specification": ids,
            "adversity": np.array(["0.2", "0.25", "0.33"])[gate],
            "model": np.array(["one", "two"])[model],
        }
    )
    lists = read_lists(verdicts, factors)
    none = np.full((6, 40), np.nan, dtype=np.float32)
    return MultiverseResults(lists=lists, probabilities=none, rules=())


def words_of(ax):
    found = []
    for panel in ax.child_axes:
        found += [t.get_text() for t in panel.findobj(Text)]
    return "\n".join(found)


def test_panels_show_the_numbers(result):
    ax = plot_multiverse(result)
    sizes, matrix, schools, shares = ax.child_axes
    robustness = result.robustness()
    drawn = np.asarray(sizes.collections[-1].get_offsets())[:, 1]
    np.testing.assert_array_equal(drawn, np.sort(robustness.specifications["n_listed"]))
    # one tick per specification in every choice, and a header above the levels of each
    ticks = sum(len(c.get_segments()) for c in matrix.collections)
    assert ticks == 12
    assert [t.get_text() for t in matrix.get_yticklabels()] == ["0.2", "0.25", "0.33", "one", "two"]
    bars = [p.get_width() for p in shares.patches]
    np.testing.assert_allclose(bars, robustness.choices["shapley_share"])
    assert schools.get_ylim()[1] >= 1
    step = schools.lines[0].get_ydata()
    assert len(step) == (robustness.schools["robustness_share"] > 0).sum()
    english = words_of(ax)
    assert f"core: {len(robustness.core)} schools" in english.replace("\n", " ")


def test_russian_words_and_numbers(result):
    said = words_of(plot_multiverse(result.robustness(), lang="ru"))
    for wanted in ("порог неблагополучия", "0,25", "Доля устойчивости", "доля по Шепли"):
        assert wanted in said
    assert not re.search(r"\d\.\d", said)
    with pytest.raises(SpecificationError, match="'de'"):
        plot_multiverse(result, lang="de")


def test_one_school_colours_the_curve(result):
    ax = plot_multiverse(result, school_id="S01", lang="ru")
    said = words_of(ax)
    assert "недостаточно данных" in said
    colours = ax.child_axes[0].collections[-1].get_facecolors()
    assert len(np.unique(colours, axis=0)) >= 2
    with pytest.raises(DataError, match="S9"):
        plot_multiverse(result, school_id="S99")
    with pytest.raises(SpecificationError, match="multiverse"):
        plot_multiverse(result.robustness(), school_id="S01")


def test_lists_without_choices_and_other_objects(result):
    bare = list_robustness(result.verdicts)
    said = words_of(plot_multiverse(bare)).replace("\n", " ")
    assert "only their agreement" in said
    with pytest.raises(SpecificationError, match="int"):
        plot_multiverse(5)


def test_the_same_drawing_gives_the_same_bytes(result):
    first, second = (figure_bytes(plot_multiverse(result), "png", dpi=50) for _ in range(2))
    assert first == second
