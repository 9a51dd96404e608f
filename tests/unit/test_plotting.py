"""Figures show what the tables hold, names do not overlap, and files do not change."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import _pylab_helpers
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from report_doubles import (
    ContextIndexResults,
    DetectionResults,
    ValueAddedResults,
    effects_frame,
    rule_double,
    schools_frame,
    scores_frame,
    verdict_frame,
)

from resilience.columns import column
from resilience.plotting import (
    expected_line,
    figure_bytes,
    plot,
    plot_caterpillar,
    plot_context,
    plot_verdicts,
    plot_weights,
    save_figure,
)
from resilience.plotting.canvas import figure_of
from resilience.plotting.inputs import figure_names, interval_kind
from resilience.stats.verdicts.weighted_line import weighted_line

EMPTY = pd.DataFrame()
WEIGHTS = pd.DataFrame(
    {
        "term": ["both_parents_higher_edu", "single_parent"],
        "estimate": [0.2, 0.1],
        "conf_low": [0.1, 0.0],
        "conf_high": [0.3, 0.2],
    }
)


def value_added(effects: pd.DataFrame) -> ValueAddedResults:
    return ValueAddedResults(
        school_effects=effects,
        fixed_effects=EMPTY,
        variance_components=EMPTY,
        school_years=EMPTY,
    )


def detection(effects: pd.DataFrame, *rules: str) -> DetectionResults:
    frames = [verdict_frame(effects, rule, seed=k) for k, rule in enumerate(rules, 7)]
    titles = tuple(rule_double(r, f"Rule {r}", f"Правило {r}") for r in rules)
    return DetectionResults(
        schools=pd.concat(frames, ignore_index=True), criteria=EMPTY, rules=titles
    )


def names_of(ax: Axes) -> list[Annotation]:
    return [t for t in ax.texts if isinstance(t, Annotation)]


def overlaps(ax: Axes) -> Iterator[tuple[str, str]]:
    figure = figure_of(ax)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    renderer = RendererAgg(width, height, figure.dpi)
    # The text's own box: the box of an annotation would include its leader line.
    boxes = [(t.get_text(), Text.get_window_extent(t, renderer)) for t in names_of(ax)]
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        if a.overlaps(b):
            yield first, second


def drawn_points(ax: Axes) -> np.ndarray:
    parts = [c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)]
    return np.vstack([np.asarray(p) for p in parts])


# ------------------------------------------------------------------ the line


def test_weighted_line_by_hand() -> None:
    # Points (0, 0), (1, 1), (2, 5) with weights 1, 2, 1: means 1 and 1.75; numerator
    # 1·1·1.75 + 1·1·3.25 = 5, denominator 2: slope 2.5, intercept -0.75.
    x, y, w = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 1.0])
    assert weighted_line(x, y, w) == pytest.approx((-0.75, 2.5))


def test_weighted_line_leaves_gaps_out_and_refuses_a_single_place() -> None:
    x = np.array([0.0, 1.0, np.nan, 2.0])
    y = np.array([1.0, 3.0, 100.0, np.nan])
    assert weighted_line(x, y, np.ones(4)) == pytest.approx((1.0, 2.0))
    assert weighted_line(np.ones(3), np.arange(3.0), np.ones(3)) is None
    assert weighted_line(np.arange(2.0), np.arange(2.0), np.array([1.0, 0.0])) is None


def test_expected_line_joins_effects_and_scores() -> None:
    effects = effects_frame(30)
    scores = scores_frame(effects)
    line = expected_line(value_added(effects), scores)
    latest = scores[scores["year"] == 2025].set_index("school_id")["context_index"]
    x = latest.loc[effects["school_id"]].to_numpy()
    oracle = np.polyfit(x, effects["expected_mean"], 1, w=np.sqrt(effects["n_pupils"]))
    assert line == pytest.approx((oracle[1], oracle[0]))


# ------------------------------------------------------------------ caterpillar


@pytest.mark.parametrize("n", [65, 177, 3000])
def test_caterpillar_draws_every_school_in_order(n: int) -> None:
    effects = effects_frame(n)
    ax = plot_caterpillar(value_added(effects))
    points = drawn_points(ax)
    order = points[np.argsort(points[:, 0])]
    np.testing.assert_array_equal(order[:, 0], np.arange(1, n + 1))
    np.testing.assert_array_equal(order[:, 1], np.sort(effects["effect"]))
    segments = [s for c in ax.collections[::2] for s in c.get_segments()]
    assert len(segments) == n
    assert not list(overlaps(ax))


def test_caterpillar_names_the_extremes_or_whom_the_caller_wants() -> None:
    effects = effects_frame(177).sort_values("effect")
    ids = list(effects["school_id"])
    shown = {t.get_text() for t in names_of(plot_caterpillar(effects))}
    assert shown == {*ids[:5], *ids[-5:]}
    chosen = [ids[0], ids[80], ids[100], ids[170]]
    names = {ids[80]: "Школа № 80"}
    ax = plot_caterpillar(effects, highlight=chosen, names=names)
    assert {t.get_text() for t in names_of(ax)} == {ids[0], "Школа № 80", ids[100], ids[170]}
    assert not list(overlaps(ax))
    assert names_of(plot_caterpillar(effects, highlight=[])) == []


def test_caterpillar_of_three_schools() -> None:
    ax = plot_caterpillar(effects_frame(3).drop(columns="band"))
    assert len(names_of(ax)) == 3
    assert ax.get_legend() is None


def test_caterpillar_says_which_error_its_intervals_use() -> None:
    effects = effects_frame(40)
    assert "with the error of the coefficients" in plot_caterpillar(value_added(effects)).get_title(
        loc="left"
    )
    assert "учитывает ошибку коэффициентов" in plot_caterpillar(
        value_added(effects), lang="ru"
    ).get_title(loc="left")
    half = 1.6449 * effects["conditional_sd"]
    other = effects.assign(conf_low=effects["effect"] - half, conf_high=effects["effect"] + half)
    assert interval_kind(other) == "conditional_sd"
    assert "90 % interval; conditional SD" in plot_caterpillar(other, level=0.9).get_title("left")
    odd = effects.assign(conf_high=effects["conf_high"] + np.arange(40))
    assert interval_kind(odd) == "unknown"


def test_axis_labels_carry_units_in_both_languages() -> None:
    effects = effects_frame(20)
    for lang in ("en", "ru"):
        ax = plot_caterpillar(effects, lang=lang)
        assert ax.get_ylabel() == column("effect").label(lang, unit=True)
        ax = plot_context(effects, scores_frame(effects), lang=lang)
        assert ax.get_xlabel() == column("context_index").label(lang, unit=True)
        assert ax.get_ylabel() == column("observed_mean").label(lang, unit=True)


def test_russian_ticks_carry_a_decimal_comma() -> None:
    ax = plot_caterpillar(effects_frame(20), lang="ru")
    figure_bytes(ax, "png", dpi=50)
    ticks = [t.get_text() for t in ax.get_yticklabels()]
    assert any("," in t for t in ticks)
    assert not any("." in t for t in ticks)


# ------------------------------------------------------------------ context


def test_context_draws_latest_index_and_the_line() -> None:
    effects = effects_frame(50)
    scores = scores_frame(effects)
    ax = plot_context(value_added(effects), ContextIndexResults(scores=scores, weights=WEIGHTS))
    points = drawn_points(ax)
    latest = scores[scores["year"] == 2025].set_index("school_id")["context_index"]
    np.testing.assert_allclose(points[:, 0], latest.loc[effects["school_id"]])
    np.testing.assert_array_equal(points[:, 1], effects["observed_mean"])
    line = expected_line(effects, scores)
    assert line is not None
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(np.asarray(y), line[0] + line[1] * np.asarray(x))
    given = plot_context(effects, scores, line=(1.0, 0.5)).lines[0]
    np.testing.assert_allclose(given.get_ydata(), 1.0 + 0.5 * np.asarray(given.get_xdata()))


@pytest.mark.parametrize("n", [65, 177, 2000])
def test_context_names_schools_without_overlap(n: int) -> None:
    effects = effects_frame(n)
    found = detection(effects, "resilient", "low")
    names = {s: f"МБОУ «СОШ № {i}»" for i, s in enumerate(effects["school_id"])}
    ax = plot_context(effects, scores_frame(effects), found=found, names=names, lang="ru")
    yes = found.schools.query("verdict == 'yes'")["school_id"].nunique()
    assert len(names_of(ax)) == min(14, yes)  # 14: what a page carries
    assert not list(overlaps(ax))
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    yes = int((found.schools.query("rule_id == 'low'")["verdict"] == "yes").sum())
    assert f"Правило low (признаки есть: {yes})" in legend


def test_context_names_only_schools_of_the_rule_asked_for() -> None:
    effects = effects_frame(40)
    found = detection(effects, "resilient", "low")
    ax = plot_context(effects, scores_frame(effects), found=found, rule_id="low")
    low = found.schools.query("rule_id == 'low' and verdict == 'yes'")["school_id"]
    assert {t.get_text() for t in names_of(ax)} <= set(low)


def test_context_leaves_out_a_school_without_an_index() -> None:
    effects = effects_frame(20)
    scores = scores_frame(effects)
    scores.loc[scores["school_id"] == "S001", "context_index"] = np.nan
    assert len(drawn_points(plot_context(effects, scores))) == 19


# ------------------------------------------------------------------ verdicts and weights


def test_verdicts_are_counted_by_municipality() -> None:
    schools = pd.DataFrame(
        {"school_id": ["a", "b", "c", "d"], "municipality_id": ["X", "Y", "X", "Y"]}
    )
    found = DetectionResults(
        schools=pd.DataFrame(
            {
                "school_id": ["a", "b", "c", "d", "e"],
                "rule_id": "r",
                "verdict": ["yes", "no", "insufficient_data", "yes", "no"],
            }
        ),
        criteria=EMPTY,
    )
    ax = plot_verdicts(found, schools, lang="ru")
    places = [t.get_text() for t in ax.get_yticklabels()]
    assert places == ["X", "Y", "(муниципалитет не указан)"]
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["да: 2", "недостаточно данных: 1", "нет: 2"]
    # Bars: yes X, Y, unknown; then insufficient data; then no, each starting where the last ended.
    widths = [(p.get_x(), p.get_width()) for p in ax.patches]
    assert widths == [(0, 1), (0, 1), (0, 0), (1, 1), (1, 0), (0, 0), (2, 0), (1, 1), (0, 1)]


def test_many_municipalities_share_the_last_bar_of_a_page() -> None:
    n = 100
    ids = [f"S{i:03d}" for i in range(n)]
    schools = pd.DataFrame({"school_id": ids, "municipality_id": [f"M{i:03d}" for i in range(n)]})
    verdicts = pd.DataFrame({"school_id": ids, "rule_id": "r", "verdict": "no"})
    found = DetectionResults(schools=verdicts, criteria=EMPTY)
    ax = plot_verdicts(found, schools)
    places = [t.get_text() for t in ax.get_yticklabels()]
    assert len(places) == 60
    assert places[-1] == "(other municipalities: 41)"
    assert ax.patches[-1].get_width() == 41
    figure = figure_of(ax)
    assert figure.get_size_inches()[1] < 1.3 * figure.get_size_inches()[0]  # fits an A4 page


def test_verdicts_without_schools_are_counted_by_rule() -> None:
    effects = effects_frame(30)
    found = detection(effects, "first", "second")
    ax = plot_verdicts(found)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Rule first", "Rule second"]
    total = sum(p.get_width() for p in ax.patches)
    assert total == len(found.schools)


def test_weights_carry_the_glossary_labels() -> None:
    ax = plot_weights(WEIGHTS, lang="ru")
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == ["Оба родителя с высшим образованием", "Неполные семьи"]
    np.testing.assert_array_equal(drawn_points(ax)[:, 0], WEIGHTS["estimate"])
    set_by_hand = plot_weights(WEIGHTS[["term", "estimate"]])
    assert len(set_by_hand.collections) == 1


# ------------------------------------------------------------------ dispatch and files


def test_plot_dispatches_on_the_class() -> None:
    effects = effects_frame(20)
    result = value_added(effects)

    class Later(ValueAddedResults):
        """A kind of result derived from one that has a figure."""

    assert plot(result).get_ylabel() == column("effect").label("en", unit=True)
    later = Later(
        school_effects=effects,
        fixed_effects=EMPTY,
        variance_components=EMPTY,
        school_years=EMPTY,
    )
    assert plot(later, lang="ru").get_ylabel() == column("effect").label("ru", unit=True)
    index = ContextIndexResults(scores=EMPTY, weights=WEIGHTS)
    assert len(plot(index).get_yticklabels()) == 2
    assert plot(detection(effects, "r")).get_xlabel() == "Number of schools"


def test_plots_take_and_return_axes() -> None:
    effects = effects_frame(20)
    axes = Figure(figsize=(8, 8)).subplots(2, 2)
    found = detection(effects, "r")
    assert plot_caterpillar(effects, ax=axes[0, 0]) is axes[0, 0]
    assert plot_context(effects, scores_frame(effects), ax=axes[0, 1]) is axes[0, 1]
    assert plot_verdicts(found, schools_frame(effects), ax=axes[1, 0]) is axes[1, 0]
    assert plot_weights(WEIGHTS, ax=axes[1, 1]) is axes[1, 1]


def test_axes_on_a_part_of_a_figure_find_the_whole() -> None:
    whole = Figure(figsize=(8, 4), layout="constrained")
    left, right = whole.subfigures(1, 2)
    effects = effects_frame(20)
    ax = plot_context(
        effects, scores_frame(effects), found=detection(effects, "r"), ax=left.subplots()
    )
    plot_caterpillar(effects, ax=right.subplots())
    assert figure_of(ax) is whole
    assert figure_bytes(ax, "png", dpi=50).startswith(b"\x89PNG")


def test_no_figure_is_registered_and_no_setting_changes() -> None:
    before = dict(mpl.rcParams)
    ax = plot_caterpillar(effects_frame(20))
    assert not _pylab_helpers.Gcf.get_all_fig_managers()
    assert dict(mpl.rcParams) == before
    assert ax._repr_png_().startswith(b"\x89PNG")  # a notebook shows the axes as a picture


def test_files_do_not_change_on_a_second_drawing(tmp_path) -> None:
    effects = effects_frame(30)
    found = detection(effects, "r")
    contents = []
    for folder in ("first", "second"):
        ax = plot_context(effects, scores_frame(effects), found=found, lang="ru")
        png, svg = save_figure(ax, tmp_path / folder / "контекст")
        contents.append((png.read_bytes(), svg.read_bytes()))
    assert (png.name, svg.name) == ("контекст.png", "контекст.svg")
    assert contents[0] == contents[1]
    drawing = contents[0][1].decode("utf-8")
    assert "<dc:date>" not in drawing
    assert not re.search(r"matplotlib v?\d", drawing)
    # pHYs: 200 dots per inch are 7874 per metre
    assert (7874).to_bytes(4, "big") * 2 in contents[0][0]


def test_long_names_that_look_alike_when_cut_are_not_used() -> None:
    schools = pd.DataFrame({"school_id": ["a", "b"], "name": ["x" * 30 + "1", "x" * 30 + "2"]})
    assert figure_names(schools) == {}
    assert figure_names(schools.assign(name=["Первая", "Вторая"])) == {"a": "Первая", "b": "Вторая"}
    assert figure_names(None) == {}
