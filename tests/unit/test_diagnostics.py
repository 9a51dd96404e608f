"""Diagnostics by hand: numbers behind the findings, words in both languages, what is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import kurtosis as scipy_kurtosis
from scipy.stats import normaltest
from scipy.stats import skew as scipy_skew

import resilience as rs
from resilience.plotting.diagnostics import plot_diagnostics
from resilience.stats.bends import fit_bend
from resilience.value_added.diagnostics.findings import CHECKS
from resilience.value_added.diagnostics.of_fit import normality, standardised_effects


@pytest.fixture(scope="module")
def london():
    pupils = rs.load_dataset("london_exam").pupils
    va = rs.ValueAddedModel("normexam ~ standLRT + sex", group="school_id").fit(pupils)
    return va, pupils, va.check(pupils)


def test_one_row_per_check_whatever_was_given(london):
    va, _, found = london
    assert tuple(found.table["check"]) == CHECKS
    assert tuple(va.check().table["check"]) == CHECKS
    bare = va.check().table.set_index("check")
    assert bare.loc["curvature", "severity"] == "not_checked"
    assert "va.check(pupils)" in bare.loc["curvature", "finding"]
    assert bare.loc["influential_schools", "severity"] == "ok"
    done = found.table[found.table["severity"] != "not_checked"]
    assert done["value"].notna().all()


def test_the_values_are_those_of_other_doors(london):
    va, pupils, found = london
    table = found.table.set_index("check")
    influence = va.influence().schools
    assert table.loc["influential_schools", "value"] == influence["cook_distance"].max()
    few = (va.school_effects["reliability"] < 0.5).mean()
    assert table.loc["small_schools", "value"] == few
    highest = (pupils["normexam"] == pupils["normexam"].max()).mean()
    assert table.loc["ceiling", "value"] == highest
    residual = va.augment(pupils)["pupil_residual"]
    fitted = va.augment(pupils)["fitted"]
    low, high = fitted.quantile([1 / 3, 2 / 3])
    ratio = residual[fitted <= low].std(ddof=0) / residual[fitted >= high].std(ddof=0)
    assert table.loc["unequal_spread", "value"] == pytest.approx(ratio, rel=1e-12)


def test_the_test_of_normality_is_the_published_one():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=80), rng.exponential(size=80), rng.standard_t(3, size=500)):
        skew, kurtosis, p = normality(values)
        assert p == pytest.approx(normaltest(values).pvalue, rel=1e-9, abs=1e-300)
        assert skew == pytest.approx(scipy_skew(values), rel=1e-10)
        assert kurtosis == pytest.approx(scipy_kurtosis(values), rel=1e-10)


def test_effects_are_standardised_by_the_spread_that_shrinkage_leaves(london):
    va, *_ = london
    table = va.school_effects
    by_hand = table["effect"] / np.sqrt(va.variances["persistent"] * table["reliability"])
    np.testing.assert_allclose(standardised_effects(va), by_hand, rtol=1e-9)


@pytest.mark.parametrize(("power", "degree"), [(1, 1), (2, 2), (3, 3), (4, 4)])
def test_the_degree_asked_for_is_the_least_that_leaves_no_bend(power, degree):
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 4000)
    shape = np.polynomial.legendre.legval(x, np.eye(power + 1)[power]) * (power > 1)
    schools = np.arange(len(x)) % 80
    y = shape + 0.3 * rng.normal(size=len(x))
    found = fit_bend(x, y, schools, highest=4, level=0.01)
    assert found.degree == degree
    assert (found.p_value < 0.01) == (power > 1)
    # .3 / sqrt(4000) per coefficient, of which there are at most five: six of its errors
    np.testing.assert_allclose(found.curve(x), shape, atol=6 * 0.3 * np.sqrt(5 / 4000) * 2)


@pytest.mark.parametrize("n_schools", [40, 3])
def test_the_score_test_of_a_square_is_the_formula_by_hand(n_schools):
    """Three values of x leave one polynomial beyond the line: T is a ratio of squares."""
    x = np.tile([-1.0, 0.0, 1.0], 40)
    rng = np.random.default_rng(4)
    residual = rng.normal(size=120) + 0.4 * x**2
    schools = np.repeat(np.arange(n_schools), 120 // n_schools)
    further = (1.5 * x**2 - 0.5) - 0.5  # P2 less its mean; a straight line is orthogonal to it
    line = np.polynomial.polynomial.polyfit(x, residual, 1)
    parts = further * (residual - line[0] - line[1] * x)
    sums = np.array([parts[schools == k].sum() for k in range(n_schools)])
    scores = sums if n_schools >= 30 else parts  # few schools: pupils one by one
    t, n = scores.sum() ** 2 / (scores**2).sum(), len(scores)
    by_hand = f_distribution.sf((n - 1) * t / (n - t), 1, n - 1)
    found = fit_bend(x, residual, schools, highest=4, level=0.01)
    assert found.p_value == pytest.approx(by_hand, rel=1e-9)


def test_a_variable_that_cannot_bend_is_straight():
    residual = np.array([0.1, -0.2, 0.3, -0.2] * 5)
    schools = np.arange(20)
    for x in (np.tile([0.0, 1.0], 10), np.zeros(20)):
        found = fit_bend(x, residual, schools, highest=4, level=0.01)
        assert (found.degree, found.p_value) == (1, 1.0)
        assert not found.curve(x).any()


def test_duplicates_are_counted_and_their_schools_named(london):
    """The codebook's four repeated numbers of pupils: schools 43, 50 and 52."""
    va, pupils, _ = london
    row = va.check(pupils, key=["school_id", "student"]).table.set_index("check")
    row = row.loc["duplicated_pupils"]
    assert row["severity"] == "serious"
    assert row["value"] == 4
    assert "43, 50, 52" in row["finding"]
    nameless = va.check(pupils.drop(columns="pupil_key")).table.set_index("check")
    assert nameless.loc["duplicated_pupils", "severity"] == "not_checked"


