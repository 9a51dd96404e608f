"""The model of published means against a dense likelihood, for every structure it knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from resilience.stats.means.summary_data import (
    Component,
    Outer,
    SharedPupils,
    SummaryData,
    Variances,
)
from resilience.stats.means.summary_fit import Target, fit_summaries, summary_criterion
from resilience.stats.means.summary_search import Search, layout_of

# Both sides are double precision on a hundred rows: 1e-8 leaves four digits above rounding.
RELATIVE = 1e-8

N_SCHOOLS = 30


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices: several threads only wait for each other."""
    with threadpool_limits(limits=1):
        yield


def means(seed, structure):
    """Means of 30 schools in 8 municipalities: years and procedures come and go, sizes vary.

    Returns the data with everything the structure asks for, rows sorted by school.
    """
    rng = np.random.default_rng(seed)
    full = [(s, t, p) for s in range(N_SCHOOLS) for t in range(3) for p in range(3)]
    if structure in ("years", "estimated", "one year"):
        full = [cell for cell in full if cell[2] == 0]
    if structure == "one year":
        full = [cell for cell in full if cell[1] == 0]
    kept = [cell for cell in full if structure == "one year" or cell[1] == 0 or rng.random() < 0.7]
    school, year, procedure = (np.array(column) for column in zip(*kept, strict=True))
    n = rng.integers(3, 80, size=len(school)).astype(float)
    index = rng.normal(size=N_SCHOOLS)[school] + 50.0
    X = np.column_stack([np.ones(len(school)), index, procedure == 1, procedure == 2])
    X = X[:, : 2 if structure in ("years", "estimated", "one year") else 4].astype(float)
    y = 100.0 + 8.0 * index + 5.0 * rng.normal(size=N_SCHOOLS)[school]
    y = y + 4.0 * rng.normal(size=8)[school % 8] + 3.0 * rng.normal(size=len(school))
    y = y + 3.0 * rng.normal(size=(N_SCHOOLS, 3))[school, procedure]
    y = y + rng.normal(size=len(school)) * 30 / np.sqrt(n)
    whole, years = Component(), Component(units=year)
    procedures, cells = Component(units=procedure), Component(units=3 * year + procedure)
    shared = SharedPupils(cohorts=year, correlation=0.5, sizes=n)
    municipality = Outer(of_school=np.arange(N_SCHOOLS) % 8)
    pair = procedure % 2  # stands for the prior and the outcome mean of a cohort
    estimate = structure in ("estimated", "shared and estimated")
    data = SummaryData(
        X=X,
        y=y,
        school=school,
        known=np.zeros(len(n)) if estimate else 900.0 / n,
        inverse_n=1.0 / n if estimate else np.zeros(len(n)),
    )
    more = {
        "one year": {"components": (whole,)},
        "years": {"components": (whole, years)},
        "estimated": {"components": (whole, years)},
        "shared and estimated": {"components": (whole, years, procedures), "shared": shared},
        "procedures": {"components": (whole, years, procedures, cells), "shared": shared},
        "unstructured": {
            "components": (Component(traits=procedure, size=3), years, cells),
            "shared": shared,
        },
        "municipality": {"components": (whole, years, procedures), "outer": municipality},
        "pair": {
            "components": (
                Component(traits=pair, size=2),
                Component(units=year, traits=pair, size=2),
            ),
            "outer": replace(municipality, traits=pair, size=2),
            "shared": replace(shared, correlation=0.7),
        },
    }
    return replace(data, **more[structure]), estimate


STRUCTURES = [
    "one year",
    "years",
    "estimated",
    "shared and estimated",
    "procedures",
    "unstructured",
    "municipality",
    "pair",
]


def covariances(rng, sizes):
    found = []
    for size in sizes:
        root = rng.normal(size=(size, size)) * 4.0
        found.append(root @ root.T)
    return tuple(found)


def some_variances(data, rng, estimate):
    outer = covariances(rng, [0 if data.outer is None else data.outer.size])[0]
    return Variances(
        components=covariances(rng, [c.size for c in data.components]),
        outer=outer,
        sigma2=rng.uniform(300.0, 2000.0) if estimate else 0.0,
    )


