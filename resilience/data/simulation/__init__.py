"""A region of schools with known truth."""

from resilience.data.simulation.classes import simulate_class_counts
from resilience.data.simulation.parameters import (
    Assessment,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
)
from resilience.data.simulation.passports import Indicator, SocialPassport
from resilience.data.simulation.region import simulate_region

__all__ = [
    "Assessment",
    "Indicator",
    "MarkInflation",
    "Network",
    "PupilIntake",
    "SchoolEffects",
    "SocialPassport",
    "simulate_class_counts",
    "simulate_region",
]
