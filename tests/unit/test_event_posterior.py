"""Posterior of next year's effect, of events over years, of counts, and bounds over subjects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from resilience.errors import DataError, SpecificationError
from resilience.stats.verdicts.count_posterior import count_posterior
from resilience.stats.verdicts.decisions import (
    critical_reliability,
    joint_posterior,
    power_to_detect,
)
from resilience.stats.verdicts.effect_line import common_variance, variance_off_the_line
from resilience.stats.verdicts.event_posterior import (
    YearModel,
    YearResiduals,
    event_probability,
    frechet_bounds,
    target_joint,
)
from resilience.stats.verdicts.year_variances import year_variances

D = np.array([[0.3, 0.1, 0.5]])
S2 = np.array([[0.01, 0.03, 0.02]])
MODEL = YearModel(persistent=0.09, transient=0.02)


def school(
    q2: float = 0.09, slope: float = 0.4, d: np.ndarray = D, s2: np.ndarray = S2
) -> YearResiduals:
    n = len(d)
    return YearResiduals(
        residual=d,
        sampling_variance=s2,
        years=np.arange(float(d.shape[1])),
        context=np.full(n, -0.6),
        context_variance=np.full(n, q2),
        slope=slope,
    )


def dense(data: YearResiduals, model: YearModel, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (c, target) of the first school from the whole joint matrix."""
    T = data.residual.shape[1]
    t = np.arange(T + 1)
    R = model.lag_correlation ** np.abs(np.subtract.outer(t, t))
    q2, b = data.context_variance[0], data.slope
    # the state: c − a, u, v_1 .. v_{T+1}
    Q = np.zeros((T + 3, T + 3))
    Q[0, 0], Q[1, 1], Q[2:, 2:] = q2, model.persistent, model.transient * R
    H = np.zeros((T, T + 3))
    H[:, 0], H[:, 1] = b, 1.0
    H[:, 2 : T + 2] = np.eye(T)
    seen = ~np.isnan(data.residual[0])
    H, d, s2 = H[seen], data.residual[0][seen], data.sampling_variance[0][seen]
    V = H @ Q @ H.T + np.diag(s2)
    K = Q @ H.T @ np.linalg.inv(V)
    pick = np.zeros((2, T + 3))
    pick[0, 0], pick[1, 1] = 1.0, 1.0
    if target == "next_year":
        pick[1, -1] = 1.0
    mean = pick @ K @ d + np.array([data.context[0], 0.0])
    return mean, pick @ (Q - K @ H @ Q) @ pick.T


@pytest.mark.parametrize("lag", [0.0, 0.6])
@pytest.mark.parametrize("target", ["persistent", "next_year"])
@pytest.mark.parametrize("gap", [False, True])
def test_closed_form_equals_the_dense_matrices(lag: float, target: str, gap: bool) -> None:
    d, s2 = D.copy(), S2.copy()
    if gap:
        d[0, 1] = s2[0, 1] = np.nan
    data = school(d=d, s2=s2)
    model = YearModel(persistent=0.09, transient=0.02, lag_correlation=lag)
    found = target_joint(data, model, target=target, gate=-0.5, bound=0.1)
    mean, covariance = dense(data, model, target)
    # both are exact linear algebra: only rounding is left
    assert found.context_mean[0] == pytest.approx(mean[0], abs=1e-10)
    assert found.mean[0] == pytest.approx(mean[1], abs=1e-10)
    assert found.context_sd[0] ** 2 == pytest.approx(covariance[0, 0], abs=1e-10)
    assert found.sd[0] ** 2 == pytest.approx(covariance[1, 1], abs=1e-10)
    rho = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert found.correlation[0] == pytest.approx(rho, abs=1e-10)
    # the event is {c ≤ g} and {−target < −δ}
    flipped = covariance * np.array([[1, -1], [-1, 1]])
    p = stats.multivariate_normal.cdf([-0.5, -0.1], mean=[mean[0], -mean[1]], cov=flipped)
    assert found.probability[0] == pytest.approx(p, abs=1e-6)  # tolerance of scipy's integration


