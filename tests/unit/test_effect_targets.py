"""Sufficiency and predictions: by hand on made-up results, and on fits of every kind."""

from __future__ import annotations

import dataclasses
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import resilience as rs
from resilience.columns import column_names
from resilience.i18n import Bilingual
from resilience.results import Convergence
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.value_added import EffectsResults
from resilience.value_added.effects.effects_table import coefficient_table, effects_table

# Exam data of London: variances of the specification (detection, section 5)
BETWEEN, WITHIN = 0.09213, 0.56573


def made_up(sizes, *, transient=0.0, between=BETWEEN, within=WITHIN, intercept=0.0, time="year"):
    """Return results of a model with one coefficient: ``sizes`` are pupils per school and year.

    ``intercept`` is the variance of the coefficient; the residuals are all zero.
    """
    sizes = np.asarray(sizes, dtype=float)
    n_schools, n_years = sizes.shape
    precision = (1.0 / (transient + within / sizes)).sum(axis=1)
    trust = between * precision / (1.0 + between * precision)
    names = np.array([f"S{k}" for k in range(n_schools)], dtype=object)
    errors = EffectErrors(
        conditional=between * (1.0 - trust),
        leverage=trust[:, None],
        beta_covariance=np.array([[intercept]]),
    )
    years = pd.DataFrame(
        {
            "school_id": np.repeat(names, n_years),
            "year": np.tile(np.arange(2020, 2020 + n_years), n_schools),
            "residual": 0.0,
            "sampling_variance": within / sizes.ravel(),
            "n_pupils": sizes.ravel().astype(int),
        }
    )
    return EffectsResults(
        formula="score ~ 1",
        group="school_id",
        time=time,
        method="ml",
        criterion=0.0,
        fixed_effects=coefficient_table(("Intercept",), np.zeros(1), np.array([[1.0]])),
        variance_components=pd.DataFrame(
            {
                "group": ["school_id", "school_id:year", "residual"],
                "term": ["Intercept", "Intercept", ""],
                "variance": [between, transient, within],
            }
        ),
        school_effects=effects_table(
            school_id=names,
            effect=np.zeros(n_schools),
            errors=errors,
            prior_variance=between,
            n_pupils=sizes.sum(axis=1).astype(np.int64),
            n_years=np.full(n_schools, n_years),
            means=(np.zeros(n_schools), np.zeros(n_schools)),
        ),
        school_years=years if time else years.drop(columns="year"),
        variances={"persistent": between, "transient": transient, "residual": within},
        convergence=Convergence(
            converged=True,
            n_evaluations=1,
            n_iterations=1,
            gradient_norm=0.0,
            hessian_positive=True,
            singular=False,
            log=(),
            message="",
        ),
        question=rs.Question("since_entry"),
        data_kind="pupils",
        information=1.0,
        errors=errors,
        year_design=np.ones((n_schools * n_years, 1)),
    )


# -- sufficiency -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "transient", "years"), [(5, 0.0, 6), (5, 0.03, 7), (30, 0.0, 1), (30, 0.03, 3)]
)
def test_years_of_the_worked_case(size, transient, years):
    """Detection, section 5: reliability .8115 at the London variances."""
    table = made_up([[size]], transient=transient).sufficiency(reliability=0.8115)
    assert table["years_needed"][0] == years
    assert (table["verdict"][0] == "yes") == (years == 1)


def test_pupils_of_the_worked_case():
    table = made_up([[5], [26], [27]]).sufficiency(reliability=0.8115)
    # 26.4 pupils, hence 27
    assert list(table["pupils_needed"]) == [27, 27, 27]
    assert list(table["verdict"]) == ["insufficient_data", "insufficient_data", "yes"]
    assert "27 pupils in one year, or 6 years of 5 pupils" in table["reason"][0]
    assert "27 учеников за один год" in table["reason"][0].ru


def test_what_passes_within_a_year_may_forbid_one_year():
    """1/A_c = .0214 < σ_v² = .03: no number of pupils of one year is enough."""
    table = made_up([[5, 5, 5], [400, 400, 400]], transient=0.03).sufficiency(reliability=0.8115)
    assert list(table["verdict"]) == ["insufficient_data", "yes"]
    assert np.isinf(table["pupils_needed"]).all()
    assert "one year never suffices" in table["reason"][0]
    assert "needs 7 years of 5 pupils" in table["reason"][0]
    assert list(table["years_needed"]) == [7, 2]


