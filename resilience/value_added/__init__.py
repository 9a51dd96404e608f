"""Contextual value added: results against those of schools with the same intake."""

from __future__ import annotations

from resilience.value_added.model import ValueAddedModel
from resilience.value_added.results import EffectsResults, ValueAddedResults
from resilience.value_added.school_level import SchoolLevelModel, SchoolLevelResults
from resilience.value_added.specification import Intake, Structure

__all__ = [
    "EffectsResults",
    "Intake",
    "SchoolLevelModel",
    "SchoolLevelResults",
    "Structure",
    "ValueAddedModel",
    "ValueAddedResults",
]
