"""Several years with known truth: left-out years, forecasts, best linear prediction, by size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

# A replication may end at a variance of zero: normal, and not what is looked at.
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

PERSISTENT, TRANSIENT, RHO, SIGMA = 0.30, 0.30, 0.6, 0.8
BANDS = ("2-5", "6-15", "16-30", ">30")
EDGES = np.array([5, 15, 30])
N_SCHOOLS, N_YEARS, N_WORLDS = 320, 3, 6


def world(seed: int, rho: float):
    """Pupils of three years, true effects of four, noise of every year's mean, size by band."""
    rng = np.random.default_rng(seed)
    lags = np.abs(np.subtract.outer(range(N_YEARS + 1), range(N_YEARS + 1)))
    root = np.linalg.cholesky(np.where(lags == 0, 1.0, rho ** np.maximum(lags, 1)))
    effect = PERSISTENT * rng.normal(size=(N_SCHOOLS, 1))
    effect = effect + TRANSIENT * rng.normal(size=(N_SCHOOLS, N_YEARS + 1)) @ root.T
    band = np.arange(N_SCHOOLS) % 4
    size = rng.integers(np.array([2, 6, 16, 31])[band], np.array([6, 16, 31, 61])[band])
    school = np.repeat(np.arange(N_SCHOOLS), (N_YEARS + 1) * size)
    year = np.concatenate([np.repeat(np.arange(N_YEARS + 1), s) for s in size])
    # schools differ in intake, so that the coefficients' error is not the same for all
    prior = 0.5 * rng.normal(size=N_SCHOOLS)[school] + rng.normal(size=len(school))
    noise = SIGMA * rng.normal(size=len(school))
    data = pd.DataFrame(
        {
            "school_id": school,
            "year": 2020 + year,
            "prior_score": prior,
            "score": 0.7 * prior + effect[school, year] + noise,
        }
    )
    cells = school * (N_YEARS + 1) + year
    mean_noise = np.bincount(cells, noise) / np.bincount(cells)
    mean_prior = np.bincount(cells, prior) / np.bincount(cells)
    shape = (N_SCHOOLS, N_YEARS + 1)
    return data, effect, mean_noise.reshape(shape), mean_prior.reshape(shape), band, size


def fitted(data, drift):
    return rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        time="year",
        structure=rs.Structure(drift=drift),
    ).fit(data[data["year"] < 2020 + N_YEARS])


@pytest.fixture(scope="module", params=["ar1", None], ids=["drift", "independent"])
def worlds(request):
    """Regions with their fits: drifting effects fitted so, and independent years fitted so."""
    rho = RHO if request.param == "ar1" else 0.0
    made = [world(500 + seed, rho) for seed in range(N_WORLDS)]
    return request.param, [(fitted(one[0], request.param), *one[1:]) for one in made]


def within(shares, expected, n, *, slack=0.0, errors=3.0):
    """Whether a share is within some standard errors of what is promised."""
    assert shares == pytest.approx(
        expected, abs=errors * np.sqrt(expected * (1 - expected) / n) + slack
    )


