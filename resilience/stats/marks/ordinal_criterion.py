r"""Multilevel heteroscedastic ordered probit on counts of marks: Laplace with exact gradient.

.. math::

   P(\text{mark} \le k) = \Phi\big((c_{k,pt} - \eta) e^{-s_j}\big), \qquad
   \eta = x'\beta + u_j + v_{jt} + w_{jp} + a_{jc} + \varepsilon_{jtp},

school, school × year, school × procedure, the shared pupils of a cohort (known variance
:math:`e/N`), and cell.  The scale is the SD of pupils within schools.  With H at the joint mode

.. math:: -2\log L \approx 2F + \log|H| \;[- f\log 2\pi] - 2\sum\log\text{multinomial},

where under ``reml`` thresholds and coefficients are integrated out with the effects (flat prior)
and under ``ml`` they are parameters.  Gradient: :math:`dF` at the mode, :math:`\mathrm{tr}(H^{-1}
dH)` with the posterior covariance of each cell's local variables, and the move of the mode by one
adjoint solution.  Sources: Reardon2017 for the likelihood, TierneyKadane1986 for Laplace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.stats.marks.ordinal_cells import CellTerms, contracted_third
from resilience.stats.marks.ordinal_data import OrdinalData
from resilience.stats.marks.ordinal_mode import find_mode
from resilience.stats.marks.ordinal_system import (
    Point,
    Scales,
    System,
    displacement,
    fixed_sums,
    loadings,
    log_spread,
    solve_system,
)

__all__ = ["Method", "OrdinalState", "ordinal_criterion", "posterior_spread"]

Floats = NDArray[np.float64]
Method = Literal["reml", "ml"]


@dataclass(frozen=True, kw_only=True, eq=False)
class OrdinalState:
    """The criterion at given standard deviations, and everything at its mode.

    Attributes
    ----------
    criterion : float
        −2 log-likelihood (restricted or not) by Laplace.
    gradient : dict of {name: float}
        In the standard deviations of the random parts.
    spread_gradient : ndarray
        In the log-spreads of the procedures that have one, before they are held to mean 0.
    fixed_gradient : ndarray of shape (f,)
        In thresholds and coefficients; zeros under ``reml``, where they are at their mode.
    point, system, terms, zeta
        At the mode.
    covariance : ndarray of shape (f, f)
        S⁻¹; zeros under ``ml``.
    """

    criterion: float
    gradient: dict[str, float]
    spread_gradient: Floats
    fixed_gradient: Floats
    point: Point
    system: System
    terms: CellTerms
    zeta: Floats
    covariance: Floats


def log_multinomial(counts: Floats) -> float:
    """Return the sum of log multinomial coefficients, a constant of the likelihood."""
    total = special.gammaln(counts.sum(axis=1) + 1.0).sum()
    return float(total - special.gammaln(counts + 1.0).sum())


def _constant(data: OrdinalData) -> float:
    known = data.precision > 0
    density = np.log(data.weighted_precision[known] / (2.0 * np.pi)).sum()
    return -2.0 * log_multinomial(data.counts) - float(density)


def ordinal_criterion(
    data: OrdinalData, scales: Scales, start: Point, *, method: Method = "reml"
) -> OrdinalState:
    """Return the criterion with its exact gradient.

    Parameters
    ----------
    data : OrdinalData
        Cells.
    scales : Scales
        Standard deviations.
    start : Point
        Where the search of the mode begins; under ``ml`` its fixed part is held.
    method : {"reml", "ml"}
        Whether the fixed part is integrated out or given.
    """
    restricted = method == "reml"
    point, system, terms, zeta = find_mode(data, scales, start, fixed=restricted)
    value = 2.0 * float(terms.value.sum()) + float((point.effects**2).sum())
    value += float((point.cell**2).sum()) + system.log_det_schools + _constant(data)
    covariance = np.zeros((data.n_fixed, data.n_fixed))
    if restricted:
        covariance = np.asarray(np.linalg.inv(system.schur), dtype=np.float64)
        value += float(np.linalg.slogdet(system.schur)[1])
        value -= data.n_fixed * float(np.log(2.0 * np.pi))
    state = OrdinalState(
        criterion=value,
        gradient={},
        spread_gradient=np.zeros(0),
        fixed_gradient=np.zeros(data.n_fixed),
        point=point,
        system=system,
        terms=terms,
        zeta=zeta,
        covariance=covariance,
    )
    gradient, own, fixed = _gradient(data, scales, state, restricted)
    return replace(state, gradient=gradient, spread_gradient=own, fixed_gradient=fixed)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Spread:
    """Posterior covariances of the cells' local variables.

    Attributes
    ----------
    local : ndarray of shape (m, D, D)
        Of the local variables themselves, cell effects included.
    with_effects : ndarray of shape (m, D, len(linear))
        With the spherical effects that each cell loads on.
    with_spread : ndarray of shape (m, D) or None
        With the spherical log-spread.
    with_cell : ndarray of shape (m, D)
        With the cell's own spherical effect.
    """

    local: Floats
    with_effects: Floats
    with_spread: Floats | None
    with_cell: Floats


def _gradient(
    data: OrdinalData, scales: Scales, state: OrdinalState, restricted: bool
) -> tuple[dict[str, float], Floats, Floats]:
    point, system, terms = state.point, state.system, state.terms
    spread = posterior_spread(data, scales, system, state.covariance)
    third = contracted_third(
        state.zeta,
        data.weighted_counts,
        spread.local,
        log_spread=log_spread(data, scales, point),
        within=data.within,
    )
    nothing = (np.zeros_like(point.effects), np.zeros_like(point.cell))
    adjoint = solve_system(data, scales, system, third, nothing, fixed=restricted)
    moved = displacement(data, scales, adjoint)
    moved += scales.cell * adjoint.cell[:, None] * system.direction
    bent = np.einsum("mab,mb->ma", system.hessian, moved)
    # what a unit change of a cell's local variables adds, the effects held where they are
    direct = 2.0 * terms.gradient + third - bent
    nu = system.direction
    along, slope = direct @ nu, terms.gradient @ nu
    found: dict[str, float] = {}
    for a, name in enumerate(data.linear):
        if name == "cohort":
            continue
        own = point.effects[data.school, data.index[:, a]]
        back = adjoint.effects[data.school, data.index[:, a]]
        together = 2.0 * (system.pull * spread.with_effects[:, :, a]).sum(axis=1)
        found[name] = float((along * own + together - back * slope).sum())
    if data.parts.cell:
        together = 2.0 * (system.pull * spread.with_cell).sum(axis=1)
        found["cell"] = float((along * point.cell + together - adjoint.cell * slope).sum())
    if data.parts.spread and spread.with_spread is not None:
        at = data.places["spread"]
        own, back = point.effects[data.school, at], adjoint.effects[data.school, at]
        together = 2.0 * (system.hessian[:, -1, :] * spread.with_spread).sum(axis=1)
        total = direct[:, -1] * own + together - back * terms.gradient[:, -1]
        found["spread"] = float(total.sum())
    fixed = np.zeros(data.n_fixed) if restricted else fixed_sums(data, direct)
    own_spread = np.zeros(0)
    if data.parts.procedure_spread:
        by_procedure = np.bincount(data.procedure, weights=direct[:, -1])
        own_spread = by_procedure[data.spread_procedures].astype(np.float64)
    return found, own_spread, fixed


def posterior_spread(
    data: OrdinalData, scales: Scales, system: System, covariance: Floats
) -> _Spread:
    """Return the posterior covariances of all cells, block by block of schools."""
    m, D = system.pull.shape
    width = len(data.linear)
    local, effects = np.empty((m, D, D)), np.empty((m, D, width))
    spread = np.empty((m, D)) if data.parts.spread else None
    for schools, cells in data.blocks:
        base, crossed, own = _block_spread(data, scales, system, covariance, (schools, cells))
        local[cells], effects[cells] = base, crossed
        if spread is not None and own is not None:
            spread[cells] = own
    nu, kappa, load = system.direction, system.kappa, scales.cell
    if load > 0:
        # M = I − λ²ν(Lν)'/κ carries the base part; ε of the cell adds λ²νν'/κ
        share = load**2 / kappa
        drawn = np.einsum("mab,mb->ma", local, system.pull)
        with_cell = -drawn + nu * (drawn * system.pull).sum(axis=1)[:, None] * share[:, None]
        with_cell = load * (with_cell + nu) / kappa[:, None]
        local = local - share[:, None, None] * (
            nu[:, None] * drawn[:, None, :] + drawn[:, :, None] * nu
        )
        inner = (drawn * system.pull).sum(axis=1)
        local += (share**2 * inner + share)[:, None, None] * np.outer(nu, nu)
        effects -= share[:, None, None] * (
            nu[:, None] * np.einsum("ma,mak->mk", system.pull, effects)[:, None, :]
        )
        if spread is not None:
            spread = spread - share[:, None] * nu * (system.pull * spread).sum(axis=1)[:, None]
    else:
        with_cell = np.tile(nu, (m, 1)) * load
    return _Spread(local=local, with_effects=effects, with_spread=spread, with_cell=with_cell)


def _block_spread(
    data: OrdinalData,
    scales: Scales,
    system: System,
    C: Floats,
    where: tuple[slice, slice],
) -> tuple[Floats, Floats, Floats | None]:
    """Return the covariances of the cells of one block, without cell effects."""
    schools, cells = where
    own = data.school[cells] - schools.start
    index, z = data.index[cells], loadings(data, scales)[cells]
    inverse, carried = system.inverse[schools], system.carried[schools]
    at, X = np.maximum(data.thresholds[cells], 0), data.X[cells]
    finite = (data.thresholds[cells] >= 0).astype(float)
    k = at.shape[1]
    rows = own[:, None]
    # B⁻¹r and the part of the fixed effects' error that a school's effects take back
    taken = np.einsum("ma,maf->mf", z, carried[rows, index])
    taken = -taken
    taken[:, data.n_thresholds :] += X
    toward = carried @ C
    Ct = taken @ C
    solved = np.einsum("ma,maq->mq", z, inverse[rows, index])
    inside = np.einsum("ma,ma->m", z, np.take_along_axis(solved, index, axis=1))
    variance = (Ct * taken).sum(axis=1) + inside
    lines = np.take_along_axis(Ct, at, axis=1) * finite
    D = k + data.has_spread
    base = np.zeros((len(own), D, D))
    base[:, :k, :k] = (
        C[at[:, :, None], at[:, None, :]] * finite[:, :, None] * finite[:, None, :]
        - lines[:, :, None]
        - lines[:, None, :]
        + variance[:, None, None]
    )
    crossed = np.zeros((len(own), D, index.shape[1]))
    carry = carried[rows, index]
    gathered = toward[own[:, None, None], index[:, None, :], at[:, :, None]]
    crossed[:, :k] = -gathered * finite[:, :, None]
    crossed[:, :k] += (
        np.einsum("mf,maf->ma", Ct, carry) - np.take_along_axis(solved, index, axis=1)
    )[:, None, :]
    if not data.parts.spread:
        return base, crossed, None
    s, w = data.places["spread"], scales.spread
    hold = carried[own, s]
    reach = toward[own, s]
    own_variance = inverse[own, s, s] + (reach * hold).sum(axis=1)
    cross = -np.take_along_axis(reach, at, axis=1) * finite
    cross += ((Ct * hold).sum(axis=1) - solved[:, s])[:, None]
    base[:, :k, k] = w * cross
    base[:, k, :k] = w * cross
    base[:, k, k] = w * w * own_variance
    crossed[:, k] = w * (
        np.einsum("mf,maf->ma", reach, carry) + np.take_along_axis(inverse[own, s], index, axis=1)
    )
    alone = np.empty((len(own), D))
    alone[:, :k] = cross
    alone[:, k] = w * own_variance
    return base, crossed, alone
