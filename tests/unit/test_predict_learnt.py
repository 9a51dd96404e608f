"""What predictions take from the fit: the same pupils get the same numbers in any table."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.stats.gaps.regression_calibration import calibrate
from resilience.value_added.intake.cell_places import cell_places
from resilience.value_added.intake.preparation import composition_mean

# The two sides are the same sums in another order.
SAME = {"rtol": 0, "atol": 1e-9}
FORMULA = "score ~ prior_score + ses"


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(4)
    n, J = 480, 16
    school = rng.permutation(np.r_[np.repeat(np.arange(J), 6), rng.integers(0, J, n - 6 * J)])
    year = 2021 + rng.permutation(np.arange(n) % 3)
    intake = 0.6 * rng.normal(size=J)[school]
    prior = 2.0 * (year - 2021) + intake + rng.normal(size=n) * (1.0 + 0.4 * (year - 2021))
    ses = 0.5 * rng.normal(size=J)[school] + rng.normal(size=n)
    score = 0.5 * prior + 0.3 * ses + 0.4 * rng.normal(size=J)[school] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "primary_id": [f"P{k}" for k in rng.integers(0, 8, size=n)],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "sex": rng.choice(["f", "m"], size=n),
            "error": rng.choice([0.1, 0.3], size=n),
            "score": score,
            "pupil": [f"u{k}" for k in range(n)],
        }
    )


def fit(frame, formula=FORMULA, **model):
    model = {"group": "school_id", **model} if "crossed" not in model else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # 8 primary schools, flat variances
        return rs.ValueAddedModel(formula, **model).fit(frame)


INTAKES = {
    "standardised": {"standardize_by": ["year"]},
    "calibrated": {"prior_reliability": 0.8},
    "errors by pupil": {"prior_reliability": "error", "standardize_by": ["year"]},
    "latent": {"composition": {"ses": "latent"}},
    "others": {"composition": {"ses": "leave_one_out", "prior_score": "mean"}},
    "calibrated composition": {
        "prior_reliability": 0.8,
        "composition": {"prior_score": "latent", "ses": "latent"},
    },
    "calibrated mean": {"prior_reliability": 0.8, "composition": {"prior_score": "leave_one_out"}},
    "filled": {"missing": "indicator", "composition": {"ses": "mean"}},
}
SHAPES = {
    "schools": {},
    "years": {"time": "year"},
    "crossed": {"crossed": ["primary_id", "school_id"]},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("intake", INTAKES)
def test_a_subset_gets_the_numbers_of_the_whole_table(pupils, intake, shape):
    frame = pupils
    if intake == "filled":
        frame = pupils.assign(ses=pupils["ses"].where(np.arange(len(pupils)) % 11 > 0))
    formula = FORMULA if intake != "calibrated composition" else FORMULA + " + sex"
    result = fit(frame, formula, **SHAPES[shape], intake=rs.Intake(**INTAKES[intake]))
    whole = result.augment(frame)
    # the fit's own rows: expected means of the schools are those of the design of the fit
    expected = whole.groupby(whole["school_id"])["fitted"].mean()
    table = result.school_effects.set_index("school_id")["expected_mean"]
    np.testing.assert_allclose(expected.loc[table.index], table, **SAME)
    again = pickle.loads(pickle.dumps(result))
    for part in (frame.iloc[:1], frame.iloc[7:60], frame[frame["school_id"] == "S05"]):
        own = result.augment(part)
        rows = whole.loc[part.index]
        np.testing.assert_allclose(own["pupil_residual"], rows["pupil_residual"], **SAME)
        alone = again.predict(part.drop(columns="score"), effects="schools", interval=0.9)
        np.testing.assert_allclose(alone["predicted"], rows["fitted_with_effects"], **SAME)


@pytest.mark.parametrize("intake", ["standardised", "latent", "others", "filled"])
def test_fits_from_products_predict_the_same(pupils, tmp_path, intake):
    frame = pupils.assign(ses=pupils["ses"].where(np.arange(len(pupils)) % 11 > 0))
    frame = frame if intake == "filled" else pupils
    model = rs.ValueAddedModel(
        FORMULA, group="school_id", time="year", intake=rs.Intake(**INTAKES[intake])
    )
    path = tmp_path / "pupils.parquet"
    frame.to_parquet(path)
    part = frame.iloc[10:40].drop(columns="score")
    expected = fit(frame, time="year", intake=model.intake).predict(part, effects="all")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        results = [
            model.fit(path),
            model.fit(pickle.loads(pickle.dumps(model.cross_products(path)))),
        ]
        results.append(results[0].leave_out(units=["S00"]))
    for result in results[:2]:
        # two searches of one optimum end within their own tolerance
        found = result.predict(part, effects="all")["predicted"]
        np.testing.assert_allclose(found, expected["predicted"], atol=1e-5)
    own = results[2].predict(part, effects="none")["predicted"]
    np.testing.assert_allclose(own, results[2].predict(frame)["predicted"].loc[part.index], **SAME)


def test_a_new_cohort_is_not_taken_for_an_old_one(pupils):
    """Every 2023 pupil with 2 more on the prior: the prediction rises by 2 slopes in SD units."""
    result = fit(pupils, intake=rs.Intake(standardize_by=["year"]))
    rows = pupils[pupils["year"] == 2023]
    higher = result.predict(rows.assign(prior_score=rows["prior_score"] + 2.0))["predicted"]
    slope = result.fixed_effects.set_index("term")["estimate"]["prior_score"]
    rise = 2.0 * slope / rows["prior_score"].std(ddof=0)
    np.testing.assert_allclose(higher - result.predict(rows)["predicted"], rise, **SAME)


def test_an_unknown_cell_of_standardisation_is_refused(pupils):
    result = fit(pupils, intake=rs.Intake(standardize_by=["year", "sex"]))
    later = pupils.head(3).assign(year=2030, sex="f")
    with pytest.raises(rs.DataError, match=r"year × sex.*2030/f.*2021/") as caught:
        result.predict(later)
    assert "2030/f" in caught.value.localized("ru")
    with pytest.raises(rs.DataError, match=r"'year' holds '20\d\d' \(type str\).*\(type int\)"):
        result.predict(pupils.assign(year=pupils["year"].astype(str)))


def test_a_gap_that_the_fit_never_saw_is_refused(pupils):
    gaps = pupils.assign(ses=pupils["ses"].where(np.arange(len(pupils)) % 11 > 0))
    result = fit(gaps, intake=rs.Intake(missing="indicator"))
    # filled with the mean of the fit, not of these two rows
    rows = gaps.iloc[:2].assign(ses=np.nan)
    beta = result.fixed_effects.set_index("term")["estimate"]
    by_hand = beta["Intercept"] + beta["prior_score"] * rows["prior_score"]
    by_hand += beta["ses"] * gaps["ses"].mean() + beta["ses_missing"]
    np.testing.assert_allclose(result.predict(rows)["predicted"], by_hand, **SAME)
    with pytest.raises(rs.DataError, match=r"'prior_score' has gaps \(2\) but had none"):
        result.predict(rows.assign(prior_score=np.nan))


def test_the_outcome_is_read_by_augment_alone(pupils):
    result = fit(pupils, intake=rs.Intake(standardize_by=["year"]))
    rows = pupils.head(5)
    expected = result.predict(rows)["predicted"]
    for changed in (rows.drop(columns="score"), rows.assign(score=np.nan), rows.assign(score="x")):
        np.testing.assert_array_equal(result.predict(changed)["predicted"], expected)
        with pytest.raises(rs.DataError, match="score"):
            result.augment(changed)


# -- cells that the fit did not know -------------------------------------------------------------


def guests(pupils):
    """Rows of a new school, of a new year of a known one, and of a known cell."""
    rows = pupils.iloc[:12].copy()
    rows["school_id"] = ["new"] * 5 + ["S03"] * 4 + ["S04"] * 3
    rows["year"] = [2021] * 3 + [2022] * 2 + [2024] * 3 + [2025] + [2021] * 3
    return rows


@pytest.mark.parametrize("time", [None, "year"])
def test_latent_means_of_new_cells_against_dense_matrices(pupils, time):
    """BLUP of the cells' means from the rows of the fit and the new ones, variances of the fit."""
    intake = rs.Intake(composition={"ses": "latent"})
    result = fit(pupils, "score ~ ses", time=time, intake=intake)
    null, rows = result.learnt.plan.composition.nulls["ses"], guests(pupils)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        found = result.predict(rows, effects="none")["ses_mean"].to_numpy()
    keys = ["school_id"] if time is None else ["school_id", "year"]
    known = cell_places(result.learnt.plan.composition.labels, keys, rows) >= 0
    assert known.sum() == (7 if time is None else 3)
    both = pd.concat([pupils, rows[~known]])
    school = both["school_id"].to_numpy()
    cell = both[keys].astype(str).agg("/".join, axis=1).to_numpy()
    G = null.outer * (school[:, None] == school) + null.inner * (cell[:, None] == cell)
    V = G + null.residual * np.eye(len(both))
    blup = null.mean + G @ np.linalg.solve(V, both["ses"].to_numpy() - null.mean)
    np.testing.assert_allclose(found[~known], blup[len(pupils) :], **SAME)
    learnt = composition_mean(pupils, "ses", keys, how="latent")
    place = pupils.reset_index(drop=True).groupby(keys).head(1).set_index(keys).index
    cells = learnt.reset_index(drop=True).groupby([pupils[k].to_numpy() for k in keys]).first()
    asked = rows.loc[known, keys]
    for value, key in zip(found[known], asked.itertuples(index=False, name=None), strict=True):
        assert value == pytest.approx(cells[key if time else key[0]], abs=1e-9)
    assert len(place) == len(cells)


