"""SIMEX for value added: the second opinion on errors of the prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from resilience.data.design import formula_columns
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.engine.profile import Method
from resilience.stats.refits.simex import MULTIPLIERS, Extrapolation, simex_covariance
from resilience.validation import (
    check_choice,
    check_count,
    check_instance,
    check_jobs,
)
from resilience.value_added.definitions.definition import ModelDefinition
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.effects.effects_table import coefficient_table
from resilience.value_added.intake.measurement_error import reliability_by_column
from resilience.value_added.intake.sources import pupil_table
from resilience.value_added.prior_error.contaminated import contaminated, prepared_twice
from resilience.value_added.prior_error.effects import effects_of_coefficients
from resilience.value_added.prior_error.reliabilities import reliability_table
from resilience.value_added.prior_error.simex_results import SimexResults, Variance
from resilience.value_added.prior_error.simex_tables import (
    coefficients,
    curve_table,
    extrapolated,
    extrapolation_table,
)
from resilience.value_added.prior_error.simulation import jackknife_covariance, simulate_errors

__all__ = ["simex", "with_reliability"]

Reliability = float | str | Mapping[str, float | str]

_FEWEST = 10  # pseudo data sets per multiplier
_NOISY = 0.2  # of a standard error


def simex(
    model: ModelDefinition,
    pupils: object,
    *,
    reliability: Reliability | None = None,
    n_simulations: int = 50,
    extrapolation: Extrapolation = "rational",
    variance: Variance = "jackknife",
    method: Method = "reml",
    n_jobs: int = 1,
    random_state: int = 0,
) -> SimexResults:
    r"""Simulate what coefficients and school effects would be without errors of the prior.

    The naive model is fitted to pseudo data sets whose prior has errors of
    :math:`1 + \zeta = 1.5, 2, 2.5, 3` times the known variance (added at random, the school
    compositions of the prior formed anew); curves through the mean coefficients are continued to
    :math:`\zeta = -1`, no errors.  Unlike regression calibration it does not assume how true scores
    are distributed; both should agree.

    Parameters
    ----------
    model : ValueAddedModel
        With nested levels (``group``, ``time``, slopes, drift).
    pupils : frame of any library that narwhals knows
        The rows of the fit.
    reliability : float, str or mapping of {column: float or str}, optional
        As `Intake.prior_reliability`, which it replaces; by default that of the model.
    n_simulations : int
        Pseudo data sets per multiplier, at least 10; drawn in pairs of opposite errors, an odd
        number is rounded up.
    extrapolation : {"rational", "quadratic"}
        Family of the curves.  The rational one, exact for one prior, gives way to the quadratic
        where it misbehaves, and the table says so; the quadratic one corrects too little where
        reliability is low.
    variance : {"jackknife", "simulation"}
        ``jackknife``: leave out up to 100 sets of schools (40 above 50,000 rows), everything done
        anew without each.
        ``simulation``: Stefanski and Cook's, quicker, but short where schools are small, because it
        takes the shrinkage of latent compositions as known.
    method : {"reml", "ml"}
        Criterion of the fits.
    n_jobs : int
        Processes, or workers of the joblib backend that the caller chose; the result is the same
        for every number.
    random_state : int
        Seed.

    Returns
    -------
    SimexResults
        With 95 % intervals.

    Raises
    ------
    SpecificationError
        If no reliability is given, none is below 1, or the model has units that cross, memberships
        or several subjects; for a setting out of its range.
    DataError
        For pupils or error variances that cannot be used; if half of the pseudo data sets have no
        estimates.

    Warns
    -----
    WeakDataWarning
        If the draws leave more than a fifth of a standard error unknown; if a term cannot be
        estimated without some schools, so that ``simulation`` takes the place of ``jackknife``.

    References
    ----------
    CookStefanski1994; StefanskiCook1995; CarrollEtAl2006, chapter 5.

    Examples
    --------
    >>> import resilience as rs
    >>> exam = rs.load_dataset("london_exam")
    >>> model = rs.ValueAddedModel("normexam ~ standLRT", group="school_id",
    ...                            intake=rs.Intake(prior=["standLRT"]))
    >>> found = rs.simex(model, exam.pupils, reliability=0.85)
    >>> [round(v, 2) for v in found.fixed_effects["estimate"]]
    [0.01, 0.67]
    """
    check_instance(
        model, ModelDefinition, argument="model", example="simex(ValueAddedModel(...), pupils)"
    )
    check_count(n_simulations, argument="n_simulations", least=_FEWEST)
    check_choice(extrapolation, ("rational", "quadratic"), argument="extrapolation")
    check_choice(variance, ("jackknife", "simulation"), argument="variance")
    check_choice(method, ("reml", "ml"), argument="method")
    check_count(random_state, argument="random_state", least=0)
    check_jobs(n_jobs)
    model = with_reliability(model, reliability)
    settings = _Settings(
        n_pairs=(n_simulations + 1) // 2,
        extrapolation=extrapolation,
        variance=variance,
        method=method,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    return _estimated(model, pupil_table(model, pupils), settings)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """How the simulation is made."""

    n_pairs: int
    extrapolation: Extrapolation
    variance: Variance
    method: Method
    n_jobs: int
    random_state: int
    level: float = 0.95


def with_reliability(model: ModelDefinition, reliability: Reliability | None) -> ModelDefinition:
    """Return the model with a reliability.

    Raises
    ------
    SpecificationError
        If there is none, or the model has no nested levels alone.
    """
    intake, structure = model.intake or Intake(), model.structure or Structure()
    if reliability is not None:
        intake = replace(intake, prior_reliability=reliability)
    if intake.prior_reliability is None:
        raise SpecificationError(text("simex.no_reliability"))
    argument = "Structure.outcome_group" if structure.outcome_group is not None else None
    argument = "members" if model.members is not None else argument
    argument = "crossed" if model.crossed is not None else argument
    if argument is not None:
        raise SpecificationError(text("simex.nested_only", argument=argument))
    return replace(model, intake=intake)


def _estimated(model: ModelDefinition, data: pd.DataFrame, settings: _Settings) -> SimexResults:
    """Simulate, extrapolate and set up the tables."""
    naive, _, calibration = prepared_twice(model, data)
    source = contaminated(model, naive, calibration)
    first, second = np.random.SeedSequence(settings.random_state).spawn(2)
    found = simulate_errors(
        source,
        model,
        method=settings.method,
        n_pairs=settings.n_pairs,
        n_jobs=settings.n_jobs,
        seed=first,
    )
    terms = source.design.terms
    curves = extrapolated(found, settings.extrapolation, source.n_errors)
    beta, weights = curves.estimates, curves.weights
    covariance, n_sets = None, 0
    if settings.variance == "jackknife":
        try:
            covariance, n_sets = jackknife_covariance(
                source, found, weights, n_jobs=settings.n_jobs, seed=second
            )
        except DataError as error:  # a few schools alone determine a term
            warn_weak_data(error.message)
    if covariance is None:
        below = curves.rational.denominator if curves.is_rational.any() else None
        covariance = simex_covariance(MULTIPLIERS, found.own, found.between, below)
    table = coefficients(terms, curves, covariance, level=settings.level, n_sets=n_sets)
    _warn_of_noise(table)
    effects, components = effects_of_coefficients(
        model,
        source.design,
        beta=beta,
        covariance=covariance,
        method=settings.method,
        level=settings.level,
        random_state=settings.random_state,
    )
    variables = formula_columns(model.formula).variables
    given = reliability_by_column(model.intake or Intake(), variables)
    own = (found.naive.beta, found.naive.beta_covariance)
    return SimexResults(
        fixed_effects=table,
        naive=coefficient_table(terms, *own, level=settings.level),
        extrapolations=extrapolation_table(terms, curves),
        curve=curve_table(terms, curves),
        school_effects=effects,
        variance_components=components,
        reliabilities=reliability_table(calibration, given),
        group=model.groups[-1],
        extrapolation=settings.extrapolation,
        variance="jackknife" if n_sets else "simulation",
        n_simulations=2 * len(found.pairs),
        n_sets=n_sets,
        reasons=found.reasons,
        level=settings.level,
    )


def _warn_of_noise(table: pd.DataFrame) -> None:
    """Warn where more draws would still move an estimate by much."""
    share = (table["simulation_error"] / table["std_error"]).fillna(0.0)
    if float(share.max()) > _NOISY:
        term = str(table["term"].iloc[int(share.to_numpy().argmax())])
        warn_weak_data(text("simex.noisy", term=repr(term), share=f"{100 * share.max():.0f}"))
