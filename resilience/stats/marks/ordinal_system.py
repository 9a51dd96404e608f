r"""The penalised system of the ordinal model: assembly and solution.

With spherical effects :math:`\tilde u \sim N(0, I)` of a school, fixed part :math:`\varphi`
(thresholds and coefficients) and local variables :math:`\zeta_i` of a cell

.. math::

   F = -\sum_i \pi_i \ell_i(\zeta_i) + \tfrac12 \tilde u'\tilde u, \qquad
   H = \begin{pmatrix} B_1 & & E_1 \\ & \ddots & \vdots \\ E_1' & \cdots & G \end{pmatrix},

:math:`B_j = I + \sum_i U_i'\tilde L_i U_i` the block of a school, :math:`E_j` its coupling with the
fixed part and :math:`S = G - \sum_j E_j'B_j^{-1}E_j`.  A cell's own effect is eliminated first:
:math:`\tilde L = L - \lambda_c^2 L\nu\nu'L / \kappa` with :math:`\kappa = 1 + \lambda_c^2
\nu'L\nu` and :math:`\nu = \partial\zeta/\partial\eta = (-1, \dots, -1[, 0])'`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resilience.stats.marks.ordinal_cells import CellTerms, cell_terms
from resilience.stats.marks.ordinal_data import OrdinalData

__all__ = [
    "Point",
    "Scales",
    "System",
    "assemble",
    "displacement",
    "fixed_sums",
    "loadings",
    "local_terms",
    "log_spread",
    "random_location",
    "school_sums",
    "solve_system",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Standard deviations of the random parts; 0 where a part is not in the model.

    Attributes
    ----------
    school, year, procedure, cell : float
        In SD of pupils within schools.
    spread : float
        Of the schools' log-spread.
    procedure_spread : tuple of float
        Log-spreads of `OrdinalData.spread_procedures`; not standard deviations, but of one place
        with them in the search.
    """

    school: float = 0.0
    year: float = 0.0
    procedure: float = 0.0
    cell: float = 0.0
    spread: float = 0.0
    procedure_spread: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """Where the criterion is looked at.

    Attributes
    ----------
    fixed : ndarray of shape (f,)
        Thresholds, then coefficients.
    effects : ndarray of shape (J, q)
        Spherical effects of the schools.
    cell : ndarray of shape (m,)
        Spherical effects of the cells, zeros without them.
    """

    fixed: Floats
    effects: Floats
    cell: Floats

    @classmethod
    def start(cls, data: OrdinalData, fixed: Floats) -> Point:
        """Return the point with all effects zero."""
        effects = np.zeros((data.n_schools, data.places["end"]))
        return cls(fixed=fixed, effects=effects, cell=np.zeros(data.n_cells))

    def moved(self, step: Point, length: float) -> Point:
        """Return the point a step further."""
        return Point(
            fixed=self.fixed + length * step.fixed,
            effects=self.effects + length * step.effects,
            cell=self.cell + length * step.cell,
        )


def loadings(data: OrdinalData, scales: Scales) -> Floats:
    """Return the loading of each cell on its effects, shape (m, len(linear))."""
    own = {
        "school": np.full(data.n_cells, scales.school),
        "year": np.full(data.n_cells, scales.year),
        "procedure": np.full(data.n_cells, scales.procedure),
        "cohort": data.shared,
    }
    return np.stack([own[name] for name in data.linear], axis=1)


def random_location(data: OrdinalData, scales: Scales, point: Point) -> Floats:
    """Return the random part of each cell's location."""
    own = point.effects[data.school[:, None], data.index]
    return np.asarray((own * loadings(data, scales)).sum(axis=1) + scales.cell * point.cell)


def log_spread(data: OrdinalData, scales: Scales, point: Point) -> Floats | None:
    """Return the log-spread of each cell, None where the model has none."""
    if not data.has_spread:
        return None
    total = np.zeros(data.n_cells)
    if scales.procedure_spread:
        own = np.zeros(int(data.procedure.max()) + 1)
        own[data.spread_procedures] = scales.procedure_spread
        total += own[data.procedure]
    if data.parts.spread:
        total += scales.spread * point.effects[data.school, data.places["spread"]]
    return total


