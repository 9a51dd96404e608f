"""Bounds by who left, by hand and on pupils whose lost results are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.plotting.canvas import figure_of
from resilience.plotting.selection import plot_selection
from resilience.stats.gaps.selection import (
    partial_interval,
    range_bounds,
    tipping_points,
    trimmed_means,
)
from resilience.value_added.gaps.selection import selection_bounds
from resilience.value_added.gaps.stayers import beside_stayers

EXACT = 1e-12  # rounding of a few products


def test_range_bounds_by_hand():
    # 60 % stayed with mean residual .5; the others, expected at 2, can score 0 to 10
    low, high = range_bounds(np.array([0.5]), np.array([0.6]), np.array([2.0]), (0.0, 10.0))
    assert low[0] == pytest.approx(0.6 * 0.5 + 0.4 * -2.0, abs=EXACT)
    assert high[0] == pytest.approx(0.6 * 0.5 + 0.4 * 8.0, abs=EXACT)
    low, high = range_bounds(np.array([0.5]), np.array([1.0]), np.array([np.nan]), (0.0, 10.0))
    assert (low[0], high[0]) == (0.5, 0.5)


def test_tipping_points_by_hand():
    found = tipping_points(np.array([0.3, -0.3, 0.3]), np.array([0.75, 0.75, 1.0]), 0.8)
    assert found[0] == pytest.approx(0.3 / (0.25 * 0.8), abs=EXACT)
    assert found[1] == -found[0]
    assert np.isposinf(found[2])


def test_trimmed_means_by_hand():
    # a third of 1, 2, 3 is one pupil; half of them one and a half: 1 and ½ of 2
    assert trimmed_means(np.array([3.0, 1.0, 2.0]), 1 / 3) == pytest.approx((1.5, 2.5), abs=EXACT)
    assert trimmed_means(np.array([1.0, 2.0, 3.0]), 0.5) == pytest.approx((4 / 3, 8 / 3), abs=EXACT)
    assert trimmed_means(np.array([1.0, 2.0]), 0.0) == pytest.approx((1.5, 1.5), abs=EXACT)


def test_intervals_around_bounds_go_from_two_sided_to_one_sided():
    low, high = partial_interval(
        np.array([0.0, -50.0, -0.5]), np.array([0.0, 50.0, 0.5]), np.ones(3), 0.95
    )
    assert high[0] == pytest.approx(stats.norm.ppf(0.975), abs=1e-6)
    assert high[1] - 50 == pytest.approx(stats.norm.ppf(0.95), abs=1e-6)
    reach = high[2] - 0.5
    assert stats.norm.cdf(reach + 1) - stats.norm.cdf(-reach) == pytest.approx(0.95, abs=1e-9)
    assert low[2] == -high[2]


def cohort(seed: int = 0, gap_of_left: float = 0.6) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grade 9 of 40 schools: those who sat the exam, and everybody with the results they lost."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(40), rng.integers(30, 80, 40))
    n = len(school)
    prior = rng.normal(size=n)
    stayed = rng.random(n) < np.linspace(0.3, 1.0, 40)[school]
    effect = 0.3 * rng.normal(size=40)
    noise = 0.7 * rng.normal(size=n)
    # in every school those who left are the same number of SDs below those who stayed
    score = 0.6 * prior + effect[school] + noise - gap_of_left * 0.7 * ~stayed
    full = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": prior,
            "score": score,
            "sat_exam": stayed,
        }
    )
    return full.assign(score=np.where(stayed, score, np.nan)), full


MODEL = rs.ValueAddedModel("score ~ prior_score", group="school_id")


@pytest.fixture(scope="module")
def grade():
    return cohort()


@pytest.fixture(scope="module")
def va(grade):
    seen, _ = grade
    return MODEL.fit(seen[seen["sat_exam"]])


def mean_residual(va, full):
    """Mean residual of all pupils of every school, those who left with what they would score."""
    beta = va.fixed_effects.set_index("term")["estimate"]
    expected = beta["Intercept"] + beta["prior_score"] * full["prior_score"]
    return (full["score"] - expected).groupby(full["school_id"]).mean()


def test_table_by_hand(va, grade):
    found = selection_bounds(va, grade[0], stayed="sat_exam", outcome_range=(-6.0, 6.0), delta=0.5)
    table = found.table.set_index("school_id")
    counts = grade[0].groupby("school_id")["sat_exam"].agg(["size", "sum"])
    assert table["n_before"].tolist() == counts["size"].tolist()
    assert table["n_pupils_left"].tolist() == (counts["size"] - counts["sum"]).tolist()
    effects = va.school_effects.set_index("school_id")
    share, trust = counts["sum"] / counts["size"], effects["reliability"]
    reach = trust * (1 - share) * 0.5 * np.sqrt(va.variances["residual"])
    assert (table["effect"] - table["delta_low"]).to_numpy() == pytest.approx(reach, abs=EXACT)
    left = grade[0][~grade[0]["sat_exam"]]
    expected = left.assign(e=va.predict(left)["predicted"]).groupby("school_id")["e"].mean()
    low = share * effects["effect"] + trust * (1 - share) * (-6.0 - expected).reindex(share.index)
    known = share < 1
    assert table.loc[known, "range_low"].to_numpy() == pytest.approx(low[known], abs=1e-10)
    assert found.expected_from == "pupils"
    both = (table["effect_low"] < 0) & (table["effect_high"] > 0)
    assert (table["sign_depends"] == both).all()
    assert (table.loc[share == 1, "verdict"] == "not_applicable").all()


def test_bounds_hold_what_the_lost_results_would_have_shown(va, grade):
    seen, full = grade
    truth = mean_residual(va, full) * va.school_effects.set_index("school_id")["reliability"]
    found = selection_bounds(va, seen, stayed="sat_exam", outcome_range=(-6.0, 6.0))
    table = found.table.set_index("school_id")
    # where nobody left both bounds are the truth, up to rounding
    assert (table["range_low"] <= truth + 1e-12).all()
    assert (truth <= table["range_high"] + 1e-12).all()
    # those who left are .6 SD below, so that the bounds of .8 SD hold the truth but for the noise
    # of the means of those who left (some 20 pupils of SD .7 each: .16, times their share)
    wide = selection_bounds(va, seen, stayed="sat_exam", delta=0.8).table.set_index("school_id")
    inside = (wide["delta_low"] <= truth) & (truth <= wide["delta_high"])
    assert inside.mean() > 0.75
    assert truth.sub(wide["delta_low"]).mean() > 0


def test_the_tipping_point_is_where_the_effect_of_all_pupils_turns(va, grade):
    """Had those who left been as far below as δ*, the school's mean residual would be nought."""
    seen, full = grade
    found = selection_bounds(va, seen, stayed="sat_exam")
    table = found.table.set_index("school_id")
    sat = full[full["sat_exam"]]
    stayers = mean_residual(va, sat)
    for school in table.index[(table["share_stayed"] < 1)][:10]:
        row = table.loc[school]
        whole = row["share_stayed"] * stayers[school] + (1 - row["share_stayed"]) * (
            stayers[school] - row["tipping_point"] * found.pupil_sd
        )
        assert whole == pytest.approx(0.0, abs=1e-9)


