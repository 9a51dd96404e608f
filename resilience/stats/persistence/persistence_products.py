"""Cross-products of pupils followed over years whose earlier teachers keep acting.

Pupils with the same observed years form a pattern.  All that a likelihood with an unstructured
covariance over years needs is a sum over pupils of a pattern, for a pair of years: of the fixed
columns with one another, of the units' shares with the columns, and of the shares with one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import qr, solve_triangular
from scipy.sparse.csgraph import connected_components

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["PersistenceProducts", "Panel", "persistence_products"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RANK = 1e-9  # share of a column's own length left after the others: below it is collinear


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Pupils × years as arrays; positions count from zero.

    Attributes
    ----------
    pupil, year : ndarray of int of shape (n_rows,)
        Pupil and year of every observed result.
    columns : ndarray of shape (n_rows, n_terms)
        Fixed part.
    outcome : ndarray of shape (n_rows,)
        Results.
    link_pupil, link_unit : ndarray of int of shape (n_links,)
        Which pupil a unit taught; a unit is one teacher in one year.
    share : ndarray of shape (n_links,)
        Weight of the unit for the pupil.
    unit_year : ndarray of int of shape (n_units,)
        Year in which the unit taught.
    n_years : int
        Years.
    terms : tuple of str
        Names of the fixed columns, for messages.
    """

    pupil: Ints
    year: Ints
    columns: Floats
    outcome: Floats
    link_pupil: Ints
    link_unit: Ints
    share: Floats
    unit_year: Ints
    n_years: int
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PersistenceProducts:
    """Sums over pupils by pattern of observed years, in standardised columns.

    With ``W = [X | y]`` (X orthonormal up to the number of rows, y the residual of least squares
    in units of its standard deviation): an evaluation of the likelihood touches the arrays below
    and no pupil.

    Attributes
    ----------
    observed : ndarray of bool of shape (n_patterns, n_years)
        Years with a result.
    n_pupils : ndarray of int of shape (n_patterns,)
        Pupils of each pattern.
    gram : ndarray of shape (n_patterns, n_years, n_years, q, q)
        Sums of ``W_t' W_u``, q = number of terms + 1.
    unit_records : ndarray of int of shape (n_records, 2)
        Pattern and unit of each row of ``unit_columns``.
    unit_columns : ndarray of shape (n_records, n_years, q)
        Sums of share × ``W_t``.
    pair_records : ndarray of int of shape (n_pairs, 3)
        Pattern, unit and unit of each of ``pair_shares``, both orders.
    pair_shares : ndarray of shape (n_pairs,)
        Sums of share × share.
    unit_year : ndarray of int of shape (n_units,)
        Year of each unit.
    components : tuple of ndarray of int
        Units that share pupils, directly or by others: their effects are eliminated block by block.
    basis : ndarray of shape (n_terms, n_terms)
        ``X = X_standard @ basis``, upper triangular.
    origin : ndarray of shape (n_terms,)
        Coefficients of least squares, in the scale of the data.
    scale : float
        Standard deviation of the residuals of least squares.
    n_rows : int
        Observed results.
    """

    observed: NDArray[np.bool_]
    n_pupils: Ints
    gram: Floats
    unit_records: Ints
    unit_columns: Floats
    pair_records: Ints
    pair_shares: Floats
    unit_year: Ints
    components: tuple[Ints, ...]
    basis: Floats
    origin: Floats
    scale: float
    n_rows: int

    @property
    def n_years(self) -> int:
        """Years."""
        return int(self.observed.shape[1])

    @property
    def n_terms(self) -> int:
        """Fixed terms."""
        return int(self.gram.shape[-1]) - 1

    @property
    def n_units(self) -> int:
        """Teachers, each counted once per year taught."""
        return len(self.unit_year)


