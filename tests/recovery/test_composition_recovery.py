"""Recovery of a contextual effect from latent means of schools by year."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

N_SCHOOLS = 150
YEARS = (2021, 2022, 2023)
TRUE = 0.40
MODEL = rs.ValueAddedModel(
    "score ~ ses", group="school_id", time="year", intake=rs.Intake(composition={"ses": "latent"})
)


def cohorts(seed: int, lasting: float) -> pd.DataFrame:
    """Three cohorts of 3 to 12 pupils; a share of the intake's variance lasts in the school."""
    rng = np.random.default_rng(seed)
    size = rng.integers(3, 13, size=(N_SCHOOLS, len(YEARS)))
    shares = np.sqrt([lasting, 0.6 - lasting])
    intake = shares[0] * rng.normal(size=(N_SCHOOLS, 1)) + shares[1] * rng.normal(size=size.shape)
    school = np.repeat(np.arange(N_SCHOOLS), size.sum(axis=1))
    year = np.concatenate([np.repeat(np.arange(len(YEARS)), row) for row in size])
    ses = intake[school, year] + rng.normal(size=len(school))
    effect = 0.3 * rng.normal(size=(N_SCHOOLS, 1)) + 0.25 * rng.normal(size=size.shape)
    score = 0.5 * ses + TRUE * intake[school, year] + effect[school, year]
    score = score + 0.8 * rng.normal(size=len(school))
    return pd.DataFrame(
        {"school_id": school, "year": np.array(YEARS)[year], "ses": ses, "score": score}
    )


@pytest.mark.parametrize("lasting", [0.0, 0.3, 0.55])
def test_the_contextual_effect_is_found_whatever_part_of_the_intake_lasts(lasting):
    found, stated = [], []
    for seed in range(24):
        table = MODEL.fit(cohorts(seed, lasting)).fixed_effects.set_index("term")
        found.append(table.loc["ses_mean", "estimate"])
        stated.append(table.loc["ses_mean", "std_error"])
    # shrunken alone, each year of each school, the effect is .32 for .40 where the intake lasts
    assert abs(np.mean(found) - TRUE) < 3.0 * np.std(found, ddof=1) / np.sqrt(len(found))
    assert np.std(found, ddof=1) < 0.06  # the check above has power against .32
    assert np.mean(stated) == pytest.approx(np.std(found, ddof=1), rel=0.5)  # SE of an SD: 15 %
