r"""A unit against the mean of its neighbours: difference, interval and typical range.

The neighbours of all units stand in flat arrays, one entry for every pair, so that lists may have
different lengths.  For unit j with neighbours i, weights :math:`a_i` of sum 1, results :math:`y`
with sampling variances :math:`s^2` and conditions :math:`z`:

.. math::
    D = y_j - \sum_i a_i y_i - b'(z_j - \sum_i a_i z_i), \qquad
    \mathrm{SE}^2 = s_j^2 + \sum_i a_i^2 s_i^2

with b frozen slopes of results on conditions (0 where none are given).  The typical range answers
another question, "is it unusual among them?":

.. math::
    \sum_i a_i y_i^* \pm t_{m-1} \sqrt{s_j^2 + \sum_i a_i^2 s_i^2 + \tau^2 (1 + \sum_i a_i^2)}

where :math:`y_i^* = y_i + b'(z_j - z_i)` is what the neighbour would have under the conditions of
the unit, and :math:`\tau^2` the variance of true results among the neighbours, by moments.

References
----------
DerSimonianLaird1986; HigginsThompsonSpiegelhalter2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

__all__ = [
    "NeighbourDifferences",
    "NeighbourLists",
    "between_variance",
    "neighbour_differences",
    "neighbour_means",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighbourLists:
    """Who is compared with whom.

    Attributes
    ----------
    unit, neighbour : ndarray of int, shape (L,)
        Positions among the units.
    weight : ndarray of shape (L,)
        Above 0; brought to sum 1 for every unit.
    n_units : int
        Number of units; those that do not occur have no neighbours.
    """

    unit: Codes
    neighbour: Codes
    weight: Floats
    n_units: int

    def __post_init__(self) -> None:
        total = self.summed(self.weight)
        object.__setattr__(self, "weight", self.weight / total[self.unit])

    @property
    def counts(self) -> Codes:
        """Number of neighbours of every unit."""
        return np.bincount(self.unit, minlength=self.n_units)

    def summed(self, values: Floats) -> Floats:
        """Return the sums over the pairs of every unit, 0 where there is none."""
        total = np.bincount(self.unit, weights=values, minlength=self.n_units)
        return np.asarray(total, dtype=np.float64)  # counts of nothing come as whole numbers

    def among(self, usable: NDArray[np.bool_]) -> NeighbourLists:
        """Return the pairs whose neighbour is usable, with weights of sum 1 again."""
        kept = usable[self.neighbour]
        return NeighbourLists(
            unit=self.unit[kept],
            neighbour=self.neighbour[kept],
            weight=self.weight[kept],
            n_units=self.n_units,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighbourDifferences:
    """Every unit against its neighbours, all arrays of shape (n_units,); NaN without neighbours.

    Attributes
    ----------
    neighbour_mean : ndarray
        Mean of the neighbours under the conditions of the unit, in the unit of the results.
    correction : ndarray
        What the conditions that still differ added to that mean.
    difference, std_error, conf_low, conf_high : ndarray
        Result minus that mean, with its interval.
    tau_squared : ndarray
        Variance of true results among the neighbours; NaN below two neighbours.
    mean_variance : ndarray
        Sampling variance of the mean of the neighbours.
    spread_variance : ndarray
        Squared error of the mean as an expectation: with the spread of true results in it.
    typical_low, typical_high : ndarray
        Range in which a unit like its neighbours would be found; NaN below two neighbours.
    percentile : ndarray
        Share of neighbours below, ties by half, in 0..1.
    p_above : ndarray
        Probability that the true difference is above 0.
    """

    neighbour_mean: Floats
    correction: Floats
    difference: Floats
    std_error: Floats
    conf_low: Floats
    conf_high: Floats
    tau_squared: Floats
    mean_variance: Floats
    spread_variance: Floats
    typical_low: Floats
    typical_high: Floats
    percentile: Floats
    p_above: Floats


def neighbour_means(values: Floats, lists: NeighbourLists) -> Floats:
    """Return the weighted mean of the neighbours' values, NaN without neighbours."""
    total = lists.summed(lists.weight * values[lists.neighbour])
    return np.where(lists.counts > 0, total, np.nan)


