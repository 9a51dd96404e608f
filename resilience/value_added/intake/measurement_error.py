r"""Prior scores measured with error: regression calibration of pupils and schools.

An observed prior :math:`x_{ij} = \xi_{ij} + \delta_{ij}` pulls its slope towards 0, and what it
leaves unexplained of the intake passes for an effect of the school's composition (a phantom effect)
and for value added of schools with strong intakes.  Before the fit the prior is therefore replaced
by the conditional expectation of the true score of each pupil, and the latent composition by that
of the school's true mean, both given every observed prior and every other covariate of the model in
the school.  For one prior without other covariates and equal error variances

.. math::

   \hat\xi_{ij} = \mu + \hat b_j + \kappa (x_{ij} - \mu - \hat b_j), \quad
   \kappa = \frac{\omega^2}{\omega^2 + \sigma_\delta^2}, \qquad
   \hat b_j = \lambda_j (\bar x_j - \mu), \quad
   \lambda_j = \frac{n_j \tau^2}{n_j \tau^2 + \omega^2 + \sigma_\delta^2}

with true variances :math:`\tau^2` between and :math:`\omega^2` within schools; the general formula
with covariates and error variances of single pupils stands in
``resilience/stats/gaps/regression_calibration.py``.  A reliability :math:`\rho` is the share of the
total variance of the observed prior that is true: :math:`\sigma_\delta^2 = (1 - \rho)
\,\mathrm{var}(x)`.

With :math:`E(y \mid \xi, z)` linear, :math:`E(y \mid x, z)` is linear in the calibrated columns
with the *same* coefficients, which is why the fit that follows needs no change.  Limits:

* A square of the prior keeps its coefficient (the variance of :math:`\xi` given :math:`x` is nearly
  constant), higher powers and splines are approximations.
* The reliability is taken as known.  That means and covariances are estimated widens the intervals
  of coefficients and effects (``calibration_error.py``).
* What a calibrated mean leaves of a small school's true mean stays in the random intercept and
  widens it.
* Covariates enter the expectation linearly; rows filled under ``missing="indicator"`` count as
  observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.gaps.regression_calibration import (
    Moments,
    calibrate,
    cell_effects,
    cell_sums,
    level_moments,
)
from resilience.validation import check_numeric, shorten
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.intake.intake_learning import CellValues
from resilience.value_added.intake.learnt_calibration import LearntCalibration, error_variances

__all__ = ["Calibration", "calibrated_intake", "reliability_by_column"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What was observed of error-prone priors and the covariates that tell about them.

    Attributes
    ----------
    names : tuple of str
        Columns, the error-prone ones first.
    prone : tuple of str
        Error-prone columns.
    values, errors : ndarray of shape (n, q)
        Observed values and their error variances.
    schools, cells : ndarray of shape (n,)
        Codes of the schools, and of schools × years (the schools again without years).
    by_share : ndarray of shape (q,)
        Columns whose error variance is a share of their observed variance.
    composition : mapping of {column: how}
        Composition of the intake.
    """

    names: tuple[str, ...]
    prone: tuple[str, ...]
    values: Floats
    errors: Floats
    schools: Codes
    cells: Codes
    by_share: NDArray[np.bool_]
    composition: Mapping[str, str]

    def moments(self, rows: NDArray[np.bool_] | None = None) -> Moments:
        """Return means and covariances, of some schools' rows alone where asked."""
        x, errors, units = self.values, self.errors, (self.schools, self.cells)
        if rows is not None:
            share = np.where(self.by_share, x[rows].var(axis=0), 1.0)
            share /= np.where(self.by_share, x.var(axis=0), 1.0)
            x, errors = x[rows], errors[rows] * share
            units = (_recoded(self.schools[rows]), _recoded(self.cells[rows]))
        spread = self.values.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        found = level_moments(x / scale, errors / scale**2, *units)
        return Moments(
            mean=found.mean * scale,
            between=found.between * np.outer(scale, scale),
            years=found.years * np.outer(scale, scale),
            within=found.within * np.outer(scale, scale),
            error=found.error * scale**2,
        )

    def columns(self, moments: Moments) -> dict[str, Floats]:
        """Return the calibrated priors and compositions, one value per row, by name."""
        size = np.where(self.by_share, moments.error / np.maximum(self.errors[0], 1e-300), 1.0)
        errors = self.errors * np.where(self.errors[0] > 0, size, 1.0)
        expected = calibrate(self.values, errors, self.schools, moments, self.cells)
        found = {name: expected.pupils[:, k] for k, name in enumerate(self.prone)}
        for name, how in self.composition.items():
            if how == "latent" and name in self.names:
                at_cell = expected.cells[:, self.names.index(name)]
                found[f"{name}_mean"] = at_cell[self.cells]
            elif name in self.prone:
                alone = how == "leave_one_out"
                found[f"{name}_mean"] = _raw_mean(found[name], self.cells, alone=alone)
        return found


