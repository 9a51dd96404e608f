"""Known truth of several subjects: covariances, the tie of a pupil's results, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from resilience.stats.engine.search import Search
from resilience.stats.strata.strata import StrataProducts
from resilience.stats.strata.strata_fit import StrataFit, fit_strata, strata_problem

OMEGA = np.array([[0.20, 0.10], [0.10, 0.15]])
SIGMA = np.array([[0.80, 0.40], [0.40, 0.60]])
BETA = np.array([0.5, 0.3, -0.2])
TERMS = ["prior", "subject=0", "subject=1"]
N_SCHOOLS, N_PUPILS = 60, 10


@pytest.fixture(autouse=True)
def one_thread():
    """Threads slow small matrices down."""
    with threadpool_limits(limits=1):
        yield


def draw(rng, *, n_schools=N_SCHOOLS, n_pupils=N_PUPILS, sat=1.0):
    """Return columns, outcome, subject, pupil, school and the true effects of schools."""
    effects = rng.multivariate_normal(np.zeros(2), OMEGA, size=n_schools)
    school = np.repeat(np.arange(n_schools), n_pupils)
    errors = rng.multivariate_normal(np.zeros(2), SIGMA, size=len(school))
    prior = rng.normal(size=(len(school), 2))
    score = BETA[0] * prior + BETA[1:] + effects[school] + errors
    pupil, subject = (a.ravel() for a in np.indices(score.shape))
    keep = rng.uniform(size=score.size) < sat
    pupil, subject = pupil[keep], subject[keep]
    X = np.column_stack([prior.ravel()[keep], subject == 0, subject == 1]).astype(float)
    return X, score.ravel()[keep], subject, pupil, school[pupil], effects


def strata_of(drawn, *, linked: bool) -> StrataProducts:
    X, y, subject, pupil, school, _ = drawn
    return StrataProducts.from_arrays(
        X,
        y,
        columns=[*TERMS, "score"],
        subject=subject,
        unit=pupil if linked else None,
        groups=[("school", school, TERMS[1:])],
        units=(np.zeros(4), np.ones(4)),
    )


def fit(drawn, *, linked: bool) -> StrataFit:
    return fit_strata(strata_of(drawn, linked=linked), fixed=TERMS)


def spread_of(values):
    """Return the mean over replicates and its standard error."""
    values = np.asarray(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


@pytest.fixture(scope="module")
def replicates():
    """Both models on 60 regions of 60 schools with ten pupils who sat both subjects."""
    rng = np.random.default_rng(20)
    with threadpool_limits(limits=1):
        drawn = [draw(rng) for _ in range(60)]
        return [(fit(d, linked=True), fit(d, linked=False)) for d in drawn]


def test_covariances_of_schools_and_of_pupils_are_recovered(replicates):
    schools, error = spread_of([linked.levels[0].covariance for linked, _ in replicates])
    # REML is unbiased but for the bound at a correlation of one, which 60 schools seldom touch:
    # three standard errors of the mean of 60 regions
    assert (np.abs(schools - OMEGA) < 3 * error).all()
    residual, error = spread_of([linked.residual_covariance for linked, _ in replicates])
    assert (np.abs(residual - SIGMA) < 3 * error).all()
    beta, error = spread_of([linked.beta for linked, _ in replicates])
    assert (np.abs(beta - BETA) < 3 * error).all()


def test_without_the_pupil_key_its_covariance_goes_into_the_schools(replicates):
    wrong = [apart.levels[0].covariance[0, 1] for _, apart in replicates]
    mean, error = spread_of(wrong)
    # with n pupils per school who sat both subjects the schools' covariance is Σ₁₂/n too high
    expected = OMEGA[0, 1] + SIGMA[0, 1] / N_PUPILS
    assert abs(mean - expected) < 3 * error
    assert mean - OMEGA[0, 1] > 6 * error
    # the variances of schools and of pupils do not suffer
    own, error = spread_of([np.diag(apart.levels[0].covariance) for _, apart in replicates])
    assert (np.abs(own - np.diag(OMEGA)) < 3 * error).all()


def test_intervals_of_subjects_and_of_their_mean_cover(replicates):
    rng = np.random.default_rng(20)
    z = 1.6448536269514722  # normal quantile of a 90 % interval
    hits, composite, too_sure = [], [], []
    w = np.array([0.5, 0.5])
    for linked, apart in replicates:
        effects = draw(rng)[-1]
        school = linked.levels[0]
        error = np.sqrt(np.einsum("gaa->ga", school.prediction))
        hits.append((np.abs(school.modes - effects) < z * error).mean())
        for fitted, rates in ((linked, composite), (apart, too_sure)):
            school = fitted.levels[0]
            error = np.sqrt(np.einsum("gab,a,b->g", school.prediction, w, w))
            rates.append((np.abs((school.modes - effects) @ w) < z * error).mean())
    # variances are estimated from 60 schools, which costs about one point of coverage at most
    mean, error = spread_of(hits)
    assert abs(mean - 0.90) < 3 * error + 0.012
    mean, error = spread_of(composite)
    assert abs(mean - 0.90) < 3 * error + 0.012
    # taking a pupil's results for independent makes the mean of the subjects look surer than it is
    mean, error = spread_of(too_sure)
    assert mean < 0.90 - 5 * error


def test_pupils_who_sat_one_subject_only_do_not_bias():
    rng = np.random.default_rng(4)
    fits = [fit(draw(rng, n_pupils=10, sat=0.6), linked=True) for _ in range(25)]
    schools, error = spread_of([f.levels[0].covariance for f in fits])
    assert (np.abs(schools - OMEGA) < 3 * error).all()
    residual, error = spread_of([f.residual_covariance for f in fits])
    assert (np.abs(residual - SIGMA) < 3 * error).all()


def test_no_start_of_twenty_beats_the_optimum():
    strata = strata_of(draw(np.random.default_rng(9), sat=0.8), linked=True)
    # all units are those of the data here: the search's criterion is the fit's
    best = fit_strata(strata, fixed=TERMS).criterion
    problem = strata_problem(strata, fixed=TERMS)
    lower = [-np.inf if bound[0] is None else bound[0] for bound in problem.bounds]
    rng = np.random.default_rng(10)
    found = []
    for _ in range(20):
        start = problem.start() + rng.normal(scale=0.5, size=problem.n_free)
        found.append(Search(problem=problem, log=[]).climb(np.maximum(start, lower))[1])
    assert min(found) >= best - 1e-7 * abs(best)
    assert np.median(found) == pytest.approx(best, rel=1e-7)
