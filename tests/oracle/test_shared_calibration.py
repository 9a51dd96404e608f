"""Calibrated priors in a shared pass: the standard errors of a fit of one's own."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.intake.preparation import prepare
from resilience.value_added.pupils.shared_pass import SharedPass

# the same arithmetic on the same rows; only the units of the working columns are found twice
SAME = 1e-8
FORMULAS = {"prior": "score ~ prior_score", "both": "score ~ prior_score + ses"}


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(5)
    n_schools, size = 40, 12
    school = np.repeat(np.arange(n_schools), size)
    true = 0.6 * rng.normal(size=n_schools)[school] + rng.normal(size=len(school))
    ses = 0.5 * true + rng.normal(size=len(school))
    year = np.tile([2021, 2022, 2023], len(school) // 3)
    score = 0.7 * true + 0.2 * ses + rng.normal(size=len(school))
    score += 0.5 * rng.normal(size=n_schools)[school]
    score += 0.3 * rng.normal(size=(n_schools, 3))[school, year - 2021]
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": true + 0.5 * rng.normal(size=len(school)),
            "ses": ses,
            "score": score,
            "csem": rng.uniform(0.15, 0.35, size=len(school)),
        }
    )
    frame.loc[:9, "ses"] = np.nan
    return frame


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return function(*arguments, **options)


def same(shared, alone):
    for table in ("fixed_effects", "school_effects"):
        mine, own = getattr(shared, table), getattr(alone, table)
        np.testing.assert_allclose(mine["std_error"], own["std_error"], rtol=SAME, err_msg=table)


@pytest.mark.parametrize("composition", [{}, {"prior_score": "latent", "ses": "mean"}])
@pytest.mark.parametrize("reliability", [0.8, "csem", {"prior_score": "csem", "ses": 0.95}])
@pytest.mark.parametrize("time", [None, "year"])
def test_compare_has_the_errors_of_own_fits(pupils, composition, reliability, time):
    formulas = FORMULAS
    if isinstance(reliability, dict) and not composition:
        formulas = {"both": FORMULAS["both"], "curved": "score ~ poly(prior_score, 2) + ses"}
    intake = rs.Intake(composition=composition, prior_reliability=reliability)
    models = {
        name: rs.ValueAddedModel(formula, group="school_id", time=time, intake=intake)
        for name, formula in formulas.items()
    }
    found = quiet(rs.ValueAddedModel.compare, models, pupils)
    assert found.n_passes == 1
    for name, model in models.items():
        same(found.results[name], quiet(model.fit, pupils.dropna()))


def test_the_part_is_there(pupils):
    """An error that only the jackknife brings: without it the two fits would differ."""
    intake = rs.Intake(prior_reliability=0.6)
    base = rs.ValueAddedModel("score ~ 1", group="school_id", intake=intake)
    shared = quiet(SharedPass.read, base, pupils, FORMULAS)
    whole = quiet(shared.fit, "prior").fixed_effects["std_error"]
    entry = shared._entries["prior"]
    object.__setattr__(entry.prepared, "data", entry.prepared.data.iloc[:0])
    without = quiet(shared.fit, "prior").fixed_effects["std_error"]
    assert whole[1] > 1.02 * without[1]


def test_years_bind_calibrated_priors(pupils):
    """Expectations per school and per school-year differ: no pass serves both."""
    intake = rs.Intake(prior_reliability=0.8)
    models = {
        "all": rs.ValueAddedModel(FORMULAS["prior"], group="school_id", intake=intake),
        "years": rs.ValueAddedModel(
            FORMULAS["prior"], group="school_id", time="year", intake=intake
        ),
    }
    found = quiet(rs.ValueAddedModel.compare, models, pupils)
    assert found.n_passes == 2
    for name, model in models.items():
        alone = quiet(model.fit, pupils)
        same(found.results[name], alone)
        assert found.results[name].criterion == pytest.approx(alone.criterion, rel=1e-10)


@pytest.mark.parametrize("window", [[2021, 2022], [2023], [2021, 2022, 2023]])
def test_a_window_moves_with_the_moments_of_all_years(pupils, window):
    """By dense matrices: rows of the window, expectations from every year."""
    rows = pupils.dropna().reset_index(drop=True)
    intake = rs.Intake(prior_reliability=0.7)
    base = rs.ValueAddedModel("score ~ 1", group="school_id", time="year", intake=intake)
    shared = quiet(SharedPass.read, base, rows, FORMULAS, years="year")
    fit = quiet(shared.fit, "both", window=window)
    prepared = prepare(rows, FORMULAS["both"], intake, groups=["school_id"], time="year", extra=[])
    calibration, at = prepared.calibration, rows["year"].isin(window).to_numpy()
    ses = rows["ses"].to_numpy()[at]
    X = np.column_stack([np.ones(at.sum()), prepared.data["prior_score"][at], ses])
    together = calibration.schools[at][:, None] == calibration.schools[at]
    between = sum(level.covariance[0, 0] for level in fit.mixed.levels)
    V = between * together + fit.mixed.residual_variance * np.eye(at.sum())
    lever = np.linalg.inv(X.T @ np.linalg.solve(V, X)) @ np.linalg.solve(V, X).T
    moves = []
    for k in range(30):
        left = calibration.columns(calibration.moments(calibration.schools % 30 != k))
        shift = left["prior_score"][at] - X[:, 1]
        moves.append(lever @ shift * fit.fixed_effects["estimate"][1])
    added = 29 * np.cov(np.array(moves).T, ddof=0)
    object.__setattr__(shared._entries["both"].prepared, "data", pd.DataFrame())
    without = quiet(shared.fit, "both", window=window).mixed.beta_covariance
    # the slope of the columns is a difference over a thousandth of their spread, exact for a line
    np.testing.assert_allclose(fit.mixed.beta_covariance, without + added, rtol=1e-7, atol=1e-12)
