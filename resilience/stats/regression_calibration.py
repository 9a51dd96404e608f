r"""Expectation of true values given error-prone ones, for pupils and their schools jointly.

A pupil's columns are :math:`v_{ij} = \mu + b_j + w_{ij} + \delta_{ij}` with :math:`b_j \sim (0, T)`
between schools, :math:`w_{ij} \sim (0, \Omega)` within, and an error :math:`\delta_{ij} \sim (0,
\Delta_{ij})` whose diagonal variances are known: those of an observed prior score, 0 for covariates
taken as exact.  With :math:`M_{ij} = (\Omega + \Delta_{ij})^{-1}` and :math:`P_j = \sum_i M_{ij}`

.. math::

   \hat b_j = T (I + P_j T)^{-1} \sum_i M_{ij} (v_{ij} - \mu), \qquad
   \hat\xi_{ij} = \mu + \hat b_j + \Omega M_{ij} (v_{ij} - \mu - \hat b_j).

These are the conditional expectations of a school's and of a pupil's true values given all that was
observed in the school, under normality, and the best linear ones without it.  For one column and
errors of one variance :math:`\sigma_\delta^2` they are

.. math::

   \hat b_j = \lambda_j (\bar x_j - \mu), \quad
   \lambda_j = \frac{\tau^2}{\tau^2 + (\omega^2 + \sigma_\delta^2) / n_j}, \qquad
   \hat\xi_{ij} = \mu + \hat b_j + \frac{\omega^2}{\omega^2 + \sigma_\delta^2}
   (x_{ij} - \mu - \hat b_j).

Columns that are constant within schools are known exactly there; the others are conditioned on them
first.  Source: CarrollEtAl2006, chapter 4 (regression calibration, best linear approximation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Calibrated", "Moments", "calibrate", "two_level_moments"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CONSTANT = 1e-10  # share of a column's variance below which it does not vary within schools
_CHUNK = 65_536  # rows whose residuals are turned at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What a two-level table of columns with known error variances is made of.

    Attributes
    ----------
    mean : ndarray of shape (q,)
        Means of the columns, schools weighted by the information on theirs.
    between : ndarray of shape (q, q)
        T, positive semi-definite.
    within : ndarray of shape (q, q)
        Ω of the true values: the observed one less the mean error variances.
    error : ndarray of shape (q,)
        Mean error variance of each column.
    """

    mean: Floats
    between: Floats
    within: Floats
    error: Floats

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Columns that do not vary within schools, shape (q,)."""
        observed = np.diag(self.within) + self.error
        total = np.diag(self.between) + observed
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
    schools : ndarray of shape (n_schools, q)
        Expected true means of each school.
    """

    pupils: Floats
    schools: Floats


def two_level_moments(values: Floats, schools: Ints, errors: Floats) -> Moments:
    r"""Return means and covariances between and within schools by the method of moments.

    Within: the pooled cross-products within schools over :math:`n - J`.  Between: weighted squares
    of the school means less what pupils and errors add to them; weights :math:`a_j = 1/(r + 1/n_j)`
    with :math:`r` the mean ratio of variances between and within of a first round (which takes
    :math:`a_j = n_j`), so that neither large nor small schools rule.  A negative part of T is cut
    off.

    Parameters
    ----------
    values : ndarray of shape (n, q)
        Columns.
    schools : ndarray of shape (n,)
        Codes 0 … J−1, all present, J of at least 2 and below n.
    errors : ndarray of shape (n, q)
        Error variances; 0 for an exact column.
    """
    n = len(values)
    size = np.bincount(schools).astype(float)
    J = len(size)
    sums = _by_school(schools, J)
    centre = values.mean(axis=0)
    moved = values - centre
    means = (sums @ moved) / size[:, None]
    around = moved - means[schools]
    mean_errors = (sums @ errors) / size[:, None]
    # an error counts 1 − 1/n_j in the squares within its school
    error = (mean_errors * (size - 1.0)[:, None]).sum(axis=0) / (n - J)
    within = around.T @ around / (n - J) - np.diag(error)
    weights = size
    for _ in range(3):
        mean = weights @ means / weights.sum()
        spread = ((means - mean) * weights[:, None]).T @ (means - mean)
        noise = (weights - weights**2 / weights.sum()) / size
        spread -= noise.sum() * within + np.diag(noise @ mean_errors)
        between = _positive(spread / (weights.sum() - (weights**2).sum() / weights.sum()))
        ratio = np.diag(between) / np.maximum(np.diag(within) + error, 1e-300)
        weights = 1.0 / (float(np.minimum(ratio, 1.0).mean()) + 1.0 / size)
    return Moments(mean=mean + centre, between=between, within=within, error=error)


def calibrate(values: Floats, schools: Ints, errors: Floats, moments: Moments) -> Calibrated:
    """Return the expected true values of pupils and schools given everything observed.

    Parameters
    ----------
    values, schools, errors
        As for `two_level_moments`; schools may be others than those of the moments.
    moments : Moments
        Means and covariances.

    References
    ----------
    CarrollEtAl2006, chapter 4.
    """
    J = int(schools.max()) + 1
    fixed = moments.constant
    free = ~fixed
    sums = _by_school(schools, J)
    size = np.bincount(schools, minlength=J).astype(float)
    known = (sums @ values[:, fixed]) / size[:, None] - moments.mean[fixed]
    T = moments.between
    gain = T[np.ix_(free, fixed)] @ np.linalg.pinv(T[np.ix_(fixed, fixed)], hermitian=True)
    start = moments.mean[free] + known @ gain.T
    T = _positive(T[np.ix_(free, free)] - gain @ T[np.ix_(fixed, free)])
    within = moments.within[np.ix_(free, free)]
    x = values[:, free]
    kinds, code = _distinct(errors[:, free])
    weight = _inverse(within + _diagonals(kinds))  # M per error variance
    turned = _row_products(weight, code, x - start[schools])
    counts = sparse.csr_matrix((np.ones(len(code)), (schools, code)), shape=(J, len(kinds)))
    flat = np.asarray(counts @ weight.reshape(len(kinds), -1))
    precision = flat.reshape(J, *within.shape)
    inner = np.eye(len(T)) + precision @ T
    effect = np.linalg.solve(inner, (sums @ turned)[:, :, None])[:, :, 0] @ T
    mean = start + effect
    gains = within @ weight
    found = mean[schools] + _row_products(gains, code, x - mean[schools])
    exact = (errors[:, free] == 0.0).all(axis=0)
    found = np.where(exact, x, found)
    pupils, at_school = values.copy(), np.empty((J, len(free)))
    pupils[:, free] = found
    at_school[:, free], at_school[:, fixed] = mean, known + moments.mean[fixed]
    return Calibrated(pupils=pupils, schools=at_school)


def _by_school(schools: Ints, n_schools: int) -> sparse.csr_matrix:
    """Return the indicator of schools, shape (J, n): its product sums rows."""
    n = len(schools)
    return sparse.csr_matrix((np.ones(n), (schools, np.arange(n))), shape=(n_schools, n))


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
