"""Which random parts a model holds, read off its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["Parts", "level_of", "random_parts"]

_NO_SLOPES = ("Intercept", "", "1", "log_spread", "ar1")


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
    crossed : tuple of str
        Levels whose units cross the schools.
    other_slopes : tuple of (level, terms)
        Terms whose coefficient differs between units of these levels.
    drift : {"", "ar1", "unstructured"}
        How the years' effects hang together; empty where they are independent.
    shares : {"", "school"} or str
        The level to whose units pupils belong by shares: ``"school"`` for the schools.
    subjects : tuple of str
        Subjects fitted jointly.
    outer_by_subject : tuple of str
        Levels above the school whose effects differ by subject, as those of schools do.
    years_by_subject, linked : bool
        Whether the effects of single years differ by subject; whether the residuals of one pupil's
        subjects are correlated.
    weighted : bool
        Whether rows have precision weights.
    """

    years: bool
    procedures: bool
    cells: bool
    slopes: tuple[str, ...]
    outer: tuple[str, ...]
    crossed: tuple[str, ...] = ()
    other_slopes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    drift: str = ""
    shares: str = ""
    subjects: tuple[str, ...] = ()
    outer_by_subject: tuple[str, ...] = ()
    years_by_subject: bool = False
    linked: bool = False
    weighted: bool = False

    @property
    def closed(self) -> bool:
        """Whether the precision of a school's data has a short formula."""
        others = (self.procedures, self.slopes, self.outer, self.crossed, self.subjects)
        return not (any(others) or self.drift or self.shares or self.weighted)


def random_parts(va: Any) -> Parts:
    """Return the random parts of a model, read off its table of variances and its definition."""
    table = va.variance_components
    groups, terms = table["group"].astype(str), table["term"].astype(str)
    names = [name for name in dict.fromkeys(groups) if name != "residual"]
    school = str(getattr(va, "group", "school_id"))
    kinds = {name: level_of(va, name) for name in names}
    outer = [name for name, kind in kinds.items() if kind == "outer"]
    if school not in names and names:  # the school's level goes by another name, the last one
        school = names[-1]
        outer = [name for name in outer if name != school]
    nested, shares = _outside(va)
    time, subject = getattr(va, "time", None), getattr(va, "subject", None)
    by_year, by_subject = f"{time}=", f"{subject}="
    mine = terms[groups == school]
    drift = "unstructured" if mine.str.startswith(by_year).any() else ""
    passing = terms[groups.map(kinds).eq("school_year")]
    residual = terms[groups == "residual"]
    above = [name for name in outer if nested is None or name in nested]
    return Parts(
        years=time is not None,
        procedures="school_procedure" in kinds.values(),
        cells="cell" in kinds.values(),
        slopes=_slopes(mine, (by_year, by_subject)),
        outer=tuple(above),
        crossed=tuple(name for name in outer if name not in above),
        other_slopes=tuple(
            (name, found)
            for name in outer
            if (found := _slopes(terms[groups == name], (by_year, by_subject)))
        ),
        drift="ar1" if (terms == "ar1").any() else drift,
        shares="school" if shares == str(getattr(va, "group", "")) else shares,
        subjects=tuple(
            t.removeprefix(by_subject)
            for t in residual
            if t.startswith(by_subject) and "×" not in t
        ),
        outer_by_subject=tuple(
            name for name in above if terms[groups == name].str.startswith(by_subject).any()
        ),
        years_by_subject=bool(passing.str.startswith(by_subject).any()),
        linked=bool(table["correlation"][groups == "residual"].notna().any())
        if "correlation" in table
        else False,
        weighted=getattr(_structure(va), "weights", None) is not None,
    )


def _slopes(terms: pd.Series[str], categories: tuple[str, ...]) -> tuple[str, ...]:
    """Return the terms that are neither intercepts, effects by category, nor pairs of terms."""
    return tuple(
        t for t in terms if t not in _NO_SLOPES and not t.startswith(categories) and " × " not in t
    )


def _structure(va: Any) -> Any:
    return getattr(getattr(va, "definition", None), "structure", None)


def _outside(va: Any) -> tuple[Sequence[str] | None, str]:
    """Return the nested levels above the school, and the level that pupils belong to by shares.

    The levels are None where none crosses the schools: then all others are above them.
    """
    model = getattr(va, "definition", None)
    members = getattr(model, "members", None)
    if members is None and getattr(model, "crossed", None) is None:
        return None, ""
    group = getattr(model, "group", None) or ()
    listed = [group] if isinstance(group, str) else list(group)
    return listed[:-1], "" if members is None else str(members.level)


def level_of(va: Any, name: str) -> str:
    """Return which level of the model a name stands for.

    Returns
    -------
    str
        ``school``, ``school_year``, ``school_procedure``, ``cell``, ``residual``, or ``outer`` for
        every other level.
    """
    school, time = str(getattr(va, "group", "school_id")), getattr(va, "time", None)
    if name == "residual":
        return "residual"
    if name == school:
        return "school"
    rest = name.removeprefix(school)
    if not name.startswith(school) or rest[:1] not in (":", " ", "×"):
        return "outer"
    inside = rest.strip(" ×:").split(":")
    if len(inside) > 1:
        return "cell"
    return "school_year" if inside[0] == str(time) else "school_procedure"
