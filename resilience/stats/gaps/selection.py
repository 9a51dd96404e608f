r"""Bounds on a mean residual when some of its pupils were not examined.

A share :math:`s_j` of a school's pupils stayed, with mean residual :math:`d_j`; the others left and
have no result.  What the school did for all of them is :math:`s_jd_j + (1-s_j)m_j` with the unknown
mean residual :math:`m_j` of those who left:

* whatever they would have scored between the ends L and U of the scale,
  :math:`m_j \in [L-\bar E_j,\, U-\bar E_j]` with their expected result :math:`\bar E_j`
  (Manski1990, equation 1);
* had they been :math:`\delta` SD below those who stayed, :math:`m_j = d_j-\delta\sigma`: the sign
  turns at the tipping point :math:`\delta^* = d_j / ((1-s_j)\sigma)`;
* had every school kept the same share, the more a school keeps the more of those who would have
  left elsewhere are among its results: the excess share is trimmed from the top or from the bottom
  of the residuals (Lee2009, proposition 1a; who stays where fewer stay would stay where more do).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

__all__ = ["partial_interval", "range_bounds", "tipping_points", "trimmed_means"]

Floats = NDArray[np.float64]


def range_bounds(
    mean: Floats, share: Floats, expected_left: Floats, outcome_range: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Return the lowest and highest mean residual of all pupils, stayed or not.

    Parameters
    ----------
    mean, share : ndarray of shape (n_schools,)
        Mean residual of those who stayed, and their share, 0 to 1.
    expected_left : ndarray of shape (n_schools,)
        Mean expected result of those who left; ignored where nobody did.
    outcome_range : (float, float)
        Ends of the outcome's scale.
    """
    gone = 1.0 - share
    ends = []
    for end in outcome_range:
        left = np.where(gone > 0, gone * (end - expected_left), 0.0)
        ends.append(np.asarray(share * mean + left))
    return ends[0], ends[1]


def tipping_points(mean: Floats, share: Floats, sd: float) -> Floats:
    """Return how many SD below the others those who left must have been to turn the sign.

    Negative where they must have been above; infinite where nobody left.

    Parameters
    ----------
    mean, share : ndarray of shape (n_schools,)
        Mean residual of those who stayed, and their share.
    sd : float
        SD of pupils' residuals within schools.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = mean / ((1.0 - share) * sd)
    return np.asarray(np.where(share < 1.0, found, np.sign(mean) * np.inf))


def trimmed_means(values: Floats, share: float) -> tuple[float, float]:
    """Return the means after a share is trimmed from the top and from the bottom.

    A fractional pupil counts with its fraction.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Residuals, at least one.
    share : float
        Share to trim, in [0, 1).
    """
    ordered = np.sort(values)
    keep = (1.0 - share) * len(ordered)
    weights = np.clip(keep - np.arange(len(ordered)), 0.0, 1.0)
    return float(weights @ ordered / keep), float(weights @ ordered[::-1] / keep)


def partial_interval(
    low: Floats, high: Floats, std_error: Floats, level: float
) -> tuple[Floats, Floats]:
    r"""Return intervals that cover the quantity itself, wherever between its bounds it lies.

    .. math:: [\ell - cs,\, h + cs], \qquad \Phi(c + (h-\ell)/s) - \Phi(-c) = level

    Parameters
    ----------
    low, high : ndarray of shape (n,)
        Bounds.
    std_error : ndarray of shape (n,)
        Standard error of each of them.
    level : float
        Coverage, in (0, 1).

    References
    ----------
    ImbensManski2004.
    """
    reach = np.zeros(len(low))
    for k, (width, s) in enumerate(zip(high - low, std_error, strict=True)):
        if np.isfinite(width) and s > 0:
            reach[k] = s * _critical(float(width / s), level)
    return low - reach, high + reach


def _critical(width: float, level: float) -> float:
    two_sided = float(special.ndtri(0.5 + level / 2.0))
    one_sided = float(special.ndtri(level))

    def excess(c: float) -> float:
        return float(special.ndtr(c + width) - special.ndtr(-c) - level)

    if width <= 0:
        return two_sided
    return float(optimize.brentq(excess, one_sided - 1e-9, two_sided + 1e-9))
