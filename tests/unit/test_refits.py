"""The methods of results that fit anew: tables, refusals, and what is printed."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import resilience as rs
from resilience.columns import column_names
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.likelihood_intervals import profile_intervals
from resilience.stats.refits.natural_criteria import natural_criterion
from resilience.value_added.effects.bootstrap import bootstrap_results, part_of_name
from resilience.value_added.effects.influence import EVERYONE_UP_TO
from resilience.value_added.fits.refits import RefitMethods


def pupils(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = 480
    school = np.concatenate([np.arange(24), rng.integers(0, 24, n - 24)])
    prior, year = rng.normal(size=n), rng.integers(2022, 2025, n)
    score = 0.6 * prior + 0.5 * rng.normal(size=24)[school]
    score = score + 0.3 * rng.normal(size=(24, 3))[school, year - 2022] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 6}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "score": score,
        }
    )


FRAME = pupils()


def kept(va: rs.ValueAddedResults, frame: pd.DataFrame) -> rs.ValueAddedResults:
    """Return the results with the groups' own cross-products, whatever the reader keeps."""
    cross = va.cross
    columns = {level.name: level.name.rpartition(":")[2] for level in cross.levels}
    own = CrossProducts.from_arrays(
        frame[list(cross.columns[1:-1])].to_numpy(dtype=float),
        frame["score"].to_numpy(dtype=float),
        columns=cross.columns[1:],
        groups=[
            (v.name, frame[columns[v.name]].to_numpy(), [cross.columns[c] for c in v.columns])
            for v in cross.levels
        ],
        centre=cross.centre[1:],
        scale=cross.scale[1:],
        keep="groups",
    )
    return replace(va, cross=own)


@pytest.fixture(scope="module")
def plain():
    return kept(rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(FRAME), FRAME)


@pytest.fixture(scope="module")
def yearly():
    model = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    return kept(model.fit(FRAME), FRAME)


@pytest.fixture(scope="module")
def bootstrap(plain):
    return RefitMethods.bootstrap(plain, 40)


# -- bootstrap ------------------------------------------------------------------------------------


def test_the_bootstrap_has_a_row_per_parameter_and_counts_its_refits(plain, bootstrap):
    table = bootstrap.tidy()
    assert list(table["group"]) == ["fixed", "fixed", "school_id", "residual"]
    assert list(table["term"]) == ["Intercept", "prior_score", "Intercept", ""]
    assert list(table["component"]) == ["coefficient"] * 2 + ["std_dev"] * 2
    np.testing.assert_allclose(table["estimate"][:2], plain.fixed_effects["estimate"])
    np.testing.assert_allclose(table["estimate"][2:], plain.variance_components["std_dev"])
    assert (table["conf_low"] < table["estimate"]).all()
    assert (table["estimate"] < table["conf_high"]).all()
    long = bootstrap.replicates
    assert len(long) == 40 * 4
    own = long[(long["group"] == "school_id")]["estimate"]
    assert table.loc[2, "bias"] == pytest.approx(own.mean() - table.loc[2, "estimate"])
    assert table.loc[2, "std_error"] == pytest.approx(own.std())
    assert table.loc[2, "percentile"] == pytest.approx((own < table.loc[2, "estimate"]).mean())
    np.testing.assert_allclose(
        table.loc[2, ["conf_low", "conf_high"]].astype(float), np.quantile(own, [0.025, 0.975])
    )
    row = bootstrap.glance().iloc[0]
    assert (row["n_refits"], row["n_refits_failed"]) == (40, 0)
    again = RefitMethods.bootstrap(plain, 40)
    pd.testing.assert_frame_equal(again.table, table)
    moved = bootstrap.augment(plain.fixed_effects)
    np.testing.assert_allclose(moved["conf_low"], table["conf_low"][:2])


def test_every_column_stands_in_the_glossary_and_results_pickle(plain, bootstrap):
    influence = RefitMethods.influence(plain, ["S03", "S11"])
    intervals = RefitMethods.variance_intervals(plain)
    tables = [
        bootstrap.tidy(),
        bootstrap.glance(),
        bootstrap.replicates,
        influence.tidy(),
        influence.glance(),
        influence.parameters,
        intervals,
    ]
    for table in tables:
        assert set(table.columns) <= set(column_names())
    for result in (bootstrap, influence):
        pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(result)).tidy(), result.tidy())
        assert result.title("ru") != result.title("en")
        assert result.summary("ru") != result.summary("en")


