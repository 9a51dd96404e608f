"""The contextual value-added model on pupils."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import Design, design_from_frame, formula_columns
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.i18n import text
from resilience.stats.mixed import LevelEffects, MixedFit, fit_mixed
from resilience.stats.prediction_errors import EffectErrors
from resilience.validation import check_choice, check_unique
from resilience.value_added.effects import coefficient_table, effects_table
from resilience.value_added.nesting import check_nested
from resilience.value_added.preparation import Prepared, prepare
from resilience.value_added.question import infer_question, question_of
from resilience.value_added.results import ValueAddedResults
from resilience.value_added.specification import Intake, Structure

__all__ = ["ValueAddedModel", "check_keys"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ValueAddedModel:
    r"""A contextual value-added model: results against those of pupils with the same intake.

    .. math::

       y_{ijt} = x_{ijt}'\beta + u_j + v_{jt} + e_{ijt}, \qquad
       u_j \sim N(0, \sigma_u^2),\; v_{jt} \sim N(0, \sigma_v^2),\; e_{ijt} \sim N(0, \sigma_e^2)

    The persistent effect :math:`u_j` is the school's value added; :math:`v_{jt}` (with ``time``)
    is the part of one year that does not last.

    Parameters
    ----------
    formula : str
        A formulaic formula, for instance ``"score ~ prior_score + ses"``.
    group : str or sequence of str
        School column, or a list from outer to inner level, the school last.
    slopes : str, sequence of str or mapping of {level: terms}, optional
        Terms whose effect differs between schools (differential effects).
    time : str, optional
        Year column: adds the school-by-year level.
    crossed, members : optional
        Crossed and multiple-membership effects; refused in this version.
    intake : Intake, optional
        Composition, standardisation, gaps.
    structure : Structure, optional
        Covariances, weights, pupil key.

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
    members: object | None = None
    intake: Intake | None = None
    structure: Structure | None = None

    def fit(
        self,
        data: pd.DataFrame,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> ValueAddedResults:
        """Fit the model.

        Parameters
        ----------
        data : DataFrame
            One row per pupil (and subject, and year).
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
        groups = self._groups()
        levels = self._levels(groups)
        intake, structure = self.intake or Intake(), self.structure or Structure()
        for name in structure.covariance:
            check_choice(name, [level[0] for level in levels], argument="Structure.covariance")
        extra = [c for c in (structure.weights, structure.unit) if c]
        prepared = prepare(data, self.formula, intake, groups=groups, time=self.time, extra=extra)
        check_keys(prepared.data, groups, self.time, structure)
        design = design_from_frame(
            prepared.data,
            prepared.formula,
            groups=levels,
            weights=structure.weights,
        )
        return self.fit_design(design, prepared, method=method, random_state=random_state)

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
        groups, structure = self._groups(), self.structure or Structure()
        with threadpool_limits(limits=1):
            fitted = fit_mixed(
                design.cross,
                fixed=design.terms,
                method=method,
                covariance=dict(structure.covariance),
            )
        _warn_of_weakness(fitted, groups)
        intake = self.intake or Intake()
        return self._results(fitted, design, prepared, groups, intake, random_state or 0)

    def _groups(self) -> list[str]:
        for argument, value in (("crossed", self.crossed), ("members", self.members)):
            if value is not None:
                raise SpecificationError(text("value_added.crossed", argument=argument))
        if not self.group:
            raise SpecificationError(text("value_added.no_group"))
        groups = [self.group] if isinstance(self.group, str) else list(self.group)
        twice = [name for name, n in Counter([*groups, self.time]).items() if n > 1]
        if twice:
            raise SpecificationError(text("value_added.level_twice", group=repr(twice[0])))
        return groups

    def _levels(self, groups: list[str]) -> list[tuple[str, str, Sequence[str]]]:
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
        levels: list[tuple[str, str, Sequence[str]]] = [(g, g, slopes.get(g, ())) for g in groups]
        if self.time is not None:
            levels.append((f"{groups[-1]}:{self.time}", self.time, ()))
        return levels

    def _results(
        self,
        fitted: MixedFit,
        design: Design,
        prepared: Prepared,
        groups: list[str],
        intake: Intake,
        random_state: int,
    ) -> ValueAddedResults:
        at = len(groups) - 1
        school = fitted.levels[at]
        loading = _loading(design, at)
        effect = school.modes @ loading
        n_years = np.ones(len(effect), dtype=np.int64)
        if self.time is not None:
            n_years = np.bincount(fitted.levels[at + 1].parent, minlength=len(effect))
        observed, expected = _means(design, fitted, at)
        errors = _errors(school, loading, fitted.beta_covariance)
        table = effects_table(
            school_id=school.labels,
            effect=effect,
            errors=errors,
            prior_variance=float(loading @ school.covariance @ loading),
            n_pupils=school.n_rows,
            n_years=n_years,
            means=(observed, expected),
            random_state=random_state,
        )
        transient = fitted.levels[at + 1].covariance[0, 0] if self.time is not None else 0.0
        return ValueAddedResults(
            formula=prepared.formula,
            source_formula=self.formula,
            group=groups[-1],
            time=self.time,
            method=fitted.method,
            criterion=fitted.criterion,
            fixed_effects=coefficient_table(fitted.terms, fitted.beta, fitted.beta_covariance),
            variance_components=_variance_table(fitted),
            school_effects=table,
            school_years=_school_years(design, fitted, at, self.time),
            variances={
                "persistent": float(loading @ school.covariance @ loading),
                "transient": float(transient),
                "residual": fitted.residual_variance,
            },
            convergence=fitted.convergence,
            question=(
                infer_question(intake.prior, formula_columns(self.formula).variables)
                if intake.question is None
                else question_of(intake.question)
            ),
            data_kind="pupils",
            information=1.0,
            errors=errors,
            year_design=_mean_design(design, at + 1 if self.time is not None else at),
            school_slopes=_slopes_table(fitted.levels[at : at + 1])
            .drop(columns="group")
            .rename(columns={"unit_id": "school_id"}),
            outer_effects=_outer_table(fitted.levels[:at], design),
            outer_slopes=_slopes_table(fitted.levels[:at]),
            slope_means={
                term: float(mean)
                for k, level in enumerate(fitted.levels[: at + 1])
                for term, mean in zip(level.terms[1:], _loading(design, k)[1:], strict=True)
            },
            intake=intake,
            n_dropped=prepared.n_dropped,
            spec=design.spec,
        )


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


def _warn_of_weakness(fitted: MixedFit, groups: list[str]) -> None:
    for name, level in zip(groups, fitted.levels, strict=False):
        if len(level.labels) < 10:
            warnings.warn(
                WeakDataWarning(
                    text("value_added.weak_groups", group=repr(name), n=len(level.labels))
                ),
                stacklevel=4,
            )
    for level in fitted.levels:
        if level.singular:
            warnings.warn(
                WeakDataWarning(
                    text(
                        "value_added.weak_variance",
                        group=repr(level.name),
                        variance=f"{level.covariance[0, 0]:.3g}",
                        n=len(level.labels),
                    )
                ),
                stacklevel=4,
            )
    if not fitted.convergence.converged:
        warnings.warn(
            WeakDataWarning(
                text(
                    "value_added.not_converged",
                    gradient=f"{fitted.convergence.gradient_norm:.2g}",
                )
            ),
            stacklevel=4,
        )


def _quadratic(matrices: Floats, loading: Floats) -> Floats:
    return np.asarray(np.einsum("gab,a,b->g", matrices, loading, loading))


def _errors(school: LevelEffects, loading: Floats, beta_covariance: Floats) -> EffectErrors:
    """Return the joint errors of the effects read at ``loading``."""
    return EffectErrors(
        conditional=_quadratic(school.conditional, loading),
        leverage=np.asarray(np.einsum("gap,a->gp", school.leverage, loading)),
        beta_covariance=beta_covariance,
        shared=tuple(
            (codes, column)
            for codes, parts in school.shared
            for column in np.einsum("gao,a->og", parts, loading)
        ),
        coefficient_part=np.asarray(np.einsum("gap,a->gp", school.coefficient_part, loading)),
    )


def _loading(design: Design, at: int) -> Floats:
    """Return 1 and the means of the slope columns: the effect is read at the average pupil."""
    cross = design.cross
    columns = list(cross.levels[at].columns[1:])
    sums = cross.total[0, columns] / cross.total[0, 0]
    return np.concatenate([[1.0], sums * cross.scale[columns] + cross.centre[columns]])


def _raw_sums(design: Design, at: int) -> tuple[Floats, Floats]:
    """Return per group the sum of weights and the raw weighted sums of all columns."""
    cross = design.cross
    level = cross.levels[at]
    sums = level.products[:, level.columns.index(0), :]
    weight = sums[:, 0]
    return weight, sums * cross.scale + weight[:, None] * cross.centre


def _mean_design(design: Design, at: int) -> Floats:
    """Return the mean of the fixed terms in each group of a level, shape (n_groups, p)."""
    weight, raw = _raw_sums(design, at)
    fixed = [design.cross.columns.index(t) for t in design.terms]
    with np.errstate(invalid="ignore"):
        return np.asarray(raw[:, fixed] / weight[:, None])


def _means(design: Design, fitted: MixedFit, at: int) -> tuple[Floats, Floats]:
    weight, raw = _raw_sums(design, at)
    with np.errstate(invalid="ignore"):
        return raw[:, -1] / weight, _mean_design(design, at) @ fitted.beta


def _school_years(design: Design, fitted: MixedFit, at: int, time: str | None) -> pd.DataFrame:
    """Return mean residuals before shrinkage, per school and (where there is one) year."""
    deepest = at + 1 if time is not None else at
    observed, expected = _means(design, fitted, deepest)
    weight, _ = _raw_sums(design, deepest)
    level = fitted.levels[deepest]
    school = level.labels if time is None else fitted.levels[at].labels[level.parent]
    table: dict[str, object] = {"school_id": school}
    if time is not None:
        table["year"] = level.labels
    table["residual"] = observed - expected
    table["sampling_variance"] = fitted.residual_variance / weight
    table["n_pupils"] = level.n_rows
    return pd.DataFrame(table).infer_objects()


def _variance_table(fitted: MixedFit) -> pd.DataFrame:
    rows: list[tuple[str, str, float, float, float]] = []
    for level in fitted.levels:
        spread = np.sqrt(np.diag(level.covariance))
        for k, term in enumerate(level.terms):
            together = spread[0] * spread[k]
            correlation = level.covariance[0, k] / together if k and together > 0 else np.nan
            rows.append((level.name, term, spread[k] ** 2, spread[k], correlation))
    residual = fitted.residual_variance
    rows.append(("residual", "", residual, float(np.sqrt(residual)), np.nan))
    return pd.DataFrame(rows, columns=["group", "term", "variance", "std_dev", "correlation"])


def _slopes_table(levels: tuple[LevelEffects, ...]) -> pd.DataFrame:
    pieces = [
        pd.DataFrame(
            {
                "group": level.name,
                "unit_id": level.labels,
                "term": term,
                "estimate": level.modes[:, k],
                "std_error": np.sqrt(level.prediction[:, k, k]),
            }
        )
        for level in levels
        for k, term in enumerate(level.terms)
        if k
    ]
    empty = pd.DataFrame(columns=["group", "unit_id", "term", "estimate", "std_error"])
    return pd.concat(pieces, ignore_index=True).infer_objects() if pieces else empty


def _outer_table(levels: tuple[LevelEffects, ...], design: Design) -> pd.DataFrame:
    loadings = [_loading(design, k) for k in range(len(levels))]
    pieces = [
        pd.DataFrame(
            {
                "group": level.name,
                "unit_id": level.labels,
                "effect": level.modes @ loading,
                "std_error": np.sqrt(_quadratic(level.prediction, loading)),
            }
        )
        for level, loading in zip(levels, loadings, strict=True)
    ]
    empty = pd.DataFrame(columns=["group", "unit_id", "effect", "std_error"])
    return pd.concat(pieces, ignore_index=True).infer_objects() if pieces else empty