@pytest.mark.parametrize("time", [None, "year"])
def test_calibrated_new_cells_against_one_calibration_of_all_rows(pupils, time):
    """With the fit's moments new cells are what they would be beside the rows of the fit."""
    intake = rs.Intake(prior_reliability="error", composition={"prior_score": "latent"})
    result = fit(pupils, time=time, intake=intake)
    rows = guests(pupils)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        found = result.predict(rows, effects="none")
    learnt = result.learnt.calibration
    known = cell_places(learnt.labels, learnt.keys, rows) >= 0
    both = pd.concat([pupils, rows[~known]])
    values = both[["prior_score", "ses"]].to_numpy()
    errors = np.column_stack([both["error"], np.zeros(len(both))])
    schools = pd.factorize(both["school_id"])[0].astype(np.int64)
    cells = both.groupby(list(learnt.keys), sort=False).ngroup().to_numpy().astype(np.int64)
    expected = calibrate(values, errors, schools, learnt.moments, cells)
    new = slice(len(pupils), None)
    assert list(learnt.names) == ["prior_score", "ses"]
    np.testing.assert_allclose(found["prior_score"][~known], expected.pupils[new, 0], **SAME)
    means = expected.cells[cells[new], 0]
    np.testing.assert_allclose(found["prior_score_mean"][~known], means, **SAME)


