"""How well every school lies inside its cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, text
from resilience.plotting.canvas import PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.inputs import frame_of
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty, shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["cluster_label", "plot_silhouette"]

_NEEDED = ["school_id", "cluster", "cluster_name", "silhouette"]
_WIDTH = 40  # letters of a cluster's name in one line
_LINES = 5
_TITLE = 68  # letters of the title in one line: the names leave it two thirds of the width


def plot_silhouette(
    clusters: Any,
    *,
    ax: Axes | None = None,
    lang: str = "en",
    highlight: Sequence[object] = (),
    names: Mapping[str, str] | None = None,
) -> Axes:
    """Draw the silhouettes of schools, cluster by cluster, the best placed first.

    Parameters
    ----------
    clusters : ClusterResults or DataFrame
        Or its table ``schools``.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    highlight : sequence
        Schools to name.
    names : mapping of str to str, optional
        Names to print instead of school ids.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    DataError
        If no school has a silhouette, or a highlighted one has none.
    SpecificationError
        For anything but clusters or their table.
    """
    check_language(lang)
    frame = frame_of(clusters, "schools")
    check_columns(frame, _NEEDED, table="schools")
    check_not_empty(frame, table="schools")
    drawn = frame[frame["silhouette"].notna() & frame["cluster"].notna()]
    if len(drawn) == 0:
        raise DataError(text("clusters_plot.no_silhouettes"))
    absent = [school for school in highlight if school not in set(drawn["school_id"])]
    if absent:
        raise DataError(
            text("plotting.school_absent", schools=shorten(absent), argument="highlight")
        )
    ordered = drawn.sort_values(
        ["cluster", "silhouette"], ascending=[True, False], kind="stable", ignore_index=True
    )
    with look():
        ax = new_axes(7.4, 5.0) if ax is None else ax
        places = _draw(ax, ordered, lang)
        _name(ax, ordered, places, highlight, names)
        ax.set_xlabel(axis_label("silhouette", lang))
        write_numbers(ax, lang, axes="x")
        words = _title(frame, ordered).localized(lang).split("\n")
        ax.set_title("\n".join(fill(line, _TITLE) for line in words), fontsize=8.5)
    return ax


def _draw(ax: Axes, ordered: pd.DataFrame, lang: str) -> np.ndarray:
    """Draw one block of steps per cluster; return the height at which every school stands."""
    gap = max(1.0, 0.03 * len(ordered))
    places, ticks, labels = np.empty(len(ordered)), [], []
    colors = list(PALETTE.values())
    top = 0.0
    for number, (cluster, rows) in enumerate(ordered.groupby("cluster", sort=True)):
        edges = top + np.arange(len(rows) + 1)
        values = rows["silhouette"].to_numpy(dtype=float)
        ax.fill_betweenx(
            edges,
            np.r_[values, values[-1]],
            0.0,
            step="post",
            color=colors[number % len(colors)],
            linewidth=0.0,
            zorder=2,
        )
        places[rows.index.to_numpy()] = edges[:-1] + 0.5
        ticks.append(top + len(rows) / 2)
        name = rows["cluster_name"].iloc[0]
        labels.append(cluster_label(cluster, name, len(rows), lang, width=_WIDTH, most=_LINES))
        top = float(edges[-1]) + gap
    ax.axvline(0.0, color="#222222", lw=0.8, zorder=3)
    ax.axvline(float(ordered["silhouette"].mean()), color="#222222", lw=0.8, ls="--", zorder=3)
    ax.set_yticks(ticks, labels, fontsize=7.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(top - gap + 0.5, -0.5)
    return places


def cluster_label(number: object, name: object, n: int, lang: str, *, width: int, most: int) -> str:
    """Return number, name and size of a cluster in lines of some width, at most so many."""
    shown = name.localized(lang) if isinstance(name, Bilingual) else str(name)
    whole = text("clusters_plot.block", number=number, name=shown, n=n).localized(lang)
    lines = fill(whole.replace(" %", "\u00a0%"), width).split("\n")  # a number keeps its sign
    if len(lines) > most:
        count = text("clusters_plot.block", number=number, name="…", n=n).localized(lang)
        lines = [*lines[: most - 1], count.partition(": ")[2]]
    return "\n".join(lines)


def _name(
    ax: Axes,
    ordered: pd.DataFrame,
    places: np.ndarray,
    highlight: Sequence[object],
    names: Mapping[str, str] | None,
) -> None:
    for school in dict.fromkeys(highlight):
        at = int(np.flatnonzero((ordered["school_id"] == school).to_numpy())[0])
        value = float(ordered["silhouette"].iloc[at])
        ax.annotate(
            shortened(str(names.get(str(school), school) if names else school)),
            (max(value, 0.0), places[at]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            zorder=5,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "shrinkA": 0, "shrinkB": 0},
        )


def _title(frame: pd.DataFrame, ordered: pd.DataFrame) -> Bilingual:
    below = int((ordered["silhouette"] < 0).sum())
    mean, clusters = float(ordered["silhouette"].mean()), ordered["cluster"].nunique()
    lines = [
        text(
            "clusters_plot.silhouette_title",
            n=len(ordered),
            k=clusters,
            mean=Bilingual(printed(mean, "en"), printed(mean, "ru")),
        )
    ]
    if below:
        lines.append(text("clusters_plot.silhouette_below", below=below))
    if len(ordered) < len(frame):
        lines.append(text("clusters_plot.silhouette_left_out", n=len(frame) - len(ordered)))
    return Bilingual("\n".join(v.en for v in lines), "\n".join(v.ru for v in lines))