def test_a_standard_error_counts_the_coefficients():
    """The least n at which √(σ²(1−λ) + λ²g) falls to the bound, found by trying every n."""
    bound, g = 0.12, 0.004
    n = np.arange(1, 400)
    trust = BETWEEN / (BETWEEN + WITHIN / n)
    error = np.sqrt(BETWEEN * (1 - trust) + trust**2 * g)
    least = int(n[error <= bound][0])
    results = made_up([[3], [least - 1], [least]], intercept=g)
    table = results.sufficiency(std_error=bound)
    assert list(table["pupils_needed"]) == [least] * 3
    assert list(table["verdict"]) == ["insufficient_data", "insufficient_data", "yes"]
    # without that error fewer pupils would seem enough
    without = made_up([[3]]).sufficiency(std_error=bound)
    assert without["pupils_needed"][0] < least


def test_a_half_width_is_a_standard_error():
    results = made_up([[4], [40], [160]], intercept=0.002)
    by_error = results.sufficiency(std_error=0.1)
    z = norm.ppf(0.95)
    by_width = results.sufficiency(half_width=0.1 * z, level=0.90)
    pd.testing.assert_frame_equal(by_error, by_width)
    wide = results.sufficiency(half_width=0.1 * z)  # 95 %: a narrower standard error
    assert (wide["pupils_needed"] > by_error["pupils_needed"]).all()


def test_the_error_of_the_coefficients_alone_may_forbid_it():
    table = made_up([[30]], intercept=0.05).sufficiency(std_error=0.15)
    assert table["verdict"][0] == "insufficient_data"
    assert np.isinf(table.loc[0, ["pupils_needed", "years_needed"]].astype(float)).all()
    assert "more schools are needed" in table["reason"][0]


def test_an_error_that_any_school_has_is_always_reached():
    table = made_up([[1]]).sufficiency(std_error=0.5)
    assert table.loc[0, "verdict"] == "yes"
    assert table.loc[0, "pupils_needed"] == 1
    assert table.loc[0, "reason"] == "the asked precision is reached"


def test_no_variation_between_schools_is_a_reason():
    table = made_up([[30]], between=0.0).sufficiency(reliability=0.5)
    assert table["verdict"][0] == "insufficient_data"
    assert "no variation between schools" in table["reason"][0]
    exact = made_up([[30]], between=0.0).sufficiency(std_error=0.1)
    assert exact["verdict"][0] == "insufficient_data"
    assert exact["reason"][0] == table["reason"][0]


def test_a_model_without_years_says_what_it_cannot_tell():
    table = made_up([[5]], time=None).sufficiency(reliability=0.8115)
    assert table["pupils_needed"][0] == 27
    assert "no year level" in table["reason"][0]
    assert "нет уровня года" in table["reason"][0].ru


def test_a_school_without_a_usable_year_is_kept():
    results = made_up([[5], [50]])
    years = results.school_years[results.school_years["school_id"] == "S1"]
    table = dataclasses.replace(results, school_years=years).sufficiency(reliability=0.8115)
    assert list(table["school_id"]) == ["S0", "S1"]
    assert table["pupils_needed"][0] == 27  # the pupil variance of the other school
    assert np.isnan(table["years_needed"][0])
    assert "no year with results" in table["reason"][0]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({}, "got —"),
        ({"reliability": 0.8, "std_error": 0.1}, "got reliability, std_error"),
        ({"reliability": 1.0}, "reliability is 1.0"),
        ({"reliability": 0.0}, "reliability is 0.0"),
        ({"std_error": 0.0}, "std_error is 0.0"),
        ({"half_width": -1.0}, "half_width is -1.0"),
        ({"half_width": float("nan")}, "half_width is nan"),
        ({"half_width": 0.2, "level": 1.0}, "level is 1.0"),
    ],
)
def test_a_precision_must_be_asked_for_once_and_within_its_range(asked, word):
    with pytest.raises(rs.SpecificationError, match=word):
        made_up([[5]]).sufficiency(**asked)


# -- every kind of results ---------------------------------------------------------------------


def region(n_schools=24):
    rng = np.random.default_rng(9)
    school = rng.permutation(np.r_[np.arange(n_schools), rng.integers(0, n_schools, 700)])
    year = rng.integers(2022, 2025, size=len(school))
    prior = rng.normal(size=len(school))
    u, v = 0.5 * rng.normal(size=n_schools), 0.4 * rng.normal(size=(n_schools, 3))
    slope, m = 0.35 * rng.normal(size=n_schools), 0.5 * rng.normal(size=12)
    score = 0.5 * prior + u[school] + v[school, year - 2022] + m[school % 12]
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 12:02d}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "score": score + slope[school] * prior + rng.normal(size=len(school)),
        }
    )


