"""What every fit of pupils holds: the tables, and the engine's own terms behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import MixedFit
from resilience.validation import check_choice
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.effects.effects_results import EffectsResults
from resilience.value_added.effects.random_effects import (
    effects_of_levels,
    random_effects_table,
    slopes_of_levels,
)
from resilience.value_added.intake.learnt_intake import LearntIntake

if TYPE_CHECKING:
    from formulaic import ModelSpec

__all__ = ["PupilFit"]

Part = Literal["fixed", "random", "variance"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PupilFit(EffectsResults):
    """A fit of pupils with its specification.

    Attributes
    ----------
    slope_means : dict of {term: float}
        Means of the slope terms: effects are read at the average pupil.
    intake : Intake
        What was prepared before the fit.
    n_dropped : int
        Rows dropped because of gaps.
    spec : formulaic.ModelSpec
        The learnt design of the fixed part.
    mixed : MixedFit
        The fit in the engine's terms: every level with its modes and covariances.
    definition : ModelDefinition
        The specification.
    cross : CrossProducts or CrossedProducts
        What the fit was made of; refits, simulation and influence go on from it.
    learnt : LearntIntake or None
        What the intake learnt; `predict` and `augment` go on from it.
    """

    slope_means: dict[str, float]
    intake: Intake
    source_formula: str
    n_dropped: int
    spec: ModelSpec
    definition: ModelDefinition
    mixed: MixedFit
    cross: CrossProducts | CrossedProducts
    learnt: LearntIntake | None = None

    @property
    def random_effects(self) -> pd.DataFrame:
        """All effects of all levels: ``group unit_id term estimate std_error conditional_sd``.

        Effects of single years stand in rows of the school with the year as term; ``std_error``
        includes the error of the fixed effects, ``conditional_sd`` does not.
        """
        return random_effects_table(self.mixed)

    @property
    def school_slopes(self) -> pd.DataFrame:
        """Deviations of the schools' slopes: ``school_id term estimate std_error``; may be empty.

        They are rows of `random_effects` in another form.
        """
        table = slopes_of_levels(self.mixed, [self._school_level])
        return table.drop(columns="group").rename(columns={"unit_id": "school_id"})

    @property
    def outer_effects(self) -> pd.DataFrame:
        """Effects of the units outside the schools: ``group unit_id effect std_error``.

        They are read at the average pupil, as those of the schools.
        """
        return effects_of_levels(self.mixed, self._outer_levels, self.slope_means)

    @property
    def outer_slopes(self) -> pd.DataFrame:
        """Slopes of the units outside the schools: ``group unit_id term estimate std_error``."""
        return slopes_of_levels(self.mixed, self._outer_levels)

    @property
    def _school_level(self) -> int:
        return [level.name for level in self.mixed.levels].index(self.group)

    @property
    def _outer_levels(self) -> list[int]:
        own = (self.group, f"{self.group}:{self.time}")
        return [k for k, level in enumerate(self.mixed.levels) if level.name not in own]

    def tidy(self, part: Part = "fixed") -> pd.DataFrame:
        """Return one row per term.

        Parameters
        ----------
        part : {"fixed", "random", "variance"}
            Fixed effects, effects of all units (`random_effects`), or variance components.
        """
        check_choice(part, ("fixed", "random", "variance"), argument="part")
        if part == "random":
            return self.random_effects
        return (self.fixed_effects if part == "fixed" else self.variance_components).copy()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects, without the design and the engine's arrays."""
        left_out = ("spec", "definition", "mixed", "cross", "learnt")
        return {name: value for name, value in super().to_dict().items() if name not in left_out}
