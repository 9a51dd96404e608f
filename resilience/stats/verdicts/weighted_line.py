"""The straight line of weighted least squares, as figures draw it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["weighted_line"]

Floats = npt.NDArray[np.float64]


def weighted_line(x: Floats, y: Floats, weights: Floats) -> tuple[float, float] | None:
    r"""Return intercept and slope of the weighted least-squares line of ``y`` on ``x``.

    .. math:: b = \frac{\sum w (x - \bar x)(y - \bar y)}{\sum w (x - \bar x)^2}, \quad
              a = \bar y - b \bar x

    with weighted means :math:`\bar x, \bar y`.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Coordinates; pairs with a missing member do not count.
    weights : ndarray of shape (n,)
        Non-negative weights.

    Returns
    -------
    (float, float) or None
        Intercept (units of y) and slope (units of y per unit of x); None where fewer than two
        different x carry weight, since no line is defined there.
    """
    x, y, weights = (np.asarray(v, dtype=float) for v in (x, y, weights))
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(weights) & (weights > 0)
    x, y, weights = x[known], y[known], weights[known]
    if np.unique(x).size < 2:
        return None
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    slope = np.sum(weights * (x - mean_x) * (y - mean_y)) / np.sum(weights * (x - mean_x) ** 2)
    return float(mean_y - slope * mean_x), float(slope)
