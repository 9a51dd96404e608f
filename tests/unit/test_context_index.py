"""The context index: hand-computed examples, brute-force oracles, published numbers, leaks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import lsq_linear
from scipy.stats import binom, multivariate_normal, norm

from resilience.columns import column_names
from resilience.context import ContextIndex, ContextIndexResults
from resilience.context.description import (
    component_weights,
    cronbach_alpha,
    factor_omega,
    standardised_alpha,
)
from resilience.context.gaps import (
    completed,
    effective_weights,
    gap_patterns,
    imputation_variance,
)
from resilience.context.panel import size_spread
from resilience.context.ridge import (
    MULTIPLIERS,
    RidgeRows,
    assign_folds,
    between_variance,
    bootstrap_weights,
    fit_ridge,
)
from resilience.context.standardise import (
    correlation_of_pairs,
    transform_error_variance,
    transformed,
)
from resilience.data.known_variables import known_variables
from resilience.errors import SpecificationError, WeakDataWarning
from resilience.i18n import Bilingual, text
from resilience.references import reference_keys

ITEMS = ("both_parents_higher_edu", "low_income", "single_parent", "unemployed_parent")
SIGNS = np.array([1, -1, -1, -1])
POLICY = {"both_parents_higher_edu": 0.4, "low_income": -0.3, "single_parent": -0.2}


def region(n_schools: int = 60, n_years: int = 3, seed: int = 1) -> pd.DataFrame:
    """Return schools whose results follow a common disadvantage and their own quality."""
    rng = np.random.default_rng(seed)
    n_pupils = rng.integers(8, 120, n_schools)
    favour = rng.normal(size=n_schools)
    quality = rng.normal(0, 0.3, n_schools)
    chances = [
        1 / (1 + np.exp(-(a + s * 0.7 * favour + 0.5 * rng.normal(size=n_schools))))
        for a, s in zip((-0.5, -0.8, -1.0, -1.8), SIGNS, strict=True)
    ]
    years = []
    for t in range(n_years):
        frame = pd.DataFrame(
            {
                "school_id": [f"S{i:03d}" for i in range(n_schools)],
                "year": 2021 + t,
                "n_pupils": n_pupils,
            }
        )
        for name, chance in zip(ITEMS, chances, strict=True):
            frame[name] = rng.binomial(n_pupils, chance) / n_pupils
        noise = rng.normal(size=n_schools) / np.sqrt(n_pupils)
        frame["mean_score"] = 0.4 * favour + quality + noise
        years.append(frame)
    return pd.concat(years, ignore_index=True)


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return region()


@pytest.fixture(scope="module")
def yearly(schools) -> ContextIndexResults:
    return supervised("previous_years").fit(schools)


@pytest.fixture(scope="module")
def crossed(schools) -> ContextIndexResults:
    return supervised("cross_fitted").fit(schools)


def supervised(weights: str, n_bootstrap: int = 20, **options) -> ContextIndex:
    return ContextIndex.supervised(
        list(ITEMS), outcome="mean_score", weights=weights, n_bootstrap=n_bootstrap, **options
    )


# ---------------------------------------------------------------- policy weights, by hand


def three_schools() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "school_id": ["A", "B", "C", "A"],
            "year": [2022, 2022, 2022, 2023],
            "n_pupils": [25, 50, 25, 40],
            "both_parents_higher_edu": [0.2, 0.4, 0.6, 0.3],
            "low_income": [0.5, 0.1, 0.3, 0.4],
        }
    )


def test_policy_index_by_hand() -> None:
    # Base year, weights 25:50:25.  Education: mean .4, variance (25·.04 + 25·.04)/100 = .02.
    # Income: mean (12.5 + 5 + 7.5)/100 = .25, variance (25·.0625 + 50·.0225 + 25·.0025)/100 =
    # .0275.  z1 = (−1.414214, 0, 1.414214), z2 = −(x − .25)/.165831 = (−1.507557, .904534,
    # −.301511); c = .4 z1 + .3 z2 = (−1.017952, .271360, .475232), mean 0, variance
    # .25·1.036227 + .5·.073636 + .25·.225845 = .352336, SD .593579.
    # A in 2023: z = (−.707107, −.904534), c = −.554203.
    index = ContextIndex.policy({"both_parents_higher_edu": 0.4, "low_income": -0.3})
    with pytest.warns(WeakDataWarning, match="3 schools"):
        result = index.fit(three_schools())
    expected = [32.8506, 54.5716, 58.0062, 40.6633]
    # The hand computation carries six digits, hence four in an index of size 50.
    assert result.scores["context_index"].to_numpy() == pytest.approx(expected, abs=2e-4)
    assert result.fits.loc[0, "raw_sd"] == pytest.approx(0.593579, abs=1e-6)
    assert result.fits.loc[0, "raw_mean"] == 0.0
    assert result.items["base_mean"].tolist() == pytest.approx([0.4, 0.25])
    assert result.items["base_sd"].to_numpy() ** 2 == pytest.approx([0.02, 0.0275])
    # Signed weights: income counts against the school, its weight prints as a size.
    assert result.weights["estimate"].tolist() == [0.4, 0.3]
    assert result.weights["direction"].tolist() == [1, -1]
    assert result.weights[["conf_low", "conf_high"]].isna().all(axis=None)
    # One school in 2023 has neither a spread of its own nor a reliability.
    assert np.isnan(result.scores.loc[3, "context_index_reanchored"])
    assert np.isnan(result.scores.loc[3, "context_reliability"])


def test_a_score_can_be_redone_from_the_printed_tables(schools) -> None:
    result = ContextIndex.policy(POLICY).fit(schools)
    items = result.items.set_index("term")
    raw = sum(
        w.estimate
        * w.direction
        * (schools[w.term] - items.base_mean[w.term])
        / items.base_sd[w.term]
        for w in result.weights.itertuples()
    )
    redone = 50 + 10 * (raw - result.fits.loc[0, "raw_mean"]) / result.fits.loc[0, "raw_sd"]
    # The same arithmetic in another order: rounding alone.
    assert result.scores["context_index"].to_numpy() == pytest.approx(redone.to_numpy(), rel=1e-12)


def test_the_base_year_has_mean_50_and_sd_10_over_its_pupils(schools) -> None:
    for base_year in (2021, 2023):
        result = ContextIndex.policy(POLICY).fit(schools, base_year=base_year)
        rows = (schools["year"] == base_year).to_numpy()
        index = result.scores["context_index"].to_numpy()[rows]
        pupils = schools["n_pupils"].to_numpy()[rows]
        mean = np.average(index, weights=pupils)
        assert mean == pytest.approx(50, abs=1e-9)
        assert np.average((index - mean) ** 2, weights=pupils) == pytest.approx(100, abs=1e-7)
        assert result.base_year == base_year


def test_every_year_has_mean_50_when_reanchored(schools) -> None:
    scores = ContextIndex.policy(POLICY).fit(schools).scores
    for _, rows in scores.groupby("year").groups.items():
        mean = np.average(
            scores.loc[rows, "context_index_reanchored"], weights=schools.loc[rows, "n_pupils"]
        )
        assert mean == pytest.approx(50, abs=1e-9)


def test_later_years_move_no_earlier_index(schools) -> None:
    first = schools[schools["year"] < 2023]
    for index in (ContextIndex.policy(POLICY), supervised("previous_years")):
        alone = index.fit(first).scores["context_index"].to_numpy()
        together = index.fit(schools).scores["context_index"].to_numpy()[: len(first)]
        np.testing.assert_array_equal(alone, together)


def test_the_scale_of_policy_weights_does_not_matter(schools) -> None:
    doubled = {name: 2 * weight for name, weight in POLICY.items()}
    one = ContextIndex.policy(POLICY).fit(schools).scores["context_index"]
    two = ContextIndex.policy(doubled).fit(schools).scores["context_index"]
    # Doubling is exact in binary, so only the anchor's division could differ.
    assert two.to_numpy() == pytest.approx(one.to_numpy(), rel=1e-13)


# ---------------------------------------------------------------- transforms and their errors


def test_transforms_by_hand() -> None:
    share, n = np.array([0.0, 0.25, 1.0, np.nan]), np.array([10.0, 8.0, 4.0, 5.0])
    logit = transformed(share, n, "logit")
    assert logit[:3] == pytest.approx([np.log(0.5 / 10.5), np.log(2.5 / 6.5), np.log(4.5 / 0.5)])
    assert transformed(share, n, "arcsine")[:3] == pytest.approx([0, np.pi / 6, np.pi / 2])
    assert np.isnan(logit[3])
    assert np.isnan(transformed(share, n, "arcsine")[3])
    assert transformed(share, n, "share")[:3].tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("transform", ["logit", "arcsine"])
def test_error_variance_against_all_binomial_outcomes(transform) -> None:
    n, p = 60, 0.4
    counts = np.arange(n + 1)
    chance = binom.pmf(counts, n, p)
    values = transformed(counts / n, np.full(n + 1, float(n)), transform)
    exact = chance @ values**2 - (chance @ values) ** 2
    claimed = transform_error_variance(np.array([p]), np.array([float(n)]), transform)[0]
    # The delta method leaves terms of order 1/n: 5 % at n = 60.
    assert claimed == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("n", [1, 3, 5, 20, 60])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.4, 0.5, 0.9])
def test_error_variance_of_a_share_against_all_binomial_outcomes(n, p) -> None:
    counts = np.arange(n + 1)
    chance = binom.pmf(counts, n, p)
    shares, size = counts / n, np.full(n + 1, float(n))
    exact = chance @ shares**2 - (chance @ shares) ** 2
    claimed = transform_error_variance(shares, size, "share")
    # E[(c+½)(n−c+½)] = n(n−1)pq + n/2 + ¼, over n(n+1)²; rounding alone (the variance above is a
    # difference of squares, up to 10⁴ times as large as itself).
    average = (n * (n - 1) * p * (1 - p) + n / 2 + 0.25) / (n * (n + 1) ** 2)
    assert chance @ claimed == pytest.approx(average, rel=1e-12)
    assert exact == pytest.approx(p * (1 - p) / n, rel=1e-10)
    # As pq ≤ ¼, the average is too small by n/(n+1)² of the truth at most, and by just that at ½.
    least = 1 - n / (n + 1) ** 2
    assert chance @ claimed >= exact * least * (1 - 1e-10)
    if p == 0.5:
        assert chance @ claimed == pytest.approx(exact * least, rel=1e-10)
    # No outcome is free of error: the least claim is that of a share of 0 or 1.
    assert claimed.min() == pytest.approx(0.5 * (n + 0.5) / (n * (n + 1) ** 2), rel=1e-12)
    assert claimed[[0, -1]] == pytest.approx(claimed.min(), rel=1e-12)
    # At the true share the smoothing moves np·nq to (np+½)(nq+½) = n²pq + n/2 + ¼.
    smoothing = (n**2 + (n / 2 + 0.25) / (p * (1 - p))) / (n + 1) ** 2
    at_truth = transform_error_variance(np.array([p]), np.array([float(n)]), "share")[0]
    assert at_truth == pytest.approx(exact * smoothing, rel=1e-10)


def test_error_variance_of_a_share_by_hand() -> None:
    share, n = np.array([0.0, 0.25, 1.0, np.nan]), np.array([5.0, 8.0, 4.0, 5.0])
    claimed = transform_error_variance(share, n, "share")
    # Smoothed: .5/6 of 5, 2.5/9 of 8, 4.5/5 of 4.
    by_hand = [0.5 * 5.5 / 36 / 5, 2.5 * 6.5 / 81 / 8, 4.5 * 0.5 / 25 / 4]
    assert claimed[:3] == pytest.approx(by_hand, rel=1e-12)
    assert claimed[0] == pytest.approx(0.0152778, abs=1e-7)  # an SD of .12, not 0
    assert np.isnan(claimed[3])


@pytest.mark.parametrize("transform", ["logit", "arcsine"])
def test_transforms_keep_the_order_of_shares(schools, transform) -> None:
    index = ContextIndex.policy({"low_income": -1.0}, transform=transform)
    same_size = schools.assign(n_pupils=100)
    scores = index.fit(same_size).scores["context_index"]
    # The logit is taken of whole pupils, so its order is that of the rounded counts.
    poverty = same_size["low_income"]
    poverty = np.rint(poverty * 100) if transform == "logit" else poverty
    assert scores.rank(method="average").corr(poverty.rank(method="average")) == pytest.approx(-1)


def test_binomial_error_of_a_single_year_by_hand() -> None:
    # One item, so index = 50 + 10 z and the error is 10·√((c+½)(n−c+½)/n)/((n+1)d), c = xn.
    frame = region(30, 1)
    frame.loc[3, "low_income"] = 0.0
    result = ContextIndex.policy({"low_income": -1.0}).fit(frame)
    n = frame["n_pupils"].to_numpy()
    count = np.rint(frame["low_income"].to_numpy() * n)
    spread = np.sqrt((count + 0.5) * (n - count + 0.5) / n) / (n + 1)
    expected = 10 * spread / result.items.loc[0, "base_sd"]
    error = result.scores["context_index_std_error"].to_numpy()
    assert error == pytest.approx(expected, rel=1e-12)  # rounding alone
    assert error[3] > 0
    assert result.items.loc[0, "error_source"] == text("context.label_error_binomial")
    assert text("context.note_one_year") in result.notes


def twelve_schools(n_pupils: int) -> tuple[pd.DataFrame, float]:
    """Return two years of twelve shares, and the SD that their changes give by hand.

    The shares move by −.06 .. +.05 beside a common shift of .10.  Changes without the year means
    are the moves minus their mean −.005; their median is −.005 + .005 = 0 and the absolute
    deviations .005, .005, .015, .015, …, .055, .055 have median .03.
    """
    moves = np.arange(-6, 6) / 100
    first = np.linspace(0.2, 0.6, 12)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{i}" for i in range(12)] * 2,
            "year": [2022] * 12 + [2023] * 12,
            "n_pupils": n_pupils,
            "low_income": np.concatenate([first, first + 0.10 + moves]),
        }
    )
    return frame, np.sqrt(0.5) * 1.4826 * 0.03


def test_error_from_yearly_changes_by_hand() -> None:
    # Of 600 pupils a share is known to √(.25/600) = .020 at worst, less than the .0315 of the
    # changes: the changes decide, for every school alike.
    frame, spread = twelve_schools(600)
    with pytest.warns(WeakDataWarning, match="12 schools"):
        result = ContextIndex.policy({"low_income": -1.0}).fit(frame)
    expected = spread / np.linspace(0.2, 0.6, 12).std()
    assert result.items.loc[0, "reporting_sd"] == pytest.approx(expected)
    assert result.items.loc[0, "error_source"] == text("context.label_error_years")
    assert result.scores["context_index_std_error"].to_numpy() == pytest.approx(10 * expected)


def test_error_is_not_below_what_the_number_of_pupils_implies() -> None:
    # The same changes among 50 pupils, of whom a share is known to √(.2·.8/50) = .057 at best.
    frame, spread = twelve_schools(50)
    with pytest.warns(WeakDataWarning, match="12 schools"):
        result = ContextIndex.policy({"low_income": -1.0}).fit(frame)
    count = 50 * frame["low_income"].to_numpy()
    by_size = np.sqrt((count + 0.5) * (50 - count + 0.5) / 50) / 51
    assert by_size.min() > spread
    expected = 10 * by_size / np.linspace(0.2, 0.6, 12).std()
    assert result.scores["context_index_std_error"].to_numpy() == pytest.approx(expected)
    assert result.items.loc[0, "error_source"] == text("context.label_error_years")


def test_numbers_that_repeat_every_year_fall_back_to_the_number_of_pupils() -> None:
    first = region(30, 1)
    frame = pd.concat([first, first.assign(year=2022)], ignore_index=True)
    frame["remoteness_km"] = np.tile(np.linspace(0, 80, 30), 2)
    result = ContextIndex.policy({"low_income": -1.0, "remoteness_km": -0.5}).fit(frame)
    assert [str(s) for s in result.items["error_source"]] == ["number of pupils", "not estimated"]
    assert any("low_income" in n and "last year's number" in n for n in result.notes)
    assert any("remoteness_km" in n and "lower bound" in n for n in result.notes)


def one_small_school() -> pd.DataFrame:
    """Return 60 schools of 400 pupils and S000 of two, whose shares change by .05 a year."""
    frame = region(61, 3)
    frame["n_pupils"] = np.where(frame["school_id"] == "S000", 2, 400)
    step = np.tile(np.where(np.arange(61) % 2 == 0, 0.05, -0.05), 3) * (frame["year"] - 2022)
    level = np.concatenate([[0.3], np.linspace(0.3, 0.7, 60)])
    frame["low_income"] = np.tile(level, 3) + step
    return frame


def test_a_school_too_small_for_the_common_error_has_its_own() -> None:
    frame = one_small_school()
    result = ContextIndex.policy({"low_income": -1.0}).fit(frame)
    # Changes of ±.05 throughout: ½(1.4826·.05)² = .0027477, above the .25/400 = .0006 of a large
    # school.  S000 reports .25, .30 and .35 of two pupils, smoothed (.5, .6, .7 + .5)/3 = 1/3,
    # .366667, .4: variances 2/18, .366667·.633333/2 = .1161111 and .4·.6/2 = .12.
    variance = np.full(183, 0.5 * (1.4826 * 0.05) ** 2)
    variance[[0, 61, 122]] = [2 / 18, 0.1161111, 0.12]
    d = result.items.loc[0, "base_sd"]
    error = result.scores["context_index_std_error"].to_numpy()
    # The hand computation carries seven digits.
    assert error == pytest.approx(10 * np.sqrt(variance) / d, rel=1e-6)
    mean_square = np.sqrt(variance.mean()) / d
    assert result.items.loc[0, "reporting_sd"] == pytest.approx(mean_square, rel=1e-6)
    # The less certain index is shrunken more.
    reliability = result.scores["context_reliability"].to_numpy()
    assert reliability[[0, 61, 122]].max() < reliability[1:61].min()


@pytest.mark.parametrize("transform", ["logit", "arcsine"])
def test_the_own_error_of_a_small_school_is_on_the_scale_of_the_item(transform) -> None:
    result = ContextIndex.policy({"low_income": -1.0}, transform=transform).fit(one_small_school())
    variance = (result.scores["context_index_std_error"] * result.items.loc[0, "base_sd"] / 10) ** 2
    # One pupil of two (.5, .6 and .7 of a pupil round to 0, 1, 1): 1/(c+½) + 1/(2−c+½); 1/(4·2).
    own = [2 + 1 / 2.5, 2 / 1.5, 2 / 1.5] if transform == "logit" else [1 / 8] * 3
    assert variance[[0, 61, 122]].tolist() == pytest.approx(own)
    others = variance.drop([0, 61, 122])
    assert others.to_numpy() == pytest.approx(others.iloc[0], rel=1e-12)  # one for all; rounding
    assert others.max() < min(own)


def test_a_number_has_no_error_by_size() -> None:
    frame = one_small_school().rename(columns={"low_income": "remoteness_km"})
    frame = frame[frame["school_id"] != "S000"].assign(n_pupils=np.tile(np.arange(10, 70), 3))
    result = ContextIndex.policy({"remoteness_km": -1.0}).fit(frame)
    expected = np.sqrt(0.5) * 1.4826 * 0.05 / result.items.loc[0, "base_sd"]
    assert result.scores["context_index_std_error"].to_numpy() == pytest.approx(10 * expected)


def test_spread_of_changes_by_brute_force() -> None:
    rng = np.random.default_rng(2)
    n = np.exp(rng.uniform(np.log(5), np.log(900), 240))
    change = rng.normal(size=240) * np.sqrt(0.002 + 0.4 / n)
    change[:4] *= 30  # slips of the pen
    telling = n > 12
    x, y = [2 / m for m in n[telling]], list(change[telling] - np.median(change[telling]))
    mean_log = sum(np.log(v) for v in x) / len(x)
    found = []
    for step in range(41):
        h = [1 - step / 40 + step / 40 * v / np.exp(mean_log) for v in x]
        size = [abs(d) / v**0.5 for d, v in zip(y, h, strict=True)]
        top = 4 * sum(size) / len(size)
        level = sum(min(s, top) for s in size) / len(size)
        scaled = np.array([d / v**0.5 for d, v in zip(y, h, strict=True)])
        variance = (1.4826 * np.median(np.abs(scaled - np.median(scaled)))) ** 2
        criterion = np.log(level) + sum(np.log(v) for v in h) / len(h) / 2
        a, b = variance * (1 - step / 40), variance * step / 40 / np.exp(mean_log)
        found.append((criterion, a, b))
    # The same arithmetic written out: rounding alone.
    assert size_spread(change, 2 / n, telling) == pytest.approx(min(found)[1:], rel=1e-9)


def test_spread_of_changes_with_one_size_is_that_of_the_deviations() -> None:
    change = np.random.default_rng(1).normal(size=50)
    expected = (1.4826 * np.median(np.abs(change - np.median(change)))) ** 2
    found = size_spread(change, np.full(50, 0.02), np.ones(50, dtype=bool))
    assert found == pytest.approx((expected, 0.0))
    # Too few changes that tell: one spread for all sizes.
    found = size_spread(change, np.linspace(0.001, 0.5, 50), np.arange(50) < 29)
    assert found == pytest.approx((expected, 0.0))
    assert size_spread(change[:9], np.full(9, 0.02), np.ones(9, dtype=bool)) == (0.0, 0.0)
    assert size_spread(np.zeros(50), np.full(50, 0.02), np.ones(50, dtype=bool)) == (0.0, 0.0)


def test_reliability_by_hand() -> None:
    frame = region(40, 1)
    scores = ContextIndex.policy(POLICY).fit(frame).scores
    variance = scores["context_index_std_error"] ** 2
    true = scores["context_index"].var(ddof=1) - variance.mean()
    assert true > 0
    expected = (true / (true + variance)).to_numpy()
    assert scores["context_reliability"].to_numpy() == pytest.approx(expected)


# ---------------------------------------------------------------- missing items


@pytest.fixture(scope="module")
def gappy(schools) -> pd.DataFrame:
    frame = schools.copy()
    frame.loc[4, "single_parent"] = np.nan
    frame.loc[7, ["low_income", "single_parent"]] = np.nan
    frame.loc[9, list(POLICY)] = np.nan
    return frame


def error_of_changes(frame: pd.DataFrame, name: str, n_pupils: float) -> float:
    """Return half of a + 2b/n of a share's yearly changes, the years listed in turn."""
    n_years = frame["year"].nunique()
    by_year = frame[name].to_numpy().reshape(n_years, -1)
    pupils = frame["n_pupils"].to_numpy(dtype=float).reshape(n_years, -1)
    change = np.diff(by_year - np.nanmean(by_year, axis=1, keepdims=True), axis=0)
    share = np.nansum(by_year * pupils, axis=0) / (pupils * ~np.isnan(by_year)).sum(axis=0)
    people = np.tile((share * (1 - share)), (n_years - 1, 1)) * pupils[1:]
    known = ~np.isnan(change)
    per_pupil = (1 / pupils[1:] + 1 / pupils[:-1])[known]
    constant, slope = size_spread(change[known], per_pupil, people[known] >= 1)
    return constant / 2 + slope / n_pupils


