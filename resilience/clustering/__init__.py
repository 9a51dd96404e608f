"""Like with like: clusters with their stability, statistical neighbours, condition bands."""

from resilience.clustering.conditions.scaled import ScaledSchools, Scaling, scale_conditions
from resilience.clustering.conditions.specification import Conditions

__all__ = ["Conditions", "ScaledSchools", "Scaling", "scale_conditions"]
