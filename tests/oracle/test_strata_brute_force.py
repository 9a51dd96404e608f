"""Several subjects jointly against a dense likelihood that shares no formula with the engine."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from resilience.errors import DataError, SpecificationError
from resilience.stats.mixed import fit_mixed, mixed_criterion
from resilience.stats.strata.strata import StrataProducts
from resilience.stats.strata.strata_fit import ResidualCovariance, fit_strata, strata_problem

# Both sides are double precision with matrices of a few hundred rows: 1e-8 relative leaves three
# digits of room above rounding.
RELATIVE = 1e-8
TERMS = ["Intercept", "prior", "subject=1", "subject=2"]

SHAPES = {
    "one level": [("school", ["subject=0", "subject=1", "subject=2"])],
    "with a slope": [("school", ["subject=0", "subject=1", "subject=2", "prior"])],
    "two levels": [
        ("town", ["Intercept"]),
        ("school", ["subject=0", "subject=1", "subject=2"]),
    ],
    "three levels": [
        ("town", ["subject=0", "subject=1", "subject=2"]),
        ("school", ["subject=0", "subject=1", "subject=2"]),
        ("year", ["Intercept"]),
    ],
}


def rows(seed: int = 3, *, weighted: bool = False):
    """Pupils in one to three subjects, in years in schools in towns, unsorted."""
    rng = np.random.default_rng(seed)
    n_pupils = 70
    school = rng.integers(0, 9, size=n_pupils)
    year = rng.integers(0, 2, size=n_pupils)
    prior = 500.0 + 20.0 * rng.normal(size=n_pupils)
    tie = np.array([[1.0, 0.5, 0.2], [0.5, 0.8, 0.3], [0.2, 0.3, 1.4]])
    effects = rng.multivariate_normal(np.zeros(3), 0.3 * np.eye(3) + 0.2, size=9)
    errors = rng.multivariate_normal(np.zeros(3), tie, size=n_pupils)
    score = 0.02 * prior[:, None] + effects[school] + errors
    pupil, subject = (a.ravel() for a in np.indices((n_pupils, 3)))
    sat = rng.uniform(size=3 * n_pupils) < 0.75
    order = rng.permutation(np.flatnonzero(sat))
    pupil, subject = pupil[order], subject[order]
    weights = rng.uniform(0.3, 3.0, size=len(order)) if weighted else np.ones(len(order))
    if weighted:
        weights[:5] = 0.0
    indicators = (subject[:, None] == np.arange(3)).astype(float)
    return {
        "X": np.column_stack([prior[pupil], indicators]),
        "y": score[pupil, subject],
        "subject": subject,
        "pupil": pupil,
        "school": school[pupil],
        "town": school[pupil] % 3,
        "year": year[pupil],
        "weights": weights,
    }


@pytest.fixture(autouse=True)
def one_thread():
    """Threads slow small matrices down."""
    with threadpool_limits(limits=1):
        yield


COLUMNS = ["prior", "subject=0", "subject=1", "subject=2", "score"]


def strata_of(d, shape, *, linked: bool = True, at=slice(None), units=None):
    mean, spread = d["y"].mean(), d["y"].std()
    prior = d["X"][:, 0]
    if units is None:
        # a slope beside subjects' effects, without an intercept, keeps its own zero
        middle = 0.0 if shape == "with a slope" else prior.mean()
        units = (
            np.array([middle, 0.0, 0.0, 0.0, mean]),
            np.array([prior.std(), 1.0, 1.0, 1.0, spread]),
        )
    return StrataProducts.from_arrays(
        d["X"][at],
        d["y"][at],
        columns=COLUMNS,
        subject=d["subject"][at],
        unit=d["pupil"][at] if linked else None,
        groups=[(name, d[name][at], terms) for name, terms in SHAPES[shape]],
        weights=d["weights"][at],
        units=units,
    )


def dense_criterion(d, shape, covariances, R, method, *, linked: bool = True):
    keep = d["weights"] > 0
    d = {k: v[keep] for k, v in d.items()}
    n = len(d["y"])
    named = {"Intercept": np.ones(n), **dict(zip(COLUMNS, d["X"].T, strict=False))}
    same = d["pupil"][:, None] == d["pupil"][None, :] if linked else np.eye(n, dtype=bool)
    V = np.where(same, R[np.ix_(d["subject"], d["subject"])], 0.0)
    V /= np.sqrt(np.outer(d["weights"], d["weights"]))
    path = np.zeros(n, dtype=int)
    for (name, terms), D in zip(SHAPES[shape], covariances, strict=True):
        path = path * 10_000 + d[name]
        Z = np.column_stack([named[t] for t in terms])
        V = V + (path[:, None] == path[None, :]) * (Z @ D @ Z.T)
    X = np.column_stack([named[t] for t in TERMS])
    inverse = np.linalg.inv(V)
    A = X.T @ inverse @ X
    beta = np.linalg.solve(A, X.T @ inverse @ d["y"])
    r = d["y"] - X @ beta
    m = n - X.shape[1] if method == "reml" else n
    value = np.linalg.slogdet(V)[1] + m * (1 + np.log(2 * np.pi * (r @ inverse @ r) / m))
    return value + (np.linalg.slogdet(A)[1] if method == "reml" else 0.0)


def random_covariance(rng, q: int, size: float):
    root = np.tril(rng.uniform(-0.5, 0.5, size=(q, q))) + 0.7 * np.eye(q)
    return size * root @ root.T


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_criterion_is_the_dense_one(shape, method, weighted, linked):
    d = rows(weighted=weighted)
    strata = strata_of(d, shape, linked=linked)
    rng = np.random.default_rng(11)
    for _ in range(3):
        R = random_covariance(rng, 3, 1.5)
        if not linked:
            R = np.diag(np.diag(R))
        D = [
            random_covariance(rng, len(t), 1e-4 if "prior" in t else 0.4) for _, t in SHAPES[shape]
        ]
        found = mixed_criterion(strata.whitened(R), D, fixed=TERMS, method=method)
        dense = dense_criterion(d, shape, D, R, method, linked=linked)
        assert found == pytest.approx(dense, rel=RELATIVE)


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_gradient_is_exact(shape, method, linked):
    strata = strata_of(rows(weighted=True), shape, linked=linked)
    problem = strata_problem(strata, fixed=TERMS, method=method)
    rng = np.random.default_rng(2)
    theta = problem.start()
    theta = theta + 0.05 * rng.normal(size=len(theta))
    value, gradient = problem.value(theta)
    assert value == pytest.approx(problem.criterion(theta), rel=1e-14)
    step = 1e-5
    difference = [
        (problem.criterion(theta + step * e) - problem.criterion(theta - step * e)) / (2 * step)
        for e in np.eye(len(theta))
    ]
    # rounding of a criterion of some hundreds over a step of 1e-5: 1e-13 / 1e-5 = 1e-8, and a
    # truncation of 1e-10 times third derivatives up to some thousands
    assert gradient == pytest.approx(difference, rel=1e-6, abs=2e-5)


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_gradient_of_the_residual_scale_is_exact(method, linked):
    problem = strata_problem(
        strata_of(rows(), "two levels", linked=linked), fixed=TERMS, method=method
    )
    rng = np.random.default_rng(3)
    theta = problem.start() + 0.05 * rng.normal(size=problem.n_free)
    value, gradient, _, slope = problem.value_and_scale(theta)
    assert value == problem.value(theta)[0]
    assert gradient.tolist() == problem.value(theta)[1].tolist()
    step = 1e-5
    for k, e in enumerate(np.eye(len(theta))):
        up, down = (problem.value_and_scale(theta + sign * step * e)[2] for sign in (1, -1))
        # logarithms of order one over steps of 1e-5 keep ten digits of a slope below one
        assert slope[k] == pytest.approx(np.log(up / down) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_no_step_from_the_optimum_lowers_the_dense_criterion(method, linked):
    d = rows()
    fit = fit_strata(strata_of(d, "one level", linked=linked), fixed=TERMS, method=method)
    sigma2 = fit.residual_variance
    R, D = fit.residual_covariance / sigma2, fit.levels[0].covariance / sigma2
    best = dense_criterion(d, "one level", [D], R, method, linked=linked)
    assert fit.criterion == pytest.approx(best, rel=RELATIVE)
    assert fit.convergence.converged
    rng = np.random.default_rng(4)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(10):
            change = size * rng.normal(size=(2, 3, 3))
            moved_R = R + change[0] + change[0].T
            moved_D = D + change[1] + change[1].T
            if not linked:
                moved_R = np.diag(np.diag(moved_R))
            if min(np.linalg.eigvalsh(moved_R)[0], np.linalg.eigvalsh(moved_D)[0]) <= 0:
                continue
            value = dense_criterion(d, "one level", [moved_D], moved_R, method, linked=linked)
            assert value > best - 1e-9 * abs(best)


def test_effects_and_coefficients_are_those_of_dense_algebra():
    d = rows(weighted=True)
    fit = fit_strata(strata_of(d, "two levels"), fixed=TERMS)
    keep = d["weights"] > 0
    d = {k: v[keep] for k, v in d.items()}
    n = len(d["y"])
    X = np.column_stack([np.ones(n), d["X"][:, 0], d["X"][:, 2:]])
    same = d["pupil"][:, None] == d["pupil"][None, :]
    V = np.where(same, fit.residual_covariance[np.ix_(d["subject"], d["subject"])], 0.0)
    V /= np.sqrt(np.outer(d["weights"], d["weights"]))
    town = (d["town"][:, None] == np.unique(d["town"])).astype(float)
    own = np.zeros((n, len(fit.levels[1].labels) * 3))
    at = {label: k for k, label in enumerate(fit.levels[1].labels)}
    own[np.arange(n), [3 * at[g] + s for g, s in zip(d["school"], d["subject"], strict=True)]] = 1
    D = np.kron(np.eye(len(at)), fit.levels[1].covariance)
    V = V + fit.levels[0].covariance[0, 0] * town @ town.T + own @ D @ own.T
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    beta = C @ X.T @ inverse @ d["y"]
    assert fit.beta == pytest.approx(beta, rel=1e-7)
    # the conditional covariance of the effects and its prediction-error counterpart
    modes = D @ own.T @ inverse @ (d["y"] - X @ beta)
    assert fit.levels[1].modes.ravel() == pytest.approx(modes, rel=1e-7, abs=1e-9)
    posterior = D - D @ own.T @ inverse @ own @ D
    gain = D @ own.T @ inverse @ X
    error = posterior + gain @ C @ gain.T
    for g in range(len(at)):
        block = slice(3 * g, 3 * g + 3)
        assert fit.levels[1].conditional[g] == pytest.approx(posterior[block, block], rel=1e-7)
        assert fit.levels[1].prediction[g] == pytest.approx(error[block, block], rel=1e-7)


@pytest.mark.parametrize("linked", [True, False])
def test_at_equal_independent_residuals_it_is_the_plain_engine(linked):
    d = rows(weighted=True)
    strata = strata_of(d, "two levels", linked=linked)
    whitened = strata.whitened(np.eye(3))
    assert whitened.total == pytest.approx(strata.plain.total, rel=1e-12, abs=1e-12)
    assert whitened.log_weights == strata.plain.log_weights
    for mine, plain in zip(whitened.levels, strata.plain.levels, strict=True):
        assert mine.products == pytest.approx(plain.products, rel=1e-12, abs=1e-12)
    fit = fit_mixed(strata.plain, fixed=TERMS)
    sigma2 = fit.residual_variance
    D = [v.covariance / sigma2 for v in fit.levels]
    assert mixed_criterion(whitened, D, fixed=TERMS) == pytest.approx(fit.criterion, rel=1e-12)
    joint = fit_strata(strata, fixed=TERMS)
    assert joint.criterion <= fit.criterion  # one model holds the other


def test_parts_of_the_rows_add_up_in_any_order():
    d = rows(weighted=True)
    whole = strata_of(d, "three levels")
    part = d["pupil"] % 3
    few = (np.array([480.0, 0, 0, 0, 1.0]), np.array([3.0, 1, 1, 1, 2.0]))
    pieces = [
        strata_of(d, "three levels", at=part == k, units=units)
        for k, units in ((2, None), (0, few), (1, few))
    ]
    pieces = [pickle.loads(pickle.dumps(piece)) for piece in pieces]
    merged = pieces[0].merge(pieces[1]).merge(pieces[2])
    assert merged.patterns == whole.patterns
    assert merged.pairs().tolist() == whole.pairs().tolist()
    for level in range(3):
        assert merged.pupils(level).tolist() == whole.pupils(level).tolist()
        seen = merged.rows_by_subject(level)
        assert seen.tolist() == whole.rows_by_subject(level).tolist()
    R = random_covariance(np.random.default_rng(0), 3, 1.0)
    one, other = whole.whitened(R), merged.whitened(R)
    # a change of centre by ten SDs loses two of sixteen digits
    assert other.total == pytest.approx(one.total, rel=1e-11, abs=1e-9)
    for mine, theirs in zip(one.levels, other.levels, strict=True):
        assert list(mine.labels) == list(theirs.labels)
        assert theirs.products == pytest.approx(mine.products, rel=1e-11, abs=1e-9)
    found = fit_strata(merged, fixed=TERMS).criterion
    assert found == pytest.approx(fit_strata(whole, fixed=TERMS).criterion, rel=1e-9)


def test_pupils_and_rows_of_groups_are_counted_and_subjects_kept_apart():
    d = rows(weighted=True)
    used = d["weights"] > 0
    for linked in (True, False):
        strata = strata_of(d, "two levels", linked=linked)
        schools = list(strata.plain.levels[1].labels)
        seen = strata.rows_by_subject(1)
        for g, school in enumerate(schools):
            own = used & (d["school"] == school)
            by_subject = [int((d["subject"][own] == s).sum()) for s in range(3)]
            assert seen[g].tolist() == by_subject
            n = len(np.unique(d["pupil"][own])) if linked else max(by_subject)
            assert strata.pupils(1)[g] == n
        second = strata.of_subject(1)
        own = d["subject"] == 1
        assert second.total[0, 0] == pytest.approx(d["weights"][own].sum(), rel=1e-12)
        alone = strata_of(d, "two levels", linked=False, at=own).plain
        assert second.total == pytest.approx(alone.recentred(*units_of(strata)).total, rel=1e-9)


def units_of(strata):
    return strata.plain.centre, strata.plain.scale


def test_a_part_may_lack_a_subject():
    d = rows()
    whole = strata_of(d, "one level", linked=False)
    apart = [strata_of(d, "one level", linked=False, at=d["subject"] == s) for s in (2, 0, 1)]
    merged = apart[0].merge(apart[1]).merge(apart[2])
    assert merged.subjects == whole.subjects == (0, 1, 2)
    R = np.diag([1.0, 2.0, 0.5])
    assert merged.whitened(R).total == pytest.approx(whole.whitened(R).total, rel=1e-11, abs=1e-11)


def test_linked_and_unlinked_rows_do_not_mix():
    d = rows()
    with pytest.raises(SpecificationError):
        strata_of(d, "one level").merge(strata_of(d, "one level", linked=False))


def test_a_pupil_twice_and_a_pupil_in_two_schools_are_counted():
    d = rows()
    twice = {k: np.concatenate([v, v[:4]]) for k, v in d.items()}
    with pytest.raises(DataError, match="4 results stand twice"):
        strata_of(twice, "one level")
    strata_of(twice, "one level", linked=False)  # without a key nobody can tell
    moved = dict(d)
    pupil = d["pupil"][np.bincount(d["pupil"])[d["pupil"]] > 1][0]
    moved["school"] = d["school"].copy()
    first = np.flatnonzero(d["pupil"] == pupil)[0]
    moved["school"][first] = (d["school"][first] + 1) % 9
    with pytest.raises(DataError, match="results of 1 pupils stand in two units of 'school'"):
        strata_of(moved, "one level")


@pytest.mark.parametrize("correlated", [True, False])
def test_residual_parameters_reach_every_covariance_and_have_exact_derivatives(correlated):
    rng = np.random.default_rng(8)
    residual = ResidualCovariance(n_subjects=4, correlated=correlated)
    free = rng.normal(size=residual.n_free)
    R = residual.covariance(free)
    assert R[0, 0] == pytest.approx(1.0)
    assert np.linalg.eigvalsh(R)[0] > 0
    assert residual.parameters(R) == pytest.approx(free, rel=1e-9, abs=1e-12)
    step = 1e-6
    for k, exact in enumerate(residual.derivatives(free)):
        e = np.eye(len(free))[k] * step
        difference = (residual.covariance(free + e) - residual.covariance(free - e)) / (2 * step)
        assert exact == pytest.approx(difference, rel=1e-7, abs=1e-8)
