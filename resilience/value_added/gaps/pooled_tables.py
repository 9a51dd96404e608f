"""Tables of several fits pooled row by row: predictions, targets of years, fitted values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.stats.rubin import pool_estimates
from resilience.value_added.fits.prediction import Effects
from resilience.value_added.intake.tables_in_memory import table_in_memory
from resilience.value_added.results import ValueAddedResults

__all__ = ["pooled_augment", "pooled_prediction", "pooled_target"]

Floats = NDArray[np.float64]
Fits = Sequence[ValueAddedResults]


def pooled_prediction(
    fits: Fits, data: object, *, effects: Effects, interval: float | None
) -> pd.DataFrame:
    """Return predictions pooled over fits; see `ImputedResults.predict`.

    Parameters
    ----------
    fits : sequence of ValueAddedResults
        At least 2.
    data : frame of any library that narwhals knows
        Pupils without gaps.
    effects, interval
        As for `ValueAddedResults.predict`.
    """
    table = table_in_memory(data)
    found = [fit.predict(table, effects=effects, interval=interval) for fit in fits]
    first = _averaged(found, [c for c in found[0].columns if c not in table.columns])
    if interval is None:
        return first
    pooled = pool_estimates(_stack(found, "predicted"), _stack(found, "std_error") ** 2)
    z = float(special.ndtri(0.5 + interval / 2.0))
    half = (_stack(found, "pupil_high") - _stack(found, "pupil_low")) / (2.0 * z)
    pupil = pool_estimates(_stack(found, "predicted"), half**2)
    mean, reach, whole = pooled.estimate, z * pooled.std_error, z * pupil.std_error
    return first.assign(
        std_error=pooled.std_error,
        conf_low=mean - reach,
        conf_high=mean + reach,
        pupil_low=mean - whole,
        pupil_high=mean + whole,
    )


def pooled_augment(fits: Fits, frames: Sequence[pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the means of the fitted values of its completions.

    Parameters
    ----------
    fits : sequence of ValueAddedResults
        One per completion.
    frames : sequence of DataFrame
        Completions of the table.
    table : DataFrame
        The table itself, whose gaps stay.
    """
    found = [fit.augment(frame) for fit, frame in zip(fits, frames, strict=True)]
    new = [c for c in found[0].columns if c not in table.columns]
    averaged = _averaged(found, new)
    return table.assign(**{name: averaged[name].to_numpy() for name in new})


def pooled_target(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return predictions of a target of years, with the variance between the fits added.

    Parameters
    ----------
    tables : sequence of DataFrame
        ``school_id effect conditional_sd std_error reliability prmse target``.
    """
    effect = _stack(tables, "effect")
    total = pool_estimates(effect, _stack(tables, "std_error") ** 2)
    conditional = pool_estimates(effect, _stack(tables, "conditional_sd") ** 2)
    spread = _stack(tables, "conditional_sd") ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        # the target's variance among schools: one minus the reliability is its unexplained share
        prior = np.nanmean(spread / (1.0 - _stack(tables, "reliability")), axis=0)
        reliability = np.clip(1.0 - conditional.total / prior, 0.0, 1.0)
        prmse = 1.0 - total.total / prior
    return tables[0].assign(
        effect=total.estimate,
        conditional_sd=conditional.std_error,
        std_error=total.std_error,
        reliability=np.where(np.isfinite(prior), reliability, 0.0),
        prmse=prmse,
    )


def _stack(tables: Sequence[pd.DataFrame], column: str) -> Floats:
    return np.array([t[column].to_numpy(dtype=float) for t in tables])


def _averaged(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Return the first table with the means of the numbers among some columns."""
    means = {
        name: _stack(tables, name).mean(axis=0)
        for name in columns
        if pd.api.types.is_float_dtype(tables[0][name].dtype)
    }
    return tables[0].assign(**means)