def test_worked_cases_of_the_method() -> None:
    still = school(q2=0.0, slope=0.0)
    lasting = target_joint(still, MODEL, target="persistent", gate=np.inf, bound=0.1)
    assert lasting.mean[0] == pytest.approx(0.273913, abs=5e-7)  # methods section 4, six decimals
    assert lasting.sd[0] ** 2 == pytest.approx(0.0111801, abs=5e-8)
    coming = target_joint(still, MODEL, target="next_year", gate=np.inf, bound=0.1)
    assert coming.mean[0] == pytest.approx(0.273913, abs=5e-7)
    assert coming.sd[0] ** 2 == pytest.approx(0.0111801 + 0.02, abs=5e-8)
    model = YearModel(persistent=0.09, transient=0.02, lag_correlation=0.6)
    lagged = target_joint(still, model, target="next_year", gate=np.inf, bound=0.1)
    assert lagged.mean[0] == pytest.approx(0.323819, abs=5e-7)
    assert lagged.sd[0] ** 2 == pytest.approx(0.0219054, abs=5e-8)


def test_independent_years_give_the_closed_joint_posterior() -> None:
    data = school()
    found = target_joint(data, MODEL, target="persistent", gate=-0.5, bound=0.1)
    w = 1 / (0.02 + S2[0])
    summary = joint_posterior(
        context=-0.6,
        context_variance=0.09,
        residual=float(w @ D[0] / w.sum()),
        precision=float(w.sum()),
        slope=0.4,
        effect_variance=0.09,
        gate=-0.5,
        bound=0.1,
    )
    for name in ("probability", "policy", "effect"):
        own, other = getattr(found, name)[0], float(getattr(summary, name))
        assert own == pytest.approx(other, abs=1e-10), name


def test_limits_and_permutation() -> None:
    exact = target_joint(school(q2=0.0), MODEL, target="persistent", gate=-0.5, bound=0.1)
    assert exact.probability[0] == pytest.approx(exact.effect[0], abs=1e-12)  # a = −.6 lies inside
    outside = target_joint(school(q2=0.0), MODEL, target="persistent", gate=-0.7, bound=0.1)
    assert outside.probability[0] == 0.0
    nothing = target_joint(
        school(s2=np.full((1, 3), 1e12)), MODEL, target="persistent", gate=-0.5, bound=0.1
    )
    prior = stats.norm.cdf(0.1 / 0.3) * stats.norm.sf(0.1 / 0.3)
    assert nothing.probability[0] == pytest.approx(prior, abs=1e-9)  # s² → ∞ gives the prior
    order = [2, 0, 1]
    same = target_joint(
        school(d=D[:, order], s2=S2[:, order]), MODEL, target="persistent", gate=-0.5, bound=0.1
    )
    plain = target_joint(school(), MODEL, target="persistent", gate=-0.5, bound=0.1)
    assert same.probability[0] == pytest.approx(plain.probability[0], abs=1e-12)
    # joint at least the Fréchet bound and at most each margin
    adverse = stats.norm.cdf((-0.5 - plain.context_mean[0]) / plain.context_sd[0])
    assert max(0, adverse + plain.effect[0] - 1) <= plain.probability[0]
    assert plain.probability[0] <= min(adverse, plain.effect[0])


