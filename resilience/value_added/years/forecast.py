r"""The mean residual of a school's next cohort, with an interval that says what may come.

With the effect :math:`\tau_j` of the coming year, predicted as :math:`\hat\tau_j` with the leverage
:math:`\ell_j`, mean covariates :math:`\bar x_j` and n pupils of variance :math:`\sigma_e^2`, the
cohort's mean result minus what the coefficients of the fit expect of it is
:math:`r_j = \tau_j + \bar e_j - \bar x_j'(\hat\beta - \beta)`, and

.. math::

   \mathrm{Var}(\hat\tau_j - r_j) = \mathrm{Var}(\hat\tau_j - \tau_j \mid \beta)
   + (\bar x_j - \ell_j)'C(\bar x_j - \ell_j) + \sigma_e^2/n :

the effect, the coefficients, the draw of pupils.  Variances are taken as known.  Source:
Henderson1975.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.prediction.prediction_errors import coefficient_half
from resilience.stats.prediction.states import YearTarget
from resilience.validation import check_count, check_fraction, check_number, shorten
from resilience.value_added.definitions.drift import TargetMoments
from resilience.value_added.years.moments import check_years, target_moments
from resilience.value_added.years.panel import (
    YearPanel,
    panel_design,
    whole_numbers,
    year_panel,
)
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["CohortSize", "forecast_table"]

Floats = NDArray[np.float64]
CohortSize = int | float | Mapping[object, float] | pd.Series | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _LastYears:
    """What is taken from each school's last year with results."""

    design: Floats
    n_pupils: Floats
    per_pupil: Floats


def forecast_table(
    results: YearlyEffects,
    n_pupils: CohortSize = None,
    *,
    level: float = 0.95,
    lag_correlation: float = 0.0,
    years_ahead: int = 1,
) -> pd.DataFrame:
    """Return the forecast of every school's mean residual in a coming year.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    n_pupils : int, mapping of {school: int} or Series, optional
        Pupils of the coming cohort; by default as many as in the school's last year.  Infinity
        leaves the draw of pupils out.
    level : float
        Coverage of the interval, in (0, 1).
    lag_correlation : float
        ρ in [0, 1) for fits that take the years as independent.
    years_ahead : int
        Years after the last one of the data, at least 1.

    Returns
    -------
    DataFrame
        ``school_id effect std_error reliability prmse n_years last_results n_pupils predictive_sd
        predictive_low predictive_high``, a row per school: ``effect`` and ``std_error`` are those
        of ``predict_effects("next_year")``, the interval is that of the cohort's mean residual.

    Raises
    ------
    SpecificationError
        Without a year level or for an unstructured drift, which says nothing of years to come; for
        pupils that are no positive number, or given where the fit of means knows no numbers; if
        the results do not hold mean covariates (counts of marks).
    DataError
        If a school of the mapping is unknown or one of the fit is missing in it.

    References
    ----------
    Henderson1975.
    """
    check_years(results)
    if results.year_design is None:
        raise SpecificationError(text("forecast.no_design", kind=type(results).__name__))
    check_fraction(level, argument="level", closed=False)
    check_count(years_ahead, argument="years_ahead")
    panel = year_panel(results)
    last = _last_years(results, panel)
    target = YearTarget(
        persistent=1.0,
        years=np.array([panel.years.max() + years_ahead]),
        weights=np.ones(1),
    )
    found = target_moments(results, target, "next_year", lag_correlation=lag_correlation)
    sizes = _sizes(results, n_pupils, last.n_pupils)
    spread = np.sqrt(_predictive_variance(results, found, last, sizes))
    z = float(special.ndtri(0.5 + level / 2.0))
    prior = found.prior
    nothing = np.zeros(len(spread))
    there = ~np.isnan(panel.residual)
    return pd.DataFrame(
        {
            "school_id": results.school_effects["school_id"],
            "effect": found.mean,
            "std_error": np.sqrt(found.total),
            "reliability": np.clip(1 - found.conditional / prior, 0, 1) if prior > 0 else nothing,
            "prmse": 1.0 - found.total / prior if prior > 0 else nothing,
            "n_years": there.sum(axis=1).astype(np.int64),
            "last_results": _last_labels(panel),
            "n_pupils": whole_numbers(sizes),
            "predictive_sd": spread,
            "predictive_low": found.mean - z * spread,
            "predictive_high": found.mean + z * spread,
        }
    ).infer_objects()


def _last_at(panel: YearPanel) -> NDArray[np.int64]:
    """Return the position of each school's last year with results, −1 without any."""
    there = ~np.isnan(panel.residual)
    T = there.shape[1]
    return np.where(there.any(axis=1), T - 1 - np.argmax(there[:, ::-1], axis=1), -1)


