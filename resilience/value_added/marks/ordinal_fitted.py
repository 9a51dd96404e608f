"""A fitted model of marks with its layout, and the units its tables are printed in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.data.mark_layout import Layout
from resilience.stats.marks.ordinal import OrdinalFit
from resilience.stats.marks.ordinal_data import OrdinalData
from resilience.stats.marks.ordinal_system import log_spread, random_location

__all__ = ["Fitted", "total_variance", "within_variance", "working_estimates"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """The fit with what every table needs."""

    fit: OrdinalFit
    data: OrdinalData
    layout: Layout
    unit: float
    block_variance: Floats

    @property
    def n_thresholds(self) -> int:
        """Number of thresholds."""
        return self.data.n_thresholds

    @property
    def beta(self) -> Floats:
        """Coefficients of the scaled covariates, in SD of pupils within schools."""
        return self.fit.state.point.fixed[self.n_thresholds :]

    @property
    def expected(self) -> Floats:
        """Fixed part of each cell, in the effects' unit."""
        return np.asarray(self.data.X @ self.beta / self.unit)

    @property
    def within(self) -> float:
        """Variance of pupils within schools, mean over pupils, in squared effects' units."""
        layout = self.layout
        weight = np.bincount(layout.block, weights=layout.size)
        return float(np.average(within_variance(self.fit, layout), weights=weight)) / self.unit**2

    @property
    def pupil_scale(self) -> Floats:
        """Inverse of each cell's SD of pupils, in SD within schools of the average."""
        spread = log_spread(self.data, self.fit.scales, self.fit.state.point)
        return np.ones(self.data.n_cells) if spread is None else np.asarray(np.exp(-spread))

    @property
    def labels(self) -> NDArray[np.object_]:
        """Schools in the order of the engine."""
        cells = self.layout.cells
        return cells.school_labels[np.unique(cells.school[self.layout.rows])]


def total_variance(fitted: OrdinalFit, layout: Layout) -> tuple[Floats, float]:
    """Return the variance of pupils of each procedure × year and its mean over pupils.

    In squared SD of pupils within schools: their own variance (1 without a spread part), those of
    the random parts, and that of the fixed part over pupils.
    """
    scales = fitted.scales
    own = within_variance(fitted, layout)
    random = scales.school**2 + scales.year**2 + scales.procedure**2 + scales.cell**2
    fixed = layout.X @ fitted.state.point.fixed[int(layout.borders.max()) + 1 :]
    n_blocks = len(layout.borders)
    weight = np.bincount(layout.block, weights=layout.size, minlength=n_blocks)
    mean = np.bincount(layout.block, weights=layout.size * fixed, minlength=n_blocks) / weight
    apart = layout.size * (fixed - mean[layout.block]) ** 2
    variance = np.bincount(layout.block, weights=apart, minlength=n_blocks) / weight
    total = own + random + variance
    return total, float(np.average(total, weights=weight))


def within_variance(fitted: OrdinalFit, layout: Layout) -> Floats:
    """Return the variance of pupils within schools of each procedure × year, 1 on the average."""
    procedure = layout.cells.procedure[layout.rows]
    log = np.zeros(int(procedure.max()) + 1)
    if fitted.scales.procedure_spread:
        log[np.unique(procedure[~layout.is_mean])] = fitted.scales.procedure_spread
    own = np.where(layout.is_mean, 0.0, log[procedure])[layout.block_rows]
    return np.asarray(np.exp(2.0 * own + 2.0 * fitted.scales.spread**2))


def working_estimates(own: Fitted) -> tuple[Floats, Floats]:
    """Return each cell's own estimate of its random location and its variance, at the mode.

    One Newton step from the mode: the location less the slope of −ℓ over its curvature.
    """
    state = own.fit.state
    nu = state.system.direction
    curve = np.maximum(state.system.pull @ nu, 1e-8)
    location = random_location(own.data, own.fit.scales, state.point)
    estimate = location - (state.terms.gradient @ nu) / curve
    return estimate / own.unit, 1.0 / (curve * own.unit**2)
