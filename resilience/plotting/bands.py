"""Condition groups: expected results with intervals between the borders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import PALETTE, look, new_axes, write_numbers
from resilience.plotting.inputs import frame_of
from resilience.plotting.labels import shortened, stratum_words
from resilience.results import axis_label
from resilience.validation import check_columns, check_not_empty

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_bands"]

_NEEDED = ["stratum", "expected_result", "conf_low", "conf_high", "between_bands"]
_SHADES = ("#F2F2F2", "#E2E8EE")


def plot_bands(result: Any, *, ax: Axes | None = None, lang: str = "en") -> Axes:
    """Draw the expected result of every school with its interval, the borders, the schools between.

    Parameters
    ----------
    result : BandResults
        What `ContextBands.fit` returned; every stratum gets a panel.
    ax : Axes, optional
        Empty axes; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on; of several strata the panels are its ``child_axes``.

    Raises
    ------
    SpecificationError
        For anything but condition bands.
    DataError
        If no school has an expected result.
    """
    check_language(lang)
    schools = frame_of(result, "schools")
    if not isinstance(getattr(result, "cuts", None), dict):
        raise SpecificationError(text("bands.no_bands", kind=type(result).__name__))
    check_columns(schools, _NEEDED, table="schools")
    schools = schools[schools["expected_result"].notna()]
    check_not_empty(schools, table="schools")
    strata = [s for s, cuts in result.cuts.items() if len(cuts)] or list(result.cuts)
    with look():
        ax = new_axes(7.6, 1.2 + 2.9 * len(strata)) if ax is None else ax
        ax.set_title(text("bands.plot_title").localized(lang), pad=16)
        panels = [ax]
        if len(strata) > 1:
            ax.set_axis_off()
            height = (1.0 - 0.16 * (len(strata) - 1)) / len(strata)
            panels = [
                ax.inset_axes((0.0, 1.0 - (k + 1) * height - 0.16 * k, 1.0, height))
                for k in range(len(strata))
            ]
        for panel, stratum in zip(panels, strata, strict=True):
            own = schools[schools["stratum"] == stratum]
            _draw(panel, own.sort_values("expected_result"), result.cuts[stratum], lang)
            if stratum:
                words = shortened(stratum_words(stratum, lang), most=70)
                panel.set_title(words, fontsize=8.5, loc="left")
        panels[-1].set_xlabel(text("bands.plot_schools").localized(lang))
        panels[0].legend(fontsize=7.5, loc="upper left", frameon=False)
    return ax


def _draw(panel: Axes, own: pd.DataFrame, cuts: np.ndarray[Any, Any], lang: str) -> None:
    x = np.arange(1, len(own) + 1, dtype=float)
    y = own["expected_result"].to_numpy(dtype=float)
    low, high = (own[c].to_numpy(dtype=float) for c in ("conf_low", "conf_high"))
    between = own["between_bands"].to_numpy(dtype=bool)
    bottom, top = float(low.min()), float(high.max())
    margin = 0.05 * (top - bottom)
    edges = [bottom - margin, *cuts, top + margin]
    for k in range(len(edges) - 1):
        panel.axhspan(edges[k], edges[k + 1], color=_SHADES[k % 2], lw=0, zorder=0)
        if len(cuts):
            middle = (edges[k] + edges[k + 1]) / 2
            panel.text(
                1.01,
                middle,
                str(k + 1),
                transform=panel.get_yaxis_transform(),
                va="center",
                fontsize=9,
            )
    for k, cut in enumerate(cuts):
        border = text("bands.plot_border").localized(lang) if k == 0 else None
        panel.axhline(cut, color="#222222", lw=0.8, ls="--", label=border, zorder=2)
    panel.vlines(x, low, high, color=PALETTE["sky"], lw=0.8, zorder=1)
    panel.plot(x[~between], y[~between], ".", ms=4, color=PALETTE["blue"], zorder=3)
    panel.plot(
        x[between],
        y[between],
        "o",
        ms=4.5,
        color=PALETTE["orange"],
        label=text("bands.plot_between").localized(lang),
        zorder=4,
    )
    panel.set_ylim(edges[0], edges[-1])
    panel.set_xlim(0, len(own) + 1)
    panel.set_ylabel(axis_label("expected_result", lang), fontsize=8.5)
    write_numbers(panel, lang, axes="y")
