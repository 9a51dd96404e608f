"""Groups of schools read from whatever holds them: clusters, bands, a table, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns, check_not_empty, check_unique

__all__ = ["Grouping", "read_groups"]

LABELS = ("cluster", "band", "stratum", "school_group")
BETWEEN = "between_clusters"
LEAST_STABLE = 0.6  # share of replicates below which no verdict rests on a label


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """The group of every school.

    Attributes
    ----------
    labels : dict of {school_id: label}
        Schools that have a group.
    reasons : dict of {school_id: Bilingual}
        Why others have none; schools in neither have not been mentioned.
    """

    labels: dict[str, str]
    reasons: dict[str, Bilingual]


def read_groups(groups: Any, schools: pd.DataFrame | None) -> Grouping:
    """Return the group of every school.

    Parameters
    ----------
    groups : results with ``.schools``, DataFrame, Series, mapping, str or sequence of str
        Clusters or bands; a table with ``school_id`` and ``cluster``, ``band``, ``stratum`` or one
        further column; labels by school; or columns of ``schools``, crossed with each other.
        Schools whose ``membership_stability`` is below .6 get no group.
    schools : DataFrame or None
        Table that holds the columns, the latest row of each school.

    Raises
    ------
    DataError
        If columns are missing, a school stands twice, or there is a single group.
    SpecificationError
        If something else is given, or columns without ``schools``.
    """
    if isinstance(groups, str) or _is_names(groups):
        table = _of_columns([groups] if isinstance(groups, str) else list(groups), schools)
    elif isinstance(groups, pd.Series):
        table = pd.DataFrame({"school_id": groups.index, "school_group": groups.to_numpy()})
    elif isinstance(groups, Mapping):
        table = pd.DataFrame(
            {
                "school_id": list(groups),
                "school_group": pd.Series(list(groups.values()), dtype=object),
            }
        )
    else:
        table = _of_table(_held(groups))
    found = _read(table)
    n = len(set(found.labels.values()))
    if n < 2:
        raise DataError(text("groupings.single", n=n))
    return found


def _held(groups: Any) -> pd.DataFrame:
    """Return the table of groups, of clusters without the schools that stand outside of them."""
    if isinstance(groups, pd.DataFrame):
        return groups
    held = getattr(groups, "schools", None)
    if not isinstance(held, pd.DataFrame):
        raise SpecificationError(text("groupings.kind", kind=type(groups).__name__))
    if "cluster" in held.columns and pd.api.types.is_numeric_dtype(held["cluster"]):
        inside = held["cluster"].fillna(0) > 0  # numbered from 1; 0 is no cluster
        if not inside.any():
            raise SpecificationError(text("groupings.no_clusters"))
        held = held.assign(cluster=held["cluster"].astype(object).where(inside, None))
    return held


def _is_names(groups: object) -> bool:
    return isinstance(groups, Sequence) and bool(groups) and all(isinstance(g, str) for g in groups)


def _of_columns(names: Sequence[str], schools: pd.DataFrame | None) -> pd.DataFrame:
    """Return the crossed columns of the latest row of every school."""
    if schools is None:
        raise SpecificationError(text("groupings.no_schools", columns=", ".join(names)))
    check_columns(schools, ["school_id", *names], table="schools")
    table = schools
    if "year" in table.columns:
        table = table.sort_values("year", kind="stable")
        table = table.drop_duplicates("school_id", keep="last")
    known = table[list(names)].notna().all(axis=1)
    shown = [
        ", ".join(f"{n}={v}" for n, v in zip(names, own, strict=True))
        for own in zip(*(table[n] for n in names), strict=True)
    ]
    labels = pd.Series(shown, index=table.index, dtype=object).where(known, None)
    return pd.DataFrame({"school_id": table["school_id"], "school_group": labels})


def _of_table(held: pd.DataFrame) -> pd.DataFrame:
    """Return ids, labels, and how stable membership is where the table says so."""
    check_not_empty(held, table="groups")
    check_columns(held, ["school_id"], table="groups")
    others = [c for c in held.columns if c != "school_id"]
    known = [c for c in LABELS if c in others]
    if not known and len(others) != 1:
        raise DataError(text("groupings.column", columns=", ".join(map(str, others)) or "—"))
    label = known[0] if known else others[0]
    table = pd.DataFrame({"school_id": held["school_id"], "school_group": held[label]})
    unsure = pd.Series(False, index=held.index)
    if "membership_stability" in others:
        unsure |= held["membership_stability"].lt(LEAST_STABLE)
    if "membership_verdict" in others:
        unsure |= held["membership_verdict"].eq(BETWEEN)
    return table.assign(unsure=unsure)


def _read(table: pd.DataFrame) -> Grouping:
    table = table.assign(school_id=table["school_id"].astype(str).to_numpy(dtype=object))
    check_unique(table, ["school_id"], table="groups")
    unsure = table["unsure"] if "unsure" in table.columns else pd.Series(False, index=table.index)
    labels: dict[str, str] = {}
    reasons: dict[str, Bilingual] = {}
    for school, label, between in zip(
        table["school_id"], table["school_group"], unsure, strict=True
    ):
        if pd.isna(label):
            reasons[school] = text("groupings.no_label")
        elif between:
            reasons[school] = text("groupings.between", group=label)
        else:
            whole = isinstance(label, float) and label.is_integer()
            labels[school] = str(int(label) if whole else label)
    return Grouping(labels=labels, reasons=reasons)
