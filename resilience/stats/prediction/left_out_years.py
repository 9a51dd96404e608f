r"""Prediction of a school's effect in one year from its other years.

With :math:`d_t = f_t + e_t`, :math:`\mathrm{cov}(f) = S`, :math:`\mathrm{Var}(e_t) = s_t^2`,
:math:`V = S + \mathrm{diag}(s^2)` over the years with data and :math:`P = V^{-1}`, the effect of
year t predicted from all other years is

.. math::

   \hat f_{(t)} = d_t - \frac{(Pd)_t}{P_{tt}}, \qquad
   \mathrm{Var}(\hat f_{(t)} - f_t) = \frac{1}{P_{tt}} - s_t^2 ,

which is :math:`S_{t,o}V_{oo}^{-1}d_o` and :math:`S_{tt} - S_{t,o}V_{oo}^{-1}S_{o,t}` over the other
years o (the inverse of a bordered matrix).  A year without data is predicted from all that there
are.

The residuals rest on estimated coefficients.  The prediction moves with them by
:math:`-\ell_t'`, :math:`\ell_t = x_t - (PX)_t/P_{tt}`.  As the coefficients have seen year t, whose
own effect and noise the prediction has not, the two errors are correlated,
:math:`\mathrm{cov}(\hat f_{(t)} - f_t, \hat\beta - \beta) = -v_tC(PX)_t` with the variance
:math:`v_t` above and :math:`C = \mathrm{Var}(\hat\beta)`, so that

.. math:: \mathrm{total}_t = v_t + \ell_t'C\ell_t + 2 v_t\,\ell_t'C(PX)_t .

Source: Henderson1975.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["LeftOutYears", "left_out_years"]

Floats = NDArray[np.float64]

_SCHOOLS_PER_BLOCK = 5000


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOutYears:
    """Effects of all years of all schools, each predicted from the school's other years.

    Attributes
    ----------
    mean : ndarray of shape (n_schools, n_years)
        Predictions; 0 for a school without any other year.
    conditional, total : ndarray of shape (n_schools, n_years)
        Variances of their errors without and with the error of the coefficients.
    prior : ndarray of shape (n_years,)
        Variance of each year's effect among schools.
    """

    mean: Floats
    conditional: Floats
    total: Floats
    prior: Floats


def left_out_years(
    residual: Floats,
    sampling_variance: Floats,
    covariance: Floats,
    *,
    design: Floats,
    beta_covariance: Floats,
) -> LeftOutYears:
    """Return every year's effect as the school's other years tell it.

    Parameters
    ----------
    residual, sampling_variance : ndarray of shape (n_schools, n_years)
        Observed minus expected means and their sampling variances; NaN in both where a school has
        no data in a year.
    covariance : ndarray of shape (n_years, n_years)
        Covariance of a school's effects in the years.
    design : ndarray of shape (n_schools, n_years, p)
        Mean covariates behind the expected means; whatever where there are no data.
    beta_covariance : ndarray of shape (p, p)
        Covariance of the coefficients.

    Raises
    ------
    DataError
        If a variance is negative or not finite, or a year has neither own nor sampling variance.

    References
    ----------
    Henderson1975.
    """
    there = ~np.isnan(residual)
    seen = sampling_variance[there]
    if not (np.isfinite(seen).all() and (seen >= 0).all()):
        bad = seen[~(np.isfinite(seen) & (seen >= 0))][0]
        raise DataError(text("decisions.variance", value=float(bad)))
    own = np.diag(covariance)[None, :] + np.where(there, sampling_variance, 1.0)
    if not (own > 0).all():
        raise DataError(text("value_added.exact_year"))
    shape = residual.shape
    mean, conditional, total = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for start in range(0, shape[0], _SCHOOLS_PER_BLOCK):
        part = slice(start, start + _SCHOOLS_PER_BLOCK)
        mean[part], conditional[part], total[part] = _block(
            residual[part],
            sampling_variance[part],
            covariance,
            np.where(there[part][:, :, None], design[part], 0.0),
            beta_covariance,
        )
    return LeftOutYears(
        mean=mean,
        conditional=conditional,
        total=total,
        prior=np.diag(covariance).copy(),
    )


def _block(
    residual: Floats, sampling: Floats, S: Floats, X: Floats, C: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return mean, conditional and total variance of some schools."""
    there = ~np.isnan(residual)
    both = there[:, :, None] & there[:, None, :]
    d, s2 = np.where(there, residual, 0.0), np.where(there, sampling, 1.0)
    diagonal = np.arange(len(S))
    V = np.where(both, S, 0.0)
    V[:, diagonal, diagonal] += s2
    P = np.where(both, np.linalg.inv(V), 0.0)
    own = np.where(there, P[:, diagonal, diagonal], 1.0)
    Pd, PX = np.einsum("jts,js->jt", P, d), np.einsum("jts,jsp->jtp", P, X)
    # years with data: from the inverse itself; years without: from all the years there are
    gain = np.einsum("ts,jsr->jtr", S, P)
    mean = np.where(there, d - Pd / own, np.einsum("ts,js->jt", S, Pd))
    lost = np.where(there, 1.0 / own - s2, np.diag(S) - np.einsum("jtr,rt->jt", gain, S))
    conditional = np.maximum(lost, 0.0)
    leverage = np.where(
        there[:, :, None], X - PX / own[:, :, None], np.einsum("ts,jsp->jtp", S, PX)
    )
    carried = leverage @ C
    total = conditional + np.einsum("jtp,jtp->jt", carried, leverage)
    total += 2.0 * conditional * np.where(there, np.einsum("jtp,jtp->jt", carried, PX), 0.0)
    return mean, conditional, np.maximum(total, 0.0)