def test_one_missing_item_by_integration_of_the_joint_density(gappy) -> None:
    result = ContextIndex.policy(POLICY).fit(gappy)
    items = result.items.set_index("term")
    row = gappy.loc[4]
    z = [
        items.direction[k] * (row[k] - items.base_mean[k]) / items.base_sd[k]
        for k in ("both_parents_higher_edu", "low_income")
    ]
    grid = np.linspace(-9, 9, 4001)
    points = np.column_stack([np.full(grid.size, z[0]), np.full(grid.size, z[1]), grid])
    density = multivariate_normal(cov=result.correlation).pdf(points)
    density /= density.sum()
    mean = density @ grid
    variance = density @ grid**2 - mean**2
    fit = result.fits.loc[0]
    expected = 50 + 10 * (0.4 * z[0] + 0.3 * z[1] + 0.2 * mean - fit.raw_mean) / fit.raw_sd
    # A trapezoid sum of a normal density on a fine grid is exact to far below 1e-8.
    assert result.scores.loc[4, "context_index"] == pytest.approx(expected, abs=1e-8)
    # Slopes of the conditional mean, by the same integration one unit further.
    slopes = []
    for k in range(2):
        moved = points.copy()
        moved[:, k] += 1
        shifted = multivariate_normal(cov=result.correlation).pdf(moved)
        slopes.append((shifted / shifted.sum()) @ grid - mean)
    reported = []
    for k in ("both_parents_higher_edu", "low_income"):
        n, count = row["n_pupils"], row[k] * row["n_pupils"]
        by_size = (count + 0.5) * (n - count + 0.5) / (n * (n + 1) ** 2)
        reported.append(max(error_of_changes(gappy, k, n), by_size) / items.base_sd[k] ** 2)
    error = 0.2**2 * variance + (0.4 + 0.2 * slopes[0]) ** 2 * reported[0]
    error += (0.3 + 0.2 * slopes[1]) ** 2 * reported[1]
    claimed = result.scores.loc[4, "context_index_std_error"]
    assert claimed == pytest.approx(10 * np.sqrt(error) / fit.raw_sd, abs=1e-8)


