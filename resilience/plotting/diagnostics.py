"""The panel of diagnostics: effects, residuals along the prior, influence and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.columns import label
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_diagnostics"]

_NAMED = 3
_BARS = 15


def plot_diagnostics(
    result: Any, *, axes: Any | None = None, lang: str = "en"
) -> np.ndarray[Any, Any]:
    """Draw four panels: QQ plot of effects, residuals by prior, influence, scores.

    Parameters
    ----------
    result : CheckResults
        What ``va.check(pupils)`` returned; panels without data say so.
    axes : array of four Axes, optional
        Axes to draw on; a new figure of two by two by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    ndarray of Axes
    """
    check_language(lang)
    with look():
        if axes is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots(2, 2, figsize=(9.5, 7.0), layout="constrained")
        four = np.asarray(axes, dtype=object).ravel()
        panels = (
            (_effects, result.effect_quantiles, "diagnostics.figure_qq"),
            (_bins, result.residual_bins, "diagnostics.figure_bins"),
            (_influence, result.influence, "diagnostics.figure_influence"),
            (_scores, result.score_histogram, "diagnostics.figure_scores"),
        )
        for ax, (draw, table, key) in zip(four, panels, strict=True):
            ax.set_title(text(key).localized(lang), fontsize=9)
            if len(table):
                draw(ax, table, lang)
            else:
                words = text("diagnostics.figure_absent").localized(lang)
                ax.text(0.5, 0.5, words, ha="center", va="center", color=GREY)
                ax.set_xticks([])
                ax.set_yticks([])
    return four


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
