"""What the value-added models return, checked by hand on small regions."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest

import resilience as rs

EFFECT_COLUMNS = [
    "school_id",
    "effect",
    "std_error",
    "conditional_sd",
    "conf_low",
    "conf_high",
    "reliability",
    "n_pupils",
    "n_years",
    "observed_mean",
    "expected_mean",
    "rank_expected",
    "rank_low",
    "rank_high",
    "p_above_zero",
    "band",
]


def region(seed=0, n_schools=24):
    """Pupils of 24 schools in 4 municipalities over 3 years, rows in random order."""
    rng = np.random.default_rng(seed)
    n = n_schools * 30
    school = rng.permutation(np.r_[np.arange(n_schools), rng.integers(0, n_schools, n - n_schools)])
    prior = rng.normal(50.0, 10.0, size=n)
    u = rng.normal(size=(n_schools, 2)) * [0.5, 0.02]
    v = 0.5 * rng.normal(size=12)
    score = 0.06 * prior + u[school, 0] + u[school, 1] * (prior - 50) + v[school % 12]
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 12:02d}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.integers(2021, 2024, size=n),
            "prior_score": prior,
            "ses": rng.normal(size=n) + 0.3 * rng.normal(size=n_schools)[school],
            "sex": rng.choice(["boy", "girl"], size=n),
            "score": score + 0.4 * rng.normal(size=n_schools * 3)[school] + rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def pupils():
    return region()


@pytest.fixture(scope="module")
def result(pupils):
    return rs.ValueAddedModel("score ~ prior_score + sex", group="school_id").fit(pupils)


def test_the_table_of_effects_by_hand(pupils, result):
    table = result.school_effects
    assert list(table.columns) == EFFECT_COLUMNS
    assert list(table["school_id"]) == sorted(pupils["school_id"].unique())
    by_school = pupils.groupby("school_id")
    np.testing.assert_array_equal(table["n_pupils"], by_school.size())
    np.testing.assert_allclose(table["observed_mean"], by_school["score"].mean(), rtol=1e-10)
    beta = result.fixed_effects.set_index("term")["estimate"]
    expected = (
        beta["Intercept"]
        + beta["prior_score"] * pupils["prior_score"]
        + beta["sex[T.girl]"] * (pupils["sex"] == "girl")
    )
    np.testing.assert_allclose(
        table["expected_mean"], expected.groupby(pupils["school_id"]).mean(), rtol=1e-10
    )
    # shrinkage of the mean residual by the reliability, and its standard deviation
    shrunken = table["reliability"] * (table["observed_mean"] - table["expected_mean"])
    np.testing.assert_allclose(table["effect"], shrunken, atol=1e-10)
    np.testing.assert_allclose(
        table["conditional_sd"],
        np.sqrt(result.variances["persistent"] * (1 - table["reliability"])),
        rtol=1e-8,
    )
    assert (table["std_error"] > table["conditional_sd"]).all()
    np.testing.assert_allclose(table["conf_high"] - table["effect"], 1.959964 * table["std_error"])
    np.testing.assert_allclose(table["effect"] - table["conf_low"], 1.959964 * table["std_error"])
    assert ((table["p_above_zero"] > 0.5) == (table["effect"] > 0)).all()
    assert ((table["band"] == "well_above") == (table["conf_low"] > 0)).all()
    assert ((table["band"] == "well_below") == (table["conf_high"] < 0)).all()
    assert (table["rank_low"] <= table["rank_high"]).all()
    # a rank that is 1 in more than 97.5 % of draws has the limits 1 and 1 and a mean a little above
    assert table["rank_expected"].between(table["rank_low"] - 0.1, table["rank_high"] + 0.1).all()


def test_school_years_are_residuals_before_shrinkage(result):
    years = result.school_years
    assert list(years.columns) == ["school_id", "residual", "sampling_variance", "n_pupils"]
    table = result.school_effects
    np.testing.assert_allclose(years["residual"], table["observed_mean"] - table["expected_mean"])
    np.testing.assert_allclose(
        years["sampling_variance"], result.variances["residual"] / years["n_pupils"]
    )


def test_year_level(pupils):
    result = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year").fit(pupils)
    years = result.school_years
    assert list(years.columns) == ["school_id", "year", "residual", "sampling_variance", "n_pupils"]
    counted = pupils.groupby(["school_id", "year"]).size().reset_index(name="n_pupils")
    pd.testing.assert_frame_equal(
        years[["school_id", "year", "n_pupils"]], counted, check_dtype=False
    )
    assert list(result.variance_components["group"]) == ["school_id", "school_id:year", "residual"]
    np.testing.assert_array_equal(
        result.school_effects["n_years"], pupils.groupby("school_id")["year"].nunique()
    )
    assert result.icc == pytest.approx(
        result.variances["persistent"] / result.variance_components["variance"].sum()
    )


def test_effects_with_slopes_are_read_at_the_average_pupil(pupils):
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id", slopes="prior_score")
    raw = model.fit(pupils)
    centred = model.fit(
        pupils.assign(prior_score=pupils["prior_score"] - pupils["prior_score"].mean())
    )
    # 1e-5: two searches of a flat optimum
    assert raw.criterion == pytest.approx(centred.criterion, rel=1e-9)
    np.testing.assert_allclose(
        raw.school_effects["effect"], centred.school_effects["effect"], atol=1e-5
    )
    np.testing.assert_allclose(
        raw.school_effects["std_error"], centred.school_effects["std_error"], rtol=1e-4
    )
    assert list(raw.school_slopes.columns) == ["school_id", "term", "estimate", "std_error"]
    assert set(raw.school_slopes["term"]) == {"prior_score"}
    assert raw.slope_means == {"prior_score": pytest.approx(pupils["prior_score"].mean())}


def dense_fit(frame, X, blocks, result):
    """Return fitted values with all effects from the dense formulas at the fit's variances."""
    V = np.eye(len(frame)) * result.variances["residual"]
    covariance = np.zeros_like(V)
    for key, Z, D in blocks:
        same = frame[key].to_numpy()[:, None] == frame[key].to_numpy()[None, :]
        covariance += same * (Z @ D @ Z.T)
    Vi = np.linalg.inv(V + covariance)
    y = frame["score"].to_numpy()
    beta = np.linalg.solve(X.T @ Vi @ X, X.T @ Vi @ y)
    return X @ beta, covariance @ Vi @ (y - X @ beta)


