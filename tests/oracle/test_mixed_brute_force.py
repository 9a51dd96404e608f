"""The engine against a dense likelihood that shares no formula with it."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import MixedFit, fit_mixed, mixed_criterion

# Both sides are double precision with matrices of a few hundred rows: 1e-8 relative leaves three
# digits of room above rounding.
RELATIVE = 1e-8


def design(seed: int, *, weighted: bool = False):
    """Pupils in years in schools in municipalities, unsorted, with single-pupil schools."""
    rng = np.random.default_rng(seed)
    n = 160
    school = rng.choice(14, size=n, p=np.r_[np.full(12, 0.08), 0.02, 0.02])
    municipality = school % 4
    year = rng.integers(2021, 2024, size=n)
    prior = rng.normal(1000.0, 20.0, size=n)
    ses = rng.normal(size=n)
    y = 5 + 0.04 * prior + ses + rng.normal(size=14)[school] + rng.normal(size=n)
    weights = rng.uniform(0.3, 3.0, size=n) if weighted else np.ones(n)
    if weighted:
        weights[:3] = 0.0
    return {
        "X": np.column_stack([prior, ses]),
        "y": y,
        "school": school,
        "municipality": municipality,
        "year": year,
        "weights": weights,
    }


SHAPES = {
    "one level": [("school", ["Intercept"])],
    "slope": [("school", ["Intercept", "prior"])],
    "two slopes": [("school", ["Intercept", "prior", "ses"])],
    "years in schools": [("school", ["Intercept"]), ("year", ["Intercept"])],
    "three levels, slopes": [
        ("municipality", ["Intercept", "ses"]),
        ("school", ["Intercept", "prior"]),
        ("year", ["Intercept"]),
    ],
}


def dense_covariance(d, shape, covariances):
    """V = W⁻¹ + sum over levels of Z D Z', rows of the same group only."""
    n = len(d["y"])
    columns = {"Intercept": np.ones(n), "prior": d["X"][:, 0], "ses": d["X"][:, 1]}
    V = np.diag(1.0 / d["weights"])
    path = np.zeros(n, dtype=int)
    for (name, terms), D in zip(shape, covariances, strict=True):
        path = path * 10_000 + d[name]
        Z = np.column_stack([columns[t] for t in terms])
        V = V + (path[:, None] == path[None, :]) * (Z @ D @ Z.T)
    return V


def dense_criterion(d, shape, covariances, method):
    keep = d["weights"] > 0
    d = {k: v[keep] for k, v in d.items()}
    V = dense_covariance(d, shape, covariances)
    X = np.column_stack([np.ones(len(d["y"])), d["X"]])
    Vi = np.linalg.inv(V)
    A = X.T @ Vi @ X
    beta = np.linalg.solve(A, X.T @ Vi @ d["y"])
    r = d["y"] - X @ beta
    n, p = X.shape
    m = n - p if method == "reml" else n
    value = np.linalg.slogdet(V)[1] + m * (1 + np.log(2 * np.pi * (r @ Vi @ r) / m))
    if method == "reml":
        value += np.linalg.slogdet(A)[1]
    return value


def cross_products(d, shape, rows=slice(None), **kwargs) -> CrossProducts:
    return CrossProducts.from_arrays(
        d["X"][rows],
        d["y"][rows],
        columns=["prior", "ses", "score"],
        groups=[(name, d[name][rows], terms) for name, terms in shape],
        weights=d["weights"][rows],
        **kwargs,
    )


def random_covariances(shape, rng):
    found = []
    for _, terms in shape:
        L = np.tril(rng.normal(size=(len(terms), len(terms)))) * 0.4
        if "prior" in terms:
            k = terms.index("prior")
            L[k] *= 0.01
        found.append(L @ L.T)
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", SHAPES)
def test_criterion_equals_the_dense_likelihood(name, method, weighted):
    shape = SHAPES[name]
    d = design(3, weighted=weighted)
    cross = cross_products(d, shape)
    rng = np.random.default_rng(11)
    for _ in range(5):
        covariances = random_covariances(shape, rng)
        expected = dense_criterion(d, shape, covariances, method)
        seen = mixed_criterion(cross, covariances, method=method)
        assert seen == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize("name", SHAPES)
