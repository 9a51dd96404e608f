"""The same schools under several views of the data: pupils, means, counts, one share."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.ticker import MaxNLocator

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, has_text, text
from resilience.plotting.canvas import (
    GREY,
    PALETTE,
    figure_of,
    look,
    new_axes,
    panel_grid,
    printed,
    write_numbers,
)
from resilience.plotting.inputs import effects_of, level_of
from resilience.plotting.labels import place_labels, shortened
from resilience.results import axis_label
from resilience.validation import (
    check_choice,
    check_columns,
    check_finite,
    check_not_empty,
    check_unique,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_views"]

# Colour and marker of each view, in order: readable in a black-and-white print.
_VIEWS = (
    (PALETTE["blue"], "o"),
    (PALETTE["vermilion"], "s"),
    (PALETTE["green"], "^"),
    (PALETTE["orange"], "D"),
    (PALETTE["purple"], "v"),
    (PALETTE["sky"], "P"),
)
# Whose interval excludes zero: both, the reference's alone, the other's alone, neither.
_VERDICTS = (
    ("both", PALETTE["blue"], "o"),
    ("reference", PALETTE["orange"], "s"),
    ("other", PALETTE["vermilion"], "^"),
    ("neither", GREY, "o"),
)
_MOST_ROWS = 16  # schools that a row each still suits
_DIFFERING = 12  # rows where the caller asks for rows and chooses none
_NAMED = 4  # per panel where the caller names none
_COLUMNS = ("school_id", "effect", "conf_low", "conf_high")


@dataclass(frozen=True, kw_only=True)
class _Views:
    """Schools that stand in every view: effect and interval, a column per view."""

    keys: list[str]
    labels: list[str]
    schools: np.ndarray  # (n_schools,)
    effect: np.ndarray  # (n_schools, n_views)
    low: np.ndarray
    high: np.ndarray
    n_absent: int
    level: str

    @property
    def half(self) -> np.ndarray:
        """Mean half-width of the intervals of each view, (n_views,)."""
        return np.asarray(((self.high - self.low) / 2).mean(axis=0))

    def rows(self, at: np.ndarray) -> _Views:
        """Return the schools at these places, in this order."""
        parts = (self.schools[at], self.effect[at], self.low[at], self.high[at])
        return _Views(
            keys=self.keys,
            labels=self.labels,
            schools=parts[0],
            effect=parts[1],
            low=parts[2],
            high=parts[3],
            n_absent=self.n_absent,
            level=self.level,
        )


def plot_views(
    effects: Mapping[str, Any],
    *,
    order: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    layout: Literal["auto", "rows", "panels"] = "auto",
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw the effects of the same schools under several views of their data.

    Up to 16 schools get a row each, a dot and an interval per view.  More schools get a panel per
    view: its effects against those of the first view, the line of equal effects, colours for whose
    interval excludes zero, the correlation and the mean half-width of the intervals.

    Parameters
    ----------
    effects : mapping of str to EffectsResults or DataFrame
        At least two and at most six results (or tables ``school_id effect conf_low conf_high``).
        The keys ``pupils means counts share mixture`` are written out in the language; other keys
        stand for themselves.
    order : sequence of str, optional
        Keys of the views to draw; the first is the reference.  By default all, as they stand.
    highlight : sequence of str, optional
        Schools to name in panels, or the schools that get a row; by default those whose effects
        differ most between views.  An empty sequence names none.
    names : mapping of str to str, optional
        Names to print instead of school ids.
    layout : {"auto", "rows", "panels"}
        "rows" and "panels" override the choice by the number of schools.
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
    SpecificationError
        If there are fewer than two views or more than six, or a view is unknown.
    DataError
        If a table lacks a column, repeats a school, has gaps, or no school is in all of them.
    """
    check_language(lang)
    check_choice(layout, ("auto", "rows", "panels"), argument="layout")
    views = _read_views(effects, order, lang)
    chosen = None if highlight is None else [str(v) for v in highlight]
    absent = [v for v in chosen or () if v not in set(views.schools)]
    if absent:
        raise DataError(
            text("plotting.school_absent", schools=shorten(absent), argument="highlight")
        )
    with look():
        if layout == "rows" or (layout == "auto" and len(views.schools) <= _MOST_ROWS):
            return _draw_rows(ax, views, chosen, names, lang)
        return _draw_panels(ax, views, chosen, names, lang)


