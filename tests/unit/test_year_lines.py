"""Effects by year and forecasts: what the tables say of gaps, sizes and kinds of models."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names

pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")


def pupils(seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    school = rng.integers(0, 24, size=1100)
    origin = rng.integers(0, 11, size=len(school))
    year = rng.integers(2021, 2025, size=len(school))
    prior = rng.normal(size=len(school))
    effect = 0.5 * rng.normal(size=(24, 1)) + 0.3 * rng.normal(size=(24, 4))
    data = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "origin": [f"P{k:02d}" for k in origin],
            "town": [f"T{k % 11}" for k in school],
            "year": year,
            "prior_score": prior,
            "weight": 1.0,
            "score": 0.5 * prior
            + effect[school, year - 2021]
            + 0.5 * rng.normal(size=11)[origin]
            + rng.normal(size=len(school)),
        }
    )
    gap = (data["school_id"] == "S03") & (data["year"] == 2024)
    return data[~gap].reset_index(drop=True)


def model(**shape):
    return rs.ValueAddedModel(
        "score ~ prior_score", **({"group": "school_id", "time": "year"} | shape)
    )


@pytest.fixture(scope="module")
def fits():
    data = pupils()
    cells = data.groupby(["school_id", "year"], as_index=False).agg(
        mean_score=("score", "mean"), prior=("prior_score", "mean"), n=("score", "size")
    )
    cells["variance"] = 1.0 / cells["n"]
    means = {"time": "year"}
    return {
        "years": model().fit(data),
        "ar1": model(structure=rs.Structure(drift="ar1")).fit(data),
        "slopes": model(slopes="prior_score").fit(data),
        "towns": model(group=["town", "school_id"]).fit(data),
        "crossed": model(crossed=["origin"]).fit(data),
        "means": rs.SchoolLevelModel("mean_score ~ prior", n="n", sd=1.0, **means).fit(cells),
        "variances": rs.SchoolLevelModel("mean_score ~ prior", variance="variance", **means).fit(
            cells
        ),
    }


NAMES = ["years", "ar1", "slopes", "towns", "crossed", "means", "variances"]


@pytest.mark.parametrize("name", NAMES)
def test_lines_are_the_targets_of_single_years(fits, name):
    va = fits[name]
    lines = va.year_effects(level=0.9)
    assert len(lines) == 24 * 5
    for year in (2021, 2024):
        rows = lines[lines["year"] == year].reset_index(drop=True)
        target = va.predict_effects({year: 1.0})
        np.testing.assert_allclose(rows["effect"], target["effect"])
        np.testing.assert_allclose(rows["std_error"], target["std_error"])
    coming = lines[lines["is_forecast"]].reset_index(drop=True)
    assert (coming["year"] == 2025).all()
    table = va.forecast(level=0.9)
    np.testing.assert_allclose(coming["predictive_high"], table["predictive_high"])
    np.testing.assert_allclose(coming["effect"], va.predict_effects("next_year")["effect"])
    gap = lines[(lines["school_id"] == "S03") & (lines["year"] == 2024)].iloc[0]
    assert gap["n_pupils"] == 0
    assert np.isnan(gap["residual"])
    assert gap["effect"] != 0.0
    for one in (lines, table):
        assert not set(one.columns) - set(column_names())


def test_a_forecast_is_wider_for_a_smaller_cohort(fits):
    va = fits["years"]
    few, many, all_of_them = (va.forecast(n) for n in (3, 60, np.inf))
    sigma2 = va.variances["residual"]
    np.testing.assert_allclose(
        few["predictive_sd"] ** 2 - many["predictive_sd"] ** 2, sigma2 * (1 / 3 - 1 / 60)
    )
    np.testing.assert_allclose(
        many["predictive_sd"] ** 2 - all_of_them["predictive_sd"] ** 2, sigma2 / 60
    )
    usual = va.forecast().set_index("school_id")
    last = va.school_years.drop_duplicates("school_id", keep="last").set_index("school_id")
    np.testing.assert_array_equal(usual["n_pupils"], last["n_pupils"].loc[usual.index])
    assert usual.loc["S03", "last_results"] == 2023
    assert usual.loc["S03", "n_years"] == 3
    schools = va.school_effects["school_id"]
    by_school = va.forecast(dict.fromkeys(schools, 3))
    pd.testing.assert_frame_equal(by_school, few)
    pd.testing.assert_frame_equal(va.forecast(pd.Series(3, index=schools)), few)


def test_a_cohort_sits_all_subjects_and_counts_once():
    data = pupils().drop(columns="origin").assign(pupil_key=lambda f: np.arange(len(f)))
    noise = np.random.default_rng(4).normal(size=len(data))
    both = pd.concat(
        [data.assign(subject="МА"), data.assign(subject="РУ", score=data["score"] + noise)]
    )
    va = rs.ValueAddedModel(
        "score ~ prior_score + subject",
        group="school_id",
        time="year",
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    ).fit(both.reset_index(drop=True))
    table = va.forecast().set_index("school_id")
    last = data[data["year"] == 2024].groupby("school_id").size()
    np.testing.assert_array_equal(table["n_pupils"].drop("S03"), last)
    few, many = va.forecast(4), va.forecast(40)
    # one pupil's mean over the two subjects
    mean = va.mixed.residual_covariance.sum() / 4
    np.testing.assert_allclose(
        few["predictive_sd"] ** 2 - many["predictive_sd"] ** 2, mean * (1 / 4 - 1 / 40)
    )
    with pytest.raises(rs.SpecificationError, match="subjects are fitted jointly"):
        va.leave_year_out()


def test_years_farther_ahead_are_known_less(fits):
    for name in ("years", "ar1"):
        spreads = [fits[name].forecast(years_ahead=k)["std_error"].mean() for k in (1, 2, 6)]
        assert spreads[0] <= spreads[1] <= spreads[2]
    independent = [fits["years"].forecast(years_ahead=k)["effect"] for k in (1, 5)]
    np.testing.assert_array_equal(*independent)


def test_known_variances_keep_their_own_sampling_error(fits):
    """Without numbers of pupils a cohort's sampling variance is that of the school's past."""
    va = fits["variances"]
    table = va.forecast()
    without = va.year_posterior  # the effect's own error, read from the model's posterior
    assert without is not None
    rows = va.school_years.assign(precision=1.0 / va.school_years["sampling_variance"])
    harmonic = rows.groupby("school_id")["precision"].agg(lambda p: len(p) / p.sum())
    effect = table["std_error"] ** 2
    rest = table["predictive_sd"] ** 2 - harmonic.to_numpy()
    # what is left is the effect's error but for the coefficients, which count in another way
    np.testing.assert_allclose(rest, effect, rtol=0.25)
    with pytest.raises(rs.SpecificationError, match="no numbers of pupils"):
        va.forecast(12)


def test_years_with_data_are_those_with_weight():
    data = pupils()
    nothing = (data["school_id"] == "S05") & (data["year"] == 2022)
    for structure in (
        rs.Structure(weights="weight"),
        rs.Structure(weights="weight", drift="ar1"),
    ):
        va = model(structure=structure).fit(data.assign(weight=np.where(nothing, 0.0, 1.0)))
        n_years = va.school_effects.set_index("school_id")["n_years"]
        assert n_years["S05"] == 3
        assert n_years["S06"] == 4
        assert va.forecast().set_index("school_id").loc["S05", "n_years"] == 3
        rows = va.leave_year_out().set_index(["school_id", "year"])
        assert rows.loc[("S05", 2022), "n_pupils"] == 0


def test_a_school_of_one_year_is_kept_everywhere():
    data = pupils()
    data = data[(data["school_id"] != "S07") | (data["year"] == 2021)]
    va = model().fit(data)
    rows = va.leave_year_out().set_index(["school_id", "year"])
    own = rows.loc[("S07", 2021)]
    assert (own["effect"], own["n_years"]) == (pytest.approx(0.0, abs=1e-12), 0)
    assert own["reliability"] == pytest.approx(0.0, abs=1e-12)
    assert rows.loc[("S07", 2024), "effect"] != 0.0
    assert "S07" in set(va.forecast()["school_id"])


def test_years_that_are_words_have_no_row_of_a_year_to_come(fits):
    words = model().fit(pupils().assign(year=lambda f: "spring " + f["year"].astype(str)))
    lines = words.year_effects()
    assert not lines["is_forecast"].any()
    assert len(words.forecast()) == 24
    np.testing.assert_allclose(
        words.leave_year_out()["effect"], fits["years"].leave_year_out()["effect"]
    )


def one_year_out(name):
    return lambda fits: fits[name].leave_year_out()


CASES = {
    "no years": (
        lambda f: (
            rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(pupils()).forecast()
        ),
        rs.SpecificationError,
        ["no year level", "time="],
    ),
    "no years to leave out": (
        lambda f: (
            rs.ValueAddedModel("score ~ prior_score", group="school_id")
            .fit(pupils())
            .leave_year_out()
        ),
        rs.SpecificationError,
        ["no year level"],
    ),
    "no years to draw": (
        lambda f: (
            rs.ValueAddedModel("score ~ prior_score", group="school_id")
            .fit(pupils())
            .year_effects()
        ),
        rs.SpecificationError,
        ["no year level"],
    ),
    "a single year": (
        lambda f: model(structure=rs.Structure(drift="ar1")).fit(pupils().query("year == 2022")),
        rs.DataError,
        ["'year'", "2022"],
    ),
    "two years for ar1": (
        lambda f: model(structure=rs.Structure(drift="ar1")).fit(pupils().query("year < 2023")),
        rs.SpecificationError,
        ["add a year", "drift='unstructured'"],
    ),
    "a single year, unstructured": (
        lambda f: model(structure=rs.Structure(drift="unstructured")).fit(
            pupils().query("year == 2022")
        ),
        rs.DataError,
        ["'year'", "2022"],
    ),
    "a year outside the data": (
        lambda f: f["slopes"].predict_effects({2030: 1.0}),
        rs.SpecificationError,
        ["2030", "2021, 2022, 2023, 2024"],
    ),
    "an unstructured future": (
        lambda f: model(structure=rs.Structure(drift="unstructured")).fit(pupils()).forecast(),
        rs.SpecificationError,
        ["unstructured", "drift='ar1'"],
    ),
    "crossed years": (one_year_out("crossed"), rs.SpecificationError, ["cross", "other years"]),
    "drift beside slopes": (
        lambda f: (
            model(slopes="prior_score", structure=rs.Structure(drift="ar1"))
            .fit(pupils())
            .leave_year_out()
        ),
        rs.SpecificationError,
        ["drift beside slopes"],
    ),
    "a correlation beside slopes": (
        lambda f: f["slopes"].leave_year_out(lag_correlation=0.4),
        rs.SpecificationError,
        ["slopes, outer levels"],
    ),
    "a correlation beside drift": (
        lambda f: f["ar1"].leave_year_out(lag_correlation=0.4),
        rs.SpecificationError,
        ["0.4", "lag_correlation"],
    ),
    "a correlation of one": (
        lambda f: f["years"].leave_year_out(lag_correlation=1.0),
        rs.DataError,
        ["1.0"],
    ),
    "no pupils": (lambda f: f["years"].forecast(0), rs.SpecificationError, ["is 0", "positive"]),
    "pupils in words": (
        lambda f: f["years"].forecast("many"),
        rs.SpecificationError,
        ["n_pupils", "'many'"],
    ),
    "an unknown school": (
        lambda f: f["years"].forecast({"S99": 5}),
        rs.DataError,
        ["S99", "1 school "],
    ),
    "missing schools": (
        lambda f: f["years"].forecast({"S01": 5}),
        rs.DataError,
        ["23 schools", "S00"],
    ),
    "a school without pupils": (
        lambda f: f["years"].forecast(
            dict.fromkeys(f["years"].school_effects["school_id"], 5) | {"S04": -2}
        ),
        rs.SpecificationError,
        ["-2", "S04"],
    ),
    "a school twice": (
        lambda f: f["years"].forecast(pd.Series([5, 6], index=["S01", "S01"])),
        rs.DataError,
        ["S01", "more than once"],
    ),
    "a level above one": (lambda f: f["years"].forecast(level=1.2), rs.SpecificationError, ["1.2"]),
    "a past year": (
        lambda f: f["years"].forecast(years_ahead=0),
        rs.SpecificationError,
        ["years_ahead", "0"],
    ),
    "loadings of means": (
        lambda f: f["means"].loading(0),
        rs.SpecificationError,
        ["SchoolLevelResults"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_told_is_said(fits, name):
    act, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        act(fits)
    for word in words:
        assert word in str(caught.value)
    assert re.search("[а-яё]{3}", caught.value.localized("ru"))


def test_counts_of_marks_say_what_they_lack():
    rng = np.random.default_rng(3)
    rows = [(f"S{s:02d}", y, "ОГЭ-РУ", 0, 0, 0, 0) for s in range(14) for y in (2021, 2022, 2023)]
    keys = ["school_id", "year", "procedure"]
    counts = pd.DataFrame(rows, columns=[*keys, "n_2", "n_3", "n_4", "n_5"])
    marks = ["n_2", "n_3", "n_4", "n_5"]
    counts[marks] = rng.multinomial(24, [0.2, 0.35, 0.3, 0.15], size=len(counts)) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        va = rs.OrdinalSchoolModel("~ 1", group="school_id", time="year").fit(counts)
    assert "mse" in va.predict_effects("last_year")
    lines = va.year_effects(forecast=False)
    last = lines[lines["year"] == 2023].reset_index(drop=True)
    np.testing.assert_allclose(last["effect"], va.predict_effects("last_year")["effect"])
    for act in (va.forecast, va.leave_year_out, va.year_effects):
        with pytest.raises(rs.SpecificationError, match="OrdinalSchoolResults"):
            act()
