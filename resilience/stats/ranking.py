r"""Ranks with their uncertainty, comparative intervals and bands: never a bare league table.

A rank compares schools with each other.  The error of the fixed effects is shared by the schools
and largely cancels in a comparison, so ranks, pairs and comparative bars take the conditional SD;
a statement about one school against zero takes the prediction error.  What the schools share (the
coefficients, a municipality) is not neglected by `joint_ranks`, which takes the joint error.  The
published figures of the London data (expected ranks, 1037 of 2080 pairs, multiplier 1.404) are
those of the conditional SD.

For many schools the sums over pairs are replaced by the curve

.. math:: F(x) = \sum_k \Phi\big((x - \hat u_k)/s_k\big), \qquad
          V(x) = \sum_k \Phi(\cdot)\,(1 - \Phi(\cdot)),

the expected number of effects below :math:`x` and its variance, tabulated once: given
:math:`u_j = x` the rank is 1 plus a sum of independent indicators with these moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.prediction.prediction_errors import EffectErrors

__all__ = [
    "BANDS",
    "RankIntervals",
    "bands",
    "comparative_multiplier",
    "expected_rank",
    "joint_ranks",
    "posterior_ranks",
    "rank_intervals",
    "separated_pairs",
]

Floats = NDArray[np.float64]
Draw = Callable[[int], Floats]
BANDS = ("well_below", "below", "between", "above", "well_above")
RankIntervals = tuple[NDArray[np.int64], NDArray[np.int64]]

_PAIRS_UP_TO = (
    1000  # schools: above, the curve is good to some hundredths of a rank and costs O(n), not O(n²)
)
_DRAWN_UP_TO = 100  # schools: above, the curve is nearer to the limits than 10,000 draws are
_POINTS = 240  # of the curve, over the range of the effects
_SUMMED_UP_TO = 10_000  # schools: above, the curve is a convolution of classes of errors
_CLASSES, _FINER = 64, 4  # of errors; nodes of the finer mesh per point of the curve
_NODES, _FEW_NODES = 40, 20  # of the quadrature over one school's effect, and of many schools
_DRAWS_PER_BLOCK = 500
_ROWS_PER_BLOCK = 100
_MULTIPLIER_UP_TO = 1500  # schools: above, as many at evenly spaced places of the order of errors


def _checked(effect: ArrayLike, std_error: ArrayLike) -> tuple[Floats, Floats]:
    m, s = np.asarray(effect, dtype=float), np.asarray(std_error, dtype=float)
    bad = ~((s >= 0) & np.isfinite(s) & np.isfinite(m))
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        raise DataError(text("shrinkage.std_error", unit=k, effect=float(m[k]), value=float(s[k])))
    return m, s


@dataclass(frozen=True, kw_only=True, eq=False)
class _Curve:
    """Expected number of effects below x and its variance, and the spreads it was made with."""

    below: Callable[[Floats], Floats]
    variance: Callable[[Floats], Floats]
    spread: Floats

    @classmethod
    def of(cls, m: Floats, s: Floats) -> _Curve:
        low, high = float((m - 5.0 * s).min()), float((m + 5.0 * s).max())
        if high <= low:
            low, high = low - 0.5, high + 0.5
        x = np.linspace(low, high, _POINTS)
        # an error narrower than the mesh is a step: as wide as the mesh it moves no rank visibly
        spread = np.maximum(s, x[1] - x[0])
        value, variance = (_summed if len(m) <= _SUMMED_UP_TO else _convolved)(x, m, spread)
        below = interpolate.CubicSpline(x, value)
        return cls(
            below=lambda at: below(np.clip(at, low, high)),
            variance=lambda at: np.interp(at, x, variance),
            spread=spread,
        )


def _summed(x: Floats, m: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Return the curve and its variance at evenly spaced points, school by school."""
    value, variance = np.zeros_like(x), np.zeros_like(x)
    for start in range(0, len(m), 2000):
        part = slice(start, start + 2000)
        p = special.ndtr((x[:, None] - m[part]) / spread[part])
        value += p.sum(axis=1)
        variance += p.sum(axis=1) - np.einsum("xk,xk->x", p, p)
    return value, variance


