"""Predictions of what lasts, of one year, of the year to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.prediction_errors import coefficient_half
from resilience.stats.states import YearTarget, target_posteriors
from resilience.validation import shorten
from resilience.value_added.definitions.drift import Drift, drift_of
from resilience.value_added.years.yearly import YearlyEffects, school_year_cells

__all__ = [
    "Target",
    "has_further_parts",
    "predicted",
    "read_target",
    "target_table",
    "year_numbers",
]

Floats = NDArray[np.float64]
Target = Literal["persistent", "last_year", "next_year"] | Mapping[int, float]

_TARGETS = ("persistent", "last_year", "next_year")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Panel:
    """The yearly residuals of all schools as one table of schools by years."""

    residual: Floats
    sampling: Floats
    years: Floats
    labels: NDArray[np.object_]


def target_table(
    results: YearlyEffects, target: Target, *, lag_correlation: float = 0.0
) -> pd.DataFrame:
    r"""Return the best linear prediction of a target for every school.

    With :math:`d_t = u + v_t + e_t`, :math:`\mathrm{cov}(v_t, v_s) = \sigma_v^2\rho^{|t-s|}` and
    the known :math:`\mathrm{Var}(e_t) = s_t^2`, the prediction is :math:`k'V^{-1}d` with variance
    :math:`q - k'V^{-1}k`; k and q are the covariances of the target with the years' effects and
    its variance among schools (`resilience.stats.states.target_posteriors`).  ``persistent`` is u,
    a year's effect :math:`u + v_t`.  ``reliability`` is one minus ``conditional_sd``² over q, and
    ``prmse`` the same with ``std_error``: the proportional reduction of the mean squared error
    against taking every school for average, below 0 where the average is the better guess.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    target : {"persistent", "last_year", "next_year"} or mapping of {year: weight}
        ``last_year`` is the last year of the data, for all schools the same, ``next_year`` the one
        after it.  Weights give :math:`\sum_t w_t(u + v_t)`: those of a difference of two years add
        up to 0.
    lag_correlation : float
        ρ in [0, 1) for fits that take the years as independent.  A fit with drift has estimated
        how its years hang together: its own posterior serves, slopes and outer levels included,
        and ``lag_correlation`` must stay at 0.

    Returns
    -------
    DataFrame
        ``school_id effect conditional_sd std_error reliability prmse target``.

    Raises
    ------
    SpecificationError
        Without a year level, for an unknown target or year, or where the model has parts that
        yearly residuals do not hold (slopes, outer levels, procedures) and the target needs them;
        for the next year of a fit whose years have an unstructured covariance.

    References
    ----------
    Henderson1975.
    """
    if results.time is None or "year" not in results.school_years.columns:
        raise SpecificationError(text("value_added.this_years_effect"))
    drift = drift_of(results)
    if drift is not None:
        return _of_drift(results, drift, target, lag_correlation)
    panel = _panel(results)
    wanted, words = read_target(target, panel.labels)
    variances = (results.variances["persistent"], results.variances["transient"])
    lasting = YearTarget(persistent=1.0, years=np.zeros(0), weights=np.zeros(0))
    plain = target_posteriors(
        panel.residual, panel.sampling, panel.years, lasting, variances=variances
    )
    table = results.school_effects
    scale = max(float(np.sqrt(variances[0])), 1e-300)
    whole = not has_further_parts(results) and bool(
        np.allclose(plain.mean, table["effect"], rtol=0, atol=1e-6 * scale)
        and np.allclose(np.sqrt(plain.variance), table["conditional_sd"], rtol=0, atol=1e-6 * scale)
    )
    beyond = bool((wanted.years > panel.years.max()).all())
    if lag_correlation == 0.0 and beyond:
        # nothing of the years' own effects is known of such a target: the model's own posterior of
        # the lasting part serves, whatever its further levels
        effect = wanted.persistent * table["effect"].to_numpy(dtype=float)
        extra = variances[1] * float(wanted.weights @ wanted.weights)
        square = wanted.persistent**2
        conditional = square * np.maximum(results.errors.conditional, 0.0) + extra
        total = square * results.errors.prediction + extra
        prior = square * variances[0] + extra
    elif not whole:
        key = "not_yearly_subjects" if "subject" in results.school_years else "not_yearly"
        raise SpecificationError(text(f"value_added.{key}", target=words))
    else:
        found = target_posteriors(
            panel.residual,
            panel.sampling,
            panel.years,
            wanted,
            variances=variances,
            lag_correlation=lag_correlation,
        )
        effect, conditional, prior = found.mean, found.variance, found.prior
        total = conditional + _coefficient_variance(results, panel, found.gain)
    return predicted(table["school_id"], effect, (conditional, total, prior), words)


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


def _of_drift(
    results: YearlyEffects, drift: Drift, target: Target, lag_correlation: float
) -> pd.DataFrame:
    """Return the table of a target from the posterior of a fit with drift."""
    if lag_correlation != 0.0:
        raise SpecificationError(text("drift.own_correlation", given=f"{lag_correlation:g}"))
    labels = np.sort(results.school_years["year"].unique()).astype(object)
    wanted, words = read_target(target, labels)
    axis = year_numbers(labels)
    if drift.kind == "unstructured" and (wanted.years > axis.max()).any():
        raise SpecificationError(text("drift.no_next_year", years=_listed(labels)))
    found = drift.predict(wanted, axis)
    return predicted(
        results.school_effects["school_id"],
        found.mean,
        (found.conditional, found.total, found.prior),
        words,
    )


def predicted(
    schools: pd.Series, effect: Floats, variances: tuple[Floats, Floats, float], words: str
) -> pd.DataFrame:
    """Return the table of a target from conditional, total and prior variances."""
    conditional, total, prior = variances
    shares = [1.0 - v / prior if prior > 0 else np.zeros_like(v) for v in (conditional, total)]
    return pd.DataFrame({"school_id": schools}).assign(
        effect=effect,
        conditional_sd=np.sqrt(conditional),
        std_error=np.sqrt(total),
        reliability=np.clip(shares[0], 0.0, 1.0),
        prmse=shares[1],
        target=words,
    )


def _panel(results: YearlyEffects) -> _Panel:
    cells = school_year_cells(results)
    labels = np.sort(cells["year"].unique())
    school = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(cells["school_id"]))
    at = np.searchsorted(labels, cells["year"].to_numpy())
    shape = (results.n_schools, len(labels))
    residual, sampling = np.full(shape, np.nan), np.full(shape, np.nan)
    residual[school, at] = cells["residual"].to_numpy(dtype=float)
    sampling[school, at] = 1.0 / cells["precision"].to_numpy(dtype=float)
    named = labels.astype(object)
    return _Panel(residual=residual, sampling=sampling, years=year_numbers(named), labels=named)


def read_target(target: Target, labels: NDArray[np.object_]) -> tuple[YearTarget, str]:
    """Return the target in terms of years and its name in the table.

    Parameters
    ----------
    target : {"persistent", "last_year", "next_year"} or mapping of {year: weight}
        As the user stated it.
    labels : ndarray of object
        Years of the data, ascending; years that are no numbers count as 0, 1, 2 …

    Raises
    ------
    SpecificationError
        For an unknown target or year, or weights that are not finite or all zero.
    """
    empty, at = np.zeros(0), year_numbers(labels)
    if isinstance(target, str):
        if target not in _TARGETS:
            raise SpecificationError(
                text("value_added.target", target=repr(target), years=_listed(labels))
            )
        if target == "persistent":
            return YearTarget(persistent=1.0, years=empty, weights=empty), target
        year = at.max() + (1.0 if target == "next_year" else 0.0)
        return YearTarget(persistent=1.0, years=np.array([year]), weights=np.ones(1)), target
    if not isinstance(target, Mapping) or not target:
        raise SpecificationError(
            text("value_added.target", target=repr(target), years=_listed(labels))
        )
    known = dict(zip(labels, at, strict=True))
    unknown = [year for year in target if year not in known]
    if unknown:
        raise SpecificationError(
            text("value_added.target_year", year=repr(unknown[0]), years=_listed(labels))
        )
    weights = np.array([float(w) for w in target.values()])
    if not np.isfinite(weights).all() or not weights.any():
        raise SpecificationError(text("value_added.target_weights", weights=dict(target)))
    words = "; ".join(f"{year}: {weight:g}" for year, weight in target.items())
    years = np.array([known[year] for year in target])
    return YearTarget(persistent=float(weights.sum()), years=years, weights=weights), words


def year_numbers(labels: NDArray[np.object_]) -> Floats:
    """Return the years as numbers: as they are, or their order where they are no numbers."""
    if all(isinstance(label, int | float | np.number) for label in labels):
        return labels.astype(np.float64)
    return np.arange(len(labels), dtype=np.float64)


def _listed(labels: NDArray[np.object_]) -> str:
    return shorten(labels.tolist(), 12)


def _coefficient_variance(results: YearlyEffects, panel: _Panel, gain: Floats) -> Floats:
    """Return the part of the error variance that the coefficients bring to a target.

    The leverage is the sum of the years' mean covariates, each times the weight of its residual.
    """
    if results.year_design is None:
        raise DataError(text("value_added.no_year_design"))
    rows = results.school_years
    school = pd.Index(results.school_effects["school_id"]).get_indexer(pd.Index(rows["school_id"]))
    at = pd.Index(panel.labels).get_indexer(pd.Index(rows["year"]))
    precision = 1.0 / rows["sampling_variance"].to_numpy(dtype=float)
    weight = np.where(at >= 0, gain[school, at] * precision * panel.sampling[school, at], 0.0)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    leverage = np.zeros((results.n_schools, results.year_design.shape[1]))
    np.add.at(leverage, school, weight[:, None] * results.year_design)
    half = coefficient_half(leverage, results.errors.beta_covariance)
    return np.asarray(np.einsum("jp,jp->j", half, half))
