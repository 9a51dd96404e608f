"""Lists with and without schools whose results show signs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.columns import column_names
from resilience.detection.integrity.switch import without_suspicious
from resilience.detection.rules.criteria import Criteria
from resilience.errors import DataError


def counts(low):
    """Return counts of 24 schools over two years; those of ``low`` fail 40 % in two tests."""
    rows = []
    for k in range(24):
        for year in (2024, 2025):
            for procedure in ("ВПР-5-РУ", "ВПР-5-МА"):
                below = 8 if f"S{k:02d}" in low else 1
                rows.append((f"S{k:02d}", year, procedure, 20, below))
    columns = ["school_id", "year", "procedure", "n_participants", "n_below_minimum"]
    return pd.DataFrame(rows, columns=columns)


def flags(*schools, unknown=()):
    ids = [f"S{k:02d}" for k in range(24)]
    values = [None if s in unknown else s in schools for s in ids]
    return pd.DataFrame({"school_id": ids, "integrity_flag": pd.array(values, "boolean")})


RULE = Criteria.preset("low_results_2025_or")
BEST_QUARTER = """
[[rule]]
id = "best_quarter"
version = "1"
title_en = "Best quarter"
title_ru = "Лучшая четверть"
status = "proposal"
[[rule.criterion]]
name = "best"
column = "effect"
at_least = 0.75
scale = "quantile"
"""


def test_an_absolute_list_only_loses_the_schools_with_signs():
    table = counts(["S01", "S02", "S03"])
    found = without_suspicious(
        None, None, RULE, flags=flags("S02", "S09", unknown=("S05",)), counts=table
    )
    line = found.lists.iloc[0]
    assert line[
        ["n_with", "n_without", "n_staying", "n_removed", "n_left", "n_entered"]
    ].tolist() == [3, 2, 2, 1, 0, 0]
    assert line["jaccard"] == pytest.approx(2 / 3)
    assert line["jaccard_others"] == 1.0
    change = found.schools.set_index("school_id")["list_change"]
    assert change["S02"] == "removed"
    assert change["S09"] == "set aside"
    assert change["S01"] == "kept"
    assert change["S05"] == "never listed"
    assert found.n_unknown == 1


def test_quantile_gates_are_computed_anew(tmp_path):
    ids = [f"S{k:02d}" for k in range(24)]
    effects = pd.DataFrame({"school_id": ids, "effect": np.arange(24.0)})
    place = tmp_path / "rule.toml"
    place.write_text(BEST_QUARTER, encoding="utf-8")
    rule = Criteria.from_toml(place)
    found = without_suspicious(effects, None, rule, flags=flags("S23", "S22", "S21"))
    change = found.schools.set_index("school_id")["list_change"]
    before = found.lists["n_with"].item()
    assert before == 6
    assert found.lists["n_removed"].item() == 3
    # 25 % of 21 schools: the gate comes down and lets others in
    assert found.lists["n_entered"].item() >= 2
    assert change["S17"] == "entered"
    assert "without the schools" in str(found.explain("S17"))
    assert "только без школ" in str(found.explain("S17", lang="ru"))


def test_words_and_tables():
    found = without_suspicious(None, None, RULE, flags=flags("S02"), counts=counts(["S01", "S02"]))
    known = set(column_names())
    for table in (found.tidy(), found.glance(), found.schools, found.lists):
        assert set(table.columns) <= known
    assert found.summary("ru").startswith("Списки со школами")
    added = found.augment(pd.DataFrame({"school_id": ["S02", "S77"]}))
    assert added["list_change"].tolist()[0] == "removed"
    assert added["list_change"].isna().tolist() == [False, True]
    assert found.schools["list_change"].iloc[1].ru == "осталась"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"school_id": ["X1"], "integrity_flag": [True]}), "none of the 1 schools"),
        (pd.DataFrame({"school_id": ["S01"]}), "integrity_flag"),
        (pd.DataFrame({"school_id": ["S01"] * 2, "integrity_flag": [True, True]}), "school_id"),
        (pd.DataFrame({"school_id": ["S01"], "integrity_flag": ["yes"]}), "neither true nor false"),
        (flags(*[f"S{k:02d}" for k in range(24)]), "nothing is left"),
    ],
)
def test_bad_flags(frame, message):
    with pytest.raises(DataError, match=message):
        without_suspicious(None, None, RULE, flags=frame, counts=counts(["S01"]))
