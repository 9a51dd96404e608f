"""Value added from linked results of pupils."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from resilience.data.design import check_rows, formula_columns
from resilience.errors import DataError
from resilience.i18n import text
from resilience.pipeline.config import ModelConfig
from resilience.validation import check_columns, check_not_empty, check_numeric, check_unique
from resilience.value_added import Intake, Structure, ValueAddedModel, ValueAddedResults

__all__ = ["fit_pupils", "pupil_composite"]


def pupil_composite(
    pupils: pd.DataFrame, *, columns: Sequence[str], keep: Sequence[str]
) -> pd.DataFrame:
    """Return one row per pupil and year: the mean of results standardised within subject and year.

    Parameters
    ----------
    pupils : DataFrame
        ``pupil_key school_id year [subject]`` and the columns named.
    columns : sequence of str
        Results to standardise and average (outcome and prior result).
    keep : sequence of str
        Intake columns that are the same in all rows of a pupil.

    Returns
    -------
    DataFrame
        The composite is standardised again, so that its unit is the SD of pupils within a year.  A
        result that is missing in one subject is missing in the composite.

    Raises
    ------
    DataError
        If a key or outcome is missing, a pupil has two results in one subject and year, or a
        subject and year has no spread.
    """
    keys = ["pupil_key", "school_id", "year"]
    keys += ["subject"] if "subject" in pupils.columns else []
    check_columns(pupils, [*keys, *columns, *keep], table="pupils")
    check_numeric(pupils, columns, table="pupils")
    # gaps are looked for here: a mean over subjects would hide them
    check_rows(pupils, [*keys, columns[0]], table="pupils", unit="school_id")
    check_unique(pupils, keys, table="pupils")
    by = ["subject", "year"] if "subject" in pupils.columns else ["year"]
    groups = pupils.groupby(by, observed=True)[list(columns)]
    width = groups.transform("std", ddof=0)
    flat = (width <= 0).any(axis=1)
    if flat.any():
        cell = "/".join(str(v) for v in pupils.loc[flat, by].iloc[0])
        raise DataError(text("value_added.flat", by=" × ".join(by), cell=cell))
    scaled = (pupils[list(columns)] - groups.transform("mean")) / width
    unit = ["pupil_key", "school_id", "year"]
    frame = pd.concat([pupils[[*unit, *keep]], scaled], axis=1)
    cells = frame.groupby(unit, observed=True, sort=True)
    how = {**dict.fromkeys(columns, "mean"), **dict.fromkeys(keep, "first")}
    composite = cells.agg(how)
    whole = cells[list(columns)].count().eq(cells.size(), axis=0)
    composite[list(columns)] = composite[list(columns)].where(whole)
    composite = composite.reset_index()
    years = composite.groupby("year", observed=True)[list(columns)]
    spread = years.transform("std", ddof=0)
    if (spread.isna() | (spread <= 0)).any(axis=None):
        raise DataError(text("value_added.flat", by="year", cell=str(composite["year"].iloc[0])))
    composite[list(columns)] = (composite[list(columns)] - years.transform("mean")) / spread
    return composite


def fit_pupils(
    settings: ModelConfig, pupils: pd.DataFrame, *, random_state: int = 0
) -> ValueAddedResults:
    """Fit the model of pupils to each pupil's mean over subjects.

    Parameters
    ----------
    settings : ModelConfig
        Formula, composition, slopes, subjects, gaps, question; without a formula the prior result
        and the family background enter where they are there, the latter with its latent mean.
    pupils : DataFrame
        One row per pupil, subject and year.
    random_state : int
        Seed of the rank intervals.

    Raises
    ------
    DataError, SpecificationError
        If the data break a rule of the model.
    """
    check_columns(pupils, ["pupil_key", "school_id", "year", "score"], table="pupils")
    table = pupils
    if settings.subjects:
        table = pupils[pupils["subject"].isin(list(settings.subjects))]
        check_not_empty(table, table="pupils")
    covariates = [c for c in ("prior_score", "ses") if c in table.columns]
    formula = settings.formula or f"score ~ {' + '.join(covariates) or '1'}"
    results = [c for c in ("score", "prior_score") if c in table.columns]
    identifiers = {"pupil_key", "school_id", "municipality_id", "year", "subject", "procedure"}
    keep = [c for c in table.columns if c not in identifiers | set(results)]
    if settings.missing == "raise":
        used = [c for c in formula_columns(formula).variables if c in table.columns]
        check_rows(table, used, table="pupils", unit="school_id")
    composite = pupil_composite(table, columns=results, keep=keep)
    several_years = composite["year"].nunique() > 1
    composition = dict(settings.composition)
    if not composition and settings.formula is None and "ses" in covariates:
        composition = {"ses": "latent"}
    model = ValueAddedModel(
        formula,
        group="school_id",
        slopes=list(settings.slopes) or None,
        time="year" if several_years else None,
        intake=Intake(
            composition=composition, missing=settings.missing, question=settings.question
        ),
        structure=Structure(unit="pupil_key"),
    )
    return model.fit(composite, method=settings.method, random_state=random_state)
