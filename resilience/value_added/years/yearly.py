"""What results of school effects hold by school and year, whichever model they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.value_added.definitions.yearly_effects import YearlyEffects

__all__ = ["YearlyEffects", "school_year_cells"]

Floats = NDArray[np.float64]


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
