r"""Joint posterior of a school's context and of what its yearly residuals tell.

.. math:: d_t = b(c - a) + u + v_t + e_t, \quad c \sim N(a, q^2), \quad u \sim N(0, \sigma_u^2),
          \quad \mathrm{cov}(v_t, v_s) = \sigma_v^2\rho^{|t-s|}, \quad \mathrm{Var}(e_t) = s_t^2 ,

d being off its line on the shrunken context a.  Targets that are linear in the state
:math:`(c, u, v_1, \dots, v_{T+1})` have a joint normal posterior with the context in closed form;
events such as "better than δ in at least k of T years" are counted over draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.binormal import binormal_cdf

__all__ = [
    "TargetJoint",
    "YearModel",
    "YearResiduals",
    "event_probability",
    "frechet_bounds",
    "target_joint",
]

Floats = NDArray[np.float64]

_BLOCK_NUMBERS = 8_000_000  # draws × years of one block of schools


@dataclass(frozen=True, kw_only=True)
class YearModel:
    """Variances of the effects over years.

    Attributes
    ----------
    persistent, transient : float
        σ_u² and σ_v².
    lag_correlation : float
        ρ of the transient part from one year to the next, in [0, 1).
    """

    persistent: float
    transient: float
    lag_correlation: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.persistent, self.transient):
            if not (np.isfinite(value) and value >= 0):
                raise DataError(text("decisions.variance", value=value))
        if not 0 <= self.lag_correlation < 1:
            raise DataError(text("decisions.lag", value=self.lag_correlation))

    def kernel(self, first: Floats, second: Floats) -> Floats:
        """Return ρ^|t − s|; the unit matrix where ρ is 0."""
        lags = np.abs(np.subtract.outer(first, second))
        return np.asarray(float(self.lag_correlation) ** lags)


@dataclass(frozen=True, kw_only=True, eq=False)
class YearResiduals:
    """Yearly residuals of schools beside their context.

    Attributes
    ----------
    residual, sampling_variance : ndarray of shape (S, T)
        d off its line and s²; NaN in both where a school has no data.
    years : ndarray of shape (T,)
        Years as numbers.
    context, context_variance : ndarray of shape (S,)
        a and q²; zeros where a rule asks nothing of the context.
    slope : float
        b.
    """

    residual: Floats
    sampling_variance: Floats
    years: Floats
    context: Floats
    context_variance: Floats
    slope: float

    def __post_init__(self) -> None:
        known = self.sampling_variance[~np.isnan(self.residual)]
        if not (known >= 0).all() or not (self.context_variance >= 0).all():
            least = min(known.min(initial=0.0), float(np.min(self.context_variance)))
            raise DataError(text("decisions.variance", value=least))

    def blocks(self, numbers_per_school: int) -> Iterator[slice]:
        """Yield slices of schools whose numbers fit into memory."""
        step = max(1, _BLOCK_NUMBERS // max(numbers_per_school, 1))
        for start in range(0, len(self.residual), step):
            yield slice(start, start + step)

    def inverse(self, model: YearModel, part: slice) -> tuple[Floats, Floats]:
        """Return V⁻¹ of each school without the context's error, and its residuals, NaN as 0.

        A year without data is a row and column of zeros in V⁻¹.
        """
        d = self.residual[part]
        there = ~np.isnan(d)
        shared = model.persistent + model.transient * model.kernel(self.years, self.years)
        V = np.where(there[:, :, None] & there[:, None, :], shared, 0.0)
        diagonal = np.arange(len(self.years))
        V[:, diagonal, diagonal] += np.where(there, self.sampling_variance[part], 1.0)
        own = V[:, diagonal, diagonal]
        if not (own > 0).all():
            raise DataError(text("value_added.exact_year"))
        W = np.linalg.inv(V)
        W *= there[:, :, None] & there[:, None, :]
        return W, np.where(there, d, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetJoint:
    """Joint posterior of context and target, one entry per school.

    Attributes
    ----------
    probability : ndarray
        P(c ≤ gate and target > bound) of the full posterior.
    policy : ndarray
        The same with results not feeding back into the context.
    effect : ndarray
        P(target > bound).
    mean, sd : ndarray
        Of the target.
    context_mean, context_sd, correlation : ndarray
        Of the context and of both.
    """

    probability: Floats
    policy: Floats
    effect: Floats
    mean: Floats
    sd: Floats
    context_mean: Floats
    context_sd: Floats
    correlation: Floats


def target_joint(
    data: YearResiduals,
    model: YearModel,
    *,
    target: Literal["persistent", "next_year"],
    gate: float,
    bound: float,
) -> TargetJoint:
    r"""Return P(c ≤ gate and target > bound) for the persistent or next year's effect.

    With :math:`V^* = V + b^2q^2 11'`, k the covariances of the target with d and κ its prior
    variance: mean :math:`k'V^{*-1}d`, variance :math:`\kappa - k'V^{*-1}k`, context mean
    :math:`a + bq^2 1'V^{*-1}d`, its variance :math:`q^2 - b^2q^4 1'V^{*-1}1`, covariance
    :math:`-bq^2 1'V^{*-1}k`.  For the persistent effect and ρ = 0 this is
    `resilience.stats.verdicts.decisions.joint_posterior`.

    Parameters
    ----------
    data : YearResiduals
        Residuals and context.
    model : YearModel
        Variances.
    target : {"persistent", "next_year"}
        u, or u + v of the year after the last of ``data.years``.
    gate, bound : float
        In units of the context and of the effect.

    References
    ----------
    Henderson1975.
    """
    names = ("probability", "policy", "effect", "mean", "sd", "context_mean", "context_sd")
    found = {name: np.empty(len(data.residual)) for name in (*names, "correlation")}
    k, prior = _target(data, model, target)
    for part in data.blocks(3 * len(data.years) ** 2):
        W, d = data.inverse(model, part)
        q2, a, b = data.context_variance[part], data.context[part], data.slope
        ones = W.sum(axis=2)  # V⁻¹1
        total, gain = ones.sum(axis=1), W @ k
        toward, reach, sums = gain @ k, gain.sum(axis=1), (ones * d).sum(axis=1)
        own = (gain * d).sum(axis=1)
        # (V + b²q²11')⁻¹ by the formula of Sherman and Morrison
        f = b**2 * q2 / (1.0 + b**2 * q2 * total)
        variance = np.maximum(prior - toward + f * reach**2, 0.0)
        mean = own - f * reach * sums
        context_mean = a + b * q2 * (sums - f * total * sums)
        context_variance = np.maximum(q2 - b**2 * q2**2 * (total - f * total**2), 0.0)
        covariance = -b * q2 * (reach - f * total * reach)
        cut_variance = np.maximum(prior - toward + b**2 * q2 * reach**2, 0.0)
        values = {
            "probability": _both(
                (gate, context_mean, context_variance), (bound, mean, variance), covariance
            ),
            "policy": _both((gate, a, q2), (bound, own, cut_variance), -b * q2 * reach),
            "effect": special.ndtr(_over(mean - bound, np.sqrt(variance), closed=False)),
            "mean": mean,
            "sd": np.sqrt(variance),
            "context_mean": context_mean,
            "context_sd": np.sqrt(context_variance),
            "correlation": _ratio(covariance, np.sqrt(variance * context_variance)),
        }
        for name, value in values.items():
            found[name][part] = value
    return TargetJoint(**found)


def _target(data: YearResiduals, model: YearModel, target: str) -> tuple[Floats, float]:
    """Return the covariances of the target with the years, and its prior variance."""
    if target == "persistent":
        return np.full(len(data.years), model.persistent), model.persistent
    if target != "next_year":
        raise SpecificationError(text("events.target", value=repr(target)))
    coming = np.array([data.years.max() + 1.0])
    k = model.persistent + model.transient * model.kernel(data.years, coming)[:, 0]
    return k, model.persistent + model.transient


def _both(
    context: tuple[float, Floats, Floats], effect: tuple[float, Floats, Floats], covariance: Floats
) -> Floats:
    """Return P(c ≤ gate and target > bound) of a joint normal distribution."""
    gate, context_mean, context_variance = context
    bound, mean, variance = effect
    sds = np.sqrt(context_variance), np.sqrt(variance)
    h = _over(gate - context_mean, sds[0], closed=True)
    k = _over(mean - bound, sds[1], closed=False)
    rho = -_ratio(covariance, sds[0] * sds[1])
    return np.asarray(binormal_cdf(h, k, np.clip(rho, -1.0, 1.0)))


def _over(gap: Floats, sd: Floats, *, closed: bool) -> Floats:
    """Return gap/sd; without error ±∞, 0 counting as inside where ``closed``."""
    inside = gap >= 0 if closed else gap > 0
    sure = np.where(inside, np.inf, -np.inf)
    return np.where(sd > 0, gap / np.where(sd > 0, sd, 1.0), sure)


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)


def event_probability(
    data: YearResiduals,
    model: YearModel,
    *,
    gate: float,
    bound: float,
    years_at_least: int,
    years_of: int,
    persistent_bound: float | None = None,
    n_draws: int = 4000,
    random_state: int = 0,
) -> tuple[Floats, Floats, Floats]:
    r"""Return P(c ≤ gate and u + v_t > bound in at least k of the last T years).

    M draws of c from its posterior, then of the state given :math:`d - b(c-a)1`.  A year without
    data counts with what the other years tell of it.

    Parameters
    ----------
    data : YearResiduals
        Residuals and context; every year of the event stands in ``years``.
    model : YearModel
        Variances.
    gate, bound : float
        In units of the context and of the effect.
    years_at_least, years_of : int
        k and T.
    persistent_bound : float, optional
        With it u must exceed it as well.
    n_draws, random_state : int
        M and the seed; a school's draws do not depend on the other schools.

    Returns
    -------
    (ndarray, ndarray, ndarray)
        The probability; that of the event without the context; the Monte-Carlo standard error of
        the first, :math:`\sqrt{P(1-P)/M}`.
    """
    if not 1 <= years_at_least <= years_of:
        raise SpecificationError(text("events.years", k=years_at_least, n=years_of))
    asked = data.years.max() - np.arange(years_of)[::-1]
    known = np.isin(asked, data.years)
    if not known.all():
        raise SpecificationError(
            text("events.missing", years=", ".join(f"{y:.0f}" for y in asked[~known]))
        )
    columns = np.searchsorted(data.years, asked)
    joint, alone = np.empty(len(data.residual)), np.empty(len(data.residual))
    for part in data.blocks(n_draws * (len(data.years) + 2)):
        W, d = data.inverse(model, part)
        for j in range(len(d)):
            school = part.start + j
            rng = np.random.default_rng([random_state, school])
            u, v, c = _draws(data, model, (W[j], d[j]), school, rng.standard_normal, n_draws)
            hits = (u[:, None] + v[:, columns] > bound).sum(axis=1) >= years_at_least
            if persistent_bound is not None:
                hits &= u > persistent_bound
            alone[school] = hits.mean()
            joint[school] = (hits & (c <= gate)).mean()
    return joint, alone, np.sqrt(joint * (1 - joint) / n_draws)


def _draws(
    data: YearResiduals,
    model: YearModel,
    own: tuple[Floats, Floats],
    school: int,
    normal: Callable[[int | tuple[int, int]], Floats],
    n_draws: int,
) -> tuple[Floats, Floats, Floats]:
    """Return draws of u, of v in every year, and of c."""
    W, d = own
    q2, a, b = data.context_variance[school], data.context[school], data.slope
    ones = W.sum(axis=1)
    total, sums = ones.sum(), ones @ d
    variance = q2 / (1.0 + b**2 * q2 * total)
    shift = b * variance * sums
    c_off = shift + np.sqrt(variance) * normal(n_draws)  # c − a
    T = len(data.years)
    Q = np.zeros((T + 1, T + 1))
    Q[0, 0] = model.persistent
    Q[1:, 1:] = model.transient * model.kernel(data.years, data.years)
    H = np.concatenate([np.ones((T, 1)), np.eye(T)], axis=1)
    gain = Q @ H.T @ W
    values, vectors = np.linalg.eigh(Q - gain @ H @ Q)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    left = d[None, :] - b * c_off[:, None]
    state = left @ gain.T + normal((n_draws, T + 1)) @ root.T
    return state[:, 0], state[:, 1:], a + c_off


def frechet_bounds(probabilities: Floats, at_least: int) -> tuple[Floats, Floats]:
    r"""Return the sharp bounds of P(at least m of K events), whatever their dependence.

    Upper :math:`\min(1, \min_{j<m} \sum_{i \le K-j} p_{(i)} / (m-j))` with p ascending; lower by
    the complement.  For all: :math:`\max(0, \sum p - K + 1)` and :math:`\min p`; for any:
    :math:`\max p` and :math:`\min(1, \sum p)`.

    Parameters
    ----------
    probabilities : ndarray of shape (S, K)
        Probabilities of the events.
    at_least : int
        m, from 1 to K.

    References
    ----------
    Ruger1978.
    """
    p = np.sort(np.asarray(probabilities, dtype=float), axis=1)
    K = p.shape[1]
    if not 1 <= at_least <= K:
        raise SpecificationError(text("events.subjects", k=at_least, n=K))
    if ((p < 0) | (p > 1)).any():
        raise DataError(text("decisions.probability", value=p[(p < 0) | (p > 1)][0]))
    upper = _upper(p, at_least)
    # at least m of K unless at least K − m + 1 of the complements
    lower = 1.0 - _upper(1.0 - p[:, ::-1], K - at_least + 1)
    return np.asarray(np.maximum(lower, 0.0)), upper


def _upper(ascending: Floats, m: int) -> Floats:
    sums = np.cumsum(ascending, axis=1)
    K = ascending.shape[1]
    ratios = [sums[:, K - j - 1] / (m - j) for j in range(m)]
    return np.asarray(np.minimum(np.min(ratios, axis=0), 1.0))
