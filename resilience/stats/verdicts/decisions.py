r"""From posteriors to decisions: joint probabilities, thresholds from losses, what is still needed.

Conventions: effects in outcome units, :math:`u \sim N(0, \sigma_u^2)` persistent; a school's data
are summed up by its unshrunken mean :math:`\bar d = \hat u/\lambda` with precision :math:`A` (so
that :math:`\lambda = \sigma_u^2 A/(1+\sigma_u^2 A)`).  The true context is
:math:`c \sim N(a, q^2)`; the residual falls with it by :math:`b` per unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.binormal import binormal_cdf

__all__ = [
    "JointPosterior",
    "LossRule",
    "critical_reliability",
    "exceedance_probability",
    "joint_posterior",
    "list_fdr",
    "power_to_detect",
    "pupils_needed",
    "years_needed",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LossRule:
    r"""Losses of a wrong yes and of a wrong no.

    Yes costs :math:`L_{FP}(1-P)`, no costs :math:`L_{FN}P`, hence yes if
    :math:`P \ge L_{FP}/(L_{FP}+L_{FN})`.

    Attributes
    ----------
    false_positive, false_negative : float
        Losses, above 0; only their ratio matters for the threshold.
    """

    false_positive: float
    false_negative: float

    def __post_init__(self) -> None:
        for value in (self.false_positive, self.false_negative):
            if not (np.isfinite(value) and value > 0):
                raise SpecificationError(text("decisions.losses", value=value))

    @property
    def threshold(self) -> float:
        """Smallest probability that says yes."""
        return self.false_positive / (self.false_positive + self.false_negative)

    def expected_loss(self, probability: ArrayLike) -> Floats:
        """Return the smaller of the two expected losses."""
        p = np.asarray(probability, dtype=float)
        return np.minimum(self.false_positive * (1 - p), self.false_negative * p)


def exceedance_probability(mean: ArrayLike, sd: ArrayLike, bound: float) -> Floats:
    """Return P(u > bound) of normal posteriors; an sd of 0 gives 0 or 1."""
    m, s = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(s > 0, (m - bound) / s, np.where(m > bound, np.inf, -np.inf))
    return np.asarray(special.ndtr(z))


@dataclass(frozen=True, kw_only=True, eq=False)
class JointPosterior:
    """Joint posterior of context and effect, one entry per school.

    Attributes
    ----------
    probability : ndarray
        P(c ≤ g and u > δ) of the full posterior: the calibrated one.
    policy : ndarray
        The same with results not feeding back into the context ("cut" posterior): not calibrated.
    adverse, effect : ndarray
        The two marginal probabilities of the full posterior.
    context_mean, context_sd, effect_mean, effect_sd, correlation : ndarray
        Moments of the full posterior.
    """

    probability: Floats
    policy: Floats
    adverse: Floats
    effect: Floats
    context_mean: Floats
    context_sd: Floats
    effect_mean: Floats
    effect_sd: Floats
    correlation: Floats


def joint_posterior(
    *,
    context: ArrayLike,
    context_variance: ArrayLike,
    residual: ArrayLike,
    precision: ArrayLike,
    slope: float,
    effect_variance: float,
    gate: float,
    bound: float,
) -> JointPosterior:
    r"""Return P(c ≤ gate and u > bound) with the error of the index.

    With :math:`V = b^2q^2 + \sigma_u^2 + 1/A`

    .. math::

       c \sim N(a + bq^2\bar d/V,\; q^2 - b^2q^4/V), \quad
       u \sim N(\sigma_u^2\bar d/V,\; \sigma_u^2 - \sigma_u^4/V), \quad
       \mathrm{cov}(c,u) = -bq^2\sigma_u^2/V .

    Parameters
    ----------
    context, context_variance : array_like
        Shrunken context a and its posterior variance q² (0: measured without error).
    residual, precision : array_like
        Mean residual d̄ before shrinkage and its precision A, above 0.
    slope : float
        b, change of the residual per unit of context.
    effect_variance : float
        σ_u².
    gate, bound : float
        g in units of the context, δ in units of the effect.

    Returns
    -------
    JointPosterior

    Raises
    ------
    DataError
        If a variance is negative or a precision is not above 0.
    """
    a, q2, d, A = np.broadcast_arrays(
        *(np.asarray(v, dtype=float) for v in (context, context_variance, residual, precision))
    )
    if not (A > 0).all():
        raise DataError(text("decisions.precision", value=float(np.min(A))))
    if (q2 < 0).any() or effect_variance < 0:
        least = min(float(np.min(q2)), effect_variance)
        raise DataError(text("decisions.variance", value=least))
    V = slope**2 * q2 + effect_variance + 1.0 / A
    context_mean = a + slope * q2 * d / V
    context_sd = np.sqrt(np.maximum(q2 - slope**2 * q2**2 / V, 0.0))
    effect_mean = effect_variance * d / V
    effect_sd = np.sqrt(np.maximum(effect_variance - effect_variance**2 / V, 0.0))
    covariance = -slope * q2 * effect_variance / V
    both = context_sd * effect_sd
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(both > 0, covariance / both, 0.0)
        h = _standard(gate - context_mean, context_sd, closed=True)
        k = _standard(effect_mean - bound, effect_sd, closed=False)
    reliability = effect_variance * A / (1.0 + effect_variance * A)
    cut_sd = np.sqrt(effect_variance * (1 - reliability) + reliability**2 * slope**2 * q2)
    q = np.sqrt(q2)
    with np.errstate(divide="ignore", invalid="ignore"):
        cut_rho = np.where(cut_sd > 0, reliability * slope * q / cut_sd, 0.0)
        cut_h = _standard(gate - a, q, closed=True)
        cut_k = _standard(reliability * d - bound, cut_sd, closed=False)
    return JointPosterior(
        # the event is {c ≤ g} and {−u < −δ}, hence the sign of the correlation
        probability=binormal_cdf(h, k, np.clip(-rho, -1, 1)),
        policy=binormal_cdf(cut_h, cut_k, np.clip(cut_rho, -1, 1)),
        adverse=np.asarray(special.ndtr(h)),
        effect=np.asarray(special.ndtr(k)),
        context_mean=context_mean,
        context_sd=context_sd,
        effect_mean=effect_mean,
        effect_sd=effect_sd,
        correlation=rho,
    )


def _standard(gap: Floats, sd: Floats, *, closed: bool) -> Floats:
    """Return gap/sd, and ±∞ where there is no error; ``closed`` says whether 0 counts as inside."""
    inside = gap >= 0 if closed else gap > 0
    return np.where(sd > 0, gap / np.where(sd > 0, sd, 1.0), np.where(inside, np.inf, -np.inf))


def power_to_detect(
    precision: ArrayLike,
    *,
    effect_sd: float,
    bound: float,
    alternative: float,
    threshold: ArrayLike,
    passing: float = 0.0,
) -> Floats:
    r"""Return the probability that a school truly at ``alternative`` would get a yes.

    .. math:: \Phi\big((\lambda u_{alt} - \delta - z_{p^*}s)\sqrt{A}/\lambda\big)

    Parameters
    ----------
    precision : array_like
        A of each school's data.
    effect_sd : float
        σ_u.
    bound, alternative : float
        δ and u_alt > δ, in units of the effect.
    threshold : float or array_like
        p*, one or one per school.
    passing : float
        Variance added to that of the posterior, :math:`s^2`: σ_v² for the effect of a year to come.

    Raises
    ------
    SpecificationError
        If the alternative does not lie above the bound.
    """
    if not alternative > bound:
        raise SpecificationError(text("decisions.alternative", value=alternative, bound=bound))
    A = np.asarray(precision, dtype=float)
    reliability = effect_sd**2 * A / (1 + effect_sd**2 * A)
    s = np.sqrt(effect_sd**2 * (1 - reliability) + passing)
    z = special.ndtri(np.asarray(threshold, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = (reliability * alternative - bound - z * s) * np.sqrt(A) / reliability
    # without data the prior decides, the same way for every school
    prior = np.where(bound + z * np.sqrt(effect_sd**2 + passing) <= 0, np.inf, -np.inf)
    return np.asarray(special.ndtr(np.where(reliability > 0, gap, prior)))


def critical_reliability(
    *,
    effect_sd: float,
    bound: float,
    alternative: float,
    threshold: ArrayLike,
    passing: float = 0.0,
) -> Floats:
    r"""Return the reliability at which a school at ``alternative`` gets a yes every second time.

    Solves :math:`\lambda u_{alt} - \delta = z_{p^*}\sqrt{\sigma_u^2(1-\lambda) + \tau^2}`, a
    quadratic equation in the root, :math:`\tau^2` what passes with the year asked for; 1 where even
    perfect data would not do, 0 where none are needed.

    Parameters
    ----------
    effect_sd, bound, alternative : float
        σ_u, δ and u_alt.
    threshold : float or array_like
        p*, one or one per school.
    passing : float
        τ²; 0 for a lasting effect.
    """
    slope = special.ndtri(np.asarray(threshold, dtype=float)) * effect_sd
    room = alternative - bound
    if room <= 0 or alternative <= 0:
        return np.ones_like(slope)
    # with y the root over σ_u: u_alt(1 + τ²/σ_u² − y²) − δ = slope·y, and λ = 1 + τ²/σ_u² − y²
    extra = passing / effect_sd**2 if passing > 0 else 0.0
    room += alternative * extra
    root = (-slope + np.sqrt(slope**2 + 4.0 * alternative * room)) / (2.0 * alternative)
    return np.asarray(np.clip(1.0 + extra - root**2, 0.0, 1.0))


def _critical_precision(reliability: ArrayLike, effect_sd: float) -> Floats:
    trust = np.asarray(reliability, dtype=float)
    if effect_sd <= 0:
        return np.full_like(trust, np.inf)
    with np.errstate(divide="ignore"):
        return np.asarray(trust / (effect_sd**2 * (1 - trust)))


def years_needed(
    reliability: ArrayLike,
    *,
    effect_sd: float,
    transient_variance: float,
    pupil_variance: float,
    n_per_year: ArrayLike,
) -> Floats:
    r"""Return the years needed for a reliability, fractions included; infinite where none suffice.

    :math:`A_c(\sigma_v^2 + \sigma_e^2/n)` with :math:`A_c = \lambda_c/(\sigma_u^2(1-\lambda_c))`.
    """
    A = _critical_precision(reliability, effect_sd)
    n = np.asarray(n_per_year, dtype=float)
    with np.errstate(divide="ignore"):
        return np.asarray(A * (transient_variance + pupil_variance / n))


def pupils_needed(
    reliability: ArrayLike, *, effect_sd: float, transient_variance: float, pupil_variance: float
) -> Floats:
    r"""Return the pupils needed in one year: :math:`\sigma_e^2/(1/A_c - \sigma_v^2)`.

    Infinite where the transient part alone forbids it.
    """
    A = _critical_precision(reliability, effect_sd)
    with np.errstate(divide="ignore"):
        room = 1.0 / A - transient_variance
        pupils = pupil_variance / np.where(room > 0, room, 1.0)
    return np.asarray(np.where(room > 0, pupils, np.inf))


def list_fdr(probability: ArrayLike) -> Floats:
    r"""Return for each unit the share of wrong names in the list that ends with it.

    .. math:: fdr_k = \frac1k \sum_{i \le k} (1 - P_{(i)}), \quad P_{(1)} \ge P_{(2)} \ge \dots

    Equal probabilities get the same value: all in or all out.

    Raises
    ------
    DataError
        If a probability is missing or lies outside [0, 1].

    References
    ----------
    NewtonEtAl2004.
    """
    p = np.asarray(probability, dtype=float)
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise DataError(text("decisions.probability", value=p[outside][0]))
    order = np.argsort(-p, kind="stable")
    running = np.cumsum(1 - p[order]) / np.arange(1, len(p) + 1)
    ranked = p[order]
    last = np.searchsorted(-ranked, -ranked, side="right") - 1
    found = np.empty_like(p)
    found[order] = running[last] if len(p) else running
    return found
