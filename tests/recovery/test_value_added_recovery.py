"""Known truth: what the value-added models must find again, within its Monte-Carlo error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import resilience as rs

Z90 = 1.6448536


def pupils_in(school, **columns):
    return pd.DataFrame({"school_id": [f"S{k:04d}" for k in school], **columns})


# -- coverage by size of school ----------------------------------------------------------------

BANDS = {"2-5": (2, 5), "6-15": (6, 15), "16-30": (16, 30), ">30": (31, 90)}


def covered(seed, sizes, *, n_context):
    """Fit one region; return sizes and whether 90 % intervals of two kinds hold the truth."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(len(sizes)), sizes)
    context = {f"context_{k}": rng.normal(size=len(sizes))[school] for k in range(n_context)}
    prior = rng.normal(size=len(school))
    u = 0.3 * rng.normal(size=len(sizes))
    score = 0.6 * prior + 0.1 * sum(context.values()) + u[school]
    data = pupils_in(
        school,
        score=score + 0.75 * rng.normal(size=len(school)),
        prior_score=prior,
        **context,
    )
    formula = " + ".join(["score ~ prior_score", *context])
    table = rs.ValueAddedModel(formula, group="school_id").fit(data).school_effects
    assert (table["n_pupils"] == sizes).all()
    miss = (table["effect"] - u).abs()
    return np.column_stack(
        [sizes, miss <= Z90 * table["std_error"], miss <= Z90 * table["conditional_sd"]]
    )


def test_coverage_by_size_band():
    """90 % intervals with the prediction error hold the truth in 90 % of schools of each size."""
    n_regions, each = 40, 100
    low_high = np.repeat(np.array(list(BANDS.values())), each, axis=0)
    found = []
    for seed in range(n_regions):
        sizes = np.random.default_rng(1000 + seed).integers(low_high[:, 0], low_high[:, 1] + 1)
        found.append(covered(seed, sizes, n_context=1))
    rows = np.concatenate(found)
    for name, (low, high) in BANDS.items():
        inside = rows[(rows[:, 0] >= low) & (rows[:, 0] <= high), 1]
        # schools of a region share its coefficients, which adds little to the binomial error
        error = np.sqrt(0.9 * 0.1 / len(inside))
        assert abs(inside.mean() - 0.9) < 3.5 * error, (name, inside.mean())


def test_the_error_of_the_coefficients_matters_with_few_schools():
    """16 schools, 3 context variables: conditional SDs cover far too little."""
    sizes = np.tile([10, 30, 60, 90], 4)
    rows = np.concatenate([covered(seed, sizes, n_context=3) for seed in range(60)])
    with_error, conditional = rows[:, 1].mean(), rows[:, 2].mean()
    # The variance itself comes from 12 degrees of freedom, which both ignore: 960 schools covered
    # .85 and .66.  Effects of one region hang together through its coefficients; with 4
    # independent ones per region the standard error is .02, and the limits stand 3 of it away.
    assert with_error > 0.79
    assert conditional < 0.72


# -- composition -------------------------------------------------------------------------------

WITHIN, CONTEXTUAL = 0.3, 0.4


def small_schools(seed, *, contextual, n_schools=400):
    """Schools of 3 to 12 pupils; a fifth of the variance of the intake lies between them."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(3, 13, size=n_schools))
    true_mean = 0.5 * rng.normal(size=n_schools)
    ses = true_mean[school] + rng.normal(size=len(school))
    score = WITHIN * ses + contextual * true_mean[school] + 0.2 * rng.normal(size=n_schools)[school]
    return pupils_in(school, score=score + 0.8 * rng.normal(size=len(school)), ses=ses)


def composition_estimates(how, contextual, n_regions=40):
    """Return mean and standard error of the within slope and of the contextual effect."""
    model = rs.ValueAddedModel(
        "score ~ ses", group="school_id", intake=rs.Intake(composition={"ses": how})
    )
    found = np.array(
        [
            model.fit(small_schools(seed, contextual=contextual))
            .fixed_effects.set_index("term")
            .loc[["ses", "ses_mean"], "estimate"]
            for seed in range(n_regions)
        ]
    )
    return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(n_regions)


@pytest.mark.parametrize("contextual", [0.0, CONTEXTUAL])
def test_latent_composition_is_unbiased(contextual):
    """Schools of 3-12: the specification's .41 for a true .40; no phantom where there is none."""
    (within, between), error = composition_estimates("latent", contextual)
    assert abs(within - WITHIN) < 3 * error[0]
    assert abs(between - contextual) < 3 * error[1]


