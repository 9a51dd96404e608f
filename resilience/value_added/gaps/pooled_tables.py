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

__all__ = ["pooled_augment", "pooled_prediction", "pooled_years"]

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


def pooled_years(tables: Sequence[pd.DataFrame], *, level: float | None = None) -> pd.DataFrame:
    """Return tables of the years' effects, with the variance between the fits added.

    Parameters
    ----------
    tables : sequence of DataFrame
        Of one shape: ``effect std_error`` and what stands beside them, of every fit.
    level : float, optional
        Coverage of the tables' intervals, where they have any.
    """
    first, n = tables[0], len(tables)
    effect = _stack(tables, "effect")
    mean, between = effect.mean(axis=0), (1.0 + 1.0 / n) * effect.var(axis=0, ddof=1)
    found = first.assign(effect=mean)
    spreads = [c for c in ("std_error", "conditional_sd", "predictive_sd") if c in first.columns]
    for name in spreads:
        found[name] = np.sqrt((_stack(tables, name) ** 2).mean(axis=0) + between)
    if "mse" in first.columns:
        found["mse"] = found["std_error"] ** 2
    if "residual" in first.columns:
        found["residual"] = _stack(tables, "residual").mean(axis=0)
    if "reliability" in first.columns:
        found = found.assign(**_trust(tables, found))
    if level is not None:
        z = float(special.ndtri(0.5 + level / 2.0))
        for name in ("conf", "predictive"):
            if f"{name}_low" in first.columns:
                half = (_stack(tables, f"{name}_high") - _stack(tables, f"{name}_low")) / (2.0 * z)
                reach = z * np.sqrt((half**2).mean(axis=0) + between)
                found = found.assign(**{f"{name}_low": mean - reach, f"{name}_high": mean + reach})
    return found


def _trust(tables: Sequence[pd.DataFrame], pooled: pd.DataFrame) -> dict[str, Floats]:
    """Return reliability and PRMSE of the pooled effects against the mean variance of the target.

    In each fit one minus PRMSE is the squared error over the target's variance among schools.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        each = _stack(tables, "std_error") ** 2 / (1.0 - _stack(tables, "prmse"))
        prior = np.where(np.isfinite(each), each, 0.0).mean(axis=0)
        lost = pooled["std_error"].to_numpy() ** 2 / prior
    known = np.where(prior > 0, 1.0 - lost, 0.0)
    if "conditional_sd" not in pooled.columns:
        gap = _stack(tables, "reliability").mean(axis=0) - _stack(tables, "prmse").mean(axis=0)
        return {"reliability": np.clip(known + gap, 0.0, 1.0), "prmse": known}
    with np.errstate(divide="ignore", invalid="ignore"):
        open_ = pooled["conditional_sd"].to_numpy() ** 2 / prior
    trust = np.where(prior > 0, np.clip(1.0 - open_, 0.0, 1.0), 0.0)
    return {"reliability": trust, "prmse": known}


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
