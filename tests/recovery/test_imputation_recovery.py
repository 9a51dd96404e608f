"""Known truth with planted gaps: dropping is biased, imputing is not, and intervals cover."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs

BANDS = ((2, 5), (6, 15), (16, 30), (31, 60))
TRUE = {"prior_score": 0.5, "ses": 0.3, "ses_mean": 0.3}
VAR_SCHOOL, VAR_PUPIL = 0.09, 0.49
N_SCHOOLS, N_REGIONS = 48, 20
MODEL = rs.ValueAddedModel(
    "score ~ prior_score + ses",
    group="school_id",
    intake=rs.Intake(composition={"ses": "latent"}, missing="impute", n_imputations=5),
)


def region(seed: int, depends_on: str | None) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A region with about 30 % gaps in ses, its true effects and sizes."""
    rng = np.random.default_rng([7, seed])
    size = np.resize([3, 4, 5, 8, 11, 14, 18, 22, 28, 33, 40, 52], N_SCHOOLS)
    school = np.repeat(np.arange(N_SCHOOLS), size)
    n = len(school)
    composition = 0.6 * rng.normal(size=N_SCHOOLS)
    ses = composition[school] + rng.normal(size=n)
    prior = 0.4 * ses + 0.2 * composition[school] + rng.normal(size=n)
    effect = np.sqrt(VAR_SCHOOL) * rng.normal(size=N_SCHOOLS)
    score = 0.5 * prior + 0.3 * ses + 0.3 * composition[school] + effect[school]
    score = score + np.sqrt(VAR_PUPIL) * rng.normal(size=n)
    chance = np.full(n, 0.3)
    if depends_on == "outcome":
        chance = 1 / (1 + np.exp(1.0 + 1.2 * (score - score.mean()) / score.std()))
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "prior_score": prior,
            "ses": np.where(rng.random(n) < chance, np.nan, ses),
            "score": score,
        }
    )
    return frame, effect, size


def run(depends_on: str | None) -> dict[str, dict[str, np.ndarray]]:
    """Fit all regions by dropping and by imputing."""
    ways = {
        "impute": MODEL,
        "drop": replace(MODEL, intake=rs.Intake(composition={"ses": "latent"}, missing="drop")),
    }
    kept: dict[str, dict[str, list]] = {
        way: {"estimate": [], "covered": [], "variance": [], "schools": []} for way in ways
    }
    for seed in range(N_REGIONS):
        frame, effect, size = region(seed, depends_on)
        for way, model in ways.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rs.WeakDataWarning)  # rows dropped, on purpose
                va = model.fit(frame, random_state=seed)
            table = va.fixed_effects.set_index("term").loc[list(TRUE)]
            truth = np.array(list(TRUE.values()))
            kept[way]["estimate"].append(table["estimate"].to_numpy() - truth)
            inside = (table["conf_low"] <= truth) & (truth <= table["conf_high"])
            kept[way]["covered"].append(inside.to_numpy())
            kept[way]["variance"].append(va.variances["residual"] - VAR_PUPIL)
            if way == "impute":
                found = va.intervals(level=0.9).sort_values("school_id")
                hit = (found["conf_low"] <= effect) & (effect <= found["conf_high"])
                kept[way]["schools"].append(np.column_stack([size, hit]))
    return {
        way: {name: np.array(values) for name, values in table.items()}
        for way, table in kept.items()
    }


@pytest.fixture(scope="module")
def by_outcome():
    return run("outcome")


@pytest.fixture(scope="module")
def at_random():
    return run(None)


def z_of_bias(errors: np.ndarray) -> np.ndarray:
    """Mean errors in their Monte-Carlo standard errors."""
    return errors.mean(axis=0) / (errors.std(axis=0, ddof=1) / np.sqrt(len(errors)))


def test_dropping_is_biased_where_gaps_depend_on_the_outcome(by_outcome):
    z = z_of_bias(by_outcome["drop"]["estimate"])
    assert z[0] < -4
    assert z[1] < 0
    assert z_of_bias(by_outcome["drop"]["variance"]) < -4


@pytest.mark.parametrize("which", ["by_outcome", "at_random"])
def test_imputing_recovers_the_truth(which, request):
    found = request.getfixturevalue(which)["impute"]
    # four errors of 20 regions: 3.4 of Student's t with 19 degrees has a chance of .3 %
    assert (np.abs(z_of_bias(found["estimate"])) < 3.4).all()
    assert abs(z_of_bias(found["variance"])) < 3.4


@pytest.mark.parametrize("which", ["by_outcome", "at_random"])
def test_intervals_of_coefficients_cover_at_their_rate(which, request):
    covered = request.getfixturevalue(which)["impute"]["covered"]
    # 60 intervals of 95 %: 2.8 % is their standard error, the three of a region nearly independent
    assert covered.mean() >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / covered.size)


@pytest.mark.parametrize("which", ["by_outcome", "at_random"])
@pytest.mark.parametrize("band", BANDS, ids=str)
def test_effects_of_schools_of_every_size_are_covered(which, band, request):
    rows = request.getfixturevalue(which)["impute"]["schools"]
    inside = [r[(r[:, 0] >= band[0]) & (r[:, 0] <= band[1]), 1].mean() for r in rows]
    # 240 intervals a band; regions differ too, since all schools share the intercept's error
    error = max(np.std(inside, ddof=1) / np.sqrt(len(inside)), np.sqrt(0.09 / 240))
    assert abs(np.mean(inside) - 0.90) < 3.4 * error + 0.01  # variances are taken as known: .01


def test_categories_and_values_of_whole_schools_are_recovered():
    """A flag of pupils with gaps that depend on the outcome, a kind unknown for whole schools."""
    errors, covered = [], []
    truth = np.array([0.4, 0.5])
    intake = rs.Intake(missing="impute", n_imputations=5)
    model = rs.ValueAddedModel("score ~ sex + kind + ses", group="school_id", intake=intake)
    for seed in range(12):
        rng = np.random.default_rng([11, seed])
        school = np.repeat(np.arange(50), 15)
        kind = rng.choice(["general", "gymnasium"], 50)
        ses = 0.5 * (kind == "gymnasium")[school] + rng.normal(size=750)
        boy = rng.random(750) < 1 / (1 + np.exp(-0.5 * ses))
        score = 0.3 * ses + truth[0] * boy + truth[1] * (kind == "gymnasium")[school]
        score = score + 0.3 * rng.normal(size=50)[school] + 0.8 * rng.normal(size=750)
        unknown = rng.random(50) < 0.15
        frame = pd.DataFrame(
            {
                "school_id": school,
                "sex": np.where(boy, "M", "F"),
                "kind": kind[school],
                "ses": ses,
                "score": score,
            }
        )
        lost = rng.random(750) < 1 / (1 + np.exp(1.2 + score))
        frame["sex"] = frame["sex"].mask(lost)
        frame["kind"] = frame["kind"].mask(unknown[school])
        table = model.fit(frame, random_state=seed).fixed_effects.set_index("term")
        table = table.loc[["sex[T.M]", "kind[T.gymnasium]"]]
        errors.append(table["estimate"].to_numpy() - truth)
        inside = (table["conf_low"] <= truth) & (truth <= table["conf_high"])
        covered.append(inside.to_numpy())
    assert (np.abs(z_of_bias(np.array(errors))) < 3.9).all()  # Student's t with 11 degrees, .3 %
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 24)
