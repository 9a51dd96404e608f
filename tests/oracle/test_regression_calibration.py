"""Expected true values against the conditional expectation of one joint normal distribution."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.stats.gaps.regression_calibration import Moments, calibrate, level_moments

# Dense matrices of some 60 rows in double precision; a column constant within schools is given
# 1e-8 of its variance within, which moves a school of one pupil by a few 1e-9.
RELATIVE = 2e-8

MEAN = np.array([1.0, -2.0, 0.5, 3.0])
# prior (errors), second prior (errors), an exact covariate, one of the school
BETWEEN = np.array(
    [[0.5, 0.2, 0.1, 0.3], [0.2, 0.4, 0.0, 0.1], [0.1, 0.0, 0.3, 0.1], [0.3, 0.1, 0.1, 1.2]]
)
YEARS = np.array(
    [[0.2, 0.1, 0.0, 0.1], [0.1, 0.3, 0.1, 0.0], [0.0, 0.1, 0.2, 0.1], [0.1, 0.0, 0.1, 0.3]]
)
WITHIN = np.array(
    [[1.0, 0.5, 0.3, 0.0], [0.5, 0.9, 0.2, 0.0], [0.3, 0.2, 1.1, 0.0], [0.0, 0.0, 0.0, 0.0]]
)


def draw(seed, sizes, columns, *, own_errors):
    rng = np.random.default_rng(seed)
    schools = np.repeat(np.arange(len(sizes)), sizes)
    n, q = len(schools), len(columns)
    b = rng.multivariate_normal(MEAN, BETWEEN, size=len(sizes))
    w = rng.multivariate_normal(np.zeros(4), WITHIN, size=n)
    errors = np.zeros((n, q))
    for k, c in enumerate(columns):
        if c < 2:
            errors[:, k] = rng.uniform(0.1, 0.6, size=n) if own_errors else 0.3
    true = (b[schools] + w)[:, columns]
    return schools, true + np.sqrt(errors) * rng.normal(size=(n, q)), errors


def dense(schools, values, errors, columns):
    """E[true | everything observed in the school], pupil by pupil and for the school's mean."""
    q = len(columns)
    T, W = BETWEEN[np.ix_(columns, columns)], WITHIN[np.ix_(columns, columns)]
    pupils, at_school = np.empty_like(values), np.empty((schools.max() + 1, q))
    for j in range(schools.max() + 1):
        rows = np.flatnonzero(schools == j)
        m = len(rows)
        same = np.kron(np.ones((m, m)), T)
        true = same + np.kron(np.eye(m), W)
        observed = true + np.diag(errors[rows].ravel())
        gap = (values[rows] - MEAN[columns]).ravel()
        weighted = np.linalg.pinv(observed, hermitian=True) @ gap
        pupils[rows] = MEAN[columns] + (true @ weighted).reshape(m, q)
        at_school[j] = MEAN[columns] + np.kron(np.ones(m), T) @ weighted
    return pupils, at_school


@pytest.mark.parametrize("own_errors", [False, True])
@pytest.mark.parametrize("columns", [[0], [0, 2], [0, 1], [0, 2, 3], [0, 1, 2, 3], [1, 3]])
def test_expected_true_values_are_those_of_the_joint_normal(columns, own_errors):
    schools, values, errors = draw(3, [1, 4, 7, 2, 5], columns, own_errors=own_errors)
    block = np.ix_(columns, columns)
    moments = Moments(
        mean=MEAN[columns],
        between=BETWEEN[block],
        years=np.zeros_like(BETWEEN[block]),
        within=WITHIN[block],
        error=errors.mean(axis=0),
    )
    order = np.random.default_rng(1).permutation(len(schools))
    found = calibrate(values[order], errors[order], schools[order], moments)
    pupils, at_school = dense(schools, values, errors, columns)
    np.testing.assert_allclose(found.pupils, pupils[order], rtol=RELATIVE, atol=RELATIVE)
    np.testing.assert_allclose(found.cells, at_school, rtol=RELATIVE, atol=RELATIVE)


