"""How rules work under chance: who is listed at which true share, and errors by group."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from resilience.errors import DataError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import PALETTE, look, new_axes, panel_grid
from resilience.plotting.inputs import rule_title
from resilience.validation import check_choice, check_columns, check_not_empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_operating"]

# Light to dark blue, small schools first; the dashes carry the order in a black-and-white print.
_SHADES = ("#9FC6E3", "#6AA6D1", "#3D85BB", "#1C639B", "#0B3F6B")
_DASHES: tuple[Any, ...] = ((0, (1, 1.2)), (0, (3, 1.5)), (0, (6, 1.5)), (0, (9, 1, 1.5, 1)), "-")
# Part of a bar, colour, hatch, direction: what is listed stands up, what is missed hangs down.
_PARTS = (
    ("right", PALETTE["blue"], "", 1),
    ("wrong", PALETTE["orange"], "////", 1),
    ("missed", "#C9CDD2", "....", -1),
)
_ROOM = 0.12  # of the height above and below the bars


def plot_operating(
    result: Any,
    *,
    view: Literal["curves", "errors"] = "curves",
    rule_id: str | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw how often rules list a school, or how often they err by size band and rurality.

    ``curves``: the probability to be listed against the true failing share, a line per number of
    participants; left of the dashed line a school that is listed is listed wrongly.  ``errors``:
    of 100 schools of each size band, and of rural and urban schools, how many are listed rightly
    and wrongly (above zero) and how many are missed (below).

    Parameters
    ----------
    result : RuleSimulationResults
        A result with ``operating``, ``by_size_band`` and ``by_rurality``.
    view : {"curves", "errors"}
        What to draw.
    rule_id : str, optional
        One rule; all of them by default, a panel each.
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
        If the rule is unknown, or no rule has operating curves.
    SpecificationError
        If the view is unknown.
    """
    check_language(lang)
    check_choice(view, ("curves", "errors"), argument="view")
    table = result.operating if view == "curves" else result.by_size_band
    rules = _rules(result, table, rule_id)
    titles = [
        "\n".join(wrap(rule_title(result, r, lang), 38 if len(rules) > 1 else 90)[:3])
        for r in rules
    ]
    columns = min(len(rules), 2)
    rows = -(-len(rules) // columns)
    with look():
        if ax is None:
            ax = new_axes(height=4.8 if len(rules) == 1 else 1.6 + 2.7 * rows)
        lines = max(t.count("\n") + 1 for t in titles)
        panels = panel_grid(ax, titles, columns=columns, lines=lines)
        if view == "curves":
            _draw_curves(ax, panels, result, rules, lang)
        else:
            _draw_errors(ax, panels, result, rules, lang)
    return ax


def _rules(result: Any, table: pd.DataFrame, rule_id: str | None) -> list[str]:
    known = list(dict.fromkeys(str(r) for r in table["rule_id"])) if len(table) else []
    if rule_id is not None and rule_id not in known:
        raise DataError(text("plotting.rule_absent", rule=rule_id, options=", ".join(known) or "—"))
    check_not_empty(table, table="operating")
    return known if rule_id is None else [rule_id]


def _percent(lang: str) -> FuncFormatter:
    def written(value: float, _: object = None) -> str:
        shown = f"{100 * abs(value):g}"
        return f"{shown.replace('.', ',') if lang == 'ru' else shown} %"

    return FuncFormatter(written)


def _draw_curves(
    ax: Axes, panels: Sequence[Axes], result: Any, rules: Sequence[str], lang: str
) -> None:
    table = result.operating
    check_columns(table, ["n_participants", "true_share", "probability_flag"], table="operating")
    sizes = sorted(int(v) for v in table["n_participants"].unique())
    looks = {n: (_SHADES[k % 5], _DASHES[k % 5]) for k, n in enumerate(sizes)}
    for panel, rule in zip(panels, rules, strict=True):
        own = table[table["rule_id"] == rule]
        for n in sizes:
            line = own[own["n_participants"] == n].sort_values("true_share")
            color, dashes = looks[n]
            panel.plot(line["true_share"], line["probability_flag"], color=color, ls=dashes, lw=1.8)
        panel.axvline(result.truth_share, color="#555555", lw=0.9, ls=(0, (5, 3)))
        panel.grid(axis="y", color="#E3E3E3", lw=0.6)
        panel.set_ylim(-0.02, 1.02)
        panel.set_xlim(0, float(table["true_share"].max()))
        # the last tick would run into the first one of the panel beside it
        panel.set_xticks(np.arange(0, float(table["true_share"].max()) - 0.05, 0.1))
        panel.xaxis.set_major_formatter(_percent(lang))
        panel.yaxis.set_major_formatter(_percent(lang))
    handles: list[Any] = [
        Line2D([], [], color=looks[n][0], ls=looks[n][1], lw=1.8, label=f"{n}") for n in sizes
    ]
    bound = text("simulator.plot_bound", share=f"{100 * result.truth_share:g}")
    handles.append(
        Line2D([], [], color="#555555", lw=0.9, ls=(0, (5, 3)), label=bound.localized(lang))
    )
    ax.set_xlabel(text("simulator.plot_true_share").localized(lang))
    ax.set_ylabel(text("simulator.plot_listed").localized(lang))
    _legend(ax, handles, text("simulator.plot_sizes").localized(lang), len(handles))


def _draw_errors(
    ax: Axes, panels: Sequence[Axes], result: Any, rules: Sequence[str], lang: str
) -> None:
    groups = _groups(result, lang)
    place = np.arange(len(groups[rules[0]]))
    top = max(float(g["listed"].max()) for r, g in groups.items() if r in rules)
    bottom = max(float(g["missed"].max()) for r, g in groups.items() if r in rules)
    room = _ROOM * max(top + bottom, 0.01)
    for panel, rule in zip(panels, rules, strict=True):
        own = groups[rule]
        start = np.zeros(len(own))
        for name, color, hatch, direction in _PARTS:
            height = own[name].to_numpy(dtype=float)
            base = start if direction > 0 else np.zeros(len(own))
            panel.bar(
                place,
                direction * height,
                bottom=base,
                width=0.66,
                color=color,
                hatch=hatch,
                edgecolor="#555555",
                linewidth=0.5,
            )
            if direction > 0:
                start = start + height
        _write_numbers(panel, own, place, room, lang)
        panel.axhline(0, color="#333333", lw=0.8)
        panel.axvline(result.by_size_band["size_band"].nunique() - 0.5, color="#BBBBBB", lw=0.8)
        panel.set_ylim(-bottom - room, top + room)
        panel.set_xlim(-0.6, len(own) - 0.4)
        panel.set_xticks(place, list(own["group"]), fontsize=8 if len(panels) == 1 else 7)
        panel.yaxis.set_major_formatter(_percent(lang))
    handles = [
        Patch(
            facecolor=color,
            hatch=hatch,
            edgecolor="#555555",
            label=text(f"simulator.plot_{name}").localized(lang),
        )
        for name, color, hatch, _ in _PARTS
    ]
    ax.set_xlabel(text("simulator.plot_groups").localized(lang))
    ax.set_ylabel(text("simulator.plot_of_schools").localized(lang))
    if len(panels) > 1:
        ax.xaxis.labelpad = 30.0  # the ticks of these panels have two lines
    _legend(ax, handles, "", 1)


def _write_numbers(
    panel: Axes, own: pd.DataFrame, place: np.ndarray, room: float, lang: str
) -> None:
    """Write the expected number of wrongly listed schools above the bars."""
    for x, top, n in zip(place, own["listed"], own["n_wrong"], strict=True):
        shown = f"{n:.1f}".replace(".", "," if lang == "ru" else ".")
        panel.text(
            x, top + 0.12 * room, shown, ha="center", va="bottom", fontsize=7, color="#8A5A00"
        )


def _groups(result: Any, lang: str) -> dict[str, pd.DataFrame]:
    """Return shares of schools listed rightly, wrongly and missed: bands, then rural and urban."""
    found: dict[str, list[pd.DataFrame]] = {}
    for table, key in ((result.by_size_band, "size_band"), (result.by_rurality, "is_rural")):
        known = table[table[key].notna() & (table["n_schools"] > 0)]
        for rule, own in known.groupby("rule_id", sort=False):
            n = own["n_schools"].to_numpy(dtype=float)
            listed = own["expected_listed"].to_numpy(dtype=float) / n
            wrong = own["expected_false_flags"].to_numpy(dtype=float) / n
            names = [
                str(v)
                if key == "size_band"
                else text("simulator.plot_rural" if v else "simulator.plot_urban").localized(lang)
                for v in own[key]
            ]
            found.setdefault(str(rule), []).append(
                pd.DataFrame(
                    {
                        "group": [f"{g}\n({int(m)})" for g, m in zip(names, n, strict=True)],
                        "right": listed - wrong,
                        "wrong": wrong,
                        "missed": own["expected_misses"].to_numpy(dtype=float) / n,
                        "listed": listed,
                        "n_wrong": wrong * n,
                    }
                )
            )
    return {rule: pd.concat(pieces, ignore_index=True) for rule, pieces in found.items()}


def _legend(ax: Axes, handles: Sequence[Any], title: str, columns: int) -> None:
    # A single panel is the axes themselves: the legend stands above its title.
    ax.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1.0 if ax.child_axes else 1.08),
        ncols=columns,
        title=title or None,
        title_fontsize=8.5,
        alignment="left",
        borderaxespad=0.2,
        columnspacing=1.2,
    )
