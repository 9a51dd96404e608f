r"""Best linear predictions of what lasts and of single years, whatever the model.

Where the yearly residuals hold all that the fit knows (schools and years, any covariance between
years), the closed form of `resilience.stats.prediction.states` serves.  With slopes, outer levels
or subjects the years are written as a vector of the school's own groups
(`resilience.stats.prediction.year_vectors`); where units cross, each target is one linear function
of the fit's effects (`resilience.stats.prediction.row_errors`); models of means hand their own
posterior over.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import MixedFit
from resilience.stats.prediction.prediction_errors import coefficient_half
from resilience.stats.prediction.row_errors import LevelRows, crossed_row_variances
from resilience.stats.prediction.states import YearTarget, target_posteriors
from resilience.stats.prediction.year_vectors import vector_effects
from resilience.validation import shorten
from resilience.value_added.definitions.drift import Drift, TargetMoments, drift_of
from resilience.value_added.years.panel import (
    YearPanel,
    held_by_residuals,
    panel_design,
    year_labels,
    year_numbers,
    year_panel,
)
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["check_years", "target_moments"]

Floats = NDArray[np.float64]


class YearPosterior(Protocol):
    """What a model hands over that knows the posterior of its years itself."""

    def moments(self, target: YearTarget, axis: Floats) -> TargetMoments:
        """Return the prediction of a target; ``axis`` are the years of the data as numbers."""


def check_years(results: YearlyEffects) -> None:
    """Raise a `SpecificationError` unless the model has a year level."""
    if results.time is None or "year" not in results.school_years.columns:
        raise SpecificationError(text("value_added.this_years_effect"))


def target_moments(
    results: YearlyEffects, target: YearTarget, words: str, *, lag_correlation: float = 0.0
) -> TargetMoments:
    """Return the best linear prediction of a target for every school, in the order of the effects.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    target : YearTarget
        Weights of what lasts and of years.
    words : str
        Name of the target in messages.
    lag_correlation : float
        ρ in [0, 1) for fits that take the years as independent.

    Raises
    ------
    SpecificationError
        See `resilience.value_added.years.targets.target_table`.
    """
    drift = drift_of(results)
    labels = year_labels(results)
    axis = year_numbers(labels)
    if drift is not None:
        return _of_drift(drift, target, axis, labels, lag_correlation)
    beyond = target.years > axis.max()
    if lag_correlation == 0.0:
        if beyond.all():
            return _of_table(results, target)
        known = YearTarget(
            persistent=target.persistent,
            years=target.years[~beyond],
            weights=target.weights[~beyond],
        )
        extra = results.variances["transient"] * float((target.weights[beyond] ** 2).sum())
        return _widened(_independent(results, known, words), extra)
    panel = year_panel(results)
    if not held_by_residuals(results, panel):
        key = "not_yearly_subjects" if "subject" in results.school_years else "not_yearly"
        raise SpecificationError(text(f"value_added.{key}", target=words))
    return _of_panel(results, panel, target, lag_correlation)


def _of_drift(
    drift: Drift,
    target: YearTarget,
    axis: Floats,
    labels: NDArray[np.object_],
    lag_correlation: float,
) -> TargetMoments:
    if lag_correlation != 0.0:
        raise SpecificationError(text("drift.own_correlation", given=f"{lag_correlation:g}"))
    if drift.kind == "unstructured" and (target.years > axis.max()).any():
        years = shorten(labels.tolist(), 12)
        raise SpecificationError(text("drift.no_next_year", years=years))
    return drift.predict(target, axis)


def _of_table(results: YearlyEffects, target: YearTarget) -> TargetMoments:
    """Return what lasts, and years of which nothing is known, from the model's own posterior."""
    a, errors = target.persistent, results.errors
    plain = TargetMoments(
        mean=a * results.school_effects["effect"].to_numpy(dtype=float),
        conditional=a**2 * np.maximum(errors.conditional, 0.0),
        total=a**2 * errors.prediction,
        prior=a**2 * results.variances["persistent"],
        leverage=a * errors.leverage,
    )
    extra = results.variances["transient"] * float(target.weights @ target.weights)
    return _widened(plain, extra)


def _widened(found: TargetMoments, extra: float) -> TargetMoments:
    """Add the variance of years' parts that nothing is known of."""
    return TargetMoments(
        mean=found.mean,
        conditional=found.conditional + extra,
        total=found.total + extra,
        prior=found.prior + extra,
        leverage=found.leverage,
    )


