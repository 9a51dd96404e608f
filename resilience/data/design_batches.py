"""From a formula and a source of chunks to cross-products, out of core.

The source is read once where nothing has to be learnt from it, otherwise once more for every stage
that depends on the one before: filled gaps and standardisation, school composition, categories and
transformations of the formula.  Stages that do not wait for each other share a pass, and the result
says how many passes were made and what each was for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from resilience.data.batches.chunk import Batches, Chunk, check_chunk, located
from resilience.data.batches.opening import open_source
from resilience.data.batches.passes import Pass, Preparation, Step, plain, run_pass
from resilience.data.design import Design, Level
from resilience.data.design_formula import FormulaColumns, copies_of_outcome, formula_columns
from resilience.data.design_learning import DesignStep, LearntColumns
from resilience.data.design_recipe import Products, ProductsStep, Recipe
from resilience.data.identifiers import identified
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_numeric

__all__ = [
    "RecipeInputs",
    "design_from_batches",
    "design_from_parquet",
    "learn_recipe",
    "sum_products",
]


class LearningPreparation(Preparation, Protocol):
    """A preparation that learns in steps."""

    def steps(self) -> list[Step]:
        """Return what is learnt, in order."""

    def learnt(self, step: Step, state: Any) -> LearningPreparation:
        """Return the preparation after a step."""

    def words(self, step: Step) -> Bilingual:
        """Say what a step learns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RecipeInputs:
    """What a recipe is made for.

    Attributes
    ----------
    formula : str
        Formula of the prepared rows.
    levels : tuple of Level
        From outer to inner.
    n_nested : int
        So many levels, from the outermost, are units that stand in a single outer unit.
    weights : str or None
        Column of precision weights.
    keys : tuple of str
        Columns that together must not repeat.
    keep : str or None
        Level whose units keep their own cross-products.
    unit : str or None
        Column named as the place of a fault.
    wording : str
        Text of the error for gaps.
    """

    formula: str
    levels: tuple[Level, ...] = ()
    n_nested: int = 0
    weights: str | None = None
    keys: tuple[str, ...] = ()
    keep: str | None = None
    unit: str | None = None
    wording: str = "design.missing"

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Columns of units, pupils and years."""
        by = [v.by for v in self.levels if v.by is not None]
        return tuple(dict.fromkeys([*(v.column for v in self.levels), *by, *self.keys]))


def learn_recipe(
    batches: Batches,
    inputs: RecipeInputs,
    preparation: LearningPreparation | None = None,
    *,
    notes: Sequence[str] = (),
) -> Recipe:
    """Learn from a source whatever must be known before cross-products add up.

    Parameters
    ----------
    batches : Batches
        The source.
    inputs : RecipeInputs
        Formula, levels, weights.
    preparation : LearningPreparation, optional
        What is done to the rows before the formula.
    notes : sequence of str
        Of passes made before.

    Returns
    -------
    Recipe

    Raises
    ------
    DataError, SpecificationError
        For bad input, with file and row group; a source that reads once but would be read twice.
    """
    parts = formula_columns(inputs.formula)
    by = list(dict.fromkeys(v.by for v in inputs.levels if v.by is not None))
    used = [*parts.variables, parts.outcome, *(v.column for v in inputs.levels), *by]
    used += [*([inputs.weights] if inputs.weights else []), *inputs.keys]
    prepared: Preparation = preparation if preparation is not None else plain(used)
    columns = prepared.raw(used)
    kinds: dict[str, str] = {}
    head = _head(batches, prepared, columns, kinds, inputs)
    sample = _Sample(head=head, kinds=kinds, inputs=inputs, parts=parts, columns=columns)
    step = DesignStep.of(parts, kinds, by)
    prepared, learnt, said = _learnt(batches, prepared, step, sample, list(notes))
    first = _complete(prepared, head)
    if learnt is None:
        learnt = step.learn(step.start(), first)
    products = ProductsStep(
        parts=parts,
        evaluator=learnt.evaluator,
        levels=inputs.levels,
        categories={name: learnt.categories[name] for name in by},
        weights=inputs.weights,
        keys=inputs.keys,
        keep=inputs.keep,
        copies=frozenset(copies_of_outcome(first, parts)),
        n_nested=inputs.n_nested,
    )
    products.random_terms()
    centre, scale = products.units_of(first)
    number = len(said) + 1
    final = text("sources.note_pass", number=number, what=text("sources.note_products"))
    return Recipe(
        step=replace(products, centre=centre, scale=scale),
        preparation=prepared,
        columns=tuple(columns),
        kinds=kinds,
        unit=inputs.unit,
        wording=inputs.wording,
        notes=(*said, final),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """The first rows and what is asked of them."""

    head: Chunk
    kinds: dict[str, str]
    inputs: RecipeInputs
    parts: FormulaColumns
    columns: Sequence[str]


def _head(
    batches: Batches,
    preparation: Preparation,
    columns: list[str],
    kinds: dict[str, str],
    inputs: RecipeInputs,
) -> Chunk:
    """Return the first chunk with a complete row; without any, gaps are counted and raised."""
    strict = [c for c in preparation.strict() if c in columns]
    outcome = formula_columns(inputs.formula).outcome
    peek = getattr(batches, "peek", None)
    for chunk in batches.chunks(columns) if peek is None else peek(columns):
        check_chunk(chunk, columns, kinds)
        with located(chunk.place):
            check_numeric(chunk.frame, [outcome], table="data")
            chunk = replace(chunk, frame=identified(chunk.frame, inputs.identifiers))
        rows = chunk.frame[strict].notna().all(axis=1)
        if rows.any():
            return chunk
    job = Pass(
        steps=(),
        preparation=preparation,
        columns=tuple(columns),
        identifiers=inputs.identifiers,
    )
    run_pass(batches, job)
    raise SpecificationError(text("sources.spent"))


def _complete(preparation: Preparation, chunk: Chunk) -> pd.DataFrame:
    """Return the prepared rows of the first chunk without gaps."""
    with located(chunk.place):
        frame = chunk.frame
        rows = frame[[c for c in preparation.strict() if c in frame]].notna().all(axis=1)
        numbers = frame.select_dtypes("number")
        rows &= ~np.isinf(numbers.to_numpy(dtype=float, na_value=np.nan)).any(axis=1)
        return preparation.apply(frame[rows])


def _learnt(
    batches: Batches,
    preparation: Any,
    design: DesignStep,
    sample: _Sample,
    notes: list[str],
) -> tuple[Any, LearntColumns | None, list[str]]:
    """Make the passes that learn; steps that wait for nothing unfinished share one."""
    pending: list[Step] = preparation.steps() if hasattr(preparation, "steps") else []
    pending = [*pending, *([design] if design.needs else [])]
    learnt: LearntColumns | None = None
    while pending:
        group, touched = [pending[0]], set(pending[0].touches)
        for step in pending[1:]:
            if not touched & set(step.needs):
                group.append(step)
            touched |= set(step.touches)
        words = [_words(preparation, step) for step in group]
        what = Bilingual("; ".join(w.en for w in words), "; ".join(w.ru for w in words))
        if batches.once:
            raise SpecificationError(text("sources.once", needed=what))
        wanted = preparation.raw([name for step in group for name in step.needs])
        job = Pass(
            steps=tuple(group),
            preparation=preparation,
            columns=tuple(wanted),
            unit=sample.inputs.unit if sample.inputs.unit in wanted else None,
            wording=sample.inputs.wording,
            kinds=dict(sample.kinds),
            identifiers=sample.inputs.identifiers,
        )
        result = run_pass(batches, job)
        for step, state in zip(group, result.states, strict=True):
            if step is not design:
                preparation = preparation.learnt(step, state)
        if design in group:
            at = group.index(design)
            learnt = design.learn(result.states[at], _complete(preparation, sample.head))
        pending = [step for step in pending if step not in group]
        notes.append(text("sources.note_pass", number=len(notes) + 1, what=what))
    return preparation, learnt, notes


def _words(preparation: Any, step: Any) -> Bilingual:
    if not isinstance(step, DesignStep):
        said: Bilingual = preparation.words(step)
        return said
    found: list[Bilingual] = []
    if step.categorical or step.by:
        names = ", ".join(dict.fromkeys([*step.categorical, *step.by]))
        found.append(text("sources.learns_categories", columns=names))
    if step.stateful:
        found.append(text("sources.learns_transformation", columns=", ".join(step.stateful)))
    return Bilingual("; ".join(f.en for f in found), "; ".join(f.ru for f in found))


def sum_products(batches: Batches, recipe: Recipe) -> tuple[Products, Any]:
    """Make the pass that sums the cross-products.

    Returns
    -------
    (products, result)
        Products of all rows, and what the pass counted.

    Raises
    ------
    DataError
        For gaps (counted over all chunks), and whatever breaks a rule, with its place.
    """
    result = run_pass(batches, recipe.job)
    products: Products = recipe.step.check(result.states[0])
    return products, result


def design_from_batches(
    batches: object,
    formula: str,
    *,
    groups: Sequence[Level] = (),
    weights: str | None = None,
    keep: str | None = None,
) -> Design:
    """Turn any source into cross-products, chunk by chunk.

    Parameters
    ----------
    batches : Batches, iterable of chunks, callable, frame, path or Dask frame
        Chunks are tables of pandas, Arrow or any library that narwhals knows.  An iterator reads
        once: it will do where nothing has to be learnt from the data.
    formula : str
        A formulaic formula with one outcome column.
    groups : sequence of Level
        Levels from outer to inner; units may appear in any chunk.
    weights : str, optional
        Column of precision weights, at least 0.
    keep : str, optional
        Level whose units keep their own cross-products; ``"groups"`` is the innermost one.

    Returns
    -------
    Design
        Equal to that of `design_from_frame` on all rows to rounding, with ``passes`` and ``notes``.

    Raises
    ------
    DataError, SpecificationError
        What `design_from_frame` raises, with file, row group (or chunk), column and count.

    Notes
    -----
    Categories stand in the order of their values, unless every chunk declares the same order
    (pandas' categories, ordered Arrow dictionaries, polars' Enum).
    """
    opened = open_source(batches)
    inputs = RecipeInputs(
        formula=formula,
        levels=tuple(groups),
        weights=weights,
        keep=keep,
        unit=groups[-1].column if groups else None,
    )
    recipe = learn_recipe(opened, inputs)
    products, result = sum_products(opened, recipe)
    return Design(
        cross=products.cross,
        terms=recipe.step.terms,
        outcome=recipe.step.parts.outcome,
        spec=recipe.spec,
        n_rows=result.n_rows,
        passes=len(recipe.notes),
        notes=recipe.notes,
    )


def design_from_parquet(
    path: str | Path | Sequence[str | Path],
    formula: str,
    *,
    groups: Sequence[Level] = (),
    weights: str | None = None,
    keep: str | None = None,
) -> Design:
    """Turn a Parquet file, or the files of a folder, into cross-products out of core.

    Only the columns used are read, row group by row group, in the order of the files' names.

    Parameters
    ----------
    path : path or sequence of paths
        Files and folders.
    formula, groups, weights, keep
        As for `design_from_batches`.

    Returns
    -------
    Design

    Raises
    ------
    DataError, SpecificationError
        What `design_from_batches` raises; a file that is cut short or lacks a used column.
    """
    opened: object = [Path(p) for p in path] if isinstance(path, list | tuple) else Path(str(path))
    return design_from_batches(opened, formula, groups=groups, weights=weights, keep=keep)
