"""How strongly failing varies beyond chance, from the region's own counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.data.cohorts import procedure_grade
from resilience.detection.simulator.layout import plain_counts
from resilience.detection.verdicts.tables import gather
from resilience.stats.lists.share_moments import FailureMoments, FailureParts, tetrachoric_parts

__all__ = ["estimate_failure_parts", "failure_moments"]


def estimate_failure_parts(counts: pd.DataFrame) -> FailureParts:
    """Return the variances of failing within schools, estimated from counts of several years.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_participants n_below_minimum``; at least two procedures and
        two years.  Grades are read from the names of the procedures, so that the same pupils in
        two procedures are not taken for a bad year of the school.

    Returns
    -------
    FailureParts
        Variances in units of what is left of one result.

    Raises
    ------
    DataError
        If the counts are impossible, or hold fewer than two procedures or years.

    References
    ----------
    Pearson1900.
    """
    return failure_moments(counts).parts


def failure_moments(counts: pd.DataFrame) -> FailureMoments:
    """Return the moments behind `estimate_failure_parts`: correlations and numbers of pairs."""
    tables = gather(
        None, None, counts=plain_counts(counts), school_years=None, schools=None, variances=None
    )
    cells = tables.need("counts", "counts")
    procedures, places = np.unique(cells["procedure"].to_numpy(dtype=object), return_inverse=True)
    years, when = np.unique(cells["year"].to_numpy(dtype=np.int64), return_inverse=True)
    row = np.searchsorted(tables.school_ids, cells["school_id"].to_numpy(dtype=object))
    shape = (len(tables.school_ids), len(procedures), len(years))
    failing, n = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    failing[row, places, when] = cells["n_below_minimum"].to_numpy(dtype=np.int64)
    n[row, places, when] = cells["n_participants"].to_numpy(dtype=np.int64)
    grades = [procedure_grade(str(p)) for p in procedures]
    return tetrachoric_parts(
        failing,
        n,
        grades=[np.nan if g is None else float(g) for g in grades],
        years=[int(y) for y in years],
    )
