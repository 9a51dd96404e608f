"""Everything the weights are found from and applied to, prepared once per fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.context.gaps import GapPattern, completed, coverage, gap_patterns
from resilience.context.panel import ReportingError, reporting_error
from resilience.context.reading import SchoolTable
from resilience.context.standardise import StandardisedItems, standardise
from resilience.context.variables import IndexInput

__all__ = ["PreparedTable", "prepare"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedTable:
    """School-years with standardised, completed items.

    Attributes
    ----------
    table : SchoolTable
        The checked table.
    items : tuple of IndexInput
        Items in the order of the columns.
    standardised : StandardisedItems
        Signed items with gaps, and the frozen base-year moments.
    filled : ndarray of shape (n_rows, n_items)
        Signed items with the gaps filled by conditional expectation.
    gaps : tuple of GapPattern
        Patterns of missing items.
    error : ReportingError
        Error variance of the items.
    min_coverage : float
        Least share of the weights that must be known.
    """

    table: SchoolTable
    items: tuple[IndexInput, ...]
    standardised: StandardisedItems
    filled: Floats
    gaps: tuple[GapPattern, ...]
    error: ReportingError
    min_coverage: float

    @property
    def n_rows(self) -> int:
        """Number of school-years."""
        return int(self.table.year.size)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    def covered(self, weights: Floats) -> Flags:
        """Return which rows know enough of the weights."""
        # Sums of decimal weights may fall short of the limit by rounding alone.
        return np.asarray(coverage(self.standardised.signed, weights) >= self.min_coverage - 1e-9)


def prepare(
    table: SchoolTable, items: Sequence[IndexInput], base_year: int | None, min_coverage: float
) -> PreparedTable:
    """Return the prepared table; see `standardise`, `gap_patterns` and `reporting_error`."""
    standardised = standardise(table, items, base_year)
    gaps = gap_patterns(standardised.signed, standardised.correlation)
    return PreparedTable(
        table=table,
        items=tuple(items),
        standardised=standardised,
        filled=completed(standardised.signed, gaps),
        gaps=gaps,
        error=reporting_error(table, standardised.signed, standardised.base_sd, items),
        min_coverage=min_coverage,
    )
