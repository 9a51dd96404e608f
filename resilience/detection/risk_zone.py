"""The risk zone: schools near the low-result rule, or at risk of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.risk_resources import check_schools, flag_answers
from resilience.detection.risk_results import KEY, RiskProfileResults, check_count, joined
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

__all__ = ["risk_columns", "risk_zone"]

ShareOf = Literal["pooled", "any_procedure"]


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
    _check_profile(profile, high_factors)
    tables: dict[str, pd.DataFrame] = {}
    if counts is not None:
        tables["counts"] = _checked_counts(counts)
    if profile is not None:
        tables["profile"] = profile.schools
    if resources is not None:
        check_schools(resources)
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
        stack["any_resource_risk"] = flag_answers(
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


def risk_columns(
    schools: pd.DataFrame,
    *,
    profile: RiskProfileResults | None = None,
    high_factors: int | None = None,
    resources: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the table of schools with ``n_high_factors`` and ``hard_risk`` as rules read them.

    A criterion knows numbers and gaps.  ``hard_risk`` is therefore 1, 0 or missing, and
    ``n_high_factors`` missing where the unknown factors of a school could still reach
    ``high_factors``: the criterion then answers "insufficient data" and not "no".

    Parameters
    ----------
    schools : DataFrame
        ``school_id year`` and further columns.
    profile : RiskProfileResults, optional
        The risk profile, with ``high_factors``, the number the criterion asks for.
    high_factors : int, optional
        See ``profile``.
    resources : DataFrame, optional
        What `resource_risks` returned.

    Raises
    ------
    SpecificationError
        If nothing is given, ``high_factors`` is missing or out of range, or the table holds one of
        the columns already.
    """
    if profile is None and resources is None:
        raise SpecificationError(text("risk.zone_empty"))
    table = schools
    _check_profile(profile, high_factors)
    if profile is not None and high_factors is not None:
        check_count(high_factors, "high_factors", len(profile.definition))
        certain = profile.schools["n_high_factors"].to_numpy(dtype=float)
        reachable = certain + profile.schools["n_unknown_factors"].to_numpy(dtype=float)
        undecided = (certain < high_factors) & (reachable >= high_factors)
        own = profile.schools[KEY].assign(n_high_factors=np.where(undecided, np.nan, certain))
        table = joined(table, own)
    if resources is not None:
        check_schools(resources)
        check_columns(resources, ["hard_risk"], table="resources")
        answers = flag_answers(resources, "hard_risk")
        numbers = np.where(answers == UNKNOWN, np.nan, (answers == YES).astype(float))
        table = joined(table, resources[KEY].assign(hard_risk=numbers))
    return table


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


def _check_profile(profile: object, high_factors: int | None) -> None:
    """Raise unless both are given or neither, and the first is a profile."""
    if profile is None:
        if high_factors is not None:
            raise SpecificationError(text("risk.factors_unused", value=repr(high_factors)))
        return
    if not isinstance(profile, RiskProfileResults):
        raise SpecificationError(text("risk.not_a_profile", kind=type(profile).__name__))
    if high_factors is None:
        raise SpecificationError(text("risk.zone_factors", n=len(profile.definition)))
