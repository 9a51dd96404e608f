"""Point criteria on columns of schools: values, percentiles within a year, k of n years."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.criteria import Criteria, Criterion
from resilience.detection.logic import NO, UNKNOWN, YES, Answers, at_least
from resilience.detection.tables import Found, Tables, blank
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["compare", "judge_level", "percentiles"]

Floats = NDArray[np.float64]


def percentiles(values: Floats) -> Floats:
    """Return (number below + half the number equal) / number, NaN where the value is missing.

    Ties stand or fall together.
    """
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    found = (below + upto) / 2.0 / max(len(ordered), 1)
    return np.where(known, found, np.nan)


def compare(values: Floats, criterion: Criterion) -> Answers:
    """Return the answer of each value; a missing value is unknown."""
    bound = criterion.bound
    with np.errstate(invalid="ignore"):
        yes = {
            "at_most": values <= bound,
            "at_least": values >= bound,
            "above": values > bound,
            "below": values < bound,
        }[criterion.direction]
    return np.where(np.isnan(values), UNKNOWN, np.where(yes, YES, NO)).astype(np.int8)


def judge_level(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    """Judge a point criterion from the table that holds its column.

    Raises
    ------
    SpecificationError
        If no table of the call holds the column.
    """
    table = _home(tables, rule, criterion)
    ids = tables.school_ids
    if "year" in table.columns and table["school_id"].duplicated().any():
        last = table["year"].max()
        if criterion.column == "context_index" and criterion.years_of == 1:
            # the latest index of each school stands for it, and is compared with the others' latest
            latest = tables.latest("scores", rule.id)[criterion.column].to_numpy(dtype=float)
            return _single(_scaled(latest, criterion), latest, criterion, ids)
        years = range(int(last) - criterion.years_of + 1, int(last) + 1)
        wide = table.pivot_table(index="school_id", columns="year", values=criterion.column)
        wide = wide.reindex(index=ids, columns=list(years))
        values = wide.to_numpy(dtype=float)
        scaled = np.column_stack(
            [_scaled(values[:, t], criterion) for t in range(len(wide.columns))]
        )
        answers = at_least(
            np.column_stack([compare(scaled[:, t], criterion) for t in range(scaled.shape[1])]),
            criterion.years_at_least,
        )
        return _found(answers, values[:, -1], criterion)
    column = table.set_index("school_id")[criterion.column].reindex(ids)
    single = np.asarray(column, dtype=float)
    return _single(_scaled(single, criterion), single, criterion, ids)


def _home(tables: Tables, rule: Criteria, criterion: Criterion) -> pd.DataFrame:
    if criterion.column.startswith("context_"):
        return tables.need("scores", rule.id)
    for name in ("effects", "scores", "schools", "school_years"):
        table: pd.DataFrame | None = getattr(tables, name)
        if table is not None and criterion.column in table.columns:
            return table
    raise SpecificationError(
        text("detection.no_home", rule=rule.id, criterion=criterion.name, column=criterion.column)
    )


def _scaled(values: Floats, criterion: Criterion) -> Floats:
    if criterion.scale == "quantile":
        return percentiles(values)
    if criterion.scale == "z":
        known = values[np.isfinite(values)]
        spread = known.std() if len(known) > 1 else 0.0
        return (values - known.mean()) / spread if spread > 0 else np.full(len(values), np.nan)
    return values


def _single(
    scaled: Floats, values: Floats, criterion: Criterion, ids: NDArray[np.object_]
) -> Found:
    answers = compare(scaled, criterion)
    if criterion.years_of > 1:
        # one year cannot show k of n years: a yes or no needs the years
        padded = np.full((len(ids), criterion.years_of), UNKNOWN, dtype=np.int8)
        padded[:, -1] = answers
        answers = at_least(padded, criterion.years_at_least)
    return _found(answers, values, criterion)


def _found(answers: Answers, values: Floats, criterion: Criterion) -> Found:
    reason = blank(len(answers))
    for k in np.flatnonzero(answers == UNKNOWN):
        reason[k] = text("detection.no_value", column=criterion.column)
    return Found(
        answers=answers,
        value=values,
        threshold=np.full(len(answers), criterion.bound),
        probability=np.full(len(answers), np.nan),
        reason=reason,
    )
