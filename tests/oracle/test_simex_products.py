"""Pseudo data sets of SIMEX against designs made from scratch, fit by fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.data.design import design_from_frame
from resilience.stats.mixed import fit_mixed
from resilience.stats.strata.latent_cells import cell_variances
from resilience.value_added.prior_error.contaminated import contaminated, prepared_twice
from resilience.value_added.prior_error.simulation import simulate_errors


def region(seed=5, n_schools=24):
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(6, 16, size=n_schools))
    n = len(school)
    true = 0.6 * rng.normal(size=n_schools)[school] + rng.normal(size=n)
    ses = 0.4 * true + rng.normal(size=n)
    score = 0.7 * true + 0.2 * ses + 0.5 * rng.normal(size=n_schools)[school]
    return pd.DataFrame(
        {
            "town": [f"T{k % 6}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": rng.choice([2021, 2022, 2023], size=n),
            "prior_score": 50.0 + 10.0 * (true + 0.5 * rng.normal(size=n)),
            "second": 0.6 * true + rng.normal(size=n),
            "ses": ses,
            "sex": rng.choice(["F", "M"], size=n),
            "weight": rng.uniform(0.5, 2.0, size=n),
            "csem": rng.choice([15.0, 35.0], size=n),
            "score": score + 0.7 * rng.normal(size=n),
        }
    )


MULTIPLIER = 1.5
LATENT = {"prior_score": "latent"}
LAYOUTS = {
    "plain": {"formula": "score ~ prior_score + ses"},
    "a column of variances": {"intake": {"prior_reliability": "csem", "composition": LATENT}},
    "mean": {"intake": {"composition": {"prior_score": "mean", "ses": "latent"}}},
    "leave one out": {"intake": {"composition": {"prior_score": "leave_one_out"}}},
    "years": {"time": "year", "intake": {"composition": LATENT}},
    "towns": {"group": ["town", "school_id"], "intake": {"composition": LATENT}},
    "a square and an interaction": {"formula": "score ~ prior_score * sex + I(prior_score**2)"},
    "slopes": {"slopes": "prior_score", "intake": {"composition": LATENT}},
    "weights": {"structure": rs.Structure(weights="weight"), "intake": {"composition": LATENT}},
    "standardised": {
        "time": "year",
        "intake": {"standardize_by": ["year"], "prior_reliability": "csem", "composition": LATENT},
    },
    "drift": {"time": "year", "structure": rs.Structure(drift="unstructured")},
    "two priors": {
        "formula": "score ~ prior_score + second",
        "intake": {
            "prior_reliability": {"prior_score": 0.8, "second": 0.75},
            "composition": {"prior_score": "latent", "second": "mean"},
        },
    },
}


def model_of(layout):
    own = dict(LAYOUTS[layout])
    intake = rs.Intake(**{"prior_reliability": 0.8, **own.pop("intake", {})})
    formula = own.pop("formula", "score ~ prior_score")
    return rs.ValueAddedModel(formula, **{"group": "school_id", **own}, intake=intake)


def parts(layout, data=None):
    model = model_of(layout)
    naive, _, calibration = prepared_twice(model, region() if data is None else data)
    return model, naive, calibration, contaminated(model, naive, calibration)


def raw_frame(naive, calibration, noise, source):
    """The pseudo data set as a table, its compositions by pandas."""
    frame = naive.data.copy()
    q = len(calibration.prone)
    observed = np.asarray(calibration.values)[:, :q]
    x = observed + np.sqrt(MULTIPLIER * calibration.errors[:, :q]) * noise
    cell = pd.Series(calibration.cells, index=frame.index)
    for k, name in enumerate(calibration.prone):
        frame[name] = x[:, k]
        how = calibration.composition.get(name)
        grouped = frame[name].groupby(cell)
        if how == "mean":
            frame[f"{name}_mean"] = grouped.transform("mean")
        elif how == "leave_one_out":
            size = grouped.transform("size")
            others = (grouped.transform("sum") - frame[name]) / (size - 1)
            frame[f"{name}_mean"] = others.where(size > 1, frame[name].mean())
        elif how == "latent":
            frame[f"{name}_mean"] = dense_latent(source.nulls[name], frame[name], cell, calibration)
    return frame


def dense_latent(null, x, cell, calibration):
    """Expected cell means by the dense covariance of all rows."""
    added = float((calibration.errors[:, calibration.prone.index(x.name)]).mean()) * MULTIPLIER
    same_school = calibration.schools[:, None] == calibration.schools
    same_cell = cell.to_numpy()[:, None] == cell.to_numpy()
    between = null.outer * same_school + null.inner * same_cell
    V = between + (null.residual + added) * np.eye(len(x))
    return null.mean + between @ np.linalg.solve(V, x.to_numpy() - null.mean)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_products_of_pseudo_data_are_those_of_a_design_from_scratch(layout):
    data = region()
    model, naive, calibration, source = parts(layout, data)
    noise = np.random.default_rng(1).normal(size=source.observed.shape)
    found = source.cross(noise, MULTIPLIER)
    frame = raw_frame(naive, calibration, noise, source)
    structure = model.structure or rs.Structure()
    design = design_from_frame(frame, naive.formula, groups=model.levels, weights=structure.weights)
    direct = design.cross.recentred(found.centre, found.scale)
    assert found.columns == direct.columns
    # sums of some 250 rows, and dense solves behind the latent means
    np.testing.assert_allclose(found.total, direct.total, atol=1e-8 * len(frame))
    for own, other in zip(found.levels, direct.levels, strict=True):
        assert list(own.labels) == list(other.labels)
        np.testing.assert_allclose(own.products, other.products, atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_noise_the_products_are_those_of_the_data(layout):
    _, _, _, source = parts(layout)
    found = source.cross(np.zeros(source.observed.shape), 0.0)
    # compositions of the null model come from another fit of the same sums
    np.testing.assert_allclose(found.total, source.design.cross.total, atol=1e-4)
    for own, other in zip(found.levels, source.design.cross.levels, strict=True):
        np.testing.assert_allclose(own.products, other.products, atol=1e-5)


@pytest.mark.parametrize("time", [None, "year"])
def test_the_null_model_is_that_of_the_intake(time):
    model = rs.ValueAddedModel(
        "score ~ prior_score",
        group="school_id",
        time=time,
        intake=rs.Intake(composition=LATENT, prior_reliability=0.8),
    )
    naive, _, calibration = prepared_twice(model, region())
    source = contaminated(model, naive, calibration)
    own = source.nulls["prior_score"]
    learnt = naive.learnt.plan.composition.nulls["prior_score"]
    for name in ("mean", "outer", "inner", "residual"):
        # two searches of one criterion
        assert getattr(own, name) == pytest.approx(getattr(learnt, name), rel=1e-4, abs=1e-3)
    means = own.means(source.observed[:, 0], source.cells, source.parent)[source.cells]
    np.testing.assert_allclose(means, naive.data["prior_score_mean"], rtol=1e-5)


@pytest.mark.parametrize("layout", ["plain", "years", "towns", "weights", "slopes", "drift"])
def test_estimates_are_those_of_full_fits(layout):
    """Refits by a few steps, opposite draws and all, against searches from scratch."""
    from resilience.value_added.definitions.drift import drift_covariance, fitted_products

    model, _, _, source = parts(layout)
    seed = np.random.SeedSequence(3)
    found = simulate_errors(source, model, method="reml", n_pairs=2, n_jobs=1, seed=seed)
    seeds = np.random.SeedSequence(3).spawn(2)
    structure = model.structure or rs.Structure()
    for pair, own in zip(found.pairs, seeds, strict=True):
        noise = np.random.default_rng(own).normal(size=source.observed.shape)
        fits = [
            fit_mixed(
                fitted_products(source.cross(sign * noise, 1.5), model.levels, structure),
                fixed=source.design.terms,
                covariance=drift_covariance(model.levels, structure),
            ).beta
            for sign in (1.0, -1.0)
        ]
        scale = np.sqrt(np.diag(found.naive.beta_covariance))
        # a refit ends within 0.003 standard errors of the optimum
        assert (np.abs(pair[3] - np.mean(fits, axis=0)) < 0.003 * scale).all()


@pytest.mark.parametrize("layout", ["years", "towns", "weights", "two priors"])
def test_leaving_out_schools_is_a_design_of_the_others(layout):
    """Null models, error variances by share and products, all anew."""
    data = region()
    source = parts(layout, data)[3]
    names = [level.name for level in source.design.cross.levels]
    labels = source.design.cross.levels[names.index("school_id")].labels
    left_out = np.arange(len(labels)) % 5 == 2
    rest, rows = source.without("school_id", left_out)
    kept = data[data["school_id"].isin(labels[~left_out])]
    assert rows.sum() == len(kept)
    _, _, _, own = parts(layout, kept)
    noise = np.random.default_rng(2).normal(size=source.observed.shape)
    found = rest.cross(noise[rows], 1.0)
    direct = own.cross(noise[rows], 1.0).recentred(found.centre, found.scale)
    np.testing.assert_allclose(found.total, direct.total, atol=1e-4)
    assert found.n_rows == direct.n_rows
    for a, b in zip(found.levels, direct.levels, strict=True):
        np.testing.assert_allclose(a.products, b.products, atol=1e-5)


def test_variances_of_cells_in_balanced_schools_are_those_of_the_analysis_of_variance():
    """20 schools of 3 years of 4 rows: REML has a closed form."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=20)[:, None, None] + 0.5 * rng.normal(size=(20, 3))[..., None]
    x = x + rng.normal(size=(20, 3, 4))
    residual = x.var(axis=2, ddof=1).mean()
    cell = x.mean(axis=2).var(axis=1, ddof=1).mean()
    outer = x.mean(axis=(1, 2)).var(ddof=1)
    cells = np.repeat(np.arange(60), 4)
    found = cell_variances(x.ravel(), cells, np.repeat(np.arange(20), 3))
    np.testing.assert_allclose(
        [found.mean, found.outer, found.inner, found.residual],
        [x.mean(), outer - cell / 3, cell - residual / 4, residual],
        rtol=1e-4,  # where the search ends
    )


def test_the_outcome_and_other_columns_stay():
    _, _, _, source = parts("mean")
    changed = {source.design.cross.columns[c] for c in source.products.changed}
    assert changed == {"prior_score", "prior_score_mean"}
    assert replace(source.products, changed=()).with_columns(
        np.zeros((len(source.frame), 0))
    ).total == pytest.approx(source.design.cross.total)