def test_augment_adds_slopes_and_outer_levels(pupils):
    """Against the dense best linear prediction, with slopes at both levels."""
    model = rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group=["municipality_id", "school_id"],
        slopes={"municipality_id": ["ses"], "school_id": ["prior_score"]},
    )
    with pytest.warns(rs.WeakDataWarning, match="municipality_id"):
        result = model.fit(pupils)
    table = result.variance_components
    ones = np.ones(len(pupils))
    blocks = []
    for level, term in (("municipality_id", "ses"), ("school_id", "prior_score")):
        rows = table[table["group"] == level]
        spread = rows["std_dev"].to_numpy()
        D = np.outer(spread, spread)
        D[0, 1] = D[1, 0] = D[0, 1] * rows["correlation"].iloc[1]
        blocks.append((level, np.column_stack([ones, pupils[term]]), D))
    X = np.column_stack([ones, pupils["prior_score"], pupils["ses"]])
    fixed, effects = dense_fit(pupils, X, blocks, result)
    augmented = result.augment(pupils)
    np.testing.assert_allclose(augmented["fitted"], fixed, atol=1e-6)
    np.testing.assert_allclose(augmented["fitted_with_effects"], fixed + effects, atol=1e-6)
    np.testing.assert_allclose(
        augmented["pupil_residual"], pupils["score"] - fixed - effects, atol=1e-6
    )
    assert list(result.outer_effects.columns) == ["group", "unit_id", "effect", "std_error"]
    assert set(result.outer_slopes["term"]) == {"ses"}


def test_augment_of_unknown_schools_is_the_fixed_part(pupils, result):
    guests = pupils.head(5).assign(school_id="elsewhere")
    with pytest.warns(
        rs.WeakDataWarning, match="none of the schools in 'school_id' was in the fit"
    ):
        augmented = result.augment(guests)
    np.testing.assert_array_equal(augmented["fitted"], augmented["fitted_with_effects"])
    known = result.augment(pupils.head(5))
    np.testing.assert_allclose(augmented["fitted"], known["fitted"])
    assert len(augmented) == 5
    assert list(augmented.columns[: len(pupils.columns)]) == list(pupils.columns)


def test_augment_does_not_touch_the_frame(pupils, result):
    before = pupils.copy()
    result.augment(pupils)
    pd.testing.assert_frame_equal(pupils, before)


