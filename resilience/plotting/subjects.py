"""Effects of schools in two subjects against each other, with the error of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_subjects"]

_NEEDED = ["school_id", "subject", "effect", "std_error", "n_pupils"]
_NAMED = 3  # schools whose subjects lie farthest apart, named by default


def plot_subjects(
    effects: pd.DataFrame,
    *,
    subjects: tuple[object, object] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
    highlight: Sequence[object] | None = None,
    names: Mapping[str, str] | None = None,
) -> Axes:
    """Draw the effects of every school in two subjects against each other.

    Parameters
    ----------
    effects : DataFrame
        What `subject_effects` returned.
    subjects : (subject, subject), optional
        On the horizontal and the vertical axis; by default the first two of the table.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    highlight : sequence, optional
        Schools to name and to draw with crosses of one standard error; by default the three that
        lie farthest from the diagonal.  An empty sequence names none.
    names : mapping of str to str, optional
        Names to print instead of school ids.

    Returns
    -------
    Axes
        The axes drawn on.  Hollow points have no result in one of the subjects.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, a subject or a highlighted school.
    SpecificationError
        For anything but a table, or a table of a single subject.
    """
    check_language(lang)
    given: Any = effects
    if not isinstance(given, pd.DataFrame):
        raise SpecificationError(
            text("plotting.no_frame", kind=type(given).__name__, attribute="subject_effects")
        )
    check_columns(effects, _NEEDED, table="subject_effects")
    check_not_empty(effects, table="subject_effects")
    pair = _pair(effects, subjects)
    x, y = (effects[effects["subject"] == subject].set_index("school_id") for subject in pair)
    y = y.reindex(x.index)
    chosen = _chosen(x, y, highlight)
    with look():
        ax = new_axes(5.6, 5.2) if ax is None else ax
        _draw(ax, x, y, chosen)
        _name(ax, x, y, chosen, names)
        write_numbers(ax, lang)
        for set_label, subject in ((ax.set_xlabel, pair[0]), (ax.set_ylabel, pair[1])):
            set_label(f"{shortened(str(subject))}: {axis_label('effect', lang)}")
        seen = (x["n_pupils"] > 0) & (y["n_pupils"] > 0)
        lines = [text("subjects_plot.title", n=len(x))]
        if not seen.all():
            lines.append(text("subjects_plot.hollow", alone=int((~seen).sum())))
        ax.set_title("\n".join(line.localized(lang) for line in lines), fontsize=8.5)
    return ax


def _pair(effects: pd.DataFrame, subjects: tuple[object, object] | None) -> tuple[object, object]:
    known = effects["subject"].drop_duplicates().tolist()
    if subjects is None:
        if len(known) < 2:
            raise SpecificationError(text("subjects_plot.one", subject=shorten(known)))
        return known[0], known[1]
    absent = [v for v in subjects if v not in known]
    if absent or len(subjects) != 2 or subjects[0] == subjects[1]:
        raise DataError(
            text("subjects_plot.pair", subjects=shorten(subjects), known=shorten(known, 12))
        )
    return subjects


def _chosen(x: pd.DataFrame, y: pd.DataFrame, highlight: Sequence[object] | None) -> list[object]:
    if highlight is None:
        apart = (x["effect"] - y["effect"]).abs()
        return apart.sort_values(ascending=False, kind="stable").index[:_NAMED].tolist()
    absent = [v for v in highlight if v not in x.index]
    if absent:
        raise DataError(
            text("plotting.school_absent", schools=shorten(absent), argument="highlight")
        )
    return list(dict.fromkeys(highlight))


def _draw(ax: Axes, x: pd.DataFrame, y: pd.DataFrame, chosen: Sequence[object]) -> None:
    ax.axhline(0, color="#222222", lw=0.8, zorder=1)
    ax.axvline(0, color="#222222", lw=0.8, zorder=1)
    ends = np.array([[t["effect"].min(), t["effect"].max()] for t in (x, y)])
    ax.plot(
        [ends.min(), ends.max()], [ends.min(), ends.max()], color=GREY, lw=0.8, ls="--", zorder=1
    )
    seen = ((x["n_pupils"] > 0) & (y["n_pupils"] > 0)).to_numpy()
    front = x.index.isin(list(chosen))
    size = float(np.clip(2500 / len(x), 4.0, 20.0))
    for known in (True, False):
        for mine, color in ((~front, PALETTE["sky"]), (front, PALETTE["vermilion"])):
            at = mine & (seen == known)
            ax.scatter(
                x["effect"].to_numpy()[at],
                y["effect"].to_numpy()[at],
                s=size,
                facecolors=color if known else "white",
                edgecolors=color,
                linewidths=0.7,
                zorder=3,
            )
    ax.errorbar(
        x["effect"].to_numpy()[front],
        y["effect"].to_numpy()[front],
        xerr=x["std_error"].to_numpy()[front],
        yerr=y["std_error"].to_numpy()[front],
        fmt="none",
        ecolor=PALETTE["vermilion"],
        elinewidth=0.9,
        zorder=2.5,
    )
    ax.set_aspect("equal", adjustable="datalim")


def _name(
    ax: Axes,
    x: pd.DataFrame,
    y: pd.DataFrame,
    chosen: Sequence[object],
    names: Mapping[str, str] | None,
) -> None:
    places = pd.DataFrame({"x": x["effect"], "y": y["effect"]}).loc[list(chosen)].to_numpy(float)
    for school, place in zip(chosen, places, strict=True):
        ax.annotate(
            shortened(str(names.get(str(school), school) if names else school)),
            (place[0], place[1]),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=8,
            zorder=5,
        )
