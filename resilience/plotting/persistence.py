"""What is left of teacher effects in later years, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_persistence"]


def plot_persistence(results: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the persistence of every pair of years with its interval.

    Parameters
    ----------
    results : PersistenceResults
        Of a fit with variable persistence.
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
        If no persistence was estimated.
    """
    check_language(lang)
    table = results.persistence
    shown = table[table["reason"] == ""].reset_index(drop=True)
    if shown.empty:
        why = ", ".join(dict.fromkeys(table["reason"])) or results.model.persistence
        raise SpecificationError(text("persistence.nothing_to_draw", why=why))
    with look():
        ax = new_axes(height=max(2.8, 1.7 + 0.32 * len(shown))) if ax is None else ax
        place = np.arange(len(shown))[::-1]
        ends = [shown["estimate"] - shown["conf_low"], shown["conf_high"] - shown["estimate"]]
        ax.errorbar(
            shown["estimate"], place, xerr=ends, fmt="o", ms=5, lw=1.3, color=PALETTE["blue"]
        )
        for value, key in ((0.0, "line_zero"), (1.0, "line_one")):
            ax.axvline(value, color=GREY, lw=0.9, ls=(0, (4, 2)), zorder=0)
            ax.annotate(
                text(f"persistence.{key}").localized(lang),
                (value, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
                color="#444444",
            )
        pairs = zip(shown["year"], shown["earlier_year"], strict=True)
        ax.set_yticks(place, [f"{later} ← {earlier}" for later, earlier in pairs])
        ax.set_ylim(-0.7, len(shown) - 0.3)
        low = min(0.0, float(shown["conf_low"].min()))
        high = max(1.0, float(shown["conf_high"].max()))
        ax.set_xlim(low - 0.08, high + 0.08)
        title = text("persistence.plot_title", level=f"{100 * results.level:g}")
        ax.set_title(title.localized(lang), fontsize=9, pad=16)
        ax.set_xlabel(text("persistence.axis_persistence").localized(lang))
        ax.set_ylabel(text("persistence.axis_pairs").localized(lang))
        write_numbers(ax, lang, axes="x")
    return ax
