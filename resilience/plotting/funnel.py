"""The funnel: each school's residual against its number of pupils, with control limits."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from resilience.columns import column
from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.inputs import effects_of
from resilience.plotting.labels import place_labels, shortened
from resilience.results import axis_label
from resilience.stats.lists.funnel import (
    Funnel,
    funnel,
    pooled_residuals,
    typical_std_error,
    unshrunken_residuals,
)
from resilience.validation import check_columns, check_finite, check_not_empty, check_unique

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_funnel"]

_SHADES = ("#CFDDE9", "#E4ECF2", "#F1F5F8")  # between the limits of each level, inner first
_DASHES: tuple[Any, ...] = ((0, (4, 2)), "solid", (0, (1, 1.5)))
_LOOKS = (("low", PALETTE["vermilion"], "v"), ("high", PALETTE["blue"], "^"))
_MOST_NAMES = 14
_SIGNS = " ▲▼"  # beside the limits that the coloured schools are outside of


def plot_funnel(
    va: Any,
    *,
    level: Sequence[float] = (0.95, 0.998),
    target: float = 0.0,
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw each school's observed minus expected result against its number of pupils.

    Lines are the limits of sampling alone: what schools of equal effect would keep to.  The shaded
    funnel holds the variance between schools too; a school outside it is unusual among schools,
    and is coloured and, as far as a page carries, named.  Each school is judged by its own sampling
    variance, the lines are those of a typical school of that size.

    Parameters
    ----------
    va : EffectsResults or DataFrame
        A result with ``school_effects``, or a table: either school effects (``school_id effect
        conditional_sd reliability n_pupils``), from which the residual before shrinkage is read, or
        yearly residuals (``school_id residual sampling_variance n_pupils``), pooled by precision.
    level : sequence of float
        One to three shares in (0, 1), ascending.
    target : float
        Residual of a school that does as expected, outcome units.
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
    DataError
        If a column is absent or has gaps, a school repeats, a sampling variance is not above 0, or
        the effects say nothing because no difference between schools was found.
    SpecificationError
        If the levels are not ascending shares.

    References
    ----------
    Spiegelhalter2005.
    """
    check_language(lang)
    levels = _levels_of(level)
    table = _residuals_of(va)
    found = funnel(table["residual"], table["std_error"], target=target)
    with look():
        ax = new_axes(height=5.2) if ax is None else ax
        size = table["n_pupils"].to_numpy(dtype=float)
        _draw_limits(ax, found, size, levels, lang)
        strange = _draw_schools(ax, found, size, levels, lang)
        ax.set_xscale("log")
        _write_sizes(ax, size)
        write_numbers(ax, lang, axes="y")
        _set_range(ax, found, size, levels)
        pupils = text("plots_marks.pupils_log", label=column("n_pupils").label(lang))
        ax.set_xlabel(pupils.localized(lang))
        unit = axis_label("effect", lang).partition(", ")[2]
        ax.set_ylabel(text("plots_marks.residual_axis", unit=unit).localized(lang))
        note = "" if found.reason is None else found.reason.localized(lang)
        note = "\n".join(textwrap.wrap(note[:1].upper() + note[1:], 95))
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            borderaxespad=0.2,
            alignment="left",
            title=note or None,
            title_fontsize=8,
        )
        _name_schools(ax, table, found, strange, names)
    return ax


