r"""How long schools stay on a list: survival by years, and a complementary log-log regression.

.. math:: h_{jd} = 1 - \exp(-\exp(\alpha_d + x_{jd}'\beta))

Sources: KaplanMeier1958 for the survival, PrenticeGloeckler1978 for the regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.proportions import wilson_interval

__all__ = ["HazardFit", "HazardTable", "fit_hazard", "hazard_table"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST_EXITS = 20
_MOST_STEPS = 60
_NEVER = 1e-6  # a fitted hazard this near 0 or 1 is on its way to infinity
_FLAT = 1e-11  # of the largest score, relative to the number of rows


@dataclass(frozen=True, kw_only=True, eq=False)
class HazardTable:
    """Exits by years on the list, durations 1 and up.

    Attributes
    ----------
    n_at_risk, n_exits : ndarray of int
        School-years at risk and those that ended in leaving.
    hazard, low, high : ndarray
        Share that left, with Wilson's interval.
    survival : ndarray
        Share still listed after each duration (Kaplan and Meier).
    """

    n_at_risk: Integers
    n_exits: Integers
    hazard: Floats
    low: Floats
    high: Floats
    survival: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class HazardFit:
    """A fitted complementary log-log regression.

    Attributes
    ----------
    estimate, std_error : ndarray of shape (n_columns,)
        Coefficients; exp of one is a hazard ratio.
    log_likelihood : float
        At the optimum.
    n_exits : int
        Events.
    """

    estimate: Floats
    std_error: Floats
    log_likelihood: float
    n_exits: int


def hazard_table(duration: ArrayLike, left: ArrayLike, *, level: float = 0.95) -> HazardTable:
    """Return hazard and survival from one row per listed school-year.

    Parameters
    ----------
    duration : array_like of int
        Years on the list so far, from 1.
    left : array_like of bool
        Whether the school was off the list the year after.
    level : float
        Of the intervals.

    References
    ----------
    KaplanMeier1958.
    """
    d, out = np.asarray(duration, dtype=np.int64), np.asarray(left, dtype=bool)
    longest = int(d.max(initial=0))
    risk = np.bincount(d, minlength=longest + 1)[1:].astype(np.int64)
    exits = np.bincount(d[out], minlength=longest + 1)[1:].astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        hazard = np.where(risk > 0, exits / risk, np.nan)
    low, high = wilson_interval(exits, risk, level=level)
    return HazardTable(
        n_at_risk=risk,
        n_exits=exits,
        hazard=hazard,
        low=low,
        high=high,
        survival=np.asarray(np.cumprod(1.0 - np.nan_to_num(hazard)), dtype=float),
    )


def fit_hazard(design: ArrayLike, left: ArrayLike, groups: ArrayLike) -> HazardFit:
    r"""Fit the complementary log-log regression by Fisher scoring, errors clustered by school.

    Parameters
    ----------
    design : array_like of shape (n, p)
        Dummies of duration and covariates, full column rank.
    left : array_like of bool, shape (n,)
        Whether the school left.
    groups : array_like of shape (n,)
        School of each row: rows of a school are one cluster of the sandwich variance, scaled by
        J/(J−1).

    Raises
    ------
    DataError
        With fewer than 20 exits, or if the scoring does not settle because a column separates
        those who left from those who stayed.

    References
    ----------
    PrenticeGloeckler1978.
    """
    X, y = np.asarray(design, dtype=float), np.asarray(left, dtype=float)
    n_exits = int(y.sum())
    if n_exits < FEWEST_EXITS:
        raise DataError(text("history.few_exits", n=n_exits, least=FEWEST_EXITS))
    start = float(np.log(-np.log1p(-np.clip(y.mean(), 1e-3, 1 - 1e-3))))
    beta = np.linalg.lstsq(X, np.full(len(y), start), rcond=None)[0]
    for _ in range(_MOST_STEPS):
        scores, information = _scores(X, y, beta)
        total = scores.sum(axis=0)
        if np.abs(total).max() < _FLAT * len(y):
            break
        beta = beta + np.linalg.lstsq(information, total, rcond=None)[0]
    else:
        raise DataError(text("history.separated"))
    _, code = np.unique(np.asarray(groups), return_inverse=True)
    summed = np.zeros((code.max() + 1, X.shape[1]))
    np.add.at(summed, code, scores)
    hazard = -np.expm1(-np.exp(X @ beta))
    if (hazard < _NEVER).any() or (hazard > 1.0 - _NEVER).any():
        raise DataError(text("history.separated"))
    inverse = np.linalg.inv(_observed_information(X, y, beta))
    J = len(summed)
    variance = inverse @ (summed.T @ summed) @ inverse * J / (J - 1)
    fit = np.where(y > 0, np.log(hazard), -np.exp(X @ beta)).sum()
    return HazardFit(
        estimate=beta,
        std_error=np.sqrt(np.diagonal(variance)),
        log_likelihood=float(fit),
        n_exits=n_exits,
    )


def _observed_information(X: Floats, y: Floats, beta: Floats) -> Floats:
    """Return minus the second derivative of the log-likelihood."""
    rate = np.exp(X @ beta)
    g = rate / np.expm1(rate)  # slope of log h
    weight = np.where(y > 0, g * (g + rate - 1.0), rate)
    return np.asarray((X * weight[:, None]).T @ X)


def _scores(X: Floats, y: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Return the score of each row and the expected information."""
    rate = np.exp(np.clip(X @ beta, -30.0, 3.4))  # 1 − exp(−e^{3.4}) is 1 − 1e-13
    hazard = -np.expm1(-rate)
    slope = rate * (1.0 - hazard)  # dh/dη
    weight = slope**2 / (hazard * (1.0 - hazard))
    scores = X * (slope * (y - hazard) / (hazard * (1.0 - hazard)))[:, None]
    return scores, np.asarray((X * weight[:, None]).T @ X)
