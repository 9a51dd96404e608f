"""Cells of marks: values and derivatives to the third order against complex steps and differences.

The chain: the value against the formula written out; its gradient against complex steps of that
formula, exact to rounding; Hessian and third derivatives against fourth-order central differences
of the derivative before, whose own error is about 1e-10.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from resilience.stats.marks.ordinal_cells import (
    FAR,
    cell_terms,
    cell_values,
    contracted_third,
    mark_information,
    mark_probabilities,
    shared_covariance,
)

RELATIVE = 1e-6  # the project's bound; the differences above are good to 1e-9 and better


def cells(n_marks: int, *, seed: int = 0, m: int = 40):
    rng = np.random.default_rng(seed)
    zeta = np.sort(rng.normal(scale=1.3, size=(m, n_marks - 1)), axis=1)
    zeta += 0.2 * np.arange(n_marks - 1)  # apart, so that differences can resolve them
    counts = rng.poisson(2.0, size=(m, n_marks)).astype(float)
    counts[0] = 0.0
    counts[1, 1:] = 0.0
    counts[2, :-1] = 0.0
    return zeta, counts * rng.uniform(0.5, 2.0, size=(m, 1)), 0.3 * rng.normal(size=m)


def written_out(local: np.ndarray, counts: np.ndarray, spread: bool) -> np.ndarray:
    """Return −ℓ for real or complex local variables."""
    k = counts.shape[1] - 1
    b = local[:, :k] * (np.exp(-local[:, k:]) if spread else 1.0)
    zero, one = np.zeros((len(b), 1)), np.ones((len(b), 1))
    below = np.concatenate([zero, special.ndtr(b), one], axis=1)
    above = np.concatenate([one, special.ndtr(-b), zero], axis=1)
    # complex steps need a difference that does not cancel: from above where above is small
    shares = np.where(above[:, :-1].real < 0.5, -np.diff(above, axis=1), np.diff(below, axis=1))
    return -(counts * np.log(np.where(counts > 0, shares, 1.0))).sum(axis=1)


def terms_of(local: np.ndarray, counts: np.ndarray, spread: bool):
    k = counts.shape[1] - 1
    return cell_terms(local[:, :k], counts, log_spread=local[:, k] if spread else None)


def fourth_order(function, local: np.ndarray, step: float = 2e-3) -> np.ndarray:
    """Return derivatives of function(local) in each local variable, last axis."""
    columns = []
    for e in np.eye(local.shape[1]):
        near = function(local + step * e) - function(local - step * e)
        far = function(local + 2 * step * e) - function(local - 2 * step * e)
        columns.append((8.0 * near - far) / (12.0 * step))
    return np.stack(columns, axis=-1)


def agrees(found: np.ndarray, wanted: np.ndarray, relative: float = RELATIVE) -> None:
    """Compare relative to the largest entry of each cell: single entries may vanish."""
    axes = tuple(range(1, found.ndim))
    size = np.abs(wanted).max(axis=axes, keepdims=True)
    excess = np.abs(found - wanted) - relative * size
    assert excess.max() < 1e-12


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("n_marks", [2, 3, 4, 6])
def test_derivatives_to_the_third_order(n_marks, spread):
    zeta, counts, s = cells(n_marks)
    local = np.column_stack([zeta, s]) if spread else zeta
    found = terms_of(local, counts, spread)
    agrees(found.value[:, None], written_out(local, counts, spread)[:, None], 1e-13)
    steps = [
        written_out(local + 1e-20j * e, counts, spread).imag / 1e-20 for e in np.eye(local.shape[1])
    ]
    agrees(found.gradient, np.stack(steps, axis=1), 1e-12)
    agrees(found.hessian, fourth_order(lambda x: terms_of(x, counts, spread).gradient, local))
    rng = np.random.default_rng(5)
    A = rng.normal(size=(len(local), local.shape[1], local.shape[1]))
    covariance = A @ A.transpose(0, 2, 1)
    wanted = fourth_order(
        lambda x: (terms_of(x, counts, spread).hessian * covariance).sum(axis=(1, 2)), local
    )
    third = contracted_third(zeta, counts, covariance, log_spread=s if spread else None)
    agrees(third, wanted)


@pytest.mark.parametrize("spread", [False, True])
def test_values_alone_are_those_with_derivatives(spread):
    zeta, counts, s = cells(4)
    zeta[3:6] += np.array([[6.0], [-6.0], [9.0]])  # far from the thresholds
    log_spread = s if spread else None
    nothing = np.zeros(len(zeta))
    value = cell_values(zeta, counts, log_spread=log_spread, mean=nothing, precision=nothing)
    np.testing.assert_allclose(
        value, cell_terms(zeta, counts, log_spread=log_spread).value, rtol=1e-7, atol=1e-12
    )


def test_a_mean_adds_a_parabola_and_no_third_derivative():
    zeta = np.array([[0.3, FAR, FAR], [-0.7, FAR, FAR]])
    counts = np.zeros((2, 4))
    mean, precision = np.array([0.1, 1.2]), np.array([4.0, 9.0])
    found = cell_terms(zeta, counts, mean=mean, precision=precision)
    np.testing.assert_allclose(found.value, [0.5 * 4 * 0.4**2, 0.5 * 9 * 0.5**2], rtol=1e-14)
    np.testing.assert_allclose(found.gradient[:, 0], [4 * 0.4, 9 * 0.5], rtol=1e-14)
    np.testing.assert_array_equal(found.hessian[:, 0, 0], precision)
    assert not contracted_third(zeta, counts, np.tile(np.eye(3), (2, 1, 1))).any()


def test_all_pupils_at_one_end_follow_the_tail_of_the_normal():
    # ln Φ has an expansion of its own far out: scipy's log_ndtr knows it, the engine must agree
    b = np.array([-30.0, -12.0, -5.0, 0.0, 3.0])
    zeta = np.column_stack([b, b + 1.0, b + 2.0])
    lowest = np.tile([7.0, 0.0, 0.0, 0.0], (5, 1))
    found = cell_terms(zeta, lowest)
    np.testing.assert_allclose(found.value, -7.0 * special.log_ndtr(b), rtol=1e-12)
    hazard = np.exp(-0.5 * b**2 - special.log_ndtr(b)) / np.sqrt(2.0 * np.pi)
    np.testing.assert_allclose(found.gradient[:, 0], -7.0 * hazard, rtol=1e-11)
    np.testing.assert_allclose(found.hessian[:, 0, 0], 7.0 * hazard * (b + hazard), rtol=1e-9)
    assert not found.gradient[:, 1:].any()
    mirrored = cell_terms(-zeta[:, ::-1], lowest[:, ::-1])
    np.testing.assert_allclose(mirrored.value, found.value, rtol=1e-12)
    np.testing.assert_allclose(mirrored.gradient, -found.gradient[:, ::-1], rtol=1e-11)
    np.testing.assert_allclose(mirrored.hessian, found.hessian[:, ::-1, ::-1], rtol=1e-9)


def test_a_mark_between_two_far_thresholds():
    # Φ(9) − Φ(8) cancels to nothing; Φ(−8) − Φ(−9) does not
    counts = np.array([[0.0, 3.0, 0.0]])
    up = cell_terms(np.array([[8.0, 9.0]]), counts)
    down = cell_terms(np.array([[-9.0, -8.0]]), counts)
    exact = -3.0 * np.log(special.ndtr(-8.0) - special.ndtr(-9.0))
    assert up.value[0] == pytest.approx(exact, rel=1e-12)
    assert down.value[0] == pytest.approx(exact, rel=1e-12)
    np.testing.assert_allclose(up.gradient, -down.gradient[:, ::-1], rtol=1e-12)
    nothing = np.zeros(1)
    alone = cell_values(np.array([[8.0, 9.0]]), counts, mean=nothing, precision=nothing)
    assert alone[0] == pytest.approx(exact, rel=1e-12)


def test_beyond_double_precision_everything_stays_finite():
    zeta = np.array([[-45.0, -44.0, 50.0], [FAR, FAR, FAR], [-FAR, -FAR, -FAR]])
    counts = np.full((3, 4), 2.0)
    found = cell_terms(zeta, counts)
    covariance = np.tile(np.eye(3), (3, 1, 1))
    for part in (
        found.value,
        found.gradient,
        found.hessian,
        contracted_third(zeta, counts, covariance),
        mark_information(zeta),
    ):
        assert np.isfinite(part).all()


def test_infinite_thresholds_leave_the_model_of_fewer_marks():
    zeta, counts, s = cells(3)
    m = len(zeta)
    low, high = np.full((m, 1), -FAR), np.full((m, 1), FAR)
    wide = np.concatenate([low, zeta, high], axis=1)
    padded = np.concatenate([np.zeros((m, 1)), counts, np.zeros((m, 1))], axis=1)
    for log_spread in (None, s):
        few = cell_terms(zeta, counts, log_spread=log_spread)
        many = cell_terms(wide, padded, log_spread=log_spread)
        np.testing.assert_allclose(many.value, few.value, rtol=1e-14)
        np.testing.assert_allclose(many.gradient[:, 1:3], few.gradient[:, :2], rtol=1e-13)
        # 60 SD e^(−s) away the density is below 1e-100
        assert np.abs(many.gradient[:, [0, 3]]).max() < 1e-100
        np.testing.assert_allclose(many.hessian[:, 1:3, 1:3], few.hessian[:, :2, :2], rtol=1e-12)
        assert np.abs(many.hessian[:, [0, 3]]).max() < 1e-100
    np.testing.assert_allclose(mark_probabilities(wide)[:, 1:4], mark_probabilities(zeta))
    np.testing.assert_allclose(mark_information(wide), mark_information(zeta), rtol=1e-12)


def test_tied_thresholds_of_a_mark_that_nobody_got_merge_two_marks():
    zeta, counts, _ = cells(3)
    tied = zeta[:, [0, 1, 1]]
    padded = np.concatenate([counts[:, :2], np.zeros((len(zeta), 1)), counts[:, 2:]], axis=1)
    few, many = cell_terms(zeta, counts), cell_terms(tied, padded)
    np.testing.assert_allclose(many.value, few.value, rtol=1e-14)
    # the two places hold one threshold: its slope is the sum of both, its curvature of all four
    np.testing.assert_allclose(many.gradient[:, 1:].sum(axis=1), few.gradient[:, 1], rtol=1e-12)
    np.testing.assert_allclose(
        many.hessian[:, 1:, 1:].sum(axis=(1, 2)), few.hessian[:, 1, 1], rtol=1e-11, atol=1e-12
    )
    S = np.array([[0.5, 0.2], [0.2, 0.7]])
    lift = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    third = contracted_third(tied, padded, np.tile(lift @ S @ lift.T, (len(tied), 1, 1))) @ lift
    wanted = contracted_third(zeta, counts, np.tile(S, (len(tied), 1, 1)))
    np.testing.assert_allclose(third, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("correlation", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("cuts", [[-1.2, 0.1, 1.1], [-1.2], [0.0], [-2.0, -1.0, 0.3, 0.5, 1.9]])
def test_marks_of_one_pupil_covary_as_cells_of_the_bivariate_normal(cuts, correlation):
    # the score of a mark is the mean latent result of those who got it
    edge = np.array([-8.5, *cuts, 8.5])
    share = np.diff(special.ndtr(edge))
    score = -np.diff(stats.norm.pdf(edge)) / share
    normal = stats.multivariate_normal(cov=[[1.0, correlation], [correlation, 1.0]])
    below = np.array([[normal.cdf([a, b]) for b in edge] for a in edge])
    together = np.diff(np.diff(below, axis=0), axis=1)
    wanted = score @ together @ score / (share @ score**2) ** 2
    # scipy's bivariate distribution function is good to 1e-5 of a probability
    found = shared_covariance(np.array([cuts]), correlation)[0]
    assert found == pytest.approx(wanted, rel=2e-4)
    assert found > correlation  # the coarser the marks, the more alike their errors


def test_scores_share_their_correlation():
    fine = stats.norm.ppf(np.arange(1, 400) / 400)[None]
    assert shared_covariance(fine, 0.5)[0] == pytest.approx(0.5, abs=1e-3)
    assert shared_covariance(fine, 0.0)[0] == pytest.approx(0.0, abs=1e-12)
