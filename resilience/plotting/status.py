"""Status over years as a flow, chances of leaving beside chance alone, and calibration."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_durations", "plot_early_warning", "plot_status"]

# from the bottom up: what a reader looks for stands lowest
_STATES = ("confirmed", "re_entered", "entered", "left", "unknown", "not_listed")
_COLOURS = {
    "confirmed": PALETTE["vermilion"],
    "re_entered": PALETTE["purple"],
    "entered": PALETTE["orange"],
    "left": PALETTE["green"],
    "unknown": "#B8B8B8",
    "not_listed": "#DCE3E8",
}
_BAR = 0.16  # of the distance of two years
_ROOM = 0.028  # of the height: what a number needs
_LOOKS = (
    ("model", PALETTE["blue"], "o"),
    ("challenger", PALETTE["purple"], "s"),
    ("last share", PALETTE["orange"], "^"),
)
_KINDS = (("observed_entry", PALETTE["blue"], "o"), ("running_at_start", PALETTE["orange"], "s"))


def plot_status(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the schools' statuses year by year, with the flows between them.

    Bars count schools by status; bands between two years carry the schools that moved from one
    status to the other.  A dashed line stands where the rule changed.

    Parameters
    ----------
    result : StatusResults
        What `list_status` returned.
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
        If the record holds a single year.
    """
    check_language(lang)
    table: pd.DataFrame = result.statuses
    wide = table.pivot_table(index="school_id", columns="year", values="status", aggfunc="first")
    years = [int(y) for y in wide.columns]
    if len(years) < 2:
        raise SpecificationError(text("history.plot_one_year", n=len(years)))
    with look():
        ax = new_axes(width=8.2, height=4.8) if ax is None else ax
        places = [_stack(wide[y]) for y in wide.columns]
        for k, (before, after) in enumerate(itertools.pairwise(wide.columns)):
            _flows(ax, wide[before], wide[after], places[k], places[k + 1], k)
        ax.set_ylim(0, len(wide))
        for k, place in enumerate(places):
            for state, (low, high) in place.items():
                _bar(ax, k, low, high, state)
        breaks = table.groupby("year")["rule_break"].any()
        for k, year in enumerate(years):
            if bool(breaks.get(year, False)):
                ax.axvline(k - 0.5, color="black", lw=1.0, ls=(0, (4, 3)))
        ax.set_xlim(-0.35, len(years) - 0.65)
        # all schools of the first list have "entered": nothing is known of the year before
        first = text("history.plot_first_year", year=years[0]).localized(lang)
        ax.set_xticks(range(len(years)), [first, *(str(y) for y in years[1:])])
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylabel(text("history.plot_schools").localized(lang))
        _legend(ax, set(table["status"]), bool(breaks.any()), lang)
    return ax


def _stack(states: pd.Series) -> dict[str, tuple[float, float]]:
    """Return where each status's bar begins and ends."""
    counts, at = states.value_counts(), 0.0
    place = {}
    for state in _STATES:
        n = float(counts.get(state, 0))
        if n:
            place[state] = (at, at + n)
            at += n
    return place


def _bar(ax: Axes, k: int, low: float, high: float, state: str) -> None:
    ax.add_patch(
        Rectangle((k - _BAR / 2, low), _BAR, high - low, facecolor=_COLOURS[state], lw=0, zorder=3)
    )
    # a number higher than its bar stands beside it, on the side where its neighbour's does not
    side = 0 if high - low >= _ROOM * ax.get_ylim()[1] else -1 if state == "entered" else 1
    ax.text(
        k + side * (_BAR / 2 + 0.02),
        (low + high) / 2,
        f"{high - low:.0f}",
        ha={0: "center", 1: "left", -1: "right"}[side],
        va="center",
        fontsize=7,
        zorder=4,
        color="black",
    )


def _flows(
    ax: Axes,
    before: pd.Series,
    after: pd.Series,
    left: dict[str, tuple[float, float]],
    right: dict[str, tuple[float, float]],
    k: int,
) -> None:
    """Draw the bands between two years, in the order of both stacks so that they do not tangle."""
    moves = pd.DataFrame({"a": before, "b": after}).value_counts().to_dict()
    start = {s: low for s, (low, _) in left.items()}
    end = {s: low for s, (low, _) in right.items()}
    for a in _STATES:
        for b in _STATES:
            n = float(moves.get((a, b), 0))
            if n == 0:
                continue
            y0, y1 = start[a], end[b]
            start[a] += n
            end[b] += n
            x0, x1 = k + _BAR / 2, k + 1 - _BAR / 2
            middle = (x0 + x1) / 2
            outline = [(x0, y0), (middle, y0), (middle, y1), (x1, y1)]
            back = [(x1, y1 + n), (middle, y1 + n), (middle, y0 + n), (x0, y0 + n)]
            codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
            quiet = a == b == "not_listed"
            ax.add_patch(
                PathPatch(
                    Path([*outline, *back], codes),
                    facecolor=_COLOURS[b],
                    alpha=0.25 if quiet else 0.45,
                    lw=0,
                    zorder=2,
                )
            )


