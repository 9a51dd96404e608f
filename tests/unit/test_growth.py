"""Growth percentiles: what the tables say, by hand and by construction."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import binom, norm

from resilience.errors import WeakDataWarning
from resilience.value_added.growth.curves import TAUS
from resilience.value_added.growth.model import GrowthPercentiles
from resilience.value_added.growth.schools import median_limits, school_growth_table, spread_ties


def cohort(n: int = 3000, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    school = rng.integers(0, 40, n)
    ability = rng.normal(size=n)
    frame = pd.DataFrame({"school_id": [f"S{k:02d}" for k in school]})
    frame["score_1"] = ability + 0.5 * rng.normal(size=n)
    frame["score_2"] = ability + 0.5 * rng.normal(size=n)
    effect = 0.4 * np.random.default_rng(99).normal(size=40)
    frame["score"] = ability + shift + effect[school] + 0.5 * rng.normal(size=n)
    return frame


MODEL = GrowthPercentiles(prior=["score_1", "score_2"], min_cohort=500)


@pytest.fixture(scope="module")
def fitted():
    pupils = cohort()
    return MODEL.fit(pupils, n_bootstrap=50), pupils


def test_percentiles_of_the_reference_cohort_are_uniform(fitted):
    results, pupils = fitted
    placed = results.percentiles(pupils)["growth_percentile"]
    assert placed.between(1, 99).all()
    # of n rows at most p lie on each curve, and exactly the share τ below it, give or take those
    curves = results.baseline.curves[2]
    own = {name: pupils[name].to_numpy() for name in MODEL.prior}
    raw = curves.design.columns(own) @ curves.coefficients.T
    below = (raw < pupils["score"].to_numpy()[:, None] - 1e-9).mean(axis=0)
    assert np.abs(below - (1 - TAUS)).max() <= curves.design.n_columns / len(pupils)
    # ordering the curves moves few pupils
    assert np.abs(np.sort(placed) - np.linspace(0.5, 99.5, len(placed))).mean() < 1.0


def test_curves_never_cross_and_reach_what_is_needed(fitted):
    results, pupils = fitted
    some = pupils.head(7)
    curves = results.curves(some)["score_quantile"].to_numpy().reshape(7, 100)
    assert (np.diff(curves, axis=1) >= 0).all()
    needed = results.needed(some, target=0.3)["growth_needed"].to_numpy()
    by_hand = (curves < 0.3).sum(axis=1)
    np.testing.assert_array_equal(needed, np.maximum(by_hand, 1))
    assert (results.needed(some, target=1e6)["growth_needed"] == 100).all()


def test_a_pupil_without_earlier_results_is_placed_by_the_later_ones():
    pupils = cohort()
    pupils.loc[:999, "score_1"] = np.nan
    pupils.loc[[0, 2000], "score_2"] = np.nan
    with pytest.warns(WeakDataWarning, match="2 of 3000 pupils"):
        results = MODEL.fit(pupils, n_bootstrap=20)
    placed = results.percentiles(pupils)
    assert list(placed.loc[[0, 1, 2000, 2001], "n_priors"]) == [0, 1, 0, 2]
    assert placed["growth_percentile"].isna().sum() == 2
    assert results.school_growth["n_unplaced"].sum() == 2
    assert list(results.curve_sets["n_pupils"]) == [2998, 1999]
    assert list(results.curve_sets["n_placed"]) == [999, 1999]
    # the pupils without the earlier result are placed as a model of the later one alone places them
    alone = GrowthPercentiles(prior="score_2", min_cohort=500)
    kept = pupils.drop(index=[0, 2000])
    late = alone.fit(kept, n_bootstrap=20).percentiles(kept)["growth_percentile"]
    pd.testing.assert_series_equal(
        placed.loc[1:999, "growth_percentile"], late.loc[1:999], check_exact=False
    )


def test_a_frozen_baseline_finds_the_growth_of_a_whole_cohort(fitted):
    results, pupils = fitted
    later = cohort(seed=5, shift=0.25)
    frozen = GrowthPercentiles(
        prior=MODEL.prior, baseline=pickle.loads(pickle.dumps(results.baseline))
    )
    shifted = frozen.fit(later, n_bootstrap=20)
    assert shifted.referenced == "baseline"
    own = MODEL.fit(later, n_bootstrap=20).percentiles(later)["growth_percentile"]
    median = shifted.percentiles(later)["growth_percentile"].median()
    assert own.median() == pytest.approx(50, abs=0.6)
    # .25 against a residual SD of √(.4² + .5² + var(ability | two tests)): about .75
    residual = np.sqrt(0.4**2 + 0.5**2 + 1 - 2 / (2 + 0.25))
    expected = 100 * norm.cdf(0.25 / residual)
    # error of a median of 3000 percentiles in 40 schools with effects of SD .4 in both cohorts
    assert median == pytest.approx(expected, abs=5)
    again = frozen.fit(pupils, n_bootstrap=20)
    pd.testing.assert_frame_equal(
        again.percentiles(pupils), results.percentiles(pupils), check_exact=False
    )


def test_scores_of_few_points_stand_in_the_middle_of_their_curves():
    rng = np.random.default_rng(1)
    n = 4000
    frame = pd.DataFrame({"school_id": "S", "score_1": rng.integers(0, 3, n).astype(float)})
    frame["score"] = rng.binomial(4, 0.3 + 0.2 * frame["score_1"].to_numpy())
    results = GrowthPercentiles(prior="score_1").fit(frame, n_bootstrap=20)
    placed = results.percentiles(frame)
    for (_, score), rows in placed.groupby(["score_1", "score"]):
        own = placed[placed["score_1"] == rows["score_1"].iloc[0]]["score"]
        middle = 100 * ((own < score).mean() + (own <= score).mean()) / 2
        found = rows["growth_percentile"].iloc[0]
        # three values carry one curve each: the middle of the observed shares to a hundredth
        assert found == pytest.approx(np.clip(middle, 1, 99), abs=1.0)
    # shares of bands are those of pupils spread over the percentiles their score may mean
    whole = results.goodness_of_fit.groupby("prior_decile")["share_in_band"].sum(min_count=1)
    np.testing.assert_allclose(whole.dropna(), 1.0, atol=1e-12)


def test_at_the_ceiling_growth_is_the_middle_of_what_is_possible():
    pupils = cohort()
    pupils["score"] = np.minimum(pupils["score"], 1.5)
    limits = (-50.0, 1.5)
    plain = MODEL.fit(pupils, n_bootstrap=20).percentiles(pupils)
    limited = GrowthPercentiles(prior=MODEL.prior, min_cohort=500, limits=limits).fit(
        pupils, n_bootstrap=20
    )
    placed = limited.percentiles(pupils)
    top = pupils["score"] == 1.5
    pd.testing.assert_series_equal(
        placed.loc[~top, "growth_percentile"], plain.loc[~top, "growth_percentile"]
    )
    ranges = limited.baseline.curves[2].ranges(
        {name: pupils.loc[top, name].to_numpy() for name in MODEL.prior}, np.full(top.sum(), 1.5)
    )
    by_hand = np.clip((ranges[0] + 100) / 2, 1, 99)
    np.testing.assert_allclose(placed.loc[top, "growth_percentile"], by_hand)


def test_limits_of_a_median_are_order_statistics_with_the_stated_coverage():
    # n = 20: P(B <= 5) = .0207, so that the 6th and the 15th value enclose .959
    assert median_limits(20, 0.95) == 6
    assert 1 - 2 * binom.cdf(5, 20, 0.5) == pytest.approx(0.9586, abs=1e-4)
    assert median_limits(5, 0.95) == 0  # 1 - 2/32 = .9375 is not enough
    assert median_limits(6, 0.95) == 1


def test_one_row_per_school_by_hand():
    school = pd.Series(["B", "A", "A", "A", "C"])
    table = school_growth_table(
        school, np.array([50.0, 10, 20, 60, np.nan]), level=0.95, n_bootstrap=4000, random_state=0
    ).set_index("school_id")
    assert list(table.index) == ["A", "B", "C"]
    a = table.loc["A"]
    assert (a["median_growth"], a["mean_growth"]) == (20, 30)
    assert a["mean_growth_std_error"] == pytest.approx(np.std([10, 20, 60], ddof=1) / np.sqrt(3))
    # of 27 resamples the median is 10 in 7, 20 in 13, 60 in 7
    values = np.repeat([10.0, 20, 60], [7, 13, 7])
    assert a["median_growth_std_error"] == pytest.approx(values.std(), rel=0.04)  # 4,000 draws
    assert (a["median_growth_low"], a["median_growth_high"]) == (1, 99)
    assert np.isnan(table.loc["B", "median_growth_std_error"])
    assert table.loc["C", "n_unplaced"] == 1
    assert np.isnan(table.loc["C", "median_growth"])


def test_results_do_not_depend_on_processes_and_say_the_same_in_russian(fitted):
    results, pupils = fitted
    again = MODEL.fit(pupils, n_bootstrap=50, n_jobs=2)
    pd.testing.assert_frame_equal(again.school_growth, results.school_growth)
    assert "Медиана роста" in results.summary("ru")
    assert results.glance()["largest_misfit"].iloc[0] < 0.06  # 300 pupils in a tenth: 3 SE


def test_tied_pupils_of_a_school_are_spread_over_what_their_score_means():
    school = np.array([0, 0, 0, 1, 0])
    low = np.array([20.0, 20, 20, 20, np.nan])
    high = np.array([39.0, 39, 39, 39, np.nan])
    found = spread_ties(school, low, high)
    # from 19.5 to 39.5 in three equal parts, their middles; a pupil alone stands in the middle
    np.testing.assert_allclose(found[:4], [19.5 + 20 / 6, 29.5, 39.5 - 20 / 6, 29.5])
    assert np.isnan(found[4])


def test_frames_of_any_library_give_the_same(fitted):
    results, pupils = fitted
    for other in (pl.from_pandas(pupils), pupils.convert_dtypes(), pupils.set_axis([0] * 3000)):
        again = MODEL.fit(other, n_bootstrap=50)
        pd.testing.assert_frame_equal(again.school_growth, results.school_growth, check_dtype=False)
        assert len(again.percentiles(other)) == 3000