def test_patterns_of_gaps_against_the_precision_form() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 5))
    covariance = root @ root.T
    scale = np.sqrt(np.diag(covariance))
    R = covariance / np.outer(scale, scale)
    z = rng.normal(size=(40, 5))
    z[rng.random(z.shape) < 0.3] = np.nan
    z[0] = np.nan
    weights = np.array([0.3, 0.1, 0.25, 0.15, 0.2])
    patterns = gap_patterns(z, R)
    filled, precision = completed(z, patterns), np.linalg.inv(R)
    variance = imputation_variance(40, patterns, weights)
    carried = effective_weights(40, patterns, weights)
    for row in range(40):
        gone = np.isnan(z[row])
        inner = np.linalg.inv(precision[np.ix_(gone, gone)]) if gone.any() else np.zeros((0, 0))
        mean = -inner @ precision[np.ix_(gone, ~gone)] @ z[row, ~gone]
        # Two algebraic forms of the same conditional normal: rounding alone.
        np.testing.assert_allclose(filled[row, gone], mean, atol=1e-10)
        np.testing.assert_allclose(filled[row, ~gone], z[row, ~gone])
        assert variance[row] == pytest.approx(weights[gone] @ inner @ weights[gone], abs=1e-10)
        known = np.where(gone, 0.0, np.nan_to_num(z[row]))
        assert carried[row] @ known == pytest.approx(weights @ filled[row], abs=1e-10)


