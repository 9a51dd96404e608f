r"""Entering, confirming and leaving a list, observed and corrected for misclassification.

Three answers: the observed chain (too mobile, since noise moves schools over the cut), the chain
of a continuous true level (`fit_persistence` and `true_chain`, or from the list alone here), and a
hidden chain of two states (usually too sticky: schools near the cut are misclassified again and
again, which it takes for true standing).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.stats.binormal import binormal_cdf
from resilience.stats.lists.list_null_panel import (
    PanelPersistence,
    TrueChain,
    fit_persistence,
    true_chain,
)
from resilience.stats.regression_to_mean import _share

__all__ = ["ListPersistence", "corrected_chain", "hidden_chain", "list_persistence", "listed_by"]
__all__ += ["CorrectedChain", "observed_chain"]

Floats = NDArray[np.float64]

_MOST_ROUNDS = 2000
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class ListPersistence:
    """Persistence read from a list alone.

    Attributes
    ----------
    stability, reliability : float
        φ and ρ, not a number where the reason says why.
    correlations : ndarray
        r_k at lags 1, 2, …
    reason : Bilingual or None
        Why there is no estimate.
    """

    stability: float
    reliability: float
    correlations: Floats
    reason: Bilingual | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrectedChain:
    """Three readings of one chain.

    Attributes
    ----------
    observed, corrected, hidden_markov : TrueChain
        The last one is None where it cannot be formed.
    low, high : TrueChain
        Ends of the bootstrap interval of the corrected rates.
    fit : PanelPersistence
        The parts behind it.
    """

    observed: TrueChain
    corrected: TrueChain
    low: TrueChain
    high: TrueChain
    hidden_markov: TrueChain | None
    fit: PanelPersistence


def listed_by(scores: ArrayLike, q: float) -> Floats:
    """Return 1 for the lowest share q of each year's scores, 0 for the rest, NaN where missing.

    The size of the list is q times the number of schools with a score, rounded; schools that tie
    with the last one are listed with it.
    """
    y = np.asarray(scores, dtype=float)
    listed = np.full(y.shape, np.nan)
    for t in range(y.shape[1]):
        seen = np.isfinite(y[:, t])
        size = max(1, round(q * int(seen.sum())))
        cut = np.sort(y[seen, t])[size - 1] if seen.any() else np.nan
        listed[seen, t] = y[seen, t] <= cut
    return listed


def observed_chain(listed: ArrayLike) -> TrueChain:
    """Return the rates of a list as they stand, over pairs of adjacent years that are known."""
    x = np.asarray(listed, dtype=float)
    known = np.isfinite(x[:, :-1]) & np.isfinite(x[:, 1:])
    before, after = x[:, :-1][known] == 1, x[:, 1:][known] == 1
    leave = float((before & ~after).sum() / before.sum()) if before.any() else np.nan
    enter = float((~before & after).sum() / (~before).sum()) if (~before).any() else np.nan
    return TrueChain(leave=leave, confirm=1.0 - leave, enter=enter)


def list_persistence(listed: ArrayLike) -> ListPersistence:
    r"""Estimate φ and ρ from a list alone, at least three years of it.

    At each lag k the correlation solves :math:`\Phi_2(c,c;r_k) = P(\text{on the list at } t
    \text{ and } t+k)`; the line of :math:`\log r_k` on k has slope :math:`\log\varphi`, at most 0,
    and intercept :math:`\log\rho`.  Lags count by the number of pairs of years behind them.

    Parameters
    ----------
    listed : array_like of shape (n_schools, n_years)
        1 on the list, 0 off it, NaN unknown; years in order.

    Returns
    -------
    ListPersistence
    """
    x = np.asarray(listed, dtype=float)
    T = x.shape[1]
    if T < 3:
        empty = np.full(max(T - 1, 0), np.nan)
        reason = text("list_null.years_for_chain", n=T)
        return ListPersistence(
            stability=np.nan, reliability=np.nan, correlations=empty, reason=reason
        )
    q = float(np.nanmean(x))
    c = _share(q)[1]
    r = np.full(T - 1, np.nan)
    for k in range(1, T):
        both = x[:, :-k] * x[:, k:]
        share = float(np.nanmean(both)) if np.isfinite(both).any() else np.nan
        if np.isfinite(share) and share > q**2:
            r[k - 1] = _solve(float(c), share)
    lags = np.arange(1, T, dtype=float)
    usable = np.isfinite(r)
    if usable.sum() < 2:
        reason = text("list_null.no_lasting_list")
        return ListPersistence(stability=np.nan, reliability=np.nan, correlations=r, reason=reason)
    weight = np.sqrt(T - lags[usable])  # np.polyfit squares its weights
    slope, level = np.polyfit(lags[usable], np.log(r[usable]), 1, w=weight)
    if slope > 0:
        slope, level = 0.0, float(np.average(np.log(r[usable]), weights=weight**2))
    return ListPersistence(
        stability=float(np.exp(slope)),
        reliability=float(min(np.exp(level), 1.0)),
        correlations=r,
    )


def _solve(c: float, share: float) -> float:
    """Return the correlation at which both years are on the list with this probability."""
    top = float(binormal_cdf(c, c, 1.0))
    if share >= top:
        return 1.0
    return float(optimize.brentq(lambda r: float(binormal_cdf(c, c, r)) - share, 0.0, 1.0))


def hidden_chain(listed: ArrayLike, *, q: float, reliability: float) -> TrueChain:
    r"""Return the chain of two hidden states with fixed misclassification, by EM.

    :math:`P(\text{listed} \mid \text{low}) = \Phi_2(c,c;\sqrt\rho)/q` and
    :math:`P(\text{listed} \mid \text{not low}) = (q - \Phi_2(c,c;\sqrt\rho))/(1-q)`.

    Parameters
    ----------
    listed : array_like of shape (n_schools, n_years)
        1 on the list, 0 off it, NaN unknown.
    q : float
        Share on the list.
    reliability : float
        ρ of a yearly score.

    References
    ----------
    BaumEtAl1970.
    """
    x = np.asarray(listed, dtype=float)
    _, c = _share(q)
    both = float(binormal_cdf(c, c, np.sqrt(reliability)))
    yes = np.array([(q - both) / (1.0 - q), both / q])  # by state: not low, low
    codes = np.where(np.isfinite(x), x, 2).astype(np.int64)
    patterns, counts = np.unique(codes, axis=0, return_counts=True)
    emission = np.stack([1.0 - yes, yes, np.ones(2)])[patterns]  # (patterns, years, state)
    start, moves = np.array([1.0 - q, q]), np.array([[0.9, 0.1], [0.3, 0.7]])
    for _ in range(_MOST_ROUNDS):
        first, pairs = _expected(emission, counts, start, moves)
        new = pairs / pairs.sum(axis=1, keepdims=True)
        change = float(np.abs(new - moves).max())
        start, moves = first / first.sum(), new
        if change < _TOLERANCE:
            break
    leave, enter = float(moves[1, 0]), float(moves[0, 1])
    return TrueChain(leave=leave, confirm=1.0 - leave, enter=enter)


def _expected(
    emission: Floats, counts: NDArray[np.int64], start: Floats, moves: Floats
) -> tuple[Floats, Floats]:
    """Return expected first states and moves, by the forward and backward pass."""
    n, T, _ = emission.shape
    forward, scale = np.empty((n, T, 2)), np.empty((n, T))
    state = start * emission[:, 0]
    for t in range(T):
        if t:
            state = (forward[:, t - 1] @ moves) * emission[:, t]
        scale[:, t] = state.sum(axis=1)
        forward[:, t] = state / scale[:, t, None]
    backward, pairs = np.ones((n, 2)), np.zeros((2, 2))
    for t in range(T - 1, 0, -1):
        ahead = emission[:, t] * backward / scale[:, t, None]
        pairs += np.einsum("n,ns,st,nt->st", counts, forward[:, t - 1], moves, ahead)
        backward = ahead @ moves.T
    first = np.einsum("n,ns->s", counts, forward[:, 0] * backward)
    return first, pairs


def corrected_chain(
    scores: ArrayLike,
    sampling: ArrayLike,
    *,
    q: float,
    n_bootstrap: int = 200,
    level: float = 0.95,
    random_state: int | np.random.Generator = 0,
) -> CorrectedChain:
    """Return observed, corrected and hidden-Markov rates of a list of the lowest q.

    Parameters
    ----------
    scores : array_like of shape (n_schools, n_years)
        Scores of all schools, at least three years; NaN where missing.
    sampling : array_like
        Sampling variances, broadcast against the scores.
    q : float
        Share on the list.
    n_bootstrap : int
        Draws of schools behind the interval.
    level : float
        Of the interval.
    random_state : int or Generator
        Source of the draws.

    Raises
    ------
    DataError
        With fewer than three years.
    """
    y = np.asarray(scores, dtype=float)
    if y.ndim != 2 or y.shape[1] < 3:
        raise DataError(text("list_null.years_for_chain", n=y.shape[-1]))
    fit = fit_persistence(y, sampling)
    rng = np.random.default_rng(random_state)
    draws = np.array(
        [
            true_chain(fit_persistence(y, sampling, weights=w, start=fit).stability, q).leave
            for w in rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=n_bootstrap)
        ]
    )
    ends = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    listed = listed_by(y, q)
    trust = fit.reliability(np.where(np.isfinite(y), np.broadcast_to(sampling, y.shape), np.nan))
    low, high = (
        TrueChain(leave=e, confirm=1.0 - f, enter=e * q / (1.0 - q))
        for e, f in ((float(ends[0]), float(ends[1])), (float(ends[1]), float(ends[0])))
    )
    return CorrectedChain(
        observed=observed_chain(listed),
        corrected=true_chain(fit.stability, q),
        low=low,
        high=high,
        hidden_markov=hidden_chain(listed, q=q, reliability=trust) if trust > 0 else None,
        fit=fit,
    )
