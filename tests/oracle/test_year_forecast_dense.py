"""Left-out years and forecasts against dense algebra, and the engine against a Kalman filter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import resilience as rs
from resilience.stats.prediction.left_out_years import left_out_years

# small regions: singular fits would do as well, only the predictions are looked at
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

YEARS = np.array([2019, 2020, 2022])
# Both sides take the fit's variances; rounding of matrices of some 300 rows is what is left.
ABSOLUTE = 1e-8


def panel(seed: int = 1, n_schools: int = 9, n_years: int = 4):
    """Cells of schools by years with gaps, one school of a single year, their whole covariance."""
    rng = np.random.default_rng(seed)
    residual = rng.normal(size=(n_schools, n_years))
    residual[rng.uniform(size=residual.shape) < 0.2] = np.nan
    residual[0] = [np.nan, 0.7, np.nan, np.nan]
    sampling = np.where(np.isnan(residual), np.nan, rng.uniform(0.05, 0.6, size=residual.shape))
    root = rng.normal(size=(n_years, n_years))
    S = root @ root.T / n_years + 0.2 * np.eye(n_years)
    design = np.stack([np.ones_like(residual), rng.normal(size=residual.shape)], axis=2)
    return residual, sampling, S, design


def test_left_out_years_are_the_dense_conditional_expectation():
    """Coefficients included: the error is one linear function of all effects and all noise."""
    y, sampling, S, design = panel()
    there = ~np.isnan(y)
    school, year = np.nonzero(there)
    V = (school[:, None] == school) * S[np.ix_(year, year)] + np.diag(sampling[there])
    X = design[there]
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    to_beta = C @ X.T @ inverse
    residual = np.where(there, 0.0, np.nan)
    residual[there] = y[there] - X @ (to_beta @ y[there])
    found = left_out_years(residual, sampling, S, design=design, beta_covariance=C)
    for j in range(len(y)):
        for t in range(y.shape[1]):
            others = np.flatnonzero((school == j) & (year != t))
            k = S[t, year[others]]
            gain = np.linalg.solve(V[np.ix_(others, others)], k)
            # how the prediction weighs every result of every school
            weights = np.zeros(len(school))
            weights[others] = gain
            weights = weights - to_beta.T @ (X[others].T @ gain)
            with_own = (school == j) * S[t, year]
            total = weights @ V @ weights - 2 * weights @ with_own + S[t, t]
            assert found.mean[j, t] == pytest.approx(weights @ y[there], abs=1e-12)
            assert found.conditional[j, t] == pytest.approx(S[t, t] - k @ gain, abs=1e-12)
            assert found.total[j, t] == pytest.approx(total, abs=1e-12)
    np.testing.assert_array_equal(found.prior, np.diag(S))
    # nothing is known of the year of a school without any other
    assert found.mean[0, 1] == pytest.approx(0.0, abs=1e-15)
    assert found.conditional[0, 1] == pytest.approx(S[1, 1], abs=1e-15)


def pupils(seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, n_schools = 330, 20
    school = rng.integers(0, n_schools, size=n)
    year = rng.integers(0, 3, size=n)
    year[(school < 4) & (year == 2)] = 0
    year[school == 7] = 1
    prior = rng.normal(size=n)
    score = 0.8 * prior + 0.6 * rng.normal(size=n_schools)[school] + 0.2 * year
    score += 0.5 * rng.normal(size=(n_schools, 3))[school, year] + rng.normal(size=6)[school % 6]
    score += 0.4 * rng.normal(size=n_schools)[school] * prior
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "town": [f"T{k % 6}" for k in school],
            "year": YEARS[year],
            "prior_score": prior,
            "score": score + rng.normal(size=n),
        }
    )


def same(column):
    values = np.asarray(column)
    return values[:, None] == values[None, :]


def kernel(va, drift):
    """Covariance of a school's effects in the years, the next one last for AR(1)."""
    axis = np.append(YEARS, YEARS[-1] + 1)
    if drift == "unstructured":
        return va.mixed.levels[-1].covariance
    rho = va.mixed.levels[-1].parameters.get("correlation", 0.0) if drift else 0.0
    lags = np.abs(np.subtract.outer(axis, axis)).astype(float)
    spread = np.where(lags == 0, 1.0, rho**lags)
    return va.variances["persistent"] + va.variances["transient"] * spread


