"""Bad means: every message names the culprit, the rule, the value and the way out, twice."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs

CYRILLIC = re.compile("[А-Яа-яЁё]{3}")
NAMES = ("math", "russian", "science")


def means(**columns):
    """Means of 20 schools, two years and three procedures."""
    rng = np.random.default_rng(1)
    rows = [(s, t, p) for s in range(20) for t in range(2) for p in range(3)]
    school, year, procedure = (np.array(column) for column in zip(*rows, strict=True))
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 10}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year + 2022,
            "procedure": np.array(NAMES)[procedure],
            "mean_score": rng.normal(size=20)[school] + rng.normal(size=len(school)),
            "prior_mean": rng.normal(size=20)[school] + rng.normal(size=len(school)),
            "n_pupils": rng.integers(4, 40, size=len(school)),
            "cohort": year,
        }
    )
    return frame.assign(variance=lambda f: 1.0 / f["n_pupils"]).assign(**columns)


def one_procedure(**columns):
    return means(**columns).query("procedure == 'math'").reset_index(drop=True)


def fit(frame=None, formula="mean_score ~ 1", **specification):
    given = {"n": "n_pupils", "sd": 1.0, "time": "year", "procedure": "procedure", **specification}
    return rs.SchoolLevelModel(formula, **given).fit(means() if frame is None else frame)


def fit_cohort(frame=None, formula="mean_score ~ 1", **specification):
    given = {"cohort_prior": "prior_mean", "within_correlation": 0.7, "procedure": None}
    data = one_procedure() if frame is None else frame
    return fit(data, formula, **(given | specification))


def changed(frame, column, rows, value):
    frame = frame.copy()
    frame[column] = frame[column].astype(object if isinstance(value, str) else float)
    frame.loc[rows, column] = value
    return frame


def pupils(**columns):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "school_id": np.repeat(["A", "B", "C", "D"], 3),
            "prior_score": rng.normal(size=12),
            "score": rng.normal(size=12),
        }
    )
    return frame.assign(**columns)


def apart():
    """Science and mathematics never meet in one school."""
    frame = means()
    even = frame["school_id"].str[1:].astype(int) % 2 == 0
    return frame[
        (even & (frame["procedure"] != "science")) | (~even & (frame["procedure"] != "math"))
    ]


CASES = {
    "a year twice": (
        lambda: fit(pd.concat([means(), means().head(2)])),
        rs.DataError,
        ["school_id × year × procedure repeats in 2 rows", "S00/2022/math", "keep one row per key"],
    ),
    "a procedure twice, years apart": (
        lambda: fit(means(), time=None),
        rs.DataError,
        ["school_id × procedure repeats in 60 rows"],
    ),
    "a year twice beside a prior": (
        lambda: fit_cohort(pd.concat([one_procedure(), one_procedure().head(1)])),
        rs.DataError,
        ["school_id × year repeats in 1 rows", "S00/2022"],
    ),
    "a school in two municipalities": (
        lambda: fit(
            changed(means(), "municipality_id", [0], "M7"), group=["municipality_id", "school_id"]
        ),
        rs.DataError,
        ["school_id S00", "more than one municipality_id (M0, M7)", "correct the table"],
    ),
    "three levels": (
        lambda: fit(group=["region", "municipality_id", "school_id"]),
        rs.SpecificationError,
        ["group names 3 levels (region, municipality_id, school_id)", "name one or two"],
    ),
    "no level": (
        lambda: fit(group=[]),
        rs.SpecificationError,
        ["group names 0 levels", "—"],
    ),
    "one column for two levels": (
        lambda: fit(group=["school_id", "school_id"]),
        rs.SpecificationError,
        ["'school_id' stands twice"],
    ),
    "one municipality": (
        lambda: fit(means(municipality_id="M0"), group=["municipality_id", "school_id"]),
        rs.DataError,
        ["'municipality_id' has 1 group(s)"],
    ),
    "one procedure": (
        lambda: fit(one_procedure()),
        rs.DataError,
        ["'procedure' has the single value math", "leave procedure out"],
    ),
    "a procedure of one row": (
        lambda: fit(changed(means(), "procedure", [0], "physics")),
        rs.DataError,
        ["'procedure'", "procedures of a single school (physics; rows: 1)", "merge the procedures"],
    ),
    "one procedure per school": (
        lambda: fit(
            means()[
                lambda f: f["procedure"] == np.array(NAMES)[f["school_id"].str[1:].astype(int) % 3]
            ]
        ),
        rs.DataError,
        ["no school has two values of 'procedure'", "leave procedure out"],
    ),
    "procedures that never meet": (
        lambda: fit(apart(), procedure=rs.Procedures("procedure", covariance="unstructured")),
        rs.DataError,
        ["no school has both math and science", "never meet: 1", "compound_symmetry"],
    ),
    "a missing procedure": (
        lambda: fit(means(procedure=lambda f: f["procedure"].where(f.index != 3))),
        rs.DataError,
        ["'procedure': 1", "school_id: 1; S00"],
    ),
    "an unknown column of procedures": (
        lambda: fit(procedure="subject"),
        rs.DataError,
        ["no column 'subject'"],
    ),
    "an unknown column of cohorts": (
        lambda: fit(procedure=rs.Procedures("procedure", cohort="klass")),
        rs.DataError,
        ["no column 'klass'"],
    ),
    "an unknown covariance": (
        lambda: rs.Procedures("procedure", covariance="diagonal"),
        rs.SpecificationError,
        ["Procedures.covariance is 'diagonal'", "'unstructured'"],
    ),
    "a correlation of one between procedures": (
        lambda: rs.Procedures("procedure", correlation=1.0),
        rs.SpecificationError,
        ["Procedures.correlation is 1.0", "[0, 1)", "within_correlation(pupils)"],
    ),
    "weights of a common effect": (
        lambda: rs.Procedures("procedure", weights={"math": 1.0}),
        rs.SpecificationError,
        ["Procedures.weights", "compound_symmetry", "drop the weights"],
    ),
    "weights of unknown procedures": (
        lambda: fit(
            procedure=rs.Procedures(
                "procedure", covariance="unstructured", weights={"physics": 1.0}
            )
        ),
        rs.SpecificationError,
        ["'physics'", "math, russian, science"],
    ),
    "negative weights": (
        lambda: rs.Procedures("p", covariance="unstructured", weights={"math": -1.0}),
        rs.SpecificationError,
        ["weights['math'] is -1.0", "≥ 0"],
    ),
    "weights of nothing": (
        lambda: rs.Procedures("p", covariance="unstructured", weights={"math": 0.0}),
        rs.SpecificationError,
        ["sum(Procedures.weights) is 0.0", "> 0"],
    ),
    "both ways to the variance": (
        lambda: fit(variance="variance"),
        rs.SpecificationError,
        ["either variance=", "got variance, n, sd"],
    ),
    "a variance of zero": (
        lambda: fit(changed(means(), "variance", [0, 9], 0.0), variance="variance", sd=None),
        rs.DataError,
        ["'variance'", "above 0", "2 are not (first: S00)"],
    ),
    "a negative variance": (
        lambda: fit(changed(means(), "variance", [9], -0.1), variance="variance", sd=None),
        rs.DataError,
        ["'variance'", "above 0", "1 are not (first: S01)"],
    ),
    "less than a pupil": (
        lambda: fit(changed(means(), "n_pupils", [6], 0.5)),
        rs.DataError,
        ["'n_pupils'", "at least 1", "1 are not (first: S01)"],
    ),
    "less than a pupil beside a variance": (
        lambda: fit(changed(means(), "n_pupils", [6], 0.0), variance="variance", sd=None),
        rs.DataError,
        ["'n_pupils'", "at least 1"],
    ),
    "a prior without a correlation": (
        lambda: fit_cohort(within_correlation=None),
        rs.SpecificationError,
        ["cohort_prior='prior_mean' is set but within_correlation is not", "[0, 1)"],
    ),
    "a correlation of one": (
        lambda: fit_cohort(within_correlation=1.0),
        rs.SpecificationError,
        ["within_correlation is 1.0", "[0, 1)"],
    ),
    "a negative correlation": (
        lambda: fit_cohort(within_correlation=-0.2),
        rs.SpecificationError,
        ["within_correlation is -0.2", "[0, 1)"],
    ),
    "a missing correlation": (
        lambda: fit_cohort(within_correlation=float("nan")),
        rs.SpecificationError,
        ["within_correlation is nan"],
    ),
    "a flag for a correlation": (
        lambda: fit_cohort(within_correlation=True),
        rs.SpecificationError,
        ["within_correlation is True"],
    ),
    "words for a correlation": (
        lambda: fit_cohort(within_correlation="high"),
        rs.SpecificationError,
        ["within_correlation is 'high'", "[0, 1)"],
    ),
    "an estimated correlation below zero": (
        lambda: fit_cohort(
            within_correlation=rs.within_correlation(pupils(score=lambda f: -f["prior_score"]))
        ),
        rs.SpecificationError,
        ["within_correlation is -1", "[0, 1)"],
    ),
    "a correlation without a prior": (
        lambda: fit(within_correlation=0.7),
        rs.SpecificationError,
        ["within_correlation is set without cohort_prior", "Procedures(correlation=...)"],
    ),
    "a prior that is not there": (
        lambda: fit_cohort(cohort_prior="prior"),
        rs.DataError,
        ["no column 'prior'", "prior_mean"],
    ),
    "a prior with gaps": (
        lambda: fit_cohort(changed(one_procedure(), "prior_mean", [0, 4], np.nan)),
        rs.DataError,
        ["'prior_mean': 2", "school_id: 2; S00, S02", "drop or impute"],
    ),
    "an infinite prior": (
        lambda: fit_cohort(changed(one_procedure(), "prior_mean", [0], np.inf)),
        rs.DataError,
        ["'prior_mean': 1"],
    ),
    "a prior of words": (
        lambda: fit_cohort(one_procedure(prior_mean="good")),
        rs.DataError,
        ["'prior_mean' must be numeric"],
    ),
    "a prior that is the outcome": (
        lambda: fit_cohort(cohort_prior="mean_score"),
        rs.SpecificationError,
        ["cohort_prior 'mean_score' is also the outcome or a covariate"],
    ),
    "a prior that copies the outcome": (
        lambda: fit_cohort(one_procedure(prior_mean=lambda f: f["mean_score"])),
        rs.DataError,
        ["'prior_mean'", "'mean_score'"],
    ),
    "a prior in the formula": (
        lambda: fit_cohort(formula="mean_score ~ prior_mean"),
        rs.SpecificationError,
        ["cohort_prior 'prior_mean' is also", "name it in cohort_prior only"],
    ),
    "a prior of several procedures": (
        lambda: fit_cohort(procedure="procedure"),
        rs.SpecificationError,
        ["cohort_prior and procedure are both set", "one procedure at a time"],
    ),
    "a prior with an estimated SD": (
        lambda: fit_cohort(sd="estimate"),
        rs.SpecificationError,
        ["sd='estimate' is set with cohort_prior", "supply sd as a number"],
    ),
    "a prior of unknown variance": (
        lambda: fit_cohort(variance="variance", n=None, sd=None),
        rs.SpecificationError,
        ["cohort_prior lacks the sampling variance", "CohortPrior(variance=...)"],
    ),
    "a prior of two variances": (
        lambda: rs.CohortPrior("prior_mean", variance="variance", sd=1.0),
        rs.SpecificationError,
        ["CohortPrior has both variance and sd"],
    ),
    "a prior of zero variance": (
        lambda: fit_cohort(
            changed(one_procedure(), "variance", [2], 0.0),
            cohort_prior=rs.CohortPrior("prior_mean", variance="variance"),
        ),
        rs.DataError,
        ["'variance'", "above 0", "1 are not (first: S01)"],
    ),
    "a prior of a negative SD": (
        lambda: fit_cohort(cohort_prior=rs.CohortPrior("prior_mean", sd=-1.0)),
        rs.SpecificationError,
        ["CohortPrior.sd is -1.0", "> 0"],
    ),
    "a prior of nobody": (
        lambda: fit_cohort(
            one_procedure(before=0), cohort_prior=rs.CohortPrior("prior_mean", n="before")
        ),
        rs.DataError,
        ["'before'", "at least 1", "40 are not (first: S00)"],
    ),
    "a prior of grade twelve": (
        lambda: rs.CohortPrior("prior_mean", grade=12),
        rs.SpecificationError,
        ["12", "11"],
    ),
    "nothing to vary": (
        lambda: rs.SchoolLevelModel("mean_score ~ 1", n="n_pupils", sd=1.0).sensitivity(means()),
        rs.SpecificationError,
        ["nothing to vary", "cohort_prior or procedure"],
    ),
    "no correlation to vary": (
        lambda: rs.SchoolLevelModel(
            "mean_score ~ 1", n="n_pupils", sd=1.0, time="year", procedure="procedure"
        ).sensitivity(means(), correlations=()),
        rs.SpecificationError,
        ["nothing to vary", "at least one correlation"],
    ),
    "a correlation to vary of one": (
        lambda: rs.SchoolLevelModel(
            "mean_score ~ 1", n="n_pupils", sd=1.0, time="year", procedure="procedure"
        ).sensitivity(means(), correlations=(0.5, 1.0)),
        rs.SpecificationError,
        ["correlations is 1.0"],
    ),
    "linked pupils: one each": (
        lambda: rs.within_correlation(pupils(school_id=[f"S{k}" for k in range(12)])),
        rs.DataError,
        ["12 pupils in 12 schools leave 0 degrees of freedom", "state the correlation"],
    ),
    "linked pupils: school means": (
        lambda: rs.within_correlation(
            pupils(prior_score=lambda f: f["school_id"].map({"A": 1.0, "B": 2.0, "C": 3, "D": 4}))
        ),
        rs.DataError,
        ["'prior_score' does not vary within schools"],
    ),
    "linked pupils: gaps": (
        lambda: rs.within_correlation(changed(pupils(), "score", [1, 5], np.nan)),
        rs.DataError,
        ["'score': 2", "school_id: 2; A, B"],
    ),
    "linked pupils: no such column": (
        lambda: rs.within_correlation(pupils(), ("prior", "score")),
        rs.DataError,
        ["no column 'prior'"],
    ),
    "linked pupils: none": (
        lambda: rs.within_correlation(pupils().head(0)),
        rs.DataError,
        ["table pupils is empty"],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_bad_input(name):
    call, kind, fragments = CASES[name]
    with pytest.raises(kind) as caught:
        call()
    english = str(caught.value)
    for fragment in fragments:
        assert fragment in english, english
    russian = caught.value.localized("ru")
    assert CYRILLIC.search(russian)
    assert russian != english
    assert "{" not in english + russian


def test_a_variance_of_zero_warns_with_its_level():
    frame = one_procedure().query("year == 2022").copy()
    rng = np.random.default_rng(3)
    frame["mean_score"] = 0.01 * rng.normal(size=len(frame))
    with pytest.warns(rs.WeakDataWarning, match="level 'school_id': a variance is zero"):
        result = fit_cohort(frame, time=None)
    assert result.convergence.singular
    assert (result.school_effects["effect"].abs() < 1e-6).all()


def test_prior_means_without_spread_warn_and_have_no_slope():
    frame = one_procedure().query("year == 2022").copy()
    rng = np.random.default_rng(4)
    frame["prior_mean"] = 0.01 * rng.normal(size=len(frame))
    frame["mean_score"] = rng.normal(size=len(frame))
    with pytest.warns(rs.WeakDataWarning, match="level 'school_id, prior_mean'"):
        result = fit_cohort(frame, time=None)
    assert "prior_mean" not in set(result.fixed_effects["term"])
    assert np.isfinite(result.school_effects["std_error"]).all()
