"""ValueAddedModel against statsmodels where that converges, and never worse where it does not."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import resilience as rs

FORMULA = "score ~ prior_score + ses + sex"


def pupils(seed, *, slope_sd=0.15, n_schools=40):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(2, 40, size=n_schools))
    n = len(school)
    prior = rng.normal(size=n)
    ses = rng.normal(size=n) + 0.5 * rng.normal(size=n_schools)[school]
    sex = rng.choice(["girl", "boy"], size=n)
    u = rng.normal(size=(n_schools, 2)) * [0.4, slope_sd]
    score = 0.2 + 0.6 * prior + 0.2 * ses + 0.1 * (sex == "girl")
    score = score + u[school, 0] + u[school, 1] * prior + 0.7 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "score": score,
            "prior_score": prior,
            "ses": ses,
            "sex": sex,
        }
    )


def mixedlm(data, formula=FORMULA, *, slope=None, reml=True):
    """Fit with statsmodels; its own warnings about convergence are not ours to judge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = smf.mixedlm(formula, data, groups=data["school_id"], re_formula=slope)
        return model.fit(reml=reml)


def by_term(result, theirs, column):
    """Our column in the order of their terms."""
    return result.fixed_effects.set_index("term")[column].loc[theirs.fe_params.index]


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_intercept(seed, method):
    data = pupils(seed, slope_sd=0.0)
    ours = rs.ValueAddedModel(FORMULA, group="school_id").fit(data, method=method)
    theirs = mixedlm(data, reml=method == "reml")
    assert theirs.converged
    # statsmodels stops at a gradient of 1e-5 or so: criterion to 1e-7, estimates to 1e-4
    assert ours.criterion == pytest.approx(-2 * theirs.llf, rel=1e-7)
    assert ours.criterion <= -2 * theirs.llf + 1e-8
    np.testing.assert_allclose(by_term(ours, theirs, "estimate"), theirs.fe_params, rtol=1e-4)
    # theirs come from the observed information, ours from X'V⁻¹X: see tests/golden/test_bdf.py
    np.testing.assert_allclose(by_term(ours, theirs, "std_error"), theirs.bse_fe, rtol=2e-3)
    assert ours.variances["persistent"] == pytest.approx(theirs.cov_re.iloc[0, 0], rel=2e-3)
    assert ours.variances["residual"] == pytest.approx(theirs.scale, rel=1e-4)
    effects = ours.school_effects.set_index("school_id")["effect"]
    predicted = pd.Series({k: float(v.iloc[0]) for k, v in theirs.random_effects.items()})
    np.testing.assert_allclose(effects, predicted.loc[effects.index], atol=1e-3)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_random_slope_is_never_worse(seed, method):
    data = pupils(seed)
    model = rs.ValueAddedModel(FORMULA, group="school_id", slopes="prior_score")
    ours = model.fit(data, method=method)
    theirs = mixedlm(data, slope="~prior_score", reml=method == "reml")
    assert ours.convergence.converged
    assert ours.criterion <= -2 * theirs.llf + 1e-8
    if theirs.converged:
        assert ours.criterion == pytest.approx(-2 * theirs.llf, rel=1e-6)
        np.testing.assert_allclose(
            by_term(ours, theirs, "estimate"), theirs.fe_params, rtol=5e-3, atol=1e-4
        )


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_zero_school_variance_is_ordinary_least_squares(method):
    """Group-level coefficients too: statsmodels 0.15 returns 0.0 for them and says converged.

    The outcome has no variation between schools beyond the two covariates, so the optimum is at
    a variance of exactly 0 and the model is OLS.  What statsmodels does there is fitted beside
    ours; the claim is about ours: never farther from OLS than theirs.
    """
    rng = np.random.default_rng(4)
    school = np.repeat(np.arange(30), 12)
    context = rng.normal(size=30)[school]
    x = rng.normal(size=360)
    noise = rng.normal(size=360)
    noise -= (np.bincount(school, noise) / 12)[school]
    data = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "x": x,
            "context": context,
            "score": 1 + 0.5 * x + 0.7 * context + noise,
        }
    )
    formula = "score ~ x + context"
    with pytest.warns(rs.WeakDataWarning, match="singular"):
        ours = rs.ValueAddedModel(formula, group="school_id").fit(data, method=method)
    ols = smf.ols(formula, data).fit()
    # 1e-8 relative is what the specification asks for
    np.testing.assert_allclose(ours.fixed_effects["estimate"], ols.params, rtol=1e-8)
    scale = ols.scale if method == "reml" else ols.ssr / len(data)
    assert ours.variances["residual"] == pytest.approx(scale, rel=1e-8)
    np.testing.assert_allclose(
        ours.fixed_effects["std_error"], ols.bse * np.sqrt(scale / ols.scale), rtol=1e-8
    )
    assert ours.variances["persistent"] == 0.0
    assert ours.convergence.singular
    assert ours.convergence.converged
    theirs = mixedlm(data, formula, reml=method == "reml")
    distance = np.abs(ours.fixed_effects["estimate"].to_numpy() - ols.params.to_numpy())
    assert (distance <= np.abs(theirs.fe_params.to_numpy() - ols.params.to_numpy()) + 1e-12).all()
    assert (ours.school_effects["effect"] == 0.0).all()
    assert (ours.school_effects["reliability"] == 0.0).all()
    # no order of the schools can be told
    assert (ours.school_effects["rank_low"] == 1).all()
    assert (ours.school_effects["rank_high"] == 30).all()
