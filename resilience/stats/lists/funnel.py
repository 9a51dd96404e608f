r"""Control limits of a funnel: which results are unusual for their size.

With estimates :math:`y_j`, their standard errors :math:`s_j` and the centre :math:`\theta_0`

.. math::

   z_j = (y_j - \theta_0) / s_j, \qquad \theta_0 \pm z \sqrt{s_j^2 + \tau^2}.

Source: Spiegelhalter2005; the variance between units by moments, as DerSimonianLaird1986.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.validation import check_fraction, check_positive, shorten

__all__ = [
    "Funnel",
    "between_variance_of",
    "funnel",
    "pooled_residuals",
    "typical_std_error",
    "unshrunken_residuals",
]

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

_TAIL = 0.10  # share winsorised at each end
_FEWEST = 10  # units below which a variance between them is not estimated


@dataclass(frozen=True, kw_only=True, eq=False)
class Funnel:
    """A funnel: estimates, their errors, the centre and the variance between units.

    Attributes
    ----------
    estimate, std_error : ndarray of shape (n_units,)
        What stands in the funnel and its sampling error, in one unit.
    center : float
        Result of a unit like all others.
    between_variance : float
        Variance between units beyond sampling, squared units; NaN where it is refused.
    reason : Bilingual or None
        Why there is no ``between_variance``.
    """

    estimate: Floats
    std_error: Floats
    center: float
    between_variance: float
    reason: Bilingual | None = None

    @property
    def z_score(self) -> Floats:
        """Distance from the centre in standard errors, without the variance between units."""
        return np.asarray((self.estimate - self.center) / self.std_error)

    def limits(
        self, level: float, *, between: bool, std_error: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the lower and the upper limit.

        Parameters
        ----------
        level : float
            Share of the units of a common truth that lie between the limits, in (0, 1).
        between : bool
            Whether the limits hold the variance between units too; NaN where it is refused.
        std_error : array_like of shape (n_points,), optional
            Errors to draw the limits for; those of the units by default.
        """
        check_fraction(level, argument="level", closed=False)
        s = self.std_error if std_error is None else np.asarray(std_error, dtype=float)
        z = special.ndtri((1 + level) / 2)
        width = z * np.sqrt(s**2 + (self.between_variance if between else 0.0))
        return self.center - width, self.center + width

    def outside(self, level: float, *, between: bool) -> Booleans:
        """Return which units lie outside the limits; none where the limits are refused."""
        low, high = self.limits(level, between=between)
        return np.asarray((self.estimate < low) | (self.estimate > high), dtype=bool)


def funnel(
    estimate: ArrayLike,
    std_error: ArrayLike,
    *,
    target: float | None = None,
    between_variance: float | None = None,
    consistent: bool = True,
) -> Funnel:
    r"""Return the funnel of estimates with known errors.

    The centre is ``target`` or :math:`\sum y_j s_j^{-2} / \sum s_j^{-2}`.

    Parameters
    ----------
    estimate, std_error : array_like of shape (n_units,)
        Estimates and their standard errors, all finite, errors above 0.
    target : float, optional
        Centre set beforehand, in the unit of the estimates.
    between_variance : float, optional
        Variance between units, squared units; by default `between_variance_of` the estimates.
    consistent : bool
        Passed on to `between_variance_of`.

    Returns
    -------
    Funnel
        With ``reason`` in place of a variance where there are fewer than 10 units.

    Raises
    ------
    DataError
        If there is no unit, a value is not finite or an error is not above 0.

    References
    ----------
    Spiegelhalter2005.
    """
    y, s = np.atleast_1d(np.asarray(estimate, float)), np.atleast_1d(np.asarray(std_error, float))
    _check(y, s)
    w = 1.0 / s**2
    center = float(np.sum(w * y) / np.sum(w)) if target is None else float(target)
    reason = None
    if between_variance is not None:
        tau2 = check_positive(between_variance, argument="between_variance", zero=True)
    elif y.size < _FEWEST:
        tau2, reason = float("nan"), text("funnel.few_units", n=y.size, fewest=_FEWEST)
    else:
        tau2 = between_variance_of(y, s, target=target, consistent=consistent)
    return Funnel(estimate=y, std_error=s, center=center, between_variance=tau2, reason=reason)


def between_variance_of(
    estimate: ArrayLike,
    std_error: ArrayLike,
    *,
    target: float | None = None,
    consistent: bool = True,
) -> float:
    r"""Return the variance between units by the moments of the winsorised z scores.

    .. math::

       \tau^2 = \max\Big(0,\;
       \frac{\kappa^{-1}\sum z_w^2 - (S - 1)}{\sum w - \sum w^2 / \sum w}\Big), \quad w = s^{-2},

    :math:`z_w` cut at the 10 and 90 % quantiles, so that the outliers looked for do not widen the
    funnel, and :math:`\kappa = 1 - 2\alpha - 2c\varphi(c) + 2\alpha c^2`,
    :math:`c = \Phi^{-1}(1-\alpha)`, the variance of a standard normal number so cut.  Around a
    ``target`` no degree of freedom is spent on the centre: S and :math:`\sum w` take the places of
    S − 1 and of the denominator.

    Parameters
    ----------
    estimate, std_error : array_like of shape (n_units,)
        At least two units, finite, errors above 0.
    target : float, optional
        Centre set beforehand.
    consistent : bool
        False leaves :math:`\kappa` out, as published; the variance then comes out too small.

    Returns
    -------
    float
        At least 0, squared units.

    References
    ----------
    Spiegelhalter2005; DerSimonianLaird1986.
    """
    y, s = np.asarray(estimate, dtype=float), np.asarray(std_error, dtype=float)
    _check(y, s)
    w = 1.0 / s**2
    center = np.sum(w * y) / np.sum(w) if target is None else target
    z = (y - center) / s
    cut = np.clip(z, *np.quantile(z, [_TAIL, 1 - _TAIL]))
    total = float(np.sum(cut**2)) / (_winsorised_variance(_TAIL) if consistent else 1.0)
    if target is not None:
        return max(0.0, (total - y.size) / float(w.sum()))
    return max(0.0, (total - (y.size - 1)) / float(w.sum() - np.sum(w**2) / w.sum()))


