"""What two years of the same school tell: reporting error and year-to-year correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.context.reading import SchoolTable
from resilience.context.standardise import transform_error_variance
from resilience.context.variables import IndexInput

__all__ = [
    "ErrorSource",
    "ReportingError",
    "lag_correlation",
    "reporting_error",
    "size_spread",
    "year_pairs",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
ErrorSource = str  # "years", "binomial" or "none"

# 1.4826·MAD is the SD of a normal distribution.
MAD_TO_SD = 1.4826
# Below this number of yearly changes their median deviation is too loose to replace theory.
FEWEST_CHANGES = 10
FEWEST_PAIRS_FOR_CORRELATION = 3
# Without so many telling changes nothing can be said of how their spread depends on size.
FEWEST_FOR_SIZE = 30
FEWEST_COUNTED = 1.0
SHAPES = 41
# Changes beyond so many mean ones are slips of the pen: they shall not decide the shape.
GROSS = 4.0
ROUNDING = 1e-12


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

    With at least two years :math:`\Omega_{skk} = \max(½(a_k + b_k/n_s), v_{sk}/d_k^2)`: half the
    variance of the yearly change at the school's number of pupils (`size_spread`, robust, year
    means removed), never below the binomial variance v of the school's own share on the
    transformed scale (`transform_error_variance`).  For a number b is 0, and with schools of one
    size the first term is ½(1.4826·MAD(Δz))².  With fewer than 10 yearly changes, or where most
    schools hand in the same number again (MAD 0), :math:`v_{sk}/d_k^2` alone.

    The yearly changes contain real change: an upper bound of the error of reporting.

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
    per_pupil = 1 / table.n_pupils
    for k, item in enumerate(items):
        centred = _without_year_means(signed[:, k], table.year)
        change = centred[after] - centred[before]
        known = ~np.isnan(change)
        telling = known & (item.transform != "number")
        telling &= _people_counted(table, table.values[:, k])[after] >= FEWEST_COUNTED
        constant, slope = size_spread(
            change[known], (per_pupil[before] + per_pupil[after])[known], telling[known]
        )
        on_scale = transform_error_variance(table.values[:, k], table.n_pupils, item.transform)
        by_size = on_scale / base_sd[k] ** 2
        if constant + slope > 0:
            # Theory sets a floor under what the changes say of the smallest schools; a missing
            # share has no binomial error (NaN) and keeps theirs.
            variance[:, k] = np.fmax(0.5 * constant + slope * per_pupil, by_size)
            source.append("years")
            continue
        variance[:, k] = by_size
        source.append("none" if item.transform == "number" else "binomial")
    return ReportingError(variance=variance, source=tuple(source))


def size_spread(change: Floats, per_pupil: Floats, telling: Flags) -> tuple[float, float]:
    r"""Return a and b ≥ 0 of :math:`\mathrm{Var}(\Delta) = a + b(1/n + 1/n')`, robustly.

    The shape h = 1 − θ + θ(1/n + 1/n')/g, g the geometric mean, is the one of 41 with θ in 0..1
    that minimises :math:`\log m(|\Delta|/\sqrt h) + \overline{\log h}/2`, with m the mean of
    values cut at four times the mean: right wherever the mean size of a change grows with √h.  The
    level is the squared 1.4826·MAD of :math:`\Delta/\sqrt h`.  Only telling changes say how size
    matters, since the changes of a handful are mostly 0; with fewer than 30 of those a change of
    all schools has one variance (θ = 0).

    Shares are left out on purpose: the variance of a real change grows with x(1 − x) too, and
    would pass for an error that vanishes in large schools.

    Parameters
    ----------
    change : ndarray of shape (n_changes,)
        Yearly changes.
    per_pupil : ndarray of shape (n_changes,)
        1/n + 1/n' of the two years.
    telling : ndarray of bool of shape (n_changes,)
        Changes that rest on enough people counted.

    Returns
    -------
    (float, float)
        (0, 0) with fewer than 10 changes or a MAD of 0.
    """
    if change.size < FEWEST_CHANGES:
        return 0.0, 0.0
    if telling.sum() >= FEWEST_FOR_SIZE:
        change, per_pupil = change[telling], per_pupil[telling]
        grid = np.linspace(0, 1, SHAPES)
    else:
        grid = np.zeros(1)
    change = change - np.median(change)
    relative = per_pupil / np.exp(np.mean(np.log(per_pupil)))
    best, shape, chosen = np.inf, np.ones_like(change), 0.0
    for theta in grid:
        h = 1 - theta + theta * relative
        size = np.abs(change) / np.sqrt(h)
        level = np.minimum(size, GROSS * size.mean()).mean()
        if level == 0:
            return 0.0, 0.0
        criterion = float(np.log(level) + 0.5 * np.mean(np.log(h)))
        if criterion < best - ROUNDING:
            best, shape, chosen = criterion, h, float(theta)
    scaled = change / np.sqrt(shape)
    variance = (MAD_TO_SD * float(np.median(np.abs(scaled - np.median(scaled))))) ** 2
    return variance * (1 - chosen), variance * chosen * float(np.mean(relative / per_pupil))


def _people_counted(table: SchoolTable, values: Floats) -> Floats:
    """Return n·x̄(1 − x̄) per row, x̄ the school's share over its years; NaN where none is known."""
    known = ~np.isnan(values)
    weight = np.where(known, table.n_pupils, 0.0)
    total = np.bincount(table.school, weight)
    counted = np.bincount(table.school, np.where(known, values, 0.0) * weight)
    share = np.divide(counted, total, out=np.full(total.size, np.nan), where=total > 0)
    return np.asarray(table.n_pupils * (share * (1 - share))[table.school])


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
