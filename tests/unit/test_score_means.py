"""Means of schools in SD of pupils: by hand, and one table from pupils and from publications."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.catalogue import load_dataset
from resilience.data.score_means import published_means, score_means

KEY = ["school_id", "year", "procedure"]
EXACT = {"rel": 1e-12, "abs": 1e-14}  # a few roundings of double precision


def pupils(scores=None):
    """Return five pupils of three schools in one procedure: 1 and 3; 5 and 7; 4."""
    return pd.DataFrame(
        {
            "school_id": ["S2", "S1", "S3", "S1", "S2"],
            "year": 2024,
            "procedure": "ОГЭ-РУ",
            "score": [5, 1, 4, 3, 7] if scores is None else scores,
        }
    )


def region(random_state=1, *, smallest=1):
    """Return pupils of two procedures by two years with different units and sizes."""
    rng = np.random.default_rng(random_state)
    frames = []
    for year in (2023, 2024):
        for k, procedure in enumerate(("ВПР-5-МА", "ОГЭ-РУ")):
            sizes = rng.integers(smallest, 9, size=12)
            school = np.repeat(np.arange(12), sizes)
            scores = 100 * k + (1 + k) * (
                rng.normal(size=12)[school] + rng.normal(size=len(school))
            )
            frames.append(
                pd.DataFrame(
                    {
                        "school_id": [f"S{s:02d}" for s in school],
                        "year": year,
                        "procedure": procedure,
                        "score": scores,
                    }
                )
            )
    return pd.concat(frames).sample(frac=1, random_state=2)


def published(frame, ddof=1):
    """Return what a school publishes: mean, SD with divisor n − ddof, number of pupils."""
    table = frame.groupby(KEY)["score"].agg(["mean", "size"]).reset_index()
    spread = frame.groupby(KEY)["score"].std(ddof=ddof).reset_index()["score"]
    table = table.rename(columns={"mean": "mean_score", "size": "n_participants"})
    return table.assign(sd=spread)


# Mean 4, sum of squares 9 + 1 + 0 + 1 + 9 = 20, so the variance is 4 and the SD 2.  Within the
# schools: 1 + 1 and 1 + 1 = 4 on 5 − 3 = 2 degrees of freedom: 2, in squared SD of pupils 0.5.


def test_scores_by_hand():
    found = score_means(pupils())
    assert list(found) == [*KEY, "mean_score", "sampling_variance", "n_participants"]
    assert found["school_id"].tolist() == ["S1", "S2", "S3"]
    assert found["mean_score"].tolist() == pytest.approx([-1, 1, 0], **EXACT)
    assert found["sampling_variance"].tolist() == pytest.approx([0.25, 0.25, 0.5], **EXACT)
    assert found["n_participants"].tolist() == [2, 2, 1]
    assert found["n_participants"].dtype == np.int64
    assert set(found) <= set(column_names())


def test_a_stated_sd_is_in_sd_of_pupils():
    found = score_means(pupils(), sd=0.8)
    assert found["mean_score"].tolist() == pytest.approx([-1, 1, 0], **EXACT)
    assert found["sampling_variance"].tolist() == pytest.approx([0.32, 0.32, 0.64], **EXACT)


def test_publications_by_hand():
    table = pd.DataFrame(
        {
            "school_id": ["S1", "S2", "S3"],
            "year": 2024,
            "procedure": "ОГЭ-РУ",
            "mean_score": [2.0, 6.0, 4.0],
            "n_participants": [2, 2, 1],
            "own": [np.sqrt(2), np.sqrt(2), np.nan],
        }
    )
    expected = score_means(pupils())
    for options in (
        {"sd": "own"},
        {"sd": np.sqrt(2)},
        {"sd": 2.0, "sd_of": "region"},
    ):
        found = published_means(table, **options)
        pd.testing.assert_frame_equal(found, expected, rtol=1e-12, atol=1e-14)


def test_publications_of_the_same_pupils_give_the_same_table():
    frame = region()
    expected = score_means(frame)
    table = published(frame)
    assert (table["n_participants"] == 1).any()  # schools of one pupil have no SD
    assert table["sd"].isna().any()
    found = published_means(table.sample(frac=1, random_state=3), sd="sd")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-10, atol=1e-12)
    regional = frame.groupby(KEY[1:])["score"].std(ddof=0).rename("regional").reset_index()
    found = published_means(table.merge(regional), sd="regional", sd_of="region")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-10, atol=1e-12)


def test_pupils_of_the_region_have_mean_0_and_one_sd_within_schools():
    for _, part in score_means(region()).groupby(KEY[1:]):
        n = part["n_participants"]
        assert (n * part["mean_score"]).sum() == pytest.approx(0, abs=1e-12)
        within = part["sampling_variance"] * n
        assert within.max() == pytest.approx(within.min(), **EXACT)  # pooled
        # squares between and within schools make up the variance of 1
        total = (n * part["mean_score"] ** 2).sum() + within.iloc[0] * (n - 1).sum()
        assert total == pytest.approx(n.sum(), rel=1e-12)


def test_units_of_the_scores_do_not_matter():
    frame = region()
    moved = frame.assign(score=1e6 + 37 * frame["score"])
    # subtracting a million leaves nine of sixteen digits
    pd.testing.assert_frame_equal(score_means(moved), score_means(frame), rtol=1e-8, atol=1e-9)


def test_each_procedure_and_year_stands_for_itself():
    frame, whole = region(), score_means(region())
    part = frame.query("year == 2024 and procedure == 'ОГЭ-РУ'")
    expected = whole.query("year == 2024 and procedure == 'ОГЭ-РУ'").reset_index(drop=True)
    pd.testing.assert_frame_equal(score_means(part), expected, rtol=1e-12, atol=1e-14)


def test_a_subject_may_stand_for_the_procedure():
    results = load_dataset("north_region").pupils
    found = score_means(results, by=("school_id", "year", "subject"))
    assert list(found)[:3] == ["school_id", "year", "subject"]
    assert found["n_participants"].sum() == len(results)


def test_a_school_column_alone():
    found = score_means(pupils(), by=("school_id",))
    assert list(found) == ["school_id", "mean_score", "sampling_variance", "n_participants"]
    assert found["mean_score"].tolist() == pytest.approx([-1, 1, 0], **EXACT)
    assert score_means(pupils(), by="school_id").equals(found)


def test_schools_of_one_pupil_with_a_stated_sd():
    one_each = pupils().drop_duplicates("school_id")  # 5, 1 and 4
    found = score_means(one_each, sd=0.9)
    assert found["sampling_variance"].tolist() == pytest.approx([0.81] * 3, **EXACT)
    table = one_each.assign(mean_score=lambda f: f["score"], n_participants=1)
    again = published_means(table, sd=0.9 * one_each["score"].std(ddof=0))
    pd.testing.assert_frame_equal(again, found, rtol=1e-12)


def test_the_sampling_variance_is_what_it_says():
    # The pooled variance within schools is unbiased: over 400 draws of 60 pupils in 12 schools its
    # mean lies within 4 standard errors of the truth (relative SD of one draw √(2/48) = .2).
    rng = np.random.default_rng(0)
    school = np.repeat(np.arange(12), 5)
    ratios = []
    for _ in range(400):
        scores = rng.normal(size=12)[school] + rng.normal(size=60)
        frame = pd.DataFrame({"school_id": school, "score": scores})
        found = score_means(frame, by="school_id")
        ratios.append(found["sampling_variance"].iloc[0] * 5 * scores.var())
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.sqrt(2 / 48 / 400))


def test_the_input_is_left_alone():
    frame = region()
    kept = frame.copy()
    score_means(frame)
    published_means(published(frame), sd="sd")
    pd.testing.assert_frame_equal(frame, kept)


@pytest.mark.parametrize("kind", ["category", "object", "string"])
def test_the_type_of_the_key_does_not_matter(kind):
    frame = region().astype({"school_id": kind, "procedure": kind})
    found, expected = score_means(frame), score_means(region())
    assert found["mean_score"].tolist() == expected["mean_score"].tolist()
    again = published_means(published(region()).astype({"school_id": kind}), sd="sd")
    assert again["mean_score"].tolist() == pytest.approx(expected["mean_score"].tolist(), **EXACT)
