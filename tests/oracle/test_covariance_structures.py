"""Every covariance structure against a dense likelihood that shares no formula with the engine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.covariance import covariance_structure
from resilience.stats.engine.profile import (
    Problem,
    criterion_in_own_units,
    evaluate,
    level_structures,
    working_units,
)
from resilience.stats.engine.search import optimise
from resilience.stats.mixed import fit_mixed

# Both sides are double precision with matrices of a few hundred rows: 1e-8 relative leaves three
# digits of room above rounding.
RELATIVE = 1e-8
YEARS = (2019, 2020, 2022, 2023)  # a gap of two years in the middle
BY_YEAR = [f"year={year}" for year in YEARS]
FIXED = ["Intercept", "prior", "ses"]


def rows(seed: int, *, weighted: bool = False):
    """Pupils in schools of towns over years, some schools without some years."""
    rng = np.random.default_rng(seed)
    n = 180
    school = rng.choice(15, size=n, p=np.r_[np.full(13, 0.074), 0.019, 0.019])
    year = rng.integers(0, 4, size=n)
    year[(school < 3) & (year == 1)] = 2
    prior = rng.normal(50.0, 20.0, size=n)
    ses = rng.normal(size=n)
    yearly = rng.normal(size=(15, 4))[school, year]
    y = 5 + 0.04 * prior + ses + rng.normal(size=15)[school] + 0.5 * yearly + rng.normal(size=n)
    weights = rng.uniform(0.3, 3.0, size=n) if weighted else np.ones(n)
    if weighted:
        weights[:4] = 0.0
    found = {"prior": prior, "ses": ses, "y": y, "weights": weights}
    found |= {"school": school, "town": school % 4, "cell": year}
    found |= {name: (year == k).astype(float) for k, name in enumerate(BY_YEAR)}
    return found


SLOPES = ["Intercept", "prior", "ses"]
# The level under test stands as "own"; the others stay unstructured.
SHAPES = {
    "slopes": [("own", "school", SLOPES)],
    "years": [("own", "school", BY_YEAR)],
    "slopes in towns": [("town", "town", ["Intercept"]), ("own", "school", SLOPES)],
    "years in towns": [("town", "town", ["Intercept", "ses"]), ("own", "school", BY_YEAR)],
    "years beside what lasts": [("lasting", "school", ["Intercept"]), ("own", "school", BY_YEAR)],
    "three levels": [
        ("town", "town", ["Intercept"]),
        ("lasting", "school", ["Intercept", "prior"]),
        ("own", "school", BY_YEAR),
    ],
    "slopes over cells": [
        ("town", "town", ["Intercept"]),
        ("own", "school", SLOPES),
        ("cell", "cell", ["Intercept"]),
    ],
    "single": [("own", "school", ["Intercept"])],
}
STRUCTURES = ("unstructured", "diagonal", "identity", "compound_symmetry", "ar1")
CASES = [
    (structure, shape)
    for structure, shape in itertools.product(STRUCTURES, SHAPES)
    if not (structure == "ar1" and ("slopes" in shape or shape == "single"))
    and not (structure == "compound_symmetry" and shape == "single")
]


def products(d, shape, *, unit: float = 1.0) -> CrossProducts:
    """Cross-products with indicators left as they are; ``unit`` changes the working scales."""
    names = ["prior", "ses", *BY_YEAR]
    X = np.column_stack([d[name] for name in names])
    weights = d["weights"]
    centre = np.r_[50.0, 0.0, np.zeros(4), d["y"].mean()]
    return CrossProducts.from_arrays(
        X,
        d["y"],
        columns=[*names, "score"],
        groups=[(name, d[column], terms) for name, column, terms in SHAPES[shape]],
        weights=weights,
        centre=centre,
        scale=np.r_[20.0 * unit, 1.0 / unit, np.ones(4), d["y"].std()],
    )


def problem_of(cross: CrossProducts, structure: str, method: str) -> Problem:
    covariance = {"own": structure}
    working = working_units(cross, FIXED)
    return Problem(
        cross=working,
        fixed=tuple(working.columns.index(t) for t in FIXED),
        method=method,
        structures=level_structures(working, covariance),
    )


def natural_covariance(structure: str, terms, rng):
    """Return a covariance of the structure from its definition, in the terms' own units."""
    q = len(terms)
    spread = rng.uniform(0.1, 0.8)
    if structure == "unstructured":
        L = np.tril(rng.normal(size=(q, q))) * 0.4
        L[[t == "prior" for t in terms]] *= 0.05
        return L @ L.T
    if structure == "diagonal":
        return np.diag(rng.uniform(0.05, 0.5, size=q) ** 2)
    if structure == "identity":
        return spread**2 * np.eye(q)
    if structure == "compound_symmetry":
        correlation = rng.uniform(-1.0 / (q - 1), 1.0)
        return spread**2 * (correlation + (1 - correlation) * np.eye(q))
    rho = rng.uniform(-0.95, 0.95)
    return np.array([[spread**2 * rho ** abs(s - t) for s in YEARS] for t in YEARS])


