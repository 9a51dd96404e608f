"""Growth percentiles of pupils and schools: the model a user types."""

from __future__ import annotations

from dataclasses import dataclass

from resilience.errors import warn_weak_data
from resilience.i18n import text
from resilience.validation import check_count, check_fraction, check_jobs
from resilience.value_added.growth.baseline import learn_baseline
from resilience.value_added.growth.definition import GrowthDefinition
from resilience.value_added.growth.results import GrowthResults, growth_results

__all__ = ["GrowthPercentiles"]


@dataclass(frozen=True, kw_only=True)
class GrowthPercentiles(GrowthDefinition):
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
