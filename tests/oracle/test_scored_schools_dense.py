"""Schools that are only scored, against the dense posterior at the coefficients of the fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names

pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

YEARS = np.array([2019, 2020, 2022])
# Both sides take the fit's estimates; what is left is rounding of small matrices.
ABSOLUTE = 1e-9
OUT = ["S03", "S11", "S17"]
SHAPES = {
    "one level": {},
    "slopes": {"slopes": "prior_score"},
    "years": {"time": "year"},
    "years and slopes": {"time": "year", "slopes": "prior_score"},
    "ar1": {"time": "year", "structure": rs.Structure(drift="ar1", weights="weight")},
    "unstructured": {"time": "year", "structure": rs.Structure(drift="unstructured")},
    "weights": {"structure": rs.Structure(weights="weight")},
}


def pupils(seed: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, n_schools = 500, 20
    school = rng.integers(0, n_schools, size=n)
    year = rng.integers(0, 3, size=n)
    year[school == 11] = 1
    prior = rng.normal(size=n) + 0.4 * rng.normal(size=n_schools)[school]
    score = 0.7 * prior + 0.6 * rng.normal(size=n_schools)[school]
    score += 0.5 * rng.normal(size=(n_schools, 3))[school, year]
    score += 0.4 * rng.normal(size=n_schools)[school] * prior
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "town": [f"T{k % 4}" for k in school],
            "year": YEARS[year],
            "prior_score": prior,
            "weight": rng.uniform(0.5, 2.0, size=n),
            "score": score + rng.normal(size=n),
        }
    )


def model(**shape):
    return rs.ValueAddedModel("score ~ prior_score", **({"group": "school_id"} | shape))


def dense(va, rows, shape):
    """Posterior of the lasting effect of one school at given coefficients."""
    fitted, n = va.mixed, len(rows)
    X = np.column_stack([np.ones(n), rows["prior_score"]])
    weighted = getattr(shape.get("structure"), "weights", None)
    V = np.diag(fitted.residual_variance / (rows["weight"].to_numpy() if weighted else np.ones(n)))
    own, drift = fitted.levels[0], getattr(shape.get("structure"), "drift", None)
    code = np.searchsorted(YEARS, rows["year"])
    if drift == "unstructured":
        Z, load = np.eye(3)[code], np.full(3, 1 / 3)
    else:
        Z = X[:, : len(own.terms)]
        load = np.array([1.0, va.slope_means.get("prior_score", 0.0)])[: len(own.terms)]
        if "time" in shape:
            lags = np.abs(np.subtract.outer(YEARS, YEARS)).astype(float)
            rho = fitted.levels[1].parameters.get("correlation", 0.0) if drift else 0.0
            R = np.where(lags == 0, 1.0, rho**lags)
            V = V + fitted.levels[1].covariance[0, 0] * R[np.ix_(code, code)]
    V = V + Z @ own.covariance @ Z.T
    gain = np.linalg.solve(V, Z @ own.covariance @ load)
    residual = rows["score"].to_numpy() - X @ fitted.beta
    conditional = load @ own.covariance @ load - gain @ (Z @ own.covariance @ load)
    left = gain @ X
    return gain @ residual, conditional, conditional + left @ fitted.beta_covariance @ left


@pytest.mark.parametrize("name", SHAPES)
def test_scored_schools_are_the_dense_posterior(name):
    data, shape = pupils(), SHAPES[name]
    out = data["school_id"].isin(OUT)
    va = model(**shape).fit(data[~out])
    table = va.score_schools(data[out]).set_index("school_id")
    assert list(table.index[table["scored_only"]]) == OUT
    for school in OUT:
        rows = data[data["school_id"] == school]
        effect, conditional, total = dense(va, rows, shape)
        row = table.loc[school]
        assert row["effect"] == pytest.approx(effect, abs=ABSOLUTE)
        assert row["conditional_sd"] ** 2 == pytest.approx(conditional, abs=ABSOLUTE)
        assert row["std_error"] ** 2 == pytest.approx(total, abs=ABSOLUTE)
        assert row["n_pupils"] == len(rows)
        assert row["n_years"] == (rows["year"].nunique() if "time" in shape else 1)
        if getattr(shape.get("structure"), "weights", None) is None:
            assert row["observed_mean"] == pytest.approx(rows["score"].mean())
    # what the fit says of its own schools stays, ranks aside
    kept = ["effect", "std_error", "conditional_sd", "conf_low", "conf_high", "reliability"]
    own = va.school_effects.set_index("school_id")
    np.testing.assert_allclose(table.loc[own.index, kept], own[kept], rtol=1e-12)
    assert table["rank_expected"].sum() == pytest.approx(20 * 21 / 2)
    assert not set(table.columns) - set(column_names())


def test_the_fit_does_not_know_the_scored_schools():
    """Whatever they score: nothing but their own row moves."""
    data = pupils()
    out = data["school_id"].isin(OUT)
    va = model(time="year").fit(data[~out])
    table = va.score_schools(data)  # rows of schools of the fit are not read a second time
    higher = va.score_schools(data.assign(score=data["score"] + 3.0 * out))
    moved = (higher["effect"] != table["effect"]).to_numpy()
    np.testing.assert_array_equal(moved, table["scored_only"].to_numpy())
    assert (higher.loc[moved, "effect"] > table.loc[moved, "effect"] + 1.0).all()


@pytest.mark.parametrize(
    ("shape", "act", "kind", "words"),
    [
        ({"group": ["town", "school_id"]}, None, rs.SpecificationError, ["'town'", "group="]),
        ({"crossed": ["town"]}, None, rs.SpecificationError, ["cross"]),
        ({}, lambda d: d[d["school_id"] == "S01"], rs.DataError, ["S01", "was in the fit"]),
        ({}, lambda d: d.drop(columns="score"), rs.DataError, ["'score'"]),
        (
            {"time": "year", "structure": rs.Structure(drift="unstructured")},
            lambda d: d.assign(year=2025),
            rs.DataError,
            ["2025", "drift='ar1'"],
        ),
        (
            {"structure": rs.Structure(weights="weight")},
            lambda d: d.assign(weight=-1.0),
            rs.SpecificationError,
            ["weight"],
        ),
        (
            {"structure": rs.Structure(weights="weight")},
            lambda d: d.drop(columns="weight"),
            rs.DataError,
            ["'weight'"],
        ),
    ],
)
def test_what_cannot_be_scored_is_said(shape, act, kind, words):
    data = pupils()
    va = model(**shape).fit(data[~data["school_id"].isin(OUT)])
    with pytest.raises(kind) as caught:
        va.score_schools(data if act is None else act(data))
    for word in words:
        assert word in str(caught.value)
