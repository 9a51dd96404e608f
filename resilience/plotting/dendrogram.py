"""Ward's tree of schools with the clusters it was cut into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.silhouette import cluster_label
from resilience.validation import check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_dendrogram"]

_WIDTH = 110  # letters of a cluster's name in one line of the legend
_LINES = 3


def plot_dendrogram(
    clusters: Any,
    *,
    stratum: str | None = None,
    most_leaves: int = 50,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw Ward's tree, the branches of a cluster in its colour.

    Parameters
    ----------
    clusters : ClusterResults
        Of ``method="ward"``.
    stratum : str, optional
        Which stratum's tree; needed where there are several.
    most_leaves : int
        Of a larger tree only the uppermost branches are drawn, each with the number of its schools
        below.
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
    SpecificationError
        For anything but clusters of Ward's method, an unknown stratum, or none where there are
        several.
    """
    from scipy.cluster.hierarchy import dendrogram

    check_language(lang)
    check_count(most_leaves, argument="most_leaves", least=2)
    part = _part(clusters, stratum)
    tree = part.tree
    n_clusters = len(part.numbers)
    colors = list(PALETTE.values())
    owner = _owners(tree, np.asarray(part.labels))
    truncated = len(tree) + 1 > most_leaves
    shape = dendrogram(
        tree,
        no_plot=True,
        truncate_mode="lastp" if truncated else None,
        p=most_leaves,
        link_color_func=lambda node: (
            GREY if owner[node] < 0 else colors[int(owner[node]) % len(colors)]
        ),
    )
    with look():
        ax = new_axes(7.4, 5.6) if ax is None else ax
        _draw(ax, shape)
        if n_clusters > 1:
            # halfway between the joint that was undone last and the next one that was kept
            undone = float(tree[1 - n_clusters, 2])
            kept = float(tree[-n_clusters, 2]) if n_clusters <= len(tree) else 0.0
            ax.axhline((undone + kept) / 2, color="#222222", lw=0.8, ls="--", zorder=1)
        _leaves(ax, shape, clusters, part)
        _words(ax, clusters, part, truncated=truncated, lang=lang)
    return ax


def _part(clusters: Any, stratum: str | None) -> Any:
    """Return the stratum whose tree is drawn."""
    parts = getattr(clusters, "parts", None)
    method = getattr(getattr(clusters, "model", None), "method", None)
    if not isinstance(parts, tuple) or method is None:
        raise SpecificationError(text("clusters_plot.no_tree", kind=type(clusters).__name__))
    if method != "ward":
        raise SpecificationError(text("clusters_plot.no_tree", kind=f"method={method!r}"))
    if stratum is None:
        _ = clusters.tree  # says how to name one of several
        clusters.require_clusters()
        return parts[0]
    return clusters.part(stratum)


def _owners(tree: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cluster of every node of the tree, -1 where it joins several."""
    owner = np.r_[labels, np.full(len(tree), -1)]
    for i, (left, right) in enumerate(tree[:, :2].astype(int)):
        if owner[left] == owner[right]:
            owner[len(labels) + i] = owner[left]
    return np.asarray(owner)


def _draw(ax: Axes, shape: Mapping[str, Any]) -> None:
    lines = [np.column_stack(u) for u in zip(shape["icoord"], shape["dcoord"], strict=True)]
    ax.add_collection(LineCollection(lines, colors=shape["color_list"], linewidths=1.1, zorder=2))
    ax.set_xlim(0, 10 * len(shape["ivl"]))
    ax.set_ylim(0, 1.05 * max(max(d) for d in shape["dcoord"]))


def _leaves(ax: Axes, shape: Mapping[str, Any], clusters: Any, part: Any) -> None:
    schools = clusters.scaled.schools["school_id"].to_numpy()[part.fitted]
    n = len(schools)
    labels = [
        str(schools[leaf]) if leaf < n else shown
        for leaf, shown in zip(shape["leaves"], shape["ivl"], strict=True)
    ]
    ax.set_xticks(10 * np.arange(len(labels)) + 5, labels, rotation=90, fontsize=6.5)
    ax.tick_params(axis="x", length=0)


def _words(ax: Axes, clusters: Any, part: Any, *, truncated: bool, lang: str) -> None:
    write_numbers(ax, lang, axes="y")
    ax.set_ylabel(text("clusters_plot.tree_height").localized(lang))
    below = "tree_truncated" if truncated else "tree_schools"
    ax.set_xlabel(text(f"clusters_plot.{below}").localized(lang))
    names = clusters.names
    counts = np.bincount(part.labels, minlength=len(part.numbers))
    colors = list(PALETTE.values())
    handles = []
    for code, number in enumerate(part.numbers):
        shown = cluster_label(
            number, names[number], int(counts[code]), lang, width=_WIDTH, most=_LINES
        )
        handles.append(Line2D([], [], color=colors[code % len(colors)], lw=2, label=shown))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.17), fontsize=7)
    lines = [text("clusters_plot.tree_title", n=len(part.fitted), k=len(part.numbers))]
    if part.stratum:
        lines.append(text("clusters_plot.tree_stratum", stratum=part.stratum))
    ax.set_title("\n".join(line.localized(lang) for line in lines), fontsize=8.5)