def test_a_school_without_enough_items_has_no_index_and_a_reason(gappy) -> None:
    result = ContextIndex.policy(POLICY).fit(gappy)
    scores = result.scores
    # Known: education .4 of .9 in row 7, nothing in row 9.
    assert scores["context_coverage"].iloc[[4, 7, 9]].tolist() == pytest.approx([7 / 9, 4 / 9, 0])
    assert scores["context_index"].iloc[[7, 9]].isna().all()
    assert scores["context_index_std_error"].iloc[[7, 9]].isna().all()
    reason = scores.loc[7, "context_reason"]
    assert isinstance(reason, Bilingual)
    assert "0.44" in reason
    assert "low_income, single_parent" in reason
    assert "ниже 0.6" in reason.ru
    assert scores.loc[4, "context_reason"] == ""
    assert result.glance().loc[0, "n_unscored"] == 2


def test_the_coverage_limit_is_inclusive_and_free_of_rounding(schools) -> None:
    frame = schools.copy()
    frame.loc[0, "low_income"] = np.nan
    weights = {"both_parents_higher_edu": 0.3, "low_income": -0.4, "single_parent": -0.3}
    # .3/1.0 + .3/1.0 falls just short of .6 in binary.
    result = ContextIndex.policy(weights).fit(frame)
    assert np.isfinite(result.scores.loc[0, "context_index"])
    strict = ContextIndex.policy(weights, min_coverage=0.61).fit(frame)
    assert np.isnan(strict.scores.loc[0, "context_index"])


