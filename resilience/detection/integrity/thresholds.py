"""Every number of our own markers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.validation import check_positive

__all__ = ["IntegrityThresholds"]


@dataclass(frozen=True, kw_only=True)
class IntegrityThresholds:
    """Thresholds of our own markers; status: proposal.

    Attributes
    ----------
    z : float
        Half-width of the interval of a mean, in standard errors.
    high_mean : float
        How far the lower bound of the mean must lie above the region's mean, SD of pupils.
    fewest_pupils : int
        Pupils below which a mean or a share is not judged.
    item_z : float
        Standard errors by which easy items must be worse and hard items better.
    register_gap : int
        Difference of marks from which a pupil counts.
    register_quantile : float
        Quantile of the schools' shares above which a share is marked.
    follow_up, cohort_fall : float
        Differences of z, in SD of school means.
    low_variance : float
        Share of the region's SD below which a spread is low.
    """

    z: float = 1.96
    high_mean: float = 0.4
    fewest_pupils: int = 10
    item_z: float = 2.0
    register_gap: int = 2
    register_quantile: float = 0.95
    follow_up: float = 1.0
    cohort_fall: float = 1.0
    low_variance: float = 0.5

    def __post_init__(self) -> None:
        for entry in fields(self):
            check_positive(getattr(self, entry.name), argument=entry.name)
        for name in ("fewest_pupils", "register_gap"):
            if not isinstance(getattr(self, name), int):
                raise SpecificationError(
                    text("integrity.at_least_one", argument=name, value=getattr(self, name))
                )
        if not self.register_quantile < 1:
            raise SpecificationError(
                text(
                    "integrity.below_one",
                    argument="register_quantile",
                    value=self.register_quantile,
                )
            )