def local_terms(data: OrdinalData, scales: Scales, point: Point) -> tuple[Floats, CellTerms]:
    """Return ζ of each cell and the derivatives of −πℓ there."""
    location = data.X @ point.fixed[data.n_thresholds :] + random_location(data, scales, point)
    zeta = data.zeta(point.fixed, location)
    terms = cell_terms(
        zeta,
        data.weighted_counts,
        log_spread=log_spread(data, scales, point),
        within=data.within,
        mean=data.mean,
        precision=data.weighted_precision,
    )
    return zeta, terms


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """H of the module in blocks.

    Attributes
    ----------
    direction : ndarray of shape (D,)
        ν.
    hessian : ndarray of shape (m, D, D)
        L of each cell.
    pull : ndarray of shape (m, D)
        Lν.
    kappa : ndarray of shape (m,)
        κ, ones without cell effects.
    inverse : ndarray of shape (J, q, q)
        B⁻¹.
    carried : ndarray of shape (J, q, f)
        B⁻¹E.
    schur : ndarray of shape (f, f)
        S.
    log_det_schools : float
        log|H| without log|S|.
    """

    direction: Floats
    hessian: Floats
    pull: Floats
    kappa: Floats
    inverse: Floats
    carried: Floats
    schur: Floats
    log_det_schools: float


def assemble(data: OrdinalData, scales: Scales, terms: CellTerms) -> System:
    """Return the blocks of H from the derivatives of the cells."""
    direction = np.full(terms.gradient.shape[1], -1.0)
    if data.has_spread:
        direction[-1] = 0.0
    pull = terms.hessian @ direction
    kappa = 1.0 + scales.cell**2 * (pull @ direction)
    reduced = terms.hessian
    if scales.cell > 0:
        factor = scales.cell**2 / kappa
        reduced = reduced - factor[:, None, None] * pull[:, :, None] * pull[:, None, :]
    q, f = data.places["end"], data.n_fixed
    inverse = np.empty((data.n_schools, q, q))
    carried = np.empty((data.n_schools, q, f))
    schur = _fixed_block(data, reduced, direction)
    log_det = float(np.log(kappa).sum())
    z = loadings(data, scales)
    for schools, cells in data.blocks:
        B, E = _school_blocks(data, scales, (reduced[cells], direction, z[cells]), (schools, cells))
        log_det += 2.0 * float(np.log(np.diagonal(np.linalg.cholesky(B), axis1=1, axis2=2)).sum())
        inverse[schools] = np.linalg.inv(B)
        carried[schools] = inverse[schools] @ E
        schur -= np.tensordot(E, carried[schools], axes=([0, 1], [0, 1]))
    return System(
        direction=direction,
        hessian=terms.hessian,
        pull=pull,
        kappa=kappa,
        inverse=inverse,
        carried=carried,
        schur=0.5 * (schur + schur.T),
        log_det_schools=log_det,
    )


def _fixed_block(data: OrdinalData, L: Floats, direction: Floats) -> Floats:
    """Return G: thresholds and coefficients."""
    n, f = data.n_thresholds, data.n_fixed
    k = data.thresholds.shape[1]
    at = np.maximum(data.thresholds, 0)  # infinite thresholds carry zeros
    pairs = (at[:, :, None] * n + at[:, None, :]).ravel()
    G = np.zeros((f, f))
    G[:n, :n] = np.bincount(pairs, weights=L[:, :k, :k].ravel(), minlength=n * n).reshape(n, n)
    if f > n:
        pull = L @ direction
        for column in range(f - n):
            G[:n, n + column] = np.bincount(
                at.ravel(),
                weights=(pull[:, :k] * data.X[:, column, None]).ravel(),
                minlength=n,
            )
        G[n:, :n] = G[:n, n:].T
        G[n:, n:] = data.X.T @ ((pull @ direction)[:, None] * data.X)
    return G


