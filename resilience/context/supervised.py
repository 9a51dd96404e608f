"""Weights estimated from results, never from the results they are used beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from resilience.context.prepared import PreparedTable
from resilience.context.ridge import (
    MULTIPLIERS,
    RidgeFit,
    RidgeRows,
    assign_folds,
    bootstrap_weights,
    explained_share,
    fit_ridge,
)
from resilience.context.schemes import Weighting, WeightSet
from resilience.errors import DataError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.validation import shorten

__all__ = ["SupervisedWeights", "WeightsMode"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
WeightsMode = Literal["previous_years", "cross_fitted"]

INTERVAL = (0.025, 0.975)
# Purposes of the random streams; a number of their own keeps one from moving another.
OUTER_FOLDS, INNER_FOLDS, BOOTSTRAP = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class SupervisedWeights:
    """Non-negative ridge weights with frozen or cross-fitted use.

    Attributes
    ----------
    outcome_column : str
        Column of school results.
    mode : {"previous_years", "cross_fitted"}
        Whose results the weights of a school-year come from: all schools in earlier years, or
        other schools.
    folds : int
        Folds of schools.
    outcome_sd : float
        SD of the results of pupils within a school, in units of the outcome.
    n_bootstrap : int
        Resamples of schools behind the interval of the weights.
    """

    outcome_column: str
    mode: WeightsMode
    folds: int
    outcome_sd: float
    n_bootstrap: int

    @property
    def kind(self) -> str:
        """Code of the scheme."""
        return self.mode

    @property
    def outcome(self) -> str:
        """Column of school results."""
        return self.outcome_column

    def fewest_schools(self, n_items: int) -> int:
        """Return the number of schools without which no weights are estimated."""
        return max(2 * self.folds, n_items + 2)

    def find(self, prepared: PreparedTable, random_state: int) -> Weighting:
        """Return the weights, their intervals and what they explain.

        Raises
        ------
        DataError
            If too few schools have results, the results do not vary, or no item is associated
            with them in its declared direction.
        """
        usable, notes = self._usable_rows(prepared)
        rows = self._rows(prepared)
        if self.mode == "previous_years":
            return self._from_previous_years(prepared, rows, usable, notes, random_state)
        return self._cross_fitted(prepared, rows, usable, notes, random_state)

    def _usable_rows(self, prepared: PreparedTable) -> tuple[Flags, list[Bilingual]]:
        """Return the rows that may be fitted: results known and enough items known."""
        outcome = _outcome(prepared)
        known = ~np.isnan(outcome)
        if not known.any():
            raise DataError(text("context.no_outcome", column=repr(self.outcome)))
        if np.ptp(outcome[known]) == 0:
            raise DataError(
                text(
                    "context.constant_outcome",
                    column=repr(self.outcome),
                    value=f"{outcome[known][0]:g}",
                )
            )
        usable = known & prepared.covered(np.ones(prepared.n_items))
        notes = []
        if not usable.all():
            notes.append(
                text(
                    "context.note_left_out",
                    n=int((~usable).sum()),
                    no_outcome=int((~known).sum()),
                    no_items=int((known & ~usable).sum()),
                    column=self.outcome,
                )
            )
        return usable, notes

    def _rows(self, prepared: PreparedTable) -> RidgeRows:
        table = prepared.table
        return RidgeRows(
            items=prepared.filled,
            outcome=_outcome(prepared),
            sampling_variance=self.outcome_sd**2 / table.n_pupils,
            period=np.searchsorted(np.asarray(table.years), table.year).astype(np.int64),
            school=table.school,
            n_periods=len(table.years),
        )

    def _from_previous_years(
        self,
        prepared: PreparedTable,
        rows: RidgeRows,
        usable: Flags,
        notes: list[Bilingual],
        random_state: int,
    ) -> Weighting:
        table = prepared.table
        need = self.fewest_schools(prepared.n_items)
        sets: list[WeightSet] = []
        unscored: list[tuple[Flags, Bilingual]] = []
        training = usable
        for year in table.years:
            earlier = usable & (table.year < year)
            n = int(np.unique(table.school[earlier]).size)
            if n < need:
                reason = text(
                    "context.reason_no_earlier",
                    year=year,
                    n=n,
                    need=need,
                    column=self.outcome,
                )
                unscored.append((table.year == year, reason))
                continue
            training = earlier
            generator = np.random.default_rng([random_state, INNER_FOLDS, abs(year)])
            fit = fit_ridge(_compact(rows.where(earlier)), self.folds, generator)
            used = shorten(sorted({int(y) for y in table.year[earlier]}), 12)
            sets.append(
                WeightSet(
                    name=str(year),
                    applied_to=text("context.applied_to_year", year=year),
                    fitted_on=text("context.fitted_on_years", years=used),
                    rows=table.year == year,
                    weights=self._checked(fit, str(year)),
                    fit=fit,
                )
            )
        if not sets:
            raise DataError(
                text(
                    "context.one_vintage",
                    years=shorten(table.years, 12),
                    need=need,
                    column=repr(self.outcome),
                )
            )
        notes.append(text("context.note_previous_years", year=sets[-1].name))
        last = sets[-1].fit
        assert last is not None  # every set of this scheme is fitted
        return self._summed_up(
            _compact(rows.where(training)), last, tuple(sets), unscored, notes, random_state
        )

    def _cross_fitted(
        self,
        prepared: PreparedTable,
        rows: RidgeRows,
        usable: Flags,
        notes: list[Bilingual],
        random_state: int,
    ) -> Weighting:
        table = prepared.table
        need = self.fewest_schools(prepared.n_items)
        schools = np.arange(table.n_schools)
        generator = np.random.default_rng([random_state, OUTER_FOLDS])
        fold_of_row = assign_folds(schools, self.folds, generator)[table.school]
        sets: list[WeightSet] = []
        predicted = np.full(prepared.n_rows, np.nan)
        for f in range(self.folds):
            others = usable & (fold_of_row != f)
            n = int(np.unique(table.school[others]).size)
            if n < need:
                raise DataError(
                    text("context.few_schools", n=n, need=need, column=repr(self.outcome))
                )
            inner = np.random.default_rng([random_state, INNER_FOLDS, f])
            fit = fit_ridge(rows.where(others), self.folds, inner)
            mine = fold_of_row == f
            predicted[mine] = fit.predict(rows.where(mine))
            sets.append(
                WeightSet(
                    name=f"fold_{f + 1}",
                    applied_to=text("context.applied_to_fold", fold=f + 1),
                    fitted_on=text("context.fitted_on_folds", fold=f + 1),
                    rows=mine,
                    weights=self._checked(fit, f"fold_{f + 1}"),
                    fit=fit,
                )
            )
        fitted = rows.where(usable)
        whole = np.random.default_rng([random_state, INNER_FOLDS, self.folds])
        fit = fit_ridge(fitted, self.folds, whole)
        notes.append(text("context.note_cross_fitted", others=self.folds - 1, folds=self.folds))
        omega = 1 / (fit.between_variance + fitted.sampling_variance)
        # The penalty of each fold was chosen without the fold: an honest figure.
        honest = explained_share(fitted, omega, predicted[usable])
        return self._summed_up(fitted, fit, tuple(sets), [], notes, random_state, r2_cv=honest)

    def _checked(self, fit: RidgeFit, name: str) -> Floats:
        if not fit.weights.any():
            raise DataError(
                text("context.no_association", column=repr(self.outcome), weight_set=name)
            )
        return fit.weights

    def _summed_up(
        self,
        rows: RidgeRows,
        fit: RidgeFit,
        sets: tuple[WeightSet, ...],
        unscored: list[tuple[Flags, Bilingual]],
        notes: list[Bilingual],
        random_state: int,
        *,
        r2_cv: float | None = None,
    ) -> Weighting:
        explained = fit.r2_cv if r2_cv is None else r2_cv
        low = high = np.full(fit.weights.size, np.nan)
        if self.n_bootstrap:
            generator = np.random.default_rng([random_state, BOOTSTRAP])
            draws = bootstrap_weights(rows, fit, self.n_bootstrap, generator)
            low, high = np.quantile(draws, INTERVAL, axis=0)
        if explained <= 0:
            warn_weak_data(text("context.weak_fit", r2=f"{explained:.3f}"))
        if fit.multiplier == MULTIPLIERS[-1]:
            notes.append(text("context.note_largest_penalty"))
        ceiling = _explainable_share(rows)
        if ceiling <= 0:
            notes.append(text("context.note_no_ceiling", sd=f"{self.outcome_sd:g}"))
        notes.extend(reason for _, reason in unscored)
        return Weighting(
            sets=sets,
            unscored=tuple(unscored),
            estimate=fit.weights,
            conf_low=low,
            conf_high=high,
            r2_cv=explained,
            r2_cv_of_explainable=explained / ceiling if ceiling > 0 else float("nan"),
            notes=tuple(notes),
        )


def _outcome(prepared: PreparedTable) -> Floats:
    outcome = prepared.table.outcome
    assert outcome is not None  # the reader was told to read it
    return outcome


def _compact(rows: RidgeRows) -> RidgeRows:
    """Return the rows with years counted anew: years without rows take no intercept."""
    present, period = np.unique(rows.period, return_inverse=True)
    return RidgeRows(
        items=rows.items,
        outcome=rows.outcome,
        sampling_variance=rows.sampling_variance,
        period=period.astype(np.int64),
        school=rows.school,
        n_periods=int(present.size),
    )


def _explainable_share(rows: RidgeRows) -> float:
    """Return 1 − mean(σ²/n)/Var(y), the variance taken within years."""
    count = np.bincount(rows.period, minlength=rows.n_periods)
    total = np.bincount(rows.period, rows.outcome, rows.n_periods)
    mean = total / np.maximum(count, 1)
    freedom = max(1, len(rows) - int((count > 0).sum()))
    variance = float(np.sum((rows.outcome - mean[rows.period]) ** 2)) / freedom
    return 1 - float(rows.sampling_variance.mean()) / variance if variance > 0 else 0.0
