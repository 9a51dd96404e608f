"""Completed tables and pooled results: what stays, what is drawn, what is refused."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import polars
import pytest

import resilience as rs
from resilience.value_added.gaps.completion import impute_pupils
from resilience.value_added.gaps.imputed_results import ImputedResults
from resilience.value_added.results import ValueAddedResults


def pupils(seed: int = 0) -> pd.DataFrame:
    """30 schools over two years with gaps in numbers, categories and values of whole schools."""
    rng = np.random.default_rng(seed)
    n, school = 900, np.repeat(np.arange(30), 30)
    year = np.tile([2022, 2023], 450)
    ses = 0.5 * rng.normal(size=30)[school] + rng.normal(size=n)
    prior = 50 + 10 * (0.4 * ses + rng.normal(size=n)) + 5 * (year == 2023)
    score = 0.05 * prior + 0.3 * ses + 0.3 * rng.normal(size=30)[school] + rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 10}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "ses": ses,
            "sex": rng.choice(["F", "M"], n),
            "language": pd.Categorical(rng.choice(["ru", "tt", "other"], n)),
            "rural": (rng.random(30) < 0.4)[school].astype(object),
            "small": (school % 3 == 0).astype(float),
            "prior_score": prior,
            "score": score + 0.3 * (year == 2023),
        }
    )
    for name in ("ses", "sex", "language", "prior_score"):
        frame[name] = frame[name].mask(rng.random(n) < 0.1)
    frame.loc[frame["school_id"].isin(["S03", "S11"]), "rural"] = None
    frame.loc[frame["school_id"].eq("S07") & (rng.random(n) < 0.5), "small"] = np.nan
    frame.loc[frame["school_id"].eq("S09"), "small"] = np.nan
    return frame


MODEL = rs.ValueAddedModel(
    "score ~ prior_score + ses + sex + language + rural + small",
    group=["municipality_id", "school_id"],
    time="year",
    intake=rs.Intake(
        composition={"ses": "latent"}, standardize_by=["year"], missing="impute", n_imputations=3
    ),
)


@pytest.fixture(scope="module")
def completed():
    return impute_pupils(MODEL, pupils(), random_state=1)


@pytest.fixture(scope="module")
def pooled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # municipalities differ in nothing
        return MODEL.fit(pupils(), random_state=1)


def test_known_values_and_types_stay(completed):
    frame = pupils()
    for table in completed:
        assert table.columns.tolist() == frame.columns.tolist()
        assert not table.isna().to_numpy().any()
        for name in frame.columns:
            known = frame[name].notna()
            assert (table.loc[known, name] == frame.loc[known, name]).all()
        assert isinstance(table["language"].dtype, pd.CategoricalDtype)
        assert set(table["sex"]) == {"F", "M"}
        assert set(table["small"]) == {0.0, 1.0}
        assert table["rural"].dtype == bool


def test_a_school_has_one_value_and_a_known_one_is_taken_over(completed):
    for table in completed:
        for name in ("rural", "small"):
            assert table.groupby("school_id")[name].nunique().max() == 1
        known = pupils().groupby("school_id")["small"].first()["S07"]
        assert (table.loc[table["school_id"] == "S07", "small"] == known).all()


def test_imputations_differ_and_are_the_same_for_a_seed(completed):
    gap = pupils()["ses"].isna()
    assert not np.allclose(completed[0].loc[gap, "ses"], completed[1].loc[gap, "ses"])
    again = impute_pupils(MODEL, pupils(), random_state=1)
    pd.testing.assert_frame_equal(completed[2], again[2])
    other = impute_pupils(MODEL, pupils(), random_state=2)
    assert not np.allclose(completed[0].loc[gap, "ses"], other[0].loc[gap, "ses"])


def test_priors_are_imputed_within_the_cells_of_standardisation(completed):
    frame = pupils()
    gap = frame["prior_score"].isna()
    years = completed[0][gap].groupby("year")["prior_score"].mean()
    # the years lie 5 apart, some 45 pupils each with an SD of 10: a standard error of 2.1
    assert years[2023] - years[2022] == pytest.approx(5.0, abs=4 * 2.1)
    assert abs(completed[0]["prior_score"].mean() - frame["prior_score"].mean()) < 1.0


def test_results_are_of_the_one_type_and_print(pooled):
    assert isinstance(pooled, ImputedResults)
    assert isinstance(pooled, ValueAddedResults)
    assert pooled.n_imputations == 3
    assert "ses_mean" in pooled.fixed_effects["term"].tolist()
    for lang, words in (("en", "Rubin's rules"), ("ru", "правилам Рубина")):
        assert words in pooled.summary(lang)
    assert pooled.glance()["n_imputations"].tolist() == [3]
    assert "imputation" in pooled.to_dict()
    assert "fits" not in pooled.to_dict()
    again = pickle.loads(pickle.dumps(pooled))
    pd.testing.assert_frame_equal(again.school_effects, pooled.school_effects)


def test_tables_that_rest_on_effects_work(pooled):
    ranks = pooled.ranks()
    assert ranks["rank_expected"].between(1, 30).all()
    assert len(pooled.pairs()) == 30 * 29 / 2
    assert set(pooled.bands()["band"]) <= {"well_below", "below", "between", "above", "well_above"}
    assert len(pooled.predict_effects("next_year")) == 30
    assert len(pooled.random_effects) == 10 + 30 + 60
    assert pooled.explained_variance()["variance_explained"].between(0, 1).any()
    assert len(pooled.sufficiency(reliability=0.7)) == 30
    assert r"\begin{table}" in pooled.to_latex()


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("types", ()),
        ("simulate", ()),
        ("refit", (None,)),
        ("bootstrap", ()),
        ("variance_intervals", ()),
        ("influence", ()),
        ("leave_out", ()),
    ],
)
def test_what_belongs_to_one_fit_is_refused_with_the_way_out(pooled, method, arguments):
    with pytest.raises(rs.SpecificationError, match=rf"{method} belongs to one fit.*fits\[0\]"):
        getattr(pooled, method)(*arguments)


def test_cross_products_say_why_there_are_none(pooled):
    with pytest.raises(rs.SpecificationError, match="cross belongs to one fit"):
        _ = pooled.cross.total
    assert not hasattr(pooled.cross, "nothing_of_the_kind")


def test_a_table_without_gaps_gives_the_plain_fit():
    frame = pupils().dropna()
    formula = "score ~ prior_score + ses"
    imputed = rs.ValueAddedModel(
        formula, group="school_id", intake=rs.Intake(missing="impute", n_imputations=4)
    ).fit(frame)
    plain = rs.ValueAddedModel(formula, group="school_id").fit(frame)
    columns = ["effect", "std_error", "conf_low", "rank_expected"]
    for name in columns:  # the same sums, averaged over four
        found = imputed.school_effects[name].to_numpy()
        assert found == pytest.approx(plain.school_effects[name].to_numpy(), rel=1e-9)
    assert imputed.imputation["fraction_missing"].fillna(0.0).eq(0.0).all()


def test_polars_frames_are_taken():
    frame = pupils()[["school_id", "ses", "prior_score", "score"]]
    model = rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        intake=rs.Intake(missing="impute", n_imputations=2),
    )
    one, other = model.fit(frame), model.fit(polars.from_pandas(frame))
    pd.testing.assert_frame_equal(one.fixed_effects, other.fixed_effects)


def test_calibrated_priors_are_calibrated_in_every_completed_table():
    frame = pupils()
    model = rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        intake=rs.Intake(missing="impute", n_imputations=2, prior_reliability=0.8),
    )
    naive = rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        intake=rs.Intake(missing="impute", n_imputations=2),
    )
    slopes = [
        m.fit(frame).fixed_effects.set_index("term").loc["prior_score", "estimate"]
        for m in (model, naive)
    ]
    assert slopes[0] > 1.1 * slopes[1]  # attenuation by about .8 is undone


def test_a_pupil_with_a_row_per_subject_has_one_value_where_the_key_is_named():
    rng = np.random.default_rng(3)
    n, school = 400, np.repeat(np.arange(20), 20)
    ses = rng.normal(size=n)
    ability = 0.5 * ses + rng.normal(size=n)
    pieces = [
        pd.DataFrame(
            {
                "pupil_key": np.arange(n),
                "school_id": school,
                "subject": subject,
                "ses": np.where(np.arange(n) % 5 == 0, np.nan, ses),
                "prior_score": ability + 0.5 * rng.normal(size=n),
                "score": ability + 0.5 * rng.normal(size=n),
            }
        )
        for subject in ("MA", "RU")
    ]
    frame = pd.concat(pieces, ignore_index=True)
    frame["prior_score"] = frame["prior_score"].mask(rng.random(2 * n) < 0.1)
    model = rs.ValueAddedModel(
        "score ~ prior_score + ses",
        group="school_id",
        intake=rs.Intake(missing="impute", n_imputations=2),
        structure=rs.Structure(unit="pupil_key"),
    )
    table = impute_pupils(model, frame)[0]
    assert table.groupby("pupil_key")["ses"].nunique().max() == 1
    assert table.groupby("pupil_key")["prior_score"].nunique().min() == 2
    other = frame["pupil_key"].map(frame.groupby("pupil_key")["prior_score"].mean())
    gap = frame["prior_score"].isna() & other.notna()
    # two results of a pupil correlate by 1.25/1.5 = .83, of 70 pairs within (1 − .83²)/√70 = .04
    drawn = table.loc[gap, "prior_score"]
    assert drawn.corr(other[gap]) > 0.83 - 4 * 0.04
