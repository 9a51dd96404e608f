r"""Size of what the adjacent-score test sees, and what it could have seen.

A pupil moved over a border stays in the window: N is kept, so with a share :math:`\mu` of those
below moved, :math:`E(A) = N(q + (1-q)\mu)` and :math:`\mu = (A - Nq)/(N(1-q))`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from resilience.validation import check_fraction

__all__ = ["moved_share", "power_of_pupils", "power_of_windows", "windows_needed"]

Floats = NDArray[np.float64]

_NODES = 24  # of the beta distribution between schools; the power changes by < .002 from 24 to 96
_MOST = 5_000  # pupils in the windows beyond which the search stops


def moved_share(
    total: ArrayLike,
    above: ArrayLike,
    share: ArrayLike,
    *,
    correlation: float = 0.0,
    level: float = 0.95,
) -> tuple[Floats, Floats, Floats]:
    r"""Return the share of the pupils below a border who were moved, with its interval.

    :math:`\hat\mu = (A - Nq)/(N(1-q))` clipped to [0, 1]; the interval is Clopper and Pearson's of
    A/N, mapped likewise.  With a correlation :math:`\rho` between the pupils of a school, N counts
    as :math:`N/(1 + (N-1)\rho)`.

    Parameters
    ----------
    total, above, share : array_like of shape (n_schools,)
        Pupils in the windows, those above, share expected above (below 1).
    correlation : float
        :math:`\rho`, at least 0.
    level : float
        Coverage.

    Returns
    -------
    (ndarray, ndarray, ndarray), each of shape (n_schools,)
        Estimate, lower and upper bound, shares of 0 to 1; NaN without pupils.

    References
    ----------
    ClopperPearson1934.
    """
    check_fraction(level, argument="level", closed=False)
    n, a, q = (np.asarray(v, dtype=float) for v in (total, above, share))
    size = n / (1 + np.maximum(n - 1, 0) * correlation)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        p = a / n
        x = p * size
        low = np.where(x > 0, stats.beta.ppf(tail, x, size - x + 1), 0.0)
        high = np.where(x < size, stats.beta.ppf(1 - tail, x + 1, size - x), 1.0)
        mapped = [np.clip((v - q) / (1 - q), 0.0, 1.0) for v in (p, low, high)]
    return tuple(np.where(n > 0, v, np.nan) for v in mapped)  # type: ignore[return-value]  # three


def power_of_windows(
    total: ArrayLike,
    share: ArrayLike,
    moved: float,
    *,
    correlation: float = 0.0,
    level: float = 0.01,
) -> Floats:
    r"""Return the probability that the test finds a school that moves a share of its pupils.

    :math:`A \sim \mathrm{Bin}(N, q + (1-q)\mu)` against the smallest count whose tail under the
    reference is at most ``level``.  With a correlation :math:`\rho` the school's own q is drawn
    from the beta distribution of the reference.

    Parameters
    ----------
    total, share : array_like
        Pupils in the windows (whole numbers) and share expected above, broadcast.
    moved : float
        :math:`\mu`, share of the pupils below who are moved, 0 to 1.
    correlation : float
        :math:`\rho` of the reference, below 1.
    level : float
        Level of the single test.

    Returns
    -------
    ndarray
        In [0, 1]; 0 without pupils, NaN where the share is not known.
    """
    check_fraction(moved, argument="moved")
    check_fraction(level, argument="level", closed=False)
    n, q = np.broadcast_arrays(np.asarray(total, dtype=np.int64), np.asarray(share, dtype=float))
    known = np.isfinite(q)
    safe = np.clip(np.where(known, q, 0.5), 1e-9, 1 - 1e-9)
    if correlation > 0:
        size = 1 / correlation - 1
        critical = np.empty(n.shape, dtype=np.int64)
        for at in np.ndindex(n.shape):
            critical[at] = _critical(int(n[at]), float(safe[at]), size, level)
        places = (np.arange(_NODES) + 0.5) / _NODES
        own = stats.beta.ppf(places, (safe * size)[..., None], ((1 - safe) * size)[..., None])
        tail = stats.binom.sf(critical[..., None] - 1, n[..., None], own + (1 - own) * moved)
        power = np.mean(tail, axis=-1)
    else:
        critical = _smallest(stats.binom(n, safe), n, level)
        power = stats.binom.sf(critical - 1, n, safe + (1 - safe) * moved)
    return np.where(known, np.clip(power, 0.0, 1.0), np.nan)


def _smallest(null: object, n: NDArray[np.int64], level: float) -> NDArray[np.int64]:
    """Return the smallest count with P(T ≥ count) ≤ level, n + 1 where there is none."""
    sf = null.sf  # type: ignore[attr-defined]  # a frozen distribution of scipy
    low, high = np.zeros(n.shape, dtype=np.int64), n + 1
    while (low < high).any():
        middle = (low + high) // 2
        enough = sf(middle - 1) <= level
        high = np.where(enough & (low < high), middle, high)
        low = np.where(~enough & (low < high), middle + 1, low)
    return np.asarray(high)


def _critical(n: int, q: float, size: float, level: float) -> int:
    """Return the smallest count whose beta-binomial tail is at most ``level``.

    All tails of one n at once: the distribution of scipy sums its terms anew for every count.
    """
    k = np.arange(n + 1)
    a, b = q * size, (1 - q) * size
    log_pmf = special.betaln(k + a, n - k + b) - special.betaln(a, b)
    log_pmf -= np.log(n + 1) + special.betaln(n - k + 1, k + 1)
    tail = np.cumsum(np.exp(log_pmf)[::-1])[::-1]
    return int(np.sum(tail > level))


def power_of_pupils(
    n_pupils: int, in_window: float, share: float, moved: float, *, level: float = 0.01
) -> float:
    """Return the power with a number of pupils of whom a share falls into the windows by chance.

    The mean of `power_of_windows` over N ~ Bin(n_pupils, in_window).

    Parameters
    ----------
    n_pupils : int
        Pupils pooled.
    in_window : float
        Share of pupils in the windows.
    share, moved, level : float
        As in `power_of_windows`.
    """
    check_fraction(in_window, argument="in_window")
    n = np.arange(n_pupils + 1)
    weight = stats.binom.pmf(n, n_pupils, in_window)
    use = weight > 1e-12
    return float(weight[use] @ power_of_windows(n[use], share, moved, level=level))


def windows_needed(
    share: ArrayLike,
    moved: float,
    *,
    power: float = 0.8,
    correlation: float = 0.0,
    level: float = 0.01,
) -> Floats:
    """Return how many pupils in the windows show a share moved with the power asked for.

    Parameters
    ----------
    share : array_like
        Share expected above, used to two decimals.
    moved, level, correlation : float
        As in `power_of_windows`.
    power : float
        Power asked for, in (0, 1).

    Returns
    -------
    ndarray
        The smallest number (to 2 % above 100); infinite where schools differ so much that no
        number of pupils is enough; NaN where the share is not known.
    """
    check_fraction(power, argument="power", closed=False)
    q = np.asarray(share, dtype=float)
    found = np.full(q.shape, np.nan)
    for at in np.flatnonzero(np.isfinite(q)):
        rounded = min(max(round(float(q.flat[at]), 2), 0.01), 0.99)
        found.flat[at] = _needed(rounded, moved, power, round(correlation, 5), level)
    return found


@lru_cache(maxsize=1024)
def _needed(q: float, moved: float, power: float, correlation: float, level: float) -> float:
    if correlation > 0 and moved < 1:
        # With ever more pupils the school's own share is known, and the power ends here.
        size = 1 / correlation - 1
        bound = stats.beta.ppf(1 - level, q * size, (1 - q) * size)
        if stats.beta.sf((bound - moved) / (1 - moved), q * size, (1 - q) * size) < power:
            return float("inf")
    steps = [1]
    while steps[-1] < _MOST:
        steps.append(max(steps[-1] + 1, int(steps[-1] * 1.02)))
    for n in np.array_split(np.array(steps), 6):
        reached = power_of_windows(n, q, moved, correlation=correlation, level=level) >= power
        if reached.any():
            return float(n[int(np.argmax(reached))])
    return float("inf")