def _school_blocks(
    data: OrdinalData,
    scales: Scales,
    local: tuple[Floats, Floats, Floats],
    where: tuple[slice, slice],
) -> tuple[Floats, Floats]:
    """Return B and E of a block of schools."""
    L, direction, z = local
    schools, cells = where
    J, q, n = schools.stop - schools.start, data.places["end"], data.n_thresholds
    own = data.school[cells] - schools.start
    index, X = data.index[cells], data.X[cells]
    k = data.thresholds.shape[1]
    at = np.maximum(data.thresholds[cells], 0)
    pull = L @ direction
    curve = pull @ direction
    B = np.zeros(J * q * q)
    E = np.zeros(J * q * data.n_fixed)
    f = data.n_fixed

    def add(target: Floats, places: NDArray[np.int64], values: Floats) -> None:
        target += np.bincount(places.ravel(), weights=values.ravel(), minlength=len(target))

    base = own * q
    for a in range(index.shape[1]):
        rows = base + index[:, a]
        add(
            B,
            rows[:, None] * q + index,
            z[:, [a]] * z * curve[:, None],
        )
        add(E, rows[:, None] * f + at, z[:, [a]] * pull[:, :k])
        if f > n:
            add(E, rows[:, None] * f + np.arange(n, f), (z[:, a] * curve)[:, None] * X)
    if data.parts.spread:
        s, w = data.places["spread"], scales.spread
        row = base + s
        add(B, row * q + s, w * w * L[:, k, k])
        cross = w * pull[:, [k]] * z
        add(B, row[:, None] * q + index, cross)
        add(B, (base[:, None] + index) * q + s, cross)
        add(E, row[:, None] * f + at, w * L[:, k, :k])
        if f > n:
            add(E, row[:, None] * f + np.arange(n, f), (w * pull[:, k])[:, None] * X)
    B = B.reshape(J, q, q) + np.eye(q)
    return B, E.reshape(J, q, f)


def school_sums(data: OrdinalData, scales: Scales, local: Floats) -> Floats:
    """Return U'x per school, shape (J, q), of vectors x of the cells' local variables."""
    k = data.thresholds.shape[1]
    along = -local[:, :k].sum(axis=1)
    z = loadings(data, scales)
    q = data.places["end"]
    places = data.school[:, None] * q + data.index
    total = np.bincount(
        places.ravel(), weights=(z * along[:, None]).ravel(), minlength=data.n_schools * q
    )
    if data.parts.spread:
        at = data.school * q + data.places["spread"]
        total += np.bincount(at, weights=scales.spread * local[:, k], minlength=len(total))
    return np.asarray(total.reshape(data.n_schools, q))


def fixed_sums(data: OrdinalData, local: Floats) -> Floats:
    """Return the same for the fixed part, shape (f,)."""
    k = data.thresholds.shape[1]
    at = np.maximum(data.thresholds, 0)
    values = np.where(data.thresholds >= 0, local[:, :k], 0.0)
    cuts = np.bincount(at.ravel(), weights=values.ravel(), minlength=data.n_thresholds)
    return np.concatenate([cuts, -data.X.T @ local[:, :k].sum(axis=1)])


def displacement(data: OrdinalData, scales: Scales, step: Point) -> Floats:
    """Return the move of the cells' local variables, cell effects left out, shape (m, D)."""
    k = data.thresholds.shape[1]
    shift = data.X @ step.fixed[data.n_thresholds :]
    shift = shift + (step.effects[data.school[:, None], data.index] * loadings(data, scales)).sum(
        axis=1
    )
    cuts = np.where(data.thresholds >= 0, step.fixed[np.maximum(data.thresholds, 0)], 0.0)
    moved = cuts - shift[:, None]
    if not data.has_spread:
        return np.asarray(moved)
    s = np.zeros(data.n_cells)
    if data.parts.spread:
        s = scales.spread * step.effects[data.school, data.places["spread"]]
    return np.concatenate([moved[:, :k], s[:, None]], axis=1)


def solve_system(
    data: OrdinalData,
    scales: Scales,
    system: System,
    local: Floats,
    own: tuple[Floats, Floats],
    *,
    fixed: bool,
) -> Point:
    """Solve H x = A'local + own, cell effects first and last.

    Parameters
    ----------
    data, scales, system
        The problem.
    local : ndarray of shape (m, D)
        Right-hand side in the cells' local variables.
    own : (effects, cell)
        What is added to the right-hand side of the schools' and the cells' effects.
    fixed : bool
        False holds the fixed part where it is.
    """
    load = scales.cell
    rhs_cell = load * (local @ system.direction) + own[1]
    reduced = local - system.pull * (load * rhs_cell / system.kappa)[:, None]
    rhs = school_sums(data, scales, reduced) + own[0]
    effects = np.einsum("jab,jb->ja", system.inverse, rhs)
    beta = np.zeros(data.n_fixed)
    if fixed:
        right = fixed_sums(data, reduced) - np.einsum("jaf,ja->f", system.carried, rhs)
        beta = np.linalg.solve(system.schur, right)
        effects = effects - system.carried @ beta
    step = Point(fixed=beta, effects=effects, cell=np.zeros(data.n_cells))
    if load > 0:
        moved = displacement(data, scales, step)
        cell = (rhs_cell - load * (system.pull * moved).sum(axis=1)) / system.kappa
        step = replace(step, cell=cell)
    return step