def test_ceilings_are_those_of_each_subject():
    rng = np.random.default_rng(6)
    n = 600
    frame = pd.DataFrame(
        {
            "school_id": np.arange(n) % 30,
            "subject": np.where(np.arange(n) < 300, "a", "b"),
            "prior_score": rng.normal(size=n),
        }
    )
    top = np.where(frame["subject"] == "a", 1.0, 9.0)
    school = rng.normal(size=30)[frame["school_id"]]
    frame["score"] = np.minimum(top + school + rng.normal(size=n), top)
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id")
    with pytest.warns(rs.WeakDataWarning, match="variance is zero"):  # two scales drown schools
        fitted = model.fit(frame)
    row = fitted.check(frame)
    by_hand = (frame["score"] == top).mean()  # of the larger scale alone it would be half of that
    assert row.table.set_index("check").loc["ceiling", "value"] == by_hand


def test_spread_within_schools_puts_shrinkage_back(london):
    va, pupils, found = london
    rows = va.augment(pupils)
    reliability = va.school_effects.set_index("school_id")["reliability"]
    for school in ("48", "53"):
        own = rows.loc[rows["school_id"] == school, "pupil_residual"]
        by_hand = np.sqrt((own**2).sum() / (len(own) - reliability[school]))
        at = found.school_spread.set_index("school_id").loc[school]
        assert at["residual_spread"] == pytest.approx(by_hand, rel=1e-10)
        assert at["n_pupils"] == len(own)


def test_every_level_has_its_quantiles(london):
    _, pupils, _ = london
    slopes = rs.ValueAddedModel(
        "normexam ~ standLRT + sex", group="school_id", slopes="standLRT"
    ).fit(pupils)
    table = slopes.check().level_quantiles
    assert set(zip(table["group"], table["term"], strict=True)) == {
        ("school_id", "Intercept"),
        ("school_id", "standLRT"),
    }
    level = slopes.mixed.levels[0]
    at = list(level.labels).index("53")
    own = level.modes[at, 1] / np.sqrt(level.covariance[1, 1] - level.conditional[at, 1, 1])
    row = table[(table["term"] == "standLRT") & (table["unit_id"] == "53")]
    assert row["standardised_effect"].item() == pytest.approx(own, rel=1e-12)
    for _, part in table.groupby("term"):
        assert part["standardised_effect"].is_monotonic_increasing
        # expected order statistics are symmetric about 0
        np.testing.assert_allclose(
            part["normal_quantile"], -part["normal_quantile"].to_numpy()[::-1], atol=1e-12
        )


