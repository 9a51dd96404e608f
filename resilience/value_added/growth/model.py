"""Growth percentiles of pupils and schools: the model a user types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.validation import (
    check_choice,
    check_columns,
    check_count,
    check_finite,
    check_fraction,
    check_instance,
    check_jobs,
    check_names,
    check_not_empty,
    check_numeric,
    shorten,
)
from resilience.value_added.growth.baseline import GrowthBaseline, learn_baseline
from resilience.value_added.growth.results import GrowthResults, growth_results
from resilience.value_added.intake.tables_in_memory import pupils_table

__all__ = ["GrowthPercentiles"]


@dataclass(frozen=True, kw_only=True)
class GrowthPercentiles:
    r"""Student growth percentiles: a result's place among pupils with the same past results.

    Quantiles of the outcome given past results are fitted by B-spline quantile regression; a
    pupil's percentile is the number of the hundred fitted quantiles that lie below the score.  It
    is a description and no value added: neither the family nor the composition of the school is
    adjusted for, and without correction the error of past results passes for growth of schools
    with strong intakes.

    Parameters
    ----------
    prior : str or sequence of str
        Past results, the earliest first.  A pupil without the earlier ones is placed among pupils
        with the same later ones; without the last one there is no percentile.
    outcome : str
        Result.
    group : str
        School column.
    baseline : GrowthBaseline, optional
        Frozen curves of another cohort (``results.baseline``): percentiles are then
        baseline-referenced and a whole region may grow by more than 50.  By default the cohort is
        its own reference and its median percentile is 50.
    reliability : float or mapping of {prior: float}, optional
        Share of the variance of past results that is true, in (0, 1]: curves are then corrected
        by SIMEX.
    limits : pair of float, optional
        Lowest and highest score that can be obtained.  A pupil at a limit cannot show more: with
        it the percentile is the middle of those the score is compatible with.
    knots : sequence of float
        Shares of the reference cohort at which the inner knots stand.
    min_cohort : int
        Pupils that a reference cohort needs at least.

    References
    ----------
    Betebenner2009; KoenkerBassett1978; ShangEtAl2015.
    """

    prior: str | Sequence[str]
    outcome: str = "score"
    group: str = "school_id"
    baseline: GrowthBaseline | None = None
    reliability: float | Mapping[str, float] | None = None
    limits: tuple[float, float] | None = None
    knots: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    min_cohort: int = 1000

    def __post_init__(self) -> None:
        names = check_names(self.prior, argument="prior", example="prior=['score_2023']")
        object.__setattr__(self, "prior", tuple(names))
        for argument in ("outcome", "group"):
            given = getattr(self, argument)
            check_names(given, argument=argument, example=f"{argument}='column'", single=True)
        if not self.prior:
            raise SpecificationError(text("growth.no_prior"))
        if self.outcome in self.prior:
            raise SpecificationError(text("growth.outcome_prior", column=repr(self.outcome)))
        check_count(self.min_cohort, argument="min_cohort", least=100)
        for share in self.knots:
            check_fraction(share, argument="knots", closed=False)
        if self.baseline is not None:
            example = "baseline=results.baseline"
            check_instance(self.baseline, GrowthBaseline, argument="baseline", example=example)
            if self.baseline.priors != self.prior:
                raise SpecificationError(
                    text(
                        "growth.other_baseline",
                        priors=", ".join(self.prior),
                        baseline=", ".join(self.baseline.priors),
                    )
                )
            if self.reliability is not None:
                raise SpecificationError(text("growth.baseline_reliability"))
        given_reliability = self.reliability
        if isinstance(given_reliability, Mapping):
            for name in given_reliability:
                check_choice(name, self.prior, argument="reliability")
        for name, share in self.reliabilities.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                raise SpecificationError(
                    text("growth.reliability", column=repr(name), value=repr(share))
                )
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise SpecificationError(text("growth.limits", limits=repr(tuple(self.limits))))

    @property
    def reliabilities(self) -> dict[str, float]:
        """Reliability of every past result that has one."""
        if self.reliability is None:
            return {}
        if isinstance(self.reliability, Mapping):
            return dict(self.reliability)
        return dict.fromkeys(self.prior, self.reliability)

    def fit(
        self,
        data: object,
        *,
        level: float = 0.95,
        n_bootstrap: int = 200,
        n_jobs: int = 1,
        random_state: int = 0,
        progress: bool = False,
    ) -> GrowthResults:
        """Learn the curves (unless there is a baseline) and place pupils and schools.

        Parameters
        ----------
        data : frame of any library that narwhals knows
            One row per pupil: school, outcome, past results (gaps allowed).
        level : float
            Coverage of the intervals of schools' medians, in (0, 1).
        n_bootstrap : int
            Replicates behind the standard errors of schools' medians and means.
        n_jobs : int
            Processes of the fits of quantiles; the results do not depend on it.
        random_state : int
            Seed of bootstrap and SIMEX.
        progress : bool
            Whether to show a bar.

        Returns
        -------
        GrowthResults

        Raises
        ------
        DataError
            For gaps in outcome or school, a constant past result, fewer pupils than ``min_cohort``.

        Warns
        -----
        WeakDataWarning
            If pupils have no percentile, with their number and the reason.
        """
        check_fraction(level, argument="level", closed=False)
        check_count(n_bootstrap, argument="n_bootstrap", least=20)
        check_jobs(n_jobs)
        check_count(random_state, argument="random_state", least=0)
        table = self.checked(data)
        baseline = self.baseline or learn_baseline(
            table[[*self.prior]],
            table[self.outcome].to_numpy(dtype=float),
            knots=self.knots,
            reliability=self.reliabilities,
            min_cohort=self.min_cohort,
            run=(n_jobs, random_state, progress),
        )
        results = growth_results(
            self,
            baseline,
            table,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
            level=level,
        )
        if results.n_unplaced:
            warn_weak_data(
                text(
                    "growth.unplaced",
                    n=results.n_unplaced,
                    total=len(table),
                    prior=repr(self.prior[-1]),
                )
            )
        return results

    def checked(self, data: object) -> pd.DataFrame:
        """Return the columns in use after the checks that need no curves."""
        data = pupils_table(data)
        columns = [self.group, self.outcome, *self.prior]
        check_columns(data, columns, table="pupils")
        check_not_empty(data, table="pupils")
        check_numeric(data, columns[1:], table="pupils")
        check_finite(data, [self.outcome], table="pupils", unit=self.group)
        empty = data[self.group].isna()
        if empty.any():
            raise DataError(text("growth.no_school", n=int(empty.sum()), column=repr(self.group)))
        for name in self.prior:
            if np.isinf(data[name].to_numpy(dtype=float, na_value=np.nan)).any():
                raise DataError(text("growth.infinite", column=repr(name)))
        if self.limits is not None:
            score = data[self.outcome].to_numpy(dtype=float)
            beyond = (score < self.limits[0]) | (score > self.limits[1])
            if beyond.any():
                raise DataError(
                    text(
                        "growth.beyond_limits",
                        n=int(beyond.sum()),
                        values=shorten(np.unique(score[beyond]).tolist()),
                        limits=f"{self.limits[0]:g}–{self.limits[1]:g}",
                    )
                )
        return data[columns]
