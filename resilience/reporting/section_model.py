"""Sections on the model of school results and on the school effects."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resilience.plotting.canvas import figure_bytes
from resilience.plotting.caterpillar import plot_caterpillar
from resilience.plotting.funnel import plot_funnel
from resilience.plotting.inputs import figure_names, interval_kind, interval_note
from resilience.reporting import formulas
from resilience.reporting.draft import Draft, Markup, escape
from resilience.reporting.material import Material
from resilience.reporting.model_words import (
    known_size,
    of_marks,
    of_means,
    write_coefficients,
    write_convergence,
)
from resilience.reporting.random_parts import Parts, random_parts
from resilience.reporting.section_pupils import write_pupils

__all__ = ["write_effects", "write_model"]


def write_model(draft: Draft, material: Material) -> None:
    """Write the model: its formula, its coefficients, its variances."""
    va = material.va
    parts = random_parts(va)
    fixed = draft.ref("table", "fixed")
    draft.heading("model")
    draft.say("model_idea", formula=Markup(f"`{' '.join(str(va.formula).split())}`"))
    if of_means(va):
        _write_means(draft, va, parts)
    else:
        write_pupils(draft, parts)
    more = ["BrowneGoldsteinRasbash2001"] if parts.crossed or parts.shares else []
    if getattr(getattr(va, "intake", None), "prior_reliability", None) is not None:
        draft.say("model_calibrated")
        more.append("CarrollEtAl2006")
    draft.sources("RaudenbushBryk2002", "AitkinLongford1986", "BatesEtAl2015", *more)
    draft.say(
        "model_fit",
        method=Markup(draft.words(f"method_{va.method}")),
        criterion=draft.number(va.criterion, 2),
        fixed=fixed,
        variance=draft.ref("table", "variance"),
    )
    if va.icc == va.icc:  # not where the variance of pupils is unknown
        draft.say("model_icc", icc=draft.number(va.icc, 3))
    write_convergence(draft, getattr(va, "convergence", None))
    write_coefficients(draft, va)


def _write_means(draft: Draft, va: Any, parts: Parts) -> None:
    """Write the model of means and a sentence for each of its random parts."""
    draft.say("model_means_procedures" if parts.procedures else "model_means")
    draft.formula(
        *formulas.mean_model(
            years=parts.years,
            procedures=parts.procedures,
            cells=parts.cells,
            known_size=known_size(va),
        )
    )
    draft.say("model_symbols_means", table=draft.ref("table", "fixed"))
    if parts.drift:
        variance = draft.ref("table", "variance")
        draft.say(f"model_drift_{parts.drift}", symbol=Markup("$v_{jt}$"), table=variance)
    elif parts.years:
        draft.say("model_year", symbol=Markup("$v_{jt}$"))
    if parts.procedures:
        draft.say("model_procedure", symbol=Markup("$w_{jp}$"))
        if parts.cells:
            draft.say("model_cell", symbol=Markup(r"$\varepsilon_{jtp}$"))
        shared = float(getattr(va, "within_correlation", float("nan")))
        if shared == shared:
            draft.say("model_shared", r=draft.number(shared, 2))
    if parts.slopes:
        terms = Markup(", ".join(f"`{t}`" for t in parts.slopes))
        draft.say("model_slopes", terms=terms, symbol=Markup("$b_j$"))
    if parts.outer:
        draft.say("model_outer", levels=Markup(", ".join(f"`{t}`" for t in parts.outer)))


def write_effects(draft: Draft, material: Material) -> None:
    """Write how an effect, its interval and its rank come about, with the caterpillar."""
    va = material.va
    parts, level = random_parts(va), f"{100 * va.level:g} %"
    draft.heading("effects")
    _write_reliability(draft, va, parts)
    draft.say(f"effects_interval_{interval_kind(va.school_effects, va.level)}", level=level)
    _write_example(draft, va.school_effects, closed=_closed(va, parts))
    if "rank_expected" in va.school_effects:
        draft.say("effects_rank")
        draft.formula(formulas.EXPECTED_RANK)
    draft.say("effects_pairs")
    if "band" in va.school_effects:
        draft.say("effects_bands")
    draft.sources("RaudenbushBryk1985", "LairdLouis1989", "GoldsteinHealy1995")
    low, high = va.school_effects["conf_low"], va.school_effects["conf_high"]
    above, below = int((low > 0).sum()), int((high < 0).sum())
    draft.say(
        "effects_show",
        figure=draft.ref("figure", "effects"),
        table=draft.ref("table", "effects"),
        above=above,
        below=below,
        rest=len(low) - above - below,
    )
    names = figure_names(material.schools)
    ax = plot_caterpillar(va, lang=draft.lang, names=names)
    note = interval_note(va.school_effects, va.level).localized(draft.lang)
    draft.figure(
        "effects", figure_bytes(ax, "png"), "effects_figure_caption", interval=Markup(escape(note))
    )
    draft.say("funnel_show", figure=draft.ref("figure", "funnel"))
    ax = plot_funnel(va, lang=draft.lang, names=names)
    draft.sources("Spiegelhalter2005")
    draft.figure("funnel", figure_bytes(ax, "png"), "funnel_figure_caption")


def _closed(va: Any, parts: Parts) -> bool:
    """Return whether the precision of a school's data has a short formula: else it is in words."""
    return parts.closed and not of_marks(va)


def _write_reliability(draft: Draft, va: Any, parts: Parts) -> None:
    """Write how far a difference is believed, and what the precision behind it takes in."""
    closed, variance = _closed(va, parts), draft.ref("table", "variance")
    kind = "_marks" if of_marks(va) else "" if closed else "_all"
    draft.say(f"effects_reliability{kind}")
    precision = formulas.information(years=parts.years, known_size=known_size(va))
    draft.formula(
        formulas.EFFECT,
        formulas.RELIABILITY,
        *([precision] if closed else []),
        formulas.CONDITIONAL_SD,
    )
    if closed:
        draft.say("effects_information", table=variance)
    elif of_marks(va) or of_means(va):
        draft.say("effects_information_all", table=variance)
    else:
        where = "subjects" if parts.subjects else "slopes" if parts.slopes else "plain"
        draft.say(
            "effects_information_pupils",
            table=variance,
            what=Markup(draft.words(f"effects_variance_{where}")),
            variance=draft.number(float(va.variances["persistent"]), 4),
        )


def _write_example(draft: Draft, effects: pd.DataFrame, *, closed: bool) -> None:
    """Work one school through: the one of median size, so that the shrinkage is the usual one."""
    usable = effects[effects["reliability"] > 0] if "reliability" in effects else effects.iloc[:0]
    if usable.empty:
        return
    order = usable.assign(
        far=(usable["n_pupils"] - usable["n_pupils"].median()).abs(),
        key=usable["school_id"].astype(str),
    ).sort_values(["far", "key"], kind="stable")
    row = order.iloc[0]
    draft.say(
        "effects_example" if closed else "effects_example_all",
        school=str(row["school_id"]),
        difference=draft.number(row["effect"] / row["reliability"]),
        reliability=draft.number(row["reliability"]),
        effect=draft.number(row["effect"]),
        low=draft.number(row["conf_low"]),
        high=draft.number(row["conf_high"]),
    )
