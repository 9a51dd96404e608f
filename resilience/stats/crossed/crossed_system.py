r"""The penalised system of crossed factors: one factor eliminated, a dense complement of the rest.

With relative covariances :math:`D_f = \Lambda_f\Lambda_f'` (the same for all units of a factor)
let *e* be the ordinary factor with most random effects and *r* all others side by side.  As
:math:`Z_e'Z_e` is block diagonal, its effects leave the system unit by unit:

.. math::

   M_g &= \Lambda_e'Z_g'Z_g\Lambda_e + I, \qquad  W_g = \Lambda_e M_g^{-1}\Lambda_e', \\
   S &= Z_r'Z_r - \sum_g Z_r'Z_g W_g Z_g'Z_r, \qquad
   S_W = Z_r'W - \sum_g Z_r'Z_g W_g Z_g'W, \\
   A &= \Lambda_r'S\Lambda_r + I = RR', \qquad
   \log|V| = \sum_g\log|M_g| + \log|A|,

and :math:`W'V^{-1}W` is what remains of :math:`W'W`.  S is dense: K² numbers, K the random effects
of all factors but *e*.  Every unit of *e* adds to S at the pairs of effects it meets, so that one
evaluation costs as many operations as there are such pairs, plus the Cholesky factor (K³/3) and,
for the gradient, the inverse of A (2K³/3).  The number of rows does not enter.
Source: BatesEtAl2015, sections 3 and 5; HendersonSearle1981 for the identities of the way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.linalg import lapack

from resilience.stats.crossed.crossed_products import CrossedProducts

__all__ = [
    "CrossedSystem",
    "Pairs",
    "Reduced",
    "complement_bytes",
    "complement_columns",
    "eliminated_factor",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
Places = NDArray[np.int64]

_PAIRS_AT_ONCE = 4_000_000
_PAIRS_KEPT = 24_000_000  # 20 bytes each
_COPIES = 6  # of the complement while the gradient is computed


def eliminated_factor(products: CrossedProducts) -> int | None:
    """Return the ordinary factor with most random effects, None where all are shared."""
    ordinary = [k for k, factor in enumerate(products.factors) if factor.own is None]
    return max(ordinary, key=lambda k: products.factors[k].width, default=None)


def complement_columns(products: CrossedProducts) -> int:
    """Return K, the random effects that stay when the largest ordinary factor is eliminated."""
    gone = eliminated_factor(products)
    return sum(factor.width for k, factor in enumerate(products.factors) if k != gone)


def complement_bytes(products: CrossedProducts) -> int:
    """Return the memory that the dense complement and its inverse need, in bytes."""
    return _COPIES * 8 * complement_columns(products) ** 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Pairs of entries of units of the eliminated factor: where they add to, and by what."""

    place: Places  # row · K + column of the complement, row ≤ column
    cell: Codes  # (unit · q + term) · q + term
    value: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    r"""What one evaluation leaves behind.

    Attributes
    ----------
    factors, covariances : tuple of ndarray of shape (q, q)
        Relative factors and covariances, in the order of the products.
    total : ndarray of shape (P, P)
        :math:`W'V^{-1}W`.
    log_determinant : float
        :math:`\log|V|`.
    gain : ndarray of shape (n_units, q, q)
        :math:`W_g` of the eliminated factor.
    complement : ndarray or sparse array of shape (K, K)
        S.
    to_columns : ndarray of shape (K, P)
        :math:`S_W`.
    lower : ndarray of shape (K, K)
        R.
    """

    factors: tuple[Floats, ...]
    covariances: tuple[Floats, ...]
    total: Floats
    log_determinant: float
    gain: Floats
    complement: Any
    to_columns: Floats
    lower: Floats

    @cached_property
    def inverse(self) -> Floats:
        """Inverse of A, shape (K, K)."""
        if not len(self.lower):
            return self.lower
        found, _ = lapack.dpotri(self.lower, lower=1)
        return _mirrored(found.T)


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedSystem:
    """The parts of cross-products that an evaluation needs, put in place once."""

    products: CrossedProducts
    eliminated: int | None

    @classmethod
    def of(cls, products: CrossedProducts) -> CrossedSystem:
        """Return the system with the largest ordinary factor eliminated."""
        return cls(products=products, eliminated=eliminated_factor(products))

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """Positions of the factors that stay in the complement."""
        return tuple(k for k in range(len(self.products.factors)) if k != self.eliminated)

    @cached_property
    def places(self) -> dict[int, slice]:
        """Per factor that stays, its rows of the complement."""
        ends = np.cumsum([0, *(self.products.factors[k].width for k in self.rest)])
        return {k: slice(int(ends[i]), int(ends[i + 1])) for i, k in enumerate(self.rest)}

    @cached_property
    def size(self) -> int:
        """K: rows of the complement."""
        return sum(self.products.factors[k].width for k in self.rest)

    @cached_property
    def own(self) -> Floats:
        """Blocks :math:`Z_g'Z_g` of the eliminated factor, shape (n_units, q, q)."""
        if self.eliminated is None:
            return np.zeros((0, 1, 1))
        factor = self.products.factors[self.eliminated]
        return factor.products[:, :, list(factor.columns)]

    @cached_property
    def own_columns(self) -> Floats:
        """Z_g'W of the eliminated factor, shape (n_units, q, P)."""
        if self.eliminated is None:
            return np.zeros((0, 1, len(self.products.columns)))
        return self.products.factors[self.eliminated].products

    @cached_property
    def across(self) -> sparse.csr_array:
        """Z_e'Z_r, shape (n_units·q, K)."""
        rows = self.own.shape[0] * self.own.shape[1]
        blocks = [self.pair(self.eliminated, k) for k in self.rest if self.eliminated is not None]
        if not blocks:
            return sparse.csr_array((rows, self.size))
        found = sparse.csr_array(sparse.hstack(blocks, format="csr"))
        found.sort_indices()
        return found

    @cached_property
    def base(self) -> sparse.csr_array:
        """Z_r'Z_r, shape (K, K)."""
        if not self.rest:
            return sparse.csr_array((0, 0))
        blocks = [
            [self._own_block(f) if f == g else self.pair(f, g) for g in self.rest]
            for f in self.rest
        ]
        return sparse.csr_array(sparse.block_array(blocks, format="csr"))

    @cached_property
    def base_columns(self) -> Floats:
        """Z_r'W, shape (K, P)."""
        P = len(self.products.columns)
        blocks = [self.products.factors[k].products.reshape(-1, P) for k in self.rest]
        return np.concatenate([np.zeros((0, P)), *blocks])

    def pair(self, first: int | None, second: int) -> sparse.csr_array:
        """Return Z_f'Z_g for two factors in either order."""
        assert first is not None
        if (first, second) in self.products.pairs:
            return self.products.pairs[first, second]
        return sparse.csr_array(self.products.pairs[second, first].T)

    def _own_block(self, k: int) -> sparse.csr_array:
        factor = self.products.factors[k]
        if factor.own is not None:
            return factor.own
        n, q = factor.n_units, len(factor.columns)
        blocks = factor.products[:, :, list(factor.columns)]
        at = (np.arange(n)[:, None] * q + np.arange(q)).reshape(n, 1, q)
        columns = np.broadcast_to(at, (n, q, q)).ravel()
        return sparse.csr_array(
            (blocks.ravel(), columns, q * np.arange(n * q + 1)), shape=(n * q, n * q)
        )

    @cached_property
    def _kept_pairs(self) -> tuple[Pairs, ...] | None:
        return None if self.n_pairs > _PAIRS_KEPT else tuple(self._made_pairs())

    def pairs(self) -> Iterator[Pairs]:
        """Yield all pairs in blocks of units; kept where they fit, else made anew."""
        yield from self._kept_pairs if self._kept_pairs is not None else self._made_pairs()

    @cached_property
    def n_pairs(self) -> int:
        """Pairs of effects that units of the eliminated factor meet."""
        n_entries = self._entries_per_unit()
        return int((n_entries * (n_entries + 1) // 2).sum())

    def _entries_per_unit(self) -> NDArray[np.int64]:
        return np.diff(self.across.indptr[:: self.own.shape[1]]).astype(np.int64)

    def _made_pairs(self) -> Iterator[Pairs]:
        q = self.own.shape[1]
        starts = self.across.indptr[::q].astype(np.int64)
        n_entries = np.diff(starts)
        block = np.cumsum(n_entries * (n_entries + 1) // 2) // _PAIRS_AT_ONCE
        for first in np.unique(block):
            units = np.flatnonzero(block == first)
            yield self._pairs_of(int(units[0]), int(units[-1]) + 1, starts, q)

    def _pairs_of(self, low: int, high: int, starts: NDArray[np.int64], q: int) -> Pairs:
        across = self.across
        begin, end = int(starts[low]), int(starts[high])
        unit = np.repeat(np.arange(low, high), np.diff(starts[low : high + 1]))
        term = np.repeat(
            np.arange(low * q, high * q) % q, np.diff(across.indptr[low * q : high * q + 1])
        )
        before = np.arange(begin, end) - starts[unit]
        one = np.repeat(np.arange(end - begin), before + 1)
        ends = np.cumsum(before + 1)
        other = np.arange(len(one)) - np.repeat(ends - before - 1, before + 1)
        other += (starts[unit] - begin)[one]
        column, value = across.indices[begin:end].astype(np.int64), across.data[begin:end]
        high_at = np.maximum(column[one], column[other])
        low_at = np.minimum(column[one], column[other])
        cell = (unit[one] * q + term[one]) * q + term[other]
        return Pairs(
            place=low_at * self.size + high_at,
            cell=cell.astype(np.int32),
            # an entry with itself counts half, since both triangles are added in the end
            value=value[one] * value[other] * np.where(one == other, 0.5, 1.0),
        )

    def reduce(self, factors: Sequence[Floats]) -> Reduced:
        """Eliminate all factors at relative factors Λ, one of shape (q, q) per factor."""
        total, log_determinant, gain, S_W = self._eliminated(factors)
        S = self.base.toarray()
        if self.eliminated is not None:
            S -= self._taken(gain)
        A = self.wrapped(S, factors)
        A[np.diag_indices_from(A)] += 1.0
        lower, info = lapack.dpotrf(A.T, lower=1, clean=1, overwrite_a=1) if len(A) else (A, 0)
        if info:
            raise np.linalg.LinAlgError(f"leading minor {info} is not positive")
        half = self.scaled(S_W, factors)
        if len(A):
            log_determinant += 2.0 * float(np.log(np.diag(lower)).sum())
            half = linalg.solve_triangular(lower, half, lower=True, check_finite=False)
        total -= half.T @ half
        return Reduced(
            factors=tuple(factors),
            covariances=tuple(f @ f.T for f in factors),
            total=total,
            log_determinant=log_determinant,
            gain=gain,
            complement=S,
            to_columns=S_W,
            lower=lower,
        )

    def _eliminated(self, factors: Sequence[Floats]) -> tuple[Floats, float, Floats, Floats]:
        """Return W'W, log|M|, the gain and S_W once the largest factor is gone."""
        total, S_W = self.products.total.copy(), self.base_columns.copy()
        if self.eliminated is None:
            return total, 0.0, self.own, S_W
        factor = factors[self.eliminated]
        M = factor.T @ self.own @ factor + np.eye(len(factor))
        gain = factor @ np.linalg.solve(M, np.broadcast_to(factor.T, M.shape))
        gain = 0.5 * (gain + np.swapaxes(gain, 1, 2))
        taken = (gain @ self.own_columns).reshape(-1, len(total))
        total -= self.own_columns.reshape(-1, len(total)).T @ taken
        S_W -= np.asarray(self.across.T @ taken)
        return total, float(np.linalg.slogdet(M)[1].sum()), gain, S_W

    def _taken(self, gain: Floats) -> Floats:
        """Return what the units of the eliminated factor take from the complement, full."""
        K = self.size
        weight = gain.ravel()
        sums = (
            np.bincount(block.place, weights=block.value * weight[block.cell], minlength=K * K)
            for block in self.pairs()
        )
        square: Floats = np.asarray(next(sums), dtype=np.float64).reshape(K, K)
        for further in sums:
            square += further.reshape(K, K)
        square[np.diag_indices(K)] *= 2.0
        return _mirrored(square)

    def solve(self, reduced: Reduced, right: Floats) -> Floats:
        """Return A⁻¹ times a matrix with K rows."""
        if not len(right):
            return right
        return np.asarray(linalg.cho_solve((reduced.lower, True), right, check_finite=False))

    def traces(self, reduced: Reduced, k: int) -> Floats:
        """Return the sum over units of a factor of the diagonal blocks of SΛA⁻¹, shape (q, q)."""
        rows, q = self.places[k], len(reduced.factors[k])
        one = self.scaled(reduced.complement[:, rows], reduced.factors).T
        other = reduced.inverse[rows]
        return np.array([[np.vdot(one[a::q], other[b::q]) for b in range(q)] for a in range(q)])

    def squares(self, reduced: Reduced, k: int) -> Floats:
        """Return the sum over units of the diagonal blocks of S − SΛA⁻¹Λ'S, shape (q, q)."""
        rows, q = self.places[k], len(reduced.factors[k])
        right = self.scaled(reduced.complement[:, rows], reduced.factors)
        X = linalg.solve_triangular(reduced.lower, right, lower=True, check_finite=False)
        own = reduced.complement[rows, rows]
        found = np.empty((q, q))
        for a in range(q):
            for b in range(q):
                found[a, b] = np.trace(own[a::q, b::q]) - np.vdot(X[:, a::q], X[:, b::q])
        return found

    def posterior(self, reduced: Reduced) -> Floats:
        """Return Λ_r A⁻¹ Λ_r', the conditional relative covariance of the effects that stay."""
        return self.wrapped(reduced.inverse, [f.T for f in reduced.factors])

    def own_posterior(self, posterior: Floats, k: int) -> Floats:
        """Return its diagonal blocks for the units of a factor, shape (n_units, q, q)."""
        factor, rows = self.products.factors[k], self.places[k]
        n, q = factor.n_units, len(factor.columns)
        block = posterior[rows, rows].reshape(n, q, n, q)
        return np.asarray(block[np.arange(n), :, np.arange(n), :])

    def back_projected(self, reduced: Reduced, rows: sparse.csr_array) -> Floats:
        """Return R Λ_r A⁻¹ Λ_r' R' for a matrix R of shape (n, K)."""
        posterior = self.posterior(reduced)
        return np.asarray(rows @ np.ascontiguousarray(np.asarray(rows @ posterior).T))

    def scaled(self, matrix: Floats, factors: Sequence[Floats]) -> Floats:
        """Return Λ_r' times a matrix with K rows."""
        found = np.empty(matrix.shape)
        for k, rows in self.places.items():
            found[rows] = _scaled_rows(matrix[rows], factors[k].T)
        return found

    def wrapped(self, matrix: Floats, factors: Sequence[Floats]) -> Floats:
        """Return Λ_r' times a symmetric K × K matrix times Λ_r."""
        if all(len(factors[k]) == 1 for k in self.rest):
            counts = [self.products.factors[k].n_units for k in self.rest]
            scale = np.repeat([float(factors[k][0, 0]) for k in self.rest], counts)
            found: Floats = matrix * scale
            found *= scale[:, None]
            return found
        return self.scaled(self.scaled(matrix, factors).T, factors)

    def unit_sums(self, dense: Floats) -> Floats:
        """Return Z_g'Z_r · dense · Z_r'Z_g per unit of the eliminated factor, (n_units, q, q)."""
        n, q = self.own.shape[:2]
        flat = np.ascontiguousarray(dense).ravel()
        sums = np.zeros(n * q * q)
        for block in self.pairs():
            sums += np.bincount(
                block.cell, weights=block.value * flat[block.place], minlength=n * q * q
            )
        found = sums.reshape(n, q, q)
        return np.asarray(found + np.swapaxes(found, 1, 2))


def _scaled_rows(rows: Floats, left: Floats) -> Floats:
    """Return the rows of each unit multiplied from the left by a q × q matrix."""
    q = len(left)
    if q == 1:
        return np.asarray(left[0, 0] * rows)
    shape = (rows.shape[0] // q, q, rows.shape[1])
    return np.asarray((left @ rows.reshape(shape)).reshape(rows.shape))


def _mirrored(upper: Floats) -> Floats:
    """Fill in the lower triangle of a symmetric matrix, block by block, and return it."""
    n, step = len(upper), 256
    for start in range(0, n, step):
        stop = min(start + step, n)
        corner = np.triu(upper[start:stop, start:stop])
        upper[start:stop, start:stop] = corner + np.triu(corner, 1).T
        for low in range(stop, n, step):
            upper[low : low + step, start:stop] = upper[start:stop, low : low + step].T
    return upper
