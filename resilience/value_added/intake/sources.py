"""Cross-products of a model from any source, so that pupils need not fit into memory.

Everything that `ValueAddedModel` with nested levels needs from the pupils are their cross-products;
they are additive over chunks, files, workers and machines.  What must be learnt from all rows first
(standardisation, composition, categories, means that fill gaps) costs passes of its own, and the
products say how many were made and what each was for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from resilience.data.batches.chunk import Batches
from resilience.data.batches.opening import open_source
from resilience.data.batches.passes import Pass, PassResult, run_pass
from resilience.data.design_batches import RecipeInputs, learn_recipe, sum_products
from resilience.data.design_formula import formula_columns
from resilience.data.design_recipe import Products, Recipe
from resilience.data.design_repeats import check_repeats
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.crossproducts import CrossProducts
from resilience.validation import check_columns, check_instance, check_table
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.intake.intake_learning import GapStep
from resilience.value_added.intake.intake_preparation import IntakePreparation
from resilience.value_added.intake.pupil_products import PupilProducts, described
from resilience.value_added.intake.tables_in_memory import pandas_table

if TYPE_CHECKING:
    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = [
    "PupilProducts",
    "check_levels",
    "collect_products",
    "cross_products",
    "learn_pupils",
    "needs_pupils",
    "pupil_table",
]


def cross_products(
    model: ModelDefinition,
    source: object,
    *,
    keep: str | None = None,
    recipe: Recipe | None = None,
) -> PupilProducts:
    """Read a source into the cross-products of a model.

    Parameters
    ----------
    model : ModelDefinition
        With nested levels.
    source : frame, path, iterable of chunks, callable, Dask frame or Batches
        See `resilience.data.batches.open_source`.  An iterator reads once: it will do where
        nothing has to be learnt from the rows.
    keep : str, optional
        Level whose units keep their own cross-products (subsets, influence, the cluster
        bootstrap); ``"groups"`` is the innermost one.
    recipe : Recipe, optional
        Of products made before: nothing is learnt anew, and the products add up with those.

    Returns
    -------
    PupilProducts

    Raises
    ------
    DataError, SpecificationError
        What `ValueAddedModel.fit` raises, with file, row group (or chunk), column and count; for
        models and intakes that need the pupils themselves, with the reason.

    Warns
    -----
    WeakDataWarning
        If rows were dropped.
    """
    argument = needs_pupils(model)
    if argument is not None:
        raise SpecificationError(text("sources.use_fit", argument=argument))
    if recipe is not None:
        check_instance(recipe, Recipe, argument="recipe", example="recipe=first.recipe")
    batches = open_source(source)
    if recipe is None:
        recipe = learn_pupils(model, batches, keep=keep)
    products, result = sum_products(batches, recipe)
    check_repeats(batches, recipe, products.keys)
    return _finished(model, recipe, products, result, batches.names)


def collect_products(
    model: ModelDefinition, recipe: Recipe, parts: Sequence[bytes]
) -> PupilProducts:
    """Add up the partial results of ``recipe.arrow_batches``, from Spark's tasks for instance.

    Parameters
    ----------
    model : ModelDefinition
        The model that the recipe was learnt for.
    recipe : Recipe
        See `learn_pupils`.
    parts : sequence of bytes
        Values of the column ``products``.

    Raises
    ------
    DataError
        For gaps and broken rules that all rows together show.
    """
    result = recipe.collect(parts)
    products: Products = result.states[0]
    check_repeats(None, recipe, products.keys)
    return _finished(model, recipe, products, result, ("arrow",))


def learn_pupils(model: ModelDefinition, source: object, *, keep: str | None = None) -> Recipe:
    """Learn from a source whatever must be known before its cross-products add up.

    Parameters
    ----------
    model : ModelDefinition
        With nested levels.
    source : as for `cross_products`
    keep : str, optional
        As for `cross_products`.

    Returns
    -------
    Recipe
        ``recipe.products(chunk)`` and ``recipe.arrow_batches(batches)`` are what workers run.
    """
    batches = open_source(source)
    groups, levels = model.groups, model.levels
    intake, structure = model.intake or Intake(), model.structure or Structure()
    there = batches.columns()
    keys = [structure.unit, model.time, "subject" if "subject" in there else None]
    watched = [c for c in keys if c] if structure.unit else []
    extra = [c for c in (structure.weights, structure.unit) if c]
    time = [model.time] if model.time else []
    preparation = IntakePreparation(
        parts=formula_columns(model.formula),
        intake=intake,
        cells=(groups[-1], *time),
        keys=tuple(dict.fromkeys([*groups, *time, *extra])),
    )
    if there:
        _check_table(there, preparation, watched)
    preparation, notes = _gaps_learnt(batches, preparation, groups[-1])
    inputs = RecipeInputs(
        formula=preparation.formula,
        levels=tuple(levels),
        n_nested=len(groups),
        weights=structure.weights,
        keys=tuple(watched),
        keep=keep,
        unit=groups[-1],
        wording="design.missing_intake" if intake.missing == "raise" else "design.missing",
    )
    return learn_recipe(batches, inputs, preparation, notes=notes)


def _check_table(there: list[str], plan: IntakePreparation, watched: Sequence[str]) -> None:
    """Raise for columns that are absent, and for those that the intake would overwrite."""
    used = [*plan.covariates, plan.parts.outcome, *plan.keys, *plan.intake.standardize_by]
    empty = pd.DataFrame(columns=there)
    check_columns(empty, dict.fromkeys([*used, *watched]), table="data")
    for name in plan.intake.compositions:
        if f"{name}_mean" in there:
            raise DataError(text("value_added.column_taken", column=repr(f"{name}_mean")))


def _gaps_learnt(
    batches: Batches, plan: IntakePreparation, unit: str
) -> tuple[IntakePreparation, list[Bilingual]]:
    """Make the pass that learns the means to fill gaps with, where gaps are filled."""
    step = plan.gap_step()
    if step is None:
        return plan, []
    words = plan.words(step)
    if batches.once:
        raise SpecificationError(text("sources.once", needed=words))
    columns = tuple(dict.fromkeys([*step.needs, *plan.strict()]))
    job = Pass(steps=(step,), preparation=plan, columns=columns, unit=unit, identifiers=plan.keys)
    result = run_pass(batches, job)
    plan = plan.with_means(GapStep.means(result.states[0]))
    taken = [f"{name}_missing" for name in plan.means or {}]
    for name in taken:
        if name in batches.columns():
            raise DataError(text("value_added.column_taken", column=repr(name)))
    return plan, [text("sources.note_pass", number=1, what=words)]


def _finished(
    model: ModelDefinition,
    recipe: Recipe,
    products: Products,
    result: PassResult,
    names: tuple[str, ...],
) -> PupilProducts:
    """Return the products of all rows, saying what was dropped."""
    if result.n_dropped:
        share = 100 * result.n_dropped / (result.n_dropped + result.n_rows)
        schools = len(result.dropped_units)
        warn_weak_data(
            text("value_added.dropped", n=result.n_dropped, share=f"{share:.1f}", schools=schools)
        )
    return PupilProducts(
        cross=products.cross,
        recipe=recipe,
        model=described(model),
        n_rows=result.n_rows,
        n_dropped=result.n_dropped,
        sources=names,
        notes=recipe.notes,
        keys=products.keys,
    )


def check_levels(model: ModelDefinition, cross: CrossProducts) -> None:
    """Raise unless every level has two units and years separate.

    Asked of what is fitted, not of what is added up: one year's file is a good summand.
    """
    groups = model.groups
    for name, level in zip(groups, cross.levels, strict=False):
        n = len(set(level.labels))
        if n < 2:
            raise DataError(text("value_added.few_groups", group=repr(name), n=n))
    if model.time is None:
        return
    years = cross.levels[-1]
    if len(set(years.labels)) < 2:
        raise DataError(text("value_added.one_time", time=repr(model.time), value=years.labels[0]))
    if int(np.bincount(years.parent).max()) < 2:
        raise DataError(text("value_added.one_year_each", time=repr(model.time)))


def needs_pupils(model: ModelDefinition) -> str | None:
    """Return the argument because of which a model needs the pupils themselves, if any."""
    structure, intake = model.structure or Structure(), model.intake or Intake()
    if model.crossed is not None:
        return "crossed"
    if model.members is not None:
        return "members"
    if structure.outcome_group is not None:
        return "Structure.outcome_group"
    if intake.prior_reliability is not None:
        return "Intake.prior_reliability"
    if intake.missing == "impute":
        return 'Intake(missing="impute")'
    return None


def pupil_table(model: ModelDefinition, source: Any) -> pd.DataFrame:
    """Return the pupils as a table in memory for a model that needs them.

    Parameters
    ----------
    model : ModelDefinition
        A model for which `needs_pupils` names an argument.
    source : frame of any library that narwhals knows

    Raises
    ------
    SpecificationError
        For any other source.
    """
    import narwhals as nw

    if isinstance(source, pd.DataFrame):
        return source
    try:
        frame = nw.from_native(source)
    except TypeError:
        if isinstance(source, dict) or not isinstance(source, Iterable | PathLike | PupilProducts):
            check_table(source, table="data")
        kind = type(source).__name__
        raise SpecificationError(
            text("sources.needs_memory", argument=needs_pupils(model), source=kind)
        ) from None
    return pandas_table(frame)
