"""The tables a rule may read, checked once, and what each criterion finds in them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.schema import MARKS
from resilience.detection.verdicts.logic import Answers
from resilience.detection.verdicts.school_ids import check_same_spelling, ids_as_text
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    nearest_names,
)

__all__ = ["Found", "Tables", "blank", "gather"]

Floats = NDArray[np.float64]
VARIANCES = (
    "persistent",
    "transient",
    "residual",
    "context_slope",
    "lag_correlation",
    "subject_correlation",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """What a call brings; absent tables are None.

    Attributes
    ----------
    school_ids : ndarray of str
        Every school that occurs anywhere, sorted.
    effects, scores, counts, school_years, schools : DataFrame or None
        The binding tables; counts are added up over classes.
    variances : mapping
        ``persistent``, ``transient``, ``residual``, ``context_slope``, ``lag_correlation``,
        ``subject_correlation``; may be empty.
    cache : dict
        What several rules of one call share: a fitted model of the counts.
    """

    school_ids: NDArray[np.object_]
    effects: pd.DataFrame | None
    scores: pd.DataFrame | None
    counts: pd.DataFrame | None
    school_years: pd.DataFrame | None
    schools: pd.DataFrame | None
    variances: Mapping[str, float]
    cache: dict[Hashable, Any] = field(default_factory=dict)

    def need(self, name: str, rule: str) -> pd.DataFrame:
        """Return a table or say which rule needs it."""
        table: pd.DataFrame | None = getattr(self, name)
        if table is None:
            raise SpecificationError(text("detection.table", table=name, rule=rule))
        return table

    def latest(self, name: str, rule: str, year: int | None = None) -> pd.DataFrame:
        """Return the latest row of every school up to ``year``, indexed by all schools."""
        table = self.need(name, rule)
        if "year" in table.columns:
            if year is not None:
                table = table[table["year"] <= year]
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
        NaN where there is none; value and threshold are in the same unit.
    reason : ndarray of object
        `Bilingual` or an empty string.
    certain : ndarray of int8 or None
        The answers if only shares whose interval lies beyond the bound counted (share criteria).
    long_run : DataFrame or None
        Long-run shares of each school in each procedure (criteria judged by the model of counts).
    notes : tuple of Bilingual
        What a reader must know about this criterion.
    """

    answers: Answers
    value: Floats
    threshold: Floats
    probability: Floats
    reason: NDArray[np.object_]
    certain: Answers | None = None
    long_run: pd.DataFrame | None = None
    notes: tuple[Bilingual, ...] = ()


def gather(
    effects: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    *,
    counts: pd.DataFrame | None,
    school_years: pd.DataFrame | None,
    schools: pd.DataFrame | None,
    variances: Mapping[str, float] | None,
) -> Tables:
    """Check the tables' keys and values and list the schools.

    Raises
    ------
    DataError
        If a table is empty, lacks a column, repeats a key, or holds an impossible value.
    SpecificationError
        If no table is given, one is not a table, or a variance is unknown.
    """
    needed = {
        "effects": (effects, ["effect"]),
        "scores": (scores, ["context_index"]),
        "counts": (counts, ["year", "procedure", "n_participants", "n_below_minimum"]),
        "school_years": (school_years, ["residual"]),
        "schools": (schools, []),
    }
    read: dict[str, pd.DataFrame | None] = {}
    for name, (table, columns) in needed.items():
        read[name] = None if table is None else _read(table, name, columns)
    given = {name: t["school_id"] for name, t in read.items() if t is not None}
    if not given:
        raise SpecificationError(text("detection.no_tables"))
    check_same_spelling(given)
    if read["effects"] is not None:
        check_unique(read["effects"], ["school_id"], table="effects")
        _check_range(read["effects"], "effects", {"effect": (-np.inf, np.inf)}, gaps=False)
        _check_range(
            read["effects"],
            "effects",
            {
                "conditional_sd": (0.0, np.inf),
                "std_error": (0.0, np.inf),
                "reliability": (0.0, 1.0),
                "n_pupils": (0.0, np.inf),
                "n_years": (0.0, np.inf),
            },
            gaps=False,
        )
    if read["scores"] is not None:
        bounds = {
            "context_index": (-np.inf, np.inf),
            "context_index_std_error": (0.0, np.inf),
            "context_reliability": (0.0, 1.0),
            "context_coverage": (0.0, 1.0 + 1e-9),
        }
        _check_range(read["scores"], "scores", bounds, gaps=True)
    if read["school_years"] is not None:
        bounds = {
            "residual": (-np.inf, np.inf),
            "sampling_variance": (0.0, np.inf),
            "n_pupils": (0.0, np.inf),
        }
        _check_range(read["school_years"], "school_years", bounds, gaps=True)
    if read["counts"] is not None:
        read["counts"] = _added_up(read["counts"])
    return Tables(
        school_ids=np.unique(pd.concat(list(given.values())).to_numpy(dtype=object)),
        effects=read["effects"],
        scores=read["scores"],
        counts=read["counts"],
        school_years=read["school_years"],
        schools=read["schools"],
        variances=_checked_variances(variances or {}),
    )


