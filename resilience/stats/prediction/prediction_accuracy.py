r"""How well predictions met what came: correlation, calibration, size of the error.

With predictions p and outcomes y of n schools, both as deviations from a common zero,

.. math::

   \mathrm{RMSE}^2 = \tfrac1n \sum (y - p)^2, \qquad
   b = \frac{\sum (p - \bar p)(y - \bar y)}{\sum (p - \bar p)^2} ,

the calibration slope b is 1 where a school predicted to be better by one unit is so on average;
a slope below 1 says that the predictions are spread too wide.  Its standard error allows for
errors of different size (the sandwich with :math:`n/(n-2)`).  Source: White1980.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Accuracy", "prediction_accuracy"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy of predictions.

    Attributes
    ----------
    n : int
        Schools.
    correlation : float
        Pearson's; NaN where either does not vary or fewer than three schools.
    slope, slope_std_error : float
        Calibration slope and its robust standard error; NaN likewise.
    rmse : float
        Root mean squared error; NaN without schools.
    """

    n: int
    correlation: float
    slope: float
    slope_std_error: float
    rmse: float


def prediction_accuracy(predicted: Floats, observed: Floats) -> Accuracy:
    """Return the accuracy of predictions.

    Parameters
    ----------
    predicted, observed : ndarray of shape (n,)
        Without gaps.

    References
    ----------
    White1980.
    """
    n, nan = len(predicted), float("nan")
    rmse = float(np.sqrt(np.mean((observed - predicted) ** 2))) if n else nan
    if n < 3:
        return Accuracy(n=n, correlation=nan, slope=nan, slope_std_error=nan, rmse=rmse)
    p, y = predicted - predicted.mean(), observed - observed.mean()
    pp, yy, py = float(p @ p), float(y @ y), float(p @ y)
    tiny = 1e-24 * max(float(predicted @ predicted), float(observed @ observed))
    if pp <= tiny or yy <= tiny:
        return Accuracy(n=n, correlation=nan, slope=nan, slope_std_error=nan, rmse=rmse)
    slope = py / pp
    error = y - slope * p
    return Accuracy(
        n=n,
        correlation=py / float(np.sqrt(pp * yy)),
        slope=slope,
        slope_std_error=float(np.sqrt(((p * error) ** 2).sum() * n / (n - 2))) / pp,
        rmse=rmse,
    )
