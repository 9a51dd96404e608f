r"""Control limits of a funnel of shares: which shares are unusual for their number of pupils.

With f of n pupils below the minimum and the share :math:`\theta_0` of a school like all others

.. math::

   y = \arcsin\sqrt{\frac{f + 3/8}{n + 3/4}}, \qquad s^2 = \frac{1}{4n + 2}, \qquad
   \arcsin\sqrt{\frac{\theta_0 n + 3/8}{n + 3/4}} \pm z\sqrt{s^2 + \tau^2},

carried back to shares.  Where no variance :math:`\tau^2` between schools is found, the limits are
those of the binomial distribution itself, interpolated between its steps.  Sources: Anscombe1948,
Spiegelhalter2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.lists.funnel import funnel
from resilience.validation import check_fraction, check_positive

__all__ = ["ShareFunnel", "binomial_limits", "share_funnel_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_SLACK = 1e-12  # a share that stands on its limit is inside, whatever the last bits say


def binomial_limits(n: ArrayLike, center: float, *, level: float) -> tuple[Floats, Floats]:
    r"""Return the limits of an observed share by the binomial distribution, interpolated.

    .. math::

       \frac1n\Big(r - \frac{F(r) - \alpha}{F(r) - F(r-1)}\Big), \qquad
       r = \min\{k : F(k) \ge \alpha\},

    at :math:`\alpha = (1 \mp level)/2`, clipped to [0, 1].

    Parameters
    ----------
    n : array_like of int
        Participants, at least 1.
    center : float
        Share of a school like all others, in [0, 1].
    level : float
        Share of such schools between the limits, in (0, 1).

    References
    ----------
    Spiegelhalter2005, appendix A.1.1.
    """
    check_fraction(level, argument="level", closed=False)
    check_fraction(center, argument="center")
    size = np.asarray(n, dtype=float)
    found = []
    for alpha in ((1 - level) / 2, (1 + level) / 2):
        r = stats.binom.ppf(alpha, size, center)
        reached, step = stats.binom.cdf(r, size, center), stats.binom.pmf(r, size, center)
        with np.errstate(divide="ignore", invalid="ignore"):
            back = np.where(step > 0, (reached - alpha) / step, 0.0)
        # at a centre of 0 or 1 there is no step to interpolate in
        limit = (r - back) / size if 0 < center < 1 else np.full_like(size, center)
        found.append(np.clip(limit, 0.0, 1.0))
    return found[0], found[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShareFunnel:
    r"""A funnel of shares.

    Attributes
    ----------
    successes, n : ndarray of int, shape (n_units,)
        Counts; everybody has participants.
    center : float
        Share of a unit like all others.
    estimate, std_error : ndarray of shape (n_units,)
        :math:`y` and :math:`s`, on the arcsine scale.
    between_variance : float
        :math:`\tau^2` on the arcsine scale; NaN where it is refused.
    reason : Bilingual or None
        Why there is no ``between_variance``.
    """

    successes: Integers
    n: Integers
    center: float
    estimate: Floats
    std_error: Floats
    between_variance: float
    reason: Bilingual | None = None

    @property
    def share(self) -> Floats:
        """Observed shares."""
        return np.asarray(self.successes / self.n)

    @property
    def z_score(self) -> Floats:
        """Distance from the centre in standard errors, without the variance between units."""
        return np.asarray((self.estimate - arcsine(self.center * self.n, self.n)) / self.std_error)

    @property
    def differ(self) -> bool:
        """Whether a variance between units was found, which the limits then hold."""
        return bool(self.between_variance > 0)

    def limits(
        self, level: float, *, between: bool = True, n: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return the lower and the upper limit of an observed share.

        Parameters
        ----------
        level : float
            Share of units between the limits if all belong to the funnel, in (0, 1).
        between : bool
            Whether the limits hold the variance between units too, where one was found.
        n : array_like of int, optional
            Sizes to draw the limits for; those of the units by default.
        """
        size = self.n.astype(float) if n is None else np.asarray(n, dtype=float)
        if not (between and self.differ):
            return binomial_limits(size, self.center, level=level)
        check_fraction(level, argument="level", closed=False)
        width = special.ndtri((1 + level) / 2) * np.sqrt(1 / (4 * size + 2) + self.between_variance)
        middle = arcsine(self.center * size, size)
        return _share_of(middle - width, size), _share_of(middle + width, size)

    def expected_outside(self, level: float, *, between: bool = True) -> float:
        """Return how many units would lie outside if all belonged to the funnel.

        A share moves in steps of 1/n: where chance alone makes the limits, this is the sum of the
        units' own probabilities, which with few participants may be well off ``1 - level``.
        """
        if between and self.differ:
            return float(self.n.size * (1 - level))
        low, high = self.limits(level, between=between)
        least = np.ceil(self.n * (low - _SLACK)) - 1
        most = np.floor(self.n * (high + _SLACK))
        below = stats.binom.cdf(least, self.n, self.center)
        return float(np.sum(below + stats.binom.sf(most, self.n, self.center)))

    def outside(self, level: float, *, between: bool = True) -> Booleans:
        """Return which units lie outside the limits."""
        low, high = self.limits(level, between=between)
        return np.asarray((self.share < low - _SLACK) | (self.share > high + _SLACK), dtype=bool)


