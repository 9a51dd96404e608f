"""The recovery tests of the method specification, section 7, that concern the engine as a whole.

Number 1 (no variance between schools), 2 (coverage by size with three levels and slopes; two levels
stand in ``test_value_added_recovery.py``), 4 (priors measured with error), 5 and 6 (every layout
against brute force stands in ``tests/oracle``; here the partitions that it leaves out).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

import resilience as rs
from resilience.data.design import Level, design_from_frame
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import fit_mixed
from resilience.value_added.intake.calibration_error import with_calibration_error
from resilience.value_added.intake.preparation import prepare

Z90 = 1.6448536


@pytest.fixture(autouse=True)
def one_thread():
    """Threads slow small matrices down."""
    with threadpool_limits(limits=1):
        yield


# -- 1: no variance between schools ------------------------------------------------------------


def flat_region(seed, *, slopes=False):
    """Pupils in years in schools in towns whose noise has no mean, and no slope, in any cell."""
    rng = np.random.default_rng(seed)
    n_cells = 60
    cell = np.repeat(np.arange(n_cells), rng.integers(8, 16, size=n_cells))
    ses = rng.normal(size=n_cells // 3)[cell // 3] + rng.normal(size=len(cell))
    prior = 100.0 + 10.0 * rng.normal(size=len(cell))
    noise = rng.normal(size=len(cell))
    for k in range(n_cells):
        rows = cell == k
        Z = np.column_stack([np.ones(rows.sum()), prior[rows], ses[rows]][: 3 if slopes else 1])
        noise[rows] -= Z @ np.linalg.lstsq(Z, noise[rows], rcond=None)[0]
    mean = np.bincount(cell // 3, ses) / np.bincount(cell // 3)
    score = 2.0 + 0.04 * prior + 0.2 * ses + 0.3 * mean[cell // 3] + noise
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in cell // 3],
            "town": [f"T{k}" for k in cell // 12],
            "year": 2021 + cell % 3,
            "prior_score": prior,
            "ses": ses,
            "score": score,
            "weight": rng.uniform(0.5, 2.0, size=len(cell)),
        }
    )


COMPOSITION = rs.Intake(composition={"ses": "mean"})
LAYOUTS = {
    "schools": {"group": "school_id"},
    "years in schools": {"group": "school_id", "time": "year"},
    "schools in towns": {"group": ["town", "school_id"]},
    "three levels": {"group": ["town", "school_id"], "time": "year"},
    "slopes": {"group": "school_id", "slopes": ["prior_score", "ses"]},
    "slopes at two levels": {
        "group": ["town", "school_id"],
        "slopes": {"town": ["ses"], "school_id": ["prior_score"]},
    },
    "independent slopes": {
        "group": "school_id",
        "slopes": ["prior_score"],
        "structure": rs.Structure(covariance={"school_id": "diagonal"}),
    },
}


def least_squares(data):
    mean = data.groupby("school_id")["ses"].transform("mean")
    X = np.column_stack([np.ones(len(data)), data["prior_score"], data["ses"], mean])
    beta, rss, *_ = np.linalg.lstsq(X, data["score"].to_numpy(), rcond=None)
    covariance = np.linalg.inv(X.T @ X) * rss[0] / (len(data) - 4)
    return beta, np.sqrt(np.diag(covariance))


@pytest.mark.filterwarnings(
    "ignore::resilience.errors.WeakDataWarning"
)  # singular, as it should be
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_school_variance_coefficients_are_least_squares(layout, method):
    """To 1e-8: the context's coefficient too, which a known package returns as 0.0."""
    data = flat_region(3, slopes="slopes" in layout)
    model = rs.ValueAddedModel("score ~ prior_score + ses", intake=COMPOSITION, **LAYOUTS[layout])
    if "year" in layout or "three" in layout:
        # composition per school and year: the years' means of one school would differ
        data = data.assign(ses_mean=data.groupby("school_id")["ses"].transform("mean"))
        model = rs.ValueAddedModel("score ~ prior_score + ses + ses_mean", **LAYOUTS[layout])
    result = model.fit(data, method=method)
    beta, errors = least_squares(data)
    np.testing.assert_allclose(result.fixed_effects["estimate"], beta, rtol=1e-8)
    assert result.convergence.singular
    assert result.convergence.converged
    # rows of a correlation bear no variance
    assert (result.variance_components["variance"].dropna()[:-1] == 0.0).all()
    assert (result.school_effects["effect"] == 0.0).all()
    assert result.school_effects["conditional_sd"].max() == 0.0
    if method == "reml":
        np.testing.assert_allclose(result.fixed_effects["std_error"], errors, rtol=1e-7)


