"""Value added from published means of schools."""

from __future__ import annotations

import pandas as pd

from resilience.data.design import formula_columns
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.pipeline.config import ModelConfig
from resilience.pipeline.covariates import complete_rows, stated_correlation, with_covariates
from resilience.pipeline.procedure_names import cohorts
from resilience.value_added import Procedures, SchoolLevelModel, SchoolLevelResults

__all__ = ["fit_procedure_means", "fit_school_means"]


def fit_procedure_means(
    settings: ModelConfig,
    cells: pd.DataFrame,
    *,
    procedures: pd.DataFrame | None,
    schools: pd.DataFrame,
    scores: pd.DataFrame | None,
    random_state: int = 0,
) -> tuple[SchoolLevelResults, tuple[Bilingual, ...]]:
    """Fit the model of means to cells of school, year and procedure.

    Parameters
    ----------
    settings : ModelConfig
        Formula, correlation, method.
    cells : DataFrame
        ``school_id year procedure mean_score sampling_variance n_participants``, as
        `procedure_cells` returns them.
    procedures : DataFrame or None
        Where grades of procedures may stand.
    schools, scores : DataFrame, DataFrame or None
        Where covariates stand.
    random_state : int
        Seed of the rank intervals.
    """
    formula = settings.formula or _default(scores)
    parts = formula_columns(formula)
    frame, notes = with_covariates(cells, columns=parts.variables, schools=schools, scores=scores)
    usable, lost = complete_rows(frame, [*parts.variables, parts.outcome], table="means")
    several = _repeated(usable, "procedure")
    usable = usable.assign(cohort=cohorts(usable, procedures))
    shared = Procedures(column="procedure", cohort="cohort", correlation=settings.correlation)
    model = SchoolLevelModel(
        formula,
        group="school_id",
        time="year" if _repeated(usable, "year") else None,
        procedure=shared if several else None,
        variance="sampling_variance",
        n="n_participants",
    )
    va = model.fit(usable, method=settings.method, random_state=random_state)
    stated = (stated_correlation(settings.correlation),) if several else ()
    return va, (*notes, *lost, *stated)


def fit_school_means(
    settings: ModelConfig,
    schools: pd.DataFrame,
    *,
    scores: pd.DataFrame | None,
    random_state: int = 0,
) -> tuple[SchoolLevelResults, tuple[Bilingual, ...]]:
    """Fit the model of means to the results in the table of schools.

    Parameters
    ----------
    settings : ModelConfig
        Formula, method, and how the sampling variance is known.
    schools : DataFrame
        One row per school and year, with the outcome.
    scores : DataFrame or None
        Context scores.
    random_state : int
        Seed of the rank intervals.

    Raises
    ------
    SpecificationError
        If it is not said how the sampling variance is known.
    """
    formula = settings.formula or _default(scores)
    parts = formula_columns(formula)
    frame, notes = with_covariates(
        schools[schools["mean_score"].notna()],
        columns=parts.variables,
        schools=schools,
        scores=scores,
    )
    usable, lost = complete_rows(frame, [*parts.variables, parts.outcome], table="means")
    notes = (*notes, *lost)
    if settings.variance is None and settings.n is None:
        raise SpecificationError(text("pipeline.means_need_n"))
    model = SchoolLevelModel(
        formula,
        group="school_id",
        time="year" if _repeated(usable, "year") else None,
        variance=settings.variance,
        n=settings.n,
        sd=settings.sd,
    )
    va = model.fit(usable, method=settings.method, random_state=random_state)
    if settings.sd == "estimate":
        # the rules are written in SD of pupils: change the unit, which changes nothing else
        scaled = usable.assign(**{parts.outcome: usable[parts.outcome] / va.pupil_sd})
        notes = (*notes, text("pipeline.unit", sd=f"{va.pupil_sd:.1f}"))
        va = model.fit(scaled, method=settings.method, random_state=random_state)
    return va, notes


def _default(scores: pd.DataFrame | None) -> str:
    return "mean_score ~ context_index" if scores is not None else "mean_score ~ 1"


def _repeated(table: pd.DataFrame, column: str) -> bool:
    """Return whether any school has two values of a column."""
    return bool(table.groupby("school_id", observed=True)[column].nunique().max() > 1)
