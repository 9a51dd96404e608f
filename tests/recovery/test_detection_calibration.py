"""Probabilities mean what they say: calibration and error of lists on regions with known truth.

Regions are drawn from the model of methods/detection.md section 4: 177 schools of 3 to 120 pupils a
year, three years, an index of reliability .6, .8 or .9 and a slope of results on the context of .2,
.3 or .4; the effects come from a model that ignores the index, or from one that adjusts for it.
Schools of one region share its estimated slope and gate, so that errors are taken over regions.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from resilience.detection import Criteria, Criterion, detect_schools

S, YEARS, REGIONS = 177, 3, 20  # regions of each design: three slopes, two models of effects
VAR_U, VAR_V, VAR_E = 0.09, 0.02, 0.57
RULE = Criteria.preset("resilient_posterior")
IDS = [f"S{k:03d}" for k in range(S)]


def region(
    rng: np.random.Generator, reliability: float, slope: float, adjusted: bool
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Effects, scores, true index and true effects of one region."""
    context, effect = rng.normal(size=S), rng.normal(0, np.sqrt(VAR_U), S)
    error2 = (1 - reliability) / reliability
    index = context + rng.normal(0, np.sqrt(error2), S)
    n = np.clip(rng.lognormal(3, 0.8, S), 3, 120).astype(int)
    precision = YEARS / (VAR_V + VAR_E / n)
    residual = slope * context + effect + rng.normal(size=S) / np.sqrt(precision)
    left = VAR_U + slope**2 * (1 - reliability)
    expected, variance = np.zeros(S), VAR_U + slope**2
    if adjusted:
        line = np.polyfit(index, residual, 1, w=1 / np.sqrt(left + 1 / precision))
        expected, variance = np.polyval(line, index), left
    trust = variance * precision / (1 + variance * precision)
    effects = pd.DataFrame(
        {
            "school_id": IDS,
            "effect": trust * (residual - expected),
            "conditional_sd": np.sqrt(variance * (1 - trust)),
            "reliability": trust,
            "n_pupils": YEARS * n,
            "n_years": YEARS,
            "expected_mean": expected,
        }
    )
    scores = pd.DataFrame(
        {
            "school_id": IDS,
            "context_index": 50 + 10 * index,
            "context_index_std_error": 10 * np.sqrt(error2),
            "context_reliability": reliability,
        }
    )
    return effects, scores, 50 + 10 * context, effect


@cache
def studied(reliability: float) -> dict[str, np.ndarray]:
    """Probabilities and truth of all regions at one reliability, shape (regions, schools)."""
    rng = np.random.default_rng(int(1000 * reliability))
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in ("p", "policy", "adverse", "true", "listed", "by_fdr", "c_true")
    }
    for slope in (0.2, 0.3, 0.4):
        for adjusted in (False, True):
            for _ in range(REGIONS):
                effects, scores, context, effect = region(rng, reliability, slope, adjusted)
                one = detect_schools(effects, scores, RULE)
                bounds = one.criteria.groupby("criterion")["threshold"].first()
                adverse = context <= bounds["adversity"]
                found["p"].append(one.schools["probability"].to_numpy())
                found["policy"].append(one.schools["probability_policy"].to_numpy())
                found["adverse"].append(one.schools["probability_adverse"].to_numpy())
                found["c_true"].append(adverse)
                found["true"].append(adverse & (effect > bounds["quantile"]))
                found["listed"].append((one.schools["verdict"] == "yes").to_numpy())
                inside = one.schools["in_fdr_list"].fillna(False)
                found["by_fdr"].append(inside.to_numpy(dtype=bool))
    return {name: np.array(values) for name, values in found.items()}


def miscalibration(p: np.ndarray, true: np.ndarray, rows: np.ndarray) -> float:
    """Mean excess of truth over probability among the rows, in standard errors over regions.

    The error is that of sums over regions, at least the binomial one.
    """
    excess = np.where(rows, true - p, 0.0).sum(axis=1)
    binomial = np.where(rows, p * (1 - p), 0.0).sum()
    spread = max(len(excess) * excess.var(ddof=1), binomial)
    return float(excess.sum() / np.sqrt(spread))


