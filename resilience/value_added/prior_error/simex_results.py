"""Results of SIMEX: coefficients without errors of the prior, and the curves behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results
from resilience.stats.refits.simex import Extrapolation

__all__ = ["SimexResults", "Variance"]

Variance = Literal["jackknife", "simulation"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SimexResults(Results):
    """Coefficients and school effects as they would be if the prior had no errors, by SIMEX.

    Attributes
    ----------
    fixed_effects : DataFrame
        ``term estimate std_error statistic p_value conf_low conf_high extrapolation
        simulation_error reason``: ``extrapolation`` is the curve behind the estimate, ``reason``
        says why it is not the one asked for, ``simulation_error`` is what more pseudo data sets
        would still move.
    naive : DataFrame
        The fit that takes the prior for exact: ``term estimate std_error …``.
    extrapolations : DataFrame
        Both curves of every term: ``term extrapolation estimate simulation_error pole reason``.
        The rational curve behaves where ``reason`` is empty.
    curve : DataFrame
        ``term error_multiplier extrapolation estimate simulation_error``: the means over the
        pseudo data sets (``simulated``) and points of both curves.
    school_effects : DataFrame
        One row per school, the columns of `ValueAddedResults.school_effects`.
    variance_components : DataFrame
        Of the residuals at the coefficients of SIMEX, errors of the prior included.
    reliabilities : DataFrame
        Priors and their errors.
    group : str
        School column.
    extrapolation : {"rational", "quadratic"}
        Curve asked for.
    variance : {"jackknife", "simulation"}
        Where standard errors come from.
    n_simulations : int
        Pseudo data sets per multiplier that have estimates.
    n_sets : int
        Sets of schools left out; 0 without the jackknife.
    reasons : dict of {str: int}
        Why pairs of pseudo data sets have no estimates, and how many.
    level : float
        Coverage of the intervals.

    References
    ----------
    CookStefanski1994; StefanskiCook1995; CarrollEtAl2006, chapter 5.
    """

    fixed_effects: pd.DataFrame
    naive: pd.DataFrame
    extrapolations: pd.DataFrame
    curve: pd.DataFrame
    school_effects: pd.DataFrame
    variance_components: pd.DataFrame
    reliabilities: pd.DataFrame
    group: str
    extrapolation: Extrapolation
    variance: Variance
    n_simulations: int
    n_sets: int
    reasons: dict[str, int]
    level: float

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("simex.title").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per term."""
        return self.fixed_effects.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: sizes, reliabilities, pseudo data sets and how they ended."""
        return pd.DataFrame(
            {
                "n_schools": [len(self.school_effects)],
                "n_pupils": [int(self.school_effects["n_pupils"].sum())],
                "prior_reliability": [float(self.reliabilities["prior_reliability"].min())],
                "n_simulations": [self.n_simulations],
                "n_refits_failed": [2 * sum(self.reasons.values())],
                "interval_level": [self.level],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the effect of each row's school and its interval.

        Raises
        ------
        DataError
            If the column of schools is not there.
        """
        if self.group not in data.columns:
            raise DataError(text("value_added.augment_group", group=repr(self.group), n=len(data)))
        columns = ["effect", "std_error", "conf_low", "conf_high"]
        return data.join(self.school_effects.set_index("school_id")[columns], on=self.group)

    def summary(self, lang: str = "en") -> str:
        """Return the heading, sizes, coefficients, and why pseudo data sets failed."""
        printed = super().summary(lang)
        if not self.reasons:
            return printed
        rows = [text("refits.failed", n=2 * n, reason=why) for why, n in self.reasons.items()]
        return "\n".join([printed, "", *(row.localized(lang) for row in rows)])
