"""Subsets, simulation and refits of cross-products against passes over the rows themselves."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from joblib import parallel_config

from resilience.errors import SpecificationError
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import fit_mixed
from resilience.stats.refits.leave_one_out import cook_distance, leave_one_out
from resilience.stats.refits.refits import cluster_refits, components, parametric_refits, refit_plan
from resilience.stats.refits.simulated_products import outcome_draws

COLUMNS = ["a", "b", "c", "y"]
UNITS = {"centre": np.array([2.0, 2.0, 1.0, 3.0]), "scale": np.array([1.0, 2.0, 1.0, 0.5])}


class Rows:
    """300 weighted rows in 4 outer units, 20 schools and 60 school-years; c differs by school."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n = 300
        self.outer = rng.integers(0, 4, n)
        self.school = self.outer * 5 + rng.integers(0, 5, n)
        self.year = rng.integers(0, 3, n)
        self.X = rng.normal(size=(n, 3)) + 2.0
        self.X[:, 2] = 0.1 * self.school
        self.weights = rng.uniform(0.5, 2.0, n)
        self.weights[:3] = 0.0
        self.y = self.X @ [1.0, 0.5, 0.2] + rng.normal(size=4)[self.outer]
        self.y += rng.normal(size=20)[self.school] + rng.normal(size=n)

    def products(self, at=slice(None), *, keep="groups", school=None, y=None) -> CrossProducts:
        school = self.school[at] if school is None else school
        return CrossProducts.from_arrays(
            self.X[at],
            (self.y if y is None else y)[at],
            columns=COLUMNS,
            groups=[
                ("outer", self.outer[at], ["Intercept", "b"]),
                ("school", school, ["Intercept", "a"]),
                ("school:year", self.year[at], ["Intercept"]),
            ],
            weights=self.weights[at],
            keep=keep,
            **UNITS,
        )


def assert_same(one: CrossProducts, other: CrossProducts, *, labels: bool = True) -> None:
    """Both are sums of the same few hundred products of order one: equal up to 1e-10."""
    np.testing.assert_allclose(one.total, other.total, rtol=0, atol=1e-10)
    assert one.n_rows == other.n_rows
    assert one.n_groups == other.n_groups
    assert one.log_weights == pytest.approx(other.log_weights, abs=1e-10)
    for left, right in zip(one.levels, other.levels, strict=True):
        if labels:
            assert list(left.labels) == list(right.labels)
        np.testing.assert_array_equal(left.parent, right.parent)
        np.testing.assert_array_equal(left.n_rows, right.n_rows)
        np.testing.assert_allclose(left.products, right.products, rtol=0, atol=1e-10)
    assert (one.blocks is None) == (other.blocks is None)
    if one.blocks is not None and other.blocks is not None:
        assert one.blocks.level == other.blocks.level
        np.testing.assert_allclose(one.blocks.packed, other.blocks.packed, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            one.blocks.log_weights, other.blocks.log_weights, rtol=0, atol=1e-10
        )


@pytest.mark.parametrize(
    ("level", "labels"), [("outer", [0, 2]), ("school", [1, 3, 7, 11]), ("school:year", [0, 2])]
)
def test_a_subset_of_groups_is_a_fresh_pass_over_its_rows(level, labels):
    rows = Rows()
    column = {"outer": rows.outer, "school": rows.school, "school:year": rows.year}[level]
    chosen = rows.products().subset_groups(level, labels=labels)
    assert_same(chosen, rows.products(np.isin(column, labels)))
    # and a subset of the subset is one of its own
    inner = chosen.subset_groups("school:year", mask=chosen.levels[2].labels == 0)
    assert_same(inner, rows.products(np.isin(column, labels) & (rows.year == 0)))


@pytest.mark.parametrize("level", ["outer", "school"])
def test_groups_taken_several_times_count_as_groups_of_their_own(level):
    rows = Rows()
    whole = rows.products()
    at = [v.name for v in whole.levels].index(level)
    labels = whole.levels[at].labels
    times = np.random.default_rng(1).integers(0, 3, len(labels))
    column = {"outer": rows.outer, "school": rows.school}[level]
    copies = [(k, j) for k, m in enumerate(times) for j in range(m)]
    taken = [np.flatnonzero(column == labels[k]) for k, _ in copies]
    at_rows = np.concatenate(taken)
    new = np.concatenate(
        [np.full(len(t), 100 * k + j) for t, (k, j) in zip(taken, copies, strict=True)]
    )
    drawn = whole.subset_groups(level, multiplicities=times)
    if level == "outer":
        fresh = CrossProducts.from_arrays(
            rows.X[at_rows],
            rows.y[at_rows],
            columns=COLUMNS,
            groups=[
                ("outer", new, ["Intercept", "b"]),
                ("school", rows.school[at_rows], ["Intercept", "a"]),
                ("school:year", rows.year[at_rows], ["Intercept"]),
            ],
            weights=rows.weights[at_rows],
            keep="groups",
            **UNITS,
        )
    else:
        fresh = rows.products(at_rows, school=new)
    assert_same(drawn, fresh, labels=False)
    names = drawn.levels[at].labels
    assert len(set(zip(drawn.levels[at].parent, names, strict=True))) == len(names)


