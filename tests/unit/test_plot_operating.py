"""Figures of the rule simulator: what they show, both languages, what they refuse."""

import numpy as np
import pytest

import resilience as rs
from resilience.detection.simulator.simulate import simulate_rule
from resilience.plotting.canvas import figure_bytes, figure_of
from resilience.plotting.operating import plot_operating


@pytest.fixture(scope="module")
def result():
    rules = [rs.Criteria.preset(f"low_results_2025_{c}") for c in ("or", "and")]
    region = rs.load_dataset("north_region")
    return simulate_rule(rules, region.counts, schools=region.schools, n_replicates=20)


def panels(ax):
    return ax.child_axes or [ax]


def words(ax):
    shown = [t.get_text() for t in figure_of(ax).findobj(lambda a: hasattr(a, "get_text"))]
    return " ".join(shown)


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize("view", ["curves", "errors"])
def test_a_panel_per_rule_in_both_languages(result, view, lang):
    ax = plot_operating(result, view=view, lang=lang)
    titles = [p.get_title(loc="left").replace("\n", " ") for p in panels(ax)]
    assert titles == [rule.title(lang) for rule in result.rules]
    assert figure_bytes(ax, "svg") == figure_bytes(
        plot_operating(result, view=view, lang=lang), "svg"
    )
    shown = words(ax)
    assert ("truly low" in shown) == (lang == "en")
    assert ("действительно низкие" in shown) == (lang == "ru")


def test_curves_are_the_table(result):
    rule = result.rules[0].id
    ax = plot_operating(result, rule_id=rule)
    lines = ax.lines[:5]
    table = result.operating[result.operating["rule_id"] == rule]
    for line, (_, own) in zip(lines, table.groupby("n_participants"), strict=True):
        assert line.get_xdata().tolist() == own["true_share"].tolist()
        assert line.get_ydata().tolist() == own["probability_flag"].tolist()
    assert ax.lines[5].get_xdata()[0] == result.truth_share
    # lines differ in dashes too, for a print without colours
    assert len({line.get_color() for line in lines}) == 5


def test_bars_are_the_tables(result):
    rule = result.rules[1].id
    ax = plot_operating(result, view="errors", rule_id=rule)
    bands = result.by_size_band[result.by_size_band["rule_id"] == rule]
    rural = result.by_rurality[result.by_rurality["rule_id"] == rule]
    n = [*bands["n_schools"], *rural["n_schools"]]
    wrong = [*bands["expected_false_flags"], *rural["expected_false_flags"]]
    missed = [*bands["expected_misses"], *rural["expected_misses"]]
    heights = [bar.get_height() for bar in ax.patches]
    assert heights[5:10] == pytest.approx(np.divide(wrong, n))
    assert heights[10:15] == pytest.approx(-np.divide(missed, n))
    assert [t.get_text() for t in ax.texts] == [f"{w:.1f}" for w in wrong]


def test_what_is_not_there_is_named(result):
    with pytest.raises(rs.DataError, match="low_results_2025_or"):
        plot_operating(result, rule_id="shnor")
    with pytest.raises(rs.SpecificationError, match="curves"):
        plot_operating(result, view="roc")