@pytest.fixture(scope="module")
def fits():
    frame = region()
    formula = "score ~ prior_score"
    cells = frame.groupby(["school_id", "year"], as_index=False).agg(
        mean_score=("score", "mean"), prior=("prior_score", "mean"), n_pupils=("score", "size")
    )
    means = rs.SchoolLevelModel("mean_score ~ prior", time="year", n="n_pupils", sd=1.0)
    towns = ["municipality_id", "school_id"]
    return {
        "schools": rs.ValueAddedModel(formula, group="school_id").fit(frame),
        "years": rs.ValueAddedModel(formula, group="school_id", time="year").fit(frame),
        "slopes": rs.ValueAddedModel(
            formula, group="school_id", slopes="prior_score", time="year"
        ).fit(frame),
        "municipalities": rs.ValueAddedModel(formula, group=towns, time="year").fit(frame),
        "means": means.fit(cells),
    }


NAMES = ["schools", "years", "slopes", "municipalities", "means"]


@pytest.mark.parametrize("name", NAMES)
def test_sufficiency_agrees_with_the_table_of_effects(fits, name):
    result = fits[name]
    effects = result.school_effects
    bound = float(effects["std_error"].median())
    table = result.sufficiency(std_error=bound)
    enough = table["verdict"] == "yes"
    np.testing.assert_array_equal(enough, effects["std_error"] <= bound * (1 + 1e-12))
    assert enough.any()
    assert not enough.all()
    assert (table.loc[enough, "years_needed"] <= table.loc[enough, "n_years"]).all()
    assert (table.loc[~enough, "years_needed"] > table.loc[~enough, "n_years"]).all()
    columns = ["school_id", "n_pupils", "n_years", "std_error", "reliability"]
    pd.testing.assert_frame_equal(table[columns], effects[columns])
    assert all(isinstance(words, Bilingual) for words in table["reason"])
    trusted = result.sufficiency(reliability=0.6)
    np.testing.assert_array_equal(trusted["verdict"] == "yes", effects["reliability"] >= 0.6)


@pytest.mark.parametrize("name", NAMES)
def test_every_new_column_stands_in_the_glossary(fits, name):
    result = fits[name]
    tables = [
        result.sufficiency(reliability=0.8),
        result.comparative_intervals(),
        result.ranks(n_draws=500),
        result.bands(),
        result.intervals(level=0.9),
        result.pairs(errors="prediction"),
        result.glance(),
    ]
    if result.time is not None:
        tables.append(result.predict_effects("next_year"))
    for table in tables:
        assert not set(table.columns) - set(column_names())


def test_a_model_without_years_predicts_nothing(fits):
    for target in ("persistent", "last_year", {2024: 1.0}):
        with pytest.raises(rs.SpecificationError, match="this year's effect") as caught:
            fits["schools"].predict_effects(target)
    assert "эффект данного года" in caught.value.localized("ru")


@pytest.mark.parametrize("name", ["slopes", "municipalities"])
def test_what_yearly_residuals_do_not_hold_has_no_other_correlation(fits, name):
    """Slopes and outer levels have targets of their own years, but only those of the fit's ρ."""
    result = fits[name]
    table = result.school_effects
    lasting, coming = result.predict_effects(), result.predict_effects("next_year")
    np.testing.assert_array_equal(lasting["effect"], table["effect"])
    np.testing.assert_array_equal(coming["effect"], table["effect"])
    transient = result.variances["transient"]
    np.testing.assert_allclose(coming["std_error"] ** 2, table["std_error"] ** 2 + transient)
    assert (coming["prmse"] < lasting["prmse"]).all()
    assert (result.predict_effects("last_year")["prmse"] > coming["prmse"]).all()
    for target in ("persistent", "last_year", {2022: 1.0}):
        with pytest.raises(rs.SpecificationError, match="slopes, outer levels or procedures"):
            result.predict_effects(target, lag_correlation=0.5)


