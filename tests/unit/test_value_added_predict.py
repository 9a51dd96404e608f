"""Predictions and their errors against dense formulas; tables of all effects; pickling."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.value_added.definitions.membership import Membership

Z95 = 1.959963984540054


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(12)
    n, J = 360, 18
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    year = rng.integers(2021, 2024, size=n)
    prior, ses = 50 + 10 * rng.normal(size=n), rng.normal(size=n)
    u = rng.normal(size=(J, 2)) * [0.6, 0.03]
    v, m = 0.4 * rng.normal(size=(J, 3)), 0.5 * rng.normal(size=6)
    score = 0.05 * prior + 0.2 * ses + u[school, 0] + u[school, 1] * (prior - 50)
    score = score + v[school, year - 2021] + m[school % 6] + rng.normal(size=n)
    other = rng.integers(0, 9, size=n)
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 6}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "primary_id": [f"P{k}" for k in other],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "score": score + 0.5 * np.sin(1.0 + other),
        }
    )


def fit(model, frame, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # few municipalities
        return model.fit(frame, **options)


def dense(blocks, new_blocks, X, y, X_new, sigma2):
    """Return prediction and error variance of x'β + z'u from the dense joint distribution.

    Each block is (Z, D): the design of all units of a level, known or new, and their covariance.
    """
    Z, D = np.column_stack([b[0] for b in blocks]), [b[1] for b in blocks]
    size = sum(len(d) for d in D)
    G, at = np.zeros((size, size)), 0
    for d in D:
        G[at : at + len(d), at : at + len(d)] = d
        at += len(d)
    Z_new = np.column_stack(new_blocks)
    V = Z @ G @ Z.T + sigma2 * np.eye(len(y))
    Vi = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ Vi @ X)
    beta = C @ X.T @ Vi @ y
    mean = X_new @ beta + Z_new @ G @ Z.T @ Vi @ (y - X @ beta)
    across = Z_new @ G @ Z.T @ Vi
    conditional = np.einsum("ia,ab,ib->i", Z_new, G - G @ Z.T @ Vi @ Z @ G, Z_new)
    left = X_new - across @ X
    return mean, conditional + np.einsum("ip,pq,iq->i", left, C, left)


def units(labels, values, terms):
    """Return the design of the units named in ``labels`` with the terms' values per row."""
    rows = (np.asarray(values, dtype=object)[:, None] == np.asarray(labels, dtype=object)).astype(
        float
    )
    return (rows[:, :, None] * terms[:, None, :]).reshape(len(rows), -1)


def spread_out(level, n):
    return np.kron(np.eye(n), level.covariance)


MODEL = rs.ValueAddedModel(
    "score ~ prior_score + ses",
    group=["municipality_id", "school_id"],
    slopes={"school_id": ["prior_score"]},
    time="year",
)


@pytest.fixture(scope="module")
def result(pupils):
    return fit(MODEL, pupils)


@pytest.fixture(scope="module")
def guests(pupils):
    """Known cells, a known school in a new year, a new school of a known and of a new place."""
    rows = pupils.iloc[:8].copy()
    rows.loc[rows.index[5], "year"] = 2031
    rows.loc[rows.index[6], "school_id"] = "new"
    rows.loc[rows.index[7], ["school_id", "municipality_id"]] = ["newer", "elsewhere"]
    return rows


def nested_dense(result, pupils, guests, effects):
    ones, terms = np.ones((len(pupils), 1)), lambda f: np.c_[np.ones(len(f)), f["prior_score"]]
    both = pd.concat([pupils, guests])
    cell = lambda f: [f"{s}|{y}" for s, y in zip(f["school_id"], f["year"], strict=True)]  # noqa: E731
    blocks, new = [], []
    for at, (level, key, values) in enumerate(
        zip(
            result.mixed.levels,
            [lambda f: f["municipality_id"], lambda f: f["school_id"], cell],
            [lambda f: np.ones((len(f), 1)), terms, lambda f: np.ones((len(f), 1))],
            strict=True,
        )
    ):
        labels = sorted(set(key(both)))
        on = effects == "all" or (effects == "schools" and at < 2)
        blocks.append((units(labels, key(pupils), values(pupils)), spread_out(level, len(labels))))
        new.append(units(labels, key(guests), values(guests)) * on)
    assert len(ones) == len(pupils)
    X = lambda f: np.c_[np.ones(len(f)), f["prior_score"], f["ses"]]  # noqa: E731
    y = pupils["score"].to_numpy()
    return dense(blocks, new, X(pupils), y, X(guests), result.variances["residual"])