def _levels_of(level: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(float(v) for v in level)
    ascending = all(a < b for a, b in itertools.pairwise(levels))
    inside = all(0 < v < 1 for v in levels)
    if not (1 <= len(levels) <= len(_SHADES) and ascending and inside):
        raise SpecificationError(text("plots_marks.levels", level=level))
    return levels


def _residuals_of(va: Any) -> pd.DataFrame:
    """Return ``school_id residual std_error n_pupils``, a row per school."""
    frame = effects_of(va)
    if "effect" not in frame and "residual" in frame:
        return _pooled(frame)
    needed = ["effect", "conditional_sd", "reliability", "n_pupils"]
    check_columns(frame, ["school_id", *needed], table="school_effects")
    check_not_empty(frame, table="school_effects")
    check_unique(frame, ["school_id"], table="school_effects")
    check_finite(frame, needed, table="school_effects", unit="school_id")
    silent = frame["reliability"].to_numpy(dtype=float) <= 0
    if silent.any():
        years = None if isinstance(va, pd.DataFrame) else getattr(va, "school_years", None)
        if isinstance(years, pd.DataFrame) and len(years):
            return _pooled(years)
        raise DataError(text("plots_marks.no_residuals", n=int(silent.sum()), total=len(frame)))
    residual, error = unshrunken_residuals(
        *(frame[c].to_numpy(dtype=float) for c in ("effect", "conditional_sd", "reliability"))
    )
    return pd.DataFrame(
        {
            "school_id": frame["school_id"].astype(str).to_numpy(),
            "residual": residual,
            "std_error": error,
            "n_pupils": frame["n_pupils"].to_numpy(dtype=float),
        }
    )


def _pooled(years: pd.DataFrame) -> pd.DataFrame:
    needed = ["residual", "sampling_variance", "n_pupils"]
    check_columns(years, ["school_id", *needed], table="school_years")
    check_not_empty(years, table="school_years")
    check_finite(years, needed, table="school_years", unit="school_id")
    codes, schools = pd.factorize(years["school_id"].astype(str), sort=True)
    residual, variance, pupils = (years[c].to_numpy(dtype=float) for c in needed)
    if (variance <= 0).any():
        raise DataError(text("plots_marks.variance", value=f"{variance.min():g}"))
    pooled, error = pooled_residuals(codes, residual, variance)
    return pd.DataFrame(
        {
            "school_id": np.asarray(schools, dtype=object),
            "residual": pooled,
            "std_error": error,
            "n_pupils": np.bincount(codes, pupils),
        }
    )


def _grid(size: np.ndarray) -> np.ndarray:
    return np.geomspace(size.min() / 1.15, size.max() * 1.15, 200)


def _draw_limits(
    ax: Axes, found: Funnel, size: np.ndarray, levels: tuple[float, ...], lang: str
) -> None:
    grid = _grid(size)
    typical = typical_std_error(size, found.std_error, grid)
    total, between = len(size), found.reason is None

    def words(key: str, place: int, **values: object) -> str:
        decisive = place == 0 and between == (key == "limits_between")
        shown = text(
            f"plots_marks.{key}",
            level=f"{100 * levels[place]:g}".replace(".", "," if lang == "ru" else "."),
            n=int(found.outside(levels[place], between=key == "limits_between").sum()),
            **values,
        )
        return shown.localized(lang) + (_SIGNS if decisive else "")

    ax.axhline(found.center, color="#222222", lw=0.8, zorder=1)
    for place, level in enumerate(levels):
        low, high = found.limits(level, between=False, std_error=typical)
        chance = _by_chance(total * (1 - level), lang)
        style: dict[str, Any] = {"color": "#222222", "lw": 0.8, "ls": _DASHES[place], "zorder": 1.5}
        label = words("limits_sampling", place, total=total, expected=chance)
        ax.plot(grid, low, label=label, **style)
        ax.plot(grid, high, **style)
    for place, level in enumerate(levels if between else ()):
        low, high = found.limits(level, between=True, std_error=typical)
        spread = printed(float(np.sqrt(found.between_variance)), lang)
        ax.fill_between(
            grid,
            low,
            high,
            color=_SHADES[place],
            lw=0,
            zorder=0.5 - 0.1 * place,  # the inner funnel lies on the outer one
            label=words("limits_between", place, sd=spread),
        )


def _by_chance(number: float, lang: str) -> str:
    """Return an expected number of schools: more decimals for fewer."""
    return printed(number, lang, 0 if number >= 10 else 1 if number >= 0.1 else 2)


def _draw_schools(
    ax: Axes, found: Funnel, size: np.ndarray, levels: tuple[float, ...], lang: str
) -> np.ndarray:
    """Draw the schools and return which are outside; a mark that looks outside is explained."""
    between = found.reason is None
    outside = found.outside(levels[0], between=between)
    typical = typical_std_error(size, found.std_error, size)
    low, high = found.limits(levels[0], between=between, std_error=typical)
    looks = (found.estimate < low) | (found.estimate > high)
    hollow = looks & ~outside
    area = float(np.clip(2600 / len(size), 3.0, 20.0))
    plain = ~outside & ~hollow
    ax.scatter(
        size[plain], found.estimate[plain], s=area, color=GREY, alpha=0.8, linewidths=0, zorder=2
    )
    for side, color, marker in _LOOKS:
        mine = outside & ((found.estimate > found.center) == (side == "high"))
        ax.scatter(
            size[mine],
            found.estimate[mine],
            s=area + 8,
            color=color,
            marker=marker,
            linewidths=0,
            zorder=3,
        )
    if hollow.any():
        words = text("plots_marks.own_limits", n=int(hollow.sum()))
        ax.scatter(
            size[hollow],
            found.estimate[hollow],
            s=area,
            facecolors="white",
            edgecolors=GREY,
            linewidths=0.8,
            zorder=2.5,
            label=words.localized(lang),
        )
    return outside


def _write_sizes(ax: Axes, size: np.ndarray) -> None:
    """Write the numbers of pupils as 1, 2, 5, 10, … in full."""
    steps = [m * 10**k for k in range(8) for m in (1, 2, 5)]
    inside = [v for v in steps if size.min() / 1.15 <= v <= size.max() * 1.15]
    ax.xaxis.set_major_locator(FixedLocator(inside or [float(np.median(size))]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}"))


def _set_range(ax: Axes, found: Funnel, size: np.ndarray, levels: tuple[float, ...]) -> None:
    """Keep to the schools: the limits of the smallest schools may run out of the page."""
    ends = found.limits(levels[-1], between=found.reason is None)
    middle = max(float(np.quantile(np.abs(e - found.center), 0.9)) for e in ends)
    reach = max(float(np.abs(found.estimate - found.center).max()), middle) * 1.08
    grid = _grid(size)
    ax.set_xlim(float(grid[0]), float(grid[-1]))
    ax.set_ylim(found.center - reach, found.center + reach)


def _name_schools(
    ax: Axes,
    table: pd.DataFrame,
    found: Funnel,
    strange: np.ndarray,
    names: Mapping[str, str] | None,
) -> None:
    between = found.between_variance if found.reason is None else 0.0
    distance = np.abs(found.estimate - found.center) / np.sqrt(found.std_error**2 + between)
    order = np.argsort(-distance, kind="stable")
    chosen = order[strange[order]][:_MOST_NAMES]
    x, y = table["n_pupils"].to_numpy(dtype=float), found.estimate
    ids = [str(table["school_id"].iloc[i]) for i in chosen]
    limits = [np.column_stack(line.get_data()) for line in ax.lines[1:]]  # the first: the centre
    lines = [(float(u), float(v)) for u, v in np.concatenate(limits)]
    place_labels(
        ax,
        [(float(x[i]), float(y[i])) for i in chosen],
        [shortened(names.get(s, s) if names else s) for s in ids],
        obstacles=[*zip(x.tolist(), y.tolist(), strict=True), *lines],
    )
