"""Effects over the neighbours' expectation, on regions with known effects."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from resilience.clustering.comparison.compare import compare_with_neighbours
from resilience.clustering.comparison.effects import neighbour_effects
from resilience.clustering.comparison.slopes import condition_slopes
from resilience.clustering.conditions.scaled import scale_conditions
from resilience.clustering.conditions.specification import Conditions

N = 240
SD = 0.3
REGIONS = 30
CONDITIONS = Conditions(continuous={"first": "linear", "second": "linear"})
IDS = [f"S{i:03d}" for i in range(N)]


def region(seed: int) -> tuple[pd.DataFrame, np.ndarray, SimpleNamespace]:
    """Return a region whose results follow a line, the true effects, and neighbours of 12."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(2, N))
    pupils = generator.integers(15, 150, size=N)
    effect = generator.normal(scale=SD, size=N)
    result = 0.5 * first - 0.3 * second + effect + generator.normal(size=N) / np.sqrt(pupils)
    schools = pd.DataFrame(
        {
            "school_id": IDS,
            "first": first,
            "second": second,
            "n_pupils": pupils,
            "mean_score": result,
        }
    )
    scaled = scale_conditions(schools, CONDITIONS)
    z = np.asarray(scaled.values)
    distance = ((z[:, None] - z[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :12]
    found = SimpleNamespace(
        scaled=scaled,
        neighbours=pd.DataFrame(
            {
                "school_id": np.repeat(IDS, 12),
                "neighbour_id": np.array(IDS)[near.ravel()],
                "weight": 1.0 / 12.0,
            }
        ),
        quality=pd.DataFrame({"school_id": IDS, "verdict": "ok", "reason": ""}),
    )
    return schools, effect, found


@pytest.fixture(scope="module")
def runs() -> list[tuple[float, float, float, float]]:
    """Variance, coverage of effects, correlation with the truth, share outside by chance."""
    found = []
    for seed in range(REGIONS):
        schools, effect, neighbours = region(seed)
        slopes = condition_slopes(neighbours.scaled, schools)
        settings = {"pupil_sd": 1.0, "slopes": slopes, "max_imbalance": 99.0}
        own = neighbour_effects(neighbours, schools, **settings)
        table = own.school_effects
        inside = (table["conf_low"] <= effect) & (effect <= table["conf_high"])
        nothing = schools.assign(mean_score=schools["mean_score"] - effect)
        plain = compare_with_neighbours(neighbours, nothing, **settings).table
        outside = plain["verdict"].isin(["above", "below"]).mean()
        agreement = np.corrcoef(table["effect"], effect)[0, 1]
        found.append((own.variance, float(inside.mean()), agreement, float(outside)))
    return found


def close(values: list[float], truth: float) -> None:
    """Compare a mean over regions with the truth: four standard errors of that mean."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(truth, abs=4.0 * error)


def test_variance_of_effects_is_recovered(runs):
    # the fitted slopes take 2 of 240 degrees of freedom: far below the tolerance
    close([run[0] for run in runs], SD**2)


def test_intervals_of_effects_hold_their_level(runs):
    close([run[1] for run in runs], 0.95)


def test_effects_agree_with_the_truth_as_their_reliability_says(runs):
    # mean reliability is about .80 over these sizes, so the correlation is about .9
    assert np.mean([run[2] for run in runs]) > 0.85


def test_five_percent_lie_outside_by_chance_alone(runs):
    close([run[3] for run in runs], 0.05)