def test_missing_is_not_zero(schools) -> None:
    gap = schools.copy()
    gap.loc[3, "single_parent"] = np.nan
    zero = schools.copy()
    zero.loc[3, "single_parent"] = 0.0
    index = ContextIndex.policy(POLICY)
    missing, none = index.fit(gap).scores, index.fit(zero).scores
    assert missing.loc[3, "context_index"] < none.loc[3, "context_index"]
    assert missing.loc[3, "context_index_std_error"] > none.loc[3, "context_index_std_error"]


def test_contradictory_pairwise_correlations_are_repaired() -> None:
    # Three disjoint blocks that say r12 = r23 = .99 and r13 = −.99: no three items can.
    t = np.linspace(-1, 1, 9)
    e = 0.1 * np.cos(np.arange(9) * 2.0)
    gap = np.full(9, np.nan)
    blocks = [(t, t + e, gap), (gap, t, t + e), (t, gap, -t + e)]
    values = np.vstack([np.column_stack(b) for b in blocks])
    R, repaired = correlation_of_pairs(values, np.ones(27))
    assert repaired
    assert np.linalg.eigvalsh(R)[0] > -1e-12
    assert np.diag(R) == pytest.approx(1)
    complete, untouched = correlation_of_pairs(np.column_stack([t, t + e, e]), np.ones(9))
    assert not untouched
    np.testing.assert_allclose(complete, np.corrcoef([t, t + e, e]), atol=1e-12)


def test_hardly_ever_joint_items_borrow_nothing() -> None:
    values = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, np.nan], [np.nan, 4.0]])
    R, repaired = correlation_of_pairs(values, np.ones(4))
    assert not repaired
    np.testing.assert_array_equal(R, np.eye(2))


# ---------------------------------------------------------------- supervised weights: oracles


def ridge_rows(seed: int = 5, n_schools: int = 24, n_years: int = 2) -> RidgeRows:
    rng = np.random.default_rng(seed)
    n = n_schools * n_years
    items = rng.normal(size=(n, 4))
    items[:, 1] += 0.5 * items[:, 0]
    period = np.repeat(np.arange(n_years), n_schools)
    outcome = items @ [0.4, 0.0, 0.2, -0.3] + 2.0 * period + rng.normal(0, 0.5, n)
    return RidgeRows(
        items=items,
        outcome=outcome,
        sampling_variance=1 / rng.integers(4, 60, n),
        period=period,
        school=np.tile(np.arange(n_schools), n_years),
        n_periods=n_years,
    )


def full_rows_solution(rows: RidgeRows, omega, multiplier, train):
    """Return weights and yearly means from ω-weighted centred rows augmented by √λ·I."""
    Z, y, w, period = rows.items[train], rows.outcome[train], omega[train], rows.period[train]
    Zc, yc, means = np.empty_like(Z), np.empty_like(y), {}
    for t in np.unique(period):
        at = period == t
        mean_z, mean_y = np.average(Z[at], axis=0, weights=w[at]), np.average(y[at], weights=w[at])
        Zc[at], yc[at], means[t] = Z[at] - mean_z, y[at] - mean_y, (mean_z, mean_y)
    A = Zc * np.sqrt(w)[:, None]
    penalty = multiplier * np.mean(np.diag(A.T @ A))
    stacked = np.vstack([A, np.sqrt(penalty) * np.eye(Z.shape[1])])
    target = np.concatenate([yc * np.sqrt(w), np.zeros(Z.shape[1])])
    found = lsq_linear(stacked, target, bounds=(0, np.inf), method="bvls", tol=1e-14).x
    return found, means


def line_of(rows: RidgeRows, means, weights, slope):
    level = np.array([means[t][1] - slope * means[t][0] @ weights for t in rows.period])
    return level + slope * (rows.items @ weights)


def test_ridge_fit_against_a_brute_force_cross_validation() -> None:
    rows = ridge_rows()
    fit = fit_ridge(rows, 4, np.random.default_rng(11))
    omega = 1 / (fit.between_variance + rows.sampling_variance)
    fold = assign_folds(np.arange(24), 4, np.random.default_rng(11))[rows.school]
    loss, residual = np.empty((20, 4)), np.empty((20, len(rows)))
    for m, multiplier in enumerate(np.logspace(-3, 3, 20)):
        for f in range(4):
            out = fold == f
            w, centre = full_rows_solution(rows, omega, multiplier, ~out)
            plain = line_of(rows, centre, w, 1.0)
            loss[m, f] = np.average((rows.outcome - plain)[out] ** 2, weights=omega[out])
            # The line of results on the index alone, fitted without penalty by weighted OLS.
            design = (
                np.column_stack([np.eye(2)[rows.period], rows.items @ w]) * np.sqrt(omega)[:, None]
            )
            free = np.linalg.lstsq(design[~out], (rows.outcome * np.sqrt(omega))[~out], rcond=None)[
                0
            ]
            residual[m, out] = (rows.outcome - design @ free / np.sqrt(omega))[out]
    mean = loss.mean(axis=1)
    best = mean.argmin()
    allowed = mean <= mean[best] + loss[best].std(ddof=1) / 2  # √4 folds
    chosen = np.flatnonzero(allowed)[-1]
    assert fit.multiplier == pytest.approx(MULTIPLIERS[chosen])
    everything = np.full(len(rows), True)
    weights, centre = full_rows_solution(rows, omega, fit.multiplier, everything)
    # The same strictly convex problem, compressed and in full: rounding alone.
    np.testing.assert_allclose(fit.weights, weights, atol=1e-10)
    assert fit.weights[3] == 0.0  # its true weight is negative
    assert fit.slope >= 1
    np.testing.assert_allclose(
        fit.predict(rows), line_of(rows, centre, weights, fit.slope), atol=1e-10
    )
    level = [
        np.average(rows.outcome[rows.period == t], weights=omega[rows.period == t]) for t in (0, 1)
    ]
    spread = np.sum(omega * (rows.outcome - np.take(level, rows.period)) ** 2)
    r2 = 1 - np.sum(omega * residual[chosen] ** 2) / spread
    assert fit.r2_cv == pytest.approx(r2, abs=1e-10)