def _read_views(effects: Mapping[str, Any], order: Sequence[str] | None, lang: str) -> _Views:
    keys = [str(k) for k in (effects if order is None else order)]
    unknown = [k for k in keys if k not in effects]
    if unknown:
        options = ", ".join(map(repr, effects))
        raise SpecificationError(
            text("plots_marks.view_absent", views=shorten(unknown), options=options)
        )
    if len(keys) < 2:
        raise SpecificationError(text("plots_marks.few_views", n=len(keys)))
    if len(keys) > len(_VIEWS):
        raise SpecificationError(text("plots_marks.many_views", n=len(keys), most=len(_VIEWS)))
    tables = {key: _table_of(effects[key], key) for key in keys}
    everywhere = set.intersection(*(set(t.index) for t in tables.values()))
    anywhere = set.union(*(set(t.index) for t in tables.values()))
    if not everywhere:
        raise DataError(text("plots_marks.no_common_school", views=", ".join(keys)))
    schools = [s for s in tables[keys[0]].index if s in everywhere]
    effect, low, high = (
        np.column_stack([tables[key].loc[schools, name] for key in keys]) for name in _COLUMNS[1:]
    )
    levels = {level_of(effects[key], None) for key in keys}
    level = levels.pop() if len(levels) == 1 else None
    return _Views(
        keys=keys,
        labels=[_view_name(key, lang) for key in keys],
        schools=np.asarray(schools, dtype=object),
        effect=effect,
        low=low,
        high=high,
        n_absent=len(anywhere) - len(everywhere),
        level="" if level is None else f"{100 * level:g}",
    )


def _table_of(source: Any, key: str) -> pd.DataFrame:
    """Return a view's schools as index, with effect and interval."""
    frame, name = effects_of(source), f"effects[{key!r}]"
    check_columns(frame, _COLUMNS, table=name)
    check_not_empty(frame, table=name)
    frame = frame.assign(school_id=frame["school_id"].astype(str))
    check_unique(frame, ["school_id"], table=name)
    check_finite(frame, _COLUMNS[1:], table=name, unit="school_id")
    return frame.set_index("school_id")[list(_COLUMNS[1:])].astype(float)


def _view_name(key: str, lang: str) -> str:
    if has_text(f"plots_marks.view_{key}"):
        return text(f"plots_marks.view_{key}").localized(lang)
    return key


def _note(key: str, views: _Views, lang: str, **numbers: int) -> str:
    level = Bilingual("", "")
    if views.level:
        level = text("plots_marks.level_of_intervals", level=views.level)
    absent = Bilingual("", "")
    if views.n_absent:
        absent = text("plots_marks.absent_schools", n=views.n_absent)
    words = text(f"plots_marks.schools_{key}", level=level, absent=absent, **numbers)
    shown = words.localized(lang)
    return shown[:1].upper() + shown[1:]


def _most_differing(views: _Views, most: int) -> np.ndarray:
    """Return the places of the schools whose effects differ most between views."""
    spread = np.ptp(views.effect, axis=1)
    return np.argsort(-spread, kind="stable")[:most]


# ------------------------------------------------------------------ a row per school


def _draw_rows(
    ax: Axes | None,
    views: _Views,
    chosen: list[str] | None,
    names: Mapping[str, str] | None,
    lang: str,
) -> Axes:
    total, key = len(views.schools), "shown"
    numbers = {"n": total}
    if chosen:
        at = np.flatnonzero(np.isin(views.schools, chosen))
        key, numbers = "chosen", {"n": len(at), "total": total}
    elif total > _MOST_ROWS:
        at = _most_differing(views, _DIFFERING)
        key, numbers = "differ_most", {"n": len(at), "total": total}
    else:
        at = np.arange(total)
    half = views.half  # of all schools, not only of those that get a row
    shown = views.rows(at[np.argsort(views.effect[at, 0], kind="stable")])
    n, n_views = shown.effect.shape
    height = 1.3 + 0.2 * (n_views > 2) + n * (0.12 + 0.09 * n_views)
    ax = new_axes(height=max(height, 2.2)) if ax is None else ax
    for k in range(0, n, 2):
        ax.axhspan(k - 0.5, k + 0.5, color="#F2F2F2", lw=0, zorder=0)
    ax.axvline(0, color="#222222", lw=0.8, zorder=1)
    step = 0.78 / n_views
    for k, (color, marker) in enumerate(_VIEWS[:n_views]):
        place = np.arange(n) + step * ((n_views - 1) / 2 - k)  # the reference stands highest
        words = text("plots_marks.view_width", view=shown.labels[k], half=printed(half[k], lang))
        ax.hlines(place, shown.low[:, k], shown.high[:, k], color=color, lw=1.2, alpha=0.8)
        ax.scatter(
            shown.effect[:, k],
            place,
            s=16,
            color=color,
            marker=marker,
            linewidths=0,
            zorder=3,
            label=words.localized(lang),
        )
    labels = [shortened(names.get(s, s) if names else s, 40) for s in shown.schools]
    ax.set_yticks(np.arange(n), labels)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.5, n - 0.5)
    ax.set_xlabel(axis_label("effect", lang))
    write_numbers(ax, lang, axes="x")
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        title="\n".join(textwrap.wrap(_note(key, shown, lang, **numbers), 80)),
        title_fontsize=8.5,
        alignment="left",
        borderaxespad=0.2,
    )
    return ax


# ------------------------------------------------------------------ a panel per view


