"""Joint errors of coefficients and effects against dense matrices (GLS and Henderson's equations).

The dense side knows nothing of the elimination: it inverts the equations of all pupils and all
effects at the variances of the fit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import fit_mixed
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.stats.prediction.states import YearTarget, next_year_posterior, target_posteriors

# Both sides are double precision; dense inverses of some hundred equations lose four digits.
TIGHT = {"rtol": 1e-8, "atol": 1e-12}

FORMULA = "score ~ prior_score + ses"
SHAPES = {
    "schools": {"group": "school_id"},
    "slopes": {"group": "school_id", "slopes": "prior_score"},
    "years": {"group": "school_id", "time": "year"},
    "municipalities": {"group": ["municipality_id", "school_id"]},
    "everything": {
        "group": ["municipality_id", "school_id"],
        "slopes": {"municipality_id": ["ses"], "school_id": ["prior_score"]},
        "time": "year",
    },
}


def pupils(seed: int = 7, n: int = 420, n_schools: int = 22) -> pd.DataFrame:
    """Return pupils of 22 schools in 11 municipalities over 3 years, unsorted."""
    rng = np.random.default_rng(seed)
    school = rng.permutation(np.r_[np.arange(n_schools), rng.integers(0, n_schools, n - n_schools)])
    year = rng.integers(2022, 2025, size=n)
    prior = rng.normal(1.0, 1.0, size=n) + 0.3 * rng.normal(size=n_schools)[school]
    ses = rng.normal(size=n) + 0.4 * rng.normal(size=n_schools)[school]
    u = rng.normal(size=(n_schools, 2)) * [0.5, 0.35]
    m = rng.normal(size=(11, 2)) * [0.5, 0.35]
    v = 0.45 * rng.normal(size=(n_schools, 3))
    town = school % 11
    score = 0.5 * prior + 0.2 * ses + u[school, 0] + u[school, 1] * prior
    score += m[town, 0] + m[town, 1] * ses + v[school, year - 2022] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k:02d}" for k in town],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "score": score,
        }
    )


def dense_errors(frame: pd.DataFrame, result, shape) -> tuple[np.ndarray, np.ndarray, int]:
    """Return Henderson's joint covariance of (β̂, effects), the conditional one and p.

    The effects are those of the schools, read at the mean of the slope term.
    """
    ones = np.ones(len(frame))
    X = np.column_stack([ones, frame["prior_score"], frame["ses"]])
    groups = shape["group"] if isinstance(shape["group"], list) else [shape["group"]]
    slopes = shape.get("slopes", {})
    slopes = {groups[-1]: [slopes]} if isinstance(slopes, str) else slopes
    table = result.variance_components
    schools = result.school_effects["school_id"]
    blocks, spreads, maps = [], [], []
    levels = [(g, frame[g], slopes.get(g, [])) for g in groups]
    if "time" in shape:
        cell = frame[groups[-1]] + "/" + frame["year"].astype(str)
        levels.append((f"{groups[-1]}:year", cell, []))
    for name, units, terms in levels:
        rows = table[table["group"] == name]
        spread = rows["std_dev"].to_numpy()
        D = np.outer(spread, spread)
        if len(spread) == 2:
            D[0, 1] = D[1, 0] = D[0, 1] * rows["correlation"].iloc[1]
        Z = np.column_stack([ones, *(frame[t] for t in terms)])
        # schools in the order of the result, which sorts by municipality first
        labels = sorted(units.unique()) if name != groups[-1] else list(schools)
        own = units.to_numpy()[:, None] == np.array(labels)[None, :]
        blocks.append(np.concatenate([own * Z[:, [k]] for k in range(Z.shape[1])], axis=1))
        spreads.append(np.kron(D, np.eye(len(labels))))
        loading = [1.0, *(frame[t].mean() for t in terms)]
        read = np.kron(loading, np.eye(len(labels))) if name == groups[-1] else None
        maps.append(np.zeros((22, len(labels) * Z.shape[1])) if read is None else read)
    Z = np.concatenate(blocks, axis=1)
    G = np.zeros((Z.shape[1], Z.shape[1]))
    at = 0
    for D in spreads:
        G[at : at + len(D), at : at + len(D)] = D
        at += len(D)
    sigma2 = result.variances["residual"]
    W = np.concatenate([X, Z], axis=1) / np.sqrt(sigma2)
    equations = W.T @ W
    p = X.shape[1]
    equations[p:, p:] += np.linalg.inv(G)
    read = np.zeros((p + 22, p + Z.shape[1]))
    read[:p, :p] = np.eye(p)
    read[p:, p:] = np.concatenate(maps, axis=1)
    joint = read @ np.linalg.inv(equations) @ read.T
    V = Z @ G @ Z.T + sigma2 * np.eye(len(frame))
    known = read[p:, p:] @ (G - G @ Z.T @ np.linalg.solve(V, Z @ G)) @ read[p:, p:].T
    return joint, known, p


@pytest.fixture(scope="module", params=SHAPES)
def compared(request):
    shape, frame = SHAPES[request.param], pupils()
    result = rs.ValueAddedModel(FORMULA, **shape).fit(frame)
    assert not result.convergence.singular  # Henderson's equations need the inverse of G
    return result, *dense_errors(frame, result, shape)


def test_joint_covariance_of_coefficients_and_each_effect(compared):
    result, joint, _, p = compared
    for school in range(result.n_schools):
        at = [*range(p), p + school]
        np.testing.assert_allclose(
            result.errors.joint(school), joint[np.ix_(at, at)], rtol=1e-8, atol=1e-10
        )


def test_covariances_between_schools(compared):
    result, joint, known, p = compared
    n = result.n_schools
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    np.testing.assert_allclose(result.errors.covariance(i, j), joint[p:, p:], **TIGHT)
    np.testing.assert_allclose(result.errors.covariance(i, j, coefficients=False), known, **TIGHT)
    np.testing.assert_allclose(result.errors.prediction, np.diag(joint)[p:], **TIGHT)
    np.testing.assert_allclose(result.errors.conditional, np.diag(known), **TIGHT)
    np.testing.assert_allclose(
        result.school_effects["std_error"] ** 2, np.diag(joint)[p:], rtol=1e-8
    )


def test_variances_of_differences(compared):
    result, joint, known, p = compared
    i, j = np.triu_indices(result.n_schools, 1)
    for dense, counted in ((joint[p:, p:], True), (known, False)):
        expected = dense[i, i] + dense[j, j] - 2 * dense[i, j]
        found = result.errors.difference_variance(i, j, coefficients=counted)
        np.testing.assert_allclose(found, expected, **TIGHT)
        pairs = result.pairs(errors="prediction" if counted else "conditional")
        np.testing.assert_allclose(pairs["std_error"] ** 2, expected, **TIGHT)


def test_schools_of_one_municipality_share_more_than_the_coefficients():
    """The term is no decoration: dense conditional covariances differ from zero, and only there."""
    frame, shape = pupils(), SHAPES["municipalities"]
    result = rs.ValueAddedModel(FORMULA, **shape).fit(frame)
    _, known, _ = dense_errors(frame, result, shape)
    town = frame.groupby("school_id")["municipality_id"].first()
    town = town.loc[result.school_effects["school_id"]].to_numpy()
    together = (town[:, None] == town[None, :]) & ~np.eye(22, dtype=bool)
    assert (known[together] > 1e-3).all()
    assert np.abs(known[~together & ~np.eye(22, dtype=bool)]).max() < 1e-12


def test_three_outer_levels_add_up():
    """Region, municipality, school, year: two schools may share one outer unit or both."""
    rng = np.random.default_rng(8)
    n = 500
    school = rng.integers(0, 24, size=n)
    levels = {"region": school % 4, "town": school % 12, "school": school}
    year = rng.integers(0, 3, size=n)
    x = rng.normal(size=n)
    y = x + sum(rng.normal(size=24)[codes] for codes in levels.values())
    y = y + 0.6 * rng.normal(size=72)[3 * school + year] + rng.normal(size=n)
    terms = ["Intercept", "x"]
    groups = [("region", levels["region"], ["Intercept"]), ("town", levels["town"], terms)]
    groups += [("school", school, ["Intercept"]), ("year", year, ["Intercept"])]
    fit = fit_mixed(CrossProducts.from_arrays(x[:, None], y, columns=["x", "y"], groups=groups))
    at = fit.levels[2]
    order = np.array([int(label) for label in at.labels])
    errors = EffectErrors(
        conditional=at.conditional[:, 0, 0],
        leverage=at.leverage[:, 0],
        beta_covariance=fit.beta_covariance,
        shared=tuple(
            (codes, column) for codes, part in at.shared for column in np.moveaxis(part[:, 0], 1, 0)
        ),
    )
    V = fit.residual_variance * np.eye(n)
    columns = {"Intercept": np.ones(n), "x": x}
    for (_, codes, names), level in zip(groups, fit.levels, strict=True):
        code = 3 * school + year if level.name == "year" else codes
        Z = np.column_stack([columns[t] for t in names])
        V += (code[:, None] == code[None, :]) * (Z @ level.covariance @ Z.T)
    Z = (school[:, None] == order[None, :]).astype(float)
    tau2 = at.covariance[0, 0]
    known = tau2 * np.eye(24) - tau2**2 * Z.T @ np.linalg.solve(V, Z)
    X = np.column_stack([np.ones(n), x])
    leverage = tau2 * Z.T @ np.linalg.solve(V, X)
    C = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    i, j = np.meshgrid(np.arange(24), np.arange(24), indexing="ij")
    np.testing.assert_allclose(errors.covariance(i, j, coefficients=False), known, **TIGHT)
    np.testing.assert_allclose(errors.covariance(i, j), known + leverage @ C @ leverage.T, **TIGHT)
    np.testing.assert_allclose(at.leverage[:, 0], leverage, rtol=1e-8, atol=1e-10)


def test_draws_have_the_joint_covariance():
    """Moments of 40,000 draws: the relative error of a variance is √(2/40,000) = .7 %."""
    result = rs.ValueAddedModel(FORMULA, **SHAPES["everything"]).fit(pupils())
    i, j = np.meshgrid(np.arange(22), np.arange(22), indexing="ij")
    for counted in (True, False):
        draws = result.errors.draws(40_000, random_state=1, coefficients=counted)
        expected = result.errors.covariance(i, j, coefficients=counted)
        spread = np.sqrt(np.diag(expected))
        noise = np.outer(spread, spread) * np.sqrt(2.0 / 40_000)
        assert (np.abs(np.cov(draws.T) - expected) < 5 * noise).all()
        assert (np.abs(draws.mean(axis=0)) < 5 * spread / 200).all()


def test_a_prior_of_one_million_costs_no_digit():
    """The engine's own root of the coefficients' part keeps what raw columns would cancel."""
    frame = pupils()
    model = rs.ValueAddedModel(FORMULA, group="school_id", time="year")
    near = model.fit(frame)
    far = model.fit(frame.assign(prior_score=frame["prior_score"] + 1e6))
    i, j = np.triu_indices(22, 1)
    # 1e-5: two searches of one optimum, which differ in the last half of the digits
    np.testing.assert_allclose(far.errors.prediction, near.errors.prediction, rtol=1e-5)
    np.testing.assert_allclose(
        far.errors.difference_variance(i, j), near.errors.difference_variance(i, j), rtol=1e-5
    )
    for target in ("last_year", {2022: -1.0, 2024: 1.0}):
        np.testing.assert_allclose(
            far.predict_effects(target)["std_error"],
            near.predict_effects(target)["std_error"],
            rtol=1e-4,
        )


# -- predictions -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def yearly():
    frame = pupils()
    # a school without the last year and one with a single year
    gone = ((frame["school_id"] == "S03") & (frame["year"] == 2024)) | (
        (frame["school_id"] == "S05") & (frame["year"] != 2023)
    )
    frame = frame[~gone]
    return frame, rs.ValueAddedModel(FORMULA, group="school_id", time="year").fit(frame)


def dense_target(frame, result, target, rho):
    """Return effect, conditional and prediction variances from the pupils' covariance matrix."""
    schools = result.school_effects["school_id"].to_numpy()
    tau2, omega2, sigma2 = (result.variances[k] for k in ("persistent", "transient", "residual"))
    same = frame["school_id"].to_numpy()[:, None] == frame["school_id"].to_numpy()[None, :]
    year = frame["year"].to_numpy(dtype=float)
    lag = np.abs(year[:, None] - year[None, :])
    V0 = same * (tau2 + omega2 * (lag == 0)) + sigma2 * np.eye(len(frame))
    V = same * (tau2 + omega2 * float(rho) ** lag) + sigma2 * np.eye(len(frame))
    X = np.column_stack([np.ones(len(frame)), frame["prior_score"], frame["ses"]])
    C = np.linalg.inv(X.T @ np.linalg.solve(V0, X))  # the coefficients are those of the fit
    residual = frame["score"].to_numpy() - X @ result.fixed_effects["estimate"].to_numpy()
    own = schools[:, None] == frame["school_id"].to_numpy()[None, :]
    a, years, weights = target
    kernel = sum(
        (w * float(rho) ** np.abs(y - year) for y, w in zip(years, weights, strict=True)),
        start=np.zeros(len(frame)),
    )
    K = own * (a * tau2 + omega2 * kernel)
    prior = a**2 * tau2 + omega2 * sum(
        w * x * float(rho) ** abs(y - z)
        for y, w in zip(years, weights, strict=True)
        for z, x in zip(years, weights, strict=True)
    )
    gain = np.linalg.solve(V, K.T).T
    conditional = prior - np.einsum("jn,jn->j", gain, K)
    leverage = gain @ X
    extra = np.einsum("jp,pq,jq->j", leverage, C, leverage)
    return gain @ residual, conditional, conditional + extra, prior


