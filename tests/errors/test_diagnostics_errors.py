"""Bad input of the diagnostics: culprit, rule, value and way out, in both languages."""

from __future__ import annotations

import pandas as pd
import pytest

import resilience as rs


@pytest.fixture(scope="module")
def london():
    pupils = rs.load_dataset("london_exam").pupils
    return rs.ValueAddedModel("normexam ~ standLRT", group="school_id").fit(pupils), pupils


def test_pupils_of_another_fit_are_refused_and_their_schools_named(london):
    va, pupils = london
    doubled = pd.concat([pupils, pupils[pupils["school_id"] == "43"].head(2)], ignore_index=True)
    with pytest.raises(
        rs.DataError, match=r"not those of the fit: 4061 .* has 4059.*1 school \(43"
    ):
        va.check(doubled)
    with pytest.raises(rs.DataError, match="not those of the fit") as refused:
        va.check(pupils[pupils["school_id"] != "5"])
    assert "передайте таблицу" in refused.value.message.ru


def test_a_key_that_is_not_there_is_named(london):
    va, pupils = london
    with pytest.raises(rs.DataError, match="'code' is not in the table; its columns: 'pupil_key'"):
        va.check(pupils, key=["school_id", "code"])
    with pytest.raises(rs.DataError, match="key"):
        va.check(pupils, key=[])


def test_unknown_schools_in_doubt_are_refused(london):
    va, _ = london
    with pytest.raises(rs.DataError, match="S07"):
        va.check(suspicious=["S07"])
    with pytest.raises(rs.ResilienceError):
        va.check(suspicious=[str(k) for k in range(1, 66)])


def test_none_in_doubt_is_as_good_as_not_named(london):
    va, _ = london
    for nobody in (None, [], pd.Series([], dtype=object)):
        row = va.check(suspicious=nobody).table.set_index("check").loc["suspicious_schools"]
        assert row["severity"] == "not_checked"
    one = va.check(suspicious=pd.Series(["53"])).table.set_index("check")
    assert one.loc["suspicious_schools", "severity"] in {"ok", "warning"}


def test_what_is_no_table_is_refused(london):
    va, _ = london
    with pytest.raises(rs.SpecificationError, match="pupils"):
        va.check(3)


def test_a_table_without_the_outcome_is_refused(london):
    va, pupils = london
    with pytest.raises(rs.DataError, match="normexam"):
        va.check(pupils.drop(columns="normexam"))
