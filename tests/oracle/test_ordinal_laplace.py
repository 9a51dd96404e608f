"""The Laplace criterion and its gradient against dense computations; what must not change it."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from ordinal_dense import (
    DenseModel,
    gaussian_criterion,
    scales_of,
    small_data,
    start_of,
)
from scipy import optimize

from resilience.stats.marks import ordinal_criterion as module
from resilience.stats.marks import ordinal_data
from resilience.stats.marks.ordinal import fit_ordinal
from resilience.stats.marks.ordinal_criterion import ordinal_criterion, posterior_spread
from resilience.stats.marks.ordinal_data import OrdinalData, RandomParts
from resilience.stats.marks.ordinal_system import Scales

# The mode is found to a Newton decrement of 1e-10 a root of cells; half its log-determinant moves
# by some 1e-6 of the criterion's units over that distance, 1e-8 of its value and up to 2e-7 where
# few pupils bear a threshold.
RELATIVE = 1e-6
PARTS = [
    RandomParts(year=year, procedure=procedure, cell=cell, spread=spread)
    for year, procedure, cell, spread in itertools.product([False, True], repeat=4)
]
SHAPES = {
    "means and shared pupils": {"means": "some", "correlation": 0.5},
    "unseen marks": {"unseen": True, "correlation": 0.3},
    "one threshold": {"n_marks": 2, "correlation": 0.5},
}


@pytest.fixture
def sharp(monkeypatch):
    """Find modes to the last digit: differences of the criterion then show its gradient."""
    monkeypatch.setattr(module, "find_mode", functools.partial(module.find_mode, tolerance=1e-16))


def named(parts: RandomParts) -> str:
    return "+".join(parts.names)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("parts", PARTS, ids=named)
def test_criterion_equals_brute_force(parts, shape, method):
    data = small_data(PARTS.index(parts), parts, size=9, **SHAPES[shape])
    start, scales = start_of(data), scales_of(parts)
    found = ordinal_criterion(data, scales, start, method=method).criterion
    wanted = DenseModel(data, scales).criterion(start.fixed, method)
    assert found == pytest.approx(wanted, rel=RELATIVE)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("parts", [p for p in PARTS if not p.spread], ids=named)
def test_means_alone_are_gaussian_and_exact(parts, correlation, method):
    # Laplace is exact for a Gaussian: 1e-8 is the rounding of two factorisations
    data = small_data(3, parts, n_schools=9, means="all", correlation=correlation)
    start, scales = start_of(data), scales_of(parts)
    found = ordinal_criterion(data, scales, start, method=method)
    wanted = gaussian_criterion(data, scales, method, start.fixed)
    assert found.criterion == pytest.approx(wanted, rel=1e-8)


def test_effects_of_means_are_the_best_linear_predictors():
    parts = RandomParts(year=True, procedure=True)
    data = small_data(4, parts, n_schools=9, means="all", correlation=0.4)
    scales = scales_of(parts)
    state = ordinal_criterion(data, scales, start_of(data))
    same = data.school[:, None] == data.school
    V = scales.school**2 * same + scales.year**2 * (same & (data.year[:, None] == data.year))
    V = V + scales.procedure**2 * (same & (data.procedure[:, None] == data.procedure))
    V = V + np.outer(data.shared, data.shared) * (same & (data.cohort[:, None] == data.cohort))
    V = V + np.diag(1.0 / (data.precision * data.weight))
    A = np.concatenate([-np.eye(data.n_thresholds)[data.thresholds[:, 0]], data.X], axis=1)
    W = np.linalg.inv(V)
    covariance = np.linalg.inv(A.T @ W @ A)
    fixed = covariance @ A.T @ W @ data.mean
    Z = np.eye(data.n_schools)[data.school]
    effect = scales.school**2 * Z.T @ W @ (data.mean - A @ fixed)
    np.testing.assert_allclose(state.point.fixed, fixed, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        scales.school * state.point.effects[:, 0], effect, rtol=1e-7, atol=1e-10
    )
    np.testing.assert_allclose(state.covariance, covariance, rtol=1e-8, atol=1e-12)
    # prediction errors: known coefficients, then the leverage on them
    known = scales.school**2 * np.eye(data.n_schools) - scales.school**4 * Z.T @ W @ Z
    conditional = scales.school**2 * state.system.inverse[:, 0, 0]
    np.testing.assert_allclose(conditional, np.diag(known), rtol=1e-8)
    leverage = scales.school**2 * Z.T @ W @ A
    np.testing.assert_allclose(
        scales.school * state.system.carried[:, 0], leverage, rtol=1e-7, atol=1e-9
    )


def numeric(function, x: np.ndarray, step: float) -> np.ndarray:
    """Return fourth-order central differences."""
    rows = []
    for e in np.eye(len(x)):
        near = function(x + step * e) - function(x - step * e)
        far = function(x + 2 * step * e) - function(x - 2 * step * e)
        rows.append((8.0 * near - far) / (12.0 * step))
    return np.array(rows)


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Compare relative to the largest entry.

    Rounding of a criterion of some 200 over the step is 1e-9; the differences err by step⁴.
    """
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=RELATIVE * np.abs(wanted).max())


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("parts", PARTS, ids=named)
def test_gradient_equals_differences(parts, shape, method, sharp):
    data = small_data(PARTS.index(parts), parts, size=9, **SHAPES[shape])
    start, names = start_of(data), parts.names
    state = ordinal_criterion(data, scales_of(parts), start, method=method)
    own = state.point if method == "reml" else start

    def at(x: np.ndarray) -> float:
        scales = Scales(**dict(zip(names, map(float, x), strict=True)))
        return ordinal_criterion(data, scales, own, method=method).criterion

    x = np.array([getattr(scales_of(parts), name) for name in names])
    found = np.array([state.gradient[name] for name in names])

    close(found, numeric(at, x, 2e-3))


