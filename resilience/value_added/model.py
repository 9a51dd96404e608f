"""The contextual value-added model on pupils."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd
from threadpoolctl import threadpool_limits

from resilience.data.design import Design, Level, design_from_frame
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.mixed import fit_mixed
from resilience.validation import check_choice, check_unique
from resilience.value_added.assembly import assemble, warn_of_weakness
from resilience.value_added.crossed import fit_crossed_model
from resilience.value_added.drift import drift_covariance, drift_levels, drift_of, fitted_products
from resilience.value_added.joint_subjects import fit_subjects
from resilience.value_added.membership import Membership
from resilience.value_added.nesting import check_nested
from resilience.value_added.preparation import Prepared, prepare
from resilience.value_added.results import ValueAddedResults
from resilience.value_added.sources import (
    PupilProducts,
    cross_products,
    needs_pupils,
    pupil_table,
)
from resilience.value_added.specification import Intake, Structure

if TYPE_CHECKING:
    from resilience.value_added.compare import ComparisonResults

__all__ = ["ValueAddedModel", "check_keys"]


@dataclass(frozen=True, eq=False)
class ValueAddedModel:
    r"""A contextual value-added model: results against those of pupils with the same intake.

    .. math::

       y_{ijt} = x_{ijt}'\beta + u_j + v_{jt} + e_{ijt}, \qquad
       u_j \sim N(0, \sigma_u^2),\; v_{jt} \sim N(0, \sigma_v^2),\; e_{ijt} \sim N(0, \sigma_e^2)

    The persistent effect :math:`u_j` is the school's value added; :math:`v_{jt}` (with ``time``)
    is the part of one year that does not last.  With ``Structure(drift="ar1")`` it fades instead,
    :math:`\mathrm{cov}(v_{jt}, v_{js}) = \sigma_v^2\rho^{|t-s|}`; with ``"unstructured"`` the
    years' effects have any covariance and :math:`u_j` is their mean.

    Parameters
    ----------
    formula : str
        A formulaic formula, for instance ``"score ~ prior_score + ses"``.
    group : str or sequence of str
        School column, or a list from outer to inner level, the school last.
    slopes : str, sequence of str or mapping of {level: terms}, optional
        Terms whose effect differs between schools (differential effects).
    time : str, optional
        Year column: adds the school-by-year level, or the years' covariance with drift.
    crossed : sequence of str, optional
        Columns whose units cross each other and those of ``group``: school of origin and school
        now.  Without ``group`` the last one is the school.
    members : Membership, optional
        Units to which pupils belong by shares.  Without ``group`` and ``crossed`` they are the
        schools.
    intake : Intake, optional
        Composition, standardisation, gaps.
    structure : Structure, optional
        Covariances, drift, weights, pupil key.

    References
    ----------
    AitkinLongford1986; RaudenbushBryk2002, chapter 4.

    Examples
    --------
    >>> import resilience as rs
    >>> exam = rs.load_dataset("london_exam")
    >>> model = rs.ValueAddedModel("normexam ~ standLRT", group="school_id")
    >>> va = model.fit(exam.pupils, method="ml")
    >>> round(va.criterion, 2)
    9357.24
    """

    formula: str
    group: str | Sequence[str] | None = None
    slopes: str | Sequence[str] | Mapping[str, Sequence[str]] | None = None
    time: str | None = None
    crossed: Sequence[str] | None = None
    members: Membership | None = None
    intake: Intake | None = None
    structure: Structure | None = None

    def fit(
        self,
        data: object,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> ValueAddedResults:
        """Fit the model.

        Parameters
        ----------
        data : DataFrame, other source or PupilProducts
            One row per pupil (and subject, and year): a frame of any library that narwhals knows,
            the path of a Parquet file or folder, an iterable of chunks, a Dask frame, or the
            products that `cross_products` made of one.
        method : {"reml", "ml"}
            Restricted or full maximum likelihood; tests of fixed effects need ``"ml"``.
        random_state : int, optional
            Seed of the draws behind the rank intervals (of up to 100 schools), 0 by default; the
            estimates use none.

        Returns
        -------
        ValueAddedResults

        Raises
        ------
        DataError, SpecificationError
            For every case of bad input, each with culprit, rule, value and way out.

        Warns
        -----
        WeakDataWarning
            Fewer than 10 schools, rows dropped, a singular or not converged fit.
        """
        check_choice(method, ("reml", "ml"), argument="method")
        if needs_pupils(self):
            data = pupils = pupil_table(self, data)
            if self.crossed is not None or self.members is not None:
                return fit_crossed_model(self, pupils, method=method, random_state=random_state)
            if self.structure is not None and self.structure.outcome_group is not None:
                return fit_subjects(self, pupils, method=method, random_state=random_state)
        groups, levels = self.groups, self.levels
        intake, structure = self.intake or Intake(), self.structure or Structure()
        named = [level.name for level in levels[: -1 if structure.drift else None]]
        for name in structure.covariance:
            check_choice(name, named, argument="Structure.covariance")
        if not isinstance(data, pd.DataFrame):
            given = data if isinstance(data, PupilProducts) else cross_products(self, data)
            products = given.made_for(self)
            return self.fit_design(
                products.design, products.prepared, method=method, random_state=random_state
            )
        extra = [c for c in (structure.weights, structure.unit) if c]
        prepared = prepare(data, self.formula, intake, groups=groups, time=self.time, extra=extra)
        check_keys(prepared.data, groups, self.time, structure)
        design = design_from_frame(
            prepared.data,
            prepared.formula,
            groups=levels,
            weights=structure.weights,
            keep="small",
        )
        return self.fit_design(design, prepared, method=method, random_state=random_state)

    def cross_products(self, source: object, *, keep: str | None = None) -> PupilProducts:
        """Read a source into the cross-products of this model, out of core where it is large.

        Parameters
        ----------
        source : frame, path, iterable of chunks, callable, Dask frame or Batches
            See `resilience.value_added.sources.cross_products`.
        keep : str, optional
            Level whose units keep their own cross-products (subsets, influence, the cluster
            bootstrap); ``"groups"`` is the innermost one.

        Returns
        -------
        PupilProducts
            For `fit`; additive (``merge``) and picklable.
        """
        return cross_products(self, source, keep=keep)

    def fit_design(
        self,
        design: Design,
        prepared: Prepared,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> ValueAddedResults:
        """Fit from cross-products that were made before: many specifications share one pass.

        Parameters
        ----------
        design : Design
            Cross-products with this model's levels, a sub-block of wider ones for instance.
        prepared : Prepared
            What the intake added and dropped; its rows are not read.
        method : {"reml", "ml"}
            Criterion.
        random_state : int, optional
            As for `fit`.

        Returns
        -------
        ValueAddedResults

        See Also
        --------
        resilience.value_added.shared_pass.SharedPass
        """
        levels, structure = self.levels, self.structure or Structure()
        if structure.outcome_group is not None:
            raise SpecificationError(text("subjects.own_pass"))
        cross = fitted_products(design.cross, levels, structure)
        with threadpool_limits(limits=1):
            fitted = fit_mixed(
                cross,
                fixed=design.terms,
                method=method,
                covariance=drift_covariance(levels, structure),
            )
        warn_of_weakness(fitted, self.groups)
        results = assemble(self, fitted, design, prepared, random_state=random_state or 0)
        drift = drift_of(results)
        if drift is not None:
            drift.warn()
        return results

    @staticmethod
    def compare(
        specs: Mapping[str, ValueAddedModel | str],
        data: pd.DataFrame,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> ComparisonResults:
        """Fit specifications to their common complete rows and set them side by side.

        See `resilience.value_added.compare.compare_specifications`.
        """
        from resilience.value_added.compare import compare_specifications

        return compare_specifications(specs, data, method=method, random_state=random_state)

    @property
    def groups(self) -> list[str]:
        """Columns of the nested levels from outer to inner, the school last."""
        for argument, value in (("crossed", self.crossed), ("members", self.members)):
            if value is not None:
                raise SpecificationError(text("crossed.nested_only", argument=argument))
        if not self.group:
            raise SpecificationError(text("value_added.no_group"))
        groups = [self.group] if isinstance(self.group, str) else list(self.group)
        twice = [name for name, n in Counter([*groups, self.time]).items() if n > 1]
        if twice:
            raise SpecificationError(text("value_added.level_twice", group=repr(twice[0])))
        return groups

    @property
    def levels(self) -> list[Level]:
        """Nested levels from outer to inner; with drift the last one only counts pupils by year."""
        groups = self.groups
        slopes: dict[str, Sequence[str]] = {}
        if isinstance(self.slopes, Mapping):
            slopes = dict(self.slopes)
        elif self.slopes is not None:
            terms = [self.slopes] if isinstance(self.slopes, str) else list(self.slopes)
            slopes = {groups[-1]: terms}
        for level in slopes:
            if level not in groups:
                raise SpecificationError(
                    text("value_added.slopes_level", level=repr(level), groups=", ".join(groups))
                )
        levels = [Level(name=g, column=g, slopes=tuple(slopes.get(g, ()))) for g in groups]
        return drift_levels(levels, self.structure or Structure(), self.time)


def check_keys(
    data: pd.DataFrame, groups: list[str], time: str | None, structure: Structure
) -> None:
    """Raise unless levels nest, years separate, and pupils do not repeat."""
    check_nested(data, groups)
    if time is not None:
        if data[time].nunique() < 2:
            raise DataError(text("value_added.one_time", time=repr(time), value=data[time].iloc[0]))
        if int(data.groupby(groups[-1], observed=True)[time].nunique().max()) < 2:
            raise DataError(text("value_added.one_year_each", time=repr(time)))
    if structure.unit is not None:
        key = [structure.unit, *([time] if time else [])]
        key += ["subject"] if "subject" in data.columns else []
        check_unique(data, key, table="data")