def test_sorting_is_the_slope_within_schools_left_on_effects_without_those_who_came():
    """Every pair by hand: the destination's mean without pupils from the school left."""
    rng = np.random.default_rng(5)
    n, n_schools = 300, 15
    first = rng.integers(0, n_schools, n)
    second = np.where(rng.random(n) < 0.6, rng.integers(0, n_schools, n), first)
    pieces = [
        pd.DataFrame(
            {
                "pupil_key": np.arange(n),
                "year": year,
                "school_id": school,
                "prior_score": rng.normal(size=n),
                "score": rng.normal(size=n) + 0.4 * np.sin(school),
            }
        )
        for year, school in ((2023, first), (2024, second))
    ]
    frame = pd.concat(pieces, ignore_index=True)
    va = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(frame)
    rows = va.augment(frame).assign(whole=lambda t: t["score"] - t["fitted"])
    reliability = va.school_effects.set_index("school_id")["reliability"]
    x, y, left = [], [], []
    for pupil in np.flatnonzero(first != second):
        origin, school = first[pupil], second[pupil]
        were_there = set(rows.loc[rows["school_id"] == origin, "pupil_key"])
        there = rows[rows["school_id"] == school]
        others = there[~there["pupil_key"].isin(were_there)]["whole"]
        odds = reliability[school] / (1 - reliability[school]) * len(others) / len(there)
        x.append(others.mean() * odds / (1 + odds))
        before = rows[(rows["pupil_key"] == pupil) & (rows["year"] == 2023)]
        y.append(before["pupil_residual"].item())
        left.append(origin)
    pairs = pd.DataFrame({"x": x, "y": y, "left": left})
    centred = pairs.groupby("left")[["x", "y"]].transform(lambda c: c - c.mean())
    by_hand = (centred["x"] * centred["y"]).sum() / (centred["x"] ** 2).sum()
    row = va.check(frame).table.set_index("check").loc["sorting"]
    assert row["value"] == pytest.approx(by_hand, rel=1e-9)


def test_schools_in_doubt_are_left_out_and_the_rest_compared(london):
    va, *_ = london
    row = va.check(suspicious=["53"]).table.set_index("check").loc["suspicious_schools"]
    without = va.leave_out(units=["53"])
    both = va.school_effects.merge(without.school_effects, on="school_id")
    assert row["value"] == pytest.approx((both["band_x"] != both["band_y"]).mean())


def test_findings_come_first_and_every_word_has_two_languages(london):
    *_, found = london
    rank = {"serious": 0, "warning": 1, "note": 2}
    ranks = found.findings["severity"].map(rank)
    assert ranks.is_monotonic_increasing
    russian = found.summary("ru")
    assert "Диагностика модели" in russian
    assert "Изгиб" in russian
    for column in ("finding", "remedy", "check_statistic"):
        assert all(cell.ru != str(cell) for cell in found.table[column])


def test_units_that_cross_say_what_cannot_be_checked():
    rng = np.random.default_rng(0)
    n = 800
    a, b = rng.integers(0, 20, n), rng.integers(0, 20, n)
    x = rng.normal(size=n)
    frame = pd.DataFrame({"origin": a, "school_id": b, "prior_score": x})
    frame["score"] = x + rng.normal(size=20)[a] + rng.normal(size=20)[b] + rng.normal(size=n)
    va = rs.ValueAddedModel("score ~ prior_score", crossed=["origin", "school_id"]).fit(frame)
    table = va.check(frame, suspicious=[1]).table.set_index("check")
    assert table.loc["influential_schools", "severity"] == "not_checked"
    assert table.loc["suspicious_schools", "severity"] == "not_checked"
    assert table.loc["curvature", "severity"] == "ok"


def test_the_panel_draws_what_there_is(london):
    va, _, found = london
    axes = plot_diagnostics(found, lang="ru").child_axes
    assert [bool(ax.has_data()) for ax in axes] == [True] * 6
    assert "Влияние" in axes[3].get_title(loc="left") + axes[3].get_title()
    bare = rs.plot(va.check()).child_axes
    assert bare[1].texts[0].get_text() == "not checked"


def test_one_school_in_doubt_may_be_named_alone_and_tables_of_any_library_will_do(london):
    va, pupils, found = london
    alone = va.check(pl.from_pandas(pupils), suspicious="53").table
    listed = va.check(pupils, suspicious=["53"]).table
    np.testing.assert_allclose(alone["value"], listed["value"], rtol=1e-12)
    with pytest.raises(rs.SpecificationError, match="pupils is of type str"):
        va.check("pupils.csv")
    assert len(found.table) == len(alone)
