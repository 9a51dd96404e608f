r"""The system of crossed factors with a sparse complement: many units that meet few others.

Pupils of a region go from a primary school to one of the secondary schools around it, so that of
the K² places of the complement few are ever filled, and its Cholesky factor in a good order stays
as thin.  The quantities are those of ``crossed_system.py``; of the inverse only the places of the
pattern are computed (``selected_inverse.py``), which is all that the exact gradient, the modes and
the conditional variances ask for.  Where a relative factor is singular the gradient is taken a
hundred-thousandth inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossed.crossed_system import (
    CrossedSystem,
    Pairs,
    Reduced,
    complement_bytes,
    complement_columns,
    eliminated_factor,
)
from resilience.stats.engine.selected_inverse import (
    SelectedInverse,
    SymmetricFactor,
    selected_inverse,
)

__all__ = [
    "MEMORY_LIMIT",
    "SparseReduced",
    "SparseSystem",
    "check_memory",
    "chosen_system",
    "sparse_system",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MEMORY_LIMIT = 8 * 2**30  # bytes
SPARSE_FROM = 1000  # columns: below, the dense complement is quick whatever its pattern
_PRODUCTS_UP_TO = 20_000_000  # of the selected inverse: beyond, the factor fills up
_FLOPS_PER_PRODUCT = 200  # of a dense Cholesky factor, in the time of one such product
_NEIGHBOURS_UP_TO = 150  # mean entries of a row: beyond, the order alone takes too long
_INSIDE = 1e-5
_AT_ONCE = 256  # columns of the joint covariance


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseReduced(Reduced):
    """What one evaluation leaves behind; ``complement`` is sparse and ``lower`` empty.

    Attributes
    ----------
    factor : SymmetricFactor
        A = LDL'.
    plan : SelectedInverse
        Entries of the inverse that are needed.
    """

    factor: SymmetricFactor
    plan: SelectedInverse

    @cached_property
    def selected(self) -> Floats:
        """Inverse of A at the places of the pattern."""
        return self.plan.values(self.factor)


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseSystem(CrossedSystem):
    """The parts of cross-products that an evaluation needs, put in place once."""

    @cached_property
    def pattern(self) -> sparse.csr_array:
        """Places of the complement that are ever filled, by whole blocks of two units."""
        sizes = [len(self.products.factors[k].columns) for k in self.rest]
        counts = [self.products.factors[k].n_units for k in self.rest]
        q = np.repeat(sizes, counts)
        start = np.concatenate([[0], np.cumsum(q)])[:-1]
        unit = np.repeat(np.arange(len(q)), q)
        base = self.base.tocoo()
        seen = [unit[base.row] * len(q) + unit[base.col], np.arange(len(q)) * (len(q) + 1)]
        seen += [
            np.unique(unit[block.place // self.size] * len(q) + unit[block.place % self.size])
            for block in self.pairs()
        ]
        pairs = np.unique(np.concatenate(seen))
        one, other = pairs // len(q), pairs % len(q)
        one, other = np.concatenate([one, other]), np.concatenate([other, one])
        cells = q[one] * q[other]
        block = np.repeat(np.arange(len(one)), cells)
        within = np.arange(len(block)) - np.repeat(np.cumsum(cells) - cells, cells)
        rows = start[one][block] + within // q[other][block]
        columns = start[other][block] + within % q[other][block]
        found = sparse.csr_array(
            (np.ones(len(rows)), (rows, columns)), shape=(self.size, self.size)
        )
        found.sum_duplicates()
        found.sort_indices()
        return found

    @cached_property
    def _keys(self) -> Codes:
        entries = self.pattern.tocoo()
        return entries.row.astype(np.int64) * self.size + entries.col

    @cached_property
    def _turned(self) -> Codes:
        """Place of the mirror image of every place."""
        entries = self.pattern.tocoo()
        return np.searchsorted(self._keys, entries.col.astype(np.int64) * self.size + entries.row)

    @cached_property
    def _base(self) -> Floats:
        entries = self.base.tocoo()
        found = np.zeros(self.pattern.nnz)
        at = np.searchsorted(self._keys, entries.row.astype(np.int64) * self.size + entries.col)
        np.add.at(found, at, entries.data)
        return found

    @cached_property
    def _kept_places(self) -> tuple[Codes, ...] | None:
        kept = self._kept_pairs
        return None if kept is None else tuple(self._placed(block) for block in kept)

    def _placed(self, block: Pairs) -> Codes:
        return np.searchsorted(self._keys, block.place)

    def _placed_pairs(self) -> Any:
        if self._kept_pairs is not None and self._kept_places is not None:
            return zip(self._kept_pairs, self._kept_places, strict=True)
        return ((block, self._placed(block)) for block in self._made_pairs())

    def at_pattern(self, data: Floats) -> sparse.csr_array:
        """Return a matrix with the pattern of the complement."""
        return sparse.csr_array(
            (data, self.pattern.indices, self.pattern.indptr), shape=self.pattern.shape
        )

    def _block_diagonal(self, blocks: Sequence[Floats]) -> sparse.csr_array:
        """Return a q × q block per unit for all factors that stay."""
        data, columns, counts = [], [], []
        for k in self.rest:
            n, q = self.products.factors[k].n_units, len(blocks[k])
            begin = self.places[k].start
            own = begin + np.arange(n * q).reshape(n, 1, q)
            data.append(np.broadcast_to(blocks[k], (n, q, q)).ravel())
            columns.append(np.broadcast_to(own, (n, q, q)).ravel())
            counts.append(np.full(n * q, q))
        pointers = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        return sparse.csr_array(
            (np.concatenate(data), np.concatenate(columns), pointers), shape=(self.size, self.size)
        )

    def _wrapped(self, data: Floats, left: Sequence[Floats], right: Sequence[Floats]) -> Floats:
        """Return left · matrix · right at the places of the pattern."""
        product = self._block_diagonal(left) @ self.at_pattern(data) @ self._block_diagonal(right)
        entries = sparse.coo_array(product)  # without those that come out as zero
        found = np.zeros(len(data))
        keys = entries.row.astype(np.int64) * self.size + entries.col
        found[np.searchsorted(self._keys, keys)] = entries.data
        return found

    def reduce(self, factors: Sequence[Floats]) -> SparseReduced:
        """Eliminate all factors at relative factors Λ, one of shape (q, q) per factor."""
        total, log_determinant, gain, S_W = self._eliminated(factors)
        data = self._base.copy()
        if self.eliminated is not None:
            taken, weight = np.zeros(len(data)), gain.ravel()
            for block, at in self._placed_pairs():
                taken += np.bincount(
                    at, weights=block.value * weight[block.cell], minlength=len(data)
                )
            data -= taken + taken[self._turned]
        A = self.at_pattern(self._wrapped(data, [f.T for f in factors], factors))
        A.data[np.searchsorted(self._keys, np.arange(self.size) * (self.size + 1))] += 1.0
        factor = SymmetricFactor.of(A)
        half = self.scaled(S_W, factors)
        total -= half.T @ factor.solver.solve(half)
        return SparseReduced(
            factors=tuple(factors),
            covariances=tuple(f @ f.T for f in factors),
            total=total,
            log_determinant=log_determinant + factor.log_determinant,
            gain=gain,
            complement=self.at_pattern(data),
            to_columns=S_W,
            lower=np.zeros((0, 0)),
            factor=factor,
            plan=self.plan_of(factor),
        )

    def plan_of(self, factor: SymmetricFactor) -> SelectedInverse:
        """Return the plan of the selected inverse; SuperLU orders one pattern always alike."""
        plans = self._plans
        key = factor.order.tobytes()
        if key not in plans:
            dense = max(self.size**3 // _FLOPS_PER_PRODUCT, 1_000_000)
            limit = min(_PRODUCTS_UP_TO, dense)
            plan = selected_inverse(self.pattern, factor.order, limit=limit)
            if plan is None:
                raise np.linalg.LinAlgError("the factor fills up")
            plans[key] = plan
        return plans[key]

    @cached_property
    def _plans(self) -> dict[bytes, SelectedInverse]:
        return {}

    def solve(self, reduced: Reduced, right: Floats) -> Floats:
        """Return A⁻¹ times a matrix with K rows."""
        assert isinstance(reduced, SparseReduced)
        return np.asarray(reduced.factor.solver.solve(right))

    def traces(self, reduced: Reduced, k: int) -> Floats:
        """Return the sum over units of a factor of the diagonal blocks of SΛA⁻¹, shape (q, q)."""
        assert isinstance(reduced, SparseReduced)
        eye = [np.eye(len(f)) for f in reduced.factors]
        one = self._wrapped(reduced.complement.data, eye, reduced.factors)
        other = reduced.selected
        pointers, q = self.pattern.indptr, len(reduced.factors[k])
        rows, found = self.places[k], np.empty((q, q))
        # the rows of a unit's terms have one pattern, so that their entries stand side by side
        row = np.repeat(np.arange(self.size), np.diff(pointers))
        inside = (row >= rows.start) & (row < rows.stop)
        term = (row[inside] - rows.start) % q
        for a in range(q):
            for b in range(q):
                found[a, b] = one[inside][term == a] @ other[inside][term == b]
        return found

    def squares(self, reduced: Reduced, k: int) -> Floats:
        """Return the sum over units of the diagonal blocks of S − SΛA⁻¹Λ'S, a little inside."""
        U, values, V = np.linalg.svd(reduced.factors[k])
        inside = np.maximum(values, _INSIDE * max(1.0, float(values[0])))
        factors = list(reduced.factors)
        factors[k] = (U * inside) @ V
        near = self.reduce(factors)
        return np.asarray(self.traces(near, k) @ np.linalg.inv(factors[k]))

    def posterior(self, reduced: Reduced) -> Floats:
        """Return Λ_r A⁻¹ Λ_r' at the places of the pattern, shape (nnz,)."""
        assert isinstance(reduced, SparseReduced)
        return self._wrapped(reduced.selected, reduced.factors, [f.T for f in reduced.factors])

    def own_posterior(self, posterior: Floats, k: int) -> Floats:
        """Return its diagonal blocks for the units of a factor, shape (n_units, q, q)."""
        factor, begin = self.products.factors[k], self.places[k].start
        n, q = factor.n_units, len(factor.columns)
        effects = begin + np.arange(n * q).reshape(n, q)
        keys = effects[:, :, None] * self.size + effects[:, None, :]
        return np.asarray(posterior[np.searchsorted(self._keys, keys)])

    def unit_sums(self, dense: Floats) -> Floats:
        """Return Z_g'Z_r · matrix · Z_r'Z_g per unit, of a matrix at the pattern."""
        n, q = self.own.shape[:2]
        sums = np.zeros(n * q * q)
        for block, at in self._placed_pairs():
            sums += np.bincount(block.cell, weights=block.value * dense[at], minlength=len(sums))
        found = sums.reshape(n, q, q)
        return np.asarray(found + np.swapaxes(found, 1, 2))

    def back_projected(self, reduced: Reduced, rows: sparse.csr_array) -> Floats:
        """Return R Λ_r A⁻¹ Λ_r' R' for a matrix R of shape (n, K), some columns at a time."""
        upper = self._block_diagonal([f.T for f in reduced.factors])
        half = sparse.csr_array(upper @ rows.T)
        found = np.empty((rows.shape[0], rows.shape[0]))
        for start in range(0, len(found), _AT_ONCE):
            columns = half[:, start : start + _AT_ONCE].toarray()
            found[:, start : start + _AT_ONCE] = half.T @ self.solve(reduced, columns)
        return found


