"""The federal markers: oracles 8 to 11 and what stands around them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.detection.integrity.marker_sets import MarkerSet
from resilience.detection.integrity.objectivity import objectivity_markers, ratio_limits
from resilience.detection.integrity.regional import municipal_shares, regional_markers
from resilience.errors import WeakDataWarning
from resilience.stats.marks.mark_agreement import rank_correlation


def region_of(m, mean, s, *, n_total=1000, target=25.0, spread=6.0):
    """Return a school and one other that give the region its mean and SD exactly."""
    n = n_total - m
    other = (n_total * target - m * mean) / n
    within = (n_total - 1) * spread**2
    within -= (m - 1) * s**2 if m > 1 else 0
    within -= m * (mean - target) ** 2 + n * (other - target) ** 2
    return pd.DataFrame(
        {
            "school_id": ["S1", "S2"],
            "year": 2025,
            "procedure": "ВПР-4-РУ",
            "n_participants": [m, n],
            "mean_score": [mean, other],
            "sd": [s if m > 1 else np.nan, np.sqrt(within / (n - 1))],
        }
    )


@pytest.mark.parametrize(
    ("m", "lower", "verdict"),
    [(25, 26.040, "yes"), (16, 25.550, "yes"), (9, 24.733, "no"), (1, None, "insufficient_data")],
)
def test_oracle_8_overstated_mean(m, lower, verdict):
    found = objectivity_markers(region_of(m, 28.0, 5.0)).markers
    row = found[(found["school_id"] == "S1") & (found["marker_number"] == 1)].iloc[0]
    assert row["verdict"] == verdict
    assert row["threshold"] == pytest.approx(25.372, abs=5e-4)
    if lower is not None:
        assert row["value"] == pytest.approx(lower, abs=5e-4)


@pytest.mark.parametrize(
    ("marks", "scores", "printed", "corrected"),
    [
        ([5, 4, 3], [10, 20, 30], -1.0, -1.0),
        ([3, 3, 3, 3, 3, 4], [8, 10, 13, 15, 17, 11], 0.2, -0.1309),
        ([4] * 6, [1, 2, 3, 4, 5, 6], 0.5, np.nan),
        ([5, 4, 4, 3, 3], [18, 15, 9, 11, 7], 0.75, 0.7379),
    ],
)
def test_oracle_9_rank_correlation(marks, scores, printed, corrected):
    assert rank_correlation(marks, scores) == pytest.approx(printed, abs=5e-5)
    ours = rank_correlation(marks, scores, ties="corrected")
    assert ours == pytest.approx(corrected, abs=5e-5, nan_ok=True)


def pairs(*schools, procedure="ВПР-4-РУ"):
    return pd.concat(
        [
            pd.DataFrame({"school_id": name, "register_mark": marks, "score": scores})
            for name, marks, scores in schools
        ],
        ignore_index=True,
    ).assign(year=2025, procedure=procedure)


JOURNAL = pairs(
    ("S1", [5, 4, 3], [10, 20, 30]),
    ("S2", [3, 3, 3, 3, 3, 4], [8, 10, 13, 15, 17, 11]),
    ("S3", [4] * 6, [1, 2, 3, 4, 5, 6]),
)
MEANS = pd.DataFrame(
    {
        "school_id": ["S1", "S2", "S3", "S4"],
        "year": 2025,
        "procedure": "ВПР-4-РУ",
        "n_participants": [3, 6, 6, 30],
        "mean_score": [20.0, 12.0, 11.0, 15.0],
        "sd": [10.0, 3.5, 4.0, 5.0],
    }
)


@pytest.mark.parametrize(
    ("ties", "answers"),
    [
        ("printed", ["yes", "no", "no", "insufficient_data"]),
        ("corrected", ["yes", "yes", "insufficient_data", "insufficient_data"]),
    ],
)
def test_school_marks_by_both_coefficients(ties, answers):
    found = objectivity_markers(MEANS, journal=JOURNAL, ties=ties).markers
    own = found[found["marker_number"] == 7].sort_values("school_id")
    assert own["verdict"].tolist() == answers


def test_pupils_and_counts_of_combinations_say_the_same():
    together = (
        JOURNAL.groupby(["school_id", "year", "procedure", "register_mark", "score"])
        .size()
        .rename("n_pupils")
        .reset_index()
    )
    one = objectivity_markers(MEANS, journal=JOURNAL).markers
    two = objectivity_markers(MEANS, journal=together).markers
    pd.testing.assert_frame_equal(one, two)


def cohort(ratios, *, later=10.0):
    n = len(ratios)
    early = pd.DataFrame({"mean_score": np.asarray(ratios) * later, "procedure": "ВПР-4-МА"})
    late = pd.DataFrame({"mean_score": np.full(n, later), "procedure": "ВПР-5-МА"})
    table = pd.concat([early.assign(year=2024), late.assign(year=2025)])
    ids = [f"S{k:02d}" for k in range(n)] * 2
    return table.assign(school_id=ids, n_participants=20, sd=2.0)


TOPS = pd.DataFrame(
    {"procedure": ["ВПР-4-МА", "ВПР-5-МА"], "year": [2024, 2025], "max_score": [20, 20]}
)


def test_oracle_10_cohorts():
    # .70 / .50 = 1.4; quartiles .95 and 1.05 put the limits at .65 and 1.35
    assert pytest.approx(1.4) == 0.70 / 0.50
    assert ratio_limits(np.array([0.95] * 50 + [1.05] * 50), 3.0, "linear") == pytest.approx(
        (0.65, 1.35)
    )
    ratios = [0.95] * 20 + [1.05] * 20 + [1.4, 0.64, 1.349]
    found = objectivity_markers(cohort(ratios), procedures=TOPS).markers
    answers = found.set_index(["marker_number", "school_id"])["verdict"]
    limits = found.set_index(["marker_number", "school_id"])["threshold"]
    assert limits[14, "S00"] == pytest.approx(1.35)
    assert limits[12, "S00"] == pytest.approx(0.65)
    assert [answers[14, s] for s in ("S40", "S41", "S42")] == ["yes", "no", "no"]
    assert [answers[12, s] for s in ("S40", "S41", "S42")] == ["no", "yes", "no"]


def test_a_ratio_on_the_limit_is_not_marked():
    ratios = [0.75] * 20 + [1.0] * 20 + [1.75, 0.0]  # exact in binary: 1.0 + 3 × .25
    found = objectivity_markers(cohort(ratios, later=8.0), procedures=TOPS).markers
    answers = found.set_index(["marker_number", "school_id"])["verdict"]
    assert answers[14, "S40"] == "no"
    assert answers[12, "S41"] == "no"


def test_percentile_method_is_a_choice():
    ratios = [0.9, 1.0, 1.1, 1.2, 1.3]
    lower = ratio_limits(np.array(ratios), 3.0, "lower")
    hazen = ratio_limits(np.array(ratios), 3.0, "hazen")
    assert lower != pytest.approx(hazen)


def test_oracle_10_index():
    schools = pd.DataFrame({"school_id": [f"S{k:03d}" for k in range(250)]})
    marks = [(f"S{k:03d}", [5, 4, 3], [1, 2, 3]) for k in range(37)]
    marks += [(f"S{k:03d}", [3, 4, 5], [1, 2, 3]) for k in range(37, 250)]
    means = schools.assign(
        year=2025, procedure="ВПР-4-РУ", n_participants=3, mean_score=2.0, sd=1.0
    )
    found = objectivity_markers(means, journal=pairs(*marks))
    assert found.index == pytest.approx(85.2)
    assert found.glance()["n_marked"].item() == 37
    # schools that sat nothing are in the table and not in the index
    more = pd.DataFrame({"school_id": [f"S{k:03d}" for k in range(400)]})
    assert objectivity_markers(means, journal=pairs(*marks), schools=more).index == found.index


def test_oracle_11_municipal_share():
    marked = pd.DataFrame({"school_id": ["A", "B", "C"], "municipality_id": ["M1", "M1", "M2"]})
    sat = pd.DataFrame({"school_id": ["A", "D", "E"], "municipality_id": ["M1", "M2", "M3"]})
    # B is marked and did not sit Russian of grade 4: still in the numerator
    with pytest.warns(WeakDataWarning, match="M1: 2 marked schools against 1"):
        found = municipal_shares(marked, sat).set_index("municipality_id")
    assert found["n_sat"].tolist() == [1, 1, 1]
    assert found["marked_share"].tolist() == [2.0, 1.0, 0.0]


def test_share_above_one_warns_from_the_whole_run():
    schools = pd.DataFrame({"school_id": ["S1", "S2", "S3", "S4"], "municipality_id": "M1"})
    journal = pairs(*((f"S{k}", [5, 4, 3], [10, 20, 30]) for k in (1, 2, 3)), procedure="ВПР-5-РУ")
    results = pd.concat([MEANS.assign(procedure="ВПР-5-РУ"), MEANS[MEANS["school_id"] == "S4"]])
    with pytest.warns(WeakDataWarning, match="3 marked schools against 1"):
        found = objectivity_markers(results, journal=journal, schools=schools)
    assert found.municipalities["marked_share"].item() == pytest.approx(3.0)


def test_regional_list_adds_up_and_absence_means_not_marked():
    listed = pd.DataFrame(
        {"school_id": ["S1", "S3"], "4 РУ": [1, 0], "4  МА": [1, 0], "5 РУ": [0, 1], "5 МА": [1, 0]}
    )
    schools = pd.DataFrame({"school_id": ["S1", "S2", "S3"], "municipality_id": ["M1", "M1", "M2"]})
    found = regional_markers(listed, schools).set_index("school_id")
    assert found["n_markers"].to_dict() == {"S1": 3, "S2": 0, "S3": 1}
    assert found.loc["S2", "marked_russian_4"] == 0


def test_the_set_is_data_with_its_standing():
    rule = MarkerSet.preset("objectivity_14")
    assert [m.number for m in rule.markers] == list(range(1, 15))
    assert (rule.status, rule.reference, rule.second_hand) == (
        "documented",
        "FIOKOObjectivity",
        True,
    )
    assert {m.procedure for m in rule.markers[:6]} == {
        "ВПР-4-РУ",
        "ВПР-4-МА",
        "ВПР-5-РУ",
        "ВПР-5-МА",
        "ОГЭ-РУ",
        "ОГЭ-МА",
    }
    assert "резкое снижение" in rule.describe("ru")


def test_histograms_and_their_means_say_the_same():
    rng = np.random.default_rng(0)
    rows = []
    for k in range(8):
        raw = rng.integers(5, 20, 30) + k // 7 * 4
        score, n = np.unique(raw, return_counts=True)
        rows.append(pd.DataFrame({"school_id": f"S{k}", "score": score, "n_pupils": n}))
    tables = pd.concat(rows).assign(year=2025, procedure="ОГЭ-МА")
    own = tables.reset_index(drop=True)
    pupils = own.loc[own.index.repeat(own["n_pupils"])]
    assert len(pupils) == 240
    means = (
        pupils.groupby(["school_id", "year", "procedure"])["score"]
        .agg(n_participants="size", mean_score="mean", sd="std")
        .reset_index()
    )
    one, two = objectivity_markers(own).markers, objectivity_markers(means).markers
    pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-10)
    assert one.loc[one["school_id"] == "S7", "verdict"].eq("yes").any()


def test_words_and_tables():
    found = objectivity_markers(MEANS, journal=JOURNAL)
    known = set(column_names())
    for table in (
        found.tidy(),
        found.glance(),
        found.by_marker,
        found.municipalities,
        found.schools,
    ):
        assert set(table.columns) <= known
    told = str(found.explain("S1", lang="ru"))
    assert "несоответствие результатов и школьных отметок" in told
    assert "ничего не доказывает" in told
    assert found.summary("ru").startswith("Признаки необъективности")
    assert found.augment(pd.DataFrame({"school_id": ["S1"]}))["n_markers"].item() == 1
