"""Share criteria: who is below the minimum in how many procedures and years, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.verdicts.guards import VPR, flagged
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES, Answers, at_least
from resilience.detection.verdicts.tables import Found, Tables, blank
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.stats.proportions import (
    fit_beta_prior,
    probability_share_at_least,
    wilson_interval,
)
from resilience.validation import nearest_names, shorten

__all__ = ["ShareTable", "judge_shares", "share_table"]

LEVEL = 0.95  # of the interval behind "certain" and "possible"; never changes a verdict
_ABSENT = np.int8(-2)  # not sat: counts as no, but is said
_MOST_NAMED = 4  # procedures a reason names


@dataclass(frozen=True, kw_only=True, eq=False)
class ShareTable:
    """Counts of the rule's procedures, one row per school, procedure and year.

    Attributes
    ----------
    cells : DataFrame
        ``school_id procedure year n_participants n_below_minimum``, nobody absent.
    procedures : tuple of str
        Procedures that count.
    last : int
        Year of the verdict.
    years : frozenset of int
        Years the table holds.
    """

    cells: pd.DataFrame
    procedures: tuple[str, ...]
    last: int
    years: frozenset[int]


def share_table(tables: Tables, rule: Criteria) -> ShareTable:
    """Return the counts a rule reads.

    Raises
    ------
    DataError
        If the table lacks a procedure of the rule, or its year.
    """
    cells = tables.need("counts", rule.id)
    known = tuple(sorted(cells["procedure"].unique()))
    for procedure in rule.procedures:
        if procedure not in known:
            near = nearest_names(procedure, known)
            raise DataError(
                text("detection.procedure", rule=rule.id, procedure=procedure, nearest=near)
            )
    chosen = rule.procedures or known
    cells = cells[cells["procedure"].isin(list(chosen))]
    years = frozenset(int(y) for y in cells["year"].unique())
    last = max(years, default=0) if rule.year is None else rule.year
    if last not in years:
        raise DataError(
            text("detection.year", rule=rule.id, year=last, years=shorten(sorted(years), 12))
        )
    return ShareTable(cells=cells, procedures=tuple(chosen), last=last, years=years)


def judge_shares(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    r"""Judge a share criterion from counts per school, procedure and year.

    Point evidence compares integers (3 of 10 is at least .30).  A procedure that a school did not
    sit, in this year or the one before, is not low, and the reason says so; one with fewer than
    ``min_participants``, or a year the table does not hold at all, is unknown.  ``value`` is the
    number of procedures that satisfy the criterion, ``threshold`` the number needed.

    Posterior evidence pools the counts of the last ``years_of`` years over procedures:
    :math:`\pi \sim \mathrm{Beta}(\alpha+f, \beta+n-f)` with the prior that maximises the likelihood
    of all schools' counts.  It takes the results of one pupil in several procedures, and all
    results of a year, for independent draws; they are not, so that probabilities of schools with
    many procedures are too sure of themselves.  ``value`` is the pooled share, ``threshold`` the
    bound.
    """
    table = share_table(tables, rule)
    years = np.arange(table.last - criterion.years_of + 1, table.last + 1)
    cells = table.cells[table.cells["year"].isin(years)]
    if criterion.evidence == "posterior":
        return _posterior(tables, criterion, cells)
    doubted = flagged(tables, rule) if rule.exclude_flagged_vpr else None
    answers, certain = _answers(cells, criterion)
    if rule.exclude_flagged_vpr:
        answers = not_cleared(tables, rule, cells, answers)
    cube, sure = (_cube(tables, table, cells, a, years) for a in (answers, certain))
    found, value, satisfied = _reduce(cube, criterion)
    surely = _reduce(sure, criterion)[0]
    here = (cube[:, :, -1] != _ABSENT).any(axis=1)
    found = np.where(here, found, UNKNOWN).astype(np.int8)
    needed = _needed(cube, criterion)
    return Found(
        answers=found,
        value=np.where(here, value, np.nan),
        threshold=needed,
        probability=np.full(len(found), np.nan),
        reason=_reasons(
            tables,
            table,
            criterion,
            _telling(tables, table, cells, answers, found, satisfied),
            cube,
            found,
            here,
            doubted,
        ),
        certain=np.where(here, surely, UNKNOWN).astype(np.int8),
    )


def _answers(cells: pd.DataFrame, criterion: Criterion) -> tuple[Answers, Answers]:
    """Return the answer of each cell, and the answer if only sure ones counted."""
    f = cells["n_below_minimum"].to_numpy()
    n = cells["n_participants"].to_numpy()
    low, high = wilson_interval(f, n, level=LEVEL)
    ends = criterion.exact_ends
    tests = {
        "at_least": (_compare(f, n, ends[0]) >= 0, low >= float(ends[0])),
        "above": (_compare(f, n, ends[0]) > 0, low > float(ends[0])),
        "at_most": (_compare(f, n, ends[0]) <= 0, high <= float(ends[0])),
        "below": (_compare(f, n, ends[0]) < 0, high < float(ends[0])),
        "between": (
            (_compare(f, n, ends[0]) >= 0)
            & (_compare(f, n, ends[-1]) < (0 if criterion.open_above else 1)),
            (low >= float(ends[0])) & (high <= float(ends[-1])),
        ),
    }
    enough = n >= criterion.min_participants
    yes, sure = tests[criterion.direction]
    return (
        np.where(enough, np.where(yes, YES, NO), UNKNOWN).astype(np.int8),
        np.where(enough & yes & sure, YES, NO).astype(np.int8),
    )


def not_cleared(tables: Tables, rule: Criteria, cells: pd.DataFrame, answers: Answers) -> Answers:
    """Return the answers with a ВПР share that is not low unknown in schools with flagged marks."""
    flags = flagged(tables, rule)
    row = np.searchsorted(tables.school_ids, cells["school_id"].to_numpy(dtype=object))
    vpr = cells["procedure"].astype(str).str.startswith(VPR).to_numpy(dtype=bool)
    return np.where(flags[row] & vpr & (answers == NO), UNKNOWN, answers).astype(np.int8)


def _compare(f: NDArray[np.int64], n: NDArray[np.int64], bound: Fraction) -> NDArray[np.int64]:
    """Return the sign of f/n − bound in whole numbers."""
    return np.asarray(np.sign(f * bound.denominator - n * bound.numerator))


def _cube(
    tables: Tables,
    table: ShareTable,
    cells: pd.DataFrame,
    answers: Answers,
    years: NDArray[np.int64],
) -> Answers:
    """Return answers of shape (schools, procedures, years) with `_ABSENT` where not sat."""
    shape = (len(tables.school_ids), len(table.procedures), len(years))
    cube = np.full(shape, _ABSENT, dtype=np.int8)
    for t, year in enumerate(years):
        if int(year) not in table.years:
            cube[:, :, t] = UNKNOWN  # nobody sat anything: the year is not in the table
    cube[(*_place(tables, table, cells), cells["year"].to_numpy() - years[0])] = answers
    return cube


def _place(
    tables: Tables, table: ShareTable, cells: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the column of each cell."""
    order = np.argsort(np.array(table.procedures, dtype=object))
    ranked = np.array(table.procedures, dtype=object)[order]
    column = order[np.searchsorted(ranked, cells["procedure"].to_numpy(dtype=object))]
    row = np.searchsorted(tables.school_ids, cells["school_id"].to_numpy(dtype=object))
    return row, column


