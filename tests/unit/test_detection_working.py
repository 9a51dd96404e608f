"""The working of a posterior verdict: its numbers give the printed probability again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.columns import column_names
from resilience.detection import Criteria, Criterion, DetectionResults
from resilience.detection.verdicts.working import WORKING
from resilience.stats.verdicts.decisions import joint_posterior, power_to_detect


@pytest.fixture(scope="module")
def found() -> DetectionResults:
    rng = np.random.default_rng(11)
    n = 60
    ids = [f"S{k:02d}" for k in range(n)]
    c = rng.normal(50, 10, n)
    A = rng.uniform(5, 80, n)
    d = 0.02 * (c - 50) + 0.3 * rng.normal(size=n) + rng.normal(size=n) / np.sqrt(A)
    variance = 0.13
    trust = variance * A / (1 + variance * A)
    effects = pd.DataFrame(
        {
            "school_id": ids,
            "effect": trust * d,
            "conditional_sd": np.sqrt(variance * (1 - trust)),
            "reliability": trust,
            "n_pupils": 50,
            "n_years": 3,
        }
    )
    scores = pd.DataFrame(
        {
            "school_id": ids,
            "year": 2025,
            "context_index": c + 4 * rng.normal(size=n),
            "context_index_std_error": 4.0,
            "context_reliability": 0.86,
        }
    )
    low = Criterion(
        name="low",
        column="effect",
        evidence="posterior",
        below=0.25,
        scale="quantile",
        loss_false_negative=2.0,
    )
    rules = (
        Criteria.preset("resilient_posterior"),
        Criteria(id="low", version="1", title_en="L", title_ru="Н", criteria=(low,)),
    )
    return rs.detect_schools(effects, scores, rules)


def test_probability_and_power_can_be_redone_from_the_working(found: DetectionResults) -> None:
    rows = found.working[found.working["rule_id"] == "resilient_posterior"]
    # d̄ is the published effect over its reliability, off the line on the shrunken index
    redone = rows["effect"] / rows["reliability"] - rows["line_level"]
    redone -= rows["line_slope"] * rows["context_shrunken"]
    np.testing.assert_allclose(redone, rows["residual_mean"], atol=1e-12)
    one = rows.iloc[0]
    p = joint_posterior(
        context=rows["context_shrunken"],
        context_variance=rows["context_error"] ** 2,
        residual=rows["residual_mean"],
        precision=rows["precision"],
        slope=one["context_slope"],
        effect_variance=one["effect_variance"],
        gate=one["gate"],
        bound=one["delta"],
    ).probability
    np.testing.assert_allclose(p, rows["probability"], atol=1e-12)
    power = power_to_detect(
        rows["precision"],
        effect_sd=float(np.sqrt(one["effect_variance"])),
        bound=one["delta"],
        alternative=one["alternative"],
        threshold=np.minimum(rows["threshold"] / rows["probability_adverse"], 0.999999),
    )
    reachable = (rows["threshold"] < rows["probability_adverse"]).to_numpy()
    assert reachable.any()
    np.testing.assert_allclose(
        power[reachable], rows["power_to_detect"].to_numpy()[reachable], atol=1e-9
    )


def test_a_rule_for_low_effects_keeps_its_side(found: DetectionResults) -> None:
    rows = found.working[found.working["rule_id"] == "low"]
    assert (rows["effect_sign"] == -1).all()
    assert (rows["delta"] < 0).all()
    s = np.sqrt(rows["effect_variance"] * (1 - rows["shrinkage"]))
    z = (rows["delta"] - rows["shrinkage"] * rows["residual_mean"]) / s
    np.testing.assert_allclose(stats.norm.cdf(z), rows["probability"], atol=1e-12)
    # no criterion on the context: nothing of it enters
    assert rows[["context_shrunken", "gate", "context_slope"]].isna().all(axis=None)


def test_every_column_is_in_the_glossary(found: DetectionResults) -> None:
    assert set(found.working.columns) == {"school_id", "rule_id", *WORKING}
    assert set(found.working.columns) <= set(column_names())
