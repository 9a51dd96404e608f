"""Reliabilities that cannot be: culprit, rule, value, way out, in both languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs


def table():
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(12), 8)
    true = 0.5 * rng.normal(size=12)[school] + rng.normal(size=96)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": true + 0.5 * rng.normal(size=96),
            "second": true + 0.5 * rng.normal(size=96),
            "ses": rng.normal(size=96),
            "at_school": rng.normal(size=12)[school],
            "label": "x",
            "csem": 0.2,
            "score": true + rng.normal(size=96),
        }
    )


def fit(data=None, formula="score ~ prior_score + ses", **intake):
    model = rs.ValueAddedModel(formula, group="school_id", intake=rs.Intake(**intake))
    return model.fit(table() if data is None else data)


def assert_says(error, *words):
    english, russian = str(error.value), error.value.localized("ru")
    for word in words:
        assert word in english, english
    assert any("а" <= letter <= "я" for letter in russian.lower()), russian


@pytest.mark.parametrize("value", [0.0, -0.1, 1.2, 80, float("nan"), True, [0.8]])
def test_a_reliability_is_a_share(value):
    with pytest.raises(rs.SpecificationError) as error:
        rs.Intake(prior_reliability=value)
    assert_says(error, "Intake.prior_reliability", repr(value), "above 0 and at most 1")


@pytest.mark.parametrize("value", [0.0, 1.01, None, False])
def test_a_reliability_in_a_mapping_names_its_column(value):
    with pytest.raises(rs.SpecificationError) as error:
        rs.Intake(prior_reliability={"prior_score": value})
    assert_says(error, "['prior_score']", repr(value))


def test_a_column_the_model_does_not_use():
    with pytest.raises(rs.SpecificationError) as error:
        fit(prior_reliability={"prior": 0.8})
    assert_says(error, "'prior'", "prior_score, ses", "name a covariate")


def test_no_prior_among_the_covariates():
    with pytest.raises(rs.SpecificationError) as error:
        fit(formula="score ~ ses", prior_reliability=0.8)
    assert_says(error, "prior_score", "ses", "name the prior in Intake.prior")


def test_one_column_of_variances_for_two_priors():
    with pytest.raises(rs.SpecificationError) as error:
        fit(
            formula="score ~ prior_score + second",
            prior=("prior_score", "second"),
            prior_reliability="csem",
        )
    assert_says(error, "'csem'", "prior_score, second", "mapping")


def test_an_unknown_column_of_variances():
    with pytest.raises(rs.DataError) as error:
        fit(prior_reliability="cesm")
    assert_says(error, "cesm", "csem")


def test_variances_that_are_no_numbers():
    with pytest.raises(rs.DataError) as error:
        fit(prior_reliability="label")
    assert_says(error, "label")


def test_missing_variances():
    data = table()
    data.loc[[3, 40], "csem"] = np.nan
    with pytest.raises(rs.DataError) as error:
        fit(data, prior_reliability="csem")
    assert_says(error, "csem", "2")


def test_negative_variances():
    data = table()
    data.loc[[3, 40], "csem"] = [-0.5, -0.1]
    with pytest.raises(rs.DataError) as error:
        fit(data, prior_reliability="csem")
    assert_says(error, "'csem'", "2", "-0.5", "square")


def test_errors_above_the_observed_variance():
    with pytest.raises(rs.DataError) as error:
        fit(prior_reliability=0.05)
    assert_says(error, "'prior_score'", "the smaller")
    data = table().assign(csem=9.0)
    with pytest.raises(rs.DataError) as error:
        fit(data, prior_reliability="csem")
    assert_says(error, "'prior_score'", "9", "squared score units")


def test_a_covariate_that_all_but_repeats_the_prior():
    data = table()
    data["ses"] = data["prior_score"] + 0.1 * data["ses"]
    with pytest.raises(rs.DataError) as error:
        fit(data, prior_reliability=0.8)
    assert_says(error, "'prior_score'", "repeat the prior")


def test_reliabilities_that_contradict_each_other():
    data = table()
    data["second"] = data["prior_score"] + 0.3 * (data["second"] - data["prior_score"])
    with pytest.raises(rs.DataError) as error:
        fit(
            data,
            "score ~ prior_score + second",
            prior_reliability={"prior_score": 0.7, "second": 0.7},
        )
    assert_says(error, "prior_score, second", "beyond 1")


def test_a_prior_of_the_school():
    with pytest.raises(rs.DataError) as error:
        fit(formula="score ~ at_school", prior_reliability={"at_school": 0.8})
    assert_says(error, "'at_school'", "school_id", "constant")


def test_a_prior_of_words():
    data = table().assign(prior_score=["low", "high"] * 48)
    with pytest.raises(rs.DataError) as error:
        fit(data, prior_reliability=0.8)
    assert_says(error, "prior_score")


def test_schools_of_one_pupil():
    data = table().assign(school_id=[f"S{k:02d}" for k in range(96)])
    with pytest.raises(rs.DataError) as error:
        fit(data, prior_reliability=0.8)
    assert_says(error, "school_id", "96")
