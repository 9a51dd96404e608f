r"""Log-likelihood of cells of marks and its derivatives to the third order.

A cell holds the numbers of pupils with each of K marks.  With thresholds :math:`c_k`, location
:math:`\eta` and log-spread :math:`s`

.. math:: P(\text{mark} \le k) = \Phi(b_k), \qquad b_k = \zeta_k e^{-s}, \quad
          \zeta_k = c_k - \eta ,

and :math:`\ell = \sum_k n_k \log(\Phi(b_k) - \Phi(b_{k-1}))`.  Everything is expressed in the local
variables :math:`(\zeta_1, \dots, \zeta_{K-1}[, s])`.  A cell may hold a mean with a known precision
instead: then :math:`\ell = -\tfrac12 \kappa (y + \zeta_1)^2`, the first threshold being minus the
intercept.  Source of the model: Reardon2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = [
    "CellTerms",
    "cell_values",
    "cell_terms",
    "contracted_third",
    "mark_information",
    "shared_covariance",
    "mark_probabilities",
]

Floats = NDArray[np.float64]

# Beyond this many SD the normal density is zero in double precision: stands for an infinite
# threshold (a mark that nobody got) without the 0·∞ of a true infinity.
FAR = 60.0
_TINY = 1e-290


@dataclass(frozen=True, kw_only=True, eq=False)
class CellTerms:
    """Minus the log-likelihood of each cell with first and second derivatives.

    Attributes
    ----------
    value : ndarray of shape (m,)
        −ℓ, without the multinomial coefficient.
    gradient : ndarray of shape (m, D)
        In ζ (and s).
    hessian : ndarray of shape (m, D, D)
        In ζ (and s).
    """

    value: Floats
    gradient: Floats
    hessian: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pieces:
    """Bounds of each mark and the densities over its probability."""

    high: Floats
    low: Floats
    a: Floats
    c: Floats
    log_p: Floats


def _pieces(b: Floats, n: Floats | None = None) -> _Pieces:
    m = len(b)
    edge = np.full((m, 1), FAR)
    high = np.concatenate([b, edge], axis=1)
    low = np.concatenate([-edge, b], axis=1)
    # the difference is taken in the tail where it does not cancel
    flip = low > 0
    upper, lower = np.where(flip, -low, high), np.where(flip, -high, low)
    p = np.maximum(special.ndtr(upper) - special.ndtr(lower), _TINY)
    if n is not None:
        # a mark that nobody got adds nothing, however small its probability
        p = np.where(n > 0, p, 1.0)
    root = 1.0 / np.sqrt(2.0 * np.pi)
    return _Pieces(
        high=high,
        low=low,
        a=root * np.exp(-0.5 * high**2) / p,
        c=root * np.exp(-0.5 * low**2) / p,
        log_p=np.log(p),
    )


def mark_probabilities(b: Floats) -> Floats:
    """Return the probability of each mark (m, K) from standardised thresholds (m, K − 1)."""
    return np.asarray(np.exp(_pieces(b).log_p))


def mark_information(b: Floats) -> Floats:
    r"""Return the information of one pupil's mark on the location, 1 being that of the score.

    .. math:: I(b) = \sum_k (\varphi(b_k) - \varphi(b_{k-1}))^2 / (\Phi(b_k) - \Phi(b_{k-1}))

    Parameters
    ----------
    b : ndarray of shape (m, K − 1)
        Thresholds in SD of pupils from the location.
    """
    q = _pieces(b)
    p = np.exp(q.log_p)
    return np.asarray((((q.a - q.c) ** 2) * p).sum(axis=1))


def shared_covariance(b: Floats, correlation: float) -> Floats:
    r"""Return the covariance of the marks of one pupil in two cells, in terms of the location.

    A cell's own estimate of the location is the mean of efficient scores s over their information.
    With the part f that two results of one pupil share, :math:`y = \sqrt r f + \sqrt{1-r}
    \varepsilon`,

    .. math:: e(b) = E_f\big[E(s \mid f)^2\big] / I(b)^2 ,

    so that two cells of N common pupils have the covariance e/N; r itself for scores, more for a
    rare mark.

    Parameters
    ----------
    b : ndarray of shape (m, K − 1)
        Thresholds in SD of pupils from the location.
    correlation : float
        r in [0, 1).

    Returns
    -------
    ndarray of shape (m,)
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    q = _pieces(b)
    score = q.c - q.a  # the derivative of log p in the location
    root, rest = np.sqrt(correlation), np.sqrt(1.0 - correlation)
    total = np.zeros(len(b))
    for node, weight in zip(nodes, weights, strict=True):
        given = np.exp(_pieces((b - root * node) / rest).log_p)
        total += weight * (given * score).sum(axis=1) ** 2
    return np.asarray(total / mark_information(b) ** 2)