def test_between_variance_solves_its_equation() -> None:
    rows = ridge_rows(n_schools=80)
    tau2 = between_variance(rows)
    omega = 1 / (tau2 + rows.sampling_variance)
    X = np.column_stack([np.eye(2)[rows.period], rows.items])
    H = np.linalg.inv(X.T @ (omega[:, None] * X)) @ X.T @ (omega * rows.outcome)
    pearson = np.sum(omega * (rows.outcome - X @ H) ** 2)
    # The root is found to six digits of τ².
    assert pearson == pytest.approx(len(rows) - X.shape[1], rel=1e-4)


def test_between_variance_is_zero_where_sampling_explains_everything() -> None:
    rows = ridge_rows()
    noisy = RidgeRows(
        items=rows.items,
        outcome=rows.outcome,
        sampling_variance=np.full(len(rows), 50.0),
        period=rows.period,
        school=rows.school,
        n_periods=2,
    )
    assert between_variance(noisy) == 0.0


def test_bootstrap_equals_refits_of_resampled_schools() -> None:
    rows = ridge_rows()
    fit = fit_ridge(rows, 4, np.random.default_rng(2))
    draws = bootstrap_weights(rows, fit, 5, np.random.default_rng(9))
    counts = np.random.default_rng(9).multinomial(24, np.full(24, 1 / 24), size=5)
    omega = 1 / (fit.between_variance + rows.sampling_variance)
    for draw, count in zip(draws, counts, strict=True):
        train = np.repeat(np.arange(len(rows)), count[rows.school])
        refit, _ = full_rows_solution(rows, omega, fit.multiplier, train)
        np.testing.assert_allclose(draw, refit, atol=1e-10)


def test_a_year_unseen_in_training_takes_the_mean_level() -> None:
    rows = ridge_rows()
    only_first = rows.where(rows.period == 0)
    fit = fit_ridge(only_first, 4, np.random.default_rng(2))
    assert fit.intercepts[1] == fit.intercepts[0]
    assert np.isfinite(fit.predict(rows)).all()


# ---------------------------------------------------------------- leaks


def test_cross_fitting_a_school_has_no_part_in_its_own_weights(schools, crossed) -> None:
    school = "S007"
    mine = (schools["school_id"] == school).to_numpy()
    changed = schools.copy()
    changed.loc[mine, "mean_score"] += 2.0
    after = supervised("cross_fitted").fit(changed)
    own_set = crossed.scores.loc[mine, "weight_set"].unique()
    assert own_set.size == 1
    before_sets, after_sets = (r.weight_sets.set_index("weight_set") for r in (crossed, after))
    # Exactly, not nearly: no sum, penalty or scale may carry the school's result.
    pd.testing.assert_frame_equal(before_sets.loc[own_set], after_sets.loc[own_set])
    columns = ["context_index", "context_index_std_error", "context_reliability"]
    pd.testing.assert_frame_equal(
        crossed.scores.loc[mine, columns], after.scores.loc[mine, columns]
    )
    # The change is large enough to be seen wherever it may be.
    others = [s for s in before_sets.index.unique() if s != own_set[0]]
    for name in others:
        moved = before_sets.loc[name, "estimate"] - after_sets.loc[name, "estimate"]
        assert np.abs(moved).max() > 1e-3


def test_previous_years_results_of_a_year_have_no_part_in_its_scores(schools, yearly) -> None:
    last = (schools["year"] == 2023).to_numpy()
    changed = schools.copy()
    rng = np.random.default_rng(0)
    changed.loc[last, "mean_score"] = rng.normal(0, 9, last.sum())
    pd.testing.assert_frame_equal(supervised("previous_years").fit(changed).scores, yearly.scores)
    # Not even their presence: a list due before the results are out can be scored.
    changed.loc[last, "mean_score"] = np.nan
    pd.testing.assert_frame_equal(supervised("previous_years").fit(changed).scores, yearly.scores)
    middle = (schools["year"] == 2022).to_numpy()
    changed = schools.copy()
    changed.loc[middle, "mean_score"] += rng.normal(0, 0.5, middle.sum())
    moved = supervised("previous_years").fit(changed).scores["context_index"].to_numpy()
    before = yearly.scores["context_index"].to_numpy()
    np.testing.assert_array_equal(moved[middle], before[middle])
    assert np.abs(moved[last] - before[last]).max() > 0.1


def test_previous_years_says_which_weights_score_which_year(yearly) -> None:
    fits = yearly.fits.set_index("weight_set")
    assert fits.index.tolist() == ["2022", "2023"]
    assert fits.loc["2022", "fitted_on"] == "all schools, years 2021"
    assert fits.loc["2023", "fitted_on"].ru == "все школы, годы 2021, 2022"
    assert fits["n_school_years"].tolist() == [60, 120]
    by_year = yearly.scores.groupby("year")["weight_set"].unique()
    assert [list(v) for v in by_year] == [[""], ["2022"], ["2023"]]
    first = yearly.scores[yearly.scores["year"] == 2021]
    assert first["context_index"].isna().all()
    assert first["context_coverage"].isna().all()
    assert all("2021" in r and "0 schools" in r for r in first["context_reason"])
    assert any("2021" in note for note in yearly.notes)
    latest = yearly.weight_sets.query("weight_set == '2023'")["estimate"]
    assert yearly.weights["estimate"].tolist() == latest.tolist()


def test_every_set_of_weights_shares_one_scale(schools, yearly, crossed) -> None:
    base = (schools["year"] == 2021).to_numpy()
    pupils = schools["n_pupils"].to_numpy()[base]
    items = crossed.items.set_index("term")
    z = np.column_stack(
        [items.direction[k] * (schools[k] - items.base_mean[k]) / items.base_sd[k] for k in ITEMS]
    )
    for result in (yearly, crossed):
        for fit in result.fits.itertuples():
            weights = result.weight_sets.query("weight_set == @fit.weight_set")["estimate"]
            index = 50 + 10 * (z[base] @ weights.to_numpy() - fit.raw_mean) / fit.raw_sd
            assert np.average(index, weights=pupils) == pytest.approx(50, abs=1e-9)
            assert np.average((index - 50) ** 2, weights=pupils) == pytest.approx(100, abs=1e-7)


