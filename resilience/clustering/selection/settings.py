"""What a number of clusters must show before it is recommended."""

from __future__ import annotations

from dataclasses import dataclass

from resilience.validation import check_count, check_fraction

__all__ = ["SelectionSettings"]


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Resampling and thresholds of the choice of k.

    Attributes
    ----------
    n_references : int
        Reference sets without clusters behind the gap.
    n_splits : int
        Random halves behind the prediction strength.
    n_resamples : int
        Bootstrap samples behind the Jaccard coefficients.
    n_init : int
        Starts of every fit inside a resample.
    least_jaccard : float
        Every cluster must be found again with at least this mean coefficient.
    least_strength : float
        Prediction strength that k must reach.
    smallest : int
        Schools in the smallest cluster, at least.
    smallest_share : float
        The same as a share of all schools; the larger of the two counts.
    resample_all : bool
        Whether numbers that fail already by gap or size are resampled too, to be looked at.

    Raises
    ------
    SpecificationError
        If a number is out of range.
    """

    n_references: int = 200
    n_splits: int = 50
    n_resamples: int = 200
    n_init: int = 10
    least_jaccard: float = 0.75
    least_strength: float = 0.8
    smallest: int = 10
    smallest_share: float = 0.05
    resample_all: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("n_references", 10),
            ("n_splits", 5),
            ("n_resamples", 10),
            ("n_init", 1),
            ("smallest", 1),
        ):
            check_count(getattr(self, name), argument=f"SelectionSettings.{name}", least=least)
        for name in ("least_jaccard", "least_strength", "smallest_share"):
            check_fraction(getattr(self, name), argument=f"SelectionSettings.{name}")

    def least_schools(self, n_schools: int) -> int:
        """Return the schools that the smallest of n's clusters must hold."""
        return max(self.smallest, int(-(-self.smallest_share * n_schools // 1)))