def indicators(data):
    """Return, per covariance, the matrix of rows by (unit × trait) and the number of units."""
    found = []
    n = len(data.y)
    for part in data.components:
        units = np.zeros(n, int) if part.units is None else part.units
        traits = np.zeros(n, int) if part.traits is None else part.traits
        labels = sorted(set(zip(data.school, units, strict=True)))
        found.append(
            (
                labels,
                np.array([labels.index(k) for k in zip(data.school, units, strict=True)]),
                traits,
            )
        )
    if data.outer is not None:
        unit = data.outer.of_school[data.school]
        traits = np.zeros(n, int) if data.outer.traits is None else data.outer.traits
        found.append((list(range(data.outer.n_units)), unit, traits))
    return found


def design(unit, traits, size, n_units):
    Z = np.zeros((len(unit), n_units * size))
    Z[np.arange(len(unit)), unit * size + traits] = 1.0
    return Z


def dense_sampling(data, sigma2):
    variance = data.known + sigma2 * data.inverse_n
    R = np.diag(variance)
    if data.shared is not None:
        n = data.shared.sizes
        for a in range(len(variance)):
            for b in range(len(variance)):
                same = data.school[a] == data.school[b]
                same = same and data.shared.cohorts[a] == data.shared.cohorts[b]
                if a != b and same:
                    # r σ_a σ_b min(n)/(n_a n_b) with σ² = variance × n
                    sd = np.sqrt(variance[a] * n[a] * variance[b] * n[b])
                    R[a, b] = data.shared.correlation * sd * min(n[a], n[b]) / (n[a] * n[b])
    return R


def dense(data, variances):
    V = dense_sampling(data, variances.sigma2)
    for Q, (labels, unit, traits) in zip(
        [*variances.components, variances.outer], indicators(data), strict=False
    ):
        Z = design(unit, traits, len(Q), len(labels))
        V += Z @ np.kron(np.eye(len(labels)), Q) @ Z.T
    Vi = np.linalg.inv(V)
    A = data.X.T @ Vi @ data.X
    return V, Vi, A, np.linalg.solve(A, data.X.T @ Vi @ data.y)


def dense_criterion(data, variances, method):
    V, Vi, A, beta = dense(data, variances)
    r = data.y - data.X @ beta
    n, p = data.X.shape
    value = np.linalg.slogdet(V)[1] + r @ Vi @ r
    if method == "reml":
        return value + np.linalg.slogdet(A)[1] + (n - p) * np.log(2 * np.pi)
    return value + n * np.log(2 * np.pi)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_criterion_equals_the_dense_likelihood(structure, method):
    data, estimate = means(1, structure)
    rng = np.random.default_rng(2)
    for _ in range(5):
        at = some_variances(data, rng, estimate)
        seen, _ = summary_criterion(data, at, method=method)
        assert seen == pytest.approx(dense_criterion(data, at, method), rel=RELATIVE)


def moved(variances, which, row, column, step):
    """Return the variances with one entry (and its mirror) moved."""

    def add(Q):
        Q = Q.copy()
        Q[row, column] += step
        if row != column:
            Q[column, row] += step
        return Q

    if which == "sigma2":
        return replace(variances, sigma2=variances.sigma2 + step)
    if which == "outer":
        return replace(variances, outer=add(variances.outer))
    parts = list(variances.components)
    parts[which] = add(parts[which])
    return replace(variances, components=tuple(parts))