def cell_values(
    zeta: Floats,
    counts: Floats,
    *,
    log_spread: Floats | None = None,
    within: Floats | None = None,
    mean: Floats,
    precision: Floats,
) -> Floats:
    """Return −ℓ of cells, shape (m,), without derivatives; parameters as in `cell_terms`."""
    scale = _scale(log_spread, within)
    b = zeta if scale is None else zeta * scale[:, None]
    edge = np.ones((len(b), 1))
    cumulative = np.concatenate([0.0 * edge, special.ndtr(b), edge], axis=1)
    p = np.diff(cumulative, axis=1)
    # far up the scale the difference of two probabilities near one cancels: take it from above
    far = (p < 1e-8) & (counts > 0)
    if far.any():
        p = np.where(far, np.exp(_pieces(b).log_p), p)
    value = -special.xlogy(counts, np.maximum(p, _TINY)).sum(axis=1)
    return np.asarray(value + 0.5 * precision * (mean + zeta[:, 0]) ** 2)


def cell_terms(
    zeta: Floats,
    counts: Floats,
    *,
    log_spread: Floats | None = None,
    within: Floats | None = None,
    mean: Floats | None = None,
    precision: Floats | None = None,
) -> CellTerms:
    """Return −ℓ of cells with gradient and Hessian.

    Parameters
    ----------
    zeta : ndarray of shape (m, K − 1)
        Thresholds minus location, ascending in a row.
    counts : ndarray of shape (m, K)
        Pupils (or weights) per mark; zeros in cells that hold a mean.
    log_spread : ndarray of shape (m,), optional
        s; with it the derivatives have one more entry, the last.
    within : ndarray of shape (m,), optional
        SD of pupils about the location where s = 0, given; 1 by default.
    mean, precision : ndarray of shape (m,), optional
        Value and precision of cells that hold a mean; precision 0 elsewhere.
    """
    scale = _scale(log_spread, within)
    b = zeta if scale is None else zeta * scale[:, None]
    q = _pieces(b, counts)
    value = -(counts * q.log_p).sum(axis=1)
    gradient, hessian = _in_b(q, counts)
    if scale is not None and log_spread is None:
        gradient, hessian = scale[:, None] * gradient, scale[:, None, None] ** 2 * hessian
    elif scale is not None:
        gradient, hessian = _with_spread(gradient, hessian, b, scale)
    if mean is not None and precision is not None:
        distance = mean + zeta[:, 0]
        value = value + 0.5 * precision * distance**2
        gradient[:, 0] += precision * distance
        hessian[:, 0, 0] += precision
    return CellTerms(value=value, gradient=gradient, hessian=hessian)


def _scale(log_spread: Floats | None, within: Floats | None) -> Floats | None:
    """Return what ζ is multiplied by; None for 1."""
    if log_spread is None:
        return None if within is None else 1.0 / within
    return np.asarray(np.exp(-log_spread) / (1.0 if within is None else within))


def _in_b(q: _Pieces, n: Floats) -> tuple[Floats, Floats]:
    """Return gradient and Hessian of −ℓ in the standardised thresholds."""
    upper, lower = n[:, :-1], n[:, 1:]  # the mark below and the mark above each threshold
    a, c = q.a[:, :-1], q.c[:, 1:]
    gradient = lower * c - upper * a
    m, k = gradient.shape
    hessian = np.zeros((m, k, k))
    at = np.arange(k)
    hessian[:, at, at] = upper * a * (q.high[:, :-1] + a) - lower * c * (q.low[:, 1:] - c)
    between = -n[:, 1:-1] * q.a[:, 1:-1] * q.c[:, 1:-1]
    hessian[:, at[:-1], at[1:]] = between
    hessian[:, at[1:], at[:-1]] = between
    return gradient, hessian