TARGETS = {
    "persistent": ("persistent", (1.0, [], [])),
    "last_year": ("last_year", (1.0, [2024], [1.0])),
    "next_year": ("next_year", (1.0, [2025], [1.0])),
    "weights": ({2022: 0.2, 2024: 0.8}, (1.0, [2022, 2024], [0.2, 0.8])),
    "contrast": ({2022: -1.0, 2024: 1.0}, (0.0, [2022, 2024], [-1.0, 1.0])),
}


@pytest.mark.parametrize("rho", [0.0, 0.6])
@pytest.mark.parametrize("name", TARGETS)
def test_predictions_equal_the_dense_formulas(yearly, name, rho):
    frame, result = yearly
    target, meaning = TARGETS[name]
    effect, conditional, total, prior = dense_target(frame, result, meaning, rho)
    found = result.predict_effects(target, lag_correlation=rho)
    np.testing.assert_allclose(found["effect"], effect, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found["conditional_sd"], np.sqrt(conditional), rtol=1e-8)
    np.testing.assert_allclose(found["std_error"], np.sqrt(total), rtol=1e-8)
    np.testing.assert_allclose(found["reliability"], 1 - conditional / prior, atol=1e-8)
    np.testing.assert_allclose(found["prmse"], 1 - total / prior, atol=1e-8)


