r"""Every school-year's effect as the school's other years tell it.

Held against the year's own residual such an effect validates the model: it shares no noise with
that year.  Two ways, both with the variances of the fit:

* where yearly residuals hold all that the fit knows of schools, in closed form
  (`resilience.stats.prediction.left_out_years`), with the coefficients of the fit.  They have seen
  the year, one school of many: the correlation this leaves with the year's own noise is counted in
  ``std_error`` and vanishes with the number of schools;
* with slopes or outer levels, from the cross-products without the year, year by year.
  The coefficients are then those of the other years (generalised least squares at the fit's
  variances), and no optimisation takes place.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import LevelEffects, MixedFit, dependent_columns, effects_at
from resilience.stats.prediction.left_out_years import LeftOutYears, left_out_years
from resilience.stats.strata.strata_fit import StrataFit
from resilience.value_added.definitions.drift import drift_of
from resilience.value_added.years.moments import check_years
from resilience.value_added.years.panel import (
    YearPanel,
    check_lag,
    held_by_residuals,
    panel_design,
    whole_numbers,
    year_panel,
)
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["leave_year_table", "year_covariance"]

Floats = NDArray[np.float64]


def leave_year_table(results: YearlyEffects, *, lag_correlation: float = 0.0) -> pd.DataFrame:
    """Return the effect of every school and year, predicted from the school's other years.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    lag_correlation : float
        ρ in [0, 1) for fits that take the years as independent.

    Returns
    -------
    DataFrame
        ``school_id year effect conditional_sd std_error mse reliability prmse n_years n_pupils
        residual``, a row for every school and every year of the data; ``n_years`` other years are
        behind the effect, ``n_pupils`` and ``residual`` are the year's own (0 and missing where
        the school has no results in it).

    Raises
    ------
    SpecificationError
        Without a year level; where units cross or subjects are fitted jointly, for counts of marks,
        and for drift beside slopes or outer levels, whose years cannot be told apart without the
        pupils.
    DataError
        If ρ lies outside [0, 1), or the cross-products of school-years were not kept.

    References
    ----------
    Henderson1975.
    """
    check_years(results)
    if results.year_design is None:
        kind = type(results).__name__
        raise SpecificationError(text("forecast.left_out_kind", kind=kind))
    panel = year_panel(results)
    covariance = year_covariance(results, panel, lag_correlation)
    if covariance is not None:
        found = left_out_years(
            panel.residual,
            panel.sampling,
            covariance,
            design=panel_design(results, panel),
            beta_covariance=results.errors.beta_covariance,
        )
    else:
        if lag_correlation != 0.0:
            words = text("value_added.not_yearly", target=repr("leave_year_out"))
            raise SpecificationError(words)
        found = _by_products(results, panel)
    return _table(results, panel, found)


def year_covariance(
    results: YearlyEffects, panel: YearPanel, lag_correlation: float
) -> Floats | None:
    """Return the covariance of a school's effects in the years of the data.

    None where the yearly residuals do not hold all that the fit knows of the schools.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    panel : YearPanel
        Their yearly residuals.
    lag_correlation : float
        ρ of fits that take the years as independent.
    """
    drift = drift_of(results)
    if drift is not None:
        if lag_correlation != 0.0:
            raise SpecificationError(text("drift.own_correlation", given=f"{lag_correlation:g}"))
        return drift.year_covariance() if drift.is_plain else None
    if not held_by_residuals(results, panel):
        return None
    check_lag(lag_correlation)
    apart = np.abs(np.subtract.outer(panel.years, panel.years))
    kernel = np.where(apart == 0, 1.0, float(lag_correlation) ** np.maximum(apart, 1.0))
    return np.asarray(
        results.variances["persistent"] + results.variances["transient"] * kernel, dtype=float
    )


def _by_products(results: YearlyEffects, panel: YearPanel) -> LeftOutYears:
    """Return the effects of all years from the cross-products without each of them."""
    fitted, cross = getattr(results, "mixed", None), getattr(results, "cross", None)
    kind = type(results).__name__
    if not isinstance(fitted, MixedFit) or not isinstance(cross, CrossProducts):
        raise SpecificationError(text("forecast.left_out_kind", kind=kind))
    if isinstance(fitted, StrataFit):
        raise SpecificationError(text("forecast.left_out_kind", kind=kind))
    if drift_of(results) is not None:
        raise SpecificationError(text("forecast.left_out_drift"))
    names = [level.name for level in fitted.levels]
    at = names.index(str(results.group))
    lasting, yearly = results.loading(at), results.loading(at + 1)
    spread = float(yearly @ fitted.levels[at + 1].covariance @ yearly)
    variance = float(lasting @ fitted.levels[at].covariance @ lasting)
    shape = panel.residual.shape
    mean = np.zeros(shape)
    conditional, total = np.full(shape, variance), np.full(shape, variance)
    schools = pd.MultiIndex.from_arrays(_path(fitted.levels, at))
    for k, label in enumerate(panel.labels):
        stay = np.array([year != label for year in cross.levels[at + 1].labels])
        rest = cross.subset_groups(names[at + 1], mask=stay)
        levels = effects_at(
            rest,
            [level.covariance / fitted.residual_variance for level in fitted.levels],
            fixed=_independent(rest, fitted.terms),
            method=fitted.method,
        )
        school = levels[at]
        # effects_at estimates the residual variance anew; the fit's own is meant
        scale = _scale(fitted.levels, levels)
        here = schools.get_indexer(pd.MultiIndex.from_arrays(_path(levels, at)))
        own = scale * np.einsum("jab,a,b->j", school.conditional, lasting, lasting)
        half = np.einsum("jap,a->jp", school.coefficient_part, lasting)
        mean[here, k] = school.modes @ lasting
        conditional[here, k] = np.maximum(own, 0.0)
        total[here, k] = np.maximum(own, 0.0) + scale * np.einsum("jp,jp->j", half, half)
    return LeftOutYears(
        mean=mean,
        conditional=conditional + spread,
        total=total + spread,
        prior=np.full(shape[1], variance + spread),
    )


def _path(levels: tuple[LevelEffects, ...], at: int) -> list[NDArray[np.object_]]:
    """Return labels that tell schools apart: their own and those of the units outside them."""
    found, position = [levels[at].labels], levels[at].parent
    for outer in range(at - 1, -1, -1):
        found.append(levels[outer].labels[position])
        position = levels[outer].parent[position]
    return found


def _independent(cross: CrossProducts, terms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the terms that still say something: a year's own dummy goes with the year."""
    if ONES not in terms:
        return terms
    ordered = [ONES, *(t for t in terms if t != ONES)]
    at = [cross.columns.index(t) for t in ordered]
    lost = set(dependent_columns(cross.total[np.ix_(at, at)], ordered))
    return tuple(t for t in terms if t not in lost)