def entries(variances, estimate):
    for which, Q in [*enumerate(variances.components), ("outer", variances.outer)]:
        for row, column in zip(*np.tril_indices(len(Q)), strict=True):
            yield which, row, column
    if estimate:
        yield "sigma2", 0, 0


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_gradient_equals_central_differences_of_the_dense_likelihood(structure, method):
    data, estimate = means(3, structure)
    at = some_variances(data, np.random.default_rng(4), estimate)
    _, slope = summary_criterion(data, at, method=method)
    for which, row, column in entries(at, estimate):
        if which == "sigma2":
            seen, size = slope.sigma2, at.sigma2
        else:
            Q = at.outer if which == "outer" else at.components[which]
            D = slope.outer if which == "outer" else slope.components[which]
            # an entry off the diagonal stands twice in the matrix
            seen, size = D[row, column] * (1.0 if row == column else 2.0), Q.diagonal().max()
        step = 1e-4 * size
        up, down = (
            dense_criterion(data, moved(at, which, row, column, s * step), method) for s in (1, -1)
        )
        # truncation and rounding of a central difference with a relative step of 1e-4
        assert seen == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_optimum_is_the_dense_likelihoods(structure, method):
    data, estimate = means(5, structure)
    fit = fit_summaries(data, estimate_sd=estimate, method=method)
    assert fit.convergence.converged
    best = fit.criterion
    assert best == pytest.approx(dense_criterion(data, fit.variances, method), rel=RELATIVE)
    rng = np.random.default_rng(6)
    for size in (1.0, 0.1, 0.01):
        for _ in range(10):
            steps = some_variances(data, rng, estimate)
            trial = Variances(
                components=tuple(
                    np.exp(size * rng.normal()) * Q + size * 0.1 * S
                    for Q, S in zip(fit.variances.components, steps.components, strict=True)
                ),
                outer=np.exp(size * rng.normal()) * fit.variances.outer + size * 0.1 * steps.outer,
                sigma2=fit.variances.sigma2 * np.exp(size * rng.normal()),
            )
            assert dense_criterion(data, trial, method) >= best - 1e-6


def dense_prediction(data, variances, Z, prior, beta_known):
    """Return predictions and error covariance of targets with Cov(y, targets) = Z, by definition.

    ``prior`` is the targets' covariance.
    """
    _, Vi, A, beta = dense(data, variances)
    effect = Z.T @ Vi @ (data.y - data.X @ beta)
    if beta_known:
        return effect, prior - Z.T @ Vi @ Z
    P = Vi - Vi @ data.X @ np.linalg.solve(A, data.X.T @ Vi)
    return effect, prior - Z.T @ P @ Z


TARGETS = {
    "years": ((0, [1.0], None),),
    "procedures": ((0, [1.0], None), (2, [1.0], 1)),
    "unstructured": ((0, [0.2, 0.3, 0.5], None),),
    "municipality": ((0, [1.0], None),),
    "pair": ((0, [-0.4, 1.0], None),),
}


@pytest.mark.parametrize("structure", sorted(TARGETS))
def test_effects_and_their_errors_equal_the_dense_formulas(structure):
    data, estimate = means(7, structure)
    fit = fit_summaries(data, estimate_sd=estimate)
    _, Vi, A, beta = dense(data, fit.variances)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-7)
    np.testing.assert_allclose(fit.beta_covariance, np.linalg.inv(A), rtol=1e-6, atol=1e-12)
    target = Target(parts=tuple((c, np.array(w), u) for c, w, u in TARGETS[structure]))
    Z = np.zeros((len(data.y), N_SCHOOLS))
    prior = 0.0
    for at, weights, unit in target.parts:
        labels, units, traits = indicators(data)[at]
        Q = fit.variances.components[at]
        prior += weights @ Q @ weights
        for row in range(len(data.y)):
            if unit is None or labels[units[row]][1] == unit:
                Z[row, data.school[row]] += (weights @ Q)[traits[row]]
    seen = fit.predict(target)
    prior = prior * np.eye(N_SCHOOLS)
    effect, known = dense_prediction(data, fit.variances, Z, prior, True)
    _, whole = dense_prediction(data, fit.variances, Z, prior, False)
    scale = np.sqrt(prior[0, 0])
    np.testing.assert_allclose(seen.effect, effect, atol=1e-7 * scale)
    np.testing.assert_allclose(seen.conditional, np.diag(known), rtol=1e-6)
    np.testing.assert_allclose(seen.prediction, np.diag(whole), rtol=1e-6)
    np.testing.assert_allclose(seen.leverage, Z.T @ Vi @ data.X, atol=1e-7 * np.abs(data.X).max())
    together = seen.loadings @ seen.loadings.T
    if data.outer is not None:
        together = together * (data.outer.of_school[:, None] == data.outer.of_school)
    off = ~np.eye(N_SCHOOLS, dtype=bool)
    np.testing.assert_allclose(known[off], (together * np.ones_like(known))[off], atol=1e-8)


