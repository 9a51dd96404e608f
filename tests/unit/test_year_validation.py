"""Held-out years: accuracy by hand, nothing of the held-out year in the predictions."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.stats.prediction.prediction_accuracy import prediction_accuracy
from resilience.value_added.years.validation import validate_years

pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")


def test_accuracy_by_hand():
    predicted, observed = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([-1.0, 1.0, 0.0, 4.0])
    found = prediction_accuracy(predicted, observed)
    # deviations p: -1.5 -.5 .5 1.5, y: -2 0 -1 3; Σpy = 7, Σpp = 5, Σyy = 14
    assert found.slope == pytest.approx(1.4)
    assert found.correlation == pytest.approx(7 / np.sqrt(70))
    assert found.rmse == pytest.approx(np.sqrt(6 / 4))
    # errors .1, .7, -1.7, .9: Σ(pe)² = .0225 + .1225 + .7225 + 1.8225
    assert found.slope_std_error == pytest.approx(np.sqrt(2.69 * 4 / 2) / 5)
    flat = prediction_accuracy(np.zeros(4), observed)
    assert np.isnan([flat.slope, flat.correlation, flat.slope_std_error]).all()
    assert flat.rmse == pytest.approx(np.sqrt(18 / 4))
    assert np.isnan(prediction_accuracy(predicted[:2], observed[:2]).slope)
    assert np.isnan(prediction_accuracy(predicted[:0], observed[:0]).rmse)


def region(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n_schools = 40
    size = rng.integers(3, 40, size=n_schools)
    school = np.repeat(np.arange(n_schools), 5 * size)
    year = np.concatenate([np.repeat(np.arange(5), s) for s in size])
    prior = rng.normal(size=len(school))
    effect = 0.5 * rng.normal(size=(n_schools, 1)) + 0.3 * rng.normal(size=(n_schools, 5))
    data = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": 2019 + year,
            "prior_score": prior,
            "score": 0.6 * prior + effect[school, year] + 0.8 * rng.normal(size=len(school)),
        }
    )
    gone = (data["school_id"] == "S03") & (data["year"] == 2022)
    new = (data["school_id"] == "S04") & (data["year"] < 2022)
    silent = (data["school_id"] == "S05") & (data["year"] == 2021)
    return data[~gone & ~new & ~silent].reset_index(drop=True)


MODEL = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")


@pytest.fixture(scope="module")
def found():
    return validate_years(MODEL, region(), holdout=2022)


def test_predictions_are_those_of_the_years_before(found):
    data = region()
    before = MODEL.fit(data[data["year"] < 2022])
    whole = MODEL.fit(data[data["year"] <= 2022])
    rows = found.schools.set_index("school_id")
    table = before.forecast().set_index("school_id")
    np.testing.assert_allclose(rows["prediction"], table["effect"].loc[rows.index])
    came = whole.school_years.set_index(["year", "school_id"])["residual"].loc[2022]
    came = came.loc[rows.index]
    assert found.shift == pytest.approx(came.mean())
    np.testing.assert_allclose(rows["residual"], came - came.mean())
    own = before.school_years.set_index(["year", "school_id"])["residual"]
    np.testing.assert_allclose(rows["last_year_residual"], own.loc[2021].loc[rows.index])
    three = own.groupby("school_id").mean()  # three years before, of which S05 has two
    np.testing.assert_allclose(rows["three_year_mean"], three.loc[rows.index])


def test_years_after_the_held_out_one_and_its_own_results_do_not_enter(found):
    data = region()
    earlier = validate_years(MODEL, data[data["year"] <= 2022], holdout=2022)
    pd.testing.assert_frame_equal(earlier.accuracy, found.accuracy)
    changed = data.assign(score=data["score"] + 2.0 * (data["year"] == 2022))
    other = validate_years(MODEL, changed, holdout=2022)
    np.testing.assert_array_equal(other.schools["prediction"], found.schools["prediction"])


def test_schools_that_cannot_be_compared_are_named_with_the_reason(found):
    reasons = dict(found.left_out.itertuples(index=False, name=None))
    assert {k: str(v) for k, v in reasons.items()} == {
        "S03": "no results in the held-out year",
        "S04": "no results before the held-out year",
        "S05": "no results in the year before the held-out one",
    }
    assert "отложенного" in reasons["S04"].ru
    assert len(found.schools) == 37


def test_bands_add_up(found):
    ours = found.accuracy[found.accuracy["predictor"] == "prediction"].set_index("cohort_size")
    assert list(ours.index) == ["all", "≤ 5", "5–15", "15–30", "> 30"]
    assert ours.loc["all", "n_schools"] == ours["n_schools"].iloc[1:].sum()
    squares = (ours["rmse"] ** 2 * ours["n_schools"]).iloc[1:].sum()
    assert ours.loc["all", "rmse"] ** 2 * 37 == pytest.approx(squares)
    assert ours.loc["all", "coverage"] == pytest.approx(found.schools["inside"].mean())
    other = validate_years(MODEL, region(), holdout=2022, size="year", size_edges=(2000, 2100))
    assert set(other.schools["cohort_size"]) == {"2000–2100"}


def test_a_wider_interval_holds_more(found):
    wide = validate_years(MODEL, region(), holdout=2022, level=0.999)
    assert wide.schools["inside"].mean() >= found.schools["inside"].mean()
    np.testing.assert_array_equal(wide.schools["residual"], found.schools["residual"])


def test_tables_are_in_the_glossary(found):
    tables = [found.tidy(), found.glance(), found.schools, found.left_out]
    for table in [*tables, found.augment(region().head(3)[["school_id"]])]:
        assert not set(table.columns) - set(column_names())
    assert "наш прогноз" in found.summary("ru")


def test_means_are_validated_too():
    cells = (
        region()
        .groupby(["school_id", "year"], as_index=False)
        .agg(
            mean_score=("score", "mean"), prior=("prior_score", "mean"), n_pupils=("score", "size")
        )
    )
    model = rs.SchoolLevelModel("mean_score ~ prior", time="year", n="n_pupils", sd=0.8)
    found = validate_years(model, cells, holdout=2023)
    assert found.glance().loc[0, "rmse"] < found.glance().loc[0, "rmse_last_year"]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"holdout": 2031}, rs.DataError, ["2031", "2019, 2020"]),
        ({"holdout": 2020}, rs.DataError, ["2020", "at least two years", "2019"]),
        ({"size_edges": ()}, rs.SpecificationError, ["size_edges", "ascend"]),
        ({"size_edges": (15, 5)}, rs.SpecificationError, ["15, 5"]),
        ({"level": 1.0}, rs.SpecificationError, ["level", "1.0"]),
        ({"size": "pupils"}, rs.DataError, ["'pupils'"]),
        ({"lag_correlation": 1.0}, rs.DataError, ["1.0"]),
    ],
)
def test_bad_questions_are_named(change, kind, words):
    with pytest.raises(kind) as caught:
        validate_years(MODEL, region(), **({"holdout": 2022} | change))
    for word in words:
        assert word in str(caught.value)
    assert re.search("[а-яё]{3}", caught.value.localized("ru"))


def test_a_model_without_years_cannot_hold_one_out():
    with pytest.raises(rs.SpecificationError, match="time='year'"):
        validate_years(rs.ValueAddedModel("score ~ 1", group="school_id"), region(), holdout=2022)