def test_an_event_of_one_year_is_a_normal_probability() -> None:
    """u + v_T > δ with an exact context: the last year's effect is normal."""
    n = 40_000
    data = school(q2=0.0, slope=0.0)
    p, alone, error = event_probability(
        data, MODEL, gate=0.0, bound=0.2, years_at_least=1, years_of=1, n_draws=n
    )
    V = 0.09 + 0.02 * np.eye(3) + np.diag(S2[0])
    k = 0.09 + 0.02 * np.array([0.0, 0.0, 1.0])
    gain = np.linalg.solve(V, k)
    exact = stats.norm.sf(0.2, gain @ D[0], np.sqrt(0.11 - gain @ k))
    assert p[0] == alone[0]
    assert abs(p[0] - exact) < 4 * np.sqrt(exact * (1 - exact) / n)
    assert error[0] == pytest.approx(np.sqrt(p[0] * (1 - p[0]) / n))


def test_events_are_nested() -> None:
    """The same draws: more years asked for, or the lasting effect too, are rarer events."""
    data = school()
    args = {"gate": -0.5, "bound": 0.15, "years_of": 3, "n_draws": 2000}
    p = [event_probability(data, MODEL, years_at_least=k, **args)[0][0] for k in (1, 2, 3)]
    assert p[0] > p[1] > p[2] > 0
    both = event_probability(data, MODEL, years_at_least=2, persistent_bound=0.15, **args)[0][0]
    assert both < p[1]
    _, _, error = event_probability(data, MODEL, years_at_least=2, **(args | {"n_draws": 4000}))
    assert error[0] <= 0.008  # what the method asks of 4000 draws


def test_joint_event_agrees_with_a_joint_simulation() -> None:
    """Weighting draws of the prior by the likelihood of the data is another way to the answer."""
    rng = np.random.default_rng(5)
    n = 400_000
    c = -0.6 + 0.3 * rng.normal(size=n)
    u = 0.3 * rng.normal(size=n)
    v = np.sqrt(0.02) * rng.normal(size=(n, 3))
    left = D - 0.4 * (c + 0.6)[:, None] - u[:, None] - v
    log = -0.5 * (left**2 / S2).sum(axis=1)
    w = np.exp(log - log.max())
    hit = (c <= -0.5) & ((u[:, None] + v > 0.15).sum(axis=1) >= 2)
    expected = (w * hit).sum() / w.sum()
    effective = w.sum() ** 2 / (w**2).sum()
    p, _, error = event_probability(
        school(), MODEL, gate=-0.5, bound=0.15, years_at_least=2, years_of=3, n_draws=20_000
    )
    noise = np.sqrt(error[0] ** 2 + expected * (1 - expected) / effective)
    assert abs(p[0] - expected) < 4 * noise


def test_counts_give_the_numbers_of_the_method() -> None:
    found = count_posterior(
        [[4, 1, 3]], [[9, 12, 8]], [-1.5, -1.4, -1.6], persistent_sd=0.5, transient_sd=0.3
    )
    assert found.mean[0] == pytest.approx(0.270370, abs=5e-7)  # methods section 4, six decimals
    assert found.sd[0] == pytest.approx(0.345401, abs=5e-7)
    assert found.log_likelihood[0] == pytest.approx(-6.607484, abs=5e-7)
    assert found.probability_above(0.2)[0] == pytest.approx(0.58514, abs=5e-6)


def test_a_school_without_counts_keeps_the_prior() -> None:
    found = count_posterior([[0]], [[0]], [-1.0], persistent_sd=0.5, transient_sd=0.3)
    assert found.mean[0] == pytest.approx(0.0, abs=1e-12)
    assert found.sd[0] == pytest.approx(0.5, abs=1e-6)  # trapezoid within ±6 SD
    assert found.probability_above(0.0)[0] == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(DataError):
        count_posterior([[3]], [[2]], [0.0], persistent_sd=0.5, transient_sd=0.0)
    with pytest.raises(DataError):
        count_posterior([[1]], [[2]], [0.0], persistent_sd=0.0, transient_sd=0.0)


