r"""Expectation of true values given error-prone ones, for pupils and their schools jointly.

The columns of pupil i in school j and year t are :math:`v_{jti} = \mu + s_j + c_{jt} + w_{jti} +
\delta_{jti}` with :math:`s_j \sim (0, S)` between schools, :math:`c_{jt} \sim (0, C)` between the
years of a school (0 without years), :math:`w_{jti} \sim (0, \Omega)` within, and an error
:math:`\delta_{jti} \sim (0, \Delta_{jti})` whose diagonal variances are known: those of an observed
prior score, 0 for covariates taken as exact.  With :math:`M = (\Omega + \Delta)^{-1}` per pupil,
:math:`P_{jt} = \sum_i M_{jti}`, :math:`r_{jt} = \sum_i M_{jti}(v_{jti} - \mu)` and :math:`F_{jt} =
(I + P_{jt}C)^{-1}`

.. math::

   \hat s_j &= S \Big(I + \sum_t F_{jt}P_{jt}S\Big)^{-1} \sum_t F_{jt}r_{jt}, \qquad
   \hat b_{jt} = \hat s_j + C F_{jt}(r_{jt} - P_{jt}\hat s_j), \\
   \hat\xi_{jti} &= \mu + \hat b_{jt} + \Omega M_{jti}(v_{jti} - \mu - \hat b_{jt}).

These are the conditional expectations of a school's (in a year) and of a pupil's true values given
all that was observed in the school, under normality, and the best linear ones without it.  For one
column, one year and errors of one variance :math:`\sigma_\delta^2` they are

.. math::

   \hat b_j = \lambda_j (\bar x_j - \mu), \quad
   \lambda_j = \frac{\tau^2}{\tau^2 + (\omega^2 + \sigma_\delta^2) / n_j}, \qquad
   \hat\xi_{ij} = \mu + \hat b_j + \frac{\omega^2}{\omega^2 + \sigma_\delta^2}
   (x_{ij} - \mu - \hat b_j).

Columns that are constant within schools (and years) enter with a variance within of 1e-8 of their
own.  Source: CarrollEtAl2006, chapter 4 (regression calibration, best linear approximation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "Calibrated",
    "CellSums",
    "Moments",
    "calibrate",
    "cell_effects",
    "cell_sums",
    "level_moments",
    "pupil_expectations",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CONSTANT = 1e-10  # share of a column's variance below which it does not vary within schools
_EXACT = 1e-8  # share of its variance that a column constant within schools is given within
_CHUNK = 65_536  # rows whose residuals are turned at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What a table of pupils in schools (and years) with known error variances is made of.

    Attributes
    ----------
    mean : ndarray of shape (q,)
        Means of the columns, schools weighted by the information on theirs.
    between, years : ndarray of shape (q, q)
        S and C, positive semi-definite.
    within : ndarray of shape (q, q)
        Ω of the true values: the observed one less the mean error variances.
    error : ndarray of shape (q,)
        Mean error variance of each column.
    """

    mean: Floats
    between: Floats
    years: Floats
    within: Floats
    error: Floats

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Columns that do not vary within schools, shape (q,)."""
        observed = np.diag(self.within) + self.error
        total = np.diag(self.between) + np.diag(self.years) + observed
        return np.asarray(observed <= _CONSTANT * np.maximum(total, 1e-300))

    @property
    def unexplained(self) -> tuple[Floats, Floats]:
        """True and observed covariance within schools that exact columns leave of the others.

        Both of shape (k, k) for the k columns with errors that vary within schools.
        """
        prone = (self.error > 0) & ~self.constant
        exact = (self.error == 0) & ~self.constant
        across = self.within[np.ix_(prone, exact)]
        block = np.linalg.pinv(self.within[np.ix_(exact, exact)], hermitian=True)
        true = self.within[np.ix_(prone, prone)] - across @ block @ across.T
        return true, true + np.diag(self.error[prone])


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrated:
    """Conditional expectations.

    Attributes
    ----------
    pupils : ndarray of shape (n, q)
        Expected true values of each pupil.
    cells : ndarray of shape (n_cells, q)
        Expected true means of each school (and year).
    """

    pupils: Floats
    cells: Floats


def level_moments(
    values: Floats, errors: Floats, schools: Ints, cells: Ints | None = None
) -> Moments:
    r"""Return means and covariances of all levels by the method of moments.

    Within: the pooled cross-products within cells over :math:`n - K`.  Between: weighted squares of
    the cells' means, around their school's for years and around the overall one for schools, less
    what pupils and errors add to them; weights :math:`a = 1/(r + 1/n)` with :math:`r` the mean
    ratio of variances between and within of a round before (the first takes :math:`a = n`), so that
    neither large nor small schools rule.  Negative parts of S and C are cut off.

    Parameters
    ----------
    values : ndarray of shape (n, q)
        Columns.
    errors : ndarray of shape (n, q)
        Error variances; 0 for an exact column.
    schools : ndarray of shape (n,)
        Codes 0 … J−1, all present.
    cells : ndarray of shape (n,), optional
        Codes 0 … K−1 of schools × years, K below n; the schools themselves by default.
    """
    cells = schools if cells is None else cells
    n, K = len(values), int(cells.max()) + 1
    size = np.bincount(cells).astype(float)
    parent = np.zeros(K, dtype=np.int64)
    parent[cells] = schools
    centre = values.mean(axis=0)
    moved = values - centre
    means = _sums(cells, K, moved) / size[:, None]
    around = moved - means[cells]
    mean_errors = _sums(cells, K, errors) / size[:, None]
    # an error counts 1 − 1/n in the squares within its cell
    error = (mean_errors * (size - 1.0)[:, None]).sum(axis=0) / (n - K)
    within = around.T @ around / (n - K) - np.diag(error)
    noise = _Noise(within=within, errors=mean_errors, size=size)
    weights, years = size, np.zeros_like(within)
    for _ in range(3):
        by_school = np.bincount(parent, weights)
        own = _spread(means, weights, parent)
        lost = weights**2 / by_school[parent]
        degrees = float((weights - lost).sum())
        if degrees > 1e-9 * weights.sum():
            years = _positive((own - noise.part(weights - lost)) / degrees)
        whole = _spread(means, weights, np.zeros(K, dtype=np.int64))
        total = weights.sum()
        kept = weights - weights**2 / total
        rest = whole - noise.part(kept) - kept.sum() * years
        between = _positive(rest / float(total - (by_school**2).sum() / total))
        ratio = np.diag(between + years) / np.maximum(np.diag(within) + error, 1e-300)
        mean = weights @ means / total
        weights = 1.0 / (float(np.minimum(ratio, 1.0).mean()) + 1.0 / size)
    return Moments(mean=mean + centre, between=between, years=years, within=within, error=error)


def calibrate(
    values: Floats, errors: Floats, schools: Ints, moments: Moments, cells: Ints | None = None
) -> Calibrated:
    """Return the expected true values of pupils and schools given everything observed.

    Parameters
    ----------
    values, errors, schools, cells
        As for `level_moments`; schools may be others than those of the moments.
    moments : Moments
        Means and covariances.

    References
    ----------
    CarrollEtAl2006, chapter 4.
    """
    cells = schools if cells is None else cells
    sums = cell_sums(values, errors, cells, moments)
    parent = np.zeros(len(sums.pull), dtype=np.int64)
    parent[cells] = schools
    found = cell_effects(sums, parent, moments)
    at_cell = np.where(moments.constant, sums.means, found)
    return Calibrated(
        pupils=pupil_expectations(values, errors, found[cells], moments),
        cells=at_cell + moments.mean,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CellSums:
    """What the rows of each cell tell of its true means; cells can be put side by side.

    Attributes
    ----------
    precision : ndarray of shape (K, q, q)
        P, sums of M.
    pull : ndarray of shape (K, q)
        r, sums of M times the deviations from the overall means.
    means : ndarray of shape (K, q)
        Mean deviations as observed.
    """

    precision: Floats
    pull: Floats
    means: Floats


def cell_sums(values: Floats, errors: Floats, cells: Ints, moments: Moments) -> CellSums:
    """Return the sums of each cell.

    Parameters
    ----------
    values, errors : ndarray of shape (n, q)
        As for `level_moments`.
    cells : ndarray of shape (n,)
        Codes 0 … K−1, all present.
    moments : Moments
        Means and covariances.
    """
    K, q = int(cells.max()) + 1, values.shape[1]
    kinds, code = _distinct(errors)
    weight = _inverse(_within(moments) + _diagonals(kinds))  # M per error variance
    gap = values - moments.mean
    counts = sparse.csr_matrix((np.ones(len(code)), (cells, code)), shape=(K, len(kinds)))
    return CellSums(
        precision=np.asarray(counts @ weight.reshape(len(kinds), -1)).reshape(K, q, q),
        pull=_sums(cells, K, _row_products(weight, code, gap)),
        means=_mean_of(gap, cells, K),
    )


def cell_effects(sums: CellSums, parent: Ints, moments: Moments) -> Floats:
    """Return the expected true deviation of each cell from the overall means, shape (K, q).

    Parameters
    ----------
    sums : CellSums
        Of all cells of their schools.
    parent : ndarray of shape (K,)
        School of each cell, codes 0 … J−1, all present.
    moments : Moments
        Means and covariances.
    """
    P, r, S, C = sums.precision, sums.pull, moments.between, moments.years
    eye = np.eye(len(S))
    both = np.linalg.solve(eye + P @ C, np.concatenate([P, r[:, :, None]], axis=2))
    J = int(parent.max()) + 1
    precision = _sums(parent, J, both[:, :, :-1].reshape(len(P), -1)).reshape(J, *S.shape)
    pull = _sums(parent, J, both[:, :, -1])
    school = np.linalg.solve(eye + precision @ S, pull[:, :, None])[:, :, 0] @ S
    own = both[:, :, -1] - np.einsum("kab,kb->ka", both[:, :, :-1], school[parent])
    return np.asarray(school[parent] + own @ C)


def pupil_expectations(values: Floats, errors: Floats, effects: Floats, moments: Moments) -> Floats:
    """Return the expected true values of pupils, shape (n, q).

    Parameters
    ----------
    values, errors : ndarray of shape (n, q)
        As for `level_moments`; a column without any error stays as it is.
    effects : ndarray of shape (n, q)
        What `cell_effects` found for each row's cell.
    moments : Moments
        Means and covariances.
    """
    kinds, code = _distinct(errors)
    within = _within(moments)
    weight = _inverse(within + _diagonals(kinds))
    around = values - moments.mean - effects
    found = effects + _row_products(within @ weight, code, around) + moments.mean
    return np.where((errors == 0.0).all(axis=0), values, found)


def _within(moments: Moments) -> Floats:
    """Return Ω with a little of its own variance for columns that are constant within schools."""
    within = moments.within.copy()
    at = np.flatnonzero(moments.constant)
    own = np.diag(moments.between) + np.diag(moments.years)
    within[at, :] = within[:, at] = 0.0
    within[at, at] = _EXACT * own[at]
    return within


@dataclass(frozen=True, kw_only=True, eq=False)
class _Noise:
    """What pupils and errors add to the squares of the cells' means."""

    within: Floats
    errors: Floats
    size: Floats

    def part(self, weights: Floats) -> Floats:
        """Return the weighted sum over cells of the noise of their means, shape (q, q)."""
        share = weights / self.size
        return np.asarray(share.sum() * self.within + np.diag(share @ self.errors))