def _read(table: pd.DataFrame, name: str, columns: list[str]) -> pd.DataFrame:
    """Return a copy with text ids after the checks that all tables share."""
    if not isinstance(table, pd.DataFrame):
        raise SpecificationError(
            text("detection.not_a_frame", table=name, kind=type(table).__name__)
        )
    check_not_empty(table, table=name)
    check_columns(table, ["school_id", *columns], table=name)
    check_finite(table, ["school_id"], table=name)
    found = table.assign(school_id=ids_as_text(table["school_id"]))
    if "year" in found.columns:
        check_numeric(found, ["year"], table=name)
        check_finite(found, ["year"], table=name, unit="school_id")
        part = found["year"][found["year"] % 1 != 0]
        if len(part):
            raise DataError(text("verdicts.year", table=name, value=part.iloc[0], n=len(part)))
        found = found.assign(year=found["year"].to_numpy(dtype=np.int64))
    if name != "counts":
        key = [c for c in ("school_id", "year") if c in found.columns]
        if name == "school_years" and "subject" in found.columns:
            key.append("subject")
        check_unique(found, key, table=name)
    return found.reset_index(drop=True)


def _check_range(
    table: pd.DataFrame,
    name: str,
    bounds: Mapping[str, tuple[float, float]],
    *,
    gaps: bool,
) -> None:
    """Raise for a value outside its range; with ``gaps`` a missing value is allowed."""
    present = [c for c in bounds if c in table.columns]
    check_numeric(table, present, table=name)
    for column in present:
        low, high = bounds[column]
        values = table[column].to_numpy(dtype=float, na_value=np.nan)
        with np.errstate(invalid="ignore"):
            bad = np.isinf(values) | (values < low) | (values > high)
        if not gaps:
            bad |= np.isnan(values)
        if bad.any():
            raise DataError(
                text(
                    "detection.out_of_range",
                    table=name,
                    column=repr(column),
                    school=table.loc[bad, "school_id"].iloc[0],
                    value=values[bad][0],
                    n=int(bad.sum()),
                    low=low,
                    high=min(high, 1.0) if high < 2 else high,
                )
            )


def _added_up(counts: pd.DataFrame) -> pd.DataFrame:
    """Return one row per school, procedure and year: classes added up, cells nobody sat left out.

    Where the table has the four marks they are added up too, missing where a class lacks them.

    Raises
    ------
    DataError
        If a key repeats, a count is missing, negative or no whole number, or more fail than sat.
    """
    numbers = ["n_participants", "n_below_minimum"]
    key = ["school_id", "procedure", "year"]
    check_finite(counts, ["procedure"], table="counts", unit="school_id")
    check_unique(
        counts, [*key, *(c for c in ("class_label",) if c in counts.columns)], table="counts"
    )
    check_numeric(counts, numbers, table="counts")
    check_finite(counts, numbers, table="counts", unit="school_id")
    sat, failed = (counts[c].to_numpy(dtype=float) for c in numbers)
    bad = (sat < 0) | (failed < 0) | (failed > sat) | (sat % 1 != 0) | (failed % 1 != 0)
    if bad.any():
        row = counts.loc[bad].iloc[0]
        raise DataError(
            text(
                "detection.counts",
                school=row["school_id"],
                procedure=row["procedure"],
                year=row["year"],
                failed=f"{failed[bad][0]:g}",
                sat=f"{sat[bad][0]:g}",
                n=int(bad.sum()),
            )
        )
    whole = counts.assign(
        procedure=counts["procedure"].astype(str).to_numpy(dtype=object),
        n_participants=sat.astype(np.int64),
        n_below_minimum=failed.astype(np.int64),
    )
    marks = list(MARKS) if set(MARKS) <= set(counts.columns) else []
    if marks:
        check_numeric(counts, marks, table="counts")
    groups = whole.groupby(key, observed=True, sort=True)
    summed = groups[[*numbers, *marks]].sum().reset_index()
    if marks:
        whole = whole.assign(known=counts[marks].notna().all(axis=1).to_numpy())
        known = whole.groupby(key, observed=True, sort=True)["known"].all().to_numpy(dtype=bool)
        values = summed[marks].to_numpy(dtype=float)
        summed[marks] = np.where(known[:, None], values, np.nan)
    return summed[summed["n_participants"] > 0].reset_index(drop=True)


def _checked_variances(variances: Mapping[str, float]) -> dict[str, float]:
    for name, value in variances.items():
        if name not in VARIANCES:
            near = nearest_names(name, VARIANCES)
            raise SpecificationError(text("detection.variance_name", name=repr(name), nearest=near))
        if np.isinf(value) or (value < 0 and name != "context_slope"):
            raise SpecificationError(text("detection.variance", name=name, value=value))
        if name.endswith("_correlation") and not 0 <= value < 1:
            raise SpecificationError(text("events.correlation", name=name, value=value))
    # models of published means cannot tell every part and say NaN: not known
    return {k: float(v) for k, v in variances.items() if not np.isnan(v)}


def blank(n: int, reason: Bilingual | str = "") -> NDArray[np.object_]:
    """Return an array of n equal reasons."""
    found = np.empty(n, dtype=object)
    found[:] = [reason] * n
    return found
