"""Schools against their statistical neighbours: verdicts, reasons, agreement with a regression."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from resilience.clustering.comparison.compare import compare_with_neighbours
from resilience.clustering.comparison.effects import neighbour_effects
from resilience.clustering.comparison.slopes import condition_slopes
from resilience.clustering.conditions.scaled import scale_conditions
from resilience.clustering.conditions.specification import Conditions
from resilience.columns import column, column_names
from resilience.errors import WeakDataWarning

N = 60
IDS = [f"S{i:02d}" for i in range(N)]
CONDITIONS = Conditions(continuous={"n_pupils": "linear", "distance": "linear"})


def schools() -> pd.DataFrame:
    generator = np.random.default_rng(11)
    pupils = generator.integers(20, 200, size=N)
    distance = generator.uniform(0, 50, size=N)
    scaled = (pupils - pupils.mean()) / pupils.std(ddof=1)
    result = 0.5 * scaled + generator.normal(size=N) * 0.3
    return pd.DataFrame(
        {
            "school_id": IDS,
            "n_pupils": pupils,
            "distance": distance,
            "mean_score": result,
            "sampling_variance": 0.8**2 / pupils,
        }
    )


SCHOOLS = schools()


def nearest(n_neighbours: int = 8, alone: tuple[str, ...] = ()) -> SimpleNamespace:
    """Return neighbours in the shape of `StatisticalNeighbours.fit`, by brute force."""
    scaled = scale_conditions(SCHOOLS, CONDITIONS)
    z = np.asarray(scaled.values)
    rows, quality = [], []
    for j, own in enumerate(IDS):
        distance = np.sqrt(((z - z[j]) ** 2).mean(axis=1))
        order = [i for i in np.argsort(distance, kind="stable") if i != j][:n_neighbours]
        chosen = order[:2] if own in alone else order
        quality.append(
            (own, "insufficient_data", "no school is like this one")
            if own in alone
            else (own, "ok", "")
        )
        rows += [
            (own, IDS[i], rank + 1, distance[i], 1.0 / len(chosen)) for rank, i in enumerate(chosen)
        ]
    return SimpleNamespace(
        scaled=scaled,
        neighbours=pd.DataFrame(
            rows, columns=["school_id", "neighbour_id", "neighbour_rank", "distance", "weight"]
        ),
        quality=pd.DataFrame(quality, columns=["school_id", "verdict", "reason"]),
    )


NEIGHBOURS = nearest()


def test_row_of_a_school_by_hand():
    found = compare_with_neighbours(NEIGHBOURS, SCHOOLS)
    own = NEIGHBOURS.neighbours.query("school_id == 'S07'")["neighbour_id"]
    near = SCHOOLS[SCHOOLS["school_id"].isin(own)]
    me = SCHOOLS[SCHOOLS["school_id"] == "S07"].iloc[0]
    row = found.school("S07")
    difference = me["mean_score"] - near["mean_score"].mean()
    error = np.sqrt(me["sampling_variance"] + near["sampling_variance"].sum() / 64)
    assert row["difference"] == pytest.approx(difference)
    assert row["std_error"] == pytest.approx(error)
    assert row["conf_high"] == pytest.approx(difference + stats.norm.ppf(0.975) * error)
    assert row["percentile_among_neighbours"] == (near["mean_score"] < me["mean_score"]).mean()
    assert row["p_above_neighbours"] == pytest.approx(stats.norm.cdf(difference / error))
    assert row["n_neighbours"] == 8


def test_verdicts_follow_the_interval_and_the_typical_range():
    table = compare_with_neighbours(NEIGHBOURS, SCHOOLS, max_imbalance=9.0).table
    expected = np.select(
        [table["conf_low"] > 0, table["conf_high"] < 0], ["above", "below"], "as_expected"
    )
    assert (table["verdict"] == expected).all()
    assert set(expected) == {"above", "below", "as_expected"}
    unusual = table["typical_verdict"] != "as_expected"
    outside = (table["observed"] > table["typical_high"]) | (
        table["observed"] < table["typical_low"]
    )
    assert (unusual == outside).all()


def test_a_list_of_strangers_gives_no_number():
    with pytest.warns(WeakDataWarning, match="of 60 schools have no verdict"):
        found = compare_with_neighbours(nearest(alone=tuple(IDS[:15])), SCHOOLS)
    row = found.school("S03")
    assert row["verdict"] == "insufficient_data"
    assert row["reason"] == "no school is like this one"
    assert np.isnan(row["difference"])
    assert row["observed"] == SCHOOLS["mean_score"].iloc[3]


def test_imbalance_is_named_and_keeps_its_numbers():
    table = compare_with_neighbours(NEIGHBOURS, SCHOOLS, max_imbalance=0.4).table
    rows = table[table["imbalance_max"] > 0.4]
    assert len(rows)
    assert (rows["verdict"] == "insufficient_data").all()
    assert rows["difference"].notna().all()
    assert rows["reason"].str.contains("n_pupils|distance").all()
    z = np.asarray(NEIGHBOURS.scaled.values)
    own = NEIGHBOURS.neighbours.query("school_id == 'S07'")["neighbour_id"]
    gap = np.abs(z[7] - z[[IDS.index(i) for i in own]].mean(axis=0)).max()
    assert table.set_index("school_id").loc["S07", "imbalance_max"] == pytest.approx(gap)


def test_schools_without_results_and_without_conditions_stay_visible():
    results = pd.concat(
        [SCHOOLS.iloc[1:], SCHOOLS.iloc[:1].assign(school_id="X1")], ignore_index=True
    )
    table = compare_with_neighbours(NEIGHBOURS, results).table.set_index("school_id")
    assert len(table) == N + 1
    assert table.loc["S00", "reason"] == "the school has no result"
    assert np.isfinite(table.loc["S00", "neighbour_mean"])
    assert "conditions of the school are not known" in table.loc["X1", "reason"]
    lost = NEIGHBOURS.neighbours.query("neighbour_id == 'S00'")["school_id"]
    assert (table.loc[lost, "n_without_result"] == 1).all()
    assert (table.loc[lost, "n_neighbours"] == 7).all()


def test_slopes_of_an_earlier_year_correct_the_comparison():
    slopes = condition_slopes(NEIGHBOURS.scaled, SCHOOLS)
    z = np.asarray(NEIGHBOURS.scaled.values)
    design = np.column_stack([np.ones(N), z])
    by_hand, *_ = np.linalg.lstsq(design, SCHOOLS["mean_score"].to_numpy(), rcond=None)
    assert slopes.estimate == pytest.approx(by_hand[1:])
    plain = compare_with_neighbours(NEIGHBOURS, SCHOOLS).table
    found = compare_with_neighbours(NEIGHBOURS, SCHOOLS, slopes=slopes).table
    own = NEIGHBOURS.neighbours.query("school_id == 'S07'")["neighbour_id"]
    gap = z[7] - z[[IDS.index(i) for i in own]].mean(axis=0)
    assert found["neighbour_correction"].iloc[7] == pytest.approx(gap @ by_hand[1:])
    assert found["difference"].iloc[7] == pytest.approx(
        plain["difference"].iloc[7] - gap @ by_hand[1:]
    )


def test_what_chance_alone_would_give_is_printed():
    found = compare_with_neighbours(NEIGHBOURS, SCHOOLS, max_imbalance=9.0)
    assert found.glance()["n_by_chance"].iloc[0] == pytest.approx(0.05 * N)
    times = NEIGHBOURS.neighbours["neighbour_id"].value_counts().max()
    assert "5 % (3) would by chance alone" in found.notes[0]
    assert f"up to {times} lists" in found.notes[0]
    assert "5 % (3) оказались бы там случайно" in found.notes[0].ru
    assert "depend on each other" in found.summary()
    assert "зависят друг от друга" in found.summary("ru")


def regression() -> pd.DataFrame:
    line = condition_slopes(NEIGHBOURS.scaled, SCHOOLS)
    left = SCHOOLS["mean_score"] - line.expected(np.asarray(NEIGHBOURS.scaled.values))
    return SCHOOLS[["school_id", "sampling_variance"]].assign(residual=left)


def test_agreement_with_a_regression():
    found = compare_with_neighbours(NEIGHBOURS, SCHOOLS, regression=regression(), max_imbalance=9.0)
    table = found.table
    expected = stats.spearmanr(table["difference"], regression()["residual"]).statistic
    assert found.rank_correlation == pytest.approx(expected)
    both = table[(table["verdict"] == "above") & (table["regression_verdict"] == "above")]
    assert found.by_both() == tuple(both["school_id"])
    assert len(both)
    differ = table["verdict"] != table["regression_verdict"]
    assert (table.loc[differ, "both_verdict"] == "differ").all()
    assert "above by both: " in found.agreement()
    assert f"{N - differ.sum()} of {N} schools" in found.agreement()


def test_table_of_school_effects_gives_residuals_before_shrinkage():
    variance = 0.25
    error = SCHOOLS["sampling_variance"].to_numpy()
    trust = variance / (variance + error)
    effects = pd.DataFrame(
        {
            "school_id": IDS,
            "effect": trust * SCHOOLS["mean_score"],
            "reliability": trust,
            "conditional_sd": np.sqrt(variance * (1.0 - trust)),
            "n_pupils": SCHOOLS["n_pupils"],
        }
    )
    one = compare_with_neighbours(NEIGHBOURS, effects, value="residual").table
    other = compare_with_neighbours(NEIGHBOURS, SCHOOLS).table
    # shrinkage is undone exactly, and so is the sampling variance: rounding only
    for name in ("difference", "std_error", "typical_low"):
        assert one[name].to_numpy() == pytest.approx(other[name].to_numpy(), rel=1e-9)


def test_sd_of_pupils_and_standard_errors_say_the_same():
    named = SCHOOLS.assign(error=np.sqrt(SCHOOLS["sampling_variance"]))
    base = compare_with_neighbours(NEIGHBOURS, SCHOOLS).table["std_error"]
    for found in (
        compare_with_neighbours(NEIGHBOURS, named, std_error="error"),
        compare_with_neighbours(NEIGHBOURS, SCHOOLS, pupil_sd=0.8),
    ):
        assert found.table["std_error"].to_numpy() == pytest.approx(base.to_numpy())


def test_years_are_averaged_over_their_own_means():
    later = SCHOOLS.assign(year=2025, mean_score=SCHOOLS["mean_score"] + 3.0)
    both = pd.concat([SCHOOLS.assign(year=2024), later])
    found = compare_with_neighbours(NEIGHBOURS, both).table
    once = compare_with_neighbours(NEIGHBOURS, SCHOOLS).table
    assert found["difference"].to_numpy() == pytest.approx(once["difference"].to_numpy())
    assert found["std_error"].to_numpy() == pytest.approx(once["std_error"].to_numpy() / 2**0.5)
    # a school seen only in the better year is not lifted by it
    part = both[~((both["school_id"] == "S07") & (both["year"] == 2024))]
    row = compare_with_neighbours(NEIGHBOURS, part).school("S07")
    # its own absence moves the mean of that year by its distance from it over the others
    assert row["difference"] == pytest.approx(once["difference"].iloc[7], abs=2.0 / (N - 1))


def test_effects_for_the_rules_by_hand():
    found = neighbour_effects(NEIGHBOURS, SCHOOLS, max_imbalance=9.0)
    table = compare_with_neighbours(NEIGHBOURS, SCHOOLS, max_imbalance=9.0).table
    d, v = table["difference"].to_numpy(), table["std_error"].to_numpy() ** 2
    # eight neighbours of weight 1/8: the differences carry 1 + 1/8 of the variance
    assert (d**2 / (v + found.variance * 1.125)).sum() == pytest.approx(N)
    own = found.school_effects
    error = v + found.variance / 8.0
    trust = found.variance / (found.variance + error)
    assert own["reliability"].to_numpy() == pytest.approx(trust)
    assert own["effect"].to_numpy() == pytest.approx(trust * d)
    assert own["sampling_variance"].to_numpy() == pytest.approx(error)
    # what the rules find back from a row: variance and precision
    sigma = own["conditional_sd"] ** 2 / (1.0 - own["reliability"])
    assert sigma.to_numpy() == pytest.approx(np.full(N, found.variance))
    assert (own["observed_mean"] - own["expected_mean"]).to_numpy() == pytest.approx(d)


def test_schools_without_a_comparison_have_no_effect_and_are_listed():
    found = neighbour_effects(nearest(alone=("S03",)), SCHOOLS, max_imbalance=9.0)
    assert len(found.school_effects) == N - 1
    assert found.left_out["school_id"].tolist() == ["S03"]
    assert found.augment(SCHOOLS)["effect"].isna().sum() == 1


def test_no_more_spread_than_sampling_error_warns():
    results = SCHOOLS.assign(sampling_variance=9.0)
    with pytest.warns(WeakDataWarning, match="variance of the effects is estimated at zero"):
        found = neighbour_effects(NEIGHBOURS, results, max_imbalance=9.0)
    assert (found.school_effects["effect"] == 0.0).all()
    assert (found.school_effects["reliability"] == 0.0).all()


def test_augment_keeps_the_rows_of_the_table():
    found = compare_with_neighbours(NEIGHBOURS, SCHOOLS)
    mixed = SCHOOLS.sample(frac=1.0, random_state=3)
    added = found.augment(mixed)
    assert added.index.equals(mixed.index)
    expected = found.table.set_index("school_id").loc[mixed["school_id"], "difference"]
    assert added["difference"].tolist() == expected.tolist()


def test_results_keep_the_contract():
    for found in (
        compare_with_neighbours(NEIGHBOURS, SCHOOLS, regression=regression()),
        neighbour_effects(NEIGHBOURS, SCHOOLS),
    ):
        assert set(found.tidy().columns) <= set(column_names())
        assert set(found.glance().columns) <= set(column_names())
        assert json.dumps(found.to_dict()) == json.dumps(
            pickle.loads(pickle.dumps(found)).to_dict()
        )
        assert found.title("ru") in found.summary("ru")


def test_glossary_knows_which_columns_are_shrunken():
    assert column("effect").shrunken
    assert not column("residual").shrunken
    assert not column("mean_score").shrunken
