"""The contextual value-added model on pupils."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from resilience.data.design import Design, design_from_frame
from resilience.data.design_recipe import Recipe
from resilience.i18n import text
from resilience.validation import check_choice, check_count
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.nesting import check_keys
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.fits.nested import fit_nested
from resilience.value_added.gaps.fitting import fit_imputed
from resilience.value_added.intake.preparation import Prepared, prepare
from resilience.value_added.intake.small_blocks import products_for_fit
from resilience.value_added.intake.sources import (
    PupilProducts,
    check_levels,
    cross_products,
    needs_pupils,
    pupil_table,
)
from resilience.value_added.pupils.compare import ComparisonResults, compare_specifications
from resilience.value_added.pupils.crossed import fit_crossed_model
from resilience.value_added.pupils.joint_subjects import fit_subjects
from resilience.value_added.results import ValueAddedResults

__all__ = ["ValueAddedModel"]


@dataclass(frozen=True, eq=False)
class ValueAddedModel(ModelDefinition):
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
        if random_state is not None:
            check_count(random_state, argument="random_state", least=0)
        if needs_pupils(self):
            data = pupils = pupil_table(self, data)
            if (self.intake or Intake()).missing == "impute":
                return fit_imputed(
                    self, pupils, ValueAddedModel.fit, method=method, random_state=random_state
                )
            if self.crossed is not None or self.members is not None:
                return fit_crossed_model(self, pupils, method=method, random_state=random_state)
            if self.structure is not None and self.structure.outcome_group is not None:
                return fit_subjects(self, pupils, method=method, random_state=random_state)
        groups, levels = self.groups, self.levels
        intake, structure = self.intake or Intake(), self.structure or Structure()
        named = [level.name for level in levels[: -1 if structure.drift else None]]
        for name in structure.covariance:
            check_choice(name, named, argument=text("structures.level_argument"))
        if not isinstance(data, pd.DataFrame):
            given = data if isinstance(data, PupilProducts) else products_for_fit(self, data)
            products = given.made_for(self)
            check_levels(self, products.cross)
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

    def cross_products(
        self, source: object, *, keep: str | None = None, recipe: Recipe | None = None
    ) -> PupilProducts:
        """Read a source into the cross-products of this model, out of core where it is large.

        Parameters
        ----------
        source : frame, path, iterable of chunks, callable, Dask frame or Batches
            See `resilience.value_added.intake.sources.cross_products`.
        keep : str, optional
            Level whose units keep their own cross-products (subsets, influence, the cluster
            bootstrap); ``"groups"`` is the innermost one.
        recipe : Recipe, optional
            ``products.recipe`` of products made before: categories, standardisation and
            composition are taken from it, so that both can be merged.

        Returns
        -------
        PupilProducts
            For `fit`; additive (``merge``) and picklable.
        """
        return cross_products(self, source, keep=keep, recipe=recipe)

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
            What the intake added and dropped; its rows are read for the errors of calibrated
            priors alone.
        method : {"reml", "ml"}
            Criterion.
        random_state : int, optional
            As for `fit`.

        Returns
        -------
        ValueAddedResults

        See Also
        --------
        resilience.value_added.pupils.shared_pass.SharedPass
        """
        return fit_nested(
            self,
            design,
            prepared,
            into=ValueAddedResults,
            method=method,
            random_state=random_state or 0,
        )

    @staticmethod
    def compare(
        specs: Mapping[str, ValueAddedModel | str],
        data: object,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> ComparisonResults:
        """Fit specifications to the common complete rows of a table and set them side by side.

        See `resilience.value_added.pupils.compare.compare_specifications`.
        """
        return compare_specifications(
            specs, data, ValueAddedModel.fit, method=method, random_state=random_state
        )
