"""From posteriors to decisions: worked numbers of methods/detection.md and dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from resilience.errors import DataError, SpecificationError
from resilience.stats.prediction.states import next_year_posterior, persistent_posterior
from resilience.stats.verdicts.decisions import (
    LossRule,
    critical_reliability,
    exceedance_probability,
    joint_posterior,
    list_fdr,
    power_to_detect,
    pupils_needed,
    years_needed,
)

Z75, Z90 = stats.norm.ppf([0.75, 0.9])

# The worked case of section 4.
CASE = {
    "context": -0.6,
    "context_variance": 0.09,
    "residual": 0.35,
    "precision": 50.0,
    "slope": 0.4,
    "effect_variance": 0.09,
    "gate": -0.5,
    "bound": 0.1,
}


def dense_state(
    d: np.ndarray, s2: np.ndarray, var_u: float, var_v: float, rho: float
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of (u, v_1..v_T, v_{T+1}) by plain matrices."""
    T = len(d)
    lags = np.abs(np.subtract.outer(np.arange(T + 1), np.arange(T + 1)))
    Q = np.zeros((T + 2, T + 2))
    Q[0, 0] = var_u
    Q[1:, 1:] = var_v * (rho**lags if rho else np.eye(T + 1))
    H = np.hstack([np.ones((T, 1)), np.eye(T), np.zeros((T, 1))])
    V = H @ Q @ H.T + np.diag(s2)
    gain = Q @ H.T @ np.linalg.inv(V)
    return gain @ d, Q - gain @ H @ Q


D, S2 = np.array([0.3, 0.1, 0.5]), np.array([0.01, 0.03, 0.02])


def test_persistent_effect_of_the_worked_case() -> None:
    found = persistent_posterior(D, S2, persistent=0.09, transient=0.02)
    assert found.mean == pytest.approx(0.273913, abs=5e-7)
    assert found.variance == pytest.approx(0.0111801, abs=5e-8)
    assert found.reliability == pytest.approx(1 - 0.0111801 / 0.09, abs=1e-6)


def test_next_year_of_the_worked_case() -> None:
    plain = next_year_posterior(D, S2, persistent=0.09, transient=0.02)
    assert plain.mean == pytest.approx(0.273913, abs=5e-7)
    assert plain.variance == pytest.approx(0.0111801 + 0.02, abs=5e-8)
    lagged = next_year_posterior(D, S2, persistent=0.09, transient=0.02, lag_correlation=0.6)
    assert lagged.mean == pytest.approx(0.323819, abs=5e-7)
    assert lagged.variance == pytest.approx(0.0219054, abs=5e-8)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
def test_dense_matrices_equal_the_closed_forms(rho: float) -> None:
    rng = np.random.default_rng(3)
    for T in (1, 2, 5):
        d, s2 = rng.normal(size=T), rng.uniform(0.01, 0.3, T)
        mean, cov = dense_state(d, s2, 0.08, 0.05, rho)
        later = next_year_posterior(d, s2, persistent=0.08, transient=0.05, lag_correlation=rho)
        assert later.mean == pytest.approx(mean[0] + mean[-1], abs=1e-10)
        ends = np.zeros(T + 2)
        ends[[0, -1]] = 1
        assert later.variance == pytest.approx(ends @ cov @ ends, abs=1e-10)
        if rho == 0:
            now = persistent_posterior(d, s2, persistent=0.08, transient=0.05)
            assert now.mean == pytest.approx(mean[0], abs=1e-10)
            assert now.variance == pytest.approx(cov[0, 0], abs=1e-10)


def test_the_order_of_years_does_not_matter() -> None:
    one = persistent_posterior(D, S2, persistent=0.09, transient=0.02)
    other = persistent_posterior(D[::-1], S2[::-1], persistent=0.09, transient=0.02)
    assert (one.mean, one.variance) == pytest.approx((other.mean, other.variance), abs=1e-15)


def test_no_information_gives_the_prior() -> None:
    found = persistent_posterior(D, np.full(3, 1e12), persistent=0.09, transient=0.02)
    assert found.mean == pytest.approx(0, abs=1e-9)
    assert found.variance == pytest.approx(0.09, abs=1e-9)


def test_states_refuse_impossible_variances() -> None:
    with pytest.raises(DataError, match="variance"):
        persistent_posterior(D, np.array([0.1, -0.1, 0.1]), persistent=0.09, transient=0.02)
    with pytest.raises(DataError, match="variance"):
        persistent_posterior(D, S2, persistent=-0.09, transient=0.02)


