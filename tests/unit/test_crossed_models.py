"""Value-added models with crossed factors and shared membership: what their tables say."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import norm

from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.model import ValueAddedModel

WIDE = Membership(unit=["school_1", "school_2"], weight=["share_1", "share_2"])
LONG = Membership(unit="school_id", weight="share", name="school")
# Two searches end where the gradient is rounding.
SAME = {"rtol": 1e-7, "atol": 1e-8}


@pytest.fixture(scope="module")
def pupils() -> pd.DataFrame:
    """Return 900 pupils of 20 schools, a third of whom changed school, from 30 primary schools."""
    rng = np.random.default_rng(4)
    n = 900
    first = rng.integers(0, 20, n)
    second = (first + rng.integers(1, 5, n)) % 20
    share = np.where(rng.random(n) < 0.65, 1.0, rng.integers(30, 90, n) / 100)
    primary, year = rng.integers(0, 30, n), rng.integers(2021, 2024, n)
    prior = rng.normal(size=n)
    school = 0.7 * rng.normal(size=20)
    score = 0.5 * prior + share * school[first] + (1 - share) * school[second]
    score += 0.5 * rng.normal(size=30)[primary] + rng.normal(size=n)
    score += 0.4 * rng.normal(size=(20, 3))[first, year - 2021]
    table = pd.DataFrame(
        {
            "pupil_key": [f"K{k:03d}" for k in range(n)],
            "year": year,
            "prior_score": prior,
            "score": score,
            "municipality_id": [f"M{k % 10}" for k in first],
            "primary_id": [f"P{k:02d}" for k in primary],
            "school_1": [f"S{k:02d}" for k in first],
            "school_2": [f"S{k:02d}" for k in second],
            "share_1": share,
            "share_2": 1.0 - share,
        }
    )
    table.loc[table["share_2"] == 0.0, "school_2"] = None
    return table.set_axis(rng.permutation(n) + 5000)


def longer(pupils: pd.DataFrame) -> pd.DataFrame:
    """Return a row per pupil and school, unsorted."""
    pieces = []
    for k in (1, 2):
        names = {f"school_{k}": "school_id", f"share_{k}": "share"}
        piece = pupils.drop(columns=[f"school_{3 - k}", f"share_{3 - k}"]).rename(columns=names)
        pieces.append(piece[piece["share"] > 0])
    return pd.concat(pieces, ignore_index=True).sample(frac=1.0, random_state=1)


def test_all_weight_on_one_school_is_the_nested_model(pupils):
    alone = pupils.assign(share_1=1.0, share_2=0.0)
    for time in (None, "year"):
        shared = ValueAddedModel("score ~ prior_score", members=WIDE, time=time).fit(alone)
        nested = ValueAddedModel("score ~ prior_score", group="school_1", time=time).fit(alone)
        assert shared.criterion == pytest.approx(nested.criterion, rel=1e-10)
        columns = ["effect", "std_error", "conditional_sd", "observed_mean", "expected_mean"]
        assert list(shared.school_effects["school_id"]) == list(nested.school_effects["school_id"])
        np.testing.assert_allclose(
            shared.school_effects[columns], nested.school_effects[columns], **SAME
        )
        for table in ("school_effects", "school_years"):
            mine, theirs = getattr(shared, table), getattr(nested, table)
            np.testing.assert_allclose(mine["n_pupils"], theirs["n_pupils"])
        years = ["residual", "sampling_variance"]
        np.testing.assert_allclose(shared.school_years[years], nested.school_years[years], **SAME)
        found = shared.augment(alone)["pupil_residual"]
        np.testing.assert_allclose(found, nested.augment(alone)["pupil_residual"], **SAME)


def test_long_and_wide_tables_are_one_model(pupils):
    wide = ValueAddedModel("score ~ prior_score", members=WIDE).fit(pupils)
    model = ValueAddedModel(
        "score ~ prior_score", members=LONG, structure=Structure(unit="pupil_key")
    )
    long = model.fit(longer(pupils))
    assert wide.group == long.group == "school"
    pd.testing.assert_frame_equal(wide.school_effects, long.school_effects, rtol=1e-6)
    assert long.n_pupils == 900
    again = long.augment(longer(pupils)).set_index("pupil_key").sort_index()
    assert len(again) == 900
    first = wide.augment(pupils)
    assert list(first.index) == list(pupils.index)
    first = first.set_index("pupil_key").sort_index()
    np.testing.assert_allclose(again["pupil_residual"], first["pupil_residual"], rtol=1e-6)


def test_a_pupil_who_moved_is_expected_at_both_schools(pupils):
    va = ValueAddedModel("score ~ prior_score", members=WIDE).fit(pupils)
    effect = va.school_effects.set_index("school_id")["effect"]
    moved = pupils[pupils["share_2"] > 0].iloc[[0]]
    row = va.augment(pupils).loc[moved.index[0]]
    own = moved["share_1"].iloc[0] * effect[moved["school_1"].iloc[0]]
    own += moved["share_2"].iloc[0] * effect[moved["school_2"].iloc[0]]
    assert row["fitted_with_effects"] - row["fitted"] == pytest.approx(own, rel=1e-10)


def test_pupils_count_by_their_shares(pupils):
    va = ValueAddedModel("score ~ prior_score", members=WIDE, time="year").fit(pupils)
    shares = pupils.groupby("school_1")["share_1"].sum()
    shares = shares.add(pupils.groupby("school_2")["share_2"].sum(), fill_value=0.0)
    np.testing.assert_allclose(va.school_effects["n_pupils"], shares.sort_index())
    years = va.school_years.groupby("school_id")["n_pupils"].sum()
    np.testing.assert_allclose(years, shares.sort_index())
    assert set(va.school_effects["n_years"]) == {3}
    # the mean of a school's pupils by their shares m varies by σ²Σm²/(Σm)²
    squares = (pupils["share_1"] ** 2).groupby([pupils["school_1"], pupils["year"]]).sum()
    other = (pupils["share_2"] ** 2).groupby([pupils["school_2"], pupils["year"]]).sum()
    squares = squares.add(other, fill_value=0.0).sort_index().to_numpy()
    expected = va.variances["residual"] * squares / va.school_years["n_pupils"] ** 2
    np.testing.assert_allclose(va.school_years["sampling_variance"], expected)


@pytest.mark.parametrize(
    ("arguments", "school", "levels"),
    [
        (
            {"crossed": ["primary_id", "school_1"], "time": "year"},
            "school_1",
            ["primary_id", "school_1", "school_1:year", "residual"],
        ),
        (
            {"group": ["municipality_id", "school_1"], "crossed": ["primary_id"], "time": "year"},
            "school_1",
            ["municipality_id", "school_1", "school_1:year", "primary_id", "residual"],
        ),
        (
            {"members": WIDE, "group": "primary_id"},
            "primary_id",
            ["primary_id", "school", "residual"],
        ),
        ({"members": WIDE, "crossed": ["primary_id"]}, "primary_id", None),
        ({"members": WIDE}, "school", ["school", "residual"]),
    ],
)
def test_which_column_is_the_school(pupils, arguments, school, levels):
    va = ValueAddedModel("score ~ prior_score", **arguments).fit(pupils)
    assert va.group == school
    if levels is not None:
        assert list(va.variance_components["group"]) == levels
    others = set(va.variance_components["group"]) - {school, f"{school}:year", "residual"}
    assert set(va.outer_effects["group"]) == others
    assert isinstance(va.cross, CrossedProducts)
    if "time" in arguments:
        assert list(va.school_years.columns[:2]) == ["school_id", "year"]
        assert set(va.school_effects["n_years"]) == {3}
    # fitted values and effects add up whatever the factors
    parts = va.augment(pupils)
    left = parts["score"] - parts["fitted_with_effects"]
    np.testing.assert_allclose(parts["pupil_residual"], left, atol=1e-12)


def test_slopes_differ_between_units_of_any_factor(pupils):
    model = ValueAddedModel(
        "score ~ prior_score",
        crossed=["primary_id", "school_1"],
        slopes={"primary_id": "prior_score"},
        structure=Structure(covariance={"primary_id": "diagonal"}),
    )
    with pytest.warns(UserWarning, match="primary_id"):  # no slope was simulated
        va = model.fit(pupils)
    rows = va.variance_components.set_index(["group", "term"])
    assert ("primary_id", "prior_score") in rows.index
    assert set(va.outer_slopes["group"]) == {"primary_id"}
    assert va.school_slopes.empty


def test_rows_with_gaps_leave_together_with_their_schools(pupils):
    broken = pupils.copy()
    gone = broken.index[::11]
    broken.loc[gone, "prior_score"] = np.nan
    model = ValueAddedModel("score ~ prior_score", members=WIDE, intake=Intake(missing="drop"))
    with pytest.warns(UserWarning, match="dropped"):
        found = model.fit(broken)
    expected = ValueAddedModel("score ~ prior_score", members=WIDE).fit(pupils.drop(index=gone))
    assert found.n_dropped == len(gone)
    pd.testing.assert_frame_equal(found.school_effects, expected.school_effects)


def test_the_order_of_rows_does_not_matter(pupils):
    model = ValueAddedModel("score ~ prior_score", group="school_1", crossed=["primary_id"])
    one, other = model.fit(pupils), model.fit(pupils.sample(frac=1.0, random_state=3))
    pd.testing.assert_frame_equal(one.school_effects, other.school_effects, rtol=1e-7)


def test_errors_of_all_schools_are_joint(pupils):
    va = ValueAddedModel("score ~ prior_score", group="school_1", crossed=["primary_id"]).fit(
        pupils
    )
    joint = va.errors.joint_conditional
    spread = va.school_effects["conditional_sd"].to_numpy()
    np.testing.assert_allclose(np.diag(joint), spread**2)
    # schools that share primary schools err together: what they got from them is not known well
    apart = joint - np.diag(np.diag(joint))
    assert (apart[np.triu_indices(20, 1)] > 0).mean() > 0.9
    pair = va.pairs(errors="conditional").iloc[0]
    expected = joint[0, 0] + joint[1, 1] - 2.0 * joint[0, 1]
    assert pair["std_error"] ** 2 == pytest.approx(expected)


def test_ranks_take_what_schools_share_of_their_errors(pupils):
    """Pupils who changed school tie the errors of two schools; expected ranks by brute force."""
    fitted = ValueAddedModel("score ~ prior_score", members=WIDE).fit(pupils)
    effect = fitted.school_effects["effect"].to_numpy()
    V = fitted.errors.joint_conditional
    apart = np.sqrt(np.add.outer(np.diag(V), np.diag(V)) - 2.0 * V + np.eye(len(V)))
    by_hand = norm.cdf(np.subtract.outer(effect, effect) / apart).sum(axis=1) + 0.5
    found = fitted.school_effects["rank_expected"].to_numpy()
    np.testing.assert_allclose(found, by_hand, atol=1e-9)
    alone = np.sqrt(np.add.outer(np.diag(V), np.diag(V)))
    blind = norm.cdf(np.subtract.outer(effect, effect) / alone).sum(axis=1) + 0.5
    assert np.abs(blind - by_hand).max() > 1e-3


@pytest.mark.filterwarnings("ignore:.*:resilience.errors.WeakDataWarning")  # a new school is told
@pytest.mark.parametrize("school", ["S03", "new"])
def test_one_school_named_twice_is_one_school_in_predictions(pupils, school):
    fitted = ValueAddedModel("score ~ prior_score", members=WIDE).fit(pupils)
    whole = pupils.head(3).assign(school_1=school, school_2=None, share_1=1.0, share_2=0.0)
    parts = whole.assign(school_2=school, share_1=0.5, share_2=0.5)
    for effects in ("none", "schools", "all"):
        found = [
            fitted.predict(rows, effects=effects, interval=0.9).drop(columns=list(whole))
            for rows in (whole, parts)
        ]
        pd.testing.assert_frame_equal(*found)


def test_results_survive_pickling(pupils):
    va = ValueAddedModel("score ~ prior_score", members=WIDE).fit(pupils)
    again = pickle.loads(pickle.dumps(va))
    pd.testing.assert_frame_equal(again.school_effects, va.school_effects)
    pd.testing.assert_frame_equal(again.augment(pupils), va.augment(pupils))


@pytest.mark.parametrize(
    ("membership", "name"),
    [
        (WIDE, "school"),
        (LONG, "school"),
        (Membership("teacher_id", "share"), "teacher_id"),
        (Membership(["now", "before"], ["a", "b"]), "now + before"),
        (Membership(["now", "before"], ["a", "b"], name="school_id"), "school_id"),
    ],
)
def test_the_name_of_a_membership(membership, name):
    assert membership.level == name


def test_categories_that_nobody_ordered_stand_in_the_order_of_their_values(pupils):
    """Polars keeps text as categories in the order of the rows: it must not choose the baseline."""
    model = ValueAddedModel("score ~ prior_score + sex", crossed=["primary_id", "school_1"])
    table = pupils.assign(sex=np.where(np.arange(len(pupils)) % 3, "M", "F"))
    table = table.sort_values("sex", ascending=False, ignore_index=True)
    plain = model.fit(table)
    foreign = pl.from_pandas(table.drop(columns=["school_2"])).with_columns(
        pl.col("sex").cast(pl.Categorical), pl.col("primary_id").cast(pl.Categorical)
    )
    found = model.fit(foreign)
    assert list(found.fixed_effects["term"]) == list(plain.fixed_effects["term"])
    assert "sex[T.M]" in set(found.fixed_effects["term"])
    np.testing.assert_allclose(
        found.fixed_effects["estimate"], plain.fixed_effects["estimate"], **SAME
    )
