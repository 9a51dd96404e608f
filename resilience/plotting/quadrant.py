"""The quadrant: value added against context, shaded by the probability behind a rule."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from resilience.errors import DataError, SpecificationError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import PALETTE, look, new_axes, printed, write_numbers
from resilience.plotting.inputs import check_verdicts, rule_title, rules_of
from resilience.plotting.labels import place_labels, shortened
from resilience.results import axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_quadrant"]

_MOST_NAMES = 18
_FEW_NAMES = 6  # where most of the list cannot be named anyway
_SHADE = LinearSegmentedColormap.from_list("probability", ["#E3E6EA", "#8FBAD9", "#004F86"])
_NO_NUMBER = "#F0E4B0"


def plot_quadrant(
    found: Any,
    *,
    rule_id: str | None = None,
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw each school's effect net of context against its shrunken index, shaded by probability.

    Both axes are what the rule judges: the index drawn towards its mean by its reliability, and the
    posterior mean of the effect off its line on the index.  Lines are the gate of the context and
    the bound of the effect; the corner that the rule asks for is tinted.  A school can stand in the
    corner and yet be improbable: both are estimates.  The shade is the probability that both
    conditions truly hold; listed schools have one posterior SD either way.

    Parameters
    ----------
    found : DetectionResults
        Verdicts with at least one rule on effect and context by posterior evidence.
    rule_id : str, optional
        The rule; needed where several rules have probabilities of effect and context.
    names : mapping of str to str, optional
        Names to print instead of school ids.
    ax : Axes, optional
        Axes to draw on; new ones by default.
    lang : {"en", "ru"}
        Language of the labels.

    Returns
    -------
    Axes
        The axes drawn on.  Schools without an index or an effect have no place on it; the legend
        counts them.

    Raises
    ------
    SpecificationError
        If there is no such rule, or several and none is named.
    DataError
        If no school has both an index and an effect.
    """
    check_language(lang)
    rule = _rule_of(found, rule_id)
    every = _table(found, rule)
    table = every[every["context_shrunken"].notna() & every["effect_net"].notna()]
    if table.empty:
        raise DataError(text("quadrant.nobody", rule=rule, n=len(every)))
    table = table.reset_index(drop=True)
    with look():
        ax = new_axes(height=5.4) if ax is None else ax
        _draw_corner(ax, table)
        shades = _draw_schools(ax, table, lang)
        _draw_errors(ax, table)
        ax.set_xlabel(axis_label("context_shrunken", lang))
        ax.set_ylabel(axis_label("effect_net", lang))
        write_numbers(ax, lang)
        _draw_legend(ax, found, rule, table, shades, lang, n_absent=len(every) - len(table))
        _name_listed(ax, table, names)
    return ax


def _rule_of(found: Any, rule_id: str | None) -> str:
    check_verdicts(found, "schools", "working")
    known = [
        str(r)
        for r, own in found.working.groupby("rule_id", sort=False)
        if own["gate"].notna().any() and own["delta"].notna().any()
    ]
    if rule_id is not None:
        rules_of(found, rule_id)
        if rule_id not in known:
            raise SpecificationError(
                text("quadrant.not_joint", rule=rule_id, options=", ".join(known) or "—")
            )
        return rule_id
    if len(known) != 1:
        key = "several" if known else "none"
        raise SpecificationError(text(f"quadrant.{key}", options=", ".join(known)))
    return known[0]


def _table(found: Any, rule: str) -> pd.DataFrame:
    """Return one row per school judged: what the rule reads, its answer and its lines."""
    rows = found.schools[found.schools["rule_id"] == rule]
    rows = rows[["school_id", "verdict", "probability", "effect_net", "effect_net_sd"]]
    lines = found.working[found.working["rule_id"] == rule]
    names = ["school_id", "context_shrunken", "context_error", "gate", "delta"]
    lines = lines[[*names, "context_sign", "effect_sign", "threshold"]]
    joined: pd.DataFrame = rows.merge(lines, on="school_id", how="left", validate="one_to_one")
    return joined


def _draw_errors(ax: Axes, table: pd.DataFrame) -> None:
    """Draw one posterior SD either way of the listed schools, where they are few."""
    listed = table[table["verdict"] == "yes"]
    if len(listed) > _MOST_NAMES:
        return
    ax.errorbar(
        listed["context_shrunken"],
        listed["effect_net"],
        xerr=listed["context_error"],
        yerr=listed["effect_net_sd"],
        fmt="none",
        ecolor="#7A848E",
        elinewidth=0.7,
        zorder=2.9,
    )


