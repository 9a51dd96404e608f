"""The federal rule in closed form: published figures, unequal sizes by brute force, bad input."""

import itertools

import numpy as np
import pytest
from scipy import stats

import resilience as rs
from resilience.stats.lists.rule_chance import (
    federal_rule_probabilities,
    least_failing,
    low_probability,
    resilient_share,
)

# Methodology of the rule simulator: m procedures, true rate -> by size (A and B, A or B).
TABLE = {
    (10, 0.15): {5: (0.19, 0.56), 8: (0.06, 0.32), 20: (0.02, 0.17), 40: (0.0, 0.01), 80: (0, 0)},
    (10, 0.20): {
        5: (0.47, 0.83),
        8: (0.29, 0.69),
        20: (0.27, 0.67),
        40: (0.04, 0.25),
        80: (0.001, 0.02),
    },
    (4, 0.15): {
        5: (0.04, 0.19),
        8: (0.01, 0.09),
        20: (0.003, 0.04),
        40: (0.0, 0.001),
        80: (0.0, 0.0),
    },
}
CELLS = [(m, rate, n) for (m, rate), row in TABLE.items() for n in row]


def digits(shown: float) -> float:
    """Return half a unit of the last digit printed."""
    return 0.0005 if 0 < shown < 0.01 else 0.005


@pytest.mark.parametrize(("m", "rate", "n"), CELLS)
def test_the_table_of_sizes(m, rate, n):
    both, either = TABLE[m, rate][n]
    chance = federal_rule_probabilities(np.full(m, n), rate)
    assert abs(float(chance.both) - both) <= digits(both)
    assert abs(float(chance.either) - either) <= digits(either)


def test_exact_figures():
    chance = federal_rule_probabilities([5] * 10, 0.20)
    assert round(float(chance.both), 4) == 0.4665
    assert round(float(chance.either), 4) == 0.8279


def test_one_procedure_is_an_exact_binomial_tail():
    found = low_probability([10, 10, 20, 5], [0.15, 0.20, 0.20, 0.15])
    assert np.round(found, 4).tolist() == [0.1798, 0.3222, 0.1958, 0.1648]


def test_the_bound_is_compared_in_whole_numbers():
    assert least_failing([10, 11, 20, 0, 1, 9]).tolist() == [3, 4, 6, 0, 1, 3]
    assert low_probability(10, 0.2) > low_probability(11, 0.2)  # the saw-tooth of the ceiling


def test_a_procedure_nobody_sits_is_never_low():
    alone = federal_rule_probabilities([12, 12], [0.3, 0.3])
    more = federal_rule_probabilities([12, 0, 12], [0.3, 0.9, 0.3])
    assert float(alone.either) == pytest.approx(float(more.either), abs=1e-15)
    guarded = federal_rule_probabilities([12, 9, 12], [0.3, 0.9, 0.3], min_participants=10)
    assert float(guarded.both) == pytest.approx(float(alone.both), abs=1e-15)


def test_rate_at_the_ends():
    assert low_probability([4, 4], [0.0, 1.0]).tolist() == [0.0, 1.0]
    sure = federal_rule_probabilities([4, 4], 1.0)
    assert float(sure.both) == float(sure.either) == 1.0
    never = federal_rule_probabilities([4, 4], 0.0)
    assert float(never.either) == 0.0


@pytest.mark.parametrize("needed", [1, 2, 3])
def test_unequal_procedures_against_every_outcome(needed):
    """Sum over all low / not low patterns of both years."""
    now, before = np.array([5, 12, 30, 7]), np.array([6, 12, 28, 9])
    rate, rate_before = np.array([0.2, 0.25, 0.28, 0.4]), np.array([0.3, 0.2, 0.31, 0.1])
    a = [stats.binom.sf(-(-3 * n // 10) - 1, n, p) for n, p in zip(now, rate, strict=True)]
    b = [
        stats.binom.sf(-(-3 * n // 10) - 1, n, p) for n, p in zip(before, rate_before, strict=True)
    ]
    both = either = two = same = 0.0
    for low in itertools.product((0, 1), repeat=8):
        chance = np.prod([p if x else 1 - p for p, x in zip(a + b, low, strict=True)])
        first = sum(low[:4]) >= needed
        second = any(x and y for x, y in zip(low[:4], low[4:], strict=True))
        two += chance * first
        same += chance * second
        both += chance * (first and second)
        either += chance * (first or second)
    found = federal_rule_probabilities(
        now, rate, n_before=before, rate_before=rate_before, procedures=needed
    )
    # products of eight probabilities: rounding alone
    assert float(found.two_procedures) == pytest.approx(two, abs=1e-13)
    assert float(found.same_procedure) == pytest.approx(same, abs=1e-13)
    assert float(found.both) == pytest.approx(both, abs=1e-13)
    assert float(found.either) == pytest.approx(either, abs=1e-13)


def test_schools_stand_on_the_leading_axes():
    sizes = np.array([[5, 8, 20], [40, 40, 40]])
    found = federal_rule_probabilities(sizes, 0.2)
    assert found.both.shape == (2,)
    one = federal_rule_probabilities(sizes[1], 0.2)
    assert float(found.both[1]) == pytest.approx(float(one.both), abs=1e-15)


def test_resilient_share_of_the_closed_form():
    assert np.round(100 * resilient_share([0.12, 0.13, 0.20]), 1).tolist() == [12.1, 11.6, 8.8]
    assert float(resilient_share(0.0)) == pytest.approx(0.25, abs=1e-12)
    assert float(resilient_share(1.0)) == pytest.approx(0.0, abs=1e-12)
    wide = resilient_share(0.0, disadvantaged=0.3, successful=0.4)
    assert float(wide) == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: low_probability(-1, 0.2), rs.DataError, "-1"),
        (lambda: low_probability(2.5, 0.2), rs.DataError, "2.5"),
        (lambda: low_probability(5, 20), rs.DataError, "20 % is 0.20"),
        (lambda: low_probability(5, np.nan), rs.DataError, "nan"),
        (lambda: federal_rule_probabilities([5, 5], 0.2, share=30), rs.SpecificationError, "30"),
        (lambda: federal_rule_probabilities(5, 0.2), rs.DataError, "list"),
        (
            lambda: federal_rule_probabilities([5], 0.2, procedures=0),
            rs.SpecificationError,
            "procedures is 0",
        ),
        (lambda: resilient_share(1.2), rs.DataError, "1.2"),
        (lambda: resilient_share(0.1, disadvantaged=25), rs.SpecificationError, "25"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=told):
        call()


def test_chances_of_the_federal_rule_stay_within_their_bounds():
    """1 minus a sum of products falls below 0 by a rounding where next to nobody fails."""
    rng = np.random.default_rng(0)
    found = federal_rule_probabilities(
        rng.integers(0, 30, size=(5000, 8)), rng.beta(0.1, 3, size=(5000, 8))
    )
    for value in (found.two_procedures, found.same_procedure, found.both, found.either):
        assert value.min() >= 0
        assert value.max() <= 1
