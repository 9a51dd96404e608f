"""Effects by subject and their weighted means, as the tables hold them, against dense algebra."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.stats.ranking import bands, expected_rank
from resilience.value_added.effects.subjects import (
    composite_effects,
    subject_covariance,
    subject_effects,
)

# fourteen schools: a correlation may end at 1, which the algebra must hold at too
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

SUBJECTS = ["maths", "reading", "science"]
WEIGHTS = {"maths": 0.6, "science": 0.4}
FORMULA = "score ~ C(subject) + prior_score"


def region(*, years: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    omega = np.array([[0.4, 0.2, 0.1], [0.2, 0.3, 0.1], [0.1, 0.1, 0.4]])
    effects = rng.multivariate_normal(np.zeros(3), omega, size=14)
    school = np.repeat(np.arange(14), rng.integers(3, 9, size=14))
    year = rng.integers(2023, 2025, size=len(school))
    passing = 0.4 * rng.normal(size=(14, 2, 3)) if years else np.zeros((14, 2, 3))
    tie = np.array([[0.8, 0.3, 0.2], [0.3, 0.6, 0.2], [0.2, 0.2, 1.1]])
    errors = rng.multivariate_normal(np.zeros(3), tie, size=len(school))
    prior = rng.normal(size=(len(school), 3))
    score = 0.5 * prior + effects[school] + passing[school, year - 2023] + errors
    pupil, subject = (a.ravel() for a in np.indices(score.shape))
    keep = (rng.uniform(size=score.size) < 0.7) & ~((school[pupil] == 3) & (subject == 2))
    keep &= ~((school[pupil] == 6) & (subject != 1))
    pupil, subject = pupil[keep], subject[keep]
    return pd.DataFrame(
        {
            "pupil_key": [f"P{k:03d}" for k in pupil],
            "school_id": [f"S{k:02d}" for k in school[pupil]],
            "year": year[pupil],
            "subject": np.array(SUBJECTS)[subject],
            "prior_score": prior.ravel()[keep],
            "score": score.ravel()[keep],
        }
    )


def dense(data, va):
    """Return modes, posterior and prediction-error covariance of all schools' three effects."""
    ties = subject_covariance(va).set_index(["group", "subject", "other_subject"])["covariance"]
    blocks = {}
    for group in ties.index.get_level_values(0).unique():
        block = np.zeros((3, 3))
        for s, one in enumerate(SUBJECTS):
            for t in range(s, 3):
                block[s, t] = block[t, s] = ties.get((group, one, SUBJECTS[t]), 0.0)
        blocks[group] = block
    code = data["subject"].map(SUBJECTS.index).to_numpy()
    X = np.column_stack([np.ones(len(data)), code == 1, code == 2, data["prior_score"]])
    X = X.astype(float)

    def same(*columns):
        keys = data.groupby(list(columns)).ngroup().to_numpy()
        return keys[:, None] == keys

    pairs = np.ix_(code, code)
    V = np.where(same("pupil_key"), blocks["residual"][pairs], 0.0)
    V = V + np.where(same("school_id"), blocks["school_id"][pairs], 0.0)
    if "school_id:year" in blocks:
        V = V + np.where(same("school_id", "year"), blocks["school_id:year"][pairs], 0.0)
    schools = va.school_effects["school_id"].tolist()
    own = data["school_id"].map(schools.index).to_numpy()
    Z = np.zeros((len(data), 3 * len(schools)))
    Z[np.arange(len(data)), 3 * own + code] = 1.0
    D = np.kron(np.eye(len(schools)), blocks["school_id"])
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    gain = D @ Z.T @ inverse
    modes = gain @ (data["score"].to_numpy() - X @ (C @ X.T @ inverse @ data["score"].to_numpy()))
    posterior = D - gain @ Z @ D
    return modes, posterior, posterior + gain @ X @ C @ X.T @ gain.T, D


@pytest.mark.parametrize("years", [False, True])
def test_the_tables_are_those_of_dense_algebra(years):
    data = region(years=years)
    structure = rs.Structure(outcome_group="subject", unit="pupil_key")
    va = rs.ValueAddedModel(
        FORMULA, group="school_id", time="year" if years else None, structure=structure
    ).fit(data)
    modes, posterior, error, D = dense(data, va)
    n = len(va.school_effects)
    table = subject_effects(va)
    order = table["subject"].map(SUBJECTS.index).to_numpy() + 3 * np.repeat(np.arange(n), 3)
    assert table["effect"].to_numpy() == pytest.approx(modes[order], rel=1e-7, abs=1e-8)
    assert table["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(error))[order], rel=1e-7)
    w = np.kron(np.eye(n), [WEIGHTS.get(s, 0.0) for s in SUBJECTS])
    found = composite_effects(va, WEIGHTS)
    effect, spread = w @ modes, np.sqrt(np.diag(w @ error @ w.T))
    conditional = np.diag(w @ posterior @ w.T)
    assert found["effect"].to_numpy() == pytest.approx(effect, rel=1e-7, abs=1e-8)
    assert found["std_error"].to_numpy() == pytest.approx(spread, rel=1e-7)
    assert found["conditional_sd"].to_numpy() == pytest.approx(np.sqrt(conditional), rel=1e-7)
    trust = 1.0 - conditional / np.diag(w @ D @ w.T)
    assert found["reliability"].to_numpy() == pytest.approx(trust, rel=1e-7)
    above = stats.norm.cdf(effect / spread)
    assert found["p_above_zero"].to_numpy() == pytest.approx(above, rel=1e-6)
    assert found["band"].tolist() == bands(above).tolist()
    assert found["rank_expected"].to_numpy() == pytest.approx(
        expected_rank(effect, np.sqrt(conditional)), rel=1e-6
    )


@pytest.mark.parametrize("unit", ["pupil_key", None])
def test_pupils_of_a_composite_are_those_of_its_subjects(unit):
    data = region()
    structure = rs.Structure(outcome_group="subject", unit=unit)
    va = rs.ValueAddedModel(FORMULA, group="school_id", structure=structure).fit(data)
    table = composite_effects(va, WEIGHTS).set_index("school_id")
    own = data[data["subject"].isin(WEIGHTS)]
    pupils = own.groupby("school_id")["pupil_key"].nunique()
    if unit is None:
        pupils = own.groupby(["school_id", "subject"]).size().groupby("school_id").max()
    subjects = own.groupby("school_id")["subject"].nunique()
    for name, counted in (("n_pupils", pupils), ("n_subjects", subjects)):
        expected = counted.reindex(table.index).fillna(0).astype(int)
        assert table[name].tolist() == expected.tolist()
    # a school that sat the third subject only has a prediction from it
    assert table.loc["S06", "n_pupils"] == table.loc["S06", "n_subjects"] == 0
    assert 0 < table.loc["S06", "reliability"] < 1
    assert composite_effects(va)["n_pupils"].tolist() == va.school_effects["n_pupils"].tolist()
