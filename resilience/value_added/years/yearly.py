"""What results of school effects hold by school and year, whichever model they come from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.prediction_errors import EffectErrors

__all__ = ["YearlyEffects", "school_year_cells"]

Floats = NDArray[np.float64]


class YearlyEffects(Protocol):
    """What results of school effects hold that the tables of this module need."""

    @property
    def school_effects(self) -> pd.DataFrame:
        """One row per school."""

    @property
    def school_years(self) -> pd.DataFrame:
        """One row per school and year."""

    @property
    def variances(self) -> dict[str, float]:
        """Persistent, transient and residual variance."""

    @property
    def variance_components(self) -> pd.DataFrame:
        """One row per variance of the model."""

    @property
    def errors(self) -> EffectErrors:
        """Joint errors."""

    @property
    def time(self) -> str | None:
        """Year column."""

    @property
    def year_design(self) -> Floats | None:
        """Mean covariates of each row of ``school_years``."""

    @property
    def n_schools(self) -> int:
        """Number of schools."""

    @property
    def group(self) -> str:
        """School column."""

    def loading(self, at: int) -> Floats:
        """Where the effect of a level of the engine's fit is read among its terms."""


def school_year_cells(results: YearlyEffects) -> pd.DataFrame:
    """Return ``school_id [year] residual precision n_pupils``, one row per school and year.

    Several rows of one school and year (subjects, procedures) count as independent results.
    """
    rows = results.school_years
    variance = rows["sampling_variance"].to_numpy(dtype=float)
    usable = np.isfinite(variance) & (variance > 0)
    keys = ["school_id", *(["year"] if "year" in rows.columns else [])]
    kept = rows.loc[usable, [*keys, "residual", "n_pupils"]]
    precision = 1.0 / variance[usable]
    kept = kept.assign(precision=precision, weighted=precision * kept["residual"].to_numpy())
    sums = kept.groupby(keys, sort=True, as_index=False)[
        ["precision", "weighted", "n_pupils"]
    ].sum()
    mean = sums["weighted"] / sums["precision"]
    found: pd.DataFrame = sums.assign(residual=mean).drop(columns="weighted")
    return found