@pytest.mark.parametrize("drift", [None, "ar1", "unstructured"])
def test_leaving_a_year_out_with_the_coefficients_of_the_fit(drift):
    data = pupils()
    va = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", time="year", structure=rs.Structure(drift=drift)
    ).fit(data)
    table = va.leave_year_out()
    assert len(table) == 20 * 3
    S, n = kernel(va, drift), len(data)
    X = np.column_stack([np.ones(n), data["prior_score"]])
    code = np.searchsorted(YEARS, data["year"])
    V = same(data["school_id"]) * S[np.ix_(code, code)]
    V = V + va.mixed.residual_variance * np.eye(n)
    residual = data["score"].to_numpy() - X @ va.mixed.beta
    for row in table.itertuples():
        others = ((data["school_id"] == row.school_id) & (data["year"] != row.year)).to_numpy()
        t = int(np.searchsorted(YEARS, row.year))
        k = S[t, code[others]]
        gain = np.linalg.solve(V[np.ix_(others, others)], k)
        assert row.effect == pytest.approx(gain @ residual[others], abs=ABSOLUTE)
        assert row.conditional_sd**2 == pytest.approx(S[t, t] - gain @ k, abs=ABSOLUTE)
        assert row.n_years == data.loc[others, "year"].nunique()
        own = (data["school_id"] == row.school_id) & (data["year"] == row.year)
        assert row.n_pupils == own.sum()
        assert np.isnan(row.residual) == (own.sum() == 0)
    assert (table["mse"] > table["conditional_sd"] ** 2).mean() > 0.9
    alone = table[(table["school_id"] == "S07") & (table["year"] == 2020)].iloc[0]
    assert (alone["n_years"], alone["effect"]) == (0, pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize(
    "shape",
    [
        {"group": "school_id", "slopes": "prior_score"},
        {"group": ["town", "school_id"]},
        {"group": ["town", "school_id"], "slopes": {"school_id": ["prior_score"]}},
    ],
    ids=["slopes", "towns", "both"],
)
def test_leaving_a_year_out_with_the_coefficients_of_the_other_years(shape):
    """The year's own dummy goes with the year; variances stay those of the fit."""
    data = pupils()
    va = rs.ValueAddedModel("score ~ prior_score + C(year)", time="year", **shape).fit(data)
    table = va.leave_year_out()
    levels = {level.name: level for level in va.mixed.levels}
    own = levels["school_id"].covariance
    load = np.array([1.0, va.slope_means.get("prior_score", 0.0)])[: len(own)]
    spread = levels["school_id:year"].covariance[0, 0]
    schools = va.school_effects["school_id"].to_numpy()
    for year in YEARS:
        rest = data[data["year"] != year]
        n, other = len(rest), [y for y in YEARS if y != year]
        X = np.column_stack([np.ones(n), rest["prior_score"], rest["year"] == other[1]])
        Z = X[:, : len(own)]
        V = va.mixed.residual_variance * np.eye(n)
        V = V + same(rest["school_id"]) * (Z @ own @ Z.T + spread * same(rest["year"]))
        if "town" in levels:
            V = V + same(rest["town"]) * levels["town"].covariance[0, 0]
        inverse = np.linalg.inv(V)
        A = np.linalg.inv(X.T @ inverse @ X)
        y = rest["score"].to_numpy()
        pull = (schools[:, None] == rest["school_id"].to_numpy()) * (Z @ own @ load)
        gain = pull @ inverse
        left = gain @ X
        conditional = load @ own @ load - np.einsum("jn,jn->j", gain, pull) + spread
        rows = table[table["year"] == year]
        np.testing.assert_allclose(
            rows["effect"], gain @ (y - X @ (A @ X.T @ inverse @ y)), atol=ABSOLUTE
        )
        np.testing.assert_allclose(rows["conditional_sd"] ** 2, conditional, atol=ABSOLUTE)
        np.testing.assert_allclose(
            rows["mse"], conditional + np.einsum("jp,pq,jq->j", left, A, left), atol=ABSOLUTE
        )


@pytest.mark.parametrize("drift", [None, "ar1"])
@pytest.mark.parametrize("ahead", [1, 3])
def test_a_forecast_errs_as_the_dense_algebra_says(drift, ahead):
    """Variance of the next cohort's mean residual minus its prediction, coefficients estimated."""
    data = pupils()
    va = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", time="year", structure=rs.Structure(drift=drift)
    ).fit(data)
    table = va.forecast(11, level=0.8, years_ahead=ahead)
    n, axis = len(data), np.append(YEARS, YEARS[-1] + ahead)
    rho = va.mixed.levels[-1].parameters.get("correlation", 0.0) if drift else 0.0
    lags = np.abs(np.subtract.outer(axis, axis)).astype(float)
    S = va.variances["persistent"] + va.variances["transient"] * np.where(lags == 0, 1, rho**lags)
    X = np.column_stack([np.ones(n), data["prior_score"]])
    code = np.searchsorted(YEARS, data["year"])
    V = same(data["school_id"]) * S[np.ix_(code, code)] + va.mixed.residual_variance * np.eye(n)
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    to_beta, y = C @ X.T @ inverse, data["score"].to_numpy()
    for row in table.itertuples():
        mine = (data["school_id"] == row.school_id).to_numpy()
        last = mine & (data["year"] == row.last_results).to_numpy()
        pull = mine * S[-1, code]
        gain = inverse @ pull
        effect = gain @ (y - X @ (to_beta @ y))
        # the cohort's covariates are those of the school's last year
        expected = to_beta.T @ X[last].mean(axis=0)
        weights = gain - to_beta.T @ (X.T @ gain) + expected
        whole = S[-1, -1] + va.mixed.residual_variance / 11
        variance = weights @ V @ weights - 2 * weights @ pull + whole
        # against the future mean result itself, of which weights'y is the prediction
        assert row.effect == pytest.approx(effect, abs=ABSOLUTE)
        assert row.predictive_sd**2 == pytest.approx(variance, abs=ABSOLUTE)
        reach = norm.ppf(0.9) * np.sqrt(variance)
        assert row.predictive_high - row.effect == pytest.approx(reach, abs=1e-6)
        assert row.effect - row.predictive_low == pytest.approx(reach, abs=1e-6)
    effects = va.predict_effects("next_year")
    if ahead == 1:
        np.testing.assert_allclose(table["effect"], effects["effect"])
        np.testing.assert_allclose(table["std_error"], effects["std_error"])