def test_plain_means_of_new_cells_by_hand(pupils):
    intake = rs.Intake(composition={"ses": "mean", "prior_score": "leave_one_out"})
    result = fit(pupils, intake=intake)
    rows = pupils.iloc[:4].assign(school_id=["new", "new", "new", "one"])
    found = result.predict(rows)
    np.testing.assert_allclose(found["ses_mean"][:3], rows["ses"][:3].mean(), **SAME)
    assert found["ses_mean"].iloc[3] == rows["ses"].iloc[3]
    x = rows["prior_score"].to_numpy()
    # a single pupil of a new school has the mean of all pupils of the fit
    others = [*((x[:3].sum() - x[:3]) / 2), pupils["prior_score"].mean()]
    np.testing.assert_allclose(found["prior_score_mean"], others, **SAME)


def test_leave_one_out_takes_the_row_for_a_pupil_of_the_fit(pupils):
    result = fit(pupils, intake=rs.Intake(composition={"ses": "leave_one_out"}))
    own = pupils[pupils["school_id"] == "S05"]
    stranger = own.iloc[[0]].assign(ses=9.0)
    n, mean = len(own), own["ses"].mean()
    found = result.predict(stranger)["ses_mean"].iloc[0]
    assert found == pytest.approx((n * mean - 9.0) / (n - 1))
    assert result.predict(stranger.assign(ses_mean=mean))["ses_mean"].iloc[0] == mean


