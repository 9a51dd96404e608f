"""What growth percentiles refuse, and in which words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.value_added.growth.model import GrowthPercentiles


def pupils(n: int = 1200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"school_id": rng.integers(0, 10, n).astype(str)})
    frame["before"] = rng.normal(size=n)
    frame["score"] = frame["before"] + rng.normal(size=n)
    return frame


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": []}, "at least one"),
        ({"prior": ["score"]}, "both the outcome and a past result"),
        ({"prior": "before", "reliability": 0.0}, "is 0.0"),
        ({"prior": "before", "reliability": 1.2}, r"\(0, 1\]"),
        ({"prior": "before", "reliability": {"other": 0.8}}, "other"),
        ({"prior": "before", "limits": (5, 5)}, "must lie below"),
        ({"prior": "before", "knots": (0.0, 0.5)}, "knots"),
        ({"prior": "before", "min_cohort": 5}, "min_cohort"),
        ({"prior": "before", "baseline": "frozen"}, "baseline"),
    ],
)
def test_a_model_that_cannot_be(options, words):
    with pytest.raises(SpecificationError, match=words):
        GrowthPercentiles(**options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="before"), "before"),
        (lambda f: f.assign(score=f["score"].where(f.index > 3)), "score"),
        (lambda f: f.assign(before=1.0), "has the one value 1"),
        (lambda f: f.assign(before=f["before"].where(f.index > 900)), "a reference cohort needs"),
        (lambda f: f.assign(before=np.where(f.index == 5, np.inf, f["before"])), "infinite"),
        (
            lambda f: f.assign(school_id=f["school_id"].where(f.index > 1)),
            "have no school",
        ),
        (lambda f: f.assign(before=f["before"].astype(str)), "before"),
        (lambda f: f.iloc[:0], "pupils"),
    ],
)
def test_tables_that_cannot_be(change, words):
    with pytest.raises(DataError, match=words):
        GrowthPercentiles(prior="before").fit(change(pupils()))


def test_scores_beyond_the_stated_scale():
    model = GrowthPercentiles(prior="before", limits=(-1.0, 1.0))
    with pytest.raises(DataError, match="beyond limits"):
        model.fit(pupils())


def test_a_baseline_of_other_results():
    baseline = GrowthPercentiles(prior="before").fit(pupils(), n_bootstrap=20).baseline
    with pytest.raises(SpecificationError, match="learnt from the past results before"):
        GrowthPercentiles(prior="earlier", baseline=baseline)
    with pytest.raises(SpecificationError, match="state it where the baseline is fitted"):
        GrowthPercentiles(prior="before", baseline=baseline, reliability=0.8)
