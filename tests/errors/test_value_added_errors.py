"""What bad input gets: culprit, rule, value and way out, in both languages.

Every case of the method specification's section 8 stands here; each entry names the words that
the English message must hold (culprit, value seen, way out) and a culprit for the Russian one.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs

FORMULA = "score ~ prior_score + ses"


def region(n_schools=12, per_school=10):
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(n_schools), per_school)
    n = len(school)
    prior, ses = rng.normal(size=n), rng.normal(size=n)
    return pd.DataFrame(
        {
            "pupil_key": [f"P{k:03d}" for k in range(n)],
            "school_id": [f"S{k:02d}" for k in school],
            "municipality_id": [f"M{k % 4}" for k in school],
            "year": np.tile([2023, 2024], n // 2),
            "subject": "RU",
            "prior_score": prior,
            "ses": ses,
            "sex": rng.choice(["boy", "girl"], size=n),
            "weight": 1.0,
            "score": 0.5 * prior
            + 0.2 * ses
            + 0.5 * rng.normal(size=n_schools)[school]
            # leaves something for every level of the models below
            + 0.3 * rng.normal(size=n_schools * 2)[2 * school + np.tile([0, 1], n // 2)]
            + rng.normal(size=n),
        }
    )


def changed(column, rows, value):
    """Return the region with a few cells overwritten."""
    frame = region()
    kind = object if isinstance(value, str) else frame[column].dtype
    frame[column] = frame[column].astype(kind)
    frame.loc[rows, column] = value
    return frame


def fit(frame=None, formula=FORMULA, *, group="school_id", method="reml", **specification):
    model = rs.ValueAddedModel(formula, group=group, **specification)
    return model.fit(region() if frame is None else frame, method=method)


def moved():
    """Pupils 60 to 64 of S06 (M2) stand in another municipality."""
    return changed("municipality_id", range(60, 63), "M9")


def repeated():
    frame = region()
    return pd.concat([frame, frame.iloc[[3, 5, 7, 11, 13, 17, 19]]], ignore_index=True)


UNIT = rs.Structure(unit="pupil_key")
NAN_AND_INF = {
    "ses": changed("ses", [0, 15], np.nan),
    "both": changed("ses", [0, 15], np.nan).assign(
        prior_score=lambda f: f["prior_score"].where(f.index != 25, np.inf)
    ),
    "group": changed("school_id", [4, 40], None),
    "outcome": changed("score", [119], -np.inf),
}

# name: (what is done, error, words of the English message, culprit in the Russian one)
CASES = {
    "unknown column": (
        lambda: fit(formula="score ~ prior_skore + ses"),
        rs.DataError,
        ["data has no column 'prior_skore'", "nearest names", "prior_score", "rename the column"],
        "prior_skore",
    ),
    "unknown column inside a function": (
        lambda: fit(formula="score ~ poly(prior_skore, 2) + ses"),
        rs.DataError,
        ["no column 'prior_skore'", "prior_score"],
        "prior_skore",
    ),
    "unknown group": (
        lambda: fit(group="school"),
        rs.DataError,
        ["no column 'school'", "school_id"],
        "school",
    ),
    "text as outcome": (
        lambda: fit(changed("score", [0], "four")),
        rs.DataError,
        ["column 'score' must be numeric but is object", "convert it"],
        "score",
    ),
    "boolean outcome": (
        lambda: fit(region().assign(score=lambda f: f["score"] > 0)),
        rs.DataError,
        ["column 'score' must be numeric but is bool", "no booleans"],
        "score",
    ),
    "constant column": (
        lambda: fit(region().assign(ses=3.0)),
        rs.SpecificationError,
        ["'ses'", "constant or linear combinations", "drop them"],
        "ses",
    ),
    "constant text column": (
        lambda: fit(formula="score ~ prior_score + C(subject)"),
        rs.SpecificationError,
        ["'C(subject)'", "constant or linear combinations", "drop them"],
        "C(subject)",
    ),
    "collinear column": (
        lambda: fit(
            region().assign(twice=lambda f: 2 * f["ses"] - 7 + f["prior_score"]),
            FORMULA + " + twice",
        ),
        rs.SpecificationError,
        ["'twice'", "linear combinations of the others", "drop them"],
        "twice",
    ),
    "missing group ids": (
        lambda: fit(NAN_AND_INF["group"]),
        rs.DataError,
        ["missing or infinite", "'school_id': 2", "rows: 4, 40", "drop or impute"],
        "school_id",
    ),
    "missing values": (
        lambda: fit(NAN_AND_INF["ses"]),
        rs.DataError,
        ["'ses': 2", "school_id: 2; S00, S01", "drop or impute", "Intake(missing=...)"],
        "ses",
    ),
    "missing and infinite values, by column": (
        lambda: fit(NAN_AND_INF["both"]),
        rs.DataError,
        ["'prior_score': 1; 'ses': 2", "school_id: 3; S00, S01, S02"],
        "prior_score",
    ),
    "infinite outcome": (
        lambda: fit(NAN_AND_INF["outcome"]),
        rs.DataError,
        ["'score': 1", "school_id: 1; S11"],
        "score",
    ),
    "missing values behind a transformation": (
        lambda: fit(NAN_AND_INF["ses"], "score ~ center(ses)"),
        rs.DataError,
        ["'ses': 2", "S00, S01"],
        "ses",
    ),
    "infinite values are not gaps to be filled": (
        lambda: fit(changed("prior_score", [25], np.inf), intake=rs.Intake(missing="drop")),
        rs.DataError,
        ["'prior_score': 1", "S02"],
        "prior_score",
    ),
    "one school": (
        lambda: fit(region(n_schools=1, per_school=40), group="school_id"),
        rs.DataError,
        ["column 'school_id' has 1 group(s)", "at least 2", "widen the data or drop the level"],
        "school_id",
    ),
    "school in two municipalities": (
        lambda: fit(moved(), group=["municipality_id", "school_id"]),
        rs.DataError,
        ["school_id S06", "more than one municipality_id", "M2, M9", "correct the table"],
        "S06",
    ),
    "duplicate pupil by year by subject": (
        lambda: fit(repeated(), time="year", structure=UNIT),
        rs.DataError,
        [
            "key pupil_key × year × subject repeats in 7 rows",
            "first: P003/2024/RU; P005/2024/RU; P007/2024/RU; keep",
            "keep one row per key",
        ],
        "P007/2024/RU",
    ),
    "prior equal to the outcome": (
        lambda: fit(region().assign(prior_score=lambda f: f["score"])),
        rs.DataError,
        ["covariate 'prior_score' is identical to outcome 'score'", "name the right column"],
        "prior_score",
    ),
    "prior a multiple of the outcome": (
        lambda: fit(region().assign(prior_score=lambda f: 10 + 3 * f["score"])),
        rs.SpecificationError,
        ["reproduces outcome 'score' exactly", "drop the copy"],
        "score",
    ),
    "outcome on both sides": (
        lambda: fit(formula="score ~ prior_score + score"),
        rs.SpecificationError,
        ["outcome 'score' also stands on the right-hand side", "remove it"],
        "score",
    ),
    "one year": (
        lambda: fit(region().assign(year=2024), time="year"),
        rs.DataError,
        ["time column 'year' has the single value 2024", "leave time out or add a year"],
        "2024",
    ),
    "one year in each school": (
        lambda: fit(
            region().assign(year=lambda f: 2023 + (f["school_id"] > "S05").astype(int)),
            time="year",
        ),
        rs.DataError,
        ["no school has two values of 'year'", "leave time out"],
        "year",
    ),
    "negative weights": (
        lambda: fit(changed("weight", [0, 1, 15], -1.0), structure=rs.Structure(weights="weight")),
        rs.DataError,
        ["column 'weight' must be at least 0", "3 are negative", "school_id: 2; S00, S01"],
        "weight",
    ),
    "weights all zero": (
        lambda: fit(region().assign(weight=0.0), structure=rs.Structure(weights="weight")),
        rs.DataError,
        ["column 'weight'", "not all 0", "the largest is 0"],
        "weight",
    ),
    "weights in words": (
        lambda: fit(structure=rs.Structure(weights="sex")),
        rs.DataError,
        ["column 'sex' must be numeric"],
        "sex",
    ),
    "formula without a tilde": (
        lambda: fit(formula="score prior_score"),
        rs.SpecificationError,
        ["'score prior_score'", "outcome ~ terms", "write for instance"],
        "score prior_score",
    ),
    "formula without an outcome": (
        lambda: fit(formula="~ prior_score"),
        rs.SpecificationError,
        ["'~ prior_score'", "one plain column on the left"],
        "~ prior_score",
    ),
    "formula with two outcomes": (
        lambda: fit(formula="score + ses ~ prior_score"),
        rs.SpecificationError,
        ["one plain column on the left"],
        "score + ses",
    ),
    "formula with two right-hand sides": (
        lambda: fit(formula="score ~ prior_score | ses"),
        rs.SpecificationError,
        ["'score ~ prior_score | ses'", "outcome ~ terms"],
        "prior_score | ses",
    ),
    "formula with an open bracket": (
        lambda: fit(formula="score ~ poly(prior_score, 2"),
        rs.SpecificationError,
        ["cannot be read", "check brackets"],
        "poly(prior_score, 2",
    ),
    "formula that is no text": (
        lambda: fit(formula=7),
        rs.SpecificationError,
        ["formula 7", "outcome ~ terms"],
        "7",
    ),
    "logarithm of a negative": (
        lambda: fit(formula="score ~ np.log(ses)"),
        rs.DataError,
        ["'np.log(ses)'", "null values", "check functions"],
        "np.log(ses)",
    ),
    "logarithm of zero": (
        lambda: fit(region().assign(ses=lambda f: f["ses"].clip(lower=0)), "score ~ np.log(ses)"),
        rs.DataError,
        ["'np.log(ses)'", "missing or infinite in", "rows", "change the transformation"],
        "np.log(ses)",
    ),
    "slope that is not in the formula": (
        lambda: fit(slopes="sex"),
        rs.SpecificationError,
        ["slope term(s) sex", "terms are: prior_score, ses", "or add it to the formula"],
        "sex",
    ),
    "slopes of an unknown level": (
        lambda: fit(slopes={"class": ["ses"]}),
        rs.SpecificationError,
        ["slopes name the level 'class'", "school_id"],
        "class",
    ),
    "covariance of an unknown level": (
        lambda: fit(structure=rs.Structure(covariance={"schol_id": "diagonal"})),
        rs.SpecificationError,
        ["Structure.covariance is 'schol_id'", "use one of 'school_id'"],
        "schol_id",
    ),
    "unknown covariance": (
        lambda: rs.Structure(covariance={"school_id": "spherical"}),
        rs.SpecificationError,
        ["Structure.covariance['school_id'] is 'spherical'", "'unstructured', 'diagonal'"],
        "spherical",
    ),
    "the same level twice": (
        lambda: fit(group=["school_id", "school_id"]),
        rs.SpecificationError,
        ["column 'school_id' stands twice", "a column of its own"],
        "school_id",
    ),
    "no group": (
        lambda: rs.ValueAddedModel(FORMULA).fit(region()),
        rs.SpecificationError,
        ["group is not set", "group='school_id'"],
        "group",
    ),
    "a factor named twice": (
        lambda: fit(crossed=["school_id", "municipality_id"]),
        rs.SpecificationError,
        ["'school_id' stands twice among group, crossed, members and time"],
        "school_id",
    ),
    "members without weights": (
        lambda: fit(members="teacher_id"),
        rs.SpecificationError,
        ["members is str", "must be a Membership", "weight=["],
        "Membership",
    ),
    "unknown method": (
        lambda: fit(method="ols"),
        rs.SpecificationError,
        ["method is 'ols'", "use one of 'reml', 'ml'"],
        "ols",
    ),
    "empty table": (
        lambda: fit(region().head(0)),
        rs.DataError,
        ["data is empty (0 rows)", "at least one row"],
        "data",
    ),
    "more terms than rows": (
        lambda: fit(region().iloc[[0, 1, 10]]),
        rs.SpecificationError,
        ["3 coefficients for 3 rows", "drop terms or add rows"],
        "3",
    ),
    "unknown composition": (
        lambda: rs.Intake(composition={"ses": "median"}),
        rs.SpecificationError,
        ["Intake.composition['ses'] is 'median'", "'latent', 'mean', 'leave_one_out'"],
        "median",
    ),
    "unknown way with gaps": (
        lambda: rs.Intake(missing="guess"),
        rs.SpecificationError,
        ["Intake.missing is 'guess'", "'raise', 'drop', 'indicator'"],
        "guess",
    ),
    "composition of text": (
        lambda: fit(intake=rs.Intake(composition={"sex": "latent"})),
        rs.DataError,
        ["column 'sex' must be numeric"],
        "sex",
    ),
    "composition without differences between schools": (
        lambda: fit(
            region().assign(ses=np.tile(np.linspace(-1, 1, 10), 12)),
            intake=rs.Intake(composition={"ses": "latent"}),
        ),
        rs.DataError,
        ["Intake.composition", "'ses'", "variance between schools 0", "leave it out"],
        "ses",
    ),
    "composition over a column of the table": (
        lambda: fit(region().assign(ses_mean=1.0), intake=rs.Intake(composition={"ses": "mean"})),
        rs.DataError,
        ["would add column 'ses_mean'", "already has it", "rename"],
        "ses_mean",
    ),
    "standardising a cell without spread": (
        lambda: fit(intake=rs.Intake(standardize_by=["pupil_key"])),
        rs.DataError,
        ["within pupil_key", "cell P000 has no spread", "merge or drop"],
        "P000",
    ),
    "standardising a prior that is not used": (
        lambda: fit(intake=rs.Intake(standardize_by=["year"], prior=["entry_score"])),
        rs.SpecificationError,
        ["Intake.prior names 'entry_score'", "prior_score, ses"],
        "entry_score",
    ),
    "standardising by an unknown column": (
        lambda: fit(intake=rs.Intake(standardize_by=["grade"])),
        rs.DataError,
        ["no column 'grade'"],
        "grade",
    ),
    "augmenting an unseen category": (
        lambda: fit(formula="score ~ ses + sex").augment(changed("sex", [0], "unknown")),
        rs.DataError,
        ["column 'sex'", "unknown (known: boy, girl)", "correct them or fit the model anew"],
        "unknown",
    ),
    "augmenting a table without the school": (
        lambda: fit().augment(region().drop(columns="school_id")),
        rs.DataError,
        ["no column 'school_id'"],
        "school_id",
    ),
}


# -- published means ---------------------------------------------------------------------------


def means(**columns):
    rng = np.random.default_rng(2)
    school = np.repeat(np.arange(30), 3)
    n = rng.integers(5, 60, size=90)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": np.tile([2022, 2023, 2024], 30),
            "index": rng.normal(size=30)[school],
            "n_pupils": n,
            "variance": 100.0 / n,
            "mean_score": 5 * rng.normal(size=30)[school]
            + 2 * rng.normal(size=90)
            + 10 * rng.normal(size=90) / np.sqrt(n),
        }
    )
    return frame.assign(**columns)


def fit_means(frame=None, formula="mean_score ~ index", **specification):
    given = {"time": "year", "n": "n_pupils", "sd": 10.0, **specification}
    return rs.SchoolLevelModel(formula, **given).fit(means() if frame is None else frame)


def without(column, rows, value):
    frame = means()
    frame[column] = frame[column].astype(float)
    frame.loc[rows, column] = value
    return frame


CASES |= {
    "means: both ways to the variance": (
        lambda: fit_means(variance="variance"),
        rs.SpecificationError,
        ["either variance=", "or n= together with sd=", "got variance, n, sd"],
        "variance, n, sd",
    ),
    "means: no way to the variance": (
        lambda: fit_means(n=None, sd=None),
        rs.SpecificationError,
        ["either variance=", "got —"],
        "variance=",
    ),
    "means: sizes without an SD": (
        lambda: fit_means(sd=None),
        rs.SpecificationError,
        ["got n"],
        "n",
    ),
    "means: SD estimated without years": (
        lambda: fit_means(time=None, sd="estimate"),
        rs.SpecificationError,
        ["sd='estimate' needs time=", "supply sd as a number"],
        "sd='estimate'",
    ),
    "means: SD estimated from equal sizes": (
        lambda: fit_means(means(n_pupils=25), sd="estimate"),
        rs.DataError,
        ["column 'n_pupils' is 25 everywhere", "supply sd as a number"],
        "n_pupils",
    ),
    "means: negative SD": (
        lambda: fit_means(sd=-2.0),
        rs.SpecificationError,
        ["sd is -2.0", "> 0"],
        "-2.0",
    ),
    "means: unknown column of SDs": (
        lambda: fit_means(sd="estimated"),
        rs.DataError,
        ["no column 'estimated'"],
        "estimated",
    ),
    "means: zero variance": (
        lambda: fit_means(without("variance", [0, 7], 0.0), variance="variance", n=None, sd=None),
        rs.DataError,
        ["column 'variance'", "above 0", "2 are not (first: S00)"],
        "variance",
    ),
    "means: nobody tested": (
        lambda: fit_means(without("n_pupils", [4], 0.0)),
        rs.DataError,
        ["column 'n_pupils'", "at least 1", "1 are not (first: S01)", "drop such rows"],
        "n_pupils",
    ),
    "means: a missing mean": (
        lambda: fit_means(without("mean_score", [4], np.nan)),
        rs.DataError,
        ["'mean_score': 1", "school_id: 1; S01", "drop or impute"],
        "mean_score",
    ),
    "means: a repeated school-year": (
        lambda: fit_means(pd.concat([means(), means().head(2)])),
        rs.DataError,
        ["key school_id × year repeats in 2 rows", "S00/2022; S00/2023", "keep one row"],
        "S00/2022",
    ),
    "means: years without time": (
        lambda: fit_means(time=None),
        rs.DataError,
        ["key school_id repeats in 60 rows"],
        "school_id",
    ),
    "means: one year": (
        lambda: fit_means(means().query("year == 2022")),
        rs.DataError,
        ["'year' has the single value 2022"],
        "2022",
    ),
    "means: one school": (
        lambda: fit_means(means().head(3)),
        rs.DataError,
        ["'school_id' has 1 group(s)"],
        "school_id",
    ),
    "means: collinear column": (
        lambda: fit_means(means(other=lambda f: 3 - 2 * f["index"]), "mean_score ~ index + other"),
        rs.SpecificationError,
        ["'other'", "linear combinations"],
        "other",
    ),
    "means: text as outcome": (
        lambda: fit_means(formula="school_id ~ index"),
        rs.DataError,
        ["column 'school_id' must be numeric"],
        "school_id",
    ),
    "means: augmenting a table without schools": (
        lambda: fit_means().augment(means().drop(columns="school_id")),
        rs.SpecificationError,
        ["no school column 'school_id'", "90 rows"],
        "school_id",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_and_answered(name):
    action, kind, words, culprit = CASES[name]
    with pytest.raises(kind) as caught:
        action()
    english, russian = str(caught.value), caught.value.localized("ru")
    for word in words:
        assert word in english
    assert culprit in russian
    assert re.search("[а-яё]{3}", russian)
    assert "{" not in english + russian  # every placeholder was filled
    assert "; " in english or "," in english  # rule and way out are two clauses


def test_more_than_five_schools_are_counted():
    with pytest.raises(rs.DataError, match=r"school_id: 8; S00, S01, S02, S03, S04, … \(\+3\)"):
        fit(changed("ses", range(0, 80, 10), np.nan))


def test_fewer_than_ten_schools_warn():
    with pytest.warns(rs.WeakDataWarning, match="'school_id' has only 6 groups") as caught:
        fit(region(n_schools=6))
    assert "всего групп: 6" in caught[0].message.localized("ru")
    apart = region().assign(
        score=lambda f: f["score"] + 2 * f["municipality_id"].str[1:].astype(int)
    )
    with pytest.warns(rs.WeakDataWarning, match="'municipality_id' has only 4 groups"):
        fit(apart, group=["municipality_id", "school_id"])


def test_few_published_schools_warn():
    with pytest.warns(rs.WeakDataWarning, match="'school_id' has only 8 groups"):
        fit_means(means().head(24))


def test_a_variance_on_its_boundary_warns_with_its_number():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=120)
    flat = noise - np.repeat(noise.reshape(12, 10).mean(axis=1), 10)
    with pytest.warns(rs.WeakDataWarning, match="'school_id'.*variance 0 from 12 groups") as caught:
        fit(region().assign(score=flat), "score ~ 1")
    assert "вырожденная" in caught[0].message.localized("ru")


def test_a_weakly_identified_pupil_sd_warns_with_its_standard_error():
    rng = np.random.default_rng(5)
    nearly_equal = 20 + (rng.uniform(size=90) < 0.1)
    with pytest.warns(rs.WeakDataWarning) as caught:
        fit_means(means(n_pupils=nearly_equal), sd="estimate")
    assert any("pupil variance" in str(w.message) for w in caught)


def test_warnings_point_to_the_callers_line():
    with pytest.warns(rs.WeakDataWarning) as caught:
        rs.ValueAddedModel(FORMULA, group="school_id").fit(region(n_schools=6))
    assert caught[0].filename == __file__


def test_the_pupil_ids_of_london_are_found_to_repeat():
    """Method specification, section 6: a schema check must find four repeated pupils."""
    pupils = rs.load_dataset("london_exam").pupils
    key = pupils["school_id"] + "/" + pupils["student"].astype(str)
    with pytest.raises(rs.DataError, match="repeats in 4 rows") as caught:
        fit(
            pupils.assign(key=key),
            "normexam ~ standLRT",
            structure=rs.Structure(unit="key"),
        )
    assert set(re.findall(r"(\d+)/\d+", str(caught.value))) == {"43", "50", "52"}
