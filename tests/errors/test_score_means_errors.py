"""What bad scores and publications get: place, rule, value and way out, in both languages."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from resilience.data.score_means import published_means, score_means
from resilience.errors import DataError, SpecificationError


def pupils(**columns):
    frame = pd.DataFrame(
        {
            "school_id": ["S1", "S1", "S2", "S2", "S3", "S3"],
            "year": 2024,
            "procedure": "ОГЭ-РУ",
            "score": [1.0, 3, 5, 7, 4, 6],
        }
    )
    return frame.assign(**columns)


def means(**columns):
    frame = pd.DataFrame(
        {
            "school_id": ["S1", "S2", "S3"],
            "year": 2024,
            "procedure": "ОГЭ-РУ",
            "mean_score": [2.0, 6, 4],
            "n_participants": [2, 2, 1],
            "sd": [1.4, 1.4, np.nan],
        }
    )
    return frame.assign(**columns)


def publish(frame=None, **options):
    return published_means(means() if frame is None else frame, **({"sd": "sd"} | options))


HERE = "year=2024, procedure=ОГЭ-РУ"

# name: (what is done, error, words of the English message, words of the Russian one)
CASES = {
    "no such score": (
        lambda: score_means(pupils(), score="points"),
        DataError,
        ["table pupils has no column 'points'", "rename"],
        ["'points'"],
    ),
    "no such key": (
        lambda: score_means(pupils(), by=("school_id", "yeer")),
        DataError,
        ["no column 'yeer'", "year"],
        ["'yeer'"],
    ),
    "text for a score": (
        lambda: score_means(pupils(score="four")),
        DataError,
        ["column 'score' must be numeric", "convert it"],
        ["'score'"],
    ),
    "a missing score": (
        lambda: score_means(pupils(score=[1.0, np.nan, 5, 7, 4, 6])),
        DataError,
        ["'score' has 1 missing or infinite", "S1", "drop or impute"],
        ["'score'", "S1"],
    ),
    "an infinite score": (
        lambda: score_means(pupils(score=[1.0, np.inf, 5, 7, 4, 6])),
        DataError,
        ["'score' has 1 missing or infinite", "S1"],
        ["'score'"],
    ),
    "a missing year": (
        lambda: score_means(pupils(year=[2024, 2024, 2024, np.nan, 2024, 2024])),
        DataError,
        ["'year' has 1 missing", "S2"],
        ["'year'"],
    ),
    "no pupils": (
        lambda: score_means(pupils().head(0)),
        DataError,
        ["table pupils is empty", "at least one row"],
        ["pupils пуста"],
    ),
    "equal scores": (
        lambda: score_means(pupils(score=0.1)),
        DataError,
        [HERE, "all 6 pupils have the same result 0.1", "drop this procedure"],
        [HERE, "(6)", "0.1"],
    ),
    "equal scores in a table without years": (
        lambda: score_means(pupils(score=70), by="school_id"),
        DataError,
        ["whole table: all 6 pupils", "70"],
        ["вся таблица"],
    ),
    "one pupil per school": (
        lambda: score_means(pupils().iloc[::2]),
        DataError,
        [HERE, "none of the 3 school(s) has two pupils", "sd=..."],
        [HERE, "всего 3", "sd=..."],
    ),
    "scores of schools given to every pupil": (
        lambda: score_means(pupils(score=[1, 1, 2, 2, 3, 3])),
        DataError,
        [HERE, "never differ", "check the results"],
        [HERE, "не различаются"],
    ),
    "an unknown sd": (
        lambda: score_means(pupils(), sd="own"),
        SpecificationError,
        ["sd='own' is neither 'pooled' nor a finite number above 0", "0.9"],
        ["sd='own'"],
    ),
    "a negative sd": (
        lambda: score_means(pupils(), sd=-0.9),
        SpecificationError,
        ["sd=-0.9"],
        ["sd=-0.9"],
    ),
    "a flag for the sd": (
        lambda: score_means(pupils(), sd=True),
        SpecificationError,
        ["sd=True"],
        ["sd=True"],
    ),
    "no key": (
        lambda: score_means(pupils(), by=()),
        SpecificationError,
        ["by=()", "school column first"],
        ["by=()"],
    ),
    "a key twice": (
        lambda: score_means(pupils(), by=("school_id", "year", "year")),
        SpecificationError,
        ["'year', 'year'", "each once"],
        ["'year', 'year'"],
    ),
    "the score as a key": (
        lambda: score_means(pupils(), by=("school_id", "score")),
        SpecificationError,
        ["'score' is both a key in by= and a number", "name the column"],
        ["'score'"],
    ),
    "a key with the name of a result": (
        lambda: score_means(pupils(mean_score=1), by=("school_id", "mean_score")),
        SpecificationError,
        ["holds 'mean_score', which is the name of a column of the result", "rename the key"],
        ["mean_score"],
    ),
    "published: a school twice": (
        lambda: publish(pd.concat([means(), means().head(1)])),
        DataError,
        ["school_id × year × procedure repeats in 1 rows", "S1/2024/ОГЭ-РУ", "one row per key"],
        ["S1/2024/ОГЭ-РУ"],
    ),
    "published: a mean missing": (
        lambda: publish(means(mean_score=[2.0, np.nan, 4])),
        DataError,
        ["table means: column 'mean_score' has 1 missing", "S2"],
        ["'mean_score'", "S2"],
    ),
    "published: nobody": (
        lambda: publish(means(n_participants=[2, 0, 1])),
        DataError,
        ["'n_participants': 0 in school S2", "at least 1", "drop the row"],
        ["'n_participants'", "S2"],
    ),
    "published: half a pupil": (
        lambda: publish(means(n_participants=[2, 2.5, 1])),
        DataError,
        ["2.5 in school S2", "whole number"],
        ["2.5", "S2"],
    ),
    "published: numbers missing": (
        lambda: publish(means(n_participants=[2, np.nan, 1])),
        DataError,
        ["'n_participants' has 1 missing", "S2"],
        ["'n_participants'"],
    ),
    "published: an SD missing": (
        lambda: publish(means(sd=[1.4, np.nan, np.nan])),
        DataError,
        ["'sd': SD nan of 2 pupils in school S2", "supply it"],
        ["'sd'", "nan", "S2"],
    ),
    "published: a negative SD": (
        lambda: publish(means(sd=[1.4, -1.4, np.nan])),
        DataError,
        ["SD -1.4 of 2 pupils in school S2 (1 such row(s))"],
        ["-1.4", "S2"],
    ),
    "published: an SD of zero everywhere": (
        lambda: publish(means(sd=0.0)),
        DataError,
        [HERE, "SD within schools is 0"],
        [HERE],
    ),
    "published: an SD of zero as a number": (
        lambda: publish(sd=0),
        SpecificationError,
        ["sd=0 is neither a column nor a finite number above 0"],
        ["sd=0"],
    ),
    "published: text as an SD": (
        lambda: publish(means(sd="1.4")),
        DataError,
        ["column 'sd' must be numeric"],
        ["'sd'"],
    ),
    "published: no such SD": (
        lambda: publish(sd="spread"),
        DataError,
        ["no column 'spread'"],
        ["'spread'"],
    ),
    "published: one pupil each and a column of SD": (
        lambda: publish(means(n_participants=1)),
        DataError,
        [HERE, "none of the 3 school(s) has two pupils"],
        [HERE],
    ),
    "published: one pupil each and a region's SD": (
        lambda: publish(means(n_participants=1), sd=2.0, sd_of="region"),
        DataError,
        [HERE, "no school has two pupils (3 school(s))", "sd_of='school'"],
        [HERE, "sd_of='school'"],
    ),
    "published: SD of schools called the region's": (
        lambda: publish(means(sd=[1.4, 1.5, 1.4]), sd_of="region"),
        DataError,
        [HERE, "'sd' has the values 1.4, 1.5", "sd_of='school'"],
        [HERE, "1.4, 1.5"],
    ),
    "published: a region's SD missing": (
        lambda: publish(means(sd=np.nan), sd_of="region"),
        DataError,
        [HERE, "'sd' has the values nan"],
        [HERE],
    ),
    "published: a region's SD below the spread of means": (
        lambda: publish(sd=1.5, sd_of="region"),
        DataError,
        [HERE, "an SD of 1.78885", "not below the SD 1.5", "correct sd="],
        [HERE, "1.78885", "1.5"],
    ),
    "published: whose SD": (
        lambda: publish(sd_of="class"),
        SpecificationError,
        ["sd_of is 'class'", "'school', 'region'"],
        ["sd_of", "'class'"],
    ),
}


def test_the_tables_themselves_are_good():
    # otherwise every case below could fail for the wrong reason
    assert len(score_means(pupils())) == len(publish()) == 3
    assert len(publish(sd=2.0, sd_of="region")) == 3


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_and_answered(name):
    action, kind, words, russian_words = CASES[name]
    with pytest.raises(kind) as caught:
        action()
    english, russian = str(caught.value), caught.value.localized("ru")
    for word in words:
        assert word in english
    for word in russian_words:
        assert word in russian
    assert re.search("[а-яё]{3}", russian)
    assert "{" not in english + russian  # every placeholder was filled
    assert "; " in english or "," in english  # rule and way out are two clauses