def test_trimming_brings_all_schools_to_one_share(va, grade):
    found = selection_bounds(va, grade[0], stayed="sat_exam", assumption="trimming")
    table = found.table.set_index("school_id")
    assert (table["effect_low"] <= table["effect"] + 1e-12).all()
    assert (table["effect"] <= table["effect_high"] + 1e-12).all()
    whole = grade[0]["sat_exam"].mean()
    far = (table["share_stayed"] - whole).abs()
    width = table["effect_high"] - table["effect_low"]
    assert np.corrcoef(far, width)[0, 1] > 0.8  # the farther the share, the more is trimmed
    school = table.index[table["share_stayed"].gt(whole)][0]
    rows = grade[0][grade[0]["school_id"].eq(school) & grade[0]["sat_exam"]]
    fitted = va.augment(rows)
    residual = (fitted["score"] - fitted["fitted"]).to_numpy()
    share = table.loc[school, "share_stayed"]
    low, _ = trimmed_means(residual, (share - whole) / share)
    trust = va.school_effects.set_index("school_id").loc[school, "reliability"]
    expected = table.loc[school, "effect"] + trust * (low - residual.mean())
    assert table.loc[school, "effect_low"] == pytest.approx(expected, abs=1e-10)


def test_counts_of_schools_serve_too(va, grade):
    counts = grade[0].groupby("school_id")["sat_exam"].agg(["size", "sum"]).reset_index()
    counts.columns = ["school_id", "n_before", "n_stayed"]
    one = selection_bounds(va, counts, delta=0.3)
    other = selection_bounds(va, grade[0], stayed="sat_exam", delta=0.3)
    columns = ["school_id", "share_stayed", "effect_low", "effect_high", "tipping_point"]
    pd.testing.assert_frame_equal(one.table[columns], other.table[columns])
    assert one.expected_from == "schools"
    with pytest.raises(rs.SpecificationError, match="one by one"):
        selection_bounds(va, counts, assumption="trimming")