def _winsorised_variance(tail: float) -> float:
    c = float(special.ndtri(1 - tail))
    density = np.exp(-(c**2) / 2) / np.sqrt(2 * np.pi)
    return float(1 - 2 * tail - 2 * c * density + 2 * tail * c**2)


def _check(y: Floats, s: Floats) -> None:
    if y.ndim != 1 or y.shape != s.shape or y.size == 0:
        raise DataError(text("funnel.shapes", estimate=y.shape, std_error=s.shape))
    for name, bad in (
        ("estimate", ~np.isfinite(y)),
        ("std_error", ~(np.isfinite(s) & (s > 0))),
    ):
        if bad.any():
            values = (y if name == "estimate" else s)[bad]
            at = np.flatnonzero(bad)
            raise DataError(
                text(
                    f"funnel.{name}",
                    n=int(bad.sum()),
                    rows=shorten(at.tolist()),
                    values=shorten(f"{v:g}" for v in values),
                )
            )


def unshrunken_residuals(
    effect: ArrayLike, conditional_sd: ArrayLike, reliability: ArrayLike
) -> tuple[Floats, Floats]:
    r"""Return each school's own residual and its sampling error, from its shrunken effect.

    .. math:: y_j = \hat u_j / \lambda_j, \qquad s_j = c_j / \sqrt{\lambda_j},

    since the posterior variance is :math:`c^2 = \sigma_u^2 (1 - \lambda)` and
    :math:`\lambda = \sigma_u^2 / (\sigma_u^2 + s^2)`.

    Parameters
    ----------
    effect, conditional_sd : array_like of shape (n_schools,)
        Shrunken effect and its posterior SD, outcome units.
    reliability : array_like of shape (n_schools,)
        In [0, 1].

    Returns
    -------
    (ndarray, ndarray), each of shape (n_schools,)
        Outcome units; NaN where the reliability is 0 and the effect says nothing.
    """
    u, c, r = (np.asarray(v, dtype=float) for v in (effect, conditional_sd, reliability))
    known = np.where(r > 0, r, np.nan)
    return u / known, c / np.sqrt(known)


def pooled_residuals(
    codes: ArrayLike, residual: ArrayLike, sampling_variance: ArrayLike
) -> tuple[Floats, Floats]:
    r"""Return each school's residual over its years, weighted by precision, and its error.

    .. math:: y_j = \sum_t r_{jt} v_{jt}^{-1} \Big/ \sum_t v_{jt}^{-1}, \qquad
              s_j^2 = 1 \Big/ \sum_t v_{jt}^{-1}

    Parameters
    ----------
    codes : array_like of shape (n_rows,), int
        School of each row, 0 … J − 1, each at least once.
    residual, sampling_variance : array_like of shape (n_rows,)
        Outcome units and their squares, variances above 0.

    Returns
    -------
    (ndarray, ndarray), each of shape (n_schools,)
        Outcome units.
    """
    school = np.asarray(codes, dtype=np.int64)
    weight = 1.0 / np.asarray(sampling_variance, dtype=float)
    total = np.bincount(school, weight)
    return (
        np.bincount(school, weight * np.asarray(residual, dtype=float)) / total,
        1.0 / np.sqrt(total),
    )


def typical_std_error(n: ArrayLike, std_error: ArrayLike, at: ArrayLike) -> Floats:
    r"""Return the standard error of a typical unit of a given size.

    :math:`s^2 \approx a + b/n` with :math:`a, b \ge 0` by least squares on the relative errors
    :math:`(a + b/n)/s^2 - 1`: a part that no number of pupils removes and one that falls with it.
    Exact where :math:`s^2` is of this form.

    Parameters
    ----------
    n, std_error : array_like of shape (n_units,)
        Sizes (at least 1) and standard errors (above 0).
    at : array_like of shape (n_points,)
        Sizes asked for.

    Returns
    -------
    ndarray of shape (n_points,)
        Standard errors.
    """
    size, s = np.asarray(n, dtype=float), np.asarray(std_error, dtype=float)
    design = np.column_stack([np.ones_like(size), 1.0 / size]) / s[:, None] ** 2
    # Columns of one length keep the two coefficients comparable for the solver.
    length = np.sqrt((design**2).sum(axis=0))
    found = optimize.nnls(design / length, np.ones_like(size))[0] / length
    return np.asarray(np.sqrt(found[0] + found[1] / np.asarray(at, dtype=float)))
