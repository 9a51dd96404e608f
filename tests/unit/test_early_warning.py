"""Probability of next year's list: formulas, parts by hand, results, bad input."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from resilience.columns import column_names
from resilience.detection.history.early_warning import early_warning
from resilience.detection.history.next_year import (
    ShareDraws,
    count_cube,
    federal_form,
    own_draws,
)
from resilience.detection.rules.criteria import Criteria
from resilience.detection.verdicts.detect import detect_schools
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.stats.lists.calibration import (
    brier_score,
    calibration_line,
    logistic_line,
    top_flags,
)
from resilience.stats.lists.next_list import LowTable, next_list_probability
from resilience.stats.lists.share_moments import FailureParts
from resilience.stats.lists.share_posterior import lasting_shares

OR = Criteria.preset("low_results_2025_or")
AND = Criteria.preset("low_results_2025_and")
READINGS = ("or", "and", "two_procedures", "same_procedure")


def counts(seed: int = 0, *, schools: int = 60, years: int = 4) -> pd.DataFrame:
    """Return counts of four procedures with lasting differences between schools."""
    rng = np.random.default_rng(seed)
    u, c = 0.7 * rng.normal(size=schools), 0.2 * rng.normal(size=(schools, 4))
    n = rng.integers(4, 60, size=schools)
    names = ["ВПР-5-МА", "ВПР-5-РУ", "ВПР-6-МА", "ОГЭ-МА"]
    rows = []
    for t in range(years):
        shock = 0.15 * rng.normal(size=schools)
        for p, name in enumerate(names):
            rate = special.ndtr(-1.0 + u + c[:, p] + shock)
            failing = rng.binomial(n, rate)
            rows += [
                (f"S{j:03d}", 2022 + t, name, int(n[j]), int(failing[j])) for j in range(schools)
            ]
    names = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="module")
def found():
    table = counts()
    schools = pd.DataFrame(
        {"school_id": table["school_id"].unique(), "is_rural": [k % 2 == 0 for k in range(60)]}
    )
    return early_warning(table, rule=OR, schools=schools, n_draws=100)


def test_formula_of_the_federal_rule():
    """The specification of detection, section 12: .62305 and .34540."""
    a, now = [0.3, 0.2, 0.15, 0.25, 0.4], [True, False, False, False, True]
    assert next_list_probability(a, now, reading="or") == pytest.approx(0.62305, abs=5e-6)
    assert next_list_probability(a, now, reading="and") == pytest.approx(0.34540, abs=5e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("reading", READINGS)
def test_formula_against_every_outcome(reading, k):
    """All 2⁵ outcomes of five procedures, one by one."""
    rng = np.random.default_rng(k)
    a, now = rng.uniform(size=5), np.array([True, False, True, False, False])
    total = 0.0
    for low in itertools.product([False, True], repeat=5):
        weight = np.prod(np.where(low, a, 1 - a))
        first, second = sum(low) >= k, bool((np.array(low) & now).any())
        total += (
            weight
            * {
                "or": first or second,
                "and": first and second,
                "two_procedures": first,
                "same_procedure": second,
            }[reading]
        )
    value = next_list_probability(a, now, reading=reading, procedures=k)
    assert value == pytest.approx(total, abs=1e-12)
    # groups without correlation change nothing, in the other way of computing either
    groups = np.array([5, 5, 6, 6, 7])
    near = next_list_probability(
        a, now, reading=reading, procedures=k, groups=groups, correlation=1e-14
    )
    assert near == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("reading", READINGS)
def test_shared_pupils_against_draws(reading):
    """Half a million draws of the shared factor: four standard errors and five nodes' error."""
    rng = np.random.default_rng(3)
    a = np.array([0.2, 0.35, 0.1, 0.4, 0.3, 0.25])
    now = np.array([True, False, False, True, False, False])
    groups = np.array([1, 1, 2, 2, 3, -1])
    z = rng.normal(size=(500_000, 4))[:, [0, 0, 1, 1, 2, 3]]
    latent = np.sqrt(0.4) * z + np.sqrt(0.6) * rng.normal(size=z.shape)
    low = latent < special.ndtri(a)
    first, second = low.sum(axis=1) >= 2, (low & now).any(axis=1)
    drawn = {
        "or": first | second,
        "and": first & second,
        "two_procedures": first,
        "same_procedure": second,
    }[reading].mean()
    value = next_list_probability(a, now, reading=reading, groups=groups, correlation=0.4)
    assert abs(value - drawn) < 4 * np.sqrt(drawn * (1 - drawn) / 500_000) + 1e-3


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_probabilities_stay_within_their_bounds(reading, correlation):
    """Sums of products pass 0 and 1 by a rounding: no table may print a negative probability."""
    rng = np.random.default_rng(0)
    a = rng.beta(0.02, 1, size=(20_000, 5)) * rng.integers(0, 2, size=(20_000, 5))
    now = rng.integers(0, 2, size=a.shape).astype(bool)
    for low in (a, 1 - a):
        value = next_list_probability(
            low, now, reading=reading, groups=[1, 1, 2, 2, 3], correlation=correlation
        )
        assert value.min() >= 0
        assert value.max() <= 1


