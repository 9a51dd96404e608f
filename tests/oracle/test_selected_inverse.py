"""Entries of sparse inverses against dense ones, and when a complement is kept sparse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from resilience.errors import SpecificationError
from resilience.stats.crossed import crossed_sparse
from resilience.stats.crossed.crossed_fit import crossed_criterion, fit_crossed
from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
from resilience.stats.crossed.crossed_sparse import SparseSystem, chosen_system
from resilience.stats.engine.selected_inverse import SymmetricFactor, selected_inverse


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(limits=1):
        yield


def positive(size: int, per_row: float, seed: int) -> sparse.csr_array:
    """Return a random positive definite matrix from a thin rectangular root."""
    rng = np.random.default_rng(seed)
    root = sparse.random_array((3 * size, size), density=per_row / size, rng=rng, format="csr")
    found = sparse.csr_array(root.T @ root + sparse.eye_array(size))
    found.sort_indices()
    return found


@pytest.mark.parametrize(("size", "per_row"), [(1, 1.0), (12, 1.5), (90, 0.7), (300, 1.5)])
def test_entries_are_those_of_the_dense_inverse(size, per_row):
    for seed in range(3):
        matrix = positive(size, min(per_row, size), seed)
        factor = SymmetricFactor.of(matrix)
        plan = selected_inverse(matrix, factor.order, limit=10**9)
        found = plan.values(factor)
        places = matrix.tocoo()
        dense = np.linalg.inv(matrix.toarray())
        # eigenvalues lie between 1 and some tens: a dozen digits are left
        np.testing.assert_allclose(found, dense[places.row, places.col], rtol=0, atol=1e-12)
        expected = np.linalg.slogdet(matrix.toarray())[1]
        assert factor.log_determinant == pytest.approx(expected, rel=1e-12)


def test_a_diagonal_matrix_and_zeros_of_the_pattern():
    matrix = sparse.csr_array(
        (np.array([2.0, 0.0, 0.0, 4.0, 5.0]), np.array([0, 1, 0, 1, 2]), np.array([0, 2, 4, 5]))
    )
    factor = SymmetricFactor.of(matrix)
    plan = selected_inverse(matrix, factor.order, limit=100)
    np.testing.assert_allclose(plan.values(factor), [0.5, 0.0, 0.0, 0.25, 0.2])


def test_a_factor_that_fills_up_is_not_planned():
    matrix = positive(300, 1.5, 0)
    assert selected_inverse(matrix, SymmetricFactor.of(matrix).order, limit=500) is None


def test_a_matrix_that_is_not_positive_has_no_factor():
    matrix = sparse.csr_array(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(np.linalg.LinAlgError, match="positive"):
        SymmetricFactor.of(matrix)


def schools(second: np.ndarray, seed: int = 0) -> CrossedProducts:
    """Return results of pupils of 1,800 primary schools and the given later ones."""
    rng = np.random.default_rng(seed)
    first = np.arange(len(second)) % 1800
    y = 0.5 * rng.normal(size=1800)[first] + 0.4 * rng.normal(size=second.max() + 1)[second]
    return CrossedProducts.from_arrays(
        np.empty((len(y), 0)),
        y + rng.normal(size=len(y)),
        columns=["score"],
        factors=[
            CrossedFactor(name="primary", units=first, terms=["Intercept"]),
            CrossedFactor(name="secondary", units=second, terms=["Intercept"]),
        ],
    )


def test_schools_of_a_region_stay_sparse_and_agree_with_the_dense_complement(monkeypatch):
    rng = np.random.default_rng(1)
    rows = np.arange(9000)
    near = ((rows % 1800) * 1200 // 1800 + rng.integers(0, 3, 9000)) % 1200
    products = schools(near)
    assert isinstance(chosen_system(products), SparseSystem)
    thin = fit_crossed(products, joint="secondary")
    monkeypatch.setattr(crossed_sparse, "SPARSE_FROM", 10_000)
    assert not isinstance(chosen_system(products), SparseSystem)
    # one evaluation, not a search: 1,200 dense columns take their time
    problem_at = [np.array([[v.covariance[0, 0] / thin.residual_variance]]) for v in thin.levels]
    dense = crossed_criterion(products, problem_at)
    assert thin.criterion == pytest.approx(dense, rel=1e-11)
    assert thin.convergence.converged
    own = thin.levels[1].conditional[:, 0, 0]
    np.testing.assert_allclose(np.diag(thin.joint_conditional), own, rtol=1e-9)


def test_schools_that_all_meet_go_dense_or_are_refused():
    rng = np.random.default_rng(1)
    products = schools(rng.integers(0, 1100, 9000))
    assert not isinstance(chosen_system(products), SparseSystem)
    with pytest.raises(SpecificationError, match="'secondary' with 1099 units"):
        chosen_system(products, memory_limit=1_000_000)
