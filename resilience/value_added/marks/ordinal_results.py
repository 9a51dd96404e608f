"""Results of the model of counts: effects, thresholds, shares of marks, the price of coarsening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.prediction.prediction_errors import coefficient_half
from resilience.value_added.effects.effects_results import EffectsResults
from resilience.value_added.years.targets import Target, predicted, read_target, year_numbers

__all__ = ["OrdinalSchoolResults", "YearState"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class YearState:
    """Joint posterior of the lasting effect and the effects of the years, in the effects' unit.

    Attributes
    ----------
    years : ndarray of object, shape (T,)
        Years with a part of their own; empty without a year part.
    mean : ndarray of shape (n_schools, 1 + T)
        Lasting effect, then each year's part.
    covariance : ndarray of shape (n_schools, 1 + T, 1 + T)
        With thresholds and coefficients known.
    leverage : ndarray of shape (n_schools, 1 + T, f)
        How the means move against thresholds and coefficients; see `EffectErrors`.
    """

    years: NDArray[np.object_]
    mean: Floats
    covariance: Floats
    leverage: Floats


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OrdinalSchoolResults(EffectsResults):
    """Results of `OrdinalSchoolModel`; effects in SD of pupils of the region.

    Attributes
    ----------
    procedure : str or None
        Procedure column.
    marks : tuple of str
        Marks, lowest first.
    thresholds : DataFrame
        ``procedure year border threshold std_error``: the latent result from which a mark is given;
        0 is the pupil average of the procedure and year, 1 its SD.  ``border`` is the mark above.
    mark_shares : DataFrame
        ``procedure year mark n_marks observed_share fitted_share``.
    procedure_effects : DataFrame
        ``school_id procedure effect std_error conditional_sd``: lasting deviation of the school in
        one procedure from its effect in all; empty without that part.
    information_table : DataFrame
        ``procedure year n_pupils information``: share of the information of scores that the marks
        keep.
    coarsening : DataFrame
        ``school_id n_pupils reliability reliability_scores``: reliability from these data, and the
        one that the pupils' scores behind them would have given.
    spread_effects : DataFrame
        ``school_id spread_ratio std_error``: SD of a school's pupils over the region's, with the
        standard error of its logarithm; empty without that part.
    procedure_spreads : DataFrame
        ``procedure spread_ratio std_error``: the same of procedures; empty without that part.
    correlation : float
        Correlation of one pupil's results in two cells of a cohort, as stated; 0 without cohorts.
    state : YearState
        For effects of single years.
    """

    procedure: str | None
    marks: tuple[str, ...]
    thresholds: pd.DataFrame
    mark_shares: pd.DataFrame
    procedure_effects: pd.DataFrame
    information_table: pd.DataFrame
    coarsening: pd.DataFrame
    spread_effects: pd.DataFrame
    procedure_spreads: pd.DataFrame
    correlation: float
    state: YearState

    def tidy(self) -> pd.DataFrame:
        """Return coefficients, then thresholds, one row per term."""
        named = [
            text(
                "value_added_marks.threshold_term",
                procedure="" if p is None else str(p),
                year="" if y is None else str(y),
                border=str(b),
            )
            for p, y, b in self.thresholds[["procedure", "year", "border"]].itertuples(index=False)
        ]
        cuts = pd.DataFrame(
            {
                "term": pd.Series(named, dtype=object),
                "estimate": self.thresholds["threshold"].to_numpy(),
                "std_error": self.thresholds["std_error"].to_numpy(),
            }
        )
        if self.fixed_effects.empty:
            return cuts
        return pd.concat([self.fixed_effects, cuts], ignore_index=True)

    def glance(self) -> pd.DataFrame:
        """Return the common row with the stated correlation and the loss of reliability."""
        scores = float(self.coarsening["reliability_scores"].mean())
        return (
            super()
            .glance()
            .assign(within_correlation=self.correlation, mean_reliability_scores=scores)
        )

    def predict_effects(
        self, target: Target = "persistent", *, lag_correlation: float = 0.0
    ) -> pd.DataFrame:
        """Return the best prediction of what lasts, of one year, or of the year to come.

        From the joint posterior of the lasting effect and the years' parts, thresholds and
        coefficients integrated out: not from yearly residuals, which procedures that last and
        cohorts that return tie together.

        Parameters
        ----------
        target : {"persistent", "last_year", "next_year"} or mapping of {year: weight}
            See `EffectsResults.predict_effects`.
        lag_correlation : float
            Only 0: the fit takes the years' parts as independent.

        Raises
        ------
        SpecificationError
            Without a year part, for an unknown target or year, or another ``lag_correlation``.
        """
        if not len(self.state.years):
            raise SpecificationError(text("value_added.this_years_effect"))
        if lag_correlation != 0.0:
            raise SpecificationError(
                text("value_added_marks.lag_correlation", value=lag_correlation)
            )
        wanted, words = read_target(target, self.state.years)
        known = year_numbers(self.state.years)
        weights = np.concatenate([[wanted.persistent], np.zeros(len(known))])
        beyond = 0.0
        for year, weight in zip(wanted.years, wanted.weights, strict=True):
            at = np.flatnonzero(known == year)
            if len(at):
                weights[1 + at[0]] += weight
            else:
                beyond += float(weight) ** 2
        own = self.variances["transient"]
        conditional = np.einsum("a,jab,b->j", weights, self.state.covariance, weights)
        half = coefficient_half(
            np.einsum("a,jaf->jf", weights, self.state.leverage), self.errors.beta_covariance
        )
        extra = own * beyond
        prior = float(wanted.persistent**2 * self.variances["persistent"])
        prior += own * float((weights[1:] ** 2).sum() + beyond)
        total = conditional + np.einsum("jf,jf->j", half, half) + extra
        return predicted(
            self.school_effects["school_id"],
            self.state.mean @ weights,
            (conditional + extra, total, prior),
            words,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects, without the arrays of the posterior."""
        return {name: value for name, value in super().to_dict().items() if name != "state"}
