"""Contextual value added: results against those of schools with the same intake.

Names load on first use: a model of pupils does not wait for those of marks and means.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilience.stats.prediction_errors import EffectErrors
    from resilience.value_added.cohort_prior import (
        CohortPrior,
        WithinCorrelation,
        within_correlation,
    )
    from resilience.value_added.effects_results import EffectsResults
    from resilience.value_added.means_reading import Procedures
    from resilience.value_added.means_results import SchoolLevelResults
    from resilience.value_added.model import ValueAddedModel
    from resilience.value_added.ordinal import Cohort, MarkParts, OrdinalSchoolModel
    from resilience.value_added.ordinal_results import OrdinalSchoolResults
    from resilience.value_added.question import Question
    from resilience.value_added.results import ValueAddedResults
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

_HOMES: dict[str, str] = {
    "Cohort": "ordinal",
    "CohortPrior": "cohort_prior",
    "EffectErrors": "..stats.prediction_errors",
    "EffectsResults": "effects_results",
    "Intake": "specification",
    "MarkParts": "ordinal",
    "OrdinalSchoolModel": "ordinal",
    "OrdinalSchoolResults": "ordinal_results",
    "Procedures": "means_reading",
    "Question": "question",
    "SchoolLevelModel": "school_level",
    "SchoolLevelResults": "means_results",
    "Structure": "specification",
    "ValueAddedModel": "model",
    "ValueAddedResults": "results",
    "WithinCorrelation": "cohort_prior",
    "within_correlation": "cohort_prior",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    path = home if home.startswith(".") else f".{home}"
    value = getattr(importlib.import_module(path, __name__), name)
    globals()[name] = value
    return value