def test_bounds_of_any_and_all() -> None:
    p = np.array([[0.9, 0.8, 0.5], [0.1, 0.2, 0.3]])
    low, high = frechet_bounds(p, 3)
    np.testing.assert_allclose(low, [0.2, 0.0], atol=1e-12)  # max(0, Σp − 2)
    np.testing.assert_allclose(high, [0.5, 0.1], atol=1e-12)
    low, high = frechet_bounds(p, 1)
    np.testing.assert_allclose(low, [0.9, 0.3], atol=1e-12)
    np.testing.assert_allclose(high, [1.0, 0.6], atol=1e-12)
    with pytest.raises(SpecificationError):
        frechet_bounds(p, 4)
    with pytest.raises(DataError):
        frechet_bounds(p + 0.5, 1)


def test_bounds_are_those_of_linear_programming() -> None:
    """Over all joint distributions of three events with these margins."""
    p = np.array([0.7, 0.6, 0.45])
    cells = np.array([[i >> k & 1 for k in range(3)] for i in range(8)], dtype=float)
    for m in (1, 2, 3):
        hit = (cells.sum(axis=1) >= m).astype(float)
        margins = np.vstack([cells.T, np.ones(8)])
        ends = [
            optimize.linprog(s * hit, A_eq=margins, b_eq=[*p, 1.0], bounds=(0, 1)).fun * s
            for s in (1, -1)
        ]
        low, high = frechet_bounds(p[None], m)
        np.testing.assert_allclose([low[0], high[0]], ends, atol=1e-9)


def test_power_and_needs_of_a_year_to_come() -> None:
    common = {"effect_sd": 0.3, "bound": 0.1, "alternative": 0.5, "threshold": 0.7}
    A = 40.0
    trust = 0.09 * A / (1 + 0.09 * A)
    s = np.sqrt(0.09 * (1 - trust) + 0.02)
    z = stats.norm.ppf(0.7)
    by_hand = stats.norm.cdf((trust * 0.5 - 0.1 - z * s) * np.sqrt(A) / trust)
    found = power_to_detect(A, passing=0.02, **common)
    assert float(found) == pytest.approx(by_hand, abs=1e-12)
    critical = float(critical_reliability(passing=0.02, **common))
    gap = critical * 0.5 - 0.1 - z * np.sqrt(0.09 * (1 - critical) + 0.02)
    assert gap == pytest.approx(0.0, abs=1e-12)
    # a year that passes can never be seen with more certainty than its own variance leaves
    assert float(critical_reliability(passing=5.0, **common)) == 1.0


def test_variances_of_years() -> None:
    rng = np.random.default_rng(8)
    n_regions, found = 20, []
    for _ in range(n_regions):
        s2 = rng.uniform(0.01, 0.1, (200, 3))
        d = 0.3 * rng.normal(size=(200, 1)) + np.sqrt(0.02) * rng.normal(size=(200, 3))
        d += np.sqrt(s2) * rng.normal(size=(200, 3)) + np.array([0.0, 0.2, -0.1])
        d[:40, 2] = s2[:40, 2] = np.nan
        found.append(year_variances(d, s2))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(n_regions)
    assert (np.abs(mean - [0.09, 0.02]) < 4 * error).all()
    with pytest.raises(DataError):
        year_variances(d[:, :1], s2[:, :1])


def test_the_variance_off_the_line_is_the_subtraction_where_schools_are_alike() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=60)
    d = 0.4 * a + 0.3 * rng.normal(size=60)
    slope = np.cov(a, d, ddof=0)[0, 1] / a.var()
    off = d - d.mean() - slope * (a - a.mean())
    A, q2 = np.full(60, 50.0), np.full(60, 0.1)
    left = variance_off_the_line(0.3, d, off, A, q2, slope=slope)
    # both variances have closed forms; the search stops within 1e-10 of its span
    assert left == pytest.approx(0.3 - slope**2 * a.var() - slope**2 * 0.1, abs=1e-7)
    assert common_variance(d, 1 / A) == pytest.approx(d.var() - 0.02, abs=1e-7)
    assert variance_off_the_line(0.01, d, off, A, q2, slope=slope) == 0.0