def _draw_corner(ax: Axes, table: pd.DataFrame) -> None:
    """Draw gate and bound and tint the corner between them that the rule asks for."""
    gate, bound = float(table["gate"].iloc[0]), float(table["delta"].iloc[0])
    x, y = (table[c].to_numpy(dtype=float) for c in ("context_shrunken", "effect_net"))
    ends = []
    for values, line in ((x, gate), (y, bound)):
        low, high = min(values.min(), line), max(values.max(), line)
        room = 0.06 * (high - low or 1.0)
        ends.append((low - room, high + room))
    ax.set_xlim(*ends[0])
    ax.set_ylim(*ends[1])
    left = table["context_sign"].iloc[0] > 0
    up = table["effect_sign"].iloc[0] > 0
    across = (ends[0][0], gate) if left else (gate, ends[0][1])
    ax.fill_between(
        across, bound, ends[1][1] if up else ends[1][0], color="#EAF3EE", lw=0, zorder=0
    )
    style: dict[str, Any] = {"color": "#222222", "lw": 0.9, "ls": (0, (4, 2)), "zorder": 1}
    ax.axvline(gate, **style)
    ax.axhline(bound, **style)


def _draw_schools(ax: Axes, table: pd.DataFrame, lang: str) -> Any:
    """Draw the schools and return the shaded ones, which carry the colour scale."""
    area = float(np.clip(4200 / len(table), 4.0, 34.0))
    line = float(np.clip(area / 16, 0.45, 1.4))  # of the rim that says listed
    x, y = (table[c].to_numpy(dtype=float) for c in ("context_shrunken", "effect_net"))
    p = table["probability"].to_numpy(dtype=float)
    verdict = table["verdict"].to_numpy(dtype=object)
    aside, listed = verdict == "not_applicable", verdict == "yes"
    unknown = np.isnan(p) & ~aside
    open_ = (verdict == "insufficient_data") & ~unknown
    shaded = ~aside & ~unknown
    order = np.flatnonzero(shaded)[np.argsort(p[shaded], kind="stable")]  # likely ones on top
    drawn = ax.scatter(
        x[order],
        y[order],
        s=np.where(listed[order], 1.7 * area, area),
        c=p[order],
        cmap=_SHADE,
        vmin=0,
        vmax=1,
        edgecolors=[PALETTE["vermilion"] if hit else "#7A848E" for hit in listed[order]],
        linewidths=[line if hit else 0.3 * line for hit in listed[order]],
        zorder=3,
    )
    for rows, marker, face, edge, key in (
        (aside, "D", "none", PALETTE["purple"], "aside"),
        (unknown, "s", _NO_NUMBER, "#7A848E", "no_probability"),
    ):
        if rows.any():
            ax.scatter(
                x[rows],
                y[rows],
                s=area,
                marker=marker,
                facecolors=face,
                edgecolors=edge,
                linewidths=0.9,
                zorder=2.5,
                label=text(f"quadrant.{key}", n=int(rows.sum())).localized(lang),
            )
    if open_.any():
        ax.scatter(
            x[open_],
            y[open_],
            s=2.2 * area,
            facecolors="none",
            edgecolors=PALETTE["orange"],
            linewidths=0.65 * line,
            zorder=2.8,
            label=text("quadrant.open", n=int(open_.sum())).localized(lang),
        )
    return drawn


def _draw_legend(
    ax: Axes,
    found: Any,
    rule: str,
    table: pd.DataFrame,
    shades: Any,
    lang: str,
    *,
    n_absent: int,
) -> None:
    listed = int((table["verdict"] == "yes").sum())
    ax.scatter(
        [],
        [],
        s=40,
        facecolors=_SHADE(0.95),
        edgecolors=PALETTE["vermilion"],
        linewidths=1.4,
        label=text(
            "quadrant.listed", n=listed, threshold=printed(table["threshold"].iloc[0], lang)
        ).localized(lang),
    )
    ax.plot(
        [],
        [],
        color="#222222",
        lw=0.9,
        ls=(0, (4, 2)),
        label=text(
            "quadrant.lines",
            gate=printed(table["gate"].iloc[0], lang, 1),
            bound=printed(table["delta"].iloc[0], lang, 2),
        ).localized(lang),
    )
    if n_absent:
        ax.plot([], [], ls="none", label=text("quadrant.absent", n=n_absent).localized(lang))
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
        alignment="left",
        title="\n".join(textwrap.wrap(rule_title(found, rule, lang), 90)),
        title_fontsize=8.5,
    )
    scale = ax.figure.colorbar(shades, ax=ax, shrink=0.75, pad=0.02)
    scale.set_label(text("quadrant.shade").localized(lang), fontsize=8)
    scale.ax.tick_params(labelsize=7.5)
    write_numbers(scale.ax, lang, axes="y")
    scale.outline.set_linewidth(0.4)


def _name_listed(ax: Axes, table: pd.DataFrame, names: Mapping[str, str] | None) -> None:
    """Name the listed schools, likeliest and furthest first, as many as a page carries."""
    listed = table[table["verdict"] == "yes"]
    listed = listed.assign(
        likely=listed["probability"].round(2), far=listed["effect_net"] * listed["effect_sign"]
    ).sort_values(["likely", "far", "school_id"], ascending=[False, False, True])
    listed = listed[: _MOST_NAMES if len(listed) <= _MOST_NAMES else _FEW_NAMES]

    def places(rows: pd.DataFrame) -> list[tuple[float, float]]:
        return list(zip(rows["context_shrunken"], rows["effect_net"], strict=True))

    place_labels(
        ax,
        places(listed),
        [shortened(names.get(s, s) if names else s) for s in listed["school_id"]],
        obstacles=places(table),
    )
