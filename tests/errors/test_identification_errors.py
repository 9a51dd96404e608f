"""Variances the data cannot tell apart, outcomes that do not vary: named, not estimated."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs

FORMULA = "score ~ prior_score"
DIAGONAL = rs.Structure(covariance={"school_id": "diagonal"})


@pytest.fixture(scope="module")
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    school = np.arange(600) % 24
    year = 2021 + np.arange(600) // 24 % 3
    prior = rng.normal(size=600)
    score = 0.6 * prior + 0.4 * rng.normal(size=24)[school] + 0.8 * rng.normal(size=600)
    score += 0.3 * rng.normal(size=(24, 3))[school, year - 2021]
    return pd.DataFrame(
        {
            "town": [f"M{k % 4}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "primary_id": [f"P{k:02d}" for k in rng.integers(0, 15, 600)],
            "pupil_key": [f"u{k}" for k in range(600)],
            "prior_score": prior,
            "score": score,
        }
    )


def fit(data: pd.DataFrame, formula: str = FORMULA, **arguments: object) -> object:
    return rs.ValueAddedModel(formula, **{"group": "school_id", **arguments}).fit(data)


FLAT = {
    "one pupil per school": (
        lambda d: fit(d.assign(school_id=d["pupil_key"])),
        ["'school_id'", "single row (600 of them)"],
    ),
    "one pupil per school and year": (
        lambda d: fit(d.groupby(["school_id", "year"]).head(1), time="year"),
        ["'school_id:year'", "single row (72 of them)"],
    ),
    "one school per town": (
        lambda d: fit(d.assign(town="m" + d["school_id"]), group=["town", "school_id"]),
        ["'town'", "'school_id'", "the same 24 units"],
    ),
    "schools in the fixed part": (
        lambda d: fit(d, f"{FORMULA} + school_id"),
        ["'school_id'", "the fixed part, or another level, already holds"],
    ),
    "one pupil per school beside a crossed factor": (
        lambda d: fit(
            d.assign(school_id=d["pupil_key"]), group=["town", "school_id"], crossed=["primary_id"]
        ),
        ["'school_id'", "single row"],
    ),
    "a single year left": (
        lambda d: fit(d[d["year"] < 2023], time="year").leave_out(year=2022),
        ["'school_id:year'", "the same 24 units"],
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_criterion_is_no_estimate(pupils, name):
    action, words = FLAT[name]
    with pytest.raises(rs.SpecificationError, match="any value fits equally well") as caught:
        action(pupils)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "любое значение подходит одинаково" in caught.value.localized("ru")


@pytest.mark.parametrize(
    ("arguments", "level", "cells"),
    [
        ({}, "school_id", ["school_id"]),
        ({"time": "year"}, "school_id:year", ["school_id"]),
        ({"time": "year"}, "school_id:year", ["school_id", "year"]),
    ],
)
def test_means_joined_to_pupils_are_found(pupils, arguments, level, cells):
    joined = pupils.assign(score=pupils.groupby(cells)["score"].transform("mean"))
    with pytest.raises(rs.DataError, match=f"does not vary within the .* units of '{level}'") as e:
        fit(joined, **arguments)
    assert "SchoolLevelModel" in e.value.localized("ru")


def test_no_likelihood_is_said_in_words(pupils):
    """Schools explain the outcome exactly beside a crossed factor; two subjects copy each other."""
    joined = pupils.assign(score=pupils.groupby("school_id")["score"].transform("mean"))
    twice = pd.concat([pupils.assign(subject="МА"), pupils.assign(subject="РУ")])
    structure = rs.Structure(outcome_group="subject", unit="pupil_key")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(rs.SpecificationError, match="the likelihood of the model cannot be"):
            fit(joined, "score ~ 1", group=None, crossed=["primary_id", "school_id"])
        with pytest.raises(rs.SpecificationError, match="no subject or column is a copy"):
            fit(twice, f"{FORMULA} + C(subject)", structure=structure)


@pytest.mark.parametrize("value", [4.0, 3.7])
@pytest.mark.parametrize("crossed", [None, ["primary_id"]])
def test_a_constant_outcome_is_called_constant(pupils, value, crossed):
    given = {} if crossed is None else {"crossed": crossed}
    with pytest.raises(rs.DataError, match="outcome 'score' is the same in all 600 rows"):
        fit(pupils.assign(score=value), **given)


def test_a_singular_level_says_what_is_singular(pupils):
    """In every school the same slope: its variance is at zero, that of the intercepts is not."""
    level = pupils.copy()
    for _, rows in pupils.groupby("school_id"):
        x = rows["prior_score"] - rows["prior_score"].mean()
        own = float(x @ rows["score"]) / float(x @ x)
        level.loc[rows.index, "score"] += (0.6 - own) * x
    with pytest.warns(rs.WeakDataWarning) as caught:
        va = fit(level, slopes="prior_score", structure=DIAGONAL)
    variances = va.variance_components.set_index("term")["variance"]
    assert variances["prior_score"] == 0.0 < variances["Intercept"]
    said = [w.message for w in caught if "'school_id'" in str(w.message)]
    assert "the variance of 'prior_score' is zero" in str(said[0])
    assert "остальных эффектов уровня это не касается" in said[0].localized("ru")