@pytest.mark.filterwarnings(
    "ignore::resilience.errors.WeakDataWarning"
)  # singular, as it should be
def test_without_school_variance_weighted_coefficients_are_weighted_least_squares():
    data = flat_region(5)
    structure = rs.Structure(weights="weight")
    result = rs.ValueAddedModel(
        "score ~ prior_score + ses", group="school_id", intake=COMPOSITION, structure=structure
    ).fit(data)
    mean = data.groupby("school_id")["ses"].transform("mean")
    X = np.column_stack([np.ones(len(data)), data["prior_score"], data["ses"], mean])
    root = np.sqrt(data["weight"].to_numpy())
    beta = np.linalg.lstsq(X * root[:, None], data["score"].to_numpy() * root, rcond=None)[0]
    assert result.convergence.singular
    np.testing.assert_allclose(result.fixed_effects["estimate"], beta, rtol=1e-8)


# -- 2: coverage by size -----------------------------------------------------------------------

BANDS = {"2-5": (2, 5), "6-15": (6, 15), "16-30": (16, 30), ">30": (31, 90)}


def nested_region(seed):
    """160 schools of all sizes in 40 towns; the prior's slope differs between schools."""
    rng = np.random.default_rng(seed)
    low_high = np.repeat(np.array(list(BANDS.values())), 40, axis=0)
    size = rng.integers(low_high[:, 0], low_high[:, 1] + 1)
    school = np.repeat(np.arange(160), size)
    town = rng.permutation(160) % 40
    prior = rng.normal(size=len(school))
    own, slope = rng.multivariate_normal([0, 0], [[0.09, 0.02], [0.02, 0.02]], size=160).T
    score = (
        0.6 * prior + own[school] + slope[school] * prior + 0.2 * rng.normal(size=40)[town[school]]
    )
    data = pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in school],
            "town": [f"T{k:02d}" for k in town[school]],
            "prior_score": prior,
            "score": score + 0.75 * rng.normal(size=len(school)),
        }
    )
    # the effect of a school is read at the average pupil
    return data, own + slope * prior.mean(), size


def test_coverage_by_size_with_slopes_and_towns():
    model = rs.ValueAddedModel(
        "score ~ prior_score", group=["town", "school_id"], slopes={"school_id": ["prior_score"]}
    )
    found = []
    for seed in range(16):
        data, effect, size = nested_region(seed)
        table = model.fit(data).school_effects.sort_values("school_id")
        assert (table["n_pupils"].to_numpy() == size).all()
        miss = np.abs(table["effect"].to_numpy() - effect)
        found.append(np.column_stack([size, miss <= Z90 * table["std_error"]]))
    rows = np.concatenate(found)
    for name, (low, high) in BANDS.items():
        inside = rows[(rows[:, 0] >= low) & (rows[:, 0] <= high), 1]
        # binomial error of 640 schools; .005 for variances that each region estimates itself
        error = np.sqrt(0.9 * 0.1 / len(inside))
        assert abs(inside.mean() - 0.9) < 3.0 * error + 0.005, (name, inside.mean())


# -- 4: priors measured with error -------------------------------------------------------------

SLOPE = 0.7
RELIABILITY = 0.8
LATENT = {"prior_score": "latent"}
TERMS = ["prior_score", "prior_score_mean"]


