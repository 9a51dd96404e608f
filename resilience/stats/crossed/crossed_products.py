r"""Cross-products of designs whose factors cross: everything such a model needs from the data.

With :math:`W = [1 | X | y]` and, for factor :math:`f`, the columns :math:`Z_f` (a unit's random
terms in the rows that belong to it, times the share of the row that does), one pass gives

.. math:: G = W'W, \quad C_f = Z_f'W, \quad Z_f'Z_f, \quad Z_f'Z_g .

The last two are sparse: they hold a block only where two units share rows.  An ordinary factor, of
which a row belongs to exactly one unit, has a block diagonal :math:`Z_f'Z_f` that stands in
:math:`C_f` already; a row of a multiple-membership factor belongs to several units by shares.  All
are sums over rows and add up over chunks, files and machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES

__all__ = ["CrossedFactor", "CrossedProducts", "FactorProducts"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Labels = NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedFactor:
    """One factor of a design, row by row.

    Attributes
    ----------
    name : str
        Name of the factor, for instance ``"primary_id"``.
    units : ndarray of shape (n_rows,) or (n_rows, n_members)
        Labels of the units; where a share is 0 the label is not read.
    terms : sequence of str
        Random terms: ``"Intercept"`` or names of columns.
    shares : ndarray of the shape of ``units``, optional
        Shares of multiple membership, at least 0.  Without them a row belongs to one unit.
    """

    name: str
    units: NDArray[Any]
    terms: Sequence[str]
    shares: Floats | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorProducts:
    """Cross-products of one factor.

    Attributes
    ----------
    name : str
        Name of the factor.
    columns : tuple of int
        Positions in ``CrossedProducts.columns`` of the q random terms; 0 is the intercept.
    labels : ndarray of shape (n_units,), object
        Units, sorted.
    n_rows : ndarray of shape (n_units,), int
        Rows with a positive weight that belong to the unit, by whatever share.
    mass : ndarray of shape (n_units,)
        Sum of the shares of these rows: the rows themselves where membership is not shared.
    products : ndarray of shape (n_units, q, P)
        :math:`Z_f'W`.
    own : sparse array of shape (n_units·q, n_units·q) or None
        :math:`Z_f'Z_f` of shared membership; None where it is block diagonal.
    """

    name: str
    columns: tuple[int, ...]
    labels: Labels
    n_rows: Codes
    mass: Floats
    products: Floats
    own: sparse.csr_array | None = None

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.labels)

    @property
    def width(self) -> int:
        """Random effects: units times terms."""
        return len(self.labels) * len(self.columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossedProducts:
    """Additive cross-products of a design with crossed factors, picklable.

    Attributes
    ----------
    columns : tuple of str
        Names of the P columns; the first is the column of ones, the last the outcome.
    centre, scale : ndarray of shape (P,)
        Column k was entered as ``(w - centre[k]) / scale[k]``.
    total : ndarray of shape (P, P)
        :math:`W'W`.
    factors : tuple of FactorProducts
        In the order given.
    pairs : dict of {(f, g): sparse array}
        For f < g, :math:`Z_f'Z_g` of shape (n_units_f·q_f, n_units_g·q_g).
    n_rows : int
        Rows with a positive weight.
    log_weights : float
        Sum of the logarithms of the positive weights.
    """

    columns: tuple[str, ...]
    centre: Floats
    scale: Floats
    total: Floats
    factors: tuple[FactorProducts, ...]
    pairs: dict[tuple[int, int], sparse.csr_array]
    n_rows: int
    log_weights: float = 0.0

    @classmethod
    def from_arrays(
        cls,
        X: Floats,
        y: Floats,
        *,
        columns: Sequence[str],
        factors: Sequence[CrossedFactor],
        weights: Floats | None = None,
        centre: Floats | None = None,
        scale: Floats | None = None,
    ) -> CrossedProducts:
        """Make one pass over the rows.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            Covariates without the column of ones.
        y : ndarray of shape (n_rows,)
            Outcome.
        columns : sequence of str
            Names of the covariates and, last, of the outcome.
        factors : sequence of CrossedFactor
            Units and random terms.
        weights : ndarray of shape (n_rows,), optional
            Precision weights, at least 0.
        centre, scale : ndarray of shape (n_columns + 1,), optional
            Of the covariates and the outcome; by default means and standard deviations.  Chunks may
            use different ones: `merge` moves them to a common centre.

        Raises
        ------
        SpecificationError
            If the shapes disagree, a weight or share is negative, or a random term is unknown.
        """
        data = np.column_stack([X, y]).astype(float, copy=False)
        n, width = data.shape
        names = (ONES, *columns)
        if len(names) != width + 1:
            raise SpecificationError(
                text("engine.shape", what="columns", seen=len(columns), expected=width)
            )
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
        if w.shape != (n,) or (w < 0).any():
            raise SpecificationError(text("engine.weights", n=int((w < 0).sum())))
        keep = w > 0
        rows = data[keep]
        middle = rows.mean(axis=0) if centre is None else np.asarray(centre, dtype=float)
        spread = _spread(rows, middle) if scale is None else np.asarray(scale, dtype=float)
        root = np.sqrt(w)
        block = np.column_stack([root, (data - middle) / spread * root[:, None]])
        entered = [_entered(factor, block, names, keep) for factor in factors]
        designs = [Z for _, Z in entered]
        pairs = {
            (f, g): _compact(designs[f].T @ designs[g])
            for f in range(len(designs))
            for g in range(f + 1, len(designs))
        }
        return cls(
            columns=names,
            centre=np.concatenate([[0.0], middle]),
            scale=np.concatenate([[1.0], spread]),
            total=block.T @ block,
            factors=tuple(made for made, _ in entered),
            pairs=pairs,
            n_rows=len(rows),
            log_weights=0.0 if weights is None else float(np.log(w[keep]).sum()),
        )

    def recentred(self, centre: Floats, scale: Floats) -> CrossedProducts:
        """Return the same cross-products in other units: an exact linear map, no second pass.

        Parameters
        ----------
        centre, scale : ndarray of shape (P,)
            New centre and scale; those of the column of ones must be 0 and 1.
        """
        change = np.diag(self.scale / scale)
        change[0, 1:] = ((self.centre - centre) / scale)[1:]
        inner = []
        for factor in self.factors:
            at = list(factor.columns)
            if 0 not in at and np.any(change[0, at]):
                raise SpecificationError(text("engine.shift", level=factor.name))
            inner.append(change[np.ix_(at, at)])
        maps = [
            _spread_out(A, factor.n_units) for A, factor in zip(inner, self.factors, strict=True)
        ]
        factors = tuple(
            replace(
                factor,
                products=np.einsum("ab,jac->jbc", A, factor.products) @ change,
                own=None if factor.own is None else _compact(B.T @ factor.own @ B),
            )
            for factor, A, B in zip(self.factors, inner, maps, strict=True)
        )
        return replace(
            self,
            centre=np.asarray(centre, dtype=float),
            scale=np.asarray(scale, dtype=float),
            total=change.T @ self.total @ change,
            factors=factors,
            pairs={
                (f, g): _compact(maps[f].T @ block @ maps[g])
                for (f, g), block in self.pairs.items()
            },
        )

    def merge(self, other: CrossedProducts) -> CrossedProducts:
        """Return the cross-products of both sets of rows together.

        Raises
        ------
        SpecificationError
            If columns, factors or random terms differ.
        """
        if self.columns != other.columns or _signature(self) != _signature(other):
            raise SpecificationError(text("engine.merge"))
        moved = other.recentred(self.centre, self.scale)
        joined = [
            _merge_factor(mine, theirs)
            for mine, theirs in zip(self.factors, moved.factors, strict=True)
        ]
        shapes = [factor.width for factor, _, _ in joined]
        pairs = {
            (f, g): _compact(
                _moved(self.pairs[f, g], joined[f][1], joined[g][1], (shapes[f], shapes[g]))
                + _moved(moved.pairs[f, g], joined[f][2], joined[g][2], (shapes[f], shapes[g]))
            )
            for f, g in self.pairs
        }
        return replace(
            self,
            total=self.total + moved.total,
            factors=tuple(factor for factor, _, _ in joined),
            pairs=pairs,
            n_rows=self.n_rows + moved.n_rows,
            log_weights=self.log_weights + moved.log_weights,
        )


def _spread(rows: Floats, middle: Floats) -> Floats:
    """Return standard deviations about ``middle``, 1 for a constant column."""
    spread = np.sqrt(((rows - middle) ** 2).sum(axis=0) / max(len(rows), 1))
    tiny = spread <= 1e-13 * np.maximum(1.0, np.abs(middle))
    return np.where(tiny | ~np.isfinite(spread), 1.0, spread)


def _entered(
    factor: CrossedFactor, block: Floats, names: tuple[str, ...], keep: NDArray[np.bool_]
) -> tuple[FactorProducts, sparse.csr_array]:
    """Return the products of a factor and its columns Z, shape (n_rows, n_units·q)."""
    unknown = [t for t in factor.terms if t not in names]
    if unknown:
        raise SpecificationError(
            text("engine.columns", unknown=", ".join(unknown), known=", ".join(names))
        )
    n = len(block)
    units = np.asarray(factor.units)
    shares = np.ones(units.shape) if factor.shares is None else np.asarray(factor.shares, float)
    if len(units) != n or shares.shape != units.shape:
        raise SpecificationError(
            text("engine.shape", what=factor.name, seen=shares.shape, expected=units.shape)
        )
    if not (shares >= 0).all():
        raise SpecificationError(text("engine.weights", n=int((~(shares >= 0)).sum())))
    two = units.reshape(n, -1)
    row, place = np.nonzero(shares.reshape(n, -1) > 0)
    share = shares.reshape(n, -1)[row, place]
    labels, code = np.unique(two[row, place], return_inverse=True)
    code = code.reshape(-1).astype(np.int64)
    at = tuple(names.index(t) for t in factor.terms)
    q = len(at)
    Z = sparse.csr_array(
        (
            (share[:, None] * block[:, at][row]).ravel(),
            (code[:, None] * q + np.arange(q)).ravel(),
            q * np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]),
        ),
        shape=(n, len(labels) * q),
    )
    kept = keep[row]
    made = FactorProducts(
        name=factor.name,
        columns=at,
        labels=labels.astype(object),
        n_rows=np.bincount(code[kept], minlength=len(labels)).astype(np.int64),
        mass=np.asarray(
            np.bincount(code[kept], weights=share[kept], minlength=len(labels)), dtype=np.float64
        ),
        products=np.asarray(Z.T @ block).reshape(len(labels), q, block.shape[1]),
        own=None if factor.shares is None else _compact(Z.T @ Z),
    )
    return made, Z


def _compact(matrix: Any) -> sparse.csr_array:
    """Return a matrix row by row without explicit zeros."""
    found = sparse.csr_array(matrix)
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def _spread_out(block: Floats, n_units: int) -> sparse.csr_array:
    """Return the same small map for every unit as one block-diagonal matrix."""
    return sparse.csr_array(sparse.kron(sparse.eye_array(n_units), block, format="csr"))


def _signature(products: CrossedProducts) -> list[tuple[str, tuple[int, ...], bool]]:
    return [(f.name, f.columns, f.own is None) for f in products.factors]


def _merge_factor(
    mine: FactorProducts, theirs: FactorProducts
) -> tuple[FactorProducts, Codes, Codes]:
    """Add two sets of units; the codes lead old random effects to the joint ones."""
    labels = sorted({*mine.labels, *theirs.labels})
    place = {label: k for k, label in enumerate(labels)}
    q = len(mine.columns)
    to = [
        np.array([place[label] for label in part.labels], dtype=np.int64) for part in (mine, theirs)
    ]
    effects = [(units[:, None] * q + np.arange(q)).ravel() for units in to]
    n = len(labels)
    products = np.zeros((n, *mine.products.shape[1:]))
    n_rows, mass = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.float64)
    for units, part in zip(to, (mine, theirs), strict=True):
        products[units] += part.products  # a label stands once in each part
        n_rows[units] += part.n_rows
        mass[units] += part.mass
    own = None
    if mine.own is not None and theirs.own is not None:
        shape = (n * q, n * q)
        own = _compact(
            _moved(mine.own, effects[0], effects[0], shape)
            + _moved(theirs.own, effects[1], effects[1], shape)
        )
    named = np.empty(n, dtype=object)
    named[:] = labels
    joined = FactorProducts(
        name=mine.name,
        columns=mine.columns,
        labels=named,
        n_rows=n_rows,
        mass=mass,
        products=products,
        own=own,
    )
    return joined, effects[0], effects[1]


def _moved(
    block: sparse.csr_array, rows: Codes, columns: Codes, shape: tuple[int, int]
) -> sparse.csr_array:
    """Return a block with its rows and columns in other places of a larger matrix."""
    entries = block.tocoo()
    return sparse.csr_array((entries.data, (rows[entries.row], columns[entries.col])), shape=shape)