def test_the_persistent_state_is_the_school_effect(yearly):
    """The years' residuals hold all there is: the state reproduces the fit to rounding."""
    _, result = yearly
    years = np.array([2022.0, 2023.0, 2024.0])
    wide = result.school_years.pivot_table(index="school_id", columns="year")
    found = target_posteriors(
        wide["residual"].to_numpy(),
        wide["sampling_variance"].to_numpy(),
        years,
        YearTarget(persistent=1.0, years=np.zeros(0), weights=np.zeros(0)),
        variances=(result.variances["persistent"], result.variances["transient"]),
    )
    table = result.school_effects
    np.testing.assert_allclose(found.mean, table["effect"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.sqrt(found.variance), table["conditional_sd"], rtol=0, atol=1e-10)
    persistent = result.predict_effects("persistent")
    for column in ("effect", "conditional_sd", "std_error", "reliability"):
        np.testing.assert_allclose(persistent[column], table[column], rtol=0, atol=1e-10)


def test_next_year_equals_the_posterior_of_one_school():
    """The worked case of the specification: detection, section 4."""
    d, s2 = np.array([[0.3, 0.1, 0.5]]), np.array([[0.01, 0.03, 0.02]])
    years = np.arange(3.0)
    found = target_posteriors(
        d,
        s2,
        years,
        YearTarget(persistent=1.0, years=np.array([3.0]), weights=np.ones(1)),
        variances=(0.09, 0.02),
        lag_correlation=0.6,
    )
    assert found.mean[0] == pytest.approx(0.323819, abs=5e-7)
    assert found.variance[0] == pytest.approx(0.0219054, abs=5e-8)
    single = next_year_posterior(d, s2, persistent=0.09, transient=0.02, lag_correlation=0.6)
    assert found.mean[0] == pytest.approx(single.mean, rel=1e-12)
    assert found.variance[0] == pytest.approx(single.variance, rel=1e-12)
