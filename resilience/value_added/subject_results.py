"""From a joint fit of several subjects to the tables of value added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design, formula_columns
from resilience.stats.mixed import LevelEffects
from resilience.stats.strata_fit import StrataFit
from resilience.value_added.effects import coefficient_table, effects_table
from resilience.value_added.preparation import Prepared
from resilience.value_added.question import infer_question, question_of
from resilience.value_added.results import ValueAddedResults
from resilience.value_added.specification import Intake
from resilience.value_added.subjects import (
    by_subject,
    effect_errors,
    equal_weights,
    subject_loadings,
)

if TYPE_CHECKING:
    from resilience.value_added.model import ValueAddedModel

__all__ = ["joint_results"]

Floats = NDArray[np.float64]


def joint_results(
    model: ValueAddedModel,
    fitted: StrataFit,
    design: Design,
    prepared: Prepared,
    *,
    random_state: int = 0,
) -> ValueAddedResults:
    """Return the results of a joint fit; the school's effect is that in the mean of the subjects.

    ``cross`` holds the whitened cross-products at the estimated residual covariance: for refits
    they are an ordinary model, with the residual covariance taken as known.

    Parameters
    ----------
    model : ValueAddedModel
        The specification.
    fitted : StrataFit
        Its levels are the groups from outer to inner and, with years, the cells.
    design : Design
        The plain design.
    prepared : Prepared
        What the intake added and dropped.
    random_state : int
        Seed of the draws behind the rank intervals.
    """
    groups, intake = model.groups, model.intake or Intake()
    at = len(groups) - 1
    weights = equal_weights(fitted)
    loadings = [weights @ subject_loadings(fitted, k) for k in range(len(fitted.levels))]
    school, loading = fitted.levels[at], loadings[at]
    errors = effect_errors(school, loading, fitted.beta_covariance)
    spread = [float(b @ v.covariance @ b) for b, v in zip(loadings, fitted.levels, strict=True)]
    n_years = np.ones(len(school.labels), dtype=np.int64)
    if model.time is not None:
        n_years = np.bincount(fitted.levels[at + 1].parent, minlength=len(n_years))
    years, means, _ = _cells(fitted, design, at + 1 if model.time is not None else at, at)
    return ValueAddedResults(
        formula=prepared.formula,
        source_formula=model.formula,
        group=groups[-1],
        time=model.time,
        method=fitted.method,
        criterion=fitted.criterion,
        fixed_effects=coefficient_table(fitted.terms, fitted.beta, fitted.beta_covariance),
        variance_components=_variances(fitted),
        school_effects=effects_table(
            school_id=school.labels,
            effect=school.modes @ loading,
            errors=errors,
            prior_variance=spread[at],
            n_pupils=fitted.strata.pupils(at),
            n_years=n_years,
            means=_cells(fitted, design, at, at)[2],
            random_state=random_state,
        ),
        school_years=years,
        variances={
            "persistent": spread[at],
            "transient": spread[at + 1] if model.time is not None else 0.0,
            "residual": float(weights @ fitted.residual_covariance @ weights),
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
        year_design=means,
        school_slopes=_slopes(fitted, [at])
        .drop(columns="group")
        .rename(columns={"unit_id": "school_id"}),
        outer_effects=_outer(fitted, loadings[:at]),
        outer_slopes=_slopes(fitted, list(range(at))),
        slope_means=_slope_means(fitted, design, at),
        intake=intake,
        n_dropped=prepared.n_dropped,
        spec=design.spec,
        mixed=fitted,
        cross=fitted.strata.whitened(fitted.residual_covariance / fitted.residual_variance),
    )


def _cells(
    fitted: StrataFit, design: Design, at: int, school: int
) -> tuple[pd.DataFrame, Floats, tuple[Floats, Floats]]:
    """Return rows by unit of a level and subject, their mean covariates, and the units' means.

    The rows are observed minus expected means before any shrinkage, of the subjects with results;
    the units' means are (observed, expected) over all their results.
    """
    strata, level = fitted.strata, fitted.levels[at]
    fixed = [strata.plain.columns.index(t) for t in design.terms]
    counts = strata.rows_by_subject(at)
    row = np.zeros(len(fitted.subjects), dtype=int)
    if by_subject(fitted, at):
        row = np.arange(len(fitted.subjects))
    sums = []
    for s in range(len(fitted.subjects)):
        cross = strata.of_subject(s)
        own = cross.levels[at].products[:, row[s], :]
        sums.append(own * cross.scale + own[:, :1] * cross.centre)
    raw = np.stack(sums, axis=1)  # units × subjects × columns
    weight = raw[:, :, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = raw[:, :, fixed] / weight[:, :, None]
        residual = raw[:, :, -1] / weight - means @ fitted.beta
        variance = np.diag(fitted.residual_covariance) / weight
        whole = raw.sum(axis=1)
        pooled = whole[:, -1] / whole[:, 0], whole[:, fixed] @ fitted.beta / whole[:, 0]
    unit, subject = np.nonzero(counts)
    labels = level.labels[unit]
    table: dict[str, object] = {"school_id": labels}
    if at > school:
        table = {"school_id": fitted.levels[school].labels[level.parent[unit]], "year": labels}
    table["subject"] = np.asarray(fitted.subjects, dtype=object)[subject]
    table["residual"] = residual[unit, subject]
    table["sampling_variance"] = variance[unit, subject]
    table["n_pupils"] = counts[unit, subject]
    return pd.DataFrame(table).infer_objects(), means[unit, subject], pooled


def _variances(fitted: StrataFit) -> pd.DataFrame:
    """Return ``group term variance std_dev correlation``; one residual row per subject."""
    rows: list[tuple[str, str, float, float, float]] = []
    school_terms = next(v.terms for k, v in enumerate(fitted.levels) if by_subject(fitted, k))
    own = school_terms[: len(fitted.subjects)]
    blocks = [(v.name, v.terms, v.covariance) for v in fitted.levels]
    for name, terms, block in [*blocks, ("residual", own, fitted.residual_covariance)]:
        tied = name != "residual" or fitted.strata.linked
        spread = np.sqrt(np.diag(block))
        for k, term in enumerate(terms):
            size = spread[0] * spread[k]
            tie = block[0, k] / size if k and size > 0 and tied else np.nan
            rows.append((name, term, float(spread[k] ** 2), float(spread[k]), float(tie)))
    return pd.DataFrame(rows, columns=["group", "term", "variance", "std_dev", "correlation"])


def _slope_terms(fitted: StrataFit, at: int) -> list[tuple[int, str]]:
    first = len(fitted.subjects) if by_subject(fitted, at) else 1
    return list(enumerate(fitted.levels[at].terms))[first:]


def _slopes(fitted: StrataFit, levels: list[int]) -> pd.DataFrame:
    names = ["group", "unit_id", "term", "estimate", "std_error"]
    pieces = [
        _table(level, term, level.modes[:, k], level.prediction[:, k, k])
        for at in levels
        for level in (fitted.levels[at],)
        for k, term in _slope_terms(fitted, at)
    ]
    if not pieces:
        return pd.DataFrame(columns=names)
    return pd.concat(pieces, ignore_index=True)[names].infer_objects()


def _outer(fitted: StrataFit, loadings: list[Floats]) -> pd.DataFrame:
    names = ["group", "unit_id", "effect", "std_error"]
    pieces = [
        _table(
            level,
            "",
            level.modes @ loading,
            np.asarray(np.einsum("gab,a,b->g", level.prediction, loading, loading)),
        ).rename(columns={"estimate": "effect"})
        for level, loading in zip(fitted.levels, loadings, strict=False)
    ]
    if not pieces:
        return pd.DataFrame(columns=names)
    return pd.concat(pieces, ignore_index=True)[names].infer_objects()


def _table(level: LevelEffects, term: str, estimate: Floats, variance: Floats) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": level.name,
            "unit_id": level.labels,
            "term": term,
            "estimate": estimate,
            "std_error": np.sqrt(variance),
        }
    )


def _slope_means(fitted: StrataFit, design: Design, at: int) -> dict[str, float]:
    """Return the means of the slopes' columns over all rows."""
    cross = design.cross
    means = cross.total[0] / cross.total[0, 0] * cross.scale + cross.centre
    return {
        term: float(means[cross.columns.index(term)])
        for k in range(at + 1)
        for _, term in _slope_terms(fitted, k)
    }
