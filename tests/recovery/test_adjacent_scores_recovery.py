"""The adjacent-score test on simulated regions: no false alarms, and the schools it should find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resilience.data.catalogue import load_dataset
from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.borders import mark_borders
from resilience.stats.integrity.adjacent_scores import (
    PooledWindows,
    unusual_pooled,
    window_correlation,
)

N_SCHOOLS = 177
MEAN_PUPILS = 80
LEVEL = 0.10
REPLICATES = 300


def region(rng, correlation, n_moving=0):
    """Return pupils near borders, those above, and which schools move 60 % of those below."""
    n = rng.poisson(MEAN_PUPILS, N_SCHOOLS)
    q = np.full(N_SCHOOLS, 0.5)
    if correlation:
        size = 0.5 * (1 / correlation - 1)
        q = rng.beta(size, size, N_SCHOOLS)
    above = rng.binomial(n, q)
    moving = np.arange(N_SCHOOLS) < n_moving
    above = above + np.where(moving, rng.binomial(n - above, 0.6), 0)
    return n, above, moving


def listed(n, above, share):
    tail = stats.binom.sf(above - 1, n, share)
    pooled = PooledWindows(
        total=n, above=above, share=np.full(N_SCHOOLS, share), p_value=tail, mid_p=tail
    )
    rho = window_correlation(n, above, pooled.share)
    return unusual_pooled(pooled, rho, fewest=30)[2] <= LEVEL, rho


@pytest.mark.parametrize("correlation", [0.0, 0.01, 0.03])
def test_hardly_any_region_has_a_false_alarm(correlation):
    rng = np.random.default_rng(20)
    alarms, found = 0, []
    for _ in range(REPLICATES):
        n, above, _ = region(rng, correlation)
        names, rho = listed(n, above, 0.5)
        alarms += bool(names.any())
        found.append(rho)
    # three Monte-Carlo standard errors of a share of .10 over the replicates
    assert alarms / REPLICATES <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / REPLICATES)
    # the estimate is cut off at 0, which lifts its mean where the truth is 0; elsewhere .002 covers
    # three standard errors of the mean and the bias of quantiles of discrete counts
    assert abs(np.mean(found) - correlation) < 0.003


@pytest.mark.parametrize("correlation", [0.0, 0.01, 0.03])
def test_false_names_stay_within_the_level_where_a_tenth_of_schools_moves_pupils(correlation):
    rng = np.random.default_rng(21)
    shares, right = [], []
    for _ in range(100):
        n, above, moving = region(rng, correlation, n_moving=18)
        names, _ = listed(n, above, above.sum() / n.sum())
        shares.append((names & ~moving).sum() / max(names.sum(), 1))
        right.append((names & moving).sum() / moving.sum())
    assert np.mean(shares) <= LEVEL
    if correlation == 0:
        # power of one test at level .01 with 80 pupils is .99; the reference holds the movers too
        assert np.mean(right) > 0.8


def histograms(rng, *, n_moving=0):
    """Return one test of 177 schools on a scale of 0 to 20, levels of schools unlike."""
    rows = []
    for j in range(N_SCHOOLS):
        level = rng.normal(0, 0.4)
        raw = np.clip(np.rint(10.5 + 4 * (level + rng.normal(size=60))), 0, 20).astype(int)
        if j < n_moving:
            for border in (7, 11, 15):
                near = (raw >= border - 2) & (raw < border) & (rng.random(60) < 0.6)
                raw = np.where(near, border + (rng.random(60) < 0.5), raw)
        score, n = np.unique(raw, return_counts=True)
        rows.append(
            pd.DataFrame({"school_id": f"S{j:03d}", "score": score, "n_pupils": n, "year": 2025})
        )
    return pd.concat(rows, ignore_index=True).assign(procedure="ВПР-5-МА")


BORDERS = pd.DataFrame(
    {
        "procedure": "ВПР-5-МА",
        "year": 2025,
        "mark": [3, 4, 5],
        "border_score": [7, 11, 15],
        "max_score": 20,
    }
)


@pytest.mark.parametrize("reference", ["region", "smooth"])
def test_levels_of_schools_are_no_sign(reference):
    """The whole way from histograms: schools differ in level, nobody moves anybody."""
    rng = np.random.default_rng(22)
    replicates = 15
    alarms = sum(
        (
            adjacent_scores(histograms(rng), BORDERS, reference=reference).schools["verdict"]
            == "yes"
        ).any()
        for _ in range(replicates)
    )
    assert alarms / replicates <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / replicates)


def test_schools_that_move_pupils_are_found_with_the_share_they_move():
    rng = np.random.default_rng(23)
    found = adjacent_scores(histograms(rng, n_moving=9), BORDERS).schools
    moving = found["school_id"] < "S009"
    assert (found.loc[moving, "verdict"] == "yes").mean() > 0.7
    assert (found.loc[~moving, "verdict"] == "yes").sum() <= 1
    inside = (found["moved_share_low"] <= 0.6) & (found["moved_share_high"] >= 0.6)
    assert inside[moving].sum() >= 8  # 95 % intervals of nine schools


def test_inflating_schools_of_the_north_region():
    region_data = load_dataset("north_region")
    inflated = region_data.truth["schools"].set_index("school_id")["inflated"]
    tables = region_data.score_histograms
    marked_by_schools = tables[tables["procedure"].str.startswith("ВПР")]
    found = adjacent_scores(marked_by_schools, mark_borders(region_data.procedures))
    verdict = found.schools.set_index("school_id")["verdict"]
    # 18 schools move 60 % of the pupils within two scores below a border, in all grades and years
    assert (verdict[inflated] == "yes").sum() == 18
    assert (verdict[~inflated] == "yes").sum() == 0
    moved = found.schools.set_index("school_id").loc[inflated[inflated].index, "moved_share"]
    # the reference holds the 18 schools too, which takes about a twentieth off
    assert moved.mean() == pytest.approx(0.6, abs=0.05)
