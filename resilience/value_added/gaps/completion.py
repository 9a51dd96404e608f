"""Completed data sets: the gaps of a table of pupils drawn as often as asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from resilience.data.design_formula import check_outcome, check_rows, formula_columns
from resilience.data.identifiers import identified
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.validation import check_columns, check_count, check_not_empty, check_numeric
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.nesting import check_keys
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.gaps.chain import Chain
from resilience.value_added.gaps.variables import nested_units, read_variables
from resilience.value_added.intake.gap_report import MissingResults, gap_report
from resilience.value_added.intake.tables_in_memory import table_in_memory

__all__ = ["Completed", "complete", "impute_pupils", "missing_report"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Completed:
    """Completed data sets, made one at a time, and what was missing.

    Attributes
    ----------
    frames : iterator of DataFrame
        One per imputation; a table without gaps comes once.
    missing : MissingResults
        Gaps of the table.
    n_imputations : int
        Number of data sets to pool.
    """

    frames: Iterator[pd.DataFrame]
    missing: MissingResults
    n_imputations: int


def impute_pupils(
    model: ModelDefinition, pupils: object, *, random_state: int | None = None
) -> list[pd.DataFrame]:
    """Return the completed data sets that ``Intake(missing="impute")`` fits a model to.

    Parameters
    ----------
    model : ValueAddedModel
        With nested levels; its intake says how many (``n_imputations``).
    pupils : frame of any library that narwhals knows
        One row per pupil; gaps in covariates and compositions alone.
    random_state : int, optional
        Seed, 0 by default: the same as that of `fit` gives the data sets of that fit.

    Returns
    -------
    list of DataFrame
        Of pandas; values that were there stay as they are.

    Raises
    ------
    DataError
        For gaps in the outcome or an identifier, a column of which more than half is missing, or
        that has one value or more than ten categories.
    SpecificationError
        For models whose units do not nest.
    """
    if random_state is not None:
        check_count(random_state, argument="random_state", least=0)
    completed = complete(model, table_in_memory(pupils), random_state or 0)
    frames = list(completed.frames)
    return frames if len(frames) > 1 else frames * completed.n_imputations


def complete(model: ModelDefinition, pupils: pd.DataFrame, random_state: int) -> Completed:
    """Check a table and return its completions; see `impute_pupils`.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    pupils : DataFrame
        The table.
    random_state : int
        Seed; every imputation has a stream of its own.
    """
    check_nests(model)
    frame, missing = _checked(model, pupils)
    intake = model.intake or Intake()
    _warn_of_form(model, missing)
    if not missing.any_missing:
        return Completed(frames=iter([frame]), missing=missing, n_imputations=intake.n_imputations)
    return Completed(
        frames=_frames(model, frame, intake.n_imputations, random_state),
        missing=missing,
        n_imputations=intake.n_imputations,
    )


def missing_report(model: ModelDefinition, pupils: object) -> MissingResults:
    """Say who has gaps in the covariates of a model, before or without a fit.

    Parameters
    ----------
    model : ValueAddedModel
        With nested levels.
    pupils : frame of any library that narwhals knows
        One row per pupil.

    Returns
    -------
    MissingResults
        The same as ``results.missing`` of a fit to a table in memory.
    """
    table, parts = table_in_memory(pupils), formula_columns(model.formula)
    intake, group = model.intake or Intake(), model.groups[-1]
    names = list(dict.fromkeys([*parts.variables, *intake.compositions]))
    check_columns(table, [*names, parts.outcome, group], table="data")
    return gap_report(table, names, group=group, handling=intake.missing, compared=[parts.outcome])


def check_nests(model: ModelDefinition) -> None:
    """Raise for models that the imputation does not serve, with the reason."""
    structure = model.structure or Structure()
    for argument, value in (
        ("crossed", model.crossed),
        ("members", model.members),
        ("Structure.outcome_group", structure.outcome_group),
    ):
        if value is not None:
            raise SpecificationError(text("imputation.nested_only", argument=argument))


def _checked(model: ModelDefinition, pupils: pd.DataFrame) -> tuple[pd.DataFrame, MissingResults]:
    """Return the table, its identifiers checked, and its gaps."""
    intake, structure = model.intake or Intake(), model.structure or Structure()
    parts, groups = formula_columns(model.formula), model.groups
    check_not_empty(pupils, table="data")
    extra = [c for c in (model.time, structure.weights, structure.unit) if c]
    strict = list(dict.fromkeys([parts.outcome, *groups, *extra, *intake.standardize_by]))
    covariates = list(dict.fromkeys([*parts.variables, *intake.compositions]))
    check_columns(pupils, [*strict, *covariates], table="data")
    check_numeric(pupils, [parts.outcome], table="data")
    frame = identified(pupils, [*groups, *extra]).copy()
    check_rows(frame, strict, table="data", unit=groups[-1], wording="imputation.never")
    check_outcome(frame, parts, table="data")
    check_keys(frame, groups, model.time, structure)
    fillable = [name for name in covariates if name not in strict]
    missing = gap_report(
        frame, fillable, group=groups[-1], handling="impute", compared=[parts.outcome]
    )
    return frame, missing


def _warn_of_form(model: ModelDefinition, missing: MissingResults) -> None:
    """Warn where the analysis has slopes or products of columns that are imputed without them."""
    holed = missing.columns.loc[missing.columns["n_missing"] > 0, "column"]
    slopes = {term for level in model.levels for term in level.slopes}
    named = sorted(name for name in holed if name in slopes)
    if named:
        warn_weak_data(text("imputation.slopes", columns=", ".join(map(repr, named))))
    if any(sign in model.formula for sign in (":", "*", "**")) and len(holed):
        warn_weak_data(text("imputation.products", formula=repr(model.formula)))


def _frames(
    model: ModelDefinition, frame: pd.DataFrame, n: int, random_state: int
) -> Iterator[pd.DataFrame]:
    """Run a chain for every completed data set."""
    units = nested_units(frame, model)
    variables = read_variables(frame, model, units)
    for k in range(n):
        rng = np.random.default_rng([random_state, k])
        chain = Chain(frame, model, variables, units, rng)
        with threadpool_limits(limits=1):
            chain.run()
        yield chain.completed(frame)
