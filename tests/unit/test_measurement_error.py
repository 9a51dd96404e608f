"""Calibrated priors: closed forms, units, and what the results say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.intake.measurement_error import reliability_by_column
from resilience.value_added.intake.preparation import prepare


def region(seed=0, n_schools=40, size=12):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), size)
    true = 0.6 * rng.normal(size=n_schools)[school] + rng.normal(size=len(school))
    ses = 0.5 * true + rng.normal(size=len(school))
    score = 0.7 * true + 0.2 * ses + rng.normal(size=len(school))
    score += 0.6 * rng.normal(size=n_schools)[school]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": np.tile([2021, 2022], len(school) // 2),
            "prior_score": 50.0 + 10.0 * (true + 0.5 * rng.normal(size=len(school))),
            "ses": ses,
            "sex": rng.choice(["F", "M"], size=len(school)),
            "score": score,
            "csem": 25.0,
        }
    )


def prepared(data, formula="score ~ prior_score", **intake):
    return prepare(data, formula, rs.Intake(**intake), groups=["school_id"], time=None)


def test_one_prior_by_the_closed_form():
    """Schools of one size, one prior: κ and λ from the analysis of variance."""
    data = region()
    x = data["prior_score"]
    out = prepared(data, composition={"prior_score": "latent"}, prior_reliability=0.8).data
    mean = x.groupby(data["school_id"]).transform("mean")
    within = ((x - mean) ** 2).sum() / (480 - 40)
    between = mean[::12].var(ddof=1) - within / 12
    error = 0.2 * x.var(ddof=0)
    school = x.mean() + between / (between + within / 12) * (mean - x.mean())
    pupil = school + (within - error) / within * (x - school)
    np.testing.assert_allclose(out["prior_score_mean"], school, rtol=1e-9)
    np.testing.assert_allclose(out["prior_score"], pupil, rtol=1e-9)


def test_other_composition_is_that_of_calibrated_values():
    for how in ("mean", "leave_one_out"):
        data = region()
        out = prepared(data, composition={"prior_score": how}, prior_reliability=0.8).data
        by_school = out.groupby("school_id")["prior_score"]
        expected = by_school.transform("mean")
        if how == "leave_one_out":
            expected = (by_school.transform("sum") - out["prior_score"]) / 11
        np.testing.assert_allclose(out["prior_score_mean"], expected, rtol=1e-12)


def test_a_pupil_alone_gets_the_overall_mean_of_calibrated_values():
    data = region()
    data.loc[0, "school_id"] = "alone"
    intake = {"composition": {"prior_score": "leave_one_out"}, "prior_reliability": 0.8}
    out = prepared(data, **intake).data
    assert out["prior_score_mean"][0] == pytest.approx(out["prior_score"].mean())


def test_the_latent_mean_of_an_exact_column_learns_from_the_prior():
    data = region()
    formula, composition = "score ~ prior_score + ses", {"ses": "latent"}
    with_prior = prepared(data, formula, composition=composition, prior_reliability=0.8).data
    alone = prepared(data, formula, composition=composition).data
    assert (with_prior["ses"] == data["ses"]).all()
    assert np.corrcoef(with_prior["ses_mean"], alone["ses_mean"])[0, 1] > 0.5
    assert not np.allclose(with_prior["ses_mean"], alone["ses_mean"])


def test_a_perfect_prior_is_left_alone():
    data = region()
    intake = {"composition": {"prior_score": "latent"}}
    exact = prepared(data, prior_reliability=1.0, **intake)
    plain = prepared(data, **intake)
    pd.testing.assert_frame_equal(exact.data, plain.data)
    assert exact.calibration is None


def test_errors_are_given_as_reliability_variances_or_by_column():
    data = region()
    variance = 0.2 * data["prior_score"].var(ddof=0)
    data["csem"] = variance
    ways = [0.8, {"prior_score": 0.8}, "csem", {"prior_score": "csem"}]
    found = [prepared(data, prior_reliability=way).data["prior_score"] for way in ways]
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=1e-10)
    assert (prepared(data).data["prior_score"] == data["prior_score"]).all()


def test_a_number_stands_for_the_priors_in_use():
    intake = rs.Intake(prior=("maths", "reading", "history"), prior_reliability=0.9)
    used = reliability_by_column(intake, ["ses", "maths", "reading"])
    assert used == {"maths": 0.9, "reading": 0.9}
    assert reliability_by_column(rs.Intake(), ["prior_score"]) == {}


def test_error_variances_follow_the_standardisation():
    """Given in the table's units, they are divided by the squared spread of each year."""
    data = region()
    data.loc[data["year"] == 2022, "prior_score"] *= 3.0
    data["csem"] = np.where(data["year"] == 2022, 9 * 20.0, 20.0)
    out = prepared(
        data,
        prior_reliability="csem",
        standardize_by=["year"],
    )
    spread = data.groupby("year")["prior_score"].transform("std", ddof=0)
    np.testing.assert_allclose(out.calibration.errors[:, 0], data["csem"] / spread**2, rtol=1e-10)