@pytest.mark.parametrize("structure", ["municipality", "pair"])
def test_outer_effects_equal_the_dense_formulas(structure):
    data, estimate = means(8, structure)
    fit = fit_summaries(data, estimate_sd=estimate)
    G = fit.variances.outer
    weights = np.array([1.0]) if structure == "municipality" else np.array([-0.4, 1.0])
    labels, unit, traits = indicators(data)[-1]
    Z = design(unit, traits, len(G), len(labels)) @ np.kron(np.eye(8), (G @ weights)[:, None])
    prior = weights @ G @ weights * np.eye(8)
    seen = fit.predict_outer(weights)
    effect, known = dense_prediction(data, fit.variances, Z, prior, True)
    _, whole = dense_prediction(data, fit.variances, Z, prior, False)
    np.testing.assert_allclose(seen.effect, effect, atol=1e-7)
    np.testing.assert_allclose(seen.conditional, np.diag(known), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(seen.prediction, np.diag(whole), rtol=1e-6, atol=1e-12)


def test_a_cell_as_one_measure_gives_the_posterior_of_its_rows():
    """One year per school: measure and variance of the cell reproduce the effect exactly."""
    data, _ = means(9, "procedures")
    first = np.flatnonzero(data.components[1].units == 0)
    rows = {"X": data.X[first], "y": data.y[first], "school": data.school[first]}
    rows |= {"known": data.known[first], "inverse_n": data.inverse_n[first]}
    procedure = data.components[2].units[first]
    shared = replace(data.shared, cohorts=np.zeros(len(first), int), sizes=data.shared.sizes[first])
    one = SummaryData(**rows, components=(Component(), Component(units=procedure)), shared=shared)
    fit = fit_summaries(one)
    target = Target(parts=((0, np.ones(1), None),))
    cell = fit.cell_means(one.school, target, np.zeros(0))
    tau2 = fit.variances.components[0][0, 0]
    seen = fit.predict(target)
    trust = tau2 / (tau2 + cell.sampling_variance)
    np.testing.assert_allclose(trust * cell.residual, seen.effect, atol=1e-9)
    np.testing.assert_allclose(tau2 * (1 - trust), seen.conditional, rtol=1e-8)
    np.testing.assert_allclose(trust[:, None] * cell.design, seen.leverage, atol=1e-9)


@pytest.mark.parametrize("latent", [0.01, 0.1, 5.0])
def test_a_cohort_at_the_slope_of_its_pupils_leaves_the_residual_variance(latent):
    """γ = ρσ_y/σ_p: the outcome given the prior has the variance σ_y²(1 − ρ²)/n, whatever A."""
    n = np.repeat([3.0, 10.0, 35.0, 80.0], 2)
    trait = np.tile([0, 1], 4)
    rho, sd = 0.7, np.where(trait == 0, 5.0, 2.0)
    data = SummaryData(
        X=np.column_stack([trait == 0, trait == 1]).astype(float),
        y=np.random.default_rng(13).normal(size=8),
        school=np.repeat(np.arange(4), 2),
        known=sd**2 / n,
        inverse_n=np.zeros(8),
        components=(Component(traits=trait, size=2),),
        shared=SharedPupils(cohorts=np.zeros(8, int), correlation=rho, sizes=n),
    )
    slope, tau2 = rho * 2.0 / 5.0, 0.09
    Q = latent * np.array([[1.0, slope], [slope, slope**2]]) + np.diag([0.0, tau2])
    fit = fit_summaries(data).at(Variances(components=(Q,), outer=np.zeros((0, 0))))
    target = Target(parts=((0, np.array([-slope, 1.0]), None),))
    cells = fit.cell_means(data.school, target, np.zeros(0))
    np.testing.assert_allclose(cells.sampling_variance, 4.0 * (1 - rho**2) / n[::2], rtol=1e-9)


def dense_slope_term(data, factors):
    """Return log|I| with I = ½ tr(V⁻¹ V_k V⁻¹ V_l), from dense matrices and their definition."""
    V = dense_sampling(data, 0.0)
    moves = []
    for L, (labels, unit, traits) in zip(factors, indicators(data), strict=False):
        Z = design(unit, traits, 2, len(labels))
        V += Z @ np.kron(np.eye(len(labels)), L @ L.T) @ Z.T
        dL = np.array([[0.0, 0.0], [1.0, 0.0]])
        moves.append(Z @ np.kron(np.eye(len(labels)), dL @ L.T + L @ dL.T) @ Z.T)
    Vi = np.linalg.inv(V)
    information = [[0.5 * np.trace(Vi @ K @ Vi @ M) for M in moves] for K in moves]
    return np.linalg.slogdet(np.array(information))[1]


def test_the_term_of_the_slopes_and_its_gradient():
    data, _ = means(14, "pair")
    data = replace(data, outer=None)
    layout = layout_of(data, estimate_sd=False)
    search = Search(data=data, layout=layout, method="reml", slopes=(0, 1))
    plain = Search(data=data, layout=layout, method="reml")
    rng = np.random.default_rng(15)
    for _ in range(3):
        x = layout.start(0.5) * rng.uniform(0.5, 1.5, size=layout.n_free)
        own = [s[:, None] * L for s, L in zip(layout.scales[:2], layout.factors(x), strict=False)]
        value, slope = search.value(x)
        expected = dense_slope_term(data, own)
        assert value - plain.value(x)[0] == pytest.approx(expected, rel=1e-6)
        for k, seen in enumerate(slope):
            step = np.zeros_like(x)
            step[k] = 1e-5
            up, down = search.value(x + step)[0], search.value(x - step)[0]
            # truncation and rounding of a central difference with a step of 1e-5
            assert seen == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_covariates_far_from_zero_cost_no_digits(offset):
    data, _ = means(10, "years")
    X = data.X.copy()
    X[:, 1] += offset
    fit = fit_summaries(replace(data, X=X))
    base = fit_summaries(data)
    assert fit.beta[1] == pytest.approx(base.beta[1], rel=1e-7)
    target = Target(parts=((0, np.ones(1), None),))
    np.testing.assert_allclose(
        fit.predict(target).prediction, base.predict(target).prediction, rtol=1e-6
    )


def test_a_search_that_ends_on_the_edge_of_the_cone_says_so():
    """Prior and outcome means that differ by noise alone: a correlation of 1 is the optimum."""
    rng = np.random.default_rng(11)
    school = np.repeat(np.arange(60), 2)
    trait = np.tile([0, 1], 60)
    y = rng.normal(size=60)[school] + 0.1 * rng.normal(size=120)
    data = SummaryData(
        X=np.column_stack([trait == 0, trait == 1]).astype(float),
        y=y,
        school=school,
        known=np.full(120, 0.04),
        inverse_n=np.zeros(120),
        components=(Component(traits=trait, size=2),),
    )
    fit = fit_summaries(data)
    assert fit.convergence.converged
    assert fit.convergence.singular
    Q = fit.variances.components[0]
    assert Q[0, 1] / np.sqrt(Q[0, 0] * Q[1, 1]) == pytest.approx(1.0, abs=1e-6)
    rng = np.random.default_rng(12)
    for _ in range(100):
        root = np.linalg.cholesky(Q + 1e-9 * np.eye(2)) + 0.05 * np.tril(rng.normal(size=(2, 2)))
        trial = replace(fit.variances, components=(root @ root.T,))
        assert dense_criterion(data, trial, "reml") >= fit.criterion - 1e-6


def test_the_standard_error_of_the_pupil_variance_is_honest():
    """The observed information against the scatter of 30 replications."""
    fits = []
    for seed in range(30):
        rng = np.random.default_rng(200 + seed)
        school = np.repeat(np.arange(150), 3)
        n = rng.integers(5, 30, size=150)[school] * rng.integers(1, 7, size=len(school))
        y = 6.0 * rng.normal(size=150)[school] + 3.0 * rng.normal(size=len(school))
        data = SummaryData(
            X=np.ones((len(school), 1)),
            y=y + 30.0 * rng.normal(size=len(school)) / np.sqrt(n),
            school=school,
            known=np.zeros(len(n)),
            inverse_n=1.0 / n,
            components=(Component(), Component(units=np.arange(len(school)))),
        )
        fits.append(fit_summaries(data, estimate_sd=True))
    scatter = np.std([f.variances.sigma2 for f in fits], ddof=1)
    stated = np.median([f.sigma2_std_error for f in fits])
    # an SD from 30 replications has a standard error of 13 %; three of them
    assert stated == pytest.approx(scatter, rel=0.39)
