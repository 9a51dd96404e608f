"""What stands before a rule: whom it leaves aside, and which columns it cannot do without."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.soundness import check_possible
from resilience.detection.verdicts.tables import Tables
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_columns

__all__ = ["VPR", "check_rule", "flagged", "guard_notes", "selective", "yes_or_no"]

Flags = NDArray[np.bool_]

VPR = "ВПР"
SELECTIVE, FLAG = "is_selective", "integrity_flag"
TABLES = ("effects", "scores", "counts", "school_years", "schools")


def check_rule(tables: Tables, rule: Criteria) -> None:
    """Raise if a rule cannot be applied to these tables at all.

    Raises
    ------
    SpecificationError
        If it names pupils, can never hold, or a table that it needs is missing.
    DataError
        If a column that it needs is missing.
    """
    if rule.unit == "pupil":
        raise SpecificationError(text("events.pupil_rule", rule=rule.id))
    check_possible(rule)
    for name in rule.needs:
        table, _, column = name.partition(".")
        if table not in TABLES:
            raise SpecificationError(
                text("events.unknown_table", rule=rule.id, name=name, tables=", ".join(TABLES))
            )
        check_columns(tables.need(table, rule.id), [column], table=table)


def selective(tables: Tables, rule: Criteria) -> Flags:
    """Return the schools that a rule leaves aside because they select their pupils."""
    if not rule.exclude_selective:
        return np.zeros(len(tables.school_ids), dtype=bool)
    return _marked(tables, rule, SELECTIVE)


def flagged(tables: Tables, rule: Criteria) -> Flags:
    """Return the schools whose marks show signs that call for further analysis."""
    return _marked(tables, rule, FLAG)


def _marked(tables: Tables, rule: Criteria, column: str) -> Flags:
    """Return where a column of the table of schools is true; nowhere where it is not there."""
    none = np.zeros(len(tables.school_ids), dtype=bool)
    if not _has(tables, column):
        return none
    chosen = yes_or_no(tables.latest("schools", rule.id, rule.year)[column], column)
    return np.array([answer is True for answer in chosen], dtype=bool)


def yes_or_no(column: pd.Series, name: str) -> list[bool | None]:
    """Return a flag of schools, indexed by their ids, as true, false or None where it is missing.

    Raises
    ------
    DataError
        If a value is neither, such as «нет», which would pass for true.
    """
    known = column.dropna()
    strange = known[~known.isin([True, False])]
    if len(strange):
        raise DataError(
            text(
                "detection.flag_value",
                column=name,
                school=strange.index[0],
                value=repr(strange.tolist()[0]),
                n=len(strange),
            )
        )
    return [None if missing else bool(v) for v, missing in zip(column, column.isna(), strict=True)]


def _has(tables: Tables, column: str) -> bool:
    return tables.schools is not None and column in tables.schools.columns


def guard_notes(tables: Tables, rule: Criteria) -> list[Bilingual]:
    """Say which guard could not be applied."""
    notes = []
    if rule.exclude_selective and not _has(tables, SELECTIVE):
        notes.append(text("detection.selection_unknown"))
    if (rule.exclude_flagged or rule.exclude_flagged_vpr) and not _has(tables, FLAG):
        notes.append(text("events.flags_unknown"))
    return notes
