"""A stated validity widens the error of an index by what its data cannot show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import SpecificationError


@pytest.fixture(scope="module")
def index():
    inputs = ["both_parents_higher_edu", "single_parent", "low_income"]
    return rs.ContextIndex.equal(inputs).fit(rs.load_dataset("north_region").schools)


def test_the_error_and_the_reliability_by_hand(index):
    scores = pd.DataFrame(
        {
            "school_id": list("abc"),
            "year": 2025,
            "context_index": [40.0, 50.0, 60.0],
            "context_index_std_error": [2.0, 2.0, 2.0],
            "context_reliability": [0.96, 0.96, 0.96],
        }
    )
    wide = replace(index, scores=scores).with_validity(0.75).scores
    # variance 100, less 4 of error: 96 last, a quarter of which is not the context
    assert wide["context_index_std_error"].to_numpy() == pytest.approx(np.sqrt(4 + 24))
    assert wide["context_reliability"].to_numpy() == pytest.approx(0.72)
    # what the posterior needs: the true context has the variance .75 · 96 = 72 of 100
    assert pytest.approx(0.72) == 72 / 100


def test_full_validity_changes_nothing_but_the_note(index):
    same = index.with_validity(1.0)
    pd.testing.assert_frame_equal(same.scores, index.scores)
    assert len(same.notes) == len(index.notes) + 1


def test_a_validity_makes_the_stated_posterior_true():
    """Schools whose passports err lastingly: 68 % of true contexts lie within one stated SD."""
    rng = np.random.default_rng(7)
    n = 4000
    true = rng.normal(0, np.sqrt(0.85), n)  # the context; passports add .10 that lasts, .05 not
    seen = true + rng.normal(0, np.sqrt(0.10), n) + rng.normal(0, np.sqrt(0.05), n)
    scores = pd.DataFrame(
        {
            "school_id": [f"S{k:04d}" for k in range(n)],
            "year": 2025,
            "context_index": 50 + 10 * seen,
            "context_index_std_error": 10 * np.sqrt(0.05),
            "context_reliability": 0.95,
        }
    )
    base = rs.ContextIndex.equal(["low_income"]).fit(rs.load_dataset("north_region").schools)

    def inside(stated: pd.DataFrame) -> float:
        kappa, error = (
            stated[c].to_numpy() for c in ("context_reliability", "context_index_std_error")
        )
        middle = 50 + kappa * (stated["context_index"].to_numpy() - 50)
        return float(np.mean(np.abs(50 + 10 * true - middle) <= np.sqrt(kappa) * error))

    naive = inside(scores)
    told = inside(replace(base, scores=scores).with_validity(0.85 / 0.95).scores)
    # the share has a standard error of √(.68·.32/4000) = .0074
    assert told == pytest.approx(0.683, abs=3 * 0.0074)
    assert naive < 0.683 - 10 * 0.0074


@pytest.mark.parametrize("validity", [0, -0.1, 1.2, 85, float("nan")])
def test_a_validity_outside_its_range_is_refused(index, validity):
    with pytest.raises(SpecificationError, match="validity"):
        index.with_validity(validity)


def test_the_note_is_in_two_languages(index):
    note = index.with_validity(0.85).notes[-1]
    assert "0.85" in note.en
    assert "валидность" in note.ru
