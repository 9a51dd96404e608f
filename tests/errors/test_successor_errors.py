"""What bad maps of successors get: culprit, rule, value seen and way out, in two languages."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.value_added.years.handed_over import with_successors
from resilience.value_added.years.school_events import school_events
from resilience.value_added.years.successors import Successors

TABLE = pd.DataFrame(
    {"school_id": ["S01", "S02", "S05"], "year": [2020, 2020, 2021], "n_pupils": [5, 6, 7]}
)


def links(*rows, **more):
    return Successors(pd.DataFrame(rows, columns=["old_id", "new_id"]).assign(**more))


ONE = Successors({"S01": "S05"})
CASES = {
    "no map": (lambda: Successors([("S01", "S05")]), SpecificationError, ("list", "S01")),
    "no column": (
        lambda: Successors(pd.DataFrame({"old": ["S01"], "new_id": ["S05"]})),
        DataError,
        ("'old_id'", "nearest names"),
    ),
    "an empty map": (lambda: Successors({}), DataError, ("successors",)),
    "a gap": (lambda: links(("S01", None)), DataError, ("row 1", "fill in")),
    "a pair twice": (lambda: links(("S01", "S05"), ("S01", "S05")), DataError, ("S01 → S05",)),
    "a share of nothing": (
        lambda: links(("S01", "S05"), share=[0.0]),
        DataError,
        ("is 0", "(0, 1]"),
    ),
    "a share above one": (lambda: links(("S01", "S05"), share=[1.4]), DataError, ("is 1.4",)),
    "a share in words": (lambda: links(("S01", "S05"), share=["half"]), DataError, ("'share'",)),
    "shares that do not add up": (
        lambda: links(("S01", "S02"), ("S01", "S05"), share=[0.5, 0.4]),
        DataError,
        ("S01", "add up to 0.9", "S02, S05"),
    ),
    "two successors without shares": (
        lambda: links(("S01", "S02"), ("S01", "S05")),
        DataError,
        ("add up to 2", "share"),
    ),
    "two years of one school": (
        lambda: links(("S01", "S02"), ("S01", "S05"), share=[0.5, 0.5], year=[2020, 2021]),
        DataError,
        ("S01", "2020", "2021"),
    ),
    "half a year": (lambda: links(("S01", "S05"), year=[2020.5]), DataError, ("2020.5", "whole")),
    "a school that succeeds itself": (
        lambda: Successors({"S01": "S01"}),
        DataError,
        ("S01 → S01",),
    ),
    "a circle": (
        lambda: Successors({"S00": "S01", "S01": "S02", "S02": "S05", "S05": "S01"}),
        DataError,
        ("S01 → S02 → S05 → S01", "circle"),
    ),
    "an unknown old school": (
        lambda: with_successors(TABLE, Successors({"S1": "S05"})),
        DataError,
        ("old_id", "S1", "nearest", "S01"),
    ),
    "an unknown successor": (
        lambda: with_successors(TABLE, Successors({"S01": "S50"})),
        DataError,
        ("new_id", "S50", "allow_new=True"),
    ),
    "numbers for words": (
        lambda: with_successors(TABLE, Successors({1: 5})),
        DataError,
        ("old_id", "1"),
    ),
    "a mapping for a map": (
        lambda: with_successors(TABLE, {"S01": "S05"}),
        SpecificationError,
        ("dict", "Successors({'S01': 'S05'})"),
    ),
    "years without a year column": (
        lambda: with_successors(TABLE.drop(columns="year"), links(("S01", "S05"), year=[2021])),
        SpecificationError,
        ("'year'", "time="),
    ),
    "handed over twice": (
        lambda: with_successors(with_successors(TABLE, ONE), Successors({"S02": "S05"})),
        DataError,
        ("'former_id'", "one map"),
    ),
    "counts without n": (
        lambda: with_successors(TABLE, ONE, counts=["n_pupils"]),
        SpecificationError,
        ("counts", "n="),
    ),
    "an unknown n": (lambda: with_successors(TABLE, ONE, n="pupils"), DataError, ("'pupils'",)),
    "no school column": (
        lambda: with_successors(TABLE, ONE, group="school"),
        DataError,
        ("'school'",),
    ),
    "events without years": (
        lambda: school_events(TABLE.drop(columns="year"), ONE),
        DataError,
        ("'year'",),
    ),
    "events of rows without a school": (
        lambda: school_events(TABLE.assign(school_id=["S01", None, "S05"])),
        DataError,
        ("'school_id'", "1"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_successors_are_named_and_answered(name):
    act, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        act()
    for word in words:
        assert word in str(caught.value)
    assert re.search("[а-яё]{3}", caught.value.localized("ru"))
