r"""Likelihood of the model of means, school by school, and its exact gradient.

Schools with the same number of rows :math:`m` are inverted together as dense
:math:`m \times m` matrices :math:`V_j`, so that one evaluation costs
:math:`O(\sum_j m_j^3)` whatever the random parts are.  The level around the schools is eliminated
on top: with :math:`U_j` the trait columns, :math:`T_m = \sum_{j \in m} U_j'V_j^{-1}U_j` and
:math:`S_m = G(I + T_m G)^{-1}`

.. math::

   \log|V| = \sum_j \log|V_j| + \sum_m \log|I + T_m G|, \qquad
   V^{-1} = \mathrm{diag}(V_j^{-1})
     - \mathrm{diag}(V_j^{-1}U_j)\,S\,\mathrm{diag}(V_j^{-1}U_j)'.

For a covariance entry with structure :math:`K`,
:math:`\partial(-2\ell) = \mathrm{tr}(PK) - y'PKPy`, of which only the blocks of schools (and the
:math:`q \times q` sums of the outer units) are needed.  Source: RaudenbushBryk1985.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from resilience.stats.means.summary_data import Codes, Component, Floats, SummaryData, Variances

__all__ = [
    "Batch",
    "Method",
    "State",
    "accumulate",
    "covariance",
    "evaluate",
    "gradient",
    "make_batches",
    "semidefinite_root",
    "solved",
]

Method = Literal["reml", "ml"]

_CHUNK = 400_000  # entries of V_j worked on together: they stay in the processor's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Schools with the same number of rows.

    Attributes
    ----------
    school : ndarray of shape (b,)
        Codes of the schools.
    rows : ndarray of shape (b, m)
        Positions of their rows.
    known, per_n : ndarray of shape (b, m, m) or (b, m)
        Sampling covariances, known and per unit of the pupil variance; diagonals alone where no
        two means share pupils.
    same : tuple of ndarray of shape (b, m, m), bool, or None
        Per component, which two rows share its unit; None: all.
    pairs : tuple of ndarray of shape (b, m, m), int, or None
        Per component, the entry of its flattened covariance; None with a single trait.
    loads : ndarray of shape (b, m, q)
        Indicators of the outer level's traits; q = 0 without one.
    """

    school: Codes
    rows: Codes
    known: Floats
    per_n: Floats
    same: tuple[NDArray[np.bool_] | None, ...]
    pairs: tuple[NDArray[np.int16] | None, ...]
    loads: Floats


