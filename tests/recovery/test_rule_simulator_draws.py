"""What the simulator draws: exact rates, the closed form, the worked figures of the method."""

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.detection.simulator.draws import draw_block
from resilience.detection.simulator.layout import read_layout
from resilience.detection.simulator.shares import true_shares
from resilience.detection.simulator.simulate import simulate_rule
from resilience.stats.lists.rule_chance import federal_rule_probabilities
from resilience.stats.lists.share_moments import FailureParts, tetrachoric_parts

RULES = [rs.Criteria.preset(f"low_results_2025_{c}") for c in ("and", "or")]
# Ten procedures of one grade: the same pupils sit all of them.
ONE_GRADE = [f"ВПР-5-{s}" for s in ("РУ", "МА", "ОМ", "ИС", "БИ", "ГЕ", "ФИ", "ХИ", "АН", "ОБ")]


def equal_cells(n, *, n_schools=400, procedures=ONE_GRADE, years=(2024, 2025)):
    schools = [f"S{s:03d}" for s in range(n_schools)]
    index = pd.MultiIndex.from_product(
        [schools, years, procedures], names=["school_id", "year", "procedure"]
    )
    return index.to_frame(index=False).assign(n_participants=n, n_below_minimum=0)


@pytest.mark.parametrize(
    ("n", "parts", "both"),
    [
        (40, FailureParts(), 0.04),
        (40, FailureParts(school_year=0.09, school_procedure=0.04, cell=0.0225), 0.28),
        (40, FailureParts(school_year=0.09, school_procedure=0.04, cell=0.0225, pupil=0.49), 0.23),
        (5, FailureParts(), 0.47),
        (5, FailureParts(school_year=0.09, school_procedure=0.04, cell=0.0225), 0.44),
        (5, FailureParts(school_year=0.09, school_procedure=0.04, cell=0.0225, pupil=0.49), 0.38),
    ],
)
def test_worked_figures(n, parts, both):
    """Ten procedures, 20 % failing, A and B; 400 equal schools in 30 regions."""
    result = simulate_rule(
        RULES[0], equal_cells(n), parts=parts, shares=0.2, n_replicates=30, random_state=4
    )
    row = result.overall.iloc[0]
    # three Monte-Carlo errors, and half a unit of the last digit printed
    tolerance = 3 * row["expected_listed_mc_error"] / 400 + 0.005
    assert abs(row["expected_listed"] / 400 - both) < tolerance


def test_closed_form_for_unequal_sizes_and_rates():
    rng = np.random.default_rng(5)
    procedures = [f"P{p}" for p in range(6)]
    counts = equal_cells(1, n_schools=12, procedures=procedures)
    counts = counts.assign(n_participants=rng.integers(3, 40, size=len(counts)))
    keys = counts[["school_id", "procedure"]].drop_duplicates()
    shares = keys.assign(true_share=rng.uniform(0.1, 0.3, size=len(keys)))
    result = simulate_rule(
        RULES, counts, parts=FailureParts(), shares=shares, n_replicates=2000, random_state=6
    )
    size = counts.pivot_table(
        index="school_id", columns=["year", "procedure"], values="n_participants"
    )
    rate = shares.pivot_table(
        index="school_id", columns="procedure", values="true_share"
    ).to_numpy()
    chance = federal_rule_probabilities(
        size[2025].to_numpy().astype(int), rate, n_before=size[2024].to_numpy().astype(int)
    )
    for rule, exact in zip(RULES, (chance.both, chance.either), strict=True):
        drawn = result.of_rule(rule.id)["probability_flag"].to_numpy()
        error = np.sqrt(exact * (1 - exact) / 2000)
        # 24 comparisons: the largest of them stays below 4 errors with probability .998
        assert (np.abs(drawn - exact) < 4 * error + 1e-9).all()
        assert np.abs((drawn - exact).sum()) < 3 * np.sqrt((error**2).sum())


@pytest.mark.parametrize(
    "parts",
    [
        FailureParts(),
        FailureParts(school_year=0.5),
        FailureParts(school_procedure=0.5, cell=0.3),
        FailureParts(school_year=0.1, school_procedure=0.1, cell=0.1, pupil=2.0),
    ],
)
def test_the_failing_rate_is_exact_whatever_the_variances(parts):
    counts = equal_cells(12, n_schools=150, procedures=ONE_GRADE[:4])
    layout = read_layout(counts, (RULES[0],), None)
    for share in (0.08, 0.3):
        drawn = draw_block(
            np.random.default_rng(8),
            layout,
            true_shares(share, layout),
            parts,
            truth="school",
            truth_share=0.3,
            n_replicates=80,
        )
        by_school = drawn.failing.mean(axis=(2, 3)) / 12  # schools and replicates are independent
        error = by_school.std() / np.sqrt(by_school.size)
        assert abs(by_school.mean() - share) < 3.5 * error


def test_draws_hold_the_parts_they_were_drawn_with():
    """The estimator, on what the simulator draws, finds the variances that went in."""
    parts = FailureParts(school_year=0.08, school_procedure=0.05, cell=0.03, pupil=0.6)
    procedures = [f"ВПР-{g}-{s}" for g in (5, 6, 7, 8) for s in ("РУ", "МА")]
    counts = equal_cells(25, n_schools=177, procedures=procedures, years=(2023, 2024, 2025))
    rule = RULES[0].amend("same_procedure_two_years", years_of=3)
    layout = read_layout(counts, (rule,), None)
    drawn = draw_block(
        np.random.default_rng(9),
        layout,
        true_shares(0.2, layout),
        parts,
        truth="school",
        truth_share=0.3,
        n_replicates=24,
    )
    found = []
    for failing in drawn.failing:
        p = tetrachoric_parts(failing, layout.n, grades=layout.grades, years=layout.years).parts
        found.append([p.school_year, p.school_procedure, p.cell, p.pupil])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    truth = np.array([0.08, 0.05, 0.03, 0.6])
    assert (np.abs(np.mean(found, axis=0) - truth) < 3.5 * error).all(), np.mean(found, axis=0)
