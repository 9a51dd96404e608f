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
``resilience/stats/regression_calibration.py``.  A reliability :math:`\rho` is the share of the
total variance of the observed prior that is true: :math:`\sigma_\delta^2 = (1 - \rho)
\,\mathrm{var}(x)`.

With :math:`E(y \mid \xi, z)` linear, :math:`E(y \mid x, z)` is linear in the calibrated columns
with the *same* coefficients, which is why the fit that follows needs no change.  Limits:

* A square of the prior keeps its coefficient (the variance of :math:`\xi` given :math:`x` is nearly
  constant), higher powers and splines are approximations.
* The reliability is taken as known, means and covariances as estimated without error; intervals of
  the coefficients hold their level all the same (recovery tests).
* What a calibrated mean leaves of a small school's true mean stays in the random intercept and
  widens it; with years, each school × year is calibrated from its own pupils.
* Covariates enter the expectation linearly; rows filled under ``missing="indicator"`` count as
  observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import check_rows
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.regression_calibration import Moments, calibrate, two_level_moments
from resilience.validation import check_columns, check_numeric, shorten
from resilience.value_added.specification import Intake

__all__ = ["calibrated_intake", "reliability_by_column"]

Floats = NDArray[np.float64]


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
    used = list(dict.fromkeys([*variables, *intake.composition]))
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
    raw: pd.DataFrame,
) -> pd.DataFrame:
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
    raw : DataFrame
        The rows before standardisation; error variances stand in its units.

    Returns
    -------
    DataFrame
        A copy.  ``latent`` composition becomes the expected true mean (of exact columns too: the
        prior of a school tells about the rest of its intake); ``mean`` and ``leave_one_out`` of an
        error-prone column become those of its calibrated values.

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
        return frame
    check_numeric(frame, list(wanted), table="data")
    names, values = _columns(frame, wanted, [*variables, *intake.composition])
    errors = np.zeros_like(values)
    for k, (name, how) in enumerate(wanted.items()):
        errors[:, k] = _error_variances(frame, raw, name, how, intake)
    if not errors.any():
        return frame
    keys = [frame[c] for c in cells]
    cell = frame.groupby(keys, observed=True, sort=True).ngroup()
    schools: NDArray[np.int64] = np.asarray(cell, dtype=np.int64)
    moments = _moments(values, schools, errors, list(wanted), cells)
    found = calibrate(values, schools, errors, moments)
    out = frame.copy()
    for k, name in enumerate(wanted):
        out[name] = found.pupils[:, k]
    for name, how in intake.composition.items():
        if how == "latent" and name in names:
            out[f"{name}_mean"] = found.schools[schools, names.index(name)]
        elif name in wanted:
            out[f"{name}_mean"] = _raw_mean(out[name], keys, alone=how == "leave_one_out")
    return out


def _columns(
    frame: pd.DataFrame, wanted: Mapping[str, object], others: Sequence[str]
) -> tuple[list[str], Floats]:
    """Return names and values of the error-prone columns first, then of all other covariates."""
    names, parts = list(wanted), [frame[list(wanted)].to_numpy(dtype=float)]
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
    return names, np.column_stack(parts)


def _error_variances(
    frame: pd.DataFrame, raw: pd.DataFrame, name: str, how: float | str, intake: Intake
) -> Floats:
    """Return the error variance of each row in the units of the prepared column."""
    if not isinstance(how, str):
        x = frame[name].to_numpy(dtype=float)
        return np.full(len(frame), (1.0 - float(how)) * float(x.var()))
    check_columns(frame, [how], table="data")
    check_numeric(frame, [how], table="data")
    check_rows(frame, [how], table="data")
    values = frame[how].to_numpy(dtype=float)
    if (values < 0).any():
        raise DataError(
            text(
                "measurement.negative",
                column=repr(how),
                n=int((values < 0).sum()),
                least=f"{values.min():.6g}",
            )
        )
    return values / _unit(frame, raw, name, intake) ** 2


def _unit(frame: pd.DataFrame, raw: pd.DataFrame, name: str, intake: Intake) -> Floats:
    """Return how many raw units one unit of the prepared column is, per row."""
    if not intake.standardize_by or name not in intake.prior:
        return np.ones(len(frame))
    before = raw.loc[frame.index, name].astype(float)
    after = frame[name].where(before.notna())
    by = [frame[c] for c in intake.standardize_by]
    ratio = before.groupby(by, observed=True).transform("std") / after.groupby(
        by, observed=True
    ).transform("std")
    return np.asarray(ratio, dtype=np.float64)


def _moments(
    values: Floats,
    schools: NDArray[np.int64],
    errors: Floats,
    names: Sequence[str],
    cells: Sequence[str],
) -> Moments:
    """Return the moments, or say why errors and observed variation contradict each other."""
    n_schools = int(schools.max()) + 1
    if n_schools < 2 or n_schools == len(schools):
        raise DataError(
            text("measurement.cells", cells=" × ".join(cells), n=n_schools, rows=len(schools))
        )
    scale = np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0)
    found = two_level_moments(values / scale, schools, errors / scale**2)
    for k, name in enumerate(names):
        if found.constant[k]:
            raise DataError(
                text("measurement.school_level", column=repr(name), cells=" × ".join(cells))
            )
    prone = [k for k in range(len(names)) if found.error[k] > 0]
    true, observed = found.unexplained
    for at, k in enumerate(prone):
        if true[at, at] <= 0:
            raise DataError(
                text(
                    "measurement.above",
                    column=repr(names[k]),
                    error=f"{found.error[k] * scale[k] ** 2:.4g}",
                    within=f"{observed[at, at] * scale[k] ** 2:.4g}",
                )
            )
    if np.linalg.eigvalsh(true)[0] <= 0:
        raise DataError(text("measurement.joint", columns=shorten(names[k] for k in prone)))
    return Moments(
        mean=found.mean * scale,
        between=found.between * np.outer(scale, scale),
        within=found.within * np.outer(scale, scale),
        error=found.error * scale**2,
    )


def _raw_mean(x: pd.Series[float], keys: Sequence[pd.Series], *, alone: bool) -> pd.Series[float]:
    """Return the school mean of calibrated values, without the pupil's own where asked."""
    grouped = x.groupby(list(keys), observed=True)
    mean, size = grouped.transform("mean"), grouped.transform("size").astype(float)
    if not alone:
        return mean
    others = (mean * size - x) / (size - 1.0).where(size > 1, np.nan)
    return others.fillna(float(x.mean()))