def make_batches(data: SummaryData, groups: Codes | None = None) -> tuple[Batch, ...]:
    """Sort the groups by their number of rows.

    Parameters
    ----------
    data : SummaryData
        The means.
    groups : ndarray of shape (n_rows,), int, optional
        Codes 0, 1, … of the groups, parts of schools; the schools by default.
    """
    codes = data.school if groups is None else groups
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(int(codes.max()) + 1))
    sizes = np.diff(np.append(starts, len(codes)))
    found = []
    for m in np.unique(sizes):
        members = np.flatnonzero(sizes == m)
        step = max(1, _CHUNK // int(m * m))
        for at in range(0, len(members), step):
            chosen = members[at : at + step]
            rows = order[starts[chosen][:, None] + np.arange(m)]
            found.append(_batch(data, chosen.astype(np.int64), rows))
    return tuple(found)


def _batch(data: SummaryData, school: Codes, rows: Codes) -> Batch:
    known, per_n = _sampling(data, rows)
    q = 0 if data.outer is None else data.outer.size
    loads = np.ones((*rows.shape, q))
    if data.outer is not None and data.outer.traits is not None:
        loads = (data.outer.traits[rows][..., None] == np.arange(q)).astype(float)
    return Batch(
        school=school,
        rows=rows,
        known=known,
        per_n=per_n,
        same=tuple(_same(c.units, rows) for c in data.components),
        pairs=tuple(_pairs(c, rows) for c in data.components),
        loads=loads,
    )


def _same(units: Codes | None, rows: Codes) -> NDArray[np.bool_] | None:
    if units is None:
        return None
    own = units[rows]
    return np.asarray(own[:, :, None] == own[..., None, :])


def _pairs(component: Component, rows: Codes) -> NDArray[np.int16] | None:
    if component.traits is None:
        return None
    own = component.traits[rows]
    return (component.size * own[:, :, None] + own[:, None, :]).astype(np.int16)


def _sampling(data: SummaryData, rows: Codes) -> tuple[Floats, Floats]:
    known, inverse_n = data.known[rows], data.inverse_n[rows]
    if data.shared is None:
        return known, inverse_n
    cohort, n = data.shared.cohorts[rows], data.shared.sizes[rows]
    together = np.where(
        cohort[:, :, None] == cohort[:, None, :],
        data.shared.correlation
        * np.sqrt(
            np.minimum(n[:, :, None], n[:, None, :]) / np.maximum(n[:, :, None], n[..., None, :])
        ),
        0.0,
    )
    own = np.arange(rows.shape[1])
    together[:, own, own] = 1.0
    # s_r s_s √(min/max) = σ_r σ_s min(n)/(n_r n_s)
    return (
        np.sqrt(known[:, :, None] * known[:, None, :]) * together,
        np.sqrt(inverse_n[:, :, None] * inverse_n[:, None, :]) * together,
    )


def covariance(batch: Batch, variances: Variances) -> Floats:
    """Return V_j of shape (b, m, m), the outer level left out."""
    sampling = batch.known + variances.sigma2 * batch.per_n
    m = batch.rows.shape[1]
    if sampling.ndim == 2:
        V = np.zeros((*sampling.shape, m))
        V[:, np.arange(m), np.arange(m)] = sampling
    else:
        V = sampling
    for Q, same, pairs in zip(variances.components, batch.same, batch.pairs, strict=True):
        part = Q[0, 0] if pairs is None else Q.ravel()[pairs]
        V += part if same is None else part * same
    return V


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    r"""What one evaluation leaves behind.

    Attributes
    ----------
    variances : Variances
        Where it was evaluated.
    criterion : float
        −2 log (restricted) likelihood.
    beta, covariance : ndarray of shape (p,), (p, p)
        Coefficients and their covariance.
    inverses : tuple of ndarray of shape (b, m, m)
        :math:`V_j^{-1}` of each batch.
    outer_cross : ndarray of shape (n_units, q, p + 1)
        :math:`\sum_j U_j'V_j^{-1}[X_j, y_j]` of each outer unit.
    outer_self, outer_gain : ndarray of shape (n_units, q, q)
        :math:`T_m` and :math:`S_m`, the posterior covariance of the outer effects.
    """

    variances: Variances
    criterion: float
    beta: Floats
    covariance: Floats
    inverses: tuple[Floats, ...]
    outer_cross: Floats
    outer_self: Floats
    outer_gain: Floats


def evaluate(
    data: SummaryData, batches: tuple[Batch, ...], variances: Variances, method: Method = "reml"
) -> State:
    """Evaluate the criterion at given variances."""
    n, p = data.X.shape
    q = len(variances.outer)
    n_units = 0 if data.outer is None else data.outer.n_units
    total = np.zeros((p + 1, p + 1))
    cross, own = np.zeros((n_units, q, p + 1)), np.zeros((n_units, q, q))
    log_determinant = 0.0
    inverses: list[Floats] = []
    for batch in batches:
        V = covariance(batch, variances)
        pivots = np.diagonal(np.linalg.cholesky(V), axis1=1, axis2=2)
        log_determinant += 2.0 * float(np.log(pivots).sum())
        inverse = np.asarray(np.linalg.inv(V), dtype=float)
        inverses.append(inverse)
        W = np.concatenate([data.X[batch.rows], data.y[batch.rows][..., None]], axis=2)
        half = inverse @ W
        total += np.tensordot(W, half, axes=([0, 1], [0, 1]))
        if data.outer is not None:
            units, left = data.outer.of_school[batch.school], np.swapaxes(batch.loads, 1, 2)
            np.add.at(cross, units, left @ half)
            np.add.at(own, units, left @ inverse @ batch.loads)
    gain = own
    if q:
        inner = np.eye(q) + own @ variances.outer
        log_determinant += float(np.linalg.slogdet(inner)[1].sum())
        gain = variances.outer @ np.linalg.inv(inner)
        gain = 0.5 * (gain + np.swapaxes(gain, 1, 2))
        total -= np.einsum("mqa,mqr,mrb->ab", cross, gain, cross, optimize=True)
    factor = linalg.cho_factor(total[:p, :p])
    beta = linalg.cho_solve(factor, total[:p, p])
    free = n - p if method == "reml" else n
    value = log_determinant + total[p, p] - total[:p, p] @ beta + free * np.log(2 * np.pi)
    if method == "reml":
        value += 2.0 * float(np.log(np.diag(factor[0])).sum())
    return State(
        variances=variances,
        criterion=float(value),
        beta=beta,
        covariance=linalg.cho_solve(factor, np.eye(p)),
        inverses=tuple(inverses),
        outer_cross=cross,
        outer_self=own,
        outer_gain=gain,
    )


def solved(
    data: SummaryData, batch: Batch, inverse: Floats, state: State
) -> tuple[Floats, Floats, Floats]:
    r"""Return the rows of :math:`V^{-1}X`, :math:`V^{-1}(y - X\hat\beta)`, :math:`V_j^{-1}U_j`."""
    half = inverse @ batch.loads
    VX = inverse @ data.X[batch.rows]
    Vy = (inverse @ data.y[batch.rows][..., None])[..., 0]
    if data.outer is not None:
        units = data.outer.of_school[batch.school]
        away = half @ (state.outer_gain[units] @ state.outer_cross[units])
        VX, Vy = VX - away[..., :-1], Vy - away[..., -1]
    return VX, Vy - VX @ state.beta, half


def gradient(
    data: SummaryData, batches: tuple[Batch, ...], state: State, method: Method = "reml"
) -> Variances:
    """Return the derivatives of the criterion in the entries of every covariance.

    An entry off the diagonal counts once for each of its two places, as if they were free.
    """
    found = [np.zeros(Q.shape) for Q in state.variances.components]
    sigma2 = 0.0
    root = state.covariance[:, :0]
    if method == "reml":
        root = np.asarray(np.linalg.cholesky(state.covariance), dtype=float)
    for batch, B in _projections(data, batches, state, root):
        sigma2 += accumulate(batch, B, found)
    return Variances(
        components=tuple(0.5 * (D + D.T) for D in found),
        outer=_outer_gradient(state, root),
        sigma2=sigma2,
    )


def accumulate(batch: Batch, B: Floats, found: list[Floats]) -> float:
    """Add the traces of B with the structure of every covariance entry to ``found``.

    Returns the trace with the structure of the pupil variance.
    """
    m = np.arange(B.shape[1])
    for D, same, pairs in zip(found, batch.same, batch.pairs, strict=True):
        inside = B if same is None else B * same
        if pairs is None:
            D += inside.sum()
        else:
            counts = np.bincount(pairs.ravel(), weights=inside.ravel(), minlength=D.size)
            D += counts.reshape(D.shape)
    entries = B[:, m, m] if batch.per_n.ndim == 2 else B
    return float((entries * batch.per_n).sum())


def _projections(
    data: SummaryData, batches: tuple[Batch, ...], state: State, root: Floats
) -> Iterator[tuple[Batch, Floats]]:
    """Yield the diagonal blocks of P − Pyy'P (of V⁻¹ instead of P under ML)."""
    for batch, inverse in zip(batches, state.inverses, strict=True):
        VX, a, half = solved(data, batch, inverse, state)
        pieces = [VX @ root, a[..., None]]
        if data.outer is not None:
            gain = state.outer_gain[data.outer.of_school[batch.school]]
            pieces.append(half @ semidefinite_root(gain))
        E = np.concatenate(pieces, axis=2)
        yield batch, inverse - E @ np.swapaxes(E, 1, 2)


def semidefinite_root(matrices: Floats) -> Floats:
    """Return factors F, FF' = matrix, of positive semi-definite matrices (singular ones too)."""
    values, vectors = np.linalg.eigh(matrices)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])


def _outer_gradient(state: State, root: Floats) -> Floats:
    if not len(state.variances.outer):
        return np.zeros((0, 0))
    left = np.eye(state.outer_self.shape[1]) - state.outer_self @ state.outer_gain
    T = left @ state.outer_self
    C = left @ state.outer_cross
    a = C[..., -1] - C[..., :-1] @ state.beta
    E = C[..., :-1] @ root
    D = T.sum(axis=0) - np.einsum("mqa,mra->qr", E, E) - a.T @ a
    return np.asarray(0.5 * (D + D.T))
