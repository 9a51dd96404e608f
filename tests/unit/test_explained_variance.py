"""Explained variance: every definition from the rows themselves, or why there is none."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.references import reference_keys
from resilience.value_added.definitions.membership import Membership


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(8)
    n, J = 500, 25
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    prior = 50 + 10 * rng.normal(size=n) + 3 * rng.normal(size=J)[school]
    u = rng.normal(size=(J, 2)) * [0.5, 0.03]
    score = 0.06 * prior + u[school, 0] + u[school, 1] * (prior - 50) + rng.normal(size=n)
    other = rng.integers(0, 12, size=n)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "next_id": [f"S{k:02d}" for k in np.roll(school, 1)],
            "primary_id": [f"P{k}" for k in other],
            "prior_score": prior,
            "share": rng.choice([1.0, 0.75], size=n),
            "score": score + 0.5 * rng.normal(size=12)[other],
        }
    ).assign(rest=lambda f: 1.0 - f["share"])


def fit(frame, formula="score ~ prior_score", **model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.ValueAddedModel(formula, **model).fit(frame)


def shares(result):
    table = result.explained_variance()
    return {
        (row["definition"].split(":")[0], row["group"]): row["variance_explained"]
        for _, row in table.iterrows()
    }


def spread_of_fixed_part(result, frame):
    beta = result.fixed_effects.set_index("term")["estimate"]
    return float(np.var(beta["prior_score"] * frame["prior_score"].to_numpy()))


def test_random_intercept_from_the_rows(frame):
    result = fit(frame, group="school_id")
    null = fit(frame, "score ~ 1", group="school_id")
    found = shares(result)
    fixed = spread_of_fixed_part(result, frame)
    tau, sigma = result.variances["persistent"], result.variances["residual"]
    tau0, sigma0 = null.variances["persistent"], null.variances["residual"]
    assert found["marginal", ""] == pytest.approx(fixed / (fixed + tau + sigma), rel=1e-9)
    assert found["conditional", ""] == pytest.approx((fixed + tau) / (fixed + tau + sigma))
    # 1e-6: the null model is searched for twice
    level = "reduction of the level's variance"
    assert found[level, "school_id"] == pytest.approx(1 - tau / tau0, rel=1e-6)
    assert found[level, "residual"] == pytest.approx(1 - sigma / sigma0, rel=1e-6)
    assert found["modelled variance of a pupil", ""] == pytest.approx(
        1 - (tau + sigma) / (tau0 + sigma0), rel=1e-6
    )
    n = len(result.school_effects) / (1.0 / result.school_effects["n_pupils"]).sum()
    assert found["modelled variance of a school mean", "school_id"] == pytest.approx(
        1 - (tau + sigma / n) / (tau0 + sigma0 / n), rel=1e-6
    )


def test_slopes_count_at_every_pupil_and_leave_no_null(frame):
    result = fit(frame, group="school_id", slopes="prior_score")
    D = result.mixed.levels[0].covariance
    z = np.c_[np.ones(len(frame)), frame["prior_score"]]
    level = float(np.einsum("ia,ab,ib->i", z, D, z).mean())
    fixed, sigma = spread_of_fixed_part(result, frame), result.variances["residual"]
    found = shares(result)
    # 1e-6: far from zero the terms of z'Dz cancel
    assert found["marginal", ""] == pytest.approx(fixed / (fixed + level + sigma), rel=1e-6)
    table = result.explained_variance()
    rest = table[~table["reference"].str.contains("Johnson")]
    assert rest["variance_explained"].isna().all()
    assert all("prior_score" in basis for basis in rest["basis"])
    assert all("prior_score" in basis.ru for basis in rest["basis"])


def test_crossed_factors(frame):
    crossed = {"crossed": ["primary_id", "school_id"]}
    result, null = fit(frame, **crossed), fit(frame, "score ~ 1", **crossed)
    found = shares(result)
    one, other = (level.covariance[0, 0] for level in result.mixed.levels)
    fixed, sigma = spread_of_fixed_part(result, frame), result.variances["residual"]
    assert found["marginal", ""] == pytest.approx(fixed / (fixed + one + other + sigma), rel=1e-9)
    zero = null.mixed.levels[0].covariance[0, 0]
    level = "reduction of the level's variance"
    assert found[level, "primary_id"] == pytest.approx(1 - one / zero, rel=1e-5)
    table = result.explained_variance()
    reason = table.loc[table["definition"].str.contains("school mean"), "basis"].iloc[0]
    assert "3 levels" in reason


def test_shared_membership_counts_squared_shares(frame):
    members = Membership(unit=["school_id", "next_id"], weight=["share", "rest"], name="school")
    result = fit(frame, members=members)
    tau, sigma = result.mixed.levels[0].covariance[0, 0], result.variances["residual"]
    same = frame["school_id"] == frame["next_id"]
    squares = np.where(same, 1.0, frame["share"] ** 2 + frame["rest"] ** 2).mean()
    fixed = spread_of_fixed_part(result, frame)
    assert shares(result)["marginal", ""] == pytest.approx(
        fixed / (fixed + tau * squares + sigma), rel=1e-9
    )


def test_years_count_once(frame):
    rng = np.random.default_rng(1)
    years = frame.assign(year=rng.integers(2021, 2024, size=len(frame)))
    result = fit(years, group="school_id", time="year", structure=rs.Structure(drift="ar1"))
    parts = [result.mixed.levels[0].covariance[0, 0], result.mixed.levels[1].covariance[0, 0]]
    fixed, sigma = spread_of_fixed_part(result, frame), result.variances["residual"]
    assert shares(result)["marginal", ""] == pytest.approx(
        fixed / (fixed + sum(parts) + sigma), rel=1e-9
    )


def test_reasons_stand_where_a_definition_does_not_apply(frame):
    both = pd.concat(
        [frame.assign(subject=s, score=frame["score"] * k) for s, k in (("a", 1), ("b", 2))]
    )
    joint = fit(
        both,
        "score ~ C(subject)",
        group="school_id",
        structure=rs.Structure(outcome_group="subject"),
    )
    table = joint.explained_variance()
    assert table["variance_explained"].isna().all()
    assert all(basis for basis in table["basis"])
    bare = fit(frame, "score ~ 0 + prior_score", group="school_id").explained_variance()
    assert bare["variance_explained"].notna().sum() == 2
    assert "intercept" in bare["basis"].iloc[-1]


def test_columns_and_sources_are_known(frame):
    table = fit(frame, group="school_id").explained_variance()
    assert set(table) <= set(column_names())
    assert set(table["reference"]) <= set(reference_keys())
