"""The random intercept model's closed forms, term by term, against the engine and its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(8)
    size = np.r_[1, 1, 2, 3, 5, 8, 8, 15, 30, 45, 60, 90]
    school = np.repeat(np.arange(len(size)), size)
    prior = rng.normal(size=len(school)) + 0.2 * rng.normal(size=len(size))[school]
    score = 0.5 * prior + 0.6 * rng.normal(size=len(size))[school] + rng.normal(size=len(school))
    data = pd.DataFrame(
        {"school_id": [f"S{k:02d}" for k in school], "prior_score": prior, "score": score}
    )
    va = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(data)
    assert va.variances["persistent"] > 0.1  # the forms are empty at zero
    return data, va


def parts(data, va):
    """Return sizes, variances and mean residuals of the schools, straight from the pupils."""
    beta = va.fixed_effects["estimate"].to_numpy()
    residual = data["score"] - beta[0] - beta[1] * data["prior_score"]
    mean = residual.groupby(data["school_id"]).mean().to_numpy()
    n = data.groupby("school_id").size().to_numpy()
    return n, va.variances["persistent"], va.variances["residual"], mean


def test_effects_are_shrunken_mean_residuals(fitted):
    n, between, within, mean = parts(*fitted)
    table = fitted[1].school_effects
    trust = between / (between + within / n)
    # the engine works in cross-products of centred columns, the forms in pupils: rounding only
    assert table["reliability"].to_numpy() == pytest.approx(trust, rel=1e-9)
    assert table["effect"].to_numpy() == pytest.approx(trust * mean, rel=1e-8, abs=1e-10)
    assert table["conditional_sd"].to_numpy() == pytest.approx(
        np.sqrt(1.0 / (n / within + 1.0 / between)), rel=1e-9
    )


def test_prediction_errors_add_the_leverage_of_the_coefficients(fitted):
    data, va = fitted
    n, between, within, _ = parts(data, va)
    trust = between / (between + within / n)
    x = np.column_stack([np.ones(len(n)), data.groupby("school_id")["prior_score"].mean()])
    inner = np.zeros((2, 2))
    for j, (_, rows) in enumerate(data.groupby("school_id")):
        own = np.column_stack([np.ones(len(rows)), rows["prior_score"]])
        # Woodbury: (σ_e² I + σ_u² J)⁻¹
        inner += (own.T @ own - trust[j] * n[j] * np.outer(x[j], x[j])) / within
    C = np.linalg.inv(inner)
    error = (1 - trust) * between + trust**2 * np.einsum("ja,ab,jb->j", x, C, x)
    assert va.school_effects["std_error"].to_numpy() == pytest.approx(np.sqrt(error), rel=1e-8)
    assert va.fixed_effects["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(C)), rel=1e-8)


def test_expected_ranks_sum_the_pairs(fitted):
    n, between, within, mean = parts(*fitted)
    trust = between / (between + within / n)
    effect, spread = trust * mean, np.sqrt((1 - trust) * between)
    rank = np.array(
        [
            1.0
            + sum(
                stats.norm.cdf((effect[j] - effect[k]) / np.hypot(spread[j], spread[k]))
                for k in range(len(n))
                if k != j
            )
            for j in range(len(n))
        ]
    )
    assert fitted[1].school_effects["rank_expected"].to_numpy() == pytest.approx(rank, rel=1e-7)


def test_the_comparative_multiplier_averages_the_pairs(fitted):
    n, between, within, _ = parts(*fitted)
    spread = np.sqrt(1.0 / (n / within + 1.0 / between))
    ratios = [
        np.hypot(spread[i], spread[j]) / (spread[i] + spread[j])
        for i in range(len(n))
        for j in range(i + 1, len(n))
    ]
    expected = stats.norm.ppf(0.975) * np.mean(ratios)
    assert fitted[1].comparative_multiplier == pytest.approx(expected, rel=1e-9)
    bars = fitted[1].comparative_intervals()
    half = (bars["comparative_high"] - bars["comparative_low"]) / 2
    assert half.to_numpy() == pytest.approx(expected * spread, rel=1e-9)


def test_intervals_probabilities_and_variance_shares(fitted):
    _, va = fitted
    table = va.school_effects
    z = stats.norm.ppf(0.975)
    effect, error = table["effect"].to_numpy(), table["std_error"].to_numpy()
    assert table["conf_low"].to_numpy() == pytest.approx(effect - z * error, rel=1e-9)
    assert table["p_above_zero"].to_numpy() == pytest.approx(stats.norm.cdf(effect / error))
    between, within = va.variances["persistent"], va.variances["residual"]
    assert va.icc == pytest.approx(between / (between + within), rel=1e-12)
