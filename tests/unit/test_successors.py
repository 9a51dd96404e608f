"""Successors: rows handed over, worked out by hand, and the account of what happened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.results import format_table
from resilience.value_added.years.handed_over import with_successors
from resilience.value_added.years.school_events import school_events
from resilience.value_added.years.successors import Successors


def rows(*keys):
    """Rows of pupils: school, year."""
    return pd.DataFrame(keys, columns=["school_id", "year"]).assign(
        score=lambda f: np.arange(len(f), dtype=float)
    )


TABLE = rows(
    ("S01", 2020), ("S01", 2021), ("S02", 2020), ("S02", 2022), ("S05", 2020), ("S05", 2021),
    ("S05", 2022), ("S09", 2022),
)  # fmt: skip


def test_a_merger_hands_all_results_over():
    found = with_successors(TABLE, Successors({"S01": "S05", "S02": "S05"}))
    assert found["school_id"].tolist() == ["S05"] * 7 + ["S09"]
    assert found["former_id"].tolist() == TABLE["school_id"].tolist()
    assert (found["successor_share"] == 1.0).all()
    pd.testing.assert_series_equal(found["score"], TABLE["score"])
    assert found["school_id"].dtype == TABLE["school_id"].dtype


def test_with_a_year_only_earlier_results_are_handed_over():
    table = pd.DataFrame({"old_id": ["S02"], "new_id": ["S05"], "year": [2022]})
    found = with_successors(TABLE, Successors(table))
    moved = found["school_id"] != found["former_id"]
    assert found.loc[moved, "year"].tolist() == [2020]
    assert ((found["school_id"] == "S02") & (found["year"] == 2022)).sum() == 1


def test_chains_are_followed_year_by_year():
    """S01 became S02 in 2021, S02 became S05 in 2022."""
    table = pd.DataFrame({"old_id": ["S02", "S01"], "new_id": ["S05", "S02"], "year": [2022, 2021]})
    found = with_successors(TABLE, Successors(table))
    by = found.set_index(["former_id", "year"])["school_id"]
    assert by["S01", 2020] == "S05"
    assert by["S01", 2021] == "S01"  # results of the event's year are its own
    assert by["S02", 2020] == "S05"
    assert by["S02", 2022] == "S02"


def test_a_split_divides_every_row_by_shares():
    links = pd.DataFrame({"old_id": ["S05"] * 2, "new_id": ["S05", "S09"], "share": [0.7, 0.3]})
    found = with_successors(TABLE, Successors(links))
    assert len(found) == len(TABLE) + 3
    own = found[found["former_id"] == "S05"]
    assert own.groupby("school_id")["successor_share"].unique().map(list).to_dict() == {
        "S05": [0.7],
        "S09": [0.3],
    }
    # nothing is lost and nothing made: the shares of every row add up to one
    total = found.groupby("score")["successor_share"].sum()
    np.testing.assert_allclose(total, 1.0)


def test_two_ways_that_meet_again_are_one_row():
    links = pd.DataFrame(
        {
            "old_id": ["S01", "S01", "S02", "S05"],
            "new_id": ["S02", "S05", "S09", "S09"],
            "share": [0.4, 0.6, 1.0, 1.0],
        }
    )
    found = with_successors(TABLE, Successors(links))
    assert set(found["school_id"]) == {"S09"}
    np.testing.assert_allclose(found["successor_share"], 1.0)
    assert len(found) == len(TABLE)


MEANS = pd.DataFrame(
    {
        "school_id": ["A", "B", "C", "C"],
        "municipality_id": ["M1", "M1", "M2", "M2"],
        "year": [2020, 2020, 2020, 2021],
        "mean_score": [10.0, 20.0, 40.0, 50.0],
        "n_pupils": [10, 30, 60, 50],
        "variance": [0.4, 0.2, 0.1, 0.1],
        "n_2": [1, 2, 3, 4],
        "note": ["a", "b", "c", "c"],
    }
)


def test_means_that_come_together_are_weighted_by_pupils():
    found = with_successors(
        MEANS,
        Successors({"A": "C", "B": "C"}),
        n="n_pupils",
        variance="variance",
        counts=["n_2"],
        follow=["municipality_id"],
    )
    assert found["year"].tolist() == [2020, 2021]
    first = found.iloc[0]
    # (10·10 + 30·20 + 60·40) / 100, (10²·.4 + 30²·.2 + 60²·.1) / 100²
    assert first["mean_score"] == pytest.approx(31.0)
    assert first["variance"] == pytest.approx(580.0 / 10_000)
    assert (first["n_pupils"], first["n_2"]) == (100, 6)
    assert (first["note"], first["municipality_id"], first["former_id"]) == ("c", "M2", "C")
    assert found.loc[1, "mean_score"] == 50.0


def test_a_mean_handed_on_in_part_keeps_its_value_and_loses_precision():
    links = pd.DataFrame({"old_id": ["A", "A"], "new_id": ["B", "C"], "share": [0.5, 0.5]})
    found = with_successors(MEANS, Successors(links), n="n_pupils", variance="variance")
    b = found[(found["school_id"] == "B")].iloc[0]
    # (5·10 + 30·20) / 35; half of A is a mean of 5 pupils with twice the variance
    assert b["mean_score"] == pytest.approx(650 / 35)
    assert b["variance"] == pytest.approx((25 * 0.8 + 900 * 0.2) / 35**2)
    assert found["n_pupils"].sum() == pytest.approx(MEANS["n_pupils"].sum())


def test_rows_of_different_procedures_stay_apart():
    table = MEANS.assign(procedure=["МА", "РУ", "МА", "МА"])
    found = with_successors(
        table, Successors({"A": "C", "B": "C"}), n="n_pupils", keys=["procedure"]
    )
    assert found[["year", "procedure"]].to_numpy().tolist() == [
        [2020, "МА"],
        [2020, "РУ"],
        [2021, "МА"],
    ]


def test_a_model_takes_the_table_as_it_comes():
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(14), 30)
    pupils = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "municipality_id": [f"M{k % 3}" for k in school],
            "year": np.tile(np.repeat([2020, 2021, 2022], 10), 14),
            "prior_score": rng.normal(size=len(school)),
        }
    )
    pupils["score"] = rng.normal(size=len(school)) + rng.normal(size=14)[school]
    links = pd.DataFrame(
        {"old_id": ["S01", "S02", "S02"], "new_id": ["S05", "S06", "S07"], "share": [1, 0.5, 0.5]}
    )
    table = with_successors(pupils, Successors(links), follow=["municipality_id"])
    with pytest.warns(rs.WeakDataWarning):
        va = rs.ValueAddedModel(
            "score ~ prior_score",
            group=["municipality_id", "school_id"],
            time="year",
            structure=rs.Structure(weights="successor_share"),
        ).fit(table)
    assert va.n_schools == 12
    events = school_events(pupils, Successors(links))
    assert set(events["school_id"]) == set(pupils["school_id"])


def test_the_account_has_every_school():
    links = pd.DataFrame({"old_id": ["S02"], "new_id": ["S05"], "year": [2022]})
    events = school_events(TABLE, Successors(links))
    told = {(e.school_id, e.event): (e.year, e.n_rows) for e in events.itertuples(index=False)}
    assert told == {
        ("S01", "vanishes"): (2021, 1),
        ("S02", "renamed"): (2022, 1),
        ("S02", "goes_on"): (2022, 1),
        ("S02", "appears"): (2022, 1),
        ("S05", "present"): (2020, 4),
        ("S09", "appears"): (2022, 1),
    }
    assert events.loc[events["event"] == "renamed", "new_id"].tolist() == ["S05"]
    gaps = school_events(TABLE)
    assert gaps[gaps["event"] == "missing"][["school_id", "year"]].to_numpy().tolist() == [
        ["S02", 2021]
    ]


def test_mergers_and_splits_are_told_apart():
    links = pd.DataFrame(
        {
            "old_id": ["S01", "S02", "S09", "S09"],
            "new_id": ["S05", "S05", "S10", "S11"],
            "share": [1.0, 1.0, 0.5, 0.5],
        }
    )
    events = school_events(TABLE, Successors(links), allow_new=True)
    assert events.groupby("school_id")["event"].unique().map(list).to_dict() == {
        "S01": ["merged"],
        "S02": ["merged"],
        "S05": ["present"],
        "S09": ["split"],
        "S10": ["appears"],
        "S11": ["appears"],
    }


def test_columns_are_in_the_glossary_and_events_speak_russian():
    links = Successors({"S01": "S05"})
    events = school_events(TABLE, links)
    for table in (events, links.table, with_successors(TABLE, links)):
        assert not set(table.columns) - set(column_names())
    printed = format_table(events, "ru")
    assert "новый код" in printed.to_string()
    assert "Событие" in printed.columns[1]


def test_ids_that_are_numbers_stay_numbers():
    table = TABLE.assign(school_id=TABLE["school_id"].str[1:].astype(int))
    found = with_successors(table, Successors({1: 5}))
    assert found["school_id"].tolist()[:3] == [5, 5, 2]
    assert pd.api.types.is_integer_dtype(found["school_id"].dtype)
    opened = with_successors(table, Successors({1: "new"}), allow_new=True)
    assert opened["school_id"].tolist()[:3] == ["new", "new", 2]
