r"""From counts of marks to school-year means with a sampling variance: the normal approximation.

Marks 2 to 5 are standardised over the pupils of the region within procedure and year.  The mean of
a school-year over its procedures has weights proportional to participants, and the sampling
variance

.. math::

   \sum_g \sigma^2 \Big[(1-r) \sum_{p \in g} w_p^2/n_p + r \Big(\sum_{p \in g} w_p/\sqrt{n_p}\Big)^2
   \Big],

where the procedures :math:`p` of one grade :math:`g` are sat by the same pupils, whose marks
correlate by :math:`r` (.5 without pupil data: a proposal), and :math:`\sigma^2` is the variance of
standardised marks within schools, pooled over the region.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_columns, check_finite, check_not_empty, check_numeric

__all__ = ["MARKS", "has_marks", "marks_to_means"]

MARKS = ("n_2", "n_3", "n_4", "n_5")
_VALUES = np.array([2.0, 3.0, 4.0, 5.0])


def has_marks(counts: pd.DataFrame | None) -> bool:
    """Return whether a table of counts holds any marks."""
    if counts is None or not set(MARKS) <= set(counts.columns):
        return False
    return bool(counts[list(MARKS)].notna().any(axis=None))


def marks_to_means(counts: pd.DataFrame, *, correlation: float = 0.5) -> pd.DataFrame:
    """Return one row per school and year with a standardised mean mark.

    Parameters
    ----------
    counts : DataFrame
        ``school_id year procedure n_2 n_3 n_4 n_5``; several classes of one procedure may stand in
        several rows.  Rows with none of the four counts (test scores without marks) are left aside.
    correlation : float
        Correlation of one pupil's marks in two procedures of one grade and year.

    Returns
    -------
    DataFrame
        ``school_id year mean_score sampling_variance n_pupils``: the mean in SD of marks, its
        sampling variance, and the largest number of participants in any one procedure summed over
        grades.

    Raises
    ------
    DataError
        If the table is empty, lacks a column, or all marks of a procedure and year are equal.
    """
    key = ["school_id", "year", "procedure"]
    check_not_empty(counts, table="counts")
    check_columns(counts, [*key, *MARKS], table="counts")
    check_numeric(counts, MARKS, table="counts")
    # a procedure without marks (ЕГЭ in test scores) has none of the four; one alone missing is a
    # gap, which a sum would read as zero
    counts = counts[counts[list(MARKS)].notna().any(axis=1)]
    check_finite(counts, [*key, *MARKS], table="counts", unit="school_id")
    table = counts.groupby(key, observed=True, sort=True)[list(MARKS)].sum().reset_index()
    sizes = table[list(MARKS)].sum(axis=1)
    table = table[sizes > 0].reset_index(drop=True)
    check_not_empty(table, table="counts")
    marks = table[list(MARKS)].to_numpy(dtype=float)
    n = marks.sum(axis=1)
    cell = np.asarray(table.groupby(["procedure", "year"], observed=True).ngroup(), dtype=np.int64)
    means, spreads = _moments(marks, cell)
    if (spreads <= 0).any():
        at = int(np.flatnonzero(spreads[cell] <= 0)[0])
        raise DataError(
            text(
                "pipeline.flat_marks",
                procedure=table["procedure"].iloc[at],
                year=table["year"].iloc[at],
            )
        )
    z = (_VALUES[None, :] - means[cell, None]) / spreads[cell, None]
    mean = (marks * z).sum(axis=1) / n
    within = (marks * (z - mean[:, None]) ** 2).sum(axis=1)
    degrees = max(float((n - 1).sum()), 1.0)
    table = table.assign(
        n=n,
        mean=mean,
        sigma2=float(within.sum() / degrees),
        grade=[_grade(str(p)) for p in table["procedure"]],
    )
    return _school_years(table, correlation)


def _moments(
    marks: NDArray[np.float64], cell: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and SD of the marks of each procedure and year over all pupils."""
    n_cells = int(cell.max()) + 1
    totals = np.zeros((n_cells, 4))
    np.add.at(totals, cell, marks)
    size = totals.sum(axis=1)
    mean = totals @ _VALUES / size
    spread = np.sqrt(totals @ _VALUES**2 / size - mean**2 + 0.0)
    return mean, np.where(spread < 1e-9, 0.0, spread)


def _grade(procedure: str) -> str:
    """Return kind and grade of a procedure: its pupils are one group (ВПР-5, ОГЭ, ЕГЭ)."""
    parts = procedure.split("-")
    return "-".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]


def _school_years(table: pd.DataFrame, correlation: float) -> pd.DataFrame:
    cells = ["school_id", "year"]
    total = table.groupby(cells, observed=True)["n"].transform("sum")
    weight = table["n"] / total
    pieces = table.assign(
        part=weight * table["mean"],
        own=weight**2 / table["n"],
        shared=weight / np.sqrt(table["n"]),
    )
    grades = (
        pieces.groupby([*cells, "grade"], observed=True, sort=True)
        .agg(
            part=("part", "sum"),
            own=("own", "sum"),
            shared=("shared", "sum"),
            n=("n", "max"),
            sigma2=("sigma2", "first"),
        )
        .reset_index()
    )
    grades["sampling_variance"] = grades["sigma2"] * (
        (1.0 - correlation) * grades["own"] + correlation * grades["shared"] ** 2
    )
    years = (
        grades.groupby(cells, observed=True, sort=True)
        .agg(
            mean_score=("part", "sum"),
            sampling_variance=("sampling_variance", "sum"),
            n_pupils=("n", "sum"),
        )
        .reset_index()
    )
    years["n_pupils"] = years["n_pupils"].astype(np.int64)
    return years
