"""Conditions of schools on one scale: every kind by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.clustering.conditions.scales import NumberScale, ShareScale
from resilience.stats.clusters.mixed_scaling import beta_moments


@pytest.fixture
def schools() -> pd.DataFrame:
    """Twelve schools of two years, the second with other values."""
    generator = np.random.default_rng(5)
    n = 12
    frame = pd.DataFrame(
        {
            "school_id": [f"S{i:02d}" for i in range(n)] * 2,
            "year": [2023] * n + [2024] * n,
            "n_pupils": generator.integers(40, 900, size=2 * n),
            "low_income": generator.beta(2, 5, size=2 * n),
            "edu_low": 0.0,
            "edu_middle": generator.beta(3, 4, size=2 * n),
            "is_rural": [i % 3 == 0 for i in range(2 * n)],
            "stage": [["1-4", "1-9", "1-11"][i % 3] for i in range(2 * n)],
        }
    )
    frame["edu_low"] = (1 - frame["edu_middle"]) * generator.uniform(0.1, 0.9, size=2 * n)
    frame["edu_high"] = 1 - frame["edu_middle"] - frame["edu_low"]
    return frame


MIXED = {
    "continuous": ["n_pupils"],
    "shares": ["low_income"],
    "compositions": {"education": ["edu_low", "edu_middle", "edu_high"]},
    "nominal": ["is_rural"],
    "ordinal": {"stage": ["1-4", "1-9", "1-11"]},
}


def mean_squared_difference(values: np.ndarray) -> float:
    """Return E(Δ²) of two units drawn with replacement, summed over columns."""
    return float(((values[:, None, :] - values[None, :, :]) ** 2).sum(axis=2).mean())


def test_a_unit_means_the_same_in_every_kind(schools: pd.DataFrame) -> None:
    scaled = rs.scale_conditions(schools, rs.Conditions(**MIXED))
    blocks = np.array(scaled.blocks)
    expected = {
        "n_pupils": 2.0,
        "low_income": 2.0,
        "education": 2.0,
        "is_rural": 1.0,
        "stage": 2.0 / (1.0 + 1.0 / 2.0),
    }
    for name, wanted in expected.items():
        # no value of so few schools is winsorised, so the expectation is exact
        assert mean_squared_difference(scaled.z[:, blocks == name]) == pytest.approx(
            wanted, rel=1e-12
        )


def test_shares_are_shrunk_by_their_base() -> None:
    scale = ShareScale(variable="x", alpha=2.0, beta=6.0, mean=0.5, sd=0.1)
    z = scale.scaled(np.array([[0.0], [0.0]]), np.array([4.0, 400.0]))
    by_hand = [(np.arcsin(np.sqrt(2 / (8 + n))) - 0.5) / 0.1 for n in (4, 400)]
    assert z[:, 0] == pytest.approx(by_hand, rel=1e-12)
    assert z[0, 0] > z[1, 0]  # a class of four without a case is not a school without cases


def test_beta_moments_by_hand() -> None:
    # two schools of 10 with 2 and 6 cases: MSB = 10·(0.2² + 0.2²) = 0.8,
    # MSW = 10·(0.16 + 0.24)/18 = 4/18, n0 = 10
    between, within = 0.8, 4 / 18
    rho = (between - within) / (between + 9 * within)
    alpha, beta = beta_moments([0.2, 0.6], [10, 10])
    assert alpha + beta == pytest.approx(1 / rho - 1, rel=1e-12)
    assert alpha / (alpha + beta) == pytest.approx(0.4, rel=1e-12)
    assert beta_moments([0.5, 0.5], [10, 10]) == (np.inf, np.inf)


def test_beta_moments_recover_the_distribution() -> None:
    generator = np.random.default_rng(2)
    n = generator.integers(20, 200, size=4000)
    share = generator.binomial(n, generator.beta(2, 5, size=4000)) / n
    alpha, beta = beta_moments(share, n)
    # the strength of 7 has a standard error of about 0.17 with 4,000 schools
    assert alpha + beta == pytest.approx(7.0, abs=0.5)
    assert alpha / (alpha + beta) == pytest.approx(2 / 7, abs=0.01)


def test_numbers_are_winsorised_at_three() -> None:
    values = np.append(np.zeros(60), 1000.0)[:, None]
    scale = NumberScale.learn("x", values, logged=False)
    z = scale.scaled(values, np.ones(61))
    assert z.max() == 3.0
    assert z[0, 0] == pytest.approx(-scale.mean / scale.sd)


def test_counts_and_distances_are_logged_by_default(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(continuous=["n_pupils"], shares=["low_income"])
    scaled = rs.scale_conditions(schools, conditions)
    now = schools[schools["year"] == 2024]["n_pupils"].to_numpy(dtype=float)
    logs = np.log1p(now)
    assert scaled.z[:, 0] == pytest.approx((logs - logs.mean()) / logs.std(), rel=1e-12)
    linear = rs.Conditions(continuous={"n_pupils": "linear"})
    plain = rs.scale_conditions(schools, linear)
    assert plain.z[:, 0] == pytest.approx((now - now.mean()) / now.std(), rel=1e-12)


def test_the_base_year_is_frozen(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(**MIXED)
    base = rs.scale_conditions(schools, conditions, year=2023)
    later = rs.scale_conditions(schools, conditions, scaling=base.scaling)
    assert base.year == 2023
    assert later.year == 2024
    assert later.scaling is base.scaling
    assert later.z[:, 0].mean() != pytest.approx(0.0, abs=1e-6)
    moved = schools.assign(year=schools["year"] - 1)
    again = rs.scale_conditions(moved, conditions, year=2023, scaling=base.scaling)
    assert np.array_equal(again.z, later.z)


def test_schools_with_gaps_are_placed_by_what_is_known(schools: pd.DataFrame) -> None:
    schools.loc[schools["school_id"] == "S04", "low_income"] = np.nan
    conditions = rs.Conditions(continuous=["n_pupils"], shares=["low_income"])
    with pytest.warns(rs.WeakDataWarning, match="S04"):
        scaled = rs.scale_conditions(schools, conditions)
    assert scaled.complete.tolist() == [i != 4 for i in range(12)]
    points = scaled.weighted[:2]
    distance = scaled.distances_to(points)
    by_hand = 2.0 * (scaled.z[4, 0] - points[:, 0]) ** 2  # d²·K/K observed
    assert distance[4] == pytest.approx(by_hand, rel=1e-10)
    full = ((scaled.z[5] - points) ** 2).sum(axis=1)
    assert distance[5] == pytest.approx(full, rel=1e-10)


def test_weights_enter_squared_distances(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(
        continuous=["n_pupils"], shares=["low_income"], weights={"low_income": 4}
    )
    scaled = rs.scale_conditions(schools, conditions)
    assert scaled.weighted[:, 1] == pytest.approx(2 * scaled.z[:, 1])
    assert scaled.weighted[:, 0] == pytest.approx(scaled.z[:, 0])
    assert scaled.factors["variable_weight"].tolist() == [1.0, 4.0]


def test_redrawn_shares_have_their_sampling_error(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(
        continuous=["n_pupils"], shares=["low_income"], errors={"n_pupils": 30.0}
    )
    scaled = rs.scale_conditions(schools, conditions)
    generator = np.random.default_rng(1)
    drawn = np.stack([scaled.redrawn(generator) for _ in range(400)])
    scale = scaled.scaling.scales[1]
    n = scaled.bases[:, 1]
    share = scale.shrunk(scaled.natural[["low_income"]].to_numpy(), n)[:, 0]
    back = np.sin(drawn[:, :, 1] * scale.sd + scale.mean) ** 2
    total = scale.alpha + scale.beta
    counted = (back * (total + n) - scale.alpha) / n
    # beta-binomial variance of the next survey given this one; a variance of 400 draws has a
    # relative error of 7 %, over 12 schools 2 %
    strength = total + n
    wanted = share * (1 - share) / n * (strength + n) / (strength + 1)
    assert (counted.var(axis=0) / wanted).mean() == pytest.approx(1.0, abs=0.08)
    assert drawn[:, :, 0].std() > 0
    still = rs.scale_conditions(schools, rs.Conditions(continuous=["n_pupils"]))
    assert not still.has_errors
    assert np.array_equal(still.redrawn(generator), still.z)


def test_strata_are_labelled(schools: pd.DataFrame) -> None:
    conditions = rs.Conditions(continuous=["n_pupils"])
    scaled = rs.scale_conditions(schools, conditions, strata=["is_rural", "stage"])
    assert scaled.stratum[0] == "is_rural=True, stage=1-4"
    assert set(rs.scale_conditions(schools, conditions).stratum) == {""}


def test_direction_follows_documented_signs() -> None:
    schools = rs.load_dataset("north_region").schools
    conditions = rs.Conditions(
        continuous=["n_pupils"], shares=["both_parents_higher_edu", "low_income"]
    )
    scaled = rs.scale_conditions(schools, conditions)
    z = dict(zip(scaled.columns, scaled.z.T, strict=True))
    by_hand = (z["both_parents_higher_edu"] - z["low_income"]) / 2
    assert scaled.direction == pytest.approx(by_hand)


def test_copies_are_named(schools: pd.DataFrame) -> None:
    schools["poverty"] = schools["low_income"]
    conditions = rs.Conditions(shares=["low_income", "poverty"])
    with pytest.warns(rs.WeakDataWarning, match=r"low_income and poverty correlate 1\.00"):
        scaled = rs.scale_conditions(schools, conditions)
    assert "low_income" in scaled.warnings[0]


def test_a_table_without_years_is_one_year(schools: pd.DataFrame) -> None:
    one = schools[schools["year"] == 2024].drop(columns="year")
    conditions = rs.Conditions(**MIXED)
    scaled = rs.scale_conditions(one, conditions)
    assert scaled.year is None
    assert np.array_equal(scaled.z, rs.scale_conditions(schools, conditions).z)


def test_tables_print_in_two_languages(schools: pd.DataFrame) -> None:
    scaled = rs.scale_conditions(schools, rs.Conditions(**MIXED))
    assert "логарифмы отношений" in scaled.summary("ru")
    assert "composition" in scaled.summary()
    added = scaled.augment(schools[schools["year"] == 2024])
    assert added["z: low_income"].to_numpy() == pytest.approx(scaled.z[:, 1])
