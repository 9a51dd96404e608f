"""One school among its neighbours and all others, variable by variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.columns import column_names, label
from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.validation import nearest_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_neighbours"]

_SPREAD = 0.26  # half the height over which other schools are scattered


def plot_neighbours(
    result: Any, *, school_id: str | None = None, ax: Axes | None = None, lang: str = "en"
) -> Axes:
    """Draw the scaled conditions of one school, of its neighbours and of all other schools.

    Parameters
    ----------
    result : NeighbourResults
        What `StatisticalNeighbours.fit` returned.
    school_id : str, optional
        Which school; the first that has a list by default.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on: a strip per variable, the school as a diamond, its neighbours as dots,
        the others in grey.

    Raises
    ------
    DataError
        If the school is unknown, or has no list.
    SpecificationError
        If the argument is no such result.
    """
    check_language(lang)
    if not hasattr(result, "quality"):
        raise SpecificationError(text("neighbours.no_neighbours", kind=type(result).__name__))
    scaled, lists = result.scaled, result.neighbours
    ids = scaled.schools["school_id"].astype(str)
    if not len(lists):
        raise DataError(text("neighbours.no_lists"))
    chosen = str(lists["school_id"].iloc[0]) if school_id is None else str(school_id)
    own = lists[lists["school_id"].astype(str) == chosen]
    if chosen not in set(ids):
        near = nearest_names(chosen, ids)
        raise DataError(text("neighbours.unknown", school=repr(chosen), nearest=near))
    if not len(own):
        row = result.quality[result.quality["school_id"].astype(str) == chosen].iloc[0]
        raise DataError(text("neighbours.no_list", school=repr(chosen), reason=row["reason"]))
    z = scaled.z
    at = int(np.flatnonzero((ids == chosen).to_numpy())[0])
    near_rows = np.flatnonzero(ids.isin(set(own["neighbour_id"].astype(str))).to_numpy())
    others = np.setdiff1d(np.arange(len(z)), [*near_rows, at])
    rows = len(scaled.columns)
    scatter = np.random.default_rng(0)
    with look():
        ax = new_axes(7.4, 1.5 + 0.55 * rows) if ax is None else ax
        for k in range(rows):
            y = rows - 1 - k
            place = y + scatter.uniform(-_SPREAD, _SPREAD, size=len(others))
            ax.plot(z[others, k], place, ".", ms=2.5, color=GREY, alpha=0.55, zorder=1)
            spread = np.linspace(-_SPREAD, _SPREAD, len(near_rows) + 2)[1:-1]
            ax.plot(z[near_rows, k], y + spread, "o", ms=4.5, color=PALETTE["blue"], zorder=2)
            ax.plot(z[at, k], y, "D", ms=8, color=PALETTE["vermilion"], zorder=3)
        names = [shortened(_name(c, lang), most=34) for c in scaled.columns]
        ax.set_yticks(np.arange(rows)[::-1], names, fontsize=8)
        ax.set_ylim(-0.6, rows - 0.4)
        ax.axvline(0.0, color="#222222", lw=0.6, ls=":")
        for marker, size, colour, words in (
            ("D", 7, PALETTE["vermilion"], text("neighbours.strip_school")),
            ("o", 5, PALETTE["blue"], text("neighbours.strip_neighbours", n=len(near_rows))),
            (".", 5, GREY, text("neighbours.strip_others")),
        ):
            ax.plot([], [], marker, ms=size, color=colour, label=words.localized(lang), lw=0)
        ax.legend(
            fontsize=7.5,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.7 / (0.5 + 0.55 * rows)),
            ncols=3,
            frameon=False,
        )
        ax.set_xlabel(text("neighbours.strip_axis").localized(lang))
        title = text("neighbours.strip_title", school=shortened(chosen, most=20))
        ax.set_title(title.localized(lang))
        write_numbers(ax, lang, axes="x")
    return ax


def _name(column: str, lang: str) -> str:
    return label(column, lang) if column in set(column_names()) else column
