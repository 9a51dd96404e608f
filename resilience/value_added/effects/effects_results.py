"""What every model of school effects returns: frozen, tabular, free of pupils."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Convergence, Results
from resilience.stats.mixed import MixedFit
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.stats.ranking import bands, comparative_multiplier
from resilience.validation import check_fraction
from resilience.value_added.definitions.question import DataKind, Question, describe_data
from resilience.value_added.effects.comparisons import (
    ErrorKind,
    at_level,
    comparative_table,
    pair_table,
    rank_table,
)
from resilience.value_added.effects.random_effects import level_loading
from resilience.value_added.effects.sufficiency import sufficiency_table
from resilience.value_added.years.year_methods import YearMethods

__all__ = ["EffectsResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectsResults(YearMethods, Results):
    """What every model of school effects returns.

    Attributes
    ----------
    formula : str
        Formula as fitted, added composition terms included.
    group, time : str, str or None
        School column and year column.
    method : {"reml", "ml"}
        Criterion that was minimised.
    criterion : float
        REML criterion or deviance with all constants.
    fixed_effects : DataFrame
        ``term estimate std_error statistic p_value conf_low conf_high``.
    variance_components : DataFrame
        ``group term variance std_dev correlation``; the residual is the last row.
    school_effects : DataFrame
        One row per school; columns in the glossary.  ``std_error`` includes the error of the fixed
        effects, ``conditional_sd`` does not: the interval, ``p_above_zero`` and ``band`` rest on
        the former, ranks and pairs of schools on the latter.
    school_years : DataFrame
        ``school_id [year] residual sampling_variance n_pupils``: observed minus expected mean of
        each school (and year) before any shrinkage.
    variances : dict
        ``persistent``, ``transient`` (0 without a year level) and ``residual`` variance.
    convergence : Convergence
        How the optimisation ended.
    question : Question
        Since when the school's part is counted.
    data_kind : {"pupils", "means", "counts", "mixture"}
        What the effects were estimated from.
    information : float
        Share of the information of pupils' scores on a school's result that the data keep: 1 for
        pupils and for means of known sampling variance, less for marks; NaN where unknown, with
        ``information_reason``.
    errors : EffectErrors
        Joint errors of the effects and the coefficients, in the order of ``school_effects``.
    year_design : ndarray of shape (rows of school_years, p), optional
        Mean covariates behind each row's expected mean; None where the model does not hand them
        over.
    level : float
        Coverage of the intervals in the tables.
    """

    formula: str
    group: str
    time: str | None
    method: str
    criterion: float
    fixed_effects: pd.DataFrame
    variance_components: pd.DataFrame
    school_effects: pd.DataFrame
    school_years: pd.DataFrame
    variances: dict[str, float]
    convergence: Convergence
    question: Question
    data_kind: DataKind
    information: float
    information_reason: Bilingual | None = None
    errors: EffectErrors
    year_design: NDArray[np.float64] | None = None
    level: float = 0.95

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return len(self.school_effects)

    @property
    def n_pupils(self) -> int:
        """Number of pupils (or pupil results) behind the effects."""
        return int(self.school_effects["n_pupils"].sum())

    @cached_property
    def icc(self) -> float:
        """Share of the unexplained variance that lies between schools and lasts, 0 to 1."""
        total = sum(self.variances.values())
        return self.variances["persistent"] / total if total > 0 else float("nan")

    @cached_property
    def comparative_multiplier(self) -> float:
        """Multiplier k of bars ±k·SD whose gap means a 5 % test of two schools."""
        spread = self.school_effects["conditional_sd"].to_numpy(dtype=float)
        return comparative_multiplier(spread, errors=self.errors, coefficients=False)

    def intervals(
        self,
        *,
        level: float = 0.95,
        errors: ErrorKind = "prediction",
        random_state: int = 0,
    ) -> pd.DataFrame:
        """Return `school_effects` with the intervals of effects and ranks at another level.

        Parameters
        ----------
        level : float
            Coverage, in (0, 1).  Nothing is fitted anew; ``p_above_zero`` and ``band`` stay.
        errors : {"prediction", "conditional"}
            Whether the intervals of the effects include the error of the coefficients.
        random_state : int
            Seed of the draws behind the rank intervals of few schools.
        """
        return at_level(
            self.school_effects, self.errors, level=level, kind=errors, random_state=random_state
        )

    def ranks(
        self,
        *,
        level: float = 0.95,
        errors: ErrorKind = "prediction",
        n_draws: int | None = None,
        random_state: int = 0,
    ) -> pd.DataFrame:
        """Return ``school_id rank_expected rank_low rank_high`` of the joint posterior.

        Ranks in `school_effects` take the coefficients as known, as published rankings do; these
        count their error, which all schools share, and what schools of one municipality share.

        Parameters
        ----------
        level : float
            Coverage of the rank intervals.
        errors : {"prediction", "conditional"}
            With or without the error of the coefficients.
        n_draws : int, optional
            Joint draws behind the limits: 10,000, fewer above 1,000 schools.
        random_state : int
            Seed of the draws.

        References
        ----------
        LairdLouis1989.
        """
        return rank_table(
            self.school_effects,
            self.errors,
            level=level,
            kind=errors,
            n_draws=n_draws,
            random_state=random_state,
        )

    def bands(self, *, outer: float = 0.975, inner: float = 0.80) -> pd.DataFrame:
        """Return ``school_id p_above_zero band`` for other cuts of the probability.

        Parameters
        ----------
        outer, inner : float
            ½ < inner ≤ outer < 1: a school is ``above`` from ``inner`` and ``well_above`` from
            ``outer``, and below by the mirror image.
        """
        for argument, value in (("outer", outer), ("inner", inner)):
            check_fraction(value, argument=argument, closed=False)
        table = self.school_effects[["school_id", "p_above_zero"]]
        return table.assign(band=bands(table["p_above_zero"], outer=outer, inner=inner))

    def comparative_intervals(
        self, *, level: float = 0.95, errors: ErrorKind = "conditional"
    ) -> pd.DataFrame:
        r"""Return ``school_id effect comparative_low comparative_high multiplier``.

        Bars :math:`\hat u_j \pm k s_j`, s the conditional SD, that fail to overlap mean on average
        a test of two schools at ``1 - level``:

        .. math:: k = z \cdot \mathrm{mean}_{i<j} \mathrm{SD}(\hat u_i - u_i - \hat u_j + u_j) /
                  (s_i+s_j)

        They compare schools; for one school against zero stand ``conf_low`` and ``conf_high``.

        Parameters
        ----------
        level : float
            One minus the size of the test.
        errors : {"conditional", "prediction"}
            Whether the SD of a difference counts the shared error of the coefficients.

        References
        ----------
        GoldsteinHealy1995.
        """
        return comparative_table(self.school_effects, self.errors, level=level, kind=errors)

    def pairs(self, *, multiplier: float = 1.39, errors: ErrorKind = "conditional") -> pd.DataFrame:
        r"""Return all pairs: ``school_id other_id difference std_error p_value separated``.

        Parameters
        ----------
        multiplier : float
            Of the bars whose gap sets ``separated``, 1.39 by default.
        errors : {"conditional", "prediction"}
            ``"conditional"``: coefficients taken as known; ``separated`` is the gap between bars of
            ±multiplier conditional SDs.  ``"prediction"``: the joint prediction error, of which two
            schools share a part, :math:`V_{jj} + V_{kk} - 2V_{jk} +
            (\ell_j-\ell_k)'C(\ell_j-\ell_k)`; ``separated`` is a difference above
            √2·multiplier of its standard errors.

        Raises
        ------
        SpecificationError
            Above 5,000 schools, where the table would have more than twelve million rows.
        """
        return pair_table(self.school_effects, self.errors, multiplier=multiplier, kind=errors)

    def sufficiency(
        self,
        *,
        reliability: float | None = None,
        std_error: float | None = None,
        half_width: float | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return which schools have data enough, and what the others lack.

        See `resilience.value_added.effects.sufficiency.sufficiency_table` for the formulas.

        Parameters
        ----------
        reliability, std_error, half_width : float
            Exactly one: the reliability, the standard error, or half the width of the interval
            that is asked for.
        level : float
            Coverage of the interval of ``half_width``.

        Returns
        -------
        DataFrame
            ``school_id n_pupils n_years std_error reliability verdict pupils_needed years_needed
            reason``; verdict ``yes`` or ``insufficient_data``; what is needed is the total, not
            what is missing, and infinite where no amount would do.
        """
        return sufficiency_table(
            self, reliability=reliability, std_error=std_error, half_width=half_width, level=level
        )

    def loading(self, at: int) -> NDArray[np.float64]:
        """Return where the effect of a level is read among its terms: at the average pupil.

        Parameters
        ----------
        at : int
            Position of the level in the engine's fit.

        Raises
        ------
        SpecificationError
            For results without such a fit (means and counts of marks).
        """
        fitted = getattr(self, "mixed", None)
        if not isinstance(fitted, MixedFit):
            raise SpecificationError(text("forecast.no_levels", kind=type(self).__name__))
        return level_loading(fitted, at, getattr(self, "slope_means", {}))

    def tidy(self) -> pd.DataFrame:
        """Return the fixed effects, one row per term."""
        return self.fixed_effects.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: question, data, sizes, criterion, variance shares, convergence."""
        return pd.DataFrame(
            {
                "n_schools": [self.n_schools],
                "n_pupils": [self.n_pupils],
                "method": [self.method],
                "criterion_value": [self.criterion],
                "icc": [self.icc],
                "mean_reliability": [float(self.school_effects["reliability"].mean())],
                "converged": [self.convergence.converged],
                "singular": [self.convergence.singular],
                "question": _word(self.question.describe()),
                "data_kind": _word(describe_data(self.data_kind)),
                "information": [self.information],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects, without the arrays behind the errors."""
        kept = {k: v for k, v in super().to_dict().items() if k not in ("errors", "year_design")}
        return kept | {"question": self.question.key}

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's effect, interval and band."""
        if self.group not in data.columns:
            raise SpecificationError(
                text("value_added.augment_group", group=repr(self.group), n=len(data))
            )
        columns = ["effect", "std_error", "conf_low", "conf_high", "band"]
        table = self.school_effects.set_index("school_id")[columns]
        return data.join(table, on=self.group)


def _word(words: Bilingual) -> pd.Series:
    """Return one cell that keeps both wordings: a column of strings would keep the English one."""
    return pd.Series([words], dtype=object)
