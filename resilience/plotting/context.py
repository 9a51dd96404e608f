"""Results against context: the expected line, and the schools that the rules name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from resilience.errors import DataError
from resilience.i18n import check_language, text
from resilience.plotting.canvas import GREY, PALETTE, look, new_axes, write_numbers
from resilience.plotting.inputs import (
    effects_of,
    latest_scores,
    rule_target,
    rule_title,
    rules_of,
    scores_of,
)
from resilience.plotting.labels import place_labels, shortened
from resilience.results import axis_label
from resilience.stats.verdicts.weighted_line import weighted_line
from resilience.validation import check_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["expected_line", "plot_context"]

# A rule's look follows what a yes means; a second rule of one kind takes the second look.
_LOOKS = {
    "resilient": ((PALETTE["blue"], "^"), (PALETTE["green"], "^")),
    "low": ((PALETTE["vermilion"], "v"), (PALETTE["orange"], "v")),
    "adverse": ((PALETTE["purple"], "o"), (PALETTE["sky"], "o")),
    "other": ((PALETTE["green"], "D"), (PALETTE["sky"], "D"), (PALETTE["orange"], "D")),
}
_MOST_NAMES = 14


def expected_line(effects: Any, scores: Any) -> tuple[float, float] | None:
    """Return intercept and slope of the expected results along the context index.

    The line is the least-squares line of ``expected_mean`` on ``context_index`` over schools,
    weighted by ``n_pupils``; None where fewer than two different indices are known.
    """
    merged = _merged(effects, scores)
    check_columns(merged, ["expected_mean"], table="school_effects")
    weights = (
        merged["n_pupils"].to_numpy(dtype=float)
        if "n_pupils" in merged
        else np.ones(len(merged), dtype=float)
    )
    return weighted_line(
        merged["context_index"].to_numpy(dtype=float),
        merged["expected_mean"].to_numpy(dtype=float),
        weights,
    )


def plot_context(
    va: Any,
    scores: Any,
    *,
    found: Any = None,
    rule_id: str | None = None,
    line: tuple[float, float] | None = None,
    names: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    lang: str = "en",
) -> Axes:
    """Draw each school's mean result against its context index, with the expected line.

    Parameters
    ----------
    va : ValueAddedResults, SchoolLevelResults or DataFrame
        A result with ``school_effects``, or such a table (``school_id observed_mean
        expected_mean``).
    scores : ContextIndexResults or DataFrame
        A result with ``scores``, or such a table (``school_id context_index``); of several years
        the latest of each school is drawn.
    found : DetectionResults, optional
        Schools with verdict "yes" are marked, a colour and a marker per rule, and named.
    rule_id : str, optional
        Only this rule of ``found``.
    line : (float, float), optional
        Intercept and slope of the expected line; by default those of `expected_line`.
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
        If a column is absent, no school stands in both tables, or the rule is unknown.
    """
    check_language(lang)
    merged = _merged(va, scores)
    check_columns(merged, ["observed_mean"], table="school_effects")
    marked = {} if found is None else _marked(found, rule_id)
    line = expected_line(va, scores) if line is None else line
    with look():
        ax = new_axes(height=4.6 + 0.2 * (1 + len(marked))) if ax is None else ax
        x, y = (merged[c].to_numpy(dtype=float) for c in ("context_index", "observed_mean"))
        size = float(np.clip(2600 / len(merged), 3.0, 20.0))
        ax.scatter(x, y, s=size, color=GREY, alpha=0.7, linewidths=0, zorder=2)
        if line is not None:
            _draw_line(ax, x, line, lang)
        write_numbers(ax, lang)
        ax.set_xlabel(axis_label("context_index", lang))
        ax.set_ylabel(axis_label("observed_mean", lang))
        ax.margins(x=0.06, y=0.08)
        _draw_marked(ax, merged, marked, found, size, lang)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
        _name_marked(ax, merged, marked, found, names)
    return ax


def _merged(va: Any, scores: Any) -> pd.DataFrame:
    """Return the schools that have both an effect and an index, in the order of the effects."""
    effects, index = effects_of(va), latest_scores(scores_of(scores))
    check_columns(effects, ["school_id"], table="school_effects")
    left = effects.assign(school_id=effects["school_id"].astype(str))
    right = index[["school_id", "context_index"]].assign(school_id=index["school_id"].astype(str))
    merged = left.drop(columns="context_index", errors="ignore").merge(right, on="school_id")
    merged = merged[merged["context_index"].notna()].reset_index(drop=True)
    if merged.empty:
        raise DataError(text("plotting.no_common_school", effects=len(effects), scores=len(index)))
    return merged


def _marked(found: Any, rule_id: str | None) -> dict[str, list[str]]:
    """Return the schools with verdict "yes" by rule, the most probable first."""
    marked: dict[str, list[str]] = {}
    for rule in rules_of(found, rule_id):
        rows = found.schools[
            (found.schools["rule_id"].astype(str) == rule) & (found.schools["verdict"] == "yes")
        ].assign(key=lambda t: t["school_id"].astype(str))
        if "probability" in rows:
            rows = rows.assign(order=-rows["probability"].astype(float).fillna(0.0))
            rows = rows.sort_values(["order", "key"], kind="stable")
        marked[rule] = list(dict.fromkeys(rows["key"]))
    return marked


def _draw_line(ax: Axes, x: np.ndarray, line: tuple[float, float], lang: str) -> None:
    ends = np.array([np.nanmin(x), np.nanmax(x)])
    ax.plot(
        ends,
        line[0] + line[1] * ends,
        color="#222222",
        lw=1.2,
        zorder=3,
        label=text("plotting.expected_line").localized(lang),
    )


def _draw_marked(
    ax: Axes,
    merged: pd.DataFrame,
    marked: dict[str, list[str]],
    found: Any,
    size: float,
    lang: str,
) -> None:
    keys = merged["school_id"].astype(str)
    earlier: list[str] = []
    for rule, schools in marked.items():
        rows = merged[keys.isin(schools)]
        target = rule_target(found, rule)
        color, marker = _LOOKS[target][earlier.count(target) % len(_LOOKS[target])]
        label = text("plotting.rule_yes", n=len(schools)).localized(lang)
        # Context is the axis itself: its schools keep their dots, in another colour.  The others
        # get open markers that grow with the rule's place: a school under two rules shows both.
        of_context = target == "adverse"
        larger = 26 + 34 * sum(t != "adverse" for t in earlier)
        earlier.append(target)
        ax.scatter(
            rows["context_index"],
            rows["observed_mean"],
            s=size if of_context else size + larger,
            marker=marker,
            facecolors=color if of_context else "none",
            edgecolors="none" if of_context else color,
            linewidths=1.1,
            zorder=2.5 if of_context else 4,
            label=f"{shortened(rule_title(found, rule, lang), 70)} ({label})",
        )


def _name_marked(
    ax: Axes,
    merged: pd.DataFrame,
    marked: dict[str, list[str]],
    found: Any,
    names: Mapping[str, str] | None,
) -> None:
    """Name the marked schools: resilient ones first, then the others, as many as a page carries."""
    keys = merged["school_id"].astype(str)
    where = merged.assign(key=keys).drop_duplicates("key").set_index("key")
    order = ("resilient", "other", "low")
    telling = [r for r in marked if rule_target(found, r) in order] or list(marked)
    chosen: list[str] = []
    for rule in sorted(telling, key=lambda r: (*order, "adverse").index(rule_target(found, r))):
        here = [school for school in marked[rule] if school in where.index]
        if "effect" in where:  # the most telling first: the highest, or for low results the lowest
            sign = 1 if rule_target(found, rule) == "low" else -1
            effects = sign * where.loc[here, "effect"].astype(float)
            here = [school for _, school in sorted(zip(effects, here, strict=True))]
        chosen += [school for school in here if school not in chosen][: _MOST_NAMES - len(chosen)]
    x, y = (where[c].astype(float) for c in ("context_index", "observed_mean"))
    everyone = {school for schools in marked.values() for school in schools} & set(where.index)
    # A marked school weighs twice as much as a plain one among what a name should not hide.
    heavy = [(float(x[school]), float(y[school])) for school in sorted(everyone)]
    place_labels(
        ax,
        [(float(x[school]), float(y[school])) for school in chosen],
        [shortened(names.get(school, school) if names else school) for school in chosen],
        obstacles=[*zip(x, y, strict=True), *heavy],
    )
