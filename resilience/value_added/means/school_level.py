"""Value added where only means of schools are published."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import formula_columns
from resilience.errors import DataError, SpecificationError, WeakDataWarning, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.means.summary_data import SharedPupils
from resilience.stats.means.summary_fit import SummaryFit, fit_summaries
from resilience.validation import check_choice
from resilience.value_added.definitions.question import Question
from resilience.value_added.means.cohort_prior import (
    CohortPrior,
    WithinCorrelation,
    cohort_estimates,
    cohort_summary,
)
from resilience.value_added.means.means_estimates import (
    MeansEstimates,
    estimates_of,
    parts_of,
    summary_of,
)
from resilience.value_added.means.means_reading import (
    MeansTable,
    Procedures,
    check_correlation,
    check_prior,
    pupil_numbers,
    read_means,
    sampling_variances,
)
from resilience.value_added.means.means_results import SchoolLevelResults, results_of
from resilience.value_added.means.means_years import MeansYears

__all__ = ["SchoolLevelModel", "SchoolLevelResults"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SchoolLevelModel:
    r"""Value added from published means of schools, their sampling variance known or estimated.

    .. math::

       \bar y_{jtp} = x_{jtp}'\beta + g_{m(j)} + u_j + v_{jt} + d_{jp} + c_{jtp} + \bar e_{jtp},
       \qquad \mathrm{Var}(\bar e_{jtp}) = \sigma^2/n_{jtp}

    with the parts that the columns named below can tell apart: municipality, lasting effect of the
    school, its year, its procedure, and a single procedure of a single year.

    Parameters
    ----------
    formula : str
        For instance ``"mean_score ~ low_income"``.
    group : str or sequence of str
        School column, or an outer column (municipality) and the school column.
    time : str, optional
        Year column: separates the persistent effect from the transient one.
    procedure : str or Procedures, optional
        Several procedures jointly, one row per school × year × procedure.
    variance : str, optional
        Column of sampling variances (squared standard errors).
    n : str, optional
        Column of numbers of pupils: needed with ``sd``; beside ``variance`` it fills ``n_pupils``
        and scales the covariance of means of the same pupils.
    sd : float, str or "estimate", optional
        SD of pupils within schools: a number, a column, or estimated from the differences between
        years of one school against 1/n (needs ``time``).
    cohort_prior : str or CohortPrior, optional
        Means of an earlier procedure of the same pupils, fitted jointly with the outcome.
    within_correlation : float or WithinCorrelation, optional
        With ``cohort_prior``: correlation of the two results within schools, in [0, 1), stated or
        estimated by `within_correlation`.

    References
    ----------
    RaudenbushBryk1985.
    """

    formula: str
    _: KW_ONLY
    group: str | Sequence[str] = "school_id"
    time: str | None = None
    procedure: str | Procedures | None = None
    variance: str | None = None
    n: str | None = None
    sd: float | str | None = None
    cohort_prior: str | CohortPrior | None = None
    within_correlation: float | WithinCorrelation | None = None

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
            One row per school (and year, and procedure).
        method : {"reml", "ml"}
            Criterion.
        random_state : int, optional
            Seed of the draws behind the rank intervals (of up to 100 schools), 0 by default; the
            estimates use none.

        Returns
        -------
        SchoolLevelResults
            ``n_pupils`` counts pupils over all years, those who sat several procedures of a year
            once; without ``n`` it is the number of means.  With ``cohort_prior``,
            ``fixed_effects`` holds the coefficients at a given latent prior mean, then the slope
            on it (named like the prior column), then the coefficients of the prior means
            themselves.

        Raises
        ------
        DataError, SpecificationError
            For bad input, with culprit, rule, value and way out.

        Warns
        -----
        WeakDataWarning
            Fewer than 10 schools, a variance that is zero, a fit that did not converge.
        """
        check_choice(method, ("reml", "ml"), argument="method")
        groups = self._groups()
        self._check_specification()
        procedures, prior = self._procedures, self._prior
        own = [c for c in (self.variance, self.n) if c is not None]
        if isinstance(self.sd, str) and self.sd != "estimate":
            own.append(self.sd)
        table = read_means(
            data,
            self.formula,
            groups=groups,
            time=self.time,
            procedures=procedures,
            used=[*own, *([] if prior is None else prior.columns)],
        )
        with threadpool_limits(limits=1):
            if prior is None:
                return self._plain(table, groups, method, random_state or 0)
            return self._joint(table, prior, groups, method, random_state or 0)

    def sensitivity(
        self,
        data: pd.DataFrame,
        correlations: Sequence[float] = (0.5, 0.6, 0.7, 0.8),
        *,
        method: Literal["reml", "ml"] = "reml",
    ) -> pd.DataFrame:
        """Refit the model under other correlations of pupils' results within schools.

        Parameters
        ----------
        data : DataFrame
            As for `fit`.
        correlations : sequence of float
            Of the cohort prior and the outcome, or of the procedures, each in [0, 1).
        method : {"reml", "ml"}
            Criterion.

        Returns
        -------
        DataFrame
            ``within_correlation criterion_value variance_between mean_reliability
            mean_abs_rank_shift n_bands_changed converged``: shifts of the expected ranks and
            changes of bands are counted against the model as specified.

        Raises
        ------
        SpecificationError
            If no means of the model share pupils, or a correlation lies outside [0, 1).
        """
        values = [check_correlation(r, argument="correlations") for r in correlations]
        if (self._prior is None and self._procedures is None) or not values:
            raise SpecificationError(text("value_added_means.no_sensitivity"))
        base = self.fit(data, method=method).school_effects
        rows = []
        for value in values:
            with warnings.catch_warnings():
                # said once by the fit above; a row says whether it converged
                warnings.simplefilter("ignore", WeakDataWarning)
                result = self._at_correlation(value).fit(data, method=method)
            table = result.school_effects
            shift = (table["rank_expected"] - base["rank_expected"]).abs().mean()
            rows.append(
                {
                    "within_correlation": value,
                    "criterion_value": result.criterion,
                    "variance_between": result.variances["persistent"],
                    "mean_reliability": float(table["reliability"].mean()),
                    "mean_abs_rank_shift": float(shift),
                    "n_bands_changed": int((table["band"] != base["band"]).sum()),
                    "converged": result.convergence.converged,
                }
            )
        return pd.DataFrame(rows)

    def _at_correlation(self, value: float) -> SchoolLevelModel:
        if self._prior is not None:
            return replace(self, within_correlation=value)
        assert self._procedures is not None
        return replace(self, procedure=replace(self._procedures, correlation=value))

    @property
    def _procedures(self) -> Procedures | None:
        return Procedures(self.procedure) if isinstance(self.procedure, str) else self.procedure

    @property
    def _prior(self) -> CohortPrior | None:
        given = self.cohort_prior
        return CohortPrior(given) if isinstance(given, str) else given

    def _groups(self) -> list[str]:
        groups = [self.group] if isinstance(self.group, str) else list(self.group)
        if not 1 <= len(groups) <= 2:
            raise SpecificationError(
                text("value_added_means.levels", n=len(groups), groups=", ".join(groups) or "—")
            )
        named = [*groups, self.time, None if self._procedures is None else self._procedures.column]
        for k, name in enumerate(named):
            if name is not None and name in named[:k]:
                raise SpecificationError(text("value_added.level_twice", group=repr(name)))
        return groups

    def _check_specification(self) -> None:
        """Raise unless the arguments go together."""
        # n goes with sd; beside variance it only counts the pupils of the table
        if (self.variance is None) == (self.sd is None) or (self.sd is not None and self.n is None):
            given = [k for k in ("variance", "n", "sd") if getattr(self, k) is not None]
            raise SpecificationError(
                text("value_added.known_variance", given=", ".join(given) or "—")
            )
        if self.sd == "estimate" and self.time is None:
            raise SpecificationError(text("value_added.sd_estimate"))
        if self._prior is None:
            if self.within_correlation is not None:
                raise SpecificationError(text("value_added_means.correlation_unused"))
            return
        if self.within_correlation is None:
            raise SpecificationError(
                text("value_added_means.correlation_missing", prior=repr(self._prior.mean))
            )
        if self._procedures is not None:
            raise SpecificationError(text("value_added_means.prior_procedures"))
        if self.sd == "estimate":
            raise SpecificationError(text("value_added_means.prior_estimate"))
        parts = formula_columns(self.formula)
        if self._prior.mean in (parts.outcome, *parts.variables):
            raise SpecificationError(
                text("value_added_means.prior_in_formula", prior=repr(self._prior.mean))
            )

    def _sizes(self, table: MeansTable, n: str | None, unit: str) -> Floats:
        return np.ones(len(table.y)) if n is None else pupil_numbers(table.frame, n, unit)

    def _plain(
        self, table: MeansTable, groups: list[str], method: Literal["reml", "ml"], seed: int
    ) -> SchoolLevelResults:
        """Fit means without cohort priors."""
        procedures, unit = self._procedures, groups[-1]
        sizes = self._sizes(table, self.n, unit)
        known, inverse_n = np.zeros(len(sizes)), np.zeros(len(sizes))
        if self.sd == "estimate":
            if np.ptp(sizes) == 0:
                column = repr(self.n)
                raise DataError(text("value_added.equal_sizes", column=column, n=f"{sizes[0]:g}"))
            inverse_n = 1.0 / sizes
        else:
            known = sampling_variances(
                table.frame, unit=unit, variance=self.variance, n=self.n, sd=self.sd
            )
        parts = parts_of(table, unit, self.time, procedures)
        shared, correlation, cohorts = None, float("nan"), None
        if procedures is not None:
            correlation = procedures.correlation
            cohorts = table.year
            if procedures.cohort is not None:
                cohorts = pd.factorize(table.frame[procedures.cohort])[0].astype(np.int64)
            shared = SharedPupils(cohorts=cohorts, correlation=correlation, sizes=sizes)
        summary = summary_of(table, parts, known, inverse_n, shared)
        fit = fit_summaries(summary, estimate_sd=self.sd == "estimate", method=method)
        estimates = estimates_of(table, parts, fit, groups[0])
        self._warn_of_weakness(fit, estimates, table)
        return results_of(
            table,
            fit,
            estimates,
            groups=groups,
            time=self.time,
            pupil_sd=self._pupil_sd(fit),
            sizes=sizes,
            correlation=correlation,
            question=Question("since_entry"),
            cohorts=cohorts if self.n is not None else None,
            years=None if self.time is None else MeansYears(fit=fit, parts=parts),
            random_state=seed,
        )

    def _joint(
        self,
        table: MeansTable,
        prior: CohortPrior,
        groups: list[str],
        method: Literal["reml", "ml"],
        seed: int,
    ) -> SchoolLevelResults:
        """Fit prior and outcome means together."""
        unit, given = groups[-1], self.within_correlation
        value = given.estimate if isinstance(given, WithinCorrelation) else given
        assert value is not None
        correlation = check_correlation(value, argument="within_correlation")
        prior_n, prior_sd = prior.n or self.n, prior.sd if prior.sd is not None else self.sd
        if prior.variance is None and (prior_n is None or prior_sd is None):
            raise SpecificationError(text("value_added_means.prior_variance"))
        summary = cohort_summary(
            table,
            prior=check_prior(table, prior.mean, formula_columns(self.formula).outcome),
            known=(
                sampling_variances(
                    table.frame,
                    unit=unit,
                    variance=prior.variance,
                    n=prior_n,
                    sd=prior_sd,
                    argument="CohortPrior.sd",
                ),
                sampling_variances(
                    table.frame, unit=unit, variance=self.variance, n=self.n, sd=self.sd
                ),
            ),
            sizes=self._paired_sizes(table, prior_n, unit),
            correlation=correlation,
            yearly=self.time is not None,
        )
        fit = fit_summaries(summary, slopes=True, method=method)
        estimates, determined = cohort_estimates(
            table,
            fit,
            prior=prior.mean,
            group=unit,
            time=self.time,
            outer=groups[0] if len(groups) == 2 else "",
        )
        more = [] if determined else [text("value_added_means.weak_slope", prior=repr(prior.mean))]
        self._warn_of_weakness(fit, estimates, table, more)
        return results_of(
            table,
            fit,
            estimates,
            groups=groups,
            time=self.time,
            pupil_sd=self._pupil_sd(fit),
            sizes=self._sizes(table, self.n, unit),
            correlation=correlation,
            question=Question("since_grade", prior.grade),
            random_state=seed,
        )

    def _pupil_sd(self, fit: SummaryFit) -> float:
        """Return the SD of pupils given or estimated; NaN where the variances were given."""
        if self.sd == "estimate":
            return float(np.sqrt(fit.variances.sigma2))
        return float(self.sd) if isinstance(self.sd, float | int) else float("nan")

    def _paired_sizes(
        self, table: MeansTable, prior_n: str | None, unit: str
    ) -> tuple[Floats, Floats]:
        """Return pupils behind prior and outcome means; ones unless both are known."""
        if prior_n is None or self.n is None:
            return np.ones(len(table.y)), np.ones(len(table.y))
        return self._sizes(table, prior_n, unit), self._sizes(table, self.n, unit)

    def _warn_of_weakness(
        self,
        fit: SummaryFit,
        estimates: MeansEstimates,
        table: MeansTable,
        more: Sequence[Bilingual] = (),
    ) -> None:
        found = list(more)
        weak = [row for row in estimates.variance_rows if row.singular]
        if fit.convergence.singular and not weak:
            weak = estimates.variance_rows[:1]  # a covariance without a zero that has no inverse
        for row in weak:
            level = row.group if row.term == "Intercept" else f"{row.group}, {row.term}"
            found.append(
                text(
                    "value_added.weak_variance",
                    group=repr(level),
                    variance=f"{row.variance:.3g}",
                    n=table.n_units(row.group, self._groups()),
                )
            )
        if self.sd == "estimate":
            variance, error = fit.variances.sigma2, fit.sigma2_std_error
            if not error < 0.5 * variance:
                found.append(
                    text(
                        "value_added.weak_sd",
                        variance=f"{variance:.4g}",
                        std_error=f"{error:.2g}",
                    )
                )
        if not fit.convergence.converged:
            gradient = f"{fit.convergence.gradient_norm:.2g}"
            found.append(text("value_added.not_converged", gradient=gradient))
        for wording in found:
            warn_weak_data(wording)
