"""Who has gaps: counts and comparisons by hand, whatever is done about them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.value_added.gaps.completion import missing_report


def pupils() -> pd.DataFrame:
    """12 schools of 10 pupils; schools S00 and S01 lack some ses and prior results."""
    rng = np.random.default_rng(0)
    school = np.repeat(np.arange(12), 10)
    ses, prior = rng.normal(size=(2, 120))
    score = 0.5 * prior + 0.4 * rng.normal(size=12)[school] + rng.normal(size=120)
    ses[[0, 1, 10]] = np.nan
    prior[[1, 2]] = np.nan
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "ses": ses,
            "prior_score": prior,
            "score": score,
        }
    )


def model(missing: str) -> rs.ValueAddedModel:
    return rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        intake=rs.Intake(missing=missing, n_imputations=3),
    )


@pytest.fixture(params=["indicator", "drop", "impute"])
def found(request):
    if request.param == "drop":
        with pytest.warns(rs.WeakDataWarning, match=r"4 rows \(3.3 %\) of 2 schools"):
            return model("drop").fit(pupils()).missing
    return model(request.param).fit(pupils()).missing


def test_gaps_by_column(found):
    table = found.columns.set_index("column")
    assert table.index.tolist() == ["prior_score", "ses", "any"]
    assert table["n_missing"].tolist() == [2, 3, 4]
    assert table["n_rows"].tolist() == [120] * 3
    assert table["share_missing"].tolist() == pytest.approx([2 / 120, 3 / 120, 4 / 120])
    assert table["n_schools"].tolist() == [1, 2, 2]


def test_gaps_by_school(found):
    table = found.schools.set_index(["column", "school_id"])
    assert len(table) == 36
    assert table.loc[("any", "S00"), "n_missing"] == 3
    assert table.loc[("ses", "S01"), "share_missing"] == pytest.approx(0.1)
    assert table.loc[("any", "S05"), "n_missing"] == 0


def test_pupils_with_gaps_are_compared_with_the_others(found):
    frame = pupils()
    table = found.differences.set_index(["column", "compared"])
    row, gap = table.loc[("ses", "score")], frame["ses"].isna()
    with_gap, without = frame.loc[gap, "score"].mean(), frame.loc[~gap, "score"].mean()
    assert row["mean_missing"] == pytest.approx(with_gap)
    assert row["mean_present"] == pytest.approx(without)
    spread = frame["score"].std(ddof=0)
    assert row["standardized_difference"] == pytest.approx((with_gap - without) / spread)
    assert table.loc[("ses", "prior_score"), "n_missing"] == 2  # the third lacks both


def test_table_without_gaps_says_so():
    full = pupils().fillna(0.0)
    found = model("raise").fit(full).missing
    assert not found.any_missing
    assert found.columns["n_missing"].tolist() == [0, 0, 0]
    assert found.schools.empty
    assert found.differences.empty
    assert (found.augment(full)["share_missing"] == 0).all()


def test_augment_gives_the_share_of_the_school():
    found = missing_report(model("indicator"), pupils())
    shares = found.augment(pupils()).groupby("school_id")["share_missing"].first()
    assert shares["S00"] == pytest.approx(0.3)
    assert shares["S01"] == pytest.approx(0.1)
    assert shares["S02"] == 0.0


def test_the_report_is_that_of_the_fit_and_prints_in_both_languages():
    one, other = missing_report(model("indicator"), pupils()), model("indicator").fit(pupils())
    pd.testing.assert_frame_equal(one.columns, other.missing.columns)
    assert "признаки пропуска" in one.summary("ru")
    assert "indicator" in one.summary("en")
    assert one.glance()["n_missing"].tolist() == [4]


def test_crossed_and_joint_models_report_too():
    frame = pupils().assign(other=np.tile(np.arange(10), 12))
    crossed = rs.ValueAddedModel(
        "score ~ ses", crossed=["other", "school_id"], intake=rs.Intake(missing="indicator")
    )
    table = crossed.fit(frame).missing.columns.set_index("column")
    assert table.loc["ses", "n_missing"] == 3


def test_chunks_have_no_report_but_a_way_out():
    full = pupils().fillna(0.0)
    va = model("raise").fit([full.iloc[:60], full.iloc[60:]])
    with pytest.raises(rs.SpecificationError, match="missing_report"):
        _ = va.missing


@pytest.mark.parametrize(
    ("missing", "english", "russian"),
    [
        ("indicator", "filled with means", "заполнены средними"),
        ("drop", "were left out", "исключены"),
    ],
)
@pytest.mark.filterwarnings("ignore:4 rows:resilience.errors.WeakDataWarning")
def test_the_summary_says_what_was_missing(missing, english, russian):
    va = model(missing).fit(pupils())
    assert english in va.summary()
    assert "4 rows (3.3 %) of 2 schools" in va.summary()
    assert "prior_score: 2, ses: 3" in va.summary()
    assert russian in va.summary("ru")
    assert "3,3 %" in va.summary("ru")
    assert english in va._repr_html_()
    assert "Gaps" not in model("raise").fit(pupils().fillna(0.0)).summary()


def test_rows_dropped_for_want_of_a_result_are_counted_too():
    frame = pupils()
    frame.loc[50:54, "score"] = np.nan
    with pytest.warns(rs.WeakDataWarning, match="9 rows"):
        va = model("drop").fit(frame)
    table = va.missing.columns.set_index("column")
    assert table.loc["score", "n_missing"] == 5
    assert table.loc["any", "n_missing"] == va.n_dropped == 9
