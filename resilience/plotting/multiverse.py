"""Specification curve: sizes of lists over the choices behind them, schools by robustness."""

from __future__ import annotations

import re
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.plotting.canvas import (
    GREY,
    PALETTE,
    figure_of,
    look,
    new_axes,
    printed,
    write_numbers,
)
from resilience.plotting.labels import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_multiverse"]

# Verdict, wording, colour: the order in which the parts of a curve are told apart.
_VERDICTS = (
    ("yes", "listed", PALETTE["blue"]),
    ("insufficient_data", "unknown", PALETTE["orange"]),
    ("no", "not_listed", "#B8BDC3"),
    ("not_applicable", "not_listed", "#B8BDC3"),
)
_GAP = 0.055  # of the height, between the curve and the matrix below it
_ROW = 0.19  # inches a level of a choice needs


def plot_multiverse(
    result: Any,
    *,
    school_id: str | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw the specification curve with its choices, the schools by robustness, and the shares.

    Top left: the size of the list of every specification, ordered by size; below it the level of
    every choice in that specification.  Top right: the robustness share of every school that any
    specification lists, with the line of the core; below it the Shapley share of every choice with
    its interval (bar) and its share by itself (mark).

    Parameters
    ----------
    result : MultiverseResults or ListRobustness
        Lists of many specifications.  The former is summed up with its default weights.
    school_id : str, optional
        Colours the specifications by their verdict on this school (MultiverseResults alone).
    ax : Axes, optional
        Axes to draw on; new ones by default, as high as the choices need.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on; the four panels are its child axes.

    Raises
    ------
    SpecificationError
        If the result holds no robustness, or no verdicts where a school is named.
    DataError
        If the school is in no list.
    """
    check_language(lang)
    found = result.robustness() if hasattr(result, "robustness") else result
    if not hasattr(found, "specifications") or not hasattr(found, "choices"):
        raise SpecificationError(text("plots_multiverse.nothing", kind=type(result).__name__))
    verdicts = _verdicts_on(result, school_id)
    specifications = found.specifications
    worked = specifications[specifications["error"].astype(str) == ""]
    ordered = worked.sort_values("n_listed", kind="stable")
    rows = _matrix_rows(found.levels)
    with look():
        ax = new_axes(7.4, min(3.2 + _ROW * max(len(rows), 4), 10.5)) if ax is None else ax
        panels = _panels(ax, len(rows))
        _draw_sizes(panels[0], ordered, verdicts, school_id, lang)
        _draw_matrix(panels[1], ordered, rows, lang)
        _draw_schools(panels[2], found, lang)
        _draw_shares(panels[3], found, lang)
    return ax


def _verdicts_on(result: Any, school_id: str | None) -> dict[str, str] | None:
    """Return the verdict of every specification on one school."""
    if school_id is None:
        return None
    if not hasattr(result, "school"):
        raise SpecificationError(
            text("plots_multiverse.school_needs_lists", kind=type(result).__name__)
        )
    curve = result.school(school_id)
    return dict(zip(curve["specification"], curve["verdict"], strict=True))


def _matrix_rows(levels: pd.DataFrame) -> list[tuple[Any, Any]]:
    """Return (choice, level) from top to bottom, each choice headed by (choice, None)."""
    rows: list[tuple[Any, Any]] = []
    for factor, level in zip(levels["factor"], levels["choice_level"], strict=True):
        if not rows or rows[-1][0] != factor:
            rows.append((factor, None))
        rows.append((factor, level))
    return rows


def _word(words: Any, lang: str) -> str:
    """Return words in the reader's language, a number with the decimal sign of the language."""
    shown = words.localized(lang) if isinstance(words, Bilingual) else str(words)
    number = lang == "ru" and re.fullmatch(r"-?\d*\.\d+", shown)
    return shown.replace(".", ",") if number else shown


def _panels(ax: Axes, n_rows: int) -> list[Axes]:
    """Divide the axes: two panels left, two right, the lower left one as high as its rows."""
    ax.set_axis_off()
    height = figure_of(ax).get_size_inches()[1]
    lower = float(np.clip(_ROW * n_rows / height, 0.25, 0.68)) if n_rows else 0.0
    upper = 1 - lower - _GAP if n_rows else 1.0
    below = 0.13  # room for the labels of the upper right panel
    places = [
        (0.0, lower + _GAP, 0.58, upper),
        (0.0, 0.0, 0.58, lower),
        (0.69, lower + _GAP, 0.31, upper),
        (0.69, 0.0, 0.31, max(lower - below, 0.05)),
    ]
    panels = [ax.inset_axes(place) for place in places]
    for panel in panels:
        panel.tick_params(labelsize=7.0)
    return panels


def _draw_sizes(
    panel: Axes,
    ordered: pd.DataFrame,
    verdicts: dict[str, str] | None,
    school_id: str | None,
    lang: str,
) -> None:
    place, sizes = np.arange(len(ordered)), ordered["n_listed"].to_numpy(dtype=float)
    colours = [PALETTE["blue"]] * len(ordered)
    if verdicts is not None:
        shade = {verdict: colour for verdict, _, colour in _VERDICTS}
        colours = [shade[verdicts[s]] for s in ordered["specification"]]
        seen = {verdicts[s] for s in ordered["specification"]}
        handles = [
            Patch(
                color=colour,
                label=text(f"plots_multiverse.{key}", school=school_id).localized(lang),
            )
            for verdict, key, colour in _VERDICTS[:3]
            if verdict in seen
        ]
        panel.legend(handles=handles, loc="upper left", fontsize=7.0)
    panel.vlines(place, 0, sizes, colors=colours, linewidth=_width(len(ordered)), alpha=0.35)
    panel.scatter(place, sizes, c=colours, s=5, linewidths=0, zorder=3)
    panel.set_xlim(-1, max(len(ordered), 1))
    panel.set_ylim(0, max(1.0, 1.08 * float(sizes.max(initial=0.0))))
    panel.set_ylabel(text("plots_multiverse.list_size").localized(lang), fontsize=8)
    panel.set_title(
        text("plots_multiverse.specifications", n=len(ordered)).localized(lang), fontsize=8.5
    )
    panel.tick_params(labelbottom=False, bottom=False)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _width(n: int) -> float:
    """Return a width of lines in points at which neighbours just touch."""
    return float(np.clip(190.0 / max(n, 1), 0.3, 4.0))


def _draw_matrix(
    panel: Axes, ordered: pd.DataFrame, rows: list[tuple[Any, Any]], lang: str
) -> None:
    panel.set_xlim(-1, max(len(ordered), 1))
    panel.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    panel.set_xticks([])
    width = _width(len(ordered))
    names, places = [], []
    for k, (factor, level) in enumerate(rows):
        y = len(rows) - 1 - k
        if level is None:
            words = shortened(_word(factor, lang), 60)
            panel.text(-1, y - 0.08, f" {words}", fontsize=7.0, fontweight="bold", va="center")
            panel.axhline(y + 0.5, color=GREY, linewidth=0.5)
            continue
        column = ordered[f"choice_{factor}"].astype(str).to_numpy()
        at = np.flatnonzero(column == str(level))
        panel.vlines(at, y - 0.36, y + 0.36, colors="#3C4650", linewidth=width)
        names.append(shortened(_word(level, lang), 26))
        places.append(y)
    panel.set_yticks(places, names, fontsize=6.5)
    panel.tick_params(axis="y", length=0)


def _draw_schools(panel: Axes, found: Any, lang: str) -> None:
    shares = found.schools["robustness_share"].to_numpy(dtype=float)
    shares = shares[shares > 0]  # the most robust first
    n_core = int(found.schools["core"].sum())
    place = np.arange(1, len(shares) + 1)
    panel.fill_between(place, shares, step="mid", color=PALETTE["sky"], alpha=0.45, linewidth=0)
    panel.step(place, shares, where="mid", color=PALETTE["blue"], linewidth=1.1)
    panel.axhline(found.core_share, color=PALETTE["vermilion"], linewidth=0.9, linestyle="--")
    note = text(
        "plots_multiverse.core", n=n_core, share=printed(100 * found.core_share, lang, 0)
    ).localized(lang)
    panel.set_title(_folded(note, 32), fontsize=7.0, color=PALETTE["vermilion"])
    panel.set_xlim(0.5, max(len(shares), 1) + 0.5)
    panel.set_ylim(0, 1.03)
    panel.set_ylabel(text("plots_multiverse.share").localized(lang), fontsize=8)
    panel.set_xlabel(
        _folded(text("plots_multiverse.schools", n=len(shares)).localized(lang)), fontsize=7.5
    )
    write_numbers(panel, lang, axes="y")


def _folded(words: str, most: int = 38) -> str:
    """Return the words on two lines where one is too short for them."""
    if len(words) <= most:
        return words
    cut = words.rfind(" ", 0, most)
    return f"{words[:cut]}\n{words[cut + 1 :]}"


def _draw_shares(panel: Axes, found: Any, lang: str) -> None:
    choices = found.choices
    names = [shortened(_word(f, lang), 40) for f in choices["factor"]]
    place = np.arange(len(names))[::-1]
    shares = choices["shapley_share"].to_numpy(dtype=float)
    if not len(names) or not np.isfinite(shares).any():
        reason = choices["reason"].iloc[0] if len(choices) else found.notes[0]
        panel.text(0, 0.5, _wrapped(_word(reason, lang)), fontsize=6.5, va="center")
        panel.set_axis_off()
        return
    low, high = (choices[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
    error = np.maximum([shares - low, high - shares], 0.0)
    level = text("plots_multiverse.with_interactions", level=f"{100 * found.level:g}")
    panel.barh(place, shares, height=0.42, color=PALETTE["sky"], label=level.localized(lang))
    panel.errorbar(
        shares, place, xerr=error, fmt="none", ecolor="#333333", elinewidth=0.9, capsize=2
    )
    panel.scatter(
        choices["main_share"],
        place,
        marker="|",
        s=45,
        color=PALETTE["vermilion"],
        zorder=3,
        label=text("plots_multiverse.by_itself").localized(lang),
    )
    right = min(1.0, 1.15 * float(np.nanmax(high)))
    for y, name in zip(place, names, strict=True):
        panel.text(0.01 * right, y + 0.26, name, fontsize=6.5, va="bottom")
    panel.set_yticks([])
    panel.set_ylim(-0.5, len(names) - 0.15)
    panel.set_xlim(0, right)
    panel.set_xlabel(text("plots_multiverse.shapley").localized(lang), fontsize=7.5)
    panel.legend(
        loc="lower left",
        bbox_to_anchor=(-0.04, 1.0),
        fontsize=6.5,
        borderaxespad=0,
        handlelength=1.2,
    )
    write_numbers(panel, lang, axes="x")


def _wrapped(words: str, most: int = 38) -> str:
    return "\n".join(wrap(words, most))
