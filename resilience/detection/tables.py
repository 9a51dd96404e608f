"""The tables a rule may read, checked once, and what each criterion finds in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.logic import Answers
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns, check_not_empty, check_unique

__all__ = ["Found", "Tables", "gather"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """What a call brings; absent tables are None.

    Attributes
    ----------
    school_ids : ndarray of str
        Every school that occurs anywhere, sorted.
    effects, scores, counts, school_years, schools : DataFrame or None
        The binding tables.
    variances : mapping
        ``persistent``, ``transient``, ``residual``; may be empty.
    """

    school_ids: NDArray[np.object_]
    effects: pd.DataFrame | None
    scores: pd.DataFrame | None
    counts: pd.DataFrame | None
    school_years: pd.DataFrame | None
    schools: pd.DataFrame | None
    variances: Mapping[str, float]

    def need(self, name: str, rule: str) -> pd.DataFrame:
        """Return a table or say which rule needs it."""
        table: pd.DataFrame | None = getattr(self, name)
        if table is None:
            raise SpecificationError(text("detection.table", table=name, rule=rule))
        return table

    def latest(self, name: str, rule: str) -> pd.DataFrame:
        """Return the latest row of every school, indexed by all schools (gaps where absent)."""
        table = self.need(name, rule)
        if "year" in table.columns:
            table = table.sort_values("year", kind="stable").drop_duplicates(
                "school_id", keep="last"
            )
        return table.set_index("school_id").reindex(self.school_ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What one criterion found, one entry per school.

    Attributes
    ----------
    answers : ndarray of int8
        Yes, no, unknown.
    value, threshold, probability : ndarray of float
        NaN where there is none.
    reason : ndarray of object
        `Bilingual` or an empty string.
    """

    answers: Answers
    value: Floats
    threshold: Floats
    probability: Floats
    reason: NDArray[np.object_]


def gather(
    effects: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    *,
    counts: pd.DataFrame | None,
    school_years: pd.DataFrame | None,
    schools: pd.DataFrame | None,
    variances: Mapping[str, float] | None,
) -> Tables:
    """Check the tables' keys and values and list the schools."""
    needed = {
        "effects": (effects, ["effect", "conditional_sd", "reliability", "n_pupils"]),
        "scores": (scores, ["context_index"]),
        "counts": (counts, ["year", "procedure", "n_participants", "n_below_minimum"]),
        "school_years": (school_years, ["residual", "sampling_variance"]),
        "schools": (schools, []),
    }
    ids: list[pd.Series[str]] = []
    for name, (table, columns) in needed.items():
        if table is None:
            continue
        check_not_empty(table, table=name)
        check_columns(table, ["school_id", *columns], table=name)
        ids.append(table["school_id"].astype(str))
    if not ids:
        raise SpecificationError(text("detection.no_tables"))
    if effects is not None:
        check_unique(effects, ["school_id"], table="effects")
        _check_effects(effects)
    if scores is not None:
        key = ["school_id", "year"] if "year" in scores.columns else ["school_id"]
        check_unique(scores, key, table="scores")
    return Tables(
        school_ids=np.unique(pd.concat(ids).to_numpy(dtype=object)),
        effects=_as_text(effects),
        scores=_as_text(scores),
        counts=_as_text(counts),
        school_years=_as_text(school_years),
        schools=_as_text(schools),
        variances=dict(variances or {}),
    )


def _as_text(table: pd.DataFrame | None) -> pd.DataFrame | None:
    if table is None:
        return None
    return table.assign(school_id=table["school_id"].astype(str).to_numpy(dtype=object))


def _check_effects(effects: pd.DataFrame) -> None:
    for name in ("effect", "conditional_sd", "reliability"):
        values = effects[name].to_numpy(dtype=float)
        bad = ~np.isfinite(values) | (values < (-np.inf if name == "effect" else 0.0))
        if name == "reliability":
            bad |= values > 1
        if bad.any():
            school = effects.loc[bad, "school_id"].iloc[0]
            raise DataError(
                text(
                    "detection.effect_value",
                    column=repr(name),
                    school=school,
                    value=values[bad][0],
                    n=int(bad.sum()),
                )
            )


def blank(n: int, reason: Bilingual | str = "") -> NDArray[np.object_]:
    """Return an array of n equal reasons."""
    found = np.empty(n, dtype=object)
    found[:] = [reason] * n
    return found
