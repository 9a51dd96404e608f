"""Ranks with their uncertainty, comparative intervals and bands: never a bare league table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from resilience.errors import DataError
from resilience.i18n import text

__all__ = [
    "BANDS",
    "RankIntervals",
    "bands",
    "comparative_multiplier",
    "expected_rank",
    "rank_intervals",
    "separated_pairs",
]

Floats = NDArray[np.float64]
BANDS = ("well_below", "below", "between", "above", "well_above")
RankIntervals = tuple[NDArray[np.int64], NDArray[np.int64]]

_PAIRS_PER_BLOCK = 4_000_000
_DRAWS_PER_BLOCK = 500


def _checked(effect: ArrayLike, std_error: ArrayLike) -> tuple[Floats, Floats]:
    m, s = np.asarray(effect, dtype=float), np.asarray(std_error, dtype=float)
    bad = ~((s >= 0) & np.isfinite(s) & np.isfinite(m))
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        raise DataError(text("shrinkage.std_error", unit=k, value=float(s[k])))
    return m, s


def expected_rank(effect: ArrayLike, std_error: ArrayLike) -> Floats:
    r"""Return the posterior expected rank, 1 = lowest effect.

    .. math:: E[R_j] = 1 + \sum_{k \ne j} \Phi\Big((\hat u_j-\hat u_k)/\sqrt{s_j^2+s_k^2}\Big)

    Two equal effects without error share the rank (½ each).

    Parameters
    ----------
    effect, std_error : array_like of shape (n_schools,)
        Effects and their standard errors, in one unit.

    Returns
    -------
    ndarray of shape (n_schools,)
        In [1, n_schools].

    References
    ----------
    LairdLouis1989, section 3.
    """
    m, s = _checked(effect, std_error)
    n = len(m)
    rows = max(1, _PAIRS_PER_BLOCK // max(n, 1))
    found = np.empty(n)
    for start in range(0, n, rows):
        part = slice(start, start + rows)
        gap = m[part, None] - m[None, :]
        spread = np.hypot(s[part, None], s[None, :])
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread > 0, gap / spread, np.sign(gap) * np.inf)
        z = np.where(np.isnan(z), 0.0, z)
        # a school against itself contributes one half, replaced by the 1 of the formula
        found[part] = special.ndtr(z).sum(axis=1) + 0.5
    return found


def rank_intervals(
    effect: ArrayLike,
    std_error: ArrayLike,
    *,
    level: float = 0.95,
    n_draws: int = 10_000,
    random_state: int = 0,
) -> RankIntervals:
    """Return attained lower and upper ranks from draws of independent normal posteriors.

    Parameters
    ----------
    effect, std_error : array_like of shape (n_schools,)
        Effects and their standard errors, in one unit.
    level : float
        Coverage of the interval, default .95.
    n_draws : int
        Draws; the Monte-Carlo error of a limit is about .027 SD of the rank at 10,000.
    random_state : int
        Seed.

    Returns
    -------
    (rank_low, rank_high) : ndarrays of shape (n_schools,), int
        1 = lowest effect.
    """
    m, s = _checked(effect, std_error)
    n = len(m)
    draws_per_block = max(1, min(_DRAWS_PER_BLOCK, _PAIRS_PER_BLOCK // max(n, 1)))
    rng = np.random.default_rng(random_state)
    ranks = np.empty((n_draws, n), dtype=np.int32)
    places = np.arange(1, n + 1, dtype=np.int32)
    for start in range(0, n_draws, draws_per_block):
        size = min(draws_per_block, n_draws - start)
        drawn = m + s * rng.standard_normal((size, n))
        order = np.argsort(drawn, axis=1, kind="stable")
        np.put_along_axis(ranks[start : start + size], order, places[None, :], axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(ranks, [tail, 1.0 - tail], axis=0, method="inverted_cdf")
    return low.astype(np.int64), high.astype(np.int64)


def comparative_multiplier(std_error: ArrayLike, *, level: float = 0.95) -> float:
    r"""Return the k for which bars ±k·s that do not overlap mean a test at ``1 - level``.

    .. math:: k = z \cdot \mathrm{mean}_{i<j} \sqrt{s_i^2+s_j^2} / (s_i+s_j)

    With equal errors this is :math:`z/\sqrt 2` (1.386 at 95 %).

    References
    ----------
    GoldsteinHealy1995.
    """
    s = np.asarray(std_error, dtype=float)
    i, j = np.triu_indices(len(s), 1)
    z = float(stats.norm.ppf(0.5 + level / 2.0))
    return z * float(np.mean(np.hypot(s[i], s[j]) / (s[i] + s[j])))


def separated_pairs(
    effect: ArrayLike, std_error: ArrayLike, *, multiplier: float = 1.39
) -> NDArray[np.bool_]:
    """Return for each pair i < j (row-wise) whether bars of ±multiplier·s fail to overlap."""
    m, s = _checked(effect, std_error)
    i, j = np.triu_indices(len(m), 1)
    return np.asarray(np.abs(m[i] - m[j]) > multiplier * (s[i] + s[j]))


def bands(
    p_above_zero: ArrayLike, *, outer: float = 0.975, inner: float = 0.80
) -> NDArray[np.str_]:
    """Return five bands by posterior probability, not by a point.

    Parameters
    ----------
    p_above_zero : array_like of shape (n_schools,)
        Posterior probability that the effect is above zero.
    outer, inner : float
        Cuts on each side, .975 and .80 by default.
    """
    p = np.asarray(p_above_zero, dtype=float)
    place = np.searchsorted([1 - outer, 1 - inner, inner, outer], p, side="right")
    # a probability that sits exactly on a lower cut belongs to the outer band
    place = np.where(p == 1 - outer, 0, np.where(p == 1 - inner, 1, place))
    return np.array(BANDS)[place]
