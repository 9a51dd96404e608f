"""Results of teacher effects that persist, behind the policy guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from resilience.errors import DataError, TeacherRankingError
from resilience.i18n import text
from resilience.results import Convergence, Results
from resilience.validation import check_columns, check_names, check_small_cells
from resilience.value_added.persistence.reports import (
    Release,
    TeacherErrors,
    group_cells,
    group_table,
)

if TYPE_CHECKING:
    from resilience.value_added.persistence.definition import PersistenceDefinition

__all__ = ["PersistenceResults"]

_RANKINGS = {"rank", "ranks", "ranking", "top", "bottom", "best", "worst", "percentile"}
_INTERNAL = {"model", "errors", "groups", "varying"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PersistenceResults(Results):
    """Persistence of teacher effects; no pupil is kept and no teacher is ranked.

    Attributes
    ----------
    model : PersistenceDefinition
        The specification.
    method : {"reml", "ml"}
        Likelihood.
    level : float
        Coverage of the intervals.
    criterion : float
        REML criterion or deviance, constants included.
    fixed_effects : DataFrame
        ``term estimate std_error statistic p_value conf_low conf_high``.
    persistence : DataFrame
        ``year earlier_year estimate std_error conf_low conf_high n_pupils reason``: what is left in
        ``year`` of an effect of a teacher of ``earlier_year``.  ``reason`` is ``fixed`` where α is
        no parameter, ``no_teacher_variance`` where teachers of the earlier year do not differ,
        ``not_converged`` where the observed information is not positive.
    variance_components : DataFrame
        ``group term variance variance_std_error std_dev``: of teachers and residuals, by year.
    residual_covariance : DataFrame
        ``year earlier_year residual_covariance residual_covariance_std_error
        residual_correlation n_pupils``.
    teacher_effects : DataFrame
        A row per teacher and year, sorted by key: effect in the year taught, ``std_error`` (errors
        of the fixed effects, of α and of the variances included), ``conditional_sd``,
        ``conf_low conf_high reliability n_pupils``.  No rank and no percentile.
    convergence : Convergence
        How the search ended.
    starts : tuple of float
        Criterion where each start ended.
    errors : TeacherErrors
        Joint prediction errors of the effects.
    groups : DataFrame
        Columns of the links that may form groups, a row per teacher and year.
    varying : tuple of str
        Columns of the links that vary within a teacher and year.
    n_rows, n_pupils : int
        Results and pupils.
    n_unlinked : int
        Results without a teacher of their own year.
    n_unknown_past : int
        Years before a pupil's last result with neither result nor link: nothing is carried on.
    n_links_unused : int
        Links of pupils without any result.
    """

    model: PersistenceDefinition
    method: str
    level: float
    criterion: float
    fixed_effects: pd.DataFrame
    persistence: pd.DataFrame
    variance_components: pd.DataFrame
    residual_covariance: pd.DataFrame
    teacher_effects: pd.DataFrame
    convergence: Convergence
    starts: tuple[float, ...]
    errors: TeacherErrors
    groups: pd.DataFrame
    varying: tuple[str, ...]
    n_rows: int
    n_pupils: int
    n_unlinked: int
    n_unknown_past: int
    n_links_unused: int

    def __getattr__(self, name: str) -> Any:
        if name in _RANKINGS:
            raise TeacherRankingError(text("policy.ranking"))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @cached_property
    def _releases(self) -> list[Release]:
        """Reports issued so far: the next one must not be taken from them."""
        return []

    def group_report(
        self, by: str | Sequence[str] = "school_id", *, n_min: int = 5
    ) -> pd.DataFrame:
        """Return the mean teacher effect of groups of teachers.

        Parameters
        ----------
        by : str or sequence of str
            Columns of the links that are constant within a teacher and year, or the year.
        n_min : int
            Least number of distinct teachers behind a number: five, or more.

        Returns
        -------
        DataFrame
            Columns of ``by``, ``n_teachers mean_teacher_effect std_error conf_low conf_high
            reason``, sorted by the groups.  Numbers of cells below ``n_min`` are missing with
            ``reason`` ``n_below_5``; where a known total would give a hidden cell away, the next
            smallest is hidden too (``complementary``).  ``attrs["n_suppressed"]`` counts them.

        Raises
        ------
        PolicyError
            If ``n_min`` is below five, or this report and one issued before from the same results
            differ by fewer than ``n_min`` teachers.
        SpecificationError
            If a column is unknown, varies within a teacher, or is the teacher key.
        """
        names = check_names(by, argument="by", example="by='school_id'")
        check_small_cells(n_min)
        teacher = self.model.teachers.teacher
        cells = group_cells(self.groups, names, self.varying, teacher)
        table, release = group_table(
            cells,
            self.groups[teacher],
            self.teacher_effects["teacher_effect"].to_numpy(),
            self.errors,
            n_min=n_min,
            level=self.level,
            earlier=self._releases,
        )
        self._releases.append(release)
        table.attrs["n_suppressed"] = release.n_hidden
        return table

    def individual_report(self, teacher_key: object) -> pd.DataFrame:
        """Return one teacher's own profile over the years, with intervals.

        Parameters
        ----------
        teacher_key : object
            Key of the teacher the report goes to.

        Raises
        ------
        DataError
            If there is no such teacher; the message names no other.
        """
        own = self.teacher_effects[self.teacher_effects[self.model.teachers.teacher] == teacher_key]
        if len(own) == 0:
            raise DataError(text("persistence.no_teacher", teacher=repr(teacher_key)))
        return own.reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return one row per pair of years: what persists."""
        return self.persistence.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: sizes, what could not be linked, criterion and search."""
        return pd.DataFrame(
            {
                "persistence_kind": [self.model.persistence],
                "method": [self.method],
                "n_rows": [self.n_rows],
                "n_pupils": [self.n_pupils],
                "n_teachers": [int(self.groups[self.model.teachers.teacher].nunique())],
                "n_unlinked": [self.n_unlinked],
                "n_unknown_past": [self.n_unknown_past],
                "n_links_unused": [self.n_links_unused],
                "criterion_value": [self.criterion],
                "converged": [self.convergence.converged],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return links, or any table of teachers and years, with each teacher's effect.

        Parameters
        ----------
        data : DataFrame
            With the teacher key and the year; missing where the teacher was not fitted.
        """
        keys = [self.model.teachers.teacher, self.model.time]
        check_columns(data, keys, table="data")
        columns = [*keys, "teacher_effect", "std_error", "conf_low", "conf_high"]
        found = data[keys].merge(self.teacher_effects[columns], on=keys, how="left")
        return data.assign(**{c: found[c].to_numpy() for c in columns[2:]})

    def summary(self, lang: str = "en") -> str:
        """Return what persists, with the note on stakes."""
        note = text("policy.stakes").localized(lang)
        return "\n".join([super().summary(lang), "", note])

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain Python objects, without specification and joint errors."""
        return {k: v for k, v in super().to_dict().items() if k not in _INTERNAL}

    def _repr_html_(self) -> str:
        return f"{super()._repr_html_()}<p>{text('policy.stakes')}</p>"
