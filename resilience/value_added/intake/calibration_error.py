r"""What the estimated moments of a regression calibration add to the errors of a fit.

Calibrated columns :math:`X(\hat\theta)` rest on estimated means and covariances :math:`\hat\theta`
of the observed priors.  To first order the coefficients move by

.. math:: \hat\beta(\hat\theta) - \hat\beta(\theta) = -(X'V^{-1}X)^{-1}X'V^{-1}
          \big(X(\hat\theta) - X(\theta)\big)\beta ,

and :math:`\hat\theta`, a function of the covariates, is uncorrelated with the outcome's residuals,
so that the two parts of the covariance add up.  The variance of the move comes from leaving out one
of up to 30 sets of schools at a time (a jackknife: Wolter2007); nothing is fitted anew.  In the
projection V is that of a random intercept of schools with the fit's variances and, where rows have
precision weights :math:`w`, the residual variances :math:`\sigma_e^2/w`.  A fit to some of the
calibrated rows (years of a shared pass) moves with the moments of all of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resilience.data.design import Design, design_columns
from resilience.stats.mixed import MixedFit
from resilience.value_added.intake.measurement_error import Calibration
from resilience.value_added.intake.preparation import Prepared

__all__ = ["with_calibration_error"]

Floats = NDArray[np.float64]
Fit = TypeVar("Fit", bound=MixedFit)

_SETS = 30
_SETS_OF_MANY = 20  # above a quarter of a million rows
_MANY = 250_000


def with_calibration_error(
    fitted: Fit, design: Design, prepared: Prepared, weights: str | None = None
) -> Fit:
    """Return the fit with the error of the calibration in all covariances of its coefficients.

    Parameters
    ----------
    fitted : MixedFit
        A fit to calibrated columns.
    design : Design
        Its learnt columns.
    prepared : Prepared
        The rows behind it (the columns that the design reads will do); without a calibration, or
        without rows, the fit is returned as it is.
    weights : str, optional
        Column of precision weights in those rows.

    References
    ----------
    CarrollEtAl2006, chapter 4; Wolter2007, chapter 4.
    """
    calibration = prepared.calibration
    if calibration is None or prepared.data.empty:
        return fitted
    added = _moved_coefficients(fitted, design, prepared, calibration, weights)
    covariance = fitted.beta_covariance + added
    root = np.linalg.cholesky(covariance)
    levels = []
    for level in fitted.levels:
        part = level.leverage @ root
        grown = level.prediction + level.leverage @ added @ np.swapaxes(level.leverage, 1, 2)
        levels.append(replace(level, coefficient_part=part, prediction=grown))
    return replace(fitted, beta_covariance=covariance, levels=tuple(levels))


def _moved_coefficients(
    fitted: MixedFit,
    design: Design,
    prepared: Prepared,
    calibration: Calibration,
    weights: str | None,
) -> Floats:
    """Return the jackknife covariance of the coefficients' move, shape (p, p)."""
    frame, names = prepared.data, [str(name) for name in design.spec.column_names]
    used = slice(None) if prepared.used is None else prepared.used
    frame, schools = frame[used], calibration.schools
    at = [names.index(term) for term in fitted.terms]
    base = _of_rows(calibration.columns(calibration.moments()), used)
    slopes: dict[str, Floats] = {}
    for name, values in base.items():
        step = 1e-3 * max(float(values.std()), 1e-12)
        up, down = (
            design_columns(design.spec, frame.assign(**{name: values + s}))[:, at] @ fitted.beta
            for s in (step, -step)
        )
        slopes[name] = (up - down) / (2.0 * step)
    precision = np.ones(len(frame)) if weights is None else frame[weights].to_numpy(dtype=float)
    X = design_columns(design.spec, frame)[:, at]
    project = _projection(fitted, X, schools[used], precision)
    n_sets = min(int(schools.max()) + 1, _SETS if len(frame) <= _MANY else _SETS_OF_MANY)
    moves = []
    for k in range(n_sets):
        other = _of_rows(calibration.columns(calibration.moments(schools % n_sets != k)), used)
        moves.append(project @ sum(slopes[name] * (other[name] - base[name]) for name in base))
    around = np.array(moves) - np.mean(moves, axis=0)
    return np.asarray((n_sets - 1) / n_sets * around.T @ around)


def _of_rows(columns: dict[str, Floats], used: slice | NDArray[np.bool_]) -> dict[str, Floats]:
    return {name: values[used] for name, values in columns.items()}


def _projection(
    fitted: MixedFit, X: Floats, schools: NDArray[np.int64], precision: Floats
) -> Floats:
    """Return (X'V⁻¹X)⁻¹X'V⁻¹ for random intercepts of schools, shape (p, n)."""
    total = np.bincount(schools, precision)
    between = sum(float(np.diag(v.covariance)[0]) for v in fitted.levels)
    share = between / (fitted.residual_variance + total * between)
    rows = precision[:, None] * X
    sums = np.column_stack([np.bincount(schools, column) for column in rows.T])
    weighted = rows - precision[:, None] * (share[:, None] * sums)[schools]
    return np.asarray(np.linalg.solve(X.T @ weighted, weighted.T), dtype=np.float64)
