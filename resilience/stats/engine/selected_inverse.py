r"""The entries of the inverse of a sparse matrix that stand on its own pattern.

For a symmetric positive definite :math:`A = LDL'` in an order with little fill, the inverse
:math:`Z = A^{-1}` satisfies :math:`Z = D^{-1}L^{-1} + (I-L')Z`, so that from the last column on

.. math:: Z_{Ij} = -Z_{II}L_{Ij}, \qquad Z_{jj} = 1/D_j - L_{Ij}'Z_{Ij},

I the rows of column j below the diagonal.  Only entries of the pattern of L are ever needed, and
columns at one depth of the elimination tree do not wait for each other: they go together.
Factor and order come from SuperLU in its symmetric mode, which SciPy brings along.
Source: TakahashiEtAl1973; the tree: DavisEtAl2016, sections 4 and 6.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

__all__ = ["SelectedInverse", "SymmetricFactor", "selected_inverse"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SymmetricFactor:
    """A = LDL' of a sparse symmetric positive definite matrix, rows and columns reordered alike.

    Attributes
    ----------
    solver : SuperLU
        The factor; ``solver.solve`` solves with A.
    order : ndarray of shape (K,), int
        Row i of A is row ``order[i]`` of LDL'.
    pivots : ndarray of shape (K,)
        D.
    """

    solver: sparse_linalg.SuperLU
    order: Codes
    pivots: Floats

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> SymmetricFactor:
        """Factor a symmetric matrix with sorted indices.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the matrix is not positive definite.
        """
        solver = sparse_linalg.splu(
            sparse.csc_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        pivots = np.asarray(solver.U.diagonal(), dtype=float)
        if not np.array_equal(solver.perm_r, solver.perm_c) or not (pivots > 0).all():
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        return cls(solver=solver, order=solver.perm_c.astype(np.int64), pivots=pivots)

    @property
    def log_determinant(self) -> float:
        """Logarithm of the determinant of A."""
        return float(np.log(self.pivots).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class SelectedInverse:
    """The plan of the entries, made once for a pattern and an order.

    Attributes
    ----------
    size : int
        K.
    keys : ndarray of shape (n_entries,)
        column · K + row of the entries of L, sorted; the diagonal comes first in its column.
    columns : ndarray of shape (n_entries,)
        Columns of the entries.
    levels : tuple of (columns, entries, starts, at_inverse, at_factor)
        Per depth of the tree: its columns, their entries below the diagonal, and for each of these
        the products of entries of Z and of L that it sums.
    fetched : ndarray of shape (nnz of A,)
        Entry of every place of A's pattern.
    """

    size: int
    keys: Codes
    columns: Codes
    levels: tuple[tuple[Codes, Codes, Codes, Codes, Codes], ...]
    fetched: Codes

    def values(self, factor: SymmetricFactor) -> Floats:
        """Return the inverse at the places of A's pattern, shape (nnz,)."""
        lower = sparse.csc_array(factor.solver.L).tocoo()
        L = np.zeros(len(self.keys))
        # what SuperLU stores beyond the pattern are zeros of its supernodes
        place = lower.col * np.int64(self.size) + lower.row
        at = np.minimum(np.searchsorted(self.keys, place), len(self.keys) - 1)
        inside = self.keys[at] == place
        if lower.data[~inside].any():
            raise np.linalg.LinAlgError("the factor leaves its pattern")
        L[at[inside]] = lower.data[inside]
        Z = np.zeros(len(self.keys))
        diagonal = np.searchsorted(self.keys, np.arange(self.size) * np.int64(self.size + 1))
        for own, entries, starts, at_inverse, at_factor in self.levels:
            Z[diagonal[own]] = 1.0 / factor.pivots[own]
            if not len(entries):
                continue
            Z[entries] = -np.add.reduceat(Z[at_inverse] * L[at_factor], starts)
            taken = np.bincount(
                np.searchsorted(own, self.columns[entries]),
                weights=Z[entries] * L[entries],
                minlength=len(own),
            )
            Z[diagonal[own]] -= taken
        return np.asarray(Z[self.fetched])


def selected_inverse(
    matrix: sparse.csr_array, order: Codes, *, limit: int
) -> SelectedInverse | None:
    """Return the plan for a pattern, or None where it would take more than ``limit`` products.

    Parameters
    ----------
    matrix : sparse array of shape (K, K)
        Symmetric, with sorted indices and a full diagonal; its values are not read.
    order : ndarray of shape (K,)
        Order of the factor.
    limit : int
        Most products of two entries.
    """
    K = matrix.shape[0]
    entries = matrix.tocoo()
    one, other = order[entries.row], order[entries.col]
    rows, columns = np.maximum(one, other), np.minimum(one, other)
    below = _filled(rows, columns, K, limit)
    if below is None:
        return None
    sizes = np.array([len(own) for own in below])
    keys = np.concatenate(
        [np.append(np.int64(j), own) + np.int64(j) * K for j, own in enumerate(below)]
    )
    columns_of = np.repeat(np.arange(K, dtype=np.int64), sizes + 1)
    parent = np.array([own[0] if len(own) else -1 for own in below])
    depth = np.zeros(K, dtype=np.int64)
    for j in range(K - 1, -1, -1):
        if parent[j] >= 0:
            depth[j] = depth[parent[j]] + 1
    first = np.concatenate([[0], np.cumsum(sizes + 1)])[:-1]
    by_depth = np.argsort(depth, kind="stable")
    cuts = np.searchsorted(depth[by_depth], np.arange(depth.max(initial=0) + 2))
    levels = tuple(
        _level(by_depth[low:high], sizes, first, keys, K) for low, high in itertools.pairwise(cuts)
    )
    return SelectedInverse(
        size=K,
        keys=keys,
        columns=columns_of,
        levels=levels,
        fetched=np.searchsorted(keys, columns * np.int64(K) + rows),
    )


def _filled(rows: Codes, columns: Codes, K: int, limit: int) -> list[Codes] | None:
    """Return the rows below the diagonal of every column of L: those of A and of the children."""
    strict = rows > columns
    order = np.lexsort((rows[strict], columns[strict]))
    sorted_rows = rows[strict][order]
    cuts = np.searchsorted(columns[strict][order], np.arange(K + 1))
    children: list[list[Codes]] = [[] for _ in range(K)]
    below: list[Codes] = []
    spent = 0
    for j in range(K):
        own = np.unique(np.concatenate([sorted_rows[cuts[j] : cuts[j + 1]], *children[j]]))
        own = own[own > j]
        children[j] = []
        spent += len(own) ** 2
        if spent > limit:
            return None
        if len(own):
            children[own[0]].append(own)
        below.append(own)
    return below


def _level(
    own: Codes, sizes: Codes, first: Codes, keys: Codes, K: int
) -> tuple[Codes, Codes, Codes, Codes, Codes]:
    """Return the plan of the columns of one depth."""
    own = np.sort(own)
    m = sizes[own]
    column = np.repeat(np.arange(len(own)), m)  # of every entry
    before = np.concatenate([[0], np.cumsum(m)])
    entries = first[own][column] + 1 + np.arange(len(column)) - before[column]
    width = m[column]  # products per entry
    starts = np.concatenate([[0], np.cumsum(width)])
    mine = np.repeat(np.arange(len(entries)), width)
    partner = first[own][column[mine]] + 1 + np.arange(len(mine)) - starts[mine]
    row, other = keys[entries[mine]] % K, keys[partner] % K
    place = np.minimum(row, other) * np.int64(K) + np.maximum(row, other)
    return own, entries, starts[:-1], np.searchsorted(keys, place), partner
