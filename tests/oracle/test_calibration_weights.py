"""The error of a calibration where rows have precision weights: dense algebra and units."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.intake.calibration_error import _projection


def pupils(seed=4, n_schools=40):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(3, 9, size=n_schools))
    n = len(school)
    at_school = 0.5 * rng.normal(size=n_schools)
    true = at_school[school] + 0.9 * rng.normal(size=n)
    weight = rng.choice([0.25, 1.0, 4.0], size=n)
    score = 0.7 * true + 0.2 * rng.normal(size=n_schools)[school]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": true + 0.5 * rng.normal(size=n),
            "weight": weight,
            "score": score + 0.6 * rng.normal(size=n) / np.sqrt(weight),
        }
    )


def fit(data, weights):
    intake = rs.Intake(composition={"prior_score": "latent"}, prior_reliability=0.8)
    structure = rs.Structure(weights=weights)
    return rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=intake, structure=structure
    ).fit(data)


def test_the_projection_is_that_of_the_dense_covariance():
    """(X'V⁻¹X)⁻¹X'V⁻¹ with V = τ²·(same school) + σ²/w, every matrix written out."""
    rng = np.random.default_rng(3)
    school = np.repeat(np.arange(6), [1, 2, 3, 5, 8, 4])
    X = np.column_stack([np.ones(23), rng.normal(size=(23, 2))])
    weights = rng.uniform(0.2, 3.0, size=23)
    level = SimpleNamespace(covariance=np.array([[0.3]]))
    fitted = SimpleNamespace(levels=(level,), residual_variance=0.8)
    V = 0.3 * (school[:, None] == school) + np.diag(0.8 / weights)
    pulled = np.linalg.solve(V, X)
    dense = np.linalg.solve(X.T @ pulled, pulled.T)
    # dense solves of 23 rows
    np.testing.assert_allclose(_projection(fitted, X, school, weights), dense, atol=1e-12)


def test_one_weight_for_all_rows_is_no_weight():
    """A weight of 4 quadruples the residual variance of weight 1 and moves nothing else."""
    data = pupils()
    plain = fit(data, None)
    quadruple = fit(data.assign(weight=4.0), "weight")
    columns = ["estimate", "std_error"]
    # two searches end within 1e-6 of each other
    np.testing.assert_allclose(
        quadruple.fixed_effects[columns], plain.fixed_effects[columns], rtol=1e-6
    )


def test_errors_with_weights_are_those_of_calibrations_without_each_set():
    """The jackknife by brute force: GLS by dense matrices on every calibration."""
    from resilience.value_added.intake.preparation import prepare

    data = pupils()
    result = fit(data, "weight")
    intake = result.intake
    formula = "score ~ prior_score"
    prepared = prepare(data, formula, intake, groups=["school_id"], time=None)
    calibration = prepared.calibration
    school = calibration.schools
    variance = result.variances
    V = variance["persistent"] * (school[:, None] == school)
    V = V + np.diag(variance["residual"] / data["weight"])
    beta = result.fixed_effects.set_index("term")["estimate"]
    order = ["Intercept", "prior_score", "prior_score_mean"]

    def design(moments):
        own = calibration.columns(moments)
        return np.column_stack([np.ones(len(data)), own["prior_score"], own["prior_score_mean"]])

    X = design(calibration.moments())
    pulled = np.linalg.solve(V, X)
    information = X.T @ pulled
    moves = []
    for k in range(30):
        other = design(calibration.moments(school % 30 != k))
        moves.append(np.linalg.solve(information, pulled.T @ (other - X) @ beta[order].to_numpy()))
    around = np.array(moves) - np.mean(moves, axis=0)
    covariance = np.linalg.inv(information) + 29 / 30 * around.T @ around
    found = result.fixed_effects.set_index("term").loc[order, "std_error"]
    # the slopes of columns are taken by a difference quotient
    np.testing.assert_allclose(found, np.sqrt(np.diag(covariance)), rtol=1e-6)


@pytest.mark.parametrize("weights", [None, "weight"])
def test_a_shared_pass_has_the_weights_too(weights):
    data = pupils().assign(ses=np.random.default_rng(9).normal(size=len(pupils())))
    intake = rs.Intake(composition={"prior_score": "latent"}, prior_reliability=0.8)
    structure = rs.Structure(weights=weights)
    models = {
        name: rs.ValueAddedModel(formula, group="school_id", intake=intake, structure=structure)
        for name, formula in {
            "one": "score ~ prior_score",
            "two": "score ~ prior_score+ses",
        }.items()
    }
    shared = rs.ValueAddedModel.compare(models, data)
    alone = models["one"].fit(data).fixed_effects
    np.testing.assert_allclose(
        shared.results["one"].fixed_effects["std_error"], alone["std_error"], rtol=1e-6
    )
