"""The three resource risks of a school, and the share of schools in which risks were eliminated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers, at_least
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = [
    "RESOURCE_RISKS",
    "check_schools",
    "eliminated_risks",
    "elimination_shares",
    "flag_answers",
    "resource_risks",
]

KEY = ["school_id", "year"]
ANSWERS = ("yes", "no", "insufficient_data", "not_applicable")
RESOURCE_RISKS = ("no_stable_internet", "too_few_computers", "teacher_shortage")
# The measurement that can stand for each risk, and whether less of it is the risk.
MEASURES = {
    "no_stable_internet": ("internet_speed", True),
    "too_few_computers": ("computers_per_pupil", True),
    "teacher_shortage": ("vacant_share", False),
}


def resource_risks(
    schools: pd.DataFrame, *, thresholds: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Return the three resource risks of each school, and whether it has any of them.

    The documented rule names the risks and gives no thresholds.  A risk is therefore read from a
    flag of its own name, or from a measurement with a threshold of the caller's.

    Parameters
    ----------
    schools : DataFrame
        One row per school and year: ``school_id year`` and, for each risk, its flag
        (``no_stable_internet``, ``too_few_computers``, ``teacher_shortage``; gaps allowed) or its
        measurement: ``internet_speed`` (Mbit/s), ``computers_per_pupil``, ``vacant_share`` (0..1).
    thresholds : mapping, optional
        By measurement: a speed or a number of computers below the threshold, or a share of vacant
        posts at or above it, is the risk.

    Returns
    -------
    DataFrame
        ``school_id year no_stable_internet too_few_computers teacher_shortage hard_risk``; missing
        where it is not known.  ``hard_risk`` is true with any risk that is known to be there, and
        false only where all three are known to be absent.

    Raises
    ------
    DataError
        If no risk can be read, a flag is no flag, or a share is not in 0..1.
    SpecificationError
        If a threshold belongs to no measurement, or its risk comes as a flag already.

    References
    ----------
    T12 (1.2.1-2).
    """
    check_schools(schools)
    if thresholds is not None and not isinstance(thresholds, Mapping):
        raise SpecificationError(text("risk.thresholds_kind", kind=type(thresholds).__name__))
    given = dict(thresholds or {})
    measures = {measure for measure, _ in MEASURES.values()}
    for name, value in given.items():
        if name not in measures:
            raise SpecificationError(
                text("risk.threshold_name", name=repr(name), options=", ".join(sorted(measures)))
            )
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not np.isfinite(value) or (name == "vacant_share" and not 0 < value <= 1):
            raise SpecificationError(text("risk.threshold_value", name=name, value=repr(value)))
    answers = {risk: _answers(schools, risk, given) for risk in RESOURCE_RISKS}
    if all(found is None for found in answers.values()):
        raise DataError(text("risk.no_resource", flags=", ".join(RESOURCE_RISKS)))
    unknown = np.full(len(schools), UNKNOWN)
    stack = [unknown if found is None else found for found in answers.values()]
    table = schools[KEY].reset_index(drop=True)
    for risk, found in zip(RESOURCE_RISKS, stack, strict=True):
        table[risk] = _flags(found)
    table["hard_risk"] = _flags(at_least(np.column_stack(stack), 1))
    return table


def _answers(schools: pd.DataFrame, risk: str, thresholds: Mapping[str, float]) -> Answers | None:
    measure, less_is_risk = MEASURES[risk]
    if risk in schools.columns:
        if measure in thresholds:
            raise SpecificationError(text("risk.threshold_twice", name=measure, flag=risk))
        return flag_answers(schools, risk)
    if measure not in thresholds:
        return None
    check_columns(schools, [measure], table="schools")
    check_numeric(schools, [measure], table="schools")
    values = schools[measure].to_numpy(dtype=float, na_value=np.nan)
    bad = np.isinf(values) | (values < 0) | ((measure == "vacant_share") & (values > 1))
    if bad.any():
        raise DataError(
            text(
                "risk.measure_range",
                column=measure,
                n=int(bad.sum()),
                value=f"{values[bad][0]:g}",
                schools=shorten(schools.loc[bad, "school_id"].astype(str)),
            )
        )
    limit = thresholds[measure]
    yes = values < limit if less_is_risk else values >= limit
    return np.where(np.isnan(values), UNKNOWN, np.where(yes, YES, NO)).astype(np.int8)