def test_subjects_have_their_own_compositions(pupils):
    frame = joint_table(pupils)
    model = {
        "structure": rs.Structure(outcome_group="subject", unit="pupil"),
        "intake": rs.Intake(composition={"ses": "latent", "prior_score": "leave_one_out"}),
    }
    result = fit(frame, "score ~ C(subject) + ses", **model)
    whole = result.predict(frame, effects="all")
    for subject in ("MA", "RU"):
        own = frame[frame["subject"] == subject]
        mean = composition_mean(own, "ses", ["school_id"], how="latent")
        np.testing.assert_allclose(whole.loc[own.index, "ses_mean"], mean, **SAME)
    part = frame.iloc[200:500].drop(columns="score")
    found = result.predict(part, effects="all", interval=0.9)["predicted"]
    np.testing.assert_allclose(found, whole.loc[part.index, "predicted"], **SAME)


def joint_table(pupils):
    """Two subjects; a third of the pupils did not sit the second."""
    second = pupils.iloc[::3].index
    other = pupils.drop(index=second).assign(subject="RU")
    other["score"] = 0.7 * other["score"] + np.cos(np.arange(len(other)))
    return pd.concat([pupils.assign(subject="MA"), other], ignore_index=True)


def test_an_unknown_subject_is_refused(pupils):
    frame = joint_table(pupils)
    structure = rs.Structure(outcome_group="subject", unit="pupil")
    result = fit(frame, structure=structure)
    with pytest.raises(rs.DataError, match=r"'subject' holds the subjects ИС.*MA, RU") as caught:
        result.predict(frame.head(3).assign(subject="ИС"), effects="all")
    assert "ИС" in caught.value.localized("ru")
    with pytest.raises(rs.DataError, match=r"'subject' holds 1 \(type int\)"):
        result.predict(frame.head(3).assign(subject=1))


# -- labels --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered(pupils):
    return pupils.assign(
        school_id=pupils["school_id"].str[1:].astype(int),
        primary_id=pupils["primary_id"].str[1:].astype(int),
    )


def test_a_known_unit_of_another_type_is_refused(numbered):
    for model, column in (
        ({}, "school_id"),
        ({"group": ["primary_id", "school_id"]}, "primary_id"),
        ({"crossed": ["primary_id", "school_id"]}, "primary_id"),
    ):
        frame = numbered
        if "group" in model:
            frame = numbered.assign(primary_id=numbered["school_id"] % 4)
        result = fit(frame, **model)
        wrong = frame.head(4).assign(**{column: frame[column].head(4).astype(str)})
        with pytest.raises(rs.DataError, match=rf"'{column}' holds '\d+' \(type str\)") as caught:
            result.predict(wrong)
        assert "(тип str)" in caught.value.localized("ru")
        # 3.0 is 3, and an unknown text is a new unit
        plain = result.predict(frame.head(4), effects="schools")["predicted"]
        as_floats = frame.head(4).assign(**{column: frame[column].head(4).astype(float)})
        np.testing.assert_array_equal(
            result.predict(as_floats, effects="schools")["predicted"], plain
        )


