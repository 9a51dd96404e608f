"""Schools that took no part in the estimation and are scored all the same.

A school may be left out of the estimation on purpose: suspicious marks, a special population, a
pilot.  It still gets an effect, at the coefficients and variances of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from resilience.data.design_formula import formula_columns
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.prediction.prediction_errors import EffectErrors, coefficient_half
from resilience.stats.prediction.scored_groups import scored_groups
from resilience.stats.strata.strata_fit import StrataFit
from resilience.validation import check_columns, check_finite, check_numeric, shorten
from resilience.value_added.definitions.drift import Drift, drift_of
from resilience.value_added.definitions.specification import Structure
from resilience.value_added.effects.effects_table import effects_table
from resilience.value_added.fits.prediction_rows import read_rows

if TYPE_CHECKING:
    from resilience.value_added.fits.fitted import PupilFit

__all__ = ["scored_table"]

Floats = NDArray[np.float64]


def scored_table(results: PupilFit, data: object, *, random_state: int = 0) -> pd.DataFrame:
    """Return the effects of all schools of the fit and of those that are only scored.

    Parameters
    ----------
    results : PupilFit
        A fit of schools, with or without slopes, years and drift.
    data : frame of any library that narwhals knows
        Pupils of schools that were not in the fit, with the outcome.  Rows of schools of the fit
        are not read a second time.
    random_state : int
        Seed of the draws behind the rank intervals.

    Raises
    ------
    SpecificationError
        For outer levels, crossed or shared units and several subjects.
    DataError
        What `predict` raises of rows; if every school of ``data`` is in the fit; for a year
        outside the fit with unstructured drift.
    """
    if not isinstance(results.cross, CrossProducts) or isinstance(results.mixed, StrataFit):
        raise SpecificationError(text("scored.kind"))
    if results.mixed.levels[0].name != results.group:
        outer = results.mixed.levels[0].name
        raise SpecificationError(text("scored.outer", outer=repr(outer)))
    rows = read_rows(results, data, outcome=True)
    frame, known = rows.frame, results.school_effects["school_id"]
    new = ~frame[results.group].isin(known).to_numpy()
    if not new.any():
        raise DataError(text("scored.known", schools=shorten(frame[results.group].unique())))
    frame, X = frame[new], rows.X[new]
    y = frame[formula_columns(results.formula).outcome].to_numpy(dtype=float)
    groups, schools = pd.factorize(frame[results.group], sort=True)
    Z, D, loading = _terms(results, frame, X)
    weights = _weights(results, frame)
    beta = results.mixed.beta
    found = scored_groups(
        Z,
        X,
        y - X @ beta,
        groups=groups.astype(np.int64),
        weights=weights,
        covariance=D,
        residual_variance=results.mixed.residual_variance,
    )
    leverage = np.einsum("jap,a->jp", found.leverage, loading)
    conditional = np.einsum("jab,a,b->j", found.conditional, loading, loading)
    own = results.errors
    errors = EffectErrors(
        conditional=np.concatenate([own.conditional, np.maximum(conditional, 0.0)]),
        leverage=np.concatenate([own.leverage, leverage]),
        beta_covariance=own.beta_covariance,
        coefficient_part=np.concatenate(
            [own.half, coefficient_half(leverage, own.beta_covariance)]
        ),
    )
    fit = results.school_effects
    total = np.bincount(groups, weights=weights)
    with np.errstate(invalid="ignore"):
        observed, expected = (
            np.bincount(groups, weights=weights * v) / total for v in (y, X @ beta)
        )
    used = weights > 0
    n_pupils = np.bincount(groups[used], minlength=len(schools))
    table = effects_table(
        school_id=np.concatenate([known.to_numpy(dtype=object), np.asarray(schools, dtype=object)]),
        effect=np.concatenate([fit["effect"], found.modes @ loading]),
        errors=errors,
        prior_variance=results.variances["persistent"],
        n_pupils=np.concatenate([fit["n_pupils"], n_pupils]),
        n_years=np.concatenate([fit["n_years"], _years(results, frame[used], groups[used])]),
        means=(
            np.concatenate([fit["observed_mean"], observed]),
            np.concatenate([fit["expected_mean"], expected]),
        ),
        level=results.level,
        random_state=random_state,
    )
    return table.assign(scored_only=np.arange(len(table)) >= len(fit))


def _terms(results: PupilFit, frame: pd.DataFrame, X: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the random terms of the rows, their covariance, and where the effect is read."""
    fitted, drift = results.mixed, drift_of(results)
    school = fitted.levels[0]
    lasting = [
        np.ones(len(X)) if term == ONES else X[:, fitted.terms.index(term)]
        for term in school.terms
        if term == ONES or term in fitted.terms
    ]
    read = results.loading(0)
    if results.time is None:
        return np.column_stack(lasting), school.covariance, read
    codes, years = pd.factorize(frame[results.time], sort=True)
    if drift is not None and drift.kind == "unstructured":
        return _unstructured(results, drift, frame, lasting)
    dummies = np.eye(len(years))[codes]
    spread = _year_covariance(results, drift, years)
    covariance = linalg.block_diag(school.covariance, spread)
    loading = np.concatenate([read[: len(lasting)], np.zeros(len(years))])
    return np.column_stack([*lasting, dummies]), covariance, loading


def _year_covariance(results: PupilFit, drift: Drift | None, years: Any) -> Floats:
    """Return the covariance of the years' own parts."""
    level = results.mixed.levels[1]
    variance = float(level.covariance[0, 0])
    if drift is None:
        return variance * np.eye(len(years))
    numbers = np.asarray([float(year) for year in years])
    apart = np.abs(np.subtract.outer(numbers, numbers))
    return np.asarray(
        variance * np.where(apart == 0, 1.0, drift.correlation ** np.maximum(apart, 1))
    )


def _unstructured(
    results: PupilFit, drift: Drift, frame: pd.DataFrame, lasting: list[Floats]
) -> tuple[Floats, Floats, Floats]:
    """Return the terms of a school whose years have any covariance, in the order of the level."""
    level = results.mixed.levels[0]
    named = frame[results.time].map(lambda year: f"{results.time}={year}")
    unknown = named[~named.isin(drift.years)]
    if len(unknown):
        asked = frame.loc[unknown.index, results.time].unique()
        raise DataError(text("scored.year", years=shorten(asked), known=shorten(drift.years)))
    columns, at = [], iter(lasting)
    for term in level.terms:
        columns.append((named == term).to_numpy(dtype=float) if term in drift.years else next(at))
    return np.column_stack(columns), level.covariance, results.loading(0)


def _weights(results: PupilFit, frame: pd.DataFrame) -> Floats:
    structure = results.definition.structure or Structure()
    if structure.weights is None:
        return np.ones(len(frame))
    check_columns(frame, [structure.weights], table="data")
    check_numeric(frame, [structure.weights], table="data")
    check_finite(frame, [structure.weights], table="data", unit=results.group)
    weights = frame[structure.weights].to_numpy(dtype=float)
    if (weights < 0).any():
        raise SpecificationError(text("engine.weights", n=int((weights < 0).sum())))
    return np.asarray(weights)


def _years(results: PupilFit, frame: pd.DataFrame, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    n = int(groups.max()) + 1
    if results.time is None:
        return np.ones(n, dtype=np.int64)
    cells = pd.DataFrame({"group": groups, "year": frame[results.time].to_numpy()})
    return np.bincount(cells.drop_duplicates()["group"], minlength=n).astype(np.int64)