def _legend(ax: Axes, present: set[str], breaks: bool, lang: str) -> None:
    handles: list[Any] = [
        Rectangle((0, 0), 1, 1, facecolor=_COLOURS[s], lw=0) for s in _STATES if s in present
    ]
    labels = [text(f"verdicts.{s}").localized(lang) for s in _STATES if s in present]
    if breaks:
        handles += ax.plot([], [], color="black", lw=1.0, ls=(0, (4, 3)))
        labels.append(text("history.plot_new_rule").localized(lang))
    ax.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.2
    )


def plot_durations(result: Any, r: float, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the chance of leaving by years on the list, beside that of selection alone.

    Parameters
    ----------
    result : StatusResults
        What `list_status` returned.
    r : float
        Correlation of the scores of two years.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    check_language(lang)
    table = result.durations_against_null(r)
    if not len(table):
        raise SpecificationError(text("history.plot_no_spells"))
    with look():
        ax = new_axes() if ax is None else ax
        for k, (kind, colour, marker) in enumerate(_KINDS):
            own = table[table["spell_kind"] == kind]
            if own.empty:
                continue
            x = own["duration"].to_numpy(dtype=float) + 0.06 * (2 * k - 1)
            y = own["hazard"].to_numpy(dtype=float)
            low, high = (own[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
            name = text(f"verdicts.{kind}").localized(lang)
            ax.errorbar(
                x,
                y,
                yerr=[y - low, high - y],
                fmt=marker,
                color=colour,
                lw=1,
                capsize=2,
                label=name,
            )
            null = own["null_hazard"].to_numpy(dtype=float)
            said = text("history.plot_null", kind=text(f"verdicts.{kind}")).localized(lang)
            ax.plot(own["duration"], null, color=colour, ls="--", lw=1.2, label=said)
            for a, b, n in zip(x, high, own["n_at_risk"], strict=True):
                ax.annotate(
                    f"{int(n)}",
                    (a, b),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=colour,
                )
        ax.set_ylim(0, 1.05)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        write_numbers(ax, lang, axes="y")
        ax.set_xlabel(text("history.plot_years_listed").localized(lang))
        ax.set_ylabel(text("history.plot_hazard").localized(lang))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
    return ax


def plot_early_warning(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw what predictions of past years said against what came.

    Points are bands of probability, with Wilson's intervals and the number of predictions; on the
    diagonal the stated probabilities are right.

    Parameters
    ----------
    result : EarlyWarningResults
        What `early_warning` returned.
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
        If no past year could be predicted.
    """
    check_language(lang)
    table = result.calibration
    if not len(table):
        raise SpecificationError(text("history.plot_no_past"))
    whole = result.scores[result.scores["part"] == text("history.part_all")]
    brier = {str(m): float(b) for m, b in zip(whole["method"], whole["brier"], strict=True)}
    size = {str(m): int(n) for m, n in zip(whole["method"], whole["n_predictions"], strict=True)}
    with look():
        ax = new_axes(width=6.0, height=5.2) if ax is None else ax
        ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        for k, (method, colour, marker) in enumerate(_LOOKS):
            own = table[table["method"] == method]
            if own.empty:
                continue
            x = own["mean_probability"].to_numpy(dtype=float)
            y = own["observed_rate"].to_numpy(dtype=float)
            low, high = (own[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
            name = next(m for m in own["method"]).localized(lang)
            said = text(
                "history.plot_brier",
                method=name,
                brier=printed(brier[method], lang, 3),
                n=size[method],
            ).localized(lang)
            main = method == "model"
            ax.errorbar(
                x,
                y,
                yerr=[np.maximum(y - low, 0), np.maximum(high - y, 0)] if main else None,
                fmt=marker + ("-" if main else ""),
                color=colour,
                ms=5 if main else 4,
                lw=1.2,
                capsize=2,
                alpha=1.0 if main else 0.75,
                label=said,
                zorder=4 - k,
            )
            if main:
                for a, b, n in zip(x, low, own["n_predictions"], strict=True):
                    ax.annotate(
                        f"{int(n)}",
                        (a, b),
                        xytext=(0, -9),
                        textcoords="offset points",
                        ha="center",
                        fontsize=7,
                        color=colour,
                    )
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.08, 1.03)
        write_numbers(ax, lang)
        ax.set_xlabel(text("history.plot_probability").localized(lang))
        ax.set_ylabel(text("history.plot_came").localized(lang))
        ax.legend(loc="upper left")
    return ax
