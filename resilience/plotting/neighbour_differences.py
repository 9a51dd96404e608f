"""Schools against their neighbours: differences with intervals over the typical ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_neighbour_differences"]

_NEEDED = [
    "school_id",
    "neighbour_mean",
    "difference",
    "conf_low",
    "conf_high",
    "typical_low",
    "typical_high",
    "verdict",
]
# Colour and marker of each verdict: readable in colour blindness and in a black-and-white print.
_LOOKS: dict[str, tuple[str, str]] = {
    "below": (PALETTE["vermilion"], "v"),
    "as_expected": (GREY, "o"),
    "above": (PALETTE["blue"], "^"),
    "insufficient_data": (GREY, "o"),
}
_EXTREMES = 4  # named at each end where the caller names none


def plot_neighbour_differences(
    comparison: Any,
    *,
    ax: Axes | None = None,
    lang: str = "en",
    highlight: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Axes:
    """Draw every school's difference from its neighbours over the range typical among them.

    Parameters
    ----------
    comparison : NeighbourComparison or DataFrame
        A result with such a ``table``, or the table itself.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    highlight : sequence of str, optional
        Schools to name; by default the four at each end that have a verdict.  An empty sequence
        names none.
    names : mapping of str to str, optional
        Names to print instead of school ids.

    Returns
    -------
    Axes
        The axes drawn on.  Bars are intervals of the difference, the pale steps behind them the
        typical range around the neighbours' mean; hollow points are differences without a verdict.
        Schools without neighbours are counted in the caption.

    Raises
    ------
    DataError
        If the table lacks a column or a highlighted school, or no school has a difference.
    SpecificationError
        For anything but a comparison or its table.
    """
    check_language(lang)
    table = comparison if isinstance(comparison, pd.DataFrame) else None
    if table is None:
        table = getattr(comparison, "table", None)
    if not isinstance(table, pd.DataFrame):
        raise SpecificationError(
            text("plotting.no_frame", kind=type(comparison).__name__, attribute="table")
        )
    check_columns(table, _NEEDED, table="table")
    check_not_empty(table, table="table")
    shown = table[table["difference"].notna()]
    if shown.empty:
        raise DataError(text("neighbour_comparison.plot_nothing", n=len(table)))
    ordered = shown.sort_values(["difference", "school_id"], kind="stable").reset_index(drop=True)
    chosen = _chosen(ordered, highlight)
    with look():
        ax = new_axes() if ax is None else ax
        _draw(ax, ordered, lang)
        _name(ax, ordered, chosen, names)
        ax.axhline(0, color="#222222", lw=0.8, zorder=1.5)
        ax.set_xlim(0, len(ordered) + 1)
        ax.set_xlabel(text("neighbour_comparison.plot_order", n=len(ordered)).localized(lang))
        ax.set_ylabel(text("neighbour_comparison.plot_axis", unit=axis_unit(lang)).localized(lang))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        write_numbers(ax, lang, axes="y")
        ax.set_title(_caption(table, ordered, lang), fontsize=8.5)
        ax.legend(loc="upper left", ncols=2)
    return ax


def axis_unit(lang: str) -> str:
    """Return the unit of differences as the glossary has it."""
    return axis_label("difference", lang).rpartition(", ")[2]


def _caption(table: pd.DataFrame, ordered: pd.DataFrame, lang: str) -> str:
    lines = [text("neighbour_comparison.plot_bars")]
    if len(table) > len(ordered):
        lines.append(text("neighbour_comparison.plot_alone", n=len(table) - len(ordered)))
    return "\n".join(line.localized(lang) for line in lines)


def _chosen(ordered: pd.DataFrame, highlight: Sequence[str] | None) -> list[str]:
    ids = ordered["school_id"].astype(str)
    if highlight is None:
        own = ids[ordered["verdict"].isin(["above", "below"]).to_numpy()].tolist()
        return list(dict.fromkeys([*own[:_EXTREMES], *own[-_EXTREMES:]]))
    absent = [str(v) for v in highlight if str(v) not in set(ids)]
    if absent:
        raise DataError(
            text("plotting.school_absent", schools=shorten(absent), argument="highlight")
        )
    return list(dict.fromkeys(str(v) for v in highlight))


def _draw(ax: Axes, ordered: pd.DataFrame, lang: str) -> None:
    n = len(ordered)
    place = np.arange(1, n + 1)
    columns = ("difference", "conf_low", "conf_high", "typical_low", "typical_high")
    d, low, high, from_, to = (ordered[c].to_numpy(dtype=float) for c in columns)
    mean = ordered["neighbour_mean"].to_numpy(dtype=float)
    ax.bar(
        place,
        to - from_,
        bottom=from_ - mean,
        width=1.0,
        color=PALETTE["sky"],
        alpha=0.22,
        linewidth=0,
        zorder=1,
        label=text("neighbour_comparison.plot_typical").localized(lang),
    )
    verdict = ordered["verdict"].astype(str).to_numpy(dtype=object)
    size = float(np.clip(1500 / n, 2.0, 18.0))
    for key, (color, marker) in _LOOKS.items():
        mine = verdict == key
        if not mine.any():
            continue
        hollow = key == "insufficient_data"
        label = text("plotting.in_band", band=text(f"verdicts.{key}"), n=int(mine.sum()))
        ax.vlines(
            place[mine],
            low[mine],
            high[mine],
            color=color,
            lw=float(np.clip(250 / n, 0.25, 1.4)),
            alpha=0.4 if hollow else 0.8,
            zorder=2,
        )
        ax.scatter(
            place[mine],
            d[mine],
            s=size,
            facecolors="white" if hollow else color,
            edgecolors=color,
            marker=marker,
            linewidths=0.6,
            zorder=3,
            label=label.localized(lang),
        )


def _name(
    ax: Axes, ordered: pd.DataFrame, chosen: Sequence[str], names: Mapping[str, str] | None
) -> None:
    """Write names as steps beyond all bars, a thin line from each to its school.

    The school farthest out stands in the outermost step: no line crosses a name.
    """
    rows = ordered.assign(place=np.arange(1, len(ordered) + 1))
    rows = rows.set_axis(ordered["school_id"].astype(str), axis=0).loc[list(chosen)]
    rows = rows.sort_values("place")
    mean = ordered["neighbour_mean"]
    bottom = float(np.nanmin([ordered["conf_low"], ordered["typical_low"] - mean]))
    top = float(np.nanmax([ordered["conf_high"], ordered["typical_high"] - mean]))
    step = 0.042 * (top - bottom)
    lowest, highest = bottom - step, top + step
    for side, edge in ((-1, bottom), (1, top)):
        mine = rows[np.sign(rows["difference"]) == side]
        mine = mine if side < 0 else mine.iloc[::-1]  # the farthest out comes first
        for k, (school, row) in enumerate(mine.iterrows()):
            y = edge + side * step * (len(mine) - k)
            end = row["conf_low"] if side < 0 else row["conf_high"]
            ax.plot([row["place"]] * 2, [end, y], color="#222222", lw=0.5, alpha=0.6, zorder=1.5)
            own = str(names.get(str(school), school) if names else school)
            ax.annotate(
                shortened(own, most=40),
                (row["place"], y),
                xytext=(-side * 3, 0),
                textcoords="offset points",
                ha="left" if side < 0 else "right",
                va="center",
                fontsize=7,
                color="#222222",
                zorder=5,
            )
            lowest, highest = min(lowest, y - step), max(highest, y + step)
    ax.set_ylim(lowest, highest)
