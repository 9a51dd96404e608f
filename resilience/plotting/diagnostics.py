"""The panel of diagnostics: effects, residuals along the prior, influence and scores."""

from __future__ import annotations

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

_NAMED = 3
_BARS = 15
_PLACES = ((0.0, 0.58), (0.57, 0.58), (0.0, 0.0), (0.57, 0.0))  # lower left, of the axes
_WIDTH, _HEIGHT = 0.43, 0.40


def plot_diagnostics(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw four panels: QQ plot of effects, residuals by prior, influence, scores.

    Parameters
    ----------
    result : CheckResults
        What ``va.check(pupils)`` returned; panels without data say so.
    ax : Axes, optional
        Empty axes whose place the four panels take; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes given or made; the panels are its ``child_axes``, row by row.
    """
    check_language(lang)
    with look():
        ax = new_axes(7.4, 6.0) if ax is None else ax
        ax.set_axis_off()
        panels = (
            (_effects, result.effect_quantiles, "diagnostics.figure_qq"),
            (_bins, result.residual_bins, "diagnostics.figure_bins"),
            (_influence, result.influence, "diagnostics.figure_influence"),
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
    return ax


def _effects(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    x, y = (table[c].to_numpy(dtype=float) for c in ("normal_quantile", "standardised_effect"))
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    ax.plot(ends, ends, color="#222222", lw=0.8, ls="--")
    ax.scatter(x, y, s=10, color=PALETTE["blue"], linewidths=0, zorder=3)
    far = np.argsort(-np.abs(y - x), kind="stable")[:_NAMED]
    for at in far:
        name = shortened(str(table["school_id"].iloc[at]), most=14)
        ax.annotate(name, (x[at], y[at]), xytext=(4, -6), textcoords="offset points", fontsize=7)
    ax.set_xlabel(axis_label("normal_quantile", lang))
    ax.set_ylabel(axis_label("standardised_effect", lang))
    write_numbers(ax, lang)


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


def _influence(ax: Axes, table: pd.DataFrame, lang: str) -> None:
    rows = table.head(_BARS).iloc[::-1]
    place = np.arange(len(rows))
    ax.barh(place, rows["cook_distance"].to_numpy(dtype=float), color=PALETTE["sky"])
    ax.axvline(0.5, color=PALETTE["vermilion"], lw=0.9, ls="--")
    ax.set_yticks(place, [shortened(str(v), most=14) for v in rows["school_id"]], fontsize=6.5)
    ax.set_xlabel(axis_label("cook_distance", lang))
    write_numbers(ax, lang, axes="x")


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
