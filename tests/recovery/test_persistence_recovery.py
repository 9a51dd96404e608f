"""Persistence and teacher effects recovered from simulated classrooms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.data.simulation.classrooms import simulate_classrooms
from resilience.value_added.persistence import PersistenceModel, PersistenceResults

TRUE = np.array([0.6, 0.4, 0.7])
REPLICATIONS = 60
BANDS = ((2, 5), (6, 15), (16, 30), (31, 10_000))


def fitted(seed: int, **options) -> tuple[PersistenceResults, pd.DataFrame]:
    """Return a fit and the truth in the order of its teachers."""
    made = simulate_classrooms(random_state=seed, persistence=TRUE, **options)
    results = PersistenceModel("score ~ prior_score").fit(made.rows, made.links)
    truth = made.teachers.set_index("teacher_id")["true_effect"]
    table = results.teacher_effects.assign(
        true_effect=truth.loc[results.teacher_effects["teacher_id"]].to_numpy(), seed=seed
    )
    return results, table


@pytest.fixture(scope="module")
def replications():
    """Return fits to 3,750 rows over three years, 25 classes of 50 a year."""
    return [fitted(seed, class_size=50) for seed in range(REPLICATIONS)]


def test_persistence_is_recovered(replications):
    estimates = np.array([r.persistence["estimate"] for r, _ in replications])
    errors = np.array([r.persistence["std_error"] for r, _ in replications])
    assert all(r.convergence.converged for r, _ in replications)
    monte_carlo = estimates.std(axis=0, ddof=1) / np.sqrt(REPLICATIONS)
    apart = estimates.mean(axis=0) - TRUE
    assert (np.abs(apart) < 2.0 * monte_carlo).all()
    # jointly: a chi-squared of three degrees of freedom, 11.3 at 99 %
    joint = REPLICATIONS * apart @ np.linalg.solve(np.cov(estimates.T), apart)
    assert joint < 11.3
    # the SD of 60 normal draws has a relative standard error of 1/√118 = .092: three of them
    ratio = errors.mean(axis=0) / estimates.std(axis=0, ddof=1)
    assert (np.abs(ratio - 1.0) < 3.0 * 0.092).all()


def test_persistence_intervals_cover(replications):
    inside = np.array(
        [
            (r.persistence["conf_low"] <= TRUE) & (r.persistence["conf_high"] >= TRUE)
            for r, _ in replications
        ]
    )
    # per replication the three estimates hang together: the error is that of the replications
    assert abs(inside.mean() - 0.95) < 3.0 * np.sqrt(0.95 * 0.05 / REPLICATIONS)


def test_variances_are_recovered(replications):
    teacher = np.array([r.variance_components["variance"][:3] for r, _ in replications])
    residual = np.array([r.residual_covariance["residual_covariance"] for r, _ in replications])
    years = replications[0][0].residual_covariance
    lag = (years["year"] - years["earlier_year"]).to_numpy()
    for found, true in ((teacher, np.full(3, 9.0)), (residual, 64.0 * 0.7**lag)):
        error = found.std(axis=0, ddof=1) / np.sqrt(REPLICATIONS)
        assert (np.abs(found.mean(axis=0) - true) < 3.0 * error).all()


def test_missing_results_do_not_bias_persistence():
    estimates = np.array(
        [
            fitted(seed, class_size=50, missing=0.3)[0].persistence["estimate"]
            for seed in range(100, 130)
        ]
    )
    monte_carlo = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(axis=0) - TRUE) < 3.0 * monte_carlo).all()


def test_teacher_effects_cover_by_class_size():
    runs = []
    for class_size, count in ((4, 3), (10, 4), (22, 6), (45, 10)):
        runs += [
            fitted(1000 * class_size + seed, class_size=class_size)[1] for seed in range(count)
        ]
    table = pd.concat(runs)
    inside = (table["conf_low"] <= table["true_effect"]) & (
        table["true_effect"] <= table["conf_high"]
    )
    for low, high in BANDS:
        band = table["n_pupils"].between(low, high)
        by_seed = inside[band].groupby(table.loc[band, "seed"]).mean()
        weights = band[band].groupby(table.loc[band, "seed"]).size()
        share = np.average(by_seed, weights=weights)
        # one data set's effects share the error of its variances: the error comes from data sets
        effective = weights.sum() ** 2 / (weights**2).sum()
        error = np.sqrt(np.average((by_seed - share) ** 2, weights=weights) / effective)
        independent = np.sqrt(0.95 * 0.05 / weights.sum())
        assert weights.sum() > 100
        assert abs(share - 0.95) < 3.0 * max(error, independent), (low, high, share, error)


def test_effects_are_unbiased_and_shrunken(replications):
    table = pd.concat(t for _, t in replications)
    slope = np.polyfit(table["teacher_effect"], table["true_effect"], 1)[0]
    # 60 × 75 effects, residual SD near 1.2 against effects of SD 2.8: .0055 per standard error;
    # the shared errors of each data set's variances double it
    assert abs(slope - 1.0) < 0.03