def _draw_panels(
    ax: Axes | None,
    views: _Views,
    chosen: list[str] | None,
    names: Mapping[str, str] | None,
    lang: str,
) -> Axes:
    n_panels = len(views.keys) - 1
    columns = 2 if n_panels in (2, 4) else min(n_panels, 3)
    rows = -(-n_panels // columns)
    if ax is None:
        side = 4.4 if n_panels == 1 else 6.2 / columns  # of a panel about as high as wide
        ax = new_axes(width=7.4 if n_panels > 1 else 5.6, height=1.45 + rows * (side + 0.4))
    half = views.half
    titles = []
    for k, name in enumerate(views.labels[1:], 1):
        words = text(
            "plots_marks.agreement",
            r=_correlation(views.effect[:, 0], views.effect[:, k], lang),
            half=printed(half[k], lang),
        )
        titles.append(f"{name}\n{words.localized(lang)}")
    panels = panel_grid(ax, titles, columns=columns, lines=2)
    # One range for both axes of all panels, so that the line of equal effects is a diagonal.
    room = 0.06 * float(np.ptp(views.effect)) or 1.0
    limits = (float(views.effect.min()) - room, float(views.effect.max()) + room)
    panels[0].set(xlim=limits, ylim=limits)
    # Ticks at the very ends would run into those of the next panel.
    panels[0].xaxis.set_major_locator(MaxNLocator(5, prune="both"))
    for k, panel in enumerate(panels, 1):
        _draw_cloud(panel, views, k, lang)
        write_numbers(panel, lang)
    label = axis_label("effect", lang)
    reference = {"label": label, "view": views.labels[0], "half": printed(half[0], lang)}
    ax.set_xlabel(text("plots_marks.axis_reference", **reference).localized(lang))
    ax.set_ylabel(text("plots_marks.axis_others", label=label).localized(lang))
    _panel_legend(ax, panels, views, lang)
    for k, panel in enumerate(panels, 1):
        _name_schools(panel, views, k, chosen, names)
    return ax


def _correlation(first: np.ndarray, second: np.ndarray, lang: str) -> str:
    """Return the correlation as printed, a dash where a view does not tell schools apart."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return "—"
    return printed(float(np.corrcoef(first, second)[0, 1]), lang)


def _excludes_zero(views: _Views, k: int) -> np.ndarray:
    return np.asarray((views.low[:, k] > 0) | (views.high[:, k] < 0))


def _marker_size(n: int) -> float:
    """Return the area of a marker in square points, smaller for more schools."""
    return float(np.clip(1600 / n, 2.0, 16.0))


def _draw_cloud(panel: Axes, views: _Views, k: int, lang: str) -> None:
    x, y = views.effect[:, 0], views.effect[:, k]
    first, second = _excludes_zero(views, 0), _excludes_zero(views, k)
    masks = (first & second, first & ~second, ~first & second, ~first & ~second)
    size = _marker_size(len(x))
    panel.axline((0, 0), slope=1, color="#222222", lw=0.8, zorder=1.5)
    for place in (panel.axhline, panel.axvline):
        place(0, color=GREY, lw=0.5, zorder=1)
    for (key, color, marker), mask in reversed([*zip(_VERDICTS, masks, strict=True)]):
        words = text("plots_marks.excludes_reference", view=views.labels[0])
        words = words if key == "reference" else text(f"plots_marks.excludes_{key}")
        panel.scatter(
            x[mask],
            y[mask],
            s=size,
            color=color,
            marker=marker,
            linewidths=0,
            alpha=0.55 if key == "neither" else 0.85,
            zorder=3,
            label=words.localized(lang),
        )


def _panel_legend(ax: Axes, panels: list[Axes], views: _Views, lang: str) -> None:
    handles, labels = panels[0].get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    order = [label for label in labels[::-1] if label]
    note = _note("shown", views, lang, n=len(views.schools))
    # A single panel is the axes themselves: the legend stands above its title of two lines.
    title = 0.0 if len(panels) > 1 else 0.36 / (figure_of(ax).get_size_inches()[1] - 1.6)
    legend = ax.legend(
        [found[label] for label in order],
        order,
        loc="lower left",
        bbox_to_anchor=(0, 1.0 + title),
        ncols=2 if len(panels) > 1 else 1,
        title="\n".join(textwrap.wrap(note, 95 if len(panels) > 1 else 65)),
        title_fontsize=8.5,
        alignment="left",
        borderaxespad=0.2,
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([18])


def _name_schools(
    panel: Axes,
    views: _Views,
    k: int,
    chosen: list[str] | None,
    names: Mapping[str, str] | None,
) -> None:
    """Name the chosen schools or the most differing ones, the most differing first."""
    x, y = views.effect[:, 0], views.effect[:, k]
    order = np.argsort(-np.abs(y - x), kind="stable")
    at = order[:_NAMED] if chosen is None else order[np.isin(views.schools[order], chosen)]
    shown = [str(views.schools[i]) for i in at]
    panel.scatter(
        x[at],
        y[at],
        s=_marker_size(len(x)) + 16,
        facecolors="none",
        edgecolors="#222222",
        linewidths=0.7,
        zorder=4,
    )
    place_labels(
        panel,
        [(float(x[i]), float(y[i])) for i in at],
        [shortened(names.get(s, s) if names else s) for s in shown],
        obstacles=[*zip(x.tolist(), y.tolist(), strict=True)],
    )
