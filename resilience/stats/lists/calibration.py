"""How good stated probabilities were: Brier score, calibration line, hits of a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["CalibrationLine", "brier_score", "calibration_line", "logistic_line", "top_flags"]

Floats = NDArray[np.float64]

_EDGE = 1e-4  # probabilities are kept off 0 and 1 by this much before the logit
_MOST_STEPS = 50
_FEWEST_VALUES = 5  # distinct probabilities; fewer are groups, not a scale


@dataclass(frozen=True, kw_only=True)
class CalibrationLine:
    """Logit of the outcome on the logit of the probability; not a number where undefined.

    Attributes
    ----------
    intercept, slope : float
        0 and 1 are right; a slope below 1 means probabilities too far from the middle.
    slope_error : float
        Standard error of the slope.
    """

    intercept: float
    slope: float
    slope_error: float


def brier_score(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Return the mean squared error of probabilities.

    References
    ----------
    Brier1950.
    """
    p, y = np.asarray(probability, dtype=float), np.asarray(outcome, dtype=float)
    return float(np.mean((p - y) ** 2)) if len(p) else float("nan")


def calibration_line(probability: ArrayLike, outcome: ArrayLike) -> CalibrationLine:
    """Return intercept and slope of the calibration line by maximum likelihood.

    Undefined where all outcomes are alike or fewer than five different probabilities were stated.

    References
    ----------
    Cox1958.
    """
    p, y = np.asarray(probability, dtype=float), np.asarray(outcome, dtype=float)
    nothing = CalibrationLine(intercept=np.nan, slope=np.nan, slope_error=np.nan)
    if len(p) < _FEWEST_VALUES or y.min() == y.max() or len(np.unique(p)) < _FEWEST_VALUES:
        return nothing
    x = special.logit(np.clip(p, _EDGE, 1.0 - _EDGE))
    beta, covariance = logistic_line(x, y)
    if not np.isfinite(covariance).all():
        return nothing
    return CalibrationLine(
        intercept=float(beta[0]),
        slope=float(beta[1]),
        slope_error=float(np.sqrt(covariance[1, 1])),
    )


def logistic_line(x: ArrayLike, outcome: ArrayLike, *, ridge: float = 0.0) -> tuple[Floats, Floats]:
    """Fit P(y) = expit(a + b x) by Newton's method.

    Parameters
    ----------
    x, outcome : array_like
        Predictor and outcomes 0 and 1.
    ridge : float
        Penalty on b², so that a line that separates the outcomes stays finite.

    Returns
    -------
    (ndarray, ndarray)
        (a, b) and their covariance; the latter infinite if the outcomes are separated.
    """
    X = np.column_stack([np.ones(len(np.asarray(x))), np.asarray(x, dtype=float)])
    y = np.asarray(outcome, dtype=float)
    beta = np.array([special.logit(np.clip(y.mean(), _EDGE, 1 - _EDGE)), 0.0])
    penalty = np.array([0.0, ridge])
    for _ in range(_MOST_STEPS):
        p = special.expit(X @ beta)
        information = (X * (p * (1 - p))[:, None]).T @ X + np.diag(penalty)
        if np.linalg.cond(information) > 1e12:
            return beta, np.full((2, 2), np.inf)
        step = np.linalg.solve(information, X.T @ (y - p) - penalty * beta)
        beta = beta + np.clip(step, -3.0, 3.0)
        if np.abs(step).max() < 1e-10:
            return beta, np.linalg.inv(information)
    return beta, np.full((2, 2), np.inf)


def top_flags(probability: ArrayLike, size: int) -> Floats:
    """Return which units stand among the ``size`` most probable; ties share the last places.

    Returns
    -------
    ndarray
        1 for the flagged, 0 for the rest, a fraction for units tied at the end.
    """
    p = np.asarray(probability, dtype=float)
    if size <= 0 or not len(p):
        return np.zeros(len(p))
    cut = np.sort(p)[-min(size, len(p))]
    above, tied = p > cut, p == cut
    return np.where(above, 1.0, np.where(tied, (min(size, len(p)) - above.sum()) / tied.sum(), 0.0))