@pytest.mark.parametrize("name", ["years", "means"])
def test_predictions_make_sense(fits, name):
    result = fits[name]
    lasting, last = result.predict_effects(), result.predict_effects("last_year")
    coming = result.predict_effects("next_year")
    np.testing.assert_allclose(coming["effect"], lasting["effect"])
    assert set(last["target"]) == {"last_year"}
    # a year's own results say more of that year than of the next one
    assert last["reliability"].mean() > coming["reliability"].mean()
    assert (last["std_error"] > last["conditional_sd"]).all()
    alone = result.predict_effects({2024: 1.0})
    assert set(alone["target"]) == {"2024: 1"}
    pd.testing.assert_frame_equal(alone.drop(columns="target"), last.drop(columns="target"))
    drifting = result.predict_effects("next_year", lag_correlation=0.9)
    # a transient part that lives on makes next year's effect more foreseeable
    assert drifting["reliability"].mean() > coming["reliability"].mean()


def test_years_that_are_words_keep_their_order():
    frame = region().assign(
        year=lambda f: f["year"].astype(str) + "/" + (f["year"] + 1).astype(str)
    )
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    numbers = model.fit(region())
    words = model.fit(frame)
    for target in ("last_year", "next_year"):
        pd.testing.assert_frame_equal(
            words.predict_effects(target, lag_correlation=0.4),
            numbers.predict_effects(target, lag_correlation=0.4),
        )
    assert len(words.predict_effects({"2023/2024": 1.0})) == 24


@pytest.mark.parametrize(
    ("target", "rho", "kind", "words"),
    [
        ("lasting", 0.0, rs.SpecificationError, ["'lasting'", "next_year", "2022, 2023, 2024"]),
        (7, 0.0, rs.SpecificationError, ["target is 7", "{2024: 1.0, 2023: -1.0}"]),
        ({}, 0.0, rs.SpecificationError, ["target is {}"]),
        ({2019: 1.0}, 0.0, rs.SpecificationError, ["year 2019", "2022, 2023, 2024"]),
        ({2022: 0.0}, 0.0, rs.SpecificationError, ["{2022: 0.0}", "not all zero"]),
        ({2022: float("nan")}, 0.0, rs.SpecificationError, ["nan", "finite"]),
        ("last_year", 1.0, rs.DataError, ["lag correlation is 1.0"]),
        ("next_year", -0.1, rs.DataError, ["lag correlation is -0.1"]),
    ],
)
def test_bad_targets_are_named(fits, target, rho, kind, words):
    with pytest.raises(kind) as caught:
        fits["years"].predict_effects(target, lag_correlation=rho)
    for word in words:
        assert word in str(caught.value)
    assert re.search("[а-яё]{3}", caught.value.localized("ru"))


def test_results_without_the_years_covariates_say_so(fits):
    bare = dataclasses.replace(fits["years"], year_design=None)
    assert len(bare.predict_effects("next_year")) == 24
    with pytest.raises(rs.DataError, match="year_design"):
        bare.predict_effects("last_year")


@pytest.mark.parametrize(
    "levels",
    [{"group": ["town", "school_id"]}, {"group": "school_id", "crossed": ["town"]}],
    ids=["outer", "crossed"],
)
def test_an_outer_level_is_not_overlooked_where_nothing_lasts_in_schools(levels):
    """With a lasting variance of 0 every school's lasting effect is 0, with or without towns."""
    rng = np.random.default_rng(0)
    school = np.repeat(np.arange(24), 16)
    year = np.tile(np.repeat([2020, 2021], 8), 24)
    x = rng.normal(size=len(school))
    own = 0.5 * rng.normal(size=(24, 2))
    y = 0.5 * x + rng.normal(size=6)[school // 4] + own[school, year - 2020]
    y += rng.normal(size=len(school))
    pupils = pd.DataFrame({"school_id": school, "town": school // 4, "year": year, "x": x, "y": y})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        va = rs.ValueAddedModel("y ~ x", time="year", **levels).fit(pupils)
    assert va.variances["persistent"] == 0.0
    # the years of one school apart from its town, of which they share the rest
    last, change = va.predict_effects("last_year"), va.predict_effects({2020: -1.0, 2021: 1.0})
    assert (last["mse"] < va.variances["transient"]).all()
    rows = va.school_years.pivot_table(index="school_id", columns="year", values="residual")
    assert np.corrcoef(change["effect"], rows[2021] - rows[2020])[0, 1] > 0.99
    means = rows[2021].groupby(rows.index // 4).mean()
    assert abs(np.corrcoef(means, last["effect"].groupby(rows.index // 4).mean())[0, 1]) < 0.99
    assert (va.predict_effects("next_year")["effect"] == 0.0).all()