def _learnt(
    calibration: Calibration,
    moments: Moments,
    found: Mapping[str, Floats],
    *,
    sources: tuple[Mapping[str, float | str], dict[str, tuple[object, ...]]],
    cells: tuple[Sequence[str], pd.DataFrame],
) -> LearntCalibration:
    """Return what further rows need of a calibration.

    ``sources`` are reliabilities (or columns of error variances) and categories by column,
    ``cells`` the columns of the cells and the rows.
    """
    (wanted, categories), (keys, frame) = sources, cells
    code = calibration.cells
    first = np.unique(code, return_index=True)[1]
    parent = calibration.schools[first]
    sums = cell_sums(calibration.values, calibration.errors, code, moments)
    effects = cell_effects(sums, parent, moments)
    size = np.bincount(code).astype(float)
    return LearntCalibration(
        names=calibration.names,
        categories=categories,
        shares={
            name: how if isinstance(how, str) else float(calibration.errors[0, k])
            for k, (name, how) in enumerate(wanted.items())
        },
        moments=moments,
        keys=tuple(keys),
        labels=tuple(frame[key].iloc[first].astype(object).to_numpy() for key in keys),
        sums=sums,
        effects=effects,
        means=np.where(moments.constant, sums.means, effects) + moments.mean,
        raw={
            name: np.column_stack([np.bincount(code, found[name]) / size, size])
            for name, how in calibration.composition.items()
            if how != "latent" and name in calibration.prone
        },
        composition=dict(calibration.composition),
    )


def reliability_by_column(intake: Intake, variables: Sequence[str]) -> dict[str, float | str]:
    """Return the reliability, or the column of error variances, of each error-prone prior.

    Parameters
    ----------
    intake : Intake
        Its ``prior_reliability``; a number or a name stands for the columns of ``prior`` in use.
    variables : sequence of str
        Columns that the formula uses.

    Raises
    ------
    SpecificationError
        If no column of ``prior`` is in use, a column of the mapping is not, or one column of error
        variances is to serve several priors.
    """
    given = intake.prior_reliability
    if given is None:
        return {}
    used = list(dict.fromkeys([*variables, *intake.compositions]))
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in used]
        if unknown:
            raise SpecificationError(
                text("measurement.unused", column=repr(unknown[0]), used=shorten(used, 12))
            )
        return dict(given)
    priors = [name for name in intake.prior if name in used]
    if not priors:
        raise SpecificationError(
            text("measurement.no_prior", prior=shorten(intake.prior), used=shorten(used, 12))
        )
    if isinstance(given, str) and len(priors) > 1:
        raise SpecificationError(
            text("measurement.several", column=repr(given), prior=shorten(priors))
        )
    return dict.fromkeys(priors, given)


