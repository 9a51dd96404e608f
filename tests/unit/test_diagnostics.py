"""Diagnostics by hand: numbers behind the findings, words in both languages, what is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import kurtosis as scipy_kurtosis
from scipy.stats import normaltest
from scipy.stats import skew as scipy_skew

import resilience as rs
from resilience.plotting.diagnostics import plot_diagnostics
from resilience.value_added.diagnostics.findings import CHECKS
from resilience.value_added.diagnostics.of_fit import normality, standardised_effects
from resilience.value_added.diagnostics.of_pupils import _degree


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
    ratio = residual[fitted <= low].std(ddof=0) / residual[fitted > high].std(ddof=0)
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


@pytest.mark.parametrize(("power", "degree"), [(1, 1), (2, 2), (3, 3)])
def test_the_degree_asked_for_is_the_least_that_leaves_no_bend(power, degree):
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 4000)
    y = np.polynomial.legendre.legval(x, np.eye(power + 1)[power]) * (power > 1)
    found, p = _degree(x, y + 0.3 * rng.normal(size=len(x)))
    assert found == degree
    assert (p < 0.01) == (power > 1)


def test_duplicates_are_counted_and_their_schools_named(london):
    va, pupils, _ = london
    doubled = pd.concat([pupils, pupils[pupils["school_id"] == "43"].iloc[:2]], ignore_index=True)
    row = va.check(doubled).table.set_index("check").loc["duplicated_pupils"]
    assert row["severity"] == "serious"
    assert row["value"] == 2
    assert "43" in row["finding"]
    nameless = va.check(pupils.drop(columns="pupil_key")).table.set_index("check")
    assert nameless.loc["duplicated_pupils", "severity"] == "not_checked"


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
    assert [bool(ax.has_data()) for ax in axes] == [True] * 4
    assert "Влияние" in axes[2].get_title(loc="left") + axes[2].get_title()
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
