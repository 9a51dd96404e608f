"""A joint model of several subjects: what its results hold."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import SpecificationError, WeakDataWarning
from resilience.value_added.effects.subjects import (
    composite_effects,
    subject_covariance,
    subject_effects,
)
from resilience.value_added.intake.preparation import composition_mean

SUBJECTS = ["maths", "reading", "science"]
EFFECTS = np.array([[0.30, 0.10, 0.05], [0.10, 0.25, 0.04], [0.05, 0.04, 0.35]])
TIES = np.array([[0.8, 0.3, 0.2], [0.3, 0.6, 0.2], [0.2, 0.2, 1.1]])
FORMULA = "score ~ C(subject) * prior_score"


def region(
    seed: int = 1,
    *,
    n_schools: int = 40,
    n_pupils: int = 16,
    years: tuple[int, ...] = (),
    sat: float = 0.85,
) -> pd.DataFrame:
    """One row per pupil and subject; pupils sit a random subset of the subjects."""
    rng = np.random.default_rng(seed)
    lasting = rng.multivariate_normal(np.zeros(3), EFFECTS, size=n_schools)
    frames = []
    for year in years or (2024,):
        passing = rng.multivariate_normal(np.zeros(3), 0.3 * EFFECTS, size=n_schools)
        school = np.repeat(np.arange(n_schools), n_pupils)
        prior = rng.normal(size=(len(school), 3))
        errors = rng.multivariate_normal(np.zeros(3), TIES, size=len(school))
        score = 0.5 * prior + lasting[school] + (passing[school] if years else 0.0) + errors
        pupil, subject = (a.ravel() for a in np.indices(score.shape))
        keep = rng.uniform(size=score.size) < sat
        frames.append(
            pd.DataFrame(
                {
                    "pupil_key": [f"P{k:05d}" for k in pupil[keep]],
                    "school_id": [f"S{k:02d}" for k in school[pupil[keep]]],
                    "municipality_id": [f"M{k % 5}" for k in school[pupil[keep]]],
                    "year": year,
                    "subject": np.array(SUBJECTS)[subject[keep]],
                    "prior_score": prior.ravel()[keep],
                    "score": score.ravel()[keep],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def fitted(data, formula=FORMULA, *, group="school_id", time=None, method="reml", **structure):
    given = {"outcome_group": "subject", "unit": "pupil_key", **structure}
    model = rs.ValueAddedModel(formula, group=group, time=time, structure=rs.Structure(**given))
    return model.fit(data, method=method)


@pytest.fixture(scope="module")
def data():
    return region()


@pytest.fixture(scope="module")
def joint(data):
    return fitted(data)


def test_the_school_effect_is_the_mean_of_its_subjects(joint):
    effects = joint.school_effects.set_index("school_id")
    by_subject = subject_effects(joint)
    means = by_subject.groupby("school_id")["effect"].mean()
    assert effects["effect"].to_numpy() == pytest.approx(means[effects.index].to_numpy())
    composite = composite_effects(joint).set_index("school_id")
    for column in ("effect", "std_error", "conditional_sd", "reliability", "conf_low"):
        assert composite[column].to_numpy() == pytest.approx(effects[column].to_numpy())


def test_the_error_of_the_mean_comes_from_the_joint_posterior(joint):
    level = joint.mixed.levels[0]
    w = np.full(3, 1 / 3)
    variance = np.einsum("gab,a,b->g", level.prediction, w, w)
    assert joint.school_effects["std_error"].to_numpy() ** 2 == pytest.approx(variance)
    posterior = np.einsum("gab,a,b->g", level.conditional, w, w)
    trust = 1 - posterior / (w @ level.covariance @ w)
    assert joint.school_effects["reliability"].to_numpy() == pytest.approx(trust)
    # the same model of one composite per pupil would not know the errors better than its parts
    apart = subject_effects(joint).groupby("school_id")["std_error"].mean()
    assert (joint.school_effects["std_error"].to_numpy() < apart.to_numpy()).all()


def test_one_subject_weighs_all(joint):
    alone = composite_effects(joint, {"reading": 1.0})
    table = subject_effects(joint)
    reading = table[table["subject"] == "reading"].reset_index(drop=True)
    for column in ("school_id", "effect", "std_error", "conditional_sd", "reliability"):
        assert alone[column].tolist() == reading[column].tolist()


def test_levels_of_the_intervals_widen_them(joint):
    usual, wide = subject_effects(joint), subject_effects(joint, level=0.99)
    z95, z99 = 1.959963984540054, 2.5758293035489004  # normal quantiles
    width = (wide["conf_high"] - wide["conf_low"]) / (usual["conf_high"] - usual["conf_low"])
    assert width.to_numpy() == pytest.approx(z99 / z95)


def test_a_school_without_a_subject_gets_it_from_the_others(data):
    cut = data[~((data["school_id"] == "S03") & (data["subject"] == "science"))]
    table = subject_effects(fitted(cut)).set_index(["school_id", "subject"])
    row = table.loc[("S03", "science")]
    assert row["n_pupils"] == 0
    assert 0 < row["reliability"] < table.loc[("S03", "maths"), "reliability"]
    others = table.xs("science", level="subject").drop(index="S03")
    assert row["std_error"] > others["std_error"].max()


def test_pupils_are_counted_once_and_results_by_subject(data, joint):
    n = data.groupby("school_id")["pupil_key"].nunique()
    effects = joint.school_effects.set_index("school_id")
    assert effects["n_pupils"].to_dict() == n.to_dict()
    counts = data.groupby(["school_id", "subject"]).size()
    table = subject_effects(joint).set_index(["school_id", "subject"])["n_pupils"]
    assert table[table > 0].sort_index().to_dict() == counts.to_dict()
    unlinked = fitted(data, unit=None).school_effects.set_index("school_id")["n_pupils"]
    largest = counts.groupby("school_id").max()
    assert unlinked.to_dict() == largest.to_dict()


def test_the_covariances_of_schools_and_of_residuals_stand_in_one_table(joint):
    table = subject_covariance(joint).set_index(["group", "subject", "other_subject"])
    own = joint.mixed.levels[0].covariance
    assert table.loc[("school_id", "maths", "science"), "covariance"] == pytest.approx(own[0, 2])
    residual = joint.mixed.residual_covariance
    tie = residual[0, 1] / np.sqrt(residual[0, 0] * residual[1, 1])
    row = table.loc[("residual", "maths", "reading")]
    assert row["subject_correlation"] == pytest.approx(tie)
    assert len(table) == 12
    components = joint.variance_components.set_index(["group", "term"])
    seen = components.loc[("residual", "subject=reading"), "variance"]
    assert seen == pytest.approx(residual[1, 1])
    assert components.loc[("residual", "subject=reading"), "correlation"] == pytest.approx(tie)


def test_unlinked_residuals_have_no_correlation(data):
    va = fitted(data, unit=None)
    table = subject_covariance(va)
    assert (table["group"] == "residual").sum() == 3
    residual = va.variance_components[va.variance_components["group"] == "residual"]
    assert residual["correlation"].isna().all()


def test_school_years_hold_the_mean_residual_of_every_subject(data, joint):
    rows = joint.school_years.set_index(["school_id", "subject"])
    beta = joint.fixed_effects.set_index("term")["estimate"]
    own = data[(data["school_id"] == "S05") & (data["subject"] == "science")]
    slope = beta["prior_score"] + beta["C(subject)[T.science]:prior_score"]
    expected = beta["Intercept"] + beta["C(subject)[T.science]"] + slope * own["prior_score"]
    row = rows.loc[("S05", "science")]
    assert row["residual"] == pytest.approx((own["score"] - expected).mean())
    assert row["n_pupils"] == len(own)
    variance = joint.mixed.residual_covariance[2, 2] / len(own)
    assert row["sampling_variance"] == pytest.approx(variance)
    # year_design goes with these rows
    assert joint.year_design.shape == (len(joint.school_years), len(beta))
    means = pd.Series(joint.year_design @ beta.to_numpy(), index=rows.index)
    assert means[("S05", "science")] == pytest.approx(expected.mean())


def test_observed_and_expected_means_are_plain_means_of_all_results(data, joint):
    effects = joint.school_effects.set_index("school_id")
    plain = data.groupby("school_id")["score"].mean()
    assert effects["observed_mean"].to_numpy() == pytest.approx(plain[effects.index].to_numpy())


def test_with_years_cells_have_effects_by_subject_too():
    data = region(2, n_schools=30, years=(2022, 2023, 2024))
    va = fitted(data, time="year")
    cells = va.mixed.levels[-1]
    assert cells.name == "school_id:year"
    assert cells.terms == ("subject=maths", "subject=reading", "subject=science")
    assert set(va.school_years.columns) >= {"school_id", "year", "subject"}
    assert (va.school_effects["n_years"] == 3).all()
    assert va.variances["transient"] > 0
    common = fitted(data, time="year", outcome_group={"school_id": "subject"})
    assert common.mixed.levels[-1].terms == ("Intercept",)
    assert common.criterion >= va.criterion - 1e-6  # one effect for all is the smaller model
    rows = common.school_years
    assert rows["n_pupils"].sum() == len(data)
    assert rows.groupby(["school_id", "year", "subject"]).size().max() == 1


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_outer_levels_have_one_effect_or_one_per_subject(data):
    groups = ["municipality_id", "school_id"]
    one = fitted(data, group=groups)
    assert one.mixed.levels[0].terms == ("Intercept",)
    assert list(one.outer_effects["group"].unique()) == ["municipality_id"]
    each = fitted(
        data, group=groups, outcome_group={"municipality_id": "subject", "school_id": "subject"}
    )
    assert len(each.mixed.levels[0].terms) == 3
    assert each.criterion <= one.criterion + 1e-6
    assert len(each.outer_effects) == 5
    assert (subject_covariance(each)["group"] == "municipality_id").sum() == 6


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_slopes_are_read_at_the_average_pupil_of_each_subject(data):
    shifted = data.assign(prior_score=data["prior_score"] + 3.0)
    model = rs.ValueAddedModel(
        FORMULA,
        group="school_id",
        slopes="prior_score",
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    )
    va, moved = model.fit(data), model.fit(shifted)
    assert list(va.school_slopes["term"].unique()) == ["prior_score"]
    one, other = subject_effects(va), subject_effects(moved)
    # another zero of the prior is another parameterisation of the same model
    assert moved.criterion == pytest.approx(va.criterion, rel=1e-9)
    assert other["effect"].to_numpy() == pytest.approx(one["effect"].to_numpy(), abs=1e-5)
    assert other["std_error"].to_numpy() == pytest.approx(one["std_error"].to_numpy(), rel=1e-4)


def test_formulas_of_one_model_in_two_words_agree(data, joint):
    other = fitted(data, "score ~ 0 + C(subject) + C(subject):prior_score", method="ml")
    same = fitted(data, method="ml")
    assert other.criterion == pytest.approx(same.criterion, rel=1e-9)
    assert joint.method == "reml"


def test_weights_of_two_are_rows_twice_up_to_the_constant(data):
    va = fitted(data.assign(w=2.0), weights="w", unit=None)
    plain = fitted(data, unit=None)
    # weights of two double the residual variance of a unit weight and nothing else
    assert va.variances["persistent"] == pytest.approx(plain.variances["persistent"], rel=1e-5)
    assert va.variances["residual"] == pytest.approx(2 * plain.variances["residual"], rel=1e-6)


def test_whitened_cross_products_are_an_ordinary_model_of_the_same_criterion(joint):
    from resilience.stats.mixed import mixed_criterion

    covariances = [v.covariance / joint.mixed.residual_variance for v in joint.mixed.levels]
    again = mixed_criterion(joint.cross, covariances, fixed=joint.mixed.terms)
    assert again == pytest.approx(joint.criterion, rel=1e-10)


def test_augment_reads_the_school_in_the_subject_of_the_row(data, joint):
    table = joint.augment(data)
    assert len(table) == len(data)
    effects = subject_effects(joint).set_index(["school_id", "subject"])["effect"]
    keys = pd.MultiIndex.from_frame(data[["school_id", "subject"]])
    gap = (table["fitted_with_effects"] - table["fitted"]).to_numpy()
    assert gap == pytest.approx(effects[keys].to_numpy())
    assert (table["fitted_with_effects"] + table["pupil_residual"]).to_numpy() == pytest.approx(
        data["score"].to_numpy()
    )
    new = data.head(3).assign(school_id="S99")
    with pytest.warns(rs.WeakDataWarning, match="none of the schools"):
        rows = joint.augment(new)
    assert rows["fitted_with_effects"].tolist() == rows["fitted"].tolist()


def test_predictions_know_the_errors_of_the_row_s_subject(data, joint):
    rows = data.iloc[[5, 200]]
    table = joint.predict(rows, effects="schools", interval=0.95)
    school, C = joint.mixed.levels[0], joint.mixed.beta_covariance
    for k, (_, row) in enumerate(rows.iterrows()):
        own = np.array([1.0 * (row["subject"] == s) for s in ("reading", "science")])
        x = np.concatenate([[1.0], own, [row["prior_score"]], own * row["prior_score"]])
        at, s = list(school.labels).index(row["school_id"]), SUBJECTS.index(row["subject"])
        # the mode moves by minus its leverage when the coefficients move
        rest = x - school.leverage[at, s]
        variance = rest @ C @ rest + school.conditional[at, s, s]
        assert table["std_error"].iloc[k] ** 2 == pytest.approx(variance)
        whole = (table["pupil_high"] - table["pupil_low"]).iloc[k] / (2 * 1.959963984540054)
        assert whole**2 == pytest.approx(variance + joint.mixed.residual_covariance[s, s])


def test_effects_of_all_units_stand_in_one_table(joint):
    table = joint.random_effects.set_index(["unit_id", "term"])
    effects = subject_effects(joint).set_index(["school_id", "subject"])
    seen = table.loc[("S07", "subject=science")]
    for ours, theirs in (("estimate", "effect"), ("std_error", "std_error")):
        assert seen[ours] == pytest.approx(effects.loc[("S07", "science"), theirs])


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_summary_says_what_it_is(joint, lang):
    words = {"en": "several subjects", "ru": "по нескольким предметам"}
    assert words[lang] in joint.summary(lang=lang)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_augment_adds_outer_levels_and_slopes(data):
    groups = ["municipality_id", "school_id"]
    model = rs.ValueAddedModel(
        FORMULA,
        group=groups,
        slopes="prior_score",
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    )
    va = model.fit(data)
    row = data.iloc[[7]]
    one = va.augment(row).iloc[0]
    town, school = va.mixed.levels
    at = list(school.labels).index(row["school_id"].iloc[0])
    s = SUBJECTS.index(row["subject"].iloc[0])
    expected = town.modes[list(town.labels).index(row["municipality_id"].iloc[0]), 0]
    expected += school.modes[at, s] + school.modes[at, 3] * row["prior_score"].iloc[0]
    assert one["fitted_with_effects"] - one["fitted"] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
@pytest.mark.parametrize("how", ["latent", "mean", "leave_one_out"])
def test_composition_is_formed_within_each_subject(data, how):
    # one value per pupil, the same in all of the pupil's rows, more alike within schools
    rng = np.random.default_rng(5)
    key = data["pupil_key"].astype("category").cat.codes.to_numpy()
    school = data["school_id"].astype("category").cat.codes.to_numpy()
    ses = rng.normal(size=key.max() + 1)[key] + rng.normal(size=school.max() + 1)[school]
    table = data.assign(ses=ses)
    model = rs.ValueAddedModel(
        "score ~ C(subject) * prior_score + ses",
        group="school_id",
        intake=rs.Intake(composition={"ses": how}),
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    )
    va = model.fit(table)
    assert "ses_mean" in set(va.fixed_effects["term"])
    seen = va.augment(table)["ses_mean"]
    for subject in SUBJECTS:
        own = table[table["subject"] == subject]
        alone = composition_mean(own, "ses", ["school_id"], how=how)
        assert seen[own.index].to_numpy() == pytest.approx(alone.to_numpy())


def test_priors_measured_with_error_are_refused(data):
    model = rs.ValueAddedModel(
        FORMULA,
        group="school_id",
        intake=rs.Intake(prior_reliability=0.8),
        structure=rs.Structure(outcome_group="subject"),
    )
    with pytest.raises(SpecificationError, match="prior_reliability"):
        model.fit(data)


def test_every_pair_of_subjects_has_its_correlation_among_the_variances(joint):
    table = joint.variance_components.set_index(["group", "term"])["correlation"]
    pairs = subject_covariance(joint).set_index(["group", "subject", "other_subject"])
    for group in ("school_id", "residual"):
        seen = table[(group, "subject=reading × subject=science")]
        assert seen == pytest.approx(
            pairs.loc[(group, "reading", "science"), "subject_correlation"]
        )


def test_results_travel(joint):
    again = pickle.loads(pickle.dumps(joint))
    pd.testing.assert_frame_equal(again.school_effects, joint.school_effects)
    pd.testing.assert_frame_equal(subject_effects(again), subject_effects(joint))


def test_rows_in_any_order_give_the_same_fit(data, joint):
    mixed = data.sample(frac=1.0, random_state=3)
    other = fitted(mixed)
    assert other.criterion == pytest.approx(joint.criterion, rel=1e-11)
    assert other.school_effects["effect"].to_numpy() == pytest.approx(
        joint.school_effects["effect"].to_numpy(), abs=1e-6
    )


def test_subjects_named_by_numbers_or_categories_are_legal(data):
    codes = data.assign(subject=data["subject"].map({"maths": 1, "reading": 2, "science": 3}))
    va = fitted(codes)
    assert va.mixed.subjects == (1, 2, 3)
    assert composite_effects(va, {1: 0.5, 2: 0.5})["effect"].notna().all()
    kinds = fitted(data.assign(subject=data["subject"].astype("category")))
    assert kinds.mixed.subjects == ("maths", "reading", "science")


def test_unequal_means_without_a_term_are_told(data):
    apart = data.assign(score=data["score"] + 2.0 * (data["subject"] == "maths"))
    with pytest.warns(WeakDataWarning, match=r"C\(subject\)"):
        fitted(apart, "score ~ prior_score")
    fitted(apart)  # the formula says it: no warning


def test_every_column_has_its_glossary_entry(joint):
    from resilience.columns import column

    for table in (subject_effects(joint), composite_effects(joint), subject_covariance(joint)):
        for name in table.columns:
            assert column(name).label("ru")


def test_profiles_of_the_likelihood_hold_their_estimates():
    va = fitted(region(4, n_schools=30)[lambda d: d["subject"] != "science"])
    table = va.variance_intervals().set_index(["group", "component", "term"])
    assert (table["conf_low"] < table["estimate"]).all()
    assert (table["estimate"] < table["conf_high"]).all()
    spread = np.sqrt(np.diag(va.mixed.residual_covariance))
    residual = table.loc["residual"].reset_index()
    assert residual.loc[residual["component"] == "std_dev", "estimate"].tolist() == pytest.approx(
        spread.tolist()
    )