def test_blocks_survive_merging_new_units_sub_blocks_and_pickling():
    rows = Rows()
    half = np.random.default_rng(2).random(300) < 0.5
    merged = rows.products(half).merge(rows.products(~half))
    assert_same(merged, rows.products())
    moved = merged.recentred(np.array([0.0, 1.0, 1.0, 1.0, 0.0]), np.array([1, 2.0, 2, 2, 2]))
    np.testing.assert_allclose(moved.blocks.full().sum(axis=0), moved.total, atol=1e-9)
    part = merged.subset_columns(["a", "y"])
    np.testing.assert_allclose(part.blocks.full().sum(axis=0), part.total, atol=1e-10)
    outer = merged.subset_columns(["a", "y"], random={"outer": ["Intercept"]})
    assert outer.blocks.level == "outer"
    np.testing.assert_allclose(outer.blocks.full().sum(axis=0), outer.total, atol=1e-10)
    assert_same(pickle.loads(pickle.dumps(merged)), merged)


def test_kept_and_unkept_products_are_the_same_and_a_named_level_may_be_kept():
    rows = Rows()
    plain, kept = rows.products(keep=None), rows.products(keep="school")
    assert plain.blocks is None
    assert kept.blocks.level == "school"
    assert len(kept.blocks.packed) == kept.n_groups["school"]
    assert_same(replace(kept, blocks=None), plain)
    assert_same(
        replace(kept.subset_groups("outer", labels=[1]), blocks=None),
        rows.products(rows.outer == 1, keep=None),
    )
    with pytest.raises(SpecificationError, match="keep"):
        kept.subset_groups("school:year", labels=[1])  # inside the level that was kept
    with pytest.raises(SpecificationError, match="merged"):
        kept.merge(plain)


# -- simulation -----------------------------------------------------------------------------------


def statistics(cross: CrossProducts) -> np.ndarray:
    """Sums that the fit uses: of all columns, of some groups of each level, and of squares."""
    parts = [v.products[:k, :, -1].ravel() for v, k in zip(cross.levels, (2, 3, 4), strict=True)]
    return np.concatenate([cross.total[:, -1], *parts])


def test_outcomes_drawn_from_cross_products_are_those_of_pupils():
    """Means, variances and correlations of all sums agree with pupils drawn one by one."""
    rows = Rows()
    cross = rows.products(keep=None)
    fitted = fit_mixed(cross)
    draws = outcome_draws(cross, fitted)
    rng = np.random.default_rng(3)
    n_draws = 3000
    ours = np.array([statistics(draws.draw(rng)) for _ in range(n_draws)])
    design = np.column_stack([np.ones(300), rows.X]) @ fitted.beta
    _, school = np.unique(rows.school, return_inverse=True)
    _, cell = np.unique(rows.school * 3 + rows.year, return_inverse=True)
    spread = np.sqrt(fitted.residual_variance / np.where(rows.weights > 0, rows.weights, 1.0))
    codes = (rows.outer, school, cell)
    pupils = []
    for _ in range(n_draws):
        y = design + spread * rng.normal(size=300)
        for level, code in zip(fitted.levels, codes, strict=True):
            u = rng.multivariate_normal(
                np.zeros(len(level.terms)), level.covariance, code.max() + 1
            )
            slopes = [rows.X[:, COLUMNS.index(t)] for t in level.terms[1:]]
            y = y + u[code, 0] + sum(u[code, 1 + k] * x for k, x in enumerate(slopes))
        pupils.append(statistics(rows.products(keep=None, y=y)))
    theirs = np.array(pupils)
    # 23 sums: 4.5 standard errors keep the chance of a false alarm below 1 in 2,000
    gap = (ours.mean(axis=0) - theirs.mean(axis=0)) / np.sqrt(
        (ours.var(axis=0) + theirs.var(axis=0)) / n_draws
    )
    assert np.abs(gap).max() < 4.5
    # the log of a ratio of variances of near-normal sums has the variance 4 / n
    ratio = np.log(ours.var(axis=0) / theirs.var(axis=0)) / np.sqrt(4.0 / n_draws)
    assert np.abs(ratio).max() < 5.0  # y'y is a little heavier in its tails
    between = (np.corrcoef(ours.T) - np.corrcoef(theirs.T)) * np.sqrt(n_draws / 2.0)
    assert np.abs(between).max() < 5.0  # 253 pairs