def test_joint_posterior_of_the_worked_case() -> None:
    found = joint_posterior(**CASE)
    assert float(found.context_mean) == pytest.approx(-0.49871, abs=5e-6)
    assert float(found.context_sd) == pytest.approx(0.28210, abs=5e-6)
    assert float(found.effect_mean) == pytest.approx(0.25322, abs=5e-6)
    assert float(found.effect_sd) == pytest.approx(0.15776, abs=5e-6)
    assert -float(found.correlation) == pytest.approx(0.58523, abs=5e-6)
    assert float(found.probability) == pytest.approx(0.47339, abs=5e-6)
    assert float(found.policy) == pytest.approx(0.60446, abs=5e-6)


def test_joint_posterior_by_brute_force_over_the_prior() -> None:
    """Bayes by quadrature over context, effect by conditioning: no formula of the module."""
    a, q, g, b, d = -0.6, 0.3, -0.5, 0.4, 0.35
    var_u, A, delta = 0.09, 50.0, 0.1

    def given_context(c: float) -> tuple[float, float]:
        own = d - b * (c - a)  # = u + noise
        total = var_u + 1 / A
        density = stats.norm.pdf(c, a, q) * stats.norm.pdf(own, 0, np.sqrt(total))
        mean, sd = var_u * own / total, np.sqrt(var_u / A / total)
        return density, density * special.ndtr((mean - delta) / sd)

    inside, _ = integrate.quad(lambda c: given_context(c)[1], a - 9 * q, g, epsabs=1e-14)
    total, _ = integrate.quad(lambda c: given_context(c)[0], a - 9 * q, a + 9 * q, epsabs=1e-14)
    assert float(joint_posterior(**CASE).probability) == pytest.approx(inside / total, abs=1e-11)
    policy, _ = integrate.quad(
        lambda c: stats.norm.pdf(c, a, q) * given_context(c)[1] / given_context(c)[0],
        a - 9 * q,
        g,
        epsabs=1e-14,
    )
    assert float(joint_posterior(**CASE).policy) == pytest.approx(policy, abs=1e-11)