@pytest.mark.parametrize("effects", ["none", "schools", "all"])
def test_nested_prediction_and_its_error_against_the_dense_matrix(result, pupils, guests, effects):
    mean, variance = nested_dense(result, pupils, guests, effects)
    table = result.predict(guests.drop(columns="score"), effects=effects, interval=0.95)
    # 1e-8: rounding of two orders of the same algebra
    np.testing.assert_allclose(table["predicted"], mean, rtol=1e-8)
    np.testing.assert_allclose(table["std_error"] ** 2, variance, rtol=1e-7)
    np.testing.assert_allclose(table["conf_high"] - mean, Z95 * table["std_error"], rtol=1e-7)
    assert list(table["known_unit"]) == [True] * 6 + [False] * 2
    assert ("known_year" in table) == (effects == "all")
    if effects == "all":
        assert list(table["known_year"]) == [True] * 5 + [False] * 3
    # a pupil: the residual and, as new draws, the effects that were left out
    municipality, school, cells = (level.covariance for level in result.mixed.levels)
    z = np.c_[np.ones(8), guests["prior_score"]]
    left = {
        "none": municipality[0, 0] + np.einsum("ia,ab,ib->i", z, school, z) + cells[0, 0],
        "schools": cells[0, 0],
        "all": 0.0,
    }[effects]
    whole = np.sqrt(variance + left + result.variances["residual"])
    np.testing.assert_allclose(table["pupil_high"] - table["predicted"], Z95 * whole, rtol=1e-7)
    np.testing.assert_allclose(table["predicted"] - table["pupil_low"], Z95 * whole, rtol=1e-7)


def test_a_new_unit_carries_the_variance_of_its_effect(pupils):
    result = fit(rs.ValueAddedModel("score ~ ses", group="school_id"), pupils)
    row = pupils.head(1)
    new = row.assign(school_id="new")
    fixed = result.predict(row, effects="none", interval=0.95)
    with pytest.warns(rs.WeakDataWarning, match="none of the schools"):
        guest = result.predict(new, effects="schools", interval=0.95)
    assert guest["predicted"].iloc[0] == pytest.approx(fixed["predicted"].iloc[0], rel=1e-12)
    assert guest["std_error"].iloc[0] ** 2 == pytest.approx(
        fixed["std_error"].iloc[0] ** 2 + result.variances["persistent"], rel=1e-10
    )
    # an average school's pupil and a new school's pupil are the same draw
    assert guest["pupil_low"].iloc[0] == pytest.approx(fixed["pupil_low"].iloc[0], rel=1e-10)


def test_the_error_equals_the_joint_covariance_of_the_effects(pupils):
    """EffectErrors.joint holds (β, u) of one school: x'β + u has the variance a'Ja."""
    result = fit(rs.ValueAddedModel("score ~ prior_score + ses", group="school_id"), pupils)
    table = result.predict(pupils, effects="schools", interval=0.9)
    ids = list(result.school_effects["school_id"])
    for i in (0, 7, 200):
        row = pupils.iloc[i]
        J = result.errors.joint(ids.index(row["school_id"]))
        a = np.array([1.0, row["prior_score"], row["ses"], 1.0])
        # 1e-6: the joint matrix is in own units, where the prior's mean cancels
        assert table["std_error"].iloc[i] ** 2 == pytest.approx(a @ J @ a, rel=1e-6)


@pytest.mark.parametrize("effects", ["schools", "all"])
def test_crossed_prediction_against_the_dense_matrix(pupils, effects):
    model = rs.ValueAddedModel(
        "score ~ prior_score + ses", crossed=["primary_id", "school_id"], time="year"
    )
    result = fit(model, pupils)
    guests = pupils.iloc[:4].copy()
    guests.iloc[2, guests.columns.get_loc("primary_id")] = "new"
    guests.iloc[3, guests.columns.get_loc("school_id")] = "other"
    both = pd.concat([pupils, guests])
    one = lambda f: np.ones((len(f), 1))  # noqa: E731
    cell = lambda f: [f"{s}|{y}" for s, y in zip(f["school_id"], f["year"], strict=True)]  # noqa: E731
    blocks, new = [], []
    keys = [lambda f: f["primary_id"], lambda f: f["school_id"], cell]
    for level, key in zip(result.mixed.levels, keys, strict=True):
        labels = sorted(set(key(both)))
        on = effects == "all" or level.name != "school_id:year"
        blocks.append((units(labels, key(pupils), one(pupils)), spread_out(level, len(labels))))
        new.append(units(labels, key(guests), one(guests)) * on)
    X = lambda f: np.c_[np.ones(len(f)), f["prior_score"], f["ses"]]  # noqa: E731
    y = pupils["score"].to_numpy()
    mean, variance = dense(blocks, new, X(pupils), y, X(guests), result.variances["residual"])
    table = result.predict(guests, effects=effects, interval=0.95)
    np.testing.assert_allclose(table["predicted"], mean, rtol=1e-7)
    np.testing.assert_allclose(table["std_error"] ** 2, variance, rtol=1e-6)
    assert list(table["known_unit"]) == [True, True, True, False]