def test_refits_that_failed_are_counted_and_printed(plain, bootstrap):
    fitted = plain.mixed
    refits = [*_refits(plain), "column(s) 'x' are constant"]
    found = bootstrap_results(
        refits,
        terms=fitted.terms,
        components=(("school_id", "std_dev[Intercept]"), ("residual", "std_dev")),
        estimates=np.array([0.0, 0.6, 0.5, 1.0]),
        resampling="cluster",
        unit="school_id",
        level=0.9,
    )
    assert (found.n_refits, found.n_refits_failed) == (21, 1)
    assert "constant" in found.summary()
    assert found.reasons == {"column(s) 'x' are constant": 1}
    assert len(found.replicates) == 20 * 4


def _refits(va):
    from resilience.stats.refits.refits import parametric_refits

    return parametric_refits(va.cross, va.mixed, n_replicates=20)


def test_the_cluster_bootstrap_draws_the_outermost_units(plain):
    found = RefitMethods.bootstrap(plain, 20, kind="cluster", random_state=4)
    assert found.unit == "school_id"
    table = found.tidy().set_index(["group", "term"])
    # schools drawn twice make the variance between schools smaller by 1/24 on average
    spread = table.loc[("school_id", "Intercept"), "std_error"]
    assert abs(table.loc[("school_id", "Intercept"), "bias"]) < 4 * spread / np.sqrt(20) + 0.05


def test_names_of_parameters():
    assert part_of_name("std_dev[prior]") == ("prior", "std_dev")
    assert part_of_name("std_dev") == ("", "std_dev")
    assert part_of_name("correlation[a, b]") == ("a × b", "correlation")


@pytest.mark.parametrize(
    ("n", "level", "kind"), [(19, 0.95, None), (40, 1.0, None), (40, 0.9, "x")]
)
def test_bad_requests_of_a_bootstrap(plain, n, level, kind):
    with pytest.raises(rs.ResilienceError) as raised:
        RefitMethods.bootstrap(plain, n, level=level, kind=kind or "parametric")
    assert str(raised.value) != raised.value.localized("ru")


# -- intervals of variances ----------------------------------------------------------------------


def test_profile_intervals_hold_the_estimates(yearly):
    table = RefitMethods.variance_intervals(yearly)
    np.testing.assert_allclose(table["estimate"], yearly.variance_components["std_dev"], rtol=1e-7)
    assert (
        (table["conf_low"] <= table["estimate"]) & (table["estimate"] < table["conf_high"])
    ).all()
    narrow = RefitMethods.variance_intervals(yearly, level=0.5)
    assert (narrow["conf_high"] < table["conf_high"]).all()
    with_draws = RefitMethods.variance_intervals(yearly, method="bootstrap", n_replicates=20)
    assert list(with_draws["component"]) == list(table["component"])
    assert set(with_draws["interval_method"]) == {"bootstrap"}


def test_a_zero_variance_has_the_lower_end_zero():
    rng = np.random.default_rng(5)
    school = np.repeat(np.arange(12), 10)
    y = rng.normal(size=120)
    y = y - np.bincount(school, y)[school] / 10  # no differences between schools at all
    frame = pd.DataFrame({"school_id": school, "score": y, "prior_score": rng.normal(size=120)})
    with pytest.warns(rs.WeakDataWarning):
        va = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(frame)
    row = RefitMethods.variance_intervals(va).iloc[0]
    assert (row["estimate"], row["conf_low"]) == (0.0, 0.0)
    assert 0.0 < row["conf_high"] < 0.4


def test_the_profile_is_the_least_criterion_with_the_parameter_held(plain):
    """At the limits the criterion has risen by 1.96², by a search along a line."""
    criterion = natural_criterion(plain.cross, plain.mixed)
    (one,) = profile_intervals(criterion, only=[0])
    problem, m = criterion.objective, criterion.denominator
    least = problem.criterion(criterion.optimum)

    def rise(theta: float, limit: float) -> float:
        at = np.array([theta])
        own = criterion.sigma(at)
        ratio = (criterion.natural(at, own)[0] / limit) ** 2  # sigma follows from the limit
        return problem.criterion(at) - least + m * (ratio - 1.0 - np.log(ratio))

    for limit in (one.low, one.high):
        found = optimize.minimize_scalar(
            rise, args=(limit,), bounds=(0.1, 2.0), method="bounded", options={"xatol": 1e-8}
        )
        # limits are found to 1e-6 standard errors, near which the rise has a slope of about 4
        assert found.fun == pytest.approx(1.959964**2, abs=1e-4)


def test_crossed_and_nested_engines_give_the_same_intervals():
    nested = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(FRAME)
    crossed = rs.ValueAddedModel("score ~ prior_score", crossed=["school_id"]).fit(FRAME)
    one, other = RefitMethods.variance_intervals(nested), RefitMethods.variance_intervals(crossed)
    columns = ["estimate", "conf_low", "conf_high"]
    np.testing.assert_allclose(one[columns], other[columns], rtol=1e-5)
    with pytest.raises(rs.SpecificationError, match="nested"):
        RefitMethods.simulate(crossed)