def region_with_errors(seed, *, contextual=0.0, sizes=(20, 40), n_schools=100, kind="plain"):
    """Intake of which a fifth lies between schools, seen through a test of reliability .8.

    ``kind``: "ses" adds a covariate that goes with the true prior within and between schools,
    "csem" gives every pupil an error variance of their own.
    """
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(n_schools), rng.integers(sizes[0], sizes[1] + 1, size=n_schools))
    n = len(school)
    at_school = np.sqrt(0.2) * rng.normal(size=n_schools)
    within = np.sqrt(0.8) * rng.normal(size=n)
    true = at_school[school] + within
    csem = np.full(n, (1 - RELIABILITY) / RELIABILITY)
    if kind == "csem":
        csem *= rng.choice([0.4, 1.6], size=n)
    score = SLOPE * true + contextual * at_school[school] + 0.2 * rng.normal(size=n_schools)[school]
    found = {
        "school_id": [f"S{k:03d}" for k in school],
        "prior_score": true + np.sqrt(csem) * rng.normal(size=n),
        "csem": csem,
    }
    if kind == "ses":
        between = 0.5 * at_school + 0.3 * rng.normal(size=n_schools)
        found["ses"] = between[school] + 0.5 * within + rng.normal(size=n)
        score = score + 0.3 * found["ses"]
    found["score"] = score + 0.6 * rng.normal(size=n)
    return pd.DataFrame(found)


def estimates(n_regions, reliability, *, formula="score ~ prior_score", errors=True, **region):
    """Return estimates and standard errors, each of shape (n_regions, terms).

    The steps of `ValueAddedModel.fit` up to the coefficients; tables of schools take longer.
    Without ``errors`` the calibration's own is left out of the standard errors.
    """
    terms = [*TERMS, *(["ses"] if region.get("kind") == "ses" else [])]
    intake = rs.Intake(composition=LATENT, prior_reliability=reliability)
    school = [Level(name="school_id", column="school_id")]
    found = []
    for seed in range(n_regions):
        data = region_with_errors(seed, **region)
        prepared = prepare(data, formula, intake, groups=["school_id"], time=None)
        design = design_from_frame(prepared.data, prepared.formula, groups=school)
        fit = fit_mixed(design.cross, fixed=design.terms)
        fit = with_calibration_error(fit, design, prepared) if errors else fit
        at = [fit.terms.index(t) for t in terms]
        found.append([fit.beta[at], np.sqrt(np.diag(fit.beta_covariance))[at]])
    return np.swapaxes(np.array(found), 0, 1)


def test_the_model_takes_the_same_steps():
    data = region_with_errors(0)
    intake = rs.Intake(composition=LATENT, prior_reliability=RELIABILITY)
    result = rs.ValueAddedModel("score ~ prior_score", group="school_id", intake=intake).fit(data)
    steps = np.array(estimates(1, RELIABILITY))[:, 0].T
    table = result.fixed_effects.set_index("term").loc[TERMS, ["estimate", "std_error"]]
    np.testing.assert_allclose(table, steps, rtol=1e-10)


def assert_covers(estimate, std_error, truth):
    """90 % intervals hold the truth in 90 % of regions, within 3 Monte-Carlo errors."""
    inside = np.mean(np.abs(estimate - truth) <= Z90 * std_error)
    # .01: normal limits for a coefficient of 60 to 100 schools
    assert abs(inside - 0.9) < 3 * np.sqrt(0.9 * 0.1 / len(estimate)) + 0.01, inside


