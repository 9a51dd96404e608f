"""The curves of SIMEX: a coefficient against the errors of the prior, continued to none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.labels import shortened
from resilience.validation import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_simex"]

_CURVES = (("rational", "solid"), ("quadratic", (0, (4, 2))))
_GAP = 0.12  # between panels, of the axes' width
_MOST = 3  # panels, where the caller names no terms


def plot_simex(
    found: Any,
    *,
    terms: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw how errors of the prior move coefficients, and where the curves end without errors.

    Points are means over the pseudo data sets, the one at 0 is the naive estimate with its
    interval; the diamond at −1 is what SIMEX reports, with its interval.

    Parameters
    ----------
    found : SimexResults or PriorErrorResults
        What `simex` or ``va.prior_error`` returned.
    terms : str or sequence of str, optional
        Coefficients, a panel each with a scale of its own; by default up to three that errors move.
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
        If a term is not among the coefficients.

    References
    ----------
    CookStefanski1994.
    """
    check_language(lang)
    results = getattr(found, "simex", found)
    shown = _terms(results, terms)
    with look():
        ax = new_axes(height=3.9) if ax is None else ax
        worst = float(results.reliabilities["prior_reliability"].min())
        head = text("simex.plot_title", n=results.n_simulations, reliability=printed(worst, lang))
        ax.set_title(head.localized(lang), fontsize=8.5, pad=38)
        panels = _panels(ax, len(shown))
        for panel, term in zip(panels, shown, strict=True):
            _draw_term(panel, results, term, lang)
        handles, labels = panels[0].get_legend_handles_labels()
        ax.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2
        )
        # points between the labels and the ticks of the panels, which the outer axes know not of
        ax.set_xlabel(text("simex.axis_multiplier").localized(lang), labelpad=18)
        ax.set_ylabel(text("simex.axis_estimate").localized(lang), labelpad=34)
    return ax


def _terms(results: Any, terms: str | Sequence[str] | None) -> list[str]:
    """Return the terms to draw."""
    known = [str(term) for term in results.fixed_effects["term"]]
    if terms is None:
        rational = results.extrapolations[results.extrapolations["extrapolation"] == "rational"]
        moved = [str(t) for t in rational.loc[rational["reason"] == "", "term"]]
        return ([t for t in moved if t != "Intercept"] or known)[:_MOST]
    asked = [terms] if isinstance(terms, str) else list(terms)
    unknown = [term for term in asked if term not in known]
    if unknown or not asked:
        name = repr(unknown[0]) if unknown else "—"
        raise SpecificationError(text("simex.unknown_term", term=name, terms=shorten(known, 12)))
    return asked


def _panels(ax: Axes, n: int) -> list[Axes]:
    """Return n axes side by side in the place of one, with scales of their own."""
    ax.set_frame_on(False)
    ax.set_xticks([])
    ax.set_yticks([])
    width = (1.0 - _GAP * (n - 1)) / n
    return [ax.inset_axes((k * (width + _GAP), 0.0, width, 0.93)) for k in range(n)]


def _draw_term(ax: Axes, results: Any, term: str, lang: str) -> None:
    """Draw points, curves and both estimates of one coefficient."""
    rows = results.curve[results.curve["term"] == term]
    points = rows[rows["extrapolation"] == "simulated"]
    estimate = _row(results.fixed_effects, term)
    naive = _row(results.naive, term)
    ax.axhline(0.0, color="#222222", lw=0.6, zorder=1)
    for kind, style in _CURVES:
        own = rows[rows["extrapolation"] == kind]
        taken = kind == estimate["extrapolation"]
        ax.plot(
            own["error_multiplier"],
            own["estimate"],
            ls=style,
            lw=1.3 if taken else 0.9,
            color=PALETTE["blue"] if taken else GREY,
            zorder=2,
            label=text(f"simex.legend_{kind}").localized(lang),
        )
    simulated = text("simex.legend_simulated").localized(lang)
    ax.plot(
        points["error_multiplier"],
        points["estimate"],
        "o",
        ms=4.5,
        color="#222222",
        zorder=3,
        label=simulated,
    )
    level = f"{100 * results.level:g}"
    for place, row, color, sign, key in (
        (0.0, naive, PALETTE["vermilion"], "s", "naive"),
        (-1.0, estimate, PALETTE["blue"], "D", "simex"),
    ):
        ax.errorbar(
            place,
            row["estimate"],
            yerr=[[row["estimate"] - row["conf_low"]], [row["conf_high"] - row["estimate"]]],
            fmt=sign,
            ms=5.5,
            lw=1.2,
            color=color,
            zorder=4,
            label=text(f"simex.legend_{key}", level=level).localized(lang),
        )
    ax.set_xlim(-1.25, 2.2)
    ax.set_xticks([-1, 0, 1, 2])
    ax.set_title(shortened(term, 28), fontsize=8)
    write_numbers(ax, lang, axes="y")


def _row(table: pd.DataFrame, term: str) -> Any:
    return table.set_index("term").loc[term]
