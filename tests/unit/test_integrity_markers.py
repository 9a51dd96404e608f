"""Our own markers, one by one on tables built to show them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.catalogue import load_dataset
from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.borders import mark_borders
from resilience.detection.integrity.confirmation import register_lines
from resilience.detection.integrity.follow_up import later_exam
from resilience.detection.integrity.markers import integrity_markers
from resilience.detection.integrity.round_shares import round_shares
from resilience.detection.integrity.thresholds import IntegrityThresholds
from resilience.errors import DataError
from resilience.stats.integrity.adjacent_scores import pooled_null

N_SCHOOLS = 40


def means(procedure, year, *, special=None, sd=4.0, seed=0, n=25):
    """Return school means near 10; ``special`` sets those of the first schools."""
    rng = np.random.default_rng(seed)
    level = 10 + np.random.default_rng(99).normal(size=N_SCHOOLS)
    mean = level + rng.normal(0, 0.2, N_SCHOOLS)
    table = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(N_SCHOOLS)],
            "year": year,
            "procedure": procedure,
            "n_participants": n,
            "mean_score": mean,
            "sd": sd,
        }
    )
    for at, value in enumerate(special or ()):
        table.loc[at, "mean_score"] = value
    return table


RESULTS = pd.concat(
    [
        means("ВПР-5-МА", 2024, special=[16.0, 16.0, 16.0, 10.0], seed=1),
        means("ВПР-6-МА", 2025, special=[16.0, 9.0, 16.0, 10.0], seed=2),
        means("ОГЭ-МА", 2028, special=[16.0, 16.0, 9.0, 10.0], seed=3),
    ],
    ignore_index=True,
)


def verdicts(found, marker, procedure="ВПР-5-МА"):
    rows = found.markers[
        (found.markers["marker"] == marker) & (found.markers["procedure"] == procedure)
    ]
    return rows.set_index("school_id")["verdict"]


def test_a_high_mean_counts_with_a_fall_or_without_a_later_confirmation():
    found = integrity_markers(RESULTS)
    high = verdicts(found, "high_mean")
    assert high[["S00", "S01", "S02", "S03"]].tolist() == ["yes", "yes", "yes", "no"]
    fall = verdicts(found, "cohort_fall")
    assert fall[["S00", "S01", "S02"]].tolist() == ["no", "yes", "no"]
    later = verdicts(found, "no_follow_up")
    assert later[["S00", "S01", "S02"]].tolist() == ["no", "no", "yes"]
    flags = found.flags.set_index("school_id")["integrity_flag"]
    # S02 stands high in both tests of the cohort and its exam confirms neither
    assert flags[flags.fillna(False)].index.tolist() == ["S01", "S02"]
    assert "high mean that is not confirmed" in str(found.explain("S01"))
    assert "дополнительного анализа" in str(found.explain("S01", lang="ru"))


def test_high_mean_by_hand():
    found = integrity_markers(RESULTS).markers
    rows = RESULTS[RESULTS["procedure"] == "ВПР-5-МА"]
    mean = rows["mean_score"].mean()  # all schools of one size
    total = 24 * 16.0 * N_SCHOOLS + 25 * ((rows["mean_score"] - mean) ** 2).sum()
    spread = np.sqrt(total / (25 * N_SCHOOLS - 1))
    own = found[(found["marker"] == "high_mean") & (found["school_id"] == "S00")].iloc[0]
    assert own["value"] == pytest.approx((16 - 1.96 * 4 / 5 - mean) / spread, abs=1e-12)
    assert own["threshold"] == 0.4


def test_selective_schools_are_not_judged_by_their_mean():
    schools = pd.DataFrame({"school_id": ["S01", "S02"], "is_selective": [True, False]})
    found = integrity_markers(RESULTS, schools=schools)
    assert verdicts(found, "high_mean")["S01"] == "not_applicable"
    flags = found.flags.set_index("school_id")["integrity_flag"]
    assert flags[flags.fillna(False)].index.tolist() == ["S02"]


def test_selectivity_in_words_is_refused():
    """«да» is not true: the school would be judged as if it took everybody."""
    schools = pd.DataFrame({"school_id": ["S01", "S02"], "is_selective": ["да", "нет"]})
    with pytest.raises(DataError, match="S01 is 'да'"):
        integrity_markers(RESULTS, schools=schools)
    unknown = pd.DataFrame({"school_id": ["S01", "S02"], "is_selective": [True, None]})
    found = integrity_markers(RESULTS, schools=unknown)
    assert verdicts(found, "high_mean")["S01"] == "not_applicable"
    assert verdicts(found, "high_mean")["S02"] != "not_applicable"


def test_small_schools_are_not_judged():
    small = RESULTS.assign(
        n_participants=RESULTS["n_participants"].where(RESULTS["school_id"] != "S01", 9)
    )
    found = integrity_markers(small)
    row = found.schools.set_index("school_id").loc["S01"]
    assert row["verdict"] == "insufficient_data"
    assert verdicts(found, "cohort_fall")["S01"] == "insufficient_data"


def test_little_spread_counts_with_a_high_mean_only():
    table = RESULTS.copy()
    table.loc[table["school_id"].isin(["S00", "S03"]), "sd"] = 1.0
    found = integrity_markers(table)
    low = verdicts(found, "low_variance")
    assert (low["S00"], low["S03"]) == ("yes", "no")


def test_later_exam_is_of_the_same_cohort_and_subject():
    known = {("ОГЭ-МА", 2028), ("ЕГЭ-МА-профиль", 2030), ("ЕГЭ-МА-база", 2030), ("ОГЭ-РУ", 2028)}
    assert later_exam("ВПР-5-МА", 2024, known) == ("ОГЭ-МА", 2028)
    assert later_exam("ВПР-5-МА", 2025, known) is None
    assert later_exam("ВПР-5-МА", 2024, known - {("ОГЭ-МА", 2028)}) == ("ЕГЭ-МА-профиль", 2030)


def items(turned=("S01",), seed=0):
    rng = np.random.default_rng(seed)
    facility = np.linspace(0.9, 0.2, 12)
    rows = []
    for k in range(N_SCHOOLS):
        p = facility + rng.normal(0, 0.03, 12)
        if f"S{k:02d}" in turned:
            p[:4] -= 0.25
            p[-4:] += 0.30
        rows.append(
            pd.DataFrame(
                {
                    "school_id": f"S{k:02d}",
                    "item_id": [f"{i + 1}" for i in range(12)],
                    "facility": np.clip(p, 0, 1),
                }
            )
        )
    return pd.concat(rows).assign(year=2024, procedure="ВПР-5-МА", n_participants=25)


def test_easy_items_worse_and_hard_items_better():
    found = integrity_markers(RESULTS, items=items())
    own = verdicts(found, "item_pattern")
    assert own[own == "yes"].index.tolist() == ["S01"]
    # a school that is better throughout turns nothing round
    better = items(turned=())
    better.loc[better["school_id"] == "S01", "facility"] += 0.08
    assert (verdicts(integrity_markers(RESULTS, items=better), "item_pattern") == "no").all()


def test_item_pattern_by_hand():
    table = items()
    line = integrity_markers(RESULTS, items=table).markers
    own = line[(line["marker"] == "item_pattern") & (line["school_id"] == "S01")].iloc[0]
    wide = table.pivot_table(index="school_id", columns="item_id", values="facility")
    order = wide.mean().sort_values().index  # one size: the mean of schools is that of pupils
    z = []
    for used in (order[-4:], order[:4]):
        elsewhere = wide.drop("S01")[used].mean()
        apart = (wide.loc["S01", used] - elsewhere).sum()
        z.append(apart / np.sqrt((elsewhere * (1 - elsewhere) / 25).sum()))
    assert own["value"] == pytest.approx(min(-z[0], z[1]), abs=1e-12)


def register(gaps):
    """Return a journal in which a number of pupils of each school stands two marks apart."""
    rows = []
    for k in range(N_SCHOOLS):
        far = gaps.get(f"S{k:02d}", 1)
        marks = np.array([3] * 20)
        journal = np.where(np.arange(20) < far, 5, np.where(np.arange(20) < 12, 4, 3))
        rows.append(
            pd.DataFrame({"school_id": f"S{k:02d}", "mark": marks, "register_mark": journal})
        )
    return pd.concat(rows).assign(year=2024, procedure="ВПР-5-МА")


def test_pupils_far_from_their_school_mark():
    found = integrity_markers(RESULTS, journal=register({"S07": 9}))
    own = verdicts(found, "register")
    assert own[own == "yes"].index.tolist() == ["S07"]
    row = found.confirmation.set_index(["school_id", "procedure"]).loc[("S07", "ВПР-5-МА")]
    assert row["share_far"] == pytest.approx(9 / 20)
    assert row["share_lowered"] == pytest.approx(12 / 20)
    assert row["share_confirmed"] == pytest.approx(8 / 20)
    assert row["share_raised"] == 0.0
    assert row["later_procedure"] == "ОГЭ-МА"


def test_scores_of_the_journal_become_marks_by_the_scale():
    scale = pd.DataFrame(
        {
            "procedure": "ВПР-5-МА",
            "year": 2024,
            "mark": [3, 4, 5],
            "border_score": [7, 11, 15],
            "max_score": 20,
        }
    )
    journal = pd.DataFrame(
        {
            "school_id": "S00",
            "year": 2024,
            "procedure": "ВПР-5-МА",
            "register_mark": [3, 3, 4, 5],
            "score": [6, 7, 14, 15],
        }
    )
    found = integrity_markers(RESULTS, journal=journal, borders=scale)
    row = found.confirmation.set_index(["school_id", "procedure"]).loc[("S00", "ВПР-5-МА")]
    assert row["share_confirmed"] == pytest.approx(3 / 4)
    assert row["share_lowered"] == pytest.approx(1 / 4)


def test_counted_tests_and_border_peaks_of_the_north_region():
    region = load_dataset("north_region")
    tables = region.score_histograms
    own = tables[tables["procedure"].str.startswith("ВПР")]
    peaks = adjacent_scores(own, mark_borders(region.procedures))
    found = integrity_markers(tables, adjacent=peaks, schools=region.schools)
    inflated = region.truth["schools"].set_index("school_id")["inflated"]
    flags = found.flags.set_index("school_id")["integrity_flag"].fillna(False).astype(bool)
    # 18 by scores at borders, all right; two more by a high mean that does not hold
    assert (flags & inflated).sum() == 18
    assert (flags & ~inflated).sum() <= 2
    counted = found.schools.set_index("school_id")["n_markers"]
    assert counted.max() <= 2  # only ВПР-5 of the four counted tests is there
    known = set(column_names())
    for table in (found.tidy(), found.glance(), found.by_marker, found.confirmation, found.schools):
        assert set(table.columns) <= known
    assert found.summary("ru").count("\n") > 10
    assert "правило не подтверждено официальным документом" in found.summary("ru")


def test_thresholds_are_arguments():
    strict = integrity_markers(RESULTS, thresholds=IntegrityThresholds(high_mean=2.0))
    assert (verdicts(strict, "high_mean") == "no").all()
    pairs = register({"S07": 9}).assign(n_pupils=1)
    lines = register_lines(pairs, IntegrityThresholds(register_gap=1))
    assert {line.value for line in lines} == {12 / 20}


def test_round_shares_against_their_chances():
    rng = np.random.default_rng(4)
    n = rng.integers(10, 40, 200)
    f = rng.binomial(n, rng.beta(4, 16, 200))
    table = pd.DataFrame(
        {
            "school_id": [f"S{k}" for k in range(200)],
            "year": 2025,
            "procedure": "ВПР-5-МА",
            "n_participants": n,
            "n_below_minimum": f,
        }
    )
    honest = round_shares(table).set_index("round_share")
    assert honest["n_round"].loc[0.5] == (2 * f == n).sum()
    assert (honest["p_value"] > 0.01).all()
    even = (n % 2 == 0) & (np.arange(200) < 60)
    table.loc[even, "n_below_minimum"] = n[even] // 2
    assert round_shares(table).set_index("round_share")["p_value"].loc[0.5] < 1e-6
    by_school = round_shares(table, by="school_id")
    assert len(by_school) == 600


def test_unequal_trials_by_hand():
    pmf = pooled_null([1, 1], [0.2, 0.5])
    np.testing.assert_allclose(pmf, [0.4, 0.5, 0.1])