def test_errors_of_the_prior_make_a_phantom_composition_effect():
    """True composition effect 0, reliability .8: the naive one is biased, the corrected is not."""
    regions = {"n_schools": 60, "sizes": (10, 20)}
    naive, error = estimates(20, None, **regions)
    assert naive[:, 1].mean() > 5 * naive[:, 1].std(ddof=1) / np.sqrt(20)
    assert naive[:, 1].mean() > 0.1
    # the slope keeps what is true of the variance within schools: .8 of 1.05
    kept = SLOPE * 0.8 / (0.8 + 0.25)
    assert abs(naive[:, 0].mean() - kept) < 3 * naive[:, 0].std(ddof=1) / np.sqrt(20) + 0.005
    assert np.mean(np.abs(naive[:, 1]) <= Z90 * error[:, 1]) < 0.6
    found, error = estimates(80, RELIABILITY, **regions)
    spread = found.std(axis=0, ddof=1) / np.sqrt(80)
    assert abs(found[:, 1].mean()) < 3 * spread[1]
    assert abs(found[:, 0].mean() - SLOPE) < 3 * spread[0]
    assert_covers(found[:, 1], error[:, 1], 0.0)
    assert_covers(found[:, 0], error[:, 0], SLOPE)


def test_a_true_composition_effect_of_small_schools_is_covered():
    """3 to 12 pupils, contextual effect .4: here the calibration's own error matters.

    Taken as known, it left intervals that covered .82; the ratio of a covariance to an estimated
    variance is skewed, which leaves a bias of some .02 (a quarter of the standard error).
    """
    regions = {"contextual": 0.4, "sizes": (3, 12), "n_schools": 80}
    found, error = estimates(80, RELIABILITY, **regions)
    spread = found.std(axis=0, ddof=1) / np.sqrt(80)
    assert abs(found[:, 0].mean() - SLOPE) < 3 * spread[0] + 0.005
    assert abs(found[:, 1].mean() - 0.4) < 3 * spread[1] + 0.025
    assert_covers(found[:, 1], error[:, 1], 0.4)


def test_a_covariate_that_goes_with_the_prior_is_conditioned_on():
    """Naive, the SES would take over a part of the prior that errors hide."""
    regions = {"kind": "ses", "n_schools": 60, "formula": "score ~ prior_score + ses"}
    naive, _ = estimates(12, None, **regions)
    assert naive[:, 2].mean() - 0.3 > 10 * naive[:, 2].std(ddof=1) / np.sqrt(12)
    found, _ = estimates(40, RELIABILITY, errors=False, **regions)
    spread = found.std(axis=0, ddof=1) / np.sqrt(40)
    assert (np.abs(found.mean(axis=0) - [SLOPE, 0.0, 0.3]) < 3 * spread).all()


def test_error_variances_of_single_pupils():
    """A column of squared CSEMs: the mean reliability is .8, pupils' own differ."""
    found, _ = estimates(40, "csem", errors=False, kind="csem", n_schools=60)
    spread = found.std(axis=0, ddof=1) / np.sqrt(40)
    assert (np.abs(found.mean(axis=0) - [SLOPE, 0.0]) < 3 * spread).all()


def region_of_years(seed, contextual):
    """Three cohorts of 4 to 10 pupils in 100 schools whose intake hardly changes over the years."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(300), rng.integers(4, 11, size=300))
    lasting, own = np.sqrt(0.19) * rng.normal(size=100), np.sqrt(0.01) * rng.normal(size=300)
    at_cell = np.repeat(lasting, 3) + own
    true = at_cell[cell] + np.sqrt(0.8) * rng.normal(size=len(cell))
    score = SLOPE * true + contextual * at_cell[cell] + 0.6 * rng.normal(size=len(cell))
    score += 0.2 * rng.normal(size=100)[cell // 3] + 0.15 * rng.normal(size=300)[cell]
    return pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in cell // 3],
            "year": 2021 + cell % 3,
            "prior_score": true + 0.5 * rng.normal(size=len(cell)),
            "score": score,
        }
    )


def test_years_of_a_school_are_calibrated_together():
    """Calibrated one by one, the years' means left .21 of a contextual effect of .4."""
    intake = rs.Intake(composition=LATENT, prior_reliability=RELIABILITY)
    levels = [Level(name="school_id", column="school_id"), Level(name="years", column="year")]
    found = []
    for seed in range(20):
        data = region_of_years(seed, 0.4)
        formula = "score ~ prior_score"
        prepared = prepare(data, formula, intake, groups=["school_id"], time="year")
        design = design_from_frame(prepared.data, prepared.formula, groups=levels)
        fit = fit_mixed(design.cross, fixed=design.terms)
        found.append(fit.beta[[fit.terms.index(t) for t in TERMS]])
    spread = np.std(found, axis=0, ddof=1) / np.sqrt(20)
    assert (np.abs(np.mean(found, axis=0) - [SLOPE, 0.4]) < 3 * spread).all()
    assert spread[1] < 0.03  # 3 of these tell .4 from .21