@pytest.mark.parametrize("reliability", [0.6, 0.8, 0.9])
def test_probabilities_are_calibrated_in_ten_bins(reliability: float) -> None:
    s = studied(reliability)
    place = np.clip((s["p"] * 10).astype(int), 0, 9)
    tested = 0
    for k in range(10):
        rows = place == k
        if s["p"][rows].sum() >= 15 or (rows.sum() >= 50 and k < 3):  # else nothing could show
            assert abs(miscalibration(s["p"], s["true"], rows)) < 3.5, k  # 30 bins are looked at
            tested += 1
    assert tested >= 8


@pytest.mark.parametrize("reliability", [0.6, 0.8, 0.9])
def test_the_probability_of_an_adverse_context_is_calibrated(reliability: float) -> None:
    s = studied(reliability)
    place = np.clip((s["adverse"] * 10).astype(int), 0, 9)
    for k in range(10):
        rows = place == k
        if rows.sum() >= 50:
            assert abs(miscalibration(s["adverse"], s["c_true"], rows)) < 3.5, k


def test_lists_keep_the_error_they_claim() -> None:
    for name in ("listed", "by_fdr"):
        claimed = true = spread = 0.0
        for reliability in (0.8, 0.9):  # at .6 the lists are nearly empty, and that is right
            s = studied(reliability)
            rows = s[name]
            excess = np.where(rows, s["true"] - s["p"], 0.0).sum(axis=1)
            claimed += np.where(rows, s["p"], 0.0).sum()
            true += s["true"][rows].sum()
            spread += max(
                len(excess) * excess.var(ddof=1), np.where(rows, s["p"] * (1 - s["p"]), 0).sum()
            )
        assert claimed > 100
        assert abs(true - claimed) < 3 * np.sqrt(spread)


def test_few_schools_can_be_named_with_a_poor_index() -> None:
    sizes = [studied(r)["listed"].sum(axis=1).mean() for r in (0.6, 0.8, 0.9)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[0] < 0.5


def test_the_policy_version_promises_too_much() -> None:
    """At index reliability .8 lists by the cut probability hold more wrong names than they say."""
    s = studied(0.8)
    rows = s["policy"] >= 0.8
    wrong, said = (~s["true"][rows]).mean(), (1 - s["policy"][rows]).mean()
    assert wrong - said > 3 * np.sqrt(said * (1 - said) / rows.sum())


def test_effects_alone_are_calibrated_and_power_is_what_it_says() -> None:
    rng = np.random.default_rng(77)
    one = Criterion(
        name="quantile",
        column="effect",
        above=0.75,
        scale="quantile",
        evidence="posterior",
        loss_false_positive=4.0,
    )
    rule = Criteria(id="r", version="1", title_en="R", title_ru="П", criteria=(one,))
    p, true, strong, power = [], [], [], []
    bound, alternative = 0.6744898 * np.sqrt(VAR_U), 1.2815516 * np.sqrt(VAR_U)
    for _ in range(40):
        effect = rng.normal(0, np.sqrt(VAR_U), S)
        planted = np.arange(S) < 20
        effect[planted] = alternative
        precision = rng.uniform(5, 120, S)
        d = effect + rng.normal(size=S) / np.sqrt(precision)
        trust = VAR_U * precision / (1 + VAR_U * precision)
        table = pd.DataFrame(
            {
                "school_id": IDS,
                "effect": trust * d,
                "conditional_sd": np.sqrt(VAR_U * (1 - trust)),
                "reliability": trust,
                "n_pupils": 60,
                "n_years": 3,
            }
        )
        found = detect_schools(table, None, rule).schools
        p.append(found["probability"].to_numpy()[~planted])
        true.append(effect[~planted] > bound)
        strong.append((found["verdict"] == "yes").to_numpy()[planted])
        power.append(found["power_to_detect"].to_numpy()[planted])
    place = np.clip((np.array(p) * 10).astype(int), 0, 9)
    for k in range(10):
        assert abs(miscalibration(np.array(p), np.array(true), place == k)) < 3.5
    expected, seen = np.array(power), np.array(strong)
    assert abs(seen.sum() - expected.sum()) < 3 * np.sqrt((expected * (1 - expected)).sum())
