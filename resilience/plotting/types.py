"""Type A against Type B: which schools owe their place to their composition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_choice, check_columns, check_count, check_not_empty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_types"]


def plot_types(
    result: Any,
    *,
    ax: Axes | None = None,
    lang: str = "en",
    n_named: int = 8,
    errors: Literal["difference", "both"] = "difference",
) -> Axes:
    """Draw every school's Type B effect over its Type A effect.

    Parameters
    ----------
    result : TypesResults or DataFrame
        A result of ``va.types()`` or its table.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.
    n_named : int
        Schools to name among those whose verdict changes, the largest differences first.
    errors : {"difference", "both"}
        Draw the 95 % interval of the difference, or those of both effects as a cross.  The errors
        of the two go together, so that crosses say nothing of how sure the difference is.

    Returns
    -------
    Axes
        Schools below the diagonal lose when their composition is taken into account.
    """
    check_language(lang)
    check_count(n_named, argument="n_named", least=0)
    check_choice(errors, ("difference", "both"), argument="errors")
    table: pd.DataFrame = getattr(result, "table", result)
    drawn = ["std_error_a", "std_error_b"] if errors == "both" else ["std_error_difference"]
    columns = ["school_id", "effect_a", "effect_b", *drawn, "difference", "changed"]
    check_columns(table, columns, table="types")
    check_not_empty(table, table="types")
    a, b = (table[f"effect_{kind}"].to_numpy(dtype=float) for kind in "ab")
    halves = [1.96 * table[name].to_numpy(dtype=float) for name in drawn]
    changed = table["changed"].to_numpy(dtype=bool)
    ends = [float(min(a.min(), b.min())), float(max(a.max(), b.max()))]
    room = 0.06 * (ends[1] - ends[0] or 1.0)
    limits = (ends[0] - room, ends[1] + room)
    with look():
        ax = new_axes() if ax is None else ax
        ax.plot(
            limits,
            limits,
            color="#222222",
            lw=0.8,
            ls="--",
            label=text("types.figure_equal").localized(lang),
        )
        ax.axhline(0, color=GREY, lw=0.6, zorder=1)
        ax.axvline(0, color=GREY, lw=0.6, zorder=1)
        ax.vlines(a, b - halves[-1], b + halves[-1], color=GREY, lw=0.6, alpha=0.6, zorder=2)
        if errors == "both":
            ax.hlines(b, a - halves[0], a + halves[0], color=GREY, lw=0.6, alpha=0.6, zorder=2)
        for mine, color, marker, key in (
            (~changed, PALETTE["sky"], "o", "types.figure_same"),
            (changed, PALETTE["vermilion"], "D", "types.figure_changed"),
        ):
            words = text(key, n=int(mine.sum())).localized(lang)
            ax.scatter(
                a[mine],
                b[mine],
                s=14,
                color=color,
                marker=marker,
                linewidths=0,
                zorder=3,
                label=words,
            )
        order = np.argsort(-np.abs(table["difference"].to_numpy(dtype=float)), kind="stable")
        for at in [int(k) for k in order if changed[k]][:n_named]:
            side = 5 if a[at] >= b[at] else -5
            ax.annotate(
                shortened(str(table["school_id"].iloc[at]), most=20),
                (a[at], b[at]),
                xytext=(side, -side),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=7,
            )
        ax.set_xlim(*limits)
        ax.set_ylim(*limits)
        ax.set_xlabel(axis_label("effect_a", lang))
        ax.set_ylabel(axis_label("effect_b", lang))
        ax.set_title(text(f"types.figure_{errors}").localized(lang), fontsize=8.5)
        ax.legend(loc="upper left")
        write_numbers(ax, lang)
    return ax