@pytest.mark.parametrize("columns", [[0], [0, 2], [0, 1, 2, 3]])
def test_years_of_a_school_tell_about_each_other(columns):
    """A school's years share S: each is expected from the pupils of all of them."""
    schools, values, errors = draw(4, [9, 4, 12, 1], columns, own_errors=True)
    rng = np.random.default_rng(6)
    year = rng.integers(0, 3, size=len(schools))
    cells = np.unique(schools * 3 + year, return_inverse=True)[1]
    values = (
        values
        + rng.multivariate_normal(np.zeros(4), YEARS, size=cells.max() + 1)[cells][:, columns]
    )
    if 3 in columns:  # a column of the school and year: one value per cell
        k = columns.index(3)
        values[:, k] = values[np.unique(cells, return_index=True)[1], k][cells]
    block = np.ix_(columns, columns)
    S, C, W = BETWEEN[block], YEARS[block], WITHIN[block]
    moments = Moments(mean=MEAN[columns], between=S, years=C, within=W, error=errors.mean(axis=0))
    found = calibrate(values, errors, schools, moments, cells)
    q = len(columns)
    for j in range(4):
        rows = np.flatnonzero(schools == j)
        together = cells[rows][:, None] == cells[rows][None, :]
        at_cell = np.kron(np.ones((len(rows), len(rows))), S) + np.kron(together, C)
        true = at_cell + np.kron(np.eye(len(rows)), W)
        observed = true + np.diag(errors[rows].ravel())
        weighted = (
            np.linalg.pinv(observed, rcond=1e-12, hermitian=True)
            @ (values[rows] - MEAN[columns]).ravel()
        )
        pupils = MEAN[columns] + (true @ weighted).reshape(-1, q)
        means = MEAN[columns] + (at_cell @ weighted).reshape(-1, q)
        np.testing.assert_allclose(found.pupils[rows], pupils, rtol=RELATIVE, atol=RELATIVE)
        np.testing.assert_allclose(found.cells[cells[rows]], means, rtol=RELATIVE, atol=RELATIVE)


def test_moments_find_what_lasts_and_what_changes():
    """Schools of three years: unequal cells, errors of every pupil's own."""
    rng = np.random.default_rng(11)
    size = rng.integers(1, 25, size=3000 * 3)
    cells = np.repeat(np.arange(len(size)), size)
    schools = cells // 3
    s = rng.multivariate_normal(MEAN, BETWEEN, size=3000)
    c = rng.multivariate_normal(np.zeros(4), YEARS, size=len(size))
    w = rng.multivariate_normal(np.zeros(4), WITHIN, size=len(cells))
    errors = np.zeros((len(cells), 4))
    errors[:, :2] = rng.uniform(0.1, 0.6, size=(len(cells), 2))
    noise = np.sqrt(errors) * rng.normal(size=errors.shape)
    found = level_moments(s[schools] + c[cells] + w + noise, errors, schools, cells)
    # 3,000 schools: a variance of 1.2 is known to 1.2 √(2/3000) = .03, others better
    assert np.abs(found.between - BETWEEN).max() < 3 * 0.033
    assert np.abs(found.years - YEARS).max() < 0.03
    assert np.abs(found.within - WITHIN).max() < 0.02


def test_no_variance_between_schools_gives_every_school_the_mean():
    schools, values, errors = draw(5, [3, 6, 2], [0], own_errors=False)
    moments = Moments(
        mean=MEAN[:1],
        between=np.zeros((1, 1)),
        years=np.zeros((1, 1)),
        within=WITHIN[:1, :1],
        error=np.array([0.3]),
    )
    found = calibrate(values, errors, schools, moments)
    np.testing.assert_allclose(found.cells[:, 0], MEAN[0])
    np.testing.assert_allclose(found.pupils, MEAN[0] + (values - MEAN[0]) / 1.3, rtol=1e-12)


def test_moments_of_balanced_schools_are_those_of_the_analysis_of_variance():
    """Schools of one size: every weighting is the same, and closed forms hold."""
    schools, values, errors = draw(7, [5] * 12, [0, 2], own_errors=False)
    found = level_moments(values, errors, schools)
    means = values.reshape(12, 5, 2).mean(axis=1)
    around = values - means[schools]
    within = around.T @ around / (60 - 12)
    between = np.cov(means.T) - within / 5
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(found.within + np.diag(found.error), within, rtol=1e-10)
    np.testing.assert_allclose(found.between, between, rtol=1e-8)
    np.testing.assert_allclose(found.error, [0.3, 0.0], rtol=1e-10)


def test_moments_find_the_truth_in_unequal_schools():
    sizes = np.random.default_rng(2).integers(1, 40, size=4000)
    schools, values, errors = draw(9, sizes, [0, 1, 2, 3], own_errors=True)
    found = level_moments(values, errors, schools)
    # 4,000 schools: a variance of 1 is known to √(2/4000) = .022, a covariance to less
    assert np.abs(found.between - BETWEEN).max() < 3 * 0.022 * 1.3
    assert np.abs(found.within - WITHIN).max() < 0.02
    np.testing.assert_allclose(found.mean, MEAN, atol=4 * np.sqrt(1.2 / 4000))
    assert list(found.constant) == [False, False, False, True]


def test_what_exact_columns_leave_of_the_errors():
    moments = Moments(
        mean=MEAN,
        between=BETWEEN,
        years=0 * BETWEEN,
        within=WITHIN,
        error=np.array([0.3, 0.2, 0, 0]),
    )
    true, observed = moments.unexplained
    # by hand: .5 − .3·.2/1.1 and so on
    expected = WITHIN[:2, :2] - np.outer([0.3, 0.2], [0.3, 0.2]) / 1.1
    np.testing.assert_allclose(true, expected, rtol=1e-12)
    np.testing.assert_allclose(observed, expected + np.diag([0.3, 0.2]), rtol=1e-12)