def test_folds_hold_whole_schools_and_differ_in_size_by_one_at_most(crossed) -> None:
    folds = crossed.scores.groupby("school_id")["weight_set"].unique()
    assert folds.map(len).eq(1).all()
    size = folds.map(lambda names: names[0]).value_counts()
    assert size.max() - size.min() <= 1
    assert sorted(size.index) == [f"fold_{k}" for k in range(1, 6)]


def test_a_single_vintage_is_cross_fitted() -> None:
    result = supervised("cross_fitted").fit(region(80, 1))
    assert result.scores["context_index"].notna().all()
    assert result.r2_cv > 0.1
    assert result.r2_cv < result.r2_cv_of_explainable
    assert np.isnan(result.lag1_correlation)
    assert text("context.note_one_year") in result.notes


def test_weights_are_not_negative_and_carry_intervals(yearly, crossed) -> None:
    for result in (yearly, crossed):
        assert (result.weight_sets["estimate"] >= 0).all()
        w = result.weights
        assert (w["conf_low"] <= w["conf_high"]).all()
        assert (w["conf_low"] >= 0).all()
    without = supervised("cross_fitted", n_bootstrap=0).fit(region())
    assert without.weights["conf_low"].isna().all()
    assert without.weights["estimate"].tolist() == crossed.weights["estimate"].tolist()


def test_explainable_share_by_hand() -> None:
    frame = region(60, 1)
    result = supervised("cross_fitted", outcome_sd=0.8).fit(frame)
    noise = np.mean(0.8**2 / frame["n_pupils"])
    share = 1 - noise / frame["mean_score"].var(ddof=1)
    assert result.r2_cv_of_explainable == pytest.approx(result.r2_cv / share)


def test_an_undefined_ceiling_gives_its_reason() -> None:
    result = supervised("cross_fitted", outcome_sd=5.0).fit(region(60, 1))
    assert np.isnan(result.r2_cv_of_explainable)
    assert any("outcome_sd" in note and "outcome_sd" in note.ru for note in result.notes)


def test_rows_left_out_of_the_estimation_are_counted() -> None:
    frame = region()
    frame.loc[[60, 61, 62], "mean_score"] = np.nan
    frame.loc[70, ["low_income", "single_parent", "unemployed_parent"]] = np.nan
    result = supervised("cross_fitted").fit(frame)
    note = next(n for n in result.notes if "took no part" in n)
    assert "4 school-years" in note
    assert "3 without mean_score, 1 with too few items" in note
    # Without results a school is scored all the same.
    assert result.scores.loc[[60, 61, 62], "context_index"].notna().all()


# ---------------------------------------------------------------- comparison variants


def test_equal_weights(schools) -> None:
    result = ContextIndex.equal(ITEMS).fit(schools)
    assert result.weights["estimate"].tolist() == [0.25] * 4
    as_policy = ContextIndex.policy(dict(zip(ITEMS, SIGNS / 4, strict=True))).fit(schools)
    pd.testing.assert_frame_equal(result.scores, as_policy.scores)


def test_pca_gives_the_component_with_the_largest_variance(schools) -> None:
    result = ContextIndex.pca(ITEMS).fit(schools)
    R, w = result.correlation, result.weights["estimate"].to_numpy()
    largest = np.linalg.eigvalsh(R)[-1]
    np.testing.assert_allclose(R @ w, largest * w, atol=1e-12)
    assert w @ R @ w == pytest.approx(1)  # a component score has unit variance
    assert w[0] > 0
    loadings = w * largest
    assert component_weights(loadings) == pytest.approx(w)


def test_component_weights_of_pisa_2015() -> None:
    # Avvisati2020, table 3, row "PISA 2015 (own computation, based on public-use files)".
    weights = component_weights(np.array([0.814, 0.815, 0.776]))
    # Loadings are printed to three digits, which moves a weight by less than half a thousandth.
    assert weights == pytest.approx([0.422, 0.422, 0.402], abs=6e-4)


def test_alpha_of_four_items_with_mean_correlation_one_half() -> None:
    # detection specification, section 1: 4·.5/(1 + 3·.5) = .8.
    assert standardised_alpha(0.5, 4) == pytest.approx(0.8)
    assert cronbach_alpha(0.5 * np.eye(4) + 0.5) == pytest.approx(0.8)
    assert np.isnan(cronbach_alpha(np.eye(1)))
    with pytest.raises(SpecificationError, match="at least 2"):
        standardised_alpha(0.5, 1)


def test_omega_of_one_factor() -> None:
    loadings = np.array([0.9, 0.7, 0.6, 0.5])
    R = np.outer(loadings, loadings)
    np.fill_diagonal(R, 1)
    expected = loadings.sum() ** 2 / (loadings.sum() ** 2 + (1 - loadings**2).sum())
    # The EM steps of the estimator stop at a relative change of 1e-8 in the likelihood.
    assert factor_omega(R) == pytest.approx(expected, abs=1e-3)
    assert np.isnan(factor_omega(np.eye(2)))


# ---------------------------------------------------------------- inputs and their order


def test_row_order_does_not_matter(schools, crossed) -> None:
    mixed = schools.sample(frac=1, random_state=4)
    result = supervised("cross_fitted").fit(mixed)
    back = result.scores.set_axis(mixed.index).sort_index()
    # Sums run in another order: rounding alone.
    pd.testing.assert_frame_equal(back, crossed.scores, rtol=1e-9)


def test_the_seed_decides_and_repeats(schools, crossed) -> None:
    again = supervised("cross_fitted").fit(schools)
    pd.testing.assert_frame_equal(again.scores, crossed.scores)
    pd.testing.assert_frame_equal(again.weights, crossed.weights)
    other = supervised("cross_fitted").fit(schools, random_state=1)
    assert not other.scores["weight_set"].equals(crossed.scores["weight_set"])


def test_the_table_is_left_as_it_was(schools) -> None:
    before = schools.copy(deep=True)
    ContextIndex.policy(POLICY).fit(schools)
    pd.testing.assert_frame_equal(schools, before)