@pytest.mark.parametrize("correlation", [0.3, 0.5, 0.6, 0.7, 0.8])
def test_shared_pupils_leave_each_procedure_as_it_is(correlation):
    """At least one procedure low, of one that is sat beside another that never is: its own a."""
    a = np.linspace(0.01, 0.99, 50)
    both = np.column_stack([a, np.zeros(50)])
    value = next_list_probability(
        both,
        [False, False],
        reading="two_procedures",
        procedures=1,
        groups=[1, 1],
        correlation=correlation,
    )
    assert value == pytest.approx(a, abs=6e-4)  # the error named beside the nodes


def test_low_table_is_the_binomial_tail():
    table = LowTable.of([5, 10, 40], cell=0.0)
    rate = special.ndtr(np.array([[-1.3, -0.7, 0.2]]))
    value = table.look_up(special.ndtri(rate), np.array([[5, 10, 40]]))
    exact = stats.binom.sf(np.array([2, 3, 12]) - 1, [5, 10, 40], rate)
    # linear between points .01 apart: h²/8 of the second derivative, below 3e-4
    assert value == pytest.approx(exact, abs=3e-4)
    spread = LowTable.of([10], cell=0.25).look_up(np.array([[-0.7]]), np.array([[10]]))
    z = np.random.default_rng(0).normal(size=200_000)
    drawn = stats.binom.sf(2, 10, special.ndtr(-0.7 + 0.5 * z)).mean()
    assert spread[0, 0] == pytest.approx(drawn, abs=2e-3)
    assert LowTable.of([0, 5], cell=0.1, min_participants=10).look_up(
        np.array([[3.0, 3.0]]), np.array([[0, 5]])
    ) == pytest.approx(np.zeros((1, 2)))


def test_lasting_shares_against_quadrature():
    """One procedure, one year, nothing but schools: the Laplace mean against the integral."""
    f, n = np.array([[[1]], [[4]], [[12]]]), np.array([[[20]], [[20]], [[20]]])
    found = lasting_shares(f, n, FailureParts(), 0.3)
    u = np.linspace(-4, 4, 8001)
    for j in range(3):
        rate = special.ndtr(found.level[0] + u)
        weight = stats.binom.pmf(f[j, 0, 0], 20, rate) * np.exp(-0.5 * u**2 / 0.3)
        mean = (u * weight).sum() / weight.sum()
        sd = np.sqrt(((u - mean) ** 2 * weight).sum() / weight.sum())
        # mode against mean of a posterior with 20 results: a tenth of its SD
        assert found.mean[j, 0] == pytest.approx(mean, abs=0.1 * sd)
        assert np.sqrt(found.covariance[j, 0, 0]) == pytest.approx(sd, rel=0.05)


def test_draws_have_the_posterior_moments():
    table = counts(1)
    cube = count_cube(table, OR)
    draws = own_draws(cube, n_draws=400, random_state=0)
    assert draws.shares.shape == (400, 60, 4)
    raw = cube.failing.sum(axis=2) / cube.n.sum(axis=2)
    assert np.corrcoef(draws.shares.mean(axis=0).ravel(), raw.ravel())[0, 1] > 0.9