def test_an_index_without_error_gates_exactly() -> None:
    case = CASE | {"context": np.array([-0.6, -0.5, -0.4]), "context_variance": 0.0}
    found = joint_posterior(**case)
    s2 = 0.09 / (1 + 0.09 * 50)
    effect = special.ndtr((0.09 * 50 / (1 + 0.09 * 50) * 0.35 - 0.1) / np.sqrt(s2))
    np.testing.assert_allclose(found.probability, [effect, effect, 0.0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.policy, found.probability, rtol=0, atol=1e-14)


def test_the_joint_probability_keeps_its_bounds() -> None:
    rng = np.random.default_rng(8)
    n = 400
    found = joint_posterior(
        context=rng.normal(size=n),
        context_variance=rng.uniform(0, 0.5, n),
        residual=rng.normal(size=n) * 0.4,
        precision=rng.uniform(2, 200, n),
        slope=0.4,
        effect_variance=0.09,
        gate=-0.6,
        bound=0.2,
    )
    p, c, u = found.probability, found.adverse, found.effect
    assert (p >= np.maximum(0, c + u - 1) - 1e-12).all()
    assert (p <= np.minimum(c, u) + 1e-12).all()


def test_no_data_give_the_prior_and_perfect_data_the_truth() -> None:
    vague = joint_posterior(**(CASE | {"precision": 1e-12}))
    assert float(vague.effect) == pytest.approx(special.ndtr(-0.1 / 0.3), abs=1e-6)
    exact = joint_posterior(**(CASE | {"precision": 1e12, "context_variance": 0.0}))
    assert float(exact.effect_mean) == pytest.approx(0.35, abs=1e-9)


def test_exceedance_without_uncertainty_is_a_comparison() -> None:
    found = exceedance_probability(np.array([0.2, 0.1, 0.0]), np.zeros(3), 0.1)
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_thresholds_from_losses() -> None:
    donor, support = (
        LossRule(false_positive=4, false_negative=1),
        LossRule(false_positive=1, false_negative=2),
    )
    assert donor.threshold == 0.8
    assert support.threshold == pytest.approx(1 / 3, abs=1e-16)
    assert donor.expected_loss([0.9, 0.2]).tolist() == pytest.approx([0.4, 0.2])
    for rule in (donor, support):  # at the threshold both answers cost the same
        p = rule.threshold
        assert rule.false_positive * (1 - p) == pytest.approx(rule.false_negative * p)


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan"), float("inf")])
def test_losses_must_be_positive(loss: float) -> None:
    with pytest.raises(SpecificationError, match="above 0"):
        LossRule(false_positive=loss, false_negative=1)


def test_power_of_the_worked_case() -> None:
    # section 5: one year, σ_e²/σ_u² = 6.14, n = 26
    power = power_to_detect(26 / 6.14, effect_sd=1.0, bound=Z75, alternative=Z90, threshold=0.8)
    assert float(power) == pytest.approx(0.494, abs=5e-4)


def test_power_against_draws() -> None:
    rng = np.random.default_rng(4)
    A, sd = 60.0, 0.3
    d = Z90 * sd + rng.normal(size=400_000) / np.sqrt(A)
    reliability = sd**2 * A / (1 + sd**2 * A)
    s = sd * np.sqrt(1 - reliability)
    passed = exceedance_probability(reliability * d, np.full(d.shape, s), Z75 * sd) >= 0.8
    power = float(
        power_to_detect(A, effect_sd=sd, bound=Z75 * sd, alternative=Z90 * sd, threshold=0.8)
    )
    assert power == pytest.approx(passed.mean(), abs=3 * 0.5 / np.sqrt(d.size))


@pytest.mark.parametrize(("threshold", "printed"), [(0.8, 0.8115), (1 / 3, 0.2317)])
def test_critical_reliability_as_printed(threshold: float, printed: float) -> None:
    found = critical_reliability(
        effect_sd=0.3, bound=Z75 * 0.3, alternative=Z90 * 0.3, threshold=threshold
    )
    assert float(found) == pytest.approx(printed, abs=5e-5)


def test_critical_reliability_solves_its_equation() -> None:
    for threshold in (0.2, 1 / 3, 0.5, 0.8, 0.95):
        found = float(
            critical_reliability(
                effect_sd=0.4, bound=Z75 * 0.4, alternative=Z90 * 0.4, threshold=threshold
            )
        )
        z = stats.norm.ppf(threshold)

        def gap(x: float, z: float = z) -> float:
            return x * Z90 - Z75 - z * np.sqrt(1 - x)

        if gap(0) >= 0:
            assert found == 0.0  # without data the prior says yes already
        else:
            assert found == pytest.approx(optimize.brentq(gap, 0, 1, xtol=1e-14), abs=1e-10)


def test_critical_reliability_ends() -> None:
    never = critical_reliability(effect_sd=0.1, bound=0.2, alternative=0.1281, threshold=0.8)
    assert float(never) == 1.0
    several = critical_reliability(
        effect_sd=0.3, bound=Z75 * 0.3, alternative=Z90 * 0.3, threshold=np.array([1 / 3, 0.8])
    )
    np.testing.assert_allclose(several, [0.2317, 0.8115], atol=5e-5)


def test_what_is_needed_at_the_variances_of_the_london_data() -> None:
    # Exam, ML, intercept and LRT: σ_u² .09213, σ_e² .56573
    sd = np.sqrt(0.09213)
    critical = critical_reliability(
        effect_sd=sd, bound=Z75 * sd, alternative=Z90 * sd, threshold=0.8
    )
    common = {"effect_sd": sd, "pupil_variance": 0.56573}
    assert float(pupils_needed(critical, transient_variance=0.0, **common)) == pytest.approx(
        26.4, abs=0.05
    )
    for transient, n, printed in ((0.0, 5, 5.29), (0.03, 5, 6.69)):
        years = years_needed(critical, transient_variance=transient, n_per_year=n, **common)
        assert float(years) == pytest.approx(printed, abs=0.005)
    thirty = [
        int(np.ceil(years_needed(critical, transient_variance=t, n_per_year=30, **common)))
        for t in (0.0, 0.03)
    ]
    assert thirty == [1, 3]


def test_one_year_cannot_outweigh_a_large_transient_part() -> None:
    sd = np.sqrt(0.09213)
    critical = critical_reliability(
        effect_sd=sd, bound=Z75 * sd, alternative=Z90 * sd, threshold=0.8
    )
    found = pupils_needed(critical, effect_sd=sd, transient_variance=0.05, pupil_variance=0.56573)
    assert float(found) == np.inf


def test_fdr_of_a_list_by_hand() -> None:
    p = np.array([0.5, 0.9, 0.8, 0.8, 0.99])
    # sorted .99 .9 .8 .8 .5: running means of 1 − P .01 .055 .1033 .1275 .202; a tie takes its end
    np.testing.assert_allclose(list_fdr(p), [0.202, 0.055, 0.1275, 0.1275, 0.01], atol=1e-12)


def test_fdr_grows_along_the_list() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(0.4, 1.0, 300).round(2)  # with ties
    fdr = list_fdr(p)
    order = np.argsort(-p, kind="stable")
    assert (np.diff(fdr[order]) >= -1e-12).all()
    for level in (0.05, 0.1, 0.2):
        inside = fdr <= level
        assert not inside.any() or (1 - p[inside]).mean() <= level + 1e-12
        assert not inside.any() or p[inside].min() > p[~inside].max()  # ties all in or all out
    assert list_fdr(np.array([])).size == 0
