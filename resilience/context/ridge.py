"""Non-negative ridge regression of school results on signed items, with honest folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, lsq_linear

__all__ = [
    "MULTIPLIERS",
    "RidgeFit",
    "RidgeRows",
    "assign_folds",
    "between_variance",
    "bootstrap_weights",
    "explained_share",
    "fit_ridge",
    "solve",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MULTIPLIERS: Floats = np.logspace(-3, 3, 20)


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeRows:
    """School-years a regression uses.

    Attributes
    ----------
    items : ndarray of shape (n_rows, n_items)
        Signed standardised items, no gaps.
    outcome : ndarray of shape (n_rows,)
        School results.
    sampling_variance : ndarray of shape (n_rows,)
        σ²/n of each result.
    period : ndarray of int of shape (n_rows,)
        Number of the year, 0..n_periods−1; each year has its own intercept.
    school : ndarray of int of shape (n_rows,)
        Number of the school.
    n_periods : int
        Years counted by `period`.
    """

    items: Floats
    outcome: Floats
    sampling_variance: Floats
    period: Integers
    school: Integers
    n_periods: int

    def __len__(self) -> int:
        return int(self.outcome.size)

    def where(self, rows: npt.NDArray[np.bool_]) -> RidgeRows:
        """Return the rows of a mask."""
        return RidgeRows(
            items=self.items[rows],
            outcome=self.outcome[rows],
            sampling_variance=self.sampling_variance[rows],
            period=self.period[rows],
            school=self.school[rows],
            n_periods=self.n_periods,
        )

    @property
    def schools(self) -> Integers:
        """Numbers of the schools present, ascending."""
        return np.unique(self.school)


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeFit:
    """Weights and how they were found.

    Attributes
    ----------
    weights : ndarray of shape (n_items,)
        At least 0, outcome units per base-year SD of the item.
    slope : float
        Of the outcome on z'w without penalty, at least 1: the index has no scale of its own, so
        what it explains is judged without the shrinkage of its weights.
    intercepts : ndarray of shape (n_periods,)
        One per year, for the line with `slope`.
    multiplier : float
        Penalty in units of mean diag(Z'ΩZ).
    between_variance : float
        τ², squared outcome units.
    r2_cv : float
        Cross-validated R² of that line at the chosen penalty.
    n_rows, n_schools : int
        Size of the data used.
    """

    weights: Floats
    slope: float
    intercepts: Floats
    multiplier: float
    between_variance: float
    r2_cv: float
    n_rows: int
    n_schools: int

    def predict(self, rows: RidgeRows) -> Floats:
        """Return α_t + slope·z'w per row."""
        return np.asarray(self.intercepts[rows.period] + self.slope * (rows.items @ self.weights))


def assign_folds(schools: Integers, folds: int, generator: np.random.Generator) -> Integers:
    """Return a fold 0..folds−1 for each school, sizes equal to within one, order random."""
    number = np.arange(schools.size) % folds
    return np.asarray(generator.permutation(number))


def between_variance(rows: RidgeRows) -> float:
    r"""Return τ², the variance of school results around the regression beyond σ²/n.

    The root of Σ ω_s(τ²) r_s² = n_rows − rank with weighted least-squares residuals r and
    ω = 1/(τ² + σ²/n); 0 where sampling alone explains the residuals.

    References
    ----------
    PauleMandel1982.
    """
    indicators = np.eye(rows.n_periods)[:, np.unique(rows.period)][rows.period]
    design = np.column_stack([indicators, rows.items])
    freedom = len(rows) - int(np.linalg.matrix_rank(design))
    if freedom <= 0:
        return 0.0

    def surplus(tau2: float) -> float:
        root = 1 / np.sqrt(tau2 + rows.sampling_variance)
        left, right = design * root[:, None], rows.outcome * root
        coefficients = np.linalg.lstsq(left, right, rcond=None)[0]
        return float(np.sum((right - left @ coefficients) ** 2)) - freedom

    if surplus(0.0) <= 0:
        return 0.0
    upper = float(np.var(rows.outcome)) + float(rows.sampling_variance.max())
    while surplus(upper) > 0:
        upper *= 2
    # Weights change little with τ²: six digits are plenty and keep folds cheap.
    return float(brentq(surplus, 0.0, upper, rtol=1e-6, xtol=1e-6 * upper))


def _cross_products(rows: RidgeRows, weights: Floats) -> Floats:
    """Return [D | Z | y]'Ω[D | Z | y]: additive over rows, all the solver needs."""
    indicators = np.eye(rows.n_periods)[rows.period]
    block = np.column_stack([indicators, rows.items, rows.outcome])
    return np.asarray((block * weights[:, None]).T @ block)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Centred:
    """Cross-products with the years' intercepts eliminated: ω-weighted centring within years."""

    inner: Floats
    moment: Floats
    means: Floats  # of [items | outcome] per year, one column per year
    total: Floats  # weight of each year

    @classmethod
    def of(cls, products: Floats, n_periods: int) -> _Centred:
        t = n_periods
        total = np.diag(products)[:t]
        means = products[t:, :t] / np.where(total > 0, total, 1.0)
        rest = products[t:, t:] - means @ products[:t, t:]
        return cls(inner=rest[:-1, :-1], moment=rest[:-1, -1], means=means, total=total)

    def slope(self, weights: Floats) -> float:
        """Return the unpenalised regression of the outcome on the index z'w."""
        spread = float(weights @ self.inner @ weights)
        return float(weights @ self.moment) / spread if spread > 0 else 1.0

    def intercepts(self, coefficients: Floats) -> Floats:
        """Return one level per year; a year without rows takes the mean of the others."""
        levels = self.means[-1] - self.means[:-1].T @ coefficients
        present = self.total > 0
        if not present.all():
            levels[~present] = np.average(levels[present], weights=self.total[present])
        return np.asarray(levels)


def solve(products: Floats, n_periods: int, multiplier: float) -> Floats:
    r"""Return the minimiser of Σ ω(y − α_t − z'w)² + λ|w|² under w ≥ 0 from its cross-products.

    The intercepts are eliminated first; with the Cholesky factor L of the centred Z'ΩZ + λI the
    problem is ``lsq_linear`` on L', the compressed form of ω-weighted rows augmented by √λ·I.

    Parameters
    ----------
    products : ndarray of shape (n_periods + n_items + 1, n_periods + n_items + 1)
        Cross-products of [year indicators | items | outcome].
    n_periods : int
        Number of year indicators.
    multiplier : float
        λ in units of mean diag(Z'ΩZ).

    Returns
    -------
    ndarray of shape (n_items,)
    """
    centred = _Centred.of(products, n_periods)
    scale = float(np.mean(np.diag(centred.inner)))
    if scale <= 0:  # no item varies among these rows
        return np.zeros(centred.moment.size)
    penalised = centred.inner + multiplier * scale * np.eye(centred.moment.size)
    factor = np.linalg.cholesky(penalised)
    target = np.linalg.solve(factor, centred.moment)
    found = lsq_linear(factor.T, target, bounds=(0, np.inf), method="bvls")
    return np.asarray(np.maximum(found.x, 0.0) + 0.0)


def _fold_products(
    rows: RidgeRows, omega: Floats, fold_of_row: Integers, folds: int
) -> list[Floats]:
    return [
        _cross_products(rows.where(fold_of_row == f), omega[fold_of_row == f]) for f in range(folds)
    ]


def _training(products: list[Floats]) -> Iterator[Floats]:
    """Yield, per fold, the sum over the other folds (never a subtraction: no trace may stay)."""
    for f in range(len(products)):
        yield np.sum([p for g, p in enumerate(products) if g != f], axis=0)


def explained_share(rows: RidgeRows, omega: Floats, predicted: Floats) -> float:
    r"""Return 1 − Σω(y − ŷ)²/Σω(y − ȳ_t)² with the year's weighted mean ȳ_t."""
    total = np.bincount(rows.period, omega, rows.n_periods)
    mean = np.bincount(rows.period, omega * rows.outcome, rows.n_periods) / np.where(
        total > 0, total, 1.0
    )
    spread = float(np.sum(omega * (rows.outcome - mean[rows.period]) ** 2))
    return 1 - float(np.sum(omega * (rows.outcome - predicted) ** 2)) / spread


def fit_ridge(rows: RidgeRows, folds: int, generator: np.random.Generator) -> RidgeFit:
    r"""Return the non-negative ridge fit with the penalty of the one-standard-error rule.

    ω = 1/(τ² + σ²/n); λ is taken from 20 log-spaced values, 1e-3 to 1e3 times mean diag(Z'ΩZ), by
    cross-validation with all years of a school in one fold: the largest λ whose mean loss exceeds
    the smallest by at most one standard error over the folds.  R² is that of the index: each fold
    predicts with its weights on the unpenalised line of results on z'w.

    Parameters
    ----------
    rows : RidgeRows
        At least two schools per fold.
    folds : int
        Number of folds.
    generator : Generator
        Assigns schools to folds.

    References
    ----------
    HastieTibshiraniFriedman2009, 3.4.1 and 7.10.
    """
    tau2 = between_variance(rows)
    omega = 1 / (tau2 + rows.sampling_variance)
    schools = rows.schools
    fold_of_school = assign_folds(schools, folds, generator)
    fold_of_row = fold_of_school[np.searchsorted(schools, rows.school)]
    products = _fold_products(rows, omega, fold_of_row, folds)
    residual = np.empty((MULTIPLIERS.size, len(rows)))
    calibrated = np.empty((MULTIPLIERS.size, len(rows)))
    for f, training in enumerate(_training(products)):
        mine = fold_of_row == f
        held_out, centred = rows.where(mine), _Centred.of(training, rows.n_periods)
        for m, multiplier in enumerate(MULTIPLIERS):
            weights = solve(training, rows.n_periods, float(multiplier))
            residual[m, mine] = held_out.outcome - _predict(held_out, centred, weights)
            line = weights * centred.slope(weights)
            calibrated[m, mine] = _predict(held_out, centred, line)
    chosen = _one_standard_error(residual, omega, fold_of_row, folds)
    whole = np.sum(products, axis=0)
    weights = solve(whole, rows.n_periods, float(MULTIPLIERS[chosen]))
    centred = _Centred.of(whole, rows.n_periods)
    slope = centred.slope(weights)
    return RidgeFit(
        weights=weights,
        slope=slope,
        intercepts=centred.intercepts(weights * slope),
        multiplier=float(MULTIPLIERS[chosen]),
        between_variance=tau2,
        r2_cv=explained_share(rows, omega, calibrated[chosen]),
        n_rows=len(rows),
        n_schools=int(schools.size),
    )


def _predict(rows: RidgeRows, centred: _Centred, coefficients: Floats) -> Floats:
    return np.asarray(centred.intercepts(coefficients)[rows.period] + rows.items @ coefficients)


def _one_standard_error(residual: Floats, omega: Floats, fold_of_row: Integers, folds: int) -> int:
    loss = np.empty((residual.shape[0], folds))
    for f in range(folds):
        mine = fold_of_row == f
        loss[:, f] = (residual[:, mine] ** 2) @ omega[mine] / omega[mine].sum()
    mean = loss.mean(axis=1)
    best = int(np.argmin(mean))
    error = float(loss[best].std(ddof=1) / np.sqrt(folds))
    return int(np.flatnonzero(mean <= mean[best] + error).max())


def bootstrap_weights(
    rows: RidgeRows, fit: RidgeFit, n_bootstrap: int, generator: np.random.Generator
) -> Floats:
    """Return the weights of resamples of whole schools, at the fit's penalty and τ².

    Cross-products are additive, so a resample is a weighted sum of the schools' own.

    Returns
    -------
    ndarray of shape (n_bootstrap, n_items)
    """
    omega = 1 / (fit.between_variance + rows.sampling_variance)
    schools = rows.schools
    order = np.argsort(rows.school, kind="stable")
    indicators = np.eye(rows.n_periods)[rows.period]
    block = np.column_stack([indicators, rows.items, rows.outcome])[order]
    weighted = block * omega[order, None]
    size = block.shape[1]
    starts = np.searchsorted(rows.school[order], schools)
    own = np.add.reduceat((weighted[:, :, None] * block[:, None, :]).reshape(-1, size**2), starts)
    share = np.full(schools.size, 1 / schools.size)
    counts = generator.multinomial(schools.size, share, size=n_bootstrap).astype(float)
    products = (counts @ own).reshape(n_bootstrap, size, size)
    return np.array([solve(p, rows.n_periods, fit.multiplier) for p in products]).reshape(
        n_bootstrap, rows.items.shape[1]
    )