def test_shared_membership_against_the_dense_matrix(pupils):
    rng = np.random.default_rng(3)
    share = rng.choice([1.0, 0.5, 0.25], size=len(pupils))
    frame = pupils.assign(
        teacher_1=pupils["school_id"],
        teacher_2=np.roll(pupils["school_id"], 1),
        w1=share,
        w2=1.0 - share,
    )
    members = Membership(unit=["teacher_1", "teacher_2"], weight=["w1", "w2"])
    result = fit(rs.ValueAddedModel("score ~ ses", members=members), frame)
    guests = frame.iloc[:5].copy()
    guests.iloc[4, guests.columns.get_loc("teacher_1")] = "new"
    labels = sorted({*frame["teacher_1"], "new"})
    one = lambda f, c, w: units(labels, f[c], f[[w]].to_numpy())  # noqa: E731
    Z = lambda f: one(f, "teacher_1", "w1") + one(f, "teacher_2", "w2")  # noqa: E731
    level = result.mixed.levels[0]
    X = lambda f: np.c_[np.ones(len(f)), f["ses"]]  # noqa: E731
    mean, variance = dense(
        [(Z(frame), spread_out(level, len(labels)))],
        [Z(guests)],
        X(frame),
        frame["score"].to_numpy(),
        X(guests),
        result.variances["residual"],
    )
    table = result.predict(guests, effects="schools", interval=0.95)
    np.testing.assert_allclose(table["predicted"], mean, rtol=1e-7)
    np.testing.assert_allclose(table["std_error"] ** 2, variance, rtol=1e-6)
    augmented = result.augment(frame)
    np.testing.assert_allclose(
        result.predict(frame, effects="schools")["predicted"],
        augmented["fitted_with_effects"],
        atol=1e-10,
    )


def test_years_of_a_fading_part(pupils):
    """AR(1): known years from their effects, years to come through the last one."""
    model = rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        time="year",
        structure=rs.Structure(drift="ar1"),
    )
    result = fit(model, pupils)
    school, years = result.mixed.levels
    rows = pupils.iloc[:3].assign(school_id="S04", year=[2023, 2025, 2027])
    table = result.predict(rows, effects="all", interval=0.95)
    plain = result.predict(rows, effects="none")["predicted"].to_numpy()
    at = list(school.labels).index("S04")
    last = years.modes[list(years.labels).index("S04"), years.terms.index("year=2023")]
    rho = years.parameters["correlation"]
    fading = rho ** np.array([0.0, 2.0, 4.0])
    np.testing.assert_allclose(
        table["predicted"], plain + school.modes[at, 0] + fading * last, rtol=1e-9
    )
    lasting = result.predict(rows, effects="schools")["predicted"]
    np.testing.assert_allclose(lasting, plain + school.modes[at, 0], rtol=1e-9)
    # the variance of a target that drift predicts itself is the same but for x'β
    assert (table["std_error"].to_numpy() > 0).all()
    assert list(table["known_year"]) == [True, False, False]
    both = pd.concat([pupils, rows])
    names = sorted(both["year"].unique())
    corr = rho ** np.abs(np.subtract.outer(names, names).astype(float))
    labels = sorted(pupils["school_id"].unique())
    cells = [f"{s}|{y}" for s in labels for y in names]
    spread = years.covariance[0, 0]
    one = lambda f: np.ones((len(f), 1))  # noqa: E731
    key = lambda f: [f"{s}|{y}" for s, y in zip(f["school_id"], f["year"], strict=True)]  # noqa: E731
    blocks = [
        (units(labels, pupils["school_id"], one(pupils)), spread_out(school, len(labels))),
        (units(cells, key(pupils), one(pupils)), np.kron(np.eye(len(labels)), spread * corr)),
    ]
    new = [units(labels, rows["school_id"], one(rows)), units(cells, key(rows), one(rows))]
    X = lambda f: np.c_[np.ones(len(f)), f["prior_score"], f["ses"]]  # noqa: E731
    y = pupils["score"].to_numpy()
    mean, variance = dense(blocks, new, X(pupils), y, X(rows), result.variances["residual"])
    np.testing.assert_allclose(table["predicted"], mean, rtol=1e-7)
    np.testing.assert_allclose(table["std_error"] ** 2, variance, rtol=1e-6)


