"""Contextual value added: results against those of schools with the same intake."""

from __future__ import annotations

from resilience.stats.prediction_errors import EffectErrors
from resilience.value_added.cohort_prior import (
    CohortPrior,
    WithinCorrelation,
    within_correlation,
)
from resilience.value_added.means_reading import Procedures
from resilience.value_added.means_results import SchoolLevelResults
from resilience.value_added.model import ValueAddedModel
from resilience.value_added.ordinal import Cohort, MarkParts, OrdinalSchoolModel
from resilience.value_added.ordinal_results import OrdinalSchoolResults
from resilience.value_added.question import Question
from resilience.value_added.results import EffectsResults, ValueAddedResults
from resilience.value_added.school_level import SchoolLevelModel
from resilience.value_added.specification import Intake, Structure

__all__ = [
    "Cohort",
    "CohortPrior",
    "MarkParts",
    "OrdinalSchoolModel",
    "OrdinalSchoolResults",
    "EffectErrors",
    "EffectsResults",
    "Intake",
    "Procedures",
    "Question",
    "SchoolLevelModel",
    "SchoolLevelResults",
    "Structure",
    "ValueAddedModel",
    "ValueAddedResults",
    "WithinCorrelation",
    "within_correlation",
]
