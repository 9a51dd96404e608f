"""Value added from counts of marks, alone or beside means of scores in other procedures."""

from __future__ import annotations

import pandas as pd

from resilience.data.design import formula_columns
from resilience.data.schema import MARKS
from resilience.i18n import Bilingual
from resilience.pipeline.config import ModelConfig
from resilience.pipeline.covariates import complete_rows, stated_correlation, with_covariates
from resilience.pipeline.procedure_cells import MEAN_COLUMNS
from resilience.pipeline.procedure_names import cohorts
from resilience.value_added import Cohort, OrdinalSchoolModel, OrdinalSchoolResults

__all__ = ["fit_marks"]


def fit_marks(
    settings: ModelConfig,
    cells: pd.DataFrame,
    *,
    procedures: pd.DataFrame | None,
    schools: pd.DataFrame,
    scores: pd.DataFrame | None,
    random_state: int = 0,
) -> tuple[OrdinalSchoolResults, tuple[Bilingual, ...]]:
    """Fit the ordinal model to cells of school, year and procedure.

    Parameters
    ----------
    settings : ModelConfig
        Formula (its left side is not read: the outcome are the marks), correlation, method.
    cells : DataFrame
        As `procedure_cells` returns them.
    procedures : DataFrame or None
        Where grades of procedures may stand.
    schools : DataFrame
        Table of schools, for covariates.
    scores : DataFrame or None
        Context scores; without a formula the index is the covariate.
    random_state : int
        Seed of the rank intervals.

    Returns
    -------
    (OrdinalSchoolResults, tuple of Bilingual)
        With notes on what was left out and what was stated rather than estimated.
    """
    formula = settings.formula or ("~ context_index" if scores is not None else "~ 1")
    formula = f"~ {formula.partition('~')[2].strip()}"
    variables = formula_columns(f"marks {formula}").variables
    frame, notes = with_covariates(cells, columns=variables, schools=schools, scores=scores)
    usable, lost = complete_rows(frame, variables, table="counts")
    usable = usable.assign(cohort=cohorts(usable, procedures))
    mixed = set(MEAN_COLUMNS) <= set(usable.columns) and bool(usable["mean_score"].notna().any())
    model = OrdinalSchoolModel(
        formula,
        group="school_id",
        time="year",
        procedure="procedure",
        marks=MARKS,
        participants="n_participants",
        means=MEAN_COLUMNS if mixed else None,
        cohort=Cohort(column="cohort", correlation=settings.correlation),
    )
    va = model.fit(usable, method=settings.method, random_state=random_state)
    stated = stated_correlation(settings.correlation)
    return va, (*notes, *lost, stated)
