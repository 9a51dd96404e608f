"""The funnel of shares: published limits, steps of the binomial, variance between schools."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.columns import column_names
from resilience.detection.funnel import ShareFunnelResults, share_funnel
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.share_funnel import plot_share_funnel
from resilience.stats.lists.share_funnel import binomial_limits, share_funnel_of


def test_limits_worked_by_hand():
    low, high = binomial_limits([20, 50], 0.2, level=0.95)
    # the method's own figures at a share of .2, printed to four digits
    np.testing.assert_allclose(low, [0.0117, 0.0844], atol=5e-5)
    np.testing.assert_allclose(high, [0.3661, 0.3071], atol=5e-5)
    # n = 2, share 1/2: F = 1/4, 3/4, 1; lower: r = 0, (0 − (.25 − .025)/.25)/2 < 0, so 0;
    # upper: r = 2, (2 − (1 − .975)/.25)/2 = .95
    low, high = binomial_limits([2], 0.5, level=0.95)
    assert (low[0], high[0]) == (0.0, pytest.approx(0.95))


def test_limits_at_the_ends():
    for center in (0.0, 1.0):
        low, high = binomial_limits([1, 30], center, level=0.998)
        np.testing.assert_array_equal(low, center)
        np.testing.assert_array_equal(high, center)


def test_arcsine_values_and_their_way_back():
    found = share_funnel_of([4, 0, 10] * 5, [10, 8, 10] * 5, target=0.4, between_variance=0.01)
    assert found.estimate[0] == pytest.approx(np.arcsin(np.sqrt(4.375 / 10.75)))
    assert found.std_error[1] ** 2 == pytest.approx(1 / 34)
    assert found.z_score[0] == pytest.approx(0.0, abs=1e-12)  # 4 of 10 at a centre of .4
    low, high = found.limits(0.95)
    z = stats.norm.ppf(0.975) * np.sqrt(1 / 42 + 0.01)
    middle = np.arcsin(np.sqrt(4.375 / 10.75))
    assert low[0] == pytest.approx((np.sin(middle - z) ** 2 * 10.75 - 0.375) / 10)
    assert high[0] == pytest.approx((np.sin(middle + z) ** 2 * 10.75 - 0.375) / 10)
    assert (low >= 0).all()
    assert (high <= 1).all()
    rare = share_funnel_of([0, 1], [3, 8], target=0.05, between_variance=0.01)
    assert rare.limits(0.95)[0].tolist() == [0.0, 0.0]  # carried back below 0 and held there


def test_without_a_variance_the_limits_are_those_of_chance():
    f, n = np.array([2, 5, 9, 3]), np.array([20, 50, 40, 15])
    few = share_funnel_of(f, n)
    assert np.isnan(few.between_variance)
    assert few.reason is not None
    np.testing.assert_array_equal(few.limits(0.95), binomial_limits(n, 19 / 125, level=0.95))
    none = share_funnel_of(f, n, between_variance=0.0)
    np.testing.assert_array_equal(none.limits(0.95), few.limits(0.95))


def test_expected_numbers_outside_are_those_of_the_steps():
    """Brute force over every possible count of every school."""
    n = np.array([3, 5, 8, 20, 41])
    found = share_funnel_of([1, 1, 2, 4, 8], n, target=0.2, between_variance=0.0)
    low, high = found.limits(0.95)
    by_hand = 0.0
    for size, a, b in zip(n, low, high, strict=True):
        k = np.arange(size + 1)
        far = (k / size < a - 1e-12) | (k / size > b + 1e-12)
        by_hand += stats.binom.pmf(k[far], size, 0.2).sum()
    assert found.expected_outside(0.95) == pytest.approx(by_hand, abs=1e-12)
    assert share_funnel_of([1] * 20, [9] * 20, between_variance=0.1).expected_outside(
        0.95
    ) == pytest.approx(1.0)


def test_variance_between_schools_is_found():
    """177 schools of 8 to 120, SD .15 on the arcsine scale: 200 regions, mean .0197 at .0225.

    Winsorising and the curvature at small n take an eighth; the band is that plus 3 standard
    errors of the mean.
    """
    rng, found = np.random.default_rng(5), []
    for _ in range(60):
        n = rng.integers(8, 120, 177)
        angle = np.clip(np.arcsin(np.sqrt(0.2)) + 0.15 * rng.normal(size=177), 0, np.pi / 2)
        found.append(share_funnel_of(rng.binomial(n, np.sin(angle) ** 2), n).between_variance)
    error = np.std(found) / np.sqrt(60)
    assert 0.875 * 0.0225 - 3 * error < np.mean(found) < 0.0225 + 3 * error


@pytest.mark.parametrize(
    ("f", "n", "words"),
    [
        ([3], [2], "f = 3, n = 2"),
        ([-1], [4], "f = -1"),
        ([0.5], [4], "f = 0.5"),
        ([0], [0], "n = 0"),
        ([1, 2], [4], "shapes"),
        ([], [], "shapes"),
    ],
)
def test_impossible_counts_are_refused(f, n, words):
    with pytest.raises(rs.DataError, match=words):
        share_funnel_of(f, n)


def test_a_target_in_per_cent_is_refused():
    with pytest.raises(rs.SpecificationError, match="20"):
        share_funnel_of([1], [4], target=20)


@pytest.fixture(scope="module")
def counts():
    return rs.load_dataset("north_region").counts


@pytest.fixture(scope="module")
def found(counts) -> ShareFunnelResults:
    return share_funnel(counts, procedure="ОГЭ-МА")


def test_table_of_a_region(found, counts):
    own = counts[(counts["procedure"] == "ОГЭ-МА") & (counts["year"] == found.year)]
    assert found.year == counts["year"].max()
    assert found.schools["n_participants"].sum() == own["n_participants"].sum()
    assert found.funnel.center == pytest.approx(
        own["n_below_minimum"].sum() / own["n_participants"].sum()
    )
    table = found.schools
    far = (table["share_below_minimum"] < table["limit_low_95"]) | (
        table["share_below_minimum"] > table["limit_high_95"]
    )
    assert (table["outside"] == far).all()
    assert (table["limit_low_998"] <= table["limit_low_95"]).all()
    assert (table["limit_high_998"] >= table["limit_high_95"]).all()
    assert not (table["outside_998"] & ~table["outside"]).any()
    assert set(table) <= set(column_names())
    assert set(found.glance()) <= set(column_names())
    assert found.funnel.differ
    assert any("about 8." in note for note in found.notes)  # 5 % of the schools


def test_classes_are_added_up(counts):
    own = counts[(counts["procedure"] == "ОГЭ-МА")]
    numbers = ["n_participants", "n_below_minimum"]
    half = own.assign(**{c: own[c] // 2 for c in numbers}, class_label="9А")
    rest = own.assign(**{c: own[c] - own[c] // 2 for c in numbers}, class_label="9Б")
    whole = share_funnel(own[["school_id", "year", "procedure", *numbers]])
    parts = pd.concat([half, rest])[["school_id", "year", "procedure", "class_label", *numbers]]
    pd.testing.assert_frame_equal(share_funnel(parts).schools, whole.schools)


def test_what_was_asked_must_be_there(counts):
    with pytest.raises(rs.SpecificationError, match="several procedures"):
        share_funnel(counts)
    with pytest.raises(rs.DataError, match="ОГЭ-МА"):
        share_funnel(counts, procedure="ОГЭ-МАТ")
    with pytest.raises(rs.DataError, match="1999"):
        share_funnel(counts, procedure="ОГЭ-МА", year=1999)


def test_words_and_tables_in_both_languages(found):
    assert "funnel" in found.summary().lower()
    assert "Воронка" in found.summary("ru")
    added = found.augment(pd.DataFrame({"school_id": [*found.schools["school_id"], "nobody"]}))
    assert len(added) == len(found.schools) + 1
    assert added["outside"].isna().sum() == 1
    assert "<table" in found._repr_html_()


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_figure_names_whom_the_table_names(found, lang):
    ax = plot_share_funnel(found, lang=lang)
    words = {t.get_text() for t in ax.texts}
    assert words <= set(found.schools.loc[found.schools["outside"], "school_id"])
    assert words
    legend = " ".join(t.get_text() for t in ax.get_legend().get_texts())
    assert str(int(found.schools["outside"].sum())) in legend
    assert figure_bytes(ax, "png") == figure_bytes(plot_share_funnel(found, lang=lang), "png")


def test_the_figure_of_a_few_schools_says_why_there_is_no_variance(counts):
    few = counts[counts["school_id"].isin(sorted(counts["school_id"].unique())[:6])]
    found = share_funnel(few, procedure="ОГЭ-МА")
    ax = plot_share_funnel(found)
    assert "too few" in ax.get_legend().get_title().get_text()


def test_a_funnel_in_which_nobody_failed_has_a_scale():
    counts = pd.DataFrame(
        {
            "school_id": [f"S{i}" for i in range(12)],
            "year": 2025,
            "procedure": "ОГЭ-РУ",
            "n_participants": range(10, 34, 2),
            "n_below_minimum": 0,
        }
    )
    low, high = plot_share_funnel(share_funnel(counts)).get_ylim()
    assert low < 0 < 5 < high
