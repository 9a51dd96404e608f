"""What results of a model with years say of single years: methods over their tables."""

from __future__ import annotations

import pandas as pd

from resilience.value_added.years.forecast import CohortSize, forecast_table
from resilience.value_added.years.left_out import leave_year_table
from resilience.value_added.years.lines import year_effects_table
from resilience.value_added.years.targets import Target, target_table
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["YearMethods"]


class YearMethods:
    """Targets, left-out years and forecasts of any results of school effects."""

    def predict_effects(
        self: YearlyEffects, target: Target = "persistent", *, lag_correlation: float = 0.0
    ) -> pd.DataFrame:
        """Return the best prediction of what lasts, of one year, or of the year to come.

        See `resilience.value_added.years.targets.target_table` for the formulas.

        Parameters
        ----------
        target : {"persistent", "last_year", "next_year"} or mapping of {year: weight}
            The lasting effect; the effect of the last year of the data, of the year after it, or
            a weighted sum of the effects of years.
        lag_correlation : float
            Correlation of the transient effects of neighbouring years, in [0, 1).

        Returns
        -------
        DataFrame
            ``school_id effect conditional_sd std_error mse reliability prmse target``.
        """
        return target_table(self, target, lag_correlation=lag_correlation)

    def leave_year_out(self: YearlyEffects, *, lag_correlation: float = 0.0) -> pd.DataFrame:
        """Return every school-year's effect, predicted from the school's other years.

        With the variances of the fit; the coefficients are those of the fit where yearly residuals
        hold all it knows of schools, and those of the other years otherwise (slopes, outer
        levels).  Set against ``residual`` the effects validate the model: they share no noise
        with it.  See `resilience.value_added.years.left_out` for the formulas.

        Parameters
        ----------
        lag_correlation : float
            Correlation of the transient effects of neighbouring years, in [0, 1), for fits that
            take them as independent.

        Returns
        -------
        DataFrame
            ``school_id year effect conditional_sd std_error mse reliability prmse n_years n_pupils
            residual``: a row for every school and year of the data; ``n_years`` counts the other
            years behind the effect.

        Raises
        ------
        SpecificationError
            Without a year level; where units cross or subjects are fitted jointly, for counts of
            marks, for drift beside slopes or outer levels.
        DataError
            If the cross-products of school-years were not kept.
        """
        return leave_year_table(self, lag_correlation=lag_correlation)

    def forecast(
        self: YearlyEffects,
        n_pupils: CohortSize = None,
        *,
        level: float = 0.95,
        lag_correlation: float = 0.0,
        years_ahead: int = 1,
    ) -> pd.DataFrame:
        """Return the mean residual of every school's next cohort with a predictive interval.

        The interval counts what is not known of the effect and of the coefficients, and the draw
        of pupils.  See `resilience.value_added.years.forecast` for the formulas.

        Parameters
        ----------
        n_pupils : int, mapping of {school: int} or Series, optional
            Pupils of the coming cohort; by default as many as in the school's last year.
        level : float
            Coverage of the interval, in (0, 1).
        lag_correlation : float
            Correlation of the transient effects of neighbouring years, in [0, 1), for fits that
            take them as independent.
        years_ahead : int
            Years after the last one of the data.

        Returns
        -------
        DataFrame
            ``school_id effect std_error reliability prmse n_years last_results n_pupils
            predictive_sd predictive_low predictive_high``.

        Raises
        ------
        SpecificationError
            Without a year level, for unstructured drift, counts of marks, or bad numbers of pupils.
        DataError
            For unknown or missing schools in ``n_pupils``.
        """
        return forecast_table(
            self,
            n_pupils,
            level=level,
            lag_correlation=lag_correlation,
            years_ahead=years_ahead,
        )

    def year_effects(
        self: YearlyEffects,
        n_pupils: CohortSize = None,
        *,
        level: float = 0.95,
        lag_correlation: float = 0.0,
        forecast: bool = True,
    ) -> pd.DataFrame:
        """Return every school's effect year by year, the forecast of the next year at the end.

        Parameters
        ----------
        n_pupils, level, lag_correlation
            As for `forecast`.
        forecast : bool
            Whether a row of the year to come is added (years that are numbers).

        Returns
        -------
        DataFrame
            ``school_id year is_forecast effect std_error conf_low conf_high n_pupils residual
            predictive_low predictive_high``; years without results of the school have rows too.
        """
        return year_effects_table(
            self, n_pupils, level=level, lag_correlation=lag_correlation, forecast=forecast
        )
