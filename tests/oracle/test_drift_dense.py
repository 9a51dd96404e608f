"""Predictions of a fit with drift against the dense best linear prediction from all pupils."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

# five towns are few, and a singular fit would do as well: only the predictions are looked at
pytestmark = pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")

YEARS = np.array([2019, 2020, 2022, 2023])
# The engine's covariances enter both sides; what is left is rounding of matrices of 400 rows and of
# the engine's own factor, of which the square is compared: 1e-7 of an SD.
ABSOLUTE = 1e-7


def pupils(seed: int = 2) -> pd.DataFrame:
    """Pupils in schools of towns, some schools without some years, with weights."""
    rng = np.random.default_rng(seed)
    n, n_schools = 420, 24
    school = rng.integers(0, n_schools, size=n)
    year = rng.integers(0, 4, size=n)
    year[(school < 5) & (year == 3)] = 1
    year[(school == 9)] = 2
    root = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(YEARS, YEARS)))
    yearly = rng.normal(size=(n_schools, 4)) @ root.T
    prior = rng.normal(100.0, 15.0, size=n)
    town = rng.normal(size=5)[school % 5]
    score = 0.05 * prior + 0.6 * rng.normal(size=n_schools)[school] + 0.7 * yearly[school, year]
    score += 0.02 * rng.normal(size=n_schools)[school] * (prior - 100.0) + 0.4 * town
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "town": [f"T{k % 5}" for k in school],
            "year": YEARS[year],
            "prior_score": prior,
            "weight": rng.uniform(0.4, 2.0, size=n),
            "score": score + rng.normal(size=n),
        }
    )


def fitted(drift: str, slopes, *, method="reml"):
    return rs.ValueAddedModel(
        "score ~ prior_score",
        group=["town", "school_id"],
        slopes=slopes,
        time="year",
        structure=rs.Structure(drift=drift, weights="weight"),
    ).fit(pupils(), method=method)


class Dense:
    """The same model written out over all pupils."""

    def __init__(self, va, data: pd.DataFrame, drift: str):
        self.data, self.va, self.drift = data, va, drift
        levels = {level.name: level for level in va.mixed.levels}
        self.own, self.ties = levels["school_id"], levels.get("school_id:year")
        self.means = va.slope_means
        n = len(data)
        self.X = np.column_stack([np.ones(n), data["prior_score"]])
        same = data["town"].to_numpy()[:, None] == data["town"].to_numpy()[None, :]
        V = np.diag(va.mixed.residual_variance / data["weight"].to_numpy())
        V = V + same * levels["town"].covariance[0, 0]
        effects = self.effects_of_pupils()
        school = data["school_id"].to_numpy()
        V = V + (school[:, None] == school[None, :]) * (
            effects @ self.effects_covariance @ effects.T
        )
        self.inverse = np.linalg.inv(V)
        self.effects = effects

    @property
    def names(self):
        return [*self.own.terms, *(self.ties.terms if self.ties is not None else ())]

    @property
    def effects_covariance(self):
        """Covariance of a school's effects, the year after the last one added for AR(1)."""
        k = len(self.own.terms)
        if self.ties is None:
            return self.own.covariance
        D = np.zeros((k + 5, k + 5))
        D[:k, :k] = self.own.covariance
        axis = np.append(YEARS, 2024)
        rho, spread = self.ties.parameters["correlation"], self.ties.parameters["std_dev"]
        D[k:, k:] = spread**2 * rho ** np.abs(np.subtract.outer(axis, axis)).astype(float)
        return D

    def effects_of_pupils(self):
        columns = {"Intercept": 1.0, "prior_score": self.data["prior_score"].to_numpy()}
        columns |= {f"year={y}": (self.data["year"] == y).to_numpy(dtype=float) for y in YEARS}
        n = len(self.data)
        found = np.column_stack([np.broadcast_to(columns[t], n) for t in self.names])
        return np.column_stack([found, np.zeros(n)]) if self.ties is not None else found

    def loading(self, lasting: float, years: dict[int, float]):
        found = np.zeros(self.effects_covariance.shape[0])
        whole = lasting if self.ties is not None else 0.0
        whole = whole + sum(years.values()) * (self.ties is None)
        for k, term in enumerate(self.own.terms):
            if not term.startswith("year="):
                found[k] = whole * self.means.get(term, 1.0)
        for year, weight in years.items():
            at = 4 if year == 2024 else list(YEARS).index(year)
            if self.ties is not None:
                found[len(self.own.terms) + at] = weight
            else:
                found[self.names.index(f"year={year}")] = weight
        return found

    def predict(self, loading):
        """Return estimates, conditional and prediction-error variances per school."""
        y = self.data["score"].to_numpy()
        A = np.linalg.inv(self.X.T @ self.inverse @ self.X)
        beta = A @ self.X.T @ self.inverse @ y
        prior = loading @ self.effects_covariance @ loading
        rows = []
        for school in self.va.school_effects["school_id"]:
            at = (self.data["school_id"] == school).to_numpy()
            k = at * (self.effects @ self.effects_covariance @ loading)
            gain = self.inverse @ k
            left = self.X.T @ gain
            conditional = prior - k @ gain
            rows.append([gain @ (y - self.X @ beta), conditional, conditional + left @ A @ left])
        return np.array(rows).T


TARGETS = {
    "persistent": (1.0, {}),
    "last_year": (1.0, {2023: 1.0}),
    "next_year": (1.0, {2024: 1.0}),
    "difference": (0.0, {2019: -1.0, 2023: 1.0}),
    "mean of two": (1.0, {2022: 0.5, 2023: 0.5}),
}


@pytest.mark.parametrize("slopes", [None, "prior_score"])
@pytest.mark.parametrize("drift", ["ar1", "unstructured"])
def test_predictions_equal_the_dense_best_linear_prediction(drift, slopes):
    va = fitted(drift, slopes)
    dense = Dense(va, pupils(), drift)
    for name, (lasting, years) in TARGETS.items():
        if drift == "unstructured":
            if name == "next_year":
                continue
            if name == "persistent":
                years = dict.fromkeys(YEARS.tolist(), 0.25)
        target = years if name in ("difference", "mean of two") else name
        table = va.predict_effects(target)
        effect, conditional, total = dense.predict(dense.loading(lasting, years))
        np.testing.assert_allclose(table["effect"], effect, atol=ABSOLUTE)
        np.testing.assert_allclose(table["conditional_sd"] ** 2, conditional, atol=ABSOLUTE)
        np.testing.assert_allclose(table["std_error"] ** 2, total, atol=ABSOLUTE)
        if name == "persistent":
            own = va.school_effects
            np.testing.assert_allclose(own["effect"], effect, atol=ABSOLUTE)
            np.testing.assert_allclose(own["std_error"] ** 2, total, atol=ABSOLUTE)
            prior = va.variances["persistent"]
            np.testing.assert_allclose(own["reliability"], 1 - conditional / prior, atol=1e-6)


def test_a_school_without_a_year_still_has_its_effect_in_it():
    va = fitted("unstructured", None)
    table = va.mixed.levels[1]
    school = list(table.labels).index("S09")  # results of 2022 alone
    spread = np.sqrt(np.diag(table.conditional[school]) / np.diag(table.covariance))
    at = table.terms.index("year=2022")
    assert (np.delete(spread, at) > spread[at]).all()
    assert (spread < 1.0).all()
