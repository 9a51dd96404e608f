"""From a joint fit of several subjects to the tables of value added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.data.design import Design, formula_columns
from resilience.i18n import text
from resilience.stats.strata.strata_fit import StrataFit
from resilience.value_added.definitions.question import infer_question, question_of
from resilience.value_added.definitions.specification import Intake
from resilience.value_added.effects.effects_table import coefficient_table, effects_table
from resilience.value_added.effects.subjects import (
    by_subject,
    effect_errors,
    equal_weights,
    subject_loadings,
    subject_terms,
)
from resilience.value_added.fits.assembly import variance_table
from resilience.value_added.intake.preparation import Prepared
from resilience.value_added.results import ValueAddedResults

if TYPE_CHECKING:
    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = ["SubjectsResults", "joint_results"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SubjectsResults(ValueAddedResults):
    """Results of a joint model of several subjects.

    ``school_effects``, ``variances`` and ``icc`` are those of the plain mean of the subjects;
    ``mixed`` is a `StrataFit` and holds the rest: `subject_effects`, `composite_effects` and
    `subject_covariance` of ``resilience.value_added.effects.subjects`` read it.  ``cross`` holds
    the whitened cross-products at the estimated residual covariance: to whatever reads
    cross-products an ordinary model with one residual variance, that of the first subject.

    Attributes
    ----------
    subject : str
        Column of the subjects.
    """

    subject: str

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("subjects.title").localized(lang)


def joint_results(
    model: ModelDefinition,
    fitted: StrataFit,
    design: Design,
    prepared: Prepared,
    *,
    subject: str,
    random_state: int = 0,
) -> SubjectsResults:
    """Return the results of a joint fit; the school's effect is that in the mean of the subjects.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    fitted : StrataFit
        Its levels are the groups from outer to inner and, with years, the cells.
    design : Design
        The plain design.
    prepared : Prepared
        What the intake added and dropped.
    subject : str
        Column of the subjects.
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
        years = fitted.levels[at + 1]
        n_years = np.bincount(years.parent[years.n_rows > 0], minlength=len(n_years))
    rows, means, _ = _cells(fitted, design, at + 1 if model.time is not None else at, at)
    return SubjectsResults(
        definition=model,
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
        school_years=rows,
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
        slope_means=_slope_means(fitted, design, at),
        intake=intake,
        n_dropped=prepared.n_dropped,
        learnt=prepared.learnt,
        spec=design.spec,
        mixed=fitted,
        subject=subject,
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
    """Return the table of variances with one residual row per subject, and per pair if tied."""
    terms = subject_terms(fitted)
    block = fitted.residual_covariance
    spread = np.sqrt(np.diag(block))
    tie = block / np.outer(spread, spread) if fitted.strata.linked else np.full_like(block, np.nan)
    rows: list[tuple[str, str, float, float, float]] = [
        ("residual", term, float(spread[k] ** 2), float(spread[k]), tie[0, k] if k else np.nan)
        for k, term in enumerate(terms)
    ]
    if fitted.strata.linked:
        rows += [
            ("residual", f"{terms[i]} × {terms[k]}", np.nan, np.nan, float(tie[i, k]))
            for i in range(1, len(terms))
            for k in range(i + 1, len(terms))
        ]
    levels = variance_table(fitted).iloc[:-1]
    residual = pd.DataFrame(rows, columns=list(levels.columns))
    return pd.concat([levels, residual], ignore_index=True)


def _slope_terms(fitted: StrataFit, at: int) -> list[tuple[int, str]]:
    first = len(fitted.subjects) if by_subject(fitted, at) else 1
    return list(enumerate(fitted.levels[at].terms))[first:]


def _slope_means(fitted: StrataFit, design: Design, at: int) -> dict[str, float]:
    """Return the means of the slopes' columns over all rows."""
    cross = design.cross
    means = cross.total[0] / cross.total[0, 0] * cross.scale + cross.centre
    return {
        term: float(means[cross.columns.index(term)])
        for k in range(at + 1)
        for _, term in _slope_terms(fitted, k)
    }
