"""Predictions of what lasts, of one year, of the year to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.prediction.states import YearTarget
from resilience.validation import shorten
from resilience.value_added.years.moments import check_years, target_moments
from resilience.value_added.years.panel import has_further_parts, year_labels, year_numbers
from resilience.value_added.years.yearly import YearlyEffects

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


def target_table(
    results: YearlyEffects, target: Target, *, lag_correlation: float = 0.0
) -> pd.DataFrame:
    r"""Return the best linear prediction of a target for every school.

    With :math:`d_t = u + v_t + e_t`, :math:`\mathrm{cov}(v_t, v_s) = \sigma_v^2\rho^{|t-s|}` and
    the known :math:`\mathrm{Var}(e_t) = s_t^2`, the prediction is :math:`k'V^{-1}d` with variance
    :math:`q - k'V^{-1}k`; k and q are the covariances of the target with the years' effects and its
    variance among schools (`resilience.stats.prediction.states.target_posteriors`).  ``persistent``
    is u, a year's effect :math:`u + v_t`.  Slopes, outer levels, subjects and crossed units enter
    through the fit's own joint posterior (`resilience.value_added.years.moments`).  ``mse`` is the
    mean squared error of the prediction, ``std_error`` its root; ``reliability`` is one minus
    ``conditional_sd``² over q, and ``prmse`` the same with ``mse``: the proportional reduction of
    the mean squared error against taking every school for average, below 0 where the average is the
    better guess.

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
        ``school_id effect conditional_sd std_error mse reliability prmse target``.

    Raises
    ------
    SpecificationError
        Without a year level, for an unknown target or year; for a ``lag_correlation`` where the
        model has parts that yearly residuals do not hold (slopes, outer levels, procedures); for
        the next year of a fit whose years have an unstructured covariance.

    References
    ----------
    Henderson1975.
    """
    check_years(results)
    wanted, words = read_target(target, year_labels(results))
    found = target_moments(results, wanted, words, lag_correlation=lag_correlation)
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
        mse=total,
        reliability=np.clip(shares[0], 0.0, 1.0),
        prmse=shares[1],
        target=words,
    )


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


def _listed(labels: NDArray[np.object_]) -> str:
    return shorten(labels.tolist(), 12)