def _independent(results: YearlyEffects, target: YearTarget, words: str) -> TargetMoments:
    """Return a target of years of the data where the years are independent given what lasts."""
    own: YearPosterior | None = getattr(results, "year_posterior", None)
    panel = year_panel(results)
    fitted, cross = getattr(results, "mixed", None), getattr(results, "cross", None)
    if held_by_residuals(results, panel):
        return _of_panel(results, panel, target, 0.0)
    if own is not None:
        return own.moments(target, panel.years)
    if isinstance(fitted, MixedFit) and isinstance(cross, CrossProducts):
        return _of_vectors(results, fitted, cross, target, panel)
    if isinstance(fitted, MixedFit) and isinstance(cross, CrossedProducts):
        return _of_crossed(results, fitted, cross, target, panel)
    raise SpecificationError(text("value_added.not_yearly", target=words))


def _of_panel(
    results: YearlyEffects, panel: YearPanel, target: YearTarget, lag_correlation: float
) -> TargetMoments:
    variances = (results.variances["persistent"], results.variances["transient"])
    found = target_posteriors(
        panel.residual,
        panel.sampling,
        panel.years,
        target,
        variances=variances,
        lag_correlation=lag_correlation,
    )
    gain = np.where(np.isnan(panel.residual), 0.0, found.gain)
    leverage = np.einsum("jt,jtp->jp", gain, panel_design(results, panel))
    half = coefficient_half(leverage, results.errors.beta_covariance)
    return TargetMoments(
        mean=found.mean,
        conditional=found.variance,
        total=found.variance + np.einsum("jp,jp->j", half, half),
        prior=found.prior,
        leverage=leverage,
    )


def _year_weights(target: YearTarget, panel: YearPanel) -> Floats:
    """Return the weight of every year of the data, shape (n_years,)."""
    weights = np.zeros(len(panel.years))
    for year, weight in zip(target.years, target.weights, strict=True):
        weights[int(np.searchsorted(panel.years, year))] += weight
    return weights


def _of_vectors(
    results: YearlyEffects,
    fitted: MixedFit,
    cross: CrossProducts,
    target: YearTarget,
    panel: YearPanel,
) -> TargetMoments:
    at = [level.name for level in fitted.levels].index(str(results.group))
    effects = vector_effects(cross, fitted, at, panel.labels.tolist())
    weights = _year_weights(target, panel)
    lasting, yearly = results.loading(at), results.loading(at + 1)
    loading = np.concatenate([target.persistent * lasting, np.kron(weights, yearly)])
    conditional = np.maximum(np.einsum("jab,a,b->j", effects.conditional, loading, loading), 0.0)
    half = np.einsum("jap,a->jp", effects.coefficient_part, loading)
    return TargetMoments(
        mean=effects.modes @ loading,
        conditional=conditional,
        total=conditional + np.einsum("jp,jp->j", half, half),
        prior=float(loading @ effects.covariance @ loading),
        leverage=np.einsum("jap,a->jp", effects.leverage, loading),
    )


def _of_crossed(
    results: YearlyEffects,
    fitted: MixedFit,
    products: CrossedProducts,
    target: YearTarget,
    panel: YearPanel,
) -> TargetMoments:
    """Return a target as one linear function of the effects of each school and its years."""
    names = [level.name for level in fitted.levels]
    at = names.index(str(results.group))
    school, cells = fitted.levels[at], fitted.levels[at + 1]
    n, weights = len(school.labels), _year_weights(target, panel)
    lasting = target.persistent * results.loading(at)
    where = pd.MultiIndex.from_arrays([cells.parent, cells.labels])
    asked = pd.MultiIndex.from_product([np.arange(n), panel.labels])
    units = where.get_indexer(asked).reshape(n, len(weights)).astype(np.int64)
    rows = [
        LevelRows(
            weights=np.zeros((n, len(level.terms))),
            units=np.zeros((n, 1), dtype=np.int64),
            shares=np.zeros((n, 1)),
        )
        for level in fitted.levels
    ]
    rows[at] = LevelRows(
        weights=np.tile(lasting, (n, 1)),
        units=np.arange(n, dtype=np.int64)[:, None],
        shares=np.ones((n, 1)),
    )
    rows[at + 1] = LevelRows(weights=np.ones((n, 1)), units=units, shares=np.tile(weights, (n, 1)))
    nothing = np.zeros((n, len(fitted.terms)))
    conditional, total = (
        crossed_row_variances(products, fitted, nothing, rows, coefficients=errors)
        for errors in (False, True)
    )
    parts = np.append(cells.modes[:, 0], 0.0)[units]
    spread = float(cells.covariance[0, 0])
    return TargetMoments(
        mean=school.modes @ lasting + parts @ weights,
        conditional=np.maximum(conditional, 0.0),
        total=np.maximum(total, 0.0),
        prior=float(lasting @ school.covariance @ lasting) + spread * float(weights @ weights),
    )
