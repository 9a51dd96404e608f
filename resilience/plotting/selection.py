"""Effects with their bounds against the share of pupils who stayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, numeral, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.inputs import frame_of
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty, shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_selection"]

_DEPENDS = (PALETTE["vermilion"], "D")
_STANDS = (PALETTE["blue"], "o")


def plot_selection(
    found: Any,
    *,
    ax: Axes | None = None,
    lang: str = "en",
    highlight: Sequence[str] = (),
) -> Axes:
    """Draw every school's effect against the share of its pupils that stayed.

    Bounds of `selection_bounds` stand as upright bars, and schools whose sign depends on those who
    left have a colour and a marker of their own; of `beside_stayers` the bars are the intervals of
    the effect and of the share.  Schools of unknown share are counted below the axis, not drawn.

    Parameters
    ----------
    found : SelectionResults, StayersResults or DataFrame
        Or the ``table`` of either.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    highlight : sequence of str
        Schools to name.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, or lacks a school to name.
    """
    check_language(lang)
    table = frame_of(found, "table")
    bounded = "effect_low" in table.columns
    ends = ("effect_low", "effect_high") if bounded else ("conf_low", "conf_high")
    check_columns(table, ["school_id", "effect", "share_stayed", *ends], table="table")
    check_not_empty(table, table="table")
    shown = table[table["share_stayed"].notna()]
    check_not_empty(shown, table="table")
    with look():
        ax = new_axes() if ax is None else ax
        ax.axhline(0, color="#222222", lw=0.8, zorder=1)
        _draw(ax, shown, ends, bounded, lang)
        write_numbers(ax, lang, axes="y")
        ax.xaxis.set_major_formatter(
            PercentFormatter(1.0, decimals=0, symbol=" %" if lang == "ru" else "%")
        )
        ax.set_xlabel(_below(table, shown, lang))
        ax.set_ylabel(axis_label("effect", lang))
        ax.set_title(_title(found, bounded).localized(lang), fontsize=8.5)
        ax.legend(loc="best")
        _name(ax, shown, highlight)
    return ax


def _draw(ax: Axes, shown: pd.DataFrame, ends: tuple[str, str], bounded: bool, lang: str) -> None:
    if bounded:
        check_columns(shown, ["sign_depends"], table="table")
        depends = shown["sign_depends"].to_numpy(dtype=bool)
        kinds = [(depends, _DEPENDS, "plot_depends"), (~depends, _STANDS, "plot_stands")]
    else:
        kinds = [(np.ones(len(shown), dtype=bool), _STANDS, "plot_schools")]
    low, high = (shown[c].to_numpy(dtype=float) for c in ends)
    x, y = (shown[c].to_numpy(dtype=float) for c in ("share_stayed", "effect"))
    for mine, (color, marker), key in kinds:
        if not mine.any():
            continue
        ax.vlines(x[mine], low[mine], high[mine], color=color, lw=1.0, alpha=0.55, zorder=2)
        if not bounded and {"share_low", "share_high"} <= set(shown.columns):
            left, right = (shown[c].to_numpy(dtype=float) for c in ("share_low", "share_high"))
            ax.hlines(y[mine], left[mine], right[mine], color=GREY, lw=0.7, alpha=0.6, zorder=1.5)
        label = text(f"selection.{key}", n=int(mine.sum())).localized(lang)
        ax.scatter(x[mine], y[mine], s=22, color=color, marker=marker, zorder=3, label=label)


def _below(table: pd.DataFrame, shown: pd.DataFrame, lang: str) -> str:
    """Return the label of the lower axis, with the schools that are not drawn."""
    lost = len(table) - len(shown)
    words = axis_label("share_stayed", lang)
    if not lost:
        return words
    return f"{words}; {text('selection.plot_unknown', n=lost).localized(lang)}"


def _title(found: Any, bounded: bool) -> Bilingual:
    if not bounded:
        return text("selection.plot_intervals")
    assumption = getattr(found, "assumption", None)
    if assumption is None:
        return text("selection.plot_plain_bounds")
    delta = f"{getattr(found, 'delta', 0.0):g}"
    words = text(f"selection.assumption_{assumption}", delta=numeral(delta))
    return text("selection.plot_bounds", assumption=words)


def _name(ax: Axes, shown: pd.DataFrame, highlight: Sequence[str]) -> None:
    known = {str(v): k for k, v in enumerate(shown["school_id"])}
    absent = [str(v) for v in highlight if str(v) not in known]
    if absent:
        raise DataError(
            text("plotting.school_absent", schools=shorten(absent), argument="highlight")
        )
    for school in map(str, highlight):
        row = shown.iloc[known[school]]
        ax.annotate(
            shortened(school, most=40),
            (row["share_stayed"], row["effect"]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
        )
