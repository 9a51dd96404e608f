"""School composition, standardisation and gaps: by hand on a dozen pupils."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.stats.shrinkage import reliability
from resilience.value_added.intake.preparation import composition_mean, prepare

TINY = pd.DataFrame(
    {
        "school_id": ["a", "a", "a", "b", "b", "c"],
        "year": [1, 1, 2, 1, 2, 1],
        "ses": [1.0, 3.0, 8.0, 10.0, 20.0, 5.0],
    }
)


def test_mean_by_hand():
    found = composition_mean(TINY, "ses", ["school_id"], how="mean")
    assert list(found) == [4.0, 4.0, 4.0, 15.0, 15.0, 5.0]
    yearly = composition_mean(TINY, "ses", ["school_id", "year"], how="mean")
    assert list(yearly) == [2.0, 2.0, 8.0, 10.0, 20.0, 5.0]


def test_leave_one_out_by_hand():
    found = composition_mean(TINY, "ses", ["school_id"], how="leave_one_out")
    # the mean of the others; the single pupil of c gets the overall mean 47/6
    np.testing.assert_allclose(found, [5.5, 4.5, 2.0, 20.0, 10.0, 47 / 6])


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(0)
    school = np.repeat(np.arange(30), rng.integers(1, 20, size=30))
    ses = rng.normal(size=30)[school] + rng.normal(size=len(school))
    score = 0.5 * ses + 0.3 * rng.normal(size=30)[school] + rng.normal(size=len(school))
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.integers(2021, 2023, size=len(school)),
            "subject": rng.choice(["RU", "MA"], size=len(school)),
            "ses": ses,
            "prior_score": rng.normal(30.0, 5.0, size=len(school)),
            "score": score,
        }
    )
    return frame.sample(frac=1.0, random_state=1)


def test_latent_mean_is_the_shrunken_mean(pupils):
    found = composition_mean(pupils, "ses", ["school_id"], how="latent")
    null = rs.ValueAddedModel("ses ~ 1", group="school_id").fit(pupils)
    mean = null.fixed_effects["estimate"][0]
    table = null.school_effects.set_index("school_id")
    weight = reliability(
        table["n_pupils"], null.variances["persistent"], null.variances["residual"]
    )
    expected = mean + weight * (pupils.groupby("school_id")["ses"].mean() - mean)
    np.testing.assert_allclose(found, expected.loc[pupils["school_id"]], rtol=1e-7)
    # every school is drawn towards the mean, a school of one pupil most
    raw = pupils.groupby("school_id")["ses"].transform("mean")
    assert ((found - mean).abs() <= (raw - mean).abs() + 1e-12).all()


@pytest.mark.parametrize("how", ["mean", "leave_one_out", "latent"])
def test_the_model_uses_the_column_it_says(pupils, how):
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", intake=rs.Intake(composition={"ses": how})
    )
    result = model.fit(pupils)
    by_hand = pupils.assign(ses_mean=composition_mean(pupils, "ses", ["school_id"], how=how))
    other = rs.ValueAddedModel("score ~ ses + ses_mean", group="school_id").fit(by_hand)
    assert result.formula == "score ~ ses + ses_mean"
    assert list(result.fixed_effects["term"]) == ["Intercept", "ses", "ses_mean"]
    pd.testing.assert_frame_equal(result.fixed_effects, other.fixed_effects)
    augmented = result.augment(pupils)
    np.testing.assert_allclose(augmented["fitted"], other.augment(by_hand)["fitted"])


def test_composition_is_that_of_the_year_where_there_are_years(pupils):
    prepared = prepare(
        pupils,
        "score ~ ses",
        rs.Intake(composition={"ses": "mean"}),
        groups=["school_id"],
        time="year",
    )
    expected = pupils.groupby(["school_id", "year"])["ses"].transform("mean")
    np.testing.assert_allclose(prepared.data["ses_mean"], expected)
    assert prepared.added == ("ses_mean",)


def test_standardising_within_subject_and_year(pupils):
    prepared = prepare(
        pupils,
        "score ~ prior_score + ses",
        rs.Intake(standardize_by=["subject", "year"]),
        groups=["school_id"],
        time=None,
    )
    cells = prepared.data.groupby(["subject", "year"])[["score", "prior_score"]]
    np.testing.assert_allclose(cells.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(cells.std(ddof=0), 1.0, rtol=1e-12)
    # only outcome and prior results change their scale
    np.testing.assert_array_equal(prepared.data["ses"], pupils["ses"])
    within = pupils[(pupils["subject"] == "RU") & (pupils["year"] == 2021)]["score"]
    by_hand = (within - within.mean()) / np.sqrt(((within - within.mean()) ** 2).mean())
    np.testing.assert_allclose(prepared.data.loc[within.index, "score"], by_hand)


def with_gaps(pupils):
    """Four pupils of two schools without a prior result, in a table with a useless index."""
    frame = pupils.sort_values("school_id").reset_index(drop=True)
    gaps = [0, 1, len(frame) - 2, len(frame) - 1]
    frame["prior_score"] = frame["prior_score"].where(~frame.index.isin(gaps))
    frame.index = np.zeros(len(frame), dtype=int)
    return frame


def test_dropping_counts_rows_and_schools(pupils):
    frame = with_gaps(pupils)
    n_schools = frame.loc[frame["prior_score"].isna(), "school_id"].nunique()
    model = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=rs.Intake(missing="drop")
    )
    share = f"{400 / len(frame):.1f}"
    with pytest.warns(rs.WeakDataWarning) as caught:
        result = model.fit(frame)
    wording = str(caught[0].message)
    assert wording.startswith(f"4 rows ({share} %) of {n_schools} schools were dropped")
    assert "исключено строк: 4" in caught[0].message.localized("ru")
    assert result.n_dropped == 4
    complete = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(
        frame[frame["prior_score"].notna()]
    )
    pd.testing.assert_frame_equal(result.school_effects, complete.school_effects)


def test_more_than_a_tenth_dropped_says_so(pupils):
    frame = pupils.assign(prior_score=pupils["prior_score"].where(np.arange(len(pupils)) % 5 != 0))
    model = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=rs.Intake(missing="drop")
    )
    share = 100 * frame["prior_score"].isna().mean()
    with pytest.warns(rs.WeakDataWarning, match=rf"\({share:.1f} %\)"):
        model.fit(frame)


def test_indicator_keeps_every_pupil(pupils):
    frame = with_gaps(pupils)
    model = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=rs.Intake(missing="indicator")
    )
    result = model.fit(frame)
    gap = frame["prior_score"].isna()
    by_hand = frame.assign(
        prior_score=frame["prior_score"].fillna(frame["prior_score"].mean()),
        prior_score_missing=gap.astype(float),
    )
    other = rs.ValueAddedModel("score ~ prior_score + prior_score_missing", group="school_id").fit(
        by_hand
    )
    assert result.n_pupils == len(frame)
    pd.testing.assert_frame_equal(result.fixed_effects, other.fixed_effects)


def test_the_users_frame_is_not_touched(pupils):
    before = pupils.copy()
    intake = rs.Intake(
        composition={"ses": "latent"}, standardize_by=["subject"], missing="indicator"
    )
    rs.ValueAddedModel("score ~ prior_score + ses", group="school_id", intake=intake).fit(pupils)
    pd.testing.assert_frame_equal(pupils, before)
