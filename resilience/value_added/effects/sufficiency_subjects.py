r"""What more pupils and years would add to what is known of a school in the mean of its subjects.

With :math:`\Omega` and :math:`\Psi` the covariances of the lasting and the yearly effects of the
subjects at their average pupils, :math:`\Sigma` that of one pupil's residuals (diagonal without a
pupil key), and :math:`\mathcal I` the information of one pupil of the school, the mean over its
pupils of :math:`(\Sigma_{pp})^{-1}` at the subjects p that the pupil sat, T years of n pupils give

.. math::

   \lambda(n, T) = 1 - \frac{w'(\Omega^{-1} + T\,n\mathcal I(1 + \Psi n\mathcal I)^{-1})^{-1}w}
                            {w'\Omega w} .

Pupils are pupils, not results; a new one sits what the school's pupils sit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.stats.strata.strata_fit import StrataFit
from resilience.value_added.effects.subjects import equal_weights, subject_loadings
from resilience.value_added.years.yearly import YearlyEffects

__all__ = ["SubjectInformation", "subject_information"]

Floats = NDArray[np.float64]
Reached = Callable[[Floats], Floats]

_MOST = 2**40  # pupils or years: what these do not reach nothing does


@dataclass(frozen=True, kw_only=True, eq=False)
class SubjectInformation:
    """The joint model as far as the precision of schools' effects in the mean needs it.

    Attributes
    ----------
    weights : ndarray of shape (S,)
        Of the subjects in the mean.
    lasting, yearly : ndarray of shape (S, S)
        Ω and Ψ.
    pupil : ndarray of shape (n_schools, S, S)
        Information of one pupil of each school.
    cohort : ndarray of shape (n_schools,)
        Mean yearly number of pupils; without a year level all pupils.
    """

    weights: Floats
    lasting: Floats
    yearly: Floats
    pupil: Floats
    cohort: Floats

    def reliability(self, pupils: Floats, years: Floats) -> Floats:
        """Return the reliability of each school with so many years of so many pupils each."""
        eye = np.eye(len(self.weights))
        own = pupils[:, None, None] * self.pupil
        each = own @ np.linalg.inv(eye + self.yearly @ own)
        values, vectors = np.linalg.eigh(self.lasting)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        inside = eye + root.T @ (years[:, None, None] * each) @ root
        load = root.T @ self.weights
        left = np.einsum("a,gab,b->g", load, np.linalg.inv(inside), load)
        return np.asarray(1.0 - left / float(load @ load))

    def pupils_needed(self, reliability: Floats) -> Floats:
        """Return the least number of pupils of one year with a reliability, infinite where none."""
        one = np.ones(len(self.cohort))
        return self._least(reliability, lambda n: self.reliability(n, one))

    def years_needed(self, reliability: Floats) -> Floats:
        """Return the least number of years of one cohort each, infinite where none is enough."""
        return self._least(reliability, lambda t: self.reliability(self.cohort, t))

    @staticmethod
    def _least(asked: Floats, reached: Reached) -> Floats:
        """Return the least whole number at which an increasing function reaches what is asked."""
        n = len(asked)
        low, high = np.zeros(n), np.full(n, float(_MOST))
        with np.errstate(invalid="ignore"):
            bound = asked * (1.0 - 1e-9)
            none = ~(reached(high) >= bound)
            while (high - low > 1).any():
                middle = np.floor((low + high) / 2.0)
                enough = reached(middle) >= bound
                high, low = np.where(enough, middle, high), np.where(enough, low, middle)
        return np.asarray(np.where(none, np.inf, high))


def subject_information(results: YearlyEffects) -> SubjectInformation | None:
    """Return what a joint fit of subjects says of pupils and years; None for other fits.

    Parameters
    ----------
    results : YearlyEffects
        Any results of school effects.
    """
    fit = getattr(results, "mixed", None)
    if not isinstance(fit, StrataFit):
        return None
    at = [level.name for level in fit.levels].index(str(getattr(results, "group", "")))
    loadings = subject_loadings(fit, at)
    S = len(fit.subjects)
    yearly, cohort = np.zeros((S, S)), fit.strata.pupils(at).astype(float)
    behind = cohort
    if results.time is not None:
        cells = subject_loadings(fit, at + 1)
        yearly = cells @ fit.levels[at + 1].covariance @ cells.T
        parent, n = fit.levels[at + 1].parent, fit.strata.pupils(at + 1)
        behind = np.bincount(parent, weights=n, minlength=len(cohort))
        cohort = behind / np.bincount(parent, minlength=len(cohort))
    total = np.zeros((len(cohort), S, S))
    for (pattern, s, t), rows in zip(fit.strata.strata, fit.strata.group_rows[at], strict=True):
        if s == t == pattern[0]:
            place = np.ix_(pattern, pattern)
            part = np.zeros((S, S))
            part[place] = np.linalg.inv(fit.residual_covariance[place])
            total += rows[:, None, None] * part
    scale = _mean_weights(results, fit) / behind
    return SubjectInformation(
        weights=equal_weights(fit),
        lasting=loadings @ fit.levels[at].covariance @ loadings.T,
        yearly=yearly,
        pupil=total * scale[:, None, None],
        cohort=cohort,
    )


def _mean_weights(results: YearlyEffects, fit: StrataFit) -> Floats:
    """Return the mean weight of each school's rows: 1 for rows without weights."""
    rows = results.school_years
    variance = pd.Series(np.diag(fit.residual_covariance), index=list(fit.subjects))
    precision = rows["subject"].map(variance).astype(float) / rows["sampling_variance"]
    sums = pd.DataFrame({"school_id": rows["school_id"], "w": precision, "n": rows["n_pupils"]})
    summed = sums.groupby("school_id").sum().reindex(results.school_effects["school_id"])
    return np.asarray((summed["w"] / summed["n"]).fillna(1.0).to_numpy(dtype=float))
