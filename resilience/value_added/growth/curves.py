r"""Curves of growth: the quantiles of a result given past results, learnt once and then frozen.

Percentile :math:`= \#\{\tau : \hat Q_\tau(y \mid \text{past}) < y\}` over
:math:`\tau = .005, .015, \dots, .995`, kept within 1..99.  In tests of few points several curves
run through one score; the percentile is then the middle of those below and those not above.  Fitted
one by one, quantiles may cross; the curves of every pupil are put in order (ChernozhukovEtAl2010),
and how often that was needed is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.quantile_regression import fit_quantiles
from resilience.value_added.growth.splines import SplineDesign

__all__ = ["TAUS", "GrowthCurves", "fit_curves"]

Floats = NDArray[np.float64]

TAUS: Floats = np.round(np.arange(0.005, 1.0, 0.01), 3)
_TIE = 1e-6
_ROWS = 20_000  # rows whose hundred quantiles are held at a time: 16 MB


@dataclass(frozen=True, kw_only=True, eq=False)
class GrowthCurves:
    """Quantile curves for pupils with the same set of past results.

    Attributes
    ----------
    design : SplineDesign
        Knots of the reference cohort.
    coefficients : ndarray of shape (100, n_columns)
        One row per quantile.
    n_pupils : int
        Pupils of the reference cohort behind the curves.
    crossing : float
        Share of neighbouring quantiles of the reference cohort's pupils that crossed before they
        were put in order.
    tolerance : float
        Distance at which a curve runs through a score: a millionth of the cohort's SD.
    """

    design: SplineDesign
    coefficients: Floats
    n_pupils: int
    crossing: float
    tolerance: float

    def quantiles(self, values: Mapping[str, Floats]) -> Floats:
        """Return the hundred quantiles of every pupil in ascending order, shape (n, 100)."""
        fitted: Floats = self.design.columns(values) @ self.coefficients.T
        fitted.sort(axis=1)
        return fitted

    def ranges(self, values: Mapping[str, Floats], score: Floats) -> tuple[Floats, Floats]:
        """Return how many of the hundred quantiles lie below each score, and how many not above.

        The two differ where curves run through the score, as they do in tests of few points.

        Parameters
        ----------
        values : mapping of {prior: ndarray of shape (n,)}
            Past results.
        score : ndarray of shape (n,)
            Outcome.
        """
        low, high = np.empty(len(score)), np.empty(len(score))
        for rows in pieces(len(score)):
            fitted = self.quantiles({name: v[rows] for name, v in values.items()})
            own = score[rows, None]
            low[rows] = (fitted < own - self.tolerance).sum(axis=1)
            high[rows] = (fitted <= own + self.tolerance).sum(axis=1)
        return low, high


def pieces(n: int) -> Iterator[slice]:
    """Return slices of rows that are worked on one after another."""
    for start in range(0, n, _ROWS):
        yield slice(start, min(start + _ROWS, n))


def fit_curves(
    values: Mapping[str, Floats],
    score: Floats,
    priors: Sequence[str],
    *,
    knots: Sequence[float],
    n_jobs: int = 1,
    said: Callable[[int], object] | None = None,
) -> GrowthCurves:
    """Fit the hundred curves of one set of past results.

    Parameters
    ----------
    values : mapping of {prior: ndarray of shape (n,)}
        Past results of the reference cohort, without gaps.
    score : ndarray of shape (n,)
        Outcome.
    priors : sequence of str
        Past results that enter.
    knots : sequence of float
        Shares at which inner knots stand.
    n_jobs : int
        Processes; the curves do not depend on their number.
    said : callable, optional
        Told how many quantiles were finished.
    """
    design = SplineDesign.learn(values, priors, knots)
    x = design.columns(values)
    coefficients = fit_all(x, score, n_jobs=n_jobs, said=said)
    tolerance = _TIE * max(float(score.std()), 1e-300)
    crossed = sum(
        int((np.diff(x[rows] @ coefficients.T, axis=1) < -tolerance).sum())
        for rows in pieces(len(score))
    )
    return GrowthCurves(
        design=design,
        coefficients=coefficients,
        n_pupils=len(score),
        crossing=crossed / (len(score) * (len(TAUS) - 1)),
        tolerance=tolerance,
    )


def fit_all(
    x: Floats, score: Floats, *, n_jobs: int = 1, said: Callable[[int], object] | None = None
) -> Floats:
    """Return the coefficients of all quantiles, shape (100, p)."""
    from joblib import Parallel, delayed  # type: ignore[import-untyped]  # ships no types
    from threadpoolctl import threadpool_limits

    shares = np.array_split(TAUS, min(20, len(TAUS)))
    with threadpool_limits(limits=1):
        if n_jobs == 1:
            found = []
            for share in shares:
                found.append(fit_quantiles(x, score, share).coefficients)
                if said is not None:
                    said(len(share))
            return np.vstack(found)
        # the generator hands results over as they come, so that a bar moves with the work
        run = Parallel(n_jobs=n_jobs, return_as="generator")
        parts = []
        for share, part in zip(
            shares, run(delayed(_share)(x, score, share) for share in shares), strict=True
        ):
            parts.append(part)
            if said is not None:
                said(len(share))
        return np.vstack(parts)


def _share(x: Floats, score: Floats, taus: Floats) -> Floats:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return fit_quantiles(x, score, taus).coefficients