def kalman(residual, sampling, steps, *, persistent, transient, rho):
    """Filter the state (what lasts, what fades) through a school's years and on to the next."""
    mean, P = np.zeros(2), np.diag([persistent, transient])
    read = np.ones(2)
    for d, s2, step in zip(residual, sampling, steps, strict=True):
        if np.isfinite(d):
            gain = P @ read / (read @ P @ read + s2)
            mean, P = mean + gain * (d - read @ mean), P - np.outer(gain, read @ P)
        move = np.diag([1.0, rho**step])
        mean = move @ mean
        P = move @ P @ move + np.diag([0.0, transient * (1.0 - rho ** (2 * step))])
    return read @ mean, read @ P @ read


def test_the_state_space_form_agrees_with_the_engine():
    """A Kalman filter over each school's yearly residuals is the engine's posterior."""
    data = pupils(9)
    va = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", time="year", structure=rs.Structure(drift="ar1")
    ).fit(data)
    parts = {k: va.variances[k] for k in ("persistent", "transient")}
    rho = va.mixed.levels[-1].parameters["correlation"]
    table = va.predict_effects("next_year").set_index("school_id")
    cells = va.school_years.set_index(["school_id", "year"])
    for school in table.index:
        own = cells.loc[school].reindex(YEARS)
        mean, variance = kalman(
            own["residual"], own["sampling_variance"], np.diff([*YEARS, 2023]), rho=rho, **parts
        )
        assert table.loc[school, "effect"] == pytest.approx(mean, abs=ABSOLUTE)
        assert table.loc[school, "conditional_sd"] ** 2 == pytest.approx(variance, abs=ABSOLUTE)
