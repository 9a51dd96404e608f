"""What a plot takes from a result or from a bare table: frames, levels, names, nothing computed."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns, check_fraction

__all__ = [
    "check_verdicts",
    "effects_of",
    "figure_names",
    "frame_of",
    "interval_kind",
    "interval_note",
    "latest_scores",
    "level_of",
    "rule_target",
    "rule_title",
    "rules_of",
    "school_names",
    "scores_of",
]

_USUAL_LEVELS = (0.8, 0.9, 0.95, 0.99)


def effects_of(va: Any) -> pd.DataFrame:
    """Return the table of school effects of a result, or the table itself."""
    return frame_of(va, "school_effects")


def scores_of(index: Any) -> pd.DataFrame:
    """Return the table of context scores of a result, or the table itself."""
    return frame_of(index, "scores")


def frame_of(source: Any, attribute: str) -> pd.DataFrame:
    """Return a table of a result, or the table itself."""
    frame = source if isinstance(source, pd.DataFrame) else getattr(source, attribute, None)
    if not isinstance(frame, pd.DataFrame):
        raise SpecificationError(
            text("plotting.no_frame", kind=type(source).__name__, attribute=attribute)
        )
    return frame


def level_of(va: Any, level: float | None) -> float | None:
    """Return the coverage of the intervals: the result's own, or the one the caller states."""
    own = None if isinstance(va, pd.DataFrame) else getattr(va, "level", None)
    if level is None:
        return None if own is None else float(own)
    check_fraction(level, argument="level", closed=False)
    if own is not None and not np.isclose(own, level):
        raise SpecificationError(text("plotting.level", level=level, own=own))
    return float(level)


def interval_kind(
    effects: pd.DataFrame, level: float | None = None
) -> Literal["std_error", "conditional_sd", "unknown"]:
    """Return which column of errors the intervals of the table rest on.

    Published systems differ in the standard error they print, so the table is read: the half-width
    of its intervals is the normal quantile of the level (or, where the level is not known, of a
    usual one) times one of its columns.
    """
    half = (effects["conf_high"] - effects["conf_low"]).to_numpy(dtype=float) / 2
    levels = _USUAL_LEVELS if level is None else (level,)
    quantiles = np.array([NormalDist().inv_cdf((1 + p) / 2) for p in levels])
    names: tuple[Literal["std_error", "conditional_sd"], ...] = ("std_error", "conditional_sd")
    for name in names:
        if name not in effects:
            continue
        error = effects[name].to_numpy(dtype=float)
        used = (error > 0) & np.isfinite(half)
        ratio = half[used] / error[used]
        # A thousandth lets 1.96 stand for 1.959964.
        if used.any() and (np.abs(ratio - quantiles[:, None]) < 1e-3).all(axis=1).any():
            return name
    return "unknown"


def interval_note(effects: pd.DataFrame, level: float | None) -> Bilingual:
    """Return which interval the table holds and which standard error it rests on."""
    percent = "" if level is None else f"{100 * level:g} %"
    return text(f"plotting.interval_{interval_kind(effects, level)}", level=percent)


def latest_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return each school's context score of its latest year, one row per school."""
    check_columns(scores, ["school_id", "context_index"], table="context_scores")
    if "year" in scores:
        scores = scores.sort_values(["school_id", "year"], kind="stable")
    return scores.drop_duplicates("school_id", keep="last").reset_index(drop=True)


def check_verdicts(found: Any, *tables: str) -> None:
    """Raise unless an object holds verdicts in these tables, as `DetectionResults` does.

    Raises
    ------
    SpecificationError
        Naming the type.
    """
    there = [isinstance(getattr(found, name, None), pd.DataFrame) for name in tables]
    if isinstance(found, pd.DataFrame) or not all(there):
        raise SpecificationError(text("plotting.no_verdicts", kind=type(found).__name__))


def rules_of(found: Any, rule_id: str | None) -> list[str]:
    """Return the ids of the rules to show, in the order in which they were applied.

    Raises
    ------
    DataError
        If the result does not hold the rule asked for.
    SpecificationError
        If the object holds no verdicts.
    """
    check_verdicts(found, "schools")
    check_columns(found.schools, ["school_id", "rule_id", "verdict"], table="verdicts")
    known = list(dict.fromkeys(str(v) for v in found.schools["rule_id"]))
    if rule_id is None:
        return known
    if rule_id not in known:
        raise DataError(text("plotting.rule_absent", rule=rule_id, options=", ".join(known)))
    return [rule_id]


def rule_title(found: Any, rule_id: str, lang: str) -> str:
    """Return the title of a rule, or its id where the result holds no title."""
    title = getattr(_rule(found, rule_id), "title", None)
    return rule_id if title is None else str(title(lang))


def rule_target(found: Any, rule_id: str) -> str:
    """Return what a yes of the rule means: ``resilient``, ``low``, ``adverse`` or ``other``."""
    target = str(getattr(_rule(found, rule_id), "target", "other"))
    return target if target in ("resilient", "low", "adverse") else "other"


def _rule(found: Any, rule_id: str) -> Any:
    return next((r for r in getattr(found, "rules", ()) if r.id == rule_id), None)


def school_names(schools: pd.DataFrame | None) -> Mapping[str, str]:
    """Return the name of each school of the table, empty where there is no such column."""
    if schools is None or "name" not in schools or "school_id" not in schools:
        return {}
    last = schools.dropna(subset=["name"]).drop_duplicates("school_id", keep="last")
    return {str(k): str(v) for k, v in zip(last["school_id"], last["name"], strict=True)}


def figure_names(schools: pd.DataFrame | None, most: int = 26) -> Mapping[str, str]:
    """Return names that figures can carry: empty where cutting them would make two alike."""
    names = school_names(schools)
    short = [name[:most] for name in names.values()]
    return names if len(set(short)) == len(short) else {}
