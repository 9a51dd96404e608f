"""The context index recovers known weights, errors and reliabilities from simulated schools."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.context import ContextIndex
from resilience.errors import WeakDataWarning

NAMES = ("first", "second", "third", "idle")
TRUE_WEIGHTS = np.array([0.30, 0.20, 0.10, 0.0])
DIRECTIONS = {"first": 1, "second": -1, "third": -1, "idle": 1}
SIGNS = np.array([DIRECTIONS[name] for name in NAMES])
SCHOOL_SD, PUPIL_SD = 0.3, 1.0
# Four standard errors: about one false alarm in 16,000 comparisons.
WIDE = 4.0


def one_vintage(n_schools: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return schools, their signed standardised items and the variance of each result."""
    rng = np.random.default_rng(seed)
    n_pupils = rng.integers(10, 150, n_schools)
    common = rng.normal(size=n_schools)
    raw = np.column_stack([s * 0.6 * common + rng.normal(size=n_schools) for s in SIGNS])
    mean = np.average(raw, axis=0, weights=n_pupils)
    sd = np.sqrt(np.average((raw - mean) ** 2, axis=0, weights=n_pupils))
    z = SIGNS * (raw - mean) / sd
    variance = SCHOOL_SD**2 + PUPIL_SD**2 / n_pupils
    outcome = z @ TRUE_WEIGHTS + rng.normal(size=n_schools) * np.sqrt(variance)
    frame = pd.DataFrame(raw, columns=list(NAMES))
    frame["school_id"] = [f"S{i:04d}" for i in range(n_schools)]
    return frame.assign(year=2024, n_pupils=n_pupils, mean_score=outcome), z, variance


