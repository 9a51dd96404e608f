"""Bands of small rural schools beside towns: intervals and probabilities against the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.bands.model import ContextBands

N_REGIONS, N_SCHOOLS = 16, 160


def region(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return three years of small schools; rural ones are a whole unit below their conditions."""
    generator = np.random.default_rng([21, seed])
    pupils = generator.integers(8, 60, size=N_SCHOOLS)
    poverty = generator.beta(3, 6, size=N_SCHOOLS)
    single = generator.beta(2, 8, size=N_SCHOOLS)
    remote = generator.exponential(15, size=N_SCHOOLS)
    rural = generator.random(N_SCHOOLS) < 0.5
    true = -2.0 * poverty - 3.0 * single - 0.2 * np.log1p(remote) - 1.0 * rural
    frames = []
    for year in (2022, 2023, 2024):
        noise = 0.3 + 3.0 / np.sqrt(pupils)
        frames.append(
            pd.DataFrame(
                {
                    "school_id": [f"S{i:03d}" for i in range(N_SCHOOLS)],
                    "year": year,
                    "n_pupils": pupils,
                    "is_rural": rural,
                    "low_income": generator.binomial(pupils, poverty) / pupils,
                    "single_parent": generator.binomial(pupils, single) / pupils,
                    "remoteness_km": remote,
                    "mean_score": true + noise * generator.standard_normal(N_SCHOOLS),
                }
            )
        )
    return pd.concat(frames, ignore_index=True), true


@pytest.fixture(scope="module")
def judged() -> pd.DataFrame:
    """Return what is said of every school and band, with the truth beside it."""
    conditions = rs.Conditions(continuous=["remoteness_km"], shares=["low_income", "single_parent"])
    model = ContextBands(conditions, strata=["is_rural"], n_draws=60)
    found = []
    for seed in range(N_REGIONS):
        table, true = region(seed)
        bands = model.fit(table, random_state=seed)
        own = bands.schools
        # by the published borders, which are numbers and have no error
        truly = np.array(
            [
                np.searchsorted(bands.cuts[stratum], value, side="right") + 1
                for stratum, value in zip(own["stratum"], true, strict=True)
            ]
        )
        found.append(
            pd.DataFrame(
                {
                    "region": seed,
                    "stratum": own["stratum"],
                    "probability": own["band_probability"],
                    "right": own["band"].to_numpy(dtype=int) == truly,
                    "covered": (own["conf_low"] <= true) & (true <= own["conf_high"]),
                    "error": own["expected_result"] - true,
                }
            )
        )
    return pd.concat(found, ignore_index=True)


def error_over_regions(judged: pd.DataFrame, column: str) -> float:
    """Return the standard error of a mean whose schools err together inside a region."""
    means = judged.groupby("region")[column].mean()
    return float(means.std(ddof=1) / np.sqrt(len(means)))


@pytest.mark.parametrize("stratum", ["is_rural=False", "is_rural=True"])
def test_the_expected_result_is_the_strata_s_own(judged: pd.DataFrame, stratum: str) -> None:
    own = judged[judged["stratum"] == stratum]
    assert own["error"].mean() == pytest.approx(0.0, abs=3 * error_over_regions(own, "error"))
    # one point of allowance for the arc sine, which is not the line that made the results
    slack = 3 * error_over_regions(own, "covered") + 0.01
    assert own["covered"].mean() == pytest.approx(0.95, abs=slack)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)])
def test_probabilities_hold_in_small_schools(judged: pd.DataFrame, low: float, high: float) -> None:
    own = judged[judged["probability"].between(low, high, inclusive="left")]
    assert len(own) > 200
    gap = own.assign(gap=own["right"] - own["probability"])
    # two points of allowance: the error of the expected result is taken as normal
    assert abs(gap["gap"].mean()) < 3 * error_over_regions(gap, "gap") + 0.02
    # the tolerance itself must be able to fail what redrawn surveys said: eleven points too many
    assert 3 * error_over_regions(gap, "gap") + 0.02 < 0.1
