r"""Ellipses of two estimates with joint errors, and the chances of the four quadrants.

With the error covariance :math:`\Sigma` of two estimates, normal errors make

.. math::

   \{\tau : (\hat\tau - \tau)'\Sigma^{-1}(\hat\tau - \tau) \le c\}, \qquad c = -2\log(1 - level),

an ellipse that covers the pair with probability ``level``: c is the quantile of :math:`\chi^2_2`.
Its semi-axes are :math:`\sqrt{c\lambda_1} \ge \sqrt{c\lambda_2}`, the roots of the eigenvalues of
:math:`c\Sigma`, its widest points along an axis lie :math:`\sqrt{c\Sigma_{ii}}` from the centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.binormal import binormal_cdf
from resilience.validation import check_fraction

__all__ = ["Ellipses", "chi_square_two", "ellipses", "quadrant_probabilities"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ellipses:
    """Shape of ellipses around the estimates.

    Attributes
    ----------
    semi_major, semi_minor : ndarray of shape (n,)
        Half of the long and of the short diameter.
    angle : ndarray of shape (n,)
        Degrees from the first axis to the long diameter, counter-clockwise, in (-90, 90].
    reach : ndarray of shape (n, 2)
        How far the ellipse extends from its centre along each axis.
    """

    semi_major: Floats
    semi_minor: Floats
    angle: Floats
    reach: Floats


def chi_square_two(level: float) -> float:
    r"""Return the quantile of :math:`\chi^2_2`, :math:`-2\log(1 - level)`.

    Parameters
    ----------
    level : float
        In (0, 1).
    """
    check_fraction(level, argument="level", closed=False)
    return float(-2.0 * np.log1p(-level))


def ellipses(covariance: Floats, *, level: float) -> Ellipses:
    """Return the ellipses that cover pairs of quantities with a probability.

    Parameters
    ----------
    covariance : ndarray of shape (n, 2, 2)
        Error covariances; NaN gives NaN.
    level : float
        Probability, in (0, 1).
    """
    c = chi_square_two(level)
    first, second, both = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
    middle, apart = 0.5 * (first + second), 0.5 * (first - second)
    half = np.hypot(apart, both)
    long = middle + half
    # the product of the eigenvalues is the determinant: no cancellation in middle − half
    with np.errstate(invalid="ignore", divide="ignore"):
        short = np.where(long > 0, np.maximum(first * second - both**2, 0.0) / long, 0.0)
    return Ellipses(
        semi_major=np.sqrt(c * long),
        semi_minor=np.sqrt(c * np.where(np.isnan(long), np.nan, short)),
        angle=np.degrees(0.5 * np.arctan2(2.0 * both, first - second)),
        reach=np.sqrt(c * np.stack([first, second], axis=1)),
    )


def quadrant_probabilities(
    centre: Floats, covariance: Floats, lines: tuple[float, float]
) -> Floats:
    """Return the probability that a pair lies in each of the four quadrants around two lines.

    Parameters
    ----------
    centre : ndarray of shape (n, 2)
        Estimates; NaN gives NaN.
    covariance : ndarray of shape (n, 2, 2)
        Error covariances.
    lines : (float, float)
        Where the two lines cross.

    Returns
    -------
    ndarray of shape (n, 4)
        Of (high, high), (high, low), (low, high), (low, low); they add up to 1.  An estimate
        without error that lies on a line counts as half above it.
    """
    found = np.full((len(centre), 4), np.nan)
    known = np.isfinite(centre).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2))
    spread = np.sqrt(np.einsum("nii->ni", covariance[known]))
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = centre[known] - np.asarray(lines)
        z = np.where(spread > 0, distance / spread, np.sign(distance) * np.inf)
        z = np.where(np.isnan(z), 0.0, z)
        tie = covariance[known, 0, 1] / spread.prod(axis=1)
    rho = np.clip(np.where(np.isfinite(tie), tie, 0.0), -1.0, 1.0)
    a, b = z[:, 0], z[:, 1]
    found[known] = np.stack(
        [
            binormal_cdf(a, b, rho),
            binormal_cdf(a, -b, -rho),
            binormal_cdf(-a, b, -rho),
            binormal_cdf(-a, -b, rho),
        ],
        axis=1,
    )
    return found