def test_unknown_shares_are_named_and_have_no_verdict(va, grade):
    part = grade[0][grade[0]["school_id"] != "S05"]
    with pytest.warns(rs.WeakDataWarning, match="unknown for 1 schools .*S05"):
        found = selection_bounds(va, part, stayed="sat_exam")
    row = found.table.set_index("school_id").loc["S05"]
    assert row["verdict"] == "insufficient_data"
    assert np.isnan(row["effect_low"])
    assert not row["sign_depends"]
    assert found.glance()["n_sign_unknown"].tolist() == [1]


def test_effects_beside_the_share_that_stayed(va, grade):
    found = beside_stayers(va, grade[0], stayed="sat_exam")
    row = found.table.set_index("school_id").loc["S00"]
    own = grade[0][grade[0]["school_id"] == "S00"]["sat_exam"]
    limits = stats.binomtest(int(own.sum()), len(own)).proportion_ci(method="wilson")
    assert row["share_stayed"] == pytest.approx(own.mean(), abs=EXACT)
    assert (row["share_low"], row["share_high"]) == pytest.approx((limits.low, limits.high))
    assert f"({own.sum()} of {len(own)}" in str(row["stayers_note"])
    assert "девятиклассников" in row["stayers_note"].ru
    again = beside_stayers(va.school_effects, grade[0], stayed="sat_exam")
    assert again.table["share_stayed"].equals(found.table["share_stayed"])
    rows = found.augment(grade[0])
    assert rows["share_stayed"].notna().all()


def test_an_unknown_share_is_warned_of_and_said_beside_the_effect(va):
    counts = pd.DataFrame({"school_id": ["S00", "S01"], "n_before": [40, 0], "n_stayed": [20, 0]})
    with pytest.warns(rs.WeakDataWarning, match="unknown for 39 schools"):
        found = beside_stayers(va, counts)
    table = found.table.set_index("school_id")
    assert np.isnan(table.loc["S01", "share_stayed"])
    assert "do not read" in str(table.loc["S01", "stayers_note"])


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_plot_of_bounds_and_of_shares(va, grade, lang):
    bounds = selection_bounds(va, grade[0], stayed="sat_exam")
    ax = plot_selection(bounds, lang=lang, highlight=["S03"])
    n = int(bounds.table["sign_depends"].sum())
    shown = [t.get_text() for t in ax.get_legend().get_texts()]
    assert f": {n}" in shown[0]
    drawn = sum(len(c.get_offsets()) for c in ax.collections if c.get_offsets().shape[1] == 2)
    assert drawn >= 40
    assert ("0,5" if lang == "ru" else "0.5") in ax.get_title(loc="left")
    shares = plot_selection(beside_stayers(va, grade[0], stayed="sat_exam"), lang=lang)
    assert figure_of(shares) is not figure_of(ax)
    with pytest.raises(rs.DataError, match="S99"):
        plot_selection(bounds, highlight=["S99"])


def test_gaps_of_covariates_are_left_out_of_expected_results_and_of_trimming(va, grade):
    holed = grade[0].assign(prior_score=grade[0]["prior_score"].where(grade[0].index % 7 > 0))
    found = selection_bounds(va, holed, stayed="sat_exam", outcome_range=(-6.0, 6.0))
    full = selection_bounds(va, grade[0], stayed="sat_exam", outcome_range=(-6.0, 6.0))
    for name in ("delta_low", "share_stayed", "tipping_point"):
        assert found.table[name].equals(full.table[name])
    known = found.table["share_stayed"] < 1
    assert np.isfinite(found.table.loc[known, ["range_low", "trimmed_low"]]).to_numpy().all()