def neighbour_differences(
    values: Floats,
    variances: Floats,
    lists: NeighbourLists,
    *,
    conditions: Floats | None = None,
    slopes: Floats | None = None,
    level: float = 0.95,
) -> NeighbourDifferences:
    r"""Compare every unit with its neighbours.

    Parameters
    ----------
    values, variances : ndarray of shape (n_units,)
        Results and their sampling variances, above 0.
    lists : NeighbourLists
        Neighbours with their weights; only units with a known result.
    conditions : ndarray of shape (n_units, P), optional
        Scaled conditions; a condition missing on either side is not corrected for.
    slopes : ndarray of shape (P,), optional
        Slopes of the results on the conditions, frozen beforehand.
    level : float
        Of interval and range.

    Returns
    -------
    NeighbourDifferences

    References
    ----------
    DerSimonianLaird1986, equation 8 for tau squared; HigginsThompsonSpiegelhalter2009, section 4.1
    for a range with the quantile of Student's t.
    """
    unit, near, a = lists.unit, lists.neighbour, lists.weight
    shift = np.zeros(len(unit))
    if conditions is not None and slopes is not None:
        shift = np.nan_to_num(conditions[unit] - conditions[near]) @ slopes
    own = values[near] + shift
    any_near = lists.counts > 0
    mean = np.where(any_near, lists.summed(a * own), np.nan)
    mean_variance = np.where(any_near, lists.summed(a**2 * variances[near]), np.nan)
    share = lists.summed(a**2)
    tau_squared = _between(own, variances[near], lists)
    difference = values - mean
    error = np.sqrt(variances + mean_variance)
    spread = mean_variance + tau_squared * (1.0 + share)
    half = float(special.ndtri(0.5 + level / 2.0)) * error
    with np.errstate(invalid="ignore"):
        student = special.stdtrit(np.maximum(lists.counts - 1, 1), 0.5 + level / 2.0)
        width = student * np.sqrt(variances + spread)
    below = lists.summed((own < values[unit]) + 0.5 * (own == values[unit]))
    return NeighbourDifferences(
        neighbour_mean=mean,
        correction=np.where(any_near, lists.summed(a * shift), np.nan),
        difference=difference,
        std_error=error,
        conf_low=difference - half,
        conf_high=difference + half,
        tau_squared=tau_squared,
        mean_variance=mean_variance,
        spread_variance=spread,
        typical_low=mean - width,
        typical_high=mean + width,
        percentile=np.where(any_near, below / np.maximum(lists.counts, 1), np.nan),
        p_above=special.ndtr(difference / error),
    )


def _between(values: Floats, variances: Floats, lists: NeighbourLists) -> Floats:
    """Return the variance of true results among the neighbours of every unit, by moments."""
    precision = 1.0 / variances
    total = lists.summed(precision)
    some = lists.counts > 1
    safe = np.where(some, total, 1.0)
    mean = lists.summed(precision * values) / safe
    q = lists.summed(precision * (values - mean[lists.unit]) ** 2)
    scale = safe - lists.summed(precision**2) / safe
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.maximum(0.0, (q - (lists.counts - 1)) / scale)
    return np.where(some, found, np.nan)


def between_variance(differences: Floats, variances: Floats, multiples: Floats) -> float:
    r"""Return the variance :math:`\sigma^2` of effects behind differences from neighbours.

    The root of :math:`\sum_j D_j^2 / (m_j \sigma^2 + v_j) = n`; 0 where the differences vary no
    more than their sampling variances.

    Parameters
    ----------
    differences, variances, multiples : ndarray of shape (n,)
        D, its sampling variance v above 0, and the multiple m of the variance that it carries
        (1 of the unit itself and the sum of squared weights of its neighbours).

    References
    ----------
    PauleMandel1982.
    """
    squared = differences**2

    def excess(value: float) -> float:
        return float((squared / (multiples * value + variances)).sum()) - len(squared)

    if excess(0.0) <= 0.0:
        return 0.0
    most = float(squared.sum())  # multiples are at least 1: here every term is below 1
    return float(optimize.brentq(excess, 0.0, most, xtol=1e-14 * most, rtol=1e-12))