@pytest.mark.parametrize(
    ("how", "known"),
    [("mean", 0.26), ("leave_one_out", 0.21)],  # method specification, section 2
)
def test_raw_means_are_biased_as_documented(how, known):
    (within, between), error = composition_estimates(how, CONTEXTUAL)
    # .01 for the two digits of the documented bias and the sizes of schools behind it
    assert abs(between - known) < 3 * error[1] + 0.01
    assert between < CONTEXTUAL - 10 * error[1]
    biased_slope = abs(within - WITHIN) > 5 * error[0]
    assert biased_slope == (how == "leave_one_out")


# -- years -------------------------------------------------------------------------------------


def cohorts(seed, *, persistent, transient, n_schools=150, n_years=4):
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(n_schools * n_years), rng.integers(4, 25, size=n_schools * n_years))
    school, year = cell // n_years, cell % n_years + 2021
    prior = rng.normal(size=len(cell))
    score = 0.6 * prior + np.sqrt(persistent) * rng.normal(size=n_schools)[school]
    score = score + np.sqrt(transient) * rng.normal(size=n_schools * n_years)[cell]
    return pupils_in(
        school, year=year, prior_score=prior, score=score + 0.8 * rng.normal(size=len(cell))
    )


def test_persistent_and_transient_variances():
    truth = {"persistent": 0.08, "transient": 0.04, "residual": 0.64}
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    fits = [model.fit(cohorts(seed, persistent=0.08, transient=0.04)) for seed in range(25)]
    for name, value in truth.items():
        found = np.array([fit.variances[name] for fit in fits])
        assert abs(found.mean() - value) < 3 * found.std(ddof=1) / np.sqrt(len(found)), name
    assert (fits[0].school_effects["n_years"] == 4).all()
    assert len(fits[0].school_years) == 600


def test_a_persistent_effect_is_predicted_better_with_the_year_level():
    """Without the year level the transient parts pass for lasting ones: intervals too narrow."""
    inside = {True: [], False: []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        u = 0.2 * rng.normal(size=200)
        cell = np.repeat(np.arange(600), 20)
        school = cell // 3
        score = u[school] + 0.3 * rng.normal(size=600)[cell] + 0.8 * rng.normal(size=len(cell))
        data = pupils_in(school, year=cell % 3 + 2021, score=score)
        for with_year in (True, False):
            table = (
                rs.ValueAddedModel(
                    "score ~ 1", group="school_id", time="year" if with_year else None
                )
                .fit(data)
                .school_effects
            )
            inside[with_year].append(
                ((table["effect"] - u).abs() <= Z90 * table["std_error"]).mean()
            )
    error = np.std(inside[True], ddof=1) / np.sqrt(12)
    assert abs(np.mean(inside[True]) - 0.9) < 3 * error + 0.01  # .01: variances are estimated
    assert np.mean(inside[False]) < 0.75


# -- means instead of pupils -------------------------------------------------------------------


@pytest.mark.parametrize("time", [None, "year"])
def test_published_means_tell_the_same_as_pupils(time):
    """With context on the school's side only, means and the pupil SD are sufficient.

    The likelihood of the pupils is that of the means times one of the pupil variance alone, so at
    the pupil model's own variance both restricted likelihoods have the same optimum.
    """
    data = cohorts(7, persistent=0.08, transient=0.04, n_schools=80)
    index = np.random.default_rng(8).normal(size=80)
    data["index"] = index[data["school_id"].str[1:].astype(int)]
    keys = ["school_id"] if time is None else ["school_id", "year"]
    pupil_model = rs.ValueAddedModel("score ~ index", group="school_id", time=time).fit(data)
    means = data.groupby(keys, as_index=False).agg(
        mean_score=("score", "mean"), index=("index", "first"), n_pupils=("score", "size")
    )
    sd = float(np.sqrt(pupil_model.variances["residual"]))
    mean_model = rs.SchoolLevelModel("mean_score ~ index", time=time, n="n_pupils", sd=sd)
    published = mean_model.fit(means)
    # 1e-4: both searches stop at a flat optimum; a likelihood is exact to 1e-8 there
    for name in ("persistent", "transient"):
        assert published.variances[name] == pytest.approx(
            pupil_model.variances[name], rel=1e-4, abs=1e-9
        )
    for table, columns in (
        ("fixed_effects", ["estimate", "std_error"]),
        ("school_effects", ["effect", "std_error", "conditional_sd", "reliability"]),
        ("school_effects", ["observed_mean", "expected_mean", "n_pupils"]),
        ("school_years", ["residual", "sampling_variance", "n_pupils"]),
    ):
        np.testing.assert_allclose(
            getattr(published, table)[columns],
            getattr(pupil_model, table)[columns],
            rtol=1e-4,
            atol=1e-6,
        )
