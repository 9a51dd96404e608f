"""Results of models of published means: the class and the making of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.means.summary_fit import SummaryFit
from resilience.value_added.definitions.question import Question
from resilience.value_added.effects.effects_results import EffectsResults
from resilience.value_added.effects.effects_table import coefficient_table, effects_table
from resilience.value_added.means.means_estimates import MeansEstimates, VarianceRow
from resilience.value_added.means.means_reading import MeansTable
from resilience.value_added.means.means_years import MeansYears

__all__ = ["SchoolLevelResults", "results_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SchoolLevelResults(EffectsResults):
    """Results of `SchoolLevelModel`.

    A row of ``school_years`` is one measure of what its school and year add: the procedures of the
    year weighed by their precision, or the outcome mean given the prior mean of the same cohort.
    It rests on the rows of that year alone; the effects rest on all years together.

    Attributes
    ----------
    pupil_sd : float
        SD of pupils within schools that the sampling variances rest on (given or estimated); NaN
        where the variances themselves were given.
    n_means : int
        Rows of the table: schools by years (by procedures).
    within_correlation : float
        Correlation of two results of one pupil within schools that means of the same pupils were
        given; NaN where no means share pupils.
    procedure_effects : DataFrame
        ``school_id procedure effect std_error conditional_sd``: lasting effect of each school in
        each procedure it has; empty with a single procedure.
    outer_effects : DataFrame
        ``group unit_id effect std_error``: effects of the level outside the school; empty without
        it.
    year_posterior : MeansYears or None
        For effects of single years where yearly residuals do not hold all (procedures, an outer
        level); None without years and with cohort priors.
    """

    pupil_sd: float
    n_means: int
    within_correlation: float
    procedure_effects: pd.DataFrame
    outer_effects: pd.DataFrame
    year_posterior: MeansYears | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects, without the posterior of the years."""
        return {k: v for k, v in super().to_dict().items() if k != "year_posterior"}

    def glance(self) -> pd.DataFrame:
        """Return the common row, ``pupil_sd``, ``n_means`` and ``within_correlation`` added."""
        return (
            super()
            .glance()
            .assign(
                pupil_sd=self.pupil_sd,
                n_means=self.n_means,
                within_correlation=self.within_correlation,
            )
        )


def results_of(
    table: MeansTable,
    fit: SummaryFit,
    estimates: MeansEstimates,
    *,
    groups: list[str],
    time: str | None,
    pupil_sd: float,
    sizes: Floats,
    correlation: float,
    question: Question,
    cohorts: NDArray[np.int64] | None = None,
    years: MeansYears | None = None,
    random_state: int,
) -> SchoolLevelResults:
    """Put a fit into tables.

    Parameters
    ----------
    table, fit, estimates
        What was read, fitted and estimated.
    groups : list of str
        Outer (where there is one) and school column.
    time : str or None
        Year column.
    pupil_sd : float
        SD of pupils within schools; NaN where unknown.
    sizes : ndarray of shape (n_rows,)
        Pupils behind each mean.
    correlation : float
        Correlation given to means of the same pupils; NaN without such means.
    question : Question
        Since when the school's part is counted.
    cohorts : ndarray of shape (n_rows,), int, optional
        Rows of one school and year with one code hold the same pupils, who count once.
    years : MeansYears, optional
        Posterior of the years.
    random_state : int
        Seed of the rank intervals.
    """
    pupils = _pupils(table, sizes, cohorts)
    return SchoolLevelResults(
        formula=table.formula,
        group=groups[-1],
        time=time,
        method=fit.method,
        criterion=fit.criterion,
        fixed_effects=coefficient_table(estimates.terms, estimates.beta, estimates.beta_covariance),
        variance_components=_variance_table(estimates, pupil_sd),
        school_effects=_effects(table, estimates, (sizes, pupils), random_state),
        school_years=_school_years(table, estimates, pupils, time),
        variances={
            "persistent": estimates.persistent,
            "transient": estimates.transient,
            "residual": pupil_sd**2,
        },
        convergence=fit.convergence,
        question=question,
        data_kind="means",
        information=1.0,
        errors=estimates.errors,
        year_design=estimates.cells.design,
        pupil_sd=pupil_sd,
        n_means=len(table.y),
        within_correlation=correlation,
        procedure_effects=estimates.procedures,
        outer_effects=_outer_table(table, estimates, groups[0]),
        year_posterior=years,
    )


def _pupils(table: MeansTable, sizes: Floats, cohorts: NDArray[np.int64] | None) -> Floats:
    """Return pupils of each school-year; those who sat several procedures count once."""
    if cohorts is None:
        return np.asarray(np.bincount(table.cells, weights=sizes), dtype=np.float64)
    groups, unit = np.unique(np.stack([table.cells, cohorts]), axis=1, return_inverse=True)
    largest = np.zeros(groups.shape[1])
    np.maximum.at(largest, unit.ravel(), sizes)
    return np.asarray(np.bincount(groups[0], weights=largest), dtype=np.float64)


def _effects(
    table: MeansTable, estimates: MeansEstimates, counts: tuple[Floats, Floats], seed: int
) -> pd.DataFrame:
    sizes, pupils = counts
    total = np.bincount(table.school, weights=sizes)
    observed, expected = (
        np.bincount(table.school, weights=sizes * v) / total for v in (table.y, estimates.expected)
    )
    _, first = np.unique(table.cells, return_index=True)
    return effects_table(
        school_id=table.schools,
        effect=estimates.effect,
        errors=estimates.errors,
        prior_variance=estimates.persistent,
        n_pupils=np.round(np.bincount(table.school[first], weights=pupils)).astype(np.int64),
        n_years=np.bincount(table.school[first]).astype(np.int64),
        means=(observed, expected),
        random_state=seed,
    )


def _school_years(
    table: MeansTable, estimates: MeansEstimates, pupils: Floats, time: str | None
) -> pd.DataFrame:
    """Return each school-year as one unshrunken measure of its effect."""
    _, first = np.unique(table.cells, return_index=True)
    years = {} if time is None else {"year": table.frame[time].to_numpy()[first]}
    return pd.DataFrame(
        {
            "school_id": table.schools[table.school[first]],
            **years,
            "residual": estimates.cells.residual,
            "sampling_variance": estimates.cells.sampling_variance,
            "n_pupils": np.round(pupils).astype(np.int64),
        }
    ).infer_objects()


def _variance_table(estimates: MeansEstimates, pupil_sd: float) -> pd.DataFrame:
    rows = list(estimates.variance_rows)
    if np.isfinite(pupil_sd):
        rows.append(VarianceRow("residual", "", pupil_sd**2, pupil_sd))
    table = pd.DataFrame(rows).drop(columns="scale")
    table.insert(3, "std_dev", np.sqrt(table["variance"]))
    return table


def _outer_table(table: MeansTable, estimates: MeansEstimates, group: str) -> pd.DataFrame:
    if estimates.outer is None:
        return pd.DataFrame(columns=["group", "unit_id", "effect", "std_error"])
    return pd.DataFrame(
        {
            "group": group,
            "unit_id": table.outers,
            "effect": estimates.outer.effect,
            "std_error": np.sqrt(estimates.outer.prediction),
        }
    ).infer_objects()
