"""Pooled results against Rubin's formulas written out, and against statsmodels."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.imputation.bayes_mi import MI

import resilience as rs
from resilience.stats.rubin import pool_covariances
from resilience.value_added.gaps.completion import impute_pupils

M = 5
EXACT = 1e-9  # the same sums in another order


def pupils(seed: int = 0, n_schools: int = 24) -> pd.DataFrame:
    """Pupils of small schools with gaps in an intake variable that depend on the outcome."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(4, 25, n_schools))
    n = len(school)
    ses = 0.5 * rng.normal(size=n_schools)[school] + rng.normal(size=n)
    prior = 0.4 * ses + rng.normal(size=n)
    score = 0.5 * prior + 0.3 * ses + 0.4 * rng.normal(size=n_schools)[school]
    score = score + 0.7 * rng.normal(size=n)
    gap = rng.random(n) < 1 / (1 + np.exp(1.0 + score))
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": prior,
            "ses": np.where(gap, np.nan, ses),
            "score": score,
        }
    )


MODEL = rs.ValueAddedModel(
    "score ~ prior_score + ses",
    group="school_id",
    intake=rs.Intake(composition={"ses": "latent"}, missing="impute", n_imputations=M),
)
PLAIN = rs.ValueAddedModel(
    "score ~ prior_score + ses", group="school_id", intake=rs.Intake(composition={"ses": "latent"})
)


@pytest.fixture(scope="module")
def pooled():
    return MODEL.fit(pupils(), random_state=3)


@pytest.fixture(scope="module")
def fits():
    return [PLAIN.fit(frame) for frame in impute_pupils(MODEL, pupils(), random_state=3)]


def rubin(estimates, variances):
    """Rubin's rules in four lines."""
    q, u = np.array(estimates), np.array(variances)
    between = ((q - q.mean(axis=0)) ** 2).sum(axis=0) / (M - 1)
    return q.mean(axis=0), u.mean(axis=0) + (1 + 1 / M) * between, between


def test_the_fits_are_those_to_the_completed_tables(pooled, fits):
    for one, other in zip(pooled.fits, fits, strict=True):
        assert one.criterion == pytest.approx(other.criterion, rel=1e-12)


def test_coefficients(pooled, fits):
    mean, total, between = rubin(
        [f.fixed_effects["estimate"] for f in fits],
        [f.fixed_effects["std_error"] ** 2 for f in fits],
    )
    assert pooled.fixed_effects["estimate"].to_numpy() == pytest.approx(mean, rel=EXACT)
    assert pooled.fixed_effects["std_error"].to_numpy() ** 2 == pytest.approx(total, rel=EXACT)
    table = pooled.imputation[pooled.imputation["pooled_part"] == "coefficient"]
    assert table["between_imputations"].to_numpy() == pytest.approx(between, rel=EXACT)


def test_school_effects_have_the_variance_within_and_between(pooled, fits):
    tables = [f.school_effects for f in fits]
    for column in ("std_error", "conditional_sd"):
        mean, total, _ = rubin([t["effect"] for t in tables], [t[column] ** 2 for t in tables])
        assert pooled.school_effects["effect"].to_numpy() == pytest.approx(mean, abs=EXACT)
        found = pooled.school_effects[column].to_numpy() ** 2
        assert found == pytest.approx(total, rel=EXACT)
    table = pooled.school_effects
    reach = 1.959963984540054 * table["std_error"]
    assert table["conf_high"].to_numpy() == pytest.approx(table["effect"] + reach, abs=EXACT)
    assert pooled.effect_imputation["std_error"].to_numpy() == pytest.approx(
        table["std_error"].to_numpy(), rel=EXACT
    )


def test_differences_of_schools_pool_as_differences(pooled, fits):
    """The variance between the data sets that two schools share cancels in their difference."""
    one, other = np.array([0, 3, 5]), np.array([1, 7, 20])
    effects = np.array([f.school_effects["effect"] for f in fits])
    variances = [f.errors.difference_variance(one, other, coefficients=False) for f in fits]
    _, total, _ = rubin(effects[:, one] - effects[:, other], variances)
    found = pooled.errors.difference_variance(one, other, coefficients=False)
    assert found == pytest.approx(total, rel=1e-8)


def test_draws_of_the_joint_posterior_have_the_pooled_variance(pooled):
    drawn = pooled.errors.draws(20_000, random_state=0)
    # the SD of a variance of 20,000 draws is 1 %: five of them
    assert drawn.var(axis=0) == pytest.approx(pooled.school_effects["std_error"] ** 2, rel=0.05)


def test_variances_are_means(pooled, fits):
    for name in ("persistent", "residual"):
        assert pooled.variances[name] == pytest.approx(np.mean([f.variances[name] for f in fits]))
    mean = np.mean([f.variance_components["variance"] for f in fits], axis=0)
    assert pooled.variance_components["variance"].to_numpy() == pytest.approx(mean)


