"""Contextual value added: results against those of schools with the same intake.

Names load on first use: a model of pupils does not wait for those of marks and means.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilience.stats.prediction.prediction_errors import EffectErrors
    from resilience.value_added.definitions.question import Question
    from resilience.value_added.definitions.specification import Intake, Structure
    from resilience.value_added.effects.effects_results import EffectsResults
    from resilience.value_added.marks.ordinal import Cohort, MarkParts, OrdinalSchoolModel
    from resilience.value_added.marks.ordinal_results import OrdinalSchoolResults
    from resilience.value_added.means.cohort_prior import (
        CohortPrior,
        WithinCorrelation,
        within_correlation,
    )
    from resilience.value_added.means.means_reading import Procedures
    from resilience.value_added.means.means_results import SchoolLevelResults
    from resilience.value_added.means.school_level import SchoolLevelModel
    from resilience.value_added.model import ValueAddedModel
    from resilience.value_added.results import ValueAddedResults

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

_HOMES: dict[str, str] = {
    "Cohort": "marks.ordinal",
    "CohortPrior": "means.cohort_prior",
    "EffectErrors": "..stats.prediction.prediction_errors",
    "EffectsResults": "effects.effects_results",
    "Intake": "definitions.specification",
    "MarkParts": "marks.ordinal",
    "OrdinalSchoolModel": "marks.ordinal",
    "OrdinalSchoolResults": "marks.ordinal_results",
    "Procedures": "means.means_reading",
    "Question": "definitions.question",
    "SchoolLevelModel": "means.school_level",
    "SchoolLevelResults": "means.means_results",
    "Structure": "definitions.specification",
    "ValueAddedModel": "model",
    "ValueAddedResults": "results",
    "WithinCorrelation": "means.cohort_prior",
    "within_correlation": "means.cohort_prior",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    path = home if home.startswith(".") else f".{home}"
    value = getattr(importlib.import_module(path, __name__), name)
    globals()[name] = value
    return value