def test_the_directions_of_the_errors_span_the_design():
    """Their number is the rank of [Z X]; together they give back the products themselves."""
    rows = Rows()
    cross = rows.products(keep=None)
    draws = outcome_draws(cross, fit_mixed(cross))
    directions, root, n_left = draws.directions
    used = rows.weights > 0

    def dummies(code):
        return (code[:, None] == np.unique(code)).astype(float)

    cell = rows.school * 3 + rows.year
    outer, school = dummies(rows.outer), dummies(rows.school)
    Z = [outer, outer * rows.X[:, [1]], school, school * rows.X[:, [0]], dummies(cell)]
    whole = np.column_stack([*Z, rows.X, np.ones(300)])[used]
    assert n_left == used.sum() - np.linalg.matrix_rank(whole)
    total = root @ root.T
    for T, _ in directions:
        total = total + np.einsum("gkp,gkr->pr", T, T)
    np.testing.assert_allclose(total, cross.total[:-1, :-1], atol=1e-9)


def test_draws_follow_the_outcome_s_own_scale_and_a_model_without_intercept():
    """The expected sums of a draw are those of the fitted line, whatever centre and scale."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(30), 8)
    x = rng.normal(5.0, 2.0, 240)
    y = 1e3 + 40.0 * x + 30.0 * rng.normal(size=30)[group] + 50.0 * rng.normal(size=240)
    cross = CrossProducts.from_arrays(
        x[:, None], y, columns=["x", "y"], groups=[("g", group, ["Intercept"])]
    )
    for fixed in (["Intercept", "x"], ["x"]):
        fitted = fit_mixed(cross, fixed=fixed)
        draws = outcome_draws(cross, fitted)
        means = np.mean([draws.draw(rng).total[:, -1] for _ in range(2000)], axis=0)[:2]
        line = fitted.beta @ [{"Intercept": np.ones(240), "x": x}[t] for t in fixed]
        W = np.column_stack([np.ones(240), (x - cross.centre[1]) / cross.scale[1]])
        expected = W.T @ (line - cross.centre[-1]) / cross.scale[-1]
        variance = fitted.levels[0].covariance[0, 0] / cross.scale[-1] ** 2
        noise = fitted.residual_variance / cross.scale[-1] ** 2
        sums = np.array([W[group == g].sum(axis=0) for g in range(30)])
        error = np.sqrt((variance * (sums**2).sum(axis=0) + noise * (W**2).sum(axis=0)) / 2000)
        assert (np.abs(means - expected) < 4.0 * error).all()


# -- refits ---------------------------------------------------------------------------------------


def slope_products(seed: int, *, n_groups: int = 40, keep="groups"):
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 14 * n_groups)])
    x = rng.normal(1.0, 1.0, (len(group), 2))
    u = rng.normal(size=(n_groups, 2)) * [0.6, 0.4]
    y = x @ [0.5, -0.2] + u[group, 0] + u[group, 1] * x[:, 0] + rng.normal(size=len(group))
    at = slice(None)

    def products(at=at):
        return CrossProducts.from_arrays(
            x[at],
            y[at],
            columns=["x", "z", "y"],
            groups=[("g", group[at], ["Intercept", "x"])],
            keep=keep,
        )

    return products, group


def test_a_refit_ends_where_a_fit_from_scratch_does():
    products, _ = slope_products(5)
    cross = products()
    fitted = fit_mixed(cross)
    plan = refit_plan(cross, fitted)
    draws = outcome_draws(plan.problem.cross, fitted)
    rng = np.random.default_rng(6)
    for _ in range(5):
        drawn = draws.draw(rng)
        quick, whole = plan.refit(drawn), fit_mixed(drawn)
        # the search stops 1e-9 of deviance above its optimum: 1e-4.5 standard errors
        np.testing.assert_allclose(quick.beta, whole.beta, rtol=0, atol=1e-6)
        own = [*whole.levels[0].parameters.values(), np.sqrt(whole.residual_variance)]
        np.testing.assert_allclose(quick.natural, own, rtol=0, atol=1e-5)
        assert quick.converged


def test_refits_at_a_boundary_are_left_to_the_whole_search():
    """A slope that does not vary: replicates with a zero variance are found, not passed over."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(15), 10)
    x = rng.normal(size=150)
    y = x + 0.5 * rng.normal(size=15)[group] + rng.normal(size=150)
    cross = CrossProducts.from_arrays(
        x[:, None], y, columns=["x", "y"], groups=[("g", group, ["Intercept", "x"])]
    )
    fitted = fit_mixed(cross)
    plan = refit_plan(cross, fitted)
    draws = outcome_draws(plan.problem.cross, fitted)
    singular = 0
    for k in range(12):
        drawn = draws.draw(np.random.default_rng(k))
        refit, whole = plan.refit(drawn), fit_mixed(drawn)
        assert refit.singular == whole.convergence.singular
        np.testing.assert_allclose(refit.beta, whole.beta, rtol=0, atol=1e-5)
        np.testing.assert_allclose(refit.natural[-1], np.sqrt(whole.residual_variance), rtol=1e-5)
        singular += refit.singular
    assert singular >= 3


