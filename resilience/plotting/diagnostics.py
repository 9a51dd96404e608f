"""The panel of diagnostics: effects, residuals, influence of schools and scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.columns import label
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_diagnostics"]

_INFLUENCE = "diagnostics.figure_influence"
_NAMED = 3
_BARS = 15
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_PLACES = tuple((left, low) for low in (0.58, 0.0) for left in (0.0, 0.365, 0.73))  # lower left
_WIDTH, _HEIGHT = 0.27, 0.40  # of the axes


def plot_diagnostics(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw six panels: QQ plots, residuals by prior and by size of school, influence, scores.

    Parameters
    ----------
    result : CheckResults
        What ``va.check(pupils)`` returned; panels without data say so.
    ax : Axes, optional
        Empty axes whose place the six panels take; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes given or made; the panels are its ``child_axes``, row by row.
    """
    check_language(lang)
    with look():
        ax = new_axes(11.0, 6.2) if ax is None else ax
        ax.set_axis_off()
        panels: tuple[tuple[Callable[[Axes, pd.DataFrame, str], None], pd.DataFrame, str], ...] = (
            (_effects, result.effect_quantiles, "diagnostics.figure_qq"),
            (_pupils, result.pupil_quantiles, "diagnostics.figure_pupils"),
            (_bins, result.residual_bins, "diagnostics.figure_bins"),
            (partial(_influence, limit=_limit(result)), result.influence, _INFLUENCE),
            (_sizes, result.school_spread, "diagnostics.figure_sizes"),
            (_scores, result.score_histogram, "diagnostics.figure_scores"),
        )
        for (draw, table, key), (left, low) in zip(panels, _PLACES, strict=True):
            panel = ax.inset_axes((left, low, _WIDTH, _HEIGHT))
            panel.set_title(text(key).localized(lang), fontsize=9)
            if len(table):
                draw(panel, table, lang)
            else:
                words = text("diagnostics.figure_absent").localized(lang)
                panel.text(0.5, 0.5, words, ha="center", va="center", color=GREY)
                panel.set_xticks([])
                panel.set_yticks([])
            for axis in (panel.xaxis, panel.yaxis):
                axis.label.set_fontsize(8)
    return ax


def _effects(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    x, y = _quantiles(ax, table, "standardised_effect", lang)
    far = np.argsort(-np.abs(y), kind="stable")[:_NAMED]
    for at in far:
        name = shortened(str(table["school_id"].iloc[at]), most=14)
        left = x[at] > 0
        ax.annotate(
            name,
            (x[at], y[at]),
            xytext=(-5 if left else 5, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=7,
        )


def _pupils(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    _quantiles(ax, table, "standardised_residual", lang)


def _quantiles(
    ax: Axes, table: pd.DataFrame, name: str, lang: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    x, y = (table[c].to_numpy(dtype=float) for c in ("normal_quantile", name))
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    ax.plot(ends, ends, color="#222222", lw=0.8, ls="--")
    ax.scatter(x, y, s=10, color=PALETTE["blue"], linewidths=0, zorder=3)
    ax.set_xlabel(axis_label("normal_quantile", lang))
    ax.set_ylabel(axis_label(name, lang))
    write_numbers(ax, lang)
    return x, y


def _bins(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    colors = list(PALETTE.values())
    for k, (name, rows) in enumerate(table.groupby("prior", sort=False)):
        middle = rows["prior_mean"].to_numpy(dtype=float)
        mean = rows["binned_residual"].to_numpy(dtype=float)
        half = 1.96 * rows["binned_std_error"].to_numpy(dtype=float)
        color = colors[k % len(colors)]
        ax.vlines(middle, mean - half, mean + half, color=color, lw=0.9, alpha=0.8)
        ax.plot(middle, mean, "o-", ms=3, lw=0.9, color=color, label=str(name))
    ax.axhline(0, color="#222222", lw=0.8)
    ax.set_xlabel(label("prior_mean", lang))
    ax.set_ylabel(axis_label("binned_residual", lang))
    ax.legend(fontsize=7)
    write_numbers(ax, lang)


def _limit(result: Any) -> float:
    rows = result.table.loc[result.table["check"] == "influential_schools", "threshold"]
    return float(rows.iloc[0])


def _influence(ax: Axes, table: pd.DataFrame, lang: str, *, limit: float) -> None:
    rows = table.head(_BARS).iloc[::-1]
    place = np.arange(len(rows))
    ax.barh(place, rows["cook_distance"].to_numpy(dtype=float), color=PALETTE["sky"])
    ax.axvline(limit, color=PALETTE["vermilion"], lw=0.9, ls="--")
    ax.set_yticks(place, [shortened(str(v), most=14) for v in rows["school_id"]], fontsize=6.5)
    ax.set_xlabel(axis_label("cook_distance", lang))
    write_numbers(ax, lang, axes="x")


def _sizes(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    n = table["n_pupils"].to_numpy(dtype=float)
    spread = table["residual_spread"].to_numpy(dtype=float)
    ax.scatter(n, spread, s=10, color=PALETTE["blue"], linewidths=0, alpha=0.7, zorder=3)
    overall = float(np.sqrt(np.average(spread**2, weights=n)))
    ax.axhline(overall, color="#222222", lw=0.8, ls="--")
    ax.set_xscale("log")
    ends = float(n.min()), float(n.max())
    ticks = [v for v in _SIZES if ends[0] <= v <= ends[1]] or [int(ends[0])]
    ax.set_xticks(ticks, [str(v) for v in ticks])
    ax.minorticks_off()
    ax.set_xlabel(label("n_pupils", lang))
    ax.set_ylabel(axis_label("residual_spread", lang))
    write_numbers(ax, lang, axes="y")


def _scores(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    at = table["score_bin"].to_numpy(dtype=float)
    n = table["n_pupils"].to_numpy(dtype=float)
    width = float(np.diff(at).min()) if len(at) > 1 else 1.0
    colors = np.array([PALETTE["blue"]] * len(at), dtype=object)
    colors[[0, -1]] = PALETTE["vermilion"]
    ax.bar(at, n, width=0.9 * width, color=list(colors))
    ax.set_xlabel(axis_label("score_bin", lang))
    ax.set_ylabel(label("n_pupils", lang))
    write_numbers(ax, lang, axes="x")
