r"""Scales that make one unit of every kind of variable mean the same in a distance.

The yardstick is a continuous variable of unit variance, on which two random schools differ by
:math:`E(\Delta^2) = 2`.  Dummies of a nominal variable with level shares :math:`\pi_k` have
:math:`E\sum\Delta^2 = 2(1 - \sum\pi_k^2)`, codes of an ordinal one :math:`2\mathrm{Var}`; both are
brought to :math:`2q`.  A nominal variable gets :math:`q = 1/2`, since a distance of all or nothing
cuts gaps into the data where a continuous variable has none; an ordinal one of K levels
:math:`q = 1 / (1 + 1/(K-1))`, which goes to 1 as its levels become many (HennigLiao2013).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resilience.errors import DataError
from resilience.i18n import text

__all__ = [
    "beta_moments",
    "closed_composition",
    "isometric_logratio",
    "nominal_factor",
    "ordinal_factor",
    "ordinal_quota",
]

Floats = NDArray[np.float64]

NOMINAL_QUOTA = 0.5


def ordinal_quota(n_levels: int) -> float:
    """Return the quota q of an ordinal variable, :math:`1 / (1 + 1/(K-1))`."""
    return 1.0 / (1.0 + 1.0 / (n_levels - 1))


def nominal_factor(
    counts: ArrayLike, *, quota: float = NOMINAL_QUOTA, finite: bool = False
) -> float:
    r"""Return the factor of each dummy of a nominal variable.

    .. math:: \sqrt{q / (1 - \sum_k \pi_k^2)}

    Parameters
    ----------
    counts : array_like of shape (K,)
        Schools (or their weight) on each level, all above 0.
    quota : float
        q.
    finite : bool
        Expectation over unordered pairs with repetition of the n schools themselves, as in the R
        package fpc: :math:`\sqrt{q\,n(n+1)/2 / \sum_{a<b} n_an_b}`.

    Returns
    -------
    float

    Raises
    ------
    DataError
        If there are fewer than two levels or an empty one.

    References
    ----------
    HennigLiao2013.
    """
    levels = _levels(counts)
    total = float(levels.sum())
    if finite:
        pairs = (total**2 - float(levels @ levels)) / 2.0
        return float(np.sqrt(quota * total * (total + 1.0) / 2.0 / pairs))
    shares = levels / total
    return float(np.sqrt(quota / (1.0 - float(shares @ shares))))


def ordinal_factor(counts: ArrayLike, *, quota: float | None = None, finite: bool = False) -> float:
    r"""Return the factor of the codes 1, 2, … K of an ordinal variable.

    .. math:: \sqrt{q / \mathrm{Var}(\text{code})}

    Parameters
    ----------
    counts : array_like of shape (K,)
        Schools on each level in their order; at least two levels are taken.
    quota : float, optional
        q, by default that of K levels.
    finite : bool
        As for `nominal_factor`: :math:`\sqrt{q\,n(n+1) / \sum_{a<b}(b-a)^2n_an_b}`.

    Returns
    -------
    float

    Raises
    ------
    DataError
        If there are fewer than two levels with schools.

    References
    ----------
    HennigLiao2013.
    """
    levels = _levels(counts, empty=True)
    wanted = ordinal_quota(len(levels)) if quota is None else quota
    total, codes = float(levels.sum()), np.arange(len(levels), dtype=float)
    # the sum over pairs of levels is n² times the variance of the codes
    mean = float(codes @ levels) / total
    variance = float(((codes - mean) ** 2) @ levels) / total
    if finite:
        return float(np.sqrt(wanted * total * (total + 1.0) / (total**2 * variance)))
    return float(np.sqrt(wanted / variance))


def _levels(counts: ArrayLike, *, empty: bool = False) -> Floats:
    levels = np.asarray(counts, dtype=np.float64)
    taken = int((levels > 0).sum())
    if levels.ndim != 1 or taken < 2 or (levels < 0).any() or (taken < len(levels) and not empty):
        raise DataError(text("scaling.levels", counts=str(levels.tolist())))
    return levels


def beta_moments(shares: ArrayLike, n: ArrayLike) -> tuple[float, float]:
    r"""Return α and β of the beta distribution of true shares behind observed ones, by moments.

    With :math:`\rho` the intraclass correlation of the pupils' zeros and ones by the analysis of
    variance, :math:`\alpha + \beta = 1/\rho - 1`; their ratio follows the pooled share.

    Parameters
    ----------
    shares : array_like of shape (S,)
        In 0..1.
    n : array_like of shape (S,)
        Pupils behind each, above 0.

    Returns
    -------
    (float, float)
        Both infinite where schools differ no more than by chance.

    References
    ----------
    Kleinman1973.
    """
    x, size = np.asarray(shares, dtype=np.float64), np.asarray(n, dtype=np.float64)
    total = float(size.sum())
    pooled = float(x @ size) / total
    between = float(size @ (x - pooled) ** 2) / (len(x) - 1)
    within = float(size @ (x * (1.0 - x))) / max(total - len(x), 1.0)
    typical = (total - float(size @ size) / total) / (len(x) - 1)
    spread = between + (typical - 1.0) * within
    rho = (between - within) / spread if spread > 0.0 else 0.0
    if rho <= 0.0:
        return float("inf"), float("inf")
    strength = 1.0 / min(rho, 1.0 - 1e-9) - 1.0
    return pooled * strength, (1.0 - pooled) * strength


def closed_composition(parts: ArrayLike, n: ArrayLike) -> Floats:
    r"""Return compositions without zeros: :math:`\delta = 1/(2n)` for each, the rest shrunk.

    Parameters
    ----------
    parts : array_like of shape (S, K)
        Shares of each school, summing to 1.
    n : array_like of shape (S,)
        Pupils behind the shares, at least 1.

    Returns
    -------
    ndarray of shape (S, K)
        Rows sum to 1, all parts positive.

    References
    ----------
    MartinFernandez2003 (multiplicative replacement).
    """
    shares = np.asarray(parts, dtype=np.float64)
    shares = shares / shares.sum(axis=1, keepdims=True)
    delta = 0.5 / np.asarray(n, dtype=np.float64)[:, None]
    absent = shares <= 0.0
    # many empty parts of a very small school must not use up the whole
    room = np.minimum(delta, 0.5 / shares.shape[1])
    added = (absent * room).sum(axis=1, keepdims=True)
    return np.asarray(np.where(absent, room, shares * (1.0 - added)))


def isometric_logratio(parts: ArrayLike) -> Floats:
    r"""Return the isometric log-ratio coordinates of compositions.

    .. math:: z_i = \sqrt{i/(i+1)}\, \ln\frac{(x_1 \cdots x_i)^{1/i}}{x_{i+1}}, \quad i = 1..K-1

    Their Euclidean distance is Aitchison's, whatever the order of the parts.

    Parameters
    ----------
    parts : array_like of shape (S, K)
        Positive parts.

    Returns
    -------
    ndarray of shape (S, K - 1)

    References
    ----------
    EgozcueEtAl2003.
    """
    logs = np.log(np.asarray(parts, dtype=np.float64))
    i = np.arange(1, logs.shape[1], dtype=np.float64)
    means = np.cumsum(logs, axis=1)[:, :-1] / i
    return np.asarray(np.sqrt(i / (i + 1.0)) * (means - logs[:, 1:]))
