"""Results of value-added models: frozen, tabular, free of pupils."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.data.design import design_columns
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Convergence, Results
from resilience.stats.prediction_errors import EffectErrors
from resilience.stats.ranking import comparative_multiplier, separated_pairs
from resilience.value_added.preparation import prepare
from resilience.value_added.question import DataKind, Question, describe_data
from resilience.value_added.specification import Intake

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["EffectsResults", "ValueAddedResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectsResults(Results):
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
        return comparative_multiplier(self.school_effects["conditional_sd"].to_numpy())

    def pairs(self, *, multiplier: float = 1.39) -> pd.DataFrame:
        """Return all pairs of schools: ``school_id other_id difference p_value separated``.

        Both the two-sided test of the difference and the bars rest on the conditional SDs.

        Parameters
        ----------
        multiplier : float
            Of the bars whose gap sets ``separated``, 1.39 by default.

        Raises
        ------
        SpecificationError
            Above 5,000 schools, where the table would have more than twelve million rows.
        """
        table = self.school_effects
        if len(table) > 5000:
            raise SpecificationError(text("value_added.pairs", n=len(table)))
        first, second = np.triu_indices(len(table), 1)
        names = table["school_id"].to_numpy()
        effect, spread = table["effect"].to_numpy(), table["conditional_sd"].to_numpy()
        difference = effect[first] - effect[second]
        together = np.hypot(spread[first], spread[second])
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(difference == 0.0, 0.0, np.abs(difference) / together)
        return pd.DataFrame(
            {
                "school_id": names[first],
                "other_id": names[second],
                "difference": difference,
                "p_value": 2.0 * special.ndtr(-z),
                "separated": separated_pairs(effect, spread, multiplier=multiplier),
            }
        )

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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ValueAddedResults(EffectsResults):
    """Results of `ValueAddedModel`.

    Attributes
    ----------
    school_slopes : DataFrame
        ``school_id term estimate std_error``: deviation of each school's slope; empty without
        random slopes.
    outer_effects : DataFrame
        ``group unit_id effect std_error``: effects of the levels outside the school; empty
        without such levels.
    outer_slopes : DataFrame
        ``group unit_id term estimate std_error``: the same for slopes of those levels.
    slope_means : dict of {term: float}
        Means of the slope terms: effects are read at the average pupil.
    intake : Intake
        What was prepared before the fit.
    n_dropped : int
        Rows dropped because of gaps.
    spec : formulaic.ModelSpec
        The learnt design of the fixed part.
    """

    school_slopes: pd.DataFrame
    outer_effects: pd.DataFrame
    outer_slopes: pd.DataFrame
    slope_means: dict[str, float]
    intake: Intake
    source_formula: str
    n_dropped: int
    spec: ModelSpec

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with ``fitted``, ``fitted_with_effects`` and ``pupil_residual``.

        The effects are those of the schools (slopes and outer levels included) that last; the part
        of a single year is left in the residual.  Units that were not in the fit get the fixed part
        alone.

        Raises
        ------
        DataError
            If a used column is absent, has gaps, or holds a category that the fit did not see.
        """
        prepared = prepare(
            data,
            self.source_formula,
            self.intake,
            groups=[*self.outer_effects["group"].unique(), self.group],
            time=self.time,
        )
        frame = prepared.data
        X = design_columns(self.spec, frame)
        fitted = X @ self.fixed_effects["estimate"].to_numpy()
        effects = self._effects_of(frame, X)
        outcome = self.formula.partition("~")[0].strip()
        return frame.assign(
            fitted=fitted,
            fitted_with_effects=fitted + effects,
            pupil_residual=frame[outcome].to_numpy(dtype=float) - fitted - effects,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects, without the learnt design."""
        return {name: value for name, value in super().to_dict().items() if name != "spec"}

    def _effects_of(self, frame: pd.DataFrame, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of all lasting effects of each row's units, zero for unknown units."""
        total = np.zeros(len(frame))
        own = self.school_effects.rename(columns={"school_id": "unit_id"})
        for group, table in [*self.outer_effects.groupby("group"), (self.group, own)]:
            total += _mapped(frame[group], table.set_index("unit_id")["effect"])
        terms = list(self.fixed_effects["term"])
        own = self.school_slopes.rename(columns={"school_id": "unit_id"})
        for group, slopes in [*self.outer_slopes.groupby("group"), (self.group, own)]:
            for term, table in slopes.groupby("term"):
                distance = X[:, terms.index(term)] - self.slope_means[str(term)]
                total += distance * _mapped(frame[group], table.set_index("unit_id")["estimate"])
        return total


def _word(words: Bilingual) -> pd.Series:
    """Return one cell that keeps both wordings: a column of strings would keep the English one."""
    return pd.Series([words], dtype=object)


def _mapped(units: pd.Series, values: pd.Series) -> NDArray[np.float64]:
    return values.reindex(np.asarray(units, dtype=object)).fillna(0.0).to_numpy(dtype=float)