def _needed(cube: Answers, criterion: Criterion) -> NDArray[np.float64]:
    """Return how many procedures each school needs."""
    if criterion.procedures_at_least == "all":
        return np.asarray((cube[:, :, -1] != _ABSENT).sum(axis=1).astype(float))
    return np.full(len(cube), float(criterion.procedures_at_least))


def _reduce(
    cube: Answers, criterion: Criterion
) -> tuple[Answers, NDArray[np.float64], NDArray[np.bool_]]:
    """Reduce procedures and years in the criterion's order.

    Returns the answers, the number of procedures that satisfy the criterion, and which do.
    """
    n, n_procedures, n_years = cube.shape
    known = np.where(cube == _ABSENT, NO, cube).astype(np.int8)
    if criterion.order == "years":
        lasting = at_least(known.reshape(-1, n_years), criterion.years_at_least)
        by_procedure = lasting.reshape(n, n_procedures)
        sat = (cube != _ABSENT).any(axis=2)
        yes = by_procedure == YES
        return _of_procedures(by_procedure, sat, criterion), yes.sum(axis=1).astype(float), yes
    by_year = np.stack(
        [
            _of_procedures(known[:, :, t], cube[:, :, t] != _ABSENT, criterion)
            for t in range(n_years)
        ],
        axis=1,
    )
    value = (known[:, :, -1] == YES).sum(axis=1).astype(float)
    answers = at_least(by_year, criterion.years_at_least)
    return answers, value, (known == YES).any(axis=2)


def _of_procedures(answers: Answers, sat: NDArray[np.bool_], criterion: Criterion) -> Answers:
    """Reduce procedures: enough of them, or every one that was sat."""
    if criterion.procedures_at_least != "all":
        return at_least(answers, criterion.procedures_at_least)
    every = at_least(np.where(sat, answers, YES).astype(np.int8), answers.shape[1])
    return np.where(sat.any(axis=1), every, NO).astype(np.int8)


