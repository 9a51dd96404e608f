r"""What chance does with rules on shares: closed forms for independent results.

A school's true failing share :math:`\pi` and its number of participants n decide how often a rule
of the form "at least 30 % in at least two procedures" names it.  Sources: detection rules of the
region and elementary probability; the bivariate normal closed form of the share of resilient
pupils rests on DreznerWesolowsky1990.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.binormal import binormal_cdf
from resilience.stats.proportions import as_fraction

__all__ = [
    "FederalRuleChance",
    "federal_rule_probabilities",
    "least_failing",
    "low_probability",
    "resilient_share",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FederalRuleChance:
    """Probabilities that a school is named by the federal rule, shape of the schools.

    Attributes
    ----------
    two_procedures : ndarray
        P(A): enough procedures low this year.
    same_procedure : ndarray
        P(B): some procedure low this year and last.
    both, either : ndarray
        P(A ∧ B), the strict reading, and P(A ∨ B), the loose one.
    """

    two_procedures: Floats
    same_procedure: Floats
    both: Floats
    either: Floats


def least_failing(n: ArrayLike, share: float | str | Fraction = "0.30") -> Integers:
    """Return the smallest number of failing pupils that makes a share of ``n`` low: ⌈share·n⌉.

    Parameters
    ----------
    n : array_like of int
        Participants, at least 0.
    share : float, str or Fraction
        Threshold in [0, 1], read in decimal notation: 3 of 10 is at least .30.

    Raises
    ------
    DataError
        If a count is negative or no whole number.
    """
    sizes = np.asarray(n)
    if not (np.equal(np.mod(sizes, 1), 0).all() and (sizes >= 0).all()):
        raise DataError(
            text("simulator.sizes", value=_first(sizes, ~(sizes % 1 == 0) | (sizes < 0)))
        )
    bound = as_fraction(share)
    return np.asarray(-((-sizes.astype(np.int64) * bound.numerator) // bound.denominator))


def low_probability(
    n: ArrayLike,
    rate: ArrayLike,
    *,
    share: float | str | Fraction = "0.30",
    min_participants: int = 1,
) -> Floats:
    r"""Return the probability that the failing share of a procedure reaches the threshold.

    .. math:: a = P(\mathrm{Bin}(n, \pi) \ge \lceil .3 n \rceil)

    Parameters
    ----------
    n : array_like of int
        Participants; with fewer than ``min_participants`` (and with none) the procedure is not low.
    rate : array_like
        True failing share, in [0, 1].
    share : float, str or Fraction
        Threshold in [0, 1].
    min_participants : int
        At least 1.

    Raises
    ------
    DataError
        If a size is negative or no whole number, or a rate lies outside [0, 1].
    """
    sizes, rates = np.broadcast_arrays(np.asarray(n), np.asarray(rate, dtype=float))
    outside = ~((rates >= 0) & (rates <= 1))
    if outside.any():
        raise DataError(text("simulator.rate", value=_first(rates, outside)))
    least = least_failing(sizes, share)
    m = sizes.astype(np.int64)
    # P(F ≥ k) = I_π(k, n − k + 1); k = 0 is certain
    tail = special.betainc(np.maximum(least, 1), m - np.maximum(least, 1) + 1.0, rates)
    tail = np.where(least <= 0, 1.0, tail)
    return np.where(m >= max(min_participants, 1), tail, 0.0)


def federal_rule_probabilities(
    n: ArrayLike,
    rate: ArrayLike,
    *,
    n_before: ArrayLike | None = None,
    rate_before: ArrayLike | None = None,
    share: float | str | Fraction = "0.30",
    procedures: int = 2,
    min_participants: int = 1,
) -> FederalRuleChance:
    r"""Return how often the federal rule names a school, results independent.

    With :math:`a_p` and :math:`a'_p` the probabilities that procedure p is low this year and last,
    :math:`G(z) = \prod_p (1-a_p+a_p z)` and :math:`G_0(z) = \prod_p (1-a_p+a_p(1-a'_p)z)`:

    .. math::

       P(A) = \sum_{k \ge 2}[z^k]G, \quad P(\bar B) = G_0(1), \quad
       P(A \wedge \bar B) = \sum_{k \ge 2}[z^k]G_0

    Parameters
    ----------
    n : array_like of int, shape (..., n_procedures)
        Participants of this year; 0 where a procedure is not sat.
    rate : array_like
        True failing shares, broadcast against ``n``.
    n_before, rate_before : array_like, optional
        The year before; as this year by default.
    share : float, str or Fraction
        Threshold of a low procedure.
    procedures : int
        How many low procedures make A.
    min_participants : int
        A procedure with fewer is never low (the verdict is at best "insufficient data").

    Returns
    -------
    FederalRuleChance
        Shape (...), without the last axis.

    Raises
    ------
    DataError
        If a size is negative or no whole number, or a rate lies outside [0, 1].
    SpecificationError
        If ``procedures`` or ``min_participants`` is below 1.

    Notes
    -----
    Coefficients up to :math:`z^{k-1}` are carried, so that the cost is O(P·k) per school.
    """
    for name, value in (("procedures", procedures), ("min_participants", min_participants)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SpecificationError(text("simulator.whole", argument=name, value=repr(value)))
    size, true = np.broadcast_arrays(np.asarray(n), np.asarray(rate, dtype=float))
    if size.ndim == 0:
        raise DataError(text("simulator.no_axis"))
    before = size if n_before is None else np.asarray(n_before)
    true_before = true if rate_before is None else np.asarray(rate_before, dtype=float)
    now = low_probability(size, true, share=share, min_participants=min_participants)
    then = low_probability(before, true_before, share=share, min_participants=min_participants)
    now, then = np.broadcast_arrays(now, then)
    fewer = _below(1.0 - now, now, procedures)
    no_pair = np.prod(1.0 - now * then, axis=-1)
    fewer_no_pair = _below(1.0 - now, now * (1.0 - then), procedures)
    enough = np.clip(1.0 - fewer, 0.0, 1.0)  # a sum of probabilities may pass 1 by a rounding
    enough_no_pair = np.maximum(no_pair - fewer_no_pair, 0.0)
    return FederalRuleChance(
        two_procedures=enough,
        same_procedure=1.0 - no_pair,
        both=np.maximum(enough - enough_no_pair, 0.0),
        either=np.minimum(1.0 - no_pair + enough_no_pair, 1.0),
    )


def _below(constant: Floats, slope: Floats, degree: int) -> Floats:
    """Return the sum of the coefficients below ``degree`` of Π(constant + slope·z)."""
    held = np.zeros((*constant.shape[:-1], degree))
    held[..., 0] = 1.0
    for p in range(constant.shape[-1]):
        raised = held[..., :-1] * slope[..., p, None]
        held = held * constant[..., p, None]
        held[..., 1:] += raised
    return np.asarray(held.sum(axis=-1))


def resilient_share(
    r_squared: ArrayLike, *, disadvantaged: float = 0.25, successful: float = 0.25
) -> Floats:
    r"""Return the share of resilient pupils among the disadvantaged, results bivariate normal.

    A pupil is disadvantaged in the lowest share of socio-economic status and resilient where the
    result lies in the highest share too:

    .. math:: \Phi_2\big(z_d, z_s; -\sqrt{R^2}\big) / q_d, \qquad z = \Phi^{-1}(q)

    12.1 % at :math:`R^2 = .12`, 25 % at 0: the share measures how far results follow the home, as
    much as what schools do.

    Parameters
    ----------
    r_squared : array_like
        Share of variance of results that status explains, in [0, 1]; higher status goes with
        higher results.
    disadvantaged, successful : float
        Shares of pupils called disadvantaged and successful, in (0, 1).

    Raises
    ------
    DataError
        If a share of variance lies outside [0, 1].
    SpecificationError
        If a share of pupils lies outside (0, 1).

    References
    ----------
    DreznerWesolowsky1990.
    """
    r2 = np.asarray(r_squared, dtype=float)
    outside = ~((r2 >= 0) & (r2 <= 1))
    if outside.any():
        raise DataError(text("simulator.rate", value=_first(r2, outside)))
    for name, value in (("disadvantaged", disadvantaged), ("successful", successful)):
        if not 0 < value < 1:
            raise SpecificationError(text("simulator.open_share", argument=name, value=value))
    low, high = special.ndtri(disadvantaged), special.ndtri(successful)
    return np.asarray(binormal_cdf(low, high, -np.sqrt(r2)) / disadvantaged)


def _first(values: NDArray[np.generic], bad: NDArray[np.bool_]) -> object:
    """Return the first value at fault."""
    return np.asarray(values)[bad].ravel()[0].item()