def test_the_members_too(numbered):
    frame = numbered.assign(
        first=numbered["school_id"], second=(numbered["school_id"] + 1) % 16, w1=0.75, w2=0.25
    )
    members = rs.Membership(unit=["first", "second"], weight=["w1", "w2"])
    result = rs.ValueAddedModel(FORMULA, members=members).fit(frame)
    wrong = frame.head(4).astype({"first": str, "second": str})
    with pytest.raises(rs.DataError, match=r"'first, second' holds '\d+' \(type str\)"):
        result.predict(wrong)


def test_the_year_as_text_is_refused(pupils):
    for drift in (None, "ar1", "unstructured"):
        result = fit(pupils, time="year", structure=rs.Structure(drift=drift))
        for year in ("2022", "2030"):  # a new year of another type is no year to predict for
            with pytest.raises(rs.DataError, match=rf"'year' holds '{year}' \(type str\)"):
                result.predict(pupils.head(3).assign(year=year), effects="all")
        floats = pupils.head(9).assign(year=pupils["year"].head(9).astype(float))
        found = result.predict(floats, effects="all", interval=0.9)
        expected = result.predict(pupils.head(9), effects="all", interval=0.9)
        np.testing.assert_array_equal(found["predicted"], expected["predicted"])
        np.testing.assert_allclose(found["std_error"], expected["std_error"])
        assert found["known_year"].all()
    rows = pupils.head(3).assign(year=[2021, 2023, 2030])
    ar1 = fit(pupils, time="year", structure=rs.Structure(drift="ar1"))
    assert list(ar1.predict(rows, effects="all")["known_year"]) == [True, True, False]


def test_only_strangers_are_warned_of(pupils):
    result = fit(pupils)
    some = pupils.head(4).assign(school_id=["S01", "new", "new", "newer"])
    table = result.predict(some, effects="schools")
    assert list(table["known_unit"]) == [True, False, False, False]
    nobody = some.iloc[1:]
    with pytest.warns(rs.WeakDataWarning, match=r"none of the schools.*schools: 2, rows: 3") as got:
        result.predict(nobody, effects="all")
    assert len(got) == 1
    with pytest.warns(rs.WeakDataWarning, match="none of the schools"):
        result.augment(nobody)
    result.predict(nobody)  # the fixed part asks for no effects


# -- what is read --------------------------------------------------------------------------------


def test_fits_of_a_shared_pass_predict_too(pupils):
    intake = rs.Intake(composition={"ses": "latent"}, standardize_by=["year"])
    model = rs.ValueAddedModel(FORMULA, group="school_id", intake=intake)
    other = rs.ValueAddedModel("score ~ ses", group="school_id", intake=intake)
    compared = rs.ValueAddedModel.compare({"A": model, "B": other}, pupils)
    part = pupils.iloc[5:20].drop(columns="score")
    for key, alone in (("A", model), ("B", other)):
        found = compared.results[key].predict(part, effects="schools")["predicted"]
        expected = alone.fit(pupils).predict(pupils, effects="schools")["predicted"]
        # two searches of one optimum end within their own tolerance
        np.testing.assert_allclose(found, expected.loc[part.index], atol=1e-5)


def test_years_that_never_differ_are_predicted(pupils):
    """A correlation of 1 between years: R is singular and a later year is like every other."""
    result = fit(pupils, time="year", structure=rs.Structure(drift="ar1"))
    years = result.mixed.levels[1]
    object.__setattr__(years, "parameters", {**years.parameters, "correlation": 1.0})
    rows = pupils.head(2).assign(school_id="S04", year=[2030, 2031])
    at = list(years.labels).index("S04")
    found = result.predict(rows, effects="all")["predicted"]
    lasting = (
        result.predict(rows, effects="none")["predicted"] + result.mixed.levels[0].modes[at, 0]
    )
    np.testing.assert_allclose(found, lasting + years.modes[at].mean(), **SAME)


def test_any_frame_will_do(pupils):
    import polars as pl
    import pyarrow as pa

    result = fit(pupils, intake=rs.Intake(composition={"ses": "latent"}, standardize_by=["year"]))
    expected = result.augment(pupils)
    for frame in (pl.from_pandas(pupils), pl.from_pandas(pupils).lazy(), pa.table(pupils)):
        found = result.augment(frame)
        assert isinstance(found, pd.DataFrame)
        np.testing.assert_allclose(found["pupil_residual"], expected["pupil_residual"], **SAME)
        np.testing.assert_allclose(
            result.predict(frame, effects="schools")["predicted"],
            expected["fitted_with_effects"],
            **SAME,
        )


