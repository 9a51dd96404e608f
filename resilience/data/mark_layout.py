"""From checked cells of marks to the arrays of the ordinal engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.data.design import FormulaColumns, learn_columns
from resilience.data.mark_cells import MarkCells
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.marks.ordinal_cells import mark_information, shared_covariance
from resilience.stats.marks.ordinal_data import ABOVE, BELOW, OrdinalData, RandomParts
from resilience.stats.mixed import dependent_columns

__all__ = ["Layout", "lay_out", "names_of", "separable_parts"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Cells with pupils, and what each number of the engine stands for.

    Attributes
    ----------
    cells : MarkCells
        As read.
    rows : ndarray of int
        Cells that hold pupils or a mean, in the order of the engine.
    block : ndarray of shape (n_rows,), int
        Number of the procedure × year (counts and means apart) of each cell.
    block_rows : ndarray of int
        First of ``rows`` in each block: names its procedure and year.
    borders : ndarray of shape (n_blocks, K − 1), int
        Number of each threshold, or an infinite one.
    X : ndarray of shape (n_rows, p)
        Covariates, centred and scaled to SD 1 over pupils.
    scale : ndarray of shape (p,)
        Their SD.
    terms : tuple of str
        Their names.
    size : ndarray of shape (n_rows,)
        Pupils of each cell; for means without participants, pupils that the variance stands for.
    cohort : ndarray of shape (n_rows,), int
        Number of the cohort within its school, −1 for cells that share pupils with no other.
    cohort_size : ndarray of shape (n_rows,)
        Pupils of the cohort: the largest of its cells.
    """

    cells: MarkCells
    rows: Codes
    block: Codes
    block_rows: Codes
    borders: Codes
    X: Floats
    scale: Floats
    terms: tuple[str, ...]
    size: Floats
    cohort: Codes
    cohort_size: Floats

    @property
    def is_mean(self) -> NDArray[np.bool_]:
        """Cells that hold a mean."""
        return np.isfinite(self.cells.mean[self.rows])

    def _regional_cuts(self) -> Floats:
        """Return the thresholds of each block in SD of the region's pupils, from shares alone."""
        k = self.borders.shape[1]
        totals = np.zeros((len(self.borders), k + 1))
        np.add.at(totals, self.block, self.cells.counts[self.rows])
        share = np.cumsum(totals, axis=1)[:, :k] / np.maximum(totals.sum(axis=1), 1.0)[:, None]
        return np.asarray(np.clip(special.ndtri(share), -60.0, 60.0))

    def _shared(self, correlation: float) -> tuple[Floats, Floats]:
        """Return, by block, the information of a mark and the covariance of one pupil's marks."""
        means = np.isfinite(self.cells.mean[self.rows[self.block_rows]])
        cuts = self._regional_cuts()
        cuts[means] = 0.0
        kept = np.where(means, 1.0, mark_information(cuts))
        return kept, np.where(means, correlation, shared_covariance(cuts, correlation))

    def data(self, parts: RandomParts, correlation: float, unit: float) -> OrdinalData:
        """Return the engine's arrays.

        Parameters
        ----------
        parts : RandomParts
            Random parts.
        correlation : float
            Correlation of the results of one pupil in two cells of a cohort.
        unit : float
            SD of pupils of the region in SD of pupils within schools: turns means into the scale of
            the engine.
        """
        cells, rows = self.cells, self.rows
        means = self.is_mean
        precision = np.zeros(len(rows))
        precision[means] = 1.0 / (cells.variance[rows][means] * unit**2)
        mean = np.zeros(len(rows))
        mean[means] = cells.mean[rows][means] * unit
        together = self.cohort >= 0
        kept, alike = (values[self.block] for values in self._shared(correlation))
        # a cohort of one or two has no more in common than one pupil's results
        common = np.where(together, np.minimum(alike / self.cohort_size, correlation), 0.0)
        weight = np.where(means, 1.0, 1.0 - common) / (1.0 - kept * common * self.size)
        return OrdinalData(
            counts=cells.counts[rows],
            X=self.X,
            school=_compact(cells.school[rows]),
            year=cells.year[rows],
            procedure=cells.procedure[rows],
            thresholds=self.borders[self.block],
            n_thresholds=int(self.borders.max()) + 1,
            cohort=self.cohort if correlation > 0 else np.full(len(rows), -1),
            shared=np.sqrt(common),
            weight=weight,
            mean=mean,
            precision=precision,
            parts=parts,
        )


def lay_out(cells: MarkCells, parts: FormulaColumns, cohort: str | None) -> Layout:
    """Return the layout of checked cells.

    Raises
    ------
    SpecificationError
        If a covariate repeats others, or differs only between procedures and years, whose
        thresholds are free.
    """
    means = np.isfinite(cells.mean)
    rows = np.flatnonzero((cells.counts.sum(axis=1) > 0) | means)
    n_years = len(cells.year_labels)
    key = (cells.procedure[rows] * n_years + cells.year[rows]) * 2 + means[rows]
    _, block_rows, block = np.unique(key, return_index=True, return_inverse=True)
    size = np.where(means[rows] & ~np.isfinite(cells.n[rows]), 0.0, cells.n[rows])
    unknown = size <= 0
    size = np.where(unknown, 1.0 / np.where(unknown, cells.variance[rows], 1.0), size)
    X, scale, terms = _covariates(cells.frame.iloc[rows], parts, block, size)
    number, largest = _cohorts(cells, rows, cohort, size)
    return Layout(
        cells=cells,
        rows=rows.astype(np.int64),
        block=block.astype(np.int64),
        block_rows=block_rows.astype(np.int64),
        borders=_borders(cells.counts[rows], block, means[rows][block_rows]),
        X=X,
        scale=scale,
        terms=terms,
        size=size,
        cohort=number,
        cohort_size=largest,
    )


