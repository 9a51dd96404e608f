"""Targets of years against the dense best linear prediction, for every kind of model with years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

# small regions: singular fits would do as well, only the predictions are looked at
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

YEARS = [2021, 2022, 2023]
# Both sides take the fit's variances; rounding of matrices of some 400 rows is what is left.
ABSOLUTE = 1e-8
TARGETS = {
    "persistent": (1.0, {}),
    "last_year": (1.0, {2023: 1.0}),
    "next_year": (1.0, {2024: 1.0}),
    "difference": (0.0, {2021: -1.0, 2023: 1.0}),
    "weighted": (1.0, {2021: 0.2, 2022: 0.3, 2023: 0.5}),
}


def pupils(seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, n_schools = 430, 22
    school = rng.integers(0, n_schools, size=n)
    year = rng.integers(0, 3, size=n)
    year[(school < 4) & (year == 2)] = 0
    origin = rng.integers(0, 9, size=n)
    prior = rng.normal(50.0, 10.0, size=n)
    score = 0.08 * prior + 0.6 * rng.normal(size=n_schools)[school]
    score += 0.5 * rng.normal(size=(n_schools, 3))[school, year] + 0.5 * rng.normal(size=9)[origin]
    score += (
        0.04 * rng.normal(size=n_schools)[school] * (prior - 50) + rng.normal(size=6)[school % 6]
    )
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "town": [f"T{k % 6}" for k in school],
            "origin": [f"P{k}" for k in origin],
            "year": np.array(YEARS)[year],
            "prior_score": prior,
            "weight": rng.uniform(0.5, 2.0, size=n),
            "score": score + rng.normal(size=n),
        }
    )


MODELS = {
    "schools": {"group": "school_id"},
    "slopes": {"group": "school_id", "slopes": "prior_score"},
    "towns": {"group": ["town", "school_id"]},
    "towns with slopes": {
        "group": ["town", "school_id"],
        "slopes": {"town": ["prior_score"], "school_id": ["prior_score"]},
    },
    "crossed": {"group": "school_id", "crossed": ["origin"]},
}


def blup(X, y, V, pull, prior):
    """Return prediction, conditional and prediction-error variance of targets: rows of ``pull``."""
    inverse = np.linalg.inv(V)
    A = np.linalg.inv(X.T @ inverse @ X)
    residual = y - X @ (A @ X.T @ inverse @ y)
    gain = pull @ inverse
    left = gain @ X
    conditional = prior - np.einsum("jn,jn->j", gain, pull)
    return gain @ residual, conditional, conditional + np.einsum("jp,pq,jq->j", left, A, left)


def same(column):
    values = np.asarray(column)
    return values[:, None] == values[None, :]


@pytest.mark.parametrize("name", MODELS)
def test_targets_of_pupil_models(name):
    data = pupils()
    crossed = name == "crossed"
    structure = None if crossed else rs.Structure(weights="weight")
    va = rs.ValueAddedModel(
        "score ~ prior_score", time="year", structure=structure, **MODELS[name]
    ).fit(data)
    levels = {level.name: level for level in va.mixed.levels}
    n, x = len(data), data["prior_score"].to_numpy()
    X = np.column_stack([np.ones(n), x])
    V = np.diag(
        va.mixed.residual_variance / (1.0 if crossed else data["weight"].to_numpy()) * np.ones(n)
    )
    for level, column in (("town", "town"), ("school_id", "school_id"), ("origin", "origin")):
        if level in levels:
            Z = X[:, : len(levels[level].terms)]
            V = V + same(data[column]) * (Z @ levels[level].covariance @ Z.T)
    own, spread = levels["school_id"].covariance, levels["school_id:year"].covariance[0, 0]
    V = V + same(data["school_id"]) * same(data["year"]) * spread
    load = np.array([1.0, va.slope_means.get("prior_score", 0.0)])[: len(own)]
    schools = va.school_effects["school_id"].to_numpy()
    there = schools[:, None] == data["school_id"].to_numpy()[None, :]
    lasting_pull = X[:, : len(own)] @ own @ load
    for target, (lasting, years) in TARGETS.items():
        by_year = sum(
            (w * (data["year"] == t).to_numpy(dtype=float) for t, w in years.items()), np.zeros(n)
        )
        pull = there * (lasting * lasting_pull + spread * by_year)
        prior = lasting**2 * load @ own @ load + spread * sum(w**2 for w in years.values())
        effect, conditional, total = blup(X, data["score"].to_numpy(), V, pull, prior)
        table = va.predict_effects(years if target in ("difference", "weighted") else target)
        np.testing.assert_allclose(table["effect"], effect, atol=ABSOLUTE)
        np.testing.assert_allclose(table["conditional_sd"] ** 2, conditional, atol=ABSOLUTE)
        np.testing.assert_allclose(table["mse"], total, atol=ABSOLUTE)
        np.testing.assert_allclose(table["prmse"], 1 - total / prior, atol=1e-6)


@pytest.mark.parametrize(
    ("levels", "unit"),
    [(["school_id"], None), (["town", "school_id"], None), (["school_id"], "pupil_key")],
)
def test_targets_of_several_subjects(levels, unit):
    """Effects in the plain mean of two subjects, whose years (and pupils) hang together."""
    one, two = pupils(7), pupils(8)
    if unit is not None:  # the same pupils in both subjects
        noise = np.random.default_rng(1).normal(size=len(one))
        one = one.assign(pupil_key=np.arange(len(one)))
        two = one.assign(score=one["score"] + noise)
    data = pd.concat([one.assign(subject="МА"), two.assign(subject="РУ")], ignore_index=True)
    va = rs.ValueAddedModel(
        "score ~ prior_score + subject",
        group=levels,
        time="year",
        structure=rs.Structure(outcome_group="subject", unit=unit),
    ).fit(data)
    at = {level.name: level for level in va.mixed.levels}
    n = len(data)
    subject = (data["subject"] == "РУ").to_numpy().astype(int)
    X = np.column_stack([np.ones(n), subject, data["prior_score"]])
    names = ["Intercept", "subject[T.РУ]", "prior_score"]
    X = X[:, [names.index(t) for t in va.mixed.terms]]
    R = va.mixed.residual_covariance
    V = np.diag(np.diag(R)[subject])
    if unit is not None:
        V = same(data[unit]) * R[np.ix_(subject, subject)]
    for level in levels:
        D = np.broadcast_to(at[level].covariance, (2, 2))  # a town has one effect for both
        V = V + same(data[level]) * D[np.ix_(subject, subject)]
    cell = at["school_id:year"].covariance
    V = V + same(data["school_id"]) * same(data["year"]) * cell[np.ix_(subject, subject)]
    half = np.full(2, 0.5)
    schools = va.school_effects["school_id"].to_numpy()
    there = schools[:, None] == data["school_id"].to_numpy()[None, :]
    own = at["school_id"].covariance
    for target, (lasting, years) in TARGETS.items():
        by_year = sum(
            (w * (data["year"] == t).to_numpy(dtype=float) for t, w in years.items()), np.zeros(n)
        )
        pull = there * (lasting * (own @ half)[subject] + by_year * (cell @ half)[subject])
        prior = lasting**2 * half @ own @ half
        prior += half @ cell @ half * sum(w**2 for w in years.values())
        effect, conditional, total = blup(X, data["score"].to_numpy(), V, pull, prior)
        table = va.predict_effects(years if target in ("difference", "weighted") else target)
        np.testing.assert_allclose(table["effect"], effect, atol=ABSOLUTE)
        np.testing.assert_allclose(table["conditional_sd"] ** 2, conditional, atol=ABSOLUTE)
        np.testing.assert_allclose(table["mse"], total, atol=ABSOLUTE)


def means_table(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    keys = [(s, y, p) for s in range(26) for y in YEARS for p in ("МА", "РУ")]
    rows = pd.DataFrame(keys, columns=["school", "year", "procedure"])
    rows = rows[rng.uniform(size=len(rows)) < 0.85].reset_index(drop=True)
    school = rows["school"].to_numpy()
    year = rows["year"].to_numpy() - 2021
    size = rng.integers(4, 40, size=len(rows))
    mean = 0.5 * rng.normal(size=26)[school] + 0.4 * rng.normal(size=(26, 3))[school, year]
    mean += 0.4 * rng.normal(size=5)[school % 5] + rng.normal(size=len(rows)) / np.sqrt(size)
    return rows.assign(
        school_id=[f"S{k:02d}" for k in school],
        town=[f"T{k % 5}" for k in school],
        index=rng.normal(size=26)[school],
        mean_score=mean,
        n_pupils=size,
    )


@pytest.mark.parametrize("kind", ["towns", "procedures", "plain"])
def test_targets_of_means(kind):
    data = means_table()
    if kind != "procedures":
        data = data[data["procedure"] == "МА"].reset_index(drop=True)
    cells = rs.Procedures("procedure", correlation=0.0, cell=False)
    va = rs.SchoolLevelModel(
        "mean_score ~ index",
        group=["town", "school_id"] if kind == "towns" else "school_id",
        time="year",
        procedure=cells if kind == "procedures" else None,
        n="n_pupils",
        sd=1.0,
    ).fit(data)
    n = len(data)
    parts = va.variance_components.set_index("group")["variance"]
    columns = [np.ones(n), data["index"].to_numpy()]
    if kind == "procedures":
        columns.append((data["procedure"] == "РУ").to_numpy(dtype=float))
    X = np.column_stack(columns)
    V = np.diag(1.0 / data["n_pupils"].to_numpy())
    by_school = same(data["school_id"])
    V = (
        V
        + by_school * parts["school_id"]
        + by_school * same(data["year"]) * parts["school_id:year"]
    )
    if kind == "towns":
        V = V + same(data["town"]) * parts["town"]
    if kind == "procedures":
        V = V + by_school * same(data["procedure"]) * parts["school_id:procedure"]
    schools = va.school_effects["school_id"].to_numpy()
    there = schools[:, None] == data["school_id"].to_numpy()[None, :]
    for target, (lasting, years) in TARGETS.items():
        by_year = sum(
            (w * (data["year"] == t).to_numpy(dtype=float) for t, w in years.items()), np.zeros(n)
        )
        pull = there * (lasting * parts["school_id"] + by_year * parts["school_id:year"])
        prior = lasting**2 * parts["school_id"]
        prior += parts["school_id:year"] * sum(w**2 for w in years.values())
        effect, conditional, total = blup(X, data["mean_score"].to_numpy(), V, pull, prior)
        table = va.predict_effects(years if target in ("difference", "weighted") else target)
        np.testing.assert_allclose(table["effect"], effect, atol=ABSOLUTE)
        np.testing.assert_allclose(table["conditional_sd"] ** 2, conditional, atol=ABSOLUTE)
        np.testing.assert_allclose(table["mse"], total, atol=ABSOLUTE)
