"""Crossed factors and shared membership against dense matrices of all pupils.

The dense side knows nothing of cross-products or elimination: it builds V of all rows, inverts it,
and reads everything off the textbook formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from resilience.stats.crossed import crossed_sparse, crossed_system
from resilience.stats.crossed.crossed_fit import crossed_criterion, crossed_problem, fit_crossed
from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
from resilience.stats.crossed.crossed_sparse import SparseSystem
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.search import optimise
from resilience.stats.mixed import fit_mixed
from resilience.stats.prediction.prediction_errors import EffectErrors

# Dense inverses of 260 rows lose about six of sixteen digits; the specification asks for 1e-8.
TIGHT = {"rtol": 1e-8, "atol": 1e-10}
# A central difference with step 1e-5 of a criterion of about 1e3: rounding 1e-13·1e3/1e-5.
DIFFERENCES = {"rtol": 1e-6, "atol": 1e-4}


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices take many times longer on several threads of a busy machine."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(params=["dense", "sparse"])
def complement(request, monkeypatch):
    """Both ways to keep what is left when the largest factor is eliminated."""
    if request.param == "sparse":
        monkeypatch.setattr(crossed_sparse, "SPARSE_FROM", 0)
        monkeypatch.setattr(crossed_sparse, "_NEIGHBOURS_UP_TO", 10_000)
    return request.param


@dataclass
class Rows:
    """Rows of a simulated table and the factors they belong to."""

    X: np.ndarray
    y: np.ndarray
    factors: list[CrossedFactor]
    weights: np.ndarray | None = None

    @property
    def products(self) -> CrossedProducts:
        return self.part(np.arange(len(self.y)))

    def part(self, rows: np.ndarray) -> CrossedProducts:
        return CrossedProducts.from_arrays(
            self.X[rows],
            self.y[rows],
            columns=["prior", "ses", "score"],
            factors=[
                CrossedFactor(
                    name=f.name,
                    units=f.units[rows],
                    terms=f.terms,
                    shares=None if f.shares is None else f.shares[rows],
                )
                for f in self.factors
            ],
            weights=None if self.weights is None else self.weights[rows],
        )

    def dense(self) -> list[list[np.ndarray]]:
        """Return per factor and term the indicator columns times the term, shape (n, n_units)."""
        columns = {"Intercept": np.ones(len(self.y)), "prior": self.X[:, 0], "ses": self.X[:, 1]}
        found = []
        for factor in self.factors:
            units = factor.units.reshape(len(self.y), -1)
            shares = np.ones(units.shape) if factor.shares is None else factor.shares
            labels = np.unique(units[shares > 0])
            indicator = sum(
                (units[:, [k]] == labels) * shares[:, [k]] for k in range(units.shape[1])
            )
            found.append([indicator * columns[t][:, None] for t in factor.terms])
        return found


def rows(kind: str, seed: int = 3, n: int = 260) -> Rows:
    """Return rows of a design; unit labels are text in no particular order."""
    rng = np.random.default_rng(seed)
    prior, ses = rng.normal(3.0, 1.0, n), rng.normal(size=n)
    primary = rng.integers(0, 25, n)
    secondary = (primary // 3 + rng.integers(0, 4, n)) % 9
    third = rng.integers(0, 6, n)
    teacher = np.array([rng.permutation(12)[:3] for _ in range(n)])
    shares = rng.dirichlet([1.0, 1.0, 0.5], n)
    shares[:40] = [1.0, 0.0, 0.0]
    year = rng.integers(0, 3, n)
    one, two, three = (["Intercept"], ["Intercept", "prior"], ["Intercept", "prior", "ses"])
    name = np.vectorize(lambda k: f"P{(7 * k) % 25:02d}")(primary)
    a = CrossedFactor(name="primary", units=name, terms=one)
    b = CrossedFactor(name="secondary", units=secondary, terms=one)
    c = CrossedFactor(name="third", units=third, terms=one)
    m = CrossedFactor(name="teacher", units=teacher, terms=one, shares=shares)
    slopes_a = CrossedFactor(name="primary", units=name, terms=two)
    slopes_b = CrossedFactor(name="secondary", units=secondary, terms=three)
    slopes_m = CrossedFactor(name="teacher", units=teacher, terms=two, shares=shares)
    town = CrossedFactor(name="town", units=secondary % 3, terms=one)
    cells = CrossedFactor(name="cells", units=secondary * 3 + year, terms=one)
    factors = {
        "two": [a, b],
        "three": [b, c, a],
        "slopes": [slopes_a, b],
        "slopes of both": [slopes_a, slopes_b],
        "tree and crossed": [town, slopes_b, cells, a],
        "membership": [m],
        "membership and crossed": [a, slopes_m, b],
        "weights": [slopes_a, slopes_m],
    }[kind]
    y = 0.5 * prior - 0.2 * ses + rng.normal(size=25)[primary] + 0.6 * rng.normal(size=9)[secondary]
    y += 0.5 * rng.normal(size=25)[primary] * (prior - 3.0)
    y += (shares * rng.normal(size=12)[teacher]).sum(axis=1) + rng.normal(size=n)
    return Rows(
        X=np.column_stack([prior, ses]),
        y=y,
        factors=factors,
        weights=rng.uniform(0.3, 3.0, n) if kind == "weights" else None,
    )


KINDS = [
    "two",
    "three",
    "slopes",
    "slopes of both",
    "tree and crossed",
    "membership",
    "membership and crossed",
    "weights",
]


def covariance_of_rows(data: Rows, relative: list[np.ndarray]) -> np.ndarray:
    """Return V of all rows, the residual variance taken out."""
    V = np.diag(np.ones(len(data.y)) if data.weights is None else 1.0 / data.weights)
    for Z, D in zip(data.dense(), relative, strict=True):
        for i in range(len(D)):
            for j in range(len(D)):
                V = V + D[i, j] * Z[i] @ Z[j].T
    return V


def dense_criterion(data: Rows, relative: list[np.ndarray], method: str) -> float:
    """Return minus twice the profiled (restricted) log-likelihood, constants included."""
    n = len(data.y)
    X = np.column_stack([np.ones(n), data.X])
    V = covariance_of_rows(data, relative)
    inverse = np.linalg.inv(V)
    gram = X.T @ inverse @ X
    residual = data.y - X @ np.linalg.solve(gram, X.T @ inverse @ data.y)
    m = n - X.shape[1] if method == "reml" else n
    found = np.linalg.slogdet(V)[1] + m * (
        1.0 + np.log(2.0 * np.pi * (residual @ inverse @ residual) / m)
    )
    return float(found + (np.linalg.slogdet(gram)[1] if method == "reml" else 0.0))


def random_covariances(data: Rows, rng: np.random.Generator) -> list[np.ndarray]:
    """Return one relative covariance per factor, in the own units of its terms."""
    roots = [rng.normal(scale=0.6, size=(len(f.terms), len(f.terms))) for f in data.factors]
    return [root @ root.T for root in roots]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_criterion_is_that_of_the_dense_likelihood(kind, method, complement):
    data = rows(kind)
    rng = np.random.default_rng(11)
    system = crossed_problem(data.products, ("Intercept",), method, {}).system
    assert isinstance(system, SparseSystem) == (complement == "sparse")
    for _ in range(3):
        relative = random_covariances(data, rng)
        found = crossed_criterion(data.products, relative, method=method)
        assert found == pytest.approx(dense_criterion(data, relative, method), rel=1e-8)


def test_the_criterion_of_zero_variances_is_that_of_least_squares(complement):
    data = rows("membership and crossed")
    zero = [np.zeros((len(f.terms), len(f.terms))) for f in data.factors]
    X = np.column_stack([np.ones(len(data.y)), data.X])
    residual = data.y - X @ np.linalg.lstsq(X, data.y, rcond=None)[0]
    m = len(data.y) - 3
    expected = m * (1.0 + np.log(2.0 * np.pi * residual @ residual / m))
    expected += np.linalg.slogdet(X.T @ X)[1]
    assert crossed_criterion(data.products, zero) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_gradient_is_exact(kind, method, complement):
    data = rows(kind)
    problem = crossed_problem(data.products, ("Intercept", "prior", "ses"), method, {})
    rng = np.random.default_rng(5)
    for singular in (False, True):
        theta = np.abs(rng.normal(scale=0.4, size=problem.n_free)) + 0.05
        if singular:  # a correlation of one and, further on, a variance of zero
            theta[-1] = 0.0
        check_gradient(problem, theta)


@pytest.mark.parametrize("structure", ["diagonal", "identity", "compound_symmetry"])
def test_the_gradient_is_exact_for_every_structure(structure):
    data = rows("slopes of both")
    named = {"primary": structure, "secondary": structure}
    problem = crossed_problem(data.products, ("Intercept", "prior", "ses"), "reml", named)
    check_gradient(problem, np.linspace(0.2, 0.7, problem.n_free))


def check_gradient(problem, theta):
    _, gradient = problem.value(theta)
    step = 1e-5 * np.eye(problem.n_free)
    expected = [(problem.criterion(theta + e) - problem.criterion(theta - e)) / 2e-5 for e in step]
    np.testing.assert_allclose(gradient, expected, **DIFFERENCES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_effects_and_their_covariances_are_those_of_the_dense_equations(kind, method, complement):
    data = rows(kind)
    for joint in [f.name for f in data.factors]:
        fit = fit_crossed(data.products, method=method, joint=joint)
        dense = dense_effects(data, fit)
        np.testing.assert_allclose(fit.beta, dense["beta"], **TIGHT)
        np.testing.assert_allclose(fit.beta_covariance, dense["beta_covariance"], **TIGHT)
        for level, at in zip(fit.levels, dense["places"], strict=True):
            q = len(level.terms)
            modes = dense["modes"][at].reshape(q, -1).T
            np.testing.assert_allclose(level.modes, modes, rtol=1e-7, atol=1e-9)
            for found, name in (
                (level.conditional, "conditional"),
                (level.prediction, "prediction"),
            ):
                block = dense[name][at, at].reshape(q, len(modes), q, len(modes))
                own = np.einsum("ajbj->jab", block)
                np.testing.assert_allclose(found, own, **TIGHT)
            moved = dense["leverage"][at].reshape(q, len(modes), -1).transpose(1, 0, 2)
            np.testing.assert_allclose(level.leverage, moved, **TIGHT)
            if level.name == joint:
                check_joint(data, fit, level, dense, at)


def check_joint(data, fit, level, dense, at):
    weight = np.ones(len(data.y)) if data.weights is None else data.weights
    columns = {"Intercept": np.ones(len(data.y)), "prior": data.X[:, 0], "ses": data.X[:, 1]}
    loading = np.array([np.average(columns[t], weights=weight) for t in level.terms])
    n = len(level.labels)
    block = dense["conditional"][at, at].reshape(len(loading), n, len(loading), n)
    expected = np.einsum("ajbk,a,b->jk", block, loading, loading)
    np.testing.assert_allclose(fit.joint_conditional, expected, **TIGHT)
    own = np.einsum("jab,a,b->j", level.conditional, loading, loading)
    np.testing.assert_allclose(np.diag(fit.joint_conditional), own, rtol=1e-10)


def dense_effects(data: Rows, fit) -> dict:
    """Return estimates and covariances of all effects from V of all rows, at the fit's variances.

    Effects stand term by term within a factor; error covariances are those of û − u.
    """
    relative = [level.covariance / fit.residual_variance for level in fit.levels]
    inverse = np.linalg.inv(covariance_of_rows(data, relative))
    n = len(data.y)
    X = np.column_stack([np.ones(n), data.X])
    blocks, spread, places, at = [], [], [], 0
    for Z, D in zip(data.dense(), relative, strict=True):
        blocks.append(np.column_stack(Z))
        spread.append(np.kron(D, np.eye(Z[0].shape[1])))
        places.append(slice(at, at + blocks[-1].shape[1]))
        at += blocks[-1].shape[1]
    Z = np.column_stack(blocks)
    G = np.zeros((at, at))
    for place, part in zip(places, spread, strict=True):
        G[place, place] = part
    bread = np.linalg.inv(X.T @ inverse @ X)
    beta = bread @ X.T @ inverse @ data.y
    gain = G @ Z.T @ inverse
    conditional = (G - gain @ Z @ G) * fit.residual_variance
    leverage = gain @ X
    return {
        "beta": beta,
        "beta_covariance": bread * fit.residual_variance,
        "modes": gain @ (data.y - X @ beta),
        "conditional": conditional,
        "leverage": leverage,
        "prediction": conditional + leverage @ bread @ leverage.T * fit.residual_variance,
        "places": places,
    }


@pytest.mark.parametrize("kind", ["three", "slopes of both", "membership and crossed", "weights"])
def test_chunks_add_up_to_the_whole(kind):
    data = rows(kind)
    order = np.random.default_rng(1).permutation(len(data.y))
    whole = data.products
    chunks = [data.part(part) for part in np.split(order, [7, 90, 91, 200])]
    merged = chunks[0]
    for chunk in chunks[1:]:
        merged = merged.merge(chunk)
    merged = merged.recentred(whole.centre, whole.scale)
    # rounding of sums of 260 numbers of size one in another order
    close = {"rtol": 0, "atol": 1e-12 * len(data.y)}
    np.testing.assert_allclose(merged.total, whole.total, **close)
    for found, expected in zip(merged.factors, whole.factors, strict=True):
        assert list(found.labels) == list(expected.labels)
        np.testing.assert_array_equal(found.n_rows, expected.n_rows)
        np.testing.assert_allclose(found.mass, expected.mass, rtol=1e-13)
        np.testing.assert_allclose(found.products, expected.products, **close)
        if expected.own is not None:
            np.testing.assert_allclose(found.own.toarray(), expected.own.toarray(), **close)
    for pair, block in whole.pairs.items():
        np.testing.assert_allclose(merged.pairs[pair].toarray(), block.toarray(), **close)
    relative = random_covariances(data, np.random.default_rng(2))
    found = crossed_criterion(merged, relative)
    assert found == pytest.approx(crossed_criterion(whole, relative), rel=1e-12)


def test_a_membership_of_one_unit_each_is_the_nested_model():
    data = rows("two")
    school = data.factors[0].units
    shares = np.zeros((len(school), 2))
    shares[:, 0] = 1.0
    units = np.column_stack([school, np.full(len(school), "nobody")])
    member = CrossedFactor(name="school", units=units, terms=["Intercept", "prior"], shares=shares)
    shared = fit_crossed(Rows(data.X, data.y, [member]).products, joint="school")
    nested = fit_mixed(
        CrossProducts.from_arrays(
            data.X,
            data.y,
            columns=["prior", "ses", "score"],
            groups=[("school", school, ["Intercept", "prior"])],
        )
    )
    check_same(shared, nested)
    assert list(shared.levels[0].labels) == list(nested.levels[0].labels)


def test_a_factor_inside_another_is_the_nested_model():
    data = rows("two", n=400)
    school = data.factors[0].units
    town = np.array([int(s[1:]) % 5 for s in school])
    factors = [
        CrossedFactor(name="town", units=town, terms=["Intercept"]),
        CrossedFactor(name="school", units=school, terms=["Intercept", "ses"]),
    ]
    crossed = fit_crossed(Rows(data.X, data.y, factors).products, method="ml")
    nested = fit_mixed(
        CrossProducts.from_arrays(
            data.X,
            data.y,
            columns=["prior", "ses", "score"],
            groups=[("town", town, ["Intercept"]), ("school", school, ["Intercept", "ses"])],
        ),
        method="ml",
    )
    order = [list(crossed.levels[1].labels).index(s) for s in nested.levels[1].labels]
    check_same(crossed, nested, order=order)


def check_same(crossed, nested, order=None):
    # two searches stop where the gradient vanishes to rounding: 1e-8 of the criterion's scale
    close = {"rtol": 1e-8, "atol": 1e-8}
    assert crossed.criterion == pytest.approx(nested.criterion, rel=1e-10)
    np.testing.assert_allclose(crossed.beta, nested.beta, **close)
    for mine, theirs in zip(crossed.levels, nested.levels, strict=True):
        at = order if order is not None and mine is crossed.levels[-1] else slice(None)
        np.testing.assert_allclose(mine.covariance, theirs.covariance, **close)
        np.testing.assert_allclose(mine.modes[at], theirs.modes, **close)
        np.testing.assert_allclose(mine.conditional[at], theirs.conditional, **close)
        np.testing.assert_allclose(mine.prediction[at], theirs.prediction, **close)


def test_no_start_on_the_boundary_is_an_end(complement):
    data = rows("three")
    problem = crossed_problem(data.products, ("Intercept", "prior", "ses"), "reml", {})
    theta, record = optimise(problem)
    assert record.converged
    for k in range(problem.n_free):
        start = theta.copy()
        start[k] = 0.0
        inside = problem.escape(start)
        if theta[k] == 0.0:
            assert inside is None
        else:
            assert problem.criterion(inside) < problem.criterion(start)


def test_a_factor_without_variance_is_zero_flagged_and_leaves_the_rest_alone(complement):
    data = rows("two")
    # the third factor's means are taken out of the outcome: less than no variance is left for it
    noise = np.random.default_rng(8).permutation(np.repeat(np.arange(20), 13))
    means = np.bincount(noise, weights=data.y) / np.bincount(noise)
    data.y = data.y - means[noise]
    two = fit_crossed(data.products)
    data.factors = [*data.factors, CrossedFactor(name="n", units=noise, terms=["Intercept"])]
    three = fit_crossed(data.products, joint="n")
    assert three.levels[2].covariance[0, 0] == 0.0
    assert three.levels[2].singular
    assert three.convergence.singular
    assert three.convergence.converged
    assert not three.levels[2].modes.any()
    assert not three.joint_conditional.any()
    assert three.criterion == pytest.approx(two.criterion, rel=1e-12)
    np.testing.assert_allclose(three.beta, two.beta, rtol=1e-7)


def test_blocks_of_units_add_up(monkeypatch):
    data = rows("slopes of both")
    relative = random_covariances(data, np.random.default_rng(4))
    problem = crossed_problem(data.products, ("Intercept", "prior", "ses"), "reml", {})
    theta = np.linspace(0.2, 0.6, problem.n_free)
    whole = crossed_criterion(data.products, relative)
    _, gradient = problem.value(theta)
    monkeypatch.setattr(crossed_system, "_PAIRS_KEPT", 0)
    monkeypatch.setattr(crossed_system, "_PAIRS_AT_ONCE", 40)
    again = crossed_problem(data.products, ("Intercept", "prior", "ses"), "reml", {})
    assert again.system._kept_pairs is None
    assert crossed_criterion(data.products, relative) == pytest.approx(whole, rel=1e-13)
    np.testing.assert_allclose(again.value(theta)[1], gradient, rtol=1e-10)


def test_joint_errors_are_those_of_the_dense_equations(complement):
    data = rows("two")
    fit = fit_crossed(data.products, joint="secondary")
    level = fit.levels[1]
    errors = EffectErrors(
        conditional=np.diag(fit.joint_conditional),
        leverage=level.leverage[:, 0],
        beta_covariance=fit.beta_covariance,
        coefficient_part=level.coefficient_part[:, 0],
        joint_conditional=fit.joint_conditional,
    )
    dense = dense_effects(data, fit)
    for coefficients, name in ((False, "conditional"), (True, "prediction")):
        V = dense[name][dense["places"][1], dense["places"][1]]
        one, other = np.meshgrid(np.arange(9), np.arange(9))
        found = errors.covariance(one, other, coefficients=coefficients)
        np.testing.assert_allclose(found, V, **TIGHT)
        gap = np.diag(V)[:, None] + np.diag(V) - 2.0 * V
        found = errors.difference_variance(one, other, coefficients=coefficients)
        np.testing.assert_allclose(found, gap, rtol=1e-7, atol=1e-9)
        draws = errors.draws(40_000, random_state=3, coefficients=coefficients)
        # a variance of 40,000 draws has the relative standard error √(2/40000) = .007: four of them
        np.testing.assert_allclose(np.cov(draws.T), V, atol=0.03 * np.diag(V).max())