def test_replicates_do_not_depend_on_the_number_of_jobs():
    products, _ = slope_products(8, n_groups=25)
    cross = products()
    fitted = fit_mixed(cross)
    one = parametric_refits(cross, fitted, n_replicates=24, random_state=1)
    with parallel_config(backend="threading"):
        three = parametric_refits(cross, fitted, n_replicates=24, random_state=1, n_jobs=3)
    two = parametric_refits(cross, fitted, n_replicates=24, random_state=1, n_jobs=2)
    other = parametric_refits(cross, fitted, n_replicates=24, random_state=2)
    first = np.array([r.natural for r in one])
    for refits in (two, three):
        # copies in other processes may lie elsewhere in memory, which moves the last digit
        np.testing.assert_allclose(first, [r.natural for r in refits], rtol=1e-9)
    assert not np.allclose(first, [r.natural for r in other])
    clusters = [
        [r.natural for r in cluster_refits(cross, fitted, level="g", n_replicates=8, n_jobs=n)]
        for n in (1, 2)
    ]
    np.testing.assert_allclose(clusters[0], clusters[1], rtol=1e-9)


def test_the_bootstrap_s_spread_is_that_of_the_information():
    """Standard errors of the fixed effects of many replicates are those of the fit."""
    products, _ = slope_products(9, n_groups=60)
    cross = products()
    fitted = fit_mixed(cross)
    refits = parametric_refits(cross, fitted, n_replicates=400, random_state=3)
    spread = np.std([r.beta for r in refits], axis=0)
    # the SD of 400 draws has a relative error of 1 / sqrt(800) = 0.035; the plug-in errors of the
    # fit leave out some 2 % for the estimated variances
    np.testing.assert_allclose(spread, np.sqrt(np.diag(fitted.beta_covariance)), rtol=0.14)
    assert len(components(fitted)) == len(refits[0].natural)


def test_leaving_a_group_out_is_a_fit_to_the_other_rows():
    products, group = slope_products(10, n_groups=20)
    cross = products()
    fitted = fit_mixed(cross)
    for left in leave_one_out(cross, fitted, "g", [0, 7, 19]):
        rest = fit_mixed(products(group != left.group))
        np.testing.assert_allclose(left.refit.beta, rest.beta, rtol=0, atol=1e-6)
        own = [*rest.levels[0].parameters.values(), np.sqrt(rest.residual_variance)]
        np.testing.assert_allclose(left.refit.natural, own, rtol=0, atol=1e-5)
        change = fitted.beta - rest.beta
        distance = change @ np.linalg.inv(fitted.beta_covariance) @ change / 3
        assert cook_distance(fitted, left.refit.beta) == pytest.approx(distance, rel=1e-4)


def test_the_effect_of_a_group_by_the_parameters_of_the_others_is_the_dense_one():
    """u = D Z'V⁻¹(y − Xβ) with the others' D, σ² and β, on three levels."""
    rows = Rows()
    cross = rows.products()
    fitted = fit_mixed(cross)
    (left,) = leave_one_out(cross, fitted, "school", [6])
    rest = rows.school != cross.levels[1].labels[6]
    other = fit_mixed(rows.products(rest))
    mine = (rows.outer == rows.outer[~rest][0]) & (rows.weights > 0)
    X = np.column_stack([np.ones(300), rows.X])[mine]

    def same(code):
        return (code[mine][:, None] == code[mine]).astype(float)

    Zo, Zs = X[:, [0, 2]], X[:, [0, 1]]
    Do, Ds, Dc = (v.covariance for v in other.levels)
    school = Zs @ Ds @ Zs.T * same(rows.school)
    V = Zo @ Do @ Zo.T + school + Dc[0, 0] * same(rows.school * 3 + rows.year)
    V += np.diag(other.residual_variance / rows.weights[mine])
    inside = rows.school[mine] == cross.levels[1].labels[6]
    solved = np.linalg.solve(V, rows.y[mine] - X @ other.beta)
    np.testing.assert_allclose(left.modes, Ds @ Zs[inside].T @ solved[inside], atol=1e-4)
