"""The parts of a model in words: its levels, its terms, how its fit ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.columns import label
from resilience.reporting.draft import Draft

__all__ = [
    "Parts",
    "known_size",
    "level_words",
    "named_levels",
    "of_marks",
    "of_means",
    "random_parts",
    "term_words",
    "write_convergence",
    "write_coefficients",
]

_FIXED = ["term", "estimate", "std_error", "conf_low", "conf_high"]
_VARIANCE = ["group", "term", "variance", "std_dev", "correlation"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Which random parts the table of variances shows.

    Attributes
    ----------
    years, procedures, cells : bool
        School × year, school × procedure, school × year × procedure.
    slopes : tuple of str
        Terms whose coefficient differs between schools.
    outer : tuple of str
        Levels above the school.
    drift : {"", "ar1", "unstructured"}
        How the years' effects hang together; empty where they are independent.
    """

    years: bool
    procedures: bool
    cells: bool
    slopes: tuple[str, ...]
    outer: tuple[str, ...]
    drift: str = ""


def random_parts(va: Any) -> Parts:
    """Return the random parts of a model, read off its table of variances."""
    table = va.variance_components
    names = [str(g) for g in dict.fromkeys(table["group"].astype(str)) if str(g) != "residual"]
    school = str(getattr(va, "group", "school_id"))
    kinds = {name: _level(va, name) for name in names}
    mine = table[table["group"].astype(str) == school]
    outer = [name for name, kind in kinds.items() if kind == "outer"]
    if mine.empty and names:  # the school's level goes by another name, the last one
        mine = table[table["group"].astype(str) == names[-1]]
        outer = [name for name in outer if name != names[-1]]
    by_year = f"{getattr(va, 'time', None)}="
    drift = "unstructured" if mine["term"].astype(str).str.startswith(by_year).any() else ""
    if (table["term"].astype(str) == "ar1").any():
        drift = "ar1"
    terms = [
        t
        for t in mine["term"].astype(str)
        if t not in ("Intercept", "", "1", "log_spread") and by_year not in t and " × " not in t
    ]
    return Parts(
        years=getattr(va, "time", None) is not None,
        procedures="school_procedure" in kinds.values(),
        cells="cell" in kinds.values(),
        slopes=tuple(terms),
        outer=tuple(outer),
        drift=drift,
    )


def _level(va: Any, name: str) -> str:
    """Return which level of the model a name stands for."""
    school, time = str(getattr(va, "group", "school_id")), getattr(va, "time", None)
    if name == "residual":
        return "residual"
    if name == school:
        return "school"
    if not name.startswith(school):
        return "outer"
    rest = name.removeprefix(school).strip(" ×:").split(":")
    if len(rest) > 1:
        return "cell"
    return "school_year" if rest[0] == str(time) else "school_procedure"


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
    shown["group"] = [level_words(draft, va, str(g)) for g in shown["group"]]
    shown["term"] = [term_words(draft, str(t)) for t in shown["term"]]
    if "correlation" in shown and shown["correlation"].isna().all():
        shown = shown.drop(columns="correlation")
    return shown


def level_words(draft: Draft, va: Any, name: str) -> str:
    """Return the name of a level of the model in words."""
    kind = _level(va, name)
    return label(name, draft.lang) if kind == "outer" else draft.words(f"level_{kind}")


def term_words(draft: Draft, name: str) -> str:
    """Return a term of the model in words, with its name in the formula."""
    if name in ("", "Intercept"):
        return draft.words("term_intercept") if name else ""
    if name == "log_spread":
        return draft.words("term_log_spread")
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
    draft.table("variance", named_levels(draft, va), "variance_caption")


def write_convergence(draft: Draft, convergence: Any) -> None:
    """Write what was not in order with the fit; nothing where it was."""
    if convergence is None:
        return
    if not convergence.converged:
        draft.say("model_not_converged")
    if convergence.singular:
        draft.say("model_singular")
