"""Percentiles in which ties stand or fall together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["percentiles"]

Floats = NDArray[np.float64]


def percentiles(values: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    r"""Return the percentile of each value, NaN where the value is missing.

    .. math:: (W(<x) + W(=x)/2) / W

    with W the sum of weights.  Equal values get equal percentiles: in 1, 2, 2, 3, 4, 5, 6, 7 both
    twos stand at .25.

    Parameters
    ----------
    values : array_like of shape (n,)
        Values; NaN is missing.
    weights : array_like of shape (n,), optional
        Above 0; 1 for every value by default.

    Raises
    ------
    DataError
        If a weight is not above 0.
    """
    x = np.asarray(values, dtype=float)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=float)
    if w.shape != x.shape or not (np.isfinite(w) & (w > 0)).all():
        raise DataError(text("proportions.weights"))
    known = ~np.isnan(x)
    order = np.argsort(x[known], kind="stable")
    ordered = x[known][order]
    total = np.concatenate([[0.0], np.cumsum(w[known][order])])
    below = total[np.searchsorted(ordered, x, side="left")]
    upto = total[np.searchsorted(ordered, x, side="right")]
    return np.where(known, (below + upto) / 2.0 / max(float(total[-1]), 1e-300), np.nan)
