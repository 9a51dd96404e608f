"""The adjacent-score test on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.data.catalogue import load_dataset
from resilience.detection.integrity.adjacent import adjacent_scores
from resilience.detection.integrity.borders import Window, mark_borders, read_borders, score_windows
from resilience.errors import WeakDataWarning


def borders_of(scores, maximum, procedure="ВПР-5-МА", year=2025):
    return pd.DataFrame(
        {
            "procedure": procedure,
            "year": year,
            "mark": [3, 4, 5],
            "border_score": scores,
            "max_score": maximum,
        }
    )


def region(n_schools=24, years=(2025,), seed=0, size=60):
    rng = np.random.default_rng(seed)
    rows = []
    for year in years:
        for j in range(n_schools):
            raw = np.clip(np.rint(rng.normal(10.5, 4, size)), 0, 20).astype(int)
            score, n = np.unique(raw, return_counts=True)
            rows.append(
                pd.DataFrame(
                    {"school_id": f"S{j:02d}", "year": year, "score": score, "n_pupils": n}
                )
            )
    return pd.concat(rows, ignore_index=True).assign(procedure="ВПР-5-МА")


def test_windows_keep_clear_of_each_other_and_of_the_ends():
    wide = score_windows(read_borders(borders_of([7, 11, 15], 20)), window=2)
    assert wide == [
        Window(mark=3, border=7, first=5, last=8),
        Window(mark=4, border=11, first=9, last=12),
        Window(mark=5, border=15, first=13, last=16),
    ]
    # physics of grade 8: borders three apart leave one score on each side
    narrow = score_windows(read_borders(borders_of([5, 8, 11], 18)), window=2)
    assert [(w.first, w.last) for w in narrow] == [(4, 5), (7, 8), (10, 11)]
    ends = score_windows(read_borders(borders_of([1, 10, 20], 20)), window=2)
    assert [(w.border, w.width) for w in ends] == [(1, 1), (10, 2), (20, 1)]


def test_borders_come_from_the_scale_of_the_year():
    table = mark_borders(load_dataset("north_region").procedures)
    own = table[(table["procedure"] == "ВПР-5-МА") & (table["year"] == 2025)]
    # VPR2021: mathematics of grade 5, 0-6 / 7-10 / 11-14 / 15-20
    assert own["border_score"].tolist() == [7, 11, 15]
    assert own["max_score"].tolist() == [20] * 3
    assert own["scale_year"].tolist() == [2021] * 3


def test_counts_of_one_school_by_hand():
    table = region()
    own = table[table["school_id"] == "S05"].set_index("score")["n_pupils"]
    found = adjacent_scores(table, borders_of([7, 11, 15], 20)).windows
    rows = found[found["school_id"] == "S05"].set_index("mark")
    for mark, c in ((3, 7), (4, 11), (5, 15)):
        total = own.reindex(range(c - 2, c + 2), fill_value=0).sum()
        assert rows.loc[mark, "n_windows"] == total
        assert rows.loc[mark, "n_above"] == own.reindex(range(c, c + 2), fill_value=0).sum()


def test_years_are_pooled_and_older_ones_left_out():
    years = (2022, 2023, 2024, 2025)
    table = region(years=years)
    scale = pd.concat([borders_of([7, 11, 15], 20, year=y) for y in years])
    found = adjacent_scores(table, scale, years=3)
    assert found.years == (2023, 2024, 2025)
    whole = found.windows.groupby("school_id")[["n_windows", "n_above"]].sum()
    np.testing.assert_array_equal(
        whole[["n_windows", "n_above"]].to_numpy(),
        found.schools[["n_windows", "n_above"]].to_numpy(),
    )
    assert (found.schools["n_results"] == 180).all()


def test_few_pupils_have_no_answer_and_are_told_how_many_are_needed():
    table = region()
    small = table[table["school_id"] == "S00"].assign(school_id="S99", n_pupils=0)
    small.iloc[:3, small.columns.get_loc("n_pupils")] = 2
    listed = pd.DataFrame({"school_id": ["S98"]})
    found = adjacent_scores(
        pd.concat([table, small]), borders_of([7, 11, 15], 20), schools=listed
    ).schools.set_index("school_id")
    for school in ("S98", "S99"):
        row = found.loc[school]
        assert row["verdict"] == "insufficient_data"
        assert np.isnan(row["integrity_q_value"])
        assert row["n_windows"] < 30
        assert f"{row['results_needed']:.0f}" in row["reason"]
    assert (found.drop(["S98", "S99"])["verdict"] != "insufficient_data").all()


def test_result_does_not_depend_on_the_order_of_rows():
    table = region()
    scale = borders_of([7, 11, 15], 20)
    first = adjacent_scores(table, scale)
    again = adjacent_scores(table.sample(frac=1, random_state=1), scale.iloc[::-1])
    pd.testing.assert_frame_equal(first.schools, again.schools)
    other = adjacent_scores(table, scale, random_state=5)
    assert not other.schools["expected_share"].equals(first.schools["expected_share"])


def test_a_curve_without_room_is_left_out_and_said():
    table = pd.concat([region(), region(seed=1).assign(procedure="ВПР-6-МА")])
    table.loc[table["procedure"] == "ВПР-6-МА", "score"] //= 2
    table = table.groupby(["school_id", "year", "procedure", "score"], as_index=False).sum()
    scale = pd.concat(
        [borders_of([7, 11, 15], 20), borders_of([3, 6, 9], 10, procedure="ВПР-6-МА")]
    )
    found = adjacent_scores(table, scale, reference="smooth")
    lines = found.borders.set_index(["procedure", "mark"])
    assert (lines.loc["ВПР-6-МА", "window_width"] == 0).all()
    assert all("degree 5" in r for r in lines.loc["ВПР-6-МА", "reason"])
    assert any("ВПР-6-МА" in note for note in found.notes)
    assert set(found.windows["procedure"]) == {"ВПР-5-МА"}


def test_few_schools_warn():
    with pytest.warns(WeakDataWarning, match="only 6 schools"):
        adjacent_scores(region(n_schools=6), borders_of([7, 11, 15], 20))


def test_tables_speak_two_languages_and_stand_in_the_glossary():
    found = adjacent_scores(region(), borders_of([7, 11, 15], 20))
    known = set(column_names())
    tables = (found.tidy(), found.glance(), found.windows, found.borders, found.flags)
    for table in tables:
        assert set(table.columns) <= known
    told = found.explain("S01", lang="ru")
    assert "учеников около границ" in str(told)
    assert "proves nothing" in str(found.explain("S01"))
    assert found.summary("ru").startswith("Баллы у границ отметок")
    data = pd.DataFrame({"school_id": ["S03", "S77"]}, index=[5, 9])
    added = found.augment(data)
    assert list(added.index) == [5, 9]
    assert not bool(added["integrity_flag"].iloc[0])
    assert added["integrity_flag"].isna().iloc[1]
