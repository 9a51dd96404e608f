"""From a fitted mixed model to the tables of value added."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design, formula_columns
from resilience.errors import warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.stats.crossproducts import ONES
from resilience.stats.mixed import LevelEffects, MixedFit
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.drift import kept_levels
from resilience.value_added.definitions.question import infer_question, question_of
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.effects.effects_table import coefficient_table, effects_table
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.intake.calibration_error import with_calibration_error
from resilience.value_added.intake.preparation import Prepared

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
R = TypeVar("R", bound=PupilFit)


def assemble(
    model: ModelDefinition,
    fitted: MixedFit,
    design: Design,
    prepared: Prepared,
    *,
    into: Callable[..., R],
    random_state: int = 0,
) -> R:
    """Return the results of a fit with nested levels.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    fitted : MixedFit
        Its levels are the groups from outer to inner and, with years, the cells of schools and
        years.
    design : Design
        The cross-products behind it.
    prepared : Prepared
        What the intake added and dropped.
    into : type
        Class of the results.
    random_state : int
        Seed of the draws behind the rank intervals.
    """
    groups, intake = model.groups, model.intake or Intake()
    weights = model.structure.weights if model.structure else None
    at, fitted = len(groups) - 1, with_calibration_error(fitted, design, prepared, weights)
    school = fitted.levels[at]
    loading = loading_of(design, at)
    effect = school.modes @ loading
    n_years = np.ones(len(effect), dtype=np.int64)
    cells = at if model.time is None else len(design.cross.levels) - 1
    if model.time is not None:
        years = design.cross.levels[cells]
        # a year whose rows all weigh nothing is no year with data
        n_years = np.bincount(years.parent[years.n_rows > 0], minlength=len(effect))
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
    slope_means = {
        term: float(mean)
        for k, level in enumerate(fitted.levels[: at + 1])
        for term, mean in zip(level.terms, loading_of(design, k), strict=True)
        if term in fitted.terms and term != ONES
    }
    return into(
        definition=model,
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
            "transient": _transient(fitted, at, design, loading),
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
        year_design=mean_design(design, cells),
        slope_means=slope_means,
        intake=intake,
        n_dropped=prepared.n_dropped,
        learnt=prepared.learnt,
        spec=design.spec,
        mixed=fitted,
        cross=kept_levels(design.cross, [level.name for level in fitted.levels]),
    )


def warn_of_weakness(fitted: MixedFit, groups: list[str]) -> None:
    """Warn of few groups, variances at zero, and a search that did not end well."""
    for name, level in zip(groups, fitted.levels, strict=False):
        if len(level.labels) < 10:
            warn_weak_data(text("value_added.weak_groups", group=repr(name), n=len(level.labels)))
    for level in fitted.levels:
        if level.singular:
            warn_weak_data(_singular(level))
    if not fitted.convergence.converged:
        warn_weak_data(
            text(
                "value_added.not_converged",
                gradient=f"{fitted.convergence.gradient_norm:.2g}",
            )
        )


def _singular(level: LevelEffects) -> Bilingual:
    """Say which variance of a level is zero, or that a correlation is at its end."""
    variances = np.diag(level.covariance)
    words = {"group": repr(level.name), "n": len(level.labels)}
    zero = np.flatnonzero(variances <= 1e-8 * max(float(variances.max()), 1e-300))
    if len(variances) == 1 or len(zero) == len(variances):
        return text("value_added.weak_variance", variance=f"{variances[0]:.3g}", **words)
    if len(zero):
        terms = ", ".join(repr(level.terms[k]) for k in zero)
        return text("value_added.weak_terms", terms=terms, **words)
    return text("value_added.weak_correlation", **words)


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
    """Return where the effect of a level is read: at the average pupil, over all years alike.

    1 for the intercept, the mean for a slope's column, and for effects by category (year) one
    divided by their number.
    """
    cross = design.cross
    columns = list(cross.levels[at].columns)
    by = _categories(design, at)
    sums = cross.total[0, columns] / cross.total[0, 0]
    means: Floats = sums * cross.scale[columns] + cross.centre[columns]
    return np.where(by, 1.0 / max(int(by.sum()), 1), means)


def raw_sums(design: Design, at: int) -> tuple[Floats, Floats]:
    """Return per group the sum of weights and the raw weighted sums of all columns."""
    cross = design.cross
    level = cross.levels[at]
    by = _categories(design, at)
    whole = by if by.any() else np.array([c == 0 for c in level.columns])
    sums = level.products[:, whole, :].sum(axis=1)
    weight = sums[:, 0]
    return weight, sums * cross.scale + weight[:, None] * cross.centre


def _categories(design: Design, at: int) -> NDArray[np.bool_]:
    """Return which terms of a level are effects of categories: they are in no formula."""
    cross = design.cross
    named = [cross.columns[c] for c in cross.levels[at].columns]
    return np.array([name != ONES and name not in design.terms for name in named], dtype=bool)


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
    deepest = len(design.cross.levels) - 1 if time is not None else at
    observed, expected = group_means(design, fitted, deepest)
    weight, _ = raw_sums(design, deepest)
    level = design.cross.levels[deepest]
    school = level.labels if time is None else fitted.levels[at].labels[level.parent]
    table: dict[str, object] = {"school_id": school}
    if time is not None:
        table["year"] = level.labels
    table["residual"] = observed - expected
    with np.errstate(divide="ignore"):  # a year whose rows all weigh nothing tells nothing
        table["sampling_variance"] = fitted.residual_variance / weight
    table["n_pupils"] = level.n_rows
    return pd.DataFrame(table).infer_objects()


def variance_table(fitted: MixedFit) -> pd.DataFrame:
    """Return ``group term variance std_dev correlation``; the residual is the last row.

    The correlation is that with the level's first term.  A level of three and more terms has a row
    ``a × b`` for every further pair, without a variance; an AR(1) level has the one row
    ``ar1`` with the correlation of neighbouring years.
    """
    rows: list[tuple[str, str, float, float, float]] = []
    for level in fitted.levels:
        D = level.covariance
        spread = np.sqrt(np.diag(D))
        if level.structure == "ar1":
            rho = level.parameters["correlation"]
            rows.append((level.name, "ar1", D[0, 0], spread[0], rho))
            continue
        for k, term in enumerate(level.terms):
            correlation = _correlation(D, 0, k) if k else np.nan
            rows.append((level.name, term, spread[k] ** 2, spread[k], correlation))
        rows += [
            (level.name, f"{level.terms[i]} × {level.terms[k]}", np.nan, np.nan, pair)
            for i in range(1, len(spread))
            for k in range(i + 1, len(spread))
            for pair in [_correlation(D, i, k)]
        ]
    residual = fitted.residual_variance
    rows.append(("residual", "", residual, float(np.sqrt(residual)), np.nan))
    return pd.DataFrame(rows, columns=["group", "term", "variance", "std_dev", "correlation"])


def _correlation(D: Floats, i: int, k: int) -> float:
    together = float(np.sqrt(D[i, i] * D[k, k]))
    return float(D[i, k] / together) if together > 0 else float("nan")


def _transient(fitted: MixedFit, at: int, design: Design, loading: Floats) -> float:
    """Return the variance of one year's effect around what lasts, on average over the years."""
    if at + 1 < len(fitted.levels):
        return float(fitted.levels[at + 1].covariance[0, 0])
    by = _categories(design, at)
    if not by.any():
        return 0.0
    D = fitted.levels[at].covariance
    years = np.where(by, 0.0, loading) + np.eye(len(by))[by]
    whole = float(np.einsum("ta,ab,tb->t", years, D, years).mean())
    return max(whole - float(loading @ D @ loading), 0.0)
