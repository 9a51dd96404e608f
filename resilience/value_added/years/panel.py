"""The yearly residuals of all schools as one table of schools by years."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError
from resilience.i18n import text
from resilience.stats.prediction.states import YearTarget, target_posteriors
from resilience.value_added.years.yearly import YearlyEffects, school_year_cells

__all__ = [
    "YearPanel",
    "check_lag",
    "has_further_parts",
    "held_by_residuals",
    "panel_design",
    "whole_numbers",
    "year_labels",
    "year_numbers",
    "year_panel",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class YearPanel:
    """Schools by years.

    Attributes
    ----------
    residual, sampling : ndarray of shape (n_schools, n_years)
        Observed minus expected means and their sampling variances, NaN without data; several rows
        of one school and year stand together by precision.
    n_pupils : ndarray of shape (n_schools, n_years)
        Pupils behind them, 0 without data.
    years : ndarray of shape (n_years,)
        Years as numbers, ascending.
    labels : ndarray of object, shape (n_years,)
        Years as they stand in the data.
    """

    residual: Floats
    sampling: Floats
    n_pupils: Floats
    years: Floats
    labels: NDArray[np.object_]


def check_lag(lag_correlation: float) -> None:
    """Raise a `DataError` unless a correlation of neighbouring years lies in [0, 1)."""
    if not 0 <= lag_correlation < 1:
        raise DataError(text("decisions.lag", value=lag_correlation))


def whole_numbers(values: Floats) -> NDArray[np.int64] | Floats:
    """Return numbers of pupils as integers unless shares of pupils count."""
    whole = np.isfinite(values).all() and np.array_equal(np.round(values), values)
    return values.astype(np.int64) if whole else values


def year_numbers(labels: NDArray[np.object_]) -> Floats:
    """Return the years as numbers: as they are, or their order where they are no numbers."""
    if all(isinstance(label, int | float | np.number) for label in labels):
        return labels.astype(np.float64)
    return np.arange(len(labels), dtype=np.float64)


def year_labels(results: YearlyEffects) -> NDArray[np.object_]:
    """Return the years of the data, ascending."""
    return np.sort(results.school_years["year"].unique()).astype(object)


def year_panel(results: YearlyEffects) -> YearPanel:
    """Return the yearly residuals of all schools of the fit.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    """
    cells, labels = school_year_cells(results), year_labels(results)
    schools = pd.Index(results.school_effects["school_id"])
    school = schools.get_indexer(pd.Index(cells["school_id"]))
    at = pd.Index(labels).get_indexer(pd.Index(cells["year"].astype(object)))
    shape = (results.n_schools, len(labels))
    residual, sampling = np.full(shape, np.nan), np.full(shape, np.nan)
    n_pupils = np.zeros(shape)
    residual[school, at] = cells["residual"].to_numpy(dtype=float)
    sampling[school, at] = 1.0 / cells["precision"].to_numpy(dtype=float)
    n_pupils[school, at] = cells["n_pupils"].to_numpy(dtype=float)
    return YearPanel(
        residual=residual,
        sampling=sampling,
        n_pupils=n_pupils,
        years=year_numbers(labels),
        labels=labels,
    )


def panel_design(results: YearlyEffects, panel: YearPanel) -> Floats:
    """Return the mean covariates of every school and year, shape (n_schools, n_years, p).

    Zeros where there are no data; rows of one school and year by precision, as the residuals.

    Raises
    ------
    DataError
        If the results do not hold the covariates.
    """
    if results.year_design is None:
        raise DataError(text("value_added.no_year_design"))
    rows = results.school_years
    school = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(rows["school_id"]))
    at = pd.Index(panel.labels).get_indexer(pd.Index(rows["year"].astype(object)))
    with np.errstate(divide="ignore"):
        precision = 1.0 / rows["sampling_variance"].to_numpy(dtype=float)
    weight = np.where(at >= 0, precision * panel.sampling[school, at], 0.0)
    usable = np.isfinite(weight) & (weight > 0)
    found = np.zeros((*panel.residual.shape, results.year_design.shape[1]))
    np.add.at(
        found,
        (school[usable], at[usable]),
        weight[usable, None] * results.year_design[usable],
    )
    return found


def held_by_residuals(results: YearlyEffects, panel: YearPanel) -> bool:
    """Return whether the yearly residuals hold all that the fit knows of the schools.

    They do not where the model has slopes, outer levels or procedures.  What the residuals say of
    the lasting effect is compared with the fit's own effects.
    """
    variances = (results.variances["persistent"], results.variances["transient"])
    lasting = YearTarget(persistent=1.0, years=np.zeros(0), weights=np.zeros(0))
    plain = target_posteriors(
        panel.residual, panel.sampling, panel.years, lasting, variances=variances
    )
    table = results.school_effects
    scale = max(float(np.sqrt(variances[0])), 1e-300)
    return not has_further_parts(results) and bool(
        np.allclose(plain.mean, table["effect"], rtol=0, atol=1e-6 * scale)
        and np.allclose(np.sqrt(plain.variance), table["conditional_sd"], rtol=0, atol=1e-6 * scale)
    )


def has_further_parts(results: YearlyEffects) -> bool:
    """Return whether the model has variances beside those of schools, years and pupils.

    Where nothing lasts in schools, their effects alone would not betray an outer level.

    Parameters
    ----------
    results : EffectsResults
        Any results of school effects.
    """
    parts = results.variance_components
    further = ~parts["term"].isin(["Intercept", ""]) & (parts["variance"] > 0)
    found = float(np.nansum(parts["variance"].to_numpy(dtype=float)))
    known = float(np.nansum(list(results.variances.values())))
    return bool(further.any()) or abs(found - known) > 1e-9 * max(found, known)
