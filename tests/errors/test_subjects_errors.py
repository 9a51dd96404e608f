"""What bad input gets from a joint model of subjects: culprit, rule, value, way out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import DataError, SpecificationError
from resilience.value_added.effects.subjects import (
    composite_effects,
    subject_covariance,
    subject_effects,
)
from resilience.value_added.pupils.shared_pass import SharedPass

FORMULA = "score ~ C(subject) * prior_score"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(6)
    n_schools, n = 14, 12
    effects = rng.multivariate_normal([0, 0], [[0.3, 0.1], [0.1, 0.3]], size=n_schools)
    pupil = np.arange(n_schools * n)
    school = pupil // n
    frames = [
        pd.DataFrame(
            {
                "pupil_key": [f"P{k:04d}" for k in pupil],
                "school_id": [f"S{k:02d}" for k in school],
                "municipality_id": [f"M{k % 3}" for k in school],
                "year": 2023 + pupil % 2,
                "subject": subject,
                "prior_score": rng.normal(size=len(pupil)),
                "score": effects[school, s] + rng.normal(size=len(pupil)),
            }
        )
        for s, subject in enumerate(["maths", "reading"])
    ]
    return pd.concat(frames, ignore_index=True)


def fit(data, formula=FORMULA, *, group="school_id", time=None, slopes=None, **structure):
    given = {"outcome_group": "subject", "unit": "pupil_key", **structure}
    model = rs.ValueAddedModel(
        formula, group=group, time=time, slopes=slopes, structure=rs.Structure(**given)
    )
    return model.fit(data)


def both(caught) -> tuple[str, str]:
    words = caught.value.args[0]
    return str(words), words.ru


def test_one_subject(data):
    with pytest.raises(DataError, match=r"'subject' holds one subject \('maths'\)") as caught:
        fit(data[data["subject"] == "maths"], "score ~ prior_score")
    assert "один предмет" in both(caught)[1]


def test_a_gap_in_the_subject_is_counted(data):
    gaps = data.copy()
    gaps.loc[gaps.index[:3], "subject"] = None
    with pytest.raises(DataError, match=r"'subject': 3"):
        fit(gaps)


def test_no_such_column(data):
    with pytest.raises(DataError, match="procedure"):
        fit(data, outcome_group="procedure")


def test_a_pupil_twice_in_a_subject(data):
    twice = pd.concat([data, data.iloc[:5]], ignore_index=True)
    with pytest.raises(DataError, match="5 results stand twice") as caught:
        fit(twice)
    assert "повторных результатов: 5" in both(caught)[1]


def test_a_pupil_of_two_years_needs_the_time(data):
    later = data.assign(year=data["year"] + 2)
    with pytest.raises(DataError, match="time="):
        fit(pd.concat([data, later], ignore_index=True))


def test_a_pupil_in_two_schools(data):
    moved = data.copy()
    moved.loc[moved.index[:1], "school_id"] = "S09"
    with pytest.raises(DataError, match="1 pupils stand in two units of 'school_id'"):
        fit(moved)


def test_two_subjects_that_no_pupil_sat_both(data):
    first = data["year"] == 2023  # every other pupil
    apart = data[first == (data["subject"] == "maths")]
    with pytest.raises(DataError, match="both 'maths' and 'reading'") as caught:
        fit(apart)
    assert "Structure.unit" in both(caught)[1]
    fit(apart, unit=None)  # without a tie to estimate the model stands


def test_a_subject_without_spread(data):
    flat = data.copy()
    flat.loc[flat["subject"] == "reading", "score"] = 4.0
    with pytest.raises(DataError, match=r"168 results of subject 'reading' are the same \(4\)"):
        fit(flat)


def test_a_subject_with_fewer_results_than_coefficients(data):
    few = data[(data["subject"] == "maths") | (data.groupby("subject").cumcount() < 4)]
    with pytest.raises(DataError, match="'reading' has 4 results for 4 coefficients"):
        fit(few, unit=None)


def test_a_fixed_part_that_reproduces_a_subject(data):
    exact = data.copy()
    reading = exact["subject"] == "reading"
    exact.loc[reading, "score"] = 2.0 + 3.0 * exact.loc[reading, "prior_score"]
    with pytest.raises(SpecificationError, match="reproduces all results of subject 'reading'"):
        fit(exact)


def test_levels_of_a_mapping(data):
    with pytest.raises(SpecificationError, match=r"names the level 'school'.*school_id"):
        fit(data, outcome_group={"school": "subject"})
    with pytest.raises(SpecificationError, match="must hold the school level 'school_id'"):
        fit(
            data,
            group=["municipality_id", "school_id"],
            outcome_group={"municipality_id": "subject"},
        )
    with pytest.raises(SpecificationError, match="one column of subjects"):
        rs.Structure(outcome_group={"school_id": "subject", "municipality_id": "year"})


def test_a_year_column_with_one_value(data):
    with pytest.raises(DataError, match="year"):
        fit(data.assign(year=2024), time="year")


def test_an_unknown_slope(data):
    with pytest.raises(SpecificationError, match="ses"):
        fit(data, slopes="ses")


def test_collinear_terms_are_named(data):
    with pytest.raises(SpecificationError, match="twin"):
        fit(data.assign(twin=2.0 * data["prior_score"]), "score ~ C(subject) + prior_score + twin")


def test_weights_of_a_composite(data):
    va = fit(data)
    with pytest.raises(SpecificationError, match=r"add up to 1, not 1\.5") as caught:
        composite_effects(va, {"maths": 1.0, "reading": 0.5})
    assert "1.5" in both(caught)[1]
    with pytest.raises(SpecificationError, match=r"no such subject.*physics"):
        composite_effects(va, {"physics": 1.0})
    with pytest.raises(SpecificationError, match="level"):
        subject_effects(va, level=1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(data, value):
    with pytest.raises(SpecificationError, match=r"weights\['maths'\] is (nan|inf)") as caught:
        composite_effects(fit(data), {"maths": value, "reading": 1.0})
    assert "maths" in both(caught)[1]


def test_no_weights_add_up_to_nothing(data):
    with pytest.raises(SpecificationError, match="not 0"):
        composite_effects(fit(data), {})


@pytest.mark.parametrize("table", [subject_effects, composite_effects, subject_covariance])
def test_a_model_of_one_outcome_has_no_subjects(data, table):
    va = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(data)
    with pytest.raises(SpecificationError, match="outcome_group"):
        table(va)


def test_a_pass_shared_by_several_formulas_has_one_residual_variance(data):
    structure = rs.Structure(outcome_group="subject")
    model = rs.ValueAddedModel(FORMULA, group="school_id", structure=structure)
    shared = SharedPass.read(model, data, {"a": FORMULA})
    with pytest.raises(SpecificationError, match="outcome_group") as caught:
        shared.fit("a")
    assert "ValueAddedModel.fit" in both(caught)[1]


def test_a_table_that_is_none(data):
    structure = rs.Structure(outcome_group="subject")
    model = rs.ValueAddedModel(FORMULA, group="school_id", structure=structure)
    with pytest.raises(SpecificationError, match="of type dict"):
        model.fit({"score": [1.0]})


def test_strata_beyond_memory_say_how_much(monkeypatch, data):
    monkeypatch.setattr("resilience.stats.strata.strata._LARGEST", 1e-6)
    with pytest.raises(SpecificationError, match=r"the first 1 pairs .* more than 1e-06 GB"):
        fit(data)


def test_an_outcome_that_was_not_standardised_is_legal(data):
    raw = data.copy()
    raw.loc[raw["subject"] == "reading", "score"] = 50 + 10 * raw["score"]
    va = fit(raw)
    variances = subject_covariance(va)
    assert variances.loc[variances["group"] == "residual", "covariance"].max() > 50
