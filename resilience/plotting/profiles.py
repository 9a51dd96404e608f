"""Profiles of clusters as a heat map: how far each lies from the region in every condition."""

from __future__ import annotations

import re
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.columns import column, column_names
from resilience.i18n import Bilingual, check_language, text
from resilience.plotting.canvas import figure_of, look, new_axes, printed
from resilience.plotting.inputs import frame_of
from resilience.plotting.labels import shortened
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["bare_name", "plot_profiles"]

_NEEDED = ["cluster", "term", "kind", "mean", "mean_region", "standardized_difference"]
_REACH = 1.5  # SDs at which the colour is full
_WIDTH = 84  # letters of a name in one line below the map
_SHARES = ("share", "composition", "nominal")
_NUMBERS = re.compile(r" \([^()]*(?:against|против)[^()]*\)")


def plot_profiles(clusters: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw how far each cluster lies from the region in every condition.

    Parameters
    ----------
    clusters : ClusterResults, MunicipalClusterResults or DataFrame
        Or its table ``profiles``.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on: conditions in rows, clusters in columns, the region last.  Numbers are
        means in natural units, colours the difference from the region in its SDs.

    Raises
    ------
    DataError
        If the table is empty or lacks columns.
    SpecificationError
        For anything but clusters or their table, or a result without clusters.
    """
    check_language(lang)
    table = frame_of(clusters, "profiles")
    check_columns(table, _NEEDED, table="profiles")
    check_not_empty(table, table="profiles")
    names = {} if table is clusters else getattr(clusters, "names", {})
    terms = list(dict.fromkeys(table["term"].astype(str)))
    numbers = sorted(set(table["cluster"].tolist()))
    with look():
        if ax is None:
            below = sum(len(_lines(c, n, lang)) for c, n in names.items())
            width = 3.4 + 0.75 * (len(numbers) + 1)
            ax = new_axes(max(7.4, width), 1.3 + 0.3 * len(terms) + 0.15 * below)
        _draw(ax, table, terms, numbers, lang)
        ax.set_title(text("cluster_profiles_plot.title").localized(lang), fontsize=8.5, pad=8)
        lines = [line for c, n in names.items() for line in _lines(c, n, lang)]
        if lines:
            ax.set_xlabel("\n".join(lines), fontsize=7.5, loc="left", labelpad=8)
            ax.xaxis.label.set_multialignment("left")
            ax.xaxis.set_label_position("bottom")
    return ax


def bare_name(name: object, lang: str) -> str:
    """Return the name of a cluster without the numbers, which stand in the figure."""
    shown = name.localized(lang) if isinstance(name, Bilingual) else str(name)
    return _NUMBERS.sub("", shown)


def _lines(cluster: object, name: object, lang: str) -> list[str]:
    return fill(f"{cluster}: {bare_name(name, lang)}", _WIDTH, subsequent_indent="    ").split("\n")


def _draw(ax: Axes, table: pd.DataFrame, terms: list[str], numbers: list[Any], lang: str) -> None:
    colours = np.zeros((len(terms), len(numbers) + 1))
    rows = {term: i for i, term in enumerate(terms)}
    columns = {cluster: j for j, cluster in enumerate(numbers)}
    for row in table.to_dict("records"):
        i, j = rows[str(row["term"])], columns[row["cluster"]]
        colours[i, j] = row["standardized_difference"]
        dark = colours[i, j] > 0.5 * _REACH or colours[i, j] < -0.75 * _REACH
        _write(ax, j, i, row["mean"], row, lang, strong=dark)
        if j == 0:
            _write(ax, len(numbers), i, row["mean_region"], row, lang, strong=False)
    image = ax.imshow(
        np.ma.masked_invalid(colours), cmap="PuOr", vmin=-_REACH, vmax=_REACH, aspect="auto"
    )
    ax.axvline(len(numbers) - 0.5, color="#222222", lw=0.8)
    sizes = table.drop_duplicates("cluster").set_index("cluster")
    unit = "n_municipalities" if "n_municipalities" in sizes.columns else "n_schools"
    heads = [
        f"{c}\n({int(sizes.loc[c, unit])})" if unit in sizes.columns else str(c) for c in numbers
    ]
    region = text("cluster_profiles_plot.region").localized(lang)
    ax.set_xticks(range(len(numbers) + 1), [*heads, region], fontsize=7.5)
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(terms)), [_row_label(t, table, lang) for t in terms], fontsize=7.5)
    ax.tick_params(length=0)
    for side in ("top", "right", "bottom", "left"):
        ax.spines[side].set_visible(False)
    bar = figure_of(ax).colorbar(image, ax=ax, shrink=0.8, aspect=18, pad=0.02, extend="both")
    bar.set_label(text("cluster_profiles_plot.scale").localized(lang), fontsize=7.5)
    ticks = [-1.5, -0.8, -0.5, 0.0, 0.5, 0.8, 1.5]
    bar.set_ticks(ticks, labels=[printed(t, lang, 1) for t in ticks], fontsize=7)


def _write(
    ax: Axes, x: int, y: int, value: float, row: dict[Any, Any], lang: str, *, strong: bool
) -> None:
    if not np.isfinite(value):
        shown = "—"
    elif str(row["kind"]) in _SHARES:
        shown = f"{printed(100 * value, lang, 0 if abs(value) >= 0.095 else 1)}\u00a0%"
    else:
        shown = printed(value, lang, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)
    color = "white" if strong else "#222222"
    ax.text(x, y, shown, ha="center", va="center", fontsize=7.5, color=color)


def _row_label(term: str, table: pd.DataFrame, lang: str) -> str:
    """Return the glossary's label of a term; of a level of a category also the level."""
    name, _, level = term.partition("=")
    kind = str(table.loc[table["term"].astype(str) == term, "kind"].iloc[0])
    if name not in column_names():
        return shortened(term, 40)
    if level:
        return shortened(f"{column(name).label(lang)}: {_level(level, lang)}", 40)
    record = column(name)
    unit = record.unit_en if lang == "en" else record.unit_ru
    twice = unit.lower() == record.label(lang).lower()  # "Pupils, pupils"
    return shortened(record.label(lang, unit=kind not in _SHARES and not twice), 40)


def _level(level: str, lang: str) -> str:
    known = {"true": "verdicts.yes", "false": "verdicts.no"}.get(level.lower())
    return text(known).localized(lang) if known else level
