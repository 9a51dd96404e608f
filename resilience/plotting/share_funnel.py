"""The funnel of shares: each school's share below the minimum against its participants."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.labels import place_labels, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_share_funnel"]

_LEVELS = (0.95, 0.998)
_SHADES = ("#CFDDE9", "#E4ECF2")
_DASHES: tuple[Any, ...] = ((0, (4, 2)), "solid")
_LOOKS = (("high", PALETTE["vermilion"], "^"), ("low", PALETTE["blue"], "v"))
_MOST_NAMES = 14
_SIGNS = " ▲▼"  # beside the limits that the coloured schools are outside of


def plot_share_funnel(
    found: Any,
    *,
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw the share below the minimum of each school against its number of participants.

    Lines are the limits of chance alone; where schools differ by more, a shaded funnel holds their
    variance too.  Schools outside the wider of the two are coloured and named, as far as a page
    carries: they are unusual for their size, which is a reason to look, not a verdict.

    Parameters
    ----------
    found : ShareFunnelResults
        What `share_funnel` returned.
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

    References
    ----------
    Spiegelhalter2005.
    """
    check_language(lang)
    table = found.schools
    n = table["n_participants"].to_numpy(dtype=float)
    with look():
        ax = new_axes(height=5.2) if ax is None else ax
        _draw_limits(ax, found, n, lang)
        _draw_schools(ax, table, n, found.funnel.center)
        _set_axes(ax, found, n, lang)
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            borderaxespad=0.2,
            alignment="left",
            title="\n".join([found.title(lang), *_reason(found, lang)]),
            title_fontsize=8,
        )
        _name_schools(ax, found, n, names)
    return ax


def _reason(found: Any, lang: str) -> list[str]:
    if found.funnel.reason is None:
        return []
    words = found.funnel.reason.localized(lang)
    return textwrap.wrap(words[:1].upper() + words[1:], 95)


def _sizes(n: np.ndarray) -> np.ndarray:
    """Return whole numbers of participants, all of them where a page can tell them apart."""
    low, high = max(1, int(n.min() / 1.1)), int(np.ceil(n.max() * 1.1))
    if high - low <= 400:
        return np.arange(low, high + 1)
    return np.unique(np.geomspace(low, high, 400).round().astype(int))


def _draw_limits(ax: Axes, found: Any, n: np.ndarray, lang: str) -> None:
    grid, funnel, total = _sizes(n), found.funnel, len(n)
    share = printed(100 * funnel.center, lang, 1)
    ax.axhline(
        100 * funnel.center,
        color=GREY,
        lw=1.4,
        zorder=1,
        label=text("share_funnel.center_line", share=share).localized(lang),
    )

    def words(key: str, level: float, *, between: bool) -> str:
        decisive = level == _LEVELS[0] and between == funnel.differ
        chance = funnel.expected_outside(level, between=between)
        shown = text(
            f"share_funnel.{key}",
            level=f"{100 * level:g}".replace(".", "," if lang == "ru" else "."),
            n=int(funnel.outside(level, between=between).sum()),
            total=total,
            expected=printed(chance, lang, 1 if chance >= 0.1 else 2),
        )
        return shown.localized(lang) + (_SIGNS if decisive else "")

    for level, dashes in zip(_LEVELS, _DASHES, strict=True):
        low, high = found.limits(grid, level, between=False)
        style: dict[str, Any] = {"color": "#222222", "lw": 0.8, "ls": dashes, "zorder": 1.5}
        ax.plot(grid, 100 * low, label=words("limits_sampling", level, between=False), **style)
        ax.plot(grid, 100 * high, **style)
    for place, level in enumerate(_LEVELS if funnel.differ else ()):
        low, high = found.limits(grid, level)
        ax.fill_between(
            grid,
            100 * low,
            100 * high,
            color=_SHADES[place],
            lw=0,
            zorder=0.5 - 0.1 * place,  # the inner funnel lies on the outer one
            label=words("limits_between", level, between=True),
        )


def _draw_schools(ax: Axes, table: Any, n: np.ndarray, center: float) -> None:
    share = table["share_below_minimum"].to_numpy(dtype=float)
    outside = table["outside"].to_numpy(dtype=bool)
    area = float(np.clip(2600 / len(n), 3.0, 20.0))
    ax.scatter(
        n[~outside], 100 * share[~outside], s=area, color=GREY, alpha=0.8, linewidths=0, zorder=2
    )
    for side, color, marker in _LOOKS:
        mine = outside & ((share > center) == (side == "high"))
        ax.scatter(
            n[mine], 100 * share[mine], s=area + 8, color=color, marker=marker, lw=0, zorder=3
        )


def _set_axes(ax: Axes, found: Any, n: np.ndarray, lang: str) -> None:
    ax.set_xscale("log")
    steps = [m * 10**k for k in range(8) for m in (1, 2, 5)]
    inside = [v for v in steps if n.min() / 1.1 <= v <= n.max() * 1.1]
    ax.xaxis.set_major_locator(FixedLocator(inside or [float(np.median(n))]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}"))
    ax.set_xlim(n.min() / 1.1, n.max() * 1.1)
    share = 100 * found.schools["share_below_minimum"].to_numpy(dtype=float)
    top = max(float(share.max()), 100 * float(np.median(found.limits(n, _LEVELS[-1])[1])))
    top = max(top, 5.0)  # where nobody is below the minimum an axis of zeros would have no height
    ax.set_ylim(-0.04 * top, min(1.08 * top, 104.0))
    write_numbers(ax, lang, axes="y")
    ax.set_xlabel(text("share_funnel.axis_n").localized(lang))
    ax.set_ylabel(text("share_funnel.axis_share").localized(lang))


def _name_schools(ax: Axes, found: Any, n: np.ndarray, names: Mapping[str, str] | None) -> None:
    table = found.schools
    share = 100 * table["share_below_minimum"].to_numpy(dtype=float)
    outside = table["outside"].to_numpy(dtype=bool)
    order = np.argsort(-np.abs(table["z_score"].to_numpy(dtype=float)), kind="stable")
    chosen = order[outside[order]][:_MOST_NAMES]
    ids = [str(table["school_id"].iloc[i]) for i in chosen]
    place_labels(
        ax,
        [(float(n[i]), float(share[i])) for i in chosen],
        [shortened(names.get(s, s) if names else s) for s in ids],
        obstacles=list(zip(n.tolist(), share.tolist(), strict=True)),
    )
