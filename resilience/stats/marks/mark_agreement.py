"""Do school marks agree with scores: Spearman's coefficient as printed and as corrected."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_choice

__all__ = ["TIES", "Ties", "rank_correlation"]

Ties = Literal["printed", "corrected"]
TIES: tuple[str, ...] = get_args(Ties)


def rank_correlation(marks: ArrayLike, scores: ArrayLike, *, ties: Ties = "printed") -> float:
    r"""Return Spearman's coefficient of marks and scores.

    ``printed`` is :math:`r = 1 - 6\sum d^2/(n(n^2-1))` with average ranks, as the federal method
    prints it, without any correction for ties; ``corrected`` is the correlation of the ranks.  With
    marks that are nearly all tied the two can differ in sign.

    Parameters
    ----------
    marks, scores : array_like of shape (n_pupils,)
        A mark and a score of each pupil, finite.
    ties : {"printed", "corrected"}
        Which of the two.

    Returns
    -------
    float
        NaN where the coefficient is not defined: fewer than two pupils, and, corrected, all marks
        or all scores alike.

    Raises
    ------
    DataError
        If the lengths differ or a value is not finite.

    References
    ----------
    FIOKOObjectivity.
    """
    check_choice(ties, TIES, argument="ties")
    x, y = np.asarray(marks, dtype=float), np.asarray(scores, dtype=float)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(text("integrity.pairs_shape", marks=x.shape, scores=y.shape))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError(
            text("integrity.pairs_finite", n=int((~(np.isfinite(x) & np.isfinite(y))).sum()))
        )
    n = len(x)
    if n < 2:
        return float("nan")
    a, b = _average_ranks(x), _average_ranks(y)
    if ties == "printed":
        return float(1 - 6 * np.sum((a - b) ** 2) / (n * (n**2 - 1)))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(stats.rankdata(values, method="average"), dtype=float)
