r"""Bends of residuals along a variable: polynomials, tested without trust in equal spread.

Residuals :math:`r_i` of a fit that is straight in :math:`x` are regressed on Legendre polynomials
:math:`P_0, …, P_m` of x scaled to [-1, 1].  Whether anything is left beyond degree d is a score
test.  With :math:`e_i` what is left of r at degree d, and :math:`Q` the q further polynomials,
those up to d taken out of them,

.. math:: s_j = \sum_{i \in j} Q_i e_i, \qquad
    T = \Big(\sum_j s_j\Big)' \Big(\sum_j s_j s_j'\Big)^{-1} \sum_j s_j, \qquad
    F = \frac{J - q}{q} \, \frac{T}{J - T}

on q and J - q degrees of freedom, the J groups being schools: pupils whose spread grows with x, and
schools whose slopes differ, do not pass for a bend.  With few groups pupils are taken one by one.
The residuals are those without the bend: with them the few pupils at the ends, who steer a high
polynomial, do not hide their own spread.

References
----------
LiangZeger1986.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

__all__ = ["Bend", "fit_bend"]

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_FEWEST_GROUPS = 30  # below, a covariance summed over groups is too rough for a test


@dataclass(frozen=True, kw_only=True)
class Bend:
    """Where residuals bend along one variable.

    Attributes
    ----------
    degree : int
        The least degree beyond which nothing is left; ``highest + 1`` or more: a spline is wanted.
    p_value : float
        Of any bend at all.
    coefficients : ndarray of shape (degree + 1,)
        Legendre coefficients of the curve of that degree.
    low, high : float
        Ends of the variable, which are -1 and 1 for the polynomials.
    """

    degree: int
    p_value: float
    coefficients: Floats
    low: float
    high: float

    def curve(self, x: Floats) -> Floats:
        """Return the fitted bend at ``x``, in the residuals' units."""
        if not self.low < self.high:
            return np.zeros(len(x))
        return np.asarray(
            np.polynomial.legendre.legval(_scaled(x, self.low, self.high), self.coefficients)
        )


def fit_bend(x: Floats, residual: Floats, groups: Places, *, highest: int, level: float) -> Bend:
    """Return the bend of residuals along ``x``.

    Parameters
    ----------
    x, residual : ndarray of shape (n_rows,)
        The variable and the residuals, both finite.
    groups : ndarray of shape (n_rows,)
        Group of each row as 0, 1, ….
    highest : int
        Highest degree of interest; polynomials go two further.
    level : float
        p-value below which a further degree is wanted.
    """
    low, high = float(x.min()), float(x.max())
    most = min(highest + 2, len(np.unique(x)) - 1)
    straight = Bend(degree=1, p_value=1.0, coefficients=np.zeros(2), low=low, high=high)
    if most < 2 or len(x) <= 2 * (most + 1):
        return straight
    design: Floats = np.polynomial.legendre.legvander(_scaled(x, low, high), most).astype(float)
    gram, right = design.T @ design, design.T @ residual
    if np.linalg.matrix_rank(gram) <= most:
        return straight
    units = groups if int(groups.max()) + 1 >= _FEWEST_GROUPS else None
    p_values = [_beyond(design, residual, d, units) for d in range(1, most)]
    degree = next((d for d, p in enumerate(p_values, start=1) if p >= level), most)
    kept = degree + 1
    return Bend(
        degree=degree,
        p_value=p_values[0],
        coefficients=np.linalg.solve(gram[:kept, :kept], right[:kept]).astype(float),
        low=low,
        high=high,
    )


def _scaled(x: Floats, low: float, high: float) -> Floats:
    return np.asarray(2.0 * (x - low) / (high - low) - 1.0)


def _beyond(design: Floats, residual: Floats, degree: int, groups: Places | None) -> float:
    """Return the p-value of what the polynomials beyond a degree find."""
    low, high = design[:, : degree + 1], design[:, degree + 1 :]
    parts = np.linalg.solve(low.T @ low, low.T @ np.column_stack([high, residual]))
    further = high - low @ parts[:, :-1]
    scores = further * (residual - low @ parts[:, -1])[:, None]
    if groups is not None:
        scores = np.column_stack([np.bincount(groups, column) for column in scores.T])
    n, q = scores.shape
    meat = scores.T @ scores
    if np.linalg.matrix_rank(meat) < q:
        return 1.0
    whole = scores.sum(axis=0)
    statistic = min(float(whole @ np.linalg.solve(meat, whole)), n * (1.0 - 1e-12))
    return float(fdtrc(q, n - q, (n - q) / q * statistic / (n - statistic)))
