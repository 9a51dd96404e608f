"""The arithmetic of share rules: exact comparisons, intervals, posteriors of a share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.validation import check_fraction, check_positive

__all__ = [
    "BetaPrior",
    "as_fraction",
    "fit_beta_prior",
    "next_low_probability",
    "probability_share_at_least",
    "share_at_least",
    "wilson_interval",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _counts(successes: ArrayLike, n: ArrayLike) -> tuple[Integers, Integers]:
    f, m = np.broadcast_arrays(np.asarray(successes), np.asarray(n))
    if not (np.equal(np.mod(f, 1), 0).all() and np.equal(np.mod(m, 1), 0).all()):
        raise DataError(text("proportions.whole"))
    bad = (f < 0) | (m < 0) | (f > m)
    if bad.any():
        at = int(np.flatnonzero(bad.ravel())[0])
        raise DataError(
            text("proportions.counts", successes=int(f.ravel()[at]), n=int(m.ravel()[at]))
        )
    return f.astype(np.int64), m.astype(np.int64)


def as_fraction(share: float | str | Fraction) -> Fraction:
    """Return a threshold as the fraction it is written as: 0.3 is 3/10, not a binary float.

    Raises
    ------
    SpecificationError
        If it lies outside [0, 1] or is no number.
    """
    try:
        value = Fraction(str(share))
    except (ValueError, ZeroDivisionError):
        raise SpecificationError(text("proportions.threshold", value=repr(share))) from None
    if not 0 <= value <= 1:
        raise SpecificationError(text("proportions.threshold", value=repr(share)))
    return value


def share_at_least(
    successes: ArrayLike, n: ArrayLike, share: float | str | Fraction
) -> NDArray[np.bool_]:
    """Return whether f/n ≥ share, compared as integers: 3 of 10 is at least 0.30.

    Parameters
    ----------
    successes, n : array_like of int
        Counts; a share of 0 participants is not at least anything.
    share : float, str or Fraction
        Threshold in [0, 1], read in decimal notation.
    """
    f, m = _counts(successes, n)
    bound = as_fraction(share)
    return np.asarray((f * bound.denominator >= m * bound.numerator) & (m > 0))


def wilson_interval(
    successes: ArrayLike, n: ArrayLike, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    r"""Return Wilson's interval of a share.

    .. math::

       \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Parameters
    ----------
    successes, n : array_like of int
        Counts; ``n = 0`` gives (0, 1).
    level : float
        Coverage.

    References
    ----------
    Wilson1927.
    """
    f, m = _counts(successes, n)
    check_fraction(level, argument="level", closed=False)
    z = float(stats.norm.ppf(0.5 + level / 2))
    size = np.maximum(m, 1).astype(float)
    p = f / size
    centre = (p + z * z / (2 * size)) / (1 + z * z / size)
    half = z * np.sqrt(p * (1 - p) / size + z * z / (4 * size**2)) / (1 + z * z / size)
    empty = m == 0
    low = np.where(empty, 0.0, np.clip(centre - half, 0.0, 1.0))
    return low, np.where(empty, 1.0, np.clip(centre + half, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class BetaPrior:
    """Beta distribution of the schools' true shares.

    Attributes
    ----------
    alpha, beta : float
        Parameters, above 0.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        check_positive(self.alpha, argument="alpha")
        check_positive(self.beta, argument="beta")

    @property
    def mean(self) -> float:
        """Mean share."""
        return self.alpha / (self.alpha + self.beta)


def fit_beta_prior(successes: ArrayLike, n: ArrayLike) -> BetaPrior:
    r"""Return the beta distribution of true shares by maximum likelihood of beta-binomial counts.

    .. math:: \ell = \sum_j \log B(\alpha+f_j, \beta+n_j-f_j) - \log B(\alpha, \beta)

    Schools without participants carry no information.  Where the counts vary no more than the
    binomial allows, the precision :math:`\alpha+\beta` is held at 10,000: all shares are alike.

    Raises
    ------
    DataError
        With fewer than two schools that have participants.

    References
    ----------
    Griffiths1973.
    """
    f, m = _counts(successes, n)
    keep = m > 0
    f, m = f[keep], m[keep]
    if len(f) < 2:
        raise DataError(text("proportions.schools", n=len(f)))
    pooled = float(np.clip((f.sum() + 0.5) / (m.sum() + 1.0), 1e-4, 1 - 1e-4))

    def negative(x: Floats) -> float:
        mean, precision = special.expit(x[0]), np.exp(x[1])
        a, b = mean * precision, (1 - mean) * precision
        value = special.betaln(a + f, b + m - f) - special.betaln(a, b)
        return -float(value.sum())

    bounds = [(-9.2, 9.2), (np.log(0.2), np.log(1e4))]
    starts = [np.array([special.logit(pooled), s]) for s in (2.0, 4.0)]
    runs = [optimize.minimize(negative, s, method="L-BFGS-B", bounds=bounds) for s in starts]
    best = min(runs, key=lambda run: float(run.fun))
    mean, precision = float(special.expit(best.x[0])), float(np.exp(best.x[1]))
    return BetaPrior(alpha=mean * precision, beta=(1 - mean) * precision)


def probability_share_at_least(
    successes: ArrayLike, n: ArrayLike, share: float | str | Fraction, prior: BetaPrior
) -> Floats:
    """Return P(π ≥ share | f of n) under the beta posterior, shape of the counts.

    References
    ----------
    Griffiths1973; the posterior is Beta(α+f, β+n−f).
    """
    f, m = _counts(successes, n)
    return np.asarray(stats.beta.sf(float(as_fraction(share)), prior.alpha + f, prior.beta + m - f))


def next_low_probability(
    successes: ArrayLike,
    n: ArrayLike,
    n_next: ArrayLike,
    share: float | str | Fraction,
    prior: BetaPrior,
) -> Floats:
    """Return the probability that next year's f/n is at least ``share`` (beta-binomial tail).

    Without participants next year there is no share: 0.
    """
    f, m = _counts(successes, n)
    bound = as_fraction(share)
    later, _ = _counts(n_next, n_next)
    least = -((-later * bound.numerator) // bound.denominator)
    tail = stats.betabinom.sf(least - 1, later, prior.alpha + f, prior.beta + m - f)
    return np.where(later > 0, tail, 0.0)
