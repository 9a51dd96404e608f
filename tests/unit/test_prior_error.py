"""Naive, calibrated and SIMEX side by side: tables, words, units, determinism."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.columns import column_names
from resilience.value_added.prior_error.simex import simex

LATENT = {"prior_score": "latent"}
CORRECTIONS = ["naive", "calibrated", "simex"]


def region(seed=0, n_schools=40):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(8, 20, size=n_schools))
    n = len(school)
    true = 0.5 * rng.normal(size=n_schools)[school] + 0.9 * rng.normal(size=n)
    score = 0.7 * true + 0.25 * rng.normal(size=n_schools)[school]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.choice([2021, 2022], size=n),
            "prior_score": true + 0.5 * rng.normal(size=n),
            "ses": 0.3 * true + rng.normal(size=n),
            "csem": 0.25,
            "score": score + 0.6 * rng.normal(size=n),
        }
    )


def model(formula="score ~ prior_score", **intake):
    own = {"composition": LATENT, "prior_reliability": 0.8, **intake}
    return rs.ValueAddedModel(formula, group="school_id", intake=rs.Intake(**own))


@pytest.fixture(scope="module")
def data():
    return region()


@pytest.fixture(scope="module")
def found(data):
    return model().fit(data).prior_error(data, n_simulations=20, random_state=4)


def same(one, other):
    for name in ("fixed_effects", "curve", "school_effects", "extrapolations"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def test_a_seed_gives_one_answer_and_another_seed_another(data):
    first, again = (simex(model(), data, n_simulations=24, random_state=7) for _ in range(2))
    same(first, again)
    other = simex(model(), data, n_simulations=24, random_state=8, variance="simulation")
    gap = (first.fixed_effects["estimate"] - other.fixed_effects["estimate"]).abs()
    assert (gap > 0).all()
    # 5 simulation errors of both
    assert (gap < 5 * np.sqrt(2) * first.fixed_effects["simulation_error"]).all()


def test_processes_do_not_change_the_answer(data):
    alone = simex(model(), data, n_simulations=10)
    from joblib import parallel_config

    with parallel_config(backend="threading"):
        same(alone, simex(model(), data, n_simulations=10, n_jobs=2))


def test_an_odd_number_of_simulations_is_rounded_up(data):
    assert simex(model(), data, n_simulations=11, variance="simulation").n_simulations == 12


def test_the_reliability_of_the_call_takes_the_place_of_the_model(data):
    plain = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=rs.Intake(composition=LATENT)
    )
    options = {"n_simulations": 10, "variance": "simulation"}
    same(
        simex(plain, data, reliability=0.8, **options),
        simex(model(), data, **options),
    )
    lower = simex(model(), data, reliability=0.7, **{**options, "n_simulations": 30})
    assert lower.reliabilities["prior_reliability"][0] == pytest.approx(0.7, abs=0.01)
    slope = lower.fixed_effects["estimate"][1]
    assert slope > simex(model(), data, **options).fixed_effects["estimate"][1]


def test_units_of_the_prior_do_not_matter(data):
    """A prior of mean 500 and spread 100: its coefficients are a hundredth, the rest stays."""
    far = data.assign(prior_score=500.0 + 100.0 * data["prior_score"])
    options = {"n_simulations": 10, "variance": "simulation"}
    one, other = (simex(model(), d, **options).fixed_effects for d in (data, far))
    gap = (one["estimate"][1:] - 100.0 * other["estimate"][1:]).abs()
    assert (gap < 0.003 * one["std_error"][1:]).all()  # where refits end
    np.testing.assert_allclose(one["std_error"][1:], 100.0 * other["std_error"][1:], rtol=1e-3)


def test_standardised_priors_keep_the_units_of_the_data(data):
    """Added errors spread the scores; the coefficient stays one per observed SD."""
    own = simex(
        model(standardize_by=["year"], composition={}),
        data,
        n_simulations=10,
        variance="simulation",
    )
    calibrated = model(standardize_by=["year"], composition={}).fit(data).fixed_effects
    slope, other = own.fixed_effects["estimate"][1], calibrated["estimate"][1]
    assert slope == pytest.approx(other, abs=0.15 * calibrated["std_error"][1] + 0.01)


def test_simex_agrees_with_the_calibration_of_one_prior(found):
    """Both are exact for one normal prior: they differ by a part of a standard error."""
    table = found.coefficients.set_index(["term", "prior_correction"])
    for term in ("prior_score", "prior_score_mean"):
        calibrated, other = table.loc[(term, "calibrated")], table.loc[(term, "simex")]
        assert abs(calibrated["estimate"] - other["estimate"]) < 0.25 * calibrated["std_error"]


def test_the_curve_starts_at_the_naive_estimate_and_ends_at_simex(found):
    curve = found.simex.curve
    for k, term in enumerate(found.simex.fixed_effects["term"]):
        rows = curve[curve["term"] == term]
        points = rows[rows["extrapolation"] == "simulated"]
        assert points["error_multiplier"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
        assert points["estimate"].iloc[0] == pytest.approx(found.simex.naive["estimate"][k])
        estimate = found.simex.fixed_effects.loc[k]
        own = rows[rows["extrapolation"] == estimate["extrapolation"]].set_index("error_multiplier")
        assert own["estimate"][-1.0] == pytest.approx(estimate["estimate"])


def test_the_naive_fit_of_simex_is_the_naive_fit(found):
    columns = ["estimate", "std_error"]
    np.testing.assert_allclose(
        found.simex.naive[columns], found.naive.fixed_effects[columns], rtol=1e-5
    )


def test_the_phantom_is_what_the_corrections_take_away(found):
    table = found.phantom
    assert table["term"].unique().tolist() == ["prior_score_mean"]
    assert table["prior_correction"].tolist() == CORRECTIONS
    naive = table["estimate"][0]
    np.testing.assert_allclose(table["phantom"], naive - table["estimate"])
    assert table["phantom"][0] == 0.0
    assert (table["phantom"][1:] > 0.05).all()
    inside = (table["conf_low"] <= 0) & (table["conf_high"] >= 0)
    assert (table["composition_effect"] == np.where(inside, "no", "yes")).all()


def test_without_composition_the_phantom_has_no_rows_and_effects_move(data):
    found = model(composition={}).fit(data).prior_error(data, n_simulations=10)
    assert len(found.phantom) == 0
    assert list(found.phantom.columns)[:2] == ["term", "prior_correction"]
    table = found.school_effects
    assert table["calibration_shift"].abs().max() > 0.01
    intake = data.groupby("school_id")["prior_score"].mean().loc[table["school_id"]]
    # naive effects of schools with a strong intake come down
    assert np.corrcoef(table["calibration_shift"], intake)[0, 1] < -0.9


def test_the_composition_of_an_exact_column_holds_a_phantom_too(data):
    """What the prior loses goes to every covariate that knows of it, of the school too."""
    data = data.assign(ses=data["ses"] + data.groupby("school_id")["prior_score"].transform("mean"))
    how = model("score ~ prior_score + ses", composition={"ses": "latent"})
    table = how.fit(data).prior_error(data, n_simulations=30).phantom
    assert table["term"].unique().tolist() == ["ses_mean"]
    assert (table["phantom"][1:] > 0.02).all()


def test_under_its_own_latent_composition_calibration_renames_coefficients_alone(found):
    """ξ̂ and the calibrated mean span what the prior and its shrunken mean span."""
    table = found.school_effects
    assert found.naive.criterion != found.calibrated.criterion  # REML knows the columns
    assert table["calibration_shift"].abs().max() < 1e-4 * table["effect_naive"].std() + 1e-4


def test_school_effects_stand_side_by_side(found, data):
    table = found.school_effects
    assert len(table) == data["school_id"].nunique()
    fits = (found.naive, found.calibrated, found.simex)
    for name, fit in zip(CORRECTIONS, fits, strict=True):
        own = fit.school_effects.set_index("school_id").loc[table["school_id"]]
        for column in ("effect", "std_error", "conf_low", "conf_high", "band"):
            assert (own[column].to_numpy() == table[f"{column}_{name}"].to_numpy()).all()
    assert (table["band_changed"] == (table["band_naive"] != table["band_calibrated"])).all()
    assert len(found.changed) == table["band_changed"].sum()


def test_reliabilities_by_hand():
    """Schools of 8, one prior: variances by the analysis of variance."""
    data = region(n_schools=30).groupby("school_id").head(8)
    found = model().fit(data).prior_error(data, n_simulations=30).reliabilities.loc[0]
    x, school = data["prior_score"], data["school_id"]
    mean = x.groupby(school).transform("mean")
    within = ((x - mean) ** 2).sum() / (len(x) - 30)
    between = x.groupby(school).mean().var(ddof=1) - within / 8
    error = 0.2 * x.var(ddof=0)
    assert found["error_variance"] == pytest.approx(error)
    assert found["prior_reliability"] == pytest.approx(1 - error / (between + within))
    assert found["prior_reliability_within"] == pytest.approx(1 - error / within)
    assert found["prior_reliability_mean"] == pytest.approx(between / (between + within / 8))
    assert found["median_cell_size"] == 8
    assert found["reliability_source"] == "0.8"


def test_a_column_of_variances_is_named_as_the_source(data):
    found = simex(model(prior_reliability="csem"), data, n_simulations=10, variance="simulation")
    assert found.reliabilities["reliability_source"][0] == "csem"
    assert found.reliabilities["error_variance"][0] == pytest.approx(0.25)


@pytest.mark.parametrize("extrapolation", ["rational", "quadratic"])
def test_the_curve_asked_for_is_named(data, extrapolation):
    found = simex(
        model("score ~ prior_score + ses"),
        data,
        n_simulations=10,
        extrapolation=extrapolation,
        variance="simulation",
    )
    table = found.fixed_effects.set_index("term")
    assert table.loc["prior_score", "extrapolation"] == extrapolation
    if extrapolation == "quadratic":
        assert (table["extrapolation"] == "quadratic").all()
        assert (table["reason"] == "").all()
    else:
        other = table[table["extrapolation"] == "quadratic"]
        assert (other["reason"] != "").all()


def test_both_variances_are_of_one_size(data):
    one, other = (
        simex(model(), data, n_simulations=10, variance=v).fixed_effects["std_error"]
        for v in ("jackknife", "simulation")
    )
    # 40 schools left out leave a standard error of 11 % on a standard error; four of these
    assert (np.abs(one / other - 1) < 0.45).all()


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")  # few schools and draws
def test_whole_schools_are_left_out_where_years_are_levels_too():
    """12 schools of two years: 12 sets, although there are 24 cells, and t with 11 degrees."""
    data = region(n_schools=12)
    how = rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        time="year",
        intake=rs.Intake(prior_reliability=0.8),
    )
    found = simex(how, data, n_simulations=10)
    assert found.n_sets == 12
    row = found.fixed_effects.loc[1]
    # Student's 97.5 % quantile of 11 degrees of freedom, from printed tables
    assert row["conf_high"] - row["estimate"] == pytest.approx(2.201 * row["std_error"], rel=1e-4)
    assert simex(how, data, n_simulations=10, variance="simulation").n_sets == 0


def test_a_fit_without_reliability_takes_that_of_the_call(data):
    plain = model(prior_reliability=None).fit(data)
    found = plain.prior_error(data, reliability=0.8, n_simulations=10)
    pd.testing.assert_frame_equal(found.naive.fixed_effects, plain.fixed_effects)
    assert found.calibrated.fixed_effects["estimate"][1] > plain.fixed_effects["estimate"][1]


def test_maximum_likelihood_stays_maximum_likelihood(data):
    found = model().fit(data, method="ml").prior_error(data, n_simulations=10)
    assert found.naive.method == found.calibrated.method == "ml"


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_both_print_in_both_languages(found, lang):
    for results in (found, found.simex):
        printed = results.summary(lang)
        assert "SIMEX" in printed
        assert bool(re.search("[А-Яа-я]{3}", printed)) == (lang == "ru")
        assert repr(results).startswith(type(results).__name__)
        assert "<table" in results._repr_html_()


def test_failed_pairs_are_counted_and_printed(found):
    failed = replace(found.simex, reasons={"a column is collinear": 2})
    assert failed.glance()["n_refits_failed"][0] == 4
    assert "a column is collinear" in failed.summary()
    assert "a column is collinear" not in found.simex.summary()


def test_every_column_stands_in_the_glossary(found):
    known = set(column_names())
    tables = [found.tidy(), found.glance(), found.phantom, found.school_effects, found.changed]
    tables += [found.reliabilities, found.simex.tidy(), found.simex.glance(), found.simex.curve]
    tables += [found.simex.extrapolations, found.simex.naive, found.simex.variance_components]
    for table in tables:
        assert set(table.columns) <= known


def test_augment_brings_the_effects_to_the_pupils(found, data):
    out = found.augment(data)
    assert len(out) == len(data)
    assert {f"effect_{name}" for name in CORRECTIONS} <= set(out.columns)
    assert out["effect_simex"].notna().all()
    assert found.simex.augment(data)["effect"].equals(out["effect_simex"].rename("effect"))
    for results in (found, found.simex):
        with pytest.raises(rs.DataError, match="school_id"):
            results.augment(data.drop(columns="school_id"))


def test_the_data_of_the_caller_stay_as_they_are(data):
    before = data.copy()
    simex(model(), data, n_simulations=10, variance="simulation")
    pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_curves_are_drawn(found, lang):
    from resilience.plotting.simex import plot_simex

    ax = plot_simex(found, lang=lang)
    titles = [panel.get_title(loc="left") for panel in ax.child_axes]
    assert titles[:2] == ["prior_score", "prior_score_mean"]
    points = [line for line in ax.child_axes[0].lines if len(line.get_xdata()) == 5]
    np.testing.assert_allclose(
        points[0].get_ydata(),
        found.simex.curve.query("term == 'prior_score' and extrapolation == 'simulated'")[
            "estimate"
        ],
    )
    assert len(plot_simex(found.simex, terms="prior_score", lang=lang).child_axes) == 1
    with pytest.raises(rs.SpecificationError, match="prior_scores"):
        plot_simex(found, terms=["prior_scores"])
