"""Priors measured with error: what SIMEX and the calibration give back of a known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.stats.refits.simex import MULTIPLIERS, quadratic_curves
from resilience.value_added.prior_error.simex import simex

Z90 = 1.6448536269514722
SLOPE = 0.7
LATENT = {"prior_score": "latent"}
BANDS = {"2-5": (2, 5), "6-15": (6, 15), "16-30": (16, 30), ">30": (31, 60)}
# reliability .8: true variances .2 between and .8 within schools, errors .25
WITHIN, ERROR = 0.8, 0.25
KEPT = WITHIN / (WITHIN + ERROR)


def region(seed, *, sizes, contextual=0.0, kind="plain"):
    """Return pupils, the schools' effects and their sizes; the prior is an observed score.

    ``kind``: "csem" gives pupils error variances of their own, "two" adds a second noisy prior,
    "ses" a covariate that goes with the true prior.
    """
    rng = np.random.default_rng(seed)
    size = np.asarray(sizes(rng))
    school = np.repeat(np.arange(len(size)), size)
    n = len(school)
    at_school = np.sqrt(0.2) * rng.normal(size=len(size))
    within = np.sqrt(WITHIN) * rng.normal(size=n)
    true = at_school[school] + within
    csem = np.full(n, ERROR)
    if kind == "csem":
        csem *= rng.choice([0.3, 1.7], size=n)
    effect = 0.2 * rng.normal(size=len(size))
    score = SLOPE * true + contextual * at_school[school] + effect[school]
    found = {
        "school_id": [f"S{k:03d}" for k in school],
        "prior_score": true + np.sqrt(csem) * rng.normal(size=n),
        "csem": csem,
    }
    if kind == "two":
        second = 0.5 * within + 0.7 * rng.normal(size=n)
        score = score + 0.4 * second
        found["second"] = second + 0.4 * rng.normal(size=n)
    if kind == "ses":
        found["ses"] = 0.5 * within + rng.normal(size=n)
        score = score + 0.3 * found["ses"]
    found["score"] = score + 0.6 * rng.normal(size=n)
    return pd.DataFrame(found), effect, size


def medium(rng):
    return rng.integers(10, 21, size=60)


def of_all_sizes(rng):
    low_high = np.repeat(np.array(list(BANDS.values())), 40, axis=0)
    return rng.integers(low_high[:, 0], low_high[:, 1] + 1)


def model(formula="score ~ prior_score", **intake):
    return rs.ValueAddedModel(formula, group="school_id", intake=rs.Intake(**intake))


def estimates(n, how, *, start=0, sizes=medium, contextual=0.0, kind="plain", **options):
    """Return naive, rational and quadratic estimates and standard errors, each (n, terms)."""
    options = {"n_simulations": 16, "variance": "simulation", **options}
    found = []
    for seed in range(start, start + n):
        data, _, _ = region(seed, sizes=sizes, contextual=contextual, kind=kind)
        one = simex(how, data, random_state=seed, **options)
        both = one.extrapolations
        found.append(
            [
                one.naive["estimate"],
                one.fixed_effects["estimate"],
                both.loc[both["extrapolation"] == "quadratic", "estimate"],
                one.fixed_effects["std_error"],
                one.fixed_effects["conf_low"],
                one.fixed_effects["conf_high"],
            ]
        )
    return np.swapaxes(np.array(found), 0, 1)


def error_of_mean(rows):
    return rows.std(axis=0, ddof=1) / np.sqrt(len(rows))


def known_curve():
    """The slope of a prior with errors of 1 + ζ times the known variance, many pupils."""
    return SLOPE * WITHIN / (WITHIN + (1.0 + np.array(MULTIPLIERS)) * ERROR)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # 16 data sets per point
def test_simex_takes_the_known_part_of_the_bias_away():
    """True composition effect 0: naive .167, quadratic .031, rational 0, and the slope likewise.

    The bias of each is known: .7 (1 − κ) for κ = .8/1.05, what the parabola through the known
    curve leaves of it, and nothing.
    """
    naive, rational, quadratic, *_ = estimates(40, model(composition=LATENT, prior_reliability=0.8))
    curve = known_curve()
    left = SLOPE - float(quadratic_curves(MULTIPLIERS, curve[:, None]).limits[0])
    assert 0.02 < left < 0.04
    assert curve[0] == pytest.approx(SLOPE * KEPT)
    bias = SLOPE - curve[0]
    for found, expected in ((naive, bias), (rational, 0.0), (quadratic, left)):
        spread = 3 * error_of_mean(found)
        # .004: a reliability turned into an error variance by the region's own variance
        assert abs(SLOPE - found[:, 1].mean() - expected) < spread[1] + 0.004
        assert abs(found[:, 2].mean() - expected) < spread[2] + 0.004
    # and the order region by region: one region's errors are shared by the three
    assert ((naive[:, 2] > quadratic[:, 2]) & (quadratic[:, 2] > rational[:, 2])).all()


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # 10 data sets per point
def test_intervals_of_the_jackknife_cover_nothing_where_nothing_is():
    """Schools of 4 to 14 pupils, whose shrinkage is estimated too; true composition effect 0.

    95 % intervals hold the truth at their nominal rate, standard errors are the spread over
    regions (of slope and composition); no naive estimate of the slope comes near the truth.
    """
    n = 14

    def small(rng):
        return rng.integers(4, 15, size=50)

    naive, rational, _, error, low, high = estimates(
        n,
        model(composition=LATENT, prior_reliability=0.8),
        start=100,
        sizes=small,
        variance="jackknife",
        n_simulations=10,
    )
    for k, truth in ((1, SLOPE), (2, 0.0)):
        inside = np.mean((low[:, k] <= truth) & (truth <= high[:, k]))
        assert inside >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / n)  # three Monte-Carlo errors
        # .02: a ratio of estimated variances is skewed where schools are small
        assert abs(rational[:, k].mean() - truth) < 3 * error_of_mean(rational)[k] + 0.02
    spread = rational.std(axis=0, ddof=1)
    # the spread of n regions is known to 1/√(2(n − 1)) of itself
    ratio = (error.mean(axis=0) / spread)[1:]
    assert (np.abs(ratio - 1.0) < 3 / np.sqrt(2 * (n - 1))).all()
    assert (naive[:, 1] < SLOPE - 0.06).all()


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # 16 data sets per point
@pytest.mark.parametrize(
    ("kind", "formula", "reliability", "truth"),
    [
        ("csem", "score ~ prior_score", "csem", {"prior_score": SLOPE, "prior_score_mean": 0.0}),
        (
            "ses",
            "score ~ prior_score + ses",
            0.8,
            {"prior_score": SLOPE, "ses": 0.3, "prior_score_mean": 0.0},
        ),
        (
            "two",
            "score ~ prior_score + second",
            {"prior_score": 0.8, "second": 0.69 / 0.85},
            {"prior_score": SLOPE, "second": 0.4, "prior_score_mean": 0.0},
        ),
    ],
)
def test_other_errors_are_taken_away_too(kind, formula, reliability, truth):
    """Error variances of single pupils, a covariate that goes with the prior, two noisy priors."""
    how = model(formula, composition=LATENT, prior_reliability=reliability)
    naive, rational, *_ = estimates(24, how, kind=kind)
    expected = np.array(list(truth.values()))
    assert (
        np.abs(rational.mean(axis=0)[1:] - expected) < 3 * error_of_mean(rational)[1:] + 0.005
    ).all()
    # the second prior's slope gains from the first's errors what it loses by its own
    biased = [k for k, term in enumerate(truth) if term != "second"]
    gap = np.abs(naive.mean(axis=0)[1:] - expected)
    assert (gap > 3 * error_of_mean(naive)[1:])[biased].all()


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # few data sets per point
def test_coverage_of_school_effects_by_size():
    """Noisy prior, no composition: naive effects of large schools hold the intake's share.

    Of the intake .7 (1 − κ) is left to the school, in large schools all of it: the true effects lie
    within naive 90 % intervals .83 of the time, within corrected ones .89 to .90.
    """
    rows = {"naive": [], "calibrated": [], "simex": []}
    for seed in range(30):
        data, effect, size = region(seed, sizes=of_all_sizes)
        corrected = model(prior_reliability=0.8)
        tables = {
            "naive": model().fit(data).school_effects,
            "calibrated": corrected.fit(data).school_effects,
            "simex": simex(corrected, data, n_simulations=10, variance="simulation").school_effects,
        }
        for name, table in tables.items():
            own = table.sort_values("school_id")
            miss = np.abs(own["effect"].to_numpy() - effect)
            rows[name].append(np.column_stack([size, miss <= Z90 * own["std_error"], miss]))
    for name, found in rows.items():
        whole = np.concatenate(found)
        for band, (low, high) in BANDS.items():
            inside = whole[(whole[:, 0] >= low) & (whole[:, 0] <= high), 1]
            error = np.sqrt(0.9 * 0.1 / len(inside))
            if name == "naive" and band == ">30":
                assert inside.mean() < 0.9 - 5 * error, inside.mean()
            elif name != "naive":
                # .01: variances that each region estimates itself
                assert abs(inside.mean() - 0.9) < 3 * error + 0.01, (name, band, inside.mean())
    large = {
        name: np.mean([np.mean(one[one[:, 0] > 30, 2] ** 2) for one in found])
        for name, found in rows.items()
    }
    assert large["calibrated"] < 0.85 * large["naive"]
    assert large["simex"] < 0.85 * large["naive"]
