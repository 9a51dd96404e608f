"""What the tables of years need of results, whichever model they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.prediction.prediction_errors import EffectErrors

__all__ = ["YearlyEffects"]

Floats = NDArray[np.float64]


class YearlyEffects(Protocol):
    """What results of school effects hold that the tables of years need."""

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

    def predict_effects(
        self, target: Mapping[Any, float], *, lag_correlation: float = 0.0
    ) -> pd.DataFrame:
        """Best linear predictions of a target of years."""
