r"""School effects at the coefficients of SIMEX.

The residuals :math:`y - x'\hat\beta_S` of the data at hand hold the school's effect, the pupil's
own part and what the errors of the prior leave, :math:`-\beta\delta`, which is independent between
pupils and of the effect.  The variances of these residuals, errors included, are estimated by the
mixed model without fixed terms; the effects are its predictions, and the error of
:math:`\hat\beta_S` enters through their leverages.  Shrinkage thus knows that a noisy prior makes
the mean residual of a small school noisier; it does not use, as the calibrated fit does, what the
other pupils of the school tell about a pupil's true prior.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import Design
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.profile import Method
from resilience.stats.mixed import MixedFit, effects_at, fit_mixed
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.drift import drift_covariance, fitted_products
from resilience.value_added.definitions.specification import Structure
from resilience.value_added.effects.effects_table import effects_table
from resilience.value_added.fits.assembly import (
    errors_of,
    group_means,
    loading_of,
    variance_table,
)

__all__ = ["effects_of_coefficients", "residual_products"]

Floats = NDArray[np.float64]


def residual_products(cross: CrossProducts, terms: tuple[str, ...], beta: Floats) -> CrossProducts:
    """Return the cross-products with the residual at some coefficients as outcome.

    Parameters
    ----------
    cross : CrossProducts
        Of the rows.
    terms : tuple of str
        Fixed terms.
    beta : ndarray of shape (p,)
        Coefficients in own units.
    """
    at = [cross.columns.index(term) for term in terms]
    change = np.eye(len(cross.columns))
    centre = cross.centre.copy()
    for k, b in zip(at, beta, strict=True):
        if k == 0:
            centre[-1] -= b
            continue
        change[k, -1] = -b * cross.scale[k] / cross.scale[-1]
        centre[-1] -= b * cross.centre[k]
    return replace(
        cross,
        centre=centre,
        total=change.T @ cross.total @ change,
        levels=tuple(replace(v, products=v.products @ change) for v in cross.levels),
        blocks=None,
    )


def effects_of_coefficients(
    model: ModelDefinition,
    design: Design,
    *,
    beta: Floats,
    covariance: Floats,
    method: Method,
    level: float,
    random_state: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return school effects and variance components at given coefficients.

    Parameters
    ----------
    model : ModelDefinition
        With nested levels.
    design : Design
        The naive design.
    beta, covariance : ndarray of shape (p,), (p, p)
        Coefficients and their covariance.
    method : {"reml", "ml"}
        Criterion.
    level : float
        Coverage of the intervals.
    random_state : int
        Seed of the draws behind the rank intervals.
    """
    structure = model.structure or Structure()
    products = fitted_products(design.cross, model.levels, structure)
    with threadpool_limits(limits=1):
        fitted = fit_mixed(
            residual_products(products, design.terms, beta),
            fixed=(),
            method=method,
            covariance=drift_covariance(model.levels, structure),
        )
        relative = [v.covariance / fitted.residual_variance for v in fitted.levels]
        leverages = effects_at(products, relative, fixed=design.terms)
    whole = _with_coefficients(fitted, design, beta, covariance)
    at = len(model.groups) - 1
    leverage = leverages[at].leverage
    school = replace(
        fitted.levels[at],
        leverage=leverage,
        coefficient_part=leverage @ np.linalg.cholesky(covariance),
    )
    loading = loading_of(design, at)
    n_years = np.ones(len(school.labels), dtype=np.int64)
    if model.time is not None:
        n_years = np.bincount(design.cross.levels[-1].parent, minlength=len(n_years))
    table = effects_table(
        school_id=school.labels,
        effect=school.modes @ loading,
        errors=errors_of(school, loading, covariance),
        prior_variance=float(loading @ school.covariance @ loading),
        n_pupils=school.n_rows,
        n_years=n_years,
        means=group_means(design, whole, at),
        level=level,
        random_state=random_state,
    )
    return table, variance_table(fitted)


def _with_coefficients(
    fitted: MixedFit, design: Design, beta: Floats, covariance: Floats
) -> MixedFit:
    return replace(fitted, terms=design.terms, beta=beta, beta_covariance=covariance)