def test_schools_of_strong_intake_no_longer_pass_for_good():
    """Type A (no composition): naive effects go with the intake, corrected ones do not."""
    ties = {None: [], RELIABILITY: []}
    for seed in range(6):
        data = region_with_errors(seed, n_schools=150)
        intake = data.groupby("school_id")["prior_score"].mean()
        for reliability, found in ties.items():
            result = rs.ValueAddedModel(
                "score ~ prior_score",
                group="school_id",
                intake=rs.Intake(prior_reliability=reliability),
            ).fit(data)
            effects = result.school_effects.set_index("school_id")["effect"]
            found.append(np.corrcoef(effects, intake.loc[effects.index])[0, 1])
    # 900 schools: the standard error of a correlation of 0 is .033
    assert np.mean(ties[None]) > 3 * 0.033
    assert abs(np.mean(ties[RELIABILITY])) < 3 * 0.033


# -- 5 and 6: what the oracles leave out -------------------------------------------------------


def rows_of_chunks(seed=2):
    rng = np.random.default_rng(seed)
    school = rng.integers(0, 8, size=60)
    X = rng.normal(size=(60, 2)) * [1.0, 30.0] + [0.0, 500.0]
    y = X @ [0.3, 0.01] + rng.normal(size=8)[school] + rng.normal(size=60)
    return school, X, y, rng.uniform(0.5, 2.0, size=60)


def chunk(rows, at):
    school, X, y, weights = rows
    return CrossProducts.from_arrays(
        X[at],
        y[at],
        columns=["ses", "prior", "score"],
        groups=[
            ("town", school[at] % 3, ["Intercept"]),
            ("school", school[at], ["Intercept", "prior"]),
        ],
        weights=weights[at],
    )


@pytest.mark.parametrize("partition", ["row by row", "by school", "two halves of every school"])
def test_any_partition_adds_up_to_the_whole(partition):
    rows = rows_of_chunks()
    school, n = rows[0], len(rows[0])
    whole = chunk(rows, np.arange(n))
    order = np.random.default_rng(4).permutation(n)
    parts = {
        "row by row": [order[[k]] for k in range(n)],
        "by school": [np.flatnonzero(school == s) for s in np.random.default_rng(1).permutation(8)],
        "two halves of every school": [order[::2], order[1::2]],
    }[partition]
    merged = chunk(rows, parts[0])
    for part in parts[1:]:
        merged = merged.merge(chunk(rows, part))
    merged = merged.recentred(whole.centre, whole.scale)
    size = np.sqrt(np.outer(np.diag(whole.total), np.diag(whole.total)))
    # 1e-12 relative to what was added up (method specification, 7.6)
    np.testing.assert_allclose(merged.total / size, whole.total / size, rtol=0, atol=1e-12)
    for a, b in zip(merged.levels, whole.levels, strict=True):
        assert list(a.labels) == list(b.labels)
        assert list(a.n_rows) == list(b.n_rows)
        biggest = np.abs(b.products).max()
        np.testing.assert_allclose(a.products / biggest, b.products / biggest, atol=1e-12)
    assert fit_mixed(merged).criterion == pytest.approx(fit_mixed(whole).criterion, rel=1e-10)
