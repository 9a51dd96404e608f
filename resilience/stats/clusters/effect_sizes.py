r"""How far groups of units differ: differences in standard deviations and the share between groups.

Effect sizes, never p-values: with many schools every difference becomes "significant".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["GroupMeans", "adjusted_eta_squared", "eta_squared", "group_means", "mean_intervals"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupMeans:
    """Means of groups and what lies around them.

    Attributes
    ----------
    counts, means, spreads : ndarray of shape (k,)
        Known values in each group, their mean (NaN of an empty group) and their standard
        deviation with n - 1 (NaN below two values).
    mean, spread : float
        Mean and standard deviation (with n) of all known values, grouped or not.
    """

    counts: Codes
    means: Floats
    spreads: Floats
    mean: float
    spread: float

    @property
    def differences(self) -> Floats:
        """Means of the groups minus the overall mean, in overall standard deviations."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (self.means - self.mean) / self.spread
        return np.asarray(np.where(self.spread > 0, found, np.nan))


def group_means(values: Floats, codes: Codes, n_groups: int) -> GroupMeans:
    """Return the means of groups.

    Parameters
    ----------
    values : ndarray of shape (n,)
        NaN where unknown.
    codes : ndarray of shape (n,)
        Group of each unit from 0; negative for units of no group, which count in the overall mean.
    n_groups : int
        k.
    """
    known = np.isfinite(values)
    own = known & (codes >= 0)
    counts = np.bincount(codes[own], minlength=n_groups)
    sums = np.bincount(codes[own], weights=values[own], minlength=n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 0, sums / counts, np.nan)
        squares = np.bincount(
            codes[own], weights=(values[own] - means[codes[own]]) ** 2, minlength=n_groups
        )
        spreads = np.where(counts > 1, np.sqrt(squares / (counts - 1)), np.nan)
    return GroupMeans(
        counts=counts.astype(np.int64),
        means=means,
        spreads=spreads,
        mean=float(values[known].mean()) if known.any() else float("nan"),
        spread=float(values[known].std()) if known.any() else float("nan"),
    )


def eta_squared(values: Floats, codes: Codes, n_groups: int) -> float:
    r"""Return the share of the variation that lies between groups.

    .. math:: \eta^2 = \sum_g n_g(\bar x_g - \bar x)^2 \big/ \sum_i (x_i - \bar x)^2

    over the known values of grouped units; NaN where they do not vary.
    """
    own = np.isfinite(values) & (codes >= 0)
    if not own.any():
        return float("nan")
    kept = values[own]
    found = group_means(kept, codes[own], n_groups)
    total = float(((kept - kept.mean()) ** 2).sum())
    if total <= 1e-24 * max(float((kept**2).sum()), 1e-300):  # what rounding leaves of a constant
        return float("nan")
    between = float(np.nansum(found.counts * (found.means - kept.mean()) ** 2))
    return min(between / total, 1.0)


def adjusted_eta_squared(share: float, n: int, n_groups: int) -> float:
    r"""Return the share between groups less what as many groups by lot would explain.

    .. math:: \epsilon^2 = 1 - (1 - \eta^2)\frac{n - 1}{n - k}

    References
    ----------
    Kelley1935.
    """
    if n <= n_groups:
        return float("nan")
    return 1.0 - (1.0 - share) * (n - 1) / (n - n_groups)


def mean_intervals(found: GroupMeans, level: float) -> tuple[Floats, Floats, Floats]:
    """Return standard errors of the means and the ends of their Student intervals.

    NaN for a group with fewer than two known values.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = found.spreads / np.sqrt(found.counts)
    freedom = np.maximum(found.counts - 1, 1).astype(float)
    reach = special.stdtrit(freedom, 0.5 + level / 2.0) * errors
    return errors, found.means - reach, found.means + reach