def flag_answers(schools: pd.DataFrame, name: str) -> Answers:
    """Return a column of true, false and gaps as answers."""
    series = schools[name]
    known = series.notna().to_numpy()
    strange = series[known][~series[known].isin([True, False])]
    if len(strange):
        raise DataError(
            text("risk.flag_value", column=name, value=repr(strange.iloc[0]), n=len(strange))
        )
    yes = series.isin([True]).to_numpy(dtype=bool)
    return np.where(~known, UNKNOWN, np.where(yes, YES, NO)).astype(np.int8)


def _flags(answers: Answers) -> pd.Series[Any]:
    """Return answers as true, false or missing, which a rule reads as 1, 0 or unknown."""
    found = pd.Series(pd.array(answers == YES, dtype="boolean"))
    found[answers == UNKNOWN] = pd.NA
    return found


def check_schools(schools: pd.DataFrame) -> None:
    """Raise unless the table has one row per school and year."""
    if not isinstance(schools, pd.DataFrame):
        raise DataError(text("risk.not_a_table", kind=type(schools).__name__))
    check_not_empty(schools, table="schools")
    check_columns(schools, KEY, table="schools")
    check_finite(schools, KEY, table="schools")
    check_unique(schools, KEY, table="schools")


def eliminated_risks(risks: pd.DataFrame, year: int | None = None) -> pd.DataFrame:
    """Return which resource risks of the year before were gone.

    Parameters
    ----------
    risks : DataFrame
        What `resource_risks` returned for at least two years, with the same thresholds.
    year : int, optional
        The later year; the latest by default.

    Returns
    -------
    DataFrame
        ``school_id year risk_factor eliminated``: a row per school and risk, and one for
        ``hard_risk`` (all the risks of the year before gone and no other come).
        ``not_applicable`` where the risk was not there before; ``insufficient_data`` where either
        year is unknown.

    References
    ----------
    T12 (1.2.6-2); the rule is a proposal.
    """
    names = [*RESOURCE_RISKS, "hard_risk"]
    check_schools(risks)
    check_columns(risks, names, table="risks")
    years = sorted({int(y) for y in risks["year"]})
    last = years[-1] if year is None else year
    if last not in years or last - 1 not in years:
        raise DataError(text("risk.no_pair", year=repr(last), years=shorten(years, 12)))
    wide = {t: risks[risks["year"] == t].set_index("school_id") for t in (last - 1, last)}
    ids = wide[last - 1].index.union(wide[last].index, sort=True)
    pieces = []
    for name in names:
        before, after = (
            flag_answers(wide[t].reindex(ids).reset_index(), name) for t in (last - 1, last)
        )
        answer = np.where(
            before == NO,
            "not_applicable",
            np.where(
                (before == UNKNOWN) | (after == UNKNOWN),
                "insufficient_data",
                np.where(after == NO, "yes", "no"),
            ),
        )
        pieces.append(
            pd.DataFrame(
                {
                    "school_id": ids,
                    "year": last,
                    "risk_factor": name,
                    "eliminated": answer.astype(str),
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


def elimination_shares(eliminated: pd.DataFrame) -> pd.DataFrame:
    """Return, per risk, the share of schools in which it was eliminated.

    Parameters
    ----------
    eliminated : DataFrame
        ``school_id risk_factor eliminated``, from `eliminated_risks` or a profile's ``eliminated``.

    Returns
    -------
    DataFrame
        ``risk_factor n_at_risk_before n_eliminated n_insufficient eliminated_share reason``.  The
        share is of the schools at risk before whose later state is known; with none it is
        missing, and the reason says so.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, or an answer is none of the four words.
    """
    check_columns(eliminated, ["risk_factor", "eliminated"], table="eliminated")
    check_not_empty(eliminated, table="eliminated")
    strange = eliminated["eliminated"][~eliminated["eliminated"].isin(ANSWERS)]
    if len(strange):
        raise DataError(
            text("risk.no_answer", value=repr(strange.iloc[0]), options=", ".join(ANSWERS))
        )
    rows = []
    for name, own in eliminated.groupby("risk_factor", sort=False):
        answers = own["eliminated"].value_counts()
        yes, no = int(answers.get("yes", 0)), int(answers.get("no", 0))
        rows.append(
            {
                "risk_factor": name,
                "n_at_risk_before": yes + no,
                "n_eliminated": yes,
                "n_insufficient": int(answers.get("insufficient_data", 0)),
                "eliminated_share": yes / (yes + no) if yes + no else np.nan,
                "reason": "" if yes + no else text("risk.none_at_risk"),
            }
        )
    table = pd.DataFrame(rows)
    table["reason"] = pd.Series([r["reason"] for r in rows], dtype=object)
    return table
