"""Decisions on the London schools, as the method's specification prints them.

Exam data (65 schools, maximum likelihood, intercept and reading test; conditional SDs): bound of
the top quarter of effects .2047; 9 schools at a probability of .8 and more; 12 at a share of wrong
names of at most .10 (.0917 with 12, .1153 with 13); reliabilities .246 to .970, mean .885; 15
intervals above zero and 16 below.  The pairs table (1037 of 2080 at ±1.39) is in `test_exam`.
"""

from __future__ import annotations

import numpy as np
import pytest
from published_numbers import as_printed

import resilience as rs
from resilience.detection import Criteria, Criterion


@pytest.fixture(scope="module")
def effects():
    pupils = rs.load_dataset("london_exam").pupils
    va = rs.ValueAddedModel("normexam ~ standLRT", group="school_id").fit(pupils, method="ml")
    return va.school_effects


@pytest.fixture(scope="module")
def found(effects):
    top = Criterion(
        name="top_quarter",
        column="effect",
        above=0.75,
        scale="quantile",
        evidence="posterior",
        loss_false_positive=4.0,
    )
    rule = Criteria(id="top", version="1", title_en="T", title_ru="В", criteria=(top,))
    return rs.detect_schools(effects, None, rule)


def test_nine_by_the_losses_and_twelve_by_wrong_names(found):
    assert found.working["delta"].iloc[0] == as_printed("0.2047")
    table = found.schools.sort_values("probability", ascending=False)
    assert int((table["probability"] >= 0.8).sum()) == 9
    assert int((table["verdict"] == "yes").sum()) == 9  # each of them has pupils enough
    assert table["list_fdr"].iloc[11] == as_printed("0.0917")
    assert table["list_fdr"].iloc[12] == as_printed("0.1153")
    assert int(table["in_fdr_list"].sum()) == 12
    assert set(table.loc[table["verdict"] == "yes", "school_id"]) <= set(
        table.loc[table["in_fdr_list"], "school_id"]
    )


def test_reliabilities_and_intervals(effects):
    assert effects["reliability"].min() == as_printed("0.246")
    assert effects["reliability"].max() == as_printed("0.970")
    assert effects["reliability"].mean() == as_printed("0.885")
    half = 1.959964 * effects["conditional_sd"]
    assert int((effects["effect"] > half).sum()) == 15
    assert int((effects["effect"] < -half).sum()) == 16


def test_pairs_by_the_exact_and_by_the_printed_factor(effects):
    """±1.39 as printed separates 1037 of 2080 pairs; the exact 1.96/√2 = 1.386 two more."""
    mean = effects["effect"].to_numpy(dtype=float)
    sd = effects["conditional_sd"].to_numpy(dtype=float)
    first, second = np.triu_indices(len(mean), k=1)
    distance = np.abs(mean[first] - mean[second])
    assert len(distance) == 2080
    assert int((distance > 1.39 * (sd[first] + sd[second])).sum()) == 1037
    assert int((distance > 1.386 * (sd[first] + sd[second])).sum()) == 1039