def _telling(
    tables: Tables,
    table: ShareTable,
    cells: pd.DataFrame,
    answers: Answers,
    found: Answers,
    satisfied: NDArray[np.bool_],
) -> pd.DataFrame:
    """Return the cells that a reason may name: of a yes, those of procedures that satisfy it."""
    row, column = _place(tables, table, cells)
    kept = (found[row] != YES) | satisfied[row, column]
    telling: pd.DataFrame = cells.assign(answer=answers).loc[kept]
    return telling


def _reasons(
    tables: Tables,
    table: ShareTable,
    criterion: Criterion,
    cells: pd.DataFrame,
    cube: Answers,
    found: Answers,
    here: NDArray[np.bool_],
    doubted: NDArray[np.bool_] | None,
) -> NDArray[np.object_]:
    """Say for each school which procedures count, with their numbers."""
    reason = blank(len(found))
    named = _named(cells, YES)
    small = _named(cells, UNKNOWN)
    years = range(table.last - criterion.years_of + 1, table.last + 1)
    absent_year = [
        y for y in range(table.last - criterion.years_of + 1, table.last) if y not in table.years
    ]
    before = (cube[:, :, -1] == YES) & (cube[:, :, :-1] == _ABSENT).any(axis=2)
    for k, school in enumerate(tables.school_ids):
        if not here[k]:
            reason[k] = text("detection.no_counts", year=table.last)
        elif found[k] == UNKNOWN and absent_year:
            reason[k] = text("detection.no_year", years=shorten(absent_year))
        elif found[k] == UNKNOWN and doubted is not None and doubted[k]:
            reason[k] = text("events.not_cleared", cells=small.get(school, ""))
        elif found[k] == UNKNOWN:
            reason[k] = text(
                "detection.few_participants",
                n=criterion.min_participants,
                cells=small.get(school, ""),
            )
        elif school in named:
            reason[k] = text("detection.reached", cells=named[school])
            if found[k] == NO and criterion.years_of > 1 and before[k].any():
                away = shorten(
                    (p for p, gone in zip(table.procedures, before[k], strict=True) if gone),
                    _MOST_NAMED,
                )
                reason[k] = text("detection.absent_before", cells=named[school], procedures=away)
        else:
            reason[k] = text("detection.none_reached", years=shorten(years))
    return reason


def _named(cells: pd.DataFrame, answer: np.int8) -> dict[str, Bilingual]:
    """Return ``ОГЭ-МА 2025: 4 of 10`` for the cells of each school with this answer."""
    chosen = cells[cells["answer"] == answer].sort_values(
        ["school_id", "procedure", "year"], kind="stable"
    )
    parts: dict[str, list[Bilingual]] = {}
    rows: Sequence[tuple[str, str, int, int, int]] = list(
        chosen[["school_id", "procedure", "year", "n_below_minimum", "n_participants"]].itertuples(
            index=False, name=None
        )
    )
    for school, procedure, year, f, n in rows:
        parts.setdefault(school, []).append(
            Bilingual(f"{procedure} {year}: {f} of {n}", f"{procedure} {year}: {f} из {n}")
        )
    return {
        school: Bilingual(
            shorten((c.en for c in own), 2 * _MOST_NAMED),
            shorten((c.ru for c in own), 2 * _MOST_NAMED),
        )
        for school, own in parts.items()
    }


def _posterior(tables: Tables, criterion: Criterion, cells: pd.DataFrame) -> Found:
    summed = (
        cells.groupby("school_id", observed=True)[["n_below_minimum", "n_participants"]]
        .sum()
        .reindex(tables.school_ids)
    )
    f = summed["n_below_minimum"].fillna(0).to_numpy(dtype=np.int64)
    n = summed["n_participants"].fillna(0).to_numpy(dtype=np.int64)
    p = probability_share_at_least(f, n, criterion.bound, fit_beta_prior(f, n))
    if criterion.direction in ("at_most", "below"):
        p = 1 - p
    sat = n > 0
    p = np.where(sat, p, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(sat, f / np.maximum(n, 1), np.nan)
        yes = p >= criterion.losses.threshold
    reason = blank(len(f))
    for k in range(len(f)):
        reason[k] = (
            text("detection.pooled", failed=int(f[k]), sat=int(n[k]))
            if sat[k]
            else text("detection.no_counts", year=int(cells["year"].max()))
        )
    return Found(
        answers=np.where(sat, np.where(yes, YES, NO), UNKNOWN).astype(np.int8),
        value=value,
        threshold=np.full(len(f), criterion.bound),
        probability=p,
        reason=reason,
    )
