"""Fit a model with nested levels from its cross-products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from threadpoolctl import threadpool_limits

from resilience.data.design import Design
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.engine.profile import Method
from resilience.stats.mixed import fit_mixed
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.drift import drift_covariance, drift_of, fitted_products
from resilience.value_added.definitions.specification import Structure
from resilience.value_added.fits.assembly import assemble, warn_of_weakness
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.intake.preparation import Prepared

__all__ = ["fit_nested"]

R = TypeVar("R", bound=PupilFit)


def fit_nested(
    model: ModelDefinition,
    design: Design,
    prepared: Prepared,
    *,
    into: Callable[..., R],
    method: Method = "reml",
    random_state: int = 0,
) -> R:
    """Fit a model with nested levels from cross-products.

    Parameters
    ----------
    model : ModelDefinition
        The specification.
    design : Design
        Cross-products with the model's levels, a sub-block of wider ones for instance.
    prepared : Prepared
        What the intake added and dropped; its rows are read for the errors of calibrated priors
        alone.
    into : type
        Class of the results.
    method : {"reml", "ml"}
        Criterion.
    random_state : int
        Seed of the draws behind the rank intervals.

    Raises
    ------
    SpecificationError
        If subjects have residuals of their own, or the cross-products do not fit the model.
    """
    levels, structure = model.levels, model.structure or Structure()
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
    warn_of_weakness(fitted, model.groups)
    results = assemble(model, fitted, design, prepared, into=into, random_state=random_state)
    drift = drift_of(results)
    if drift is not None:
        drift.warn()
    return results