def test_given_draws_are_used(found):
    """The room's own draws, handed in, give its own answer up to Monte Carlo."""
    table = counts()
    draws = own_draws(count_cube(table, OR), n_draws=400, random_state=1)
    given = early_warning(table, rule=OR, shares=draws)
    a, b = (w.schools["probability_low_next_year"].to_numpy() for w in (given, found))
    assert np.abs(a - b).max() < 0.1  # SD of a draw's probability is at most .5, 100 draws
    assert np.abs(a - b).mean() < 0.01
    assert any("Long-run shares were given" in note for note in given.notes)
    low = ShareDraws(
        school_ids=draws.school_ids,
        procedures=draws.procedures,
        shares=np.full_like(draws.shares, 1e-6),
    )
    none = early_warning(table, rule=OR, shares=low)
    assert (none.schools["probability_low_next_year"] < 0.01).all()


def test_schools_of_the_result(found):
    table = found.schools
    p = table["probability_low_next_year"]
    assert table["year"].unique().tolist() == [2026]
    assert p.between(0, 1).all()
    assert (table["prediction_low"] <= table["prediction_high"]).all()
    assert ((p >= 1 / 3) == (table["verdict"] == "yes")).all()
    assert found.flagged()["probability_low_next_year"].is_monotonic_decreasing
    stricter = early_warning(counts(), rule=AND, n_draws=100)
    assert (stricter.schools["probability_low_next_year"] <= p + 1e-9).all()


def test_backtest_knows_only_the_past(found):
    """Counts of later years change nothing of an earlier prediction."""
    table = counts()
    late = table["year"] == 2025
    changed = table.assign(n_below_minimum=table["n_below_minimum"].where(~late, 0))
    other = early_warning(changed, rule=OR, n_draws=100)
    keys = ["school_id", "origin_year", "method", "probability"]
    one, two = (
        w.backtest[w.backtest["origin_year"] == 2023].reset_index(drop=True)[keys]
        for w in (found, other)
    )
    assert one["method"].nunique() == 4  # too little to learn from for the challenger
    pd.testing.assert_frame_equal(one, two)


def test_scores_beside_naive_ones(found):
    whole = found.scores[found.scores["part"] == "all"].set_index("method")
    assert {"model", "last share", "same list", "base rate"} <= set(whole.index)
    assert whole.loc["model", "brier"] < whole.loc["base rate", "brier"]
    flags = whole["n_warned"].drop("challenger", errors="ignore")
    assert flags.to_numpy() == pytest.approx(np.full(len(flags), flags.iloc[0]))
    parts = set(found.scores["part"])
    assert {"rural", "urban", "1-10 participants"} <= parts
    rows = found.backtest[found.backtest["method"] == "model"]
    assert whole.loc["model", "brier"] == pytest.approx(
        ((rows["probability"] - rows["outcome"]) ** 2).mean()
    )


@pytest.mark.parametrize("rule", [OR, AND])
def test_base_rate_counts_no_half_answers(rule):
    """In the first year "A and B" can be answered by no alone, "A or B" hardly but by yes."""
    table = counts()
    told = early_warning(table, rule=rule, n_draws=50).backtest
    first = told[(told["method"] == "base_rate") & (told["origin_year"] == 2023)]
    second = detect_schools(
        None, None, rule.amend(year=2023), counts=table[table["year"] <= 2023]
    ).schools
    assert first["probability"].unique() == pytest.approx([(second["verdict"] == "yes").mean()])


def test_expected_exits_add_up(found):
    table, exits = found.schools, found.exits.iloc[0]
    on = table["verdict_now"] == "yes"
    p = table["probability_low_next_year"]
    assert exits["n_listed"] == on.sum()
    assert exits["expected_exits"] == pytest.approx((1 - p[on]).sum())
    assert exits["exits_low"] <= exits["expected_exits"] <= exits["exits_high"]


def test_result_prints_and_joins(found):
    for table in (found.tidy(), found.glance(), found.calibration, found.scores, found.backtest):
        assert set(table.columns) <= set(column_names())
    assert found.summary() != found.summary("ru")
    assert "nan" not in found.summary().lower()
    data = pd.DataFrame({"school_id": ["S001", "nobody"]})
    joined = found.augment(data)
    assert joined["probability_low_next_year"].isna().tolist() == [False, True]


