"""Drift lines: effects of schools year by year, with the forecast of the next cohort at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_drift"]

# Colour and marker of each named school: told apart in colour blindness and in black and white.
_STYLES = tuple(
    zip(
        (PALETTE[c] for c in ("blue", "vermilion", "green", "orange", "purple", "sky")),
        ("o", "s", "^", "D", "v", "P"),
        strict=True,
    )
)
_BACKGROUND = 300  # thin lines behind the named schools: more are a grey wall
_NEEDED = ["school_id", "year", "is_forecast", "effect", "conf_low", "conf_high", "n_pupils"]


def plot_drift(
    va: Any,
    *,
    schools: Sequence[object] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
    names: Mapping[str, str] | None = None,
    level: float = 0.95,
    forecast: bool = True,
) -> Axes:
    """Draw the effects of schools year by year with bands, and the forecast with its interval.

    Parameters
    ----------
    va : result with ``year_effects`` or DataFrame
        A result of a model with years, or the table that its ``year_effects()`` returns.
    schools : sequence, optional
        Up to six schools to draw in colour; by default the lowest, the middle and the highest
        effect of the last line point.  The other schools stand behind them as thin lines (every
        k-th of more than 300).
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    names : mapping of str to str, optional
        Names to print instead of school ids.
    level : float
        Coverage of bands and intervals; a table has its own.
    forecast : bool
        Whether the next year is drawn.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    SpecificationError
        For a result without years, more than six schools, or a forecast that the fit does not
        offer (unstructured drift).
    DataError
        If the table is empty, lacks a column, or lacks a school that was named.
    """
    check_language(lang)
    table = _table(va, level, forecast)
    chosen = _chosen(table, schools)
    with look():
        ax = new_axes() if ax is None else ax
        _draw_background(ax, table, chosen)
        for k, school in enumerate(chosen):
            _draw_school(ax, table[table["school_id"] == school], k, len(chosen))
        ax.axhline(0, color="#222222", lw=0.8, zorder=1)
        _label_axes(ax, table, lang, None if isinstance(va, pd.DataFrame) else level)
        _name_lines(ax, table, chosen, names)
        ax.legend(handles=_legend(table, lang), loc="upper left", ncols=2)
    return ax


def _table(va: Any, level: float, forecast: bool) -> pd.DataFrame:
    if isinstance(va, pd.DataFrame):
        table = va
    elif callable(getattr(va, "year_effects", None)):
        table = va.year_effects(level=level, forecast=forecast)
    else:
        raise SpecificationError(text("drift_plot.kind", kind=type(va).__name__))
    check_columns(table, _NEEDED, table="year_effects")
    check_not_empty(table, table="year_effects")
    return table if forecast else table[~table["is_forecast"].astype(bool)]


def _chosen(table: pd.DataFrame, schools: Sequence[object] | None) -> list[object]:
    if schools is None:
        last = table[table["year"] == table["year"].max()]
        ordered = last.sort_values(["effect", "school_id"], kind="stable")["school_id"].tolist()
        middle = len(ordered) // 2
        return list(dict.fromkeys([ordered[-1], ordered[middle], ordered[0]]))
    chosen = list(dict.fromkeys(schools))
    absent = [v for v in chosen if v not in set(table["school_id"])]
    if absent:
        raise DataError(text("plotting.school_absent", schools=shorten(absent), argument="schools"))
    if len(chosen) > len(_STYLES):
        raise SpecificationError(text("drift_plot.too_many", n=len(chosen), most=len(_STYLES)))
    return chosen


def _positions(table: pd.DataFrame) -> dict[object, float]:
    """Return where each year stands on the axis: years that are numbers at their distance."""
    years = sorted(table["year"].unique())
    if all(isinstance(year, int | float | np.number) for year in years):
        return {year: float(year) for year in years}
    return {year: float(k) for k, year in enumerate(years)}


def _draw_background(ax: Axes, table: pd.DataFrame, chosen: Sequence[object]) -> None:
    at = _positions(table)
    rest = [s for s in table["school_id"].unique() if s not in set(chosen)]
    shown = set(rest[:: max(1, -(-len(rest) // _BACKGROUND))])
    known = table[table["school_id"].isin(shown) & ~table["is_forecast"].astype(bool)]
    for _, rows in known.groupby("school_id", sort=False, observed=True):
        ax.plot(
            [at[year] for year in rows["year"]],
            rows["effect"],
            color=GREY,
            lw=0.4,
            alpha=0.45,
            zorder=1.5,
        )


def _draw_school(ax: Axes, rows: pd.DataFrame, k: int, n: int) -> None:
    color, marker = _STYLES[k]
    at = _positions(rows)
    coming = rows["is_forecast"].astype(bool).to_numpy()
    x = np.array([at[year] for year in rows["year"]])
    effect, low, high = (rows[c].to_numpy(dtype=float) for c in ("effect", "conf_low", "conf_high"))
    ax.fill_between(
        x[~coming], low[~coming], high[~coming], color=color, alpha=0.13, lw=0, zorder=1.8
    )
    ax.plot(x[~coming], effect[~coming], color=color, lw=1.6, zorder=3)
    seen = rows["n_pupils"].to_numpy(dtype=float) > 0
    ax.scatter(
        x[~coming & seen], effect[~coming & seen], s=24, color=color, marker=marker, zorder=4
    )
    ax.scatter(
        x[~coming & ~seen],
        effect[~coming & ~seen],
        s=24,
        facecolors="white",
        edgecolors=color,
        marker=marker,
        zorder=4,
    )
    if "residual" in rows:
        ax.scatter(
            x,
            rows["residual"].to_numpy(dtype=float),
            s=16,
            color=color,
            marker="x",
            lw=0.9,
            zorder=3.5,
        )
    if coming.any() and (~coming).any():
        # intervals of several schools stand side by side
        place = x[coming][0] + 0.09 * (k - (n - 1) / 2)
        ends = rows.loc[coming, ["predictive_low", "predictive_high"]].to_numpy(dtype=float)[0]
        ax.plot(
            [x[~coming][-1], place],
            [effect[~coming][-1], effect[coming][0]],
            color=color,
            lw=1.2,
            ls="--",
            zorder=3,
        )
        ax.vlines(place, *ends, color=color, lw=1.2, zorder=3)
        ax.scatter([place, place], ends, s=30, color=color, marker="_", zorder=3)
        ax.vlines(place, low[coming], high[coming], color=color, lw=4.0, alpha=0.35, zorder=3)
        ax.scatter(
            [place],
            effect[coming],
            s=26,
            facecolors="white",
            edgecolors=color,
            marker=marker,
            zorder=4,
        )


def _label_axes(ax: Axes, table: pd.DataFrame, lang: str, level: float | None) -> None:
    at = _positions(table)
    years = {place: str(year) for year, place in at.items()}
    ax.xaxis.set_major_locator(FixedLocator(list(years)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: years.get(float(x), "")))
    write_numbers(ax, lang, axes="y")
    ax.set_xlabel(axis_label("year", lang))
    ax.set_ylabel(axis_label("effect", lang))
    percent = "" if level is None else f"{100 * level:g} %"
    ax.set_title(
        text("drift_plot.title", n=table["school_id"].nunique(), level=percent).localized(lang),
        fontsize=8.5,
    )


def _name_lines(
    ax: Axes,
    table: pd.DataFrame,
    chosen: Sequence[object],
    names: Mapping[str, str] | None,
) -> None:
    """Write the names right of the lines' ends, moved apart where they would overlap."""
    places = _positions(table)
    end = max(places.values()) + (0.09 * len(chosen) if table["is_forecast"].any() else 0.0)
    rows = table.drop_duplicates("school_id", keep="last")
    last = dict(zip(rows["school_id"], rows["effect"].astype(float), strict=True))
    wanted = sorted(chosen, key=lambda school: last[school])
    bottom, top = ax.get_ylim()
    top += 0.16 * (top - bottom)  # room for the legend
    step, below = 0.055 * (top - bottom), -np.inf
    for school in wanted:
        y = max(last[school], below + step)
        below = y
        printed = shortened(str(names.get(str(school), school) if names else school))
        ax.annotate(
            printed,
            (end, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_STYLES[list(chosen).index(school)][0],
            annotation_clip=False,
        )
    ax.set_ylim(bottom, top)
    ax.set_xlim(right=end + 0.05)


def _legend(table: pd.DataFrame, lang: str) -> list[Line2D]:
    dark = "#444444"
    found = [
        Line2D([], [], color=dark, lw=1.6, marker="o", ms=4.5, label=_word("effect", lang)),
        Line2D([], [], color=dark, lw=0, marker="x", ms=4.5, label=_word("residual", lang)),
    ]
    if not (table.loc[~table["is_forecast"].astype(bool), "n_pupils"] > 0).all():
        hollow = Line2D(
            [],
            [],
            color=dark,
            lw=0,
            marker="o",
            mfc="white",
            ms=4.5,
            label=_word("no_results", lang),
        )
        found.append(hollow)
    if table["is_forecast"].any():
        found.append(
            Line2D(
                [], [], color=dark, lw=1.2, ls="--", marker="|", ms=9, label=_word("forecast", lang)
            )
        )
    return found


def _word(key: str, lang: str) -> str:
    return text(f"drift_plot.{key}").localized(lang)