def test_no_table_is_named(pupils):
    result = fit(pupils)
    for source in ("pupils.parquet", [pupils], lambda: pupils):
        with pytest.raises(rs.SpecificationError, match="as one table") as caught:
            result.predict(source)
        assert "одной таблице" in caught.value.localized("ru")


def test_text_for_a_number_is_named_and_leaves_no_trace(pupils):
    result = fit(pupils)
    expected = result.predict(pupils)["predicted"]
    with pytest.raises(rs.DataError, match="'prior_score' must be numeric") as caught:
        result.predict(pupils.assign(prior_score="3"))
    assert "должен быть числовым" in caught.value.localized("ru")
    # formulaic used to note the text as categories of the design: later predictions failed
    np.testing.assert_array_equal(result.predict(pupils)["predicted"], expected)
    learnt = fit(pupils, "score ~ np.exp(ses)")
    expected = learnt.predict(pupils)["predicted"]
    with pytest.raises(rs.DataError, match="'ses' must be numeric"):
        learnt.predict(pupils.assign(ses="3"))
    np.testing.assert_array_equal(learnt.predict(pupils)["predicted"], expected)


@pytest.mark.parametrize(
    ("term", "group"),
    [
        ("(1|school_id)", "group='school_id'"),
        ("(1 + np.log(ses) || `school_id`)", "group='school_id'"),
        ("(0 + ses | mun/school_id)", "group=['mun', 'school_id']"),
    ],
)
def test_the_bars_of_lme4_point_to_group(term, group):
    with pytest.raises(rs.SpecificationError) as caught:
        fit(pd.DataFrame(), f"score ~ ses + {term}")
    assert f"random effects as {term}" in str(caught.value)
    assert group in str(caught.value)
    assert group in caught.value.localized("ru")


def test_a_bar_of_python_is_no_random_effect(pupils):
    found = fit(pupils, "score ~ I((ses > 0) | (prior_score > 0))")
    assert len(found.fixed_effects) == 2


# -- flat cells of standardisation ---------------------------------------------------------------


@pytest.mark.parametrize("value", [4.0, 3.7, 0.1, -1e-3, 1e6 + 0.1])
@pytest.mark.parametrize("column", ["score", "prior_score"])
def test_a_constant_cell_is_found_whatever_its_value(pupils, column, value):
    flat = pupils.assign(**{column: pupils[column].where(pupils["year"] != 2022, value)})
    model = rs.ValueAddedModel(
        FORMULA, group="school_id", intake=rs.Intake(standardize_by=["year"])
    )
    for source in (flat, [flat.iloc[:200], flat.iloc[200:]], [flat[::-1].iloc[:7], flat[::-1][7:]]):
        with pytest.raises(rs.DataError, match="cell 2022 has no spread"):
            model.fit(source)


@pytest.mark.parametrize(("factor", "shift"), [(1e-3, 0.0), (1.0, 1e5), (1e6, -1e9)])
def test_a_small_spread_is_one(pupils, factor, shift):
    """A year on another scale is standardised like any other."""
    year = pupils["year"] == 2022
    other = pupils.assign(prior_score=pupils["prior_score"].where(~year, 0.0) * factor + shift)
    other["prior_score"] = other["prior_score"].where(
        ~year, pupils["prior_score"] * factor * 1e-3 + shift
    )
    intake = rs.Intake(standardize_by=["year"])
    found = fit(other, intake=intake).fixed_effects["estimate"]
    # rounding of sums at the shift: 1e-16 · (1e5)² beside a variance of 1e-6
    np.testing.assert_allclose(
        found, fit(pupils, intake=intake).fixed_effects["estimate"], atol=1e-6
    )
