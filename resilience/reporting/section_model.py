"""Sections on the model of school results and on the school effects."""

from __future__ import annotations

from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.caterpillar import plot_caterpillar
from resilience.plotting.inputs import figure_names, interval_kind, interval_note
from resilience.reporting import formulas
from resilience.reporting.draft import Draft, Markup, escape
from resilience.reporting.material import Material

__all__ = ["write_effects", "write_model"]

_FIXED = ["term", "estimate", "std_error", "conf_low", "conf_high"]
_VARIANCE = ["group", "term", "variance", "std_dev", "correlation"]


def write_model(draft: Draft, material: Material) -> None:
    """Write the model: its formula, its coefficients, its variances."""
    va = material.va
    parts = _random_parts(va)
    fixed = draft.ref("table", "fixed")
    draft.heading("model")
    draft.say("model_idea", formula=Markup(f"`{' '.join(str(va.formula).split())}`"))
    if _of_means(va):
        draft.say("model_means")
        draft.formula(*formulas.mean_model(years=parts.years, known_size=_known_size(va)))
        draft.say("model_symbols_means", table=fixed)
    else:
        draft.say("model_pupils_years" if parts.years else "model_pupils")
        draft.formula(
            *formulas.pupil_model(
                years=parts.years, slopes=bool(parts.slopes), outer=bool(parts.outer)
            )
        )
        draft.say("model_symbols", table=fixed)
    if parts.years:
        draft.say("model_year", symbol=Markup("$v_{jt}$"))
    if parts.slopes:
        draft.say("model_slopes", terms=Markup(", ".join(f"`{t}`" for t in parts.slopes)))
    if parts.outer:
        draft.say("model_outer", levels=Markup(", ".join(f"`{t}`" for t in parts.outer)))
    draft.sources("RaudenbushBryk2002", "AitkinLongford1986", "BatesEtAl2015")
    draft.say(
        "model_fit",
        method=Markup(draft.words(f"method_{va.method}")),
        criterion=draft.number(va.criterion, 2),
        fixed=fixed,
        variance=draft.ref("table", "variance"),
    )
    if va.icc == va.icc:  # not where the variance of pupils is unknown
        draft.say("model_icc", icc=draft.number(va.icc, 3))
    _write_convergence(draft, getattr(va, "convergence", None))
    level = f"{100 * va.level:g} %"
    shown = va.fixed_effects[[c for c in _FIXED if c in va.fixed_effects]].astype({"term": object})
    shown["term"] = [_term(draft, str(t)) for t in shown["term"]]
    draft.table("fixed", shown, "fixed_caption", level=level)
    draft.table("variance", _named_levels(draft, va), "variance_caption")


def _write_convergence(draft: Draft, convergence: Any) -> None:
    if convergence is None:
        return
    if not convergence.converged:
        draft.say("model_not_converged")
    if convergence.singular:
        draft.say("model_singular")


class _Parts:
    """Which random parts the table of variances shows."""

    def __init__(self, years: bool, slopes: list[str], outer: list[str]) -> None:
        self.years, self.slopes, self.outer = years, slopes, outer


def _random_parts(va: Any) -> _Parts:
    table = va.variance_components
    levels = [str(g) for g in dict.fromkeys(table["group"].astype(str)) if str(g) != "residual"]
    school = str(getattr(va, "group", "school_id"))
    time = getattr(va, "time", None)
    years = time is not None
    at = levels.index(school) if school in levels else len(levels) - 1 - int(years)
    mine = table[table["group"].astype(str) == levels[at]] if levels else table.iloc[:0]
    slopes = [str(t) for t in mine["term"] if str(t) not in ("Intercept", "", "1")]
    return _Parts(years, slopes, levels[: max(at, 0)])


def _of_means(va: Any) -> bool:
    return any(kind.__name__ == "SchoolLevelResults" for kind in type(va).__mro__)


def _known_size(va: Any) -> bool:
    """Return whether the sampling variance of a mean is a pupil variance over the pupils."""
    if not _of_means(va):
        return True
    groups = va.variance_components.set_index("group")["variance"]
    return bool("residual" in groups.index and pd.notna(groups["residual"]))


def _named_levels(draft: Draft, va: Any) -> pd.DataFrame:
    table: pd.DataFrame = va.variance_components
    shown = table[[c for c in _VARIANCE if c in table]].astype({"group": object, "term": object})
    shown["group"] = [_level(draft, va, str(g)) for g in shown["group"]]
    shown["term"] = [_term(draft, str(t)) for t in shown["term"]]
    if "correlation" in shown and shown["correlation"].isna().all():
        shown = shown.drop(columns="correlation")
    return shown


def _level(draft: Draft, va: Any, name: str) -> str:
    """Return the name of a level of the model in words."""
    if name == "residual":
        return draft.words("level_residual")
    if name == str(getattr(va, "group", "school_id")):
        return draft.words("level_school")
    if getattr(va, "time", None) is not None and name.startswith(str(va.group)):
        return draft.words("level_school_year")
    return label(name, draft.lang)


def _term(draft: Draft, name: str) -> str:
    """Return a term of the model in words, with its name in the formula."""
    if name in ("", "Intercept"):
        return draft.words("term_intercept") if name else ""
    words = label(name, draft.lang)
    base = name.removesuffix("_mean")
    if words == name != base and label(base, draft.lang) != base:
        words = draft.words("term_school_mean", term=label(base, draft.lang))
    return name if words == name else f"{words} ({name})"


def write_effects(draft: Draft, material: Material) -> None:
    """Write how an effect, its interval and its rank come about, with the caterpillar."""
    va = material.va
    parts, level = _random_parts(va), f"{100 * va.level:g} %"
    draft.heading("effects")
    draft.say("effects_reliability")
    draft.formula(
        formulas.EFFECT,
        formulas.RELIABILITY,
        formulas.information(years=parts.years, known_size=_known_size(va)),
        formulas.CONDITIONAL_SD,
    )
    draft.say("effects_information", table=draft.ref("table", "variance"))
    draft.say(f"effects_interval_{interval_kind(va.school_effects, va.level)}", level=level)
    _write_example(draft, va.school_effects)
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
    ax = plot_caterpillar(va, lang=draft.lang, names=figure_names(material.schools))
    note = interval_note(va.school_effects, va.level).localized(draft.lang)
    draft.figure(
        "effects", figure_bytes(ax, "png"), "effects_figure_caption", interval=Markup(escape(note))
    )


def _write_example(draft: Draft, effects: pd.DataFrame) -> None:
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
        "effects_example",
        school=str(row["school_id"]),
        difference=draft.number(row["effect"] / row["reliability"]),
        reliability=draft.number(row["reliability"]),
        effect=draft.number(row["effect"]),
        low=draft.number(row["conf_low"]),
        high=draft.number(row["conf_high"]),
    )
