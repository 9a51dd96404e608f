"""Cross-products of crossed factors counted by hand, and a table that ANOVA solves."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from resilience.stats.crossed.crossed_fit import fit_crossed
from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
from resilience.stats.crossed.crossed_system import complement_bytes, eliminated_factor

UNIT = {"centre": np.zeros(2), "scale": np.ones(2)}


def products(factors, weights=None) -> CrossedProducts:
    """Return the products of four rows, neither centred nor scaled."""
    x, y = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([5.0, 6.0, 7.0, 9.0])
    return CrossedProducts.from_arrays(
        x, y, columns=["x", "y"], factors=factors, weights=weights, **UNIT
    )


def test_ordinary_factors_by_hand():
    found = products(
        [
            CrossedFactor(name="a", units=np.array(["q", "p", "p", "q"]), terms=["Intercept", "x"]),
            CrossedFactor(name="b", units=np.array([1, 1, 2, 3]), terms=["Intercept"]),
        ]
    )
    a, b = found.factors
    assert list(a.labels) == ["p", "q"]
    assert list(a.n_rows) == [2, 2]
    # rows 2 and 3 belong to p: sums of 1, x, y, and of x, x², xy
    np.testing.assert_array_equal(a.products[0], [[2, 5, 13], [5, 13, 33]])
    np.testing.assert_array_equal(b.products[:, 0, 0], [2, 1, 1])
    assert a.own is None
    # p meets unit 1 in row 2 (x = 2) and unit 2 in row 3 (x = 3); q meets 1 in row 1, 3 in row 4
    expected = [[1, 1, 0], [2, 3, 0], [1, 0, 1], [1, 0, 4]]
    np.testing.assert_array_equal(found.pairs[0, 1].toarray(), expected)


def test_shared_membership_by_hand():
    units = np.array([["p", "q"], ["p", None], ["q", "p"], ["q", "r"]], dtype=object)
    shares = np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
    factor = CrossedFactor(name="m", units=units, terms=["Intercept"], shares=shares)
    found = products([factor], weights=np.array([1.0, 1.0, 4.0, 0.0])).factors[0]
    assert list(found.labels) == ["p", "q", "r"]
    assert list(found.n_rows) == [3, 2, 0]  # the fourth row weighs nothing
    np.testing.assert_allclose(found.mass, [2.25, 0.75, 0.0])
    # p: weights times shares 0.5, 1, 4·0.75
    np.testing.assert_allclose(found.products[0, 0], [4.5, 0.5 + 2 + 9, 2.5 + 6 + 21])
    # p with p: .25 + 1 + 4·.5625; p with q: .25 + 4·.1875
    expected = [[3.5, 1.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(found.own.toarray(), expected)


def test_the_largest_ordinary_factor_is_eliminated():
    a = CrossedFactor(name="a", units=np.array([1, 2, 1, 2]), terms=["Intercept", "x"])
    b = CrossedFactor(name="b", units=np.array([1, 2, 3, 1]), terms=["Intercept"])
    shares = np.ones(4)
    m = CrossedFactor(name="m", units=np.arange(4), terms=["Intercept"], shares=shares)
    assert eliminated_factor(products([a, b, m])) == 0  # 2·2 effects against 3; m has shares
    assert eliminated_factor(products([m])) is None
    # what stays: 3 + 4 effects; six matrices of doubles
    assert complement_bytes(products([a, b, m])) == 6 * 8 * 7**2


def test_a_balanced_table_is_solved_by_analysis_of_variance():
    # REML equals the ANOVA estimators in a balanced complete two-way table (Searle, Casella and
    # McCulloch, Variance Components, 1992, section 4.4), as long as they are positive.
    rng = np.random.default_rng(2)
    rows, columns = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    y = 2.0 * rng.normal(size=8)[rows] + 1.5 * rng.normal(size=6)[columns] + rng.normal(size=48)
    table = y.reshape(8, 6)
    mean = table.mean()
    between_rows = 6 * ((table.mean(axis=1) - mean) ** 2).sum() / 7
    between_columns = 8 * ((table.mean(axis=0) - mean) ** 2).sum() / 5
    rest = table - table.mean(axis=1)[:, None] - table.mean(axis=0) + mean
    residual = (rest**2).sum() / 35
    fit = fit_crossed(
        CrossedProducts.from_arrays(
            np.empty((48, 0)),
            y,
            columns=["y"],
            factors=[
                CrossedFactor(name="rows", units=rows, terms=["Intercept"]),
                CrossedFactor(name="columns", units=columns, terms=["Intercept"]),
            ],
        )
    )
    # the search ends where the gradient is rounding: half the digits of the variances at least
    assert fit.residual_variance == pytest.approx(residual, rel=1e-7)
    assert fit.levels[0].covariance[0, 0] == pytest.approx((between_rows - residual) / 6, rel=1e-7)
    expected = (between_columns - residual) / 8
    assert fit.levels[1].covariance[0, 0] == pytest.approx(expected, rel=1e-7)
    assert fit.beta[0] == pytest.approx(mean, rel=1e-10)


def test_products_survive_pickling():
    a = CrossedFactor(name="a", units=np.array([1, 2, 1, 2]), terms=["Intercept", "x"])
    b = CrossedFactor(name="b", units=np.array([1, 2, 3, 1]), terms=["Intercept"])
    found = pickle.loads(pickle.dumps(products([a, b])))
    np.testing.assert_array_equal(
        found.pairs[0, 1].toarray(), products([a, b]).pairs[0, 1].toarray()
    )
