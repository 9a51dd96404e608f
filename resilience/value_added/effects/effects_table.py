"""The table of school effects: estimates, two standard errors, ranks, bands."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.stats.ranking import (
    RankIntervals,
    bands,
    joint_ranks,
    posterior_ranks,
)
from resilience.validation import check_fraction

__all__ = ["coefficient_table", "effects_table", "school_ranks"]

Floats = NDArray[np.float64]

_JOINT_UP_TO = 1000  # schools: above, what schools share is left out of the table's ranks


def effects_table(
    *,
    school_id: NDArray[np.object_],
    effect: Floats,
    errors: EffectErrors,
    prior_variance: float,
    n_pupils: NDArray[np.int64],
    n_years: NDArray[np.int64],
    means: tuple[Floats, Floats],
    level: float = 0.95,
    random_state: int = 0,
) -> pd.DataFrame:
    """Return one row per school with the glossary's columns.

    Parameters
    ----------
    school_id : ndarray of shape (n_schools,)
        Labels.
    effect : ndarray of shape (n_schools,)
        Shrunken effects in outcome units.
    errors : EffectErrors
        Their errors.  ``std_error``, the interval, the probability and the band (a school against
        zero) use the prediction-error variance; ranks (schools against each other) the conditional
        one, because the error of the coefficients is shared.
    prior_variance : float
        Variance of the effects; reliability is 1 minus conditional over prior variance.
    n_pupils, n_years : ndarray of shape (n_schools,)
        Data behind the row.
    means : (observed, expected), ndarrays of shape (n_schools,)
        Mean observed result and mean result expected from the fixed part.
    level : float
        Coverage of the intervals of effects and ranks.
    random_state : int
        Seed of the draws behind the rank intervals (of up to 100 schools).

    Returns
    -------
    DataFrame
        In the order given.
    """
    check_fraction(level, argument="level", closed=False)
    conditional = np.sqrt(np.maximum(errors.conditional, 0.0))
    std_error = np.sqrt(errors.prediction)
    z = float(special.ndtri(0.5 + level / 2.0))
    trusted = (
        1.0 - errors.conditional / prior_variance if prior_variance > 0 else np.zeros_like(effect)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        p_above = special.ndtr(np.where(std_error > 0, effect / std_error, np.sign(effect) * 99))
    rank, (low, high) = school_ranks(effect, errors, level=level, random_state=random_state)
    return pd.DataFrame(
        {
            "school_id": school_id,
            "effect": effect,
            "std_error": std_error,
            "conditional_sd": conditional,
            "conf_low": effect - z * std_error,
            "conf_high": effect + z * std_error,
            "reliability": np.clip(trusted, 0.0, 1.0),
            "n_pupils": n_pupils.astype(np.int64),
            "n_years": n_years.astype(np.int64),
            "observed_mean": means[0],
            "expected_mean": means[1],
            "rank_expected": rank,
            "rank_low": low,
            "rank_high": high,
            "p_above_zero": p_above,
            "band": bands(p_above),
        }
    ).infer_objects()


def coefficient_table(
    terms: tuple[str, ...], beta: Floats, covariance: Floats, *, level: float = 0.95
) -> pd.DataFrame:
    """Return ``term estimate std_error statistic p_value conf_low conf_high``."""
    std_error = np.sqrt(np.diag(covariance))
    z = float(special.ndtri(0.5 + level / 2.0))
    statistic = beta / std_error
    return pd.DataFrame(
        {
            "term": list(terms),
            "estimate": beta,
            "std_error": std_error,
            "statistic": statistic,
            "p_value": 2.0 * special.ndtr(-np.abs(statistic)),
            "conf_low": beta - z * std_error,
            "conf_high": beta + z * std_error,
        }
    )


def school_ranks(
    effect: Floats, errors: EffectErrors, *, level: float, random_state: int
) -> tuple[Floats, RankIntervals]:
    """Return the ranks of the table: by conditional errors, with what schools share of them.

    Shared are the errors of outer units and of factors that are crossed with the school.

    The error of the coefficients cancels in a comparison up to the difference of two leverages;
    `rank_table` counts it on request.
    """
    correlated = bool(errors.shared) or errors.joint_conditional is not None
    if correlated and len(effect) <= _JOINT_UP_TO:
        n_draws = max(2000, min(10_000, 1_000_000 // len(effect)))
        return joint_ranks(
            effect,
            errors,
            coefficients=False,
            level=level,
            n_draws=n_draws,
            random_state=random_state,
        )
    conditional = np.sqrt(np.maximum(errors.conditional, 0.0))
    return posterior_ranks(effect, conditional, level=level, random_state=random_state)