def _scale(fit: tuple[LevelEffects, ...], found: tuple[LevelEffects, ...]) -> float:
    """Return the fit's residual variance over that of an evaluation at its relative variances."""
    ratios = [
        float(np.trace(a.covariance) / np.trace(b.covariance))
        for a, b in zip(fit, found, strict=True)
        if np.trace(b.covariance) > 0
    ]
    return ratios[0] if ratios else 1.0


def _table(results: YearlyEffects, panel: YearPanel, found: LeftOutYears) -> pd.DataFrame:
    n, T = panel.residual.shape
    there = ~np.isnan(panel.residual)
    others = there.sum(axis=1, keepdims=True) - there
    prior = np.tile(found.prior, (n, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(prior > 0, 1.0 - found.conditional / prior, 0.0)
        gained = np.where(prior > 0, 1.0 - found.total / prior, 0.0)
    schools = results.school_effects["school_id"]
    return pd.DataFrame(
        {
            "school_id": np.repeat(schools.to_numpy(dtype=object), T),
            "year": np.tile(panel.labels, n),
            "effect": found.mean.ravel(),
            "conditional_sd": np.sqrt(found.conditional).ravel(),
            "std_error": np.sqrt(found.total).ravel(),
            "mse": found.total.ravel(),
            "reliability": np.clip(kept, 0.0, 1.0).ravel(),
            "prmse": gained.ravel(),
            "n_years": others.astype(np.int64).ravel(),
            "n_pupils": whole_numbers(panel.n_pupils.ravel()),
            "residual": panel.residual.ravel(),
        }
    ).infer_objects()
