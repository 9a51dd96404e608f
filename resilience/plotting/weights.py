"""Weights of the context index with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from resilience.columns import label
from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import PALETTE, look, new_axes, write_numbers
from resilience.plotting.labels import shortened
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_weights"]


def plot_weights(index: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the weight of each input of the context index, with its interval where there is one.

    Parameters
    ----------
    index : ContextIndexResults or DataFrame
        A result with ``weights``, or such a table (``term estimate`` and, where estimated,
        ``conf_low conf_high``).
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
    DataError
        If a column is absent or the table is empty.
    """
    check_language(lang)
    weights = index if isinstance(index, pd.DataFrame) else getattr(index, "weights", None)
    if not isinstance(weights, pd.DataFrame):
        raise SpecificationError(
            text("plotting.no_frame", kind=type(index).__name__, attribute="weights")
        )
    check_columns(weights, ["term", "estimate"], table="weights")
    check_not_empty(weights, table="weights")
    place = np.arange(len(weights))[::-1]
    estimate = weights["estimate"].to_numpy(dtype=float)
    with look():
        ax = new_axes(height=1.2 + 0.3 * len(weights)) if ax is None else ax
        if {"conf_low", "conf_high"} <= set(weights.columns):
            low, high = (weights[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
            ax.hlines(place, low, high, color=PALETTE["blue"], lw=1.6, alpha=0.7)
        ax.scatter(estimate, place, color=PALETTE["blue"], s=22, zorder=3)
        ax.axvline(0, color="#222222", lw=0.8)
        ax.set_yticks(place, [shortened(label(str(t), lang), 44) for t in weights["term"]])
        ax.set_ylim(-0.6, len(weights) - 0.4)
        write_numbers(ax, lang, axes="x")
        ax.set_xlabel(text("plotting.weight").localized(lang))
    return ax
