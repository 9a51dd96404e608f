"""From the engine's arrays to the tables of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.results import Convergence
from resilience.stats.persistence.persistence import PersistenceFit
from resilience.stats.persistence.persistence_products import Panel
from resilience.value_added.effects.effects_table import coefficient_table
from resilience.value_added.persistence.links import LinkedUnits
from resilience.value_added.persistence.reports import TeacherErrors
from resilience.value_added.persistence.results import PersistenceResults

if TYPE_CHECKING:
    from resilience.value_added.persistence.definition import PersistenceDefinition

__all__ = ["persistence_results"]

Years = NDArray[np.generic]


def persistence_results(
    model: PersistenceDefinition,
    panel: Panel,
    linked: LinkedUnits,
    fitted: PersistenceFit,
    years: Years,
    *,
    method: str,
    level: float,
) -> PersistenceResults:
    """Return the results of a fit; no pupil is kept."""
    record = fitted.record
    seen = np.zeros((int(panel.pupil.max()) + 1, panel.n_years), dtype=bool)
    seen[panel.pupil, panel.year] = True
    return PersistenceResults(
        model=model,
        method=method,
        level=level,
        criterion=fitted.criterion,
        fixed_effects=coefficient_table(
            panel.terms, fitted.coefficients, fitted.covariance, level=level
        ),
        persistence=_persistence(model, panel, linked, seen, fitted, years, level),
        variance_components=_variances(model.teachers.teacher, fitted, years),
        residual_covariance=_residual(fitted, seen, years),
        teacher_effects=_effects(model, linked, fitted, level),
        convergence=Convergence(
            converged=record.converged,
            n_evaluations=record.n_evaluations,
            n_iterations=record.n_iterations,
            gradient_norm=record.gradient_norm,
            hessian_positive=record.hessian_positive,
            singular=record.singular,
            log=record.log,
            message=record.message,
        ),
        starts=record.starts,
        errors=TeacherErrors(
            blocks=fitted.effect_blocks,
            loadings=np.hstack([fitted.effect_loadings, fitted.parameter_loadings]),
        ),
        groups=linked.units.drop(columns=["n_pupils"]),
        varying=linked.varying,
        n_rows=len(panel.outcome),
        n_pupils=int(seen.shape[0]),
        n_unlinked=linked.n_unlinked,
        n_unknown_past=linked.n_unknown_past,
        n_links_unused=linked.n_without_rows,
    )


def _persistence(
    model: PersistenceDefinition,
    panel: Panel,
    linked: LinkedUnits,
    seen: NDArray[np.bool_],
    fitted: PersistenceFit,
    years: Years,
    level: float,
) -> pd.DataFrame:
    """Return ``year earlier_year estimate std_error conf_low conf_high n_pupils reason``."""
    taught = np.zeros_like(seen)
    taught[linked.pupil, panel.unit_year[linked.unit]] = True
    z = float(special.ndtri(0.5 + level / 2.0))
    records = []
    for later, earlier in zip(*np.tril_indices(panel.n_years, -1), strict=True):
        idle = fitted.teacher_variance[earlier] == 0
        fixed = model.persistence != "variable"
        reason = "fixed" if fixed else "no_teacher_variance" if idle else ""
        estimate = fitted.persistence[later, earlier] if fixed or not idle else np.nan
        error = fitted.persistence_std_error[later, earlier]
        if not reason and not np.isfinite(error):
            reason = "not_converged"
        records.append(
            {
                "year": years[later],
                "earlier_year": years[earlier],
                "estimate": estimate,
                "std_error": error,
                "conf_low": estimate - z * error,
                "conf_high": estimate + z * error,
                "n_pupils": int((seen[:, later] & taught[:, earlier]).sum()),
                "reason": reason,
            }
        )
    names = [
        "year",
        "earlier_year",
        "estimate",
        "std_error",
        "conf_low",
        "conf_high",
        "n_pupils",
        "reason",
    ]
    return pd.DataFrame(records, columns=names)


def _variances(teacher: str, fitted: PersistenceFit, years: Years) -> pd.DataFrame:
    """Return ``group term variance variance_std_error std_dev``, teachers then residuals."""
    parts = (
        (teacher, fitted.teacher_variance, fitted.teacher_variance_std_error),
        ("residual", np.diag(fitted.residual), np.diag(fitted.residual_std_error)),
    )
    blocks = [
        pd.DataFrame(
            {
                "group": name,
                "term": [str(year) for year in years],
                "variance": variance,
                "variance_std_error": error,
                "std_dev": np.sqrt(variance),
            }
        )
        for name, variance, error in parts
    ]
    return pd.concat(blocks, ignore_index=True)


def _residual(fitted: PersistenceFit, seen: NDArray[np.bool_], years: Years) -> pd.DataFrame:
    """Return ``year earlier_year residual_covariance std_error residual_correlation n_pupils``."""
    rows, columns = np.tril_indices(len(years))
    sd = np.sqrt(np.diag(fitted.residual))
    return pd.DataFrame(
        {
            "year": years[rows],
            "earlier_year": years[columns],
            "residual_covariance": fitted.residual[rows, columns],
            "residual_covariance_std_error": fitted.residual_std_error[rows, columns],
            "residual_correlation": fitted.residual[rows, columns] / (sd[rows] * sd[columns]),
            "n_pupils": (seen[:, rows] & seen[:, columns]).sum(axis=0),
        }
    )


def _effects(
    model: PersistenceDefinition, linked: LinkedUnits, fitted: PersistenceFit, level: float
) -> pd.DataFrame:
    """Return a row per teacher and year, sorted by key: no rank, no percentile."""
    z = float(special.ndtri(0.5 + level / 2.0))
    year = np.unique(linked.units[model.time], return_inverse=True)[1]
    variance = fitted.teacher_variance[year]
    share = np.divide(
        fitted.conditional_sd**2, variance, out=np.ones_like(variance), where=variance > 0
    )
    error = np.sqrt(fitted.std_error**2 + (fitted.parameter_loadings**2).sum(axis=1))
    return pd.DataFrame(
        {
            model.teachers.teacher: linked.units[model.teachers.teacher],
            model.time: linked.units[model.time],
            "teacher_effect": fitted.effects,
            "std_error": error,
            "conditional_sd": fitted.conditional_sd,
            "conf_low": fitted.effects - z * error,
            "conf_high": fitted.effects + z * error,
            "reliability": 1.0 - share,
            "n_pupils": linked.units["n_pupils"],
        }
    )
