"""Contextual value added: results against those of schools with the same intake."""

from __future__ import annotations

from resilience.stats.prediction_errors import EffectErrors
from resilience.value_added.model import ValueAddedModel
from resilience.value_added.ordinal import Cohort, MarkParts, OrdinalSchoolModel
from resilience.value_added.ordinal_results import OrdinalSchoolResults
from resilience.value_added.question import Question
from resilience.value_added.results import EffectsResults, ValueAddedResults
from resilience.value_added.school_level import SchoolLevelModel, SchoolLevelResults
from resilience.value_added.specification import Intake, Structure

__all__ = [
    "Cohort",
    "MarkParts",
    "OrdinalSchoolModel",
    "OrdinalSchoolResults",
    "EffectErrors",
    "EffectsResults",
    "Intake",
    "Question",
    "SchoolLevelModel",
    "SchoolLevelResults",
    "Structure",
    "ValueAddedModel",
    "ValueAddedResults",
]
