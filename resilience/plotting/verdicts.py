"""Verdicts counted: by municipality for one rule, or by rule."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import PALETTE, look, new_axes
from resilience.plotting.inputs import rule_title, rules_of
from resilience.plotting.labels import shortened
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_verdicts"]

# Verdict, colour, hatch: the hatch carries the difference in a black-and-white print.
_VERDICTS = (
    ("yes", PALETTE["blue"], ""),
    ("insufficient_data", "#F0E4B0", "////"),
    ("no", "#C9CDD2", ""),
    ("not_applicable", "#FFFFFF", "...."),
)
_MOST_BARS = 60  # municipalities a page can carry; the others share the last bar


def plot_verdicts(
    found: Any,
    schools: pd.DataFrame | None = None,
    *,
    rule_id: str | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw how many schools got each verdict, as stacked horizontal bars.

    Parameters
    ----------
    found : DetectionResults
        A result with ``schools`` (``school_id rule_id verdict``).
    schools : DataFrame, optional
        ``school_id municipality_id``; with it a bar is a municipality, without it a rule.
    rule_id : str, optional
        The rule shown; required beside ``schools`` where the result holds several rules.
    ax : Axes, optional
        Axes to draw on; new ones by default, as high as the bars need.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    SpecificationError
        If several rules stand for choice and none is named.
    DataError
        If a column is absent, the result is empty, or the rule is unknown.
    """
    check_language(lang)
    check_not_empty(found.schools, table="verdicts")
    rules = rules_of(found, rule_id)
    if schools is None:
        verdicts = found.schools[found.schools["rule_id"].astype(str).isin(rules)]
        titles = ["\n".join(wrap(rule_title(found, r, lang), 40)[:3]) for r in rules]
        counts = _counted(verdicts["rule_id"].astype(str), verdicts["verdict"]).reindex(rules)
        counts.index = pd.Index(titles)
        title = ""
    else:
        if len(rules) > 1:
            raise SpecificationError(text("plotting.name_a_rule", options=", ".join(rules)))
        counts = _by_municipality(found, schools, rules[0], lang)
        title = rule_title(found, rules[0], lang)
    with look():
        ax = new_axes(height=_height(len(counts), by_rule=schools is None)) if ax is None else ax
        _draw_bars(ax, counts, shortened(title, 95), lang)
        ax.set_xlabel(text("plotting.number_of_schools").localized(lang))
        ax.set_ylabel("" if schools is None else text("plotting.municipality").localized(lang))
    return ax


def _height(n_bars: int, *, by_rule: bool) -> float:
    """Return the height in inches: pleasant bars, but no more than a page."""
    return 1.3 + min((0.5 if by_rule else 0.26) * n_bars, 7.9)


def _counted(keys: pd.Series, verdicts: pd.Series) -> pd.DataFrame:
    table = pd.crosstab(keys.to_numpy(), verdicts.to_numpy())
    return table.reindex(columns=[name for name, _, _ in _VERDICTS], fill_value=0)


def _by_municipality(found: Any, schools: pd.DataFrame, rule: str, lang: str) -> pd.DataFrame:
    check_columns(schools, ["school_id", "municipality_id"], table="schools")
    verdicts = found.schools[found.schools["rule_id"].astype(str) == rule]
    last = schools.drop_duplicates("school_id", keep="last")
    home = dict(
        zip(last["school_id"].astype(str), last["municipality_id"].astype(str), strict=True)
    )
    unknown = text("plotting.municipality_unknown").localized(lang)
    places = verdicts["school_id"].astype(str).map(home).fillna(unknown)
    counts = _counted(places, verdicts["verdict"])
    order = counts.assign(place=counts.index.astype(str)).sort_values(
        ["yes", "insufficient_data", "place"], ascending=[False, False, True], kind="stable"
    )
    counts = counts.loc[order.index]
    if len(counts) <= _MOST_BARS:
        return counts
    first, rest = counts.iloc[: _MOST_BARS - 1], counts.iloc[_MOST_BARS - 1 :]
    others = text("plotting.other_municipalities", n=len(rest)).localized(lang)
    return pd.concat([first, rest.sum().to_frame(others).T])


def _draw_bars(ax: Axes, counts: pd.DataFrame, title: str, lang: str) -> None:
    place = np.arange(len(counts))[::-1]
    start = np.zeros(len(counts))
    # Points between two bars of the default figure, which bounds the letters beside them.
    room = 72 * (_height(len(counts), by_rule=not title) - 1.3) / len(counts)
    letters = float(np.clip(0.75 * room, 4.5, 9.0))
    total = int(counts.to_numpy().sum(axis=1).max())
    for name, color, hatch in _VERDICTS:
        width = counts[name].to_numpy(dtype=float)
        if not width.any():
            continue
        word = text(f"verdicts.{name}").localized(lang)
        ax.barh(
            place,
            width,
            left=start,
            height=0.72,
            color=color,
            hatch=hatch,
            edgecolor="#555555",
            linewidth=0.5,
            label=f"{word}: {int(width.sum())}" if title else word,
        )
        for y, left, value in zip(place, start, width, strict=True):
            if value >= 0.035 * total:  # narrower parts cannot carry a number
                ax.text(
                    left + value / 2,
                    y,
                    f"{int(value)}",
                    ha="center",
                    va="center",
                    fontsize=min(7.0, letters),
                    color="white" if name == "yes" else "#222222",
                    bbox=None
                    if not hatch
                    else {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
                )
        start = start + width
    ax.set_yticks(place, [shortened(str(v), 120) for v in counts.index])
    ax.tick_params(axis="y", labelsize=letters)
    ax.set_ylim(-0.6, len(counts) - 0.4)
    ax.set_xlim(0, total * 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=4,
        title=title or None,
        title_fontsize=8.5,
        alignment="left",
        borderaxespad=0.2,
    )