def persistence_products(panel: Panel) -> PersistenceProducts:
    """Sum what the likelihood needs over pupils of each pattern.

    Parameters
    ----------
    panel : Panel
        Pupils × years with links to units.

    Returns
    -------
    PersistenceProducts

    Raises
    ------
    DataError
        If fixed columns are collinear (they are named) or explain the outcome without rest.
    """
    standard, rest, basis, origin, scale = _standardised(panel)
    pupils, row_pupil = np.unique(panel.pupil, return_inverse=True)
    n, n_years, q = len(pupils), panel.n_years, standard.shape[1] + 1
    seen = np.zeros((n, n_years), dtype=bool)
    seen[row_pupil, panel.year] = True
    wide = np.zeros((n, n_years, q))
    wide[row_pupil, panel.year, :-1] = standard
    wide[row_pupil, panel.year, -1] = rest
    place = np.searchsorted(pupils, panel.link_pupil)
    known = (place < n) & (pupils[np.minimum(place, n - 1)] == panel.link_pupil)
    links = sparse.csr_matrix(
        (panel.share[known], (place[known], panel.link_unit[known])),
        shape=(n, len(panel.unit_year)),
    )
    observed, pattern = np.unique(seen, axis=0, return_inverse=True)
    pattern = pattern.ravel()
    gram = np.empty((len(observed), n_years, n_years, q, q))
    units, columns, pairs, shares = [], [], [], []
    for code in range(len(observed)):
        own = np.flatnonzero(pattern == code)
        block = wide[own].reshape(len(own), n_years * q)
        gram[code] = (block.T @ block).reshape(n_years, q, n_years, q).transpose(0, 2, 1, 3)
        taught = links[own]
        present = np.unique(taught.indices)
        units.append(np.column_stack([np.full(len(present), code), present]))
        columns.append((taught[:, present].T @ block).reshape(len(present), n_years, q))
        both = (taught.T @ taught).tocoo()
        pairs.append(np.column_stack([np.full(both.nnz, code), both.row, both.col]))
        shares.append(both.data)
    pair_records = np.concatenate(pairs).astype(np.int64)
    return PersistenceProducts(
        observed=observed,
        n_pupils=np.bincount(pattern, minlength=len(observed)).astype(np.int64),
        gram=gram,
        unit_records=np.concatenate(units).astype(np.int64),
        unit_columns=np.concatenate(columns),
        pair_records=pair_records,
        pair_shares=np.concatenate(shares),
        unit_year=panel.unit_year,
        components=_components(pair_records, len(panel.unit_year)),
        basis=basis,
        origin=origin,
        scale=scale,
        n_rows=len(panel.outcome),
    )


def _standardised(panel: Panel) -> tuple[Floats, Floats, Floats, Floats, float]:
    """Return orthogonal columns, standardised rest of the outcome, basis, origin and scale."""
    n = len(panel.outcome)
    lengths = np.sqrt((panel.columns**2).sum(axis=0))
    if (lengths == 0).any():
        _refuse_collinear(panel, int(np.argmin(lengths)))
    turned, upper = qr(panel.columns / lengths, mode="economic")
    own = np.abs(np.diag(upper))
    if upper.shape[0] < upper.shape[1] or own.min() < _RANK:
        _refuse_collinear(panel, int(np.argmin(own)))
    basis = upper * lengths / np.sqrt(n)
    standard = turned * np.sqrt(n)
    fitted = standard.T @ panel.outcome / n
    rest = panel.outcome - standard @ fitted
    free = max(n - panel.columns.shape[1], 1)
    scale = float(np.sqrt(rest @ rest / free))
    if not scale > 1e-10 * max(float(np.abs(panel.outcome).max()), 1e-300):
        raise DataError(text("persistence.no_rest"))
    return standard, rest / scale, basis, solve_triangular(basis, fitted), scale


def _refuse_collinear(panel: Panel, position: int) -> None:
    name = panel.terms[position] if panel.terms else str(position)
    raise DataError(text("persistence.collinear", term=repr(name)))


def _components(pairs: Ints, n_units: int) -> tuple[Ints, ...]:
    """Return the units of each set that no pupil links with another set."""
    graph = sparse.coo_matrix(
        (np.ones(len(pairs)), (pairs[:, 1], pairs[:, 2])), shape=(n_units, n_units)
    )
    count, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    ends = np.cumsum(np.bincount(label, minlength=count))
    return tuple(np.split(order.astype(np.int64), ends[:-1]))
