"""The model of published means against a dense likelihood, and its room in front of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import resilience as rs
from resilience.stats.summaries import SummaryData, fit_summaries, summary_criterion

# Both sides are double precision on a hundred rows: 1e-8 leaves four digits above rounding.
RELATIVE = 1e-8


def means(seed, *, estimate=False):
    """Means of 30 schools over one to four years, unsorted sizes from 3 to 80 pupils."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(30), rng.integers(1, 5, size=30))
    n = rng.integers(3, 80, size=len(school)).astype(float)
    X = np.column_stack([np.ones(len(school)), rng.normal(size=len(school))])
    y = X @ [500.0, 8.0] + 5.0 * rng.normal(size=30)[school]
    y = y + 3.0 * rng.normal(size=len(school)) + rng.normal(size=len(school)) * 30 / np.sqrt(n)
    return SummaryData(
        X=X,
        y=y,
        school=school.astype(np.int64),
        known=np.zeros(len(n)) if estimate else 900.0 / n,
        inverse_n=1.0 / n if estimate else np.zeros(len(n)),
    )


def dense(data, tau2, omega2, sigma2):
    same = data.school[:, None] == data.school[None, :]
    own = omega2 + data.known + sigma2 * data.inverse_n
    V = tau2 * same + np.diag(own)
    Vi = np.linalg.inv(V)
    A = data.X.T @ Vi @ data.X
    beta = np.linalg.solve(A, data.X.T @ Vi @ data.y)
    return V, Vi, A, beta


def dense_criterion(data, tau2, omega2, sigma2, method):
    V, Vi, A, beta = dense(data, tau2, omega2, sigma2)
    r = data.y - data.X @ beta
    n, p = data.X.shape
    value = np.linalg.slogdet(V)[1] + r @ Vi @ r
    if method == "reml":
        return value + np.linalg.slogdet(A)[1] + (n - p) * np.log(2 * np.pi)
    return value + n * np.log(2 * np.pi)


@pytest.mark.parametrize("estimate", [False, True])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_criterion_equals_the_dense_likelihood(method, estimate):
    data = means(1, estimate=estimate)
    rng = np.random.default_rng(2)
    for _ in range(10):
        tau2, omega2 = rng.uniform(0.0, 60.0, size=2)
        sigma2 = rng.uniform(100.0, 2000.0) if estimate else 0.0
        seen, _ = summary_criterion(data, tau2, omega2, sigma2, method=method)
        assert seen == pytest.approx(
            dense_criterion(data, tau2, omega2, sigma2, method), rel=RELATIVE
        )


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_gradient_equals_central_differences(method):
    data = means(3, estimate=True)
    at = np.array([20.0, 8.0, 800.0])
    _, gradient = summary_criterion(data, *at, method=method)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-4 * at[k]
        up, down = (
            summary_criterion(data, *(at + sign * step), method=method)[0] for sign in (1, -1)
        )
        # truncation and rounding of a central difference with a relative step of 1e-4
        assert gradient[k] == pytest.approx((up - down) / (2 * step[k]), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("estimate", [False, True])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_optimum_is_the_dense_likelihoods(method, estimate):
    data = means(4, estimate=estimate)
    fit = fit_summaries(data, transient=True, estimate_sd=estimate, method=method)
    assert fit.convergence.converged
    best = np.array([fit.tau2, fit.omega2, fit.sigma2])
    assert fit.criterion == pytest.approx(dense_criterion(data, *best, method), rel=RELATIVE)
    rng = np.random.default_rng(5)
    for size in (1.0, 0.1, 0.01):
        for _ in range(40):
            trial = best * np.exp(size * rng.normal(size=3)) + size * 0.1 * rng.uniform(size=3)
            if not estimate:
                trial[2] = 0.0
            assert dense_criterion(data, *trial, method) >= fit.criterion - 1e-6


def test_effects_and_their_variances_equal_the_dense_formulas():
    data = means(6)
    fit = fit_summaries(data, transient=True, estimate_sd=False)
    _, Vi, A, beta = dense(data, fit.tau2, fit.omega2, fit.sigma2)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-9)
    np.testing.assert_allclose(fit.beta_covariance, np.linalg.inv(A), rtol=1e-8)
    Z = (data.school[:, None] == np.arange(30)[None, :]).astype(float)
    P = Vi - Vi @ data.X @ np.linalg.solve(A, data.X.T @ Vi)
    effect = fit.tau2 * Z.T @ Vi @ (data.y - data.X @ beta)
    conditional = fit.tau2 - fit.tau2**2 * np.diag(Z.T @ Vi @ Z)
    prediction = fit.tau2 - fit.tau2**2 * np.diag(Z.T @ P @ Z)
    np.testing.assert_allclose(fit.effect, effect, atol=1e-8)
    np.testing.assert_allclose(fit.conditional, conditional, rtol=1e-7)
    np.testing.assert_allclose(fit.prediction, prediction, rtol=1e-7)