def test_same_twice():
    table = counts(2)
    one, two = (early_warning(table, rule=AND, n_draws=60) for _ in range(2))
    pd.testing.assert_frame_equal(one.schools, two.schools)


def test_a_school_that_sat_nothing_gets_no_answer():
    table = counts(3)
    table = table[~((table["school_id"] == "S007") & (table["year"] == 2025))]
    row = early_warning(table, rule=OR, n_draws=60).schools.set_index("school_id").loc["S007"]
    assert row["verdict"] == "insufficient_data"
    assert np.isnan(row["probability_low_next_year"])
    assert "nobody took part" in row["reason"]


def test_an_earlier_origin(found):
    earlier = early_warning(counts(), rule=OR, year=2024, n_draws=100)
    assert earlier.schools["year"].unique().tolist() == [2025]
    told = found.backtest
    told = told[(told["method"] == "model") & (told["origin_year"] == 2024)]
    keyed = earlier.schools.set_index("school_id")["probability_low_next_year"]
    own = told.set_index("school_id")["probability"]
    assert own.to_numpy() == pytest.approx(keyed.reindex(own.index).to_numpy(), abs=1e-12)


def test_forms_of_rules():
    form = federal_form(AND)
    assert (form.reading, form.procedures, str(form.share)) == ("and", 2, "3/10")
    alone = Criteria.from_dict({**OR.to_dict(), "criterion": OR.to_dict()["criterion"][:1]})
    assert federal_form(alone).reading == "two_procedures"
    with pytest.raises(SpecificationError, match="has no formula"):
        federal_form(Criteria.preset("low_results_any"))
    with pytest.raises(SpecificationError, match="different thresholds"):
        federal_form(OR.amend("two_procedures", at_least=0.25))


def test_bad_input():
    table = counts(4, schools=30)
    with pytest.raises(DataError, match="at least two years"):
        early_warning(table[table["year"] == 2022], rule=OR)
    with pytest.raises(SpecificationError, match="2031"):
        early_warning(table, rule=OR, year=2031)
    with pytest.raises(SpecificationError, match="n_draws"):
        early_warning(table, rule=OR, n_draws=10)
    with pytest.raises(DataError, match="n_below_minimum"):
        early_warning(table.drop(columns="n_below_minimum"), rule=OR)
    draws = own_draws(count_cube(table, OR), n_draws=50, random_state=0)
    few = ShareDraws(
        school_ids=draws.school_ids[1:], procedures=draws.procedures, shares=draws.shares[:, 1:]
    )
    with pytest.raises(DataError, match="lack"):
        early_warning(table, rule=OR, shares=few)


def test_two_years_give_no_scores():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)
        found = early_warning(counts(5, years=2), rule=OR, n_draws=60)
    assert len(found.scores) == 0
    assert len(found.calibration) == 0
    assert any("three years" in note for note in found.notes)
    assert found.summary("ru")


def test_calibration_line_finds_a_distortion():
    """Logits doubled: the slope is ½, four standard errors."""
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20_000) * 1.5 - 0.5
    y = rng.uniform(size=20_000) < special.expit(logit)
    line = calibration_line(special.expit(2 * logit), y)
    assert abs(line.slope - 0.5) < 4 * line.slope_error
    assert abs(line.intercept) < 4 * 0.02
    assert np.isnan(calibration_line([0.1, 0.9, 0.1, 0.9], [0, 1, 0, 1]).slope)
    assert np.isnan(calibration_line(np.linspace(0.1, 0.9, 9), np.zeros(9)).slope)
    assert brier_score([0.2, 0.6], [0, 1]) == pytest.approx((0.04 + 0.16) / 2)


def test_line_and_flags():
    x = np.linspace(-2, 2, 9)
    _, covariance = logistic_line(x, x > 0)
    assert np.isinf(covariance).all()
    beta, _ = logistic_line(x, x > 0, ridge=0.5)
    assert np.isfinite(beta).all()
    assert top_flags([0.9, 0.5, 0.5, 0.1], 2) == pytest.approx([1, 0.5, 0.5, 0])
    assert top_flags([0.9, 0.5], 0) == pytest.approx([0, 0])
