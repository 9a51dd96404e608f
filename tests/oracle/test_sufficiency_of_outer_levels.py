"""What a school in a municipality still needs, against the covariance matrix of its schools."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

N_TOWNS, SCHOOLS, PUPILS = 20, 3, 12


@pytest.fixture(scope="module")
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    school = np.repeat(np.arange(N_TOWNS * SCHOOLS), PUPILS)
    town = school // SCHOOLS
    x = rng.normal(size=len(school))
    y = 0.5 * x + 0.7 * rng.normal(size=N_TOWNS)[town]
    y += 0.3 * rng.normal(size=N_TOWNS * SCHOOLS)[school] + 0.8 * rng.normal(size=len(school))
    return pd.DataFrame({"school_id": school, "town": town, "x": x, "y": y})


def reliability(n_pupils: int, variances: tuple[float, float, float]) -> float:
    """Return that of one school of three in a town, the others with 12 pupils each."""
    town, school, pupil = variances
    V = np.diag(school + pupil / np.array([n_pupils, PUPILS, PUPILS])) + town
    with_own = np.array([school, 0.0, 0.0])
    return float(with_own @ np.linalg.solve(V, with_own) / school)


def test_pupils_cannot_tell_a_school_from_its_municipality(pupils):
    va = rs.ValueAddedModel("y ~ x", group=["town", "school_id"]).fit(pupils)
    variances = tuple(va.variance_components["variance"])
    found = va.school_effects["reliability"][0]
    assert found == pytest.approx(reliability(PUPILS, variances), rel=1e-6)
    table = va.sufficiency(reliability=0.6)
    needed = int(table["pupils_needed"][0])
    assert reliability(needed, variances) >= 0.6 > reliability(needed - 1, variances)
    # with all pupils of the world the municipality stays in the way
    most = reliability(10**12, variances)
    assert most < 0.62
    never = va.sufficiency(reliability=most + 0.01)
    assert np.isinf(never["pupils_needed"]).all()
    assert np.isinf(never["years_needed"]).all()


def test_crossed_units_leave_the_need_open(pupils):
    rng = np.random.default_rng(0)
    origin = rng.integers(0, 20, len(pupils))
    crossed = pupils.assign(origin=origin, y=pupils["y"] + 0.5 * rng.normal(size=20)[origin])
    va = rs.ValueAddedModel("y ~ x", crossed=["origin", "school_id"]).fit(crossed)
    table = va.sufficiency(reliability=0.95)
    assert (table["verdict"] == "insufficient_data").all()
    assert table[["pupils_needed", "years_needed"]].isna().all(axis=None)
    assert table["reason"].str.contains("cannot be said").all()
    assert all("сказать нельзя" in reason.ru for reason in table["reason"])
