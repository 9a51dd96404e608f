r"""Rubin's rules: one answer from the analyses of several completed data sets.

With estimates :math:`\hat q_m` of variance :math:`U_m` from M completed data sets,

.. math::

   \bar q = \frac1M\sum_m\hat q_m, \qquad W = \frac1M\sum_m U_m, \qquad
   B = \frac1{M-1}\sum_m(\hat q_m-\bar q)^2, \qquad T = W + \Big(1+\frac1M\Big)B .

:math:`(\bar q-q)/\sqrt T` is compared with Student's t.  With :math:`\lambda = (1+1/M)B/T` and
:math:`\nu_c` degrees of freedom of the complete data, the degrees of freedom are

.. math::

   \nu = \Big(\frac1{\nu_m}+\frac1{\nu_o}\Big)^{-1}, \qquad \nu_m = \frac{M-1}{\lambda^2}, \qquad
   \nu_o = \frac{\nu_c+1}{\nu_c+3}\,\nu_c(1-\lambda),

and with :math:`r = (1+1/M)B/W` the fraction of missing information is
:math:`\gamma = (r + 2/(\nu+3))/(1+r)`.  Sources: Rubin1987, chapter 3; BarnardRubin1999.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_fraction, check_positive

__all__ = ["PooledEstimates", "imputations_needed", "pool_covariances", "pool_estimates"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledEstimates:
    """Estimates pooled over completed data sets, element by element.

    Attributes
    ----------
    estimate : ndarray of shape (k,)
        Means over the data sets.
    within, between : ndarray of shape (k,)
        Mean sampling variance, and variance between the data sets, in squared units.
    n_imputations : int
        Completed data sets, at least 2.
    df_complete : float
        Degrees of freedom that the complete data would have; infinite for normal intervals.
    """

    estimate: Floats
    within: Floats
    between: Floats
    n_imputations: int
    df_complete: float = float("inf")

    @cached_property
    def total(self) -> Floats:
        """Total variance T."""
        return np.asarray(self.within + (1.0 + 1.0 / self.n_imputations) * self.between)

    @cached_property
    def std_error(self) -> Floats:
        """Square root of the total variance."""
        return np.sqrt(self.total)

    @cached_property
    def relative_increase(self) -> Floats:
        """Increase r of the variance that the gaps bring, relative to the variance within."""
        extra = (1.0 + 1.0 / self.n_imputations) * self.between
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(extra > 0, extra / self.within, 0.0)

    @cached_property
    def share_of_gaps(self) -> Floats:
        """Share λ of the total variance that comes from the gaps, 0 to 1."""
        extra = (1.0 + 1.0 / self.n_imputations) * self.between
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(extra > 0, extra / self.total, 0.0)

    @cached_property
    def df(self) -> Floats:
        """Degrees of freedom of Barnard and Rubin, infinite where nothing is between the sets."""
        share = self.share_of_gaps
        with np.errstate(divide="ignore"):
            inverse = share**2 / (self.n_imputations - 1.0)
            if np.isfinite(self.df_complete):
                c = self.df_complete
                inverse = inverse + 1.0 / ((c + 1.0) / (c + 3.0) * c * (1.0 - share))
            return np.asarray(1.0 / inverse)

    @cached_property
    def fraction_missing(self) -> Floats:
        """Fraction γ of the information on each quantity that the gaps took, 0 to 1."""
        r = self.relative_increase
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (r + 2.0 / (self.df + 3.0)) / (1.0 + r)
        return np.where(np.isinf(r), 1.0, np.where(self.between > 0, found, 0.0))

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the ends of the intervals by Student's t.

        Parameters
        ----------
        level : float
            Coverage, in (0, 1).
        """
        check_fraction(level, argument="level", closed=False)
        reach = student_quantile(0.5 + level / 2.0, self.df) * self.std_error
        return self.estimate - reach, self.estimate + reach

    @cached_property
    def p_value(self) -> Floats:
        """Two-sided probability of a statistic as far from 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.abs(self.estimate / self.std_error)
        tail = np.where(np.isinf(self.df), special.ndtr(-z), stats.t.sf(z, self.df))
        return np.asarray(2.0 * tail)


def student_quantile(p: float, df: Floats) -> Floats:
    """Return quantiles of Student's t, normal ones where the degrees are infinite."""
    normal = float(special.ndtri(p))
    return np.where(np.isinf(df), normal, stats.t.ppf(p, np.where(np.isinf(df), 1.0, df)))


