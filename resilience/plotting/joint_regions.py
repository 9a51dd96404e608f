"""Joint regions of result and value added: ellipses of successive windows and the path between."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_joint_regions"]

_STYLES = tuple(PALETTE[c] for c in ("blue", "vermilion", "green", "purple", "orange", "sky"))
_CORNERS = {
    "high_positive": (1, 1),
    "high_negative": (1, -1),
    "low_positive": (-1, 1),
    "low_negative": (-1, -1),
}
_BACKGROUND = 400  # ellipses behind the chosen ones; of more schools every k-th


def plot_joint_regions(
    regions: Any,
    *,
    ax: Axes | None = None,
    lang: str = "en",
    highlight: Sequence[object] | None = None,
    names: Mapping[str, str] | None = None,
) -> Axes:
    """Draw the regions of a few schools over successive windows, and all others behind them.

    The ellipse of the last window is drawn full, those before it paler the older they are; the
    arrow leads from window to window.

    Parameters
    ----------
    regions : JointRegionResults
        What `joint_regions` returned.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    highlight : sequence, optional
        Up to six schools; by default the one most surely in each quadrant in the last window.
        An empty sequence names none.
    names : mapping of str to str, optional
        Names to print instead of school ids.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    SpecificationError
        For anything but joint regions, or more than six schools.
    DataError
        If a highlighted school is absent, or no school has results in the last window.
    """
    check_language(lang)
    if not hasattr(regions, "of_window"):
        raise SpecificationError(
            text("plotting.no_frame", kind=type(regions).__name__, attribute="table")
        )
    last = regions.of_window().dropna(subset=["result", "value_added"])
    if not len(last):
        raise DataError(text("joint_regions.no_numbers", window=regions.windows[-1]))
    chosen = _chosen(regions.table, last, highlight)
    with look():
        ax = new_axes(7.4, 5.4) if ax is None else ax
        _draw_background(ax, last[~last["school_id"].isin(chosen)])
        ax.axhline(0, color="#222222", lw=0.8, zorder=1)
        ax.axvline(regions.threshold, color="#222222", lw=0.8, zorder=1)
        for color, school in zip(_STYLES, chosen, strict=False):
            rows = regions.table[regions.table["school_id"] == school]
            _draw_path(ax, rows.dropna(subset=["result"]), color)
        ax.autoscale_view()
        ax.margins(0.04)
        _write_corners(ax, regions.threshold, lang)
        write_numbers(ax, lang)
        ax.set_xlabel(axis_label("result", lang))
        ax.set_ylabel(axis_label("value_added", lang))
        ax.set_title(_title(regions, last, lang), fontsize=8.5)
        handles = _legend(chosen, names, lang, others=len(last) > len(chosen))
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _chosen(
    table: pd.DataFrame, last: pd.DataFrame, highlight: Sequence[object] | None
) -> list[object]:
    if highlight is None:
        picked = [
            last.sort_values([f"p_{corner}", "school_id"], ascending=[False, True]).iloc[0]
            for corner in _CORNERS
        ]
        return list(dict.fromkeys(row["school_id"] for row in picked))
    chosen = list(dict.fromkeys(highlight))
    absent = [v for v in chosen if v not in set(table["school_id"])]
    if absent:
        raise DataError(
            text("plotting.school_absent", schools=shorten(absent), argument="highlight")
        )
    if len(chosen) > len(_STYLES):
        raise SpecificationError(text("joint_regions.too_many", n=len(chosen), most=len(_STYLES)))
    return chosen


def _ellipse(row: pd.Series, **style: Any) -> Ellipse:
    return Ellipse(
        (float(row["result"]), float(row["value_added"])),
        width=2.0 * float(row["ellipse_major"]),
        height=2.0 * float(row["ellipse_minor"]),
        angle=float(row["ellipse_angle"]),
        **style,
    )


def _draw_background(ax: Axes, rows: pd.DataFrame) -> None:
    shown = rows.iloc[:: max(1, -(-len(rows) // _BACKGROUND))]
    for _, row in shown.iterrows():
        ax.add_patch(
            _ellipse(row, facecolor="none", edgecolor=GREY, lw=0.35, alpha=0.35, zorder=1.5)
        )
    ax.scatter(rows["result"], rows["value_added"], s=5, color=GREY, linewidths=0, zorder=1.6)


def _draw_path(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    n = len(rows)
    for k, (_, row) in enumerate(rows.iterrows()):
        newest = k == n - 1
        strength = 0.25 + 0.75 * (k + 1) / n
        ax.add_patch(
            _ellipse(row, facecolor=color, edgecolor="none", alpha=0.14 * strength, zorder=2)
        )
        ax.add_patch(
            _ellipse(
                row,
                facecolor="none",
                edgecolor=color,
                lw=1.5 if newest else 0.8,
                ls="-" if newest else "--",
                alpha=strength,
                zorder=3,
            )
        )
    places = rows[["result", "value_added"]].to_numpy(dtype=float)
    for start, end in itertools.pairwise(places):
        if not np.allclose(start, end):
            ax.annotate(
                "",
                xy=(end[0], end[1]),
                xytext=(start[0], start[1]),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": color,
                    "lw": 1.1,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                zorder=4,
            )
    if n:
        ax.scatter(places[:-1, 0], places[:-1, 1], s=9, color=color, zorder=4.5)
        ax.scatter(places[-1:, 0], places[-1:, 1], s=26, color=color, zorder=4.5)


def _write_corners(ax: Axes, line: float, lang: str) -> None:
    for corner, (right, up) in _CORNERS.items():
        ax.text(
            0.99 if right > 0 else 0.01,
            0.985 if up > 0 else 0.015,
            text(f"joint_regions.corner_{corner}").localized(lang),
            transform=ax.transAxes,
            ha="right" if right > 0 else "left",
            va="top" if up > 0 else "bottom",
            fontsize=7.5,
            color="#555555",
            zorder=5,
        )


def _title(regions: Any, last: pd.DataFrame, lang: str) -> str:
    return text(
        "joint_regions.title",
        level=printed(100 * regions.level, lang, 0 if (100 * regions.level) % 1 < 1e-9 else 1),
        estimate=text(f"joint_regions.estimate_{regions.estimate}"),
        window=regions.windows[-1],
        n=len(last),
    ).localized(lang)


def _legend(
    chosen: Sequence[object], names: Mapping[str, str] | None, lang: str, *, others: bool
) -> list[Line2D]:
    found = [
        Line2D(
            [],
            [],
            color=color,
            lw=1.5,
            marker="o",
            ms=4.5,
            label=shortened(str(names.get(str(school), school) if names else school)),
        )
        for color, school in zip(_STYLES, chosen, strict=False)
    ]
    if others:
        word = text("joint_regions.others").localized(lang)
        found.append(Line2D([], [], color=GREY, lw=0.6, marker="o", ms=2.5, label=word))
    return found
