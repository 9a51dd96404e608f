r"""How many pupils of a window lie above its border where nobody moves anybody.

Two references: ``region``, a logistic regression of A out of N on the school's mean outside the
window, and ``smooth``, a Poisson polynomial through the region's histogram without its windows.
Both are generalised linear models fitted by iteratively reweighted least squares.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["cross_fitted_shares", "generalised_fit", "school_folds", "smooth_shares"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DEGREE = 5
_STEPS = 50
_BOUND = 30.0  # of the linear predictor: beyond it a share is 0 or 1 to the last digit


def generalised_fit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    family: Literal["binomial", "poisson"],
    total: ArrayLike | None = None,
) -> Floats:
    r"""Return the coefficients of a logistic or log-linear model by maximum likelihood.

    Iteratively reweighted least squares,
    :math:`\beta \leftarrow (X'WX)^{-1}X'W(\eta + (y-\mu)/w)`, halved where the likelihood falls.

    Parameters
    ----------
    X : array_like of shape (n_rows, n_terms)
        Design with its constant; redundant columns get the shortest solution.
    y : array_like of shape (n_rows,)
        Successes, or counts.
    family : {"binomial", "poisson"}
        Logit or log link.
    total : array_like of shape (n_rows,), optional
        Trials; needed by the binomial.

    Returns
    -------
    ndarray of shape (n_terms,)
        Coefficients; where the data separate they are large and finite.

    References
    ----------
    McCullaghNelder1989.
    """
    design, found = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    n = np.ones_like(found) if total is None else np.asarray(total, dtype=float)
    beta = np.zeros(design.shape[1])
    if family == "poisson":
        beta = np.linalg.lstsq(design, np.log(found + 0.5), rcond=None)[0]
    value = _likelihood(design @ beta, found, n, family)
    for _ in range(_STEPS):
        eta = np.clip(design @ beta, -_BOUND, _BOUND)
        mean, weight = _moments(eta, n, family)
        root = np.sqrt(np.maximum(weight, 1e-12))
        working = root * (eta + (found - mean) / np.maximum(weight, 1e-12))
        step = np.linalg.lstsq(root[:, None] * design, working, rcond=None)[0] - beta
        for halving in range(20):
            tried = beta + step / 2**halving
            reached = _likelihood(design @ tried, found, n, family)
            if reached >= value - 1e-10 * (1 + abs(value)):
                break
        done = abs(reached - value) <= 1e-12 * (1 + abs(value))
        beta, value = tried, reached
        if done:
            break
    return np.asarray(beta)


def _moments(eta: Floats, n: Floats, family: str) -> tuple[Floats, Floats]:
    if family == "poisson":
        mean = np.exp(eta)
        return mean, mean
    p = 1 / (1 + np.exp(-eta))
    return n * p, n * p * (1 - p)


def _likelihood(eta: Floats, y: Floats, n: Floats, family: str) -> float:
    bounded = np.clip(eta, -_BOUND, _BOUND)
    if family == "poisson":
        return float(np.sum(y * bounded - np.exp(bounded)))
    return float(np.sum(y * bounded - n * np.logaddexp(0, bounded)))


def school_folds(n_schools: int, *, n_folds: int, random_state: int) -> Integers:
    """Return a fold of 0 … n_folds − 1 for each school, by lot, sizes alike."""
    folds = np.arange(n_schools) % max(1, min(n_folds, n_schools))
    return np.asarray(np.random.default_rng(random_state).permutation(folds))


def cross_fitted_shares(
    above: ArrayLike, total: ArrayLike, outside_mean: ArrayLike, fold: ArrayLike
) -> Floats:
    r"""Return the share expected above a border in each school, learnt from the others.

    :math:`\mathrm{logit}\, q_j = \alpha + \beta\, \bar x_j`, fitted on the schools of the other
    folds.  A school whose pupils all lie in the window takes the mean of the schools.

    Parameters
    ----------
    above, total : array_like of shape (n_schools,)
        Pupils of the window at or above the border, and all of them.
    outside_mean : array_like of shape (n_schools,)
        Mean score outside the window; NaN where there is none.
    fold : array_like of int, shape (n_schools,)
        Fold of each school.

    Returns
    -------
    ndarray of shape (n_schools,)
        Shares between .001 and .999.

    Raises
    ------
    DataError
        If the other folds have no pupil in the window.
    """
    a, n = np.asarray(above, dtype=float), np.asarray(total, dtype=float)
    x, part = np.asarray(outside_mean, dtype=float), np.asarray(fold)
    known = np.isfinite(x)
    weight = np.where(known, n, 0.0)
    x = np.where(known, x, (weight @ np.where(known, x, 0.0)) / max(weight.sum(), 1.0))
    spread = x.std()
    # One unit for every test keeps the two columns comparable for the solver.
    design = np.column_stack([np.ones_like(x), (x - x.mean()) / (spread if spread > 0 else 1.0)])
    found = np.empty(len(x))
    for own in np.unique(part):
        here, others = part == own, (part != own) & (n > 0)
        if np.unique(part).size == 1:
            others = n > 0
        if not others.any():
            raise DataError(text("integrity.no_others"))
        beta = generalised_fit(design[others], a[others], family="binomial", total=n[others])
        found[here] = 1 / (1 + np.exp(-np.clip(design[here] @ beta, -_BOUND, _BOUND)))
    return np.clip(found, 0.001, 0.999)


def smooth_shares(
    histogram: ArrayLike, windows: list[tuple[int, int, int]], *, degree: int = DEGREE
) -> list[float]:
    r"""Return the share expected above each border by a smooth curve through the other scores.

    :math:`\log \mu_x = P_5(x) + \delta_5 1\{5|x\} + \delta_{10} 1\{10|x\}` fitted to the scores
    outside all windows, :math:`q = \sum_A \hat\mu / \sum_{A \cup B} \hat\mu`.

    Parameters
    ----------
    histogram : array_like of int, shape (max_score + 1,)
        Pupils of the region at each score.
    windows : list of (int, int, int)
        First score, border and last score of each window.
    degree : int
        Degree of the polynomial.

    Returns
    -------
    list of float
        One share per window.

    Raises
    ------
    DataError
        If fewer than degree + 2 scores lie outside the windows: nothing ties the curve down.

    References
    ----------
    McCullaghNelder1989.
    """
    counts = np.asarray(histogram, dtype=float)
    scores = np.arange(len(counts))
    free = np.ones(len(counts), dtype=bool)
    for first, _, last in windows:
        free[first : last + 1] = False
    if free.sum() < degree + 2:
        raise DataError(
            text("integrity.few_scores", n=int(free.sum()), needed=degree + 2, degree=degree)
        )
    # Chebyshev's polynomials on [-1, 1]: powers of raw scores would not be told apart.
    base = np.polynomial.chebyshev.chebvander(2 * scores / max(len(scores) - 1, 1) - 1, degree)
    dummies = [(scores % step == 0).astype(float) for step in (5, 10)]
    # A dummy needs round scores outside the windows, and room beside the polynomial.
    kept = [d for d in dummies if 2 <= d[free].sum() <= free.sum() - degree - 2]
    design = np.column_stack([base, *kept])
    beta = generalised_fit(design[free], counts[free], family="poisson")
    fitted = np.exp(np.clip(design @ beta, -_BOUND, _BOUND))
    return [
        float(fitted[border : last + 1].sum() / fitted[first : last + 1].sum())
        for first, border, last in windows
    ]