def pool_estimates(
    estimates: ArrayLike, variances: ArrayLike, *, df_complete: float = float("inf")
) -> PooledEstimates:
    """Pool estimates and their sampling variances.

    Parameters
    ----------
    estimates, variances : array_like of shape (n_imputations, k) or (n_imputations,)
        Estimates of each completed data set and their squared standard errors, at least 0.
    df_complete : float
        Degrees of freedom of the analysis, had nothing been missing.

    Returns
    -------
    PooledEstimates

    Raises
    ------
    DataError
        For fewer than two data sets, shapes that disagree, negative or infinite variances.

    References
    ----------
    Rubin1987; BarnardRubin1999.
    """
    q, u = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    if q.ndim == 1:
        q, u = q[:, None], u[:, None] if u.ndim == 1 else u
    _check(q, u, q.shape)
    if (u < 0).any():
        raise DataError(text("rubin.negative", value=float(u.min())))
    if not np.isinf(df_complete):
        check_positive(df_complete, argument="df_complete")
    return PooledEstimates(
        estimate=q.mean(axis=0),
        within=u.mean(axis=0),
        between=q.var(axis=0, ddof=1),
        n_imputations=len(q),
        df_complete=float(df_complete),
    )


def pool_covariances(estimates: ArrayLike, covariances: ArrayLike) -> tuple[Floats, Floats]:
    r"""Pool vectors of estimates: their mean and total covariance.

    .. math:: T = \frac1M\sum_m U_m + \Big(1+\frac1M\Big)\frac1{M-1}
              \sum_m(\hat q_m-\bar q)(\hat q_m-\bar q)'

    Parameters
    ----------
    estimates : array_like of shape (n_imputations, p)
        Vectors.
    covariances : array_like of shape (n_imputations, p, p)
        Their sampling covariances.

    Returns
    -------
    (mean, total) : ndarrays of shape (p,), (p, p)
    """
    q, u = np.asarray(estimates, dtype=float), np.asarray(covariances, dtype=float)
    _check(q, u, (*q.shape, q.shape[-1]))
    apart = q - q.mean(axis=0)
    n = len(q)
    between = apart.T @ apart / (n - 1.0)
    return q.mean(axis=0), np.asarray(u.mean(axis=0) + (1.0 + 1.0 / n) * between)


def imputations_needed(fraction_missing: ArrayLike, *, wobble: float = 0.05) -> Floats:
    r"""Return how many imputations keep the standard error stable.

    .. math:: M = 1 + \tfrac12(\gamma/c)^2

    imputations keep the coefficient of variation of a standard error, over repetitions of the
    imputation, at c.

    Parameters
    ----------
    fraction_missing : array_like
        Fractions γ of missing information, 0 to 1.
    wobble : float
        c, in (0, 1).

    References
    ----------
    vonHippel2020.
    """
    check_fraction(wobble, argument="wobble", closed=False)
    gamma = np.asarray(fraction_missing, dtype=float)
    return np.asarray(np.ceil(1.0 + 0.5 * (gamma / wobble) ** 2))


def _check(estimates: Floats, variances: Floats, expected: tuple[int, ...]) -> None:
    if estimates.ndim != 2 or len(estimates) < 2:
        raise DataError(text("rubin.few", n=len(estimates) if estimates.ndim else 0))
    if variances.shape != expected:
        raise DataError(text("rubin.shape", seen=variances.shape, expected=expected))
    for name, values in (("estimates", estimates), ("variances", variances)):
        if not np.isfinite(values).all():
            where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
            raise DataError(text("rubin.finite", name=name, where=where))
