"""School effects at given coefficients against closed forms and dense matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.data.design import design_from_frame
from resilience.stats.mixed import fit_mixed
from resilience.value_added.prior_error.effects import (
    effects_of_coefficients,
    residual_products,
)


def pupils(seed=2, n_schools=30):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(4, 20, size=n_schools))
    n = len(school)
    prior = 40.0 + 9.0 * rng.normal(size=n) + 4.0 * rng.normal(size=n_schools)[school]
    score = 0.06 * prior + 0.4 * rng.normal(size=n_schools)[school]
    return pd.DataFrame(
        {
            "town": [f"T{k % 5}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.choice([2021, 2022], size=n),
            "prior_score": prior,
            "weight": rng.uniform(0.5, 2.0, size=n),
            "score": score + 0.7 * rng.normal(size=n),
        }
    )


BETA = np.array([-2.1, 0.055])
COVARIANCE = np.array([[4e-2, -8e-4], [-8e-4, 2e-5]])


def effects(data, **specification):
    model = rs.ValueAddedModel("score ~ prior_score", **{"group": "school_id", **specification})
    weights = model.structure.weights if model.structure else None
    design = design_from_frame(data, "score ~ prior_score", groups=model.levels, weights=weights)
    return effects_of_coefficients(
        model,
        design,
        beta=BETA,
        covariance=COVARIANCE,
        method="reml",
        level=0.95,
        random_state=0,
    )


def test_products_of_residuals_are_those_of_a_column_of_residuals():
    data = pupils()
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id")
    design = design_from_frame(data, "score ~ prior_score", groups=model.levels)
    found = residual_products(design.cross, design.terms, BETA)
    data["score"] = data["score"] - BETA[0] - BETA[1] * data["prior_score"]
    direct = design_from_frame(data, "score ~ prior_score", groups=model.levels).cross
    direct = direct.recentred(found.centre, found.scale)
    np.testing.assert_allclose(found.total, direct.total, atol=1e-9 * len(data))
    np.testing.assert_allclose(
        found.levels[0].products, direct.levels[0].products, atol=1e-9 * len(data)
    )


def test_effects_and_errors_are_the_closed_form():
    """λ_j times the mean residual; its error has the part λ_j² x̄_j' C x̄_j of the coefficients."""
    data = pupils()
    table, components = effects(data)
    variance = components.set_index("group")["variance"]
    between, within = variance["school_id"], variance["residual"]
    residual = data["score"] - BETA[0] - BETA[1] * data["prior_score"]
    by_school = pd.DataFrame(
        {"n": data.groupby("school_id").size(), "r": residual.groupby(data["school_id"]).mean()}
    )
    by_school["x"] = data.groupby("school_id")["prior_score"].mean()
    shrink = between / (between + within / by_school["n"])
    table = table.set_index("school_id")
    np.testing.assert_allclose(table["effect"], shrink * by_school["r"], rtol=1e-8)
    np.testing.assert_allclose(table["conditional_sd"] ** 2, between * (1 - shrink), rtol=1e-8)
    mean = np.column_stack([np.ones(len(by_school)), by_school["x"]])
    added = shrink**2 * np.einsum("ga,ab,gb->g", mean, COVARIANCE, mean)
    np.testing.assert_allclose(table["std_error"] ** 2, between * (1 - shrink) + added, rtol=1e-7)
    np.testing.assert_allclose(table["expected_mean"], mean @ BETA, rtol=1e-10)
    np.testing.assert_allclose(table["n_pupils"], by_school["n"])


def test_variances_are_those_of_a_model_of_the_residuals():
    data = pupils()
    _, components = effects(data)
    data["score"] = data["score"] - BETA[0] - BETA[1] * data["prior_score"]
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id")
    cross = design_from_frame(data, "score ~ prior_score", groups=model.levels).cross
    direct = fit_mixed(cross, fixed=(), method="reml")
    np.testing.assert_allclose(
        components["variance"],
        [direct.levels[0].covariance[0, 0], direct.residual_variance],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "specification",
    [
        {"time": "year"},
        {"group": ["town", "school_id"]},
        {"structure": rs.Structure(weights="weight")},
    ],
)
def test_other_layouts_by_dense_matrices(specification):
    """û = τ² Z'V⁻¹ r for the school's part, conditional variance τ² − τ⁴ z'V⁻¹z."""
    data = pupils()
    table, components = effects(data, **specification)
    variance = components.set_index("group")["variance"]
    weight = data["weight"].to_numpy() if "structure" in specification else np.ones(len(data))
    school = data["school_id"].to_numpy()
    Z = (school[:, None] == np.unique(school)).astype(float)
    V = variance["school_id"] * Z @ Z.T + np.diag(variance["residual"] / weight)
    if "time" in specification:
        cell = (data["school_id"] + data["year"].astype(str)).to_numpy()
        V += variance["school_id:year"] * (cell[:, None] == cell)
    if "group" in specification:
        town = data["town"].to_numpy()
        V += variance["town"] * (town[:, None] == town)
    X = np.column_stack([np.ones(len(data)), data["prior_score"]])
    pull = variance["school_id"] * Z.T @ np.linalg.solve(V, np.column_stack([X, data["score"]]))
    table = table.set_index("school_id").loc[np.unique(school)]
    np.testing.assert_allclose(table["effect"], pull[:, 2] - pull[:, :2] @ BETA, atol=1e-9)
    conditional = variance["school_id"] - variance["school_id"] ** 2 * np.einsum(
        "ns,ns->s", Z, np.linalg.solve(V, Z)
    )
    added = np.einsum("ga,ab,gb->g", pull[:, :2], COVARIANCE, pull[:, :2])
    np.testing.assert_allclose(table["std_error"] ** 2, conditional + added, rtol=1e-7)
