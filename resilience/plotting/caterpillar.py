"""The caterpillar: every school's effect with its interval, from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resilience.errors import DataError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, figure_of, look, new_axes, write_numbers
from resilience.plotting.inputs import effects_of, interval_note, level_of
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty, shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["BANDS", "plot_caterpillar"]

# Colour and marker of each band: readable in colour blindness and in a black-and-white print.
BANDS: dict[str, tuple[str, str]] = {
    "well_below": (PALETTE["vermilion"], "v"),
    "below": (PALETTE["orange"], "v"),
    "between": (GREY, "o"),
    "above": (PALETTE["sky"], "^"),
    "well_above": (PALETTE["blue"], "^"),
}
_EXTREMES = 5  # named at each end where the caller names none
_STEP_POINTS = 10  # height of one name


def plot_caterpillar(
    va: Any,
    *,
    ax: Axes | None = None,
    lang: str = "en",
    highlight: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    level: float | None = None,
) -> Axes:
    """Draw the school effects in ascending order, each with its interval.

    Parameters
    ----------
    va : ValueAddedResults, SchoolLevelResults or DataFrame
        A result with ``school_effects``, or such a table itself (``school_id effect conf_low
        conf_high``; ``band`` colours the schools).
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    highlight : sequence of str, optional
        Schools to name; by default the five lowest and the five highest effects.  An empty
        sequence names none.
    names : mapping of str to str, optional
        Names to print instead of school ids.
    level : float, optional
        Coverage of the table's intervals, printed in the caption; a result knows its own.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, or lacks a highlighted school.
    SpecificationError
        If ``level`` contradicts the result's own.
    """
    check_language(lang)
    effects = effects_of(va)
    check_columns(effects, ["school_id", "effect", "conf_low", "conf_high"], table="school_effects")
    check_not_empty(effects, table="school_effects")
    shown_level = level_of(va, level)
    ordered = effects.sort_values(["effect", "school_id"], kind="stable").reset_index(drop=True)
    with look():
        ax = new_axes() if ax is None else ax
        _draw_schools(ax, ordered, lang)
        ax.axhline(0, color="#222222", lw=0.8, zorder=1)
        ax.set_xlabel(text("plotting.schools_in_order", n=len(ordered)).localized(lang))
        ax.set_ylabel(axis_label("effect", lang))
        ax.set_xlim(0, len(ordered) + 1)
        write_numbers(ax, lang, axes="y")
        ax.set_title(interval_note(ordered, shown_level).localized(lang), fontsize=8.5)
        if "band" in ordered:
            ax.legend(loc="upper left", markerscale=float(np.sqrt(18 / _marker_size(len(ordered)))))
        _name_schools(ax, ordered, highlight, names)
    return ax


def _band_keys(ordered: pd.DataFrame) -> np.ndarray:
    if "band" not in ordered:
        return np.full(len(ordered), "between", dtype=object)
    keys = ordered["band"].astype(str).str.strip().str.replace(" ", "_").to_numpy(dtype=object)
    unknown = sorted(set(keys) - set(BANDS))
    if unknown:
        raise DataError(
            text("plotting.band", value=shorten(unknown), options=", ".join(map(repr, BANDS)))
        )
    return keys


def _marker_size(n: int) -> float:
    """Return the area of a marker in square points, smaller for more schools."""
    return float(np.clip(1500 / n, 2.0, 18.0))


def _draw_schools(ax: Axes, ordered: pd.DataFrame, lang: str) -> None:
    n = len(ordered)
    place = np.arange(1, n + 1)
    low, high, effect = (
        ordered[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high", "effect")
    )
    keys = _band_keys(ordered)
    size = _marker_size(n)
    for key, (color, marker) in BANDS.items():
        mine = keys == key
        if not mine.any():
            continue
        ax.vlines(
            place[mine],
            low[mine],
            high[mine],
            color=color,
            lw=float(np.clip(250 / n, 0.25, 1.4)),
            alpha=0.75,
            zorder=2,
        )
        label = text("plotting.in_band", band=text(f"verdicts.{key}"), n=int(mine.sum()))
        ax.scatter(
            place[mine],
            effect[mine],
            s=size,
            color=color,
            marker=marker,
            linewidths=0,
            zorder=3,
            label=label.localized(lang),
        )


def _name_schools(
    ax: Axes,
    ordered: pd.DataFrame,
    highlight: Sequence[str] | None,
    names: Mapping[str, str] | None,
) -> None:
    ids = [str(v) for v in ordered["school_id"]]
    if highlight is None:
        chosen = list(dict.fromkeys([*ids[:_EXTREMES], *ids[-_EXTREMES:]]))
    else:
        chosen = [str(v) for v in highlight]
        absent = [v for v in chosen if v not in set(ids)]
        if absent:
            raise DataError(
                text("plotting.school_absent", schools=shorten(absent), argument="highlight")
            )
    rows = ordered.assign(place=np.arange(1, len(ids) + 1)).set_axis(ids, axis=0).loc[chosen]
    rows = rows.assign(
        printed=[shortened(names.get(c, c) if names else c, most=40) for c in chosen]
    ).sort_values("place")
    low, high = rows[rows["effect"] <= 0], rows[rows["effect"] > 0].iloc[::-1]
    _ladder(ax, low, float(ordered["conf_low"].min()), side="low")
    _ladder(ax, high, float(ordered["conf_high"].max()), side="high")


def _ladder(ax: Axes, rows: pd.DataFrame, edge: float, *, side: Literal["low", "high"]) -> None:
    """Write the names as steps beyond all intervals, a thin line from each to its school.

    ``rows`` begin with the school farthest out.  Its line is the longest and its name stands in the
    outermost step, so that no line crosses a name or another line.
    """
    sign, end, align = (-1, "conf_low", "left") if side == "low" else (1, "conf_high", "right")
    bottom, top = ax.get_ylim()
    span = float(np.ptp([*ax.dataLim.intervaly, 0.0]))
    if span < 1e-9 * (top - bottom):  # all effects are zero: nothing on the page sets a scale
        span = float(top - bottom)
    height = figure_of(ax).get_size_inches()[1] * 72 * 0.8  # points of the axes, roughly
    step = span * _STEP_POINTS / max(height - _STEP_POINTS * len(rows), height / 3)
    for k, (_, row) in enumerate(rows.iterrows()):
        y = edge + sign * step * (len(rows) - k)
        ax.plot([row["place"]] * 2, [row[end], y], color="#222222", lw=0.5, alpha=0.6, zorder=1.5)
        ax.annotate(
            f"{row['printed']}",
            (row["place"], y),
            xytext=(-sign * 3, 0),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=7,
            color="#222222",
        )
        bottom, top = min(bottom, y - step), max(top, y + step)
    ax.set_ylim(bottom, top)