def test_effects_and_their_variances_equal_the_dense_formulas(name):
    shape = SHAPES[name]
    d = design(5)
    cross = cross_products(d, shape)
    fit = fit_mixed(cross)
    relative = [level.covariance / fit.residual_variance for level in fit.levels]
    n = len(d["y"])
    V = dense_covariance(d, shape, relative)
    Vi = np.linalg.inv(V)
    X = np.column_stack([np.ones(n), d["X"]])
    A = np.linalg.inv(X.T @ Vi @ X)
    beta = A @ X.T @ Vi @ d["y"]
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-7)
    np.testing.assert_allclose(fit.beta_covariance, A * fit.residual_variance, rtol=1e-6)
    P = Vi - Vi @ X @ A @ X.T @ Vi
    columns = {"Intercept": np.ones(n), "prior": d["X"][:, 0], "ses": d["X"][:, 1]}
    path = np.zeros(n, dtype=int)
    for (level_name, terms), level, D in zip(shape, fit.levels, relative, strict=True):
        path = path * 10_000 + d[level_name]
        for g, code in enumerate(np.unique(path)):
            Z = np.column_stack([columns[t] for t in terms]) * (path == code)[:, None]
            mode = D @ Z.T @ Vi @ (d["y"] - X @ beta)
            scale = np.sqrt(np.diag(level.covariance)) + 1e-12
            np.testing.assert_allclose(level.modes[g] / scale, mode / scale, atol=1e-6)
            conditional = (D - D @ Z.T @ Vi @ Z @ D) * fit.residual_variance
            prediction = (D - D @ Z.T @ P @ Z @ D) * fit.residual_variance
            size = np.outer(scale, scale)
            np.testing.assert_allclose(level.conditional[g] / size, conditional / size, atol=1e-6)
            np.testing.assert_allclose(level.prediction[g] / size, prediction / size, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_the_optimum_is_stationary_in_the_dense_likelihood(name):
    """No random step of any size improves on the fit by more than 1e-7 relative."""
    shape = SHAPES[name]
    d = design(7)
    fit = fit_mixed(cross_products(d, shape))
    best = [level.covariance / fit.residual_variance for level in fit.levels]
    assert fit.criterion == pytest.approx(dense_criterion(d, shape, best, "reml"), rel=RELATIVE)
    rng = np.random.default_rng(1)
    for size in (1.0, 0.1, 0.01):
        for _ in range(20):
            trial = []
            for D in best:
                step = np.eye(len(D)) + size * rng.normal(size=D.shape) * 0.5
                trial.append(step @ D @ step.T + size * 1e-3 * np.diag(np.diag(D)))
            value = dense_criterion(d, shape, trial, "reml")
            assert value >= fit.criterion - 1e-7 * abs(fit.criterion)


def criteria(fit: MixedFit) -> np.ndarray:
    return np.r_[fit.criterion, fit.beta, fit.residual_variance]


def assert_same_products(left: CrossProducts, right: CrossProducts) -> None:
    """1e-12 relative to the size of the numbers that were added up."""
    size = np.sqrt(np.outer(np.diag(left.total), np.diag(left.total)))
    np.testing.assert_allclose(left.total / size, right.total / size, rtol=0, atol=1e-12)
    for a, b in zip(left.levels, right.levels, strict=True):
        assert list(a.labels) == list(b.labels)
        assert list(a.parent) == list(b.parent)
        assert list(a.n_rows) == list(b.n_rows)
        biggest = np.abs(a.products).max()
        np.testing.assert_allclose(a.products / biggest, b.products / biggest, atol=1e-12)


@pytest.mark.parametrize("n_chunks", [2, 7])
def test_any_chunks_in_any_order_give_the_same_products(n_chunks):
    shape = SHAPES["three levels, slopes"]
    d = design(9, weighted=True)
    whole = cross_products(d, shape)
    order = np.random.default_rng(2).permutation(len(d["y"]))
    parts = [cross_products(d, shape, rows) for rows in np.array_split(order, n_chunks)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.n_rows == whole.n_rows
    assert_same_products(whole, merged.recentred(whole.centre, whole.scale))
    np.testing.assert_allclose(criteria(fit_mixed(merged)), criteria(fit_mixed(whole)), rtol=1e-7)


def test_a_subset_of_columns_is_the_model_fitted_afresh():
    shape = SHAPES["three levels, slopes"]
    d = design(13)
    block = cross_products(d, shape).subset_columns(
        ["ses", "score"], random={"school": ["Intercept"]}
    )
    fresh = CrossProducts.from_arrays(
        d["X"][:, 1:],
        d["y"],
        columns=["ses", "score"],
        groups=[("school", d["school"], ["Intercept"])],
    )
    assert fit_mixed(block).criterion == pytest.approx(fit_mixed(fresh).criterion, rel=1e-10)


def test_an_uncentred_prior_does_not_cancel_away():
    d = design(17)
    shape = SHAPES["slope"]
    near = fit_mixed(cross_products(d, shape))
    far = {**d, "X": d["X"] + np.array([1e6, 0.0])}
    moved = fit_mixed(cross_products(far, shape))
    assert moved.criterion == pytest.approx(near.criterion, rel=1e-9)
    assert moved.beta[1] == pytest.approx(near.beta[1], rel=1e-6)


def test_zero_variance_gives_ordinary_least_squares():
    """REML variance exactly 0: the group-level coefficient is OLS, not 0.0 (value_added §7.1)."""
    rng = np.random.default_rng(4)
    school = np.repeat(np.arange(30), 12)
    context = rng.normal(size=30)[school]
    x = rng.normal(size=360)
    noise = rng.normal(size=360)
    noise -= (np.bincount(school, noise) / 12)[school]  # no between-school variation at all
    y = 1 + 0.5 * x + 0.7 * context + noise
    cross = CrossProducts.from_arrays(
        np.column_stack([x, context]),
        y,
        columns=["x", "context", "y"],
        groups=[("school", school, ["Intercept"])],
    )
    for method in ("reml", "ml"):
        fit = fit_mixed(cross, method=method)
        ols = np.linalg.lstsq(np.column_stack([np.ones(360), x, context]), y, rcond=None)[0]
        np.testing.assert_allclose(fit.beta, ols, rtol=1e-8)
        assert fit.levels[0].covariance[0, 0] == 0.0
        assert fit.convergence.singular
        assert fit.convergence.converged
        assert (fit.levels[0].modes == 0.0).all()


def test_a_slope_variance_on_the_boundary_is_found_from_any_start():
    """Rank-one optimum of the 2×2 factor (correlation ±1): no start may stop above it."""
    rng = np.random.default_rng(8)
    school = np.repeat(np.arange(40), 15)
    x = rng.normal(size=600)
    u = rng.normal(size=40) * 0.6
    y = u[school] * (1 + 0.5 * x) + rng.normal(size=600)
    cross = CrossProducts.from_arrays(
        x[:, None], y, columns=["x", "y"], groups=[("school", school, ["Intercept", "x"])]
    )
    fit = fit_mixed(cross)
    for a in np.linspace(0.3, 0.9, 25):
        for b in np.linspace(0.0, 0.5, 21):
            D = np.outer([a, b], [a, b])
            assert mixed_criterion(cross, [D]) >= fit.criterion - 1e-7 * abs(fit.criterion)
