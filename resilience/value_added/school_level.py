"""Value added where only means of schools are published."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import check_outcome, check_rows, formula_columns, learn_columns
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.i18n import text
from resilience.stats.mixed import dependent_columns
from resilience.stats.prediction_errors import EffectErrors
from resilience.stats.summaries import SummaryData, SummaryFit, fit_summaries
from resilience.validation import (
    check_choice,
    check_columns,
    check_not_empty,
    check_numeric,
    check_positive,
    check_unique,
)
from resilience.value_added.effects import coefficient_table, effects_table
from resilience.value_added.question import Question
from resilience.value_added.results import EffectsResults

__all__ = ["SchoolLevelModel", "SchoolLevelResults"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SchoolLevelResults(EffectsResults):
    """Results of `SchoolLevelModel`.

    Attributes
    ----------
    pupil_sd : float
        SD of pupils within schools that the sampling variances rest on (given or estimated); NaN
        where the variances themselves were given.
    n_means : int
        Rows of the table: schools by years.
    """

    pupil_sd: float
    n_means: int

    def glance(self) -> pd.DataFrame:
        """Return the common row with ``pupil_sd`` and ``n_means`` added."""
        return super().glance().assign(pupil_sd=self.pupil_sd, n_means=self.n_means)


@dataclass(frozen=True, eq=False)
class SchoolLevelModel:
    r"""Value added from published means of schools, their sampling variance known or estimated.

    .. math::

       \bar y_{jt} = x_{jt}'\beta + u_j + v_{jt} + \bar e_{jt}, \qquad
       \mathrm{Var}(\bar e_{jt}) = \sigma^2/n_{jt}

    Parameters
    ----------
    formula : str
        For instance ``"mean_score ~ low_income"``.
    group : str
        School column.
    time : str, optional
        Year column: separates the persistent effect from the transient one.
    variance : str, optional
        Column of sampling variances (squared standard errors).
    n : str, optional
        Column of numbers of pupils: needed with ``sd``; beside ``variance`` it only fills
        ``n_pupils``.
    sd : float, str or "estimate", optional
        SD of pupils within schools: a number, a column, or estimated from the differences between
        years of one school against 1/n (needs ``time``).

    References
    ----------
    RaudenbushBryk1985.
    """

    formula: str
    group: str = "school_id"
    time: str | None = None
    variance: str | None = None
    n: str | None = None
    sd: float | str | None = None

    def fit(
        self,
        data: pd.DataFrame,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> SchoolLevelResults:
        """Fit the model.

        Parameters
        ----------
        data : DataFrame
            One row per school (and year).
        method : {"reml", "ml"}
            Criterion.
        random_state : int, optional
            Seed of the draws behind the rank intervals (of up to 100 schools), 0 by default; the
            estimates use none.

        Returns
        -------
        SchoolLevelResults
            ``n_pupils`` counts pupil results over all years; without ``n`` it is the number of
            means.

        Raises
        ------
        DataError, SpecificationError
            For bad input, with culprit, rule, value and way out.
        """
        check_choice(method, ("reml", "ml"), argument="method")
        self._check_specification()
        frame, X, terms = self._checked(data)
        known, inverse_n = self._sampling(frame)
        codes, labels = pd.factorize(frame[self.group], sort=True)
        estimated = self.sd == "estimate"
        summary = SummaryData(
            X=X,
            y=frame[formula_columns(self.formula).outcome].to_numpy(dtype=float),
            school=codes.astype(np.int64),
            known=known,
            inverse_n=inverse_n,
        )
        with threadpool_limits(limits=1):
            fitted = fit_summaries(
                summary, transient=self.time is not None, estimate_sd=estimated, method=method
            )
        self._warn_of_weakness(fitted, len(labels))
        return self._results(
            frame,
            summary,
            fitted,
            terms,
            np.asarray(labels, dtype=object),
            (method, random_state or 0),
        )

    def _check_specification(self) -> None:
        """Raise unless exactly one way to the sampling variances is given."""
        # n goes with sd; beside variance it only counts the pupils of the table
        if (self.variance is None) == (self.sd is None) or (self.sd is not None and self.n is None):
            given = [k for k in ("variance", "n", "sd") if getattr(self, k) is not None]
            raise SpecificationError(
                text("value_added.known_variance", given=", ".join(given) or "—")
            )
        if self.sd == "estimate" and self.time is None:
            raise SpecificationError(text("value_added.sd_estimate"))

    def _warn_of_weakness(self, fitted: SummaryFit, n_schools: int) -> None:
        found = []
        names = {self.group: fitted.tau2}
        if self.time is not None:
            names[f"{self.group}:{self.time}"] = fitted.omega2
        for name, variance in names.items():
            if fitted.zero_variance(variance):
                found.append(
                    text(
                        "value_added.weak_variance",
                        group=repr(name),
                        variance=f"{variance:.3g}",
                        n=n_schools,
                    )
                )
        if self.sd == "estimate" and not fitted.sigma2_std_error < 0.5 * fitted.sigma2:
            found.append(
                text(
                    "value_added.weak_sd",
                    variance=f"{fitted.sigma2:.4g}",
                    std_error=f"{fitted.sigma2_std_error:.2g}",
                )
            )
        if not fitted.convergence.converged:
            gradient = f"{fitted.convergence.gradient_norm:.2g}"
            found.append(text("value_added.not_converged", gradient=gradient))
        for wording in found:
            warnings.warn(WeakDataWarning(wording), stacklevel=3)

    def _checked(self, data: pd.DataFrame) -> tuple[pd.DataFrame, Floats, tuple[str, ...]]:
        parts = formula_columns(self.formula)
        check_not_empty(data, table="data")
        own = [c for c in (self.time, self.variance, self.n) if c is not None]
        if isinstance(self.sd, str) and self.sd != "estimate":
            own.append(self.sd)
        used = [*parts.variables, parts.outcome, self.group, *own]
        check_columns(data, used, table="data")
        check_outcome(data, parts, table="data")
        check_rows(data, used, table="data", unit=self.group)
        check_unique(data, [self.group, *([self.time] if self.time else [])], table="data")
        n_groups = data[self.group].nunique()
        if n_groups < 2:
            raise DataError(text("value_added.few_groups", group=repr(self.group), n=n_groups))
        if n_groups < 10:
            warnings.warn(
                WeakDataWarning(
                    text("value_added.weak_groups", group=repr(self.group), n=n_groups)
                ),
                stacklevel=3,
            )
        self._check_time(data)
        order = [self.group, *([self.time] if self.time else [])]
        frame = data.sort_values(order, kind="stable")
        X, spec = learn_columns(frame, parts)
        terms = tuple(str(c) for c in spec.column_names)
        centred = X - X.mean(axis=0) * (np.ptp(X, axis=0) > 0)
        dependent = dependent_columns(centred.T @ centred, terms)
        if dependent:
            raise SpecificationError(
                text("engine.collinear", columns=", ".join(repr(d) for d in dependent))
            )
        if len(X) <= X.shape[1]:
            raise SpecificationError(text("engine.no_residual", p=X.shape[1], n=len(X)))
        return frame, X, terms

    def _check_time(self, data: pd.DataFrame) -> None:
        if self.time is None:
            return
        if data[self.time].nunique() < 2:
            raise DataError(
                text("value_added.one_time", time=repr(self.time), value=data[self.time].iloc[0])
            )
        if int(data.groupby(self.group, observed=True)[self.time].nunique().max()) < 2:
            raise DataError(text("value_added.one_year_each", time=repr(self.time)))

    def _sampling(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Return known sampling variances and 1/n, one of them zeros."""
        zeros = np.zeros(len(frame))
        if self.variance is not None:
            check_numeric(frame, [self.variance], table="data")
            values = frame[self.variance].to_numpy(dtype=float)
            self._refuse(frame, values <= 0, self.variance, "value_added.sampling_variance")
            return values, zeros
        assert self.n is not None
        check_numeric(frame, [self.n], table="data")
        sizes = frame[self.n].to_numpy(dtype=float)
        self._refuse(frame, sizes < 1, self.n, "value_added.sizes")
        if self.sd == "estimate":
            if np.ptp(sizes) == 0:
                raise DataError(
                    text("value_added.equal_sizes", column=repr(self.n), n=f"{sizes[0]:g}")
                )
            return zeros, 1.0 / sizes
        if isinstance(self.sd, str):
            check_numeric(frame, [self.sd], table="data")
            spread = frame[self.sd].to_numpy(dtype=float)
            self._refuse(frame, spread <= 0, self.sd, "value_added.sampling_variance")
            return spread**2 / sizes, zeros
        assert self.sd is not None
        sd = check_positive(float(self.sd), argument="sd")
        return sd**2 / sizes, zeros

    def _refuse(self, frame: pd.DataFrame, bad: NDArray[np.bool_], column: str, key: str) -> None:
        if bad.any():
            first = frame.loc[bad, self.group].iloc[0]
            raise DataError(text(key, column=repr(column), n=int(bad.sum()), unit=first))

    def _results(
        self,
        frame: pd.DataFrame,
        summary: SummaryData,
        fitted: SummaryFit,
        terms: tuple[str, ...],
        labels: NDArray[np.object_],
        options: tuple[str, int],
    ) -> SchoolLevelResults:
        method, random_state = options
        sizes = np.ones(len(frame)) if self.n is None else frame[self.n].to_numpy(dtype=float)
        total = summary.by_school(sizes)
        observed = summary.by_school(sizes * summary.y) / total
        expected = summary.by_school(sizes * (summary.X @ fitted.beta)) / total
        years = {"year": frame[self.time].to_numpy()} if self.time is not None else {}
        pupil_sd = float("nan")
        if self.sd == "estimate":
            pupil_sd = float(np.sqrt(fitted.sigma2))
        elif isinstance(self.sd, float | int):
            pupil_sd = float(self.sd)
        weight = 1.0 / (fitted.omega2 + fitted.sampling)
        errors = EffectErrors(
            conditional=fitted.conditional,
            leverage=fitted.conditional[:, None] * summary.by_school(weight[:, None] * summary.X),
            beta_covariance=fitted.beta_covariance,
        )
        return SchoolLevelResults(
            formula=self.formula,
            group=self.group,
            time=self.time,
            method=method,
            criterion=fitted.criterion,
            fixed_effects=coefficient_table(terms, fitted.beta, fitted.beta_covariance),
            variance_components=self._variance_table(fitted, pupil_sd),
            school_effects=effects_table(
                school_id=labels,
                effect=fitted.effect,
                errors=errors,
                prior_variance=fitted.tau2,
                n_pupils=np.round(total).astype(np.int64),
                n_years=np.bincount(summary.school).astype(np.int64),
                means=(observed, expected),
                random_state=random_state,
            ),
            school_years=pd.DataFrame(
                {
                    "school_id": labels[summary.school],
                    **years,
                    "residual": fitted.residual,
                    "sampling_variance": fitted.sampling,
                    "n_pupils": np.round(sizes).astype(np.int64),
                }
            ).infer_objects(),
            variances={
                "persistent": fitted.tau2,
                "transient": fitted.omega2,
                "residual": pupil_sd**2 if np.isfinite(pupil_sd) else float("nan"),
            },
            convergence=fitted.convergence,
            question=Question("since_entry"),
            data_kind="means",
            information=1.0,
            errors=errors,
            year_design=summary.X,
            pupil_sd=pupil_sd,
            n_means=len(frame),
        )

    def _variance_table(self, fitted: SummaryFit, pupil_sd: float) -> pd.DataFrame:
        rows = [(self.group, "Intercept", fitted.tau2)]
        if self.time is not None:
            rows.append((f"{self.group}:{self.time}", "Intercept", fitted.omega2))
        if np.isfinite(pupil_sd):
            rows.append(("residual", "", pupil_sd**2))
        table = pd.DataFrame(rows, columns=["group", "term", "variance"])
        return table.assign(std_dev=np.sqrt(table["variance"]), correlation=np.nan)