def separable_parts(layout: Layout) -> dict[str, bool]:
    """Tell which random parts the cells can tell apart.

    Returns
    -------
    dict
        ``year``: some school has two years; ``procedure``: some has two procedures; ``cell``: some
        has two procedures in each of two years, without which it repeats another part.
    """
    cells, rows = layout.cells, layout.rows
    school, year, procedure = cells.school[rows], cells.year[rows], cells.procedure[rows]
    return {
        "year": _several(school, year),
        "procedure": _several(school, procedure),
        "cell": _crossed(school, year, procedure),
    }


def _several(school: Codes, codes: Codes) -> bool:
    """Tell whether some school has two values."""
    pairs = np.unique(np.stack([school, codes], axis=1), axis=0)
    return bool(np.bincount(pairs[:, 0]).max() > 1)


def _crossed(school: Codes, year: Codes, procedure: Codes) -> bool:
    """Tell whether some school has two procedures in each of two years."""
    cells = np.unique(np.stack([school, year, procedure], axis=1), axis=0)
    years, n_procedures = np.unique(cells[:, :2], axis=0, return_counts=True)
    full = years[n_procedures > 1, 0]
    return bool(len(full) and np.bincount(full).max() > 1)


def _compact(codes: Codes) -> Codes:
    """Return codes without gaps: a school whose cells are all empty was refused before."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _covariates(
    frame: pd.DataFrame, parts: FormulaColumns, block: Codes, size: Floats
) -> tuple[Floats, Floats, tuple[str, ...]]:
    matrix, spec = learn_columns(frame, parts)
    names = [str(c) for c in spec.column_names]
    kept = [k for k, name in enumerate(names) if name != "Intercept"]
    X, terms = matrix[:, kept], tuple(names[k] for k in kept)
    if not kept:
        return X, np.ones(0), terms
    X = X - np.average(X, axis=0, weights=size)
    scale = np.sqrt(np.average(X**2, axis=0, weights=size))
    # what differs between procedures and years alone cannot be told from their thresholds
    totals = np.zeros((int(block.max()) + 1, X.shape[1]))
    np.add.at(totals, block, X * size[:, None])
    weights = np.bincount(block, weights=size)
    within = (X - (totals / weights[:, None])[block]) / np.where(scale > 0, scale, 1.0)
    dependent = dependent_columns(within.T @ within, terms)
    flat = [t for t, s in zip(terms, np.ptp(within, axis=0), strict=True) if s < 1e-9]
    if flat or dependent:
        columns = ", ".join(repr(name) for name in dict.fromkeys([*flat, *dependent]))
        raise SpecificationError(text("value_added_marks.collinear", columns=columns))
    return X / scale, scale, terms


def _borders(counts: Floats, block: Codes, is_mean: NDArray[np.bool_]) -> Codes:
    """Return numbers of thresholds of each block; marks that nobody got leave none of their own."""
    n_blocks, k = int(block.max()) + 1, counts.shape[1] - 1
    totals = np.zeros((n_blocks, k + 1))
    np.add.at(totals, block, counts)
    borders = np.full((n_blocks, k), ABOVE, dtype=np.int64)
    number = 0
    for b in range(n_blocks):
        if is_mean[b]:
            borders[b, 0] = number
            number += 1
            continue
        below, above = np.cumsum(totals[b])[:-1], np.cumsum(totals[b][::-1])[::-1][1:]
        for border in range(k):
            if below[border] == 0:
                borders[b, border] = BELOW
            elif above[border] == 0:
                borders[b, border] = ABOVE
            elif border and totals[b, border] == 0 and below[border - 1] > 0:
                borders[b, border] = borders[b, border - 1]
            else:
                borders[b, border] = number
                number += 1
    return borders


def _cohorts(
    cells: MarkCells, rows: Codes, column: str | None, size: Floats
) -> tuple[Codes, Floats]:
    """Return numbers and sizes of the cohorts that stand in two cells of a school or more."""
    alone = np.full(len(rows), -1, dtype=np.int64)
    if column is None:
        return alone, np.ones(len(rows))
    codes = pd.factorize(cells.frame[column].iloc[rows])[0].astype(np.int64)
    pair = cells.school[rows] * (int(codes.max()) + 1) + codes
    _, unit, n_cells = np.unique(pair, return_inverse=True, return_counts=True)
    largest = np.zeros(len(n_cells))
    np.maximum.at(largest, unit, size)
    shared = n_cells > 1
    # number within the school, cohorts alone left out
    first = np.flatnonzero(shared)
    school = np.zeros(len(n_cells), dtype=np.int64)
    school[unit] = cells.school[rows]
    place = _place_within(school[first])
    number = alone.copy()
    numbers = np.full(len(n_cells), -1, dtype=np.int64)
    numbers[first] = place
    number[:] = numbers[unit]
    return number, np.where(number >= 0, largest[unit], 1.0)


def _place_within(school: Codes) -> Codes:
    """Return 0, 1, 2 … within runs of equal, ascending codes."""
    _, starts, sizes = np.unique(school, return_index=True, return_counts=True)
    return np.asarray(np.arange(len(school)) - np.repeat(starts, sizes), dtype=np.int64)


def names_of(layout: Layout, blocks: Sequence[int] | Codes) -> tuple[list[object], list[object]]:
    """Return procedure and year of blocks."""
    rows = layout.rows[layout.block_rows[np.asarray(blocks, dtype=np.int64)]]
    cells = layout.cells
    return (
        list(cells.procedure_labels[cells.procedure[rows]]),
        list(cells.year_labels[cells.year[rows]]),
    )