def test_predictions_pool_row_by_row(pooled, fits):
    rows = pupils(seed=1).dropna().head(6)
    found = pooled.predict(rows, effects="schools", interval=0.9)
    each = [f.predict(rows, effects="schools", interval=0.9) for f in fits]
    mean, total, between = rubin(
        [t["predicted"] for t in each], [t["std_error"] ** 2 for t in each]
    )
    assert found["predicted"].to_numpy() == pytest.approx(mean, abs=EXACT)
    assert found["std_error"].to_numpy() ** 2 == pytest.approx(total, rel=EXACT)
    z = 1.6448536269514722
    pupil = [((t["pupil_high"] - t["pupil_low"]) / (2 * z)) ** 2 for t in each]
    whole = np.mean(pupil, axis=0) + (1 + 1 / M) * between
    half = (found["pupil_high"] - found["pupil_low"]).to_numpy() / (2 * z)
    assert half**2 == pytest.approx(whole, rel=1e-8)


def test_augment_of_the_pupils_of_the_fit_means_its_own_completions(pooled, fits):
    table = pupils()
    frames = impute_pupils(MODEL, table, random_state=3)
    each = [f.augment(frame)["fitted_with_effects"] for f, frame in zip(fits, frames, strict=True)]
    found = pooled.augment(table)
    assert found["fitted_with_effects"].to_numpy() == pytest.approx(np.mean(each, axis=0))
    pd.testing.assert_frame_equal(found[table.columns.tolist()], table)


def test_total_covariance_equals_that_of_statsmodels():
    frames = impute_pupils(MODEL, pupils(), random_state=3)

    class Completed:
        """What statsmodels takes for an imputer: a table that changes with every update."""

        def __init__(self):
            self.at, self.data = -1, frames[0]

        def update(self):
            self.at += 1
            self.data = frames[self.at % M]

    def columns(table):
        X = sm.add_constant(table[["prior_score", "ses"]])
        return [table["score"], X]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statsmodels' own, about its internals
        other = MI(Completed(), sm.OLS, model_args_fn=columns, nrep=M, skip=0, burn=0).fit()
    ols = [sm.OLS(f["score"], sm.add_constant(f[["prior_score", "ses"]])).fit() for f in frames]
    mean, total = pool_covariances(
        [o.params.to_numpy() for o in ols], [o.cov_params().to_numpy() for o in ols]
    )
    assert mean == pytest.approx(np.asarray(other.params), rel=1e-9)
    assert total == pytest.approx(np.asarray(other.cov_params()), rel=1e-9, abs=1e-14)


@pytest.fixture(scope="module")
def drifting():
    """Three years of pupils of 20 schools, ses missing by the outcome; years as AR(1)."""
    rng = np.random.default_rng(5)
    school, year = np.repeat(np.arange(20), 45), np.tile(np.repeat([2021, 2022, 2023], 15), 20)
    ses = rng.normal(size=900)
    score = 0.4 * ses + 0.5 * rng.normal(size=20)[school]
    score = score + 0.3 * rng.normal(size=(20, 3))[school, year - 2021] + rng.normal(size=900)
    frame = pd.DataFrame({"school_id": school, "year": year, "ses": ses, "score": score})
    frame["ses"] = frame["ses"].mask(rng.random(900) < 1 / (1 + np.exp(1.0 + score)))
    model = rs.ValueAddedModel(
        "score ~ ses",
        group="school_id",
        time="year",
        intake=rs.Intake(missing="impute", n_imputations=M),
        structure=rs.Structure(drift="ar1"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # three years tell drift weakly
        return model.fit(frame, random_state=2)


YEARLY = {
    "target": lambda va: va.predict_effects("last_year"),
    "left out": lambda va: va.leave_year_out(),
    "forecast": lambda va: va.forecast(n_pupils=25, level=0.9),
    "lines": lambda va: va.year_effects(level=0.9),
}


@pytest.mark.parametrize("name", YEARLY)
def test_effects_of_years_pool_as_any_estimate(drifting, name):
    found, each = YEARLY[name](drifting), [YEARLY[name](f) for f in drifting.fits]
    mean, total, between = rubin([t["effect"] for t in each], [t["std_error"] ** 2 for t in each])
    assert found["effect"].to_numpy() == pytest.approx(mean, abs=EXACT)
    assert found["std_error"].to_numpy() ** 2 == pytest.approx(total, rel=EXACT)
    if "mse" in found:
        assert found["mse"].to_numpy() == pytest.approx(total, rel=EXACT)
    z = 1.6448536269514722
    if "predictive_sd" in found:
        inside = np.mean([t["predictive_sd"] ** 2 for t in each], axis=0)
        spread = np.sqrt(inside + (1 + 1 / M) * between)
        assert found["predictive_sd"].to_numpy() == pytest.approx(spread, rel=EXACT)
        assert found["predictive_high"].to_numpy() == pytest.approx(mean + z * spread, abs=EXACT)
        # the variance of the target is the mean of the fits': prmse is one minus the share of it
        prior = np.mean([t["std_error"] ** 2 / (1 - t["prmse"]) for t in each], axis=0)
        assert found["prmse"].to_numpy() == pytest.approx(1 - total / prior, rel=1e-8)
    if "conf_low" in found:
        low = mean - z * np.sqrt(total)
        assert found["conf_low"].to_numpy() == pytest.approx(low, abs=1e-8)


def test_data_for_a_precision_are_refused_where_years_drift(drifting):
    with pytest.raises(rs.SpecificationError, match="sufficiency belongs to one fit"):
        drifting.sufficiency(reliability=0.8)
