"""Whether each cluster would be found again, as bars over the thresholds of the reading."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.i18n import Bilingual, check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.inputs import frame_of
from resilience.plotting.silhouette import cluster_label
from resilience.validation import check_columns, check_finite, check_not_empty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_cluster_stability"]

_NEEDED = [
    "cluster",
    "cluster_name",
    "n_schools",
    "jaccard",
    "jaccard_std_error",
    "stability_level",
]
_COLORS = {
    "highly_stable": PALETTE["blue"],
    "stable": PALETTE["sky"],
    "pattern": PALETTE["orange"],
    "not_trusted": PALETTE["vermilion"],
    "dissolved": GREY,
}
_THRESHOLDS = (0.5, 0.6, 0.75, 0.85)
_NORMAL = 1.96
_WIDTH, _LINES = 40, 4  # letters of a cluster's name in one line, and its lines
_TITLE = 66


def plot_cluster_stability(stability: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the mean Jaccard coefficient of every cluster over the thresholds of its reading.

    Parameters
    ----------
    stability : StabilityResults or DataFrame
        Or its table ``clusters``.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    DataError
        If the table lacks a column or is empty.
    SpecificationError
        For anything but stability or its table.
    """
    check_language(lang)
    frame = frame_of(stability, "clusters")
    check_columns(frame, _NEEDED, table="clusters")
    check_not_empty(frame, table="clusters")
    check_finite(frame, ["jaccard", "jaccard_std_error"], table="clusters")
    rows = frame.sort_values("cluster", kind="stable", ignore_index=True)
    with look():
        ax = new_axes(7.4, 1.6 + 0.62 * len(rows)) if ax is None else ax
        _draw(ax, rows, lang)
        ax.set_xlim(0.0, 1.74)  # room for the words behind the bars
        ax.set_xticks([0.0, *_THRESHOLDS, 1.0])
        ax.set_xlabel(text("cluster_stability.bars_axis").localized(lang))
        write_numbers(ax, lang, axes="x")
        ax.tick_params(axis="x", labelsize=7.5)
        lines = [fill(line.localized(lang), _TITLE) for line in _title(stability)]
        ax.set_title("\n".join(lines), fontsize=8.5)
    return ax


def _draw(ax: Axes, rows: pd.DataFrame, lang: str) -> None:
    places = np.arange(len(rows), dtype=float)
    found = rows["jaccard"].to_numpy(dtype=float)
    reach = _NORMAL * rows["jaccard_std_error"].to_numpy(dtype=float)
    levels = [str(level) for level in rows["stability_level"]]
    ax.barh(places, found, height=0.55, color=[_COLORS.get(v, GREY) for v in levels], zorder=2)
    high = np.minimum(found + reach, 1.0)  # the coefficient itself does not pass one
    low = np.maximum(found - reach, 0.0)
    ax.hlines(places, low, high, color="#222222", lw=1.2, zorder=3)
    for threshold in _THRESHOLDS:
        ax.axvline(threshold, color="#222222", lw=0.8, ls="--" if threshold == 0.75 else ":")
    for place, value, edge, level in zip(places, found, high, levels, strict=True):
        words = text(
            "cluster_stability.reading",
            value=Bilingual(printed(float(value), "en"), printed(float(value), "ru")),
            level=text(f"cells.cell_stability_level_{level}"),
        ).localized(lang)
        ax.text(max(float(edge), 0.86) + 0.015, float(place), words, va="center", fontsize=7.5)
    names = [
        cluster_label(number, name, int(n), lang, width=_WIDTH, most=_LINES)
        for number, name, n in zip(
            rows["cluster"], rows["cluster_name"], rows["n_schools"], strict=True
        )
    ]
    ax.set_yticks(places, names, fontsize=7.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)


def _title(stability: Any) -> list[Bilingual]:
    """Return the lines of the title: what is drawn, and how many schools are between clusters."""
    schools = getattr(stability, "schools", None)
    if schools is None:
        return [text("cluster_stability.bars_title_plain")]
    between = int((schools["membership_verdict"] == "between_clusters").sum())
    scheme = text(f"cluster_stability.scheme_{stability.scheme}")
    first = text("cluster_stability.bars_title", n=stability.n_resamples, scheme=scheme)
    return [first, text("cluster_stability.bars_between", n=between, all=len(schools))]