def test_school_level_augment_joins_the_effects(pupils):
    means = pupils.groupby("school_id", as_index=False).agg(
        mean_score=("score", "mean"), ses=("ses", "mean"), n_pupils=("score", "size")
    )
    result = rs.SchoolLevelModel("mean_score ~ ses", n="n_pupils", sd=1.2).fit(means)
    shuffled = means.sample(frac=1.0, random_state=3)
    augmented = result.augment(shuffled)
    effects = result.school_effects.set_index("school_id")["effect"]
    np.testing.assert_array_equal(augmented["effect"], effects.loc[shuffled["school_id"]])
    assert result.glance()["n_means"][0] == len(means)


def test_pairs_by_hand(result):
    table = result.school_effects
    pairs = result.pairs(multiplier=2.0)
    columns = ["school_id", "other_id", "difference", "std_error", "p_value", "separated"]
    assert list(pairs.columns) == columns
    assert len(pairs) == 24 * 23 / 2
    last = pairs.iloc[-1]
    assert (last["school_id"], last["other_id"]) == ("S22", "S23")
    one, other = table.iloc[22], table.iloc[23]
    assert last["difference"] == pytest.approx(one["effect"] - other["effect"])
    bars = 2.0 * (one["conditional_sd"] + other["conditional_sd"])
    assert last["separated"] == (abs(last["difference"]) > bars)
    assert last["std_error"] == pytest.approx(
        np.hypot(one["conditional_sd"], other["conditional_sd"])
    )
    z = abs(last["difference"]) / last["std_error"]
    assert last["p_value"] == pytest.approx(math.erfc(z / np.sqrt(2)), rel=1e-10)


def test_pairwise_comparison_follows_the_joint_posterior(pupils):
    """The error of the coefficients is shared: the conditional SDs come nearer to the truth.

    Truth: variance of the difference of two predictions from the dense prediction-error matrix.
    """
    result = rs.ValueAddedModel("score ~ prior_score + ses", group="school_id").fit(pupils)
    n = len(pupils)
    X = np.column_stack([np.ones(n), pupils["prior_score"], pupils["ses"]])
    names = result.school_effects["school_id"].to_numpy()
    Z = (pupils["school_id"].to_numpy()[:, None] == names[None, :]).astype(float)
    tau2 = result.variances["persistent"]
    Vi = np.linalg.inv(np.eye(n) * result.variances["residual"] + tau2 * Z @ Z.T)
    P = Vi - Vi @ X @ np.linalg.solve(X.T @ Vi @ X, X.T @ Vi)
    joint = tau2 * np.eye(len(names)) - tau2**2 * Z.T @ P @ Z
    i, j = np.triu_indices(len(names), 1)
    truth = np.diag(joint)[i] + np.diag(joint)[j] - 2 * joint[i, j]
    np.testing.assert_allclose(np.diag(joint), result.school_effects["std_error"] ** 2, rtol=1e-6)

    def distance(column):
        variance = result.school_effects[column].to_numpy() ** 2
        return np.abs((variance[i] + variance[j]) / truth - 1).mean()

    assert distance("conditional_sd") < 0.01 < distance("std_error")


def test_intervals_at_another_level(pupils, result):
    table = result.school_effects
    pd.testing.assert_frame_equal(result.intervals(level=0.95), table)
    narrow = result.intervals(level=0.90)
    z = 1.6448536269514722
    np.testing.assert_allclose(narrow["conf_high"] - narrow["effect"], z * table["std_error"])
    np.testing.assert_allclose(narrow["effect"] - narrow["conf_low"], z * table["std_error"])
    assert (narrow["rank_low"] >= table["rank_low"]).all()
    assert (narrow["rank_high"] <= table["rank_high"]).all()
    assert (narrow["rank_high"] < table["rank_high"]).any()
    known = result.intervals(errors="conditional")
    np.testing.assert_allclose(
        known["conf_high"] - known["effect"], 1.959964 * table["conditional_sd"], rtol=1e-6
    )
    for level in (0.0, 1.0, 95):
        with pytest.raises(rs.SpecificationError, match="level"):
            result.intervals(level=level)
    with pytest.raises(rs.SpecificationError, match="errors is 'joint'"):
        result.intervals(errors="joint")


def test_bands_of_other_cuts(result):
    table = result.school_effects
    pd.testing.assert_frame_equal(result.bands(), table[["school_id", "p_above_zero", "band"]])
    p = table["p_above_zero"].to_numpy()
    strict = result.bands(outer=0.999, inner=0.99)["band"].to_numpy()
    np.testing.assert_array_equal(strict == "well_above", p >= 0.999)
    np.testing.assert_array_equal(strict == "above", (p >= 0.99) & (p < 0.999))
    np.testing.assert_array_equal(strict == "well_below", p <= 1 - 0.999)
    for outer, inner in ((0.8, 0.9), (0.9, 0.5)):
        with pytest.raises(rs.SpecificationError, match="1/2 < inner ≤ outer < 1"):
            result.bands(outer=outer, inner=inner)
    with pytest.raises(rs.SpecificationError, match=r"outer is 1.0 but must lie in \(0, 1\)"):
        result.bands(outer=1.0, inner=0.8)


