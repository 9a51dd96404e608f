r"""How lasting the yearly scores of schools are: three variances by maximum likelihood.

.. math::

   y_{jt} = \mu_t + \theta_{jt} + e_{jt}, \quad
   \mathrm{cov}(\theta_{js}, \theta_{jt}) = \tau^2\varphi^{|s-t|}, \quad
   \mathrm{Var}(e_{jt}) = \omega^2 + s_{jt}^2

with known sampling variances :math:`s_{jt}^2`.  From it follow each school's own persistence, the
probability that it is truly low, and rates of true change free of misclassification.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.stats.binormal import binormal_cdf
from resilience.stats.regression_to_mean import _share

__all__ = ["PanelPersistence", "TrueChain", "fit_persistence", "true_chain"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_SCHOOLS = 10
_LOGIT_END = 7.0  # φ = .9991: beyond, levels are constant over any record of ours
_STARTS = (1.0, 3.0)
_SMALLEST = -14.0  # log of a variance in units of the spread of scores: one in a million
_MOST_STEPS, _MOST_HALVINGS, _LONGEST_STEP = 100, 30, 2.0
_TOLERANCE, _SMALLEST_STEP = 1e-10, 1e-4


@dataclass(frozen=True, kw_only=True)
class TrueChain:
    """Rates of true change of a list of the lowest q.

    Attributes
    ----------
    leave, confirm, enter : float
        P(off the true list | on it), its complement, P(on | off).
    """

    leave: float
    confirm: float
    enter: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PanelPersistence:
    """The fitted parts of yearly scores.

    Attributes
    ----------
    lasting, passing : float
        τ² and ω², squared score units.
    stability : float
        φ, correlation of true levels of adjacent years.
    means : ndarray of shape (n_years,)
        μ_t.
    log_likelihood : float
        At the optimum, constants included.
    n_schools, n_years : int
        Schools with at least one score; years.
    reason : Bilingual or None
        Why the stability is no estimate.
    """

    lasting: float
    passing: float
    stability: float
    means: Floats
    log_likelihood: float
    n_schools: int
    n_years: int
    reason: Bilingual | None = None

    def variance(self, sampling: ArrayLike) -> Floats:
        """Return the variance of a yearly score with this sampling variance."""
        return np.asarray(self.lasting + self.passing + np.asarray(sampling, dtype=float))

    def slope(self, sampling: ArrayLike) -> Floats:
        r"""Return b_j = φτ²/v_j, by which a deviation carries over to the next year."""
        return np.asarray(self.stability * self.lasting / self.variance(sampling))

    def reliability(self, sampling: ArrayLike) -> float:
        r"""Return ρ = τ²/(τ² + ω² + mean sampling variance)."""
        mean = float(np.nanmean(np.asarray(sampling, dtype=float)))
        return self.lasting / (self.lasting + self.passing + mean)

    def correlation(self, sampling: ArrayLike) -> float:
        """Return the expected correlation of the scores of adjacent years, ρφ."""
        return self.stability * self.reliability(sampling)

    def probability_truly_low(self, scores: ArrayLike, sampling: ArrayLike, q: float) -> Floats:
        r"""Return P(θ_jt among the lowest q | all years of the school), shape of the scores.

        The conditional normal given all years of a school, which is what a Kalman smoother
        gives; years without a score are filled in from the others.
        """
        y, s2, seen = _panel(scores, sampling)
        _, c = _share(q)
        years = np.arange(y.shape[1])
        lasting = self.lasting * self.stability ** np.abs(years[:, None] - years)
        inverse = _inverse(lasting, self.passing + s2, seen)[0]
        deviation = np.where(seen, y - self.means, 0.0)
        pull = lasting @ inverse
        mean = np.einsum("jst,jt->js", pull, deviation)
        left = np.diagonal(lasting - pull @ lasting, axis1=1, axis2=2)
        sd = np.sqrt(np.maximum(left, 0.0))
        gap = float(c) * np.sqrt(self.lasting) - mean
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(special.ndtr(np.where(sd > 0, gap / sd, np.sign(gap) * np.inf)))


def true_chain(stability: float, q: float) -> TrueChain:
    r"""Return how often schools truly leave, stay on and enter a list of the lowest q.

    .. math:: 1 - \Phi_2(c,c;\varphi)/q, \quad (q - \Phi_2(c,c;\varphi))/(1-q)

    Parameters
    ----------
    stability : float
        φ, correlation of true levels of adjacent years, in [0, 1].
    q : float
        Share on the list, in (0, .5].
    """
    _, c = _share(q)
    both = float(binormal_cdf(c, c, stability))
    leave = 1.0 - both / q
    return TrueChain(leave=leave, confirm=1.0 - leave, enter=(q - both) / (1.0 - q))


def _panel(scores: ArrayLike, sampling: ArrayLike) -> tuple[Floats, Floats, Flags]:
    y = np.asarray(scores, dtype=float)
    if y.ndim != 2:
        raise DataError(
            text("list_null.shape", name="scores", shape=y.shape, expected="(n_schools, n_years)")
        )
    s2 = np.broadcast_to(np.asarray(sampling, dtype=float), y.shape)
    seen = np.isfinite(y)
    bad = seen & ~(s2 >= 0)
    if bad.any():
        raise DataError(text("list_null.sampling", value=float(s2[bad][0])))
    return y, np.where(seen, s2, 0.0), seen


def _inverse(lasting: Floats, own: Floats, seen: Flags) -> tuple[Floats, Floats]:
    """Return C_j⁻¹ with zero rows for missing years, and log |C_j|."""
    both = seen[:, :, None] & seen[:, None, :]
    C = np.where(both, lasting, 0.0)
    years = np.arange(own.shape[1])
    C[:, years, years] = np.where(seen, C[:, years, years] + own, 1.0)
    determinant = np.linalg.slogdet(C)[1]
    return np.where(both, np.linalg.inv(C), 0.0), determinant


@dataclass(frozen=True, kw_only=True, eq=False)
class _Likelihood:
    """Minus the log-likelihood and its gradient in (log τ², log ω², logit φ)."""

    y: Floats
    s2: Floats
    seen: Flags
    weights: Floats

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        value, gradient, _, _ = self.parts(x)
        return value, gradient

    def parts(self, x: Floats) -> tuple[float, Floats, Floats, Floats]:
        """Return the value, its gradient, the expected information and the means."""
        T = self.y.shape[1]
        tau2, omega2 = np.exp(x[0]), np.exp(x[1])
        phi = float(special.expit(x[2])) if len(x) == 3 else 1.0
        gap = np.abs(np.arange(T)[:, None] - np.arange(T)).astype(float)
        lasting = tau2 * phi**gap
        inverse, logdet = _inverse(lasting, omega2 + self.s2, self.seen)
        w = self.weights
        y = np.where(self.seen, self.y, 0.0)
        total = np.einsum("j,jst->st", w, inverse)
        mean = np.linalg.lstsq(total, np.einsum("j,jst,jt->s", w, inverse, y), rcond=None)[0]
        residual = np.where(self.seen, self.y - mean, 0.0)
        alpha = np.einsum("jst,jt->js", inverse, residual)
        fit = (residual * alpha).sum(axis=1) + logdet + self.seen.sum(axis=1) * np.log(2 * np.pi)
        # d/dψ of −ℓ is ½ Σ w (tr(C⁻¹Ċ) − α'Ċα); the means are profiled out
        inner = total - np.einsum("j,js,jt->st", w, alpha, alpha)
        slopes = [lasting, omega2 * np.eye(T)]
        if len(x) == 3:
            slopes.append(lasting * gap * (1.0 - phi))
        gradient = np.array([0.5 * float((inner * d).sum()) for d in slopes])
        moved = [inverse @ d for d in slopes]
        information = 0.5 * np.array(
            [[np.einsum("j,jst,jts->", w, a, b) for b in moved] for a in moved]
        )
        return 0.5 * float(w @ fit), gradient, information, mean


def fit_persistence(
    scores: ArrayLike,
    sampling: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    start: PanelPersistence | None = None,
) -> PanelPersistence:
    r"""Fit τ², ω² and φ by maximum likelihood.

    Parameters
    ----------
    scores : array_like of shape (n_schools, n_years)
        Yearly scores of all schools, years in order; a missing year is not a number.
    sampling : array_like
        Sampling variances, broadcast against the scores.
    weights : array_like of shape (n_schools,), optional
        How often each school counts: a bootstrap draw of schools.
    start : PanelPersistence, optional
        An earlier fit to begin from.

    Returns
    -------
    PanelPersistence
        With two years φ is held at 1, with the reason.

    Raises
    ------
    DataError
        If fewer than ten schools have scores of two years or a sampling variance is negative.

    References
    ----------
    KaneStaiger2001 for the split into lasting, passing and sampling variance.
    """
    y, s2, seen = _panel(scores, sampling)
    n_pairs = int((seen.sum(axis=1) >= 2).sum())
    if n_pairs < FEWEST_SCHOOLS:
        raise DataError(text("list_null.few_pairs", n=n_pairs, least=FEWEST_SCHOOLS))
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    use = seen.any(axis=1) & (w > 0)
    problem = _Likelihood(y=y[use], s2=s2[use], seen=seen[use], weights=w[use])
    unit = float(np.nanvar(y - np.nanmean(y, axis=0)))
    low, high = np.log(unit) + _SMALLEST, np.log(unit) + 3.0
    free = y.shape[1] > 2
    bounds = [(low, high), (low, high), *([(-4.0, _LOGIT_END)] if free else [])]
    starts = [_start(unit, logit, free) for logit in (_STARTS if free else _STARTS[:1])]
    if start is not None:
        level = float(np.clip(special.logit(min(start.stability, 0.999)), -4, _LOGIT_END))
        parts = np.clip(np.log([max(start.lasting, 1e-300), max(start.passing, 1e-300)]), low, high)
        starts = [np.r_[parts, [level] if free else []]]
    runs = [_optimum(problem, x, np.array(bounds)) for x in starts]
    best = min(runs, key=lambda x: problem(x)[0])
    value, _, _, mean = problem.parts(best)
    lasting, passing = (0.0 if best[k] < low + 1.0 else float(np.exp(best[k])) for k in range(2))
    return PanelPersistence(
        lasting=lasting,
        passing=passing,
        stability=float(special.expit(best[2])) if free else 1.0,
        means=mean,
        log_likelihood=-value,
        n_schools=int(use.sum()),
        n_years=y.shape[1],
        reason=_reason(lasting, best, free),
    )


def _optimum(problem: _Likelihood, x: Floats, bounds: Floats) -> Floats:
    """Go to the optimum by Fisher scoring inside the bounds; every step lowers the criterion."""
    low, high = bounds.T
    value, gradient, information, _ = problem.parts(x)
    for _ in range(_MOST_STEPS):
        # a parameter at its bound stays there while the criterion falls beyond it
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        free = ~held
        step = np.zeros(len(x))
        block = information[np.ix_(free, free)]
        ridge = 1e-8 * np.trace(information) * np.eye(len(block))
        step[free] = np.linalg.solve(block + ridge, -gradient[free])
        step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        for _ in range(_MOST_HALVINGS):
            moved = np.clip(x + step, low, high)
            new = problem.parts(moved)
            if new[0] <= value:
                break
            step = step / 2
        else:
            return x
        gain, size = value - new[0], np.abs(moved - x).max()
        x, (value, gradient, information, _) = moved, new
        if gain < _TOLERANCE * abs(value) and size < _SMALLEST_STEP:
            break
    return x


def _start(unit: float, logit: float, free: bool) -> Floats:
    return np.array([np.log(0.6 * unit), np.log(0.1 * unit), *([logit] if free else [])])


def _reason(lasting: float, x: Floats, free: bool) -> Bilingual | None:
    if lasting == 0.0:
        return text("list_null.all_noise")
    if not free:
        return text("list_null.two_years")
    return text("list_null.no_change") if x[2] > _LOGIT_END - 0.5 else None