def test_joint_subjects_predict_each_subject(pupils):
    frame = pd.concat(
        [
            pupils.assign(subject="MA", pupil_key=range(len(pupils))),
            pupils.assign(
                subject="RU",
                pupil_key=range(len(pupils)),
                score=0.5 * pupils["score"] + np.cos(np.arange(len(pupils))),
            ),
        ],
        ignore_index=True,
    )
    model = rs.ValueAddedModel(
        "score ~ C(subject) + ses",
        group="school_id",
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    )
    result = fit(model, frame)
    table = result.predict(frame, effects="schools", interval=0.95)
    np.testing.assert_allclose(
        table["predicted"], result.augment(frame)["fitted_with_effects"], atol=1e-10
    )
    fitted, level = result.mixed, result.mixed.levels[0]
    # dense: residuals of one pupil are correlated
    n, labels = len(pupils), sorted(pupils["school_id"].unique())
    second = (frame["subject"] == "RU").to_numpy()
    terms = np.c_[~second, second].astype(float)
    Z = units(labels, frame["school_id"], terms)
    G = spread_out(level, len(labels))
    R = np.kron(fitted.residual_covariance, np.eye(n))
    Vi = np.linalg.inv(Z @ G @ Z.T + R)
    X = np.c_[np.ones(2 * n), second, frame["ses"]]
    C = np.linalg.inv(X.T @ Vi @ X)
    across = Z @ G @ Z.T @ Vi
    conditional = np.einsum("ia,ab,ib->i", Z, G - G @ Z.T @ Vi @ Z @ G, Z)
    left = X - across @ X
    variance = conditional + np.einsum("ip,pq,iq->i", left, C, left)
    np.testing.assert_allclose(table["std_error"] ** 2, variance, rtol=1e-6)
    own = np.diag(fitted.residual_covariance)[second.astype(int)]
    np.testing.assert_allclose(
        table["pupil_high"] - table["predicted"], Z95 * np.sqrt(variance + own), rtol=1e-6
    )


def test_augment_is_the_prediction_with_what_lasts(result, pupils):
    augmented = result.augment(pupils)
    for column, effects in (("fitted", "none"), ("fitted_with_effects", "schools")):
        found = result.predict(pupils, effects=effects)["predicted"]
        np.testing.assert_array_equal(augmented[column], found)


def test_prediction_keeps_index_and_columns(result, pupils):
    rows = pupils.iloc[[5, 3]].drop(columns="score").set_index(pd.Index(["b", "a"]))
    table = result.predict(rows)
    assert list(table.index) == ["b", "a"]
    assert list(table.columns) == [*rows.columns, "predicted", "known_unit"]
    whole = result.predict(rows, effects="all", interval=0.8)
    added = set(whole.columns) - set(rows.columns)
    assert added <= set(column_names())
    assert "score" not in whole.columns


def test_a_composition_may_be_given(pupils):
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", intake=rs.Intake(composition={"ses": "mean"})
    )
    result = fit(model, pupils)
    means = pupils.groupby("school_id")["ses"].transform("mean")
    whole = result.predict(pupils, effects="schools")["predicted"]
    one = pupils.assign(ses_mean=means).iloc[:1].drop(columns="score")
    assert result.predict(one, effects="schools")["predicted"].iloc[0] == pytest.approx(
        whole.iloc[0], rel=1e-12
    )


def test_random_effects_hold_every_level_and_term(result):
    table = result.random_effects
    names = ["group", "unit_id", "term", "estimate", "std_error", "conditional_sd"]
    assert list(table.columns) == names
    assert set(names) <= set(column_names())
    assert list(table["group"].unique()) == ["municipality_id", "school_id", "school_id:year"]
    slopes = table[(table["group"] == "school_id") & (table["term"] == "prior_score")]
    np.testing.assert_array_equal(slopes["estimate"], result.school_slopes["estimate"])
    cells = table[table["group"] == "school_id:year"]
    assert set(cells["term"]) == {"year=2021", "year=2022", "year=2023"}
    assert set(cells["unit_id"]) == set(result.school_effects["school_id"])
    assert (table["std_error"] >= table["conditional_sd"]).all()


def test_a_pickle_gives_the_same_tables(result, pupils):
    again = pickle.loads(pickle.dumps(result))
    for name in ("fixed_effects", "variance_components", "school_effects", "random_effects"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    pd.testing.assert_frame_equal(again.augment(pupils), result.augment(pupils))
    pd.testing.assert_frame_equal(
        again.predict(pupils, effects="all", interval=0.9),
        result.predict(pupils, effects="all", interval=0.9),
    )
    assert again.summary("ru") == result.summary("ru")


def test_a_pickle_keeps_learnt_categories_and_transformations(pupils):
    frame = pupils.assign(kind=np.where(pupils["ses"] > 0, "city", "village"))
    model = rs.ValueAddedModel("score ~ C(kind) + center(prior_score)", group="school_id")
    result = fit(model, frame)
    again = pickle.loads(pickle.dumps(result))
    rows = frame.iloc[:3]
    np.testing.assert_array_equal(
        again.predict(rows)["predicted"], result.predict(rows)["predicted"]
    )
