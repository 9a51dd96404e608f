"""What joint fits of subjects say of pupils and years is what their own posterior says."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.effects.subjects import equal_weights, subject_loadings
from resilience.value_added.effects.sufficiency_subjects import subject_information

FORMULA = "score ~ C(subject) * prior_score"


def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n, J = 480, 16
    school = np.arange(n) % J
    lasting, year = rng.normal(0, 0.5, J), 2021 + np.arange(n) // J % 3
    passing, own = rng.normal(0, 0.3, (J, 3)), rng.normal(0, 0.3, (J, 2))
    prior, shared = rng.normal(size=n), rng.normal(0, 0.5, n)
    rows = []
    for s, subject in enumerate(("МА", "РУ")):
        effect = (lasting + own[:, s])[school] + passing[school, year - 2021]
        score = 0.5 * prior + effect + shared + rng.normal(0, 0.7, n)
        rows.append(
            pd.DataFrame(
                {
                    "pupil_key": np.arange(n),
                    "school_id": [f"S{k:02d}" for k in school],
                    "year": year,
                    "subject": subject,
                    "prior_score": prior,
                    "score": score,
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    # of S00 every third pupil sat МА only, S01 has РУ only
    few = (table["school_id"] == "S00") & (table["subject"] == "РУ") & (table["pupil_key"] % 3 == 0)
    none = (table["school_id"] == "S01") & (table["subject"] == "МА")
    return table[~few & ~none].reset_index(drop=True)


@cache
def fit(*, unit: str | None, time: str | None) -> rs.ValueAddedResults:
    structure = rs.Structure(outcome_group="subject", unit=unit)
    model = rs.ValueAddedModel(FORMULA, group="school_id", time=time, structure=structure)
    with warnings.catch_warnings():
        # without the key the years' correlation between the subjects is put at 1: no matter here
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return model.fit(pupils())


def by_rows(results: rs.ValueAddedResults, n: int, years: int) -> float:
    """Reliability of the mean for n pupils a year with both subjects, from all rows at once."""
    joint = results.mixed
    w, S = equal_weights(joint), len(joint.subjects)
    L = subject_loadings(joint, 0)
    lasting = L @ joint.levels[0].covariance @ L.T
    yearly = np.zeros((S, S))
    if results.time is not None:
        K = subject_loadings(joint, 1)
        yearly = K @ joint.levels[1].covariance @ K.T
    same_year = np.kron(np.eye(years), np.ones((n, n)))
    V = np.kron(np.ones((n * years, n * years)), lasting) + np.kron(same_year, yearly)
    V += np.kron(np.eye(n * years), joint.residual_covariance)
    tie = np.tile(lasting @ w, n * years)
    return float(tie @ np.linalg.solve(V, tie) / (w @ lasting @ w))


CASES = [("pupil_key", None), ("pupil_key", "year"), (None, None), (None, "year")]


@pytest.mark.parametrize(("unit", "time"), CASES)
def test_the_reliability_of_more_pupils_is_that_of_all_their_rows(unit, time) -> None:
    results = fit(unit=unit, time=time)
    told = subject_information(results)
    whole = list(results.school_effects["school_id"]).index("S05")  # all its pupils sat both
    for n, years in ((4, 1), (12, 1), (6, 3)):
        J = len(told.cohort)
        if time is None and years > 1:
            continue
        found = told.reliability(np.full(J, float(n)), np.full(J, float(years)))[whole]
        # two ways through the same normal distribution
        assert found == pytest.approx(by_rows(results, n, years), rel=1e-9)


@pytest.mark.parametrize(("unit", "time"), CASES)
def test_what_is_needed_is_the_least_number_of_pupils(unit, time) -> None:
    results = fit(unit=unit, time=time)
    table = results.sufficiency(reliability=0.75).set_index("school_id")
    least = next(n for n in range(1, 2000) if by_rows(results, n, 1) >= 0.75)
    assert table.loc["S05", "pupils_needed"] == least
    # pupils of the school, not its results
    assert table.loc["S05", "n_pupils"] == 30
    if time is not None:
        years = next(t for t in range(1, 60) if by_rows(results, 10, t) >= 0.75)
        assert table.loc["S05", "years_needed"] == years


@pytest.mark.parametrize("unit", ["pupil_key", None])
def test_new_pupils_sit_what_the_pupils_of_the_school_sit(unit) -> None:
    """At the school's own number of pupils the reliability is that of the table of effects."""
    results = fit(unit=unit, time=None)
    told = subject_information(results)
    effects = results.school_effects
    one = np.ones(len(effects))
    np.testing.assert_allclose(
        told.reliability(told.cohort, one), effects["reliability"], rtol=1e-9
    )
    assert told.cohort[0] == 30  # S00: pupils who sat one subject are pupils
    # verdict and need agree without any correction
    for asked in (0.5, 0.7, 0.8):
        table = results.sufficiency(reliability=asked)
        enough = table["verdict"] == "yes"
        assert (enough == (table["pupils_needed"] <= table["n_pupils"])).all()


def test_a_subject_never_sat_cannot_be_made_up_for() -> None:
    table = fit(unit="pupil_key", time=None).sufficiency(reliability=0.99).set_index("school_id")
    row = table.loc["S01"]
    assert np.isinf(row[["pupils_needed", "years_needed"]].astype(float)).all()
    assert "subject that its pupils have not sat" in row["reason"]
    assert "предмету, который" in row["reason"].localized("ru")
    assert np.isfinite(table.loc["S05", "pupils_needed"])