def test_whole_number_codes_nullable_columns_and_flags() -> None:
    frame = region(30, 2)
    plain = ContextIndex.policy({**POLICY, "is_rural": -0.1})
    rural = np.tile(np.arange(30) % 3 == 0, 2)
    expected = plain.fit(frame.assign(is_rural=rural.astype(int))).scores["context_index"]
    nullable = frame.assign(
        school_id=np.tile(np.arange(30), 2),
        is_rural=pd.array(rural, dtype="boolean"),
        n_pupils=frame["n_pupils"].astype("Int64"),
        low_income=frame["low_income"].astype("Float64"),
    )
    result = plain.fit(nullable)
    assert result.scores["context_index"].to_numpy() == pytest.approx(expected.to_numpy())
    assert result.scores["school_id"].tolist() == nullable["school_id"].tolist()
    nullable.loc[0, "is_rural"] = pd.NA
    assert plain.fit(nullable).items.set_index("term").missing_share["is_rural"] == pytest.approx(
        1 / 60
    )


def test_an_unknown_column_enters_with_a_declared_direction(schools) -> None:
    frame = schools.assign(books_at_home=np.linspace(0, 250, len(schools)))
    result = ContextIndex.equal(
        ["low_income", "books_at_home"],
        directions={"books_at_home": 1},
        transform={"books_at_home": "number"},
    ).fit(frame)
    assert result.items["direction"].tolist() == [-1, 1]
    assert result.items["role"].tolist() == ["intake", "declared by the caller"]
    assert any(
        "books_at_home" in note and "outside the documented" in note for note in result.notes
    )


def test_a_reversed_direction_is_noted(schools) -> None:
    result = ContextIndex.policy({"low_income": 1.0}, directions={"low_income": 1}).fit(schools)
    assert any("against the documented" in note for note in result.notes)


def test_known_variables_are_well_formed() -> None:
    names, keys = column_names(), reference_keys()
    for name, known in known_variables().items():
        if known.role in ("intake", "location"):
            assert name in names, name
            assert known.scale in ("share", "number", "flag")
            assert known.status in ("documented", "proposal")
            assert known.direction in (-1, 0, 1)
            assert (known.status == "documented") == bool(known.source), name
            assert not known.source or known.source in keys
        else:
            assert text(f"context.role_{known.role}").ru
            assert known.direction == 0


# ---------------------------------------------------------------- the result


def test_every_column_stands_in_the_glossary(yearly, crossed) -> None:
    known = set(column_names())
    for result in (yearly, crossed):
        tables = (
            result.scores,
            result.weights,
            result.weight_sets,
            result.fits,
            result.items,
            result.glance(),
            result.adverse_context(),
        )
        for table in tables:
            assert set(table.columns) <= known
    binding = ["context_index", "context_index_std_error", "context_reliability"]
    assert yearly.scores.columns.tolist()[:6] == ["school_id", "year", *binding, "context_coverage"]
    assert list(yearly.weights) == ["term", "estimate", "conf_low", "conf_high", "direction"]


def test_summary_speaks_both_languages(yearly) -> None:
    english, russian = yearly.summary(), yearly.summary("ru")
    assert "weights estimated from results of previous years" in english
    assert "веса оценены по результатам предыдущих лет" in russian
    assert "за 2021 год индекса нет" in russian
    assert "year 2021 has no index" in english
    assert "ИСБШ" in russian.splitlines()[0]
    assert "<table" in yearly._repr_html_()
    assert repr(yearly).startswith("ContextIndexResults(index_kind=")
    assert "\n" not in repr(yearly)


def test_glance_and_to_dict(crossed) -> None:
    glance = crossed.glance()
    assert len(glance) == 1
    row = glance.iloc[0]
    assert (row["n_schools"], row["n_years"], row["n_inputs"]) == (60, 3, 4)
    assert row["n_scored"] == 180
    assert isinstance(row["index_kind"], Bilingual)
    plain = crossed.to_dict()
    assert json.loads(json.dumps(plain["notes"]))
    assert plain["scores"][0]["school_id"] == "S000"
    assert len(plain["correlation"]) == 4


def test_augment_keeps_rows_and_index(schools, crossed) -> None:
    some = schools.loc[[150, 3, 70], ["school_id", "year", "n_pupils"]]
    added = crossed.augment(some)
    assert added.index.tolist() == [150, 3, 70]
    expected = crossed.scores.loc[[150, 3, 70], "context_index"].tolist()
    assert added["context_index"].tolist() == expected
    stranger = pd.DataFrame({"school_id": ["X"], "year": [2021]})
    assert crossed.augment(stranger)["context_index"].isna().all()


def test_results_are_frozen(crossed) -> None:
    with pytest.raises(AttributeError):
        crossed.r2_cv = 1.0
    with pytest.raises(AttributeError):
        ContextIndex.policy(POLICY).min_coverage = 0.1


def test_adverse_context_by_hand(schools) -> None:
    result = ContextIndex.policy(POLICY).fit(schools)
    table = result.adverse_context(quantile=0.25)
    rows = (schools["year"] == 2022).to_numpy()
    scores = result.scores[rows]
    mean = scores["context_index"].mean()
    kappa, error = scores["context_reliability"], scores["context_index_std_error"]
    a = mean + kappa * (scores["context_index"] - mean)
    gate = np.sort(a)[14]  # the 15th of 60 schools: a quarter stands at or below it
    expected = norm.cdf((gate - a) / np.sqrt(kappa * error**2))
    assert table.loc[rows, "probability_adverse"].to_numpy() == pytest.approx(expected)
    assert table.loc[rows, "context_index_shrunken"].to_numpy() == pytest.approx(a.to_numpy())


def test_adverse_context_at_a_fixed_gate(schools) -> None:
    result = ContextIndex.policy(POLICY).fit(schools)
    free = result.adverse_context(quantile=0.30)
    for year, own in free.groupby("year"):
        gate = own["gate"].iloc[0]
        # About 30 % of the schools stand at or below the realised gate, which repeats.
        assert (own["gate"] == gate).all()
        assert (own["context_index_shrunken"] <= gate).mean() == pytest.approx(0.30, abs=1 / 60)
        fixed = result.adverse_context(gate=float(gate))
        same = fixed["year"] == year
        np.testing.assert_allclose(
            fixed.loc[same, "probability_adverse"], own["probability_adverse"]
        )
        assert (fixed["gate"] == gate).all()
    wider = result.adverse_context(quantile=0.33)["probability_adverse"]
    assert (wider >= result.adverse_context()["probability_adverse"]).all()
    with pytest.raises(SpecificationError, match="both quantile"):
        result.adverse_context(quantile=0.25, gate=40.0)
    with pytest.raises(SpecificationError, match="finite"):
        result.adverse_context(gate=float("nan"))


def test_adverse_context_without_error_is_certain() -> None:
    frame = region(40, 1).assign(remoteness_km=np.arange(40.0))
    result = ContextIndex.policy({"remoteness_km": -1.0}).fit(frame)
    flags = result.adverse_context()["probability_adverse"].to_numpy()
    assert flags.tolist() == [0.0] * 30 + [1.0] * 10
