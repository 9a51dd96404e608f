"""The histogram of raw scores of one school beside the region's, with the borders of marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from resilience.detection.integrity.borders import read_borders, score_windows
from resilience.detection.integrity.histograms import check_scores, read_histograms
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes
from resilience.validation import nearest_names, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_score_histogram"]

# Participants from which a histogram of raw scores is informative, and the approximate minimum:
# FIOKO2026, page 13.
INFORMATIVE, MINIMUM = 50, 20
_ABOVE, _BELOW = "#CFE3F1", "#F6E6C4"


def plot_score_histogram(
    histograms: pd.DataFrame,
    borders: pd.DataFrame,
    *,
    school_id: str,
    procedure: str,
    years: int = 1,
    window: int = 2,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw the raw scores of one school over those of the region, borders of marks marked.

    Bars are the school's shares, the line those of all schools of the table.  On either side of a
    border the window of the adjacent-score test is shaded.  With fewer than 50 participants the
    bars are pale, with fewer than 20 grey, and the figure says so.

    Parameters
    ----------
    histograms : DataFrame
        ``school_id year procedure score n_pupils``, raw scores.
    borders : DataFrame
        ``procedure year mark border_score max_score``.
    school_id, procedure : str
        School and test.
    years : int
        How many of the latest years of this test at this school are put together; their borders
        must be the same.
    window : int
        Scores on each side of a border.
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
        If a table breaks a rule, the school did not sit the test, or the years put together have
        different borders.
    SpecificationError
        If ``years`` or ``window`` is below 1.

    References
    ----------
    FIOKO2026.
    """
    check_language(lang)
    for name, value in (("years", years), ("window", window)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SpecificationError(text("integrity.at_least_one", argument=name, value=value))
    table, chosen = _rows(read_histograms(histograms), str(school_id), str(procedure), years)
    marks = _borders(read_borders(borders), table, str(procedure), chosen)
    size = int(marks["max_score"].iloc[0]) + 1
    own = _counts(table[table["school_id"] == str(school_id)], size)
    region = _counts(table, size)
    with look():
        ax = new_axes(height=4.2) if ax is None else ax
        _draw_windows(ax, marks, window, lang)
        n = int(own.sum())
        color, note = _standing(n)
        scores = np.arange(size)
        school = text("integrity.plot_school", school=school_id, n=n).localized(lang)
        ax.bar(scores, own / max(n, 1), width=0.86, color=color, label=school, zorder=2)
        everyone = text("integrity.plot_region", n=int(region.sum())).localized(lang)
        edges = np.arange(size + 1) - 0.5
        ax.stairs(region / region.sum(), edges, label=everyone, color="#222222", lw=1.1, zorder=2.5)
        _write_borders(ax, marks)
        ax.set_xlim(-0.8, size - 0.2)
        ax.set_ylim(0, max((own / max(n, 1)).max(), (region / region.sum()).max()) * 1.12)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        ax.set_xlabel(text("integrity.plot_score").localized(lang))
        ax.set_ylabel(text("integrity.plot_share").localized(lang))
        place = ", ".join(str(year) for year in chosen)
        ax.set_title(f"{procedure}, {place}", pad=8 if note is None else 20)
        if note is not None:
            ax.text(
                0, 1.015, note.localized(lang), transform=ax.transAxes, fontsize=8, color="#7A3B00"
            )
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, borderaxespad=0.0)
    return ax


def _rows(
    table: pd.DataFrame, school: str, procedure: str, years: int
) -> tuple[pd.DataFrame, list[int]]:
    """Return the rows of the test in the latest years the school sat it, and those years."""
    known = table["school_id"].unique()
    if school not in known:
        nearest = nearest_names(school, known)
        raise DataError(text("integrity.no_school", school=school, nearest=nearest))
    own = table[(table["school_id"] == school) & (table["procedure"] == procedure)]
    own = own[own["n_pupils"] > 0]
    if own.empty:
        sat = shorten(table.loc[table["school_id"] == school, "procedure"].unique(), 12)
        raise DataError(text("integrity.plot_not_sat", school=school, test=procedure, sat=sat))
    chosen = [int(y) for y in np.sort(own["year"].unique())[-years:]]
    rows = (table["procedure"] == procedure) & table["year"].isin(chosen)
    return table[rows], chosen


def _borders(
    borders: pd.DataFrame, table: pd.DataFrame, procedure: str, chosen: list[int]
) -> pd.DataFrame:
    check_scores(table, borders)
    rows = borders[(borders["procedure"] == procedure) & borders["year"].isin(chosen)]
    each = rows.groupby("mark")[["border_score", "max_score"]].nunique()
    if (each > 1).any(axis=None):
        raise DataError(text("integrity.plot_borders", test=procedure, years=shorten(chosen)))
    return rows.drop_duplicates("mark").sort_values("mark")


def _counts(table: pd.DataFrame, size: int) -> np.ndarray:
    return np.bincount(table["score"], weights=table["n_pupils"], minlength=size)


def _standing(n: int) -> tuple[str, Bilingual | None]:
    """Return the colour of the bars and what to say about their number."""
    if n >= INFORMATIVE:
        return PALETTE["blue"], None
    if n >= MINIMUM:
        return PALETTE["sky"], text("integrity.plot_weak", n=n, informative=INFORMATIVE)
    return GREY, text("integrity.plot_limited", n=n, minimum=MINIMUM)


def _draw_windows(ax: Axes, marks: pd.DataFrame, window: int, lang: str) -> None:
    below, above = (text(f"integrity.plot_{side}").localized(lang) for side in ("below", "above"))
    for at, one in enumerate(score_windows(marks, window=window)):
        first = at == 0
        edges = one.first - 0.5, one.border - 0.5, one.last + 0.5
        ax.axvspan(*edges[:2], color=_BELOW, lw=0, zorder=0, label=below if first else None)
        ax.axvspan(*edges[1:], color=_ABOVE, lw=0, zorder=0, label=above if first else None)


def _write_borders(ax: Axes, marks: pd.DataFrame) -> None:
    for mark, border in zip(marks["mark"], marks["border_score"], strict=True):
        ax.axvline(border - 0.5, color="#222222", lw=0.8, ls=(0, (4, 2)), zorder=1.5)
        ax.text(
            border - 0.35,
            0.985,
            f"«{mark}»",
            transform=ax.get_xaxis_transform(),
            va="top",
            fontsize=8.5,
        )