def test_comparative_intervals_by_hand(result):
    table = result.school_effects
    bars = result.comparative_intervals()
    columns = ["school_id", "effect", "comparative_low", "comparative_high", "multiplier"]
    assert list(bars.columns) == columns
    assert set(bars["multiplier"]) == {result.comparative_multiplier}
    reach = result.comparative_multiplier * table["conditional_sd"]
    np.testing.assert_allclose(bars["comparative_high"], table["effect"] + reach)
    np.testing.assert_allclose(bars["comparative_low"], table["effect"] - reach)
    i, j = np.triu_indices(24, 1)
    s = table["conditional_sd"].to_numpy()
    joint = np.sqrt(result.errors.difference_variance(i, j)) / (s[i] + s[j])
    found = result.comparative_intervals(level=0.90, errors="prediction")["multiplier"][0]
    assert found == pytest.approx(1.6448536269514722 * joint.mean())
    assert found > result.comparative_intervals(level=0.90)["multiplier"][0]


def test_pairs_with_the_shared_error_of_the_coefficients(result):
    known, joint = result.pairs(), result.pairs(errors="prediction")
    np.testing.assert_array_equal(known["difference"], joint["difference"])
    # the difference of two leverages is small but not nothing
    assert (joint["std_error"] > known["std_error"]).all()
    assert (joint["std_error"] < 1.1 * known["std_error"]).all()
    assert (joint["p_value"] >= known["p_value"]).all()
    apart = np.abs(joint["difference"]) > np.sqrt(2) * 1.39 * joint["std_error"]
    np.testing.assert_array_equal(joint["separated"], apart)
    with pytest.raises(rs.SpecificationError, match="errors is 'none'"):
        result.pairs(errors="none")


def test_ranks_of_the_joint_posterior(result):
    table = result.school_effects
    known = result.ranks(errors="conditional")
    np.testing.assert_allclose(known["rank_expected"], table["rank_expected"], rtol=1e-10)
    assert (known["rank_low"] - table["rank_low"]).abs().max() <= 1
    joint = result.ranks()
    assert list(joint.columns) == ["school_id", "rank_expected", "rank_low", "rank_high"]
    assert joint["rank_expected"].sum() == pytest.approx(24 * 25 / 2)
    # the shared error hardly matters for ranks, as it should
    assert (joint["rank_expected"] - known["rank_expected"]).abs().max() < 0.5
    pd.testing.assert_frame_equal(joint, result.ranks(random_state=0))


def test_ranks_count_what_schools_of_a_municipality_share(pupils):
    model = rs.ValueAddedModel("score ~ prior_score", group=["municipality_id", "school_id"])
    result = model.fit(pupils)
    assert len(result.errors.shared) == 1
    table = result.school_effects
    np.testing.assert_allclose(
        table["rank_expected"], result.ranks(errors="conditional")["rank_expected"], rtol=1e-10
    )
    # two schools of one municipality: what they share cancels in their difference
    alone = np.hypot(table["conditional_sd"].to_numpy()[0], table["conditional_sd"].to_numpy()[1])
    codes = result.errors.shared[0][0]
    assert codes[0] == codes[1]
    assert result.pairs()["std_error"][0] < alone


def test_random_state_moves_rank_limits_only(pupils):
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id")
    one, again, other = (model.fit(pupils, random_state=k) for k in (None, 0, 5))
    pd.testing.assert_frame_equal(one.school_effects, again.school_effects)
    limits = ["rank_low", "rank_high"]
    pd.testing.assert_frame_equal(
        one.school_effects.drop(columns=limits), other.school_effects.drop(columns=limits)
    )
    # 10,000 draws: limits move by single ranks at most
    assert (one.school_effects[limits] - other.school_effects[limits]).abs().max().max() <= 1


def test_rows_of_weight_zero_are_as_good_as_absent(pupils):
    rng = np.random.default_rng(3)
    weighted = pupils.assign(weight=np.where(rng.uniform(size=len(pupils)) < 0.2, 0.0, 1.5))
    model = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", structure=rs.Structure(weights="weight")
    )
    whole, part = model.fit(weighted), model.fit(weighted[weighted["weight"] > 0])
    assert whole.criterion == pytest.approx(part.criterion, rel=1e-10)
    pd.testing.assert_frame_equal(whole.school_effects, part.school_effects)
    assert whole.n_pupils == int((weighted["weight"] > 0).sum())


