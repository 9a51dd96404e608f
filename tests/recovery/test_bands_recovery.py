"""Probabilities of condition bands on regions whose true expectation is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.bands.model import ContextBands

N_REGIONS, N_SCHOOLS = 25, 200


def region(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return two years of a region and the true expectation of the second year."""
    generator = np.random.default_rng([9, seed])
    pupils = generator.integers(15, 250, size=N_SCHOOLS)
    poverty = generator.beta(3, 6, size=N_SCHOOLS)
    remote = generator.exponential(15, size=N_SCHOOLS)
    true = -3.0 * poverty - 0.2 * np.log1p(remote)
    frames = []
    for year in (2023, 2024):
        frames.append(
            pd.DataFrame(
                {
                    "school_id": [f"S{i:03d}" for i in range(N_SCHOOLS)],
                    "year": year,
                    "n_pupils": pupils,
                    "low_income": generator.binomial(pupils, poverty) / pupils,
                    "remoteness_km": remote,
                    "mean_score": true
                    + 0.3 * generator.standard_normal(N_SCHOOLS)
                    + generator.standard_normal(N_SCHOOLS) / np.sqrt(pupils / 9),
                }
            )
        )
    return pd.concat(frames, ignore_index=True), true


@pytest.fixture(scope="module")
def judged() -> pd.DataFrame:
    """Return, for every school of every region, the stated probability and the truth."""
    conditions = rs.Conditions(continuous=["remoteness_km"], shares=["low_income"])
    model = ContextBands(conditions, n_bands=4, n_draws=60)
    rows = []
    for seed in range(N_REGIONS):
        table, true = region(seed)
        bands = model.fit(table, random_state=seed)
        own = bands.schools
        # the truth is judged by the borders of the fit, moved to the scale of the truth
        level = float((own["expected_result"] - true).mean())
        truly = np.searchsorted(bands.cuts[""], true + level, side="right") + 1
        rows.append(
            pd.DataFrame(
                {
                    "probability": own["band_probability"],
                    "right": own["band"].to_numpy(dtype=int) == truly,
                    "covered": (own["conf_low"] <= true + level)
                    & (true + level <= own["conf_high"]),
                    "small": table.loc[table["year"] == 2024, "n_pupils"].to_numpy() < 60,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def test_probabilities_mean_what_they_say(judged: pd.DataFrame) -> None:
    for low, high in ((0.3, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = judged[judged["probability"].between(low, high, inclusive="left")]
        assert len(inside) > 200
        # the shares of one region err together; four points is three standard errors of 25 regions
        # and the shrinkage that the arc sine's curvature leaves
        assert inside["right"].mean() == pytest.approx(inside["probability"].mean(), abs=0.06)


def test_intervals_of_the_expected_result_cover(judged: pd.DataFrame) -> None:
    for small in (True, False):
        share = judged.loc[judged["small"] == small, "covered"].mean()
        assert share == pytest.approx(0.95, abs=0.04)
