"""Thresholds of marks and shares of marks, observed and fitted, by procedure over the years."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from resilience.columns import label
from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, has_text, text
from resilience.plotting.canvas import (
    PALETTE,
    look,
    new_axes,
    panel_grid,
    printed,
    write_numbers,
)
from resilience.plotting.inputs import frame_of, level_of
from resilience.plotting.labels import shortened
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_unique,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["plot_mark_shares", "plot_thresholds"]

# Colour and marker of each mark, the lowest first: readable in a black-and-white print.
_MARKS = (
    (PALETTE["vermilion"], "v"),
    (PALETTE["orange"], "s"),
    (PALETTE["sky"], "o"),
    (PALETTE["blue"], "^"),
    (PALETTE["green"], "D"),
    (PALETTE["purple"], "P"),
)
_MOST_PANELS = 24  # procedures that a page carries
_USUAL_LEVEL = 0.95


def plot_thresholds(
    results: Any,
    *,
    procedure: str | Sequence[str] | None = None,
    level: float | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw the thresholds between marks over the years, a panel per procedure.

    A threshold is the lowest latent result for a mark, in SD of the region's pupils from the
    pupils' average of that procedure and year: one that moves shows a scale, a form or a marking
    that changed, not schools that did.

    Parameters
    ----------
    results : OrdinalSchoolResults or DataFrame
        A result with ``thresholds``, or such a table (``procedure year border threshold
        std_error``; ``border`` is the mark above the threshold).
    procedure : str or sequence of str, optional
        Procedures to draw, by default all; above 24 the first ones, and the title says so.
    level : float, optional
        Coverage of the intervals; a result knows its own, a table gets 0.95.
    ax : Axes, optional
        Axes to draw on, which panels divide; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, repeats a threshold, or lacks a procedure asked for.
    SpecificationError
        If ``level`` contradicts the result's own or more than 24 procedures are asked for.
    """
    check_language(lang)
    known = level_of(results, level)
    shown_level = _USUAL_LEVEL if known is None else known
    half = NormalDist().inv_cdf((1 + shown_level) / 2)
    table, others = _chosen(results, "thresholds", ["border", "threshold"], procedure)
    check_columns(table, ["std_error"], table="thresholds")
    borders = _in_order(table["border"])

    def draw(panel: Axes, rows: pd.DataFrame, along: _Along) -> None:
        for k, border in enumerate(borders):
            # The colours are those of the marks, and the lowest mark has no threshold below it.
            color, marker = _look_of(k + 1)
            place, mine = along.places(rows[rows["border"] == border])
            value, error = (mine[c].to_numpy(dtype=float) for c in ("threshold", "std_error"))
            if along.joined:
                panel.plot(place, value, color=color, lw=0.8, alpha=0.6, zorder=2)
            known = np.isfinite(value) & np.isfinite(error)
            low, high = value - half * error, value + half * error
            panel.vlines(place[known], low[known], high[known], color=color, lw=1.1)
            panel.scatter(place, value, s=11, color=color, marker=marker, linewidths=0, zorder=3)

    handles = [
        _handle(
            _threshold_words(border, lang),
            *_look_of(k + 1),
            ls="-",
        )
        for k, border in enumerate(borders)
    ]
    shown = text("plots_marks.interval_of_thresholds", level=f"{100 * shown_level:g}")
    note = [_comma(shown.localized(lang), lang), *others(lang)]
    with look():
        ax = _draw_panels(ax, table, draw, lang)
        ax.set_ylabel(text("plots_marks.threshold_axis").localized(lang))
        _legend(ax, handles, "\n".join(note))
    return ax