def _spread(means: Floats, weights: Floats, parent: Ints) -> Floats:
    """Return weighted squares of means around those of their parents, shape (q, q)."""
    total = np.bincount(parent, weights)
    sums = _sums(parent, len(total), weights[:, None] * means)
    gap = means - (sums / total[:, None])[parent]
    return np.asarray((gap * weights[:, None]).T @ gap)


def _mean_of(values: Floats, cells: Ints, n_cells: int) -> Floats:
    return np.asarray(
        _sums(cells, n_cells, values) / np.bincount(cells, minlength=n_cells)[:, None]
    )


def _sums(codes: Ints, n_units: int, values: Floats) -> Floats:
    """Return the sums of the rows of each unit, shape (n_units, columns)."""
    columns = [np.bincount(codes, column, minlength=n_units) for column in values.T]
    return np.column_stack(columns)


def _distinct(rows: Floats) -> tuple[Floats, Ints]:
    """Return the distinct rows and which of them each row is."""
    if (rows == rows[0]).all():
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    found, places = np.unique(rows, axis=0, return_inverse=True)
    return found, places.ravel().astype(np.int64)


def _diagonals(rows: Floats) -> Floats:
    """Return one diagonal matrix per row, shape (k, q, q)."""
    return np.asarray(rows[:, :, None] * np.eye(rows.shape[1]))


def _inverse(matrices: Floats) -> Floats:
    """Return the pseudo-inverses of symmetric matrices, shape (k, q, q)."""
    return np.asarray(np.linalg.pinv(matrices, hermitian=True), dtype=np.float64)


def _row_products(matrices: Floats, code: Ints, rows: Floats) -> Floats:
    """Return each row's product with the matrix of its code, a block of rows at a time."""
    if len(matrices) == 1:
        return np.asarray(rows @ matrices[0].T)
    found = np.empty_like(rows)
    for at in range(0, len(rows), _CHUNK):
        part = slice(at, at + _CHUNK)
        found[part] = np.einsum("nab,nb->na", matrices[code[part]], rows[part])
    return found


def _positive(matrix: Floats) -> Floats:
    """Return the nearest positive semi-definite matrix, in units of the columns' own variances."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T) / np.outer(safe, safe))
    kept = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return np.asarray(kept * np.outer(scale, scale))