def test_subjects_have_intervals_of_their_own_residuals():
    rng = np.random.default_rng(6)
    frame = pd.concat([FRAME.assign(subject=s, pupil_key=range(480)) for s in ("MA", "RU")])
    mathematics = (frame["subject"] == "MA").to_numpy()
    school = frame["school_id"].str[1:].astype(int).to_numpy()
    own = rng.normal(size=(24, 2))[school, mathematics.astype(int)]
    frame["score"] += own + np.where(mathematics, 1.0, 0.3) * rng.normal(size=len(frame))
    model = rs.ValueAddedModel(
        "score ~ prior_score + C(subject)",
        group="school_id",
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    )
    va = model.fit(frame.reset_index(drop=True))
    table = RefitMethods.variance_intervals(va, level=0.8)
    residual = table[table["group"] == "residual"]
    assert list(residual["component"]) == ["std_dev", "std_dev", "correlation"]
    assert (
        (table["conf_low"] < table["estimate"]) & (table["estimate"] <= table["conf_high"])
    ).all()
    with pytest.raises(rs.SpecificationError, match="subjects"):
        RefitMethods.bootstrap(va, 20)


def test_every_structure_is_refitted_and_drift_says_what_it_cannot():
    """AR(1) years, an unstructured covariance of years, tied terms: the estimates come back."""
    for structure, slopes in (
        (rs.Structure(drift="ar1"), None),
        (rs.Structure(drift="unstructured"), None),
        (rs.Structure(covariance={"school_id": "diagonal"}), "prior_score"),
    ):
        model = rs.ValueAddedModel(
            "score ~ prior_score",
            group="school_id",
            slopes=slopes,
            time="year",
            structure=structure,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rs.WeakDataWarning)  # singular fits are normal here
            va = model.fit(model.cross_products(FRAME, keep="groups"))
            rest = model.fit(FRAME[FRAME["school_id"] != "S05"])
        found = RefitMethods.influence(va, ["S05"])
        own = [v for level in rest.mixed.levels for v in level.parameters.values()]
        np.testing.assert_allclose(
            found.parameters["estimate_without"],
            [*rest.mixed.beta, *own, np.sqrt(rest.mixed.residual_variance)],
            atol=2e-4,
        )
        assert RefitMethods.bootstrap(va, 20).n_refits_failed == 0
        if structure.drift is not None:
            for left_out in ({"units": ["S05"]}, {"year": 2023}):
                with pytest.raises(rs.SpecificationError, match="drift"):
                    RefitMethods.leave_out(va, **left_out)


# -- simulation, influence, leaving out ----------------------------------------------------------


def test_simulations_keep_all_but_the_outcome(plain):
    first, second = RefitMethods.simulate(plain, 2, random_state=1)
    assert first.blocks is None
    np.testing.assert_array_equal(first.total[:-1, :-1], plain.cross.total[:-1, :-1])
    assert not np.allclose(first.total[:, -1], second.total[:, -1])
    np.testing.assert_array_equal(
        RefitMethods.simulate(plain, 1, random_state=1)[0].total, first.total
    )
    with pytest.raises(rs.SpecificationError):
        RefitMethods.simulate(plain, 0)


def test_influence_is_what_a_fit_to_the_other_rows_says(plain):
    found = RefitMethods.influence(plain)
    assert len(found.schools) == 24
    assert found.schools["cook_distance"].is_monotonic_decreasing
    school = found.schools.loc[0, "school_id"]
    rest = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(
        FRAME[FRAME["school_id"] != school]
    )
    own = found.parameters[found.parameters["school_id"] == school]
    # the quick search stops within some 1e-5 standard errors of its optimum
    np.testing.assert_allclose(
        own["estimate_without"][:2], rest.fixed_effects["estimate"], atol=1e-5
    )
    np.testing.assert_allclose(
        own["estimate_without"][2:], rest.variance_components["std_dev"], atol=1e-5
    )
    marked = found.augment(FRAME)
    assert len(marked) == len(FRAME)
    assert marked["cook_distance"].notna().all()
    effect = found.schools.set_index("school_id")["effect"]
    theirs = plain.school_effects.set_index("school_id")["effect"]
    np.testing.assert_allclose(effect, theirs[effect.index], atol=1e-12)


def test_leaving_schools_out_is_a_fit_to_the_other_rows(plain):
    rest = RefitMethods.leave_out(plain, units=["S03", "S07"])
    fresh = rs.ValueAddedModel("score ~ prior_score", group="school_id").fit(
        FRAME[~FRAME["school_id"].isin(["S03", "S07"])]
    )
    assert rest.criterion == pytest.approx(fresh.criterion, rel=1e-10)
    numbers = rest.school_effects.select_dtypes("number").columns.drop(["rank_low", "rank_high"])
    np.testing.assert_allclose(
        rest.school_effects[numbers], fresh.school_effects[numbers], atol=1e-5
    )
    assert list(rest.school_effects["school_id"]) == list(fresh.school_effects["school_id"])


