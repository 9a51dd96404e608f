"""Stated probabilities of long-run failing shares mean what they say, in schools of every size.

Ten regions of 90 schools drawn from the model by `tests/benchmarks/pooled.py`, which does the same
over 200 regions in ten bins.  Schools of one region share its thresholds and spreads, so that
errors are taken over regions.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

REGIONS, SCHOOLS = 10, 90
BINS = [(0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0001)]


def _benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "pooled.py"
    spec = importlib.util.spec_from_file_location("pooled_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    with threadpool_limits(limits=1):
        found = [
            BENCHMARK.judge(
                BENCHMARK.draw_region(1000 + seed, n_schools=SCHOOLS), share=False
            ).assign(region=seed)
            for seed in range(REGIONS)
        ]
    return pd.concat(found, ignore_index=True)


@pytest.mark.parametrize("band", ["3-10", "11-30", "over 30"])
def test_probabilities_are_calibrated(schools: pd.DataFrame, band: str) -> None:
    low, high = BENCHMARK.BANDS[band]
    own = schools[schools["size"].between(low, high)]
    tested = 0
    for least, most in BINS:
        part = own[(own["probability"] >= least) & (own["probability"] < most)]
        gaps = (part["low"] - part["probability"]).groupby(part["region"]).sum()
        binomial = (part["probability"] * (1 - part["probability"])).sum()
        error = np.sqrt(max((gaps**2).sum(), binomial))
        assert abs(gaps.sum()) < 3.5 * error, (least, most)  # twelve comparisons
        tested += len(part) >= 15
    assert tested >= 3


def test_small_schools_are_judged_better_than_by_the_federal_rule(schools: pd.DataFrame) -> None:
    """Losses 1 : 2 per school of 3 to 10 pupils; the difference in standard errors over regions."""
    own = schools[schools["size"] <= 10]

    def loss(rule: str) -> pd.Series:
        wrong = own[rule] & ~own["low"]
        missed = ~own[rule] & own["low"]
        return wrong + 2.0 * missed

    gain = (loss("official") - loss("pooled")).groupby(own["region"]).mean()
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(REGIONS)
