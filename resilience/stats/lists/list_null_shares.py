r"""Leaving a list of the rule "at least 30 % failed" by chance: beta-binomial counts of two years.

True shares are :math:`\mathrm{Beta}(a, b)`; this year's f of n failing move next year's law by a
share :math:`\kappa` of their weight: :math:`f_2 \sim
\mathrm{BetaBin}(n_2, a + \kappa f_1, b + \kappa(n_1 - f_1))`.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from resilience.stats.proportions import BetaPrior, as_fraction
from resilience.validation import check_fraction

__all__ = ["fit_share_persistence", "share_exit_probability"]

Floats = NDArray[np.float64]


def share_exit_probability(
    failing: ArrayLike,
    n: ArrayLike,
    n_next: ArrayLike,
    prior: BetaPrior,
    *,
    persistence: float = 1.0,
    share: float | str | Fraction = "0.30",
) -> Floats:
    """Return P(next year's share lies below the threshold | this year's count).

    Parameters
    ----------
    failing, n : array_like of int
        This year's counts.
    n_next : array_like of int
        Participants of next year, at least 1.
    prior : BetaPrior
        Of all schools' shares.
    persistence : float
        κ in [0, 1].
    share : float, str or Fraction
        Threshold, exact: 3 of 10 is at least .30.

    References
    ----------
    Griffiths1973.
    """
    check_fraction(persistence, argument="persistence")
    f, m, later = (np.asarray(v, dtype=np.int64) for v in (failing, n, n_next))
    bound = as_fraction(share)
    least = -((-later * bound.numerator) // bound.denominator)
    a, b = prior.alpha + persistence * f, prior.beta + persistence * (m - f)
    return np.asarray(stats.betabinom.cdf(least - 1, later, a, b))


def fit_share_persistence(
    failing: ArrayLike, n: ArrayLike, failing_next: ArrayLike, n_next: ArrayLike, prior: BetaPrior
) -> float:
    """Return κ in [0, 1] by maximum likelihood from a pair of years without a programme.

    Parameters
    ----------
    failing, n, failing_next, n_next : array_like of int
        Counts of all schools in the two years.
    prior : BetaPrior
        Of all schools' shares, as `proportions.fit_beta_prior` gives it.
    """
    f1, n1, f2, n2 = (np.asarray(v, dtype=float) for v in (failing, n, failing_next, n_next))

    def negative(kappa: float) -> float:
        a, b = prior.alpha + kappa * f1, prior.beta + kappa * (n1 - f1)
        return -float((special.betaln(a + f2, b + n2 - f2) - special.betaln(a, b)).sum())

    found = optimize.minimize_scalar(negative, bounds=(0.0, 1.0), method="bounded")
    ends = {0.0: negative(0.0), 1.0: negative(1.0), float(found.x): float(found.fun)}
    return min(ends, key=lambda k: ends[k])
