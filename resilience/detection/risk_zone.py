"""Resource risks, the risk zone, and the share of schools whose risks were eliminated."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.risk_results import KEY, RiskProfileResults
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers, at_least, words
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import (
    check_choice,
    check_columns,
    check_finite,
    check_not_empty,
    check_numeric,
    check_unique,
    shorten,
)

__all__ = [
    "RESOURCE_RISKS",
    "eliminated_risks",
    "elimination_shares",
    "resource_risks",
    "risk_zone",
]

ShareOf = Literal["pooled", "any_procedure"]
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
    _check_schools(schools)
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
        return _flag_answers(schools, risk)
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


def _flag_answers(schools: pd.DataFrame, name: str) -> Answers:
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


def _check_schools(schools: pd.DataFrame) -> None:
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
    _check_schools(risks)
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
            _flag_answers(wide[t].reindex(ids).reset_index(), name) for t in (last - 1, last)
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
    """
    check_columns(eliminated, ["risk_factor", "eliminated"], table="eliminated")
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


def risk_zone(
    counts: pd.DataFrame | None = None,
    *,
    profile: RiskProfileResults | None = None,
    resources: pd.DataFrame | None = None,
    high_factors: int | None = None,
    share: tuple[float, float] = (0.20, 0.30),
    share_of: ShareOf = "pooled",
    year: int | None = None,
) -> pd.DataFrame:
    """Return the schools of the risk zone: near the low-result rule, or at risk of it.

    A school is in the zone with a share of «2» of at least the lower and below the upper bound, or
    with at least ``high_factors`` high factors, or with any resource risk; in three-valued logic,
    over the conditions whose tables are given.  The rule is a proposal.

    Parameters
    ----------
    counts : DataFrame, optional
        ``school_id year procedure n_participants n_below_minimum``.
    profile : RiskProfileResults, optional
        The risk profile; ``high_factors`` is then required, since no official number is known.
    resources : DataFrame, optional
        What `resource_risks` returned.
    high_factors : int, optional
        Number of high factors that puts a school into the zone.
    share : (float, float)
        Bounds of the share of participants below the minimum, the lower inclusive, the upper not;
        counts are compared, not rounded shares.
    share_of : {"pooled", "any_procedure"}
        All procedures of the year added up, or any one of them within the bounds.
    year : int, optional
        The latest year that every table has, by default.

    Returns
    -------
    DataFrame
        ``school_id year share_below_minimum share_in_zone n_high_factors many_high_factors
        any_resource_risk verdict reason``; a condition whose table is not given is
        ``not_applicable`` and has no part in the verdict.

    Raises
    ------
    SpecificationError
        If no table is given, a bound is out of order, or ``high_factors`` is missing.
    DataError
        If the tables have no year in common or break a rule of their own.
    """
    low, high = _bounds(share)
    check_choice(share_of, get_args(ShareOf), argument="share_of")
    if counts is None and profile is None and resources is None:
        raise SpecificationError(text("risk.zone_empty"))
    if profile is not None and high_factors is None:
        raise SpecificationError(text("risk.zone_factors", n=len(profile.definition)))
    tables: dict[str, pd.DataFrame] = {}
    if counts is not None:
        tables["counts"] = _checked_counts(counts)
    if profile is not None:
        tables["profile"] = profile.schools
    if resources is not None:
        _check_schools(resources)
        check_columns(resources, ["hard_risk"], table="resources")
        tables["resources"] = resources
    chosen = _common_year(tables, year)
    own = {name: t[t["year"] == chosen] for name, t in tables.items()}
    ids = pd.Index(sorted({str(s) for t in own.values() for s in t["school_id"]}))
    table = pd.DataFrame({"school_id": ids, "year": chosen})
    stack: dict[str, Answers] = {}
    shares, answers = _share_answers(own.get("counts"), ids, (low, high), share_of)
    table["share_below_minimum"] = shares
    if counts is not None:
        stack["share_in_zone"] = answers
    table["n_high_factors"] = np.nan
    if profile is not None and high_factors is not None:
        certain, open_ = (
            _by_school(own["profile"], c, ids) for c in ("n_high_factors", "n_unknown_factors")
        )
        table["n_high_factors"] = certain
        reached, reachable = certain >= high_factors, certain + open_ >= high_factors
        stack["many_high_factors"] = np.where(
            reached, YES, np.where(np.isnan(certain) | reachable, UNKNOWN, NO)
        ).astype(np.int8)
    if resources is not None:
        flags = own["resources"].assign(school_id=own["resources"]["school_id"].astype(str))
        stack["any_resource_risk"] = _flag_answers(
            flags.set_index("school_id").reindex(ids).reset_index(), "hard_risk"
        )
    for name in ("share_in_zone", "many_high_factors", "any_resource_risk"):
        table[name] = words(stack[name]) if name in stack else "not_applicable"
    verdict = at_least(np.column_stack(list(stack.values())), 1)
    table["verdict"] = words(verdict)
    reasons = [_reason(stack, k, verdict[k]) for k in range(len(table))]
    table["reason"] = pd.Series(reasons, dtype=object)
    first = ["school_id", "year", "share_below_minimum", "share_in_zone", "n_high_factors"]
    return table[[*first, "many_high_factors", "any_resource_risk", "verdict", "reason"]]