def arcsine(successes: ArrayLike, n: ArrayLike) -> Floats:
    """Return the variance-stabilised share; expected numbers need not be whole.

    References
    ----------
    Anscombe1948.
    """
    f, m = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    return np.asarray(np.arcsin(np.sqrt((f + 0.375) / (m + 0.75))))


def _share_of(value: Floats, n: Floats) -> Floats:
    """Return the share behind a value of the arcsine scale, at the ends 0 and 1."""
    angle = np.clip(value, 0.0, np.pi / 2)
    return np.asarray(np.clip((np.sin(angle) ** 2 * (n + 0.75) - 0.375) / n, 0.0, 1.0))


def share_funnel_of(
    successes: ArrayLike,
    n: ArrayLike,
    *,
    target: float | None = None,
    between_variance: float | None = None,
) -> ShareFunnel:
    r"""Return the funnel of shares f of n.

    The centre is ``target`` or the pooled share :math:`\sum f / \sum n`, whose arcsine value
    depends on n, as that of the shares does.  :math:`\tau^2` follows from the winsorised z scores
    (`resilience.stats.lists.funnel.between_variance_of`).

    Parameters
    ----------
    successes, n : array_like of int, shape (n_units,)
        Counts, at least one unit, everybody with participants.
    target : float, optional
        Centre set beforehand, in [0, 1].
    between_variance : float, optional
        :math:`\tau^2` on the arcsine scale; 0 asks for the limits of sampling alone.

    Returns
    -------
    ShareFunnel
        With ``reason`` in place of a variance where there are fewer than 10 units.

    Raises
    ------
    DataError
        If a count is impossible or nobody sat.

    References
    ----------
    Anscombe1948; Spiegelhalter2005.
    """
    f, m = np.atleast_1d(np.asarray(successes)), np.atleast_1d(np.asarray(n))
    if f.ndim != 1 or f.shape != m.shape or not f.size:
        raise DataError(text("share_funnel.shapes", successes=f.shape, n=m.shape))
    whole = np.equal(np.mod(f, 1), 0) & np.equal(np.mod(m, 1), 0)
    bad = ~whole | (f < 0) | (m < 1) | (f > m)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise DataError(text("share_funnel.counts", row=at, successes=f[at], n=m[at]))
    f, m = f.astype(np.int64), m.astype(np.int64)
    if target is not None and not 0 <= target <= 1:
        raise SpecificationError(text("share_funnel.target", value=target))
    center = float(f.sum() / m.sum()) if target is None else float(target)
    y, s = arcsine(f, m), 1 / np.sqrt(4 * m + 2.0)
    if between_variance is not None:
        tau2 = check_positive(between_variance, argument="between_variance", zero=True)
        reason = None
    else:
        # off their own centre, so that the bias of small n common to both sides falls out
        moved = funnel(y - arcsine(center * m, m), s)
        tau2, reason = moved.between_variance, moved.reason
    return ShareFunnel(
        successes=f,
        n=m,
        center=center,
        estimate=y,
        std_error=s,
        between_variance=tau2,
        reason=reason,
    )
