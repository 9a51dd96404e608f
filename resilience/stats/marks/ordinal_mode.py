"""The mode of the penalised likelihood of the ordinal model, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from resilience.stats.marks.ordinal_cells import CellTerms, cell_values
from resilience.stats.marks.ordinal_data import OrdinalData
from resilience.stats.marks.ordinal_system import (
    Point,
    Scales,
    System,
    assemble,
    displacement,
    local_terms,
    log_spread,
    random_location,
    solve_system,
)

__all__ = ["find_mode", "penalised"]

Floats = NDArray[np.float64]


def penalised(data: OrdinalData, scales: Scales, point: Point) -> float:
    """Return F at a point; infinite where thresholds are out of order."""
    if not data.ordered(point.fixed):
        return np.inf
    location = data.X @ point.fixed[data.n_thresholds :] + random_location(data, scales, point)
    value = cell_values(
        data.zeta(point.fixed, location),
        data.weighted_counts,
        log_spread=log_spread(data, scales, point),
        within=data.within,
        mean=data.mean,
        precision=data.weighted_precision,
    )
    return float(value.sum() + 0.5 * (point.effects**2).sum() + 0.5 * (point.cell**2).sum())


def find_mode(
    data: OrdinalData,
    scales: Scales,
    start: Point,
    *,
    fixed: bool = True,
    tolerance: float = 1e-10,
    say: Callable[[str], None] | None = None,
) -> tuple[Point, System, CellTerms, Floats]:
    """Return the mode of F by Newton's method with halved steps.

    Parameters
    ----------
    data, scales
        The problem.
    start : Point
        Where to begin.
    fixed : bool
        False holds the fixed part where it is.
    tolerance : float
        Newton decrement (half the fall of F that is still to be had) at which to stop, per cell.
    say : callable, optional
        Told each step.

    Returns
    -------
    (point, system, terms, zeta)
        At the mode.
    """
    point, value = start, penalised(data, scales, start)
    for k in range(60):
        zeta, terms = local_terms(data, scales, point)
        system = _safe(data, scales, terms)
        own = (-point.effects, -point.cell)
        step = solve_system(data, scales, system, -terms.gradient, own, fixed=fixed)
        fall = _decrement(data, scales, terms, point, step)
        if fall < 0:  # the blocks of schools are definite, the whole is not
            system = assemble(data, scales, _lifted(terms))
            step = solve_system(data, scales, system, -terms.gradient, own, fixed=fixed)
            fall = _decrement(data, scales, terms, point, step)
        if say is not None:
            say(f"{k} {value:.10g} {fall:.3g}")
        if fall <= tolerance * data.n_cells**0.5 and fall >= 0:
            return point, system, terms, zeta
        length = 1.0
        for _ in range(40):
            further = point.moved(step, length)
            reached = penalised(data, scales, further)
            if reached <= value - 1e-4 * length * fall or abs(reached - value) < 1e-11 * abs(value):
                break
            length *= 0.5
        else:
            return point, system, terms, zeta
        point, value = further, reached
    return point, system, terms, zeta


def _decrement(
    data: OrdinalData, scales: Scales, terms: CellTerms, point: Point, step: Point
) -> float:
    """Return −(gradient · step)."""
    moved = displacement(data, scales, step)
    moved[:, : data.thresholds.shape[1]] -= scales.cell * step.cell[:, None]
    slope = float((terms.gradient * moved).sum())
    slope += float((point.effects * step.effects).sum() + (point.cell * step.cell).sum())
    return -slope


def _safe(data: OrdinalData, scales: Scales, terms: CellTerms) -> System:
    """Assemble; where the spread makes a block indefinite, add to the cells' curvature."""
    try:
        return assemble(data, scales, terms)
    except np.linalg.LinAlgError:
        return assemble(data, scales, _lifted(terms))


def _lifted(terms: CellTerms) -> CellTerms:
    """Return the terms with every cell's curvature made positive definite."""
    lifted = terms.hessian.copy()
    lowest = np.linalg.eigvalsh(lifted)[:, 0]
    at = np.arange(lifted.shape[1])
    lifted[:, at, at] += np.maximum(0.0, 1e-3 - lowest)[:, None]
    return replace(terms, hessian=lifted)
