"""Clusters by municipality: which place has schools of which clusters."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.i18n import Bilingual, check_language, text
from resilience.plotting.canvas import figure_of, look, new_axes, printed
from resilience.plotting.inputs import frame_of
from resilience.plotting.labels import shortened
from resilience.plotting.profiles import bare_name
from resilience.results import axis_label
from resilience.validation import check_choice, check_columns, check_not_empty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_cluster_map"]

_NEEDED = ["municipality_id", "cluster", "n_schools"]
_HEAD, _HEAD_LINES = 17, 7  # letters in a line over a column, and lines
_SHARES = ("share_schools", "share_pupils")


def plot_cluster_map(
    clusters: Any, *, value: str = "share_schools", ax: Axes | None = None, lang: str = "en"
) -> Axes:
    """Draw which municipality has schools of which clusters.

    Parameters
    ----------
    clusters : ClustersByMunicipality or DataFrame
        Or its table ``table``.
    value : {"share_schools", "share_pupils"}
        What the colours show; the numbers are schools.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on: municipalities in rows, clusters in columns.

    Raises
    ------
    DataError
        If the table is empty or lacks columns.
    SpecificationError
        For anything but clusters by municipality, or another value.
    """
    check_language(lang)
    check_choice(value, _SHARES, argument="value")
    table = frame_of(clusters, "table")
    check_columns(table, [*_NEEDED, value], table="table")
    check_not_empty(table, table="table")
    places = list(dict.fromkeys(table["municipality_id"].astype(str)))
    numbers = sorted(set(table["cluster"].tolist()))
    kinds = {} if table is clusters else _kinds(clusters)
    with look():
        if ax is None:
            ax = new_axes(max(6.0, 3.2 + 0.9 * len(numbers)), 1.5 + 0.2 * len(places))
        _draw(ax, table, value, places, numbers, lang)
        labels = [
            f"{shortened(p, 24)}, {kinds[p].localized(lang)}" if p in kinds else shortened(p, 24)
            for p in places
        ]
        ax.set_yticks(range(len(places)), labels, fontsize=7.5 if len(places) <= 40 else 6)
        ax.set_xticks(range(len(numbers)), _heads(table, numbers, lang), fontsize=6.5)
        ax.set_title(text("cluster_profiles_plot.map_title").localized(lang), fontsize=8.5, pad=8)
    return ax


def _kinds(clusters: Any) -> dict[str, Bilingual]:
    frame = getattr(clusters, "municipalities", None)
    if frame is None or "settlement" not in frame.columns:
        return {}
    pairs = zip(frame["municipality_id"].astype(str), frame["settlement"], strict=True)
    unknown = text("cluster_profiles.settlement_unknown")
    return {p: kind for p, kind in pairs if isinstance(kind, Bilingual) and kind != unknown}


def _draw(
    ax: Axes,
    table: pd.DataFrame,
    value: str,
    places: list[str],
    numbers: list[Any],
    lang: str,
) -> None:
    shares = np.full((len(places), len(numbers)), np.nan)
    at = {place: i for i, place in enumerate(places)}
    small = 7.5 if len(places) <= 40 else 6
    for row in table.to_dict("records"):
        i, j = at[str(row["municipality_id"])], numbers.index(row["cluster"])
        shares[i, j] = row[value]
        if row["n_schools"]:
            color = "white" if shares[i, j] > 0.6 else "#222222"
            ax.text(
                j,
                i,
                str(int(row["n_schools"])),
                ha="center",
                va="center",
                fontsize=small,
                color=color,
            )
    image = ax.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for side in ("top", "right", "bottom", "left"):
        ax.spines[side].set_visible(False)
    bar = figure_of(ax).colorbar(image, ax=ax, shrink=0.8, aspect=18, pad=0.02)
    bar.set_label(axis_label(value, lang), fontsize=7.5)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    bar.set_ticks(ticks, labels=[printed(t, lang) for t in ticks], fontsize=7)


def _heads(table: pd.DataFrame, numbers: list[Any], lang: str) -> list[str]:
    """Return number and name of every cluster in short lines."""
    if "cluster_name" not in table.columns:
        return [str(c) for c in numbers]
    names = table.drop_duplicates("cluster").set_index("cluster")["cluster_name"]
    return [_head(c, bare_name(names[c], lang).split(", ")) for c in numbers]


def _head(cluster: object, phrases: list[str]) -> str:
    """Return as many phrases of a name as fit over a column."""
    for kept in range(len(phrases), 0, -1):
        shown = [*phrases[:kept], *(["…"] if kept < len(phrases) else [])]
        lines = fill(f"{cluster}: {', '.join(shown)}", _HEAD).split("\n")
        if len(lines) <= _HEAD_LINES:
            break
    return "\n".join(lines[:_HEAD_LINES])
