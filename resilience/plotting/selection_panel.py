"""Criteria of the number of clusters, one panel each, with the bar that k must reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.results import axis_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_selection_panel"]

_PLACES = ((0.0, 0.57), (0.55, 0.57), (0.0, 0.0), (0.55, 0.0))  # lower left
_WIDTH, _HEIGHT = 0.45, 0.42  # of the axes


def plot_selection_panel(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw gap, prediction strength, least Jaccard coefficient and silhouette over k.

    Parameters
    ----------
    result : ClusterNumberResults
        What `select_n_clusters` returned.  Numbers that were not resampled have no point in the
        panels of prediction strength and Jaccard.
    ax : Axes, optional
        Empty axes whose place the four panels take; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes given or made; the panels are its ``child_axes``, row by row.

    Raises
    ------
    SpecificationError
        If the argument is no such result.
    """
    check_language(lang)
    if not hasattr(result, "k_table"):
        raise SpecificationError(text("n_clusters.no_selection", kind=type(result).__name__))
    table, settings = result.k_table, result.settings
    with look():
        ax = new_axes(7.8, 5.4) if ax is None else ax
        ax.set_axis_off()
        best = result.n_clusters
        said = (
            text("n_clusters.panel_none")
            if best is None
            else text("n_clusters.panel_recommended", k=best)
        )
        title = text("n_clusters.panel_title").localized(lang)
        ax.set_title(f"{title} ({said.localized(lang)})", fontsize=10)
        names = ("gap", "prediction_strength", "jaccard_min", "silhouette")
        bars = (None, settings.least_strength, settings.least_jaccard, None)
        for name, bar, (left, low) in zip(names, bars, _PLACES, strict=True):
            panel = ax.inset_axes((left, low, _WIDTH, _HEIGHT))
            _draw(panel, table, name, bar, best, lang)
    return ax


def _draw(
    panel: Axes, table: pd.DataFrame, name: str, bar: float | None, best: int | None, lang: str
) -> None:
    k = table["k"].to_numpy(dtype=float)
    y = table[name].to_numpy(dtype=float)
    known = ~np.isnan(y)
    if name == "gap":
        half = table["gap_std_error"].to_numpy(dtype=float)
        panel.errorbar(k, y, yerr=half, color=GREY, lw=0, elinewidth=1.0, capsize=2, zorder=2)
        panel.axhline(y[0], color="#222222", lw=0.8, ls="--")
    elif bar is not None:
        panel.axhline(bar, color="#222222", lw=0.8, ls="--")
    panel.plot(k[known], y[known], "o-", ms=4, lw=0.9, color=PALETTE["blue"], zorder=3)
    if best is not None:
        at = k == best
        panel.plot(k[at], y[at], "o", ms=8, mfc="none", mec=PALETTE["vermilion"], mew=1.6, zorder=4)
    if not known.any():
        words = text("n_clusters.panel_not_reached").localized(lang)
        panel.text(
            0.5,
            0.4,
            words,
            ha="center",
            va="center",
            color=GREY,
            fontsize=8,
            transform=panel.transAxes,
        )
    panel.set_xlim(k.min() - 0.4, k.max() + 0.4)
    if name != "gap":
        panel.set_ylim(0.0, 1.05)
    panel.set_xticks(list(k), [str(int(v)) for v in k])
    panel.set_xlabel(axis_label("k", lang), fontsize=8)
    panel.set_ylabel(axis_label(name, lang), fontsize=8)
    panel.tick_params(labelsize=7.5)
    write_numbers(panel, lang, axes="y")
