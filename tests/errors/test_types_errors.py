"""What types, compositions and the split within and between refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from resilience.errors import SpecificationError, WeakDataWarning
from resilience.value_added.adjustment.composition import composition_bias
from resilience.value_added.definitions.specification import Intake, Structure
from resilience.value_added.model import ValueAddedModel


@pytest.fixture(scope="module")
def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    school = np.repeat(np.arange(20), 12)
    frame = pd.DataFrame({"school_id": [f"S{k:02d}" for k in school]})
    frame["ses"] = rng.normal(size=20)[school] + rng.normal(size=240)
    frame["prior_score"] = 0.4 * frame["ses"] + rng.normal(size=240)
    frame["score"] = frame["prior_score"] + rng.normal(size=20)[school] + rng.normal(size=240)
    frame["origin"] = [f"P{k}" for k in rng.integers(0, 15, 240)]
    return frame


FORMULA = "score ~ prior_score + ses"


def fitted(pupils: pd.DataFrame, **options: object):
    return ValueAddedModel(FORMULA, group="school_id", **options).fit(pupils)


def test_types_without_a_composition(pupils):
    with pytest.raises(SpecificationError, match=r"declares none.*composition=\['ses'\]"):
        fitted(pupils).types()


def test_a_mean_prior_is_refused_unless_forced_or_earned_before_entry(pupils):
    both = Intake(composition=["prior_score", "ses"])
    va = fitted(pupils, intake=both)
    with pytest.raises(SpecificationError, match="partly the school's own work") as caught:
        va.types()
    assert "composition=['ses']" in str(caught.value)
    assert "forced=True" in str(caught.value)
    assert "собственная работа" in caught.value.message.ru
    assert len(va.types(forced=True).table) == 20
    entry = Intake(composition=["prior_score"], question="since_entry")
    assert len(fitted(pupils, intake=entry).types().table) == 20


def test_types_of_models_that_cannot_be_parted(pupils):
    model = ValueAddedModel(
        FORMULA, crossed=["origin", "school_id"], intake=Intake(composition=["ses"])
    )
    with pytest.warns(WeakDataWarning, match="origin"):  # schools of origin make no difference
        crossed = model.fit(pupils)
    with pytest.raises(SpecificationError, match="nest"):
        crossed.types()


def test_errors_of_a_calibrated_prior_are_said_to_be_missing(pupils):
    intake = Intake(composition=["ses"], prior_reliability=0.9)
    va = fitted(pupils, intake=intake)
    with pytest.warns(WeakDataWarning, match="do not count the error of the calibration"):
        va.types()


@pytest.mark.parametrize("composition", [3, {"ses": "median"}, ["ses", "ses"], {3: "mean"}, [None]])
def test_compositions_that_cannot_be(composition):
    with pytest.raises(SpecificationError, match=r"Intake\.composition"):
        Intake(composition=composition)


def test_a_composition_or_split_of_an_unknown_column(pupils):
    with pytest.raises(Exception, match="wealth"):
        fitted(pupils, intake=Intake(composition=["wealth"]))
    with pytest.raises(Exception, match="wealth"):
        fitted(pupils, intake=Intake(within_between=["wealth"]))
    with pytest.raises(SpecificationError, match="within_between"):
        Intake(within_between=[1])


def test_the_split_needs_a_covariate_with_its_mean(pupils):
    with pytest.raises(SpecificationError, match="no covariate has its school mean"):
        _ = fitted(pupils).within_between()
    mean = Intake(within_between=["ses"], composition={"ses": "leave_one_out"})
    with pytest.raises(SpecificationError, match="leaves the pupil out"):
        _ = fitted(pupils, intake=mean).within_between()


def test_kinds_of_means_are_compared_only_for_columns_without_error(pupils):
    with pytest.raises(SpecificationError, match="no composition to compare"):
        composition_bias(ValueAddedModel(FORMULA, group="school_id"), pupils)
    intake = Intake(composition=["ses"], prior_reliability=0.8)
    with pytest.raises(SpecificationError, match="without error"):
        composition_bias(ValueAddedModel(FORMULA, group="school_id", intake=intake), pupils)


def test_the_slope_within_is_that_of_schools_as_fixed_effects(pupils):
    va = fitted(pupils, intake=Intake(within_between=["ses", "prior_score"]))
    table = va.within_between().set_index("column")
    centred = pupils[["prior_score", "ses", "score"]] - pupils.groupby("school_id")[
        ["prior_score", "ses", "score"]
    ].transform("mean")
    slopes, *_ = np.linalg.lstsq(
        centred[["prior_score", "ses"]].to_numpy(), centred["score"].to_numpy(), rcond=None
    )
    # schools of one size: the identity holds to the last digit
    np.testing.assert_allclose(table.loc[["prior_score", "ses"], "within"], slopes, rtol=1e-8)
    np.testing.assert_allclose(table["between"], table["within"] + table["contextual"], rtol=1e-12)
    means = pupils.groupby("school_id")[["prior_score", "ses", "score"]].mean()
    x = np.column_stack([np.ones(20), means[["prior_score", "ses"]]])
    between, *_ = np.linalg.lstsq(x, means["score"].to_numpy(), rcond=None)
    np.testing.assert_allclose(table.loc[["prior_score", "ses"], "between"], between[1:], rtol=1e-8)


def test_chunks_give_the_split_and_the_types_too(pupils):
    model = ValueAddedModel(
        FORMULA,
        group="school_id",
        intake=Intake(within_between=["ses"]),
        structure=Structure(),
    )
    whole, chunks = model.fit(pupils), model.fit([pupils.iloc[:100], pupils.iloc[100:]])
    np.testing.assert_allclose(
        chunks.within_between()["between"], whole.within_between()["between"], rtol=1e-8
    )
    np.testing.assert_allclose(
        chunks.types().table["difference"], whole.types().table["difference"], atol=1e-8
    )


def test_drifting_years_and_what_is_no_model(pupils):
    years = pupils.assign(year=2020 + np.arange(len(pupils)) % 4)
    model = ValueAddedModel(
        FORMULA,
        group="school_id",
        time="year",
        intake=Intake(composition=["ses"]),
        structure=Structure(drift="unstructured"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)  # twelve pupils in four years
        va = model.fit(years)
    with pytest.raises(SpecificationError, match="hold no counts of pupils by school and year"):
        va.types()
    with pytest.raises(SpecificationError, match="model"):
        composition_bias(None, pupils)
