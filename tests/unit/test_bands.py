"""Condition bands: borders by pupils, probabilities by hand, frozen years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import resilience as rs
from resilience.clustering.bands.model import ContextBands
from resilience.stats.clusters.bands import (
    band_probabilities,
    bands_of,
    clustered_regression,
    pupil_cuts,
)

CONDITIONS = rs.Conditions(
    continuous=["n_pupils", "remoteness_km"],
    shares=["both_parents_higher_edu", "single_parent", "low_income", "non_native_russian"],
)


@pytest.fixture(scope="module")
def schools() -> pd.DataFrame:
    return rs.load_dataset("north_region").schools


def test_borders_part_the_pupils() -> None:
    expected = np.array([3.0, 1.0, 2.0, 4.0, 5.0])
    pupils = np.array([100.0, 300.0, 100.0, 50.0, 50.0])
    # by expectation the pupils add up to 300, 400, 500, 550, 600: half of them after the first
    assert pupil_cuts(expected, pupils, 2).tolist() == [1.5]
    # thirds: 200 and 400 of 600; the nearest are 300 and 400
    assert pupil_cuts(expected, pupils, 3).tolist() == [1.5, 2.5]
    assert bands_of(expected, np.array([1.5, 2.5])).tolist() == [3, 1, 2, 3, 3]


def test_equal_expectations_stay_together() -> None:
    expected = np.array([1.0, 1.0, 1.0, 2.0])
    assert pupil_cuts(expected, np.ones(4), 2).tolist() == [1.5]


def test_probabilities_by_hand() -> None:
    found = band_probabilities(np.array([0.0, 1.0]), np.array([0.5, 0.0]), np.array([-0.5, 0.8]))
    assert found[0] == pytest.approx(
        [norm.cdf(-1), norm.cdf(1.6) - norm.cdf(-1), 1 - norm.cdf(1.6)]
    )
    assert found[1].tolist() == [0.0, 0.0, 1.0]


def test_the_clustered_covariance_is_that_of_statsmodels() -> None:
    import statsmodels.api as sm

    generator = np.random.default_rng(1)
    cluster = np.repeat(np.arange(30), 4)
    x = sm.add_constant(generator.standard_normal((120, 2)))
    y = x @ [1.0, 0.5, -0.2] + generator.standard_normal(30)[cluster]
    w = generator.uniform(0.5, 2.0, size=120)
    coefficients, covariance = clustered_regression(x, y, w, cluster)
    fitted = sm.WLS(y, x, weights=w).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    assert coefficients == pytest.approx(fitted.params, rel=1e-9)
    assert covariance == pytest.approx(fitted.cov_params() * 30 / 29, rel=1e-8)


def test_bands_are_ordered_groups_of_pupils(schools: pd.DataFrame) -> None:
    bands = ContextBands(CONDITIONS, n_bands=4, strata=["is_rural"]).fit(schools, random_state=1)
    table = bands.bands
    for _, own in table.groupby("stratum"):
        assert own["band"].tolist() == [1, 2, 3, 4]
        assert own["expected_mean"].is_monotonic_increasing
        share = own["n_pupils"] / own["n_pupils"].sum()
        assert share.between(0.2, 0.3).all()
    one = bands.schools
    assert one["band_probability"].between(0, 1).all()
    sums = bands.probabilities.groupby("school_id")["band_probability"].sum()
    assert sums.to_numpy() == pytest.approx(np.ones(177))
    assert (one["between_bands"] == (one["band_probability"] < 0.6)).all()
    half = (one["conf_high"] - one["conf_low"]) / 2
    assert half.to_numpy() == pytest.approx(norm.ppf(0.975) * one["std_error"].to_numpy())


def test_results_of_the_year_have_no_part(schools: pd.DataFrame) -> None:
    model = ContextBands(CONDITIONS)
    spoilt = schools.copy()
    spoilt.loc[spoilt["year"] == 2025, "mean_score"] = 0.0
    one, two = (model.fit(table, random_state=1) for table in (schools, spoilt))
    assert one.schools.equals(two.schools)
    assert one.regression.years == (2022, 2023, 2024)


def test_a_single_year_is_expected_by_the_other_schools(schools: pd.DataFrame) -> None:
    now = schools[schools["year"] == 2025].reset_index(drop=True)
    model = ContextBands(CONDITIONS)
    found = model.fit(now, random_state=1)
    moved = now.copy()
    moved.loc[0, "mean_score"] += 50.0
    again = model.fit(moved, random_state=1)
    # the school's own result moves the expectation of others, and not its own slopes
    own = found.schools.loc[0, "expected_result"], again.schools.loc[0, "expected_result"]
    others = (again.schools["expected_result"] - found.schools["expected_result"]).abs()
    assert len(found.regression.coefficients) == 10
    assert others.iloc[1] > abs(own[1] - own[0])


def test_borders_are_frozen_for_other_years(schools: pd.DataFrame) -> None:
    model = ContextBands(CONDITIONS, strata=["is_rural"])
    now = model.fit(schools, random_state=1)
    same = model.predict(now, schools, 2025, random_state=1)
    assert same.schools.equals(now.schools)
    before = model.predict(now, schools, 2024, random_state=1)
    assert before.cuts == now.cuts
    moves = model.over_years(schools, random_state=1)
    assert set(moves["year"]) == {2023, 2024}
    sums = moves.groupby(["year", "band"])["share_of_band"].sum()
    assert sums.to_numpy() == pytest.approx(np.ones(len(sums)))
    stayed = moves[moves["band"] == moves["next_band"]]["n_schools"].sum()
    assert stayed / moves["n_schools"].sum() > 0.6


def test_an_index_is_shrunk_by_its_error(schools: pd.DataFrame) -> None:
    generator = np.random.default_rng(4)
    table = schools.assign(context_index=50 + 10 * generator.standard_normal(len(schools)))
    table["context_index"] += 100 * (table["both_parents_higher_edu"] - 0.25)
    exact = ContextBands("context_index").fit(table, random_state=1)
    noisy = ContextBands("context_index").fit(
        table.assign(context_index_std_error=6.0), random_state=1
    )
    assert noisy.schools["expected_result"].std() == pytest.approx(
        exact.schools["expected_result"].std(), rel=0.03
    )  # the slope grows by what the index shrinks, up to the reliability of each year
    assert noisy.schools["std_error"].mean() > 2 * exact.schools["std_error"].mean()
    assert noisy.glance()["n_between_bands"].iloc[0] > exact.glance()["n_between_bands"].iloc[0]


def test_small_strata_have_no_bands(schools: pd.DataFrame) -> None:
    table = schools.assign(kind=np.where(schools["is_selective"], "лицей", "школа"))
    with pytest.warns(rs.WeakDataWarning, match="лицей"):
        found = ContextBands(CONDITIONS, strata=["kind"]).fit(table, random_state=1)
    small = found.schools[found.schools["stratum"] == "kind=лицей"]
    assert small["band"].isna().all()
    assert small["expected_result"].notna().all()
    assert "too small" in small["reason"].iloc[0]


def test_bands_beside_clusters(schools: pd.DataFrame) -> None:
    bands = ContextBands(CONDITIONS).fit(schools, random_state=1)
    clusters = pd.DataFrame(
        {"school_id": bands.schools["school_id"], "cluster": 1 + np.arange(177) % 2}
    )
    table = bands.beside_clusters(clusters)
    assert table["n_schools"].sum() == 177
    assert table.groupby("band")["share_of_band"].sum().to_numpy() == pytest.approx(np.ones(4))


def test_bands_speak_two_languages(schools: pd.DataFrame) -> None:
    bands = ContextBands(CONDITIONS).fit(schools, random_state=1)
    assert "группа условий 1: самые трудные" in bands.summary("ru")
    assert "кластер" not in bands.summary("ru").lower()
    assert "condition group 1: the hardest" in bands.summary()
    added = bands.augment(schools[schools["year"] == 2025])
    assert added["band"].notna().all()
