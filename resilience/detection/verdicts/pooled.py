r"""Low results pooled over procedures and years: a decision for the school of five pupils.

The official rule reads each procedure of a year by itself: in a school of five pupils two fails
are forty per cent.  Here the ordinal model of marks takes together everything the schools have sat
(marks where they are known, otherwise the share below the minimum), allows for pupils who sat
several procedures, and gives the probability that the *long-run* share of failing pupils is at
least the bound in enough procedures; see `resilience.stats.marks.long_run`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.cohorts import cohorts
from resilience.data.design import formula_columns
from resilience.data.mark_cells import read_mark_cells
from resilience.data.mark_layout import lay_out, separable_parts
from resilience.data.schema import MARKS
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE, Criterion
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.guards import VPR, flagged
from resilience.detection.verdicts.logic import NO, UNKNOWN, YES
from resilience.detection.verdicts.shares import share_table
from resilience.detection.verdicts.tables import Found, Tables, blank
from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.stats.marks.long_run import LongRunShares, long_run_blocks
from resilience.stats.marks.ordinal import OrdinalFit, fit_ordinal
from resilience.stats.marks.ordinal_data import OrdinalData, RandomParts
from resilience.validation import shorten

__all__ = [
    "LONG_RUN",
    "PooledFit",
    "empty_long_run",
    "first_year",
    "is_pooled",
    "judge_pooled",
    "pooled_fit",
]

Floats = NDArray[np.float64]

N_DRAWS = 4000
SEED = 0
PUPIL_CORRELATION = 0.5  # of two results of one pupil within school: stated, not estimated
_UNIT = 1.1  # of means beside counts; there are none here
_COHORT = "cohort"
LONG_RUN = (
    "procedure",
    "n_participants",
    "n_below_minimum",
    "long_run_share",
    "long_run_sd",
    "long_run_low",
    "long_run_high",
    "probability_share",
)


def is_pooled(criterion: Criterion) -> bool:
    """Tell whether the model of marks judges the criterion.

    It does where posterior evidence on the share below the minimum asks for several procedures;
    posterior evidence on one pooled share is judged by a beta distribution.
    """
    several = criterion.procedures_at_least == "all" or criterion.procedures_at_least > 1
    return criterion.column == SHARE and criterion.evidence == "posterior" and several


def first_year(criterion: Criterion, last: int) -> int:
    """Return the first year that a pooled criterion counts.

    ``years_of`` names the last n years, ``years = "latest"`` the last alone; where the criterion
    names neither, every year of the table up to the last one counts.
    """
    if criterion.years == "latest":
        return last
    return last - criterion.years_of + 1 if criterion.years_of > 1 else 0


def empty_long_run() -> pd.DataFrame:
    """Return the table of long-run shares without rows: no rule asked for them."""
    return pd.DataFrame(columns=["school_id", "rule_id", *LONG_RUN])


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledFit:
    """The ordinal model fitted to the counts of a rule.

    Attributes
    ----------
    cells : DataFrame
        The counts it was fitted to.
    fit, data : OrdinalFit, OrdinalData
        The model.
    schools, procedures : ndarray of object
        What the model's codes stand for.
    years : tuple of int
        Years of the counts.
    notes : tuple of Bilingual
        What was left out, assumed and estimated.
    """

    cells: pd.DataFrame
    fit: OrdinalFit
    data: OrdinalData
    schools: NDArray[np.object_]
    procedures: NDArray[np.object_]
    years: tuple[int, ...]
    notes: tuple[Bilingual, ...]


def judge_pooled(tables: Tables, rule: Criteria, criterion: Criterion) -> Found:
    r"""Judge a share criterion by the long-run shares of the model of marks.

    The probability is :math:`P(\pi_{jp} \ge b \text{ in at least } k \text{ procedures})` over the
    procedures the school has sat in the years that count (`first_year`), from 4000 draws; yes at or
    above the threshold of the losses, no below it.  Only a school without any counts gets
    ``insufficient_data``.  ``value`` is the expected number of such procedures, ``threshold`` the
    number asked for.

    Raises
    ------
    DataError
        If fewer than two schools have counts, or nobody, or everybody, fails anywhere.
    """
    table = share_table(tables, rule)
    first = first_year(criterion, table.last)
    years = tuple(y for y in sorted(table.years) if first <= y <= table.last)
    model = pooled_fit(tables, table.cells, years)
    n = len(tables.school_ids)
    place = np.searchsorted(tables.school_ids, model.schools)
    probability, expected, needed = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    pieces, counted = [], np.zeros(n, dtype=np.int64)
    for block in long_run_blocks(model.fit, model.data, n_draws=N_DRAWS, random_state=SEED):
        rows = place[block.school_codes]
        p, value, asked = _answer(block, criterion)
        probability[rows], expected[rows], needed[rows] = p, value, asked
        counted[rows] = block.counted()
        pieces.append(_summary(block, model, criterion.bound))
    long_run = _with_counts(pd.concat(pieces, ignore_index=True), model.cells)
    sat = np.isfinite(probability)
    with np.errstate(invalid="ignore"):
        yes = probability >= criterion.losses.threshold
    answers = np.where(sat, np.where(yes, YES, NO), UNKNOWN).astype(np.int8)
    reason = _reasons(tables, criterion, model, long_run, counted)
    if rule.exclude_flagged_vpr:
        vpr = model.cells["procedure"].astype(str).str.startswith(VPR)
        sits = np.isin(tables.school_ids, model.cells.loc[vpr, "school_id"].unique())
        doubted = flagged(tables, rule) & sits & (answers == NO)
        answers[doubted] = UNKNOWN
        reason[doubted] = blank(int(doubted.sum()), text("events.not_cleared_pooled"))
    return Found(
        answers=answers,
        value=expected,
        threshold=needed,
        probability=probability,
        reason=reason,
        long_run=long_run,
        notes=(
            *model.notes,
            text(
                "pooled.draws_error",
                draws=N_DRAWS,
                error=printed(0.5 / float(np.sqrt(N_DRAWS)), 3),
            ),
        ),
    )


def _answer(block: LongRunShares, criterion: Criterion) -> tuple[Floats, Floats, Floats]:
    """Return probability, expected number of procedures and number asked for, per school."""
    counted = block.counted()
    reached = block.reached(at_least=criterion.bound)
    if criterion.direction in ("at_most", "below"):
        reached = counted[None] - reached
    asked = criterion.procedures_at_least
    needed = np.maximum(counted, 1) if asked == "all" else np.full(len(counted), int(asked))
    return (
        np.asarray((reached >= needed).mean(axis=0)),
        np.asarray(reached.mean(axis=0)),
        needed.astype(float),
    )


def _summary(block: LongRunShares, model: PooledFit, bound: float) -> pd.DataFrame:
    """Return the long-run shares of the procedures that schools of a block have sat."""
    school, procedure = np.nonzero(block.sat)
    mean, sd = block.moments()
    low, high = block.quantiles((0.025, 0.975))
    at = (school, procedure)
    return pd.DataFrame(
        {
            "school_id": model.schools[block.school_codes[school]],
            "procedure": model.procedures[procedure],
            "long_run_share": mean[at],
            "long_run_sd": sd[at],
            "long_run_low": low[at],
            "long_run_high": high[at],
            "probability_share": block.above(bound)[at],
        }
    )


def _with_counts(shares: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    key = ["school_id", "procedure"]
    numbers = ["n_participants", "n_below_minimum"]
    summed = cells.groupby(key, observed=True)[numbers].sum().reset_index()
    joined: pd.DataFrame = shares.merge(summed, on=key, how="left", validate="one_to_one")
    return joined[["school_id", *LONG_RUN]]


def pooled_fit(tables: Tables, counts: pd.DataFrame, years: tuple[int, ...]) -> PooledFit:
    """Return the model of marks of these counts; rules of one call share it.

    Parameters
    ----------
    tables : Tables
        Holds what has been fitted.
    counts : DataFrame
        ``school_id procedure year n_participants n_below_minimum [n_2 n_3 n_4 n_5]``.
    years : tuple of int
        Years that count.
    """
    key = ("pooled", years, tuple(sorted(counts["procedure"].unique())))
    if key not in tables.cache:
        tables.cache[key] = _fitted(counts[counts["year"].isin(list(years))], years)
    found: PooledFit = tables.cache[key]
    return found


def _fitted(counts: pd.DataFrame, years: tuple[int, ...]) -> PooledFit:
    cells, notes = _marks_or_shares(counts)
    if cells["school_id"].nunique() < 2:
        raise DataError(text("pooled.few_schools", n=cells["school_id"].nunique()))
    cells = cells.assign(**{_COHORT: cohorts(cells, None)})
    read = read_mark_cells(cells, marks=MARKS, cohort=_COHORT)
    layout = lay_out(read, formula_columns("marks ~ 1"), _COHORT)
    data = layout.data(RandomParts(**separable_parts(layout)), PUPIL_CORRELATION, _UNIT)
    with threadpool_limits(limits=1):
        fit = fit_ordinal(data)
    notes.append(text("pooled.correlation", value=printed(PUPIL_CORRELATION, 2)))
    scales = fit.scales
    notes.append(
        text(
            "pooled.scales",
            school=printed(scales.school, 2),
            procedure=printed(scales.procedure, 2),
            year=printed(scales.year, 2),
            cell=printed(scales.cell, 2),
        )
    )
    if not fit.convergence.converged:
        notes.append(text("pooled.not_converged"))
    if len(years) == 1:
        notes.append(text("pooled.one_year", year=years[0]))
    return PooledFit(
        cells=cells,
        fit=fit,
        data=data,
        schools=read.school_labels,
        procedures=read.procedure_labels,
        years=years,
        notes=tuple(notes),
    )


def _marks_or_shares(counts: pd.DataFrame) -> tuple[pd.DataFrame, list[Bilingual]]:
    """Return the four marks of every cell; a share stands as marks 2 and 3.

    A procedure of one year is read in full where every cell of it has the four marks, they sum to
    the participants and the fails are the marks 2; otherwise only the share is read.  One in which
    nobody, or everybody, of the region is below the minimum tells no school from another, and is
    left out unless its marks do.
    """
    block = counts.groupby(["procedure", "year"], observed=True)
    below, sat = (
        block[c].transform("sum").to_numpy() for c in ("n_below_minimum", "n_participants")
    )
    full = np.zeros(len(counts), dtype=bool)
    if set(MARKS) <= set(counts.columns):
        marks = counts[list(MARKS)].to_numpy(dtype=float)
        own = marks.sum(axis=1) == counts["n_participants"].to_numpy()
        own &= marks[:, 0] == counts["n_below_minimum"].to_numpy()
        told = counts.assign(own=own).groupby(["procedure", "year"], observed=True)["own"]
        full = told.transform("all").to_numpy(dtype=bool)
    else:
        marks = np.zeros((len(counts), len(MARKS)))
    shares = np.zeros_like(marks)
    shares[:, 0] = counts["n_below_minimum"]
    shares[:, 1] = counts["n_participants"] - counts["n_below_minimum"]
    taken = np.where(full[:, None], marks, shares)
    cells = counts.drop(columns=[c for c in MARKS if c in counts.columns])
    cells = cells.assign(**{name: taken[:, k] for k, name in enumerate(MARKS)})
    totals = cells.groupby(["procedure", "year"], observed=True)[list(MARKS)].transform("sum")
    uneven = (totals > 0).sum(axis=1).to_numpy() > 1
    notes = []
    if (~full & uneven).any():
        names = sorted(cells.loc[~full & uneven, "procedure"].unique())
        notes.append(text("pooled.share_only", procedures=shorten(names, 12)))
    if (~uneven).any():
        flat = cells.loc[~uneven, ["procedure", "year"]].drop_duplicates()
        names = [f"{p} {y}" for p, y in flat.itertuples(index=False, name=None)]
        notes.append(text("pooled.flat", cells=shorten(sorted(names), 12)))
    nobody = not ((below > 0) & (below < sat)).any()
    if nobody:
        raise DataError(text("pooled.nobody", n=int(sat.max(initial=0))))
    return cells[uneven].reset_index(drop=True), notes


def _reasons(
    tables: Tables,
    criterion: Criterion,
    model: PooledFit,
    long_run: pd.DataFrame,
    counted: NDArray[np.int64],
) -> NDArray[np.object_]:
    """Say what was pooled, and where a long-run share beyond the bound is likeliest."""
    reason = blank(len(counted))
    years = shorten(model.years, 12)
    falling = criterion.direction in ("at_most", "below")
    ranked = long_run.sort_values(
        ["school_id", "probability_share", "procedure"], ascending=[True, falling, True]
    )
    groups = dict(iter(ranked.groupby("school_id", observed=True)))
    for k, school in enumerate(tables.school_ids):
        own = groups.get(school)
        if own is None:
            reason[k] = text("pooled.no_counts", years=years)
            continue
        share = own["probability_share"].to_numpy()[:2]
        p = 1 - share if falling else share
        shown = [printed(float(v), 2) for v in p]
        names = own["procedure"].to_numpy()[:2]
        likely = Bilingual(
            "; ".join(f"{a} {b.en}" for a, b in zip(names, shown, strict=True)),
            "; ".join(f"{a} {b.ru}" for a, b in zip(names, shown, strict=True)),
        )
        reason[k] = text(
            "pooled.one_procedure" if counted[k] == 1 else "pooled.reason",
            years=years,
            failed=int(own["n_below_minimum"].sum()),
            sat=int(own["n_participants"].sum()),
            n=int(counted[k]),
            likely=likely,
        )
    return reason
