"""Criteria as data, and decisions with three answers: yes, no, insufficient data."""

from __future__ import annotations

from resilience.detection.criteria import Criteria
from resilience.detection.criterion import Criterion
from resilience.detection.detect import detect_schools
from resilience.detection.files import preset_ids
from resilience.detection.results import DetectionResults, Explanation

__all__ = [
    "Criteria",
    "Criterion",
    "DetectionResults",
    "Explanation",
    "detect_schools",
    "preset_ids",
]
