"""Views, funnels, thresholds and shares of marks: figures show what the tables hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from report_doubles import effects_frame
from scipy.stats import norm

from resilience.columns import column
from resilience.errors import DataError, SpecificationError
from resilience.plotting import (
    figure_bytes,
    plot,
    plot_funnel,
    plot_mark_shares,
    plot_thresholds,
    plot_views,
)
from resilience.plotting.canvas import figure_of, new_axes, panel_grid, printed
from resilience.stats.lists.funnel import funnel

Z95 = norm.ppf(0.975)


@dataclass(frozen=True, kw_only=True)
class OrdinalSchoolResults:
    """A double: the tables of the contract, no model."""

    school_effects: pd.DataFrame
    school_years: pd.DataFrame
    thresholds: pd.DataFrame
    mark_shares: pd.DataFrame
    level: float = 0.9


def views_of(n: int, seed: int = 3) -> dict[str, pd.DataFrame]:
    """Return one region's effects from data of four grades of information."""
    rng = np.random.default_rng(seed)
    pupils = np.clip(rng.lognormal(3.2, 0.8, n), 4, 150).astype(int)
    truth, noise = rng.normal(0, 0.3, n), rng.normal(size=n)
    found = {}
    for key, information in (("pupils", 1.0), ("means", 0.97), ("counts", 0.8), ("share", 0.35)):
        own, all_ = 0.6 / pupils, 0.6 / (pupils * information)
        mean = truth + np.sqrt(own) * noise + np.sqrt(all_ - own) * rng.normal(size=n)
        reliability = 0.09 / (0.09 + all_)
        sd = np.sqrt(0.09 * (1 - reliability))
        found[key] = pd.DataFrame(
            {
                "school_id": [f"S{i:04d}" for i in range(n)],
                "effect": mean * reliability,
                "conditional_sd": sd,
                "conf_low": mean * reliability - Z95 * sd,
                "conf_high": mean * reliability + Z95 * sd,
                "reliability": reliability,
                "n_pupils": pupils,
            }
        )
    return found


