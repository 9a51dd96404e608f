"""Every list with and without the schools whose results show signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from resilience.detection.integrity.flags import read_flags
from resilience.detection.integrity.switch_results import IntegritySwitchResults
from resilience.detection.rules.criteria import Criteria
from resilience.detection.verdicts.detect import detect_schools
from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text

__all__ = ["without_suspicious"]


def without_suspicious(
    effects: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    rules: Criteria | Sequence[Criteria],
    *,
    flags: pd.DataFrame,
    counts: pd.DataFrame | None = None,
    school_years: pd.DataFrame | None = None,
    schools: pd.DataFrame | None = None,
    variances: Mapping[str, float] | None = None,
    everyone: DetectionResults | None = None,
) -> IntegritySwitchResults:
    """Apply rules twice, to all schools and without those with signs, and compare the lists.

    A school with signs leaves every table, so quantile gates, regional means and estimated rule
    parameters are computed anew from the others.  The effects themselves are not: a model fitted
    with the school keeps what it learnt from it.

    Parameters
    ----------
    effects, scores, rules : DataFrame, DataFrame, Criteria or sequence of Criteria
        As in `detect_schools`.
    flags : DataFrame
        ``school_id integrity_flag``, as the results of this room hand out; schools with a missing
        flag stay.
    counts, school_years, schools, variances : optional
        As in `detect_schools`.
    everyone : DetectionResults, optional
        What `detect_schools` gave for these rules and tables, to spare applying them again.

    Returns
    -------
    IntegritySwitchResults
        A row per school and rule with both verdicts and what changed; a row per rule.

    Raises
    ------
    DataError
        If ``flags`` breaks its rule, names only schools that are in no table, or nothing is left.
    SpecificationError
        If ``everyone`` holds the verdicts of other rules.
    """
    true, unknown = read_flags(flags)
    tables = {"counts": counts, "school_years": school_years, "schools": schools}
    known = {
        str(school)
        for table in (effects, scores, *tables.values())
        if table is not None and "school_id" in table.columns
        for school in table["school_id"]
    }
    strangers = sorted((true | unknown) - known)
    if true and not true & known:
        raise DataError(text("integrity.flags_strange", n=len(true), first=sorted(true)[0]))
    if known and not known - true:
        raise DataError(text("integrity.nothing_left", n=len(known)))
    if everyone is None:
        everyone = detect_schools(
            effects,
            scores,
            rules,
            counts=counts,
            school_years=school_years,
            schools=schools,
            variances=variances,
        )
    elif everyone.rules != ((rules,) if isinstance(rules, Criteria) else tuple(rules)):
        raise SpecificationError(text("integrity.other_rules"))
    cleared = detect_schools(
        _without(effects, true),
        _without(scores, true),
        rules,
        counts=_without(counts, true),
        school_years=_without(school_years, true),
        schools=_without(schools, true),
        variances=variances,
    )
    table = _compare(everyone.schools, cleared.schools, true)
    notes = (
        (text("integrity.flags_unmatched", n=len(strangers), first=strangers[0]),)
        if strangers
        else ()
    )
    return IntegritySwitchResults(
        schools=table,
        lists=_lists(table),
        everyone=everyone,
        cleared=cleared,
        n_unknown=len(unknown & known),
        notes=notes,
    )


def _without(table: pd.DataFrame | None, schools: set[str]) -> pd.DataFrame | None:
    if table is None or "school_id" not in table.columns:
        return table
    return table[~table["school_id"].astype(str).isin(schools)].reset_index(drop=True)


def _compare(everyone: pd.DataFrame, cleared: pd.DataFrame, true: set[str]) -> pd.DataFrame:
    key = ["school_id", "rule_id"]
    table = everyone[[*key, "verdict"]].merge(
        cleared[[*key, "verdict"]], on=key, how="left", suffixes=("_with", "_without")
    )
    flagged = table["school_id"].isin(true).to_numpy()
    before = (table["verdict_with"] == "yes").to_numpy()
    after = (table["verdict_without"] == "yes").fillna(False).to_numpy(dtype=bool)
    change = np.select(
        [before & flagged, flagged, before & after, before & ~after, ~before & after],
        ["removed", "set_aside", "kept", "left", "entered"],
        default="never_listed",
    )
    return table.assign(integrity_flag=flagged, list_change=_worded(change))


def _worded(change: np.ndarray) -> pd.Series:
    # object keeps both wordings; pandas' own strings would drop the Russian one
    return pd.Series([text(f"integrity.list_{c}") for c in change], dtype=object)


def _lists(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for rule, own in table.groupby("rule_id", sort=False):
        kept, left, entered, removed = (
            int((own["list_change"] == str(text(f"integrity.list_{change}"))).sum())
            for change in ("kept", "left", "entered", "removed")
        )
        union, others = kept + left + entered + removed, kept + left + entered
        rows.append(
            {
                "rule_id": rule,
                "n_with": kept + left + removed,
                "n_without": kept + entered,
                "n_staying": kept,
                "n_removed": removed,
                "n_left": left,
                "n_entered": entered,
                # two empty lists agree
                "jaccard": kept / union if union else 1.0,
                "jaccard_others": kept / others if others else 1.0,
            }
        )
    return pd.DataFrame(rows)
