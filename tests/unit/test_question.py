"""The question a result answers: its key, its words, how it is inferred and refused."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.definitions.question import describe_data, infer_question, question_of


@pytest.mark.parametrize(
    ("question", "key", "english", "russian"),
    [
        (rs.Question("since_entry"), "since_entry", "since entry", "с.*поступления"),
        (rs.Question("since_grade", 5), "since_grade_5", "since grade 5", "с 5-го класса"),
        (
            rs.Question("since_grade"),
            "since_grade_unstated",
            "grade of the prior result not stated",
            "класс прежнего результата не указан",
        ),
        (rs.Question("last_year"), "last_year", "last year", "последний год"),
    ],
)
def test_keys_and_words(question, key, english, russian):
    assert question.key == key
    assert str(question) == key
    assert question_of(key) == question
    assert question_of(question) is question
    words = question.describe()
    assert re.search(english, words)
    assert re.search(russian, words.ru)


def test_a_grade_may_be_written_in_brackets():
    assert question_of("since_grade(11)") == rs.Question("since_grade", 11)
    assert question_of("since_grade") == rs.Question("since_grade")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: rs.Question("since_birth"), ["'since_birth'", "'since_entry'", "'last_year'"]),
        (lambda: rs.Question("since_grade", 12), ["12", "from 1 to 11"]),
        (lambda: rs.Question("since_grade", 0), ["0", "from 1 to 11"]),
        (lambda: rs.Question("since_grade", 5.0), ["5.0", "whole number"]),
        (lambda: rs.Question("since_grade", True), ["True", "whole number"]),
        (lambda: rs.Question("last_year", 5), ["'last_year'", "grade 5", "leave the grade out"]),
        (lambda: question_of("since_grade_12"), ["12", "from 1 to 11"]),
        (lambda: question_of("next_year"), ["'next_year'", "since_entry", "since_grade_5"]),
        (lambda: question_of(5), ["5", "since_entry"]),
        (lambda: rs.Intake(question="since ever"), ["'since ever'", "last_year"]),
    ],
)
def test_unknown_questions_are_refused_with_the_choices(action, words):
    with pytest.raises(rs.SpecificationError) as caught:
        action()
    for word in words:
        assert word in str(caught.value)
    assert re.search("[а-яё]{3}", caught.value.localized("ru"))


def test_inferred_from_the_prior():
    assert infer_question(["prior_score"], ["ses", "prior_score"]).key == "since_grade_unstated"
    assert infer_question(["prior_score"], ["ses"]).key == "since_entry"
    assert infer_question([], ["prior_score"]).key == "since_entry"


def test_kinds_of_data_have_words():
    kinds = ("pupils", "means", "counts", "mixture")
    assert [describe_data(kind) for kind in kinds] == list(kinds)
    assert len({describe_data(kind).ru for kind in kinds}) == 4


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(2)
    school = np.repeat(np.arange(20), 12)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": rng.normal(size=240),
            "entry": rng.normal(size=240),
            "ses": rng.normal(size=240),
            "score": rng.normal(size=240) + rng.normal(size=20)[school],
        }
    )


def test_every_result_names_its_question_and_data(pupils):
    def fit(formula, **intake):
        given = rs.Intake(**intake) if intake else None
        return rs.ValueAddedModel(formula, group="school_id", intake=given).fit(pupils)

    with_prior = fit("score ~ poly(prior_score, 2) + ses")
    assert with_prior.question == rs.Question("since_grade")
    assert fit("score ~ ses").question == rs.Question("since_entry")
    assert fit("score ~ entry", prior=["entry"]).question == rs.Question("since_grade")
    assert fit("score ~ ses", question="last_year").question == rs.Question("last_year")
    stated = fit("score ~ prior_score", question=rs.Question("since_grade", 4))
    assert stated.question.key == "since_grade_4"
    assert stated.data_kind == "pupils"
    assert stated.information == 1.0
    assert stated.information_reason is None
    row = with_prior.glance().iloc[0]
    assert row["question"] == with_prior.question.describe()
    assert row["data_kind"] == "pupils"
    assert row["information"] == 1.0
    assert "grade of the prior result not stated" in with_prior.summary()
    assert "класс прежнего результата не указан" in with_prior.summary("ru")
    assert "ученики" in with_prior.summary("ru")
    plain = stated.to_dict()
    assert plain["question"] == "since_grade_4"
    assert plain["data_kind"] == "pupils"
    assert not {"errors", "year_design"} & set(plain)
