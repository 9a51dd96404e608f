"""Cubic B-splines of past results, with knots learnt once from the reference cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from resilience.errors import DataError
from resilience.i18n import text

__all__ = ["SplineDesign"]

Floats = NDArray[np.float64]
_DEGREE = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class SplineDesign:
    """Design of a sum of cubic splines, one for each past result.

    Attributes
    ----------
    priors : tuple of str
        Past results, in the order of the columns.
    knots : dict of {prior: ndarray}
        Full knot vectors, the ends of the reference cohort repeated once more than the degree.
    degrees : dict of {prior: int}
        3, or less for past results of two or three values.
    """

    priors: tuple[str, ...]
    knots: dict[str, Floats]
    degrees: dict[str, int]

    @classmethod
    def learn(
        cls, values: Mapping[str, Floats], priors: Sequence[str], shares: Sequence[float]
    ) -> SplineDesign:
        """Place knots at shares of the reference cohort.

        Parameters
        ----------
        values : mapping of {prior: ndarray of shape (n,)}
            Past results of the reference cohort.
        priors : sequence of str
            Which of them enter.
        shares : sequence of float
            Percentiles of the inner knots as shares; knots that coincide, as in tests of few
            points, count once, and there are never more functions than values.

        Raises
        ------
        DataError
            If a past result has one value only.
        """
        found, degrees = {}, {}
        for name in priors:
            own = values[name]
            low, high = float(own.min()), float(own.max())
            if not low < high:
                raise DataError(text("growth.constant_prior", column=repr(name), value=f"{low:g}"))
            n_values = len(np.unique(own))
            degrees[name] = min(_DEGREE, n_values - 1)
            inner = np.unique(np.quantile(own, shares))
            inner = inner[(inner > low) & (inner < high)][: max(0, n_values - _DEGREE - 1)]
            ends = [np.repeat(v, degrees[name] + 1) for v in (low, high)]
            found[name] = np.concatenate([ends[0], inner, ends[1]])
        return cls(priors=tuple(priors), knots=found, degrees=degrees)

    @property
    def n_columns(self) -> int:
        """Columns of the design, the constant included."""
        return 1 + sum(len(self.knots[n]) - self.degrees[n] - 2 for n in self.priors)

    def columns(self, values: Mapping[str, Floats]) -> Floats:
        """Return the design: a constant, and of every spline all but the first function.

        Values beyond the reference cohort's extremes are taken for the extreme itself, since a
        cubic piece runs away outside its data.

        Parameters
        ----------
        values : mapping of {prior: ndarray of shape (n,)}
            Past results without gaps.

        Returns
        -------
        ndarray of shape (n, n_columns)
        """
        pieces = [np.ones((len(next(iter(values.values()))), 1))]
        for name in self.priors:
            knots = self.knots[name]
            own = np.clip(values[name], knots[0], knots[-1])
            basis = BSpline.design_matrix(own, knots, self.degrees[name]).toarray()
            pieces.append(basis[:, 1:])
        return np.hstack(pieces)

    def outside(self, values: Mapping[str, Floats]) -> NDArray[np.bool_]:
        """Return which rows have a past result beyond the extremes of the reference cohort."""
        found = np.zeros(len(next(iter(values.values()))), dtype=bool)
        for name in self.priors:
            own = values[name]
            found |= (own < self.knots[name][0]) | (own > self.knots[name][-1])
        return found
