"""Figures of growth percentiles: schools' medians, curves of a past result, fit of the curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.columns import label
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_growth", "plot_growth_curves", "plot_growth_fit"]

_EVERYONE = 50.0
_SHOWN = (0.105, 0.255, 0.505, 0.745, 0.895)


def plot_growth(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the schools' median growth in ascending order, each with its interval.

    Parameters
    ----------
    result : GrowthResults or DataFrame
        A result or its ``school_growth``.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
    """
    check_language(lang)
    table: pd.DataFrame = getattr(result, "school_growth", result)
    columns = ["school_id", "median_growth", "median_growth_low", "median_growth_high"]
    check_columns(table, columns, table="school_growth")
    rows = table[table["median_growth"].notna()]
    check_not_empty(rows, table="school_growth")
    rows = rows.sort_values(["median_growth", "school_id"], kind="stable")
    low, high = (rows[f"median_growth_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    middle, place = rows["median_growth"].to_numpy(dtype=float), np.arange(1, len(rows) + 1)
    with look():
        ax = new_axes() if ax is None else ax
        groups = (
            (high < _EVERYONE, PALETTE["vermilion"], "v", "growth.figure_below"),
            ((low <= _EVERYONE) & (high >= _EVERYONE), GREY, "o", "growth.figure_between"),
            (low > _EVERYONE, PALETTE["blue"], "^", "growth.figure_above"),
        )
        for mine, color, marker, key in groups:
            if not mine.any():
                continue
            words = text(key, n=int(mine.sum())).localized(lang)
            width = float(np.clip(250 / len(rows), 0.25, 1.4))
            ax.vlines(place[mine], low[mine], high[mine], color=color, lw=width, alpha=0.75)
            size = float(np.clip(1500 / len(rows), 2.0, 18.0))
            ax.scatter(
                place[mine],
                middle[mine],
                s=size,
                c=color,
                marker=marker,
                lw=0,
                zorder=3,
                label=words,
            )
        ax.axhline(_EVERYONE, color="#222222", lw=0.8, zorder=1)
        ax.set_xlim(0, len(rows) + 1)
        ax.set_ylim(0, 100)
        ax.set_xlabel(text("growth.figure_in_order", n=len(rows)).localized(lang))
        ax.set_ylabel(axis_label("median_growth", lang))
        ax.legend(loc="upper left")
        write_numbers(ax, lang, axes="y")
    return ax


def plot_growth_curves(
    curves: pd.DataFrame, past: Any, *, ax: Axes | None = None, lang: str = "en"
) -> Axes:
    """Draw the fan of quantiles of the result over one past result.

    Parameters
    ----------
    curves : DataFrame
        ``results.curves(past)``.
    past : DataFrame
        The past results that ``curves`` was asked for; its last column is the horizontal axis.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
    """
    check_language(lang)
    columns = ["pupil_row", "quantile_share", "score_quantile"]
    check_columns(curves, columns, table="curves")
    check_not_empty(curves, table="curves")
    at = past[past.columns[-1]].to_numpy(dtype=float)
    shares = np.unique(curves["quantile_share"].to_numpy(dtype=float))
    values = curves["score_quantile"].to_numpy(dtype=float).reshape(len(at), len(shares))
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    column = {share: values[:, int(np.argmin(np.abs(shares - share)))] for share in _SHOWN}
    with look():
        ax = new_axes() if ax is None else ax
        outer, inner = (_SHOWN[0], _SHOWN[-1]), (_SHOWN[1], _SHOWN[-2])
        for (low, high), shade in ((outer, 0.18), (inner, 0.35)):
            words = text("growth.figure_band", low=f"{low:.0%}", high=f"{high:.0%}")
            ax.fill_between(
                at,
                column[low],
                column[high],
                color=PALETTE["blue"],
                alpha=shade,
                lw=0,
                label=words.localized(lang),
            )
        half = text("growth.figure_median").localized(lang)
        ax.plot(at, column[_SHOWN[2]], color=PALETTE["blue"], lw=1.6, label=half)
        ax.set_xlabel(text("growth.figure_past", name=str(past.columns[-1])).localized(lang))
        ax.set_ylabel(axis_label("score_quantile", lang))
        ax.legend(loc="upper left")
        write_numbers(ax, lang, axes="xy")
    return ax


def plot_growth_fit(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the goodness of fit: shares of percentile bands within tenths of the past result.

    Parameters
    ----------
    result : GrowthResults or DataFrame
        A result or its ``goodness_of_fit``.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        Every cell would hold .10 if the curves fitted exactly.
    """
    check_language(lang)
    table: pd.DataFrame = getattr(result, "goodness_of_fit", result)
    check_columns(table, ["prior_decile", "growth_band", "share_in_band"], table="goodness_of_fit")
    check_not_empty(table, table="goodness_of_fit")
    bands = list(dict.fromkeys(table["growth_band"]))
    deciles = list(dict.fromkeys(table["prior_decile"]))
    shares = table["share_in_band"].to_numpy(dtype=float).reshape(len(deciles), len(bands))
    with look():
        ax = new_axes() if ax is None else ax
        ax.imshow(shares, cmap="RdBu_r", vmin=0.0, vmax=0.2, aspect="auto", origin="lower")
        for i, j in np.ndindex(*shares.shape):
            if np.isfinite(shares[i, j]):
                printed = f"{100 * shares[i, j]:.0f}"
                ax.text(j, i, printed, ha="center", va="center", fontsize=7, color="#222222")
        ax.set_xticks(range(len(bands)), bands, rotation=45)
        ax.set_yticks(range(len(deciles)), [str(d) for d in deciles])
        ax.set_xlabel(label("growth_percentile", lang))
        ax.set_ylabel(label("prior_decile", lang))
        ax.set_title(text("growth.figure_fit").localized(lang), fontsize=8.5)
        ax.grid(visible=False)
    return ax