def _with_spread(G: Floats, H: Floats, b: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return the derivatives in (ζ, s) from those in b = ζ·exp(−s)."""
    m, k = G.shape
    Hb = np.einsum("mij,mj->mi", H, b)
    gradient = np.empty((m, k + 1))
    gradient[:, :k] = scale[:, None] * G
    gradient[:, k] = -(G * b).sum(axis=1)
    hessian = np.empty((m, k + 1, k + 1))
    hessian[:, :k, :k] = scale[:, None, None] ** 2 * H
    cross = -scale[:, None] * (Hb + G)
    hessian[:, :k, k] = cross
    hessian[:, k, :k] = cross
    hessian[:, k, k] = (Hb * b).sum(axis=1) + (G * b).sum(axis=1)
    return gradient, hessian


def contracted_third(
    zeta: Floats,
    counts: Floats,
    covariance: Floats,
    *,
    log_spread: Floats | None = None,
    within: Floats | None = None,
) -> Floats:
    r"""Return the third derivatives of −ℓ contracted with a covariance.

    .. math:: T_c = \sum_{ab} \Sigma_{ab}\, \partial^3(-\ell)/\partial_a\partial_b\partial_c

    Cells that hold a mean have zero counts and contribute zero: their third derivative vanishes.

    Parameters
    ----------
    zeta, counts, log_spread, within
        As in `cell_terms`.
    covariance : ndarray of shape (m, D, D)
        Σ of each cell's local variables.

    Returns
    -------
    ndarray of shape (m, D)
    """
    scale = _scale(log_spread, within)
    if scale is None:
        return -_third_in_b(_pieces(zeta, counts), counts, covariance)
    b = zeta * scale[:, None]
    if log_spread is None:
        third = -_third_in_b(_pieces(b, counts), counts, covariance)
        return np.asarray(scale[:, None] ** 3 * third)
    q = _pieces(b, counts)
    m, k = b.shape
    e = scale[:, None]
    # first derivatives of b: e on its own ζ, −b on s
    J = np.zeros((m, k, k + 1))
    at = np.arange(k)
    J[:, at, at] = e
    J[:, :, k] = -b
    N = np.einsum("mab,mjb->maj", covariance, J)
    Sb = np.einsum("mia,maj->mij", J, N)
    G, H = _in_b(q, counts)
    var_s, cov_s = covariance[:, k, k], covariance[:, :k, k]
    # Σ : ∂²b_i, with ∂²b/∂ζ∂s = −e and ∂²b/∂s² = b
    bent = -2.0 * e * cov_s + b * var_s[:, None]
    third = -np.einsum("mk,mkc->mc", _third_in_b(q, counts, Sb), J)
    third += np.einsum("mij,mi,mjc->mc", H, bent, J)
    along = np.einsum("mij,mj->mi", H, N[:, k, :])
    third[:, :k] += -2.0 * e * along + e * G * var_s[:, None]
    third[:, k] += 2.0 * (
        -scale * np.einsum("mij,mij->m", H, N[:, :k, :]) + (b * along).sum(axis=1)
    )
    third[:, k] += (G * (2.0 * e * cov_s - b * var_s[:, None])).sum(axis=1)
    return np.asarray(third)


def _third_in_b(q: _Pieces, n: Floats, S: Floats) -> Floats:
    """Return Σ over pairs of S times the third derivatives of ℓ (not −ℓ) in b."""
    h, low, a, c = q.high, q.low, q.a, q.c
    a_h, c_l = -a * (h + a), c * (c - low)
    hhh = -a - (h + 2.0 * a) * a_h
    hhl = -(h + 2.0 * a) * a * c
    hll = a * c * (2.0 * c - low)
    lll = c + (low - 2.0 * c) * c_l
    m, k = len(n), n.shape[1] - 1
    diagonal = np.einsum("mii->mi", S)
    zero = np.zeros((m, 1))
    var_high = np.concatenate([diagonal, zero], axis=1)
    var_low = np.concatenate([zero, diagonal], axis=1)
    at = np.arange(k - 1)
    both = np.concatenate([zero, S[:, at, at + 1], zero], axis=1)
    high = n * (var_high * hhh + 2.0 * both * hhl + var_low * hll)
    lower = n * (var_high * hhl + 2.0 * both * hll + var_low * lll)
    return np.asarray(high[:, :-1] + lower[:, 1:])
