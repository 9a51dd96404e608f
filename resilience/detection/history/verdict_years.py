"""One table of verdicts by school and year, whatever they came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_unique,
    nearest_names,
    shorten,
)

__all__ = ["VerdictYears", "read_successors", "read_verdicts"]

VERDICTS = ("yes", "no", "insufficient_data", "not_applicable")


@dataclass(frozen=True, kw_only=True, eq=False)
class VerdictYears:
    """Verdicts of several years.

    Attributes
    ----------
    table : DataFrame
        ``school_id year verdict``, one row per school and year.
    versions : mapping of int to str
        Version of the rule by year, where known.
    """

    table: pd.DataFrame
    versions: Mapping[int, str]


def read_verdicts(
    verdicts: pd.DataFrame | Mapping[int, DetectionResults],
    rule_id: str | Mapping[int, str] | None,
) -> VerdictYears:
    """Return verdicts of one rule per year.

    Raises
    ------
    DataError
        If a column is missing, a verdict is no verdict, a year no whole number, a key repeats, or
        the table is empty.
    SpecificationError
        If it is neither table nor results by year, or several rules were applied and none is named.
    """
    if isinstance(verdicts, pd.DataFrame):
        return VerdictYears(table=_checked(_of_frame(verdicts, rule_id)), versions={})
    if not isinstance(verdicts, Mapping):
        raise SpecificationError(text("history.verdicts_kind", kind=type(verdicts).__name__))
    pieces, versions = [], {}
    for year, result in verdicts.items():
        if not isinstance(result, DetectionResults):
            raise SpecificationError(
                text("history.not_detection", year=year, kind=type(result).__name__)
            )
        wanted = rule_id.get(year) if isinstance(rule_id, Mapping) else rule_id
        if wanted is None and len(result.rules) > 1:
            raise _several([r.id for r in result.rules])
        rule = result.rules[0] if wanted is None else result.rule(wanted)
        own = result.schools[result.schools["rule_id"] == rule.id]
        pieces.append(own[["school_id", "verdict"]].assign(year=year))
        versions[int(year)] = f"{rule.id} {rule.version}"
    if not pieces:
        raise SpecificationError(text("history.no_years"))
    return VerdictYears(table=_checked(pd.concat(pieces, ignore_index=True)), versions=versions)


def _several(ids: list[str]) -> SpecificationError:
    return SpecificationError(text("history.several_rules", rules=shorten(sorted(ids), 12)))


def _of_frame(frame: pd.DataFrame, rule_id: str | Mapping[int, str] | None) -> pd.DataFrame:
    check_columns(frame, ["school_id", "year", "verdict"], table="verdicts")
    check_not_empty(frame, table="verdicts")
    if "rule_id" not in frame.columns:
        return frame
    if rule_id is None:
        known = [str(r) for r in frame["rule_id"].unique()]
        if len(known) > 1:
            raise _several(known)
        return frame
    wanted = (
        frame["year"].map(dict(rule_id))
        if isinstance(rule_id, Mapping)
        else pd.Series(rule_id, index=frame.index)
    )
    rows = frame[frame["rule_id"].astype(str) == wanted.astype(str)]
    for name in pd.unique(wanted.dropna().astype(str)):
        there = frame["rule_id"].astype(str).unique()
        if name not in there:
            raise DataError(text("history.no_rule", rule=name, nearest=nearest_names(name, there)))
    return rows


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    check_finite(frame, ["school_id", "year"], table="verdicts")
    years = pd.to_numeric(frame["year"], errors="coerce").to_numpy(dtype=float)
    if not np.equal(np.mod(years, 1), 0).all():
        bad = frame["year"][~np.equal(np.mod(years, 1), 0)].iloc[0]
        raise DataError(text("history.year", value=repr(bad)))
    strange = frame[~frame["verdict"].isin(VERDICTS)]
    if len(strange):
        raise DataError(
            text(
                "history.verdict",
                value=repr(strange["verdict"].iloc[0]),
                school=strange["school_id"].iloc[0],
                options=", ".join(VERDICTS),
            )
        )
    table = pd.DataFrame(
        {
            "school_id": frame["school_id"].astype(str).to_numpy(dtype=object),
            "year": years.astype(np.int64),
            "verdict": frame["verdict"].astype(str).to_numpy(dtype=object),
        }
    )
    check_unique(table, ["school_id", "year"], table="verdicts")
    return table.sort_values(["school_id", "year"], ignore_index=True)


def read_successors(successors: pd.DataFrame | Mapping[str, str] | None) -> dict[str, str]:
    """Return the last successor of every school that was merged.

    Raises
    ------
    DataError
        If a school has two successors or is, by way of others, its own.
    SpecificationError
        If it is neither table nor mapping.
    """
    if successors is None:
        return {}
    if isinstance(successors, pd.DataFrame):
        check_columns(successors, ["school_id", "successor_id"], table="successors")
        check_finite(successors, ["school_id", "successor_id"], table="successors")
        check_unique(successors, ["school_id"], table="successors")
        pairs = zip(successors["school_id"], successors["successor_id"], strict=True)
    elif not isinstance(successors, Mapping):
        raise SpecificationError(text("history.successors_kind", kind=type(successors).__name__))
    else:
        pairs = zip(successors.keys(), successors.values(), strict=True)
    direct = {str(a): str(b) for a, b in pairs}
    found = {}
    for start in direct:
        seen, place = [start], direct[start]
        while place in direct and place not in seen:
            seen.append(place)
            place = direct[place]
        if place in seen:
            raise DataError(text("history.circle", schools=" → ".join([*seen, place])))
        found[start] = place
    return found