def _last_labels(panel: YearPanel) -> pd.Series:
    at = _last_at(panel)
    return pd.Series([panel.labels[k] if k >= 0 else None for k in at], dtype=object)


def _last_years(results: YearlyEffects, panel: YearPanel) -> _LastYears:
    """Return covariates and pupils of each school's last year, and the variance of one pupil.

    The latter is the harmonic mean over the school's years: exactly that of the fit where a mean
    of n pupils has an n-th of it.  Of several subjects it is that of a pupil's mean.
    """
    design, at = panel_design(results, panel), _last_at(panel)
    rows, known = np.arange(len(at)), at >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(np.isnan(panel.sampling), 0.0, 1.0 / panel.sampling)
        own = panel.n_pupils.sum(axis=1) / precision.sum(axis=1)
    whole = float(panel.n_pupils.sum() / precision.sum())
    if "subject" in results.school_years.columns:
        design, pupils_of = _of_subjects(results, panel)
        own = np.full(len(at), results.variances["residual"])
        panel = replace(panel, n_pupils=pupils_of)
    usual = design[rows[known], at[known]].mean(axis=0)
    pupils = float(np.median(panel.n_pupils[rows[known], at[known]]))
    return _LastYears(
        design=np.where(known[:, None], design[rows, at], usual),
        n_pupils=np.where(known, panel.n_pupils[rows, at], pupils),
        per_pupil=np.where(np.isfinite(own), own, whole),
    )


def _of_subjects(results: YearlyEffects, panel: YearPanel) -> tuple[Floats, Floats]:
    """Return covariates in the plain mean of the subjects, and pupils who count once for all.

    The effects are those in the plain mean of the subjects, and the residual variance is that of a
    pupil's mean over them.
    """
    rows = results.school_years
    school = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(rows["school_id"]))
    at = pd.Index(panel.labels).get_indexer(pd.Index(rows["year"].astype(object)))
    design = np.asarray(results.year_design, dtype=float)
    there = np.isfinite(design).all(axis=1)
    shape = panel.residual.shape
    sums, counts, largest = np.zeros((*shape, design.shape[1])), np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (school[there], at[there]), design[there])
    np.add.at(counts, (school[there], at[there]), 1.0)
    np.maximum.at(largest, (school, at), rows["n_pupils"].to_numpy(dtype=float))
    return sums / np.maximum(counts, 1.0)[:, :, None], largest


def _predictive_variance(
    results: YearlyEffects, found: TargetMoments, last: _LastYears, sizes: Floats
) -> Floats:
    sampling = np.where(np.isinf(sizes), 0.0, last.per_pupil / sizes)
    assert found.leverage is not None  # every prediction beyond the data comes with its leverage
    half = coefficient_half(last.design - found.leverage, results.errors.beta_covariance)
    return np.asarray(found.conditional + np.einsum("jp,jp->j", half, half) + sampling)


def _sizes(results: YearlyEffects, given: CohortSize, usual: Floats) -> Floats:
    """Return pupils of the coming cohort of every school."""
    if given is None:
        return usual
    counts = results.school_years["n_pupils"].to_numpy(dtype=float)
    means = getattr(results, "data_kind", "pupils") == "means"
    if means and (counts == 1.0).all() and not results.variances["residual"] > 0:
        raise SpecificationError(text("forecast.no_numbers"))
    if isinstance(given, pd.Series | Mapping):
        return _by_school(results, given)
    check_number(given, argument="n_pupils")
    if not given > 0:
        raise SpecificationError(text("forecast.pupils", value=repr(given), places=""))
    return np.full(len(usual), float(given))


def _by_school(results: YearlyEffects, given: Mapping[object, float] | pd.Series) -> Floats:
    schools = results.school_effects["school_id"]
    table = given if isinstance(given, pd.Series) else pd.Series(dict(given), dtype=object)
    if not table.index.is_unique:
        again = table.index[table.index.duplicated()].unique()
        raise DataError(text("forecast.twice", schools=shorten(again)))
    unknown = table.index[~table.index.isin(schools)]
    if len(unknown):
        raise DataError(text("forecast.unknown", n=len(unknown), schools=shorten(unknown)))
    missing = schools[~schools.isin(table.index)]
    if len(missing):
        raise DataError(text("forecast.missing", n=len(missing), schools=shorten(missing)))
    sizes = pd.to_numeric(table.reindex(schools), errors="coerce").to_numpy(
        dtype=float, na_value=np.nan
    )
    bad = ~(sizes > 0)
    if bad.any():
        first = int(np.argmax(bad))
        raise SpecificationError(
            text(
                "forecast.pupils",
                value=repr(table.loc[schools.iloc[first]]),
                places=f" ({schools.iloc[first]})",
            )
        )
    return np.asarray(sizes)
