r"""Are there too many scores just above the borders of marks: the conditional test, pooled.

At a border c a window of w scores on either side holds N pupils, A of them at or above c.  Given N,
:math:`A \sim \mathrm{Bin}(N, q)` with q from a reference
(`stats.integrity.adjacent_reference`).  Windows of one school are pooled: the sum of A against the
convolution of the binomials.  Schools differ without anybody's doing, so the pooled count is judged
by a beta-binomial whose correlation :math:`\rho` is estimated from all schools.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from resilience.errors import DataError
from resilience.i18n import text
from resilience.validation import check_fraction, shorten

__all__ = [
    "PooledWindows",
    "pool_windows",
    "pooled_null",
    "tail_of",
    "unusual_pooled",
    "window_correlation",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TAIL = 0.10  # share winsorised at each end, as in the funnel
LARGEST_CORRELATION = 0.99


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledWindows:
    """Pooled counts of each school and their tail under the binomial reference.

    Attributes
    ----------
    total, above : ndarray of int, shape (n_schools,)
        Pupils in the windows and those of them at or above a border.
    share : ndarray of shape (n_schools,)
        Share expected above, weighted by the pupils of the windows; NaN without pupils.
    p_value, mid_p : ndarray of shape (n_schools,)
        P(T ≥ t) and P(T > t) + P(T = t)/2 under the convolution of the binomials.
    """

    total: Integers
    above: Integers
    share: Floats
    p_value: Floats
    mid_p: Floats


def pooled_null(total: ArrayLike, share: ArrayLike) -> Floats:
    """Return the probabilities of 0 … ΣN pupils above, the convolution of Bin(N_k, q_k).

    Parameters
    ----------
    total, share : array_like of shape (n_windows,)
        Pupils of each window and the share expected above its border.
    """
    pmf = np.ones(1)
    for n, q in zip(np.atleast_1d(total), np.atleast_1d(share), strict=True):
        pmf = np.convolve(pmf, stats.binom.pmf(np.arange(int(n) + 1), int(n), float(q)))
    return np.asarray(pmf)


def pool_windows(
    unit: ArrayLike, total: ArrayLike, above: ArrayLike, share: ArrayLike, *, n_units: int
) -> PooledWindows:
    """Pool the windows of each school.

    Parameters
    ----------
    unit : array_like of int, shape (n_windows,)
        School of each window, 0 … n_units − 1.
    total, above, share : array_like of shape (n_windows,)
        Pupils in the window, those at or above the border, and the share expected there.
    n_units : int
        Number of schools; one without windows gets 0 pupils and a p-value of 1.

    Raises
    ------
    DataError
        If a count is negative or not whole, more are above than there are, or a share lies outside
        [0, 1].
    """
    code = np.asarray(unit, dtype=np.int64)
    n, a, q = (np.asarray(v, dtype=float) for v in (total, above, share))
    bad = (n < 0) | (a < 0) | (a > n) | (n != np.round(n)) | (a != np.round(a))
    bad |= ~((q >= 0) & (q <= 1)) & (n > 0)
    if bad.any():
        rows = np.flatnonzero(bad)
        first = rows[0]
        raise DataError(
            text(
                "integrity.window_counts",
                n=len(rows),
                rows=shorten(rows.tolist()),
                total=f"{n[first]:g}",
                above=f"{a[first]:g}",
                share=f"{q[first]:g}",
            )
        )
    q = np.where(n > 0, q, 0.0)
    pooled = np.bincount(code, n, n_units).astype(np.int64)
    found = np.bincount(code, a, n_units).astype(np.int64)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(code, n * q, n_units) / pooled
    p, mid = np.ones(n_units), np.ones(n_units)
    order = np.argsort(code, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        if len(group) and pooled[code[group[0]]] > 0:
            j = int(code[group[0]])
            p[j], mid[j] = tail_of(pooled_null(n[group], q[group]), int(found[j]))
    return PooledWindows(total=pooled, above=found, share=mean, p_value=p, mid_p=mid)


def tail_of(pmf: Floats, t: int) -> tuple[float, float]:
    """Return P(T ≥ t) and the mid-p P(T > t) + P(T = t)/2 of a distribution on 0, 1, 2, …."""
    upper = float(pmf[t:].sum())
    return min(upper, 1.0), min(upper - 0.5 * float(pmf[t]), 1.0)


def window_correlation(total: ArrayLike, above: ArrayLike, share: ArrayLike) -> float:
    r"""Return the correlation :math:`\rho` of two pupils of one school within the windows.

    With :math:`z = (T - N q)/\sqrt{N q (1-q)}` the beta-binomial has
    :math:`\mathrm{Var}\, z = 1 + (N-1)\rho`, so :math:`\rho` solves

    .. math:: \frac1S \sum_j \Big(\frac{z_j}{\sqrt{1 + (N_j - 1)\rho}}\Big)_w^2 = \kappa,

    w: winsorised at the 10 and 90 % quantiles, so that the schools looked for do not widen the
    reference, and :math:`\kappa` the variance of a standard normal number so cut.

    Parameters
    ----------
    total, above, share : array_like of shape (n_schools,)
        Pooled counts and expected shares; schools with fewer than 2 pupils say nothing.

    Returns
    -------
    float
        In [0, .99]; 0 where the counts vary no more than the binomial allows.

    References
    ----------
    Spiegelhalter2005.
    """
    n, t, q = (np.asarray(v, dtype=float) for v in (total, above, share))
    with np.errstate(invalid="ignore"):
        use = (n > 1) & (q > 0) & (q < 1)
    n, t, q = n[use], t[use], q[use]
    if len(n) < 3:
        return 0.0
    z = (t - n * q) / np.sqrt(n * q * (1 - q))
    kappa = _winsorised_variance(TAIL)

    def excess(rho: float) -> float:
        scaled = z / np.sqrt(1 + (n - 1) * rho)
        cut = np.clip(scaled, *np.quantile(scaled, [TAIL, 1 - TAIL]))
        return float(np.mean(cut**2)) - kappa

    if excess(0.0) <= 0:
        return 0.0
    if excess(LARGEST_CORRELATION) >= 0:
        return LARGEST_CORRELATION
    return float(optimize.bisect(excess, 0.0, LARGEST_CORRELATION, xtol=1e-7))


def _winsorised_variance(tail: float) -> float:
    """Return the variance of a standard normal number cut at its ``tail`` quantiles."""
    c = float(special.ndtri(1 - tail))
    density = np.exp(-(c**2) / 2) / np.sqrt(2 * np.pi)
    return float(1 - 2 * tail - 2 * c * density + 2 * tail * c**2)


def unusual_pooled(
    pooled: PooledWindows, correlation: float, *, fewest: int
) -> tuple[Floats, Floats, Floats]:
    r"""Return p-values, mid-p and the Benjamini-Hochberg q-values of the pooled counts.

    :math:`p = P(T \ge t)` with :math:`T \sim \mathrm{BetaBin}(N, q(1/\rho-1), (1-q)(1/\rho-1))`; at
    :math:`\rho = 0` the convolution of the binomials itself.

    Parameters
    ----------
    pooled : PooledWindows
        Counts of the schools.
    correlation : float
        :math:`\rho` in [0, 1).
    fewest : int
        Schools with fewer pupils in the windows are no part of the family: their q-value is NaN.

    Returns
    -------
    (ndarray, ndarray, ndarray), each of shape (n_schools,)
        NaN for schools without pupils in the windows.

    References
    ----------
    BenjaminiHochberg1995; Griffiths1973.
    """
    check_fraction(correlation, argument="correlation")
    n, t, q = pooled.total, pooled.above, pooled.share
    some = n > 0
    p, mid = np.full(len(n), np.nan), np.full(len(n), np.nan)
    if correlation > 0:
        size = 1 / correlation - 1
        share = np.clip(q[some], 1e-9, 1 - 1e-9)
        null = stats.betabinom(n[some], share * size, (1 - share) * size)
        p[some] = null.sf(t[some] - 1)
        mid[some] = p[some] - 0.5 * null.pmf(t[some])
    else:
        p[some], mid[some] = pooled.p_value[some], pooled.mid_p[some]
    p = np.clip(p, 0.0, 1.0)
    adjusted = np.full(len(n), np.nan)
    family = some & (n >= fewest)
    if family.any():
        adjusted[family] = stats.false_discovery_control(p[family], method="bh")
    return p, mid, adjusted
