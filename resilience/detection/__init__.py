"""Criteria as data, and decisions with three answers: yes, no, insufficient data."""

from __future__ import annotations

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.rules.files import preset_ids
from resilience.detection.verdicts.detect import detect_schools
from resilience.detection.verdicts.results import DetectionResults, Explanation

__all__ = [
    "Criteria",
    "Criterion",
    "DetectionResults",
    "Explanation",
    "detect_schools",
    "preset_ids",
]
