"""Share criteria: who is below the minimum in how many procedures and years, exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.criteria import Criteria, Criterion
from resilience.detection.logic import NO, UNKNOWN, YES, Answers, at_least
from resilience.detection.tables import Found, Tables, blank
from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.proportions import (
    fit_beta_prior,
    probability_share_at_least,
    share_at_least,
    wilson_interval,
)
from resilience.validation import nearest_names

__all__ = ["SHARE", "judge_shares"]

SHARE = "share_below_minimum"


def judge_shares(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    """Judge a share criterion from counts per school, procedure and year.

    Point evidence compares integers (3 of 10 is at least .30).  A procedure that a school did not
    sit, in this year or the one before, is not low; one with fewer than ``min_participants`` is
    unknown.  Posterior evidence pools the counts of the last ``years_of`` years.

    ``value`` is the number of procedures (point) that satisfy the criterion, or the pooled share
    (posterior); ``threshold`` the number needed, or the bound.
    """
    cells = _cells(tables.need("counts", rule.id), rule)
    years = np.arange(cells["year"].max() - criterion.years_of + 1, cells["year"].max() + 1)
    cells = cells[cells["year"].isin(years)]
    if criterion.evidence == "posterior":
        return _posterior(tables, criterion, cells)
    answers = _answers(cells, criterion)
    cube = _cube(tables, cells, answers, years)
    found, value = _reduce(cube, criterion)
    reason = blank(len(found))
    sat = set(cells["school_id"])
    for k, school in enumerate(tables.school_ids):
        if school not in sat:
            reason[k] = text("detection.no_counts")
            found[k] = UNKNOWN
        elif found[k] == UNKNOWN:
            reason[k] = text("detection.few_participants", n=criterion.min_participants)
        elif found[k] == NO and criterion.years_of > 1:
            reason[k] = _absence(cube[k])
    _add_certainty(cells, criterion, tables, found, reason)
    return Found(
        answers=found,
        value=value,
        threshold=np.full(len(found), float(criterion.procedures_at_least)),
        probability=np.full(len(found), np.nan),
        reason=reason,
    )


def _cells(counts: pd.DataFrame, rule: Criteria) -> pd.DataFrame:
    """Return one row per school, procedure and year, classes added up, procedures of the rule."""
    table = counts
    if rule.procedures:
        known = table["procedure"].astype(str).unique()
        for procedure in rule.procedures:
            if procedure not in known:
                raise DataError(
                    text(
                        "detection.procedure",
                        rule=rule.id,
                        procedure=procedure,
                        nearest=nearest_names(procedure, known),
                    )
                )
        table = table[table["procedure"].isin(rule.procedures)]
    key = ["school_id", "procedure", "year"]
    summed = table.groupby(key, observed=True)[["n_participants", "n_below_minimum"]].sum()
    return summed.reset_index()


def _direction(criterion: Criterion, cells: pd.DataFrame) -> NDArray[np.bool_]:
    at = share_at_least(
        cells["n_below_minimum"].to_numpy(),
        cells["n_participants"].to_numpy(),
        criterion.exact_bound,
    )
    return at if criterion.direction in ("at_least", "above") else ~at


def _answers(cells: pd.DataFrame, criterion: Criterion) -> Answers:
    enough = cells["n_participants"].to_numpy() >= criterion.min_participants
    yes = _direction(criterion, cells)
    return np.where(enough, np.where(yes, YES, NO), UNKNOWN).astype(np.int8)


_ABSENT = np.int8(-2)  # not sat: counts as no, but is said


def _cube(
    tables: Tables, cells: pd.DataFrame, answers: Answers, years: NDArray[np.int64]
) -> Answers:
    """Return answers of shape (schools, procedures, years) with `_ABSENT` where not sat."""
    procedures = np.unique(cells["procedure"].to_numpy(dtype=object).astype(str))
    cube = np.full((len(tables.school_ids), len(procedures), len(years)), _ABSENT, dtype=np.int8)
    at = (
        np.searchsorted(tables.school_ids.astype(str), cells["school_id"].to_numpy(dtype=str)),
        np.searchsorted(procedures, cells["procedure"].to_numpy(dtype=object).astype(str)),
        cells["year"].to_numpy() - years[0],
    )
    cube[at] = answers
    return cube


def _reduce(cube: Answers, criterion: Criterion) -> tuple[Answers, NDArray[np.float64]]:
    """Reduce procedures and years in the criterion's order; the value counts procedures."""
    known = np.where(cube == _ABSENT, NO, cube).astype(np.int8)
    n, n_procedures, n_years = known.shape
    if criterion.order == "years":
        lasting = at_least(known.reshape(-1, n_years), criterion.years_at_least)
        per_procedure = lasting.reshape(n, n_procedures)
        value = (per_procedure == YES).sum(axis=1).astype(float)
        return at_least(per_procedure, criterion.procedures_at_least), value
    by_year = np.stack(
        [at_least(known[:, :, t], criterion.procedures_at_least) for t in range(n_years)], axis=1
    )
    value = (known[:, :, -1] == YES).sum(axis=1).astype(float)
    return at_least(by_year, criterion.years_at_least), value


def _absence(school: Answers) -> object:
    """Say that a procedure low this year was not sat the year before."""
    if ((school[:, -1] == YES) & (school[:, 0] == _ABSENT)).any():
        return text("detection.absent_before")
    return ""


def _add_certainty(
    cells: pd.DataFrame,
    criterion: Criterion,
    tables: Tables,
    found: Answers,
    reason: NDArray[np.object_],
) -> None:
    """Say of each listed school whether Wilson's lower bounds alone would list it."""
    last = cells[cells["year"] == cells["year"].max()]
    low, _ = wilson_interval(last["n_below_minimum"].to_numpy(), last["n_participants"].to_numpy())
    sure = last.loc[low >= criterion.bound].groupby("school_id", observed=True).size()
    n_sure = sure.reindex(tables.school_ids).fillna(0).to_numpy()
    for k in np.flatnonzero(found == YES):
        enough = n_sure[k] >= criterion.procedures_at_least
        reason[k] = text("detection.certain" if enough else "detection.possible")


def _posterior(tables: Tables, criterion: Criterion, cells: pd.DataFrame) -> Found:
    summed = (
        cells.groupby("school_id", observed=True)[["n_below_minimum", "n_participants"]]
        .sum()
        .reindex(tables.school_ids)
    )
    f = summed["n_below_minimum"].fillna(0).to_numpy(dtype=np.int64)
    n = summed["n_participants"].fillna(0).to_numpy(dtype=np.int64)
    prior = fit_beta_prior(f, n)
    p = probability_share_at_least(f, n, criterion.bound, prior)
    if criterion.direction in ("at_most", "below"):
        p = 1 - p
    p = np.where(n > 0, p, np.nan)
    yes = p >= criterion.losses.threshold
    reason = blank(len(f))
    for k in np.flatnonzero(n == 0):
        reason[k] = text("detection.no_counts")
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(n > 0, f / np.maximum(n, 1), np.nan)
    return Found(
        answers=np.where(n > 0, np.where(yes, YES, NO), UNKNOWN).astype(np.int8),
        value=value,
        threshold=np.full(len(f), criterion.bound),
        probability=p,
        reason=reason,
    )