def test_units_of_the_outcome_do_not_matter(pupils, result):
    scaled = rs.ValueAddedModel("score ~ prior_score + sex", group="school_id").fit(
        pupils.assign(score=1000.0 + 100.0 * pupils["score"])
    )
    np.testing.assert_allclose(
        scaled.school_effects["effect"], 100.0 * result.school_effects["effect"], rtol=1e-6
    )
    np.testing.assert_allclose(
        scaled.school_effects["reliability"], result.school_effects["reliability"], rtol=1e-6
    )
    # the constant of a change of unit: 2(n − p)·log 100
    shift = 2 * (len(pupils) - 3) * np.log(100.0)
    assert scaled.criterion == pytest.approx(result.criterion + shift, rel=1e-10)


def test_order_and_kinds_of_columns_do_not_matter(pupils, result):
    model = rs.ValueAddedModel("score ~ prior_score + sex", group="school_id")
    shuffled = pupils.sample(frac=1.0, random_state=1)
    shuffled.index = np.zeros(len(shuffled), dtype=int)  # a useless index
    kinds = {
        "shuffled": shuffled,
        "nullable": pupils.convert_dtypes(),
        "categories": pupils.astype({"sex": "category", "school_id": "category"}),
        "unused category": pupils.assign(
            sex=pd.Categorical(pupils["sex"], categories=["boy", "girl", "other"])
        ),
        "objects": pupils.astype({"sex": object, "school_id": object}),
    }
    for name, frame in kinds.items():
        other = model.fit(frame)
        assert other.criterion == pytest.approx(result.criterion, rel=1e-10), name
        assert list(other.fixed_effects["term"]) == list(result.fixed_effects["term"]), name
        pd.testing.assert_frame_equal(
            other.school_effects, result.school_effects, check_dtype=False, rtol=1e-6, atol=1e-9
        )
        assert len(other.augment(frame)) == len(pupils), name


def test_integer_school_ids_keep_their_kind(pupils):
    numbered = pupils.assign(school_id=pupils["school_id"].str[1:].astype(int))
    table = (
        rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(numbered).school_effects
    )
    assert table["school_id"].dtype.kind == "i"
    assert list(table["school_id"]) == list(range(24))


def test_transformations_are_learnt_once(pupils):
    formula = "score ~ poly(prior_score, 2) + center(ses)"
    result = rs.ValueAddedModel(formula, group="school_id").fit(pupils)
    whole = result.augment(pupils)["fitted"]
    part = result.augment(pupils.head(10))["fitted"]
    np.testing.assert_allclose(part, whole.head(10), rtol=1e-10)


def test_results_are_frozen_and_travel(result):
    with pytest.raises(AttributeError):
        result.criterion = 0.0
    copy = pickle.loads(pickle.dumps(result))
    assert copy.criterion == result.criterion
    pd.testing.assert_frame_equal(copy.school_effects, result.school_effects)
    assert copy.summary("ru") == result.summary("ru")


def test_results_hold_no_pupils(result, pupils):
    """Nothing in a pickled result has one entry per pupil."""

    def sizes(value, depth=0):
        if isinstance(value, pd.DataFrame | pd.Series | np.ndarray):
            yield len(value)
        elif isinstance(value, dict) and depth < 6:
            for inner in value.values():
                yield from sizes(inner, depth + 1)
        elif isinstance(value, list | tuple) and depth < 6:
            yield len(value)
            for inner in value:
                yield from sizes(inner, depth + 1)
        elif hasattr(value, "__dict__") and depth < 6:
            yield from sizes(vars(value), depth + 1)

    found = list(sizes(result))
    assert max(found) < len(pupils) / 2
    assert len(pickle.dumps(result)) < 40_000


def test_printed_summary(result):
    english, russian = result.summary(), result.summary("ru")
    assert english.startswith("Contextual value added\n====")
    assert "prior_score" in english
    assert "School effect" not in english  # the summary lists terms, not schools
    assert "Контекстуальная добавленная стоимость" in russian
    rows = [line for line in russian.splitlines() if line.strip().startswith("prior_score ")]
    assert len(rows) == 1  # after the formula, in the table of coefficients
    assert "," in rows[0]
    assert "<table" in result._repr_html_()