def dense(d, shape, covariances, method):
    keep = d["weights"] > 0
    d = {name: values[keep] for name, values in d.items()}
    n = len(d["y"])
    columns = {"Intercept": np.ones(n)} | d
    V = np.diag(1.0 / d["weights"])
    path = np.zeros(n, dtype=int)
    for (_, column, terms), D in zip(SHAPES[shape], covariances, strict=True):
        path = path * 10_000 + d[column]
        Z = np.column_stack([columns[t] for t in terms])
        V = V + (path[:, None] == path[None, :]) * (Z @ D @ Z.T)
    X = np.column_stack([np.ones(n), d["prior"], d["ses"]])
    Vi = np.linalg.inv(V)
    A = X.T @ Vi @ X
    r = d["y"] - X @ np.linalg.solve(A, X.T @ Vi @ d["y"])
    m = n - X.shape[1] if method == "reml" else n
    value = np.linalg.slogdet(V)[1] + m * (1 + np.log(2 * np.pi * (r @ Vi @ r) / m))
    return value + (np.linalg.slogdet(A)[1] if method == "reml" else 0.0)


def parameters_of(problem: Problem, covariances):
    """Return the parameters of covariances in own units; unstructured levels may be centred."""
    found = []
    for level, structure, D in zip(
        problem.cross.levels, problem.structures, covariances, strict=True
    ):
        at = list(level.columns)
        T = np.diag(problem.cross.scale[at])
        if 0 in at:  # y = b0 + b (x - c) / s · s: the intercept takes up the shift
            T[at.index(0)] += problem.cross.centre[at]
            T[at.index(0), at.index(0)] = 1.0
        found.append(structure.parameters(T @ D @ T.T))
    return np.concatenate(found)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("structure", "shape"), CASES)
def test_the_criterion_equals_the_dense_likelihood(structure, shape, method, weighted):
    d = rows(3, weighted=weighted)
    problem = problem_of(products(d, shape), structure, method)
    rng = np.random.default_rng(11)
    for _ in range(3):
        covariances = [
            natural_covariance(structure if name == "own" else "unstructured", terms, rng)
            for name, _, terms in SHAPES[shape]
        ]
        theta = parameters_of(problem, covariances)
        seen = criterion_in_own_units(problem, evaluate(problem, theta))
        assert seen == pytest.approx(dense(d, shape, covariances, method), rel=RELATIVE)


@pytest.mark.parametrize(("structure", "shape"), CASES)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_gradient_is_exact(structure, shape, method):
    problem = problem_of(products(rows(5, weighted=True), shape), structure, method)
    rng = np.random.default_rng(2)
    for _ in range(3):
        theta = np.array(
            [
                rng.uniform(0.05, 1.0) if low == 0 else rng.uniform(-0.8, 0.8)
                for low, _ in problem.bounds
            ]
        )
        _, gradient = problem.value(theta)
        step = 1e-5
        for k, exact in enumerate(gradient):
            up, down = theta.copy(), theta.copy()
            up[k] += step
            down[k] -= step
            # central differences: error of third order in the step, and rounding of the criterion
            # (some 1e-13 of 500) over twice the step
            slope = (problem.criterion(up) - problem.criterion(down)) / (2 * step)
            assert exact == pytest.approx(slope, rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("structure", ["identity", "compound_symmetry"])
def test_working_scales_do_not_change_a_model_that_ties_terms(structure):
    d = rows(7)
    found = [
        fit_mixed(products(d, "slopes", unit=u), fixed=FIXED, covariance={"own": structure})
        for u in (1.0, 37.0)
    ]
    assert found[0].criterion == pytest.approx(found[1].criterion, rel=1e-10)
    covariance = found[0].levels[0].covariance
    np.testing.assert_allclose(covariance, found[1].levels[0].covariance, rtol=1e-4, atol=1e-12)
    # one variance for all terms in their own units, whatever their spread
    np.testing.assert_allclose(np.diag(covariance), covariance[0, 0], rtol=1e-9)


def fits(shape, structures, *, seed=9, method="reml"):
    d = rows(seed)
    return [
        fit_mixed(products(d, shape), fixed=FIXED, covariance={"own": s}, method=method)
        for s in structures
    ]


def test_one_term_leaves_one_structure():
    values = [f.criterion for f in fits("single", ["unstructured", "diagonal", "identity"])]
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-12)


