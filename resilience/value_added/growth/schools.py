r"""Medians and means of schools' growth percentiles with their errors.

Standard errors come from resampling the school's pupils.  The interval of a median needs no
resampling and no normal shape: the number of pupils below the true median is binomial(n, ½), so
that the order statistics :math:`x_{(l)}, x_{(n+1-l)}` enclose it with probability
:math:`1 - 2P(B < l)` at least; with fewer than six pupils no pair reaches .95 and the interval is
the whole scale.  What the curves themselves err by is not counted: it is shared by the schools.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtr

__all__ = ["median_limits", "school_growth_table", "spread_ties"]

Floats = NDArray[np.float64]

LOWEST, HIGHEST = 1.0, 99.0


def median_limits(n: int, level: float) -> int:
    """Return l such that the l-th lowest and highest of n values enclose the median, 0 for none.

    Parameters
    ----------
    n : int
        Pupils.
    level : float
        Coverage, in (0, 1).
    """
    ranks = np.arange(0, n // 2 + 1)
    # P(B <= l - 1) for l = 1, 2, …: the l-th lowest lies above the median
    outside = 2.0 * bdtr(ranks, n, 0.5)
    return int((outside <= 1.0 - level).sum())


def spread_ties(school: NDArray[np.int64], low: Floats, high: Floats) -> Floats:
    """Return percentiles in which tied pupils of a school are spread over what their score means.

    A score of a test of few points stands for many percentiles.  With k curves below it and h not
    above, its pupils lie somewhere between k - ½ and h + ½ hundredths; within a school they are put
    there at equal distances, as in the median of grouped data.  Otherwise the median of a school
    would jump between a few values and lie beside 50 for most of them.

    Parameters
    ----------
    school : ndarray of shape (n,)
        Codes of the schools.
    low, high : ndarray of shape (n,)
        Curves below the score and not above it; NaN without curves.

    Returns
    -------
    ndarray of shape (n,)
        In 1..99.
    """
    found = np.full(len(low), np.nan)
    known = np.flatnonzero(np.isfinite(low))
    order = known[np.lexsort((high[known], low[known], school[known]))]
    if not len(order):
        return found
    keys = np.column_stack([school[order].astype(float), low[order], high[order]])
    new = np.concatenate([[True], (np.diff(keys, axis=0) != 0).any(axis=1)])
    group = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    size = np.diff(np.append(starts, len(order)))
    place = (np.arange(len(order)) - starts[group] + 0.5) / size[group]
    width = high[order] - low[order] + 1.0
    found[order] = np.clip(low[order] - 0.5 + place * width, LOWEST, HIGHEST)
    return found


def school_growth_table(
    school: pd.Series,
    percentile: Floats,
    *,
    level: float,
    n_bootstrap: int,
    random_state: int,
) -> pd.DataFrame:
    """Return one row per school.

    Parameters
    ----------
    school : Series of shape (n,)
        School of every pupil.
    percentile : ndarray of shape (n,)
        Growth percentiles, NaN where a pupil has none.
    level : float
        Coverage of the intervals.
    n_bootstrap, random_state : int
        Replicates and seed of the standard errors.

    Returns
    -------
    DataFrame
        ``school_id n_pupils n_unplaced median_growth median_growth_std_error median_growth_low
        median_growth_high mean_growth mean_growth_std_error``, sorted by school.
    """
    codes, names = pd.factorize(school, sort=True)
    placed = np.isfinite(percentile)
    order = np.argsort(codes[placed], kind="stable")
    values = percentile[placed][order]
    n = np.bincount(codes[placed], minlength=len(names))
    starts = np.concatenate([[0], np.cumsum(n)])
    seeds = np.random.SeedSequence(random_state).spawn(len(names))
    rows = []
    limits: dict[int, int] = {}
    for at in range(len(names)):
        own = np.sort(values[starts[at] : starts[at + 1]])
        size = len(own)
        if size == 0:
            rows.append((np.nan,) * 6)
            continue
        if size not in limits:
            limits[size] = median_limits(size, level)
        rank = limits[size]
        low, high = (own[rank - 1], own[size - rank]) if rank else (LOWEST, HIGHEST)
        errors = (np.nan, np.nan)
        if size > 1:
            drawn = np.random.default_rng(seeds[at]).integers(0, size, (n_bootstrap, size))
            medians = np.median(own[drawn], axis=1)
            errors = (float(medians.std(ddof=1)), float(own.std(ddof=1) / np.sqrt(size)))
        rows.append((float(np.median(own)), errors[0], low, high, float(own.mean()), errors[1]))
    columns = [
        "median_growth",
        "median_growth_std_error",
        "median_growth_low",
        "median_growth_high",
        "mean_growth",
        "mean_growth_std_error",
    ]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "school_id", np.asarray(names))
    table.insert(1, "n_pupils", n)
    table.insert(2, "n_unplaced", np.bincount(codes[~placed], minlength=len(names)))
    return table