def calibrated_intake(
    frame: pd.DataFrame,
    intake: Intake,
    *,
    variables: Sequence[str],
    cells: Sequence[str],
    spreads: CellValues | None,
) -> tuple[pd.DataFrame, Calibration | None, LearntCalibration | None]:
    """Return the frame with error-prone priors and their composition replaced by expectations.

    Parameters
    ----------
    frame : DataFrame
        Prepared rows: no gaps, standardised, composition columns added.
    intake : Intake
        Names the priors, their reliability, and the composition.
    variables : sequence of str
        Columns that the formula uses: those that are not error-prone are conditioned on.
    cells : sequence of str
        School, or school and year.
    spreads : CellValues or None
        The standardisation; error variances stand in the units before it.

    Returns
    -------
    (DataFrame, Calibration or None, LearntCalibration or None)
        A copy, what it rests on, and what further rows need of it.  ``latent`` composition becomes
        the expected true mean (of exact columns too: the prior of a school tells about the rest of
        its intake); ``mean`` and ``leave_one_out`` of an error-prone column become those of its
        calibrated values.

    Raises
    ------
    DataError
        If a prior or its error variances are not usable numbers, a prior does not vary within
        schools, or its errors would explain all that it varies there.

    References
    ----------
    CarrollEtAl2006, chapter 4.
    """
    wanted = reliability_by_column(intake, variables)
    if not wanted:
        return frame, None, None
    check_numeric(frame, list(wanted), table="data")
    names, values, dummies = _columns(frame, wanted, [*variables, *intake.compositions])
    errors = np.zeros_like(values)
    for k, (name, how) in enumerate(wanted.items()):
        errors[:, k] = error_variances(frame, name, how, spreads)
    if not errors.any():
        return frame, None, None
    cell = frame.groupby([frame[c] for c in cells], observed=True, sort=True).ngroup()
    shares = [not isinstance(how, str) for how in wanted.values()]
    calibration = Calibration(
        names=tuple(names),
        prone=tuple(wanted),
        values=values,
        errors=errors,
        schools=np.asarray(pd.factorize(frame[cells[0]], sort=True)[0], dtype=np.int64),
        cells=np.asarray(cell, dtype=np.int64),
        by_share=np.array(shares + [False] * (len(names) - len(shares))),
        composition=dict(intake.compositions),
    )
    moments = _checked_moments(calibration, cells)
    found = calibration.columns(moments)
    learnt = _learnt(calibration, moments, found, sources=(wanted, dummies), cells=(cells, frame))
    return frame.assign(**found), calibration, learnt


def _columns(
    frame: pd.DataFrame, wanted: Mapping[str, object], others: Sequence[str]
) -> tuple[list[str], Floats, dict[str, tuple[object, ...]]]:
    """Return names and values of all columns, the error-prone first, and categories by column."""
    names, parts = list(wanted), [frame[list(wanted)].to_numpy(dtype=float)]
    categories: dict[str, tuple[object, ...]] = {}
    for name in dict.fromkeys(others):
        if name in wanted:
            continue
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            names.append(name)
            parts.append(values.to_numpy(dtype=float)[:, None])
            continue
        dummies = pd.get_dummies(values.astype(object), drop_first=True, dtype=float)
        names += [f"{name}={category}" for category in dummies.columns]
        parts.append(dummies.to_numpy(dtype=float))
        categories[name] = tuple(dummies.columns)
    return names, np.column_stack(parts), categories


def _checked_moments(calibration: Calibration, cells: Sequence[str]) -> Moments:
    """Return the moments, or say why errors and observed variation contradict each other."""
    n, n_cells = len(calibration.cells), int(calibration.cells.max()) + 1
    if calibration.schools.max() == 0 or n_cells == n:
        raise DataError(text("measurement.cells", cells=" × ".join(cells), n=n_cells, rows=n))
    found = calibration.moments()
    for k, name in enumerate(calibration.prone):
        if found.constant[k]:
            raise DataError(
                text("measurement.school_level", column=repr(name), cells=" × ".join(cells))
            )
    prone = np.flatnonzero(found.error > 0)
    true, observed = found.unexplained
    for at, which in enumerate(prone):
        if true[at, at] <= 0:
            raise DataError(
                text(
                    "measurement.above",
                    column=repr(calibration.names[which]),
                    error=f"{found.error[which]:.4g}",
                    within=f"{observed[at, at]:.4g}",
                )
            )
    if np.linalg.eigvalsh(true)[0] <= 0:
        columns = shorten(calibration.names[k] for k in prone)
        raise DataError(text("measurement.joint", columns=columns))
    return found


def _recoded(codes: Codes) -> Codes:
    """Return codes 0 … without gaps."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _raw_mean(x: Floats, schools: Codes, *, alone: bool) -> Floats:
    """Return the school mean of calibrated values, without the pupil's own where asked."""
    size = np.bincount(schools)[schools].astype(float)
    total = np.bincount(schools, x)[schools]
    if not alone:
        return np.asarray(total / size)
    others = (total - x) / np.maximum(size - 1.0, 1.0)
    return np.where(size > 1, others, x.mean())