def test_independent_years_beside_what_lasts_are_the_cells_of_schools_and_years():
    """ar1 at ρ = 0 = identity = one effect per cell: three ways to write one model."""
    d = rows(9)
    beside = products(d, "years beside what lasts")
    identity = fit_mixed(beside, fixed=FIXED, covariance={"own": "identity"})
    cells = CrossProducts.from_arrays(
        np.column_stack([d["prior"], d["ses"]]),
        d["y"],
        columns=["prior", "ses", "score"],
        groups=[("school", d["school"], ["Intercept"]), ("cell", d["cell"], ["Intercept"])],
    )
    nested = fit_mixed(cells)
    assert identity.criterion == pytest.approx(nested.criterion, rel=1e-9)
    ar1 = problem_of(beside, "ar1", "reml")
    theta = np.append(identity.theta, 0.0)
    seen = criterion_in_own_units(ar1, evaluate(ar1, theta))
    assert seen == pytest.approx(nested.criterion, rel=1e-9)
    own = nested.levels[1].covariance[0, 0]
    np.testing.assert_allclose(identity.levels[1].covariance, own * np.eye(4), atol=1e-5 * own)


def test_equal_correlations_are_what_lasts_and_cells():
    symmetric = fits("years", ["compound_symmetry"])[0]
    both = fits("years beside what lasts", ["identity"])[0]
    assert symmetric.levels[0].parameters["correlation"] > 0
    assert symmetric.criterion == pytest.approx(both.criterion, rel=1e-9)
    total = both.levels[0].covariance[0, 0] + both.levels[1].covariance[0, 0]
    assert symmetric.levels[0].covariance[0, 0] == pytest.approx(total, rel=1e-4)


def test_two_years_make_compound_symmetry_and_ar1_one_model():
    d = rows(9)
    two = {name: values[d["cell"] < 2] for name, values in d.items()}
    X = np.column_stack([two["prior"], two["ses"], two["year=2019"], two["year=2020"]])
    cross = CrossProducts.from_arrays(
        X,
        two["y"],
        columns=["prior", "ses", "year=2019", "year=2020", "score"],
        groups=[("own", two["school"], ["year=2019", "year=2020"])],
        centre=np.r_[50.0, 0.0, 0.0, 0.0, two["y"].mean()],
        scale=np.r_[20.0, 1.0, 1.0, 1.0, two["y"].std()],
    )
    symmetric, ar1 = (
        fit_mixed(cross, fixed=FIXED, covariance={"own": s}) for s in ("compound_symmetry", "ar1")
    )
    assert ar1.criterion == pytest.approx(symmetric.criterion, rel=1e-10)
    correlation = symmetric.levels[0].parameters["correlation"]
    assert ar1.levels[0].parameters["correlation"] == pytest.approx(correlation, abs=1e-4)


def test_a_wider_structure_never_fits_worse():
    chain = ["unstructured", "compound_symmetry", "identity"]
    for shape in ("years", "slopes", "years in towns"):
        values = [f.criterion for f in fits(shape, chain)]
        assert values[0] <= values[1] + 1e-7
        assert values[1] <= values[2] + 1e-7
    for shape in ("years", "years in towns"):
        values = [f.criterion for f in fits(shape, ["unstructured", "ar1", "identity"])]
        assert values == sorted(values)