def chosen_system(products: CrossedProducts, memory_limit: int = MEMORY_LIMIT) -> CrossedSystem:
    """Return the system: dense up to 1,000 columns, else sparse where its factor stays thin.

    Parameters
    ----------
    products : CrossedProducts
        The cross-products.
    memory_limit : int
        Bytes that a dense complement may take.

    Raises
    ------
    SpecificationError
        If the complement fills up and would exceed the memory, with the bytes and the factor.
    """
    if complement_columns(products) > SPARSE_FROM:
        found = sparse_system(products)
        if found is not None:
            return found
    check_memory(products, memory_limit)
    return CrossedSystem.of(products)


def check_memory(products: CrossedProducts, limit: int = MEMORY_LIMIT) -> None:
    """Raise if a dense complement would exceed ``limit`` bytes.

    Raises
    ------
    SpecificationError
        With the bytes needed and the factor that makes them.
    """
    needed = complement_bytes(products)
    if needed <= limit:
        return
    gone = eliminated_factor(products)
    rest = [factor for k, factor in enumerate(products.factors) if k != gone]
    culprit = max(rest, key=lambda factor: factor.width)
    raise SpecificationError(
        text(
            "crossed.memory",
            bytes=f"{needed:,}".replace(",", " "),
            gigabytes=f"{needed / 1e9:.1f}",
            limit=f"{limit / 1e9:.1f}",
            columns=sum(factor.width for factor in rest),
            factor=repr(culprit.name),
            units=culprit.n_units,
            terms=len(culprit.columns),
        )
    )


def sparse_system(products: CrossedProducts) -> SparseSystem | None:
    """Return the sparse system, or None where its factor would fill up."""
    system = SparseSystem(products=products, eliminated=eliminated_factor(products))
    # pairs fall on one place several times over, but hardly five times on average
    if system.n_pairs > 5 * _NEIGHBOURS_UP_TO * system.size:
        return None
    if system.pattern.nnz > _NEIGHBOURS_UP_TO * system.size:
        return None
    try:
        system.reduce([0.3 * np.eye(len(f.columns)) for f in products.factors])
    except np.linalg.LinAlgError:
        return None
    return system
