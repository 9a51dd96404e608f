r"""Degrees of freedom of slopes between latent means, as restricted likelihood counts coefficients.

A component of two traits, with factor :math:`L`, holds the regression of its second latent mean on
the first; :math:`\delta = L_{10}` is the slope per SD of the first.  Restricted likelihood allows
for estimated coefficients but takes :math:`\delta` for known, which makes the variance left by the
regression too small by about one part in the number of schools.  The adjusted profile likelihood
adds, for the levels :math:`k` with a slope,

.. math::

   \log|I_\delta|, \qquad (I_\delta)_{kl} = \tfrac12 \sum_j \mathrm{tr}\big(
     V_j^{-1}\,\partial_k V_j\, V_j^{-1}\,\partial_l V_j\big), \qquad
   \partial_k Q_k = \begin{pmatrix} 0 & L_{00} \\ L_{00} & 2L_{10} \end{pmatrix},

the counterpart of :math:`\log|X'V^{-1}X|`.  The level around the schools is left out of
:math:`V_j`: it takes the same share of the information whatever the variances within it.  The
gradient is exact.  Source: CoxReid1987.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resilience.stats.means.summary_blocks import Batch, State, accumulate
from resilience.stats.means.summary_data import Floats, Variances

__all__ = ["SlopeTerm", "slope_term"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SlopeTerm:
    """The adjustment and its derivatives.

    Attributes
    ----------
    value : float
        Logarithm of the determinant of the slopes' information.
    variances : Variances
        Derivatives through the covariances of the rows.
    factors : tuple of ndarray of shape (2,)
        Per level with a slope, derivatives in :math:`L_{00}` and :math:`L_{10}` beside them.
    """

    value: float
    variances: Variances
    factors: tuple[Floats, ...]


def slope_term(
    batches: tuple[Batch, ...], state: State, levels: tuple[int, ...], factors: list[Floats]
) -> SlopeTerm:
    """Return the adjustment for the slopes of some components.

    Parameters
    ----------
    batches : tuple of Batch
        Schools by number of rows.
    state : State
        The evaluation at the same variances.
    levels : tuple of int
        Components of two traits that have a slope.
    factors : list of ndarray of shape (2, 2)
        Their factors L, in the units of the traits.
    """
    moves = [_moves(batch, levels, factors) for batch in batches]
    pulls = [
        [inverse @ K @ inverse for K in own]
        for inverse, own in zip(state.inverses, moves, strict=True)
    ]
    information = np.zeros((len(levels), len(levels)))
    for own, pulled in zip(moves, pulls, strict=True):
        for k, G in enumerate(pulled):
            for at, K in enumerate(own):
                information[k, at] += 0.5 * float((G * K).sum())
    weights = np.linalg.inv(information)
    found = [np.zeros(Q.shape) for Q in state.variances.components]
    beside = [np.zeros((2, 2)) for _ in levels]
    sigma2 = 0.0
    for batch, inverse, own, pulled in zip(batches, state.inverses, moves, pulls, strict=True):
        mixed = [sum(w * G for w, G in zip(row, pulled, strict=True)) for row in weights]
        B = -sum(inverse @ K @ C for K, C in zip(own, mixed, strict=True))
        sigma2 += accumulate(batch, np.asarray(B), found)
        for k, level in enumerate(levels):
            pairs, same = batch.pairs[level], batch.same[level]
            assert pairs is not None
            inside = mixed[k] if same is None else mixed[k] * same
            counts = np.bincount(pairs.ravel(), weights=np.ravel(inside), minlength=4)
            beside[k] += counts.reshape(2, 2)
    return SlopeTerm(
        value=float(np.linalg.slogdet(information)[1]),
        variances=Variances(
            components=tuple(0.5 * (D + D.T) for D in found),
            outer=np.zeros_like(state.variances.outer),
            sigma2=sigma2,
        ),
        factors=tuple(np.array([T[0, 1] + T[1, 0], 2.0 * T[1, 1]]) for T in beside),
    )


def _moves(batch: Batch, levels: tuple[int, ...], factors: list[Floats]) -> list[Floats]:
    """Return the derivative of every V_j in the slope of every level."""
    found = []
    for level, L in zip(levels, factors, strict=True):
        pairs, same = batch.pairs[level], batch.same[level]
        assert pairs is not None
        K = np.array([0.0, L[0, 0], L[0, 0], 2.0 * L[1, 0]])[pairs]
        found.append(K if same is None else K * same)
    return found
