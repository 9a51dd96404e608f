"""From a fitted mixed model to the tables of value added."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design, formula_columns
from resilience.errors import WeakDataWarning
from resilience.i18n import text
from resilience.stats.mixed import LevelEffects, MixedFit
from resilience.stats.prediction_errors import EffectErrors
from resilience.value_added.effects import coefficient_table, effects_table
from resilience.value_added.preparation import Prepared
from resilience.value_added.question import infer_question, question_of
from resilience.value_added.results import ValueAddedResults
from resilience.value_added.specification import Intake

if TYPE_CHECKING:
    from resilience.value_added.model import ValueAddedModel

__all__ = [
    "assemble",
    "errors_of",
    "group_means",
    "loading_of",
    "mean_design",
    "quadratic",
    "raw_sums",
    "school_years",
    "variance_table",
    "warn_of_weakness",
]

Floats = NDArray[np.float64]


def assemble(
    model: ValueAddedModel,
    fitted: MixedFit,
    design: Design,
    prepared: Prepared,
    *,
    random_state: int = 0,
) -> ValueAddedResults:
    """Return the results of a fit with nested levels.

    Parameters
    ----------
    model : ValueAddedModel
        The specification.
    fitted : MixedFit
        Its levels are the groups from outer to inner and, with years, the cells of schools and
        years.
    design : Design
        The cross-products behind it.
    prepared : Prepared
        What the intake added and dropped.
    random_state : int
        Seed of the draws behind the rank intervals.
    """
    groups, intake = model.groups, model.intake or Intake()
    at = len(groups) - 1
    school = fitted.levels[at]
    loading = loading_of(design, at)
    effect = school.modes @ loading
    n_years = np.ones(len(effect), dtype=np.int64)
    if model.time is not None:
        n_years = np.bincount(fitted.levels[at + 1].parent, minlength=len(effect))
    observed, expected = group_means(design, fitted, at)
    errors = errors_of(school, loading, fitted.beta_covariance)
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
    transient = fitted.levels[at + 1].covariance[0, 0] if model.time is not None else 0.0
    return ValueAddedResults(
        formula=prepared.formula,
        source_formula=model.formula,
        group=groups[-1],
        time=model.time,
        method=fitted.method,
        criterion=fitted.criterion,
        fixed_effects=coefficient_table(fitted.terms, fitted.beta, fitted.beta_covariance),
        variance_components=variance_table(fitted),
        school_effects=table,
        school_years=school_years(design, fitted, at, model.time),
        variances={
            "persistent": float(loading @ school.covariance @ loading),
            "transient": float(transient),
            "residual": fitted.residual_variance,
        },
        convergence=fitted.convergence,
        question=(
            infer_question(intake.prior, formula_columns(model.formula).variables)
            if intake.question is None
            else question_of(intake.question)
        ),
        data_kind="pupils",
        information=1.0,
        errors=errors,
        year_design=mean_design(design, at + 1 if model.time is not None else at),
        school_slopes=_slopes_table(fitted.levels[at : at + 1])
        .drop(columns="group")
        .rename(columns={"unit_id": "school_id"}),
        outer_effects=_outer_table(fitted.levels[:at], design),
        outer_slopes=_slopes_table(fitted.levels[:at]),
        slope_means={
            term: float(mean)
            for k, level in enumerate(fitted.levels[: at + 1])
            for term, mean in zip(level.terms[1:], loading_of(design, k)[1:], strict=True)
        },
        intake=intake,
        n_dropped=prepared.n_dropped,
        spec=design.spec,
        mixed=fitted,
        cross=design.cross,
    )


def warn_of_weakness(fitted: MixedFit, groups: list[str]) -> None:
    """Warn of few groups, variances at zero, and a search that did not end well."""
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


def quadratic(matrices: Floats, loading: Floats) -> Floats:
    """Return the variance of each group's effect read at ``loading``."""
    return np.asarray(np.einsum("gab,a,b->g", matrices, loading, loading))


def errors_of(school: LevelEffects, loading: Floats, beta_covariance: Floats) -> EffectErrors:
    """Return the joint errors of the effects read at ``loading``."""
    return EffectErrors(
        conditional=quadratic(school.conditional, loading),
        leverage=np.asarray(np.einsum("gap,a->gp", school.leverage, loading)),
        beta_covariance=beta_covariance,
        shared=tuple(
            (codes, column)
            for codes, parts in school.shared
            for column in np.einsum("gao,a->og", parts, loading)
        ),
        coefficient_part=np.asarray(np.einsum("gap,a->gp", school.coefficient_part, loading)),
    )


def loading_of(design: Design, at: int) -> Floats:
    """Return 1 and the means of the slope columns: the effect is read at the average pupil."""
    cross = design.cross
    columns = list(cross.levels[at].columns[1:])
    sums = cross.total[0, columns] / cross.total[0, 0]
    return np.concatenate([[1.0], sums * cross.scale[columns] + cross.centre[columns]])


def raw_sums(design: Design, at: int) -> tuple[Floats, Floats]:
    """Return per group the sum of weights and the raw weighted sums of all columns."""
    cross = design.cross
    level = cross.levels[at]
    sums = level.products[:, level.columns.index(0), :]
    weight = sums[:, 0]
    return weight, sums * cross.scale + weight[:, None] * cross.centre


def mean_design(design: Design, at: int) -> Floats:
    """Return the mean of the fixed terms in each group of a level, shape (n_groups, p)."""
    weight, raw = raw_sums(design, at)
    fixed = [design.cross.columns.index(t) for t in design.terms]
    with np.errstate(invalid="ignore"):
        return np.asarray(raw[:, fixed] / weight[:, None])


def group_means(design: Design, fitted: MixedFit, at: int) -> tuple[Floats, Floats]:
    """Return the observed and the expected mean of each group of a level."""
    weight, raw = raw_sums(design, at)
    with np.errstate(invalid="ignore"):
        return raw[:, -1] / weight, mean_design(design, at) @ fitted.beta


def school_years(design: Design, fitted: MixedFit, at: int, time: str | None) -> pd.DataFrame:
    """Return mean residuals before shrinkage, per school and (where there is one) year."""
    deepest = at + 1 if time is not None else at
    observed, expected = group_means(design, fitted, deepest)
    weight, _ = raw_sums(design, deepest)
    level = fitted.levels[deepest]
    school = level.labels if time is None else fitted.levels[at].labels[level.parent]
    table: dict[str, object] = {"school_id": school}
    if time is not None:
        table["year"] = level.labels
    table["residual"] = observed - expected
    table["sampling_variance"] = fitted.residual_variance / weight
    table["n_pupils"] = level.n_rows
    return pd.DataFrame(table).infer_objects()


def variance_table(fitted: MixedFit) -> pd.DataFrame:
    """Return ``group term variance std_dev correlation``; the residual is the last row."""
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
    loadings = [loading_of(design, k) for k in range(len(levels))]
    pieces = [
        pd.DataFrame(
            {
                "group": level.name,
                "unit_id": level.labels,
                "effect": level.modes @ loading,
                "std_error": np.sqrt(quadratic(level.prediction, loading)),
            }
        )
        for level, loading in zip(levels, loadings, strict=True)
    ]
    empty = pd.DataFrame(columns=["group", "unit_id", "effect", "std_error"])
    return pd.concat(pieces, ignore_index=True).infer_objects() if pieces else empty
