"""Ranks of the context index under noise in its weights, with the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.inputs import frame_of
from resilience.plotting.labels import shortened
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_sensitivity"]

_COLUMNS = ("context_rank", "rank_noise_low", "rank_noise_high", "gate_flip_share")


def plot_sensitivity(
    result: Any,
    *,
    most: int = 28,
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw the ranks of the schools nearest the gate, and what other weights make of them.

    One line per school in the order of the published rank (dot): the bar holds 95 % of its ranks
    under noisy weights, the ticks are its ranks under the other variants.  Schools that change
    side of the gate in some draw are coloured, with the share of such draws at the right.

    Parameters
    ----------
    result : IndexSensitivityResults
        What ``ContextIndexResults.sensitivity`` returned.
    most : int
        Schools to draw, half of them on either side of the gate where there are so many.
    names : mapping of str to str, optional
        Names to print instead of school ids.
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
        If the result holds no such table.
    DataError
        If a column is absent or the table is empty.
    """
    check_language(lang)
    schools = frame_of(result, "schools")
    check_columns(schools, ["school_id", *_COLUMNS], table="schools")
    check_not_empty(schools, table="schools")
    quantile = getattr(result, "quantile", None)
    if not isinstance(quantile, float):
        raise SpecificationError(
            text("plotting.no_frame", kind=type(result).__name__, attribute="quantile")
        )
    gate = quantile * len(schools) + 0.5  # percentile (rank − ½)/n at the gate
    distance = (schools["context_rank"] - gate).abs()
    near = schools.loc[distance.sort_values(kind="stable").index[:most]]
    near = near.sort_values("context_rank", kind="stable")
    rank, low, high, flips = (near[c].to_numpy(dtype=float) for c in _COLUMNS)
    ids = near["school_id"].astype(str).tolist()
    place = np.arange(len(near))[::-1]
    with look():
        ax = new_axes(height=1.7 + 0.2 * len(near)) if ax is None else ax
        for rows, color, key in (
            (flips == 0, GREY, "context.plot_settled"),
            (flips > 0, PALETTE["vermilion"], "context.plot_crossing"),
        ):
            label = text(key).localized(lang)
            ax.hlines(place[rows], low[rows], high[rows], color=color, lw=3, alpha=0.6, label=label)
            ax.scatter(rank[rows], place[rows], s=22, color=color, zorder=3)
        _draw_variants(ax, result, ids, place, lang)
        share = printed(100 * quantile, lang, 0 if float(100 * quantile).is_integer() else 1)
        gate_label = text("context.plot_gate", share=share).localized(lang)
        ax.axvline(gate, color=PALETTE["blue"], lw=1.2, ls="--", label=gate_label)
        shown = [shortened(names.get(i, i) if names else i) for i in ids]
        ax.set_yticks(place, shown)
        ax.tick_params(axis="y", labelsize=7.5)
        ax.set_ylim(-0.8, len(near) - 0.2)
        write_numbers(ax, lang, axes="x")
        ax.set_xlabel(axis_label("context_rank", lang))
        _write_shares(ax, flips, place, lang)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
    return ax


def _draw_variants(ax: Axes, result: Any, ids: list[str], place: np.ndarray, lang: str) -> None:
    """Draw the rank of each school under the other sets of weights as short ticks."""
    ranks = getattr(result, "ranks", None)
    if ranks is None or not len(ranks):
        return
    row_of = dict(zip(ids, place, strict=True))
    own = ranks[ranks["school_id"].astype(str).isin(row_of) & ranks["context_rank"].notna()]
    y = [row_of[str(school)] for school in own["school_id"]]
    label = text("context.plot_variants").localized(lang)
    x = own["context_rank"].to_numpy(dtype=float)
    ax.scatter(x, y, marker="|", s=34, color="#222222", lw=0.9, zorder=2.5, label=label)


def _write_shares(ax: Axes, flips: np.ndarray, place: np.ndarray, lang: str) -> None:
    """Write the share of draws across the gate at the right end of each line."""
    for share, row in zip(flips, place, strict=True):
        if share > 0:
            words = f"{printed(100 * share, lang, 0)} %" if share >= 0.005 else "< 1 %"
            ax.annotate(
                words,
                (1.0, row),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
