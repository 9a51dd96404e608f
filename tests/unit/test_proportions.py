"""Share rules by whole numbers, Wilson's interval, and the beta posterior of a share."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate, stats

from resilience.stats.proportions import (
    BetaPrior,
    as_fraction,
    fit_beta_prior,
    next_low_probability,
    probability_share_at_least,
    share_at_least,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("n", "f", "low"),
    [(10, 3, True), (10, 2, False), (20, 6, True), (9, 9, True), (3, 1, True), (7, 2, False)],
)
def test_the_federal_share_is_compared_exactly(n: int, f: int, low: bool) -> None:
    assert bool(share_at_least(f, n, 0.30)) is low


def test_exact_where_floating_point_is_not() -> None:
    # every cell whose share is exactly .30 is low, whatever 0.3 * n gives in floating point
    n = np.arange(10, 2010, 10)
    assert share_at_least(3 * n // 10, n, 0.3).all()
    assert not share_at_least(3 * n // 10 - 1, n, 0.3).any()
    assert (0.1 * 3 * n != 3 * n / 10).any()  # the comparison that a float would have got wrong


def test_all_cells_up_to_forty_agree_with_fractions() -> None:
    for n, share in itertools.product(range(1, 41), ("0.30", "0.25", "0.1")):
        f = np.arange(n + 1)
        expected = [Fraction(int(k), n) >= Fraction(share) for k in f]
        assert share_at_least(f, n, share).tolist() == expected


def test_nobody_sat_is_not_low() -> None:
    assert not bool(share_at_least(0, 0, 0.3))


def test_a_threshold_is_read_as_written() -> None:
    assert as_fraction(0.3) == Fraction(3, 10)
    assert as_fraction("0.35") == Fraction(7, 20)
    assert as_fraction(Fraction(1, 3)) == Fraction(1, 3)


@pytest.mark.parametrize(
    ("f", "n", "low", "high"),
    [
        (3, 10, 0.1078, 0.6032),
        (40, 100, 0.3094, 0.4980),
        (30, 100, 0.2189, 0.3958),
        (1, 9, 0.0199, 0.4350),
        (2, 3, 0.2077, 0.9385),
    ],
)
def test_wilson_as_the_domain_prints_it(f: int, n: int, low: float, high: float) -> None:
    found = wilson_interval(f, n)
    assert float(found[0]) == pytest.approx(low, abs=5e-5)  # four decimal places are printed
    assert float(found[1]) == pytest.approx(high, abs=5e-5)


def test_wilson_solves_its_equation_and_handles_the_ends() -> None:
    f, n = np.array([0, 5, 20, 0]), np.array([20, 20, 20, 0])
    low, high = wilson_interval(f, n)
    z = stats.norm.ppf(0.975)
    for p in (low[1], high[1]):  # (p̂ − p)² = z² p(1 − p)/n defines both limits
        assert (f[1] / n[1] - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / n[1], rel=1e-12)
    assert low[0] == 0.0
    assert high[2] == 1.0
    assert (low[3], high[3]) == (0.0, 1.0)  # nobody sat: nothing is known


def test_worked_case_of_the_specification() -> None:
    prior = BetaPrior(alpha=3, beta=17)
    assert float(probability_share_at_least(4, 10, 0.3, prior)) == pytest.approx(0.18796, abs=5e-6)
    assert float(next_low_probability(4, 10, 10, 0.3, prior)) == pytest.approx(0.41877, abs=5e-6)


def test_beta_posterior_by_brute_force() -> None:
    def weight(p: float) -> float:
        return p**2 * (1 - p) ** 16 * p**4 * (1 - p) ** 6

    above, _ = integrate.quad(weight, 0.3, 1)
    total, _ = integrate.quad(weight, 0, 1)
    found = float(probability_share_at_least(4, 10, 0.3, BetaPrior(alpha=3, beta=17)))
    assert found == pytest.approx(above / total, rel=1e-9)


def test_next_year_by_brute_force() -> None:
    prior = BetaPrior(alpha=2.5, beta=11.0)
    posterior = stats.beta(2.5 + 3, 11.0 + 9)
    for n_next in (5, 11, 20):
        least = -(-3 * n_next // 10)  # the smallest number of fails that is at least 30 %
        by_hand, _ = integrate.quad(
            lambda p, m=n_next, k=least: posterior.pdf(p) * stats.binom.sf(k - 1, m, p), 0, 1
        )
        found = float(next_low_probability(3, 12, n_next, "0.30", prior))
        assert found == pytest.approx(by_hand, rel=1e-8)


@pytest.mark.parametrize(
    ("n", "p", "printed"),
    [(10, 0.15, 0.1798), (10, 0.20, 0.3222), (20, 0.20, 0.1958), (5, 0.15, 0.1648)],
)
def test_how_often_chance_alone_makes_a_procedure_low(n: int, p: float, printed: float) -> None:
    f = np.arange(n + 1)
    chance = stats.binom.pmf(f, n, p)[share_at_least(f, n, 0.30)].sum()
    assert chance == pytest.approx(printed, abs=5e-5)


def test_the_prior_maximises_the_likelihood() -> None:
    rng = np.random.default_rng(5)
    n = rng.integers(5, 60, 150)
    f = rng.binomial(n, rng.beta(3, 17, 150))
    prior = fit_beta_prior(f, n)

    def log_likelihood(alpha: float, beta: float) -> float:
        return float(stats.betabinom.logpmf(f, n, alpha, beta).sum())

    best = log_likelihood(prior.alpha, prior.beta)
    for factor_a, factor_b in itertools.product((0.98, 1.0, 1.02), repeat=2):
        assert best >= log_likelihood(prior.alpha * factor_a, prior.beta * factor_b) - 1e-7


def test_the_prior_recovers_its_truth() -> None:
    rng = np.random.default_rng(17)
    n = rng.integers(5, 120, 6000)
    prior = fit_beta_prior(rng.binomial(n, rng.beta(3, 17, 6000)), n)
    # asymptotic standard errors at this size: about .001 of the mean and .6 of alpha + beta
    assert prior.mean == pytest.approx(0.15, abs=0.004)
    assert prior.alpha + prior.beta == pytest.approx(20, abs=2.5)


def test_five_pupils_lean_on_the_region() -> None:
    prior = BetaPrior(alpha=3, beta=17)
    five, fifty = (float(probability_share_at_least(2 * k, 5 * k, 0.3, prior)) for k in (1, 10))
    assert 0.1 < five < 1 / 3 < fifty  # two of five is weak evidence, twenty of fifty is not


def test_schools_that_do_not_differ_get_a_tight_prior() -> None:
    prior = fit_beta_prior(np.full(40, 4), np.full(40, 20))
    assert prior.mean == pytest.approx(0.2, abs=1e-3)
    assert prior.alpha + prior.beta > 5000


def test_schools_without_participants_do_not_matter() -> None:
    f, n = np.array([1, 4, 2, 6]), np.array([10, 12, 15, 20])
    own = fit_beta_prior(f, n)
    padded = fit_beta_prior(np.append(f, [0, 0]), np.append(n, [0, 0]))
    assert (own.alpha, own.beta) == (padded.alpha, padded.beta)
