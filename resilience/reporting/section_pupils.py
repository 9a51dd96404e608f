"""The model of pupils in plain words: whose effects it holds and how they hang together."""

from __future__ import annotations

from resilience.reporting.draft import Draft, Markup, escape
from resilience.reporting.pupil_formulas import pupil_model, school_symbol, year_symbol
from resilience.reporting.random_parts import Parts

__all__ = ["write_pupils"]


def write_pupils(draft: Draft, parts: Parts) -> None:
    """Write the formula of a model of pupils and a sentence for each of its random parts."""
    place = "_shares" if parts.shares == "school" else "_subjects" if parts.subjects else ""
    share = Markup(r"$\omega_{ik}$")
    draft.say(f"model_pupils{'_years' if parts.years else ''}{place}", share=share)
    draft.formula(*pupil_model(parts))
    effect = Markup(f"${school_symbol(parts)}$")
    draft.say("model_symbols", table=draft.ref("table", "fixed"), effect=effect)
    if parts.subjects:
        _write_subjects(draft, parts)
    symbol, variance = Markup(f"${year_symbol(parts)}$"), draft.ref("table", "variance")
    if parts.drift:
        draft.say(f"model_drift_{parts.drift}", symbol=symbol, table=variance)
    elif parts.years:
        draft.say("model_year", symbol=symbol)
    if parts.shares == "school":
        draft.say("model_shares", share=share)
    if parts.slopes:
        own = "$b_k$" if parts.shares == "school" else "$b_j$"
        draft.say("model_slopes", terms=_named(parts.slopes), symbol=Markup(own))
    if parts.outer:
        draft.say("model_outer", levels=_named(parts.outer))
        if parts.outer_by_subject:
            draft.say("model_outer_subjects", levels=_named(parts.outer_by_subject))
    whole = tuple(name for name in parts.crossed if name != parts.shares)
    if whole:
        draft.say("model_crossed", levels=_named(whole), symbol=Markup("$c$"))
    if len(whole) < len(parts.crossed):
        shared = _named((parts.shares,))
        draft.say("model_shares_other", level=shared, symbol=Markup("$a_k$"), share=share)
    for level, terms in parts.other_slopes:
        draft.say("model_slopes_other", level=_named((level,)), terms=_named(terms), table=variance)


def _write_subjects(draft: Draft, parts: Parts) -> None:
    variance = draft.ref("table", "variance")
    names = Markup(", ".join(escape(name) for name in parts.subjects))
    draft.say("model_subjects", subjects=names, table=variance)
    draft.say("model_subjects_linked" if parts.linked else "model_subjects_apart", table=variance)


def _named(names: tuple[str, ...]) -> Markup:
    return Markup(", ".join(f"`{name}`" for name in names))