SPREADS = {"two": {"n_procedures": 2}, "three": {"n_procedures": 3, "correlation": 0.5}}


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", list(SPREADS))
@pytest.mark.parametrize("spread", [False, True])
def test_spreads_of_procedures(spread, shape, method, sharp):
    parts = RandomParts(year=True, procedure=True, spread=spread, procedure_spread=True)
    data = small_data(11, parts, size=12, **SPREADS[shape])
    log = np.array([0.2, -0.15, 0.1])[: len(data.spread_procedures)]
    base = {name: getattr(scales_of(parts), name) for name in parts.names}
    start = start_of(data)

    def state(own: np.ndarray):
        scales = Scales(**base, procedure_spread=tuple(map(float, own)))
        return ordinal_criterion(data, scales, start, method=method)

    scales = Scales(**base, procedure_spread=tuple(map(float, log)))
    wanted = DenseModel(data, scales).criterion(start.fixed, method)
    found = state(log)
    assert found.criterion == pytest.approx(wanted, rel=RELATIVE)
    close(found.spread_gradient, numeric(lambda x: state(x).criterion, log, 2e-3))


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("parts", PARTS[-4:], ids=named)
def test_gradient_in_thresholds_and_coefficients(parts, shape, sharp):
    data = small_data(PARTS.index(parts), parts, size=9, **SHAPES[shape])
    start, scales = start_of(data), scales_of(parts)
    found = ordinal_criterion(data, scales, start, method="ml").fixed_gradient

    def at(x: np.ndarray) -> float:
        point = type(start)(fixed=x, effects=start.effects, cell=start.cell)
        return ordinal_criterion(data, scales, point, method="ml").criterion

    close(found, numeric(at, start.fixed, 2e-3))


@pytest.mark.parametrize("parts", PARTS, ids=named)
def test_posterior_covariances_are_those_of_the_dense_inverse(parts):
    data = small_data(7, parts, size=9, correlation=0.4)
    scales = scales_of(parts)
    state = ordinal_criterion(data, scales, start_of(data))
    found = posterior_spread(data, scales, state.system, state.covariance)
    dense = DenseModel(data, scales)
    start = np.concatenate([start_of(data).fixed, np.zeros(dense.size - dense.f)])
    theta = dense.mode(start, np.arange(dense.size))
    inverse = np.linalg.inv(dense.hessian(theta))
    k = data.thresholds.shape[1]
    moves = np.zeros((data.n_cells, k + parts.spread, dense.size))
    moves[np.arange(data.n_cells)[:, None], np.arange(k), data.thresholds] = 1.0
    moves[:, :k, data.n_thresholds : dense.f] = -data.X[:, None]
    moves[:, :k, dense.f :] = -dense.Z[:, None]
    if parts.spread:
        moves[:, k, dense.f :] = dense.S
    wanted = np.einsum("mat,ts,mbs->mab", moves, inverse, moves)
    # both at modes good to 1e-5 of an SD
    np.testing.assert_allclose(found.local, wanted, rtol=1e-4, atol=1e-5)