def _bounds(share: tuple[float, float]) -> tuple[Fraction, Fraction]:
    pair = share if isinstance(share, tuple | list) and len(share) == 2 else None
    numbers = pair is not None and all(
        isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1 for v in pair
    )
    if pair is None or not numbers or not pair[0] < pair[1]:
        raise SpecificationError(text("risk.zone_bounds", value=repr(share)))
    return Fraction(str(pair[0])), Fraction(str(pair[1]))


def _checked_counts(counts: pd.DataFrame) -> pd.DataFrame:
    numbers = ["n_participants", "n_below_minimum"]
    if not isinstance(counts, pd.DataFrame):
        raise DataError(text("risk.not_a_table", kind=type(counts).__name__))
    check_not_empty(counts, table="counts")
    check_columns(counts, [*KEY, "procedure", *numbers], table="counts")
    check_finite(counts, [*KEY, "procedure", *numbers], table="counts", unit="school_id")
    check_numeric(counts, ["year", *numbers], table="counts")
    repeated = [c for c in ("class_label",) if c in counts.columns]
    check_unique(counts, [*KEY, "procedure", *repeated], table="counts")
    sat, failed = (counts[c].to_numpy(dtype=float) for c in numbers)
    bad = (sat < 0) | (failed < 0) | (failed > sat) | (sat % 1 != 0) | (failed % 1 != 0)
    if bad.any():
        row = counts.loc[bad].iloc[0]
        raise DataError(
            text(
                "risk.counts",
                school=row["school_id"],
                procedure=row["procedure"],
                failed=f"{failed[bad][0]:g}",
                sat=f"{sat[bad][0]:g}",
                n=int(bad.sum()),
            )
        )
    summed = counts.groupby([*KEY, "procedure"], observed=True, sort=True)[numbers].sum()
    return summed.reset_index()


def _common_year(tables: Mapping[str, pd.DataFrame], year: int | None) -> int:
    known = [{int(y) for y in t["year"]} for t in tables.values()]
    common = set.intersection(*known)
    if year is not None and year not in common:
        shown = shorten(sorted(common), 12) or "—"
        raise DataError(text("risk.zone_year", year=repr(year), years=shown))
    if not common:
        raise DataError(text("risk.zone_no_year", tables=", ".join(tables)))
    return max(common) if year is None else year


def _share_answers(
    counts: pd.DataFrame | None,
    ids: pd.Index[Any],
    bounds: tuple[Fraction, Fraction],
    share_of: ShareOf,
) -> tuple[NDArray[np.float64], Answers]:
    """Return the pooled share and the answer; nobody sat is unknown."""
    shares = np.full(len(ids), np.nan)
    answers = np.full(len(ids), UNKNOWN)
    if counts is None:
        return shares, answers
    place = {school: k for k, school in enumerate(ids)}
    for school, own in counts.groupby(counts["school_id"].astype(str), sort=False):
        failed = own["n_below_minimum"].to_numpy(dtype=np.int64)
        sat = own["n_participants"].to_numpy(dtype=np.int64)
        if sat.sum() == 0:
            continue
        k = place[str(school)]
        shares[k] = failed.sum() / sat.sum()
        pairs = [(failed.sum(), sat.sum())]
        if share_of == "any_procedure":
            pairs = [(f, n) for f, n in zip(failed, sat, strict=True) if n > 0]
        inside = [_within(int(f), int(n), bounds) for f, n in pairs]
        answers[k] = YES if any(inside) else NO
    return shares, answers


def _within(failed: int, sat: int, bounds: tuple[Fraction, Fraction]) -> bool:
    low, high = bounds
    return low * sat <= failed < high * sat


def _by_school(table: pd.DataFrame, name: str, ids: pd.Index[Any]) -> NDArray[np.float64]:
    values = table.set_index(table["school_id"].astype(str))[name].reindex(ids)
    return values.to_numpy(dtype=float)


def _reason(stack: Mapping[str, Answers], row: int, verdict: np.int8) -> Bilingual:
    names = [name for name, answers in stack.items() if answers[row] == verdict]
    said = [text(f"risk.reason_{name}") for name in names]
    joined = Bilingual("; ".join(str(s) for s in said), "; ".join(s.ru for s in said))
    return text(f"risk.zone_{words(np.array([verdict]))[0]}", conditions=joined)
