"""The derivative of the criterion in the cross-products against central differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.elimination import eliminate
from resilience.stats.engine.elimination_adjoint import elimination_adjoint, product_sensitivities
from resilience.stats.engine.profile import Problem, evaluate, level_structures
from resilience.stats.mixed import fit_mixed

# A central difference with steps of 1e-5 of values of order 10 to 1,000 keeps about six digits of a
# derivative: truncation 1e-10, rounding 1e-16 × 1e3 / 1e-5 = 1e-8, relative to slopes of order 1.
STEP = 1e-5
RELATIVE = 2e-6

LEVELS = {
    "one level": [("school", ["Intercept"])],
    "slope": [("school", ["Intercept", "prior"])],
    "three terms": [("school", ["Intercept", "prior", "ses"])],
    "two levels": [("town", ["Intercept", "ses"]), ("school", ["Intercept"])],
    "three levels": [
        ("town", ["Intercept"]),
        ("school", ["Intercept", "prior", "ses"]),
        ("year", ["Intercept", "prior"]),
    ],
}


def problem_of(shape: str, method: str, seed: int = 5, *, singular: bool = False):
    rng = np.random.default_rng(seed)
    n = 150
    school = rng.integers(0, 12, size=n)
    codes = {"school": school, "town": school % 4, "year": rng.integers(0, 3, size=n)}
    X = rng.normal(size=(n, 2))
    y = X @ [0.5, -0.2] + rng.normal(size=12)[school] + rng.normal(size=n)
    cross = CrossProducts.from_arrays(
        X,
        y,
        columns=["prior", "ses", "score"],
        groups=[(name, codes[name], terms) for name, terms in LEVELS[shape]],
        weights=rng.uniform(0.5, 2.0, size=n),
    )
    structures = level_structures(cross, {})
    problem = Problem(cross=cross, fixed=(0, 1, 2), method=method, structures=structures)
    factors = []
    for level in cross.levels:
        q = len(level.columns)
        factor = np.tril(rng.uniform(-0.3, 0.3, size=(q, q))) + 0.5 * np.eye(q)
        if singular:
            factor[-1, -1] = 0.0
        factors.append(factor)
    return problem, problem.theta(factors)


def symmetric_in_own_columns(change, columns):
    """Z'Z of a group is symmetric whatever the rows are; so is a change of it."""
    changed = change.copy()
    block = changed[:, :, columns]
    changed[:, :, columns] = 0.5 * (block + np.swapaxes(block, 1, 2))
    return changed


@pytest.mark.parametrize("singular", [False, True])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", list(LEVELS))
def test_sensitivities_are_central_differences_of_the_criterion(shape, method, singular):
    problem, theta = problem_of(shape, method, singular=singular)
    cross = problem.cross
    covariances = tuple(f @ f.T for f in problem.factors(theta))
    found = product_sensitivities(
        cross, covariances, evaluate(problem, theta), fixed=problem.fixed, method=method
    )
    rng = np.random.default_rng(1)
    for _ in range(4):
        change = rng.normal(size=cross.total.shape)
        change = 0.5 * (change + change.T)
        inner = [
            symmetric_in_own_columns(rng.normal(size=v.products.shape), list(v.columns))
            for v in cross.levels
        ]

        def criterion(step, change=change, inner=inner):
            levels = tuple(
                replace(v, products=v.products + step * dC)
                for v, dC in zip(cross.levels, inner, strict=True)
            )
            moved = replace(cross, total=cross.total + step * change, levels=levels)
            return evaluate(replace(problem, cross=moved), theta).criterion

        difference = (criterion(STEP) - criterion(-STEP)) / (2 * STEP)
        slope = (found.total * change).sum() + sum(
            (s * dC).sum() for s, dC in zip(found.products, inner, strict=True)
        )
        assert slope == pytest.approx(difference, rel=RELATIVE, abs=RELATIVE)


def test_one_level_by_hand():
    # One school of one term: T = G − cc'/(1/D + s), log|V| = log(1 + Ds), both by hand.
    cross = CrossProducts.from_arrays(
        np.empty((2, 0)),
        np.array([1.0, 3.0]),
        columns=["y"],
        groups=[("school", np.zeros(2, dtype=int), ["Intercept"])],
        centre=np.zeros(1),
        scale=np.ones(1),
    )
    D, s, t = 0.5, 2.0, 4.0  # rows 1 and 3: two rows, sum 4
    factor = np.array([[np.sqrt(D)]])
    total = np.array([[0.0, 0.0], [0.0, 1.0]])  # the scalar is log|V| + T_yy
    found = elimination_adjoint(
        cross, [factor @ factor.T], eliminate(cross, (factor @ factor.T,)), total
    )
    gain = D / (1 + D * s)
    # d/ds: gain + (gain t)²; d/dt: −2 gain t
    assert found.products[0][0, 0] == pytest.approx([gain + (gain * t) ** 2, -2 * gain * t])
    assert found.total == pytest.approx(total)


def test_scaling_all_cross_products_costs_what_the_criterion_says():
    # With G and C times k and D / k the determinant |V| stays, r² and X'V⁻¹X grow like k: the
    # criterion moves by (m + p) log k = n log k, m from r² and p from |X'V⁻¹X|.
    problem, theta = problem_of("one level", "reml")
    cross = problem.cross
    D = tuple(f @ f.T for f in problem.factors(theta))
    profile = evaluate(problem, theta)
    found = product_sensitivities(cross, D, profile, fixed=problem.fixed, method="reml")
    along = (found.total * cross.total).sum()
    along += (found.products[0] * cross.levels[0].products).sum()
    _, gradient = problem.value(theta)  # d/dΛ; D / k is Λ / √k, so Λ moves by −Λ/2
    along -= 0.5 * gradient @ theta
    assert along == pytest.approx(cross.n_rows, rel=1e-10)


def test_at_the_optimum_only_the_rows_own_part_is_left():
    # At the optimum the criterion does not move with D, so that a common factor of all
    # cross-products reaches it through r² alone: the derivative along the data is m = n.
    problem, _ = problem_of("slope", "ml")
    fitted = fit_mixed(problem.cross, method="ml")
    theta = fitted.theta
    profile = evaluate(problem, theta)
    D = tuple(f @ f.T for f in problem.factors(theta))
    found = product_sensitivities(problem.cross, D, profile, fixed=problem.fixed, method="ml")
    along = (found.total * problem.cross.total).sum()
    along += (found.products[0] * problem.cross.levels[0].products).sum()
    # the gradient in Λ is zero there (gtol of the search), hence m alone
    assert along == pytest.approx(problem.cross.n_rows, rel=1e-6)
