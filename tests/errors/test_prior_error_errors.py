"""Errors of the prior that cannot be reckoned with: culprit, rule, value, way out, twice over."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.prior_error.simex import simex


def table(seed=1):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(16), 8)
    true = 0.5 * rng.normal(size=16)[school] + rng.normal(size=128)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "primary_id": [f"P{k:02d}" for k in rng.integers(0, 12, size=128)],
            "subject": np.tile(["maths", "russian"], 64),
            "prior_score": true + 0.5 * rng.normal(size=128),
            "ses": rng.normal(size=128),
            "csem": 0.2,
            "label": "x",
            "score": true + 0.4 * rng.normal(size=16)[school] + rng.normal(size=128),
        }
    )


def model(formula="score ~ prior_score + ses", structure=None, **intake):
    intake = {"prior_reliability": 0.8, **intake}
    return rs.ValueAddedModel(
        formula, group="school_id", intake=rs.Intake(**intake), structure=structure
    )


def run(data=None, how=None, **options):
    options = {"n_simulations": 10, "variance": "simulation", **options}
    return simex(how or model(), table() if data is None else data, **options)


def assert_says(error, *words):
    english, russian = str(error.value), error.value.localized("ru")
    for word in words:
        assert word in english, english
    assert any("а" <= letter <= "я" for letter in russian.lower()), russian


@pytest.mark.parametrize("value", [0.0, -0.1, 1.2, 85, float("nan"), True])
def test_a_reliability_outside_its_range(value):
    with pytest.raises(rs.SpecificationError) as error:
        run(reliability=value)
    assert_says(error, "Intake.prior_reliability", repr(value), "above 0 and at most 1")
    with pytest.raises(rs.SpecificationError):
        model().fit(table()).prior_error(table(), reliability=value)


def test_no_reliability_at_all():
    with pytest.raises(rs.SpecificationError) as error:
        run(how=model(prior_reliability=None))
    assert_says(error, "no reliability", "reliability=", "Intake(prior_reliability=...)")
    with pytest.raises(rs.SpecificationError, match="no reliability"):
        model(prior_reliability=None).fit(table()).prior_error(table())


def test_a_perfect_prior_leaves_nothing_to_correct():
    with pytest.raises(rs.SpecificationError) as error:
        run(reliability=1.0)
    assert_says(error, "1.0", "nothing to correct", "below 1")
    with pytest.raises(rs.SpecificationError, match="nothing to correct"):
        run(table().assign(csem=0.0), reliability="csem")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"csem": -0.1}, ("'csem'", "-0.1", "square")),
        ({"csem": np.nan}, ("csem", "128")),
        ({"csem": 40.0}, ("'prior_score'", "40", "squared score units")),
    ],
)
def test_variances_that_cannot_be(change, words):
    for call in (
        lambda data: run(data, reliability="csem"),
        lambda data: (
            model(prior_reliability=None).fit(table()).prior_error(data, reliability="csem")
        ),
    ):
        with pytest.raises(rs.DataError) as error:
            call(table().assign(**change))
        assert_says(error, *words)


def test_a_reliability_below_what_the_data_can_have():
    data = table()
    data["prior_score"] += 3.0 * data["school_id"].str[1:].astype(float)  # two thirds between
    with pytest.raises(rs.DataError) as error:
        run(data, reliability=0.3)
    assert_says(error, "'prior_score'", "the smaller", "check the reliability")


def test_an_unknown_column_of_variances():
    with pytest.raises(rs.DataError) as error:
        run(reliability="cesm")
    assert_says(error, "'cesm'", "csem")
    with pytest.raises(rs.DataError) as error:
        run(reliability="label")
    assert_says(error, "'label'")


def test_a_mapping_that_names_no_covariate():
    with pytest.raises(rs.SpecificationError) as error:
        run(reliability={"prior": 0.8})
    assert_says(error, "'prior'", "prior_score")


@pytest.mark.parametrize(
    ("how", "argument"),
    [
        (
            rs.ValueAddedModel("score ~ prior_score", crossed=["primary_id", "school_id"]),
            "crossed",
        ),
        (
            rs.ValueAddedModel(
                "score ~ prior_score",
                group="school_id",
                structure=rs.Structure(outcome_group="subject"),
            ),
            "Structure.outcome_group",
        ),
        (
            rs.ValueAddedModel(
                "score ~ prior_score",
                members=rs.Membership(["school_id", "primary_id"], ["a", "b"]),
            ),
            "members",
        ),
    ],
)
def test_models_without_nested_levels_alone(how, argument):
    with pytest.raises(rs.SpecificationError) as error:
        run(how=how, reliability=0.8)
    assert_says(error, argument, "Intake(prior_reliability=...)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_simulations": 9}, ("n_simulations", "9", "10")),
        ({"n_simulations": 10.5}, ("n_simulations", "10.5")),
        ({"extrapolation": "cubic"}, ("extrapolation", "'cubic'", "'rational'")),
        ({"variance": "bootstrap"}, ("variance", "'bootstrap'", "'jackknife'")),
        ({"method": "ols"}, ("method", "'ols'")),
        ({"random_state": -1}, ("random_state", "-1")),
        ({"n_jobs": 0}, ("n_jobs", "0")),
    ],
)
def test_settings_out_of_their_range(options, words):
    with pytest.raises(rs.SpecificationError) as error:
        run(**options)
    assert_says(error, *words)


def test_something_else_than_a_model_or_a_table():
    with pytest.raises(rs.SpecificationError) as error:
        simex("score ~ prior_score", table(), reliability=0.8)
    assert_says(error, "model", "str")
    with pytest.raises(rs.SpecificationError):
        run("pupils.parquet")


def test_pupils_of_another_table():
    data = table()
    va = model().fit(data)
    with pytest.raises(rs.DataError) as error:
        va.prior_error(data.iloc[8:])
    assert_says(error, "not those of the fit", "120", "128")
    with pytest.raises(rs.DataError, match="not those of the fit"):
        va.prior_error(data.assign(score=data["score"] + 0.1 * data["ses"]))
    plain = model(prior_reliability=None).fit(data)
    with pytest.raises(rs.DataError, match="not those of the fit"):
        plain.prior_error(data.iloc[8:], reliability=0.8)


def test_a_prior_that_no_term_depends_on():
    """A formula may round an error away: nothing can be learnt by adding more of it."""
    how = model("score ~ ses + I(prior_score * 0.0 + ses**2)")
    with pytest.raises(rs.SpecificationError) as error:
        run(how=how)
    assert_says(error, "prior_score", "put the prior into the formula")


def test_draws_that_leave_much_to_chance_warn():
    with pytest.warns(rs.WeakDataWarning, match="n_simulations"):
        run(table().assign(csem=0.7), reliability="csem")


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # 10 data sets per point
def test_a_spline_that_ends_with_the_data():
    with pytest.raises(rs.DataError) as error:
        run(how=model("score ~ bs(prior_score, df=4)"))
    assert_says(error, "bs(prior_score, df=4)", "extrapolation='extend'")
    found = run(
        how=model("score ~ bs(prior_score, df=4, extrapolation='extend')"),
        extrapolation="quadratic",
    )
    assert np.isfinite(found.fixed_effects["estimate"]).all()


@pytest.mark.filterwarnings("ignore:the pseudo data sets")
def test_a_term_of_one_school_alone_takes_the_other_variance():
    data = table()
    data["only"] = ((data["school_id"] == "S03") & (np.arange(128) % 2 == 0)).astype(float)
    how = model("score ~ prior_score + only")
    with pytest.warns(rs.WeakDataWarning, match="1 of 16 fits") as warned:
        found = run(data, how=how, variance="jackknife")
    said = next(w.message for w in warned if "1 of 16" in str(w.message))
    assert "'only'" in str(said)
    assert "складного ножа" in said.localized("ru")
    assert found.variance == "simulation"
    assert found.n_sets == 0
