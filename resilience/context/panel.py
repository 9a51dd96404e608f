"""What two years of the same school tell: reporting error and year-to-year correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.context.reading import SchoolTable
from resilience.context.standardise import transform_error_variance
from resilience.context.variables import IndexInput

__all__ = ["ErrorSource", "ReportingError", "lag_correlation", "reporting_error", "year_pairs"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
ErrorSource = str  # "years", "binomial" or "none"

# 1.4826·MAD is the SD of a normal distribution.
MAD_TO_SD = 1.4826
# Below this number of yearly changes their median deviation is too loose to replace theory.
FEWEST_CHANGES = 10
FEWEST_PAIRS_FOR_CORRELATION = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportingError:
    """Error variance of the standardised items.

    Attributes
    ----------
    variance : ndarray of shape (n_rows, n_items)
        Ω_kk per school-year, in squared base-year SDs; NaN where the item is missing and the
        error depends on it.
    source : tuple of str
        Per item ``years`` (from yearly changes; for a share never below the error its number of
        pupils implies), ``binomial`` (from the number of pupils) or ``none`` (a number seen in one
        year, or one that never changes).
    """

    variance: Floats
    source: tuple[ErrorSource, ...]


def year_pairs(table: SchoolTable) -> tuple[Integers, Integers]:
    """Return row numbers of the same school in one year of the table and the next."""
    position = np.searchsorted(np.asarray(table.years), table.year)
    order = np.lexsort((position, table.school))
    same = table.school[order][1:] == table.school[order][:-1]
    adjacent = position[order][1:] == position[order][:-1] + 1
    here = np.flatnonzero(same & adjacent)
    return order[here], order[here + 1]


def reporting_error(
    table: SchoolTable, signed: Floats, base_sd: Floats, items: Sequence[IndexInput]
) -> ReportingError:
    r"""Return the error variance of each standardised item in a single year.

    With at least two years :math:`\Omega_{skk} = \max(½(1.4826·\mathrm{MAD}(\Delta z_k))^2,
    b_{sk}/d_k^2)` after the year means are removed; b is the binomial variance of the school's own
    share on the transformed scale (`transform_error_variance`), 0 for a number.  With fewer than
    10 yearly changes, or where most schools hand in the same number again (MAD 0),
    :math:`b_{sk}/d_k^2` alone.

    The yearly changes give one error for schools of all sizes.  It contains real change, and where
    sizes differ much it overstates the error of the largest schools; the smallest, whose error it
    would understate, are held by the binomial floor.

    Parameters
    ----------
    table : SchoolTable
        Rows.
    signed : ndarray of shape (n_rows, n_items)
        Standardised items with NaN gaps.
    base_sd : ndarray of shape (n_items,)
        d_k.
    items : sequence of IndexInput
        Transforms.
    """
    before, after = year_pairs(table)
    variance = np.zeros_like(signed)
    source: list[ErrorSource] = []
    for k, item in enumerate(items):
        centred = _without_year_means(signed[:, k], table.year)
        change = centred[after] - centred[before]
        change = change[~np.isnan(change)]
        spread = (
            MAD_TO_SD * float(np.median(np.abs(change - np.median(change))))
            if change.size >= FEWEST_CHANGES
            else 0.0
        )
        on_scale = transform_error_variance(table.values[:, k], table.n_pupils, item.transform)
        by_size = on_scale / base_sd[k] ** 2
        if spread > 0:
            # One spread for all sizes is too small for the smallest schools: size sets a floor.
            # A missing share has no binomial error (NaN) and keeps the common one.
            typical = np.full(signed.shape[0], 0.5 * spread**2)
            variance[:, k] = np.fmax(typical, by_size)
            source.append("years")
            continue
        variance[:, k] = by_size
        source.append("none" if item.transform == "number" else "binomial")
    return ReportingError(variance=variance, source=tuple(source))


def _without_year_means(values: Floats, year: Integers) -> Floats:
    centred = values.copy()
    for y in np.unique(year):
        rows = (year == y) & ~np.isnan(values)
        if rows.any():
            centred[rows] -= values[rows].mean()
    return centred


def lag_correlation(table: SchoolTable, values: Floats) -> float:
    """Return the correlation of a school's values in adjacent years, pooled, within years.

    NaN with fewer than 3 pairs or no variation.
    """
    before, after = year_pairs(table)
    centred = _without_year_means(values, table.year)
    both = ~np.isnan(centred[before]) & ~np.isnan(centred[after])
    first, second = centred[before][both], centred[after][both]
    if both.sum() < FEWEST_PAIRS_FOR_CORRELATION or min(np.std(first), np.std(second)) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
