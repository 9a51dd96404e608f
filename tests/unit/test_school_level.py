"""The model of published means: what its arguments do, by hand and by special cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import resilience as rs

# -- known and estimated sampling variances ----------------------------------------------------


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
        # a row of its own cell is taken apart and put together again: rounding alone
        np.testing.assert_allclose(
            other.school_years["sampling_variance"], data["variance"], rtol=1e-11
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


def test_one_mean_per_school_by_hand():
    """Posterior of a normal mean: λ = τ²/(τ² + s²), effect λ·residual, variance τ²(1 − λ)."""
    data = table(9, years=1)
    result = rs.SchoolLevelModel("mean_score ~ index", n="n_pupils", sd=30.0).fit(data)
    tau2 = result.variances["persistent"]
    trust = tau2 / (tau2 + data["variance"])
    weights = 1.0 / (tau2 + data["variance"])
    wls = sm.WLS(data["mean_score"], sm.add_constant(data["index"]), weights=weights).fit()
    np.testing.assert_allclose(result.fixed_effects["estimate"], wls.params, rtol=1e-9)
    effects = result.school_effects
    np.testing.assert_allclose(effects["effect"], trust * wls.resid, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(effects["conditional_sd"], np.sqrt(tau2 * (1 - trust)), rtol=1e-9)
    np.testing.assert_allclose(effects["reliability"], trust, rtol=1e-9)
    assert result.outer_effects.empty
    assert result.procedure_effects.empty
    assert np.isnan(result.within_correlation)
    assert result.question.key == "since_entry"


def test_without_persistent_variance_the_coefficients_are_weighted_least_squares():
    rng = np.random.default_rng(11)
    n = rng.integers(4, 60, size=80)
    index = rng.normal(size=80)
    data = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(80)],
            # a third of the noise that the sampling variances announce: nothing is left for τ²
            "mean_score": 3 + 2 * index + rng.normal(size=80) / np.sqrt(3 * n),
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
    np.testing.assert_allclose(result.school_years["sampling_variance"], 1.0 / n, rtol=1e-12)


# -- several procedures ------------------------------------------------------------------------


def procedures(seed, *, n_schools=60, years=2, names=("math", "russian", "science")):
    rng = np.random.default_rng(seed)
    rows = [(s, t, p) for s in range(n_schools) for t in range(years) for p in range(len(names))]
    school, year, procedure = (np.array(column) for column in zip(*rows, strict=True))
    n = rng.integers(5, 60, size=(n_schools, years))[school, year]
    pupil = rng.normal(size=(n_schools, years))[school, year]  # half of the noise is shared
    noise = np.sqrt(0.5) * pupil + np.sqrt(0.5) * rng.normal(size=len(school))
    score = 0.3 * rng.normal(size=n_schools)[school] + 0.5 * procedure + noise / np.sqrt(n)
    score = score + 0.2 * rng.normal(size=(n_schools, len(names)))[school, procedure]
    score = score + 0.15 * rng.normal(size=(n_schools, years))[school, year]
    score = score + 0.2 * rng.normal(size=len(school))
    score = score + 0.3 * rng.normal(size=12)[school % 12]
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 12:02d}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year + 2022,
            "procedure": np.array(names)[procedure],
            "code": procedure + 1,
            "mean_score": score,
            "n_pupils": n,
        }
    )


def fit_procedures(data, procedure="procedure", **more):
    given = {"time": "year", "n": "n_pupils", "sd": 1.0, **more}
    return rs.SchoolLevelModel("mean_score ~ 1", procedure=procedure, **given).fit(data)


def test_procedures_get_intercepts_of_their_own():
    data = procedures(1)
    result = fit_procedures(data)
    assert list(result.fixed_effects["term"]) == [
        "Intercept",
        "procedure[T.russian]",
        "procedure[T.science]",
    ]
    by_code = fit_procedures(data, "code")
    assert list(by_code.fixed_effects["term"])[1:] == ["C(code)[T.2]", "C(code)[T.3]"]
    assert by_code.criterion == pytest.approx(result.criterion, rel=1e-10)
    own = rs.SchoolLevelModel(
        "mean_score ~ 0 + procedure", procedure="procedure", time="year", n="n_pupils", sd=1.0
    ).fit(data)
    assert list(own.fixed_effects["term"]) == [
        f"procedure[{p}]" for p in ("math", "russian", "science")
    ]
    assert own.criterion == pytest.approx(result.criterion, rel=1e-9)


def test_text_and_categories_name_procedures_alike():
    data = procedures(1)
    kinds = [*sorted(data["procedure"].unique()), "never sat"]
    found = [
        fit_procedures(data.assign(procedure=column)).procedure_effects["effect"]
        for column in (
            data["procedure"].astype("string"),
            pd.Categorical(data["procedure"], categories=kinds),
        )
    ]
    expected = fit_procedures(data).procedure_effects["effect"]
    for effects in found:
        np.testing.assert_allclose(effects, expected, rtol=1e-9, atol=1e-12)


def test_the_parts_of_several_procedures():
    result = fit_procedures(procedures(2))
    assert list(result.variance_components["group"]) == [
        "school_id",
        "school_id:year",
        "school_id:procedure",
        "school_id:year:procedure",
        "residual",
    ]
    assert result.within_correlation == 0.5
    assert result.glance()["within_correlation"][0] == 0.5
    assert len(result.procedure_effects) == 60 * 3
    assert len(result.school_years) == 60 * 2
    assert (result.school_effects["n_years"] == 2).all()
    # the common effect lies among the effects in procedures, which share it
    mean = result.procedure_effects.groupby("school_id")["effect"].mean().to_numpy()
    assert np.corrcoef(mean, result.school_effects["effect"])[0, 1] > 0.99


def test_a_single_year_leaves_the_cell_to_the_procedure():
    data = procedures(3).query("year == 2022")
    result = fit_procedures(data, time=None)
    assert list(result.variance_components["group"]) == [
        "school_id",
        "school_id:procedure",
        "residual",
    ]


def test_a_school_of_one_procedure_and_year_by_hand():
    """Two measures of one school in one year: V and q written out."""
    data = procedures(4).query("not (school_id == 'S00' and (year == 2023 or code == 3))")
    result = fit_procedures(data)
    tau2, omega2, delta2, cell = result.variance_components["variance"][:4]
    n = data.query("school_id == 'S00'")["n_pupils"].to_numpy()
    assert n[0] == n[1]
    V = np.full((2, 2), tau2 + omega2 + 0.5 / n[0])
    V[0, 0] = V[1, 1] = tau2 + omega2 + delta2 + cell + 1.0 / n[0]
    beta = result.fixed_effects["estimate"].to_numpy()
    r = data.query("school_id == 'S00'")["mean_score"].to_numpy() - [beta[0], beta[0] + beta[1]]
    row = result.school_effects.iloc[0]
    assert row["effect"] == pytest.approx(tau2 * np.linalg.solve(V, r).sum(), rel=1e-8)
    left = tau2 - tau2**2 * np.linalg.inv(V).sum()
    assert row["conditional_sd"] == pytest.approx(np.sqrt(left), rel=1e-8)
    year = result.school_years.iloc[0]
    assert year["residual"] == pytest.approx(r.mean(), rel=1e-8)  # equal n: equal weights
    noise = (delta2 + cell + 1.0 / n[0]) / 2 + 0.5 / n[0] / 2
    assert year["sampling_variance"] == pytest.approx(noise, rel=1e-8)


def test_unstructured_procedures_are_averaged_by_the_weights():
    data = procedures(5)
    equal = fit_procedures(data, rs.Procedures("procedure", covariance="unstructured"))
    weights = {"math": 2.0, "russian": 1.0, "science": 0.0}
    stated = fit_procedures(
        data, rs.Procedures("procedure", covariance="unstructured", weights=weights)
    )
    assert stated.criterion == equal.criterion
    table = equal.procedure_effects.pivot_table("effect", index="school_id", columns="procedure")
    np.testing.assert_allclose(equal.school_effects["effect"], table.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(
        stated.school_effects["effect"], (2 * table["math"] + table["russian"]) / 3, atol=1e-12
    )
    rows = equal.variance_components
    assert list(rows["term"][:3]) == ["math", "russian", "science"]
    assert rows["correlation"][1:3].between(-1, 1).all()


def test_compound_symmetry_lies_within_unstructured():
    data = procedures(6)
    common = fit_procedures(data)
    free = fit_procedures(data, rs.Procedures("procedure", covariance="unstructured"))
    assert free.criterion <= common.criterion + 1e-8


def test_means_of_the_same_pupils_count_for_less():
    data = procedures(7)
    alone, together = (
        fit_procedures(data, rs.Procedures("procedure", correlation=r)) for r in (0.0, 0.8)
    )
    assert np.isnan(alone.within_correlation) or alone.within_correlation == 0.0
    one, other = (r.school_years["sampling_variance"] for r in (alone, together))
    assert (other > one).mean() > 0.95
    # every row is a cohort of its own: nothing is shared
    apart = fit_procedures(
        data.assign(row=np.arange(len(data))),
        rs.Procedures("procedure", cohort="row", correlation=0.8),
    )
    assert apart.criterion == pytest.approx(alone.criterion, rel=1e-12)


# -- municipalities ----------------------------------------------------------------------------


def test_municipalities_take_what_their_schools_share():
    rng = np.random.default_rng(12)
    data = procedures(8)
    place = dict(zip([f"M{k:02d}" for k in range(12)], 1.0 * rng.normal(size=12), strict=True))
    data["mean_score"] += data["municipality_id"].map(place)
    result = fit_procedures(data, group=["municipality_id", "school_id"])
    assert result.group == "school_id"
    assert list(result.outer_effects["unit_id"]) == sorted(place)
    found = result.outer_effects["effect"]
    truth = pd.Series(place).sort_index().to_numpy()
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert result.variance_components["group"][0] == "municipality_id"
    # schools of one municipality share its error, others do not
    errors = result.errors
    same = errors.covariance(0, 12, coefficients=False)
    assert same > 0
    assert errors.covariance(0, 1, coefficients=False) == 0
    np.testing.assert_allclose(np.sqrt(errors.prediction), result.school_effects["std_error"])


# -- cohort priors -----------------------------------------------------------------------------


def cohort(seed, *, n_schools=120, years=1, rho=0.7, slope=0.7, tau2=0.09):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), years)
    n = rng.integers(3, 80, size=len(school))
    index = rng.normal(size=n_schools)[school]
    latent = np.sqrt(0.1) * rng.normal(size=n_schools)[school] + 0.2 * index + 3.0
    if years > 1:
        latent = latent + 0.15 * rng.normal(size=len(school))
    first, second = rng.normal(size=(2, len(school)))
    effect = np.sqrt(tau2) * rng.normal(size=n_schools)
    place = rng.normal(size=10) if years > 1 else np.zeros(10)
    latent = latent + 0.3 * (rng.normal(size=10) if years > 1 else np.zeros(10))[school % 10]
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 10}" for k in school],
            "school_id": [f"S{k:03d}" for k in school],
            "year": np.tile(np.arange(years) + 2022, n_schools),
            "n_pupils": n,
            "index": index,
            "prior_mean": latent + first / np.sqrt(n),
            "mean_score": slope * latent
            + 0.1 * index
            + effect[school]
            + 0.4 * place[school % 10]
            + (0.15 * rng.normal(size=len(school)) if years > 1 else 0.0)
            + (rho * first + np.sqrt(1 - rho**2) * second) / np.sqrt(n),
        }
    )


def fit_cohort(data, *, prior="prior_mean", rho=0.7, method="reml", **more):
    given = {"n": "n_pupils", "sd": 1.0, "cohort_prior": prior, "within_correlation": rho, **more}
    return rs.SchoolLevelModel("mean_score ~ index", **given).fit(data, method=method)


def test_the_measure_of_a_cohort_is_the_outcome_given_the_prior():
    data = cohort(1)
    result = fit_cohort(data)
    A = result.variance_components["variance"][1]
    slope = result.fixed_effects.set_index("term")["estimate"]["prior_mean"]
    n = data["n_pupils"].to_numpy()
    pull = (slope * A + 0.7 / n) / (A + 1.0 / n)
    spread = slope**2 * A + 1.0 / n - pull * (slope * A + 0.7 / n)
    np.testing.assert_allclose(result.school_years["sampling_variance"], spread, rtol=1e-7)
    tau2 = result.variances["persistent"]
    trust = tau2 / (tau2 + spread)
    effects = result.school_effects
    np.testing.assert_allclose(effects["reliability"], trust, rtol=1e-7)
    np.testing.assert_allclose(effects["effect"], trust * result.school_years["residual"])
    np.testing.assert_allclose(
        effects["expected_mean"], effects["observed_mean"] - result.school_years["residual"]
    )
    assert result.within_correlation == 0.7


def test_a_prior_without_error_is_a_covariate():
    """Prior means of a million pupils: the joint likelihood is that of the prior in the formula."""
    data = cohort(2)
    prior = rs.CohortPrior("prior_mean", variance="tiny", grade=5)
    joint = fit_cohort(data.assign(tiny=1e-9), prior=prior, rho=0.0, method="ml")
    plain = rs.SchoolLevelModel("mean_score ~ index + prior_mean", n="n_pupils", sd=1.0).fit(
        data, method="ml"
    )
    assert joint.question.key == "since_grade_5"
    assert joint.variances["persistent"] == pytest.approx(plain.variances["persistent"], rel=1e-5)
    one, other = joint.fixed_effects[:3], plain.fixed_effects
    assert list(one["term"]) == list(other["term"])
    np.testing.assert_allclose(one["estimate"], other["estimate"], rtol=1e-5, atol=1e-7)
    # the slope's error is from the observed information, least squares' from the expected one
    np.testing.assert_allclose(one["std_error"], other["std_error"], rtol=0.02)
    np.testing.assert_allclose(
        joint.school_effects["effect"], plain.school_effects["effect"], atol=1e-6
    )
    np.testing.assert_allclose(
        joint.school_effects["std_error"], plain.school_effects["std_error"], rtol=0.005
    )


def test_the_scale_of_the_prior_does_not_matter():
    data = cohort(3)
    points = data.assign(prior_mean=500 + 100 * data["prior_mean"])
    one = fit_cohort(data)
    other = fit_cohort(points, prior=rs.CohortPrior("prior_mean", sd=100.0))
    columns = ["effect", "std_error", "conditional_sd", "reliability"]
    np.testing.assert_allclose(
        one.school_effects[columns], other.school_effects[columns], rtol=1e-6, atol=1e-8
    )
    slopes = [r.fixed_effects.set_index("term")["estimate"]["prior_mean"] for r in (one, other)]
    assert slopes[0] == pytest.approx(100 * slopes[1], rel=1e-6)


def test_errors_and_coefficients_are_of_one_piece():
    """The error of an effect follows from the printed coefficients' covariance."""
    result = fit_cohort(cohort(4, years=3), time="year", group=["municipality_id", "school_id"])
    errors = result.errors
    assert errors.beta_covariance.shape == (len(result.fixed_effects),) * 2
    np.testing.assert_allclose(
        np.sqrt(np.diag(errors.beta_covariance)), result.fixed_effects["std_error"]
    )
    direct = np.einsum("jp,pq,jq->j", errors.leverage, errors.beta_covariance, errors.leverage)
    # the same through coordinates in which covariates far from zero cancel
    np.testing.assert_allclose(direct, (errors.half**2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(errors.prediction), result.school_effects["std_error"])
    groups = list(result.variance_components["group"].drop_duplicates())
    assert groups == ["municipality_id", "school_id", "school_id:year", "residual"]
    assert len(result.outer_effects) == 10
    assert len(result.school_years) == len(cohort(4, years=3))


def test_the_effect_moves_with_the_slope_as_its_leverage_says():
    """Refitting with the prior means tilted changes the slope: the leverage is that derivative."""
    data = cohort(5)
    result = fit_cohort(data)
    terms = list(result.fixed_effects["term"])
    leverage = result.errors.leverage[:, terms.index("prior_mean")]
    expected = data["prior_mean"].to_numpy() * result.school_effects["reliability"].to_numpy()
    # the latent prior mean times the reliability; the observed mean stands in for the latent
    assert np.corrcoef(leverage, expected)[0, 1] > 0.9


def test_the_sensitivity_table():
    data = cohort(6)
    model = rs.SchoolLevelModel(
        "mean_score ~ 1",
        n="n_pupils",
        sd=1.0,
        cohort_prior="prior_mean",
        within_correlation=0.7,
    )
    rows = model.sensitivity(data)
    assert list(rows["within_correlation"]) == [0.5, 0.6, 0.7, 0.8]
    own = rows.set_index("within_correlation").loc[0.7]
    assert own["mean_abs_rank_shift"] == 0
    assert own["n_bands_changed"] == 0
    assert own["variance_between"] == model.fit(data).variances["persistent"]
    # less noise is left the more the pupils' results correlate
    assert rows["variance_between"].is_monotonic_increasing
    assert rows["mean_reliability"].is_monotonic_increasing
    assert rows["mean_abs_rank_shift"].iloc[[0, 1, 3]].gt(0).all()
    several = rs.SchoolLevelModel(
        "mean_score ~ 1", procedure="procedure", time="year", n="n_pupils", sd=1.0
    ).sensitivity(procedures(9), correlations=(0.5, 0.7))
    assert several["mean_abs_rank_shift"][0] == 0


def test_within_correlation_by_hand():
    pupils = pd.DataFrame(
        {
            "school_id": ["A", "A", "A", "B", "B", "C"],
            "prior_score": [1.0, 2.0, 3.0, 10.0, 12.0, 7.0],
            "score": [2.0, 2.0, 5.0, 0.0, 4.0, 9.0],
        }
    )
    # deviations (−1, 0, 1, −1, 1, 0) and (−1, −1, 2, −2, 2, 0): 7/√(4·14), ν = 6 − 3
    found = rs.within_correlation(pupils)
    r = 7 / np.sqrt(4 * 14)
    assert found.estimate == pytest.approx(r, rel=1e-12)
    assert found.std_error == pytest.approx((1 - r**2) / np.sqrt(2), rel=1e-12)
    assert (found.n_pupils, found.n_schools) == (6, 2)
    again = rs.within_correlation(pupils.assign(year=2023), group=["school_id", "year"])
    assert again == found


def test_an_estimated_correlation_is_taken_as_its_number():
    rng = np.random.default_rng(13)
    prior = rng.normal(size=400)
    pupils = pd.DataFrame(
        {
            "school_id": np.repeat(np.arange(20), 20),
            "prior_score": prior,
            "score": 0.7 * prior + np.sqrt(0.51) * rng.normal(size=400),
        }
    )
    found = rs.within_correlation(pupils)
    assert abs(found.estimate - 0.7) < 3 * found.std_error
    data = cohort(7)
    one = fit_cohort(data, rho=found)
    assert one.within_correlation == found.estimate
    assert one.criterion == fit_cohort(data, rho=found.estimate).criterion


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_every_shape_of_result_prints(lang):
    shapes = {
        "procedures": fit_procedures(procedures(10), group=["municipality_id", "school_id"]),
        "cohorts": fit_cohort(cohort(8)),
    }
    for result in shapes.values():
        printed = result.summary(lang)
        assert "nan" not in printed
        assert "<table" in result._repr_html_()
        for frame in (result.procedure_effects, result.outer_effects):
            rs.format_table(frame, lang)
