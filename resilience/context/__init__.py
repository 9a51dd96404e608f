"""The context index (ИСБШ): how favourable a school's intake is.

Weights are fixed by the authority or estimated from results that the scored school-year had no
part in; items describe intake and location only.
"""

from __future__ import annotations

from resilience.context.description import component_weights, standardised_alpha
from resilience.context.index import ContextIndex
from resilience.context.results import ContextIndexResults
from resilience.context.sensitivity_results import IndexSensitivityResults, ItemScores

__all__ = [
    "ContextIndex",
    "ContextIndexResults",
    "IndexSensitivityResults",
    "ItemScores",
    "component_weights",
    "standardised_alpha",
]
