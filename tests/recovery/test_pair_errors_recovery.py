"""Differences of two schools keep their coverage when their error counts what schools share.

Many schools, two of them far from the rest on a covariate of the school (a selective school and a
village school, say): their comparison rests on the coefficient, so that taking it as known is not
harmless.  Ordinary pairs are covered either way.  120 schools, because the errors take the
variances as known: from forty schools their own error costs the intervals some points of coverage.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs

N_REGIONS, N_SCHOOLS, N_PUPILS = 400, 120, 10
# √(.9 · .1 / 400): the Monte-Carlo error of a coverage; limits at 3.5 of them
NOISE = 3.5 * np.sqrt(0.9 * 0.1 / N_REGIONS)


@pytest.fixture(scope="module")
def covered():
    """Shares of 90 % intervals of a difference that hold the true one."""
    found = {"conditional": [], "prediction": []}
    model = rs.ValueAddedModel("score ~ place", group="school_id")
    for seed in range(N_REGIONS):
        rng = np.random.default_rng(seed)
        place = rng.normal(size=N_SCHOOLS)
        place[:2] = [-12.0, 12.0]
        effect = np.sqrt(0.1) * rng.normal(size=N_SCHOOLS)
        school = np.repeat(np.arange(N_SCHOOLS), N_PUPILS)
        frame = pd.DataFrame({"school_id": school, "place": place[school]})
        frame["score"] = 0.2 * frame["place"] + effect[school] + rng.normal(size=len(frame))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rs.WeakDataWarning)  # a variance of zero happens
            result = model.fit(frame)
        estimate = result.school_effects["effect"].to_numpy()
        first, second = np.array([0, 2]), np.array([1, 3])
        miss = np.abs((estimate - effect)[first] - (estimate - effect)[second])
        for kind, hits in found.items():
            variance = result.errors.difference_variance(
                first, second, coefficients=kind == "prediction"
            )
            hits.append(miss <= 1.6448536269514722 * np.sqrt(variance))
    return {kind: np.array(hits, dtype=float) for kind, hits in found.items()}


def test_pairs_far_apart_need_the_error_of_the_coefficients(covered):
    joint, known = (covered[kind][:, 0].mean() for kind in ("prediction", "conditional"))
    assert abs(joint - 0.90) < NOISE
    assert known < 0.90 - NOISE


def test_ordinary_pairs_are_covered_either_way(covered):
    for kind in ("prediction", "conditional"):
        assert abs(covered[kind][:, 1].mean() - 0.90) < NOISE, kind