def plot_mark_shares(
    results: Any,
    *,
    procedure: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw observed against fitted shares of marks over the years, a panel per procedure.

    Parameters
    ----------
    results : OrdinalSchoolResults or DataFrame
        A result with ``mark_shares``, or such a table (``procedure year mark observed_share
        fitted_share``).  Of a share (marks ``below`` and ``not_below``) the former is drawn.
    procedure : str or sequence of str, optional
        Procedures to draw, by default all; above 24 the first ones, and the title says so.
    ax : Axes, optional
        Axes to draw on, which panels divide; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, repeats a mark, or lacks a procedure asked for.
    SpecificationError
        If more than 24 procedures are asked for.
    """
    check_language(lang)
    needed = ["mark", "observed_share", "fitted_share"]
    table, others = _chosen(results, "mark_shares", needed, procedure)
    marks = _in_order(table["mark"])
    if set(marks) == {"below", "not_below"}:
        marks = ["below"]  # the others are what is left of one, and would hide the share's changes
        table = table[table["mark"] == "below"]

    def draw(panel: Axes, rows: pd.DataFrame, along: _Along) -> None:
        for k, mark in enumerate(marks):
            color, marker = _look_of(k)
            place, mine = along.places(rows[rows["mark"] == mark])
            observed, fitted = (
                mine[c].to_numpy(dtype=float) for c in ("observed_share", "fitted_share")
            )
            # The bar shows the fitted share also where there is no line to follow.
            panel.plot(
                place,
                fitted,
                color=color,
                lw=1.0 if along.joined else 0.0,
                marker="_",
                ms=12,
                mew=1.3,
                zorder=2,
            )
            panel.scatter(place, observed, s=14, color=color, marker=marker, linewidths=0, zorder=3)

    handles = [_handle(_mark_words(mark, lang), *_look_of(k)) for k, mark in enumerate(marks)]
    grey = "#555555"
    handles += [
        _handle(text("plots_marks.observed").localized(lang), grey, "o"),
        Line2D([], [], color=grey, lw=1.2, label=text("plots_marks.fitted").localized(lang)),
    ]
    note = "\n".join([_largest_gap(table, lang), *others(lang)])
    with look():
        ax = _draw_panels(ax, table, draw, lang)
        ax.set_ylabel(text("plots_marks.share_axis").localized(lang))
        top = float(np.nanmax(table[["observed_share", "fitted_share"]].to_numpy(dtype=float)))
        first = ax.child_axes[0] if ax.child_axes else ax
        first.set_ylim(0, min(1.0, 1.12 * top) if top > 0 else 1.0)
        _legend(ax, handles, note)
    return ax


def _largest_gap(table: pd.DataFrame, lang: str) -> str:
    gap = (table["observed_share"] - table["fitted_share"]).abs().to_numpy(dtype=float)
    at = int(np.nanargmax(gap))
    row = table.iloc[at]
    words = text(
        "plots_marks.largest_gap",
        gap=printed(float(gap[at]), lang, 3),
        procedure=row["procedure"],
        year=row["year"],
        mark=_mark_words(row["mark"], lang),
    )
    return words.localized(lang)


# ------------------------------------------------------------------ what both figures share


def _chosen(
    results: Any, name: str, needed: list[str], procedure: str | Sequence[str] | None
) -> tuple[pd.DataFrame, Callable[[str], list[str]]]:
    """Return the rows to draw and a function that says in a language what was left out."""
    frame = frame_of(results, name)
    check_columns(frame, ["procedure", "year", *needed], table=name)
    check_not_empty(frame, table=name)
    check_unique(frame, ["procedure", "year", needed[0]], table=name)
    check_finite(frame, needed[1:], table=name, unit="procedure")
    frame = frame.assign(procedure=frame["procedure"].astype(str))
    known = list(dict.fromkeys(frame["procedure"]))
    if procedure is None:
        wanted = known[:_MOST_PANELS]
    else:
        wanted = [procedure] if isinstance(procedure, str) else [str(v) for v in procedure]
        wanted = list(dict.fromkeys(wanted))
    absent = [p for p in wanted if p not in known]
    if absent or not wanted:
        raise DataError(
            text(
                "plots_marks.procedure_absent",
                table=name,
                procedures=shorten(absent) or "[]",
                options=shorten(known, 12),
            )
        )
    if len(wanted) > _MOST_PANELS:
        raise SpecificationError(
            text("plots_marks.many_procedures", n=len(wanted), most=_MOST_PANELS)
        )
    left = 0 if procedure is not None else len(known) - len(wanted)

    def others(lang: str) -> list[str]:
        return [text("plots_marks.other_procedures", n=left).localized(lang)] if left else []

    rows = [frame[frame["procedure"] == p] for p in wanted]
    return pd.concat(rows, ignore_index=True), others


def _in_order(values: pd.Series) -> list[Any]:
    """Return the different marks, numbers by size and other names as they stand."""
    found = list(dict.fromkeys(values.tolist()))
    numbers = pd.to_numeric(pd.Series([_mark_text(v) for v in found]), errors="coerce")
    if numbers.isna().any():
        return found
    return [found[i] for i in np.argsort(numbers.to_numpy(), kind="stable")]


def _mark_text(mark: Any) -> str:
    """Return a mark as printed: 2 and 2.0 and "n_2" are one mark."""
    if isinstance(mark, (float, np.floating)) and float(mark).is_integer():
        return str(int(mark))
    return str(mark).removeprefix("n_")


def _mark_words(mark: Any, lang: str) -> str:
    key = f"plots_marks.mark_{mark}"
    if has_text(key):  # a category of a share, which has no mark of its own
        return text(key).localized(lang)
    return text("plots_marks.mark", mark=_mark_text(mark)).localized(lang)


def _threshold_words(border: Any, lang: str) -> str:
    if has_text(f"plots_marks.mark_{border}"):
        return text("plots_marks.threshold_of_share").localized(lang)
    return text("plots_marks.threshold_of", mark=_mark_text(border)).localized(lang)


def _look_of(k: int) -> tuple[str, str]:
    return _MARKS[k % len(_MARKS)]


def _handle(words: str, color: str, marker: str, *, ls: str = "none") -> Line2D:
    return Line2D([], [], color=color, marker=marker, ls=ls, lw=1.0, ms=4.5, mew=0, label=words)


def _comma(words: str, lang: str) -> str:
    return words.replace(".", ",") if lang == "ru" else words


@dataclass(frozen=True, kw_only=True)
class _Along:
    """What the horizontal axis counts: years in order, or procedures where there is one year."""

    column: str
    values: list[Any]

    @property
    def joined(self) -> bool:
        """Whether neighbours belong together and lines join them."""
        return self.column == "year"

    def places(self, rows: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
        """Return the places and the row at each of them, gaps where there is none."""
        return np.arange(len(self.values)), rows.set_index(self.column).reindex(self.values)


def _draw_panels(
    ax: Axes | None,
    table: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, _Along], None],
    lang: str,
) -> Axes:
    procedures = list(dict.fromkeys(table["procedure"]))
    # All years of the table, so that a year without the procedure stands as a gap.
    years = sorted(dict.fromkeys(table["year"].tolist()), key=lambda v: (str(type(v)), v))
    if len(years) == 1 and len(procedures) > 1:
        return _draw_single_year(ax, table, draw, years[0], lang)
    n = len(procedures)
    columns = min(n, 3 if n <= 9 else 4)
    rows = -(-n // columns)
    if ax is None:
        ax = new_axes(height=4.4 if n == 1 else 1.5 + rows * (2.3 if rows == 1 else 1.7))
    panels = panel_grid(ax, [shortened(p, 80 // columns) for p in procedures], columns=columns)
    along = _Along(column="year", values=years)
    for panel, procedure in zip(panels, procedures, strict=True):
        draw(panel, table[table["procedure"] == procedure], along)
    every = -(-len(years) // max(2, 12 // columns))  # years that a panel's width carries
    ticks = np.arange(len(years))[::-1][::every][::-1]  # the last year is always written
    panels[0].set_xticks(ticks, [str(years[i]) for i in ticks])
    panels[0].set_xlim(-0.6, len(years) - 0.4)
    for panel in panels:
        write_numbers(panel, lang, axes="y")
    ax.set_xlabel(label("year", lang))
    return ax


def _draw_single_year(
    ax: Axes | None,
    table: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, _Along], None],
    year: Any,
    lang: str,
) -> Axes:
    procedures = list(dict.fromkeys(table["procedure"]))
    ax = new_axes() if ax is None else ax
    panel_grid(ax, [str(year)], columns=1)
    draw(ax, table, _Along(column="procedure", values=procedures))
    ax.set_xticks(
        np.arange(len(procedures)),
        [shortened(p, 30) for p in procedures],
        rotation=0 if len(procedures) <= 6 else 45,
        ha="center" if len(procedures) <= 6 else "right",
        rotation_mode="anchor",
    )
    ax.set_xlim(-0.6, len(procedures) - 0.4)
    write_numbers(ax, lang, axes="y")
    return ax


def _legend(ax: Axes, handles: Sequence[Artist], note: str) -> None:
    # A single panel is the axes themselves: the legend stands above its title.
    ax.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1.0 if ax.child_axes else 1.06),
        ncols=4 if len(handles) > 3 else 3,
        title=note or None,
        title_fontsize=8.5,
        alignment="left",
        borderaxespad=0.2,
        columnspacing=1.2,
    )
