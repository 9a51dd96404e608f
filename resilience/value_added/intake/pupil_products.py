"""The cross-products of pupils for one model: public, additive, picklable."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design
from resilience.data.design_formula import quoted
from resilience.data.design_recipe import Products, Recipe
from resilience.data.design_repeats import check_repeats
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.strata.accumulator import common_units, merge_products
from resilience.validation import check_instance
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.intake.intake_preparation import IntakePreparation
from resilience.value_added.intake.learnt_intake import LearntIntake
from resilience.value_added.intake.preparation import Prepared

if TYPE_CHECKING:
    from formulaic import ModelSpec

    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = ["PupilProducts", "described"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PupilProducts:
    """Cross-products of pupils for one model: all that a fit reads.  Additive and picklable.

    Attributes
    ----------
    cross : CrossProducts
        The cross-products, schools under their own labels.
    recipe : Recipe
        What was learnt from the rows; further rows go through it unchanged.
    model : str
        The specification they were made for, in words.
    n_rows, n_dropped : int
        Rows used, and rows dropped because of gaps.
    sources : tuple of str
        Files read, or a word for what was passed.
    notes : tuple of str
        What each pass over the source was for; ``passes`` is their number.
    keys : ndarray of uint64
        Fingerprints of pupils' keys, where ``Structure.unit`` is set.
    """

    cross: CrossProducts
    recipe: Recipe
    model: str
    n_rows: int
    n_dropped: int = 0
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))

    @property
    def terms(self) -> tuple[str, ...]:
        """Fixed terms, as formulaic labels them."""
        return self.recipe.step.terms

    @property
    def spec(self) -> ModelSpec:
        """Learnt categories and transformations of the right-hand side."""
        return self.recipe.spec

    @property
    def formula(self) -> str:
        """The formula with the terms that the intake added."""
        parts = self.recipe.step.parts
        return f"{quoted(parts.outcome)} ~ {parts.right}"

    @property
    def passes(self) -> int:
        """How often the rows were read."""
        return len(self.notes)

    @property
    def design(self) -> Design:
        """The design as a fit takes it."""
        return Design(
            cross=self.cross,
            terms=self.terms,
            outcome=self.recipe.step.parts.outcome,
            spec=self.spec,
            n_rows=self.n_rows,
            passes=self.passes,
            notes=self.notes,
        )

    @property
    def prepared(self) -> Prepared:
        """What the intake added and dropped; the rows themselves are not here."""
        preparation = self.recipe.preparation
        plan = preparation if isinstance(preparation, IntakePreparation) else None
        return Prepared(
            data=pd.DataFrame(),
            formula=self.formula,
            added=() if plan is None else plan.added,
            n_dropped=self.n_dropped,
            learnt=None if plan is None else LearntIntake(plan=plan),
        )

    def merge(self, other: PupilProducts) -> PupilProducts:
        """Return the products of both sets of pupils together.

        Raises
        ------
        SpecificationError
            If they were made for different models, or with other categories, standardisation or
            composition: ``cross_products(source, recipe=first.recipe)`` makes those that add up.
        DataError
            If together they break a rule: a school in two municipalities, a pupil's key twice,
            schools under numbers here and under text there.
        """
        check_instance(
            other, PupilProducts, argument="other", example="first.merge(model.cross_products(...))"
        )
        if self.model != other.model:
            raise SpecificationError(
                text("sources.other_model", made=other.model, asked=self.model)
            )
        if _learnt(self.recipe) != _learnt(other.recipe):
            raise SpecificationError(text("sources.other_recipe"))
        keys = np.concatenate([self.keys, other.keys])
        check_repeats(None, self.recipe, keys)
        cross = merge_products([self.cross, other.cross])
        products = self.recipe.step.check(Products(cross=cross, keys=keys))
        return replace(
            self,
            cross=common_units(products.cross),
            n_rows=self.n_rows + other.n_rows,
            n_dropped=self.n_dropped + other.n_dropped,
            sources=(*self.sources, *other.sources),
            notes=self.notes if len(self.notes) >= len(other.notes) else other.notes,
            keys=keys,
        )

    def made_for(self, model: ModelDefinition) -> PupilProducts:
        """Return these products if they were made for the model.

        Raises
        ------
        SpecificationError
            Otherwise, naming both models.
        """
        asked = described(model)
        if asked != self.model:
            raise SpecificationError(text("sources.other_model", made=self.model, asked=asked))
        return self

    def describe(self) -> Bilingual:
        """Return one line in both languages."""
        levels = "; ".join(f"{v.name}: {v.n_groups}" for v in self.cross.levels)
        shown = ", ".join(self.sources[:3]) + (", …" if len(self.sources) > 3 else "")
        return text(
            "sources.summary",
            n_rows=self.n_rows,
            n_dropped=self.n_dropped,
            formula=self.formula,
            levels=levels,
            passes=self.passes,
            n_sources=len(self.sources),
            sources=shown,
        )

    def __repr__(self) -> str:
        return str(self.describe())


def described(model: ModelDefinition) -> str:
    """Return everything in a model that its cross-products depend on."""
    levels = ", ".join(f"{v.name}({', '.join([v.by or '1', *v.slopes])})" for v in model.levels)
    intake, structure = model.intake or Intake(), model.structure or Structure()
    parts = [model.formula, levels]
    for name, value in (
        ("composition", dict(intake.compositions)),
        ("standardize_by", list(intake.standardize_by)),
        ("missing", None if intake.missing == "raise" else intake.missing),
        ("weights", structure.weights),
        ("unit", structure.unit),
    ):
        if value:
            parts.append(f"{name}={value}")
    return "; ".join(parts)


def _learnt(recipe: Recipe) -> tuple[Any, ...]:
    """Return what a recipe learnt from its rows, comparable."""
    state = recipe.spec.transform_state
    found: list[Any] = [recipe.step.keep, recipe.step.terms, repr(recipe.step.categories)]
    found.append(repr(sorted((name, _flat(values)) for name, values in state.items())))
    plan = recipe.preparation
    if isinstance(plan, IntakePreparation):
        found.append(repr(sorted((plan.means or {}).items())))
        for values in (plan.spreads, plan.composition):
            cells = {} if values is None else values.by_cell
            found.append([(name, own.tobytes()) for name, own in cells.items()])
    return tuple(found)


def _flat(values: Any) -> Any:
    """Return nested learnt values as something whose repr says all of them."""
    if isinstance(values, dict):
        return sorted((str(name), _flat(own)) for name, own in values.items())
    return np.asarray(values).tolist() if isinstance(values, np.ndarray | list) else values
