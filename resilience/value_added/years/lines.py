"""Every school's effect year by year, and the forecast at the end of the line."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from resilience.validation import check_fraction
from resilience.value_added.years.forecast import CohortSize, forecast_table
from resilience.value_added.years.moments import check_years
from resilience.value_added.years.panel import whole_numbers, year_panel
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["year_effects_table"]


def year_effects_table(
    results: YearlyEffects,
    n_pupils: CohortSize = None,
    *,
    level: float = 0.95,
    lag_correlation: float = 0.0,
    forecast: bool = True,
) -> pd.DataFrame:
    """Return the effect of every school in every year, from all its years together.

    Parameters
    ----------
    results : EffectsResults
        Results of a model with a year level.
    n_pupils : int, mapping of {school: int} or Series, optional
        Pupils of the coming cohort, for the forecast.
    level : float
        Coverage of the intervals, in (0, 1).
    lag_correlation : float
        ρ in [0, 1) for fits that take the years as independent.
    forecast : bool
        Whether a row of the year to come is added; it needs years that are numbers.

    Returns
    -------
    DataFrame
        ``school_id year is_forecast effect std_error conf_low conf_high n_pupils residual
        predictive_low predictive_high``, by school and year.  A year without results of the school
        has a row too, with ``n_pupils`` 0 and no residual.

    Raises
    ------
    SpecificationError
        Without a year level; with ``forecast``, for unstructured drift and counts of marks.
    """
    check_years(results)
    check_fraction(level, argument="level", closed=False)
    panel = year_panel(results)
    z = float(special.ndtri(0.5 + level / 2.0))
    schools = results.school_effects["school_id"]
    pieces = []
    for k, label in enumerate(panel.labels):
        found = results.predict_effects({label: 1.0}, lag_correlation=lag_correlation)
        error = found["std_error"]
        pieces.append(
            pd.DataFrame(
                {
                    "school_id": schools,
                    "year": label,
                    "is_forecast": False,
                    "effect": found["effect"],
                    "std_error": error,
                    "conf_low": found["effect"] - z * error,
                    "conf_high": found["effect"] + z * error,
                    "n_pupils": panel.n_pupils[:, k],
                    "residual": panel.residual[:, k],
                    "predictive_low": np.nan,
                    "predictive_high": np.nan,
                }
            )
        )
    numbers = bool((panel.labels.astype(object) == panel.years.astype(object)).all())
    if forecast and numbers:
        coming = forecast_table(results, n_pupils, level=level, lag_correlation=lag_correlation)
        pieces.append(
            coming[["school_id", "effect", "std_error", "n_pupils"]].assign(
                year=panel.labels[-1] + 1,
                is_forecast=True,
                conf_low=coming["effect"] - z * coming["std_error"],
                conf_high=coming["effect"] + z * coming["std_error"],
                residual=np.nan,
                predictive_low=coming["predictive_low"],
                predictive_high=coming["predictive_high"],
            )[list(pieces[0].columns)]
        )
    order = pd.concat([piece.assign(_at=np.arange(len(piece))) for piece in pieces])
    table = order.sort_values("_at", kind="stable").drop(columns="_at").reset_index(drop=True)
    table["n_pupils"] = whole_numbers(table["n_pupils"].to_numpy(dtype=float))
    return table
