"""Cells of marks: counts of pupils per mark by school, year and procedure, read and checked.

A model of counts needs one cell per school, year and procedure, whole numbers of pupils, and at
least two marks in the region.  Whatever breaks a rule is refused with its place, its value and the
way out; nothing is repaired or dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.mark_rows import (
    Places,
    Roles,
    check_arguments,
    checked_rows,
    look_like_per_cents,
)
from resilience.errors import DataError, warn_weak_data
from resilience.i18n import text
from resilience.validation import shorten

__all__ = ["MarkCells", "read_mark_cells"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Labels = NDArray[np.object_]

BELOW = ("below", "not_below")


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkCells:
    """Counts of marks by school, year and procedure.

    Attributes
    ----------
    frame : DataFrame
        One row per cell, sorted by school, procedure and year: the keys and every other column of
        the input that is constant within each cell (covariates, cohort, municipality).  Columns
        that differ between the classes of a cell stay out, as do counts and means, which stand in
        the arrays.
    counts : ndarray of shape (n_cells, K)
        Pupils per mark, lowest first; zeros in cells that hold a mean.
    marks : tuple of str
        Names of the K marks, lowest first: the digits of ``n_2 n_3 n_4 n_5``, otherwise the names
        of the columns; ``("below", "not_below")`` for a share.
    mean, variance : ndarray of shape (n_cells,)
        Mean and its sampling variance in cells that hold a mean, NaN in cells that hold counts.
    school, year, procedure : ndarray of int64, shape (n_cells,)
        Positions in the labels.
    school_labels, year_labels, procedure_labels : ndarray of object
        Sorted labels; a single ``None`` where no year or procedure was named.
    n : ndarray of shape (n_cells,)
        Pupils of the cell; in cells that hold a mean the participants, NaN where not given.
    """

    frame: pd.DataFrame
    counts: Floats
    marks: tuple[str, ...]
    mean: Floats
    variance: Floats
    school: Integers
    year: Integers
    procedure: Integers
    school_labels: Labels
    year_labels: Labels
    procedure_labels: Labels
    n: Floats

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.counts)


def read_mark_cells(
    data: pd.DataFrame,
    *,
    group: str = "school_id",
    time: str | None = "year",
    procedure: str | None = "procedure",
    marks: str | Sequence[str] = ("n_2", "n_3", "n_4", "n_5"),
    participants: str | None = None,
    means: tuple[str, str] | None = None,
    covariates: Sequence[str] = (),
    cohort: str | None = None,
    classes: str | None = None,
) -> MarkCells:
    """Read and check a table of marks.

    Legal are marks that a school or a procedure of one year never gives (as long as the region has
    two), schools where all have one mark, procedures that a school lacks, and rows without pupils.

    Parameters
    ----------
    data : DataFrame
        A row per school, year and procedure; or per class, with ``classes``.
    group : str
        School column.
    time, procedure : str, optional
        Year and procedure columns; ``None`` where the table has one year, one procedure.
    marks : sequence of str, or str
        Columns of counts, lowest mark first.  A single column needs ``participants``: it is read
        as a share with two categories, below and not below.
    participants : str, optional
        Participants; marks must sum to it.
    means : (str, str), optional
        Columns of a mean and its sampling variance, for rows that hold these instead of counts.
    covariates : sequence of str
        Columns that must be there, filled in, and constant within the cell.
    cohort : str, optional
        Column of the cohort, under the same rule.
    classes : str, optional
        Column of the class: the classes of a cell are summed.  A cell of one row needs no class.

    Returns
    -------
    MarkCells
        Cells sorted by school, procedure and year.

    Raises
    ------
    DataError, SpecificationError
        For bad input, with culprit, rule, value and way out.

    Warns
    -----
    WeakDataWarning
        Whole numbers in all rows sum to about 100 and no participants are named.
    """
    roles = Roles(
        group=group,
        time=time,
        procedure=procedure,
        marks=(marks,) if isinstance(marks, str) else tuple(marks),
        participants=participants,
        means=means,
        covariates=tuple(covariates),
        cohort=cohort,
        classes=classes,
    )
    names = check_arguments(roles)
    rows = checked_rows(data, roles)
    if look_like_per_cents(rows.counts, roles):
        # the reader's caller is a model's fit, whose caller is meant
        warn_weak_data(text("mark_cells.maybe_per_cents"))
    school, school_labels = _codes(data, group)
    year, year_labels = _codes(data, time)
    test, test_labels = _codes(data, procedure)
    order = np.lexsort((year, test, school))
    keys = np.stack([school[order], test[order], year[order]])
    starts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
    first = order[starts]
    grouping = _Grouping(order=order, starts=starts)
    _check_cells(data, roles, grouping, rows.is_mean)
    kept = _kept_columns(data, roles, grouping)
    cells = MarkCells(
        frame=data.iloc[first][kept].reset_index(drop=True),
        counts=grouping.sums(rows.counts),
        marks=BELOW if len(names) == 1 else names,
        mean=rows.mean[first],
        variance=rows.variance[first],
        school=school[first],
        year=year[first],
        procedure=test[first],
        school_labels=school_labels,
        year_labels=year_labels,
        procedure_labels=test_labels,
        n=np.where(
            rows.is_mean[first], rows.participants[first], grouping.sums(rows.counts.sum(1))
        ),
    )
    _check_schools(cells)
    _check_procedures(cells, data, roles)
    return cells


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grouping:
    """Rows in the order of their cells, and where each cell starts."""

    order: Integers
    starts: Integers

    @property
    def sizes(self) -> Integers:
        """Rows of each cell."""
        return np.asarray(np.diff(np.r_[self.starts, len(self.order)]))

    def sums(self, values: Floats) -> Floats:
        """Return sums of the rows over each cell."""
        return np.asarray(np.add.reduceat(values[self.order], self.starts, axis=0))

    def differs(self, column: pd.Series) -> NDArray[np.bool_]:
        """Return in which cells a column has more than one value (a gap is a value)."""
        codes = pd.factorize(column, use_na_sentinel=False)[0][self.order]
        own = np.repeat(codes[self.starts], self.sizes)
        return np.asarray(np.logical_or.reduceat(codes != own, self.starts))


def _codes(data: pd.DataFrame, column: str | None) -> tuple[Integers, Labels]:
    """Return the position of each row in the sorted labels, and the labels."""
    if column is None:
        return np.zeros(len(data), dtype=np.int64), np.array([None], dtype=object)
    codes, labels = pd.factorize(data[column], sort=True)
    return codes.astype(np.int64), np.asarray(labels, dtype=object)


def _check_cells(
    data: pd.DataFrame, roles: Roles, grouping: _Grouping, is_mean: NDArray[np.bool_]
) -> None:
    """Raise for a repeated cell, a repeated class, or a mean beside counts."""
    places = Places(data=data, roles=roles)
    repeated = np.flatnonzero(grouping.sizes > 1)
    if not len(repeated):
        return
    first = grouping.order[grouping.starts]
    if roles.classes is None:
        at = repeated[0]
        raise DataError(
            text("mark_cells.repeated", place=places.row(first[at]), n=int(grouping.sizes[at]))
        )
    n_means = grouping.sums(is_mean.astype(float))
    mixed = np.flatnonzero((n_means > 0) & (grouping.sizes > 1))
    if len(mixed):
        raise DataError(
            text(
                "mark_cells.both_in_classes",
                place=places.row(first[mixed[0]]),
                n=int(n_means[mixed[0]]),
                rows=int(grouping.sizes[mixed[0]]),
            )
        )
    # one row may be the whole cell, several need their classes
    nameless = data[roles.classes].isna().to_numpy(dtype=bool)
    several = np.empty(len(data), dtype=bool)
    several[grouping.order] = np.repeat(grouping.sizes > 1, grouping.sizes)
    if (nameless & several).any():
        raise DataError(
            text(
                "mark_cells.no_class",
                place=places.row(np.argmax(nameless & several)),
                column=repr(roles.classes),
                n=int((nameless & several).sum()),
            )
        )
    twice = data.duplicated([*roles.keys, roles.classes], keep=False).to_numpy()
    if twice.any():
        at = int(np.flatnonzero(twice)[0])
        columns = [*roles.keys, roles.classes]
        same = (data[columns] == data[columns].iloc[at]).all(axis=1)
        raise DataError(
            text(
                "mark_cells.class_twice",
                place=places.row(at),
                label=data[roles.classes].iloc[at],
                n=int(same.sum()),
                column=repr(roles.classes),
            )
        )


def _kept_columns(data: pd.DataFrame, roles: Roles, grouping: _Grouping) -> list[str]:
    """Return the columns that describe a cell; covariates and the cohort must do so."""
    wanted = roles.described
    kept = []
    for name in data.columns:
        if name in roles.counted and name not in wanted:
            continue
        if name in roles.keys or grouping.sizes.max() == 1:
            kept.append(name)
            continue
        differs = grouping.differs(data[name])
        if not differs.any():
            kept.append(name)
        elif name in wanted:
            at = int(np.flatnonzero(differs)[0])
            rows = grouping.order[grouping.starts[at] :][: grouping.sizes[at]]
            raise DataError(
                text(
                    "mark_cells.not_constant",
                    column=repr(name),
                    place=Places(data=data, roles=roles).row(rows[0]),
                    values=shorten(data[name].iloc[rows].drop_duplicates()),
                    n=int(differs.sum()),
                )
            )
    return kept


def _check_schools(cells: MarkCells) -> None:
    """Raise for schools without pupils in any cell."""
    holds = np.bincount(
        cells.school,
        weights=cells.counts.sum(axis=1) + np.isfinite(cells.mean),
        minlength=len(cells.school_labels),
    )
    if (holds == 0).any():
        none = cells.school_labels[holds == 0]
        raise DataError(text("mark_cells.no_pupils", n=len(none), schools=shorten(none)))


def _check_procedures(cells: MarkCells, data: pd.DataFrame, roles: Roles) -> None:
    """Raise for a procedure of one year with fewer than two marks in the whole region."""
    n_years = len(cells.year_labels)
    counted = np.isnan(cells.mean)
    pair = (cells.procedure * n_years + cells.year)[counted]
    totals = np.zeros((len(cells.procedure_labels) * n_years, cells.counts.shape[1]))
    np.add.at(totals, pair, cells.counts[counted])
    flat = np.flatnonzero(((totals > 0).sum(axis=1) < 2)[pair])
    if not len(flat):
        return
    at = int(pair[flat[0]])
    place = Places(data=data, roles=roles).procedure(
        cells.year_labels[at % n_years], cells.procedure_labels[at // n_years]
    )
    total = totals[at]
    if total.sum() == 0:
        n_schools = len(np.unique(cells.school[counted][pair == at]))
        raise DataError(text("mark_cells.nobody", place=place, n=n_schools))
    if len(roles.marks) == 1:
        raise DataError(
            text(
                "mark_cells.one_side",
                place=place,
                n=int(total.sum()),
                value=int(total[0]),
                column=repr(roles.marks[0]),
            )
        )
    raise DataError(
        text(
            "mark_cells.one_mark",
            place=place,
            n=int(total.sum()),
            mark=cells.marks[int(np.argmax(total))],
        )
    )