def index_of(n_bootstrap: int = 0) -> ContextIndex:
    return ContextIndex.supervised(
        NAMES,
        outcome="mean_score",
        weights="cross_fitted",
        n_bootstrap=n_bootstrap,
        directions=DIRECTIONS,
        transform="number",
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_known_weights_come_back_shrunken_as_ridge_theory_says(seed) -> None:
    frame, z, variance = one_vintage(1500, seed)
    result = index_of(n_bootstrap=200).fit(frame)
    estimate = result.weights["estimate"].to_numpy()
    # Given λ the unconstrained estimate has mean (G+λI)⁻¹Gw and variance (G+λI)⁻¹G(G+λI)⁻¹, with
    # G = Z'ΩZ centred, since ω is the reciprocal of the variance of a result.
    omega = 1 / variance
    centred = z - np.average(z, axis=0, weights=omega)
    G = centred.T @ (omega[:, None] * centred)
    penalty = fit_of_all(result, frame)
    inverse = np.linalg.inv(G + penalty * np.mean(np.diag(G)) * np.eye(4))
    expected, spread = inverse @ G @ TRUE_WEIGHTS, np.sqrt(np.diag(inverse @ G @ inverse))
    assert (np.abs(estimate - expected) < WIDE * spread).all()
    # The order of importance and the idle item are recovered beyond doubt.
    assert estimate[0] > estimate[1] > estimate[2] > estimate[3]
    # The bootstrap interval of an interior weight spans ±1.96 such errors; its ends, quantiles of
    # 200 draws, are themselves known to about 13 %, and the model error of τ² adds little.
    half = (result.weights["conf_high"] - result.weights["conf_low"]).to_numpy()[:3] / 2
    assert half == pytest.approx(1.96 * spread[:3], rel=WIDE * 0.13 / np.sqrt(2))


def fit_of_all(result, frame) -> float:
    """Return the penalty of the fit to all schools, found from its slope.

    The table of fits lists the folds; the printed weights come from a fit of their own, whose
    penalty solves (G + λI)w = Z'Ωy on the items with positive weights.
    """
    z = np.column_stack(
        [
            row.direction * (frame[row.term] - row.base_mean) / row.base_sd
            for row in result.items.itertuples()
        ]
    )
    grid = np.logspace(-3, 3, 20)
    # τ² differs a little between folds; their mean stands for the whole to three digits.
    omega = 1 / (
        result.fits["between_variance"].mean() + PUPIL_SD**2 / frame["n_pupils"].to_numpy()
    )
    centred = z - np.average(z, axis=0, weights=omega)
    y = frame["mean_score"].to_numpy()
    y = y - np.average(y, weights=omega)
    G, g = centred.T @ (omega[:, None] * centred), centred.T @ (omega * y)
    w = result.weights["estimate"].to_numpy()
    used = w > 0
    gaps = [np.abs(((G + m * np.mean(np.diag(G)) * np.eye(4)) @ w - g)[used]).max() for m in grid]
    return float(grid[int(np.argmin(gaps))])


def test_explained_share_comes_back() -> None:
    shares, of_explainable, truth, ceiling = [], [], [], []
    for seed in range(8):
        frame, z, variance = one_vintage(800, 100 + seed)
        result = index_of().fit(frame)
        shares.append(result.r2_cv)
        of_explainable.append(result.r2_cv_of_explainable)
        signal = np.var(z @ TRUE_WEIGHTS)
        omega = 1 / variance
        # ω-weighted, as the statistic is: Σω·variance/Σω is the weighted noise.
        truth.append(signal / (signal + np.average(variance, weights=omega)))
        ceiling.append(signal / (signal + SCHOOL_SD**2))
    # Eight independent regions give the standard error of their mean.
    error = np.std(shares, ddof=1) / np.sqrt(8)
    # Estimated weights lose a little against the true ones: about K/S = .5 % of the variance, and
    # what the direction loses to the penalty, below 1 % here.
    assert np.mean(shares) == pytest.approx(np.mean(truth), abs=WIDE * error + 0.015)
    # The ceiling divides a precision-weighted share by an unweighted one: with pupils from 10 to
    # 150 and τ² = .09 the two noise levels differ by .009, 3 % of the variance.
    assert np.mean(of_explainable) == pytest.approx(np.mean(ceiling), abs=WIDE * error + 0.04)


def test_results_without_context_are_recognised() -> None:
    frame, _, _ = one_vintage(200, 5)
    rng = np.random.default_rng(0)
    unrelated = frame.assign(mean_score=rng.normal(size=200))
    with pytest.warns(WeakDataWarning, match="do not predict"):
        result = index_of().fit(unrelated)
    assert result.r2_cv <= 0
    # In the same schools the fit itself would claim to explain something.
    X = np.column_stack([np.ones(200), unrelated[list(NAMES)]])
    y = unrelated["mean_score"].to_numpy()
    inside = 1 - np.sum((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2) / np.var(y) / 200
    assert inside > 0


def panel(n_schools: int, n_years: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return passports that are binomial draws around a constant truth, and that truth."""
    rng = np.random.default_rng(seed)
    favour = rng.normal(size=n_schools)
    chance = 1 / (1 + np.exp(0.6 + 0.8 * favour + 0.4 * rng.normal(size=n_schools)))
    second = 1 / (1 + np.exp(1.0 + 0.8 * favour + 0.4 * rng.normal(size=n_schools)))
    years = [
        pd.DataFrame(
            {
                "school_id": [f"S{i:04d}" for i in range(n_schools)],
                "year": 2020 + t,
                "n_pupils": 40,
                "low_income": rng.binomial(40, chance) / 40,
                "single_parent": rng.binomial(40, second) / 40,
            }
        )
        for t in range(n_years)
    ]
    return pd.concat(years, ignore_index=True), np.column_stack([chance, second])


def reliability_against_truth(frame: pd.DataFrame, truth: np.ndarray) -> tuple[float, float]:
    """Return the claimed reliability of the first year and the squared correlation with truth."""
    result = ContextIndex.policy({"low_income": -1.0, "single_parent": -1.0}).fit(frame)
    true_index = -(truth / result.items["base_sd"].to_numpy()).sum(axis=1)
    rows = (frame["year"] == 2020).to_numpy()
    observed = result.scores["context_index"].to_numpy()[rows]
    squared = float(np.corrcoef(observed, true_index)[0, 1] ** 2)
    return float(result.scores["context_reliability"].to_numpy()[rows].mean()), squared


def stated_by_size(n_pupils: np.ndarray | int, chance: np.ndarray) -> np.ndarray:
    """Return what the smoothed binomial variance of a share averages over its outcomes.

    E[(c+½)(n−c+½)]/(n(n+1)²), by the moments of the count.
    """
    spread = n_pupils * (n_pupils - 1) * chance * (1 - chance) + n_pupils / 2 + 0.25
    return spread / (n_pupils * (n_pupils + 1) ** 2)


def test_error_of_one_year_comes_back_from_the_number_of_pupils() -> None:
    frame, truth = panel(1200, 1, seed=1)
    result = ContextIndex.policy({"low_income": -1.0, "single_parent": -1.0}).fit(frame)
    base_sd = result.items["base_sd"].to_numpy()
    stated = np.sqrt(stated_by_size(40, truth).mean(axis=0)) / base_sd
    # Over 1,200 schools the mean of x(1−x), whose SD is below a third of its mean, is known to
    # 1 %, its root to half of that.
    assert result.items["reporting_sd"].to_numpy() == pytest.approx(stated, rel=WIDE * 0.005)
    claimed, squared = reliability_against_truth(frame, truth)
    # Against the true error, smoothing shares of 40 pupils moves the variance 1 − κ by its share.
    true_variance = (truth * (1 - truth) / 40).mean(axis=0)
    bias = np.abs(stated_by_size(40, truth).mean(axis=0) / true_variance - 1).max()
    assert bias < 0.025
    # Reliability is the squared correlation with the truth; at ρ² = .84 and 1,200 schools its
    # sampling error is 2ρ(1−ρ²)/√1200 = .0085.
    assert claimed == pytest.approx(squared, abs=WIDE * 0.0085 + bias * (1 - squared))


def test_error_of_several_years_comes_back_from_yearly_changes() -> None:
    frame, truth = panel(1200, 4, seed=2)
    # Of 400 pupils a share is known to √(.25/400) = .025 at worst, half of the slips below: the
    # yearly changes decide.
    frame["n_pupils"] = 400
    rng = np.random.default_rng(4)
    # Slips of the pen of .05 in the share, the same for all schools, around a constant truth.
    for k, name in enumerate(("low_income", "single_parent")):
        reported = np.tile(truth[:, k], 4) * 0.6 + 0.2 + rng.normal(0, 0.05, len(frame))
        frame[name] = reported
    assert frame[["low_income", "single_parent"]].to_numpy().min() >= 0
    result = ContextIndex.policy({"low_income": -1.0, "single_parent": -1.0}).fit(frame)
    expected = 0.05 / result.items["base_sd"].to_numpy()
    # The MAD of n normal values has a relative error of 1.17/√n; changes of adjacent years share
    # a year, which leaves at least half of the 3,600 as independent ones: 2.8 %.
    assert result.items["reporting_sd"].to_numpy() == pytest.approx(expected, rel=WIDE * 0.028)
    claimed, squared = reliability_against_truth(frame, truth)
    # As above: .0085 at most from sampling, and twice 2.8 % of 1 − κ from the error variance.
    assert claimed == pytest.approx(squared, abs=WIDE * (0.0085 + 0.056 * (1 - squared)))


SIZES = ((3, 9), (10, 29), (30, 59), (60, 120), (121, 400), (401, 1200))


def schools_of_all_sizes(n_years: int, logit: float) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return binomial passports of 2,000 schools of 3 to 1,200 pupils, sizes and truths."""
    rng = np.random.default_rng(3)
    n_pupils = np.rint(np.exp(rng.uniform(np.log(3), np.log(1200), 2000))).astype(int)
    chance = 1 / (1 + np.exp(-logit - 0.8 * rng.normal(size=2000)))
    years = [
        pd.DataFrame(
            {
                "school_id": [f"S{i:04d}" for i in range(2000)],
                "year": 2020 + t,
                "n_pupils": n_pupils,
                "low_income": rng.binomial(n_pupils, chance) / n_pupils,
            }
        )
        for t in range(n_years)
    ]
    return pd.concat(years, ignore_index=True), n_pupils, chance


def stated_variance(frame: pd.DataFrame, n_years: int) -> np.ndarray:
    """Return the stated error variance of the share itself, years by schools."""
    result = ContextIndex.policy({"low_income": -1.0}).fit(frame)
    error = result.scores["context_index_std_error"].to_numpy() / 10
    return (error * result.items.loc[0, "base_sd"]).reshape(n_years, -1) ** 2


# Shares about one in three and about one in thirteen.
@pytest.mark.parametrize("logit", [-0.6, -2.5])
def test_stated_error_by_size_from_one_year(logit) -> None:
    frame, n_pupils, chance = schools_of_all_sizes(1, logit)
    stated = stated_variance(frame, 1)[0]
    true, average = chance * (1 - chance) / n_pupils, stated_by_size(n_pupils, chance)
    for low, high in SIZES:
        band = (n_pupils >= low) & (n_pupils <= high)
        error = stated[band].std(ddof=1) / np.sqrt(band.sum())
        assert stated[band].mean() == pytest.approx(average[band].mean(), abs=WIDE * error)
        # What smoothing does to the SD: at least √(13/16) = .90 of the true one (three pupils,
        # p = ½), at most a quarter more where one in thirteen of a handful is counted.
        ratio = np.sqrt(stated[band].mean() / true[band].mean())
        noise = WIDE * error / stated[band].mean() / 2
        assert np.sqrt(1 - low / (low + 1) ** 2) - noise <= ratio <= 1.25 + noise


@pytest.mark.parametrize("logit", [-0.6, -2.5])
def test_stated_error_by_size_from_several_years(logit) -> None:
    frame, n_pupils, chance = schools_of_all_sizes(4, logit)
    stated = stated_variance(frame, 4)
    true, average = chance * (1 - chance) / n_pupils, stated_by_size(n_pupils, chance)
    for low, high in SIZES:
        band = (n_pupils >= low) & (n_pupils <= high)
        values = stated[:, band]
        error = values.std(ddof=1) / np.sqrt(values.size)
        # The larger of two numbers is on average not below the average of one of them.
        assert values.mean() >= average[band].mean() - WIDE * error
        ratio = np.sqrt(values.mean() / true[band].mean())
        noise = WIDE * error / values.mean() / 2
        # Never below what smoothing may lose; above, what smoothing adds to rare shares of a
        # handful (a quarter), what b may be too large (2.1 % from 3,000 independent changes) and,
        # the larger of the two within schools of one size, 15 %.  One common error for all sizes
        # told schools of 121 to 400 pupils 1.1 to 1.5 times their error and larger ones 1.8 to 2.7
        # times.
        most = 1.25 + 0.05 if high < 30 else 1.15 + WIDE * 0.021
        assert np.sqrt(1 - low / (low + 1) ** 2) - noise <= ratio <= most + noise


def test_slips_and_sampling_are_told_apart() -> None:
    frame, n_pupils, chance = schools_of_all_sizes(4, -0.6)
    rng = np.random.default_rng(6)
    frame["low_income"] = (frame["low_income"] * 0.7 + 0.15) + rng.normal(0, 0.03, len(frame))
    frame["low_income"] = frame["low_income"].clip(0, 1)
    stated = stated_variance(frame, 4)
    true = 0.7**2 * chance * (1 - chance) / n_pupils + 0.03**2
    for low, high in SIZES[1:]:  # what the smallest report is cut at 0 and 1
        band = (n_pupils >= low) & (n_pupils <= high)
        ratio = np.sqrt(stated[:, band].mean() / true[band].mean())
        # The level of the changes is known to 2.1 %, their shape in steps of one fortieth.  The
        # floor takes the binomial variance of the shares as reported, and stands above the true
        # error of shares that were drawn together by .7 where sampling decides.
        most = 1 / 0.7 if high < 60 else 1.15
        assert 1 - WIDE * 0.021 <= ratio <= most + WIDE * 0.021


def test_gross_slips_do_not_spoil_the_shape() -> None:
    frame, n_pupils, chance = schools_of_all_sizes(4, -0.6)
    rng = np.random.default_rng(7)
    wrong = rng.random(len(frame)) < 0.01
    frame["low_income"] = frame["low_income"].where(~wrong, frame["low_income"] / 10)
    stated = stated_variance(frame, 4)
    true = chance * (1 - chance) / n_pupils
    large = n_pupils > 400
    # A dropped digit in one cell of a hundred spoils two changes in a hundred, each by .3: they
    # alone would make a common error of .3·√.02/√2 = .03 against the true .02 and less.
    ratio = np.sqrt(stated[:, large].mean() / true[large].mean())
    assert 1 - WIDE * 0.021 <= ratio < 1.35


def test_adverse_probability_is_calibrated() -> None:
    frame, truth = panel(4000, 1, seed=9)
    result = ContextIndex.policy({"low_income": -1.0, "single_parent": -1.0}).fit(frame)
    items = result.items.set_index("term")
    true_index = -(truth / items["base_sd"].to_numpy()).sum(axis=1)
    scale = 10 / result.fits.loc[0, "raw_sd"]
    centre = (items["base_mean"] / items["base_sd"]).sum()
    true_scores = 50 + scale * (true_index + centre)
    table = result.adverse_context(quantile=0.25)
    gate = np.quantile(table["context_index_shrunken"], 0.25, method="inverted_cdf")
    probability = table["probability_adverse"].to_numpy()
    member = true_scores <= gate
    for low, high in ((0.05, 0.35), (0.35, 0.65), (0.65, 0.95)):
        inside = (probability > low) & (probability <= high)
        error = np.sqrt(0.25 / inside.sum())
        # The truth is a logistic curve of a normal, not normal itself: up to .05 of miss.
        assert member[inside].mean() == pytest.approx(
            probability[inside].mean(), abs=WIDE * error + 0.05
        )


def test_missing_passports_keep_the_index_unbiased_and_say_their_error() -> None:
    frame, _ = panel(1500, 1, seed=3)
    index = ContextIndex.policy({"low_income": -0.6, "single_parent": -0.4})
    full = index.fit(frame).scores["context_index"].to_numpy()
    rng = np.random.default_rng(8)
    gone = rng.random(1500) < 0.2
    gappy = frame.assign(single_parent=frame["single_parent"].mask(gone))
    result = index.fit(gappy)
    difference = result.scores["context_index"].to_numpy()[gone] - full[gone]
    error = difference.std(ddof=1) / np.sqrt(gone.sum())
    # Missing at random: the filled index differs from the full one by nothing on average.
    assert abs(difference.mean()) < WIDE * error + 0.1  # the anchor moves by about .1 point
    left = (10 / result.fits.loc[0, "raw_sd"]) ** 2 * 0.4**2 * (1 - result.correlation[0, 1] ** 2)
    # The variance left by the gap is the variance of that difference; 300 values know a variance
    # to √(2/300) = 8 %.
    assert difference.var(ddof=1) == pytest.approx(left, rel=WIDE * 0.08)
