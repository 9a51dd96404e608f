"""Likelihood-ratio tests: published numbers, the mixture at zero variance, nested or refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.columns import column_names
from resilience.value_added.pupils.model_tests import anova, n_parameters

FORMULA = "normexam ~ standLRT + sex + type"


@pytest.fixture(scope="module")
def exam():
    return rs.load_dataset("london_exam").pupils


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    n, J = 600, 30
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    prior = rng.normal(size=n)
    u = 0.4 * rng.normal(size=(J, 3))
    year = rng.integers(2021, 2024, size=n)
    return pd.DataFrame(
        {
            "municipality_id": [f"M{k % 10}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "ses": rng.normal(size=n),
            "score": prior * (0.5 + u[school, 1]) + u[school, 0] + rng.normal(size=n),
        }
    )


def fit(formula, frame, method="ml", **model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # zero variances are the subject here
        return rs.ValueAddedModel(formula, **{"group": "school_id", **model}).fit(
            frame, method=method
        )


def test_published_likelihood_ratio_of_the_london_slopes(exam):
    """Vignette 'Examples from Multilevel Software Comparative Reviews' of mlmRev: 44.327 on 2 df.

    It is the difference of the ML deviances 9325.5 and 9281.1; by REML the same models give 44.811.
    """
    plain = fit(FORMULA, exam)
    slopes = fit(FORMULA, exam, slopes="standLRT")
    table = anova(slopes, plain).table
    assert list(table["n_parameters"]) == [6, 8]
    assert table["criterion_value"].iloc[0] == pytest.approx(9325.5, abs=0.05)
    assert table["criterion_value"].iloc[1] == pytest.approx(9281.1, abs=0.05)
    assert table["likelihood_ratio"].iloc[1] == pytest.approx(44.327, abs=0.0005)
    assert table["df"].iloc[1] == 2
    expected = 0.5 * stats.chi2.sf(44.327216, 1) + 0.5 * stats.chi2.sf(44.327216, 2)
    assert table["p_value"].iloc[1] == pytest.approx(expected, rel=1e-5)
    assert "½χ²(1) + ½χ²(2)" in table["basis"].iloc[1]
    reml = anova(fit(FORMULA, exam, "reml"), fit(FORMULA, exam, "reml", slopes="standLRT")).table
    assert reml["likelihood_ratio"].iloc[1] == pytest.approx(9345.384 - 9300.573, abs=0.001)


def test_a_variance_alone_is_half_a_point_mass(frame):
    small, large = fit("score ~ prior_score", frame), fit("score ~ prior_score", frame, time="year")
    row = anova(small, large).table.iloc[1]
    assert row["df"] == 1
    statistic = max(row["likelihood_ratio"], 0.0)
    assert row["p_value_plain"] == pytest.approx(stats.chi2.sf(statistic, 1), rel=1e-9)
    half = 0.5 * row["p_value_plain"] + (0.5 if row["likelihood_ratio"] <= 0 else 0.0)
    assert row["p_value"] == pytest.approx(half, rel=1e-9)


def test_fixed_terms_alone_have_the_plain_chi_square(frame):
    row = anova(fit("score ~ prior_score", frame), fit("score ~ prior_score + ses", frame)).table
    assert row["p_value"].iloc[1] == row["p_value_plain"].iloc[1]
    assert row["df"].iloc[1] == 1
    assert row["basis"].iloc[1].ru.startswith("χ²")


def test_a_variance_with_a_fixed_term_counts_both(frame):
    small = fit("score ~ prior_score", frame)
    large = fit("score ~ prior_score + ses", frame, slopes="prior_score")
    row = anova(small, large).table.iloc[1]
    assert row["df"] == 3
    assert "χ²(2) + ½χ²(3)" in row["basis"]


def test_several_variances_have_an_upper_limit(frame):
    small = fit("score ~ prior_score", frame)
    large = fit("score ~ prior_score", frame, group=["municipality_id", "school_id"], time="year")
    row = anova(small, large).table.iloc[1]
    assert row["df"] == 2
    assert row["p_value"] == row["p_value_plain"]
    assert "upper limit" in row["basis"]


def test_a_structure_set_free(frame):
    tied = rs.Structure(covariance={"school_id": "diagonal"})
    small = fit("score ~ prior_score", frame, slopes="prior_score", structure=tied)
    large = fit("score ~ prior_score", frame, slopes="prior_score")
    row = anova(small, large).table.iloc[1]
    assert row["df"] == 1
    assert row["p_value"] == row["p_value_plain"]


def test_independent_years_lie_inside_fading_ones(frame):
    small = fit("score ~ prior_score", frame, time="year")
    large = fit("score ~ prior_score", frame, time="year", structure=rs.Structure(drift="ar1"))
    table = anova(small, large).table
    assert table["df"].iloc[1] == 1
    assert table["p_value"].iloc[1] == table["p_value_plain"].iloc[1]


def test_years_of_any_covariance_hold_fading_independent_and_lasting_ones(frame):
    """T = 3: 6 variances and covariances hold τ² + σ²ρ^|t−s|, τ² + σ² and τ²."""
    years = rs.Structure(drift="unstructured")
    wide = fit("score ~ prior_score", frame, time="year", structure=years)
    fading = fit("score ~ prior_score", frame, time="year", structure=rs.Structure(drift="ar1"))
    apart = fit("score ~ prior_score", frame, time="year")
    lasting = fit("score ~ prior_score", frame)
    for small, df in ((fading, 3), (apart, 4)):
        row = anova(small, wide).table.iloc[1]
        assert row["df"] == df
        assert row["likelihood_ratio"] > -1e-6  # nested indeed
        assert row["p_value"] == row["p_value_plain"]
        assert "no parameter lies on the edge" in row["basis"]
    row = anova(lasting, wide).table.iloc[1]
    assert row["df"] == 5
    assert row["likelihood_ratio"] > -1e-6
    assert "upper limit of p: 2 variances" in row["basis"]
    two = frame[frame["year"] < 2023]
    row = anova(
        fit("score ~ prior_score", two),
        fit("score ~ prior_score", two, time="year", structure=years),
    ).table.iloc[1]
    assert "½χ²(1) + ½χ²(2)" in row["basis"]  # one variance and its covariance
    whole = anova(wide, lasting, fading, apart).table  # a chain from the smallest to the widest
    assert whole["df"].tolist()[1:] == [1, 1, 3]
    # slopes stand beside the years
    both = fit("score ~ prior_score", frame, slopes="prior_score", time="year")
    free = fit("score ~ prior_score", frame, slopes="prior_score", time="year", structure=years)
    assert anova(both, free).table["df"].iloc[1] == 10 - 4
    with pytest.raises(rs.SpecificationError, match="not nested"):
        anova(both, wide)


def test_fading_years_added_at_once_have_no_known_distribution(frame):
    fading = fit("score ~ prior_score", frame, time="year", structure=rs.Structure(drift="ar1"))
    row = anova(fit("score ~ prior_score", frame), fading).table.iloc[1]
    assert row["p_value"] == row["p_value_plain"]
    assert "no distribution is known" in row["basis"]
    assert "распределение неизвестно" in row["basis"].localized("ru")


def test_structures_of_the_same_effects_widen_step_by_step(frame):
    def of(name):
        tied = rs.Structure(covariance={"school_id": name})
        return fit("score ~ prior_score", frame, slopes="prior_score", structure=tied)

    fits = {n: of(n) for n in ("identity", "compound_symmetry", "diagonal", "unstructured")}
    for small, large in (
        ("identity", "compound_symmetry"),
        ("identity", "diagonal"),
        ("compound_symmetry", "unstructured"),
        ("diagonal", "unstructured"),
        ("identity", "unstructured"),
    ):
        row = anova(fits[small], fits[large]).table.iloc[1]
        assert row["likelihood_ratio"] > -1e-6
        assert row["p_value"] == row["p_value_plain"]
    with pytest.raises(rs.SpecificationError, match="as many parameters"):
        anova(fits["diagonal"], fits["compound_symmetry"])
    alone = fit("score ~ prior_score", frame, structure=rs.Structure())
    with pytest.raises(rs.SpecificationError, match="no special case"):
        anova(alone, fits["compound_symmetry"])


def test_three_models_at_once_and_the_tables(frame):
    one = fit("score ~ 1", frame)
    two = fit("score ~ prior_score", frame)
    three = fit("score ~ prior_score", frame, slopes="prior_score")
    result = anova(three, one, two)
    table = result.tidy()
    assert list(table["n_parameters"]) == [n_parameters(v) for v in (one, two, three)] == [3, 4, 6]
    assert table["likelihood_ratio"].isna().tolist() == [True, False, False]
    np.testing.assert_allclose(table["aic"], table["criterion_value"] + 2 * table["n_parameters"])
    np.testing.assert_allclose(
        table["bic"], table["criterion_value"] + np.log(600) * table["n_parameters"]
    )
    assert set(table) | set(result.glance()) <= set(column_names())
    assert len(result.glance()) == 1
    assert "χ²" in result.summary("ru")
    pd.testing.assert_frame_equal(result.augment(frame), three.augment(frame))


def test_parameters_of_joint_subjects(frame):
    both = pd.concat(
        [
            frame.assign(subject=s, pupil_key=range(len(frame)), score=k * frame["score"])
            for s, k in (("MA", 1.0), ("RU", 0.5))
        ]
    )
    both["score"] += np.sin(np.arange(len(both)) ** 2)
    alone = fit("score ~ C(subject)", both, structure=rs.Structure(outcome_group="subject"))
    linked = fit(
        "score ~ C(subject)",
        both,
        structure=rs.Structure(outcome_group="subject", unit="pupil_key"),
    )
    # 2 coefficients, 3 of the schools, 2 residual variances, with the key their correlation too
    assert n_parameters(alone) == 7
    assert n_parameters(linked) == 8
    row = anova(alone, linked).table.iloc[1]
    assert row["df"] == 1
    assert row["p_value"] == row["p_value_plain"]