def mark_tables(n: int, years: int = 4, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return thresholds and shares of ``n`` procedures; the second has no row in 2023."""
    rng = np.random.default_rng(seed)
    thresholds, shares = [], []
    for k in range(n):
        name = f"ВПР-{4 + k // 2}-{'МА' if k % 2 else 'РУ'}"
        for year in range(2026 - years, 2026):
            if k == 1 and year == 2023 and years > 1:
                continue
            border = np.array([-1.3, 0.0, 1.1]) + rng.normal(0, 0.1, 3)
            for mark, value in zip((3, 4, 5), border, strict=True):
                thresholds.append((name, year, mark, value, 0.03 + 0.01 * mark))
            observed = np.diff(np.r_[0.0, norm.cdf(border), 1.0])
            fitted = observed + rng.uniform(-0.004, 0.004, 4)
            for mark, o, f in zip((2, 3, 4, 5), observed, fitted, strict=True):
                shares.append((name, year, mark, round(2000 * o), o, f))
    return (
        pd.DataFrame(thresholds, columns=["procedure", "year", "border", "threshold", "std_error"]),
        pd.DataFrame(
            shares,
            columns=["procedure", "year", "mark", "n_marks", "observed_share", "fitted_share"],
        ),
    )


def ordinal(n: int = 30) -> OrdinalSchoolResults:
    thresholds, shares = mark_tables(2)
    return OrdinalSchoolResults(
        school_effects=effects_frame(n),
        school_years=pd.DataFrame(),
        thresholds=thresholds,
        mark_shares=shares,
    )


def panels_of(ax: Axes) -> list[Axes]:
    return list(ax.child_axes) or [ax]


def clouds(ax: Axes) -> list[PathCollection]:
    """Return the drawn points, the rings around named schools left out."""
    found = [c for c in ax.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    return [c for c in found if len(c.get_facecolors())]


def points(ax: Axes) -> np.ndarray:
    return np.vstack([np.asarray(c.get_offsets()) for c in clouds(ax)])


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [legend.get_title().get_text(), *(t.get_text() for t in legend.get_texts())]


def texts_of(ax: Axes) -> Iterator[Text]:
    """Yield every text of a figure that stands on its own: no text may cover another."""
    legend = ax.get_legend()
    if legend is not None:
        yield legend.get_title()
        yield from legend.get_texts()
    yield from (ax.xaxis.label, ax.yaxis.label)
    for panel in panels_of(ax):
        yield panel._left_title  # the titles of the library stand on the left
        yield from (t for t in panel.texts if isinstance(t, Annotation))
        for axis, (low, high) in (
            (panel.xaxis, panel.get_xlim()),
            (panel.yaxis, panel.get_ylim()),
        ):
            shown = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            yield from (t.label1 for t in shown if t.label1.get_visible())


def assert_legible(ax: Axes) -> None:
    figure = figure_of(ax)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    renderer = RendererAgg(width, height, figure.dpi)
    boxes = [
        (t.get_text(), Text.get_window_extent(t, renderer)) for t in texts_of(ax) if t.get_text()
    ]
    outside = [t for t, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > width or b.y1 > height]
    assert not outside
    covered = [(s, t) for (s, a), (t, b) in itertools.combinations(boxes, 2) if a.overlaps(b)]
    assert not covered


# ------------------------------------------------------------------ the canvas


def test_numbers_are_printed_in_the_language() -> None:
    assert printed(-0.125, "ru", 2) == "−0,12"  # halves go to the even digit
    assert printed(1.5, "en", 1) == "1.5"
    assert printed(-0.001, "en") == "0.00"


def test_panels_share_their_scales_and_only_the_outer_ones_carry_ticks() -> None:
    ax = new_axes()
    panels = panel_grid(ax, list("abcde"), columns=3)
    panels[0].set(xlim=(0, 7), ylim=(-2, 2))
    assert {p.get_xlim() for p in panels} == {(0.0, 7.0)}
    assert {p.get_ylim() for p in panels} == {(-2.0, 2.0)}
    figure_of(ax).draw_without_rendering()
    below = [p.xaxis.get_major_ticks()[0].label1.get_visible() for p in panels]
    left = [p.yaxis.get_major_ticks()[0].label1.get_visible() for p in panels]
    assert below == [False, False, True, True, True]  # the third has nothing below it
    assert left == [True, False, False, True, False]
    alone = new_axes()
    assert panel_grid(alone, ["a"], columns=3) == [alone]


# ------------------------------------------------------------------ views


def test_few_schools_get_a_row_with_every_view() -> None:
    views = views_of(12)
    ax = plot_views(views, lang="ru")
    order = views["pupils"].sort_values("effect")["school_id"].tolist()
    assert [t.get_text() for t in ax.get_yticklabels()] == order
    for cloud, key in zip(clouds(ax), views, strict=True):
        effects = views[key].set_index("school_id").loc[order, "effect"]
        np.testing.assert_array_equal(np.asarray(cloud.get_offsets())[:, 0], effects)
        rows = np.asarray(cloud.get_offsets())[:, 1]
        assert (np.abs(rows - np.arange(12)) < 0.5).all()
    bars = [c for c in ax.collections if isinstance(c, LineCollection)]
    ends = np.array([s[:, 0] for c in bars for s in c.get_segments()])
    expected = pd.concat([v.set_index("school_id").loc[order] for v in views.values()])
    np.testing.assert_allclose(ends, expected[["conf_low", "conf_high"]])
    half = (views["share"]["conf_high"] - views["share"]["conf_low"]).mean() / 2
    assert legend_of(ax)[0] == "Школ: 12"
    assert f"доля «2» (средний интервал ±{half:.2f})".replace(".", ",") in legend_of(ax)
    assert_legible(ax)


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize("n", [17, 200, 1500])
def test_many_schools_get_a_panel_per_view(n: int, lang: str) -> None:
    views = views_of(n)
    ax = plot_views(views, lang=lang)
    panels = panels_of(ax)
    assert len(panels) == 3
    for panel, key in zip(panels, ("means", "counts", "share"), strict=True):
        drawn = points(panel)
        expected = np.column_stack([views["pupils"]["effect"], views[key]["effect"]])
        np.testing.assert_array_equal(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
        assert panel.get_xlim() == panel.get_ylim()  # the line of equal effects is the diagonal
        r = np.corrcoef(expected.T)[0, 1]
        assert printed(r, lang) in panel.get_title(loc="left")
        assert len([t for t in panel.texts if isinstance(t, Annotation)]) == 4
    assert column("effect").label(lang, unit=True) in ax.get_xlabel()
    assert (
        ax.get_xlabel()
        .splitlines()[1]
        .startswith("pupils' scores" if lang == "en" else "баллы учеников")
    )
    assert_legible(ax)


@pytest.mark.parametrize("n_views", [2, 3, 5, 6])
def test_every_number_of_views_is_legible(n_views: int) -> None:
    views = views_of(60)
    keys = ["pupils", "counts", "share", "means", "mixture", "own"]
    effects = {k: views.get(k, views["counts"]) for k in keys[:n_views]}
    ax = plot_views(effects, lang="ru")
    assert len(panels_of(ax)) == n_views - 1
    assert_legible(ax)
    assert_legible(plot_views(effects, lang="ru", layout="rows"))


def test_colours_say_whose_interval_excludes_zero() -> None:
    table = pd.DataFrame({"school_id": list("abcd"), "effect": [0.5, 0.4, 0.1, 0.0]})
    first = table.assign(conf_low=[0.1, 0.1, -0.5, -0.5], conf_high=1.0)
    second = table.assign(conf_low=[0.1, -0.1, 0.05, -0.5], conf_high=1.0)
    ax = plot_views({"pupils": first, "share": second}, layout="panels")
    by_label = {c.get_label(): np.asarray(c.get_offsets())[:, 0].tolist() for c in clouds(ax)}
    assert by_label == {
        "zero outside the interval: in both": [0.5],
        "only: pupils' scores": [0.4],
        "only: the data named above the panel": [0.1],
        "in neither": [0.0],
    }


def test_the_caller_chooses_views_schools_and_names() -> None:
    views = views_of(40)
    ax = plot_views(
        views, order=["counts", "pupils"], highlight=["S0003", "S0030"], names={"S0003": "Лицей"}
    )
    assert ax.get_title(loc="left").startswith("pupils' scores\n")
    assert {t.get_text() for t in ax.texts} == {"Лицей", "S0030"}
    rows = plot_views(views, layout="rows", highlight=["S0003", "S0030"], lang="ru")
    assert {t.get_text() for t in rows.get_yticklabels()} == {"S0003", "S0030"}
    assert legend_of(rows)[0] == "Выбранные школы: 2 из 40"
    differing = plot_views(views, layout="rows")
    spread = np.ptp(np.column_stack([v["effect"] for v in views.values()]), axis=1)
    worst = set(views["pupils"]["school_id"].iloc[np.argsort(-spread)[:12]])
    assert {t.get_text() for t in differing.get_yticklabels()} == worst
    assert legend_of(differing)[0].startswith("The 12 schools that differ most between the data")
    none = plot_views(views, highlight=[])
    assert not any(p.texts for p in panels_of(none))


def test_schools_outside_a_view_are_counted_and_levels_printed() -> None:
    views = views_of(40)
    result = ordinal()
    both = {
        "counts": OrdinalSchoolResults(
            school_effects=views["counts"],
            school_years=result.school_years,
            thresholds=result.thresholds,
            mark_shares=result.mark_shares,
        ),
        "share": OrdinalSchoolResults(
            school_effects=views["share"].iloc[5:],
            school_years=result.school_years,
            thresholds=result.thresholds,
            mark_shares=result.mark_shares,
        ),
    }
    ax = plot_views(both)
    title = legend_of(ax)[0].replace("\n", " ")
    assert title == "90 % intervals; schools: 35; left out, since some data lack them: 5"
    assert len(points(ax)) == 35
    mixed = plot_views({**both, "pupils": views["pupils"]})  # a table knows no level
    assert legend_of(mixed)[0].startswith("Schools: 35")


def test_a_view_without_differences_has_no_correlation() -> None:
    views = views_of(20)
    flat = views["share"].assign(effect=0.0, conf_low=-0.1, conf_high=0.1)
    ax = plot_views({"pupils": views["pupils"], "share": flat})
    assert "r = —" in ax.get_title(loc="left")
    both = plot_views({"pupils": flat, "share": flat})
    assert len(points(both)) == 20


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda v: {"pupils": v["pupils"]}, SpecificationError, "views in effects: 1"),
        (
            lambda v: {str(k): v["pupils"] for k in range(7)},
            SpecificationError,
            "views in effects: 7|holds 7 views",
        ),
        (
            lambda v: {**v, "share": v["share"].assign(school_id="x" + v["share"]["school_id"])},
            DataError,
            "no school stands in every view",
        ),
        (
            lambda v: {**v, "share": pd.concat([v["share"], v["share"].head(1)])},
            DataError,
            "S0000",
        ),
        (lambda v: {**v, "share": v["share"].assign(effect=np.nan)}, DataError, "effects"),
        (lambda v: {**v, "share": v["share"].drop(columns="conf_low")}, DataError, "conf_low"),
        (lambda v: {**v, "share": v["share"].head(0)}, DataError, "effects"),
        (lambda v: {**v, "share": 5}, SpecificationError, "school_effects"),
    ],
)
def test_bad_views_are_named(
    change: Callable[[dict[str, Any]], dict[str, Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        plot_views(change(views_of(20)))


def test_unknown_view_school_and_layout_are_named() -> None:
    views = views_of(20)
    with pytest.raises(SpecificationError, match=r"order names views .* marks; use 'pupils'"):
        plot_views(views, order=["pupils", "marks"])
    with pytest.raises(DataError, match=r"highlight names schools .* S9"):
        plot_views(views, highlight=["S9"])
    with pytest.raises(SpecificationError, match="layout"):
        plot_views(views, layout="columns")  # type: ignore[arg-type]  # that is the test


# ------------------------------------------------------------------ funnel


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize("n", [9, 60, 200, 2000])
def test_funnel_draws_residuals_before_shrinkage(n: int, lang: str) -> None:
    table = views_of(n)["pupils"]
    ax = plot_funnel(table, lang=lang)
    residual = table["effect"] / table["reliability"]
    expected = np.column_stack([table["n_pupils"], residual])
    drawn = points(ax)
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
    oracle = funnel(residual, np.sqrt(0.6 / table["n_pupils"]), target=0.0)
    words = legend_of(ax)
    outside = int(oracle.outside(0.95, between=False).sum())
    assert any(f" {outside} " in line for line in words)
    if n == 9:
        assert ("too few" if lang == "en" else "слишком мало") in words[0]
        assert len(words) == 3
    else:
        strange = int(oracle.outside(0.95, between=True).sum())
        assert words[3].endswith(f"{strange} ▲▼")
        assert len([t for t in ax.texts if isinstance(t, Annotation)]) == min(14, strange)
        assert printed(float(np.sqrt(oracle.between_variance)), lang) in words[3]
    assert column("n_pupils").label(lang) in ax.get_xlabel()
    assert column("effect").label(lang, unit=True).partition(", ")[2] in ax.get_ylabel()
    assert_legible(ax)


def test_funnel_lines_are_the_limits_of_each_size() -> None:
    table = views_of(60)["pupils"]  # sampling variance .6/n exactly
    ax = plot_funnel(table, level=[0.9], target=0.1)
    upper = [line for line in ax.lines[1:] if (np.asarray(line.get_ydata()) > 0.1).all()]
    assert len(upper) == 1
    n, y = (np.asarray(v) for v in upper[0].get_data())
    np.testing.assert_allclose(y, 0.1 + norm.ppf(0.95) * np.sqrt(0.6 / n))
    assert ax.lines[0].get_ydata()[0] == 0.1


def test_a_school_inside_its_own_wider_limits_is_not_named() -> None:
    table = views_of(80)["pupils"]
    short = np.arange(80) < 1  # one school has a ninth of the weight of its pupils
    variance = 0.6 / table["n_pupils"] * np.where(short, 9.0, 1.0)
    pooled = pd.DataFrame(
        {
            "school_id": table["school_id"],
            "residual": table["effect"] / table["reliability"],
            "sampling_variance": variance,
            "n_pupils": table["n_pupils"],
        }
    )
    wide = funnel(pooled["residual"], np.sqrt(variance), target=0.0)
    _, high = wide.limits(0.95, between=True)
    pooled.loc[0, "residual"] = 0.98 * high[0]  # outside the typical limits, inside its own
    ax = plot_funnel(pooled)
    assert "inside its own limits, which differ from the typical ones: 1" in legend_of(ax)
    assert "S0000" not in {t.get_text() for t in ax.texts}


def test_years_are_pooled_where_effects_say_nothing() -> None:
    flat = effects_frame(20).assign(effect=0.0, reliability=0.0, conditional_sd=0.0)
    years = pd.DataFrame(
        {
            "school_id": np.repeat(flat["school_id"].to_numpy(), 2),
            "residual": np.tile([0.1, 0.4], 20),
            "sampling_variance": np.tile([0.01, 0.04], 20),
            "n_pupils": np.tile([80, 20], 20),
        }
    )
    result = OrdinalSchoolResults(
        school_effects=flat, school_years=years, thresholds=years, mark_shares=years
    )
    for source in (result, years):
        drawn = points(plot_funnel(source))
        np.testing.assert_allclose(drawn, [[100.0, (0.1 * 100 + 0.4 * 25) / 125]] * 20)
    with pytest.raises(DataError, match=r"reliability 0 in 20 of 20 rows"):
        plot_funnel(flat)


@pytest.mark.parametrize("level", [(), (0.95, 0.9), (0.0, 0.5), (0.5, 0.6, 0.7, 0.8), (1.0,)])
def test_levels_of_a_funnel_ascend(level: tuple[float, ...]) -> None:
    with pytest.raises(SpecificationError, match="one to three shares"):
        plot_funnel(effects_frame(20), level=level)


def test_bad_funnels_are_named() -> None:
    table = effects_frame(20)
    with pytest.raises(DataError, match="reliability"):
        plot_funnel(table.drop(columns="reliability"))
    with pytest.raises(DataError, match="S001"):
        plot_funnel(pd.concat([table, table.head(1)]))
    with pytest.raises(DataError, match="conditional_sd"):
        plot_funnel(table.assign(conditional_sd=np.nan))
    years = pd.DataFrame(
        {"school_id": ["a"], "residual": [0.1], "sampling_variance": [0.0], "n_pupils": [5]}
    )
    with pytest.raises(DataError, match="'sampling_variance' of school_years goes down to 0"):
        plot_funnel(years)


# ------------------------------------------------------------------ thresholds and shares


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize(("n", "years"), [(1, 1), (1, 5), (2, 4), (5, 4), (12, 3), (9, 1)])
def test_figures_of_marks_are_legible(n: int, years: int, lang: str) -> None:
    thresholds, shares = mark_tables(n, years)
    for ax in (plot_thresholds(thresholds, lang=lang), plot_mark_shares(shares, lang=lang)):
        assert len(panels_of(ax)) == (1 if years == 1 else n)
        assert_legible(ax)


def test_thresholds_and_their_intervals_are_those_of_the_table() -> None:
    table, _ = mark_tables(2)
    ax = plot_thresholds(table, lang="ru")
    first, second = panels_of(ax)
    for panel, name in ((first, "ВПР-4-РУ"), (second, "ВПР-4-МА")):
        rows = table[table["procedure"] == name]
        assert panel.get_title(loc="left") == name
        np.testing.assert_allclose(
            np.sort(points(panel)[:, 1][np.isfinite(points(panel)[:, 1])]),
            np.sort(rows["threshold"]),
        )
        bars = [c for c in panel.collections if isinstance(c, LineCollection)]
        ends = np.array([s[:, 1] for c in bars for s in c.get_segments()])
        expected = np.sort(2 * Z95 * rows["std_error"])
        np.testing.assert_allclose(np.sort(np.ptp(ends, axis=1)), expected)
    # the second procedure has no 2023: its line has a gap, not a straight bridge
    assert np.isnan(np.asarray(second.lines[0].get_ydata(), dtype=float)).tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert [t.get_text() for t in first.get_xticklabels()] == ["2022", "2023", "2024", "2025"]
    assert legend_of(ax) == [
        "Интервалы 95 %",
        "нижний результат на «3»",
        "нижний результат на «4»",
        "нижний результат на «5»",
    ]
    assert ax.get_ylabel() == "Порог на скрытой шкале, СКО учеников"


def test_thresholds_of_a_result_carry_its_level() -> None:
    result = ordinal()
    assert legend_of(plot_thresholds(result))[0] == "90 % intervals"
    with pytest.raises(SpecificationError, match=r"level is 0\.95"):
        plot_thresholds(result, level=0.95)
    only = plot_thresholds(result, procedure="ВПР-4-МА", lang="ru")
    assert panels_of(only) == [only]
    assert only.get_title(loc="left") == "ВПР-4-МА"


def test_shares_observed_and_fitted_are_those_of_the_table() -> None:
    _, table = mark_tables(2)
    ax = plot_mark_shares(table)
    panels = panels_of(ax)
    rows = table[table["procedure"] == "ВПР-4-РУ"]
    np.testing.assert_allclose(np.sort(points(panels[0])[:, 1]), np.sort(rows["observed_share"]))
    fitted = np.concatenate([np.asarray(line.get_ydata()) for line in panels[0].lines])
    np.testing.assert_allclose(np.sort(fitted), np.sort(rows["fitted_share"]))
    gap = (table["observed_share"] - table["fitted_share"]).abs()
    worst = table.loc[gap.idxmax()]
    assert legend_of(ax) == [
        f"Largest gap between observed and fitted: {gap.max():.3f} "
        f"({worst['procedure']}, {worst['year']}, «{worst['mark']}»)",
        "«2»",
        "«3»",
        "«4»",
        "«5»",
        "observed",
        "fitted by the model",
    ]
    assert panels[1].get_ylim() == panels[0].get_ylim()


def test_one_year_stands_along_the_procedures() -> None:
    _, table = mark_tables(3, years=1)
    ax = plot_mark_shares(table)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ВПР-4-РУ", "ВПР-4-МА", "ВПР-5-РУ"]
    assert ax.get_title(loc="left") == "2025"
    assert all(line.get_linewidth() == 0 for line in ax.lines)  # procedures are no sequence
    np.testing.assert_allclose(np.sort(points(ax)[:, 1]), np.sort(table["observed_share"]))


def test_a_share_is_drawn_without_what_is_left_of_one() -> None:
    share = pd.DataFrame(
        {
            "procedure": "ОГЭ-МА",
            "year": [2024, 2024, 2025, 2025],
            "mark": ["below", "not_below"] * 2,
            "observed_share": [0.1, 0.9, 0.2, 0.8],
            "fitted_share": [0.11, 0.89, 0.19, 0.81],
        }
    )
    ax = plot_mark_shares(share, lang="ru")
    np.testing.assert_allclose(points(ax)[:, 1], [0.1, 0.2])
    assert legend_of(ax)[1] == "входят в долю"
    assert "входят в долю)" in legend_of(ax)[0]
    border = pd.DataFrame(
        {
            "procedure": "ОГЭ-МА",
            "year": [2024],
            "border": "not_below",
            "threshold": -1.0,
            "std_error": np.nan,
        }
    )
    bound = plot_thresholds(border)
    assert legend_of(bound)[1] == "upper end of the results in the share"
    assert points(bound)[0].tolist() == [0.0, -1.0]


def test_marks_stand_in_order_whatever_their_type() -> None:
    _, table = mark_tables(1)
    for change in (str, float, lambda v: f"n_{v}"):
        shuffled = table.assign(mark=table["mark"].map(change)).iloc[::-1]
        assert legend_of(plot_mark_shares(shuffled))[1:5] == ["«2»", "«3»", "«4»", "«5»"]


def test_more_procedures_than_a_page_carries_are_counted() -> None:
    thresholds, shares = mark_tables(30, years=2)
    for ax in (plot_thresholds(thresholds), plot_mark_shares(shares)):
        assert len(panels_of(ax)) == 24
        assert legend_of(ax)[0].endswith("Procedures not shown: 6; name them with procedure")
    names = list(dict.fromkeys(thresholds["procedure"]))
    chosen = plot_thresholds(thresholds, procedure=names[-2:])
    assert [p.get_title(loc="left") for p in panels_of(chosen)] == names[-2:]
    with pytest.raises(SpecificationError, match="names 30 procedures"):
        plot_thresholds(thresholds, procedure=names)


@pytest.mark.parametrize("draw", [plot_thresholds, plot_mark_shares])
def test_bad_tables_of_marks_are_named(draw: Callable[..., Axes]) -> None:
    tables = dict(zip((plot_thresholds, plot_mark_shares), mark_tables(2), strict=True))
    table = tables[draw]
    value = table.columns[-2]
    with pytest.raises(DataError, match=r"procedure names what is not in the table .*: ОГЭ-РУ"):
        draw(table, procedure="ОГЭ-РУ")
    with pytest.raises(DataError, match="procedure names"):
        draw(table, procedure=[])
    with pytest.raises(DataError, match="ВПР-4-РУ"):
        draw(pd.concat([table, table.head(1)]))
    with pytest.raises(DataError, match="'year'"):
        draw(table.drop(columns="year"))
    with pytest.raises(DataError, match=value):
        draw(table.assign(**{value: np.nan}))
    with pytest.raises(DataError):
        draw(table.head(0))
    with pytest.raises(SpecificationError, match="has no table"):
        draw(5)


# ------------------------------------------------------------------ dispatch and files


def test_results_from_counts_of_marks_have_a_figure() -> None:
    ax = plot(ordinal(), lang="ru")
    assert ax.get_ylabel() == column("effect").label("ru", unit=True)


def test_ticks_carry_the_decimal_sign_of_the_language() -> None:
    thresholds, shares = mark_tables(2)
    figures = {
        lang: (
            plot_views(views_of(40), lang=lang),
            plot_funnel(views_of(40)["pupils"], lang=lang),
            plot_thresholds(thresholds, lang=lang),
            plot_mark_shares(shares, lang=lang),
        )
        for lang in ("en", "ru")
    }
    for lang, sign, other in (("en", ".", ","), ("ru", ",", ".")):
        for ax in figures[lang]:
            figure_bytes(ax, "png", dpi=40)
            ticks = [t.get_text() for t in panels_of(ax)[0].get_yticklabels()]
            assert any(sign in t for t in ticks)
            assert not any(other in t for t in ticks)


def test_figures_take_axes_and_leave_no_setting_behind() -> None:
    before = dict(mpl.rcParams)
    thresholds, shares = mark_tables(3)
    views = views_of(40)
    draws: list[Callable[[Axes | None], Axes]] = [
        lambda ax: plot_views(views, ax=ax),
        lambda ax: plot_funnel(views["pupils"], ax=ax),
        lambda ax: plot_thresholds(thresholds, ax=ax),
        lambda ax: plot_mark_shares(shares, ax=ax),
    ]
    given = Figure(figsize=(14, 12)).subplots(2, 2).ravel()
    for draw, ax in zip(draws, given, strict=True):
        assert draw(ax) is ax
    assert dict(mpl.rcParams) == before
    for draw in draws:
        assert figure_bytes(draw(None), "png", dpi=50) == figure_bytes(draw(None), "png", dpi=50)