def test_categories_are_conditioned_on_too():
    out = prepared(region(), "score ~ prior_score + sex", prior_reliability=0.8)
    assert out.calibration.names == ("prior_score", "sex=M")
    assert out.data["sex"].isin(["F", "M"]).all()


def test_rows_in_any_order_give_the_same():
    data = region()
    shuffled = data.sample(frac=1.0, random_state=3)
    intake = {"composition": {"prior_score": "latent"}, "prior_reliability": 0.8}
    one, other = prepared(data, **intake).data, prepared(shuffled, **intake).data
    columns = ["prior_score", "prior_score_mean"]
    np.testing.assert_allclose(one[columns], other.loc[one.index, columns], rtol=1e-10)


def test_the_data_of_the_caller_stay_as_they_are():
    data = region()
    before = data.copy()
    prepared(data, composition={"prior_score": "latent"}, prior_reliability=0.8)
    pd.testing.assert_frame_equal(data, before)


def fitted(data, reliability, **specification):
    intake = rs.Intake(composition={"prior_score": "latent"}, prior_reliability=reliability)
    formula = "score ~ prior_score + ses"
    return rs.ValueAddedModel(formula, group="school_id", intake=intake, **specification).fit(data)


def test_units_of_the_prior_do_not_matter():
    data = region()
    one = fitted(data, 0.8)
    other = fitted(data.assign(prior_score=3.0 * data["prior_score"] - 1000.0), 0.8)
    for name, factor in (("prior_score", 3.0), ("ses", 1.0), ("prior_score_mean", 3.0)):
        a, b = (r.fixed_effects.set_index("term").loc[name] for r in (one, other))
        assert a["estimate"] == pytest.approx(b["estimate"] * factor, rel=1e-6)
        assert a["std_error"] == pytest.approx(b["std_error"] * factor, rel=1e-5)
    np.testing.assert_allclose(
        one.school_effects[["effect", "std_error"]],
        other.school_effects[["effect", "std_error"]],
        rtol=1e-5,
    )


def test_the_error_of_the_calibration_is_in_every_error():
    data = region()
    result = fitted(data, 0.8)
    prepared_rows = prepare(
        data,
        "score ~ prior_score + ses",
        rs.Intake(composition={"prior_score": "latent"}, prior_reliability=0.8),
        groups=["school_id"],
        time=None,
    ).data
    # the same columns, taken as observed
    known = rs.ValueAddedModel(
        "score ~ prior_score + ses + prior_score_mean", group="school_id"
    ).fit(prepared_rows)
    np.testing.assert_allclose(
        result.fixed_effects["estimate"], known.fixed_effects["estimate"], rtol=1e-8
    )
    ratio = result.fixed_effects["std_error"] / known.fixed_effects["std_error"]
    assert (ratio >= 1.0 - 1e-9).all()
    assert ratio[result.fixed_effects["term"] == "prior_score_mean"].item() > 1.001
    effects, other = result.school_effects, known.school_effects
    np.testing.assert_allclose(effects["conditional_sd"], other["conditional_sd"], rtol=1e-8)
    assert (effects["std_error"] >= other["std_error"] * (1 - 1e-9)).all()
    assert effects["std_error"].sum() > other["std_error"].sum()


def test_a_square_of_the_prior_keeps_its_coefficient():
    """The variance of what is true given what is seen is nearly constant (module docstring)."""
    rng = np.random.default_rng(3)
    school = np.repeat(np.arange(400), 40)
    true = 0.4 * rng.normal(size=400)[school] + 0.9 * rng.normal(size=len(school))
    data = pd.DataFrame(
        {
            "school_id": school.astype(str),
            "prior_score": true + 0.45 * rng.normal(size=len(school)),
            "score": 0.7 * true + 0.2 * true**2 + 0.6 * rng.normal(size=len(school)),
        }
    )
    found = {}
    for reliability in (None, 0.97 / (0.97 + 0.45**2)):
        table = (
            rs.ValueAddedModel(
                "score ~ prior_score + I(prior_score**2)",
                group="school_id",
                intake=rs.Intake(prior_reliability=reliability),
            )
            .fit(data)
            .fixed_effects.set_index("term")
        )
        found[reliability is None] = table.loc["I(prior_score ** 2)"]
    naive, corrected = found[True], found[False]
    assert abs(corrected["estimate"] - 0.2) < 3 * corrected["std_error"]
    assert naive["estimate"] < 0.2 - 5 * naive["std_error"]