def _convolved(x: Floats, m: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Return the same for very many schools: those of nearly one error on a finer mesh.

    The sum over them is a convolution; of 40,000 ranks the result is some tenths of a rank off.
    """
    value, variance = np.zeros_like(x), np.zeros_like(x)
    step, n_fine = (x[1] - x[0]) / _FINER, _FINER * (len(x) - 1) + 1
    apart = step * np.arange(1 - n_fine, n_fine)
    for part in np.array_split(np.argsort(spread, kind="stable"), _CLASSES):
        at, share = np.divmod((m[part] - x[0]) / step, 1.0)
        place = np.minimum(at.astype(np.int64), n_fine - 2)
        here = np.bincount(place, 1.0 - share, n_fine)
        here += np.bincount(place + 1, share, n_fine)
        # two nodes share a school and spread it by that, step²/6 on average
        narrowed = np.sqrt(np.mean(spread[part] ** 2) - step**2 / 6.0)
        p = special.ndtr(apart / narrowed)
        for found, kernel in ((value, p), (variance, p * (1.0 - p))):
            found += sliding_window_view(kernel, n_fine)[::_FINER] @ here[::-1]
    return value, variance


def expected_rank(effect: ArrayLike, std_error: ArrayLike) -> Floats:
    r"""Return the posterior expected rank, 1 = lowest effect.

    .. math:: E[R_j] = 1 + \sum_{k \ne j} \Phi\Big((\hat u_j-\hat u_k)/\sqrt{s_j^2+s_k^2}\Big)

    Two equal effects without error share the rank (½ each).  Above 1,000 schools the sum is
    :math:`\tfrac12 + E_{x \sim N(\hat u_j, s_j^2)} F(x)` with the curve of the module.

    Parameters
    ----------
    effect, std_error : array_like of shape (n_schools,)
        Effects and their standard errors (conditional SDs), in one unit.

    Returns
    -------
    ndarray of shape (n_schools,)
        In [1, n_schools].

    References
    ----------
    LairdLouis1989, section 3.
    """
    m, s = _checked(effect, std_error)
    return _expected(m, s, _Curve.of(m, s) if len(m) > _PAIRS_UP_TO else None)


def _expected(m: Floats, s: Floats, curve: _Curve | None) -> Floats:
    if curve is not None:
        nodes, weights = np.polynomial.hermite_e.hermegauss(
            _NODES if len(m) <= _SUMMED_UP_TO else _FEW_NODES
        )
        at = m[:, None] + curve.spread[:, None] * nodes
        return np.asarray(curve.below(at) @ weights / weights.sum() + 0.5)
    gap = m[:, None] - m[None, :]
    spread = np.hypot(s[:, None], s[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(gap == 0.0, 0.0, gap / spread)
    # a school against itself contributes one half, replaced by the 1 of the formula
    return np.asarray(special.ndtr(z).sum(axis=1) + 0.5)


def rank_intervals(
    effect: ArrayLike,
    std_error: ArrayLike,
    *,
    level: float = 0.95,
    n_draws: int = 10_000,
    random_state: int = 0,
) -> RankIntervals:
    r"""Return lower and upper posterior ranks under independent normal posteriors.

    Up to 100 schools the ranks of joint draws; above, the limits

    .. math:: 1 + F_{-j}(\hat u_j) \mp \sqrt{\big(F_{-j}(\hat u_j) - F_{-j}(\hat u_j \mp z s_j)
              \big)^2 + z^2 V(\hat u_j \mp z s_j)}

    of the module's curve, the school's own term left out; they lie within a rank of those of
    200,000 draws.

    Parameters
    ----------
    effect, std_error : array_like of shape (n_schools,)
        Effects and their standard errors (conditional SDs), in one unit.
    level : float
        Coverage of the interval, default .95.
    n_draws : int
        Draws; the Monte-Carlo error of a limit is about .027 SD of the rank at 10,000.
    random_state : int
        Seed of the draws.

    Returns
    -------
    (rank_low, rank_high) : ndarrays of shape (n_schools,), int
        1 = lowest effect.  Schools tied without error get the ranks they could take.
    """
    m, s = _checked(effect, std_error)
    if len(m) > _DRAWN_UP_TO:
        return _rank_limits(m, _Curve.of(m, s), level)
    n = len(m)
    # exact ties are broken at random, not by the order of the rows
    spread = np.maximum(s, 1e-12 * max(1.0, float(np.abs(m).max(initial=0.0))))
    rng = np.random.default_rng(random_state)
    ranks = _drawn_ranks(lambda size: m + spread * rng.standard_normal((size, n)), n, n_draws)
    return _rank_quantiles(ranks, level)


def _drawn_ranks(draw: Draw, n: int, n_draws: int) -> NDArray[np.int32]:
    """Return the ranks in each draw, shape (n_draws, n)."""
    ranks = np.empty((n_draws, n), dtype=np.int32)
    places = np.arange(1, n + 1, dtype=np.int32)
    for start in range(0, n_draws, _DRAWS_PER_BLOCK):
        size = min(_DRAWS_PER_BLOCK, n_draws - start)
        order = np.argsort(draw(size), axis=1)
        np.put_along_axis(ranks[start : start + size], order, places[None, :], axis=1)
    return ranks


def _rank_quantiles(ranks: NDArray[np.int32], level: float) -> RankIntervals:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(ranks, [tail, 1.0 - tail], axis=0, method="inverted_cdf")
    return low.astype(np.int64), high.astype(np.int64)


def joint_ranks(
    effect: ArrayLike,
    errors: EffectErrors,
    *,
    coefficients: bool = True,
    level: float = 0.95,
    n_draws: int | None = None,
    random_state: int = 0,
) -> tuple[Floats, RankIntervals]:
    r"""Return expected ranks and rank intervals of the joint posterior, shared errors included.

    .. math:: E[R_j] = 1 + \sum_{k \ne j} \Phi\Big((\hat u_j-\hat u_k) \big/
              \sqrt{\mathrm{Var}(\hat u_j - u_j - \hat u_k + u_k)}\Big)

    exactly up to 1,000 schools, above as the mean of the draws; the intervals are quantiles of the
    ranks in joint draws.

    Parameters
    ----------
    effect : array_like of shape (n_schools,)
        Effects.
    errors : EffectErrors
        Their joint errors.
    coefficients : bool
        Whether the shared error of the coefficients counts.
    level : float
        Coverage of the intervals.
    n_draws : int, optional
        By default 10,000, above 1,000 schools ten million over the number of schools, at
        least 1,000.
    random_state : int
        Seed of the draws.

    References
    ----------
    LairdLouis1989, section 3.
    """
    m, _ = _checked(effect, np.sqrt(np.maximum(errors.conditional, 0.0)))
    n = len(m)
    size = n_draws or min(10_000, max(1000, 10_000_000 // max(n, 1)))
    rng = np.random.default_rng(random_state)
    # exact ties without error are broken at random, not by the order of the rows
    jitter = 1e-12 * max(1.0, float(np.abs(m).max(initial=0.0)))

    def draw(count: int) -> Floats:
        shift = errors.draws(count, random_state=rng, coefficients=coefficients)
        return m + shift + jitter * rng.standard_normal((count, n))

    ranks = _drawn_ranks(draw, n, size)
    limits = _rank_quantiles(ranks, level)
    if n > _PAIRS_UP_TO:
        return ranks.mean(axis=0), limits
    expected = np.empty(n)
    others = np.arange(n)[None, :]
    for start in range(0, n, _ROWS_PER_BLOCK):
        rows = np.arange(start, min(start + _ROWS_PER_BLOCK, n))
        variance = errors.difference_variance(rows[:, None], others, coefficients=coefficients)
        gap = m[rows, None] - m
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(gap == 0.0, 0.0, gap / np.sqrt(variance))
        # a school against itself contributes one half, replaced by the 1 of the formula
        expected[rows] = special.ndtr(z).sum(axis=1) + 0.5
    return expected, limits


def posterior_ranks(
    effect: ArrayLike, std_error: ArrayLike, *, level: float = 0.95, random_state: int = 0
) -> tuple[Floats, RankIntervals]:
    """Return `expected_rank` and `rank_intervals`, the curve of many schools made once."""
    m, s = _checked(effect, std_error)
    if len(m) <= _PAIRS_UP_TO:
        return _expected(m, s, None), rank_intervals(m, s, level=level, random_state=random_state)
    curve = _Curve.of(m, s)
    return _expected(m, s, curve), _rank_limits(m, curve, level)


def _rank_limits(m: Floats, curve: _Curve, level: float) -> RankIntervals:
    z = float(special.ndtri(0.5 + level / 2.0))
    middle = curve.below(m) - 0.5
    limits = []
    for side in (-1.0, 1.0):
        at = m + side * z * curve.spread
        others = curve.below(at) - special.ndtr(side * z)
        reach = np.sqrt((others - middle) ** 2 + z * z * curve.variance(at))
        limits.append(np.clip(np.rint(1.0 + middle + side * reach), 1, len(m)).astype(np.int64))
    return limits[0], limits[1]


def comparative_multiplier(
    std_error: ArrayLike,
    *,
    level: float = 0.95,
    errors: EffectErrors | None = None,
    coefficients: bool = True,
) -> float:
    r"""Return the k for which bars ±k·s that do not overlap mean a test at ``1 - level``.

    .. math:: k = z \cdot \mathrm{mean}_{i<j} \sqrt{s_i^2+s_j^2} / (s_i+s_j)

    With equal errors this is :math:`z/\sqrt 2` (1.386 at 95 %).

    Parameters
    ----------
    std_error : array_like of shape (n_schools,)
        The s of the bars.
    level : float
        One minus the size of the test.
    errors : EffectErrors, optional
        Puts the SD of the difference from the joint errors in the place of the root.
    coefficients : bool
        Whether the shared error of the coefficients counts in it.

    References
    ----------
    GoldsteinHealy1995.
    """
    s = np.asarray(std_error, dtype=float)
    z = float(special.ndtri(0.5 + level / 2.0))
    chosen = np.arange(len(s))
    if len(s) > _MULTIPLIER_UP_TO:
        middles = (np.arange(_MULTIPLIER_UP_TO) + 0.5) * len(s) / _MULTIPLIER_UP_TO
        chosen = np.argsort(s, kind="stable")[middles.astype(np.int64)]
    i, j = np.triu_indices(len(chosen), 1)
    i, j = chosen[i], chosen[j]
    apart = (
        np.hypot(s[i], s[j])
        if errors is None
        else np.sqrt(errors.difference_variance(i, j, coefficients=coefficients))
    )
    together = s[i] + s[j]
    if not (together > 0).any():
        return z / float(np.sqrt(2.0))
    return z * float(np.mean(apart[together > 0] / together[together > 0]))


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

    Raises
    ------
    SpecificationError
        Unless ½ < inner ≤ outer < 1.
    """
    if not 0.5 < inner <= outer < 1.0:
        raise SpecificationError(text("value_added.bands", outer=outer, inner=inner))
    p = np.asarray(p_above_zero, dtype=float)
    above = (p >= inner).astype(int) + (p >= outer)
    # the mirror image, so that a probability exactly on a cut goes outwards on both sides
    below = (1.0 - p >= inner).astype(int) + (1.0 - p >= outer)
    return np.asarray(np.array(BANDS)[2 + above - below])
