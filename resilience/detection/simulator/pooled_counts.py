"""Criteria judged by the ordinal model of all counts, refitted for every simulated region."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.simulator.answers import Answered
from resilience.detection.simulator.layout import Layout
from resilience.detection.verdicts.pooled import first_year, pooled_fit
from resilience.detection.verdicts.tables import gather
from resilience.stats.marks.long_run import LongRunShares, long_run_blocks

__all__ = ["judge_pooled_counts"]

Counts = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

N_DRAWS = 1000  # of long-run shares: the error of a probability is at most .016


def judge_pooled_counts(
    rule: Criteria, criterion: Criterion, layout: Layout, failing: Counts, at: int
) -> Answered:
    """Judge each replicate as ``verdicts.pooled.judge_pooled`` does.

    The simulated tables hold participants and those below the minimum, not all four marks, so that
    the model knows a little less than it would of a real region.

    Parameters
    ----------
    rule, criterion : Criteria, Criterion
        What is asked.
    layout : Layout
        Sizes of the cells.
    failing : ndarray of int, shape (n_replicates, n_schools, n_own_procedures, n_years)
        Simulated counts of the rule's procedures.
    at : int
        Index of the year of the verdict.
    """
    last = layout.years[at]
    first = first_year(criterion, last)
    columns = layout.columns(rule)
    inside = [k for k, year in enumerate(layout.years) if first <= year <= last]
    n = layout.n[:, columns][:, :, inside]
    s, p, t = np.nonzero(n)
    years = np.array(layout.years)[inside]
    frame = pd.DataFrame(
        {
            "school_id": layout.school_ids[s],
            "procedure": np.array(layout.procedures, dtype=object)[columns][p],
            "year": years[t],
            "n_participants": n[s, p, t],
        }
    )
    probability = np.full((len(failing), len(layout.school_ids)), np.nan)
    for r, one in enumerate(failing):
        counts = frame.assign(n_below_minimum=one[:, :, inside][s, p, t])
        probability[r] = _probabilities(counts, criterion, layout)
    sat = np.isfinite(probability)
    with np.errstate(invalid="ignore"):
        yes = sat & (probability >= criterion.losses.threshold)
    # a procedure of doubtful marks clears nobody: a plain no becomes unknown
    doubted = (layout.uncleared(rule)[:, columns] & (n > 0).any(axis=2)).any(axis=1)
    return Answered(yes=yes, unknown=~sat | (doubted & ~yes))


def _probabilities(counts: pd.DataFrame, criterion: Criterion, layout: Layout) -> Floats:
    tables = gather(None, None, counts=counts, school_years=None, schools=None, variances=None)
    cells = tables.need("counts", criterion.name)
    model = pooled_fit(tables, cells, tuple(sorted(int(y) for y in cells["year"].unique())))
    place = np.searchsorted(layout.school_ids, model.schools)
    found = np.full(len(layout.school_ids), np.nan)
    for block in long_run_blocks(model.fit, model.data, n_draws=N_DRAWS, random_state=0):
        found[place[block.school_codes]] = _enough(block, criterion)
    return found


def _enough(block: LongRunShares, criterion: Criterion) -> Floats:
    """Return the probability that enough procedures lie beyond the bound in the long run."""
    counted = block.counted()
    reached = block.reached(at_least=criterion.bound)
    if criterion.direction in ("at_most", "below"):
        reached = counted[None] - reached
    asked = criterion.procedures_at_least
    needed = np.maximum(counted, 1) if asked == "all" else int(asked)
    return np.asarray((reached >= needed).mean(axis=0))
