"""Section on the context index, with results set against it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.context import plot_context
from resilience.plotting.inputs import figure_names
from resilience.reporting import formulas
from resilience.reporting.draft import Draft, Markup, escape, localized
from resilience.reporting.material import Material

__all__ = ["write_context_figure", "write_index"]


def write_index(draft: Draft, material: Material) -> None:
    """Write how the index is made and read, its weights and its quality."""
    index = material.index
    draft.heading("index")
    kind = getattr(index, "index_kind", "")
    draft.say("index_idea", kind=localized(kind, draft.lang) or "—")
    draft.say("index_formula")
    draft.formula(*formulas.INDEX)
    draft.say("index_reading")
    if getattr(index, "base_year", None) is not None:
        draft.say("index_base_year", year=str(index.base_year))
    draft.say("index_weights", table=draft.ref("table", "weights"))
    draft.table("weights", _weights(draft, index.weights), "index_weights_caption")
    r2 = getattr(index, "r2_cv", None)
    if r2 is not None and r2 == r2:
        draft.say("index_quality", r2=draft.number(100 * r2, 0) + Markup(" %"))
    scores = draft.ref("table", "scores")
    reliability = index.scores.get("context_reliability", pd.Series(dtype=float)).mean()
    if reliability == reliability:
        draft.say("index_error", reliability=draft.number(reliability, 2), table=scores)
    else:
        draft.say("index_scores", table=scores)
    draft.sources("Yastrebov2014")
    notes = [n for n in getattr(index, "notes", ()) if n]
    if notes:
        draft.say("index_notes")
        draft.bullets([escape(localized(n, draft.lang)) for n in notes])


def _weights(draft: Draft, weights: pd.DataFrame) -> pd.DataFrame:
    names = [c for c in ("term", "direction", "estimate", "conf_low", "conf_high") if c in weights]
    shown = weights[names].astype({c: object for c in ("term", "direction") if c in names})
    shown["term"] = [label(str(t), draft.lang) for t in shown["term"]]
    if "direction" in shown:
        shown["direction"] = [_direction(draft, d) for d in shown["direction"]]
    for limit in ("conf_low", "conf_high"):
        if limit in shown and shown[limit].isna().all():
            shown = shown.drop(columns=limit)
    return shown


def _direction(draft: Draft, direction: Any) -> str:
    try:
        return draft.words(
            "index_direction_plus" if float(direction) > 0 else "index_direction_minus"
        )
    except (TypeError, ValueError):
        return str(direction)


def write_context_figure(draft: Draft, material: Material) -> None:
    """Write results against context: the figure with the expected line and the named schools."""
    draft.say("context_show", figure=draft.ref("figure", "context"))
    ax = plot_context(
        material.va,
        material.index,
        found=material.found,
        names=figure_names(material.schools),
        lang=draft.lang,
    )
    caption = "context_figure_plain" if material.found is None else "context_figure_caption"
    draft.figure("context", figure_bytes(ax, "png"), caption)
