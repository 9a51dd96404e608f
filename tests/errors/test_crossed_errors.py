"""What crossed factors and memberships refuse: culprit, rule, value seen, way out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.errors import DataError, SpecificationError
from resilience.stats.crossed.crossed_fit import fit_crossed
from resilience.stats.crossed.crossed_products import CrossedFactor, CrossedProducts
from resilience.stats.crossed.crossed_sparse import check_memory
from resilience.stats.prediction.prediction_errors import EffectErrors
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.model import ValueAddedModel

WIDE = Membership(unit=["school_1", "school_2"], weight=["share_1", "share_2"])
LONG = Membership(unit="school_id", weight="share")
KEY = Structure(unit="pupil_key")
FORMULA = "score ~ prior_score"


@pytest.fixture
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 240
    return pd.DataFrame(
        {
            "pupil_key": np.arange(n),
            "year": rng.integers(2021, 2023, n),
            "primary_id": [f"P{k}" for k in rng.integers(0, 12, n)],
            "school_1": [f"S{k}" for k in rng.integers(0, 10, n)],
            "school_2": [f"S{k}" for k in rng.integers(0, 10, n)],
            "share_1": 0.75,
            "share_2": 0.25,
            "prior_score": rng.normal(size=n),
            "score": rng.normal(size=n),
        }
    )


@pytest.fixture
def long(pupils) -> pd.DataFrame:
    pieces = [
        pupils.assign(school_id=pupils[f"school_{k}"], share=pupils[f"share_{k}"]) for k in (1, 2)
    ]
    return pd.concat(pieces, ignore_index=True).drop(columns=["share_1", "share_2"])


def refused(error, model, data, *words):
    """Check that the fit is refused with these words, and in Russian too."""
    with pytest.raises(error) as caught:
        model.fit(data)
    for word in words:
        assert word in str(caught.value)
    russian = caught.value.args[0].ru
    assert russian != str(caught.value)


def test_a_list_is_no_membership():
    with pytest.raises(SpecificationError, match=r"list.*Membership\(unit="):
        ValueAddedModel(FORMULA, members=["school_1", "school_2"])


@pytest.mark.parametrize(
    ("unit", "weight", "word"),
    [
        (["a", "b"], ["w"], "as many columns"),
        ("a", ["w"], "as many columns"),
        ([], [], "as many columns"),
        (["a", "b"], ["w", "w"], "'w' stands twice"),
        (["a", "w"], ["w", "v"], "'w' stands twice"),
    ],
)
def test_a_membership_has_a_share_per_unit(unit, weight, word):
    with pytest.raises(SpecificationError, match=word):
        Membership(unit=unit, weight=weight)


def test_shares_sum_to_one(pupils):
    pupils.loc[pupils.index[:3], "share_1"] = [0.5, 0.6, 0.7]
    words = ("'share_1', 'share_2'", "3 pupil(s)", "sum to 1", "0.75", "divide")
    refused(DataError, ValueAddedModel(FORMULA, members=WIDE), pupils, *words)
    # printed with six digits a third is near enough
    pupils["share_1"], pupils["share_2"] = 0.333333, 0.666667
    assert ValueAddedModel(FORMULA, members=WIDE).fit(pupils).n_pupils == 240


def test_a_missing_row_of_a_long_table_shows_in_the_sum(long):
    model = ValueAddedModel(FORMULA, members=LONG, structure=KEY)
    refused(DataError, model, long.drop(index=300), "'share'", "1 pupil(s)", "0.75", "missing rows")


@pytest.mark.parametrize("value", [-0.25, np.nan, np.inf])
def test_shares_are_numbers_of_at_least_zero(pupils, value):
    pupils.loc[7, "share_2"] = value
    words = ("'share_2'", "1 value(s)", f"{value:.6g}", "0")
    refused(DataError, ValueAddedModel(FORMULA, members=WIDE), pupils, *words)


def test_a_unit_stands_where_its_share_is_positive(pupils):
    pupils.loc[[1, 2], "school_2"] = None
    words = ("'school_2'", "2 row(s)", "set its share to 0")
    refused(DataError, ValueAddedModel(FORMULA, members=WIDE), pupils, *words)


def test_a_long_table_needs_the_pupil_key(long):
    model = ValueAddedModel(FORMULA, members=LONG)
    refused(SpecificationError, model, long, "'school_id'", "Structure(unit=...)")


@pytest.mark.parametrize("column", ["score", "prior_score", "primary_id"])
def test_rows_of_one_pupil_agree(long, column):
    long.loc[[240, 241], column] = "P99" if column == "primary_id" else 77.0
    model = ValueAddedModel(FORMULA, members=LONG, crossed=["primary_id"], structure=KEY)
    with pytest.raises(DataError) as caught:
        model.fit(long)
    assert f"'{column}'" in str(caught.value)
    assert "2 key(s) pupil_key" in str(caught.value)
    assert "240" not in str(caught.value)  # no pupil is named


def test_columns_exist(pupils):
    model = ValueAddedModel(FORMULA, members=Membership(["school_1", "shcool_2"], ["share_1", "w"]))
    refused(DataError, model, pupils, "shcool_2", "school_2")
    refused(
        DataError, ValueAddedModel(FORMULA, crossed=["primary"]), pupils, "primary", "primary_id"
    )


def test_shares_are_numeric(pupils):
    model = ValueAddedModel(FORMULA, members=WIDE)
    refused(DataError, model, pupils.assign(share_1="all"), "share_1")


def test_a_membership_has_two_units(pupils):
    data = pupils.assign(school_1="S1", school_2="S1")
    refused(DataError, ValueAddedModel(FORMULA, members=WIDE), data, "'school'", "1 unit(s)")


@pytest.mark.parametrize(
    "arguments",
    [
        {"crossed": ["primary_id", "primary_id"]},
        {"crossed": ["primary_id"], "group": "primary_id"},
        {"crossed": ["primary_id", "year"], "time": "year"},
        {"crossed": ["primary_id"], "members": Membership("x", "w", name="primary_id")},
    ],
)
def test_every_factor_has_a_column_of_its_own(pupils, arguments):
    refused(SpecificationError, ValueAddedModel(FORMULA, **arguments), pupils, "stands twice")


def test_units_have_more_than_one_row(pupils):
    model = ValueAddedModel(FORMULA, crossed=["pupil_key", "primary_id"])
    refused(DataError, model, pupils, "'pupil_key'", "240 units", "coarser")


def test_factors_are_not_one_another_under_two_names(pupils):
    data = pupils.assign(code=pupils["primary_id"].str.lower())
    model = ValueAddedModel(FORMULA, group="primary_id", crossed=["code"])
    refused(DataError, model, data, "'code'", "'primary_id'", "12", "drop one")


def test_a_crossed_factor_has_two_units(pupils):
    model = ValueAddedModel(FORMULA, crossed=["one", "primary_id"])
    refused(DataError, model, pupils.assign(one="A"), "'one'", "1 group(s)")


def test_a_crossed_column_has_no_gaps(pupils):
    pupils.loc[[3, 4], "primary_id"] = None
    model = ValueAddedModel(FORMULA, crossed=["primary_id", "school_1"])
    refused(DataError, model, pupils, "'primary_id': 2")


def test_slopes_and_covariances_name_factors(pupils):
    model = ValueAddedModel(
        FORMULA, crossed=["primary_id", "school_1"], slopes={"school": ["prior_score"]}
    )
    refused(SpecificationError, model, pupils, "'school'", "primary_id, school_1")
    model = ValueAddedModel(
        FORMULA,
        crossed=["primary_id", "school_1"],
        structure=Structure(covariance={"school": "diagonal"}),
    )
    refused(SpecificationError, model, pupils, "Structure.covariance", "'school'")
    model = ValueAddedModel(FORMULA, crossed=["primary_id", "school_1"], slopes="ses")
    refused(SpecificationError, model, pupils, "ses", "prior_score")


def test_what_nested_models_alone_can_is_refused(pupils):
    model = ValueAddedModel(
        FORMULA, crossed=["primary_id"], structure=Structure(outcome_group="year")
    )
    refused(SpecificationError, model, pupils, "Structure.outcome_group", "group=")
    model = ValueAddedModel(
        FORMULA, crossed=["primary_id"], time="year", structure=Structure(drift="ar1")
    )
    refused(SpecificationError, model, pupils, "Structure.drift")
    with pytest.raises(SpecificationError, match="crossed is set"):
        _ = ValueAddedModel(FORMULA, crossed=["primary_id"]).groups


def test_composition_needs_one_school(pupils):
    model = ValueAddedModel(
        FORMULA, members=WIDE, intake=Intake(composition={"prior_score": "mean"})
    )
    refused(SpecificationError, model, pupils, "'prior_score'", "school")


def test_keys_do_not_repeat(pupils):
    data = pupils.assign(pupil_key=pupils["pupil_key"] // 2)
    model = ValueAddedModel(FORMULA, crossed=["primary_id", "school_1"], structure=KEY)
    refused(DataError, model, data, "pupil_key")


def test_something_else_than_a_table(pupils):
    refused(SpecificationError, ValueAddedModel(FORMULA, crossed=["primary_id"]), None, "NoneType")


def made(n_units: int, n: int = 4000) -> CrossedProducts:
    rng = np.random.default_rng(0)
    factors = [
        CrossedFactor(name=name, units=rng.integers(0, size, n), terms=["Intercept"])
        for name, size in (("primary_id", n_units), ("secondary_id", n_units // 2))
    ]
    return CrossedProducts.from_arrays(
        np.empty((n, 0)), rng.normal(size=n), columns=["score"], factors=factors
    )


def test_memory_is_counted_before_it_is_taken():
    products = made(400)
    n = products.factors[1].n_units
    needed = 6 * 8 * n * n
    check_memory(products, needed)
    with pytest.raises(SpecificationError) as caught:
        fit_crossed(products, memory_limit=needed - 1)
    message = str(caught.value)
    for word in (f"{needed:,}".replace(",", " "), "'secondary_id'", f"{n} units", "nest"):
        assert word in message


def test_products_of_other_factors_do_not_merge():
    one, other = made(20), made(20)
    renamed = CrossedProducts(
        **{**vars(other), "columns": ("Intercept", "mark")}  # another outcome
    )
    with pytest.raises(SpecificationError, match="merge"):
        one.merge(renamed)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"terms": ["prior"]}, "prior"),
        ({"units": np.zeros(3)}, "expected"),
        ({"shares": np.full(5, -1.0)}, "negative"),
    ],
)
def test_factors_fit_their_rows(change, word):
    factor = {"name": "a", "units": np.arange(5) % 2, "terms": ["Intercept"], **change}
    with pytest.raises(SpecificationError, match=word):
        CrossedProducts.from_arrays(
            np.empty((5, 0)), np.arange(5.0), columns=["y"], factors=[CrossedFactor(**factor)]
        )


def test_collinear_columns_are_named():
    x = np.arange(40.0)
    products = CrossedProducts.from_arrays(
        np.column_stack([x, 2 * x]),
        np.sin(x),
        columns=["a", "b", "y"],
        factors=[CrossedFactor(name="u", units=np.arange(40) % 4, terms=["Intercept"])],
    )
    with pytest.raises(SpecificationError, match="'b'"):
        fit_crossed(products)
    copied = CrossedProducts.from_arrays(
        x[:, None],
        2 * x,
        columns=["a", "b"],
        factors=[CrossedFactor(name="u", units=np.arange(40) % 4, terms=["Intercept"])],
    )
    with pytest.raises(SpecificationError, match="reproduces outcome 'b'"):
        fit_crossed(copied)


V = np.array([[1.0, 0.2], [0.2, 1.0]])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"joint_conditional": V[:1]}, "joint_conditional"),
        ({"joint_conditional": V + np.nan}, "joint_conditional"),
        ({"joint_conditional": 2.0 * V}, "differs"),
        ({"joint_conditional": np.array([[1.0, 0.3], [0.2, 1.0]])}, "symmetric"),
        ({"shared": ((np.zeros(2, dtype=np.int64), np.ones(2)),)}, "give one of them"),
    ],
)
def test_joint_errors_agree_with_themselves(change, word):
    good = {
        "conditional": np.ones(2),
        "leverage": np.ones((2, 1)),
        "beta_covariance": np.eye(1),
        "joint_conditional": V,
    }
    assert EffectErrors(**good).covariance(0, 1, coefficients=False) == 0.2
    with pytest.raises(DataError, match=word):
        EffectErrors(**{**good, **change})