def test_negative_correlations_are_reached():
    """Schools whose years balance out: the correlation is near −1/(q−1) and never beyond."""
    d = rows(13)
    rng = np.random.default_rng(1)
    yearly = rng.normal(size=(15, 4))
    yearly -= yearly.mean(axis=1, keepdims=True)
    d["y"] = 0.04 * d["prior"] + 2.0 * yearly[d["school"], d["cell"]] + rng.normal(size=180)
    fitted = fit_mixed(products(d, "years"), fixed=FIXED, covariance={"own": "compound_symmetry"})
    # the truth is −1/3; with 15 schools its standard error is some (1 − ρ²)/√45 = .13
    assert -1.0 / 3.0 - 1e-9 <= fitted.levels[0].parameters["correlation"] <= -1.0 / 3.0 + 0.2


@pytest.mark.parametrize(("structure", "shape"), CASES)
def test_no_variation_is_found_to_be_none(structure, shape):
    """Schools and years made exactly alike: every structure ends at zero, flagged, converged."""
    d = rows(21)
    rng = np.random.default_rng(3)
    y = rng.normal(size=180)
    X = np.column_stack([d[name] for name in BY_YEAR])
    for school in range(15):  # nothing is left between schools, years or slopes within them
        at = d["school"] == school
        Z = np.column_stack([X[at], d["prior"][at], d["ses"][at]])
        y[at] -= Z @ np.linalg.lstsq(Z, y[at], rcond=None)[0]
    d["y"] = y + 0.04 * d["prior"]
    fitted = fit_mixed(products(d, shape), fixed=FIXED, covariance={"own": structure})
    own = next(level for level in fitted.levels if level.name == "own")
    np.testing.assert_allclose(own.covariance, 0.0, atol=1e-9)
    assert own.singular
    assert fitted.convergence.singular
    assert fitted.convergence.converged
    ols = np.linalg.lstsq(
        np.column_stack([np.ones(180), d["prior"], d["ses"]]), d["y"], rcond=None
    )[0]
    np.testing.assert_allclose(fitted.beta, ols, atol=1e-8)


def test_a_start_on_a_wrong_boundary_is_left():
    """Zero first pivot with the wrong sign beneath: no gradient of the factor points off it."""
    d = rows(17)
    slope = 0.05 * np.random.default_rng(4).normal(size=15)[d["school"]]
    d["y"] = d["y"] + (1.0 + 0.5 * (d["prior"] - 50.0)) * slope
    problem = problem_of(products(d, "slopes"), "unstructured", "reml")
    theta, record = optimise(problem)
    best = problem.criterion(theta)
    assert record.converged
    for start in ([0.0] * 6, [0.0, -0.4, -0.1, 0.2, 0.1, 0.0], [0.0, 0.4, 0.1, 0.0, 0.0, 0.0]):
        off = problem.escape(np.array(start))
        assert off is not None
        assert problem.criterion(off) < problem.criterion(np.array(start))
        assert problem.criterion(off) >= best - 1e-7


def test_parameters_have_natural_names():
    years = np.array([2019.0, 2020.0, 2022.0])
    terms = [f"year={int(t)}" for t in years]
    D = 0.25 * (-0.6) ** np.abs(np.subtract.outer(years, years))
    structure = covariance_structure("ar1", terms)
    found = structure.natural(D, structure.parameters(D))
    assert found == {"std_dev": pytest.approx(0.5), "correlation": pytest.approx(-0.6)}
    np.testing.assert_allclose(
        structure.factor(structure.parameters(D)) @ structure.factor(structure.parameters(D)).T, D
    )
    still = structure.natural(np.zeros((3, 3)), np.zeros(2))
    assert np.isnan(still["correlation"])
    free = covariance_structure("unstructured", ["Intercept", "prior"])
    D = np.array([[4.0, 1.0], [1.0, 1.0]])
    assert free.natural(D, free.parameters(D)) == pytest.approx(
        {"std_dev[Intercept]": 2.0, "std_dev[prior]": 1.0, "correlation[Intercept, prior]": 0.5}
    )


def test_the_sign_of_a_correlation_over_even_gaps_is_not_asked_for():
    structure = covariance_structure("ar1", ["year=2018", "year=2020", "year=2024"])
    assert structure.bounds[1] == (0.0, 1.0)