def changed(data: OrdinalData, **values) -> OrdinalData:
    fields = {name: getattr(data, name) for name in OrdinalData.__dataclass_fields__}
    return OrdinalData(**{**fields, **values})


def rows_of(data: OrdinalData, order: np.ndarray, **values) -> OrdinalData:
    """Return the data with its cells in another order."""
    arrays = ["counts", "X", "school", "year", "procedure", "thresholds"]
    arrays += ["cohort", "shared", "weight", "mean", "precision"]
    return changed(data, **{name: getattr(data, name)[order] for name in arrays} | values)


@pytest.mark.parametrize("parts", PARTS, ids=named)
def test_blocks_of_one_school_change_nothing(parts, monkeypatch):
    shape = {"means": "some", "correlation": 0.5}
    whole = small_data(2, parts, n_schools=12, **shape)
    scales = scales_of(parts)
    one = ordinal_criterion(whole, scales, start_of(whole))
    monkeypatch.setattr(ordinal_data, "_ENTRIES", 1)
    cut = small_data(2, parts, n_schools=12, **shape)
    assert len(cut.blocks) == 12
    other = ordinal_criterion(cut, scales, start_of(cut))
    assert other.criterion == pytest.approx(one.criterion, rel=1e-9)
    for name in parts.names:
        assert other.gradient[name] == pytest.approx(one.gradient[name], rel=1e-9, abs=1e-8)


def test_order_within_a_school_and_names_of_schools_change_nothing():
    parts = RandomParts(year=True, procedure=True, cell=True, spread=True)
    data = small_data(5, parts, n_schools=8, correlation=0.5)
    scales = scales_of(parts)
    one = ordinal_criterion(data, scales, start_of(data))
    rng = np.random.default_rng(0)
    shuffled = np.lexsort((rng.random(data.n_cells), data.school))
    other = rows_of(data, shuffled)
    assert ordinal_criterion(other, scales, start_of(other)).criterion == pytest.approx(
        one.criterion, rel=1e-9
    )
    place = rng.permutation(data.n_schools)
    order = np.argsort(place[data.school], kind="stable")
    renamed = rows_of(data, order, school=place[data.school][order])
    found = ordinal_criterion(renamed, scales, start_of(renamed))
    assert found.criterion == pytest.approx(one.criterion, rel=1e-9)
    np.testing.assert_allclose(found.point.effects[place], one.point.effects, atol=1e-6)


def test_thresholds_numbered_otherwise_change_nothing():
    parts = RandomParts(year=True, procedure=False)
    data = small_data(6, parts, n_schools=8)
    scales = scales_of(parts)
    one = ordinal_criterion(data, scales, start_of(data))
    number = np.random.default_rng(1).permutation(data.n_thresholds)
    other = changed(data, thresholds=number[data.thresholds])
    found = ordinal_criterion(other, scales, start_of(other))
    assert found.criterion == pytest.approx(one.criterion, rel=1e-9)
    np.testing.assert_allclose(found.point.fixed[number], one.point.fixed[: len(number)], atol=1e-6)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_search_ends_where_a_general_optimiser_ends(method):
    parts = RandomParts(year=True, procedure=False)
    data = small_data(8, parts, n_schools=12, n_years=2, n_procedures=2, size=25)
    fitted = fit_ordinal(data, method=method)
    assert fitted.convergence.converged
    names = parts.names
    x0 = np.array([0.4, 0.2])

    def at(z: np.ndarray) -> float:
        scales = Scales(**dict(zip(names, map(float, np.exp(z)), strict=True)))
        return ordinal_criterion(data, scales, fitted.state.point, method=method).criterion

    found = optimize.minimize(at, np.log(x0), method="Nelder-Mead", options={"xatol": 1e-5})
    # the search stops when 1e-3 of the criterion is left to gain at most
    assert fitted.state.criterion <= found.fun + 1e-3
    for name, value in zip(names, np.exp(found.x), strict=True):
        assert getattr(fitted.scales, name) == pytest.approx(value, abs=5e-3)
