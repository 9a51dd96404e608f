"""The parts of a model in words: its levels, its terms, how its fit ended."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.reporting.draft import Draft
from resilience.reporting.random_parts import level_of

__all__ = [
    "known_size",
    "level_words",
    "named_levels",
    "of_marks",
    "of_means",
    "term_words",
    "write_convergence",
    "write_coefficients",
]

_CATEGORY = re.compile(r"(?:C\()?(?P<column>\w+)(?:\)|, [^\[\]]*\))?\[T\.(?P<value>[^\[\]]+)\]")
_FIXED = ["term", "estimate", "std_error", "conf_low", "conf_high"]
_VARIANCE = ["group", "term", "variance", "std_dev", "correlation"]


def of_marks(va: Any) -> bool:
    """Return whether a model rests on counts of marks, alone or beside means."""
    return any(kind.__name__ == "OrdinalSchoolResults" for kind in type(va).__mro__)


def of_means(va: Any) -> bool:
    """Return whether a model rests on means of schools."""
    return any(kind.__name__ == "SchoolLevelResults" for kind in type(va).__mro__)


def known_size(va: Any) -> bool:
    """Return whether the sampling variance of a mean is a pupil variance over the pupils."""
    if not of_means(va):
        return True
    groups = va.variance_components.set_index("group")["variance"]
    return bool("residual" in groups.index and pd.notna(groups["residual"]))


def named_levels(draft: Draft, va: Any) -> pd.DataFrame:
    """Return the table of variances with its levels and terms in words."""
    table: pd.DataFrame = va.variance_components
    shown = table[[c for c in _VARIANCE if c in table]].astype({"group": object, "term": object})
    pairs = list(zip(table["group"].astype(str), table["term"].astype(str), strict=True))
    shown["group"] = [level_words(draft, va, group, term) for group, term in pairs]
    shown["term"] = [term_words(draft, term) for _, term in pairs]
    if "correlation" in shown and shown["correlation"].isna().all():
        shown = shown.drop(columns="correlation")
    return shown


def level_words(draft: Draft, va: Any, name: str, term: str = "") -> str:
    """Return the name of a level of the model in words; ``term`` tells how its years hang."""
    kind = level_of(va, name)
    if kind == "outer":
        return label(name, draft.lang)
    if kind == "school_year" and term == "ar1":
        return draft.words("level_school_fading")
    if kind == "school" and term.startswith(f"{getattr(va, 'time', None)}="):
        return draft.words("level_school_years")
    return draft.words(f"level_{kind}")


def term_words(draft: Draft, name: str) -> str:
    """Return a term of the model in words, with its name in the formula."""
    if name in ("", "Intercept"):
        return draft.words("term_intercept") if name else ""
    if name in ("log_spread", "ar1"):
        return draft.words(f"term_{name}")
    if " × " in name:  # the correlation of two terms
        return " × ".join(term_words(draft, part) for part in name.split(" × "))
    column, _, value = name.partition("=")
    if value and column.isidentifier():  # an effect of one year or subject
        return f"{label(column, draft.lang)}: {value}"
    category = _CATEGORY.fullmatch(name)
    if category:  # a category beside the first one, as formulaic names it
        return f"{label(category['column'], draft.lang)}: {category['value']} ({name})"
    words = label(name, draft.lang)
    base = name.removesuffix("_mean")
    if words == name != base and label(base, draft.lang) != base:
        words = draft.words("term_school_mean", term=label(base, draft.lang))
    return name if words == name else f"{words} ({name})"


def write_coefficients(draft: Draft, va: Any) -> None:
    """Write the tables of coefficients, where there are any, and of variances."""
    level = f"{100 * va.level:g} %"
    shown = va.fixed_effects[[c for c in _FIXED if c in va.fixed_effects]].astype({"term": object})
    shown["term"] = [term_words(draft, str(t)) for t in shown["term"]]
    if len(shown):
        draft.table("fixed", shown, "fixed_caption", level=level)
    shown = named_levels(draft, va)
    draft.table("variance", shown, "variance_caption")
    table = va.variance_components
    terms = table["term"].astype(str)
    if "correlation" in table and table["correlation"][terms != "ar1"].notna().any():
        pairs = terms.str.contains(" × ").any()
        key = "variance_pairs" if pairs else "variance_correlations"
        draft.say(key, table=draft.ref("table", "variance"))


def write_convergence(draft: Draft, convergence: Any) -> None:
    """Write what was not in order with the fit; nothing where it was."""
    if convergence is None:
        return
    if not convergence.converged:
        draft.say("model_not_converged")
    if convergence.singular:
        draft.say("model_singular")