# -- the room in front -------------------------------------------------------------------------


def table(seed, *, n_schools=150, years=3, pupil_sd=30.0, tau=6.0, omega=3.0):
    """Published means whose sizes change from year to year by a factor of up to six."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), years)
    n = rng.integers(5, 30, size=n_schools)[school] * rng.integers(1, 7, size=len(school))
    index = rng.normal(size=n_schools)[school]
    mean = 500 + 10 * index + tau * rng.normal(size=n_schools)[school]
    mean = mean + omega * rng.normal(size=len(school))
    mean = mean + pupil_sd * rng.normal(size=len(school)) / np.sqrt(n)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in school],
            "year": np.tile(np.arange(years) + 2021, n_schools),
            "mean_score": mean,
            "index": index,
            "n_pupils": n,
            "pupil_sd": pupil_sd,
            "variance": pupil_sd**2 / n,
        }
    )


def fit_table(data, **sampling):
    return rs.SchoolLevelModel("mean_score ~ index", time="year", **sampling).fit(data)


def test_three_ways_to_give_the_sampling_variance_are_one():
    data = table(7)
    number = fit_table(data, n="n_pupils", sd=30.0)
    column = fit_table(data, n="n_pupils", sd="pupil_sd")
    variance = fit_table(data, variance="variance")
    for other in (column, variance):
        assert other.criterion == pytest.approx(number.criterion, rel=1e-12)
        np.testing.assert_allclose(
            other.school_effects["effect"], number.school_effects["effect"], rtol=1e-9
        )
        np.testing.assert_allclose(
            other.school_years["sampling_variance"], data["variance"], rtol=1e-12
        )
    assert number.pupil_sd == 30.0
    assert np.isnan(variance.pupil_sd)
    assert number.school_effects["n_pupils"].sum() == data["n_pupils"].sum()
    # without numbers of pupils a row counts means
    assert (variance.school_effects["n_pupils"] == 3).all()


def test_the_order_of_the_rows_does_not_matter():
    data = table(8)
    one = fit_table(data, n="n_pupils", sd=30.0)
    other = fit_table(data.sample(frac=1.0, random_state=1), n="n_pupils", sd=30.0)
    pd.testing.assert_frame_equal(one.school_effects, other.school_effects)
    pd.testing.assert_frame_equal(one.school_years, other.school_years)


def test_the_pupil_sd_is_found_from_year_differences():
    """30 replications: the mean error of the estimate lies within 3 of its standard errors."""
    found = [fit_table(table(100 + k), n="n_pupils", sd="estimate") for k in range(30)]
    variances = np.array([r.variances["residual"] for r in found])
    error = variances.std(ddof=1) / np.sqrt(len(found))
    assert abs(variances.mean() - 900.0) < 3 * error
    for name, truth in (("persistent", 36.0), ("transient", 9.0)):
        values = np.array([r.variances[name] for r in found])
        assert abs(values.mean() - truth) < 3 * values.std(ddof=1) / np.sqrt(len(found))
    assert all(r.pupil_sd == pytest.approx(np.sqrt(r.variances["residual"])) for r in found)


def test_the_standard_error_of_the_pupil_variance_is_honest():
    """The observed information against the scatter of 40 replications."""
    fits = []
    for k in range(40):
        data = table(200 + k).sort_values(["school_id", "year"])
        n = data["n_pupils"].to_numpy(dtype=float)
        summary = SummaryData(
            X=np.column_stack([np.ones(len(data)), data["index"]]),
            y=data["mean_score"].to_numpy(),
            school=pd.factorize(data["school_id"])[0].astype(np.int64),
            known=np.zeros(len(n)),
            inverse_n=1.0 / n,
        )
        fits.append(fit_summaries(summary, transient=True, estimate_sd=True))
    scatter = np.std([f.sigma2 for f in fits], ddof=1)
    stated = np.median([f.sigma2_std_error for f in fits])
    # an SD from 40 replications has a standard error of 11 %; three of them
    assert stated == pytest.approx(scatter, rel=0.34)


def test_without_persistent_variance_the_coefficients_are_weighted_least_squares():
    rng = np.random.default_rng(11)
    n = rng.integers(4, 60, size=80)
    index = rng.normal(size=80)
    noise = rng.normal(size=80)
    data = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(80)],
            # a third of the noise that the sampling variances announce: nothing is left for τ²
            "mean_score": 3 + 2 * index + noise / np.sqrt(3 * n),
            "index": index,
            "variance": 1.0 / n,
        }
    )
    with pytest.warns(rs.WeakDataWarning, match="variance is zero"):
        result = rs.SchoolLevelModel("mean_score ~ index", variance="variance").fit(data)
    wls = sm.WLS(data["mean_score"], sm.add_constant(index), weights=n).fit()
    assert result.convergence.singular
    np.testing.assert_allclose(result.fixed_effects["estimate"], wls.params, rtol=1e-8)
    assert (result.school_effects["reliability"] < 1e-6).all()
