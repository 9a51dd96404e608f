"""Joint regions cover the true pair of result and value added, by size of school."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.joint.regions import QUADRANTS, joint_regions

N_SCHOOLS, YEARS, REPLICATES = 120, (2020, 2021, 2022, 2023), 60
BANDS = {"2–5": (2, 5), "6–15": (6, 15), "16–30": (16, 30), ">30": (31, 60)}
SLOPE, LEVEL = 0.6, 0.90


def region(rng):
    """Return pupils, the true effects by school and year, usual intakes, and sizes."""
    ends = np.array(list(BANDS.values()))[np.arange(N_SCHOOLS) % 4]
    size = rng.integers(ends[:, 0], ends[:, 1] + 1)
    lasting, usual = 0.3 * rng.normal(size=N_SCHOOLS), 0.4 * rng.normal(size=N_SCHOOLS)
    effects = lasting[:, None] + 0.2 * rng.normal(size=(N_SCHOOLS, len(YEARS)))
    school = np.repeat(np.arange(N_SCHOOLS), size)
    frames = []
    for t, year in enumerate(YEARS):
        prior = usual[school] + 0.9 * rng.normal(size=len(school))
        score = SLOPE * prior + effects[school, t] + 0.7 * rng.normal(size=len(school))
        frames.append(
            pd.DataFrame(
                {
                    "school_id": [f"S{k:03d}" for k in school],
                    "year": year,
                    "prior_score": prior,
                    "score": score,
                }
            )
        )
    return pd.concat(frames, ignore_index=True), effects, usual, np.arange(N_SCHOOLS) % 4


@pytest.fixture(scope="module")
def replicates():
    """Per way of estimating: covered (replicate, school), and calibration of the quadrants."""
    rng = np.random.default_rng(20)
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    covered: dict[tuple[str, str], list[np.ndarray]] = {}
    chances: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(REPLICATES):
        pupils, effects, usual, band = region(rng)
        va = model.fit(pupils)
        value_added = effects[:, 1:].mean(axis=1)
        later = pupils[pupils["year"] > YEARS[0]]
        of_cohorts = later.groupby("school_id")["prior_score"].mean().to_numpy()
        for how in (("observed", "drawn"), ("model", "drawn"), ("observed", "given")):
            last = joint_regions(
                va, level=LEVEL, result=how[0], intake=how[1], threshold=0.0
            ).of_window()
            truth = SLOPE * (usual if how[1] == "drawn" else of_cohorts) + value_added
            covered.setdefault(how, []).append(_inside(last, truth, value_added))
            if how == ("model", "drawn"):
                side = np.where(truth > 0, 0, 2) + np.where(value_added > 0, 0, 1)
                given = last[[f"p_{name}" for name in QUADRANTS]].to_numpy()
                chances.append((given, side))
    return {k: np.array(v) for k, v in covered.items()}, band, chances


def _inside(table, result, value_added):
    """Tell whether the true pair lies in the ellipse as it is drawn: by its axes and its angle."""
    turn = np.radians(table["ellipse_angle"].to_numpy())
    x, y = result - table["result"].to_numpy(), value_added - table["value_added"].to_numpy()
    along = (x * np.cos(turn) + y * np.sin(turn)) / table["ellipse_major"].to_numpy()
    across = (y * np.cos(turn) - x * np.sin(turn)) / table["ellipse_minor"].to_numpy()
    return along**2 + across**2 <= 1.0


@pytest.mark.parametrize("how", [("observed", "drawn"), ("model", "drawn"), ("observed", "given")])
@pytest.mark.parametrize("band", range(4))
def test_regions_cover_by_size(replicates, how, band):
    covered, bands, _ = replicates
    share = covered[how][:, bands == band].mean(axis=1)
    # schools of one replicate share the error of the coefficients: the replicate is the unit
    error = share.std(ddof=1) / np.sqrt(REPLICATES)
    assert error < 0.025
    assert share.mean() == pytest.approx(LEVEL, abs=3 * error)


def test_probabilities_of_quadrants_are_honest(replicates):
    _, _, chances = replicates
    given = np.concatenate([p for p, _ in chances])
    side = np.concatenate([s for _, s in chances])
    hit = side[:, None] == np.arange(4)
    for low, high in ((0.05, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 0.99)):
        inside = (given > low) & (given <= high)
        # events of one school and of one replicate hang together: twice the binomial error
        spread = np.sqrt((given * (1 - given))[inside].sum()) / inside.sum()
        assert inside.sum() > 500
        assert hit[inside].mean() == pytest.approx(given[inside].mean(), abs=6 * spread)


def test_errors_taken_as_independent_would_miss(replicates):
    """Without the covariance the box of two intervals covers, but so much wider: it says less."""
    rng = np.random.default_rng(21)
    pupils, *_ = region(rng)
    va = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year").fit(pupils)
    last = joint_regions(va, level=LEVEL).of_window()
    joint = last["ellipse_major"] * last["ellipse_minor"]
    alone = -2 * np.log(1 - LEVEL) * last["result_std_error"] * last["value_added_std_error"]
    assert (joint / alone).max() < 1.0
    assert (joint / alone).mean() < 0.85  # correlations of .5 and more