def test_leaving_a_year_out_is_a_fit_to_the_other_years(yearly):
    rest = RefitMethods.leave_out(yearly, year=2023)
    fresh = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year").fit(
        FRAME[FRAME["year"] != 2023]
    )
    assert rest.criterion == pytest.approx(fresh.criterion, rel=1e-10)
    assert set(rest.school_years["year"]) == {2022, 2024}
    np.testing.assert_allclose(
        rest.school_effects["effect"], fresh.school_effects["effect"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (lambda va: RefitMethods.influence(va, ["S99"]), "S99"),
        (lambda va: RefitMethods.influence(va, []), "no unit"),
        (lambda va: RefitMethods.leave_out(va, units=["S01", "nowhere"]), "nowhere"),
        (lambda va: RefitMethods.leave_out(va, units=[f"S{k:02d}" for k in range(23)]), "only 1"),
        (lambda va: RefitMethods.leave_out(va, year=1999), "no years"),
        (lambda va: RefitMethods.leave_out(va), "exactly one"),
        (lambda va: RefitMethods.leave_out(va, units=["S01"], year=2023), "exactly one"),
        (lambda va: RefitMethods.variance_intervals(va, method="wald"), "wald"),
    ],
)
def test_bad_requests_are_refused_by_name(plain, request_, words):
    with pytest.raises(rs.ResilienceError, match=words) as raised:
        request_(plain)
    assert str(raised.value) != raised.value.localized("ru")


def test_an_unknown_year_is_named(yearly):
    with pytest.raises(rs.DataError, match="1999"):
        RefitMethods.leave_out(yearly, year=1999)


def test_without_the_groups_own_products_the_way_out_is_told(plain):
    bare = replace(plain, cross=replace(plain.cross, blocks=None))
    for refused in (
        lambda: RefitMethods.influence(bare, ["S01"]),
        lambda: RefitMethods.bootstrap(bare, 20, kind="cluster"),
        lambda: RefitMethods.leave_out(bare, units=["S01"]),
    ):
        with pytest.raises(rs.SpecificationError, match='keep="groups"'):
            refused()
    assert RefitMethods.bootstrap(bare, 20).n_refits_failed == 0  # outcomes need none


def test_every_school_of_a_large_region_must_be_asked_for(plain):
    n = EVERYONE_UP_TO + 1
    group = np.arange(n).repeat(2)
    cross = CrossProducts.from_arrays(
        np.ones((2 * n, 0)),
        np.arange(2.0 * n),
        columns=["y"],
        groups=[("school_id", group, ["Intercept"])],
        keep="groups",
    )
    large = replace(plain, cross=cross)
    with pytest.raises(rs.DataError, match="2000"):
        RefitMethods.influence(large)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"labels": ["S99"]}, "S99"),
        ({}, "exactly one"),
        ({"labels": ["S01"], "mask": np.ones(24, dtype=bool)}, "exactly one"),
        ({"mask": np.ones(3, dtype=bool)}, "24 expected"),
        ({"mask": np.zeros(24, dtype=bool)}, "at least one"),
        ({"multiplicities": -np.ones(24, dtype=int)}, "negative"),
    ],
)
def test_bad_choices_of_groups(plain, choice, words):
    with pytest.raises(rs.SpecificationError, match=words) as raised:
        plain.cross.subset_groups("school_id", **choice)
    assert str(raised.value) != raised.value.localized("ru")


def test_small_blocks_are_kept_at_the_innermost_level_they_fit(monkeypatch):
    outer, inner = np.arange(40) // 20, np.arange(40) // 2

    def kept_level() -> str | None:
        cross = CrossProducts.from_arrays(
            np.arange(40.0)[:, None] ** 2,
            np.arange(40.0),
            columns=["x", "y"],
            groups=[("outer", outer, ["Intercept"]), ("inner", inner, ["Intercept"])],
            keep="small",
        )
        return None if cross.blocks is None else cross.blocks.level

    each = 8 * 3 * 4 // 2  # bytes of one block of three columns
    for limit, level in ((20 * each, "inner"), (20 * each - 1, "outer"), (each, None)):
        monkeypatch.setattr("resilience.stats.products.product_levels.SMALL", limit)
        assert kept_level() == level


def test_unknown_levels(plain):
    with pytest.raises(rs.SpecificationError, match="class_id"):
        plain.cross.subset_groups("class_id", labels=["1"])
    with pytest.raises(rs.SpecificationError, match="class_id"):
        CrossProducts.from_arrays(np.ones((2, 0)), np.arange(2.0), columns=["y"], keep="class_id")