def test_a_forecast_covers_the_next_cohort_by_size(worlds):
    """90 % intervals of the next cohort's mean residual, pupils drawn anew, in every band."""
    _, made = worlds
    inside = {band: [] for band in range(4)}
    for va, effect, noise, mean_prior, band, size in made:
        table = va.forecast(pd.Series(size, index=np.arange(N_SCHOOLS)), level=0.9)
        assert (table["school_id"].to_numpy() == np.arange(N_SCHOOLS)).all()
        beta = va.fixed_effects.set_index("term")["estimate"]
        # the cohort's result minus what the fit's coefficients expect of its intake
        expected = beta["Intercept"] + beta["prior_score"] * mean_prior[:, -1]
        came = 0.7 * mean_prior[:, -1] + effect[:, -1] + noise[:, -1] - expected
        hit = (table["predictive_low"] <= came) & (came <= table["predictive_high"])
        for k in range(4):
            inside[k].append(hit[band == k].mean())
    for k in range(4):
        # 480 schools a band; the variances are estimated: half a per cent beside chance
        within(np.mean(inside[k]), 0.90, N_WORLDS * N_SCHOOLS // 4, slack=0.005)


def test_effects_of_the_next_year_are_covered_by_size(worlds):
    _, made = worlds
    away = [
        (np.abs(t["effect"] - effect[:, -1]) / t["std_error"], band)
        for va, effect, _, _, band, _ in made
        for t in [va.predict_effects("next_year")]
    ]
    for k in range(4):
        share = np.mean([(z[band == k] < 1.6449).mean() for z, band in away])
        within(share, 0.90, N_WORLDS * N_SCHOOLS // 4, slack=0.005)


def test_prediction_beats_last_year_and_pooled_mean_in_every_band(worlds):
    """Mean squared error of the next year's effect; the gain is the largest in small schools."""
    _, made = worlds
    gains = {rival: {k: [] for k in range(4)} for rival in ("last", "pooled")}
    for va, effect, _, _, band, _ in made:
        truth = effect[:, -1]
        predicted = va.predict_effects("next_year")["effect"].to_numpy()
        rows = va.school_years.pivot_table(index="school_id", columns="year", values="residual")
        for rival, guess in (("last", rows[2022]), ("pooled", rows.mean(axis=1))):
            gain = (guess.to_numpy() - truth) ** 2 - (predicted - truth) ** 2
            for k in range(4):
                gains[rival][k].append(gain[band == k])
    for rival, by_band in gains.items():
        whole = np.concatenate([np.concatenate(parts) for parts in by_band.values()])
        assert whole.mean() > 4 * whole.std(ddof=1) / np.sqrt(len(whole)), rival
        means = [np.concatenate(parts).mean() for parts in by_band.values()]
        assert min(means) > 0, (rival, means)
        assert means[0] == max(means)


def test_the_stated_error_is_the_one_made(worlds):
    """Mean squared error beside ``mse`` and ``prmse``, and the prior as the yardstick."""
    _, made = worlds
    for target, at in (("next_year", 3), ("last_year", 2)):
        square, stated, prior = [], [], []
        for va, effect, *_ in made:
            table = va.predict_effects(target)
            square.append((table["effect"].to_numpy() - effect[:, at]) ** 2)
            stated.append(table["mse"].to_numpy())
            prior.append(effect[:, at] ** 2)
        off = np.concatenate(square) - np.concatenate(stated)
        assert abs(off.mean()) < 3.5 * off.std(ddof=1) / np.sqrt(len(off))
        gained = 1 - np.concatenate(square).mean() / np.concatenate(prior).mean()
        said = np.mean([va.predict_effects(target)["prmse"].mean() for va, *_ in made])
        assert gained == pytest.approx(said, abs=0.04)


def test_a_year_left_out_shares_no_noise_with_its_prediction(worlds):
    """Uncorrelated with the year's own noise; what came rises one to one with what was said."""
    _, made = worlds
    pairs, pieces = [], []
    for va, effect, noise, *_ in made:
        table = va.leave_year_out()
        wide = table.pivot_table(index="school_id", columns="year", values="effect").to_numpy()
        pairs.append(np.column_stack([wide.ravel(), noise[:, :N_YEARS].ravel()]))
        pieces.append(table.assign(truth=effect[:, :N_YEARS].ravel()))
    left_out, noise = np.concatenate(pairs).T
    n = len(left_out)
    # schools differ in size, and so does their noise: the standard error of a covariance of 0
    product = (left_out - left_out.mean()) * noise
    assert abs(product.mean()) < 3 * product.std(ddof=1) / np.sqrt(n)
    # not so the effect that has seen the year
    seen = np.concatenate(
        [
            np.column_stack([va.predict_effects({2021: 1.0})["effect"], noise[:, 1]])
            for va, _, noise, *_ in made
        ]
    )
    product = seen[:, 0] * seen[:, 1]
    assert product.mean() > 10 * product.std(ddof=1) / np.sqrt(len(product))
    rows = pd.concat(pieces)
    x, y = rows["effect"].to_numpy(), rows["residual"].to_numpy()
    slope = (x @ y) / (x @ x)
    # three years of one school hang together: schools, not rows, are the sample
    by_school = (x * (y - slope * x)).reshape(N_WORLDS * N_SCHOOLS, N_YEARS).sum(axis=1)
    error = np.sqrt((by_school**2).sum()) / (x @ x)
    assert error < 0.05
    # the variances are estimated and slopes are ratios of them: one per cent beside chance
    assert slope == pytest.approx(1.0, abs=3 * error + 0.01)
    inside = np.abs(rows["truth"] - rows["effect"]) < 1.6449 * rows["std_error"]
    # a third of the rows is counted: years of one school are no independent trials
    within(inside.mean(), 0.90, len(rows) / 3, slack=0.005)


def test_schools_left_out_with_slopes_are_validated_too():
    """From the cross-products without the year: slope 1 and no share in the year's noise."""
    pieces = []
    for seed in range(3):
        data, _, noise, *_ = world(700 + seed, 0.0)
        rng = np.random.default_rng(seed)
        tilt = 0.25 * rng.normal(size=N_SCHOOLS)[data["school_id"]]
        data["score"] = data["score"] + tilt * data["prior_score"]
        va = rs.ValueAddedModel(
            "score ~ prior_score", group="school_id", slopes="prior_score", time="year"
        ).fit(data[data["year"] < 2023])
        pieces.append(va.leave_year_out().assign(noise=noise[:, :N_YEARS].ravel()))
    rows = pd.concat(pieces)
    product = rows["effect"] * rows["noise"]
    assert abs(product.mean()) < 3 * product.std() / np.sqrt(len(product))
    assert np.corrcoef(rows["effect"], rows["residual"])[0, 1] > 0.3


def test_means_of_schools_forecast_as_pupils_do():
    """Published means alone: the same coverage, from sizes and a known spread of pupils."""
    inside = {band: [] for band in range(4)}
    for seed in range(N_WORLDS):
        data, effect, noise, mean_prior, band, size = world(900 + seed, 0.0)
        cells = data.groupby(["school_id", "year"], as_index=False).agg(
            mean_score=("score", "mean"), prior=("prior_score", "mean"), n=("score", "size")
        )
        va = rs.SchoolLevelModel("mean_score ~ prior", time="year", n="n", sd=SIGMA).fit(
            cells[cells["year"] < 2023]
        )
        table = va.forecast(pd.Series(size, index=np.arange(N_SCHOOLS)), level=0.9)
        beta = va.fixed_effects.set_index("term")["estimate"]
        expected = beta["Intercept"] + beta["prior"] * mean_prior[:, -1]
        came = 0.7 * mean_prior[:, -1] + effect[:, -1] + noise[:, -1] - expected
        hit = (table["predictive_low"] <= came) & (came <= table["predictive_high"])
        for k in range(4):
            inside[k].append(hit[band == k].mean())
    for k in range(4):
        within(np.mean(inside[k]), 0.90, N_WORLDS * N_SCHOOLS // 4, slack=0.005)
