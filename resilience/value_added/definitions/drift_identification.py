r"""What yearly results can say of a drift, and what they cannot.

What lasts and an AR(1) part have, at lag k, the covariance :math:`\sigma_u^2 + \sigma_v^2\rho^k`:
three unknowns need the lags 0, 1 and 2 (or other two above 0).  How well they are told apart is
said by the expected information of the yearly means of all schools,

.. math:: I_{ab} = \tfrac12 \sum_j \mathrm{tr}\Big(V_j^{-1}\frac{\partial V_j}{\partial a}
          V_j^{-1}\frac{\partial V_j}{\partial b}\Big), \qquad
          V_j = \sigma_u^2 11' + \sigma_v^2 R(\rho) + \mathrm{diag}(\sigma_e^2/n_{jt}) .
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts

__all__ = ["check_years_meet", "persistent_std_error", "warn_of_separation"]

Floats = NDArray[np.float64]

_SCHOOLS = 2000  # enough to know the information of a school on average
_LEAST_RATIO = 1.645  # of a variance to its standard error: 0 is below its 90 % interval


def check_years_meet(cross: CrossProducts, at: int, *, kind: str) -> None:
    """Raise unless schools with results in several years determine the drift.

    Parameters
    ----------
    cross : CrossProducts
        With the years as terms of level ``at``.
    at : int
        Level of the years.
    kind : {"ar1", "unstructured"}
        Any two years must share a school for ``unstructured``; for ``ar1`` two different numbers of
        years must lie between results of one school.

    Raises
    ------
    SpecificationError
        Otherwise, naming the years.
    """
    weights, names = year_weights(cross, at)
    there = (weights > 0).astype(float)
    meet = there.T @ there > 0
    if kind == "unstructured":
        apart = np.argwhere(~meet)
        if len(apart):
            first, second = (names[k] for k in apart[0])
            raise SpecificationError(text("drift.years_apart", first=first, second=second))
        return
    years = [_number(name) for name in names]
    pairs = itertools.combinations(range(len(years)), 2)
    lags = {abs(years[i] - years[k]) for i, k in pairs if meet[i, k]}
    if np.isfinite(years).all() and len(lags) < 2:
        raise SpecificationError(text("drift.one_lag", years=", ".join(names)))


def year_weights(cross: CrossProducts, at: int) -> tuple[Floats, list[str]]:
    """Return the sum of weights per group and year, shape (n_groups, T), and the years' names."""
    level = cross.levels[at]
    named = [cross.columns[c] for c in level.columns]
    rows = [
        k for k, name in enumerate(named) if "=" in name and cross.centre[level.columns[k]] == 0
    ]
    columns = [level.columns[k] for k in rows]
    return level.products[:, rows, columns], [named[k] for k in rows]


def persistent_std_error(
    weights: Floats, years: Floats, *, variances: tuple[float, float, float], correlation: float
) -> float:
    """Return the standard error of the variance of what lasts beside an AR(1) part.

    Parameters
    ----------
    weights : ndarray of shape (n_schools, T)
        Pupils (sums of weights) per school and year, 0 where there are none.
    years : ndarray of shape (T,)
        The years as numbers.
    variances : (persistent, transient, residual)
        Estimated variances.
    correlation : float
        Estimated ρ.

    Returns
    -------
    float
        Infinite where the information is singular.
    """
    persistent, transient, residual = variances
    lags = np.abs(np.subtract.outer(years, years))
    R = np.where(lags == 0, 1.0, float(correlation) ** lags)
    slope = np.where(lags == 0, 0.0, lags * float(correlation) ** np.maximum(lags - 1.0, 0.0))
    changes = [np.ones_like(R), R] + ([transient * slope] if transient > 0 else [])
    step = max(1, -(-len(weights) // _SCHOOLS))
    chosen = weights[::step]
    there = chosen > 0
    both = there[:, :, None] & there[:, None, :]
    V = np.where(both, persistent + transient * R, 0.0)
    own = np.where(there, residual / np.where(there, chosen, 1.0), 1.0)
    V[:, np.arange(len(years)), np.arange(len(years))] += own
    moved = [np.linalg.solve(V, np.where(both, change, 0.0)) for change in changes]
    share = len(weights) / max(len(chosen), 1)
    information = np.array(
        [[0.5 * share * np.einsum("jab,jba->", a, b) for b in moved] for a in moved]
    )
    spread = np.sqrt(np.diag(information))
    values = np.linalg.eigvalsh(information / np.outer(spread, spread))
    if values[0] <= 1e-10 * values[-1]:
        return float("inf")
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))


def warn_of_separation(
    cross: CrossProducts, at: int, *, variances: Sequence[float], correlation: float
) -> None:
    """Warn where what lasts is hardly told apart from an AR(1) part.

    Parameters
    ----------
    cross : CrossProducts
        What the fit was made of.
    at : int
        Level of the years.
    variances : (persistent, transient, residual)
        Estimated variances.
    correlation : float
        Estimated ρ.
    """
    weights, names = year_weights(cross, at)
    persistent, transient, residual = variances
    error = persistent_std_error(
        weights,
        np.array([_number(name) for name in names]),
        variances=(persistent, transient, residual),
        correlation=correlation,
    )
    if persistent < _LEAST_RATIO * error:
        words = text(
            "drift.weak_separation",
            years=len(names),
            n=len(weights),
            variance=f"{persistent:.3g}",
            std_error=f"{error:.2g}",
        )
        warn_weak_data(words)


def _number(name: str) -> float:
    try:
        return float(name.rpartition("=")[2])
    except ValueError:
        return float("nan")
