"""Posterior of what lasts and of single years in a model of means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.stats.means.summary_fit import SummaryFit, Target
from resilience.stats.prediction.states import YearTarget
from resilience.value_added.definitions.drift import TargetMoments
from resilience.value_added.means.means_estimates import Parts

__all__ = ["MeansYears"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeansYears:
    """What a model of means knows of its years, procedures and outer levels included.

    Attributes
    ----------
    fit : SummaryFit
        The fit.
    parts : Parts
        Which of its components are what lasts and the years.
    """

    fit: SummaryFit
    parts: Parts

    def moments(self, target: YearTarget, axis: Floats) -> TargetMoments:
        """Return the prediction of a target of years of the data.

        Parameters
        ----------
        target : YearTarget
            Weights of what lasts and of years.
        axis : ndarray of shape (n_years,)
            Years of the data as numbers, ascending: the order of the engine's codes.
        """
        wanted: list[tuple[int, Floats, int | None]] = [
            (0, target.persistent * self.parts.weights, None)
        ]
        transient = self.parts.transient
        if transient is not None:
            for year, weight in zip(target.years, target.weights, strict=True):
                code = int(np.searchsorted(axis, year))
                wanted.append((transient, np.array([weight]), code))
        asked = Target(parts=tuple(wanted))
        predicted = self.fit.predict(asked)
        return TargetMoments(
            mean=predicted.effect,
            conditional=predicted.conditional,
            total=predicted.prediction,
            prior=asked.variance(self.fit.variances),
            leverage=predicted.leverage,
        )
